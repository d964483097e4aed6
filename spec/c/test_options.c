/*
 * test_options.c - S12, W18: options are validated as a whole, every bad one named in one error.
 */
#include <math.h>

#include "core/nearest.h"
#include "core/options.h"
#include "lib/test.h"

static struct vigia__value boolean(bool b)
{
	return (struct vigia__value){.kind = VIGIA_VALUE_BOOL, .boolean = b, .type_name = "boolean"};
}

static struct vigia__value integer(int64_t n)
{
	return (struct vigia__value){.kind = VIGIA_VALUE_INT, .integer = n, .type_name = "number"};
}

static struct vigia__value number(double n)
{
	return (struct vigia__value){.kind = VIGIA_VALUE_FLOAT, .number = n, .type_name = "number"};
}

static struct vigia__value string(const char *s)
{
	return (struct vigia__value){.kind = VIGIA_VALUE_STRING, .string = s, .type_name = "string"};
}

static struct vigia__value other(const char *type)
{
	return (struct vigia__value){.kind = VIGIA_VALUE_OTHER, .type_name = type};
}

static void test_defaults(void **state)
{
	struct vigia_store_options store;
	memset(&store, 0xee, sizeof store);
	vigia_store_options_init(&store);
	assert_false(store.readonly);
	assert_true(store.create);
	assert_false(store.allow_network_fs);
	assert_int_equal(store.long_polling_timeout_ns, 10000000000);
	assert_int_equal(store.max_batch_bytes, 8 << 20);
	assert_int_equal(store.checkpoint_interval_ns, 1000000000);
	assert_int_equal(store.map_size_bytes, 0);
	assert_int_equal(store.max_event_size_bytes, 1 << 20);
	assert_int_equal(store.durability, VIGIA_DURABILITY_COMMIT);
	assert_string_equal(store.events_bucket, "events");
	assert_string_equal(store.checkpoint_bucket, "checkpoints");
	assert_false(store.max_event_size_given || store.durability_given);
	assert_false(store.events_bucket_given || store.checkpoint_bucket_given);

	struct vigia_watch_options watch;
	memset(&watch, 0xee, sizeof watch);
	vigia_watch_options_init(&watch);
	assert_int_equal(watch.initial_event_iterator.kind, VIGIA_TRIM_HORIZON);
	assert_int_equal(watch.initial_event_iterator.seq_num, 0);
	assert_int_equal(watch.filter.object_types_count + watch.filter.operations_count, 0);
	assert_int_equal(watch.batch_size, 100);
	assert_int_equal(watch.buffer_size, 1000);
	assert_int_equal(watch.initial_backoff_ns, 200000000);
	assert_int_equal(watch.max_backoff_ns, 180000000000);
	assert_false(watch.jitter);
	assert_int_equal(watch.retry_strategy, VIGIA_RETRY_BLOCK);
	assert_int_equal(watch.max_retries, 3);
	assert_int_equal(watch.checkpoint, VIGIA_CHECKPOINT_BATCH);
	assert_false(watch.ephemeral);
	assert_true(watch.auto_start);

	/* what init makes passes the check */
	struct vigia__problems problems = {0};
	vigia__options_check(vigia__store_option_table, &store, &problems);
	vigia__options_check(vigia__watch_option_table, &watch, &problems);
	assert_int_equal(vigia__problems_end(&problems, "x", NULL), 0);
}

/* Every row of every table: names are unique, help is there, the default is allowed. */
static void test_tables_are_sound(void **state)
{
	const struct vigia__option *tables[] = {vigia__store_option_table, vigia__watch_option_table,
	                                        vigia__registry_option_table, vigia__stop_option_table};
	for (size_t t = 0; t < COUNT_OF(tables); t++) {
		for (const struct vigia__option *o = tables[t]; o->name; o++) {
			assert_ptr_equal(vigia__option_find(tables[t], o->name), o);
			assert_true(o->help && strlen(o->help) > 10);
			if (o->type == VIGIA_OPTION_COUNT || o->type == VIGIA_OPTION_BYTES || o->type == VIGIA_OPTION_SECONDS)
				assert_true(o->min <= o->initial && o->initial <= o->max);
			if (o->type == VIGIA_OPTION_CHOICE || o->type == VIGIA_OPTION_NAME) assert_non_null(o->choices);
		}
		assert_null(vigia__option_find(tables[t], "nothing"));
	}
}

static void test_setting(void **state)
{
	struct vigia_store_options store;
	struct vigia_watch_options watch;
	struct vigia__problems problems = {0};
	const struct vigia__option *s = vigia__store_option_table, *w = vigia__watch_option_table;
	vigia_store_options_init(&store);
	vigia_watch_options_init(&watch);
	struct vigia__value v;
	vigia__option_set(s, &store, "readonly", (v = boolean(true), &v), &problems);
	vigia__option_set(s, &store, "long_polling_timeout", (v = number(0.25), &v), &problems);
	vigia__option_set(s, &store, "checkpoint_interval", (v = integer(2), &v), &problems);
	vigia__option_set(s, &store, "max_event_size", (v = integer(4096), &v), &problems);
	vigia__option_set(s, &store, "durability", (v = string("none"), &v), &problems);
	vigia__option_set(s, &store, "events_bucket", (v = string("log"), &v), &problems);
	vigia__option_set(w, &watch, "batch_size", (v = number(10.0), &v), &problems);
	vigia__option_set(w, &watch, "initial_backoff", (v = number(0.001), &v), &problems);
	vigia__option_set(w, &watch, "checkpoint", (v = string("manual"), &v), &problems);
	vigia__option_set(w, &watch, "filter", (v = other("table"), &v), &problems);
	vigia__option_set(w, &watch, "on_error", (v = other("function"), &v), &problems);
	vigia__options_check(s, &store, &problems);
	vigia__options_check(w, &watch, &problems);
	assert_int_equal(vigia__problems_end(&problems, "x", NULL), 0);
	assert_true(store.readonly);
	assert_int_equal(store.long_polling_timeout_ns, 250000000);
	assert_int_equal(store.checkpoint_interval_ns, 2000000000);
	assert_int_equal(store.max_event_size_bytes, 4096);
	assert_true(store.max_event_size_given);
	assert_int_equal(store.durability, VIGIA_DURABILITY_NONE);
	assert_true(store.durability_given);
	assert_string_equal(store.events_bucket, "log");
	assert_true(store.events_bucket_given);
	assert_false(store.checkpoint_bucket_given);
	assert_int_equal(watch.batch_size, 10);
	assert_int_equal(watch.initial_backoff_ns, 1000000);
	assert_int_equal(watch.checkpoint, VIGIA_CHECKPOINT_MANUAL);
}

static void test_what_is_refused(void **state)
{
	static const char long_name[] = "12345678901234567890123456789012345678901234567890123456789012345"; /* 65 */
	const struct {
		const struct vigia__option *table;
		const char *name;
		struct vigia__value value;
		const char *message;
	} rows[] = {
		{vigia__watch_option_table, "batch_size", integer(0),
	     "batch_size is 0, allowed: a whole number from 1 to 1000000"},
		{vigia__watch_option_table, "batch_size", integer(INT64_MIN), "batch_size is -9223372036854775808, allowed"},
		{vigia__watch_option_table, "batch_size", integer(INT64_MAX), "batch_size is 9223372036854775807, allowed"},
		{vigia__watch_option_table, "batch_size", number(1.5), "batch_size is 1.5, allowed"},
		{vigia__watch_option_table, "batch_size", number(NAN), "nan, allowed"},
		{vigia__watch_option_table, "batch_size", number(INFINITY), "batch_size is inf, allowed"},
		{vigia__watch_option_table, "batch_size", string("10"), "batch_size is \"10\", allowed: a whole number"},
		{vigia__watch_option_table, "batch_size", boolean(true), "batch_size is true, allowed: a whole number"},
		{vigia__watch_option_table, "max_retries", integer(0), "max_retries is 0, allowed: a whole number from 1 to"},
		{vigia__watch_option_table, "max_backoff", number(-1), "max_backoff is -1, allowed: 0 to 86400 seconds"},
		{vigia__watch_option_table, "max_backoff", number(NAN), "nan, allowed: 0 to 86400 seconds"},
		{vigia__watch_option_table, "max_backoff", other("table"),
	     "max_backoff is a table, allowed: 0 to 86400 seconds"},
		{vigia__watch_option_table, "jitter", integer(1), "jitter is 1, allowed: true or false"},
		{vigia__watch_option_table, "jitter", other("function"), "jitter is a function, allowed: true or false"},
		{vigia__watch_option_table, "retry_strategy", string("stop"),
	     "retry_strategy is \"stop\", allowed: \"block\" or \"skip\""},
		{vigia__watch_option_table, "retry_strategy", string("bloc"), "\"bloc\", allowed: \"block\" or \"skip\""},
		{vigia__watch_option_table, "retry_strategy", string("block skip"), "\"block skip\", allowed"},
		{vigia__watch_option_table, "retry_strategy", string(""), "retry_strategy is \"\", allowed"},
		{vigia__watch_option_table, "checkpoint", boolean(false),
	     "checkpoint is false, allowed: \"batch\" or \"event\" or \"manual\""},
		{vigia__store_option_table, "max_event_size", integer(1),
	     "max_event_size is 1, allowed: 64 to 1073741824 bytes"},
		{vigia__store_option_table, "events_bucket", string(""),
	     "events_bucket is \"\", allowed: a string of 1 to 64 bytes"},
		{vigia__store_option_table, "events_bucket", string(long_name),
	     "events_bucket is \"123456789012345678901234...\", allowed"},
		{vigia__store_option_table, "durability", string("ääääääääääääää"),
	     "durability is \"ääääääääääää...\", allowed: \"commit\" or \"none\""},
		{vigia__watch_option_table, "bufer_size", integer(1),
	     "unknown option 'bufer_size' (did you mean buffer_size?)"},
		{vigia__watch_option_table, "check", integer(1), "unknown option 'check' (did you mean checkpoint?)"},
		{vigia__watch_option_table, "zzz", integer(1), "unknown option 'zzz'"},
		{vigia__watch_option_table, "", integer(1), "unknown option ''"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia_store_options store;
		struct vigia_watch_options watch, watch_before;
		vigia_store_options_init(&store);
		vigia_watch_options_init(&watch);
		watch_before = watch;
		struct vigia__problems problems = {0};
		struct vigia_error err = {0};
		void *target = rows[i].table == vigia__store_option_table ? (void *)&store : (void *)&watch;
		vigia__option_set(rows[i].table, target, rows[i].name, &rows[i].value, &problems);
		assert_int_equal(problems.count, 1);
		assert_error(vigia__problems_end(&problems, "options", &err), VIGIA_EOPTION, &err, rows[i].message);
		assert_memory_equal(err.message, "options: ", 9);
		assert_memory_equal(&watch, &watch_before, sizeof watch);
		assert_false(store.max_event_size_given || store.events_bucket_given || store.durability_given);
	}
}

static void test_every_bad_one_is_named(void **state)
{
	const struct vigia__option *tables[] = {vigia__store_option_table, vigia__watch_option_table};
	for (size_t t = 0; t < 2; t++) {
		char room[1024];
		struct vigia__problems problems = {0};
		struct vigia_error err;
		struct vigia__value wrong = string("a long string that is no value of any option");
		for (const struct vigia__option *o = tables[t]; o->name; o++) {
			/* any string up to 64 bytes is a name */
			struct vigia__value value = o->type == VIGIA_OPTION_NAME ? other("table") : wrong;
			vigia__option_set(tables[t], room, o->name, &value, &problems);
		}
		assert_int_equal(vigia__problems_end(&problems, "watch options", &err), VIGIA_EOPTION);
		for (const struct vigia__option *o = tables[t]; o->name; o++)
			if (o->type != VIGIA_OPTION_SPECIAL && !strstr(err.message, o->name))
				fail_msg("%s is not named in: %s", o->name, err.message);
		assert_null(strstr(err.message, "there are more"));
	}
	/* so many that they do not fit: says so */
	struct vigia__problems problems = {0};
	struct vigia_error err;
	for (int i = 0; i < 100; i++) vigia__problem(&problems, "problem number %d", i);
	assert_error(vigia__problems_end(&problems, "x", &err), VIGIA_EOPTION, &err, "there are more");
	assert_non_null(strstr(err.message, "problem number 0; problem number 1; "));
	assert_true(strlen(err.message) < sizeof err.message - 1);
}

static void test_checking_a_struct(void **state)
{
	struct vigia_store_options store;
	struct vigia_watch_options watch;
	struct vigia__problems problems = {0};
	struct vigia_error err;
	vigia_watch_options_init(&watch);
	watch.batch_size = 0;
	watch.initial_backoff_ns = -5;
	watch.retry_strategy = 3;
	watch.checkpoint = -1;
	watch.initial_event_iterator.kind = 9;
	vigia__options_check(vigia__watch_option_table, &watch, &problems);
	assert_int_equal(problems.count, 5);
	assert_error(
		vigia__problems_end(&problems, "watch options", &err), VIGIA_EOPTION, &err,
		"watch options: batch_size is 0, allowed: a whole number from 1 to 1000000; initial_backoff is -5e-09, "
		"allowed: 0 to 86400 seconds; retry_strategy is 3, allowed: \"block\" or \"skip\" or \"dead_letter\"; "
		"checkpoint is -1, allowed: \"batch\" or \"event\" or \"manual\"; "
		"initial_event_iterator is of kind 9");

	vigia_watch_options_init(&watch);
	watch.initial_backoff_ns = 200000000000;
	vigia__options_check(vigia__watch_option_table, &watch, &problems);
	assert_error(vigia__problems_end(&problems, "x", &err), VIGIA_EOPTION, &err,
	             "max_backoff is 180 seconds, allowed: at least initial_backoff, 200 seconds");

	vigia_store_options_init(&store);
	store.events_bucket = store.checkpoint_bucket;
	store.map_size_bytes = 1;
	vigia__options_check(vigia__store_option_table, &store, &problems);
	assert_error(vigia__problems_end(&problems, "x", &err), VIGIA_EOPTION, &err,
	             "events_bucket and checkpoint_bucket are both \"checkpoints\", allowed: two names; "
	             "map_size is 1, allowed: 0, or at least 65536 bytes");

	vigia_store_options_init(&store);
	store.events_bucket = NULL;
	store.max_batch_bytes = -1;
	store.long_polling_timeout_ns = -1;
	vigia__options_check(vigia__store_option_table, &store, &problems);
	assert_int_equal(problems.count, 3);
	assert_error(vigia__problems_end(&problems, "x", &err), VIGIA_EOPTION, &err, "events_bucket is a NULL");
}

static const char *word_at(const void *ctx, int index)
{
	return ((const char *const *)ctx)[index];
}

static void test_nearest(void **state)
{
	static const char *const words[] = {"append", "events", "run", "checkpoints", "stats", "gc", NULL};
	static const struct {
		const char *wrong, *near;
	} rows[] = {
		{"apend", "append"},
		{"appned", "append"},
		{"event", "events"},
		{"evnets", "events"},
		{"check", "checkpoints"},
		{"checkpoint", "checkpoints"},
		{"rnu", "run"},
		{"rum", "run"},
		{"stat", "stats"},
		{"x", NULL},
		{"", NULL},
		{"ev", "events"},
		{"publish", NULL},
		{"xyz", NULL},
		{"running", "run"},
		{"ab", NULL},
		{"stxyz", NULL},
		{"rxx", NULL},
		{"gx", "gc"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *got = vigia__nearest(rows[i].wrong, word_at, words);
		if (got != rows[i].near && (!got || !rows[i].near || strcmp(got, rows[i].near) != 0))
			fail_msg("%s: %s", rows[i].wrong, got ? got : "nothing");
	}
	char huge[1000];
	memset(huge, 'a', sizeof huge);
	huge[sizeof huge - 1] = '\0';
	assert_null(vigia__nearest(huge, word_at, words));
	/* The longest that is compared: without its first letter, and with another one at the end. */
	char longest[65] = "", other[65] = "";
	const char *const long_words[] = {longest, NULL};
	for (int i = 0; i < 64; i++) longest[i] = (char)('!' + i);
	memcpy(other, longest + 1, 63);
	other[63] = '~';
	assert_ptr_equal(vigia__nearest(other, word_at, long_words), longest);
}

static void test_without_memory(void **state)
{
	struct vigia__problems problems = {0};
	struct vigia_error err;
	struct vigia_watch_options watch;
	struct vigia__value v = integer(0);
	vigia_watch_options_init(&watch);
	vigia__alloc_fail_at(1, 1);
	vigia__option_set(vigia__watch_option_table, &watch, "batch_size", &v, &problems);
	assert_error(vigia__problems_end(&problems, "x", &err), VIGIA_EOPTION, &err, "out of memory");
	vigia__alloc_fail_at(0, 0);
	assert_int_equal(vigia__problems_end(&problems, "x", &err), 0);
	/* For some of them: the others are told of, and how many are not. */
	for (int i = 0; i < 3; i++) {
		vigia__problem(&problems, "problem %-240d", i);
		vigia__alloc_fail_at(1, 1);
	}
	vigia__alloc_fail_at(0, 0);
	assert_error(vigia__problems_end(&problems, "x", &err), VIGIA_EOPTION, &err, "x: problem 0 ");
	if (strstr(err.message, "; 2 more (out of memory while listing them)") == NULL) fail_msg("%s", err.message);
	vigia__problem(&problems, "another");
	assert_error(vigia__problems_end(&problems, "x", &err), VIGIA_EOPTION, &err, "x: another");
	assert_null(strstr(err.message, "out of memory"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"the defaults are those that are promised [S5 S6 E7 D1]", test_defaults, NULL, NULL, NULL},
		cmocka_unit_test(test_tables_are_sound),
		cmocka_unit_test(test_setting),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_every_bad_one_is_named),
		cmocka_unit_test(test_checking_a_struct),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
