/*
 * test_value.c - values of an object: written, read token by token, checked; UTF-8.
 */
#include "core/event.h"
#include "core/utf8.h"
#include "lib/random_value.h"

/* ---- tokens ---- */

static struct vigia__token only_token(const struct vigia__buf *buf)
{
	struct vigia__reader reader = {buf->data, buf->data + buf->len};
	struct vigia__token token;
	assert_int_equal(vigia__reader_next(&reader, &token, NULL), 0);
	assert_ptr_equal(reader.at, reader.end);
	return token;
}

static void test_integers(void **state)
{
	static const struct {
		int64_t value;
		size_t bytes;
	} rows[] = {
		{0, 1},
		{127, 1},
		{128, 2},
		{255, 2},
		{256, 3},
		{65535, 3},
		{65536, 5},
		{4294967295, 5},
		{4294967296, 9},
		{INT64_MAX, 9},
		{-1, 1},
		{-32, 1},
		{-33, 2},
		{-128, 2},
		{-129, 3},
		{-32768, 3},
		{-32769, 5},
		{INT32_MIN, 5},
		{(int64_t)INT32_MIN - 1, 9},
		{INT64_MIN, 9},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia__buf buf = {0};
		assert_int_equal(vigia__put_int(&buf, rows[i].value), 0);
		assert_int_equal(buf.len, rows[i].bytes);
		struct vigia__token token = only_token(&buf);
		assert_int_equal(token.kind, VIGIA_TOKEN_INT);
		assert_true(token.integer == rows[i].value);
		vigia__buf_deinit(&buf);
	}
}

static void test_floats_keep_their_bits(void **state)
{
	static const uint64_t patterns[] = {0,
	                                    0x8000000000000000,
	                                    0x3ff0000000000000,
	                                    0x7ff0000000000000,
	                                    0xfff0000000000000,
	                                    0x7ff8000000000000,
	                                    0xfff8000000000123,
	                                    1,
	                                    0x7fefffffffffffff};
	for (size_t i = 0; i < COUNT_OF(patterns); i++) {
		struct vigia__buf buf = {0};
		double value;
		memcpy(&value, &patterns[i], 8);
		assert_int_equal(vigia__put_float(&buf, value), 0);
		struct vigia__token token = only_token(&buf);
		assert_int_equal(token.kind, VIGIA_TOKEN_FLOAT);
		assert_memory_equal(&token.number, &patterns[i], 8);
		vigia__buf_deinit(&buf);
	}
}

static void test_strings(void **state)
{
	static const size_t lens[] = {0, 1, 31, 32, 255, 256, 65535, 65536, 70000};
	char *text = malloc(70000);
	for (int binary = 0; binary < 2; binary++) {
		memset(text, 'x', 70000);
		if (binary) text[0] = (char)0xff;
		for (size_t i = 0; i < COUNT_OF(lens); i++) {
			struct vigia__buf buf = {0};
			assert_int_equal(vigia__put_string(&buf, text, lens[i]), 0);
			struct vigia__token token = only_token(&buf);
			assert_int_equal(token.kind, binary && lens[i] ? VIGIA_TOKEN_BIN : VIGIA_TOKEN_STRING);
			assert_int_equal(token.string.len, lens[i]);
			assert_memory_equal(token.string.data, text, lens[i]);
			vigia__buf_deinit(&buf);
		}
	}
	free(text);
	struct vigia__buf buf = {0};
	assert_int_equal(vigia__put_string(&buf, NULL, 0), 0);
	assert_slice(buf_slice(&buf), "\xa0");
	/* more than msgpack can count */
	assert_int_equal(vigia__put_string(&buf, "x", (size_t)UINT32_MAX + 1), -1);
	assert_int_equal(vigia__put_array(&buf, (size_t)UINT32_MAX + 1), -1);
	assert_int_equal(vigia__put_map(&buf, (size_t)UINT32_MAX + 1), -1);
	vigia__buf_deinit(&buf);
}

static void test_a_map_counted_afterwards(void **state)
{
	static const size_t counts[] = {0, 1, 15, 16, 65535, 65536};
	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		struct vigia__buf late = {0}, early = {0};
		size_t where;
		assert_int_equal(vigia__buf_add(&late, "ab", 2), 0);
		assert_int_equal(vigia__buf_add(&early, "ab", 2), 0);
		assert_int_equal(vigia__put_map_begin(&late, &where), 0);
		assert_int_equal(vigia__put_map(&early, counts[i]), 0);
		for (size_t n = 0; n < counts[i]; n++) {
			assert_int_equal(vigia__put_int(&late, (int64_t)n), 0);
			assert_int_equal(vigia__put_nil(&late), 0);
			assert_int_equal(vigia__put_int(&early, (int64_t)n), 0);
			assert_int_equal(vigia__put_nil(&early), 0);
		}
		assert_int_equal(vigia__put_map_end(&late, where, counts[i]), 0);
		assert_int_equal(late.len, early.len);
		assert_memory_equal(late.data, early.data, early.len);
		vigia__buf_deinit(&late);
		vigia__buf_deinit(&early);
	}
}

static void test_float32_and_other_peoples_encodings(void **state)
{
	static const struct {
		struct vigia_slice bytes;
		double number;
		int64_t integer;
		enum vigia__token_kind kind;
	} rows[] = {
		{{"\xca\x3f\xc0\x00\x00", 5}, 1.5, 0, VIGIA_TOKEN_FLOAT},
		{{"\xcf\x00\x00\x00\x00\x00\x00\x00\x07", 9}, 0, 7, VIGIA_TOKEN_INT},
		{{"\xd3\x00\x00\x00\x00\x00\x00\x00\x07", 9}, 0, 7, VIGIA_TOKEN_INT},
		{{"\xd0\xff", 2}, 0, -1, VIGIA_TOKEN_INT},
		{{"\xcc\x01", 2}, 0, 1, VIGIA_TOKEN_INT},
		{{"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", 9}, 0, INT64_MAX, VIGIA_TOKEN_INT},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const uint8_t *bytes = (const uint8_t *)rows[i].bytes.data;
		struct vigia__reader reader = {bytes, bytes + rows[i].bytes.len};
		struct vigia__token token;
		assert_int_equal(vigia__reader_next(&reader, &token, NULL), 0);
		assert_int_equal(token.kind, rows[i].kind);
		assert_true(token.kind == VIGIA_TOKEN_FLOAT ? token.number == rows[i].number
		                                            : token.integer == rows[i].integer);
	}
}

static int next_of_copy(const uint8_t *bytes, size_t len, struct vigia_error *err)
{
	uint8_t *copy = malloc(len ? len : 1);
	memcpy(copy, bytes, len);
	struct vigia__reader reader = {copy, copy + len};
	struct vigia__token token;
	int rc = vigia__reader_next(&reader, &token, err);
	assert_true(reader.at <= reader.end);
	assert_true(rc == 0 ? reader.at > copy : reader.at == copy);
	reader = (struct vigia__reader){copy, copy + len};
	vigia__reader_skip(&reader, NULL);
	free(copy);
	return rc;
}

static void test_reader_refuses(void **state)
{
	static const struct {
		struct vigia_slice bytes;
		const char *what;
	} rows[] = {
		{{"", 0}, "cut off"},
		{{"\xdd\x0f\xff\xff\xff", 5}, "an array of 268435455 does not fit into the 0 bytes left"},
		{{"\xdf\xff\xff\xff\xff", 5}, "a map of 4294967295 does not fit into the 0 bytes left"},
		{{"\x82\xc0\xc0\xc0", 4}, "a map of 2"},
		{{"\xdc\x00\x02\xc0", 4}, "an array of 2"},
		{{"\xa2x", 2}, "cut off"},
		{{"\xdb\xff\xff\xff\xffx", 6}, "cut off"},
		{{"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9},
	     "the integer 18446744073709551615 does not fit into a signed 64-bit integer"},
		{{"\xcf\x80\x00\x00\x00\x00\x00\x00\x00", 9}, "the integer 9223372036854775808"},
		{{"\xc1", 1}, "0xc1"},
		{{"\xd4\x05\x00", 3}, "extension of type 5"},
		{{"\xd6\xff\x00\x00\x00\x00", 6}, "extension of type -1"},
		{{"\xc7\x01\x07\x00", 4}, "extension of type 7"},
		{{"\xc8\x00\x01\x08\x00", 5}, "extension of type 8"},
		{{"\xc9\x00\x00\x00\x01\x09\x00", 7}, "extension of type 9"},
		{{"\xc7\x01", 2}, "cut off"},
		{{"\xd8", 1}, "cut off"},
	};
	struct vigia_error err;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		assert_error(next_of_copy((const uint8_t *)rows[i].bytes.data, rows[i].bytes.len, &err), VIGIA_EDESERIAL, &err,
		             rows[i].what);
}

static void test_reader_takes_any_bytes(void **state)
{
	struct rng rng = rng_seeded();
	for (int first = 0; first < 256; first++) {
		for (size_t len = 1; len < 24; len++) {
			for (int i = 0; i < 8; i++) {
				uint8_t bytes[24] = {(uint8_t)first};
				/* small and big counts, zeros and noise */
				for (size_t k = 1; k < sizeof bytes; k++)
					bytes[k] = i == 0 ? 0 : i == 1 ? 0xff : (uint8_t)(rng_next(&rng) >> rng_below(&rng, 8) & 0xff);
				next_of_copy(bytes, len, NULL);
			}
		}
	}
}

static void test_skip(void **state)
{
	struct rng rng = rng_seeded();
	for (int i = 0; i < 500; i++) {
		struct vigia__buf buf = {0};
		random_value(&buf, &rng, 6);
		size_t len = buf.len;
		assert_int_equal(vigia__put_nil(&buf), 0);
		struct vigia__reader reader = {buf.data, buf.data + buf.len};
		assert_int_equal(vigia__reader_skip(&reader, NULL), 0);
		assert_ptr_equal(reader.at, buf.data + len);
		assert_int_equal(vigia__value_check((struct vigia_slice){(const char *)buf.data, len}, VIGIA_ESERIAL, NULL), 0);
		vigia__buf_deinit(&buf);
	}
	/* never recurses: a million brackets */
	size_t deep = 1000000;
	uint8_t *brackets = malloc(deep);
	memset(brackets, 0x91, deep);
	struct vigia__reader reader = {brackets, brackets + deep};
	assert_int_equal(vigia__reader_skip(&reader, NULL), VIGIA_EDESERIAL);
	assert_int_equal(vigia__value_check((struct vigia_slice){(const char *)brackets, deep}, VIGIA_ESERIAL, NULL),
	                 VIGIA_ESERIAL);
	free(brackets);
}

/* The check passes most values without the reader: with each first byte and each length it says what the reader says,
 * of an element of an array and of a key. The bytes are at the end of a block of their own, for AddressSanitizer. */
static void test_check_and_reader_agree(void **state)
{
	for (int first = 0; first < 256; first++) {
		for (size_t len = 1; len < 40; len++) {
			uint8_t *bytes = malloc(len + 1);
			struct vigia_slice value = {(const char *)bytes, len + 1};
			memset(bytes, 1, len + 1);
			bytes[1] = (uint8_t)first;
			for (uint8_t elements = 1; elements <= 2; elements++) {
				struct vigia__reader reader = {bytes, bytes + len + 1};
				struct vigia_error by_reader = {0}, by_check = {0};
				bytes[0] = 0x90 | elements;
				bool whole = vigia__reader_skip(&reader, &by_reader) == 0;
				bool good = vigia__value_check(value, VIGIA_ESERIAL, &by_check) == 0;
				assert_int_equal(good, whole && reader.at == reader.end);
				bool nested = (first >= 0x80 && first < 0xa0) || first >= 0xdc; /* a key may be refused first */
				if (!whole && !nested) assert_non_null(strstr(by_check.message, by_reader.message));
			}
			struct vigia__token key;
			struct vigia__reader reader = {bytes + 1, bytes + len + 1};
			bytes[0] = 0x81;
			bool is_key = vigia__reader_next(&reader, &key, NULL) == 0 && key.kind != VIGIA_TOKEN_NIL &&
			              key.kind != VIGIA_TOKEN_ARRAY && key.kind != VIGIA_TOKEN_MAP;
			bool good = vigia__value_check_new(value, NULL) == 0;
			assert_int_equal(good, is_key && reader.at + 1 == reader.end);
			free(bytes);
		}
	}
}

/* ---- E5, E6: what is carried ---- */

static void test_depth(void **state)
{
	for (int map = 0; map < 2; map++) {
		struct vigia__buf buf = {0};
		struct vigia_error err;
		for (int level = 0; level < VIGIA_DEPTH_MAX; level++)
			assert_int_equal(map ? vigia__buf_add(&buf, "\x81\xa1k", 3) : vigia__put_array(&buf, 1), 0);
		size_t inner = buf.len;
		assert_int_equal(vigia__put_nil(&buf), 0);
		assert_int_equal(vigia__value_check(buf_slice(&buf), VIGIA_ESERIAL, &err), 0);
		buf.len = inner;
		assert_int_equal(vigia__put_array(&buf, 0), 0);
		assert_error(vigia__value_check(buf_slice(&buf), VIGIA_ESERIAL, &err), VIGIA_ESERIAL, &err,
		             "nested deeper than 128 levels");
		assert_non_null(strstr(err.message, map ? "object.k.k.k" : "object[1][1][1]"));
		vigia__buf_deinit(&buf);
	}
}

static void test_check_says_where(void **state)
{
	static const struct {
		struct vigia_slice bytes;
		const char *message; /* NULL: fine */
	} rows[] = {
		{{"", 0}, "object: there is no value"},
		{{"\xc0", 1}, NULL},
		{{"\xc0\xc0", 2}, "object: unexpected bytes after the value"},
		{{"\xc7\x00\x05", 3}, "object: a msgpack extension of type 5 is not supported"},
		{{"\x81\xa4jobs\x93\x01\x02\x81\xa8"
	      "callback\xd4\x05\x00",
	      23},
	     "object.jobs[3].callback: a msgpack extension of type 5 is not supported"},
		{{"\x81\xa3"
	      "a b\x91\xc1",
	      7},
	     "object[\"a b\"][1]: the byte 0xc1 does not begin a msgpack value"},
		{{"\x81\xa5q\"\\\n\x7f\xc1", 8}, "object[\"q\\\"\\\\\\x0a\\x7f\"]: "},
		{{"\x81\xc4\x02\xff"
	      "a\xc1",
	      6},
	     "object[\"\\xffa\"]: "},
		{{"\x81\xa0\xc1", 3}, "object[\"\"]: "},
		{{"\x81\xa2"
	      "1a\xc1",
	      5},
	     "object[\"1a\"]: "},
		{{"\x81\xa3ün\xc1", 6}, "object[\"ün\"]: "},
		{{"\x81\x05\xc1", 3}, "object[5]: "},
		{{"\x81\xfb\xc1", 3}, "object[-5]: "},
		{{"\x81\xc3\xc1", 3}, "object[true]: "},
		{{"\x81\xca\x3f\xc0\x00\x00\xc1", 7}, "object[1.5]: "},
		{{"\x81\xc0\x01", 3}, "object: a key of the map is nil"},
		{{"\x81\x90\x01", 3}, "object: a key of the map is an array"},
		{{"\x91\x81\x80\x01", 4}, "object[1]: a key of the map is a map"},
		{{"\x81\xcb\x7f\xf8\0\0\0\0\0\0\x01", 11}, "object: a key of the map is a float that is not finite"},
		{{"\x81\xcb\x7f\xf0\0\0\0\0\0\0\x01", 11}, "object: a key of the map is a float that is not finite"},
		{{"\x82\x01\x02\x03\x04", 5}, NULL},
		{{"\x81\xd4\x05\x00", 4}, "object: a msgpack extension of type 5"},
		{{"\x92\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 11},
	     "object[2]: the integer 18446744073709551615 does not fit"},
		{{"\x92\x01", 2}, "object: the bytes are cut off: an array of 2"},
	};
	static const int codes[] = {VIGIA_ESERIAL, VIGIA_EDESERIAL};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		for (size_t c = 0; c < 2; c++) {
			struct vigia_error err = {0};
			int rc = vigia__value_check(rows[i].bytes, codes[c], &err);
			assert_int_equal(vigia__value_check(rows[i].bytes, codes[c], NULL), rc);
			if (!rows[i].message) assert_int_equal(rc, 0);
			else {
				assert_error(rc, codes[c], &err, rows[i].message);
				assert_memory_equal(err.message, rows[i].message, strlen(rows[i].message));
			}
		}
	}
}

static void test_long_paths_are_cut(void **state)
{
	struct vigia__buf buf = {0};
	struct vigia_error err;
	char key[200];
	for (size_t i = 0; i < sizeof key; i += 2) memcpy(key + i, "é", 2);
	for (int level = 0; level < VIGIA_DEPTH_MAX; level++) {
		assert_int_equal(vigia__put_map(&buf, 1), 0);
		assert_int_equal(vigia__put_string(&buf, key, sizeof key), 0);
	}
	assert_int_equal(vigia__buf_add(&buf, "\xc1", 1), 0);
	assert_error(vigia__value_check(buf_slice(&buf), VIGIA_ESERIAL, &err), VIGIA_ESERIAL, &err, "...: the byte 0xc1");
	assert_true(vigia__utf8_valid(err.message, strlen(err.message)));
	vigia__buf_deinit(&buf);
	/* control bytes only: each takes four characters */
	memset(key, 1, sizeof key);
	assert_int_equal(vigia__put_map(&buf, 1), 0);
	assert_int_equal(vigia__put_string(&buf, key, sizeof key), 0);
	assert_int_equal(vigia__buf_add(&buf, "\xc1", 1), 0);
	assert_error(vigia__value_check(buf_slice(&buf), VIGIA_ESERIAL, &err), VIGIA_ESERIAL, &err, "object[\"\\x01\\x01");
	vigia__buf_deinit(&buf);
}

/* ---- UTF-8 ---- */

/* One character by the book: its length, 0 if there is none. */
static size_t plain_utf8(const uint8_t *s, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = s[0] < 0x80             ? 1
	             : (s[0] & 0xe0) == 0xc0 ? 2
	             : (s[0] & 0xf0) == 0xe0 ? 3
	             : (s[0] & 0xf8) == 0xf0 ? 4
	                                     : 0;
	if (len == 0 || len > left) return 0;
	uint32_t code = len == 1 ? s[0] : s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80) return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	return code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : len;
}

static bool plain_valid(const uint8_t *s, size_t len)
{
	for (size_t i = 0, step; i < len; i += step)
		if ((step = plain_utf8(s + i, len - i)) == 0) return false;
	return true;
}

static void test_utf8_every_short_sequence(void **state)
{
	uint8_t s[4];
	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b++) {
			s[0] = (uint8_t)a, s[1] = (uint8_t)b;
			assert_int_equal(vigia__utf8_valid((char *)s, 1), plain_valid(s, 1));
			assert_int_equal(vigia__utf8_valid((char *)s, 2), plain_valid(s, 2));
			static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
			for (size_t c = 0; c < COUNT_OF(edges) && a >= 0xe0; c++) {
				s[2] = edges[c];
				assert_int_equal(vigia__utf8_valid((char *)s, 3), plain_valid(s, 3));
				for (size_t d = 0; d < COUNT_OF(edges); d++) {
					s[3] = edges[d];
					assert_int_equal(vigia__utf8_valid((char *)s, 4), plain_valid(s, 4));
				}
			}
		}
	}
}

static void test_utf8_in_long_text(void **state)
{
	struct rng rng = rng_seeded();
	static const char *const pieces[] = {
		"a", "12345678", "é", "€", "😀", "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"};
	for (int i = 0; i < 20000; i++) {
		char text[64];
		size_t len = 0;
		while (len < 40) {
			const char *piece = pieces[rng_below(&rng, COUNT_OF(pieces))];
			memcpy(text + len, piece, strlen(piece));
			len += strlen(piece);
		}
		assert_true(vigia__utf8_valid(text, len));
		if (rng_below(&rng, 2)) text[rng_below(&rng, len)] = (char)rng_next(&rng);
		len -= rng_below(&rng, 5);
		char *copy = malloc(len);
		memcpy(copy, text, len);
		assert_int_equal(vigia__utf8_valid(copy, len), plain_valid((uint8_t *)text, len));
		free(copy);
	}
	assert_true(vigia__utf8_valid("", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers),
		cmocka_unit_test(test_floats_keep_their_bits),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_a_map_counted_afterwards),
		cmocka_unit_test(test_float32_and_other_peoples_encodings),
		{"the reader refuses what cannot be carried [E6]", test_reader_refuses, NULL, NULL, NULL},
		{"the reader takes any bytes [R3]", test_reader_takes_any_bytes, NULL, NULL, NULL},
		cmocka_unit_test(test_skip),
		cmocka_unit_test(test_depth),
		{"the check of a value says what the reader says [E5]", test_check_and_reader_agree, NULL, NULL, NULL},
		{"the check of a value says where [E6]", test_check_says_where, NULL, NULL, NULL},
		cmocka_unit_test(test_long_paths_are_cut),
		cmocka_unit_test(test_utf8_every_short_sequence),
		cmocka_unit_test(test_utf8_in_long_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
