/*
 * fuzz_event.c - any bytes as an event and as a value: nothing crashes, and what passes the check can be read to its
 * end and written as JSON.
 */
#include "core/batch.h"
#include "core/block.h"
#include "core/filter.h"
#include "core/json.h"
#include "core/path.h"
#include "lib/fuzz.h"

static void try_event(const uint8_t *data, size_t size)
{
	static struct vigia__filter *filter;
	if (!filter) {
		static const struct vigia_slice types[] = {{"File", 4}, {"T", 1}},
										operations[] = {{"UPDATE", 6}, {"rename", 6}};
		fuzz_assert(vigia__filter_new(&(struct vigia_filter){types, 2, operations, 2}, &filter, NULL) == 0);
	}
	static struct vigia__filter *places;
	if (!places) {
		static const struct vigia_slice values[] = {{"\xc0", 1}, {"\1", 1}, {"\xa1x", 2}};
		static const struct vigia_where where[] = {{{"object.a[1].\"x\"", 15}, values, 3},
		                                           {{"object[1]", 9}, values, 3}};
		fuzz_assert(vigia__filter_new_where(NULL, where, 2, &places, NULL) == 0);
	}
	vigia__filter_match(places, data, size);
	struct vigia__head head;
	bool is_event = vigia__event_head(data, size, &head) == 0;
	bool matches = vigia__filter_match(filter, data, size);
	fuzz_assert(is_event || matches);
	if (is_event) {
		fuzz_assert(head.object.data + head.object.len == (const char *)data + size);
		fuzz_assert(head.at_ns == vigia__event_time(data, size));
	}
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_event event;
	struct vigia_error err;
	fuzz_assert(batch && vigia__batch_add(batch, 7, data, size) == 0);
	int rc = vigia_batch_event(batch, 0, &event, &err);
	fuzz_assert(rc == 0 ? is_event : err.seq_num == 7 && err.message[0]);
	/* a checksum that fits never turns what is no event into one, nor the other way round */
	if (is_event) {
		vigia__event_stamp(batch->bytes.data, size, 7, head.at_ns);
		rc = vigia_batch_event(batch, 0, &event, &err);
		fuzz_assert(rc == 0 && event.serializer.len == head.serializer.len);
	}
	vigia_batch_free(batch);
}

/* The bytes as a place: what is none is refused in words, and no place finds more than the value has. */
static void try_path(struct vigia_slice bytes)
{
	static struct vigia__path *deep;
	struct vigia__path *path;
	struct vigia_error err = {0};
	struct vigia__reader at;
	if (!deep) fuzz_assert(vigia__path_new((struct vigia_slice){"object[1][2].a", 14}, &deep, NULL) == 0);
	int rc = vigia__path_find(deep, bytes, &at);
	fuzz_assert(rc != VIGIA_OK || at.end - at.at <= (ptrdiff_t)bytes.len);
	rc = vigia__path_new(bytes, &path, &err);
	fuzz_assert(rc == VIGIA_OK || (rc == VIGIA_EINVAL && err.message[0] && path == NULL));
	if (rc == VIGIA_OK) vigia__path_find(path, bytes, &at);
	vigia__path_free(path);
}

static void try_value(const uint8_t *data, size_t size)
{
	struct vigia_slice value = {(const char *)data, size};
	struct vigia_error err = {0};
	struct vigia__buf text = {0}, back = {0}, again = {0};
	struct vigia__reader reader = {data, data + size};
	int skipped = vigia__reader_skip(&reader, NULL);
	try_path(value);
	int rc = vigia__value_check(value, VIGIA_ESERIAL, &err);
	fuzz_assert(vigia__json_from_value(value, &text, NULL) == (rc == 0 ? 0 : VIGIA_EDESERIAL));
	if (rc != 0) {
		fuzz_assert(rc == VIGIA_ESERIAL && memcmp(err.message, "object", 6) == 0);
		fuzz_assert(text.len == 0);
	} else {
		fuzz_assert(skipped == 0 && reader.at == reader.end);
		/* duplicate keys are all that can be wrong with the text, and with a value about to be stored */
		bool twice = vigia__value_check_new(value, &err) != 0;
		if (twice) fuzz_assert(err.code == VIGIA_ESERIAL && strstr(err.message, "occurs twice"));
		rc = vigia__json_to_value((char *)text.data, text.len, &back, &err);
		fuzz_assert((rc != 0) == twice);
		if (rc != 0) fuzz_assert(strstr(err.message, "occurs twice") || strstr(err.message, "are the same"));
		else {
			fuzz_assert(vigia__json_from_value((struct vigia_slice){(char *)back.data, back.len}, &again, NULL) == 0);
			fuzz_assert(again.len == text.len && memcmp(again.data, text.data, text.len) == 0);
		}
	}
	vigia__buf_deinit(&text);
	vigia__buf_deinit(&back);
	vigia__buf_deinit(&again);
}

/* The bytes as a record of the index. */
static void try_block(const uint8_t *data, size_t size)
{
	static struct vigia__filter *filter;
	uint64_t bits[VIGIA_BLOCK_WORDS];
	if (!filter) {
		static const struct vigia_slice types[] = {{"File", 4}, {"T", 1}}, operations[] = {{"UPDATE", 6}};
		fuzz_assert(vigia__filter_new(&(struct vigia_filter){types, 2, operations, 1}, &filter, NULL) == 0);
	}
	struct vigia_slice record = {(const char *)data, size};
	bool whole = vigia__block_whole(record, 0);
	enum vigia__block_found found = vigia__block_find(record, 0, filter, bits);
	fuzz_assert(!whole || found != VIGIA_BLOCK_LOOK);
	vigia__block_has(record, 0, size % VIGIA_BLOCK_EVENTS, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_event(data, size);
	try_value(data, size);
	try_block(data, size);
	return 0;
}

FUZZ_MAIN(50000)
