/*
 * timers.h - stores the events of timers when they are due (contract K1), and the thread that does.
 *
 * What is due is stored by a transaction that removes it: once, whichever process does it and whatever dies. So that
 * not all do it at the same time, the one that holds the lock on a byte of the side file does. Others look a moment
 * after a timer was due: is it still there, they take over the lock of a process that died, and a little later they do
 * without it, where the process that has it is stopped.
 *
 * The thread sleeps on the timers' word until the next timer is due, by the time of day, which follows a clock that is
 * set. A timer that becomes the first one changes the word twice: before its commit to a value with a mark, after it to
 * one without. While the mark is there the thread looks again, less and less often and not for ever: the process that
 * made it may have been killed behind its commit.
 *
 * It is started when there are timers at the opening of a handle that may write, when this process makes one, and when
 * another process did (notice).
 *
 * Any thread.
 */
#ifndef VIGIA_STORE_TIMERS_H
#define VIGIA_STORE_TIMERS_H

#include "backend.h"
#include "timer_records.h"

/* Count a handle that may write, and start the thread if there are timers. 0, or why it cannot be started. */
int vigia__timers_add(struct vigia__backend *b, struct vigia_error *err);
/* Uncount it. With the last one, end the thread before returning. */
void vigia__timers_drop(struct vigia__backend *b);
/* Start the thread, before a timer is made. Does nothing where the store has a clock of its own. */
int vigia__timers_start(struct vigia__backend *b, struct vigia_error *err);

/* Start it if another process has made a timer since this one looked. In a few instructions if none has. */
void vigia__timers_look(struct vigia__backend *b);
static inline void vigia__timers_notice(struct vigia__backend *b)
{
	if (atomic_load_explicit(b->timers.word, memory_order_relaxed) !=
	    atomic_load_explicit(&b->timers.seen, memory_order_relaxed))
		vigia__timers_look(b);
}

/* A timer is being stored that is the first one, in its transaction; `alone`: there was none. Then, with what that
 * returned, after the commit or its failure. */
uint32_t vigia__timers_announce(struct vigia__backend *b, bool alone);
void vigia__timers_announced(struct vigia__backend *b, uint32_t announced);

/* Store all that is due now. */
int vigia__timers_run(struct vigia__backend *b, struct vigia_error *err);

#endif
