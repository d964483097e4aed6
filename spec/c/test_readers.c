/*
 * test_readers.c - other processes beside a writer: readers that were killed, whose pages are used again although
 * nobody opens the file anew; one that reads on and on; one that makes the file longer.
 */
#include "folder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/event.h"
#include "store/lmdb_private.h"
#include "store/store.h"

/* What a file may grow to: with a journal room for its drain, too. */
enum { MAP_BYTES = 1 << 20, FILE_BYTES = MAP_BYTES, JOURNAL_FILE_BYTES = 8 << 20 };

static struct vigia_store *open_store(int64_t map_size_bytes)
{
	struct vigia_store_options options = quiet_options();
	options.durability = VIGIA_DURABILITY_NONE;
	options.map_size_bytes = map_size_bytes;
	return open_with(&options);
}

static struct lmdb_backend *backend_of(struct vigia_store *store)
{
	return (struct lmdb_backend *)store->backend;
}

/* Another process that is killed while it reads. */
static void kill_reader(int64_t map_size_bytes)
{
	int told[2];
	char byte;
	assert_int_equal(pipe(told), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct vigia_store *store = open_store(map_size_bytes);
		struct reader *reader;
		if (vigia__lmdb_read_begin(backend_of(store), &reader, NULL) < 0 || write(told[1], "r", 1) != 1) _exit(1);
		for (;;) pause();
	}
	close(told[1]);
	assert_int_equal(read(told[0], &byte, 1), 1);
	close(told[0]);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int append(struct vigia_store *store, size_t len, struct vigia_error *err)
{
	static char object[4096] = "\xc5"; /* a msgpack bin */
	object[1] = (char)((len - 3) >> 8);
	object[2] = (char)(len - 3);
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {object, len}};
	return vigia_store_append(store, &event, 1, NULL, err);
}

static uint64_t used_bytes(struct vigia_store *store)
{
	struct vigia__backend_stats stats;
	if (vigia__store_stats(store, &stats, NULL) < 0) fail_msg("stats");
	return stats.used_bytes;
}

/* A writer that had the store open before a reader came and was killed, and has it open still: what its `act`
 * answers. */
static int beside_killed_reader(int64_t map_size_bytes, int (*act)(struct vigia_store *store))
{
	int told[2], go[2], status = -1;
	char byte;
	assert_int_equal(pipe(told), 0);
	assert_int_equal(pipe(go), 0);
	pid_t writer = fork();
	if (writer == 0) {
		struct vigia_store *store = open_store(map_size_bytes);
		if (append(store, 100, NULL) < 0) _exit(90);
		if (write(told[1], "o", 1) != 1 || read(go[0], &byte, 1) != 1) _exit(91);
		_exit(act(store));
	}
	assert_int_equal(read(told[0], &byte, 1), 1);
	kill_reader(map_size_bytes);
	assert_int_equal(write(go[1], "g", 1), 1);
	assert_int_equal(waitpid(writer, &status, 0), writer);
	for (int i = 0; i < 2; i++) close(told[i]), close(go[i]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static int save_often(struct vigia_store *store)
{
	uint64_t before = used_bytes(store);
	for (uint64_t n = 0; n < 4000; n++)
		if (vigia_checkpoint_put(store, "w", 1 + n % 2, NULL) < 0) return 1;
	return used_bytes(store) - before < (uint64_t)16 << 20 ? 0 : 2;
}

static void D4_a_writer_looks_for_them_now_and_then(void **state)
{
	(void)state;
	assert_int_equal(beside_killed_reader(0, save_often), 0);
}

/* Fewer commits than make it look by itself. */
static int overwrite_in_small_map(struct vigia_store *store)
{
	for (int n = 1; n <= 200; n++)
		if (vigia_checkpoint_put(store, n % 2 ? "a" : "b", 1, NULL) < 0) return 1;
	return append(store, 3000, NULL) < 0 ? 2 : 0;
}

static void D4_a_full_map_is_reason_to_look(void **state)
{
	(void)state;
	assert_int_equal(beside_killed_reader(MAP_BYTES, overwrite_in_small_map), 0);
}

static int trim_and_count(struct vigia_store *store)
{
	uint64_t removed;
	int dead = 0;
	if (vigia_store_trim(store, 1, &removed, NULL) < 0) return 1;
	if (mdb_reader_check(backend_of(store)->env, &dead) != 0) return 2;
	return dead == 0 ? 0 : 3;
}

static void D4_a_trim_looks_for_them(void **state)
{
	(void)state;
	assert_int_equal(beside_killed_reader(0, trim_and_count), 0);
}

/* In another PID namespace another process may have our pid, and with it the byte of the lock file that LMDB locks. */
/* ---- a reader that goes on ---- */

/* The file may grow no further: for what writes it that is a full disk. 0: as it was. */
static void limit_files(rlim_t bytes)
{
	struct rlimit limit;
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes > 0 ? bytes : limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	signal(SIGXFSZ, SIG_IGN);
}

/* Appends fail again and again beside a reader that keeps all pages that are freed. What is lent, or kept on the disk,
 * must be there for those that free room. */
static void fail_beside_reader(int64_t map_size_bytes, rlim_t file_bytes, int code)
{
	int told[2];
	char byte;
	uint64_t removed;
	struct vigia_error err = {0};
	assert_int_equal(pipe(told), 0);
	pid_t reader = fork();
	if (reader == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test fails */
		struct vigia_store *store = open_store(map_size_bytes);
		struct reader *kept;
		for (int i = 0; i < 40; i++)
			if (append(store, 3000, NULL) < 0) _exit(1);
		if (vigia__lmdb_read_begin(backend_of(store), &kept, NULL) < 0 || write(told[1], "r", 1) != 1) _exit(1);
		for (;;) pause();
	}
	assert_int_equal(read(told[0], &byte, 1), 1);
	for (int i = 0; i < 2; i++) close(told[i]);
	limit_files(file_bytes);
	struct vigia_store *store = open_store(map_size_bytes);
	for (int failed = 0, i = 0; failed < 300 && i < 9000; i++) {
		int rc = append(store, 3000, &err);
		if (rc != VIGIA_OK) assert_int_equal(rc, code);
		failed += rc != VIGIA_OK;
	}
	uint64_t used = used_bytes(store);
	assert_int_equal(append(store, 3000, &err), code);
	assert_int_equal(used_bytes(store), used);
	if (vigia_store_trim(store, 20, &removed, &err) < 0) fail_msg("trim: %s", err.message);
	assert_int_equal(removed, 20);
	if (vigia_checkpoint_put(store, "w", 30, &err) < 0) fail_msg("checkpoint: %s", err.message);
	vigia_store_free(store);
	limit_files(0);
	kill(reader, SIGKILL);
	assert_int_equal(waitpid(reader, NULL, 0), reader);
}

static void D4_appends_that_fail_use_up_no_loan(void **state)
{
	(void)state;
	fail_beside_reader(MAP_BYTES, 0, VIGIA_EFULL);
}

static void D4_appends_that_fail_use_up_no_reserve(void **state)
{
	(void)state;
	fail_beside_reader(0, with_journal ? JOURNAL_FILE_BYTES : FILE_BYTES, VIGIA_EDISKFULL);
}

/* ---- a writer that may make the file longer, beside one that may not ---- */

static void D4_a_full_disk_is_called_so_beside_a_writer_that_has_room(void **state)
{
	(void)state;
	struct vigia_error err = {0};
	struct vigia_store *store = open_store(0);
	vigia_store_free(store);
	pid_t writer = fork();
	if (writer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		store = open_store(0);
		for (;;)
			if (append(store, 4000, NULL) < 0) _exit(1);
	}
	limit_files(with_journal ? 2 * MAP_BYTES : 256 * 1024);
	store = open_store(0);
	for (int failed = 0; failed < 30;) {
		int rc = append(store, 4000, &err);
		if (rc != VIGIA_OK && rc != VIGIA_EDISKFULL) fail_msg("%s (%s)", err.message, err.cause);
		failed += rc != VIGIA_OK;
	}
	limit_files(0);
	kill(writer, SIGKILL);
	assert_int_equal(waitpid(writer, NULL, 0), writer);
	vigia_store_free(store);
}

static void R2_a_process_with_our_pid_is_named(void **state)
{
	(void)state;
	char lock_file[FOLDER_MAX + 24], pid_text[32];
	struct vigia_store *store = open_store(0);
	vigia_store_free(store);
	snprintf(lock_file, sizeof lock_file, "%s-lock", path);
	int told[2];
	char byte;
	assert_int_equal(pipe(told), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = getppid(), .l_len = 1};
		int fd = open(lock_file, O_RDWR);
		if (fcntl(fd, F_SETLK, &lock) < 0 || write(told[1], "l", 1) != 1) _exit(1);
		for (;;) pause();
	}
	assert_int_equal(read(told[0], &byte, 1), 1);
	struct vigia_error err = {0};
	struct vigia_store_options options = quiet_options();
	int rc = vigia_store_open(path, &options, &store, &err);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(told[0]);
	close(told[1]);
	assert_error(rc, VIGIA_EIO, &err, "another PID namespace");
	snprintf(pid_text, sizeof pid_text, "pid %ld", (long)getpid());
	assert_non_null(strstr(err.message, pid_text));
	if (vigia_store_open(path, &options, &store, &err) < 0) fail_msg("%s", err.message);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_BOTH_FORMS(D4_a_writer_looks_for_them_now_and_then),
		cmocka_unit_test_setup_teardown(D4_a_full_map_is_reason_to_look, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D4_a_trim_looks_for_them, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D4_appends_that_fail_use_up_no_loan, folder_setup, folder_teardown),
		IN_BOTH_FORMS(D4_appends_that_fail_use_up_no_reserve),
		IN_BOTH_FORMS(D4_a_full_disk_is_called_so_beside_a_writer_that_has_room),
		cmocka_unit_test_setup_teardown(R2_a_process_with_our_pid_is_named, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
