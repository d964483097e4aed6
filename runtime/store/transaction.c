/*
 * transaction.c - transactions: reads that lock nothing, changes kept in memory, one commit that checks the reads.
 */
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "transaction.h"
#include "transaction_private.h"

/* ---- life ---- */

int vigia_transaction_begin(struct vigia_store *store, struct vigia_transaction **out, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	struct vigia_transaction *tx = vigia__calloc(sizeof *tx);
	if (tx == NULL) rc = vigia__error(err, VIGIA_ENOMEM, "no memory for a transaction");
	else {
		vigia__store_ref(store);
		tx->store = store;
		tx->refs = 1;
		tx->begun_mono_ns = vigia__mono_ns();
		*out = tx;
	}
	return vigia__store_end(store, rc);
}

static void free_bucket(struct tx_bucket *bucket)
{
	for (struct vigia__ordered *at; (at = vigia__ordered_pop(&bucket->entries));) {
		vigia__free((void *)((struct tx_entry *)at)->value.data);
		vigia__free(at);
	}
	while (bucket->spans) {
		struct tx_span *span = bucket->spans;
		bucket->spans = span->next;
		vigia__free(span);
	}
	vigia__free(bucket);
}

void vigia__tx_free_append(struct vigia__append *append)
{
	vigia__free(append->bytes);
	vigia__free((void *)append->ends);
	vigia__free((void *)append->key.data);
}

/* They are not needed any more. */
static void free_undo(struct vigia_transaction *tx)
{
	while (tx->undo) {
		struct tx_undo *undo = tx->undo;
		tx->undo = undo->next;
		vigia__free((void *)undo->value.data);
		vigia__free(undo);
	}
}

void vigia__tx_elder_end(struct vigia_transaction *tx)
{
	struct vigia__backend *b = tx->store->backend;
	if (tx->elder == 0) return;
	vigia__elder_end(b->elder, tx->elder);
	if (b->tells) b->tells->elder(b, 0, -1);
	tx->elder = 0;
}

void vigia__tx_forget(struct vigia_transaction *tx)
{
	free_undo(tx);
	vigia__tx_elder_end(tx);
	for (struct vigia__ordered *at; (at = vigia__ordered_pop(&tx->buckets));) free_bucket((struct tx_bucket *)at);
	for (size_t i = 0; i < tx->appends_count; i++) vigia__tx_free_append(&tx->appends[i]);
	tx->appends_count = tx->bytes = 0;
	tx->mark_appends = tx->mark_bytes = 0;
	tx->read = tx->conflicts = tx->changes = tx->mark_changes = tx->overflows = tx->ended = false;
	tx->unread = VIGIA_OK;
}

void vigia_transaction_free(struct vigia_transaction *tx)
{
	if (tx == NULL) return;
	vigia__tx_forget(tx);
	tx->ended = true;
	vigia__transaction_unref(tx);
}

void vigia__transaction_unref(struct vigia_transaction *tx)
{
	if (--tx->refs > 0) return;
	vigia__free(tx->appends);
	vigia__buf_deinit(&tx->value);
	vigia__store_unref(tx->store);
	vigia__free(tx);
}

bool vigia__transaction_conflicts(const struct vigia_transaction *tx)
{
	return tx->conflicts;
}

struct vigia_store *vigia__transaction_store(struct vigia_transaction *tx)
{
	return tx->store;
}

/* ---- the checks of each call ---- */

int vigia__tx_no_memory(struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOMEM, "no memory for a transaction");
}

static int conflict(struct vigia_transaction *tx, struct vigia_error *err)
{
	if (!tx->conflicts) atomic_fetch_add_explicit(&tx->store->backend->outcomes->conflicts, 1, memory_order_relaxed);
	tx->conflicts = true;
	return vigia__error(err, VIGIA_ETRANSACTION, "another transaction changed what this one has read");
}

int vigia__tx_usable(struct vigia_transaction *tx, struct vigia_error *err)
{
	if (tx->ended) return vigia__error(err, VIGIA_EINVAL, "the transaction has ended");
	return tx->conflicts ? conflict(tx, err) : VIGIA_OK;
}

int vigia__tx_may_write(const struct vigia_transaction *tx, struct vigia_error *err)
{
	if (!tx->store->options.readonly) return VIGIA_OK;
	return vigia__error(err, VIGIA_EREADONLY, "store '%s' was opened read-only", tx->store->path);
}

/* Account for more memory. */
int vigia__tx_grow(struct vigia_transaction *tx, size_t bytes, struct vigia_error *err)
{
	uint64_t most = (uint64_t)tx->store->options.max_transaction_bytes;
	bool fits = tx->bytes + bytes <= most;
	tx->overflows |= !fits;
	if (!fits)
		return vigia__error(err, VIGIA_ETXSIZE, "the transaction is larger than max_transaction_bytes, %llu bytes",
		                    (unsigned long long)most);
	tx->bytes += bytes;
	return VIGIA_OK;
}

/* The bucket of this name, made if it is new. NULL: ENOMEM. */
struct tx_bucket *vigia__tx_bucket_of(struct vigia_transaction *tx, struct vigia_slice name)
{
	struct tx_bucket *bucket = (struct tx_bucket *)vigia__ordered_find(tx->buckets, name);
	if (bucket || (bucket = vigia__calloc(sizeof *bucket)) == NULL) return bucket;
	memcpy(bucket->name, name.data, name.len);
	bucket->at.key = (struct vigia_slice){bucket->name, name.len};
	vigia__ordered_add(&tx->buckets, &bucket->at);
	return bucket;
}

/* The entry of a key, made if it is new. */
static int entry_of(struct vigia_transaction *tx, const char *name, const struct vigia_key *key, struct tx_bucket **in,
                    struct tx_entry **out, struct vigia_error *err)
{
	struct vigia_slice text = {name, name ? strlen(name) : 0};
	struct vigia__state_key bytes;
	int rc = vigia__tx_usable(tx, err);
	if (rc == VIGIA_OK) rc = vigia__bucket_check(text, err);
	if (rc == VIGIA_OK) rc = vigia__state_key_encode(key, &bytes, err);
	if (rc != VIGIA_OK) return rc;
	struct tx_bucket *bucket = *in = vigia__tx_bucket_of(tx, text);
	if (bucket == NULL) return vigia__tx_no_memory(err);
	struct tx_entry *entry = *out =
		(struct tx_entry *)vigia__ordered_find(bucket->entries, vigia__state_key_slice(&bytes));
	if (entry) return VIGIA_OK;
	rc = vigia__tx_grow(tx, VIGIA_TX_ROW_COST + bytes.len, err);
	if (rc != VIGIA_OK) return rc;
	entry = *out = vigia__calloc(sizeof *entry + bytes.len);
	if (entry == NULL) return vigia__tx_no_memory(err);
	memcpy(entry->key, bytes.bytes, bytes.len);
	entry->at.key = (struct vigia_slice){entry->key, bytes.len};
	vigia__ordered_add(&bucket->entries, &entry->at);
	return VIGIA_OK;
}

/* ---- comparing what was read ---- */

static int add_to_hash(void *ctx, struct vigia_slice key, uint64_t version, struct vigia_slice value,
                       struct vigia_error *err)
{
	*(uint64_t *)ctx += vigia__state_hash(key, version);
	return VIGIA_OK;
}

/* VIGIA_OK: a bucket has what was read in it. VIGIA_NONE: not any more. */
static int compare_bucket(struct vigia__kv *kv, struct tx_bucket *bucket, bool keeps, struct vigia_error *err)
{
	struct vigia__bucket now;
	int rc = vigia__state_bucket(kv, bucket->at.key, &now);
	if (rc != 0 || (now.id == bucket->id && now.version == bucket->version)) return rc;
	for (struct vigia__ordered *at = vigia__ordered_first(bucket->entries); at;
	     at = vigia__ordered_after(bucket->entries, at)) {
		const struct tx_entry *entry = (struct tx_entry *)at;
		struct vigia_slice value;
		uint64_t version;
		if (!entry->read) continue;
		rc = vigia__state_get(kv, now.id, at->key, &version, &value, err);
		if (rc != VIGIA_OK && rc != VIGIA_NONE) return rc;
		if (version != entry->version) return VIGIA_NONE;
	}
	for (const struct tx_span *span = bucket->spans; span; span = span->next) {
		uint64_t hash = 0;
		struct vigia__state_span all = {vigia__state_key_slice(&span->low), vigia__state_key_slice(&span->high), false};
		rc = vigia__state_each(kv, now.id, &all, add_to_hash, &hash, err);
		if (rc != VIGIA_OK) return rc;
		if (hash != span->hash) return VIGIA_NONE;
	}
	if (keeps) bucket->id = now.id;
	if (keeps) bucket->version = now.version;
	return VIGIA_OK;
}

/* `keeps`: what is equal now need not be compared again. */
static int compare(struct vigia_transaction *tx, struct vigia__kv *kv, bool keeps, struct vigia_error *err)
{
	uint64_t version;
	int rc = vigia__state_version(kv, &version);
	if (rc != 0 || (tx->read && version == tx->version)) return rc;
	for (struct vigia__ordered *at = vigia__ordered_first(tx->buckets); at && rc == VIGIA_OK;
	     at = vigia__ordered_after(tx->buckets, at))
		if (((struct tx_bucket *)at)->read) rc = compare_bucket(kv, (struct tx_bucket *)at, keeps, err);
	if (rc == VIGIA_NONE) return conflict(tx, err);
	if (rc != VIGIA_OK || !keeps) return rc;
	tx->version = version;
	tx->read = true;
	return VIGIA_OK;
}

int vigia__tx_compare(struct vigia_transaction *tx, struct vigia__kv *kv, struct vigia_error *err)
{
	return compare(tx, kv, true, err);
}

int vigia__tx_check(struct vigia_transaction *tx, struct vigia__kv *kv, struct vigia_error *err)
{
	return compare(tx, kv, false, err);
}

/* Before something of it is read: its version as it is now. */
int vigia__tx_begin_bucket(struct vigia__kv *kv, struct tx_bucket *bucket)
{
	struct vigia__bucket now;
	if (bucket->read) return 0;
	int rc = vigia__state_bucket(kv, bucket->at.key, &now);
	bucket->id = now.id;
	bucket->version = now.version;
	bucket->read = rc == 0;
	return rc;
}

/* ---- get ---- */

struct get {
	struct vigia_transaction *tx;
	struct tx_bucket *bucket;
	struct tx_entry *entry;
};

static int get_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct get *g = arg;
	struct vigia_slice value;
	int rc = vigia__tx_compare(g->tx, kv, err);
	if (rc == VIGIA_OK) rc = vigia__tx_begin_bucket(kv, g->bucket);
	if (rc == 0) rc = vigia__state_get(kv, g->bucket->id, g->entry->at.key, &g->entry->version, &value, err);
	if (rc != VIGIA_OK && rc != VIGIA_NONE) return rc;
	g->entry->read = true;
	if (rc == VIGIA_OK && vigia__buf_add(&g->tx->value, value.data, value.len) < 0) return vigia__tx_no_memory(err);
	return rc;
}

/* A function that takes "it cannot be read" for "there is none" would store that. A damaged record may be replaced. */
static int note_unread(struct vigia_transaction *tx, int rc)
{
	bool tells =
		rc >= 0 || rc == VIGIA_EDAMAGED || rc == VIGIA_ETRANSACTION || rc == VIGIA_ETXSIZE || rc == VIGIA_EINVAL;
	if (!tells && tx->unread == VIGIA_OK) tx->unread = rc;
	return rc;
}

int vigia__tx_view(struct vigia_transaction *tx, vigia__state_fn fn, void *arg, struct vigia_error *err)
{
	struct vigia_store *store = tx->store;
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	rc = store->backend->view(store->backend, VIGIA_MAP_STATE, fn, arg, err);
	return vigia__store_end(store, note_unread(tx, rc));
}

int vigia_transaction_get(struct vigia_transaction *tx, const char *bucket, const struct vigia_key *key,
                          struct vigia_slice *value, struct vigia_error *err)
{
	struct get get = {.tx = tx};
	int rc = entry_of(tx, bucket, key, &get.bucket, &get.entry, err);
	if (rc != VIGIA_OK) return note_unread(tx, rc);
	*value = get.entry->value;
	if (get.entry->change != VIGIA_TX_UNCHANGED) return get.entry->change == VIGIA_TX_PUT ? VIGIA_OK : VIGIA_NONE;
	vigia__buf_clear(&tx->value, VIGIA_TX_PAGE_BYTES);
	rc = vigia__tx_view(tx, get_in, &get, err);
	*value = (struct vigia_slice){(const char *)tx->value.data, tx->value.len};
	return rc;
}

/* ---- put, delete ---- */

/* Behind a mark the entry's value goes there at its first change. False: no memory. */
static bool note_undo(struct vigia_transaction *tx, struct tx_entry *entry)
{
	if (tx->mark == 0 || entry->mark == tx->mark) return true;
	struct tx_undo *undo = vigia__alloc(sizeof *undo);
	if (undo == NULL) return false;
	*undo = (struct tx_undo){tx->undo, entry, entry->change, entry->value};
	tx->undo = undo;
	entry->mark = tx->mark;
	tx->bytes -= entry->value.len;
	entry->value = (struct vigia_slice){NULL, 0};
	return true;
}

static int change(struct vigia_transaction *tx, const char *bucket, const struct vigia_key *key,
                  const struct vigia_slice *value, struct vigia_error *err)
{
	struct tx_bucket *in;
	struct tx_entry *entry;
	int rc = vigia__tx_usable(tx, err);
	if (rc == VIGIA_OK) rc = vigia__tx_may_write(tx, err);
	if (rc == VIGIA_OK) rc = entry_of(tx, bucket, key, &in, &entry, err);
	if (rc == VIGIA_OK && value) rc = vigia__tx_grow(tx, value->len, err);
	if (rc != VIGIA_OK) return rc;
	char *copy = value ? vigia__alloc(value->len) : NULL;
	if ((value && copy == NULL) || !note_undo(tx, entry)) {
		vigia__free(copy);
		return vigia__tx_no_memory(err);
	}
	tx->bytes -= entry->value.len;
	vigia__free((void *)entry->value.data);
	entry->value = (struct vigia_slice){copy, value ? value->len : 0};
	if (value) memcpy(copy, value->data, value->len);
	entry->change = value ? VIGIA_TX_PUT : VIGIA_TX_DELETED;
	tx->changes = true;
	return VIGIA_OK;
}

int vigia_transaction_put(struct vigia_transaction *tx, const char *bucket, const struct vigia_key *key,
                          struct vigia_slice value, struct vigia_error *err)
{
	int64_t most = tx->store->backend->max_event_size;
	int rc = vigia__value_check_new(value, err);
	if (rc == VIGIA_OK && value.len > (uint64_t)most)
		rc = vigia__error(err, VIGIA_ETOOBIG, "the value has %zu bytes, max_event_size is %lld bytes", value.len,
		                  (long long)most);
	return rc == VIGIA_OK ? change(tx, bucket, key, &value, err) : rc;
}

int vigia_transaction_delete(struct vigia_transaction *tx, const char *bucket, const struct vigia_key *key,
                             struct vigia_error *err)
{
	return change(tx, bucket, key, NULL, err);
}

/* ---- marks ---- */

void vigia__transaction_mark(struct vigia_transaction *tx)
{
	free_undo(tx);
	if (tx->bytes == 0) tx->begun_mono_ns = vigia__mono_ns();
	tx->mark++;
	tx->mark_appends = tx->appends_count;
	tx->mark_bytes = tx->bytes;
	tx->mark_changes = tx->changes;
	tx->overflows = false;
}

void vigia__transaction_rollback(struct vigia_transaction *tx)
{
	while (tx->undo) {
		struct tx_undo *undo = tx->undo;
		tx->undo = undo->next;
		vigia__free((void *)undo->entry->value.data);
		tx->bytes += undo->value.len - undo->entry->value.len;
		undo->entry->change = undo->change;
		undo->entry->value = undo->value;
		undo->entry->mark = 0;
		vigia__free(undo);
	}
	while (tx->appends_count > tx->mark_appends) {
		struct vigia__append *append = &tx->appends[--tx->appends_count];
		tx->bytes -= VIGIA_TX_ROW_COST + append->len + append->count * sizeof *append->ends;
		vigia__tx_free_append(append);
	}
	tx->changes = tx->mark_changes;
}

int vigia__transaction_lost(const struct vigia_transaction *tx)
{
	if (tx->conflicts) return VIGIA_ETRANSACTION;
	if (tx->unread == VIGIA_EUNREACHABLE) return VIGIA_EUNREACHABLE;
	return tx->overflows && tx->mark_bytes > 0 ? VIGIA_ETXSIZE : VIGIA_OK;
}

size_t vigia__transaction_bytes(const struct vigia_transaction *tx)
{
	return tx->bytes;
}

void vigia__transaction_lend(struct vigia_transaction *tx)
{
	tx->lent = true;
}

void vigia__transaction_ref(struct vigia_transaction *tx)
{
	tx->refs++;
}

void vigia__transaction_clear(struct vigia_transaction *tx)
{
	vigia__tx_forget(tx);
}
