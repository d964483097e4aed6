/*
 * lmdb_events.c - reads events from LMDB: scan, bounds, search by time. lmdb_commit.c appends.
 *
 * Key: seq_num as a native size_t (MDB_INTEGERKEY). Value: the event's bytes, core/event.h.
 */
#include <errno.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "lmdb_index_private.h"

/* Up to so many events that the index rules out are passed one by one. */
enum { NEAR = 8 };

/* ---- scan ---- */

/* There is no event from this number on. Count those that were removed. Returns MDB_NOTFOUND or an error. */
static int count_gone(struct lmdb_backend *b, struct reader *reader, uint64_t from, uint64_t *gone)
{
	MDB_val key, value;
	struct last_record last;
	int rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_LAST);
	if (rc == 0)
		return vigia__lmdb_number(&key) >= from ? MDB_CORRUPTED
		                                        : MDB_NOTFOUND; /* it exists, but the search did not find it */
	if (rc == MDB_NOTFOUND) rc = vigia__lmdb_last_written(b, reader->txn, &last);
	if (rc == 0 && last.seq_num >= from) *gone = last.seq_num - from + 1;
	return rc == 0 ? MDB_NOTFOUND : rc;
}

/* The first event from `from` on. Events are only removed at the start of the log, so it is `from` or the oldest. */
static int find_first(struct lmdb_backend *b, struct reader *reader, size_t from, MDB_val *key, MDB_val *value,
                      uint64_t *gone)
{
	*gone = 0;
	*key = vigia__lmdb_key(&from);
	int rc = vigia__lmdb_get(b, reader->events, key, value, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND) return count_gone(b, reader, from, gone);
	if (rc != 0 || vigia__lmdb_number(key) == from) return rc;
	size_t first = vigia__lmdb_number(key);
	if (first < from) return MDB_CORRUPTED;
	/* A number beyond the last one is damage. Without this check the reader would continue there. */
	rc = vigia__lmdb_get(b, reader->events, key, value, MDB_LAST);
	if (rc == 0 && first > vigia__lmdb_number(key)) rc = MDB_CORRUPTED;
	*key = vigia__lmdb_key(&first);
	if (rc == 0) rc = vigia__lmdb_get(b, reader->events, key, value, MDB_SET_RANGE);
	*gone = first - from;
	return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
}

/* vigia__lmdb_get() of the next one, here for its speed. */
static inline int next_event(const struct lmdb_backend *b, struct reader *reader, MDB_val *key, MDB_val *value)
{
	*value = (MDB_val){0};
	int rc = mdb_cursor_get(reader->events, key, value, MDB_NEXT);
	return rc == 0 && !vigia__lmdb_fits(b, key, value) ? MDB_CORRUPTED : rc;
}

/* A scan under way. */
struct look {
	struct vigia__scan *scan;
	struct vigia_batch *batch;
	size_t bytes, copied;
	size_t cost;  /* since the last look at the clock: an event that is dropped costs 1, its object more */
	bool objects; /* which the filter looks into */
	bool no_memory;
};

/* Look at the next event. False: the scan ends here. */
static inline bool look_at(struct look *look, uint64_t seq_num, const MDB_val *event)
{
	struct vigia__scan *scan = look->scan;
	bool wanted = vigia__filter_match(scan->filter, event->mv_data, event->mv_size);
	if (wanted) {
		if ((look->copied > 0 || scan->goes_on) && look->bytes + event->mv_size > scan->bytes_max) return false;
		look->no_memory = vigia__batch_add(look->batch, seq_num, event->mv_data, event->mv_size) < 0;
		if (look->no_memory) return false;
		look->bytes += event->mv_size;
		look->copied++;
	}
	scan->looked_at = seq_num;
	if (look->copied >= scan->count_max) return false;
	look->cost += wanted ? 0 : 1 + (look->objects ? event->mv_size / VIGIA_SCAN_COST_BYTES : 0);
	if (look->cost < VIGIA_SCAN_COST_CLOCK) return true;
	look->cost = 0;
	return wanted || vigia__mono_ns() < scan->until_mono_ns;
}

/* Pass the events from the cursor's up to the one before `next`, none of which is wanted. MDB_NOTFOUND: there is no
 * further one. MDB_CORRUPTED: they are not as the index says, and the cursor is anywhere. */
static int jump(struct lmdb_backend *b, struct reader *reader, uint64_t last, size_t next, MDB_val *key, MDB_val *value)
{
	uint64_t at = vigia__lmdb_number(key);
	int rc = 0;
	if (next - at <= NEAR) {
		for (; rc == 0 && at < next; at++) {
			rc = next_event(b, reader, key, value);
			if (rc == 0 && vigia__lmdb_number(key) != at + 1) rc = MDB_CORRUPTED;
		}
	} else {
		at = next;
		*key = vigia__lmdb_key(&next);
		rc = vigia__lmdb_get(b, reader->events, key, value, MDB_SET_RANGE);
		if (rc == 0 && vigia__lmdb_number(key) != next) rc = MDB_CORRUPTED;
	}
	return rc == MDB_NOTFOUND && at <= last ? MDB_CORRUPTED : rc;
}

/* LMDB's search for an event waits for memory at each step. Events that were appended in a row lie in a row, so the
 * place of the next one that may be wanted can be guessed, and fetched while this one is copied (a third of the time).
 * A wrong guess costs some lines of the cache. */
static void fetch_ahead(const struct lmdb_backend *b, struct vigia__index_skip *skip, uint64_t seq_num,
                        const MDB_val *value)
{
	enum { LINE = 64, PAGE_HEAD = 16, NODE_HEAD = 16 };
	uintptr_t in_page = b->page_bytes - 1, from = skip->at;
	uintptr_t at = (uintptr_t)value->mv_data ^ in_page; /* LMDB fills a page from its end */
	uint64_t events = seq_num - skip->at_seq, next = vigia__index_peek(skip, seq_num + 1);
	bool known = skip->at_seq > 0 && next > 0 && at > from && at - from <= events * b->page_bytes;
	skip->at = at;
	skip->at_seq = seq_num;
	if (!known) return;
	uintptr_t guess = (at + (at - from) * (next - seq_num) / events) ^ in_page, page = guess & ~in_page;
	/* the page's head, the keys at which a search in it looks if all events have this one's size, and the event */
	__builtin_prefetch((const void *)page);
	size_t bytes = (NODE_HEAD + value->mv_size + 1) / 2 * 2, wanted = (page + b->page_bytes - guess) / bytes;
	for (size_t low = 0, high = (b->page_bytes - PAGE_HEAD) / (bytes + 2); low < high;) {
		size_t middle = (low + high - 1) / 2;
		__builtin_prefetch((const void *)(page + b->page_bytes - (middle + 1) * bytes));
		if (middle < wanted) low = middle + 1;
		else high = middle;
	}
	for (int line = -2; line <= 2; line++) __builtin_prefetch((const void *)(guess + (uintptr_t)line * LINE));
}

/* Pass what the index rules out, from the cursor's event on. Where the time is over, *late is set. */
static int pass_unwanted(struct lmdb_backend *b, struct reader *reader, struct vigia__scan *scan,
                         struct vigia__index_skip *skip, bool *skips, MDB_val *key, MDB_val *value, bool *late)
{
	size_t seq_num = vigia__lmdb_number(key);
	uint64_t next = vigia__index_next(skip, seq_num, scan->until_mono_ns);
	*late = false;
	if (next == seq_num) return 0;
	int rc = jump(b, reader, skip->last, next, key, value);
	if (rc == MDB_CORRUPTED) { /* look at them one by one, as without an index */
		*skips = false;
		*key = vigia__lmdb_key(&seq_num);
		return vigia__lmdb_get(b, reader->events, key, value, MDB_SET_RANGE);
	}
	scan->looked_at = next - 1;
	if (rc == 0) fetch_ahead(b, skip, next, value);
	*late = vigia__index_is_late(skip, scan->until_mono_ns);
	return rc;
}

/* MDB_NOTFOUND: all events of LMDB were looked at. */
static int scan_events(struct lmdb_backend *b, struct reader *reader, struct look *look, uint64_t from)
{
	MDB_val key, value;
	uint64_t gone;
	struct vigia__index_skip skip;
	bool skips = vigia__index_begin(b, reader, look->scan->filter, &skip), late = false;
	int rc = find_first(b, reader, from, &key, &value, &gone);
	if (look->scan->looked_at == 0) look->scan->gone = gone;
	while (rc == 0) {
		/* A gap or a step back means damaged pages. The next call starts here and reports it. */
		if (look->scan->looked_at > 0 && vigia__lmdb_number(&key) != look->scan->looked_at + 1) break;
		if (skips) rc = pass_unwanted(b, reader, look->scan, &skip, &skips, &key, &value, &late);
		if (rc != 0 || late) break;
		uint64_t seq_num = vigia__lmdb_number(&key);
		bool goes_on = look_at(look, seq_num, &value), is_full = look->copied >= look->scan->count_max;
		if (!goes_on && !is_full) break;
		rc = next_event(b, reader, &key, &value); /* after the last one only to see whether there is another */
		if (is_full) break;
	}
	return rc;
}

/* The same for the tail, from the number `next` on. EAGAIN: start over. EDOM: `in_tail`, but that begins behind it. */
static int scan_tail(struct lmdb_backend *b, struct reader *reader, struct look *look, uint64_t next, bool in_tail,
                     struct vigia_error *err)
{
	size_t before = look->copied, before_bytes = look->bytes, before_count = look->batch->count;
	uint64_t looked_at = look->scan->looked_at;
	int rc = vigia__tail_begin(b, reader, err);
	if (rc != 0) return rc;
	uint64_t last = vigia__tail_last(b);
	bool goes_on = look->copied < look->scan->count_max;
	if (in_tail && next < vigia__tail_first(b)) {
		vigia__tail_leave(b);
		return EDOM;
	}
	if (next > last || vigia__tail_is_empty(b) || !goes_on) {
		vigia__tail_leave(b);
		return next > last ? MDB_NOTFOUND : 0;
	}
	if (next < vigia__tail_first(b)) {
		look->scan->gone += vigia__tail_first(b) - next;
		next = vigia__tail_first(b);
	}
	for (; goes_on && next <= last; next++) {
		MDB_val event = vigia__tail_event(b, next);
		goes_on = look_at(look, next, &event);
	}
	bool at_end = look->scan->looked_at == last;
	rc = vigia__tail_end(b, reader);
	if (rc == 0) return at_end ? MDB_NOTFOUND : 0;
	vigia__batch_cut(look->batch, before_count);
	look->copied = before;
	look->bytes = before_bytes;
	look->no_memory = false;
	look->scan->looked_at = looked_at;
	return rc;
}

/* One scan from the number `next` on. Those who follow the log read the tail alone: LMDB's search would find that it
 * has nothing for them. */
static int scan_once(struct lmdb_backend *b, struct reader *reader, struct look *look, uint64_t next,
                     struct vigia_error *err)
{
	uint64_t first = atomic_load_explicit(&b->tail.first, memory_order_relaxed);
	int rc = first > 0 && next >= first ? scan_tail(b, reader, look, next, true, err) : EDOM;
	if (rc != EDOM) return rc;
	rc = scan_events(b, reader, look, next);
	if (rc != MDB_NOTFOUND) return rc;
	struct vigia__scan *scan = look->scan;
	return scan_tail(b, reader, look, scan->looked_at > 0 ? scan->looked_at + 1 : next + scan->gone, false, err);
}

int vigia__lmdb_scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch,
                     struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct look look = {.scan = scan, .batch = batch, .objects = vigia__filter_places(scan->filter) > 0};
	int rc = VIGIA_OK;
	if (scan->now_mono_ns == 0 || scan->now_mono_ns >= atomic_load_explicit(&b->look_mono_ns, memory_order_relaxed))
		rc = vigia__lmdb_still_there(b, err);
	scan->looked_at = scan->gone = 0;
	do {
		struct reader *reader;
		if (rc >= 0) rc = vigia__lmdb_read_begin_there(b, &reader, err);
		if (rc < 0) return rc;
		rc = scan_once(b, reader, &look, scan->looked_at > 0 ? scan->looked_at + 1 : scan->from, err);
		vigia__lmdb_read_end(b, reader);
		if (rc == EAGAIN && look.copied >= scan->count_max) rc = 0; /* full; what lies behind is the next call's */
	} while (rc == EAGAIN);
	scan->at_end = rc == MDB_NOTFOUND;
	if (look.no_memory && look.copied == 0) return vigia__error(err, VIGIA_ENOMEM, "no memory for a batch of events");
	/* Events read before the damage are correct. */
	bool damaged = rc == MDB_CORRUPTED || rc == VIGIA_EIO;
	if (rc == 0 || rc == MDB_NOTFOUND || (damaged && scan->looked_at > 0)) return VIGIA_OK;
	return lmdb_is_error(rc) ? vigia__lmdb_error(b, rc, "read events", err) : rc;
}

int vigia__lmdb_bounds_of(struct lmdb_backend *b, struct reader *reader, uint64_t *oldest, uint64_t *latest)
{
	MDB_val key, value;
	*latest = 0;
	int rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_FIRST);
	*oldest = rc == 0 ? vigia__lmdb_number(&key) : 0;
	return rc == 0 || rc == MDB_NOTFOUND ? vigia__lmdb_last_number(b, reader->txn, reader->events, latest) : rc;
}

int vigia__lmdb_bounds_once(struct lmdb_backend *b, struct reader *reader, uint64_t *oldest, uint64_t *latest,
                            struct vigia_error *err)
{
	int rc = vigia__lmdb_bounds_of(b, reader, oldest, latest);
	if (rc == 0 && *oldest > *latest) rc = MDB_CORRUPTED;
	if (rc == 0) rc = vigia__tail_begin(b, reader, err);
	if (rc != 0) return rc;
	if (!vigia__tail_is_empty(b)) {
		*latest = vigia__tail_last(b);
		if (*oldest == 0) *oldest = vigia__tail_first(b);
	}
	vigia__tail_leave(b);
	return 0;
}

int vigia__lmdb_bounds(struct vigia__backend *base, uint64_t *oldest, uint64_t *latest, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	int rc;
	do {
		struct reader *reader;
		rc = vigia__lmdb_read_begin(b, &reader, err);
		if (rc < 0) return rc;
		rc = vigia__lmdb_bounds_once(b, reader, oldest, latest, err);
		vigia__lmdb_read_end(b, reader);
	} while (rc == EAGAIN);
	return lmdb_is_error(rc) ? vigia__lmdb_error(b, rc, "read the bounds", err) : rc;
}

/* Move the cursor to the first intact event from here up to `high`. False: there is none, or *rc is an error. */
static bool find_intact(const struct lmdb_backend *b, MDB_cursor *events, MDB_val *key, MDB_val *value, size_t high,
                        int *rc)
{
	while (*rc == 0 && vigia__lmdb_number(key) <= high) {
		size_t seq_num = vigia__lmdb_number(key);
		if (vigia__event_intact(value->mv_data, value->mv_size, seq_num)) return true;
		*rc = vigia__lmdb_get(b, events, key, value, MDB_NEXT);
		if (*rc == 0 && vigia__lmdb_number(key) <= seq_num) *rc = MDB_CORRUPTED; /* pages that lead in a circle */
	}
	if (*rc == MDB_NOTFOUND) *rc = 0;
	return false;
}

/* The first event of LMDB that is not older. A binary search, because times never decrease and numbers have no gaps. A
 * damaged event counts as having the time of the next intact one. On damaged pages a search may end before its start.
 */
static int find_in_events(struct lmdb_backend *b, struct reader *reader, int64_t at_ns, uint64_t *seq_num)
{
	MDB_val key, value;
	size_t low = 1, high = 0;
	int rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_FIRST);
	if (rc == 0) {
		low = vigia__lmdb_number(&key);
		rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_LAST);
		if (rc == 0) high = vigia__lmdb_number(&key);
		if (rc == 0 && low > high) rc = MDB_CORRUPTED;
	}
	while (rc == 0 && low <= high) {
		size_t middle = low + (high - low) / 2;
		key = vigia__lmdb_key(&middle);
		rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_SET_RANGE);
		if (rc == 0 && vigia__lmdb_number(&key) < middle) rc = MDB_CORRUPTED;
		bool intact = find_intact(b, reader->events, &key, &value, high, &rc);
		if (rc != 0) break;
		if (intact && vigia__event_time(value.mv_data, value.mv_size) < at_ns) low = vigia__lmdb_number(&key) + 1;
		else high = middle - 1;
	}
	if (rc != 0) return rc;
	key = vigia__lmdb_key(&low);
	rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_SET_RANGE);
	if (rc == 0) *seq_num = vigia__lmdb_number(&key);
	return rc;
}

/* The same in the tail, whose records are intact. */
static int find_in_tail(struct lmdb_backend *b, struct reader *reader, int64_t at_ns, uint64_t *seq_num,
                        struct vigia_error *err)
{
	int rc = vigia__tail_begin(b, reader, err);
	if (rc != 0) return rc;
	uint64_t low = vigia__tail_first(b), last = vigia__tail_last(b), high = last;
	if (vigia__tail_is_empty(b)) {
		vigia__tail_leave(b);
		return MDB_NOTFOUND;
	}
	while (low <= high) {
		uint64_t middle = low + (high - low) / 2;
		MDB_val event = vigia__tail_event(b, middle);
		if (vigia__event_time(event.mv_data, event.mv_size) < at_ns) low = middle + 1;
		else high = middle - 1;
	}
	rc = vigia__tail_end(b, reader);
	*seq_num = low;
	return rc == 0 && low > last ? MDB_NOTFOUND : rc;
}

int vigia__lmdb_find_time(struct vigia__backend *base, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	int rc;
	do {
		struct reader *reader;
		rc = vigia__lmdb_read_begin(b, &reader, err);
		if (rc < 0) return rc;
		rc = find_in_events(b, reader, at_ns, seq_num);
		if (rc == MDB_NOTFOUND) rc = find_in_tail(b, reader, at_ns, seq_num, err);
		vigia__lmdb_read_end(b, reader);
	} while (rc == EAGAIN);
	if (rc == 0) return VIGIA_OK;
	*seq_num = 0;
	if (rc == MDB_NOTFOUND) return VIGIA_NONE;
	return lmdb_is_error(rc) ? vigia__lmdb_error(b, rc, "find a time", err) : rc;
}
