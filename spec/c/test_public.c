/*
 * test_public.c - vigia.h from the side of a program that makes mistakes: every function with arguments that are not
 * allowed, on a store that is closed, read-only, or its parent's, and without memory. Each mistake is made twice, the
 * second time without a vigia_error.
 */
#include "test.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/wait.h>

static int refuse; /* what realpath fails with; 0: it does not */

VIGIA_API char *realpath(const char *path, char *out)
{
	char *(*real)(const char *path, char *out);
	*(void **)&real = dlsym(RTLD_NEXT, "realpath");
	errno = refuse;
	return refuse ? NULL : real(path, out);
}

static char folder[FOLDER_MAX], file[FOLDER_MAX + 16];

static int setup(void **state)
{
	int rc = folder_make(folder);
	snprintf(file, sizeof file, "%s/store", folder);
	refuse = 0;
	return rc;
}

static int teardown(void **state)
{
	folder_empty(folder);
	return rmdir(folder);
}

/* The expression gets `err`: it fails with this code and a message that has this part in it, and the same way where err
 * is NULL. */
#define assert_fails(wanted, part, expression)           \
	do {                                                 \
		struct vigia_error error_ = {0}, *err = &error_; \
		int code_ = (expression);                        \
		assert_error(code_, wanted, err, part);          \
		err = NULL;                                      \
		assert_int_equal((expression), wanted);          \
	} while (0)

/* With a file and without: both are held to the same. */
static const char *place(int kind)
{
	return kind == 0 ? ":memory:" : file;
}

static struct vigia_store *open_store(const char *path, bool readonly)
{
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.readonly = readonly;
	options.collect = false;
	if (vigia_store_open(path, &options, &store, &err) < 0) fail_msg("%s", err.message);
	return store;
}

static const struct vigia_new_event good = {SLICE_INIT("CREATE"), SLICE_INIT("Job"), SLICE_INIT("\x01")};

static void append(struct vigia_store *store, int count)
{
	struct vigia_error err = {0};
	for (int i = 0; i < count; i++)
		if (vigia_store_append(store, &good, 1, NULL, &err) < 0) fail_msg("%s", err.message);
}

static uint64_t latest(struct vigia_store *store)
{
	uint64_t seq_num = 0;
	assert_int_equal(vigia_store_latest(store, &seq_num, NULL), VIGIA_OK);
	return seq_num;
}

static char long_id[257]; /* 256 bytes: one too many */

static void nothing(void *ctx, const char *watcher_id, uint64_t seq_num)
{
	fail_msg("called for '%s'", watcher_id);
}

static int handled;

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	handled++;
	return VIGIA_OK;
}

static const struct vigia_handler handler = {.size = sizeof handler, .handle = handle};

static struct vigia_watch_options watch_options(bool auto_start, bool ephemeral)
{
	struct vigia_watch_options options;
	vigia_watch_options_init(&options);
	options.auto_start = auto_start;
	options.ephemeral = ephemeral;
	return options;
}

/* ---- arguments ---- */

static void R1_wrong_arguments_of_open(void **state)
{
	struct vigia_store *store = NULL;
	assert_fails(VIGIA_EINVAL, "path: must name a file", vigia_store_open(NULL, NULL, &store, err));
	assert_fails(VIGIA_EINVAL, "path: must name a file", vigia_store_open("", NULL, &store, err));
	snprintf(file, sizeof file, "%s/none/store", folder);
	assert_fails(VIGIA_ENOTFOUND, "folder does not exist", vigia_store_open(file, NULL, &store, err));
	assert_fails(VIGIA_ENOTSTORE, "is a folder", vigia_store_open(folder, NULL, &store, err));
	static const struct {
		size_t at;
		int64_t value;
		const char *part;
	} wrong[] = {
		{offsetof(struct vigia_store_options, long_polling_timeout_ns), -1, "long_polling_timeout"},
		{offsetof(struct vigia_store_options, max_batch_bytes), 0, "max_batch_bytes"},
		{offsetof(struct vigia_store_options, checkpoint_interval_ns), -1, "checkpoint_interval"},
		{offsetof(struct vigia_store_options, cache_size), -1, "cache_size"},
		{offsetof(struct vigia_store_options, map_size_bytes), 1, "map_size"},
		{offsetof(struct vigia_store_options, commit_queue_bytes), -1, "commit_queue"},
		{offsetof(struct vigia_store_options, max_event_size_bytes), 0, "max_event_size"},
		{offsetof(struct vigia_store_options, commit_interval_ns), -1, "commit_interval"},
		{offsetof(struct vigia_store_options, gc_cadence_ns), -1, "gc_cadence"},
		{offsetof(struct vigia_store_options, gc_age_threshold_ns), -1, "gc_age_threshold"},
		{offsetof(struct vigia_store_options, gc_max_records_per_run), -1, "gc_max_records_per_run"},
		{offsetof(struct vigia_store_options, gc_max_duration_ns), -1, "gc_max_duration"},
		{offsetof(struct vigia_store_options, checkpoint_ttl_ns), -1, "checkpoint_ttl"},
		{offsetof(struct vigia_store_options, max_events), -1, "max_events"},
		{offsetof(struct vigia_store_options, max_bytes), -1, "max_bytes"},
	};
	snprintf(file, sizeof file, "%s/store", folder);
	for (int kind = 0; kind < 2; kind++) {
		for (size_t i = 0; i < COUNT_OF(wrong); i++) {
			struct vigia_store_options options;
			vigia_store_options_init(&options);
			memcpy((char *)&options + wrong[i].at, &wrong[i].value, sizeof wrong[i].value);
			assert_fails(VIGIA_EOPTION, wrong[i].part, vigia_store_open(place(kind), &options, &store, err));
		}
	}
	assert_int_equal(access(file, F_OK), -1); /* none of it made a file */
	assert_null(store);
}

static void R2_a_path_that_cannot_be_followed(void **state)
{
	struct vigia_store *store = NULL;
	refuse = ENOMEM;
	assert_fails(VIGIA_ENOMEM, "no memory to open", vigia_store_open(file, NULL, &store, err));
	refuse = EACCES;
	assert_fails(VIGIA_EPERM, "no permission to reach", vigia_store_open(file, NULL, &store, err));
	refuse = EIO;
	assert_fails(VIGIA_EIO, "cannot access", vigia_store_open(file, NULL, &store, err));
	refuse = ENOTDIR;
	assert_fails(VIGIA_ENOTFOUND, "its folder does not exist", vigia_store_open(file, NULL, &store, err));
	refuse = 0;
	vigia_store_free(open_store(file, false));
}

static void R1_wrong_arguments_of_an_append(void **state)
{
	static char name[300];
	memset(name, 'n', sizeof name);
	static const struct {
		struct vigia_new_event event;
		int code;
		const char *part;
	} wrong[] = {
		{{{NULL, 0}, SLICE_INIT("Job"), SLICE_INIT("\x01")}, VIGIA_EINVAL, "operation"},
		{{{name, 256}, SLICE_INIT("Job"), SLICE_INIT("\x01")}, VIGIA_EINVAL, "operation"},
		{{SLICE_INIT("\xff"), SLICE_INIT("Job"), SLICE_INIT("\x01")}, VIGIA_EINVAL, "operation"},
		{{SLICE_INIT("CREATE"), {NULL, 0}, SLICE_INIT("\x01")}, VIGIA_EINVAL, "object_type"},
		{{SLICE_INIT("CREATE"), {name, 300}, SLICE_INIT("\x01")}, VIGIA_EINVAL, "object_type"},
		{{SLICE_INIT("CREATE"), SLICE_INIT("\xc0\x80"), SLICE_INIT("\x01")}, VIGIA_EINVAL, "object_type"},
		{{SLICE_INIT("CREATE"), SLICE_INIT("Job"), {NULL, 0}}, VIGIA_ESERIAL, ""},
		{{SLICE_INIT("CREATE"), SLICE_INIT("Job"), SLICE_INIT("\x01\x02")}, VIGIA_ESERIAL, ""},
		{{SLICE_INIT("CREATE"), SLICE_INIT("Job"), SLICE_INIT("\x92\x01")}, VIGIA_ESERIAL, ""},
		{{SLICE_INIT("CREATE"), SLICE_INIT("Job"), SLICE_INIT("\xc1")}, VIGIA_ESERIAL, ""},
	};
	for (int kind = 0; kind < 2; kind++) {
		struct vigia_store *store = open_store(place(kind), false);
		assert_fails(VIGIA_EINVAL, "at least one", vigia_store_append(store, &good, 0, NULL, err));
		for (size_t i = 0; i < COUNT_OF(wrong); i++) {
			assert_fails(wrong[i].code, wrong[i].part, vigia_store_append(store, &wrong[i].event, 1, NULL, err));
			struct vigia_new_event two[2] = {good, wrong[i].event};
			assert_fails(wrong[i].code, "events[1]: ", vigia_store_append(store, two, 2, NULL, err));
		}
		static char large[2 << 20];
		struct vigia_new_event event = {good.operation, good.object_type, {large, sizeof large}};
		memcpy(large, "\xc6\x00\x1f\xff\xfb", 5);
		assert_fails(VIGIA_ETOOBIG, "1048576", vigia_store_append(store, &event, 1, NULL, err));
		struct vigia_append_options options = {.size = sizeof options, .key = {"", 0}};
		assert_fails(VIGIA_EINVAL, "key: must not be empty",
		             vigia_store_append_with(store, &good, 1, &options, NULL, NULL, err));
		options.key = (struct vigia_slice){name, 256};
		assert_fails(VIGIA_EINVAL, "key: must have at most 255 bytes, has 256",
		             vigia_store_append_with(store, &good, 1, &options, NULL, NULL, err));
		options = (struct vigia_append_options){.size = sizeof options, .if_last_given = true, .if_last = 7};
		assert_fails(VIGIA_ESEQUENCE, "the last event is 0, not 7",
		             vigia_store_append_with(store, &good, 1, &options, NULL, NULL, err));
		assert_int_equal(latest(store), 0); /* nothing of it was stored */

		/* What is told may be told to nobody. */
		options = (struct vigia_append_options){.size = sizeof options, .key = {name, 255}};
		uint64_t first = 9;
		bool existed = true;
		assert_int_equal(vigia_store_append_with(store, &good, 1, &options, &first, &existed, NULL), VIGIA_OK);
		assert_true(first == 1 && !existed);
		assert_int_equal(vigia_store_append_with(store, &good, 1, &options, NULL, NULL, NULL), VIGIA_OK);
		assert_int_equal(latest(store), 1);
		vigia_store_free(store);
	}
}

static void R1_wrong_arguments_of_a_read(void **state)
{
	for (int kind = 0; kind < 2; kind++) {
		struct vigia_store *store = open_store(place(kind), false);
		struct vigia_batch *batch = vigia_batch_new();
		struct vigia_iterator next;
		append(store, 3);
		struct vigia_read request = {.size = sizeof request, .scan = 2};
		assert_fails(VIGIA_EINVAL, "scan: is 2", vigia_store_read(store, &request, batch, &next, err));
		request.scan = -1;
		assert_fails(VIGIA_EINVAL, "scan: is -1", vigia_store_read(store, &request, batch, &next, err));
		request = (struct vigia_read){.size = sizeof request, .limit = -1};
		assert_fails(VIGIA_EINVAL, "limit: must be 0 or more, got -1",
		             vigia_store_read(store, &request, batch, &next, err));
		struct vigia_slice empty = {"", 0};
		request =
			(struct vigia_read){.size = sizeof request, .filter = {.object_types = &empty, .object_types_count = 1}};
		assert_fails(VIGIA_EINVAL, "object_types", vigia_store_read(store, &request, batch, &next, err));
		request = (struct vigia_read){.size = sizeof request, .filter = {.operations = &empty, .operations_count = 1}};
		assert_fails(VIGIA_EINVAL, "operations", vigia_store_read(store, &request, batch, &next, err));

		/* Without a request: all there is, from the oldest on. */
		assert_int_equal(vigia_store_read(store, NULL, batch, &next, NULL), VIGIA_OK);
		assert_int_equal(vigia_batch_count(batch), 3);
		assert_true(vigia_batch_at_end(batch));
		assert_true(next.kind == VIGIA_AFTER && next.seq_num == 3);
		struct vigia_event event;
		assert_int_equal(vigia_batch_event(batch, 2, &event, NULL), VIGIA_OK);
		assert_int_equal(event.seq_num, 3);
		vigia_batch_free(batch);
		vigia_store_free(store);
	}
}

static void R1_wrong_arguments_of_the_rest_of_a_store(void **state)
{
	for (int kind = 0; kind < 2; kind++) {
		struct vigia_store *store = open_store(place(kind), false);
		uint64_t n = 7;
		assert_int_equal(vigia_store_oldest(store, &n, NULL), VIGIA_NONE);
		assert_int_equal(n, 0);
		assert_int_equal(vigia_store_find_time(store, INT64_MIN, &n, NULL), VIGIA_NONE);
		assert_int_equal(n, 0);
		append(store, 3);
		assert_int_equal(vigia_store_find_time(store, INT64_MIN, &n, NULL), VIGIA_OK);
		assert_int_equal(n, 1);
		n = 7;
		assert_int_equal(vigia_store_find_time(store, INT64_MAX, &n, NULL), VIGIA_NONE);
		assert_int_equal(n, 0);
		assert_fails(VIGIA_EPOSITION, "the last event is 3", vigia_store_trim(store, 4, NULL, err));
		assert_int_equal(vigia_store_trim(store, 0, &n, NULL), VIGIA_OK);
		assert_int_equal(n, 0);
		assert_int_equal(vigia_store_trim(store, 2, NULL, NULL), VIGIA_OK);
		assert_int_equal(vigia_store_oldest(store, &n, NULL), VIGIA_OK);
		assert_int_equal(n, 3);
		assert_int_equal(vigia_store_gc(store, NULL, NULL), VIGIA_OK);

		static const char *const ids[] = {NULL, "", long_id};
		for (size_t i = 0; i < COUNT_OF(ids); i++) {
			const char *part = ids[i] == long_id ? "watcher_id: must have at most 255 bytes, has 256"
			                                     : "watcher_id: must not be empty";
			assert_fails(VIGIA_EINVAL, part, vigia_checkpoint_put(store, ids[i], 1, err));
			assert_fails(VIGIA_EINVAL, part, vigia_checkpoint_get(store, ids[i], &n, err));
			assert_fails(VIGIA_EINVAL, part, vigia_checkpoint_delete(store, ids[i], err));
		}
		struct vigia_error told = {0};
		assert_error(vigia_checkpoint_get(store, "w", &n, &told), VIGIA_ENOCHECKPOINT, &told, "'w'");
		assert_string_equal(told.watcher_id, "w");
		assert_fails(VIGIA_ENOCHECKPOINT, "'w'", vigia_checkpoint_delete(store, "w", err));
		assert_int_equal(vigia_checkpoint_each(store, NULL, nothing, NULL), VIGIA_OK);
		assert_int_equal(vigia_hold_each(store, NULL, nothing, NULL), VIGIA_OK);

		assert_fails(VIGIA_EINVAL, "path: must name a file", vigia_store_backup(store, NULL, false, err));
		assert_fails(VIGIA_EINVAL, "path: must name a file", vigia_store_backup(store, "", true, err));
		if (kind == 0) assert_fails(VIGIA_EUNSUPPORTED, "in memory", vigia_store_backup(store, file, false, err));
		else assert_fails(VIGIA_EFILEEXISTS, "", vigia_store_backup(store, file, false, err));

		struct vigia_store_options changes;
		vigia_store_options_init(&changes);
		changes.max_events = -1;
		changes.max_events_given = true;
		assert_fails(VIGIA_EOPTION, "max_events", vigia_store_configure(store, &changes, err));
		vigia_store_options_init(&changes);
		changes.events_bucket = "other";
		changes.events_bucket_given = true;
		assert_fails(VIGIA_EOPTION, "events_bucket", vigia_store_configure(store, &changes, err));
		assert_int_equal(vigia_store_configure(store, NULL, NULL), VIGIA_OK); /* nothing to change */
		vigia_store_free(store);
	}
}

static void R1_wrong_arguments_of_a_registry(void **state)
{
	for (int kind = 0; kind < 2; kind++) {
		struct vigia_store *store = open_store(place(kind), false);
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_watch_options idle = watch_options(false, false), started = watch_options(true, false);
		struct vigia_watcher *w = NULL, *same = NULL;
		static const char *const ids[] = {NULL, "", long_id};
		append(store, 2);
		for (size_t i = 0; i < COUNT_OF(ids); i++)
			assert_fails(VIGIA_EINVAL, "watcher_id: ", vigia_registry_watch(registry, ids[i], &handler, NULL, &w, err));
		assert_fails(VIGIA_ENOHANDLER, "'w' has no handler",
		             vigia_registry_watch(registry, "w", NULL, &started, &w, err));
		static const struct {
			size_t at;
			int64_t value;
			const char *part;
		} wrong[] = {
			{offsetof(struct vigia_watch_options, batch_size), 0, "batch_size"},
			{offsetof(struct vigia_watch_options, buffer_size), 0, "buffer_size"},
			{offsetof(struct vigia_watch_options, initial_backoff_ns), -1, "initial_backoff"},
			{offsetof(struct vigia_watch_options, max_backoff_ns), 1, "max_backoff"},
			{offsetof(struct vigia_watch_options, max_retries), 0, "max_retries"},
		};
		for (size_t i = 0; i < COUNT_OF(wrong); i++) {
			struct vigia_watch_options options = started;
			memcpy((char *)&options + wrong[i].at, &wrong[i].value, sizeof wrong[i].value);
			assert_fails(VIGIA_EOPTION, wrong[i].part,
			             vigia_registry_watch(registry, "w", &handler, &options, &w, err));
		}
		static const struct {
			size_t at;
			const char *part;
		} choices[] = {
			{offsetof(struct vigia_watch_options, retry_strategy), "retry_strategy"},
			{offsetof(struct vigia_watch_options, on_gap), "on_gap"},
			{offsetof(struct vigia_watch_options, on_damage), "on_damage"},
			{offsetof(struct vigia_watch_options, checkpoint), "checkpoint"},
			{offsetof(struct vigia_watch_options, initial_event_iterator.kind), "initial_event_iterator"},
		};
		for (size_t i = 0; i < COUNT_OF(choices); i++) {
			for (int value = -1; value < 10; value += 10) {
				struct vigia_watch_options options = started;
				memcpy((char *)&options + choices[i].at, &value, sizeof value);
				assert_fails(VIGIA_EOPTION, choices[i].part,
				             vigia_registry_watch(registry, "w", &handler, &options, &w, err));
			}
		}
		assert_null(w);
		assert_fails(VIGIA_ENOWATCHER, "no watcher 'w'", vigia_registry_get(registry, "w", &w, err));
		assert_fails(VIGIA_ENOWATCHER, "no watcher ''", vigia_registry_get(registry, NULL, &w, err));
		assert_fails(VIGIA_ENOWATCHER, "no watcher 'w'", vigia_registry_remove(registry, "w", err));

		/* An idle one: what it has not, and what it may not yet. */
		assert_int_equal(vigia_registry_watch(registry, "w", NULL, &idle, &w, NULL), VIGIA_OK);
		assert_int_equal(vigia_registry_get(registry, "w", &same, NULL), VIGIA_OK);
		assert_ptr_equal(w, same);
		assert_string_equal(vigia_watcher_id(w), "w");
		assert_fails(VIGIA_ENOHANDLER, "'w' has no handler", vigia_watcher_start(w, err));
		struct vigia_handler empty = {.size = sizeof empty};
		assert_fails(VIGIA_EINVAL, "`handle` is NULL", vigia_watcher_set_handler(w, &empty, err));
		assert_int_equal(vigia_watcher_set_handler(w, &handler, NULL), VIGIA_OK);
		assert_fails(VIGIA_EHANDLEREXISTS, "'w' has a handler", vigia_watcher_set_handler(w, &handler, err));
		assert_fails(VIGIA_EUNSUPPORTED, "", vigia_watcher_reload(w, err));
		assert_fails(VIGIA_EPOSITION, "3", vigia_watcher_checkpoint(w, 3, err));
		assert_fails(VIGIA_EPOSITION, "3", vigia_watcher_seek(w, 3, err));
		assert_int_equal(vigia_watcher_start(w, NULL), VIGIA_OK);

		/* One that runs. */
		assert_fails(VIGIA_ESTATE, "'w' cannot be started: it is running", vigia_watcher_start(w, err));
		assert_fails(VIGIA_ESTATE, "'w' cannot be removed: it is running", vigia_registry_remove(registry, "w", err));
		assert_fails(VIGIA_EEXISTS, "'w' exists already",
		             vigia_registry_watch(registry, "w", &handler, NULL, NULL, err));
		struct vigia_registry *other = vigia_registry_new(store);
		assert_fails(VIGIA_EOWNED, "'w' is run by another registry of this process",
		             vigia_registry_watch(other, "w", &handler, NULL, NULL, err));
		struct vigia_watch_options ephemeral = watch_options(true, true);
		assert_int_equal(vigia_registry_watch(other, "e", &handler, &ephemeral, &same, NULL), VIGIA_OK);
		assert_fails(VIGIA_EEPHEMERAL, "'e'", vigia_watcher_checkpoint(same, 1, err));
		vigia_registry_free(other);
		handled = 0;
		while (vigia_registry_step(registry, 0, NULL) == VIGIA_OK) continue;
		assert_int_equal(handled, 2);
		vigia_registry_interrupt(registry);
		assert_fails(VIGIA_EINTERRUPTED, "interrupted",
		             (vigia_registry_interrupt(registry), vigia_registry_step(registry, -1, err)));
		assert_fails(VIGIA_EINTERRUPTED, "interrupted",
		             (vigia_registry_interrupt(registry), vigia_registry_run(registry, err)));
		assert_int_equal(vigia_watcher_stop(w, INT64_MAX, NULL), VIGIA_OK);
		assert_int_equal(vigia_watcher_stop(w, 0, NULL), VIGIA_OK);     /* stopped before */
		assert_int_equal(vigia_registry_run(registry, NULL), VIGIA_OK); /* there is nothing to run */
		assert_int_equal(vigia_registry_stop(registry, 0, NULL), VIGIA_OK);

		/* Removed, while its pointer is kept for a moment: another of its id has taken its place. */
		assert_int_equal(vigia_registry_watch(registry, "w", &handler, &idle, &same, NULL), VIGIA_OK);
		assert_fails(VIGIA_ESTATE, "'w' cannot be started: it is replaced by a newer one of its id",
		             vigia_watcher_start(w, err));
		assert_int_equal(vigia_watcher_stop(w, 0, NULL), VIGIA_OK);
		vigia_watcher_release(w);
		assert_int_equal(vigia_registry_remove(registry, "w", NULL), VIGIA_OK);
		assert_fails(VIGIA_ENOWATCHER, "'w'", vigia_registry_get(registry, "w", &w, err));
		vigia_registry_free(registry);
		vigia_store_free(store);
	}
}

/* A handler, or a log function, that drives its own registry. */
static struct {
	struct vigia_registry *registry;
	int step, run;
} inner;

static int drives(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct vigia_error why = {0};
	inner.step = vigia_registry_step(inner.registry, 0, &why);
	inner.run = vigia_registry_run(inner.registry, NULL);
	assert_non_null(strstr(why.message, "called from a handler"));
	return VIGIA_OK;
}

static void R1_a_registry_is_not_driven_by_its_own_handler(void **state)
{
	struct vigia_store *store = open_store(":memory:", false);
	struct vigia_handler driving = {.size = sizeof driving, .handle = drives};
	inner.registry = vigia_registry_new(store);
	append(store, 1);
	assert_int_equal(vigia_registry_watch(inner.registry, "w", &driving, NULL, NULL, NULL), VIGIA_OK);
	while (vigia_registry_step(inner.registry, 0, NULL) == VIGIA_OK) continue;
	assert_int_equal(inner.step, VIGIA_ESTATE);
	assert_int_equal(inner.run, VIGIA_ESTATE);
	vigia_registry_free(inner.registry);
	vigia_store_free(store);
}

static void R1_what_may_be_null(void **state)
{
	vigia_store_close(NULL);
	vigia_store_free(NULL);
	vigia_batch_free(NULL);
	vigia_registry_free(NULL);
	vigia_watcher_release(NULL);
	vigia_buffer_clear(NULL);
	vigia_buffer_free(NULL);
	/* A buffer that could not be had: writing does nothing, and the end says why. */
	struct vigia_slice object = {0}, text = {0};
	struct vigia_event event = {.seq_num = 1, .serializer = SLICE_INIT("json"), .object = SLICE_INIT("1")};
	vigia_msgpack_nil(NULL);
	vigia_msgpack_boolean(NULL, true);
	vigia_msgpack_integer(NULL, 1);
	vigia_msgpack_float(NULL, 1.5);
	vigia_msgpack_text(NULL, "text");
	vigia_msgpack_string(NULL, "bytes", 5);
	vigia_msgpack_array(NULL, 1);
	vigia_msgpack_map(NULL, 1);
	vigia_msgpack_json(NULL, "1", 1);
	assert_fails(VIGIA_ENOMEM, "not enough memory", vigia_msgpack_end(NULL, &object, err));
	assert_fails(VIGIA_ENOMEM, "not enough memory", vigia_event_object(&event, NULL, &object, err));
	assert_fails(VIGIA_ENOMEM, "not enough memory", vigia_event_json(&event, NULL, &text, err));
	assert_fails(VIGIA_ENOMEM, "not enough memory", vigia_event_json(&event, NULL, NULL, err));
	assert_fails(VIGIA_ENOMEM, "not enough memory", vigia_msgpack_to_json(SLICE("\x01"), NULL, &text, err));
	assert_fails(VIGIA_ENOMEM, "not enough memory", vigia_msgpack_to_json(SLICE("\x01"), NULL, NULL, err));
	assert_null(object.data);
	assert_null(text.data);
	/* One whose first failure is kept: what follows changes nothing. */
	struct vigia_buffer *buffer = vigia_buffer_new();
	vigia_msgpack_json(buffer, "[1,", 3);
	vigia_msgpack_integer(buffer, 1);
	vigia_msgpack_map(buffer, 2);
	assert_fails(VIGIA_ESERIAL, "", vigia_msgpack_end(buffer, &object, err));
	vigia_buffer_clear(buffer);
	vigia_msgpack_array(buffer, SIZE_MAX);
	assert_fails(VIGIA_ESERIAL, "an array of ", vigia_msgpack_end(buffer, &object, err));
	vigia_buffer_clear(buffer);
	vigia_msgpack_map(buffer, SIZE_MAX);
	assert_fails(VIGIA_ESERIAL, "a map of ", vigia_msgpack_end(buffer, &object, err));
	vigia_buffer_clear(buffer);
	vigia_msgpack_string(buffer, "", SIZE_MAX);
	assert_fails(VIGIA_ESERIAL, "a string of ", vigia_msgpack_end(buffer, &object, err));
	/* Bytes that are no value are refused by all that read. */
	assert_fails(VIGIA_EDESERIAL, "", vigia_msgpack_to_json(SLICE("\xc1"), buffer, NULL, err));
	static const char *const cut[] = {"\x92\x92\x01", "\x82\xa1k\x01\xa1", "\xc1"};
	for (size_t i = 0; i < COUNT_OF(cut); i++) {
		struct vigia_slice bytes = slice_of(cut[i]), value, rest = bytes;
		struct vigia_msgpack_value token;
		assert_fails(VIGIA_EDESERIAL, "", vigia_msgpack_skip(&rest, err));
		assert_true(rest.data == bytes.data && rest.len == bytes.len);
		assert_int_equal(vigia_msgpack_next(&rest, &token, NULL), i == 2 ? VIGIA_EDESERIAL : VIGIA_OK);
		assert_int_equal(vigia_msgpack_at(bytes, 1, &value, NULL), i == 1 ? VIGIA_NONE : VIGIA_EDESERIAL);
		assert_int_equal(vigia_msgpack_find(bytes, "x", &value, NULL), i == 0 ? VIGIA_NONE : VIGIA_EDESERIAL);
		assert_null(value.data);
	}
	struct vigia_slice none = {0}, value;
	struct vigia_msgpack_value token;
	assert_int_equal(vigia_msgpack_next(&none, &token, NULL), VIGIA_NONE);
	assert_int_equal(vigia_msgpack_skip(&none, NULL), VIGIA_NONE);
	assert_int_equal(vigia_msgpack_at(none, 0, &value, NULL), VIGIA_NONE);
	assert_int_equal(vigia_msgpack_find(none, "k", &value, NULL), VIGIA_NONE);
	assert_int_equal(vigia_msgpack_at(SLICE("\x91\x01"), 1, &value, NULL), VIGIA_NONE);
	assert_int_equal(vigia_msgpack_at(SLICE("\x91\x01"), 0, &value, NULL), VIGIA_OK);
	assert_slice(value, "\x01");
	vigia_buffer_free(buffer);
}

/* ---- a store that may not be used ---- */

/* Each function that takes a store, and a registry of it, fails with this code; `writes` alone: those that change
 * it. */
static void all_fail(struct vigia_store *store, struct vigia_registry *registry, int code, const char *part,
                     bool writes)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_gc gc;
	uint64_t n;
	char copy[FOLDER_MAX + 24];
	snprintf(copy, sizeof copy, "%s/copy", folder);
	assert_fails(code, part, vigia_store_append(store, &good, 1, NULL, err));
	assert_fails(code, part, vigia_store_append_with(store, &good, 1, NULL, NULL, NULL, err));
	assert_fails(code, part, vigia_store_configure(store, NULL, err));
	assert_fails(code, part, vigia_store_trim(store, 0, NULL, err));
	assert_fails(code, part, vigia_store_gc(store, &gc, err));
	assert_fails(code, part, vigia_checkpoint_put(store, "w", 0, err));
	assert_fails(code, part, vigia_checkpoint_delete(store, "w", err));
	if (!writes) {
		assert_fails(code, part, vigia_store_read(store, NULL, batch, &next, err));
		assert_fails(code, part, vigia_store_latest(store, &n, err));
		assert_fails(code, part, vigia_store_oldest(store, &n, err));
		assert_fails(code, part, vigia_store_find_time(store, 0, &n, err));
		assert_fails(code, part, vigia_store_sync(store, NULL, err));
		assert_fails(code, part, vigia_store_backup(store, copy, false, err));
		assert_fails(code, part, vigia_checkpoint_get(store, "w", &n, err));
		assert_fails(code, part, vigia_checkpoint_each(store, NULL, nothing, err));
		assert_fails(code, part, vigia_hold_each(store, NULL, nothing, err));
		assert_fails(code, part, vigia_registry_watch(registry, "new", &handler, NULL, NULL, err));
		assert_fails(code, part, vigia_registry_step(registry, 0, err));
	}
	vigia_batch_free(batch);
}

static void S11_a_closed_store(void **state)
{
	for (int kind = 0; kind < 2; kind++) {
		struct vigia_store *store = open_store(place(kind), false);
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_watch_options idle = watch_options(false, false);
		struct vigia_watcher *w;
		append(store, 1);
		assert_int_equal(vigia_registry_watch(registry, "w", &handler, &idle, &w, NULL), VIGIA_OK);
		vigia_store_close(store);
		vigia_store_close(store);
		all_fail(store, registry, VIGIA_ECLOSED, "is closed", false);
		assert_fails(VIGIA_ECLOSED, "is closed", vigia_watcher_start(w, err));
		assert_fails(VIGIA_ECLOSED, "is closed", vigia_watcher_checkpoint(w, 1, err));
		assert_fails(VIGIA_ECLOSED, "is closed", vigia_watcher_seek(w, 1, err));
		/* What needs no store. */
		assert_int_equal(vigia_watcher_stop(w, 0, NULL), VIGIA_OK);
		assert_int_equal(vigia_registry_stop(registry, 0, NULL), VIGIA_OK);
		assert_int_equal(vigia_registry_remove(registry, "w", NULL), VIGIA_OK);
		vigia_store_free(store);
		vigia_registry_free(registry); /* kept the store until now */
	}
}

static void S19_a_store_that_was_opened_to_be_read(void **state)
{
	struct vigia_store *store = open_store(file, false);
	struct vigia_watch_options durable = watch_options(true, false), ephemeral = watch_options(true, true);
	append(store, 2);
	assert_int_equal(vigia_checkpoint_put(store, "w", 1, NULL), VIGIA_OK);
	vigia_store_free(store);
	store = open_store(file, true);
	struct vigia_registry *registry = vigia_registry_new(store);
	all_fail(store, registry, VIGIA_EREADONLY, "opened read-only", true);
	assert_fails(VIGIA_EOPTION, "ephemeral: must be true",
	             vigia_registry_watch(registry, "w", &handler, &durable, NULL, err));
	assert_int_equal(vigia_registry_watch(registry, "w", &handler, &ephemeral, NULL, NULL), VIGIA_OK);
	handled = 0;
	while (vigia_registry_step(registry, 0, NULL) == VIGIA_OK) continue;
	assert_int_equal(handled, 2); /* its checkpoint is of no concern to an ephemeral one */
	uint64_t n = 0;
	assert_int_equal(vigia_store_sync(store, &n, NULL), VIGIA_OK);
	assert_int_equal(n, 2);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

static void S15_a_store_of_before_a_fork(void **state)
{
	for (int kind = 0; kind < 2; kind++) {
		struct vigia_store *store = open_store(place(kind), false);
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_watcher *w;
		struct vigia_watch_options idle = watch_options(false, false);
		append(store, 1);
		assert_int_equal(vigia_registry_watch(registry, "w", &handler, &idle, &w, NULL), VIGIA_OK);
		fflush(NULL);
		pid_t child = fork();
		if (child == 0) {
			struct vigia_error err = {0};
			uint64_t n;
			int bad = 0;
			bad += vigia_store_append(store, &good, 1, NULL, &err) != VIGIA_EFORKED ||
			       !strstr(err.message, "before fork()");
			bad += vigia_store_latest(store, &n, NULL) != VIGIA_EFORKED;
			bad += vigia_store_sync(store, NULL, NULL) != VIGIA_EFORKED;
			bad += vigia_checkpoint_get(store, "w", &n, NULL) != VIGIA_EFORKED;
			bad += vigia_registry_step(registry, 0, NULL) != VIGIA_EFORKED;
			bad += vigia_watcher_start(w, NULL) != VIGIA_EFORKED;
			bad += vigia_registry_watch(registry, "x", &handler, NULL, NULL, NULL) != VIGIA_EFORKED;
			vigia_watcher_release(w);
			vigia_registry_free(registry);
			vigia_store_free(store);
			_exit(bad);
		}
		int status = -1;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		append(store, 1); /* the parent's is as it was */
		assert_int_equal(latest(store), 2);
		assert_int_equal(vigia_watcher_start(w, NULL), VIGIA_OK);
		vigia_registry_free(registry);
		vigia_store_free(store);
	}
}

int main(void)
{
	memset(long_id, 'w', sizeof long_id - 1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(R1_wrong_arguments_of_open, setup, teardown),
		cmocka_unit_test_setup_teardown(R2_a_path_that_cannot_be_followed, setup, teardown),
		cmocka_unit_test_setup_teardown(R1_wrong_arguments_of_an_append, setup, teardown),
		cmocka_unit_test_setup_teardown(R1_wrong_arguments_of_a_read, setup, teardown),
		cmocka_unit_test_setup_teardown(R1_wrong_arguments_of_the_rest_of_a_store, setup, teardown),
		cmocka_unit_test_setup_teardown(R1_wrong_arguments_of_a_registry, setup, teardown),
		cmocka_unit_test(R1_a_registry_is_not_driven_by_its_own_handler),
		cmocka_unit_test(R1_what_may_be_null),
		cmocka_unit_test_setup_teardown(S11_a_closed_store, setup, teardown),
		cmocka_unit_test_setup_teardown(S19_a_store_that_was_opened_to_be_read, setup, teardown),
		cmocka_unit_test_setup_teardown(S15_a_store_of_before_a_fork, setup, teardown),
	};
	return cmocka_run_group_tests_name("public", tests, NULL, NULL);
}
