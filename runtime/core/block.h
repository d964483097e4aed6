/*
 * block.h - which types and operations a block of events has, and where: a small record for each 4096 events, so that a
 * filter need not look at the others.
 *
 * A record knows names by a hash, and may take two for one: what it finds are candidates, whose bytes are tested. It
 * never leaves out an event that has the name, nor one whose head could not be read. Its parts have checksums of their
 * own, so that a search checks only what it uses: the directory, and the places of the names it asks for.
 *
 *     u32  checksum of the directory behind it, seeded with the block's number
 *     u8   version; u8 bits of the types' hashes; u8 bits of the operations'; u8 0
 *     u16  number of types; u16 of operations; u16 the place in the block where the record begins (events before it
 *          were removed by then); u16 number of unreadable events
 *     then one entry for each type, operation and, if there are unreadable events, these, in the order of their names:
 *     u32  name: the hash's upper bits; u16 events; u16 where their places are, in units of 2 bytes; u32 their checksum
 *     then the places: nothing where an entry has all events; a bitmap (512 bytes) for more than 256; else a list of
 * u16
 *
 * In the byte order of the machine, as all of the file. Any thread; a builder belongs to one.
 */
#ifndef VIGIA_CORE_BLOCK_H
#define VIGIA_CORE_BLOCK_H

#include "event.h"
#include "filter.h"

enum {
	VIGIA_BLOCK_EVENTS = 4096, /* events of a block: it begins behind a multiple of this */
	VIGIA_BLOCK_WORDS = VIGIA_BLOCK_EVENTS / 64,
	VIGIA_BLOCK_BYTES_MAX = 16384 /* of a record: 4 bytes an event, with what LMDB adds */
};

/* The block of an event, its first event, and the event's place in it. */
static inline uint64_t vigia__block_of(uint64_t seq_num)
{
	return (seq_num - 1) / VIGIA_BLOCK_EVENTS;
}
static inline uint64_t vigia__block_first(uint64_t block)
{
	return block * VIGIA_BLOCK_EVENTS + 1;
}
static inline unsigned vigia__block_place(uint64_t seq_num)
{
	return (unsigned)((seq_num - 1) % VIGIA_BLOCK_EVENTS);
}

struct vigia__block_builder; /* some 100 KB */

struct vigia__block_builder *vigia__block_builder_new(void); /* NULL: no memory */
void vigia__block_builder_free(struct vigia__block_builder *builder);
/* Begin a record of the events from `place` on. */
void vigia__block_begin(struct vigia__block_builder *builder, unsigned place);
/* Add the next event. No more than the block has. */
void vigia__block_add(struct vigia__block_builder *builder, const uint8_t *bytes, size_t len);
/* The same, if its names were read already (vigia__event_names). NULL: they could not be read. */
void vigia__block_add_head(struct vigia__block_builder *builder, const struct vigia__head *head);
/* All were added: the record, which is the builder's until the next begin. */
struct vigia_slice vigia__block_end(struct vigia__block_builder *builder, uint64_t block);

enum vigia__block_found {
	VIGIA_BLOCK_NONE, /* no event of the block matches the filter */
	VIGIA_BLOCK_SOME, /* only those whose bits are set may match */
	VIGIA_BLOCK_LOOK  /* the record does not tell, or is damaged: look at all */
};

/* What the filter's lists leave of a block, by its record. Sets `bits` for SOME: bit 0 of word 0 is place 0. The record
 * may be any bytes. */
enum vigia__block_found vigia__block_find(struct vigia_slice record, uint64_t block, const struct vigia__filter *filter,
                                          uint64_t bits[VIGIA_BLOCK_WORDS]);

/* Is the record whole: do all checksums match? */
bool vigia__block_whole(struct vigia_slice record, uint64_t block);
/* Does a whole record lead to this event, by its type and by its operation? `place` is in the block. */
bool vigia__block_has(struct vigia_slice record, uint64_t block, unsigned place, const uint8_t *bytes, size_t len);

#endif
