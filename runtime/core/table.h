/*
 * table.h - a hash table whose entries are part of what they find: for ids and keys, where a list would be quadratic.
 *
 * Nothing here fails: without memory to grow, its chains get longer. What an entry is part of belongs to the caller,
 * who keeps it where it is while the table has it. Pure, no lock.
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
/* It must be in the table. */
void vigia__table_remove(struct vigia__table *table, struct vigia__node *entry);
/* The entries of this hash, one by one: is it the one you look for? NULL: no more. */
struct vigia__node *vigia__table_first(const struct vigia__table *table, uint64_t hash);
struct vigia__node *vigia__table_next(const struct vigia__node *entry);
/* Takes out any entry, NULL when it is empty: for freeing all. */
struct vigia__node *vigia__table_pop(struct vigia__table *table);
/* All entries, in no order: NULL begins, and ends. The table must not change meanwhile. */
struct vigia__node *vigia__table_each(const struct vigia__table *table, const struct vigia__node *before);
/* Frees the table itself, not what its entries are part of. */
void vigia__table_deinit(struct vigia__table *table);

#endif
