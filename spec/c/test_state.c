/*
 * test_state.c - buckets: keys, values, ranges, what a file keeps of them; in memory and in a file, beside a model.
 */
#include "state.h"

#include <lmdb.h>
#include <sys/wait.h>

#include "core/ordered.h"
#include "core/state_key.h"
#include "store/verify.h"

/* ---- keys ---- */

static void keys_sort_as_they_should_X3(void **state)
{
	(void)state;
	const struct vigia_key keys[] = {number_key(INT64_MIN), number_key(-256), number_key(-1),  number_key(0),
	                                 number_key(1),         number_key(255),  number_key(256), number_key(INT64_MAX),
	                                 text_key("\x01"),      text_key("a"),    text_key("aa"),  text_key("b"),
	                                 text_key("\xff")};
	struct vigia__state_key before, now;
	struct vigia_key decoded;
	struct vigia_error err = {0};
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		ok(vigia__state_key_encode(&keys[i], &now, &err), &err);
		assert_true(vigia__state_key_decode(vigia__state_key_slice(&now), &decoded));
		assert_int_equal(decoded.is_integer, keys[i].is_integer);
		assert_true(decoded.integer == keys[i].integer);
		assert_int_equal(decoded.text.len, keys[i].text.len);
		if (i > 0)
			assert_true(vigia__ordered_compare(vigia__state_key_slice(&before), vigia__state_key_slice(&now)) < 0);
		before = now;
	}
	assert_false(vigia__state_key_decode((struct vigia_slice){"s", 1}, &decoded));
	assert_false(vigia__state_key_decode((struct vigia_slice){"i1234567", 8}, &decoded));
	assert_false(vigia__state_key_decode((struct vigia_slice){"x12", 3}, &decoded));
}

static int compare_hashes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* A range that lost a key and got another one, in a version close by, must not look as before. */
static void like_keys_in_versions_close_by_differ_in_their_hash_X2(void **state)
{
	(void)state;
	enum { KEYS = 32, VERSIONS = 1000, LENGTHS = 12 };
	static uint64_t hashes[KEYS * VERSIONS];
	for (size_t len = 2; len <= LENGTHS; len++) {
		char key[LENGTHS] = "skkkkkkkkkkk";
		size_t count = 0;
		for (int k = 0; k < KEYS; k++) {
			key[len - 1] = (char)('0' + k);
			for (uint64_t version = 1; version <= VERSIONS; version++)
				hashes[count++] = vigia__state_hash((struct vigia_slice){key, len}, version);
		}
		qsort(hashes, count, sizeof hashes[0], compare_hashes);
		for (size_t i = 1; i < count; i++)
			if (hashes[i - 1] == hashes[i]) fail_msg("two of keys of %zu bytes have the same hash", len);
	}
}

static void wrong_names_and_keys_are_refused(void **state)
{
	(void)state;
	char long_name[70], long_key[300];
	memset(long_name, 'a', sizeof long_name);
	memset(long_key, 'k', sizeof long_key);
	long_name[65] = '\0';
	const char *const names[] = {"", "a b", "a/b", "\xc3\xa4", long_name};
	struct vigia_store *store = open_store(":memory:");
	struct vigia_transaction *tx;
	struct vigia_error err = {0};
	struct vigia_slice value;
	struct vigia_key good = text_key("k"), empty = {.text = {"", 0}}, large = {.text = {long_key, 256}};
	ok(vigia_transaction_begin(store, &tx, &err), &err);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		assert_int_equal(vigia_transaction_get(tx, names[i], &good, &value, &err), VIGIA_EINVAL);
	long_name[64] = '\0';
	assert_int_equal(vigia_transaction_get(tx, long_name, &good, &value, &err), VIGIA_NONE);
	assert_int_equal(vigia_transaction_get(tx, "b", &empty, &value, &err), VIGIA_EINVAL);
	assert_int_equal(vigia_transaction_get(tx, "b", &large, &value, &err), VIGIA_EINVAL);
	assert_non_null(strstr(err.message, "255"));
	assert_int_equal(vigia_transaction_put(tx, "b", &good, (struct vigia_slice){"\xc1", 1}, &err), VIGIA_ESERIAL);
	vigia_transaction_free(tx);
	vigia_store_free(store);
}

/* ---- one transaction after another, beside a model ---- */

enum { KEYS = 40, BUCKETS = 3, NOTHING = -1 };

struct model {
	int64_t values[BUCKETS][KEYS]; /* NOTHING: the key is not there */
};

static const char *const bucket_names[BUCKETS] = {"a", "b.b", "c-c"};

/* Half of the keys are integers, half strings, in the order of the keys. */
static struct vigia_key key_of(int i)
{
	static char texts[KEYS][16];
	if (i < KEYS / 2) return number_key(i * 3 - 20);
	snprintf(texts[i], sizeof texts[i], "k%02d", i);
	return text_key(texts[i]);
}

static int index_of(const struct vigia_key *key)
{
	for (int i = 0; i < KEYS; i++) {
		struct vigia_key one = key_of(i);
		if (one.is_integer == key->is_integer && one.integer == key->integer && one.text.len == key->text.len &&
		    (one.is_integer || memcmp(one.text.data, key->text.data, one.text.len) == 0))
			return i;
	}
	fail_msg("a key that was never put");
	return -1;
}

struct rows {
	int count, most;
	int indexes[KEYS];
	int64_t values[KEYS];
};

static int add_row(void *ctx, const struct vigia_key *key, struct vigia_slice value)
{
	struct rows *rows = ctx;
	assert_in_range(rows->count, 0, KEYS - 1);
	rows->indexes[rows->count] = index_of(key);
	rows->values[rows->count++] = number_of(value);
	return rows->count == rows->most ? 77 : VIGIA_OK;
}

static unsigned seed;

static int any(int below)
{
	seed = seed * 1103515245 + 12345;
	return (int)((seed >> 16) % (unsigned)below);
}

static void assert_range(struct vigia_transaction *tx, const struct model *model)
{
	struct vigia_error err = {0};
	int bucket = any(BUCKETS), low = any(KEYS), high = any(KEYS), count = 0;
	struct vigia_key from = key_of(low), to = key_of(high);
	struct vigia_range range = {.size = sizeof range, .reverse = any(2), .limit = any(3) ? 0 : 1 + any(5)};
	bool all = any(4) == 0, strings = !all && any(4) == 0;
	if (strings) range.prefix = (struct vigia_slice){"k", 1};
	else if (!all) {
		range.from = &from;
		range.to = &to;
	}
	struct rows rows = {.most = any(5) == 0 ? 1 : 0};
	int rc = vigia_transaction_range(tx, bucket_names[bucket], &range, add_row, &rows, &err);
	if (rc != 77) ok(rc, &err);
	for (int n = 0; n < KEYS; n++) {
		int i = range.reverse ? KEYS - 1 - n : n;
		bool in = all || (strings ? i >= KEYS / 2 : i >= low && i <= high);
		if (!in || model->values[bucket][i] == NOTHING) continue;
		if (range.limit > 0 && count == range.limit) break;
		if (rows.most > 0 && count == rows.most) break;
		assert_in_range(count, 0, rows.count - 1);
		assert_int_equal(rows.indexes[count], i);
		assert_true(rows.values[count] == model->values[bucket][i]);
		count++;
	}
	assert_int_equal(count, rows.count);
}

static void run_against_model(const char *where)
{
	struct vigia_store *store = open_store(where);
	struct model model;
	struct vigia_error err = {0};
	memset(&model, 0xff, sizeof model);
	for (int round = 0; round < 300; round++) {
		struct model inside = model;
		struct vigia_transaction *tx;
		ok(vigia_transaction_begin(store, &tx, &err), &err);
		for (int step = any(30); step >= 0; step--) {
			uint8_t room[9];
			struct vigia_slice value;
			int b = any(BUCKETS), k = any(KEYS);
			struct vigia_key key = key_of(k);
			switch (any(4)) {
			case 0:
				inside.values[b][k] = any(1000000);
				ok(vigia_transaction_put(tx, bucket_names[b], &key, number_value(room, inside.values[b][k]), &err),
				   &err);
				break;
			case 1:
				inside.values[b][k] = NOTHING;
				ok(vigia_transaction_delete(tx, bucket_names[b], &key, &err), &err);
				break;
			case 2: {
				int rc = vigia_transaction_get(tx, bucket_names[b], &key, &value, &err);
				assert_int_equal(rc, inside.values[b][k] == NOTHING ? VIGIA_NONE : VIGIA_OK);
				if (rc == VIGIA_OK) assert_true(number_of(value) == inside.values[b][k]);
				break;
			}
			default:
				assert_range(tx, &inside);
			}
		}
		if (any(4) > 0) {
			ok(vigia_transaction_commit(tx, &err), &err);
			assert_int_equal(vigia_transaction_commit(tx, &err), VIGIA_EINVAL);
			model = inside;
		}
		vigia_transaction_free(tx);
		if (any(60) == 0) {
			int b = any(BUCKETS);
			int rc = vigia_store_drop_bucket(store, bucket_names[b], &err);
			if (rc != VIGIA_NONE) ok(rc, &err);
			memset(model.values[b], 0xff, sizeof model.values[b]);
			assert_int_equal(vigia_store_drop_bucket(store, bucket_names[b], &err), VIGIA_NONE);
		}
		if (where[0] == '/' && any(40) == 0) {
			vigia_store_free(store);
			store = open_store(where);
		}
	}
	vigia_store_free(store);
}

static void memory_is_the_model(void **state)
{
	(void)state;
	for (seed = 1; seed < 6; seed++) run_against_model(":memory:");
}

static void a_file_is_the_model(void **state)
{
	(void)state;
	seed = 42;
	run_against_model(path);
}

/* ---- buckets ---- */

struct names {
	int count;
	uint64_t values;
	char last[80];
};

static int next_name(void *ctx, const char *bucket, uint64_t values)
{
	struct names *names = ctx;
	assert_true(strcmp(names->last, bucket) < 0);
	snprintf(names->last, sizeof names->last, "%s", bucket);
	names->count++;
	names->values += values;
	return VIGIA_OK;
}

static void many_buckets_share_a_file_X3(void **state)
{
	(void)state;
	enum { MANY = 10000 };
	struct vigia_store *store = open_store(path);
	struct vigia_transaction *tx;
	struct vigia_error err = {0};
	struct names names = {0};
	uint8_t room[9];
	for (int i = 0; i < MANY;) {
		ok(vigia_transaction_begin(store, &tx, &err), &err);
		for (int n = 0; n < 1000; n++, i++) {
			char name[32];
			struct vigia_key key = number_key(i);
			snprintf(name, sizeof name, "bucket-%d", i);
			ok(vigia_transaction_put(tx, name, &key, number_value(room, i), &err), &err);
		}
		ok(vigia_transaction_commit(tx, &err), &err);
		vigia_transaction_free(tx);
	}
	ok(vigia_store_buckets(store, next_name, &names, &err), &err);
	assert_int_equal(names.count, MANY);
	assert_int_equal(names.values, MANY);
	assert_int_equal(get_number(store, "bucket-9999", number_key(9999)), 9999);
	vigia_store_free(store);
}

/* ---- the file ---- */

/* A transaction on the database, without the library. Nobody has the file open. */
static MDB_txn *raw_begin(MDB_dbi *dbi)
{
	MDB_env *env;
	MDB_txn *txn;
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 32), 0);
	assert_int_equal(mdb_env_set_mapsize(env, 1 << 28), 0);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "vigia.state", 0, dbi), 0);
	return txn;
}

static void raw_end(MDB_txn *txn)
{
	MDB_env *env = mdb_txn_env(txn);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

/* As an earlier version left it: without the database. Nobody has it open. */
static void take_database_away(void)
{
	MDB_dbi dbi;
	MDB_txn *txn = raw_begin(&dbi);
	assert_int_equal(mdb_drop(txn, dbi, 1), 0);
	raw_end(txn);
}

static void a_file_of_an_earlier_version_gets_buckets(void **state)
{
	(void)state;
	struct vigia_store_options options = quiet_options();
	struct vigia_store *reader, *store;
	struct vigia_error err = {0};
	struct vigia__backend_stats stats;
	vigia_store_free(open_store(path));
	take_database_away();
	store = open_store(path);
	assert_int_equal(get_number(store, "b", number_key(1)), -1);
	assert_int_equal(vigia_store_drop_bucket(store, "b", &err), VIGIA_NONE);
	vigia_store_free(store);
	take_database_away();

	/* Another process makes it: here a handle that only reads, which looks again after each commit. */
	options.readonly = true;
	fflush(NULL);
	int go[2], done[2];
	char byte = 0;
	assert_int_equal(pipe(go), 0);
	assert_int_equal(pipe(done), 0);
	pid_t child = fork();
	if (child == 0) {
		if (read(go[0], &byte, 1) != 1) _exit(1);
		store = open_store(path);
		put_number(store, "b", number_key(1), 7);
		if (write(done[1], &byte, 1) != 1) _exit(1);
		if (read(go[0], &byte, 1) != 1) _exit(1);
		vigia_store_free(store);
		_exit(0);
	}
	ok(vigia_store_open(path, &options, &reader, &err), &err);
	assert_int_equal(get_number(reader, "b", number_key(1)), -1);
	assert_int_equal(write(go[1], &byte, 1), 1);
	assert_int_equal(read(done[0], &byte, 1), 1);
	assert_int_equal(get_number(reader, "b", number_key(1)), 7);
	ok(vigia__store_stats(reader, &stats, &err), &err);
	assert_int_equal(stats.buckets, 1);
	assert_int_equal(stats.values, 1);
	assert_int_equal(write(go[1], &byte, 1), 1);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	struct vigia_transaction *tx;
	struct vigia_key key = number_key(1);
	ok(vigia_transaction_begin(reader, &tx, &err), &err);
	assert_int_equal(vigia_transaction_delete(tx, "b", &key, &err), VIGIA_EREADONLY);
	vigia_transaction_free(tx);
	assert_int_equal(vigia_store_drop_bucket(reader, "b", &err), VIGIA_EREADONLY);
	vigia_store_free(reader);
	close(go[0]), close(go[1]), close(done[0]), close(done[1]);
}

static void damage_found(void *ctx, uint64_t seq_num, const char *text)
{
	snprintf(ctx, 400, "%s", text);
}

static void no_progress(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last)
{
}

static void not_beside(void *ctx)
{
}

/* Change a record of the database. Nobody has the file open. */
static void change_record(const char *key_text, size_t key_len, size_t at)
{
	MDB_dbi dbi;
	MDB_txn *txn = raw_begin(&dbi);
	MDB_val key = {key_len, (void *)key_text}, value;
	char bytes[64];
	assert_int_equal(mdb_get(txn, dbi, &key, &value), 0);
	assert_in_range(value.mv_size, at + 1, sizeof bytes);
	memcpy(bytes, value.mv_data, value.mv_size);
	bytes[at] ^= 1;
	value.mv_data = bytes;
	assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
	raw_end(txn);
}

static void damage_is_told_and_found(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(path);
	struct vigia_transaction *tx;
	struct vigia_error err = {0};
	struct vigia_slice value;
	struct vigia_key key = text_key("a");
	char text[400] = "";
	struct vigia__verify verify = {.ctx = text, .found = damage_found, .progress = no_progress, .beside = not_beside};
	put_number(store, "one", key, 1);
	put_number(store, "two", key, 2);
	ok(vigia__store_verify(store, &verify, &err), &err);
	assert_int_equal(verify.values, 2);
	assert_string_equal(text, "");
	vigia_store_free(store);

	change_record("v\0\0\0\2sa", 7, 20); /* the value */
	store = open_store(path);
	ok(vigia_transaction_begin(store, &tx, &err), &err);
	assert_int_equal(vigia_transaction_get(tx, "two", &key, &value, &err), VIGIA_EDAMAGED);
	assert_non_null(strstr(err.message, "'a'"));
	ok(vigia_transaction_get(tx, "one", &key, &value, &err), &err);
	vigia_transaction_free(tx);
	ok(vigia__store_verify(store, &verify, &err), &err);
	assert_non_null(strstr(text, "bucket 'two'"));
	assert_non_null(strstr(text, "checksum"));
	vigia_store_free(store);

	change_record("bone", 4, 16); /* how many it has */
	store = open_store(path);
	text[0] = '\0';
	vigia_store_drop_bucket(store, "two", &err);
	ok(vigia__store_verify(store, &verify, &err), &err);
	assert_non_null(strstr(text, "bucket 'one' counts"));
	vigia_store_free(store);
}

static int only_hide(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	return vigia__state_drop(kv, (struct vigia_slice){"b", 1});
}

static int any_entry(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia_slice key, value;
	int rc = kv->seek(kv->ctx, (struct vigia_slice){"v", 1}, VIGIA_AT_LEAST, &key, &value);
	*(bool *)arg = rc == 0;
	return rc == VIGIA_NONE ? 0 : rc;
}

/* The process that dropped it died between two slices: the collector goes on. */
static void the_collector_removes_what_a_drop_left(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(path);
	struct vigia_error err = {0};
	struct vigia_gc gc;
	uint8_t room[9];
	struct vigia_transaction *tx;
	bool any = false;
	ok(vigia_transaction_begin(store, &tx, &err), &err);
	for (int i = 0; i < 2500; i++) {
		struct vigia_key key = number_key(i);
		ok(vigia_transaction_put(tx, "b", &key, number_value(room, i), &err), &err);
	}
	ok(vigia_transaction_commit(tx, &err), &err);
	vigia_transaction_free(tx);
	struct vigia__transact hide = {.apply = only_hide};
	ok(store->backend->transact(store->backend, &hide, &err), &err);
	assert_int_equal(get_number(store, "b", number_key(1)), -1);
	ok(store->backend->view(store->backend, VIGIA_MAP_STATE, any_entry, &any, &err), &err);
	assert_true(any);
	ok(vigia_store_gc(store, &gc, &err), &err);
	ok(store->backend->view(store->backend, VIGIA_MAP_STATE, any_entry, &any, &err), &err);
	assert_false(any);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(keys_sort_as_they_should_X3, folder_setup, folder_teardown),
		cmocka_unit_test(like_keys_in_versions_close_by_differ_in_their_hash_X2),
		cmocka_unit_test_setup_teardown(wrong_names_and_keys_are_refused, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(memory_is_the_model, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_file_is_the_model, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_file_of_an_earlier_version_gets_buckets, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(damage_is_told_and_found, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(the_collector_removes_what_a_drop_left, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(many_buckets_share_a_file_X3, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
