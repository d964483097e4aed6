/*
 * test_backup.c - A3: a backup where the file system makes no file without a name. The rest is in backup_spec.lua.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "events.h"
#include "folder.h"

/* ---- a file system without O_TMPFILE ---- */

static int nameless_fails_with;

__attribute__((visibility("default"))) int open(const char *name, int flags, ...)
{
	va_list args;
	va_start(args, flags);
	mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(args, mode_t) : 0;
	va_end(args);
	if (nameless_fails_with != 0 && (flags & O_TMPFILE) == O_TMPFILE) {
		errno = nameless_fails_with;
		return -1;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, name, flags, mode);
}

/* ---- a disk that takes a part of what is written ---- */

static bool short_writes, interrupts;

__attribute__((visibility("default"))) ssize_t write(int fd, const void *data, size_t len)
{
	static unsigned calls;
	if (short_writes && len > 1) {
		if (interrupts && ++calls % 3 == 0) {
			errno = EINTR;
			return -1;
		}
		len = len / 2 + 1;
	}
	return syscall(SYS_write, fd, data, len);
}

/* How many names of the folder have this in them. */
static int names_with(const char *part)
{
	int found = 0;
	DIR *dir = opendir(folder);
	for (struct dirent *entry; dir && (entry = readdir(dir));) found += strstr(entry->d_name, part) != NULL;
	if (dir) closedir(dir);
	return found;
}

static void A3_a_backup_without_nameless_files(void **state)
{
	(void)state;
	static const int errors[] = {EOPNOTSUPP, EISDIR, EINVAL};
	struct vigia_store_options options = quiet_options();
	for (size_t i = 0; i < COUNT_OF(errors); i++) {
		struct vigia_error err = {0};
		char copy[FOLDER_MAX + 32];
		snprintf(copy, sizeof copy, "%s/copy%zu", folder, i);
		struct vigia_store *store = open_with(&options);
		assert_int_equal(append(store, "Job", 100, NULL, &err), VIGIA_OK);
		nameless_fails_with = errors[i];
		if (vigia_store_backup(store, copy, i == 1, &err) < 0) fail_msg("%s", err.message);
		assert_int_equal(names_with(".partial"), 0);
		/* Nothing is replaced, and nothing is left of what failed. */
		assert_error(vigia_store_backup(store, copy, false, &err), VIGIA_EFILEEXISTS, &err, "was not changed");
		assert_int_equal(names_with(".partial"), 0);
		nameless_fails_with = 0;
		struct vigia_store *restored = NULL;
		if (vigia_store_open(copy, &options, &restored, &err) < 0) fail_msg("%s", err.message);
		assert_int_equal(count(restored, "Job"), i + 1);
		vigia_store_free(restored);
		vigia_store_free(store);
	}
	/* Any other error is the caller's to know. */
	struct vigia_error err = {0};
	char copy[FOLDER_MAX + 32];
	snprintf(copy, sizeof copy, "%s/never", folder);
	struct vigia_store *store = open_with(&options);
	nameless_fails_with = ENOSPC;
	assert_error(vigia_store_backup(store, copy, false, &err), VIGIA_EDISKFULL, &err, "the disk is full");
	nameless_fails_with = 0;
	assert_int_equal(names_with("never"), 0);
	vigia_store_free(store);
}

/* What was not written is written next, at its place. */
static void A3_a_backup_whose_writes_are_cut_short_or_interrupted_is_whole(void **state)
{
	(void)state;
	struct vigia_store_options options = quiet_options();
	struct vigia_error err = {0};
	char copy[FOLDER_MAX + 32];
	struct vigia_store *store = open_with(&options), *restored = NULL;
	for (int i = 0; i < 20; i++) assert_int_equal(append(store, "Job", 3000, NULL, &err), VIGIA_OK);
	for (int compact = 0; compact < 2; compact++) {
		snprintf(copy, sizeof copy, "%s/short%d", folder, compact);
		short_writes = true;
		interrupts =
			!compact; /* no regular file does that, and LMDB, which writes the other one, expects it from none */
		int rc = vigia_store_backup(store, copy, compact, &err);
		short_writes = interrupts = false;
		if (rc < 0) fail_msg("%s", err.message);
		if (vigia_store_open(copy, &options, &restored, &err) < 0) fail_msg("%s", err.message);
		assert_int_equal(count(restored, "Job"), 20);
		vigia_store_free(restored);
	}
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(A3_a_backup_without_nameless_files, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(A3_a_backup_whose_writes_are_cut_short_or_interrupted_is_whole, folder_setup,
	                                    folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
