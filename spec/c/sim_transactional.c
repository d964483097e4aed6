/*
 * sim_transactional.c - random schedules over the step function of a transactional watcher, with a model of its store.
 *
 *     sim_transactional [schedules [seed]]
 *
 * 20000 schedules from seed 1 if nothing is said, two million with VIGIA_SOAK set. Schedule i runs from seed + i: it
 * appends events, some of which the filter drops, lets handlers succeed, fail, find a conflict or find the transaction
 * full, lets commits succeed, fail, conflict or be in doubt, stops, starts, seeks, reloads and crashes. The store of
 * the model keeps what was committed: the checkpoint, and the effect of each event. At the end the faults are turned
 * off and the watcher must reach the last event. On failure it prints the seed, and runs that schedule again
 * with every step shown.
 *
 * What is checked:
 *   E1  each event's effect is committed once for each time that the watcher came by it: not twice without a seek back
 *   E2  a commit holds the effects of all events wanted between the checkpoint before and the one it saves, in order,
 *       but for those that were given up
 *   E3  a transaction holds events of one batch, and is committed when it is due, before a retry waits, and before a
 *       stop or a seek
 *   E4  a conflict is no attempt: attempts go on counting behind it, and skip gives up after max_retries
 *   E5  `processed` counts what was committed and what is in the transaction
 *   E6  a commit in doubt is followed by the same commit
 *   E7  with the faults off it reaches the end
 *   E8  an event that failed too often becomes a letter in the commit that passes it, after what was handled before it.
 *       A letter that is retried has its effect when it goes, and one attempt more when it stays
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

enum { EVENTS_MAX = 60, STEPS_MAX = 200, TOLD = 100000 };

struct world {
	struct rng rng;
	int64_t now;
	bool faults;
	int fail_percent;

	/* the store */
	uint64_t latest;
	bool wanted[EVENTS_MAX + 1];
	uint64_t checkpoint;
	unsigned effects[EVENTS_MAX + 1]; /* committed */
	unsigned passes[EVENTS_MAX + 1];  /* how often the checkpoint went past it with its effect wanted */
	bool given_up[EVENTS_MAX + 1];    /* since the checkpoint was before it */
	uint64_t letters[EVENTS_MAX + 1]; /* attempts of an event that was put aside. 0: it was not */
	bool retried[EVENTS_MAX + 1];     /* it is to be handled again */

	/* the driver */
	struct vigia__stepper w;
	struct vigia__stepper_options options;
	struct vigia__action action;
	uint64_t batch[EVENTS_MAX];
	size_t batch_size;

	/* the transaction */
	uint64_t in_tx[EVENTS_MAX];
	size_t in_tx_count;
	bool due;
	bool in_doubt, doubt_stored; /* the last commit, and whether it happened */
	uint64_t doubt_seq;

	/* the model */
	uint64_t tried, tries;     /* the event in hand, and how often it failed */
	uint64_t kept, kept_tries; /* the same of one whose transaction was lost */
	uint64_t committed;        /* events, since the watcher was made */
	uint64_t aside;            /* an event that is to be put aside. 0: none */
	bool letter_handled;       /* the letter in hand succeeded, and is not saved yet */
	bool stop_wanted, seek_wanted;
	uint64_t seek_to;
};

static uint64_t current_seed;
static bool tracing;

static void schedule(uint64_t seed);

static void broken(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("sim_transactional: ", stderr);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	if (!tracing) {
		tracing = true;
		schedule(current_seed);
	}
	fprintf(stderr, "sim_transactional: failed with seed %" PRIu64 "; again: sim_transactional 1 %" PRIu64 "\n",
	        current_seed, current_seed);
	_exit(1);
}

#define CHECK(condition, ...) ((condition) ? (void)0 : broken(__VA_ARGS__))

static void on_abort(int sig)
{
	broken("an assertion failed");
}

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

static bool under_way(const struct world *s)
{
	return s->action.kind == VIGIA_ACTION_READ || s->action.kind == VIGIA_ACTION_HANDLE ||
	       s->action.kind == VIGIA_ACTION_SAVE;
}

static void tell(struct world *s, struct vigia__input in)
{
	in.random = rnd(s);
	struct vigia__action a = vigia__stepper_step(&s->w, &in, s->now);
	if (tracing)
		fprintf(stderr,
		        "%6" PRId64 " input %d (count %zu%s) -> action %d (%" PRIu64 ", attempt %" PRIu64 "); done %" PRIu64
		        ", in the transaction %" PRIu64 ", checkpoint %" PRIu64 "\n",
		        s->now, in.kind, in.count, in.due ? ", due" : "", a.kind, a.seq_num, a.attempt, s->w.done, s->w.in_tx,
		        s->checkpoint);
	if (a.kind == VIGIA_ACTION_NONE) return;
	CHECK(!under_way(s), "an action begins while another is under way");
	s->action = a;
	bool commits = a.kind == VIGIA_ACTION_SAVE && !a.backwards && !a.letter && !a.aside;
	if (a.kind == VIGIA_ACTION_SAVE && a.aside) {
		CHECK(s->in_tx_count == 0, "E8: puts aside before what was handled is committed");
		CHECK(s->aside == s->batch[a.index] && a.attempt >= s->options.max_retries, "E8: puts another event aside");
		CHECK(s->w.done < s->aside, "E8: passes event %" PRIu64 " before it is put aside", s->aside);
	}
	if (a.kind == VIGIA_ACTION_HANDLE || a.kind == VIGIA_ACTION_READ || a.kind == VIGIA_ACTION_LISTEN)
		CHECK(s->aside == 0, "E8: goes on before event %" PRIu64 " is put aside", s->aside);
	CHECK(s->in_tx_count == 0 || commits || a.kind == VIGIA_ACTION_HANDLE || s->in_doubt,
	      "E3: action %d leaves the transaction open", a.kind);
	CHECK(!s->due || a.kind != VIGIA_ACTION_HANDLE, "E3: goes on although the commit is due");
	CHECK(!s->in_doubt || (commits && a.seq_num == s->doubt_seq) || a.kind == VIGIA_ACTION_WAIT,
	      "E6: the commit of %" PRIu64 " is in doubt, and not looked at", s->doubt_seq);
	if (a.kind == VIGIA_ACTION_HANDLE && a.letter) {
		CHECK(a.attempt == s->letters[a.seq_num] + 1, "E8: attempt %" PRIu64 " of letter %" PRIu64, a.attempt,
		      a.seq_num);
		CHECK(!s->stop_wanted && !s->seek_wanted, "handles a letter after a stop or a seek");
	} else if (a.kind == VIGIA_ACTION_HANDLE) {
		uint64_t n = s->w.seqs[a.index];
		if (s->tried != n) s->tries = s->kept == n ? s->kept_tries : 0;
		s->tried = n;
		CHECK(a.attempt == s->tries + 1, "E4: attempt %" PRIu64 " of event %" PRIu64 ", expected %" PRIu64, a.attempt,
		      n, s->tries + 1);
		CHECK(!s->stop_wanted && !s->seek_wanted, "handles after a stop or a seek");
	}
	if (a.kind == VIGIA_ACTION_STOPPED) s->stop_wanted = false;
	CHECK(s->w.processed == s->committed + s->in_tx_count + s->letter_handled, "E5: processed is %" PRIu64,
	      s->w.processed);
}

/* ---- the store ---- */

/* The checkpoint moves on, with what the transaction did. */
static void commit(struct world *s, uint64_t seq_num)
{
	size_t at = 0;
	for (uint64_t n = s->checkpoint + 1; n <= seq_num; n++) {
		if (!s->wanted[n] || s->given_up[n]) continue;
		CHECK(at < s->in_tx_count && s->in_tx[at] == n, "E2: the commit of %" PRIu64 " lacks event %" PRIu64, seq_num,
		      n);
		at++;
		s->passes[n]++;
		s->effects[n]++;
	}
	CHECK(at == s->in_tx_count, "E2: the commit of %" PRIu64 " holds an event beyond it or done before", seq_num);
	s->checkpoint = seq_num;
}

static void forget_transaction(struct world *s)
{
	s->in_tx_count = 0;
	s->due = false;
}

/* Its effects are lost: what was given up meanwhile is to be tried again as well. */
static void lose_transaction(struct world *s)
{
	s->aside = 0;
	if (s->tries > 0) {
		s->kept = s->tried;
		s->kept_tries = s->tries;
	}
	s->tried = s->tries = 0;
	if (s->in_tx_count == 0) return;
	for (uint64_t n = s->in_tx[0]; n <= s->latest; n++) s->given_up[n] = false;
	forget_transaction(s);
}

/* ---- outcomes ---- */

static void end_read(struct world *s)
{
	struct vigia__input in = {.kind = VIGIA_INPUT_BATCH, .seqs = s->batch, .next = s->action.from};
	s->action.kind = VIGIA_ACTION_NONE;
	CHECK(s->in_tx_count == 0, "E3: reads while the transaction is open");
	if (fault(s)) {
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_FETCH_FAILED});
		return;
	}
	for (uint64_t letter = 1; letter <= s->latest; letter++) {
		if (!s->retried[letter]) continue;
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_LETTER, .seq_num = letter, .attempts = s->letters[letter]});
		return;
	}
	uint64_t n = vigia__iterator_first(in.next), until = n + 1 + below(s, 12);
	for (; n <= s->latest && n < until && in.count < s->batch_size; n++) {
		if (s->wanted[n]) s->batch[in.count++] = n;
		in.next = vigia__iterator_after(n);
	}
	tell(s, in);
}

static void end_letter_handler(struct world *s)
{
	s->action.kind = VIGIA_ACTION_NONE;
	if (s->faults && percent(s, 8)) tell(s, (struct vigia__input){.kind = VIGIA_INPUT_CONFLICT});
	else if (percent(s, 8)) tell(s, (struct vigia__input){.kind = VIGIA_INPUT_DEFERRED});
	else if (fault(s)) tell(s, (struct vigia__input){.kind = VIGIA_INPUT_FAILED, .permanent = percent(s, 10)});
	else {
		s->letter_handled = true;
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_HANDLED});
	}
}

static void end_handler(struct world *s)
{
	uint64_t n = s->action.seq_num;
	bool dropped = percent(s, 10), permanent = percent(s, 10);
	s->action.kind = VIGIA_ACTION_NONE;
	if (s->faults && percent(s, 8)) {
		lose_transaction(s);
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_CONFLICT});
	} else if (percent(s, 8)) {
		s->due = percent(s, 50) && s->in_tx_count > 0;
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_DEFERRED, .due = s->due});
	} else if (!fault(s)) {
		if (!dropped) s->in_tx[s->in_tx_count++] = n;
		else s->given_up[n] = true;
		s->tries = 0;
		if (s->kept == n) s->kept = 0;
		s->due = percent(s, 20) && s->in_tx_count > 0;
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_HANDLED, .dropped = dropped, .due = s->due});
	} else {
		bool wished = s->stop_wanted || s->seek_wanted;
		if (!wished && !permanent) s->tries++;
		bool skips = permanent ? s->options.on_damage == VIGIA_DAMAGE_SKIP
		                       : s->options.retry_strategy == VIGIA_RETRY_SKIP && s->tries >= s->options.max_retries;
		if (skips && !wished) {
			s->given_up[n] = true;
			s->tries = 0;
			if (s->kept == n) s->kept = 0;
		} else if (permanent && !wished) s->stop_wanted = true;
		else if (!wished && s->options.retry_strategy == VIGIA_RETRY_DEAD_LETTER && s->tries >= s->options.max_retries)
			s->aside = n;
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_FAILED, .permanent = permanent});
	}
}

static void end_commit(struct world *s, uint64_t seq_num)
{
	bool looks = s->in_doubt, happened = looks && s->doubt_stored;
	if (looks && fault(s)) { /* it is not known still */
		bool lost = s->stop_wanted || s->seek_wanted;
		s->in_doubt = !lost;
		if (lost) forget_transaction(s);
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_SAVE_FAILED, .in_doubt = true});
		return;
	}
	s->in_doubt = false;
	if (!looks && fault(s) && percent(s, 60)) {
		bool in_doubt = percent(s, 50), lost = !in_doubt || s->stop_wanted || s->seek_wanted;
		s->doubt_stored = in_doubt && percent(s, 50);
		s->doubt_seq = seq_num;
		uint64_t count = s->in_tx_count;
		if (s->doubt_stored) commit(s, seq_num);
		if (!s->doubt_stored && lost) lose_transaction(s);
		else if (lost) forget_transaction(s);
		s->in_doubt = !lost;
		(void)count;
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_SAVE_FAILED, .in_doubt = in_doubt});
		return;
	}
	if ((looks && !happened) || (!looks && s->faults && percent(s, 10))) {
		lose_transaction(s);
		tell(s, (struct vigia__input){.kind = VIGIA_INPUT_CONFLICT});
		return;
	}
	if (!looks) commit(s, seq_num);
	s->committed += s->in_tx_count;
	forget_transaction(s);
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_SAVED});
}

/* The event of s->aside becomes a letter. It may be stored although the save fails. */
static void end_aside(struct world *s, const struct vigia__action *save)
{
	bool fails = fault(s), happens = !fails || percent(s, 30);
	uint64_t n = s->aside;
	if (happens) {
		s->letters[n] = save->attempt;
		s->retried[n] = percent(s, 50);
		s->given_up[n] = true;
		if (s->kept == n) s->kept = 0;
		if (save->seq_num > s->checkpoint) commit(s, save->seq_num);
	}
	bool ends = s->stop_wanted || s->seek_wanted;
	if (fails && ends) lose_transaction(s);
	if (!fails) s->aside = s->tries = 0;
	tell(s, (struct vigia__input){.kind = fails ? VIGIA_INPUT_SAVE_FAILED : VIGIA_INPUT_SAVED,
	                              .in_doubt = percent(s, 50)});
}

static void end_letter(struct world *s, const struct vigia__action *save)
{
	uint64_t n = save->seq_num;
	bool conflicts = s->faults && percent(s, 10), fails = fault(s);
	CHECK(save->failed == !s->letter_handled, "E8: a letter's outcome is another one");
	if (!conflicts && !fails) {
		if (save->failed) s->letters[n]++;
		else {
			s->letters[n] = 0;
			s->effects[n]++;
			s->passes[n]++;
			s->committed++;
		}
		s->retried[n] = false;
	}
	s->letter_handled = false;
	enum vigia__input_kind told = conflicts ? VIGIA_INPUT_CONFLICT
	                              : fails   ? VIGIA_INPUT_SAVE_FAILED
	                                        : VIGIA_INPUT_SAVED;
	tell(s, (struct vigia__input){.kind = told});
}

static void end_save(struct world *s)
{
	struct vigia__action save = s->action;
	s->action.kind = VIGIA_ACTION_NONE;
	if (save.aside) {
		end_aside(s, &save);
		return;
	}
	if (save.letter) {
		end_letter(s, &save);
		return;
	}
	CHECK(save.backwards || save.seq_num == s->w.done, "E2: saves %" PRIu64 ", done is %" PRIu64, save.seq_num,
	      s->w.done);
	if (s->w.in_tx > 0) {
		CHECK(!save.backwards, "E3: a seek is saved before the commit");
		end_commit(s, save.seq_num);
		return;
	}
	CHECK(s->in_tx_count == 0, "E3: saves beside the transaction");
	bool fails = fault(s);
	if (!fails) {
		if (save.backwards) { /* what lies behind is to be done once more */
			for (uint64_t n = save.seq_num + 1; n <= s->latest; n++) {
				s->passes[n] = s->effects[n] = s->letters[n] = 0;
				s->given_up[n] = s->retried[n] = false;
			}
			s->seek_wanted = false;
			s->checkpoint = save.seq_num;
		} else commit(s, save.seq_num);
	}
	tell(s, (struct vigia__input){.kind = fails ? VIGIA_INPUT_SAVE_FAILED : VIGIA_INPUT_SAVED});
	if (fails && save.backwards && s->w.state != VIGIA_RUNNING) s->seek_wanted = false;
}

static void end_action(struct world *s)
{
	if (s->action.kind == VIGIA_ACTION_READ) end_read(s);
	else if (s->action.kind == VIGIA_ACTION_HANDLE && s->action.letter) end_letter_handler(s);
	else if (s->action.kind == VIGIA_ACTION_HANDLE) end_handler(s);
	else end_save(s);
}

/* ---- from outside ---- */

static bool runs(const struct world *s)
{
	return s->w.state == VIGIA_RUNNING || s->w.state == VIGIA_STOPPING;
}

static void start(struct world *s)
{
	if (runs(s) || under_way(s) || s->action.kind == VIGIA_ACTION_WAIT) return;
	s->w.saved = s->checkpoint;
	for (uint64_t n = s->checkpoint + 1; n <= s->latest; n++) s->given_up[n] = false;
	s->tried = s->tries = s->kept = s->aside = 0;
	tell(s, (struct vigia__input){
				.kind = VIGIA_INPUT_START, .next = vigia__iterator_after(s->checkpoint), .seq_num = s->checkpoint});
}

static void stop(struct world *s)
{
	if (s->w.state != VIGIA_RUNNING) return;
	s->stop_wanted = true;
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_STOP});
}

/* Only while it runs: sim_stepper.c has seeks at rest. */
static void seek(struct world *s)
{
	if (s->w.state != VIGIA_RUNNING || s->in_doubt) return;
	s->seek_wanted = true;
	s->seek_to = below(s, s->latest + 1);
	if (s->action.kind != VIGIA_ACTION_SAVE || !s->action.aside) s->aside = 0;
	s->tried = s->tries = s->kept = 0;
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_SEEK, .seq_num = s->seek_to});
}

static void reload(struct world *s)
{
	if (under_way(s) || !runs(s) || s->stop_wanted || s->seek_wanted) return;
	if (s->action.kind == VIGIA_ACTION_LISTEN || s->in_doubt || vigia__stepper_blocked(&s->w) > 0) s->kept = 0;
	if (s->kept == 0 && (s->aside == 0 || s->in_tx_count > 0)) s->tried = s->tries = s->aside = 0;
	tell(s, (struct vigia__input){.kind = VIGIA_INPUT_REREAD});
}

/* The process dies. A commit under way may have happened. */
static void crash(struct world *s)
{
	bool commits = s->action.kind == VIGIA_ACTION_SAVE && !s->action.backwards && !s->in_doubt && s->in_tx_count > 0;
	if (commits && percent(s, 50)) commit(s, s->action.seq_num);
	for (uint64_t n = s->checkpoint + 1; n <= s->latest; n++) s->given_up[n] = false;
	forget_transaction(s);
	vigia__stepper_init(&s->w, &s->options);
	s->action.kind = VIGIA_ACTION_NONE;
	s->in_doubt = s->stop_wanted = s->seek_wanted = s->letter_handled = false;
	s->tried = s->tries = s->kept = s->committed = s->aside = 0;
}

static void append(struct world *s)
{
	for (uint64_t n = 1 + below(s, 4); n > 0 && s->latest < EVENTS_MAX; n--) s->wanted[++s->latest] = percent(s, 70);
}

/* All letters are to be handled again. */
static void retry_letters(struct world *s)
{
	for (uint64_t n = 1; n <= s->latest; n++) s->retried[n] = s->letters[n] > 0;
}

static void one_step(struct world *s)
{
	if (under_way(s) && percent(s, 70)) {
		end_action(s);
		return;
	}
	uint64_t dice = below(s, 100);
	s->now += (int64_t)below(s, 60);
	if (dice < 25) append(s);
	else if (dice < 60) tell(s, (struct vigia__input){.kind = VIGIA_INPUT_TICK});
	else if (dice < 80) tell(s, (struct vigia__input){.kind = VIGIA_INPUT_WAKE});
	else if (dice < 83) stop(s);
	else if (dice < 86) seek(s);
	else if (dice < 90) reload(s);
	else if (dice < 92) crash(s);
	else if (dice < 94) retry_letters(s);
	else start(s);
	for (uint64_t n = 1; n <= s->latest; n++)
		CHECK(s->effects[n] == s->passes[n] && s->effects[n] <= 1, "E1: event %" PRIu64 " has %u effects", n,
		      s->effects[n]);
}

static void finish(struct world *s)
{
	s->faults = false;
	for (int i = 0; i < EVENTS_MAX * 20 && !(s->action.kind == VIGIA_ACTION_LISTEN && s->w.done == s->latest); i++) {
		s->now += 1000;
		if (under_way(s)) end_action(s);
		else if (!runs(s)) start(s);
		else
			tell(s, (struct vigia__input){.kind = s->action.kind == VIGIA_ACTION_WAIT ? VIGIA_INPUT_TICK
			                                                                          : VIGIA_INPUT_WAKE});
	}
	CHECK(s->w.done == s->latest && s->in_tx_count == 0, "E7: done is %" PRIu64 " of %" PRIu64, s->w.done, s->latest);
	for (uint64_t n = 1; n <= s->checkpoint; n++)
		CHECK(s->effects[n] == (s->passes[n] > 0), "E1: event %" PRIu64 " has %u effects", n, s->effects[n]);
}

static void schedule(uint64_t seed)
{
	struct world world = {.rng = {seed}, .faults = true}, *s = &world;
	static const int fail_percents[] = {0, 10, 30, 60};
	s->fail_percent = fail_percents[below(s, 4)];
	s->options = (struct vigia__stepper_options){
		.backoff = {.initial_ns = 1 + (int64_t)below(s, 50), .max_ns = 100},
		.max_retries = 1 + below(s, 3),
		.retry_strategy = (int)below(s, 3),
		.on_damage = percent(s, 50) ? VIGIA_DAMAGE_SKIP : VIGIA_DAMAGE_STOP,
		.transactional = true,
	};
	s->batch_size = 1 + below(s, 6);
	append(s);
	vigia__stepper_init(&s->w, &s->options);
	uint64_t steps = 20 + below(s, STEPS_MAX - 20);
	for (uint64_t i = 0; i < steps; i++) one_step(s);
	finish(s);
}

int main(int argc, char **argv)
{
	uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : getenv("VIGIA_SOAK") ? 2000000 : 20000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	signal(SIGABRT, on_abort);
	for (uint64_t i = 0; i < count;) {
		uint64_t first = seed + i, some = count - i < TOLD ? count - i : TOLD;
		for (uint64_t n = 0; n < some; n++, i++) {
			current_seed = seed + i;
			schedule(current_seed);
		}
		printf("# simulated transactional watcher: %" PRIu64 " schedules from seed %" PRIu64 "\n", some, first);
		fflush(stdout);
	}
	return 0;
}
