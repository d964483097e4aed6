/*
 * test_map.c - the map of a store where address space is short: opening, growing, what other processes enlarged, loans;
 * and a change of its size while others read.
 *
 * mmap and write (a backup's) are replaced for the whole program, liblmdb included, so that they can refuse and wait;
 * and so is LMDB's copy, before which something can happen.
 */
#include "folder.h"

#include <dlfcn.h>
#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/lmdb_private.h"
#include "store/store.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { SANITIZED = 1 }; /* they take more address space than any limit leaves */
#else
enum { SANITIZED = 0 };
#endif

static atomic_int refuse; /* how many maps of files are to be refused */

#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__ /* theirs is needed */
VIGIA_API void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (fd >= 0 && prot == PROT_READ && (flags & MAP_SHARED) && atomic_load(&refuse) > 0) {
		atomic_fetch_sub(&refuse, 1);
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
}
#endif

static atomic_bool hold_writes,
	held; /* write() of more than the meta pages, for which writers wait, waits as long as the first is set */

VIGIA_API ssize_t write(int fd, const void *data, size_t len)
{
	while (len > 8192 && atomic_load(&hold_writes)) {
		atomic_store(&held, true);
		usleep(1000);
	}
	return syscall(SYS_write, fd, data, len);
}

static void (*before_copy)(void); /* once */
static int copy_fails;

VIGIA_API int mdb_env_copyfd2(MDB_env *env, mdb_filehandle_t fd, unsigned flags)
{
	int (*real)(MDB_env * env, mdb_filehandle_t fd, unsigned flags);
	void *found = dlsym(RTLD_NEXT, "mdb_env_copyfd2");
	void (*act)(void) = before_copy;
	memcpy(&real, &found, sizeof real);
	before_copy = NULL;
	if (act) act();
	return copy_fails ? copy_fails : real(env, fd, flags);
}

/* ---- a folder, a store ---- */

static int open_sized(int64_t map_size, struct vigia_store **out, struct vigia_error *err)
{
	struct vigia_store_options options = quiet_options();
	options.map_size_bytes = map_size;
	return vigia_store_open(path, &options, out, err);
}

static struct vigia_store *open_store(int64_t map_size)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	if (open_sized(map_size, &store, &err) < 0) fail_msg("%s", err.message);
	return store;
}

/* Without syncs: as many megabytes as it takes. */
static void be_quick(struct vigia_store *store)
{
	struct vigia_store_options changes;
	vigia_store_options_init(&changes);
	changes.durability = VIGIA_DURABILITY_NONE;
	changes.durability_given = true;
	assert_int_equal(vigia_store_configure(store, &changes, NULL), VIGIA_OK);
}

static _Thread_local uint8_t payload[1 << 20];

static int append(struct vigia_store *store, size_t len, struct vigia_error *err)
{
	payload[0] = 0xc6; /* a msgpack bin */
	for (int i = 0; i < 4; i++) payload[1 + i] = (uint8_t)(len >> (24 - 8 * i));
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {(char *)payload, len + 5}};
	return vigia_store_append(store, &event, 1, NULL, err);
}

static int read_last(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err)
{
	struct vigia_iterator next;
	uint64_t last;
	int rc = vigia_store_latest(store, &last, err);
	if (rc < 0) return rc;
	struct vigia_batch *batch = vigia_batch_new();
	rc = vigia_store_read(store, &(struct vigia_read){.size = sizeof(struct vigia_read), .from = {VIGIA_AT, last}},
	                      batch, &next, err);
	if (rc == VIGIA_OK && vigia_batch_count(batch) != 1) rc = VIGIA_NONE;
	vigia_batch_free(batch);
	*seq_num = last;
	return rc;
}

/* The last number in the copy of a backup; 0: it cannot be read. */
static uint64_t latest_of_copy(void)
{
	struct vigia_store *store;
	struct vigia_error err;
	uint64_t last = 0;
	snprintf(path, sizeof path, "%s/copy", folder);
	if (open_sized(0, &store, &err) < 0) return 0;
	if (read_last(store, &last, &err) < 0) last = 0;
	vigia_store_free(store);
	return last;
}

/* `spare` bytes more than this process has now. */
static void limit_to(size_t spare)
{
	struct rlimit limit;
	long pages;
	FILE *file = fopen("/proc/self/statm", "r");
	if (fscanf(file, "%ld", &pages) != 1) abort();
	fclose(file);
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = (size_t)pages * 4096 + spare;
	if (setrlimit(RLIMIT_AS, &limit) < 0) abort();
}

static void no_limit(void)
{
	struct rlimit limit;
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_AS, &limit) < 0) abort();
}

/* Runs `act` in a child process, where a failed expectation ends with the number of its line, a crash with a signal. */
#define expect(what)                                           \
	do {                                                       \
		if (!(what)) {                                         \
			fprintf(stderr, "line %d: %s\n", __LINE__, #what); \
			_exit(1);                                          \
		}                                                      \
	} while (0)

static void in_child(void (*act)(void))
{
	int status;
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL); /* cmocka's handler would go on with its tests */
		signal(SIGBUS, SIG_DFL);
		act();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (status != 0) fail_msg("the child ended with status %#x", (unsigned)status);
}

/* ---- address space that is not granted ---- */

enum { MB = 1 << 20 };

static void open_and_grow(void)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	uint64_t last;
	struct rlimit limit = {500000 * 1024ul, RLIM_INFINITY}; /* ulimit -v 500000 */
	setrlimit(RLIMIT_AS, &limit);
	expect(open_sized(0, &store, &err) == VIGIA_OK);
	be_quick(store);
	/* It grows while that is granted... */
	for (int i = 0; i < 150; i++) expect(append(store, MB - 100, &err) == VIGIA_OK);
	limit_to(8 * MB); /* for events, not for the map */
	int rc = VIGIA_OK, more = 0;
	while (more < 1000 && (rc = append(store, MB - 100, &err)) == VIGIA_OK) more++;
	expect(rc == VIGIA_EFULL && strstr(err.message, "address space"));
	/* ...and when it is not, all else works... */
	expect(read_last(store, &last, &err) == VIGIA_OK && last == (uint64_t)(150 + more));
	expect(vigia_checkpoint_put(store, "w", 1, &err) == VIGIA_OK);
	/* ...until it is granted again. */
	no_limit();
	for (int i = 0; i < 5; i++) expect(append(store, MB - 100, &err) == VIGIA_OK);
	vigia_store_free(store);
	/* Opened again, it takes what the file needs. */
	limit_to((size_t)(150 + more + 30) * MB);
	expect(open_sized(0, &store, &err) == VIGIA_OK);
	expect(read_last(store, &last, &err) == VIGIA_OK);
	vigia_store_free(store);
	/* Less than that is an error. */
	limit_to(20 * MB);
	expect(open_sized(0, &store, &err) == VIGIA_ENOMEM && strstr(err.message, "address space"));
}

static void D4l_a_store_opens_where_a_small_map_is_granted_and_grows(void **state)
{
	(void)state;
	if (SANITIZED) skip();
	in_child(open_and_grow);
}

/* A map that may not grow is full: half of it is removed, and used again. */
static void fill_and_trim(void)
{
	enum { EVENT_BYTES = 20000, ROUNDS = 3 };
	struct vigia_store *store;
	struct vigia_error err = {0};
	limit_to(40 * MB);
	expect(open_sized(0, &store, &err) == VIGIA_OK);
	be_quick(store);
	limit_to(8 * MB); /* less than a step leaves to the process */
	uint64_t last = 0, before = 0;
	for (int round = 0; round < ROUNDS; round++) {
		int rc;
		uint64_t removed = 0;
		while ((rc = append(store, EVENT_BYTES, &err)) == VIGIA_OK) last++;
		expect(rc == VIGIA_EFULL && last - before > 50);
		expect(vigia_checkpoint_put(store, "w", last, &err) == VIGIA_OK);
		uint64_t upto = before + (last - before) / 2;
		rc = vigia_store_trim(store, upto, &removed, &err);
		if (rc < 0) fprintf(stderr, "%s\n", err.message);
		expect(rc == VIGIA_OK && removed == upto - before);
		before = upto;
	}
	vigia_store_free(store);
}

static void D4l_a_map_that_may_not_grow_is_trimmed_when_it_is_full(void **state)
{
	(void)state;
	if (SANITIZED) skip();
	in_child(fill_and_trim);
}

static int ready[2], filled[2]; /* pipes */

static void follow_another(void)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	uint64_t last;
	char c;
	limit_to(40 * MB);
	expect(open_sized(0, &store, &err) == VIGIA_OK);
	expect(append(store, 100, &err) == VIGIA_OK);
	limit_to(MB);
	expect(write(ready[1], "", 1) == 1 && read(filled[0], &c, 1) == 1);
	for (int i = 0; i < 3; i++) {
		expect(read_last(store, &last, &err) == VIGIA_ENOMEM && strstr(err.message, "address space"));
		expect(append(store, 100, &err) == VIGIA_ENOMEM);
		expect(vigia_checkpoint_put(store, "w", 1, &err) == VIGIA_ENOMEM);
	}
	limit_to(200 * MB); /* not as much as the file says */
	expect(read_last(store, &last, &err) == VIGIA_OK && last == 81);
	expect(append(store, 100, &err) == VIGIA_OK);
	vigia_store_free(store);
}

/* Another process made the map larger, and this one may not. */
static void D4m_a_map_that_another_process_enlarged(void **state)
{
	(void)state;
	int status;
	char c;
	if (SANITIZED) skip();
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(filled), 0);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		follow_another();
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	struct vigia_store *store = open_store(0);
	be_quick(store);
	for (int i = 0; i < 80; i++) assert_int_equal(append(store, MB - 100, NULL), VIGIA_OK);
	assert_int_equal(write(filled[1], "", 1), 1);
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	vigia_store_free(store);
	close(ready[0]);
	close(filled[0]);
	close(filled[1]);
}

static void open_and_collect(void)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	if (vigia_store_open(path, NULL, &store, &err) < 0) fprintf(stderr, "%s (%s)\n", err.message, err.cause);
	expect(err.code == VIGIA_OK);
	vigia_store_free(store);
}

/* Threads of ours have small stacks, and glibc takes from them what is thread-local in the whole program: `payload`
 * here. */
static void R2_a_store_opens_in_a_program_with_large_thread_local_variables(void **state)
{
	(void)state;
	in_child(open_and_collect);
}

static pid_t elsewhere;

/* Another process, which was forked before: no fork in the middle of a call. */
static void append_elsewhere(void)
{
	int status;
	if (write(ready[1], "", 1) == 1 && waitpid(elsewhere, &status, 0) == elsewhere && status == 0) return;
	fail_msg("the other process could not append");
}

static void wait_and_append_with_a_larger_map(void)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	char c;
	expect(read(ready[0], &c, 1) == 1);
	expect(open_sized(64 * MB, &store, &err) == VIGIA_OK);
	for (int i = 0; i < 3; i++) expect(append(store, MB - 100, &err) == VIGIA_OK);
	vigia_store_free(store);
}

/* LMDB copies in a transaction of its own, which begins a little later than ours. */
static void A3_a_backup_while_another_process_enlarges_the_map(void **state)
{
	(void)state;
	char copy[FOLDER_MAX + 16];
	struct vigia_error err = {0};
	snprintf(copy, sizeof copy, "%s/copy", folder);
	assert_int_equal(pipe(ready), 0);
	fflush(NULL);
	elsewhere = fork();
	if (elsewhere == 0) {
		close(ready[1]); /* the end of the test is an end for this, too */
		wait_and_append_with_a_larger_map();
		_exit(0);
	}
	struct vigia_store *store = open_store(MB);
	assert_int_equal(append(store, 100, &err), VIGIA_OK);
	before_copy = append_elsewhere;
	if (vigia_store_backup(store, copy, true, &err) < 0) fail_msg("%s (%s)", err.message, err.cause);
	copy_fails = ENOMEM;
	unlink(copy);
	assert_int_equal(vigia_store_backup(store, copy, true, &err), VIGIA_ENOMEM);
	copy_fails = 0;
	assert_int_equal(vigia_store_backup(store, copy, true, &err), VIGIA_OK);
	vigia_store_free(store);
	assert_int_equal(latest_of_copy(), 4);
	for (int i = 0; i < 2; i++) close(ready[i]);
}

static void borrow(void)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	uint64_t removed, last;
	expect(open_sized(256 * 1024, &store, &err) == VIGIA_OK);
	while (append(store, 3000, &err) == VIGIA_OK) continue;
	limit_to(0);
	for (int i = 0; i < 3; i++) {
		int rc = vigia_store_trim(store, 20, &removed, &err);
		expect(rc == VIGIA_OK || rc == VIGIA_EFULL || rc == VIGIA_ENOMEM);
		rc = append(store, 3000, &err);
		expect(rc == VIGIA_OK || rc == VIGIA_EFULL || rc == VIGIA_ENOMEM);
		expect(read_last(store, &last, &err) == VIGIA_OK && last > 40);
	}
	no_limit();
	expect(vigia_store_trim(store, 30, &removed, &err) == VIGIA_OK);
	expect(append(store, 3000, &err) == VIGIA_OK);
	vigia_store_free(store);
}

static void D4n_a_loan_that_is_not_granted(void **state)
{
	(void)state;
	if (SANITIZED) skip();
	in_child(borrow);
}

static void refused(void)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	uint64_t removed, last = 0, oldest = 0;
	expect(open_sized(256 * 1024, &store, &err) == VIGIA_OK);
	while (append(store, 3000, &err) == VIGIA_OK) last++;
	for (int n = 1; n <= 4; n++) {
		/* The loan, giving it back, opening again... */
		atomic_store(&refuse, n);
		int rc = vigia_store_trim(store, (uint64_t)n, &removed, &err);
		expect(rc == VIGIA_OK || rc == VIGIA_ENOMEM || rc == VIGIA_EFULL);
		atomic_store(&refuse, 0);
		expect(vigia_store_trim(store, (uint64_t)n + 4, &removed, &err) == VIGIA_OK);
		expect(vigia_store_oldest(store, &oldest, &err) == VIGIA_OK && oldest == (uint64_t)n + 5);
		uint64_t there;
		expect(read_last(store, &there, &err) == VIGIA_OK && there == last);
	}
	vigia_store_free(store);
}

/* The system says yes, and then no. */
static void D4o_a_map_that_was_lost_is_opened_again(void **state)
{
	(void)state;
	if (SANITIZED) skip();
	in_child(refused);
}

/* ---- a full map while others use it ---- */

enum { SCANNERS = 2 };

static atomic_bool enough;

/* Holds the map nearly all the time: scans without a pause, of all there is. */
static void *scan(void *arg)
{
	struct vigia_store *store = arg;
	struct vigia_batch *batch = vigia_batch_new();
	while (!atomic_load(&enough)) {
		struct vigia_iterator next;
		struct vigia_error err;
		struct vigia_read request = {.size = sizeof request, .from = {VIGIA_AT, 30}};
		int rc = vigia_store_read(store, &request, batch, &next, &err);
		if (rc < 0) fail_msg("%s", err.message);
	}
	vigia_batch_free(batch);
	return NULL;
}

/* Loans begin and end though there is always somebody who reads. */
static void D4p_a_change_of_size_goes_before_new_readers(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(1 << 20);
	struct vigia_error err = {0};
	pthread_t threads[SCANNERS];
	uint64_t last = 0, removed;
	int64_t slowest = 0;
	int rc;
	be_quick(store);
	while ((rc = append(store, 3000, &err)) == VIGIA_OK) last++;
	assert_int_equal(rc, VIGIA_EFULL);
	atomic_store(&enough, false);
	for (int i = 0; i < SCANNERS; i++) pthread_create(&threads[i], NULL, scan, store);
	for (int i = 0; i < 20; i++) {
		int64_t begin = vigia__mono_ns();
		rc = append(store, 30000, &err);
		if (rc != VIGIA_EFULL) fail_msg("%s", err.message);
		if (vigia_store_trim(store, 1 + (uint64_t)i % 2, &removed, &err) < 0) fail_msg("%s", err.message);
		if (vigia__mono_ns() - begin > slowest) slowest = vigia__mono_ns() - begin;
	}
	atomic_store(&enough, true);
	for (int i = 0; i < SCANNERS; i++) pthread_join(threads[i], NULL);
	if (slowest > 3000000000) fail_msg("it took %.1f s", (double)slowest / 1e9);
	vigia_store_free(store);
}

static bool compacts;

static void *back_up(void *arg)
{
	char target[FOLDER_MAX + 16];
	struct vigia_error err = {0};
	snprintf(target, sizeof target, "%s/copy", folder);
	if (vigia_store_backup(arg, target, compacts, &err) < 0) fail_msg("%s", err.message);
	return NULL;
}

/* A backup that waits in the middle of its work. */
static pthread_t begin_backup(struct vigia_store *store)
{
	pthread_t thread;
	atomic_store(&held, false);
	atomic_store(&hold_writes, true);
	pthread_create(&thread, NULL, back_up, store);
	while (!atomic_load(&held)) sched_yield();
	return thread;
}

static void D4q_a_backup_delays_nobody(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(1 << 20);
	struct vigia_error err = {0};
	uint64_t last, removed;
	be_quick(store);
	while (append(store, 3000, &err) == VIGIA_OK) continue;
	assert_int_equal(vigia_store_trim(store, 20, &removed, &err),
	                 VIGIA_OK); /* three commits on, its pages can be used */
	assert_int_equal(vigia_checkpoint_put(store, "w", 1, &err), VIGIA_OK);
	assert_int_equal(vigia_checkpoint_put(store, "w", 2, &err), VIGIA_OK);
	pthread_t thread = begin_backup(store);
	int64_t begin = vigia__mono_ns();
	assert_int_equal(append(store, 3000, &err), VIGIA_OK);
	assert_error(append(store, 500000, &err), VIGIA_EFULL, &err, "full");
	assert_int_equal(read_last(store, &last, &err), VIGIA_OK);
	int64_t took = vigia__mono_ns() - begin;
	atomic_store(&hold_writes, false);
	pthread_join(thread, NULL);
	if (took > 2000000000) fail_msg("it took %.1f s", (double)took / 1e9);
	assert_int_equal(append(store, 3000, &err), VIGIA_OK);
	vigia_store_free(store);
}

/* Sixty megabytes, or as many as it takes where the map cannot grow. Whether all of it could be stored while the backup
 * waited. */
static void grow_beside_a_backup(void)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	int rc = VIGIA_OK, count = 0;
	limit_to(100 * MB);
	expect(open_sized(0, &store, &err) == VIGIA_OK);
	expect(append(store, 3000, &err) == VIGIA_OK);
	pthread_t thread = begin_backup(store);
	int64_t slowest = 0;
	while (count < (compacts ? 200 : 60) && rc == VIGIA_OK) {
		int64_t begin = vigia__mono_ns();
		rc = append(store, MB - 100, &err);
		if (vigia__mono_ns() - begin > slowest) slowest = vigia__mono_ns() - begin;
		count++;
	}
	if (compacts) expect(rc == VIGIA_EFULL && strstr(err.message, "backup"));
	else expect(rc == VIGIA_OK);
	expect(slowest < 2000000000);
	atomic_store(&hold_writes, false);
	pthread_join(thread, NULL);
	for (int i = 0; compacts && i < 10; i++) expect(append(store, MB - 100, &err) == VIGIA_OK);
	vigia_store_free(store);
	no_limit();
	expect(latest_of_copy() == 1);
}

static void D4r_a_map_grows_beside_a_backup_or_says_that_it_cannot_beside_one_that_compacts(void **state)
{
	(void)state;
	if (SANITIZED) skip();
	for (int i = 0; i < 2; i++) {
		compacts = i == 1;
		in_child(grow_beside_a_backup);
		folder_empty(folder);
	}
	compacts = false;
}

/* It begins anew: nobody keeps the pages of the first snapshot any more. */
static void D4_a_backup_whose_environment_is_opened_again(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(16 * MB);
	struct lmdb_backend *b = (struct lmdb_backend *)store->backend;
	struct vigia_error err = {0};
	for (int i = 0; i < 3; i++)
		assert_int_equal(append(store, MB - 100, &err), VIGIA_OK); /* it is copied in several pieces */
	pthread_t thread = begin_backup(store);
	assert_int_equal(vigia__lmdb_map_claim(b), 0);
	vigia__lmdb_env_close(b);
	vigia__lmdb_map_leave(b);
	for (int i = 0; i < 10; i++) assert_int_equal(append(store, 3000, &err), VIGIA_OK);
	atomic_store(&hold_writes, false);
	pthread_join(thread, NULL);
	vigia_store_free(store);
	assert_int_equal(latest_of_copy(), 13);
}

/* ---- readers that follow one another closely ---- */

static atomic_int inside, turns; /* of the lock: how many readers; how often one came in beside another one */

/* Leaves when another one has come in: at each moment one is inside, unless the lock holds the others up. Then it
 * leaves sooner than a change of size looks again. */
static void *read_hand_over_hand(void *arg)
{
	struct lmdb_backend *b = arg;
	while (!atomic_load(&enough)) {
		vigia__lmdb_map_enter(b);
		if (atomic_fetch_add(&inside, 1) > 0) atomic_fetch_add(&turns, 1);
		for (int i = 0; i < 20 && atomic_load(&inside) < 2 && !atomic_load(&enough); i++) usleep(500);
		atomic_fetch_sub(&inside, 1);
		vigia__lmdb_map_leave(b);
	}
	return NULL;
}

/* The lock prefers the thread that changes the size, or those that read would keep it out for ever. */
static void D4_a_change_of_size_gets_its_turn_among_readers(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(1 << 20);
	struct lmdb_backend *b = (struct lmdb_backend *)store->backend;
	pthread_t threads[3];
	atomic_store(&enough, false);
	for (size_t i = 0; i < COUNT_OF(threads); i++) pthread_create(&threads[i], NULL, read_hand_over_hand, b);
	while (atomic_load(&turns) < 10) usleep(1000);
	int rc = EBUSY;
	/* On a busy machine a reader may sleep for longer than a change of size waits. */
	for (int tries = 0; tries < 20 && rc == EBUSY; tries++) rc = vigia__lmdb_map_claim(b);
	if (rc == 0) vigia__lmdb_map_leave(b);
	atomic_store(&enough, true);
	for (size_t i = 0; i < COUNT_OF(threads); i++) pthread_join(threads[i], NULL);
	assert_int_equal(rc, 0);
	vigia_store_free(store);
}

/* ---- callers that share a commit ---- */

enum { PRODUCERS = 3, SAVES = 300 };

static void *produce(void *arg)
{
	struct vigia_error err = {0};
	while (!atomic_load(&enough)) {
		int rc = append(arg, 200000, &err);
		if (rc < 0 && rc != VIGIA_EFULL) fail_msg("%s", err.message);
	}
	return NULL;
}

/* Beside producers on a full map, whose appends all fail, what takes hardly any room and what frees some succeed. */
static void D4s_one_callers_failure_is_its_own(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(1 << 20);
	struct vigia_error err = {0};
	pthread_t threads[PRODUCERS];
	uint64_t saved, removed, last = 0;
	be_quick(store);
	while (append(store, 3000, &err) == VIGIA_OK) last++;
	atomic_store(&enough, false);
	for (int i = 0; i < PRODUCERS; i++) pthread_create(&threads[i], NULL, produce, store);
	for (uint64_t i = 1; i <= SAVES; i++) {
		if (vigia_checkpoint_put(store, "w", i % last, &err) < 0) fail_msg("save %d: %s", (int)i, err.message);
		if (i % 100 == 0 && vigia_store_trim(store, i / 100, &removed, &err) < 0)
			fail_msg("trim %d: %s", (int)i, err.message);
		if (i % 100 == 50 && vigia_checkpoint_put(store, "gone", 1, &err) < 0) fail_msg("%s", err.message);
		if (i % 100 == 51 && vigia_checkpoint_delete(store, "gone", &err) < 0) fail_msg("%s", err.message);
	}
	atomic_store(&enough, true);
	for (int i = 0; i < PRODUCERS; i++) pthread_join(threads[i], NULL);
	assert_int_equal(vigia_checkpoint_get(store, "w", &saved, &err), VIGIA_OK);
	assert_int_equal(saved, SAVES % last);
	vigia_store_free(store);
}

static void *store_too_much(void *arg)
{
	enum { COUNT = 10 };
	struct vigia_new_event events[COUNT];
	static uint8_t large[1 << 20] = {0xc6, 0, 0x0f, 0, 0};
	for (int i = 0; i < COUNT; i++)
		events[i] = (struct vigia_new_event){{"CREATE", 6}, {"Large", 5}, {(char *)large, 0x0f0000 + 5}};
	while (!atomic_load(&enough)) {
		struct vigia_error err = {0};
		if (vigia_store_append(arg, events, COUNT, NULL, &err) != VIGIA_EFULL) fail_msg("%s", err.message);
	}
	return NULL;
}

static atomic_int stored;

static void *store_little(void *arg)
{
	struct vigia_new_event event = {{"CREATE", 6}, {"Small", 5}, {"\x01", 1}};
	for (int i = 0; i < 100; i++) {
		struct vigia_error err = {0};
		if (vigia_store_append(arg, &event, 1, NULL, &err) < 0) fail_msg("%s", err.message);
		atomic_fetch_add(&stored, 1);
	}
	return NULL;
}

static void D4t_what_is_too_large_does_not_fail_what_is_small(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(4 << 20);
	pthread_t large, small[PRODUCERS];
	uint64_t last;
	be_quick(store);
	atomic_store(&enough, false);
	atomic_store(&stored, 0);
	pthread_create(&large, NULL, store_too_much, store);
	for (int i = 0; i < PRODUCERS; i++) pthread_create(&small[i], NULL, store_little, store);
	for (int i = 0; i < PRODUCERS; i++) pthread_join(small[i], NULL);
	atomic_store(&enough, true);
	pthread_join(large, NULL);
	assert_int_equal(vigia_store_latest(store, &last, NULL), VIGIA_OK);
	assert_int_equal(last, PRODUCERS * 100);
	assert_int_equal(atomic_load(&stored), PRODUCERS * 100);
	vigia_store_free(store);
}

/* ---- a full map and appends that wait for a commit ---- */

enum { STORED = 40, QUEUED = 50 };

/* STORED events in the file, QUEUED more in memory, for which there is no room. */
static struct vigia_store *open_queuing(void)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.map_size_bytes = 256 * 1024;
	options.collect = false;
	options.durability = VIGIA_DURABILITY_INTERVAL;
	options.commit_interval_ns = INT64_C(3600) * 1000000000;
	options.durability_given = options.commit_interval_given = true;
	if (vigia_store_open(path, &options, &store, &err) < 0) fail_msg("%s", err.message);
	for (int i = 0; i < STORED; i++) assert_int_equal(append(store, 3000, &err), VIGIA_OK);
	assert_int_equal(vigia_checkpoint_put(store, "old", 1, &err), VIGIA_OK); /* a commit */
	for (int i = 0; i < QUEUED; i++) assert_int_equal(append(store, 10000, &err), VIGIA_OK);
	return store;
}

static uint64_t latest(struct vigia_store *store)
{
	uint64_t last = 0;
	assert_int_equal(vigia_store_latest(store, &last, NULL), VIGIA_OK);
	return last;
}

static void D2n_what_frees_room_goes_before_the_queue(void **state)
{
	(void)state;
	struct vigia_store *store = open_queuing();
	struct vigia_error err = {0};
	struct vigia_store_options changes;
	struct vigia_gc gc;
	uint64_t removed, oldest;
	assert_int_equal(vigia_store_sync(store, NULL, &err), VIGIA_EFULL);
	assert_int_equal(append(store, 100, &err), VIGIA_EFULL);
	assert_int_equal(vigia_store_trim(store, 5, &removed, &err), VIGIA_OK);
	assert_int_equal(removed, 5);
	vigia_store_options_init(&changes);
	changes.max_events = 30;
	changes.max_events_given = true;
	changes.retention_passes_checkpoints = true;
	changes.retention_passes_checkpoints_given = true;
	if (vigia_store_configure(store, &changes, &err) < 0) fail_msg("%s", err.message);
	if (vigia_store_gc(store, &gc, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(gc.removed, 5);
	if (vigia_checkpoint_delete(store, "old", &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(latest(store), STORED); /* nothing of the queue */
	assert_int_equal(vigia_store_oldest(store, &oldest, &err), VIGIA_OK);
	assert_int_equal(oldest, 11);
	vigia_store_free(store);
	/* And it is all there in the end. */
	store = open_store(256 * 1024);
	assert_int_equal(latest(store), STORED + QUEUED);
	vigia_store_free(store);
}

/* A checkpoint takes the queue along, so that it gets ahead of nothing. Then there is more in the file than its map
 * should hold: an append that is acknowledged is stored. */
static void D2o_a_checkpoint_takes_the_queue_along_though_the_map_is_full(void **state)
{
	(void)state;
	struct vigia_store *store = open_queuing();
	struct vigia_error err = {0};
	uint64_t removed, saved;
	if (vigia_checkpoint_put(store, "w", 20, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(latest(store), STORED + QUEUED);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(append(store, 10000, &err), VIGIA_EFULL);
		assert_int_equal(latest(store), STORED + QUEUED);
	}
	assert_int_equal(vigia_store_trim(store, STORED + QUEUED - 5, &removed, &err), VIGIA_OK);
	if (append(store, 10000, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(latest(store), STORED + QUEUED + 1);
	/* That found room: others may wait again. */
	assert_int_equal(append(store, 100, &err), VIGIA_OK);
	assert_int_equal(latest(store), STORED + QUEUED + 1);
	vigia_store_free(store);
	store = open_store(256 * 1024);
	assert_int_equal(latest(store), STORED + QUEUED + 2);
	assert_int_equal(vigia_checkpoint_get(store, "w", &saved, &err), VIGIA_OK);
	assert_int_equal(saved, 20);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(D4l_a_map_that_may_not_grow_is_trimmed_when_it_is_full, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(D4l_a_store_opens_where_a_small_map_is_granted_and_grows, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(D4m_a_map_that_another_process_enlarged, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(R2_a_store_opens_in_a_program_with_large_thread_local_variables, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(A3_a_backup_while_another_process_enlarges_the_map, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(D4n_a_loan_that_is_not_granted, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D4o_a_map_that_was_lost_is_opened_again, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D4p_a_change_of_size_goes_before_new_readers, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D4_a_change_of_size_gets_its_turn_among_readers, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D4q_a_backup_delays_nobody, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D4r_a_map_grows_beside_a_backup_or_says_that_it_cannot_beside_one_that_compacts,
	                                    folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D4_a_backup_whose_environment_is_opened_again, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D4s_one_callers_failure_is_its_own, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D4t_what_is_too_large_does_not_fail_what_is_small, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(D2n_what_frees_room_goes_before_the_queue, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D2o_a_checkpoint_takes_the_queue_along_though_the_map_is_full, folder_setup,
	                                    folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
