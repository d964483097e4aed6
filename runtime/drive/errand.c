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
	struct vigia__errand saver;  /* saves the progress of all watchers */
};

static void poke(void *ctx)
{
	vigia__inbox_poke(ctx);
}

/* ---- the thread ---- */

static void *do_errands(void *arg)
{
	struct vigia__errands *errands = arg;
	pthread_mutex_lock(&errands->helper.mutex);
	while (!errands->helper.quit) {
		struct vigia__errand *e = errands->first;
		if (e == NULL) {
			pthread_cond_wait(&errands->helper.changed, &errands->helper.mutex);
			continue;
		}
		errands->first = e->next;
		pthread_mutex_unlock(&errands->helper.mutex);
		struct vigia_error err = {0};
		int rc = e->fn(e->ctx, &err);
		pthread_mutex_lock(&errands->helper.mutex);
		e->rc = rc;
		e->err = err;
		atomic_store(&e->state, VIGIA_ERRAND_DONE);
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

void vigia__errands_free(struct vigia_registry *registry)
{
	struct vigia__errands *errands = registry->errands;
	if (errands == NULL) return;
	vigia__helper_stop(&errands->helper);
	vigia__helper_deinit(&errands->helper);
	vigia__free(errands);
	registry->errands = NULL;
}

/* ---- one errand ---- */

static int begin(struct vigia_registry *registry, struct vigia__errand *e, int (*fn)(void *ctx, struct vigia_error *),
                 void *ctx, struct vigia_error *err)
{
	struct vigia__errands *errands = errands_of(registry, err);
	if (errands == NULL) return VIGIA_ENOMEM;
	pthread_mutex_lock(&errands->helper.mutex);
	int rc = vigia__helper_start(&errands->helper, do_errands, errands, "start a thread to wait for a server", err);
	if (rc == VIGIA_OK) {
		*e = (struct vigia__errand){.fn = fn, .ctx = ctx};
		atomic_init(&e->state, VIGIA_ERRAND_UNDER_WAY);
		struct vigia__errand **end = &errands->first;
		while (*end) end = &(*end)->next;
		*end = e;
		pthread_cond_broadcast(&errands->helper.changed);
	}
	pthread_mutex_unlock(&errands->helper.mutex);
	return rc < 0 ? rc : VIGIA_PENDING;
}

/* The same call again, until it is not pending any more. */
static int run(struct vigia_registry *registry, struct vigia__errand *e, int (*fn)(void *ctx, struct vigia_error *),
               void *ctx, struct vigia_error *err)
{
	int state = atomic_load(&e->state);
	if (state == VIGIA_ERRAND_UNDER_WAY) return VIGIA_PENDING;
	if (state == VIGIA_ERRAND_NONE) return begin(registry, e, fn, ctx, err);
	atomic_store(&e->state, VIGIA_ERRAND_NONE);
	*err = e->err;
	return e->rc;
}

static void await(struct vigia_registry *registry, const struct vigia__errand *e)
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
	await(w->base.registry, &w->waits->errand);
	await(w->base.registry, &w->waits->look);
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
	if (w->waits == NULL) return fn(w, &asked, err);
	if (atomic_load(&w->waits->errand.state) == VIGIA_ERRAND_NONE) {
		w->waits->fn = fn;
		w->waits->asked = asked;
	}
	return run(w->base.registry, &w->waits->errand, call, w, err);
}

int vigia__driver_look_errand(struct vigia__driver *w, int (*fn)(void *ctx, struct vigia_error *err),
                              struct vigia_error *err)
{
	int rc = run(w->base.registry, &w->waits->look, fn, w, err);
	if (rc == VIGIA_PENDING || !w->waits->stale) return rc;
	w->waits->stale = false; /* what was asked before a stop or a seek */
	vigia__error_clear(err);
	return run(w->base.registry, &w->waits->look, fn, w, err);
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
	await(w->base.registry, &w->waits->errand);
	w->ready = true;
	return true;
}

void vigia__driver_drop_errand(struct vigia__driver *w)
{
	if (vigia__driver_await(w)) atomic_store(&w->waits->errand.state, VIGIA_ERRAND_NONE);
}

void vigia__watcher_finish(struct vigia_watcher *w)
{
	while (w->here && !w->driving->rests(w) && vigia__driver_await(vigia__driver(w))) w->driving->run(w);
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
	int rc = errands ? run(registry, &errands->saver, save_all, registry, err) : VIGIA_ENOMEM;
	registry->saving = rc == VIGIA_PENDING;
	return rc;
}

void vigia__registry_await_save(struct vigia_registry *registry)
{
	if (registry->saving) await(registry, &registry->errands->saver);
}
