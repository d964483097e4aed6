/*
 * source_store.c - a store as what watchers read, and keep their checkpoints in. With one that waits for a server,
 * reads and saves are pending until that has answered (errand.c).
 */
#include "../core/error.h"
#include "drive_private.h"

static struct vigia__backend *backend_of(const struct vigia_watcher *watcher)
{
	return watcher->registry->store->backend;
}

int vigia__look_in_store(struct vigia__backend *b, const char *id, bool ephemeral, enum vigia__look_for what,
                         struct vigia__look *out, struct vigia_error *err)
{
	struct vigia_error later = {0};
	int found = VIGIA_ENOCHECKPOINT, rc = VIGIA_OK;
	*out = (struct vigia__look){0};
	if (what != VIGIA_LOOK_BOTH) { /* no watcher starts until an import is over */
		rc = vigia__backend_imported(b, err);
		if (rc < 0) return rc;
	}
	if (what != VIGIA_LOOK_BOUNDS && !ephemeral) found = b->checkpoint_get(b, id, &out->checkpoint, err);
	out->has_checkpoint = found == VIGIA_OK;
	if (found == VIGIA_ENOCHECKPOINT) vigia__error_clear(err);
	else rc = found;
	if (what == VIGIA_LOOK_CHECKPOINT && !out->has_checkpoint) return rc;
	int bounds = b->bounds(b, &out->oldest, &out->latest, rc < 0 ? &later : err);
	if (bounds < 0) out->latest = 0;
	return rc < 0 ? rc : bounds;
}

static int look_in_store(struct vigia_watcher *watcher, enum vigia__look_for what, struct vigia__look *out,
                         struct vigia_error *err)
{
	return vigia__look_in_store(backend_of(watcher), watcher->id, watcher->options.ephemeral, what, out, err);
}

static int store_read_events(struct vigia_watcher *watcher, const struct vigia_read *request, struct vigia_batch *batch,
                             struct vigia_iterator *next, struct vigia_error *err)
{
	const struct vigia__driver *w = vigia__driver(watcher);
	struct vigia__arrival *arrival = w->waits ? &w->waits->arrival : NULL;
	return vigia__store_look(watcher->registry->store, request, watcher->filter, arrival, batch, next, err);
}

static void store_cancel(struct vigia_watcher *watcher)
{
	vigia__driver_cancel_errands(vigia__driver(watcher));
}

/* Forward: all progress of the process in one commit. Backwards: this one by hand. */
static int save_now(struct vigia__driver *w, const struct vigia__asked *asked, struct vigia_error *err)
{
	const uint64_t seq_num = asked->seq_num;
	const bool backwards = asked->backwards;
	struct vigia_store *store = w->base.registry->store;
	struct vigia__backend *b = store->backend;
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	if (w->lane) rc = backwards ? vigia__lane_save_seek(w->lane, b, seq_num, err) : vigia__lane_save(w->lane, b, err);
	else if (backwards || w->progress == NULL) {
		if (w->progress) vigia__progress_reset(&b->progress, w->progress, seq_num, seq_num);
		rc = vigia__backend_checkpoint_put(b, w->base.id, seq_num, false, err);
	} else {
		vigia__progress_move(&b->progress, w->progress, seq_num);
		if (vigia__progress_saved(&b->progress, w->progress) < seq_num) rc = vigia__store_save_progress(store, err);
		/* A commit of another thread has it, and is not known to have succeeded. */
		if (rc == VIGIA_OK && vigia__progress_saved(&b->progress, w->progress) < seq_num)
			rc = vigia__backend_checkpoint_put(b, w->base.id, seq_num, true, err);
	}
	return vigia__store_end(store, rc);
}

static int store_save(struct vigia_watcher *watcher, uint64_t seq_num, bool backwards, struct vigia_error *err)
{
	return vigia__driver_errand(vigia__driver(watcher), save_now, (struct vigia__asked){seq_num, backwards, false},
	                            err);
}

/* A commit under way must neither undo it nor be undone. */
static int store_checkpoint(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	struct vigia__backend *b = watcher->registry->store->backend;
	uint64_t saved = 0, done = 0;
	int rc = b->checkpoint_get(b, watcher->id, &saved, err);
	/* Where another process may have taken the watcher, only a commit tells whether it has. */
	if (rc == VIGIA_OK && seq_num <= saved && !b->lost) return VIGIA_OK;
	if (rc < 0 && rc != VIGIA_ENOCHECKPOINT) return rc;
	if (w->progress) {
		saved = vigia__progress_saved(&b->progress, w->progress);
		done = atomic_load(&w->progress->done);
		vigia__progress_reset(&b->progress, w->progress, done, seq_num > saved ? seq_num : saved);
	}
	/* A commit in between may have taken more along. At rest another process may run the id. */
	rc = vigia__backend_checkpoint_put(b, watcher->id, seq_num, true, err);
	if (w->progress && rc < 0) vigia__progress_reset(&b->progress, w->progress, done, saved);
	return rc;
}

static int store_own(struct vigia_watcher *watcher, struct vigia_error *err)
{
	return backend_of(watcher)->own(backend_of(watcher), watcher->id, err);
}

static void store_disown(struct vigia_watcher *watcher)
{
	backend_of(watcher)->disown(backend_of(watcher), watcher->id);
}

static int store_hold(struct vigia_watcher *watcher, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	struct vigia__backend *b = watcher->registry->store->backend;
	/* Latest is where the log ended when the watcher was created, the trim horizon where it begins when nothing else is
	 * known. */
	enum vigia_iterator_kind kind = watcher->options.initial_event_iterator.kind;
	bool anew = kind == VIGIA_TRIM_HORIZON || (kind == VIGIA_LATEST && !w->created);
	uint64_t held = 0;
	int rc = b->hold(b, watcher->id, anew ? watcher->options.initial_event_iterator : w->start, &held, &w->begins, err);
	if (rc == VIGIA_EDISKFULL || rc == VIGIA_EFULL) {
		/* Reading on is worth more than the promise. Its first checkpoint keeps it again. */
		vigia__log(watcher->registry, VIGIA_LOG_WARN,
		           "watcher '%s': cannot hold back garbage collection: the disk or map is full",
		           VIGIA_SHOWN(watcher->id));
		vigia__error_clear(err);
		uint64_t oldest, latest;
		rc = kind == VIGIA_TRIM_HORIZON ? b->bounds(b, &oldest, &latest, err) : VIGIA_NONE;
		if (rc == VIGIA_OK)
			held = vigia__iterator_first(
					   vigia__iterator_resolve(watcher->options.initial_event_iterator, oldest, latest)) -
			       1;
		w->begins = rc == VIGIA_OK;
	}
	if (rc == VIGIA_OK && (w->begins ? anew : held != vigia__iterator_first(w->start) - 1))
		w->start = vigia__iterator_after(held);
	if (rc < 0) return rc;
	struct vigia_error untouched = {0};
	if (w->owned && b->touch(b, watcher->id, &untouched) < 0)
		vigia__log(watcher->registry, VIGIA_LOG_WARN, "watcher '%s': cannot renew its checkpoint: %s",
		           VIGIA_SHOWN(watcher->id), VIGIA_TOLD(&untouched));
	return VIGIA_OK;
}

static int store_begin_progress(struct vigia_watcher *watcher, uint64_t done, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	w->progress = vigia__progress_new(watcher->id, done);
	if (w->progress) return VIGIA_OK;
	return vigia__error(err, VIGIA_ENOMEM, "no memory for watcher '%s'", VIGIA_SHOWN(watcher->id));
}

static void store_end_progress(struct vigia_watcher *watcher)
{
	struct vigia__driver *w = vigia__driver(watcher);
	if (w->progress) vigia__progress_end(&backend_of(watcher)->progress, w->progress);
	w->progress = NULL;
}

const struct vigia__source vigia__store_source = {
	.look = look_in_store,
	.read = store_read_events,
	.cancel = store_cancel,
	.save = store_save,
	.checkpoint = store_checkpoint,
	.own = store_own,
	.disown = store_disown,
	.hold = store_hold,
	.begin_progress = store_begin_progress,
	.end_progress = store_end_progress,
};
