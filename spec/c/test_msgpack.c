/*
 * test_msgpack.c - the helpers of vigia.h for objects: what a program in C writes and reads without another library.
 */
#include "core/event.h"
#include "test.h"

static struct vigia_slice ended(struct vigia_buffer *buffer)
{
	struct vigia_slice object = {0};
	struct vigia_error err = {0};
	if (vigia_msgpack_end(buffer, &object, &err) < 0) fail_msg("%s", err.message);
	return object;
}

/* {"name": "Ana", "age": 41, "score": 1.5, "tags": ["a", true, nil], "raw": FF 00, "address": {"city": "Rome"}} */
static void write_person(struct vigia_buffer *buffer)
{
	vigia_msgpack_map(buffer, 6);
	vigia_msgpack_text(buffer, "name");
	vigia_msgpack_text(buffer, "Ana");
	vigia_msgpack_text(buffer, "age");
	vigia_msgpack_integer(buffer, 41);
	vigia_msgpack_text(buffer, "score");
	vigia_msgpack_float(buffer, 1.5);
	vigia_msgpack_text(buffer, "tags");
	vigia_msgpack_array(buffer, 3);
	vigia_msgpack_text(buffer, "a");
	vigia_msgpack_boolean(buffer, true);
	vigia_msgpack_nil(buffer);
	vigia_msgpack_text(buffer, "raw");
	vigia_msgpack_string(buffer, "\xff\x00", 2);
	vigia_msgpack_text(buffer, "address");
	vigia_msgpack_json(buffer, "{\"city\": \"Rome\"}", 16);
}

static struct vigia_msgpack_value value_of(struct vigia_slice bytes)
{
	struct vigia_msgpack_value value;
	assert_int_equal(vigia_msgpack_next(&bytes, &value, NULL), VIGIA_OK);
	return value;
}

static void test_an_object(void **state)
{
	struct vigia_buffer *buffer = vigia_buffer_new(), *text = vigia_buffer_new();
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	write_person(buffer);
	struct vigia_new_event event = {SLICE_INIT("CREATE"), SLICE_INIT("User"), ended(buffer)};
	assert_int_equal(vigia_store_open(":memory:", NULL, &store, &err), VIGIA_OK);
	assert_int_equal(vigia_store_append(store, &event, 1, NULL, &err), VIGIA_OK);
	vigia_buffer_free(buffer);

	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_event stored;
	struct vigia_slice found, inside, json;
	assert_int_equal(vigia_store_read(store, NULL, batch, &next, &err), VIGIA_OK);
	assert_int_equal(vigia_batch_event(batch, 0, &stored, &err), VIGIA_OK);
	assert_int_equal(vigia_msgpack_find(stored.object, "name", &found, &err), VIGIA_OK);
	assert_int_equal(value_of(found).kind, VIGIA_MSGPACK_STRING);
	assert_slice(value_of(found).string, "Ana");
	assert_int_equal(vigia_msgpack_find(stored.object, "age", &found, &err), VIGIA_OK);
	assert_int_equal(value_of(found).kind, VIGIA_MSGPACK_INTEGER);
	assert_int_equal(value_of(found).integer, 41);
	assert_int_equal(vigia_msgpack_find(stored.object, "score", &found, &err), VIGIA_OK);
	assert_int_equal(value_of(found).kind, VIGIA_MSGPACK_FLOAT);
	assert_true(value_of(found).number == 1.5);
	assert_int_equal(vigia_msgpack_find(stored.object, "raw", &found, &err), VIGIA_OK);
	assert_int_equal(value_of(found).kind, VIGIA_MSGPACK_BINARY);
	assert_slice(value_of(found).string, "\xff\x00");
	assert_int_equal(vigia_msgpack_find(stored.object, "address", &found, &err), VIGIA_OK);
	assert_int_equal(vigia_msgpack_find(found, "city", &inside, &err), VIGIA_OK);
	assert_slice(value_of(inside).string, "Rome");
	assert_int_equal(vigia_msgpack_find(stored.object, "tags", &found, &err), VIGIA_OK);
	assert_int_equal(value_of(found).kind, VIGIA_MSGPACK_ARRAY);
	assert_int_equal(value_of(found).count, 3);
	assert_int_equal(vigia_msgpack_at(found, 1, &inside, &err), VIGIA_OK);
	assert_true(value_of(inside).kind == VIGIA_MSGPACK_BOOLEAN && value_of(inside).boolean);
	assert_int_equal(vigia_msgpack_at(found, 2, &inside, &err), VIGIA_OK);
	assert_int_equal(value_of(inside).kind, VIGIA_MSGPACK_NIL);
	assert_int_equal(vigia_msgpack_at(found, 3, &inside, &err), VIGIA_NONE);
	assert_int_equal(inside.len, 0);

	/* what is not there, and what is no map or array */
	assert_int_equal(vigia_msgpack_find(stored.object, "nam", &inside, &err), VIGIA_NONE);
	assert_int_equal(vigia_msgpack_find(found, "name", &inside, &err), VIGIA_NONE);
	assert_int_equal(vigia_msgpack_at(stored.object, 0, &inside, &err), VIGIA_NONE);
	assert_int_equal(vigia_msgpack_find((struct vigia_slice){0}, "name", &inside, &err), VIGIA_NONE);

	/* token by token, and over whole values */
	struct vigia_slice rest = stored.object;
	struct vigia_msgpack_value value;
	assert_int_equal(vigia_msgpack_next(&rest, &value, &err), VIGIA_OK);
	assert_int_equal(value.kind, VIGIA_MSGPACK_MAP);
	assert_int_equal(value.count, 6);
	for (int i = 0; i < 12; i++) assert_int_equal(vigia_msgpack_skip(&rest, &err), VIGIA_OK);
	assert_int_equal(vigia_msgpack_skip(&rest, &err), VIGIA_NONE);
	assert_int_equal(vigia_msgpack_next(&rest, &value, &err), VIGIA_NONE);

	assert_int_equal(vigia_msgpack_to_json(stored.object, text, &json, &err), VIGIA_OK);
	assert_string_equal(
		json.data,
		"{\"name\":\"Ana\",\"age\":41,\"score\":1.5,\"tags\":[\"a\",true,null],\"raw\":{\"$bytes\":\"/wA=\"},"
		"\"address\":{\"city\":\"Rome\"}}");
	assert_int_equal(json.len, strlen(json.data));
	assert_int_equal(vigia_event_json(&stored, text, &json, &err), VIGIA_OK);
	assert_non_null(strstr(json.data, "{\"seq_num\":1,\"timestamp\":"));
	assert_non_null(
		strstr(json.data, ",\"operation\":\"CREATE\",\"object_type\":\"User\",\"object\":{\"name\":\"Ana\""));
	vigia_buffer_free(text);
	vigia_batch_free(batch);
	vigia_store_free(store);
}

static void test_what_is_no_object(void **state)
{
	struct vigia_buffer *buffer = vigia_buffer_new();
	struct vigia_slice object;
	struct vigia_error err = {0};
	assert_error(vigia_msgpack_end(buffer, &object, &err), VIGIA_ESERIAL, &err, "there is no value");
	vigia_msgpack_map(buffer, 2);
	vigia_msgpack_text(buffer, "a");
	assert_error(vigia_msgpack_end(buffer, &object, &err), VIGIA_ESERIAL, &err,
	             "values missing in its arrays and maps: 3");
	for (int i = 0; i < 3; i++) vigia_msgpack_integer(buffer, i);
	assert_int_equal(vigia_msgpack_end(buffer, &object, &err), VIGIA_OK);
	vigia_msgpack_nil(buffer);
	assert_error(vigia_msgpack_end(buffer, &object, &err), VIGIA_ESERIAL, &err, "no value can follow");
	vigia_buffer_clear(buffer);
	vigia_msgpack_map(buffer, 1);
	vigia_msgpack_nil(buffer);
	vigia_msgpack_nil(buffer);
	assert_error(vigia_msgpack_end(buffer, &object, &err), VIGIA_ESERIAL, &err, "a key of the map is nil");
	vigia_buffer_clear(buffer);
	vigia_msgpack_array(buffer, 2);
	vigia_msgpack_json(buffer, "[1, 2", 5);
	vigia_msgpack_integer(buffer, 5); /* the first failure stays */
	assert_int_equal(vigia_msgpack_end(buffer, &object, &err), VIGIA_ESERIAL);
	assert_null(strstr(err.message, "missing"));
	vigia_buffer_clear(buffer);
	vigia_msgpack_array(buffer, SIZE_MAX);
	assert_error(vigia_msgpack_end(buffer, &object, &err), VIGIA_ESERIAL, &err, "more than the format can count");
	vigia_buffer_clear(buffer);
	for (int i = 0; i < 1000; i++) vigia_msgpack_array(buffer, 1);
	vigia_msgpack_nil(buffer);
	assert_error(vigia_msgpack_end(buffer, &object, &err), VIGIA_ESERIAL, &err, "nested deeper than");
	vigia_buffer_free(buffer);
	/* without memory there is no buffer, and nothing crashes */
	write_person(NULL);
	assert_error(vigia_msgpack_end(NULL, &object, &err), VIGIA_ENOMEM, &err, "memory");
	vigia_buffer_free(NULL);
}

/* Of a key that is there twice the last one counts, as for who decodes all. */
static void test_duplicates(void **state)
{
	struct vigia_slice found, map = SLICE("\x82\xa1k\x01\xa1k\x02");
	assert_int_equal(vigia_msgpack_find(map, "k", &found, NULL), VIGIA_OK);
	assert_int_equal(value_of(found).integer, 2);
}

/* Keys that are one key for Lua and for JSON: a value of the two would be lost. Nothing of it is stored. */
static void test_a_key_twice(void **state)
{
	static const struct {
		struct vigia_slice object;
		const char *place; /* NULL: it is good */
	} rows[] = {
		{SLICE_INIT("\x82\xa1k\x01\xa1k\x02"), "object.k: the key occurs twice"},
		{SLICE_INIT("\x82\xa1k\x01\xd9\x01k\x02"), "object.k:"},                /* the same text, written longer */
		{SLICE_INIT("\x82\xa1k\x01\xc4\x01k\x02"), "object.k:"},                /* as bytes */
		{SLICE_INIT("\x82\x01\x01\xcb\x3f\xf0\0\0\0\0\0\0\x02"), "object[1]:"}, /* 1 and 1.0 */
		{SLICE_INIT("\x82\x00\x01\xcb\x80\0\0\0\0\0\0\0\x02"), "object[0]:"},   /* 0 and -0.0 */
		{SLICE_INIT("\x82\xca\x3f\0\0\0\x01\xcb\x3f\xe0\0\0\0\0\0\0\x02"),
	     "object[0.5]:"}, /* 0.5, of 4 and of 8 bytes */
		{SLICE_INIT("\x82\xc3\x01\xc3\x02"), "object[true]:"},
		{SLICE_INIT("\x82\xa0\x01\xa0\x02"), "object[\"\"]:"},
		{SLICE_INIT("\x92\x01\x81\xa1m\x83\xa1x\x01\xa1y\x02\xa1x\x03"), "object[2].m.x:"},
		{SLICE_INIT("\x83\xa1x\x82\xa1x\x01\xa1y\x02\xa1y\x02\xa1x\x03"), "object.x:"}, /* behind a map inside */
		{SLICE_INIT("\x82\xa1x\x82\xa1x\x01\xa1y\x02\xa1y\x81\xa1x\x01"), NULL},        /* each in its own map */
		{SLICE_INIT("\x83\x01\x01\xa1"
	                "1\x02\xcb\x3f\xf8\0\0\0\0\0\0\x02"),
	     NULL}, /* 1, "1", 1.5 */
	};
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	for (int json = 0; json < 2; json++) {
		struct vigia_store_options options;
		vigia_store_options_init(&options);
		options.serializer = "json";
		options.serializer_given = json;
		assert_int_equal(vigia_store_open(":memory:", &options, &store, &err), VIGIA_OK);
		for (size_t i = 0; i < COUNT_OF(rows); i++) {
			struct vigia_new_event event = {SLICE_INIT("CREATE"), SLICE_INIT("User"), rows[i].object};
			int rc = vigia_store_append(store, &event, 1, NULL, &err);
			if (rows[i].place) assert_error(rc, VIGIA_ESERIAL, &err, rows[i].place);
			else assert_int_equal(rc, VIGIA_OK);
		}
		vigia_store_free(store);
	}

	/* of many keys, more than are compared one by one */
	struct vigia_buffer *buffer = vigia_buffer_new();
	struct vigia_slice object;
	enum { MANY = 1000 };
	vigia_msgpack_map(buffer, MANY);
	for (int i = 0; i < MANY; i++) {
		vigia_msgpack_integer(buffer, i);
		vigia_msgpack_json(buffer, "{\"x\": 1, \"y\": 2}", 16);
	}
	assert_int_equal(vigia_msgpack_end(buffer, &object, &err), VIGIA_OK);
	vigia_buffer_clear(buffer);
	vigia_msgpack_map(buffer, MANY);
	for (int i = 0; i < MANY; i++) {
		vigia_msgpack_float(buffer, i == MANY - 3 ? 21 : i);
		vigia_msgpack_nil(buffer);
	}
	assert_error(vigia_msgpack_end(buffer, &object, &err), VIGIA_ESERIAL, &err, "object[21]: the key occurs twice");
	vigia_buffer_free(buffer);
}

static void read_all(struct vigia_slice bytes)
{
	struct vigia_slice rest = bytes, value;
	struct vigia_msgpack_value token;
	while (vigia_msgpack_next(&rest, &token, NULL) == VIGIA_OK)
		if (token.kind == VIGIA_MSGPACK_STRING || token.kind == VIGIA_MSGPACK_BINARY)
			assert_true(token.string.data >= bytes.data &&
			            token.string.data + token.string.len <= bytes.data + bytes.len);
	rest = bytes;
	while (vigia_msgpack_skip(&rest, NULL) == VIGIA_OK)
		;
	vigia_msgpack_find(bytes, "address", &value, NULL);
	assert_true(value.len <= bytes.len);
	vigia_msgpack_at(bytes, 2, &value, NULL);
	assert_true(value.len <= bytes.len);
}

/* In memory of exactly their size: AddressSanitizer sees a byte too many. */
static void test_hostile_bytes(void **state)
{
	struct vigia_buffer *buffer = vigia_buffer_new();
	struct rng rng = rng_seeded();
	write_person(buffer);
	struct vigia_slice whole = ended(buffer);
	for (size_t len = 0; len < whole.len; len++) {
		char *bytes = malloc(len);
		if (len) memcpy(bytes, whole.data, len);
		read_all((struct vigia_slice){bytes, len});
		struct vigia_slice found;
		assert_int_not_equal(vigia_msgpack_find((struct vigia_slice){bytes, len}, "address", &found, NULL), VIGIA_OK);
		free(bytes);
	}
	for (int i = 0; i < 20000; i++) {
		size_t len = rng_below(&rng, 40);
		char *bytes = malloc(len);
		for (size_t j = 0; j < len; j++) bytes[j] = (char)rng_next(&rng);
		read_all((struct vigia_slice){bytes, len});
		free(bytes);
	}
	vigia_buffer_free(buffer);
}

/* Of a store made for JSON, an event's object is JSON: vigia_event_object() tells it as msgpack. */
static void test_other_serializers(void **state)
{
	struct vigia_buffer *buffer = vigia_buffer_new();
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.serializer = "json";
	options.serializer_given = true;
	assert_int_equal(vigia_store_open(":memory:", &options, &store, &err), VIGIA_OK);
	write_person(buffer);
	struct vigia_new_event event = {SLICE_INIT("CREATE"), SLICE_INIT("User"), ended(buffer)};
	assert_int_equal(vigia_store_append(store, &event, 1, NULL, &err), VIGIA_OK);
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_event stored;
	struct vigia_slice object, found;
	assert_int_equal(vigia_store_read(store, NULL, batch, &next, &err), VIGIA_OK);
	assert_int_equal(vigia_batch_event(batch, 0, &stored, &err), VIGIA_OK);
	assert_slice(stored.serializer, "json");
	assert_int_equal(vigia_event_object(&stored, buffer, &object, &err), VIGIA_OK);
	assert_int_equal(vigia_msgpack_find(object, "age", &found, &err), VIGIA_OK);
	assert_int_equal(value_of(found).integer, 41);
	stored.serializer = SLICE("mine");
	assert_error(vigia_event_object(&stored, buffer, &object, &err), VIGIA_EDESERIAL, &err, "serializer 'mine'");
	vigia_buffer_free(buffer);
	vigia_batch_free(batch);
	vigia_store_free(store);
}

static int write_many_keys(void)
{
	struct vigia_buffer *buffer = vigia_buffer_new();
	struct vigia_slice object;
	struct vigia_error err = {0};
	vigia_msgpack_map(buffer, 100);
	for (int i = 0; i < 200; i++) vigia_msgpack_integer(buffer, i);
	int rc = vigia_msgpack_end(buffer, &object, &err);
	assert_int_equal(rc, rc == VIGIA_OK ? 0 : err.code);
	vigia_buffer_free(buffer);
	return rc;
}

static int write_and_show(void)
{
	struct vigia_buffer *buffer = vigia_buffer_new(), *text = vigia_buffer_new();
	struct vigia_slice object, json;
	struct vigia_error err = {0};
	write_person(buffer);
	int rc = vigia_msgpack_end(buffer, &object, &err);
	if (rc == VIGIA_OK) rc = vigia_msgpack_to_json(object, text, &json, &err);
	assert_int_equal(rc, rc == VIGIA_OK ? 0 : err.code);
	vigia_buffer_free(buffer);
	vigia_buffer_free(text);
	return rc;
}

static void test_without_memory(void **state)
{
	with_failing_allocations(write_and_show());
	with_failing_allocations(write_many_keys());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"an object is written, stored, found again and told as JSON [E5]", test_an_object, NULL, NULL, NULL},
		{"what is not one value is refused at its end, with the reason [E6]", test_what_is_no_object, NULL, NULL, NULL},
		{"of a key that is there twice the last one is found", test_duplicates, NULL, NULL, NULL},
		{"a map with a key twice is refused, with its place [E5 E6]", test_a_key_twice, NULL, NULL, NULL},
		{"no byte beyond what is given is read", test_hostile_bytes, NULL, NULL, NULL},
		{"an object of a JSON store is told as msgpack", test_other_serializers, NULL, NULL, NULL},
		{"without memory the end of an object says so", test_without_memory, NULL, NULL, NULL},
	};
	return cmocka_run_group_tests_name("msgpack", tests, NULL, NULL);
}
