/*
 * test_error.c - errors, buffers, allocations that fail.
 */
#include "core/error.h"
#include "lib/test.h"

static void test_error_sets_all(void **state)
{
	struct vigia_error err = {.seq_num = 7, .watcher_id = "w", .cause = "c"};
	assert_int_equal(vigia__error(&err, VIGIA_EIO, "read at %d: %s", 41, "no"), VIGIA_EIO);
	assert_int_equal(err.code, VIGIA_EIO);
	assert_string_equal(err.message, "read at 41: no");
	assert_int_equal(err.seq_num, 0);
	assert_string_equal(err.watcher_id, "");
	assert_string_equal(err.cause, "");
	assert_int_equal(vigia__error_caused(&err, VIGIA_EPERM, "errno 5", "read at %d: %s", 41, "no"), VIGIA_EPERM);
	assert_int_equal(err.code, VIGIA_EPERM);
	assert_string_equal(err.message, "read at 41: no");
	assert_string_equal(err.cause, "errno 5");
	vigia__error_prefix(&err, "watcher '%s': ", "a");
	assert_string_equal(err.message, "watcher 'a': read at 41: no");
	assert_string_equal(err.cause, "errno 5");
	vigia__error_clear(&err);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.message, "");
	assert_string_equal(err.cause, "");
}

static void test_error_without_a_place(void **state)
{
	assert_int_equal(vigia__error(NULL, VIGIA_EIO, "x %d", 1), VIGIA_EIO);
	assert_int_equal(vigia__error_caused(NULL, VIGIA_EIO, "x", "y"), VIGIA_EIO);
	vigia__error_prefix(NULL, "x");
	vigia__error_clear(NULL);
}

static void test_error_takes_its_own_message(void **state)
{
	struct vigia_error err = {0};
	vigia__error(&err, VIGIA_EIO, "inner");
	vigia__error(&err, VIGIA_EHANDLER, "outer: %s", err.message);
	assert_string_equal(err.message, "outer: inner");
	vigia__error_prefix(&err, "%s / ", err.message);
	assert_string_equal(err.message, "outer: inner / outer: inner");
}

static void test_error_text(void **state)
{
	struct vigia_error err = {0};
	vigia__error(&err, VIGIA_EIO, "read at 41");
	assert_string_equal(VIGIA_TOLD(&err), "read at 41");
	vigia__error_caused(&err, VIGIA_EIO, "errno 5", "read at 41");
	assert_string_equal(VIGIA_TOLD(&err), "read at 41 (errno 5)");
	vigia__error_caused(&err, VIGIA_EIO, "errno 5", "read at 41: errno 5");
	assert_string_equal(VIGIA_TOLD(&err), "read at 41: errno 5");
}

static void test_error_cut_between_characters(void **state)
{
	struct vigia_error err;
	char text[2000];
	for (size_t shift = 0; shift < 4; shift++) {
		memset(text, 'x', shift);
		for (size_t i = shift; i + 3 < sizeof text; i += 3) memcpy(text + i, "€", 4);
		vigia__error(&err, VIGIA_EIO, "%s", text);
		size_t len = strlen(err.message);
		assert_true(len < sizeof err.message && len > sizeof err.message - 8);
		assert_string_equal(err.message + len - 3, "...");
		assert_int_equal((len - 3 - shift) % 3, 0);
		vigia__error_prefix(&err, "%s", text);
		assert_true(strlen(err.message) < sizeof err.message);
	}
}

static void test_error_names(void **state)
{
	assert_string_equal(vigia_error_name(0), "ok");
	assert_string_equal(vigia_error_name(VIGIA_NONE), "none");
	assert_string_equal(vigia_error_name(VIGIA_PENDING), "pending");
	assert_string_equal(vigia_error_name(VIGIA_ECLOSED), "store_closed");
	assert_string_equal(vigia_error_name(VIGIA_ENOCHECKPOINT), "checkpoint_not_found");
	assert_string_equal(vigia_error_name(-9999), "unknown_error");
	assert_string_equal(vigia_version(), VIGIA_VERSION);
}

static void test_buf_grows_and_shrinks(void **state)
{
	struct vigia__buf buf = {0};
	char text[1000];
	memset(text, 'a', sizeof text);
	for (int i = 0; i < 100; i++) assert_int_equal(vigia__buf_add(&buf, text, sizeof text), 0);
	assert_int_equal(buf.len, 100000);
	assert_int_equal(vigia__buf_add(&buf, NULL, 0), 0);
	assert_int_equal(vigia__buf_reserve(&buf, SIZE_MAX), -1);
	assert_int_equal(vigia__buf_reserve(&buf, SIZE_MAX / 2), -1);
	assert_int_equal(buf.len, 100000);
	vigia__buf_clear(&buf, 1 << 20);
	assert_int_equal(buf.len, 0);
	assert_non_null(buf.data);
	vigia__buf_clear(&buf, 1000);
	assert_null(buf.data);
	assert_int_equal(buf.cap, 0);
	vigia__buf_deinit(&buf);
}

static void test_buf_without_memory_is_unchanged(void **state)
{
	struct vigia__buf buf = {0};
	assert_int_equal(vigia__buf_add(&buf, "abc", 3), 0);
	uint8_t *data = buf.data;
	vigia__alloc_fail_at(1, 1);
	assert_int_equal(vigia__buf_reserve(&buf, 100000), -1);
	assert_int_equal(vigia__buf_reserve(&buf, 100000), -1);
	vigia__alloc_fail_at(0, 0);
	assert_ptr_equal(buf.data, data);
	assert_memory_equal(buf.data, "abc", 3);
	vigia__buf_deinit(&buf);
}

static void test_nth_allocation_fails(void **state)
{
	vigia__alloc_fail_at(2, 0);
	char *a = vigia__strdup("a"), *b = vigia__strdup("b"), *c = vigia__calloc(10);
	assert_string_equal(a, "a");
	assert_null(b);
	assert_non_null(c);
	vigia__free(a);
	vigia__free(c);
	vigia__free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_sets_all),
		cmocka_unit_test(test_error_without_a_place),
		cmocka_unit_test(test_error_takes_its_own_message),
		cmocka_unit_test(test_error_text),
		cmocka_unit_test(test_error_cut_between_characters),
		cmocka_unit_test(test_error_names),
		cmocka_unit_test(test_buf_grows_and_shrinks),
		cmocka_unit_test(test_buf_without_memory_is_unchanged),
		cmocka_unit_test(test_nth_allocation_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
