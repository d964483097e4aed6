/*
 * location.c - where a store is, and what of it may be shown.
 *
 * More is hidden than libpq takes for a password: a text that it refuses, or understands in another way than its writer
 * meant, goes into an error too.
 */
#include "location.h"

#include <stddef.h>
#include <string.h>

bool vigia__location_is_postgresql(const char *location)
{
	return strncmp(location, "postgresql://", 13) == 0 || strncmp(location, "postgres://", 11) == 0;
}

static int hex_of(char c)
{
	if (c >= '0' && c <= '9') return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Has the name of a parameter this word in it? Its characters may be written as %XX. */
static bool name_has(const char *name, size_t len, const char *word)
{
	char plain[64];
	size_t count = 0;
	for (size_t i = 0; i < len && count + 1 < sizeof plain; i++) {
		bool coded = name[i] == '%' && i + 2 < len && hex_of(name[i + 1]) >= 0 && hex_of(name[i + 2]) >= 0;
		plain[count++] = coded ? (char)(hex_of(name[i + 1]) << 4 | hex_of(name[i + 2])) : name[i];
		if (coded) i += 2;
	}
	plain[count] = '\0';
	return strstr(plain, word) != NULL;
}

/* Copy len bytes, or a * where they are secret. Returns the place behind. The texts may overlap: it only moves down. */
static char *put(char *out, const char *text, size_t len, bool secret)
{
	if (secret && len > 0) *out++ = '*';
	else memmove(out, text, len);
	return secret ? out : out + len;
}

void vigia__location_show(const char *location, char *shown)
{
	char *out = shown;
	const char *at = location, *end = location + strlen(location);
	if (vigia__location_is_postgresql(location)) {
		const char *host = strstr(location, "://") + 3, *query = strchr(host, '?');
		const char *at_sign = NULL, *colon;
		for (const char *c = host; c < (query ? query : end); c++)
			if (*c == '@') at_sign = c;
		/* A password with a ? in it: the @ is behind that. */
		if (at_sign == NULL && query && memchr(host, ':', (size_t)(query - host))) at_sign = strrchr(host, '@');
		colon = at_sign ? memchr(host, ':', (size_t)(at_sign - host)) : NULL;
		if (colon) {
			out = put(out, at, (size_t)(colon + 1 - at), false);
			out = put(out, colon + 1, (size_t)(at_sign - colon - 1), true);
			at = at_sign;
		}
		/* Each parameter: what separates it from the one before, its name, its value. */
		for (const char *name = at + strcspn(at, "?"); *name; name = at) {
			size_t name_len = 1 + strcspn(name + 1, "=&"), value_len = strcspn(name + name_len, "&");
			size_t value_at = name_len + (value_len > 0);
			bool secret = value_len > 0 && name_has(name + 1, name_len - 1, "password");
			out = put(out, at, (size_t)(name - at) + value_at, false);
			out = put(out, name + value_at, name_len + value_len - value_at, secret);
			at = name + name_len + value_len;
		}
	}
	put(out, at, (size_t)(end - at) + 1, false);
}
