/*
 * registry.c - watchers by id: how they come into a registry, leave it and are freed.
 */
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/options.h"
#include "drive_private.h"
#include "poller.h"

/* ---- life ---- */

struct vigia_registry *vigia_registry_new(struct vigia_store *store)
{
	struct vigia_registry *registry = vigia__calloc(sizeof *registry);
	if (registry == NULL) return NULL;
	registry->store = store;
	registry->source = &vigia__store_source;
	registry->checkpoint_interval_ns = store->options.checkpoint_interval_ns;
	registry->watchers_end = &registry->watchers;
	vigia__store_ref(store);
	vigia__inbox_init(&registry->inbox);
	vigia__registry_listen_to_bells(registry); /* without watchers there is nothing else */
	return registry;
}

void vigia_registry_log(struct vigia_registry *registry, void *ctx, vigia_log_fn fn)
{
	registry->log = fn;
	registry->log_ctx = ctx;
}

/* Time came: there may be work. */
static void advanced(struct vigia__clock_user *user)
{
	struct vigia_registry *registry =
		(struct vigia_registry *)((char *)user - offsetof(struct vigia_registry, clock_user));
	struct vigia__poller *poller = atomic_load(&registry->poller);
	if (poller) vigia__poller_ring(poller);
}

void vigia__registry_use_clock(struct vigia_registry *registry, struct vigia__manual_clock *clock)
{
	registry->clock = clock;
	registry->clock_user.advanced = advanced;
	vigia__manual_clock_join(clock, &registry->clock_user);
}

/* Progress is saved, but no handler goes on: a garbage collector may be the caller. */
static void stop_without_handlers(struct vigia_registry *registry)
{
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) w->driving->stop(w);
	if (!atomic_load(&registry->store->closed)) vigia__registry_save_progress(registry, true);
	vigia__registry_await_save(registry);
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) {
		if (w->pending) continue;
		w->driving->run(w);
		vigia__watcher_finish(w);
	}
}

static void unlink_from_list(struct vigia_watcher *w)
{
	*w->link = w->next;
	if (w->next) w->next->link = w->link;
}

void vigia_registry_free(struct vigia_registry *registry)
{
	if (registry == NULL) return;
	registry->log = NULL; /* the caller listens no more */
	registry->tell = NULL;
	if (registry->clock) vigia__manual_clock_leave(registry->clock, &registry->clock_user);
	registry->clock = NULL;
	/* In a forked child the watchers are the parent's: nothing may be saved or unlocked. */
	bool forked = registry->store->fork_generation != vigia__fork_generation();
	if (!forked) {
		stop_without_handlers(registry);
		vigia__questions_end(registry); /* they may use a transaction that goes with its watcher */
		vigia__tasks_free(registry);
		struct vigia_watcher **lists[] = {&registry->watchers, &registry->retired};
		for (int i = 0; i < 2; i++) {
			while (*lists[i]) {
				struct vigia_watcher *w = *lists[i];
				*lists[i] = w->next;
				if (w->next) w->next->link = lists[i];
				for (struct vigia_watcher *lane = w->next_lane; lane; lane = lane->next_lane)
					if (!lane->retired) unlink_from_list(lane);
				w->driving->abandon(w);
				w->driving->free(w);
			}
		}
		vigia__errands_free(registry);
		vigia__poller_free(registry->poller); /* the threads of scripts ring it */
	}
	vigia__fetch_deinit(&registry->spare);
	vigia__table_deinit(&registry->ids);
	vigia__inbox_deinit(&registry->inbox);
	vigia__free(registry->trace);
	vigia__store_unref(registry->store);
	vigia__free(registry);
}

/* ---- the lists ---- */

void vigia__registry_free_released(struct vigia_registry *registry)
{
	if (!registry->any_released || registry->depth > 0) return;
	registry->any_released = false;
	for (struct vigia_watcher *w = registry->retired, *next; w; w = next) {
		next = w->next;
		if (!w->released) continue;
		unlink_from_list(w);
		w->driving->free(w);
	}
}

void vigia_watcher_release(struct vigia_watcher *w)
{
	if (w == NULL || w->registry->store->fork_generation != vigia__fork_generation()) return;
	w->released = true;
	if (!w->retired && !w->detached) return;
	w->registry->any_released = true;
	vigia__registry_free_released(w->registry);
}

static struct vigia_watcher *find_watcher(struct vigia_registry *registry, const char *id)
{
	struct vigia__node *node = vigia__table_first(&registry->ids, vigia__table_hash(id, strlen(id)));
	while (node && strcmp(((struct vigia_watcher *)node)->id, id) != 0) node = vigia__table_next(node);
	return (struct vigia_watcher *)node;
}

/* Where its id is given up only now. */
static void end_stop(struct vigia_watcher *w)
{
	for (; w; w = w->next_lane)
		if (w->here) vigia__driver_end_stop(vigia__driver(w));
}

/* Is the id free? *old is the stopped watcher that has it, NULL if there is none. */
int vigia__registry_find_free(struct vigia_registry *registry, const char *id, struct vigia_watcher **old,
                              struct vigia_error *err)
{
	*old = find_watcher(registry, id);
	if (*old) end_stop(*old);
	if (*old == NULL || vigia__watcher_state(*old) == VIGIA_STOPPED) return VIGIA_OK;
	return vigia__error_watcher(
		err, id, vigia__error(err, VIGIA_EEXISTS, "watcher '%s' exists already: stop it first", VIGIA_SHOWN(id)));
}

static void append_watcher(struct vigia_registry *registry, struct vigia_watcher *w)
{
	if (w->leader == NULL) vigia__table_add(&registry->ids, &w->node, vigia__table_hash(w->id, strlen(w->id)));
	w->next = NULL;
	w->link = registry->watchers_end;
	*w->link = w;
	registry->watchers_end = &w->next;
}

static void leave_list(struct vigia_watcher *w)
{
	if (w->registry->watchers_end == &w->next) w->registry->watchers_end = w->link;
	unlink_from_list(w);
}

/* Out of the registry. The memory stays for handles that point to it. */
static void put_aside(struct vigia_watcher *w)
{
	struct vigia_registry *registry = w->registry;
	vigia__table_remove(&registry->ids, &w->node);
	leave_list(w);
	w->next = registry->retired;
	if (w->next) w->next->link = &w->next;
	w->link = &registry->retired;
	registry->retired = w;
	registry->any_released |= w->released;
}

/* For good. */
static void retire(struct vigia_watcher *w)
{
	for (struct vigia_watcher *lane = w->next_lane; lane; lane = lane->next_lane) {
		leave_list(lane);
		lane->retired = true;
		lane->driving->end(lane);
	}
	put_aside(w);
	w->retired = true;
	w->driving->end(w);
}

/* A detached one was started, and takes its place again. */
static void attach_watcher(struct vigia_watcher *w)
{
	unlink_from_list(w);
	w->detached = false;
	append_watcher(w->registry, w);
}

/* Take the watcher in, in the place of the stopped one that had its id. */
void vigia__registry_add(struct vigia_registry *registry, struct vigia_watcher *w, struct vigia_watcher *old)
{
	if (old) retire(old);
	for (struct vigia_watcher *lane = w; lane; lane = lane->next_lane) append_watcher(registry, lane);
	if (old) vigia__registry_listen(registry);
	else vigia__registry_listen_also(registry, w);
	vigia__registry_ring(registry);
	vigia__registry_free_released(registry);
}

/* An ephemeral watcher that was asked to stop and has leaves its registry, if that wants it. Not one that an error
 * stopped: its owner must be able to find it. */
void vigia__registry_forget_stopped(struct vigia_registry *registry)
{
	if (!registry->stops_asked) return;
	registry->stops_asked = false;
	for (struct vigia_watcher *w = registry->watchers, *next; w; w = next) {
		next = w->next;
		if (!w->stop_asked) continue;
		if (!w->driving->rests(w)) {
			registry->stops_asked = true;
			continue;
		}
		w->stop_asked = false;
		if (registry->forgotten == NULL || !w->options.ephemeral) continue;
		struct vigia_watcher_stats stats;
		w->driving->stats(w, &stats);
		if (stats.blocked_seq_num) continue;
		put_aside(w);
		w->detached = true;
		registry->depth++;
		registry->forgotten(registry->forgotten_ctx, w);
		registry->depth--;
	}
	vigia__registry_free_released(registry);
}

/* ---- coming ---- */

static int check_options(const struct vigia_watch_options *options, const struct vigia_registry *registry,
                         struct vigia_error *err)
{
	struct vigia__problems problems = {0};
	vigia__options_check(vigia__watch_option_table, options, &problems);
	if (registry->source == &vigia__store_source && registry->store->options.readonly && !options->ephemeral)
		vigia__problem(&problems,
		               "ephemeral: must be true on a store that was opened read-only: no checkpoint can be saved");
	if (options->transactional && (options->ephemeral || options->checkpoint != VIGIA_CHECKPOINT_BATCH))
		vigia__problem(&problems,
		               "transactional: excludes ephemeral and another checkpoint than \"batch\": its progress "
		               "is saved with its transactions");
	if (options->ephemeral && options->retry_strategy == VIGIA_RETRY_DEAD_LETTER)
		vigia__problem(&problems, "retry_strategy: \"dead_letter\" excludes ephemeral: it has no place in the store");
	return vigia__problems_end(&problems, "watch options", err);
}

/* NULL: all defaults. */
static int take_options(struct vigia_watch_options *ours, const struct vigia_watch_options *theirs,
                        struct vigia_error *err)
{
	vigia_watch_options_init(ours);
	if (theirs == NULL) return VIGIA_OK;
	return vigia__options_take("vigia_watch_options", ours, sizeof *ours, offsetof(struct vigia_watch_options, filter),
	                           theirs, err);
}

/* VIGIA_OK, ours filled in, or EINVAL. */
static int take_handler(struct vigia_handler *ours, const struct vigia_handler *theirs, struct vigia_error *err)
{
	int rc =
		vigia__options_take("vigia_handler", ours, sizeof *ours, offsetof(struct vigia_handler, damaged), theirs, err);
	if (rc == VIGIA_OK && ours->handle == NULL) rc = vigia__error(err, VIGIA_EINVAL, "handler: its `handle` is NULL");
	return rc;
}

/* A watcher that was not added. Its handler is the caller's still. */
static void free_unborn(struct vigia_watcher *w)
{
	for (struct vigia_watcher *lane = w; lane; lane = lane->next_lane) lane->has_handler = false;
	w->driving->abandon(w);
	w->driving->free(w);
}

int vigia_registry_watch(struct vigia_registry *registry, const char *watcher_id, const struct vigia_handler *handler,
                         const struct vigia_watch_options *options, struct vigia_watcher **out, struct vigia_error *err)
{
	struct vigia_watch_options taken;
	struct vigia_handler own = {0};
	int rc = vigia__watcher_id_check(watcher_id, watcher_id ? strlen(watcher_id) : 0, err);
	if (rc == VIGIA_OK) rc = take_options(&taken, options, err);
	if (rc == VIGIA_OK && handler) rc = take_handler(&own, handler, err);
	if (handler) handler = &own;
	options = &taken;
	if (rc == VIGIA_OK) rc = check_options(options, registry, err);
	if (rc == VIGIA_OK && options->lanes > 1 && handler == NULL)
		rc = vigia__error(err, VIGIA_EOPTION, "lanes: the handler must be given with them");
	if (rc == VIGIA_OK) rc = vigia__laned_check(options, registry, handler && (handler->key || handler->lane), err);
	if (rc == VIGIA_OK && handler == NULL && options->auto_start)
		rc = vigia__error(err, VIGIA_ENOHANDLER, "watcher '%s' has no handler: give one, or auto_start = false",
		                  VIGIA_SHOWN(watcher_id));
	if (rc == VIGIA_OK) rc = vigia__store_enter(registry->store, err);
	if (rc < 0) return vigia__error_watcher(err, watcher_id, rc);

	struct vigia_watcher *old = NULL;
	struct vigia__driver *w = NULL;
	rc = vigia__registry_find_free(registry, watcher_id, &old, err);
	if (rc == VIGIA_OK) rc = vigia__driver_new(registry, watcher_id, handler, options, &w, err);
	if (rc == VIGIA_OK && options->lanes > 1) rc = vigia__laned_make(w, handler, options, err);
	bool later = rc == VIGIA_OK && registry->starts_later && w->waits;
	if (later) w->only_places = !options->auto_start;
	if (rc == VIGIA_OK && (options->auto_start || later)) rc = w->base.driving->start(&w->base, err);
	else if (rc == VIGIA_OK && !registry->holds_late) rc = vigia__driver_hold(w, err);
	if (rc == VIGIA_OK)
		rc = vigia__registry_find_free(registry, watcher_id, &old, err); /* again: the log function may have watched */
	if (rc == VIGIA_OK) {
		for (struct vigia_watcher *lane = &w->base; lane; lane = lane->next_lane) vigia__driver(lane)->created = true;
		vigia__registry_add(registry, &w->base, old);
		if (out) *out = &w->base;
	} else if (w) {
		free_unborn(&w->base);
	}
	return vigia__error_watcher(err, watcher_id, vigia__store_end(registry->store, rc));
}

int vigia_watcher_set_handler(struct vigia_watcher *w, const struct vigia_handler *handler, struct vigia_error *err)
{
	struct vigia_handler ours = {0};
	if (w->has_handler)
		return vigia__error_watcher(
			err, w->id, vigia__error(err, VIGIA_EHANDLEREXISTS, "watcher '%s' has a handler", VIGIA_SHOWN(w->id)));
	int rc = take_handler(&ours, handler, err);
	if (rc < 0) return rc;
	w->handler = ours;
	w->has_handler = true;
	return VIGIA_OK;
}

int vigia_watcher_start(struct vigia_watcher *w, struct vigia_error *err)
{
	if (w->retired || vigia__watcher_active(w)) return vigia__watcher_state_error(w, "started", err);
	if (!w->has_handler)
		return vigia__error_watcher(err, w->id,
		                            vigia__error(err, VIGIA_ENOHANDLER,
		                                         "watcher '%s' has no handler: set_handler() first",
		                                         VIGIA_SHOWN(w->id)));
	if (w->detached && find_watcher(w->registry, w->id)) return vigia__watcher_state_error(w, "started", err);
	int rc = vigia__store_enter(w->registry->store, err);
	if (rc < 0) return rc;
	w->stop_asked = false;
	rc = w->driving->start(w, err);
	if (rc == VIGIA_OK && w->detached) attach_watcher(w);
	if (rc == VIGIA_OK) vigia__registry_listen_also(w->registry, w);
	vigia__registry_ring(w->registry);
	return vigia__store_end(w->registry->store, rc);
}

int vigia_registry_get(struct vigia_registry *registry, const char *watcher_id, struct vigia_watcher **out,
                       struct vigia_error *err)
{
	struct vigia_watcher *w = watcher_id ? find_watcher(registry, watcher_id) : NULL;
	if (w) *out = w;
	int rc =
		w ? VIGIA_OK
		  : vigia__error(err, VIGIA_ENOWATCHER, "there is no watcher '%s'", VIGIA_SHOWN(watcher_id ? watcher_id : ""));
	return vigia__error_watcher(err, watcher_id, rc);
}

/* ---- leaving ---- */

int vigia__registry_retire(struct vigia_registry *registry, struct vigia_watcher *w, struct vigia_error *err)
{
	if (vigia__watcher_state(w) == VIGIA_STOPPED && !w->driving->rests(w)) w->driving->run(w);
	end_stop(w);
	if (!w->driving->rests(w)) return vigia__watcher_state_error(w, "removed", err);
	w->removed = true;
	retire(w);
	return VIGIA_OK;
}

int vigia_registry_remove(struct vigia_registry *registry, const char *watcher_id, struct vigia_error *err)
{
	struct vigia_watcher *w = NULL;
	int rc = vigia_registry_get(registry, watcher_id, &w, err);
	if (rc == VIGIA_OK) rc = vigia__registry_retire(registry, w, err);
	if (rc == VIGIA_OK) vigia_watcher_release(w);
	return rc;
}
