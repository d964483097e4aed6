/*
 * param.c - parameters in PostgreSQL's binary form. See param.h.
 *
 * A list is: dimensions (1, or 0 of an empty one), "has nulls", the type of the items; then items, first index; then
 * each item's length (-1: null) and bytes. All numbers have 4 bytes, the highest first.
 */
#include "param.h"

#include <endian.h>
#include <limits.h>
#include <string.h>

enum { HEAD_BYTES = 20, EMPTY_BYTES = 12, KEEP_BYTES = 1 << 20 };
static const uint32_t type_of[] = {[VIGIA_PG_BYTES] = 17, [VIGIA_PG_BIG] = 20, [VIGIA_PG_INT] = 23};

struct pg_param vigia__pg_big(struct pg_number *number, int64_t value)
{
	uint64_t there = htobe64((uint64_t)value);
	memcpy(number->bytes, &there, sizeof there);
	return (struct pg_param){number->bytes, sizeof there};
}

struct pg_param vigia__pg_small(struct pg_number *number, int32_t value)
{
	uint32_t there = htobe32((uint32_t)value);
	memcpy(number->bytes, &there, sizeof there);
	return (struct pg_param){number->bytes, sizeof there};
}

struct pg_param vigia__pg_truth(struct pg_number *number, bool value)
{
	number->bytes[0] = value;
	return (struct pg_param){number->bytes, 1};
}

struct pg_param vigia__pg_blob(const void *data, size_t len)
{
	return (struct pg_param){data ? data : "", (int)len};
}

static void add(struct pg_array *array, const void *data, size_t len)
{
	/* libpq counts in int, and the server takes a gigabyte. */
	if (array->buf.len + len > INT_MAX / 2 || vigia__buf_add(&array->buf, data, len) < 0) array->failed = true;
}

static void add_word(struct pg_array *array, uint32_t value)
{
	uint32_t there = htobe32(value);
	add(array, &there, sizeof there);
}

void vigia__pg_array_begin(struct pg_array *array, enum pg_kind kind)
{
	vigia__buf_clear(&array->buf, KEEP_BYTES);
	array->kind = kind;
	array->count = 0;
	array->failed = array->nulls = false;
	for (size_t i = 0; i < HEAD_BYTES / 4; i++) add_word(array, 0);
}

void vigia__pg_array_blob(struct pg_array *array, const void *data, size_t len)
{
	add_word(array, (uint32_t)len);
	add(array, data, len);
	array->count++;
}

void vigia__pg_array_number(struct pg_array *array, int64_t value)
{
	struct pg_number number;
	struct pg_param param =
		array->kind == VIGIA_PG_INT ? vigia__pg_small(&number, (int32_t)value) : vigia__pg_big(&number, value);
	vigia__pg_array_blob(array, param.data, (size_t)param.len);
}

void vigia__pg_array_null(struct pg_array *array)
{
	add_word(array, UINT32_MAX);
	array->nulls = true;
	array->count++;
}

struct pg_param vigia__pg_array_end(struct pg_array *array)
{
	if (array->failed) return (struct pg_param){NULL, 0};
	uint32_t head[HEAD_BYTES / 4] = {htobe32(array->count > 0), htobe32(array->nulls), htobe32(type_of[array->kind]),
	                                 htobe32(array->count), htobe32(1)};
	memcpy(array->buf.data, head, sizeof head);
	return (struct pg_param){array->buf.data, array->count > 0 ? (int)array->buf.len : EMPTY_BYTES};
}

void vigia__pg_array_deinit(struct pg_array *array)
{
	vigia__buf_deinit(&array->buf);
}
