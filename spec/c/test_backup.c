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
		assert_error(vigia_store_backup(store, copy, false, &err), VIGIA_EFILEEXISTS, &err, "is left as it is");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(A3_a_backup_without_nameless_files, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
