/*
 * state.h - what the tests of buckets, transactions and their watchers share: a store, numbers under keys. To be
 * included by a test, once.
 */
#ifndef VIGIA_SPEC_STATE_H
#define VIGIA_SPEC_STATE_H

#include "folder.h"
#include "test.h"

#include "store/store.h"

static inline struct vigia_key text_key(const char *text)
{
	return (struct vigia_key){.text = {text, strlen(text)}};
}

static inline struct vigia_key number_key(int64_t number)
{
	return (struct vigia_key){.is_integer = true, .integer = number};
}

/* A msgpack integer of 8 bytes. */
static inline struct vigia_slice number_value(uint8_t room[9], int64_t number)
{
	uint64_t big_endian = __builtin_bswap64((uint64_t)number);
	room[0] = 0xd3;
	memcpy(room + 1, &big_endian, sizeof big_endian);
	return (struct vigia_slice){(const char *)room, 9};
}

static inline int64_t number_of(struct vigia_slice value)
{
	uint64_t big_endian;
	assert_int_equal(value.len, 9);
	memcpy(&big_endian, value.data + 1, sizeof big_endian);
	return (int64_t)__builtin_bswap64(big_endian);
}

static inline struct vigia_store *open_store(const char *where)
{
	struct vigia_store_options options = quiet_options();
	struct vigia_error err = {0};
	struct vigia_store *store = NULL;
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	options.max_transaction_bytes = 1024 * 1024;
	if (vigia_store_open(where, &options, &store, &err) < 0) fail_msg("%s", err.message);
	return store;
}

static inline void ok(int rc, const struct vigia_error *err)
{
	if (rc != VIGIA_OK) fail_msg("%d: %s (%s)", rc, err->message, err->cause);
}

static inline void put_number(struct vigia_store *store, const char *bucket, struct vigia_key key, int64_t number)
{
	struct vigia_transaction *tx;
	struct vigia_error err = {0};
	uint8_t room[9];
	ok(vigia_transaction_begin(store, &tx, &err), &err);
	ok(vigia_transaction_put(tx, bucket, &key, number_value(room, number), &err), &err);
	ok(vigia_transaction_commit(tx, &err), &err);
	vigia_transaction_free(tx);
}

/* The number, or -1. */
static inline int64_t get_number(struct vigia_store *store, const char *bucket, struct vigia_key key)
{
	struct vigia_transaction *tx;
	struct vigia_error err = {0};
	struct vigia_slice value;
	ok(vigia_transaction_begin(store, &tx, &err), &err);
	int rc = vigia_transaction_get(tx, bucket, &key, &value, &err);
	int64_t number = rc == VIGIA_OK ? number_of(value) : -1;
	if (rc != VIGIA_OK) assert_int_equal(rc, VIGIA_NONE);
	vigia_transaction_free(tx);
	return number;
}

/* Run with both kinds of store. */
static inline const char *kinds(int i)
{
	return i == 0 ? ":memory:" : path;
}

static inline void drive_to_the_end(struct vigia_registry *registry, struct vigia_watcher *watcher)
{
	struct vigia_watcher_stats stats;
	for (int i = 0; i < 3000; i++) {
		vigia_watcher_stats(watcher, &stats);
		if (stats.lag == 0) return;
		vigia_registry_step(registry, 2000000, NULL);
	}
	fail_msg("it does not get to the end: %s", stats.last_error.message);
}

#endif
