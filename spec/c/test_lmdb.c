/*
 * test_lmdb.c - the LMDB store under threads, forks, and allocations that fail. Meant to run under TSan and ASan, too.
 */
#include "folder.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/event.h"
#include "core/filter.h"
#include "core/iterator.h"
#include "store/lmdb_private.h"
#include "store/side_private.h"
#include "store/store.h"

static struct vigia_store *open_store(void)
{
	struct vigia_store_options options = quiet_options();
	options.collect = true;
	return open_with(&options);
}

static int open_without_thread(struct vigia_store **out, struct vigia_error *err)
{
	struct vigia_store_options options = quiet_options();
	return vigia_store_open(path, &options, out, err);
}

static uint64_t append(struct vigia_store *store, const char *type)
{
	struct vigia_new_event event = {{"CREATE", 6}, {type, strlen(type)}, {"\x01", 1}};
	struct vigia_error err = {0};
	uint64_t seq_num = 0;
	if (vigia_store_append(store, &event, 1, &seq_num, &err) < 0) fail_msg("%s", err.message);
	return seq_num;
}

/* ---- many threads ---- */

enum { WRITERS = 8, EACH = 100, READERS = 4 };

struct reading_thread {
	pthread_t thread;
	struct vigia_store *store;
	uint64_t seen[WRITERS * EACH];
	char types[WRITERS * EACH][8];
};

static void *write_events(void *store)
{
	static atomic_int next;
	char type[8];
	snprintf(type, sizeof type, "T%d", atomic_fetch_add(&next, 1) % 100);
	uint64_t before = 0;
	for (int i = 0; i < EACH; i++) {
		uint64_t seq_num = append(store, type);
		if (seq_num <= before) abort();
		before = seq_num;
	}
	return NULL;
}

static void *read_events(void *arg)
{
	struct reading_thread *reader = arg;
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next = {VIGIA_AFTER, 0};
	size_t count = 0;
	while (count < WRITERS * EACH) {
		struct vigia_read request = {.size = sizeof request, .from = next, .limit = 7, .timeout_ns = 60000000000};
		if (vigia_store_read(reader->store, &request, batch, &next, NULL) < 0) abort();
		for (size_t i = 0; i < vigia_batch_count(batch); i++, count++) {
			struct vigia_event event;
			if (vigia_batch_event(batch, i, &event, NULL) < 0) abort();
			reader->seen[count] = event.seq_num;
			snprintf(reader->types[count], sizeof reader->types[count], "%.*s", (int)event.object_type.len,
			         event.object_type.data);
		}
	}
	vigia_batch_free(batch);
	return NULL;
}

static void S13_one_order_for_all_threads(void **state)
{
	(void)state;
	struct vigia_store *store = open_store();
	static struct reading_thread readers[READERS];
	pthread_t writers[WRITERS];
	for (int i = 0; i < READERS; i++) {
		readers[i].store = store;
		pthread_create(&readers[i].thread, NULL, read_events, &readers[i]);
	}
	for (int i = 0; i < WRITERS; i++) pthread_create(&writers[i], NULL, write_events, store);
	for (int i = 0; i < WRITERS; i++) pthread_join(writers[i], NULL);
	for (int i = 0; i < READERS; i++) pthread_join(readers[i].thread, NULL);
	for (int i = 0; i < READERS; i++)
		for (int k = 0; k < WRITERS * EACH; k++) {
			assert_int_equal(readers[i].seen[k], k + 1);
			assert_string_equal(readers[i].types[k], readers[0].types[k]);
		}
	vigia_store_free(store);
}

static void *wait_for_one(void *store)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_read request = {.size = sizeof request, .from = {VIGIA_AFTER, 0}, .timeout_ns = 60000000000};
	uintptr_t seq_num = 0;
	if (vigia_store_read(store, &request, batch, &next, NULL) == VIGIA_OK && vigia_batch_count(batch) == 1) {
		struct vigia_event event;
		if (vigia_batch_event(batch, 0, &event, NULL) == VIGIA_OK) seq_num = event.seq_num;
	}
	vigia_batch_free(batch);
	return (void *)seq_num;
}

static void S7_one_append_wakes_all(void **state)
{
	(void)state;
	struct vigia_store *store = open_store();
	pthread_t threads[10];
	for (int i = 0; i < 10; i++) pthread_create(&threads[i], NULL, wait_for_one, store);
	append(store, "A");
	for (int i = 0; i < 10; i++) {
		void *seq_num;
		pthread_join(threads[i], &seq_num);
		assert_int_equal((uintptr_t)seq_num, 1);
	}
	vigia_store_free(store);
}

static void S11_close_wakes_waiters_and_free_waits_for_them(void **state)
{
	(void)state;
	int64_t until = vigia__mono_ns() + 25000000000; /* who is not woken looks once a second by himself */
	for (int round = 0; round < 50; round++) {
		assert_true(vigia__mono_ns() < until);
		struct vigia_store *store = open_store();
		pthread_t threads[4];
		for (int i = 0; i < 4; i++) {
			vigia__store_ref(store); /* each thread's own */
			pthread_create(&threads[i], NULL, wait_for_one, store);
		}
		if (round % 2) sched_yield();
		vigia_store_close(store);
		assert_int_equal(vigia_store_latest(store, &(uint64_t){0}, NULL), VIGIA_ECLOSED);
		vigia_store_free(store);
		for (int i = 0; i < 4; i++) {
			void *seq_num;
			pthread_join(threads[i], &seq_num);
			assert_int_equal((uintptr_t)seq_num, 0);
			vigia__store_unref(store);
		}
	}
}

/* Two threads answer each other through the log. A wake-up that is lost would cost a second each time. */
enum { ROUNDS = 1000 };

struct player {
	struct vigia_store *store;
	const char *mine, *theirs;
	bool begins;
	int rounds;    /* out */
	int64_t until; /* wake-ups that are lost cost a second each: enough is enough */
};

static void *play(void *arg)
{
	struct player *player = arg;
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_slice theirs = {player->theirs, strlen(player->theirs)};
	struct vigia_iterator next = {VIGIA_AFTER, 0};
	if (player->begins) append(player->store, player->mine);
	while (player->rounds < ROUNDS && vigia__mono_ns() < player->until) {
		struct vigia_read request = {.size = sizeof request,
		                             .from = next,
		                             .limit = 1,
		                             .timeout_ns = 5000000000,
		                             .filter = {.object_types = &theirs, .object_types_count = 1}};
		if (vigia_store_read(player->store, &request, batch, &next, NULL) < 0) abort();
		if (vigia_batch_count(batch) == 0) continue;
		player->rounds++;
		append(player->store, player->mine);
	}
	vigia_batch_free(batch);
	return NULL;
}

static void S6_no_wake_up_is_lost(void **state)
{
	(void)state;
	struct vigia_store *one = open_store(), *two = open_store(); /* S15: two handles, one store inside */
	int64_t until = vigia__mono_ns() + 40000000000;
	struct player players[2] = {{one, "Ping", "Pong", true, 0, until}, {two, "Pong", "Ping", false, 0, until}};
	pthread_t threads[2];
	for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, play, &players[i]);
	for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
	assert_int_equal(players[0].rounds, ROUNDS);
	assert_int_equal(players[1].rounds, ROUNDS);
	vigia_store_free(one);
	vigia_store_free(two);
}

/* ---- what is queued, and how far its watcher is ---- */

struct queuing_thread {
	struct vigia_store *store;
	struct vigia__progress *progress;
	atomic_bool ends;
};

/* As a handler does at durability "interval": queue an event for each that it handled, and then say so. */
static void *queue_events(void *arg)
{
	struct queuing_thread *t = arg;
	struct vigia_new_event event = {{"CREATE", 6}, {"Out", 3}, {"\x01", 1}};
	for (uint64_t n = 1; !atomic_load(&t->ends); n++) {
		if (vigia_store_append(t->store, &event, 1, NULL, NULL) < 0) abort();
		vigia__progress_move(&t->store->backend->progress, t->progress, n);
		/* Now and then at rest, not always in the queue's way. */
		for (int64_t until = vigia__mono_ns() + (int64_t)(n * 7 % 50) * 200; vigia__mono_ns() < until;) continue;
	}
	return NULL;
}

/* Commits of another thread at any moment: none may hold progress without what was queued before it, or a kill behind
 * it loses that. */
static void D2_a_commit_holds_no_progress_without_what_was_queued_before(void **state)
{
	(void)state;
	struct vigia_store_options options;
	struct queuing_thread t = {0};
	struct vigia_error err = {0};
	vigia_store_options_init(&options);
	options.durability = VIGIA_DURABILITY_INTERVAL;
	options.commit_interval_ns = INT64_C(3600) * 1000000000;
	options.durability_given = options.commit_interval_given = true;
	options.collect = false;
	if (vigia_store_open(path, &options, &t.store, &err) < 0) fail_msg("%s", err.message);
	struct vigia__backend *b = t.store->backend;
	t.progress = vigia__progress_new("w", 0);
	pthread_t thread;
	pthread_create(&thread, NULL, queue_events, &t);
	uint64_t saved = 0, stored = 0;
	int64_t until = vigia__mono_ns() + INT64_C(2000000000); /* on a slow disk fewer commits must do */
	for (int i = 0; i < 3000 && saved <= stored && vigia__mono_ns() < until; i++) {
		assert_int_equal(vigia_checkpoint_put(t.store, "other", (uint64_t)i, NULL), VIGIA_OK);
		int rc = vigia_checkpoint_get(t.store, "w", &saved, NULL);
		assert_true(rc == VIGIA_OK || rc == VIGIA_ENOCHECKPOINT);
		assert_int_equal(vigia_store_latest(t.store, &stored, NULL), VIGIA_OK);
	}
	atomic_store(&t.ends, true);
	pthread_join(thread, NULL);
	assert_true(stored > 0);
	assert_in_range(saved, 0, stored);
	vigia__progress_end(&b->progress, t.progress);
	vigia_store_free(t.store);
}

/* ---- fork ---- */

static int child_status(int (*run)(struct vigia_store *store), struct vigia_store *store)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) _exit(run(store));
	int status;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int use_after_fork(struct vigia_store *store)
{
	uint64_t n;
	if (vigia_store_latest(store, &n, NULL) != VIGIA_EFORKED) return 1;
	vigia_store_free(store);
	struct vigia_store *mine;
	if (open_without_thread(&mine, NULL) < 0) return 2;
	if (vigia_store_latest(mine, &n, NULL) < 0 || n != 1) return 3;
	struct vigia_new_event event = {{"CREATE", 6}, {"Child", 5}, {"\x01", 1}};
	if (vigia_store_append(mine, &event, 1, &n, NULL) < 0 || n != 2) return 4;
	vigia_store_free(mine);
	return 0;
}

static void S15_a_store_is_refused_after_fork_and_opens_anew_in_the_child(void **state)
{
	(void)state;
	struct vigia_store *store = open_store();
	append(store, "Parent");
	assert_int_equal(child_status(use_after_fork, store), 0);
	assert_int_equal(append(store, "Parent"), 3);
	vigia_store_free(store);
}

static void *fork_all_the_time(void *ends)
{
	while (!atomic_load((atomic_bool *)ends)) {
		pid_t child = fork();
		if (child == 0) _exit(0);
		waitpid(child, NULL, 0);
	}
	return NULL;
}

#ifdef __SANITIZE_THREAD__
enum { OPENS_BESIDE_FORKS = 20 }; /* a fork stops all threads of its own accord there, and takes its time */
#else
enum { OPENS_BESIDE_FORKS = 200 };
#endif

/* A fork takes the locks that opening takes: in the same order. */
static void S15_one_thread_forks_while_another_opens(void **state)
{
	(void)state;
	atomic_bool ends = false;
	pthread_t thread;
	struct vigia_store *store;
	vigia_store_free(open_store());
	alarm(60); /* a deadlock */
	pthread_create(&thread, NULL, fork_all_the_time, &ends);
	for (int i = 0; i < OPENS_BESIDE_FORKS; i++) {
		assert_int_equal(open_without_thread(&store, NULL), VIGIA_OK);
		vigia_store_free(store);
	}
	atomic_store(&ends, true);
	pthread_join(thread, NULL);
	alarm(0);
}

static int try_to_own(struct vigia_store *store)
{
	(void)store;
	struct vigia_store *mine;
	struct vigia_error err = {0};
	if (open_without_thread(&mine, NULL) < 0) return 1;
	int rc = mine->backend->own(mine->backend, "w", &err);
	char pid[32];
	snprintf(pid, sizeof pid, "pid %ld", (long)getppid());
	if (rc == VIGIA_EOWNED && strstr(err.message, pid) == NULL) return 2;
	return rc == VIGIA_EOWNED ? 3 : rc == VIGIA_OK ? 4 : 5;
}

static int try_to_own_one_more(struct vigia_store *store)
{
	(void)store;
	struct vigia_store *mine;
	if (open_without_thread(&mine, NULL) < 0) return 1;
	return mine->backend->own(mine->backend, "one more", NULL) == VIGIA_EOWNED ? 3 : 4;
}

static void W19_an_id_has_one_owner_over_all_processes(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(), *again = open_store();
	assert_int_equal(store->backend->own(store->backend, "w", NULL), VIGIA_OK);
	assert_int_equal(again->backend->own(again->backend, "w", NULL), VIGIA_EOWNED);
	assert_int_equal(child_status(try_to_own, store), 3);
	store->backend->disown(store->backend, "w");
	assert_int_equal(child_status(try_to_own, store), 4); /* and its death frees it */
	assert_int_equal(again->backend->own(again->backend, "w", NULL), VIGIA_OK);
	vigia_store_free(store);
	vigia_store_free(again);
}

/* A process that runs the id, forks, and is killed: what it forked must not keep the id. */
static int own_and_fork(int out)
{
	struct vigia_store *mine;
	if (open_without_thread(&mine, NULL) < 0 || mine->backend->own(mine->backend, "w", NULL) < 0) return 1;
	if (fork() == 0) {
		pid_t self = getpid(); /* it says so itself: until fork returned to it, it has what its parent had */
		if (write(out, &self, sizeof self) != sizeof self) return 2;
	}
	for (;;) pause();
}

static void W19_a_forked_child_does_not_keep_the_id_of_its_dead_parent(void **state)
{
	(void)state;
	int fds[2];
	pid_t grandchild = 0;
	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) _exit(own_and_fork(fds[1]));
	assert_int_equal(read(fds[0], &grandchild, sizeof grandchild), sizeof grandchild);
	struct vigia_store *store = open_store();
	assert_int_equal(store->backend->own(store->backend, "w", NULL), VIGIA_EOWNED);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	int rc = store->backend->own(store->backend, "w", NULL);
	kill(grandchild, SIGKILL);
	assert_int_equal(rc, VIGIA_OK);
	close(fds[0]);
	close(fds[1]);
	vigia_store_free(store);
}

/* More ids run than are noted: who owns one more is not told by its pid, but it has one owner all the same. */
static int own_as_many_as_are_noted(int out)
{
	struct vigia_store *mine;
	char id[16];
	if (open_without_thread(&mine, NULL) < 0) return 1;
	for (int i = 0; i < OWNERS; i++) {
		snprintf(id, sizeof id, "w%d", i);
		if (mine->backend->own(mine->backend, id, NULL) < 0) return 1;
	}
	if (write(out, "", 1) != 1) return 1;
	for (;;) pause();
}

static void W19_an_owner_that_is_not_noted_owns_its_id(void **state)
{
	(void)state;
	int fds[2];
	char byte;
	struct vigia_error err = {0};
	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) _exit(own_as_many_as_are_noted(fds[1]));
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	struct vigia_store *store = open_store();
	assert_int_equal(store->backend->own(store->backend, "one more", NULL), VIGIA_OK);
	assert_int_equal(child_status(try_to_own_one_more, store), 3);

	/* And who waits for an owner looks each second whether the store is still there. */
	assert_int_equal(unlink(path), 0);
	assert_error(store->backend->wait_owner(store->backend, "w7", -1, &err), VIGIA_EREPLACED, &err, "deleted");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(fds[0]);
	vigia_store_free(store);
}

/* ---- the time of a look ---- */

static void S5_S8_what_is_wanted_has_no_bound_in_time_what_is_dropped_has_one(void **state)
{
	(void)state;
	enum { COUNT = 3000 };
	const char *const paths[] = {path, ":memory:"};
	for (size_t p = 0; p < COUNT_OF(paths); p++) {
		struct vigia_store *store;
		assert_int_equal(vigia_store_open(paths[p], NULL, &store, NULL), VIGIA_OK);
		static struct vigia_new_event events[COUNT];
		for (int i = 0; i < COUNT; i++) events[i] = (struct vigia_new_event){{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
		uint64_t first;
		assert_int_equal(vigia_store_append(store, events, COUNT, &first, NULL), VIGIA_OK);
		struct vigia_batch *batch = vigia_batch_new();
		/* the time was over before it began */
		struct vigia__scan scan = {.from = 1, .count_max = SIZE_MAX, .bytes_max = SIZE_MAX, .until_mono_ns = 1};
		assert_int_equal(store->backend->scan(store->backend, &scan, batch, NULL), VIGIA_OK);
		assert_int_equal(vigia_batch_count(batch), COUNT);
		assert_true(scan.at_end);
		struct vigia_slice none = {"No", 2};
		struct vigia__filter *filter;
		assert_int_equal(vigia__filter_new(&(struct vigia_filter){&none, 1, NULL, 0}, &filter, NULL), VIGIA_OK);
		scan.filter = filter;
		assert_int_equal(store->backend->scan(store->backend, &scan, batch, NULL), VIGIA_OK);
		assert_in_range(scan.looked_at, 1, COUNT - 1);
		assert_false(scan.at_end);
		vigia__filter_free(filter);
		vigia_batch_free(batch);
		vigia_store_free(store);
	}
}

/* ---- memory that cannot be had ---- */

static int scenario(struct vigia_error *err)
{
	struct vigia_store *store;
	int rc = open_without_thread(&store, err);
	if (rc < 0) return rc;
	struct vigia_slice type = {"A", 1};
	static const char large[3 + 5000] =
		"\xc5\x13\x88"; /* more than the memory that is there for the head of an event */
	struct vigia_new_event events[] = {{{"CREATE", 6}, type, {"\x01", 1}},
	                                   {{"OTHER", 5}, type, {"\xa1x", 2}},
	                                   {{"CREATE", 6}, type, {large, sizeof large}}};
	struct vigia_iterator next;
	rc = vigia_store_append(store, events, 3, NULL, err);
	struct vigia_batch *batch = vigia_batch_new();
	if (rc == VIGIA_OK && batch == NULL) rc = VIGIA_ENOMEM;
	if (rc == VIGIA_OK) {
		struct vigia_read request = {.size = sizeof request,
		                             .from = {VIGIA_TRIM_HORIZON, 0},
		                             .filter = {.object_types = &type, .object_types_count = 1}};
		rc = vigia_store_read(store, &request, batch, &next, err);
		if (rc == VIGIA_OK && vigia_batch_count(batch) == 0) rc = VIGIA_EIO;
	}
	if (rc == VIGIA_OK) rc = vigia_checkpoint_put(store, "w", 1, err);
	if (rc == VIGIA_OK) rc = vigia_store_trim(store, 1, NULL, err);
	vigia_batch_free(batch);
	vigia_store_free(store);
	return rc;
}

static void R3_every_allocation_may_fail(void **state)
{
	(void)state;
	long nth = 1;
	for (;; nth++) {
		struct vigia_error err = {0};
		folder_empty(folder); /* a store that is there already needs fewer: the count would pass over some */
		vigia__alloc_fail_at(nth, 0);
		int rc = scenario(&err);
		vigia__alloc_fail_at(0, 0);
		if (rc == VIGIA_OK && nth > 1) break;
		if (rc != VIGIA_ENOMEM) fail_msg("allocation %ld: %s: %s", nth, vigia_error_name(rc), err.message);
		assert_true(nth < 1000);
	}
	assert_true(nth > 3);
	/* What succeeded in part left a store that works. */
	struct vigia_store *store = open_store();
	uint64_t before, oldest;
	assert_int_equal(vigia_store_latest(store, &before, NULL), VIGIA_OK);
	assert_int_equal(append(store, "A"), before + 1);
	assert_int_equal(vigia_store_oldest(store, &oldest, NULL), VIGIA_OK);
	vigia_store_free(store);
}

/* ---- progress of what is not there ---- */

/* The file was overwritten by an older copy between two looks: what watchers finished in it before is not saved (S18,
 * W9). */
static void S18_progress_beyond_the_last_event_is_not_saved(void **state)
{
	(void)state;
	struct vigia_store *store;
	struct vigia_error err = {0};
	uint64_t saved;
	assert_int_equal(open_without_thread(&store, &err), VIGIA_OK);
	struct vigia__backend *b = store->backend;
	append(store, "A");
	struct vigia__progress *good = vigia__progress_new("good", 0), *bad = vigia__progress_new("bad", 0);
	vigia__progress_move(&b->progress, good, 1);
	assert_int_equal(vigia__store_save_progress(store, &err), VIGIA_OK);
	vigia__progress_move(&b->progress, bad, 2);
	assert_error(vigia__store_save_progress(store, &err), VIGIA_EREPLACED, &err, "overwritten");
	struct vigia_new_event event = {{"CREATE", 6}, {"A", 1}, {"\x01", 1}};
	assert_error(vigia_store_append(store, &event, 1, NULL, &err), VIGIA_EREPLACED, &err, "overwritten");
	vigia__progress_end(&b->progress, good);
	vigia__progress_end(&b->progress, bad);
	vigia_store_free(store);
	assert_int_equal(open_without_thread(&store, &err), VIGIA_OK);
	assert_int_equal(vigia_checkpoint_get(store, "good", &saved, &err), VIGIA_OK);
	assert_int_equal(saved, 1);
	assert_int_equal(vigia_checkpoint_get(store, "bad", &saved, &err), VIGIA_ENOCHECKPOINT);
	vigia_store_free(store);
}

/* ---- forward only ---- */

static void W9_a_checkpoint_moves_forward_only(void **state)
{
	(void)state;
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.collect = false;
	for (int memory = 0; memory < 2; memory++) {
		struct vigia_store *store;
		uint64_t there = 0, hold = 0;
		bool made;
		assert_int_equal(vigia_store_open(memory ? ":memory:" : path, &options, &store, NULL), VIGIA_OK);
		struct vigia__backend *b = store->backend;
		assert_int_equal(b->hold(b, "w", vigia__iterator_after(hold), &hold, &made, NULL), VIGIA_OK);
		assert_int_equal(b->checkpoint_put(b, "w", 0, true, NULL), VIGIA_OK); /* a hold is none yet */
		assert_int_equal(b->checkpoint_get(b, "w", &there, NULL), VIGIA_OK);
		static const uint64_t puts[][2] = {{5, 5}, {3, 5}, {5, 5}, {6, 6}, {0, 6}};
		for (size_t i = 0; i < COUNT_OF(puts); i++) {
			assert_int_equal(b->checkpoint_put(b, "w", puts[i][0], true, NULL), VIGIA_OK);
			assert_int_equal(b->checkpoint_get(b, "w", &there, NULL), VIGIA_OK);
			assert_int_equal(there, puts[i][1]);
		}
		vigia_store_free(store);
	}
}

/* ---- a clock that goes back ---- */

static struct vigia_store *last_store;

static int put_last(void *txn, void *arg, struct vigia_error *err)
{
	struct last_record *last = arg;
	struct lmdb_backend *b = (struct lmdb_backend *)last_store->backend;
	(void)err;
	vigia__journal_doubt(b); /* its next generation begins behind this */
	return mdb_put(txn, b->meta, &(MDB_val){4, "last"}, &(MDB_val){sizeof *last, last}, 0);
}

/* An event stored an hour from now, by a clock that was set back since. */
static int put_future_event(void *txn, void *arg, struct vigia_error *err)
{
	int64_t *at_ns = arg;
	size_t seq_num = 1;
	struct vigia__buf bytes = {0};
	int rc = vigia__event_begin(&bytes, slice_of("CREATE"), slice_of("T"), err);
	if (rc == 0) rc = vigia__buf_add(&bytes, "\x01", 1);
	if (rc == 0) {
		*at_ns = vigia__wall_ns() + INT64_C(3600000000000);
		vigia__event_stamp(bytes.data, bytes.len, seq_num, *at_ns);
		rc = mdb_put(txn, ((struct lmdb_backend *)last_store->backend)->events, &(MDB_val){sizeof seq_num, &seq_num},
		             &(MDB_val){bytes.len, bytes.data}, MDB_APPEND);
	}
	vigia__buf_deinit(&bytes);
	return rc;
}

static int64_t time_of(struct vigia_store *store, uint64_t seq_num)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_event event;
	struct vigia_read request = {.size = sizeof request, .from = {VIGIA_AT, seq_num}, .limit = 1};
	assert_int_equal(vigia_store_read(store, &request, batch, &next, NULL), VIGIA_OK);
	assert_int_equal(vigia_batch_event(batch, 0, &event, NULL), VIGIA_OK);
	assert_int_equal(event.seq_num, seq_num);
	int64_t at_ns = event.at_ns;
	vigia_batch_free(batch);
	return at_ns;
}

static void E3_timestamps_do_not_go_back_behind_an_event_nor_when_it_was_removed(void **state)
{
	(void)state;
	struct vigia_store *store = open_store();
	int64_t at_ns = 0;
	last_store = store;
	struct vigia__commit *commit = &((struct lmdb_backend *)store->backend)->commit;
	assert_int_equal(vigia__commit_call(commit, VIGIA_TICKET_CALL, put_future_event, &at_ns, NULL), VIGIA_OK);
	assert_int_equal(time_of(store, 1), at_ns);
	assert_int_equal(append(store, "T"), 2);
	assert_int_equal(time_of(store, 2), at_ns);
	assert_int_equal(vigia_store_trim(store, 2, NULL, NULL), VIGIA_OK);
	assert_int_equal(append(store, "T"), 3);
	assert_int_equal(time_of(store, 3), at_ns);
	assert_int_equal(vigia_store_trim(store, 3, NULL, NULL), VIGIA_OK);
	vigia_store_free(store);
	store = open_store();
	assert_int_equal(append(store, "T"), 4);
	assert_int_equal(time_of(store, 4), at_ns);
	vigia_store_free(store);
}

/* As if the last event had been stored an hour from now, by a clock that was set back since. */
static void E3_timestamps_do_not_follow_a_clock_that_goes_back(void **state)
{
	(void)state;
	struct vigia_store *store = open_store();
	struct lmdb_backend *b = (struct lmdb_backend *)store->backend;
	struct last_record last = {append(store, "T"), vigia__wall_ns() + INT64_C(3600000000000)};
	assert_int_equal(vigia_store_trim(store, last.seq_num, NULL, NULL), VIGIA_OK);
	last_store = store;
	assert_int_equal(vigia__commit_call(&b->commit, VIGIA_TICKET_CALL, put_last, &last, NULL), VIGIA_OK);
	int64_t before = last.at_ns;
	for (int i = 0; i < 3; i++) append(store, "T");
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	assert_int_equal(vigia_store_read(store, NULL, batch, &next, NULL), VIGIA_OK);
	assert_int_equal(vigia_batch_count(batch), 3);
	for (size_t i = 0; i < 3; i++) {
		struct vigia_event event;
		assert_int_equal(vigia_batch_event(batch, i, &event, NULL), VIGIA_OK);
		assert_int_equal(event.seq_num, last.seq_num + 1 + i);
		assert_true(event.at_ns >= before);
		before = event.at_ns;
	}
	/* Nor when the trim that removed them all wrote their time down. */
	assert_int_equal(vigia_store_trim(store, last.seq_num + 3, NULL, NULL), VIGIA_OK);
	append(store, "T");
	assert_int_equal(vigia_store_read(store, NULL, batch, &next, NULL), VIGIA_OK);
	struct vigia_event event;
	assert_int_equal(vigia_batch_event(batch, 0, &event, NULL), VIGIA_OK);
	assert_true(event.at_ns >= before);
	vigia_batch_free(batch);
	vigia_store_free(store);
}

/* ---- an append under way while the process forks ---- */

struct holder {
	pthread_t thread;
	struct vigia_store *store;
	sem_t held, enough;
};

/* Keeps the writer's lock. */
static void *hold_lock(void *arg)
{
	struct holder *holder = arg;
	struct lmdb_backend *b = (struct lmdb_backend *)holder->store->backend;
	MDB_txn *txn;
	if (vigia__lmdb_write_begin(b, &txn, NULL) < 0) abort();
	sem_post(&holder->held);
	while (sem_wait(&holder->enough) < 0) continue;
	vigia__lmdb_write_abort(b, txn);
	return NULL;
}

static void hold(struct holder *holder)
{
	sem_init(&holder->held, 0, 0);
	sem_init(&holder->enough, 0, 0);
	assert_int_equal(pthread_create(&holder->thread, NULL, hold_lock, holder), 0);
	while (sem_wait(&holder->held) < 0) continue;
}

static void let_go(struct holder *holder)
{
	sem_post(&holder->enough);
	pthread_join(holder->thread, NULL);
}

static struct vigia__append an_event(struct vigia__buf *bytes)
{
	struct vigia_error err = {0};
	assert_int_equal(vigia__event_begin(bytes, slice_of("CREATE"), slice_of("T"), &err), VIGIA_OK);
	assert_int_equal(vigia__buf_add(bytes, "\x01", 1), 0);
	assert_int_equal(vigia__event_end(bytes, 0, 1000, &err), VIGIA_OK);
	return (struct vigia__append){.bytes = bytes->data, .count = 1, .len = bytes->len};
}

static void S15_a_forked_child_waits_for_no_append_of_its_parent(void **state)
{
	(void)state;
	struct vigia_store *store;
	struct vigia_error err = {0};
	assert_int_equal(open_without_thread(&store, &err), VIGIA_OK);
	struct vigia__buf bytes = {0};
	struct vigia__pending pending = {.request = an_event(&bytes)};
	struct holder holder = {.store = store}; /* so that it cannot end before the fork */
	hold(&holder);
	assert_int_equal(vigia__store_submit(store, &pending, &err), VIGIA_OK);
	pid_t child = fork();
	if (child == 0) {
		alarm(30);
		vigia__store_await(&pending); /* what the collector of a Lua state does with a coroutine that is dropped */
		vigia__store_settle(&pending);
		_exit(atomic_load(&pending.done) ? 1 : 0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	let_go(&holder);
	vigia__store_await(&pending);
	assert_int_equal(vigia__store_settle(&pending), VIGIA_OK);
	assert_int_equal(pending.request.first_seq, 1);
	vigia__buf_deinit(&bytes);
	vigia_store_free(store);
}

struct awaiter {
	struct vigia__pending *pending;
	sem_t awaited;
	atomic_int thread;
};

static void *await_append(void *arg)
{
	struct awaiter *awaiter = arg;
	atomic_store(&awaiter->thread, (int)gettid());
	vigia__store_await(awaiter->pending);
	sem_post(&awaiter->awaited);
	return NULL;
}

static bool sleeps(int thread)
{
	char name[64], line[512];
	snprintf(name, sizeof name, "/proc/self/task/%d/stat", thread);
	FILE *file = fopen(name, "r");
	if (file == NULL) return false;
	const char *state = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
	fclose(file);
	return state && strncmp(state, ") S", 3) == 0;
}

static void H2_who_awaits_an_append_is_woken_when_it_is_stored(void **state)
{
	(void)state;
	struct vigia_store *store;
	struct vigia_error err = {0};
	assert_int_equal(open_without_thread(&store, &err), VIGIA_OK);
	struct vigia__buf bytes = {0};
	struct vigia__pending pending = {.request = an_event(&bytes)};
	struct holder holder = {.store = store}; /* so that it cannot end before somebody waits */
	hold(&holder);
	assert_int_equal(vigia__store_submit(store, &pending, &err), VIGIA_OK);
	struct awaiter awaiter = {.pending = &pending};
	pthread_t thread;
	sem_init(&awaiter.awaited, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, await_append, &awaiter), 0);
	while (atomic_load(&awaiter.thread) == 0 || !sleeps(atomic_load(&awaiter.thread))) usleep(1000);
	assert_int_equal(sem_trywait(&awaiter.awaited), -1);
	let_go(&holder);
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 30;
	int rc;
	while ((rc = sem_timedwait(&awaiter.awaited, &until)) < 0 && errno == EINTR) continue;
	if (rc < 0) fail_msg("the append was stored %d, and nobody said so", atomic_load(&pending.done));
	pthread_join(thread, NULL);
	assert_int_equal(vigia__store_settle(&pending), VIGIA_OK);
	vigia__buf_deinit(&bytes);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)
		IN_BOTH_FORMS(S13_one_order_for_all_threads),
		IN_BOTH_FORMS(S7_one_append_wakes_all),
		TEST(S11_close_wakes_waiters_and_free_waits_for_them),
		IN_BOTH_FORMS(S6_no_wake_up_is_lost),
		IN_BOTH_FORMS(D2_a_commit_holds_no_progress_without_what_was_queued_before),
		TEST(S15_a_store_is_refused_after_fork_and_opens_anew_in_the_child),
		TEST(S15_one_thread_forks_while_another_opens),
		TEST(W19_an_id_has_one_owner_over_all_processes),
		TEST(W19_a_forked_child_does_not_keep_the_id_of_its_dead_parent),
		TEST(W19_an_owner_that_is_not_noted_owns_its_id),
		TEST(W9_a_checkpoint_moves_forward_only),
		IN_BOTH_FORMS(E3_timestamps_do_not_follow_a_clock_that_goes_back),
		IN_BOTH_FORMS(E3_timestamps_do_not_go_back_behind_an_event_nor_when_it_was_removed),
		IN_BOTH_FORMS(S15_a_forked_child_waits_for_no_append_of_its_parent),
		IN_BOTH_FORMS(H2_who_awaits_an_append_is_woken_when_it_is_stored),
		IN_BOTH_FORMS(S5_S8_what_is_wanted_has_no_bound_in_time_what_is_dropped_has_one),
		IN_BOTH_FORMS(R3_every_allocation_may_fail),
		IN_BOTH_FORMS(S18_progress_beyond_the_last_event_is_not_saved),
#undef TEST
	};
	return cmocka_run_group_tests_name("lmdb", tests, NULL, NULL);
}
