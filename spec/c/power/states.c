/*
 * states.c - the disk of states.h: a record taken apart into what was written, and put together again as a loss could
 * leave it.
 */
#include "states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, FILES = 32, ALL_SUBSETS = 6, NEVER = 0x7fffffff };

/* Something that may be on the disk or not. */
struct change {
	enum { WRITTEN, SIZED, NAMED, UNNAMED } kind;
	unsigned file;
	unsigned begins, ends; /* places; a sync that begins later than `ends` has it */
	unsigned durable;      /* from this place on it is there for sure */
	bool clean;            /* it failed: no later sync brings it to the disk */
	unsigned gone; /* from this place on it cannot be there (it never reached the page cache), or is written over */
	/* WRITTEN: sectors as the page cache had them, whole */
	uint64_t first_sector;
	unsigned sectors;
	uint8_t *bytes;
	/* SIZED and WRITTEN */
	uint64_t size;
	bool grows;    /* a larger size stays */
	char name[64]; /* NAMED, UNNAMED */
};

struct file {
	uint64_t ino;
	uint8_t *cache; /* what the page cache has, and its size */
	size_t size, room;
	uint8_t *first; /* was there before */
	size_t first_size;
	char first_name[64]; /* "": it had none */
	bool hint;           /* nothing ever syncs it: by its name */
	uint8_t *built;      /* in the state */
	size_t built_size, built_room;
};

struct mark {
	unsigned place;
	char *line;
};

struct history {
	struct file files[FILES];
	unsigned files_count;
	struct change *changes;
	unsigned changes_count, changes_room;
	struct mark *marks;
	unsigned marks_count, marks_room;
	unsigned places;
	bool *matters; /* by place: something became possible, sure or told */
	uint64_t *ids; /* of calls under way, by the change or place they stand for */
	uint64_t folder_ino;
};

static void *grown(void *at, unsigned count, unsigned *room, size_t size)
{
	if (count < *room) return at;
	*room = *room ? *room * 2 : 256;
	at = realloc(at, *room * size);
	if (at == NULL) abort();
	return at;
}

static unsigned file_of(struct history *h, uint64_t ino)
{
	for (unsigned i = 0; i < h->files_count; i++)
		if (h->files[i].ino == ino) return i;
	if (h->files_count == FILES) abort();
	h->files[h->files_count] = (struct file){.ino = ino};
	return h->files_count++;
}

static uint8_t *with_room(uint8_t *bytes, size_t *room, size_t size)
{
	if (size <= *room) return bytes;
	size_t larger = (size + 65535) / 65536 * 65536 * 2;
	bytes = realloc(bytes, larger);
	if (bytes == NULL) abort();
	memset(bytes + *room, 0, larger - *room);
	*room = larger;
	return bytes;
}

/* ---- reading a record ---- */

struct reading {
	struct history *h;
	unsigned place;
	struct open_call {
		uint64_t id;
		unsigned change; /* of a write */
		unsigned place;  /* of a sync */
		uint64_t ino;
		const struct record *head;
	} calls[256];
	unsigned calls_count;
};

static struct change *add_change(struct reading *r, int kind, unsigned file)
{
	struct history *h = r->h;
	h->changes = grown(h->changes, h->changes_count, &h->changes_room, sizeof *h->changes);
	struct change *change = &h->changes[h->changes_count++];
	*change = (struct change){
		.kind = kind, .file = file, .begins = r->place, .ends = r->place, .durable = NEVER, .gone = NEVER};
	h->matters[r->place] = true;
	return change;
}

static bool is_hint_name(const char *name)
{
	size_t len = strlen(name);
	return len > 5 && (strcmp(name + len - 5, "-lock") == 0 || strcmp(name + len - 5, "-side") == 0);
}

static void name_change(struct reading *r, int kind, unsigned file, const char *name, size_t len)
{
	struct change *change = add_change(r, kind, file);
	snprintf(change->name, sizeof change->name, "%.*s", (int)len, name);
	if (kind == NAMED) r->h->files[file].hint = is_hint_name(change->name);
}

static struct open_call *call_begins(struct reading *r, const struct record *head)
{
	if (r->calls_count == sizeof r->calls / sizeof *r->calls) {
		/* Those of killed processes stay: the oldest goes. */
		memmove(r->calls, r->calls + 1, (r->calls_count - 1) * sizeof *r->calls);
		r->calls_count--;
	}
	struct open_call *call = &r->calls[r->calls_count++];
	*call = (struct open_call){.id = head->id, .place = r->place, .ino = head->ino, .head = head};
	return call;
}

static struct open_call *call_ends(struct reading *r, uint64_t id)
{
	for (unsigned i = r->calls_count; i-- > 0;)
		if (r->calls[i].id == id) return &r->calls[i];
	return NULL;
}

/* The bytes of a call to write, as sectors of the page cache. */
static void write_begins(struct reading *r, const struct record *head, const uint8_t *bytes, size_t len)
{
	struct history *h = r->h;
	unsigned number = file_of(h, head->ino);
	struct file *file = &h->files[number];
	size_t at = (size_t)head->a, end = at + len;
	size_t from = at / SECTOR * SECTOR, to = (end + SECTOR - 1) / SECTOR * SECTOR;
	file->cache = with_room(file->cache, &file->room, to);
	struct change *change = add_change(r, WRITTEN, number);
	change->first_sector = from / SECTOR;
	change->sectors = (unsigned)((to - from) / SECTOR);
	change->bytes = malloc(to - from + 1);
	if (change->bytes == NULL) abort();
	memcpy(change->bytes, file->cache + from, to - from);
	memcpy(change->bytes + (at - from), bytes, len);
	change->size = end;
	change->grows = true;
	change->ends = NEVER;
	call_begins(r, head)->change = h->changes_count - 1;
}

static void write_ends(struct reading *r, const struct record *end)
{
	struct history *h = r->h;
	struct open_call *call = call_ends(r, end->id);
	if (call == NULL) abort();
	struct change *change = &h->changes[call->change];
	struct file *file = &h->files[change->file];
	size_t at = (size_t)call->head->a, cached = (size_t)end->b;
	if (cached > 0) {
		file->cache = with_room(file->cache, &file->room, at + cached);
		memcpy(file->cache + at, change->bytes + (at - change->first_sector * SECTOR), cached);
		if (at + cached > file->size) file->size = at + cached;
	}
	change->ends = r->place;
	bool whole = end->a == (int64_t)(call->head->bytes - sizeof(struct record));
	if (!whole) {
		/* What the page cache took is written back some day; of a call that failed in the middle it may think that it
		 * was. */
		change->clean = end->a < 0;
		if (cached == 0) change->gone = r->place;
		if (end->a >= 0) { /* a short one: its bytes end there */
			change->size = at + cached;
			size_t sectors = cached == 0 ? 0 : (at + cached - change->first_sector * SECTOR + SECTOR - 1) / SECTOR;
			if (sectors < change->sectors) change->sectors = (unsigned)sectors;
			memcpy(change->bytes, file->cache + change->first_sector * SECTOR, change->sectors * SECTOR);
		}
	} else if (call->head->b) {
		change->durable = r->place;
		h->matters[r->place] = true;
	}
	*call = r->calls[--r->calls_count];
}

static void sync_ends(struct reading *r, const struct record *end)
{
	struct history *h = r->h;
	struct open_call *call = call_ends(r, end->id);
	if (call == NULL) abort();
	bool names = end->ino == h->folder_ino;
	unsigned number = names ? 0 : file_of(h, end->ino);
	for (unsigned i = 0; i < h->changes_count; i++) {
		struct change *change = &h->changes[i];
		bool concerned = names ? change->kind >= NAMED : change->kind <= SIZED && change->file == number;
		if (!concerned || change->ends >= call->place || change->durable != NEVER) continue;
		if (end->a != 0) change->clean = true;
		else if (!change->clean) change->durable = r->place;
	}
	h->matters[r->place] = true;
	*call = r->calls[--r->calls_count];
}

static void take(struct reading *r, const struct record *head, const uint8_t *payload, size_t len)
{
	struct history *h = r->h;
	unsigned number;
	switch (head->kind) {
	case RECORD_FILE: {
		struct file *file = &h->files[file_of(h, head->ino)];
		size_t name = strnlen((const char *)payload, len);
		snprintf(file->first_name, sizeof file->first_name, "%.*s", (int)name, (const char *)payload);
		file->hint = is_hint_name(file->first_name);
		file->size = file->first_size = len - name - 1;
		file->cache = with_room(file->cache, &file->room, file->size + 1);
		memcpy(file->cache, payload + name + 1, file->size);
		file->first = malloc(file->size + 1);
		memcpy(file->first, payload + name + 1, file->size);
		memset(h->matters, 0, (r->place + 1) * sizeof *h->matters); /* the places before are another record's */
		break;
	}
	case RECORD_NAME:
		name_change(r, NAMED, file_of(h, head->ino), (const char *)payload, len);
		break;
	case RECORD_RENAME: /* at worst one of the two is there: no state has neither name */
		number = (unsigned)strnlen((const char *)payload, len);
		name_change(r, NAMED, file_of(h, head->ino), (const char *)payload + number + 1, len - number - 1);
		name_change(r, UNNAMED, 0, (const char *)payload, number);
		break;
	case RECORD_UNLINK:
		name_change(r, UNNAMED, 0, (const char *)payload, len);
		break;
	case RECORD_WRITE:
		write_begins(r, head, payload, len);
		break;
	case RECORD_WRITE_END:
		write_ends(r, head);
		break;
	case RECORD_SIZE: {
		number = file_of(h, head->ino);
		struct file *file = &h->files[number];
		struct change *change = add_change(r, SIZED, number);
		change->size = (uint64_t)head->a;
		change->grows = head->b != 0;
		if (!change->grows || change->size > file->size) {
			file->cache = with_room(file->cache, &file->room, (size_t)change->size);
			if (change->size < file->size) memset(file->cache + change->size, 0, file->size - change->size);
			file->size = (size_t)change->size;
		}
		break;
	}
	case RECORD_SYNC:
		call_begins(r, head);
		break;
	case RECORD_SYNC_END:
		sync_ends(r, head);
		break;
	case RECORD_MARK:
		h->marks = grown(h->marks, h->marks_count, &h->marks_room, sizeof *h->marks);
		h->marks[h->marks_count++] = (struct mark){r->place, strndup((const char *)payload, len)};
		h->matters[r->place] = true;
		break;
	default:
		abort();
	}
}

/* A change whose sectors were all written again, and are on the disk, decides nothing any more. */
static void find_gone(struct history *h)
{
	for (unsigned i = 0; i < h->changes_count; i++) {
		struct change *old = &h->changes[i];
		for (unsigned k = i + 1; k < h->changes_count && old->kind == WRITTEN; k++) {
			const struct change *new = &h->changes[k];
			if (new->kind == WRITTEN &&new->file ==
			    old->file &&new->durable < old->gone &&new->size >= old->size &&new->first_sector <=
			        old->first_sector &&new->first_sector + new->sectors >= old->first_sector + old->sectors)
				old->gone = new->durable;
		}
	}
}

struct history *history_read(const char *path, uint64_t folder_ino)
{
	struct stat st;
	FILE *in = fopen(path, "rb");
	if (in == NULL || fstat(fileno(in), &st) < 0) abort();
	uint8_t *all = malloc((size_t)st.st_size + 1);
	if (all == NULL || fread(all, 1, (size_t)st.st_size, in) != (size_t)st.st_size) abort();
	fclose(in);
	struct history *h = calloc(1, sizeof *h);
	h->folder_ino = folder_ino;
	/* Each record where it can be read as one: they follow one another without a gap. */
	uint8_t *copy = malloc(2 * (size_t)st.st_size + 8);
	if (copy == NULL) abort();
	size_t to = 0;
	for (size_t at = 0; at < (size_t)st.st_size; h->places++) {
		struct record *head = (struct record *)(copy + to);
		memcpy(head, all + at, sizeof *head);
		memcpy(head, all + at, head->bytes);
		at += head->bytes;
		to += (head->bytes + 7) / 8 * 8;
	}
	h->matters = calloc(h->places + 1, sizeof *h->matters);
	struct reading *reading = calloc(1, sizeof *reading);
	if (h->matters == NULL || reading == NULL) abort();
	reading->h = h;
	for (uint8_t *at = copy; reading->place < h->places;) {
		const struct record *head = (const struct record *)at;
		reading->place++;
		take(reading, head, (const uint8_t *)(head + 1), head->bytes - sizeof *head);
		at += (head->bytes + 7) / 8 * 8;
	}
	for (unsigned i = 0; i < h->changes_count; i++)
		if (h->changes[i].ends == NEVER) h->changes[i].ends = h->places + 1; /* its process was killed */
	find_gone(h);
	free(copy);
	free(all);
	free(reading);
	return h;
}

void history_free(struct history *h)
{
	for (unsigned i = 0; i < h->files_count; i++) {
		free(h->files[i].cache);
		free(h->files[i].first);
		free(h->files[i].built);
	}
	for (unsigned i = 0; i < h->changes_count; i++) free(h->changes[i].bytes);
	for (unsigned i = 0; i < h->marks_count; i++) free(h->marks[i].line);
	free(h->changes);
	free(h->marks);
	free(h->matters);
	free(h);
}

unsigned history_places(const struct history *h)
{
	return h->places;
}

void history_facts(const struct history *h, unsigned from, unsigned to, struct facts *facts)
{
	for (unsigned i = 0; i < h->marks_count; i++)
		if (h->marks[i].place > from && h->marks[i].place <= to) facts_add(facts, h->marks[i].line);
}

bool history_copy_marks(const struct history *h, unsigned upto, int fd)
{
	for (unsigned i = 0; i < h->marks_count && h->marks[i].place <= upto; i++) {
		struct record head = {.bytes = (uint32_t)(sizeof head + strlen(h->marks[i].line)), .kind = RECORD_MARK};
		if (write(fd, &head, sizeof head) != sizeof head) return false;
		if (write(fd, h->marks[i].line, strlen(h->marks[i].line)) != (ssize_t)strlen(h->marks[i].line)) return false;
	}
	return true;
}

/* ---- building a state ---- */

/* What is decided for one change that is not sure. */
struct choice {
	bool sized; /* its size is there */
	enum { ABSENT, PRESENT, FIRST_HALF, LAST_HALF, FIRST_SECTOR, LAST_MISSING, SOME } bytes;
	uint64_t random; /* SOME */
};

static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static bool has_sector(const struct choice *choice, unsigned i, unsigned count)
{
	switch (choice->bytes) {
	case ABSENT:
		return false;
	case PRESENT:
		return true;
	case FIRST_HALF:
		return i < count / 2;
	case LAST_HALF:
		return i >= count / 2;
	case FIRST_SECTOR:
		return i == 0;
	case LAST_MISSING:
		return i + 1 < count;
	default:
		return mix(choice->random + i) & 1;
	}
}

static bool is_hint(const struct history *h, const struct change *change)
{
	return change->kind == UNNAMED ? is_hint_name(change->name) : h->files[change->file].hint;
}

/* Is it open at a place whether the disk has it? */
static bool is_open(const struct history *h, const struct change *change, unsigned place)
{
	return change->begins <= place && change->durable > place && change->gone > place && !is_hint(h, change);
}

static unsigned open_count(const struct history *h, unsigned place)
{
	unsigned count = 0;
	for (unsigned i = 0; i < h->changes_count; i++) count += is_open(h, &h->changes[i], place);
	return count;
}

/* The systematic ones: none, all; all subsets of the youngest ALL_SUBSETS, the older ones there or not; each one torn
 * in five ways between others that are there; sizes that lag, and run ahead. */
enum { TORN = 5 };

unsigned history_states(struct history *h, unsigned place)
{
	if (!h->matters[place]) return 0;
	unsigned count = open_count(h, place);
	if (count == 0) return 1;
	unsigned subset = count < ALL_SUBSETS ? count : ALL_SUBSETS;
	return 2 + 2 * (1u << subset) + TORN * count + 2;
}

unsigned history_weight(struct history *h, unsigned place)
{
	enum { MANY = 24 };
	unsigned states = history_states(h, place);
	unsigned weight = states < MANY ? states : MANY;
	for (unsigned i = 0; i < h->changes_count; i++)
		if (h->changes[i].clean && is_open(h, &h->changes[i], place)) return 2 * weight;
	return weight;
}

static struct choice choose(unsigned k, unsigned index, unsigned count, unsigned place)
{
	unsigned subset = count < ALL_SUBSETS ? count : ALL_SUBSETS;
	struct choice all = {.sized = true, .bytes = PRESENT}, none = {.sized = false, .bytes = ABSENT};
	if (k == 0) return none;
	if (k == 1) return all;
	k -= 2;
	if (k < 2 * (1u << subset)) {
		bool older = k >= 1u << subset;
		unsigned young = index + subset < count ? NEVER : index + subset - count;
		return (young == NEVER ? older : k >> young & 1) ? all : none;
	}
	k -= 2 * (1u << subset);
	if (k < TORN * count) {
		if (k / TORN == index) all.bytes = FIRST_HALF + k % TORN;
		all.random = mix(place * UINT64_C(1000003) + k);
		return all;
	}
	k -= TORN * count;
	if (k == 0) return (struct choice){.sized = false, .bytes = PRESENT};
	if (k == 1) return (struct choice){.sized = true, .bytes = ABSENT};
	/* Random ones: most changes are whole. */
	uint64_t random = mix(mix(place * UINT64_C(1000003) + k) + index);
	unsigned kind = random % 8;
	return (struct choice){.sized = random >> 8 & 1 || kind < 4,
	                       .bytes = kind < 3   ? ABSENT
	                                : kind < 6 ? PRESENT
	                                           : SOME,
	                       .random = random >> 16};
}

static void build_bytes(struct history *h, const struct change *change, const struct choice *choice)
{
	struct file *file = &h->files[change->file];
	if (change->kind == WRITTEN) {
		size_t end = (change->first_sector + change->sectors) * SECTOR;
		file->built = with_room(file->built, &file->built_room, end);
		for (unsigned i = 0; i < change->sectors; i++)
			if (has_sector(choice, i, change->sectors))
				memcpy(file->built + (change->first_sector + i) * SECTOR, change->bytes + (size_t)i * SECTOR, SECTOR);
	}
	bool sized = choice->sized && (!change->grows || change->size > file->built_size);
	if (!sized) return;
	file->built = with_room(file->built, &file->built_room, (size_t)change->size);
	if (change->size < file->built_size) memset(file->built + change->size, 0, file->built_room - (size_t)change->size);
	file->built_size = (size_t)change->size;
}

struct naming {
	char name[64];
	unsigned file;
};

static unsigned name_set(struct naming *names, unsigned count, const char *name, unsigned file)
{
	unsigned i = 0;
	while (i < count && strcmp(names[i].name, name) != 0) i++;
	if (i == LEFT_MAX) abort();
	snprintf(names[i].name, sizeof names[i].name, "%s", name);
	names[i].file = file;
	return i == count ? count + 1 : count;
}

static unsigned name_drop(struct naming *names, unsigned count, const char *name)
{
	for (unsigned i = 0; i < count; i++)
		if (strcmp(names[i].name, name) == 0) {
			names[i] = names[count - 1];
			return count - 1;
		}
	return count;
}

enum { HEAD_KEPT = 32 }; /* by which a side file is known */

/* What it held, its words in another order. */
static void shuffle(uint8_t *bytes, size_t size, uint64_t random)
{
	for (size_t i = size / 8; i-- > HEAD_KEPT / 8 + 1;) {
		size_t with = HEAD_KEPT / 8 + mix(random ^ i) % (i - HEAD_KEPT / 8);
		uint64_t one, other;
		memcpy(&one, bytes + 8 * i, 8);
		memcpy(&other, bytes + 8 * with, 8);
		memcpy(bytes + 8 * i, &other, 8);
		memcpy(bytes + 8 * with, &one, 8);
	}
}

/* What a file holds that nothing syncs. Some of the time it is not there at all; false then. */
static bool build_hint(struct file *file, uint64_t random)
{
	size_t size = file->size;
	file->built = with_room(file->built, &file->built_room, size);
	switch (random % 8) {
	case 0:
		file->built_size = 0;
		return true;
	case 1:
		file->built_size = size;
		memset(file->built, 0, size);
		return true;
	case 2:
		file->built_size = size;
		memcpy(file->built, file->cache, size);
		return true;
	case 3: /* a part of what it held, and random bytes in the rest */
		file->built_size = size;
		for (size_t i = 0; i < size; i++) {
			bool kept = i < HEAD_KEPT || mix(random + i / SECTOR) & 1;
			file->built[i] = kept ? file->cache[i] : (uint8_t)mix(random ^ i);
		}
		return true;
	case 4:
		file->built_size = size;
		memcpy(file->built, file->cache, size);
		shuffle(file->built, size, random);
		return true;
	default:
		return false;
	}
}

static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, size_t len)
{
	uint64_t word;
	for (; len >= 8; len -= 8, bytes += 8) {
		memcpy(&word, bytes, 8);
		hash = (hash ^ word) * UINT64_C(0x9fb21c651e98df25);
		hash ^= hash >> 29;
	}
	for (; len > 0; len--) hash = (hash ^ *bytes++) * UINT64_C(0x9fb21c651e98df25);
	return hash;
}

unsigned history_state(struct history *h, unsigned place, unsigned k, struct left left[LEFT_MAX], uint64_t *hash)
{
	struct naming names[LEFT_MAX];
	unsigned names_count = 0, count = open_count(h, place), index = 0, out = 0;
	const struct choice all = {.sized = true, .bytes = PRESENT};
	for (unsigned i = 0; i < h->files_count; i++) {
		struct file *file = &h->files[i];
		if (file->built) memset(file->built, 0, file->built_room);
		file->built = with_room(file->built, &file->built_room, file->first_size + 1);
		if (file->first) memcpy(file->built, file->first, file->first_size);
		file->built_size = file->first_size;
		if (file->first_name[0]) names_count = name_set(names, names_count, file->first_name, i);
	}
	for (unsigned i = 0; i < h->changes_count && h->changes[i].begins <= place; i++) {
		const struct change *change = &h->changes[i];
		struct choice choice = all;
		if (change->gone <= place || (is_hint(h, change) && change->kind <= SIZED)) continue;
		if (is_open(h, change, place)) choice = choose(k, index++, count, place);
		if (change->kind <= SIZED) build_bytes(h, change, &choice);
		else if (choice.bytes == ABSENT) continue;
		else if (change->kind == NAMED) names_count = name_set(names, names_count, change->name, change->file);
		else names_count = name_drop(names, names_count, change->name);
	}
	*hash = 1;
	for (unsigned i = 0; i < names_count; i++) {
		struct file *file = &h->files[names[i].file];
		uint64_t random = mix(mix(place * UINT64_C(31) + k) + i);
		bool hint = file->hint;
		if (hint && !build_hint(file, random)) continue;
		left[out] = (struct left){.bytes = file->built, .size = file->built_size, .ino = file->ino, .hint = hint};
		memcpy(left[out].name, names[i].name, sizeof left[out].name);
		*hash = hash_bytes(*hash, (const uint8_t *)names[i].name, strlen(names[i].name));
		*hash = hash_bytes(*hash ^ file->built_size, file->built, file->built_size);
		out++;
	}
	return out;
}
