/*
 * test_window.c - durability "none": a record of the journal is copied into the mapped file, where that is safe, and
 * written elsewhere. Either way it stays when the process is killed. Which file system there is, is made up: fstatfs is
 * replaced for the whole program, and mmap, which may be refused.
 */
#include "events.h"
#include "fault.h"
#include "folder.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#include "store/lmdb_private.h"
#include "store/store.h"

static long told;           /* what fstatfs says of every file. 0: it fails */
static bool refuses_window; /* a writable map as large as the journal is refused */

VIGIA_API int fstatfs(int fd, struct statfs *out)
{
	(void)fd;
	memset(out, 0, sizeof *out);
	out->f_type = told;
	errno = EIO;
	return told ? 0 : -1;
}

#ifndef __SANITIZE_THREAD__ /* it maps before the program begins */
VIGIA_API void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	bool is_window = protection & PROT_WRITE && flags & MAP_SHARED && fd >= 0 && bytes >= JOURNAL_BYTES;
	if (is_window && refuses_window) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset); /* NOLINT */
}
#endif

static int setup(void **state)
{
	told = EXT4_SUPER_MAGIC;
	refuses_window = false;
	return folder_setup(state);
}

static struct vigia_store *open_unsynced(void)
{
	struct vigia_store_options options = quiet_options();
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	return open_with(&options);
}

static struct lmdb_backend *backend_of(struct vigia_store *store)
{
	return (struct lmdb_backend *)store->backend;
}

static uint64_t records(struct vigia_store *store)
{
	return atomic_load(&vigia__side_journal(&backend_of(store)->side)->records);
}

static void add(struct vigia_store *store, const char *type, unsigned n)
{
	struct vigia_error err = {0};
	while (n-- > 0)
		if (append(store, type, 100, NULL, &err) < 0) fail_msg("%s", err.message);
}

/* Bytes that a process writes to append 1000 events. All are records of the journal. */
static long long written_for_1000(struct vigia_store *store)
{
	add(store, "first", 1); /* begins a generation */
	uint64_t before = records(store);
	atomic_store(&written_bytes, 0);
	add(store, "T", 1000);
	assert_int_equal(records(store) - before, 1000);
	return atomic_load(&written_bytes);
}

static void D3_a_record_is_copied_without_a_system_call(void **state)
{
	(void)state;
	struct vigia_store *store = open_unsynced();
	assert_int_equal(written_for_1000(store), 0);
	assert_non_null(backend_of(store)->journal.window.area);
	assert_int_equal(count(store, "T"), 1000);
	vigia_store_free(store);
	store = open_unsynced();
	assert_int_equal(count(store, "T"), 1000);
	vigia_store_free(store);
}

/* A store into the map would be a signal where a changed block needs room, and there is none. */
static void D4_a_record_is_written_where_a_copy_may_need_room(void **state)
{
	(void)state;
	static const long systems[] = {BTRFS_SUPER_MAGIC, XFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, 0};
	for (size_t i = 0; i < COUNT_OF(systems); i++) {
		told = systems[i];
		struct vigia_store *store = open_unsynced();
		assert_true(written_for_1000(store) > 100 * 1000);
		assert_null(backend_of(store)->journal.window.area);
		assert_int_equal(count(store, "T"), 1000 * (i + 1));
		vigia_store_free(store);
	}
}

#ifndef __SANITIZE_THREAD__
static void D4_a_record_is_written_where_there_is_no_window(void **state)
{
	(void)state;
	refuses_window = true;
	struct vigia_store *store = open_unsynced();
	assert_true(written_for_1000(store) > 100 * 1000);
	assert_int_equal(count(store, "T"), 1000);
	vigia_store_free(store);
}
#endif

/* At "commit" a copy would not be synced before it is acknowledged. */
static void D1_a_durable_record_is_written(void **state)
{
	(void)state;
	struct vigia_store *store = open_unsynced();
	assert_int_equal(written_for_1000(store), 0);
	struct vigia_store_options changes;
	vigia_store_options_init(&changes);
	changes.durability_given = true;
	assert_int_equal(vigia_store_configure(store, &changes, NULL), VIGIA_OK);
	add(store, "first", 1);
	atomic_store(&written_bytes, 0);
	atomic_store(&syncs, 0);
	add(store, "T", 10);
	assert_int_equal(atomic_load(&written_bytes), 10 * JOURNAL_BLOCK);
	assert_int_equal(atomic_load(&syncs), 10);
	vigia_store_free(store);
}

/* ---- processes ---- */

/* The events that a child was told are stored, and how far it came. */
static _Atomic unsigned *acknowledged;

static void append_until_killed(void)
{
	struct vigia_store *store = open_unsynced();
	for (;;) {
		add(store, "T", 1);
		atomic_fetch_add(acknowledged, 1);
	}
}

static void D3_nothing_acknowledged_is_lost_by_a_kill(void **state)
{
	(void)state;
	acknowledged = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct vigia_store *beside = open_unsynced();
	for (unsigned round = 0; round < 20; round++) {
		unsigned wanted = atomic_load(acknowledged) + 1 + round * 500;
		if (round == 10) { /* from here on without another process, so that the next one opens it alone */
			vigia_store_free(beside);
			beside = NULL;
		}
		pid_t child = fork();
		if (child == 0) append_until_killed();
		while (atomic_load(acknowledged) < wanted) usleep(10);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		struct vigia_store *store = beside ? beside : open_unsynced();
		latest(store); /* finds what the killed process had not shown yet */
		unsigned there = count(store, "T");
		/* One of each round may be stored that no one was told of. */
		assert_in_range(there, atomic_load(acknowledged), atomic_load(acknowledged) + round + 1);
		if (beside == NULL) vigia_store_free(store);
	}
}

static void copy_half_and_die(void)
{
	struct vigia_store *store = open_unsynced();
	struct lmdb_backend *b = backend_of(store);
	add(store, "T", 3);
	struct vigia__journal_words *words = vigia__side_journal(&b->side);
	struct vigia__chain end = b->journal.end;
	/* As vigia__journal_write begins, with half of a record. */
	if (vigia__journal_lock(b, NULL) != VIGIA_OK) _exit(1);
	char bytes[100];
	memset(bytes, 'x', sizeof bytes);
	vigia__record_begin(&b->journal.record, 1, sizeof bytes, VIGIA_RECORD_HEAD);
	vigia__record_add(&b->journal.record, bytes, sizeof bytes);
	vigia__record_end(&b->journal.record, &end, end.last_at);
	atomic_store(&words->ready, 0);
	memcpy(vigia__journal_window(b) + b->journal.end.at, b->journal.record.data, b->journal.record.len / 2);
	kill(getpid(), SIGKILL);
}

static void D3_half_a_record_of_a_killed_process_is_no_event(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		struct vigia_store *beside = round == 0 ? open_unsynced() : NULL;
		int status;
		pid_t child = fork();
		if (child == 0) copy_half_and_die();
		waitpid(child, &status, 0);
		assert_true(WIFSIGNALED(status));
		struct vigia_store *store = beside ? beside : open_unsynced();
		assert_int_equal(latest(store), 3 + round * 5);
		assert_int_equal(count(store, "T"), 3 + round * 5);
		add(store, "T", 2);
		assert_int_equal(count(store, "T"), 5 + round * 5);
		vigia_store_free(store);
	}
}

/* It would take as long as the disk takes for all that was stored since the last one. */
static void D3_an_open_does_not_sync(void **state)
{
	(void)state;
	vigia_store_free(open_unsynced());
	acknowledged = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child = fork();
	if (child == 0) append_until_killed();
	while (atomic_load(acknowledged) < 100) usleep(10);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	atomic_store(&syncs, 0);
	struct vigia_store *store = open_unsynced();
	assert_int_equal(atomic_load(&syncs), 0);
	assert_true(count(store, "T") >= 100);
	vigia_store_free(store);
}

static void append_by_writes(void)
{
	told = BTRFS_SUPER_MAGIC;
	struct vigia_store *store = open_unsynced();
	add(store, "written", 20000);
	vigia_store_free(store);
	_exit(0);
}

/* Over several generations, which one of them ends while the other one has its place in it. */
static void S13_copies_and_writes_of_two_processes_are_one_order(void **state)
{
	(void)state;
	int status;
	struct vigia_store *store = open_unsynced();
	add(store, "copied", 1);
	pid_t child = fork();
	if (child == 0) append_by_writes();
	add(store, "copied", 19999);
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	assert_non_null(backend_of(store)->journal.window.area);
	assert_int_equal(count(store, "copied"), 20000);
	assert_int_equal(count(store, "written"), 20000);
	vigia_store_free(store);
}

/* It would keep the file's description open, and with it the locks by which others know this process. */
static void S15_a_forked_child_has_no_window(void **state)
{
	(void)state;
	int status;
	unsigned char resident;
	struct vigia_store *store = open_unsynced();
	add(store, "T", 2);
	void *map = backend_of(store)->journal.window.map;
	assert_int_equal(mincore(map, 4096, &resident), 0);
	pid_t child = fork();
	if (child == 0) _exit(mincore(map, 4096, &resident) < 0 && errno == ENOMEM ? 0 : 1);
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	vigia_store_free(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, folder_teardown)
	const struct CMUnitTest tests[] = {
		TEST(D3_a_record_is_copied_without_a_system_call),
		TEST(D4_a_record_is_written_where_a_copy_may_need_room),
#ifndef __SANITIZE_THREAD__
		TEST(D4_a_record_is_written_where_there_is_no_window),
#endif
		TEST(D1_a_durable_record_is_written),
		TEST(D3_nothing_acknowledged_is_lost_by_a_kill),
		TEST(D3_half_a_record_of_a_killed_process_is_no_event),
		TEST(D3_an_open_does_not_sync),
		TEST(S15_a_forked_child_has_no_window),
		TEST(S13_copies_and_writes_of_two_processes_are_one_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
