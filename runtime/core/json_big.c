/*
 * json_big.c - finds big integers in a text, and writes it with others in their place.
 */
#include "json_big.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS_SURE = 18 }; /* an integer of so many digits always fits */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The end of the number at s[at], and whether it is an integer that does not fit. */
static size_t number_end(const char *s, size_t at, size_t len, bool *big)
{
	size_t end = at + (s[at] == '-'), digits = 0;
	for (; end < len && is_digit(s[end]); end++) digits++;
	bool whole = end == len || (s[end] != '.' && s[end] != 'e' && s[end] != 'E');
	*big = false;
	if (!whole || digits <= DIGITS_SURE || s[end - digits] == '0') return end;
	char text[24]; /* a longer one does not fit */
	if (end - at >= sizeof text) {
		*big = true;
		return end;
	}
	memcpy(text, s + at, end - at);
	text[end - at] = '\0';
	errno = 0;
	(void)strtoll(text, NULL, 10);
	*big = errno == ERANGE;
	return end;
}

static int put_big(struct vigia__buf *out, const char *s, size_t len, enum vigia__json_big big)
{
	bool quoted = big == VIGIA_JSON_BIG_STRING;
	if (quoted && vigia__buf_add_text(out, "\"") != 0) return -1;
	if (vigia__buf_add(out, s, len) != 0) return -1;
	return vigia__buf_add_text(out, quoted ? "\"" : ".0");
}

int vigia__json_widen(const char *text, size_t len, enum vigia__json_big big, struct vigia__buf *out,
                      struct vigia_error *err)
{
	size_t copied = 0;
	bool in_string = false;
	for (size_t i = 0; i < len;) {
		bool is_big = false;
		size_t end = i + 1;
		if (in_string) {
			if (text[i] == '\\') end++;
			else if (text[i] == '"') in_string = false;
		} else if (text[i] == '"') in_string = true;
		else if (text[i] == '-' || is_digit(text[i])) {
			end = number_end(text, i, len, &is_big);
			/* the rest of a fraction is no number of its own */
			while (!is_big && end < len && (is_digit(text[end]) || strchr(".eE+-", text[end])) && text[end] != '\0')
				end++;
		}
		if (is_big) {
			if (vigia__buf_add(out, text + copied, i - copied) != 0 || put_big(out, text + i, end - i, big) != 0)
				return vigia__no_memory(err);
			copied = end;
		}
		i = end;
	}
	if (copied == 0) return VIGIA_NONE;
	return vigia__buf_add(out, text + copied, len - copied) != 0 ? vigia__no_memory(err) : VIGIA_OK;
}

size_t vigia__json_narrow(const char *wide, size_t at, const char *text, size_t len)
{
	size_t there = 0;
	for (size_t i = 0; i < at && there < len; i++)
		if (wide[i] == text[there]) there++;
	return there;
}
