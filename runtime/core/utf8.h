/*
 * utf8.h - is it text, and may it be shown? Any thread.
 */
#ifndef VIGIA_CORE_UTF8_H
#define VIGIA_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool vigia__utf8_valid(const char *s, size_t len);

/* May byte i be shown on a terminal as it is? Control characters may not, those of C1 (U+0080 to U+009F) among them.
 * `valid`: the text as a whole is valid UTF-8; if it is not, only ASCII may be shown. */
bool vigia__is_plain(const char *text, size_t len, size_t i, bool valid);

#endif
