/*
 * test_filter.c - F1, F2: lists of types and operations, matched on the stored bytes.
 */
#include "core/filter.h"
#include "lib/test.h"

static struct vigia__buf event(const char *operation, const char *type)
{
	struct vigia__buf buf = {0};
	assert_int_equal(vigia__event_begin(&buf, slice_of(operation), slice_of(type), NULL), 0);
	assert_int_equal(vigia__put_nil(&buf), 0);
	return buf;
}

static bool matches(const struct vigia__filter *filter, const char *operation, const char *type)
{
	struct vigia__buf buf = event(operation, type);
	bool answer = vigia__filter_match(filter, buf.data, buf.len);
	vigia__buf_deinit(&buf);
	return answer;
}

/* Lists are words with one space between. */
static struct vigia__filter *make(const char *types, const char *operations)
{
	struct vigia_slice lists[2][300];
	size_t counts[2] = {0, 0};
	const char *texts[2] = {types, operations};
	for (int i = 0; i < 2; i++) {
		for (const char *at = texts[i]; *at;) {
			size_t len = strcspn(at, " ");
			lists[i][counts[i]++] = (struct vigia_slice){at, len};
			at += len + (at[len] == ' ');
		}
	}
	struct vigia_filter filter = {lists[0], counts[0], lists[1], counts[1]};
	struct vigia__filter *made = NULL;
	assert_int_equal(vigia__filter_new(&filter, &made, NULL), 0);
	return made;
}

static void test_empty_keeps_all(void **state)
{
	struct vigia__filter *made = (void *)1;
	struct vigia_filter empty = {0};
	assert_int_equal(vigia__filter_new(&empty, &made, NULL), 0);
	assert_null(made);
	assert_int_equal(vigia__filter_new(NULL, &made, NULL), 0);
	assert_null(made);
	assert_true(matches(NULL, "CREATE", "File"));
	size_t count = 9;
	vigia__filter_types(NULL, &count);
	assert_int_equal(count, 0);
	vigia__filter_free(NULL);
}

static void test_table(void **state)
{
	static const struct {
		const char *types, *operations, *operation, *type;
		bool wanted;
	} rows[] = {
		{"File", "", "CREATE", "File", true},          {"File", "", "rename", "File", true},
		{"File", "", "CREATE", "Commit", false},       {"File", "", "CREATE", "Filx", false},
		{"File", "", "CREATE", "File2", false},        {"File", "", "CREATE", "Fil", false},
		{"File", "", "CREATE", "file", false},         {"File Commit", "", "CREATE", "Commit", true},
		{"", "CREATE", "CREATE", "x", true},           {"", "CREATE", "UPDATE", "x", false},
		{"", "CREATE", "create", "x", false},          {"", "UPDATE DELETE", "DELETE", "x", true},
		{"", "UPDATE DELETE", "UPDATE", "x", true},    {"", "UPDATE DELETE", "CREATE", "x", false},
		{"", "rename", "rename", "x", true},           {"", "rename", "CREATE", "x", false},
		{"", "rename DELETE", "DELETE", "x", true},    {"", "rename DELETE", "renamed", "x", false},
		{"File", "CREATE", "CREATE", "File", true},    {"File", "CREATE", "DELETE", "File", false},
		{"File", "CREATE", "CREATE", "Commit", false}, {"File File", "CREATE CREATE", "CREATE", "File", true},
		{"Größe", "ändern", "ändern", "Größe", true},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct vigia__filter *filter = make(rows[i].types, rows[i].operations);
		if (matches(filter, rows[i].operation, rows[i].type) != rows[i].wanted) fail_msg("row %zu", i);
		vigia__filter_free(filter);
	}
}

static void test_many_names(void **state)
{
	char list[300 * 8], *at = list;
	for (int i = 0; i < 200; i++) at += sprintf(at, "%st%d", i ? " " : "", i * 7);
	struct vigia__filter *types = make(list, ""), *operations = make("", list);
	for (int i = 0; i < 1400; i++) {
		char name[16];
		sprintf(name, "t%d", i);
		assert_int_equal(matches(types, "CREATE", name), i % 7 == 0);
		assert_int_equal(matches(operations, name, "x"), i % 7 == 0);
	}
	size_t count;
	const struct vigia_slice *wanted = vigia__filter_types(types, &count);
	assert_int_equal(count, 200);
	assert_non_null(wanted);
	vigia__filter_types(operations, &count);
	assert_int_equal(count, 0);
	vigia__filter_free(types);
	vigia__filter_free(operations);
}

static void test_owns_its_copy(void **state)
{
	char type[] = "File";
	struct vigia_slice name = {type, 4};
	struct vigia_filter lists = {&name, 1, NULL, 0};
	struct vigia__filter *filter;
	assert_int_equal(vigia__filter_new(&lists, &filter, NULL), 0);
	memcpy(type, "xxxx", 4);
	assert_true(matches(filter, "CREATE", "File"));
	vigia__filter_free(filter);
}

static void test_wrong_entries_are_named(void **state)
{
	char long_name[257];
	memset(long_name, 'x', 256);
	long_name[256] = '\0';
	struct vigia_slice good = slice_of("ok");
	struct vigia_slice types[2] = {good, slice_of("")}, operations[3] = {good, good, slice_of(long_name)};
	struct vigia_slice bytes = slice_of("\xff");
	struct vigia_error err;
	struct vigia__filter *filter;
	assert_error(vigia__filter_new(&(struct vigia_filter){types, 2, NULL, 0}, &filter, &err), VIGIA_EINVAL, &err,
	             "filter.object_types[2] is empty");
	assert_null(filter);
	assert_error(vigia__filter_new(&(struct vigia_filter){&good, 1, operations, 3}, &filter, &err), VIGIA_EINVAL, &err,
	             "filter.operations[3] has 256 bytes");
	assert_error(vigia__filter_new(&(struct vigia_filter){&bytes, 1, NULL, 0}, &filter, &err), VIGIA_EINVAL, &err,
	             "filter.object_types[1] is not valid UTF-8");
}

/* F2: whoever decodes such an event must see the damage. */
static void test_an_unreadable_head_matches(void **state)
{
	struct vigia__filter *filter = make("Other", "rename");
	struct vigia__buf buf = event("CREATE", "File");
	assert_false(vigia__filter_match(filter, buf.data, buf.len));
	for (size_t len = 0; len < buf.len; len++) assert_true(vigia__filter_match(filter, buf.data, len));
	buf.data[0] = 0x95;
	assert_true(vigia__filter_match(filter, buf.data, buf.len));
	vigia__buf_deinit(&buf);
	vigia__filter_free(filter);
}

static int scenario(void)
{
	struct vigia_slice name = slice_of("File");
	struct vigia__filter *filter;
	int rc = vigia__filter_new(&(struct vigia_filter){&name, 1, &name, 1}, &filter, NULL);
	assert_true(rc == 0 || !filter);
	vigia__filter_free(filter);
	return rc;
}

static void test_without_memory(void **state)
{
	with_failing_allocations(scenario());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_keeps_all),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_many_names),
		cmocka_unit_test(test_owns_its_copy),
		cmocka_unit_test(test_wrong_entries_are_named),
		cmocka_unit_test(test_an_unreadable_head_matches),
		cmocka_unit_test(test_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
