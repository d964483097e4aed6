/*
 * test_large.c - a large file becomes longer by parts of 2 MiB, which the system caches in one piece each where it can:
 * another process then maps a part by one fault.
 */
#include "events.h"
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/lmdb_private.h"
#include "store/store.h"

enum { PART = 2 << 20, LARGE = 64 << 20, BATCH = 1000 };

static bool refuses_maps; /* of a part, for reading */

#ifndef __SANITIZE_THREAD__ /* it maps before the program begins */
VIGIA_API void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (refuses_maps && protection == PROT_READ && fd >= 0 && bytes == PART) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset); /* NOLINT */
}
#endif

static int setup(void **state)
{
	refuses_maps = false;
	return folder_setup(state);
}

static struct vigia_store *open_at(int durability)
{
	struct vigia_store_options options = quiet_options();
	options.durability = durability;
	options.durability_given = true;
	return open_with(&options);
}

static void add_batch(struct vigia_store *store)
{
	static struct vigia_new_event events[BATCH];
	struct vigia_error err = {0};
	for (int i = 0; i < BATCH; i++) events[i] = (struct vigia_new_event){{"CREATE", 6}, {"T", 1}, payload_of(150)};
	if (vigia_store_append(store, events, BATCH, NULL, &err) < 0) fail_msg("%s", err.message);
}

/* In a commit of LMDB's. */
static void add_by_key(struct vigia_store *store, size_t bytes)
{
	static unsigned n;
	char key[32];
	struct vigia_error err = {0};
	struct vigia_new_event event = {{"CREATE", 6}, {"K", 1}, payload_of(bytes)};
	struct vigia_append_options options = {.size = sizeof options, .key = {key, 0}};
	options.key.len = (size_t)snprintf(key, sizeof key, "%u", n++);
	if (vigia_store_append_with(store, &event, 1, &options, NULL, NULL, &err) < 0) fail_msg("%s", err.message);
}

static off_t size_now(off_t *blocks)
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	if (blocks) *blocks = (off_t)st.st_blocks * 512;
	return st.st_size;
}

static void fill(struct vigia_store *store, off_t bytes)
{
	while (size_now(NULL) < bytes) add_batch(store);
}

/* Page faults of a process that looks at each page of a part for the first time. */
static long faults_of(int fd, off_t at)
{
	struct rusage before, after;
	volatile const char *map = (const char *)syscall(SYS_mmap, NULL, PART, PROT_READ, MAP_SHARED, fd, at); /* NOLINT */
	assert_true(map != MAP_FAILED);
	getrusage(RUSAGE_SELF, &before);
	for (size_t i = 0; i < PART; i += 4096) (void)map[i];
	getrusage(RUSAGE_SELF, &after);
	syscall(SYS_munmap, map, PART);
	return after.ru_minflt - before.ru_minflt;
}

/* Whether this system can: a file is read there as the library does it. */
static bool has_large_pieces(void)
{
	char probe[FOLDER_MAX + 32];
	snprintf(probe, sizeof probe, "%s/probe", folder);
	int fd = open(probe, O_RDWR | O_CREAT, 0600);
	bool can = fd >= 0 && fallocate(fd, 0, 0, PART) == 0;
	void *map = can ? (void *)syscall(SYS_mmap, NULL, PART, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED; /* NOLINT */
	can = map != MAP_FAILED && madvise(map, PART, MADV_HUGEPAGE) == 0 && madvise(map, 4096, MADV_POPULATE_READ) == 0;
	if (can) can = faults_of(fd, 0) <= 4;
	if (map != MAP_FAILED) syscall(SYS_munmap, map, PART);
	close(fd);
	unlink(probe);
	return can;
}

static void D1_a_large_file_has_parts(int durability)
{
	off_t blocks, size;
	struct vigia_store *store = open_at(durability);
	if (durability == VIGIA_DURABILITY_COMMIT) { /* by commits that are small beside a part */
		fill(store, LARGE);
		while (size_now(NULL) < LARGE + 8 * PART) add_by_key(store, 50000);
	}
	fill(store, LARGE + 8 * PART);
	size = size_now(&blocks);
	assert_int_equal(size % PART, 0);
	assert_true(blocks >= size); /* no holes */
	add_batch(store);
	if (has_large_pieces()) {
		int fd = open(path, O_RDONLY), large = 0;
		for (off_t at = LARGE + PART; at + PART <= size; at += PART) large += faults_of(fd, at) <= 4;
		close(fd);
		assert_in_range(large, 5, 8); /* memory may be in pieces */
	}
	uint64_t last = latest(store);
	vigia_store_free(store);
	store = open_at(durability);
	assert_int_equal(latest(store), last);
	assert_int_equal(count(store, "T") + count(store, "K"), last);
	vigia_store_free(store);
}

static void D1_parts_at_commit(void **state)
{
	(void)state;
	D1_a_large_file_has_parts(VIGIA_DURABILITY_COMMIT);
}

static void D3_parts_at_none(void **state)
{
	(void)state;
	D1_a_large_file_has_parts(VIGIA_DURABILITY_NONE);
}

/* Else the last part in a reserve would be made of small pieces: one in eight of a file of 256 MiB. */
static void the_reserve_ends_with_a_part(void **state)
{
	(void)state;
	assert_int_equal(vigia__lmdb_large_reserve(LARGE - 4096, LARGE + 4096), LARGE + 4096);
	assert_int_equal(vigia__lmdb_large_reserve(LARGE, LARGE + 4096), LARGE + PART);
	assert_int_equal(vigia__lmdb_large_reserve(LARGE, LARGE + 3 * PART), LARGE + 3 * PART);
}

/* There a small commit would take twice as long. */
static void D3_small_commits_make_no_part(void **state)
{
	(void)state;
	struct vigia_store *store = open_at(VIGIA_DURABILITY_NONE);
	fill(store, LARGE + PART);
	off_t before = size_now(NULL);
	while (size_now(NULL) == before) add_by_key(store, 10000);
	assert_true(size_now(NULL) - before < PART / 2);
	vigia_store_free(store);
}

#ifndef __SANITIZE_THREAD__
static void D4_without_maps_of_parts(void **state)
{
	(void)state;
	refuses_maps = true;
	struct vigia_store *store = open_at(VIGIA_DURABILITY_COMMIT);
	fill(store, LARGE + 2 * PART);
	assert_int_equal(count(store, "T"), latest(store));
	vigia_store_free(store);
}
#endif

/* The file may not become longer than this: no signal, and nothing is lost. */
static void limited(void)
{
	/* in the last part, whose other half it may not have */
	struct rlimit limit = {LARGE + 2 * PART + PART / 4 * 3, LARGE + 2 * PART + PART / 4 * 3};
	off_t end = (off_t)limit.rlim_cur;
	struct vigia_store *store = open_at(VIGIA_DURABILITY_COMMIT);
	struct vigia_error err = {0};
	fill(store, LARGE);
	setrlimit(RLIMIT_FSIZE, &limit);
	int rc;
	while ((rc = append(store, "T", 50000, NULL, &err)) == VIGIA_OK) continue;
	uint64_t last = latest(store);
	unsigned there = count(store, "T");
	vigia_store_free(store);
	_exit(rc == VIGIA_EDISKFULL && there == last && size_now(NULL) <= end && size_now(NULL) > end - PART / 2 ? 0 : 1);
}

static void D4_parts_end_at_the_limit_on_the_size_of_files(void **state)
{
	(void)state;
	int status;
	pid_t child = fork();
	if (child == 0) limited();
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
}

static void append_for_ever(void)
{
	struct vigia_store *store = open_at(VIGIA_DURABILITY_COMMIT);
	for (;;) add_batch(store);
}

/* Longer than LMDB needs: so a killed process leaves the file, and so it is copied. */
static void D1_a_longer_file_is_opened_and_copied(void **state)
{
	(void)state;
	char copy[FOLDER_MAX + 32];
	struct vigia_error err = {0};
	snprintf(copy, sizeof copy, "%s/copy", folder);
	struct vigia_store *store = open_at(VIGIA_DURABILITY_COMMIT);
	fill(store, LARGE);
	vigia_store_free(store);
	for (int round = 1; round <= 3; round++) {
		pid_t child = fork();
		if (child == 0) append_for_ever();
		while (size_now(NULL) < LARGE + 3 * round * PART) usleep(100);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		store = open_at(VIGIA_DURABILITY_COMMIT);
		uint64_t last = latest(store);
		assert_int_equal(last % BATCH, 0);
		assert_int_equal(count(store, "T"), last);
		if (vigia_store_backup(store, copy, false, &err) < 0) fail_msg("%s", err.message);
		vigia_store_free(store);
		char original[sizeof path];
		memcpy(original, path, sizeof path);
		memcpy(path, copy, strlen(copy) + 1);
		store = open_at(VIGIA_DURABILITY_COMMIT);
		assert_int_equal(count(store, "T"), last);
		vigia_store_free(store);
		unlink(copy);
		memcpy(path, original, sizeof path);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, folder_teardown)
	const struct CMUnitTest tests[] = {
		TEST(D1_parts_at_commit),
		TEST(D3_parts_at_none),
		TEST(the_reserve_ends_with_a_part),
		TEST(D3_small_commits_make_no_part),
#ifndef __SANITIZE_THREAD__
		TEST(D4_without_maps_of_parts),
#endif
		TEST(D4_parts_end_at_the_limit_on_the_size_of_files),
		TEST(D1_a_longer_file_is_opened_and_copied),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
