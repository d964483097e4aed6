/*
 * quantity.c - reads sizes and durations.
 */
#include "quantity.h"

#include <string.h>

enum { FRACTION_DIGITS_MAX = 15 }; /* so that the product below fits */

__extension__ typedef unsigned __int128 wide;

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit sizes[] = {
	{"", 1},          {"B", 1},           {"K", 1LL << 10}, {"KiB", 1LL << 10}, {"M", 1LL << 20}, {"MiB", 1LL << 20},
	{"G", 1LL << 30}, {"GiB", 1LL << 30}, {"T", 1LL << 40}, {"TiB", 1LL << 40}, {NULL, 0},
};

#define SECOND 1000000000LL

static const struct unit durations[] = {
	{"", SECOND},
	{"s", SECOND},
	{"ns", 1},
	{"us", 1000},
	{"ms", 1000000},
	{"m", 60 * SECOND},
	{"min", 60 * SECOND},
	{"h", 3600 * SECOND},
	{"d", 86400 * SECOND},
	{"w", 604800 * SECOND},
	{NULL, 0},
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The factor of a unit, 0 if there is none of this name. */
static int64_t factor_of(const struct unit *units, const char *name, size_t len)
{
	for (; units->name; units++)
		if (strlen(units->name) == len && memcmp(units->name, name, len) == 0) return units->factor;
	return 0;
}

enum vigia__quantity_result vigia__quantity_read(enum vigia__quantity_kind kind, const char *text, size_t len,
                                                 int64_t *out)
{
	const char *at = text, *end = text + len;
	wide whole = 0, fraction = 0, scale = 1;
	bool any = false;
	for (; at < end && is_digit(*at); at++, any = true)
		if (whole <= INT64_MAX) whole = whole * 10 + (unsigned)(*at - '0');
	if (at < end && *at == '.') {
		at++;
		int digits = 0;
		for (; at < end && is_digit(*at); at++, any = true) {
			if (*at != '0' && digits >= FRACTION_DIGITS_MAX) return VIGIA_QUANTITY_MALFORMED;
			if (digits++ >= FRACTION_DIGITS_MAX) continue;
			fraction = fraction * 10 + (unsigned)(*at - '0');
			scale *= 10;
		}
		if (digits == 0) return VIGIA_QUANTITY_MALFORMED;
	}
	if (!any) return VIGIA_QUANTITY_MALFORMED;
	bool space = at < end && *at == ' ';
	at += space;
	if (space && at == end) return VIGIA_QUANTITY_MALFORMED;
	int64_t factor = factor_of(kind == VIGIA_QUANTITY_SIZE ? sizes : durations, at, (size_t)(end - at));
	if (factor == 0) return VIGIA_QUANTITY_MALFORMED;
	fraction *= (unsigned long long)factor;
	if (kind == VIGIA_QUANTITY_SIZE && fraction % scale != 0) return VIGIA_QUANTITY_BROKEN;
	wide value = whole * (unsigned long long)factor + (fraction + scale / 2) / scale;
	if (value > INT64_MAX) return VIGIA_QUANTITY_OVERFLOW;
	*out = (int64_t)value;
	return VIGIA_QUANTITY_OK;
}

bool vigia__quantity_has_unit(const char *text, size_t len)
{
	return len > 0 && !is_digit(text[len - 1]);
}

const char *vigia__quantity_problem(enum vigia__quantity_kind kind, enum vigia__quantity_result result)
{
	if (result == VIGIA_QUANTITY_OVERFLOW) return "is too large";
	if (result == VIGIA_QUANTITY_BROKEN) return "is not a whole number of bytes";
	return kind == VIGIA_QUANTITY_SIZE ? "must be a number of bytes, or end in K, M, G or T, such as 64M or 64MiB"
	                                   : "must be a number of seconds, or end in ms, s, m, h or d, such as 250ms or 1h";
}
