/*
 * test_index.c - F2, F5: a filter finds the same events with an index, without one, and with one that has holes,
 * whoever stored them; the records go with the events; what is damaged is looked at.
 */
#include <lmdb.h>
#include <sys/wait.h>

#include "core/block.h"
#include "core/event.h"
#include "lib/fault.h"
#include "lib/folder.h"
#include "store/store.h"

enum { BLOCK = VIGIA_BLOCK_EVENTS };

static const char *const types[] = {"Job", "Node", "File", "Commit"};
static const char *const operations[] = {"CREATE", "UPDATE", "renamed"};

/* What event n is. One in 1000 is a Rare, one in 50 a Few. The last of a block, and the first of another are an Edge.
 */
static const char *type_of(uint64_t n)
{
	if (n == BLOCK || n == 2 * BLOCK + 1) return "Edge";
	uint64_t mixed = n * UINT64_C(0x9E3779B97F4A7C15) >> 33;
	return mixed % 1000 == 7 ? "Rare" : mixed % 50 == 3 ? "Few" : types[mixed / 1000 % COUNT_OF(types)];
}

static const char *operation_of(uint64_t n)
{
	uint64_t mixed = n * UINT64_C(0xD6E8FEB86659FD93) >> 33;
	return mixed % 300 == 5 ? "DELETE" : operations[mixed % COUNT_OF(operations)];
}

static uint64_t latest(struct vigia_store *store)
{
	uint64_t n = 0;
	assert_int_equal(vigia_store_latest(store, &n, NULL), VIGIA_OK);
	return n;
}

static int append_some(struct vigia_store *store, size_t count, struct vigia_error *err)
{
	static struct vigia_new_event events[3 * BLOCK];
	uint64_t next = latest(store) + 1;
	for (size_t i = 0; i < count; i++)
		events[i] = (struct vigia_new_event){slice_of(operation_of(next + i)), slice_of(type_of(next + i)), {"\1", 1}};
	return vigia_store_append(store, events, count, NULL, err);
}

/* Up to the last number, in batches of so many. */
static void fill(struct vigia_store *store, uint64_t last, size_t batch)
{
	struct vigia_error err = {0};
	for (uint64_t n = latest(store); n < last; n = latest(store))
		if (append_some(store, last - n < batch ? last - n : batch, &err) < 0) fail_msg("%s", err.message);
}

static struct vigia_store *open_plain(bool journal, bool collect)
{
	struct vigia_store_options options = quiet_options();
	options.collect = collect;
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	options.journal = journal;
	options.journal_given = true;
	return open_with(&options);
}

struct wanted {
	const char *type, *operation; /* NULL: any */
};

static struct vigia_read request_of(const struct wanted *wanted, struct vigia_slice slices[2], uint64_t from)
{
	slices[0] = slice_of(wanted->type ? wanted->type : "");
	slices[1] = slice_of(wanted->operation ? wanted->operation : "");
	return (struct vigia_read){.size = sizeof(struct vigia_read),
	                           .from = {VIGIA_AT, from},
	                           .filter = {.object_types = &slices[0],
	                                      .object_types_count = wanted->type != NULL,
	                                      .operations = &slices[1],
	                                      .operations_count = wanted->operation != NULL}};
}

/* Read all that is wanted, in results of `limit`: it must be what the numbers say. */
static void check_read(struct vigia_store *store, const struct wanted *wanted, uint64_t from, int64_t limit)
{
	struct vigia_slice slices[2];
	struct vigia_read request = request_of(wanted, slices, from);
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_error err = {0};
	struct vigia_event event;
	uint64_t oldest = 0, last = latest(store), expected;
	vigia_store_oldest(store, &oldest, NULL);
	expected = oldest == 0 ? last + 1 : from > oldest ? from : oldest;
	request.limit = limit;
	do {
		if (vigia_store_read(store, &request, batch, &request.from, &err) < 0) fail_msg("%s", err.message);
		for (size_t i = 0; i <= vigia_batch_count(batch); i++) {
			uint64_t n = request.from.seq_num + 1; /* behind what was looked at */
			if (i < vigia_batch_count(batch)) {
				assert_int_equal(vigia_batch_event(batch, i, &event, &err), VIGIA_OK);
				n = event.seq_num;
			}
			for (; expected < n; expected++) {
				bool passed = (wanted->type && strcmp(type_of(expected), wanted->type) != 0) ||
				              (wanted->operation && strcmp(operation_of(expected), wanted->operation) != 0);
				if (!passed) fail_msg("event %llu is missing", (unsigned long long)expected);
			}
			if (i < vigia_batch_count(batch)) expected++;
		}
	} while (!vigia_batch_at_end(batch));
	if (oldest > 0) assert_int_equal(request.from.kind, VIGIA_AFTER);
	if (oldest > 0) assert_int_equal(request.from.seq_num, last);
	vigia_batch_free(batch);
}

static void check_reads(struct vigia_store *store)
{
	static const struct wanted all[] = {{"Rare", NULL},   {"Few", NULL},     {"Job", NULL},
	                                    {NULL, "DELETE"}, {"Few", "UPDATE"}, {"Job", "renamed"},
	                                    {"None", NULL},   {"Rare", "None"},  {"Edge", NULL}};
	uint64_t last = latest(store);
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		check_read(store, &all[i], 1, 0);
		check_read(store, &all[i], last / 3, 3);
		check_read(store, &all[i], BLOCK, 7);
		check_read(store, &all[i], BLOCK + 1, 100);
	}
}

static struct vigia_explain explain(struct vigia_store *store, const char *type, uint64_t from)
{
	struct vigia_slice slices[2];
	struct vigia_read request = request_of(&(struct wanted){type, NULL}, slices, from);
	struct vigia_explain out;
	struct vigia_error err = {0};
	if (vigia_store_explain(store, &request, &out, &err) < 0) fail_msg("%s", err.message);
	return out;
}

/* ---- the file as LMDB sees it, while no store is open ---- */

static unsigned raw_flags = MDB_NOSUBDIR | MDB_NOLOCK;

static MDB_env *raw_begin(MDB_txn **txn)
{
	MDB_env *env;
	assert_int_equal(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 10);
	mdb_env_set_mapsize(env, 1 << 28);
	assert_int_equal(mdb_env_open(env, path, raw_flags, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, txn), 0);
	return env;
}

static void raw_end(MDB_env *env, MDB_txn *txn)
{
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static size_t count_records(void)
{
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_stat st = {0};
	MDB_env *env = raw_begin(&txn);
	if (mdb_dbi_open(txn, "vigia.index", MDB_INTEGERKEY, &dbi) == 0) mdb_stat(txn, dbi, &st);
	raw_end(env, txn);
	return st.ms_entries;
}

/* As a version without an index leaves it. */
static void drop_index(void)
{
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_env *env = raw_begin(&txn);
	assert_int_equal(mdb_dbi_open(txn, "vigia.index", MDB_INTEGERKEY, &dbi), 0);
	assert_int_equal(mdb_drop(txn, dbi, 1), 0);
	raw_end(env, txn);
}

/* Put a record, or remove it (NULL). */
static void change_record(size_t block, const void *bytes, size_t len)
{
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_env *env = raw_begin(&txn);
	MDB_val key = {sizeof block, &block}, value = {len, (void *)bytes};
	assert_int_equal(mdb_dbi_open(txn, "vigia.index", MDB_INTEGERKEY, &dbi), 0);
	assert_int_equal(bytes ? mdb_put(txn, dbi, &key, &value, 0) : mdb_del(txn, dbi, &key, NULL), 0);
	raw_end(env, txn);
}

static size_t get_record(size_t block, uint8_t bytes[VIGIA_BLOCK_BYTES_MAX])
{
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_env *env = raw_begin(&txn);
	MDB_val key = {sizeof block, &block}, value = {0};
	assert_int_equal(mdb_dbi_open(txn, "vigia.index", MDB_INTEGERKEY, &dbi), 0);
	assert_int_equal(mdb_get(txn, dbi, &key, &value), 0);
	memcpy(bytes, value.mv_data, value.mv_size);
	raw_end(env, txn);
	return value.mv_size;
}

/* A record that is whole, and knows one type and one operation that no event has. */
static void put_wrong_record(size_t block)
{
	struct vigia__block_builder *builder = vigia__block_builder_new();
	struct vigia__head head = {.operation = SLICE("other"), .object_type = SLICE("Other")};
	vigia__block_begin(builder, 0);
	for (int i = 0; i < BLOCK; i++) vigia__block_add_head(builder, &head);
	struct vigia_slice record = vigia__block_end(builder, block);
	change_record(block, record.data, record.len);
	vigia__block_builder_free(builder);
}

/* Append the events behind the last one as a version without an index does: to LMDB alone. */
static void append_raw(uint64_t from, uint64_t to)
{
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_env *env = raw_begin(&txn);
	struct vigia__buf event = {0};
	assert_int_equal(mdb_dbi_open(txn, "events", MDB_INTEGERKEY, &dbi), 0);
	for (size_t n = from; n <= to; n++) {
		event.len = 0;
		assert_int_equal(vigia__event_begin(&event, slice_of(operation_of(n)), slice_of(type_of(n)), NULL), 0);
		assert_int_equal(vigia__put_nil(&event), 0);
		vigia__event_stamp(event.data, event.len, n, INT64_C(4000000000000000000));
		MDB_val key = {sizeof n, &n}, value = {event.len, event.data};
		assert_int_equal(mdb_put(txn, dbi, &key, &value, MDB_APPEND), 0);
	}
	vigia__buf_deinit(&event);
	raw_end(env, txn);
}

/* The same in a process of its own, beside the store. */
static void append_beside(uint64_t from, uint64_t to)
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		raw_flags = MDB_NOSUBDIR;
		append_raw(from, to);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- tests ---- */

static void test_F2_same_answers(void **state)
{
	static const size_t batches[] = {1, 1000, 3 * BLOCK};
	for (int journal = 0; journal < 2; journal++) {
		for (size_t i = 0; i < COUNT_OF(batches); i++) {
			struct vigia_store *store = open_plain(journal, false);
			fill(store, 3 * BLOCK + 100, batches[i]);
			check_reads(store);
			vigia_store_free(store);
			assert_int_equal(count_records(), 3);
			store = open_plain(journal, false);
			check_reads(store);
			struct vigia_explain found = explain(store, "Rare", 1);
			assert_true(found.by_index);
			assert_int_equal(found.blocks, 4);
			assert_int_equal(found.blocks_indexed, 3);
			assert_true(found.events_looked_at < 150);
			vigia_store_free(store);
			folder_empty(folder);
		}
	}
}

static void test_F5_what_explain_says(void **state)
{
	struct vigia_store *store = open_plain(true, false);
	struct vigia_explain found = explain(store, "Rare", 1);
	assert_int_equal(found.events + found.from + found.to + found.blocks, 0);
	fill(store, 2 * BLOCK, 1000);
	append_some(store, 1, NULL);
	vigia_store_trim(store, 10, NULL, NULL);
	found = explain(store, "Rare", 1);
	uint64_t rare = 1; /* the last one is in no full block */
	for (uint64_t n = 11; n <= 2 * BLOCK; n++) rare += strcmp(type_of(n), "Rare") == 0;
	assert_int_equal(found.from, 11);
	assert_int_equal(found.to, 2 * BLOCK + 1);
	assert_int_equal(found.events, 2 * BLOCK - 9);
	assert_int_equal(found.events_looked_at, rare);
	assert_int_equal(found.blocks, 3);
	assert_int_equal(found.blocks_indexed, 2);
	assert_int_equal(found.blocks_looked_at, 3);
	found = explain(store, "None", BLOCK + 5);
	assert_int_equal(found.from, BLOCK + 5);
	assert_int_equal(found.blocks, 2);
	assert_int_equal(found.blocks_looked_at, 1);
	assert_int_equal(found.events_looked_at, 1);
	found = explain(store, NULL, 1);
	assert_false(found.by_index);
	assert_int_equal(found.events_looked_at, found.events);
	assert_int_equal(found.blocks_indexed, 0);
	assert_int_equal(explain(store, "Rare", 2 * BLOCK + 2).events, 0);
	vigia_store_free(store);
}

static void test_F2_records_go_with_the_events(void **state)
{
	struct vigia_store *store = open_plain(false, false);
	fill(store, 4 * BLOCK + 10, 1000);
	vigia_store_trim(store, BLOCK - 1, NULL, NULL);
	check_reads(store);
	vigia_store_free(store);
	assert_int_equal(count_records(), 4); /* the first block has an event */
	store = open_plain(false, false);
	vigia_store_trim(store, BLOCK, NULL, NULL);
	vigia_store_trim(store, 3 * BLOCK + 7, NULL, NULL);
	check_reads(store);
	vigia_store_free(store);
	assert_int_equal(count_records(), 1);
	store = open_plain(false, false);
	vigia_store_trim(store, 4 * BLOCK + 10, NULL, NULL);
	check_reads(store);
	fill(store, 5 * BLOCK + 10, 1000);
	check_reads(store);
	vigia_store_free(store);
	assert_int_equal(count_records(), 1);
}

static void wait_until_indexed(struct vigia_store *store, uint64_t blocks)
{
	for (int i = 0; i < 1000 && explain(store, "Rare", 1).blocks_indexed < blocks; i++) usleep(10000);
	assert_int_equal(explain(store, "Rare", 1).blocks_indexed, blocks);
}

static void test_F2_old_files_are_indexed_in_the_background(void **state)
{
	struct vigia_store *store = open_plain(false, false);
	fill(store, 21 * BLOCK - 1, 3 * BLOCK);
	vigia_store_trim(store, BLOCK + 5, NULL, NULL);
	vigia_store_free(store);
	drop_index();
	store = open_plain(false, false);
	check_reads(store);
	assert_int_equal(explain(store, "Rare", 1).blocks_indexed, 0);
	assert_false(explain(store, "Rare", 1).by_index);
	fill(store, 21 * BLOCK + 1, 1); /* a block is completed: the file gets its index */
	assert_int_equal(explain(store, "Rare", 1).blocks_indexed, 1);
	check_reads(store);
	struct vigia_store *collects = open_plain(false, true);
	wait_until_indexed(store, 20);
	check_reads(store);
	vigia_store_free(collects);
	vigia_store_free(store);
	assert_int_equal(count_records(), 20);
	change_record(7, NULL, 0);
	collects = open_plain(false, true);
	wait_until_indexed(collects, 20);
	vigia_store_free(collects);
}

/* One that has no index wrote, and removed, in between. */
static void test_F2_another_version_in_between(void **state)
{
	struct vigia_store *store = open_plain(false, false);
	fill(store, BLOCK + 100, 100);
	vigia_store_free(store);
	append_raw(BLOCK + 101, 3 * BLOCK + 50);
	store = open_plain(false, false);
	check_reads(store);
	fill(store, 4 * BLOCK + 50, 100);
	check_reads(store);
	assert_int_equal(explain(store, "Rare", 1).blocks_indexed, 2); /* the first and the last */
	vigia_store_free(store);
}

/* The same while this process has noted the first events of the block. */
static void test_F2_another_process_in_between(void **state)
{
	struct vigia_store *store = open_plain(false, false);
	fill(store, BLOCK + 100, 100);
	append_beside(BLOCK + 101, BLOCK + 2000);
	fill(store, 2 * BLOCK - 1, 100);
	append_beside(2 * BLOCK, 2 * BLOCK + 1);
	fill(store, 4 * BLOCK, 1);
	check_reads(store);
	vigia_store_free(store);
	assert_int_equal(count_records(), 3); /* nobody indexed the second block */
}

/* Events that were noted for a commit that failed are not in the record. */
static void test_F2_commits_that_fail(void **state)
{
	struct vigia_store_options options = quiet_options();
	options.journal = false;
	options.journal_given = true;
	struct vigia_error err = {0};
	struct vigia_store *store = open_with(&options);
	fill(store, 1000, 1000);
	struct vigia_new_event other = {slice_of("other"), slice_of("Other"), {"\1", 1}}, others[200];
	for (int i = 0; i < 200; i++) others[i] = other;
	for (int i = 1; i <= 4; i++) {
		arm(i % 2 ? FAULT_WRITE : FAULT_SYNC, 1, EIO, false);
		assert_true(vigia_store_append(store, others, 200, NULL, &err) < 0);
		disarm();
		struct vigia_append_options if_last = {.size = sizeof if_last, .if_last_given = true, .if_last = 1};
		assert_int_equal(vigia_store_append_with(store, &other, 1, &if_last, NULL, NULL, &err), VIGIA_ESEQUENCE);
		fill(store, latest(store) + 200, 200);
	}
	fill(store, 2 * BLOCK + 5, 500);
	check_reads(store);
	assert_int_equal(explain(store, "Rare", 1).blocks_indexed, 2);
	vigia_store_free(store);
}

static void test_F2_damaged_records_are_not_used(void **state)
{
	uint8_t record[VIGIA_BLOCK_BYTES_MAX];
	struct vigia_store *store = open_plain(false, false);
	fill(store, 3 * BLOCK, 1000);
	vigia_store_free(store);
	size_t len = get_record(1, record);
	change_record(2, record, len); /* that of another block */
	record[len - 1] ^= 4;
	change_record(1, record, len);
	change_record(0, "\1\2\3", 3);
	store = open_plain(false, false);
	check_reads(store);
	assert_int_equal(explain(store, "None", 1).blocks_indexed, 1); /* whose damaged part is not asked for */
	fill(store, 3 * BLOCK + 100, 100);
	vigia_store_free(store);
	put_wrong_record(3); /* of a block that is not full */
	store = open_plain(false, false);
	check_reads(store);
	assert_int_equal(explain(store, "None", 1).blocks_indexed, 1);
	vigia_store_free(store);
}

static struct {
	int count;
	char text[200];
} told;

static void tell(void *ctx, uint64_t seq_num, const char *text)
{
	told.count++;
	snprintf(told.text, sizeof told.text, "%s", text);
}

static void beside(void *ctx)
{
}

static void check_verify(int count, const char *text)
{
	struct vigia_store *store = open_plain(false, false);
	struct vigia__verify verify = {.found = tell, .beside = beside};
	told.count = 0;
	assert_int_equal(store->backend->check(store->backend, &verify, NULL), VIGIA_OK);
	vigia_store_free(store);
	assert_int_equal(told.count, count);
	if (count > 0 && strcmp(told.text, text) != 0) fail_msg("%s", told.text);
}

static void test_E8_verify_checks_it(void **state)
{
	uint8_t record[VIGIA_BLOCK_BYTES_MAX];
	struct vigia_store *store = open_plain(false, false);
	fill(store, 3 * BLOCK, 1000);
	vigia_store_trim(store, 100, NULL, NULL);
	vigia_store_free(store);
	check_verify(0, "");
	put_wrong_record(1);
	check_verify(1, "the index of events 4097 to 8192: it leaves out an event");
	change_record(1, NULL, 0);
	size_t len = get_record(0, record);
	record[len - 1] ^= 4;
	change_record(0, record, len);
	check_verify(1, "the index of events 1 to 4096: its record is damaged");
}

static void test_F2_a_copy_has_it(void **state)
{
	char copy[FOLDER_MAX + 16];
	struct vigia_error err = {0};
	for (int compact = 0; compact < 2; compact++) {
		struct vigia_store *store = open_plain(true, false);
		fill(store, 2 * BLOCK + 100 + 100 * compact, 1000);
		snprintf(copy, sizeof copy, "%s/copy%d", folder, compact);
		if (vigia_store_backup(store, copy, compact, &err) < 0) fail_msg("%s", err.message);
		vigia_store_free(store);
		struct vigia_store_options options = quiet_options();
		options.readonly = true;
		assert_int_equal(vigia_store_open(copy, &options, &store, &err), VIGIA_OK);
		assert_int_equal(explain(store, "Rare", 1).blocks_indexed, 2);
		check_reads(store);
		vigia_store_free(store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_F2_same_answers, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_F5_what_explain_says, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_F2_records_go_with_the_events, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_F2_old_files_are_indexed_in_the_background, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_F2_another_version_in_between, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_F2_another_process_in_between, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_F2_commits_that_fail, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_F2_damaged_records_are_not_used, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_E8_verify_checks_it, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_F2_a_copy_has_it, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
