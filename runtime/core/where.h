/*
 * where.h - places in the object and the values that a filter wants there, tested on the event's bytes.
 *
 * 1 equals 1.0, and a str a bin of the same bytes. A place that is missing equals only nil. NaN equals nothing and is
 * refused. Immutable once made. Any thread.
 */
#ifndef VIGIA_CORE_WHERE_H
#define VIGIA_CORE_WHERE_H

#include "event.h"

enum { VIGIA_WHERE_MAX = 16 }; /* places of one filter */

struct vigia__where;

/* 0 and *out (NULL for no places), EINVAL, which names the place, or ENOMEM. */
int vigia__where_new(const struct vigia_where *places, size_t count, struct vigia__where **out,
                     struct vigia_error *err);
void vigia__where_free(struct vigia__where *where); /* NULL is fine */
/* How many places. */
size_t vigia__where_count(const struct vigia__where *where);

/* Does the object of an event have one of the values at each place? Yes, where the bytes cannot be read, or only by an
 * application's serializer: then the reader gets to see the event. */
bool vigia__where_match(const struct vigia__where *where, const struct vigia__head *head);

#endif
