/*
 * transaction.c - transactions: reads that lock nothing, changes kept in memory, one commit that checks the reads.
 */
#include "transaction.h"

#include <string.h>
#include <time.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/options.h"
#include "../core/event.h"
#include "store_private.h"

enum { PAGE_ROWS = 512, PAGE_BYTES = 256 * 1024, ROW_COST = 128 };

/* A key that was read or is to be written. */
struct entry {
	struct vigia__ordered at; /* of its bucket; first */
	bool read;
	uint64_t version; /* that it was read with; 0: it was not there */
	enum { UNCHANGED, PUT, DELETED } change;
	struct vigia_slice value; /* PUT: owned */
	char key[];
};

/* A range that was read: what it held, as a hash of its keys and versions. */
struct span {
	struct span *next; /* owner: the bucket */
	struct vigia__state_key low, high;
	uint64_t hash;
};

struct bucket {
	struct vigia__ordered at; /* of the transaction; first */
	bool read;
	uint32_t id; /* when it was last compared */
	uint64_t version;
	struct vigia__ordered *entries;
	struct span *spans;
	char name[VIGIA_BUCKET_NAME_MAX + 1];
};

struct vigia_transaction {
	struct vigia_store *store;
	struct vigia__ordered *buckets;
	bool read;        /* something */
	uint64_t version; /* of all state, when its reads were last compared */
	bool conflicts, ended;
	int64_t begun_mono_ns;
	uint64_t elder; /* this one goes first (elder.h). 0: it does not */
	bool changes;
	size_t bytes;
	struct vigia__append *appends;
	size_t appends_count, appends_cap;
	struct vigia__transact transact; /* while it is committed */
	struct vigia__buf value;         /* of the last get, rows of a range */
};

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
		tx->begun_mono_ns = vigia__mono_ns();
		*out = tx;
	}
	return vigia__store_end(store, rc);
}

static void free_bucket(struct bucket *bucket)
{
	for (struct vigia__ordered *at; (at = vigia__ordered_pop(&bucket->entries));) {
		vigia__free((void *)((struct entry *)at)->value.data);
		vigia__free(at);
	}
	while (bucket->spans) {
		struct span *span = bucket->spans;
		bucket->spans = span->next;
		vigia__free(span);
	}
	vigia__free(bucket);
}

static void free_append(struct vigia__append *append)
{
	vigia__free(append->bytes);
	vigia__free((void *)append->ends);
	vigia__free((void *)append->key.data);
}

static void forget_all(struct vigia_transaction *tx)
{
	vigia__elder_end(tx->store->backend->elder, tx->elder);
	tx->elder = 0;
	for (struct vigia__ordered *at; (at = vigia__ordered_pop(&tx->buckets));) free_bucket((struct bucket *)at);
	for (size_t i = 0; i < tx->appends_count; i++) free_append(&tx->appends[i]);
	tx->appends_count = tx->bytes = 0;
	tx->read = tx->conflicts = tx->changes = tx->ended = false;
}

void vigia_transaction_free(struct vigia_transaction *tx)
{
	if (tx == NULL) return;
	forget_all(tx);
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

static int no_memory(struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOMEM, "no memory for a transaction");
}

static int conflict(struct vigia_transaction *tx, struct vigia_error *err)
{
	tx->conflicts = true;
	return vigia__error(err, VIGIA_ETRANSACTION, "what the transaction has read was changed by another one");
}

static int usable(struct vigia_transaction *tx, struct vigia_error *err)
{
	if (tx->ended) return vigia__error(err, VIGIA_EINVAL, "the transaction has ended");
	return tx->conflicts ? conflict(tx, err) : VIGIA_OK;
}

static int may_write(const struct vigia_transaction *tx, struct vigia_error *err)
{
	if (!tx->store->options.readonly) return VIGIA_OK;
	return vigia__error(err, VIGIA_EREADONLY, "store '%s' was opened read-only", tx->store->path);
}

/* Account for more memory. */
static int grow(struct vigia_transaction *tx, size_t bytes, struct vigia_error *err)
{
	uint64_t most = (uint64_t)tx->store->options.max_transaction_bytes;
	if (tx->bytes + bytes > most)
		return vigia__error(err, VIGIA_ETXSIZE, "the transaction is larger than max_transaction_bytes, %llu bytes",
		                    (unsigned long long)most);
	tx->bytes += bytes;
	return VIGIA_OK;
}

/* The bucket of this name, made if it is new. NULL: ENOMEM. */
static struct bucket *bucket_of(struct vigia_transaction *tx, struct vigia_slice name)
{
	struct bucket *bucket = (struct bucket *)vigia__ordered_find(tx->buckets, name);
	if (bucket || (bucket = vigia__calloc(sizeof *bucket)) == NULL) return bucket;
	memcpy(bucket->name, name.data, name.len);
	bucket->at.key = (struct vigia_slice){bucket->name, name.len};
	vigia__ordered_add(&tx->buckets, &bucket->at);
	return bucket;
}

/* The entry of a key, made if it is new. */
static int entry_of(struct vigia_transaction *tx, const char *name, const struct vigia_key *key, struct bucket **in,
                    struct entry **out, struct vigia_error *err)
{
	struct vigia_slice text = {name, name ? strlen(name) : 0};
	struct vigia__state_key bytes;
	int rc = usable(tx, err);
	if (rc == VIGIA_OK) rc = vigia__bucket_check(text, err);
	if (rc == VIGIA_OK) rc = vigia__state_key_encode(key, &bytes, err);
	if (rc != VIGIA_OK) return rc;
	struct bucket *bucket = *in = bucket_of(tx, text);
	if (bucket == NULL) return no_memory(err);
	struct entry *entry = *out = (struct entry *)vigia__ordered_find(bucket->entries, vigia__state_key_slice(&bytes));
	if (entry) return VIGIA_OK;
	rc = grow(tx, ROW_COST + bytes.len, err);
	if (rc != VIGIA_OK) return rc;
	entry = *out = vigia__calloc(sizeof *entry + bytes.len);
	if (entry == NULL) return no_memory(err);
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
static int compare_bucket(struct vigia__kv *kv, struct bucket *bucket, struct vigia_error *err)
{
	struct vigia__bucket now;
	int rc = vigia__state_bucket(kv, bucket->at.key, &now);
	if (rc != 0 || (now.id == bucket->id && now.version == bucket->version)) return rc;
	for (struct vigia__ordered *at = vigia__ordered_first(bucket->entries); at;
	     at = vigia__ordered_after(bucket->entries, at)) {
		const struct entry *entry = (struct entry *)at;
		struct vigia_slice value;
		uint64_t version;
		if (!entry->read) continue;
		rc = vigia__state_get(kv, now.id, at->key, &version, &value, err);
		if (rc != VIGIA_OK && rc != VIGIA_NONE) return rc;
		if (version != entry->version) return VIGIA_NONE;
	}
	for (const struct span *span = bucket->spans; span; span = span->next) {
		uint64_t hash = 0;
		struct vigia__state_span all = {vigia__state_key_slice(&span->low), vigia__state_key_slice(&span->high), false};
		rc = vigia__state_each(kv, now.id, &all, add_to_hash, &hash, err);
		if (rc != VIGIA_OK) return rc;
		if (hash != span->hash) return VIGIA_NONE;
	}
	bucket->id = now.id;
	bucket->version = now.version;
	return VIGIA_OK;
}

/* Compare all reads with the state as it is in this transaction of the backend. VIGIA_OK, ETRANSACTION. */
static int compare(struct vigia_transaction *tx, struct vigia__kv *kv, struct vigia_error *err)
{
	uint64_t version;
	int rc = vigia__state_version(kv, &version);
	if (rc != 0 || (tx->read && version == tx->version)) return rc;
	for (struct vigia__ordered *at = vigia__ordered_first(tx->buckets); at && rc == VIGIA_OK;
	     at = vigia__ordered_after(tx->buckets, at))
		if (((struct bucket *)at)->read) rc = compare_bucket(kv, (struct bucket *)at, err);
	if (rc == VIGIA_NONE) return conflict(tx, err);
	if (rc != VIGIA_OK) return rc;
	tx->version = version;
	tx->read = true;
	return VIGIA_OK;
}

/* Before something of it is read: its version as it is now. */
static int begin_bucket(struct vigia__kv *kv, struct bucket *bucket)
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
	struct bucket *bucket;
	struct entry *entry;
};

static int get_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct get *g = arg;
	struct vigia_slice value;
	int rc = compare(g->tx, kv, err);
	if (rc == VIGIA_OK) rc = begin_bucket(kv, g->bucket);
	if (rc == 0) rc = vigia__state_get(kv, g->bucket->id, g->entry->at.key, &g->entry->version, &value, err);
	if (rc != VIGIA_OK && rc != VIGIA_NONE) return rc;
	g->entry->read = true;
	if (rc == VIGIA_OK && vigia__buf_add(&g->tx->value, value.data, value.len) < 0) return no_memory(err);
	return rc;
}

static int view(struct vigia_transaction *tx, vigia__state_fn fn, void *arg, struct vigia_error *err)
{
	struct vigia_store *store = tx->store;
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	return vigia__store_end(store, store->backend->view(store->backend, VIGIA_MAP_STATE, fn, arg, err));
}

int vigia_transaction_get(struct vigia_transaction *tx, const char *bucket, const struct vigia_key *key,
                          struct vigia_slice *value, struct vigia_error *err)
{
	struct get get = {.tx = tx};
	int rc = entry_of(tx, bucket, key, &get.bucket, &get.entry, err);
	if (rc != VIGIA_OK) return rc;
	*value = get.entry->value;
	if (get.entry->change != UNCHANGED) return get.entry->change == PUT ? VIGIA_OK : VIGIA_NONE;
	vigia__buf_clear(&tx->value, PAGE_BYTES);
	rc = view(tx, get_in, &get, err);
	*value = (struct vigia_slice){(const char *)tx->value.data, tx->value.len};
	return rc;
}

/* ---- put, delete ---- */

static int change(struct vigia_transaction *tx, const char *bucket, const struct vigia_key *key,
                  const struct vigia_slice *value, struct vigia_error *err)
{
	struct bucket *in;
	struct entry *entry;
	int rc = usable(tx, err);
	if (rc == VIGIA_OK) rc = may_write(tx, err);
	if (rc == VIGIA_OK) rc = entry_of(tx, bucket, key, &in, &entry, err);
	if (rc == VIGIA_OK && value) rc = grow(tx, value->len, err);
	if (rc != VIGIA_OK) return rc;
	char *copy = value ? vigia__alloc(value->len) : NULL;
	if (value && copy == NULL) return no_memory(err);
	tx->bytes -= entry->value.len;
	vigia__free((void *)entry->value.data);
	entry->value = (struct vigia_slice){copy, value ? value->len : 0};
	if (value) memcpy(copy, value->data, value->len);
	entry->change = value ? PUT : DELETED;
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

/* ---- range ---- */

/* One page of rows, in the order of the span. */
struct page {
	struct vigia_transaction *tx;
	struct bucket *bucket;
	struct vigia__state_key low, high; /* what is left. high of len 0: no limit */
	bool reverse;
	int64_t limit;              /* rows that are still wanted */
	struct vigia__ordered *own; /* the next change of this transaction in it */
	struct vigia__buf rows;     /* struct row, key, value */
	int64_t count;
	struct span *read;            /* what was read of the stored entries */
	struct vigia__state_key last; /* the last key that was passed */
	bool full;
};

struct row {
	uint32_t key_len, value_len;
};

static enum vigia__ordered_from onwards(const struct page *page)
{
	return page->reverse ? VIGIA_BELOW : VIGIA_ABOVE;
}

static bool is_in(const struct page *page, struct vigia_slice key)
{
	return vigia__ordered_compare(key, vigia__state_key_slice(&page->low)) >= 0 &&
	       (page->high.len == 0 || vigia__ordered_compare(key, vigia__state_key_slice(&page->high)) < 0);
}

/* The first change of this transaction from there on. NULL: there is none in the page. */
static struct vigia__ordered *own_from(const struct page *page, struct vigia_slice key, enum vigia__ordered_from from)
{
	struct vigia__ordered *at = vigia__ordered_seek(page->bucket->entries, key, from);
	while (at && is_in(page, at->key) && ((struct entry *)at)->change == UNCHANGED)
		at = vigia__ordered_seek(page->bucket->entries, at->key, onwards(page));
	return at && is_in(page, at->key) ? at : NULL;
}

static struct vigia__ordered *own_first(const struct page *page)
{
	if (!page->reverse) return own_from(page, vigia__state_key_slice(&page->low), VIGIA_AT_LEAST);
	struct vigia_slice end = page->high.len > 0 ? vigia__state_key_slice(&page->high) : (struct vigia_slice){"\xff", 1};
	return own_from(page, end, VIGIA_BELOW);
}

static void pass(struct page *page, struct vigia_slice key)
{
	memcpy(page->last.bytes, key.data, key.len);
	page->last.len = key.len;
}

static int add_row(struct page *page, struct vigia_slice key, struct vigia_slice value, struct vigia_error *err)
{
	struct row row = {(uint32_t)key.len, (uint32_t)value.len};
	if (vigia__buf_reserve(&page->rows, sizeof row + key.len + value.len) < 0) return no_memory(err);
	vigia__buf_add(&page->rows, &row, sizeof row);
	vigia__buf_add(&page->rows, key.data, key.len);
	vigia__buf_add(&page->rows, value.data, value.len);
	page->full = ++page->count >= page->limit || page->count >= PAGE_ROWS || page->rows.len >= PAGE_BYTES;
	return VIGIA_OK;
}

/* Add the transaction's own rows that come before `key` (NULL: all). */
static int add_own(struct page *page, const struct vigia_slice *key, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	while (page->own && !page->full && rc == VIGIA_OK) {
		const struct entry *entry = (struct entry *)page->own;
		int order = key ? vigia__ordered_compare(page->own->key, *key) : 0;
		if (key && (page->reverse ? order <= 0 : order >= 0)) break;
		pass(page, page->own->key);
		if (entry->change == PUT) rc = add_row(page, page->own->key, entry->value, err);
		page->own = own_from(page, page->own->key, onwards(page));
	}
	return rc;
}

/* VIGIA_NONE: the page is full. */
static int add_stored(void *ctx, struct vigia_slice key, uint64_t version, struct vigia_slice value,
                      struct vigia_error *err)
{
	struct page *page = ctx;
	int rc = add_own(page, &key, err);
	if (rc != VIGIA_OK) return rc;
	if (page->full) return VIGIA_NONE;
	pass(page, key);
	page->read->hash += vigia__state_hash(key, version);
	const struct entry *own =
		page->own && vigia__ordered_compare(page->own->key, key) == 0 ? (struct entry *)page->own : NULL;
	if (own) page->own = own_from(page, key, onwards(page));
	if (own == NULL || own->change == PUT) rc = add_row(page, key, own ? own->value : value, err);
	return rc == VIGIA_OK && page->full ? VIGIA_NONE : rc;
}

/* The end of a range that includes this key. */
static struct vigia__state_key behind(const struct vigia__state_key *key)
{
	struct vigia__state_key end = *key;
	end.bytes[end.len++] = '\0';
	return end;
}

static int read_page(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct page *page = arg;
	struct vigia__state_span span = {vigia__state_key_slice(&page->low), vigia__state_key_slice(&page->high),
	                                 page->reverse};
	page->rows.len = 0;
	page->count = 0;
	page->read->hash = 0;
	page->full = false;
	page->last.len = 0;
	page->own = own_first(page);
	int rc = compare(page->tx, kv, err);
	if (rc == VIGIA_OK) rc = begin_bucket(kv, page->bucket);
	if (rc == VIGIA_OK) rc = vigia__state_each(kv, page->bucket->id, &span, add_stored, page, err);
	if (rc == VIGIA_OK) rc = add_own(page, NULL, err);
	if (rc != VIGIA_OK && rc != VIGIA_NONE) return rc;
	page->read->low = page->reverse && page->full ? page->last : page->low;
	page->read->high = !page->reverse && page->full ? behind(&page->last) : page->high;
	return VIGIA_OK;
}

/* The rows, outside of the backend's transaction: `fn` may use the transaction. */
static int tell_rows(const struct page *page, vigia_row_fn fn, void *ctx)
{
	const char *at = (const char *)page->rows.data;
	for (int64_t i = 0; i < page->count; i++) {
		struct row row;
		struct vigia_key key;
		memcpy(&row, at, sizeof row);
		at += sizeof row;
		vigia__state_key_decode((struct vigia_slice){at, row.key_len}, &key);
		int rc = fn(ctx, &key, (struct vigia_slice){at + row.key_len, row.value_len});
		at += row.key_len + row.value_len;
		if (rc != VIGIA_OK) return rc;
	}
	return VIGIA_OK;
}

/* The first strings behind all that begin with it. 't' is behind all strings. */
static struct vigia__state_key behind_prefix(struct vigia__state_key prefix)
{
	while (prefix.len > 1 && (unsigned char)prefix.bytes[prefix.len - 1] == 0xff) prefix.len--;
	prefix.bytes[prefix.len - 1]++;
	return prefix;
}

static int bounds_of(const struct vigia_range *range, struct page *page, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	if (range->prefix.data) {
		if (range->from || range->to) return vigia__error(err, VIGIA_EINVAL, "range: prefix excludes from and to");
		if (range->prefix.len > VIGIA_STATE_KEY_MAX)
			return vigia__error(err, VIGIA_EINVAL, "range: prefix must have at most %d bytes, has %zu",
			                    VIGIA_STATE_KEY_MAX, range->prefix.len);
		page->low.bytes[0] = 's';
		memcpy(page->low.bytes + 1, range->prefix.data, range->prefix.len);
		page->low.len = 1 + range->prefix.len;
		page->high = behind_prefix(page->low);
		return VIGIA_OK;
	}
	if (range->from) rc = vigia__state_key_encode(range->from, &page->low, err);
	if (rc == VIGIA_OK && range->to) rc = vigia__state_key_encode(range->to, &page->high, err);
	if (rc == VIGIA_OK && range->to) page->high = behind(&page->high);
	return rc;
}

static int range_page(struct page *page, struct vigia_error *err)
{
	int rc = usable(page->tx, err);
	if (rc == VIGIA_OK) rc = grow(page->tx, sizeof *page->read, err);
	if (rc != VIGIA_OK) return rc;
	page->read = vigia__calloc(sizeof *page->read);
	if (page->read == NULL) return no_memory(err);
	rc = view(page->tx, read_page, page, err);
	if (rc != VIGIA_OK) {
		vigia__free(page->read);
		return rc;
	}
	page->read->next = page->bucket->spans;
	page->bucket->spans = page->read;
	return VIGIA_OK;
}

int vigia_transaction_range(struct vigia_transaction *tx, const char *bucket, const struct vigia_range *range,
                            vigia_row_fn fn, void *ctx, struct vigia_error *err)
{
	struct vigia_range wanted = {0};
	struct vigia_slice name = {bucket, bucket ? strlen(bucket) : 0};
	int rc = usable(tx, err);
	if (rc == VIGIA_OK && range)
		rc = vigia__options_take("vigia_range", &wanted, sizeof wanted, offsetof(struct vigia_range, from), range, err);
	if (rc == VIGIA_OK) rc = vigia__bucket_check(name, err);
	struct page page = {.tx = tx, .reverse = wanted.reverse, .limit = wanted.limit > 0 ? wanted.limit : INT64_MAX};
	if (rc == VIGIA_OK) rc = bounds_of(&wanted, &page, err);
	if (rc != VIGIA_OK) return rc;
	page.bucket = bucket_of(tx, name);
	if (page.bucket == NULL) return no_memory(err);
	do {
		rc = range_page(&page, err);
		if (rc == VIGIA_OK) rc = tell_rows(&page, fn, ctx);
		page.limit -= page.count;
		if (page.reverse) page.high = page.last;
		else page.low = behind(&page.last);
	} while (rc == VIGIA_OK && page.full && page.limit > 0);
	vigia__buf_deinit(&page.rows);
	return rc;
}

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
	int rc = usable(tx, err);
	if (rc == VIGIA_OK) rc = may_write(tx, err);
	if (rc == VIGIA_OK && has_key(tx, key))
		rc = vigia__error(err, VIGIA_EINVAL, "key: the transaction stores events under it already");
	if (rc == VIGIA_OK) rc = grow(tx, ROW_COST + len + count * sizeof *ends, err);
	if (rc != VIGIA_OK) return rc;
	if (tx->appends_count == tx->appends_cap) {
		size_t cap = tx->appends_cap > 0 ? 2 * tx->appends_cap : 4;
		void *grown = vigia__realloc(tx->appends, cap * sizeof *tx->appends);
		if (grown == NULL) return no_memory(err);
		tx->appends = grown;
		tx->appends_cap = cap;
	}
	struct vigia__append append = {.bytes = copy_of(bytes, len),
	                               .ends = copy_of(ends, count * sizeof *ends),
	                               .count = count,
	                               .len = len,
	                               .key = {key.len > 0 ? copy_of(key.data, key.len) : NULL, key.len}};
	if (append.bytes == NULL || append.ends == NULL || (key.len > 0 && append.key.data == NULL)) {
		free_append(&append);
		return no_memory(err);
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
		rc = vigia__error(err, VIGIA_EINVAL, "if_last: a transaction does not have it");
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
	int rc = compare(tx, kv, err);
	if (rc != VIGIA_OK || !tx->changes) return rc;
	rc = vigia__state_write_begin(kv, &writer);
	for (struct vigia__ordered *in = vigia__ordered_first(tx->buckets); in && rc == 0;
	     in = vigia__ordered_after(tx->buckets, in)) {
		struct vigia__ordered *entries = ((struct bucket *)in)->entries;
		for (struct vigia__ordered *at = vigia__ordered_first(entries); at && rc == 0;
		     at = vigia__ordered_after(entries, at)) {
			const struct entry *entry = (struct entry *)at;
			if (entry->change == PUT) rc = vigia__state_put(&writer, in->key, at->key, entry->value);
			else if (entry->change == DELETED) rc = vigia__state_delete(&writer, in->key, at->key);
		}
	}
	return rc == 0 ? vigia__state_write_end(&writer) : rc;
}

/* VIGIA_NONE: it changes nothing, and has read one state, that of its last read. */
static int begin_commit(struct vigia_transaction *tx, struct vigia_error *err)
{
	int rc = usable(tx, err);
	if (rc != VIGIA_OK) return rc;
	tx->ended = true;
	tx->transact = (struct vigia__transact){
		.apply = apply, .arg = tx, .appends = tx->appends, .appends_count = tx->appends_count, .bytes = tx->bytes};
	return tx->changes || tx->appends_count > 0 ? VIGIA_OK : VIGIA_NONE;
}

void vigia__transaction_committed(struct vigia_transaction *tx, int rc)
{
	vigia__elder_end(tx->store->backend->elder, tx->elder);
	tx->elder = 0;
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
	forget_all(tx);
	tx->begun_mono_ns = now;
	if (tries >= TRIES) tx->elder = vigia__elder_begin(tx->store->backend->elder, buckets, took);
}

int vigia_transaction_commit(struct vigia_transaction *tx, struct vigia_error *err)
{
	struct vigia_store *store = tx->store;
	int rc = vigia__store_enter(store, err);
	if (rc != VIGIA_OK) return rc;
	while (vigia__transaction_waits(tx)) nanosleep(&(struct timespec){.tv_nsec = VIGIA_ELDER_LOOK_NS}, NULL);
	rc = begin_commit(tx, err);
	if (rc == VIGIA_OK) rc = store->backend->transact(store->backend, &tx->transact, err);
	vigia__transaction_committed(tx, rc);
	return vigia__store_end(store, rc == VIGIA_NONE ? VIGIA_OK : rc);
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
	forget_all(tx);
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
	vigia_transaction_free(tx);
	return rc;
}

/* ---- buckets ---- */

struct drop {
	struct vigia_slice bucket;
	enum { DROP, SWEEP } step;
	bool left;
	bool existed;
};

static int drop_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	enum { SLICE = 1000 };
	struct drop *drop = arg;
	if (drop->step == SWEEP) return vigia__state_sweep(kv, SLICE, &drop->left);
	int rc = vigia__state_drop(kv, drop->bucket);
	drop->existed = rc != VIGIA_NONE;
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

int vigia_store_drop_bucket(struct vigia_store *store, const char *bucket, struct vigia_error *err)
{
	struct drop drop = {.bucket = {bucket, bucket ? strlen(bucket) : 0}, .left = true};
	struct vigia__transact transact = {.apply = drop_in, .arg = &drop, .frees = true};
	int rc = vigia__bucket_check(drop.bucket, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter_to_write(store, err);
	if (rc != VIGIA_OK) return rc;
	rc = store->backend->transact(store->backend, &transact, err);
	drop.step = SWEEP;
	while (rc == VIGIA_OK && drop.existed && drop.left) rc = store->backend->transact(store->backend, &transact, err);
	return vigia__store_end(store, rc == VIGIA_OK && !drop.existed ? VIGIA_NONE : rc);
}

/* Names are copied a page at a time, so that fn runs outside of the backend's transaction. */
struct bucket_page {
	size_t count;
	struct {
		char name[VIGIA_BUCKET_NAME_MAX + 1];
		uint64_t values;
	} rows[64];
};

static int add_bucket(void *ctx, struct vigia_slice name, const struct vigia__bucket *bucket)
{
	struct bucket_page *page = ctx;
	size_t len = name.len < VIGIA_BUCKET_NAME_MAX ? name.len : VIGIA_BUCKET_NAME_MAX;
	memcpy(page->rows[page->count].name, name.data, len);
	page->rows[page->count].name[len] = '\0';
	page->rows[page->count++].values = bucket->entries;
	return page->count == sizeof page->rows / sizeof *page->rows ? VIGIA_NONE : VIGIA_OK;
}

struct bucket_look {
	struct bucket_page page;
	struct vigia_slice from;
};

static int look_at_buckets(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct bucket_look *look = arg;
	look->page.count = 0;
	return vigia__state_each_bucket(kv, look->from, add_bucket, &look->page);
}

int vigia_store_buckets(struct vigia_store *store, vigia_bucket_fn fn, void *ctx, struct vigia_error *err)
{
	struct bucket_look look = {.from = {"", 0}};
	char from[VIGIA_BUCKET_NAME_MAX + 1];
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	do {
		rc = store->backend->view(store->backend, VIGIA_MAP_STATE, look_at_buckets, &look, err);
		bool more = rc == VIGIA_NONE;
		if (more) rc = VIGIA_OK;
		for (size_t i = 0; i < look.page.count && rc == VIGIA_OK; i++)
			rc = fn(ctx, look.page.rows[i].name, look.page.rows[i].values);
		if (rc != VIGIA_OK || !more) break;
		memcpy(from, look.page.rows[look.page.count - 1].name, sizeof from);
		look.from = (struct vigia_slice){from, strlen(from) + 1}; /* with its NUL: the first name behind it */
	} while (true);
	return vigia__store_end(store, rc);
}
