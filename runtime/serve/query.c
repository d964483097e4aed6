/*
 * query.c - the target of a request. query.h says what is allowed.
 */
#include "query.h"

#include <inttypes.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/quantity.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9') return c - '0';
	if (c >= 'a' && c <= 'f') return c - 'a' + 10;
	if (c >= 'A' && c <= 'F') return c - 'A' + 10;
	return -1;
}

/* Decode `in` to *to, which moves behind the NUL that is put there. The result is never longer than the input. */
static int decode(struct vigia_slice in, bool plus, char **to, struct vigia_slice *out, struct vigia_error *err)
{
	char *begin = *to, *end = begin;
	for (size_t i = 0; i < in.len; i++) {
		char c = in.data[i];
		if (c == '%') {
			int high = i + 2 < in.len ? hex(in.data[i + 1]) : -1;
			int low = high >= 0 ? hex(in.data[i + 2]) : -1;
			if (low < 0) return vigia__error(err, VIGIA_EINVAL, "the address has a bad escape: use %%XX");
			c = (char)(high << 4 | low);
			i += 2;
		} else if (c == '+' && plus) c = ' ';
		if (c == '\0') return vigia__error(err, VIGIA_EINVAL, "the address has a NUL byte");
		*end++ = c;
	}
	*out = (struct vigia_slice){begin, (size_t)(end - begin)};
	if (!vigia__utf8_valid(begin, out->len)) return vigia__error(err, VIGIA_EINVAL, "the address is not valid UTF-8");
	*end = '\0';
	*to = end + 1;
	return VIGIA_OK;
}

/* Up to the next `stop`, which is passed. */
static struct vigia_slice cut(struct vigia_slice *rest, char stop)
{
	const char *at = rest->len ? memchr(rest->data, stop, rest->len) : NULL;
	struct vigia_slice part = {rest->data, at ? (size_t)(at - rest->data) : rest->len};
	size_t passed = part.len + (at != NULL);
	rest->data += passed;
	rest->len -= passed;
	return part;
}

static int take_item(struct vigia__query *query, struct vigia_slice part, char **to, struct vigia_error *err)
{
	if (query->count == VIGIA_QUERY_MAX)
		return vigia__error(err, VIGIA_EINVAL, "more than %d parameters", VIGIA_QUERY_MAX);
	struct vigia__query_item *item = &query->items[query->count];
	struct vigia_slice name = cut(&part, '=');
	int rc = decode(name, true, to, &item->name, err);
	if (rc == VIGIA_OK) rc = decode(part, true, to, &item->value, err);
	if (rc == VIGIA_OK) {
		memcpy(*to, part.data, part.len);
		item->raw = (struct vigia_slice){*to, part.len};
		*to += part.len;
		query->count++;
	}
	return rc;
}

int vigia__query_init(struct vigia__query *query, const char *target, struct vigia_error *err)
{
	*query = (struct vigia__query){0};
	struct vigia_slice rest = {target, strlen(target)};
	/* each part once decoded and once raw, with two NULs */
	query->text = vigia__alloc(2 * rest.len + 3 * VIGIA_QUERY_MAX + 2);
	if (query->text == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for the address of a request");
	char *to = query->text;
	struct vigia_slice path = cut(&rest, '?');
	int rc = decode(path, false, &to, &query->path, err);
	if (rc == VIGIA_OK && (query->path.len == 0 || query->path.data[0] != '/'))
		rc = vigia__error(err, VIGIA_EINVAL, "the address does not begin with a slash");
	while (rc == VIGIA_OK && rest.len) {
		struct vigia_slice part = cut(&rest, '&');
		if (part.len) rc = take_item(query, part, &to, err);
	}
	return rc;
}

void vigia__query_deinit(struct vigia__query *query)
{
	vigia__free(query->text);
	query->text = NULL;
	query->count = 0;
}

static bool is_one_of(struct vigia_slice name, const char *names)
{
	for (struct vigia_slice rest = {names, strlen(names)}; rest.len;) {
		struct vigia_slice one = cut(&rest, ' ');
		if (one.len == name.len && memcmp(one.data, name.data, one.len) == 0) return true;
	}
	return false;
}

int vigia__query_allow(const struct vigia__query *query, const char *names, struct vigia_error *err)
{
	for (unsigned i = 0; i < query->count; i++) {
		struct vigia_slice name = query->items[i].name;
		char shown[64];
		vigia__quote(name.data, name.len, shown, sizeof shown);
		if (!is_one_of(name, names))
			return vigia__error(err, VIGIA_EINVAL, "unknown parameter %s, known: %s", shown, names[0] ? names : "none");
		for (unsigned k = 0; k < i; k++)
			if (query->items[k].name.len == name.len && memcmp(query->items[k].name.data, name.data, name.len) == 0)
				return vigia__error(err, VIGIA_EINVAL, "parameter %s is given twice", shown);
	}
	return VIGIA_OK;
}

static const struct vigia__query_item *find(const struct vigia__query *query, const char *name)
{
	for (unsigned i = 0; i < query->count; i++)
		if (strcmp(query->items[i].name.data, name) == 0) return &query->items[i];
	return NULL;
}

const struct vigia_slice *vigia__query_get(const struct vigia__query *query, const char *name)
{
	const struct vigia__query_item *item = find(query, name);
	return item ? &item->value : NULL;
}

int vigia__query_number(const struct vigia__query *query, const char *name, uint64_t min, uint64_t max, uint64_t *out,
                        struct vigia_error *err)
{
	const struct vigia_slice *text = vigia__query_get(query, name);
	if (text == NULL) return VIGIA_OK;
	uint64_t number = 0;
	bool ok = text->len > 0;
	for (size_t i = 0; i < text->len && ok; i++) {
		char c = text->data[i];
		uint64_t digit = (uint64_t)(c - '0');
		ok = c >= '0' && c <= '9' && number <= (max - (digit < max ? digit : max)) / 10;
		number = number * 10 + digit;
	}
	if (!ok || number < min || number > max)
		return vigia__error(err, VIGIA_EINVAL, "%s: must be a whole number from %" PRIu64 " to %" PRIu64, name, min,
		                    max);
	*out = number;
	return VIGIA_OK;
}

int vigia__query_seconds(const struct vigia__query *query, const char *name, uint64_t max, int64_t *out_ns,
                         struct vigia_error *err)
{
	const struct vigia_slice *text = vigia__query_get(query, name);
	if (text == NULL) return VIGIA_OK;
	int64_t ns;
	enum vigia__quantity_result result = vigia__quantity_read(VIGIA_QUANTITY_DURATION, text->data, text->len, &ns);
	if (result != VIGIA_QUANTITY_OK)
		return vigia__error(err, VIGIA_EINVAL, "%s: %s", name,
		                    vigia__quantity_problem(VIGIA_QUANTITY_DURATION, result));
	if (ns > (int64_t)max * 1000000000)
		return vigia__error(err, VIGIA_EINVAL, "%s: must be at most %" PRIu64 " seconds", name, max);
	*out_ns = ns;
	return VIGIA_OK;
}

int vigia__query_names_init(struct vigia__query_names *names, const struct vigia__query *query, const char *name,
                            struct vigia_error *err)
{
	*names = (struct vigia__query_names){0};
	const struct vigia__query_item *item = find(query, name);
	if (item == NULL || item->raw.len == 0) return VIGIA_OK;
	char *to = names->text = vigia__alloc(item->raw.len + VIGIA_QUERY_NAMES_MAX + 1);
	if (to == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for the names of a filter");
	for (struct vigia_slice rest = item->raw; rest.len;) {
		if (names->count == VIGIA_QUERY_NAMES_MAX)
			return vigia__error(err, VIGIA_EINVAL, "%s: has more than %d names", name, VIGIA_QUERY_NAMES_MAX);
		struct vigia_slice *one = &names->names[names->count];
		int rc = decode(cut(&rest, ','), true, &to, one, err);
		if (rc != VIGIA_OK) return rc;
		if (one->len == 0 || one->len > 255)
			return vigia__error(err, VIGIA_EINVAL, "%s: a name must have 1 to 255 bytes", name);
		names->count++;
	}
	return VIGIA_OK;
}

void vigia__query_names_deinit(struct vigia__query_names *names)
{
	vigia__free(names->text);
	names->text = NULL;
	names->count = 0;
}
