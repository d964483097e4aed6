/*
 * export_record.h - the records of an export (contract O5), as bytes. store/README.md describes the stream for those
 * who read it with other tools.
 *
 *     9n                  msgpack array: length, kind, the kind's fields, sum
 *     CE llllllll         length, uint32: bytes of the whole record
 *     str                 kind
 *     ...                 fields
 *     CF ssssssssssssssss sum, uint64: XXH3_64bits of all bytes of the record before these eight, seeded with the sum
 *                         of the record before it (0 for the first)
 *
 * So a sum covers all that went before it, and the last one the whole stream.
 *
 * Values: no descriptor, no clock.
 */
#ifndef VIGIA_CORE_EXPORT_RECORD_H
#define VIGIA_CORE_EXPORT_RECORD_H

#include "buf.h"
#include "vigia.h"

enum { VIGIA_EXPORT_VERSION = 1 };

/* In the order of the stream. KEY follows the event that it ends with, VALUE and BUCKET alternate. */
enum vigia__export_kind {
	VIGIA_EXPORT_BEGIN,      /* version, first, last, time of the last, next id of a timer */
	VIGIA_EXPORT_SETTINGS,   /* map */
	VIGIA_EXPORT_CHECKPOINT, /* watcher, number */
	VIGIA_EXPORT_HOLD,       /* watcher, number */
	VIGIA_EXPORT_PAUSE,      /* watcher */
	VIGIA_EXPORT_LANES,      /* watcher, epoch, checkpoint, ranges */
	VIGIA_EXPORT_TIMER,      /* id, time, key, event */
	VIGIA_EXPORT_LETTER,     /* watcher, number, attempts, time, lane key, retry, error, traceback, event */
	VIGIA_EXPORT_BUCKET,     /* bucket: an empty one */
	VIGIA_EXPORT_VALUE,      /* bucket, key, value */
	VIGIA_EXPORT_EVENT,      /* number, event */
	VIGIA_EXPORT_KEY,        /* first number, last number, key of the append */
	VIGIA_EXPORT_END,        /* how many records there are, with this one */
	VIGIA_EXPORT_KINDS
};

enum {
	VIGIA_EXPORT_FIELDS = 9,
	VIGIA_EXPORT_HEAD = 6, /* bytes of a record that tell its length */
	VIGIA_EXPORT_MIN = 18, /* of the shortest record; the longest has the largest event, and texts */
	VIGIA_EXPORT_MAX = (1 << 30) + (1 << 20)
};

struct vigia__export_field {
	int64_t number;           /* also of a u64, cast */
	struct vigia_slice bytes; /* names, keys, events; points into the record */
	bool is_integer;          /* the key of a value: `number`, not `bytes` */
};

const char *vigia__export_kind_name(enum vigia__export_kind kind);

/* Append a record. *sum is that of the record before it, then its own. 0, or -1 without memory: `out` is as before. */
int vigia__export_encode(struct vigia__buf *out, uint64_t *sum, enum vigia__export_kind kind,
                         const struct vigia__export_field fields[]);
/* The length of the record that begins with these bytes. False: no record begins so. */
bool vigia__export_length(const uint8_t head[VIGIA_EXPORT_HEAD], uint32_t *len);
/* Read a whole record. 0 and *sum as above. EDAMAGED: the sum is wrong. EFORMAT: a kind of a later version. EDESERIAL:
 * right sum, wrong fields. The reason is in *why. *sum is unchanged after an error. */
int vigia__export_decode(const uint8_t *bytes, uint32_t len, uint64_t *sum, enum vigia__export_kind *kind,
                         struct vigia__export_field fields[VIGIA_EXPORT_FIELDS], const char **why);

/* The ranges of LANES: pairs of u64 in native byte order, as core/ranges.h has them behind the checkpoint, are an array
 * of integers in the record. 0, or -1 without memory, or where they are none. */
int vigia__export_put_ranges(struct vigia__buf *array, struct vigia_slice ranges);
int vigia__export_take_ranges(struct vigia__buf *ranges, struct vigia_slice array);

#endif
