/*
 * retention.h - decides which events may be removed, and why not more, from ages, checkpoints and limits. A checkpoint
 * unused for checkpoint_ttl does not count.
 *
 * Age is measured on the store's own clock, so that steps of the wall clock do no harm. The collector writes marks: a
 * time and the last number then. Between two marks of one boot the clock advances by the machine's uptime, across a
 * boot by the wall clock, and never backwards. An event's age is that of the first mark that covers it, so an old event
 * is removed at most one mark late.
 *
 * Pure: values in, values out.
 */
#ifndef VIGIA_CORE_RETENTION_H
#define VIGIA_CORE_RETENTION_H

#include "vigia.h"

/* The machine's clocks. */
struct vigia__clock {
	int64_t wall_ns;
	int64_t boot_ns;  /* since the machine was started, sleep included */
	uint64_t boot_id; /* differs after each start; 0 = unknown */
};

struct vigia__mark {
	int64_t at_ns;    /* on the store's clock */
	uint64_t seq_num; /* the last number at that time */
	struct vigia__clock clock;
};

enum { VIGIA_MARKS = 256 }; /* about how many are kept per age, at most */

/* The store's clock now. `last` is the newest mark, NULL before the first. */
int64_t vigia__retention_now(const struct vigia__mark *last, const struct vigia__clock *clock);
/* Should a new mark be written? */
bool vigia__retention_mark_due(const struct vigia__mark *last, uint64_t latest, int64_t now_ns, int64_t age_ns);
/* Is this mark older than the age? Of those that are, only the newest is needed. */
bool vigia__retention_old(const struct vigia__mark *mark, int64_t now_ns, int64_t age_ns);
/* Has this watcher's checkpoint been unused for its ttl, so that it no longer blocks removal? ttl 0: never. */
bool vigia__retention_expired(int64_t touched_at_ns, int64_t now_ns, int64_t ttl_ns);

/* A summary of all checkpoints and holds, added one by one. Zero-initialise. */
struct vigia__holders {
	size_t count; /* the expired ones too */
	size_t live;
	uint64_t lowest; /* of the live ones */
	char id[256];    /* the watcher with the lowest */
};
void vigia__holders_add(struct vigia__holders *holders, const void *id, size_t id_len, uint64_t seq_num, bool live);

struct vigia__verdict {
	uint64_t upto;               /* remove everything up to here */
	uint64_t bytes_upto;         /* while more than max_bytes are kept, remove on up to here */
	enum vigia_gc_reason reason; /* why not more; the caller sets BOUND, and the reason for max_bytes */
	char held_by[256];           /* the lowest live holder, "" = none */
};

/* `old`: the last number that is older than the age, 0 = none. `oldest` and `latest` as in a store: 0 = none. */
void vigia__retention_decide(const struct vigia_store_options *settings, const struct vigia__holders *holders,
                             uint64_t oldest, uint64_t latest, uint64_t old, struct vigia__verdict *out);

#endif
