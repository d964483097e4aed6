/*
 * test_permissions.c - S13, A3: what a process may do with a store, its lock file, its side file and its folder that it
 * has no permission to write. Root, who may write all, becomes another user meanwhile.
 */
#include "events.h"
#include "folder.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOBODY = 65534 };

static bool is_root;

static bool become_another(void)
{
	is_root = geteuid() == 0;
	if (is_root && setresuid(NOBODY, NOBODY, 0) < 0) return false;
	return access(folder, X_OK) == 0;
}

static void become_root_again(void)
{
	if (is_root) assert_int_equal(setresuid(0, 0, 0), 0);
	prctl(PR_SET_DUMPABLE, 1); /* as before: the leak checker looks into its own process */
}

static void set_modes(mode_t store, mode_t lock, mode_t side, mode_t in)
{
	char name[sizeof path + 8];
	chmod(path, store);
	snprintf(name, sizeof name, "%s-lock", path);
	chmod(name, lock);
	snprintf(name, sizeof name, "%s-side", path);
	chmod(name, side);
	chmod(folder, in);
}

static int open_as(bool readonly, struct vigia_store **store, struct vigia_error *err)
{
	struct vigia_store_options options = quiet_options();
	options.readonly = readonly;
	return vigia_store_open(path, &options, store, err);
}

static void S13_what_may_not_be_written_is_named(void **state)
{
	(void)state;
	struct vigia_store_options options = quiet_options();
	struct vigia_store *store = open_with(&options), *other = NULL;
	struct vigia_error err = {0};
	uint64_t last = 0;
	char copy[sizeof path + 8];
	assert_int_equal(append(store, "Job", 10, NULL, &err), VIGIA_OK);
	vigia_store_free(store);
	set_modes(0444, 0444, 0444, 0555);
	if (!become_another()) {
		become_root_again();
		chmod(folder, 0755);
		skip();
	}
	int write_it = open_as(false, &store, &err);
	bool named = strstr(err.message, "no permission to write the store") != NULL;
	int read_it = open_as(true, &store, &err);
	bool lock_named = strstr(err.message, "no permission to write the lock file") != NULL;
	become_root_again();
	assert_int_equal(write_it, VIGIA_EPERM);
	assert_true(named);
	assert_int_equal(read_it, VIGIA_EPERM);
	assert_true(lock_named);

	/* With the lock file it may read, and be told of nothing, for want of the side file. */
	set_modes(0444, 0666, 0444, 0555);
	become_another();
	read_it = open_as(true, &store, &err);
	int bounds = read_it == VIGIA_OK ? vigia_store_latest(store, &last, &err) : VIGIA_EIO;
	write_it = open_as(false, &other, &err);
	named = strstr(err.message, "no permission to write the store") != NULL;
	snprintf(copy, sizeof copy, "%s-copy", path);
	int copied = read_it == VIGIA_OK ? vigia_store_backup(store, copy, false, NULL) : VIGIA_OK;
	become_root_again();
	assert_int_equal(read_it, VIGIA_OK);
	assert_int_equal(bounds, VIGIA_OK);
	assert_int_equal(last, 1);
	assert_int_equal(write_it, VIGIA_EPERM);
	assert_true(named);
	assert_int_equal(copied, VIGIA_EPERM);
	vigia_store_free(store);

	/* In its folder nothing can be made. */
	set_modes(0666, 0666, 0666, 0755);
	folder_empty(folder);
	set_modes(0, 0, 0, 0555);
	become_another();
	write_it = open_as(false, &store, &err);
	become_root_again();
	chmod(folder, 0755);
	assert_error(write_it, VIGIA_EPERM, &err, "cannot make the store");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(S13_what_may_not_be_written_is_named, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests_name("permissions", tests, NULL, NULL);
}
