/*
 * test_queue.c - appends that wait for a commit (durability "interval") when commits fail: they are stored once, in
 * order.
 */
#include "events.h"
#include "fault.h"
#include "folder.h"

#include <sys/wait.h>

#include "store/store.h"

static struct vigia_store *open_queuing(void)
{
	struct vigia_store_options options = queuing_options();
	return open_with(&options);
}

/* Ten events queued, and commits that fail: whatever happens they are stored once, in order. True: the n-th call was
 * reached. */
static bool queue_scenario(enum fault kind, int n, bool forever, bool *unknown)
{
	struct vigia_store *store = open_queuing();
	struct vigia_error err = {0};
	uint64_t last = 99;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(append(store, "queued", 100, &last, &err), VIGIA_OK);
		assert_int_equal(last, 0);
	}
	arm(kind, n, EIO, forever);
	int rc = vigia_store_sync(store, &last, &err);
	*unknown |= rc == VIGIA_EUNKNOWN;
	bool reached = atomic_load(&fault.hits) > 0;
	if (rc == VIGIA_OK) assert_int_equal(last, 10);
	if (rc < 0 && forever && kind != FAULT_LIE) {
		/* While commits fail, appends do, with the same error. */
		assert_int_equal(append(store, "refused", 100, NULL, &err), rc == VIGIA_EUNKNOWN ? VIGIA_EIO : rc);
	}
	disarm();
	for (int i = 0; i < 10; i++) assert_int_equal(append(store, "more", 50000, NULL, &err), VIGIA_OK);
	if (vigia_store_sync(store, &last, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(last, 20);
	assert_int_equal(count(store, "queued"), 10);
	assert_int_equal(count(store, "more"), 10);
	assert_int_equal(append(store, "at the end", 100, NULL, &err), VIGIA_OK);
	vigia_store_free(store);
	struct vigia_store_options options = quiet_options();
	store = open_with(&options);
	assert_int_equal(count(store, "at the end"), 1);
	assert_int_equal(latest(store), 21);
	vigia_store_free(store);
	folder_empty(folder);
	return reached;
}

static void D2_a_queue_whose_commit_fails(void **state)
{
	(void)state;
	static const struct {
		enum fault kind;
		bool forever, unknown;
	} cases[] = {{FAULT_WRITE, false, true}, {FAULT_WRITE, true, true}, {FAULT_SHORT, false, true},
	             {FAULT_SYNC, false, false}, {FAULT_SYNC, true, false}, {FAULT_LIE, false, true}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		bool unknown = false;
		int n = 1;
		while (queue_scenario(cases[i].kind, n, cases[i].forever, &unknown)) n++;
		assert_true(n > 1);
		assert_int_equal(unknown, cases[i].unknown);
	}
}

static void D2_appends_are_queued_again_once_a_commit_succeeded(void **state)
{
	(void)state;
	struct vigia_store *store = open_queuing();
	uint64_t last = 99;
	assert_int_equal(append(store, "before", 100, NULL, NULL), VIGIA_OK);
	arm(FAULT_SYNC, 1, EIO, false);
	assert_int_equal(vigia_store_sync(store, &last, NULL), VIGIA_EIO);
	disarm();
	assert_int_equal(vigia_store_sync(store, &last, NULL), VIGIA_OK);
	assert_int_equal(last, 1);
	assert_int_equal(append(store, "after", 100, NULL, NULL), VIGIA_OK);
	assert_int_equal(latest(store), 1);
	vigia_store_free(store);
}

static struct vigia_store *queuing;

static void queue_meanwhile(void)
{
	assert_int_equal(append(queuing, "meanwhile", 100, NULL, NULL), VIGIA_OK);
}

/* Appends that come while a commit fails stand behind those that it had taken. What the journal cannot have LMDB is to
 * take: there both writes fail. */
static void D2_what_is_queued_while_a_commit_fails(void **state)
{
	(void)state;
	queuing = open_queuing();
	/* The first commit writes before it takes what is queued. */
	uint64_t last = 0;
	assert_int_equal(append(queuing, "first", 100, NULL, NULL), VIGIA_OK);
	assert_int_equal(vigia_store_sync(queuing, &last, NULL), VIGIA_OK);
	for (int i = 0; i < 3; i++) assert_int_equal(append(queuing, "before", 100, NULL, NULL), VIGIA_OK);
	on_fault = queue_meanwhile;
	arm(FAULT_WRITE, 1, EIO, with_journal);
	assert_int_equal(vigia_store_sync(queuing, &last, NULL), VIGIA_EIO);
	assert_in_range(disarm(), 1, with_journal ? 3 : 1);
	assert_int_equal(queuing->backend->queue->taken.count, with_journal ? 4 : 3); /* LMDB had the one that came, too */
	assert_int_equal(append(queuing, "after", 100, NULL, NULL), VIGIA_OK);
	assert_int_equal(vigia_store_sync(queuing, &last, NULL), VIGIA_OK);
	assert_int_equal(last, 6);
	assert_int_equal(count(queuing, "before"), 3);
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_event event;
	struct vigia_read fifth = {.size = sizeof fifth, .from = {VIGIA_AT, 5}};
	assert_int_equal(vigia_store_read(queuing, &fifth, batch, &next, NULL), VIGIA_OK);
	assert_int_equal(vigia_batch_event(batch, 0, &event, NULL), VIGIA_OK);
	assert_int_equal(event.object_type.len, strlen("meanwhile"));
	assert_int_equal(vigia_batch_event(batch, 1, &event, NULL), VIGIA_OK);
	assert_int_equal(event.object_type.len, strlen("after"));
	vigia_batch_free(batch);
	vigia_store_free(queuing);
}

/* As another process: remove these events, or only save a checkpoint behind them. */
static void done_elsewhere(uint64_t upto, bool trims)
{
	int status;
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		struct vigia_store_options options = quiet_options();
		struct vigia_store *mine = open_with(&options);
		vigia_checkpoint_put(mine, "w", 0, NULL); /* a writer sees what no reader was told */
		int rc = trims ? vigia_store_trim(mine, upto, NULL, NULL) : vigia_checkpoint_put(mine, "w", upto, NULL);
		_exit(rc != VIGIA_OK && rc != VIGIA_EPOSITION);
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
}

/* Is a commit in doubt there? What other processes remove in the meantime must not hide it. */
static void D2_a_queue_in_doubt_is_not_stored_again_though_others_trim(void **state)
{
	(void)state;
	/* All of it goes, after a look at once; or the first half, when a look at once was not possible. */
	for (int broken = 0; broken < 2; broken++) {
		unsigned stored = 0;
		bool reached = true;
		for (int n = 1; reached; n++) {
			struct vigia_store *store = open_queuing();
			struct vigia_error err = {0};
			uint64_t last;
			for (int i = 0; i < 10; i++) assert_int_equal(append(store, "queued", 100, NULL, &err), VIGIA_OK);
			arm(FAULT_LIE, n, EIO, broken);
			int rc = vigia_store_sync(store, NULL, &err);
			reached = disarm() > 0;
			if (rc == VIGIA_EUNKNOWN) {
				done_elsewhere(broken ? 5 : 10, true);
				assert_int_equal(append(store, "more", 100, NULL, &err), VIGIA_OK);
				if (vigia_store_sync(store, &last, &err) < 0) fail_msg("%s", err.message);
				if (last != 11) fail_msg("%d, call %d: the last number is %d", broken, n, (int)last);
				stored += count(store, "queued") < 10;
			}
			vigia_store_free(store);
			folder_empty(folder);
		}
		assert_true(stored > 0);
	}
}

/* The collector does not take the queue, which would settle the doubt. It must not remove what the doubt is about
 * before. */
static void D2_a_queue_in_doubt_is_not_stored_again_though_the_collector_removes(void **state)
{
	(void)state;
	struct vigia_store_options options = queuing_options();
	options.gc_age_threshold_ns = 1;
	options.gc_age_threshold_given = true;
	unsigned removed = 0;
	bool reached = true;
	for (int n = 1; reached; n++) {
		struct vigia_store *store = open_with(&options);
		struct vigia_gc gc = {0};
		uint64_t last;
		for (int i = 0; i < 10; i++) assert_int_equal(append(store, "queued", 100, NULL, NULL), VIGIA_OK);
		arm(FAULT_LIE, n, EIO, true);
		int rc = vigia_store_sync(store, NULL, NULL);
		reached = disarm() > 0;
		if (rc == VIGIA_EUNKNOWN) {
			done_elsewhere(10, false);
			/* One run may note how old the events are, and the next one remove them. */
			for (int i = 0; i < 2; i++) {
				assert_int_equal(vigia_store_gc(store, &gc, NULL), VIGIA_OK);
				removed += gc.removed == 10;
			}
			assert_int_equal(append(store, "more", 100, NULL, NULL), VIGIA_OK);
			assert_int_equal(vigia_store_sync(store, &last, NULL), VIGIA_OK);
			if (last != 11) fail_msg("call %d: the last number is %d", n, (int)last);
		}
		vigia_store_free(store);
		folder_empty(folder);
	}
	assert_true(removed > 0);
}

static struct {
	int (*append)(struct vigia__backend *b, struct vigia__append *request, struct vigia_error *err);
	atomic_int count;
	_Atomic int64_t at_ns[4];
} calls;

static int append_without_memory(struct vigia__backend *b, struct vigia__append *request, struct vigia_error *err)
{
	int n = atomic_fetch_add(&calls.count, 1);
	bool fails = n < (int)COUNT_OF(calls.at_ns);
	if (fails) {
		atomic_store(&calls.at_ns[n], vigia__mono_ns());
		vigia__alloc_fail_at(1, 1);
	}
	int rc = calls.append(b, request, err);
	vigia__alloc_fail_at(0, 0);
	if (fails && rc != VIGIA_ENOMEM) abort();
	return rc;
}

static void D2_a_commit_that_cannot_begin_for_want_of_memory_is_tried_again_after_a_while(void **state)
{
	(void)state;
	struct vigia_store_options options = queuing_options();
	options.commit_interval_ns = 1000000;
	struct vigia_store *store = open_with(&options);
	calls.append = store->backend->append;
	store->backend->append = append_without_memory;
	assert_int_equal(append(store, "queued", 100, NULL, NULL), VIGIA_OK);
	while (latest(store) == 0) usleep(10000);
	assert_int_equal(atomic_load(&calls.count), COUNT_OF(calls.at_ns) + 1);
	for (size_t i = 1; i < COUNT_OF(calls.at_ns); i++) assert_true(calls.at_ns[i] - calls.at_ns[i - 1] >= 100000000);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_BOTH_FORMS(D2_a_queue_whose_commit_fails),
		IN_BOTH_FORMS(D2_appends_are_queued_again_once_a_commit_succeeded),
		IN_BOTH_FORMS(D2_what_is_queued_while_a_commit_fails),
		IN_BOTH_FORMS(D2_a_queue_in_doubt_is_not_stored_again_though_others_trim),
		IN_BOTH_FORMS(D2_a_queue_in_doubt_is_not_stored_again_though_the_collector_removes),
		cmocka_unit_test_setup_teardown(D2_a_commit_that_cannot_begin_for_want_of_memory_is_tried_again_after_a_while,
	                                    folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
