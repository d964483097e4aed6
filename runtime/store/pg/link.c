/*
 * link.c - a connection with deadlines. See link.h.
 */
#include "link.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../core/alloc.h"
#include "../../core/error.h"
#include "../clock.h"
#include "sqlstate.h"

enum {
	RETRY_NS = 20000000, /* before the same is tried again */
	AWAY_NS = 500000000, /* how long calls fail at once after the server was found to be away */
	POLL_MS_MAX = 250,   /* how often one that waits looks whether another server has taken over */
	SURVEY_MS = 300,
	SESSIONS_ENDED_MAX = 3
};
/* When the other servers are looked at beside a call; how often, if one did not answer. */
static const int64_t SURVEY_AFTER_NS = 2000000000, SURVEY_EVERY_NS = 3000000000, SURVEY_SELDOM_NS = 6000000000;

void vigia__pg_link_init(struct pg_link *link, const struct pg_location *location, struct pg_known *known,
                         char *const *texts)
{
	*link = (struct pg_link){.location = location, .known = known, .texts = texts};
	pthread_mutex_init(&link->mutex, NULL);
}

void vigia__pg_link_close(struct pg_link *link)
{
	if (link->conn) PQfinish(link->conn);
	link->conn = NULL;
	link->prepared = 0;
	link->owed = false;
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
	struct pg_search *search = atomic_load(&link->search);
	if (search) vigia__pg_search_forked(search);
}

int64_t vigia__pg_until(const struct pg_link *link)
{
	return vigia__mono_ns() + link->location->deadline_ns;
}

static bool is_state(const struct pg_link *link, const char *state)
{
	return strcmp(link->state, state) == 0;
}

/* What the server gave up is sent again only if there is time for its answer, and for the whole wait for a lock: a call
 * that is broken off leaves in doubt what became of it. */
static bool may_pass(const struct pg_link *link, int rc, int64_t left_ns)
{
	if (rc >= 0) return false;
	if (rc == VIGIA_EUNREACHABLE || (rc == VIGIA_EREADONLY && link->conn == NULL)) return true;
	if (is_state(link, "55P03")) return left_ns > vigia__pg_lock_ns(link->location);
	if (left_ns < link->location->deadline_ns / 10) return false;
	return is_state(link, "40001") || is_state(link, "40P01") || is_state(link, "57014");
}

static void pause_until(int64_t until_mono_ns)
{
	struct timespec at = {.tv_sec = until_mono_ns / 1000000000, .tv_nsec = until_mono_ns % 1000000000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) continue;
}

/* A commit that waits for its standbys has the lock: to others the server is as good as away. */
bool vigia__pg_again(const struct pg_link *link, int *rc, int64_t until_mono_ns, struct vigia_error *err)
{
	int64_t next = vigia__mono_ns() + RETRY_NS;
	if (next < until_mono_ns && may_pass(link, *rc, until_mono_ns - next)) {
		pause_until(next);
		return true;
	}
	if (*rc == VIGIA_EIO && is_state(link, "55P03")) {
		*rc = VIGIA_EUNREACHABLE;
		if (err) err->code = *rc;
	}
	return false;
}

/* ---- errors ---- */

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
	size_t len;
	const char *line = vigia__pg_why(why, &len);
	snprintf(text, sizeof text, "%.*s", (int)len, line);
	vigia__pg_link_close(link);
	return fail(link, VIGIA_EUNREACHABLE, what, text, err);
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
	int code = vigia__pg_code_of(link->state);
	if (*link->state == '\0' || code == VIGIA_EUNREACHABLE)
		return unreachable(link, what, message ? message : PQerrorMessage(link->conn), err);
	/* Perhaps a commit before this one waits for standbys that have left for another primary. */
	if (strcmp(link->state, "55P03") == 0 || code == VIGIA_EREADONLY) link->doubts = true;
	return fail(link, code, what, message ? message : "no reason given", err);
}

/* A commit whose wait for the standbys was cancelled is there, and may be nowhere else. It tells that by a warning,
 * with a state that other warnings have, too, but not from this place in the server. */
static void notice(void *arg, const PGresult *result)
{
	struct pg_link *link = arg;
	const char *place = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
	if (place && strcmp(place, "SyncRepWaitForLSN") == 0) link->cancelled = true;
}

/* ---- other servers ---- */

/* Look at all servers, for what is known of them. False: one did not answer. */
static bool survey(struct pg_link *link)
{
	struct pg_search *search = link->location->hosts_count > 1 ? vigia__calloc(sizeof *search) : NULL;
	if (search == NULL) return true;
	int64_t until = vigia__mono_ns() + SURVEY_MS * INT64_C(1000000);
	vigia__pg_search_begin(search, link->location, link->known, true, until);
	atomic_store(&link->search, search);
	bool all = vigia__pg_search_survey(search, until);
	atomic_store(&link->search, NULL);
	vigia__pg_search_end(search);
	vigia__free(search);
	return all;
}

/* The same, but not all the time. */
static void survey_again(struct pg_link *link)
{
	int64_t now = vigia__mono_ns();
	if (now < link->survey_mono_ns) return;
	link->survey_mono_ns = now + SURVEY_EVERY_NS;
	if (!survey(link)) link->survey_mono_ns = now + SURVEY_SELDOM_NS;
}

/* ---- waiting ---- */

/* A server has taken over since this connection was made. */
static bool is_behind(const struct pg_link *link)
{
	return link->reign != atomic_load(&link->known->reign);
}

/* A call that takes long has the others asked beside it. False: the time is over, or there is another primary. */
static bool wait_for(struct pg_link *link, short events, int64_t until_mono_ns)
{
	struct pollfd fd = {.fd = PQsocket(link->conn), .events = events};
	for (;;) {
		int64_t left = until_mono_ns - vigia__mono_ns();
		if (left <= 0 || is_behind(link)) return false;
		int64_t ms = (left + 999999) / 1000000;
		int rc = poll(&fd, 1, ms < POLL_MS_MAX ? (int)ms : POLL_MS_MAX);
		if (rc > 0 || (rc < 0 && errno != EINTR)) return true; /* libpq says what is wrong */
		if (rc == 0 && vigia__mono_ns() - link->called_mono_ns > SURVEY_AFTER_NS) survey_again(link);
	}
}

/* The results of what was sent. */
struct answers {
	PGresult *kept; /* the last one, in a pipeline that of statement `wanted`; or that of a failure */
	int wanted, seen;
	bool piped;
	bool skips, owes; /* those of a `then` come first, or follow */
};

/* The next result. False: there is no more. */
static bool take(struct answers *answers, PGresult *next)
{
	if (next == NULL) {
		answers->seen++; /* of a pipeline, a statement ends */
		return answers->piped;
	}
	ExecStatusType status = PQresultStatus(next);
	bool failed = answers->kept && PQresultStatus(answers->kept) == PGRES_FATAL_ERROR;
	bool wanted = !answers->piped || status == PGRES_FATAL_ERROR || answers->seen == answers->wanted;
	PGresult *other = failed || !wanted ? next : answers->kept;
	if (other != next) answers->kept = next;
	PQclear(other);
	if (status != PGRES_PIPELINE_SYNC || !answers->skips) return status != PGRES_PIPELINE_SYNC;
	PQclear(answers->kept);
	*answers = (struct answers){.wanted = answers->wanted, .piped = true, .owes = answers->owes};
	return true;
}

/* Send what waits, and read until all results are there. NULL: the connection failed, or the time is over (*late). */
static PGresult *finish(struct pg_link *link, struct answers *answers, int64_t until_mono_ns, bool *late)
{
	for (;;) {
		int flushed = PQflush(link->conn);
		if (flushed < 0) break;
		if (flushed == 0 && !PQisBusy(link->conn)) {
			bool more = take(answers, PQgetResult(link->conn));
			if (more && PQstatus(link->conn) != CONNECTION_OK) break; /* a pipeline that broke has no end */
			if (more) continue;
			link->owed = answers->owes;
			if (answers->piped && !link->owed && PQexitPipelineMode(link->conn) != 1) break;
			return answers->kept;
		}
		*late = !wait_for(link, flushed > 0 ? POLLIN | POLLOUT : POLLIN, until_mono_ns);
		if (*late || !PQconsumeInput(link->conn)) break;
	}
	PQclear(answers->kept);
	return NULL;
}

static int outcome(struct pg_link *link, bool begun, struct answers answers, PGresult **out, int64_t until_mono_ns,
                   const char *what, struct vigia_error *err)
{
	bool late = false;
	*link->state = '\0';
	link->sent = true;
	link->cancelled = false;
	link->called_mono_ns = vigia__mono_ns();
	PGresult *result = begun ? finish(link, &answers, until_mono_ns, &late) : NULL;
	if (result == NULL) {
		if (late) link->doubts = true;
		if (late && is_behind(link)) return unreachable(link, what, "another server has taken over", err);
		if (late) return unreachable(link, what, "the server did not reply in time", err);
		return unreachable(link, what, PQerrorMessage(link->conn), err);
	}
	ExecStatusType status = PQresultStatus(result);
	if (link->cancelled) {
		PQclear(result);
		return unreachable(link, what, "an administrator cancelled its wait for the standbys", err);
	}
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

static int connect_once(struct pg_link *link, int64_t until_mono_ns, struct vigia_error *err)
{
	const struct pg_try *failure = NULL;
	struct pg_search *search = vigia__calloc(sizeof *search);
	*link->state = '\0';
	if (search == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory to connect to a server");
	vigia__pg_search_begin(search, link->location, link->known, link->doubts, until_mono_ns);
	atomic_store(&link->search, search);
	link->conn = vigia__pg_search_run(search, until_mono_ns, &link->reign, &failure);
	int rc = VIGIA_OK;
	if (link->conn) {
		link->doubts = false;
		link->connections++;
		PQsetNoticeReceiver(link->conn, notice, link);
	} else {
		take_state(link, failure->sqlstate);
		rc = fail(link, failure->code, "connect to", failure->why, err);
	}
	atomic_store(&link->search, NULL);
	vigia__pg_search_end(search);
	vigia__free(search);
	return rc;
}

int vigia__pg_link_ready(struct pg_link *link, int64_t until_mono_ns, struct vigia_error *err)
{
	link->sent = false;
	if (link->conn && link->doubts) {
		survey(link);
		link->doubts = false;
	}
	if (link->conn && !is_behind(link) && PQstatus(link->conn) == CONNECTION_OK) return VIGIA_OK;
	vigia__pg_link_close(link);
	if (vigia__mono_ns() < link->away_until_mono_ns) {
		/* The caller may have time: a server that restarts is back soon. */
		if (until_mono_ns <= link->away_until_mono_ns) {
			*link->state = '\0';
			bool away = link->away_code == VIGIA_EUNREACHABLE;
			return fail(link, link->away_code, "connect to",
			            away ? "it could not be reached a moment ago" : "it was read-only a moment ago", err);
		}
		pause_until(link->away_until_mono_ns);
	}
	int rc = connect_once(link, until_mono_ns, err);
	/* A new session that was ended by hand tells nothing of the server. */
	for (int i = 0; i < SESSIONS_ENDED_MAX && rc < 0 && is_state(link, "57P01"); i++)
		rc = connect_once(link, until_mono_ns, err);
	link->sent = false;
	bool away = rc == VIGIA_EUNREACHABLE || rc == VIGIA_EREADONLY;
	link->away_until_mono_ns = away ? vigia__mono_ns() + AWAY_NS : 0;
	link->away_code = rc;
	return rc;
}

/* While a primary has all its standbys, none of them has taken over. */
static bool lacks_standbys(struct pg_link *link)
{
	PGresult *row = NULL;
	int rc = vigia__pg_exec(link, "SELECT count(*) FROM pg_catalog.pg_stat_get_wal_senders()", &row,
	                        vigia__pg_until(link), "look at", NULL);
	long long count = rc == VIGIA_OK && PQntuples(row) == 1 ? strtoll(PQgetvalue(row, 0, 0), NULL, 10) : 0;
	PQclear(row);
	return rc == VIGIA_OK && count + 1 < (long long)vigia__pg_location_hosts(link->location);
}

void vigia__pg_link_survey(struct pg_link *link)
{
	if (link->conn == NULL || link->location->hosts_count < 2 || vigia__mono_ns() < link->survey_mono_ns) return;
	if (lacks_standbys(link)) survey_again(link);
	else link->survey_mono_ns = vigia__mono_ns() + SURVEY_EVERY_NS;
}

/* ---- statements ---- */

static const struct answers alone = {.kept = NULL};

static int read_owed(struct pg_link *link, int64_t until_mono_ns, const char *what, struct vigia_error *err)
{
	bool late = false;
	struct answers answers = {.piped = true, .wanted = 0};
	*link->state = '\0';
	link->sent = false;
	link->called_mono_ns = vigia__mono_ns();
	if (!link->owed) return VIGIA_OK;
	PGresult *result = finish(link, &answers, until_mono_ns, &late);
	if (result == NULL)
		return unreachable(link, what, late ? "the server did not answer in time" : PQerrorMessage(link->conn), err);
	PQclear(result);
	return VIGIA_OK;
}

int vigia__pg_exec(struct pg_link *link, const char *text, PGresult **out, int64_t until_mono_ns, const char *what,
                   struct vigia_error *err)
{
	int rc = read_owed(link, until_mono_ns, what, err);
	return rc < 0 ? rc : outcome(link, PQsendQuery(link->conn, text) == 1, alone, out, until_mono_ns, what, err);
}

/* By which the server knows it. */
static const char *name_of(enum pg_statement statement, char room[16])
{
	snprintf(room, 16, "v%d", (int)statement);
	return room;
}

static bool send_call(struct pg_link *link, enum pg_statement statement, const struct pg_param *params)
{
	static const int binary[VIGIA_PG_PARAMS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
	const char *values[VIGIA_PG_PARAMS_MAX];
	int lengths[VIGIA_PG_PARAMS_MAX], count = vigia__pg_statement_params(statement);
	char name[16];
	for (int i = 0; i < count; i++) {
		values[i] = params[i].data;
		lengths[i] = params[i].len;
	}
	return PQsendQueryPrepared(link->conn, name_of(statement, name), count, values, lengths, binary, 1) == 1;
}

static int prepare(struct pg_link *link, enum pg_statement statement, int64_t until_mono_ns, const char *what,
                   struct vigia_error *err)
{
	char name[16];
	if (link->prepared & UINT64_C(1) << statement) return VIGIA_OK;
	int rc = read_owed(link, until_mono_ns, what, err);
	if (rc < 0) return rc;
	bool begun = PQsendPrepare(link->conn, name_of(statement, name), link->texts[statement], 0, NULL) == 1;
	rc = outcome(link, begun, alone, NULL, until_mono_ns, what, err);
	if (rc < 0) link->sent = false;
	else link->prepared |= UINT64_C(1) << statement;
	return rc;
}

void vigia__pg_rollback(struct pg_link *link, int64_t until_mono_ns, const char *what)
{
	char state[sizeof link->state];
	if (link->conn == NULL) return;
	memcpy(state, link->state, sizeof state);
	if (vigia__pg_exec(link, "ROLLBACK", NULL, until_mono_ns, what, NULL) < 0) vigia__pg_link_close(link);
	memcpy(link->state, state, sizeof state);
}

int vigia__pg_call(struct pg_link *link, enum pg_statement statement, const struct pg_param *params, PGresult **out,
                   int64_t until_mono_ns, const char *what, struct vigia_error *err)
{
	int rc = prepare(link, statement, until_mono_ns, what, err);
	if (rc == VIGIA_OK) rc = read_owed(link, until_mono_ns, what, err);
	return rc < 0 ? rc : outcome(link, send_call(link, statement, params), alone, out, until_mono_ns, what, err);
}

static bool send_text(struct pg_link *link, const char *text)
{
	return text == NULL || PQsendQueryParams(link->conn, text, 0, NULL, NULL, NULL, NULL, 0) == 1;
}

int vigia__pg_call_round(struct pg_link *link, enum pg_statement statement, const struct pg_param *params,
                         const struct pg_round *round, PGresult **out, int64_t until_mono_ns, const char *what,
                         struct vigia_error *err)
{
	struct answers answers = {.piped = true, .wanted = round->before ? 1 : 0, .owes = round->then_params != NULL};
	int rc = answers.owes ? prepare(link, round->then, until_mono_ns, what, err) : VIGIA_OK;
	if (rc == VIGIA_OK) rc = prepare(link, statement, until_mono_ns, what, err);
	if (rc < 0) return rc;
	answers.skips = link->owed;
	bool begun = PQenterPipelineMode(link->conn) == 1 && send_text(link, round->before) &&
	             send_call(link, statement, params) && send_text(link, round->behind) &&
	             PQpipelineSync(link->conn) == 1;
	if (answers.owes)
		begun = begun && send_call(link, round->then, round->then_params) && PQpipelineSync(link->conn) == 1;
	return outcome(link, begun, answers, out, until_mono_ns, what, err);
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
