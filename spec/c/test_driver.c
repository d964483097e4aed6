/*
 * test_driver.c - the driver of one watcher over a store whose calls fail when the test says so, on a clock that is
 * moved by hand: what the Lua specs cannot bring about in a store of ours.
 */
#include "core/error.h"
#include "drive/drive.h"
#include "test.h"

static const int64_t SECOND = 1000000000;

/* What fails, and what was seen. One test at a time. */
static int (*real_scan)(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch,
                        struct vigia_error *err);
static int (*real_append)(struct vigia__backend *b, struct vigia__append *request, struct vigia_error *err);
static bool scan_fails, is_replaced; /* the store, by another file; appends notice it, and scans */
static int scans, warnings, handled;
static char last_record[256];
static const char *awaited; /* a record, if any */
static bool told;           /* it came */

static int scan_or_fail(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch,
                        struct vigia_error *err)
{
	scans++;
	if (is_replaced) return vigia__error(err, VIGIA_EREPLACED, "it is another file");
	if (scan_fails) return vigia__error_caused(err, VIGIA_EIO, "Input/output error", "the disk is away");
	return real_scan(b, scan, batch, err);
}

static int append_or_fail(struct vigia__backend *b, struct vigia__append *request, struct vigia_error *err)
{
	if (is_replaced) return vigia__error(err, VIGIA_EREPLACED, "it is another file");
	return real_append(b, request, err);
}

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	handled++;
	return VIGIA_OK;
}

static void record(void *ctx, enum vigia_log_level level, const char *message)
{
	if (level == VIGIA_LOG_WARN) warnings++;
	snprintf(last_record, sizeof last_record, "%s", message);
	if (awaited && strcmp(message, awaited) == 0) told = true;
}

static void append(struct vigia_store *store)
{
	struct vigia_new_event event = {SLICE_INIT("CREATE"), SLICE_INIT("Job"), SLICE_INIT("\x01")};
	assert_int_equal(vigia_store_append(store, &event, 1, NULL, NULL), VIGIA_OK);
}

static struct vigia_store *open_store(void)
{
	struct vigia_store *store = NULL;
	assert_int_equal(vigia_store_open(":memory:", NULL, &store, NULL), VIGIA_OK);
	real_scan = store->backend->scan;
	store->backend->scan = scan_or_fail;
	real_append = store->backend->append;
	store->backend->append = append_or_fail;
	scan_fails = is_replaced = false;
	scans = warnings = handled = 0;
	return store;
}

static struct vigia_watcher_stats stats_of(struct vigia_watcher *watcher)
{
	struct vigia_watcher_stats stats;
	vigia_watcher_stats(watcher, &stats);
	return stats;
}

/* Until nothing is due. */
static void settle(struct vigia_registry *registry)
{
	assert_int_equal(vigia_registry_run(registry, NULL), VIGIA_OK);
}

static void test_failing_fetches(void **state)
{
	static const int64_t delays[] = {200000000, 400000000, 800000000, 1000000000, 1000000000, 1000000000};
	struct vigia_store *store = open_store();
	struct vigia__manual_clock clock;
	struct vigia_registry *registry = vigia_registry_new(store);
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle};
	struct vigia_watch_options options;
	struct vigia_watcher *watcher;
	vigia__manual_clock_init(&clock, 0);
	vigia__registry_use_clock(registry, &clock);
	vigia_registry_log(registry, NULL, record);
	vigia_watch_options_init(&options);
	options.max_backoff_ns = SECOND;
	append(store);
	scan_fails = true;
	assert_int_equal(vigia_registry_watch(registry, "w", &handler, &options, &watcher, NULL), VIGIA_OK);
	settle(registry);
	assert_int_equal(scans, 1);
	for (int i = 0; i < (int)COUNT_OF(delays); i++) {
		struct vigia_watcher_stats stats = stats_of(watcher);
		assert_int_equal(stats.state, VIGIA_RUNNING);
		assert_int_equal(stats.fetch_errors, i + 1);
		assert_error(stats.last_error.code, VIGIA_EIO, &stats.last_error, "the disk is away");
		assert_string_equal(stats.last_error.watcher_id, "w");
		assert_int_equal(warnings, i + 1);
		assert_string_equal(last_record, "watcher 'w': cannot fetch events: the disk is away (Input/output error)");
		vigia__manual_clock_advance(&clock, delays[i] - 1);
		settle(registry);
		assert_int_equal(scans, i + 1);
		vigia__manual_clock_advance(&clock, 1);
		settle(registry);
		assert_int_equal(scans, i + 2);
	}
	for (int i = 0; i < 1000; i++) {
		vigia__manual_clock_advance(&clock, SECOND);
		settle(registry);
	}
	assert_int_equal(stats_of(watcher).fetch_errors, COUNT_OF(delays) + 1001);
	assert_int_equal(handled, 0);

	scan_fails = false;
	vigia__manual_clock_advance(&clock, SECOND);
	settle(registry);
	assert_int_equal(handled, 1);
	assert_int_equal(stats_of(watcher).processed, 1);

	/* The next one that fails begins with the first delay again. */
	scan_fails = true;
	append(store);
	settle(registry);
	int before = scans;
	vigia__manual_clock_advance(&clock, delays[0]);
	settle(registry);
	assert_int_equal(scans, before + 1);
	/* A stop does not wait for the retry, nor does it try again. */
	assert_int_equal(vigia_watcher_stop(watcher, 0, NULL), VIGIA_OK);
	assert_int_equal(stats_of(watcher).state, VIGIA_STOPPED);
	assert_int_equal(scans, before + 1);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

/* Each of the fetches needs memory for the numbers of its batch. */
static void test_a_fetch_without_memory(void **state)
{
	struct vigia_store *store = open_store();
	struct vigia__manual_clock clock;
	struct vigia_registry *registry = vigia_registry_new(store);
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle};
	struct vigia_watcher *watcher;
	vigia__manual_clock_init(&clock, 0);
	vigia__registry_use_clock(registry, &clock);
	append(store);
	assert_int_equal(vigia_registry_watch(registry, "w", &handler, NULL, &watcher, NULL), VIGIA_OK);
	int failures = 0;
	for (long nth = 1; handled == 0; nth++) {
		vigia__alloc_fail_at(nth, 0);
		assert_int_equal(vigia_registry_run(registry, NULL), VIGIA_OK);
		vigia__alloc_fail_at(0, 0);
		if (handled == 0) {
			failures++;
			assert_int_equal(stats_of(watcher).fetch_errors, failures);
			assert_int_equal(stats_of(watcher).last_error.code, VIGIA_ENOMEM);
		}
		vigia__manual_clock_advance(&clock, 180 * SECOND);
	}
	assert_true(failures > 0);
	assert_int_equal(handled, 1);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

static int replace(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                   int64_t *resume_mono_ns, struct vigia_error *err)
{
	handled++;
	is_replaced = true;
	return VIGIA_OK;
}

/* A read or a save may notice it before the look of each second. */
static void test_a_store_that_is_replaced_under_a_handler(void **state)
{
	static const char *const records[] = {
		"watcher 'w': stops: cannot fetch events: it is another file",
		"watcher 'w': cannot save its checkpoint: it is another file",
	};
	for (int saves = 0; saves < 2; saves++) {
		struct vigia_store *store = open_store();
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_handler handler = {.size = sizeof handler, .handle = replace};
		struct vigia_watch_options options;
		struct vigia_watcher *watcher;
		awaited = records[saves];
		told = false;
		vigia_registry_log(registry, NULL, record);
		vigia_watch_options_init(&options);
		options.batch_size = 1;
		if (saves) options.checkpoint = VIGIA_CHECKPOINT_EVENT;
		append(store);
		append(store);
		assert_int_equal(vigia_registry_watch(registry, "w", &handler, &options, &watcher, NULL), VIGIA_OK);
		for (int steps = 0; steps < 10 && stats_of(watcher).state == VIGIA_RUNNING; steps++)
			vigia_registry_step(registry, 0, NULL);
		struct vigia_watcher_stats stats = stats_of(watcher);
		assert_int_not_equal(stats.state, VIGIA_RUNNING);
		assert_int_equal(handled, 1);
		assert_error(stats.last_error.code, VIGIA_EREPLACED, &stats.last_error, "it is another file");
		assert_true(told);
		vigia_registry_free(registry);
		vigia_store_free(store);
	}
}

/* How a handler in C fails, and what becomes of it. */
struct failure {
	int rc;
	int code;
	const char *message;
	int wanted_code;
	const char *wanted;
};

static int refuse(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	const struct failure *failure = ctx;
	err->code = failure->code;
	size_t len = strlen(failure->message) + 1; /* as strncpy() does it: perhaps without an end */
	memcpy(err->message, failure->message, len < sizeof err->message ? len : sizeof err->message);
	return failure->rc;
}

static int pend(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                int64_t *resume_mono_ns, struct vigia_error *err)
{
	*resume_mono_ns = 0;
	return VIGIA_PENDING;
}

static int fail_later(void *ctx, bool stopping, int64_t *resume_mono_ns, struct vigia_error *err)
{
	return refuse(ctx, NULL, NULL, resume_mono_ns, err);
}

static void test_quoted_failures(void **state)
{
	static char endless[2000];
	memset(endless, 'x', sizeof endless - 1);
	static const struct failure failures[] = {
		{VIGIA_EHANDLER, 0, "the mail server is away", VIGIA_EHANDLER, "the mail server is away"},
		{VIGIA_EINVAL, 0, "the mail server is away", VIGIA_EHANDLER, "the mail server is away"},
		{-1234, 0, "the mail server is away", VIGIA_EHANDLER, "the mail server is away"},
		{7, 7, "the mail server is away", VIGIA_EHANDLER, "the mail server is away"},
		{VIGIA_EIO, VIGIA_EIO, "the disk is away", VIGIA_EIO, "the disk is away"},
		{VIGIA_EIO, VIGIA_EIO, "", VIGIA_EIO, "the handler failed with code -18 (io_error)"},
		{-1234, 0, "", VIGIA_EHANDLER, "the handler failed with code -1234 (unknown_error)"},
		{VIGIA_EHANDLER, 0, endless, VIGIA_EHANDLER, "xxxxxxxx"},
		{VIGIA_EDAMAGED, 0, "these bytes are bad", VIGIA_EDAMAGED, "these bytes are bad"},
	};
	for (size_t i = 0; i < 2 * COUNT_OF(failures); i++) {
		const struct failure *failure = &failures[i / 2];
		struct vigia_store *store = open_store();
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_handler handler = {.size = sizeof handler, .handle = refuse, .ctx = (void *)failure};
		if (i % 2) handler.handle = pend, handler.resume = fail_later;
		struct vigia_watcher *watcher;
		vigia_registry_log(registry, NULL, record);
		append(store);
		assert_int_equal(vigia_registry_watch(registry, "w", &handler, NULL, &watcher, NULL), VIGIA_OK);
		for (int steps = 0; steps < 10 && stats_of(watcher).failed == 0; steps++)
			vigia_registry_step(registry, 0, NULL);
		struct vigia_watcher_stats stats = stats_of(watcher);
		assert_error(stats.last_error.code, failure->wanted_code, &stats.last_error, failure->wanted);
		assert_true(strlen(stats.last_error.message) < sizeof stats.last_error.message);
		assert_non_null(strstr(last_record, failure->rc == VIGIA_EDAMAGED ? "which cannot be read" : failure->wanted));
		assert_int_equal(stats.state == VIGIA_STOPPING || stats.state == VIGIA_STOPPED, failure->rc == VIGIA_EDAMAGED);
		vigia_registry_free(registry);
		vigia_store_free(store);
	}
}

static int remove_from_inside(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                              int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct vigia_registry *registry = *(struct vigia_registry **)ctx;
	assert_error(vigia_registry_remove(registry, vigia_watcher_id(attempt->watcher), err), VIGIA_ESTATE, err,
	             "it is running");
	assert_int_equal(vigia_registry_remove(registry, "other", err), VIGIA_OK);
	handled++;
	return VIGIA_OK;
}

static int freed;

static void count_free(void *ctx)
{
	freed++;
}

static void test_remove(void **state)
{
	struct vigia_store *store = open_store();
	struct vigia_registry *registry = vigia_registry_new(store);
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle, .free = count_free};
	struct vigia_watch_options options;
	struct vigia_watcher *watcher, *found;
	struct vigia_error err = {0};
	freed = 0;
	append(store);
	vigia_watch_options_init(&options);
	options.ephemeral = true;
	assert_int_equal(vigia_registry_watch(registry, "w", &handler, &options, &watcher, &err), VIGIA_OK);
	while (vigia_registry_step(registry, 0, &err) == VIGIA_OK)
		;
	assert_error(vigia_registry_remove(registry, "w", &err), VIGIA_ESTATE, &err, "it is running");
	assert_int_equal(vigia_watcher_stop(watcher, 0, &err), VIGIA_OK);
	vigia_registry_step(registry, 0, &err);
	assert_int_equal(vigia_registry_get(registry, "w", &found, &err), VIGIA_OK); /* nothing goes by itself */
	assert_ptr_equal(found, watcher);
	assert_int_equal(stats_of(watcher).processed, 1);
	assert_int_equal(freed, 0);
	assert_int_equal(vigia_registry_remove(registry, "w", &err), VIGIA_OK);
	assert_int_equal(freed, 1);
	assert_error(vigia_registry_remove(registry, "w", &err), VIGIA_ENOWATCHER, &err, "'w'");
	assert_error(vigia_registry_remove(registry, NULL, &err), VIGIA_ENOWATCHER, &err, "");

	/* From a handler the memory goes when that has returned. */
	options.auto_start = false;
	assert_int_equal(vigia_registry_watch(registry, "other", &handler, &options, NULL, &err), VIGIA_OK);
	struct vigia_handler removes = {.size = sizeof removes, .handle = remove_from_inside, .ctx = &registry};
	assert_int_equal(vigia_registry_watch(registry, "removes", &removes, NULL, NULL, &err), VIGIA_OK);
	handled = 0;
	while (vigia_registry_step(registry, 0, &err) == VIGIA_OK)
		;
	assert_int_equal(handled, 1);
	assert_int_equal(freed, 2);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"a fetch that fails is tried again with the backoff, without end, and seen [W7b]", test_failing_fetches, NULL,
	     NULL, NULL},
		{"a fetch that finds no memory is tried again [W7c]", test_a_fetch_without_memory, NULL, NULL, NULL},
		{"a watcher stops at once whose read or save finds another store [S18e]",
	     test_a_store_that_is_replaced_under_a_handler, NULL, NULL, NULL},
		{"a watcher is removed from its registry when it is asked for, and not before [W1p]", test_remove, NULL, NULL,
	     NULL},
		{"what a handler in C wrote into the error is quoted, whatever its code [W15]", test_quoted_failures, NULL,
	     NULL, NULL},
	};
	return cmocka_run_group_tests_name("driver", tests, NULL, NULL);
}
