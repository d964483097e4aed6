/*
 * param.h - parameters of a statement in PostgreSQL's binary form, lists too. Pure.
 */
#ifndef VIGIA_STORE_PG_PARAM_H
#define VIGIA_STORE_PG_PARAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../core/buf.h"
#include "vigia.h"

enum pg_kind { VIGIA_PG_BYTES, VIGIA_PG_BIG, VIGIA_PG_INT }; /* bytea, bigint, int */

/* data NULL: null. */
struct pg_param {
	const void *data;
	int len;
};

/* Room for a number's bytes. */
struct pg_number {
	uint8_t bytes[8];
};

struct pg_param vigia__pg_big(struct pg_number *number, int64_t value);
struct pg_param vigia__pg_small(struct pg_number *number, int32_t value);
struct pg_param vigia__pg_truth(struct pg_number *number, bool value);
struct pg_param vigia__pg_blob(const void *data, size_t len);

/* A list. Begin, add, then use it. What fails for want of memory shows in `failed`. */
struct pg_array {
	struct vigia__buf buf;
	enum pg_kind kind;
	uint32_t count;
	bool failed, nulls;
};

void vigia__pg_array_begin(struct pg_array *array, enum pg_kind kind);
void vigia__pg_array_blob(struct pg_array *array, const void *data, size_t len);
void vigia__pg_array_number(struct pg_array *array, int64_t value);
void vigia__pg_array_null(struct pg_array *array);
/* Complete it. */
struct pg_param vigia__pg_array_end(struct pg_array *array);
void vigia__pg_array_deinit(struct pg_array *array);

#endif
