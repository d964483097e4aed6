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

struct owned {
	struct named named; /* first */
	bool briefly;
};

struct checkpoint {
	struct named named; /* first */
	uint64_t seq_num;
	bool hold; /* no checkpoint yet: keeps events for its watcher */
	int64_t touched_at_ns;
};

struct memory_backend {
	struct vigia__backend base;
	struct vigia__unshared own;
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
	struct vigia__table owned; /* struct owned, the ids that a watcher of this store runs */
	int starting;              /* threads that wait to run an id, while another has it for a moment */
	struct vigia__table keys;
	struct key *oldest_key, *newest_key;
	struct vigia__ordered *maps[VIGIA_MAPS]; /* records of buckets (state.h) and timers */

	_Atomic uint64_t commits;
	int64_t created_at_ns;
	struct vigia__import_mark import; /* valid while base.importing */
	struct vigia__settings settings;
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
 * or ENOMEM, EUNFINISHED with the mutex unlocked. */
int vigia__memory_commit_begin(struct memory_backend *b, const char *id, struct vigia_error *err);
/* The same for an import. */
int vigia__memory_import_begin(struct memory_backend *b, const char *id, struct vigia_error *err);
/* Cancel a change: nothing was done, and no progress is saved. */
void vigia__memory_commit_cancel(struct memory_backend *b);
/* End a change: the watchers' progress is saved with it, as with every commit (contract W10). */
void vigia__memory_commit_end(struct memory_backend *b);
void vigia__memory_checkpoint_in(struct memory_backend *b, const char *id, uint64_t seq_num); /* reserved before */
void vigia__memory_hold_in(struct memory_backend *b, const char *id, uint64_t seq_num);
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

/* memory_events.c, under the mutex where no backend is given */
struct key; /* of an append that is stored once */
/* Make room for `more` items behind `count`. 0 or -1. */
int vigia__memory_grow(void **items, size_t *cap, size_t count, size_t more, size_t item_size);
/* Sets `existed`, and then the numbers. */
void vigia__memory_look_up(struct memory_backend *b, struct vigia__append *request);
/* Allocate the request's events, behind `skip` others, and its key, without adding them yet. 0, or -1 with everything
 * freed. */
int vigia__memory_make_room(struct memory_backend *b, const struct vigia__append *request, size_t skip,
                            struct key **key);
void vigia__memory_free_room(struct memory_backend *b, const struct vigia__append *request, size_t skip,
                             struct key *key);
/* Add them, stamped. */
void vigia__memory_put_events(struct memory_backend *b, struct vigia__append *request, struct key *key,
                              struct vigia__wake_set *types);
/* Append an event with its number and time, or a key, of an export. 0 or ENOMEM. */
int vigia__memory_put_event(struct memory_backend *b, uint64_t seq_num, struct vigia_slice bytes);
int vigia__memory_put_key(struct memory_backend *b, struct vigia_slice key, uint64_t first_seq, uint64_t last_seq);
/* Remove everything up to `upto`, and up to `bytes_upto` while more than `bytes_max` are kept, but at most `count_max`
 * events. Returns how many. */
size_t vigia__memory_remove_prefix(struct memory_backend *b, uint64_t upto, uint64_t bytes_upto, uint64_t bytes_max,
                                   size_t count_max);
/* As if it were new: events, checkpoints, buckets, timers. Or all of that but events and their keys. */
void vigia__memory_clear(struct memory_backend *b);
void vigia__memory_clear_beside(struct memory_backend *b);
int vigia__memory_scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch,
                       struct vigia_error *err);
int vigia__memory_bounds(struct vigia__backend *base, uint64_t *oldest, uint64_t *latest, struct vigia_error *err);
int vigia__memory_find_time(struct vigia__backend *base, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err);
int vigia__memory_keys_of(struct vigia__backend *base, uint64_t from, uint64_t upto, vigia__key_fn fn, void *ctx,
                          struct vigia_error *err);

/* memory_import.c */
int vigia__memory_import(struct vigia__backend *base, struct vigia__import *import, struct vigia_error *err);
int vigia__memory_import_mark(struct vigia__backend *base, struct vigia__import_mark *out, struct vigia_error *err);

#endif
