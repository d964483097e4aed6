/*
 * lmdb_events.c - events in LMDB: append (inside a group commit), scan, bounds, first at a time.
 *
 * Key: seq_num as a native size_t (MDB_INTEGERKEY), appended at the end (MDB_APPEND). Value: the event's bytes, core/event.h.
 */
#include <errno.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "lmdb_store.h"

enum { ROOM_BYTES = 256 * 1024, LOOK_AT_CLOCK = 512, LOOK_BACK = 1000 };

static MDB_val key_of(const size_t *seq_num)
{
	return (MDB_val){sizeof *seq_num, (void *)seq_num};
}

static uint64_t seq_of(const MDB_val *key)
{
	size_t n;
	memcpy(&n, key->mv_data, sizeof n);
	return n;
}

/* What the last trim wrote down. */
static int written_down(struct lmdb_backend *b, MDB_txn *txn, struct last_record *out)
{
	MDB_val key = {4, "last"}, value;
	*out = (struct last_record){0};
	int rc = mdb_get(txn, b->meta, &key, &value);
	if (rc == 0 && value.mv_size >= sizeof *out) memcpy(out, value.mv_data, sizeof *out);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int vigia__lmdb_last_number(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events, uint64_t *out)
{
	MDB_val key, value;
	struct last_record last = {0};
	int rc = mdb_cursor_get(events, &key, &value, MDB_LAST);
	if (rc == 0) last.seq_num = seq_of(&key);
	else if (rc == MDB_NOTFOUND) rc = written_down(b, txn, &last);
	*out = last.seq_num;
	return rc;
}

/* The last event's, or what the trim that removed it wrote down. One flipped bit in a time would date all later events: of a damaged event
 * the time is that of the nearest intact one before it. */
int vigia__lmdb_last(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events, struct last_record *out)
{
	MDB_val key, value;
	*out = (struct last_record){0};
	int rc = mdb_cursor_get(events, &key, &value, MDB_LAST);
	if (rc == MDB_NOTFOUND) return written_down(b, txn, out);
	if (rc != 0) return rc;
	uint64_t last = seq_of(&key);
	for (int i = 0; rc == 0 && i < LOOK_BACK; i++) {
		struct last_record at = {seq_of(&key), vigia__event_time(value.mv_data, value.mv_size)};
		bool stamped = at.seq_num == b->stamped.seq_num && at.at_ns == b->stamped.at_ns; /* by us: no need to look */
		if (stamped || vigia__event_intact(value.mv_data, value.mv_size, at.seq_num)) {
			*out = (struct last_record){last, at.at_ns};
			return 0;
		}
		rc = mdb_cursor_get(events, &key, &value, MDB_PREV);
	}
	if (rc == 0 || rc == MDB_NOTFOUND) rc = written_down(b, txn, out);
	out->seq_num = last;
	return rc;
}

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
	MDB_val key = key_of(&seq_num), value = {len, bytes};
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
			return vigia__error(err, VIGIA_ETOOBIG, "the event has %zu bytes, max_event_size is %lld bytes", end - start,
			                    (long long)size_max);
		start = end;
	}
	return VIGIA_OK;
}

/* 0; ESEQUENCE, ETOOBIG; LMDB's error. */
static int append_request(struct lmdb_backend *b, MDB_cursor *events, struct vigia__append *request, struct stamp *stamp,
                          struct vigia_error *err)
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

/* What was queued, and all tickets of a group, into one transaction; an LMDB error number is the whole group's. */
static int write_tickets(struct lmdb_backend *b, MDB_txn *txn, struct vigia__append *queued, struct vigia__ticket *tickets, uint64_t *types)
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
	if (rc == 0) rc = append_request(b, events, queued, &stamp, NULL);
	for (struct vigia__ticket *t = tickets; t && rc == 0; t = t->next) {
		t->rc = t->kind == VIGIA_TICKET_APPEND ? append_request(b, events, t->append, &stamp, t->err) : t->call(txn, t->call_arg, t->err);
		if (lmdb_is_error(t->rc)) rc = t->rc; /* not the ticket's own failure: the transaction's */
	}
	mdb_cursor_close(events);
	b->stamped = stamp.last;
	atomic_store_explicit(&b->reached, stamp.last.seq_num, memory_order_relaxed);
	*types = stamp.types;
	return rc;
}

static int lock(void *ctx, void **txn, struct vigia_error *err)
{
	struct lmdb_backend *b = ctx;
	int rc = vigia__lmdb_still_there(b, err);
	if (rc == VIGIA_OK) {
		rc = vigia__lmdb_write_begin(b, (MDB_txn **)txn, err);
		if (rc == VIGIA_OK && (rc = vigia__lmdb_locks_there(b, err)) < 0) vigia__lmdb_write_abort(b, *txn);
	}
	if (rc < 0) vigia__queue_not_begun(&b->base.queue, rc);
	return rc;
}

/* 0 or LMDB's error. A size below what is in use becomes what is in use. */
static int set_map(struct lmdb_backend *b, size_t bytes)
{
	MDB_envinfo info;
	pthread_rwlock_wrlock(&b->map_lock);
	int rc = b->env ? mdb_env_set_mapsize(b->env, bytes) : MDB_PANIC;
	if (rc == 0 && mdb_env_info(b->env, &info) == 0) b->map_bytes = info.me_mapsize;
	pthread_rwlock_unlock(&b->map_lock);
	return rc;
}

/* A commit of a few pages: what the last one freed can be used only by the one after the next. */
static int nudge(struct lmdb_backend *b, struct vigia_error *err)
{
	MDB_txn *txn;
	MDB_val key = {5, "nudge"}, value = {1, ""};
	int rc = vigia__lmdb_write_begin(b, &txn, err);
	if (rc < 0) return rc;
	rc = mdb_put(txn, b->meta, &key, &value, 0);
	if (rc == 0) return vigia__lmdb_write_commit(b, txn, err);
	vigia__lmdb_write_abort(b, txn);
	return vigia__lmdb_error(b, rc, "store", err);
}

static bool has_events(struct lmdb_backend *b, const struct vigia__ticket *ticket)
{
	if (atomic_load(&b->base.queue.bytes) > 0) return true;
	while (ticket && (ticket->kind != VIGIA_TICKET_APPEND || ticket->append->count == 0)) ticket = ticket->next;
	return ticket != NULL;
}

/* What a group does when the map of `bytes` is full: true if it may try again. A map that the system made small grows. One that the user
 * made small is lent some room for what frees room or takes none (trims, checkpoints); an append tries once whether some was freed. */
static bool make_room(struct lmdb_backend *b, const struct vigia__ticket *tickets, size_t bytes, int tries)
{
	if (b->map_grows) return set_map(b, bytes << (tries + 1)) == 0;
	if (!has_events(b, tickets)) return tries < 8 && set_map(b, bytes + (size_t)(tries + 1) * ROOM_BYTES) == 0;
	if (tries > 0 || set_map(b, bytes + ROOM_BYTES) != 0) return false;
	bool nudged = nudge(b, NULL) == VIGIA_OK;
	set_map(b, bytes);
	return nudged;
}

static uint64_t bytes_of(const struct vigia__ticket *tickets)
{
	uint64_t bytes = 0;
	for (const struct vigia__ticket *t = tickets; t; t = t->next)
		if (t->kind == VIGIA_TICKET_APPEND) bytes += t->append->len;
	return bytes;
}

struct inside {
	struct lmdb_backend *b;
	MDB_txn *txn;
};

static bool is_stored(void *ctx, uint64_t seq_num, const void *bytes, size_t len)
{
	struct inside *in = ctx;
	size_t n = seq_num;
	MDB_val key = key_of(&n), value;
	return mdb_get(in->txn, in->b->events, &key, &value) == 0 && value.mv_size == len && memcmp(value.mv_data, bytes, len) == 0;
}

/* One try; MDB_MAP_FULL is the only error of LMDB that comes out as such. The watchers' progress is read before the queue is taken: what
 * their handlers queued must not come later than their checkpoints. */
static int write_once(struct lmdb_backend *b, MDB_txn *txn, struct vigia__ticket *tickets, uint64_t *types, struct vigia_error *err)
{
	struct vigia__queue *queue = &b->base.queue;
	struct inside in = {b, txn};
	struct progress_taken *taken;
	struct vigia__append queued;
	int rc = vigia__lmdb_progress_take(b, &taken);
	if (vigia__queue_take(queue, &queued, is_stored, &in) < 0) rc = ENOMEM;
	if (rc == 0) rc = write_tickets(b, txn, &queued, tickets, types);
	if (rc == 0) rc = vigia__lmdb_progress_put(b, txn, taken);
	bool full = rc == MDB_MAP_FULL;
	if (rc == 0) {
		rc = vigia__lmdb_write_commit(b, txn, err);
		full = rc == VIGIA_EFULL;
	} else {
		vigia__lmdb_write_abort(b, txn);
		rc = vigia__lmdb_error(b, rc, "store", err);
	}
	vigia__queue_done(queue, &queued, rc);
	vigia__lmdb_progress_done(b, taken, rc == VIGIA_OK);
	return full ? MDB_MAP_FULL : rc;
}

static int write(void *ctx, void *txn, struct vigia__ticket *tickets, uint64_t *types, struct vigia_error *err)
{
	struct lmdb_backend *b = ctx;
	size_t map_bytes = b->map_bytes;
	atomic_store(&b->writing_bytes, bytes_of(tickets) + atomic_load(&b->base.queue.bytes));
	int rc = write_once(b, txn, tickets, types, err);
	bool lent = rc == MDB_MAP_FULL && !b->map_grows;
	for (int tries = 0; rc == MDB_MAP_FULL; tries++) {
		rc = make_room(b, tickets, map_bytes, tries) ? vigia__lmdb_write_begin(b, (MDB_txn **)&txn, err) : VIGIA_EFULL;
		if (rc == VIGIA_OK) rc = write_once(b, txn, tickets, types, err);
	}
	if (lent) set_map(b, map_bytes);
	return rc;
}

static void publish(void *ctx, uint64_t types)
{
	struct lmdb_backend *b = ctx;
	vigia__wake_publish(b->base.wake, types);
	if (types) vigia__collect_call(&b->base.collect_call, atomic_load_explicit(&b->reached, memory_order_relaxed));
}

const struct vigia__commit_ops vigia__lmdb_commit_ops = {.lock = lock, .write = write, .publish = publish};

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

/* ---- scan ---- */

/* Nothing is there from this number on: because it was removed, or because it never was? Answers MDB_NOTFOUND, or an error. */
static int count_gone(struct lmdb_backend *b, struct reader *reader, uint64_t from, uint64_t *gone)
{
	uint64_t last;
	int rc = vigia__lmdb_last_number(b, reader->txn, reader->events, &last);
	if (rc == 0 && last >= from) *gone = last - from + 1;
	return rc == 0 ? MDB_NOTFOUND : rc;
}

int vigia__lmdb_scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	size_t from = scan->from, bytes = 0, copied = 0, dropped = 0;
	bool no_memory = false;
	MDB_val key = key_of(&from), value;
	scan->looked_at = scan->gone = 0;
	rc = mdb_cursor_get(reader->events, &key, &value, MDB_SET_RANGE);
	if (rc == 0) scan->gone = seq_of(&key) - from;
	else if (rc == MDB_NOTFOUND) rc = count_gone(b, reader, from, &scan->gone);
	while (rc == 0) {
		uint64_t seq_num = seq_of(&key);
		bool wanted = vigia__filter_match(scan->filter, value.mv_data, value.mv_size);
		if (wanted) {
			if (copied > 0 && bytes + value.mv_size > scan->bytes_max) break;
			no_memory = vigia__batch_add(batch, seq_num, value.mv_data, value.mv_size) < 0;
			if (no_memory) break;
			bytes += value.mv_size;
			copied++;
		}
		scan->looked_at = seq_num;
		if (copied >= scan->count_max) break;
		if (!wanted && ++dropped % LOOK_AT_CLOCK == 0 && vigia__mono_ns() >= scan->until_mono_ns) break;
		rc = mdb_cursor_get(reader->events, &key, &value, MDB_NEXT);
	}
	vigia__lmdb_read_end(b, reader);
	scan->at_end = rc == MDB_NOTFOUND;
	if (no_memory && copied == 0) return vigia__error(err, VIGIA_ENOMEM, "no memory for a batch of events");
	return rc == 0 || rc == MDB_NOTFOUND ? VIGIA_OK : vigia__lmdb_error(b, rc, "read events", err);
}

int vigia__lmdb_bounds(struct vigia__backend *base, uint64_t *oldest, uint64_t *latest, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	MDB_val key, value;
	*latest = 0;
	rc = mdb_cursor_get(reader->events, &key, &value, MDB_FIRST);
	*oldest = rc == 0 ? seq_of(&key) : 0;
	if (rc == 0 || rc == MDB_NOTFOUND) rc = vigia__lmdb_last_number(b, reader->txn, reader->events, latest);
	vigia__lmdb_read_end(b, reader);
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "read the bounds", err);
}

/* From where the cursor stands to the first intact event up to `high`; false: there is none, or an error in *rc. */
static bool find_intact(MDB_cursor *events, MDB_val *key, MDB_val *value, size_t high, int *rc)
{
	while (*rc == 0 && seq_of(key) <= high) {
		if (vigia__event_intact(value->mv_data, value->mv_size, seq_of(key))) return true;
		*rc = mdb_cursor_get(events, key, value, MDB_NEXT);
	}
	if (*rc == MDB_NOTFOUND) *rc = 0;
	return false;
}

/* Times never go backwards, numbers have no holes: halve the range. A damaged event counts as of the time of the next intact one. */
int vigia__lmdb_find_time(struct vigia__backend *base, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	MDB_val key, value;
	size_t low = 1, high = 0;
	rc = mdb_cursor_get(reader->events, &key, &value, MDB_FIRST);
	if (rc == 0) {
		low = seq_of(&key);
		rc = mdb_cursor_get(reader->events, &key, &value, MDB_LAST);
		if (rc == 0) high = seq_of(&key);
	}
	while (rc == 0 && low <= high) {
		size_t middle = low + (high - low) / 2;
		key = key_of(&middle);
		rc = mdb_cursor_get(reader->events, &key, &value, MDB_SET_RANGE);
		bool intact = find_intact(reader->events, &key, &value, high, &rc);
		if (rc != 0) break;
		if (intact && vigia__event_time(value.mv_data, value.mv_size) < at_ns) low = seq_of(&key) + 1;
		else high = middle - 1;
	}
	bool found = false;
	if (rc == 0) {
		key = key_of(&low);
		rc = mdb_cursor_get(reader->events, &key, &value, MDB_SET_RANGE);
		found = rc == 0;
		if (found) *seq_num = seq_of(&key);
	}
	vigia__lmdb_read_end(b, reader);
	if (found) return VIGIA_OK;
	*seq_num = 0;
	return rc == 0 || rc == MDB_NOTFOUND ? VIGIA_NONE : vigia__lmdb_error(b, rc, "find a time", err);
}
