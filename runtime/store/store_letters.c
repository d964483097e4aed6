/*
 * store_letters.c - the dead letters of a store, for callers of vigia.h: to list, retry and drop them.
 */
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "letters.h"
#include "store.h"
#include "store_private.h"

/* ---- listing: copied a page at a time, so that fn runs outside of the backend's transaction ---- */

enum { PAGE_BYTES = 256 * 1024 };

struct row {
	uint64_t seq_num, attempts;
	int64_t failed_at_ns;
	bool retry;
	size_t id_len, error_len, traceback_len, event_len;
};

struct page {
	struct vigia__buf rows;
	char id[VIGIA_NAME_MAX + 1]; /* of the last letter; then where the next page begins */
	size_t id_len;
	uint64_t from;
	bool only;
};

/* VIGIA_NONE: the page is full. */
static int add_letter(void *ctx, const struct vigia__letter *letter, struct vigia_error *err)
{
	struct page *page = ctx;
	if (letter->watcher_id.len > VIGIA_NAME_MAX) return VIGIA_OK; /* no watcher's */
	if (letter->damaged) return vigia__letter_damaged(letter, err);
	struct row row = {letter->seq_num,        letter->attempts,  letter->failed_at_ns,  letter->retry,
	                  letter->watcher_id.len, letter->error.len, letter->traceback.len, letter->event.len};
	size_t len = row.id_len + 1 + row.error_len + row.traceback_len + row.event_len;
	if (vigia__buf_reserve(&page->rows, sizeof row + len) < 0)
		return vigia__error(err, VIGIA_ENOMEM, "no memory for a dead letter of %zu bytes", len);
	vigia__buf_add(&page->rows, &row, sizeof row);
	vigia__buf_add(&page->rows, letter->watcher_id.data, row.id_len);
	vigia__buf_add(&page->rows, "", 1);
	vigia__buf_add(&page->rows, letter->error.data, row.error_len);
	vigia__buf_add(&page->rows, letter->traceback.data, row.traceback_len);
	vigia__buf_add(&page->rows, letter->event.data, row.event_len);
	memcpy(page->id, letter->watcher_id.data, row.id_len);
	page->id[page->id_len = row.id_len] = '\0';
	page->from = row.seq_num + 1;
	return page->rows.len >= PAGE_BYTES ? VIGIA_NONE : VIGIA_OK;
}

static int read_page(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct page *page = arg;
	char id[VIGIA_NAME_MAX + 1]; /* the page's own changes while it is filled */
	memcpy(id, page->id, page->id_len);
	page->rows.len = 0;
	return vigia__letters_each(kv, (struct vigia_slice){id, page->id_len}, page->from, page->only, add_letter, page,
	                           err);
}

bool vigia__letter_event(uint64_t seq_num, struct vigia_slice bytes, struct vigia_event *out)
{
	struct vigia__head head;
	const uint8_t *at = (const uint8_t *)bytes.data;
	if (!vigia__event_intact(at, bytes.len, seq_num) || vigia__event_head(at, bytes.len, &head) != 0) return false;
	*out = (struct vigia_event){.seq_num = seq_num,
	                            .at_ns = head.at_ns,
	                            .operation = head.operation,
	                            .object_type = head.object_type,
	                            .serializer = head.serializer,
	                            .object = head.object};
	return true;
}

static int tell_rows(const struct page *page, vigia_dead_letter_fn fn, void *ctx)
{
	const char *at = (const char *)page->rows.data;
	for (size_t left = page->rows.len; left > 0;) {
		struct row row;
		memcpy(&row, at, sizeof row);
		const char *id = at + sizeof row, *texts = id + row.id_len + 1;
		struct vigia_dead_letter letter = {.watcher_id = id,
		                                   .seq_num = row.seq_num,
		                                   .attempts = row.attempts,
		                                   .failed_at_ns = row.failed_at_ns,
		                                   .retry = row.retry,
		                                   .error = {texts, row.error_len},
		                                   .traceback = {texts + row.error_len, row.traceback_len}};
		struct vigia_slice event = {texts + row.error_len + row.traceback_len, row.event_len};
		if (vigia__letter_event(row.seq_num, event, &letter.event)) {
			int rc = fn(ctx, &letter);
			if (rc != VIGIA_OK) return rc;
		}
		size_t len = sizeof row + row.id_len + 1 + row.error_len + row.traceback_len + row.event_len;
		at += len;
		left -= len;
	}
	return VIGIA_OK;
}

int vigia_dead_letters(struct vigia_store *store, const char *watcher_id, uint64_t from, vigia_dead_letter_fn fn,
                       void *ctx, struct vigia_error *err)
{
	struct page page = {.from = from, .only = watcher_id != NULL};
	int rc = watcher_id ? vigia__watcher_id_check(watcher_id, strlen(watcher_id), err) : VIGIA_OK;
	if (rc == VIGIA_OK) rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	if (watcher_id) memcpy(page.id, watcher_id, page.id_len = strlen(watcher_id));
	bool more = true;
	while (rc == VIGIA_OK && more) {
		rc = store->backend->view(store->backend, VIGIA_MAP_STATE, read_page, &page, err);
		more = rc == VIGIA_NONE;
		if (rc >= 0) rc = tell_rows(&page, fn, ctx);
	}
	vigia__buf_deinit(&page.rows);
	return vigia__store_end(store, rc);
}

/* ---- retry, drop ---- */

enum { SLICE = 500 }; /* letters of one transaction */

struct change {
	struct vigia_slice watcher_id;
	uint64_t seq_num; /* 0: all */
	bool drop;
	uint64_t from;
	/* out */
	size_t count;
	uint64_t numbers[SLICE];
};

static int add_number(void *ctx, const struct vigia__letter *letter, struct vigia_error *err)
{
	struct change *change = ctx;
	if (letter->damaged && !change->drop) return VIGIA_OK; /* the others are not to wait for it */
	change->numbers[change->count++] = letter->seq_num;
	return change->count == SLICE ? VIGIA_NONE : VIGIA_OK;
}

static int change_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct change *change = arg;
	int rc = VIGIA_OK;
	change->count = 0;
	if (change->seq_num > 0) change->numbers[change->count++] = change->seq_num;
	else rc = vigia__letters_each(kv, change->watcher_id, change->from, true, add_number, change, err);
	if (rc == VIGIA_NONE) rc = VIGIA_OK;
	for (size_t i = 0; i < change->count && rc == VIGIA_OK; i++)
		rc = change->drop ? vigia__letter_remove(kv, change->watcher_id, change->numbers[i])
		                  : vigia__letter_request(kv, change->watcher_id, change->numbers[i], err);
	if (rc != VIGIA_NONE) return rc;
	change->count = 0;
	return VIGIA_OK;
}

/* Watchers, in all processes, look whether there is something to retry. If this process is killed before, they find it
 * when they notice a commit that was not announced. */
static void tell_watchers(struct vigia__backend *b)
{
	struct vigia__wake_set all;
	atomic_fetch_add(b->letter_requests, 1);
	vigia__wake_set_all(&all);
	vigia__wake_publish(b->wake, &all);
}

static int change_letters(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, bool drop,
                          uint64_t *count, struct vigia_error *err)
{
	size_t len = watcher_id ? strlen(watcher_id) : 0;
	struct change change = {.watcher_id = {watcher_id, len}, .seq_num = seq_num, .drop = drop};
	struct vigia__transact transact = {
		.apply = change_in, .arg = &change, .frees = drop, .bytes = drop ? 0 : PAGE_BYTES};
	uint64_t all = 0;
	int rc = vigia__watcher_id_check(watcher_id, len, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	do {
		rc = store->backend->transact(store->backend, &transact, err);
		if (rc != VIGIA_OK) break;
		all += change.count;
		if (change.count > 0) change.from = change.numbers[change.count - 1] + 1;
	} while (seq_num == 0 && change.count == SLICE);
	if (!drop && all > 0) tell_watchers(store->backend);
	if (count) *count = all;
	if (rc == VIGIA_OK && all == 0) rc = VIGIA_NONE;
	return vigia__error_watcher(err, watcher_id, vigia__store_end(store, rc));
}

int vigia_dead_letter_retry(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, uint64_t *count,
                            struct vigia_error *err)
{
	return change_letters(store, watcher_id, seq_num, false, count, err);
}

int vigia_dead_letter_drop(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, uint64_t *count,
                           struct vigia_error *err)
{
	return change_letters(store, watcher_id, seq_num, true, count, err);
}
