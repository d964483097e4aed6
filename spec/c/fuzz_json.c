/*
 * fuzz_json.c - any text as JSON: nothing crashes, an error says something, and what is taken comes back the same.
 */
#include "core/json.h"
#include "lib/fuzz.h"

static const struct vigia_slice seeds[] = {
	FUZZ_SEED("{\"operation\":\"CREATE\",\"object_type\":\"File\","
	          "\"object\":{\"path\":\"src/é.c\",\"size\":1.0,\"list\":[1,null,true,\"x\"]}}"),
	FUZZ_SEED("{\"seq_num\":7,\"timestamp\":1700000000000000001,\"operation\":\"a\",\"object_type\":\"b\",\"object\":null}"),
	FUZZ_SEED("{\"$map\":[[1,2],[\"a\",{\"$bytes\":\"/w==\"}],[1.5,{\"$float\":\"nan\"}],[{\"$bytes\":\"//8=\"},[]]]}"),
	FUZZ_SEED("[-9223372036854775808,9223372036854775807,9223372036854775808,1e308,1e309,-0.0,5e-324,0.1]"),
	FUZZ_SEED("\"\\u0000\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\\ud800\xf0\x9f\x98\x80\xff\""),
	FUZZ_SEED("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{\"$float\":\"-inf\"}]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
	FUZZ_SEED("{\"a\":1,\"a\":2}"),
	FUZZ_SEED(" \t\r\n{ } "),
};

static struct vigia_slice slice(const struct vigia__buf *buf) {
	return (struct vigia_slice){(const char *)buf->data, buf->len};
}

static void try_value(const char *text, size_t len) {
	struct vigia__buf value = {0}, out = {0}, again = {0};
	struct vigia_error err = {0};
	int rc = vigia__json_to_value(text, len, &value, &err);
	if (rc != 0) {
		fuzz_assert(rc == VIGIA_ESERIAL && err.message[0] && value.len == 0);
	} else {
		fuzz_assert(vigia__value_check(slice(&value), VIGIA_ESERIAL, NULL) == 0);
		fuzz_assert(vigia__json_from_value(slice(&value), &out, NULL) == 0);
		fuzz_assert(vigia__utf8_valid((char *)out.data, out.len) && !memchr(out.data, '\n', out.len));
		fuzz_assert(vigia__json_to_value((char *)out.data, out.len, &again, NULL) == 0);
		fuzz_assert(again.len == value.len && memcmp(again.data, value.data, value.len) == 0);
	}
	vigia__buf_deinit(&value);
	vigia__buf_deinit(&out);
	vigia__buf_deinit(&again);
}

static void try_line(const char *text, size_t len) {
	struct vigia__buf bytes = {0}, out = {0}, again = {0};
	struct vigia_error err = {0};
	int rc = vigia__json_to_event(text, len, &bytes, 1 << 20, &err);
	if (rc != 0) {
		fuzz_assert((rc == VIGIA_ESERIAL || rc == VIGIA_EINVAL) && err.message[0] && bytes.len == 0);
	} else {
		struct vigia__head head;
		vigia__event_stamp(bytes.data, bytes.len, 9, 1700000000000000001);
		fuzz_assert(vigia__event_intact(bytes.data, bytes.len, 9));
		fuzz_assert(vigia__event_head(bytes.data, bytes.len, &head) == 0);
		struct vigia_event event = {9, head.at_ns, head.operation, head.object_type, .object = head.object};
		fuzz_assert(vigia__json_from_event(&event, &out, NULL) == 0);
		fuzz_assert(vigia__json_to_event((char *)out.data, out.len, &again, 1 << 20, NULL) == 0);
		vigia__event_stamp(again.data, again.len, 9, 1700000000000000001);
		fuzz_assert(again.len == bytes.len && memcmp(again.data, bytes.data, bytes.len) == 0);
	}
	vigia__buf_deinit(&bytes);
	vigia__buf_deinit(&out);
	vigia__buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	try_value((const char *)data, size);
	try_line((const char *)data, size);
	return 0;
}

FUZZ_MAIN(seeds)
