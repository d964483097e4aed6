/*
 * link.c - a connection with deadlines. See link.h.
 *
 * Failed logins tell their SQLSTATE only in the text of the connection, and only with the verbosity that is set between
 * the two steps of connecting.
 */
#include "link.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../core/error.h"
#include "../clock.h"
#include "../fd.h"
#include "location.h"

enum {
	AWAY_NS = 500000000,   /* how long calls fail at once after the server was found to be away */
	SERVER_LEAST = 130000, /* its version */
	POLL_MS_MAX = 1000
};

void vigia__pg_link_init(struct pg_link *link, const struct pg_location *location, char *const *texts)
{
	*link = (struct pg_link){.location = location, .texts = texts};
	pthread_mutex_init(&link->mutex, NULL);
}

void vigia__pg_link_close(struct pg_link *link)
{
	if (link->conn) PQfinish(link->conn);
	link->conn = NULL;
	link->prepared = 0;
}

void vigia__pg_link_deinit(struct pg_link *link)
{
	vigia__pg_link_close(link);
	pthread_mutex_destroy(&link->mutex);
}

/* Its end would tell the server that the parent has left. */
void vigia__pg_link_forked(struct pg_link *link)
{
	int fd = link->conn ? PQsocket(link->conn) : -1;
	if (fd >= 0) close(fd);
	link->conn = NULL;
}

int64_t vigia__pg_until(const struct pg_link *link)
{
	return vigia__mono_ns() + link->location->deadline_ns;
}

bool vigia__pg_again(const struct pg_link *link)
{
	return strcmp(link->state, "40001") == 0 || strcmp(link->state, "40P01") == 0 || strcmp(link->state, "55P03") == 0;
}

/* ---- errors ---- */

static const struct {
	const char *state; /* or how it begins */
	int code;
} codes[] = {
	{"08", VIGIA_EUNREACHABLE},    {"57P01", VIGIA_EUNREACHABLE}, {"57P02", VIGIA_EUNREACHABLE},
	{"57P03", VIGIA_EUNREACHABLE}, {"53300", VIGIA_EUNREACHABLE}, {"28", VIGIA_EPERM},
	{"42501", VIGIA_EPERM},        {"3D000", VIGIA_ENOTFOUND},    {"3F000", VIGIA_ENOTFOUND},
	{"42P01", VIGIA_ENOTSTORE},    {"42883", VIGIA_ENOTSTORE},    {"42703", VIGIA_ENOTSTORE},
	{"42804", VIGIA_ENOTSTORE},    {"25006", VIGIA_EREADONLY},    {"53100", VIGIA_EDISKFULL},
	{"54", VIGIA_ETOOBIG},         {"VG001", VIGIA_EUNKNOWN},     {"VG002", VIGIA_EOWNED},
	{"VG003", VIGIA_EUNFINISHED},
};

static int code_of(const char *state)
{
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strncmp(state, codes[i].state, strlen(codes[i].state)) == 0) return codes[i].code;
	return VIGIA_EIO;
}

static int fail(struct pg_link *link, int code, const char *what, const char *why, struct vigia_error *err)
{
	char cause[200];
	snprintf(cause, sizeof cause, "%s%s%s", why, *link->state ? ", SQLSTATE " : "", link->state);
	cause[strcspn(cause, "\n")] = '\0';
	return vigia__error_caused(err, code, cause, "cannot %s '%s': %s", what, link->location->shown, cause);
}

/* The connection failed: close it. */
static int unreachable(struct pg_link *link, const char *what, const char *why, struct vigia_error *err)
{
	char text[200];
	/* libpq says on several lines which hosts it tried: the last one says why. */
	snprintf(text, sizeof text, "%s", why);
	for (size_t len = strlen(text); len > 0 && text[len - 1] == '\n';) text[--len] = '\0';
	const char *last = strrchr(text, '\n');
	vigia__pg_link_close(link);
	return fail(link, VIGIA_EUNREACHABLE, what, last ? last + 1 : text, err);
}

static void take_state(struct pg_link *link, const char *state)
{
	snprintf(link->state, sizeof link->state, "%.5s", state ? state : "");
}

/* Of a statement that the server refused. */
static int refused(struct pg_link *link, const PGresult *result, const char *what, struct vigia_error *err)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	take_state(link, PQresultErrorField(result, PG_DIAG_SQLSTATE));
	int code = code_of(link->state);
	if (*link->state == '\0' || code == VIGIA_EUNREACHABLE)
		return unreachable(link, what, message ? message : PQerrorMessage(link->conn), err);
	return fail(link, code, what, message ? message : "no reason given", err);
}

static void notice(void *arg, const PGresult *result)
{
	struct pg_link *link = arg;
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	/* A commit whose wait for the standbys was cancelled: it is there, and may be nowhere else. */
	if (state && strcmp(state, "01000") == 0) link->warned = true;
}

/* ---- waiting ---- */

/* False: the time is over. */
static bool wait_for(const PGconn *conn, short events, int64_t until_mono_ns)
{
	struct pollfd fd = {.fd = PQsocket(conn), .events = events};
	for (;;) {
		int64_t left = until_mono_ns - vigia__mono_ns();
		if (left <= 0) return false;
		int64_t ms = (left + 999999) / 1000000;
		int rc = poll(&fd, 1, ms < POLL_MS_MAX ? (int)ms : POLL_MS_MAX);
		if (rc > 0 || (rc < 0 && errno != EINTR)) return true; /* libpq says what is wrong */
	}
}

static void pause_until(int64_t until_mono_ns)
{
	struct timespec at = {.tv_sec = until_mono_ns / 1000000000, .tv_nsec = until_mono_ns % 1000000000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) continue;
}

/* Send what waits, and read until the statement's results are all there. The last one, or that of a failure. NULL: the
 * connection failed, or the time is over (*late). */
static PGresult *finish(struct pg_link *link, int64_t until_mono_ns, bool *late)
{
	PGresult *kept = NULL;
	for (;;) {
		int flushed = PQflush(link->conn);
		if (flushed < 0) break;
		if (flushed == 0 && !PQisBusy(link->conn)) {
			PGresult *next = PQgetResult(link->conn);
			if (next == NULL) return kept;
			bool failed = kept && PQresultStatus(kept) == PGRES_FATAL_ERROR;
			PQclear(failed ? next : kept);
			if (!failed) kept = next;
			continue;
		}
		*late = !wait_for(link->conn, flushed > 0 ? POLLIN | POLLOUT : POLLIN, until_mono_ns);
		if (*late || !PQconsumeInput(link->conn)) break;
	}
	PQclear(kept);
	return NULL;
}

static int outcome(struct pg_link *link, bool begun, PGresult **out, int64_t until_mono_ns, const char *what,
                   struct vigia_error *err)
{
	bool late = false;
	*link->state = '\0';
	link->sent = true;
	PGresult *result = begun ? finish(link, until_mono_ns, &late) : NULL;
	if (result == NULL) {
		if (late) return unreachable(link, what, "the server did not answer in time", err);
		return unreachable(link, what, PQerrorMessage(link->conn), err);
	}
	ExecStatusType status = PQresultStatus(result);
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY) {
		if (out) *out = result;
		else PQclear(result);
		return VIGIA_OK;
	}
	int rc = refused(link, result, what, err);
	PQclear(result);
	return rc;
}

/* ---- connecting ---- */

/* A failed login names its state in the text: "FATAL:  28P01". */
static int login_failed(struct pg_link *link, const char *what, struct vigia_error *err)
{
	const char *text = PQerrorMessage(link->conn), *fatal = NULL;
	for (const char *at = text; (at = strstr(at, "FATAL:  ")); at += 8) fatal = at + 8;
	bool coded = fatal && strspn(fatal, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5;
	take_state(link, coded ? fatal : "");
	int code = coded ? code_of(link->state) : VIGIA_EUNREACHABLE;
	bool password = !coded && strstr(text, "password") != NULL;
	if (code == VIGIA_EUNREACHABLE && !password) return unreachable(link, what, text, err);
	vigia__pg_link_close(link);
	return fail(link, password ? VIGIA_EPERM : code, what,
	            code == VIGIA_ENOTFOUND ? "there is no such database" : "the server refused the login", err);
}

static int step_until_connected(struct pg_link *link, int64_t until_mono_ns, bool *late)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;
	while (status == PGRES_POLLING_WRITING || status == PGRES_POLLING_READING) {
		*late = !wait_for(link->conn, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_mono_ns);
		if (*late || vigia__fd_begin() < 0) return -1;
		status = PQconnectPoll(link->conn);
		vigia__fd_end(0);
	}
	return status == PGRES_POLLING_OK ? 0 : -1;
}

static int connect_once(struct pg_link *link, int64_t until_mono_ns, struct vigia_error *err)
{
	bool late = false;
	*link->state = '\0';
	if (vigia__fd_begin() < 0) return fail(link, VIGIA_EIO, "connect to", "no descriptor is free", err);
	link->conn = PQconnectStartParams(link->location->keywords, link->location->values, 0);
	vigia__fd_end(0);
	if (link->conn == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory to connect to a server");
	PQsetErrorVerbosity(link->conn, PQERRORS_SQLSTATE);
	if (PQstatus(link->conn) == CONNECTION_BAD || step_until_connected(link, until_mono_ns, &late) < 0) {
		if (late) return unreachable(link, "connect to", "the server did not answer in time", err);
		return login_failed(link, "connect to", err);
	}
	PQsetErrorVerbosity(link->conn, PQERRORS_DEFAULT);
	PQsetNoticeReceiver(link->conn, notice, link);
	if (PQserverVersion(link->conn) < SERVER_LEAST || PQsetnonblocking(link->conn, 1) < 0) {
		vigia__pg_link_close(link);
		return fail(link, VIGIA_EUNSUPPORTED, "use", "the server is older than PostgreSQL 13", err);
	}
	/* Waits for locks end in time for an answer. What is not done then is not done later. */
	char text[160];
	snprintf(text, sizeof text, "SET lock_timeout = %lld; SET statement_timeout = 0; SET bytea_output = 'hex'",
	         (long long)(link->location->deadline_ns / 2000000));
	return vigia__pg_exec(link, text, NULL, until_mono_ns, "connect to", err);
}

int vigia__pg_link_ready(struct pg_link *link, int64_t until_mono_ns, struct vigia_error *err)
{
	link->sent = false;
	if (link->conn && PQstatus(link->conn) == CONNECTION_OK) return VIGIA_OK;
	vigia__pg_link_close(link);
	if (vigia__mono_ns() < link->away_until_mono_ns) {
		/* The caller may have time: a server that restarts is back soon. */
		if (until_mono_ns <= link->away_until_mono_ns) {
			*link->state = '\0';
			return fail(link, VIGIA_EUNREACHABLE, "connect to", "the server was away a moment ago", err);
		}
		pause_until(link->away_until_mono_ns);
	}
	int rc = connect_once(link, until_mono_ns, err);
	link->sent = false;
	if (rc == VIGIA_EUNREACHABLE) link->away_until_mono_ns = vigia__mono_ns() + AWAY_NS;
	else link->away_until_mono_ns = 0;
	if (rc == VIGIA_OK && link->found_new) *link->found_new = true;
	return rc;
}

/* ---- statements ---- */

int vigia__pg_exec(struct pg_link *link, const char *text, PGresult **out, int64_t until_mono_ns, const char *what,
                   struct vigia_error *err)
{
	return outcome(link, PQsendQuery(link->conn, text) == 1, out, until_mono_ns, what, err);
}

int vigia__pg_call(struct pg_link *link, enum pg_statement statement, const struct pg_param *params, PGresult **out,
                   int64_t until_mono_ns, const char *what, struct vigia_error *err)
{
	static const int binary[VIGIA_PG_PARAMS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
	const char *values[VIGIA_PG_PARAMS_MAX];
	int lengths[VIGIA_PG_PARAMS_MAX], count = vigia__pg_statement_params(statement);
	char name[16];
	snprintf(name, sizeof name, "v%d", (int)statement);
	for (int i = 0; i < count; i++) {
		values[i] = params[i].data;
		lengths[i] = params[i].len;
	}
	if (!(link->prepared & UINT64_C(1) << statement)) {
		bool begun = PQsendPrepare(link->conn, name, link->texts[statement], 0, NULL) == 1;
		int rc = outcome(link, begun, NULL, until_mono_ns, what, err);
		if (rc < 0) {
			link->sent = false;
			return rc;
		}
		link->prepared |= UINT64_C(1) << statement;
	}
	bool begun = PQsendQueryPrepared(link->conn, name, count, values, lengths, binary, 1) == 1;
	return outcome(link, begun, out, until_mono_ns, what, err);
}

/* ---- fields ---- */

static int64_t number_at(const char *at, size_t len)
{
	uint64_t big;
	uint32_t small;
	if (len == sizeof big) {
		memcpy(&big, at, sizeof big);
		return (int64_t)be64toh(big);
	}
	memcpy(&small, at, sizeof small);
	return (int32_t)be32toh(small);
}

int64_t vigia__pg_int(const PGresult *result, int row, int column)
{
	int len = PQgetlength(result, row, column);
	return len == 8 || len == 4 ? number_at(PQgetvalue(result, row, column), (size_t)len) : 0;
}

bool vigia__pg_bool(const PGresult *result, int row, int column)
{
	return PQgetlength(result, row, column) == 1 && *PQgetvalue(result, row, column) != 0;
}

struct vigia_slice vigia__pg_bytes(const PGresult *result, int row, int column)
{
	return (struct vigia_slice){PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column)};
}

/* Without nulls in it: see param.c for the form. */
enum { LIST_HEAD = 20, LIST_ITEM = 12, LIST_COUNT = 12 };

size_t vigia__pg_list_count(const PGresult *result, int row, int column)
{
	size_t len = (size_t)PQgetlength(result, row, column);
	if (len < LIST_HEAD) return 0;
	size_t count = (size_t)number_at(PQgetvalue(result, row, column) + LIST_COUNT, 4);
	return count <= (len - LIST_HEAD) / LIST_ITEM ? count : 0;
}

int64_t vigia__pg_list_item(const PGresult *result, int row, int column, size_t index)
{
	return number_at(PQgetvalue(result, row, column) + LIST_HEAD + index * LIST_ITEM + 4, 8);
}
