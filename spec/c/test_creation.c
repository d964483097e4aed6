/*
 * test_creation.c - a store that is made: cut short anywhere it is finished by the next open, and no file that may hold
 * events is touched.
 *
 * pwrite, writev, fsync and fdatasync are replaced for the whole program, liblmdb included: LMDB's first write is cut
 * after some bytes, and what is synced before what is written is noted. So are open and ftruncate, in which a process
 * that opens a store stands still, to be killed there. In open and pread, one that opens a store lets another make it
 * first.
 */
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/store.h"

enum { PAGES = 8192 /* bytes of both meta pages */, SIDE_BYTES_1 = 32768, SIDE_BYTES = 581632, IMAGE_MAX = 2 << 20 };

static struct {
	ssize_t cut; /* LMDB's first write takes so many bytes; -1: all */
	bool data_synced, name_synced;
	int name_error; /* what syncing a folder fails with; 0: it does not */
	bool early;     /* a page was written before both were */
} seen = {.cut = -1};

static bool is_side(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == S_IFREG &&
	       (st.st_size == SIDE_BYTES || st.st_size == SIDE_BYTES_1);
}

static void note_write(int fd, off_t at)
{
	struct stat st;
	bool ours = fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == S_IFREG && !is_side(fd);
	if (ours && at >= PAGES && !(seen.data_synced && seen.name_synced)) seen.early = true;
}

VIGIA_API ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	note_write(fd, at);
	if (at == 0 && len == PAGES && seen.cut >= 0) len = (size_t)seen.cut;
	return syscall(SYS_pwrite64, fd, data, len, at);
}

VIGIA_API ssize_t writev(int fd, const struct iovec *parts, int count)
{
	note_write(fd, lseek(fd, 0, SEEK_CUR));
	return syscall(SYS_writev, fd, parts, count);
}

VIGIA_API int fdatasync(int fd)
{
	seen.data_synced = true;
	return (int)syscall(SYS_fdatasync, fd);
}

VIGIA_API int fsync(int fd)
{
	struct stat st;
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		if (seen.name_error != 0) {
			errno = seen.name_error;
			return -1;
		}
		seen.name_synced = true;
	}
	return (int)syscall(SYS_fsync, fd);
}

/* Where a process stands still: LMDB has its lock file alone, and has not filled it; has filled it, and does not know
 * the last commit yet. */
static enum { NOWHERE, LOCK_FILE_EMPTY, LOCK_FILE_FILLED } stands_at;
static int stands_fd; /* a byte into it says that it does */

static void stand_still(void)
{
	if (write(stands_fd, "", 1) != 1) _exit(1);
	for (;;) pause();
}

/* Where a process that opens a store lets another one make it: before it looks at the side file; between its first
 * look at who uses that and the next; after it has read the store's first bytes. */
static enum { NO_MAKER, MAKER_BEFORE_SIDE, MAKER_INSIDE_SIDE, MAKER_AFTER_HEAD } maker_at;
static int maker[2]; /* a byte into the first has the store made, a byte from the second says that it is */

static void let_make(void)
{
	char byte = 0;
	maker_at = NO_MAKER;
	assert_int_equal(write(maker[0], &byte, 1), 1);
	assert_int_equal(read(maker[1], &byte, 1), 1);
}

VIGIA_API ssize_t pread(int fd, void *data, size_t len, off_t at)
{
	ssize_t got = syscall(SYS_pread64, fd, data, len, at);
	if ((maker_at == MAKER_AFTER_HEAD && at == 0) || (maker_at == MAKER_INSIDE_SIDE && is_side(fd))) let_make();
	return got;
}

VIGIA_API int fcntl(int fd, int cmd, ...)
{
	va_list args;
	va_start(args, cmd);
	int rc = (int)syscall(SYS_fcntl, fd, cmd, va_arg(args, void *));
	va_end(args);
	if (maker_at == MAKER_INSIDE_SIDE && cmd == F_OFD_GETLK && is_side(fd)) let_make();
	return rc;
}

VIGIA_API int ftruncate(int fd, off_t len)
{
	if (stands_at == LOCK_FILE_EMPTY) stand_still();
	return (int)syscall(SYS_ftruncate, fd, len);
}

VIGIA_API int open(const char *name, int flags, ...)
{
	va_list args;
	va_start(args, flags);
	mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
	va_end(args);
	if (stands_at == LOCK_FILE_FILLED && (flags & O_DSYNC)) stand_still();
	const char *side = strstr(name, "-side");
	if (maker_at == MAKER_BEFORE_SIDE && side && side[5] == '\0') let_make();
	return (int)syscall(SYS_openat, AT_FDCWD, name, flags, mode);
}

/* ---- a folder, a store, its bytes ---- */

static int setup(void **state)
{
	memset(&seen, 0, sizeof seen);
	seen.cut = -1;
	return folder_setup(state);
}

static int open_store(bool readonly, struct vigia_store **out, struct vigia_error *err)
{
	struct vigia_store_options options = quiet_options();
	options.readonly = readonly;
	*out = NULL;
	return vigia_store_open(path, &options, out, err);
}

static int append(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err)
{
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
	return vigia_store_append(store, &event, 1, seq_num, err);
}

/* Make a store of `events` events; its bytes as they lie in the file. */
static size_t make_store(int events, uint8_t *bytes)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	if (open_store(false, &store, &err) < 0) fail_msg("%s", err.message);
	for (int i = 0; i < events; i++)
		if (append(store, NULL, &err) < 0) fail_msg("%s", err.message);
	vigia_store_free(store);
	FILE *in = fopen(path, "rb");
	size_t len = fread(bytes, 1, IMAGE_MAX, in);
	fclose(in);
	return len;
}

/* The bytes of a store of `events` events. */
static size_t image_of(int events, uint8_t *bytes)
{
	size_t len = make_store(events, bytes);
	folder_empty(folder);
	return len;
}

static void write_file(const uint8_t *bytes, size_t len)
{
	FILE *out = fopen(path, "wb");
	assert_int_equal(fwrite(bytes, 1, len, out), len);
	fclose(out);
}

static uint8_t image[IMAGE_MAX], initial[PAGES];

/* What LMDB writes first: the bytes of a store whose first commit never came. */
static void initial_pages(void)
{
	MDB_env *env;
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	mdb_env_close(env);
	FILE *in = fopen(path, "rb");
	assert_int_equal(fread(initial, 1, PAGES, in), PAGES);
	assert_int_equal(fgetc(in), EOF);
	fclose(in);
	folder_empty(folder);
}

static void works(const char *what)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	uint64_t seq_num = 0;
	if (open_store(false, &store, &err) < 0) fail_msg("%s: %s", what, err.message);
	if (append(store, &seq_num, &err) < 0) fail_msg("%s: %s", what, err.message);
	assert_int_equal(seq_num, 1);
	vigia_store_free(store);
	if (open_store(false, &store, &err) < 0) fail_msg("%s: %s", what, err.message);
	if (vigia_store_latest(store, &seq_num, &err) < 0) fail_msg("%s: %s", what, err.message);
	assert_int_equal(seq_num, 1);
	vigia_store_free(store);
	folder_empty(folder);
}

/* ---- the tests ---- */

static void D4_a_first_write_that_was_cut_short(void **state)
{
	(void)state;
	static const ssize_t cuts[] = {0, 1, 15, 16, 100, 168, 511, 512, 4095, 4096, 4097, 4264, 5000, 8191};
	for (size_t i = 0; i < COUNT_OF(cuts); i++) {
		struct vigia_store *store;
		struct vigia_error err = {0};
		char what[32];
		snprintf(what, sizeof what, "cut after %zd bytes", cuts[i]);
		seen.cut = cuts[i];
		assert_true(open_store(false, &store, &err) < 0);
		seen.cut = -1;
		/* A reader finds no store, and changes nothing; nor does who may not make one. */
		struct stat st;
		for (int reader = 0; reader < 2; reader++) {
			struct vigia_store_options options;
			vigia_store_options_init(&options);
			options.collect = options.create = false;
			int rc = reader ? open_store(true, &store, &err) : vigia_store_open(path, &options, &store, &err);
			assert_error(rc, VIGIA_ENOTFOUND, &err, cuts[i] > 0 ? "interrupted" : "the file is empty");
			if (stat(path, &st) < 0 || st.st_size != cuts[i]) fail_msg("%s: changed by a reader", what);
		}
		works(what);
	}
}

static void D1_what_a_power_loss_leaves_of_a_store_that_was_being_made(void **state)
{
	(void)state;
	static const size_t sizes[] = {512, 4096, 4608, PAGES};
	initial_pages();
	for (size_t s = 0; s < COUNT_OF(sizes); s++)
		for (unsigned present = 0; present < 4; present++) {
			char what[64];
			memset(image, 0, PAGES);
			if (present & 1) memcpy(image, initial, 512);
			if (present & 2) memcpy(image + 4096, initial + 4096, 512);
			snprintf(what, sizeof what, "%zu bytes, pages %u", sizes[s], present);
			write_file(image, sizes[s]);
			works(what);
		}
}

static void R2_why_it_cannot_be_finished(void **state)
{
	(void)state;
	char lock[FOLDER_MAX + 32];
	struct vigia_store *store;
	struct vigia_error err = {0};
	initial_pages();
	write_file(initial, 512);
	snprintf(lock, sizeof lock, "%s-lock", path);
	assert_int_equal(mkdir(lock, 0700), 0);
	assert_error(open_store(false, &store, &err), VIGIA_EIO, &err, "cannot finish the store");
	assert_string_equal(err.cause, strerror(EISDIR));
	rmdir(lock);
	works("with a lock file");
}

/* Another process that makes it holds LMDB's byte of the lock file meanwhile. */
static void S13_an_unfinished_file_is_not_begun_again_beside_its_maker(void **state)
{
	(void)state;
	char lock_path[FOLDER_MAX + 32], byte;
	int ready[2], status;
	initial_pages();
	write_file(initial, 512);
	snprintf(lock_path, sizeof lock_path, "%s-lock", path);
	assert_int_equal(pipe(ready), 0);
	fflush(NULL);
	pid_t process = fork();
	if (process == 0) {
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
		int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0 || write(ready[1], "", 1) != 1) _exit(1);
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		struct stat st;
		_exit(stat(path, &st) < 0 || st.st_size != 512); /* nobody has touched it */
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	works("beside its maker");
	assert_int_equal(waitpid(process, &status, 0), process);
	assert_int_equal(status, 0);
	close(ready[0]);
	close(ready[1]);
}

static void E8_no_other_file_is_begun_again(void **state)
{
	(void)state;
	static const struct {
		int events;
		size_t len, zero_at, zero_len, set_at;
	} files[] = {
		{0, PAGES, 0, 0, 0}, /* a commit, cut off: its meta page says so */
		{1, PAGES, 0, 0, 0},         {1, 4096, 0, 0, 0},
		{1, 100, 0, 0, 0},           {5, IMAGE_MAX, 0, PAGES, 0}, /* pages of events, without the meta pages */
		{5, IMAGE_MAX, 0, 4096, 0},  {5, PAGES, 0, 4096, 0},
		{0, PAGES, 0, PAGES, 300}, /* zeros, and a byte that is none */
		{0, PAGES, 0, PAGES, PAGES},
	};
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		struct vigia_store *store;
		struct vigia_error err = {0};
		static uint8_t after[IMAGE_MAX];
		size_t len = image_of(files[i].events, image);
		if (files[i].len < len) len = files[i].len;
		memset(image + files[i].zero_at, 0, files[i].zero_len);
		if (files[i].set_at) image[files[i].set_at - 1] = 1;
		write_file(image, len);
		int rc = open_store(false, &store, &err);
		if (rc != VIGIA_ENOTSTORE && rc != VIGIA_ETRUNCATED) fail_msg("file %zu: %d %s", i, rc, err.message);
		FILE *in = fopen(path, "rb");
		assert_int_equal(fread(after, 1, IMAGE_MAX, in), len);
		fclose(in);
		assert_memory_equal(image, after, len);
		folder_empty(folder);
	}
}

static void D1_the_name_is_on_the_disk_before_the_first_commit(void **state)
{
	(void)state;
	struct vigia_store *store;
	struct vigia_error err = {0};
	if (open_store(false, &store, &err) < 0) fail_msg("%s", err.message);
	assert_true(seen.name_synced && seen.data_synced);
	assert_false(seen.early);
	seen.data_synced = seen.name_synced = false;
	assert_int_equal(append(store, NULL, &err), VIGIA_OK);
	assert_false(seen.name_synced); /* and never again */
	vigia_store_free(store);
}

/* A store or a copy that may be gone tomorrow is an error, and no copy stays behind. */
static void D1_a_name_that_cannot_be_synced(void **state)
{
	(void)state;
	struct vigia_store *store;
	struct vigia_error err = {0};
	char copy[FOLDER_MAX + 16];
	snprintf(copy, sizeof copy, "%s/copy", folder);
	seen.name_error = EIO;
	assert_int_equal(open_store(false, &store, &err), VIGIA_EIO);
	seen.name_error = EINVAL; /* a file system that cannot do it: nothing more can be done */
	assert_int_equal(open_store(false, &store, &err), VIGIA_OK);
	assert_int_equal(append(store, NULL, &err), VIGIA_OK);
	seen.name_error = EIO;
	assert_int_equal(vigia_store_backup(store, copy, false, &err), VIGIA_EIO);
	assert_int_equal(access(copy, F_OK), -1);
	seen.name_error = 0;
	assert_int_equal(vigia_store_backup(store, copy, false, &err), VIGIA_OK);
	vigia_store_free(store);
}

/* Opened, the store has this last event. */
static void assert_last(uint64_t last)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	uint64_t latest = 0;
	if (open_store(false, &store, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(vigia_store_latest(store, &latest, &err), VIGIA_OK);
	assert_int_equal(latest, last);
	vigia_store_free(store);
}

/* Many processes find the same unfinished file. */
static void S13_an_unfinished_file_is_finished_once(void **state)
{
	(void)state;
	enum { PROCESSES = 6, ROUNDS = 15 };
	initial_pages();
	for (int round = 0; round < ROUNDS; round++) {
		pid_t children[PROCESSES];
		write_file(initial, 512 * (size_t)(1 + round));
		fflush(NULL);
		for (int i = 0; i < PROCESSES; i++)
			if ((children[i] = fork()) == 0) {
				struct vigia_store *store;
				struct vigia_error err = {0};
				int rc = open_store(false, &store, &err);
				if (rc == VIGIA_OK) rc = append(store, NULL, &err);
				if (rc < 0) print_error("# %s: %s\n", err.message, err.cause); /* its stdout is never flushed */
				if (store) vigia_store_free(store);
				_exit(rc < 0);
			}
		for (int i = 0; i < PROCESSES; i++) {
			int status;
			waitpid(children[i], &status, 0);
			assert_int_equal(status, 0);
		}
		assert_last(PROCESSES);
		folder_empty(folder);
	}
}

/* Open what is there, while at that place another process opens it first, or makes it, appends and keeps it open. It
 * has `events` events before. */
static void open_beside(int at, uint64_t events, const char *what)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	int ask[2], answer[2], status;
	char byte;
	assert_int_equal(pipe(ask), 0);
	assert_int_equal(pipe(answer), 0);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		close(ask[1]);
		if (read(ask[0], &byte, 1) != 1) _exit(2);
		int rc = open_store(false, &store, &err);
		if (rc == VIGIA_OK) rc = append(store, NULL, &err);
		if (rc < 0) print_error("# %s: %s\n", err.message, err.cause);
		if (write(answer[1], "", 1) != 1 || read(ask[0], &byte, 1) != 0) _exit(3);
		if (store) vigia_store_free(store);
		_exit(rc < 0);
	}
	maker[0] = ask[1];
	maker[1] = answer[0];
	maker_at = at;
	if (open_store(false, &store, &err) < 0) fail_msg("%s: %s", what, err.message);
	assert_int_equal(maker_at, NO_MAKER);
	uint64_t seq_num = 0;
	assert_int_equal(append(store, &seq_num, &err), VIGIA_OK);
	assert_int_equal(seq_num, events + 2);
	vigia_store_free(store);
	close(ask[1]);
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	close(ask[0]);
	close(answer[0]);
	close(answer[1]);
	folder_empty(folder);
}

/* Another process makes the store while this one looks at what was there before. */
static void S13_a_store_that_another_makes_during_an_open(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		int at;
		size_t len, zeros; /* bytes of the file, and how many of the first are zero */
	} files[] = {
		{"an empty file, before the side file", MAKER_BEFORE_SIDE, 0, 0},
		{"an unfinished file, before the side file", MAKER_BEFORE_SIDE, 512, 0},
		{"an empty file, after its head", MAKER_AFTER_HEAD, 0, 0},
		{"a few bytes, after its head", MAKER_AFTER_HEAD, 15, 0},
		{"an unfinished file, after its head", MAKER_AFTER_HEAD, 512, 0},
		{"a lost first page, after its head", MAKER_AFTER_HEAD, PAGES, 4096},
	};
	initial_pages();
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		memcpy(image, initial, PAGES);
		memset(image, 0, files[i].zeros);
		write_file(image, files[i].len);
		open_beside(files[i].at, 0, files[i].what);
	}
}

/* The side file names the file that was open last. Now there is a copy in its place, which another process opens first.
 */
static void S13_a_store_that_another_opens_during_an_open(void **state)
{
	(void)state;
	char former[FOLDER_MAX + 16];
	snprintf(former, sizeof former, "%s/former", folder);
	size_t len = make_store(1, image);
	assert_int_equal(rename(path, former), 0);
	write_file(image, len);
	open_beside(MAKER_INSIDE_SIDE, 1, "a copy");
}

/* Is `last` its last event, and can one be appended? */
static void go_on_behind(uint64_t last)
{
	struct vigia_store *store;
	struct vigia_error err = {0};
	uint64_t latest = 0;
	int rc = open_store(false, &store, &err);
	if (rc == VIGIA_OK) rc = vigia_store_latest(store, &latest, &err);
	bool hidden = rc == VIGIA_OK && latest < last;
	if (rc == VIGIA_OK) rc = append(store, NULL, &err);
	if (rc < 0) print_error("# %s: %s\n", err.message, err.cause);
	if (hidden)
		print_error("# the last event is %llu, not %llu\n", (unsigned long long)latest, (unsigned long long)last);
	if (store) vigia_store_free(store);
	_exit(rc < 0 || hidden);
}

/* One process is killed while it opens a store that others wait to open. */
static void S13_whoever_waits_to_open_goes_on_behind_one_that_is_killed(void **state)
{
	(void)state;
	enum { WAITING = 2, EVENTS = 3 };
	for (int at = LOCK_FILE_EMPTY; at <= LOCK_FILE_FILLED; at++)
		for (uint64_t events = 0; events <= EVENTS; events++) {
			pid_t opens, waiting[WAITING];
			int stands[2], status;
			char byte;
			size_t len = image_of((int)events, image);
			if (events > 0) write_file(image, len);
			assert_int_equal(pipe(stands), 0);
			fflush(NULL);
			if ((opens = fork()) == 0) {
				stands_fd = stands[1];
				stands_at = at;
				open_store(false, &(struct vigia_store *){NULL}, NULL);
				_exit(0);
			}
			assert_int_equal(read(stands[0], &byte, 1), 1);
			for (int i = 0; i < WAITING; i++)
				if ((waiting[i] = fork()) == 0) go_on_behind(events);
			usleep(50000); /* they get there; on a busy machine one may come too late to find the fault */
			kill(opens, SIGKILL);
			waitpid(opens, &status, 0);
			for (int i = 0; i < WAITING; i++) {
				waitpid(waiting[i], &status, 0);
				assert_int_equal(status, 0);
			}
			assert_last(events + WAITING);
			close(stands[0]);
			close(stands[1]);
			folder_empty(folder);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(D4_a_first_write_that_was_cut_short, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D1_what_a_power_loss_leaves_of_a_store_that_was_being_made, setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(R2_why_it_cannot_be_finished, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(S13_an_unfinished_file_is_not_begun_again_beside_its_maker, setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(E8_no_other_file_is_begun_again, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D1_the_name_is_on_the_disk_before_the_first_commit, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(D1_a_name_that_cannot_be_synced, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(S13_an_unfinished_file_is_finished_once, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(S13_a_store_that_another_makes_during_an_open, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(S13_a_store_that_another_opens_during_an_open, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(S13_whoever_waits_to_open_goes_on_behind_one_that_is_killed, setup,
	                                    folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
