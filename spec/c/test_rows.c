/*
 * test_rows.c - the rows in which running watchers tell of themselves: torn reads, dead owners, a full table.
 */
#include "folder.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "events.h"
#include "store/rows.h"
#include "store/store.h"

static struct vigia__rows rows;

static int rows_setup(void **state)
{
	(void)state;
	vigia__rows_init(&rows);
	return 0;
}

static int rows_teardown(void **state)
{
	(void)state;
	vigia__rows_deinit(&rows);
	return 0;
}

/* ---- a table of this process alone ---- */

struct seen {
	struct vigia__row_told told;
	int count;
};

static int note(void *ctx, const struct vigia__row_told *told)
{
	struct seen *seen = ctx;
	seen->told = *told;
	seen->count++;
	return VIGIA_OK;
}

static struct seen look(void)
{
	struct seen seen = {.count = 0};
	uint64_t unshown;
	assert_int_equal(vigia__rows_each(&rows, note, &seen, &unshown), VIGIA_OK);
	return seen;
}

static void O1_a_row_says_what_was_written_last(void **state)
{
	(void)state;
	struct vigia__row *row = vigia__row_take(&rows, "a");
	assert_non_null(row);
	vigia__row_move(row, 7, 5);
	vigia__row_begin(row);
	vigia__row_set(&row->blocked, 8);
	vigia__row_set_error(row, "no such host");
	vigia__row_end(row);
	struct seen seen = look();
	assert_int_equal(seen.count, 1);
	assert_string_equal(seen.told.id, "a");
	assert_true(seen.told.runs);
	assert_false(seen.told.torn);
	assert_int_equal(seen.told.pid, getpid());
	assert_int_equal(seen.told.position, 7);
	assert_int_equal(seen.told.processed, 5);
	assert_int_equal(seen.told.blocked, 8);
	assert_string_equal(seen.told.error, "no such host");
	/* It stays when the watcher has ended. The next one of the id has it, and begins it anew. */
	vigia__row_release(&rows, row);
	seen = look();
	assert_false(seen.told.runs);
	assert_string_equal(seen.told.error, "no such host");
	assert_ptr_equal(vigia__row_take(&rows, "a"), row);
	seen = look();
	assert_true(seen.told.runs);
	assert_int_equal(seen.told.position, 0);
	assert_string_equal(seen.told.error, "");
}

static void O1_an_error_is_cut_to_512_bytes_between_two_characters(void **state)
{
	(void)state;
	char text[600];
	struct vigia__row *row = vigia__row_take(&rows, "a");
	for (int i = 0; i < 598; i += 2) memcpy(text + i, "\xc3\xa9", 2);
	text[598] = '\0';
	vigia__row_begin(row);
	vigia__row_set_error(row, text);
	vigia__row_end(row);
	struct seen seen = look();
	assert_int_equal(strlen(seen.told.error), 510);
	assert_memory_equal(seen.told.error, text, 510);
}

/* A writer whose text and number belong together, and a reader that never sees two halves. */
enum { LOOKS = 300 };
static atomic_bool looked;

static void *write_again_and_again(void *arg)
{
	struct vigia__row *row = arg;
	char text[VIGIA_ROW_ERROR];
	for (int i = 1; !atomic_load(&looked); i++) {
		size_t len = (size_t)(1 + i % 500);
		memset(text, 'a' + i % 26, len);
		text[len] = '\0';
		vigia__row_begin(row);
		vigia__row_set(&row->blocked, (uint64_t)i);
		vigia__row_set_error(row, text);
		vigia__row_set_time(&row->next_attempt_at_ns, i);
		vigia__row_end(row);
		for (volatile int pause = 0; pause < 2000; pause++) continue; /* that a reader comes in between */
	}
	return NULL;
}

static void O1_a_torn_row_is_read_again(void **state)
{
	(void)state;
	pthread_t thread;
	struct vigia__row *row = vigia__row_take(&rows, "a");
	int whole = 0;
	uint64_t last = 0;
	atomic_store(&looked, false);
	assert_int_equal(pthread_create(&thread, NULL, write_again_and_again, row), 0);
	do {
		struct seen seen = look();
		if (seen.told.torn) {
			assert_string_equal(seen.told.error, "");
			continue;
		}
		uint64_t i = seen.told.blocked;
		if (i > 0) {
			whole += i != last;
			last = i;
			assert_int_equal(seen.told.next_attempt_at_ns, i);
			assert_int_equal(strlen(seen.told.error), 1 + i % 500);
			assert_int_equal(seen.told.error[0], 'a' + (int)(i % 26));
			assert_int_equal(seen.told.error[i % 500], 'a' + (int)(i % 26));
		}
	} while (whole < LOOKS);
	atomic_store(&looked, true);
	pthread_join(thread, NULL);
}

static void O1_a_row_whose_owner_died_while_it_wrote_has_its_numbers(void **state)
{
	(void)state;
	struct vigia__row *row = vigia__row_take(&rows, "a");
	vigia__row_begin(row);
	vigia__row_set_error(row, "half of i");
	vigia__row_set(&row->failed, 3);
	vigia__row_release(&rows, row);
	struct seen seen = look();
	assert_true(seen.told.torn);
	assert_string_equal(seen.told.error, "");
	assert_int_equal(seen.told.failed, 3);
	/* The next owner's is whole. */
	row = vigia__row_take(&rows, "a");
	assert_false(look().told.torn);
}

static void O1_a_full_table_stops_no_watcher_and_says_how_many_it_does_not_show(void **state)
{
	(void)state;
	struct vigia__row *first = NULL;
	struct seen seen = {.count = 0};
	uint64_t unshown;
	char id[16];
	for (int i = 0; i < VIGIA_ROWS; i++) {
		snprintf(id, sizeof id, "w%d", i);
		struct vigia__row *row = vigia__row_take(&rows, id);
		assert_non_null(row);
		if (i == 0) first = row;
	}
	assert_null(vigia__row_take(&rows, "one more"));
	assert_null(vigia__row_take(&rows, "another"));
	vigia__rows_each(&rows, note, &seen, &unshown);
	assert_int_equal(seen.count, VIGIA_ROWS);
	assert_int_equal(unshown, 2);
	/* The row of one that has ended is taken. */
	vigia__row_release(&rows, first);
	vigia__row_unshown_ends(&rows);
	assert_ptr_equal(vigia__row_take(&rows, "one more"), first);
	seen.count = 0;
	vigia__rows_each(&rows, note, &seen, &unshown);
	assert_int_equal(seen.count, VIGIA_ROWS);
	assert_int_equal(unshown, 1);
}

static void O1_the_rate_is_of_the_last_seconds(void **state)
{
	(void)state;
	const int64_t s = 1000000000;
	struct vigia__row *row = vigia__row_take(&rows, "a");
	vigia__row_sample(row, 100 * s);
	vigia__row_move(row, 10, 10);
	struct seen seen = look();
	assert_true(vigia__row_rate(&seen.told, 100 * s + s / 2) == 10); /* in a second, of which half is over */
	assert_true(vigia__row_rate(&seen.told, 102 * s) == 5);
	vigia__row_sample(row, 102 * s);
	vigia__row_move(row, 40, 40);
	vigia__row_sample(row, 102 * s + s / 2);
	seen = look();
	assert_true(vigia__row_rate(&seen.told, 102 * s + s / 2) == 16); /* 40 in 2.5 s */
	assert_true(vigia__row_rate(&seen.told, 104 * s) == 15);         /* 30 in 2 s */
	assert_true(vigia__row_rate(&seen.told, 105 * s) == 0);          /* it has had nothing to do since its last read */
	assert_true(vigia__row_rate(&seen.told, 50 * s) == 0);           /* the clock was set back */
}

/* ---- of a store, in two processes ---- */

static int fail_at_3(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                     int64_t *resume_mono_ns, struct vigia_error *err)
{
	(void)ctx, (void)attempt, (void)resume_mono_ns;
	if (event->seq_num < 3) return VIGIA_OK;
	snprintf(err->message, sizeof err->message, "no such host");
	return VIGIA_EHANDLER;
}

struct list {
	struct vigia_watcher_status of[8];
	char ids[8][16], errors[8][64];
	int count;
};

static int note_status(void *ctx, const struct vigia_watcher_status *status)
{
	struct list *list = ctx;
	assert_true(list->count < 8);
	list->of[list->count] = *status;
	snprintf(list->ids[list->count], sizeof list->ids[0], "%s", status->watcher_id);
	snprintf(list->errors[list->count], sizeof list->errors[0], "%s", status->last_error);
	list->count++;
	return VIGIA_OK;
}

static struct list watchers_of(struct vigia_store *store)
{
	struct list list = {.count = 0};
	struct vigia_error err = {0};
	uint64_t unshown;
	if (vigia_store_watchers(store, note_status, &list, &unshown, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(unshown, 0);
	return list;
}

/* Watch until both are at rest. */
static struct vigia_registry *watch_two(struct vigia_store *store)
{
	struct vigia_registry *registry = vigia_registry_new(store);
	struct vigia_handler handler = {.size = sizeof handler, .handle = fail_at_3};
	struct vigia_watch_options options;
	vigia_watch_options_init(&options);
	options.initial_backoff_ns = options.max_backoff_ns = INT64_C(3600) * 1000000000;
	struct vigia_watcher *w;
	struct vigia_error err = {0};
	if (vigia_registry_watch(registry, "fails", &handler, &options, &w, &err) < 0) abort();
	options.ephemeral = true;
	options.initial_event_iterator.kind = VIGIA_LATEST;
	if (vigia_registry_watch(registry, "waits", &handler, &options, &w, &err) < 0) abort();
	while (vigia_registry_step(registry, 0, &err) == VIGIA_OK) continue;
	return registry;
}

static void O1_another_process_is_seen_and_what_it_failed_with_outlives_it(void **state)
{
	(void)state;
	struct vigia_store *store = open_durable();
	for (int i = 0; i < 5; i++) assert_int_equal(append(store, "a", 1, NULL, NULL), VIGIA_OK);
	vigia_store_free(store);
	int told[2];
	char c;
	assert_int_equal(pipe(told), 0);
	pid_t pid = fork();
	if (pid == 0) {
		store = open_durable();
		watch_two(store);
		if (write(told[1], "r", 1) != 1) _exit(1);
		for (;;) pause();
	}
	assert_int_equal(read(told[0], &c, 1), 1);
	struct vigia_store_options options = quiet_options();
	options.readonly = true;
	store = open_with(&options);
	uint64_t commits = store->backend->commits(store->backend);
	struct list list = watchers_of(store);
	assert_int_equal(list.count, 2);
	const struct vigia_watcher_status *s = &list.of[0];
	assert_string_equal(list.ids[0], "fails");
	assert_int_equal(s->state, VIGIA_RUNNING);
	assert_true(s->told && !s->died && !s->ephemeral);
	assert_int_equal(s->pid, pid);
	assert_int_equal(s->position, 2);
	assert_int_equal(s->lag, 3);
	assert_true(s->lag_ns > 0);
	assert_int_equal(s->blocked_seq_num, 3);
	assert_int_equal(s->attempts, 1);
	assert_true(s->next_attempt_at_ns > s->failed_at_ns && s->failed_at_ns >= s->started_at_ns);
	assert_string_equal(list.errors[0], "no such host");
	assert_string_equal(list.ids[1], "waits");
	assert_true(list.of[1].ephemeral && list.of[1].told && !list.of[1].has_checkpoint);
	assert_int_equal(list.of[1].position, 5);
	assert_int_equal(store->backend->commits(store->backend), commits);

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	list = watchers_of(store);
	assert_int_equal(list.count, 1);
	assert_string_equal(list.ids[0], "fails");
	assert_int_equal(s->state, VIGIA_STOPPED);
	assert_true(s->died && !s->told);
	assert_int_equal(s->pid, pid);
	assert_string_equal(list.errors[0], "no such host");
	vigia_store_free(store);

	/* One that runs the id next begins its row anew. */
	store = open_durable();
	struct vigia_registry *registry = watch_two(store);
	list = watchers_of(store);
	assert_int_equal(list.count, 2);
	assert_int_equal(s->pid, getpid());
	assert_true(s->told && !s->died);
	assert_int_equal(s->attempts, 1);
	vigia_registry_free(registry);
	list = watchers_of(store);
	assert_int_equal(list.count, 1);
	assert_true(!s->died && !s->told);
	assert_int_equal(s->pid, 0);
	assert_true(s->has_checkpoint);
	assert_int_equal(s->position, 2);
	assert_string_equal(list.errors[0], "no such host");
	vigia_store_free(store);
	close(told[0]);
	close(told[1]);
}

static void O1_a_forked_child_writes_into_no_row_of_its_parent(void **state)
{
	(void)state;
	struct vigia_store *store = open_durable();
	struct vigia_registry *registry = watch_two(store);
	pid_t pid = fork();
	if (pid == 0) {
		vigia_registry_free(registry);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	struct list list = watchers_of(store);
	assert_int_equal(list.count, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(list.of[i].state, VIGIA_RUNNING);
		assert_int_equal(list.of[i].pid, getpid());
	}
	vigia_registry_free(registry);
	vigia_store_free(store);
}

/* The side file of format 1 has no rows: a process sees its own, and of others who owns what. */
static void O1_a_watcher_without_a_row_is_known_by_its_owner(void **state)
{
	(void)state;
	int told[2];
	char c;
	with_journal = false;
	assert_int_equal(pipe(told), 0);
	pid_t pid = fork();
	if (pid == 0) {
		watch_two(open_durable());
		if (write(told[1], "r", 1) != 1) _exit(1);
		for (;;) pause();
	}
	assert_int_equal(read(told[0], &c, 1), 1);
	struct vigia_store *store = open_durable();
	struct list list = watchers_of(store);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.of[0].state, VIGIA_RUNNING);
	assert_int_equal(list.of[0].pid, pid);
	assert_true(list.of[0].has_hold && !list.of[0].told);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	list = watchers_of(store);
	assert_int_equal(list.of[0].state, VIGIA_STOPPED);
	assert_int_equal(list.of[0].pid, 0);
	vigia_store_free(store);
	close(told[0]);
	close(told[1]);
}

int main(void)
{
#define ROWS(name)  cmocka_unit_test_setup_teardown(name, rows_setup, rows_teardown)
#define STORE(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)
	const struct CMUnitTest tests[] = {
		ROWS(O1_a_row_says_what_was_written_last),
		ROWS(O1_an_error_is_cut_to_512_bytes_between_two_characters),
		ROWS(O1_a_torn_row_is_read_again),
		ROWS(O1_a_row_whose_owner_died_while_it_wrote_has_its_numbers),
		ROWS(O1_a_full_table_stops_no_watcher_and_says_how_many_it_does_not_show),
		ROWS(O1_the_rate_is_of_the_last_seconds),
		STORE(O1_another_process_is_seen_and_what_it_failed_with_outlives_it),
		STORE(O1_a_forked_child_writes_into_no_row_of_its_parent),
		STORE(O1_a_watcher_without_a_row_is_known_by_its_owner),
	};
	return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
