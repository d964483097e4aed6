/*
 * test_faults.c - the LMDB store when writing fails: single calls that fail, a broken disk, a full map, a file that may
 * grow no further.
 *
 * Each scenario runs with n = 1, 2, 3... until nothing failed, and looks afterwards: all or nothing, and the store goes
 * on.
 */
#include "events.h"
#include "fault.h"
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/store.h"

/* ---- a folder, a store ---- */

static struct vigia_store *open_store(int64_t map_size_bytes)
{
	struct vigia_store_options options = quiet_options();
	options.map_size_bytes = map_size_bytes;
	return open_with(&options);
}

static uint64_t used_bytes(struct vigia_store *store)
{
	struct vigia__backend_stats stats;
	struct vigia_error err = {0};
	if (vigia__store_stats(store, &stats, &err) < 0) fail_msg("%s", err.message);
	return stats.used_bytes;
}

/* ---- the n-th call fails ---- */

struct outcome {
	bool unknown, failed;
};

static void note(struct outcome *outcome, int rc, const struct vigia_error *err)
{
	if (rc == VIGIA_EUNKNOWN) outcome->unknown = true;
	else if (rc < 0 && rc != VIGIA_EIO && rc != VIGIA_EDISKFULL) fail_msg("%s: %s", vigia_error_name(rc), err->message);
	outcome->failed |= rc < 0;
}

/* What a call left behind: with an error nothing, without one all of it, and "unknown" means either. */
static void check(int rc, bool before, bool after)
{
	if (rc == VIGIA_OK) assert_true(after);
	else if (rc != VIGIA_EUNKNOWN) assert_int_equal(after, before);
}

static struct outcome scenario(enum fault kind, int n, int error, bool forever, int *hits)
{
	struct vigia_store *store = open_store(0);
	struct vigia_error err = {0};
	struct outcome outcome = {0};
	uint64_t saved = 0, oldest = 0, removed;
	assert_int_equal(append(store, "first", 10, NULL, &err), VIGIA_OK);
	assert_int_equal(append(store, "second", 10, NULL, &err), VIGIA_OK);

	arm(kind, n, error, forever);
	int one = append(store, "one", 100, NULL, &err);
	note(&outcome, one, &err);
	int large = append(store, "large", 50000, NULL, &err); /* on pages of its own: another way through LMDB */
	note(&outcome, large, &err);
	struct vigia_new_event events[3] = {{{"UPDATE", 6}, {"list", 4}, {"\x01", 1}},
	                                    {{"UPDATE", 6}, {"list", 4}, {"\x02", 1}},
	                                    {{"UPDATE", 6}, {"list", 4}, {"\x03", 1}}};
	struct vigia_append_options options = {.size = sizeof options, .key = {"key", 3}};
	int list = vigia_store_append_with(store, events, 3, &options, NULL, NULL, &err);
	note(&outcome, list, &err);
	int put = vigia_checkpoint_put(store, "watcher", 2, &err);
	note(&outcome, put, &err);
	int trim = vigia_store_trim(store, 1, &removed, &err);
	note(&outcome, trim, &err);
	*hits = disarm();

	for (int again = 0; again < 2; again++) {
		check(one, false, count(store, "one") == 1);
		check(large, false, count(store, "large") == 1);
		unsigned listed = count(store, "list");
		assert_true(listed == 0 || listed == 3);
		check(list, false, listed == 3);
		check(put, false, vigia_checkpoint_get(store, "watcher", &saved, NULL) == VIGIA_OK && saved == 2);
		if (vigia_store_oldest(store, &oldest, &err) != VIGIA_OK) fail_msg("%s", err.message);
		check(trim, false, oldest == 2);
		/* The cause is gone: everything works again, the key too. */
		bool existed;
		char type[16];
		snprintf(type, sizeof type, "after%d", again);
		if (append(store, type, 100, NULL, &err) < 0) fail_msg("%s", err.message);
		assert_int_equal(count(store, type), 1);
		if (again == 1) {
			if (vigia_store_append_with(store, events, 3, &options, NULL, &existed, &err) < 0)
				fail_msg("%s", err.message);
			assert_int_equal(existed, listed == 3);
			assert_int_equal(count(store, "list"), 3);
		}
		vigia_store_free(store);
		store = open_store(0);
	}
	vigia_store_free(store);
	folder_empty(folder);
	return outcome;
}

static void each_call_fails(enum fault kind, int error, bool forever, bool unknown_expected)
{
	bool any_unknown = false, any_failed = false;
	int n = 0, hits;
	do {
		struct outcome outcome = scenario(kind, ++n, error, forever, &hits);
		any_unknown |= outcome.unknown;
		any_failed |= outcome.failed;
		assert_true(hits == 0 ? !outcome.failed : true);
	} while (hits > 0);
	assert_true(n > 4);
	assert_true(any_failed);
	assert_int_equal(any_unknown, unknown_expected);
}

static bool standard_ones_closed(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) >= 0) return false;
	return true;
}

/* LMDB panics when its meta page cannot be written, and is opened anew: with the same care as at first. */
static void S22_a_store_that_is_opened_anew_takes_no_standard_descriptor(void **state)
{
	(void)state;
	int kept[3], after = 0;
	bool unknown = false, closed = true;
	for (int fd = 0; fd < 3; fd++) {
		kept[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
		close(fd);
	}
	struct vigia_store *store = open_store(0);
	closed &= standard_ones_closed();
	for (int n = 1; n < 20 && !unknown; n++) {
		struct vigia_error err = {0};
		arm(FAULT_WRITE, n, EIO, false);
		unknown = vigia_checkpoint_put(store, "watcher", 1, &err) == VIGIA_EUNKNOWN;
		disarm();
		after |= append(store, "after", 10, NULL, &err);
		closed &= standard_ones_closed();
	}
	vigia_store_free(store);
	for (int fd = 0; fd < 3; fd++) {
		dup2(kept[fd], fd);
		close(kept[fd]);
	}
	folder_empty(folder);
	assert_true(unknown);
	assert_int_equal(after, VIGIA_OK);
	assert_true(closed);
}

static void D4a_a_write_fails(void **state)
{
	(void)state;
	each_call_fails(FAULT_WRITE, EIO, false, true);
	each_call_fails(FAULT_WRITE, ENOSPC, false, true);
}

static void D4b_a_write_is_cut_short(void **state)
{
	(void)state;
	each_call_fails(FAULT_SHORT, EIO, false, true);
}

static void D4c_a_sync_fails(void **state)
{
	(void)state;
	each_call_fails(FAULT_SYNC, EIO, false, false);
}

static void D4d_every_write_fails_for_a_while(void **state)
{
	(void)state;
	each_call_fails(FAULT_WRITE, EIO, true, true);
}

static void D4e_every_sync_fails_for_a_while(void **state)
{
	(void)state;
	each_call_fails(FAULT_SYNC, EIO, true, with_journal); /* LMDB knows that it did not commit */
}

/* ---- what is synced ---- */

static int syncs_of(struct vigia_store *store, int (*act)(struct vigia_store *store))
{
	atomic_store(&syncs, 0);
	assert_int_equal(act(store), VIGIA_OK);
	return atomic_load(&syncs);
}

static int append_ten(struct vigia_store *store)
{
	int rc = VIGIA_OK;
	for (int i = 0; i < 10 && rc == VIGIA_OK; i++) rc = append(store, "ten", 10, NULL, NULL);
	return rc;
}

static int become(struct vigia_store *store, int durability)
{
	struct vigia_store_options changes;
	vigia_store_options_init(&changes);
	changes.durability = durability;
	changes.commit_interval_ns = INT64_C(3600) * 1000000000;
	changes.durability_given = changes.commit_interval_given = true;
	return vigia_store_configure(store, &changes, NULL);
}

static int become_none(struct vigia_store *store)
{
	return become(store, VIGIA_DURABILITY_NONE);
}
static int become_interval(struct vigia_store *store)
{
	return become(store, VIGIA_DURABILITY_INTERVAL);
}
static int become_commit(struct vigia_store *store)
{
	return become(store, VIGIA_DURABILITY_COMMIT);
}
static int sync_now(struct vigia_store *store)
{
	return vigia_store_sync(store, NULL, NULL);
}

static void D1_D2_D3_D5_what_each_level_syncs(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(0);
	assert_in_range(syncs_of(store, append_ten), 10, 20);
	assert_in_range(syncs_of(store, become_none), 1, 2); /* the last that is durable */
	assert_int_equal(syncs_of(store, append_ten), 0);
	assert_in_range(syncs_of(store, sync_now), 1, 2);
	assert_int_equal(syncs_of(store, append_ten), 0);
	assert_in_range(syncs_of(store, become_interval), 1, 2); /* and makes durable what was not */
	assert_int_equal(syncs_of(store, append_ten), 0);
	assert_int_equal(latest(store), 30);
	assert_in_range(syncs_of(store, sync_now), 1, 2); /* all of them with one */
	assert_int_equal(latest(store), 40);
	assert_in_range(syncs_of(store, become_commit), 1, 2);
	assert_in_range(syncs_of(store, append_ten), 10, 20);
	vigia_store_free(store);
}

/* ---- what is written ---- */

static long long written_by(struct vigia_store *store, size_t len)
{
	atomic_store(&written_bytes, 0);
	for (int i = 0; i < 20; i++) assert_int_equal(append(store, "T", len, NULL, NULL), VIGIA_OK);
	return atomic_load(&written_bytes) / 20;
}

/* Many removed events leave many free pages, and LMDB writes anew what it knows of them with each commit: that must
 * stay small. Bytes are counted, so that no clock decides. */
static void G2_appends_write_as_little_after_a_large_removal(void **state)
{
	(void)state;
	enum { MANY = 1000000, BATCH = 1000 };
	struct vigia_store *store = open_store(0);
	static struct vigia_new_event events[BATCH];
	for (int i = 0; i < BATCH; i++) events[i] = (struct vigia_new_event){{"CREATE", 6}, {"T", 1}, payload_of(120)};
	assert_int_equal(become_none(store), VIGIA_OK);
	for (int i = 0; i < MANY; i += BATCH)
		assert_int_equal(vigia_store_append(store, events, BATCH, NULL, NULL), VIGIA_OK);
	long long small = written_by(store, 10), large = written_by(store, 50000);
	struct vigia_store_options changes;
	struct vigia_gc gc;
	vigia_store_options_init(&changes);
	changes.max_events = 10;
	changes.max_events_given = true;
	assert_int_equal(vigia_store_configure(store, &changes, NULL), VIGIA_OK);
	uint64_t removed = 0;
	do {
		assert_int_equal(vigia_store_gc(store, &gc, NULL), VIGIA_OK);
		removed += gc.removed;
	} while (gc.reason == VIGIA_GC_BOUND); /* a slow machine needs more than one run */
	assert_true(removed >= MANY);
	long long small_after = written_by(store, 10), large_after = written_by(store, 50000);
	if (2 * small_after > 3 * small || 2 * large_after > 3 * large)
		fail_msg("a small append wrote %lld bytes, now %lld; a large one %lld, now %lld", small, small_after, large,
		         large_after);
	vigia_store_free(store);
}

/* ---- a setting whose changer is killed ---- */

static int configure(struct vigia_store *store, int64_t max_event_size)
{
	struct vigia_store_options changes;
	vigia_store_options_init(&changes);
	changes.max_event_size_bytes = max_event_size;
	changes.max_event_size_given = true;
	return vigia_store_configure(store, &changes, NULL);
}

/* Whenever the changer dies: what the file says in the end is what this process appends by. */
static void S12_a_change_is_followed_though_its_maker_was_killed(void **state)
{
	(void)state;
	int status = 0, changed = 0, unchanged = 0;
	for (int n = 1; n == 1 || WIFSIGNALED(status); n++) {
		struct vigia_store *store = open_store(0); /* a new one, so that each round has the same writes */
		assert_int_equal(configure(store, 1000), VIGIA_OK);
		assert_int_equal(append(store, "before", 300, NULL, NULL), VIGIA_OK);
		fflush(NULL);
		pid_t child = fork();
		if (child == 0) {
			struct vigia_store *mine = open_store(0);
			arm(FAULT_DIE, n, 0, false);
			_exit(configure(mine, 100) != VIGIA_OK);
		}
		waitpid(child, &status, 0);
		int rc = append(store, "after", 300, NULL, NULL);
		struct vigia__settings settings;
		assert_int_equal(store->backend->settings(store->backend, &settings, NULL), VIGIA_OK);
		bool is_changed = settings.values.max_event_size_bytes == 100;
		assert_int_equal(rc, is_changed ? VIGIA_ETOOBIG : VIGIA_OK);
		changed += is_changed;
		unchanged += !is_changed;
		vigia_store_free(store);
		folder_empty(folder);
	}
	assert_int_equal(status, 0);
	assert_true(changed > 1 && unchanged > 0); /* killed before the commit, and behind it */
}

static int asked[2], answered[2];

static void let_others_look(void)
{
	char byte;
	if (write(asked[1], "", 1) != 1 || read(answered[0], &byte, 1) != 1) _exit(2);
}

/* It looks in the middle of the change, too, and without a writer's lock: what is to be queued is decided by what it
 * saw. */
static void D5_a_level_is_followed_though_its_changer_was_killed_while_others_looked(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(0);
	int status = 0, changed = 0, unchanged = 0;
	for (int n = 1; n == 1 || WIFSIGNALED(status); n++) {
		uint64_t seq_num;
		char byte;
		assert_int_equal(become_interval(store), VIGIA_OK);
		assert_int_equal(append(store, "before", 10, &seq_num, NULL), VIGIA_OK);
		assert_int_equal(seq_num, 0);
		assert_int_equal(pipe(asked), 0);
		assert_int_equal(pipe(answered), 0);
		fflush(NULL);
		pid_t child = fork();
		if (child == 0) {
			struct vigia_store *mine = open_store(0);
			on_fault = let_others_look;
			arm(FAULT_DIE, n, 0, false);
			_exit(become_commit(mine) != VIGIA_OK);
		}
		close(asked[1]);
		if (read(asked[0], &byte, 1) == 1) {
			assert_int_equal(append(store, "meanwhile", 10, &seq_num, NULL), VIGIA_OK);
			assert_int_equal(seq_num, 0);
			assert_int_equal(write(answered[1], "", 1), 1);
		}
		waitpid(child, &status, 0);
		for (int i = 0; i < 2; i++) close(answered[i]);
		close(asked[0]);
		struct vigia__settings settings;
		assert_int_equal(append(store, "after", 10, &seq_num, NULL), VIGIA_OK);
		assert_int_equal(vigia_checkpoint_put(store, "w", 0, NULL),
		                 VIGIA_OK); /* a writer sees what readers were not told */
		assert_int_equal(store->backend->settings(store->backend, &settings, NULL), VIGIA_OK);
		bool is_changed = settings.values.durability == VIGIA_DURABILITY_COMMIT;
		if (is_changed != (seq_num > 0)) fail_msg("killed at write %d: it has number %d", n, (int)seq_num);
		changed += is_changed;
		unchanged += !is_changed;
	}
	assert_int_equal(status, 0);
	assert_true(changed > 1 && unchanged > 0);
	vigia_store_free(store);
}

/* ---- a commit in doubt ---- */

/* A commit of LMDB's. An append is one where there is no journal. */
static int commit_doubtful(struct vigia_store *store)
{
	return with_journal ? vigia_checkpoint_put(store, "doubt", 1, NULL) : append(store, "doubt", 100, NULL, NULL);
}

/* The n-th call of a commit fails in a process of its own, or kills it. 0: all was well; 1: it failed; 2: it is
 * unknown; 9: killed. */
static int commit_elsewhere(enum fault kind, int n)
{
	int status;
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		struct vigia_store *mine = open_store(0);
		arm(kind, n, EIO, false);
		int rc = commit_doubtful(mine);
		int hits = disarm();
		_exit(rc == VIGIA_EUNKNOWN ? 2 : hits > 0);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

/* What the disk has of it is not known: a writer that changes a page before it knows would leave neither commit after a
 * power loss. */
static void D1_after_a_commit_in_doubt_the_next_writer_syncs_first(void **state)
{
	(void)state;
	static const struct {
		enum fault kind;
		bool here, stays_open; /* the writer after it is in the same process; or in one that had it open; or in one that
		                          opens it now */
	} cases[] = {{FAULT_WRITE, true, true},  {FAULT_SHORT, true, true},   {FAULT_LIE, true, true},
	             {FAULT_WRITE, false, true}, {FAULT_WRITE, false, false}, {FAULT_LIE, false, true},
	             {FAULT_LIE, false, false},  {FAULT_SYNC, false, true}};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int doubts = 0, outcome;
		for (int n = 1, done = 0; !done; n++) {
			struct vigia_store *store = open_store(0);
			if (append(store, "first", 100, NULL, NULL) < 0) fail_msg("case %zu", i);
			if (!cases[i].stays_open) vigia_store_free(store);
			if (cases[i].here) {
				arm(cases[i].kind, n, EIO, false);
				int rc = commit_doubtful(store);
				int hits = disarm();
				outcome = rc == VIGIA_EUNKNOWN ? 2 : hits > 0;
			} else {
				outcome = commit_elsewhere(cases[i].kind, n);
			}
			if (!cases[i].stays_open) store = open_store(0);
			atomic_store(&syncs, 0);
			atomic_store(&unsynced_page, false);
			if (append(store, "next", 100, NULL, NULL) < 0) fail_msg("case %zu, call %d", i, n);
			if (outcome == 2 || (outcome == 1 && cases[i].kind == FAULT_SYNC)) {
				doubts++;
				if (atomic_load(&unsynced_page))
					fail_msg("case %zu, call %d: a page was written before the file was synced", i, n);
			}
			done = outcome == 0;
			/* Then all is as always. */
			atomic_store(&syncs, 0);
			if (append(store, "last", 100, NULL, NULL) < 0) fail_msg("case %zu, call %d", i, n);
			assert_int_equal(atomic_load(&syncs), 1);
			assert_int_equal(count(store, "first") + count(store, "next") + count(store, "last"), 3);
			vigia_store_free(store);
			folder_empty(folder);
		}
		if (doubts == 0) fail_msg("case %zu: no doubt", i);
	}
}

/* A sync that is missed then is an error to that writer, and it changes nothing. */
static void D1_a_doubt_stays_until_a_sync_succeeded(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(0);
	struct vigia_error err = {0};
	int n = 1;
	while (commit_elsewhere(FAULT_WRITE, n) == 1) n++;
	arm(FAULT_SYNC, 1, EIO, true);
	for (int i = 0; i < 3; i++) {
		atomic_store(&syncs, 0);
		atomic_store(&unsynced_page, false);
		assert_int_equal(append(store, "next", 100, NULL, &err), VIGIA_EIO);
		assert_int_equal(atomic_load(&syncs), 1);
		assert_false(atomic_load(&unsynced_page));
	}
	disarm();
	atomic_store(&syncs, 0);
	assert_int_equal(append(store, "next", 100, NULL, &err), VIGIA_OK);
	assert_int_equal(atomic_load(&syncs), 2);
	vigia_store_free(store);
}

/* An append that stores nothing (its key is there) leaves no doubt, and costs the next one nothing. */
static void D1_a_commit_of_nothing_leaves_no_doubt(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(0);
	struct vigia_new_event event = {{"CREATE", 6}, {"once", 4}, {"\x01", 1}};
	struct vigia_append_options options = {.size = sizeof options, .key = {"key", 3}};
	bool existed = false;
	for (int i = 0; i < 2; i++)
		assert_int_equal(vigia_store_append_with(store, &event, 1, &options, NULL, &existed, NULL), VIGIA_OK);
	assert_true(existed);
	atomic_store(&syncs, 0);
	assert_int_equal(append(store, "next", 100, NULL, NULL), VIGIA_OK);
	assert_int_equal(atomic_load(&syncs), 1);
	vigia_store_free(store);
}

/* ---- many threads, one failure ---- */

enum { THREADS = 6, EACH = 30 };

struct writer {
	pthread_t thread;
	struct vigia_store *store;
	char type[8];
	unsigned stored, failed, unknown;
};

static atomic_uint failures; /* of all writers */

static void told_wrongly(const char *who, int rc, const struct vigia_error *err)
{
	fprintf(stderr, "# %s was told %s: %s\n", who, vigia_error_name(rc), err->message);
	abort();
}

static void *write_some(void *arg)
{
	struct writer *w = arg;
	for (int i = 0; i < EACH; i++) {
		struct vigia_error err = {0};
		struct vigia_new_event event = {{"CREATE", 6}, {w->type, strlen(w->type)}, {"\x01", 1}};
		int rc = vigia_store_append(w->store, &event, 1, NULL, &err);
		if (rc == VIGIA_OK) w->stored++;
		else if (rc == VIGIA_EUNKNOWN) w->unknown++;
		else if (rc == VIGIA_EIO || rc == VIGIA_EDISKFULL) w->failed++;
		else told_wrongly("a writer", rc, &err);
		if (rc != VIGIA_OK) atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

static void *read_some(void *arg)
{
	struct vigia_batch *batch = vigia_batch_new();
	for (int i = 0; i < 300; i++) {
		struct vigia_read request = {.size = sizeof request};
		struct vigia_iterator next;
		struct vigia_error err = {0};
		int rc = vigia_store_read(arg, &request, batch, &next, &err);
		/* A doubt about what the journal has is settled before a read, which fails if it cannot be. */
		if (rc < 0 && !(with_journal && (rc == VIGIA_EIO || rc == VIGIA_EUNKNOWN))) told_wrongly("a reader", rc, &err);
	}
	vigia_batch_free(batch);
	return NULL;
}

static void D4f_every_caller_is_told(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(0);
	struct writer writers[THREADS] = {0};
	pthread_t readers[2];
	unsigned failed = 0, unknown = 0;
	assert_int_equal(append(store, "first", 1, NULL, NULL), VIGIA_OK);
	for (int i = 0; i < 2; i++) pthread_create(&readers[i], NULL, read_some, store);
	atomic_store(&failures, 0);
	arm(FAULT_SYNC, 2, EIO, with_journal);
	for (int i = 0; i < THREADS; i++) {
		writers[i].store = store;
		snprintf(writers[i].type, sizeof writers[i].type, "T%d", i);
		pthread_create(&writers[i].thread, NULL, write_some, &writers[i]);
	}
	/* What comes next takes this failure away, and finds no writers where these were faster. */
	while (atomic_load(&failures) == 0) usleep(100);
	for (int i = 0; i < 40; i++) {
		/* One failure the journal mends: LMDB takes its record. */
		arm(i % 2 ? FAULT_SYNC : FAULT_WRITE, 1 + i % 3, EIO, with_journal && i % 4 > 1);
		usleep(500);
	}
	for (int i = 0; i < THREADS; i++) pthread_join(writers[i].thread, NULL);
	for (int i = 0; i < 2; i++) pthread_join(readers[i], NULL);
	disarm();
	for (int i = 0; i < THREADS; i++) {
		unsigned found = count(store, writers[i].type);
		assert_int_equal(writers[i].stored + writers[i].failed + writers[i].unknown, EACH);
		assert_in_range(found, writers[i].stored, writers[i].stored + writers[i].unknown);
		failed += writers[i].failed;
		unknown += writers[i].unknown;
	}
	assert_true(failed + unknown > 0);
	vigia_store_free(store);
}

/* ---- full ---- */

/* Of a map that is too small for a journal. */
static void D4g_full_map(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(256 * 1024);
	struct vigia_error err = {0};
	uint64_t last = 0, n, removed, saved;
	int rc;
	while ((rc = append(store, "filler", 3000, &n, &err)) == VIGIA_OK) last = n;
	assert_int_equal(rc, VIGIA_EFULL);
	assert_non_null(strstr(err.message, "map_size"));
	assert_true(last > 10);
	assert_int_equal(latest(store), last);
	assert_int_equal(append(store, "filler", 30000, &n, &err), VIGIA_EFULL);
	/* What takes no room works, and makes none for events. */
	for (int i = 0; i < 100; i++) {
		if (vigia_checkpoint_put(store, "watcher", last, &err) < 0) fail_msg("%s", err.message);
		rc = append(store, "filler", 3000, &n, &err);
		if (rc == VIGIA_OK) last = n;
		else assert_int_equal(rc, VIGIA_EFULL);
	}
	assert_in_range(used_bytes(store), 256 * 1024 - 65536, 256 * 1024 + 65536);
	if (vigia_store_trim(store, last - 2, &removed, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(removed, last - 2);
	/* And then there is room, again and again. */
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 5; i++)
			if (append(store, "again", 3000, &n, &err) < 0) fail_msg("round %d, %d: %s", round, i, err.message);
		if (vigia_store_trim(store, n - 1, &removed, &err) < 0) fail_msg("%s", err.message);
	}
	assert_int_equal(n, last + 100);
	assert_int_equal(vigia_checkpoint_get(store, "watcher", &saved, &err), VIGIA_OK);
	assert_int_equal(saved, last);
	vigia_store_free(store);
	store = open_store(1024 * 1024);
	assert_int_equal(append(store, "more", 30000, NULL, &err), VIGIA_OK);
	vigia_store_free(store);
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void D4h_a_file_that_may_grow_no_further(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(0);
	struct vigia_error err = {0};
	uint64_t last = 0, n, removed;
	int rc;
	limit_files(used_bytes(store) + 700000);
	while ((rc = append(store, "filler", 3000, &n, &err)) == VIGIA_OK) last = n;
	assert_int_equal(rc, VIGIA_EDISKFULL);
	assert_non_null(strstr(err.message, "RLIMIT_FSIZE"));
	assert_true(last > 10);
	assert_int_equal(append(store, "large", 50000, NULL, &err), VIGIA_EDISKFULL);
	assert_int_equal(latest(store), last);
	assert_int_equal(count(store, "filler"), last);
	assert_int_equal(count(store, "large"), 0);
	/* Freeing room inside the file is possible, and then storing is. */
	rc = vigia_store_trim(store, last / 2, &removed, &err);
	if (rc < 0 && rc != VIGIA_EDISKFULL) fail_msg("%s", err.message);
	limit_files(RLIM_INFINITY);
	if (vigia_store_trim(store, last / 2, &removed, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(append(store, "large", 50000, NULL, &err), VIGIA_OK);
	assert_int_equal(count(store, "large"), 1);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_BOTH_FORMS(S22_a_store_that_is_opened_anew_takes_no_standard_descriptor),
		IN_BOTH_FORMS(D4a_a_write_fails),
		IN_BOTH_FORMS(D4b_a_write_is_cut_short),
		IN_BOTH_FORMS(D4c_a_sync_fails),
		IN_BOTH_FORMS(D4d_every_write_fails_for_a_while),
		IN_BOTH_FORMS(D4e_every_sync_fails_for_a_while),
		IN_BOTH_FORMS(D1_D2_D3_D5_what_each_level_syncs),
		IN_BOTH_FORMS(G2_appends_write_as_little_after_a_large_removal),
		IN_BOTH_FORMS(S12_a_change_is_followed_though_its_maker_was_killed),
		IN_BOTH_FORMS(D5_a_level_is_followed_though_its_changer_was_killed_while_others_looked),
		IN_BOTH_FORMS(D1_after_a_commit_in_doubt_the_next_writer_syncs_first),
		IN_BOTH_FORMS(D1_a_doubt_stays_until_a_sync_succeeded),
		IN_BOTH_FORMS(D1_a_commit_of_nothing_leaves_no_doubt),
		IN_BOTH_FORMS(D4f_every_caller_is_told),
		cmocka_unit_test_setup_teardown(D4g_full_map, folder_setup, folder_teardown),
		IN_BOTH_FORMS(D4h_a_file_that_may_grow_no_further),
	};
	signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
