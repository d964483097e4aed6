/*
 * test_copies.c - S15: a second copy of the library in one process opens no file while the first one has one open, and
 * says who it is.
 */
#include <dlfcn.h>

#include "test.h"

static char folder[FOLDER_MAX];

static struct {
	int (*open)(const char *, const struct vigia_store_options *, struct vigia_store **, struct vigia_error *);
	void (*free)(struct vigia_store *);
} other;

/* A file of its own, or the loader would see the same one again. */
static bool load_another(void)
{
	char program[512], command[2048], path[FOLDER_MAX + 32];
	ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
	if (len < 0) return false;
	program[len] = '\0';
	snprintf(path, sizeof path, "%s/another.so", folder);
	snprintf(command, sizeof command, "cp -L '%.*s/../../libvigia.so' '%s'", (int)(strrchr(program, '/') - program),
	         program, path);
	if (system(command) != 0) return false;
	void *copy = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (copy == NULL) return false;
	*(void **)&other.open = dlsym(copy, "vigia_store_open");
	*(void **)&other.free = dlsym(copy, "vigia_store_free");
	return other.open && other.free && other.open != vigia_store_open;
}

static void S15_two_copies_have_no_file_open_at_the_same_time(void **state)
{
	(void)state;
	struct vigia_store *ours, *theirs;
	struct vigia_error err = {0};
	char one[FOLDER_MAX + 16], two[FOLDER_MAX + 16];
	assert_true(load_another());
	snprintf(one, sizeof one, "%s/one", folder);
	snprintf(two, sizeof two, "%s/two", folder);
	for (int times = 0; times < 2; times++) {
		assert_int_equal(vigia_store_open(one, NULL, &ours, &err), VIGIA_OK);
		assert_error(other.open(two, NULL, &theirs, &err), VIGIA_ETWICE, &err, "has a store open: ");
		assert_non_null(strstr(err.message, "/another.so (" VIGIA_VERSION ")"));
		vigia_store_free(ours);
		/* What was refused counts no more, either. */
		assert_int_equal(other.open(two, NULL, &theirs, &err), VIGIA_OK);
		assert_error(vigia_store_open(one, NULL, &ours, &err), VIGIA_ETWICE, &err,
		             "/another.so (" VIGIA_VERSION ") beside ");
		other.free(theirs);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(S15_two_copies_have_no_file_open_at_the_same_time)};
	if (folder_make(folder) != 0) return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	folder_empty(folder);
	rmdir(folder);
	return failed;
}
