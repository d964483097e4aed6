/*
 * progress.c - collects the watchers' progress for commits. See progress.h.
 */
#include "progress.h"

#include <errno.h>
#include <stdio.h>

#include "../core/alloc.h"

void vigia__progress_init(struct vigia__progress_list *list)
{
	pthread_mutex_init(&list->mutex, NULL);
	list->end = &list->first;
}

static void unref(struct vigia__progress *progress)
{
	if (atomic_fetch_sub(&progress->refs, 1) == 1) vigia__free(progress);
}

/* Under the mutex: move the stack's nodes, oldest first, to the end of the queue. */
static void queue_moved(struct vigia__progress_list *list)
{
	struct vigia__progress *p = atomic_exchange(&list->moved, NULL), *oldest = NULL, *newest = p;
	while (p) {
		struct vigia__progress *next = p->next;
		p->next = oldest;
		oldest = p;
		list->in++;
		p = next;
	}
	if (oldest == NULL) return;
	*list->end = oldest;
	list->end = &newest->next;
	atomic_store_explicit(&list->waits, true, memory_order_relaxed);
}

/* Under the mutex. NULL: the queue is empty. The caller gets the node's reference. */
static struct vigia__progress *pop(struct vigia__progress_list *list)
{
	struct vigia__progress *p = list->first;
	if (p == NULL) return NULL;
	list->first = p->next;
	if (p->next == NULL) {
		list->end = &list->first;
		atomic_store_explicit(&list->waits, false, memory_order_relaxed);
	}
	list->out++;
	return p;
}

void vigia__progress_deinit(struct vigia__progress_list *list)
{
	struct vigia__progress *p;
	queue_moved(list);
	while ((p = pop(list))) unref(p);
	pthread_mutex_destroy(&list->mutex);
}

void vigia__progress_counts(struct vigia__progress_list *list, uint64_t *in, uint64_t *out)
{
	pthread_mutex_lock(&list->mutex);
	queue_moved(list);
	*in = list->in;
	*out = list->out;
	pthread_mutex_unlock(&list->mutex);
}

struct vigia__progress *vigia__progress_new(const char *id, uint64_t saved)
{
	struct vigia__progress *progress = vigia__calloc(sizeof *progress);
	if (progress == NULL) return NULL;
	progress->saved = saved;
	atomic_init(&progress->refs, 1);
	atomic_init(&progress->done, saved);
	snprintf(progress->id, sizeof progress->id, "%s", id);
	return progress;
}

void vigia__progress_end(struct vigia__progress_list *list, struct vigia__progress *progress)
{
	pthread_mutex_lock(&list->mutex);
	progress->removed = true;
	pthread_mutex_unlock(&list->mutex);
	unref(progress);
}

/* The stack gets the node's reference. Nodes leave the stack only all at once, so that none can come back between two
 * reads. */
static void push(struct vigia__progress_list *list, struct vigia__progress *progress)
{
	progress->next = atomic_load(&list->moved);
	while (!atomic_compare_exchange_weak(&list->moved, &progress->next, progress)) continue;
}

/* The watcher sets `done`, then reads `moved`. A commit clears `moved`, then reads `done`. So one of the two sees the
 * other's change. */
static void announce(struct vigia__progress_list *list, struct vigia__progress *progress)
{
	if (atomic_exchange(&progress->moved, true)) return;
	atomic_fetch_add(&progress->refs, 1);
	push(list, progress);
}

void vigia__progress_move(struct vigia__progress_list *list, struct vigia__progress *progress, uint64_t done)
{
	atomic_store(&progress->done, done);
	if (!atomic_load(&progress->moved)) announce(list, progress);
}

uint64_t vigia__progress_saved(struct vigia__progress_list *list, struct vigia__progress *progress)
{
	pthread_mutex_lock(&list->mutex);
	uint64_t saved = progress->saved;
	pthread_mutex_unlock(&list->mutex);
	return saved;
}

void vigia__progress_reset(struct vigia__progress_list *list, struct vigia__progress *progress, uint64_t done,
                           uint64_t saved)
{
	pthread_mutex_lock(&list->mutex);
	progress->epoch++;
	progress->saved = saved;
	atomic_store(&progress->done, done);
	if (done > saved) announce(list, progress);
	pthread_mutex_unlock(&list->mutex);
}

uint64_t vigia__progress_raise(struct vigia__progress_list *list, struct vigia__progress *progress, uint64_t saved)
{
	pthread_mutex_lock(&list->mutex);
	uint64_t before = progress->saved;
	progress->epoch++;
	if (saved > before) progress->saved = saved;
	if (atomic_load(&progress->done) > progress->saved)
		announce(list, progress); /* a commit that took it may not tell */
	pthread_mutex_unlock(&list->mutex);
	return before;
}

void vigia__progress_unraise(struct vigia__progress_list *list, struct vigia__progress *progress, uint64_t saved,
                             uint64_t before)
{
	pthread_mutex_lock(&list->mutex);
	if (progress->saved == saved) progress->saved = before;
	if (atomic_load(&progress->done) > progress->saved) announce(list, progress);
	pthread_mutex_unlock(&list->mutex);
}

int vigia__progress_commit_begin(struct vigia__progress_list *list, struct vigia__progress_taken **out)
{
	struct vigia__progress_taken *taken = NULL;
	*out = NULL;
	/* A node pushed at this moment may be taken by the next commit. */
	if (atomic_load(&list->moved) == NULL && !atomic_load(&list->waits)) return 0;
	pthread_mutex_lock(&list->mutex);
	queue_moved(list);
	uint64_t count = list->in - list->out;
	if (count > VIGIA_PROGRESS_SLICE) count = VIGIA_PROGRESS_SLICE;
	if (count > 0) taken = vigia__calloc(sizeof *taken + count * sizeof taken->items[0]);
	for (uint64_t i = 0; taken && i < count; i++) {
		struct vigia__progress *p = pop(list);
		atomic_store(&p->moved, false);
		uint64_t done = atomic_load(&p->done);
		if (p->removed || done <= p->saved) {
			unref(p);
			continue;
		}
		taken->items[taken->count].progress = p;
		taken->items[taken->count].done = done;
		taken->items[taken->count++].epoch = p->epoch;
	}
	pthread_mutex_unlock(&list->mutex);
	*out = taken;
	return count > 0 && taken == NULL ? ENOMEM : 0;
}

int vigia__progress_each(const struct vigia__progress_taken *taken, vigia__progress_fn fn, void *ctx)
{
	int rc = 0;
	for (size_t i = 0; taken && i < taken->count && rc == 0; i++)
		rc = fn(ctx, taken->items[i].progress->id, taken->items[i].done);
	return rc;
}

void vigia__progress_commit_end(struct vigia__progress_list *list, struct vigia__progress_taken *taken, bool committed)
{
	if (taken == NULL) return;
	pthread_mutex_lock(&list->mutex);
	for (size_t i = 0; i < taken->count; i++) {
		struct vigia__progress *p = taken->items[i].progress;
		/* A seek meanwhile has stored its own number after ours. */
		if (committed && p->epoch == taken->items[i].epoch && p->saved < taken->items[i].done)
			p->saved = taken->items[i].done;
		if (!p->removed && atomic_load(&p->done) > p->saved) announce(list, p);
		unref(p);
	}
	pthread_mutex_unlock(&list->mutex);
	vigia__free(taken);
}
