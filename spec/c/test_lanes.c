/*
 * test_lanes.c - lanes with handlers and keys in C: each event's effect exactly once, in the order of its key, whatever
 * write, sync or allocation fails, or kills the process.
 */
#include "fault.h"
#include "state.h"

#include <sys/wait.h>

#include "core/alloc.h"
#include "store/lane_record.h"
#include "store/verify.h"

enum { JOBS = 12, KEYS = 3 };

static void append_jobs(struct vigia_store *store)
{
	struct vigia_error err = {0};
	for (int i = 0; i < JOBS; i++) {
		struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
		ok(vigia_store_append(store, &event, 1, NULL, &err), &err);
	}
}

struct jobs {
	uint64_t fails_at; /* fails twice on this event, after its effect */
	int failures;
	uint64_t without_key; /* the key of this event is not known at first */
	int asked;
};

/* Counts how often the event was handled, and notes the last one of its key. */
static int count_event(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                       int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct jobs *jobs = ctx;
	struct vigia_key key = number_key((int64_t)event->seq_num), last = number_key((int64_t)(event->seq_num % KEYS));
	struct vigia_slice value;
	uint8_t room[9];
	int rc = vigia_transaction_get(attempt->tx, "times", &key, &value, err);
	if (rc < 0) return rc;
	int64_t times = rc == VIGIA_OK ? number_of(value) : 0;
	rc = vigia_transaction_put(attempt->tx, "times", &key, number_value(room, times + 1), err);
	if (rc == VIGIA_OK) rc = vigia_transaction_get(attempt->tx, "last", &last, &value, err);
	if (rc < 0) return rc;
	if (rc == VIGIA_OK && number_of(value) >= (int64_t)event->seq_num)
		fail_msg("event %llu after a later one of its key", (unsigned long long)event->seq_num);
	rc = vigia_transaction_put(attempt->tx, "last", &last, number_value(room, (int64_t)event->seq_num), err);
	if (rc == VIGIA_OK && jobs->fails_at == event->seq_num && jobs->failures < 2) {
		jobs->failures++;
		return VIGIA_EIO;
	}
	return rc;
}

static int key_of(void *ctx, const struct vigia_event *event, uint64_t *hash, struct vigia_error *err)
{
	struct jobs *jobs = ctx;
	jobs->asked++;
	*hash = event->seq_num % KEYS;
	if (jobs->without_key != event->seq_num) return VIGIA_OK;
	jobs->without_key = 0;
	return VIGIA_EINVAL;
}

static struct vigia_watcher *watch(struct vigia_registry *registry, struct jobs *jobs, int64_t lanes)
{
	struct vigia_handler handler = {.size = sizeof handler, .handle = count_event, .key = key_of, .ctx = jobs};
	struct vigia_watch_options options;
	struct vigia_watcher *watcher;
	struct vigia_error err = {0};
	vigia_watch_options_init(&options);
	options.transactional = true;
	options.lanes = lanes;
	options.batch_size = 5;
	options.initial_backoff_ns = 100000;
	options.max_backoff_ns = 200000;
	ok(vigia_registry_watch(registry, "w", &handler, &options, &watcher, &err), &err);
	return watcher;
}

/* What is stored above the checkpoint, and what has had its effect, are the same. Returns the checkpoint. */
struct look {
	struct vigia_store *store;
	struct vigia__ranges ranges;
	int rc;
};

static int read_ranges(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct look *look = arg;
	uint64_t epoch;
	look->rc = vigia__lane_record_get(kv, (struct vigia_slice){"w", 1}, &epoch, &look->ranges);
	return look->rc == VIGIA_NONE ? VIGIA_OK : look->rc;
}

static uint64_t assert_exactly_once(struct vigia_store *store)
{
	uint64_t checkpoint = 0;
	struct vigia_error err = {0};
	struct look look = {.store = store};
	int rc = vigia_checkpoint_get(store, "w", &checkpoint, &err);
	if (rc != VIGIA_OK) assert_int_equal(rc, VIGIA_ENOCHECKPOINT);
	vigia__ranges_init(&look.ranges, 0);
	rc = store->backend->view(store->backend, VIGIA_MAP_STATE, read_ranges, &look, &err);
	if (rc != VIGIA_NONE) ok(rc, &err);
	if (look.ranges.checkpoint < checkpoint) vigia__ranges_reset(&look.ranges, checkpoint); /* without lanes */
	assert_int_equal(look.ranges.checkpoint, checkpoint);
	for (uint64_t n = 1; n <= JOBS; n++)
		assert_int_equal(get_number(store, "times", number_key((int64_t)n)),
		                 vigia__ranges_has(&look.ranges, n) ? 1 : -1);
	vigia__ranges_deinit(&look.ranges);
	return checkpoint;
}

/* ---- the key ---- */

static void a_key_in_c_is_asked_once_and_again_if_it_is_not_known_K3(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		for (int64_t lanes = 2; lanes < 6; lanes++) {
			struct vigia_store *store = open_store(kinds(i));
			struct vigia_registry *registry = vigia_registry_new(store);
			struct jobs jobs = {.fails_at = 3, .without_key = 7};
			append_jobs(store);
			struct vigia_watcher *watcher = watch(registry, &jobs, lanes);
			drive_to_the_end(registry, watcher);
			assert_int_equal(jobs.asked, JOBS + 1);
			assert_int_equal(jobs.failures, 2);
			vigia_registry_free(registry);
			assert_int_equal(assert_exactly_once(store), JOBS);
			vigia_store_free(store);
			folder_empty(folder);
		}
}

/* ---- what fails ---- */

static void each_effect_is_there_once_without_memory_K3_X4(void **state)
{
	(void)state;
	enum { ALLOCATIONS = 60 };
	for (int i = 0; i < 2; i++)
		for (long nth = 1; nth <= ALLOCATIONS; nth++) {
			struct vigia_store *store = open_store(kinds(i));
			struct vigia_registry *registry = vigia_registry_new(store);
			struct jobs jobs = {.fails_at = 2};
			append_jobs(store);
			struct vigia_watcher *watcher = watch(registry, &jobs, 3);
			vigia__alloc_fail_at(nth, 0);
			for (int steps = 0; steps < 8; steps++) vigia_registry_step(registry, 300000, NULL);
			vigia__alloc_fail_at(0, 0);
			assert_exactly_once(store);
			drive_to_the_end(registry, watcher);
			vigia_registry_free(registry);
			assert_int_equal(assert_exactly_once(store), JOBS);
			vigia_store_free(store);
			folder_empty(folder);
		}
}

static void each_effect_is_there_once_whatever_the_disk_does_K3_X4(void **state)
{
	(void)state;
	static const struct {
		enum fault kind;
		int error;
		bool forever;
	} faults[] = {
		{FAULT_SYNC, EIO, false}, {FAULT_WRITE, EIO, true}, {FAULT_WRITE, ENOSPC, true}, {FAULT_LIE, EIO, false}};
	for (size_t f = 0; f < COUNT_OF(faults); f++) {
		bool failed = true;
		for (int nth = 1; failed && nth < 40; nth++) {
			struct vigia_store *store = open_durable();
			struct vigia_registry *registry = vigia_registry_new(store);
			struct jobs jobs = {.fails_at = 2};
			append_jobs(store);
			struct vigia_watcher *watcher = watch(registry, &jobs, 3);
			arm(faults[f].kind, nth, faults[f].error, faults[f].forever);
			for (int steps = 0; steps < 10; steps++) vigia_registry_step(registry, 300000, NULL);
			failed = disarm() > 0;
			drive_to_the_end(registry, watcher);
			vigia_registry_free(registry);
			vigia_store_free(store);
			store = open_durable();
			assert_int_equal(assert_exactly_once(store), JOBS);
			vigia_store_free(store);
			folder_empty(folder);
		}
	}
}

static void a_kill_at_any_write_doubles_no_effect_K3_X4(void **state)
{
	(void)state;
	bool killed = true;
	int above = 0;
	for (int nth = 1; killed; nth++) {
		struct vigia_store *store = open_durable();
		append_jobs(store);
		vigia_store_free(store);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			struct jobs jobs = {.fails_at = 2};
			store = open_durable();
			struct vigia_registry *registry = vigia_registry_new(store);
			struct vigia_watcher *watcher = watch(registry, &jobs, 3);
			arm(FAULT_DIE, nth, EIO, false);
			drive_to_the_end(registry, watcher);
			disarm();
			_exit(0);
		}
		int status;
		struct jobs jobs = {0};
		assert_int_equal(waitpid(pid, &status, 0), pid);
		killed = WIFSIGNALED(status);
		if (!killed) assert_int_equal(WEXITSTATUS(status), 0);
		store = open_durable();
		uint64_t checkpoint = assert_exactly_once(store);
		above += checkpoint < JOBS && get_number(store, "times", number_key((int64_t)checkpoint + 2)) > 0;
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_watcher *watcher = watch(registry, &jobs, 1 + nth % 4); /* also without lanes */
		drive_to_the_end(registry, watcher);
		vigia_registry_free(registry);
		assert_int_equal(assert_exactly_once(store), JOBS);
		vigia_store_free(store);
		folder_empty(folder);
	}
	assert_true(above > 0); /* a kill found events that were finished above the checkpoint */
}

/* ---- a file put back ---- */

static int put_ranges(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	return vigia__lane_record_put(kv, (struct vigia_slice){"w", 1}, 1, arg);
}

/* The checkpoint, or a range above it, is beyond the last event. */
static void what_is_beyond_the_end_counts_for_nothing_K3(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct vigia_store *store = open_store(kinds(i % 2));
		struct vigia__backend *b = store->backend;
		struct vigia_error err = {0};
		struct jobs jobs = {0};
		struct vigia__ranges ranges;
		struct vigia__transact transact = {.also = put_ranges, .also_arg = &ranges};
		bool range = i >= 2;
		vigia__ranges_init(&ranges, range ? 0 : JOBS + 7);
		if (range) assert_int_equal(vigia__ranges_add(&ranges, JOBS + 2, JOBS + 9), 0);
		ok(b->transact(b, &transact, &err), &err);
		vigia__ranges_deinit(&ranges);
		if (!range) ok(b->checkpoint_put(b, "w", JOBS + 7, false, &err), &err);
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_watcher *watcher = watch(registry, &jobs, 3);
		append_jobs(store);
		append_jobs(store);
		drive_to_the_end(registry, watcher);
		vigia_registry_free(registry);
		for (int n = 1; n <= 2 * JOBS; n++) assert_int_equal(get_number(store, "times", number_key(n)), 1);
		vigia_store_free(store);
		folder_empty(folder);
	}
}

/* ---- damage ---- */

static int spoil_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	return kv->put(kv->ctx, (struct vigia_slice){"rw", 2}, (struct vigia_slice){"not a record of lanes", 21});
}

static void note_damage(void *ctx, uint64_t seq_num, const char *text)
{
	assert_non_null(strstr(text, "the lanes of watcher 'w'"));
	++*(int *)ctx;
}

static void progress(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last)
{
}

static void beside(void *ctx)
{
}

static void a_damaged_record_is_told_and_counts_for_nothing_K3(void **state)
{
	(void)state;
	struct vigia_store *store = open_durable();
	struct jobs jobs = {0};
	struct vigia_error err = {0};
	struct vigia__transact transact = {.also = spoil_in};
	int found = 0;
	struct vigia__verify verify = {.ctx = &found, .found = note_damage, .progress = progress, .beside = beside};
	append_jobs(store);
	ok(vigia_checkpoint_put(store, "w", 4, &err), &err);
	ok(store->backend->transact(store->backend, &transact, &err), &err);
	ok(vigia__store_verify(store, &verify, &err), &err);
	assert_int_equal(found, 1);
	struct vigia_registry *registry = vigia_registry_new(store);
	struct vigia_watcher *watcher = watch(registry, &jobs, 3);
	drive_to_the_end(registry, watcher);
	vigia_registry_free(registry);
	for (int n = 1; n <= JOBS; n++) assert_int_equal(get_number(store, "times", number_key(n)), n > 4 ? 1 : -1);
	found = 0;
	ok(vigia__store_verify(store, &verify, &err), &err);
	assert_int_equal(found, 0);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_key_in_c_is_asked_once_and_again_if_it_is_not_known_K3, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(each_effect_is_there_once_without_memory_K3_X4, folder_setup, folder_teardown),
		IN_BOTH_FORMS(each_effect_is_there_once_whatever_the_disk_does_K3_X4),
		IN_BOTH_FORMS(a_kill_at_any_write_doubles_no_effect_K3_X4),
		cmocka_unit_test_setup_teardown(what_is_beyond_the_end_counts_for_nothing_K3, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_damaged_record_is_told_and_counts_for_nothing_K3, folder_setup,
	                                    folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
