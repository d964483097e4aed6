/*
 * where.c - compares the values at some places of an object with those wanted.
 */
#include "where.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "error.h"
#include "json.h"
#include "path.h"
#include "serial.h"

struct condition {
	struct vigia__path *path;
	size_t first, count; /* of `values`, sorted */
};

struct vigia__where {
	size_t count;
	struct condition conditions[VIGIA_WHERE_MAX];
	struct vigia__token *values; /* whose strings are in `bytes` */
	struct vigia__buf bytes;
};

/* ---- Making one ---- */

/* Read the value, which was copied. */
static int take_value(struct vigia_slice bytes, struct vigia__token *out, size_t index, struct vigia_error *err)
{
	const char *what = NULL;
	struct vigia__reader reader = {(const uint8_t *)bytes.data, (const uint8_t *)bytes.data + bytes.len};
	if (vigia__reader_next(&reader, out, NULL) != 0) what = "no msgpack value";
	else if (out->kind == VIGIA_TOKEN_ARRAY) what = "an array";
	else if (out->kind == VIGIA_TOKEN_MAP) what = "a map";
	else if (reader.at != reader.end) what = "more than one value";
	else if (out->kind == VIGIA_TOKEN_FLOAT && out->number != out->number) what = "NaN, which equals nothing";
	if (what == NULL) return VIGIA_OK;
	return vigia__error(err, VIGIA_EINVAL, "value %zu is %s, allowed: nil, a boolean, a number, a string", index + 1,
	                    what);
}

static int compare_values(const void *a, const void *b)
{
	return vigia__token_compare(a, b);
}

static int take_place(struct vigia__where *where, const struct vigia_where *place, size_t first,
                      struct vigia_error *err)
{
	struct condition *condition = &where->conditions[where->count++];
	*condition = (struct condition){.first = first, .count = place->values_count};
	int rc = vigia__path_new(place->path, &condition->path, err);
	if (rc == VIGIA_EINVAL) vigia__error_prefix(err, "filter.where: ");
	if (rc != VIGIA_OK) return rc;
	if (place->values_count == 0) rc = vigia__error(err, VIGIA_EINVAL, "no value is given, allowed: one or more");
	for (size_t i = 0; i < place->values_count && rc == VIGIA_OK; i++) {
		struct vigia_slice value = place->values[i], copy = {(char *)where->bytes.data + where->bytes.len, value.len};
		if (value.len) memcpy(where->bytes.data + where->bytes.len, value.data, value.len); /* reserved */
		where->bytes.len += value.len;
		rc = take_value(copy, &where->values[first + i], i, err);
	}
	if (rc == VIGIA_OK) qsort(where->values + first, condition->count, sizeof *where->values, compare_values);
	if (rc == VIGIA_EINVAL) {
		char shown[200];
		vigia__error_prefix(err,
		                    "filter.where[%s]: ", vigia__quote(place->path.data, place->path.len, shown, sizeof shown));
	}
	return rc;
}

int vigia__where_new(const struct vigia_where *places, size_t count, struct vigia__where **out, struct vigia_error *err)
{
	*out = NULL;
	if (count == 0) return VIGIA_OK;
	if (count > VIGIA_WHERE_MAX)
		return vigia__error(err, VIGIA_EINVAL, "filter.where has %zu places, allowed: at most %d", count,
		                    VIGIA_WHERE_MAX);
	size_t values = 0, bytes = 0;
	for (size_t i = 0; i < count; i++) {
		values += places[i].values_count;
		for (size_t j = 0; j < places[i].values_count; j++) bytes += places[i].values[j].len;
	}
	struct vigia__where *made = vigia__calloc(sizeof *made);
	if (made) made->values = vigia__alloc((values + 1) * sizeof *made->values);
	int rc =
		made && made->values && vigia__buf_reserve(&made->bytes, bytes + 1) == 0 ? VIGIA_OK : vigia__no_memory(err);
	for (size_t i = 0, first = 0; i < count && rc == VIGIA_OK; i++) {
		rc = take_place(made, &places[i], first, err);
		first += places[i].values_count;
	}
	if (rc != VIGIA_OK) {
		vigia__where_free(made);
		return rc;
	}
	*out = made;
	return VIGIA_OK;
}

void vigia__where_free(struct vigia__where *where)
{
	if (where == NULL) return;
	for (size_t i = 0; i < where->count; i++) vigia__path_free(where->conditions[i].path);
	vigia__free(where->values);
	vigia__buf_deinit(&where->bytes);
	vigia__free(where);
}

size_t vigia__where_count(const struct vigia__where *where)
{
	return where ? where->count : 0;
}

/* ---- Matching ---- */

static bool wants(const struct vigia__where *where, const struct condition *condition, const struct vigia__token *value)
{
	const struct vigia__token *values = where->values + condition->first;
	size_t low = 0, high = condition->count;
	if (!vigia__token_is_scalar(value)) return false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = vigia__token_compare(&values[middle], value);
		if (order == 0) return true;
		if (order < 0) low = middle + 1;
		else high = middle;
	}
	return false;
}

static bool match_object(const struct vigia__where *where, struct vigia_slice object)
{
	for (size_t i = 0; i < where->count; i++) {
		struct vigia__token value = {.kind = VIGIA_TOKEN_NIL};
		struct vigia__reader at;
		int rc = vigia__path_find(where->conditions[i].path, object, &at);
		if (rc == VIGIA_OK) rc = vigia__reader_next(&at, &value, NULL);
		if (rc < 0) return true;
		if (!wants(where, &where->conditions[i], &value)) return false;
	}
	return true;
}

bool vigia__where_match(const struct vigia__where *where, const struct vigia__head *head)
{
	enum vigia__serializer serializer = vigia__serializer_of(head->serializer);
	if (where == NULL || serializer == VIGIA_SERIALIZER_OTHER) return true;
	if (serializer == VIGIA_SERIALIZER_MSGPACK) return match_object(where, head->object);
	struct vigia__buf object = {0};
	bool readable = vigia__json_to_value(head->object.data, head->object.len, &object, NULL) == VIGIA_OK;
	bool wanted = !readable || match_object(where, (struct vigia_slice){(char *)object.data, object.len});
	vigia__buf_deinit(&object);
	return wanted;
}
