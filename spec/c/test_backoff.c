/*
 * test_backoff.c - doubling, the ceiling, jitter.
 */
#include "core/backoff.h"
#include "lib/test.h"

#define MS 1000000LL

static void test_doubles_up_to_the_ceiling(void **state)
{
	const struct vigia__backoff backoff = {.initial_ns = 200 * MS, .max_ns = 180000 * MS};
	static const int64_t wanted_ms[] = {200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 102400, 180000, 180000};
	for (size_t i = 0; i < COUNT_OF(wanted_ms); i++)
		assert_int_equal(vigia__backoff_delay(&backoff, i + 1, 12345), wanted_ms[i] * MS);
	assert_int_equal(vigia__backoff_delay(&backoff, UINT64_MAX, 0), 180000 * MS);
	assert_int_equal(vigia__backoff_delay(&backoff, 0, 0), 0);
}

static void test_edges(void **state)
{
	const struct vigia__backoff wide = {.initial_ns = 1, .max_ns = INT64_MAX}, flat = {.initial_ns = 5, .max_ns = 5},
								upside_down = {.initial_ns = 9, .max_ns = 5}, zero = {.initial_ns = 0, .max_ns = 5};
	assert_true(vigia__backoff_delay(&wide, 63, 0) == INT64_C(1) << 62);
	assert_true(vigia__backoff_delay(&wide, 64, 0) == INT64_MAX);
	assert_true(vigia__backoff_delay(&wide, UINT64_MAX, 0) == INT64_MAX);
	assert_int_equal(vigia__backoff_delay(&flat, 3, 0), 5);
	assert_int_equal(vigia__backoff_delay(&upside_down, 1, 0), 5);
	assert_int_equal(vigia__backoff_delay(&zero, UINT64_MAX, 0), 0);
}

static void test_jitter_covers_the_whole_range(void **state)
{
	const struct vigia__backoff backoff = {.initial_ns = 4, .max_ns = 16, .jitter = true},
								wide = {.initial_ns = INT64_MAX, .max_ns = INT64_MAX, .jitter = true};
	struct rng rng = rng_seeded();
	unsigned seen = 0;
	for (int i = 0; i < 1000; i++) {
		int64_t delay = vigia__backoff_delay(&backoff, 2, rng_next(&rng));
		assert_in_range(delay, 0, 8);
		seen |= 1u << delay;
		assert_true(vigia__backoff_delay(&wide, 1, rng_next(&rng)) >= 0);
	}
	assert_int_equal(seen, 0x1ff);
	assert_true(vigia__backoff_delay(&wide, 1, UINT64_MAX) >= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_doubles_up_to_the_ceiling),
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_jitter_covers_the_whole_range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
