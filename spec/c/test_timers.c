/*
 * test_timers.c - timers: what is due, in order and once; keys; lists; damage; the thread that stores them. In memory
 * and in a file, beside a model, by a clock that is moved by hand. test_timer_processes.c has several processes.
 */
#include "timers.h"

#include <lmdb.h>

#include "drive/clock.h"
#include "drive/store_clock.h"
#include "store/store_timers.h"
#include "store/timers.h"
#include "store/verify.h"

#define HAND (INT64_C(4000000000) * 1000 * MS) /* nothing is due there by the system's clock */

/* ---- a clock for a file, too: tests may do what applications may not ---- */

static _Atomic int64_t hand_ns;

static int64_t hand(void *ctx)
{
	return atomic_load((_Atomic int64_t *)ctx);
}

static struct vigia_store *go_by_hand(struct vigia_store *store)
{
	struct vigia_error err = {0};
	vigia__timers_drop(store->backend); /* with its thread */
	store->backend->wall = hand;
	store->backend->wall_ctx = &hand_ns;
	ok(vigia__timers_add(store->backend, &err), &err);
	assert_false(store->backend->timers.runs);
	return store;
}

static struct vigia_store *open_by_hand(const char *where)
{
	return go_by_hand(open_store(where));
}

static void move_to(struct vigia_store *store, int64_t at_ns)
{
	struct vigia_error err = {0};
	atomic_store(&hand_ns, at_ns);
	ok(vigia__store_run_timers(store, &err), &err);
}

/* ---- beside a model ---- */

enum { TIMERS = 64, STEPS = 1500 };

struct model {
	struct {
		uint64_t id; /* 0: free */
		int64_t at_ns, number;
		int key; /* -1: none */
	} timers[TIMERS];
	int64_t keys[8]; /* the number of the event stored under it; 0: none */
	int64_t last_at_ns;
	uint64_t latest;
};

/* The next one that is due, as the store must take it. -1: none. */
static int next_due(const struct model *model, int64_t now)
{
	int best = -1;
	for (int i = 0; i < TIMERS; i++) {
		if (model->timers[i].id == 0 || model->timers[i].at_ns > now) continue;
		if (best < 0 || model->timers[i].at_ns < model->timers[best].at_ns ||
		    (model->timers[i].at_ns == model->timers[best].at_ns && model->timers[i].id < model->timers[best].id))
			best = i;
	}
	return best;
}

static void expect_due(struct vigia_store *store, struct model *model, int64_t now)
{
	for (int i; (i = next_due(model, now)) >= 0; model->timers[i].id = 0) {
		int key = model->timers[i].key;
		int64_t number, at_ns;
		if (key >= 0 && model->keys[key] > 0) continue;
		read_one(store, ++model->latest, &number, &at_ns);
		assert_true(number == model->timers[i].number);
		assert_true(at_ns >= model->timers[i].at_ns && at_ns >= model->last_at_ns && at_ns >= now);
		model->last_at_ns = at_ns;
		if (key >= 0) model->keys[key] = (int64_t)model->latest;
	}
	assert_int_equal(latest_of(store), model->latest);
}

static void expect_list(struct vigia_store *store, const struct model *model)
{
	struct listed listed = {0};
	struct vigia_error err = {0};
	size_t count = 0;
	for (int i = 0; i < TIMERS; i++) count += model->timers[i].id > 0;
	assert_int_equal(count_timers(store), count);
	ok(vigia_timers(store, NULL, add_listed, &listed, &err), &err);
	struct model rest = *model;
	for (size_t n = 0; n < count; n++) {
		int i = next_due(&rest, INT64_MAX);
		assert_int_equal(rest.timers[i].id, listed.ids[n]);
		rest.timers[i].id = 0;
	}
}

static void append_keyed(struct vigia_store *store, struct model *model, int key, int64_t number)
{
	char name[8];
	uint8_t room[9];
	snprintf(name, sizeof name, "k%d", key);
	struct vigia_new_event event = {SLICE("CREATE"), SLICE("Job"), number_value(room, number)};
	struct vigia_append_options options = {.size = sizeof options, .key = slice_of(name)};
	struct vigia_error err = {0};
	uint64_t first;
	bool existed;
	ok(vigia_store_append_with(store, &event, 1, &options, &first, &existed, &err), &err);
	assert_int_equal(existed, model->keys[key] > 0);
	if (existed) assert_int_equal(first, model->keys[key]);
	else model->keys[key] = (int64_t)(model->latest = first);
}

static void schedule_any(struct vigia_store *store, struct model *model, struct rng *rng, int64_t number)
{
	char name[8];
	int64_t now = atomic_load(&hand_ns), at_ns = now + (int64_t)rng_below(rng, 40) * MS;
	int key = rng_below(rng, 3) == 0 ? (int)rng_below(rng, COUNT_OF(model->keys)) : -1, i = 0, pending = -1;
	bool existed;
	uint64_t seq_num;
	while (i < TIMERS && model->timers[i].id > 0) i++;
	if (i == TIMERS) return;
	for (int n = 0; n < TIMERS && key >= 0; n++)
		if (model->timers[n].id > 0 && model->timers[n].key == key) pending = n;
	snprintf(name, sizeof name, "k%d", key);
	uint64_t id = schedule(store, at_ns, number, key >= 0 ? name : NULL, &existed, &seq_num);
	bool stored = key >= 0 && model->keys[key] > 0;
	assert_int_equal(existed, stored || pending >= 0);
	if (stored) {
		assert_int_equal(id, 0);
		assert_int_equal(seq_num, model->keys[key]);
	} else if (pending >= 0) {
		assert_int_equal(id, model->timers[pending].id);
	} else {
		model->timers[i].id = id;
		model->timers[i].at_ns = at_ns;
		model->timers[i].number = number;
		model->timers[i].key = key;
	}
	expect_due(store, model, now);
}

static void unschedule_any(struct vigia_store *store, struct model *model, struct rng *rng)
{
	struct vigia_error err = {0};
	int i = (int)rng_below(rng, TIMERS);
	uint64_t id = model->timers[i].id;
	int rc = vigia_unschedule(store, id > 0 ? id : 1000000, &err);
	assert_int_equal(rc, id > 0 ? VIGIA_OK : VIGIA_NONE);
	if (id > 0) assert_int_equal(vigia_unschedule(store, id, &err), VIGIA_NONE);
	model->timers[i].id = 0;
}

static void what_is_due_is_stored_in_order_and_once_as_a_model_says_K1(void **state)
{
	(void)state;
	struct rng rng = rng_seeded();
	for (int kind = 0; kind < 2; kind++) {
		atomic_store(&hand_ns, HAND);
		struct vigia_store *store = open_by_hand(kinds(kind));
		struct model model = {0};
		for (int step = 1; step <= STEPS; step++) {
			switch (rng_below(&rng, 10)) {
			case 0:
				if (kind == 1 && rng_below(&rng, 10) == 0) {
					vigia_store_free(store);
					store = open_by_hand(path);
				}
				break;
			case 1:
				unschedule_any(store, &model, &rng);
				break;
			case 2:
				append_keyed(store, &model, (int)rng_below(&rng, COUNT_OF(model.keys)), step);
				break;
			case 3:
			case 4: {
				/* Now and then the clock goes back. */
				int64_t by = rng_below(&rng, 8) == 0 ? -(int64_t)rng_below(&rng, 20) : (int64_t)rng_below(&rng, 30);
				move_to(store, atomic_load(&hand_ns) + by * MS);
				expect_due(store, &model, atomic_load(&hand_ns));
				break;
			}
			default:
				schedule_any(store, &model, &rng, step);
			}
			if (step % 50 == 0) expect_list(store, &model);
			if (step % 400 == 0) { /* removing the events forgets their keys */
				struct vigia_error err = {0};
				ok(vigia_store_trim(store, model.latest, NULL, &err), &err);
				memset(model.keys, 0, sizeof model.keys);
			}
		}
		move_to(store, INT64_MAX - 1);
		struct model all = model;
		expect_due(store, &all, INT64_MAX - 1);
		assert_int_equal(count_timers(store), 0);
		vigia_store_free(store);
	}
}

static void many_that_are_due_at_once_are_all_stored_K1(void **state)
{
	(void)state;
	enum { MANY = 640 }; /* more than one commit takes, and more than a page of the list */
	for (int kind = 0; kind < 2; kind++) {
		atomic_store(&hand_ns, HAND + 5 * MS);
		struct vigia_store *store = open_by_hand(kinds(kind));
		struct listed listed = {0};
		struct vigia_error err = {0};
		for (int i = 0; i < MANY; i++) schedule(store, HAND + (6 + i % 7) * MS, i, NULL, NULL, NULL);
		struct vigia_timer_query query = {
			.size = sizeof query, .from_at_ns = HAND + 7 * MS, .to_at_ns = HAND + 11 * MS, .to_given = true};
		ok(vigia_timers(store, &query, add_listed, &listed, &err), &err);
		assert_int_equal(listed.count,
		                 (MANY + 5) / 7 + (MANY + 4) / 7 + (MANY + 3) / 7 + (MANY + 2) / 7 + (MANY + 1) / 7);
		query.limit = 10;
		listed.count = 0;
		ok(vigia_timers(store, &query, add_listed, &listed, &err), &err);
		assert_int_equal(listed.count, 10);
		query = (struct vigia_timer_query){.size = sizeof query, .operation = SLICE("CREATE")};
		listed.count = 0;
		ok(vigia_timers(store, &query, add_listed, &listed, &err), &err);
		assert_int_equal(listed.count, 0);
		query =
			(struct vigia_timer_query){.size = sizeof query, .operation = SLICE("REMIND"), .object_type = SLICE("Job")};
		ok(vigia_timers(store, &query, add_listed, &listed, &err), &err);
		assert_int_equal(listed.count, MANY);
		move_to(store, HAND + 20 * MS);
		assert_int_equal(latest_of(store), MANY);
		int64_t before = -1, number, at_ns;
		for (uint64_t n = 1; n <= MANY; n++) {
			read_one(store, n, &number, &at_ns);
			int64_t place = number % 7 * MANY + number;
			assert_true(place > before);
			before = place;
		}
		vigia_store_free(store);
	}
}

/* The time of each look at the clock; behind the last one it stays. */
struct clock_looks {
	int64_t at_ns[4];
	unsigned looks;
};

static int64_t next_look(void *ctx)
{
	struct clock_looks *clock = ctx;
	return clock->at_ns[clock->looks < COUNT_OF(clock->at_ns) - 1 ? clock->looks++ : clock->looks];
}

static void an_event_is_never_older_than_its_timer_K1(void **state)
{
	(void)state;
	const int64_t due = HAND + 20 * MS, before = HAND + 10 * MS;
	for (int kind = 0; kind < 2; kind++) {
		atomic_store(&hand_ns, HAND);
		struct vigia_store *store = open_by_hand(kinds(kind));
		/* The clock is set back where the event gets its time: before what is due is looked for in a file, after it in
		 * memory. */
		struct clock_looks clock = {.at_ns = {due, kind == 0 ? due : before, due, before}};
		struct vigia_error err = {0};
		int64_t number, at_ns;
		schedule(store, due, 1, NULL, NULL, NULL);
		store->backend->wall = next_look;
		store->backend->wall_ctx = &clock;
		ok(vigia__store_run_timers(store, &err), &err);
		read_one(store, 1, &number, &at_ns);
		assert_true(at_ns >= due);
		vigia_store_free(store);
	}
}

static void large_events_are_stored_in_several_commits_K1(void **state)
{
	(void)state;
	enum { LARGE = 100 * 1024, MANY = 9 };
	static uint8_t bytes[LARGE + 5] = {0xc6, 0, 1, 0x90, 0}; /* bin, 102400 bytes */
	atomic_store(&hand_ns, HAND + 5 * MS);
	struct vigia_store *store = open_by_hand(path);
	struct vigia_error err = {0};
	struct vigia_new_event event = {SLICE("REMIND"), SLICE("Job"), {(const char *)bytes, sizeof bytes}};
	for (int i = 0; i < MANY; i++) ok(vigia_schedule(store, HAND + 6 * MS, &event, NULL, NULL, NULL, NULL, &err), &err);
	/* A limit that was lowered since does not keep them. */
	struct vigia_store_options changes;
	vigia_store_options_init(&changes);
	changes.max_event_size_bytes = 1024;
	changes.max_event_size_given = true;
	ok(vigia_store_configure(store, &changes, &err), &err);
	assert_int_equal(vigia_schedule(store, HAND + 6 * MS, &event, NULL, NULL, NULL, NULL, &err), VIGIA_ETOOBIG);
	move_to(store, HAND + 7 * MS);
	assert_int_equal(latest_of(store), MANY);
	assert_int_equal(count_timers(store), 0);
	vigia_store_free(store);
}

static void what_cannot_be_scheduled_is_refused_K1(void **state)
{
	(void)state;
	struct vigia_store *store = open_by_hand(path);
	struct vigia_error err = {0};
	struct vigia_new_event event = {SLICE("REMIND"), SLICE("Job"), SLICE("\xc0")},
						   bad = {SLICE(""), SLICE("Job"), SLICE("\xc0")};
	struct vigia_schedule_options options = {.size = sizeof options, .key = {"", 0}};
	assert_error(vigia_schedule(store, -1, &event, NULL, NULL, NULL, NULL, &err), VIGIA_EINVAL, &err, "1970");
	assert_error(vigia_schedule(store, 0, &bad, NULL, NULL, NULL, NULL, &err), VIGIA_EINVAL, &err, "operation");
	assert_error(vigia_schedule(store, 0, &event, &options, NULL, NULL, NULL, &err), VIGIA_EINVAL, &err, "key");
	options.size = 0;
	assert_int_equal(vigia_schedule(store, 0, &event, &options, NULL, NULL, NULL, &err), VIGIA_EOPTION);
	assert_int_equal(count_timers(store), 0);
	vigia_store_free(store);
	struct vigia_store_options readonly = quiet_options();
	readonly.readonly = true;
	ok(vigia_store_open(path, &readonly, &store, &err), &err);
	assert_int_equal(vigia_schedule(store, 0, &event, NULL, NULL, NULL, NULL, &err), VIGIA_EREADONLY);
	assert_int_equal(vigia_unschedule(store, 1, &err), VIGIA_EREADONLY);
	assert_int_equal(count_timers(store), 0);
	vigia_store_free(store);
}

/* ---- a clock that is moved by hand ---- */

static void a_store_in_memory_goes_by_a_manual_clock_K1(void **state)
{
	(void)state;
	struct vigia__manual_clock clock;
	struct vigia__store_clock joined = {0};
	struct vigia_store *store = open_store(":memory:");
	struct vigia_error err = {0};
	int64_t number, at_ns;
	vigia__manual_clock_init(&clock, 1);
	vigia__manual_clock_set_wall(&clock, 1000 * MS);
	ok(vigia__store_clock_join(&joined, &clock, store, &err), &err);
	assert_error(vigia__store_clock_join(&joined, &clock, store, &err), VIGIA_ESTATE, &err, "already");
	assert_int_equal(vigia__store_wall_ns(store), 1000 * MS);
	schedule(store, 1500 * MS, 1, NULL, NULL, NULL);
	schedule(store, 1000 * MS, 2, NULL, NULL, NULL); /* due: before schedule returns */
	assert_int_equal(latest_of(store), 1);
	vigia__manual_clock_advance(&clock, 499 * MS);
	assert_int_equal(latest_of(store), 1);
	vigia__manual_clock_advance(&clock, MS);
	assert_int_equal(latest_of(store), 2);
	read_one(store, 2, &number, &at_ns);
	assert_int_equal(number, 1);
	assert_int_equal(at_ns, 1500 * MS);
	/* A clock that is set forward makes due what it passes; one that is set back, nothing. */
	schedule(store, 9000 * MS, 3, NULL, NULL, NULL);
	vigia__manual_clock_set_wall(&clock, 2 * MS);
	vigia__manual_clock_advance(&clock, 8000 * MS);
	assert_int_equal(latest_of(store), 2);
	vigia__manual_clock_set_wall(&clock, 9001 * MS);
	assert_int_equal(latest_of(store), 3);
	assert_false(store->backend->timers.runs);
	vigia__store_clock_leave(&joined);
	vigia__store_clock_leave(&joined);
	vigia_store_free(store);
	store = open_store(path);
	assert_error(vigia__store_clock_join(&joined, &clock, store, &err), VIGIA_EUNSUPPORTED, &err, "file");
	vigia_store_free(store);
}

/* ---- the thread ---- */

static void a_thread_stores_what_is_due_and_an_earlier_one_wakes_it_K1(void **state)
{
	(void)state;
	for (int kind = 0; kind < 2; kind++) {
		struct vigia_store *store = open_store(kinds(kind));
		assert_false(store->backend->timers.runs);
		int64_t now = real_ns(), number, at_ns;
		schedule(store, now + 3600000 * MS, 1, NULL, NULL, NULL);
		nanosleep(&(struct timespec){.tv_nsec = 100 * MS}, NULL); /* so that the thread sleeps */
		now = real_ns();
		schedule(store, now + 30 * MS, 2, NULL, NULL, NULL);
		assert_true(store->backend->timers.runs);
		wait_for(store, 1);
		read_one(store, 1, &number, &at_ns);
		assert_int_equal(number, 2);
		assert_true(at_ns >= now + 30 * MS);
		assert_int_equal(count_timers(store), 1);
		vigia_store_free(store);
	}
	/* What became due while no handle was open comes with the next one. */
	struct vigia_store *store = open_store(path);
	assert_true(store->backend->timers.runs);
	schedule(store, real_ns() + 20 * MS, 3, NULL, NULL, NULL);
	vigia_store_free(store);
	nanosleep(&(struct timespec){.tv_nsec = 30 * MS}, NULL);
	store = open_store(path);
	wait_for(store, 2);
	assert_int_equal(count_timers(store), 1);
	vigia_store_free(store);
}

static void it_sleeps_while_nothing_is_due_K1(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(path);
	schedule(store, real_ns() + 3600000 * MS, 1, NULL, NULL, NULL);
	nanosleep(&(struct timespec){.tv_nsec = 50 * MS}, NULL);
	clockid_t clock;
	struct timespec before, after;
	assert_int_equal(pthread_getcpuclockid(store->backend->timers.thread, &clock), 0);
	int tries = 0;
	do { /* on a busy machine it may go to sleep late */
		assert_true(tries++ < 20);
		clock_gettime(clock, &before);
		nanosleep(&(struct timespec){.tv_nsec = 300 * MS}, NULL);
		clock_gettime(clock, &after);
	} while (before.tv_sec != after.tv_sec || before.tv_nsec != after.tv_nsec);
	vigia_store_free(store);
}

/* ---- damage, copies, earlier versions ---- */

struct findings {
	int count;
	char text[700];
};

static void find(void *ctx, uint64_t seq_num, const char *text)
{
	struct findings *findings = ctx;
	(void)seq_num;
	findings->count++;
	snprintf(findings->text, sizeof findings->text, "%s", text);
}

static void pass(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last)
{
	(void)ctx, (void)seq_num, (void)first, (void)last;
}

static void pass_beside(void *ctx)
{
	(void)ctx;
}

static uint64_t verify(const char *where, struct findings *findings)
{
	struct vigia_store_options options = quiet_options();
	struct vigia_error err = {0};
	struct vigia_store *store;
	struct vigia__verify look = {.ctx = findings, .found = find, .progress = pass, .beside = pass_beside};
	options.readonly = true;
	ok(vigia_store_open(where, &options, &store, &err), &err);
	*findings = (struct findings){0};
	ok(vigia__store_verify(store, &look, &err), &err);
	vigia_store_free(store);
	return look.timers;
}

static MDB_env *open_raw(MDB_txn **txn, MDB_dbi *dbi)
{
	MDB_env *env;
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 32), 0);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, txn), 0);
	assert_int_equal(mdb_dbi_open(*txn, "vigia.timers", 0, dbi), 0);
	return env;
}

static void close_raw(MDB_env *env, MDB_txn *txn)
{
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

/* Flip a bit of the last byte of the first record of this kind, or remove it. */
static void damage(char kind, bool removes)
{
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_cursor *cursor;
	MDB_val key = {1, &kind}, value;
	MDB_env *env = open_raw(&txn, &dbi);
	assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
	assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE), 0);
	assert_int_equal(*(const char *)key.mv_data, kind);
	if (removes) assert_int_equal(mdb_cursor_del(cursor, 0), 0);
	else {
		uint8_t copy[512];
		memcpy(copy, value.mv_data, value.mv_size);
		copy[value.mv_size - 1] ^= 1;
		MDB_val changed = {value.mv_size, copy};
		assert_int_equal(mdb_cursor_put(cursor, &key, &changed, MDB_CURRENT), 0);
	}
	mdb_cursor_close(cursor);
	close_raw(env, txn);
}

static void verify_finds_what_is_damaged_and_the_rest_goes_on_K1_E8(void **state)
{
	(void)state;
	struct findings findings;
	struct vigia_error err = {0};
	struct listed listed = {0};
	atomic_store(&hand_ns, HAND + 5 * MS);
	struct vigia_store *store = open_by_hand(path);
	uint64_t first = schedule(store, HAND + 10 * MS, 1, "a", NULL, NULL);
	schedule(store, HAND + 20 * MS, 2, "b", NULL, NULL);
	vigia_store_free(store);
	assert_int_equal(verify(path, &findings), 2);
	assert_int_equal(findings.count, 0);
	damage('d', false);
	assert_int_equal(verify(path, &findings), 2);
	assert_true(findings.count > 0);
	store = open_by_hand(path);
	assert_error(vigia_timers(store, NULL, add_listed, &listed, &err), VIGIA_EDAMAGED, &err, "timer 1");
	assert_int_equal(listed.count, 1);
	move_to(store, HAND + 30 * MS);
	assert_int_equal(latest_of(store), 1); /* the other one */
	ok(vigia_unschedule(store, first, &err), &err);
	assert_int_equal(count_timers(store), 0);
	schedule(store, HAND + 40 * MS, 3, "c", NULL, NULL);
	vigia_store_free(store);
	assert_int_equal(verify(path, &findings), 1);
	assert_int_equal(findings.count, 0);
	damage('k', true);
	verify(path, &findings);
	assert_non_null(strstr(findings.text, "keys of timers"));
	damage('i', true);
	verify(path, &findings);
	assert_int_equal(findings.count, 4);
	/* No record but its own is needed to store it. */
	store = open_by_hand(path);
	schedule(store, HAND + 41 * MS, 4, NULL, NULL, NULL);
	move_to(store, HAND + 50 * MS);
	assert_int_equal(latest_of(store), 3);
	assert_int_equal(count_timers(store), 0);
	vigia_store_free(store);
	verify(path, &findings);
	assert_int_equal(findings.count, 0);
}

static void a_copy_has_the_timers_K1(void **state)
{
	(void)state;
	char copy[FOLDER_MAX + 32];
	struct vigia_error err = {0};
	struct findings findings;
	for (int compact = 0; compact < 2; compact++) {
		snprintf(copy, sizeof copy, "%s/copy%d", folder, compact);
		atomic_store(&hand_ns, HAND);
		struct vigia_store *store = open_by_hand(path);
		schedule(store, HAND + MS, 1, NULL, NULL, NULL);
		ok(vigia_store_backup(store, copy, compact, &err), &err);
		assert_int_equal(verify(copy, &findings), compact + 1);
		assert_int_equal(findings.count, 0);
		vigia_store_free(store);
	}
}

static void a_file_of_an_earlier_version_gets_timers_when_it_needs_them_K1(void **state)
{
	(void)state;
	MDB_txn *txn;
	MDB_dbi dbi;
	vigia_store_free(open_store(path));
	MDB_env *env = open_raw(&txn, &dbi);
	assert_int_equal(mdb_drop(txn, dbi, 1), 0);
	close_raw(env, txn);
	struct vigia_store *store = open_by_hand(path), *other;
	assert_int_equal(count_timers(store), 0);
	struct vigia_store_options options = quiet_options();
	struct vigia_error err = {0};
	ok(vigia_store_open(path, &options, &other, &err), &err);
	int64_t now = HAND;
	atomic_store(&hand_ns, now);
	schedule(store, now + MS, 1, NULL, NULL, NULL);
	assert_int_equal(count_timers(other), 1);
	move_to(store, now + MS);
	assert_int_equal(latest_of(other), 1);
	vigia_store_free(other);
	vigia_store_free(store);
}

/* Change a record at random: some bytes of its value or of its key, its length, or put another one. */
static void shake(struct rng *rng)
{
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_cursor *cursor;
	MDB_val key, value;
	uint8_t bytes[600], name[64];
	MDB_env *env = open_raw(&txn, &dbi);
	assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
	int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
	for (uint64_t skip = rng_below(rng, 20); rc == 0 && skip > 0; skip--)
		rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	if (rc != 0) rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
	if (rc == 0 && key.mv_size <= sizeof name && value.mv_size <= sizeof bytes) {
		size_t len = value.mv_size, name_len = key.mv_size;
		memcpy(bytes, value.mv_data, len);
		memcpy(name, key.mv_data, name_len);
		if (rng_below(rng, 3) == 0) mdb_cursor_del(cursor, 0);
		if (len > 0 && rng_below(rng, 2)) bytes[rng_below(rng, len)] ^= (uint8_t)(1 + rng_below(rng, 255));
		if (rng_below(rng, 3) == 0) name[rng_below(rng, name_len)] ^= (uint8_t)(1 + rng_below(rng, 255));
		if (rng_below(rng, 4) == 0) len = rng_below(rng, len + 1);
		if (rng_below(rng, 6) == 0) name_len = 1 + rng_below(rng, name_len);
		MDB_val changed = {len, bytes}, at = {name_len, name};
		mdb_put(txn, dbi, &at, &changed, 0);
	}
	mdb_cursor_close(cursor);
	close_raw(env, txn);
}

static int count_intact(void *ctx, const struct vigia_timer *timer)
{
	(void)timer;
	++*(size_t *)ctx;
	return VIGIA_OK;
}

static void records_of_any_content_do_no_harm_K1_R3(void **state)
{
	(void)state;
	struct rng rng = rng_seeded();
	uint64_t latest = 0;
	for (int round = 0; round < 60; round++) {
		atomic_store(&hand_ns, HAND);
		struct vigia_store *store = open_by_hand(path);
		struct findings findings;
		struct vigia_error err = {0};
		size_t intact = 0;
		for (int i = 0; i < 5; i++) schedule(store, HAND + (1 + i) * MS, i, NULL, NULL, NULL);
		vigia_store_free(store);
		for (int i = 0; i < 4; i++) shake(&rng);
		verify(path, &findings);
		store = open_by_hand(path);
		int rc = vigia_timers(store, NULL, count_intact, &intact, &err);
		assert_true(rc == VIGIA_OK || rc == VIGIA_EDAMAGED);
		rc = vigia_unschedule(store, 1 + rng_below(&rng, 400), &err);
		assert_true(rc == VIGIA_OK || rc == VIGIA_NONE);
		if (rc == VIGIA_OK) {
			intact = 0;
			vigia_timers(store, NULL, count_intact, &intact, &err);
		}
		move_to(store, INT64_MAX - 1);
		assert_int_equal(latest_of(store), latest + intact);
		latest += intact;
		vigia_store_free(store);
	}
}

/* Two begin, and each ends while the other's commit may still come. */
static void a_mark_stays_while_another_may_need_it_K1(void **state)
{
	(void)state;
	_Atomic uint32_t word = 5;
	uint32_t first = vigia__word_mark(&word), second = vigia__word_mark(&word);
	assert_true(first != second && (word & VIGIA_WORD_CHANGING));
	vigia__word_unmark(&word, first);
	assert_true(word != second && (word & VIGIA_WORD_CHANGING));
	vigia__word_unmark(&word, second);
	uint32_t third = vigia__word_mark(&word);
	vigia__word_unmark(&word, 0);
	assert_true(word & VIGIA_WORD_CHANGING);
	third = vigia__word_mark(&word);
	vigia__word_unmark(&word, third);
	assert_false(word & VIGIA_WORD_CHANGING);
	word = UINT32_MAX; /* it comes round */
	vigia__word_unmark(&word, UINT32_MAX);
	assert_int_equal(word, 0);
}

/* ---- a full file ---- */

static void what_finds_no_room_stays_until_there_is_some_K1(void **state)
{
	(void)state;
	enum { MANY = 30, LARGE = 3000 };
	static uint8_t bytes[LARGE + 5] = {0xc6, 0, 0, LARGE >> 8, LARGE & 0xff}; /* bin */
	struct vigia_store_options options = quiet_options();
	struct vigia_error err = {0};
	struct vigia_new_event event = {SLICE("REMIND"), SLICE("Job"), {(const char *)bytes, sizeof bytes}};
	uint64_t latest;
	atomic_store(&hand_ns, HAND);
	options.map_size_bytes = 1 << 20;
	struct vigia_store *store = go_by_hand(open_with(&options));
	for (int i = 0; i < MANY; i++) ok(vigia_schedule(store, HAND + MS + i, &event, NULL, NULL, NULL, NULL, &err), &err);
	int rc;
	do rc = vigia_store_append(store, &event, 1, &latest, &err);
	while (rc == VIGIA_OK);
	assert_int_equal(rc, VIGIA_EFULL);
	uint64_t scheduled = MANY;
	for (int i = 0; i < 100; i++) { /* the last free pages may take some */
		rc = vigia_schedule(store, HAND + MS, &event, NULL, NULL, NULL, NULL, &err);
		if (rc != VIGIA_OK) break;
		scheduled++;
	}
	assert_int_equal(rc, VIGIA_EFULL);
	assert_int_equal(count_timers(store), scheduled);
	atomic_store(&hand_ns, HAND + 2 * MS);
	rc = vigia__store_run_timers(store, &err);
	assert_true(rc == VIGIA_OK || rc == VIGIA_EFULL);
	assert_int_equal(latest_of(store) - latest, scheduled - timers_left(store));
	ok(vigia_store_trim(store, latest, NULL, &err), &err);
	ok(vigia__store_run_timers(store, &err), &err);
	assert_int_equal(latest_of(store), latest + scheduled);
	assert_int_equal(count_timers(store), 0);
	vigia_store_free(store);
}

/* ---- threads ---- */

enum { THREADS = 4, THREAD_TIMERS = 100 };

struct worker {
	struct vigia_store *store;
	unsigned number;
	uint64_t taken_back;
};

/* Some are due at once, some soon; every third is taken back, if its event is not stored yet. */
static void *work(void *arg)
{
	struct worker *worker = arg;
	struct rng rng = {worker->number};
	for (int i = 0; i < THREAD_TIMERS; i++) {
		struct vigia_error err = {0};
		uint64_t id = schedule(worker->store, real_ns() + (int64_t)rng_below(&rng, 10) * MS,
		                       worker->number * THREAD_TIMERS + i, NULL, NULL, NULL);
		int rc = i % 3 == 0 ? vigia_unschedule(worker->store, id, &err) : VIGIA_NONE;
		if (rc != VIGIA_OK && rc != VIGIA_NONE) abort();
		worker->taken_back += rc == VIGIA_OK;
	}
	return NULL;
}

static void threads_may_schedule_and_take_back_at_once_K1(void **state)
{
	(void)state;
	for (int kind = 0; kind < 2; kind++) {
		struct vigia_store *store = open_store(kinds(kind));
		struct worker workers[THREADS];
		pthread_t threads[THREADS];
		bool seen[THREADS * THREAD_TIMERS] = {false};
		uint64_t expected = THREADS * THREAD_TIMERS;
		for (unsigned i = 0; i < THREADS; i++) {
			workers[i] = (struct worker){store, i, 0};
			assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
		}
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(threads[i], NULL);
			expected -= workers[i].taken_back;
		}
		wait_for(store, expected);
		assert_int_equal(latest_of(store), expected);
		assert_int_equal(timers_left(store), 0);
		for (uint64_t n = 1; n <= expected; n++) {
			int64_t number, at_ns;
			read_one(store, n, &number, &at_ns);
			assert_in_range(number, 0, COUNT_OF(seen) - 1);
			assert_false(seen[number]);
			seen[number] = true;
		}
		vigia_store_free(store);
	}
}

/* ---- failing allocations ---- */

static void failing_allocations_lose_nothing_K1(void **state)
{
	(void)state;
	for (int kind = 0; kind < 2; kind++) {
		atomic_store(&hand_ns, HAND + 5 * MS);
		struct vigia_store *store = open_by_hand(kinds(kind));
		uint8_t room[9];
		uint64_t stored = 0, failures = 0;
		struct vigia_new_event event = {SLICE("REMIND"), SLICE("Job"), number_value(room, 1)};
		for (long nth = 1;; nth++) {
			struct vigia_error err = {0};
			struct listed listed = {0};
			uint64_t id = 0;
			int64_t at_ns = atomic_load(&hand_ns) + MS;
			vigia__alloc_fail_at(nth, 0);
			int rc = vigia_schedule(store, at_ns, &event, NULL, &id, NULL, NULL, &err);
			int listing = rc == VIGIA_OK ? vigia_timers(store, NULL, add_listed, &listed, &err) : VIGIA_OK;
			if (listing == VIGIA_OK && rc == VIGIA_OK) atomic_store(&hand_ns, at_ns);
			int run = listing == VIGIA_OK && rc == VIGIA_OK ? vigia__store_run_timers(store, &err) : VIGIA_OK;
			vigia__alloc_fail_at(0, 0);
			assert_true(rc == VIGIA_OK || rc == VIGIA_ENOMEM);
			assert_true(listing == VIGIA_OK || listing == VIGIA_ENOMEM);
			assert_true(run == VIGIA_OK || run == VIGIA_ENOMEM);
			assert_int_equal(count_timers(store), rc == VIGIA_OK && (listing != VIGIA_OK || run != VIGIA_OK));
			move_to(store, at_ns);
			if (rc == VIGIA_OK) stored++;
			assert_int_equal(latest_of(store), stored);
			assert_int_equal(count_timers(store), 0);
			if (rc == VIGIA_OK && listing == VIGIA_OK && run == VIGIA_OK) break;
			failures++;
		}
		assert_true(failures > 3);
		vigia_store_free(store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_due_is_stored_in_order_and_once_as_a_model_says_K1, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(many_that_are_due_at_once_are_all_stored_K1, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(an_event_is_never_older_than_its_timer_K1, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(large_events_are_stored_in_several_commits_K1, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_scheduled_is_refused_K1, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_store_in_memory_goes_by_a_manual_clock_K1, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_thread_stores_what_is_due_and_an_earlier_one_wakes_it_K1, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(it_sleeps_while_nothing_is_due_K1, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(verify_finds_what_is_damaged_and_the_rest_goes_on_K1_E8, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(a_copy_has_the_timers_K1, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_file_of_an_earlier_version_gets_timers_when_it_needs_them_K1, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(records_of_any_content_do_no_harm_K1_R3, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(what_finds_no_room_stays_until_there_is_some_K1, folder_setup, folder_teardown),
		cmocka_unit_test(a_mark_stays_while_another_may_need_it_K1),
		cmocka_unit_test_setup_teardown(threads_may_schedule_and_take_back_at_once_K1, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(failing_allocations_lose_nothing_K1, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
