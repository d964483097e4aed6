/*
 * stepper.c - one watcher as a step function. stepper.h explains the inputs and actions.
 *
 * The phases (a phase is what is under way, `state` is what the user sees of it):
 *
 *                    START            BATCH: events                  HANDLED, given up
 *       +----------+       +---------+                +----------+ ---.   ("event": SAVE first)
 *       |   REST   | ----> | READING | -------------> | HANDLING | <--'
 *       +----------+       +---------+ <------------- +----------+
 *            ^              |  |   ^     batch used up   |    ^
 *            |              |  |   |                     |    | TICK
 *            |  FETCH_FAILED|  |   | WAKE          FAILED|    |
 *            |              v  |   |                     v    |
 *            |   +------------+|  +-----------+       +--------------+
 *            |   | READ_LATER |'->| LISTENING |       | HANDLE_LATER |
 *            |   +------------+   +-----------+       +--------------+
 *            |     TICK: READ   BATCH: at the end
 *            |
 *            |   +--------+  SAVE_FAILED  +------------+
 *            '-- | SAVING | ------------> | SAVE_LATER |
 *    stopped, or +--------+ <------------ +------------+
 *    a seek at       | SAVED       TICK
 *    rest            '--> on with the next event, READ (a seek) or LISTEN
 *
 * READING, HANDLING and SAVING end only with an outcome: a request meanwhile (STOP, SEEK) waits for it. In LISTENING
 * and the three LATER phases a request takes effect at once. Whenever nothing is under way, go_on() decides: a seek
 * first, then a stop, then a save that is due, then the next event; and before all of them the commit of a transaction
 * that must not wait. (Not drawn: after DEFERRED, a handler that was not begun, the phase is HANDLING again. A CONFLICT
 * leads from HANDLING or SAVING to READING.)
 */
#include "stepper.h"

#include <assert.h>
#include <string.h>

enum phase { REST, READING, HANDLING, SAVING, LISTENING, READ_LATER, HANDLE_LATER, SAVE_LATER };

/* Without a backoff an event is retried at once, but a fetch or a save after a moment. */
enum { NO_BACKOFF_NS = 1000000 };

/* The last number that an iterator excludes. Unlike vigia__iterator_first() - 1 it is also exact for
 * after(UINT64_MAX). */
static uint64_t before(struct vigia_iterator it)
{
	return it.kind == VIGIA_AT && it.seq_num > 0 ? it.seq_num - 1 : it.seq_num;
}

static inline bool resolved(struct vigia_iterator it)
{
	return it.kind == VIGIA_AT || it.kind == VIGIA_AFTER;
}

/* Is an outcome still to come? */
static bool busy(const struct vigia__stepper *w)
{
	return w->phase == READING || w->phase == HANDLING || w->phase == SAVING;
}

static bool waits(const struct vigia__stepper *w)
{
	return w->phase == READ_LATER || w->phase == HANDLE_LATER || w->phase == SAVE_LATER;
}

static bool saves_each_event(const struct vigia__stepper *w)
{
	return w->options.checkpoint == VIGIA_CHECKPOINT_EVENT && !w->options.ephemeral;
}

static bool saves_at_stop(const struct vigia__stepper *w)
{
	return w->options.checkpoint != VIGIA_CHECKPOINT_MANUAL && !w->options.ephemeral;
}

/* What is done once the current event is passed: it, and those behind it that the filter dropped. */
static uint64_t passed(const struct vigia__stepper *w)
{
	return w->index + 1 < w->count ? w->seqs[w->index + 1] - 1 : before(w->batch_next);
}

/* ---- Actions ---- */

static struct vigia__action none(void)
{
	return (struct vigia__action){.kind = VIGIA_ACTION_NONE};
}

static struct vigia__action wait_again(const struct vigia__stepper *w)
{
	return (struct vigia__action){.kind = VIGIA_ACTION_WAIT, .until_mono_ns = w->retry_mono_ns};
}

/* Retry later, in `phase`. The caller has incremented `failures`. */
static struct vigia__action wait_in(struct vigia__stepper *w, enum phase phase, uint64_t random, int64_t now)
{
	int64_t delay = vigia__backoff_delay(&w->options.backoff, w->failures, random);
	if (w->options.backoff.initial_ns == 0 && phase != HANDLE_LATER) delay = NO_BACKOFF_NS;
	w->phase = phase;
	w->retry_mono_ns = delay > INT64_MAX - now ? INT64_MAX : now + delay;
	return wait_again(w);
}

/* Discard the batch, used up or not. The next read starts after the last finished event. */
static void forget_batch(struct vigia__stepper *w)
{
	w->seqs = NULL;
	w->count = w->index = 0;
	if (w->done > before(w->next)) w->next = vigia__iterator_after(w->done);
}

static struct vigia__action read_on(struct vigia__stepper *w)
{
	assert(w->in_tx == 0 && "a transaction holds events of one batch");
	forget_batch(w);
	w->phase = READING;
	return (struct vigia__action){.kind = VIGIA_ACTION_READ, .from = w->next};
}

static struct vigia__action handle(struct vigia__stepper *w)
{
	w->phase = HANDLING;
	if (w->tried_seq == w->seqs[w->index] && w->failures == 0) w->failures = w->tried;
	return (struct vigia__action){
		.kind = VIGIA_ACTION_HANDLE, .index = w->index, .attempt = w->failures + 1, .seq_num = w->seqs[w->index]};
}

/* Put the current event aside. */
static struct vigia__action save_aside(struct vigia__stepper *w)
{
	w->phase = SAVING;
	w->saving = passed(w);
	w->saving_seek = false;
	return (struct vigia__action){
		.kind = VIGIA_ACTION_SAVE, .aside = true, .index = w->index, .attempt = w->failures, .seq_num = w->saving};
}

static struct vigia__action handle_letter(struct vigia__stepper *w)
{
	w->phase = HANDLING;
	return (struct vigia__action){
		.kind = VIGIA_ACTION_HANDLE, .letter = true, .attempt = w->letter_attempts + 1, .seq_num = w->letter};
}

static struct vigia__action save_letter(struct vigia__stepper *w, bool failed)
{
	w->phase = SAVING;
	w->saving_seek = false;
	return (struct vigia__action){.kind = VIGIA_ACTION_SAVE,
	                              .letter = true,
	                              .failed = failed,
	                              .attempt = w->letter_attempts + 1,
	                              .seq_num = w->letter};
}

static struct vigia__action listen_on(struct vigia__stepper *w)
{
	w->phase = LISTENING;
	return (struct vigia__action){.kind = VIGIA_ACTION_LISTEN, .from = w->next};
}

static struct vigia__action save(struct vigia__stepper *w, uint64_t seq_num, bool backwards)
{
	w->phase = SAVING;
	w->saving = seq_num;
	w->saving_seek = backwards;
	return (struct vigia__action){.kind = VIGIA_ACTION_SAVE, .seq_num = seq_num, .backwards = backwards};
}

/* The transaction is lost: its events are to be handled again. */
static void take_back(struct vigia__stepper *w)
{
	bool failed = w->retry_after_save || w->aside || (w->phase == HANDLING && w->failures > 0);
	if (failed) {
		w->tried_seq = w->seqs[w->index];
		w->tried = w->failures;
	}
	w->processed -= w->letter_handled;
	w->letter_handled = false;
	w->failures = w->letter = 0;
	w->save_due = w->retry_after_save = w->reread_after_save = w->aside = false;
	if (w->in_tx == 0) return;
	w->processed -= w->in_tx;
	w->in_tx = 0;
	w->done = w->tx_from;
	forget_batch(w);
	w->next = vigia__iterator_after(w->done);
}

static struct vigia__action stopped(struct vigia__stepper *w)
{
	take_back(w);
	forget_batch(w);
	w->phase = REST;
	w->state = VIGIA_STOPPED;
	w->stop_wanted = false;
	w->failures = 0;
	return (struct vigia__action){.kind = VIGIA_ACTION_STOPPED};
}

/* ---- Decisions ---- */

static struct vigia__action seek(struct vigia__stepper *w);

/* Is there something that the open transaction must not be open for? A stop saves by itself. */
static bool must_commit(const struct vigia__stepper *w)
{
	return w->seek_wanted || w->save_due || w->retry_after_save || w->reread_after_save || w->aside;
}

/* What was to follow a commit. */
static struct vigia__action after_save(struct vigia__stepper *w)
{
	if (w->reread_after_save) {
		w->reread_after_save = false;
		return read_on(w);
	}
	w->retry_after_save = false;
	w->phase = HANDLE_LATER;
	return wait_again(w);
}

/* A request, or an event to put aside, comes before the next event. */
static struct vigia__action go_elsewhere(struct vigia__stepper *w)
{
	if (w->seek_wanted) return seek(w);
	if (w->aside) return save_aside(w);
	return saves_at_stop(w) && w->done > w->saved ? save(w, w->done, false) : stopped(w);
}

/* Decide what to do when nothing is under way. A new batch, and a read or event whose wait is over, call this only if
 * there is a request, because here having no batch means that the end was found. */
static struct vigia__action go_on(struct vigia__stepper *w)
{
	if (w->in_tx > 0 && must_commit(w)) return save(w, w->done, false);
	if (w->seek_wanted | w->aside | w->stop_wanted) return go_elsewhere(w);
	assert(w->state == VIGIA_RUNNING);
	if (w->save_due && w->done > w->saved) /* unless the driver's own commit saved it first */
		return save(w, w->done, false);
	w->save_due = false;
	if (w->reread_after_save | w->retry_after_save) return after_save(w);
	w->failures = 0;
	if (w->index < w->count) return handle(w);
	/* After a used-up batch there may be more events. Without a batch the last read found the end. */
	return w->count > 0 ? read_on(w) : listen_on(w);
}

/* The seek to `seq_num` is durable, or need not be: move there. */
static struct vigia__action land(struct vigia__stepper *w, uint64_t seq_num)
{
	w->done = seq_num;
	w->next = vigia__iterator_after(seq_num);
	w->sought = true;
	if (w->seek_wanted || w->stop_wanted) return go_on(w);
	if (w->state == VIGIA_RUNNING) return read_on(w);
	w->phase = REST; /* a seek while idle or stopped */
	return none();
}

static struct vigia__action seek(struct vigia__stepper *w)
{
	w->seek_wanted = false;
	w->letter = 0;
	w->save_due = w->retry_after_save = w->reread_after_save = w->aside =
		false; /* the old position is of no interest */
	forget_batch(w);
	return w->options.ephemeral ? land(w, w->seek_to) : save(w, w->seek_to, true);
}

/* Pass the current event, which was handled or given up, and those behind it that the filter dropped. */
static void finish_event(struct vigia__stepper *w, bool due)
{
	w->failures = 0;
	if (w->seqs[w->index] == w->tried_seq) w->tried_seq = 0;
	w->done = passed(w);
	w->index++;
	assert(w->done >= w->seqs[w->index - 1] && "a batch is in order");
	w->save_due = saves_each_event(w) || (w->in_tx > 0 && (due || w->index == w->count));
}

/* ---- Inputs ---- */

static struct vigia__action on_start(struct vigia__stepper *w, const struct vigia__input *in)
{
	assert(w->state == VIGIA_IDLE || w->state == VIGIA_STOPPED);
	assert(resolved(in->next) && in->seq_num <= before(in->next));
	w->state = VIGIA_RUNNING;
	if (w->phase != REST) /* a seek made at rest is still being saved. The watcher continues there */
		return waits(w) ? wait_again(w) : none();
	w->stop_wanted = w->seek_wanted = w->save_due = false;
	w->failures = w->stuck = w->tried_seq = 0;
	w->done = in->seq_num;
	w->next = in->next;
	if (in->sought) w->sought = true;
	if (w->saved > w->done) /* the checkpoint was beyond the end */
		w->saved = w->done;
	return read_on(w);
}

/* Count the events removed where the read began, except those counted before. */
static void count_missed(struct vigia__stepper *w, uint64_t gone)
{
	uint64_t seen = before(w->next), last = seen + gone;
	w->gap = w->sought ? 0 : gone;
	w->sought = false;
	if (w->gap == 0 || last <= w->missed_to) return;
	w->missed += last - (w->missed_to > seen ? w->missed_to : seen);
	w->missed_to = last;
}

static struct vigia__action on_batch(struct vigia__stepper *w, const struct vigia__input *in)
{
	assert(w->phase == READING);
	w->failures = w->gap = 0;
	if (w->seek_wanted || w->stop_wanted) return go_on(w);
	count_missed(w, in->gone);
	if (w->gap > 0 && w->options.on_gap == VIGIA_GAP_STOP) {
		w->stuck = before(w->next) + 1;
		w->stop_wanted = true;
		w->state = VIGIA_STOPPING;
		return go_on(w);
	}

	uint64_t reached = before(in->next);
	assert(resolved(in->next) && reached >= before(w->next));
	if (in->count == 0) {
		bool advanced = reached > before(w->next);
		w->next = in->next;
		if (reached > w->done) {
			w->done = reached;
			w->save_due = saves_each_event(w);
		}
		return advanced ? read_on(w) : go_on(w);
	}
	assert(in->seqs[0] > before(w->next) && reached >= in->seqs[in->count - 1]);
	w->seqs = in->seqs;
	w->count = in->count;
	w->index = 0;
	w->batch_next = in->next;
	if (in->seqs[0] - 1 > w->done) w->done = in->seqs[0] - 1;
	return handle(w);
}

static struct vigia__action on_fetch_failed(struct vigia__stepper *w, const struct vigia__input *in, int64_t now)
{
	assert(w->phase == READING);
	w->fetch_errors++;
	if (w->seek_wanted || w->stop_wanted) return go_on(w);
	w->failures++;
	return wait_in(w, READ_LATER, in->random, now);
}

static struct vigia__action on_letter(struct vigia__stepper *w, const struct vigia__input *in)
{
	assert(w->phase == READING && in->seq_num > 0);
	w->failures = 0;
	if (w->seek_wanted || w->stop_wanted) return go_on(w);
	w->letter = in->seq_num;
	w->letter_attempts = in->attempts;
	return handle_letter(w);
}

static struct vigia__action on_handled(struct vigia__stepper *w, const struct vigia__input *in)
{
	assert(w->phase == HANDLING);
	if (!in->dropped) {
		w->processed++;
		w->last_processed = w->letter ? w->letter : w->seqs[w->index];
	}
	if (w->letter) {
		w->letter_handled = !in->dropped;
		return save_letter(w, false);
	}
	if (w->options.transactional && !in->dropped && w->in_tx++ == 0) w->tx_from = w->done;
	if (!w->seek_wanted || w->options.transactional) /* a seek leaves the event, finished or not */
		finish_event(w, in->due);
	return go_on(w);
}

/* Count the current event as skipped and pass it. */
static struct vigia__action give_up(struct vigia__stepper *w)
{
	w->skipped++;
	finish_event(w, false);
	return go_on(w);
}

static struct vigia__action on_failed(struct vigia__stepper *w, const struct vigia__input *in, int64_t now)
{
	assert(w->phase == HANDLING);
	w->failed++;
	if (w->letter) return save_letter(w, true);
	if (w->seek_wanted || w->stop_wanted) return go_on(w);
	if (in->permanent && w->options.on_damage == VIGIA_DAMAGE_SKIP) return give_up(w);
	if (in->permanent) {
		w->stuck = w->seqs[w->index];
		w->stop_wanted = true;
		w->state = VIGIA_STOPPING;
		return go_on(w);
	}
	w->failures++;
	bool last = w->failures >= w->options.max_retries;
	if (last && w->options.retry_strategy == VIGIA_RETRY_SKIP) return give_up(w);
	if (last && w->options.retry_strategy == VIGIA_RETRY_DEAD_LETTER) {
		w->aside = true;
		return go_on(w);
	}
	struct vigia__action wait = wait_in(w, HANDLE_LATER, in->random, now);
	if (w->in_tx == 0) return wait;
	w->retry_after_save = true;
	return go_on(w);
}

static struct vigia__action on_deferred(struct vigia__stepper *w, const struct vigia__input *in)
{
	assert(w->phase == HANDLING);
	bool commits = in->due && w->in_tx > 0;
	w->save_due |= commits;
	if (w->seek_wanted || w->stop_wanted || commits) {
		w->letter = 0;
		return go_on(w);
	}
	return w->letter ? handle_letter(w) : handle(w);
}

static struct vigia__action on_conflict(struct vigia__stepper *w)
{
	assert(w->options.transactional && (w->phase == HANDLING || (w->phase == SAVING && !w->saving_seek)));
	take_back(w);
	return w->seek_wanted || w->stop_wanted ? go_on(w) : read_on(w);
}

static struct vigia__action on_saved(struct vigia__stepper *w)
{
	assert(w->phase == SAVING);
	bool is_letter = w->letter > 0, is_aside = w->aside && w->in_tx == 0;
	if (!w->retry_after_save && (!w->aside || is_aside)) w->failures = 0;
	w->in_tx = w->lost_saves = 0;
	if (is_letter) {
		w->letter = 0;
		w->letter_handled = false;
		return w->seek_wanted || w->stop_wanted ? go_on(w) : read_on(w);
	}
	if (is_aside) {
		w->aside = false;
		w->dead_lettered++;
		finish_event(w, false);
		if (w->options.checkpoint == VIGIA_CHECKPOINT_MANUAL) return go_on(w);
	}
	if (w->saving_seek) {
		w->saved = w->saving;
		return land(w, w->saving);
	}
	if (w->saving > w->saved) w->saved = w->saving;
	return go_on(w);
}

static struct vigia__action on_save_failed(struct vigia__stepper *w, const struct vigia__input *in, int64_t now)
{
	bool reads = w->phase == HANDLING; /* the handler's transaction could not */
	assert(w->phase == SAVING || (reads && w->options.transactional));
	bool ends = w->seek_wanted || w->stop_wanted;
	if (reads && ends) return on_conflict(w);
	bool lost = reads || w->letter > 0 || (w->in_tx > 0 && (!in->in_doubt || ends)) || (w->aside && ends);
	if (lost) take_back(w);
	if (w->seek_wanted) /* newer than the save that failed */
		return go_on(w);
	if (w->stop_wanted) /* one try. The driver has the error */
		return stopped(w);
	if (lost || w->in_tx > 0 || w->aside) { /* the failures of the event in hand are others */
		uint64_t failures = w->failures;
		w->failures = ++w->lost_saves;
		struct vigia__action wait = wait_in(w, lost ? READ_LATER : SAVE_LATER, in->random, now);
		w->failures = failures;
		return wait;
	}
	if (w->saving_seek) {
		w->seek_wanted = true;
		w->seek_to = w->saving;
	}
	w->failures++;
	return wait_in(w, SAVE_LATER, in->random, now);
}

static struct vigia__action on_wake(struct vigia__stepper *w)
{
	if (w->phase == LISTENING) return read_on(w);
	return waits(w) ? wait_again(w) : none();
}

static struct vigia__action on_tick(struct vigia__stepper *w, int64_t now)
{
	if (!waits(w)) return none();
	if (now < w->retry_mono_ns) return wait_again(w);
	if (w->phase == READ_LATER) return read_on(w);
	if (w->phase == SAVE_LATER) return go_on(w);
	w->retried++;
	return handle(w);
}

static struct vigia__action on_stop(struct vigia__stepper *w)
{
	if (w->stop_wanted || (w->state == VIGIA_STOPPED && w->phase == REST)) return none();
	w->stop_wanted = true;
	w->state = VIGIA_STOPPING;
	return busy(w) ? none() : go_on(w);
}

static struct vigia__action on_seek(struct vigia__stepper *w, const struct vigia__input *in)
{
	w->seek_wanted = true;
	w->seek_to = in->seq_num;
	w->failures = w->stuck = w->tried_seq = 0; /* the seek leaves the failed event */
	return busy(w) ? none() : go_on(w);
}

static struct vigia__action on_reread(struct vigia__stepper *w)
{
	bool commits_later = w->phase == SAVE_LATER && (w->in_tx > 0 || w->aside);
	if (w->phase != HANDLING && w->phase != HANDLE_LATER && w->phase != LISTENING && !commits_later)
		return waits(w) ? wait_again(w) : none();
	if (w->seek_wanted || w->stop_wanted) return go_on(w);
	w->tried_seq = w->letter = 0;
	w->retry_after_save = false;
	if (w->aside && w->in_tx == 0) return wait_again(w); /* it may be stored as a letter already */
	w->aside = false;
	w->failures = 0;
	if (w->in_tx == 0) return read_on(w);
	w->reread_after_save = true;
	return commits_later ? wait_again(w) : go_on(w);
}

static struct vigia__action on_retry(struct vigia__stepper *w)
{
	if (w->phase != HANDLE_LATER) return waits(w) ? wait_again(w) : none();
	w->retried++;
	return handle(w);
}

/* ---- The door ---- */

void vigia__stepper_init(struct vigia__stepper *stepper, const struct vigia__stepper_options *options)
{
	memset(stepper, 0, sizeof *stepper);
	stepper->options = *options;
}

struct vigia__action vigia__stepper_step(struct vigia__stepper *stepper, const struct vigia__input *input,
                                         int64_t now_mono_ns)
{
	switch (input->kind) {
	case VIGIA_INPUT_START:
		return on_start(stepper, input);
	case VIGIA_INPUT_BATCH:
		return on_batch(stepper, input);
	case VIGIA_INPUT_FETCH_FAILED:
		return on_fetch_failed(stepper, input, now_mono_ns);
	case VIGIA_INPUT_LETTER:
		return on_letter(stepper, input);
	case VIGIA_INPUT_HANDLED:
		return on_handled(stepper, input);
	case VIGIA_INPUT_FAILED:
		return on_failed(stepper, input, now_mono_ns);
	case VIGIA_INPUT_DEFERRED:
		return on_deferred(stepper, input);
	case VIGIA_INPUT_CONFLICT:
		return on_conflict(stepper);
	case VIGIA_INPUT_SAVED:
		return on_saved(stepper);
	case VIGIA_INPUT_SAVE_FAILED:
		return on_save_failed(stepper, input, now_mono_ns);
	case VIGIA_INPUT_WAKE:
		return on_wake(stepper);
	case VIGIA_INPUT_TICK:
		return on_tick(stepper, now_mono_ns);
	case VIGIA_INPUT_STOP:
		return on_stop(stepper);
	case VIGIA_INPUT_SEEK:
		return on_seek(stepper, input);
	case VIGIA_INPUT_RETRY:
		return on_retry(stepper);
	case VIGIA_INPUT_REREAD:
		return on_reread(stepper);
	}
	/* GCOVR_EXCL_START: all inputs of the enum are above. */
	assert(!"an input of the enum");
	return none();
	/* GCOVR_EXCL_STOP */
}

const char *vigia__stepper_misfit(const struct vigia__stepper *w, const struct vigia__input *in)
{
	uint64_t seen = before(w->next), reached = before(in->next);
	if (!resolved(in->next)) return "the next iterator is not resolved";
	if (reached < seen) return "the next iterator is before the start of the read";
	if (in->gone > reached - seen) return "the next iterator is among removed events";
	for (size_t i = 0; i < in->count; i++) {
		if (in->seqs[i] <= seen || in->seqs[i] > INT64_MAX)
			return "the events are not in order, or are before the start of the read";
		seen = in->seqs[i];
	}
	return reached < seen ? "the next iterator is before the last event" : NULL;
}

struct vigia_iterator vigia__stepper_position(const struct vigia__stepper *stepper)
{
	return stepper->count > 0 ? vigia__iterator_after(stepper->done) : stepper->next;
}

uint64_t vigia__stepper_blocked(const struct vigia__stepper *stepper)
{
	if (stepper->stuck) return stepper->stuck;
	bool in_hand =
		stepper->phase == HANDLING || stepper->phase == HANDLE_LATER || stepper->retry_after_save || stepper->aside;
	bool blocked = stepper->failures > 0 && in_hand;
	return blocked ? stepper->seqs[stepper->index] : 0;
}

uint64_t vigia__stepper_waits_for(const struct vigia__stepper *stepper)
{
	return stepper->phase == HANDLE_LATER ? stepper->seqs[stepper->index] : 0;
}

bool vigia__stepper_saves_later(const struct vigia__stepper *stepper)
{
	return stepper->phase == SAVE_LATER;
}
