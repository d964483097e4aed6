/*
 * wants.h - which progress somebody waits for (vigia_checkpoint_wait): how a waiter makes the owner of a watcher id
 * save it as soon as it is reached, also in another process.
 *
 * A table in memory that all processes of a store share. An entry is one word: some bits of the id's hash, and the
 * lowest number that is waited for. The order of steps loses no wake-up:
 *     waiter   prepare its wake word - enter what it wants (wants_add) - look at the checkpoint - wait
 *     owner    move its progress - look what is wanted (the count of changes, then the table) - save, if it is reached
 *     commit   durable - remove what is reached (wants_reached) - publish the id's wake word, if there was any
 * An owner that sleeps with progress that is not saved listens to the bell too. Waiters for a higher number than the
 * entry's enter theirs once that is removed. A waiter that died leaves an entry, which costs one commit. Entries of
 * one place push each other out: so waiters enter theirs again once a second.
 *
 * Any thread, any process. Nothing blocks. Any content is valid: it costs commits and wake-ups, nothing else.
 */
#ifndef VIGIA_STORE_WANTS_H
#define VIGIA_STORE_WANTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "wake.h"

enum { VIGIA_WANTS_PLACES = 128, VIGIA_WANTS_PLACE = 8 };

/* Zeros: nothing is wanted. */
struct vigia__wants {
	_Atomic uint32_t changes;                                        /* counts what was entered */
	struct vigia__bell bell;                                         /* rung then */
	_Atomic uint64_t entries[VIGIA_WANTS_PLACES][VIGIA_WANTS_PLACE]; /* 0: free */
};

/* `hash` is vigia__table_hash() of the watcher id, everywhere. `seq_num` is 1 or more. */

/* No process waits. */
void vigia__wants_clear(struct vigia__wants *wants);
/* Somebody waits until the checkpoint is seq_num or more. True: that is new. Then ring the bell. */
bool vigia__wants_add(struct vigia__wants *wants, uint64_t hash, uint64_t seq_num);
/* Have the owners look again at what is there. Then ring the bell. */
void vigia__wants_look_again(struct vigia__wants *wants);
/* The waiter gives up. True: others may have waited behind its entry. Then publish the id's wake word. */
bool vigia__wants_remove(struct vigia__wants *wants, uint64_t hash, uint64_t seq_num);
/* The lowest number that is waited for. 0: none is. */
uint64_t vigia__wants_lowest(const struct vigia__wants *wants, uint64_t hash);
/* The checkpoint is seq_num now. True: somebody waited for that. Then publish the id's wake word. */
bool vigia__wants_reached(struct vigia__wants *wants, uint64_t hash, uint64_t seq_num);

#endif
