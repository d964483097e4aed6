/*
 * ranges.h - which numbers above a checkpoint are finished: ranges, in order, that neither touch nor overlap.
 *
 * Lanes finish events out of order. What they finished grows the checkpoint as far as there is no hole, and the rest is
 * kept as ranges above it.
 *
 * As bytes: the checkpoint u64, then for each range its first number and its last u64, in native byte order.
 *
 * One thread at a time.
 */
#ifndef VIGIA_CORE_RANGES_H
#define VIGIA_CORE_RANGES_H

#include <stdbool.h>

#include "buf.h"
#include "vigia.h"

struct vigia__range {
	uint64_t first, last;
};

struct vigia__ranges {
	uint64_t checkpoint; /* all numbers up to this are finished */
	struct vigia__range *list;
	size_t count, cap;
};

void vigia__ranges_init(struct vigia__ranges *ranges, uint64_t checkpoint);
void vigia__ranges_deinit(struct vigia__ranges *ranges);
/* Everything up to `checkpoint` is finished, and nothing above it. */
void vigia__ranges_reset(struct vigia__ranges *ranges, uint64_t checkpoint);
/* Room for `more` further ranges: so many adds cannot fail. 0 or -1. */
int vigia__ranges_reserve(struct vigia__ranges *ranges, size_t more);
/* first..last are finished. What was finished before may overlap. 0, or -1 without memory: nothing changed. */
int vigia__ranges_add(struct vigia__ranges *ranges, uint64_t first, uint64_t last);
/* All that `more` has is finished as well. 0; -1 without memory: some of it. */
int vigia__ranges_join(struct vigia__ranges *ranges, const struct vigia__ranges *more);
/* Has it anything above 0? */
static inline bool vigia__ranges_any(const struct vigia__ranges *ranges)
{
	return ranges->checkpoint > 0 || ranges->count > 0;
}
/* Is this number finished? */
bool vigia__ranges_has(const struct vigia__ranges *ranges, uint64_t number);
/* Append the bytes. 0 or -1. */
int vigia__ranges_encode(const struct vigia__ranges *ranges, struct vigia__buf *out);
/* In the place of what is there. 0; -1 without memory; VIGIA_EDAMAGED: they are no ranges in order. */
int vigia__ranges_decode(struct vigia__ranges *ranges, struct vigia_slice bytes);

#endif
