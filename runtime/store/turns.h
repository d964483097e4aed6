/*
 * turns.h - fair turns of the processes of a store at the mutex of those who write.
 *
 * A mutex goes to whoever comes first when it is unlocked, which is seldom a process that has to be woken. So those who
 * must wait draw a ticket, and only the one whose ticket was admitted goes to the mutex. Once it has the mutex it
 * admits the next ticket, which then waits at the mutex itself.
 *
 * The words order the waiters and protect nothing. With any content everyone gets the mutex, if perhaps not in order:
 *     A ticket that was admitted but comes to nothing (its process died, or was stopped) holds the others back for
 *     10 ms at most after the mutex is free. Then one of them admits more.
 *     If a process died with the mutex, the one that it had admitted waits there and gets it. If there is none, the
 *     others see after 100 ms that no turn comes.
 *     An `admitted` that no sequence of steps leads to is put right by the next one who has the mutex, or waits.
 *
 * Commits without a sync take a hundredth of what it takes to wake another process. So a process that got the mutex by
 * a ticket may take it again without one for 1 ms, unless a commit of it was synced.
 *
 * Any thread, any process.
 */
#ifndef VIGIA_STORE_TURNS_H
#define VIGIA_STORE_TURNS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* In memory that the processes share. */
struct vigia__turns {
	_Atomic uint32_t drawn;    /* number of the next ticket */
	_Atomic uint32_t admitted; /* tickets up to this number go to the mutex. A futex */
	_Atomic uint32_t busy;     /* someone has the mutex, or died with it */
};

/* Of one process. Zero-initialise. */
struct vigia__turn {
	_Atomic int64_t until_mono_ns; /* the mutex may be taken again without a ticket */
};

/* With the mutex initialised, and used by no one. */
void vigia__turns_init(struct vigia__turns *turns);
/* Lock the mutex, which is robust, when it is this process's turn. Returns as pthread_mutex_lock. ETIMEDOUT: not within
 * wait_ns; INT64_MAX is without an end. */
int vigia__turns_lock(struct vigia__turns *turns, pthread_mutex_t *mutex, struct vigia__turn *own, int64_t wait_ns);
/* Unlock it. `over`: the next time this process draws a ticket, if others wait. */
void vigia__turns_unlock(struct vigia__turns *turns, pthread_mutex_t *mutex, struct vigia__turn *own, bool over);
/* For tests, before the first call: how long a waiter sleeps before it looks whether the turns go on. */
void vigia__turns_look_after(int64_t ns);

#endif
