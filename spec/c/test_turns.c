/*
 * test_turns.c - fair turns at a mutex that processes share: their order, waiters that are stopped or killed, words of
 * any content. The model in test_models.c visits every order of a few steps.
 */
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "events.h"
#include "folder.h"
#include "store/clock.h"
#include "store/lmdb_private.h"
#include "store/store.h"
#include "store/turns.h"

enum { PROCESSES = 6, ORDER = 64 };

/* As in the product, and where an order is looked at, which a process that is not scheduled for so long would lose. */
enum { LOOK_NS = 5000000, LONG_LOOK_NS = 2000000000 };

/* What the processes of a test share. */
static struct shared {
	pthread_mutex_t mutex;
	struct vigia__turns turns;
	atomic_int count;        /* turns that were had */
	atomic_int order[ORDER]; /* by whom */
	atomic_int goes;         /* appenders below this number */
} * shared;

static pid_t children[2 * PROCESSES]; /* 0: it was waited for */
static int started;

static int setup(void **state)
{
	(void)state;
	pthread_mutexattr_t attr;
	vigia__turns_look_after(LOOK_NS);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) return -1;
	started = 0;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&shared->mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	vigia__turns_init(&shared->turns);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < started; i++) {
		if (children[i] == 0) continue;
		kill(children[i], SIGKILL);
		waitpid(children[i], NULL, 0);
	}
	return munmap(shared, sizeof *shared);
}

static void rest(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* The end of a wait that must not take this long. */
static void wait_or_fail(const char *what, bool (*is_so)(int), int n)
{
	int64_t patience = getenv("VIGIA_PLANTED") ? 3000000000 : 30000000000; /* where it is a bug that keeps it waiting */
	for (int64_t until = vigia__mono_ns() + patience; !is_so(n);) {
		if (vigia__mono_ns() > until) fail_msg("%s: it did not come to it", what);
		rest();
	}
}

static int lock(struct vigia__turn *own)
{
	int rc = vigia__turns_lock(&shared->turns, &shared->mutex, own, INT64_MAX);
	if (rc == EOWNERDEAD) rc = pthread_mutex_consistent(&shared->mutex);
	return rc;
}

static void unlock(struct vigia__turn *own)
{
	vigia__turns_unlock(&shared->turns, &shared->mutex, own, true);
}

static void had_turn(int number)
{
	atomic_store(&shared->order[atomic_fetch_add(&shared->count, 1) % ORDER], number);
}

/* A process that has one turn, and then ends. */
static pid_t start_one(int number)
{
	pid_t pid = fork();
	if (pid == 0) {
		struct vigia__turn own = {0};
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (lock(&own) != 0) _exit(1);
		had_turn(number);
		unlock(&own);
		_exit(0);
	}
	children[started++] = pid;
	return pid;
}

static bool is_drawn(int tickets)
{
	return atomic_load(&shared->turns.drawn) >= (uint32_t)tickets;
}

static bool were_had(int turns)
{
	return atomic_load(&shared->count) >= turns;
}

/* Each has drawn its ticket, which it waits with, before the next one comes. */
static void start_in_order(int count)
{
	for (int i = 0; i < count; i++) {
		uint32_t before = atomic_load(&shared->turns.drawn);
		start_one(i);
		wait_or_fail("a ticket", is_drawn, (int)before + 1);
	}
}

static void ended_well(void)
{
	for (int i = 0; i < started; i++) {
		int status;
		if (children[i] == 0) continue;
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
	started = 0;
}

static void turns_come_in_the_order_of_the_tickets_D6a(void **state)
{
	(void)state;
	vigia__turns_look_after(LONG_LOOK_NS);
	struct vigia__turn own = {0};
	for (int round = 0; round < 5; round++) {
		assert_int_equal(lock(&own), 0);
		atomic_store(&shared->count, 0);
		start_in_order(PROCESSES);
		unlock(&own);
		wait_or_fail("all turns", were_had, PROCESSES);
		ended_well();
		for (int i = 0; i < PROCESSES; i++) assert_int_equal(atomic_load(&shared->order[i]), i);
	}
}

/* One whose turn is over does not come again before those who wait. */
static void one_who_had_a_turn_waits_behind_the_others_D6b(void **state)
{
	(void)state;
	vigia__turns_look_after(LONG_LOOK_NS);
	struct vigia__turn own = {0};
	/* Without tickets it would often be the first at the mutex, on a busy machine not each time. */
	for (int round = 0; round < 20; round++) {
		/* It had its turn by a ticket, and waits for the next one as all others do. */
		atomic_store(&own.until_mono_ns, INT64_MAX);
		assert_int_equal(lock(&own), 0);
		atomic_store(&shared->count, 0);
		start_in_order(3);
		unlock(&own);
		assert_int_equal(lock(&own), 0);
		had_turn(100);
		unlock(&own);
		wait_or_fail("all turns", were_had, 4);
		ended_well();
		for (int i = 0; i < 3; i++) assert_int_equal(atomic_load(&shared->order[i]), i);
		assert_int_equal(atomic_load(&shared->order[3]), 100);
	}
}

static void without_a_sync_a_turn_is_longer_than_one_commit(void **state)
{
	(void)state;
	vigia__turns_look_after(LONG_LOOK_NS);
	struct vigia__turn own = {0};
	atomic_store(&own.until_mono_ns, INT64_MAX);
	assert_int_equal(lock(&own), 0);
	start_one(1);
	wait_or_fail("a ticket", is_drawn, 1);
	start_one(2);
	wait_or_fail("a ticket", is_drawn, 2);
	/* The first one waits at the mutex, the second one for its ticket. Neither a ticket nor the end of the turn is
	 * between this process and the mutex. */
	for (int i = 0; i < 3; i++) {
		vigia__turns_unlock(&shared->turns, &shared->mutex, &own, false);
		assert_int_equal(lock(&own), 0);
		assert_true(is_drawn(2) && !is_drawn(3));
	}
	unlock(&own);
	assert_int_equal(atomic_load(&own.until_mono_ns), 0);
	wait_or_fail("all turns", were_had, 2);
	ended_well();
}

static bool is_stopped(int number)
{
	int status;
	return waitpid(children[number], &status, WUNTRACED | WNOHANG) == children[number] && WIFSTOPPED(status);
}

static void stop(int number)
{
	kill(children[number], SIGSTOP);
	wait_or_fail("a stop", is_stopped, number);
}

static void kill_one(int number)
{
	kill(children[number], SIGKILL);
	assert_int_equal(waitpid(children[number], NULL, 0), children[number]);
	children[number] = 0;
}

/* Some wait at the mutex, others for their ticket. */
static void stopped_waiters_lose_their_turns_D6c(void **state)
{
	(void)state;
	struct vigia__turn own = {0};
	for (int stopped = 1; stopped < PROCESSES; stopped++) {
		assert_int_equal(lock(&own), 0);
		atomic_store(&shared->count, 0);
		start_in_order(PROCESSES);
		for (int i = 0; i < stopped; i++) stop(i);
		unlock(&own);
		wait_or_fail("the turns of the others", were_had, PROCESSES - stopped);
		for (int i = 0; i < PROCESSES - stopped; i++) assert_true(atomic_load(&shared->order[i]) >= stopped);
		/* They have it when they go on. */
		for (int i = 0; i < stopped; i++) kill(children[i], SIGCONT);
		wait_or_fail("their turns", were_had, PROCESSES);
		ended_well();
	}
}

static char state_of(int number)
{
	char name[40], line[64] = "";
	snprintf(name, sizeof name, "/proc/%d/stat", (int)children[number]);
	FILE *file = fopen(name, "r");
	if (file == NULL) return '?';
	if (fgets(line, sizeof line, file) == NULL) line[0] = '\0';
	fclose(file);
	const char *at = strrchr(line, ')');
	return at ? at[2] : '?';
}

static bool sleeps(int number)
{
	return state_of(number) == 'S';
}

/* Two wait at the mutex. One that was woken and then stopped, before it ran, is a matter of the model. */
static void one_who_is_stopped_at_the_mutex_does_not_keep_it(void **state)
{
	(void)state;
	struct vigia__turn own = {0};
	assert_int_equal(lock(&own), 0);
	start_in_order(1);
	wait_or_fail("its sleep", sleeps, 0);
	children[started] = fork();
	if (children[started] == 0) {
		struct vigia__turn still_mine = {0};
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		atomic_store(&still_mine.until_mono_ns, INT64_MAX);
		if (lock(&still_mine) != 0) _exit(1);
		had_turn(1);
		unlock(&still_mine);
		_exit(0);
	}
	started++;
	wait_or_fail("its sleep", sleeps, 1);
	stop(0);
	unlock(&own);
	wait_or_fail("the turn of the other", were_had, 1);
	kill(children[0], SIGCONT);
	ended_well();
}

static void killed_waiters_lose_their_turns_D6d(void **state)
{
	(void)state;
	struct vigia__turn own = {0};
	for (int killed = 1; killed < PROCESSES; killed++) {
		assert_int_equal(lock(&own), 0);
		atomic_store(&shared->count, 0);
		start_in_order(PROCESSES);
		for (int i = 0; i < killed; i++) {
			kill_one(i);
			start_one(i + 100);
		}
		unlock(&own);
		wait_or_fail("the turns of the others", were_had, PROCESSES);
		ended_well();
	}
}

/* It dies with the mutex, and so does the one who was admitted next. */
static void one_who_dies_with_the_mutex_holds_no_one_back(void **state)
{
	(void)state;
	struct vigia__turn own = {0};
	children[started] = fork();
	if (children[started] == 0) {
		if (lock(&own) != 0) _exit(1);
		had_turn(1);
		pause();
	}
	started++;
	wait_or_fail("the mutex", were_had, 1);
	start_in_order(4);
	kill_one(1);
	kill_one(0);
	wait_or_fail("the turns of the others", were_had, 4);
	ended_well();
}

static void a_wait_with_an_end_ends(void **state)
{
	(void)state;
	struct vigia__turn own = {0}, other = {0};
	assert_int_equal(lock(&own), 0);
	/* At the mutex, and for its ticket. */
	for (int i = 0; i < 2; i++) {
		int rc = vigia__turns_lock(&shared->turns, &shared->mutex, &other, 20000000);
		assert_int_equal(rc, ETIMEDOUT);
	}
	unlock(&own);
	assert_int_equal(lock(&other), 0);
	unlock(&other);
}

static uint32_t seed = 1;

static uint32_t some_number(void)
{
	static const uint32_t odd[] = {0, 1, UINT32_MAX, UINT32_C(1) << 31, (UINT32_C(1) << 31) - 1, 65535, 65536};
	seed = seed * 1103515245 + 12345;
	return seed >> 16 & 1 ? odd[(seed >> 20) % COUNT_OF(odd)] : seed * 2654435761u;
}

/* The words are not from any sequence of steps: all have their turns, and then in order again. */
static void words_of_any_content_do_no_harm_D6e(void **state)
{
	(void)state;
	struct vigia__turn own = {0};
	for (int round = 0; round < 40; round++) {
		assert_int_equal(lock(&own), 0);
		atomic_store(&shared->count, 0);
		for (int i = 0; i < 3; i++) start_one(i);
		uint32_t drawn = some_number(), admitted = some_number(), busy = some_number();
		atomic_store(&shared->turns.drawn, drawn);
		atomic_store(&shared->turns.admitted, admitted);
		atomic_store(&shared->turns.busy, busy);
		unlock(&own);
		atomic_store(&shared->turns.busy, busy);
		int64_t from = vigia__mono_ns();
		wait_or_fail("all turns", were_had, 3);
		if (vigia__mono_ns() - from > 20000000000)
			fail_msg("drawn %u, admitted %u, busy %u: so slow", drawn, admitted, busy);
		ended_well();
		/* As many turns as it takes to put the words right: one by a ticket. */
		uint32_t next = atomic_load(&shared->turns.drawn);
		assert_int_equal(lock(&own), 0);
		start_one(0);
		while (atomic_load(&shared->turns.drawn) == next) rest();
		unlock(&own);
		wait_or_fail("a turn", were_had, 4);
		ended_well();
		assert_int_equal(atomic_load(&shared->turns.admitted), atomic_load(&shared->turns.drawn));
	}
}

/* ---- a store ---- */

static struct vigia__journal_words *words_of(struct vigia_store *store)
{
	return vigia__side_journal(&((struct lmdb_backend *)store->backend)->side);
}

/* A process that has the store open, and appends one event when it is told. */
static void start_appender(int number, bool journal)
{
	pid_t pid = fork();
	if (pid == 0) {
		char type[] = {(char)('a' + number), '\0'};
		struct vigia_error err = {0};
		struct vigia_new_event event = {{"CREATE", 6}, {type, 1}, {"\x01", 1}};
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct vigia_store *store = open_of_format(journal);
		atomic_fetch_add(&shared->count, 1);
		while (atomic_load(&shared->goes) <= number) rest();
		if (vigia_store_append(store, &event, 1, NULL, &err) < 0) _exit(2);
		vigia_store_free(store);
		_exit(0);
	}
	children[started++] = pid;
}

static struct vigia__journal_words *words; /* of the store that is open */

static bool store_is_drawn(int tickets)
{
	return atomic_load(&words->turns.drawn) >= (uint32_t)tickets;
}

/* All appends go through the turns, those that wait in the order in which they came. */
static void appends_have_turns(bool journal)
{
	struct vigia__turn own = {0};
	vigia__turns_look_after(LONG_LOOK_NS);
	atomic_store(&shared->goes, 0);
	atomic_store(&shared->count, 0);
	for (int i = 0; i < PROCESSES; i++) start_appender(i, journal);
	wait_or_fail("the stores", were_had, PROCESSES);
	struct vigia_store *store = open_of_format(journal);
	words = words_of(store);
	assert_int_equal(vigia__turns_lock(&words->turns, &words->mutex, &own, INT64_MAX), 0);
	int before = (int)atomic_load(&words->turns.drawn);
	for (int i = 0; i < PROCESSES; i++) {
		atomic_store(&shared->goes, i + 1);
		wait_or_fail("a ticket", store_is_drawn, before + i + 1);
	}
	vigia__turns_unlock(&words->turns, &words->mutex, &own, true);
	ended_well();
	assert_int_equal(latest(store), PROCESSES);
	for (int i = 0; i < PROCESSES; i++) {
		struct vigia_batch *batch = vigia_batch_new();
		struct vigia_read request = {.size = sizeof request, .from = {VIGIA_AT, (uint64_t)i + 1}, .limit = 1};
		struct vigia_event event;
		struct vigia_iterator next;
		assert_int_equal(vigia_store_read(store, &request, batch, &next, NULL), VIGIA_OK);
		assert_int_equal(vigia_batch_event(batch, 0, &event, NULL), VIGIA_OK);
		assert_int_equal(event.object_type.data[0], 'a' + i);
		vigia_batch_free(batch);
	}
	vigia_store_free(store);
}

static void appends_have_turns_with_a_journal_D6f(void **state)
{
	(void)state;
	appends_have_turns(true);
}

static void appends_have_turns_without_a_journal_D6g(void **state)
{
	(void)state;
	appends_have_turns(false);
}

/* The side file of a version that knows no turns, and then a turn that does not come: LMDB's lock is enough. */
static void without_a_journal_an_append_needs_no_turn(void **state)
{
	(void)state;
	struct vigia__turn own = {0};
	struct vigia_store *store = open_of_format(false);
	words = words_of(store);
	for (int made = 0; made < 2; made++) {
		assert_int_equal(vigia__turns_lock(&words->turns, &words->mutex, &own, INT64_MAX), 0);
		if (!made) atomic_store(&words->made, 0);
		atomic_store(&shared->goes, 1);
		start_appender(0, false);
		ended_well();
		assert_int_equal(latest(store), made + 1);
		vigia__turns_unlock(&words->turns, &words->mutex, &own, true);
		atomic_store(&words->made, VIGIA_WORDS_MADE);
	}
	vigia_store_free(store);
}

static int store_setup(void **state)
{
	return setup(state) < 0 ? -1 : folder_setup(state);
}

static int store_teardown(void **state)
{
	return teardown(state) < 0 ? -1 : folder_teardown(state);
}

#define TURNS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TURNS_TEST(turns_come_in_the_order_of_the_tickets_D6a),
		TURNS_TEST(one_who_had_a_turn_waits_behind_the_others_D6b),
		TURNS_TEST(without_a_sync_a_turn_is_longer_than_one_commit),
		TURNS_TEST(stopped_waiters_lose_their_turns_D6c),
		TURNS_TEST(one_who_is_stopped_at_the_mutex_does_not_keep_it),
		TURNS_TEST(killed_waiters_lose_their_turns_D6d),
		TURNS_TEST(one_who_dies_with_the_mutex_holds_no_one_back),
		TURNS_TEST(a_wait_with_an_end_ends),
		TURNS_TEST(words_of_any_content_do_no_harm_D6e),
		STORE_TEST(appends_have_turns_with_a_journal_D6f),
		STORE_TEST(appends_have_turns_without_a_journal_D6g),
		STORE_TEST(without_a_journal_an_append_needs_no_turn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
