/*
 * laned.c - a watcher with lanes: what a call on the watcher means for all of them. Each lane is a driver of its own,
 * in the registry's list; the first one has the watcher's id, and stands for all.
 */
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "drive_private.h"

/* How each lane by itself is driven. */
static const struct vigia__driving *alone(const struct vigia_watcher *first)
{
	return first->one;
}

static enum vigia_watcher_state laned_state(const struct vigia_watcher *first)
{
	bool stopped = false, idle = false, running = false;
	for (const struct vigia_watcher *w = first; w; w = w->next_lane) {
		enum vigia_watcher_state state = alone(first)->state(w);
		if (state == VIGIA_STOPPING) return state;
		stopped |= state == VIGIA_STOPPED;
		idle |= state == VIGIA_IDLE;
		running |= state == VIGIA_RUNNING;
	}
	if (running) return stopped ? VIGIA_STOPPING : VIGIA_RUNNING;
	return stopped || !idle ? VIGIA_STOPPED : VIGIA_IDLE;
}

static bool laned_rests(const struct vigia_watcher *first)
{
	for (const struct vigia_watcher *w = first; w; w = w->next_lane)
		if (!alone(first)->rests(w)) return false;
	return true;
}

static void laned_stop(struct vigia_watcher *first)
{
	for (struct vigia_watcher *w = first; w; w = w->next_lane) alone(first)->stop(w);
}

static int laned_start(struct vigia_watcher *first, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	for (struct vigia_watcher *w = first; w && rc == VIGIA_OK; w = w->next_lane) rc = alone(first)->start(w, err);
	if (rc != VIGIA_OK) laned_stop(first);
	return rc;
}

static void laned_stats(const struct vigia_watcher *first, struct vigia_watcher_stats *out)
{
	alone(first)->stats(first, out);
	for (const struct vigia_watcher *w = first->next_lane; w; w = w->next_lane) {
		struct vigia_watcher_stats more;
		alone(first)->stats(w, &more);
		out->processed += more.processed;
		out->failed += more.failed;
		out->retried += more.retried;
		out->skipped += more.skipped;
		out->dead_lettered += more.dead_lettered;
		out->fetch_errors += more.fetch_errors;
		if (more.last_processed_seq_num > out->last_processed_seq_num) {
			out->last_processed_seq_num = more.last_processed_seq_num;
			out->last_processed_at_ns = more.last_processed_at_ns;
		}
		if (more.last_listen_at_ns > out->last_listen_at_ns) out->last_listen_at_ns = more.last_listen_at_ns;
		bool earlier = more.blocked_seq_num && more.blocked_seq_num < out->blocked_seq_num;
		if (out->blocked_seq_num == 0 || earlier) out->blocked_seq_num = more.blocked_seq_num;
		out->paused |= more.paused;
		if (out->last_error.code == 0) out->last_error = more.last_error;
		if (out->stop_error.code == 0) out->stop_error = more.stop_error;
	}
	out->state = laned_state(first);
	struct vigia__lanes *lanes = first->lanes;
	if (out->state == VIGIA_RUNNING || out->state == VIGIA_STOPPING)
		out->next = vigia__iterator_after(vigia__lanes_checkpoint(lanes));
}

/* All lanes move, once their handlers in progress have returned. The first that can saves it for all. */
static int laned_seek(struct vigia_watcher *first, uint64_t seq_num, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	vigia__lanes_seek(first->lanes);
	for (struct vigia_watcher *w = first; w; w = w->next_lane) {
		struct vigia_error one = {0};
		int moved = alone(first)->seek(w, seq_num, &one);
		if (moved < 0 && rc == VIGIA_OK) {
			rc = moved;
			if (err) *err = one;
		}
	}
	return rc;
}

static void laned_replaced(struct vigia_watcher *first, const struct vigia_error *err)
{
	for (struct vigia_watcher *w = first; w; w = w->next_lane) alone(first)->replaced(w, err);
}

/* A lane that stops by itself (on_damage, on_gap) stops the others. */
static bool laned_run(struct vigia_watcher *first)
{
	bool stopped = false, running = false;
	for (const struct vigia_watcher *w = first; w; w = w->next_lane) {
		enum vigia_watcher_state state = alone(first)->state(w);
		stopped |= state == VIGIA_STOPPING || state == VIGIA_STOPPED;
		running |= state == VIGIA_RUNNING;
	}
	if (stopped && running) laned_stop(first);
	return alone(first)->run(first);
}

static void laned_abandon(struct vigia_watcher *first)
{
	for (struct vigia_watcher *w = first; w; w = w->next_lane) alone(first)->abandon(w);
}

static void laned_free(struct vigia_watcher *first)
{
	const struct vigia__driving *one = alone(first);
	for (struct vigia_watcher *w = first->next_lane, *next; w; w = next) {
		next = w->next_lane;
		one->free(w);
	}
	vigia__lanes_unref(first->lanes);
	one->free(first);
}

static bool laned_kill(struct vigia_watcher *first)
{
	bool any = false;
	for (struct vigia_watcher *w = first; w && alone(first)->kill; w = w->next_lane) any |= alone(first)->kill(w);
	return any;
}

static int laned_reload(struct vigia_watcher *first, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	for (struct vigia_watcher *w = first; w && rc == VIGIA_OK; w = w->next_lane) rc = alone(first)->reload(w, err);
	return rc;
}

/* The others have these by the registry's list. */
static int laned_checkpoint(struct vigia_watcher *first, uint64_t seq_num, struct vigia_error *err)
{
	return alone(first)->checkpoint(first, seq_num, err);
}

static int64_t laned_due(const struct vigia_watcher *first)
{
	return alone(first)->due(first);
}

static void laned_wake(struct vigia_watcher *first)
{
	alone(first)->wake(first);
}

static bool laned_dirty(struct vigia_watcher *first)
{
	return alone(first)->dirty(first);
}

static void laned_end(struct vigia_watcher *first)
{
	alone(first)->end(first);
}

static const struct vigia__driving laned_driving = {
	.state = laned_state,
	.rests = laned_rests,
	.start = laned_start,
	.stop = laned_stop,
	.kill = laned_kill,
	.stats = laned_stats,
	.seek = laned_seek,
	.checkpoint = laned_checkpoint,
	.reload = laned_reload,
	.run = laned_run,
	.due = laned_due,
	.wake = laned_wake,
	.replaced = laned_replaced,
	.dirty = laned_dirty,
	.end = laned_end,
	.abandon = laned_abandon,
	.free = laned_free,
};

int vigia__laned_continue(struct vigia__driver *w, struct vigia_error *err)
{
	struct vigia__backend *b = w->base.registry->store->backend;
	struct vigia__lanes *shared = NULL;
	bool any = false;
	int rc = vigia__source(w) == &vigia__store_source ? vigia__lanes_left(b, w->base.id, &any, err) : VIGIA_OK;
	if (rc != VIGIA_OK || !any) return rc;
	if (w->base.options.checkpoint == VIGIA_CHECKPOINT_MANUAL) return vigia__lanes_forget(b, w->base.id, err);
	rc = vigia__lanes_new(w->base.id, 1, (uint64_t)w->base.options.lane_window, (struct vigia_slice){0},
	                      vigia__inbox_poke, &shared, err);
	if (rc == VIGIA_OK) rc = vigia__driver_be_lane(w, shared, 0, err);
	if (rc == VIGIA_OK) vigia__laned_join(&w->base, shared, w->base.driving);
	else vigia__driver_lane_free(w);
	vigia__lanes_unref(shared);
	return rc;
}

void vigia__laned_join(struct vigia_watcher *first, struct vigia__lanes *lanes, const struct vigia__driving *one)
{
	first->lanes = vigia__lanes_ref(lanes);
	first->one = one;
	first->driving = &laned_driving;
}

int vigia__laned_check(const struct vigia_watch_options *options, const struct vigia_registry *registry, bool keyed,
                       struct vigia_error *err)
{
	struct vigia__problems problems = {0};
	if (options->lanes <= 1) return VIGIA_OK;
	if (options->ephemeral || options->checkpoint == VIGIA_CHECKPOINT_MANUAL)
		vigia__problem(&problems,
		               "lanes: excludes ephemeral and checkpoint = \"manual\": their progress is saved together");
	if (registry->source != &vigia__store_source) vigia__problem(&problems, "lanes: a store in Lua has none");
	if (options->lane_key.len == 0 && !keyed)
		vigia__problem(&problems, "lane_key: missing, it says which events are handled in order");
	return vigia__problems_end(&problems, "watch options", err);
}
