/*
 * search.c - finds the server that takes writes. See search.h.
 *
 * Failed logins tell their SQLSTATE only in the text of the connection, and only with the verbosity that is set between
 * the two steps of connecting.
 */
#include "search.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../clock.h"
#include "../fd.h"
#include "sqlstate.h"

enum {
	BESIDE_NS = 250000000, /* before the next host is asked beside one that has not answered */
	AGAIN_NS = 500000000,  /* before one that failed is asked again */
	SERVER_LEAST = 130000, /* its version */
	ALL_NS = 2000000000,   /* how long those are waited for that do not answer, where all are asked */
	POLL_MS_MAX = 100
};

/* Waits for locks end in time for an answer: what is not done then is not done later. A process that is stopped inside
 * a transaction, which may have the log's lock, is waited for no longer than it would wait for the server. What the
 * role or the database has as its default must neither change what statements mean, nor keep the warning of a commit
 * back that no standby has. Then: which timeline does this primary write, 0: it is none, and of which cluster? */
static const char QUESTION[] =
	"SET lock_timeout = %lld; SET idle_in_transaction_session_timeout = %lld; SET statement_timeout = 0; "
	"SET bytea_output = 'hex'; SET search_path = pg_catalog, pg_temp; "
	"SET default_transaction_isolation = 'read committed'; "
	"SET client_min_messages = 'warning'; "
	"SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0 ELSE ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name("
	"pg_catalog.pg_current_wal_lsn()), 1, 8))::pg_catalog.bit(32)::pg_catalog.int8 END, "
	"(SELECT c.system_identifier FROM pg_catalog.pg_control_system() c)";

/* ---- what is known ---- */

void vigia__pg_known_init(struct pg_known *known)
{
	*known = (struct pg_known){0};
	pthread_mutex_init(&known->mutex, NULL);
}

void vigia__pg_known_deinit(struct pg_known *known)
{
	pthread_mutex_destroy(&known->mutex);
}

/* False: it is behind. A server in recovery, which only who wants such a one gets here, has no timeline of its own. */
static bool note(struct pg_known *known, const struct pg_try *t, size_t host, unsigned *reign)
{
	pthread_mutex_lock(&known->mutex);
	bool other = t->system != known->system, behind = !other && t->timeline < known->timeline;
	if (t->timeline > 0 && !behind) {
		if (other || t->timeline > known->timeline) atomic_fetch_add(&known->reign, 1);
		known->system = t->system;
		known->timeline = t->timeline;
	}
	if (t->timeline == 0) behind = false;
	if (!behind) known->host = host;
	if (reign) *reign = atomic_load(&known->reign);
	pthread_mutex_unlock(&known->mutex);
	return !behind;
}

static bool is_behind(struct pg_known *known, const struct pg_try *t)
{
	pthread_mutex_lock(&known->mutex);
	bool behind = t->timeline > 0 && t->system == known->system && t->timeline < known->timeline;
	pthread_mutex_unlock(&known->mutex);
	return behind;
}

/* ---- one host ---- */

/* libpq says on several lines which addresses it tried: the last one says why. Behind a tab it asks whether a server
 * runs there. */
const char *vigia__pg_why(const char *text, size_t *len)
{
	const char *line = text;
	for (const char *at = text; at; at = strchr(at, '\n')) {
		if (*at == '\n') at++;
		if (*at != '\0' && *at != '\t') line = at;
	}
	*len = strcspn(line, "\n");
	return line;
}

static void close_try(struct pg_try *t)
{
	if (t->conn) PQfinish(t->conn);
	t->conn = NULL;
}

static void failed(struct pg_try *t, int code, const char *why)
{
	size_t len;
	const char *line = vigia__pg_why(why, &len);
	snprintf(t->why, sizeof t->why, "%.*s", (int)len, line);
	t->code = code;
	t->state = PG_TRY_FAILED;
	t->again_mono_ns = vigia__mono_ns() + AGAIN_NS;
	close_try(t);
}

/* A failed login names its state in the text: "FATAL:  28P01". */
static void login_failed(struct pg_try *t)
{
	const char *text = PQerrorMessage(t->conn), *fatal = NULL;
	for (const char *at = text; (at = strstr(at, "FATAL:  ")); at += 8) fatal = at + 8;
	bool coded = fatal && strspn(fatal, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5;
	if (coded) snprintf(t->sqlstate, sizeof t->sqlstate, "%.5s", fatal);
	int code = coded ? vigia__pg_code_of(t->sqlstate) : VIGIA_EUNREACHABLE;
	bool password = !coded && strstr(text, "password") != NULL;
	if (password) code = VIGIA_EPERM;
	/* libpq's own word, for which there is no code; not of one of several addresses. */
	const char *end = strchr(text, '\n');
	if (!coded && strstr(text, "read-only") && (end == NULL || end[1] == '\0'))
		snprintf(t->sqlstate, sizeof t->sqlstate, "25006");
	if (code == VIGIA_EUNREACHABLE) failed(t, code, text);
	else failed(t, code, code == VIGIA_ENOTFOUND ? "there is no such database" : "the server refused the login");
}

static void hush(void *arg, const PGresult *result)
{
}

static void begin_try(struct pg_search *search, size_t host)
{
	struct pg_try *t = &search->tries[host];
	*t = (struct pg_try){0};
	const char *keywords[VIGIA_PG_OPTIONS_MAX], *values[VIGIA_PG_OPTIONS_MAX];
	vigia__pg_location_params(search->location, host, keywords, values);
	if (vigia__fd_begin() < 0) return failed(t, VIGIA_EIO, "the process has no free file descriptor");
	t->conn = PQconnectStartParams(keywords, values, 0);
	vigia__fd_end(0);
	if (t->conn == NULL) return failed(t, VIGIA_ENOMEM, "no memory to connect to a server");
	PQsetErrorVerbosity(t->conn, PQERRORS_SQLSTATE);
	PQsetNoticeReceiver(t->conn, hush, NULL);
	t->state = PG_TRY_CONNECTS;
	t->events = POLLOUT;
	if (PQstatus(t->conn) == CONNECTION_BAD) login_failed(t);
}

static void ask(struct pg_search *search, struct pg_try *t)
{
	char text[sizeof QUESTION + 64];
	snprintf(text, sizeof text, QUESTION, (long long)(vigia__pg_lock_ns(search->location) / 1000000),
	         (long long)(search->location->deadline_ns / 1000000));
	PQsetErrorVerbosity(t->conn, PQERRORS_DEFAULT);
	if (PQserverVersion(t->conn) < SERVER_LEAST)
		return failed(t, VIGIA_EUNSUPPORTED, "the server is older than PostgreSQL 13");
	if (PQsetnonblocking(t->conn, 1) < 0 || !PQsendQuery(t->conn, text))
		return failed(t, VIGIA_EUNREACHABLE, PQerrorMessage(t->conn));
	t->state = PG_TRY_ASKS;
	t->events = POLLIN | POLLOUT;
}

static void go_on_connecting(struct pg_search *search, struct pg_try *t)
{
	if (vigia__fd_begin() < 0) return failed(t, VIGIA_EIO, "the process has no free file descriptor");
	PostgresPollingStatusType status = PQconnectPoll(t->conn);
	vigia__fd_end(0);
	if (status == PGRES_POLLING_READING) t->events = POLLIN;
	else if (status == PGRES_POLLING_WRITING) t->events = POLLOUT;
	else if (status == PGRES_POLLING_OK) ask(search, t);
	else login_failed(t);
}

static void take_answer(struct pg_search *search, struct pg_try *t, PGresult *result)
{
	if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
		const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
		const char *why = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
		snprintf(t->sqlstate, sizeof t->sqlstate, "%.5s", state ? state : "");
		failed(t, *t->sqlstate ? vigia__pg_code_of(t->sqlstate) : VIGIA_EUNREACHABLE,
		       why ? why : PQerrorMessage(t->conn));
	} else if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
		t->timeline = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
		t->system = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	}
	PQclear(result);
}

static void go_on_asking(struct pg_search *search, struct pg_try *t)
{
	int flushed = PQflush(t->conn);
	if (flushed < 0 || !PQconsumeInput(t->conn)) return failed(t, VIGIA_EUNREACHABLE, PQerrorMessage(t->conn));
	t->events = flushed > 0 ? POLLIN | POLLOUT : POLLIN;
	while (flushed == 0 && !PQisBusy(t->conn)) {
		PGresult *result = PQgetResult(t->conn);
		if (result) take_answer(search, t, result);
		else if (is_behind(search->known, t)) failed(t, VIGIA_EUNREACHABLE, "another server has taken over");
		else t->state = PG_TRY_FOUND;
		if (t->state != PG_TRY_ASKS) return;
	}
}

/* ---- all of them ---- */

void vigia__pg_search_begin(struct pg_search *search, const struct pg_location *location, struct pg_known *known,
                            bool all, int64_t until_mono_ns)
{
	int64_t now = vigia__mono_ns();
	*search = (struct pg_search){.location = location, .known = known, .all = all, .next_mono_ns = now};
	search->count = vigia__pg_location_hosts(location);
	search->all_mono_ns = now + ALL_NS;
	pthread_mutex_lock(&known->mutex);
	search->first = known->host < search->count ? known->host : 0;
	pthread_mutex_unlock(&known->mutex);
}

static bool runs(const struct pg_try *t)
{
	return t->state == PG_TRY_CONNECTS || t->state == PG_TRY_ASKS;
}

static bool any_runs(const struct pg_search *search)
{
	for (size_t i = 0; i < search->count; i++)
		if (runs(&search->tries[i])) return true;
	return false;
}

static bool is_newer(struct pg_known *known, const struct pg_try *t)
{
	pthread_mutex_lock(&known->mutex);
	bool newer = t->system == known->system && t->timeline > known->timeline;
	pthread_mutex_unlock(&known->mutex);
	return newer;
}

/* Wait for something to happen, at most until then. False: that is over, or there is nothing to wait for. */
static bool step(struct pg_search *search, int64_t until_mono_ns)
{
	int64_t now = vigia__mono_ns();
	while (search->begun < search->count && (search->all || now >= search->next_mono_ns || !any_runs(search))) {
		begin_try(search, (search->first + search->begun++) % search->count);
		search->next_mono_ns = now + BESIDE_NS;
	}
	if (!any_runs(search) || now >= until_mono_ns) return false;
	for (size_t i = 0; i < search->count && search->again; i++) {
		const struct pg_try *t = &search->tries[i];
		if (t->state == PG_TRY_FAILED && t->code == VIGIA_EUNREACHABLE && now >= t->again_mono_ns) begin_try(search, i);
	}
	if (search->begun < search->count && search->next_mono_ns < until_mono_ns) until_mono_ns = search->next_mono_ns;
	struct pollfd fds[VIGIA_PG_HOSTS_MAX];
	for (size_t i = 0; i < search->count; i++) {
		const struct pg_try *t = &search->tries[i];
		fds[i] = (struct pollfd){.fd = runs(t) ? PQsocket(t->conn) : -1, .events = t->events};
	}
	int64_t ms = (until_mono_ns - now + 999999) / 1000000;
	poll(fds, search->count, ms < POLL_MS_MAX ? (int)ms : POLL_MS_MAX);
	for (size_t i = 0; i < search->count; i++) {
		struct pg_try *t = &search->tries[i];
		if (fds[i].revents == 0) continue;
		if (t->state == PG_TRY_CONNECTS) go_on_connecting(search, t);
		else if (t->state == PG_TRY_ASKS) go_on_asking(search, t);
	}
	return true;
}

static struct pg_try *best(struct pg_search *search)
{
	struct pg_try *found = NULL;
	for (size_t i = 0; i < search->count; i++) {
		struct pg_try *t = &search->tries[i];
		if (t->state == PG_TRY_FOUND && (found == NULL || t->timeline > found->timeline)) found = t;
	}
	return found;
}

static bool is_readonly(const struct pg_try *t)
{
	return strcmp(t->sqlstate, "25006") == 0;
}

/* Which failure says most: of a server that may be the one, before one that said no, before one that is read-only. */
static struct pg_try *worst(struct pg_search *search)
{
	struct pg_try *found = NULL;
	for (size_t n = 0; n < search->begun; n++) {
		struct pg_try *t = &search->tries[(search->first + n) % search->count];
		if (runs(t)) failed(t, VIGIA_EUNREACHABLE, "the server did not reply in time");
		bool unknown = t->code == VIGIA_EUNREACHABLE && !is_readonly(t);
		if (found == NULL || (unknown && found->code != VIGIA_EUNREACHABLE) || is_readonly(found)) found = t;
	}
	return found;
}

PGconn *vigia__pg_search_run(struct pg_search *search, int64_t until_mono_ns, unsigned *reign,
                             const struct pg_try **failure)
{
	search->again = true;
	for (;;) {
		struct pg_try *t = best(search);
		bool waits = search->all && any_runs(search) && vigia__mono_ns() < search->all_mono_ns;
		if (t && (!waits || is_newer(search->known, t))) {
			if (note(search->known, t, (size_t)(t - search->tries), reign)) {
				PGconn *conn = t->conn;
				t->conn = NULL;
				return conn;
			}
			failed(t, VIGIA_EUNREACHABLE, "another server has taken over");
		}
		if (!step(search, t && waits ? search->all_mono_ns : until_mono_ns) && best(search) == NULL) break;
	}
	struct pg_try *t = worst(search);
	if (is_readonly(t)) t->code = VIGIA_EREADONLY;
	*failure = t;
	return NULL;
}

bool vigia__pg_search_survey(struct pg_search *search, int64_t until_mono_ns)
{
	while (step(search, until_mono_ns)) continue;
	struct pg_try *t = best(search);
	if (t) note(search->known, t, (size_t)(t - search->tries), NULL);
	return !any_runs(search);
}

void vigia__pg_search_end(struct pg_search *search)
{
	for (size_t i = 0; i < search->count; i++) close_try(&search->tries[i]);
}

void vigia__pg_search_forked(struct pg_search *search)
{
	for (size_t i = 0; i < search->count; i++)
		if (search->tries[i].conn) close(PQsocket(search->tries[i].conn));
}
