/*
 * sql_event.h - events that the server made itself, in its function `append`. Pure.
 */
#ifndef VIGIA_STORE_PG_SQL_EVENT_H
#define VIGIA_STORE_PG_SQL_EVENT_H

#include "vigia.h"

/* The library's own sums need XXH3, which the server does not have. Its events have the tag D2 in place of CE before
 * the sum, and the first four bytes of SHA-256 of all behind it. Where that is right, give the event the form and the
 * sum of all others, in place: those of number and time 0. Any other is left as it is. */
struct vigia_slice vigia__pg_sql_event(struct vigia_slice event);

#endif
