/*
 * registry.c - watchers by id, driven by one thread: rounds over all of them, waiting when none has work, stopping all.
 */
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/options.h"
#include "drive.h"
#include "worker.h"

/* ---- life ---- */

struct vigia_registry *vigia_registry_new(struct vigia_store *store)
{
	struct vigia_registry *registry = vigia__calloc(sizeof *registry);
	if (registry == NULL) return NULL;
	registry->store = store;
	registry->watchers_end = &registry->watchers;
	vigia__store_ref(store);
	vigia__inbox_init(&registry->inbox);
	return registry;
}

void vigia_registry_log(struct vigia_registry *registry, void *ctx, vigia_log_fn fn)
{
	registry->log = fn;
	registry->log_ctx = ctx;
}

static bool save_progress(struct vigia_registry *registry, bool now);

/* Progress is saved, but no handler goes on: who frees may be a garbage collector. */
static void stop_without_handlers(struct vigia_registry *registry)
{
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) vigia__driver_tell(w, VIGIA_INPUT_STOP, 0);
	if (!atomic_load(&registry->store->closed)) save_progress(registry, true);
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if (!w->pending) vigia__driver_run(w);
}

void vigia_registry_free(struct vigia_registry *registry)
{
	if (registry == NULL) return;
	registry->log = NULL; /* whoever frees listens no more */
	registry->tell = NULL;
	vigia__registry_leave_clock(registry);
	/* In a forked child the watchers are the parent's: nothing may be saved or unlocked. */
	bool forked = registry->store->fork_generation != vigia__fork_generation();
	if (!forked) {
		stop_without_handlers(registry);
		vigia__tasks_free(registry);
		struct vigia_watcher **lists[] = {&registry->watchers, &registry->retired};
		for (int i = 0; i < 2; i++) {
			while (*lists[i]) {
				struct vigia_watcher *w = *lists[i];
				*lists[i] = w->next;
				vigia__driver_abandon(w);
				vigia__driver_free(w);
			}
		}
		vigia__poller_free(registry->poller); /* the threads of scripts ring it */
	}
	vigia__driver_free_spare(registry);
	vigia__table_deinit(&registry->ids);
	vigia__inbox_deinit(&registry->inbox);
	vigia__free(registry->trace);
	vigia__store_unref(registry->store);
	vigia__free(registry);
}

static void unlink_from_list(struct vigia_watcher *w)
{
	*w->link = w->next;
	if (w->next) w->next->link = w->link;
}

/* Free the retired watchers that nobody will ask for any more. Not below a handler or log function: who called it may
 * be among them. */
static void free_released(struct vigia_registry *registry)
{
	if (!registry->any_released || registry->depth > 0) return;
	registry->any_released = false;
	for (struct vigia_watcher *w = registry->retired, *next; w; w = next) {
		next = w->next;
		if (!w->released) continue;
		unlink_from_list(w);
		vigia__driver_free(w);
	}
}

void vigia_watcher_release(struct vigia_watcher *w)
{
	if (w == NULL || w->registry->store->fork_generation != vigia__fork_generation()) return;
	w->released = true;
	if (!w->retired && !w->detached) return;
	w->registry->any_released = true;
	free_released(w->registry);
}

static struct vigia_watcher *find(struct vigia_registry *registry, const char *id)
{
	struct vigia__node *node = vigia__table_first(&registry->ids, vigia__table_hash(id, strlen(id)));
	while (node && strcmp(((struct vigia_watcher *)node)->id, id) != 0) node = vigia__table_next(node);
	return (struct vigia_watcher *)node;
}

/* What every waiter of this registry listens to together. */
static void listen_to_all(struct vigia_registry *registry)
{
	struct vigia__listen all = {0};
	bool workers = false;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) {
		size_t count;
		workers |= w->worker != NULL;
		if (w->worker || !vigia__driver_active(w)) continue;
		const struct vigia_slice *types = vigia__filter_types(w->filter, &count);
		vigia__listen_add(&all, types, count);
	}
	/* Workers hear of events themselves; for their news every word will do, and one that no event should have is
	 * best. */
	static const struct vigia_slice nobody = {"\1 no type", 9};
	registry->listen_in_vain = all.count == 0;
	registry->listen_for_workers = workers;
	if (all.count == 0 && workers) vigia__listen_add(&all, &nobody, 1);
	if (all.count == 0 || registry->listen_anything) vigia__listen_init(&all, NULL, 0);
	vigia__listen_bell(&all, &registry->bell);
	vigia__listen_bell(&all, &registry->store->bell);
	registry->listen = all;
	registry->listening = false;
}

/* It was added or started: the words of the others stay. What it reads first needs no word. */
static void listen_also(struct vigia_registry *registry, const struct vigia_watcher *w)
{
	struct vigia__listen more = registry->listen;
	size_t count;
	const struct vigia_slice *types = w->worker ? NULL : vigia__filter_types(w->filter, &count);
	bool wants = !w->worker && vigia__driver_active(w);
	bool alone = registry->watchers->next == NULL;
	if (alone || (registry->listen_in_vain && (wants || (w->worker && !registry->listen_for_workers)))) {
		listen_to_all(registry);
		return;
	}
	if (!wants) return;
	vigia__listen_add(&more, types, count);
	if (more.count == registry->listen.count && more.index[0] == registry->listen.index[0]) return;
	registry->listen = more;
	registry->listening = false;
}

void vigia__registry_listen(struct vigia_registry *registry)
{
	listen_to_all(registry);
}

/* The looks before the next prepare do not count: hear() wakes all once it has prepared. */
void vigia__registry_listen_anything(struct vigia_registry *registry)
{
	if (registry->listen_anything) return;
	registry->listen_anything = true;
	listen_to_all(registry);
}

static int check_options(const struct vigia_watch_options *options, const struct vigia_registry *registry,
                         struct vigia_error *err)
{
	struct vigia__problems problems = {0};
	vigia__options_check(vigia__watch_option_table, options, &problems);
	if (registry->store->options.readonly && !options->ephemeral)
		vigia__problem(&problems,
		               "ephemeral: must be true on a store that was opened read-only: no checkpoint can be saved");
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

static int take_handler(struct vigia_handler *ours, const struct vigia_handler *theirs, struct vigia_error *err)
{
	int rc =
		vigia__options_take("vigia_handler", ours, sizeof *ours, offsetof(struct vigia_handler, damaged), theirs, err);
	if (rc == VIGIA_OK && ours->handle == NULL) rc = vigia__error(err, VIGIA_EINVAL, "handler: its `handle` is NULL");
	return rc;
}

static enum vigia_watcher_state state_of(const struct vigia_watcher *w)
{
	return w->worker ? vigia__worker_state(w->worker) : w->stepper.state;
}

/* Is the id free? *old is the stopped watcher that has it, NULL if there is none. */
static int find_free(struct vigia_registry *registry, const char *id, struct vigia_watcher **old,
                     struct vigia_error *err)
{
	*old = find(registry, id);
	if (*old == NULL || state_of(*old) == VIGIA_STOPPED) return VIGIA_OK;
	vigia__error(err, VIGIA_EEXISTS, "watcher '%s' exists already: stop it first", VIGIA_SHOWN(id));
	if (err) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", id);
	return VIGIA_EEXISTS;
}

static void append(struct vigia_registry *registry, struct vigia_watcher *w)
{
	vigia__table_add(&registry->ids, &w->node, vigia__table_hash(w->id, strlen(w->id)));
	w->next = NULL;
	w->link = registry->watchers_end;
	*w->link = w;
	registry->watchers_end = &w->next;
}

/* Out of the registry; the memory stays for those who point to it. */
static void put_aside(struct vigia_watcher *w)
{
	struct vigia_registry *registry = w->registry;
	vigia__table_remove(&registry->ids, &w->node);
	if (registry->watchers_end == &w->next) registry->watchers_end = w->link;
	unlink_from_list(w);
	w->next = registry->retired;
	if (w->next) w->next->link = &w->next;
	w->link = &registry->retired;
	registry->retired = w;
	registry->any_released |= w->released;
}

/* For good. */
static void retire(struct vigia_watcher *w)
{
	put_aside(w);
	w->retired = true;
	if (w->worker) vigia__worker_end(w->worker);
}

/* Take the watcher in, in the place of the stopped one that had its id. */
static void add(struct vigia_registry *registry, struct vigia_watcher *w, struct vigia_watcher *old)
{
	if (old) retire(old);
	append(registry, w);
	if (old) listen_to_all(registry);
	else listen_also(registry, w);
	vigia__registry_ring(registry);
	free_released(registry);
}

/* Answers rc, a failure with the watcher that was to be. */
static int name_watcher(struct vigia_error *err, const char *id, int rc)
{
	if (rc < 0 && err && id && strlen(id) <= VIGIA_NAME_MAX)
		snprintf(err->watcher_id, sizeof err->watcher_id, "%s", id);
	return rc;
}

int vigia__registry_watch_job(struct vigia_registry *registry, const char *watcher_id, const struct vigia__job *job,
                              struct vigia_watcher **out, struct vigia_error *err)
{
	struct vigia_watcher *old = NULL, *w = NULL;
	int rc = watcher_id ? vigia__watcher_id_check(watcher_id, strlen(watcher_id), err) : VIGIA_OK;
	if (rc == VIGIA_OK && watcher_id) rc = find_free(registry, watcher_id, &old, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter(registry->store, err);
	if (rc < 0) return name_watcher(err, watcher_id, rc);
	w = vigia__calloc(sizeof *w);
	if (w == NULL) rc = vigia__error(err, VIGIA_ENOMEM, "no memory for a watcher");
	if (rc == VIGIA_OK) {
		w->registry = registry;
		w->has_handler = true; /* the job is one */
		rc = vigia__worker_new(registry, watcher_id, job, &w->worker, err);
	}
	if (w && w->worker) {
		snprintf(w->id, sizeof w->id, "%s", vigia__worker_id(w->worker));
		w->options = *vigia__worker_options(w->worker);
	}
	if (rc == VIGIA_OK) rc = find_free(registry, w->id, &old, err);
	/* With an id it has started. */
	if (rc == VIGIA_OK && watcher_id == NULL && w->options.auto_start)
		rc = vigia__worker_call(w->worker, VIGIA_WORKER_START, 0, err);
	if (rc == VIGIA_OK) {
		add(registry, w, old);
		*out = w;
	} else if (w) {
		if (rc < 0 && watcher_id == NULL && w->id[0]) name_watcher(err, w->id, rc);
		if (w->worker) vigia__worker_disown_job(w->worker); /* still the caller's */
		vigia__driver_free(w);
	}
	vigia__store_leave(registry->store);
	return name_watcher(err, watcher_id, rc);
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
	if (rc == VIGIA_OK && handler == NULL && options->auto_start)
		rc = vigia__error(err, VIGIA_ENOHANDLER, "watcher '%s' has no handler: give one, or auto_start = false",
		                  VIGIA_SHOWN(watcher_id));
	if (rc == VIGIA_OK) rc = vigia__store_enter(registry->store, err);
	if (rc < 0) return name_watcher(err, watcher_id, rc);

	struct vigia_watcher *old = NULL, *w = NULL;
	rc = find_free(registry, watcher_id, &old, err);
	if (rc == VIGIA_OK) rc = vigia__driver_new(registry, watcher_id, handler, options, &w, err);
	if (rc == VIGIA_OK && options->auto_start) rc = vigia__driver_start(w, err);
	else if (rc == VIGIA_OK && !registry->holds_late) rc = vigia__driver_hold(w, err);
	if (rc == VIGIA_OK) rc = find_free(registry, watcher_id, &old, err); /* again: the log function may have watched */
	if (rc == VIGIA_OK) {
		w->created = true;
		add(registry, w, old);
		if (out) *out = w;
	} else if (w) {
		w->has_handler = false; /* still the caller's */
		vigia__driver_free(w);
	}
	vigia__store_leave(registry->store);
	return name_watcher(err, watcher_id, rc);
}

int vigia_registry_get(struct vigia_registry *registry, const char *watcher_id, struct vigia_watcher **out,
                       struct vigia_error *err)
{
	struct vigia_watcher *w = watcher_id ? find(registry, watcher_id) : NULL;
	if (w == NULL) {
		vigia__error(err, VIGIA_ENOWATCHER, "there is no watcher '%s'", VIGIA_SHOWN(watcher_id ? watcher_id : ""));
		if (err && watcher_id) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", watcher_id);
		return VIGIA_ENOWATCHER;
	}
	*out = w;
	return VIGIA_OK;
}

/* ---- leaving ---- */

int vigia__watcher_state_error(struct vigia_watcher *w, const char *what, struct vigia_error *err)
{
	static const char *const names[] = {"idle", "running", "stopping", "stopped"};
	const char *is = names[state_of(w)];
	if (w->removed) is = "removed from its registry";
	else if (w->retired || w->detached) is = "replaced by a newer one of its id";
	vigia__error(err, VIGIA_ESTATE, "watcher '%s' cannot be %s: it is %s", VIGIA_SHOWN(w->id), what, is);
	if (err) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", w->id);
	return VIGIA_ESTATE;
}

/* Nothing of it is under way. */
static bool rests(const struct vigia_watcher *w)
{
	return !vigia__driver_active(w) && (w->worker || w->action.kind != VIGIA_ACTION_STOPPED);
}

/* A call wants it to stop. */
static void ask_to_stop(struct vigia_watcher *w)
{
	if (state_of(w) != VIGIA_STOPPED) w->stop_asked = w->registry->stops_asked = true;
	vigia__driver_tell(w, VIGIA_INPUT_STOP, 0);
}

/* An ephemeral watcher that was asked to stop and has leaves its registry, if that wants it; not one that an error
 * stopped: whoever looks after it shall find it. */
static void forget_stopped(struct vigia_registry *registry)
{
	if (!registry->stops_asked) return;
	registry->stops_asked = false;
	for (struct vigia_watcher *w = registry->watchers, *next; w; w = next) {
		next = w->next;
		if (!w->stop_asked) continue;
		if (!rests(w)) {
			registry->stops_asked = true;
			continue;
		}
		w->stop_asked = false;
		struct vigia_watcher_stats stats;
		if (w->worker) vigia__worker_stats(w->worker, &stats);
		bool failed = (w->worker ? stats.blocked_seq_num : w->stepper.stuck) != 0;
		if (registry->forgotten == NULL || !w->options.ephemeral || failed) continue;
		put_aside(w);
		w->detached = true;
		registry->depth++;
		registry->forgotten(registry->forgotten_ctx, w);
		registry->depth--;
	}
	free_released(registry);
}

int vigia__registry_retire(struct vigia_registry *registry, struct vigia_watcher *w, struct vigia_error *err)
{
	if (w->action.kind == VIGIA_ACTION_STOPPED) vigia__driver_run(w);
	if (!rests(w)) return vigia__watcher_state_error(w, "removed", err);
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

/* ---- rounds ---- */

/* Once a second: coroutines are closed without a word to the registry. */
static void look_at_waits(struct vigia_registry *registry)
{
	if (registry->wait_ended == NULL) return;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if (w->pending && !w->running_handler && registry->wait_ended(&w->handler, w->handler.ctx))
			w->resume_now = true;
	vigia__tasks_wake_ended(registry);
}

/* Once a second, for watchers that do not read: those that wait to try an event again, or have many in hand. */
static void look_at_store(struct vigia_registry *registry, int64_t now)
{
	struct vigia__backend *b = registry->store->backend;
	struct vigia_error err;
	registry->there_mono_ns = now + VIGIA_HEAL_NS;
	look_at_waits(registry);
	if (b->there == NULL || b->there(b, &err) == VIGIA_OK) return;
	for (struct vigia_watcher *w = registry->watchers, *next; w; w = next) {
		next = w->next;
		vigia__driver_replaced(w, &err);
		if (w->retired || w->detached) break; /* by the log function */
	}
}

/* Listen before looking: a word that changes from now on ends the next wait at once. Watchers that listened in vain
 * look again when a word has changed, or, once a second, when the store's commit number has. */
static void hear(struct vigia_registry *registry)
{
	struct vigia__backend *b = registry->store->backend;
	int64_t now = vigia__mono_ns();
	if (now >= registry->there_mono_ns) look_at_store(registry, now);
	if (registry->listening) vigia__wake_rung(&registry->listen); /* the reasons are looked at in each round */
	bool news = !registry->listening || vigia__wake_changed(b->wake, &registry->listen);
	if (!news && now >= registry->heal_mono_ns) {
		news = vigia__store_unannounced(b, registry->commits);
		registry->heal_mono_ns = now + VIGIA_HEAL_NS;
	}
	if (!news) return;
	vigia__wake_prepare(b->wake, &registry->listen);
	registry->listening = true;
	registry->commits = b->commits(b);
	registry->heal_mono_ns = now + VIGIA_HEAL_NS;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) vigia__driver_wake(w);
	vigia__tasks_wake(registry);
}

/* When progress that no other commit took along is to be saved. */
static int64_t save_due(const struct vigia_registry *registry)
{
	return registry->dirty_mono_ns + registry->store->options.checkpoint_interval_ns;
}

/* Progress that no other commit took along is saved by one of its own, for all watchers, after checkpoint_interval
 * (W10). */
static bool save_progress(struct vigia_registry *registry, bool now)
{
	if (registry->dirty_mono_ns == 0) return false;
	if (!now && vigia__time_now(registry->clock) < save_due(registry)) return false;
	bool dirty = false;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) dirty |= vigia__driver_dirty(w);
	registry->dirty_mono_ns = 0;
	if (!dirty) return false;
	struct vigia_error err = {0};
	if (vigia__store_save_progress(registry->store, &err) < 0) {
		vigia__log_failure(registry, &registry->limit, VIGIA_LOG_ERROR, "cannot save progress: %s", err.message);
		registry->dirty_mono_ns = vigia__time_now(registry->clock);
	} else {
		for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
			if (vigia__driver_dirty(w))
				registry->dirty_mono_ns = vigia__time_now(registry->clock); /* moved on, or is still under way */
	}
	return true;
}

/* One turn for each watcher. */
static bool round_of(struct vigia_registry *registry)
{
	bool worked = false;
	hear(registry);
	if (vigia__inbox_look(registry)) worked = true;
	for (struct vigia_watcher *w = registry->watchers, *next; w; w = next) {
		next = w->next; /* a handler may watch the id of a stopped one anew, which retires it */
		if (vigia__driver_run(w)) worked = true;
		if (w->retired || w->detached) break;
	}
	if (registry->tasks && vigia__tasks_run(registry)) worked = true;
	save_progress(registry, false);
	return worked;
}

/* When, on the system's clock, there is work without an event; with `heal` at the latest when the commit number is to
 * be compared. */
static int64_t due(const struct vigia_registry *registry, bool heal)
{
	if (!registry->listening) return 0;
	int64_t first = vigia__tasks_due(registry);
	bool listening = registry->tasks != NULL;
	for (const struct vigia_watcher *w = registry->watchers; w; w = w->next) {
		int64_t t = vigia__driver_due(w);
		if (t < first) first = t;
		listening |= !w->worker && vigia__driver_active(w);
	}
	if (registry->dirty_mono_ns) {
		int64_t t = save_due(registry);
		if (t < first) first = t;
	}
	first = vigia__time_wait(registry->clock, first);
	if (heal && listening && registry->heal_mono_ns < first) first = registry->heal_mono_ns;
	return first;
}

static int enter(struct vigia_registry *registry, const char *what, struct vigia_error *err)
{
	if (registry->depth > 0)
		return vigia__error(err, VIGIA_ESTATE, "%s was called from a handler or the log function of the same registry",
		                    what);
	return vigia__store_enter(registry->store, err);
}

static int interrupted(struct vigia_registry *registry, struct vigia_error *err)
{
	if (!atomic_exchange(&registry->interrupted, false)) return VIGIA_OK;
	return vigia__error(err, VIGIA_EINTERRUPTED, "the registry was interrupted");
}

static bool signalled(const struct vigia_registry *registry)
{
	return registry->signalled && registry->signalled(registry->signalled_ctx);
}

/* Wait until something is due or appended. */
static void wait_until(struct vigia_registry *registry, int64_t until_mono_ns)
{
	int64_t first = due(registry, true);
	if (first < until_mono_ns) until_mono_ns = first;
	if (registry->signalled) until_mono_ns = vigia__signal_until(until_mono_ns);
	if (first > 0 && !atomic_load(&registry->store->closed) && !atomic_load(&registry->interrupted))
		vigia__wake_wait(registry->store->backend->wake, &registry->listen, until_mono_ns);
}

static int closed_meanwhile(struct vigia_registry *registry, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ECLOSED, "store '%s' was closed", registry->store->path);
}

/* Handlers that wait for an event when the store is closed are told (S11); those that sleep go on when it is time. */
static bool round_after_close(struct vigia_registry *registry)
{
	bool worked = false;
	forget_stopped(registry);
	for (struct vigia_watcher *w = registry->watchers, *next; w; w = next) {
		next = w->next;
		if (!w->pending) continue;
		if (!registry->told_closed) w->resume_now = true;
		if (vigia__driver_run(w)) worked = true;
		if (w->retired || w->detached) break;
	}
	if (!registry->told_closed) vigia__tasks_wake(registry);
	if (vigia__tasks_run(registry)) worked = true;
	registry->told_closed = true;
	return worked;
}

/* A worker's progress counts as something done for who steps; run() sleeps on. */
static int step(struct vigia_registry *registry, int64_t timeout_ns, bool wants_progress, struct vigia_error *err)
{
	int rc = enter(registry, "step()", err);
	if (rc == VIGIA_ECLOSED && round_after_close(registry)) return VIGIA_OK;
	if (rc < 0) return rc;
	free_released(registry);
	atomic_store(&registry->inbox.wants_progress, wants_progress);
	if (registry->clock) timeout_ns = 0; /* it stands still: nothing becomes due by waiting */
	int64_t until = vigia__time_after(NULL, timeout_ns);
	struct vigia__poller *poller = registry->poller;
	if (poller) vigia__poller_clear(poller);
	registry->stepping = true;
	for (;;) {
		rc = interrupted(registry, err);
		if (rc == VIGIA_OK && signalled(registry)) rc = VIGIA__SIGNALLED;
		if (rc != VIGIA_OK) break;
		bool worked = round_of(registry);
		forget_stopped(registry);
		if (worked) break;
		rc = VIGIA_NONE;
		if (timeout_ns == 0 || vigia__mono_ns() >= until) break;
		if (atomic_load(&registry->store->closed)) {
			rc = closed_meanwhile(registry, err);
			break;
		}
		wait_until(registry, until);
	}
	atomic_store(&registry->inbox.wants_progress, false);
	registry->stepping = false;
	poller = registry->poller; /* a handler may have asked for it */
	if (poller) {
		/* What rang meanwhile was seen; other threads raise a flag before they ring. */
		vigia__poller_clear(poller);
		vigia__poller_arm(poller, &registry->listen, registry->commits, due(registry, false));
		if (atomic_load(&registry->interrupted) || atomic_load(&registry->inbox.poked)) vigia__poller_ring(poller);
	}
	vigia__store_leave(registry->store);
	return rc;
}

int vigia_registry_step(struct vigia_registry *registry, int64_t timeout_ns, struct vigia_error *err)
{
	return step(registry, timeout_ns, true, err);
}

static bool any_active(const struct vigia_registry *registry)
{
	for (const struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if (vigia__driver_active(w)) return true;
	return registry->tasks != NULL;
}

int vigia_registry_run(struct vigia_registry *registry, struct vigia_error *err)
{
	while (any_active(registry)) {
		int rc = step(registry, -1, false, err);
		if (rc < 0 || rc == VIGIA__SIGNALLED) return rc;
		if (rc == VIGIA_NONE && registry->clock) return VIGIA_OK; /* until the clock is advanced */
	}
	vigia__inbox_look(registry); /* what the last one had to say */
	int rc = interrupted(registry, err);
	return rc;
}

void vigia_registry_interrupt(struct vigia_registry *registry)
{
	atomic_store(&registry->interrupted, true);
	vigia__bell_ring(&registry->bell, registry->store->backend->wake);
	struct vigia__poller *poller = atomic_load(&registry->poller);
	if (poller) vigia__poller_ring(poller);
}

int vigia_registry_pollfd(struct vigia_registry *registry, struct vigia_error *err)
{
	if (registry->poller == NULL) {
		struct vigia__poller *poller;
		int rc = vigia__poller_new(registry->store->backend, &poller, err);
		if (rc < 0) return rc;
		registry->poller = poller;
		if (!registry->listening) hear(registry);
		vigia__poller_arm(registry->poller, &registry->listen, registry->commits, 0);
	}
	return vigia__poller_fd(registry->poller);
}

/* ---- stopping ---- */

/* Stopped and let go of its id, or the one whose handler asks: that acts on its wishes when it returns. */
static bool settled(const struct vigia_watcher *w)
{
	return (!vigia__driver_active(w) && w->action.kind != VIGIA_ACTION_STOPPED) || w == w->registry->current;
}

/* Drive these watchers until all have stopped: all (NULL) or one. While that one has not, the coroutines that wait have
 * turns, too. False: not in time, or `signalled`; then *hope tells whether what is left can stop before the caller
 * returns. */
static bool drive_until_settled(struct vigia_registry *registry, struct vigia_watcher *only, int64_t timeout_ns,
                                bool *hope_out)
{
	int64_t until = vigia__time_after(NULL, timeout_ns);
	for (bool first_look = true;; first_look = false) {
		bool all = true, worked = false, hope = false;
		bool others = registry->depth == 0 && (only == NULL || !first_look);
		int64_t first = until;
		hear(registry); /* before the look: a worker tells when it has stopped, and only once until the inbox was looked
		                   at */
		vigia__inbox_look(registry);
		if (others && registry->tasks) {
			worked = vigia__tasks_run(registry);
			if (only == NULL) all = registry->tasks == NULL;
			hope = !all;
			int64_t due = vigia__time_wait(registry->clock, vigia__tasks_due(registry));
			if (due < first) first = due;
		}
		for (struct vigia_watcher *w = registry->watchers; w; w = w->next) {
			/* A handler that is in progress may start others meanwhile. */
			if (only == NULL && state_of(w) == VIGIA_RUNNING) ask_to_stop(w);
			bool asked = only == NULL || w == only;
			if (asked ? settled(w) : !(others && w->pending)) continue;
			worked |= vigia__driver_run(w);
			if (w->retired || w->detached) { /* by the log function: the rest of the list is not behind it any more */
				all = false;
				worked = hope = true;
				break;
			}
			if (asked && settled(w)) continue;
			if (asked) all = false;
			if (w->running_handler) continue; /* waits for the handler that asks: it cannot stop before */
			hope |= asked;
			int64_t due = vigia__time_wait(registry->clock, vigia__driver_due(w));
			if (due < first) first = due;
		}
		if (hope_out) *hope_out = hope;
		if (all) return true;
		if (!hope || vigia__mono_ns() >= until || signalled(registry)) return false;
		if (registry->signalled) first = vigia__signal_until(first);
		if (!worked) vigia__wake_wait(registry->store->backend->wake, &registry->listen, first);
	}
}

static void tell_killed(struct vigia_watcher *w)
{
	vigia__log(w->registry, VIGIA_LOG_WARN, "watcher '%s': did not stop in time: its program is killed",
	           VIGIA_SHOWN(w->id));
}

/* Of these watchers (NULL: all) kill what runs in programs of their own and did not end in time, and wait until they
 * have stopped. A timeout of 0 asked only. */
static void kill_unsettled(struct vigia_registry *registry, struct vigia_watcher *only, int64_t timeout_ns)
{
	bool any = false;
	for (struct vigia_watcher *w = registry->watchers; w && timeout_ns > 0; w = w->next) {
		if ((only && w != only) || w->worker == NULL || settled(w) || !vigia__worker_kill(w->worker)) continue;
		any = true;
		tell_killed(w);
	}
	if (!any) return;
	int64_t until = vigia__mono_ns() + VIGIA_KILL_NS;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if ((only == NULL || w == only) && w->worker && atomic_load(vigia__worker_killed(w->worker)))
			drive_until_settled(registry, w, until - vigia__mono_ns(), NULL);
}

bool vigia__watcher_rests(const struct vigia_watcher *w)
{
	return w->retired || w->detached || settled(w);
}

bool vigia__watcher_kill(struct vigia_watcher *w)
{
	if (w->worker == NULL || !vigia__worker_kill(w->worker)) return false;
	tell_killed(w);
	return true;
}

static void ask_all_to_stop(struct vigia_registry *registry)
{
	bool closed = atomic_load(&registry->store->closed);
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) ask_to_stop(w);
	registry->tasks_stopping = registry->tasks != NULL;
	if (!closed) save_progress(registry, true);
}

/* ESTATE: which have not stopped. */
static int name_unsettled(struct vigia_registry *registry, struct vigia_error *err)
{
	char names[sizeof err->message - 80] = "";
	int count = 0, named = 0;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) {
		if (settled(w)) continue;
		size_t len = strlen(names), more = sizeof " and 1234567890 more";
		if (named == count && len + strlen(w->id) + sizeof ", ''" + more <= sizeof names)
			named += snprintf(names + len, sizeof names - len, "%s'%s'", count ? ", " : "", VIGIA_SHOWN(w->id)) > 0;
		count++;
	}
	if (named < count) {
		size_t len = strlen(names);
		snprintf(names + len, sizeof names - len, "%s%d more", named ? " and " : "", count - named);
	}
	if (count == 0) return vigia__error(err, VIGIA_ESTATE, "tasks did not end in time");
	return vigia__error(err, VIGIA_ESTATE, "%d watcher%s did not stop in time: %s", count, count == 1 ? "" : "s",
	                    names);
}

/* What a stop leaves to do, whether all have stopped or not. */
static void end_stop(struct vigia_registry *registry)
{
	vigia__inbox_look(registry); /* the last words */
	forget_stopped(registry);
	vigia__registry_ring(registry);
}

int vigia_registry_stop(struct vigia_registry *registry, int64_t timeout_ns, struct vigia_error *err)
{
	ask_all_to_stop(registry);
	bool stopped = drive_until_settled(registry, NULL, timeout_ns, NULL);
	if (!stopped && signalled(registry)) return VIGIA__SIGNALLED;
	int rc = stopped ? VIGIA_OK : name_unsettled(registry, err);
	if (!stopped) kill_unsettled(registry, NULL, timeout_ns);
	end_stop(registry);
	return rc;
}

int vigia__registry_stop_turn(struct vigia_registry *registry, bool first, struct vigia_error *err)
{
	bool hope;
	if (first) ask_all_to_stop(registry);
	bool stopped = drive_until_settled(registry, NULL, 0, &hope);
	int rc = stopped ? VIGIA_OK : name_unsettled(registry, err);
	end_stop(registry);
	return rc < 0 && hope ? VIGIA_PENDING : rc;
}

bool vigia__registry_kill(struct vigia_registry *registry)
{
	bool any = false;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if (!vigia__watcher_rests(w)) any |= vigia__watcher_kill(w);
	return any;
}

bool vigia__registry_stop_workers(struct vigia_registry *registry)
{
	bool any = false;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) {
		if (w->worker == NULL) continue;
		vigia__worker_stop(w->worker);
		any |= vigia__worker_active(w->worker);
	}
	return any;
}

int vigia_watcher_stop(struct vigia_watcher *w, int64_t timeout_ns, struct vigia_error *err)
{
	(void)err;
	if (w->retired || w->detached) return VIGIA_OK;
	ask_to_stop(w);
	bool stopped = drive_until_settled(w->registry, w, timeout_ns, NULL);
	if (!stopped && signalled(w->registry)) return VIGIA__SIGNALLED;
	if (!stopped) kill_unsettled(w->registry, w, timeout_ns);
	if (w->worker) vigia__inbox_look(w->registry);
	forget_stopped(w->registry);
	vigia__registry_ring(w->registry);
	return stopped ? VIGIA_OK : VIGIA_NONE;
}

/* ---- one watcher ---- */

const char *vigia_watcher_id(const struct vigia_watcher *w)
{
	return w->id;
}

int vigia_watcher_set_handler(struct vigia_watcher *w, const struct vigia_handler *handler, struct vigia_error *err)
{
	if (w->has_handler) {
		vigia__error(err, VIGIA_EHANDLEREXISTS, "watcher '%s' has a handler", VIGIA_SHOWN(w->id));
		if (err) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", w->id);
		return VIGIA_EHANDLEREXISTS;
	}
	struct vigia_handler ours = {0};
	int rc = take_handler(&ours, handler, err);
	if (rc < 0) return rc;
	w->handler = ours;
	w->has_handler = true;
	return VIGIA_OK;
}

int vigia_watcher_start(struct vigia_watcher *w, struct vigia_error *err)
{
	if (w->retired || vigia__driver_active(w)) return vigia__watcher_state_error(w, "started", err);
	if (!w->has_handler) {
		vigia__error(err, VIGIA_ENOHANDLER, "watcher '%s' has no handler: set_handler() first", VIGIA_SHOWN(w->id));
		if (err) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", w->id);
		return VIGIA_ENOHANDLER;
	}
	if (w->detached && find(w->registry, w->id)) return vigia__watcher_state_error(w, "started", err);
	int rc = vigia__store_enter(w->registry->store, err);
	if (rc < 0) return rc;
	w->stop_asked = false;
	if (w->worker) rc = vigia__worker_call(w->worker, VIGIA_WORKER_START, 0, err);
	else rc = vigia__driver_start(w, err);
	if (rc == VIGIA_OK && w->detached) {
		unlink_from_list(w);
		w->detached = false;
		append(w->registry, w);
	}
	if (rc == VIGIA_OK) listen_also(w->registry, w);
	vigia__registry_ring(w->registry);
	vigia__store_leave(w->registry->store);
	return rc;
}
