/*
 * watcher.c - the functions of vigia.h for one watcher: statistics, checkpoint, seek.
 */
#include <string.h>

#include "../core/error.h"
#include "../core/iterator.h"
#include "drive_private.h"

const char *vigia_watcher_id(const struct vigia_watcher *w)
{
	return w->id;
}

int vigia__watcher_state_error(struct vigia_watcher *w, const char *what, struct vigia_error *err)
{
	static const char *const names[] = {"idle", "running", "stopping", "stopped"};
	const char *is = names[vigia__watcher_state(w)];
	if (w->removed) is = "removed from its registry";
	else if (w->retired || w->detached) is = "replaced by a newer one of its id";
	return vigia__error_watcher(
		err, w->id,
		vigia__error(err, VIGIA_ESTATE, "watcher '%s' cannot be %s: it is %s", VIGIA_SHOWN(w->id), what, is));
}

void vigia__watcher_ask_to_stop(struct vigia_watcher *w)
{
	if (vigia__watcher_state(w) != VIGIA_STOPPED) w->stop_asked = w->registry->stops_asked = true;
	w->driving->stop(w);
}

/* ---- statistics ---- */

void vigia__watcher_known_begin(const struct vigia_watcher *w, struct vigia__watcher_known *known)
{
	enum vigia_watcher_state state = vigia__watcher_state(w);
	bool rests = state == VIGIA_IDLE || state == VIGIA_STOPPED;
	bool of_store = w->registry->source == &vigia__store_source;
	*known = (struct vigia__watcher_known){.ephemeral = w->options.ephemeral,
	                                       .asks_pause = rests && of_store && !w->options.ephemeral};
	memcpy(known->id, w->id, sizeof known->id);
}

int vigia__watcher_known_ask(struct vigia_store *store, struct vigia__watcher_known *known)
{
	int rc = vigia__store_enter(store, NULL);
	if (rc < 0) return rc;
	known->rc = vigia__look_in_store(store->backend, known->id, known->ephemeral, VIGIA_LOOK_BOTH, &known->look, NULL);
	if (known->asks_pause) vigia__pause_look(store->backend, known->id, &known->paused, NULL);
	known->open = true;
	return vigia__store_end(store, VIGIA_OK);
}

void vigia__watcher_known_stats(struct vigia_watcher *w, const struct vigia__watcher_known *known,
                                struct vigia_watcher_stats *out)
{
	w->driving->stats(w, out);
	if (!known->open) return;
	out->has_checkpoint = known->look.has_checkpoint;
	out->checkpoint = known->look.checkpoint;
	if (out->has_checkpoint && out->state == VIGIA_IDLE)
		out->next = vigia__iterator_after(out->checkpoint); /* where it will begin */
	uint64_t looked_at = vigia__iterator_first(out->next) - 1;
	if (known->look.latest > looked_at) out->lag = known->look.latest - looked_at;
	else if (known->rc != VIGIA_OK && known->look.latest == 0) out->lag = VIGIA_LAG_UNKNOWN;
	if (known->asks_pause) out->paused = known->paused;
}

static void fill_stats(struct vigia_watcher *w, struct vigia_watcher_stats *out)
{
	struct vigia__watcher_known known;
	vigia__watcher_known_begin(w, &known);
	struct vigia_store *store = w->registry->store;
	if (w->registry->source == &vigia__store_source) {
		vigia__watcher_known_ask(store, &known);
	} else if (vigia__store_enter(store, NULL) == VIGIA_OK) {
		known.rc = w->registry->source->look(w, VIGIA_LOOK_BOTH, &known.look, NULL);
		known.open = true;
		vigia__store_leave(store);
	}
	vigia__watcher_known_stats(w, &known, out);
}

void vigia_watcher_stats_sized(struct vigia_watcher *w, struct vigia_watcher_stats *out, size_t size)
{
	struct vigia_watcher_stats ours = {0};
	fill_stats(w, &ours);
	vigia__options_give(out, size, &ours, sizeof ours);
}

/* ---- starting ---- */

bool vigia__watcher_starts(const struct vigia_watcher *w)
{
	return w->here && vigia__driver(w)->starting;
}

int vigia__watcher_started(const struct vigia_watcher *w, struct vigia_error *err)
{
	const struct vigia__driver *driver = vigia__driver(w);
	if (!driver->start_failed) return VIGIA_OK;
	*err = driver->stop_error;
	return err->code;
}

/* ---- moving ---- */

/* With the store entered: number n lies within the log. */
static int in_range(struct vigia_watcher *w, uint64_t seq_num, const char *what, struct vigia_error *err)
{
	struct vigia__look look;
	int rc = w->registry->source->look(w, VIGIA_LOOK_BOUNDS, &look, err);
	if (rc != VIGIA_OK || seq_num <= look.latest) return rc;
	return vigia__checkpoint_beyond(w->id, what, seq_num, look.latest, err);
}

/* What a watcher on another thread is told, that thread looks at. */
static int move(struct vigia_watcher *w, uint64_t seq_num, const char *what,
                int (*to)(struct vigia_watcher *, uint64_t, struct vigia_error *), struct vigia_error *err)
{
	if (!w->here) return to(w, seq_num, err);
	int rc = vigia__store_enter(w->registry->store, err);
	if (rc < 0) return rc;
	rc = in_range(w, seq_num, what, err);
	if (rc == VIGIA_OK) rc = to(w, seq_num, err);
	return vigia__store_end(w->registry->store, rc);
}

int vigia__watcher_checkpoint_begin(struct vigia_watcher *w, struct vigia_error *err)
{
	if (w->options.ephemeral)
		return vigia__error_watcher(
			err, w->id,
			vigia__error(err, VIGIA_EEPHEMERAL, "watcher '%s' is ephemeral: it has no checkpoint", VIGIA_SHOWN(w->id)));
	if (w->retired) return vigia__watcher_state_error(w, "checkpointed", err);
	return vigia__checkpoint_refuse(w->id, w->lanes || w->leader, w->options.transactional, err);
}

int vigia__watcher_checkpoint_ask(struct vigia_watcher *w, uint64_t seq_num, struct vigia_error *err)
{
	return move(w, seq_num, "save checkpoint", w->registry->source->checkpoint, err);
}

void vigia__watcher_checkpoint_saved(struct vigia_watcher *w, uint64_t seq_num)
{
	struct vigia__driver *driver = vigia__driver(w);
	if (seq_num > driver->stepper.saved) driver->stepper.saved = seq_num;
}

int vigia_watcher_checkpoint(struct vigia_watcher *w, uint64_t seq_num, struct vigia_error *err)
{
	int rc = vigia__watcher_checkpoint_begin(w, err);
	if (rc < 0) return rc;
	return move(w, seq_num, "save checkpoint", w->driving->checkpoint, err);
}

int vigia_watcher_seek(struct vigia_watcher *w, uint64_t seq_num, struct vigia_error *err)
{
	if (w->retired) return vigia__watcher_state_error(w, "moved", err);
	int rc = move(w, seq_num, "seek to", w->driving->seek, err);
	vigia__registry_ring(w->registry);
	return rc;
}

int vigia__watcher_seek_ask(struct vigia_store *store, const char *id, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia__look look;
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	rc = vigia__look_in_store(store->backend, id, true, VIGIA_LOOK_BOUNDS, &look, err);
	if (rc == VIGIA_OK && seq_num > look.latest)
		rc = vigia__checkpoint_beyond(id, "seek to", seq_num, look.latest, err);
	return vigia__store_end(store, rc);
}

int vigia__watcher_seek_within(struct vigia_watcher *w, uint64_t seq_num, struct vigia_error *err)
{
	if (w->retired) return vigia__watcher_state_error(w, "moved", err);
	int rc = vigia__store_enter(w->registry->store, err);
	if (rc == VIGIA_OK) rc = vigia__store_end(w->registry->store, w->driving->seek(w, seq_num, err));
	vigia__registry_ring(w->registry);
	return rc;
}

int vigia_watcher_reload(struct vigia_watcher *w, struct vigia_error *err)
{
	return w->retired ? vigia__watcher_state_error(w, "reloaded", err) : w->driving->reload(w, err);
}
