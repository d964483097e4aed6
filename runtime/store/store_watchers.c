/*
 * store_watchers.c - what is known of each watcher, running or not: what its rows say, its checkpoint or hold, and who
 * owns its id.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/event.h"
#include "../core/iterator.h"
#include "store.h"
#include "store_private.h"

/* One watcher, while the list is made. */
struct watcher {
	char id[VIGIA_NAME_MAX + 1];
	struct vigia_watcher_status status; /* its texts are set at the end */
	char error[VIGIA_ROW_ERROR];
	char host[VIGIA_ROW_HOST];
};

struct list {
	struct vigia__buf buf; /* struct watcher */
	size_t rows;           /* so many of them, the first, have rows */
	bool holds;            /* what is added now */
	int64_t now_ns;
	const char *host; /* of this process; "": of no interest */
	bool failed;
};

static size_t count_of(const struct list *list)
{
	return list->buf.len / sizeof(struct watcher);
}

static struct watcher *at(const struct list *list, size_t i)
{
	return (struct watcher *)list->buf.data + i;
}

/* That of this id which has a row and is not ephemeral. NULL: none. */
static struct watcher *find(const struct list *list, const char *id)
{
	for (size_t i = 0; i < list->rows; i++)
		if (!at(list, i)->status.ephemeral && strcmp(at(list, i)->id, id) == 0) return at(list, i);
	return NULL;
}

/* NULL: no memory. */
static struct watcher *add(struct list *list, const char *id)
{
	struct watcher one = {.status = {.state = VIGIA_STOPPED}};
	strncpy(one.id, id, sizeof one.id - 1);
	if (vigia__buf_add(&list->buf, &one, sizeof one) < 0) {
		list->failed = true;
		return NULL;
	}
	return at(list, count_of(list) - 1);
}

/* ---- what the rows say ---- */

static void take_counts(struct vigia_watcher_status *s, const struct vigia__row_told *told)
{
	s->processed += told->processed;
	s->failed += told->failed;
	s->retried += told->retried;
	s->skipped += told->skipped;
	s->dead_lettered += told->dead_lettered;
	s->missed += told->missed;
	s->fetch_errors += told->fetch_errors;
}

static void take_error(struct watcher *w, const struct vigia__row_told *told)
{
	if (told->failed_at_ns < w->status.failed_at_ns) return;
	w->status.failed_at_ns = told->failed_at_ns;
	memcpy(w->error, told->error, sizeof w->error);
}

static void take_blocked(struct vigia_watcher_status *s, const struct vigia__row_told *told)
{
	if (told->blocked == 0 || (s->blocked_seq_num > 0 && s->blocked_seq_num <= told->blocked)) return;
	s->blocked_seq_num = told->blocked;
	s->attempts = told->attempts;
	s->next_attempt_at_ns = told->next_attempt_at_ns;
}

/* What a row says in place of all before. */
static void take_first(struct watcher *w, const struct vigia__row_told *told, const struct list *list)
{
	enum vigia_watcher_state state = told->flags & VIGIA_ROW_STATE;
	bool ended = state == VIGIA_STOPPED || state == VIGIA_IDLE;
	struct vigia_watcher_status *s = &w->status;
	*s = (struct vigia_watcher_status){
		.state = told->runs ? state : VIGIA_STOPPED,
		.died = !told->runs && !ended,
		.told = told->runs,
		.ephemeral = (told->flags & VIGIA_ROW_EPHEMERAL) != 0,
		.paused = told->runs && (told->flags & VIGIA_ROW_PAUSED) != 0,
		.pid = told->runs || !ended ? told->pid : 0,
		.position = told->position,
		.started_at_ns = told->started_at_ns,
	};
	w->error[0] = '\0';
	snprintf(w->host, sizeof w->host, "%s", s->pid == 0 ? "" : *told->host ? told->host : list->host);
	take_counts(s, told);
	take_error(w, told);
	take_blocked(s, told);
	if (told->runs) s->rate = vigia__row_rate(told, list->now_ns);
}

/* Another lane of the same run. */
static void take_lane(struct watcher *w, const struct vigia__row_told *told, int64_t now_ns)
{
	struct vigia_watcher_status *s = &w->status;
	if (told->position < s->position) s->position = told->position;
	if ((told->flags & VIGIA_ROW_STATE) == VIGIA_STOPPING && told->runs) s->state = VIGIA_STOPPING;
	s->paused |= told->runs && (told->flags & VIGIA_ROW_PAUSED) != 0;
	take_counts(s, told);
	take_error(w, told);
	take_blocked(s, told);
	if (told->runs) s->rate += vigia__row_rate(told, now_ns);
}

/* An id that is not ephemeral has one owner: its rows are the lanes of one run, or left from earlier ones. */
static int add_row(void *ctx, const struct vigia__row_told *told)
{
	struct list *list = ctx;
	bool ephemeral = (told->flags & VIGIA_ROW_EPHEMERAL) != 0;
	if (ephemeral && !told->runs) return VIGIA_OK;
	struct watcher *w = ephemeral ? NULL : find(list, told->id);
	if (w == NULL) {
		w = add(list, told->id);
		list->rows = count_of(list);
		if (w) take_first(w, told, list);
		return w ? VIGIA_OK : VIGIA_ENOMEM;
	}
	bool same_run = told->started_at_ns == w->status.started_at_ns && told->runs == w->status.told;
	if (same_run || (told->runs && w->status.told)) take_lane(w, told, list->now_ns);
	else if (told->runs || (!w->status.told && told->started_at_ns > w->status.started_at_ns))
		take_first(w, told, list);
	return VIGIA_OK;
}

/* ---- what is stored ---- */

static void add_checkpoint(void *ctx, const char *id, uint64_t seq_num)
{
	struct list *list = ctx;
	struct watcher *w = find(list, id);
	if (w == NULL) w = add(list, id);
	if (w == NULL) return;
	w->status.has_checkpoint = !list->holds;
	w->status.has_hold = list->holds;
	w->status.checkpoint = seq_num;
}

/* A pause, where the row does not tell, and what is asked for. Those of a watcher of which nothing else is known are
 * not shown. */
static void add_steer(void *ctx, struct vigia_slice id, const struct vigia__steer *steer)
{
	const struct list *list = ctx;
	for (size_t i = 0; i < count_of(list); i++) {
		struct watcher *w = at(list, i);
		if (w->status.ephemeral || strlen(w->id) != id.len || memcmp(w->id, id.data, id.len) != 0) continue;
		if (steer == NULL) w->status.paused |= !w->status.told;
		else if (w->status.request == NULL && !steer->answered && steer->until_at_ns >= list->now_ns)
			w->status.request = vigia__steer_name(steer->kind);
	}
}

static int find_steers(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	return vigia__steer_each(kv, add_steer, arg);
}

/* Beside what it says itself: the owner of an id without a row, and where one would begin that does not run. False: it
 * is not to be shown, since neither is there. */
static bool complete(struct vigia__backend *b, struct watcher *w)
{
	struct vigia_watcher_status *s = &w->status;
	bool stored = s->has_checkpoint || s->has_hold;
	struct vigia__runner runner;
	if (s->told) return true;
	if (!stored) return false;
	s->position = s->checkpoint;
	if (!b->owner(b, w->id, &runner)) return true;
	struct vigia_watcher_status now = {.state = VIGIA_RUNNING,
	                                   .pid = runner.pid,
	                                   .has_checkpoint = s->has_checkpoint,
	                                   .has_hold = s->has_hold,
	                                   .checkpoint = s->checkpoint,
	                                   .position = s->checkpoint,
	                                   .paused = s->paused,
	                                   .request = s->request};
	*s = now; /* a row that is left tells of an earlier run */
	w->error[0] = '\0';
	memcpy(w->host, runner.host, sizeof w->host);
	return true;
}

/* ---- lag ---- */

/* When the first event behind this number was stored. 0: it is not known. */
static int64_t time_behind(struct vigia_store *store, uint64_t position)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_read request = {.from = vigia__iterator_after(position), .limit = 1};
	struct vigia_iterator next;
	int64_t at_ns = 0;
	if (batch && vigia__store_read(store, &request, NULL, NULL, batch, &next, NULL) == VIGIA_OK && batch->count > 0)
		at_ns = vigia__event_time(batch->bytes.data + batch->entries[0].offset, batch->entries[0].len);
	vigia_batch_free(batch);
	return at_ns;
}

static void find_lag(struct vigia_store *store, struct vigia_watcher_status *s, uint64_t latest, int64_t now_ns,
                     const struct vigia_watcher_status *before)
{
	if (latest <= s->position) return;
	s->lag = latest - s->position;
	if (before && before->position == s->position && before->lag > 0) {
		s->lag_ns = before->lag_ns;
		return;
	}
	int64_t at_ns = time_behind(store, s->position);
	if (at_ns > 0 && at_ns < now_ns) s->lag_ns = now_ns - at_ns;
}

static int by_id(const void *a, const void *b)
{
	const struct watcher *x = a, *y = b;
	int order = strcmp(x->id, y->id);
	if (order == 0) order = x->status.has_hold - y->status.has_hold;
	return order ? order : (x->status.pid > y->status.pid) - (x->status.pid < y->status.pid);
}

/* Its hold became a checkpoint between the two lists. */
static bool doubles(const struct list *list, size_t i, size_t count)
{
	const struct watcher *before = count > 0 ? at(list, count - 1) : NULL;
	return before && at(list, i)->status.has_hold && before->status.has_checkpoint &&
	       strcmp(before->id, at(list, i)->id) == 0;
}

static int gather(struct vigia_store *store, struct list *list, uint64_t *unshown, struct vigia_error *err)
{
	struct vigia__backend *b = store->backend;
	uint64_t oldest, latest;
	int rc = vigia__backend_rows(b, add_row, list, unshown, err);
	if (rc == VIGIA_OK) rc = b->checkpoint_each(b, false, list, add_checkpoint, err);
	list->holds = true;
	if (rc == VIGIA_OK) rc = b->checkpoint_each(b, true, list, add_checkpoint, err);
	if (rc == VIGIA_OK) rc = b->view(b, VIGIA_MAP_STATE, find_steers, list, err);
	if (rc == VIGIA_NONE) rc = VIGIA_OK;
	/* Afterwards, so that no lag comes out negative. */
	if (rc == VIGIA_OK) rc = b->bounds(b, &oldest, &latest, err);
	if (list->failed) return vigia__error(err, VIGIA_ENOMEM, "no memory for the watchers");
	if (rc != VIGIA_OK) return rc;
	size_t count = 0;
	if (list->buf.len > 0) qsort(list->buf.data, count_of(list), sizeof(struct watcher), by_id);
	for (size_t i = 0; i < count_of(list); i++)
		if (!doubles(list, i, count) && complete(b, at(list, i))) *at(list, count++) = *at(list, i);
	list->buf.len = count * sizeof(struct watcher);
	for (size_t i = 0; i < count; i++)
		find_lag(store, &at(list, i)->status, latest, list->now_ns, i > 0 ? &at(list, i - 1)->status : NULL);
	return VIGIA_OK;
}

int vigia_store_watchers(struct vigia_store *store, vigia_watcher_fn fn, void *ctx, uint64_t *unshown,
                         struct vigia_error *err)
{
	uint64_t not_shown = 0;
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	const char *host = store->backend->host;
	struct list list = {.now_ns = vigia__backend_wall_ns(store->backend), .host = host ? host : ""};
	rc = gather(store, &list, &not_shown, err);
	if (unshown) *unshown = not_shown;
	for (size_t i = 0; i < count_of(&list) && rc == VIGIA_OK; i++) {
		struct watcher *w = at(&list, i);
		w->status.watcher_id = w->id;
		w->status.last_error = w->error;
		w->status.host = w->host;
		if (w->status.request == NULL) w->status.request = "";
		rc = fn(ctx, &w->status);
	}
	vigia__buf_deinit(&list.buf);
	return vigia__store_end(store, rc);
}
