/*
 * test_transactional.c - transactional watchers with handlers in C: what is lent to them, marks, and each event's
 * effect exactly once, whatever write, sync or allocation fails, or kills the process.
 */
#include "fault.h"
#include "state.h"

#include <sys/wait.h>

#include "core/alloc.h"
#include "drive/clock.h"
#include "drive/drive.h"
#include "store/transaction.h"

static void append_numbers(struct vigia_store *store, int count)
{
	struct vigia_error err = {0};
	for (int i = 0; i < count; i++) {
		struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
		ok(vigia_store_append(store, &event, 1, NULL, &err), &err);
	}
}

/* ---- marks ---- */

/* Random changes, of which those behind a mark are sometimes taken back, beside an array. */
static void what_is_behind_a_mark_is_taken_back_alone_X4(void **state)
{
	(void)state;
	enum { KEYS = 6, ROUNDS = 3000 };
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_transaction *tx;
		struct vigia_error err = {0};
		int64_t now[KEYS] = {0}, marked[KEYS] = {0};
		size_t events = 0, events_marked = 0, bytes = 0;
		uint64_t random = 42, first, last;
		for (int k = 0; k < KEYS; k += 2) put_number(store, "b", number_key(k), now[k] = marked[k] = k + 1);
		ok(vigia_transaction_begin(store, &tx, &err), &err);
		for (int k = 0; k < KEYS; k++) { /* what reading costs is not given back */
			struct vigia_key key = number_key(k);
			struct vigia_slice value;
			vigia_transaction_get(tx, "b", &key, &value, &err);
		}
		vigia__transaction_mark(tx);
		for (int round = 0; round < ROUNDS; round++) {
			random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
			unsigned dice = (unsigned)(random >> 33);
			struct vigia_key key = number_key(dice % KEYS);
			uint8_t room[9];
			struct vigia_slice value;
			switch (dice / KEYS % 8) {
			case 0:
			case 1:
			case 2:
				ok(vigia_transaction_put(tx, "b", &key, number_value(room, now[dice % KEYS] = round), &err), &err);
				break;
			case 3:
				ok(vigia_transaction_delete(tx, "b", &key, &err), &err);
				now[dice % KEYS] = 0;
				break;
			case 4:
				ok(vigia_transaction_append(tx, &(struct vigia_new_event){{"C", 1}, {"T", 1}, {"\x01", 1}}, 1, NULL,
				                            &err),
				   &err);
				events++;
				break;
			case 5:
				if (events - events_marked > 3) break;
				vigia__transaction_mark(tx);
				memcpy(marked, now, sizeof now);
				events_marked = events;
				bytes = vigia__transaction_bytes(tx);
				break;
			default:
				vigia__transaction_rollback(tx);
				memcpy(now, marked, sizeof now);
				events = events_marked;
				if (bytes > 0) assert_int_equal(vigia__transaction_bytes(tx), bytes);
			}
			for (int k = 0; k < KEYS; k++) {
				struct vigia_key one = number_key(k);
				int rc = vigia_transaction_get(tx, "b", &one, &value, &err);
				if (now[k]) assert_int_equal(number_of(value), now[k]);
				assert_int_equal(rc, now[k] ? VIGIA_OK : VIGIA_NONE);
			}
			assert_int_equal(vigia_transaction_appends(tx), events);
		}
		ok(vigia_transaction_commit(tx, &err), &err);
		for (int k = 0; k < KEYS; k++) assert_int_equal(get_number(store, "b", number_key(k)), now[k] ? now[k] : -1);
		for (size_t n = 0; n < events; n++) assert_false(vigia_transaction_numbers(tx, n, &first, &last));
		vigia_transaction_free(tx);
		vigia_store_free(store);
	}
}

/* ---- a handler ---- */

struct counter {
	int calls;
	uint64_t fails_at; /* fails once on this event, after it has counted it */
	bool stopped;
};

/* Counts the events, adds up their numbers, and stores an event for each. */
static int count_event(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                       int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct counter *counter = ctx;
	static const char *const names[] = {"count", "sum"};
	counter->calls++;
	for (int i = 0; i < 2; i++) {
		struct vigia_key key = text_key(names[i]);
		struct vigia_slice value;
		uint8_t room[9];
		int rc = vigia_transaction_get(attempt->tx, "b", &key, &value, err);
		if (rc < 0) return rc;
		int64_t number = rc == VIGIA_OK ? number_of(value) : 0;
		rc = vigia_transaction_put(attempt->tx, "b", &key,
		                           number_value(room, number + (i == 0 ? 1 : (int64_t)event->seq_num)), err);
		if (rc < 0) return rc;
	}
	struct vigia_new_event seen = {{"SEEN", 4}, {"Effect", 6}, {"\x01", 1}};
	int rc = vigia_transaction_append(attempt->tx, &seen, 1, NULL, err);
	if (rc == VIGIA_OK && counter->fails_at == event->seq_num) {
		counter->fails_at = 0;
		return VIGIA_EIO;
	}
	return rc;
}

static struct vigia_watcher *watch(struct vigia_registry *registry, struct counter *counter)
{
	static const struct vigia_slice types[] = {{"Job", 3}};
	struct vigia_handler handler = {.size = sizeof handler, .handle = count_event, .ctx = counter};
	struct vigia_watch_options options;
	struct vigia_watcher *watcher;
	struct vigia_error err = {0};
	vigia_watch_options_init(&options);
	options.transactional = true;
	options.batch_size = 4;
	options.initial_backoff_ns = 100000;
	options.max_backoff_ns = 200000;
	options.filter = (struct vigia_filter){.object_types = types, .object_types_count = 1};
	ok(vigia_registry_watch(registry, "w", &handler, &options, &watcher, &err), &err);
	return watcher;
}

/* What is stored fits the checkpoint: each Job up to it has had its effects, once. Returns the checkpoint. */
static uint64_t assert_exactly_once(struct vigia_store *store, uint64_t jobs)
{
	uint64_t checkpoint = 0, latest;
	struct vigia_error err = {0};
	int rc = vigia_checkpoint_get(store, "w", &checkpoint, &err);
	if (rc != VIGIA_OK) assert_int_equal(rc, VIGIA_ENOCHECKPOINT);
	uint64_t done = checkpoint < jobs ? checkpoint : jobs;
	int64_t count = get_number(store, "b", text_key("count")), sum = get_number(store, "b", text_key("sum"));
	assert_int_equal(count, done ? (int64_t)done : -1);
	assert_int_equal(sum, done ? (int64_t)(done * (done + 1) / 2) : -1);
	ok(vigia_store_latest(store, &latest, &err), &err);
	assert_int_equal(latest, jobs + done);
	return checkpoint;
}

static int try_to_commit(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                         int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct vigia_key key = text_key("k");
	uint8_t room[9];
	ok(vigia_transaction_put(attempt->tx, "b", &key, number_value(room, 7), err), err);
	vigia_transaction_reset(attempt->tx);
	struct vigia_slice value;
	ok(vigia_transaction_get(attempt->tx, "b", &key, &value, err), err);
	assert_error(vigia_transaction_commit(attempt->tx, err), VIGIA_EINVAL, err, "belongs to a watcher");
	return VIGIA_OK;
}

static void a_handler_cannot_end_what_is_lent_to_it_X4(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_handler handler = {.size = sizeof handler, .handle = try_to_commit};
		struct vigia_watch_options options;
		struct vigia_watcher *watcher;
		struct vigia_error err = {0};
		vigia_watch_options_init(&options);
		options.transactional = true;
		append_numbers(store, 1);
		ok(vigia_registry_watch(registry, "w", &handler, &options, &watcher, &err), &err);
		drive_to_the_end(registry, watcher);
		assert_int_equal(get_number(store, "b", text_key("k")), 7);
		assert_error(vigia_watcher_checkpoint(watcher, 1, &err), VIGIA_EUNSUPPORTED, &err, "is transactional");
		vigia_registry_free(registry);
		vigia_store_free(store);
	}
}

/* Does not want the events with odd numbers, once it has written. */
static int wants_even(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                      int64_t *resume_mono_ns, struct vigia_error *err)
{
	int rc = count_event(ctx, event, attempt, resume_mono_ns, err);
	return rc == VIGIA_OK && event->seq_num % 2 == 1 ? VIGIA_NONE : rc;
}

static void what_is_not_wanted_has_no_effect_X4(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_registry *registry = vigia_registry_new(store);
		struct counter counter = {0};
		append_numbers(store, 6);
		struct vigia_watcher *watcher = watch(registry, &counter);
		watcher->handler.handle = wants_even;
		drive_to_the_end(registry, watcher);
		assert_int_equal(get_number(store, "b", text_key("count")), 3);
		assert_int_equal(get_number(store, "b", text_key("sum")), 2 + 4 + 6);
		vigia_registry_free(registry);
		vigia_store_free(store);
	}
}

/* ---- what fails ---- */

/* Without memory at the n-th allocation while it is driven, for each n. */
static void each_effect_is_there_once_without_memory_X4(void **state)
{
	(void)state;
	enum { JOBS = 6, ALLOCATIONS = 70 };
	for (int i = 0; i < 2; i++) {
		for (long nth = 1; nth <= ALLOCATIONS; nth++) {
			struct vigia_store *store = open_store(kinds(i));
			struct vigia_registry *registry = vigia_registry_new(store);
			struct counter counter = {.fails_at = 2};
			append_numbers(store, JOBS);
			struct vigia_watcher *watcher = watch(registry, &counter);
			vigia__alloc_fail_at(nth, 0);
			for (int steps = 0; steps < 8; steps++) vigia_registry_step(registry, 300000, NULL);
			vigia__alloc_fail_at(0, 0);
			assert_exactly_once(store, JOBS);
			drive_to_the_end(registry, watcher);
			assert_true(assert_exactly_once(store, JOBS) >= JOBS);
			vigia_registry_free(registry);
			vigia_store_free(store);
			folder_empty(folder);
		}
	}
}

/* One or all syncs or writes fail, or one lies, from the n-th on. What the disk has then, the watcher finds out. */
static void each_effect_is_there_once_when_the_disk_fails_X4(void **state)
{
	(void)state;
	enum { JOBS = 6 };
	static const struct {
		enum fault kind;
		int error;
		bool forever;
	} faults[] = {
		{FAULT_SYNC, EIO, false}, {FAULT_SYNC, EIO, true},     {FAULT_WRITE, EIO, false},
		{FAULT_WRITE, EIO, true}, {FAULT_WRITE, ENOSPC, true}, {FAULT_LIE, EIO, false},
	};
	for (size_t f = 0; f < COUNT_OF(faults); f++) {
		bool failed = true;
		for (int nth = 1; failed && nth < 60; nth++) {
			struct vigia_store *store = open_durable();
			struct vigia_registry *registry = vigia_registry_new(store);
			struct counter counter = {.fails_at = 2};
			append_numbers(store, JOBS);
			struct vigia_watcher *watcher = watch(registry, &counter);
			arm(faults[f].kind, nth, faults[f].error, faults[f].forever);
			for (int steps = 0; steps < 12; steps++) vigia_registry_step(registry, 300000, NULL);
			failed = disarm() > 0;
			drive_to_the_end(registry, watcher);
			assert_true(assert_exactly_once(store, JOBS) >= JOBS);
			vigia_registry_free(registry);
			vigia_store_free(store);
			store = open_durable();
			assert_true(assert_exactly_once(store, JOBS) >= JOBS);
			vigia_store_free(store);
			folder_empty(folder);
		}
	}
}

/* The process is killed at its n-th write, for each n. Another one goes on. */
static void each_effect_is_there_once_after_a_kill_at_any_write_X4(void **state)
{
	(void)state;
	enum { JOBS = 6 };
	bool killed = true;
	for (int nth = 1; killed; nth++) {
		struct vigia_store *store = open_durable();
		append_numbers(store, JOBS);
		vigia_store_free(store);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			struct counter counter = {.fails_at = 2};
			store = open_durable();
			struct vigia_registry *registry = vigia_registry_new(store);
			struct vigia_watcher *watcher = watch(registry, &counter);
			arm(FAULT_DIE, nth, EIO, false);
			drive_to_the_end(registry, watcher);
			disarm();
			_exit(0);
		}
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		killed = WIFSIGNALED(status);
		if (!killed) assert_int_equal(WEXITSTATUS(status), 0);
		store = open_durable();
		assert_exactly_once(store, JOBS);
		struct vigia_registry *registry = vigia_registry_new(store);
		struct counter counter = {0};
		struct vigia_watcher *watcher = watch(registry, &counter);
		drive_to_the_end(registry, watcher);
		assert_true(assert_exactly_once(store, JOBS) >= JOBS);
		vigia_registry_free(registry);
		vigia_store_free(store);
		folder_empty(folder);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_behind_a_mark_is_taken_back_alone_X4, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_handler_cannot_end_what_is_lent_to_it_X4, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(what_is_not_wanted_has_no_effect_X4, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(each_effect_is_there_once_without_memory_X4, folder_setup, folder_teardown),
		IN_BOTH_FORMS(each_effect_is_there_once_when_the_disk_fails_X4),
		IN_BOTH_FORMS(each_effect_is_there_once_after_a_kill_at_any_write_X4),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
