/*
 * test_source.c - watchers over a source whose calls are pending, as one over a network is: each call waits until the
 * test lets it end. The clock is moved by hand.
 */
#include "core/batch.h"
#include "core/iterator.h"
#include "drive/drive.h"
#include "test.h"

enum { SECOND = 1000000000 };

/* The calls that may be pending, and what the test makes of them. */
enum call { LOOK, READ, WAIT, SAVE, CALLS };

static struct far_log {
	uint64_t checkpoint; /* 0: none */
	bool open[CALLS];    /* true: calls of this kind end at once */
	bool pending[CALLS];
	bool let[CALLS]; /* the one that is pending may end */
	long begun[CALLS], cancelled;
	int fails[CALLS]; /* the next one to end returns this */
	bool owned, forgotten, backwards;
	uint64_t saving, waits_from;
	void (*within[CALLS])(void); /* called once from within a call of this kind */
	int64_t interval_ns;
	long rounds;
	bool blind;    /* the next read to end finds nothing */
	uint64_t next; /* what a read says in place of the truth; 0: it does not */
} far;

static struct vigia_watcher *watcher;

/* Begin or go on with a call: VIGIA_OK when it has ended. */
static int call(enum call which, struct vigia_error *err)
{
	void (*within)(void) = far.within[which];
	far.within[which] = NULL;
	if (within) {
		struct vigia__in_source before = vigia__source_enter(watcher);
		within();
		vigia__source_leave(watcher, before);
	}
	if (!far.pending[which]) far.begun[which]++;
	far.pending[which] = !far.open[which] && !far.let[which];
	if (far.pending[which]) return VIGIA_PENDING;
	far.let[which] = false;
	int rc = far.fails[which];
	far.fails[which] = 0;
	if (rc < 0 && err) {
		err->code = rc;
		snprintf(err->message, sizeof err->message, "the line is cut");
	}
	return rc;
}

static int look(struct vigia_watcher *w, enum vigia__look_for what, struct vigia__look *out, struct vigia_error *err)
{
	struct vigia__backend *b = w->registry->store->backend;
	int rc = call(LOOK, err);
	*out = (struct vigia__look){.checkpoint = far.checkpoint,
	                            .has_checkpoint = what != VIGIA_LOOK_BOUNDS && far.checkpoint > 0};
	if (rc >= 0) assert_int_equal(b->bounds(b, &out->oldest, &out->latest, NULL), VIGIA_OK);
	return rc;
}

static int read_events(struct vigia_watcher *w, const struct vigia_read *request, struct vigia_batch *batch,
                       struct vigia_iterator *next, struct vigia_error *err)
{
	int rc = call(READ, err);
	if (rc != VIGIA_OK) return rc;
	if (far.blind) {
		vigia__batch_clear(batch);
		*next = request->from;
		far.blind = false;
		return VIGIA_OK;
	}
	rc = vigia__store_read(w->registry->store, request, w->filter, NULL, batch, next, err);
	if (far.next) *next = vigia__iterator_after(far.next);
	return rc;
}

static int wait_for(struct vigia_watcher *w, struct vigia_iterator from)
{
	(void)w;
	far.waits_from = vigia__iterator_first(from);
	return call(WAIT, NULL);
}

static void cancel(struct vigia_watcher *w)
{
	(void)w;
	far.cancelled += far.pending[READ] || far.pending[WAIT] || far.pending[LOOK];
	far.pending[READ] = far.pending[WAIT] = far.pending[LOOK] = false;
}

static int save(struct vigia_watcher *w, uint64_t seq_num, bool backwards, struct vigia_error *err)
{
	(void)w;
	if (far.pending[SAVE]) assert_int_equal(seq_num, far.saving); /* the same call again */
	far.saving = seq_num;
	far.backwards = backwards;
	int rc = call(SAVE, err);
	if (rc == VIGIA_OK && (backwards || seq_num > far.checkpoint)) far.checkpoint = seq_num;
	return rc;
}

static int checkpoint(struct vigia_watcher *w, uint64_t seq_num, struct vigia_error *err)
{
	return save(w, seq_num, false, err);
}

static int own(struct vigia_watcher *w, struct vigia_error *err)
{
	(void)w, (void)err;
	assert_false(far.owned);
	far.owned = true;
	return VIGIA_OK;
}

static void disown(struct vigia_watcher *w)
{
	(void)w;
	assert_true(far.owned);
	far.owned = false;
}

static void forget(struct vigia_watcher *w)
{
	(void)w;
	far.forgotten = true;
}

static void round_begins(struct vigia_registry *r)
{
	far.rounds++;
	if (far.interval_ns) r->checkpoint_interval_ns = far.interval_ns;
}

static const struct vigia__source far_source = {
	.look = look,
	.read = read_events,
	.wait = wait_for,
	.cancel = cancel,
	.save = save,
	.checkpoint = checkpoint,
	.own = own,
	.disown = disown,
	.forget = forget,
	.round = round_begins,
};

/* The same, but that the wake words tell of events. */
static struct vigia__source woken_source;

/* ---- the watcher ---- */

static struct vigia_store *store;
static struct vigia_registry *registry;
static struct vigia__manual_clock clock_;
static uint64_t handled;
static long failures_logged;

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	(void)ctx, (void)attempt, (void)resume_mono_ns, (void)err;
	assert_true(far.owned);
	handled = event->seq_num;
	return VIGIA_OK;
}

static void count_record(void *ctx, enum vigia_log_level level, const char *message)
{
	(void)ctx;
	if (level == VIGIA_LOG_WARN && strstr(message, "the line is cut")) failures_logged++;
}

static void append(int count)
{
	struct vigia_new_event event = {slice_of("CREATE"), slice_of("Job"), SLICE("\x01")};
	for (int i = 0; i < count; i++) assert_int_equal(vigia_store_append(store, &event, 1, NULL, NULL), VIGIA_OK);
}

static void drive(void)
{
	int rounds = 0;
	while (vigia_registry_step(registry, 0, NULL) == VIGIA_OK) assert_true(rounds++ < 1000);
}

/* The call that is pending ends; what comes of it is done. */
static void end(enum call which)
{
	assert_true(far.pending[which]);
	far.let[which] = true;
	vigia__source_ready(watcher);
	drive();
}

static struct vigia_watcher_stats stats(void)
{
	struct vigia_watcher_stats out;
	vigia_watcher_stats(watcher, &out);
	return out;
}

static void watch(enum vigia_checkpoint_mode mode)
{
	struct vigia_error err = {0};
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle};
	struct vigia_watch_options options;
	vigia_watch_options_init(&options);
	options.checkpoint = mode;
	assert_int_equal(vigia_registry_watch(registry, "a", &handler, &options, &watcher, &err), VIGIA_OK);
}

static int set_up(void **state)
{
	(void)state;
	far = (struct far_log){0};
	handled = 0;
	failures_logged = 0;
	assert_int_equal(vigia_store_open(":memory:", NULL, &store, NULL), VIGIA_OK);
	registry = vigia_registry_new(store);
	registry->source = &far_source;
	vigia__manual_clock_init(&clock_, SECOND);
	vigia__registry_use_clock(registry, &clock_);
	vigia_registry_log(registry, NULL, count_record);
	append(3);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	vigia_registry_free(registry);
	assert_true(far.forgotten);
	assert_false(far.owned);
	vigia_store_free(store);
	return 0;
}

/* Watched, started, and all read: it waits. */
static void settle(enum vigia_checkpoint_mode mode)
{
	far.open[LOOK] = far.open[READ] = true;
	watch(mode);
	drive();
	assert_int_equal(handled, 3);
	assert_true(far.pending[WAIT]);
	far.open[LOOK] = far.open[READ] = false;
}

static void test_each_call_pends(void **state)
{
	(void)state;
	watch(VIGIA_CHECKPOINT_EVENT);
	assert_int_equal(stats().state, VIGIA_RUNNING);
	drive();
	assert_int_equal(far.begun[READ], 0);
	end(LOOK); /* where it starts without a checkpoint */
	end(LOOK); /* its checkpoint */
	assert_int_equal(far.begun[READ], 1);
	drive();
	assert_int_equal(far.begun[READ], 1);
	end(READ);
	for (uint64_t n = 1; n <= 3; n++) {
		assert_int_equal(handled, n);
		assert_int_equal(far.checkpoint, n - 1);
		end(SAVE);
	}
	assert_int_equal(far.checkpoint, 3);
	end(READ);
	assert_int_equal(far.waits_from, 4);
	append(1); /* the wake words are not what it waits for */
	drive();
	assert_int_equal(far.begun[READ], 2);
	end(WAIT);
	end(READ);
	assert_int_equal(handled, 4);
	far.open[SAVE] = true;
	end(SAVE);
	assert_int_equal(stats().processed, 4);
}

static void test_failures(void **state)
{
	(void)state;
	settle(VIGIA_CHECKPOINT_BATCH);
	append(1);
	end(WAIT);
	far.fails[READ] = VIGIA_EIO;
	end(READ);
	assert_int_equal(stats().fetch_errors, 1);
	assert_int_equal(stats().lag, 1);
	far.open[LOOK] = true;
	far.fails[LOOK] = VIGIA_EIO;
	assert_int_equal(stats().lag, VIGIA_LAG_UNKNOWN);
	far.open[LOOK] = false;
	assert_int_equal(failures_logged, 1);
	assert_int_equal(far.begun[READ], 3);
	vigia__manual_clock_advance(&clock_, SECOND / 5);
	drive();
	assert_int_equal(far.begun[READ], 4);
	far.fails[SAVE] = VIGIA_EIO; /* of the progress, which is due with the clock */
	end(READ);
	assert_int_equal(handled, 4);
	vigia__manual_clock_advance(&clock_, SECOND);
	drive();
	end(SAVE);
	assert_int_equal(failures_logged, 2);
	assert_int_equal(far.checkpoint, 0);
	vigia__manual_clock_advance(&clock_, SECOND);
	drive();
	end(SAVE);
	assert_int_equal(far.checkpoint, 4);
}

/* Handlers go on while progress is saved, and one save is under way at a time. */
static void test_progress(void **state)
{
	(void)state;
	settle(VIGIA_CHECKPOINT_BATCH);
	assert_false(far.pending[SAVE]);
	vigia__manual_clock_advance(&clock_, SECOND - 1);
	drive();
	assert_false(far.pending[SAVE]);
	vigia__manual_clock_advance(&clock_, 1);
	drive();
	assert_true(far.pending[SAVE]);
	assert_int_equal(far.saving, 3);
	append(2);
	end(WAIT);
	end(READ);
	assert_int_equal(handled, 5);
	vigia__manual_clock_advance(&clock_, 5LL * SECOND);
	drive();
	assert_int_equal(far.begun[SAVE], 1);
	end(SAVE);
	assert_int_equal(far.checkpoint, 3);
	vigia__manual_clock_advance(&clock_, SECOND);
	drive();
	assert_int_equal(far.saving, 5);
	/* A seek and a stop wait for it, and then save. */
	far.open[LOOK] = true;
	assert_int_equal(vigia_watcher_seek(watcher, 1, NULL), VIGIA_PENDING);
	assert_int_equal(far.saving, 5);
	end(SAVE);
	assert_int_equal(far.checkpoint, 5);
	assert_true(far.backwards);
	end(SAVE);
	assert_int_equal(far.checkpoint, 1);
	end(READ);
	assert_int_equal(stats().processed, 9);
	vigia__manual_clock_advance(&clock_, SECOND);
	drive();
	assert_int_equal(far.saving, 5);
	append(1);
	end(READ);
	assert_int_equal(handled, 6);
	assert_int_equal(vigia_watcher_stop(watcher, 0, NULL), VIGIA_NONE);
	assert_int_equal(stats().state, VIGIA_STOPPING);
	end(SAVE);
	assert_int_equal(far.checkpoint, 5);
	assert_int_equal(far.saving, 6);
	end(SAVE);
	assert_int_equal(stats().state, VIGIA_STOPPED);
	assert_int_equal(far.checkpoint, 6);
	assert_false(far.owned);
}

static void test_stop_and_seek_leave_a_read(void **state)
{
	(void)state;
	settle(VIGIA_CHECKPOINT_MANUAL);
	assert_int_equal(vigia_watcher_seek(watcher, 9, &(struct vigia_error){0}), VIGIA_PENDING); /* the look at the end */
	far.open[LOOK] = true;
	assert_int_equal(vigia_watcher_seek(watcher, 9, &(struct vigia_error){0}), VIGIA_EPOSITION);
	assert_int_equal(vigia_watcher_seek(watcher, 1, NULL), VIGIA_PENDING); /* the save */
	assert_int_equal(far.cancelled, 1);
	assert_true(far.backwards);
	drive();
	assert_false(far.pending[READ]);
	end(SAVE);
	assert_true(far.pending[READ]);
	assert_int_equal(vigia_watcher_stop(watcher, 0, NULL), VIGIA_OK);
	assert_int_equal(far.cancelled, 2);
	assert_false(far.pending[READ]);
	assert_false(far.owned);
	assert_int_equal(far.checkpoint, 1);

	/* At rest the id is its own until the seek is saved. */
	assert_int_equal(vigia_watcher_seek(watcher, 2, NULL), VIGIA_PENDING);
	assert_true(far.owned);
	end(SAVE);
	assert_false(far.owned);
	assert_int_equal(far.checkpoint, 2);
	assert_int_equal(vigia_watcher_start(watcher, NULL), VIGIA_OK);
	drive();
	end(READ);
	assert_int_equal(handled, 3);
	assert_int_equal(stats().processed, 4);
}

static void test_a_start_that_pends(void **state)
{
	(void)state;
	far.open[READ] = true;
	watch(VIGIA_CHECKPOINT_BATCH);
	end(LOOK);
	assert_true(far.pending[LOOK]);
	assert_true(far.owned);
	/* A stop ends it, */
	assert_int_equal(vigia_watcher_stop(watcher, 0, NULL), VIGIA_OK);
	assert_int_equal(far.cancelled, 1);
	assert_int_equal(stats().state, VIGIA_STOPPED);
	assert_false(far.owned);
	far.pending[LOOK] = false; /* of the stats */
	/* a failure, too, which is in the stats and in the log, */
	assert_int_equal(vigia_watcher_start(watcher, NULL), VIGIA_OK);
	assert_int_equal(vigia_watcher_start(watcher, NULL), VIGIA_ESTATE);
	far.fails[LOOK] = VIGIA_EIO;
	end(LOOK);
	assert_int_equal(stats().state, VIGIA_STOPPED);
	assert_int_equal(stats().stop_error.code, VIGIA_EIO);
	assert_int_equal(failures_logged, 1);
	assert_false(far.owned);
	far.pending[LOOK] = false;
	/* and a checkpoint beyond the end is drawn back before it begins. */
	far.checkpoint = 7;
	assert_int_equal(vigia_watcher_start(watcher, NULL), VIGIA_OK);
	end(LOOK);
	assert_int_equal(far.saving, 3);
	far.open[LOOK] = true;
	end(SAVE);
	assert_int_equal(far.checkpoint, 3);
	assert_true(far.pending[WAIT]);
	assert_int_equal(far.waits_from, 4);
	assert_int_equal(handled, 0);
	far.open[SAVE] = true;
	assert_int_equal(vigia_registry_stop(registry, 0, NULL), VIGIA_OK);
}

/* The read looked before the append, and ends behind it. */
static void test_an_append_during_a_read(void **state)
{
	(void)state;
	woken_source = far_source;
	woken_source.wait = NULL;
	registry->source = &woken_source;
	far.open[LOOK] = true;
	watch(VIGIA_CHECKPOINT_MANUAL);
	drive();
	end(READ);
	assert_int_equal(handled, 3);
	assert_true(far.pending[READ]);
	append(1);
	drive();
	far.blind = true;
	end(READ);
	assert_true(far.pending[READ]);
	end(READ);
	assert_int_equal(handled, 4);
	end(READ);
	assert_false(far.pending[READ]);
	append(1);
	drive();
	end(READ);
	assert_int_equal(handled, 5);
}

static void stop_within(void)
{
	assert_int_equal(vigia_watcher_stop(watcher, SECOND, NULL), VIGIA_OK); /* its own call asks: nothing to wait for */
	assert_int_equal(vigia_registry_step(registry, 0, NULL), VIGIA_ESTATE);
}

static void seek_within(void)
{
	far.open[LOOK] = true;
	assert_int_equal(vigia_watcher_seek(watcher, 1, NULL), VIGIA_OK);
	far.open[LOOK] = false;
}

static void start_within(void)
{
	assert_int_equal(vigia_watcher_start(watcher, NULL), VIGIA_ESTATE);
	stop_within();
}

static void test_calls_from_within(void **state)
{
	(void)state;
	settle(VIGIA_CHECKPOINT_MANUAL);
	far.open[SAVE] = true;
	/* of a read, which is then over, whatever it returns, */
	far.within[READ] = seek_within;
	append(1);
	end(WAIT);
	assert_int_equal(far.checkpoint, 1);
	end(READ);
	assert_int_equal(handled, 4);
	assert_int_equal(stats().processed, 6);
	end(READ);
	/* of a wait, */
	far.within[WAIT] = seek_within;
	vigia__source_ready(watcher);
	drive();
	end(READ);
	assert_int_equal(stats().processed, 9);
	end(READ);
	/* of a read that ends at once, */
	far.open[READ] = true;
	far.within[READ] = stop_within;
	append(1);
	end(WAIT);
	assert_int_equal(stats().state, VIGIA_STOPPED);
	assert_int_equal(handled, 4);
	assert_false(far.owned);
	/* of a start, which a start does not repeat and a stop ends, */
	far.open[LOOK] = true;
	far.within[LOOK] = start_within;
	assert_int_equal(vigia_watcher_start(watcher, NULL), VIGIA_OK);
	assert_int_equal(stats().state, VIGIA_STOPPED);
	assert_false(far.owned);
	/* and of a save, which is not made twice. */
	assert_int_equal(vigia_watcher_start(watcher, NULL), VIGIA_OK);
	drive();
	long saves = far.begun[SAVE];
	far.within[SAVE] = seek_within;
	assert_int_equal(vigia_watcher_seek(watcher, 2, NULL), VIGIA_OK);
	assert_int_equal(far.begun[SAVE], saves + 2);
	assert_int_equal(far.checkpoint, 1);
}

static void test_what_it_returns_is_looked_at(void **state)
{
	(void)state;
	far.open[LOOK] = far.open[READ] = true;
	far.next = 2;
	watch(VIGIA_CHECKPOINT_MANUAL);
	drive();
	assert_int_equal(handled, 0);
	assert_int_equal(stats().fetch_errors, 1);
	assert_non_null(strstr(stats().last_error.message, "before the last event"));
	far.next = 0;
	far.fails[READ] = VIGIA_ECLOSED;
	vigia__manual_clock_advance(&clock_, SECOND);
	while (vigia_registry_step(registry, 0, NULL) == VIGIA_OK) continue;
	struct vigia_error err = {0};
	assert_int_equal(vigia_registry_run(registry, &err), VIGIA_ECLOSED);
	assert_string_equal(err.message, "the line is cut");
	vigia__manual_clock_advance(&clock_, SECOND);
	assert_int_equal(vigia_registry_run(registry, &err), VIGIA_OK);
	assert_int_equal(handled, 3);
}

static void test_an_interval_of_its_own(void **state)
{
	(void)state;
	far.interval_ns = 5LL * SECOND;
	settle(VIGIA_CHECKPOINT_BATCH);
	long rounds = far.rounds;
	assert_int_equal(vigia_registry_step(registry, 0, NULL), VIGIA_NONE);
	assert_int_equal(far.rounds, rounds + 1);
	vigia__manual_clock_advance(&clock_, 5LL * SECOND - 1);
	drive();
	assert_false(far.pending[SAVE]);
	vigia__manual_clock_advance(&clock_, 1);
	drive();
	assert_true(far.pending[SAVE]);
	end(SAVE);
	assert_int_equal(far.checkpoint, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"a look, a read, a wait and a save may each be pending [W3]", test_each_call_pends, set_up, tear_down, NULL},
		{"a read and a save of progress that fail when they end are tried again [W7]", test_failures, set_up, tear_down,
	     NULL},
		{"progress is saved while handlers go on, one save at a time [W10]", test_progress, set_up, tear_down, NULL},
		{"a stop and a seek leave a read or wait that is pending [W14]", test_stop_and_seek_leave_a_read, set_up,
	     tear_down, NULL},
		{"an append while a read is pending is read [W3]", test_an_append_during_a_read, set_up, tear_down, NULL},
		{"a call may stop, seek and start its watcher [W14]", test_calls_from_within, set_up, tear_down, NULL},
		{"a batch that cannot be is a failed read, and a closed source ends a run [W7]",
	     test_what_it_returns_is_looked_at, set_up, tear_down, NULL},
		{"progress waits as long as the source says [W10]", test_an_interval_of_its_own, set_up, tear_down, NULL},
		{"a start that is pending ends by a stop, a failure or a checkpoint [W2]", test_a_start_that_pends, set_up,
	     tear_down, NULL},
	};
	return cmocka_run_group_tests_name("source", tests, NULL, NULL);
}
