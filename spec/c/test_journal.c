/*
 * test_journal.c - the journal of a file: one sync a commit, and nothing lost or stored twice when a write fails or a
 * process is killed. What a power loss leaves of it is in power/.
 */
#include "events.h"
#include "fault.h"
#include "folder.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "store/lmdb_private.h"
#include "store/store.h"

static struct vigia_store_options journal_options(void)
{
	struct vigia_store_options options = quiet_options();
	options.journal = options.journal_given = true;
	return options;
}

static struct vigia_store *open_journal(void)
{
	struct vigia_store_options options = journal_options();
	return open_with(&options);
}

static struct vigia_store *open_plain(void)
{
	struct vigia_store_options options = quiet_options();
	options.journal = false;
	options.journal_given = true;
	return open_with(&options);
}

static struct lmdb_backend *backend_of(struct vigia_store *store)
{
	return (struct lmdb_backend *)store->backend;
}

static struct vigia__journal_words *words_of(struct vigia_store *store)
{
	return vigia__side_journal(&backend_of(store)->side);
}

static uint64_t records(struct vigia_store *store)
{
	return atomic_load(&words_of(store)->records);
}

static uint64_t drains(struct vigia_store *store)
{
	return atomic_load(&words_of(store)->drains);
}

static void add(struct vigia_store *store, const char *type, unsigned n)
{
	struct vigia_error err = {0};
	while (n-- > 0)
		if (append(store, type, 100, NULL, &err) < 0) fail_msg("%s", err.message);
}

static int checkpoint(struct vigia_store *store)
{
	uint64_t last = latest(store);
	return vigia_checkpoint_put(store, "w", last, NULL);
}

static const char *folder_path(const char *name)
{
	static char out[2][FOLDER_MAX + 32];
	static unsigned turn;
	char *to = out[turn++ % 2];
	snprintf(to, sizeof out[0], "%s/%s", folder, name);
	return to;
}

/* Run in a process of its own. It ends as a killed one does. */
static int elsewhere(void (*run)(void))
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		run();
		_exit(0);
	}
	waitpid(child, &status, 0);
	return status;
}

static void set_journal(struct vigia_store *store, bool journal)
{
	struct vigia_store_options changes;
	struct vigia_error err = {0};
	vigia_store_options_init(&changes);
	changes.journal = journal;
	changes.journal_given = true;
	if (vigia_store_configure(store, &changes, &err) < 0) fail_msg("%s", err.message);
}

/* ---- how it is written ---- */

static void D1_an_append_is_synced_once(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	add(store, "first", 1); /* begins a generation */
	atomic_store(&syncs, 0);
	uint64_t before = records(store);
	add(store, "one", 10);
	assert_int_equal(atomic_load(&syncs), 10);
	assert_int_equal(records(store) - before, 10);
	assert_int_equal(drains(store), 1);
	/* What needs LMDB drains it, in one commit. */
	assert_int_equal(checkpoint(store), VIGIA_OK);
	assert_int_equal(drains(store), 2);
	assert_int_equal(count(store, "one"), 10);
	vigia_store_free(store);
}

static struct vigia_store *looked_at;
static struct vigia__listen listen;
static uint64_t seen_last;
static bool woken;

static void look_meanwhile(void)
{
	uint64_t oldest;
	assert_int_equal(looked_at->backend->bounds(looked_at->backend, &oldest, &seen_last, NULL), VIGIA_OK);
	woken = vigia__wake_changed(looked_at->backend->wake, &listen);
}

/* While a record is written and not synced, nobody sees it, and nobody is woken to see nothing. */
static void D1_nothing_is_shown_before_its_sync(void **state)
{
	(void)state;
	looked_at = open_journal();
	add(looked_at, "T", 3);
	seen_last = 0;
	vigia__listen_init(&listen, NULL, 0);
	vigia__wake_prepare(looked_at->backend->wake, &listen);
	on_fault = look_meanwhile;
	arm(FAULT_SYNC, 1, EIO, false);
	add(looked_at, "T", 1);
	disarm();
	assert_int_equal(seen_last, 3);
	assert_false(woken);
	assert_true(vigia__wake_changed(looked_at->backend->wake, &listen));
	assert_int_equal(latest(looked_at), 4);
	vigia_store_free(looked_at);
}

static void D3_an_append_is_not_synced_at_none(void **state)
{
	(void)state;
	struct vigia_store_options options = journal_options();
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	struct vigia_store *store = open_with(&options);
	add(store, "first", 1);
	atomic_store(&syncs, 0);
	add(store, "none", 1000);
	assert_int_equal(atomic_load(&syncs), 0);
	assert_in_range(records(store), 1000, 1001);
	assert_int_equal(count(store, "none"), 1000);
	/* Back at "commit" nothing of before is lost, and records begin at blocks. */
	struct vigia_store_options changes;
	vigia_store_options_init(&changes);
	changes.durability_given = true;
	assert_int_equal(vigia_store_configure(store, &changes, NULL), VIGIA_OK);
	add(store, "first", 1);
	size_t at = backend_of(store)->journal.end.at;
	add(store, "commit", 3);
	assert_int_equal(backend_of(store)->journal.end.at - at, 3 * JOURNAL_BLOCK);
	assert_int_equal(latest(store), 1005);
	vigia_store_free(store);
}

/* Three areas full, with large events and small ones. */
static void D1_a_full_journal_is_drained(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	struct vigia_error err = {0};
	for (int i = 0; i < 60; i++) {
		if (append(store, "large", 50000, NULL, &err) < 0) fail_msg("%s", err.message);
		add(store, "small", 1);
	}
	assert_in_range(drains(store), 3, 10);
	assert_int_equal(count(store, "large"), 60);
	assert_int_equal(count(store, "small"), 60);
	vigia_store_free(store);
	store = open_journal();
	assert_int_equal(latest(store), 120);
	assert_int_equal(count(store, "large"), 60);
	vigia_store_free(store);
}

static void S21_conditions_count_what_is_in_the_journal(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	struct vigia_error err = {0};
	struct vigia_new_event event = {SLICE("CREATE"), SLICE("T"), payload_of(10)};
	struct vigia_append_options options = {.size = sizeof options, .if_last_given = true, .if_last = 3};
	uint64_t first = 0, before;
	bool existed;
	add(store, "T", 3);
	before = records(store);
	event.object = payload_of(10);
	assert_int_equal(vigia_store_append_with(store, &event, 1, &options, &first, NULL, &err), VIGIA_OK);
	assert_int_equal(first, 4);
	assert_int_equal(records(store), before + 1);
	assert_int_equal(vigia_store_append_with(store, &event, 1, &options, &first, NULL, &err), VIGIA_ESEQUENCE);
	assert_int_equal(records(store), before + 1);
	/* A key is found in LMDB. */
	options = (struct vigia_append_options){.size = sizeof options, .key = SLICE("once")};
	for (int i = 0; i < 2; i++) {
		event.object = payload_of(10);
		assert_int_equal(vigia_store_append_with(store, &event, 1, &options, &first, &existed, &err), VIGIA_OK);
		assert_int_equal(first, 5);
		assert_int_equal(existed, i == 1);
		add(store, "between", 1);
	}
	assert_int_equal(latest(store), 7);
	vigia_store_free(store);
}

static void S20_a_time_is_found_in_the_journal(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_event event;
	uint64_t found;
	add(store, "T", 20);
	assert_int_equal(vigia_store_read(store, NULL, batch, &next, NULL), VIGIA_OK);
	assert_int_equal(vigia_batch_count(batch), 20);
	for (size_t i = 0; i < 20; i++) {
		assert_int_equal(vigia_batch_event(batch, i, &event, NULL), VIGIA_OK);
		assert_int_equal(vigia_store_find_time(store, event.at_ns, &found, NULL), VIGIA_OK);
		assert_int_equal(found, event.seq_num);
	}
	assert_int_equal(vigia_store_find_time(store, event.at_ns + 1, &found, NULL), VIGIA_NONE);
	struct vigia__backend_stats stats;
	assert_int_equal(vigia__store_stats(store, &stats, NULL), VIGIA_OK);
	assert_int_equal(stats.events, 20);
	assert_int_equal(stats.format, 2);
	assert_in_range(stats.journal_appends, 19, 20);
	vigia_batch_free(batch);
	vigia_store_free(store);
}

static void S20_a_trim_reaches_into_the_journal(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	uint64_t removed, oldest;
	add(store, "T", 20);
	assert_int_equal(vigia_store_trim(store, 15, &removed, NULL), VIGIA_OK);
	assert_int_equal(removed, 15);
	assert_int_equal(vigia_store_oldest(store, &oldest, NULL), VIGIA_OK);
	assert_int_equal(oldest, 16);
	add(store, "after", 2);
	assert_int_equal(vigia_store_trim(store, 22, &removed, NULL), VIGIA_OK);
	add(store, "after", 1);
	assert_int_equal(latest(store), 23);
	assert_int_equal(count(store, "after"), 1);
	vigia_store_free(store);
}

/* ---- failures ---- */

static void D4_a_record_that_is_not_written_goes_to_lmdb(void **state)
{
	(void)state;
	static const enum fault kinds[] = {FAULT_WRITE, FAULT_SHORT, FAULT_SYNC};
	struct vigia_store *store = open_journal();
	struct vigia_error err = {0};
	uint64_t last = 0;
	add(store, "T", 1);
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		uint64_t before = drains(store);
		arm(kinds[i], 1, EIO, false);
		if (append(store, "T", 100, &last, &err) < 0) fail_msg("%s", err.message);
		assert_int_equal(disarm(), 1);
		assert_int_equal(last, 2 + 2 * i);
		assert_int_equal(drains(store), before + (kinds[i] != FAULT_SHORT)); /* the rest of a record is written */
		add(store, "T", 1);
		assert_int_equal(count(store, "T"), 3 + 2 * i);
	}
	vigia_store_free(store);
}

/* Its sync fails, and so do all others: what it holds may be there. Who asks afterwards sees what stays. */
static void D4_a_record_in_doubt_is_settled_before_a_read(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	struct vigia_error err = {0};
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	add(store, "T", 3);
	arm(FAULT_SYNC, 1, EIO, true);
	assert_error(append(store, "doubt", 100, NULL, &err), VIGIA_EUNKNOWN, &err, "check before you store them again");
	assert_true(vigia_store_read(store, NULL, batch, &next, &err) < 0); /* it cannot be told now */
	assert_true(append(store, "refused", 100, NULL, &err) < 0);
	disarm();
	assert_int_equal(vigia_store_read(store, NULL, batch, &next, &err), VIGIA_OK);
	size_t seen = vigia_batch_count(batch);
	assert_in_range(seen, 3, 5);
	unsigned there = count(store, "doubt"), refused = count(store, "refused");
	add(store, "T", 1);
	assert_int_equal(count(store, "doubt"), there);
	assert_int_equal(count(store, "refused"), refused);
	assert_int_equal(latest(store), seen + 1);
	vigia_batch_free(batch);
	vigia_store_free(store);
}

static void queue_in_doubt(bool forever)
{
	struct vigia_store_options options = queuing_options();
	options.journal = options.journal_given = true;
	struct vigia_store *store = open_with(&options);
	struct vigia_error err = {0};
	add(store, "queued", 5);
	assert_int_equal(vigia_store_sync(store, NULL, &err), VIGIA_OK);
	add(store, "queued", 5);
	arm(FAULT_SYNC, 1, EIO, forever);
	int rc = vigia_store_sync(store, NULL, &err);
	disarm();
	assert_int_equal(rc, forever ? VIGIA_EUNKNOWN : VIGIA_OK);
	add(store, "queued", 5);
	if (vigia_store_sync(store, NULL, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(count(store, "queued"), 15);
	vigia_store_free(store);
	folder_empty(folder);
}

static void D2_a_queue_in_doubt_is_stored_once(void **state)
{
	(void)state;
	queue_in_doubt(false);
	queue_in_doubt(true);
}

/* ---- little room ---- */

/* Files may have so many bytes. 0: as many as they like. */
static void limit_files(rlim_t bytes)
{
	struct rlimit limit;
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes > 0 ? bytes : RLIM_INFINITY;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Where LMDB would have no room for what the journal holds, the journal is not used. */
static void D4_a_journal_whose_drain_has_no_room_is_passed_by(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	limit_files(3 * JOURNAL_BYTES);
	add(store, "T", 20);
	assert_int_equal(records(store), 0);
	assert_int_equal(checkpoint(store), VIGIA_OK);
	limit_files(0);
	assert_int_equal(checkpoint(store), VIGIA_OK);
	add(store, "T", 5);
	assert_int_equal(records(store), 5);
	assert_int_equal(count(store, "T"), 25);
	vigia_store_free(store);
}

static void add_large(struct vigia_store *store, unsigned n)
{
	struct vigia_error err = {0};
	while (n-- > 0)
		if (append(store, "T", 3000, NULL, &err) < 0) fail_msg("%s", err.message);
}

/* The room for its drain is gone: what frees room leaves the journal as it is, and says so where it had to take events
 * out of it. */
static void D4_a_trim_without_room_leaves_what_is_in_the_journal(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal(), *copy = NULL;
	struct vigia_store_options options = quiet_options();
	struct vigia_error err = {0};
	struct stat st;
	uint64_t removed = 0, oldest;
	add_large(store, 50);
	assert_int_equal(checkpoint(store), VIGIA_OK);
	add_large(store, 200);
	assert_int_equal(stat(path, &st), 0);
	limit_files((rlim_t)st.st_size + 65536); /* what a trim needs */
	uint64_t before = drains(store);
	if (vigia_store_trim(store, 40, &removed, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(removed, 40);
	if (vigia_store_trim(store, 60, &removed, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(removed, 10);
	assert_error(vigia_store_trim(store, 60, &removed, &err), VIGIA_EDISKFULL, &err, "move events out of the journal");
	assert_int_equal(drains(store), before);
	assert_int_equal(vigia_store_oldest(store, &oldest, NULL), VIGIA_OK);
	assert_int_equal(oldest, 51);
	assert_int_equal(count(store, "T"), 200);
	assert_int_equal(latest(store), 250);
	/* A copy has them all the same, elsewhere. */
	if (vigia_store_backup(store, folder_path("copy"), false, &err) < 0) fail_msg("%s", err.message);
	limit_files(0);
	assert_int_equal(drains(store), before);
	if (vigia_store_open(folder_path("copy"), &options, &copy, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(count(copy, "T"), 200);
	vigia_store_free(copy);
	assert_int_equal(vigia_store_trim(store, 60, &removed, &err), VIGIA_OK);
	assert_int_equal(removed, 10);
	assert_int_equal(latest(store), 250);
	vigia_store_free(store);
}

/* ---- processes ---- */

static void append_and_die(void)
{
	struct vigia_store *store = open_journal();
	add(store, "killed", 5);
	kill(getpid(), SIGKILL);
}

static void D1_what_a_killed_process_stored_is_there(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		assert_true(WIFSIGNALED(elsewhere(append_and_die)));
		struct vigia_store *store = open_journal();
		assert_int_equal(count(store, "killed"), 5 * i);
		add(store, "T", 1);
		assert_int_equal(latest(store), 6 * i);
		/* And beside one that has it open. */
		vigia_store_free(store);
	}
	struct vigia_store *store = open_journal();
	assert_true(WIFSIGNALED(elsewhere(append_and_die)));
	assert_int_equal(count(store, "killed"), 20);
	add(store, "T", 1);
	assert_int_equal(latest(store), 24);
	vigia_store_free(store);
}

static void written_and_dead(void)
{
	struct vigia_store *store = open_journal();
	add(store, "killed", 2);
	arm(FAULT_DIE, 1, EIO, false);
	add(store, "killed", 1);
}

/* Killed between the write and the sync of a record, with the lock: nobody waits for it, and its number is not used
 * again. */
static void D1_a_process_killed_inside_an_append(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	add(store, "T", 1);
	assert_true(WIFSIGNALED(elsewhere(written_and_dead)));
	uint64_t last = latest(store); /* whoever asks for it sees what the killed process left */
	assert_int_equal(last, 4);
	assert_int_equal(count(store, "killed"), 3);
	add(store, "T", 1);
	assert_int_equal(latest(store), 5);
	assert_int_equal(count(store, "killed"), 3);
	vigia_store_free(store);
	/* And without anybody else. */
	assert_true(WIFSIGNALED(elsewhere(written_and_dead)));
	store = open_journal();
	assert_int_equal(count(store, "killed"), 6);
	add(store, "T", 1);
	assert_int_equal(latest(store), 9);
	vigia_store_free(store);
}

enum { TURNS = 200 };

static void append_in_turn(void)
{
	struct vigia_store *store = open_journal();
	for (int i = 0; i < TURNS; i++) {
		add(store, "turn", 1);
		if (i % 50 == 49 && checkpoint(store) < 0) _exit(1);
	}
	_exit(0);
}

static void S1_processes_append_in_turn(void **state)
{
	(void)state;
	pid_t children[3];
	struct vigia_store *store = open_journal();
	for (size_t i = 0; i < COUNT_OF(children); i++)
		if ((children[i] = fork()) == 0) append_in_turn();
	for (int i = 0; i < TURNS; i++) {
		add(store, "turn", 1);
	}
	for (size_t i = 0; i < COUNT_OF(children); i++) {
		int status;
		waitpid(children[i], &status, 0);
		assert_int_equal(status, 0);
	}
	assert_int_equal(count(store, "turn"), 4 * TURNS);
	assert_true(records(store) > 3 * TURNS);
	vigia_store_free(store);
}

static atomic_bool appending;

static void *read_on(void *arg)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_read request = {.size = sizeof request};
	struct vigia_iterator next;
	struct vigia_event event;
	struct vigia_error err = {0};
	uint64_t last = 0;
	for (bool more = true; more;) {
		more = atomic_load(&appending);
		if (vigia_store_read(arg, &request, batch, &next, &err) < 0) return strdup(err.message);
		for (size_t i = 0; i < vigia_batch_count(batch); i++) {
			if (vigia_batch_event(batch, i, &event, &err) < 0) return strdup(err.message);
			if (event.seq_num != ++last) return strdup("a gap");
		}
		more |= vigia_batch_count(batch) > 0;
		request.from = next;
	}
	vigia_batch_free(batch);
	return NULL;
}

/* Events so large that the journal is full, drained and overwritten all the time, while others read from it. */
static void S4_readers_beside_drains(void **state)
{
	(void)state;
	struct vigia_store_options options = journal_options();
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	struct vigia_store *store = open_with(&options);
	pthread_t readers[3];
	void *why;
	atomic_store(&appending, true);
	for (size_t i = 0; i < COUNT_OF(readers); i++) pthread_create(&readers[i], NULL, read_on, store);
	for (int i = 0; i < 600; i++) assert_int_equal(append(store, "large", 50000, NULL, NULL), VIGIA_OK);
	atomic_store(&appending, false);
	for (size_t i = 0; i < COUNT_OF(readers); i++) {
		pthread_join(readers[i], &why);
		if (why) fail_msg("%s", (char *)why);
	}
	assert_true(drains(store) > 20);
	vigia_store_free(store);
}

static void *overwrite_it(void *arg)
{
	for (int i = 0; i < 30; i++) assert_int_equal(append(arg, "large", 50000, NULL, NULL), VIGIA_OK);
	return NULL;
}

/* A reader stands still in the tail, while that is drained and overwritten. What it read does not count. */
static void S4_what_was_overwritten_under_a_reader_does_not_count(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	struct lmdb_backend *b = backend_of(store);
	struct reader *reader;
	struct vigia_error err = {0};
	add(store, "T", 4);
	for (int overwritten = 0; overwritten < 2; overwritten++) {
		assert_int_equal(vigia__lmdb_read_begin(b, &reader, &err), VIGIA_OK);
		assert_int_equal(vigia__tail_begin(b, reader, &err), 0);
		assert_false(vigia__tail_is_empty(b));
		pthread_t thread; /* nobody writes while he reads */
		if (overwritten) {
			assert_int_equal(pthread_create(&thread, NULL, overwrite_it, store), 0);
			pthread_join(thread, NULL);
		}
		assert_int_equal(vigia__tail_end(b, reader), overwritten ? EAGAIN : 0);
		vigia__lmdb_read_end(b, reader);
	}
	assert_int_equal(count(store, "T"), 4);
	vigia_store_free(store);
}

/* LMDB maps the file anew, elsewhere. What is known of the tail stays, its address does not. */
static void S4_the_tail_is_read_after_the_map_moved(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	struct lmdb_backend *b = backend_of(store);
	add(store, "T", 4);
	assert_int_equal(count(store, "T"), 4);
	assert_int_equal(vigia__lmdb_map_lend(b, 1 << 20), 0);
	vigia__lmdb_map_leave(b);
	assert_int_equal(count(store, "T"), 4);
	vigia_store_free(store);
}

static void keep_reading(void)
{
	struct vigia_store_options options = quiet_options();
	options.readonly = true;
	struct vigia_store *store = open_with(&options);
	if (count(store, "killed") != 5 || latest(store) != 5) _exit(1);
	struct vigia_error err = {0};
	if (vigia_store_backup(store, folder_path("copy"), false, &err) < 0) _exit(2);
	if (vigia_store_backup(store, folder_path("compact"), true, &err) < 0) _exit(3);
	vigia_store_free(store);
}

/* Of all its bytes. */
static uint64_t sum_of_file(void)
{
	uint64_t sum = 0;
	int byte;
	FILE *in = fopen(path, "rb");
	while ((byte = fgetc(in)) != EOF) sum = sum * 31 + (uint64_t)byte;
	fclose(in);
	return sum;
}

/* A process that may not write does not drain: it reads the tail, and its copies have it too. */
static void S19_who_only_reads_sees_the_journal(void **state)
{
	(void)state;
	assert_true(WIFSIGNALED(elsewhere(append_and_die)));
	uint64_t before = sum_of_file();
	assert_int_equal(elsewhere(keep_reading), 0);
	assert_int_equal(sum_of_file(), before);
	static const char *const names[] = {"copy", "compact"};
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct vigia_store *copy = NULL;
		struct vigia_error err = {0};
		struct vigia_store_options options = quiet_options();
		if (vigia_store_open(folder_path(names[i]), &options, &copy, &err) < 0) fail_msg("%s", err.message);
		assert_int_equal(count(copy, "killed"), 5);
		add(copy, "T", 3);
		assert_int_equal(latest(copy), 8);
		vigia_store_free(copy);
	}
	struct vigia_store *store = open_journal();
	assert_int_equal(count(store, "killed"), 5);
	vigia_store_free(store);
}

static void S14_a_copy_has_what_is_in_the_journal(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal(), *copy = NULL;
	struct vigia_store_options options = quiet_options();
	add(store, "T", 10);
	assert_int_equal(vigia_store_backup(store, folder_path("copy"), false, NULL), VIGIA_OK);
	add(store, "T", 1);
	assert_int_equal(vigia_store_open(folder_path("copy"), &options, &copy, NULL), VIGIA_OK);
	assert_int_equal(latest(copy), 10);
	add(copy, "copy", 2);
	assert_int_equal(count(copy, "T"), 10);
	vigia_store_free(copy);
	assert_int_equal(latest(store), 11);
	vigia_store_free(store);
}

/* ---- damage ---- */

/* Change one bit of the event with this number, in the file. */
static void flip_in_journal(struct vigia_store *store, unsigned record)
{
	struct lmdb_backend *b = backend_of(store);
	uint8_t byte;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	off_t at = b->journal.at + (off_t)record * JOURNAL_BLOCK + 100;
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 4;
	assert_int_equal(syscall(SYS_pwrite64, fd, &byte, 1, at), 1);
	close(fd);
}

static void E8_damage_in_the_journal_is_told(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_error err = {0};
	uint64_t last = 0;
	add(store, "T", 5); /* the first is in LMDB, the second begins the journal */
	flip_in_journal(store, 2);
	assert_int_equal(vigia_store_read(store, NULL, batch, &next, &err), VIGIA_EIO);
	assert_non_null(strstr(err.message, "the journal is damaged after event 3"));
	assert_error(vigia_store_latest(store, &last, &err), VIGIA_EIO, &err, "damaged after event 3");
	/* No number is given twice. */
	assert_error(vigia_checkpoint_put(store, "w", 1, &err), VIGIA_EIO, &err, "damaged after event 3");
	vigia_batch_free(batch);
	vigia_store_free(store);
}

/* Its pages are gone, and touching them would be a SIGBUS. */
static void S18_a_file_that_was_emptied_is_not_touched_at_its_close(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	add(store, "T", 5);
	assert_int_equal(truncate(path, 0), 0);
	vigia_store_free(store);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 0);
}

/* ---- files with and without ---- */

static void S12_a_journal_is_switched_off_and_on(void **state)
{
	(void)state;
	struct vigia_store *store = open_journal();
	add(store, "T", 5);
	set_journal(store, false);
	uint64_t before = records(store);
	add(store, "T", 5);
	assert_int_equal(records(store), before);
	set_journal(store, true);
	assert_int_equal(checkpoint(store), VIGIA_OK);
	set_journal(store, false); /* an empty one, too */
	before = records(store);
	add(store, "T", 1);
	assert_int_equal(records(store), before);
	assert_int_equal(vigia_store_trim(store, 1, NULL, NULL), VIGIA_OK);
	set_journal(store, true);
	add(store, "T", 5);
	assert_in_range(records(store), before + 4, before + 5);
	assert_int_equal(count(store, "T"), 15);
	vigia_store_free(store);
}

static void hold_open(void)
{
	struct vigia_store *store = open_plain();
	add(store, "held", 1);
	if (backend_of(store)->journal.at != 0) _exit(1);
	struct vigia_store *again;
	struct vigia_store_options options = quiet_options();
	pid_t child = fork();
	if (child == 0) { /* beside a process that has it open no journal is made */
		if (vigia_store_open(path, &options, &again, NULL) < 0) _exit(2);
		_exit(backend_of(again)->journal.at != 0);
	}
	int status;
	waitpid(child, &status, 0);
	if (status != 0) _exit(3);
	set_journal(store, true);
	add(store, "held", 1);
	child = fork();
	if (child == 0) {
		if (vigia_store_open(path, &options, &again, NULL) < 0) _exit(2);
		add(again, "beside", 1);
		_exit(backend_of(again)->journal.at != 0);
	}
	waitpid(child, &status, 0);
	struct stat st;
	if (status != 0 || stat(path, &st) < 0 || st.st_size >= JOURNAL_BYTES) _exit(4); /* nor begun */
	vigia_store_free(store);
}

static void S13_a_file_without_gets_a_journal_when_nobody_has_it_open(void **state)
{
	(void)state;
	struct vigia_store *store = open_plain();
	struct vigia__backend_stats stats;
	add(store, "T", 5);
	assert_int_equal(vigia__store_stats(store, &stats, NULL), VIGIA_OK);
	assert_int_equal(stats.format, 1);
	vigia_store_free(store);
	assert_int_equal(elsewhere(hold_open), 0);
	store = open_journal();
	assert_true(backend_of(store)->journal.at > 0);
	assert_int_equal(vigia__store_stats(store, &stats, NULL), VIGIA_OK);
	assert_int_equal(stats.format, 2);
	add(store, "T", 5);
	assert_in_range(records(store), 4, 5);
	assert_int_equal(latest(store), 13);
	assert_int_equal(count(store, "T"), 10);
	vigia_store_free(store);
}

static void S13_a_small_map_has_none(void **state)
{
	(void)state;
	struct vigia_store_options options = journal_options();
	struct vigia__backend_stats stats;
	options.map_size_bytes = 8 << 20;
	struct vigia_store *store = open_with(&options);
	add(store, "T", 5);
	assert_int_equal(backend_of(store)->journal.at, 0);
	assert_int_equal(vigia__store_stats(store, &stats, NULL), VIGIA_OK);
	assert_int_equal(stats.format, 1);
	assert_true(stats.file_bytes < 200000);
	vigia_store_free(store);
	/* A larger one later has one. */
	store = open_journal();
	assert_true(backend_of(store)->journal.at > 0);
	assert_int_equal(count(store, "T"), 5);
	vigia_store_free(store);
}

static void D1_an_empty_file_is_small(void **state)
{
	(void)state;
	struct stat st;
	vigia_store_free(open_journal());
	assert_int_equal(stat(path, &st), 0);
	assert_in_range(st.st_size, JOURNAL_BYTES, 1300000);
}

static void fill_and_die(void)
{
	struct vigia_store_options options = journal_options();
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	struct vigia_store *store = open_with(&options);
	add(store, "T", 1);
	/* Until the next one would be drained: as many as there can be. */
	while (backend_of(store)->journal.end.at + 1024 < backend_of(store)->journal.bytes) add(store, "T", 1);
	kill(getpid(), SIGKILL);
}

/* Of the processor, and the best of a few: others use the machine, too. scripts/bench measures the time that passes. */
static void D1_a_full_journal_costs_an_open_little(void **state)
{
	(void)state;
	int64_t best = INT64_MAX;
	uint64_t last = 0;
	for (int i = 0; i < 5; i++) {
		assert_true(WIFSIGNALED(elsewhere(fill_and_die)));
		int64_t begin = clock();
		struct vigia_store_options options = quiet_options();
		struct vigia_store *store = open_with(&options);
		int64_t took = clock() - begin; /* us */
		if (took < best) best = took;
		assert_true(latest(store) > last + 4000);
		last = latest(store);
		vigia_store_free(store);
	}
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
	assert_in_range(best, 0, 50000);
#endif
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)
	const struct CMUnitTest tests[] = {
		TEST(D1_an_append_is_synced_once),
		TEST(D1_nothing_is_shown_before_its_sync),
		TEST(D3_an_append_is_not_synced_at_none),
		TEST(D1_a_full_journal_is_drained),
		TEST(S21_conditions_count_what_is_in_the_journal),
		TEST(S20_a_time_is_found_in_the_journal),
		TEST(S20_a_trim_reaches_into_the_journal),
		TEST(D4_a_record_that_is_not_written_goes_to_lmdb),
		TEST(D4_a_record_in_doubt_is_settled_before_a_read),
		TEST(D2_a_queue_in_doubt_is_stored_once),
		TEST(D4_a_journal_whose_drain_has_no_room_is_passed_by),
		TEST(D4_a_trim_without_room_leaves_what_is_in_the_journal),
		TEST(D1_what_a_killed_process_stored_is_there),
		TEST(D1_a_process_killed_inside_an_append),
		TEST(S1_processes_append_in_turn),
		TEST(S4_readers_beside_drains),
		TEST(S4_what_was_overwritten_under_a_reader_does_not_count),
		TEST(S4_the_tail_is_read_after_the_map_moved),
		TEST(S19_who_only_reads_sees_the_journal),
		TEST(S14_a_copy_has_what_is_in_the_journal),
		TEST(E8_damage_in_the_journal_is_told),
		TEST(S18_a_file_that_was_emptied_is_not_touched_at_its_close),
		TEST(S12_a_journal_is_switched_off_and_on),
		TEST(S13_a_file_without_gets_a_journal_when_nobody_has_it_open),
		TEST(S13_a_small_map_has_none),
		TEST(D1_an_empty_file_is_small),
		TEST(D1_a_full_journal_costs_an_open_little),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
