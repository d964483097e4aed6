/*
 * utf8.c - checks UTF-8, and what may be written to a terminal. See utf8.h.
 */
#include "utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

bool vigia__utf8_valid(const char *text, size_t len)
{
	const uint8_t *s = (const uint8_t *)text, *end = s + len;
	while (s < end) {
		if (*s < 0x80) {
			uint64_t eight;
			while (end - s >= 8 && (memcpy(&eight, s, 8), (eight & 0x8080808080808080u) == 0)) s += 8;
			while (s < end && *s < 0x80) s++;
			continue;
		}
		size_t left = (size_t)(end - s);
		if (*s < 0xc2) return false;
		if (*s < 0xe0) {
			if (left < 2 || (s[1] & 0xc0) != 0x80) return false;
			s += 2;
		} else if (*s < 0xf0) {
			/* E0: no overlong. ED: no surrogate */
			uint8_t low = *s == 0xe0 ? 0xa0 : 0x80, high = *s == 0xed ? 0x9f : 0xbf;
			if (left < 3 || s[1] < low || s[1] > high || (s[2] & 0xc0) != 0x80) return false;
			s += 3;
		} else {
			/* F0: no overlong. F4: nothing above U+10FFFF */
			uint8_t low = *s == 0xf0 ? 0x90 : 0x80, high = *s == 0xf4 ? 0x8f : 0xbf;
			if (*s > 0xf4 || left < 4 || s[1] < low || s[1] > high || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
				return false;
			s += 4;
		}
	}
	return true;
}

bool vigia__is_identifier(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
		if (!letter && (i == 0 || c < '0' || c > '9')) return false;
	}
	return len > 0;
}

static bool is_c1(const char *text, size_t len, size_t i)
{
	return i + 1 < len && (unsigned char)text[i] == 0xc2 && (unsigned char)text[i + 1] < 0xa0;
}

bool vigia__is_plain(const char *text, size_t len, size_t i, bool valid)
{
	unsigned char c = (unsigned char)text[i];
	if (c < 0x80) return c >= 0x20 && c != 0x7f;
	return valid && !is_c1(text, len, i) && !(i > 0 && is_c1(text, len, i - 1));
}

const char *vigia__quote(const char *text, size_t len, char *out, size_t size)
{
	enum { SHOWN = 40 };
	bool valid = vigia__utf8_valid(text, len);
	size_t n = 0;
	out[n++] = '"';
	for (size_t i = 0; i < len && n + 12 < size; i++) {
		unsigned char c = (unsigned char)text[i];
		if (i >= SHOWN && (c & 0xc0) != 0x80) {
			n += (size_t)snprintf(out + n, size - n, "...");
			break;
		}
		if (c == '"' || c == '\\') out[n++] = '\\';
		if (!vigia__is_plain(text, len, i, valid)) n += (size_t)snprintf(out + n, size - n, "\\x%02x", c);
		else out[n++] = (char)c;
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}

size_t vigia__utf8_cut(const char *text, size_t len)
{
	while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80) len--;
	return len;
}
