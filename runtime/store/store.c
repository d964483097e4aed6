/*
 * store.c - handles: open, close, the check of each call that the handle is usable, and calls that concern neither
 * events nor checkpoints.
 */
#include "store.h"

#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/location.h"
#include "../core/options.h"
#include "collect.h"
#include "module.h"
#include "store_private.h"
#include "timers.h"

/* ---- life of a handle ---- */

/* NULL: all defaults. */
static int take_options(struct vigia_store_options *ours, const struct vigia_store_options *theirs,
                        struct vigia_error *err)
{
	vigia_store_options_init(ours);
	if (theirs == NULL) return VIGIA_OK;
	return vigia__options_take("vigia_store_options", ours, sizeof *ours, offsetof(struct vigia_store_options, create),
	                           theirs, err);
}

int vigia_store_open(const char *path, const struct vigia_store_options *options, struct vigia_store **out,
                     struct vigia_error *err)
{
	struct vigia_store_options taken;
	int rc = take_options(&taken, options, err);
	if (rc < 0) return rc;
	options = &taken;
	if (path == NULL || path[0] == '\0') return vigia__error(err, VIGIA_EINVAL, "path: must name a file");
	struct vigia__problems problems = {0};
	vigia__options_check(vigia__store_option_table, options, &problems);
	rc = vigia__problems_end(&problems, "store options", err);
	if (rc < 0) return rc;

	struct vigia_store *store = vigia__calloc(sizeof *store);
	if (store == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory to open a store");
	store->path = vigia__strdup(path);
	if (store->path == NULL) {
		rc = vigia__error(err, VIGIA_ENOMEM, "no memory to open a store");
		goto fail;
	}
	vigia__location_show(path, store->path); /* a password is no part of it */
	store->options = *options;
	/* The caller's strings may be freed after this call. */
	store->options.events_bucket = store->options.checkpoint_bucket = store->options.serializer = NULL;
	store->fork_generation = vigia__fork_generation();
	atomic_init(&store->refs, 1);
	if (strcmp(path, ":memory:") == 0) rc = vigia__memory_open(options, &store->backend, err);
	else if (vigia__location_is_postgresql(path)) rc = vigia__module_open(path, options, &store->backend, err);
	else rc = vigia__lmdb_open(path, options, &store->backend, err);
	if (rc < 0) goto fail;
	struct vigia__settings settings;
	rc = store->backend->settings(store->backend, &settings, err);
	if (rc < 0) goto release;
	snprintf(store->serializer, sizeof store->serializer, "%s", settings.values.serializer);
	store->recodes = strcmp(store->serializer, "msgpack") != 0;
	store->collects = options->collect && !options->readonly;
	if (store->collects) rc = vigia__collector_add(store->backend, err);
	if (rc < 0) goto release;
	if (!options->readonly) rc = vigia__timers_add(store->backend, err);
	if (rc < 0) goto stop;
	*out = store;
	return VIGIA_OK;
stop:
	if (store->collects) vigia__collector_drop(store->backend);
release:
	store->backend->release(store->backend);
fail:
	vigia__free(store->path);
	vigia__free(store);
	return rc;
}

void vigia__store_ref(struct vigia_store *store)
{
	atomic_fetch_add_explicit(&store->refs, 1, memory_order_relaxed);
}

void vigia__store_unref(struct vigia_store *store)
{
	if (atomic_fetch_sub(&store->refs, 1) > 1) return;
	/* In a forked child the backend is the parent's: do not touch its locks and descriptors. */
	if (store->fork_generation == vigia__fork_generation()) {
		if (store->collects) vigia__collector_drop(store->backend);
		if (!store->options.readonly) vigia__timers_drop(store->backend);
		vigia__queue_flush(store->backend->queue, true, NULL);
		store->backend->release(store->backend);
	}
	vigia__free(store->path);
	vigia__free(store);
}

void vigia_store_close(struct vigia_store *store)
{
	if (store == NULL || atomic_load(&store->closed)) return;
	vigia__store_flush(store, NULL);
	if (atomic_exchange(&store->closed, true)) return;
	if (store->fork_generation == vigia__fork_generation()) vigia__bell_ring(&store->bell, store->backend->wake);
}

void vigia_store_free(struct vigia_store *store)
{
	if (store == NULL) return;
	vigia_store_close(store);
	vigia__store_unref(store);
}

int vigia__store_enter(struct vigia_store *store, struct vigia_error *err)
{
	if (store->fork_generation != vigia__fork_generation())
		return vigia__error(err, VIGIA_EFORKED, "store '%s' was opened before fork(): open it again in the child",
		                    store->path);
	if (atomic_load(&store->closed)) return vigia__error(err, VIGIA_ECLOSED, "store '%s' is closed", store->path);
	vigia__store_ref(store);
	vigia__timers_notice(store->backend);
	return VIGIA_OK;
}

void vigia__store_leave(struct vigia_store *store)
{
	vigia__store_unref(store);
}

int vigia__store_end(struct vigia_store *store, int rc)
{
	vigia__store_leave(store);
	return rc;
}

int vigia__store_enter_to_write(struct vigia_store *store, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc == VIGIA_OK && store->options.readonly) {
		rc = vigia__error(err, VIGIA_EREADONLY, "store '%s' was opened read-only", store->path);
		vigia__store_leave(store);
	}
	return rc;
}

/* ---- queue, backup, bounds, time, trim, settings ---- */

int vigia__store_flush(struct vigia_store *store, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	rc = vigia__queue_flush(store->backend->queue, true, err);
	if (rc < 0)
		vigia__error_prefix(err, "%zu events that waited for their commit are not stored: ",
		                    atomic_load(&store->backend->queue->count));
	return vigia__store_end(store, rc);
}

int vigia_store_sync(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	uint64_t oldest, latest;
	rc = vigia__queue_flush(b->queue, false, err);
	if (rc == VIGIA_OK && b->sync && !store->options.readonly && atomic_load(&b->durability) == VIGIA_DURABILITY_NONE)
		rc = b->sync(b, err);
	if (rc == VIGIA_OK) rc = b->bounds(b, &oldest, &latest, err);
	if (rc == VIGIA_OK && seq_num) *seq_num = latest;
	return vigia__store_end(store, rc);
}

int vigia_store_backup(struct vigia_store *store, const char *path, bool compact, struct vigia_error *err)
{
	return vigia_store_copy(store, path, compact, NULL, NULL, err);
}

int vigia_store_copy(struct vigia_store *store, const char *path, bool compact, vigia_transfer_fn progress, void *ctx,
                     struct vigia_error *err)
{
	if (path == NULL || path[0] == '\0') return vigia__error(err, VIGIA_EINVAL, "path: must name a file");
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	if (b->backup == NULL) rc = vigia__error(err, VIGIA_EUNSUPPORTED, "a store in memory has no file to copy");
	else if (!store->options.readonly) rc = vigia__queue_flush(b->queue, false, err);
	const struct vigia__backup backup = {path, compact, progress, ctx};
	if (rc == VIGIA_OK) rc = b->backup(b, &backup, err);
	return vigia__store_end(store, rc);
}

int vigia_store_latest(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	uint64_t oldest;
	/* After a crash a caller continues behind this number, so it must include what a killed process stored but did not
	 * publish. */
	if (store->backend->heal) store->backend->heal(store->backend);
	return vigia__store_end(store, store->backend->bounds(store->backend, &oldest, seq_num, err));
}

int vigia_store_oldest(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	uint64_t latest;
	rc = store->backend->bounds(store->backend, seq_num, &latest, err);
	vigia__store_leave(store);
	return rc == VIGIA_OK && *seq_num == 0 ? VIGIA_NONE : rc;
}

int vigia_store_find_time(struct vigia_store *store, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	return vigia__store_end(store, store->backend->find_time(store->backend, at_ns, seq_num, err));
}

int vigia_store_trim(struct vigia_store *store, uint64_t seq_num, uint64_t *removed, struct vigia_error *err)
{
	int rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	uint64_t oldest, latest, count = 0;
	rc = b->bounds(b, &oldest, &latest, err);
	if (rc == VIGIA_OK && seq_num > latest)
		rc = vigia__error(err, VIGIA_EPOSITION, "cannot trim up to %llu: the last event is %llu",
		                  (unsigned long long)seq_num, (unsigned long long)latest);
	if (rc == VIGIA_OK && oldest > 0 && seq_num >= oldest) rc = b->trim(b, seq_num, &count, err);
	if (removed) *removed = count;
	return vigia__store_end(store, rc);
}

int vigia_store_gc_sized(struct vigia_store *store, struct vigia_gc *out, size_t size, struct vigia_error *err)
{
	struct vigia_gc run = {0};
	int rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	rc = vigia__collect(store->backend, &store->closed, &run, err);
	if (out) vigia__options_give(out, size, &run, sizeof run);
	return vigia__store_end(store, rc);
}

int vigia_store_configure(struct vigia_store *store, const struct vigia_store_options *changes, struct vigia_error *err)
{
	struct vigia_store_options ours;
	int rc = take_options(&ours, changes, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	return vigia__store_end(store, store->backend->configure(store->backend, &ours, err));
}

int vigia__store_stats(struct vigia_store *store, struct vigia__backend_stats *out, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	rc = store->backend->stats(store->backend, out, err);
	const struct vigia__outcomes *outcomes = store->backend->outcomes;
	out->committed = atomic_load(&outcomes->committed);
	out->conflicts = atomic_load(&outcomes->conflicts);
	out->given_up = atomic_load(&outcomes->given_up);
	return vigia__store_end(store, rc);
}
