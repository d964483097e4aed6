/*
 * store_read.c - reads: the start position, and the long poll.
 */
#include "../core/error.h"
#include "../core/iterator.h"
#include "../core/options.h"
#include "store.h"
#include "store_private.h"
#include "timers.h"

/* How long one scan may skip events that the filter drops (contract S8). */
enum { SCAN_NS = 10000000 };

static int resolve(struct vigia_store *store, struct vigia_iterator *it, struct vigia_error *err)
{
	if (it->kind != VIGIA_TRIM_HORIZON && it->kind != VIGIA_LATEST) return VIGIA_OK;
	uint64_t oldest, latest;
	int rc = store->backend->bounds(store->backend, &oldest, &latest, err);
	if (rc == VIGIA_OK) *it = vigia__iterator_resolve(*it, oldest, latest);
	return rc;
}

int vigia__store_resolve(struct vigia_store *store, struct vigia_iterator *it, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	return rc == VIGIA_OK ? vigia__store_end(store, resolve(store, it, err)) : rc;
}

static bool ended(const struct vigia_store *store, const struct vigia__cancel *cancel)
{
	if (atomic_load(&store->closed)) return true;
	return cancel && ((cancel->flag && atomic_load(cancel->flag)) || (cancel->asks && cancel->asks(cancel->ctx)));
}

/* Wait for a word to change, for a reason to end, or, once a second, for a commit that was not announced. */
static void wait_for_event(struct vigia_store *store, struct vigia__listen *listen, uint64_t commits,
                           int64_t until_mono_ns, const struct vigia__cancel *cancel)
{
	struct vigia__backend *b = store->backend;
	for (;;) {
		vigia__wake_rung(listen); /* before the check of the reasons to end */
		if (ended(store, cancel)) return;
		int64_t heal = vigia__mono_ns() + VIGIA_HEAL_NS;
		int64_t first = heal < until_mono_ns ? heal : until_mono_ns;
		if (cancel && cancel->asks) first = vigia__signal_until(first);
		if (vigia__wake_wait(b->wake, listen, first)) return;
		/* if this thread ran late and both are due, still compare: the event was there in time */
		int64_t now = vigia__mono_ns();
		vigia__timers_notice(b);
		if ((now < until_mono_ns || now >= heal) && vigia__store_unannounced(b, commits)) return;
		if (now >= until_mono_ns) return;
	}
}

/* `arrival`: where it must not wait for a server. */
static int read_events(struct vigia_store *store, const struct vigia_read *request, const struct vigia__filter *filter,
                       const struct vigia__cancel *cancel, struct vigia__arrival *arrival, struct vigia_batch *batch,
                       struct vigia_iterator *next, struct vigia_error *err)
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
			.arrival = arrival,
		};
		rc = b->scan(b, &scan, batch, err);
		if (rc == VIGIA_PENDING && batch->count > 0) rc = VIGIA_OK;
		if (rc < 0 || rc == VIGIA_PENDING) break;
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
		if (now >= until && scan.at_end) timeout = 0; /* one last scan */
		else if (now >= until || ended(store, cancel)) break;
	}
	*next = it;
	return vigia__store_end(store, rc < 0 || rc == VIGIA_PENDING ? rc : VIGIA_OK);
}

int vigia__store_read(struct vigia_store *store, const struct vigia_read *request, const struct vigia__filter *filter,
                      const struct vigia__cancel *cancel, struct vigia_batch *batch, struct vigia_iterator *next,
                      struct vigia_error *err)
{
	return read_events(store, request, filter, cancel, NULL, batch, next, err);
}

int vigia__store_look(struct vigia_store *store, const struct vigia_read *request, const struct vigia__filter *filter,
                      struct vigia__arrival *arrival, struct vigia_batch *batch, struct vigia_iterator *next,
                      struct vigia_error *err)
{
	struct vigia_read now = *request;
	now.timeout_ns = 0;
	return read_events(store, &now, filter, NULL, arrival, batch, next, err);
}

/* NULL: all defaults. */
static int take_request(struct vigia_read *ours, const struct vigia_read *theirs, struct vigia_error *err)
{
	*ours = (struct vigia_read){0};
	if (theirs == NULL) return VIGIA_OK;
	return vigia__options_take("vigia_read", ours, sizeof *ours, offsetof(struct vigia_read, filter), theirs, err);
}

int vigia_store_read(struct vigia_store *store, const struct vigia_read *request, struct vigia_batch *batch,
                     struct vigia_iterator *next, struct vigia_error *err)
{
	struct vigia__filter *filter = NULL;
	struct vigia_read ours;
	int rc = take_request(&ours, request, err);
	if (rc < 0) return rc;
	if (ours.scan != VIGIA_SCAN_SLICE && ours.scan != VIGIA_SCAN_END)
		return vigia__error(err, VIGIA_EINVAL, "scan: is %d, allowed: one of enum vigia_scan", ours.scan);
	if (ours.limit < 0)
		return vigia__error(err, VIGIA_EINVAL, "limit: must be 0 or more, got %lld", (long long)ours.limit);
	rc = vigia__filter_new_where(&ours.filter, ours.where, ours.where_count, &filter, err);
	if (rc < 0) return rc;
	rc = vigia__store_read(store, &ours, filter, NULL, batch, next, err);
	vigia__filter_free(filter);
	return rc;
}

int vigia__store_explain(struct vigia_store *store, struct vigia_iterator from, const struct vigia__filter *filter,
                         struct vigia_explain *out, struct vigia_error *err)
{
	uint64_t oldest, latest;
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	*out = (struct vigia_explain){.places = vigia__filter_places(filter)};
	rc = b->bounds(b, &oldest, &latest, err);
	if (rc == VIGIA_OK) {
		uint64_t first = vigia__iterator_first(vigia__iterator_resolve(from, oldest, latest));
		if (first < oldest) first = oldest;
		if (oldest > 0 && first <= latest) {
			out->from = first;
			out->to = latest;
			out->events = latest - first + 1;
		}
		if (b->explain) rc = b->explain(b, filter, out, err);
		else out->events_looked_at = out->events;
	}
	return vigia__store_end(store, rc);
}

int vigia_store_explain_sized(struct vigia_store *store, const struct vigia_read *request, struct vigia_explain *out,
                              size_t size, struct vigia_error *err)
{
	struct vigia__filter *filter = NULL;
	struct vigia_read read;
	struct vigia_explain ours = {0};
	int rc = take_request(&read, request, err);
	if (rc == VIGIA_OK) rc = vigia__filter_new_where(&read.filter, read.where, read.where_count, &filter, err);
	if (rc == VIGIA_OK) rc = vigia__store_explain(store, read.from, filter, &ours, err);
	vigia__filter_free(filter);
	if (rc == VIGIA_OK) vigia__options_give(out, size, &ours, sizeof ours);
	return rc;
}
