/*
 * table.c - an intrusive hash table. See table.h.
 */
#include "table.h"

#include "alloc.h"

enum { SLOTS_FIRST = 16 };

uint64_t vigia__table_hash(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint64_t h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < len; i++) h = (h ^ at[i]) * UINT64_C(1099511628211);
	return h;
}

/* Mix in the high bits: the low bits of FNV-1a depend only on the low bits of the bytes. */
static size_t slot_of(size_t slots_count, uint64_t hash)
{
	return (hash ^ hash >> 32) & (slots_count - 1);
}

static struct vigia__node **slot(const struct vigia__table *table, uint64_t hash)
{
	if (!table->slots) return (struct vigia__node **)&table->one;
	return &table->slots[slot_of(table->slots_count, hash)];
}

static void grow(struct vigia__table *table)
{
	size_t count = table->slots ? table->slots_count * 2 : SLOTS_FIRST;
	struct vigia__node **slots = vigia__calloc(count * sizeof *slots);
	if (!slots) return;
	struct vigia__table grown = {.slots = slots, .slots_count = count, .count = table->count};
	for (size_t i = 0; i < (table->slots ? table->slots_count : 1); i++) {
		struct vigia__node *entry = table->slots ? table->slots[i] : table->one, *next;
		for (; entry; entry = next) {
			struct vigia__node **at = slot(&grown, entry->hash);
			next = entry->next;
			entry->next = *at;
			*at = entry;
		}
	}
	vigia__free(table->slots);
	*table = grown;
}

void vigia__table_add(struct vigia__table *table, struct vigia__node *entry, uint64_t hash)
{
	if (table->count >= (table->slots ? table->slots_count : 1)) grow(table);
	struct vigia__node **at = slot(table, hash);
	entry->hash = hash;
	entry->next = *at;
	*at = entry;
	table->count++;
	table->popped = 0;
}

void vigia__table_remove(struct vigia__table *table, struct vigia__node *entry)
{
	struct vigia__node **at = slot(table, entry->hash);
	while (*at != entry) at = &(*at)->next;
	*at = entry->next;
	table->count--;
}

static struct vigia__node *of_hash(struct vigia__node *entry, uint64_t hash)
{
	while (entry && entry->hash != hash) entry = entry->next;
	return entry;
}

struct vigia__node *vigia__table_first(const struct vigia__table *table, uint64_t hash)
{
	return of_hash(*slot(table, hash), hash);
}

struct vigia__node *vigia__table_next(const struct vigia__node *entry)
{
	return of_hash(entry->next, entry->hash);
}

struct vigia__node *vigia__table_each(const struct vigia__table *table, const struct vigia__node *before)
{
	if (before && before->next) return before->next;
	if (!table->slots) return before ? NULL : table->one;
	for (size_t i = before ? slot_of(table->slots_count, before->hash) + 1 : 0; i < table->slots_count; i++)
		if (table->slots[i]) return table->slots[i];
	return NULL;
}

struct vigia__node *vigia__table_pop(struct vigia__table *table)
{
	struct vigia__node **at = &table->one;
	if (table->slots) {
		while (table->popped < table->slots_count && !table->slots[table->popped]) table->popped++;
		if (table->popped == table->slots_count) return NULL;
		at = &table->slots[table->popped];
	}
	struct vigia__node *entry = *at;
	if (entry) {
		*at = entry->next;
		table->count--;
	}
	return entry;
}

void vigia__table_deinit(struct vigia__table *table)
{
	vigia__free(table->slots);
	*table = (struct vigia__table){0};
}
