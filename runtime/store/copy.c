/*
 * copy.c - copies the events of one log into another. See copy.h.
 */
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/event.h"
#include "../core/iterator.h"
#include "fd.h"
#include "import_records.h"
#include "store_private.h"
#include "thread.h"
#include "timer_records.h"
#include "transaction.h"

enum {
	BATCH_EVENTS = 1000,
	FOLLOW_NS = 1000000000, /* how long a wait lasts before it tells of itself */
	STACK_BYTES = 512 * 1024
};

struct copying {
	struct vigia__copy *copy;
	char id[33]; /* of the source */
	bool marked; /* the target has its mark: copy->at */
	uint64_t upto;
	struct vigia_batch *batch;
	struct vigia_transfer done;
};

static struct vigia_key key_of(const struct copying *c)
{
	return (struct vigia_key){.text = {c->id, strlen(c->id)}};
}

static int tell(struct copying *c, struct vigia_error *err)
{
	const struct vigia__transfer_watch *watch = c->copy->watch;
	c->done.at = c->copy->at;
	c->done.last = c->upto > c->copy->at ? c->upto : c->copy->at;
	if (watch->progress && !watch->progress(watch->ctx, &c->done))
		return vigia__error(err, VIGIA_EINTERRUPTED, "the copy was interrupted");
	return VIGIA_OK;
}

/* ---- what is where ---- */

static int find_ids(struct copying *c, struct vigia_error *err)
{
	struct vigia__backend_stats *stats = vigia__calloc(2 * sizeof *stats);
	if (stats == NULL) return vigia__no_memory(err);
	int rc = vigia__store_stats(c->copy->from, &stats[0], err);
	if (rc == VIGIA_OK) rc = vigia__store_stats(c->copy->to, &stats[1], err);
	if (rc == VIGIA_OK && (*stats[0].file_id == '\0' || *stats[1].file_id == '\0'))
		rc = vigia__error(err, VIGIA_EINVAL, "a store in memory has no id, so it cannot be copied");
	else if (rc == VIGIA_OK && strcmp(stats[0].file_id, stats[1].file_id) == 0)
		rc = vigia__error(err, VIGIA_EINVAL, "both are the same store: '%s' and '%s'", c->copy->from->path,
		                  c->copy->to->path);
	if (rc == VIGIA_OK) {
		memcpy(c->id, stats[0].file_id, sizeof c->id);
		c->upto = stats[0].latest;
	}
	vigia__free(stats);
	return rc;
}

/* The mark in the target. */
static int read_mark(struct copying *c, struct vigia_transaction *tx, bool *marked, uint64_t *at,
                     struct vigia_error *err)
{
	struct vigia_slice value;
	struct vigia_key key = key_of(c);
	struct vigia__token token = {.kind = VIGIA_TOKEN_NIL};
	*marked = false;
	*at = 0;
	int rc = vigia_transaction_get(tx, VIGIA_COPIED, &key, &value, err);
	if (rc != VIGIA_OK) return rc == VIGIA_NONE ? VIGIA_OK : rc;
	struct vigia__reader reader = {(const uint8_t *)value.data, (const uint8_t *)value.data + value.len};
	if (vigia__reader_next(&reader, &token, NULL) < 0 || token.kind != VIGIA_TOKEN_INT || token.integer < 0)
		return vigia__error(err, VIGIA_ECONFLICT, "the bucket '%s' of '%s' has no number for the source %s",
		                    VIGIA_COPIED, c->copy->to->path, c->id);
	*marked = true;
	*at = (uint64_t)token.integer;
	return VIGIA_OK;
}

static int look_at_mark(struct copying *c, struct vigia_error *err)
{
	struct vigia__backend *from = c->copy->from->backend;
	struct vigia_transaction *tx;
	int rc = vigia_transaction_begin(c->copy->to, &tx, err);
	if (rc < 0) return rc;
	rc = read_mark(c, tx, &c->marked, &c->copy->at, err);
	vigia_transaction_free(tx);
	uint64_t oldest, latest = c->upto;
	if (rc == VIGIA_OK && c->marked && c->copy->at > c->upto) rc = from->bounds(from, &oldest, &latest, err);
	if (rc == VIGIA_OK && c->marked && c->copy->at > latest)
		rc = vigia__error(err, VIGIA_ECONFLICT,
		                  "%llu events of '%s' were copied, but it has %llu: it was replaced, perhaps by a backup",
		                  (unsigned long long)c->copy->at, c->copy->from->path, (unsigned long long)latest);
	return rc;
}

/* ---- into an empty one: an export, on a thread of its own, through a pipe into an import ---- */

struct whole {
	struct copying *c;
	uint64_t from; /* behind what an unfinished copy has stored */
	int pipe[2];
	int cancel_fd; /* readable: the export ends */
	int rc;
	struct vigia_error err;
};

static void *export_thread(void *arg)
{
	struct whole *w = arg;
	struct vigia__transfer_watch watch = {.cancel_fd = w->cancel_fd};
	w->rc = vigia__store_export_copy(w->c->copy->from, w->pipe[1], w->from, &watch, &w->err);
	close(w->pipe[1]);
	return NULL;
}

static bool pass_on(void *ctx, const struct vigia_transfer *at)
{
	struct copying *c = ctx;
	if (c->copy->events == 0) c->done.first = at->first;
	c->upto = at->last;
	c->copy->events = at->at - (at->first - 1);
	c->copy->at = at->at;
	return tell(c, NULL) == VIGIA_OK;
}

static int import_whole(struct whole *w, struct vigia_error *err)
{
	struct copying *c = w->c;
	struct vigia__importer importer;
	struct vigia__buf number = {0};
	struct vigia_transfer done = {0};
	struct vigia__transfer_watch watch = {.cancel_fd = c->copy->watch->cancel_fd, .progress = pass_on, .ctx = c};
	int rc = vigia__importer_begin(&importer, w->pipe[0], c->copy->watch->cancel_fd, err);
	if (rc < 0) return rc;
	if (vigia__put_int(&number, (int64_t)importer.last) < 0) rc = vigia__no_memory(err);
	const struct vigia__import_item mark = {.kind = VIGIA_EXPORT_VALUE,
	                                        .fields = {{.bytes = {VIGIA_COPIED, strlen(VIGIA_COPIED)}},
	                                                   {.bytes = {c->id, strlen(c->id)}},
	                                                   {.bytes = {(const char *)number.data, number.len}}}};
	importer.mark = &mark;
	importer.mark_sum = strtoull(c->id + 16, NULL, 16);
	importer.resumes = w->from > 0;
	if (rc == VIGIA_OK) rc = vigia__importer_run(&importer, c->copy->to, c->copy->anew, &watch, &done, err);
	if (rc == VIGIA_OK) c->copy->at = done.last;
	vigia__importer_end(&importer);
	vigia__buf_deinit(&number);
	return rc;
}

/* EINTERRUPTED of the export, and EEXPORT of the import, are mostly because the other one failed. */
static int copy_through(struct whole *w, struct vigia_error *err)
{
	pthread_t thread;
	int failed = vigia__thread_start(&thread, STACK_BYTES, export_thread, w);
	if (failed) {
		close(w->pipe[1]);
		return vigia__thread_error(err, failed, "start a thread to read a store");
	}
	uint64_t one = 1;
	int rc = import_whole(w, err);
	if (rc < 0 && write(w->cancel_fd, &one, sizeof one) < 0) abort(); /* there is room for one */
	pthread_join(thread, NULL);
	if (rc == VIGIA_EEXPORT && w->rc < 0 && w->rc != VIGIA_EINTERRUPTED) {
		if (err) *err = w->err;
		return w->rc;
	}
	return rc;
}

static int copy_whole(struct copying *c, uint64_t from, struct vigia_error *err)
{
	struct whole *w = vigia__calloc(sizeof *w);
	if (w == NULL) return vigia__no_memory(err);
	*w = (struct whole){.c = c, .from = from};
	w->cancel_fd = VIGIA_FD(eventfd(0, EFD_CLOEXEC));
	int rc = w->cancel_fd < 0 || VIGIA_FD(pipe2(w->pipe, O_CLOEXEC)) < 0
	             ? vigia__error_caused(err, VIGIA_EIO, strerror(errno), "cannot make a pipe")
	             : VIGIA_OK;
	if (rc == VIGIA_OK) {
		rc = copy_through(w, err);
		close(w->pipe[0]);
	}
	if (w->cancel_fd >= 0) close(w->cancel_fd);
	vigia__free(w);
	return rc;
}

static int count_timers(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	return vigia__timers_count(kv, arg);
}

/* VIGIA_NONE: the target is not empty. */
static int begin_whole(struct copying *c, struct vigia_error *err)
{
	struct vigia__backend *to = c->copy->to->backend, *from = c->copy->from->backend;
	struct vigia__import_mark mark;
	uint64_t oldest, latest;
	int rc = to->import_mark(to, &mark, err);
	bool unfinished = rc == VIGIA_OK;
	if (rc < 0) return rc;
	if (unfinished && !c->copy->anew && mark.first_sum != strtoull(c->id + 16, NULL, 16)) return vigia__unfinished(err);
	rc = to->bounds(to, &oldest, &latest, err);
	if (rc < 0) return rc;
	if (!unfinished && (latest > 0 || c->copy->merge)) return VIGIA_NONE;
	rc = copy_whole(c, unfinished && !c->copy->anew ? latest + 1 : 0, err);
	if (rc == VIGIA_EINTERRUPTED) return vigia__error(err, rc, "the copy was interrupted");
	if (rc == VIGIA_ENOTEMPTY) {
		vigia__error_clear(err);
		return VIGIA_NONE;
	}
	if (rc < 0) return rc;
	c->marked = c->copy->whole = true;
	return from->view(from, VIGIA_MAP_TIMERS, count_timers, &c->copy->timers, err);
}

/* ---- into any other ---- */

/* Are they the next events, and whole? */
static int check_batch(struct copying *c, struct vigia_error *err)
{
	struct vigia_batch *batch = c->batch;
	if (c->marked && batch->gone > 0) {
		if (!c->copy->skip_removed)
			return vigia__error(err, VIGIA_EEXPIRED,
			                    "the events from %llu to %llu were removed before they were copied",
			                    (unsigned long long)c->copy->at + 1, (unsigned long long)(c->copy->at + batch->gone));
		c->copy->skipped += batch->gone;
	}
	for (size_t i = 0; i < batch->count; i++) {
		struct vigia_slice event = vigia__batch_bytes(batch, i);
		uint64_t n = batch->entries[i].seq_num;
		if (vigia__event_intact((const uint8_t *)event.data, event.len, n)) continue;
		int rc = vigia__error(err, VIGIA_EDAMAGED, "event %llu does not match its checksum", (unsigned long long)n);
		if (err) err->seq_num = n;
		return rc;
	}
	return VIGIA_OK;
}

static int fill(struct copying *c, struct vigia_transaction *tx, struct vigia_error *err)
{
	struct vigia_batch *batch = c->batch;
	struct vigia_key key = key_of(c);
	struct vigia__buf number = {0};
	size_t *ends = vigia__alloc(batch->count * sizeof *ends);
	int rc = ends ? VIGIA_OK : vigia__no_memory(err);
	for (size_t i = 0; i < batch->count && rc == VIGIA_OK; i++) {
		ends[i] = batch->entries[i].offset + batch->entries[i].len;
		if (batch->entries[i].len > (uint64_t)atomic_load(&c->copy->to->backend->max_event_size))
			rc = vigia__error(err, VIGIA_ETOOBIG, "event %llu has %zu bytes, max_event_size of '%s' is %lld bytes",
			                  (unsigned long long)batch->entries[i].seq_num, (size_t)batch->entries[i].len,
			                  c->copy->to->path, (long long)atomic_load(&c->copy->to->backend->max_event_size));
	}
	if (rc == VIGIA_OK)
		rc = vigia__transaction_add(tx, batch->bytes.data, batch->bytes.len, ends, batch->count,
		                            (struct vigia_slice){NULL, 0}, err);
	vigia__free(ends);
	if (rc == VIGIA_OK && vigia__put_int(&number, (int64_t)batch->entries[batch->count - 1].seq_num) < 0)
		rc = vigia__no_memory(err);
	if (rc == VIGIA_OK)
		rc = vigia_transaction_put(tx, VIGIA_COPIED, &key, (struct vigia_slice){(const char *)number.data, number.len},
		                           err);
	vigia__buf_deinit(&number);
	return rc;
}

/* One commit. VIGIA_NONE: another copy was faster. Go on behind what that has stored. */
static int store_batch(struct copying *c, struct vigia_error *err)
{
	struct vigia_transaction *tx;
	bool marked;
	uint64_t at;
	int rc = vigia_transaction_begin(c->copy->to, &tx, err);
	if (rc < 0) return rc;
	rc = read_mark(c, tx, &marked, &at, err);
	bool other = rc == VIGIA_OK && (marked != c->marked || (marked && at != c->copy->at));
	if (rc == VIGIA_OK && !other) rc = fill(c, tx, err);
	if (rc == VIGIA_OK && !other) rc = vigia_transaction_commit(tx, err);
	vigia_transaction_free(tx);
	if (rc == VIGIA_ETRANSACTION || other) {
		vigia__error_clear(err);
		rc = look_at_mark(c, err);
		return rc == VIGIA_OK ? VIGIA_NONE : rc;
	}
	if (rc < 0) return rc;
	if (c->copy->events == 0) c->done.first = c->batch->entries[0].seq_num;
	c->copy->events += c->batch->count;
	c->copy->at = c->batch->entries[c->batch->count - 1].seq_num;
	c->marked = true;
	return VIGIA_OK;
}

static bool is_cancelled(const struct copying *c)
{
	return c->copy->cancel && c->copy->cancel->flag && atomic_load(c->copy->cancel->flag);
}

/* Until all is copied up to c->upto. */
static int append_all(struct copying *c, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	while (rc >= 0 && (c->copy->follow || !c->marked || c->copy->at < c->upto) && !is_cancelled(c)) {
		struct vigia_read request = {.from = {c->marked ? VIGIA_AFTER : VIGIA_TRIM_HORIZON, c->copy->at},
		                             .limit = BATCH_EVENTS,
		                             .timeout_ns = c->copy->follow ? FOLLOW_NS : 0};
		struct vigia_iterator next;
		rc = vigia__store_read(c->copy->from, &request, NULL, c->copy->cancel, c->batch, &next, err);
		if (rc < 0) break;
		if (c->batch->count == 0 && !c->copy->follow) break; /* all that is left was removed */
		if (c->batch->count == 0) {
			rc = tell(c, err);
			continue;
		}
		rc = check_batch(c, err);
		if (rc == VIGIA_OK) rc = store_batch(c, err);
		if (rc == VIGIA_OK) rc = tell(c, err);
	}
	if (rc >= 0 && is_cancelled(c)) return vigia__error(err, VIGIA_EINTERRUPTED, "the copy was interrupted");
	return rc < 0 ? rc : VIGIA_OK;
}

static int copy_all(struct copying *c, struct vigia_error *err)
{
	int rc = find_ids(c, err);
	if (rc == VIGIA_OK) rc = look_at_mark(c, err);
	if (rc == VIGIA_OK && !c->marked) rc = begin_whole(c, err);
	return rc >= 0 ? append_all(c, err) : rc;
}

int vigia__copy_run(struct vigia__copy *copy, struct vigia_error *err)
{
	struct vigia_error why = {0};
	struct copying c = {.copy = copy, .batch = vigia_batch_new()};
	if (err == NULL) err = &why;
	if (c.batch == NULL) return vigia__no_memory(err);
	int rc = vigia__store_enter(copy->from, err);
	if (rc == VIGIA_OK) {
		rc = vigia__store_enter_to_write(copy->to, err);
		if (rc == VIGIA_OK) rc = vigia__store_end(copy->to, copy_all(&c, err));
		vigia__store_leave(copy->from);
	}
	vigia_batch_free(c.batch);
	return rc;
}
