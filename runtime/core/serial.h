/*
 * serial.h - the serializers that come with the library. An event names the one that wrote its object (core/event.h):
 *     msgpack  the object is part of the event's msgpack array
 *     json     the object is JSON text in a bin, in the forms of core/json.h
 *     another  bytes in a bin, which only functions of an application understand (bind/serial.c)
 * Any thread.
 */
#ifndef VIGIA_CORE_SERIAL_H
#define VIGIA_CORE_SERIAL_H

#include "event.h"

enum vigia__serializer { VIGIA_SERIALIZER_MSGPACK, VIGIA_SERIALIZER_JSON, VIGIA_SERIALIZER_OTHER };

/* Which one a name means; the empty name is msgpack. */
enum vigia__serializer vigia__serializer_of(struct vigia_slice name);

/* The event that begins at `start` and ends buf has a msgpack object: rewrite that with the serializer `name`. ESERIAL:
 * the serializer is none of the library's; ETOOBIG, ENOMEM. On error the event is taken out of buf. */
int vigia__event_recode(struct vigia__buf *buf, size_t start, const char *name, int64_t size_max,
                        struct vigia_error *err);

/* The msgpack value of an event's object at the end of buf. EDESERIAL, ENOMEM; buf as before on error. */
int vigia__event_object(const struct vigia_event *event, struct vigia__buf *buf, struct vigia_error *err);

#endif
