/*
 * test_sizes.c - structs of programs that were compiled against another header: older, shorter ones work, and what has
 * no size of any version is refused. The older structs are in memory of exactly their size, so that AddressSanitizer
 * sees a byte too many.
 */
#include "core/options.h"
#include "test.h"

static struct vigia_store *open_store(void)
{
	struct vigia_store *store = NULL;
	assert_int_equal(vigia_store_open(":memory:", NULL, &store, NULL), VIGIA_OK);
	struct vigia_new_event event = {SLICE_INIT("CREATE"), SLICE_INIT("Job"), SLICE_INIT("\x01")};
	assert_int_equal(vigia_store_append(store, &event, 1, NULL, NULL), VIGIA_OK);
	return store;
}

/* Memory of a size that the compiler does not know: it would warn of what is tested here. */
static void *memory_of(size_t size)
{
	volatile size_t hidden = size;
	return malloc(hidden);
}

/* The first `size` bytes of a struct, as an older header has it. */
static void *older(const void *whole, size_t size)
{
	void *copy = memory_of(size);
	memcpy(copy, whole, size);
	memcpy(copy, &size, sizeof size);
	return copy;
}

static struct vigia_handler seen;
static int calls;

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	calls += ctx == &seen;
	return VIGIA_OK;
}

static void test_older_options(void **state)
{
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	/* The memory is of the old size: what sets the defaults must know it. */
	size_t size = offsetof(struct vigia_store_options, map_size_bytes);
	struct vigia_store_options *options = memory_of(size);
	vigia_store_options_init_sized(options, size);
	assert_int_equal(options->size, size);
	assert_true(options->create);
	options->max_batch_bytes = 77;
	assert_int_equal(vigia_store_open(":memory:", options, &store, &err), VIGIA_OK);
	vigia_store_free(store);
	options->max_batch_bytes = 0;
	assert_error(vigia_store_open(":memory:", options, &store, &err), VIGIA_EOPTION, &err, "max_batch_bytes is 0");
	free(options);

	store = open_store();
	struct vigia_registry *registry = vigia_registry_new(store);
	size = offsetof(struct vigia_watch_options, max_retries);
	struct vigia_watch_options *watch = memory_of(size);
	vigia_watch_options_init_sized(watch, size);
	watch->batch_size = 7;
	seen = (struct vigia_handler){.handle = handle, .ctx = &seen};
	void *handler = older(&seen, offsetof(struct vigia_handler, damaged));
	struct vigia_watcher *watcher;
	assert_int_equal(vigia_registry_watch(registry, "old", handler, watch, &watcher, &err), VIGIA_OK);
	while (vigia_registry_step(registry, 0, &err) == VIGIA_OK)
		;
	assert_int_equal(calls, 1);
	free(handler);
	free(watch);

	/* What the library fills in ends where the program's memory does. */
	size = offsetof(struct vigia_watcher_stats, last_error);
	struct vigia_watcher_stats *stats = memory_of(size);
	vigia_watcher_stats_sized(watcher, stats, size);
	assert_int_equal(stats->processed, 1);
	free(stats);
	size = offsetof(struct vigia_gc, held_by);
	struct vigia_gc *gc = memory_of(size);
	assert_int_equal(vigia_store_gc_sized(store, gc, size, &err), VIGIA_OK);
	assert_int_equal(gc->oldest, 1);
	free(gc);
	vigia_registry_free(registry);

	/* And where a newer program has more than this library knows, there are zeros. */
	struct newer {
		struct vigia_gc gc;
		uint64_t more;
	} newer = {.more = 5};
	assert_int_equal(vigia_store_gc_sized(store, &newer.gc, sizeof newer, &err), VIGIA_OK);
	assert_int_equal(newer.more, 0);

	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_read whole = {.from = {VIGIA_AT, 1}};
	void *request = older(&whole, offsetof(struct vigia_read, limit));
	assert_int_equal(vigia_store_read(store, request, batch, &next, &err), VIGIA_OK);
	assert_int_equal(vigia_batch_count(batch), 1);
	free(request);
	vigia_batch_free(batch);

	struct vigia_append_options conditions = {.if_last_given = true, .if_last = 3};
	void *condition = older(&conditions, offsetof(struct vigia_append_options, key));
	struct vigia_new_event event = {SLICE_INIT("CREATE"), SLICE_INIT("Job"), SLICE_INIT("\x01")};
	assert_error(vigia_store_append_with(store, &event, 1, condition, NULL, NULL, &err), VIGIA_ESEQUENCE, &err,
	             "not 3");
	free(condition);
	vigia_store_free(store);
}

/* A member that a later version appends: what an older program does not have keeps its default. */
static void test_appended_member(void **state)
{
	struct later {
		struct vigia_watch_options today;
		int64_t appended;
	} ours = {.appended = 42};
	struct vigia_error err = {0};
	vigia_watch_options_init(&ours.today);
	struct vigia_watch_options theirs;
	vigia_watch_options_init(&theirs);
	theirs.batch_size = 7;
	assert_int_equal(vigia__options_take("later", &ours, sizeof ours, sizeof theirs, &theirs, &err), VIGIA_OK);
	assert_int_equal(ours.today.size, sizeof ours);
	assert_int_equal(ours.today.batch_size, 7);
	assert_int_equal(ours.appended, 42);
}

static void test_wrong_sizes(void **state)
{
	static const size_t wrong[] = {0, 1, sizeof(size_t), 17, 1 << 20, SIZE_MAX, SIZE_MAX - 7};
	struct vigia_store *store = open_store(), *none = NULL;
	struct vigia_registry *registry = vigia_registry_new(store);
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_new_event event = {SLICE_INIT("CREATE"), SLICE_INIT("Job"), SLICE_INIT("\x01")};
	struct vigia_watcher *idle;
	struct vigia_watch_options is_idle;
	vigia_watch_options_init(&is_idle);
	is_idle.auto_start = false;
	assert_int_equal(vigia_registry_watch(registry, "idle", NULL, &is_idle, &idle, NULL), VIGIA_OK);
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		struct vigia_error err = {0};
		char text[64];
		snprintf(text, sizeof text, "size is %zu, allowed: sizeof (struct vigia_", wrong[i]);
		struct vigia_store_options options;
		vigia_store_options_init(&options);
		options.size = wrong[i];
		assert_error(vigia_store_open(":memory:", &options, &none, &err), VIGIA_EOPTION, &err, text);
		assert_error(vigia_store_configure(store, &options, &err), VIGIA_EOPTION, &err, text);
		struct vigia_append_options conditions = {.size = wrong[i]};
		assert_error(vigia_store_append_with(store, &event, 1, &conditions, NULL, NULL, &err), VIGIA_EOPTION, &err,
		             text);
		struct vigia_read request = {.size = wrong[i]};
		assert_error(vigia_store_read(store, &request, batch, &next, &err), VIGIA_EOPTION, &err, text);
		struct vigia_watch_options watch;
		vigia_watch_options_init(&watch);
		watch.size = wrong[i];
		struct vigia_handler handler = {.size = sizeof handler, .handle = handle};
		assert_error(vigia_registry_watch(registry, "w", &handler, &watch, NULL, &err), VIGIA_EOPTION, &err, text);
		handler.size = wrong[i];
		assert_error(vigia_registry_watch(registry, "w", &handler, NULL, NULL, &err), VIGIA_EOPTION, &err, text);
		assert_error(vigia_watcher_set_handler(idle, &handler, &err), VIGIA_EOPTION, &err, text);
	}
	struct vigia_error err = {0};
	struct vigia_handler empty = {.size = sizeof empty};
	assert_error(vigia_registry_watch(registry, "w", &empty, NULL, NULL, &err), VIGIA_EINVAL, &err,
	             "its `handle` is NULL");
	vigia_batch_free(batch);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"structs of an older header work, and nothing behind them is touched", test_older_options, NULL, NULL, NULL},
		{"a member that is appended has its default for who does not know it", test_appended_member, NULL, NULL, NULL},
		{"a size that no version has is an error that names the struct", test_wrong_sizes, NULL, NULL, NULL},
	};
	return cmocka_run_group_tests_name("sizes", tests, NULL, NULL);
}
