/*
 * test_record.c - the records of the journal: what was written is found again, and nothing else is.
 */
#include "test.h"

#include "core/record.h"

enum { AREA = 32768 };

static uint8_t area[AREA];

/* Write a record of these events behind the chain. */
static void put(struct vigia__chain *chain, size_t alignment, const char *const *events, size_t count, int64_t at)
{
	struct vigia__buf buf = {0};
	size_t bytes = 0, begin = chain->at;
	for (size_t i = 0; i < count; i++) bytes += strlen(events[i]);
	assert_int_equal(vigia__record_begin(&buf, count, bytes, alignment), 0);
	for (size_t i = 0; i < count; i++) vigia__record_add(&buf, events[i], strlen(events[i]));
	vigia__record_end(&buf, chain, at);
	assert_int_equal(buf.len, vigia__record_size(count, bytes, alignment));
	assert_int_equal(chain->at, begin + buf.len);
	assert_in_range(chain->at, 0, AREA);
	memcpy(area + begin, buf.data, buf.len);
	vigia__buf_deinit(&buf);
}

static void assert_event(const struct vigia__record *record, uint32_t i, size_t *start, const char *text)
{
	const uint8_t *bytes;
	size_t len;
	assert_true(vigia__record_event(record, i, start, &bytes, &len));
	assert_int_equal(len, strlen(text));
	assert_memory_equal(bytes, text, len);
}

static const char *const three[] = {"one", "the second", "3"}, *const single[] = {"alone"};

/* Two records of the generation with this salt, behind event 41. */
static struct vigia__chain two(uint64_t salt, size_t alignment)
{
	struct vigia__chain chain = vigia__chain_begin(salt, 41, 7);
	put(&chain, alignment, three, 3, 1000);
	put(&chain, alignment, single, 1, 1001);
	return chain;
}

static unsigned found(uint64_t salt, uint64_t last)
{
	struct vigia__chain chain = vigia__chain_begin(salt, last, 7);
	struct vigia__record record;
	unsigned count = 0;
	while (vigia__record_next(area, AREA, &chain, &record)) count++;
	return count;
}

static void records_are_found_again(void **state)
{
	(void)state;
	static const size_t alignments[] = {64, 512, 4096};
	for (size_t a = 0; a < COUNT_OF(alignments); a++) {
		memset(area, 0xAB, sizeof area);
		struct vigia__chain written = two(99, alignments[a]), chain = vigia__chain_begin(99, 41, 7);
		struct vigia__record record;
		size_t start = 0;
		assert_true(vigia__record_next(area, AREA, &chain, &record));
		assert_int_equal(record.first, 42);
		assert_int_equal(record.count, 3);
		assert_int_equal(chain.last, 44);
		assert_int_equal(chain.last_at, 1000);
		for (uint32_t i = 0; i < 3; i++) assert_event(&record, i, &start, three[i]);
		start = 0;
		assert_true(vigia__record_next(area, AREA, &chain, &record));
		assert_int_equal(record.first, 45);
		assert_event(&record, 0, &start, "alone");
		assert_false(vigia__record_next(area, AREA, &chain, &record));
		assert_memory_equal(&chain, &written, sizeof chain);
		assert_int_equal(chain.at % alignments[a], 0);
	}
}

/* Each byte, each of its bits: the record that has it, and all behind it, are not there. */
static void a_changed_bit_ends_the_chain(void **state)
{
	(void)state;
	memset(area, 0, sizeof area);
	struct vigia__chain end = two(99, 64);
	size_t first = vigia__record_size(3, strlen("onethe second3"), 64);
	size_t summed[] = {VIGIA_RECORD_HEAD + 12 + strlen("onethe second3"),
	                   first + VIGIA_RECORD_HEAD + 4 + strlen("alone")};
	assert_int_equal(found(99, 41), 2);
	for (size_t i = 0; i < end.at; i++) {
		bool zeros = (i >= summed[0] && i < first) || i >= summed[1];
		for (int bit = 0; bit < 8; bit++) {
			area[i] ^= (uint8_t)(1 << bit);
			assert_int_equal(found(99, 41), zeros ? 2 : i < first ? 0 : 1);
			area[i] ^= (uint8_t)(1 << bit);
		}
	}
}

static void another_generation_does_not_fit(void **state)
{
	(void)state;
	uint8_t before[AREA];
	memset(area, 0, sizeof area);
	two(99, 64);
	assert_int_equal(found(98, 41), 0);
	assert_int_equal(found(99, 40), 0);
	assert_int_equal(found(99, 42), 0);
	/* A second generation that is shorter: what the first one left behind it is not found. */
	struct vigia__chain chain = vigia__chain_begin(100, 45, 7);
	put(&chain, 64, single, 1, 2000);
	assert_int_equal(found(100, 45), 1);
	/* The same salt and numbers, but another record before it: the second one does not continue this chain. */
	two(99, 64);
	memcpy(before, area, sizeof area);
	chain = vigia__chain_begin(99, 41, 7);
	put(&chain, 64, three, 3, 1002);
	assert_memory_equal(area + chain.at, before + chain.at, VIGIA_RECORD_HEAD);
	assert_int_equal(found(99, 41), 1);
}

/* Lengths that do not fit, with a sum that does: only what lies in the area is looked at (AddressSanitizer sees it). */
static void sizes_that_lie_are_refused(void **state)
{
	(void)state;
	static const uint32_t lies[] = {0, 1, 3, 63, 64, 4095, AREA - VIGIA_RECORD_HEAD, AREA, INT32_MAX, UINT32_MAX};
	enum { PAYLOAD_AT = 4, COUNT_AT = 32, ALIGNMENT_AT = 36 };
	static const size_t places[] = {PAYLOAD_AT, COUNT_AT, ALIGNMENT_AT};
	uint8_t *tight = malloc(4096); /* a redzone follows */
	for (size_t p = 0; p < COUNT_OF(places); p++)
		for (size_t i = 0; i < COUNT_OF(lies); i++) {
			memset(area, 0, sizeof area);
			struct vigia__chain chain = vigia__chain_begin(99, 41, 7);
			put(&chain, 64, three, 3, 1000);
			memcpy(tight, area, 4096);
			uint32_t was;
			memcpy(&was, tight + places[p], sizeof was);
			memcpy(tight + places[p], &lies[i], sizeof was);
			chain = vigia__chain_begin(99, 41, 7);
			struct vigia__record record;
			assert_int_equal(vigia__record_next(tight, 4096, &chain, &record), was == lies[i]);
		}
	/* An area that ends in the record. */
	for (size_t len = 0; len < VIGIA_RECORD_HEAD + 26; len++) {
		struct vigia__chain chain = vigia__chain_begin(99, 41, 7);
		struct vigia__record record;
		uint8_t *cut = malloc(len + 1);
		memcpy(cut, area, len);
		assert_false(vigia__record_next(cut, len, &chain, &record));
		free(cut);
	}
	free(tight);
}

/* A reader may meet ends that another generation is overwriting. */
static void ends_that_lie_are_refused(void **state)
{
	(void)state;
	memset(area, 0, sizeof area);
	two(99, 64);
	struct vigia__chain chain = vigia__chain_begin(99, 41, 7);
	struct vigia__record record;
	const uint8_t *bytes;
	size_t len, start = 0;
	assert_true(vigia__record_next(area, AREA, &chain, &record));
	uint32_t beyond = (uint32_t)record.bytes + 1, none = 3;
	memcpy(area + VIGIA_RECORD_HEAD + 4, &none, 4);
	assert_event(&record, 0, &start, "one");
	assert_false(vigia__record_event(&record, 1, &start, &bytes, &len));
	memcpy(area + VIGIA_RECORD_HEAD + 4, &beyond, 4);
	assert_false(vigia__record_event(&record, 1, &start, &bytes, &len));
	assert_int_equal(start, 3);
}

static void sizes_have_limits(void **state)
{
	(void)state;
	assert_int_equal(vigia__record_size(1, 100, 64), 192);
	assert_int_equal(vigia__record_size(1, 60, 64), 128);
	assert_int_equal(vigia__record_size(1, 60, 4096), 4096);
	assert_int_equal(vigia__record_size(1, SIZE_MAX, 64), SIZE_MAX);
	assert_int_equal(vigia__record_size(SIZE_MAX / 2, 1, 64), SIZE_MAX);
}

static int begin_without_memory(void)
{
	struct vigia__buf buf = {0};
	int rc = vigia__record_begin(&buf, 1, 100, 64);
	vigia__buf_deinit(&buf);
	return rc;
}

static void no_memory_for_a_record(void **state)
{
	(void)state;
	with_failing_allocations(begin_without_memory());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_found_again),         cmocka_unit_test(a_changed_bit_ends_the_chain),
		cmocka_unit_test(another_generation_does_not_fit), cmocka_unit_test(sizes_that_lie_are_refused),
		cmocka_unit_test(ends_that_lie_are_refused),       cmocka_unit_test(sizes_have_limits),
		cmocka_unit_test(no_memory_for_a_record),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
