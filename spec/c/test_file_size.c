/*
 * test_file_size.c - the file of a store has all the pages that it counts, after whatever was stored and removed.
 */
#include "events.h"
#include "folder.h"

#include "store/store.h"

/* LMDB counts pages that it takes and frees again in one transaction, and does not write them at the end of the file. A
 * file that is shorter than what it counts would be refused as truncated. */
static void add_some(struct vigia_store *store, uint64_t *last)
{
	struct vigia_new_event events[400];
	size_t count = 1 + (size_t)(rand() % (rand() % 20 == 0 ? 400 : 5)),
		   len = (size_t)(rand() % 10 == 0 ? rand() % 59000 : rand() % 900);
	uint64_t first;
	for (size_t i = 0; i < count; i++)
		events[i] = (struct vigia_new_event){SLICE_INIT("CREATE"), SLICE_INIT("T"), payload_of(count > 5 ? 50 : len)};
	assert_int_equal(vigia_store_append(store, events, count, &first, NULL), VIGIA_OK);
	*last = first + count - 1;
}

static void S13_a_file_is_as_long_as_what_it_counts(void **state)
{
	(void)state;
	struct vigia_store_options options = quiet_options();
	struct vigia__backend_stats stats;
	char id[16];
	options.durability = VIGIA_DURABILITY_NONE;
	options.journal = true; /* a drain and a removal are one transaction then */
	options.durability_given = options.journal_given = true;
	for (unsigned seed = 1; seed <= 20; seed++) {
		struct vigia_store *store = open_with(&options);
		uint64_t last = 0;
		srand(seed);
		for (int i = 0; i < 300; i++) {
			int act = rand() % 4;
			snprintf(id, sizeof id, "w%d", rand() % 100);
			if (act == 0 && last > 10)
				assert_int_equal(vigia_store_trim(store, last - (uint64_t)(rand() % 10), NULL, NULL), VIGIA_OK);
			else if (act == 1) assert_int_equal(vigia_checkpoint_put(store, id, 1, NULL), VIGIA_OK);
			else if (act == 2) vigia_checkpoint_delete(store, id, NULL);
			else add_some(store, &last);
			assert_int_equal(vigia__store_stats(store, &stats, NULL), VIGIA_OK);
			if (stats.file_bytes < stats.used_bytes) fail_msg("seed %u, step %d: too short", seed, i);
		}
		vigia_store_free(store);
		vigia_store_free(open_with(&options));
		folder_empty(folder);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(S13_a_file_is_as_long_as_what_it_counts, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
