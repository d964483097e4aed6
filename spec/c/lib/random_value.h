/*
 * random_value.h - a random msgpack value of the kind Vigia carries, with what is hard to carry more often than in real
 * life.
 */
#ifndef VIGIA_SPEC_RANDOM_VALUE_H
#define VIGIA_SPEC_RANDOM_VALUE_H

#include <math.h>

#include "core/event.h"
#include "test.h"

static inline void random_string(struct vigia__buf *buf, struct rng *rng)
{
	static const char *const pieces[] = {
		"a",    "Z", "path/to", " ",    "\"",   "\\",   "\n",     "\x01", "\x1f",   "\x7f", "/",
		"é",    "€", "😀",       "日本", "\xff", "\xc3", "$bytes", "$map", "$float", "nan",  "0123456789abcdef",
		"AAA=", "{", "["};
	char text[512];
	size_t len = 0;
	for (uint64_t n = rng_below(rng, 6); n > 0; n--) {
		if (rng_below(rng, 12) == 0) {
			text[len++] = '\0';
			continue;
		}
		const char *piece = pieces[rng_below(rng, COUNT_OF(pieces))];
		memcpy(text + len, piece, strlen(piece));
		len += strlen(piece);
	}
	assert_int_equal(vigia__put_string(buf, text, len), 0);
}

static inline int64_t random_int(struct rng *rng)
{
	uint64_t bits = rng_next(rng);
	/* every size equally often */
	int64_t value = (int64_t)(bits >> rng_below(rng, 64));
	return rng_below(rng, 2) ? value : (int64_t)(0 - (uint64_t)value);
}

static inline double random_finite(struct rng *rng)
{
	for (;;) {
		uint64_t bits = rng_next(rng);
		double value;
		memcpy(&value, &bits, sizeof value);
		if (rng_below(rng, 2)) value = (double)random_int(rng) / (double)(1 << rng_below(rng, 20));
		if (isfinite(value)) return value;
	}
}

static inline void random_scalar(struct vigia__buf *buf, struct rng *rng)
{
	static const double special[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 1.0, 1e100, 5e-324, 1.7976931348623157e308,
	                                 0.1};
	switch (rng_below(rng, 6)) {
	case 0:
		assert_int_equal(vigia__put_nil(buf), 0);
		break;
	case 1:
		assert_int_equal(vigia__put_bool(buf, rng_below(rng, 2)), 0);
		break;
	case 2:
		assert_int_equal(vigia__put_int(buf, random_int(rng)), 0);
		break;
	case 3:
		assert_int_equal(vigia__put_float(buf, special[rng_below(rng, COUNT_OF(special))]), 0);
		break;
	case 4:
		assert_int_equal(vigia__put_float(buf, random_finite(rng)), 0);
		break;
	default:
		random_string(buf, rng);
	}
}

static inline void random_key(struct vigia__buf *buf, struct rng *rng, bool only_strings)
{
	switch (only_strings ? 9 : rng_below(rng, 10)) {
	case 0:
		assert_int_equal(vigia__put_bool(buf, rng_below(rng, 2)), 0);
		break;
	case 1:
		assert_int_equal(vigia__put_int(buf, random_int(rng)), 0);
		break;
	case 2: {
		double value; /* a whole one might be a key that is there as an integer */
		do value = random_finite(rng);
		while (value == floor(value));
		assert_int_equal(vigia__put_float(buf, value), 0);
		break;
	}
	default:
		random_string(buf, rng);
	}
}

/* `depth` more levels at most. */
static inline void random_value(struct vigia__buf *buf, struct rng *rng, int depth)
{
	uint64_t kind = rng_below(rng, 4), count = rng_below(rng, rng_below(rng, 20) == 0 ? 40 : 4);
	if (depth == 0 || kind == 0) {
		random_scalar(buf, rng);
	} else if (kind == 1) {
		assert_int_equal(vigia__put_array(buf, count), 0);
		for (uint64_t i = 0; i < count; i++) random_value(buf, rng, depth - 1);
	} else {
		bool only_strings = rng_below(rng, 2);
		size_t where, starts[40], lens[40], made = 0;
		assert_int_equal(vigia__put_map_begin(buf, &where), 0);
		for (uint64_t i = 0; i < count; i++) {
			size_t start = buf->len;
			random_key(buf, rng, only_strings);
			starts[made] = start;
			lens[made] = buf->len - start;
			bool twice = false;
			for (size_t j = 0; j < made; j++)
				twice |= lens[j] == lens[made] && memcmp(buf->data + starts[j], buf->data + start, lens[made]) == 0;
			if (twice) {
				buf->len = start;
				continue;
			}
			made++;
			random_value(buf, rng, depth - 1);
		}
		assert_int_equal(vigia__put_map_end(buf, where, made), 0);
	}
}

#endif
