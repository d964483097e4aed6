/*
 * serial.h - the library's own serializers. An event names the one that wrote its object (core/event.h):
 *     msgpack  the object is part of the event's msgpack array
 *     json     the object is JSON text in a bin, in the forms of core/json.h
 *     another  bytes in a bin, which only an application's functions can read (bind/serial.c)
 * Any thread.
 */
#ifndef VIGIA_CORE_SERIAL_H
#define VIGIA_CORE_SERIAL_H

#include "event.h"

enum vigia__serializer { VIGIA_SERIALIZER_MSGPACK, VIGIA_SERIALIZER_JSON, VIGIA_SERIALIZER_OTHER };

/* The serializer of a name. The empty name is msgpack. */
enum vigia__serializer vigia__serializer_of(struct vigia_slice name);

/* Rewrite the msgpack object of the last event in buf, which begins at `start`, with the serializer `name`. ESERIAL: it
 * is not one of the library's. ETOOBIG, ENOMEM. On error the event is removed from buf. */
int vigia__event_recode(struct vigia__buf *buf, size_t start, const char *name, int64_t size_max,
                        struct vigia_error *err);

/* Append the object of an event that was not written as msgpack to buf as a msgpack value. EDESERIAL, ENOMEM. On error
 * buf is unchanged. */
int vigia__event_object(const struct vigia_event *event, struct vigia__buf *buf, struct vigia_error *err);

#endif
