/*
 * buckets.c - GET /state, /state/BUCKET, /state/BUCKET/KEY: buckets, keys and values as lines of JSON.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../core/error.h"
#include "../core/json.h"
#include "serve_private.h"
#include "text.h"

enum { LIMIT = 1000, LIMIT_MAX = 10000, TEXT_MAX = 1 << 20 };

static enum MHD_Result finish(struct vigia__request *request, int rc, struct vigia_error *err)
{
	if (rc == VIGIA_ENOMEM) vigia__no_memory(err);
	return rc < 0 ? vigia__reply_error(request, 0, err)
	              : vigia__reply(request, MHD_HTTP_OK, VIGIA_NDJSON, &request->out);
}

static int put_bucket(void *ctx, const char *bucket, uint64_t values)
{
	struct vigia__buf *out = ctx;
	int full = vigia__buf_add_text(out, "{\"bucket\":") | vigia__text_json(out, bucket) |
	           vigia__text_add(out, ",\"values\":%" PRIu64 "}\n", values);
	return full ? VIGIA_ENOMEM : VIGIA_OK;
}

static int put_row(void *ctx, const struct vigia_key *key, struct vigia_slice value)
{
	struct vigia__request *request = ctx;
	struct vigia__buf *out = &request->out;
	if (out->len >= TEXT_MAX) return VIGIA_NONE;
	int full =
		vigia__buf_add_text(out, "{\"key\":") |
		(key->is_integer ? vigia__text_add(out, "%" PRId64, key->integer) : vigia__json_put_string(out, key->text)) |
		vigia__buf_add_text(out, ",\"value\":");
	int rc = full ? vigia__no_memory(&request->failed) : vigia__json_from_value(value, out, &request->failed);
	if (rc == VIGIA_OK && vigia__buf_add_text(out, "}\n") != 0) rc = vigia__no_memory(&request->failed);
	request->count++;
	return rc;
}

/* A key as JSON: 5 or "five". */
static int take_key(const struct vigia_slice *text, struct vigia__buf *bytes, struct vigia_key *key,
                    struct vigia_error *err)
{
	int rc = vigia__json_to_value(text->data, text->len, bytes, err);
	struct vigia_slice rest = {(const char *)bytes->data, bytes->len};
	struct vigia_msgpack_value value = {0};
	if (rc == VIGIA_OK) rc = vigia_msgpack_next(&rest, &value, err);
	if (rc != VIGIA_OK) {
		vigia__error_prefix(err, "from: ");
		return rc;
	}
	*key = (struct vigia_key){
		.is_integer = value.kind == VIGIA_MSGPACK_INTEGER, .integer = value.integer, .text = value.string};
	if (key->is_integer || value.kind == VIGIA_MSGPACK_STRING || value.kind == VIGIA_MSGPACK_BINARY) return VIGIA_OK;
	return vigia__error(err, VIGIA_EINVAL, "from: must be a key as JSON, an integer or a string in quotes");
}

static int read_rows(struct vigia__request *request, struct vigia_transaction *tx, const char *bucket,
                     struct vigia_error *err)
{
	const struct vigia_slice *prefix = vigia__query_get(&request->query, "prefix");
	const struct vigia_slice *from = vigia__query_get(&request->query, "from");
	struct vigia_range range = {.size = sizeof range};
	struct vigia_key key;
	uint64_t limit = LIMIT;
	int rc = vigia__query_number(&request->query, "limit", 1, LIMIT_MAX, &limit, err);
	if (rc == VIGIA_OK && prefix && from) rc = vigia__error(err, VIGIA_EINVAL, "prefix and from exclude each other");
	if (rc == VIGIA_OK && from) {
		rc = take_key(from, &request->key, &key, err);
		range.from = &key;
	}
	if (prefix && prefix->len) range.prefix = *prefix;
	range.limit = (int64_t)limit;
	if (rc != VIGIA_OK) return rc;
	rc = vigia_transaction_range(tx, bucket, &range, put_row, request, err);
	if (rc == VIGIA_NONE || (rc == VIGIA_OK && request->count == limit))
		vigia__reply_header(request, "Vigia-At-End", "false");
	else if (rc == VIGIA_OK) vigia__reply_header(request, "Vigia-At-End", "true");
	return rc;
}

static bool is_integer(const char *text, int64_t *out)
{
	size_t sign = text[0] == '-';
	size_t len = strlen(text + sign);
	if (len < 1 || len > 18 || strspn(text + sign, "0123456789") != len) return false;
	*out = strtoll(text, NULL, 10);
	return true;
}

/* Digits are an integer, where there is one, and else a string. VIGIA_NONE: there is neither. */
static int read_key(struct vigia__request *request, struct vigia_transaction *tx, const char *bucket, const char *name,
                    struct vigia_error *err)
{
	struct vigia_key key = {.text = {name, strlen(name)}};
	struct vigia_slice value;
	int rc = VIGIA_NONE;
	if (is_integer(name, &key.integer)) {
		key.is_integer = true;
		rc = vigia_transaction_get(tx, bucket, &key, &value, err);
		if (rc == VIGIA_NONE) key.is_integer = false;
	}
	if (rc == VIGIA_NONE) rc = vigia_transaction_get(tx, bucket, &key, &value, err);
	return rc == VIGIA_OK ? put_row(request, &key, value) : rc;
}

enum MHD_Result vigia__get_state(struct vigia__request *request)
{
	struct vigia_error err = {0};
	struct vigia_store *store = request->server->store;
	char *bucket = (char *)(uintptr_t)request->query.path.data + strlen("/state");
	if (bucket[0] == '\0' || bucket[1] == '\0') {
		int all = vigia_store_buckets(store, put_bucket, &request->out, &err);
		return finish(request, all, &err);
	}
	char *key = strchr(++bucket, '/');
	if (key) *key++ = '\0'; /* the request's own copy */
	struct vigia_transaction *tx = NULL;
	int rc = vigia_transaction_begin(store, &tx, &err);
	if (rc == VIGIA_OK) rc = key ? read_key(request, tx, bucket, key, &err) : read_rows(request, tx, bucket, &err);
	vigia_transaction_free(tx);
	if (request->failed.code < 0) err = request->failed;
	if (key && rc == VIGIA_NONE) {
		vigia__error(&err, VIGIA_EINVAL, "there is no such key");
		return vigia__reply_error(request, MHD_HTTP_NOT_FOUND, &err);
	}
	return finish(request, rc, &err);
}
