/*
 * lmdb_collect.c - removes events: as the user says (trim), and as marks, checkpoints and limits allow (collect), where
 * a checkpoint unused for checkpoint_ttl no longer counts.
 *
 * Both work in slices, each a call inside a group commit. A slice decides from what its own transaction sees, so that
 * it respects a checkpoint that was moved back, or a watcher that was created, since the previous slice. Small slices
 * leave small free-list records. A record that needs pages of its own would slow down later appends of large events.
 */
#include <string.h>

#include "../core/error.h"
#include "collect.h"
#include "lmdb_private.h"

enum { TRIM_EVENTS = 1000, TRIM_NS = 2000000, LOOK_AT_CLOCK = 64, RENEW_AT_LEAST = 16, SWEEP_VALUES = 1000 };
/* Queued events that make a commit a large one, and how long such a commit may remove, for each event that it stores.
 */
enum { LARGE_COMMIT = 1000, REMOVE_NS = 4000 };

/* ---- removing a prefix ---- */

/* What a slice may remove, and what it removed. */
struct prefix {
	uint64_t upto;                  /* everything up to here */
	uint64_t bytes_upto, bytes_max; /* and up to here while more than bytes_max are in use */
	uint64_t events_max;
	int64_t until_mono_ns;
	/* out */
	uint64_t removed, oldest;
	bool more;
};

static uint64_t tree_bytes(MDB_txn *txn, MDB_dbi events)
{
	MDB_stat st;
	if (mdb_stat(txn, events, &st) != 0) return 0;
	return (uint64_t)(st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages) * st.ms_psize;
}

/* Store the last number and time before the last event may be removed. */
static int write_down_last(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events)
{
	struct last_record last;
	int rc = vigia__lmdb_last(b, txn, events, &last);
	if (rc != 0) return rc;
	return vigia__lmdb_last_write(b, txn, &last);
}

static int lmdb_remove_prefix(struct lmdb_backend *b, MDB_txn *txn, struct prefix *p)
{
	MDB_cursor *events;
	MDB_val key, value;
	uint64_t upto = 0;
	p->removed = p->oldest = 0;
	p->more = false;
	int rc = mdb_cursor_open(txn, b->events, &events);
	if (rc != 0) return rc;
	while ((rc = mdb_cursor_get(events, &key, &value, MDB_FIRST)) == 0) {
		uint64_t seq_num = key.mv_size == sizeof(size_t) ? vigia__lmdb_number(&key) : 0;
		p->oldest = seq_num;
		if (seq_num > p->upto && (seq_num > p->bytes_upto || tree_bytes(txn, b->events) <= p->bytes_max)) break;
		p->more = p->removed >= p->events_max ||
		          (p->removed % LOOK_AT_CLOCK == LOOK_AT_CLOCK - 1 && vigia__mono_ns() >= p->until_mono_ns);
		if (p->more) break;
		if (p->removed == 0) {
			rc = write_down_last(b, txn, events);
			if (rc == 0) rc = mdb_cursor_get(events, &key, &value, MDB_FIRST);
		}
		if (rc == 0) rc = mdb_cursor_del(events, 0);
		if (rc != 0) break;
		upto = seq_num;
		p->removed++;
	}
	if (rc == MDB_NOTFOUND) {
		p->oldest = 0;
		rc = 0;
	}
	mdb_cursor_close(events);
	if (rc == 0 && upto > 0) rc = vigia__lmdb_keys_trim(b, txn, upto);
	return rc == 0 && upto > 0 ? vigia__index_trim(b, txn, upto) : rc;
}

struct trim_slice {
	struct lmdb_backend *b;
	struct prefix prefix;
	int left; /* why events up to there stay in the journal, a Vigia code; 0: none do */
};

/* Does its transaction leave events in the journal that it is to remove? Where it made room the next one may take them
 * out. */
static int left_of(struct trim_slice *slice, MDB_txn *txn)
{
	struct vigia__chain before;
	slice->left = 0;
	if (slice->b->journal.left == 0 || slice->prefix.more) return 0;
	int rc = vigia__journal_generation(slice->b, txn, &before);
	if (rc != 0 || slice->prefix.upto <= before.last) return rc;
	slice->prefix.more = slice->prefix.removed > 0;
	if (!slice->prefix.more) slice->left = slice->b->journal.left;
	return 0;
}

static int trim_slice(void *txn, void *arg, struct vigia_error *err)
{
	struct trim_slice *slice = arg;
	slice->prefix.until_mono_ns = vigia__mono_ns() + TRIM_NS;
	int rc = lmdb_remove_prefix(slice->b, txn, &slice->prefix);
	if (rc == 0) rc = left_of(slice, txn);
	return rc;
}

/* When room is short, remove fewer events at a time: the key of each may change further pages. */
static bool may_be_smaller(int rc, uint64_t *events_max)
{
	if ((rc != VIGIA_EFULL && rc != VIGIA_EDISKFULL) || *events_max <= 1) return false;
	*events_max = *events_max < TRIM_EVENTS ? (*events_max + 7) / 8 : TRIM_EVENTS / 8;
	return true;
}

int vigia__lmdb_trim(struct vigia__backend *base, uint64_t upto, uint64_t *removed, struct vigia_error *err)
{
	struct trim_slice slice = {.b = (struct lmdb_backend *)base, .prefix = {.upto = upto, .events_max = TRIM_EVENTS}};
	*removed = 0;
	vigia__lmdb_free_readers(slice.b);
	do {
		int rc = vigia__commit_call(&slice.b->commit, VIGIA_TICKET_FREE, trim_slice, &slice, err);
		if (may_be_smaller(rc, &slice.prefix.events_max)) {
			slice.prefix.more = true;
			continue;
		}
		if (rc < 0) return rc;
		*removed += slice.prefix.removed;
	} while (slice.prefix.more);
	if (slice.left == 0 || *removed > 0) return VIGIA_OK;
	return vigia__journal_no_room(slice.b, slice.left, err);
}

/* ---- holders ---- */

/* Does any process run this id now? */
static bool runs(struct lmdb_backend *b, const MDB_val *key)
{
	char id[256];
	size_t len = key->mv_size < sizeof id ? key->mv_size : sizeof id - 1;
	memcpy(id, key->mv_data, len);
	id[len] = '\0';
	return vigia__owner_is_held(&b->owners, id);
}

/* Renew the checkpoints of running watchers before they expire. Continues where the previous slice ended, until the
 * given time. */
static int renew(struct lmdb_backend *b, MDB_txn *txn, int64_t now, int64_t ttl_ns, int64_t until_mono_ns,
                 struct vigia__collect *slice)
{
	MDB_dbi dbis[] = {b->checkpoints, b->holds};
	MDB_cursor *cursor;
	MDB_val key = {slice->renewal.len, slice->renewal.after}, value = {0};
	bool anew = slice->renewal.len == 0;
	unsigned looks = 0;
	int rc = mdb_cursor_open(txn, dbis[slice->renewal.databases], &cursor);
	if (rc != 0) return rc;
	slice->renewal.under_way = true;
	struct vigia__lmdb_walk walk = {.cursor = cursor};
	rc = mdb_cursor_get(cursor, &key, &value, anew ? MDB_FIRST : MDB_SET_RANGE);
	for (; rc == 0; rc = vigia__lmdb_next(&walk, &key, &value)) {
		struct checkpoint_record record;
		if (key.mv_size > sizeof slice->renewal.after || !vigia__lmdb_checkpoint_of(&value, &record)) continue;
		if (!vigia__retention_expired(record.touched_at_ns, now, (ttl_ns + 3) / 4)) continue;
		/* Renew at least a few, even if the time is over. The next slice starts at this id. */
		memcpy(slice->renewal.after, key.mv_data, slice->renewal.len = key.mv_size);
		if (++looks > RENEW_AT_LEAST && vigia__mono_ns() >= until_mono_ns) break;
		if (!runs(b, &key)) continue;
		record.touched_at_ns = now;
		value = (MDB_val){sizeof record, &record};
		rc = mdb_cursor_put(cursor, &key, &value, MDB_CURRENT);
		if (rc != 0) break;
	}
	mdb_cursor_close(cursor);
	if (rc != MDB_NOTFOUND) return rc;
	slice->renewal.len = 0;
	slice->renewal.under_way = ++slice->renewal.databases < 2;
	return 0;
}

/* Add all records of one database. */
static int add_holders(struct lmdb_backend *b, MDB_txn *txn, MDB_dbi dbi, int64_t now, int64_t ttl_ns,
                       struct vigia__holders *holders)
{
	struct vigia__lmdb_walk walk = {0};
	MDB_val key, value;
	int rc = mdb_cursor_open(txn, dbi, &walk.cursor);
	if (rc != 0) return rc;
	while (rc == 0 && (rc = vigia__lmdb_next(&walk, &key, &value)) == 0) {
		struct checkpoint_record record;
		if (!vigia__lmdb_checkpoint_of(&value, &record)) continue;
		vigia__holders_add(holders, key.mv_data, key.mv_size, record.seq_num,
		                   !vigia__retention_expired(record.touched_at_ns, now, ttl_ns));
	}
	mdb_cursor_close(walk.cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- one slice ---- */

struct collect_slice {
	struct lmdb_backend *b;
	const struct vigia__collect *collect;
	struct vigia__collect result;
};

static int decide(struct lmdb_backend *b, MDB_txn *txn, const struct vigia_store_options *settings, bool first,
                  uint64_t *last, struct vigia__verdict *out)
{
	uint64_t oldest, latest, old = 0;
	struct vigia__holders holders = {0};
	MDB_cursor *marks;
	int64_t now, age = settings->gc_age_threshold_ns, ttl = settings->checkpoint_ttl_ns;
	int rc = vigia__lmdb_bounds_in(b, txn, &oldest, &latest);
	if (rc == 0) rc = mdb_cursor_open(txn, b->marks, &marks);
	if (rc != 0) return rc;
	if (first) rc = vigia__lmdb_mark(b, marks, latest, age);
	if (rc == 0) rc = vigia__lmdb_time(b, txn, &now);
	if (rc == 0) rc = vigia__lmdb_old(marks, now, age, &old);
	mdb_cursor_close(marks);
	if (rc == 0) rc = add_holders(b, txn, b->checkpoints, now, ttl, &holders);
	if (rc == 0) rc = add_holders(b, txn, b->holds, now, ttl, &holders);
	if (rc == 0) vigia__retention_decide(settings, &holders, oldest, latest, old, out);
	*last = latest;
	return rc;
}

static int collect_slice(void *txn, void *arg, struct vigia_error *err)
{
	struct collect_slice *slice = arg;
	struct lmdb_backend *b = slice->b;
	struct vigia__collect *collect = &slice->result;
	const struct vigia_store_options *settings =
		&b->settings.values; /* up to date, because this transaction has the writer's lock */
	uint64_t latest;
	int64_t begin = vigia__mono_ns(); /* the slice's time starts now that it has the lock */
	int rc = 0;
	*collect = *slice->collect; /* a failed group is tried again, from where the previous slice ended */
	collect->renewal.under_way = false;
	if (collect->first && settings->checkpoint_ttl_ns > 0 && collect->renewal.databases < 2) {
		int64_t now;
		rc = vigia__lmdb_time(b, txn, &now);
		if (rc == 0) rc = renew(b, txn, now, settings->checkpoint_ttl_ns, begin + collect->slice_ns, collect);
		if (rc != 0 || collect->renewal.under_way) return rc;
	}
	rc = decide(b, txn, settings, collect->first, &latest, &collect->verdict);
	if (rc != 0) return rc;
	struct prefix prefix = {
		.upto = collect->verdict.upto,
		.bytes_upto = collect->verdict.bytes_upto,
		.bytes_max = (uint64_t)settings->max_bytes,
		.events_max = vigia__collect_share(collect, latest),
		.until_mono_ns = begin + vigia__collect_ns(collect, latest),
	};
	rc = lmdb_remove_prefix(b, txn, &prefix);
	collect->latest = latest;
	collect->removed = prefix.removed;
	collect->oldest = prefix.oldest;
	collect->more = prefix.more;
	bool left = false;
	if (rc == 0) rc = vigia__lmdb_state_sweep(b, txn, SWEEP_VALUES, &left); /* of a drop that was interrupted */
	collect->more = collect->more || left;
	if (settings->max_bytes > 0 && !prefix.more && prefix.oldest > 0 && collect->verdict.reason == VIGIA_GC_DONE &&
	    tree_bytes(txn, b->events) > prefix.bytes_max)
		collect->verdict.reason = VIGIA_GC_HELD;
	return rc;
}

int vigia__lmdb_collect(struct vigia__backend *base, struct vigia__collect *collect, struct vigia_error *err)
{
	struct collect_slice slice = {.b = (struct lmdb_backend *)base, .collect = collect};
	if (collect->first) vigia__lmdb_free_readers(slice.b);
	int rc;
	do rc = vigia__commit_aside(&slice.b->commit, VIGIA_TICKET_FREE, collect_slice, &slice, err);
	while (may_be_smaller(rc, &collect->events_left));
	if (rc == VIGIA_OK) *collect = slice.result;
	return rc;
}

int vigia__lmdb_collect_in(struct lmdb_backend *b, MDB_txn *txn, uint64_t stored)
{
	const struct vigia_store_options *settings = &b->settings.values;
	struct vigia__verdict verdict;
	uint64_t oldest, latest;
	if (stored < LARGE_COMMIT || settings->max_events <= 0) return 0;
	int rc = vigia__lmdb_bounds_in(b, txn, &oldest, &latest);
	if (rc != 0 || oldest == 0 || !vigia__collect_is_late(&b->base, settings, latest - oldest + 1)) return rc;
	rc = decide(b, txn, settings, false, &latest, &verdict);
	if (rc != 0) return rc;
	struct prefix prefix = {
		.upto = verdict.upto,
		.bytes_upto = verdict.bytes_upto,
		.bytes_max = (uint64_t)settings->max_bytes,
		.events_max = 2 * stored,
		.until_mono_ns = vigia__mono_ns() + (int64_t)stored * REMOVE_NS,
	};
	return lmdb_remove_prefix(b, txn, &prefix);
}
