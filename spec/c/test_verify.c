/*
 * test_verify.c - E8: each kind of damage that verify looks for, made by hand inside a store's file, is found and told
 * by its place.
 */
#include "folder.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/event.h"
#include "store/lmdb_private.h"
#include "store/verify.h"

enum { EVENTS = 10 };

static int append(struct vigia_store *store, const char *key)
{
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\xa4text", 5}};
	struct vigia_append_options options = {.size = sizeof options, .key = {key, strlen(key)}};
	return vigia_store_append_with(store, &event, 1, key[0] ? &options : NULL, NULL, NULL, NULL);
}

/* Ten events, the fifth under a key. */
static struct vigia_store *make(void)
{
	struct vigia_store_options options = quiet_options();
	struct vigia_store *store = open_with(&options);
	for (int i = 1; i <= EVENTS; i++) assert_int_equal(append(store, i == 5 ? "five" : ""), VIGIA_OK);
	return store;
}

/* ---- damage: inside a commit ---- */

static struct lmdb_backend *backend;

/* Event n's bytes with one change, under a checksum that fits. */
static int rewrite(MDB_txn *txn, size_t n, void (*change)(uint8_t *bytes, size_t *len, int64_t *at_ns))
{
	uint8_t bytes[200];
	MDB_val key = {sizeof n, &n}, value;
	int rc = mdb_get(txn, backend->events, &key, &value);
	if (rc != 0) return rc;
	size_t len = value.mv_size;
	memcpy(bytes, value.mv_data, len);
	int64_t at_ns = vigia__event_time(bytes, len);
	change(bytes, &len, &at_ns);
	vigia__event_stamp(bytes, len, n, at_ns);
	value = (MDB_val){len, bytes};
	return mdb_put(txn, backend->events, &key, &value, 0);
}

static void an_hour_back(uint8_t *bytes, size_t *len, int64_t *at_ns)
{
	*at_ns -= INT64_C(3600000000000);
}

static void no_value(uint8_t *bytes, size_t *len, int64_t *at_ns)
{
	bytes[*len - 5] = 0xc1; /* msgpack never uses it */
}

static void no_operation(uint8_t *bytes, size_t *len, int64_t *at_ns)
{
	for (size_t i = 0; i < *len; i++)
		if (memcmp(bytes + i, "\xa3Job", 4) == 0) bytes[i] = 0xc0; /* nil, where a type belongs */
}

static int time_back(void *txn, void *arg, struct vigia_error *err)
{
	return rewrite(txn, 4, an_hour_back);
}
static int bad_object(void *txn, void *arg, struct vigia_error *err)
{
	return rewrite(txn, 4, no_value);
}
static int bad_head(void *txn, void *arg, struct vigia_error *err)
{
	return rewrite(txn, 4, no_operation);
}

static int flipped(void *txn, void *arg, struct vigia_error *err)
{
	size_t n = 4;
	uint8_t bytes[200];
	MDB_val key = {sizeof n, &n}, value;
	int rc = mdb_get(txn, backend->events, &key, &value);
	if (rc != 0) return rc;
	memcpy(bytes, value.mv_data, value.mv_size);
	bytes[value.mv_size - 1] ^= 1;
	value.mv_data = bytes;
	return mdb_put(txn, backend->events, &key, &value, 0);
}

static int drop(MDB_txn *txn, size_t first, size_t last)
{
	int rc = 0;
	for (size_t n = first; n <= last && rc == 0; n++)
		rc = mdb_del(txn, backend->events, &(MDB_val){sizeof n, &n}, NULL);
	return rc;
}

static int the_end(void *txn, void *arg, struct vigia_error *err)
{
	return drop(txn, 7, EVENTS);
}
static int hole(void *txn, void *arg, struct vigia_error *err)
{
	return drop(txn, 4, 6);
}

static int from_5_on(void *txn, void *arg, struct vigia_error *err)
{
	return drop(txn, 5, EVENTS);
}

static int key_without_events(void *txn, void *arg, struct vigia_error *err)
{
	struct vigia__append request = {.key = {"ghost", 5}, .first_seq = 40, .last_seq = 41};
	return vigia__lmdb_key_put(backend, txn, &request);
}

static int key_of_no_number(void *txn, void *arg, struct vigia_error *err)
{
	return mdb_del(txn, backend->keys, &(MDB_val){9, "s\0\0\0\0\0\0\0\x05"}, NULL);
}

static int number_of_another_key(void *txn, void *arg, struct vigia_error *err)
{
	(void)arg, (void)err;
	return mdb_put(txn, backend->keys, &(MDB_val){9, "s\0\0\0\0\0\0\0\x05"}, &(MDB_val){4, "fire"}, 0);
}

static int number_of_no_key(void *txn, void *arg, struct vigia_error *err)
{
	return mdb_del(txn, backend->keys, &(MDB_val){5, "kfive"}, NULL);
}

static int short_key(void *txn, void *arg, struct vigia_error *err)
{
	return mdb_put(txn, backend->keys, &(MDB_val){5, "kfive"}, &(MDB_val){3, "abc"}, 0);
}

static int short_checkpoint(void *txn, void *arg, struct vigia_error *err)
{
	return mdb_put(txn, backend->checkpoints, &(MDB_val){1, "w"}, &(MDB_val){3, "abc"}, 0);
}

static int far_hold(void *txn, void *arg, struct vigia_error *err)
{
	struct checkpoint_record record = {.seq_num = 99};
	return mdb_put(txn, backend->holds, &(MDB_val){1, "h"}, &(MDB_val){sizeof record, &record}, 0);
}

/* ---- what verify says ---- */

static struct {
	struct vigia_store *store;
	char text[2000];   /* "number: text" and a newline for each place */
	bool trims, drops; /* while it looks */
} told;

static void found(void *ctx, uint64_t seq_num, const char *text)
{
	size_t len = strlen(told.text);
	snprintf(told.text + len, sizeof told.text - len, "%llu: %s\n", (unsigned long long)seq_num, text);
}

static void progress(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last)
{
	uint64_t upto = seq_num + 2 < EVENTS ? seq_num + 2 : EVENTS;
	if (told.trims) assert_int_equal(vigia_store_trim(told.store, upto, NULL, NULL), VIGIA_OK);
	if (told.drops)
		assert_int_equal(vigia__commit_call(&backend->commit, VIGIA_TICKET_CALL, the_end, NULL, NULL), VIGIA_OK);
	told.drops = false;
}

static void beside(void *ctx)
{
}

static void verify(struct vigia_store *store, uint64_t piece)
{
	struct vigia_error err = {0};
	struct vigia__verify v = {.found = found, .progress = progress, .beside = beside, .piece = piece};
	told.store = store;
	told.text[0] = '\0';
	if (vigia__store_verify(store, &v, &err) < 0) fail_msg("%s", err.message);
}

static void E8_each_kind_of_damage_is_found(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		int (*damage)(void *txn, void *arg, struct vigia_error *err);
		const char *said;
	} rows[] = {
		{"a byte", flipped, "4: its bytes do not match their checksum\n"},
		{"a time", time_back, "4: its time is before that of the event before it\n"},
		{"an object", bad_object, "4: its object cannot be read: "},
		{"a head", bad_head, "4: its bytes are not an event\n"},
		{"a hole", hole, "7: 3 events before it are missing\n0: the file counts 7 events but their numbers say 10\n"},
		{"a key", key_without_events, "0: key 'ghost': its events are not there\n"},
		{"a key no number leads to", key_of_no_number,
	     "0: key 'five': it would remain when its events are removed\n0: the keys do"},
		{"a key whose number leads to another one", number_of_another_key,
	     "0: key 'five': it would remain when its events are removed\n"},
		{"a number without a key", number_of_no_key, "0: the keys do not match the numbers recorded for them\n"},
		{"a short key", short_key, "0: key 'five': its record is damaged\n"},
		{"a short checkpoint", short_checkpoint, "0: checkpoint 'w': its record is too short\n"},
		{"a hold", far_hold, "0: hold 'h': it is beyond the last event\n"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct vigia_store *store = make();
		backend = (struct lmdb_backend *)store->backend;
		verify(store, 0);
		assert_string_equal(told.text, "");
		if (vigia__commit_call(&backend->commit, VIGIA_TICKET_CALL, rows[i].damage, NULL, NULL) != 0)
			fail_msg("%s: the damage failed", rows[i].name);
		for (uint64_t piece = 0; piece < 3; piece++) {
			verify(store, piece);
			if (strncmp(told.text, rows[i].said, strlen(rows[i].said)) != 0)
				fail_msg("%s: %s", rows[i].name, told.text);
		}
		vigia_store_free(store);
		folder_teardown(NULL);
		folder_setup(NULL);
	}
}

static void E8_what_is_trimmed_meanwhile_is_no_damage(void **state)
{
	(void)state;
	for (uint64_t piece = 1; piece < EVENTS + 2; piece++) {
		struct vigia_store *store = make();
		told.trims = true;
		verify(store, piece);
		told.trims = false;
		assert_string_equal(told.text, "");
		vigia_store_free(store);
		folder_teardown(NULL);
		folder_setup(NULL);
	}
}

static int (*real_scan)(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch,
                        struct vigia_error *err);

/* Somebody trims before each read, and again between it and the look at the bounds. */
static int scan_between_trims(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch,
                              struct vigia_error *err)
{
	uint64_t upto = scan->from + 1 < EVENTS ? scan->from + 1 : EVENTS;
	assert_int_equal(vigia_store_trim(told.store, upto, NULL, NULL), VIGIA_OK);
	int rc = real_scan(b, scan, batch, err);
	upto = upto + 2 < EVENTS ? upto + 2 : EVENTS;
	assert_int_equal(vigia_store_trim(told.store, upto, NULL, NULL), VIGIA_OK);
	return rc;
}

static void E8_what_is_trimmed_again_behind_a_read_is_no_damage(void **state)
{
	(void)state;
	for (uint64_t piece = 1; piece < EVENTS + 2; piece++) {
		struct vigia_store *store = make();
		real_scan = store->backend->scan;
		store->backend->scan = scan_between_trims;
		verify(store, piece);
		assert_string_equal(told.text, "");
		vigia_store_free(store);
		folder_teardown(NULL);
		folder_setup(NULL);
	}
}

/* A backend that gives an event once more. */
static int scan_twice(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch,
                      struct vigia_error *err)
{
	if (scan->from > 1) scan->from--;
	return real_scan(b, scan, batch, err);
}

static void E8_events_out_of_order_are_an_error(void **state)
{
	(void)state;
	struct vigia_error err = {0};
	struct vigia_store *store = make();
	struct vigia__verify v = {.found = found, .progress = progress, .beside = beside, .piece = 3};
	real_scan = store->backend->scan;
	store->backend->scan = scan_twice;
	told.store = store;
	assert_error(vigia__store_verify(store, &v, &err), VIGIA_EIO, &err, "3 comes after 3");
	vigia_store_free(store);
}

/* All of them: the time of the next one is unknown then, but not its number. A journal would know both. */
static void E8_a_log_of_damaged_events_goes_on(void **state)
{
	(void)state;
	struct vigia_store *store = make();
	uint64_t latest = 0;
	backend = (struct lmdb_backend *)store->backend;
	assert_int_equal(vigia_store_trim(store, 3, NULL, NULL), VIGIA_OK);
	assert_int_equal(vigia__commit_call(&backend->commit, VIGIA_TICKET_CALL, flipped, NULL, NULL), 0);
	assert_int_equal(vigia__commit_call(&backend->commit, VIGIA_TICKET_CALL, from_5_on, NULL, NULL), 0);
	backend->stamped.seq_num = 0;
	assert_int_equal(append(store, ""), VIGIA_OK);
	assert_int_equal(vigia_store_latest(store, &latest, NULL), VIGIA_OK);
	assert_int_equal(latest, 5);
	vigia_store_free(store);
}

static void E8_an_end_that_cannot_be_reached_is_found(void **state)
{
	(void)state;
	struct vigia_store *store = make();
	backend = (struct lmdb_backend *)store->backend;
	told.drops = true;
	verify(store, 3);
	assert_string_equal(told.text, "10: it is missing, or those before it are\n");
	vigia_store_free(store);
}

/* The first event that is kept, and the last one, have keys like any other. */
static void E8_a_key_at_either_end_of_the_log_is_no_damage(void **state)
{
	(void)state;
	struct vigia_store *store = make();
	for (uint64_t upto = 3; upto < 6; upto++) {
		assert_int_equal(vigia_store_trim(store, upto, NULL, NULL), VIGIA_OK);
		verify(store, 0);
		assert_string_equal(told.text, "");
	}
	assert_int_equal(append(store, "last"), VIGIA_OK);
	verify(store, 0);
	assert_string_equal(told.text, "");
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(E8_each_kind_of_damage_is_found, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(E8_an_end_that_cannot_be_reached_is_found, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(E8_events_out_of_order_are_an_error, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(E8_a_log_of_damaged_events_goes_on, folder_setup_bare, folder_teardown),
		cmocka_unit_test_setup_teardown(E8_what_is_trimmed_meanwhile_is_no_damage, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(E8_what_is_trimmed_again_behind_a_read_is_no_damage, folder_setup,
	                                    folder_teardown),
		cmocka_unit_test_setup_teardown(E8_a_key_at_either_end_of_the_log_is_no_damage, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
