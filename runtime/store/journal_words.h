/*
 * journal_words.h - what the processes of a store share of its journal, in the side file: two words, and the mutex of
 * those who write. lmdb_journal_private.h explains them.
 */
#ifndef VIGIA_STORE_JOURNAL_WORDS_H
#define VIGIA_STORE_JOURNAL_WORDS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "turns.h"

#define VIGIA_WORDS_MADE UINT32_C(0x6d757431)

/* The words change only under the mutex, which a process that dies gives back. Whoever opens the side file alone begins
 * with new ones. */
struct vigia__journal_words {
	_Atomic uint64_t published;       /* number of the last event that readers may see */
	_Atomic uint64_t ready;           /* the salt of a generation whose next record may be written. 0: none */
	_Atomic uint64_t records, drains; /* counted since the side file was made */
	pthread_mutex_t mutex;            /* robust. Locked around LMDB's writer lock */
	struct vigia__turns turns;        /* of those who write, at that mutex */
	_Atomic uint32_t made;            /* VIGIA_WORDS_MADE: by a version that knows the mutex and the turns */
};

#endif
