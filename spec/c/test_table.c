/*
 * test_table.c - the hash table that watchers, checkpoints and owners are found in: entries with the same hash.
 */
#include "test.h"

#include "core/table.h"

static void entries_with_the_same_hash_are_found_one_behind_the_other(void **state)
{
	(void)state;
	enum { SAME = 3, OTHERS = 100 };
	struct vigia__table table = {0};
	struct vigia__node same[SAME], others[OTHERS];
	for (uint64_t i = 0; i < OTHERS; i++) {
		if (i % 30 == 0 && i / 30 < SAME) vigia__table_add(&table, &same[i / 30], 7);
		vigia__table_add(&table, &others[i], 1000 + i);
	}
	for (int left = SAME; left >= 0; left--) {
		int found[SAME] = {0}, count = 0;
		for (struct vigia__node *node = vigia__table_first(&table, 7); node; node = vigia__table_next(node), count++) {
			assert_in_range(node - same, 0, left - 1);
			found[node - same]++;
		}
		assert_int_equal(count, left);
		for (int i = 0; i < left; i++) assert_int_equal(found[i], 1);
		if (left > 0) vigia__table_remove(&table, &same[left - 1]);
	}
	for (uint64_t i = 0; i < OTHERS; i++) assert_ptr_equal(vigia__table_first(&table, 1000 + i), &others[i]);
	vigia__table_deinit(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_with_the_same_hash_are_found_one_behind_the_other),
	};
	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
