/*
 * append.c - POST /events: one event, or lines of them that are stored all or none. The commit is another thread's.
 */
#include <inttypes.h>
#include <string.h>

#include "../core/error.h"
#include "../core/json.h"
#include "../core/serial.h"
#include "serve_private.h"
#include "text.h"

static bool is_blank(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(" \t\r\n", text[i]) || text[i] == '\0') return false;
	return true;
}

static int add_event(struct vigia__request *request, const char *text, size_t len, struct vigia_error *err)
{
	struct vigia_store *store = request->server->store;
	int64_t size_max = store->backend->max_event_size;
	size_t start = request->events.len;
	int rc = vigia__json_to_event(text, len, &request->events, size_max, err);
	if (rc == VIGIA_OK) rc = vigia__event_recode(&request->events, start, store->serializer, size_max, err);
	if (rc == VIGIA_OK && vigia__buf_add(&request->ends, &request->events.len, sizeof(size_t)) != 0)
		rc = vigia__no_memory(err);
	return rc;
}

static int add_lines(struct vigia__request *request, struct vigia_error *err)
{
	const char *at = (const char *)request->body.data, *end = at + request->body.len;
	unsigned line = 0;
	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((stop ? stop : end) - at);
		line++;
		if (!is_blank(at, len)) {
			int rc = add_event(request, at, len, err);
			if (rc != VIGIA_OK) {
				vigia__error_prefix(err, "line %u: ", line);
				return rc;
			}
		}
		at += len + 1;
	}
	return VIGIA_OK;
}

static size_t count_of(const struct vigia__request *request)
{
	return request->ends.len / sizeof(size_t);
}

static enum MHD_Result give_numbers(struct vigia__request *request)
{
	request->submitted = false;
	if (vigia__store_settle(&request->pending) < 0) return vigia__reply_error(request, 0, &request->pending.err);
	const struct vigia__append *append = &request->pending.request;
	struct vigia__buf text = {0};
	if (vigia__text_add(&text, "{\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"existed\":%s}\n", append->first_seq,
	                    append->last_seq, append->existed ? "true" : "false") != 0)
		return MHD_NO;
	return vigia__reply(request, append->existed ? MHD_HTTP_OK : MHD_HTTP_CREATED, VIGIA_JSON, &text);
}

static bool append_ready(struct vigia__request *request, int64_t now_mono_ns)
{
	return atomic_load(&request->pending.done);
}

/* The key, copied: headers are the connection's. */
static int take_key(struct vigia__request *request, struct vigia_slice *out, struct vigia_error *err)
{
	const char *key;
	int rc = vigia__request_header(request, "Idempotency-Key", &key, err);
	if (rc != VIGIA_OK || key == NULL) return rc;
	*out = (struct vigia_slice){key, strlen(key)};
	rc = vigia__append_key_check(*out, err);
	if (rc == VIGIA_OK && vigia__buf_add(&request->key, key, out->len) != 0) rc = vigia__no_memory(err);
	out->data = (const char *)request->key.data;
	return rc;
}

enum MHD_Result vigia__post_events(struct vigia__request *request)
{
	struct vigia_error err = {0};
	const char *type;
	struct vigia_slice key = {0};
	int rc = vigia__request_header(request, "Content-Type", &type, &err);
	if (rc == VIGIA_OK) rc = take_key(request, &key, &err);
	if (rc == VIGIA_OK && strncmp(type, VIGIA_NDJSON, strlen(VIGIA_NDJSON)) == 0) rc = add_lines(request, &err);
	else if (rc == VIGIA_OK) rc = add_event(request, (const char *)request->body.data, request->body.len, &err);
	if (rc == VIGIA_OK && count_of(request) == 0)
		rc = vigia__error(&err, VIGIA_EINVAL, "the body is empty: an event is needed");
	vigia__buf_deinit(&request->body);
	if (rc != VIGIA_OK) return vigia__reply_error(request, 0, &err);
	request->pending.request = (struct vigia__append){.bytes = request->events.data,
	                                                  .ends = (const size_t *)(void *)request->ends.data,
	                                                  .count = count_of(request),
	                                                  .len = request->events.len,
	                                                  .key = key,
	                                                  .now = true}; /* the reply has the numbers */
	rc = vigia__store_submit(request->server->store, &request->pending, &err);
	if (rc != VIGIA_OK) return vigia__reply_error(request, 0, &err);
	request->submitted = true;
	if (atomic_load(&request->pending.done)) return give_numbers(request);
	request->again = give_numbers;
	vigia__request_wait(request, append_ready, INT64_MAX);
	return MHD_YES;
}
