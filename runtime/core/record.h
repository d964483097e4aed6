/*
 * record.h - the records of the journal (store/lmdb_journal.c) as bytes in memory: one record holds the events of one
 * commit.
 *
 * A record begins at a multiple of its alignment and ends with zeros up to the next one, in native byte order:
 *
 *      0  magic u32              4  bytes of the payload u32
 *      8  sum u64: XXH3_64bits of all that follows in header and payload, seeded with the sum of the record before
 *     16  salt u64               24  number of the first event u64
 *     32  count of events u32    36  alignment u32
 *     40  time of the last event i64, nanoseconds since the epoch
 *     48  zeros, 16 bytes
 *     64  the payload: where each event ends, count x u32, then the events, stamped (event.h)
 *
 * The records of one generation have the same salt. The first one's sum is seeded with the salt, so the sums are a
 * chain: a record that was left by an earlier generation, or follows one that is not there, does not fit.
 *
 * No globals. Any thread. All functions may be called on bytes that change meanwhile: they then find a record that
 * does not fit, or events that are not intact, and never look beyond the area.
 */
#ifndef VIGIA_CORE_RECORD_H
#define VIGIA_CORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

enum { VIGIA_RECORD_HEAD = 64 };

/* Where a chain of records continues. */
struct vigia__chain {
	uint64_t salt;
	uint64_t sum;    /* of the last record; the salt if there is none */
	uint64_t last;   /* number of the last event */
	int64_t last_at; /* and its time */
	size_t at;       /* offset in the area where the next record begins */
};

/* The chain of a generation without records, behind the event `last`. */
struct vigia__chain vigia__chain_begin(uint64_t salt, uint64_t last, int64_t last_at);

/* Bytes of a record, zeros included, of `count` events of `bytes` bytes together. SIZE_MAX: too large for a record. */
size_t vigia__record_size(size_t count, size_t bytes, size_t alignment);

/* Begin a record of `count` events of `bytes` bytes together, in an empty buffer. 0, or -1 without memory. */
int vigia__record_begin(struct vigia__buf *buf, size_t count, size_t bytes, size_t alignment);
/* Add the next event, which was stamped. */
void vigia__record_add(struct vigia__buf *buf, const void *bytes, size_t len);
/* Finish the record when all its events were added: the buffer holds it with its zeros, and `chain` is the one behind
 * it. The time is that of its last event. */
void vigia__record_end(struct vigia__buf *buf, struct vigia__chain *chain, int64_t last_at);

/* A record in an area. */
struct vigia__record {
	uint64_t first;
	uint32_t count;
	const uint8_t *ends; /* count x u32, unaligned */
	const uint8_t *events;
	size_t bytes; /* of all events */
};

/* Does the record that continues the chain begin at chain->at? Then the chain becomes the one behind it. */
bool vigia__record_next(const uint8_t *area, size_t area_bytes, struct vigia__chain *chain, struct vigia__record *out);

/* The bytes of its event `i`, which begins at *start (0 for the first). Advances *start. False: the record changed
 * meanwhile. */
bool vigia__record_event(const struct vigia__record *record, uint32_t i, size_t *start, const uint8_t **bytes,
                         size_t *len);

#endif
