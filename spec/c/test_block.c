/*
 * test_block.c - the record of a block of events: what it finds is what a look at all of them finds, and never less;
 * its size; damage.
 */
#include "core/block.h"
#include "lib/test.h"

enum { N = VIGIA_BLOCK_EVENTS };

static uint64_t random_state = 1;

static unsigned random_below(unsigned limit)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (unsigned)((random_state >> 33) % limit);
}

/* The events of a block: bytes and where each ends. */
static struct {
	struct vigia__buf bytes;
	size_t starts[N + 1];
	char types[N][16], operations[N][16];
	bool unreadable[N];
} block;

static void make_block(unsigned types, unsigned operations, unsigned unreadable_percent)
{
	static const char *const standard[] = {"CREATE", "UPDATE", "DELETE"};
	block.bytes.len = 0;
	for (unsigned i = 0; i < N; i++) {
		unsigned type = random_below(types), operation = random_below(operations);
		if (random_below(2) == 0) type = type % 3; /* some are common */
		snprintf(block.types[i], 16, "%s%u", &"a long name"[type % 11], type);
		if (operation < 3) snprintf(block.operations[i], 16, "%s", standard[operation]);
		else snprintf(block.operations[i], 16, "op %u", operation);
		block.starts[i] = block.bytes.len;
		struct vigia_error err;
		assert_int_equal(
			vigia__event_begin(&block.bytes, slice_of(block.operations[i]), slice_of(block.types[i]), &err), 0);
		assert_int_equal(vigia__put_nil(&block.bytes), 0);
		block.unreadable[i] = random_below(100) < unreadable_percent;
		if (block.unreadable[i]) block.bytes.data[block.starts[i]] = 0;
	}
	block.starts[N] = block.bytes.len;
}

static struct vigia_slice record_from(struct vigia__block_builder *builder, unsigned from, uint64_t number)
{
	vigia__block_begin(builder, from);
	for (unsigned i = from; i < N; i++)
		vigia__block_add(builder, block.bytes.data + block.starts[i], block.starts[i + 1] - block.starts[i]);
	return vigia__block_end(builder, number);
}

static bool event_matches(const struct vigia__filter *filter, unsigned place)
{
	return vigia__filter_match(filter, block.bytes.data + block.starts[place],
	                           block.starts[place + 1] - block.starts[place]);
}

static struct vigia__filter *filter_of(const char *type, const char *other, const char *operation)
{
	struct vigia_slice types[] = {slice_of(type ? type : "x"), slice_of(other ? other : "x")};
	struct vigia_slice operations[] = {slice_of(operation ? operation : "x")};
	struct vigia_filter lists = {types, type ? (other ? 2 : 1) : 0, operations, operation ? 1 : 0};
	struct vigia__filter *filter;
	assert_int_equal(vigia__filter_new(&lists, &filter, NULL), 0);
	return filter;
}

/* All that match are found. Returns how many others are, too. */
static unsigned check_found(struct vigia_slice record, uint64_t number, const struct vigia__filter *filter,
                            unsigned from)
{
	uint64_t bits[VIGIA_BLOCK_WORDS];
	unsigned more = 0;
	enum vigia__block_found found = vigia__block_find(record, number, filter, bits);
	assert_int_not_equal(found, VIGIA_BLOCK_LOOK);
	for (unsigned i = from; i < N; i++) {
		bool candidate = found == VIGIA_BLOCK_SOME && (bits[i / 64] >> i % 64 & 1), wanted = event_matches(filter, i);
		if (wanted && !candidate) fail_msg("place %u is missing: %s %s", i, block.operations[i], block.types[i]);
		more += candidate && !wanted;
	}
	return more;
}

static void test_F2_finds_what_matches(void **state)
{
	static const struct {
		unsigned types, operations, unreadable, from;
	} rows[] = {{1, 1, 0, 0},   {1, 3, 0, 0},     {10, 3, 0, 0},     {10, 3, 1, 0},  {10, 3, 0, 4000}, {3, 2, 5, 17},
	            {200, 5, 0, 0}, {4000, 3, 0, 63}, {4000, 40, 30, 0}, {5, 3, 100, 0}, {2, 2, 0, 4095},  {4000, 8, 0, 1}};
	struct vigia__block_builder *builder = vigia__block_builder_new();
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		make_block(rows[i].types, rows[i].operations, rows[i].unreadable);
		struct vigia_slice record = record_from(builder, rows[i].from, i);
		assert_true(record.len <= VIGIA_BLOCK_BYTES_MAX - 16);
		assert_true(vigia__block_whole(record, i));
		assert_false(vigia__block_whole(record, i + 1));
		for (unsigned place = rows[i].from; place < N; place++)
			assert_true(vigia__block_has(record, i, place, block.bytes.data + block.starts[place],
			                             block.starts[place + 1] - block.starts[place]));
		unsigned more = 0;
		for (int tries = 0; tries < 20; tries++) {
			unsigned a = random_below(N), b = random_below(N);
			struct vigia__filter *filters[] = {
				filter_of(block.types[a], NULL, NULL), filter_of(NULL, NULL, block.operations[a]),
				filter_of(block.types[a], block.types[b], block.operations[b]),
				filter_of(block.types[a], "not there", "nor this"), filter_of("not there", NULL, NULL)};
			for (size_t j = 0; j < COUNT_OF(filters); j++) {
				more += check_found(record, i, filters[j], rows[i].from);
				vigia__filter_free(filters[j]);
			}
		}
		/* few names are told apart, all of them */
		if (rows[i].types <= 200 && rows[i].operations <= 8) assert_int_equal(more, 0);
	}
	vigia__block_builder_free(builder);
}

static void test_F2_absent_names_need_no_look(void **state)
{
	uint64_t bits[VIGIA_BLOCK_WORDS];
	struct vigia__block_builder *builder = vigia__block_builder_new();
	make_block(10, 2, 0);
	struct vigia_slice record = record_from(builder, 0, 5);
	struct vigia__filter *absent = filter_of("absent", NULL, NULL), *deleted = filter_of(NULL, NULL, "DELETE");
	struct vigia__filter *both = filter_of(block.types[0], NULL, "DELETE");
	assert_int_equal(vigia__block_find(record, 5, absent, bits), VIGIA_BLOCK_NONE);
	assert_int_equal(vigia__block_find(record, 5, deleted, bits), VIGIA_BLOCK_NONE);
	assert_int_equal(vigia__block_find(record, 5, both, bits), VIGIA_BLOCK_NONE);
	assert_int_equal(vigia__block_find(record, 6, absent, bits), VIGIA_BLOCK_LOOK); /* another block's */
	assert_int_equal(vigia__block_find(record, 5, NULL, bits), VIGIA_BLOCK_LOOK);
	vigia__filter_free(absent);
	vigia__filter_free(deleted);
	vigia__filter_free(both);
	/* the least: one type, one operation */
	make_block(1, 1, 0);
	assert_true(record_from(builder, 0, 0).len < 64);
	vigia__block_builder_free(builder);
}

/* Whatever a bit or a length becomes: it is damaged, or finds all that it should. */
static void test_F2_damage_is_found(void **state)
{
	struct vigia__block_builder *builder = vigia__block_builder_new();
	uint64_t bits[VIGIA_BLOCK_WORDS];
	make_block(40, 4, 1);
	struct vigia_slice record = record_from(builder, 0, 9);
	char *bytes = malloc(record.len);
	struct vigia__filter *filter = filter_of(block.types[7], NULL, block.operations[7]);
	for (int i = 0; i < 3000; i++) {
		size_t at = random_below((unsigned)record.len);
		memcpy(bytes, record.data, record.len);
		bytes[at] = (char)(bytes[at] ^ 1 << random_below(8));
		struct vigia_slice damaged = {bytes, record.len};
		assert_false(vigia__block_whole(damaged, 9));
		if (vigia__block_find(damaged, 9, filter, bits) != VIGIA_BLOCK_LOOK) check_found(damaged, 9, filter, 0);
	}
	for (size_t len = 0; len < record.len; len += 1 + random_below(30)) {
		struct vigia_slice cut = {bytes, len};
		memcpy(bytes, record.data, len);
		assert_false(vigia__block_whole(cut, 9));
		if (vigia__block_find(cut, 9, filter, bits) != VIGIA_BLOCK_LOOK) check_found(cut, 9, filter, 0);
	}
	free(bytes);
	vigia__filter_free(filter);
	vigia__block_builder_free(builder);
}

static int teardown(void **state)
{
	vigia__buf_deinit(&block.bytes);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_F2_finds_what_matches),
		cmocka_unit_test(test_F2_absent_names_need_no_look),
		cmocka_unit_test(test_F2_damage_is_found),
	};
	return cmocka_run_group_tests(tests, NULL, teardown);
}
