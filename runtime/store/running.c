/*
 * running.c - the watchers of a store that this process runs. See running.h.
 */
#include "running.h"

#include <string.h>

void vigia__running_init(struct vigia__running_list *list)
{
	pthread_mutex_init(&list->mutex, NULL);
}

void vigia__running_deinit(struct vigia__running_list *list)
{
	vigia__table_deinit(&list->table);
	pthread_mutex_destroy(&list->mutex);
}

static uint64_t hash_of(const char *id)
{
	return vigia__table_hash(id, strlen(id));
}

void vigia__running_join(struct vigia__running_list *list, struct vigia__running *running)
{
	running->thread = pthread_self();
	pthread_mutex_lock(&list->mutex);
	vigia__table_add(&list->table, &running->entry, hash_of(running->id));
	pthread_mutex_unlock(&list->mutex);
}

void vigia__running_leave(struct vigia__running_list *list, struct vigia__running *running)
{
	if (running->id == NULL) return;
	pthread_mutex_lock(&list->mutex);
	vigia__table_remove(&list->table, &running->entry);
	pthread_mutex_unlock(&list->mutex);
	running->id = NULL;
}

/* Under the mutex: the one behind `before` (NULL: the first). */
static struct vigia__running *next_of(const struct vigia__running_list *list, const struct vigia__running *before,
                                      const char *id)
{
	struct vigia__node *at = before ? vigia__table_next(&before->entry) : vigia__table_first(&list->table, hash_of(id));
	while (at && strcmp(((struct vigia__running *)at)->id, id) != 0) at = vigia__table_next(at);
	return (struct vigia__running *)at;
}

struct vigia__runs vigia__running_find(struct vigia__running_list *list, const char *id)
{
	struct vigia__runs runs = {false};
	pthread_mutex_lock(&list->mutex);
	for (const struct vigia__running *at = NULL; (at = next_of(list, at, id));) {
		runs.here = true;
		runs.by_caller |= pthread_equal(at->thread, pthread_self()) != 0;
		runs.transactional |= at->transactional;
		runs.has_lanes |= at->has_lanes;
	}
	pthread_mutex_unlock(&list->mutex);
	return runs;
}

/* The n-th one of the calling thread. NULL: there are not so many. */
static struct vigia__running *own(struct vigia__running_list *list, const char *id, size_t n)
{
	struct vigia__running *at = NULL;
	pthread_mutex_lock(&list->mutex);
	while ((at = next_of(list, at, id)))
		if (pthread_equal(at->thread, pthread_self()) && n-- == 0) break;
	pthread_mutex_unlock(&list->mutex);
	return at;
}

/* One by one, since what is carried out may end one. */
void vigia__running_attend(struct vigia__running_list *list, const char *id)
{
	struct vigia__running *at;
	for (size_t n = 0; (at = own(list, id, n)); n++) at->attend(at->ctx);
}

uint64_t vigia__running_raise(struct vigia__running_list *list, struct vigia__progress_list *progress, const char *id,
                              uint64_t seq_num)
{
	uint64_t before = 0;
	pthread_mutex_lock(&list->mutex);
	const struct vigia__running *at = next_of(list, NULL, id);
	if (at && at->progress) before = vigia__progress_raise(progress, at->progress, seq_num);
	pthread_mutex_unlock(&list->mutex);
	return before;
}

void vigia__running_unraise(struct vigia__running_list *list, struct vigia__progress_list *progress, const char *id,
                            uint64_t seq_num, uint64_t before)
{
	pthread_mutex_lock(&list->mutex);
	const struct vigia__running *at = next_of(list, NULL, id);
	if (at && at->progress) vigia__progress_unraise(progress, at->progress, seq_num, before);
	pthread_mutex_unlock(&list->mutex);
}
