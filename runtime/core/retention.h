/*
 * retention.h - what may be removed from a log, and why not more: from ages, checkpoints and limits.
 *
 * Age is measured on a clock of the store's own, which wall clocks that step cannot deceive: the collector writes marks
 * (time, last number); between two marks of one boot the time is what the machine was up, across a boot what the wall
 * clock says, and never less than nothing. A number is as old as the first mark that covers it, so old events go at
 * most a mark later than they might.
 *
 * Pure: values in, values out.
 */
#ifndef VIGIA_CORE_RETENTION_H
#define VIGIA_CORE_RETENTION_H

#include "vigia.h"

/* What the machine's clocks say. */
struct vigia__clock {
	int64_t wall_ns;
	int64_t boot_ns;  /* since the machine was started, sleep included */
	uint64_t boot_id; /* tells one start from another; 0 = unknown */
};

struct vigia__mark {
	int64_t at_ns;    /* on the store's clock */
	uint64_t seq_num; /* the last number then */
	struct vigia__clock clock;
};

enum { VIGIA_MARKS = 256 }; /* per age: no more than about so many are kept */

/* The store's clock now; `last` is the newest mark, NULL before the first. */
int64_t vigia__retention_now(const struct vigia__mark *last, const struct vigia__clock *clock);
/* Is a new mark worth its place? */
bool vigia__retention_mark_due(const struct vigia__mark *last, uint64_t latest, int64_t now_ns, int64_t age_ns);
/* Does this mark cover what is older than the age? Of those that do, only the newest is needed. */
bool vigia__retention_old(const struct vigia__mark *mark, int64_t now_ns, int64_t age_ns);
/* Has nobody run this watcher for so long that it holds nothing back any more? ttl 0: never. */
bool vigia__retention_expired(int64_t touched_at_ns, int64_t now_ns, int64_t ttl_ns);

/* All checkpoints and holds, taken in one by one. Zero-initialise. */
struct vigia__holders {
	size_t count; /* the expired ones too */
	size_t live;
	uint64_t lowest; /* of the live ones */
	char id[256];    /* whose that is */
};
void vigia__holders_add(struct vigia__holders *holders, const void *id, size_t id_len, uint64_t seq_num, bool live);

struct vigia__verdict {
	uint64_t upto;               /* everything up to here goes */
	uint64_t bytes_upto;         /* and, as long as more than max_bytes are kept, everything up to here */
	enum vigia_gc_reason reason; /* why not further; BOUND and what max_bytes finds are the caller's to set */
	char held_by[256];           /* the lowest live holder, "" = none */
};

/* `old`: the last number that is older than the age, 0 = none. `oldest` and `latest` as in a store: 0 = none. */
void vigia__retention_decide(const struct vigia_store_options *settings, const struct vigia__holders *holders,
                             uint64_t oldest, uint64_t latest, uint64_t old, struct vigia__verdict *out);

#endif
