/*
 * events.c - GET /events, with a long poll, and GET /events/stream: events as they come.
 */
#include <inttypes.h>
#include <string.h>

#include "../core/error.h"
#include "../core/iterator.h"
#include "../store/clock.h"
#include "serve_private.h"
#include "text.h"

enum { LIMIT_MAX = 10000, LIMIT = 1000, WAIT_SECONDS_MAX = 300, TEXT_MAX = 1 << 20 };
/* How often a stream without events sends a comment, so that both sides notice a lost connection. */
#define BEAT_NS INT64_C(15000000000)

/* Where it starts, and the filter. */
static int feed_init(struct vigia__request *request, struct vigia_iterator from, struct vigia_error *err)
{
	struct vigia__feed *feed = &request->feed;
	const struct vigia_slice *text = vigia__query_get(&request->query, "from");
	feed->next = from;
	int rc = text ? vigia__iterator_parse(text->data, &feed->next, err) : VIGIA_OK;
	if (rc != VIGIA_OK) vigia__error_prefix(err, "from: ");
	if (rc == VIGIA_OK) rc = vigia__query_names_init(&request->types, &request->query, "types", err);
	if (rc == VIGIA_OK) rc = vigia__query_names_init(&request->operations, &request->query, "operations", err);
	struct vigia_filter filter = {request->types.names, request->types.count, request->operations.names,
	                              request->operations.count};
	if (rc == VIGIA_OK) rc = vigia__filter_new(&filter, &feed->filter, err);
	return rc;
}

static int read_more(struct vigia__request *request)
{
	struct vigia__server *server = request->server;
	int rc = vigia__feed_read(&request->feed, server->store, server->batch, &request->out, &request->failed);
	if (rc == VIGIA_OK && !request->feed.at_end && request->out.len == request->out_at) server->busy = true;
	return rc;
}

/* ---- GET /events ---- */

static bool is_whole(const struct vigia__request *request)
{
	return request->feed.at_end || request->feed.left == 0 || request->out.len >= TEXT_MAX;
}

static enum MHD_Result give_events(struct vigia__request *request)
{
	if (request->client->gone) return MHD_NO;
	if (request->failed.code < 0) return vigia__reply_error(request, 0, &request->failed);
	uint64_t first = vigia__iterator_first(request->feed.next);
	vigia__reply_header(request, "Vigia-Next", "after:%" PRIu64, first - 1);
	vigia__reply_header(request, "Vigia-At-End", "%s", request->feed.at_end ? "true" : "false");
	return vigia__reply(request, MHD_HTTP_OK, VIGIA_NDJSON, &request->out);
}

static bool events_ready(struct vigia__request *request, int64_t now)
{
	if (request->client->gone || request->server->stopping || request->failed.code < 0) return true;
	if (read_more(request) != VIGIA_OK) return true;
	if (is_whole(request) && request->out.len) return true;
	if (request->out.len) request->server->busy = true;
	return request->feed.at_end && now >= request->until_mono_ns;
}

enum MHD_Result vigia__get_events(struct vigia__request *request)
{
	struct vigia_error err = {0};
	uint64_t limit = LIMIT;
	int64_t wait_ns = 0;
	int rc = feed_init(request, (struct vigia_iterator){VIGIA_TRIM_HORIZON, 0}, &err);
	if (rc == VIGIA_OK) rc = vigia__query_number(&request->query, "limit", 1, LIMIT_MAX, &limit, &err);
	if (rc == VIGIA_OK) rc = vigia__query_seconds(&request->query, "wait", WAIT_SECONDS_MAX, &wait_ns, &err);
	if (rc != VIGIA_OK) return vigia__reply_error(request, 0, &err);
	request->feed.left = limit;
	request->until_mono_ns = vigia__mono_ns() + wait_ns;
	if (read_more(request) != VIGIA_OK || (is_whole(request) && (request->out.len || wait_ns == 0)))
		return give_events(request);
	request->server->busy = true;
	request->again = give_events;
	vigia__request_wait(request, events_ready, request->until_mono_ns);
	return MHD_YES;
}

/* ---- GET /events/stream ---- */

/* The number that a client goes on behind, without an event. So a stream that is cut before its first event, or a long
 * time after one that the filter kept, goes on where it was. */
static int put_position(struct vigia__request *request)
{
	uint64_t first = vigia__iterator_first(request->feed.next);
	return vigia__text_add(&request->out, "id: %" PRIu64 "\n\n", first - 1);
}

static bool stream_ready(struct vigia__request *request, int64_t now)
{
	if (request->client->gone || request->server->stopping || request->failed.code < 0) return true;
	if (read_more(request) != VIGIA_OK || request->out.len > request->out_at) return true;
	if (now < request->due_mono_ns) return false;
	if (put_position(request) != 0) vigia__no_memory(&request->failed);
	return true;
}

static ssize_t give_stream(void *ctx, uint64_t at, char *to, size_t room)
{
	struct vigia__request *request = ctx;
	struct vigia__buf *out = &request->out;
	if (out->len == request->out_at) {
		vigia__buf_clear(out, VIGIA_FEED_BYTES);
		request->out_at = 0;
		if (request->client->gone || request->failed.code < 0) return MHD_CONTENT_READER_END_WITH_ERROR;
		if (request->server->stopping) return MHD_CONTENT_READER_END_OF_STREAM;
		if (read_more(request) != VIGIA_OK) return MHD_CONTENT_READER_END_WITH_ERROR;
		if (out->len == 0) {
			vigia__request_wait(request, stream_ready, vigia__mono_ns() + BEAT_NS);
			return 0;
		}
	}
	size_t len = out->len - request->out_at;
	if (len > room) len = room;
	memcpy(to, out->data + request->out_at, len);
	request->out_at += len;
	return (ssize_t)len;
}

/* The last event that a client has seen is where it goes on. */
static int last_seen(struct vigia__request *request, struct vigia_iterator *from, struct vigia_error *err)
{
	const char *id;
	int rc = vigia__request_header(request, "Last-Event-ID", &id, err);
	if (rc != VIGIA_OK || id == NULL || id[0] == '\0') return rc;
	char text[64];
	uint64_t latest;
	if (strlen(id) > 20 || strspn(id, "0123456789") != strlen(id))
		return vigia__error(err, VIGIA_EINVAL, "Last-Event-ID: must be the number of an event");
	memcpy(text, "after:", 6);
	memcpy(text + 6, id, strlen(id) + 1);
	rc = vigia__iterator_parse(text, from, err);
	if (rc == VIGIA_OK) rc = vigia_store_latest(request->server->store, &latest, err);
	if (rc == VIGIA_OK && from->seq_num > latest)
		return vigia__error(err, VIGIA_EPOSITION,
		                    "Last-Event-ID: is %s, but the last event is %" PRIu64 ": the id is from another store", id,
		                    latest);
	return rc;
}

enum MHD_Result vigia__get_stream(struct vigia__request *request)
{
	struct vigia_error err = {0};
	struct vigia_iterator from = {VIGIA_LATEST, 0}, seen = {VIGIA_LATEST, 0};
	int rc = last_seen(request, &seen, &err);
	if (rc == VIGIA_OK) rc = feed_init(request, from, &err);
	if (rc != VIGIA_OK) return vigia__reply_error(request, 0, &err);
	if (seen.kind == VIGIA_AFTER) request->feed.next = seen;
	request->feed.left = UINT64_MAX;
	request->feed.stream = true;
	if (vigia__buf_add_text(&request->out, "retry: 1000\n\n") != 0) vigia__no_memory(&request->failed);
	else if (read_more(request) == VIGIA_OK && request->feed.count == 0 && put_position(request) != 0)
		vigia__no_memory(&request->failed);
	if (request->failed.code < 0) return vigia__reply_error(request, 0, &request->failed);
	return vigia__reply_stream(request, "text/event-stream", give_stream);
}
