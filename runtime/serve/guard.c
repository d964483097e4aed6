/*
 * guard.c - may a request be served? guard.h says what is asked.
 */
#include "guard.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "../core/base64.h"
#include "../core/error.h"

/* Digits only, 1 to 5 of them? */
static bool is_port(const char *text)
{
	size_t len = strspn(text, "0123456789");
	return len >= 1 && len <= 5 && text[len] == '\0';
}

bool vigia__guard_host(const char *host, const char *const *names, size_t names_count)
{
	char name[256];
	unsigned char address[16];
	if (host[0] == '[') {
		const char *end = strchr(host, ']');
		if (end == NULL || (size_t)(end - host) >= sizeof name || (end[1] && (end[1] != ':' || !is_port(end + 2))))
			return false;
		memcpy(name, host + 1, (size_t)(end - host) - 1);
		name[end - host - 1] = '\0';
		return inet_pton(AF_INET6, name, address) == 1;
	}
	const char *colon = strchr(host, ':');
	size_t len = colon ? (size_t)(colon - host) : strlen(host);
	if (len >= sizeof name || (colon && !is_port(colon + 1))) return false;
	memcpy(name, host, len);
	name[len] = '\0';
	if (inet_pton(AF_INET, name, address) == 1 || strcasecmp(name, "localhost") == 0) return true;
	for (size_t i = 0; i < names_count; i++)
		if (strcasecmp(name, names[i]) == 0) return true;
	return false;
}

int vigia__guard_origin(const struct vigia__origin *from, const char *const *names, size_t names_count,
                        struct vigia_error *err)
{
	if (from->host == NULL) return vigia__error(err, VIGIA_EPERM, "the request has no Host header");
	if (!vigia__guard_host(from->host, names, names_count)) {
		char shown[64];
		return vigia__error(err, VIGIA_EPERM, "%s is not a name of this server: start it with --host to add one",
		                    vigia__quote(from->host, strlen(from->host), shown, sizeof shown));
	}
	if (from->origin) {
		const char *scheme = from->tls ? "https://" : "http://";
		size_t len = strlen(scheme);
		if (strncasecmp(from->origin, scheme, len) != 0 || strcasecmp(from->origin + len, from->host) != 0)
			return vigia__error(err, VIGIA_EPERM, "the request comes from a page of another site");
	}
	if (from->fetch_site && !from->page && strcasecmp(from->fetch_site, "same-origin") != 0 &&
	    strcasecmp(from->fetch_site, "none") != 0)
		return vigia__error(err, VIGIA_EPERM, "the request comes from a page of another site");
	return VIGIA_OK;
}

/* Are they equal? Takes the time that `len` takes, wherever they differ. */
static bool equal(const char *given, size_t len, const char *token)
{
	size_t token_len = strlen(token);
	volatile unsigned char differ = len != token_len;
	for (size_t i = 0; i < len; i++) differ |= (unsigned char)(given[i] ^ token[i % token_len]);
	return differ == 0;
}

static const char *behind_scheme(const char *header, const char *scheme)
{
	size_t len = strlen(scheme);
	if (strncasecmp(header, scheme, len) != 0 || header[len] != ' ') return NULL;
	return header + len + strspn(header + len, " ");
}

bool vigia__guard_token(const char *authorization, const char *token)
{
	if (authorization == NULL) return false;
	const char *bearer = behind_scheme(authorization, "Bearer");
	if (bearer) return equal(bearer, strlen(bearer), token);
	const char *basic = behind_scheme(authorization, "Basic");
	if (basic == NULL || strlen(basic) > 1024) return false;
	uint8_t text[1024];
	size_t len;
	if (!vigia__base64_decode(basic, strlen(basic), text, &len) || len == 0) return false;
	const char *colon = memchr(text, ':', len);
	return colon && equal(colon + 1, len - (size_t)(colon + 1 - (const char *)text), token);
}

int vigia__guard_token_check(const char *token, struct vigia_error *err)
{
	size_t len = strlen(token);
	if (len < VIGIA_TOKEN_MIN || len > VIGIA_TOKEN_MAX)
		return vigia__error(err, VIGIA_EINVAL, "the token must have %d to %d characters, has %zu", VIGIA_TOKEN_MIN,
		                    VIGIA_TOKEN_MAX, len);
	for (size_t i = 0; i < len; i++)
		if (token[i] <= ' ' || token[i] > '~')
			return vigia__error(err, VIGIA_EINVAL, "the token must be printable ASCII without blanks");
	return VIGIA_OK;
}
