/*
 * test_memory.c - the memory backend behind struct vigia__backend, with a clock the test sets; then the same store
 * through vigia.h with threads. It includes the backend's files that read the clock.
 */
#include "test.h"

#define vigia__wall_ns test_wall_ns
#define vigia__mono_ns test_mono_ns
#include "../../runtime/store/memory.c"
#include "../../runtime/store/memory_events.c"
#include "store/store.h"
#undef vigia__wall_ns
#undef vigia__mono_ns
int64_t vigia__mono_ns(void); /* the system's: store.h named only the test's */

static int64_t wall_ns = 1000, mono_ns, mono_step_ns;

int64_t test_wall_ns(void)
{
	return wall_ns;
}

int64_t test_mono_ns(void)
{
	return mono_ns += mono_step_ns;
}

/* ---- helpers ---- */

static struct vigia__backend *open_memory(void)
{
	struct vigia_store_options options;
	struct vigia__backend *b = NULL;
	vigia_store_options_init(&options);
	wall_ns = 1000;
	mono_ns = mono_step_ns = 0;
	assert_int_equal(vigia__memory_open(&options, &b, NULL), VIGIA_OK);
	return b;
}

/* Encodes an event whose object is a number. */
static void encode(struct vigia__buf *buf, const char *type, int64_t object)
{
	assert_int_equal(vigia__event_begin(buf, slice_of("CREATE"), slice_of(type), NULL), VIGIA_OK);
	assert_int_equal(vigia__put_int(buf, object), 0);
}

/* Appends `count` events of one type in one request; object i is first_object + i. */
static int append_many(struct vigia__backend *b, const char *type, int64_t first_object, size_t count,
                       uint64_t *first_seq)
{
	struct vigia__buf buf = {0};
	size_t ends[64];
	struct vigia_error err = {0};
	assert_in_range(count, 0, COUNT_OF(ends));
	for (size_t i = 0; i < count; i++) {
		encode(&buf, type, first_object + (int64_t)i);
		ends[i] = buf.len;
	}
	struct vigia__append request = {.bytes = buf.data, .ends = ends, .count = count, .len = buf.len};
	int rc = b->append(b, &request, &err);
	assert_int_equal(rc, err.code);
	if (first_seq) *first_seq = request.first_seq;
	vigia__buf_deinit(&buf);
	return rc;
}

static uint64_t append_one(struct vigia__backend *b, const char *type, int64_t object)
{
	uint64_t seq_num = 0;
	assert_int_equal(append_many(b, type, object, 1, &seq_num), VIGIA_OK);
	return seq_num;
}

static struct vigia__scan scan_all(uint64_t from)
{
	return (struct vigia__scan){.from = from, .count_max = SIZE_MAX, .bytes_max = SIZE_MAX, .until_mono_ns = INT64_MAX};
}

static void check_bounds(struct vigia__backend *b, uint64_t oldest, uint64_t latest)
{
	uint64_t low = 99, high = 99;
	assert_int_equal(b->bounds(b, &low, &high, NULL), VIGIA_OK);
	assert_int_equal(low, oldest);
	assert_int_equal(high, latest);
}

static void check_checkpoint(struct vigia__backend *b, const char *id, uint64_t seq_num)
{
	uint64_t got = 0;
	assert_int_equal(b->checkpoint_get(b, id, &got, NULL), VIGIA_OK);
	assert_int_equal(got, seq_num);
}

static void check_no_checkpoint(struct vigia__backend *b, const char *id)
{
	uint64_t got = 0;
	struct vigia_error err = {0};
	assert_error(b->checkpoint_get(b, id, &got, &err), VIGIA_ENOCHECKPOINT, &err, id);
}

static int64_t object_of(const struct vigia_event *event)
{
	struct vigia__reader reader = {(const uint8_t *)event->object.data,
	                               (const uint8_t *)event->object.data + event->object.len};
	struct vigia__token token;
	assert_int_equal(vigia__reader_next(&reader, &token, NULL), VIGIA_OK);
	assert_int_equal(token.kind, VIGIA_TOKEN_INT);
	return token.integer;
}

/* ---- events ---- */

static void test_append_numbers_and_keeps(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia_batch batch = {0};
	check_bounds(b, 0, 0);
	uint64_t first = 0;
	assert_int_equal(append_many(b, "File", 10, 3, &first), VIGIA_OK);
	assert_int_equal(first, 1);
	assert_int_equal(append_one(b, "Folder", 20), 4);
	check_bounds(b, 1, 4);
	struct vigia__scan scan = scan_all(1);
	assert_int_equal(b->scan(b, &scan, &batch, NULL), VIGIA_OK);
	assert_int_equal(batch.count, 4);
	assert_int_equal(scan.looked_at, 4);
	assert_true(scan.at_end);
	static const int64_t objects[] = {10, 11, 12, 20};
	for (size_t i = 0; i < 4; i++) {
		struct vigia_event event;
		assert_int_equal(vigia_batch_event(&batch, i, &event, NULL), VIGIA_OK); /* the checksum fits */
		assert_int_equal(event.seq_num, i + 1);
		assert_int_equal(event.at_ns, 1000);
		assert_int_equal(object_of(&event), objects[i]);
	}
	vigia__batch_deinit(&batch);
	b->release(b);
}

static void test_stamps_in_place_and_takes_one_event_without_ends(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia__buf buf = {0};
	encode(&buf, "File", 5);
	struct vigia__append request = {.bytes = buf.data, .count = 1, .len = buf.len};
	assert_int_equal(b->append(b, &request, NULL), VIGIA_OK);
	assert_int_equal(request.first_seq, 1);
	assert_true(vigia__event_intact(buf.data, buf.len, 1));
	assert_int_equal(vigia__event_time(buf.data, buf.len), 1000);
	vigia__buf_deinit(&buf);
	b->release(b);
}

static void test_time_never_goes_back(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia_batch batch = {0};
	static const int64_t clock[] = {5000, 4000, 4500, 5000, 6000, 1}, stamped[] = {5000, 5000, 5000, 5000, 6000, 6000};
	for (size_t i = 0; i < COUNT_OF(clock); i++) {
		wall_ns = clock[i];
		append_one(b, "File", 0);
		if (i == 1) { /* not even when nothing is left to compare with */
			uint64_t removed;
			assert_int_equal(b->trim(b, 2, &removed, NULL), VIGIA_OK);
			assert_int_equal(removed, 2);
		}
	}
	struct vigia__scan scan = scan_all(1);
	assert_int_equal(b->scan(b, &scan, &batch, NULL), VIGIA_OK);
	assert_int_equal(batch.count, 4);
	for (size_t i = 0; i < batch.count; i++)
		assert_int_equal(vigia__event_time(batch.bytes.data + batch.entries[i].offset, batch.entries[i].len),
		                 stamped[i + 2]);
	vigia__batch_deinit(&batch);
	b->release(b);
}

static int append_three(struct vigia__backend *b)
{
	return append_many(b, "File", 0, 3, NULL);
}

static void test_append_is_all_or_nothing_without_memory(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia__buf buf = {0};
	size_t ends[40];
	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		encode(&buf, "File", (int64_t)i);
		ends[i] = buf.len;
	}
	struct vigia__progress *progress = vigia__progress_new("w", 0);
	assert_int_equal(append_three(b), VIGIA_OK);
	vigia__progress_move(&b->progress, progress, 2);
	int rc = -1;
	for (long nth = 1; rc != VIGIA_OK; nth++) {
		struct vigia__append request = {.bytes = buf.data, .ends = ends, .count = COUNT_OF(ends), .len = buf.len};
		struct vigia_error err = {0};
		vigia__alloc_fail_at(nth, 0);
		rc = b->append(b, &request, &err);
		vigia__alloc_fail_at(0, 0);
		if (rc != VIGIA_OK) {
			assert_error(rc, VIGIA_ENOMEM, &err, "no memory");
			check_bounds(b, 1, 3);
			check_no_checkpoint(b, "w");
			assert_int_equal(vigia__progress_saved(&b->progress, progress), 0);
		} else {
			assert_in_range(nth, 40, 50); /* it did fail at each of them */
			assert_int_equal(request.first_seq, 4);
		}
	}
	check_bounds(b, 1, 43);
	check_checkpoint(b, "w", 2);
	vigia__progress_end(&b->progress, progress);
	vigia__buf_deinit(&buf);
	b->release(b);
}

static void test_scan_stops_where_it_is_told(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia_batch batch = {0};
	for (int i = 0; i < 10; i++) append_one(b, i % 2 ? "Odd" : "Even", i);
	size_t len = 0;
	static const struct {
		uint64_t from;
		size_t count_max, events_max; /* as many bytes as that many events have */
		size_t count;
		uint64_t looked_at;
		bool at_end;
	} cases[] = {
		{0, SIZE_MAX, 99, 10, 10, true}, {1, 3, 99, 3, 3, false},         {8, 3, 99, 3, 10, true},
		{11, SIZE_MAX, 99, 0, 0, true},  {UINT64_MAX, 1, 99, 0, 0, true}, {1, SIZE_MAX, 2, 2, 2, false},
		{1, SIZE_MAX, 0, 1, 1, false},   {10, SIZE_MAX, 0, 1, 10, true},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct vigia__scan scan = scan_all(cases[i].from);
		scan.count_max = cases[i].count_max;
		scan.bytes_max = len ? cases[i].events_max * len : SIZE_MAX;
		vigia__batch_clear(&batch);
		assert_int_equal(b->scan(b, &scan, &batch, NULL), VIGIA_OK);
		assert_int_equal(batch.count, cases[i].count);
		assert_int_equal(scan.looked_at, cases[i].looked_at);
		assert_int_equal(scan.at_end, cases[i].at_end);
		if (i == 0) len = batch.entries[0].len; /* of "Even"; "Odd" is shorter */
	}
	/* Adds to what is in the batch. */
	struct vigia__scan scan = scan_all(9);
	size_t before = batch.count;
	assert_int_equal(b->scan(b, &scan, &batch, NULL), VIGIA_OK);
	assert_int_equal(batch.count, before + 2);
	vigia__batch_deinit(&batch);
	b->release(b);
}

static void test_scan_filters_and_looks_no_longer_than_its_time(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia_batch batch = {0};
	struct vigia__filter *filter = NULL;
	struct vigia_slice rare = SLICE("Rare");
	assert_int_equal(
		vigia__filter_new(&(struct vigia_filter){.object_types = &rare, .object_types_count = 1}, &filter, NULL),
		VIGIA_OK);
	for (int i = 0; i < 30; i++) assert_int_equal(append_many(b, "Common", 0, 64, NULL), VIGIA_OK);
	assert_int_equal(append_one(b, "Rare", 7), 1921);
	assert_int_equal(append_one(b, "Common", 8), 1922);

	struct vigia__scan scan = scan_all(1);
	scan.filter = filter;
	assert_int_equal(b->scan(b, &scan, &batch, NULL), VIGIA_OK);
	assert_int_equal(batch.count, 1);
	assert_int_equal(batch.entries[0].seq_num, 1921);
	assert_int_equal(scan.looked_at, 1922);
	assert_true(scan.at_end);

	/* S8: the time is over at the second look at the clock */
	vigia__batch_clear(&batch);
	scan = scan_all(1);
	scan.filter = filter;
	mono_ns = 0;
	mono_step_ns = 5;
	scan.until_mono_ns = 10;
	assert_int_equal(b->scan(b, &scan, &batch, NULL), VIGIA_OK);
	assert_int_equal(batch.count, 0);
	assert_int_equal(scan.looked_at, 2 * VIGIA_SCAN_COST_CLOCK);
	assert_false(scan.at_end);
	vigia__filter_free(filter);
	vigia__batch_deinit(&batch);
	b->release(b);
}

static void test_scan_without_memory(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia_batch batch = {0};
	struct vigia_error err = {0};
	append_one(b, "File", 1);
	struct vigia__scan scan = scan_all(1);
	vigia__alloc_fail_at(1, 0);
	assert_error(b->scan(b, &scan, &batch, &err), VIGIA_ENOMEM, &err, "no memory");
	vigia__alloc_fail_at(0, 0);
	assert_int_equal(scan.looked_at, 0);
	assert_false(scan.at_end);
	vigia__batch_deinit(&batch);
	b->release(b);
}

static void test_trim_keeps_the_numbering(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia_batch batch = {0};
	uint64_t removed = 99;
	assert_int_equal(b->trim(b, 5, &removed, NULL), VIGIA_OK);
	assert_int_equal(removed, 0);
	for (int i = 1; i <= 20; i++) append_one(b, "File", i);
	assert_int_equal(b->trim(b, 7, &removed, NULL), VIGIA_OK);
	assert_int_equal(removed, 7);
	check_bounds(b, 8, 20);
	assert_int_equal(b->trim(b, 7, &removed, NULL), VIGIA_OK);
	assert_int_equal(removed, 0);
	struct vigia__scan scan = scan_all(3); /* begins at the oldest there is */
	scan.count_max = 1;
	struct vigia_event event;
	assert_int_equal(b->scan(b, &scan, &batch, NULL), VIGIA_OK);
	assert_int_equal(vigia_batch_event(&batch, 0, &event, NULL), VIGIA_OK);
	assert_int_equal(event.seq_num, 8);
	assert_int_equal(object_of(&event), 8);
	assert_int_equal(b->trim(b, UINT64_MAX, &removed, NULL), VIGIA_OK);
	assert_int_equal(removed, 13);
	check_bounds(b, 0, 20);
	vigia__batch_clear(&batch);
	scan = scan_all(1);
	assert_int_equal(b->scan(b, &scan, &batch, NULL), VIGIA_OK);
	assert_int_equal(scan.looked_at, 0);
	assert_true(scan.at_end);
	assert_int_equal(append_one(b, "File", 21), 21);
	check_bounds(b, 21, 21);
	vigia__batch_deinit(&batch);
	b->release(b);
}

static void test_find_time(void **state)
{
	struct vigia__backend *b = open_memory();
	static const int64_t clock[] = {100, 200, 200, 300};
	uint64_t seq_num = 99, removed;
	assert_int_equal(b->find_time(b, 0, &seq_num, NULL), VIGIA_NONE);
	assert_int_equal(seq_num, 0);
	for (size_t i = 0; i < COUNT_OF(clock); i++) {
		wall_ns = clock[i];
		append_one(b, "File", 0);
	}
	static const struct {
		int64_t at_ns;
		uint64_t seq_num;
	} cases[] = {{INT64_MIN, 1}, {100, 1}, {101, 2}, {200, 2}, {201, 4}, {300, 4}};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(b->find_time(b, cases[i].at_ns, &seq_num, NULL), VIGIA_OK);
		assert_int_equal(seq_num, cases[i].seq_num);
	}
	assert_int_equal(b->find_time(b, 301, &seq_num, NULL), VIGIA_NONE);
	assert_int_equal(seq_num, 0);
	assert_int_equal(b->trim(b, 2, &removed, NULL), VIGIA_OK);
	assert_int_equal(b->find_time(b, 0, &seq_num, NULL), VIGIA_OK);
	assert_int_equal(seq_num, 3);
	b->release(b);
}

/* ---- checkpoints and progress ---- */

struct seen {
	struct vigia__backend *b;
	char text[200];
};

static void see(void *ctx, const char *id, uint64_t seq_num)
{
	struct seen *seen = ctx;
	size_t len = strlen(seen->text);
	snprintf(seen->text + len, sizeof seen->text - len, "%s=%d ", id, (int)seq_num);
	assert_int_equal(seen->b->checkpoint_delete(seen->b, id, NULL), VIGIA_OK); /* it may use the store */
}

static void test_checkpoints(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia_error err = {0};
	struct seen seen = {.b = b};
	assert_int_equal(b->checkpoint_each(b, false, &seen, see, NULL), VIGIA_OK);
	check_no_checkpoint(b, "a");
	assert_error(b->checkpoint_delete(b, "a", &err), VIGIA_ENOCHECKPOINT, &err, "'a'");
	static const char *const ids[] = {"m", "z", "a", "mm", "\xff", "M"};
	for (size_t i = 0; i < COUNT_OF(ids); i++)
		assert_int_equal(b->checkpoint_put(b, ids[i], i + 1, false, NULL), VIGIA_OK);
	assert_int_equal(b->checkpoint_put(b, "m", 9, false, NULL), VIGIA_OK);
	check_checkpoint(b, "m", 9);
	assert_int_equal(b->checkpoint_put(b, "m", 0, false, NULL), VIGIA_OK); /* back; and 0 is one, too */
	check_checkpoint(b, "m", 0);
	assert_int_equal(b->checkpoint_delete(b, "z", NULL), VIGIA_OK);
	check_no_checkpoint(b, "z");
	assert_int_equal(b->checkpoint_each(b, false, &seen, see, NULL), VIGIA_OK);
	assert_string_equal(seen.text, "M=6 a=3 m=0 mm=4 \xff=5 ");
	check_no_checkpoint(b, "m");

	char longest[VIGIA_NAME_MAX + 1] = {0}, other[VIGIA_NAME_MAX + 1] = {0};
	memset(longest, 'x', VIGIA_NAME_MAX);
	memset(other, 'x', VIGIA_NAME_MAX);
	other[VIGIA_NAME_MAX - 1] = 'y';
	assert_int_equal(b->checkpoint_put(b, longest, 1, false, NULL), VIGIA_OK);
	assert_int_equal(b->checkpoint_put(b, other, 2, false, NULL), VIGIA_OK);
	check_checkpoint(b, longest, 1);
	check_checkpoint(b, other, 2);
	b->release(b);
}

struct order {
	char last[20];
	int count;
};

static void look_at_order(void *ctx, const char *id, uint64_t seq_num)
{
	struct order *order = ctx;
	assert_true(strcmp(order->last, id) < 0);
	snprintf(order->last, sizeof order->last, "%s", id);
	order->count++;
}

static void test_many_checkpoints_in_order_without_memory(void **state)
{
	struct vigia__backend *b = open_memory();
	char id[20];
	for (unsigned i = 0; i < 50; i++) {
		snprintf(id, sizeof id, "w%02u", i * 37 % 50);
		with_failing_allocations(b->checkpoint_put(b, id, i, false, NULL));
	}
	struct order order = {0};
	assert_int_equal(b->checkpoint_each(b, false, &order, look_at_order, NULL), VIGIA_OK);
	assert_int_equal(order.count, 50);
	struct seen nobody = {0};
	vigia__alloc_fail_at(1, 0);
	assert_int_equal(b->checkpoint_each(b, false, &nobody, see, NULL), VIGIA_ENOMEM);
	vigia__alloc_fail_at(0, 0);
	b->release(b);
}

static void test_progress_is_saved_with_the_next_commit(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia__progress *one = vigia__progress_new("one", 0), *two = vigia__progress_new("two", 5);
	append_one(b, "File", 0);
	check_no_checkpoint(b, "one"); /* nothing moved */
	check_no_checkpoint(b, "two");
	vigia__progress_move(&b->progress, one, 3);
	check_no_checkpoint(b, "one");
	assert_int_equal(vigia__progress_saved(&b->progress, one), 0);
	append_one(b, "File", 0);
	check_checkpoint(b, "one", 3);
	assert_int_equal(vigia__progress_saved(&b->progress, one), 3);
	check_no_checkpoint(b, "two");

	vigia__progress_move(&b->progress, two, 6);
	struct vigia__append nothing = {0};
	assert_int_equal(b->append(b, &nothing, NULL), VIGIA_OK);
	check_checkpoint(b, "two", 6);
	check_bounds(b, 1, 2);

	/* A put by hand: what was read of `done` before is void. */
	vigia__progress_move(&b->progress, one, 9);
	vigia__progress_reset(&b->progress, one, 1, 1);
	assert_int_equal(b->checkpoint_put(b, "one", 1, false, NULL), VIGIA_OK);
	check_checkpoint(b, "one", 1);
	assert_int_equal(vigia__progress_saved(&b->progress, one), 1);
	assert_int_equal(atomic_load(&one->done), 1);
	vigia__progress_move(&b->progress, one, 2);
	assert_int_equal(b->append(b, &nothing, NULL), VIGIA_OK);
	check_checkpoint(b, "one", 2);

	/* A deletion saves it, too: what was handled since is there. */
	vigia__progress_move(&b->progress, one, 4);
	assert_int_equal(b->checkpoint_delete(b, "one", NULL), VIGIA_OK);
	check_checkpoint(b, "one", 4);
	assert_int_equal(b->checkpoint_put(b, "one", 2, false, NULL), VIGIA_OK);

	/* An ended one is saved no more. */
	vigia__progress_move(&b->progress, one, 7);
	vigia__progress_end(&b->progress, one);
	assert_int_equal(b->append(b, &nothing, NULL), VIGIA_OK);
	check_checkpoint(b, "one", 2);
	vigia__alloc_fail_at(1, 0);
	assert_null(vigia__progress_new("three", 0));
	vigia__alloc_fail_at(0, 0);
	vigia__progress_end(&b->progress, two);
	b->release(b);
}

static void test_one_commit_saves_the_progress_of_many(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia__progress *progress[40];
	char id[20];
	for (size_t i = 0; i < COUNT_OF(progress); i++) {
		snprintf(id, sizeof id, "w%zu", i);
		progress[i] = vigia__progress_new(id, 0);
		vigia__progress_move(&b->progress, progress[i], i);
	}
	append_one(b, "File", 0);
	check_no_checkpoint(b, "w0");
	for (size_t i = 1; i < COUNT_OF(progress); i++) {
		snprintf(id, sizeof id, "w%zu", i);
		check_checkpoint(b, id, i);
	}
	for (size_t i = 0; i < COUNT_OF(progress); i++) vigia__progress_end(&b->progress, progress[i]);
	b->release(b);
}

/* However many watchers there are: what a commit costs is what moved. */
static void test_a_commit_looks_at_what_moved_only(void **state)
{
	enum { NODES = 10000, MOVED = 3 };
	struct vigia__backend *b = open_memory();
	struct vigia__progress **nodes = calloc(NODES, sizeof *nodes);
	for (size_t i = 0; i < NODES; i++) nodes[i] = vigia__progress_new("w", 0);
	append_one(b, "File", 0);
	uint64_t in, out;
	vigia__progress_counts(&b->progress, &in, &out);
	assert_int_equal(out, 0);
	for (uint64_t round = 1; round <= 5; round++) {
		for (size_t i = 0; i < MOVED; i++) {
			vigia__progress_move(&b->progress, nodes[i * 1000], round);
			vigia__progress_move(&b->progress, nodes[i * 1000], round + 1);
		}
		append_one(b, "File", 0);
		append_one(b, "File", 0); /* nothing moved meanwhile */
		vigia__progress_counts(&b->progress, &in, &out);
		assert_int_equal(out, round * MOVED);
	}
	for (size_t i = 0; i < NODES; i++) vigia__progress_end(&b->progress, nodes[i]);
	free(nodes);
	b->release(b);
}

/* However much moved: a commit takes a slice, oldest first, and a save goes on to the end. */
static void test_a_commit_takes_a_slice_of_what_moved(void **state)
{
	enum { NODES = 3 * VIGIA_PROGRESS_SLICE + 7 };
	struct vigia_store *store;
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.collect = false; /* its commits would take a slice along */
	assert_int_equal(vigia_store_open(":memory:", &options, &store, NULL), VIGIA_OK);
	struct vigia__backend *b = store->backend;
	struct vigia__progress *nodes[NODES];
	for (int i = 0; i < NODES; i++) {
		char id[20];
		snprintf(id, sizeof id, "w%d", i);
		nodes[i] = vigia__progress_new(id, 0);
		vigia__progress_move(&b->progress, nodes[i], 1);
	}
	append_one(b, "File", 0);
	for (int i = 0; i < NODES; i++)
		assert_int_equal(vigia__progress_saved(&b->progress, nodes[i]), i < VIGIA_PROGRESS_SLICE);
	vigia__progress_move(&b->progress, nodes[0], 2);
	assert_int_equal(vigia__store_save_progress(store, NULL), VIGIA_OK);
	for (int i = 0; i < NODES; i++) assert_int_equal(vigia__progress_saved(&b->progress, nodes[i]), i == 0 ? 2 : 1);
	uint64_t commits = b->commits(b);
	assert_int_equal(vigia__store_save_progress(store, NULL), VIGIA_OK); /* nothing moved: one commit */
	assert_int_equal(b->commits(b), commits + 1);
	for (int i = 0; i < NODES; i++) vigia__progress_end(&b->progress, nodes[i]);
	vigia_store_free(store);
}

/* ---- owners, wake words, numbers ---- */

static void test_one_owner_per_watcher_id(void **state)
{
	struct vigia__backend *b = open_memory(), *another = open_memory();
	struct vigia_error err = {0};
	char pid[40];
	snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
	assert_int_equal(b->own(b, "a", NULL), VIGIA_OK);
	assert_int_equal(b->own(b, "b", NULL), VIGIA_OK);
	assert_error(b->own(b, "a", &err), VIGIA_EOWNED, &err, pid);
	assert_string_equal(err.watcher_id, "a");
	assert_int_equal(another->own(another, "a", NULL), VIGIA_OK); /* another store */
	b->disown(b, "a");
	b->disown(b, "a");
	b->disown(b, "never");
	assert_int_equal(b->own(b, "a", NULL), VIGIA_OK);
	assert_int_equal(b->own(b, "b", NULL), VIGIA_EOWNED);
	b->disown(b, "a");
	with_failing_allocations(b->own(b, "a", NULL));
	another->release(another);
	b->release(b);
}

static void test_an_append_wakes_its_types_and_nothing_else_does(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia_slice file = SLICE("File"), folder = SLICE("Folder");
	assert_true(vigia__wake_word(file) != vigia__wake_word(folder));
	struct vigia__listen files, folders, all;
	vigia__listen_init(&files, &file, 1);
	vigia__listen_init(&folders, &folder, 1);
	vigia__listen_init(&all, NULL, 0);
	vigia__wake_prepare(b->wake, &files);
	vigia__wake_prepare(b->wake, &folders);
	vigia__wake_prepare(b->wake, &all);
	uint64_t commits = b->commits(b);

	struct vigia__append nothing = {0};
	uint64_t removed;
	assert_int_equal(b->append(b, &nothing, NULL), VIGIA_OK);
	assert_int_equal(b->checkpoint_put(b, "w", 1, false, NULL), VIGIA_OK);
	assert_int_equal(b->trim(b, 0, &removed, NULL), VIGIA_OK);
	assert_false(vigia__wake_changed(b->wake, &all) || vigia__wake_changed(b->wake, &files));

	append_one(b, "File", 1);
	assert_true(vigia__wake_changed(b->wake, &files));
	assert_true(vigia__wake_changed(b->wake, &all));
	assert_false(vigia__wake_changed(b->wake, &folders));
	assert_true(b->commits(b) != commits);
	b->release(b);
}

/* Of a thousand types a few hundred share a word with another one. Of a hundred hardly any do. */
static void test_types_seldom_share_a_word(void **state)
{
	enum { TYPES = 1000, FEW = 100 };
	static uint8_t used[VIGIA_WAKE_WORDS];
	char name[16];
	int shared[2] = {0, 0};
	memset(used, 0, sizeof used);
	for (int i = 0; i < TYPES; i++) {
		unsigned word = vigia__wake_word((struct vigia_slice){name, (size_t)snprintf(name, sizeof name, "Type%d", i)});
		assert_in_range(word, 1, VIGIA_WAKE_WORDS - 1); /* word 0 stands for anything */
		shared[i >= FEW] += used[word];
		used[word] = 1;
	}
	assert_in_range(shared[0], 0, 5);
	assert_in_range(shared[1], 0, 200);
}

/* A set of words: those of its types, each once, whatever was in its memory before. */
static void test_a_set_of_words_is_what_was_put_in(void **state)
{
	enum { TYPES = 500 };
	struct vigia__wake_set some, all, both;
	char name[16];
	memset(&some, 0xff, sizeof some);
	memset(&all, 0, sizeof all);
	memset(&both, 0xff, sizeof both);
	vigia__wake_set_clear(&some);
	vigia__wake_set_clear(&all);
	vigia__wake_set_clear(&both);
	assert_false(vigia__wake_set_any(&some));
	for (int i = 0; i < TYPES; i++) {
		struct vigia_slice type = {name, (size_t)snprintf(name, sizeof name, "Type%d", i)};
		vigia__wake_set_add(&all, type);
		vigia__wake_set_add(i % 2 ? &some : &both, type);
	}
	vigia__wake_set_join(&both, &some);
	assert_true(both.parts == all.parts);
	for (int part = 0; part < 64; part++)
		if (all.parts >> part & 1) assert_true(both.words[part] == all.words[part]);

	/* Published, each changes its word, and no other one. */
	static _Atomic uint32_t words[VIGIA_WAKE_WORDS];
	struct vigia__wake wake = {words, VIGIA_WAKE_WORDS};
	for (int n = 0; n < VIGIA_WAKE_WORDS; n++) words[n] = 1; /* someone waits */
	vigia__wake_publish(&wake, &all);
	for (int n = 0; n < VIGIA_WAKE_WORDS; n++) {
		bool is_in = n == 0 || (all.parts >> n / 64 & 1 && all.words[n / 64] >> n % 64 & 1);
		assert_int_equal(words[n], is_in ? 256 : 1); /* a new version, and nobody waits any more */
	}
	/* Without a waiter a word is left as it is. */
	vigia__wake_publish(&wake, &all);
	for (int n = 0; n < VIGIA_WAKE_WORDS; n++) assert_true(words[n] == 1 || words[n] == 256);
}

/* The word of a type in version 0.1.0, which may have a store of format 1 open too. */
static unsigned word_in_0_1_0(const char *type)
{
	uint32_t h = 2166136261u;
	for (; *type; type++) h = (h ^ (uint8_t)*type) * 16777619u;
	return 1 + h % 63;
}

static void test_the_few_words_are_those_of_0_1_0(void **state)
{
	for (int i = 0; i < 200; i++) {
		_Atomic uint32_t words[VIGIA_WAKE_FEW] = {0};
		struct vigia__wake wake = {words, VIGIA_WAKE_FEW};
		struct vigia__wake_set set;
		struct vigia__listen listen;
		char name[16];
		struct vigia_slice type = {name, (size_t)snprintf(name, sizeof name, "Type%d", i)};
		unsigned word = word_in_0_1_0(name);
		/* It waits there, */
		vigia__listen_init(&listen, &type, 1);
		vigia__wake_prepare(&wake, &listen);
		for (unsigned n = 0; n < VIGIA_WAKE_FEW; n++) assert_int_equal(words[n], n == word);
		/* and wakes those who wait there. */
		vigia__wake_set_clear(&set);
		vigia__wake_set_add(&set, type);
		vigia__wake_publish(&wake, &set);
		for (unsigned n = 0; n < VIGIA_WAKE_FEW; n++) assert_int_equal(words[n], n == word ? 2 : 0);
		assert_true(vigia__wake_changed(&wake, &listen));
	}
}

/* A watcher of many types, or a registry of many watchers, is woken by each of its types and sleeps on for others. */
static void test_a_waiter_listens_to_many_types(void **state)
{
	enum { TYPES = 20 };
	char names[TYPES][16];
	struct vigia_slice types[TYPES], other = SLICE("Folder");
	size_t count = 0;
	for (int i = 0; count < TYPES; i++) {
		types[count] = (struct vigia_slice){names[count], (size_t)snprintf(names[count], sizeof *names, "Type%d", i)};
		if (vigia__wake_word(types[count]) != vigia__wake_word(other)) count++;
	}
	struct vigia__backend *b = open_memory();
	struct vigia__listen listen;
	vigia__listen_init(&listen, types, TYPES);
	if (listen.count > 1) { /* where there is no futex_waitv, it listens to anything */
		vigia__wake_prepare(b->wake, &listen);
		append_one(b, "Folder", 1);
		assert_false(vigia__wake_changed(b->wake, &listen));
		assert_false(vigia__wake_wait(b->wake, &listen, vigia__mono_ns() + 1000000));
	}
	for (int i = 0; i < TYPES; i++) {
		vigia__wake_prepare(b->wake, &listen);
		append_one(b, names[i], 1);
		assert_true(vigia__wake_changed(b->wake, &listen));
		assert_true(vigia__wake_wait(b->wake, &listen, INT64_MAX));
	}
	b->release(b);
}

static void test_stats_and_what_it_can(void **state)
{
	struct vigia__backend *b = open_memory();
	struct vigia__backend_stats stats;
	assert_int_equal(b->can, 0);
	assert_string_equal(b->name, "memory");
	uint64_t removed;
	for (int i = 0; i < 3; i++) append_one(b, "File", 1);
	assert_int_equal(b->stats(b, &stats, NULL), VIGIA_OK);
	uint64_t one = stats.used_bytes / 3;
	assert_in_range(one, VIGIA_HEAD_MIN, 40);
	assert_int_equal(b->trim(b, 1, &removed, NULL), VIGIA_OK);
	assert_int_equal(b->stats(b, &stats, NULL), VIGIA_OK);
	assert_int_equal(stats.oldest, 2);
	assert_int_equal(stats.latest, 3);
	assert_int_equal(stats.events, 2);
	assert_int_equal(stats.used_bytes, 2 * one);
	assert_int_equal(stats.created_at_ns, 1000);
	assert_string_equal(stats.file_id, "");
	assert_string_equal(stats.settings.values.events_bucket, "events");
	assert_string_equal(stats.settings.values.checkpoint_bucket, "checkpoints");
	b->release(b);
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	vigia__alloc_fail_at(1, 0);
	assert_int_equal(vigia__memory_open(&options, &b, NULL), VIGIA_ENOMEM);
	vigia__alloc_fail_at(0, 0);
}

/* ---- through vigia.h, with threads ---- */

enum { WRITERS = 4, PER_WRITER = 300, READERS = 3 };

struct shared {
	struct vigia_store *store;
	atomic_int next_writer;
};

static void *write_events(void *arg)
{
	struct shared *shared = arg;
	int writer = atomic_fetch_add(&shared->next_writer, 1);
	uint64_t last = 0;
	for (int i = 0; i < PER_WRITER; i++) {
		struct vigia__buf object = {0};
		uint64_t seq_num = 0;
		if (vigia__put_int(&object, writer * PER_WRITER + i) < 0) return "no memory";
		struct vigia_new_event event = {slice_of("CREATE"), slice_of("Number"), buf_slice(&object)};
		if (vigia_store_append(shared->store, &event, 1, &seq_num, NULL) < 0) return "append failed";
		vigia__buf_deinit(&object);
		if (seq_num <= last) return "a later append has a lower number";
		last = seq_num;
	}
	return NULL;
}

/* Waits for each event by long poll; all readers must see all of them, in one order, each writer's in its own order. */
static void *read_events(void *arg)
{
	struct shared *shared = arg;
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next = {.kind = VIGIA_AFTER,
	                              .seq_num = 0}; /* nothing to resolve: the first read waits, too */
	int64_t last[WRITERS] = {-1, -1, -1, -1};
	const char *wrong = NULL;
	for (uint64_t seq_num = 0; seq_num < WRITERS * PER_WRITER && !wrong;) {
		struct vigia_read request = {.size = sizeof request, .from = next, .timeout_ns = INT64_C(20000000000)};
		if (vigia_store_read(shared->store, &request, batch, &next, NULL) < 0 || vigia_batch_count(batch) == 0)
			wrong = "a read failed or was not woken";
		for (size_t i = 0; i < vigia_batch_count(batch) && !wrong; i++) {
			struct vigia_event event;
			if (vigia_batch_event(batch, i, &event, NULL) < 0 || event.seq_num != ++seq_num)
				wrong = "an event is damaged or missing";
			int64_t object = object_of(&event);
			if (object <= last[object / PER_WRITER]) wrong = "a writer's events are out of order";
			last[object / PER_WRITER] = object;
		}
	}
	vigia_batch_free(batch);
	return (void *)wrong;
}

static void test_threads_see_one_order(void **state)
{
	struct shared shared = {0};
	pthread_t threads[WRITERS + READERS];
	assert_int_equal(vigia_store_open(":memory:", NULL, &shared.store, NULL), VIGIA_OK);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, i < READERS ? read_events : write_events, &shared), 0);
	void *wrong = NULL;
	for (size_t i = 0; i < COUNT_OF(threads); i++) { /* all of them, before this frame may be left */
		void *said = NULL;
		pthread_join(threads[i], &said);
		if (said) wrong = said;
	}
	if (wrong) fail_msg("%s", (const char *)wrong);
	uint64_t latest = 0;
	assert_int_equal(vigia_store_latest(shared.store, &latest, NULL), VIGIA_OK);
	assert_int_equal(latest, WRITERS * PER_WRITER);
	vigia_store_free(shared.store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"append numbers events from 1 and keeps them as they are [S1 E2]", test_append_numbers_and_keeps, NULL, NULL,
	     NULL},
		cmocka_unit_test(test_stamps_in_place_and_takes_one_event_without_ends),
		{"the time of events never goes back though the clock does [E3]", test_time_never_goes_back, NULL, NULL, NULL},
		{"an append that finds no memory stores nothing [S14]", test_append_is_all_or_nothing_without_memory, NULL,
	     NULL, NULL},
		{"a scan stops at its count, its bytes and the end [S5]", test_scan_stops_where_it_is_told, NULL, NULL, NULL},
		{"a scan filters, and looks no longer than its time [S8 F2]",
	     test_scan_filters_and_looks_no_longer_than_its_time, NULL, NULL, NULL},
		cmocka_unit_test(test_scan_without_memory),
		{"numbers survive the removal of all events [E2 S9]", test_trim_keeps_the_numbering, NULL, NULL, NULL},
		{"the first event at or after a time [S20]", test_find_time, NULL, NULL, NULL},
		{"checkpoints are put, moved both ways, deleted, listed in order [S10]", test_checkpoints, NULL, NULL, NULL},
		cmocka_unit_test(test_many_checkpoints_in_order_without_memory),
		{"progress is saved with the next commit [W10]", test_progress_is_saved_with_the_next_commit, NULL, NULL, NULL},
		{"one commit saves the progress of many watchers [W10]", test_one_commit_saves_the_progress_of_many, NULL, NULL,
	     NULL},
		{"a commit takes a slice of what moved [W10]", test_a_commit_takes_a_slice_of_what_moved, NULL, NULL, NULL},
		{"a commit looks at the progress that moved only [W10]", test_a_commit_looks_at_what_moved_only, NULL, NULL,
	     NULL},
		{"one owner per watcher id, named by its pid [W19]", test_one_owner_per_watcher_id, NULL, NULL, NULL},
		{"an append wakes those who listen to its types [S6]", test_an_append_wakes_its_types_and_nothing_else_does,
	     NULL, NULL, NULL},
		cmocka_unit_test(test_types_seldom_share_a_word),
		cmocka_unit_test(test_a_set_of_words_is_what_was_put_in),
		cmocka_unit_test(test_the_few_words_are_those_of_0_1_0),
		{"a waiter listens to many types, and to those only [S6]", test_a_waiter_listens_to_many_types, NULL, NULL,
	     NULL},
		cmocka_unit_test(test_stats_and_what_it_can),
		{"threads that append and wait see one order [S13 S7]", test_threads_see_one_order, NULL, NULL, NULL},
	};
	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
