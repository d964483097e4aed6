/*
 * lmdb_commit.c - the transaction of a group commit: events, calls, what is queued and the watchers' progress, all or
 * nothing.
 *
 * Events are appended at the end (MDB_APPEND) under consecutive numbers. When the transaction of a group fails by
 * something that one member may have caused (a full map, a full disk, no memory), the members are tried one by one in
 * transactions of their own: first those that free room, without what is queued; then what is queued; then those that
 * take hardly any room; then the appends.
 *
 * A full map: one that the system made small grows; one that the user made small lends room, for one transaction, to
 * members that free room or take hardly any. A full disk: lmdb_reserve.c says which of them may use the last of it; all
 * others are tried in a map that ends where the file does, so that they use pages that were freed. A transaction in
 * doubt (commit_unknown) is never tried again: what it holds may be there.
 */
#include <errno.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "file_limit.h"
#include "lmdb_private.h"

/* A loan, and how many of them; of an event's bytes half a page may be lost. How often one is tried beside another
 * process that writes. */
enum { ROOM_BYTES = 256 * 1024, LOANS_MAX = 8, EVENTS_FACTOR = 2, ALONE_TRIES = 5 };
/* Commits between two looks for readers that were killed, which keep pages in use. */
enum { COMMITS_UNTIL_LOOK = 256 };

/* ---- append ---- */

struct stamp {
	struct last_record last;
	int64_t now_at_ns; /* never before the last event's time, whatever the clock says */
	uint64_t types;    /* wake words to bump */
	int64_t size_max;  /* of an event */
};

static int append_one(MDB_cursor *events, uint8_t *bytes, size_t len, struct stamp *stamp)
{
	size_t seq_num = stamp->last.seq_num + 1;
	vigia__event_stamp(bytes, len, seq_num, stamp->now_at_ns);
	MDB_val key = vigia__lmdb_key(&seq_num), value = {len, bytes};
	int rc = mdb_cursor_put(events, &key, &value, MDB_APPEND);
	if (rc != 0) return rc;
	struct vigia__head head;
	if (vigia__event_head(bytes, len, &head) == 0) stamp->types |= vigia__wake_bit(head.object_type);
	stamp->last = (struct last_record){seq_num, stamp->now_at_ns};
	return 0;
}

/* The setting may have been lowered since the events were encoded. */
static int sizes_check(const struct vigia__append *request, int64_t size_max, struct vigia_error *err)
{
	size_t start = 0;
	if (request->len <= (uint64_t)size_max) return VIGIA_OK;
	for (size_t i = 0; i < request->count; i++) {
		size_t end = request->ends ? request->ends[i] : request->len;
		if (end - start > (uint64_t)size_max)
			return vigia__error(err, VIGIA_ETOOBIG, "the event has %zu bytes, max_event_size is %lld bytes",
			                    end - start, (long long)size_max);
		start = end;
	}
	return VIGIA_OK;
}

/* 0; ESEQUENCE, ETOOBIG; LMDB's error. */
static int append_request(struct lmdb_backend *b, MDB_cursor *events, struct vigia__append *request,
                          struct stamp *stamp, struct vigia_error *err)
{
	request->existed = false;
	if (request->key.len > 0) {
		int rc = vigia__lmdb_key_find(b, mdb_cursor_txn(events), request);
		if (rc != 0 || request->existed) return rc;
	}
	if (request->if_last_given && request->if_last != stamp->last.seq_num)
		return vigia__append_conflict(request, stamp->last.seq_num, err);
	int too_big = request->accepted ? 0 : sizes_check(request, stamp->size_max, err);
	if (too_big < 0) return too_big;
	request->first_seq = stamp->last.seq_num + 1;
	size_t start = 0;
	for (size_t i = 0; i < request->count; i++) {
		size_t end = request->ends ? request->ends[i] : request->len;
		int rc = append_one(events, request->bytes + start, end - start, stamp);
		if (rc != 0) return rc;
		start = end;
	}
	request->last_seq = stamp->last.seq_num;
	return request->key.len > 0 && request->count > 0 ? vigia__lmdb_key_put(b, mdb_cursor_txn(events), request) : 0;
}

/* ---- one transaction ---- */

/* What one transaction is to hold. */
struct attempt {
	struct vigia__ticket *tickets; /* a group's, or NULL */
	bool one;                      /* only the first of them */
	bool rest;                     /* what is queued and the watchers' progress, too */
	enum vigia__lmdb_keep
		keep;         /* how much of the reserve on the disk it leaves; of events all, but for the last chance */
	bool last_chance; /* of what is queued: afterwards it is lost */
	bool capped;      /* it has only pages that were freed */
	/* out */
	bool took;      /* there was something queued, or progress */
	int disk;       /* why the disk has no room for it, 0 = it was not refused for that */
	int first_disk; /* the same of the first try: behind it, it is capped */
};

/* Of the tickets' events. */
static uint64_t ticket_bytes(const struct attempt *attempt)
{
	uint64_t bytes = 0;
	for (const struct vigia__ticket *t = attempt->tickets; t; t = attempt->one ? NULL : t->next)
		if (t->kind == VIGIA_TICKET_APPEND) bytes += t->append->len;
	return bytes;
}

/* Of all events that it is to hold, as far as is known before the queue is taken. */
static uint64_t attempt_bytes(struct lmdb_backend *b, const struct attempt *attempt)
{
	return ticket_bytes(attempt) + (attempt->rest ? atomic_load(&b->queue.bytes) : 0);
}

/* Is there room on the disk? 0 or an error number. */
static int find_room(struct lmdb_backend *b, struct attempt *attempt, const struct vigia__append *queued)
{
	uint64_t bytes = queued->len + ticket_bytes(attempt);
	atomic_store(&b->writing_bytes, bytes);
	enum vigia__lmdb_keep keep = bytes > 0 && !attempt->last_chance ? VIGIA_KEEP_ALL : attempt->keep;
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

/* A commit with queued events failed while it was being published. */
static void settle_queue(struct lmdb_backend *b)
{
	MDB_txn *txn;
	if (vigia__lmdb_write_begin(b, &txn, NULL) < 0) return; /* the next commit finds out */
	vigia__queue_settle(&b->queue, look_for_event, &(struct inside){b, txn});
	vigia__lmdb_write_abort(b, txn);
}

/* What was queued, and the tickets, into one transaction; an LMDB error number is the whole transaction's. */
static int write_tickets(struct lmdb_backend *b, MDB_txn *txn, struct vigia__append *queued,
                         const struct attempt *attempt, uint64_t *types)
{
	MDB_cursor *events;
	struct stamp stamp = {0};
	int rc = vigia__lmdb_settings_follow(b, txn);
	if (rc == 0) rc = mdb_cursor_open(txn, b->events, &events);
	if (rc != 0) return rc;
	stamp.size_max = atomic_load_explicit(&b->base.max_event_size, memory_order_relaxed);
	rc = vigia__lmdb_last(b, txn, events, &stamp.last);
	int64_t now = vigia__wall_ns();
	stamp.now_at_ns = now > stamp.last.at_ns ? now : stamp.last.at_ns;
	if (rc == 0 && queued->count > 0) rc = append_request(b, events, queued, &stamp, NULL);
	for (struct vigia__ticket *t = attempt->tickets; t && rc == 0; t = attempt->one ? NULL : t->next) {
		t->rc = t->kind == VIGIA_TICKET_APPEND ? append_request(b, events, t->append, &stamp, t->err)
		                                       : t->call(txn, t->call_arg, t->err);
		if (lmdb_is_error(t->rc)) rc = t->rc; /* not the ticket's own failure: the transaction's */
	}
	mdb_cursor_close(events);
	b->stamped = stamp.last;
	atomic_store_explicit(&b->reached, stamp.last.seq_num, memory_order_relaxed);
	if (rc == 0) *types |= stamp.types;
	return rc;
}

/* Write and commit; MDB_MAP_FULL is the only error of LMDB that comes out as such. The watchers' progress is read
 * before the queue is taken: what their handlers queued must not come later than their checkpoints. */
static int write_once(struct lmdb_backend *b, MDB_txn *txn, struct attempt *attempt, uint64_t *types,
                      struct vigia_error *err)
{
	struct vigia__queue *queue = &b->queue;
	struct inside in = {b, txn};
	struct vigia__progress_taken *taken = NULL;
	struct vigia__append queued = {0};
	uint64_t stored = 0;
	int rc = 0;
	if (attempt->rest) {
		rc = vigia__progress_take(&b->base.progress, &taken);
		if (vigia__queue_take(queue, &queued, look_for_event, &in) < 0) rc = ENOMEM;
		attempt->took = taken || queued.count > 0;
	}
	if (rc == 0) rc = find_room(b, attempt, &queued);
	if (rc == 0) rc = write_tickets(b, txn, &queued, attempt, &stored);
	if (rc == 0) rc = vigia__lmdb_progress_put(b, txn, taken, err);
	bool full = rc == MDB_MAP_FULL;
	if (rc == 0) {
		b->has_events = stored != 0;
		rc = vigia__lmdb_write_commit(b, txn, err);
		full = rc == VIGIA_EFULL;
	} else {
		vigia__lmdb_write_abort(b, txn);
		if (lmdb_is_error(rc)) rc = vigia__lmdb_error(b, rc, "store", err);
	}
	if (rc == VIGIA_OK) *types |= stored;
	if (attempt->rest) vigia__queue_done(queue, &queued, rc);
	vigia__progress_done(&b->base.progress, taken, rc == VIGIA_OK);
	if (rc == VIGIA_EUNKNOWN && queued.count > 0) settle_queue(b);
	return full ? MDB_MAP_FULL : rc;
}

/* ---- room ---- */

static int settle_before(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err)
{
	int rc = vigia__lmdb_unchanged(b, txn, err);
	if (rc == VIGIA_OK) rc = vigia__lmdb_meta_settle(b, txn, err);
	if (rc < 0) vigia__lmdb_write_abort(b, txn);
	return rc;
}

/* In a map that is larger, or that ends where the file does. `refused`: what it is told of that cannot be had now. */
static int begin_alone(struct lmdb_backend *b, bool capped, size_t more, int refused, MDB_txn **txn,
                       struct vigia_error *err)
{
	for (int tries = 0;; tries++) {
		int rc = capped ? vigia__lmdb_map_cap(b) : vigia__lmdb_map_lend(b, more);
		bool claimed = rc == 0;
		if (claimed) {
			rc = vigia__lmdb_uncut(b, err);
			if (rc == 0) rc = mdb_txn_begin(b->env, NULL, 0, txn);
			if (rc == 0) return settle_before(b, *txn, err);
			vigia__lmdb_map_leave(b);
			if (!lmdb_is_error(rc)) return rc;
		}
		/* Another process took pages behind the end of this map before the lock was had. */
		if (rc == MDB_MAP_RESIZED && tries < ALONE_TRIES) continue;
		if (rc == MDB_PANIC && tries < ALONE_TRIES) {
			rc = vigia__lmdb_reopen(b, err);
			if (rc < 0) return rc;
			continue;
		}
		bool no_space = rc == ENOMEM && !claimed && b->map_grows; /* that is why it is full */
		if (rc == MDB_MAP_RESIZED || (rc == EBUSY && capped) || no_space)
			return vigia__lmdb_error(b, refused, "store", err);
		return vigia__lmdb_error(b, rc, "begin to write", err);
	}
}

/* One transaction, again while there is no room and more can be had: with `lent` in a map that is larger for it, also
 * where the system grants a map that grows no further step, because a step leaves the process some address space.
 * VIGIA_OK or an error of ours. */
static int write_in(struct lmdb_backend *b, bool lent, struct attempt *attempt, uint64_t *types,
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
	(void)err;
	int rc = mdb_get(txn, b->meta, &key, &value);
	if (rc == 0 && value.mv_size == sizeof before) memcpy(&before, value.mv_data, sizeof before);
	if (rc != 0 && rc != MDB_NOTFOUND) return rc;
	if (before + 1 == own) return 0; /* nothing was freed since */
	value = (MDB_val){sizeof own, &own};
	return mdb_put(txn, b->meta, &key, &value, 0);
}

/* A commit of a few pages: what the last one freed can be used only by the one after the next. Not twice on end: where
 * a reader keeps what was freed, appends that fail must not use up what is lent, or kept on the disk, for those that
 * free room. */
static void nudge(struct lmdb_backend *b)
{
	struct vigia__ticket ticket = {.kind = VIGIA_TICKET_CALL, .call = nudge_call, .call_arg = b};
	uint64_t types;
	write_in(b, true, &(struct attempt){.tickets = &ticket, .one = true, .keep = VIGIA_KEEP_NONE}, &types, NULL);
}

/* ---- a group ---- */

/* In the order in which its members are tried one by one: those that free room; behind what was queued those that take
 * hardly any, and those that bring events. */
enum turn { TURN_FREES, TURN_SAVES, TURN_APPENDS, TURNS };

static enum turn turn_of(const struct vigia__ticket *ticket)
{
	if (ticket->kind == VIGIA_TICKET_APPEND && ticket->append->count > 0) return TURN_APPENDS;
	return ticket->kind == VIGIA_TICKET_FREE ? TURN_FREES : TURN_SAVES;
}

static void fail_ticket(struct vigia__ticket *ticket, int rc, const struct vigia_error *err)
{
	ticket->rc = rc;
	if (ticket->err) *ticket->err = *err;
}

/* What is queued, and the watchers' progress. A checkpoint must not get ahead of it, and a close is the last chance:
 * for these the map may be exceeded. On a full disk a close may use up the reserve, which is not asked whether it
 * suffices: if it does not, nothing is lost by the try. The same at the limit on the size of files. What a trim freed,
 * the queue may use as appends may. */
static int write_rest(struct lmdb_backend *b, const struct vigia__ticket *tickets, uint64_t *types,
                      struct vigia_error *err)
{
	bool lent = atomic_load(&b->queue.bytes) == 0, last_chance = false;
	for (const struct vigia__ticket *t = tickets; t; t = t->next) {
		last_chance |= t->kind == VIGIA_TICKET_APPEND && t->append->last_chance;
		lent |= turn_of(t) == TURN_SAVES && (t->kind == VIGIA_TICKET_CALL || t->append->keep);
	}
	struct attempt rest = {.rest = true, .keep = VIGIA_KEEP_HALF};
	int rc = write_in(b, lent, &rest, types, err);
	if (rc == VIGIA_EFULL || rc == VIGIA_EDISKFULL) {
		nudge(b);
		rest = (struct attempt){.rest = true, .keep = VIGIA_KEEP_HALF};
		rc = write_in(b, lent, &rest, types, err);
	}
	if (rc != VIGIA_EDISKFULL || !last_chance || rest.first_disk == 0) return rc;
	return write_in(b, lent, &(struct attempt){.rest = true, .keep = VIGIA_KEEP_NONE, .last_chance = true}, types, err);
}

/* Each member for itself, so that one's failure is its own. */
static void write_one_by_one(struct lmdb_backend *b, struct vigia__ticket *tickets, uint64_t *types)
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
			if (t->err) *t->err = err; /* what the first try left */
			int rc = write_in(b, turn != TURN_APPENDS, &one, types, &err);
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

static int write_group(struct lmdb_backend *b, MDB_txn *txn, struct vigia__ticket *tickets, uint64_t *types,
                       struct vigia_error *err)
{
	struct attempt all = {
		.tickets = tickets, .rest = true, .keep = only_frees(tickets) ? VIGIA_KEEP_NONE : VIGIA_KEEP_HALF};
	size_t seen = b->map_bytes;
	int rc = write_once(b, txn, &all, types, err);
	/* Perhaps there is room that somebody held who was killed. */
	if ((rc == MDB_MAP_FULL || all.disk != 0) && vigia__lmdb_free_readers(b) > 0) {
		rc = vigia__lmdb_write_begin(b, &txn, err);
		if (rc == VIGIA_OK) rc = write_once(b, txn, &all, types, err);
	}
	while (rc == MDB_MAP_FULL && b->map_grows && vigia__lmdb_map_grow(b, seen) == 0) {
		rc = vigia__lmdb_write_begin(b, &txn, err);
		seen = b->map_bytes;
		if (rc == VIGIA_OK) rc = write_once(b, txn, &all, types, err);
	}
	bool alone = tickets->next == NULL && !all.took && rc != MDB_MAP_FULL && all.disk == 0;
	if (!may_be_one(rc) || alone) return rc;
	write_one_by_one(b, tickets, types);
	return VIGIA_OK;
}

static int write_limited(void *ctx, void *txn, struct vigia__ticket *tickets, uint64_t *types, struct vigia_error *err)
{
	struct vigia__file_limit limit;
	vigia__file_limit_begin(&limit);
	int rc = write_group(ctx, txn, tickets, types, err);
	vigia__file_limit_end(&limit);
	return rc;
}

static int lock(void *ctx, void **txn, struct vigia_error *err)
{
	struct lmdb_backend *b = ctx;
	int rc = vigia__lmdb_still_there(b, err);
	if (++b->commits_since >= COMMITS_UNTIL_LOOK) {
		b->commits_since = 0;
		vigia__lmdb_free_readers(b);
	}
	if (rc == VIGIA_OK) {
		rc = vigia__lmdb_write_begin(b, (MDB_txn **)txn, err);
		if (rc == VIGIA_OK && (rc = vigia__lmdb_locks_there(b, err)) < 0) vigia__lmdb_write_abort(b, *txn);
	}
	if (rc < 0) vigia__queue_not_begun(&b->queue, rc);
	return rc;
}

static void publish(void *ctx, uint64_t types)
{
	struct lmdb_backend *b = ctx;
	vigia__wake_publish(b->base.wake, types);
	if (types) vigia__collect_call(&b->base.collect_call, atomic_load_explicit(&b->reached, memory_order_relaxed));
}

const struct vigia__commit_ops vigia__lmdb_commit_ops = {.lock = lock, .write = write_limited, .publish = publish};

int vigia__lmdb_submit(struct vigia__backend *base, struct vigia__ticket *ticket)
{
	return vigia__commit_submit(&((struct lmdb_backend *)base)->commit, ticket);
}

int vigia__lmdb_append(struct vigia__backend *base, struct vigia__append *request, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct vigia__ticket ticket = {.kind = VIGIA_TICKET_APPEND, .append = request, .err = err};
	return vigia__commit_run(&b->commit, &ticket);
}
