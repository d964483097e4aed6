/*
 * pretty.h - an event as a line for people: number, time (UTC), operation, type, object.
 *
 * What comes from the event cannot act on a terminal: control characters, and those that change the direction of text
 * or have no width, are written as \uNNNN. Any thread.
 */
#ifndef VIGIA_BIND_PRETTY_H
#define VIGIA_BIND_PRETTY_H

#include <stdbool.h>

#include "../core/buf.h"
#include "vigia.h"

struct vigia__pretty {
	int columns; /* shorten the object so that the line is no wider. 0: never */
	bool colour;
};

/* Add the line, without a line end. `object` is for its own use. EDESERIAL, ENOMEM. On error `out` may have part of
 * it. */
int vigia__pretty_event(const struct vigia__pretty *pretty, const struct vigia_event *event, struct vigia__buf *object,
                        struct vigia__buf *out, struct vigia_error *err);

#endif
