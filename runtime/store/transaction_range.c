/*
 * transaction_range.c - a transaction reads a range of keys, page by page, with its own changes in it.
 */
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/options.h"
#include "transaction_private.h"

/* One page of rows, in the order of the span. */
struct page {
	struct vigia_transaction *tx;
	struct tx_bucket *bucket;
	struct vigia__state_key low, high; /* what is left. high of len 0: no limit */
	bool reverse;
	int64_t limit;              /* rows that are still wanted */
	struct vigia__ordered *own; /* the next change of this transaction in it */
	struct vigia__buf rows;     /* struct row, key, value */
	int64_t count;
	struct tx_span *read;         /* what was read of the stored entries */
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
	while (at && is_in(page, at->key) && ((struct tx_entry *)at)->change == VIGIA_TX_UNCHANGED)
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
	if (vigia__buf_reserve(&page->rows, sizeof row + key.len + value.len) < 0) return vigia__tx_no_memory(err);
	vigia__buf_add(&page->rows, &row, sizeof row);
	vigia__buf_add(&page->rows, key.data, key.len);
	vigia__buf_add(&page->rows, value.data, value.len);
	page->full =
		++page->count >= page->limit || page->count >= VIGIA_TX_PAGE_ROWS || page->rows.len >= VIGIA_TX_PAGE_BYTES;
	return VIGIA_OK;
}

/* Add the transaction's own rows that come before `key` (NULL: all). */
static int add_own(struct page *page, const struct vigia_slice *key, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	while (page->own && !page->full && rc == VIGIA_OK) {
		const struct tx_entry *entry = (struct tx_entry *)page->own;
		int order = key ? vigia__ordered_compare(page->own->key, *key) : 0;
		if (key && (page->reverse ? order <= 0 : order >= 0)) break;
		pass(page, page->own->key);
		if (entry->change == VIGIA_TX_PUT) rc = add_row(page, page->own->key, entry->value, err);
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
	const struct tx_entry *own =
		page->own && vigia__ordered_compare(page->own->key, key) == 0 ? (struct tx_entry *)page->own : NULL;
	if (own) page->own = own_from(page, key, onwards(page));
	if (own == NULL || own->change == VIGIA_TX_PUT) rc = add_row(page, key, own ? own->value : value, err);
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
	int rc = vigia__tx_compare(page->tx, kv, err);
	if (rc == VIGIA_OK) rc = vigia__tx_begin_bucket(kv, page->bucket);
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
	int rc = vigia__tx_usable(page->tx, err);
	if (rc == VIGIA_OK) rc = vigia__tx_grow(page->tx, sizeof *page->read, err);
	if (rc != VIGIA_OK) return rc;
	page->read = vigia__calloc(sizeof *page->read);
	if (page->read == NULL) return vigia__tx_no_memory(err);
	rc = vigia__tx_view(page->tx, read_page, page, err);
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
	int rc = vigia__tx_usable(tx, err);
	if (rc == VIGIA_OK && range)
		rc = vigia__options_take("vigia_range", &wanted, sizeof wanted, offsetof(struct vigia_range, from), range, err);
	if (rc == VIGIA_OK) rc = vigia__bucket_check(name, err);
	struct page page = {.tx = tx, .reverse = wanted.reverse, .limit = wanted.limit > 0 ? wanted.limit : INT64_MAX};
	if (rc == VIGIA_OK) rc = bounds_of(&wanted, &page, err);
	if (rc != VIGIA_OK) return rc;
	page.bucket = vigia__tx_bucket_of(tx, name);
	if (page.bucket == NULL) return vigia__tx_no_memory(err);
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
