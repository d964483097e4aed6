/*
 * wants.c - the table of what is waited for. See wants.h.
 */
#include "wants.h"

/* An entry: 20 bits of the hash, then the number. A higher number is one that no log reaches. */
enum { NUMBER_BITS = 44 };
#define NUMBER_MAX ((UINT64_C(1) << NUMBER_BITS) - 1)

static uint64_t tag_of(uint64_t hash)
{
	return hash >> NUMBER_BITS;
}

static uint64_t number_of(uint64_t entry)
{
	return entry & NUMBER_MAX;
}

static bool is_of(uint64_t entry, uint64_t hash)
{
	return entry != 0 && tag_of(entry) == tag_of(hash);
}

static const _Atomic uint64_t *place_of(const struct vigia__wants *wants, uint64_t hash)
{
	return wants->entries[hash % VIGIA_WANTS_PLACES];
}

static uint64_t entry_of(uint64_t hash, uint64_t seq_num)
{
	return tag_of(hash) << NUMBER_BITS | (seq_num < NUMBER_MAX ? seq_num : NUMBER_MAX);
}

/* Write it over what is there: that of the same id, a free one, or, without either, the one whose turn it is. True: it
 * is there now, or a lower one is. *new_one: it was not before. */
static bool enter(struct vigia__wants *wants, uint64_t hash, uint64_t wanted, bool *new_one)
{
	_Atomic uint64_t *place = wants->entries[hash % VIGIA_WANTS_PLACES], *at = NULL;
	uint64_t old = 0;
	*new_one = false;
	for (unsigned i = 0; i < VIGIA_WANTS_PLACE; i++) {
		uint64_t entry = atomic_load(&place[i]);
		if (is_of(entry, hash)) {
			if (entry <= wanted) return true;
			at = &place[i];
			old = entry;
			break;
		}
		if (entry == 0 && at == NULL) at = &place[i];
	}
	if (at == NULL) {
		at = &place[atomic_load(&wants->changes) % VIGIA_WANTS_PLACE];
		old = atomic_load(at);
	}
	*new_one = atomic_compare_exchange_strong(at, &old, wanted);
	return *new_one;
}

void vigia__wants_clear(struct vigia__wants *wants)
{
	for (unsigned i = 0; i < VIGIA_WANTS_PLACES; i++)
		for (unsigned k = 0; k < VIGIA_WANTS_PLACE; k++) atomic_store(&wants->entries[i][k], 0);
	atomic_store(&wants->changes, 0);
	atomic_store(&wants->bell.word, 0);
	atomic_store(&wants->bell.bit, 0);
	atomic_store(&wants->bell.parts, 0);
}

bool vigia__wants_add(struct vigia__wants *wants, uint64_t hash, uint64_t seq_num)
{
	bool new_one;
	while (!enter(wants, hash, entry_of(hash, seq_num), &new_one)) continue;
	if (new_one) atomic_fetch_add(&wants->changes, 1);
	return new_one;
}

void vigia__wants_look_again(struct vigia__wants *wants)
{
	atomic_fetch_add(&wants->changes, 1);
}

bool vigia__wants_remove(struct vigia__wants *wants, uint64_t hash, uint64_t seq_num)
{
	_Atomic uint64_t *place = wants->entries[hash % VIGIA_WANTS_PLACES];
	bool removed = false;
	for (unsigned i = 0; i < VIGIA_WANTS_PLACE; i++) {
		uint64_t entry = entry_of(hash, seq_num);
		if (atomic_compare_exchange_strong(&place[i], &entry, 0)) removed = true;
	}
	return removed;
}

uint64_t vigia__wants_lowest(const struct vigia__wants *wants, uint64_t hash)
{
	const _Atomic uint64_t *place = place_of(wants, hash);
	uint64_t lowest = 0;
	for (unsigned i = 0; i < VIGIA_WANTS_PLACE; i++) {
		uint64_t entry = atomic_load(&place[i]);
		if (is_of(entry, hash) && (lowest == 0 || number_of(entry) < lowest)) lowest = number_of(entry);
	}
	return lowest;
}

bool vigia__wants_reached(struct vigia__wants *wants, uint64_t hash, uint64_t seq_num)
{
	_Atomic uint64_t *place = wants->entries[hash % VIGIA_WANTS_PLACES];
	bool removed = false;
	for (unsigned i = 0; i < VIGIA_WANTS_PLACE; i++) {
		uint64_t entry = atomic_load(&place[i]);
		if (is_of(entry, hash) && number_of(entry) <= seq_num && atomic_compare_exchange_strong(&place[i], &entry, 0))
			removed = true;
	}
	return removed;
}
