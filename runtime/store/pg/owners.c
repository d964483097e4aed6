/*
 * owners.c - the watcher ids that this process runs, and its lease.
 *
 * A process is known to the server by its random id. It has a lock of the session that listens, which ends with the
 * connection, and a lease, which the thread that listens renews. Without either others may take its ids: the first
 * tells that it has died, the second that it was stopped or cut off. Each taking of an id has an epoch. What a process
 * saves with an older one is refused by the server, so it needs no clock of its own.
 *
 * One may own an id for a moment, to change what is stored of it. Others wait for the end of that.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "../../core/alloc.h"
#include "../../core/error.h"
#include "pg_private.h"

static const int64_t BRIEF_NS = 5000000000; /* how long to wait for one who owns an id for a moment */
enum { WAIT_OWNER_MS = 1000, LOOK_NS = 10000000 };

/* ---- the list ---- */

/* Under `owners_mutex`. NULL: this process does not own it. */
static struct pg_owned *find(const struct pg_backend *b, const char *id)
{
	struct vigia__node *entry = vigia__table_first(&b->owned, vigia__table_hash(id, strlen(id)));
	while (entry && strcmp(((struct pg_owned *)entry)->id, id) != 0) entry = vigia__table_next(entry);
	return (struct pg_owned *)entry;
}

int64_t vigia__pg_epoch(struct pg_backend *b, const char *id)
{
	pthread_mutex_lock(&b->owners_mutex);
	const struct pg_owned *owned = find(b, id);
	int64_t epoch = owned ? owned->epoch : 0;
	pthread_mutex_unlock(&b->owners_mutex);
	return epoch;
}

int vigia__pg_owned_ids(struct pg_backend *b, struct pg_array *out)
{
	vigia__pg_array_begin(out, VIGIA_PG_BYTES);
	pthread_mutex_lock(&b->owners_mutex);
	for (struct vigia__node *at = NULL; (at = vigia__table_each(&b->owned, at));)
		vigia__pg_array_blob(out, ((struct pg_owned *)at)->id, strlen(((struct pg_owned *)at)->id));
	pthread_mutex_unlock(&b->owners_mutex);
	return out->failed ? -1 : 0;
}

bool vigia__pg_owned_with(struct pg_backend *b, uint64_t hash, char id[256])
{
	pthread_mutex_lock(&b->owners_mutex);
	const struct pg_owned *owned = (struct pg_owned *)vigia__table_first(&b->owned, hash);
	bool runs = owned && owned->epoch != 0 && !owned->briefly;
	if (runs) memcpy(id, owned->id, sizeof owned->id);
	pthread_mutex_unlock(&b->owners_mutex);
	return runs;
}

/* True: it is in the list now. Else *moment says whether the one who owns it does so for a moment. *starting: it is one
 * that waits for that, to run the id; others begin no moment then. */
static bool enlist(struct pg_backend *b, struct pg_owned *owned, bool *moment, bool *starting)
{
	pthread_mutex_lock(&b->owners_mutex);
	const struct pg_owned *other = find(b, owned->id);
	*moment = other ? other->briefly : owned->briefly && b->starting > 0;
	bool enlisted = other == NULL && !*moment;
	if (enlisted) vigia__table_add(&b->owned, &owned->entry, vigia__table_hash(owned->id, strlen(owned->id)));
	if (!owned->briefly && *starting != *moment) {
		*starting = *moment;
		b->starting += *starting ? 1 : -1;
	}
	pthread_mutex_unlock(&b->owners_mutex);
	return enlisted;
}

static void end_starting(struct pg_backend *b, bool starting)
{
	pthread_mutex_lock(&b->owners_mutex);
	if (starting) b->starting--;
	pthread_mutex_unlock(&b->owners_mutex);
}

/* Its epoch. */
static int64_t strike(struct pg_backend *b, const char *id)
{
	pthread_mutex_lock(&b->owners_mutex);
	struct pg_owned *owned = find(b, id);
	if (owned) vigia__table_remove(&b->owned, &owned->entry);
	pthread_mutex_unlock(&b->owners_mutex);
	int64_t epoch = owned ? owned->epoch : 0;
	vigia__free(owned);
	return epoch;
}

/* ---- who has an id ---- */

static struct vigia__runner taker_of(const PGresult *row)
{
	struct vigia__runner taker = {.pid = (int32_t)vigia__pg_int(row, 0, 2)};
	struct vigia_slice name = vigia__pg_bytes(row, 0, 1);
	snprintf(taker.host, sizeof taker.host, "%.*s", (int)name.len, name.data);
	return taker;
}

/* Asked on a connection that is open already; where it is not, nobody is known. */
static struct vigia__runner ask_taker(struct pg_link *link, const char *id)
{
	const struct pg_param param = vigia__pg_blob(id, strlen(id));
	struct vigia__runner taker = {0};
	PGresult *row = NULL;
	if (link->conn && vigia__pg_call(link, VIGIA_PG_OWNER, &param, &row, vigia__pg_until(link), "look at", NULL) == 0)
		taker = taker_of(row);
	PQclear(row);
	return taker;
}

void vigia__pg_lose(struct pg_backend *b, const char *id)
{
	struct vigia__runner taker = ask_taker(&b->writer, id);
	pthread_mutex_lock(&b->owners_mutex);
	struct pg_owned *owned = find(b, id);
	if (owned && !owned->lost) {
		owned->lost = true;
		owned->taker = taker;
	}
	pthread_mutex_unlock(&b->owners_mutex);
}

/* pid 0: it is not known. */
static int owned_by(const struct pg_backend *b, const struct vigia__runner *taker, const char *id,
                    struct vigia_error *err)
{
	char who[64 + VIGIA_ROW_HOST] = "";
	bool here = strcmp(b->host, taker->host) == 0;
	if (taker->pid > 0)
		snprintf(who, sizeof who, " (pid %ld%s%s)", (long)taker->pid, here ? "" : " on ",
		         here ? "" : VIGIA_SHOWN(taker->host));
	return vigia__error_watcher(
		err, id, vigia__error(err, VIGIA_EOWNED, "watcher '%s' is run by another process%s", VIGIA_SHOWN(id), who));
}

/* ---- the thread that listens ---- */

/* What it owns, but for what is being taken, by a job behind this. */
static void list_owned(struct pg_backend *b, struct pg_array *ids, struct pg_array *epochs)
{
	vigia__pg_array_begin(ids, VIGIA_PG_BYTES);
	vigia__pg_array_begin(epochs, VIGIA_PG_BIG);
	pthread_mutex_lock(&b->owners_mutex);
	for (struct vigia__node *at = NULL; (at = vigia__table_each(&b->owned, at));) {
		const struct pg_owned *owned = (struct pg_owned *)at;
		if (owned->epoch == 0 || owned->lost) continue;
		vigia__pg_array_blob(ids, owned->id, strlen(owned->id));
		vigia__pg_array_number(epochs, owned->epoch);
	}
	pthread_mutex_unlock(&b->owners_mutex);
}

static void lose_all(struct pg_backend *b, const PGresult *rows)
{
	for (int row = 0; row < PQntuples(rows); row++) {
		char id[256];
		if (PQgetisnull(rows, row, 1)) continue;
		struct vigia_slice bytes = vigia__pg_bytes(rows, row, 1);
		snprintf(id, sizeof id, "%.*s", (int)bytes.len, bytes.data);
		struct vigia__runner taker = ask_taker(&b->listener, id);
		pthread_mutex_lock(&b->owners_mutex);
		struct pg_owned *owned = find(b, id);
		if (owned && owned->epoch != 0) { /* 0: given up meanwhile, and taken again */
			owned->lost = true;
			owned->taker = taker;
		}
		pthread_mutex_unlock(&b->owners_mutex);
	}
}

static void renewed(struct pg_backend *b)
{
	b->renew_mono_ns = vigia__mono_ns() + b->location.lease_ns / 10 * 3;
}

int vigia__pg_owners_enter(struct pg_backend *b, struct vigia_error *err)
{
	struct pg_number pid, lease;
	struct pg_array ids = {0}, epochs = {0};
	PGresult *rows = NULL;
	list_owned(b, &ids, &epochs);
	const struct pg_param params[] = {
		vigia__pg_blob(b->client, sizeof b->client),
		vigia__pg_blob(b->host, strlen(b->host)),
		vigia__pg_small(&pid, (int32_t)getpid()),
		vigia__pg_big(&lease, b->location.lease_ns),
		vigia__pg_array_end(&ids),
		vigia__pg_array_end(&epochs),
	};
	int rc = ids.failed || epochs.failed ? vigia__error(err, VIGIA_ENOMEM, "no memory for the watchers of this process")
	                                     : vigia__pg_call(&b->listener, VIGIA_PG_ENTER, params, &rows,
	                                                      vigia__pg_until(&b->listener), "open", err);
	if (rc == VIGIA_OK) {
		b->times_lost = vigia__pg_int(rows, 0, 0);
		lose_all(b, rows);
		renewed(b);
	}
	PQclear(rows);
	vigia__pg_array_deinit(&ids);
	vigia__pg_array_deinit(&epochs);
	return rc;
}

void vigia__pg_owners_look(struct pg_backend *b)
{
	b->renew_mono_ns = 0;
}

/* Where it fails the connection is closed, and the next one enters, or it is tried again. */
int64_t vigia__pg_owners_renew(struct pg_backend *b)
{
	struct pg_number lease;
	PGresult *row;
	const struct pg_param params[] = {vigia__pg_blob(b->client, sizeof b->client),
	                                  vigia__pg_big(&lease, b->location.lease_ns)};
	if (b->listener.conn == NULL || vigia__mono_ns() < b->renew_mono_ns) return b->renew_mono_ns;
	renewed(b);
	int rc = vigia__pg_call(&b->listener, VIGIA_PG_RENEW, params, &row, vigia__pg_until(&b->listener), "use", NULL);
	if (rc < 0) return b->renew_mono_ns;
	bool known = !PQgetisnull(row, 0, 0) && vigia__pg_int(row, 0, 0) == b->times_lost;
	PQclear(row);
	if (!known) vigia__pg_owners_enter(b, NULL);
	return b->renew_mono_ns;
}

/* ---- taking and giving up ---- */

/* Does a process own it? *out: which, or the last one that did. */
static bool ask_owner(struct pg_backend *b, const char *id, struct vigia__runner *out)
{
	const struct pg_param param = vigia__pg_blob(id, strlen(id));
	PGresult *row;
	*out = (struct vigia__runner){0};
	if (vigia__pg_ask(b, VIGIA_PG_OWNER, &param, &row, "look at", NULL) < 0) return false;
	bool held = vigia__pg_bool(row, 0, 0);
	*out = taker_of(row);
	PQclear(row);
	return held;
}

static int owned_by_other(struct pg_backend *b, const char *id, struct vigia_error *err)
{
	struct vigia__runner runner;
	ask_owner(b, id, &runner);
	return owned_by(b, &runner, id, err);
}

static int owned_here(const char *id, struct vigia_error *err)
{
	return vigia__error_watcher(err, id,
	                            vigia__error(err, VIGIA_EOWNED,
	                                         "watcher '%s' is run by another registry of this process (pid %ld)",
	                                         VIGIA_SHOWN(id), (long)getpid()));
}

struct taking {
	struct pg_backend *b;
	struct pg_owned *owned;
	bool moment; /* another process has it, for a moment */
};

/* On the thread that listens, so that an enter behind it knows of the id. */
static void taken(void *arg, const PGresult *row)
{
	struct taking *taking = arg;
	taking->moment = !PQgetisnull(row, 0, 0) && vigia__pg_int(row, 0, 0) == 0;
	pthread_mutex_lock(&taking->b->owners_mutex);
	taking->owned->epoch = vigia__pg_int(row, 0, 0);
	pthread_mutex_unlock(&taking->b->owners_mutex);
}

/* In the list it is, and stays there if it was taken. */
static int take_listed(struct pg_backend *b, struct pg_owned *owned, bool *moment, struct vigia_error *err)
{
	struct pg_number brief;
	struct taking taking = {b, owned, false};
	const struct pg_param params[] = {vigia__pg_blob(owned->id, strlen(owned->id)),
	                                  vigia__pg_blob(b->client, sizeof b->client),
	                                  vigia__pg_truth(&brief, owned->briefly)};
	int rc = vigia__pg_run_job(b, VIGIA_PG_OWN, params, taken, &taking, NULL, err);
	*moment = taking.moment;
	return rc == VIGIA_OK && owned->epoch == 0 ? VIGIA_EOWNED : rc;
}

static int take(struct vigia__backend *base, const char *id, bool briefly, struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	int64_t until = vigia__mono_ns() + BRIEF_NS;
	for (bool starting = false;;) {
		bool moment;
		struct pg_owned *owned = vigia__calloc(sizeof *owned);
		if (owned == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for watcher '%s'", VIGIA_SHOWN(id));
		snprintf(owned->id, sizeof owned->id, "%s", id);
		owned->briefly = briefly;
		bool mine = !enlist(b, owned, &moment, &starting);
		int rc = mine ? VIGIA_EOWNED : take_listed(b, owned, &moment, err);
		if (rc == VIGIA_OK) return rc;
		if (mine) vigia__free(owned);
		else strike(b, id);
		if (rc != VIGIA_EOWNED) return rc;
		if (!moment || vigia__mono_ns() >= until) {
			end_starting(b, starting);
			return mine ? owned_here(id, err) : owned_by_other(b, id, err);
		}
		nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
	}
}

int vigia__pg_own(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	return take(base, id, false, err);
}

int vigia__pg_own_briefly(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	return take(base, id, true, err);
}

/* If that fails, the next enter gives it up. */
void vigia__pg_disown(struct vigia__backend *base, const char *id)
{
	struct pg_backend *b = pg_of(base);
	struct pg_number epoch;
	const struct pg_param params[] = {vigia__pg_blob(id, strlen(id)), vigia__pg_blob(b->client, sizeof b->client),
	                                  vigia__pg_big(&epoch, strike(b, id))};
	vigia__pg_run_job(b, VIGIA_PG_DISOWN, params, NULL, NULL, NULL, NULL);
}

/* ---- what others own ---- */

bool vigia__pg_owner(struct vigia__backend *base, const char *id, struct vigia__runner *out)
{
	bool held = ask_owner(pg_of(base), id, out);
	if (!held) *out = (struct vigia__runner){0};
	return held;
}

int vigia__pg_lost(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	pthread_mutex_lock(&b->owners_mutex);
	const struct pg_owned *owned = find(b, id);
	bool lost = owned && owned->lost;
	struct vigia__runner taker = {0};
	if (lost) taker = owned->taker;
	pthread_mutex_unlock(&b->owners_mutex);
	return lost ? owned_by(b, &taker, id, err) : VIGIA_OK;
}

int vigia__pg_wait_owner(struct vigia__backend *base, const char *id, int cancel_fd, struct vigia_error *err)
{
	struct pollfd fd = {.fd = cancel_fd, .events = POLLIN};
	struct vigia__runner runner;
	while (vigia__pg_owner(base, id, &runner))
		if (poll(&fd, 1, WAIT_OWNER_MS) > 0)
			return vigia__error(err, VIGIA_EINTERRUPTED, "the wait for watcher '%s' was interrupted", VIGIA_SHOWN(id));
	return VIGIA_OK;
}
