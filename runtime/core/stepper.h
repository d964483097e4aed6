/*
 * stepper.h - ONE WATCHER AS A STEP FUNCTION: (state, what just happened, now) -> what to do next.
 *
 * It makes every decision and carries out none: no thread, clock, disk or Lua. The driver (drive/driver_run.c, or the
 * simulator in the specs) carries out the action and reports the outcome as the next input:
 *
 *     action                 outcome to report
 *     READ                   BATCH or FETCH_FAILED. LETTER: one of its dead letters is to be handled again
 *     HANDLE                 HANDLED or FAILED. DEFERRED if it was not begun. CONFLICT: of a transactional one
 *     SAVE                   SAVED or SAVE_FAILED. CONFLICT: of a transactional one
 *     LISTEN                 WAKE when an event may have come. The driver listens from before the read on (wake.h:
 *                            prepare, look, wait), so that an event stored behind the read is not lost
 *     WAIT                   TICK when `until_mono_ns` has come
 *     NONE                   nothing to do: an earlier action is still under way, or the watcher rests
 *     STOPPED                returned once, when the watcher becomes stopped. The end until START
 *
 * Only one of READ, HANDLE and SAVE is ever under way. Until its outcome is reported, STOP, SEEK, WAKE and TICK return
 * NONE, and take effect with the outcome. LISTEN and WAIT need no outcome: the next action replaces them. These four
 * inputs are always valid.
 *
 * Invariants: events are handled in order, each until it succeeds or is given up. `done` never passes an event that was
 * neither handled nor given up. It does pass events that the filter dropped. After STOP or SEEK no handler starts. A
 * seek takes effect when the handler in progress returns.
 *
 * A BATCH says how many events were removed where the read began (`gone`). Each is counted as missed once, however
 * often it is reported, and passed. With on_gap STOP the watcher stops before them (`stuck` is the first). Events that
 * a seek jumped over are not missed.
 *
 * A permanent failure is not retried. With on_damage STOP the watcher stops as after a STOP, and `stuck` is the event,
 * which is not finished. With SKIP the event is given up at once.
 *
 * STOP    Takes effect at once while the watcher is idle, waits or listens, otherwise with the outcome (a
 *         handler's failure is then counted, not retried). A save that is due gets one try: after SAVE_FAILED
 *         the watcher stops anyway, and the driver has the error.
 * SEEK    Takes effect when STOP would: SAVE (backwards) and, once SAVED, READ from the number after it. `done`
 *         is unchanged until then. The last SEEK wins. SAVE_FAILED is retried with backoff. Followed by a STOP,
 *         the seek is still saved (one try), then STOPPED. While idle or stopped: SAVE at once, and NONE once
 *         SAVED. A START meanwhile makes the watcher run. It continues after the seek, not at START's `next`.
 *         An ephemeral watcher moves without SAVE. While idle or stopped this returns NONE, and the driver
 *         STARTs it at vigia__stepper_position().
 * A transactional watcher handles events in a transaction, which the driver keeps. A SAVE that is not `backwards`
 * commits it, with the checkpoint. It comes at the end of a batch, when HANDLED or DEFERRED said `due`, before the wait
 * for another attempt, and before a stop or a seek. The driver takes back what a failed event wrote. After a CONFLICT
 * (what the transaction had read was changed) and after SAVE_FAILED the transaction's events are read and handled
 * again; the attempts of one that had failed before go on counting. SAVE_FAILED `in_doubt` (it may be stored) is
 * followed by the same SAVE, for which the driver looks what is stored.
 *
 * With the retry strategy DEAD_LETTER an event that failed max_retries times is put aside: a SAVE with `aside`, which
 * stores it as a letter, and with it the checkpoint, but in manual mode. It is passed once that is SAVED. A letter that
 * is to be handled again comes as the outcome of a READ: HANDLE with `letter`, then SAVE with `letter`, which removes
 * it, or after FAILED (`failed`) keeps it with one more attempt. `done` does not move. Then it READs on.
 *
 * REREAD  After a HANDLE that was not begun, during a wait for another attempt, and while listening: READ after
 *         the last handled event. The current event counts as not tried yet. Otherwise it changes nothing:
 *         NONE, or the WAIT that is under way.
 * RETRY   Ends the wait for another attempt. Otherwise it changes nothing, as REREAD.
 *
 * One thread at a time.
 */
#ifndef VIGIA_CORE_STEPPER_H
#define VIGIA_CORE_STEPPER_H

#include "backoff.h"
#include "iterator.h"

enum vigia__input_kind {
	VIGIA_INPUT_START, /* from idle or stopped: start at `next` */
	VIGIA_INPUT_BATCH, /* the read gave `count` events (`seqs`), the next read starts at `next` */
	VIGIA_INPUT_FETCH_FAILED,
	VIGIA_INPUT_LETTER,   /* number `seq_num`, which has failed `attempts` times */
	VIGIA_INPUT_HANDLED,  /* or dropped by a function filter (`dropped`) */
	VIGIA_INPUT_FAILED,   /* `permanent`: another attempt would fail too */
	VIGIA_INPUT_DEFERRED, /* the handler was not begun, for want of time. A STOP or SEEK meanwhile goes first */
	VIGIA_INPUT_SAVED,
	VIGIA_INPUT_SAVE_FAILED, /* also instead of FAILED, where the handler's transaction could not read */
	VIGIA_INPUT_CONFLICT,    /* the transaction must begin again */
	VIGIA_INPUT_WAKE,        /* an event may have been appended */
	VIGIA_INPUT_TICK,        /* time passed */
	VIGIA_INPUT_STOP,
	VIGIA_INPUT_SEEK,  /* continue after `seq_num` */
	VIGIA_INPUT_RETRY, /* do not wait any longer to try the event again */
	VIGIA_INPUT_REREAD /* handler or filter were replaced: forget the events fetched ahead and the current failure */
};

struct vigia__input {
	enum vigia__input_kind kind;
	struct vigia_iterator next; /* START, BATCH; at or after, never before the last one */
	const uint64_t *seqs;       /* BATCH: borrowed until the batch is used up */
	size_t count;               /* BATCH */
	uint64_t gone;              /* BATCH: how many events were removed where the read began; `next` is behind them */
	uint64_t attempts;          /* LETTER */
	uint64_t seq_num;           /* LETTER. SEEK: the target. START: the checkpoint, 0 = none; not beyond `next` */
	bool sought;     /* START: `next` comes from a seek or is the trim horizon: earlier events were not missed */
	bool dropped;    /* HANDLED: no handler ran; the event is passed, not counted as processed */
	bool due;        /* HANDLED, DEFERRED: the transaction is large or long enough */
	bool in_doubt;   /* SAVE_FAILED: the transaction may be stored */
	bool permanent;  /* FAILED: the event's bytes are bad; `on_damage` decides, not `retry_strategy` */
	uint64_t random; /* FAILED, FETCH_FAILED, SAVE_FAILED: 64 bits for the jitter */
};

enum vigia__action_kind {
	VIGIA_ACTION_NONE,
	VIGIA_ACTION_READ,   /* fetch up to batch_size from `from`, without waiting */
	VIGIA_ACTION_HANDLE, /* run the handler on event `index` of the batch, number `seq_num`, `attempt` from 1 */
	VIGIA_ACTION_SAVE,   /* save checkpoint `seq_num` durably. `backwards`: a seek, which may also move it back */
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
	bool letter; /* HANDLE, SAVE: of a letter that is handled again */
	bool failed; /* SAVE: of such a one, that it failed once more */
	bool aside;  /* SAVE: the event `index` of the batch becomes a letter, after `attempt` attempts */
	int64_t until_mono_ns;
};

struct vigia__stepper_options {
	struct vigia__backoff backoff;
	uint64_t max_retries; /* attempts in all, for SKIP and DEAD_LETTER */
	int retry_strategy;   /* enum vigia_retry_strategy */
	int on_gap;           /* enum vigia_on_gap */
	int on_damage;        /* enum vigia_on_damage */
	int checkpoint;       /* enum vigia_checkpoint_mode */
	bool ephemeral;
	bool transactional; /* neither ephemeral, nor with a checkpoint mode */
};

struct vigia__stepper {
	struct vigia__stepper_options options;
	enum vigia_watcher_state state;
	int phase; /* what is under way (stepper.c); private */

	/* position */
	struct vigia_iterator next; /* where the next read starts */
	const uint64_t *seqs;       /* the current batch */
	size_t count, index;        /* size of the batch; the current event */
	struct vigia_iterator batch_next;
	uint64_t done;  /* everything up to here was handled, given up or dropped by the filter */
	uint64_t saved; /* the checkpoint, as far as this watcher knows. Set by SAVED and by the driver: before START to the
	                   stored one (START lowers it to the start), later by its own commits */
	bool save_due;  /* "event" mode: save `done` before the next event, or before listening */
	uint64_t saving;  /* the number being saved */
	bool saving_seek; /* whether that is a seek */

	/* failures */
	uint64_t failures; /* of the current event, or of fetches or saves in a row */
	int64_t retry_mono_ns;
	uint64_t stuck; /* the event that the watcher stopped for, 0 = none; until the next START or SEEK */

	/* a transaction */
	uint64_t in_tx;        /* events handled in it, not committed yet */
	uint64_t tx_from;      /* `done` before the first of them */
	bool retry_after_save; /* the current event failed, and waits once those before it are saved */
	bool reread_after_save;
	uint64_t tried_seq, tried; /* an event that failed in a transaction that begins again, and how often */
	uint64_t lost_saves;       /* commits that failed in a row */

	/* dead letters */
	bool aside;               /* the current event is to be put aside */
	uint64_t letter;          /* in hand, 0 = none */
	uint64_t letter_attempts; /* of it before */
	bool letter_handled;      /* it counts as processed, and is not saved yet */

	/* gaps */
	uint64_t gap;       /* how many events the last BATCH found removed */
	uint64_t missed_to; /* missed events up to here are counted */
	bool sought;        /* the next read starts where a seek went */

	/* requests that wait for an outcome */
	bool stop_wanted;
	bool seek_wanted;
	uint64_t seek_to;

	/* counts for the stats */
	uint64_t processed, failed, retried, skipped, dead_lettered, missed, fetch_errors;
	uint64_t last_processed;
};

void vigia__stepper_init(struct vigia__stepper *stepper, const struct vigia__stepper_options *options);
/* Take the input and return what to do next. An input that is invalid now is a bug, and asserts. `now_mono_ns` never
 * goes back. HANDLED and BATCH ignore it. */
struct vigia__action vigia__stepper_step(struct vigia__stepper *stepper, const struct vigia__input *input,
                                         int64_t now_mono_ns);
/* Why this BATCH is invalid for the read under way, or NULL: for a driver that does not trust where its events are
 * from.
 */
const char *vigia__stepper_misfit(const struct vigia__stepper *stepper, const struct vigia__input *input);
/* Where it reads next (W15): after(done), or the resolved start before the first batch. Trim horizon before a START. */
struct vigia_iterator vigia__stepper_position(const struct vigia__stepper *stepper);
/* The event that failed and is being retried, waits for a retry, or stopped the watcher. 0 = none. */
uint64_t vigia__stepper_blocked(const struct vigia__stepper *stepper);
/* The event that waits for its next attempt. 0 = none. */
uint64_t vigia__stepper_waits_for(const struct vigia__stepper *stepper);
/* Does it wait to save again? */
bool vigia__stepper_saves_later(const struct vigia__stepper *stepper);

#endif
