/*
 * fuzz_query.c - any bytes as the target of a request, and as the headers that tell who sent it: what is taken is text
 * that ends where it says, names are what stands between commas, and the token is taken only if it is the token.
 */
#include <strings.h>

#include "core/utf8.h"
#include "lib/fuzz.h"
#include "serve/guard.h"
#include "serve/query.h"

static void is_text(struct vigia_slice text)
{
	fuzz_assert(text.data[text.len] == '\0' && strlen(text.data) == text.len);
	fuzz_assert(vigia__utf8_valid(text.data, text.len));
}

static void names(const struct vigia__query *query, const char *name)
{
	struct vigia__query_names list;
	struct vigia_error err = {0};
	int rc = vigia__query_names_init(&list, query, name, &err);
	fuzz_assert(rc == VIGIA_OK || (rc == VIGIA_EINVAL && err.message[0]));
	for (size_t i = 0; i < list.count; i++) {
		is_text(list.names[i]);
		fuzz_assert(list.names[i].len >= 1 && list.names[i].len <= 255);
	}
	vigia__query_names_deinit(&list);
}

static void target(const char *text)
{
	struct vigia__query query;
	struct vigia_error err = {0};
	int rc = vigia__query_init(&query, text, &err);
	fuzz_assert(rc == VIGIA_OK || (rc == VIGIA_EINVAL && err.message[0]));
	if (rc == VIGIA_OK) {
		is_text(query.path);
		fuzz_assert(query.path.data[0] == '/' && query.count <= VIGIA_QUERY_MAX);
		for (unsigned i = 0; i < query.count; i++) {
			is_text(query.items[i].name);
			is_text(query.items[i].value);
		}
		uint64_t number = 5;
		int64_t ns = -1;
		rc = vigia__query_number(&query, "limit", 3, 1000, &number, &err);
		fuzz_assert(rc == VIGIA_OK ? number >= 3 && number <= 1000 : number == 5);
		number = 7;
		rc = vigia__query_number(&query, "from", 0, UINT64_MAX, &number, &err);
		fuzz_assert(rc == VIGIA_OK || number == 7);
		rc = vigia__query_seconds(&query, "wait", 300, &ns, &err);
		fuzz_assert(rc == VIGIA_OK ? ns >= -1 && ns <= INT64_C(300000000000) : ns == -1);
		names(&query, "types");
		names(&query, "operations");
		rc = vigia__query_allow(&query, "from types operations limit wait", &err);
		fuzz_assert(rc == VIGIA_OK || rc == VIGIA_EINVAL);
		fuzz_assert(rc == VIGIA_OK || err.message[0]);
	}
	vigia__query_deinit(&query);
}

/* The same text as each header in turn. */
static void headers(const char *text)
{
	static const char token[] = "0123456789abcdef", *const hosts[] = {"vigia.example"};
	struct vigia_error err = {0};
	bool host = vigia__guard_host(text, hosts, 1);
	fuzz_assert(!host || strspn(text, "0123456789abcdefABCDEF.:[]") == strlen(text) ||
	            strncasecmp(text, "localhost", 9) == 0 || strncasecmp(text, hosts[0], 13) == 0);
	struct vigia__origin from = {.host = "localhost:1", .origin = text};
	bool same = strcasecmp(text, "http://localhost:1") == 0;
	fuzz_assert((vigia__guard_origin(&from, hosts, 1, &err) == VIGIA_OK) == same);
	fuzz_assert(!vigia__guard_token(text, token) || strstr(text, token) || strncasecmp(text, "Basic ", 6) == 0);
	vigia__guard_token_check(text, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	fuzz_assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	target(text);
	headers(text);
	free(text);
	return 0;
}

FUZZ_MAIN(50000)
