/*
 * memory_state.c - buckets and timers in memory: ordered maps (state.h), with what a transaction changed kept until it
 * succeeds.
 */
#include "../core/alloc.h"
#include "../core/error.h"
#include "letters.h"
#include "memory_private.h"
#include "timer_records.h"

/* A record. While a transaction is under way its replaced records are in `undo`, and what it added is marked. */
struct record {
	struct vigia__ordered at; /* first */
	struct record *undo;      /* owner: the transaction's list */
	struct vigia_slice value;
	bool added;   /* in the list: undone by removing it; else by putting it back */
	char bytes[]; /* key, value */
};

struct memory_kv {
	struct vigia__ordered **map;
	struct record *undo; /* the last change first */
	struct vigia__ordered *at;
	bool reverse;
};

static int found_at(struct vigia__ordered *at, struct vigia_slice *key, struct vigia_slice *value)
{
	if (at == NULL) return VIGIA_NONE;
	*key = at->key;
	*value = ((struct record *)at)->value;
	return 0;
}

static int kv_get(void *ctx, struct vigia_slice key, struct vigia_slice *value)
{
	struct memory_kv *kv = ctx;
	return found_at(vigia__ordered_find(*kv->map, key), &key, value);
}

static int kv_seek(void *ctx, struct vigia_slice key, enum vigia__ordered_from from, struct vigia_slice *found,
                   struct vigia_slice *value)
{
	struct memory_kv *kv = ctx;
	kv->reverse = from == VIGIA_BELOW;
	kv->at = vigia__ordered_seek(*kv->map, key, from);
	return found_at(kv->at, found, value);
}

static int kv_next(void *ctx, struct vigia_slice *found, struct vigia_slice *value)
{
	struct memory_kv *kv = ctx;
	kv->at = vigia__ordered_seek(*kv->map, kv->at->key, kv->reverse ? VIGIA_BELOW : VIGIA_ABOVE);
	return found_at(kv->at, found, value);
}

static void note(struct memory_kv *kv, struct record *record, bool added)
{
	record->added = added;
	record->undo = kv->undo;
	kv->undo = record;
}

/* The record that is there leaves, until the transaction ends. An added one of this transaction stays in the list,
 * which frees it once. */
static int take_away(struct memory_kv *kv, struct vigia_slice key)
{
	struct record *old = (struct record *)vigia__ordered_find(*kv->map, key);
	if (old == NULL) return VIGIA_NONE;
	struct record *mark = vigia__calloc(sizeof *mark);
	if (mark == NULL) return VIGIA_ENOMEM;
	vigia__ordered_remove(kv->map, &old->at);
	mark->at.child[0] = &old->at; /* what it puts back */
	note(kv, mark, false);
	return 0;
}

static int kv_put(void *ctx, struct vigia_slice key, struct vigia_slice value)
{
	struct memory_kv *kv = ctx;
	struct record *record = vigia__calloc(sizeof *record + key.len + value.len);
	if (record == NULL) return VIGIA_ENOMEM;
	memcpy(record->bytes, key.data, key.len);
	if (value.len > 0) memcpy(record->bytes + key.len, value.data, value.len);
	record->at.key = (struct vigia_slice){record->bytes, key.len};
	record->value = (struct vigia_slice){record->bytes + key.len, value.len};
	if (take_away(kv, record->at.key) == VIGIA_ENOMEM) {
		vigia__free(record);
		return VIGIA_ENOMEM;
	}
	vigia__ordered_add(kv->map, &record->at);
	note(kv, record, true);
	return 0;
}

static int kv_del(void *ctx, struct vigia_slice key)
{
	return take_away(ctx, key);
}

/* The last change is undone first, so each finds the map as it left it. */
static void end_changes(struct memory_kv *kv, bool undo)
{
	struct record *dead = NULL; /* linked by child[1]: earlier changes of the list may still name them */
	while (kv->undo) {
		struct record *change = kv->undo;
		kv->undo = change->undo;
		struct record *old = change->added ? NULL : (struct record *)change->at.child[0];
		if (undo && change->added) vigia__ordered_remove(kv->map, &change->at);
		if (undo && old) vigia__ordered_add(kv->map, &old->at);
		struct record *gone = undo ? change : old;
		if (gone == NULL) continue; /* it was added, and stays or is freed by the change that took it away */
		if (!undo) vigia__free(change);
		gone->at.child[1] = (struct vigia__ordered *)dead;
		dead = gone;
	}
	while (dead) {
		struct record *next = (struct record *)dead->at.child[1];
		vigia__free(dead);
		dead = next;
	}
}

int vigia__memory_state_change(struct memory_backend *b, enum vigia__map map, vigia__state_fn fn, void *arg,
                               struct memory_kv **changes, struct vigia_error *err)
{
	struct memory_kv *ours = vigia__calloc(sizeof *ours);
	if (ours == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for a transaction");
	ours->map = &b->maps[map];
	struct vigia__kv kv = {ours, kv_get, kv_seek, kv_next, kv_put, kv_del};
	int rc = fn(&kv, arg, err);
	if (rc == VIGIA_ENOMEM) vigia__error(err, VIGIA_ENOMEM, "no memory for a transaction");
	*changes = ours;
	if (rc != VIGIA_OK) vigia__memory_state_end(ours, true);
	return rc;
}

void vigia__memory_state_end(struct memory_kv *changes, bool undo)
{
	end_changes(changes, undo);
	vigia__free(changes);
}

int vigia__memory_view(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg,
                       struct vigia_error *err)
{
	uint64_t oldest, latest;
	return vigia__memory_view_at(base, map, fn, arg, &oldest, &latest, err);
}

int vigia__memory_view_at(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg,
                          uint64_t *oldest, uint64_t *latest, struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	*oldest = vigia__memory_oldest(b);
	*latest = b->latest;
	struct memory_kv ours = {.map = &b->maps[map]};
	struct vigia__kv kv = {&ours, kv_get, kv_seek, kv_next, NULL, NULL};
	int rc = fn(&kv, arg, err);
	vigia__memory_leave(b);
	return rc;
}

void vigia__memory_state_counts(struct memory_backend *b, struct vigia__backend_stats *out)
{
	struct memory_kv state = {.map = &b->maps[VIGIA_MAP_STATE]}, timers = {.map = &b->maps[VIGIA_MAP_TIMERS]};
	struct vigia__kv kv = {&state, kv_get, kv_seek, kv_next, NULL, NULL};
	vigia__state_counts(&kv, &out->buckets, &out->values);
	vigia__letters_count(&kv, &out->dead_letters);
	vigia__timers_count(&(struct vigia__kv){.ctx = &timers, .get = kv_get}, &out->timers);
}

void vigia__memory_state_free(struct memory_backend *b)
{
	for (int i = 0; i < VIGIA_MAPS; i++)
		for (struct vigia__ordered *at; (at = vigia__ordered_pop(&b->maps[i]));) vigia__free(at);
}
