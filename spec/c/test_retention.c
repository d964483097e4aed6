/*
 * test_retention.c - G1, G4, G7: what may be removed, decided from tables; then both backends under a clock the test
 * sets.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "core/error.h"
#include "core/retention.h"
#include "drive/drive.h"
#include "store/collect.h"
#include "store/lmdb_private.h"
#include "test.h"

enum { HOUR = 3600 };
#define S INT64_C(1000000000)

/* ---- the store's clock ---- */

static void G1_time_follows_the_machine_and_not_the_wall_clock(void **state)
{
	const struct vigia__mark last = {
		.at_ns = 1000, .seq_num = 5, .clock = {.wall_ns = 5000, .boot_ns = 300, .boot_id = 7}};
	const struct {
		const char *name;
		struct vigia__clock clock;
		int64_t now;
	} rows[] = {
		{"time passes", {5100, 400, 7}, 1100},
		{"the wall clock stepped forward", {999999, 400, 7}, 1100},
		{"the wall clock stepped back", {1, 400, 7}, 1100},
		{"after another boot the wall clock counts", {5250, 10, 8}, 1250},
		{"which may have stepped back", {4000, 10, 8}, 1000},
		{"a boot clock that went back is another boot's", {5250, 299, 7}, 1250},
		{"an unknown boot", {5250, 400, 0}, 1250},
		{"no overflow", {5000, INT64_MAX, 7}, INT64_MAX},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (vigia__retention_now(&last, &rows[i].clock) != rows[i].now) fail_msg("%s", rows[i].name);
	struct vigia__clock first = {.wall_ns = 77};
	assert_int_equal(vigia__retention_now(NULL, &first), 77);
}

static void G1_marks_are_written_for_news_and_not_too_many(void **state)
{
	const struct vigia__mark last = {.at_ns = 1000, .seq_num = 5};
	assert_false(vigia__retention_mark_due(NULL, 0, 2000, 10));
	assert_true(vigia__retention_mark_due(NULL, 1, 2000, 10));
	assert_false(vigia__retention_mark_due(NULL, 1, 2000, 0));
	assert_true(vigia__retention_mark_due(&last, 6, 2000, 1000 * VIGIA_MARKS));
	assert_false(vigia__retention_mark_due(&last, 6, 1999, 1000 * VIGIA_MARKS));
	assert_false(vigia__retention_mark_due(&last, 5, 9000, 10));
	assert_false(vigia__retention_mark_due(&last, 6, 1000, 10));
}

/* ---- what may go ---- */

struct holder {
	const char *id;
	uint64_t seq_num;
	bool expired;
};

static void G1_G4_G7_what_may_be_removed(void **state)
{
	const struct {
		const char *name;
		struct vigia_store_options settings;
		struct holder holders[4];
		uint64_t oldest, latest, old;
		uint64_t upto, bytes_upto;
		enum vigia_gc_reason reason;
		const char *held_by;
	} rows[] = {
		{"all off", {0}, {{"a", 5, false}}, 1, 9, 9, 0, 0, VIGIA_GC_OFF, ""},
		{"nothing there", {.gc_age_threshold_ns = 1}, {{"a", 5, false}}, 0, 9, 9, 0, 0, VIGIA_GC_DONE, ""},
		{"old and seen", {.gc_age_threshold_ns = 1}, {{"a", 9, false}}, 1, 9, 4, 4, 0, VIGIA_GC_DONE, "a"},
		{"old, not seen by all",
	     {.gc_age_threshold_ns = 1},
	     {{"b", 9, false}, {"a", 3, false}},
	     1,
	     9,
	     6,
	     3,
	     0,
	     VIGIA_GC_HELD,
	     "a"},
		{"in any order of ids",
	     {.gc_age_threshold_ns = 1},
	     {{"a", 3, false}, {"b", 9, false}},
	     1,
	     9,
	     6,
	     3,
	     0,
	     VIGIA_GC_HELD,
	     "a"},
		{"a 0 counts, first",
	     {.gc_age_threshold_ns = 1},
	     {{"a", 0, false}, {"b", 9, false}},
	     1,
	     9,
	     6,
	     0,
	     0,
	     VIGIA_GC_HELD,
	     "a"},
		{"a 0 counts, last",
	     {.gc_age_threshold_ns = 1},
	     {{"b", 9, false}, {"z", 0, false}},
	     1,
	     9,
	     6,
	     0,
	     0,
	     VIGIA_GC_HELD,
	     "z"},
		{"no checkpoint", {.gc_age_threshold_ns = 1}, {{0}}, 1, 9, 6, 0, 0, VIGIA_GC_NO_CHECKPOINT, ""},
		{"no checkpoint, nothing old", {.gc_age_threshold_ns = 1}, {{0}}, 1, 9, 0, 0, 0, VIGIA_GC_DONE, ""},
		{"held where all before is gone",
	     {.gc_age_threshold_ns = 1},
	     {{"a", 3, false}},
	     4,
	     9,
	     6,
	     3,
	     0,
	     VIGIA_GC_HELD,
	     "a"},
		{"what was old is gone", {.gc_age_threshold_ns = 1}, {{"a", 3, false}}, 7, 9, 6, 3, 0, VIGIA_GC_DONE, "a"},
		{"one expired",
	     {.gc_age_threshold_ns = 1},
	     {{"a", 3, true}, {"b", 8, false}},
	     1,
	     9,
	     6,
	     6,
	     0,
	     VIGIA_GC_DONE,
	     "b"},
		{"all expired", {.gc_age_threshold_ns = 1}, {{"a", 3, true}}, 1, 9, 6, 6, 0, VIGIA_GC_DONE, ""},
		{"a checkpoint beyond the end",
	     {.gc_age_threshold_ns = 1},
	     {{"a", 99, false}},
	     1,
	     9,
	     9,
	     9,
	     0,
	     VIGIA_GC_DONE,
	     "a"},
		{"too many events", {.max_events = 4}, {{"a", 9, false}}, 1, 9, 0, 5, 0, VIGIA_GC_DONE, "a"},
		{"too many, held", {.max_events = 4}, {{"a", 2, false}}, 1, 9, 0, 2, 0, VIGIA_GC_HELD, "a"},
		{"too many, passing",
	     {.max_events = 4, .retention_passes_checkpoints = true},
	     {{"a", 2, false}},
	     1,
	     9,
	     0,
	     5,
	     0,
	     VIGIA_GC_DONE,
	     "a"},
		{"too many, nobody watches", {.max_events = 4}, {{0}}, 1, 9, 0, 5, 0, VIGIA_GC_DONE, ""},
		{"not too many", {.max_events = 4}, {{"a", 9, false}}, 6, 9, 0, 0, 0, VIGIA_GC_DONE, "a"},
		{"age never passes, also with the choice",
	     {.gc_age_threshold_ns = 1, .max_events = 8, .retention_passes_checkpoints = true},
	     {{"a", 2, false}},
	     1,
	     9,
	     6,
	     2,
	     0,
	     VIGIA_GC_HELD,
	     "a"},
		{"bytes", {.max_bytes = 4}, {{"a", 2, false}}, 1, 9, 0, 0, 2, VIGIA_GC_DONE, "a"},
		{"bytes, passing",
	     {.max_bytes = 4, .retention_passes_checkpoints = true},
	     {{"a", 2, false}},
	     1,
	     9,
	     0,
	     0,
	     9,
	     VIGIA_GC_DONE,
	     "a"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia__holders holders = {0};
		struct vigia__verdict v;
		for (const struct holder *h = rows[i].holders; h->id; h++)
			vigia__holders_add(&holders, h->id, strlen(h->id), h->seq_num, !h->expired);
		vigia__retention_decide(&rows[i].settings, &holders, rows[i].oldest, rows[i].latest, rows[i].old, &v);
		if (v.upto != rows[i].upto || v.bytes_upto != rows[i].bytes_upto || v.reason != rows[i].reason ||
		    strcmp(v.held_by, rows[i].held_by) != 0)
			fail_msg("%s: up to %llu and %llu, reason %d, held by '%s'", rows[i].name, (unsigned long long)v.upto,
			         (unsigned long long)v.bytes_upto, v.reason, v.held_by);
	}
}

static void G4_when_a_checkpoint_expires(void **state)
{
	assert_false(vigia__retention_expired(0, INT64_MAX, 0));
	assert_false(vigia__retention_expired(100, 109, 10));
	assert_true(vigia__retention_expired(100, 110, 10));
	assert_false(vigia__retention_expired(INT64_MAX, 0, 1));
}

/* ---- both backends ---- */

static struct vigia__clock clock_is;

static void read_clock(struct vigia__clock *out)
{
	*out = clock_is;
}

/* True time passes: for all clocks, but for a step of the wall clock that a test makes. */
static void pass(int64_t seconds)
{
	clock_is.wall_ns += seconds * S;
	clock_is.boot_ns += seconds * S;
}

static struct vigia_store *open_at(const char *path, const struct vigia_store_options *given)
{
	struct vigia_store_options options;
	struct vigia_store *store;
	struct vigia_error err = {0};
	vigia_store_options_init(&options);
	if (given) options = *given;
	options.collect = false;
	if (vigia_store_open(path, &options, &store, &err) != 0) fail_msg("%s", err.message);
	store->backend->clock = read_clock;
	return store;
}

static char folder[FOLDER_MAX];

/* A new store: in memory or in a file, by turns of the tests' list. */
static struct vigia_store *open_new(void **state, const struct vigia_store_options *given)
{
	char path[FOLDER_MAX + 16], side[FOLDER_MAX + 24];
	clock_is = (struct vigia__clock){.wall_ns = 1700000000 * S, .boot_ns = 1000 * S, .boot_id = 9};
	if (strcmp(*state, "memory") == 0) return open_at(":memory:", given);
	snprintf(path, sizeof path, "%s/store", folder);
	const char *const ends[] = {"", "-lock", "-side"};
	for (int i = 0; i < 3; i++) {
		snprintf(side, sizeof side, "%s%s", path, ends[i]);
		remove(side);
	}
	return open_at(path, given);
}

static void append(struct vigia_store *store, int count)
{
	struct vigia_new_event event = {SLICE("CREATE"), SLICE("Job"), SLICE("\x01")};
	for (int i = 0; i < count; i++) assert_int_equal(vigia_store_append(store, &event, 1, NULL, NULL), VIGIA_OK);
}

static uint64_t gc(struct vigia_store *store, enum vigia_gc_reason reason)
{
	struct vigia_gc out;
	struct vigia_error err = {0};
	if (vigia_store_gc(store, &out, &err) != VIGIA_OK) fail_msg("%s", err.message);
	assert_int_equal(out.reason, reason);
	return out.removed;
}

static void G1_age_is_measured_by_marks(void **state)
{
	struct vigia_store *store = open_new(state, NULL); /* an age of 24 hours */
	append(store, 3);
	assert_int_equal(vigia_checkpoint_put(store, "a", 5, NULL), VIGIA_OK);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0);
	pass(12 * HOUR);
	append(store, 3);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0);
	pass(12 * HOUR - 1);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0);
	pass(1);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 3);
	pass(12 * HOUR);
	assert_int_equal(gc(store, VIGIA_GC_HELD), 2);
	assert_int_equal(vigia_checkpoint_put(store, "a", 6, NULL), VIGIA_OK);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 1);
	vigia_store_free(store);
}

/* Row 15 of what the reference gets wrong: a step of the wall clock, forward and back. */
static void G1_a_clock_that_steps_neither_deletes_early_nor_holds_back(void **state)
{
	struct vigia_store *store = open_new(state, NULL);
	assert_int_equal(vigia_checkpoint_put(store, "a", 1000, NULL), VIGIA_OK);
	append(store, 2);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0);
	pass(HOUR);
	clock_is.wall_ns += 3650 * 24 * HOUR * S; /* ten years ahead */
	append(store, 2);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0); /* not too early */
	pass(HOUR);
	clock_is.wall_ns -= 3650 * 24 * HOUR * S;
	append(store, 2);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0);
	pass(22 * HOUR);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 2);
	pass(HOUR);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 2); /* nor too late */
	pass(HOUR);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 2);
	vigia_store_free(store);
}

static void G4_a_forgotten_checkpoint_holds_back_no_longer(void **state)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.checkpoint_ttl_ns = 48 * HOUR * S;
	struct vigia_store *store = open_new(state, &options);
	append(store, 4);
	assert_int_equal(vigia_checkpoint_put(store, "alive", 3, NULL), VIGIA_OK);
	assert_int_equal(vigia_checkpoint_put(store, "forgotten", 1, NULL), VIGIA_OK);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0);
	pass(30 * HOUR);
	assert_int_equal(gc(store, VIGIA_GC_HELD), 1);
	assert_int_equal(vigia_checkpoint_put(store, "alive", 3, NULL), VIGIA_OK);
	clock_is.wall_ns += 1000 * HOUR * S; /* a step expires nobody */
	assert_int_equal(gc(store, VIGIA_GC_HELD), 0);
	pass(18 * HOUR);
	assert_int_equal(gc(store, VIGIA_GC_HELD), 2);
	vigia_store_free(store);
}

static int succeed(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt, int64_t *resume,
                   struct vigia_error *err)
{
	return VIGIA_OK;
}

static void G4_a_watcher_that_runs_does_not_expire(void **state)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.checkpoint_ttl_ns = 2 * HOUR * S;
	options.gc_age_threshold_ns = HOUR * S;
	struct vigia_store *store = open_new(state, &options);
	struct vigia_registry *registry = vigia_registry_new(store);
	struct vigia_handler handler = {.size = sizeof handler, .handle = succeed};
	struct vigia_watcher *watcher;
	assert_int_equal(vigia_checkpoint_put(store, "runs", 1, NULL), VIGIA_OK);
	append(store, 3);
	assert_int_equal(vigia_registry_watch(registry, "runs", &handler, NULL, &watcher, NULL), VIGIA_OK);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0);
	for (int i = 0; i < 5; i++) { /* it handles nothing, but runs */
		pass(3 * HOUR);
		assert_int_equal(gc(store, VIGIA_GC_HELD), i == 0 ? 1 : 0);
	}
	vigia_registry_free(registry); /* it stops where it was */
	pass(HOUR);
	assert_int_equal(gc(store, VIGIA_GC_HELD), 0);
	pass(HOUR);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 2);
	vigia_store_free(store);
}

/* One that runs now and then, between two collections and without an event, has been run. */
static void G4_a_start_counts_as_running(void **state)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.checkpoint_ttl_ns = 4 * HOUR * S;
	options.gc_age_threshold_ns = HOUR * S;
	struct vigia_store *store = open_new(state, &options);
	struct vigia_handler handler = {.size = sizeof handler, .handle = succeed};
	append(store, 3);
	assert_int_equal(vigia_checkpoint_put(store, "now and then", 3, NULL), VIGIA_OK);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0);
	append(store, 3);
	for (int i = 0; i < 3; i++) {
		pass(3 * HOUR);
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_watch_options watch;
		vigia_watch_options_init(&watch);
		watch.checkpoint = VIGIA_CHECKPOINT_MANUAL;
		assert_int_equal(vigia_registry_watch(registry, "now and then", &handler, &watch, NULL, NULL), VIGIA_OK);
		vigia_registry_free(registry);
	}
	pass(2 * HOUR);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 3);
	pass(HOUR);
	assert_int_equal(gc(store, VIGIA_GC_HELD), 0); /* 4 to 6 are old, and held */
	pass(HOUR);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 3);
	vigia_store_free(store);
}

/* ---- where a watcher begins ---- */

static int (*hold_is)(struct vigia__backend *, const char *, struct vigia_iterator, uint64_t *, bool *,
                      struct vigia_error *);

/* Somebody trims when the watcher knows where the log begins, and before it holds anything. */
static int hold_after_a_trim(struct vigia__backend *b, const char *id, struct vigia_iterator from, uint64_t *seq_num,
                             bool *made, struct vigia_error *err)
{
	uint64_t oldest, latest, removed;
	assert_int_equal(b->bounds(b, &oldest, &latest, NULL), VIGIA_OK);
	assert_int_equal(b->trim(b, oldest + 1, &removed, NULL), VIGIA_OK);
	return hold_is(b, id, from, seq_num, made, err);
}

static int count(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt, int64_t *resume,
                 struct vigia_error *err)
{
	++*(uint64_t *)ctx;
	return VIGIA_OK;
}

static void W20_a_new_watcher_at_the_trim_horizon_misses_nothing_while_others_trim(void **state)
{
	enum { AT_ONCE, IDLE, HELD_FROM_THE_START_ON, EPHEMERAL, WAYS };
	for (int way = 0; way < WAYS; way++) {
		uint64_t handled = 0, latest, oldest;
		struct vigia_store *store = open_new(state, NULL);
		struct vigia__backend *b = store->backend;
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_handler handler = {.size = sizeof handler, .handle = count, .ctx = &handled};
		struct vigia_watch_options options;
		struct vigia_watcher *watcher;
		struct vigia_watcher_stats stats;
		vigia_watch_options_init(&options);
		options.on_gap = VIGIA_GAP_STOP;
		options.auto_start = way == AT_ONCE;
		options.ephemeral = way == EPHEMERAL;
		registry->holds_late = way == HELD_FROM_THE_START_ON;
		append(store, 10);
		hold_is = b->hold;
		b->hold = hold_after_a_trim;
		assert_int_equal(vigia_registry_watch(registry, "w", &handler, &options, &watcher, NULL), VIGIA_OK);
		if (way != AT_ONCE && way != IDLE) assert_int_equal(vigia_store_trim(store, 4, NULL, NULL), VIGIA_OK);
		if (way == IDLE) b->hold = hold_is; /* it has one: what is trimmed from here on is missed, and said */
		if (way != AT_ONCE) assert_int_equal(vigia_watcher_start(watcher, NULL), VIGIA_OK);
		if (way == EPHEMERAL)
			assert_int_equal(vigia_store_trim(store, 6, NULL, NULL), VIGIA_OK); /* nothing holds it back */
		b->hold = hold_is;
		while (vigia_registry_step(registry, 0, NULL) == VIGIA_OK) continue;
		vigia_watcher_stats(watcher, &stats);
		assert_int_equal(b->bounds(b, &oldest, &latest, NULL), VIGIA_OK);
		if (stats.state != VIGIA_RUNNING || stats.missed != 0 || handled != latest - oldest + 1)
			fail_msg("way %d: state %d, %d missed, %d of %d handled", way, (int)stats.state, (int)stats.missed,
			         (int)handled, (int)(latest - oldest + 1));
		vigia_registry_free(registry);
		vigia_store_free(store);
	}
}

/* ---- slices ---- */

static int (*collect_is)(struct vigia__backend *, struct vigia__collect *, struct vigia_error *);
static int slices;
static int64_t left_at_ns;

static int collect_watched(struct vigia__backend *backend, struct vigia__collect *slice, struct vigia_error *err)
{
	int64_t now = vigia__mono_ns();
	assert_in_range(slice->slice_ns, 1, 2000000);
	/* Between two of them whoever waits for the writer's lock has time to wake and take it. */
	if (slices++ > 0) assert_true(now - left_at_ns >= 20000);
	if (slices % 10 == 0) slice->slice_ns = 0; /* as if it had taken its time: then it ends soon */
	int rc = collect_is(backend, slice, err);
	assert_in_range(slice->removed, 0, 1000); /* nobody appends beside it */
	if (slices % 10 == 0 && backend->can & VIGIA_CAN_PERSIST) assert_true(slice->removed <= 64);
	slice->slice_ns = 2000000;
	left_at_ns = vigia__mono_ns();
	return rc;
}

static void G2_a_run_is_made_of_short_slices_with_pauses(void **state)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.gc_age_threshold_ns = 1;
	options.durability = VIGIA_DURABILITY_NONE;
	struct vigia_store *store = open_new(state, &options);
	assert_int_equal(vigia_checkpoint_put(store, "a", 1 << 30, NULL), VIGIA_OK);
	append(store, 20000);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0); /* writes the mark */
	pass(1);
	collect_is = store->backend->collect;
	store->backend->collect = collect_watched;
	slices = 0;
	assert_int_equal(gc(store, VIGIA_GC_DONE), 20000);
	assert_true(slices >= 20);
	store->backend->collect = collect_is;
	vigia_store_free(store);
}

static int collect_without_time(struct vigia__backend *backend, struct vigia__collect *slice, struct vigia_error *err)
{
	slices++;
	slice->slice_ns = 0;
	return collect_is(backend, slice, err);
}

static void G4_the_checkpoints_of_watchers_that_run_are_renewed_in_slices(void **state)
{
	enum { WATCHERS = 300 };
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.checkpoint_ttl_ns = 2 * HOUR * S;
	options.gc_age_threshold_ns = HOUR * S;
	struct vigia_store *store = open_new(state, &options);
	struct vigia__backend *b = store->backend;
	char id[20];
	append(store, 3);
	for (int i = 0; i < WATCHERS; i++) {
		snprintf(id, sizeof id, "w%d", i);
		assert_int_equal(vigia_checkpoint_put(store, id, 1, NULL), VIGIA_OK);
		assert_int_equal(b->own(b, id, NULL), VIGIA_OK);
	}
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0);
	collect_is = b->collect;
	b->collect = collect_without_time;
	for (int i = 0; i < 5; i++) {
		pass(HOUR + HOUR / 2);
		slices = 0;
		assert_int_equal(gc(store, VIGIA_GC_HELD), i == 0 ? 1 : 0); /* in none of them did one expire */
		assert_true(slices > WATCHERS / 50);
	}
	b->collect = collect_is;
	for (int i = 0; i < WATCHERS; i++) {
		snprintf(id, sizeof id, "w%d", i);
		b->disown(b, id);
	}
	vigia_store_free(store);
}

static void G2_a_slice_removes_more_than_was_appended_since_the_one_before(void **state)
{
	const struct {
		uint64_t before, now, left, share;
	} rows[] = {
		{0, 1000000, 9000, 500},                                                     /* the first of a run */
		{1000, 1000, 9000, 500},                                                     /* nobody appends */
		{1000, 1100, 9000, 500}, {1000, 2000, 9000, 2000}, {1000, 9000, 9000, 9000}, /* the run's bound comes first */
		{0, 10, 7, 7},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia__collect slice = {.latest = rows[i].before, .events_left = rows[i].left};
		assert_int_equal(vigia__collect_share(&slice, rows[i].now), rows[i].share);
	}
	/* and gets the time for it, of which there is a limit */
	struct vigia__collect slice = {.latest = 1000, .slice_ns = 2000000};
	assert_int_equal(vigia__collect_ns(&slice, 1000), 2000000);
	assert_int_equal(vigia__collect_ns(&slice, 11000), 22000000);
	assert_int_equal(vigia__collect_ns(&slice, 1000000000), 50000000);
	slice.latest = 0;
	assert_int_equal(vigia__collect_ns(&slice, 11000), 2000000);
}

static int collect_never(struct vigia__backend *backend, struct vigia__collect *slice, struct vigia_error *err)
{
	return VIGIA_EIO;
}

/* How many events there are after so many more in one commit. */
static uint64_t kept_after(struct vigia_store *store, int count, uint64_t *oldest, uint64_t *latest)
{
	append(store, count);
	assert_int_equal(vigia_store_sync(store, latest, NULL), VIGIA_OK);
	assert_int_equal(vigia_store_oldest(store, oldest, NULL), VIGIA_OK);
	return *latest - *oldest + 1;
}

/* A removal is limited in time: under a sanitizer on a busy machine no commit removes as many as it brings. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { CATCHES_UP = false };
#else
enum { CATCHES_UP = true };
#endif

/* Callers that only queue leave the collector little of the processor, and then a commit may bring more than a slice
 * removes. */
static void G2_a_large_commit_of_the_queue_removes_what_the_collector_did_not(void **state)
{
	for (int collects = 0; collects < 2; collects++) {
		struct vigia_store_options options;
		vigia_store_options_init(&options);
		options.durability = VIGIA_DURABILITY_INTERVAL;
		options.commit_interval_ns = HOUR * S;
		options.max_events = 1000;
		struct vigia_store *store = open_new(state, &options);
		struct vigia__backend *b = store->backend;
		uint64_t oldest, latest;
		collect_is = b->collect;
		b->collect = collect_never;
		if (collects) assert_int_equal(vigia__collector_add(b, NULL), VIGIA_OK);
		/* What one commit may remove is limited in time: on a busy machine it takes a few. */
		uint64_t kept = 0;
		for (int tries = 0; kept != 1000 && tries < (collects && CATCHES_UP ? 50 : 3); tries++)
			kept = kept_after(store, 6000, &oldest, &latest);
		if (collects && !CATCHES_UP) assert_in_range(kept, 1000, latest - 1);
		else assert_int_equal(kept, collects ? 1000 : latest);
		assert_int_equal(kept_after(store, 500, &oldest, &latest),
		                 kept + 500); /* a small commit leaves it to the collector */
		/* what a watcher has not handled stays */
		if (collects) {
			uint64_t handled = latest;
			assert_int_equal(vigia_checkpoint_put(store, "w", handled, NULL), VIGIA_OK);
			for (int tries = 0; oldest <= handled && tries < (CATCHES_UP ? 50 : 3); tries++)
				kept_after(store, 6000, &oldest, &latest);
			if (!CATCHES_UP) assert_in_range(oldest, 1, handled + 1);
			else assert_int_equal(oldest, handled + 1);
			vigia__collector_drop(b);
		}
		b->collect = collect_is;
		vigia_store_free(store);
	}
}

/* Somebody has the writer's lock whenever a slice wants it. */
struct holder_of_the_lock {
	struct lmdb_backend *backend;
	atomic_bool holds;
};

static void *hold_the_lock(void *arg)
{
	struct holder_of_the_lock *holder = arg;
	MDB_txn *txn;
	if (vigia__lmdb_write_begin(holder->backend, &txn, NULL) < 0) abort();
	atomic_store(&holder->holds, true);
	usleep(4000);
	vigia__lmdb_write_abort(holder->backend, txn);
	return NULL;
}

static int collect_behind_a_writer(struct vigia__backend *backend, struct vigia__collect *slice,
                                   struct vigia_error *err)
{
	struct holder_of_the_lock holder = {.backend = (struct lmdb_backend *)backend};
	pthread_t thread;
	slices++;
	assert_int_equal(pthread_create(&thread, NULL, hold_the_lock, &holder), 0);
	while (!atomic_load(&holder.holds)) sched_yield();
	int rc = collect_is(backend, slice, err);
	pthread_join(thread, NULL);
	return rc;
}

static void G2_waiting_for_the_lock_takes_nothing_from_a_slice(void **state)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.gc_age_threshold_ns = 1;
	options.durability = VIGIA_DURABILITY_NONE;
	struct vigia_store *store = open_new(state, &options);
	assert_int_equal(vigia_checkpoint_put(store, "a", 1 << 30, NULL), VIGIA_OK);
	append(store, 10000);
	assert_int_equal(gc(store, VIGIA_GC_DONE), 0); /* writes the mark */
	pass(1);
	collect_is = store->backend->collect;
	store->backend->collect = collect_behind_a_writer;
	slices = 0;
	assert_int_equal(gc(store, VIGIA_GC_DONE), 10000);
	assert_in_range(slices, 20, 100); /* with 63 events in each it would be 159 */
	store->backend->collect = collect_is;
	vigia_store_free(store);
}

/* ---- the collector's thread beside others ---- */

static void *append_many(void *arg)
{
	append(arg, 300);
	return NULL;
}

static void *collect_and_configure(void *arg)
{
	struct vigia_store_options changes;
	vigia_store_options_init(&changes);
	changes.gc_cadence_given = true;
	for (int i = 0; i < 30; i++) {
		changes.gc_cadence_ns = 1000000 + i;
		assert_int_equal(vigia_store_configure(arg, &changes, NULL), VIGIA_OK);
		assert_int_equal(vigia_store_gc(arg, NULL, NULL), VIGIA_OK);
	}
	return NULL;
}

static void G2_G5_collects_while_threads_append_and_handles_come_and_go(void **state)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.gc_cadence_ns = 1000000;
	options.gc_age_threshold_ns = 1;
	options.durability = VIGIA_DURABILITY_NONE;
	struct vigia_store *store = open_new(state, &options), *other;
	store->backend->clock = vigia__clock_now;
	assert_int_equal(vigia_checkpoint_put(store, "a", 1 << 30, NULL), VIGIA_OK);
	const char *path = strcmp(*state, "memory") == 0 ? ":memory:" : store->path;
	pthread_t threads[3];
	for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, i < 2 ? append_many : collect_and_configure, store);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(vigia_store_open(path, NULL, &other, NULL), VIGIA_OK); /* with a collector */
		vigia_store_free(other);
	}
	for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
	assert_int_equal(vigia_store_gc(store, NULL, NULL), VIGIA_OK);
	uint64_t n;
	assert_int_equal(vigia_store_latest(store, &n, NULL), VIGIA_OK);
	assert_int_equal(n, 600);
	assert_int_equal(vigia_store_oldest(store, &n, NULL), VIGIA_NONE);
	vigia_store_free(store);
}

/* ---- a store whose settings cannot be read ---- */

static atomic_int looks;

static int settings_fail(struct vigia__backend *backend, struct vigia__settings *out, struct vigia_error *err)
{
	(void)backend, (void)out;
	atomic_fetch_add(&looks, 1);
	return vigia__error(err, VIGIA_EIO, "it cannot be read");
}

static void G2_a_collector_that_cannot_read_the_settings_looks_again_after_a_second(void **state)
{
	(void)state;
	_Atomic uint32_t settings_word = 0, collect_word = 0, timers_word = 0;
	_Atomic uint64_t collect_at = 0;
	struct vigia__backend broken = {.settings = settings_fail,
	                                .settings_word = &settings_word,
	                                .timers = {.word = &timers_word},
	                                .collect_call = {.at = &collect_at, .word = &collect_word}};
	pthread_mutex_init(&broken.collector.mutex, NULL);
	assert_int_equal(vigia__collector_add(&broken, NULL), VIGIA_OK);
	usleep(300000);
	int early = atomic_load(&looks);
	usleep(1200000);
	vigia__collector_drop(&broken);
	assert_in_range(early, 0, 1);
	assert_in_range(atomic_load(&looks), 1, 3);
	pthread_mutex_destroy(&broken.collector.mutex);
}

int main(void)
{
	static char memory[] = "memory", file[] = "file";
	if (folder_make(folder) != 0) return 1;
#define BOTH(test)                                 \
	{#test " (memory)", test, NULL, NULL, memory}, \
	{                                              \
#test " (file)", test, NULL, NULL, file    \
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(G1_time_follows_the_machine_and_not_the_wall_clock),
		cmocka_unit_test(G1_marks_are_written_for_news_and_not_too_many),
		cmocka_unit_test(G1_G4_G7_what_may_be_removed),
		cmocka_unit_test(G4_when_a_checkpoint_expires),
		BOTH(G1_age_is_measured_by_marks),
		BOTH(G1_a_clock_that_steps_neither_deletes_early_nor_holds_back),
		BOTH(G4_a_forgotten_checkpoint_holds_back_no_longer),
		BOTH(G4_a_watcher_that_runs_does_not_expire),
		BOTH(G4_a_start_counts_as_running),
		BOTH(W20_a_new_watcher_at_the_trim_horizon_misses_nothing_while_others_trim),
		BOTH(G2_a_run_is_made_of_short_slices_with_pauses),
		{"the checkpoints of watchers that run are renewed in slices [G4]",
	     G4_the_checkpoints_of_watchers_that_run_are_renewed_in_slices, NULL, NULL, file},
		cmocka_unit_test(G2_a_slice_removes_more_than_was_appended_since_the_one_before),
		{"a large commit of the queue removes what the collector did not [G2]",
	     G2_a_large_commit_of_the_queue_removes_what_the_collector_did_not, NULL, NULL, file},
		{"waiting for the lock takes nothing from a slice [G2]", G2_waiting_for_the_lock_takes_nothing_from_a_slice,
	     NULL, NULL, file},
		cmocka_unit_test(G2_a_collector_that_cannot_read_the_settings_looks_again_after_a_second),
		BOTH(G2_G5_collects_while_threads_append_and_handles_come_and_go),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	char command[FOLDER_MAX + 16];
	snprintf(command, sizeof command, "rm -r '%s'", folder);
	return system(command) == 0 ? failed : 1;
}
