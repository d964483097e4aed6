/*
 * changes.h - the records of maps (state.h) that the transactions of one commit read and change, in memory, until they
 * are sent with it. So a record is asked for once, and none is written one by one.
 *
 * A member of the commit runs on what those before it have left. It keeps its changes, or drops them: nothing of it is
 * on the server yet. A record that is not known is noted, and the member fails with VIGIA_EINTERRUPTED, or goes on for
 * nothing: once all have run, fetch what is missing in one call, restart, and run all again.
 *
 * Under the writer's lock, inside a transaction of the server that has the log's lock.
 */
#ifndef VIGIA_STORE_PG_CHANGES_H
#define VIGIA_STORE_PG_CHANGES_H

#include "../../core/ordered.h"
#include "pg_private.h"

struct pg_record;

struct pg_changes {
	struct vigia__ordered *records; /* by map and key */
	struct pg_record *touched;      /* those that the member under way has changed */
	struct pg_array missing_maps, missing_keys;
	bool misses;        /* the member under way has met a record that is not known */
	PGresult **results; /* what known values point into */
	size_t results_count, results_max;
	bool at_once; /* ask for each record that is not known instead */
};

void vigia__pg_changes_begin(struct pg_changes *c);
void vigia__pg_changes_end(struct pg_changes *c);
/* What is missing is what the last commit has read. Remember it for the next. */
void vigia__pg_changes_guess(struct pg_changes *c, struct pg_backend *b);
void vigia__pg_changes_remember(const struct pg_changes *c, struct pg_backend *b);
/* Fetch what is missing, with the log's lock. `before` (NULL: nothing) is sent ahead in the same round trip. */
int vigia__pg_changes_fetch(struct pg_changes *c, struct pg_link *link, const char *before, int64_t until_mono_ns,
                            struct vigia_error *err);
/* Forget all changes, and what is missing. */
void vigia__pg_changes_restart(struct pg_changes *c);
/* A member's changes stay, or are forgotten. */
void vigia__pg_changes_keep(struct pg_changes *c);
void vigia__pg_changes_drop(struct pg_changes *c);

/* The value as changes and server have it; data NULL: there is none. False: it is not known. */
bool vigia__pg_changes_get(struct pg_changes *c, enum vigia__map map, struct vigia_slice key,
                           struct vigia_slice *value);
/* Has a change of this commit replaced what the server has? */
bool vigia__pg_changes_covers(struct pg_changes *c, enum vigia__map map, struct vigia_slice key);
/* The first record from `key` on that a change has put there. False: there is none. */
bool vigia__pg_changes_seek(struct pg_changes *c, enum vigia__map map, struct vigia_slice key,
                            enum vigia__ordered_from from, struct vigia_slice *found, struct vigia_slice *value);
/* Note that it is missing: EINTERRUPTED, or ENOMEM. */
int vigia__pg_changes_miss(struct pg_changes *c, enum vigia__map map, struct vigia_slice key);
/* What the server has; data NULL: nothing. `result`: what it points into, taken over. */
int vigia__pg_changes_learn(struct pg_changes *c, enum vigia__map map, struct vigia_slice key, struct vigia_slice value,
                            PGresult *result);
/* Change it; data NULL: remove it. */
int vigia__pg_changes_put(struct pg_changes *c, enum vigia__map map, struct vigia_slice key, struct vigia_slice value);

/* Add all that was kept to lists of maps, keys and values, for the server. */
void vigia__pg_changes_list(const struct pg_changes *c, struct pg_array *maps, struct pg_array *keys,
                            struct pg_array *values);

/* maps.c: run `fn` on a map with these changes. */
int vigia__pg_change(struct pg_backend *b, struct pg_changes *c, enum vigia__map map, vigia__state_fn fn, void *arg,
                     struct vigia_error *err);

#endif
