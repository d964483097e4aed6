/*
 * lmdb_commit.c - the transaction of a group commit: events, calls, queued events and the watchers' progress, all or
 * nothing.
 *
 * Events are appended at the end (MDB_APPEND) under consecutive numbers. If a group's transaction fails in a way that
 * one member may have caused (full map, full disk, no memory), each member gets a transaction of its own: first those
 * that free room, then the queued events, then those that need little room, then the appends.
 *
 * Full map: if the system limited its size, it grows. If the user did, it is enlarged for one transaction of members
 * that free room or need little. Full disk: lmdb_reserve.c says which members may use the last of it. All others are
 * tried in a map that ends where the file does, so that they use freed pages. A transaction in doubt (commit_unknown)
 * is never tried again, because its content may be stored.
 */
#include <errno.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "file_limit.h"
#include "lmdb_private.h"

/* Bytes and number of loans, and how often one is tried while another process writes. An event may waste half a
 * page. */
enum { ROOM_BYTES = 256 * 1024, LOANS_MAX = 8, EVENTS_FACTOR = 2, ALONE_TRIES = 5 };
/* Commits between two checks for killed readers, which prevent the reuse of pages. */
enum { COMMITS_UNTIL_LOOK = 256 };

/* ---- one transaction ---- */

/* What one transaction contains. */
struct attempt {
	struct vigia__ticket *tickets; /* a group's, or NULL */
	bool one;                      /* only the first of them */
	bool rest;                     /* also the queued events and the watchers' progress */
	bool aside;                    /* not the rest while events are queued: they are for a caller's own commit */
	bool collects;                 /* it may remove events that are beyond the limits */
	int leaves_tail;               /* it does not drain the journal, for this reason (a Vigia code). 0: it does */
	uint64_t in_doubt;             /* the last event of a record of the tickets' events that may be in the journal */
	enum vigia__lmdb_keep
		keep;         /* how much of the disk's reserve it leaves; with events all, except on the last chance */
	bool last_chance; /* the last chance of the queued events, which are lost afterwards */
	bool capped;      /* it may only use freed pages */
	/* out */
	bool took;      /* there were queued events, or progress */
	int disk;       /* error number if the disk has no room for it, else 0 */
	int first_disk; /* the same of the first try; later tries are capped */
};

/* Bytes of the tickets' events. */
static uint64_t ticket_bytes(const struct attempt *attempt)
{
	uint64_t bytes = 0;
	for (const struct vigia__ticket *t = attempt->tickets; t; t = attempt->one ? NULL : t->next)
		if (t->kind == VIGIA_TICKET_APPEND) bytes += t->append->len;
		else if (t->kind == VIGIA_TICKET_TRANSACTION) bytes += t->transact->bytes;
		else if (t->kind == VIGIA_TICKET_IMPORT) bytes += t->import->bytes;
	return bytes;
}

/* Bytes of all its events, as far as known before the queue is taken. */
static uint64_t attempt_bytes(struct lmdb_backend *b, const struct attempt *attempt)
{
	uint64_t tail = attempt->leaves_tail ? 0 : b->journal.drained;
	return tail + ticket_bytes(attempt) + (attempt->rest ? atomic_load(&b->queue.bytes) : 0);
}

/* Is there room on the disk? 0 or an error number. */
static int find_room(struct lmdb_backend *b, struct attempt *attempt, const struct vigia__append *queued)
{
	uint64_t bytes = queued->len + ticket_bytes(attempt);
	enum vigia__lmdb_keep keep = bytes > 0 && !attempt->last_chance ? VIGIA_KEEP_ALL : attempt->keep;
	bytes += b->journal.drained; /* whose room is reserved */
	atomic_store(&b->writing_bytes, bytes);
	attempt->disk = attempt->capped ? 0 : vigia__lmdb_reserve(b, keep, bytes);
	return attempt->disk;
}

struct inside {
	struct lmdb_backend *b;
	MDB_txn *txn;
};

static enum vigia__queue_seen look_for_event(void *ctx, uint64_t seq_num, const void *bytes, size_t len)
{
	struct inside *in = ctx;
	size_t n = seq_num;
	uint64_t oldest, latest;
	MDB_val key = vigia__lmdb_key(&n), value;
	int rc = mdb_get(in->txn, in->b->events, &key, &value);
	if (rc == 0)
		return value.mv_size == len && memcmp(value.mv_data, bytes, len) == 0 ? VIGIA_SEEN_STORED : VIGIA_SEEN_OTHER;
	rc = vigia__lmdb_bounds_in(in->b, in->txn, &oldest, &latest);
	return rc == 0 && seq_num <= latest ? VIGIA_SEEN_REMOVED : VIGIA_SEEN_OTHER;
}

/* Called after a commit with queued events failed while it was being published. */
static void settle_queue(struct lmdb_backend *b)
{
	MDB_txn *txn;
	if (vigia__lmdb_write_begin(b, &txn, NULL) < 0) return; /* the next commit settles it */
	uint64_t drained;
	/* The queue may be in the journal. */
	if (vigia__journal_drain(b, txn, &drained, NULL) == 0)
		vigia__queue_settle(&b->queue, look_for_event, &(struct inside){b, txn});
	vigia__lmdb_write_abort(b, txn);
}

/* What one ticket stores. 0, an error of this ticket alone (a Vigia code), or LMDB's error. */
static int write_ticket(struct lmdb_backend *b, MDB_cursor *events, struct vigia__ticket *t,
                        struct vigia__lmdb_stamp *stamp)
{
	bool imports = t->kind == VIGIA_TICKET_IMPORT;
	if (atomic_load(&b->base.importing) && !imports && !t->inner) return vigia__unfinished(t->err);
	if (imports) return vigia__lmdb_import_in(b, events, t->import, stamp, t->err);
	if (t->kind == VIGIA_TICKET_APPEND) return vigia__lmdb_append_request(b, events, t->append, stamp, t->err);
	if (t->kind == VIGIA_TICKET_TRANSACTION) return vigia__lmdb_transact_in(b, events, t->transact, stamp, t->err);
	return t->call(mdb_cursor_txn(events), t->call_arg, t->err);
}

/* Write the queued events and the tickets in one transaction. An LMDB error number fails the whole transaction. */
static int write_tickets(struct lmdb_backend *b, MDB_txn *txn, struct vigia__append *queued,
                         const struct attempt *attempt, struct vigia__wake_set *types)
{
	MDB_cursor *events;
	struct vigia__lmdb_stamp stamp;
	struct last_record last;
	int rc = mdb_cursor_open(txn, b->events, &events);
	if (rc != 0) return rc;
	rc = vigia__lmdb_last(b, txn, events, &last);
	vigia__lmdb_stamp_begin(b, &stamp, last, types);
	if (rc == 0 && queued->count > 0) rc = vigia__lmdb_append_request(b, events, queued, &stamp, NULL);
	for (struct vigia__ticket *t = attempt->tickets; t && rc == 0; t = attempt->one ? NULL : t->next) {
		t->rc = write_ticket(b, events, t, &stamp);
		if (t->kind == VIGIA_TICKET_IMPORT && t->import->step == VIGIA_IMPORT_BEGINS) last = stamp.last;
		if (lmdb_is_error(t->rc)) rc = t->rc; /* a failure of the transaction, not of the ticket */
	}
	if (rc == 0) rc = vigia__index_seal(b, events, last.seq_num, stamp.last.seq_num);
	mdb_cursor_close(events);
	b->stamped = stamp.last;
	atomic_store_explicit(&b->reached, stamp.last.seq_num, memory_order_relaxed);
	return rc;
}

/* ---- a record of the journal ---- */

/* May the journal take all members? What needs LMDB goes there, and drains the journal first. */
static bool only_appends(const struct vigia__ticket *tickets)
{
	for (const struct vigia__ticket *t = tickets; t; t = t->next) {
		if (t->kind != VIGIA_TICKET_APPEND || t->append->key.len > 0) return false;
		if (t->append->count == 0 && t->append->keep) return false;
	}
	return true;
}

/* Check the members' conditions as if the record were written. Sets their results, and counts what is accepted. */
static void admit_tickets(struct vigia__ticket *tickets, struct vigia__lmdb_stamp stamp, size_t *count, size_t *bytes)
{
	for (struct vigia__ticket *t = tickets; t; t = t->next) {
		t->rc = vigia__lmdb_admit(t->append, &stamp, t->err);
		if (t->rc < 0) continue;
		stamp.last.seq_num += t->append->count;
		*count += t->append->count;
		*bytes += t->append->len;
	}
}

/* Write the group as one record. VIGIA_NONE: the journal does not take it, and the transaction goes on. Else the
 * transaction is over: VIGIA_OK; EUNKNOWN with *in_doubt set: its events may be in the journal. */
static int write_record(struct lmdb_backend *b, MDB_txn *txn, struct vigia__ticket *tickets,
                        struct vigia__wake_set *types, uint64_t *in_doubt)
{
	struct vigia__queue *queue = &b->queue;
	struct vigia__append queued = {0};
	size_t count = 0, bytes = 0;
	bool takes = vigia__queue_any(queue), written = false;
	*in_doubt = 0;
	if (b->journal.at == 0 || !only_appends(tickets) || vigia__lmdb_settings_follow(b, txn) != 0) return VIGIA_NONE;
	if (atomic_load(&b->base.importing) || !vigia__journal_is_ready(b, txn)) return VIGIA_NONE;
	struct vigia__chain end = vigia__journal_end(b);
	struct vigia__lmdb_stamp stamp;
	vigia__lmdb_stamp_begin(b, &stamp, (struct last_record){end.last, end.last_at}, types);
	if (takes && vigia__queue_commit_begin(queue, &queued, look_for_event, &(struct inside){b, txn}) < 0) {
		vigia__queue_commit_skip(queue);
		return VIGIA_NONE;
	}
	stamp.last.seq_num += queued.count;
	admit_tickets(tickets, stamp, &count, &bytes);
	stamp.last.seq_num -= queued.count;
	if (!vigia__journal_takes(b, count + queued.count, bytes + queued.len)) {
		if (takes) vigia__queue_commit_skip(queue);
		return VIGIA_NONE;
	}
	if (queued.count > 0) vigia__lmdb_record_request(b, &queued, &stamp);
	for (struct vigia__ticket *t = tickets; t; t = t->next)
		if (t->rc == VIGIA_OK) vigia__lmdb_record_request(b, t->append, &stamp);
	int rc = vigia__journal_write(b, stamp.last.at_ns, &written);
	bool again = rc != 0 && !written;
	if (takes) vigia__queue_commit_end(queue, &queued, rc == 0 ? VIGIA_OK : again ? VIGIA_EIO : VIGIA_EUNKNOWN);
	if (again) return VIGIA_NONE; /* LMDB's error will tell what is wrong, if it fails too */
	b->stamped = stamp.last;
	atomic_store_explicit(&b->reached, stamp.last.seq_num, memory_order_relaxed);
	vigia__lmdb_write_abort(b, txn);
	if (rc == 0) return VIGIA_OK;
	*in_doubt = stamp.last.seq_num;
	return VIGIA_EUNKNOWN;
}

/* ---- one transaction of LMDB ---- */

/* Write and commit. Of LMDB's errors only MDB_MAP_FULL is returned as such. Progress is read before the queue is taken,
 * so that no checkpoint is stored before what its handler had queued. */
static int write_once(struct lmdb_backend *b, MDB_txn *txn, struct attempt *attempt, struct vigia__wake_set *types,
                      struct vigia_error *err)
{
	struct vigia__queue *queue = &b->queue;
	struct inside in = {b, txn};
	struct vigia__progress_taken *taken = NULL;
	struct vigia__append queued = {0};
	uint64_t drained = 0;
	struct vigia__wake_set stored;
	bool takes = false;
	vigia__wake_set_clear(&stored);
	int rc = vigia__lmdb_settings_follow(b, txn);
	if (attempt->leaves_tail) vigia__journal_leave(b, attempt->leaves_tail);
	else if (rc == 0) rc = vigia__journal_drain(b, txn, &drained, err);
	bool importing = atomic_load(&b->base.importing);
	if (rc == 0 && attempt->rest && !importing) {
		rc = vigia__progress_commit_begin(&b->base.progress, &taken);
		takes = vigia__queue_any(queue);
		if (takes && attempt->aside) {
			/* Without the queue no progress. What was in doubt is settled before its events may be removed. */
			vigia__progress_commit_end(&b->base.progress, taken, false);
			if (!attempt->leaves_tail) vigia__queue_settle(queue, look_for_event, &in);
			taken = NULL;
			takes = false;
		}
		if (takes && vigia__queue_commit_begin(queue, &queued, look_for_event, &in) < 0) rc = ENOMEM;
		attempt->took = taken || queued.count > 0;
	}
	if (rc == 0) rc = find_room(b, attempt, &queued);
	/* A record in doubt that was there is drained, and has given its events their numbers. */
	bool there = attempt->in_doubt > 0 && drained == attempt->in_doubt;
	if (rc == 0 && !there) rc = write_tickets(b, txn, &queued, attempt, &stored);
	if (rc == 0 && !attempt->leaves_tail) rc = vigia__journal_turn(b, txn, vigia__wake_set_any(&stored) || drained > 0);
	if (rc == 0) rc = vigia__lmdb_progress_put(b, txn, taken, err);
	/* Not where room is short: a trim and the collector know what to do then. */
	if (rc == 0 && attempt->collects && !importing) rc = vigia__lmdb_collect_in(b, txn, queued.count);
	bool full = rc == MDB_MAP_FULL;
	if (rc == 0) {
		b->has_events = vigia__wake_set_any(&stored) || drained > 0;
		rc = vigia__lmdb_write_commit(b, txn, err);
		full = rc == VIGIA_EFULL;
		if (rc == VIGIA_OK) vigia__journal_committed(b);
		else vigia__journal_doubt(b);
	} else {
		vigia__lmdb_write_abort(b, txn);
		if (lmdb_is_error(rc)) rc = vigia__lmdb_error(b, rc, "store", err);
	}
	if (rc == VIGIA_OK) vigia__wake_set_join(types, &stored);
	if (takes) vigia__queue_commit_end(queue, &queued, rc);
	if (rc == VIGIA_OK) vigia__backend_saved_all(&b->base, taken);
	vigia__progress_commit_end(&b->base.progress, taken, rc == VIGIA_OK);
	if (rc == VIGIA_EUNKNOWN && queued.count > 0) settle_queue(b);
	return full ? MDB_MAP_FULL : rc;
}

/* ---- room ---- */

/* Begin in an enlarged map, or in one that ends where the file does. `refused`: the error to report if that map is not
 * possible now. */
static int begin_alone(struct lmdb_backend *b, bool capped, size_t more, int refused, MDB_txn **txn,
                       struct vigia_error *err)
{
	for (int tries = 0;; tries++) {
		int rc = capped ? vigia__lmdb_map_cap(b) : vigia__lmdb_map_lend(b, more);
		bool claimed = rc == 0;
		if (claimed) {
			rc = vigia__lmdb_uncut(b, err);
			if (rc == 0) rc = mdb_txn_begin(b->env, NULL, 0, txn);
			if (rc == 0) return vigia__lmdb_write_begun(b, *txn, err);
			vigia__lmdb_map_leave(b);
		}
		if (rc == MDB_PANIC && tries < ALONE_TRIES) rc = vigia__lmdb_reopen(b, err);
		/* Resized: another process used pages beyond this map before we got the lock. */
		if (rc == 0 || (rc == MDB_MAP_RESIZED && tries < ALONE_TRIES)) continue;
		if (!lmdb_is_error(rc)) return rc;
		bool no_space = rc == ENOMEM && !claimed && b->map_grows; /* the reason why the map is full */
		if (rc == MDB_MAP_RESIZED || (rc == EBUSY && capped) || no_space)
			/* GCOVR_EXCL_START: another process enlarges the file all the time. */
			return vigia__lmdb_error(b, refused, "store", err);
		/* GCOVR_EXCL_STOP */
		return vigia__lmdb_error(b, rc, "begin to write", err);
	}
}

/* One transaction, repeated while there is no room and the map can be enlarged. With `lent` the map may be enlarged for
 * it alone, even if it cannot grow a step, because a step leaves some address space to the process. VIGIA_OK or a Vigia
 * code. */
static int write_in(struct lmdb_backend *b, bool lent, struct attempt *attempt, struct vigia__wake_set *types,
                    struct vigia_error *err)
{
	for (size_t loans = 0;;) {
		MDB_txn *txn;
		bool alone = attempt->capped || loans > 0;
		size_t more = alone ? loans * ROOM_BYTES + EVENTS_FACTOR * attempt_bytes(b, attempt) : 0;
		int disk = attempt->disk,
			rc = alone ? begin_alone(b, attempt->capped, more, disk ? disk : MDB_MAP_FULL, &txn, err)
		               : vigia__lmdb_write_begin(b, &txn, err);
		size_t seen = b->map_bytes;
		if (rc == VIGIA_OK) rc = write_once(b, txn, attempt, types, err);
		bool exceeded = (alone && !attempt->capped) || attempt->last_chance;
		if (rc == VIGIA_OK && exceeded && attempt->took) vigia__queue_exceeded(&b->queue);
		if (attempt->disk != 0 && !attempt->capped) {
			attempt->first_disk = attempt->disk;
			attempt->capped = true;
			continue;
		}
		if (rc != MDB_MAP_FULL) return rc;
		if (attempt->capped) return vigia__lmdb_error(b, disk, "store", err);
		rc = b->map_grows && loans == 0 ? vigia__lmdb_map_grow(b, seen) : ENOMEM;
		if (rc == 0) continue;
		if (rc != ENOMEM || !lent || loans == LOANS_MAX)
			return vigia__lmdb_error(b, rc == ENOMEM ? MDB_MAP_FULL : rc, "store", err);
		loans++;
	}
}

static int nudge_call(void *txn, void *arg, struct vigia_error *err)
{
	struct lmdb_backend *b = arg;
	uint64_t own = mdb_txn_id(txn), before = 0;
	MDB_val key = {5, "nudge"}, value;
	int rc = mdb_get(txn, b->meta, &key, &value);
	if (rc == 0 && value.mv_size == sizeof before) memcpy(&before, value.mv_data, sizeof before);
	if (rc != 0 && rc != MDB_NOTFOUND) return rc;
	if (before + 1 == own) return 0; /* nothing was freed since then */
	value = (MDB_val){sizeof own, &own};
	return mdb_put(txn, b->meta, &key, &value, 0);
}

/* A commit of a few pages, because pages freed by one commit can be reused only by the second one after it. Not twice
 * in a row: while a reader keeps the freed pages, failing appends must not use up the loan or the disk's reserve, which
 * are for those that free room. */
static void nudge(struct lmdb_backend *b)
{
	struct vigia__ticket ticket = {.kind = VIGIA_TICKET_CALL, .inner = true, .call = nudge_call, .call_arg = b};
	struct vigia__wake_set types;
	vigia__wake_set_clear(&types);
	struct attempt attempt = {.tickets = &ticket, .one = true, .leaves_tail = VIGIA_EFULL, .keep = VIGIA_KEEP_NONE};
	write_in(b, true, &attempt, &types, NULL);
}

/* ---- a group ---- */

/* The order in which members are tried one by one: those that free room, after the queued events those that need little
 * room, then appends. */
enum turn { TURN_FREES, TURN_SAVES, TURN_APPENDS, TURNS };

static enum turn turn_of(const struct vigia__ticket *ticket)
{
	if (ticket->kind == VIGIA_TICKET_TRANSACTION) return ticket->transact->frees ? TURN_FREES : TURN_APPENDS;
	if (ticket->kind == VIGIA_TICKET_APPEND && ticket->append->count > 0) return TURN_APPENDS;
	if (ticket->kind == VIGIA_TICKET_IMPORT) return TURN_APPENDS;
	return ticket->kind == VIGIA_TICKET_FREE ? TURN_FREES : TURN_SAVES;
}

static void fail_ticket(struct vigia__ticket *ticket, int rc, const struct vigia_error *err)
{
	ticket->rc = rc;
	if (ticket->err) *ticket->err = *err;
}

static bool all_aside(const struct vigia__ticket *ticket)
{
	while (ticket && ticket->aside) ticket = ticket->next;
	return ticket == NULL;
}

/* Write the queued events and the watchers' progress. For a checkpoint, which must not get ahead of the queue, and for
 * a close, the last chance, the map may be exceeded. On a full disk, and at the limit on the size of files, a close may
 * use up the reserve. Whether it suffices is not checked, because the attempt costs nothing. The queue may use what a
 * trim freed, as appends may. */
static int write_rest(struct lmdb_backend *b, const struct vigia__ticket *tickets, struct vigia__wake_set *types,
                      struct vigia_error *err)
{
	bool lent = atomic_load(&b->queue.bytes) == 0, last_chance = false;
	for (const struct vigia__ticket *t = tickets; t; t = t->next) {
		last_chance |= t->kind == VIGIA_TICKET_APPEND && t->append->last_chance;
		lent |= turn_of(t) == TURN_SAVES && (t->kind == VIGIA_TICKET_CALL || t->append->keep);
	}
	const struct attempt tried = {.rest = true, .aside = all_aside(tickets), .keep = VIGIA_KEEP_HALF};
	struct attempt rest = tried;
	int rc = write_in(b, lent, &rest, types, err);
	if (rc == VIGIA_EFULL || rc == VIGIA_EDISKFULL) {
		nudge(b);
		rest = tried;
		rc = write_in(b, lent, &rest, types, err);
	}
	if (rc != VIGIA_EDISKFULL || !last_chance || rest.first_disk == 0) return rc;
	return write_in(b, lent, &(struct attempt){.rest = true, .keep = VIGIA_KEEP_NONE, .last_chance = true}, types, err);
}

/* Write each member separately, so that each fails alone. */
static void write_one_by_one(struct lmdb_backend *b, struct vigia__ticket *tickets, struct vigia__wake_set *types)
{
	struct vigia_error rest_err = {0};
	int rest_rc = VIGIA_OK;
	for (enum turn turn = TURN_FREES; turn < TURNS; turn++) {
		bool nudged = false;
		if (turn == TURN_SAVES) rest_rc = write_rest(b, tickets, types, &rest_err);
		for (struct vigia__ticket *t = tickets; t; t = t->next) {
			struct vigia_error err = {0};
			struct attempt one = {
				.tickets = t, .one = true, .keep = turn == TURN_FREES ? VIGIA_KEEP_NONE : VIGIA_KEEP_HALF};
			if (turn_of(t) != turn) continue;
			if (turn != TURN_FREES && rest_rc < 0) {
				fail_ticket(t, rest_rc, &rest_err);
				continue;
			}
			if (turn == TURN_APPENDS && !nudged) {
				nudge(b);
				nudged = true;
			}
			if (t->err) *t->err = err; /* clear what the first try left */
			int rc = write_in(b, turn != TURN_APPENDS, &one, types, &err);
			bool full = rc == VIGIA_EFULL || rc == VIGIA_EDISKFULL;
			if (turn == TURN_FREES && full && b->journal.drained > 0) {
				one = (struct attempt){.tickets = t, .one = true, .leaves_tail = rc, .keep = VIGIA_KEEP_NONE};
				rc = write_in(b, true, &one, types, &err);
			}
			if (rc < 0) fail_ticket(t, rc, &err);
		}
	}
}

static bool only_frees(const struct vigia__ticket *ticket)
{
	while (ticket && ticket->kind == VIGIA_TICKET_FREE) ticket = ticket->next;
	return ticket == NULL;
}

/* May a member alone be the cause, so that the others succeed without it? */
static bool may_be_one(int rc)
{
	return rc == MDB_MAP_FULL || rc == VIGIA_EFULL || rc == VIGIA_EDISKFULL || rc == VIGIA_ENOMEM ||
	       rc == VIGIA_ENOTSTORE;
}

/* The record of this group may be in the journal, or not. Drain it: the commit then settles it. */
static int drain_doubt(struct lmdb_backend *b, struct attempt *attempt, struct vigia__wake_set *types,
                       struct vigia_error *err)
{
	struct vigia_error why = {0};
	int rc = write_in(b, true, attempt, types, &why);
	if (rc >= 0) return rc;
	atomic_store(&b->journal.in_doubt, true);
	return vigia__error_caused(err, VIGIA_EUNKNOWN, why.cause[0] ? why.cause : why.message,
	                           "store '%s': a sync failed, and the commit after it failed too: its changes may or may "
	                           "not be stored; check before you store them again",
	                           b->path);
}

/* Was the lock file looked at only if the clock had ticked? */
static bool seldom_checked(const struct lmdb_backend *b)
{
	return b->journal.at != 0 && vigia__journal_unsynced(b);
}

/* In LMDB. `in_doubt` is the last event of their record, if that may be in the journal; the transaction is over then.
 */
static int write_group(struct lmdb_backend *b, MDB_txn *txn, struct vigia__ticket *tickets, uint64_t in_doubt,
                       struct vigia__wake_set *types, struct vigia_error *err)
{
	struct attempt all = {.tickets = tickets,
	                      .rest = true,
	                      .aside = all_aside(tickets),
	                      .collects = true,
	                      .in_doubt = in_doubt,
	                      .keep = only_frees(tickets) ? VIGIA_KEEP_NONE : VIGIA_KEEP_HALF};
	size_t seen = b->map_bytes;
	if (in_doubt > 0) return drain_doubt(b, &all, types, err);
	int rc = seldom_checked(b) ? vigia__lmdb_locks_there(b, false, err) : VIGIA_OK;
	if (rc < 0) {
		vigia__lmdb_write_abort(b, txn);
		return rc;
	}
	rc = write_once(b, txn, &all, types, err);
	/* A killed reader may have kept pages that could be reused. */
	if ((rc == MDB_MAP_FULL || all.disk != 0) && vigia__lmdb_free_readers(b) > 0) {
		rc = vigia__lmdb_write_begin(b, &txn, err);
		if (rc == VIGIA_OK) rc = write_once(b, txn, &all, types, err);
	}
	while (rc == MDB_MAP_FULL && b->map_grows && vigia__lmdb_map_grow(b, seen) == 0) {
		rc = vigia__lmdb_write_begin(b, &txn, err);
		seen = b->map_bytes;
		if (rc == VIGIA_OK) rc = write_once(b, txn, &all, types, err);
	}
	bool alone = tickets->next == NULL && !all.took && b->journal.drained == 0 && rc != MDB_MAP_FULL && all.disk == 0;
	if (!may_be_one(rc) || alone) return rc;
	write_one_by_one(b, tickets, types);
	return VIGIA_OK;
}

static int write_limited(void *ctx, void *txn, struct vigia__ticket *tickets, struct vigia__wake_set *types,
                         struct vigia_error *err)
{
	struct vigia__file_limit limit;
	uint64_t in_doubt;
	int rc = write_record(ctx, txn, tickets, types, &in_doubt);
	if (rc == VIGIA_NONE || rc == VIGIA_EUNKNOWN) {
		vigia__file_limit_begin(&limit);
		rc = write_group(ctx, txn, tickets, in_doubt, types, err);
		vigia__file_limit_end(&limit);
	}
	vigia__journal_unlock(ctx);
	return rc;
}

static int lock_writer(void *ctx, void **txn, struct vigia_error *err)
{
	struct lmdb_backend *b = ctx;
	int rc = vigia__lmdb_still_there(b, err);
	if (++b->commits_since >= COMMITS_UNTIL_LOOK) {
		b->commits_since = 0;
		vigia__lmdb_free_readers(b);
	}
	if (rc == VIGIA_OK && (rc = vigia__journal_lock(b, err)) == VIGIA_OK) {
		rc = vigia__lmdb_write_begin(b, (MDB_txn **)txn, err);
		if (rc == VIGIA_OK && (rc = vigia__lmdb_locks_there(b, seldom_checked(b), err)) < 0)
			vigia__lmdb_write_abort(b, *txn);
		if (rc < 0) vigia__journal_unlock(b);
	}
	if (rc < 0) vigia__queue_not_begun(&b->queue, rc);
	return rc;
}

static void publish_commit(void *ctx, const struct vigia__wake_set *types)
{
	struct lmdb_backend *b = ctx;
	vigia__wake_publish(b->base.wake, types);
	if (vigia__wake_set_any(types))
		vigia__collect_call(&b->base.collect_call, atomic_load_explicit(&b->reached, memory_order_relaxed));
}

const struct vigia__commit_ops vigia__lmdb_commit_ops = {
	.lock = lock_writer, .write = write_limited, .publish = publish_commit};
