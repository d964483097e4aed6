/*
 * feed.c - events of the store as text for one client.
 */
#include "feed.h"

#include <inttypes.h>

#include "../core/batch.h"
#include "../core/error.h"
#include "../core/iterator.h"
#include "../core/json.h"
#include "text.h"

void vigia__feed_deinit(struct vigia__feed *feed)
{
	vigia__filter_free(feed->filter);
	feed->filter = NULL;
}

static int put_failure(struct vigia__buf *out, uint64_t seq_num, const struct vigia_error *why)
{
	return vigia__text_add(out, "{\"seq_num\":%" PRIu64 ",\"error\":", seq_num) | vigia__text_error(out, why) |
	       vigia__buf_add_text(out, "}");
}

static int put_event(struct vigia__feed *feed, const struct vigia_batch *batch, size_t index, struct vigia__buf *out,
                     struct vigia_error *err)
{
	struct vigia_event event;
	struct vigia_error why = {0};
	int rc = vigia_batch_event(batch, index, &event, &why);
	uint64_t seq_num = batch->entries[index].seq_num;
	size_t start = out->len;
	int full = feed->stream ? vigia__text_add(out, "id: %" PRIu64 "\n", seq_num) : 0;
	size_t head = out->len;
	if (feed->stream) full |= vigia__buf_add_text(out, "data: ");
	if (rc == VIGIA_OK) rc = vigia__json_from_event(&event, out, &why);
	if (rc != VIGIA_OK && rc != VIGIA_ENOMEM) {
		out->len = head;
		if (feed->stream) full |= vigia__buf_add_text(out, "event: damaged\ndata: ");
		full |= put_failure(out, seq_num, &why);
		rc = VIGIA_OK;
	}
	full |= vigia__buf_add_text(out, feed->stream ? "\n\n" : "\n");
	if (rc == VIGIA_OK && full == 0) return VIGIA_OK;
	out->len = start;
	return vigia__no_memory(err);
}

/* Events that this feed has not given were removed: say so, with their numbers. */
static int put_gap(uint64_t first, uint64_t count, struct vigia__buf *out, struct vigia_error *err)
{
	int rc = vigia__text_add(out, "event: gap\ndata: {\"from\":%" PRIu64 ",\"to\":%" PRIu64 "}\n\n", first,
	                         first + count - 1);
	return rc == 0 ? VIGIA_OK : vigia__no_memory(err);
}

int vigia__feed_read(struct vigia__feed *feed, struct vigia_store *store, struct vigia_batch *batch,
                     struct vigia__buf *out, struct vigia_error *err)
{
	struct vigia_iterator from = feed->next, next;
	struct vigia_read request = {.size = sizeof request, .from = from};
	request.limit = (int64_t)(feed->left < VIGIA_FEED_EVENTS ? feed->left : VIGIA_FEED_EVENTS);
	if (request.limit == 0) {
		feed->at_end = true;
		return VIGIA_OK;
	}
	int rc = vigia__store_read(store, &request, feed->filter, NULL, batch, &next, err);
	if (rc != VIGIA_OK) return rc;
	size_t count = vigia_batch_count(batch), done = 0, start = out->len;
	bool moved = count || !vigia__iterator_equal(from, next);
	if (feed->stream && batch->gone && moved) rc = put_gap(vigia__iterator_first(from), batch->gone, out, err);
	while (rc == VIGIA_OK && done < count && (done == 0 || out->len - start < VIGIA_FEED_BYTES)) {
		rc = put_event(feed, batch, done, out, err);
		if (rc == VIGIA_OK) done++;
	}
	if (rc != VIGIA_OK && done == 0) {
		out->len = start;
		return rc;
	}
	feed->count += done;
	feed->left -= done;
	feed->at_end = done == count && vigia_batch_at_end(batch);
	feed->next = done == count ? next : vigia__iterator_after(batch->entries[done - 1].seq_num);
	return VIGIA_OK;
}
