/*
 * test_fetch.c - a watcher whose reads fail: a backend that answers errors stands before the one in memory, and a clock
 * is moved by hand.
 */
#include "drive/drive.h"
#include "test.h"

static int (*scan_below)(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch,
                         struct vigia_error *err);
static long failures_left, reads;

static int failing_scan(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch,
                        struct vigia_error *err)
{
	reads++;
	if (failures_left == 0) return scan_below(b, scan, batch, err);
	failures_left--;
	err->code = VIGIA_EIO;
	snprintf(err->message, sizeof err->message, "the disk is away");
	return VIGIA_EIO;
}

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	assert_int_equal(attempt->attempt, 1);
	*(uint64_t *)ctx = event->seq_num;
	return VIGIA_OK;
}

static void count_record(void *ctx, enum vigia_log_level level, const char *message)
{
	if (level == VIGIA_LOG_WARN && strstr(message, "watcher 'a': cannot fetch events: ") &&
	    strstr(message, "the disk is away"))
		++*(long *)ctx;
}

static void drive(struct vigia_registry *registry)
{
	while (vigia_registry_step(registry, 0, NULL) == VIGIA_OK) continue;
}

enum { FAILURES = 40, SECOND = 1000000000 };

static void test_retried_with_backoff(void **state)
{
	struct vigia_store *store = NULL;
	struct vigia__manual_clock clock;
	struct vigia_error err = {0};
	assert_int_equal(vigia_store_open(":memory:", NULL, &store, &err), VIGIA_OK);
	struct vigia_new_event event = {slice_of("CREATE"), slice_of("Job"), SLICE("\x01")};
	assert_int_equal(vigia_store_append(store, &event, 1, NULL, &err), VIGIA_OK);
	scan_below = store->backend->scan;
	store->backend->scan = failing_scan;
	failures_left = FAILURES;
	reads = 0;

	struct vigia_registry *registry = vigia_registry_new(store);
	vigia__manual_clock_init(&clock, 0);
	vigia__registry_use_clock(registry, &clock);
	long records = 0;
	uint64_t last = 0, other_last = 0;
	vigia_registry_log(registry, &records, count_record);
	struct vigia_watcher *watcher, *other;
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle, .ctx = &last}, other_handler = handler;
	other_handler.ctx = &other_last;
	assert_int_equal(vigia_registry_watch(registry, "a", &handler, NULL, &watcher, &err), VIGIA_OK);
	drive(registry);
	int64_t backoff = SECOND / 5;
	for (long n = 1; n <= FAILURES; n++) {
		struct vigia_watcher_stats stats;
		vigia_watcher_stats(watcher, &stats);
		assert_int_equal(reads, n);
		assert_int_equal(stats.fetch_errors, n);
		assert_int_equal(records, n);
		assert_int_equal(stats.state, VIGIA_RUNNING);
		assert_int_equal(stats.failed, 0);
		assert_int_equal(stats.last_error.code, VIGIA_EIO);
		assert_string_equal(stats.last_error.watcher_id, "a");
		assert_non_null(strstr(stats.last_error.message, "the disk is away"));
		vigia__manual_clock_advance(&clock, backoff - 1);
		drive(registry);
		assert_int_equal(reads, n);
		vigia__manual_clock_advance(&clock, 1);
		drive(registry);
		backoff = backoff * 2 < 180LL * SECOND ? backoff * 2 : 180LL * SECOND;
	}
	assert_int_equal(last, 1);

	/* A good read ends it; a watcher whose reads fail delays no other. */
	failures_left = 1;
	assert_int_equal(vigia_store_append(store, &event, 1, NULL, &err), VIGIA_OK);
	drive(registry);
	assert_int_equal(last, 1);
	assert_int_equal(vigia_registry_watch(registry, "b", &other_handler, NULL, &other, &err), VIGIA_OK);
	drive(registry);
	assert_int_equal(other_last, 2);
	assert_int_equal(last, 1);
	vigia__manual_clock_advance(&clock, SECOND / 5);
	drive(registry);
	assert_int_equal(last, 2);

	/* One that waits for its next read stops at once. */
	failures_left = 1;
	assert_int_equal(vigia_store_append(store, &event, 1, NULL, &err), VIGIA_OK);
	drive(registry);
	assert_int_equal(vigia_registry_stop(registry, INT64_MAX, &err), VIGIA_OK);
	vigia_registry_free(registry);
	store->backend->scan = scan_below;
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"a fetch that fails is retried with the same backoff, without end, and visible in the stats and the log [W7]",
	     test_retried_with_backoff, NULL, NULL, NULL},
	};
	return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
