/*
 * test_path.c - F4: places of an object: what is one, what is refused and where, and what they find; filters that name
 * some.
 */
#include "core/filter.h"
#include "core/json.h"
#include "core/path.h"
#include "core/serial.h"
#include "lib/test.h"

static struct vigia__buf value_of(const char *json)
{
	struct vigia__buf buf = {0};
	struct vigia_error err = {0};
	if (vigia__json_to_value(json, strlen(json), &buf, &err) != VIGIA_OK) fail_msg("%s: %s", json, err.message);
	return buf;
}

static struct vigia_slice slice_at(const struct vigia__buf *buf)
{
	return (struct vigia_slice){(char *)buf->data, buf->len};
}

/* The JSON of what is at a place. "": it is missing. */
static void expect_found(const char *json, const char *place, const char *expected)
{
	struct vigia__buf object = value_of(json), text = {0};
	struct vigia__path *path;
	struct vigia__reader at = {0};
	assert_int_equal(vigia__path_new(slice_of(place), &path, NULL), VIGIA_OK);
	int rc = vigia__path_find(path, slice_at(&object), &at);
	if (*expected == '\0') {
		if (rc != VIGIA_NONE) fail_msg("%s in %s: %d", place, json, rc);
	} else {
		if (rc != VIGIA_OK) fail_msg("%s in %s: %d", place, json, rc);
		const uint8_t *begin = at.at;
		assert_int_equal(vigia__reader_skip(&at, NULL), VIGIA_OK);
		struct vigia_slice found = {(const char *)begin, (size_t)(at.at - begin)};
		assert_int_equal(vigia__json_from_value(found, &text, NULL), VIGIA_OK);
		if (text.len != strlen(expected) || memcmp(text.data, expected, text.len) != 0)
			fail_msg("%s in %s: %.*s", place, json, (int)text.len, text.data);
	}
	vigia__path_free(path);
	vigia__buf_deinit(&object);
	vigia__buf_deinit(&text);
}

static void test_F4_finds(void **state)
{
	static const char object[] = "{\"a\":{\"b\":[1,[],{\"x.y\":true}],\"c-d\":null},\"\":2,\"q\\\"\\\\\":3,\"größe\":4,"
								 "\"3\":\"text\",\"n\":{\"$map\":[[3,\"int\"],[-4.0,\"float\"],[true,\"bool\"]]}}";
	static const struct {
		const char *place, *found;
	} rows[] = {
		{"object.a.b[1]", "1"},
		{"object.a.b[2]", "[]"},
		{"object.a.b[3].\"x.y\"", "true"},
		{"object.a.b[3][\"x.y\"]", "true"},
		{"object.a.b[4]", ""},
		{"object.a.b[0]", ""},
		{"object.a.b[-1]", ""},
		{"object.a.b[9223372036854775807]", ""},
		{"object.a.b[-9223372036854775808]", ""},
		{"object.a.b.x", ""},
		{"object.a.b[2][1]", ""},
		{"object.a.b[1].x", ""},
		{"object.a.c-d", "null"},
		{"object.a.c-d.e", ""},
		{"object[\"a\"].b[1]", "1"},
		{"object.\"\"", "2"},
		{"object.\"q\\\"\\\\\"", "3"},
		{"object.größe", "4"},
		{"object.\"3\"", "\"text\""},
		{"object[3]", ""},
		{"object.n[3]", "\"int\""},
		{"object.n[-4]", "\"float\""},
		{"object.n.true", ""},
		{"object.missing.deeper", ""},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) expect_found(object, rows[i].place, rows[i].found);
	expect_found("[5,6]", "object", "[5,6]");
	expect_found("[5,6]", "object[2]", "6");
	expect_found("7", "object", "7");
	expect_found("7", "object[1]", "");
	expect_found("null", "object.x", "");
}

static void test_F4_refuses_and_says_where(void **state)
{
	static const struct {
		const char *place, *says;
	} rows[] = {
		{"", "the place \"\" is wrong at character 1: a place begins with `object`"},
		{"objects", "character 1: a place begins with `object`"},
		{"state", "character 1: a place begins"},
		{"object.", "character 8: a name is missing"},
		{"object..a", "character 8: a name is expected"},
		{"object.a b", "character 9: a dot, [ or the end is expected"},
		{"object.größe!", "character 13: a dot, ["},
		{"object.3", "character 8: a name begins with a letter or _: write [3]"},
		{"object.-a", "character 8: a name begins"},
		{"object[", "character 8: an integer or a name in double quotes"},
		{"object[]", "character 8: an integer"},
		{"object[x]", "character 8: an integer"},
		{"object[-]", "character 9: an integer"},
		{"object[1", "character 9: ] is expected"},
		{"object[1.5]", "character 9: ] is expected"},
		{"object[9223372036854775808]", "does not fit into a signed 64-bit integer"},
		{"object[-9223372036854775809]", "does not fit into a signed 64-bit integer"},
		{"object.\"a", "character 10: the closing quote is missing"},
		{"object.\"a\\n\"", "character 11: behind a \\ in quotes"},
		{"object.\"a\\", "behind a \\ in quotes"},
		{"object[\"a\"", "] is expected"},
		{"object=1", "character 7: a dot"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia__path *path = (void *)1;
		struct vigia_error err = {0};
		assert_error(vigia__path_new(slice_of(rows[i].place), &path, &err), VIGIA_EINVAL, &err, rows[i].says);
		assert_null(path);
	}
}

static void test_F4_bounds(void **state)
{
	struct vigia__path *path;
	struct vigia_error err = {0};
	char text[VIGIA_PATH_BYTES_MAX + 2] = "object";
	for (int i = 0; i < VIGIA_DEPTH_MAX; i++) strcat(text, ".a");
	assert_int_equal(vigia__path_new(slice_of(text), &path, NULL), VIGIA_OK);
	vigia__path_free(path);
	strcat(text, ".a");
	assert_error(vigia__path_new(slice_of(text), &path, &err), VIGIA_EINVAL, &err,
	             "more steps than an object has levels");
	memset(text, 'x', sizeof text - 1);
	memcpy(text, "object.", 7);
	assert_error(vigia__path_new((struct vigia_slice){text, VIGIA_PATH_BYTES_MAX + 1}, &path, &err), VIGIA_EINVAL, &err,
	             "4097 bytes");
	assert_int_equal(vigia__path_new((struct vigia_slice){text, VIGIA_PATH_BYTES_MAX}, &path, NULL), VIGIA_OK);
	vigia__path_free(path);
}

/* As the decoder does. */
static void test_F4_the_last_of_duplicate_keys_counts(void **state)
{
	static const uint8_t object[] = {0x83, 0xa1, 'a', 1, 0xc4, 1, 'a', 2, 0xa1, 'b', 3};
	struct vigia__path *path;
	struct vigia__reader at;
	assert_int_equal(vigia__path_new(slice_of("object.a"), &path, NULL), VIGIA_OK);
	assert_int_equal(vigia__path_find(path, (struct vigia_slice){(char *)object, sizeof object}, &at), VIGIA_OK);
	assert_int_equal(*at.at, 2);
	for (size_t len = 0; len < sizeof object; len++)
		assert_int_equal(vigia__path_find(path, (struct vigia_slice){(char *)object, len}, &at), VIGIA_EDESERIAL);
	vigia__path_free(path);
}

/* ---- filters ---- */

static bool matches(const char *place, const char *values, const char *object, const char *serializer)
{
	struct vigia__buf wanted = value_of(values), event = {0};
	struct vigia_slice list[20], one = slice_at(&wanted);
	size_t count = 0;
	uint32_t items = *values == '[' ? (uint32_t)(wanted.data[0] & 15) : 1;
	struct vigia__reader reader = {wanted.data + (*values == '['), wanted.data + wanted.len};
	for (; *values == '[' && count < items; count++) {
		const uint8_t *begin = reader.at;
		assert_int_equal(vigia__reader_skip(&reader, NULL), VIGIA_OK);
		list[count] = (struct vigia_slice){(const char *)begin, (size_t)(reader.at - begin)};
	}
	if (*values != '[') list[count++] = one;
	struct vigia_where where = {slice_of(place), list, count};
	struct vigia__filter *filter;
	assert_int_equal(vigia__filter_new_where(NULL, &where, 1, &filter, NULL), VIGIA_OK);
	assert_int_equal(vigia__event_begin(&event, slice_of("CREATE"), slice_of("Job"), NULL), VIGIA_OK);
	assert_int_equal(vigia__json_to_value(object, strlen(object), &event, NULL), VIGIA_OK);
	if (strcmp(serializer, "json") == 0)
		assert_int_equal(vigia__event_recode(&event, 0, serializer, 1 << 20, NULL), VIGIA_OK);
	else if (*serializer) {
		struct vigia__head head;
		assert_int_equal(vigia__event_head(event.data, event.len, &head), 0);
		size_t at = (size_t)((const uint8_t *)head.object.data - event.data) - 1;
		assert_int_equal(vigia__event_payload(&event, at, serializer, "??", 2), 0);
	}
	bool wants = vigia__filter_match(filter, event.data, event.len);
	vigia__filter_free(filter);
	vigia__buf_deinit(&wanted);
	vigia__buf_deinit(&event);
	return wants;
}

static void test_F4_values(void **state)
{
	static const struct {
		const char *values, *object;
		bool wanted;
	} rows[] = {
		{"\"lost\"", "{\"s\":\"lost\"}", true},
		{"[\"failed\",\"lost\"]", "{\"s\":\"lost\"}", true},
		{"[\"failed\",\"lost\"]", "{\"s\":\"done\"}", false},
		{"\"lost\"", "{\"s\":\"los\"}", false},
		{"\"lost\"", "{\"s\":{\"$bytes\":\"bG9zdA==\"}}", true},
		{"\"\"", "{\"s\":\"\"}", true},
		{"1", "{\"s\":1.0}", true},
		{"1.0", "{\"s\":1}", true},
		{"0", "{\"s\":-0.0}", true},
		{"1", "{\"s\":1.5}", false},
		{"1", "{\"s\":\"1\"}", false},
		{"1", "{\"s\":true}", false},
		{"9007199254740993", "{\"s\":9007199254740992.0}", false},
		{"9223372036854775807", "{\"s\":9223372036854775808.0}", false},
		{"{\"$float\":\"inf\"}", "{\"s\":{\"$float\":\"inf\"}}", true},
		{"1.5", "{\"s\":{\"$float\":\"nan\"}}", false},
		{"true", "{\"s\":true}", true},
		{"false", "{\"s\":true}", false},
		{"false", "{\"s\":null}", false},
		{"false", "{}", false},
		{"null", "{\"s\":null}", true},
		{"null", "{}", true},
		{"null", "5", true},
		{"null", "{\"s\":false}", false},
		{"null", "{\"s\":[]}", false},
		{"\"x\"", "{}", false},
		{"[null,\"x\"]", "{}", true},
		{"[5,\"b\",true,2.5,\"a\",null,-1,\"abc\",4,3.0,false]", "{\"s\":3}", true},
		{"[5,\"b\",true,2.5,\"a\",null,-1,\"abc\",4,3.0,false]", "{\"s\":\"abc\"}", true},
		{"[5,\"b\",true,2.5,\"a\",null,-1,\"abc\",4,3.0,false]", "{\"s\":2.5}", true},
		{"[5,\"b\",true,2.5,\"a\",null,-1,\"abc\",4,3.0,false]", "{\"s\":-1.0}", true},
		{"[5,\"b\",true,2.5,\"a\",null,-1,\"abc\",4,3.0,false]", "{\"s\":\"ab\"}", false},
		{"[5,\"b\",true,2.5,\"a\",null,-1,\"abc\",4,3.0,false]", "{\"s\":6}", false},
		{"\"x\"", "{\"s\":[\"x\"]}", false},
		{"\"x\"", "{\"s\":{\"x\":1}}", false},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		for (int json = 0; json < 2; json++)
			if (matches("object.s", rows[i].values, rows[i].object, json ? "json" : "") != rows[i].wanted)
				fail_msg("%s in %s, json %d", rows[i].values, rows[i].object, json);
	}
	assert_true(matches("object.s", "1", "{\"s\":2}", "of an application"));
}

static void test_F4_all_places_must_match(void **state)
{
	struct vigia__buf one = value_of("1"), two = value_of("2"), event = {0};
	struct vigia_slice values[] = {slice_at(&one), slice_at(&two)}, type = slice_of("Job");
	struct vigia_where where[] = {{slice_of("object.a"), &values[0], 1}, {slice_of("object.b"), values, 2}};
	struct vigia_filter lists = {.object_types = &type, .object_types_count = 1};
	static const struct {
		const char *type, *object;
		bool wanted;
	} rows[] = {{"Job", "{\"a\":1,\"b\":2}", true},
	            {"Job", "{\"a\":1,\"b\":1}", true},
	            {"Job", "{\"a\":1,\"b\":3}", false},
	            {"Job", "{\"a\":2,\"b\":2}", false},
	            {"Node", "{\"a\":1,\"b\":2}", false}};
	struct vigia__filter *filter;
	assert_int_equal(vigia__filter_new_where(&lists, where, 2, &filter, NULL), VIGIA_OK);
	assert_int_equal(vigia__filter_places(filter), 2);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		event.len = 0;
		assert_int_equal(vigia__event_begin(&event, slice_of("CREATE"), slice_of(rows[i].type), NULL), VIGIA_OK);
		assert_int_equal(vigia__json_to_value(rows[i].object, strlen(rows[i].object), &event, NULL), VIGIA_OK);
		if (vigia__filter_match(filter, event.data, event.len) != rows[i].wanted) fail_msg("row %zu", i);
	}
	/* F2: what cannot be read may be seen */
	event.len = 0;
	assert_int_equal(vigia__event_begin(&event, slice_of("CREATE"), type, NULL), VIGIA_OK);
	assert_int_equal(vigia__json_to_value("{\"a\":7,\"b\":7}", 13, &event, NULL), VIGIA_OK);
	assert_false(vigia__filter_match(filter, event.data, event.len));
	assert_true(vigia__filter_match(filter, event.data, event.len - 1));
	vigia__filter_free(filter);
	vigia__buf_deinit(&one);
	vigia__buf_deinit(&two);
	vigia__buf_deinit(&event);
}

static void test_F4_wrong_ones_are_named(void **state)
{
	struct vigia__buf one = value_of("1"), list = value_of("[1]"), map = value_of("{}");
	struct vigia__buf nan = value_of("{\"$float\":\"nan\"}"), both = {0};
	struct vigia_slice good = slice_at(&one), none = {"", 0};
	struct vigia__filter *filter = (void *)1;
	struct vigia_error err = {0};
	assert_int_equal(vigia__buf_add(&both, "\1\2", 2), 0);
	const struct {
		const char *place;
		struct vigia_slice value;
		size_t count;
		const char *says;
	} rows[] = {
		{"object.a[", good, 1, "filter.where: the place \"object.a[\" is wrong at character 10"},
		{"object.a", good, 0, "filter.where[\"object.a\"]: no value is given"},
		{"object.a", slice_at(&list), 1, "filter.where[\"object.a\"]: value 1 is an array"},
		{"object.a", slice_at(&map), 1, "value 1 is a map"},
		{"object.a", slice_at(&nan), 1, "value 1 is NaN"},
		{"object.a", slice_at(&both), 1, "value 1 is more than one value"},
		{"object.a", none, 1, "value 1 is no msgpack value"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia_where where = {slice_of(rows[i].place), &rows[i].value, rows[i].count};
		assert_error(vigia__filter_new_where(NULL, &where, 1, &filter, &err), VIGIA_EINVAL, &err, rows[i].says);
		assert_null(filter);
	}
	struct vigia_where many[17];
	for (int i = 0; i < 17; i++) many[i] = (struct vigia_where){slice_of("object.a"), &good, 1};
	assert_error(vigia__filter_new_where(NULL, many, 17, &filter, &err), VIGIA_EINVAL, &err,
	             "17 places, allowed: at most 16");
	assert_int_equal(vigia__filter_new_where(NULL, many, 16, &filter, &err), VIGIA_OK);
	vigia__filter_free(filter);
	vigia__buf_deinit(&one);
	vigia__buf_deinit(&list);
	vigia__buf_deinit(&map);
	vigia__buf_deinit(&nan);
	vigia__buf_deinit(&both);
}

static int scenario(const struct vigia__buf *one)
{
	struct vigia_slice value = slice_at(one);
	struct vigia_where where[2] = {{slice_of("object.a.b[1]"), &value, 1}, {slice_of("object"), &value, 1}};
	struct vigia__filter *filter;
	int rc = vigia__filter_new_where(NULL, where, 2, &filter, NULL);
	assert_true(rc == 0 || !filter);
	vigia__filter_free(filter);
	return rc;
}

static void test_without_memory(void **state)
{
	struct vigia__buf one = value_of("1");
	with_failing_allocations(scenario(&one));
	vigia__buf_deinit(&one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_F4_finds),
		cmocka_unit_test(test_F4_refuses_and_says_where),
		cmocka_unit_test(test_F4_bounds),
		cmocka_unit_test(test_F4_the_last_of_duplicate_keys_counts),
		cmocka_unit_test(test_F4_values),
		cmocka_unit_test(test_F4_all_places_must_match),
		cmocka_unit_test(test_F4_wrong_ones_are_named),
		cmocka_unit_test(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
