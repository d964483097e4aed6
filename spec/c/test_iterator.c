/*
 * test_iterator.c - where a read starts.
 */
#include "core/iterator.h"
#include "lib/test.h"

static struct vigia_iterator it(enum vigia_iterator_kind kind, uint64_t seq_num)
{
	return (struct vigia_iterator){.kind = kind, .seq_num = seq_num};
}

static void test_resolve(void **state)
{
	static const struct {
		enum vigia_iterator_kind kind;
		uint64_t seq_num, oldest, latest;
		enum vigia_iterator_kind to_kind;
		uint64_t to_seq, first;
	} rows[] = {
		{VIGIA_TRIM_HORIZON, 0, 0, 0, VIGIA_AFTER, 0, 1}, /* never an event */
		{VIGIA_TRIM_HORIZON, 0, 1, 9, VIGIA_AFTER, 0, 1},
		{VIGIA_TRIM_HORIZON, 0, 5, 9, VIGIA_AFTER, 4, 5},
		{VIGIA_TRIM_HORIZON, 0, 0, 9, VIGIA_AFTER, 9, 10}, /* all were trimmed */
		{VIGIA_LATEST, 0, 0, 0, VIGIA_AFTER, 0, 1},
		{VIGIA_LATEST, 0, 5, 9, VIGIA_AFTER, 9, 10},
		{VIGIA_AT, 3, 5, 9, VIGIA_AT, 3, 3},
		{VIGIA_AT, 0, 5, 9, VIGIA_AT, 0, 1},
		{VIGIA_AT, 99, 5, 9, VIGIA_AT, 99, 99}, /* beyond the end: stays */
		{VIGIA_AFTER, 99, 5, 9, VIGIA_AFTER, 99, 100},
		{VIGIA_AFTER, UINT64_MAX, 5, 9, VIGIA_AFTER, UINT64_MAX, UINT64_MAX},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia_iterator got =
			vigia__iterator_resolve(it(rows[i].kind, rows[i].seq_num), rows[i].oldest, rows[i].latest);
		if (!vigia__iterator_equal(got, it(rows[i].to_kind, rows[i].to_seq)) ||
		    vigia__iterator_first(got) != rows[i].first)
			fail_msg("row %zu: kind %d seq %llu", i, (int)got.kind, (unsigned long long)got.seq_num);
	}
}

static void test_equal(void **state)
{
	assert_true(vigia__iterator_equal(vigia__iterator_after(5), it(VIGIA_AFTER, 5)));
	assert_false(vigia__iterator_equal(vigia__iterator_after(5), it(VIGIA_AFTER, 6)));
	assert_false(vigia__iterator_equal(vigia__iterator_after(5), it(VIGIA_AT, 5)));
}

static void test_format(void **state)
{
	char text[64], small[8];
	assert_string_equal(vigia__iterator_format(it(VIGIA_TRIM_HORIZON, 0), text, sizeof text), "trim_horizon");
	assert_string_equal(vigia__iterator_format(it(VIGIA_LATEST, 0), text, sizeof text), "latest");
	assert_string_equal(vigia__iterator_format(it(VIGIA_AT, 1), text, sizeof text), "at_sequence_number(1)");
	assert_string_equal(vigia__iterator_format(it(VIGIA_AFTER, UINT64_MAX), text, sizeof text),
	                    "after_sequence_number(18446744073709551615)");
	assert_string_equal(vigia__iterator_format(it(VIGIA_AFTER, 5), small, sizeof small), "after_s");
}

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		enum vigia_iterator_kind kind;
		uint64_t seq_num;
	} good[] = {{"trim_horizon", VIGIA_TRIM_HORIZON, 0},
	            {"latest", VIGIA_LATEST, 0},
	            {"at:1", VIGIA_AT, 1},
	            {"after:0", VIGIA_AFTER, 0},
	            {"after:9223372036854775807", VIGIA_AFTER, INT64_MAX}};
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct vigia_iterator got;
		assert_int_equal(vigia__iterator_parse(good[i].text, &got, NULL), 0);
		assert_true(vigia__iterator_equal(got, it(good[i].kind, good[i].seq_num)));
	}
	static const char *const bad[] = {"",
	                                  "at",
	                                  "at:",
	                                  "at:-1",
	                                  "at:+1",
	                                  "at: 1",
	                                  "at:1x",
	                                  "at:0x10",
	                                  "after:9223372036854775808",
	                                  "after:99999999999999999999999",
	                                  "Latest",
	                                  "latest ",
	                                  "before:3"};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct vigia_iterator got = it(VIGIA_AT, 77);
		struct vigia_error err = {0};
		assert_error(vigia__iterator_parse(bad[i], &got, &err), VIGIA_EINVAL, &err,
		             "use trim_horizon, latest, at:N or after:N");
		assert_non_null(strstr(err.message, bad[i]));
		assert_int_equal(got.seq_num, 77);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_parse),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
