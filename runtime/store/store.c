/*
 * store.c - what is alike for all backends: handles that are closed or were forked away, names and sizes, iterators,
 * the long poll.
 */
#include "store.h"

#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/iterator.h"
#include "../core/options.h"
#include "../core/serial.h"
#include "collect.h"
#include "commit.h"

/* One look passes over at most so many nanoseconds of events that the filter drops (contract S8). */
enum { SCAN_NS = 10000000 };

/* ---- life of a handle ---- */

/* NULL: all defaults. */
static int take_options(struct vigia_store_options *ours, const struct vigia_store_options *theirs,
                        struct vigia_error *err)
{
	vigia_store_options_init(ours);
	if (theirs == NULL) return VIGIA_OK;
	return vigia__options_take("vigia_store_options", ours, sizeof *ours, offsetof(struct vigia_store_options, create),
	                           theirs, err);
}

int vigia_store_open(const char *path, const struct vigia_store_options *options, struct vigia_store **out,
                     struct vigia_error *err)
{
	struct vigia_store_options taken;
	int rc = take_options(&taken, options, err);
	if (rc < 0) return rc;
	options = &taken;
	if (path == NULL || path[0] == '\0') return vigia__error(err, VIGIA_EINVAL, "path: must name a file");
	struct vigia__problems problems = {0};
	vigia__options_check(vigia__store_option_table, options, &problems);
	rc = vigia__problems_end(&problems, "store options", err);
	if (rc < 0) return rc;

	struct vigia_store *store = vigia__calloc(sizeof *store);
	if (store == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory to open '%s'", path);
	store->path = vigia__strdup(path);
	if (store->path == NULL) {
		rc = vigia__error(err, VIGIA_ENOMEM, "no memory to open '%s'", path);
		goto fail;
	}
	store->options = *options;
	/* The caller's strings: of no use later. */
	store->options.events_bucket = store->options.checkpoint_bucket = store->options.serializer = NULL;
	store->fork_generation = vigia__fork_generation();
	atomic_init(&store->refs, 1);
	bool memory = strcmp(path, ":memory:") == 0;
	rc = memory ? vigia__memory_open(options, &store->backend, err)
	            : vigia__lmdb_open(path, options, &store->backend, err);
	if (rc < 0) goto fail;
	struct vigia__settings settings;
	rc = store->backend->settings(store->backend, &settings, err);
	if (rc < 0) goto release;
	snprintf(store->serializer, sizeof store->serializer, "%s", settings.values.serializer);
	store->recodes = strcmp(store->serializer, "msgpack") != 0;
	store->collects = options->collect && !options->readonly;
	if (store->collects) rc = vigia__collector_add(store->backend, err);
	if (rc < 0) goto release;
	*out = store;
	return VIGIA_OK;
release:
	store->backend->release(store->backend);
fail:
	vigia__free(store->path);
	vigia__free(store);
	return rc;
}

void vigia__store_ref(struct vigia_store *store)
{
	atomic_fetch_add_explicit(&store->refs, 1, memory_order_relaxed);
}

void vigia__store_unref(struct vigia_store *store)
{
	if (atomic_fetch_sub(&store->refs, 1) > 1) return;
	/* In a forked child the backend is the parent's: locks and descriptors in it must not be touched. */
	if (store->fork_generation == vigia__fork_generation()) {
		if (store->collects) vigia__collector_drop(store->backend);
		vigia__queue_flush(store->backend->queue, true, NULL);
		store->backend->release(store->backend);
	}
	vigia__free(store->path);
	vigia__free(store);
}

void vigia_store_close(struct vigia_store *store)
{
	if (store == NULL || atomic_load(&store->closed)) return;
	vigia__store_flush(store, NULL);
	if (atomic_exchange(&store->closed, true)) return;
	if (store->fork_generation == vigia__fork_generation()) vigia__bell_ring(&store->bell, store->backend->wake);
}

void vigia_store_free(struct vigia_store *store)
{
	if (store == NULL) return;
	vigia_store_close(store);
	vigia__store_unref(store);
}

int vigia__store_enter(struct vigia_store *store, struct vigia_error *err)
{
	if (store->fork_generation != vigia__fork_generation())
		return vigia__error(err, VIGIA_EFORKED, "store '%s' was opened before fork(): open it again in the child",
		                    store->path);
	if (atomic_load(&store->closed)) return vigia__error(err, VIGIA_ECLOSED, "store '%s' is closed", store->path);
	vigia__store_ref(store);
	return VIGIA_OK;
}

void vigia__store_leave(struct vigia_store *store)
{
	vigia__store_unref(store);
}

static int enter_to_write(struct vigia_store *store, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc == VIGIA_OK && store->options.readonly) {
		vigia__store_leave(store);
		return vigia__error(err, VIGIA_EREADONLY, "store '%s' was opened read-only", store->path);
	}
	return rc;
}

/* ---- append ---- */

static void note_appended(struct vigia_store *store, const struct vigia__append *request)
{
	if (request->count == 0 || request->existed) return;
	uint64_t last = request->last_seq, known = atomic_load(&store->appended);
	while (known < last && !atomic_compare_exchange_weak(&store->appended, &known, last)) continue;
}

/* Conditions are for those who want to know at once. */
static bool may_queue(const struct vigia__append *request)
{
	return request->count > 0 && !request->now && !request->if_last_given && request->key.len == 0;
}

int vigia__store_append(struct vigia_store *store, struct vigia__append *request, struct vigia_error *err)
{
	int rc = enter_to_write(store, err);
	if (rc < 0) return rc;
	request->queued = false;
	rc = may_queue(request) ? vigia__queue_wanted(store->backend->queue, err) : 0;
	bool queues = rc > 0;
	if (queues) {
		rc = vigia__queue_put(store->backend->queue, request, store->options.commit_queue_bytes, err);
		request->queued = rc == VIGIA_OK;
	}
	if (rc == (queues ? VIGIA_NONE : 0)) {
		rc = store->backend->append(store->backend, request, err);
		if (rc == VIGIA_OK) note_appended(store, request);
		if (rc == VIGIA_OK && queues) {
			vigia__queue_has_room(store->backend->queue);
			request->queued = true; /* as all others: without a number */
		}
	}
	vigia__store_leave(store);
	return rc;
}

/* On the committing thread. */
static void append_finished(struct vigia__ticket *ticket)
{
	struct vigia__pending *pending = ticket->call_arg;
	pending->rc = ticket->rc;
	if (ticket->rc == VIGIA_OK) note_appended(pending->store, &pending->request);
	atomic_store(&pending->done, 1);
	syscall(SYS_futex, &pending->done, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

int vigia__store_submit(struct vigia_store *store, struct vigia__pending *pending, struct vigia_error *err)
{
	atomic_init(&pending->done, 0);
	pending->store = store;
	/* To be queued: done at once, or after one commit if the queue is full. */
	bool queues = may_queue(&pending->request) && atomic_load(&store->backend->durability) == VIGIA_DURABILITY_INTERVAL;
	if (queues || store->backend->submit == NULL) {
		pending->rc = vigia__store_append(store, &pending->request, &pending->err);
		atomic_store(&pending->done, 1);
		return VIGIA_OK;
	}
	struct vigia__ticket *ticket = vigia__calloc(sizeof *ticket);
	if (ticket == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory to queue an append");
	int rc = enter_to_write(store, err);
	if (rc == VIGIA_OK) {
		*ticket = (struct vigia__ticket){.kind = VIGIA_TICKET_APPEND,
		                                 .append = &pending->request,
		                                 .call_arg = pending,
		                                 .err = &pending->err,
		                                 .finished = append_finished};
		pending->ticket = ticket;
		rc = store->backend->submit(store->backend, ticket);
		if (rc == VIGIA_OK) return VIGIA_OK;
		if (err) *err = pending->err;
		pending->ticket = NULL;
		vigia__store_leave(store);
	}
	vigia__free(ticket);
	return rc;
}

void vigia__store_await(struct vigia__pending *pending)
{
	/* In a forked child nobody commits what the parent submitted. */
	while (pending->ticket && !atomic_load(&pending->done) &&
	       pending->store->fork_generation == vigia__fork_generation())
		syscall(SYS_futex, &pending->done, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

int vigia__store_settle(struct vigia__pending *pending)
{
	if (pending->ticket) {
		vigia__free(pending->ticket);
		pending->ticket = NULL;
		vigia__store_leave(pending->store);
	}
	return pending->rc;
}

int vigia__store_flush(struct vigia_store *store, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	rc = vigia__queue_flush(store->backend->queue, true, err);
	if (rc < 0)
		vigia__error_prefix(err, "%zu events that waited for their commit are not stored: ",
		                    atomic_load(&store->backend->queue->count));
	vigia__store_leave(store);
	return rc;
}

int vigia_store_sync(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	uint64_t oldest, latest;
	rc = vigia__queue_flush(b->queue, false, err);
	if (rc == VIGIA_OK && b->sync && !store->options.readonly && atomic_load(&b->durability) == VIGIA_DURABILITY_NONE)
		rc = b->sync(b, err);
	if (rc == VIGIA_OK) rc = b->bounds(b, &oldest, &latest, err);
	if (rc == VIGIA_OK && seq_num) *seq_num = latest;
	vigia__store_leave(store);
	return rc;
}

int vigia_store_backup(struct vigia_store *store, const char *path, bool compact, struct vigia_error *err)
{
	if (path == NULL || path[0] == '\0') return vigia__error(err, VIGIA_EINVAL, "path: must name a file");
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	if (b->backup == NULL) rc = vigia__error(err, VIGIA_EUNSUPPORTED, "a store in memory has no file to copy");
	else if (!store->options.readonly) rc = vigia__queue_flush(b->queue, false, err);
	if (rc == VIGIA_OK) rc = b->backup(b, path, compact, err);
	vigia__store_leave(store);
	return rc;
}

int vigia__store_save_progress(struct vigia_store *store, struct vigia_error *err)
{
	struct vigia__append nothing = {.keep = true}; /* with the progress, what was queued before it */
	struct vigia__progress_list *progress = &store->backend->progress;
	uint64_t wanted = vigia__progress_in(progress), before, out = vigia__progress_out(progress);
	int rc;
	do {
		before = out;
		rc = vigia__store_append(store, &nothing, err);
		out = vigia__progress_out(progress);
	} while (rc == VIGIA_OK && out < wanted && out > before);
	return rc;
}

static int encode(struct vigia__buf *buf, const struct vigia_store *store, const struct vigia_new_event *event,
                  int64_t size_max, struct vigia_error *err)
{
	size_t start = buf->len;
	int rc = vigia__value_check(event->object, VIGIA_ESERIAL, err);
	if (rc == VIGIA_OK) rc = vigia__event_begin(buf, event->operation, event->object_type, err);
	if (rc == VIGIA_OK && vigia__buf_add(buf, event->object.data, event->object.len) < 0)
		rc = vigia__error(err, VIGIA_ENOMEM, "no memory for an event of %zu bytes", event->object.len);
	if (rc == VIGIA_OK) rc = vigia__event_end(buf, start, size_max, err);
	if (rc == VIGIA_OK) rc = vigia__event_recode(buf, start, store->serializer, size_max, err);
	return rc;
}

int vigia__append_key_check(struct vigia_slice key, struct vigia_error *err)
{
	if (key.data && key.len == 0) return vigia__error(err, VIGIA_EINVAL, "key: must not be empty");
	if (key.len > VIGIA_KEY_MAX)
		return vigia__error(err, VIGIA_EINVAL, "key: must have at most %d bytes, has %zu", VIGIA_KEY_MAX, key.len);
	return VIGIA_OK;
}

int vigia_store_append(struct vigia_store *store, const struct vigia_new_event *events, size_t count,
                       uint64_t *first_seq, struct vigia_error *err)
{
	return vigia_store_append_with(store, events, count, NULL, first_seq, NULL, err);
}

int vigia_store_append_with(struct vigia_store *store, const struct vigia_new_event *events, size_t count,
                            const struct vigia_append_options *options, uint64_t *first_seq, bool *existed,
                            struct vigia_error *err)
{
	struct vigia_append_options conditions = {0};
	if (options) {
		int bad = vigia__options_take("vigia_append_options", &conditions, sizeof conditions,
		                              offsetof(struct vigia_append_options, key), options, err);
		if (bad == VIGIA_OK) bad = vigia__append_key_check(conditions.key, err);
		if (bad < 0) return bad;
	}
	if (count == 0) return vigia__error(err, VIGIA_EINVAL, "events: at least one is needed");
	struct vigia__buf buf = {0};
	size_t *ends = vigia__alloc(count * sizeof *ends);
	int rc = ends ? VIGIA_OK : vigia__error(err, VIGIA_ENOMEM, "no memory for %zu events", count);
	for (size_t i = 0; i < count && rc == VIGIA_OK; i++) {
		rc = encode(&buf, store, &events[i], store->backend->max_event_size, err);
		if (rc < 0 && count > 1) vigia__error_prefix(err, "events[%zu]: ", i);
		ends[i] = buf.len;
	}
	if (rc == VIGIA_OK) {
		struct vigia__append request = {.bytes = buf.data,
		                                .ends = ends,
		                                .count = count,
		                                .len = buf.len,
		                                .key = conditions.key,
		                                .if_last = conditions.if_last,
		                                .if_last_given = conditions.if_last_given};
		rc = vigia__store_append(store, &request, err);
		if (rc == VIGIA_OK && first_seq) *first_seq = request.queued ? 0 : request.first_seq;
		if (rc == VIGIA_OK && existed) *existed = request.existed;
	}
	vigia__free(ends);
	vigia__buf_deinit(&buf);
	return rc;
}

/* ---- read ---- */

static int resolve(struct vigia_store *store, struct vigia_iterator *it, struct vigia_error *err)
{
	if (it->kind != VIGIA_TRIM_HORIZON && it->kind != VIGIA_LATEST) return VIGIA_OK;
	uint64_t oldest, latest;
	int rc = store->backend->bounds(store->backend, &oldest, &latest, err);
	if (rc == VIGIA_OK) *it = vigia__iterator_resolve(*it, oldest, latest);
	return rc;
}

static bool ended(const struct vigia_store *store, const struct vigia__cancel *cancel)
{
	if (atomic_load(&store->closed)) return true;
	return cancel && ((cancel->flag && atomic_load(cancel->flag)) || (cancel->asks && cancel->asks(cancel->ctx)));
}

/* Wait for a word to change, for the end, or, once a second, for a commit that nobody announced. */
static void wait_for_event(struct vigia_store *store, struct vigia__listen *listen, uint64_t commits,
                           int64_t until_mono_ns, const struct vigia__cancel *cancel)
{
	struct vigia__backend *b = store->backend;
	for (;;) {
		vigia__wake_rung(listen); /* before the look at why */
		if (ended(store, cancel)) return;
		int64_t heal = vigia__mono_ns() + VIGIA_HEAL_NS;
		int64_t first = heal < until_mono_ns ? heal : until_mono_ns;
		if (cancel && cancel->asks) first = vigia__signal_until(first);
		if (vigia__wake_wait(b->wake, listen, first)) return;
		/* who was held up until both are due still compares: the event was there in time */
		int64_t now = vigia__mono_ns();
		if ((now < until_mono_ns || now >= heal) && vigia__store_unannounced(b, commits)) return;
		if (now >= until_mono_ns) return;
	}
}

int vigia__store_read(struct vigia_store *store, const struct vigia_read *request, const struct vigia__filter *filter,
                      const struct vigia__cancel *cancel, struct vigia_batch *batch, struct vigia_iterator *next,
                      struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	vigia__batch_clear(batch);
	struct vigia_iterator it = request->from;
	rc = resolve(store, &it, err);
	bool to_end = request->scan == VIGIA_SCAN_END;
	int64_t timeout = request->timeout_ns < 0 ? store->options.long_polling_timeout_ns : request->timeout_ns;
	int64_t now = vigia__mono_ns(), until = now > INT64_MAX - timeout ? INT64_MAX : now + timeout;
	struct vigia__listen listen;
	if (timeout > 0) {
		size_t types_count;
		const struct vigia_slice *types = vigia__filter_types(filter, &types_count);
		vigia__listen_init(&listen, types, types_count);
		vigia__listen_bell(&listen, &store->bell);
		if (cancel && cancel->bell) vigia__listen_bell(&listen, cancel->bell);
	}
	while (rc == VIGIA_OK) {
		uint64_t commits = 0;
		if (timeout > 0) {
			vigia__wake_prepare(b->wake, &listen); /* first listen, then look, then wait */
			commits = b->commits(b);
		}
		size_t used = batch->taken + batch->bytes.len, bytes_max = (size_t)store->options.max_batch_bytes;
		struct vigia__scan scan = {
			.from = vigia__iterator_first(it),
			.filter = filter,
			.count_max = request->limit > 0 ? (size_t)request->limit - batch->count : SIZE_MAX,
			.bytes_max = used < bytes_max ? bytes_max - used : 0,
			.goes_on = used > 0,
			.now_mono_ns = now,
			.until_mono_ns = now + SCAN_NS,
		};
		rc = b->scan(b, &scan, batch, err);
		if (rc < 0) break;
		if (batch->gone == 0) batch->gone = scan.gone;
		if (scan.looked_at > 0) it = vigia__iterator_after(scan.looked_at);
		batch->at_end = scan.at_end;
		if (to_end && !scan.at_end && scan.looked_at > 0 &&
		    (request->limit <= 0 || batch->count < (size_t)request->limit) && !ended(store, cancel)) {
			now = vigia__mono_ns();
			continue;
		}
		if (batch->count > 0 || timeout == 0 || ended(store, cancel)) break;
		if (scan.at_end) wait_for_event(store, &listen, commits, until, cancel);
		now = vigia__mono_ns();
		if (now >= until && scan.at_end) timeout = 0; /* one last look */
		else if (now >= until || ended(store, cancel)) break;
	}
	*next = it;
	vigia__store_leave(store);
	return rc < 0 ? rc : VIGIA_OK;
}

int vigia_store_read(struct vigia_store *store, const struct vigia_read *request, struct vigia_batch *batch,
                     struct vigia_iterator *next, struct vigia_error *err)
{
	struct vigia__filter *filter = NULL;
	struct vigia_read ours = {0};
	int rc = VIGIA_OK;
	if (request)
		rc = vigia__options_take("vigia_read", &ours, sizeof ours, offsetof(struct vigia_read, filter), request, err);
	if (rc < 0) return rc;
	if (ours.scan != VIGIA_SCAN_SLICE && ours.scan != VIGIA_SCAN_END)
		return vigia__error(err, VIGIA_EINVAL, "scan: is %d, allowed: one of enum vigia_scan", ours.scan);
	if (ours.limit < 0)
		return vigia__error(err, VIGIA_EINVAL, "limit: must be 0 or more, got %lld", (long long)ours.limit);
	rc = vigia__filter_new(&ours.filter, &filter, err);
	if (rc < 0) return rc;
	rc = vigia__store_read(store, &ours, filter, NULL, batch, next, err);
	vigia__filter_free(filter);
	return rc;
}

/* ---- bounds, time, trim ---- */

int vigia_store_latest(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	uint64_t oldest;
	/* Whoever asks after a crash goes on behind this number: it must not leave out what a killed process stored but did
	 * not tell. */
	if (store->backend->heal) store->backend->heal(store->backend);
	rc = store->backend->bounds(store->backend, &oldest, seq_num, err);
	vigia__store_leave(store);
	return rc;
}

int vigia_store_oldest(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	uint64_t latest;
	rc = store->backend->bounds(store->backend, seq_num, &latest, err);
	vigia__store_leave(store);
	return rc == VIGIA_OK && *seq_num == 0 ? VIGIA_NONE : rc;
}

int vigia_store_find_time(struct vigia_store *store, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	rc = store->backend->find_time(store->backend, at_ns, seq_num, err);
	vigia__store_leave(store);
	return rc;
}

int vigia_store_trim(struct vigia_store *store, uint64_t seq_num, uint64_t *removed, struct vigia_error *err)
{
	int rc = enter_to_write(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	uint64_t oldest, latest, count = 0;
	rc = b->bounds(b, &oldest, &latest, err);
	if (rc == VIGIA_OK && seq_num > latest)
		rc = vigia__error(err, VIGIA_EPOSITION, "cannot trim up to %llu: the last event is %llu",
		                  (unsigned long long)seq_num, (unsigned long long)latest);
	if (rc == VIGIA_OK && oldest > 0 && seq_num >= oldest) rc = b->trim(b, seq_num, &count, err);
	if (removed) *removed = count;
	vigia__store_leave(store);
	return rc;
}

int vigia_store_gc_sized(struct vigia_store *store, struct vigia_gc *out, size_t size, struct vigia_error *err)
{
	struct vigia_gc run = {0};
	int rc = enter_to_write(store, err);
	if (rc < 0) return rc;
	rc = vigia__collect(store->backend, &store->closed, &run, err);
	if (out) vigia__options_give(out, size, &run, sizeof run);
	vigia__store_leave(store);
	return rc;
}

int vigia_store_configure(struct vigia_store *store, const struct vigia_store_options *changes, struct vigia_error *err)
{
	struct vigia_store_options ours;
	int rc = take_options(&ours, changes, err);
	if (rc == VIGIA_OK) rc = enter_to_write(store, err);
	if (rc < 0) return rc;
	rc = store->backend->configure(store->backend, &ours, err);
	vigia__store_leave(store);
	return rc;
}

int vigia__store_stats(struct vigia_store *store, struct vigia__backend_stats *out, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	rc = store->backend->stats(store->backend, out, err);
	vigia__store_leave(store);
	return rc;
}

/* ---- checkpoints ---- */

int vigia__watcher_id_check(const char *id, size_t len, struct vigia_error *err)
{
	if (id == NULL || len == 0) return vigia__error(err, VIGIA_EINVAL, "watcher_id: must not be empty");
	if (len > VIGIA_NAME_MAX)
		return vigia__error(err, VIGIA_EINVAL, "watcher_id: must have at most %d bytes, has %zu", VIGIA_NAME_MAX, len);
	if (memchr(id, '\0', len)) return vigia__error(err, VIGIA_EINVAL, "watcher_id: must not contain a zero byte");
	return VIGIA_OK;
}

static int id_check(const char *id, struct vigia_error *err)
{
	return vigia__watcher_id_check(id, id ? strlen(id) : 0, err);
}

static void name_watcher(struct vigia_error *err, const char *id)
{
	if (err) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", id);
}

int vigia_checkpoint_put(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, struct vigia_error *err)
{
	int rc = id_check(watcher_id, err);
	if (rc == VIGIA_OK) rc = enter_to_write(store, err);
	if (rc < 0) return rc;
	rc = store->backend->checkpoint_put(store->backend, watcher_id, seq_num, err);
	if (rc < 0) name_watcher(err, watcher_id);
	vigia__store_leave(store);
	return rc;
}

int vigia_checkpoint_get(struct vigia_store *store, const char *watcher_id, uint64_t *seq_num, struct vigia_error *err)
{
	int rc = id_check(watcher_id, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	rc = store->backend->checkpoint_get(store->backend, watcher_id, seq_num, err);
	if (rc < 0) name_watcher(err, watcher_id);
	vigia__store_leave(store);
	return rc;
}

int vigia_checkpoint_delete(struct vigia_store *store, const char *watcher_id, struct vigia_error *err)
{
	int rc = id_check(watcher_id, err);
	if (rc == VIGIA_OK) rc = enter_to_write(store, err);
	if (rc < 0) return rc;
	rc = store->backend->checkpoint_delete(store->backend, watcher_id, err);
	if (rc < 0) name_watcher(err, watcher_id);
	vigia__store_leave(store);
	return rc;
}

int vigia_checkpoint_each(struct vigia_store *store, void *ctx, vigia_checkpoint_fn fn, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	rc = store->backend->checkpoint_each(store->backend, ctx, fn, err);
	vigia__store_leave(store);
	return rc;
}

int vigia_hold_each(struct vigia_store *store, void *ctx, vigia_checkpoint_fn fn, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	rc = store->backend->hold_each(store->backend, ctx, fn, err);
	vigia__store_leave(store);
	return rc;
}
