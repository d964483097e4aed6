/*
 * json.h - convert JSON text to and from an event's bytes, without Lua. json.c reads, and only it includes jansson.
 * json_write.c writes.
 *
 * A round trip keeps 1 and 1.0, null and true, [] and {} apart, and the order of a map's keys. A value that JSON cannot
 * express is written as an object with one key and read back from it:
 *     {"$float":"nan"}  {"$float":"inf"}  {"$float":"-inf"}
 *     {"$bytes":"<base64>"}             a string that is not UTF-8
 *     {"$map":[[key,value],...]}        a map with a key that is not a string, is not UTF-8 or holds a NUL (which
 *                                       jansson refuses in a key), and a map whose only key is one of these three
 *                                       names
 * An object with such a key but a value of another form is an ordinary map.
 *
 * Refused: integers outside int64 (json_big.h: what else a caller may want of them), floats beyond a double, duplicate
 * keys, invalid UTF-8, nesting beyond VIGIA_DEPTH_MAX, and anything behind the value. Any thread.
 */
#ifndef VIGIA_CORE_JSON_H
#define VIGIA_CORE_JSON_H

#include "event.h"
#include "json_big.h"

/* Convert one JSON value to one msgpack value at the end of buf. ESERIAL names the fault and its column (in characters,
 * from 1, and the line if there are several), or ENOMEM. On error buf is unchanged. */
int vigia__json_to_value(const char *text, size_t len, struct vigia__buf *buf, struct vigia_error *err);
/* For a text that vigia__json_to_value() refused: is it the correct beginning of a value whose rest is missing? */
bool vigia__json_is_cut(const char *text, size_t len);
/* Convert one NDJSON line {"operation":, "object_type":, "object":} to a whole event at the end of buf. "seq_num" and
 * "timestamp", which `vigia events` writes, are ignored. Any other field is an error. "object" may be null, but not
 * missing. ESERIAL, EINVAL (names), ETOOBIG (also for a line too long to become an event), ENOMEM. On error buf is
 * unchanged. */
int vigia__json_to_event(const char *text, size_t len, struct vigia__buf *buf, int64_t size_max,
                         struct vigia_error *err);

/* The same, with such integers as the nearest floats, or as strings of their digits. */
int vigia__json_to_event_with(const char *text, size_t len, enum vigia__json_big big, struct vigia__buf *buf,
                              int64_t size_max, struct vigia_error *err);
/* Convert one msgpack value to JSON text at the end of buf, without a line end. EDESERIAL, ENOMEM. On error buf is
 * unchanged. A float is written in its shortest exact form, always with '.' or 'e' or as $float, so that 1.0 is read
 * back as a float. */
int vigia__json_from_value(struct vigia_slice value, struct vigia__buf *buf, struct vigia_error *err);
/* Set and return ENOMEM. */
int vigia__json_no_memory(struct vigia_error *err);
/* Append a quoted string, or the $bytes form if it is not UTF-8. 0, or -1 without memory. */
int vigia__json_put_string(struct vigia__buf *buf, struct vigia_slice s);
/* json_event.c: {"seq_num":7,"timestamp":...,"operation":"CREATE","object_type":"File","object":...} */
int vigia__json_from_event(const struct vigia_event *event, struct vigia__buf *buf, struct vigia_error *err);
/* The same for the object alone. On error buf may have part of it. */
int vigia__json_from_object(const struct vigia_event *event, struct vigia__buf *buf, struct vigia_error *err);

#endif
