/*
 * test_embed.c - libvigia-lua: scripts that an application in C watches with. Linked as such an application is, with
 * the shared libraries.
 */
#include "test.h"

static char folder[FOLDER_MAX], script[FOLDER_MAX + 16];
static struct vigia_store *store;
static struct vigia_registry *registry;

static int setup(void **state)
{
	if (folder_make(folder) < 0 || vigia_store_open(":memory:", NULL, &store, NULL) < 0) return -1;
	snprintf(script, sizeof script, "%s/script.lua", folder);
	registry = vigia_registry_new(store);
	return registry ? 0 : -1;
}

static int teardown(void **state)
{
	vigia_registry_free(registry);
	vigia_store_free(store);
	folder_empty(folder);
	return rmdir(folder);
}

static void write_script(const char *text)
{
	FILE *file = fopen(script, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void append(const char *type)
{
	struct vigia_new_event event = {SLICE_INIT("CREATE"), slice_of(type), SLICE_INIT("\x07")};
	assert_int_equal(vigia_store_append(store, &event, 1, NULL, NULL), VIGIA_OK);
}

/* Until there is an event of this number; its type. */
static void expect_event(uint64_t seq_num, const char *type)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_event event;
	struct vigia_read request = {.size = sizeof request, .from = {VIGIA_AT, seq_num}, .timeout_ns = 60000000000};
	assert_int_equal(vigia_store_read(store, &request, batch, &next, NULL), VIGIA_OK);
	assert_int_equal(vigia_batch_event(batch, 0, &event, NULL), VIGIA_OK);
	assert_int_equal(event.seq_num, seq_num);
	assert_int_equal(event.object_type.len, strlen(type));
	assert_memory_equal(event.object_type.data, type, strlen(type));
	vigia_batch_free(batch);
}

static void H3_a_script_handles_the_events_of_a_program_in_c(void **state)
{
	struct vigia_watcher *w = NULL, *same = NULL;
	struct vigia_error err = {0};
	write_script("return function(event, ctx)\n"
	             "	assert(event.object == 7)\n"
	             "	assert(ctx.store:store_event('CREATE', 'Answer', event.seq_num))\n"
	             "end\n");
	append("Job");
	int rc = vigia_registry_watch_script(registry, "answers", script, "{filter = {object_types = {'Job'}}}", &w, &err);
	if (rc < 0) fail_msg("%s", err.message);
	assert_string_equal(vigia_watcher_id(w), "answers");
	expect_event(2, "Answer"); /* though the registry is not driven */
	append("Job");
	expect_event(4, "Answer");
	assert_int_equal(vigia_registry_get(registry, "answers", &same, NULL), VIGIA_OK);
	assert_ptr_equal(w, same);
	struct vigia_watcher_stats stats;
	do {
		vigia_registry_step(registry, 1000000, NULL);
		vigia_watcher_stats(w, &stats);
	} while (stats.processed < 2);
	assert_int_equal(stats.failed, 0);
	assert_int_equal(vigia_watcher_stop(w, INT64_MAX, &err), VIGIA_OK);

	/* Watched anew, without an id: its name is the script's. Nobody asks for the pointer. */
	assert_int_equal(vigia_registry_watch_script(registry, NULL, script, NULL, NULL, NULL), VIGIA_OK);
	assert_int_equal(vigia_registry_get(registry, "script", &same, NULL), VIGIA_OK);
	assert_int_equal(vigia_registry_stop(registry, INT64_MAX, NULL), VIGIA_OK);
}

/* The code, a part of the message, and the id; the same code without an error to tell it to. */
#define assert_refused(wanted, part, id, path, text)                                                             \
	do {                                                                                                         \
		struct vigia_error err_ = {0};                                                                           \
		struct vigia_watcher *none_ = NULL;                                                                      \
		assert_error(vigia_registry_watch_script(registry, id, path, text, &none_, &err_), wanted, &err_, part); \
		if (wanted == VIGIA_EEXISTS) assert_string_equal(err_.watcher_id, id);                                   \
		assert_null(none_);                                                                                      \
		assert_int_equal(vigia_registry_watch_script(registry, id, path, text, NULL, NULL), wanted);             \
	} while (0)

static void H3_what_is_refused_says_why(void **state)
{
	write_script("return function() end");
	assert_refused(VIGIA_EINVAL, "options", "w", script, "{");
	assert_refused(VIGIA_EINVAL, "a Lua table expected", "w", script, "7");
	assert_refused(VIGIA_EINVAL, "options:1:", "w", script, "{filter = vigia.none.none}");
	assert_refused(VIGIA_EOPTION, "batch_size", "w", script, "{batch_size = 0}");
	assert_refused(VIGIA_EOPTION, "unknown option 'batch_sise' (did you mean batch_size?)", "w", script,
	               "{batch_sise = 1}");
	assert_refused(VIGIA_EINVAL, "watcher_id", "", script, NULL);
	assert_refused(VIGIA_ESCRIPT, "none.lua", "w", "./none.lua", NULL);
	write_script("return function(");
	assert_refused(VIGIA_ESCRIPT, "script.lua:1:", "w", script, NULL);
	write_script("return {init = function() error('no such luck') end, handle = function() end}");
	assert_refused(VIGIA_ESCRIPT, "no such luck", "w", script, NULL);
	write_script("return function() end");
	assert_int_equal(vigia_registry_watch_script(registry, "w", script, NULL, NULL, NULL), VIGIA_OK);
	assert_refused(VIGIA_EEXISTS, "'w' exists already", "w", script, NULL);
	vigia_store_close(store);
	assert_refused(VIGIA_ECLOSED, "closed", "v", script, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(H3_a_script_handles_the_events_of_a_program_in_c, setup, teardown),
		cmocka_unit_test_setup_teardown(H3_what_is_refused_says_why, setup, teardown),
	};
	return cmocka_run_group_tests_name("embed", tests, NULL, NULL);
}
