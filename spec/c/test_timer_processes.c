/*
 * test_timer_processes.c - timers of several processes, which are killed and stopped: each comes once.
 */
#include "timers.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static pid_t fork_child(void (*run)(int arg), int arg)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* where a test fails */
		run(arg);
		_exit(0);
	}
	return pid;
}

static int pipes[2];

/* ThreadSanitizer allows no thread in a child of a process that had some. */
static void need_children(void)
{
#ifdef __SANITIZE_THREAD__
	skip();
#endif
	assert_int_equal(pipe(pipes), 0);
}

/* Opens the store, says so, and stays. */
static void child_holds(int first)
{
	struct vigia_store *store = open_store(path);
	if (first) schedule(store, real_ns() + 3600000 * MS, -1, NULL, NULL, NULL);
	while (first && !store->backend->elect(store->backend, VIGIA_OFFICE_TIMERS)) pause(); /* its own lock: at once */
	if (write(pipes[1], "x", 1) != 1) _exit(1);
	for (;;) pause();
}

static void hear(void)
{
	char byte;
	assert_int_equal(read(pipes[0], &byte, 1), 1);
}

static void end(pid_t pid, int signal)
{
	int status;
	kill(pid, signal);
	if (signal == SIGKILL) assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* How late the event of a timer in 50 ms comes, in milliseconds. */
static int64_t lateness(struct vigia_store *store, int64_t number)
{
	int64_t at_ns = real_ns() + 50 * MS, found, stored_ns;
	uint64_t latest = latest_of(store);
	schedule(store, at_ns, number, NULL, NULL, NULL);
	wait_for(store, latest + 1);
	read_one(store, latest + 1, &found, &stored_ns);
	assert_int_equal(found, number);
	assert_true(stored_ns >= at_ns);
	return (stored_ns - at_ns) / MS;
}

static void it_takes_over_from_one_that_died_or_is_stopped_K1(void **state)
{
	(void)state;
	need_children();
	pid_t holder = fork_child(child_holds, 1);
	hear();
	struct vigia_store *store = open_store(path);
	assert_false(store->backend->elect(store->backend, VIGIA_OFFICE_TIMERS));
	lateness(store, 1); /* the holder stores it */
	assert_false(store->backend->elect(store->backend, VIGIA_OFFICE_TIMERS));
	end(holder, SIGSTOP);
	int64_t late = lateness(store, 2);
	assert_true(late >= 100 && late < 5000);
	assert_false(
		store->backend->elect(store->backend, VIGIA_OFFICE_TIMERS)); /* it has its lock, and did not come in time */
	end(holder, SIGKILL);
	assert_true(lateness(store, 3) < 5000);
	assert_true(lateness(store, 4) < 5000);
	pid_t other = fork_child(child_holds, 0);
	hear();
	assert_int_equal(count_timers(store), 1);
	end(other, SIGKILL);
	vigia_store_free(store);
	close(pipes[0]);
	close(pipes[1]);
}

/* One that never made a timer, and collects: who makes the first one calls it. */
static void child_collects(int arg)
{
	(void)arg;
	struct vigia_store_options options = quiet_options();
	struct vigia_error err = {0};
	struct vigia_store *store;
	options.collect = true;
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	if (vigia_store_open(path, &options, &store, &err) < 0 || write(pipes[1], "x", 1) != 1) _exit(1);
	for (;;) pause();
}

static void child_schedules(int milliseconds)
{
	struct vigia_store *store = open_store(path);
	schedule(store, real_ns() + milliseconds * MS, 7, NULL, NULL, NULL);
	if (write(pipes[1], "x", 1) != 1) _exit(1);
	for (;;) pause();
}

static void one_that_had_none_is_called_by_the_first_timer_of_another_K1(void **state)
{
	(void)state;
	need_children();
	pid_t idle = fork_child(child_collects, 0);
	hear();
	pid_t maker = fork_child(child_schedules, 100);
	hear();
	end(maker, SIGKILL);
	struct vigia_store_options options = quiet_options();
	struct vigia_store *store;
	struct vigia_error err = {0};
	options.readonly = true; /* this one stores nothing */
	ok(vigia_store_open(path, &options, &store, &err), &err);
	wait_for(store, 1);
	vigia_store_free(store);
	end(idle, SIGKILL);
	close(pipes[0]);
	close(pipes[1]);
}

static int (*transact)(struct vigia__backend *b, struct vigia__transact *transact, struct vigia_error *err);

static int transact_and_die(struct vigia__backend *b, struct vigia__transact *t, struct vigia_error *err)
{
	transact(b, t, err);
	kill(getpid(), SIGKILL);
	return VIGIA_EIO;
}

/* Dies behind the commit of a timer that is the first one, and before it wakes anyone. */
static void child_dies(int milliseconds)
{
	char byte;
	if (read(pipes[0], &byte, 1) != 1) _exit(1);
	struct vigia_store *store = open_store(path);
	transact = store->backend->transact;
	store->backend->transact = transact_and_die;
	schedule(store, real_ns() + milliseconds * MS, 8, NULL, NULL, NULL);
}

static void a_timer_is_found_whose_process_died_before_it_woke_others_K1(void **state)
{
	(void)state;
	need_children();
	pid_t child = fork_child(child_dies, 60);
	struct vigia_store *store = open_store(path);
	int status;
	schedule(store, real_ns() + 3600000 * MS, 1, NULL, NULL, NULL);
	nanosleep(&(struct timespec){.tv_nsec = 20 * MS}, NULL); /* so that the thread sleeps */
	assert_int_equal(write(pipes[1], "x", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	wait_for(store, 1);
	assert_true(*store->backend->timers.word & VIGIA_WORD_CHANGING);
	vigia_store_free(store);
	/* Who opens it alone needs no mark. */
	store = open_store(path);
	assert_false(*store->backend->timers.word & VIGIA_WORD_CHANGING);
	vigia_store_free(store);
	close(pipes[0]);
	close(pipes[1]);
}

/* One without a collector looks at each call. */
static void one_without_a_collector_looks_at_each_call_K1(void **state)
{
	(void)state;
	need_children();
	struct vigia_store *store = open_store(path);
	struct vigia_error err = {0};
	pid_t maker = fork_child(child_schedules, 1000000);
	hear();
	assert_false(store->backend->timers.runs);
	uint64_t latest;
	ok(vigia_store_latest(store, &latest, &err), &err);
	assert_true(store->backend->timers.runs);
	end(maker, SIGKILL);
	vigia_store_free(store);
	close(pipes[0]);
	close(pipes[1]);
}

enum { WORKERS = 4, EACH = 60, ROUNDS = 12 };

/* Schedules events with numbers of its own, and tells each that is acknowledged. */
static void child_works(int worker)
{
	struct vigia_store *store = open_store(path);
	struct rng rng = {(uint64_t)getpid()};
	for (int i = 0; i < EACH; i++) {
		int64_t told[2] = {worker * EACH + i, real_ns() + (int64_t)rng_below(&rng, 60) * MS - 5 * MS};
		schedule(store, told[1], told[0], NULL, NULL, NULL);
		if (write(pipes[1], told, sizeof told) != sizeof told) _exit(1);
		if (rng_below(&rng, 4) == 0) nanosleep(&(struct timespec){.tv_nsec = (long)rng_below(&rng, 3 * MS)}, NULL);
	}
	for (;;) pause();
}

static void each_is_stored_once_whichever_process_is_killed_K1(void **state)
{
	(void)state;
	struct rng rng = rng_seeded();
	static int64_t due[ROUNDS * EACH];
	static int seen[ROUNDS * EACH];
	pid_t pids[WORKERS] = {0};
	need_children();
	memset(due, -1, sizeof due);
	memset(seen, 0, sizeof seen);
	int begun = 0;
	for (; begun < ROUNDS; begun++) {
		int slot = begun % WORKERS;
		if (pids[slot] > 0) end(pids[slot], SIGKILL);
		pids[slot] = fork_child(child_works, begun);
		nanosleep(&(struct timespec){.tv_nsec = (long)(5 * MS + (int64_t)rng_below(&rng, 40 * MS))}, NULL);
	}
	for (int i = 0; i < WORKERS; i++) end(pids[i], SIGKILL);
	close(pipes[1]);
	size_t acknowledged = 0;
	for (int64_t told[2]; read(pipes[0], told, sizeof told) == sizeof told; acknowledged++) due[told[0]] = told[1];
	close(pipes[0]);
	assert_true(acknowledged > 0);
	struct vigia_store *store = open_store(path);
	int64_t until = vigia__mono_ns() + 20000 * MS;
	while (timers_left(store) > 0) {
		assert_true(vigia__mono_ns() < until);
		nanosleep(&(struct timespec){.tv_nsec = MS}, NULL);
	}
	uint64_t latest = latest_of(store);
	for (uint64_t n = 1; n <= latest; n++) {
		int64_t number, at_ns;
		read_one(store, n, &number, &at_ns);
		assert_in_range(number, 0, ROUNDS * EACH - 1);
		assert_int_equal(seen[number]++, 0);
		if (due[number] >= 0) assert_true(at_ns >= due[number]);
	}
	for (int i = 0; i < ROUNDS * EACH; i++)
		if (due[i] >= 0) assert_int_equal(seen[i], 1);
	print_message("# timers: %zu acknowledged timers, %d processes killed\n", acknowledged, ROUNDS);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_takes_over_from_one_that_died_or_is_stopped_K1, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(one_that_had_none_is_called_by_the_first_timer_of_another_K1, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(a_timer_is_found_whose_process_died_before_it_woke_others_K1, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(one_without_a_collector_looks_at_each_call_K1, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(each_is_stored_once_whichever_process_is_killed_K1, folder_setup,
	                                    folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
