/*
 * errand.c - a store whose calls wait for a server (`waits` in backend.h): no round of a registry does.
 *
 * What a watcher reads comes from the backend's memory, or later: then its read is pending. What it saves, and what
 * else it asks the store, is an errand: the same function, called on a thread of the registry while the watcher waits.
 * The end of either pokes the registry's inbox. The thread starts with the first errand. With a store that never waits
 * there is neither: the functions are called at once.
 *
 * What an application calls itself (watch, start, seek, a free) waits for its errands.
 */
#include "../core/alloc.h"
#include "../core/error.h"
#include "drive_private.h"

struct vigia__errands {
	struct vigia__helper helper; /* its mutex is that of the following, and of the errands */
	struct vigia_registry *registry;
	struct vigia__errand *first; /* to do, first in, first out */
	bool asks;                   /* a question is under way: */
	const void *user;            /* what it uses */
	struct vigia__errand saver;  /* saves the progress of all watchers */
};

static void poke(void *ctx)
{
	vigia__inbox_poke(ctx);
}

/* ---- the thread ---- */

static _Thread_local bool is_errand; /* this thread is one of errands */

/* Under the mutex. From then on it is its owner's. */
static void end(struct vigia__errand *e, int rc, const struct vigia_error *err)
{
	e->rc = rc;
	e->err = *err;
	atomic_store(&e->state, VIGIA_ERRAND_DONE);
}

/* Take questions out of the list: of this server, since they have waited as long as one that did not reach it, or that
 * use this. NULL: of any. */
static struct vigia__errand *take(struct vigia__errands *errands, const void *server, const void *user)
{
	struct vigia__errand *taken = NULL, **end = &taken;
	for (struct vigia__errand **at = &errands->first; *at;) {
		struct vigia__errand *e = *at;
		if (e->release == NULL || (server && e->server != server) || (user && e->user != user)) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		e->next = NULL;
		*end = e;
		end = &e->next;
	}
	return taken;
}

/* Under the mutex, which is not held while they are released: that may end a store. */
static void end_all(struct vigia__errands *errands, struct vigia__errand *list, int rc, const struct vigia_error *err)
{
	for (struct vigia__errand *e = list; e; e = e->next) end(e, rc, err);
	pthread_mutex_unlock(&errands->helper.mutex);
	while (list) {
		struct vigia__errand *e = list;
		list = e->next;
		e->release(e);
	}
	pthread_mutex_lock(&errands->helper.mutex);
}

static void *do_errands(void *arg)
{
	struct vigia__errands *errands = arg;
	is_errand = true;
	vigia__log_by = vigia__inbox_log; /* the log function is the registry's thread's */
	pthread_mutex_lock(&errands->helper.mutex);
	while (!errands->helper.quit) {
		struct vigia__errand *e = errands->first;
		if (e == NULL) {
			pthread_cond_wait(&errands->helper.changed, &errands->helper.mutex);
			continue;
		}
		errands->first = e->next;
		errands->asks = e->release != NULL;
		errands->user = e->user;
		pthread_mutex_unlock(&errands->helper.mutex);
		struct vigia_error err = {0};
		int rc = e->fn(e->ctx, &err);
		pthread_mutex_lock(&errands->helper.mutex);
		struct vigia__errand *also = NULL;
		if (e->release) {
			also = rc == VIGIA_EUNREACHABLE ? take(errands, e->server, NULL) : NULL;
			e->next = also;
			also = e;
		} else end(e, rc, &err);
		errands->asks = false;
		end_all(errands, also, rc, &err);
		pthread_cond_broadcast(&errands->helper.changed);
		vigia__inbox_poke(errands->registry);
	}
	pthread_mutex_unlock(&errands->helper.mutex);
	return NULL;
}

/* NULL without memory. */
static struct vigia__errands *errands_of(struct vigia_registry *registry, struct vigia_error *err)
{
	struct vigia__errands *errands = registry->errands;
	if (errands) return errands;
	errands = registry->errands = vigia__calloc(sizeof *errands);
	if (errands == NULL) {
		vigia__error(err, VIGIA_ENOMEM, "no memory for a registry");
		return NULL;
	}
	vigia__helper_init(&errands->helper);
	errands->registry = registry;
	return errands;
}

void vigia__questions_end(struct vigia_registry *registry)
{
	struct vigia__errands *errands = registry->errands;
	struct vigia_error err = {0};
	if (errands == NULL) return;
	vigia__error(&err, VIGIA_ECLOSED, "the registry was closed");
	pthread_mutex_lock(&errands->helper.mutex);
	end_all(errands, take(errands, NULL, NULL), VIGIA_ECLOSED, &err);
	while (errands->asks) pthread_cond_wait(&errands->helper.changed, &errands->helper.mutex);
	pthread_mutex_unlock(&errands->helper.mutex);
}

void vigia__questions_forget(struct vigia_registry *registry, const void *user, const char *id)
{
	struct vigia__errands *errands = registry->errands;
	struct vigia_error err = {0};
	if (errands == NULL) return;
	vigia__error(&err, VIGIA_ESTATE, "watcher '%s' has stopped", VIGIA_SHOWN(id));
	pthread_mutex_lock(&errands->helper.mutex);
	end_all(errands, take(errands, NULL, user), VIGIA_ESTATE, &err);
	while (errands->asks && errands->user == user) pthread_cond_wait(&errands->helper.changed, &errands->helper.mutex);
	pthread_mutex_unlock(&errands->helper.mutex);
}

void vigia__errands_free(struct vigia_registry *registry)
{
	struct vigia__errands *errands = registry->errands;
	if (errands == NULL) return;
	vigia__questions_end(registry);
	vigia__helper_stop(&errands->helper);
	vigia__helper_deinit(&errands->helper);
	vigia__free(errands);
	registry->errands = NULL;
}

/* ---- one errand ---- */

int vigia__errand_begin(struct vigia_registry *registry, struct vigia__errand *e,
                        int (*fn)(void *ctx, struct vigia_error *), void *ctx, struct vigia_error *err)
{
	struct vigia__errands *errands = errands_of(registry, err);
	if (errands == NULL) return VIGIA_ENOMEM;
	pthread_mutex_lock(&errands->helper.mutex);
	int rc = vigia__helper_start(&errands->helper, do_errands, errands, "start a thread to wait for a server", err);
	if (rc == VIGIA_OK) {
		e->next = NULL;
		e->fn = fn;
		e->ctx = ctx;
		atomic_init(&e->state, VIGIA_ERRAND_UNDER_WAY);
		struct vigia__errand **end = &errands->first;
		while (*end) end = &(*end)->next;
		*end = e;
		pthread_cond_broadcast(&errands->helper.changed);
	}
	pthread_mutex_unlock(&errands->helper.mutex);
	return rc < 0 ? rc : VIGIA_PENDING;
}

int vigia__errand_run(struct vigia_registry *registry, struct vigia__errand *e,
                      int (*fn)(void *ctx, struct vigia_error *), void *ctx, struct vigia_error *err)
{
	int state = atomic_load(&e->state);
	if (state == VIGIA_ERRAND_UNDER_WAY) return VIGIA_PENDING;
	if (state == VIGIA_ERRAND_NONE) return vigia__errand_begin(registry, e, fn, ctx, err);
	atomic_store(&e->state, VIGIA_ERRAND_NONE);
	*err = e->err;
	return e->rc;
}

void vigia__errand_await(struct vigia_registry *registry, const struct vigia__errand *e)
{
	if (atomic_load(&e->state) != VIGIA_ERRAND_UNDER_WAY) return;
	struct vigia__helper *helper = &registry->errands->helper;
	pthread_mutex_lock(&helper->mutex);
	while (atomic_load(&e->state) == VIGIA_ERRAND_UNDER_WAY) pthread_cond_wait(&helper->changed, &helper->mutex);
	pthread_mutex_unlock(&helper->mutex);
}

/* ---- of a watcher ---- */

int vigia__driver_errands_begin(struct vigia__driver *w, struct vigia_error *err)
{
	if (!w->base.registry->store->backend->waits) return VIGIA_OK;
	w->waits = vigia__calloc(sizeof *w->waits);
	if (w->waits == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for watcher '%s'", VIGIA_SHOWN(w->base.id));
	w->waits->arrival.tell = poke;
	w->waits->arrival.ctx = w->base.registry;
	return VIGIA_OK;
}

void vigia__driver_errands_end(struct vigia__driver *w)
{
	struct vigia__backend *b = w->base.registry->store->backend;
	if (w->waits == NULL) return;
	vigia__questions_forget(w->base.registry, w, w->base.id);
	vigia__errand_await(w->base.registry, &w->waits->errand);
	vigia__errand_await(w->base.registry, &w->waits->look);
	vigia__driver_drop_steer(w);
	b->forget_scan(b, &w->waits->arrival);
	vigia__batch_deinit(&w->waits->found.batch);
	vigia__buf_deinit(&w->waits->found.known);
	vigia__free(w->waits);
	w->waits = NULL;
}

static int call(void *ctx, struct vigia_error *err)
{
	struct vigia__driver *w = ctx;
	return w->waits->fn(w, &w->waits->asked, err);
}

int vigia__driver_errand(struct vigia__driver *w, vigia__errand_fn fn, struct vigia__asked asked,
                         struct vigia_error *err)
{
	if (w->waits == NULL || is_errand) return fn(w, &asked, err);
	if (atomic_load(&w->waits->errand.state) == VIGIA_ERRAND_NONE) {
		w->waits->fn = fn;
		w->waits->asked = asked;
	}
	return vigia__errand_run(w->base.registry, &w->waits->errand, call, w, err);
}

int vigia__driver_look_errand(struct vigia__driver *w, int (*fn)(void *ctx, struct vigia_error *err),
                              struct vigia_error *err)
{
	int rc = vigia__errand_run(w->base.registry, &w->waits->look, fn, w, err);
	if (rc == VIGIA_PENDING || !w->waits->stale) return rc;
	w->waits->stale = false; /* what was asked before a stop or a seek */
	vigia__error_clear(err);
	return vigia__errand_run(w->base.registry, &w->waits->look, fn, w, err);
}

void vigia__driver_cancel_errands(struct vigia__driver *w)
{
	struct vigia__backend *b = w->base.registry->store->backend;
	if (w->waits == NULL) return;
	b->forget_scan(b, &w->waits->arrival);
	if (atomic_load(&w->waits->look.state) != VIGIA_ERRAND_NONE) w->waits->stale = true;
}

bool vigia__driver_await(struct vigia__driver *w)
{
	if (w->waits == NULL || atomic_load(&w->waits->errand.state) == VIGIA_ERRAND_NONE) return false;
	vigia__errand_await(w->base.registry, &w->waits->errand);
	w->ready = true;
	return true;
}

void vigia__driver_drop_errand(struct vigia__driver *w)
{
	if (vigia__driver_await(w)) atomic_store(&w->waits->errand.state, VIGIA_ERRAND_NONE);
}

bool vigia__driver_answers(const struct vigia__driver *w)
{
	return w->waits && w->waits->steer.answering;
}

bool vigia__driver_stops_later(struct vigia__driver *w)
{
	if (!vigia__driver_answers(w)) return false;
	w->waits->steer.stops = true;
	return true;
}

bool vigia__driver_steer_news(const struct vigia__driver *w)
{
	return w->waits && atomic_load(&w->waits->steer.errand.state) == VIGIA_ERRAND_DONE;
}

bool vigia__driver_await_steer(struct vigia__driver *w)
{
	if (w->waits == NULL || atomic_load(&w->waits->steer.errand.state) != VIGIA_ERRAND_UNDER_WAY) return false;
	vigia__errand_await(w->base.registry, &w->waits->steer.errand);
	return true;
}

void vigia__driver_drop_steer(struct vigia__driver *w)
{
	if (w->waits == NULL) return;
	vigia__driver_await_steer(w);
	atomic_store(&w->waits->steer.errand.state, VIGIA_ERRAND_NONE);
	w->waits->steer.looking = w->waits->steer.answering = w->waits->steer.stops = false;
}

void vigia__watcher_finish(struct vigia_watcher *w)
{
	while (w->here && !w->driving->rests(w) &&
	       (vigia__driver_await(vigia__driver(w)) || vigia__driver_await_steer(vigia__driver(w))))
		w->driving->run(w);
}

bool vigia__driver_has_news(const struct vigia__driver *w)
{
	const struct vigia__remote_store *waits = w->waits;
	return waits && (atomic_load(&waits->arrival.came) || atomic_load(&waits->errand.state) == VIGIA_ERRAND_DONE ||
	                 atomic_load(&waits->look.state) == VIGIA_ERRAND_DONE);
}

/* ---- of a registry ---- */

static int save_all(void *ctx, struct vigia_error *err)
{
	struct vigia_registry *registry = ctx;
	return vigia__store_save_progress(registry->store, err);
}

int vigia__registry_save_errand(struct vigia_registry *registry, struct vigia_error *err)
{
	if (!registry->store->backend->waits) return save_all(registry, err);
	struct vigia__errands *errands = errands_of(registry, err);
	int rc = errands ? vigia__errand_run(registry, &errands->saver, save_all, registry, err) : VIGIA_ENOMEM;
	registry->saving = rc == VIGIA_PENDING;
	return rc;
}

void vigia__registry_await_save(struct vigia_registry *registry)
{
	if (registry->saving) vigia__errand_await(registry, &registry->errands->saver);
}
