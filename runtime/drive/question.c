/*
 * question.c - what a coroutine of a registry asks a store that waits for a server: an errand of the registry, while
 * the coroutine yields.
 *
 * A question has memory of its own, which its asker and the thread share: a coroutine that is closed leaves it behind.
 * Those that wait for the same server when one did not reach it fail with that one. None is asked any more once the
 * registry is freed.
 */
#include "../core/alloc.h"
#include "../core/error.h"
#include "drive_private.h"

struct vigia__question {
	struct vigia__errand errand; /* first */
	atomic_int refs;             /* the asker's, and the thread's while it is under way */
	struct vigia_registry *registry;
	struct vigia_store *store;
	int (*ask)(struct vigia_store *store, void *body, struct vigia_error *err);
	void (*free)(void *body);
	_Alignas(max_align_t) unsigned char body[];
};

struct vigia__question *vigia__question_new(size_t size, void (*free)(void *body))
{
	struct vigia__question *q = vigia__calloc(sizeof *q + size);
	if (q == NULL) return NULL;
	atomic_init(&q->refs, 1);
	q->free = free;
	return q;
}

void *vigia__question_body(struct vigia__question *q)
{
	return q->body;
}

struct vigia__question *vigia__question_ref(struct vigia__question *q)
{
	atomic_fetch_add(&q->refs, 1);
	return q;
}

void vigia__question_unref(struct vigia__question *q)
{
	if (q == NULL || atomic_fetch_sub(&q->refs, 1) > 1) return;
	if (q->free) q->free(q->body);
	if (q->store) vigia__store_unref(q->store);
	vigia__free(q);
}

void vigia__question_use(struct vigia__question *q, const struct vigia_watcher *watcher)
{
	q->errand.user = watcher;
}

static int ask(void *ctx, struct vigia_error *err)
{
	struct vigia__question *q = ctx;
	return q->ask(q->store, q->body, err);
}

/* Its asker may be gone. */
static void release(struct vigia__errand *errand)
{
	struct vigia__question *q = (struct vigia__question *)errand;
	atomic_store(&q->registry->inbox.answered, true);
	vigia__question_unref(q);
}

int vigia__question_ask(struct vigia_registry *registry, struct vigia__question *q, struct vigia_store *store,
                        int (*fn)(struct vigia_store *store, void *body, struct vigia_error *err),
                        struct vigia_error *err)
{
	vigia__store_ref(store);
	q->registry = registry;
	q->store = store;
	q->ask = fn;
	q->errand.server = store->backend;
	q->errand.release = release;
	atomic_fetch_add(&q->refs, 1);
	int rc = vigia__errand_begin(registry, &q->errand, ask, q, err);
	if (rc != VIGIA_PENDING) atomic_fetch_sub(&q->refs, 1);
	return rc;
}

bool vigia__question_answered(const struct vigia__question *q, int *rc, struct vigia_error *err)
{
	if (atomic_load(&q->errand.state) != VIGIA_ERRAND_DONE) return false;
	if (rc) *rc = q->errand.rc;
	if (err) *err = q->errand.err;
	return true;
}

/* In a forked child it never ends. */
void vigia__question_await(struct vigia__question *q)
{
	if (q && q->store && q->store->fork_generation == vigia__fork_generation())
		vigia__errand_await(q->registry, &q->errand);
}
