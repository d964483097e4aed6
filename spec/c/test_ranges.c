/*
 * test_ranges.c - which numbers above a checkpoint are finished, beside an array of them.
 */
#include "test.h"

#include "core/alloc.h"
#include "core/ranges.h"

enum { NUMBERS = 60 };

static void compare(const struct vigia__ranges *ranges, const bool finished[NUMBERS + 2])
{
	uint64_t checkpoint = 0, before = 0;
	while (finished[checkpoint + 1]) checkpoint++;
	assert_int_equal(ranges->checkpoint, checkpoint);
	for (uint64_t n = 1; n <= NUMBERS; n++) assert_int_equal(vigia__ranges_has(ranges, n), finished[n]);
	before = checkpoint;
	for (size_t i = 0; i < ranges->count; i++) { /* as few as can be */
		assert_true(ranges->list[i].first > before + 1);
		assert_true(ranges->list[i].last >= ranges->list[i].first);
		before = ranges->list[i].last;
	}
}

static void finished_numbers_are_those_of_an_array_K3(void **state)
{
	(void)state;
	uint64_t random = 3;
	for (int run = 0; run < 300; run++) {
		bool finished[NUMBERS + 2] = {0};
		struct vigia__ranges ranges, copy;
		vigia__ranges_init(&ranges, 0);
		vigia__ranges_init(&copy, 7);
		for (int step = 0; step < 80; step++) {
			random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
			uint64_t first = 1 + (random >> 33) % NUMBERS, last = first + (random >> 50) % 4;
			if (last > NUMBERS) last = NUMBERS;
			assert_int_equal(vigia__ranges_add(&ranges, first, last), 0);
			for (uint64_t n = first; n <= last; n++) finished[n] = true;
			compare(&ranges, finished);
			struct vigia__buf bytes = {0};
			assert_int_equal(vigia__ranges_encode(&ranges, &bytes), 0);
			assert_int_equal(vigia__ranges_decode(&copy, (struct vigia_slice){(char *)bytes.data, bytes.len}), 0);
			compare(&copy, finished);
			vigia__buf_deinit(&bytes);
		}
		vigia__ranges_reset(&ranges, 30);
		assert_true(vigia__ranges_has(&ranges, 30));
		assert_false(vigia__ranges_has(&ranges, 31));
		vigia__ranges_deinit(&ranges);
		vigia__ranges_deinit(&copy);
	}
}

static void the_highest_numbers_do_not_wrap_K3(void **state)
{
	(void)state;
	struct vigia__ranges ranges;
	vigia__ranges_init(&ranges, 5);
	assert_int_equal(vigia__ranges_add(&ranges, UINT64_MAX - 1, UINT64_MAX), 0);
	assert_int_equal(vigia__ranges_add(&ranges, UINT64_MAX - 3, UINT64_MAX - 3), 0);
	assert_int_equal(ranges.count, 2);
	assert_int_equal(vigia__ranges_add(&ranges, UINT64_MAX - 2, UINT64_MAX - 2), 0);
	assert_int_equal(ranges.count, 1);
	assert_int_equal(vigia__ranges_add(&ranges, 0, UINT64_MAX - 3), 0);
	assert_int_equal(ranges.checkpoint, UINT64_MAX);
	vigia__ranges_deinit(&ranges);
}

static void bytes_that_are_none_are_refused_K3(void **state)
{
	(void)state;
	static const uint64_t bad[][5] = {{5, 6, 7, 9, 9}, {5, 9, 8, 20, 20}, {5, 7, 9, 9, 9}, {5, 9, 9, 7, 7}};
	struct vigia__ranges ranges;
	vigia__ranges_init(&ranges, 1);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(vigia__ranges_decode(&ranges, (struct vigia_slice){(const char *)bad[i], sizeof bad[i]}),
		                 VIGIA_EDAMAGED);
	for (size_t len = 0; len < 24; len++)
		if (len != 8)
			assert_int_equal(vigia__ranges_decode(&ranges, (struct vigia_slice){(const char *)bad, len}),
			                 VIGIA_EDAMAGED);
	assert_int_equal(ranges.checkpoint, 1);
	vigia__alloc_fail_at(1, 1);
	assert_int_equal(vigia__ranges_add(&ranges, 4, 5), -1);
	vigia__alloc_fail_at(0, 0);
	assert_false(vigia__ranges_has(&ranges, 4));
	vigia__ranges_deinit(&ranges);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finished_numbers_are_those_of_an_array_K3),
		cmocka_unit_test(the_highest_numbers_do_not_wrap_K3),
		cmocka_unit_test(bytes_that_are_none_are_refused_K3),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
