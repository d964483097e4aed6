/*
 * test_limit.c - once a minute, and how often in between.
 */
#include "core/limit.h"
#include "lib/test.h"

static void test_once_a_minute(void **state)
{
	struct vigia__limit limit = {0};
	unsigned left_out = 77;
	int64_t start = 5;
	assert_true(vigia__limit_take(&limit, start, &left_out));
	assert_int_equal(left_out, 0);
	for (int i = 0; i < 3; i++) assert_false(vigia__limit_take(&limit, start + i, &left_out));
	assert_false(vigia__limit_take(&limit, start + VIGIA_LIMIT_NS - 1, &left_out));
	assert_true(vigia__limit_take(&limit, start + VIGIA_LIMIT_NS, &left_out));
	assert_int_equal(left_out, 4);
	assert_false(vigia__limit_take(&limit, start + VIGIA_LIMIT_NS, &left_out));
	assert_true(vigia__limit_take(&limit, start + 9 * VIGIA_LIMIT_NS, &left_out));
	assert_int_equal(left_out, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_once_a_minute)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
