/*
 * test_wants.c - what is waited for: the table that the processes share, and vigia_checkpoint_wait() between threads.
 *
 * The stores save progress once an hour, so what is saved sooner was asked for. How often a wait reads the checkpoint
 * is counted: one that was woken reads it a few times, one that polls more often than once a second.
 */
#include "folder.h"

#include <pthread.h>

#include "core/table.h"
#include "drive/drive.h"
#include "events.h"
#include "store/store.h"

/* ---- the table ---- */

static struct vigia__wants table;

static int table_setup(void **state)
{
	(void)state;
	vigia__wants_clear(&table);
	return 0;
}

static void the_lowest_number_of_an_id_is_kept_until_it_is_reached(void **state)
{
	(void)state;
	uint64_t id = vigia__table_hash("a", 1), other = vigia__table_hash("b", 1);
	assert_int_equal(vigia__wants_lowest(&table, id), 0);
	assert_true(vigia__wants_add(&table, id, 7));
	assert_false(vigia__wants_add(&table, id, 7));
	assert_false(vigia__wants_add(&table, id, 9));
	assert_int_equal(vigia__wants_lowest(&table, id), 7);
	assert_true(vigia__wants_add(&table, id, 5));
	assert_int_equal(vigia__wants_lowest(&table, id), 5);
	assert_int_equal(vigia__wants_lowest(&table, other), 0);
	assert_int_equal(atomic_load(&table.changes), 2);
	assert_false(vigia__wants_reached(&table, id, 4));
	assert_false(vigia__wants_reached(&table, other, 9));
	assert_int_equal(vigia__wants_lowest(&table, id), 5);
	assert_true(vigia__wants_reached(&table, id, 6));
	assert_int_equal(vigia__wants_lowest(&table, id), 0);
	assert_false(vigia__wants_reached(&table, id, 6));
}

static void one_that_gives_up_removes_its_own_number_only(void **state)
{
	(void)state;
	uint64_t id = vigia__table_hash("a", 1);
	vigia__wants_add(&table, id, 5);
	assert_false(vigia__wants_remove(&table, id, 7));
	assert_int_equal(vigia__wants_lowest(&table, id), 5);
	assert_true(vigia__wants_remove(&table, id, 5));
	assert_int_equal(vigia__wants_lowest(&table, id), 0);
}

static void a_number_that_no_log_reaches_is_kept_as_the_highest(void **state)
{
	(void)state;
	uint64_t id = vigia__table_hash("a", 1);
	vigia__wants_add(&table, id, UINT64_MAX);
	assert_int_equal(vigia__wants_lowest(&table, id), (UINT64_C(1) << 44) - 1);
	assert_true(vigia__wants_remove(&table, id, UINT64_MAX));
}

/* More ids in one place than it holds: each finds room, and pushes out one that enters its number again. */
static void ids_of_a_full_place_push_each_other_out(void **state)
{
	(void)state;
	enum { IDS = VIGIA_WANTS_PLACE + 3 };
	uint64_t ids[IDS];
	for (uint64_t i = 0; i < IDS; i++) {
		ids[i] = (i + 1) << 44 | 3;
		assert_true(vigia__wants_add(&table, ids[i], 10 + i));
		assert_int_equal(vigia__wants_lowest(&table, ids[i]), 10 + i);
	}
	unsigned left = 0;
	for (uint64_t i = 0; i < IDS; i++) {
		uint64_t lowest = vigia__wants_lowest(&table, ids[i]);
		assert_true(lowest == 0 || lowest == 10 + i);
		left += lowest != 0;
	}
	assert_int_equal(left, VIGIA_WANTS_PLACE);
	for (uint64_t i = 0; i < IDS; i++) {
		vigia__wants_add(&table, ids[i], 10 + i);
		assert_int_equal(vigia__wants_lowest(&table, ids[i]), 10 + i);
	}
}

/* ---- waits ---- */

enum { SECOND = 1000000000, LONG = 60 };

static bool in_memory;

static struct vigia_store *open_store(void)
{
	struct vigia_store_options options = quiet_options();
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	options.checkpoint_interval_ns = INT64_C(3600) * SECOND;
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	if (vigia_store_open(in_memory ? ":memory:" : path, &options, &store, &err) < 0) fail_msg("%s", err.message);
	return store;
}

static atomic_int looks;
static int (*get_checkpoint)(struct vigia__backend *b, const char *id, uint64_t *seq_num, struct vigia_error *err);
static int get_counted(struct vigia__backend *b, const char *id, uint64_t *seq_num, struct vigia_error *err)
{
	atomic_fetch_add(&looks, 1);
	return get_checkpoint(b, id, seq_num, err);
}

static void count_calls(struct vigia_store *store)
{
	get_checkpoint = store->backend->checkpoint_get;
	store->backend->checkpoint_get = get_counted;
	atomic_store(&looks, 0);
}

/* A registry on a thread of its own. */
struct owner {
	struct vigia_store *store;
	pthread_t thread;
	struct vigia_registry *registry;
	struct vigia_watcher *watcher;
	enum vigia_checkpoint_mode checkpoint;
	atomic_bool ready, end;
	atomic_ullong handled;
	int64_t slow_ns;
	uint64_t failing; /* the event that fails */
};

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct owner *owner = ctx;
	(void)resume_mono_ns;
	if (owner->slow_ns) nanosleep(&(struct timespec){.tv_nsec = owner->slow_ns}, NULL);
	atomic_store(&owner->handled, event->seq_num);
	if (event->seq_num == owner->failing) return VIGIA_EHANDLER;
	if (owner->checkpoint == VIGIA_CHECKPOINT_MANUAL && event->seq_num % 2 == 0)
		return vigia_watcher_checkpoint(attempt->watcher, event->seq_num, err);
	return VIGIA_OK;
}

static void *own(void *arg)
{
	struct owner *owner = arg;
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle, .ctx = owner};
	struct vigia_watch_options options;
	struct vigia_error err = {0};
	vigia_watch_options_init(&options);
	options.checkpoint = owner->checkpoint;
	options.initial_backoff_ns = options.max_backoff_ns = INT64_C(3600) * SECOND;
	owner->registry = vigia_registry_new(owner->store);
	if (vigia_registry_watch(owner->registry, "owner", &handler, &options, &owner->watcher, &err) < 0)
		fail_msg("%s", err.message);
	atomic_store(&owner->ready, true);
	while (!atomic_load(&owner->end)) vigia_registry_step(owner->registry, -1, &err);
	return NULL;
}

static void pause_a_little(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void begin_owner(struct owner *owner)
{
	assert_int_equal(pthread_create(&owner->thread, NULL, own, owner), 0);
	while (!atomic_load(&owner->ready)) pause_a_little();
}

static void end_owner(struct owner *owner)
{
	atomic_store(&owner->end, true);
	vigia_registry_interrupt(owner->registry);
	pthread_join(owner->thread, NULL);
	vigia_registry_free(owner->registry);
}

struct waiter {
	struct vigia_store *store;
	pthread_t thread;
	const char *id;
	uint64_t seq_num, saved;
	int rc;
	struct vigia_error err;
	atomic_bool over;
};

static void *wait_in_thread(void *arg)
{
	struct waiter *w = arg;
	w->rc = vigia_checkpoint_wait(w->store, w->id, w->seq_num, INT64_C(1000000000) * LONG, &w->saved, &w->err);
	atomic_store(&w->over, true);
	return NULL;
}

static void begin_waiter(struct waiter *w)
{
	assert_int_equal(pthread_create(&w->thread, NULL, wait_in_thread, w), 0);
}

static void end_waiter(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	if (w->rc != VIGIA_OK) fail_msg("%s", w->err.message);
	assert_true(w->saved >= w->seq_num);
}

static uint64_t checkpoint(struct vigia_store *store, const char *id)
{
	uint64_t n = 0;
	vigia_checkpoint_get(store, id, &n, NULL);
	return n;
}

/* Its wait has entered what it wants, and sleeps or is about to. */
static void until_wanted(struct vigia_store *store, const char *id, uint64_t seq_num)
{
	while (vigia__wants_lowest(store->backend->wants, vigia__table_hash(id, strlen(id))) != seq_num) pause_a_little();
}

static void until_handled(struct owner *owner, uint64_t seq_num)
{
	while (atomic_load(&owner->handled) < seq_num) pause_a_little();
}

/* The owner has handled it, not saved it, and sleeps, in its LISTEN or before another attempt of `failing`. What looks
 * once a second finds the wait too: so one of five is enough that is quicker. */
static void owner_at_rest(uint64_t failing)
{
	struct owner owner = {.store = open_store(), .failing = failing};
	begin_owner(&owner);
	int64_t quickest = INT64_MAX;
	for (uint64_t n = 1; n <= 5; n++) {
		for (int i = 0; i < 2; i++) assert_int_equal(append(owner.store, "a", 1, NULL, NULL), VIGIA_OK);
		until_handled(&owner, 2 * n);
		if (n == 1) count_calls(owner.store);
		atomic_store(&looks, 0);
		int64_t begin = vigia__mono_ns();
		struct waiter waiter = {.store = owner.store, .id = "owner", .seq_num = 2 * n - 1};
		begin_waiter(&waiter);
		end_waiter(&waiter);
		int64_t took = vigia__mono_ns() - begin;
		assert_true(atomic_load(&looks) <= 4 + took / SECOND);
		if (took < quickest) quickest = took;
		if (failing) break; /* the next attempt is not before an hour */
	}
	if (!failing) assert_true(quickest < SECOND / 2);
	end_owner(&owner);
	vigia_store_free(owner.store);
}

static void X6_an_owner_at_rest_saves_for_one_that_begins_to_wait(void **state)
{
	(void)state;
	owner_at_rest(0);
}

static void X6_an_owner_that_waits_to_try_again_saves_too(void **state)
{
	(void)state;
	owner_at_rest(2);
}

/* All that wait for an id are woken, each when its own number is there. The owner saves once for each, not more. */
static void X6_the_owner_saves_when_it_gets_there(void **state)
{
	(void)state;
	enum { WAITERS = 3 };
	struct owner owner = {.store = open_store()};
	struct waiter waiters[WAITERS];
	begin_owner(&owner);
	uint64_t commits = 0;
	for (int i = 0; i < WAITERS; i++) {
		waiters[i] = (struct waiter){.store = owner.store, .id = "owner", .seq_num = 2 * (uint64_t)i + 2};
		begin_waiter(&waiters[i]);
	}
	until_wanted(owner.store, "owner", 2);
	assert_int_equal(append(owner.store, "a", 1, NULL, NULL), VIGIA_OK);
	until_handled(&owner, 1);
	assert_int_equal(checkpoint(owner.store, "owner"), 0); /* it saves when it gets there, and not before */
	for (uint64_t i = 0; i < WAITERS; i++) {
		commits = owner.store->backend->commits(owner.store->backend);
		assert_int_equal(append(owner.store, "a", 1, NULL, NULL), VIGIA_OK);
		end_waiter(&waiters[i]);
		assert_in_range(owner.store->backend->commits(owner.store->backend), commits + 1, commits + 6);
		for (uint64_t k = i + 1; k < WAITERS; k++) assert_false(atomic_load(&waiters[k].over));
		if (i + 1 < WAITERS) until_wanted(owner.store, "owner", 2 * i + 4);
		assert_int_equal(append(owner.store, "a", 1, NULL, NULL), VIGIA_OK);
		until_handled(&owner, 2 * i + 3);
	}
	end_owner(&owner);
	vigia_store_free(owner.store);
}

/* A batch that takes long: what is reached in its middle is saved then. */
static void X6_the_middle_of_a_batch_is_saved(void **state)
{
	(void)state;
	struct owner owner = {.store = open_store(), .slow_ns = 3000000};
	static struct vigia_new_event events[256];
	for (int i = 0; i < 256; i++) events[i] = (struct vigia_new_event){SLICE("CREATE"), SLICE("a"), SLICE("\x01")};
	struct waiter waiter = {.store = owner.store, .id = "owner", .seq_num = 40};
	begin_waiter(&waiter);
	until_wanted(owner.store, "owner", 40);
	assert_int_equal(vigia_store_append(owner.store, events, 256, NULL, NULL), VIGIA_OK);
	begin_owner(&owner);
	end_waiter(&waiter);
	assert_int_equal(waiter.saved, 40);
	end_owner(&owner);
	vigia_store_free(owner.store);
}

static void X6_manual_checkpoints_and_single_events_are_waited_for_too(void **state)
{
	(void)state;
	for (int mode = VIGIA_CHECKPOINT_EVENT; mode <= VIGIA_CHECKPOINT_MANUAL; mode++) {
		struct owner owner = {.store = open_store(), .checkpoint = mode};
		uint64_t before = latest(owner.store);
		struct waiter waiter = {.store = owner.store, .id = "owner", .seq_num = before + 2};
		begin_waiter(&waiter);
		until_wanted(owner.store, "owner", before + 2);
		begin_owner(&owner);
		for (int i = 0; i < 3; i++) assert_int_equal(append(owner.store, "a", 1, NULL, NULL), VIGIA_OK);
		end_waiter(&waiter);
		end_owner(&owner);
		vigia_store_free(owner.store);
	}
}

/* A checkpoint that is stored by a call wakes, also for an id that never runs. */
static void X6_a_stored_checkpoint_wakes(void **state)
{
	(void)state;
	struct vigia_store *store = open_store();
	struct waiter waiter = {.store = store, .id = "nobody", .seq_num = 5};
	begin_waiter(&waiter);
	until_wanted(store, "nobody", 5);
	assert_int_equal(vigia_checkpoint_put(store, "nobody", 4, NULL), VIGIA_OK);
	assert_int_equal(vigia__wants_lowest(store->backend->wants, vigia__table_hash("nobody", 6)), 5);
	assert_false(atomic_load(&waiter.over));
	assert_int_equal(vigia_checkpoint_put(store, "nobody", 6, NULL), VIGIA_OK);
	end_waiter(&waiter);
	assert_int_equal(waiter.saved, 6);
	vigia_store_free(store);
}

/* Somebody with a lower number gives up: the one behind its entry enters its own. */
static void X6_one_that_gives_up_takes_nobody_along(void **state)
{
	(void)state;
	struct vigia_store *store = open_store();
	struct vigia_error err = {0};
	struct waiter waiter = {.store = store, .id = "nobody", .seq_num = 5};
	uint64_t saved = 9;
	count_calls(store);
	vigia__wants_add(store->backend->wants, vigia__table_hash("nobody", 6), 3);
	begin_waiter(&waiter);
	while (atomic_load(&looks) < 2) pause_a_little();
	assert_error(vigia_checkpoint_wait(store, "nobody", 3, 50000000, &saved, &err), VIGIA_ETIMEOUT, &err,
	             "the checkpoint of watcher 'nobody' is 0 and did not reach 3 in time");
	assert_int_equal(saved, 0);
	until_wanted(store, "nobody", 5);
	assert_int_equal(vigia_checkpoint_put(store, "nobody", 5, NULL), VIGIA_OK);
	end_waiter(&waiter);
	assert_int_equal(vigia_checkpoint_wait(store, "nobody", 5, 0, NULL, &err), VIGIA_OK);
	assert_int_equal(vigia_checkpoint_wait(store, "other", 0, 0, NULL, &err), VIGIA_OK);
	vigia_store_free(store);
}

/* An entry that others pushed out is entered again within a second. */
static void X6_an_entry_that_is_lost_is_entered_again(void **state)
{
	(void)state;
	struct owner owner = {.store = open_store()};
	struct waiter waiter = {.store = owner.store, .id = "owner", .seq_num = 1};
	begin_waiter(&waiter);
	until_wanted(owner.store, "owner", 1);
	vigia__wants_clear(owner.store->backend->wants);
	begin_owner(&owner);
	assert_int_equal(append(owner.store, "a", 1, NULL, NULL), VIGIA_OK);
	end_waiter(&waiter);
	end_owner(&owner);
	vigia_store_free(owner.store);
}

static void X6_a_wait_of_a_closed_store_ends(void **state)
{
	(void)state;
	struct vigia_store *store = open_store();
	struct waiter waiter = {.store = store, .id = "nobody", .seq_num = 5};
	begin_waiter(&waiter);
	until_wanted(store, "nobody", 5);
	vigia_store_close(store);
	pthread_join(waiter.thread, NULL);
	assert_error(waiter.rc, VIGIA_ECLOSED, &waiter.err, "was closed");
	vigia_store_free(store);
}

/* ---- its own handler ---- */

struct selfish {
	struct vigia_store *store;
	int rc, other;
	struct vigia_error err;
};

static int wait_for_itself(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                           int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct selfish *selfish = ctx;
	(void)event, (void)attempt, (void)resume_mono_ns, (void)err;
	selfish->rc = vigia_checkpoint_wait(selfish->store, "selfish", 1, 2 * (int64_t)SECOND, NULL, &selfish->err);
	selfish->other = vigia_checkpoint_wait(selfish->store, "other", 1, 0, NULL, NULL);
	return VIGIA_OK;
}

static void X6_a_handler_cannot_wait_for_its_own_watcher(void **state)
{
	(void)state;
	struct selfish selfish = {.store = open_store()};
	struct vigia_handler handler = {.size = sizeof handler, .handle = wait_for_itself, .ctx = &selfish};
	struct vigia_registry *registry = vigia_registry_new(selfish.store);
	struct vigia_error err = {0};
	assert_int_equal(vigia_registry_watch(registry, "selfish", &handler, NULL, NULL, &err), VIGIA_OK);
	assert_int_equal(append(selfish.store, "a", 1, NULL, NULL), VIGIA_OK);
	while (selfish.rc == VIGIA_OK) vigia_registry_step(registry, SECOND, &err);
	assert_error(selfish.rc, VIGIA_ESTATE, &selfish.err, "watcher 'selfish' cannot wait for itself");
	assert_string_equal(selfish.err.watcher_id, "selfish");
	assert_int_equal(selfish.other, VIGIA_ETIMEOUT);
	/* Outside of it the same thread may. */
	assert_int_equal(vigia_checkpoint_wait(selfish.store, "selfish", 9, 0, NULL, &err), VIGIA_ETIMEOUT);
	vigia_registry_free(registry);
	assert_int_equal(vigia_checkpoint_wait(selfish.store, "selfish", 1, 0, NULL, &err), VIGIA_OK);
	vigia_store_free(selfish.store);
}

static void X6_an_id_is_checked(void **state)
{
	(void)state;
	struct vigia_store *store = open_store();
	struct vigia_error err = {0};
	assert_error(vigia_checkpoint_wait(store, "", 1, 0, NULL, &err), VIGIA_EINVAL, &err, "must not be empty");
	assert_error(vigia_checkpoint_wait(store, NULL, 1, 0, NULL, &err), VIGIA_EINVAL, &err, "must not be empty");
	vigia_store_free(store);
}

static int setup_file(void **state)
{
	in_memory = false;
	return folder_setup(state);
}

static int setup_memory(void **state)
{
	int rc = folder_setup(state);
	in_memory = true;
	return rc;
}

static int setup_without_waitv(void **state)
{
	vigia__wake_without_waitv();
	return setup_file(state);
}

int main(void)
{
#define BOTH(name)                                                      \
	{#name, name, setup_file, folder_teardown, NULL},                   \
	{                                                                   \
#name " (in memory)", name, setup_memory, folder_teardown, NULL \
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_lowest_number_of_an_id_is_kept_until_it_is_reached, table_setup),
		cmocka_unit_test_setup(one_that_gives_up_removes_its_own_number_only, table_setup),
		cmocka_unit_test_setup(a_number_that_no_log_reaches_is_kept_as_the_highest, table_setup),
		cmocka_unit_test_setup(ids_of_a_full_place_push_each_other_out, table_setup),
		BOTH(X6_an_owner_at_rest_saves_for_one_that_begins_to_wait),
		BOTH(X6_an_owner_that_waits_to_try_again_saves_too),
		BOTH(X6_the_owner_saves_when_it_gets_there),
		BOTH(X6_the_middle_of_a_batch_is_saved),
		BOTH(X6_manual_checkpoints_and_single_events_are_waited_for_too),
		BOTH(X6_a_stored_checkpoint_wakes),
		BOTH(X6_one_that_gives_up_takes_nobody_along),
		BOTH(X6_an_entry_that_is_lost_is_entered_again),
		BOTH(X6_a_wait_of_a_closed_store_ends),
		BOTH(X6_a_handler_cannot_wait_for_its_own_watcher),
		BOTH(X6_an_id_is_checked),
		/* From here on it stays without. */
		{"X6_an_owner_at_rest_saves (without futex_waitv)", X6_an_owner_at_rest_saves_for_one_that_begins_to_wait,
	     setup_without_waitv, folder_teardown, NULL},
		{"X6_the_owner_saves_when_it_gets_there (without futex_waitv)", X6_the_owner_saves_when_it_gets_there,
	     setup_without_waitv, folder_teardown, NULL},
	};
	return cmocka_run_group_tests_name("wants", tests, NULL, NULL);
}
