/*
 * fuzz_json.c - any text as JSON: nothing crashes, an error says something, and what is taken comes back the same.
 */
#include "core/json.h"
#include "core/utf8.h"
#include "lib/fuzz.h"

static struct vigia_slice slice(const struct vigia__buf *buf)
{
	return (struct vigia_slice){(const char *)buf->data, buf->len};
}

static void try_value(const char *text, size_t len)
{
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

static void try_line(const char *text, size_t len)
{
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_value((const char *)data, size);
	try_line((const char *)data, size);
	return 0;
}

FUZZ_MAIN(50000)
