/*
 * remote.c - a watcher that stands for one that a worker drives on its own thread: it asks the worker for everything.
 */
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "drive_private.h"
#include "worker.h"

struct vigia__remote {
	struct vigia_watcher base; /* first */
	struct vigia__worker *worker;
};

static struct vigia__worker *worker_of(const struct vigia_watcher *w)
{
	return ((const struct vigia__remote *)w)->worker;
}

static enum vigia_watcher_state remote_state(const struct vigia_watcher *w)
{
	return vigia__worker_state(worker_of(w));
}

static bool remote_rests(const struct vigia_watcher *w)
{
	return !vigia__watcher_active(w);
}

static int remote_start(struct vigia_watcher *w, struct vigia_error *err)
{
	return vigia__worker_call(worker_of(w), VIGIA_WORKER_START, 0, err);
}

static void remote_stop(struct vigia_watcher *w)
{
	vigia__worker_stop(worker_of(w));
}

static bool kill_program(struct vigia_watcher *w)
{
	return vigia__worker_kill(worker_of(w));
}

static void remote_stats(const struct vigia_watcher *w, struct vigia_watcher_stats *out)
{
	vigia__worker_stats(worker_of(w), out);
}

static int remote_seek(struct vigia_watcher *w, uint64_t seq_num, struct vigia_error *err)
{
	return vigia__worker_call(worker_of(w), VIGIA_WORKER_SEEK, seq_num, err);
}

static int remote_checkpoint(struct vigia_watcher *w, uint64_t seq_num, struct vigia_error *err)
{
	return vigia__worker_call(worker_of(w), VIGIA_WORKER_CHECKPOINT, seq_num, err);
}

static int remote_reload(struct vigia_watcher *w, struct vigia_error *err)
{
	return vigia__worker_call(worker_of(w), VIGIA_WORKER_RELOAD, 0, err);
}

/* The thread goes on by itself, and tells of it through the inbox. */
static bool no_turn(struct vigia_watcher *w)
{
	return false;
}

static int64_t never(const struct vigia_watcher *w)
{
	return INT64_MAX;
}

static void remote_nothing(struct vigia_watcher *w)
{
}

static void remote_replaced(struct vigia_watcher *w, const struct vigia_error *err)
{
}

static void remote_end(struct vigia_watcher *w)
{
	vigia__worker_end(worker_of(w));
}

static void remote_free(struct vigia_watcher *w)
{
	vigia__worker_free(worker_of(w));
	vigia__free(w);
}

static const struct vigia__driving remote_driving = {
	.state = remote_state,
	.rests = remote_rests,
	.start = remote_start,
	.stop = remote_stop,
	.kill = kill_program,
	.stats = remote_stats,
	.seek = remote_seek,
	.checkpoint = remote_checkpoint,
	.reload = remote_reload,
	.run = no_turn,
	.due = never,
	.wake = remote_nothing,
	.replaced = remote_replaced,
	.dirty = no_turn,
	.end = remote_end,
	.abandon = remote_nothing, /* its thread gives up when the worker is freed */
	.free = remote_free,
};

struct vigia__worker *vigia__watcher_worker(const struct vigia_watcher *w)
{
	return w->driving == &remote_driving || w->one == &remote_driving ? worker_of(w) : NULL;
}

static void begin_remote(struct vigia__remote *remote, struct vigia_registry *registry)
{
	struct vigia_watcher *w = &remote->base;
	w->registry = registry;
	w->driving = &remote_driving;
	w->has_handler = true; /* the job is one */
	snprintf(w->id, sizeof w->id, "%s", vigia__worker_id(remote->worker));
	w->options = *vigia__worker_options(remote->worker);
}

/* A worker for each further lane. Those that have started stop with the first, if one fails. */
static int make_lanes(struct vigia__remote *first, const char *watcher_id, const struct vigia__job *job,
                      struct vigia_error *err)
{
	struct vigia__lanes *lanes = vigia__worker_lanes(first->worker);
	struct vigia_watcher *last = &first->base;
	int rc = VIGIA_OK;
	vigia__laned_join(&first->base, lanes, &remote_driving);
	for (unsigned i = 1; i < (unsigned)first->base.options.lanes && rc == VIGIA_OK; i++) {
		struct vigia__job another;
		struct vigia__remote *remote = vigia__calloc(sizeof *remote);
		if (remote == NULL || job->again(job->ctx, &another) != VIGIA_OK) {
			vigia__free(remote);
			return vigia__error(err, VIGIA_ENOMEM, "no memory for a lane");
		}
		another.lanes = lanes;
		another.lane = i;
		rc = vigia__worker_new(first->base.registry, watcher_id, &another, &remote->worker, err);
		if (remote->worker == NULL) {
			another.free(another.ctx);
			vigia__free(remote);
			return rc;
		}
		begin_remote(remote, first->base.registry);
		remote->base.leader = &first->base;
		last->next_lane = &remote->base;
		last = &remote->base;
	}
	return rc;
}

int vigia__registry_watch_job(struct vigia_registry *registry, const char *watcher_id, const struct vigia__job *job,
                              struct vigia_watcher **out, struct vigia_error *err)
{
	struct vigia_watcher *old = NULL;
	int rc = watcher_id ? vigia__watcher_id_check(watcher_id, strlen(watcher_id), err) : VIGIA_OK;
	if (rc == VIGIA_OK && watcher_id) rc = vigia__registry_find_free(registry, watcher_id, &old, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter(registry->store, err);
	if (rc < 0) {
		vigia__worker_forget_ahead(registry, job);
		return vigia__error_watcher(err, watcher_id, rc);
	}
	struct vigia__remote *remote = vigia__calloc(sizeof *remote);
	if (remote == NULL) rc = vigia__error(err, VIGIA_ENOMEM, "no memory for a watcher");
	if (rc == VIGIA_OK) rc = vigia__worker_new(registry, watcher_id, job, &remote->worker, err);
	if (remote && remote->worker) {
		struct vigia_watcher *w = &remote->base;
		begin_remote(remote, registry);
		if (rc == VIGIA_OK) rc = vigia__registry_find_free(registry, w->id, &old, err);
		if (rc == VIGIA_OK && w->options.lanes > 1) rc = make_lanes(remote, watcher_id, job, err);
		/* With an id it has started. */
		if (rc == VIGIA_OK && watcher_id == NULL && w->options.auto_start) rc = w->driving->start(w, err);
		if (rc == VIGIA_OK) {
			vigia__registry_add(registry, w, old);
			*out = w;
		} else {
			if (watcher_id == NULL && w->id[0]) vigia__error_watcher(err, w->id, rc);
			vigia__worker_disown_job(remote->worker); /* still the caller's */
			w->driving->free(w);
		}
	} else {
		vigia__worker_forget_ahead(registry, job);
		vigia__free(remote);
	}
	return vigia__error_watcher(err, watcher_id, vigia__store_end(registry->store, rc));
}
