/*
 * stepper.h - ONE WATCHER AS A STEP FUNCTION: (state, what just happened, now) -> what to do next.
 *
 * It decides everything and does nothing: no thread, clock, disk or Lua. The driver (drive/driver_run.c, or the
 * simulator in the specs) carries out the action and tells the outcome as the next input:
 *
 *     action                 outcome to tell
 *     READ                   BATCH or FETCH_FAILED
 *     HANDLE                 HANDLED or FAILED; DEFERRED if it was not begun
 *     SAVE                   SAVED or SAVE_FAILED
 *     LISTEN                 WAKE when an event may have come; the driver listens from before the read on (wake.h:
 *                            prepare, look, wait), so that an event stored behind the read is not lost
 *     WAIT                   TICK when `until_mono_ns` has come
 *     NONE                   nothing to do: an earlier action is still under way, or the watcher rests
 *     STOPPED                returned once, when the watcher becomes stopped; the end until START
 *
 * READ, HANDLE and SAVE are under way one at a time, ever. Until the outcome is told, STOP, SEEK, WAKE and TICK are
 * followed by NONE; what they want comes with the outcome. LISTEN and WAIT need no outcome: the next action replaces
 * them. These four inputs fit always.
 *
 * Invariants: events are handled in order, each until it succeeds or is given up; `done` never passes an event that was
 * neither, and passes what the filter dropped; after STOP or SEEK no handler starts; a seek acts when the handler in
 * progress returns.
 *
 * A BATCH says how many numbers were removed where the read began (`gone`). They are counted as missed, each once
 * however often it is met, and passed; on_gap STOP: the watcher stops before them (`stuck` is the first). What lies
 * before a seek was left behind, not missed.
 *
 * A failure that is permanent is not retried. on_damage STOP: the watcher stops by itself, as if told to (`stuck` says
 * at which event; it is not finished); SKIP: the event is given up at once.
 *
 * STOP    An idle watcher, or one that waits or listens, acts at once; else it acts when the outcome comes (a handler's
 *         failure is then counted, not retried). A save that is due gets one try: after SAVE_FAILED the watcher is
 *         stopped all the same, and the driver has the error.
 * SEEK    Acts when STOP would: SAVE (backwards) and, once SAVED, READ from behind it; until then `done` stays where it
 *         was. The last one wins. SAVE_FAILED is retried with backoff. With a STOP as well the seek is still saved (one
 *         try): STOPPED. While idle or stopped: SAVE at once, and NONE once SAVED. A START meanwhile makes the watcher
 *         run, and it goes on behind the seek, not at START's `next`. An ephemeral watcher moves without SAVE; while
 *         idle or stopped that returns NONE, and the driver STARTs it at vigia__stepper_position().
 * REREAD  From a HANDLE that was not begun, a wait for another attempt, and LISTEN: READ from behind what was handled.
 *         The event in hand counts as not tried yet. Otherwise it changes nothing: NONE, or the WAIT that is under way.
 *
 * One thread at a time.
 */
#ifndef VIGIA_CORE_STEPPER_H
#define VIGIA_CORE_STEPPER_H

#include "backoff.h"
#include "iterator.h"

enum vigia__input_kind {
	VIGIA_INPUT_START, /* from idle or stopped: begin at `next` */
	VIGIA_INPUT_BATCH, /* the read gave `count` events (`seqs`), the next read starts at `next` */
	VIGIA_INPUT_FETCH_FAILED,
	VIGIA_INPUT_HANDLED,  /* or looked at and not wanted (`dropped`) */
	VIGIA_INPUT_FAILED,   /* `permanent`: another attempt would fail alike */
	VIGIA_INPUT_DEFERRED, /* the handler was not begun, for want of time; a request that came meanwhile goes first */
	VIGIA_INPUT_SAVED,
	VIGIA_INPUT_SAVE_FAILED,
	VIGIA_INPUT_WAKE, /* something may have been appended */
	VIGIA_INPUT_TICK, /* time passed */
	VIGIA_INPUT_STOP,
	VIGIA_INPUT_SEEK,  /* go on behind `seq_num` */
	VIGIA_INPUT_REREAD /* the handler or the filter is another one: forget what was fetched ahead, and what was in
	                      trouble */
};

struct vigia__input {
	enum vigia__input_kind kind;
	struct vigia_iterator next; /* START, BATCH; at or after, never before the last one */
	const uint64_t *seqs;       /* BATCH: borrowed until the batch is used up */
	size_t count;               /* BATCH */
	uint64_t gone;    /* BATCH: so many numbers from where the read began on were removed; `next` is behind them */
	uint64_t seq_num; /* SEEK; START: where `done` stands (the checkpoint), 0 = nothing; not beyond `next` */
	bool sought;      /* START: a seek brought it to `next`, or it begins at the trim horizon: what lies before was not
	                     missed */
	bool dropped;     /* HANDLED: no handler ran: passed, but not counted as processed */
	bool permanent;   /* FAILED: the event's bytes are bad; `on_damage` decides, not `retry_strategy` */
	uint64_t random;  /* FAILED, FETCH_FAILED, SAVE_FAILED: 64 bits for the jitter */
};

enum vigia__action_kind {
	VIGIA_ACTION_NONE,
	VIGIA_ACTION_READ,   /* fetch up to batch_size from `from`, without waiting */
	VIGIA_ACTION_HANDLE, /* run the handler on event `index` of the batch, number `seq_num`; `attempt` from 1 */
	VIGIA_ACTION_SAVE,   /* save checkpoint `seq_num` durably; `backwards`: a seek, also if it moves back */
	VIGIA_ACTION_LISTEN, /* wait for an event after `from` */
	VIGIA_ACTION_WAIT,   /* wait until `until_mono_ns` */
	VIGIA_ACTION_STOPPED
};

struct vigia__action {
	enum vigia__action_kind kind;
	struct vigia_iterator from;
	size_t index;
	uint64_t attempt;
	uint64_t seq_num;
	bool backwards;
	int64_t until_mono_ns;
};

struct vigia__stepper_options {
	struct vigia__backoff backoff;
	uint64_t max_retries; /* attempts in all, for SKIP */
	int retry_strategy;   /* enum vigia_retry_strategy */
	int on_gap;           /* enum vigia_on_gap */
	int on_damage;        /* enum vigia_on_damage */
	int checkpoint;       /* enum vigia_checkpoint_mode */
	bool ephemeral;
};

struct vigia__stepper {
	struct vigia__stepper_options options;
	enum vigia_watcher_state state;
	int phase; /* what is under way; private */

	/* where it stands */
	struct vigia_iterator next; /* the next read starts here */
	const uint64_t *seqs;       /* the batch in hand */
	size_t count, index;        /* of the batch; the event in hand */
	struct vigia_iterator batch_next;
	uint64_t done;    /* everything up to here was handled, given up or dropped by the filter */
	uint64_t saved;   /* the checkpoint, as far as this watcher knows. SAVED moves it, and the driver: before START to
	                   * what is stored (START lowers one that lies beyond the start), later by its own commits */
	bool save_due;    /* "event" mode: done moved and must be saved before the next event, or before listening */
	uint64_t saving;  /* what is being saved */
	bool saving_seek; /* and whether it is a seek */

	/* trouble */
	uint64_t failures; /* of the event in hand, or of fetches or saves in a row */
	int64_t retry_mono_ns;
	uint64_t stuck; /* the event that it stopped for, 0 = none; until the next START or SEEK */

	/* gaps */
	uint64_t gap;       /* numbers that the last BATCH found missing */
	uint64_t missed_to; /* missing ones up to here are counted */
	bool sought;        /* a seek brought it to where the next read begins */

	/* requests that wait for the handler to return */
	bool stop_wanted;
	bool seek_wanted;
	uint64_t seek_to;

	/* counts for the stats */
	uint64_t processed, failed, retried, skipped, missed, fetch_errors;
	uint64_t last_processed;
};

void vigia__stepper_init(struct vigia__stepper *stepper, const struct vigia__stepper_options *options);
/* Take the input, return what to do next. An input that does not fit is a bug: assert. `now_mono_ns` never goes back;
 * HANDLED and BATCH do not look at it. */
struct vigia__action vigia__stepper_step(struct vigia__stepper *stepper, const struct vigia__input *input,
                                         int64_t now_mono_ns);
/* Why this input would be a bug, or NULL: for a driver that cannot vouch for its inputs. */
const char *vigia__stepper_misfit(const struct vigia__stepper *stepper, const struct vigia__input *input);
/* Where it will look next (W15): after(done), or the resolved start while nothing was looked at. Trim horizon before a
 * START. */
struct vigia_iterator vigia__stepper_position(const struct vigia__stepper *stepper);
/* The event that failed and is being tried again, or waits for it, or for which it stopped; 0 = none. */
uint64_t vigia__stepper_blocked(const struct vigia__stepper *stepper);

#endif
