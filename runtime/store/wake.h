/*
 * wake.h - version words in memory shared by all processes of a store, with futexes: an append wakes waiters.
 *
 * One word stands for "anything", each other word for the object types that hash to it, so that watchers of other types
 * sleep on. A word is `version << 8 | rings << 2 | one may sleep << 1 | has a waiter`. This order loses no wake-up:
 *     waiter     prepare (set the waiter's bit, remember the word) - look for events - wait (set the sleeper's bit,
 *                sleep while the version is that one)
 *     appender   commit - publish (where the waiter's bit is set: next version, both bits cleared, wake if the
 *                sleeper's was set)
 * An appender only reads the words that no one waits for, and makes a system call only if one may sleep: waiters that
 * have work follow it without. A bell, and each of few words, is `version << 1 | has a waiter`, and always wakes.
 * A process killed between commit and publish leaves an event unannounced, so waiters also check the store's commit
 * number once a second. A waiter that dies leaves its bit set, which costs the next publisher one system call.
 *
 * A bell wakes one waiter alone (stop, interrupt, the close of its store). It is a word of the same kind in the memory
 * of the process, which the waiter listens to beside the shared ones. Set the reason, then ring. The waiter prepares,
 * then checks the reasons.
 *
 * A waiter for one word sleeps on that futex alone, with a bit for each of its bells. This order loses no ring:
 *     waiter     sleeper's bit - note in the bell near which words it sleeps - look at the bell - sleep
 *     ringer     next version of the bell - look for the note - count a ring in the words there that one may sleep on -
 *                wake those that sleep there with the bell's bit
 * Waiters for several words use futex_waitv(2), with the bells among them. Before Linux 5.16 they wait for anything.
 *
 * Any thread, any process. Only the wait functions block.
 */
#ifndef VIGIA_STORE_WAKE_H
#define VIGIA_STORE_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vigia.h"

enum {
	VIGIA_WAKE_WORDS = 4096, /* word 0: anything, from 1 on: types by hash */
	VIGIA_WAKE_FEW = 64,     /* words in the side file of a store that version 0.1.0 may have open too */
	VIGIA_LISTEN_MAX = 32,   /* words that one waiter can listen to */
	VIGIA_BELLS_MAX = 4      /* and bells */
};

/* The words, in shared memory. With few of them word n > 0 of the many is word 1 + (n - 1) % 63. */
struct vigia__wake {
	_Atomic uint32_t *words;
	unsigned count; /* VIGIA_WAKE_WORDS or VIGIA_WAKE_FEW */
};

/* The words to publish after a commit: a bitmap of them, and one of its parts that are not empty. The other parts are
 * not initialised. */
struct vigia__wake_set {
	uint64_t parts;
	uint64_t words[VIGIA_WAKE_WORDS / 64];
};

/* Belongs to one process, but for that of wants.h, which is all processes'. Zero-initialise. Must outlive the waits and
 * rings. */
struct vigia__bell {
	_Atomic uint32_t word;
	_Atomic uint32_t bit;   /* with which its waiters sleep; 0: none has listened. 32 bells have different ones */
	_Atomic uint64_t parts; /* a bit for each 64 words on one of which a waiter slept */
};

/* What one waiter listens to: some type words, or "anything", and bells. */
struct vigia__listen {
	unsigned count, bells_count;
	uint16_t index[VIGIA_LISTEN_MAX];
	uint32_t seen[VIGIA_LISTEN_MAX];
	struct vigia__bell *bells[VIGIA_BELLS_MAX];
	uint32_t bells_seen[VIGIA_BELLS_MAX];
};

/* Listen to these types' words (count 0, or more than fit: anything). */
void vigia__listen_init(struct vigia__listen *listen, const struct vigia_slice *types, size_t count);
/* Also wake for these types. */
void vigia__listen_add(struct vigia__listen *listen, const struct vigia_slice *types, size_t count);
/* Also wake when this bell rings, from now on. */
void vigia__listen_bell(struct vigia__listen *listen, struct vigia__bell *bell);

/* Set the waiter bits and remember the words. Then look for events. Then wait. */
void vigia__wake_prepare(struct vigia__wake *wake, struct vigia__listen *listen);
/* Wait until a word differs from what prepare saw, a bell rang, the monotonic time comes, or a signal handler ran.
 * True: a word differs. Spurious returns are possible. Exception: after a handler with SA_RESTART a wait for several
 * words continues (futex_waitv(2)). To notice Ctrl-C, wait until vigia__signal_until(). */
bool vigia__wake_wait(struct vigia__wake *wake, const struct vigia__listen *listen, int64_t until_mono_ns);
/* The given time, or soon if SIGINT has a handler with SA_RESTART, as in stock Lua. */
int64_t vigia__signal_until(int64_t until_mono_ns);
/* Has a word changed since prepare? Bells do not count. */
bool vigia__wake_changed(struct vigia__wake *wake, const struct vigia__listen *listen);
/* Has a bell rung since prepare? Then it is prepared again: check the reasons. */
bool vigia__wake_rung(struct vigia__listen *listen);

/* The number of a type's word. */
unsigned vigia__wake_word(struct vigia_slice type);
void vigia__wake_set_clear(struct vigia__wake_set *set);
void vigia__wake_set_add(struct vigia__wake_set *set, struct vigia_slice type);
void vigia__wake_set_all(struct vigia__wake_set *set); /* every word */
void vigia__wake_set_join(struct vigia__wake_set *set, const struct vigia__wake_set *more);
static inline bool vigia__wake_set_any(const struct vigia__wake_set *set)
{
	return set->parts != 0;
}
/* After a commit of events: wake those that listen to a word of the set, or to anything. */
void vigia__wake_publish(struct vigia__wake *wake, const struct vigia__wake_set *set);
/* Does one wait for a word of the set, or for anything? */
bool vigia__wake_awaited(const struct vigia__wake *wake, const struct vigia__wake_set *set);
/* A single word shared by processes, for rare changes. Bump: set the next value, and wake all waiters. */
void vigia__word_bump(_Atomic uint32_t *word);
/* A word for something that changes in a transaction. Begin sets another value, and a mark that the outcome is unknown.
 * End sets another value without the mark, and wakes all waiters. Do not keep what is read while the word is marked. An
 * end without a begin does nothing. */
#define VIGIA_WORD_CHANGING (UINT32_C(1) << 31)
void vigia__word_change_begin(_Atomic uint32_t *word);
void vigia__word_change_end(_Atomic uint32_t *word);
/* The same for changes that several may make at a time, and whose begin must be seen. Mark: set the next value, with
 * the mark, and wake all waiters. Returns the value. Unmark: set the next value, and wake them. It takes the mark away
 * only if no other has set it since `marked`; 0: it leaves it. */
uint32_t vigia__word_mark(_Atomic uint32_t *word);
void vigia__word_unmark(_Atomic uint32_t *word, uint32_t marked);
/* Wait until the word is no longer `seen`, or the monotonic time comes. Spurious returns are possible. */
void vigia__word_wait(_Atomic uint32_t *word, uint32_t seen, int64_t until_mono_ns);

/* The same until the time of day comes, which follows a clock that is set. */
void vigia__word_wait_until(_Atomic uint32_t *word, uint32_t seen, int64_t until_at_ns);

/* The same as wait for two words. Without futex_waitv it waits for the first only, and at most 50 ms. */
void vigia__words_wait(_Atomic uint32_t *word, uint32_t seen, _Atomic uint32_t *second, uint32_t second_seen,
                       int64_t until_mono_ns);

/* How a writer calls the collector, with the number of the last event. */
struct vigia__collect_call {
	_Atomic uint64_t *at;   /* call when this number is reached, 0 = never */
	_Atomic uint32_t *word; /* bumped by the call */
};
void vigia__collect_call(const struct vigia__collect_call *call, uint64_t latest);

/* Wake the waiters of this bell. `wake` holds the words they also wait for. */
void vigia__bell_ring(struct vigia__bell *bell, struct vigia__wake *wake);
/* For tests: behave as on a kernel without futex_waitv. */
void vigia__wake_without_waitv(void);

#endif
