/*
 * test_replaced.c - R3, S18: what a store whose records are damaged says when it is opened, and what an environment
 * that must be opened again says of a file that is not what was opened, or that was cut.
 */
#include "folder.h"

#include <fcntl.h>

#include "store/clock.h"
#include "store/lmdb_private.h"
#include "store/store.h"

static struct lmdb_backend *backend;

static struct vigia_store *make(void)
{
	struct vigia_store_options options = quiet_options();
	struct vigia_store *store = open_with(&options);
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
	assert_int_equal(vigia_store_append(store, &event, 1, NULL, NULL), VIGIA_OK);
	backend = (struct lmdb_backend *)store->backend;
	return store;
}

static int reopened(struct vigia_error *err)
{
	struct vigia_store_options options = quiet_options();
	struct vigia_store *store = NULL;
	int rc = vigia_store_open(path, &options, &store, err);
	vigia_store_free(store);
	return rc;
}

/* Another byte at the beginning of this record. */
static int damage_record(void *txn, void *name, struct vigia_error *err)
{
	uint8_t bytes[1000];
	MDB_val key = {strlen(name), name}, value;
	(void)err;
	int rc = mdb_get(txn, backend->meta, &key, &value);
	if (rc != 0) return rc;
	memcpy(bytes, value.mv_data, value.mv_size);
	bytes[0] ^= 0xff;
	value.mv_data = bytes;
	return mdb_put(txn, backend->meta, &key, &value, 0);
}

static void damage(const char *name)
{
	assert_int_equal(vigia__commit_call(&backend->commit, VIGIA_TICKET_CALL, damage_record, (void *)name, NULL), 0);
}

static void R3_a_damaged_record_is_named_when_the_store_is_opened(void **state)
{
	(void)state;
	static const char *const rows[][2] = {{"header", "header is damaged"}, {"settings", "settings in the store"}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia_error err = {0};
		struct vigia_store *store = make();
		damage(rows[i][0]);
		vigia_store_free(store);
		assert_error(reopened(&err), VIGIA_ENOTSTORE, &err, rows[i][1]);
		folder_empty(folder);
	}
}

/* The next call opens the environment again. */
static int read_again(struct vigia_store *store, struct vigia_error *err)
{
	uint64_t latest;
	vigia__lmdb_env_close(backend);
	return vigia_store_latest(store, &latest, err);
}

static void S18_what_is_opened_again_must_be_what_was_opened(void **state)
{
	(void)state;
	struct vigia_error err = {0};
	struct vigia_store *store = make();
	assert_int_equal(read_again(store, &err), VIGIA_OK);

	/* Another content under the same header: nothing is read from it. */
	backend->file_id[0] ^= 1;
	assert_error(read_again(store, &err), VIGIA_EREPLACED, &err, "replaced");
	backend->file_id[0] ^= 1;
	assert_int_equal(read_again(store, &err), VIGIA_OK);

	/* Another file under the same name. */
	backend->ino++;
	assert_error(read_again(store, &err), VIGIA_EREPLACED, &err, "another file");
	backend->ino--;
	assert_int_equal(read_again(store, &err), VIGIA_OK);

	damage("header");
	assert_error(read_again(store, &err), VIGIA_ENOTSTORE, &err, "header is damaged");
	vigia_store_free(store);
}

static void S18_no_write_begins_in_a_file_that_was_cut(void **state)
{
	(void)state;
	struct vigia_error err = {0};
	struct vigia_store *store = make();
	MDB_txn *txn;
	assert_int_equal(truncate(path, 4096), 0);
	/* It looks at each tick of the coarse clock, and until then its pages are not there. */
	for (int64_t now = vigia__coarse_ns(); vigia__coarse_ns() == now;) continue;
	int rc = vigia__lmdb_write_begin(backend, &txn, &err);
	assert_error(rc, VIGIA_EREPLACED, &err, path);
	vigia_store_free(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)
	const struct CMUnitTest tests[] = {
		TEST(R3_a_damaged_record_is_named_when_the_store_is_opened),
		TEST(S18_what_is_opened_again_must_be_what_was_opened),
		TEST(S18_no_write_begins_in_a_file_that_was_cut),
#undef TEST
	};
	return cmocka_run_group_tests_name("replaced", tests, NULL, NULL);
}
