/*
 * lane_key.h - the key by which an event belongs to a lane (contract K3), as a hash.
 *
 * Keys are equal as a filter's values are: 1 equals 1.0, and a str a bin of the same bytes. A place that is missing is
 * nil. Arrays and maps are equal if their bytes are. Any thread.
 */
#ifndef VIGIA_CORE_LANE_KEY_H
#define VIGIA_CORE_LANE_KEY_H

#include "path.h"

/* Of a value that is neither array nor map. */
uint64_t vigia__lane_key_token(const struct vigia__token *token);
/* Of the value at the place in an event's object. Of an object that cannot be read, or only by an application's
 * serializer, that of nil. */
uint64_t vigia__lane_key_event(const struct vigia__path *path, const struct vigia__head *head);

#endif
