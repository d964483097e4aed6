/*
 * memory_private.h - for the files of the memory backend: its struct, and its commits.
 */
#ifndef VIGIA_STORE_MEMORY_PRIVATE_H
#define VIGIA_STORE_MEMORY_PRIVATE_H

#include <string.h>

#include "../core/table.h"
#include "queue.h"

struct stored {
	uint8_t *bytes; /* the event, in the layout of core/event.h */
	size_t len;
};

/* What is found by a watcher's id: the first member of a struct in such a table. */
struct named {
	struct vigia__node entry; /* first */
	char id[VIGIA_NAME_MAX + 1];
};

struct checkpoint {
	struct named named; /* first */
	uint64_t seq_num;
	bool hold; /* no checkpoint yet: keeps events for its watcher */
	int64_t touched_at_ns;
};

struct memory_backend {
	struct vigia__backend base;
	struct vigia__wake wake;
	_Atomic uint32_t wake_words[VIGIA_WAKE_WORDS];
	struct vigia__queue queue;
	pthread_mutex_t mutex; /* of everything below */

	/* Events latest-count+1 .. latest are at events[first .. first+count). */
	struct stored *events;
	size_t first, count, cap;
	uint64_t latest; /* also after it was trimmed */
	int64_t last_at_ns;
	size_t bytes;

	struct vigia__mark *marks; /* oldest first */
	size_t marks_count, marks_cap;
	struct vigia__table checkpoints; /* and holds: struct checkpoint */
	struct checkpoint *spare;        /* allocated for the change in progress, which then cannot fail */
	struct vigia__progress_taken *taken;
	struct vigia__table owned; /* struct named, the ids that a watcher of this store runs */
	struct vigia__table keys;
	struct key *oldest_key, *newest_key;
	struct vigia__ordered *maps[VIGIA_MAPS]; /* records of buckets (state.h) and timers */
	struct vigia__elder elder;

	_Atomic uint64_t commits;
	int64_t created_at_ns;
	struct vigia__settings settings;
	_Atomic uint32_t settings_word, collect_word;
	_Atomic uint64_t collect_at;
};

static inline struct memory_backend *vigia__memory_enter(struct vigia__backend *base)
{
	struct memory_backend *b = (struct memory_backend *)base;
	pthread_mutex_lock(&b->mutex);
	return b;
}

static inline void vigia__memory_leave(struct memory_backend *b)
{
	pthread_mutex_unlock(&b->mutex);
}

static inline uint64_t vigia__memory_oldest(const struct memory_backend *b)
{
	return b->count > 0 ? b->latest - b->count + 1 : 0;
}

/* The store's clock (core/retention.h). */
static inline int64_t vigia__memory_time(struct memory_backend *b)
{
	struct vigia__clock clock;
	b->base.clock(&clock);
	return vigia__retention_now(b->marks_count > 0 ? &b->marks[b->marks_count - 1] : NULL, &clock);
}

/* memory_checkpoints.c */

/* NULL: the id is not in the table. */
struct named *vigia__memory_find(const struct vigia__table *table, const char *id);
void vigia__memory_add(struct vigia__table *table, struct named *named, const char *id);

/* Begin a change: lock the mutex, allocate a checkpoint for `id` (NULL: none) and those for the progress that moved. 0,
 * or ENOMEM with the mutex unlocked. */
int vigia__memory_commit_begin(struct memory_backend *b, const char *id, struct vigia_error *err);
/* Cancel a change: nothing was done, and no progress is saved. */
void vigia__memory_commit_cancel(struct memory_backend *b);
/* End a change: the watchers' progress is saved with it, as with every commit (contract W10). */
void vigia__memory_commit_end(struct memory_backend *b);
int vigia__memory_checkpoint_put(struct vigia__backend *base, const char *id, uint64_t seq_num, bool forward,
                                 struct vigia_error *err);
int vigia__memory_checkpoint_get(struct vigia__backend *base, const char *id, uint64_t *seq_num,
                                 struct vigia_error *err);
int vigia__memory_checkpoint_delete(struct vigia__backend *base, const char *id, struct vigia_error *err);
int vigia__memory_checkpoint_each(struct vigia__backend *base, bool holds, void *ctx, vigia_checkpoint_fn fn,
                                  struct vigia_error *err);
int vigia__memory_hold(struct vigia__backend *base, const char *id, struct vigia_iterator from, uint64_t *seq_num,
                       bool *made, struct vigia_error *err);
int vigia__memory_touch(struct vigia__backend *base, const char *id, struct vigia_error *err);

/* memory_state.c */
struct memory_kv;
/* Under the mutex: change the state. VIGIA_OK: *changes can be undone, or made final, by vigia__memory_state_end().
 * After an error nothing is changed. */
int vigia__memory_state_change(struct memory_backend *b, enum vigia__map map, vigia__state_fn fn, void *arg,
                               struct memory_kv **changes, struct vigia_error *err);
void vigia__memory_state_end(struct memory_kv *changes, bool undo);
int vigia__memory_view(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg,
                       struct vigia_error *err);
int vigia__memory_view_at(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg,
                          uint64_t *oldest, uint64_t *latest, struct vigia_error *err);
/* Under the mutex. */
void vigia__memory_state_counts(struct memory_backend *b, struct vigia__backend_stats *out);
void vigia__memory_state_free(struct memory_backend *b);

#endif
