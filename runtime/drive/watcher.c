/*
 * watcher.c - what is asked of one watcher from outside of a round: its statistics, a checkpoint, a seek, new code.
 */
#include <stdio.h>

#include "../core/error.h"
#include "../core/iterator.h"
#include "drive.h"
#include "worker.h"

static void fill_stats(struct vigia_watcher *w, struct vigia_watcher_stats *out)
{
	if (w->worker) vigia__worker_stats(w->worker, out);
	else vigia__driver_stats(w, out);
	struct vigia_store *store = w->registry->store;
	if (vigia__store_enter(store, NULL) < 0) return;
	if (!w->options.ephemeral)
		out->has_checkpoint = store->backend->checkpoint_get(store->backend, w->id, &out->checkpoint, NULL) == VIGIA_OK;
	if (out->has_checkpoint && out->state == VIGIA_IDLE)
		out->next = vigia__iterator_after(out->checkpoint); /* where it will begin */
	uint64_t oldest, latest = 0, looked_at = vigia__iterator_first(out->next) - 1;
	if (store->backend->bounds(store->backend, &oldest, &latest, NULL) == VIGIA_OK && latest > looked_at)
		out->lag = latest - looked_at;
	vigia__store_leave(store);
}

void vigia_watcher_stats_sized(struct vigia_watcher *w, struct vigia_watcher_stats *out, size_t size)
{
	struct vigia_watcher_stats ours = {0};
	fill_stats(w, &ours);
	vigia__options_give(out, size, &ours, sizeof ours);
}

static int in_range(struct vigia_watcher *w, uint64_t seq_num, const char *what, struct vigia_error *err)
{
	struct vigia__backend *b = w->registry->store->backend;
	uint64_t oldest, latest;
	int rc = b->bounds(b, &oldest, &latest, err);
	if (rc < 0 || seq_num <= latest) return rc;
	vigia__error(err, VIGIA_EPOSITION, "watcher '%s' cannot %s %llu: the last event is %llu", VIGIA_SHOWN(w->id), what,
	             (unsigned long long)seq_num, (unsigned long long)latest);
	if (err) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", w->id);
	return VIGIA_EPOSITION;
}

static int retired_error(struct vigia_watcher *w, const char *what, struct vigia_error *err)
{
	return w->retired ? vigia__watcher_state_error(w, what, err) : VIGIA_OK;
}

/* Save n durably unless that moves back. A commit under way must neither undo it nor be undone. */
static int put_forward(struct vigia_watcher *w, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia__backend *b = w->registry->store->backend;
	uint64_t saved = 0, done = 0;
	int rc = b->checkpoint_get(b, w->id, &saved, err);
	if (rc == VIGIA_OK && seq_num <= saved) return VIGIA_OK;
	if (rc < 0 && rc != VIGIA_ENOCHECKPOINT) return rc;
	if (w->progress) {
		saved = vigia__progress_saved(&b->progress, w->progress);
		done = atomic_load(&w->progress->done);
		vigia__progress_reset(&b->progress, w->progress, done, seq_num > saved ? seq_num : saved);
	}
	/* A commit in between may have taken more along; at rest another process may run the id. */
	rc = b->checkpoint_advance(b, w->id, seq_num, err);
	if (w->progress && rc < 0) vigia__progress_reset(&b->progress, w->progress, done, saved);
	if (rc == VIGIA_OK && seq_num > w->stepper.saved) w->stepper.saved = seq_num;
	return rc;
}

int vigia_watcher_checkpoint(struct vigia_watcher *w, uint64_t seq_num, struct vigia_error *err)
{
	if (w->options.ephemeral) {
		vigia__error(err, VIGIA_EEPHEMERAL, "watcher '%s' is ephemeral: it has no checkpoint", VIGIA_SHOWN(w->id));
		if (err) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", w->id);
		return VIGIA_EEPHEMERAL;
	}
	int rc = retired_error(w, "checkpointed", err);
	if (rc == VIGIA_OK && w->worker) return vigia__worker_call(w->worker, VIGIA_WORKER_CHECKPOINT, seq_num, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter(w->registry->store, err);
	if (rc < 0) return rc;
	rc = in_range(w, seq_num, "save checkpoint", err);
	if (rc == VIGIA_OK) rc = put_forward(w, seq_num, err);
	vigia__store_leave(w->registry->store);
	return rc;
}

int vigia_watcher_seek(struct vigia_watcher *w, uint64_t seq_num, struct vigia_error *err)
{
	int rc = retired_error(w, "moved", err);
	if (rc == VIGIA_OK && w->worker) return vigia__worker_call(w->worker, VIGIA_WORKER_SEEK, seq_num, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter(w->registry->store, err);
	if (rc < 0) return rc;
	rc = in_range(w, seq_num, "seek to", err);
	if (rc == VIGIA_OK) {
		/* The save is made here, so that the answer tells of it; at rest under the id's ownership, while nobody else
		 * runs it. */
		struct vigia__backend *b = w->registry->store->backend;
		bool rests = !vigia__driver_active(w) && !w->options.ephemeral;
		if (rests) rc = b->own(b, w->id, err);
		if (rc == VIGIA_OK) {
			vigia__driver_tell(w, VIGIA_INPUT_SEEK, seq_num);
			rc = vigia__driver_save(w, err);
		} else {
			rests = false;
		}
		if (rests) b->disown(b, w->id);
	}
	vigia__registry_ring(w->registry);
	vigia__store_leave(w->registry->store);
	return rc;
}

int vigia_watcher_reload(struct vigia_watcher *w, struct vigia_error *err)
{
	int rc = retired_error(w, "reloaded", err);
	if (rc < 0) return rc;
	if (w->worker) return vigia__worker_call(w->worker, VIGIA_WORKER_RELOAD, 0, err);
	/* A script's own handler asks: it goes on with the old code until it returns. */
	if (w->registry->worker) return vigia__worker_reload_soon(w->registry->worker);
	vigia__error(err, VIGIA_EUNSUPPORTED, "watcher '%s' cannot be reloaded: its handler is a function, not a script",
	             VIGIA_SHOWN(w->id));
	if (err) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", w->id);
	return VIGIA_EUNSUPPORTED;
}
