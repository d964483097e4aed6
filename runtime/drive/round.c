/*
 * round.c - rounds over all watchers of a registry, and waiting when none has work.
 */
#include "../core/error.h"
#include "../store/timers.h"
#include "drive_private.h"
#include "poller.h"

/* Once a second, for watchers that do not read: those that wait to try an event again, or have many in hand; and for
 * ids that another process has taken. */
static void look_at_store(struct vigia_registry *registry, int64_t now)
{
	struct vigia__backend *b = registry->store->backend;
	struct vigia_error err;
	registry->there_mono_ns = now + VIGIA_HEAL_NS;
	vigia__registry_look_at_waits(registry);
	bool there = b->there == NULL || b->there(b, &err) == VIGIA_OK;
	if (there && b->lost == NULL) return;
	for (struct vigia_watcher *w = registry->watchers, *next; w; w = next) {
		next = w->next;
		if (there && (!vigia__watcher_active(w) || b->lost(b, w->id, &err) == VIGIA_OK)) continue;
		w->driving->replaced(w, &err);
		if (w->retired || w->detached) break; /* by the log function */
	}
}

/* Prepare the words before reading: a later change then ends the next wait at once. Otherwise watchers read again only
 * when a word changed or, looked at once a second, the store's commit number. */
void vigia__registry_poll(struct vigia_registry *registry)
{
	struct vigia__backend *b = registry->store->backend;
	int64_t now = vigia__mono_ns();
	if (now >= registry->there_mono_ns) look_at_store(registry, now);
	if (registry->listening) vigia__wake_rung(&registry->listen); /* the reasons are looked at in each round */
	bool news = !registry->listening || vigia__wake_changed(b->wake, &registry->listen);
	if (!news && now >= registry->heal_mono_ns) {
		vigia__timers_notice(b);
		news = vigia__store_unannounced(b, registry->commits);
		registry->heals += news;
		registry->heal_mono_ns = now + VIGIA_HEAL_NS;
	}
	if (!news) return;
	vigia__wake_prepare(b->wake, &registry->listen);
	registry->listening = true;
	registry->commits = b->commits(b);
	registry->heal_mono_ns = now + VIGIA_HEAL_NS;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) w->driving->wake(w);
	vigia__tasks_wake(registry);
}

void vigia__registry_every(struct vigia_registry *registry, int64_t every_ns, void (*fn)(void *ctx), void *ctx)
{
	registry->every = fn;
	registry->every_ctx = ctx;
	registry->every_ns = every_ns;
	registry->every_mono_ns = vigia__mono_ns();
}

static void call_every(struct vigia_registry *registry)
{
	int64_t now = registry->every ? vigia__mono_ns() : 0;
	if (registry->every == NULL || now < registry->every_mono_ns) return;
	registry->every_mono_ns = now + registry->every_ns;
	registry->depth++;
	registry->every(registry->every_ctx);
	registry->depth--;
}

/* One turn for each watcher. */
static bool round_of(struct vigia_registry *registry)
{
	bool worked = false;
	vigia__pulse_beat(&registry->pulse);
	call_every(registry);
	vigia__registry_poll(registry);
	if (registry->source->round) registry->source->round(registry);
	if (vigia__inbox_look(registry)) worked = true;
	for (struct vigia_watcher *w = registry->watchers, *next; w; w = next) {
		next = w->next; /* a handler may watch the id of a stopped one again, which retires it */
		if (w->driving->run(w)) worked = true;
		if (w->retired || w->detached) break;
	}
	if (registry->tasks && vigia__tasks_run(registry)) worked = true;
	vigia__registry_save_progress(registry, vigia__registry_wanted(registry));
	return worked;
}

/* When, on the system's clock, there is work without an event. With `heal` at the latest when the commit number is to
 * be compared. */
static int64_t due(const struct vigia_registry *registry, bool heal)
{
	if (!registry->listening) return 0;
	int64_t first = vigia__tasks_due(registry);
	bool listening = registry->tasks != NULL;
	for (const struct vigia_watcher *w = registry->watchers; w; w = w->next) {
		first = vigia__time_earlier(first, w->driving->due(w));
		listening |= w->here && vigia__watcher_active(w);
	}
	first = vigia__time_wait(registry->clock, vigia__time_earlier(first, vigia__registry_save_due(registry)));
	if (registry->every) first = vigia__time_earlier(first, registry->every_mono_ns);
	return heal && listening ? vigia__time_earlier(first, registry->heal_mono_ns) : first;
}

/* ---- step, run ---- */

static int interrupted(struct vigia_registry *registry, struct vigia_error *err)
{
	if (!atomic_exchange(&registry->interrupted, false)) return VIGIA_OK;
	return vigia__error(err, VIGIA_EINTERRUPTED, "the registry was interrupted");
}

bool vigia__registry_signalled(const struct vigia_registry *registry)
{
	return registry->signalled && registry->signalled(registry->signalled_ctx);
}

/* Wait until something is due or appended. */
static void wait_until(struct vigia_registry *registry, int64_t until_mono_ns)
{
	int64_t first = due(registry, true);
	until_mono_ns = vigia__time_earlier(until_mono_ns, first);
	if (registry->signalled) until_mono_ns = vigia__signal_until(until_mono_ns);
	struct vigia__listen listen = registry->listen;
	if (!vigia__registry_listen_wants(registry, &listen)) return;
	if (first <= 0 || atomic_load(&registry->store->closed) || atomic_load(&registry->interrupted)) return;
	vigia__pulse_rest(&registry->pulse, true);
	vigia__wake_wait(registry->store->backend->wake, &listen, until_mono_ns);
	vigia__pulse_rest(&registry->pulse, false);
}

/* Handlers that wait for an event when the store is closed are told (S11). Those that sleep go on when it is time. */
static bool round_after_close(struct vigia_registry *registry)
{
	bool worked = false;
	vigia__registry_forget_stopped(registry);
	if (atomic_load(&registry->inbox.poked)) vigia__inbox_look(registry);
	for (struct vigia_watcher *w = registry->watchers, *next; w; w = next) {
		next = w->next;
		if (!w->pending) continue;
		if (!registry->told_closed) w->resume_now = true;
		if (w->driving->run(w)) worked = true;
		if (w->retired || w->detached) break;
	}
	if (!registry->told_closed) vigia__tasks_wake(registry);
	if (vigia__tasks_run(registry)) worked = true;
	registry->told_closed = true;
	return worked;
}

/* For step() a worker's progress counts as something done. run() sleeps on. */
static int step(struct vigia_registry *registry, int64_t timeout_ns, bool wants_progress, struct vigia_error *err)
{
	if (registry->depth > 0)
		return vigia__error(err, VIGIA_ESTATE,
		                    "step() was called from a handler or the log function of the same registry");
	int rc = vigia__store_enter(registry->store, err);
	if (rc == VIGIA_ECLOSED && round_after_close(registry)) return VIGIA_OK;
	if (rc < 0) return rc;
	vigia__registry_free_released(registry);
	atomic_store(&registry->inbox.wants_progress, wants_progress);
	if (registry->clock) timeout_ns = 0; /* it stands still: nothing becomes due by waiting */
	int64_t until = vigia__time_after(NULL, timeout_ns);
	struct vigia__poller *poller = registry->poller;
	if (poller) vigia__poller_clear(poller);
	registry->stepping = true;
	for (;;) {
		rc = interrupted(registry, err);
		if (rc == VIGIA_OK && vigia__registry_signalled(registry)) rc = VIGIA__SIGNALLED;
		if (rc != VIGIA_OK) break;
		bool worked = round_of(registry);
		vigia__registry_forget_stopped(registry);
		if (worked) break;
		if (registry->closed.code < 0) {
			if (err) *err = registry->closed;
			rc = registry->closed.code;
			break;
		}
		rc = VIGIA_NONE;
		if (timeout_ns == 0 || vigia__mono_ns() >= until) break;
		if (atomic_load(&registry->store->closed)) {
			rc = vigia__error(err, VIGIA_ECLOSED, "store '%s' was closed", registry->store->path);
			break;
		}
		wait_until(registry, until);
	}
	atomic_store(&registry->inbox.wants_progress, false);
	registry->stepping = false;
	poller = registry->poller; /* a handler may have asked for it */
	if (poller) {
		/* What rang meanwhile was seen. Other threads raise a flag before they ring. */
		vigia__poller_clear(poller);
		struct vigia__listen listen = registry->listen;
		int64_t first = due(registry, false);
		if (!vigia__registry_listen_wants(registry, &listen)) first = 0;
		vigia__poller_arm(poller, &listen, registry->commits, first);
		if (atomic_load(&registry->interrupted) || atomic_load(&registry->inbox.poked)) vigia__poller_ring(poller);
	}
	return vigia__store_end(registry->store, rc);
}

int vigia_registry_step(struct vigia_registry *registry, int64_t timeout_ns, struct vigia_error *err)
{
	return step(registry, timeout_ns, true, err);
}

static bool any_active(const struct vigia_registry *registry)
{
	for (const struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if (vigia__watcher_active(w)) return true;
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
	return interrupted(registry, err);
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
		if (!registry->listening) vigia__registry_poll(registry);
		vigia__poller_arm(registry->poller, &registry->listen, registry->commits, 0);
	}
	return vigia__poller_fd(registry->poller);
}
