/*
 * path.h - a place in an event's object: object.a.b[3]."x.y". Defined here once, for all that name one.
 *
 *     object         the object itself
 *     .name          the value under this key of a map: letters, digits, _ and -, not beginning with a digit or -
 *     ."any bytes"   the same for any key that is a string; \" and \\ stand for " and \
 *     [3]            the third value of an array, or what a map has under the key 3, an integer
 *     ["any bytes"]  as ."any bytes". Error messages write places so
 *
 * Immutable once made. Any thread.
 */
#ifndef VIGIA_CORE_PATH_H
#define VIGIA_CORE_PATH_H

#include "event.h"

enum { VIGIA_PATH_BYTES_MAX = 4096 }; /* of a path's text. It has no more steps than an object has levels */

struct vigia__path;

/* 0 and *out, EINVAL, which shows the path and says at which character it is wrong, or ENOMEM. */
int vigia__path_new(struct vigia_slice text, struct vigia__path **out, struct vigia_error *err);
void vigia__path_free(struct vigia__path *path); /* NULL is fine */

/* Find the place in one msgpack value. VIGIA_OK: *at is a reader before its value, with all that is behind it. Of
 * duplicate keys the last one counts, as for the decoder. VIGIA_NONE: it has no such place. EDESERIAL: bytes on the
 * way cannot be read. Allocates nothing. */
int vigia__path_find(const struct vigia__path *path, struct vigia_slice object, struct vigia__reader *at);

#endif
