/*
 * iterator.c - where a read starts.
 */
#include "iterator.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

struct vigia_iterator vigia__iterator_after(uint64_t seq_num)
{
	return (struct vigia_iterator){.kind = VIGIA_AFTER, .seq_num = seq_num};
}

bool vigia__iterator_equal(struct vigia_iterator a, struct vigia_iterator b)
{
	return a.kind == b.kind && a.seq_num == b.seq_num;
}

struct vigia_iterator vigia__iterator_resolve(struct vigia_iterator it, uint64_t oldest, uint64_t latest)
{
	switch (it.kind) {
	case VIGIA_TRIM_HORIZON:
		return vigia__iterator_after(oldest ? oldest - 1 : latest);
	case VIGIA_LATEST:
		return vigia__iterator_after(latest);
	default:
		return it;
	}
}

uint64_t vigia__iterator_first(struct vigia_iterator it)
{
	switch (it.kind) {
	case VIGIA_AT:
		return it.seq_num ? it.seq_num : 1;
	case VIGIA_AFTER:
		return it.seq_num == UINT64_MAX ? UINT64_MAX : it.seq_num + 1;
	case VIGIA_LATEST:
		return UINT64_MAX;
	default:
		return 1;
	}
}

const char *vigia__iterator_format(struct vigia_iterator it, char *out, size_t size)
{
	switch (it.kind) {
	case VIGIA_TRIM_HORIZON:
		snprintf(out, size, "trim_horizon");
		break;
	case VIGIA_LATEST:
		snprintf(out, size, "latest");
		break;
	default:
		snprintf(out, size, "%s_sequence_number(%" PRIu64 ")", it.kind == VIGIA_AT ? "at" : "after", it.seq_num);
	}
	return out;
}

/* Decimal digits only, at most INT64_MAX, so that Lua can represent the number as an integer. */
static bool parse_number(const char *text, uint64_t *out)
{
	uint64_t n = 0;
	if (!*text) return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9') return false;
		unsigned digit = (unsigned)(*text - '0');
		if (n > ((uint64_t)INT64_MAX - digit) / 10) return false;
		n = n * 10 + digit;
	}
	*out = n;
	return true;
}

int vigia__iterator_parse(const char *text, struct vigia_iterator *out, struct vigia_error *err)
{
	struct vigia_iterator it = {0};
	bool ok = true;
	if (strcmp(text, "trim_horizon") == 0) it.kind = VIGIA_TRIM_HORIZON;
	else if (strcmp(text, "latest") == 0) it.kind = VIGIA_LATEST;
	else if (strncmp(text, "at:", 3) == 0) {
		it.kind = VIGIA_AT;
		ok = parse_number(text + 3, &it.seq_num);
	} else if (strncmp(text, "after:", 6) == 0) {
		it.kind = VIGIA_AFTER;
		ok = parse_number(text + 6, &it.seq_num);
	} else ok = false;
	if (!ok)
		return vigia__error(
			err, VIGIA_EINVAL,
			"\"%.64s\" is not a starting position: use trim_horizon, latest, at:N or after:N, N from 0 to %" PRId64,
			text, INT64_MAX);
	*out = it;
	return VIGIA_OK;
}
