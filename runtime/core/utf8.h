/*
 * utf8.h - checks whether bytes are text and may be shown. Any thread.
 */
#ifndef VIGIA_CORE_UTF8_H
#define VIGIA_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool vigia__utf8_valid(const char *s, size_t len);

/* May byte i be written to a terminal unescaped? Control characters may not, nor those of C1 (U+0080 to U+009F).
 * `valid`: the whole text is valid UTF-8; if not, only ASCII may. */
bool vigia__is_plain(const char *text, size_t len, size_t i, bool valid);

#endif
