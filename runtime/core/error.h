/*
 * error.h - filling in struct vigia_error. Every function takes err == NULL. Any thread, no globals.
 */
#ifndef VIGIA_CORE_ERROR_H
#define VIGIA_CORE_ERROR_H

#include "utf8.h"
#include "vigia.h"

#define VIGIA_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Set code and message, clear the rest. Returns `code` so that a caller can `return vigia__error(...)`. */
int vigia__error(struct vigia_error *err, int code, const char *format, ...) VIGIA_PRINTF(3, 4);
/* The same with the message of the layer below (Lua's err.cause), which must not be a field of *err. */
int vigia__error_caused(struct vigia_error *err, int code, const char *cause, const char *format, ...)
	VIGIA_PRINTF(4, 5);
/* Put context before the message: "watcher 'a': " + message. */
void vigia__error_prefix(struct vigia_error *err, const char *format, ...) VIGIA_PRINTF(2, 3);
void vigia__error_clear(struct vigia_error *err);
/* The code of this name, VIGIA_EWATCHER if there is none. */
int vigia__error_code(const char *name);

/* A watcher's id for a message, with control characters written as \xNN: they could move a terminal's cursor or forge a
 * log line. */
struct vigia__shown {
	char text[256]; /* a longer id is cut and ends in dots */
};
const char *vigia__show(const char *id, struct vigia__shown *buf); /* returns `id` itself if nothing needs escaping */
#define VIGIA_SHOWN(id) vigia__show((id), &(struct vigia__shown){.text = ""})

/* An error for a log line: its message, with the cause in brackets where it is a text of its own. */
struct vigia__told {
	char text[sizeof((struct vigia_error *)0)->message + sizeof((struct vigia_error *)0)->cause + 4];
};
const char *vigia__error_text(const struct vigia_error *err, struct vigia__told *buf); /* returns buf->text */
#define VIGIA_TOLD(err) vigia__error_text((err), &(struct vigia__told){.text = ""})

/* If rc is a failure, note the watcher's id in err. Returns rc. */
int vigia__error_watcher(struct vigia_error *err, const char *id, int rc);
/* Set and return ENOMEM, in the words of Lua itself: "not enough memory". Where a message says for what, it is "no
 * memory for" that. */
int vigia__no_memory(struct vigia_error *err);

#endif
