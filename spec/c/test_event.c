/*
 * test_event.c - the event's bytes: writing, stamping, taking apart; the batch that holds them.
 */
#include "core/batch.h"
#include "core/serial.h"
#include "lib/random_value.h"

static struct vigia__buf event_of(struct vigia_slice operation, struct vigia_slice type)
{
	struct vigia__buf buf = {0};
	assert_int_equal(vigia__event_begin(&buf, operation, type, NULL), 0);
	assert_int_equal(vigia__put_string(&buf, "x", 1), 0);
	return buf;
}

/* As drawn in event.h. The checksum is a constant here (computed with libxxhash itself), so that a change of the
 * format cannot go unnoticed. */
static void test_layout(void **state)
{
	struct vigia__buf buf = event_of(SLICE("UPDATE"), SLICE("File"));
	vigia__event_stamp(buf.data, buf.len, 7, 0x0102030405060708);
	static const uint8_t wanted[] = "\x96\xce\x00\x00\x00\x00\xcf\x01\x02\x03\x04\x05\x06\x07\x08\x02\xa4"
									"File\x00\xa1x";
	assert_int_equal(buf.len, sizeof wanted - 1);
	assert_memory_equal(buf.data, wanted, 2);
	assert_memory_equal(buf.data + 2, "\x57\x8e\xea\x32", 4);
	assert_memory_equal(buf.data + 6, wanted + 6, sizeof wanted - 1 - 6);
	assert_true(vigia__event_time(buf.data, buf.len) == 0x0102030405060708);
	assert_true(vigia__event_intact(buf.data, buf.len, 7));

	struct vigia__head head;
	assert_int_equal(vigia__event_head(buf.data, buf.len, &head), 0);
	assert_true(head.at_ns == 0x0102030405060708);
	assert_int_equal(head.standard, 2);
	assert_slice(head.operation, "UPDATE");
	assert_slice(head.object_type, "File");
	assert_int_equal(head.serializer.len, 0);
	assert_slice(head.object, "\xa1x");
	vigia__buf_deinit(&buf);
}

/* E4 */
static void test_names(void **state)
{
	static char many[256];
	memset(many, 'n', sizeof many);
	const struct vigia_slice good[] = {
		SLICE("CREATE"),           SLICE("UPDATE"),      SLICE("DELETE"), SLICE("create"), SLICE("a"), SLICE("CREATED"),
		SLICE("umbenennen für €"), SLICE("nul\0inside"), {many, 31},      {many, 32},      {many, 255}};
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct vigia__buf buf = event_of(good[i], good[COUNT_OF(good) - 1 - i]);
		struct vigia__head head;
		assert_int_equal(vigia__event_head(buf.data, buf.len, &head), 0);
		assert_int_equal(head.standard, i < 3 ? i + 1 : 0);
		assert_int_equal(head.operation.len, good[i].len);
		assert_memory_equal(head.operation.data, good[i].data, good[i].len);
		assert_int_equal(head.object_type.len, good[COUNT_OF(good) - 1 - i].len);
		vigia__buf_deinit(&buf);
	}
	static const struct {
		struct vigia_slice name;
		const char *what;
	} bad[] = {{{"", 0}, "is empty"}, {{many, 256}, "has 256 bytes"}, {{"a\xff", 2}, "is not valid UTF-8"}};
	struct vigia__buf buf = {0};
	assert_int_equal(vigia__buf_add(&buf, "before", 6), 0);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct vigia_error err;
		char what[64];
		snprintf(what, sizeof what, "operation %s", bad[i].what);
		assert_error(vigia__event_begin(&buf, bad[i].name, good[0], &err), VIGIA_EINVAL, &err, what);
		snprintf(what, sizeof what, "object_type %s", bad[i].what);
		assert_error(vigia__event_begin(&buf, good[0], bad[i].name, &err), VIGIA_EINVAL, &err, what);
	}
	assert_slice(buf_slice(&buf), "before");
	vigia__buf_deinit(&buf);
}

/* E8 */
static void test_any_flipped_bit_is_found(void **state)
{
	for (size_t pad = 0; pad < 300; pad += 37) {
		struct vigia__buf buf = event_of(SLICE("CREATE"), SLICE("File"));
		char filler[300] = {0};
		assert_int_equal(vigia__buf_add(&buf, filler, pad), 0);
		vigia__event_stamp(buf.data, buf.len, 41, 1700000000000000000);
		assert_true(vigia__event_intact(buf.data, buf.len, 41));
		assert_false(vigia__event_intact(buf.data, buf.len, 42));
		assert_false(vigia__event_intact(buf.data, buf.len - 1, 41));
		for (size_t bit = 0; bit < buf.len * 8; bit++) {
			buf.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_false(vigia__event_intact(buf.data, buf.len, 41));
			buf.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		vigia__buf_deinit(&buf);
	}
}

static void test_time_before_the_epoch_is_the_epoch(void **state)
{
	struct vigia__buf buf = event_of(SLICE("CREATE"), SLICE("File"));
	vigia__event_stamp(buf.data, buf.len, 1, -5);
	assert_int_equal(vigia__event_time(buf.data, buf.len), 0);
	assert_true(vigia__event_intact(buf.data, buf.len, 1));
	assert_int_equal(vigia__event_time(buf.data, 14), 0);
	vigia__buf_deinit(&buf);
}

/* E7 */
static void test_too_large(void **state)
{
	struct vigia__buf buf = {0};
	struct vigia_error err;
	assert_int_equal(vigia__buf_add(&buf, "before", 6), 0);
	assert_int_equal(vigia__event_begin(&buf, SLICE("CREATE"), SLICE("File"), NULL), 0);
	char filler[100] = {0};
	assert_int_equal(vigia__put_string(&buf, filler, sizeof filler), 0);
	size_t size = buf.len - 6;
	assert_int_equal(vigia__event_end(&buf, 6, (int64_t)size, &err), 0);
	assert_error(vigia__event_end(&buf, 6, (int64_t)size - 1, &err), VIGIA_ETOOBIG, &err,
	             "the event has 124 bytes, max_event_size is 123 bytes");
	assert_slice(buf_slice(&buf), "before");
	vigia__buf_deinit(&buf);
}

/* Bytes in memory of exactly their size, so that a sanitizer sees one read too many. */
static int head_of_copy(const uint8_t *bytes, size_t len, struct vigia__head *head)
{
	uint8_t *copy = malloc(len ? len : 1);
	memcpy(copy, bytes, len);
	int rc = vigia__event_head(copy, len, head);
	if (rc == 0) {
		const char *end = (const char *)copy + len;
		assert_true(head->object.data + head->object.len == end);
		assert_true(head->object.len > 0 || head->serializer.len > 0);
		assert_in_range(head->object_type.len, 1, 255);
		assert_in_range(head->operation.len, 1, 255);
		assert_true(head->at_ns >= 0);
	}
	vigia__event_intact(copy, len, 1);
	vigia__event_time(copy, len);
	free(copy);
	return rc;
}

static void test_head_takes_any_bytes(void **state)
{
	struct rng rng = rng_seeded();
	static const struct vigia_slice names[] = {
		{"CREATE", 6}, {"x", 1}, {"a name that is longer than thirty-one bytes", 43}};
	for (size_t n = 0; n < COUNT_OF(names); n++) {
		struct vigia__buf buf = event_of(names[n], names[COUNT_OF(names) - 1 - n]);
		struct vigia__head head;
		assert_int_equal(head_of_copy(buf.data, buf.len, &head), 0);
		/* the object is two bytes: with one of them there still is a head */
		for (size_t len = 0; len < buf.len; len++)
			assert_int_equal(head_of_copy(buf.data, len, &head), len == buf.len - 1 ? 0 : -1);
		for (int i = 0; i < 20000; i++) {
			uint8_t bytes[128];
			memcpy(bytes, buf.data, buf.len);
			for (uint64_t k = rng_below(&rng, 4) + 1; k > 0; k--)
				bytes[rng_below(&rng, buf.len)] = (uint8_t)rng_next(&rng);
			head_of_copy(bytes, rng_below(&rng, buf.len + 1), &head);
		}
		vigia__buf_deinit(&buf);
	}
}

static void test_heads_that_are_none(void **state)
{
	static const char envelope[] = "\x96\xce\x00\x00\x00\x00\xcf\x00\x00\x00\x00\x00\x00\x00\x01";
	static const struct {
		struct vigia_slice rest;
		int rc;
	} rows[] = {
		{SLICE_INIT("\x01\xa1T\x00\x05"), 0},          {SLICE_INIT("\xa1o\xa1T\x00\x05"), 0},
		{SLICE_INIT("\x00\xa1T\x00\x05"), -1},                                                /* no such operation */
		{SLICE_INIT("\x04\xa1T\x00\x05"), -1},         {SLICE_INIT("\xa0\xa1T\x00\x05"), -1}, /* empty names */
		{SLICE_INIT("\x01\xa0\x00\x05\x05"), -1},      {SLICE_INIT("\x01\xd9\x00\x00\x05"), -1},
		{SLICE_INIT("\x01\xc4\x01T\x00\x05"), -1},                                            /* bytes for a name */
		{SLICE_INIT("\x01\xda\x00\x01T\x00\x05"), -1}, {SLICE_INIT("\x01\xa1T\x01\x05"), -1}, /* no such serializer */
		{SLICE_INIT("\x01\xa1T\xa0\xc4\x01x"), -1},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t bytes[64];
		struct vigia__head head;
		memcpy(bytes, envelope, sizeof envelope - 1);
		memcpy(bytes + sizeof envelope - 1, rows[i].rest.data, rows[i].rest.len);
		if (head_of_copy(bytes, sizeof envelope - 1 + rows[i].rest.len, &head) != rows[i].rc) fail_msg("row %zu", i);
		static const uint8_t at[] = {0, 1, 6};
		for (size_t k = 0; k < sizeof at; k++) {
			bytes[at[k]] ^= 1;
			assert_int_equal(vigia__event_head(bytes, sizeof envelope - 1 + rows[i].rest.len, &head), -1);
			bytes[at[k]] ^= 1;
		}
	}
}

static void test_head_with_a_serializer(void **state)
{
	static const uint8_t start[] = "\x96\xce\x00\x00\x00\x00\xcf\x00\x00\x00\x00\x00\x00\x00\x01\x01\xa1T\xa4json";
	static const struct {
		struct vigia_slice payload;
		int rc;
		size_t len;
	} rows[] = {
		{{"\xc4\x02{}", 4}, 0, 2},     {{"\xc4\x00", 2}, 0, 0},
		{{"\xc5\x00\x02{}", 5}, 0, 2}, {{"\xc6\x00\x00\x00\x02{}", 7}, 0, 2},
		{{"\xc4\x03{}", 4}, -1, 0},    {{"\xc4\x01{}", 4}, -1, 0},
		{{"\xc4", 1}, -1, 0},          {{"\xc5\x00", 2}, -1, 0},
		{{"\xa2{}", 3}, -1, 0},        {{"", 0}, -1, 0},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t bytes[64];
		struct vigia__head head;
		memcpy(bytes, start, sizeof start - 1);
		memcpy(bytes + sizeof start - 1, rows[i].payload.data, rows[i].payload.len);
		size_t len = sizeof start - 1 + rows[i].payload.len;
		assert_int_equal(vigia__event_head(bytes, len, &head), rows[i].rc);
		if (rows[i].rc == 0) {
			assert_slice(head.serializer, "json");
			assert_int_equal(head.object.len, rows[i].len);
		}
	}
}

/* ---- the batch ---- */

static void test_batch(void **state)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_error err;
	struct vigia_event event;
	assert_int_equal(vigia__batch_add(batch, 1, "", 0), 0);
	assert_non_null(batch->bytes.data); /* without bytes, it has an address all the same */
	vigia__batch_clear(batch);
	for (uint64_t seq = 1; seq <= 200; seq++) {
		struct vigia__buf buf = event_of(SLICE("CREATE"), SLICE("File"));
		vigia__event_stamp(buf.data, buf.len, seq, (int64_t)seq * 10);
		assert_int_equal(vigia__batch_add(batch, seq, buf.data, buf.len), 0);
		vigia__buf_deinit(&buf);
	}
	assert_int_equal(vigia_batch_count(batch), 200);
	/* damage two of them: one in the object, one in the number it is stored under */
	batch->bytes.data[batch->entries[50].offset + batch->entries[50].len - 1] ^= 1;
	batch->entries[60].seq_num = 999;
	for (size_t i = 0; i < 200; i++) {
		int rc = vigia_batch_event(batch, i, &event, &err);
		if (i == 50 || i == 60) {
			assert_error(rc, VIGIA_EDAMAGED, &err, i == 50 ? "event 51: " : "event 999: ");
			assert_int_equal(err.seq_num, i == 50 ? 51 : 999);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_int_equal(event.seq_num, i + 1);
		assert_int_equal(event.at_ns, (i + 1) * 10);
		assert_slice(event.operation, "CREATE");
		assert_slice(event.object_type, "File");
		assert_slice(event.object, "\xa1x");
	}
	assert_error(vigia_batch_event(batch, 200, &event, &err), VIGIA_EINVAL, &err, "200");
	vigia__batch_clear(batch);
	assert_int_equal(vigia_batch_count(batch), 0);
	/* what a damaged page calls a value may be nothing, at no address */
	assert_int_equal(vigia__batch_add(batch, 1, NULL, 0), 0);
	struct vigia_event nothing;
	assert_int_equal(vigia_batch_event(batch, vigia_batch_count(batch) - 1, &nothing, NULL), VIGIA_EDAMAGED);
	vigia_batch_free(batch);
	vigia_batch_free(NULL);
}

static void test_batch_intact_but_no_event(void **state)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_error err;
	struct vigia_event event;
	struct vigia__buf buf = event_of(SLICE("CREATE"), SLICE("File"));
	buf.data[15] = 0x09; /* an operation of no kind */
	vigia__event_stamp(buf.data, buf.len, 5, 1);
	assert_int_equal(vigia__batch_add(batch, 5, buf.data, buf.len), 0);
	assert_error(vigia_batch_event(batch, 0, &event, &err), VIGIA_EDESERIAL, &err, "event 5: ");
	assert_int_equal(err.seq_num, 5);
	vigia__batch_clear(batch);

	buf.len -= 3; /* serializer and object */
	assert_int_equal(vigia__buf_add(&buf,
	                                "\xa3xml\xc4\x01"
	                                "x",
	                                7),
	                 0);
	buf.data[15] = 0x01;
	vigia__event_stamp(buf.data, buf.len, 6, 1);
	assert_int_equal(vigia__batch_add(batch, 6, buf.data, buf.len), 0);
	assert_int_equal(vigia_batch_event(batch, 0, &event, &err),
	                 0); /* the envelope is ours; only the object is out of reach */
	assert_int_equal(event.serializer.len, 3);
	assert_memory_equal(event.object.data, "x", 1);
	struct vigia__buf value = {0};
	assert_error(vigia__event_object(&event, &value, &err), VIGIA_EDESERIAL, &err, "'xml'");
	vigia__buf_deinit(&buf);
	vigia_batch_free(batch);
}

/* Z2: objects as JSON and back */
static void test_recode(void **state)
{
	struct vigia_error err;
	struct vigia__head head;
	struct vigia__buf buf = event_of(SLICE("CREATE"), SLICE("File")), before = event_of(SLICE("CREATE"), SLICE("File")),
					  value = {0};
	assert_int_equal(vigia__event_recode(&buf, 0, "msgpack", 1000, &err), 0);
	assert_int_equal(buf.len, before.len);
	assert_memory_equal(buf.data, before.data, buf.len);
	assert_int_equal(vigia__event_recode(&buf, 0, "json", 1000, &err), 0);
	assert_int_equal(vigia__event_head(buf.data, buf.len, &head), 0);
	assert_memory_equal(head.serializer.data, "json", 4);
	struct vigia_event event = {.serializer = head.serializer, .object = head.object};
	assert_int_equal(vigia__event_object(&event, &value, &err), 0);
	assert_int_equal(vigia__event_head(before.data, before.len, &head), 0);
	assert_int_equal(value.len, head.object.len);
	assert_memory_equal(value.data, head.object.data, value.len);
	event.object.len = 0; /* no JSON any more */
	assert_error(vigia__event_object(&event, &value, &err), VIGIA_EDESERIAL, &err, "JSON");

	size_t start = buf.len;
	assert_int_equal(vigia__buf_add(&buf, before.data, before.len), 0);
	assert_error(vigia__event_recode(&buf, start, "json", 10, &err), VIGIA_ETOOBIG, &err, "10 bytes");
	assert_int_equal(buf.len, start);
	assert_int_equal(vigia__buf_add(&buf, before.data, before.len), 0);
	assert_error(vigia__event_recode(&buf, start, "mine", 1000, &err), VIGIA_ESERIAL, &err, "'mine'");
	assert_int_equal(buf.len, start);

	/* Without memory, in turn for the text and for the event: an error says so, and the buffer is as before. */
	int nth = 1;
	for (int rc = -1; rc < 0; nth++) {
		struct vigia__buf tight = event_of(SLICE("CREATE"), SLICE("File"));
		tight.cap = tight.len; /* it must grow */
		err = (struct vigia_error){0};
		vigia__alloc_fail_at(nth, 0);
		rc = vigia__event_recode(&tight, 0, "json", 1000, &err);
		vigia__alloc_fail_at(0, 0);
		assert_int_equal(rc, err.code);
		if (rc < 0) {
			assert_error(rc, VIGIA_ENOMEM, &err, "memory");
			assert_int_equal(tight.len, 0);
		} else {
			assert_int_equal(vigia__event_head(tight.data, tight.len, &head), 0);
			assert_memory_equal(head.serializer.data, "json", 4);
		}
		vigia__buf_deinit(&tight);
	}
	assert_true(nth > 2);
	vigia__buf_deinit(&buf);
	vigia__buf_deinit(&before);
	vigia__buf_deinit(&value);
}

static int batch_scenario(void)
{
	struct vigia_batch *batch = vigia_batch_new();
	if (!batch) return -1;
	char big[200] = {0};
	int rc = 0;
	for (uint64_t i = 0; i < 100 && rc == 0; i++) {
		rc = vigia__batch_add(batch, i + 1, big, sizeof big);
		assert_int_equal(vigia_batch_count(batch), rc == 0 ? i + 1 : i);
	}
	vigia_batch_free(batch);
	return rc;
}

static int event_scenario(void)
{
	struct vigia__buf buf = {0};
	char big[1000] = {0};
	size_t where;
	int rc = vigia__event_begin(&buf, SLICE("CREATE"), SLICE("File"), NULL);
	if (rc == 0) rc = vigia__put_map_begin(&buf, &where);
	for (int i = 0; i < 20 && rc == 0; i++) {
		rc = vigia__put_int(&buf, i);
		if (rc == 0) rc = vigia__put_string(&buf, big, sizeof big);
	}
	if (rc == 0) rc = vigia__put_map_end(&buf, where, 20);
	vigia__buf_deinit(&buf);
	return rc;
}

static void test_without_memory(void **state)
{
	with_failing_allocations(batch_scenario());
	with_failing_allocations(event_scenario());
	struct vigia__buf buf = {0};
	struct vigia_error err;
	size_t where;
	vigia__alloc_fail_at(1, 1);
	assert_error(vigia__event_begin(&buf, SLICE("CREATE"), SLICE("File"), &err), VIGIA_ENOMEM, &err, "no memory");
	assert_int_equal(vigia__put_nil(&buf), -1);
	assert_int_equal(vigia__put_bool(&buf, true), -1);
	assert_int_equal(vigia__put_int(&buf, 1), -1);
	assert_int_equal(vigia__put_float(&buf, 1), -1);
	assert_int_equal(vigia__put_string(&buf, "x", 1), -1);
	assert_int_equal(vigia__put_array(&buf, 1), -1);
	assert_int_equal(vigia__put_map(&buf, 1), -1);
	assert_int_equal(vigia__put_map_begin(&buf, &where), -1);
	assert_null(vigia_batch_new());
	vigia__alloc_fail_at(0, 0);
	assert_null(buf.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_any_flipped_bit_is_found),
		cmocka_unit_test(test_time_before_the_epoch_is_the_epoch),
		cmocka_unit_test(test_too_large),
		{"the head takes any bytes [R3]", test_head_takes_any_bytes, NULL, NULL, NULL},
		cmocka_unit_test(test_heads_that_are_none),
		cmocka_unit_test(test_head_with_a_serializer),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_batch_intact_but_no_event),
		cmocka_unit_test(test_recode),
		cmocka_unit_test(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
