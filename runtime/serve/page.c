/*
 * page.c - GET /: the page (page.html, which the build puts into page_html.inc), with a policy that allows its own
 * script and style, and nothing from elsewhere.
 */
#include <string.h>
#include <sys/random.h>

#include "../core/error.h"
#include "serve_private.h"
#include "text.h"

static const char page[] = {
#include "page_html.inc"
};

enum { NONCE_BYTES = 16 };

/* Append the page, with these words in place of its marks. */
static int put_page(struct vigia__buf *out, const char *nonce, const char *changes)
{
	const char *at = page, *end = page + sizeof page;
	int full = vigia__buf_reserve(out, sizeof page);
	while (at < end && full == 0) {
		const char *mark = memchr(at, '@', (size_t)(end - at));
		const char *stop = mark ? mark : end;
		full = vigia__buf_add(out, at, (size_t)(stop - at));
		at = stop;
		if (mark == NULL || full) break;
		bool is_nonce = (size_t)(end - mark) > 7 && memcmp(mark, "@NONCE@", 7) == 0;
		bool is_changes = (size_t)(end - mark) > 9 && memcmp(mark, "@CHANGES@", 9) == 0;
		full = is_nonce     ? vigia__buf_add_text(out, nonce)
		       : is_changes ? vigia__buf_add_text(out, changes)
		                    : vigia__buf_add(out, mark, 1);
		at += is_nonce ? 7 : is_changes ? 9 : 1;
	}
	return full;
}

enum MHD_Result vigia__get_page(struct vigia__request *request)
{
	unsigned char random[NONCE_BYTES];
	char nonce[2 * NONCE_BYTES + 1];
	if (getrandom(random, sizeof random, 0) != sizeof random) return MHD_NO;
	for (unsigned i = 0; i < NONCE_BYTES; i++) {
		nonce[2 * i] = "0123456789abcdef"[random[i] >> 4];
		nonce[2 * i + 1] = "0123456789abcdef"[random[i] & 15];
	}
	nonce[2 * NONCE_BYTES] = '\0';
	if (put_page(&request->out, nonce, request->server->options.token ? "yes" : "no") != 0) return MHD_NO;
	vigia__reply_header(
		request, "Content-Security-Policy",
		"default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; img-src data:; connect-src 'self'; "
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		nonce, nonce);
	return vigia__reply(request, MHD_HTTP_OK, "text/html; charset=utf-8", &request->out);
}
