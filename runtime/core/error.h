/*
 * error.h - filling in struct vigia_error. Every function takes err == NULL. Any thread; no globals.
 */
#ifndef VIGIA_CORE_ERROR_H
#define VIGIA_CORE_ERROR_H

#include "vigia.h"

#define VIGIA_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Set code and message, clear the rest; answers `code` so that a caller can `return vigia__error(...)`. */
int vigia__error(struct vigia_error *err, int code, const char *format, ...) VIGIA_PRINTF(3, 4);
/* Add what the layer below said (shown by Lua's err.cause). */
void vigia__error_cause(struct vigia_error *err, const char *format, ...) VIGIA_PRINTF(2, 3);
/* Put context before the message: "watcher 'a': " + message. */
void vigia__error_prefix(struct vigia_error *err, const char *format, ...) VIGIA_PRINTF(2, 3);
void vigia__error_clear(struct vigia_error *err);

#endif
