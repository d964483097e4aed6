/*
 * test_location.c - what of a store's location may be shown: all but a password.
 */
#include "core/location.h"
#include "lib/test.h"

static void test_what_is_a_server(void **state)
{
	assert_true(vigia__location_is_postgresql("postgresql://a/b?log=c"));
	assert_true(vigia__location_is_postgresql("postgres://"));
	assert_false(vigia__location_is_postgresql("postgresql:/a"));
	assert_false(vigia__location_is_postgresql("/postgres://a"));
	assert_false(vigia__location_is_postgresql("Postgres://a"));
	assert_false(vigia__location_is_postgresql(""));
}

static void test_what_is_shown(void **state)
{
	const struct {
		const char *location, *shown;
	} rows[] = {
		{"", ""},
		{"/a/b:c@d?password=e", "/a/b:c@d?password=e"},
		{"postgresql://", "postgresql://"},
		{"postgresql://h/d?log=a", "postgresql://h/d?log=a"},
		{"postgresql://h:5432/d?log=a", "postgresql://h:5432/d?log=a"},
		{"postgresql://u@h/d?log=a", "postgresql://u@h/d?log=a"},
		{"postgresql://u:@h/d?log=a", "postgresql://u:@h/d?log=a"},
		{"postgresql://u:p@h/d?log=a", "postgresql://u:*@h/d?log=a"},
		{"postgres://u:secret@h1:1,h2:2/d?log=a", "postgres://u:*@h1:1,h2:2/d?log=a"},
		{"postgres://u:p@ss@h/d", "postgres://u:*@h/d"},
		{"postgres://u:pa/ss@h/d", "postgres://u:*@h/d"},
		{"postgres://u:pa?ss@h/d", "postgres://u:*@h/d"},
		{"postgres://u:pa:ss@h", "postgres://u:*@h"},
		{"postgres://h/d?password=x", "postgres://h/d?password=*"},
		{"postgres://h/d?password=", "postgres://h/d?password="},
		{"postgres://h/d?password", "postgres://h/d?password"},
		{"postgres://h/d?a=b&password=x&c=d", "postgres://h/d?a=b&password=*&c=d"},
		{"postgres://h/d?a=b&sslpassword=x=y&c", "postgres://h/d?a=b&sslpassword=*&c"},
		{"postgres://h/d?p%61ssword=x", "postgres://h/d?p%61ssword=*"},
		{"postgres://h/d?p%6", "postgres://h/d?p%6"},
		{"postgres://h/d?passfile=f&a=password", "postgres://h/d?passfile=f&a=password"},
		{"postgres://u:p@h/d?password=q&&password=r", "postgres://u:*@h/d?password=*&&password=*"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char same[128], *exact = strdup(rows[i].location);
		vigia__location_show(rows[i].location, exact);
		assert_string_equal(rows[i].shown, exact);
		snprintf(same, sizeof same, "%s", rows[i].location);
		vigia__location_show(same, same);
		assert_string_equal(rows[i].shown, same);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_a_server),
		cmocka_unit_test(test_what_is_shown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
