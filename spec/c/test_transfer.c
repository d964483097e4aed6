/*
 * test_transfer.c - O5, A3: export, import and copies through vigia.h, where memory or writes fail, and interrupted.
 * The rest is in export_spec.lua and export_cli_spec.lua.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "events.h"
#include "fault.h"
#include "folder.h"

enum { EVENTS = 9000 };

static int new_fd(void)
{
	int fd = memfd_create("export", MFD_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void rewind_fd(int fd)
{
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
}

static bool is_equal(int a, int b)
{
	char room_a[4096], room_b[sizeof room_a];
	ssize_t got;
	for (off_t at = 0; (got = pread(a, room_a, sizeof room_a, at)) > 0; at += got)
		if (pread(b, room_b, sizeof room_b, at) != got || memcmp(room_a, room_b, (size_t)got) != 0) return false;
	return got == 0 && lseek(a, 0, SEEK_END) == lseek(b, 0, SEEK_END);
}

/* Events with keys, a value, a checkpoint, a timer. */
static void fill(struct vigia_store *store, unsigned events)
{
	struct vigia_error err = {0};
	for (unsigned i = 0; i < events; i++) {
		char key[16];
		struct vigia_new_event event = {SLICE("CREATE"), SLICE("Job"), payload_of(20)};
		struct vigia_append_options options = {.size = sizeof options};
		snprintf(key, sizeof key, "key-%u", i);
		options.key = slice_of(key);
		if (i % 100 == 0)
			assert_int_equal(vigia_store_append_with(store, &event, 1, &options, NULL, NULL, &err), VIGIA_OK);
		else assert_int_equal(vigia_store_append(store, &event, 1, NULL, &err), VIGIA_OK);
	}
	assert_int_equal(vigia_checkpoint_put(store, "w", events / 2, &err), VIGIA_OK);
}

static struct vigia_store *open_kind(bool memory)
{
	struct vigia_store_options options = quiet_options();
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	options.durability = VIGIA_DURABILITY_NONE;
	if (vigia_store_open(memory ? ":memory:" : path, &options, &store, &err) < 0) fail_msg("%s", err.message);
	return store;
}

static void close_kind(struct vigia_store *store)
{
	vigia_store_free(store);
	folder_empty(folder);
}

static void O5_an_export_and_an_import_survive_each_failing_allocation(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++) {
		struct vigia_store *store = open_kind(true);
		struct vigia_transfer done;
		struct vigia_error err = {0};
		fill(store, 300);
		int whole = new_fd(), again = new_fd();
		assert_int_equal(vigia_store_export(store, whole, NULL, NULL, &done, &err), VIGIA_OK);
		assert_int_equal(done.at, 300);
		assert_int_equal(done.bytes, lseek(whole, 0, SEEK_END));
		int rc = VIGIA_ENOMEM;
		long nth = 1;
		for (; rc != VIGIA_OK && nth < 5000; nth++) {
			rewind_fd(again);
			vigia__alloc_fail_at(nth, 0);
			rc = vigia_store_export(store, again, NULL, NULL, NULL, &err);
			vigia__alloc_fail_at(0, 0);
			if (rc != VIGIA_OK) assert_int_equal(rc, VIGIA_ENOMEM);
		}
		assert_true(is_equal(whole, again));
		vigia_store_free(store);

		store = open_kind(memory);
		rc = VIGIA_ENOMEM;
		for (nth = 1; rc != VIGIA_OK && nth < 20000; nth += 1 + nth / 8) {
			rewind_fd(whole);
			vigia__alloc_fail_at(nth, 0);
			rc = vigia_store_import(store, whole, false, NULL, NULL, &done, &err);
			vigia__alloc_fail_at(0, 0);
			if (rc != VIGIA_OK && rc != VIGIA_ENOMEM) fail_msg("%s", err.message);
		}
		assert_int_equal(rc, VIGIA_OK);
		assert_int_equal(ftruncate(again, 0), 0);
		rewind_fd(again);
		assert_int_equal(vigia_store_export(store, again, NULL, NULL, NULL, &err), VIGIA_OK);
		assert_true(is_equal(whole, again));
		close(whole);
		close(again);
		close_kind(store);
	}
}

/* Each write or sync of an import fails once: it says so, and the same call goes on. */
static void O5_an_import_goes_on_after_each_failing_write(void **state)
{
	(void)state;
	struct vigia_store *store = open_kind(true);
	struct vigia_error err = {0};
	int whole = new_fd(), again = new_fd();
	fill(store, EVENTS);
	assert_int_equal(vigia_store_export(store, whole, NULL, NULL, NULL, &err), VIGIA_OK);
	vigia_store_free(store);
	static const enum fault kinds[] = {FAULT_WRITE, FAULT_SYNC, FAULT_LIE};
	for (size_t k = 0; k < COUNT_OF(kinds); k++) {
		struct vigia_store_options options = quiet_options();
		store = open_with(&options);
		int rc = VIGIA_EIO, failures = 0;
		for (int n = 1; rc != VIGIA_OK && n < 60; n++) {
			rewind_fd(whole);
			arm(kinds[k], n, EIO, false);
			rc = vigia_store_import(store, whole, false, NULL, NULL, NULL, &err);
			failures += disarm() > 0 && rc != VIGIA_OK;
			if (rc != VIGIA_OK && rc != VIGIA_EIO && rc != VIGIA_EUNKNOWN) fail_msg("%d: %s", rc, err.message);
		}
		assert_int_equal(rc, VIGIA_OK);
		assert_true(failures > 0);
		assert_int_equal(ftruncate(again, 0), 0);
		rewind_fd(again);
		assert_int_equal(vigia_store_export(store, again, NULL, NULL, NULL, &err), VIGIA_OK);
		assert_true(is_equal(whole, again));
		close_kind(store);
	}
	close(whole);
	close(again);
}

/* Ends at the n-th call. */
static bool stop_at(void *ctx, const struct vigia_transfer *at)
{
	int *left = ctx;
	assert_true(at->bytes <= at->bytes_all);
	return --*left > 0;
}

static void A3_a_copy_tells_how_far_it_is_and_leaves_nothing_when_interrupted(void **state)
{
	(void)state;
	struct vigia_store_options options = quiet_options();
	struct vigia_store *store = open_with(&options), *restored = NULL;
	struct vigia_error err = {0};
	char copy[FOLDER_MAX + 32];
	for (int i = 0; i < 600; i++) assert_int_equal(append(store, "Job", 10000, NULL, &err), VIGIA_OK);
	for (int compact = 0; compact < 2; compact++) {
		snprintf(copy, sizeof copy, "%s/copy%d", folder, compact);
		for (int n = 1; n < 4; n++) {
			int left = n;
			assert_error(vigia_store_copy(store, copy, compact, stop_at, &left, &err), VIGIA_EINTERRUPTED, &err,
			             "unfinished file was removed");
			assert_int_equal(access(copy, F_OK), -1);
		}
		int left = 1000;
		if (vigia_store_copy(store, copy, compact, stop_at, &left, &err) < 0) fail_msg("%s", err.message);
		assert_true(left < 997);
		if (vigia_store_open(copy, &options, &restored, &err) < 0) fail_msg("%s", err.message);
		assert_int_equal(count(restored, "Job"), 600);
		vigia_store_free(restored);
	}
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(O5_an_export_and_an_import_survive_each_failing_allocation, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(O5_an_import_goes_on_after_each_failing_write, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(A3_a_copy_tells_how_far_it_is_and_leaves_nothing_when_interrupted, folder_setup,
	                                    folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
