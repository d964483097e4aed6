/*
 * dead.c - GET /dead, POST /dead/retry, POST /dead/drop: dead letters.
 */
#include <inttypes.h>
#include <string.h>

#include "../core/error.h"
#include "../core/json.h"
#include "serve_private.h"
#include "text.h"

enum { LIMIT = 100, LIMIT_MAX = 1000, TEXT_MAX = 1 << 20 };

static int put_letter(struct vigia__buf *out, const struct vigia_dead_letter *letter, struct vigia_error *err)
{
	size_t start = out->len;
	int full =
		vigia__buf_add_text(out, "{\"watcher\":") | vigia__text_json(out, letter->watcher_id) |
		vigia__text_add(
			out, ",\"seq_num\":%" PRIu64 ",\"attempts\":%" PRIu64 ",\"timestamp\":%" PRId64 ",\"retry\":%s,\"error\":",
			letter->seq_num, letter->attempts, letter->failed_at_ns, letter->retry ? "true" : "false") |
		vigia__json_put_string(out, letter->error) | vigia__buf_add_text(out, ",\"traceback\":") |
		vigia__json_put_string(out, letter->traceback) | vigia__buf_add_text(out, ",\"event\":");
	struct vigia_error why = {0};
	int rc = full ? VIGIA_ENOMEM : vigia__json_from_event(&letter->event, out, &why);
	if (rc != VIGIA_OK && rc != VIGIA_ENOMEM) { /* its bytes cannot be shown */
		rc = vigia__buf_add_text(out, "null") == 0 ? VIGIA_OK : VIGIA_ENOMEM;
	}
	if (rc == VIGIA_OK && vigia__buf_add_text(out, "}\n") == 0) return VIGIA_OK;
	out->len = start;
	return vigia__no_memory(err);
}

static int look_at(void *ctx, const struct vigia_dead_letter *letter)
{
	struct vigia__request *request = ctx;
	if (request->count == 0 || request->out.len >= TEXT_MAX) return VIGIA_NONE;
	request->count--;
	return put_letter(&request->out, letter, &request->failed);
}

enum MHD_Result vigia__get_dead(struct vigia__request *request)
{
	struct vigia_error err = {0};
	const struct vigia_slice *watcher = vigia__query_get(&request->query, "watcher");
	uint64_t from = 1;
	request->count = LIMIT;
	int rc = vigia__query_number(&request->query, "from", 1, INT64_MAX, &from, &err);
	if (rc == VIGIA_OK) rc = vigia__query_number(&request->query, "limit", 1, LIMIT_MAX, &request->count, &err);
	if (rc == VIGIA_OK && watcher == NULL && vigia__query_get(&request->query, "from"))
		rc = vigia__error(&err, VIGIA_EINVAL, "from: is for the letters of one watcher");
	if (rc == VIGIA_OK)
		rc = vigia_dead_letters(request->server->store, watcher ? watcher->data : NULL, from, look_at, request, &err);
	if (request->failed.code < 0) err = request->failed;
	/* A letter whose record is damaged ends the list: what came before it is given, and then why. */
	if (rc < 0 && rc != VIGIA_EDAMAGED) return vigia__reply_error(request, 0, &err);
	if (rc == VIGIA_EDAMAGED && (vigia__buf_add_text(&request->out, "{\"damaged\":") |
	                             vigia__text_error(&request->out, &err) | vigia__buf_add_text(&request->out, "}\n")))
		return MHD_NO;
	vigia__reply_header(request, "Vigia-At-End", rc == VIGIA_NONE ? "false" : "true");
	return vigia__reply(request, MHD_HTTP_OK, VIGIA_NDJSON, &request->out);
}

/* ---- Changes ---- */

/* {"watcher":"id","seq_num":7}, or "all":true in place of the number. */
static int take_body(struct vigia__request *request, struct vigia_error *err)
{
	struct vigia__buf bytes = {0};
	struct vigia_msgpack_value value = {0};
	struct vigia_slice map, at;
	bool all = false;
	int rc = vigia__json_to_value((const char *)request->body.data, request->body.len, &bytes, err);
	map = (struct vigia_slice){(const char *)bytes.data, bytes.len};
	if (rc == VIGIA_OK && vigia_msgpack_find(map, "watcher", &at, err) == VIGIA_OK &&
	    vigia_msgpack_next(&at, &value, err) == VIGIA_OK &&
	    (value.kind == VIGIA_MSGPACK_STRING || value.kind == VIGIA_MSGPACK_BINARY)) {
		rc = vigia__watcher_id_check(value.string.data, value.string.len, err);
		if (rc == VIGIA_OK &&
		    (vigia__buf_add(&request->key, value.string.data, value.string.len) | vigia__buf_add(&request->key, "", 1)))
			rc = vigia__no_memory(err);
	} else if (rc == VIGIA_OK) rc = vigia__error(err, VIGIA_EINVAL, "watcher: must be the id of a watcher");
	if (rc == VIGIA_OK && vigia_msgpack_find(map, "all", &at, err) == VIGIA_OK &&
	    vigia_msgpack_next(&at, &value, err) == VIGIA_OK)
		all = value.kind == VIGIA_MSGPACK_BOOLEAN && value.boolean;
	if (rc == VIGIA_OK && vigia_msgpack_find(map, "seq_num", &at, err) == VIGIA_OK &&
	    vigia_msgpack_next(&at, &value, err) == VIGIA_OK && value.kind == VIGIA_MSGPACK_INTEGER && value.integer > 0)
		request->seq_num = (uint64_t)value.integer;
	if (rc == VIGIA_OK && all == (request->seq_num > 0))
		rc = vigia__error(err, VIGIA_EINVAL, "give either \"seq_num\", 1 or more, or \"all\":true");
	vigia__buf_deinit(&bytes);
	return rc;
}

/* On the job thread: it waits for a commit. */
static void change(struct vigia__request *request)
{
	const char *id = (const char *)request->key.data;
	struct vigia_store *store = request->server->store;
	request->count = 0;
	if (request->drop) vigia_dead_letter_drop(store, id, request->seq_num, &request->count, &request->failed);
	else vigia_dead_letter_retry(store, id, request->seq_num, &request->count, &request->failed);
}

static enum MHD_Result give_count(struct vigia__request *request)
{
	if (request->failed.code < 0) return vigia__reply_error(request, 0, &request->failed);
	if (request->count == 0) {
		vigia__error(&request->failed, VIGIA_EINVAL, "there is no such dead letter");
		return vigia__reply_error(request, MHD_HTTP_NOT_FOUND, &request->failed);
	}
	if (vigia__text_add(&request->out, "{\"count\":%" PRIu64 "}\n", request->count) != 0) return MHD_NO;
	return vigia__reply(request, MHD_HTTP_OK, VIGIA_JSON, &request->out);
}

static enum MHD_Result post(struct vigia__request *request, bool drop)
{
	struct vigia_error err = {0};
	request->drop = drop;
	request->again = give_count;
	int rc = take_body(request, &err);
	if (rc == VIGIA_OK) rc = vigia__request_job(request, change, &err);
	if (rc != VIGIA_OK) return vigia__reply_error(request, 0, &err);
	vigia__request_wait(request, vigia__request_job_ready, INT64_MAX);
	return MHD_YES;
}

enum MHD_Result vigia__post_dead_retry(struct vigia__request *request)
{
	return post(request, false);
}

enum MHD_Result vigia__post_dead_drop(struct vigia__request *request)
{
	return post(request, true);
}
