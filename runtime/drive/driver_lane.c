/*
 * driver_lane.c - a driver as a lane of a watcher: which events are its own, and what it has finished.
 */
#include "../core/alloc.h"
#include "../core/error.h"
#include "drive_private.h"

int vigia__driver_be_lane(struct vigia__driver *w, struct vigia__lanes *shared, unsigned index, struct vigia_error *err)
{
	void *ctx = w->base.handler.ctx;
	if (w->base.has_handler && w->base.handler.lane && shared->count > 1) ctx = w->base.handler.lane(ctx, index);
	w->lane = vigia__calloc(sizeof *w->lane);
	if (w->lane == NULL || ctx == NULL)
		return vigia__error(err, VIGIA_ENOMEM, "no memory for the lanes of watcher '%s'", VIGIA_SHOWN(w->base.id));
	w->lane->shared = vigia__lanes_ref(shared);
	w->lane->index = index;
	vigia__ranges_init(&w->lane->in_tx, 0);
	w->base.handler.ctx = ctx;
	return VIGIA_OK;
}

void vigia__driver_lane_free(struct vigia__driver *w)
{
	if (w->lane == NULL) return;
	vigia__lanes_unref(w->lane->shared);
	vigia__ranges_deinit(&w->lane->in_tx);
	vigia__free(w->lane);
	w->lane = NULL;
}

int vigia__driver_lane_read(struct vigia__driver *w, uint64_t from, uint64_t reached)
{
	const struct vigia_batch *batch = &w->fetch.batch;
	int rc = VIGIA_OK;
	for (size_t i = 0; i < batch->count && rc == VIGIA_OK; i++) {
		uint64_t seq_num = batch->entries[i].seq_num;
		if (from < seq_num) rc = vigia__lane_finish(w->lane, from, seq_num - 1);
		from = seq_num + 1;
	}
	if (rc == VIGIA_OK && from <= reached) rc = vigia__lane_finish(w->lane, from, reached);
	return rc;
}

enum vigia__lane_look vigia__driver_lane_look(struct vigia__driver *w)
{
	struct vigia_slice bytes = vigia__batch_bytes(&w->fetch.batch, w->action.index);
	return vigia__lane_look(w->lane, w->base.registry, w->action.seq_num, bytes);
}

/* One in Lua is called by the handler (bind/handler.c). */
int vigia__driver_lane_ask(struct vigia__driver *w, struct vigia_error *err)
{
	struct vigia_event event;
	uint64_t hash;
	bool mine = true;
	if (w->action.letter) return VIGIA_OK;
	bool anew = !w->base.options.transactional || w->stepper.in_tx == 0;
	if (vigia__lane_reserve(w->lane, anew) != VIGIA_OK)
		return vigia__error(err, VIGIA_ENOMEM, "no memory to note that an event is handled");
	if (w->base.handler.key == NULL) return VIGIA_OK;
	if (!vigia__lane_is_known(w->lane, w->action.seq_num, &mine)) {
		int rc = vigia_batch_event(&w->fetch.batch, w->action.index, &event, err);
		if (rc == VIGIA_OK) rc = w->base.handler.key(w->base.handler.ctx, &event, &hash, err);
		if (rc == VIGIA_OK) rc = vigia__lane_assign(w->lane, w->action.seq_num, &hash, &mine);
		if (rc < 0) return rc;
	}
	return mine ? VIGIA_OK : VIGIA_NONE;
}

/* Its memory is reserved before an event is handled (vigia__driver_lane_ask). */
void vigia__driver_lane_finish(struct vigia__driver *w, uint64_t seq_num)
{
	if (vigia__lane_finish(w->lane, seq_num, seq_num) != VIGIA_OK)
		vigia__log(w->base.registry, VIGIA_LOG_WARN, "watcher '%s': no memory to note that event %llu is finished",
		           VIGIA_SHOWN(w->base.id), (unsigned long long)seq_num);
}

void vigia__driver_lane_handled(struct vigia__driver *w, const struct vigia__input *input)
{
	uint64_t seq_num = w->action.seq_num;
	if (w->action.letter) return;
	if (!w->base.options.transactional || (input->dropped && w->stepper.in_tx == 0)) {
		vigia__driver_lane_finish(w, seq_num);
		return;
	}
	vigia__ranges_add(&w->lane->in_tx, seq_num, seq_num); /* so is this */
}

bool vigia__driver_lane_gave_back(struct vigia__driver *w, bool done)
{
	bool mine;
	if (w->action.letter) return false;
	if (!done && w->lane->shared->key == NULL) /* if its key is not known, it may be any */
		vigia__lane_assign(w->lane, w->action.seq_num, NULL, &mine);
	bool back = w->lane->not_mine == w->action.seq_num;
	w->lane->not_mine = 0;
	return back;
}

bool vigia__watcher_lane_is_known(const struct vigia_watcher *watcher, bool *mine)
{
	const struct vigia__driver *w = vigia__driver(watcher);
	*mine = true;
	return w->lane == NULL || vigia__lane_is_known(w->lane, w->action.seq_num, mine);
}

int vigia__watcher_assign(const struct vigia_watcher *watcher, const uint64_t *hash, bool *mine)
{
	const struct vigia__driver *w = vigia__driver(watcher);
	return vigia__lane_assign(w->lane, w->action.seq_num, hash, mine);
}

bool vigia__driver_lane_dirty(const struct vigia__driver *w)
{
	struct vigia__lanes *lanes = w->lane->shared;
	pthread_mutex_lock(&lanes->mutex);
	bool dirty = vigia__ranges_any(&lanes->unsaved);
	pthread_mutex_unlock(&lanes->mutex);
	return dirty;
}
