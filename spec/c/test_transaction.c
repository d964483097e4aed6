/*
 * test_transaction.c - transactions: what ends them, several at the same time, events in them, their size, want of
 * memory.
 */
#include "state.h"

#include <pthread.h>
#include <stdatomic.h>

#include "store/memory_private.h"

/* ---- several at once ---- */

static int add_up(void *ctx, const struct vigia_key *key, struct vigia_slice value)
{
	*(int64_t *)ctx += number_of(value);
	return VIGIA_OK;
}

static void what_was_read_and_changed_ends_a_transaction_X2(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_transaction *tx;
		struct vigia_error err = {0};
		struct vigia_slice value;
		struct vigia_key one = text_key("1"), two = text_key("2"), other = text_key("other");
		uint8_t room[9];
		put_number(store, "b", one, 10);
		put_number(store, "b", two, 20);
		ok(vigia_transaction_begin(store, &tx, &err), &err);

		/* Others may change what it did not read. */
		ok(vigia_transaction_get(tx, "b", &one, &value, &err), &err);
		put_number(store, "b", two, 21);
		put_number(store, "c", one, 5);
		ok(vigia_transaction_get(tx, "b", &two, &value, &err), &err);
		assert_int_equal(number_of(value), 21);
		ok(vigia_transaction_put(tx, "b", &other, number_value(room, 31), &err), &err);
		ok(vigia_transaction_commit(tx, &err), &err);
		assert_int_equal(get_number(store, "b", other), 31);

		/* A read after a change by another one tells. */
		vigia_transaction_reset(tx);
		ok(vigia_transaction_get(tx, "b", &one, &value, &err), &err);
		put_number(store, "b", one, 11);
		assert_int_equal(vigia_transaction_get(tx, "b", &two, &value, &err), VIGIA_ETRANSACTION);
		assert_int_equal(vigia_transaction_put(tx, "b", &two, number_value(room, 1), &err), VIGIA_ETRANSACTION);
		assert_int_equal(vigia_transaction_commit(tx, &err), VIGIA_ETRANSACTION);

		/* So does the commit, and nothing of it is there, events included. */
		vigia_transaction_reset(tx);
		ok(vigia_transaction_get(tx, "b", &one, &value, &err), &err);
		ok(vigia_transaction_put(tx, "b", &two, number_value(room, 99), &err), &err);
		struct vigia_new_event event = {{"CREATE", 6}, {"T", 1}, {"\xc0", 1}};
		ok(vigia_transaction_append(tx, &event, 1, NULL, &err), &err);
		put_number(store, "b", one, 12);
		assert_int_equal(vigia_transaction_commit(tx, &err), VIGIA_ETRANSACTION);
		assert_int_equal(get_number(store, "b", two), 21);
		uint64_t latest;
		ok(vigia_store_latest(store, &latest, &err), &err);
		assert_int_equal(latest, 0);

		/* A key that was not there, and is. */
		struct vigia_key missing = text_key("missing");
		vigia_transaction_reset(tx);
		assert_int_equal(vigia_transaction_get(tx, "b", &missing, &value, &err), VIGIA_NONE);
		ok(vigia_transaction_put(tx, "b", &two, number_value(room, 99), &err), &err);
		put_number(store, "b", missing, 1);
		assert_int_equal(vigia_transaction_commit(tx, &err), VIGIA_ETRANSACTION);

		/* A bucket that was dropped and made again. */
		vigia_transaction_reset(tx);
		ok(vigia_transaction_get(tx, "b", &one, &value, &err), &err);
		ok(vigia_transaction_put(tx, "x", &two, number_value(room, 99), &err), &err);
		ok(vigia_store_drop_bucket(store, "b", &err), &err);
		put_number(store, "b", one, 12);
		assert_int_equal(vigia_transaction_commit(tx, &err), VIGIA_ETRANSACTION);
		vigia_transaction_free(tx);
		vigia_store_free(store);
	}
}

/* A commit that is undone, as that of a group is in which another member fails, and after which each is tried alone. */
static struct {
	struct vigia_store *store;
	int (*transact)(struct vigia__backend *b, struct vigia__transact *transact, struct vigia_error *err);
	struct vigia__transact *tried;
} undone;

static int try_in_a_group(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__state_writer writer;
	ok(vigia__state_write_begin(kv, &writer), err);
	ok(vigia__state_put(&writer, SLICE("other"), SLICE("skey"), SLICE("\xc0")), err);
	ok(vigia__state_write_end(&writer), err);
	ok(undone.tried->apply(kv, undone.tried->arg, err), err);
	return VIGIA_EIO;
}

static int transact_after_a_group(struct vigia__backend *b, struct vigia__transact *transact, struct vigia_error *err)
{
	struct memory_kv *changes;
	undone.tried = transact;
	vigia__memory_enter(b);
	assert_int_equal(
		vigia__memory_state_change((struct memory_backend *)b, transact->map, try_in_a_group, NULL, &changes, err),
		VIGIA_EIO);
	vigia__memory_leave((struct memory_backend *)b);
	b->transact = undone.transact;
	put_number(undone.store, "b", text_key("read"), 2); /* it gets the version that the group had */
	return undone.transact(b, transact, err);
}

static void what_was_compared_in_a_commit_that_was_undone_does_not_count_X2(void **state)
{
	(void)state;
	struct vigia_store *store = undone.store = open_store(":memory:");
	struct vigia_key read = text_key("read"), written = text_key("written");
	struct vigia_transaction *tx;
	struct vigia_error err = {0};
	struct vigia_slice value;
	uint8_t room[9];
	put_number(store, "b", read, 1);
	ok(vigia_transaction_begin(store, &tx, &err), &err);
	ok(vigia_transaction_get(tx, "b", &read, &value, &err), &err);
	ok(vigia_transaction_put(tx, "c", &written, number_value(room, 1), &err), &err);
	undone.transact = store->backend->transact;
	store->backend->transact = transact_after_a_group;
	assert_int_equal(vigia_transaction_commit(tx, &err), VIGIA_ETRANSACTION);
	assert_int_equal(get_number(store, "c", written), -1);
	vigia_transaction_free(tx);
	vigia_store_free(store);
}

static void phantoms_end_a_transaction_X2(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_transaction *tx;
		struct vigia_error err = {0};
		uint8_t room[9];
		vigia_store_drop_bucket(store, "b", &err);
		for (int k = 0; k < 10; k += 2) put_number(store, "b", number_key(k), k);
		struct vigia_key low = number_key(2), high = number_key(6), own = text_key("own");
		/* The page ends behind its limit: what comes after was not read. */
		const struct {
			int64_t limit;
			bool reverse;
			int inserted;
			bool conflicts;
		} cases[] = {{0, false, 3, true},  {0, false, 1, false}, {0, false, 7, false}, {2, false, 3, true},
		             {2, false, 5, false}, {2, true, 5, true},   {2, true, 3, false},  {0, true, 5, true}};
		for (size_t c = 0; c < COUNT_OF(cases); c++) {
			struct vigia_range range = {
				.size = sizeof range, .from = &low, .to = &high, .limit = cases[c].limit, .reverse = cases[c].reverse};
			int64_t sum = 0;
			struct vigia_key inserted = number_key(cases[c].inserted);
			ok(vigia_transaction_begin(store, &tx, &err), &err);
			ok(vigia_transaction_range(tx, "b", &range, add_up, &sum, &err), &err);
			ok(vigia_transaction_put(tx, "c", &own, number_value(room, 1), &err), &err);
			put_number(store, "b", inserted, 1);
			int rc = vigia_transaction_commit(tx, &err);
			if (rc != (cases[c].conflicts ? VIGIA_ETRANSACTION : VIGIA_OK)) fail_msg("case %zu: %d", c, rc);
			vigia_transaction_reset(tx);
			ok(vigia_transaction_delete(tx, "b", &inserted, &err), &err);
			ok(vigia_transaction_commit(tx, &err), &err);
			vigia_transaction_free(tx);
		}
		vigia_store_free(store);
	}
}

enum { THREADS = 4, TRANSFERS = 150, ACCOUNTS = 5, START = 1000 };

/* Move 1 from an account to another, and append what was done. */
static int transfer(void *ctx, struct vigia_transaction *tx, struct vigia_error *err)
{
	unsigned *random = ctx;
	uint8_t room[9];
	struct vigia_slice value;
	*random = *random * 1103515245 + 12345;
	struct vigia_key from = number_key((*random >> 16) % ACCOUNTS), to = number_key((*random >> 20) % ACCOUNTS);
	int rc = vigia_transaction_get(tx, "accounts", &from, &value, err);
	if (rc != VIGIA_OK) return rc;
	rc = vigia_transaction_put(tx, "accounts", &from, number_value(room, number_of(value) - 1), err);
	if (rc == VIGIA_OK) rc = vigia_transaction_get(tx, "accounts", &to, &value, err);
	if (rc == VIGIA_OK) rc = vigia_transaction_put(tx, "accounts", &to, number_value(room, number_of(value) + 1), err);
	struct vigia_new_event event = {{"MOVED", 5}, {"Account", 7}, {"\xc0", 1}};
	return rc == VIGIA_OK ? vigia_transaction_append(tx, &event, 1, NULL, err) : rc;
}

struct teller {
	pthread_t thread;
	struct vigia_store *store;
	unsigned random;
	int done, conflicts;
};

static void *move_money(void *arg)
{
	struct teller *teller = arg;
	struct vigia_error err = {0};
	for (int i = 0; i < TRANSFERS; i++) {
		int rc = vigia_transaction_run(teller->store, transfer, &teller->random, &err);
		if (rc == VIGIA_OK) teller->done++;
		else if (rc == VIGIA_ETRANSACTION) teller->conflicts++;
		else return (void *)"failed";
	}
	return NULL;
}

static void no_update_is_lost_among_threads_X2(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_error err = {0};
		struct teller tellers[THREADS] = {0};
		uint64_t latest;
		int64_t sum = 0;
		int done = 0;
		vigia_store_drop_bucket(store, "accounts", &err);
		for (int a = 0; a < ACCOUNTS; a++) put_number(store, "accounts", number_key(a), START);
		for (int t = 0; t < THREADS; t++) {
			tellers[t].store = store;
			tellers[t].random = (unsigned)t + 1;
			assert_int_equal(pthread_create(&tellers[t].thread, NULL, move_money, &tellers[t]), 0);
		}
		for (int t = 0; t < THREADS; t++) {
			void *failed;
			pthread_join(tellers[t].thread, &failed);
			assert_null(failed);
			done += tellers[t].done;
			assert_int_equal(tellers[t].done + tellers[t].conflicts, TRANSFERS);
		}
		struct vigia_transaction *tx;
		ok(vigia_transaction_begin(store, &tx, &err), &err);
		ok(vigia_transaction_range(tx, "accounts", NULL, add_up, &sum, &err), &err);
		vigia_transaction_free(tx);
		assert_int_equal(sum, ACCOUNTS * START);
		ok(vigia_store_latest(store, &latest, &err), &err);
		assert_int_equal(latest, done);
		assert_true(done > THREADS * TRANSFERS / 2);
		vigia_store_free(store);
	}
}

/* ---- one that is slow goes first ---- */

struct racer {
	pthread_t thread;
	struct vigia_store *store;
	atomic_bool stop;
	long runs;
};

static int add_one(void *ctx, struct vigia_transaction *tx, struct vigia_error *err)
{
	uint8_t room[9];
	struct vigia_slice value;
	struct vigia_key key = number_key(1);
	int rc = vigia_transaction_get(tx, "race", &key, &value, err);
	if (rc < 0) return rc;
	return vigia_transaction_put(tx, "race", &key, number_value(room, (rc == VIGIA_OK ? number_of(value) : 0) + 1),
	                             err);
}

static void *race(void *arg)
{
	struct racer *racer = arg;
	while (!atomic_load(&racer->stop)) {
		int rc = vigia_transaction_run(racer->store, add_one, NULL, NULL);
		if (rc == VIGIA_OK) racer->runs++;
		else if (rc != VIGIA_ETRANSACTION) return (void *)"failed";
	}
	return NULL;
}

/* Takes a hundred times as long as those that it meets. */
static int add_one_slowly(void *ctx, struct vigia_transaction *tx, struct vigia_error *err)
{
	struct vigia_slice value;
	struct vigia_key key = number_key(1);
	int rc = vigia_transaction_get(tx, "race", &key, &value, err);
	++*(int *)ctx;
	usleep(10000);
	return rc < 0 ? rc : add_one(NULL, tx, err);
}

static void an_old_transaction_wins_after_some_tries_X2(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_error err = {0};
		struct racer racers[2] = {{.store = store}, {.store = store}};
		int slow = 0;
		vigia_store_drop_bucket(store, "race", &err);
		for (int r = 0; r < 2; r++) pthread_create(&racers[r].thread, NULL, race, &racers[r]);
		for (; slow < 5; slow++) {
			int tries = 0;
			ok(vigia_transaction_run(store, add_one_slowly, &tries, &err), &err);
			assert_in_range(tries, 1, 12);
		}
		long runs = 0;
		for (int r = 0; r < 2; r++) {
			void *failed;
			atomic_store(&racers[r].stop, true);
			pthread_join(racers[r].thread, &failed);
			assert_null(failed);
			runs += racers[r].runs;
		}
		assert_true(runs > 0);
		assert_int_equal(get_number(store, "race", number_key(1)), runs + slow);
		vigia_store_free(store);
	}
}

static void what_a_dead_one_left_ends(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(path);
	struct vigia__elder *elder = store->backend->elder;
	put_number(store, "race", number_key(1), 0);
	int64_t begin = vigia__mono_ns();
	atomic_store(&elder->buckets, UINT64_MAX);
	atomic_store(&elder->until_mono_ns, (uint64_t)begin + 50000000);
	put_number(store, "race", number_key(1), 1);
	assert_true(vigia__mono_ns() - begin >= 50000000);
	/* Other buckets do not wait, nor does anything for what is no time. */
	begin = vigia__mono_ns();
	atomic_store(&elder->until_mono_ns, (uint64_t)begin + 1900000000);
	atomic_store(&elder->buckets, 0);
	put_number(store, "race", number_key(1), 2);
	atomic_store(&elder->buckets, UINT64_MAX);
	atomic_store(&elder->until_mono_ns, UINT64_MAX);
	put_number(store, "race", number_key(1), 3);
	assert_true(vigia__mono_ns() - begin < 1900000000);
	/* It is the first who ends it. */
	uint64_t own = vigia__elder_begin(elder, 1, 1000000);
	assert_true(own != 0);
	assert_int_equal(vigia__elder_begin(elder, 1, 1000000), 0);
	assert_false(vigia__elder_waits(elder, 1, own));
	assert_true(vigia__elder_waits(elder, 1, 0));
	vigia__elder_end(elder, own + 1);
	assert_true(vigia__elder_waits(elder, 1, 0));
	vigia__elder_end(elder, own);
	assert_false(vigia__elder_waits(elder, 1, 0));
	vigia_store_free(store);
}

/* ---- events ---- */

static void events_commit_with_the_state_X5(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_transaction *tx;
		struct vigia_error err = {0};
		struct vigia_new_event two[2] = {{{"CREATE", 6}, {"T", 1}, {"\x01", 1}},
		                                 {{"CREATE", 6}, {"T", 1}, {"\x02", 1}}};
		struct vigia_append_options keyed = {.size = sizeof keyed, .key = {"order-1", 7}};
		struct vigia_append_options after = {.size = sizeof after, .if_last_given = true};
		uint64_t before, first, last;
		ok(vigia_store_latest(store, &before, &err), &err);
		ok(vigia_transaction_begin(store, &tx, &err), &err);
		ok(vigia_transaction_append(tx, two, 2, NULL, &err), &err);
		ok(vigia_transaction_append(tx, two, 1, &keyed, &err), &err);
		assert_int_equal(vigia_transaction_append(tx, two, 1, &keyed, &err), VIGIA_EINVAL);
		assert_int_equal(vigia_transaction_append(tx, two, 1, &after, &err), VIGIA_EINVAL);
		assert_int_equal(vigia_transaction_append(tx, two, 0, NULL, &err), VIGIA_EINVAL);
		ok(vigia_transaction_commit(tx, &err), &err);
		assert_int_equal(vigia_transaction_appends(tx), 2);
		assert_false(vigia_transaction_numbers(tx, 0, &first, &last));
		assert_int_equal(first, before + 1);
		assert_int_equal(last, before + 2);
		assert_false(vigia_transaction_numbers(tx, 1, &first, &last));
		assert_int_equal(first, before + 3);
		vigia_transaction_reset(tx);
		ok(vigia_transaction_append(tx, two, 2, &keyed, &err), &err);
		ok(vigia_transaction_append(tx, two, 1, NULL, &err), &err);
		ok(vigia_transaction_commit(tx, &err), &err);
		assert_true(vigia_transaction_numbers(tx, 0, &first, &last));
		assert_int_equal(first, before + 3);
		assert_false(vigia_transaction_numbers(tx, 1, &first, &last));
		assert_int_equal(first, before + 4);
		vigia_transaction_free(tx);
		vigia_store_free(store);
	}
}

static void the_size_is_bounded(void **state)
{
	(void)state;
	static char large[60000];
	struct vigia_store *store = open_store(":memory:");
	struct vigia_transaction *tx;
	struct vigia_error err = {0};
	int rc = VIGIA_OK, puts = 0;
	large[0] = (char)0xc5; /* bin 16 */
	large[1] = (char)((sizeof large - 3) >> 8);
	large[2] = (char)(sizeof large - 3);
	ok(vigia_transaction_begin(store, &tx, &err), &err);
	for (; rc == VIGIA_OK && puts < 100; puts++) {
		struct vigia_key key = number_key(puts);
		rc = vigia_transaction_put(tx, "b", &key, (struct vigia_slice){large, sizeof large}, &err);
	}
	assert_int_equal(rc, VIGIA_ETXSIZE);
	assert_in_range(puts, 16, 18);
	struct vigia_key same = number_key(0), no = number_key(-1);
	vigia_transaction_reset(tx);
	for (int i = 0; i < 100; i++)
		ok(vigia_transaction_put(tx, "b", &same, (struct vigia_slice){large, sizeof large}, &err), &err);
	for (int i = 0; i < 20000; i++) {
		struct vigia_slice value;
		assert_int_equal(vigia_transaction_get(tx, "b", &no, &value, &err), VIGIA_NONE);
	}
	vigia_transaction_free(tx);
	vigia_store_free(store);
}

static void one_without_memory_leaves_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		struct vigia_error err = {0};
		uint64_t before, latest;
		vigia_store_drop_bucket(store, "b", &err);
		put_number(store, "b", number_key(1), 1);
		ok(vigia_store_latest(store, &before, &err), &err);
		for (long n = 1;; n++) {
			struct vigia_transaction *tx = NULL;
			struct vigia_key one = number_key(1), two = number_key(2);
			struct vigia_new_event event = {{"CREATE", 6}, {"T", 1}, {"\x01", 1}};
			struct vigia_append_options keyed = {.size = sizeof keyed, .key = {"once", 4}};
			int64_t sum = 0;
			struct vigia_slice value;
			uint8_t room[9];
			vigia__alloc_fail_at(n, 0);
			int rc = vigia_transaction_begin(store, &tx, &err);
			if (rc == VIGIA_OK) rc = vigia_transaction_get(tx, "b", &one, &value, &err);
			if (rc == VIGIA_OK) rc = vigia_transaction_put(tx, "b", &one, number_value(room, 2), &err);
			if (rc == VIGIA_OK) rc = vigia_transaction_put(tx, "b", &two, number_value(room, 3), &err);
			if (rc == VIGIA_OK) rc = vigia_transaction_range(tx, "b", NULL, add_up, &sum, &err);
			if (rc == VIGIA_OK) rc = vigia_transaction_append(tx, &event, 1, &keyed, &err);
			if (rc == VIGIA_OK) rc = vigia_transaction_commit(tx, &err);
			vigia__alloc_fail_at(0, 0);
			vigia_transaction_free(tx);
			ok(vigia_store_latest(store, &latest, &err), &err);
			bool done = rc == VIGIA_OK;
			if (!done) assert_int_equal(rc, VIGIA_ENOMEM);
			assert_int_equal(latest, before + done);
			assert_int_equal(get_number(store, "b", number_key(1)), done ? 2 : 1);
			assert_int_equal(get_number(store, "b", number_key(2)), done ? 3 : -1);
			if (done) break;
		}
		vigia_store_free(store);
	}
}

/* Where the value cannot be read, "there is none" is what a careless function makes of it. */
static void one_whose_read_failed_commits_nothing_X1(void **state)
{
	(void)state;
	struct vigia_error err = {0};
	for (int i = 0; i < 2; i++) {
		struct vigia_store *store = open_store(kinds(i));
		vigia_store_drop_bucket(store, "b", &err);
		put_number(store, "b", number_key(1), 7);
		int rc = VIGIA_ENOMEM;
		for (long n = 1; rc != VIGIA_OK; n++) {
			struct vigia_transaction *tx;
			struct vigia_key one = number_key(1);
			struct vigia_slice value;
			uint8_t room[9];
			ok(vigia_transaction_begin(store, &tx, &err), &err);
			vigia__alloc_fail_at(n, 0);
			rc = vigia_transaction_get(tx, "b", &one, &value, &err);
			vigia__alloc_fail_at(0, 0);
			ok(vigia_transaction_put(tx, "b", &one, number_value(room, rc == VIGIA_OK ? 8 : 1), &err), &err);
			assert_int_equal(vigia_transaction_commit(tx, &err), rc);
			vigia_transaction_free(tx);
			assert_int_equal(get_number(store, "b", number_key(1)), rc == VIGIA_OK ? 8 : 7);
			assert_true(rc == VIGIA_OK || rc == VIGIA_ENOMEM);
			assert_true(rc == VIGIA_ENOMEM || n > 1);
		}
		vigia_store_free(store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_read_and_changed_ends_a_transaction_X2, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(what_was_compared_in_a_commit_that_was_undone_does_not_count_X2, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(phantoms_end_a_transaction_X2, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(no_update_is_lost_among_threads_X2, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(an_old_transaction_wins_after_some_tries_X2, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(what_a_dead_one_left_ends, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(events_commit_with_the_state_X5, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(the_size_is_bounded, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(one_without_memory_leaves_nothing, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(one_whose_read_failed_commits_nothing_X1, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
