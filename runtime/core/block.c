/*
 * block.c - builds and searches the records of block.h.
 */
#include "block.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "alloc.h"

enum {
	VERSION = 1,
	HEAD_BYTES = 16,
	ENTRY_BYTES = 12,
	BITMAP_BYTES = VIGIA_BLOCK_EVENTS / 8,
	LIST_MAX = BITMAP_BYTES / 2,
	/* So many names are told apart. Where a block has more, upper bits of their hashes are. Together with the places
	 * this is less than VIGIA_BLOCK_BYTES_MAX. */
	TYPES_MAX = 256,
	OPERATIONS_MAX = 8,
	HASH_BITS = 32,
	SLOTS = 2 * VIGIA_BLOCK_EVENTS, /* of a hash table */
	MEMO_BITS = 8,                  /* 256 names are found without hashing them */
	UNREADABLE = 0xffff
};

static uint32_t mask_of(unsigned bits)
{
	return bits == 0 ? 0 : UINT32_MAX << (HASH_BITS - bits);
}

static uint32_t sum_of(const uint8_t *bytes, size_t len, uint64_t block)
{
	return (uint32_t)XXH3_64bits_withSeed(bytes, len, block);
}

static size_t places_bytes(unsigned count, unsigned all)
{
	if (count == all) return 0;
	return count > LIST_MAX ? BITMAP_BYTES : 2 * (size_t)count;
}

static uint16_t get16(const uint8_t *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

static void put16(uint8_t *at, unsigned value)
{
	uint16_t word = (uint16_t)value;
	memcpy(at, &word, sizeof word);
}

static void put32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof value);
}

/* ---- Building ---- */

/* A name that came lately. */
struct memo {
	uint64_t parts[2];
	uint16_t len, name; /* len 0: none */
};

/* The types of the events, or their operations: names in the order in which they came, and which one each event has. */
struct names {
	struct memo memos[1 << MEMO_BITS];
	uint32_t hashes[VIGIA_BLOCK_EVENTS];
	uint16_t counts[VIGIA_BLOCK_EVENTS]; /* of events */
	uint16_t of_event[VIGIA_BLOCK_EVENTS];
	uint16_t slots[SLOTS]; /* of a hash table: name + 1, 0 = none */
	unsigned count;
	/* for the record */
	uint16_t entry_of[VIGIA_BLOCK_EVENTS]; /* a name's */
	unsigned entries, bits;
};

/* An entry of the record. */
struct entry {
	uint32_t name;
	unsigned count, filled;
	size_t at;
};

struct vigia__block_builder {
	unsigned from, next; /* places */
	unsigned unreadable; /* events */
	struct names types, operations;
	unsigned standard[4]; /* which of the operations it is + 1, 0 = not there yet */
	struct entry entries[TYPES_MAX + OPERATIONS_MAX + 1];
	uint64_t sorted[VIGIA_BLOCK_EVENTS];
	uint8_t record[VIGIA_BLOCK_BYTES_MAX];
};

struct vigia__block_builder *vigia__block_builder_new(void)
{
	return vigia__alloc(sizeof(struct vigia__block_builder));
}

void vigia__block_builder_free(struct vigia__block_builder *builder)
{
	vigia__free(builder);
}

static void names_clear(struct names *names)
{
	for (unsigned i = 0; i < 1 << MEMO_BITS; i++) names->memos[i].len = 0;
	memset(names->slots, 0, sizeof names->slots);
	names->count = 0;
}

void vigia__block_begin(struct vigia__block_builder *builder, unsigned place)
{
	builder->from = builder->next = place;
	builder->unreadable = 0;
	names_clear(&builder->types);
	names_clear(&builder->operations);
	memset(builder->standard, 0, sizeof builder->standard);
}

static unsigned find_name(struct names *names, struct vigia_slice name)
{
	uint32_t hash = vigia__name_hash(name), slot = hash % SLOTS;
	while (names->slots[slot] != 0) {
		unsigned known = names->slots[slot] - 1u;
		if (names->hashes[known] == hash) return known;
		slot = (slot + 1) % SLOTS;
	}
	names->hashes[names->count] = hash;
	names->counts[names->count] = 0;
	names->slots[slot] = (uint16_t)(names->count + 1);
	return names->count++;
}

/* Two parts of a name. Of one of up to 16 bytes they are, with its length, all of it. */
static inline void parts_of(struct vigia_slice name, uint64_t parts[2])
{
	parts[0] = parts[1] = 0;
	if (name.len >= 8) {
		memcpy(&parts[0], name.data, 8);
		memcpy(&parts[1], name.data + name.len - 8, 8);
	} else if (name.len >= 4) {
		memcpy(&parts[0], name.data, 4);
		memcpy(&parts[1], name.data + name.len - 4, 4);
	} else {
		parts[0] = (uint8_t)name.data[0] | (uint64_t)(uint8_t)name.data[name.len / 2] << 8;
		parts[1] = (uint8_t)name.data[name.len - 1];
	}
}

static inline unsigned names_add(struct names *names, struct vigia_slice name)
{
	uint64_t parts[2];
	parts_of(name, parts);
	uint64_t mixed = (parts[0] ^ parts[1] << 7 ^ name.len) * UINT64_C(0x9E3779B97F4A7C15);
	struct memo *memo = &names->memos[mixed >> (64 - MEMO_BITS)];
	if (memo->len == name.len && memo->parts[0] == parts[0] && memo->parts[1] == parts[1]) return memo->name;
	unsigned found = find_name(names, name);
	if (name.len <= 16)
		*memo = (struct memo){.parts = {parts[0], parts[1]}, .len = (uint16_t)name.len, .name = (uint16_t)found};
	return found;
}

void vigia__block_add_head(struct vigia__block_builder *builder, const struct vigia__head *head)
{
	struct names *types = &builder->types, *operations = &builder->operations;
	unsigned place = builder->next++;
	if (head == NULL) {
		builder->unreadable++;
		types->of_event[place] = operations->of_event[place] = UNREADABLE;
		return;
	}
	unsigned *standard = &builder->standard[head->standard], type = names_add(types, head->object_type);
	if (head->standard == 0 || *standard == 0) *standard = names_add(operations, vigia__operation_name(head)) + 1;
	operations->of_event[place] = (uint16_t)(*standard - 1);
	operations->counts[*standard - 1]++;
	types->of_event[place] = (uint16_t)type;
	types->counts[type]++;
}

void vigia__block_add(struct vigia__block_builder *builder, const uint8_t *bytes, size_t len)
{
	struct vigia__head head;
	vigia__block_add_head(builder, vigia__event_names(bytes, len, &head) == 0 ? &head : NULL);
}

static int compare_sorted(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* The names become entries, as many as there may be. */
static void make_entries(struct vigia__block_builder *builder, struct names *names, struct entry *entries, unsigned max)
{
	uint64_t *sorted = builder->sorted;
	for (unsigned i = 0; i < names->count; i++) sorted[i] = (uint64_t)names->hashes[i] << 32 | i;
	qsort(sorted, names->count, sizeof *sorted, compare_sorted);
	for (names->bits = HASH_BITS;; names->bits--) {
		uint32_t mask = mask_of(names->bits);
		names->entries = 0;
		for (unsigned i = 0; i < names->count && names->entries <= max; i++) {
			uint32_t name = (uint32_t)(sorted[i] >> 32) & mask;
			bool another = i == 0 || entries[names->entries - 1].name != name;
			if (another && names->entries++ == max) break;
			if (another) entries[names->entries - 1] = (struct entry){.name = name};
			names->entry_of[sorted[i] & UINT32_MAX] = (uint16_t)(names->entries - 1);
		}
		if (names->entries <= max) break;
	}
	for (unsigned i = 0; i < names->count; i++) entries[names->entry_of[i]].count += names->counts[i];
}

static void put_place(struct vigia__block_builder *builder, struct entry *entry, unsigned place, unsigned all)
{
	uint8_t *places = builder->record + entry->at;
	if (entry->count == all) return;
	if (entry->count > LIST_MAX) places[place / 8] |= (uint8_t)(1 << place % 8);
	else put16(places + 2 * (size_t)entry->filled++, place);
}

struct vigia_slice vigia__block_end(struct vigia__block_builder *builder, uint64_t block)
{
	struct names *types = &builder->types, *operations = &builder->operations;
	struct entry *entries = builder->entries;
	make_entries(builder, types, entries, TYPES_MAX);
	struct entry *second = entries + types->entries;
	make_entries(builder, operations, second, OPERATIONS_MAX);
	struct entry *odd = second + operations->entries;
	*odd = (struct entry){.name = UINT32_MAX, .count = builder->unreadable};
	unsigned count = types->entries + operations->entries + (odd->count > 0), all = builder->next - builder->from;

	size_t directory = HEAD_BYTES + count * (size_t)ENTRY_BYTES, len = directory;
	for (unsigned i = 0; i < count; i++) {
		entries[i].at = len;
		len += places_bytes(entries[i].count, all);
	}
	memset(builder->record + directory, 0, len - directory);
	for (unsigned place = builder->from; place < builder->next; place++) {
		unsigned type = types->of_event[place], operation = operations->of_event[place];
		if (type == UNREADABLE) {
			put_place(builder, odd, place, all);
			continue;
		}
		put_place(builder, &entries[types->entry_of[type]], place, all);
		put_place(builder, &second[operations->entry_of[operation]], place, all);
	}
	uint8_t *at = builder->record;
	memcpy(at + 4, (const uint8_t[]){VERSION, (uint8_t)types->bits, (uint8_t)operations->bits, 0}, 4);
	put16(at + 8, types->entries);
	put16(at + 10, operations->entries);
	put16(at + 12, builder->from);
	put16(at + 14, odd->count);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *to = at + HEAD_BYTES + i * (size_t)ENTRY_BYTES;
		put32(to, entries[i].name);
		put16(to + 4, entries[i].count);
		put16(to + 6, (unsigned)(entries[i].at / 2));
		put32(to + 8, sum_of(at + entries[i].at, places_bytes(entries[i].count, all), block));
	}
	put32(at, sum_of(at + 4, directory - 4, block));
	return (struct vigia_slice){(const char *)builder->record, len};
}

/* ---- Searching ---- */

struct search {
	const uint8_t *record;
	size_t len;
	uint64_t block;
	unsigned types, operations, from, odd, bits[2];
};

/* Take the record apart. False: its directory is damaged, or of a version that is not known here. */
static bool open_record(struct search *s, struct vigia_slice record, uint64_t block)
{
	const uint8_t *at = (const uint8_t *)record.data;
	if (record.len < HEAD_BYTES || at[4] != VERSION) return false;
	*s = (struct search){.record = at,
	                     .len = record.len,
	                     .block = block,
	                     .types = get16(at + 8),
	                     .operations = get16(at + 10),
	                     .from = get16(at + 12),
	                     .odd = get16(at + 14),
	                     .bits = {at[5], at[6]}};
	size_t directory = HEAD_BYTES + (s->types + s->operations + (s->odd > 0)) * (size_t)ENTRY_BYTES;
	return s->bits[0] <= HASH_BITS && s->bits[1] <= HASH_BITS && s->from < VIGIA_BLOCK_EVENTS &&
	       directory <= record.len && get32(at) == sum_of(at + 4, directory - 4, block);
}

static const uint8_t *entry_at(const struct search *s, unsigned i)
{
	return s->record + HEAD_BYTES + i * (size_t)ENTRY_BYTES;
}

/* The places of an entry. False: they are damaged. *places NULL: all. */
static bool places_of(const struct search *s, const uint8_t *entry, const uint8_t **places, unsigned *count)
{
	*count = get16(entry + 4);
	size_t at = 2 * (size_t)get16(entry + 6), len = places_bytes(*count, VIGIA_BLOCK_EVENTS - s->from);
	*places = len > 0 ? s->record + at : NULL;
	return at <= s->len && len <= s->len - at && get32(entry + 8) == sum_of(s->record + at, len, s->block);
}

/* The entry of a name among `count` ones from `first` on, or -1. */
static int find_entry(const struct search *s, unsigned first, unsigned count, unsigned bits, uint32_t hash)
{
	uint32_t name = hash & mask_of(bits);
	unsigned low = first, high = first + count;
	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		if (get32(entry_at(s, middle)) < name) low = middle + 1;
		else high = middle;
	}
	return low < first + count && get32(entry_at(s, low)) == name ? (int)low : -1;
}

static void set_from(uint64_t *bits, unsigned from)
{
	for (unsigned i = from; i < VIGIA_BLOCK_EVENTS; i = (i / 64 + 1) * 64) bits[i / 64] |= UINT64_MAX << i % 64;
}

/* Set the bits of an entry's places. False: it is damaged. */
static bool add_places(const struct search *s, const uint8_t *entry, uint64_t *bits)
{
	const uint8_t *places;
	unsigned count;
	if (!places_of(s, entry, &places, &count)) return false;
	if (places == NULL) {
		set_from(bits, s->from);
	} else if (count > LIST_MAX) {
		for (unsigned i = 0; i < BITMAP_BYTES; i++) bits[i / 8] |= (uint64_t)places[i] << i % 8 * 8;
	} else {
		for (unsigned i = 0; i < count; i++) {
			unsigned place = get16(places + 2 * (size_t)i);
			if (place >= VIGIA_BLOCK_EVENTS) return false;
			bits[place / 64] |= UINT64_C(1) << place % 64;
		}
	}
	return true;
}

/* Set the bits of all that have one of these names. *found: there may be some. False: it is damaged. */
static bool add_names(const struct search *s, unsigned first, unsigned count, unsigned bits, const uint32_t *hashes,
                      size_t hashes_count, uint64_t *out, bool *found)
{
	for (size_t i = 0; i < hashes_count; i++) {
		int entry = find_entry(s, first, count, bits, hashes[i]);
		if (entry < 0) continue;
		*found = true;
		if (!add_places(s, entry_at(s, (unsigned)entry), out)) return false;
	}
	return true;
}

/* Has any of the names an entry? */
static bool any_name(const struct search *s, unsigned first, unsigned count, unsigned bits, const uint32_t *hashes,
                     size_t hashes_count)
{
	for (size_t i = 0; i < hashes_count; i++)
		if (find_entry(s, first, count, bits, hashes[i]) >= 0) return true;
	return hashes_count == 0;
}

enum vigia__block_found vigia__block_find(struct vigia_slice record, uint64_t block, const struct vigia__filter *filter,
                                          uint64_t bits[VIGIA_BLOCK_WORDS])
{
	struct search s;
	size_t types_count, operations_count;
	const uint32_t *types = vigia__filter_type_hashes(filter, &types_count);
	const uint32_t *operations = vigia__filter_operation_hashes(filter, &operations_count);
	if ((types_count == 0 && operations_count == 0) || !open_record(&s, record, block)) return VIGIA_BLOCK_LOOK;
	bool some = any_name(&s, 0, s.types, s.bits[0], types, types_count) &&
	            any_name(&s, s.types, s.operations, s.bits[1], operations, operations_count);
	if (!some && s.odd == 0) return VIGIA_BLOCK_NONE;
	uint64_t other[VIGIA_BLOCK_WORDS] = {0}, any = 0;
	bool found = false;
	memset(bits, 0, VIGIA_BLOCK_WORDS * sizeof *bits);
	if (some && types_count == 0) set_from(bits, s.from);
	if (some && !add_names(&s, 0, s.types, s.bits[0], types, types_count, bits, &found)) return VIGIA_BLOCK_LOOK;
	if (some && operations_count > 0) {
		if (!add_names(&s, s.types, s.operations, s.bits[1], operations, operations_count, other, &found))
			return VIGIA_BLOCK_LOOK;
		for (unsigned i = 0; i < VIGIA_BLOCK_WORDS; i++) bits[i] &= other[i];
	}
	if (s.odd > 0 && !add_places(&s, entry_at(&s, s.types + s.operations), bits)) return VIGIA_BLOCK_LOOK;
	for (unsigned i = 0; i < VIGIA_BLOCK_WORDS; i++) any |= bits[i];
	return any ? VIGIA_BLOCK_SOME : VIGIA_BLOCK_NONE;
}

/* ---- Checking ---- */

bool vigia__block_whole(struct vigia_slice record, uint64_t block)
{
	struct search s;
	if (!open_record(&s, record, block)) return false;
	for (unsigned i = 0; i < s.types + s.operations + (s.odd > 0); i++) {
		uint64_t bits[VIGIA_BLOCK_WORDS] = {0};
		if (!add_places(&s, entry_at(&s, i), bits)) return false;
	}
	return true;
}

static bool entry_has(const struct search *s, unsigned first, unsigned count, unsigned bits, struct vigia_slice name,
                      unsigned place)
{
	const uint8_t *places;
	unsigned number;
	int entry = find_entry(s, first, count, bits, vigia__name_hash(name));
	if (entry < 0 || !places_of(s, entry_at(s, (unsigned)entry), &places, &number)) return false;
	if (places == NULL) return place >= s->from;
	if (number > LIST_MAX) return places[place / 8] >> place % 8 & 1;
	for (unsigned i = 0; i < number; i++)
		if (get16(places + 2 * (size_t)i) == place) return true;
	return false;
}

bool vigia__block_has(struct vigia_slice record, uint64_t block, unsigned place, const uint8_t *bytes, size_t len)
{
	struct search s;
	struct vigia__head head;
	if (vigia__event_names(bytes, len, &head) != 0) return true;
	return open_record(&s, record, block) && entry_has(&s, 0, s.types, s.bits[0], head.object_type, place) &&
	       entry_has(&s, s.types, s.operations, s.bits[1], vigia__operation_name(&head), place);
}
