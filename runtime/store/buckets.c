/*
 * buckets.c - the buckets of a store: which there are, and dropping one.
 */
#include <string.h>

#include "../core/error.h"
#include "store_private.h"
#include "transaction_private.h"

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
