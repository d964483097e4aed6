/*
 * memory_checkpoints.c - checkpoints and holds in memory, begin and end of a commit, which also saves the watchers'
 * progress.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/iterator.h"
#include "memory_private.h"

struct named *vigia__memory_find(const struct vigia__table *table, const char *id)
{
	struct vigia__node *entry = vigia__table_first(table, vigia__table_hash(id, strlen(id)));
	while (entry && strcmp(((struct named *)entry)->id, id) != 0) entry = vigia__table_next(entry);
	return (struct named *)entry;
}

void vigia__memory_add(struct vigia__table *table, struct named *named, const char *id)
{
	snprintf(named->id, sizeof named->id, "%s", id);
	vigia__table_add(table, &named->entry, vigia__table_hash(id, strlen(id)));
}

static struct checkpoint *find_checkpoint(const struct memory_backend *b, const char *id)
{
	return (struct checkpoint *)vigia__memory_find(&b->checkpoints, id);
}

/* Cannot fail: commit_begin has allocated the memory. */
static struct checkpoint *memory_put_checkpoint(struct memory_backend *b, const char *id, uint64_t seq_num)
{
	struct checkpoint *at = find_checkpoint(b, id);
	if (at == NULL) {
		at = b->spare;
		b->spare = (struct checkpoint *)at->named.entry.next;
		vigia__memory_add(&b->checkpoints, &at->named, id);
	}
	at->seq_num = seq_num;
	at->hold = false;
	at->touched_at_ns = vigia__memory_time(b);
	return at;
}

static void put_spare(struct memory_backend *b, struct checkpoint *spare)
{
	spare->named.entry.next = (struct vigia__node *)b->spare;
	b->spare = spare;
}

static void discard_spare(struct memory_backend *b)
{
	while (b->spare) {
		struct checkpoint *spare = b->spare;
		b->spare = (struct checkpoint *)spare->named.entry.next;
		vigia__free(spare);
	}
}

/* Allocate a checkpoint for this id if it has none. 0 or -1. */
static int reserve_checkpoint(void *ctx, const char *id, uint64_t seq_num)
{
	struct memory_backend *b = ctx;
	if (find_checkpoint(b, id)) return 0;
	struct checkpoint *spare = vigia__calloc(sizeof *spare);
	if (spare == NULL) return -1;
	put_spare(b, spare);
	return 0;
}

int vigia__memory_commit_begin(struct memory_backend *b, const char *id, struct vigia_error *err)
{
	int rc = vigia__memory_import_begin(b, id, err);
	if (rc < 0 || !atomic_load(&b->base.importing)) return rc;
	vigia__memory_commit_cancel(b);
	return vigia__unfinished(err);
}

int vigia__memory_import_begin(struct memory_backend *b, const char *id, struct vigia_error *err)
{
	pthread_mutex_lock(&b->mutex);
	int rc = id ? reserve_checkpoint(b, id, 0) : 0;
	if (rc == 0) rc = vigia__progress_commit_begin(&b->base.progress, &b->taken);
	if (rc == 0) rc = vigia__progress_each(b->taken, reserve_checkpoint, b);
	if (rc == 0) return VIGIA_OK;
	vigia__memory_commit_cancel(b);
	return vigia__error(err, VIGIA_ENOMEM, "no memory for checkpoints");
}

void vigia__memory_commit_cancel(struct memory_backend *b)
{
	discard_spare(b);
	vigia__progress_commit_end(&b->base.progress, b->taken, false);
	pthread_mutex_unlock(&b->mutex);
}

static int memory_save_one(void *ctx, const char *id, uint64_t done)
{
	memory_put_checkpoint(ctx, id, done);
	return 0;
}

void vigia__memory_commit_end(struct memory_backend *b)
{
	vigia__progress_each(b->taken, memory_save_one, b);
	vigia__backend_saved_all(&b->base, b->taken);
	discard_spare(b);
	vigia__progress_commit_end(&b->base.progress, b->taken, true);
	atomic_fetch_add(&b->commits, 1);
	pthread_mutex_unlock(&b->mutex);
}

void vigia__memory_checkpoint_in(struct memory_backend *b, const char *id, uint64_t seq_num)
{
	memory_put_checkpoint(b, id, seq_num);
}

void vigia__memory_hold_in(struct memory_backend *b, const char *id, uint64_t seq_num)
{
	memory_put_checkpoint(b, id, seq_num)->hold = true;
}

int vigia__memory_checkpoint_put(struct vigia__backend *base, const char *id, uint64_t seq_num, bool forward,
                                 struct vigia_error *err)
{
	struct memory_backend *b = (struct memory_backend *)base;
	int rc = vigia__memory_commit_begin(b, id, err);
	if (rc < 0) return rc;
	const struct checkpoint *at = forward ? find_checkpoint(b, id) : NULL;
	if (at == NULL || at->hold || at->seq_num < seq_num) memory_put_checkpoint(b, id, seq_num);
	vigia__memory_commit_end(b);
	return VIGIA_OK;
}

int vigia__memory_checkpoint_get(struct vigia__backend *base, const char *id, uint64_t *seq_num,
                                 struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	const struct checkpoint *at = find_checkpoint(b, id);
	bool found = at && !at->hold;
	if (found) *seq_num = at->seq_num;
	vigia__memory_leave(b);
	return found ? VIGIA_OK : vigia__no_checkpoint(id, err);
}

int vigia__memory_checkpoint_delete(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	struct memory_backend *b = (struct memory_backend *)base;
	int rc = vigia__memory_commit_begin(b, NULL, err);
	if (rc < 0) return rc;
	struct checkpoint *at = find_checkpoint(b, id);
	if (at) { /* kept for this commit, which creates it again if it saves progress of this id */
		vigia__table_remove(&b->checkpoints, &at->named.entry);
		put_spare(b, at);
	}
	vigia__memory_commit_end(b);
	return at ? VIGIA_OK : vigia__no_checkpoint(id, err);
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->id, ((const struct named *)b)->id);
}

/* `fn` may use the store, so it is called with a copy, without the mutex. */
int vigia__memory_checkpoint_each(struct vigia__backend *base, bool holds, void *ctx, vigia_checkpoint_fn fn,
                                  struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	size_t all = b->checkpoints.count, count = 0;
	struct checkpoint *copy = all > 0 ? vigia__alloc(all * sizeof *copy) : NULL;
	for (struct vigia__node *at = NULL; copy && (at = vigia__table_each(&b->checkpoints, at));)
		if (((struct checkpoint *)at)->hold == holds) copy[count++] = *(struct checkpoint *)at;
	vigia__memory_leave(b);
	if (all > 0 && copy == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for the checkpoints");
	if (count > 0) qsort(copy, count, sizeof *copy, by_id);
	for (size_t i = 0; i < count; i++) fn(ctx, copy[i].named.id, copy[i].seq_num);
	vigia__free(copy);
	return VIGIA_OK;
}

int vigia__memory_hold(struct vigia__backend *base, const char *id, struct vigia_iterator from, uint64_t *seq_num,
                       bool *made, struct vigia_error *err)
{
	struct memory_backend *b = (struct memory_backend *)base;
	int rc = vigia__memory_commit_begin(b, id, err);
	if (rc < 0) return rc;
	const struct checkpoint *at = find_checkpoint(b, id);
	*made = at == NULL;
	if (at == NULL) {
		*seq_num = vigia__iterator_first(vigia__iterator_resolve(from, vigia__memory_oldest(b), b->latest)) - 1;
		memory_put_checkpoint(b, id, *seq_num)->hold = true;
	} else if (at->hold) {
		*seq_num = at->seq_num;
	} else {
		rc = VIGIA_NONE;
	}
	vigia__memory_commit_end(b);
	return rc;
}

int vigia__memory_touch(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	struct checkpoint *at = find_checkpoint(b, id);
	if (at) at->touched_at_ns = vigia__memory_time(b);
	vigia__memory_leave(b);
	return VIGIA_OK;
}
