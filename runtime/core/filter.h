/*
 * filter.h - lists of types and operations, and places of the object, matched on an event's bytes before anything is
 * decoded.
 */
#ifndef VIGIA_CORE_FILTER_H
#define VIGIA_CORE_FILTER_H

#include "event.h"
#include "where.h"

struct vigia__filter; /* an owned copy of a struct vigia_filter, made for matching; immutable, any thread */

/* 0 and *out (NULL when the filter keeps all), EINVAL, which names the entry, or ENOMEM. */
int vigia__filter_new(const struct vigia_filter *filter, struct vigia__filter **out, struct vigia_error *err);
/* The same with places in the object. */
int vigia__filter_new_where(const struct vigia_filter *filter, const struct vigia_where *where, size_t where_count,
                            struct vigia__filter **out, struct vigia_error *err);
void vigia__filter_free(struct vigia__filter *filter);

/* NULL matches all. Bytes that cannot be read match, so that the reader gets to see the damage. */
bool vigia__filter_match(const struct vigia__filter *filter, const uint8_t *bytes, size_t len);

/* How many places of the object it looks at. */
size_t vigia__filter_places(const struct vigia__filter *filter);
/* The hashes of the types it keeps, and of the operations (vigia__name_hash). *count = 0: all. For the index. */
const uint32_t *vigia__filter_type_hashes(const struct vigia__filter *filter, size_t *count);
const uint32_t *vigia__filter_operation_hashes(const struct vigia__filter *filter, size_t *count);
/* The object types it keeps. *count = 0: all. For choosing the wake words to wait on. */
const struct vigia_slice *vigia__filter_types(const struct vigia__filter *filter, size_t *count);

#endif
