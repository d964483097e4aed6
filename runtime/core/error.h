/*
 * error.h - filling in struct vigia_error. Every function takes err == NULL. Any thread; no globals.
 */
#ifndef VIGIA_CORE_ERROR_H
#define VIGIA_CORE_ERROR_H

#include "utf8.h"
#include "vigia.h"

#define VIGIA_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Set code and message, clear the rest; returns `code` so that a caller can `return vigia__error(...)`. */
int vigia__error(struct vigia_error *err, int code, const char *format, ...) VIGIA_PRINTF(3, 4);
/* Add what the layer below said (shown by Lua's err.cause). */
void vigia__error_cause(struct vigia_error *err, const char *format, ...) VIGIA_PRINTF(2, 3);
/* Put context before the message: "watcher 'a': " + message. */
void vigia__error_prefix(struct vigia_error *err, const char *format, ...) VIGIA_PRINTF(2, 3);
void vigia__error_clear(struct vigia_error *err);

/* A watcher's id in a message: control characters, which could move a terminal's cursor or begin a line of a log, are
 * written as \xNN. */
struct vigia__shown {
	char text[256]; /* what is longer than that ends in dots */
};
const char *vigia__show(const char *id,
                        struct vigia__shown *buf); /* `id` itself where nothing is to be written otherwise */
#define VIGIA_SHOWN(id) vigia__show((id), &(struct vigia__shown){.text = ""})

/* Of a watcher: a failure names it. Returns rc. */
int vigia__error_watcher(struct vigia_error *err, const char *id, int rc);

#endif
