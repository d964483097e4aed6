/*
 * elder.h - a transaction that lost to others several times goes first: until it has committed, others that touch its
 * buckets wait with their commits.
 *
 * Two words in memory that all processes share. Nobody holds a lock: a time limit ends it, also for one that died. A
 * transaction in a loop that always loses to faster ones would otherwise never get through (contract X2).
 */
#ifndef VIGIA_STORE_ELDER_H
#define VIGIA_STORE_ELDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zeros: there is none. May have any content: what is too far ahead is none. */
struct vigia__elder {
	_Atomic uint64_t until_mono_ns;
	_Atomic uint64_t buckets; /* a set of hashes */
};

/* What became of transactions, in the same memory. May have any content. */
struct vigia__outcomes {
	_Atomic uint64_t committed; /* something */
	_Atomic uint64_t conflicts; /* runs that were in vain: others changed what they had read */
	_Atomic uint64_t given_up;  /* transactions that returned transaction_conflict */
};

/* May there be one? In a few instructions. */
static inline bool vigia__elder_may_be(const struct vigia__elder *elder)
{
	return atomic_load_explicit(&elder->until_mono_ns, memory_order_relaxed) != 0;
}

/* Become the elder for about so long. What it returns is for end and waits; 0: another one is. */
uint64_t vigia__elder_begin(struct vigia__elder *elder, uint64_t buckets, int64_t duration_ns);
void vigia__elder_end(struct vigia__elder *elder, uint64_t own);
/* Must a transaction that touches these buckets, `own` if it is the elder, wait? */
bool vigia__elder_waits(const struct vigia__elder *elder, uint64_t buckets, uint64_t own);

#endif
