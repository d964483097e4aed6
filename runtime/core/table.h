/*
 * table.h - an intrusive hash table for ids and keys, where a list would be quadratic.
 *
 * Nothing here fails: without memory to grow, its chains get longer. The caller owns the struct that contains an entry,
 * and must not move it while the table has it. Pure, no lock.
 */
#ifndef VIGIA_CORE_TABLE_H
#define VIGIA_CORE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct vigia__node {
	struct vigia__node *next; /* owner: the table */
	uint64_t hash;
};

/* Zero-initialise. */
struct vigia__table {
	struct vigia__node **slots; /* NULL: only `one` */
	size_t slots_count;         /* a power of two */
	size_t count;
	size_t popped; /* slots before this one are empty */
	struct vigia__node *one;
};

/* FNV-1a. */
uint64_t vigia__table_hash(const void *bytes, size_t len);
void vigia__table_add(struct vigia__table *table, struct vigia__node *entry, uint64_t hash);
/* The entry must be in the table. */
void vigia__table_remove(struct vigia__table *table, struct vigia__node *entry);
/* Go through the entries with this hash. The caller compares the keys. NULL: no more. */
struct vigia__node *vigia__table_first(const struct vigia__table *table, uint64_t hash);
struct vigia__node *vigia__table_next(const struct vigia__node *entry);
/* Remove and return any entry, NULL when the table is empty: for freeing all. */
struct vigia__node *vigia__table_pop(struct vigia__table *table);
/* Go through all entries, in no order: NULL starts, and ends. The table must not change meanwhile. */
struct vigia__node *vigia__table_each(const struct vigia__table *table, const struct vigia__node *before);
/* Free the table itself, not its entries. */
void vigia__table_deinit(struct vigia__table *table);

#endif
