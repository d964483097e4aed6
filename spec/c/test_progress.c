/*
 * test_progress.c - W10: what a commit takes along of the watchers' progress, and what it makes of it when others move
 * meanwhile.
 *
 * The product's own lmdb_commit.c is included, so that a handler can come between any two of its steps.
 */
#include "folder.h"

/* The names of two of its functions, which cmocka and the system have, too. */
#undef fail
#define fail  fail_ticket
#define write write_group
#include "core/error.h"
#include "drive/drive.h"
#include "store/lmdb_private.h"
#include "store/store.h"

/* ---- a handler between the steps of a commit ---- */

static struct {
	struct vigia_store *store;
	struct vigia__progress *progress;
	uint64_t handled;
} handler;

/* It queues an event for the one that it handled, and then says so. */
static void handle_one(void)
{
	struct vigia_new_event event = {{"CREATE", 6}, {"Out", 3}, {"\x01", 1}};
	if (handler.store == NULL) return;
	assert_int_equal(vigia_store_append(handler.store, &event, 1, NULL, NULL), VIGIA_OK);
	vigia__progress_move(&handler.store->backend->progress, handler.progress, ++handler.handled);
}

static int take_queue(struct vigia__queue *queue, struct vigia__append *out, vigia__queue_look_fn look, void *ctx)
{
	handle_one();
	int rc = vigia__queue_commit_begin(queue, out, look, ctx);
	handle_one();
	return rc;
}

/* A commit in a thread of its own that waits, with the writer's lock, until another thread is about to commit the
 * watchers' progress, takes it, and tells what became of it only when the other one has begun its second commit. Where
 * there is a journal it keeps the lock until it has told, and the other one's first commit comes behind that. */
static _Thread_local bool is_other;
static struct {
	struct vigia__progress_list *list;
	atomic_bool holds;
	atomic_int begun; /* commits, of the thread that it is beside */
	int rc;           /* its result */
} other;

static bool is_about_to_commit(void)
{
	return atomic_load(&other.list->moved) == NULL && atomic_load(&other.list->waits);
}

static bool has_begun_twice(void)
{
	return atomic_load(&other.begun) >= 2;
}

static bool holds_the_lock(void)
{
	return atomic_load(&other.holds);
}

static void wait_until(bool (*is_so)(void))
{
	for (int i = 0; i < 10000 && !is_so(); i++) usleep(1000);
}

static int take_progress(struct vigia__progress_list *list, struct vigia__progress_taken **taken)
{
	if (is_other) {
		atomic_store(&other.holds, true);
		wait_until(is_about_to_commit);
	} else atomic_fetch_add(&other.begun, 1);
	handle_one();
	int rc = vigia__progress_commit_begin(list, taken);
	handle_one();
	return rc;
}

/* The next commit fails. Then, before what it had is told so, this is called once. */
static struct {
	bool fails;
	void (*call)(void);
} meanwhile;

static int commit_or_fail(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err)
{
	if (!meanwhile.fails && !is_other) return vigia__lmdb_write_commit(b, txn, err);
	meanwhile.fails = false;
	vigia__lmdb_write_abort(b, txn);
	return vigia__error(err, VIGIA_EIO, "the disk is away");
}

static void end_progress(struct vigia__progress_list *list, struct vigia__progress_taken *taken, bool committed)
{
	void (*call)(void) = is_other ? NULL : meanwhile.call;
	if (call) {
		meanwhile.call = NULL;
		call();
	}
	if (is_other && !with_journal) wait_until(has_begun_twice);
	vigia__progress_commit_end(list, taken, committed);
}

#define vigia__queue_commit_begin    take_queue
#define vigia__progress_commit_begin take_progress
#define vigia__progress_commit_end   end_progress
#define vigia__lmdb_write_commit     commit_or_fail
#include "../../runtime/store/lmdb_commit.c"

#undef vigia__lmdb_write_commit
#undef vigia__progress_commit_end
#undef vigia__queue_commit_begin
#undef vigia__progress_commit_begin
#undef write
#undef fail
#define fail() _fail(__FILE__, __LINE__)

/* ---- the list ---- */

static struct vigia__progress_list moved;

static int setup(void **state)
{
	(void)state;
	moved = (struct vigia__progress_list){0};
	vigia__progress_init(&moved);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vigia__progress_deinit(&moved);
	return 0;
}

/* The numbers that a commit takes, and the ids' first letters, as a text. */
static struct vigia__progress_taken *take(const char *expected)
{
	struct vigia__progress_taken *taken;
	char text[256] = "";
	size_t len = 0;
	assert_int_equal(vigia__progress_commit_begin(&moved, &taken), 0);
	for (size_t i = 0; taken && i < taken->count; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%llu ", taken->items[i].progress->id,
		                        (unsigned long long)taken->items[i].done);
	assert_string_equal(text, expected);
	return taken;
}

static void W10_a_commit_takes_what_moved_in_the_order_in_which_it_did(void **state)
{
	(void)state;
	struct vigia__progress *a = vigia__progress_new("a", 0), *b = vigia__progress_new("b", 5),
						   *c = vigia__progress_new("c", 0);
	vigia__progress_commit_end(&moved, take(""), true);
	vigia__progress_move(&moved, b, 6);
	vigia__progress_move(&moved, a, 1);
	vigia__progress_move(&moved, b, 7); /* is there once */
	uint64_t in, out;
	vigia__progress_counts(&moved, &in, &out);
	assert_int_equal(in, 2);
	assert_int_equal(out, 0);
	struct vigia__progress_taken *taken = take("b7 a1 ");
	vigia__progress_counts(&moved, &in, &out);
	assert_int_equal(out, 2);
	assert_int_equal(vigia__progress_saved(&moved, b), 5);
	vigia__progress_commit_end(&moved, taken, true);
	assert_int_equal(vigia__progress_saved(&moved, a), 1);
	assert_int_equal(vigia__progress_saved(&moved, b), 7);
	assert_int_equal(vigia__progress_saved(&moved, c), 0);
	vigia__progress_move(&moved, b, 7); /* no news */
	vigia__progress_commit_end(&moved, take(""), true);
	vigia__progress_end(&moved, a);
	vigia__progress_end(&moved, b);
	vigia__progress_end(&moved, c);
}

static void W10_what_was_not_committed_travels_with_the_next_one(void **state)
{
	(void)state;
	struct vigia__progress *a = vigia__progress_new("a", 0), *b = vigia__progress_new("b", 0);
	vigia__progress_move(&moved, a, 3);
	vigia__progress_move(&moved, b, 4);
	struct vigia__progress_taken *taken = take("a3 b4 ");
	vigia__progress_commit_end(&moved, taken, false);
	assert_int_equal(vigia__progress_saved(&moved, a), 0);
	taken = take("a3 b4 ");
	vigia__progress_move(&moved, a, 9); /* while it is under way: one more commit */
	vigia__progress_commit_end(&moved, taken, true);
	assert_int_equal(vigia__progress_saved(&moved, a), 3);
	vigia__progress_commit_end(&moved, take("a9 "), true);
	assert_int_equal(vigia__progress_saved(&moved, a), 9);
	vigia__progress_end(&moved, a);
	vigia__progress_end(&moved, b);
}

static void W10_a_seek_is_not_undone_by_a_commit_under_way(void **state)
{
	(void)state;
	struct vigia__progress *a = vigia__progress_new("a", 0);
	vigia__progress_move(&moved, a, 9);
	struct vigia__progress_taken *taken = take("a9 ");
	vigia__progress_reset(&moved, a, 1, 1);
	vigia__progress_commit_end(&moved, taken, true);
	assert_int_equal(vigia__progress_saved(&moved, a), 1);
	vigia__progress_commit_end(&moved, take(""), true);
	vigia__progress_move(&moved, a, 2); /* what comes after the seek is saved */
	vigia__progress_commit_end(&moved, take("a2 "), true);
	assert_int_equal(vigia__progress_saved(&moved, a), 2);
	/* Two commits under way: the older one's number does not come back. */
	vigia__progress_move(&moved, a, 3);
	struct vigia__progress_taken *older = take("a3 ");
	vigia__progress_move(&moved, a, 4);
	taken = take("a4 ");
	vigia__progress_commit_end(&moved, taken, true);
	vigia__progress_commit_end(&moved, older, true);
	assert_int_equal(vigia__progress_saved(&moved, a), 4);
	/* What was done already when the seek came, and is not saved yet, goes along. */
	vigia__progress_reset(&moved, a, 8, 5);
	vigia__progress_commit_end(&moved, take("a8 "), true);
	vigia__progress_end(&moved, a);
}

static void W10_a_watcher_that_ended_is_left_out(void **state)
{
	(void)state;
	struct vigia__progress *a = vigia__progress_new("a", 0), *b = vigia__progress_new("b", 0);
	vigia__progress_move(&moved, a, 1);
	vigia__progress_move(&moved, b, 2);
	vigia__progress_end(&moved, a);
	struct vigia__progress_taken *taken = take("b2 ");
	vigia__progress_move(&moved, b, 3);
	vigia__progress_end(&moved, b); /* while a commit has it */
	vigia__progress_commit_end(&moved, taken, false);
	vigia__progress_commit_end(&moved, take(""), true);
}

static void W10_a_commit_takes_a_slice(void **state)
{
	(void)state;
	enum { COUNT = VIGIA_PROGRESS_SLICE + 2 };
	struct vigia__progress *all[COUNT], *late = vigia__progress_new("late", 0);
	for (int i = 0; i < COUNT; i++) {
		all[i] = vigia__progress_new("w", 0);
		vigia__progress_move(&moved, all[i], 1);
	}
	struct vigia__progress_taken *taken;
	assert_int_equal(vigia__progress_commit_begin(&moved, &taken), 0);
	assert_int_equal(taken->count, VIGIA_PROGRESS_SLICE);
	vigia__progress_move(&moved, late, 7);
	uint64_t in, out;
	vigia__progress_counts(&moved, &in, &out);
	assert_int_equal(in, COUNT + 1);
	assert_int_equal(out, VIGIA_PROGRESS_SLICE);
	vigia__progress_commit_end(&moved, taken, true);
	assert_int_equal(vigia__progress_saved(&moved, all[0]), 1);
	assert_int_equal(vigia__progress_saved(&moved, all[COUNT - 1]), 0);
	vigia__progress_commit_end(&moved, take("w1 w1 late7 "), true); /* first come, first served */
	assert_int_equal(vigia__progress_saved(&moved, all[COUNT - 1]), 1);
	vigia__progress_commit_end(&moved, take(""), true);
	for (int i = 0; i < COUNT; i++) vigia__progress_end(&moved, all[i]);
	vigia__progress_end(&moved, late);
}

/* ---- beside a commit ---- */

/* What a handler queued must not come later than its checkpoint: a kill behind the commit would lose it. */
static void D2_a_commit_holds_no_progress_without_what_was_queued_before(void **state)
{
	(void)state;
	struct vigia_store_options options = queuing_options();
	struct vigia_store *store = open_with(&options);
	handler.progress = vigia__progress_new("w", 0);
	handler.store = store;
	handler.handled = 0;
	for (unsigned i = 1; i <= 3; i++) {
		uint64_t saved = 0, stored;
		handle_one();
		assert_int_equal(vigia_checkpoint_put(store, "other", i, NULL), VIGIA_OK);
		assert_int_equal(vigia_checkpoint_get(store, "w", &saved, NULL), VIGIA_OK);
		assert_int_equal(vigia_store_latest(store, &stored, NULL), VIGIA_OK);
		assert_true(saved > 0);
		assert_in_range(saved, 1, stored);
	}
	handler.store = NULL;
	vigia__progress_end(&store->backend->progress, handler.progress);
	vigia_store_free(store);
}

/* ---- a watcher whose progress a commit has that fails ---- */

static struct vigia__manual_clock clock_by_hand;
static struct vigia_registry *registry;
static struct vigia_watcher *watcher;

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	return VIGIA_OK;
}

static void save_by_the_clock(void)
{
	vigia__manual_clock_advance(&clock_by_hand, 3600 * INT64_C(1000000000));
	assert_int_equal(vigia_registry_run(registry, NULL), VIGIA_OK);
}

static uint64_t checkpoint_of_watcher(struct vigia_store *store)
{
	uint64_t saved = 0;
	int rc = vigia_checkpoint_get(store, "w", &saved, NULL);
	assert_true(rc == VIGIA_OK || rc == VIGIA_ENOCHECKPOINT);
	return saved;
}

/* It has handled event 1, which nobody has saved. */
static struct vigia_store *with_a_watcher(void)
{
	struct vigia_store_options options = quiet_options();
	struct vigia_store *store = open_with(&options);
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
	struct vigia_handler handler_in_c = {.size = sizeof handler_in_c, .handle = handle};
	assert_int_equal(vigia_store_append(store, &event, 1, NULL, NULL), VIGIA_OK);
	registry = vigia_registry_new(store);
	vigia__manual_clock_init(&clock_by_hand, 1);
	vigia__registry_use_clock(registry, &clock_by_hand);
	assert_int_equal(vigia_registry_watch(registry, "w", &handler_in_c, NULL, &watcher, NULL), VIGIA_OK);
	assert_int_equal(vigia_registry_run(registry, NULL), VIGIA_OK);
	assert_int_equal(checkpoint_of_watcher(store), 0);
	return store;
}

/* Without a journal, whose lock a commit keeps until its members know: nothing comes in between. */
static void W10_the_clock_saves_what_a_commit_had_that_failed(void **state)
{
	(void)state;
	struct vigia_error err = {0};
	struct vigia_store *store = with_a_watcher();
	meanwhile.fails = true;
	meanwhile.call = save_by_the_clock;
	assert_error(vigia_checkpoint_put(store, "other", 1, &err), VIGIA_EIO, &err, "the disk is away");
	assert_null(meanwhile.call);
	assert_int_equal(checkpoint_of_watcher(store), 0);
	save_by_the_clock();
	assert_int_equal(checkpoint_of_watcher(store), 1);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

static void *commit_beside(void *store)
{
	is_other = true;
	other.rc = vigia_checkpoint_put(store, "other", 1, NULL);
	return NULL;
}

static int stop_watcher(void)
{
	return vigia_watcher_stop(watcher, 0, NULL);
}

static int save_in_time(void)
{
	save_by_the_clock();
	return VIGIA_OK;
}

/* While a commit of another thread has its progress, and fails. */
static void saves(int (*save)(void))
{
	pthread_t thread;
	struct vigia_store *store = with_a_watcher();
	other.list = &store->backend->progress;
	atomic_store(&other.holds, false);
	assert_int_equal(pthread_create(&thread, NULL, commit_beside, store), 0);
	wait_until(holds_the_lock);
	atomic_store(&other.begun, 0);
	assert_int_equal(save(), VIGIA_OK);
	assert_int_equal(has_begun_twice(), !with_journal);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(other.rc, VIGIA_EIO);
	assert_int_equal(checkpoint_of_watcher(store), 1);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

static void W10_a_stop_saves_what_a_commit_of_another_thread_has(void **state)
{
	(void)state;
	saves(stop_watcher);
}

static void W10_the_clock_saves_what_a_commit_of_another_thread_has(void **state)
{
	(void)state;
	saves(save_in_time);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(W10_a_commit_takes_what_moved_in_the_order_in_which_it_did, setup, teardown),
		cmocka_unit_test_setup_teardown(W10_what_was_not_committed_travels_with_the_next_one, setup, teardown),
		cmocka_unit_test_setup_teardown(W10_a_seek_is_not_undone_by_a_commit_under_way, setup, teardown),
		cmocka_unit_test_setup_teardown(W10_a_watcher_that_ended_is_left_out, setup, teardown),
		cmocka_unit_test_setup_teardown(W10_a_commit_takes_a_slice, setup, teardown),
		IN_BOTH_FORMS(D2_a_commit_holds_no_progress_without_what_was_queued_before),
		cmocka_unit_test_setup_teardown(W10_the_clock_saves_what_a_commit_had_that_failed, folder_setup_bare,
	                                    folder_teardown),
		IN_BOTH_FORMS(W10_a_stop_saves_what_a_commit_of_another_thread_has),
		cmocka_unit_test_setup_teardown(W10_the_clock_saves_what_a_commit_of_another_thread_has, folder_setup,
	                                    folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
