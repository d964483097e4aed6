/*
 * store_append.c - appends: encode, then queue or commit, blocking or not.
 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/event.h"
#include "../core/options.h"
#include "../core/serial.h"
#include "commit.h"
#include "store.h"
#include "store_private.h"

void vigia__store_note_appended(struct vigia_store *store, const struct vigia__append *request)
{
	if (request->count == 0 || request->existed) return;
	uint64_t last = request->last_seq, known = atomic_load(&store->appended);
	while (known < last && !atomic_compare_exchange_weak(&store->appended, &known, last)) continue;
}

/* The caller of a conditional append needs the result at once. */
static bool may_queue(const struct vigia__append *request)
{
	return request->count > 0 && !request->now && !request->if_last_given && request->key.len == 0;
}

int vigia__store_append(struct vigia_store *store, struct vigia__append *request, struct vigia_error *err)
{
	int rc = vigia__store_enter_to_write(store, err);
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
		if (rc == VIGIA_OK) vigia__store_note_appended(store, request);
		if (rc == VIGIA_OK && queues) {
			vigia__queue_has_room(store->backend->queue);
			request->queued = true; /* without a number, as for every queued append */
		}
	}
	return vigia__store_end(store, rc);
}

int vigia__store_append_all(struct vigia_store *store, struct vigia__append *requests, size_t count,
                            struct vigia_error *err)
{
	struct vigia__transact transact = {.appends = requests, .appends_count = count};
	for (size_t i = 0; i < count; i++) transact.bytes += requests[i].len + requests[i].key.len;
	int rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	rc = store->backend->transact(store->backend, &transact, err);
	for (size_t i = 0; i < count && rc == VIGIA_OK; i++) vigia__store_note_appended(store, &requests[i]);
	return vigia__store_end(store, rc);
}

/* On the committing thread. */
static void append_finished(struct vigia__ticket *ticket)
{
	struct vigia__pending *pending = ticket->call_arg;
	pending->rc = ticket->rc;
	if (ticket->rc == VIGIA_OK && pending->transact == NULL)
		vigia__store_note_appended(pending->store, &pending->request);
	if (pending->transact && pending->transact->after) pending->transact->after(pending->transact);
	atomic_store(&pending->done, 1);
	syscall(SYS_futex, &pending->done, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

int vigia__store_submit(struct vigia_store *store, struct vigia__pending *pending, struct vigia_error *err)
{
	atomic_init(&pending->done, 0);
	pending->store = store;
	/* A queued append is done at once, or after one commit if the queue is full. */
	struct vigia__transact *transact = pending->transact;
	bool queues = transact == NULL && may_queue(&pending->request) &&
	              atomic_load(&store->backend->durability) == VIGIA_DURABILITY_INTERVAL;
	if (queues || store->backend->submit == NULL) {
		pending->rc = transact ? store->backend->transact(store->backend, transact, &pending->err)
		                       : vigia__store_append(store, &pending->request, &pending->err);
		if (transact && transact->after) transact->after(transact);
		atomic_store(&pending->done, 1);
		return VIGIA_OK;
	}
	struct vigia__ticket *ticket = vigia__calloc(sizeof *ticket);
	if (ticket == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory to queue an append");
	int rc = vigia__store_enter_to_write(store, err);
	if (rc == VIGIA_OK) {
		*ticket = (struct vigia__ticket){.kind = transact ? VIGIA_TICKET_TRANSACTION : VIGIA_TICKET_APPEND,
		                                 .append = &pending->request,
		                                 .transact = transact,
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
	/* In a forked child the parent's append never finishes. */
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

int vigia__store_save_progress(struct vigia_store *store, struct vigia_error *err)
{
	struct vigia__append nothing = {.keep = true}; /* also commits what was queued before */
	struct vigia__progress_list *progress = &store->backend->progress;
	uint64_t wanted, in, before, out;
	int rc;
	vigia__progress_counts(progress, &wanted, &out);
	do {
		before = out;
		rc = vigia__store_append(store, &nothing, err);
		vigia__progress_counts(progress, &in, &out);
	} while (rc == VIGIA_OK && out < wanted && out > before);
	return rc;
}

static int encode(struct vigia__buf *buf, const struct vigia_store *store, const struct vigia_new_event *event,
                  int64_t size_max, struct vigia_error *err)
{
	size_t start = buf->len;
	int rc = vigia__value_check_new(event->object, err);
	if (rc == VIGIA_OK) rc = vigia__event_begin(buf, event->operation, event->object_type, err);
	if (rc == VIGIA_OK && vigia__buf_add(buf, event->object.data, event->object.len) < 0)
		rc = vigia__error(err, VIGIA_ENOMEM, "no memory for an event of %zu bytes", event->object.len);
	if (rc == VIGIA_OK) rc = vigia__event_end(buf, start, size_max, err);
	if (rc == VIGIA_OK) rc = vigia__event_recode(buf, start, store->serializer, size_max, err);
	return rc;
}

int vigia__events_encode(struct vigia__buf *buf, size_t **out, const struct vigia_store *store,
                         const struct vigia_new_event *events, size_t count, struct vigia_error *err)
{
	size_t *ends = *out = vigia__alloc(count * sizeof *ends);
	int rc = ends ? VIGIA_OK : vigia__error(err, VIGIA_ENOMEM, "no memory for %zu events", count);
	for (size_t i = 0; i < count && rc == VIGIA_OK; i++) {
		rc = encode(buf, store, &events[i], store->backend->max_event_size, err);
		if (rc < 0 && count > 1) vigia__error_prefix(err, "events[%zu]: ", i);
		ends[i] = buf->len;
	}
	return rc;
}

int vigia__append_conditions(struct vigia_append_options *ours, const struct vigia_append_options *theirs,
                             struct vigia_error *err)
{
	if (theirs == NULL) return VIGIA_OK;
	int rc = vigia__options_take("vigia_append_options", ours, sizeof *ours, offsetof(struct vigia_append_options, key),
	                             theirs, err);
	return rc == VIGIA_OK ? vigia__append_key_check(ours->key, err) : rc;
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
	int bad = vigia__append_conditions(&conditions, options, err);
	if (bad < 0) return bad;
	if (count == 0) return vigia__error(err, VIGIA_EINVAL, "events: at least one is needed");
	struct vigia__buf buf = {0};
	size_t *ends;
	int rc = vigia__events_encode(&buf, &ends, store, events, count, err);
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
