/*
 * utf8.h - checks whether bytes are text and may be shown. Any thread.
 */
#ifndef VIGIA_CORE_UTF8_H
#define VIGIA_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool vigia__utf8_valid(const char *s, size_t len);

/* Is it a name in Lua's sense: letters, digits and _, not beginning with a digit? */
bool vigia__is_identifier(const char *text, size_t len);

/* May byte i be written to a terminal unescaped? Control characters may not, nor those of C1 (U+0080 to U+009F).
 * `valid`: the whole text is valid UTF-8. If not, only ASCII may. */
bool vigia__is_plain(const char *text, size_t len, size_t i, bool valid);

/* Write the text in double quotes, with escapes for a terminal. After 40 bytes it ends in "...". `size` is at least 20.
 * Returns out. */
const char *vigia__quote(const char *text, size_t len, char *out, size_t size);

/* The largest length up to `len` that cuts no character. text[len] must be readable. */
size_t vigia__utf8_cut(const char *text, size_t len);

#endif
