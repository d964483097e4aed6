/*
 * test_settings.c - S12: the settings of a file as bytes, compared and changed, by the rows of the table of options.
 */
#include "core/event.h"
#include "core/settings.h"
#include "test.h"

static struct vigia_store_options unusual(void)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.max_event_size_bytes = 4096;
	options.durability = VIGIA_DURABILITY_NONE;
	options.events_bucket = "log";
	options.gc_age_threshold_ns = 1;
	options.max_events = 7;
	options.retention_passes_checkpoints = true;
	return options;
}

static void check_unusual(const struct vigia__settings *s)
{
	assert_int_equal(s->values.max_event_size_bytes, 4096);
	assert_int_equal(s->values.durability, VIGIA_DURABILITY_NONE);
	assert_string_equal(s->values.events_bucket, "log");
	assert_string_equal(s->values.checkpoint_bucket, "checkpoints");
	assert_int_equal(s->values.gc_age_threshold_ns, 1);
	assert_int_equal(s->values.max_events, 7);
	assert_true(s->values.retention_passes_checkpoints);
	assert_int_equal(s->values.gc_cadence_ns, INT64_C(600000000000));
}

static void S12_come_back_from_bytes(void **state)
{
	struct vigia_store_options options = unusual();
	struct vigia__settings s, read, copy;
	struct vigia__buf buf = {0};
	vigia__settings_from(&s, &options);
	assert_int_equal(vigia__settings_encode(&s, &buf), 0);
	memset(&s, 0xee, sizeof s);
	assert_true(vigia__settings_decode(&read, buf.data, buf.len));
	vigia__settings_copy(&copy, &read);
	memset(&read, 0xee, sizeof read); /* names are the copy's own */
	check_unusual(&copy);
	/* every beginning of the bytes is refused, and any byte may be wrong */
	for (size_t len = 0; len < buf.len; len++) assert_false(vigia__settings_decode(&read, buf.data, len));
	for (size_t at = 0; at < buf.len; at++) {
		for (int flip = 1; flip < 256; flip <<= 1) {
			buf.data[at] ^= (uint8_t)flip;
			vigia__settings_decode(&read, buf.data, buf.len);
			buf.data[at] ^= (uint8_t)flip;
		}
	}
	vigia__buf_deinit(&buf);
}

static void S12_a_missing_one_has_its_default_and_an_unknown_one_is_ignored(void **state)
{
	struct vigia__settings s;
	struct vigia__buf buf = {0};
	vigia__put_map(&buf, 3);
	vigia__put_string(&buf, "of a later version", 18);
	vigia__put_array(&buf, 1);
	vigia__put_int(&buf, 5);
	vigia__put_string(&buf, "max_events", 10);
	vigia__put_int(&buf, 9);
	vigia__put_string(&buf, "create", 6); /* no setting of a file */
	vigia__put_bool(&buf, false);
	assert_true(vigia__settings_decode(&s, buf.data, buf.len));
	assert_int_equal(s.values.max_events, 9);
	assert_int_equal(s.values.max_event_size_bytes, 1 << 20);
	assert_true(s.values.create);
	vigia__buf_deinit(&buf);
}

static void S12_values_that_are_not_allowed_are_damage(void **state)
{
	const struct {
		const char *name;
		int64_t number;
		const char *text;
	} rows[] = {{"max_events", -1, NULL},
	            {"max_event_size", 1, NULL},
	            {"durability", 0, "never"},
	            {"durability", 3, NULL},
	            {"events_bucket", 0, ""},
	            {"events_bucket", 7, NULL},
	            {"events_bucket", 0, "vigia.marks"},
	            {"events_bucket", 0, "checkpoints"},
	            {"max_events", 0, "9"},
	            {"retention_passes_checkpoints", 1, NULL}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia__settings s;
		struct vigia__buf buf = {0};
		vigia__put_map(&buf, 1);
		vigia__put_string(&buf, rows[i].name, strlen(rows[i].name));
		if (rows[i].text) vigia__put_string(&buf, rows[i].text, strlen(rows[i].text));
		else vigia__put_int(&buf, rows[i].number);
		if (vigia__settings_decode(&s, buf.data, buf.len)) fail_msg("row %zu: %s", i, rows[i].name);
		vigia__buf_deinit(&buf);
	}
}

static void S12_conflicts_name_both_values_of_all(void **state)
{
	struct vigia_store_options options = unusual(), asked;
	struct vigia__settings s;
	struct vigia__problems problems = {0};
	struct vigia_error err;
	vigia__settings_from(&s, &options);
	vigia_store_options_init(&asked);
	vigia__settings_conflicts(&s, &asked, &problems); /* nothing was asked for */
	assert_int_equal(problems.count, 0);
	asked.max_events = 8;
	asked.gc_age_threshold_ns = 1500000000;
	asked.max_events_given = asked.durability_given = asked.events_bucket_given = asked.gc_age_threshold_given = true;
	asked.checkpoint_bucket_given = true; /* the same */
	vigia__settings_conflicts(&s, &asked, &problems);
	assert_int_equal(problems.count, 4);
	vigia__problems_end(&problems, "x", &err);
	static const char *const said[] = {
		"max_events is 7 in the file, but 8 was requested", "durability is 'none' in the file, but 'commit' was",
		"events_bucket is 'log' in the file, but 'events' was", "gc_age_threshold is 1e-09 in the file, but 1.5 was"};
	for (size_t i = 0; i < COUNT_OF(said); i++)
		if (!strstr(err.message, said[i])) fail_msg("%s", err.message);
}

static void S12_what_is_given_changes_but_for_the_fixed(void **state)
{
	struct vigia_store_options options = unusual(), changes;
	struct vigia__settings s;
	struct vigia__problems problems = {0};
	struct vigia_error err;
	vigia__settings_from(&s, &options);
	vigia_store_options_init(&changes);
	changes.max_events = 70;
	changes.max_bytes = 99;
	changes.max_events_given = true;
	vigia__settings_change(&s, &changes, &problems);
	assert_int_equal(vigia__problems_end(&problems, "x", &err), VIGIA_OK);
	assert_int_equal(s.values.max_events, 70);
	assert_int_equal(s.values.max_bytes, 0);
	changes.events_bucket_given = true;
	vigia__settings_change(&s, &changes, &problems);
	assert_error(vigia__problems_end(&problems, "x", &err), VIGIA_EOPTION, &err, "events_bucket is fixed: it is 'log'");
	changes.events_bucket_given = false;
	changes.max_events = -5;
	vigia__settings_change(&s, &changes, &problems);
	assert_error(vigia__problems_end(&problems, "x", &err), VIGIA_EOPTION, &err, "max_events is -5");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(S12_come_back_from_bytes),
		cmocka_unit_test(S12_a_missing_one_has_its_default_and_an_unknown_one_is_ignored),
		cmocka_unit_test(S12_values_that_are_not_allowed_are_damage),
		cmocka_unit_test(S12_conflicts_name_both_values_of_all),
		cmocka_unit_test(S12_what_is_given_changes_but_for_the_fixed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
