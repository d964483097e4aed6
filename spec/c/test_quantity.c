/*
 * test_quantity.c - O8: sizes and durations as text: 64M, 64MiB, 1h, 250ms; one that overflows is refused.
 */
#include "core/options.h"
#include "core/quantity.h"
#include "lib/test.h"

#define SIZE     VIGIA_QUANTITY_SIZE
#define DURATION VIGIA_QUANTITY_DURATION

static void test_what_is_read(void **state)
{
	const int64_t kib = 1024, s = 1000000000;
	const struct {
		enum vigia__quantity_kind kind;
		const char *text;
		int64_t value;
	} rows[] = {
		{SIZE, "0", 0},
		{SIZE, "64", 64},
		{SIZE, "64B", 64},
		{SIZE, "64K", 64 * kib},
		{SIZE, "64KiB", 64 * kib},
		{SIZE, "64M", 64 * kib * kib},
		{SIZE, "64MiB", 64 * kib * kib},
		{SIZE, "64 MiB", 64 * kib * kib},
		{SIZE, "3G", 3 * kib * kib * kib},
		{SIZE, "3GiB", 3 * kib * kib * kib},
		{SIZE, "2T", 2 * kib * kib * kib * kib},
		{SIZE, "2TiB", 2 * kib * kib * kib * kib},
		{SIZE, "1.5K", 1536},
		{SIZE, "0.5G", kib * kib * kib / 2},
		{SIZE, "007", 7},
		{SIZE, "1.0", 1},
		{SIZE, "9223372036854775807", INT64_MAX},
		{SIZE, "8388607T", 8388607 * kib * kib * kib * kib},
		{DURATION, "0", 0},
		{DURATION, "5", 5 * s},
		{DURATION, "5s", 5 * s},
		{DURATION, "0.25", s / 4},
		{DURATION, ".5", s / 2},
		{DURATION, "0.2 s", s / 5},
		{DURATION, "1ns", 1},
		{DURATION, "3us", 3000},
		{DURATION, "250ms", 250000000},
		{DURATION, "2m", 120 * s},
		{DURATION, "2min", 120 * s},
		{DURATION, "1h", 3600 * s},
		{DURATION, "1.5h", 5400 * s},
		{DURATION, "7d", 604800 * s},
		{DURATION, "1w", 604800 * s},
		{DURATION, "0.4ns", 0},
		{DURATION, "0.5ns", 1},
		{DURATION, "0.123456789123400000", 123456789},
		{DURATION, "106751d", 86400 * s * 106751},
		{DURATION, "9223372036.854775807", INT64_MAX},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int64_t value = -1;
		if (vigia__quantity_read(rows[i].kind, rows[i].text, strlen(rows[i].text), &value) != VIGIA_QUANTITY_OK ||
		    value != rows[i].value)
			fail_msg("%s is read as %lld", rows[i].text, (long long)value);
	}
}

static void test_what_is_refused(void **state)
{
	const struct {
		enum vigia__quantity_kind kind;
		const char *text;
		enum vigia__quantity_result result;
	} rows[] = {
		{SIZE, "", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "M", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "64MB", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "64KB", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "64m", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "64Mi", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "64  M", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "64 ", VIGIA_QUANTITY_MALFORMED},
		{SIZE, " 64", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "-1", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "+1", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "1e3", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "0x10", VIGIA_QUANTITY_MALFORMED},
		{SIZE, ".", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "1.", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "1..5K", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "1.5", VIGIA_QUANTITY_BROKEN},
		{SIZE, "0.0001K", VIGIA_QUANTITY_BROKEN},
		{SIZE, "5s", VIGIA_QUANTITY_MALFORMED},
		{DURATION, "5M", VIGIA_QUANTITY_MALFORMED},
		{DURATION, "soon", VIGIA_QUANTITY_MALFORMED},
		{DURATION, "1h30m", VIGIA_QUANTITY_MALFORMED},
		{DURATION, "inf", VIGIA_QUANTITY_MALFORMED},
		{DURATION, "0.1234567890123456", VIGIA_QUANTITY_MALFORMED},
		{SIZE, "9223372036854775808", VIGIA_QUANTITY_OVERFLOW},
		{SIZE, "18446744073709551616", VIGIA_QUANTITY_OVERFLOW},
		{SIZE, "17179869184G", VIGIA_QUANTITY_OVERFLOW},
		{SIZE, "8388608T", VIGIA_QUANTITY_OVERFLOW},
		{SIZE, "340282366920938463463374607431768211456T", VIGIA_QUANTITY_OVERFLOW},
		{DURATION, "106752d", VIGIA_QUANTITY_OVERFLOW},
		{DURATION, "9223372037", VIGIA_QUANTITY_OVERFLOW},
		{DURATION, "99999999999999999999999999999999999999999999w", VIGIA_QUANTITY_OVERFLOW},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int64_t value = -7;
		if (vigia__quantity_read(rows[i].kind, rows[i].text, strlen(rows[i].text), &value) != rows[i].result)
			fail_msg("'%s' is read as %lld, or refused for another reason", rows[i].text, (long long)value);
		assert_int_equal(value, -7);
	}
	/* only the text up to its length */
	int64_t value;
	assert_int_equal(vigia__quantity_read(SIZE, "64MiB", 3, &value), VIGIA_QUANTITY_OK);
	assert_int_equal(value, 64 << 20);
	assert_int_equal(vigia__quantity_read(SIZE, "64\0M", 4, &value), VIGIA_QUANTITY_MALFORMED);
}

static int set(const struct vigia__option *table, void *target, const char *name, const char *text,
               struct vigia_error *err)
{
	struct vigia__problems problems = {0};
	struct vigia__value value = {.kind = VIGIA_VALUE_STRING, .string = text, .type_name = "string"};
	vigia__option_set(table, target, name, &value, &problems);
	return vigia__problems_end(&problems, "options", err);
}

static void test_options_take_them(void **state)
{
	struct vigia_store_options store;
	struct vigia_watch_options watch;
	struct vigia_error err = {0};
	const struct vigia__option *s = vigia__store_option_table, *w = vigia__watch_option_table;
	vigia_store_options_init(&store);
	vigia_watch_options_init(&watch);
	assert_int_equal(set(s, &store, "max_bytes", "64M", &err), VIGIA_OK);
	assert_int_equal(store.max_bytes, 64 << 20);
	assert_true(store.max_bytes_given);
	assert_int_equal(set(w, &watch, "max_backoff", "250ms", &err), VIGIA_OK);
	assert_int_equal(watch.max_backoff_ns, 250000000);
	/* no limits are passed, and what is wrong is said */
	assert_error(set(s, &store, "max_bytes", "17179869184G", &err), VIGIA_EOPTION, &err,
	             "max_bytes is \"17179869184G\", allowed: 0 to");
	assert_error(set(s, &store, "max_bytes", "65T", &err), VIGIA_EOPTION, &err, "max_bytes is \"65T\", allowed: 0 to");
	assert_null(strstr(err.message, "as in"));
	assert_error(set(s, &store, "max_bytes", "64MB", &err), VIGIA_EOPTION, &err, "bytes, as in 64M or 64MiB");
	assert_error(set(w, &watch, "max_backoff", "25h", &err), VIGIA_EOPTION, &err, "allowed: 0 to 86400 seconds");
	assert_error(set(w, &watch, "max_backoff", "soon", &err), VIGIA_EOPTION, &err, "seconds, as in 250ms or 1h");
	assert_error(set(w, &watch, "max_backoff", "5", &err), VIGIA_EOPTION, &err, "seconds, as in 250ms or 1h");
	assert_error(set(s, &store, "max_bytes", "5", &err), VIGIA_EOPTION, &err, "bytes, as in 64M or 64MiB");
	assert_error(set(w, &watch, "batch_size", "1K", &err), VIGIA_EOPTION, &err, "allowed: a whole number");
	assert_int_equal(store.max_bytes, 64 << 20);
	assert_int_equal(watch.max_backoff_ns, 250000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"sizes and durations have units [O8a]", test_what_is_read, NULL, NULL, NULL},
		{"what is none, or overflows, is refused [O8b]", test_what_is_refused, NULL, NULL, NULL},
		{"options take them as text [O8c]", test_options_take_them, NULL, NULL, NULL},
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
