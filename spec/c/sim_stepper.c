/*
 * sim_stepper.c - random schedules over the watcher's step function, with a model store and a manual clock.
 *
 *     sim_stepper [schedules [seed]]
 *
 * 20000 schedules from seed 1 if nothing is said, two million with VIGIA_SOAK set. Schedule i runs from seed + i: it
 * appends events (some of which the filter drops), starts, stops, seeks, reloads, lets handlers, reads and saves
 * succeed and fail (a failed save may have happened all the same), lets the driver and the handler checkpoint, wakes
 * and ticks at any time, asks for retries, and crashes. A model beside it knows what must come next. At the end the
 * faults are turned off and the watcher must reach the last event. On failure it prints the seed, runs that schedule
 * again with every step shown, and exits with 1.
 *
 * What is checked after every step (the numbers are used in the messages):
 *   I1  the event to handle is the next one wanted behind what is finished: in order, no gap, none twice but as a retry
 *   I2  nothing new begins while a handler, read or save is under way
 *   I3  `done` passes no event that was neither handled nor given up, and is never behind what is finished
 *   I4  a checkpoint is never ahead of `done` unless a seek or the handler put it there; a start loses nothing before
 *       it
 *   I5  saves happen when the mode says so and only then
 *   I6  attempts count up, skip gives up after max_retries, no retry comes before its time
 *   I7  after STOP nothing is handled or read; after SEEK nothing is handled; a request is acted on as soon as nothing
 * is under way I8  the counts are right I9  the position is behind what is done I11 after a reload it reads again at
 * once, unless something is under way or requested I10 with the faults off it reaches the end, with all events handled,
 * given up or left behind by a seek I12 a retry ends the wait for another attempt of the event, and nothing else
 */
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/stepper.h"
#include "rng.h"

enum { EVENTS_MAX = 80, STEPS_MAX = 150, TOLD = 100000 /* schedules, at a time */ };

struct world {
	struct rng rng;
	int64_t now;
	bool faults;
	bool told_not_begun; /* the reload comes in the place of a handler */
	int fail_percent;    /* of handlers, reads and saves */

	/* the store */
	uint64_t latest;
	bool wanted[EVENTS_MAX + 1]; /* by the filter */
	bool covered[EVENTS_MAX +
	             1]; /* handled, given up, or left behind by a start, a seek or a checkpoint of the handler's */
	bool has_checkpoint;
	uint64_t checkpoint;
	uint64_t put_ahead; /* the highest checkpoint that a seek or the handler put */

	/* the driver */
	struct vigia__stepper w;
	struct vigia__stepper_options options;
	size_t batch_size;
	uint64_t scan_max;            /* numbers looked at in one read */
	struct vigia__action doing;   /* READ, HANDLE or SAVE under way, else NONE */
	struct vigia__action resting; /* LISTEN or WAIT, else NONE */
	uint64_t *batch;
	enum vigia__input_kind told; /* the input of this step */
	int64_t failed_at;

	/* the model */
	bool running, stop_wanted, seek_wanted, seek_saving;
	uint64_t seek_to;
	uint64_t finished;   /* every event up to here is finished with */
	uint64_t start;      /* where `finished` began in this run */
	uint64_t event;      /* the one being tried, 0 = none */
	uint64_t stuck;      /* the event it stopped for by itself */
	uint64_t tries;      /* of it */
	bool saved_in_doubt; /* a seek back that failed may have happened */
	uint64_t processed, failed, retried, skipped, fetch_errors;
};

static uint64_t current_seed;
static bool tracing;

static void schedule(uint64_t seed);

static void print_seed(void)
{
	char text[120];
	int n = snprintf(text, sizeof text, "sim_stepper: failed with seed %" PRIu64 "; again: sim_stepper 1 %" PRIu64 "\n",
	                 current_seed, current_seed);
	(void)!write(2, text, (size_t)n);
}

static void on_abort(int sig)
{
	print_seed();
	_exit(1);
}

static void broken(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("sim_stepper: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	if (!tracing) {
		tracing = true;
		schedule(current_seed);
	}
	print_seed();
	fflush(NULL);
	_exit(1);
}

#define CHECK(condition, ...) ((condition) ? (void)0 : broken(__VA_ARGS__))

static uint64_t rnd(struct world *s)
{
	return rng_next(&s->rng);
}

static uint64_t below(struct world *s, uint64_t n)
{
	return rng_below(&s->rng, n);
}

static bool percent(struct world *s, int p)
{
	return below(s, 100) < (uint64_t)p;
}

static bool fault(struct world *s)
{
	return s->faults && percent(s, s->fail_percent);
}

/* The first event wanted behind seq_num, 0 = none yet. */
static uint64_t next_wanted(const struct world *s, uint64_t seq_num)
{
	for (uint64_t n = seq_num + 1; n <= s->latest; n++)
		if (s->wanted[n]) return n;
	return 0;
}

static void cover_up_to(struct world *s, uint64_t seq_num)
{
	for (uint64_t n = 1; n <= seq_num && n <= EVENTS_MAX; n++) s->covered[n] = true;
}

static bool saves_by_itself(const struct world *s)
{
	return s->options.checkpoint != VIGIA_CHECKPOINT_MANUAL && !s->options.ephemeral;
}

static bool is_event_mode(const struct world *s)
{
	return s->options.checkpoint == VIGIA_CHECKPOINT_EVENT && !s->options.ephemeral;
}

/* ---- After every step ---- */

static void check_handle(struct world *s, const struct vigia__action *a)
{
	uint64_t event = next_wanted(s, s->finished);
	CHECK(a->seq_num == event, "I1: event %" PRIu64 " is handled, %" PRIu64 " was next", a->seq_num, event);
	CHECK(s->batch && s->batch[a->index] == event, "I1: index %zu is not event %" PRIu64, a->index, event);
	CHECK(!s->stop_wanted, "I7: handles after STOP");
	CHECK(!s->seek_wanted && !s->seek_saving, "I7: handles after SEEK");
	if (s->event != event) s->tries = 0;
	s->event = event;
	if (s->tries > 0 && s->told != VIGIA_INPUT_DEFERRED) {
		s->retried++;
		bool in_time = s->told == VIGIA_INPUT_TICK && s->now >= s->resting.until_mono_ns;
		CHECK(in_time || s->told == VIGIA_INPUT_RETRY, "I6: retried too early");
	}
	s->tries++;
	CHECK(a->attempt == s->tries, "I6: attempt %" PRIu64 ", expected %" PRIu64, a->attempt, s->tries);
	CHECK(s->options.retry_strategy != VIGIA_RETRY_SKIP || s->tries <= s->options.max_retries, "I6: too many attempts");
	if (is_event_mode(s) && s->tries == 1 && s->finished > s->start)
		CHECK(s->w.saved >= s->finished, "I5: event %" PRIu64 " comes before %" PRIu64 " was saved", event,
		      s->finished);
}

static void check_save(struct world *s, const struct vigia__action *a)
{
	CHECK(!s->options.ephemeral, "I5: an ephemeral watcher saves");
	if (a->backwards) {
		CHECK(s->seek_wanted && a->seq_num == s->seek_to, "I7: saves a seek to %" PRIu64 " that nobody wants",
		      a->seq_num);
		s->seek_wanted = false;
		s->seek_saving = true;
		return;
	}
	CHECK(!s->seek_wanted, "I7: saves %" PRIu64 " although a seek is wanted", a->seq_num);
	CHECK(a->seq_num == s->w.done, "I4: saves %" PRIu64 ", done is %" PRIu64, a->seq_num, s->w.done);
	CHECK(a->seq_num > s->w.saved, "I5: saves %" PRIu64 ", %" PRIu64 " is saved", a->seq_num, s->w.saved);
	CHECK(s->stop_wanted ? saves_by_itself(s) : is_event_mode(s), "I5: saves in a mode that does not");
}

static void check_action(struct world *s, const struct vigia__action *a)
{
	bool begins = a->kind != VIGIA_ACTION_NONE;
	CHECK(!begins || s->doing.kind == VIGIA_ACTION_NONE, "I2: action %d begins while %d is under way", a->kind,
	      s->doing.kind);
	switch (a->kind) {
	case VIGIA_ACTION_NONE:
		break;
	case VIGIA_ACTION_READ: {
		uint64_t before = a->from.kind == VIGIA_AT ? a->from.seq_num - 1 : a->from.seq_num;
		CHECK(!s->stop_wanted, "I7: reads after STOP");
		CHECK(!s->seek_wanted && !s->seek_saving, "I7: reads before the seek was saved");
		CHECK(before >= s->finished && before == s->w.done, "I1: reads after %" PRIu64 ", done is %" PRIu64, before,
		      s->w.done);
		if (s->resting.kind == VIGIA_ACTION_WAIT && s->told == VIGIA_INPUT_TICK)
			CHECK(s->now >= s->resting.until_mono_ns, "I6: reads again too early");
		break;
	}
	case VIGIA_ACTION_HANDLE:
		check_handle(s, a);
		break;
	case VIGIA_ACTION_SAVE:
		check_save(s, a);
		break;
	case VIGIA_ACTION_LISTEN:
		CHECK(!s->stop_wanted && !s->seek_wanted && !s->seek_saving, "I7: listens although something is wanted");
		if (is_event_mode(s) && s->w.done > s->start)
			CHECK(s->w.saved >= s->w.done, "I5: listens before %" PRIu64 " was saved", s->w.done);
		break;
	case VIGIA_ACTION_WAIT:
		CHECK(!s->stop_wanted, "I7: waits after STOP");
		if (s->told == VIGIA_INPUT_FAILED || s->told == VIGIA_INPUT_FETCH_FAILED || s->told == VIGIA_INPUT_SAVE_FAILED)
			CHECK(a->until_mono_ns >= s->now && a->until_mono_ns <= s->now + s->options.backoff.max_ns &&
			          (s->options.backoff.jitter || a->until_mono_ns >= s->now + s->options.backoff.initial_ns),
			      "I6: waits until %" PRId64 ", it is %" PRId64, a->until_mono_ns, s->now);
		else
			CHECK(a->until_mono_ns == s->resting.until_mono_ns && s->resting.kind == VIGIA_ACTION_WAIT,
			      "I6: another wait");
		break;
	case VIGIA_ACTION_STOPPED:
		CHECK(s->stop_wanted, "I7: stops by itself");
		CHECK(!s->seek_wanted, "I7: stops without the seek");
		if (saves_by_itself(s) && s->told != VIGIA_INPUT_SAVE_FAILED && s->running)
			CHECK(s->w.saved >= s->w.done, "I5: stops without saving %" PRIu64, s->w.done);
		break;
	}
}

static void check_standing(struct world *s)
{
	const struct vigia__stepper *w = &s->w;
	uint64_t unfinished = next_wanted(s, s->finished);
	CHECK(w->done <= s->latest && (!unfinished || w->done < unfinished), "I3: done is %" PRIu64 ", %" PRIu64 " is not",
	      w->done, unfinished);
	CHECK(w->done >= s->finished, "I3: done is %" PRIu64 ", %" PRIu64 " is finished", w->done, s->finished);
	CHECK(s->checkpoint <= w->done || s->checkpoint <= s->put_ahead, "I4: the checkpoint is %" PRIu64 ", done %" PRIu64,
	      s->checkpoint, w->done);
	CHECK(w->saved <= s->checkpoint || s->saved_in_doubt, "I4: believes %" PRIu64 " is saved, it is %" PRIu64, w->saved,
	      s->checkpoint);
	CHECK(w->processed == s->processed && w->failed == s->failed && w->retried == s->retried &&
	          w->skipped == s->skipped && w->fetch_errors == s->fetch_errors,
	      "I8: a count is wrong");
	enum vigia_watcher_state state = s->stop_wanted ? VIGIA_STOPPING : s->running ? VIGIA_RUNNING : w->state;
	CHECK(w->state == state && (s->running || s->stop_wanted || w->state == VIGIA_IDLE || w->state == VIGIA_STOPPED),
	      "I7: state %d, expected %d", w->state, state);
	CHECK(w->stuck == s->stuck, "I8: stuck at %" PRIu64 ", expected %" PRIu64, w->stuck, s->stuck);
	bool nothing_under_way = s->doing.kind == VIGIA_ACTION_NONE;
	if (nothing_under_way && s->stop_wanted) broken("I7: does not stop");
	if (nothing_under_way && s->resting.kind == VIGIA_ACTION_NONE) CHECK(!s->running && !s->seek_wanted, "I7: stuck");
	CHECK(w->count == 0 || (s->batch && w->seqs == s->batch), "I2: holds a batch that it gave back");
	struct vigia_iterator position = vigia__stepper_position(w);
	if (s->running && (position.kind == VIGIA_AFTER || position.kind == VIGIA_AT)) {
		uint64_t before = position.kind == VIGIA_AT ? position.seq_num - 1 : position.seq_num;
		CHECK(before == w->done, "I9: the position is behind %" PRIu64 ", done is %" PRIu64, before, w->done);
	}
}

static const char *const input_names[] = {
	[VIGIA_INPUT_START] = "START",
	[VIGIA_INPUT_BATCH] = "BATCH",
	[VIGIA_INPUT_FETCH_FAILED] = "FETCH_FAILED",
	[VIGIA_INPUT_HANDLED] = "HANDLED",
	[VIGIA_INPUT_FAILED] = "FAILED",
	[VIGIA_INPUT_DEFERRED] = "DEFERRED",
	[VIGIA_INPUT_SAVED] = "SAVED",
	[VIGIA_INPUT_SAVE_FAILED] = "SAVE_FAILED",
	[VIGIA_INPUT_WAKE] = "WAKE",
	[VIGIA_INPUT_TICK] = "TICK",
	[VIGIA_INPUT_STOP] = "STOP",
	[VIGIA_INPUT_SEEK] = "SEEK",
	[VIGIA_INPUT_RETRY] = "RETRY",
	[VIGIA_INPUT_REREAD] = "REREAD",
};
static const char *const action_names[] = {"NONE", "READ", "HANDLE", "SAVE", "LISTEN", "WAIT", "STOPPED"};

static void forget_batch(struct world *s)
{
	free(s->batch); /* the sanitizer sees to it that the watcher forgot it too */
	s->batch = NULL;
}

/* Tell the watcher, check what it answers, remember what is under way now. */
static void tell(struct world *s, struct vigia__input in)
{
	in.random = rnd(s);
	s->told = in.kind;
	struct vigia__action a = vigia__stepper_step(&s->w, &in, s->now);
	if (tracing)
		fprintf(stderr,
		        "%6" PRId64 " %s(%" PRIu64 ", count %zu, next %d:%" PRIu64 ") -> %s(seq_num %" PRIu64
		        "%s, attempt %" PRIu64 ", from %d:%" PRIu64 ", until %" PRId64 "); done %" PRIu64 " saved %" PRIu64
		        " checkpoint %" PRIu64 "\n",
		        s->now, input_names[in.kind], in.seq_num, in.count, in.next.kind, in.next.seq_num, action_names[a.kind],
		        a.seq_num, a.backwards ? " backwards" : "", a.attempt, a.from.kind, a.from.seq_num, a.until_mono_ns,
		        s->w.done, s->w.saved, s->checkpoint);

	/* An ephemeral seek lands within the step. */
	if (s->options.ephemeral && s->seek_wanted && s->doing.kind == VIGIA_ACTION_NONE) {
		s->seek_wanted = false;
		s->finished = s->start = s->seek_to;
		s->event = 0;
		cover_up_to(s, s->seek_to);
		if (in.kind != VIGIA_INPUT_START) CHECK(s->w.done == s->seek_to, "I7: the seek did not move it");
	}
	check_action(s, &a);
	switch (a.kind) {
	case VIGIA_ACTION_NONE:
		break;
	case VIGIA_ACTION_READ:
		forget_batch(s);
		/* fallthrough */
	case VIGIA_ACTION_HANDLE:
	case VIGIA_ACTION_SAVE:
		if (a.kind == VIGIA_ACTION_SAVE && a.backwards) forget_batch(s);
		s->doing = a;
		s->resting.kind = VIGIA_ACTION_NONE;
		break;
	case VIGIA_ACTION_LISTEN:
	case VIGIA_ACTION_WAIT:
		s->resting = a;
		break;
	case VIGIA_ACTION_STOPPED:
		forget_batch(s);
		s->running = s->stop_wanted = false;
		s->resting.kind = VIGIA_ACTION_NONE;
		break;
	}
	if (a.kind == VIGIA_ACTION_NONE && (in.kind == VIGIA_INPUT_STOP || in.kind == VIGIA_INPUT_SEEK))
		CHECK(s->doing.kind != VIGIA_ACTION_NONE || !s->running, "I7: a wish is not acted on");
	check_standing(s);
}

/* New code: what was fetched is fetched again, and the event in hand counts as not tried. Not while a handler is in
 * progress. */
static void reload(struct world *s)
{
	bool fresh = s->running && s->doing.kind == VIGIA_ACTION_NONE && !s->stop_wanted && !s->seek_wanted &&
	             (s->told_not_begun || s->resting.kind == VIGIA_ACTION_LISTEN || vigia__stepper_blocked(&s->w));
	if (fresh) s->event = 0;
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_REREAD});
	if (fresh) CHECK(s->doing.kind == VIGIA_ACTION_READ, "I11: does not read again after a reload");
}

/* ---- Outcomes ---- */

static void end_read(struct world *s)
{
	struct vigia_iterator from = s->doing.from;
	s->doing.kind = VIGIA_ACTION_NONE;
	if (fault(s)) {
		s->fetch_errors++;
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_FETCH_FAILED});
		return;
	}
	struct vigia__input in = {.kind = VIGIA_INPUT_BATCH, .next = from};
	uint64_t found[EVENTS_MAX], n = vigia__iterator_first(from), until = n + 1 + below(s, s->scan_max);
	for (; n <= s->latest && n < until && in.count < s->batch_size; n++) {
		if (s->wanted[n]) found[in.count++] = n;
		in.next = vigia__iterator_after(n);
	}
	if (in.count > 0) {
		s->batch = malloc(in.count * sizeof *s->batch);
		if (!s->batch) abort();
		memcpy(s->batch, found, in.count * sizeof *s->batch);
	}
	in.seqs = s->batch;
	tell(s, in);
}

static void end_handler(struct world *s)
{
	uint64_t event = s->doing.seq_num;
	s->doing.kind = VIGIA_ACTION_NONE;
	if (percent(s, 10)) { /* it was not begun */
		s->tries--;
		if (percent(s, 30)) {
			s->told_not_begun = true;
			reload(s);
			s->told_not_begun = false;
			return;
		}
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_DEFERRED});
		return;
	}
	if (!fault(s)) {
		bool dropped = percent(s, 10);
		s->processed += !dropped;
		if (!s->seek_wanted) s->finished = event;
		s->covered[event] = true;
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_HANDLED, .dropped = dropped});
		CHECK(dropped || s->w.last_processed == event, "I8: last processed is %" PRIu64, s->w.last_processed);
		return;
	}
	s->failed++;
	bool wished = s->seek_wanted || s->stop_wanted, permanent = percent(s, 15);
	bool skip = permanent ? s->options.on_damage == VIGIA_DAMAGE_SKIP
	                      : s->options.retry_strategy == VIGIA_RETRY_SKIP && s->tries >= s->options.max_retries;
	if (permanent && !skip && !wished) {
		s->stop_wanted = true; /* its own wish */
		s->stuck = event;
	}
	if (skip && !wished) {
		s->skipped++;
		s->finished = event;
		s->covered[event] = true;
	}
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_FAILED, .permanent = permanent});
}

static void end_save(struct world *s)
{
	struct vigia__action save = s->doing;
	bool fails = fault(s), happens = !fails || percent(s, 30);
	s->doing.kind = VIGIA_ACTION_NONE;
	if (happens && (save.backwards || !s->has_checkpoint || save.seq_num > s->checkpoint)) {
		s->has_checkpoint = true;
		s->checkpoint = save.seq_num;
	}
	if (save.backwards) {
		s->seek_saving = false;
		if (happens) {
			cover_up_to(s, save.seq_num);
			s->put_ahead = save.seq_num;
		}
		if (!fails) {
			s->finished = s->start = save.seq_num;
			s->event = 0;
			s->saved_in_doubt = false;
		} else {
			s->saved_in_doubt |= happens;
			if (!s->stop_wanted && !s->seek_wanted) { /* it must come again */
				s->seek_wanted = true;
				s->seek_to = save.seq_num;
			}
		}
	}
	tell(s, (struct vigia__input){.kind = fails ? VIGIA_INPUT_SAVE_FAILED : VIGIA_INPUT_SAVED});
}

static void end_action(struct world *s)
{
	if (s->doing.kind == VIGIA_ACTION_READ) end_read(s);
	else if (s->doing.kind == VIGIA_ACTION_HANDLE) end_handler(s);
	else end_save(s);
}

/* ---- What happens from outside ---- */

static void append(struct world *s)
{
	for (uint64_t n = 1 + below(s, 4); n > 0 && s->latest < EVENTS_MAX; n--) s->wanted[++s->latest] = percent(s, 60);
}

static void start(struct world *s)
{
	uint64_t begin = 0;
	struct vigia_iterator next;
	if (s->options.ephemeral || !s->has_checkpoint) {
		begin = s->options.ephemeral && percent(s, 50) ? s->w.done : below(s, s->latest + 1);
		cover_up_to(s, begin);
		next = percent(s, 50) ? vigia__iterator_after(begin)
		                      : (struct vigia_iterator){.kind = VIGIA_AT, .seq_num = begin + 1};
	} else {
		begin = s->checkpoint;
		next = vigia__iterator_after(begin);
	}
	for (uint64_t n = 1; n <= begin; n++)
		CHECK(!s->wanted[n] || s->covered[n], "I4: a start behind %" PRIu64 " loses event %" PRIu64, begin, n);
	if (s->doing.kind == VIGIA_ACTION_NONE && s->resting.kind == VIGIA_ACTION_NONE) {
		s->w.saved = s->options.ephemeral || !s->has_checkpoint ? 0 : s->checkpoint;
		s->saved_in_doubt = false;
		s->finished = s->start = begin;
		s->event = 0;
	}
	s->running = true;
	s->stuck = 0;
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_START, .next = next, .seq_num = begin});
}

/* The process dies; a save under way may have happened. */
static void crash(struct world *s)
{
	if (s->doing.kind == VIGIA_ACTION_SAVE && percent(s, 50) &&
	    (s->doing.backwards || s->doing.seq_num > s->checkpoint)) {
		s->has_checkpoint = true;
		s->checkpoint = s->doing.seq_num;
		if (s->doing.backwards) cover_up_to(s, s->checkpoint);
	}
	if (tracing) fprintf(stderr, "%6" PRId64 " crash, checkpoint %" PRIu64 "\n", s->now, s->checkpoint);
	forget_batch(s);
	vigia__stepper_init(&s->w, &s->options);
	s->doing.kind = s->resting.kind = VIGIA_ACTION_NONE;
	s->running = s->stop_wanted = s->seek_wanted = s->seek_saving = s->saved_in_doubt = false;
	s->processed = s->failed = s->retried = s->skipped = s->fetch_errors = 0;
	s->finished = s->start = s->event = s->stuck = 0;
	s->put_ahead = s->checkpoint;
}

/* A commit of the driver's takes the watcher's progress along (contract W10), unless a seek is on its way. */
static void commit_progress(struct world *s)
{
	if (!s->running || s->options.ephemeral || s->options.checkpoint != VIGIA_CHECKPOINT_BATCH) return;
	if (s->seek_wanted || s->seek_saving) return;
	if (s->w.done > s->checkpoint || !s->has_checkpoint) {
		s->has_checkpoint = true;
		s->checkpoint = s->w.done;
	}
	s->w.saved = s->checkpoint;
}

/* The handler says itself that its event is done; anybody may say what is done. */
static void checkpoint_by_hand(struct world *s)
{
	if (!s->running || s->options.ephemeral || s->seek_wanted || s->seek_saving) return;
	uint64_t seq_num = s->doing.kind == VIGIA_ACTION_HANDLE ? s->doing.seq_num : s->w.done;
	if (seq_num <= s->checkpoint) return;
	if (s->doing.kind == VIGIA_ACTION_HANDLE) s->covered[seq_num] = true;
	s->has_checkpoint = true;
	s->checkpoint = s->w.saved = s->put_ahead = seq_num;
}

static void tick(struct world *s)
{
	int64_t left = s->resting.kind == VIGIA_ACTION_WAIT ? s->resting.until_mono_ns - s->now : 0;
	s->now += left > 0 && percent(s, 50) ? left : (int64_t)below(s, 60);
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_TICK});
}

/* It ends the wait for another attempt, and no other. */
static void retry(struct world *s)
{
	bool waits = s->resting.kind == VIGIA_ACTION_WAIT && vigia__stepper_waits_for(&s->w) > 0;
	uint64_t event = waits ? vigia__stepper_blocked(&s->w) : 0;
	struct vigia__action doing = s->doing;
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_RETRY});
	if (waits)
		CHECK(s->doing.kind == VIGIA_ACTION_HANDLE && s->doing.seq_num == event, "I12: does not try %" PRIu64 " again",
		      event);
	else CHECK(s->doing.kind == doing.kind, "I12: a retry begins something else");
}

static void stop(struct world *s)
{
	if (s->running || s->w.state == VIGIA_IDLE || s->doing.kind != VIGIA_ACTION_NONE ||
	    s->resting.kind != VIGIA_ACTION_NONE)
		s->stop_wanted = true;
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_STOP});
}

static void seek(struct world *s)
{
	s->seek_wanted = true;
	s->stuck = 0;
	s->seek_to = below(s, s->latest + 1);
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_SEEK, .seq_num = s->seek_to});
}

static void one_step(struct world *s)
{
	if (s->doing.kind != VIGIA_ACTION_NONE && percent(s, 65)) {
		end_action(s);
		return;
	}
	uint64_t dice = below(s, 100);
	if (dice < 25) append(s);
	else if (dice < 45) tell(s, (struct vigia__input){.kind = VIGIA_INPUT_WAKE});
	else if (dice < 70) tick(s);
	else if (dice < 74) stop(s);
	else if (dice < 79) seek(s);
	else if (dice < 82) {
		if (s->doing.kind != VIGIA_ACTION_HANDLE) reload(s);
	} else if (dice < 88) commit_progress(s);
	else if (dice < 91) checkpoint_by_hand(s);
	else if (dice < 93) crash(s);
	else if (dice < 96) retry(s);
	else if (!s->running && !s->stop_wanted) start(s);
}

/* With the faults off the watcher reaches the end. */
static void finish(struct world *s)
{
	s->faults = false;
	for (int i = 0; i < EVENTS_MAX * 8; i++) {
		if (s->doing.kind != VIGIA_ACTION_NONE) end_action(s);
		else if (s->resting.kind == VIGIA_ACTION_WAIT) tick(s);
		else if (!s->running) start(s);
		else if (s->w.done < s->latest) tell(s, (struct vigia__input){.kind = VIGIA_INPUT_WAKE});
		else break;
	}
	CHECK(s->resting.kind == VIGIA_ACTION_LISTEN, "I10: does not come to listen");
	CHECK(s->w.done == s->latest, "I10: done is %" PRIu64 " of %" PRIu64, s->w.done, s->latest);
	CHECK(next_wanted(s, s->finished) == 0, "I10: %" PRIu64 " was not handled", next_wanted(s, s->finished));
	for (uint64_t n = 1; n <= s->latest; n++)
		CHECK(!s->wanted[n] || s->covered[n], "I10: event %" PRIu64 " was lost", n);
}

static void schedule(uint64_t seed)
{
	struct world world = {.rng = {seed}, .faults = true}, *s = &world;
	static const int fail_percents[] = {0, 10, 40, 80};
	s->fail_percent = fail_percents[below(s, 4)];
	s->options = (struct vigia__stepper_options){
		.backoff = {.initial_ns = 1 + (int64_t)below(s, 50), .max_ns = 100, .jitter = percent(s, 20)},
		.max_retries = 1 + below(s, 3),
		.retry_strategy = percent(s, 50) ? VIGIA_RETRY_SKIP : VIGIA_RETRY_BLOCK,
		.checkpoint = (int)below(s, 3),
		.on_damage = percent(s, 50) ? VIGIA_DAMAGE_SKIP : VIGIA_DAMAGE_STOP,
		.ephemeral = percent(s, 15),
	};
	s->batch_size = 1 + below(s, 5);
	s->scan_max = 1 + below(s, 10);
	append(s);
	vigia__stepper_init(&s->w, &s->options);
	uint64_t steps = 20 + below(s, STEPS_MAX - 20);
	for (uint64_t i = 0; i < steps; i++) one_step(s);
	finish(s);
	forget_batch(s);
}

/* There with a sanitizer only. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

int main(int argc, char **argv)
{
	uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : getenv("VIGIA_SOAK") ? 2000000 : 20000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	signal(SIGABRT, on_abort);
	if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(print_seed);
	for (uint64_t i = 0; i < count;) {
		uint64_t first = seed + i, some = count - i < TOLD ? count - i : TOLD;
		for (uint64_t n = 0; n < some; n++, i++) {
			current_seed = seed + i;
			schedule(current_seed);
		}
		printf("# simulated watcher: %" PRIu64 " schedules from seed %" PRIu64 "\n", some, first);
		fflush(stdout);
	}
	return 0;
}
