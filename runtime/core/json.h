/*
 * json.h - JSON text <-> an event's bytes, without Lua in between. json.c (reading) is the one file that includes
 * jansson; json_write.c writes.
 *
 * Kept apart both ways: 1 and 1.0, null, true, [] and {}, the order of a map's keys. What JSON has no form for is
 * written as an object with one key and read back from it:
 *     {"$float":"nan"}  {"$float":"inf"}  {"$float":"-inf"}
 *     {"$bytes":"<base64>"}             a string that is not UTF-8
 *     {"$map":[[key,value],...]}        a map with a key that is no string, or not UTF-8, or holds a NUL (jansson takes
 *                                       no such key), and any map with one key that is itself one of the three names
 *                                       above
 * An object with such a key whose value has not the form above is an ordinary map.
 * Refused: integers outside int64, floats beyond a double, duplicate keys, invalid UTF-8, nesting beyond
 * VIGIA_DEPTH_MAX, and anything behind the value.
 * Any thread.
 */
#ifndef VIGIA_CORE_JSON_H
#define VIGIA_CORE_JSON_H

#include "event.h"

/* One JSON value -> one msgpack value at the end of buf. ESERIAL says what is wrong and at which column (characters
 * from 1; in a text of several lines also the line); ENOMEM. buf as before on error. */
int vigia__json_to_value(const char *text, size_t len, struct vigia__buf *buf, struct vigia_error *err);
/* Of a text that vigia__json_to_value() refuses: is it the beginning of a value whose rest is missing, and right as far
 * as it goes? */
bool vigia__json_is_cut(const char *text, size_t len);
/* One NDJSON line {"operation":, "object_type":, "object":} -> a whole event at the end of buf. Other fields: "seq_num"
 * and "timestamp" (what `events` wrote) are ignored, any other is an error. "object" may be null, but must be there.
 * ESERIAL, EINVAL (names), ETOOBIG (also a line so long that no event can come of it), ENOMEM. buf as before on
 * error. */
int vigia__json_to_event(const char *text, size_t len, struct vigia__buf *buf, int64_t size_max,
                         struct vigia_error *err);

/* One msgpack value -> JSON text at the end of buf, no line end. EDESERIAL, ENOMEM; buf as before on error. Floats in
 * their shortest exact form, always with '.', 'e' or as $float, so that 1.0 comes back a float. */
int vigia__json_from_value(struct vigia_slice value, struct vigia__buf *buf, struct vigia_error *err);
/* ENOMEM. */
int vigia__json_no_memory(struct vigia_error *err);
/* A string, or bytes in the form of bytes, quoted. 0 or -1 without memory. */
int vigia__json_put_string(struct vigia__buf *buf, struct vigia_slice s);
/* json_event.c: {"seq_num":7,"timestamp":...,"operation":"CREATE","object_type":"File","object":...} */
int vigia__json_from_event(const struct vigia_event *event, struct vigia__buf *buf, struct vigia_error *err);

#endif
