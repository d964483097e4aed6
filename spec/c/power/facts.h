/*
 * facts.h - what a workload tried and what it was told, by the marks in its record: so much must be in the store, and
 * no more may be.
 *
 * Marks are lines; a workload writes them with told() of workloads.c:
 *     try W N COUNT [key]      an append of writer W's events N .. N+COUNT-1 begins; with a key, "kW-N"
 *     ack W N COUNT SEQ        it was stored, the first under number SEQ
 *     nack W N COUNT           it was refused: nothing was stored
 *     unknown W N COUNT        commit_unknown
 *     queue W N COUNT          it waits in memory (durability "interval")
 *     synced W N               what writer W queued up to its event N is stored
 *     trim N, trimmed N        a removal of all up to N begins; the oldest event is the one after N
 *     put ID N, saved ID N     a checkpoint is being saved; was saved
 *     handled ID N             the watcher of that id is about to say that it handled event N: it may be saved from now
 *                              on
 *     needs ID W V             the watcher of that id handles events of writer W, and queues one of writer V for each
 *     effects ID W T           the watcher of that id handles events of writer W; T = 1: it is transactional
 *     ask ID N, asked ID N     its dead letter of event N is to be handled again
 *     settled ID N             that letter was handled
 *     drop ID N, dropped ID N  that letter is removed
 *     counts W                 writer W appends by transactions, which keep the number of its last event in a bucket
 *     later W N T, waits W N   writer W's event N is being scheduled for tick T of a clock moved by hand; was scheduled
 *     tick P T, ticked P T     process P moves its clock to tick T, and stores what is due; has done so
 *     set N, changed N         max_event_size in bytes
 *     none, back               durability is "none" from here to there: a loss in between may leave anything
 *     restored N               an older copy of the file, whose last event is N, is in its place
 *     copy NAME, copied NAME   a backup
 */
#ifndef VIGIA_SPEC_POWER_FACTS_H
#define VIGIA_SPEC_POWER_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FACT_APPENDS = 4096, FACT_IDS = 16, FACT_TRIED = 64, FACT_WRITERS = 64, FACT_TIMERS = 64, FACT_LETTERS = 16 };

enum fact_result { FACT_TRIED_ONLY, FACT_ACKED, FACT_REFUSED, FACT_UNKNOWN, FACT_QUEUED };

struct fact_append {
	unsigned writer, first, count;
	enum fact_result result;
	uint64_t seq_num; /* of one that was acknowledged */
	bool has_key;
};

struct fact_position {
	char id[32];
	bool saved;
	uint64_t value;             /* that was saved */
	uint64_t tried[FACT_TRIED]; /* since then */
	unsigned tried_count;
	uint64_t handled;
};

struct fact_timer {
	unsigned writer, number, tick;
	bool waits;    /* it was acknowledged */
	unsigned owed; /* the processes that began to store what is due when it was, as bits */
	bool stored;   /* one of them has ended since */
};

struct fact_letter {
	uint64_t seq_num;
	bool asking, asked, settled, dropping, dropped;
};

struct fact_effects {
	char id[32]; /* "": there is no such watcher */
	unsigned writer;
	bool transactional;
	struct fact_letter letters[FACT_LETTERS];
	unsigned letters_count;
};

/* The time of day at a tick: nothing is due then by the system's clock. */
static inline int64_t fact_time(unsigned tick)
{
	return INT64_C(4000000000000000000) + (int64_t)tick * 1000000;
}

struct facts {
	struct fact_append appends[FACT_APPENDS];
	unsigned appends_count;
	struct fact_position positions[FACT_IDS];
	unsigned positions_count;
	unsigned synced[FACT_WRITERS]; /* queued events up to this one are stored */
	uint64_t last;                 /* the highest number ever told */
	uint64_t trim_tried, trim_done;
	int64_t size, size_tried[FACT_TRIED]; /* max_event_size; 0: its default */
	unsigned size_tried_count;
	bool nothing_stays;
	char needs[32];
	unsigned needs_handled, needs_queued;
	bool counts[FACT_WRITERS];
	struct fact_timer timers[FACT_TIMERS];
	unsigned timers_count;
	struct fact_effects effects;
	unsigned tick; /* the last one that a clock was moved to */
	char copy[32];
	bool copy_done;
	unsigned copy_from; /* appends_count when the copy began */
	bool any;           /* something was acknowledged: the store must be there */
};

/* Takes in one mark. Aborts on one that it does not know. */
void facts_add(struct facts *facts, const char *line);

/* ---- events: their bytes follow from writer and number ---- */

enum { EVENT_BYTES_MAX = 70000 };
/* The event's object, a msgpack bin, into `out`; its length. */
size_t event_object(unsigned writer, unsigned number, uint8_t out[EVENT_BYTES_MAX]);
/* Which event is it? False: none of ours. */
bool event_of(const void *object, size_t len, unsigned *writer, unsigned *number);

#endif
