/*
 * test_steer.c - watchers steered from outside: the records beside a model; a seek and a pause whatever write, sync or
 * allocation fails, or kills the process; requests of several threads to one that runs.
 */
#include "fault.h"
#include "state.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "core/alloc.h"
#include "drive/drive.h"
#include "store/steer.h"

/* ---- records ---- */

enum { IDS = 3, REQUESTS = 8, MINUTE = 60 };
static const int64_t second_ns = INT64_C(1000000000);

struct model {
	bool paused;
	size_t count;
	struct vigia__steer steers[REQUESTS];
} model[IDS];

/* The second begins as the first does, and sorts behind all of its requests. */
static const struct vigia_slice ids[IDS] = {{"a", 1}, {"ab", 2}, {"b", 1}};

struct step {
	unsigned kind, dice;
	int id;
	int64_t now_ns;
};

static void drop(struct model *m, size_t i)
{
	m->steers[i] = m->steers[--m->count];
}

/* Those that are long over are gone with the next one. */
static void add_in(struct vigia__kv *kv, struct model *m, const struct step *step)
{
	uint64_t highest = 0;
	struct vigia__steer steer = {.kind = VIGIA_STEER_SEEK + step->dice % 4,
	                             .seq_num = step->dice,
	                             .until_at_ns = step->now_ns + (int64_t)(step->dice % 3) * second_ns};
	snprintf(steer.text, sizeof steer.text, "request %u", step->dice);
	for (size_t i = 0; i < m->count; i++)
		if (m->steers[i].number > highest) highest = m->steers[i].number;
	for (size_t i = m->count; i-- > 0;)
		if (m->steers[i].until_at_ns < step->now_ns - MINUTE * second_ns) drop(m, i);
	if (m->count == REQUESTS) return;
	assert_int_equal(vigia__steer_add(kv, ids[step->id], step->now_ns, &steer), 0);
	assert_true(steer.number > highest);
	assert_true(steer.number >= (uint64_t)step->now_ns);
	m->steers[m->count++] = steer;
}

static int change_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct step *step = arg;
	struct model *m = &model[step->id];
	struct vigia__steer *one = m->count > 0 ? &m->steers[step->dice % m->count] : NULL;
	if (step->kind < 3) add_in(kv, m, step);
	else if (step->kind == 3 && one) {
		one->answered = true;
		one->code = VIGIA_ESTATE;
		assert_int_equal(vigia__steer_put(kv, ids[step->id], one), 0);
	} else if (step->kind == 4 && one) {
		assert_int_equal(vigia__steer_remove(kv, ids[step->id], one->number), 0);
		assert_int_equal(vigia__steer_remove(kv, ids[step->id], one->number), VIGIA_NONE);
		drop(m, step->dice % m->count);
	} else if (step->kind == 5) {
		m->paused = step->dice % 2;
		assert_int_equal(vigia__pause_set(kv, ids[step->id], m->paused), 0);
	} else if (step->kind == 6 && step->dice % 8 == 0) {
		m->paused = false;
		m->count = 0;
		assert_int_equal(vigia__steer_forget(kv, ids[step->id]), 0);
	}
	return VIGIA_OK;
}

static void count_one(void *ctx, struct vigia_slice id, const struct vigia__steer *steer)
{
	((size_t *)ctx)[steer != NULL]++;
}

static void tell_fault(void *ctx, const char *text)
{
	fail_msg("%s", text);
}

static int compare_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct step *step = arg;
	size_t pauses = 0, requests = 0, listed[2] = {0};
	for (int i = 0; i < IDS; i++) {
		const struct model *m = &model[i];
		const struct vigia__steer *next = NULL;
		struct vigia__steer steer;
		bool paused;
		assert_int_equal(vigia__pause_get(kv, ids[i], &paused), 0);
		assert_int_equal(paused, m->paused);
		for (size_t n = 0; n < m->count; n++) {
			const struct vigia__steer *one = &m->steers[n];
			assert_int_equal(vigia__steer_get(kv, ids[i], one->number, &steer), VIGIA_OK);
			assert_memory_equal(&steer, one, sizeof steer);
			bool open = !one->answered && one->until_at_ns >= step->now_ns;
			if (open && (next == NULL || one->number < next->number)) next = one;
		}
		assert_int_equal(vigia__steer_next(kv, ids[i], step->now_ns, &steer), next ? VIGIA_OK : VIGIA_NONE);
		if (next) assert_int_equal(steer.number, next->number);
		assert_int_equal(vigia__steer_get(kv, ids[i], 1, &steer), VIGIA_NONE);
		pauses += m->paused;
		requests += m->count;
	}
	assert_int_equal(vigia__steer_each(kv, count_one, listed), 0);
	assert_int_equal(listed[0], pauses);
	assert_int_equal(listed[1], requests);
	return vigia__steer_verify(kv, tell_fault, NULL);
}

static void requests_are_kept_as_in_a_model_O2(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_error err = {0};
		uint64_t random = 7;
		int64_t now_ns = second_ns;
		memset(model, 0, sizeof model);
		put_number(store, "bucket", number_key(1), 1); /* beside values of buckets */
		for (int round = 0; round < 1500; round++) {
			random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
			unsigned dice = (unsigned)(random >> 33);
			now_ns += (int64_t)(dice % 7) * second_ns;
			struct step step = {.kind = dice % 8, .id = (int)(dice / 8 % IDS), .dice = dice / 32, .now_ns = now_ns};
			struct vigia__transact transact = {.also = change_in, .also_arg = &step};
			ok(store->backend->transact(store->backend, &transact, &err), &err);
			ok(store->backend->view(store->backend, VIGIA_MAP_STATE, compare_in, &step, &err), &err);
		}
		vigia_store_free(store);
	}
}

struct damage {
	const char *key;
	size_t len;
	char faults[200];
};

static int damage_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct damage *damage = arg;
	struct vigia_slice key, value;
	char bytes[512];
	int rc = kv->seek(kv->ctx, (struct vigia_slice){damage->key, damage->len}, VIGIA_AT_LEAST, &key, &value);
	assert_int_equal(rc, 0);
	memcpy(bytes, value.data, value.len);
	bytes[0] ^= 1;
	return kv->put(kv->ctx, key, (struct vigia_slice){bytes, value.len});
}

static void note_fault(void *ctx, const char *text)
{
	struct damage *damage = ctx;
	size_t len = strlen(damage->faults);
	snprintf(damage->faults + len, sizeof damage->faults - len, "%s\n", text);
}

static int look_at_damage(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__steer steer;
	bool paused;
	struct vigia_slice id = {"w", 1};
	assert_int_equal(vigia__steer_next(kv, id, 0, &steer), VIGIA_NONE);
	assert_int_equal(vigia__pause_get(kv, id, &paused), 0);
	assert_true(paused); /* it is not known that it is not */
	return vigia__steer_verify(kv, note_fault, arg);
}

static int add_two(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__steer steer = {.kind = VIGIA_STEER_RETRY, .until_at_ns = second_ns};
	assert_int_equal(vigia__pause_set(kv, (struct vigia_slice){"w", 1}, true), 0);
	return vigia__steer_add(kv, (struct vigia_slice){"w", 1}, second_ns, &steer);
}

static void damaged_records_are_told_and_carried_out_by_none_O2(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(kinds(1));
	struct vigia__backend *b = store->backend;
	struct vigia_error err = {0};
	struct damage damage = {"p", 1, ""};
	struct vigia__transact add = {.also = add_two}, change = {.also = damage_in, .also_arg = &damage};
	ok(b->transact(b, &add, &err), &err);
	ok(b->transact(b, &change, &err), &err);
	damage.key = "q";
	ok(b->transact(b, &change, &err), &err);
	ok(b->view(b, VIGIA_MAP_STATE, look_at_damage, &damage, &err), &err);
	assert_string_equal(damage.faults, "the pause of watcher 'w' is damaged\na request to watcher 'w' is damaged\n");
	vigia_store_free(store);
}

/* ---- with a watcher of this thread ---- */

struct seen {
	uint64_t last;
	int calls;
};

static int note_event(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                      int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct seen *seen = ctx;
	/* Those of a transaction that failed come again. */
	if (seen->last > 0 && event->seq_num > seen->last + 1) fail_msg("event %d comes", (int)event->seq_num);
	seen->last = event->seq_num;
	seen->calls++;
	return VIGIA_OK;
}

static struct vigia_watcher *watch(struct vigia_registry *registry, struct seen *seen, bool transactional)
{
	struct vigia_handler handler = {.size = sizeof handler, .handle = note_event, .ctx = seen};
	struct vigia_watch_options options;
	struct vigia_watcher *watcher;
	struct vigia_error err = {0};
	vigia_watch_options_init(&options);
	options.transactional = transactional;
	options.initial_backoff_ns = 100000;
	options.max_backoff_ns = 200000;
	ok(vigia_registry_watch(registry, "w", &handler, &options, &watcher, &err), &err);
	return watcher;
}

static void append_five(struct vigia_store *store)
{
	struct vigia_error err = {0};
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
	for (int i = 0; i < 5; i++) ok(vigia_store_append(store, &event, 1, NULL, &err), &err);
}

static bool is_paused(struct vigia_watcher *watcher)
{
	struct vigia_watcher_stats stats;
	vigia_watcher_stats(watcher, &stats);
	return stats.paused;
}

static uint64_t checkpoint_of(struct vigia_store *store)
{
	uint64_t checkpoint = 0;
	struct vigia_error err = {0};
	ok(vigia_checkpoint_get(store, "w", &checkpoint, &err), &err);
	return checkpoint;
}

/* Pause, go back to the second event, go on. What failed did nothing, and can be done again. */
static void steer(struct vigia_store *store, struct vigia_registry *registry, struct vigia_watcher *watcher,
                  struct seen *seen, void (*again)(void))
{
	static const struct vigia_iterator second = {VIGIA_AT, 2};
	struct vigia_error err = {0};
	uint64_t before = checkpoint_of(store), at = 0;
	while (vigia_store_pause(store, "w", 0, &err) != VIGIA_OK) {
		assert_true(err.code < 0);
		assert_false(is_paused(watcher) && again == NULL);
		if (again) again();
	}
	assert_true(is_paused(watcher));
	int calls = seen->calls;
	while (vigia_store_seek(store, "w", second, 0, &at, &err) != VIGIA_OK) {
		assert_true(err.code < 0);
		if (again) again();
		assert_true(checkpoint_of(store) >= before);
	}
	assert_int_equal(at, 1);
	assert_int_equal(checkpoint_of(store), 1);
	for (int i = 0; i < 3; i++) vigia_registry_step(registry, 0, NULL);
	assert_int_equal(seen->calls, calls);
	while (vigia_store_resume(store, "w", 0, &err) != VIGIA_OK)
		if (again) again();
	assert_false(is_paused(watcher));
	if (again) again();
	seen->last = 1;
	drive_to_the_end(registry, watcher);
	assert_true(seen->calls >= calls + 4);
	assert_int_equal(seen->last, 5);
}

/* Of the places where something may fail each n-th, in the long form each. */
static int stride(void)
{
	return getenv("VIGIA_SOAK") ? 1 : 6;
}

static void no_faults(void)
{
	disarm();
}

static void a_failed_write_leaves_a_watcher_where_it_was_O2(void **state)
{
	(void)state;
	static const struct {
		enum fault kind;
		int error;
		bool forever;
	} faults[] = {
		{FAULT_SYNC, EIO, false}, {FAULT_WRITE, EIO, true}, {FAULT_WRITE, ENOSPC, true}, {FAULT_LIE, EIO, false}};
	for (size_t f = 0; f < COUNT_OF(faults) * 2; f++) {
		bool failed = true;
		for (int nth = 1 + (int)f % stride(); failed && nth < 40; nth += stride()) {
			struct vigia_store *store = open_durable();
			struct vigia_registry *registry = vigia_registry_new(store);
			struct vigia_error err = {0};
			struct seen seen = {0};
			append_five(store);
			struct vigia_watcher *watcher = watch(registry, &seen, f % 2);
			drive_to_the_end(registry, watcher);
			ok(vigia_registry_stop(registry, -1, &err), &err); /* saves */
			ok(vigia_watcher_start(watcher, &err), &err);
			arm(faults[f / 2].kind, nth, faults[f / 2].error, faults[f / 2].forever);
			steer(store, registry, watcher, &seen, no_faults);
			failed = disarm() > 0;
			vigia_registry_free(registry);
			vigia_store_free(store);
			folder_empty(folder);
		}
	}
}

static void want_of_memory_leaves_a_watcher_where_it_was_O2(void **state)
{
	(void)state;
	enum { ALLOCATIONS = 60 };
	for (int i = 0; i < 2; i++)
		for (long nth = 1; nth <= ALLOCATIONS; nth++) {
			struct vigia_store *store = open_store(kinds(i));
			struct vigia_registry *registry = vigia_registry_new(store);
			struct vigia_error err = {0};
			struct seen seen = {0};
			append_five(store);
			struct vigia_watcher *watcher = watch(registry, &seen, false);
			drive_to_the_end(registry, watcher);
			ok(vigia_registry_stop(registry, -1, &err), &err);
			ok(vigia_watcher_start(watcher, &err), &err);
			vigia__alloc_fail_at(nth, 0);
			steer(store, registry, watcher, &seen, NULL);
			vigia__alloc_fail_at(0, 0);
			vigia_registry_free(registry);
			vigia_store_free(store);
			folder_empty(folder);
		}
}

/* Its answer and what it changed are there, or neither. Afterwards the next caller steers it. */
static void a_kill_at_any_write_steers_wholly_or_not_at_all_O2(void **state)
{
	(void)state;
	bool killed = true;
	for (int nth = 1; killed; nth += stride()) {
		struct vigia_store *store = open_durable();
		struct vigia_error err = {0};
		struct seen seen = {0};
		append_five(store);
		vigia_store_free(store);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			store = open_durable();
			struct vigia_registry *registry = vigia_registry_new(store);
			struct vigia_watcher *watcher = watch(registry, &seen, false);
			drive_to_the_end(registry, watcher);
			if (vigia_registry_stop(registry, -1, &err) < 0 || vigia_watcher_start(watcher, &err) < 0) _exit(2);
			arm(FAULT_DIE, nth, EIO, false);
			steer(store, registry, watcher, &seen, NULL);
			disarm();
			_exit(0);
		}
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		killed = WIFSIGNALED(status);
		if (!killed) assert_int_equal(WEXITSTATUS(status), 0);
		store = open_durable();
		ok(vigia_store_seek(store, "w", (struct vigia_iterator){VIGIA_LATEST, 0}, 0, NULL, &err), &err);
		assert_int_equal(checkpoint_of(store), 5);
		ok(vigia_store_resume(store, "w", 0, &err), &err);
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_watcher *watcher = watch(registry, &seen, false);
		drive_to_the_end(registry, watcher);
		assert_int_equal(seen.calls, 0);
		steer(store, registry, watcher, &seen, NULL);
		vigia_registry_free(registry);
		vigia_store_free(store);
		folder_empty(folder);
	}
}

/* ---- with one of another thread ---- */

struct loop {
	struct vigia_store *store;
	atomic_bool ready, ends;
	atomic_int failures;
};

static int fail_some(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                     int64_t *resume_mono_ns, struct vigia_error *err)
{
	return event->seq_num == 3 && attempt->attempt == 1 ? VIGIA_EIO : VIGIA_OK;
}

static void *drive_loop(void *arg)
{
	struct loop *loop = arg;
	struct vigia_registry *registry = vigia_registry_new(loop->store);
	struct vigia_handler handler = {.size = sizeof handler, .handle = fail_some};
	struct vigia_watch_options options;
	vigia_watch_options_init(&options);
	options.initial_backoff_ns = 5000000;
	if (vigia_registry_watch(registry, "w", &handler, &options, NULL, NULL) < 0) atomic_fetch_add(&loop->failures, 1);
	atomic_store(&loop->ready, true);
	while (!atomic_load(&loop->ends)) vigia_registry_step(registry, 10000000, NULL);
	vigia_registry_free(registry);
	return NULL;
}

static void *steer_loop(void *arg)
{
	struct loop *loop = arg;
	for (uint64_t n = 0; n < 40; n++) {
		struct vigia_error err = {0};
		struct vigia_iterator to = {VIGIA_AFTER, n % 5};
		int rc = n % 4 == 0   ? vigia_store_pause(loop->store, "w", -1, &err)
		         : n % 4 == 1 ? vigia_store_seek(loop->store, "w", to, -1, NULL, &err)
		         : n % 4 == 2 ? vigia_store_resume(loop->store, "w", -1, &err)
		                      : vigia_checkpoint_put(loop->store, "w", n % 5, &err);
		if (rc != VIGIA_OK) atomic_fetch_add(&loop->failures, 1);
		rc = vigia_store_retry(loop->store, "w", -1, NULL, &err);
		if (rc != VIGIA_OK && rc != VIGIA_ESTATE) atomic_fetch_add(&loop->failures, 1);
	}
	return NULL;
}

static void threads_steer_one_that_another_drives_O2(void **state)
{
	(void)state;
	enum { STEERING = 3 };
	for (int i = 0; i < 2; i++) {
		struct loop loop = {.store = open_store(kinds(i))};
		struct vigia_error err = {0};
		pthread_t driver, threads[STEERING];
		append_five(loop.store);
		assert_int_equal(pthread_create(&driver, NULL, drive_loop, &loop), 0);
		while (!atomic_load(&loop.ready)) sched_yield();
		for (int t = 0; t < STEERING; t++) assert_int_equal(pthread_create(&threads[t], NULL, steer_loop, &loop), 0);
		for (int t = 0; t < STEERING; t++) pthread_join(threads[t], NULL);
		assert_int_equal(atomic_load(&loop.failures), 0);
		ok(vigia_store_resume(loop.store, "w", -1, &err), &err);
		ok(vigia_checkpoint_wait(loop.store, "w", 5, -1, NULL, &err), &err);
		atomic_store(&loop.ends, true);
		pthread_join(driver, NULL);
		vigia_store_free(loop.store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(requests_are_kept_as_in_a_model_O2, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(damaged_records_are_told_and_carried_out_by_none_O2, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(want_of_memory_leaves_a_watcher_where_it_was_O2, folder_setup, folder_teardown),
		IN_BOTH_FORMS(a_failed_write_leaves_a_watcher_where_it_was_O2),
		IN_BOTH_FORMS(a_kill_at_any_write_steers_wholly_or_not_at_all_O2),
		cmocka_unit_test_setup_teardown(threads_steer_one_that_another_drives_O2, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
