/*
 * test_letters.c - dead letters: their records beside a model, and a letter stored with the checkpoint that passes its
 * event, whatever write, sync or allocation fails, or kills the process.
 */
#include "fault.h"
#include "state.h"

#include <sys/wait.h>

#include "core/alloc.h"
#include "drive/drive.h"
#include "store/letters.h"

/* ---- records ---- */

enum { IDS = 3, NUMBERS = 5 };

struct model {
	uint64_t attempts; /* 0: there is none */
	bool retry;
} model[IDS][NUMBERS];

/* The second begins as the first does, and sorts behind all of its letters. */
static const struct vigia_slice ids[IDS] = {{"a", 1}, {"ab", 2}, {"b", 1}};

struct step {
	unsigned kind;
	int id;
	uint64_t number;
	int rc;
	uint64_t count, found;
};

/* The error of a letter tells how often it failed. */
static struct vigia_slice text_of(char room[32], uint64_t attempts)
{
	int len = snprintf(room, 32, "failed %llu times", (unsigned long long)attempts);
	return (struct vigia_slice){room, (size_t)len};
}

static int change_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct step *step = arg;
	char room[32];
	struct vigia__letter letter = {.watcher_id = ids[step->id],
	                               .seq_num = step->number,
	                               .attempts = 3,
	                               .failed_at_ns = 77,
	                               .error = text_of(room, 3),
	                               .traceback = {"here", 4},
	                               .event = {"bytes", 5}};
	if (step->kind == 0) step->rc = vigia__letter_put(kv, &letter);
	else if (step->kind == 1) step->rc = vigia__letter_remove(kv, letter.watcher_id, letter.seq_num);
	else if (step->kind == 2) step->rc = vigia__letter_request(kv, letter.watcher_id, letter.seq_num, err);
	else {
		letter.error = text_of(room, model[step->id][step->number].attempts + 1);
		step->rc = vigia__letter_failed(kv, &letter, err);
	}
	return step->rc < 0 ? step->rc : VIGIA_OK;
}

static int count_one(void *ctx, const struct vigia__letter *letter, struct vigia_error *err)
{
	++*(uint64_t *)ctx;
	return VIGIA_OK;
}

static void tell_fault(void *ctx, const char *text)
{
	fail_msg("%s", text);
}

static int compare_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	uint64_t all = 0, count;
	char room[32];
	for (int i = 0; i < IDS; i++) {
		uint64_t own = 0, wanted = 0, listed = 0;
		struct vigia__letter letter;
		for (uint64_t n = 0; n < NUMBERS; n++) {
			const struct model *m = &model[i][n];
			int rc = vigia__letter_get(kv, ids[i], n, &letter, err);
			assert_int_equal(rc, m->attempts ? VIGIA_OK : VIGIA_NONE);
			if (!m->attempts) continue;
			struct vigia_slice text = text_of(room, m->attempts);
			assert_int_equal(letter.attempts, m->attempts);
			assert_int_equal(letter.retry, m->retry);
			assert_int_equal(letter.failed_at_ns, 77);
			assert_true(vigia__ordered_compare(letter.error, text) == 0);
			assert_memory_equal(letter.traceback.data, "here", 4);
			assert_memory_equal(letter.event.data, "bytes", 5);
			assert_int_equal(letter.event.len, 5);
			if (m->retry && wanted == 0) wanted = n + 1;
			own++;
		}
		int rc = vigia__letter_next_wanted(kv, ids[i], NULL, NULL, &letter, err);
		assert_int_equal(rc, wanted ? VIGIA_OK : VIGIA_NONE);
		if (wanted) assert_int_equal(letter.seq_num, wanted - 1);
		assert_int_equal(vigia__letters_each(kv, ids[i], 0, true, count_one, &listed, err), VIGIA_OK);
		assert_int_equal(listed, own);
		all += own;
	}
	uint64_t listed = 0;
	assert_int_equal(vigia__letters_each(kv, (struct vigia_slice){"", 0}, 0, false, count_one, &listed, err), VIGIA_OK);
	assert_int_equal(listed, all);
	assert_int_equal(vigia__letters_count(kv, &count), 0);
	assert_int_equal(count, all);
	return vigia__letters_verify(kv, tell_fault, NULL);
}

static void letters_are_kept_as_in_a_model_L1_L2(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_error err = {0};
		uint64_t random = 7;
		memset(model, 0, sizeof model);
		put_number(store, "bucket", number_key(1), 1); /* beside values of buckets */
		for (int round = 0; round < 1500; round++) {
			random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
			unsigned dice = (unsigned)(random >> 33);
			struct step step = {.kind = dice % 4, .id = (int)(dice / 4 % IDS), .number = dice / 16 % NUMBERS};
			struct vigia__transact transact = {.also = change_in, .also_arg = &step};
			struct model *m = &model[step.id][step.number];
			ok(store->backend->transact(store->backend, &transact, &err), &err);
			if (step.kind == 0) *m = (struct model){3, false};
			else {
				assert_int_equal(step.rc, m->attempts ? VIGIA_OK : VIGIA_NONE);
				if (!m->attempts) continue;
				if (step.kind == 1) *m = (struct model){0};
				else if (step.kind == 2) m->retry = true;
				else *m = (struct model){m->attempts + 1, false};
			}
			ok(store->backend->view(store->backend, VIGIA_MAP_STATE, compare_in, NULL, &err), &err);
		}
		vigia_store_free(store);
	}
}

/* ---- with a watcher ---- */

static int refuse_the_second(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                             int64_t *resume_mono_ns, struct vigia_error *err)
{
	int *calls = ctx;
	(*calls)++;
	return event->seq_num == 2 && attempt->dead_letter == NULL ? VIGIA_EIO : VIGIA_OK;
}

static struct vigia_watcher *watch(struct vigia_registry *registry, int *calls, enum vigia_checkpoint_mode mode)
{
	struct vigia_handler handler = {.size = sizeof handler, .handle = refuse_the_second, .ctx = calls};
	struct vigia_watch_options options;
	struct vigia_watcher *watcher;
	struct vigia_error err = {0};
	vigia_watch_options_init(&options);
	options.retry_strategy = VIGIA_RETRY_DEAD_LETTER;
	options.max_retries = 2;
	options.checkpoint = mode;
	options.initial_backoff_ns = 100000;
	options.max_backoff_ns = 200000;
	ok(vigia_registry_watch(registry, "w", &handler, &options, &watcher, &err), &err);
	return watcher;
}

static void append_three(struct vigia_store *store)
{
	struct vigia_error err = {0};
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
	for (int i = 0; i < 3; i++) ok(vigia_store_append(store, &event, 1, NULL, &err), &err);
}

static int note_letter(void *ctx, const struct vigia_dead_letter *letter)
{
	assert_int_equal(letter->seq_num, 2);
	assert_int_equal(letter->attempts, 2);
	assert_true(letter->error.len > 0);
	++*(int *)ctx;
	return VIGIA_OK;
}

/* Event 2 has its letter if, and only if, the checkpoint passed it. Returns the checkpoint. */
static uint64_t assert_no_letter_lost(struct vigia_store *store)
{
	uint64_t checkpoint = 0;
	int letters = 0;
	struct vigia_error err = {0};
	int rc = vigia_checkpoint_get(store, "w", &checkpoint, &err);
	if (rc != VIGIA_OK) assert_int_equal(rc, VIGIA_ENOCHECKPOINT);
	ok(vigia_dead_letters(store, NULL, 0, note_letter, &letters, &err), &err);
	assert_int_equal(letters, checkpoint >= 2);
	return checkpoint;
}

/* A retry, too: the letter goes, and nothing else does. */
static void retry_to_the_end(struct vigia_store *store, struct vigia_registry *registry, int *calls)
{
	struct vigia_error err = {0};
	uint64_t count;
	int letters = 1;
	ok(vigia_dead_letter_retry(store, "w", 0, &count, &err), &err);
	assert_int_equal(count, 1);
	for (int i = 0; i < 3000 && letters > 0; i++) {
		vigia_registry_step(registry, 2000000, NULL);
		letters = 0;
		ok(vigia_dead_letters(store, "w", 0, note_letter, &letters, &err), &err);
	}
	assert_int_equal(letters, 0);
	assert_int_equal(vigia_dead_letter_retry(store, "w", 0, &count, &err), VIGIA_NONE);
}

/* A request is noticed, by another handle of the file too, without a look whether commits were left unannounced. */
static void a_retry_is_noticed_at_once_L2(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i)), *other = i == 0 ? store : open_store(kinds(i));
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_error err = {0};
		int calls = 0;
		append_three(store);
		struct vigia_watcher *watcher = watch(registry, &calls, VIGIA_CHECKPOINT_BATCH);
		drive_to_the_end(registry, watcher);
		calls = 0;
		ok(vigia_dead_letter_retry(other, "w", 2, NULL, &err), &err);
		for (int steps = 0; steps < 20 && calls == 0; steps++) {
			registry->heal_mono_ns = INT64_MAX;
			vigia_registry_step(registry, 1000000, NULL);
		}
		assert_int_equal(calls, 1);
		vigia_registry_free(registry);
		if (other != store) vigia_store_free(other);
		vigia_store_free(store);
		folder_empty(folder);
	}
}

static void a_letter_waits_for_memory_L1(void **state)
{
	(void)state;
	enum { ALLOCATIONS = 60 };
	for (int i = 0; i < 2; i++)
		for (long nth = 1; nth <= ALLOCATIONS; nth++) {
			struct vigia_store *store = open_store(kinds(i));
			struct vigia_registry *registry = vigia_registry_new(store);
			int calls = 0;
			append_three(store);
			struct vigia_watcher *watcher = watch(registry, &calls, VIGIA_CHECKPOINT_EVENT);
			vigia__alloc_fail_at(nth, 0);
			for (int steps = 0; steps < 8; steps++) vigia_registry_step(registry, 300000, NULL);
			vigia__alloc_fail_at(0, 0);
			drive_to_the_end(registry, watcher);
			assert_true(assert_no_letter_lost(store) >= 2);
			retry_to_the_end(store, registry, &calls);
			vigia_registry_free(registry);
			vigia_store_free(store);
			folder_empty(folder);
		}
}

static void a_letter_waits_for_the_disk_L1(void **state)
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
			int calls = 0;
			append_three(store);
			struct vigia_watcher *watcher = watch(registry, &calls, VIGIA_CHECKPOINT_BATCH);
			arm(faults[f].kind, nth, faults[f].error, faults[f].forever);
			for (int steps = 0; steps < 10; steps++) vigia_registry_step(registry, 300000, NULL);
			failed = disarm() > 0;
			drive_to_the_end(registry, watcher);
			assert_true(assert_no_letter_lost(store) >= 2);
			vigia_registry_free(registry);
			vigia_store_free(store);
			store = open_durable();
			assert_true(assert_no_letter_lost(store) >= 2);
			vigia_store_free(store);
			folder_empty(folder);
		}
	}
}

static void a_kill_at_any_write_loses_no_letter_L1(void **state)
{
	(void)state;
	bool killed = true;
	for (int nth = 1; killed; nth++) {
		struct vigia_store *store = open_durable();
		append_three(store);
		vigia_store_free(store);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			int calls = 0;
			store = open_durable();
			struct vigia_registry *registry = vigia_registry_new(store);
			struct vigia_watcher *watcher = watch(registry, &calls, VIGIA_CHECKPOINT_EVENT);
			arm(FAULT_DIE, nth, EIO, false);
			drive_to_the_end(registry, watcher);
			disarm();
			_exit(0);
		}
		int status, calls = 0;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		killed = WIFSIGNALED(status);
		if (!killed) assert_int_equal(WEXITSTATUS(status), 0);
		store = open_durable();
		assert_no_letter_lost(store);
		struct vigia_registry *registry = vigia_registry_new(store);
		struct vigia_watcher *watcher = watch(registry, &calls, VIGIA_CHECKPOINT_EVENT);
		drive_to_the_end(registry, watcher);
		assert_true(assert_no_letter_lost(store) >= 2);
		retry_to_the_end(store, registry, &calls);
		vigia_registry_free(registry);
		vigia_store_free(store);
		folder_empty(folder);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(letters_are_kept_as_in_a_model_L1_L2, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_retry_is_noticed_at_once_L2, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_letter_waits_for_memory_L1, folder_setup, folder_teardown),
		IN_BOTH_FORMS(a_letter_waits_for_the_disk_L1),
		IN_BOTH_FORMS(a_kill_at_any_write_loses_no_letter_L1),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
