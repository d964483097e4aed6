/*
 * effects.h - watchers whose handler's effects can be counted: one for each event up to their progress, or a dead
 * letter. The workloads make them (effects.c), and the check counts them.
 */
#ifndef VIGIA_SPEC_POWER_EFFECTS_H
#define VIGIA_SPEC_POWER_EFFECTS_H

#include "facts.h"
#include "vigia.h"

/* The handler fails on these, but where it handles their letter. */
static inline bool effect_fails(unsigned number)
{
	return number % 5 == 3;
}

/* What the handler stores for an event, and for a letter. */
enum { EFFECT_OUTPUT = 51, EFFECT_OF_LETTER = 52 };

struct found {
	uint64_t seq_num;
	int64_t at_ns;
	unsigned writer, number;
};

/* Are the effects and letters those that the facts allow, beside these events? False: `why` tells. */
bool effects_fit(struct vigia_store *store, const struct facts *facts, const struct found *events, unsigned count,
                 char *why, size_t size);

#endif
