/*
 * test_json.c - Z4: JSON in and out keeps apart what is different, refuses the rest and says where.
 */
#include <locale.h>

#include "core/base64.h"
#include "core/json.h"
#include "lib/random_value.h"

static struct vigia__buf to_value(const char *text)
{
	struct vigia__buf buf = {0};
	struct vigia_error err;
	if (vigia__json_to_value(text, strlen(text), &buf, &err) != 0) fail_msg("%s: %s", text, err.message);
	return buf;
}

static char *to_text(struct vigia_slice value)
{
	struct vigia__buf buf = {0};
	struct vigia_error err;
	if (vigia__json_from_value(value, &buf, &err) != 0) fail_msg("%s", err.message);
	char *text = malloc(buf.len + 1);
	memcpy(text, buf.data, buf.len);
	text[buf.len] = '\0';
	vigia__buf_deinit(&buf);
	return text;
}

/* ---- there and back ---- */

static void test_texts_that_come_back_as_they_are(void **state)
{
	static const char *const texts[] = {
		"null",
		"true",
		"false",
		"0",
		"1",
		"-1",
		"9223372036854775807",
		"-9223372036854775808",
		"1.0",
		"-0.0",
		"0.1",
		"1e+100",
		"5e-324",
		"1.7976931348623157e+308",
		"1.2345678901234568e+17",
		"100000.0",
		"0.30000000000000004",
		"\"\"",
		"\"a\\\"b\\\\c\\n\\t\\r\\b\\f\\u0001\\u001f\\u0000\"",
		"\"é€😀/\x7f\"",
		"[]",
		"{}",
		"[[],{},[null]]",
		"{\"z\":1,\"a\":2,\"m\":{\"y\":[1,1.0,\"1\"]}}",
		"{\"\":0}",
		"{\"$float\":\"nan\"}",
		"{\"$float\":\"inf\"}",
		"{\"$float\":\"-inf\"}",
		"{\"$bytes\":\"/w==\"}",
		"{\"$bytes\":\"//8=\"}",
		"{\"$bytes\":\"////\"}",
		"{\"$map\":[[1,2],[\"1\",3],[1.5,4],[true,5],[false,6]]}",
		"{\"$map\":[[{\"$bytes\":\"/w==\"},null]]}",
		"{\"$map\":[[\"$bytes\",\"/w==\"]]}",
		"{\"$map\":[[\"$map\",[]]]}",
		"{\"$map\":[[\"$float\",{\"$float\":\"nan\"}]]}",
		"{\"$map\":[[\"a\\u0000b\",1]]}",
		"{\"$bytes\":\"/w==\",\"x\":1}",
		"{\"$other\":1}",
		"{\"$map\":[[1,{\"$map\":[[2,{\"a\":{\"b\":1}}]]}]]}",
	};
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct vigia__buf value = to_value(texts[i]);
		char *text = to_text(buf_slice(&value));
		assert_string_equal(text, texts[i]);
		assert_int_equal(vigia__value_check(buf_slice(&value), VIGIA_ESERIAL, NULL), 0);
		free(text);
		vigia__buf_deinit(&value);
	}
}

static void test_texts_that_come_back_otherwise(void **state)
{
	static const struct {
		const char *text, *wanted;
	} rows[] = {
		{" [ 1 , 2 ]\r\n", "[1,2]"},
		{"-0", "0"},
		{"1E2", "100.0"},
		{"0.1000", "0.1"},
		{"1e-400", "0.0"},
		{"\"\\u00e9\\ud83d\\ude00\\/\"", "\"é😀/\""},
		{"{\"$bytes\":\"aGk=\"}", "\"hi\""},
		{"{\"$bytes\":\"\"}", "\"\""},
		{"{\"$map\":[]}", "{}"},
		{"{\"$map\":[[\"a\",1],[\"b\",2]]}", "{\"a\":1,\"b\":2}"},
		/* no form: ordinary maps */
		{"{\"$float\":\"NaN\"}", "{\"$map\":[[\"$float\",\"NaN\"]]}"},
		{"{\"$float\":1}", "{\"$map\":[[\"$float\",1]]}"},
		{"{\"$float\":\"inf\\u0000\"}", "{\"$map\":[[\"$float\",\"inf\\u0000\"]]}"},
		{"{\"$bytes\":\"a\"}", "{\"$map\":[[\"$bytes\",\"a\"]]}"},
		{"{\"$bytes\":\"/x==\"}", "{\"$map\":[[\"$bytes\",\"/x==\"]]}"}, /* stray bits */
		{"{\"$bytes\":\"//==//==\"}", "{\"$map\":[[\"$bytes\",\"//==//==\"]]}"},
		{"{\"$bytes\":\"====\"}", "{\"$map\":[[\"$bytes\",\"====\"]]}"},
		{"{\"$bytes\":[1]}", "{\"$map\":[[\"$bytes\",[1]]]}"},
		{"{\"$map\":{}}", "{\"$map\":[[\"$map\",{}]]}"},
		{"{\"$map\":[1]}", "{\"$map\":[[\"$map\",[1]]]}"},
		{"{\"$map\":[[1]]}", "{\"$map\":[[\"$map\",[[1]]]]}"},
		{"{\"$map\":[[1,2,3]]}", "{\"$map\":[[\"$map\",[[1,2,3]]]]}"},
		{"{\"$map\":[[null,1]]}", "{\"$map\":[[\"$map\",[[null,1]]]]}"},
		{"{\"$map\":[[[],1]]}", "{\"$map\":[[\"$map\",[[[],1]]]]}"},
		{"{\"$map\":[[{\"$float\":\"nan\"},1]]}", "{\"$map\":[[\"$map\",[[{\"$float\":\"nan\"},1]]]]}"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia__buf value = to_value(rows[i].text);
		char *text = to_text(buf_slice(&value));
		assert_string_equal(text, rows[i].wanted);
		free(text);
		vigia__buf_deinit(&value);
	}
}

static void test_one_and_one_point_zero(void **state)
{
	struct vigia__buf one = to_value("1"), one_point_zero = to_value("1.0");
	assert_slice(buf_slice(&one), "\x01");
	assert_slice(buf_slice(&one_point_zero), "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00");
	vigia__buf_deinit(&one);
	vigia__buf_deinit(&one_point_zero);
}

/* The property: to_value(from_value(v)) == v, and the text comes back too, for every value that is carried. */
static void test_any_value_comes_back(void **state)
{
	struct rng rng = rng_seeded();
	for (int i = 0; i < 20000; i++) {
		struct vigia__buf value = {0}, back = {0};
		struct vigia_error err;
		random_value(&value, &rng, (int)rng_below(&rng, 8));
		char *text = to_text(buf_slice(&value));
		if (vigia__json_to_value(text, strlen(text), &back, &err) != 0)
			fail_msg("round %d: %s: %s", i, text, err.message);
		if (back.len != value.len || memcmp(back.data, value.data, value.len) != 0) fail_msg("round %d: %s", i, text);
		char *again = to_text(buf_slice(&back));
		assert_string_equal(again, text);
		free(again);
		free(text);
		vigia__buf_deinit(&value);
		vigia__buf_deinit(&back);
	}
}

static void test_another_locale(void **state)
{
	/* Debian's images have few locales; where there is none with a comma, this says so */
	static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "pt_PT.UTF-8"};
	const char *set = NULL;
	for (size_t i = 0; i < COUNT_OF(names) && !set; i++) set = setlocale(LC_NUMERIC, names[i]);
	if (!set) {
		print_message("skipped: no locale with a decimal comma\n");
		skip();
	}
	struct vigia__buf value = to_value("[0.5,1e+100,2.0]");
	char *text = to_text(buf_slice(&value));
	setlocale(LC_NUMERIC, "C");
	assert_string_equal(text, "[0.5,1e+100,2.0]");
	free(text);
	vigia__buf_deinit(&value);
}

/* ---- what is refused ---- */

static void test_refused_texts(void **state)
{
	static const struct {
		struct vigia_slice text;
		const char *message;
	} rows[] = {
		{{"", 0}, "column 1: there is no value"},
		{{" \n ", 3}, "column 1: there is no value"},
		{{"\xef\xbb\xbf{}", 5}, "column 1: a byte order mark"},
		{{"{", 1}, "column 2: the text ends before the value is complete"},
		{{"{\"a\":", 5}, "column 6: the text ends before"},
		{{"{\"a\":\"xy", 8}, "column 9: the text ends before"},
		{{"[1,2", 4}, "column 5: the text ends before"},
		{{"{\"a\" 1}", 7}, "column 6: ':' expected near '1'"},
		{{"[1 2]", 5}, "column 4: ']' expected near '2'"},
		{{"[1,]", 4}, "column 4: unexpected token near ']'"},
		{{"{,}", 3}, "column 2: string or '}' expected near ','"},
		{{"nul", 3}, "column 1: invalid token near 'nul'"},
		{{"'a'", 3}, "column 1: invalid token near '''"},
		{{"[01]", 4}, "column 2: invalid token near '0'"},
		{{"NaN", 3}, "column 1: NaN is not JSON: write {\"$float\":\"nan\"}"},
		{{"[1,Infinity]", 12}, "column 4: Infinity is not JSON: write {\"$float\":\"inf\"}"},
		{{"{\"a\":-Infinity}", 15}, "column 6: -Infinity is not JSON: write {\"$float\":\"-inf\"}"},
		{{"[nan]", 5}, "column 2: nan is not JSON: write {\"$float\":\"nan\"}"},
		{{"[-inf]", 6}, "column 2: -inf is not JSON: write {\"$float\":\"-inf\"}"},
		{{"[1, inf]", 8}, "column 5: inf is not JSON: write {\"$float\":\"inf\"}"},
		{{"{\"$map\":[[1,2],[1.0,3]]}", 24}, "the keys of the pairs 1 and 2 of a $map are the same"},
		{{"{\"$map\":[[-0.0,2],[0,3]]}", 25}, "the keys of the pairs 1 and 2 of a $map are the same"},
		{{"1 2", 3}, "column 3: unexpected text after the value"},
		{{"{} {}", 5}, "column 4: unexpected text after the value"},
		{{"{} \"a string that is rather long\"", 33}, "column 4: unexpected text after the value"},
		{{"[\"é\",x]", 8}, "column 6: invalid token near 'x'"},
		{{"[1,\n 2,\n  x]", 12}, "line 3, column 3: invalid token near 'x'"},
		{{"[\"a\nb\"]", 7}, "unexpected newline"},
		{{"\"a\tb\"", 5}, "control character 0x9"},
		{{"\"\\q\"", 4}, "invalid escape"},
		{{"\"\\ud800\"", 8}, "invalid Unicode '\\uD800'"},
		{{"\"\\udc00\"", 8}, "invalid Unicode '\\uDC00'"},
		{{"[1,9223372036854775808]", 23},
	     "column 4: the integer 9223372036854775808 does not fit into a signed 64-bit integer"},
		{{"-9223372036854775809", 20}, "column 1: the integer -9223372036854775809 does not fit"},
		{{"99999999999999999999999999999999999999999999999999999999999999", 62},
	     "column 1: the integer 999999999999999999999999999999999999999999999999... does not fit"},
		{{"{\"a\":1e999}", 11}, "column 6: the number 1e999 is too large for a float"},
		{{"-1e999", 6}, "column 1: the number -1e999 is too large"},
		{{"{\"a\":1,\"b\":2,\"a\":3}", 19}, "column 14: the key \"a\" occurs twice"},
		{{"{\"x\\\"\":1,\"x\\\"\":2}", 17}, "column 10: the key \"x\\\"\" occurs twice"},
		{{"{\"a\\u0000b\":1}", 14}, "column 2: the key \"a\\u0000b\" holds a NUL: write the map as"},
		{{"[\"\xff\"]", 5}, "column 3: the byte 0xff does not begin valid UTF-8"},
		{{"\"\xed\xa0\x80\"", 5}, "column 2: the byte 0xed does not begin valid UTF-8"},
		{{"\"\xc0\xaf\"", 4}, "column 2: the byte 0xc0 does not begin valid UTF-8"},
		{{"[1\0]", 4}, "column 3: a NUL byte is not JSON"},
		{{"true\0", 5}, "column 5: a NUL byte is not JSON"},
		{{"{\"$map\":[[1,\"a\"],[2,\"b\"],[1,\"c\"]]}", 34}, "the keys of the pairs 1 and 3 of a $map are the same"},
		{{"\xef\xbb\xbf{}", 5}, "column 1: "},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia__buf buf = {0};
		struct vigia_error err;
		assert_int_equal(vigia__buf_add(&buf, "before", 6), 0);
		assert_error(vigia__json_to_value(rows[i].text.data, rows[i].text.len, &buf, &err), VIGIA_ESERIAL, &err,
		             rows[i].message);
		assert_int_equal(vigia__json_to_value(rows[i].text.data, rows[i].text.len, &buf, NULL), VIGIA_ESERIAL);
		assert_slice(buf_slice(&buf), "before");
		vigia__buf_deinit(&buf);
	}
}

static struct vigia__buf nested(const char *open, const char *close, int levels, const char *leaf)
{
	struct vigia__buf text = {0};
	for (int i = 0; i < levels; i++) assert_int_equal(vigia__buf_add(&text, open, strlen(open)), 0);
	assert_int_equal(vigia__buf_add(&text, leaf, strlen(leaf)), 0);
	for (int i = 0; i < levels; i++) assert_int_equal(vigia__buf_add(&text, close, strlen(close)), 0);
	return text;
}

static void test_what_is_cut(void **state)
{
	static const char whole[] =
		"{\"a\":[1,-2.5e3,true,null],\"\\u00e9\":\"\xc3\xa9\xf0\x9f\x98\x80\\\"\\u0041\",\"b\":{}}";
	for (size_t len = 1; len < sizeof whole - 1; len++)
		if (!vigia__json_is_cut(whole, len)) fail_msg("%.*s is cut", (int)len, whole);
	static const char *const others[] = {whole,
	                                     "1",
	                                     "{oops}",
	                                     "{\"a\":nope}",
	                                     "{\"a\" 1}",
	                                     "{\"a\":1,,\"b\":2",
	                                     "{\"a\":nope,\"b\":2",
	                                     "[1,2]]",
	                                     "[\"\xff",
	                                     "[\"\xc3x",
	                                     "[\"\\q\",1",
	                                     "{\"a\":1,\"a\":2,\"b",
	                                     "x",
	                                     ""};
	for (size_t i = 0; i < COUNT_OF(others); i++)
		if (vigia__json_is_cut(others[i], strlen(others[i]))) fail_msg("%s is not cut", others[i]);
}

static void test_depth(void **state)
{
	static const struct {
		const char *open, *close, *leaf, *column_at_129;
	} rows[] = {
		{"[", "]", "{\"$float\":\"nan\"}", "column 129: "},
		{"{\"a\":", "}", "\"[[[[[[[[[\"", "column 641: "},
		{"{\"$map\":[[1,", "]]}", "1.5", "column 1546: "},
		{"{\"$map\":[[{\"$bytes\":\"/w==\"},", "]]}", "{\"$bytes\":\"/w==\"}", "column 3594: "},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia_error err;
		struct vigia__buf value = {0};
		struct vigia__buf text = nested(rows[i].open, rows[i].close, 128, rows[i].leaf);
		if (vigia__json_to_value((char *)text.data, text.len, &value, &err) != 0)
			fail_msg("row %zu: %s", i, err.message);
		assert_int_equal(vigia__value_check(buf_slice(&value), VIGIA_ESERIAL, NULL), 0);
		char *again = to_text(buf_slice(&value));
		assert_int_equal(strlen(again), text.len);
		assert_memory_equal(again, text.data, text.len);
		free(again);
		vigia__buf_deinit(&text);
		vigia__buf_deinit(&value);
		text = nested(rows[i].open, rows[i].close, 129, rows[i].leaf);
		assert_error(vigia__json_to_value((char *)text.data, text.len, &value, &err), VIGIA_ESERIAL, &err,
		             "nested deeper than 128 levels");
		assert_memory_equal(err.message, rows[i].column_at_129, strlen(rows[i].column_at_129));
		vigia__buf_deinit(&text);
		/* far too deep, and cut off too: jansson never sees it */
		text = nested(rows[i].open, "", 100000, "");
		assert_error(vigia__json_to_value((char *)text.data, text.len, &value, &err), VIGIA_ESERIAL, &err,
		             "nested deeper than 128 levels");
		vigia__buf_deinit(&text);
		assert_int_equal(value.len, 0);
		vigia__buf_deinit(&value);
	}
	/* a form that is one level too deep is found where it begins */
	struct vigia_error err;
	struct vigia__buf value = {0}, text = nested("[", "]", 128, "{\"$map\":[]}");
	assert_error(vigia__json_to_value((char *)text.data, text.len, &value, &err), VIGIA_ESERIAL, &err,
	             "column 129: nested deeper");
	vigia__buf_deinit(&text);
	vigia__buf_deinit(&value);
}

static void test_bytes_that_are_no_value(void **state)
{
	static const struct vigia_slice values[] = {{"", 0},
	                                            {"\xc1", 1},
	                                            {"\xc0\xc0", 2},
	                                            {"\xdd\x0f\xff\xff\xff", 5},
	                                            {"\x81\xc0\x01", 3},
	                                            {"\xd4\x05\x00", 3},
	                                            {"\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 10},
	                                            {"\x81\x90\x01", 3}};
	for (size_t i = 0; i < COUNT_OF(values); i++) {
		struct vigia__buf buf = {0};
		struct vigia_error err;
		assert_error(vigia__json_from_value(values[i], &buf, &err), VIGIA_EDESERIAL, &err, "object");
		assert_int_equal(buf.len, 0);
		vigia__buf_deinit(&buf);
	}
	/* str that is not UTF-8, bin that is: other people's encodings */
	char *text = to_text(SLICE("\x92\xa1\xff\xc4\x02hi"));
	assert_string_equal(text, "[{\"$bytes\":\"/w==\"},\"hi\"]");
	free(text);
}

static void test_base64(void **state)
{
	struct rng rng = rng_seeded();
	for (size_t len = 0; len < 40; len++) {
		uint8_t in[40], out[64];
		for (size_t i = 0; i < len; i++) in[i] = (uint8_t)rng_next(&rng);
		struct vigia__buf text = {0};
		size_t out_len = 99;
		assert_int_equal(vigia__base64_encode(&text, (char *)in, len), 0);
		assert_true(vigia__base64_decode((char *)text.data, text.len, out, &out_len));
		assert_int_equal(out_len, len);
		assert_memory_equal(out, in, len);
		if (len) {
			assert_false(vigia__base64_decode((char *)text.data, text.len - 1, out, &out_len));
			text.data[rng_below(&rng, text.len)] = '*';
			assert_false(vigia__base64_decode((char *)text.data, text.len, out, &out_len));
		}
		vigia__buf_deinit(&text);
	}
	struct vigia__buf text = {0};
	assert_int_equal(vigia__base64_encode(&text, "Many hands", 10), 0);
	assert_slice(buf_slice(&text), "TWFueSBoYW5kcw==");
	vigia__buf_deinit(&text);
}

/* ---- lines ---- */

static void test_a_line_is_an_event(void **state)
{
	static const char line[] = "{\"object\":{\"path\":\"a/é\",\"size\":1.0},"
							   "\"operation\":\"CREATE\",\"object_type\":\"File\",\"seq_num\":9,\"timestamp\":\"x\"}";
	struct vigia__buf buf = {0}, text = {0};
	struct vigia_error err;
	struct vigia__head head;
	assert_int_equal(vigia__json_to_event(line, sizeof line - 1, &buf, 1000, &err), 0);
	vigia__event_stamp(buf.data, buf.len, 7, 1700000000000000001);
	assert_int_equal(vigia__event_head(buf.data, buf.len, &head), 0);
	assert_int_equal(head.standard, 1);
	struct vigia_event event = {7, head.at_ns, head.operation, head.object_type, .object = head.object};
	assert_int_equal(vigia__json_from_event(&event, &text, &err), 0);
	assert_slice(buf_slice(&text), "{\"seq_num\":7,\"timestamp\":1700000000000000001,\"operation\":\"CREATE\","
	                               "\"object_type\":\"File\",\"object\":{\"path\":\"a/é\",\"size\":1.0}}");
	/* what was written is read again */
	struct vigia__buf again = {0};
	assert_int_equal(vigia__json_to_event((char *)text.data, text.len, &again, 1000, &err), 0);
	vigia__event_stamp(again.data, again.len, 7, 1700000000000000001);
	assert_int_equal(again.len, buf.len);
	assert_memory_equal(again.data, buf.data, buf.len);
	/* so long that it is not even parsed */
	struct vigia__buf longer = {0};
	assert_int_equal(vigia__buf_reserve(&longer, 100000), 0);
	memset(longer.data, '[', 100000);
	assert_error(vigia__json_to_event((char *)longer.data, 100000, &again, 1000, &err), VIGIA_ETOOBIG, &err,
	             "the line has 100000 bytes, too many for an event: max_event_size is 1000 bytes");
	vigia__buf_deinit(&longer);
	/* too large: taken back out */
	size_t len = again.len;
	assert_error(vigia__json_to_event(line, sizeof line - 1, &again, 20, &err), VIGIA_ETOOBIG, &err,
	             "max_event_size is 20 bytes");
	assert_int_equal(again.len, len);
	vigia__buf_deinit(&buf);
	vigia__buf_deinit(&text);
	vigia__buf_deinit(&again);

	event = (struct vigia_event){1, 2, SLICE("a\xff"), SLICE("File"), .object = SLICE("\x01")};
	assert_error(vigia__json_from_event(&event, &text, &err), VIGIA_EDESERIAL, &err, "not valid UTF-8");
	event.operation = SLICE("a");
	event.object = SLICE("\xc1");
	assert_error(vigia__json_from_event(&event, &text, &err), VIGIA_EDESERIAL, &err, "object: ");
	assert_int_equal(text.len, 0);
	vigia__buf_deinit(&text);
}

static void test_wrong_lines(void **state)
{
	static const struct {
		const char *line;
		int code;
		const char *message;
	} rows[] = {
		{"[]", VIGIA_ESERIAL, "the line is an array, it must be an object"},
		{"1.5", VIGIA_ESERIAL, "the line is a float, it must be an object"},
		{"null", VIGIA_ESERIAL, "the line is null"},
		{"{}", VIGIA_ESERIAL, "the field \"operation\" is missing"},
		{"{\"operation\":\"CREATE\",\"object\":1}", VIGIA_ESERIAL, "the field \"object_type\" is missing"},
		{"{\"operation\":\"CREATE\",\"object_type\":\"File\"}", VIGIA_ESERIAL, "the field \"object\" is missing"},
		{"{\"operation\":1,\"object_type\":\"File\",\"object\":1}", VIGIA_ESERIAL,
	     "the field \"operation\" is an integer, it must be a string"},
		{"{\"operation\":\"CREATE\",\"object_type\":null,\"object\":1}", VIGIA_ESERIAL,
	     "the field \"object_type\" is null"},
		{"{\"operation\":\"\",\"object_type\":\"File\",\"object\":1}", VIGIA_EINVAL, "operation is empty"},
		{"{\"operation\":\"CREATE\",\"object_type\":\"\",\"object\":1}", VIGIA_EINVAL, "object_type is empty"},
		{"{\"operation\":\"CREATE\",\"objct_type\":\"File\",\"object\":1}", VIGIA_ESERIAL,
	     "unknown field \"objct_type\" (did you mean object_type?)"},
		{"{\"operation\":\"CREATE\",\"object_type\":\"File\",\"object\":1,\"zebra\":1}", VIGIA_ESERIAL,
	     "unknown field \"zebra\""},
		{"{\"operation\":\"CREATE\",\"object_type\":\"File\",\"object\":[1,2", VIGIA_ESERIAL,
	     "column 57: the text ends before"},
		{"{\"operation\":\"CREATE\",\"object_type\":\"File\",\"object\":18446744073709551616}", VIGIA_ESERIAL,
	     "column 53: the integer 18446744073709551616 does not fit"},
	};
	struct vigia__buf buf = {0};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia_error err;
		assert_error(vigia__json_to_event(rows[i].line, strlen(rows[i].line), &buf, 1000, &err), rows[i].code, &err,
		             rows[i].message);
		assert_int_equal(buf.len, 0);
	}
	vigia__buf_deinit(&buf);
	static const char line[] = "{\"operation\":\"CREATE\",\"object_type\":\"File\",\"object\":null}";
	assert_int_equal(vigia__json_to_event(line, sizeof line - 1, &buf, 1000, NULL), 0);
	vigia__buf_deinit(&buf);
}

/* The columns of faults are those of the text that was given. */
static void test_big_integers(void **state)
{
	static const struct {
		enum vigia__json_big big;
		const char *object, *what; /* what it becomes; or where, and what is wrong */
	} rows[] = {
		{VIGIA_JSON_BIG_FLOAT, "[9223372036854775807,-9223372036854775808]",
	     "[9223372036854775807,-9223372036854775808]"},
		{VIGIA_JSON_BIG_FLOAT, "[9223372036854775808,-9223372036854775809]",
	     "[9.223372036854776e+18,-9.223372036854776e+18]"},
		{VIGIA_JSON_BIG_STRING, "[9223372036854775808,-9223372036854775809]",
	     "[\"9223372036854775808\",\"-9223372036854775809\"]"},
		{VIGIA_JSON_BIG_STRING, "[\"99999999999999999999\\\" 99999999999999999999\",99999999999999999999.5]",
	     "[\"99999999999999999999\\\" 99999999999999999999\",1e+20]"},
		{VIGIA_JSON_BIG_STRING, "[1.99999999999999999999,1e99]", "[2.0,1e+99]"},
		{VIGIA_JSON_BIG_STRING, "[99999999999999999999,y]", "column 75: invalid token near 'y'"},
		{VIGIA_JSON_BIG_FLOAT, "[99999999999999999999,99999999999999999999,y]", "column 96: invalid token near 'y'"},
		{VIGIA_JSON_BIG_STRING, "99999999999999999999-4", "column 73: "},
		{VIGIA_JSON_BIG_STRING, "00000000000000000000099", "column 5"},
		{VIGIA_JSON_BIG_STRING, "-", "column 5"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char line[256];
		struct vigia__buf buf = {0}, text = {0};
		struct vigia_error err;
		struct vigia__head head;
		snprintf(line, sizeof line, "{\"operation\":\"CREATE\",\"object_type\":\"File\",\"object\":%s}",
		         rows[i].object);
		int rc = vigia__json_to_event_with(line, strlen(line), rows[i].big, &buf, 1000, &err);
		if (strncmp(rows[i].what, "column", 6) == 0) {
			assert_error(rc, VIGIA_ESERIAL, &err, rows[i].what);
			assert_int_equal(buf.len, 0);
		} else {
			assert_int_equal(rc, 0);
			assert_int_equal(vigia__event_head(buf.data, buf.len, &head), 0);
			assert_int_equal(vigia__json_from_value(head.object, &text, &err), 0);
			assert_int_equal(text.len, strlen(rows[i].what));
			assert_memory_equal(text.data, rows[i].what, text.len);
		}
		vigia__buf_deinit(&buf);
		vigia__buf_deinit(&text);
	}
}

static void test_big_integers_without_memory(void **state)
{
	static const char line[] =
		"{\"operation\":\"CREATE\",\"object_type\":\"File\",\"object\":[99999999999999999999,1]}";
	int failures = 0;
	for (long nth = 1; nth < 20; nth++) {
		struct vigia__buf buf = {0};
		struct vigia_error err = {0};
		vigia__alloc_fail_at(nth, 0);
		int rc = vigia__json_to_event_with(line, sizeof line - 1, VIGIA_JSON_BIG_STRING, &buf, 1000, &err);
		vigia__alloc_fail_at(0, 0);
		if (rc != VIGIA_OK) {
			assert_error(rc, VIGIA_ENOMEM, &err, "memory");
			assert_int_equal(buf.len, 0);
			failures++;
		}
		vigia__buf_deinit(&buf);
	}
	assert_in_range(failures, 2, 18);
}

static void test_depth_of_a_line(void **state)
{
	for (int levels = 128; levels <= 129; levels++) {
		struct vigia__buf object = nested("{\"$map\":[[1,", "]]}", levels, "{\"$float\":\"inf\"}"), line = {0},
						  event = {0};
		static const char head[] = "{\"operation\":\"CREATE\",\"object_type\":\"File\",\"object\":";
		struct vigia_error err;
		assert_int_equal(vigia__buf_add(&line, head, sizeof head - 1), 0);
		assert_int_equal(vigia__buf_add(&line, object.data, object.len), 0);
		assert_int_equal(vigia__buf_add(&line, "}", 1), 0);
		int rc = vigia__json_to_event((char *)line.data, line.len, &event, 10000, &err);
		if (levels == 128) assert_int_equal(rc, 0);
		else assert_error(rc, VIGIA_ESERIAL, &err, "column 1597: nested deeper than 128 levels");
		vigia__buf_deinit(&object);
		vigia__buf_deinit(&line);
		vigia__buf_deinit(&event);
	}
}

/* ---- without memory: ours, then jansson's ---- */

static const char memory_line[] = "{\"operation\":\"rename\",\"object_type\":\"File\","
								  "\"object\":{\"$map\":[[1,{\"$bytes\":\"/w==\"}],[\"k\",[1,2.5,\"abc\",{}]]]}}";

static int line_scenario(void)
{
	struct vigia__buf event = {0}, text = {0};
	struct vigia__head head;
	struct vigia_error err = {0};
	char big[600];
	int rc = vigia__json_to_event(memory_line, sizeof memory_line - 1, &event, 10000, &err);
	assert_true(rc == 0 || (event.len == 0 && strstr(err.message, "no memory")));
	if (rc == 0) {
		assert_int_equal(vigia__event_head(event.data, event.len, &head), 0);
		struct vigia_event out = {1, 2, head.operation, head.object_type, .object = head.object};
		rc = vigia__json_from_event(&out, &text, &err);
		assert_true(rc == 0 || text.len == 0);
	}
	/* a long string with escapes grows the text bit by bit */
	memset(big, 1, sizeof big);
	event.len = 0;
	if (rc == 0 && vigia__put_string(&event, big, sizeof big) != 0) rc = VIGIA_ENOMEM;
	if (rc == 0) rc = vigia__json_from_value(buf_slice(&event), &text, &err);
	vigia__buf_deinit(&event);
	vigia__buf_deinit(&text);
	return rc;
}

static void test_without_memory(void **state)
{
	with_failing_allocations(line_scenario());
}

/* The text outgrows its memory at any place: what was there before it stays, and nothing of it. */
static void test_without_memory_at_any_place(void **state)
{
	static const char object[] = "\x87"
								 "\xa1"
								 "a"
								 "\x93\x01\xc3\xc0"
								 "\xa1"
								 "b"
								 "\xcb\x3f\xf8\0\0\0\0\0\0" /* [1, true, nil], 1.5 */
								 "\xa1"
								 "c"
								 "\xcb\x7f\xf0\0\0\0\0\0\0"
								 "\xa1"
								 "d"
								 "\xc4\x03\xff\xfe\xfd" /* infinity, bytes */
								 "\xa1"
								 "e"
								 "\x82\x01\xa1x\xcb\x3f\xf0\0\0\0\0\0\0\xa1y"
								 "\xa1"
								 "f"
								 "\xa3\x01\"\n" /* {[1] = x, [1.5] = y}, escapes */
								 "\xa1"
								 "g"
								 "\x81\xa4$map\x90"; /* a key that means something */
	static const char *const serializers[] = {"", "json", "mine"};
	for (size_t i = 0; i < COUNT_OF(serializers); i++) {
		struct vigia_event event = {
			7, 8, SLICE_INIT("CREATE"), SLICE_INIT("Job"), slice_of(serializers[i]), SLICE_INIT(object)};
		if (i == 1) event.object = SLICE("{\"a\":[1,2.5,\"x\"]}");
		int failures = 0;
		for (size_t before = 0; before < 600; before++) {
			struct vigia__buf text = {0};
			struct vigia_error err = {0};
			assert_int_equal(vigia__buf_reserve(&text, 1024), 0);
			size_t room = text.cap; /* of which so many bytes are left */
			memset(text.data, '#', room);
			text.len = room - before;
			vigia__alloc_fail_at(i == 1 ? 2 : 1, 0);
			int rc = vigia__json_from_event(&event, &text, &err);
			vigia__alloc_fail_at(0, 0);
			if (rc != 0) {
				assert_error(rc, VIGIA_ENOMEM, &err, "no memory");
				assert_int_equal(text.len, room - before);
				failures++;
			}
			vigia__buf_deinit(&text);
		}
		assert_true(failures > 50);
	}
}

/* jansson allocates through whatever json_set_alloc_funcs() names; only this test names something else than malloc. The
 * strings in the lines are short: jansson does not survive a string buffer that cannot grow beyond 16 bytes (json.c,
 * has_memory_for). */
typedef void *(*alloc_fn)(size_t size);
typedef void (*free_fn)(void *ptr);
void json_set_alloc_funcs(alloc_fn alloc, free_fn free);

/* What the next call finds where it puts its variables. */
static __attribute__((noinline)) void soil_stack(int byte)
{
	volatile unsigned char soil[16384];
	for (size_t i = 0; i < sizeof soil; i++) soil[i] = (unsigned char)byte;
}

static void test_jansson_without_memory(void **state)
{
	json_set_alloc_funcs(vigia__alloc, vigia__free);
	/* where jansson says nothing of why it failed, what lies about is not taken for its reason */
	for (int byte = 0; byte < 32; byte++) {
		struct vigia__buf value = {0};
		struct vigia_error err;
		soil_stack(byte);
		vigia__alloc_fail_at(1, 0);
		assert_error(vigia__json_to_value("[1]", 3, &value, &err), VIGIA_ENOMEM, &err, "no memory");
		vigia__alloc_fail_at(0, 0);
		vigia__buf_deinit(&value);
	}
	with_failing_allocations(line_scenario());
	/* a text that is wrong stays wrong, whichever allocation fails */
	static const char wrong[] = "{\"a\":[1,{\"b\":\"c\"},{\"d\":x}]}";
	for (long nth = 1; nth < 60; nth++) {
		struct vigia__buf buf = {0};
		vigia__alloc_fail_at(nth, 0);
		int rc = vigia__json_to_value(wrong, sizeof wrong - 1, &buf, NULL);
		vigia__alloc_fail_at(0, 0);
		assert_true(rc == VIGIA_ENOMEM || rc == VIGIA_ESERIAL);
		assert_int_equal(buf.len, 0);
		vigia__buf_deinit(&buf);
	}
	json_set_alloc_funcs(malloc, free);
	/* a long text is not given to it without memory */
	struct vigia__buf text = {0}, value = {0};
	struct vigia_error err;
	assert_int_equal(vigia__buf_reserve(&text, 100000), 0);
	memset(text.data, '1', 100000);
	vigia__alloc_fail_at(1, 1);
	assert_error(vigia__json_to_value((char *)text.data, 100000, &value, &err), VIGIA_ENOMEM, &err, "no memory");
	vigia__alloc_fail_at(0, 0);
	vigia__buf_deinit(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts_that_come_back_as_they_are),
		cmocka_unit_test(test_texts_that_come_back_otherwise),
		cmocka_unit_test(test_one_and_one_point_zero),
		cmocka_unit_test(test_any_value_comes_back),
		cmocka_unit_test(test_another_locale),
		cmocka_unit_test(test_refused_texts),
		cmocka_unit_test(test_what_is_cut),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_bytes_that_are_no_value),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_a_line_is_an_event),
		cmocka_unit_test(test_wrong_lines),
		cmocka_unit_test(test_big_integers),
		cmocka_unit_test(test_big_integers_without_memory),
		cmocka_unit_test(test_depth_of_a_line),
		cmocka_unit_test(test_without_memory),
		cmocka_unit_test(test_without_memory_at_any_place),
		cmocka_unit_test(test_jansson_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
