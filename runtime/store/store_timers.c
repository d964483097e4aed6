/*
 * store_timers.c - timers of a store: schedule, unschedule, list. timers.c stores what is due.
 */
#include "store_timers.h"

#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/event.h"
#include "../core/options.h"
#include "store_private.h"
#include "timers.h"

/* ---- schedule ---- */

/* Changes nothing where the key is known. */
static int put_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__schedule *s = arg;
	s->existed = s->stored.existed;
	s->id = 0;
	s->seq_num = s->stored.existed ? s->stored.first_seq : 0;
	if (s->existed) return VIGIA_OK;
	int rc = s->key.len > 0 ? vigia__timer_of_key(kv, s->key, &s->id) : VIGIA_NONE;
	s->existed = rc == VIGIA_OK;
	if (rc != VIGIA_NONE) return rc;
	rc = vigia__timer_put(kv, s->at_ns, s->key, s->event, s->len, &s->done);
	s->id = s->done.id;
	if (rc == VIGIA_OK && s->done.first && s->announced == 0)
		s->announced = vigia__timers_announce(s->backend, s->done.alone);
	return rc;
}

/* A store that has a clock of its own is in memory, and has no thread: the timer may be due. A failure is tried again.
 */
static void after_put(struct vigia__transact *transact)
{
	struct vigia__schedule *s = transact->arg;
	if (s->announced != 0) vigia__timers_announced(s->backend, s->announced);
	if (s->backend->wall) vigia__timers_run(s->backend, NULL);
}

static int begin_put(struct vigia_store *store, struct vigia__schedule *s, struct vigia_error *err)
{
	if (s->at_ns < 0) return vigia__error(err, VIGIA_EINVAL, "at: a time before 1970 (%lld)", (long long)s->at_ns);
	int rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	s->backend = store->backend;
	s->announced = 0;
	s->stored = (struct vigia__append){.key = s->key};
	s->transact = (struct vigia__transact){
		.map = VIGIA_MAP_TIMERS, .asked = &s->stored, .apply = put_in, .arg = s, .after = after_put, .bytes = s->len};
	rc = vigia__timers_start(s->backend, err);
	return rc < 0 ? vigia__store_end(store, rc) : rc;
}

int vigia__store_schedule(struct vigia_store *store, struct vigia__schedule *schedule, struct vigia_error *err)
{
	int rc = begin_put(store, schedule, err);
	if (rc < 0) return rc;
	rc = store->backend->transact(store->backend, &schedule->transact, err);
	after_put(&schedule->transact);
	return vigia__store_end(store, rc);
}

int vigia__store_schedule_submit(struct vigia_store *store, struct vigia__schedule *schedule,
                                 struct vigia__pending *pending, struct vigia_error *err)
{
	int rc = begin_put(store, schedule, err);
	if (rc < 0) return rc;
	*pending = (struct vigia__pending){.transact = &schedule->transact};
	return vigia__store_end(store, vigia__store_submit(store, pending, err));
}

int vigia_schedule(struct vigia_store *store, int64_t at_ns, const struct vigia_new_event *event,
                   const struct vigia_schedule_options *options, uint64_t *id, bool *existed, uint64_t *seq_num,
                   struct vigia_error *err)
{
	struct vigia_schedule_options ours = {0};
	struct vigia__buf buf = {0};
	size_t *ends;
	int rc = VIGIA_OK;
	if (options)
		rc = vigia__options_take("vigia_schedule_options", &ours, sizeof ours,
		                         offsetof(struct vigia_schedule_options, key), options, err);
	if (rc == VIGIA_OK) rc = vigia__append_key_check(ours.key, err);
	if (rc < 0) return rc;
	rc = vigia__events_encode(&buf, &ends, store, event, 1, err);
	if (rc == VIGIA_OK) {
		struct vigia__schedule schedule = {.at_ns = at_ns, .event = buf.data, .len = buf.len, .key = ours.key};
		rc = vigia__store_schedule(store, &schedule, err);
		if (rc == VIGIA_OK && id) *id = schedule.id;
		if (rc == VIGIA_OK && existed) *existed = schedule.existed;
		if (rc == VIGIA_OK && seq_num) *seq_num = schedule.seq_num;
	}
	vigia__free(ends);
	vigia__buf_deinit(&buf);
	return rc;
}

struct deletion {
	uint64_t id;
	bool existed;
};

static int delete_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct deletion *deletion = arg;
	int rc = vigia__timer_delete(kv, deletion->id);
	deletion->existed = rc != VIGIA_NONE;
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

int vigia_unschedule(struct vigia_store *store, uint64_t id, struct vigia_error *err)
{
	struct deletion deletion = {id, false};
	struct vigia__transact transact = {.map = VIGIA_MAP_TIMERS, .apply = delete_in, .arg = &deletion, .frees = true};
	int rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	rc = store->backend->transact(store->backend, &transact, err);
	return vigia__store_end(store, rc == VIGIA_OK && !deletion.existed ? VIGIA_NONE : rc);
}

/* ---- list ---- */

enum { PAGE_ROWS = 256, PAGE_BYTES = 256 * 1024 };

/* Timers are copied a page at a time, so that fn runs outside of the backend's transaction. */
struct page {
	const struct vigia_timer_query *query;
	int64_t at_ns; /* of the last one that was looked at */
	uint64_t id;
	uint64_t damaged; /* the first such, 0 = none */
	bool ended;       /* what follows is due later than is asked for */
	struct vigia__buf bytes;
	size_t count;
	struct row {
		int64_t at_ns;
		uint64_t id;
		size_t key_len, len;
	} rows[PAGE_ROWS];
};

static bool wants(const struct vigia_timer_query *query, const struct vigia__timer *timer)
{
	struct vigia__head head;
	if (query->key.len > 0 &&
	    (timer->key.len != query->key.len || memcmp(timer->key.data, query->key.data, timer->key.len) != 0))
		return false;
	if (query->operation.len == 0 && query->object_type.len == 0) return true;
	if (vigia__event_head((const uint8_t *)timer->event.data, timer->event.len, &head) < 0) return false;
	struct vigia_slice operation = vigia__operation_name(&head);
	if (query->operation.len > 0 &&
	    (operation.len != query->operation.len || memcmp(operation.data, query->operation.data, operation.len) != 0))
		return false;
	return query->object_type.len == 0 ||
	       (head.object_type.len == query->object_type.len &&
	        memcmp(head.object_type.data, query->object_type.data, head.object_type.len) == 0);
}

static int add_row(void *ctx, const struct vigia__timer *timer)
{
	struct page *page = ctx;
	if (page->query->to_given && timer->at_ns > page->query->to_at_ns) {
		page->ended = true;
		return VIGIA_NONE;
	}
	if (timer->intact && wants(page->query, timer)) {
		size_t bytes = timer->key.len + timer->event.len;
		if (page->count == PAGE_ROWS || (page->count > 0 && page->bytes.len + bytes > PAGE_BYTES)) return VIGIA_NONE;
		if (vigia__buf_reserve(&page->bytes, bytes) < 0) return VIGIA_ENOMEM;
		if (timer->key.len > 0) vigia__buf_add(&page->bytes, timer->key.data, timer->key.len);
		vigia__buf_add(&page->bytes, timer->event.data, timer->event.len);
		page->rows[page->count++] = (struct row){timer->at_ns, timer->id, timer->key.len, timer->event.len};
	} else if (!timer->intact && page->damaged == 0) {
		page->damaged = timer->id;
	}
	page->at_ns = timer->at_ns;
	page->id = timer->id;
	return VIGIA_OK;
}

static int read_page(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct page *page = arg;
	page->count = page->bytes.len = 0;
	int rc = vigia__timers_each(kv, page->at_ns, page->id, add_row, page);
	return rc == VIGIA_ENOMEM ? vigia__error(err, VIGIA_ENOMEM, "no memory for a list of timers") : rc;
}

/* Call fn for each row, `left` of them at most. VIGIA_NONE: that many were told. */
static int tell_rows(const struct page *page, uint64_t *left, vigia__timer_fn fn, void *ctx)
{
	const char *at = (const char *)page->bytes.data;
	for (size_t i = 0; i < page->count; i++) {
		const struct row *row = &page->rows[i];
		struct vigia__timer timer = {.id = row->id,
		                             .at_ns = row->at_ns,
		                             .key = {at, row->key_len},
		                             .event = {at + row->key_len, row->len},
		                             .intact = true};
		int rc = fn(ctx, &timer);
		if (rc != VIGIA_OK) return rc;
		at += row->key_len + row->len;
		if (*left > 0 && --*left == 0) return VIGIA_NONE;
	}
	return VIGIA_OK;
}

static int list(struct vigia_store *store, struct page *page, vigia__timer_fn fn, void *ctx, struct vigia_error *err)
{
	uint64_t left = (uint64_t)page->query->limit;
	bool more;
	do {
		int rc = store->backend->view(store->backend, VIGIA_MAP_TIMERS, read_page, page, err);
		if (rc < 0) return rc;
		more = rc == VIGIA_NONE && !page->ended;
		rc = tell_rows(page, &left, fn, ctx);
		if (rc != VIGIA_OK) return rc == VIGIA_NONE ? VIGIA_OK : rc;
	} while (more);
	if (page->damaged == 0) return VIGIA_OK;
	return vigia__error(err, VIGIA_EDAMAGED, "timer %llu does not match its checksum; unschedule it",
	                    (unsigned long long)page->damaged);
}

int vigia__store_timers(struct vigia_store *store, const struct vigia_timer_query *query, vigia__timer_fn fn, void *ctx,
                        struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	struct page *page = vigia__calloc(sizeof *page);
	if (page == NULL) return vigia__store_end(store, vigia__error(err, VIGIA_ENOMEM, "no memory for a list of timers"));
	page->query = query;
	page->at_ns = query->from_at_ns > 0 ? query->from_at_ns : 0;
	rc = list(store, page, fn, ctx, err);
	vigia__buf_deinit(&page->bytes);
	vigia__free(page);
	return vigia__store_end(store, rc);
}

struct telling {
	vigia_timer_fn fn;
	void *ctx;
	struct vigia_error *err;
};

static int tell_timer(void *ctx, const struct vigia__timer *row)
{
	struct telling *telling = ctx;
	struct vigia__head head;
	if (vigia__event_head((const uint8_t *)row->event.data, row->event.len, &head) < 0)
		return vigia__error(telling->err, VIGIA_EDAMAGED, "timer %llu: its bytes are not an event",
		                    (unsigned long long)row->id);
	struct vigia_timer timer = {.id = row->id,
	                            .at_ns = row->at_ns,
	                            .key = row->key,
	                            .event = {.at_ns = row->at_ns,
	                                      .operation = vigia__operation_name(&head),
	                                      .object_type = head.object_type,
	                                      .serializer = head.serializer,
	                                      .object = head.object}};
	return telling->fn(telling->ctx, &timer);
}

int vigia_timers(struct vigia_store *store, const struct vigia_timer_query *query, vigia_timer_fn fn, void *ctx,
                 struct vigia_error *err)
{
	struct vigia_timer_query ours = {0};
	struct telling telling = {fn, ctx, err};
	int rc = VIGIA_OK;
	if (query)
		rc = vigia__options_take("vigia_timer_query", &ours, sizeof ours,
		                         offsetof(struct vigia_timer_query, from_at_ns), query, err);
	return rc < 0 ? rc : vigia__store_timers(store, &ours, tell_timer, &telling, err);
}

/* ---- a clock of its own ---- */

int64_t vigia__store_wall_ns(const struct vigia_store *store)
{
	return vigia__backend_wall_ns(store->backend);
}

int vigia__store_use_wall(struct vigia_store *store, int64_t (*wall)(void *ctx), void *ctx, struct vigia_error *err)
{
	int rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	if (b->can & VIGIA_CAN_SHARE)
		rc = vigia__error(err, VIGIA_EUNSUPPORTED, "a store in a file always uses the system's clock");
	else if (b->wall || b->timers.runs) rc = vigia__error(err, VIGIA_ESTATE, "the store has a clock or timers already");
	else {
		b->wall = wall;
		b->wall_ctx = ctx;
	}
	return vigia__store_end(store, rc);
}

int vigia__store_run_timers(struct vigia_store *store, struct vigia_error *err)
{
	int rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	return vigia__store_end(store, vigia__timers_run(store->backend, err));
}
