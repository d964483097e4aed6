/*
 * transaction_commit.c - the events of a transaction, its commit, and running it again after a conflict.
 */
#include <string.h>
#include <time.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "store_private.h"
#include "transaction.h"
#include "transaction_private.h"

/* ---- events ---- */

static void *copy_of(const void *data, size_t len)
{
	void *copy = vigia__alloc(len);
	if (copy && len > 0) memcpy(copy, data, len);
	return copy;
}

static bool has_key(const struct vigia_transaction *tx, struct vigia_slice key)
{
	for (size_t i = 0; i < tx->appends_count; i++)
		if (key.len > 0 && vigia__ordered_compare(tx->appends[i].key, key) == 0) return true;
	return false;
}

int vigia__transaction_add(struct vigia_transaction *tx, const void *bytes, size_t len, const size_t *ends,
                           size_t count, struct vigia_slice key, struct vigia_error *err)
{
	int rc = vigia__tx_usable(tx, err);
	if (rc == VIGIA_OK) rc = vigia__tx_may_write(tx, err);
	if (rc == VIGIA_OK && has_key(tx, key))
		rc = vigia__error(err, VIGIA_EINVAL, "key: the transaction stores events under it already");
	if (rc == VIGIA_OK) rc = vigia__tx_grow(tx, VIGIA_TX_ROW_COST + len + count * sizeof *ends, err);
	if (rc != VIGIA_OK) return rc;
	if (tx->appends_count == tx->appends_cap) {
		size_t cap = tx->appends_cap > 0 ? 2 * tx->appends_cap : 4;
		void *grown = vigia__realloc(tx->appends, cap * sizeof *tx->appends);
		if (grown == NULL) return vigia__tx_no_memory(err);
		tx->appends = grown;
		tx->appends_cap = cap;
	}
	struct vigia__append append = {.bytes = copy_of(bytes, len),
	                               .ends = copy_of(ends, count * sizeof *ends),
	                               .count = count,
	                               .len = len,
	                               .key = {key.len > 0 ? copy_of(key.data, key.len) : NULL, key.len}};
	if (append.bytes == NULL || append.ends == NULL || (key.len > 0 && append.key.data == NULL)) {
		vigia__tx_free_append(&append);
		return vigia__tx_no_memory(err);
	}
	tx->appends[tx->appends_count++] = append;
	return VIGIA_OK;
}

int vigia_transaction_append(struct vigia_transaction *tx, const struct vigia_new_event *events, size_t count,
                             const struct vigia_append_options *options, struct vigia_error *err)
{
	struct vigia_append_options conditions = {0};
	int rc = vigia__append_conditions(&conditions, options, err);
	if (rc == VIGIA_OK && conditions.if_last_given)
		rc = vigia__error(err, VIGIA_EINVAL, "if_last: not allowed in a transaction");
	if (rc == VIGIA_OK && count == 0) rc = vigia__error(err, VIGIA_EINVAL, "events: at least one is needed");
	if (rc < 0) return rc;
	struct vigia__buf buf = {0};
	size_t *ends;
	rc = vigia__events_encode(&buf, &ends, tx->store, events, count, err);
	if (rc == VIGIA_OK) rc = vigia__transaction_add(tx, buf.data, buf.len, ends, count, conditions.key, err);
	vigia__free(ends);
	vigia__buf_deinit(&buf);
	return rc;
}

/* ---- commit ---- */

static int apply(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia_transaction *tx = arg;
	struct vigia__state_writer writer;
	int rc = vigia__tx_check(tx, kv, err);
	if (rc != VIGIA_OK || !tx->changes) return rc;
	rc = vigia__state_write_begin(kv, &writer);
	for (struct vigia__ordered *in = vigia__ordered_first(tx->buckets); in && rc == 0;
	     in = vigia__ordered_after(tx->buckets, in)) {
		struct vigia__ordered *entries = ((struct tx_bucket *)in)->entries;
		for (struct vigia__ordered *at = vigia__ordered_first(entries); at && rc == 0;
		     at = vigia__ordered_after(entries, at)) {
			const struct tx_entry *entry = (struct tx_entry *)at;
			if (entry->change == VIGIA_TX_PUT) rc = vigia__state_put(&writer, in->key, at->key, entry->value);
			else if (entry->change == VIGIA_TX_DELETED) rc = vigia__state_delete(&writer, in->key, at->key);
		}
	}
	return rc == 0 ? vigia__state_write_end(&writer) : rc;
}

/* VIGIA_NONE: it changes nothing, and has read one state, that of its last read. */
static int begin_commit(struct vigia_transaction *tx, struct vigia_error *err)
{
	int rc = vigia__tx_usable(tx, err);
	if (rc != VIGIA_OK) return rc;
	if (tx->unread != VIGIA_OK && !tx->lent)
		return vigia__error(err, tx->unread, "cannot commit a transaction of which a read failed");
	tx->ended = true;
	tx->transact = (struct vigia__transact){
		.apply = apply, .arg = tx, .appends = tx->appends, .appends_count = tx->appends_count, .bytes = tx->bytes};
	return tx->changes || tx->appends_count > 0 ? VIGIA_OK : VIGIA_NONE;
}

void vigia__transaction_committed(struct vigia_transaction *tx, int rc)
{
	vigia__tx_elder_end(tx);
	if (rc == VIGIA_OK && (tx->changes || tx->appends_count > 0))
		atomic_fetch_add_explicit(&tx->store->backend->outcomes->committed, 1, memory_order_relaxed);
	if (rc == VIGIA_OK && tx->appends_count > 0)
		vigia__store_note_appended(tx->store, &tx->appends[tx->appends_count - 1]);
}

/* Of the buckets that it touches. */
static uint64_t hash_buckets(const struct vigia_transaction *tx)
{
	uint64_t hashes = 0;
	for (const struct vigia__ordered *at = vigia__ordered_first(tx->buckets); at;
	     at = vigia__ordered_after(tx->buckets, at))
		hashes |= UINT64_C(1) << (vigia__state_hash(at->key, 0) & 63);
	return hashes;
}

bool vigia__transaction_waits(const struct vigia_transaction *tx)
{
	const struct vigia__elder *elder = tx->store->backend->elder;
	return tx->changes && vigia__elder_may_be(elder) && vigia__elder_waits(elder, hash_buckets(tx), tx->elder);
}

void vigia__transaction_again(struct vigia_transaction *tx, int64_t tries)
{
	enum { TRIES = 3 }; /* before it goes first */
	int64_t now = vigia__mono_ns(), took = now - tx->begun_mono_ns;
	uint64_t buckets = hash_buckets(tx);
	vigia__tx_forget(tx);
	tx->begun_mono_ns = now;
	struct vigia__backend *b = tx->store->backend;
	if (tries >= TRIES) tx->elder = vigia__elder_begin(b->elder, buckets, took);
	if (tx->elder && b->tells) b->tells->elder(b, buckets, took);
}

void vigia__transaction_given_up(struct vigia_transaction *tx)
{
	atomic_fetch_add_explicit(&tx->store->backend->outcomes->given_up, 1, memory_order_relaxed);
}

/* `with`: a checkpoint, or a change of letters, for the same commit. NULL: neither. */
static int commit(struct vigia_transaction *tx, const struct vigia__transact *with, struct vigia_error *err)
{
	struct vigia_store *store = tx->store;
	int rc = vigia__store_enter(store, err);
	if (rc != VIGIA_OK) return rc;
	while (vigia__transaction_waits(tx)) nanosleep(&(struct timespec){.tv_nsec = VIGIA_ELDER_LOOK_NS}, NULL);
	rc = begin_commit(tx, err);
	if (with) {
		tx->transact.watcher_id = with->watcher_id;
		tx->transact.checkpoint = with->checkpoint;
		tx->transact.owner_id = with->owner_id;
		tx->transact.moves = with->moves;
		tx->transact.also = with->also;
		tx->transact.also_arg = with->also_arg;
		if (rc == VIGIA_NONE) rc = VIGIA_OK;
	}
	if (rc == VIGIA_OK) rc = store->backend->transact(store->backend, &tx->transact, err);
	vigia__transaction_committed(tx, rc);
	if (rc == VIGIA_OK && with && with->watcher_id)
		vigia__backend_saved(store->backend, with->watcher_id, with->moves ? *with->moves : with->checkpoint);
	return vigia__store_end(store, rc == VIGIA_NONE ? VIGIA_OK : rc);
}

static int lent(struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EINVAL, "the transaction belongs to a watcher, which commits it");
}

int vigia_transaction_commit(struct vigia_transaction *tx, struct vigia_error *err)
{
	return tx->lent ? lent(err) : commit(tx, NULL, err);
}

int vigia__transaction_save(struct vigia_transaction *tx, const struct vigia__transact *with, struct vigia_error *err)
{
	int rc = commit(tx, with, err);
	if (rc != VIGIA_ETRANSACTION) vigia__tx_forget(tx);
	return rc;
}

int vigia__transaction_submit(struct vigia_transaction *tx, struct vigia__pending *pending, struct vigia_error *err)
{
	int rc = begin_commit(tx, err);
	*pending = (struct vigia__pending){.transact = &tx->transact, .rc = VIGIA_OK};
	if (rc == VIGIA_OK) return vigia__store_submit(tx->store, pending, err);
	atomic_store(&pending->done, 1);
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

size_t vigia_transaction_appends(const struct vigia_transaction *tx)
{
	return tx->appends_count;
}

bool vigia_transaction_numbers(const struct vigia_transaction *tx, size_t index, uint64_t *first, uint64_t *last)
{
	const struct vigia__append *append = &tx->appends[index];
	*first = append->first_seq;
	*last = append->last_seq;
	return append->existed;
}

void vigia_transaction_reset(struct vigia_transaction *tx)
{
	if (!tx->lent) vigia__tx_forget(tx);
}

int vigia_transaction_run(struct vigia_store *store, vigia_transaction_fn fn, void *ctx, struct vigia_error *err)
{
	struct vigia_transaction *tx;
	int rc = vigia_transaction_begin(store, &tx, err);
	if (rc != VIGIA_OK) return rc;
	for (int64_t tries = 0;; tries++) {
		rc = fn(ctx, tx, err);
		if (tx->conflicts) rc = VIGIA_ETRANSACTION; /* whatever the function made of it */
		else if (rc == VIGIA_OK) rc = vigia_transaction_commit(tx, err);
		if (rc != VIGIA_ETRANSACTION || tries >= store->options.transaction_retries) break;
		vigia__transaction_again(tx, tries + 1);
	}
	if (rc == VIGIA_ETRANSACTION) vigia__transaction_given_up(tx);
	vigia_transaction_free(tx);
	return rc;
}
