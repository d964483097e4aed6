/*
 * query.h - the target of a request, "/events?from=after:7&types=File,Commit": its path and its parameters.
 *
 * Strict: a bad escape, a NUL, bytes that are not UTF-8, and more than VIGIA_QUERY_MAX parameters are refused, and so
 * is a parameter that a route does not know or that is given twice. Any bytes may be given. Pure.
 */
#ifndef VIGIA_SERVE_QUERY_H
#define VIGIA_SERVE_QUERY_H

#include "../core/buf.h"
#include "vigia.h"

enum { VIGIA_QUERY_MAX = 32, VIGIA_QUERY_NAMES_MAX = 64 };

struct vigia__query {
	struct vigia_slice path; /* decoded; begins with a slash; ends in a NUL */
	unsigned count;
	struct vigia__query_item {
		struct vigia_slice name, value; /* decoded; each ends in a NUL */
		struct vigia_slice raw;         /* the value as it came */
	} items[VIGIA_QUERY_MAX];
	char *text; /* what they point into */
};

/* VIGIA_OK, EINVAL or ENOMEM. deinit after any outcome. */
int vigia__query_init(struct vigia__query *query, const char *target, struct vigia_error *err);
void vigia__query_deinit(struct vigia__query *query);

/* Refuse parameters other than these, which are separated by spaces, and those given twice. */
int vigia__query_allow(const struct vigia__query *query, const char *names, struct vigia_error *err);
/* The value, a NUL behind it. NULL: it was not given. */
const struct vigia_slice *vigia__query_get(const struct vigia__query *query, const char *name);
/* A whole number of decimal digits. `*out` is left alone if it was not given. EINVAL. */
int vigia__query_number(const struct vigia__query *query, const char *name, uint64_t min, uint64_t max, uint64_t *out,
                        struct vigia_error *err);
/* A duration (core/quantity.h): 2.5, 250ms, 1m. */
int vigia__query_seconds(const struct vigia__query *query, const char *name, uint64_t max, int64_t *out_ns,
                         struct vigia_error *err);

/* Names with commas between them. A comma in a name is written %2C. */
struct vigia__query_names {
	size_t count; /* 0: it was not given, or is empty */
	struct vigia_slice names[VIGIA_QUERY_NAMES_MAX];
	char *text; /* what they point into */
};
/* VIGIA_OK, EINVAL or ENOMEM. deinit after any outcome. */
int vigia__query_names_init(struct vigia__query_names *names, const struct vigia__query *query, const char *name,
                            struct vigia_error *err);
void vigia__query_names_deinit(struct vigia__query_names *names);

#endif
