/*
 * guard.h - may a request be served? Decides on the headers that tell where it comes from: Host, Origin,
 * Sec-Fetch-Site and Authorization. Pure: fuzzed and tested without a connection.
 *
 * - Host must be an address, localhost, or a name that the server was told. A page of another site that points its own
 *   name to this address (DNS rebinding) sends that name.
 * - Origin, if there is one, must be this server. A browser that says the request comes from another site is refused.
 * - The token comes as `Authorization: Bearer TOKEN`, or as the password of Basic, for browsers. Its comparison takes
 *   as long for a wrong first byte as for a wrong last one.
 */
#ifndef VIGIA_SERVE_GUARD_H
#define VIGIA_SERVE_GUARD_H

#include "vigia.h"

enum { VIGIA_TOKEN_MIN = 16, VIGIA_TOKEN_MAX = 256 };

/* What came. NULL: no such header. */
struct vigia__origin {
	const char *host, *origin, *fetch_site, *authorization;
	bool tls;
	bool page; /* the page itself, to which others may link */
};

/* Is it "localhost", an IP address, or one of these names, with a port or without? */
bool vigia__guard_host(const char *host, const char *const *names, size_t names_count);
/* VIGIA_OK, or EPERM: another site sent it. */
int vigia__guard_origin(const struct vigia__origin *from, const char *const *names, size_t names_count,
                        struct vigia_error *err);
bool vigia__guard_token(const char *authorization, const char *token);
/* 16 to 256 printable characters of ASCII, without blanks? EINVAL. */
int vigia__guard_token_check(const char *token, struct vigia_error *err);

#endif
