/*
 * backend.c - the shared part of all backends. See backend.h.
 */
#include "backend.h"

#include <string.h>

#include "../core/error.h"
#include "../core/table.h"

void vigia__backend_init(struct vigia__backend *b, const struct vigia__backend *table)
{
	*b = *table;
	b->lock_fd = -1;
	b->clock = vigia__clock_now;
	vigia__progress_init(&b->progress);
	vigia__rows_init(&b->rows);
	vigia__running_init(&b->running);
	pthread_mutex_init(&b->collector.mutex, NULL);
	pthread_mutex_init(&b->timers.mutex, NULL);
}

void vigia__backend_unshared(struct vigia__backend *b, struct vigia__unshared *own)
{
	own->wake = (struct vigia__wake){own->wake_words, VIGIA_WAKE_WORDS};
	b->wake = &own->wake;
	b->elder = &own->elder;
	b->outcomes = &own->outcomes;
	b->wants = &own->wants;
	b->letter_requests = &own->letter_requests;
	b->steer_requests = &own->steer_requests;
	b->settings_word = &own->settings_word;
	b->timers.word = &own->timers_word;
	b->collect_call = (struct vigia__collect_call){&own->collect_at, &own->collect_word};
}

void vigia__backend_deinit(struct vigia__backend *b)
{
	vigia__progress_deinit(&b->progress);
	vigia__rows_deinit(&b->rows);
	vigia__running_deinit(&b->running);
	pthread_mutex_destroy(&b->collector.mutex);
	pthread_mutex_destroy(&b->timers.mutex);
}

int vigia__append_conflict(const struct vigia__append *request, uint64_t last_seq, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ESEQUENCE, "if_last: the last event is %llu, not %llu; nothing was stored",
	                    (unsigned long long)last_seq, (unsigned long long)request->if_last);
}

int vigia__unfinished(struct vigia_error *err)
{
	return vigia__error(
		err, VIGIA_EUNFINISHED,
		"an import into this store is not finished: import the same export, or copy the same store, again to continue");
}

int vigia__backend_imported(struct vigia__backend *b, struct vigia_error *err)
{
	struct vigia__import_mark mark;
	int rc = b->import_mark ? b->import_mark(b, &mark, err) : VIGIA_NONE;
	return rc == VIGIA_NONE ? VIGIA_OK : rc == VIGIA_OK ? vigia__unfinished(err) : rc;
}

int vigia__not_empty(const char *what, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOTEMPTY, "the store is not empty, it has %s; nothing was imported", what);
}

int vigia__no_checkpoint(const char *id, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOCHECKPOINT, "watcher '%s' has no checkpoint", VIGIA_SHOWN(id));
}

bool vigia__store_unannounced(struct vigia__backend *backend, uint64_t commits)
{
	/* First, because a store that was replaced must not be touched. */
	if (backend->there && backend->there(backend, NULL) < 0) return true;
	return (backend->heal && backend->heal(backend)) || backend->commits(backend) != commits;
}

void vigia__backend_saved(struct vigia__backend *b, const char *id, uint64_t seq_num)
{
	/* Nobody has ever waited. One that enters what it wants from now on looks at the checkpoint afterwards. */
	if (b->wants == NULL || atomic_load(&b->wants->changes) == 0) return;
	size_t len = strlen(id);
	if (!vigia__wants_reached(b->wants, vigia__table_hash(id, len), seq_num)) return;
	struct vigia__wake_set set;
	vigia__wake_set_clear(&set);
	vigia__wake_set_add(&set, (struct vigia_slice){id, len});
	vigia__wake_publish(b->wake, &set);
	if (b->tells) b->tells->words(b, &set);
}

int vigia__backend_rows(struct vigia__backend *b, vigia__row_fn fn, void *ctx, uint64_t *unshown,
                        struct vigia_error *err)
{
	int rc = vigia__rows_each(&b->rows, fn, ctx, unshown);
	return rc == VIGIA_OK && b->rows_of_others ? b->rows_of_others(b, fn, ctx, unshown, err) : rc;
}

int vigia__transact_apply(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct vigia__transact *t = arg;
	int rc = t->apply ? t->apply(kv, t->arg, err) : VIGIA_OK;
	return rc == VIGIA_OK && t->also ? t->also(kv, t->also_arg, err) : rc;
}

static int saved_one(void *ctx, const char *id, uint64_t done)
{
	vigia__backend_saved(ctx, id, done);
	return 0;
}

void vigia__backend_saved_all(struct vigia__backend *b, const struct vigia__progress_taken *taken)
{
	vigia__progress_each(taken, saved_one, b);
}

int vigia__backend_checkpoint_put(struct vigia__backend *b, const char *id, uint64_t seq_num, bool forward,
                                  struct vigia_error *err)
{
	int rc = b->checkpoint_put(b, id, seq_num, forward, err);
	if (rc == VIGIA_OK) vigia__backend_saved(b, id, seq_num);
	return rc;
}
