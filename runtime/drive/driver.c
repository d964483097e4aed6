/*
 * driver.c - drives one watcher: carries out what core/stepper decides (read, handle, save, wait) and tells it the
 * outcome.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "drive.h"
#include "worker.h"

/* One turn handles so many events or takes so long; then the other watchers of the thread have theirs. */
enum { TURN_EVENTS = 256, TURN_NS = 2000000 };

/* xorshift*: for jitter only. */
static uint64_t random_bits(void)
{
	static _Thread_local uint64_t x;
	if (x == 0) x = (uint64_t)vigia__mono_ns() | 1;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	return x * UINT64_C(2685821657736338717);
}

static void step(struct vigia_watcher *w, struct vigia__input *input)
{
	/* The way of an event that is handled needs neither the time nor chance: keep it short. */
	bool good = input->kind == VIGIA_INPUT_HANDLED || input->kind == VIGIA_INPUT_BATCH;
	if (!good) input->random = random_bits();
	w->action = vigia__stepper_step(&w->stepper, input, good ? 0 : vigia__time_now(w->registry->clock));
}

static void step_kind(struct vigia_watcher *w, enum vigia__input_kind kind)
{
	step(w, &(struct vigia__input){.kind = kind});
}

static void keep_error(struct vigia_watcher *w, const struct vigia_error *err)
{
	w->last_error = *err;
	snprintf(w->last_error.watcher_id, sizeof w->last_error.watcher_id, "%s", w->id);
}

/* What the end of a watcher, a store or the program does to what is under way is no failure to be told without a log
 * function. */
static bool is_end(const struct vigia_error *err)
{
	return err->code == VIGIA_ESTOPPING || err->code == VIGIA_EINTERRUPTED || err->code == VIGIA_ECLOSED;
}

/* When it is tried again, on the clock of the watcher and as a time of day. */
static const char *next_attempt(const struct vigia_watcher *w, char *out, size_t size)
{
	if (w->stepper.state != VIGIA_RUNNING) return "the next one after a start";
	if (w->action.kind != VIGIA_ACTION_WAIT) return "the next one at once";
	int64_t wait = w->action.until_mono_ns - vigia__time_now(w->registry->clock);
	if (wait < 0) wait = 0;
	int n = snprintf(out, size, "the next one in %.3g s", (double)wait / 1e9);
	int64_t at = vigia__wall_ns();
	time_t seconds = (time_t)((wait > INT64_MAX - at ? INT64_MAX : at + wait) / 1000000000);
	struct tm tm;
	if (w->registry->clock == NULL && gmtime_r(&seconds, &tm))
		strftime(out + n, size - (size_t)n, ", at %Y-%m-%dT%H:%M:%SZ", &tm);
	return out;
}

/* Only when the outcome was told to the core: the log function may stop or move the watcher. */
static void log_error(struct vigia_watcher *w, const struct vigia_error *err, const char *doing)
{
	static const char format[] = "watcher '%s': %s: %s";
	if (is_end(err)) vigia__log(w->registry, VIGIA_LOG_WARN, format, VIGIA_SHOWN(w->id), doing, err->message);
	else vigia__log_failure(w->registry, &w->limit, VIGIA_LOG_WARN, format, VIGIA_SHOWN(w->id), doing, err->message);
}

static void log_event_error(struct vigia_watcher *w, const struct vigia_error *err, uint64_t attempt, bool over)
{
	static const char format[] = "watcher '%s': event failed: %s (event %llu, attempt %llu, %s)%s%s";
	char next[80];
	char *trace = w->registry->trace; /* the log function may have handlers fail */
	w->registry->trace = NULL;
	const char *then = over ? "the last one" : next_attempt(w, next, sizeof next);
	unsigned long long seq_num = err->seq_num, count = attempt;
	const char *line = trace ? " " : "", *where = trace ? trace : "";
	bool end = w->registry->failed_at_end || is_end(err);
	w->registry->failed_at_end = false;
	if (end)
		vigia__log(w->registry, VIGIA_LOG_WARN, format, VIGIA_SHOWN(w->id), err->message, seq_num, count, then, line,
		           where);
	else
		vigia__log_failure(w->registry, &w->limit, VIGIA_LOG_WARN, format, VIGIA_SHOWN(w->id), err->message, seq_num,
		                   count, then, line, where);
	vigia__free(trace);
}

/* The store is not what was opened: nothing in it is to be trusted, and nothing may be saved. Stops when the outcome of
 * what is under way was told. True: it was that. */
static bool is_replaced(struct vigia_watcher *w, int rc)
{
	if (rc != VIGIA_EREPLACED || w->stepper.state != VIGIA_RUNNING) return false;
	vigia__stepper_step(&w->stepper, &(struct vigia__input){.kind = VIGIA_INPUT_STOP},
	                    vigia__time_now(w->registry->clock));
	return true;
}

/* ---- life ---- */

/* What the decisions depend on. */
static struct vigia__stepper_options core_options(const struct vigia_watch_options *options)
{
	return (struct vigia__stepper_options){
		.backoff = {options->initial_backoff_ns, options->max_backoff_ns, options->jitter},
		.max_retries = (uint64_t)options->max_retries,
		.retry_strategy = options->retry_strategy,
		.on_gap = options->on_gap,
		.on_damage = options->on_damage,
		.checkpoint = options->checkpoint,
		.ephemeral = options->ephemeral,
	};
}

int vigia__driver_new(struct vigia_registry *registry, const char *id, const struct vigia_handler *handler,
                      const struct vigia_watch_options *options, struct vigia_watcher **out, struct vigia_error *err)
{
	struct vigia_watcher *w = vigia__calloc(sizeof *w);
	if (w == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for watcher '%s'", VIGIA_SHOWN(id));
	w->registry = registry;
	snprintf(w->id, sizeof w->id, "%s", id);
	w->options = *options;
	w->options.filter = (struct vigia_filter){0}; /* the caller's memory; the copy is w->filter */
	int rc = vigia__filter_new(&options->filter, &w->filter, err);
	if (rc < 0) {
		vigia__free(w);
		return rc;
	}
	struct vigia__stepper_options core = core_options(options);
	vigia__stepper_init(&w->stepper, &core);
	/* Latest means what comes after the creation, also if the start is later. */
	uint64_t oldest, latest;
	struct vigia__backend *b = registry->store->backend;
	rc = b->bounds(b, &oldest, &latest, err);
	if (rc < 0) {
		vigia__filter_free(w->filter);
		vigia__free(w);
		return rc;
	}
	w->start = vigia__iterator_resolve(options->initial_event_iterator, oldest, latest);
	if (vigia__iterator_first(w->start) > latest + 1) {
		char text[64];
		vigia__log(registry, VIGIA_LOG_WARN, "watcher '%s': %s is beyond the last event %llu: it starts after that one",
		           VIGIA_SHOWN(id), vigia__iterator_format(w->start, text, sizeof text), (unsigned long long)latest);
		w->start = vigia__iterator_after(latest);
	}
	w->stepper.next = w->start;
	if (handler) {
		w->handler = *handler;
		w->has_handler = true;
	}
	*out = w;
	return VIGIA_OK;
}

static void free_memory(struct vigia_watcher *w)
{
	vigia__batch_deinit(&w->batch);
	vigia__free(w->seqs);
	w->seqs = NULL;
	w->seqs_cap = 0;
}

static void let_go(struct vigia_watcher *w)
{
	struct vigia__backend *b = w->registry->store->backend;
	if (w->progress) vigia__progress_end(&b->progress, w->progress);
	w->progress = NULL;
	if (w->owned) b->disown(b, w->id);
	w->owned = false;
	free_memory(w);
}

void vigia__driver_free(struct vigia_watcher *w)
{
	vigia__worker_free(w->worker);
	let_go(w);
	if (w->has_handler && w->handler.free) w->handler.free(w->handler.ctx);
	vigia__filter_free(w->filter);
	vigia__free(w);
}

void vigia__driver_abandon(struct vigia_watcher *w)
{
	if (w->worker) return; /* its thread gives up when it is freed */
	w->stepper.state = VIGIA_STOPPED;
	w->action = (struct vigia__action){.kind = VIGIA_ACTION_NONE};
	w->pending = false;
	let_go(w);
}

bool vigia__driver_active(const struct vigia_watcher *w)
{
	if (w->worker) return vigia__worker_active(w->worker);
	return w->stepper.state == VIGIA_RUNNING || w->stepper.state == VIGIA_STOPPING;
}

/* The checkpoint, if there is one. VIGIA_NONE: there is none. */
static int checkpoint_of(struct vigia_watcher *w, uint64_t *seq_num, struct vigia_error *err)
{
	struct vigia__backend *b = w->registry->store->backend;
	int rc = b->checkpoint_get(b, w->id, seq_num, err);
	return rc == VIGIA_ENOCHECKPOINT ? VIGIA_NONE : rc;
}

/* A checkpoint beyond the end (a file put back from a backup): events to come must not be skipped, so it is drawn back
 * at once. */
static int draw_back(struct vigia_watcher *w, uint64_t *checkpoint, struct vigia_error *err)
{
	struct vigia__backend *b = w->registry->store->backend;
	uint64_t oldest, latest;
	int rc = b->bounds(b, &oldest, &latest, err);
	if (rc < 0 || *checkpoint <= latest) return rc;
	vigia__log(w->registry, VIGIA_LOG_WARN,
	           "watcher '%s': its checkpoint %llu is beyond the last event %llu: it starts after that one",
	           VIGIA_SHOWN(w->id), (unsigned long long)*checkpoint, (unsigned long long)latest);
	*checkpoint = latest;
	return b->checkpoint_put(b, w->id, latest, err);
}

int vigia__driver_hold(struct vigia_watcher *w, struct vigia_error *err)
{
	struct vigia__backend *b = w->registry->store->backend;
	if (w->options.ephemeral) return VIGIA_OK;
	/* Latest is where the log ended when the watcher was created, the trim horizon where it begins when nothing else is
	 * known. */
	enum vigia_iterator_kind kind = w->options.initial_event_iterator.kind;
	bool anew = kind == VIGIA_TRIM_HORIZON || (kind == VIGIA_LATEST && !w->created);
	uint64_t held = 0;
	int rc = b->hold(b, w->id, anew ? w->options.initial_event_iterator : w->start, &held, &w->begins, err);
	if (rc == VIGIA_EDISKFULL || rc == VIGIA_EFULL) {
		/* Reading on is worth more than the promise; its first checkpoint keeps it again. */
		vigia__log(w->registry, VIGIA_LOG_WARN,
		           "watcher '%s': cannot hold back garbage collection: the disk or map is full", VIGIA_SHOWN(w->id));
		vigia__error_clear(err);
		if (kind != VIGIA_TRIM_HORIZON) return VIGIA_OK;
		uint64_t oldest, latest;
		rc = b->bounds(b, &oldest, &latest, err);
		if (rc == VIGIA_OK)
			held =
				vigia__iterator_first(vigia__iterator_resolve(w->options.initial_event_iterator, oldest, latest)) - 1;
		w->begins = rc == VIGIA_OK;
	}
	if (rc == VIGIA_OK && (w->begins ? anew : held != vigia__iterator_first(w->start) - 1))
		w->start = vigia__iterator_after(held);
	if (rc == VIGIA_OK && w->stepper.state == VIGIA_IDLE) w->stepper.next = w->start;
	return rc < 0 ? rc : VIGIA_OK;
}

int vigia__driver_start(struct vigia_watcher *w, struct vigia_error *err)
{
	struct vigia__backend *b = w->registry->store->backend;
	w->begins = false;
	if (w->options.ephemeral && !w->sought && w->options.initial_event_iterator.kind == VIGIA_TRIM_HORIZON) {
		uint64_t oldest, latest;
		w->begins = true;
		int rc = b->bounds(b, &oldest, &latest, err);
		if (rc < 0) return rc;
		w->start = vigia__iterator_resolve(w->options.initial_event_iterator, oldest, latest);
	}
	struct vigia_iterator next = w->start;
	uint64_t done = vigia__iterator_first(next) - 1;
	if (!w->options.ephemeral) {
		int rc = b->own(b, w->id, err);
		if (rc < 0) return rc;
		w->owned = true;
		uint64_t checkpoint;
		rc = vigia__driver_hold(w, err);
		next = w->start;
		done = vigia__iterator_first(next) - 1;
		struct vigia_error untouched = {0};
		if (rc == VIGIA_OK && b->touch(b, w->id, &untouched) < 0)
			vigia__log(w->registry, VIGIA_LOG_WARN, "watcher '%s': cannot renew its checkpoint: %s", VIGIA_SHOWN(w->id),
			           untouched.message);
		if (rc == VIGIA_OK) rc = checkpoint_of(w, &checkpoint, err);
		if (rc == VIGIA_OK) rc = draw_back(w, &checkpoint, err);
		if (rc == VIGIA_OK) {
			done = checkpoint;
			next = vigia__iterator_after(checkpoint);
		}
		if (rc >= 0 && w->options.checkpoint != VIGIA_CHECKPOINT_MANUAL) {
			w->progress = vigia__progress_new(w->id, done);
			if (w->progress == NULL)
				rc = vigia__error(err, VIGIA_ENOMEM, "no memory for watcher '%s'", VIGIA_SHOWN(w->id));
		}
		if (rc < 0) {
			let_go(w);
			return rc;
		}
	}
	w->stepper.saved = done;
	w->stop_error = (struct vigia_error){0};
	/* Who begins at the trim horizon begins at the oldest event that its first read finds: nobody missed what went
	 * before. */
	bool left_behind = w->sought || (w->begins && w->options.initial_event_iterator.kind == VIGIA_TRIM_HORIZON);
	step(w, &(struct vigia__input){.kind = VIGIA_INPUT_START, .next = next, .seq_num = done, .sought = left_behind});
	return VIGIA_OK;
}

/* ---- the actions ---- */

static bool fit_seqs(struct vigia_watcher *w)
{
	if (w->batch.count <= w->seqs_cap) return true;
	uint64_t *seqs = vigia__realloc(w->seqs, w->batch.count * sizeof *seqs);
	if (seqs == NULL) return false;
	w->seqs = seqs;
	w->seqs_cap = w->batch.count;
	return true;
}

/* ---- memory ---- */

/* So much may a watcher that listens keep; larger memory goes to the registry, up to that bound, or back to the system.
 * So idle watchers hold next to nothing, and one that is woken again and again allocates nothing. */
enum { KEPT_BYTES = 4096, SPARE_BYTES = 1 << 20 };

static size_t held(const struct vigia_batch *batch, size_t seqs_cap)
{
	return batch->bytes.cap + batch->cap * sizeof *batch->entries + seqs_cap * sizeof(uint64_t);
}

static void exchange(struct vigia_watcher *w)
{
	struct vigia__fetch *spare = &w->registry->spare, mine = {w->batch, w->seqs, w->seqs_cap};
	w->batch = spare->batch;
	w->seqs = spare->seqs;
	w->seqs_cap = spare->seqs_cap;
	*spare = mine;
}

/* It listens, and needs none. A script's registry has nobody to lend it to. */
static void give_memory(struct vigia_watcher *w)
{
	size_t mine = held(&w->batch, w->seqs_cap), spare = held(&w->registry->spare.batch, w->registry->spare.seqs_cap);
	if (mine <= KEPT_BYTES) return;
	if (w->registry->worker == NULL && mine <= SPARE_BYTES && mine > spare) exchange(w);
	if (held(&w->batch, w->seqs_cap) > KEPT_BYTES) free_memory(w);
}

void vigia__driver_free_spare(struct vigia_registry *registry)
{
	vigia__batch_deinit(&registry->spare.batch);
	vigia__free(registry->spare.seqs);
	registry->spare = (struct vigia__fetch){0};
}

/* Events were removed that it had not seen (contract W20). */
static void tell_gap(struct vigia_watcher *w, uint64_t first, uint64_t count)
{
	struct vigia_error err;
	unsigned long long a = first, b = first + count - 1, n = count;
	bool stops = w->options.on_gap == VIGIA_GAP_STOP;
	vigia__error(&err, VIGIA_EEXPIRED, "%llu events were removed before it saw them, %llu to %llu%s", n, a, b,
	             stops ? "; seek to a later one, or on_gap = \"continue\", goes on" : "");
	err.seq_num = first;
	if (stops) {
		keep_error(w, &err);
		log_error(w, &err, "stops");
	} else vigia__log(w->registry, VIGIA_LOG_WARN, "watcher '%s': missed events: %s", VIGIA_SHOWN(w->id), err.message);
}

static void read_events(struct vigia_watcher *w)
{
	struct vigia_error err = {0};
	struct vigia__input input = {.kind = VIGIA_INPUT_BATCH};
	int64_t count = w->options.batch_size < w->options.buffer_size ? w->options.batch_size : w->options.buffer_size;
	struct vigia_read request = {.from = w->action.from, .limit = count, .timeout_ns = 0};
	if (w->batch.bytes.data == NULL) exchange(w);
	int rc = vigia__store_read(w->registry->store, &request, w->filter, NULL, &w->batch, &input.next, &err);
	if (rc == VIGIA_OK && !fit_seqs(w))
		rc = vigia__error(&err, VIGIA_ENOMEM, "no memory for a batch of %zu events", w->batch.count);
	if (rc < 0) {
		keep_error(w, &err);
		bool stops = is_replaced(w, rc);
		step_kind(w, VIGIA_INPUT_FETCH_FAILED);
		log_error(w, &err, stops ? "stops: cannot fetch events" : "cannot fetch events");
		return;
	}
	for (size_t i = 0; i < w->batch.count; i++) w->seqs[i] = w->batch.entries[i].seq_num;
	input.seqs = w->seqs;
	input.count = w->batch.count;
	w->last_listen_at_ns = vigia__wall_ns();
	uint64_t first = vigia__iterator_first(request.from);
	input.gone = w->batch.gone;
	if (vigia__iterator_first(input.next) < first + input.gone)
		input.next = vigia__iterator_after(first + input.gone - 1);
	step(w, &input);
	if (w->stepper.gap > 0) tell_gap(w, first, w->stepper.gap);
}

/* Of a handler in C, which may have filled in all of the error, its text alone, or nothing. */
static void name_failure(int rc, struct vigia_error *err)
{
	err->message[sizeof err->message - 1] = err->cause[sizeof err->cause - 1] = '\0';
	bool permanent = rc == VIGIA_EDAMAGED || rc == VIGIA_EDESERIAL;
	if (err->code >= 0) err->code = permanent ? rc : VIGIA_EHANDLER;
	if (err->message[0]) return;
	const char *name = rc < 0 ? vigia_error_name(rc) : "none of enum vigia_code";
	snprintf(err->message, sizeof err->message, "the handler failed with code %d (%s)", rc, name);
}

/* The handler came to an end, now or after being pending. */
static void handler_ended(struct vigia_watcher *w, int rc, struct vigia_error *err)
{
	size_t index = w->stepper.index;
	w->pending = false;
	if (rc == VIGIA_NONE) {
		step(w, &(struct vigia__input){.kind = VIGIA_INPUT_HANDLED, .dropped = true});
		return;
	}
	if (rc == VIGIA_OK) {
		const struct vigia__entry *entry = &w->batch.entries[index];
		w->last_processed_at_ns = vigia__event_time(w->batch.bytes.data + entry->offset, entry->len);
		step_kind(w, VIGIA_INPUT_HANDLED);
		return;
	}
	name_failure(rc, err);
	err->seq_num = w->seqs[index];
	keep_error(w, err);
	uint64_t skipped = w->stepper.skipped, attempt = w->action.attempt;
	bool permanent = err->code == VIGIA_EDAMAGED || err->code == VIGIA_EDESERIAL;
	step(w, &(struct vigia__input){.kind = VIGIA_INPUT_FAILED, .permanent = permanent});
	bool given_up = w->stepper.skipped > skipped;
	uint64_t stuck = w->stepper.stuck;
	log_event_error(w, err, attempt, given_up || stuck);
	if (given_up && permanent)
		vigia__log(w->registry, VIGIA_LOG_ERROR, "watcher '%s': gave event %llu up, whose bytes are bad",
		           VIGIA_SHOWN(w->id), (unsigned long long)err->seq_num);
	else if (given_up)
		vigia__log(w->registry, VIGIA_LOG_ERROR, "watcher '%s': gave event %llu up after %lld attempts",
		           VIGIA_SHOWN(w->id), (unsigned long long)err->seq_num, (long long)w->options.max_retries);
	else if (stuck)
		vigia__log(w->registry, VIGIA_LOG_ERROR,
		           "watcher '%s': stops at event %llu, whose bytes are bad; on_damage = \"skip\" would pass it",
		           VIGIA_SHOWN(w->id), (unsigned long long)stuck);
}

static void enter_handler(struct vigia_watcher *w, struct vigia_watcher **outer)
{
	*outer = w->registry->current;
	w->registry->current = w;
	w->registry->depth++;
	w->running_handler = true;
}

static void leave_handler(struct vigia_watcher *w, struct vigia_watcher *outer)
{
	w->running_handler = false;
	w->registry->depth--;
	w->registry->current = outer;
}

static void call_handler(struct vigia_watcher *w)
{
	struct vigia_error err; /* cleared, not zeroed: its texts are longer than most events */
	struct vigia_event event = {.seq_num = w->action.seq_num};
	struct vigia_watcher *outer;
	vigia__error_clear(&err);
	bool known = w->handler.knows && w->handler.knows(w->handler.ctx, event.seq_num);
	int rc = known ? VIGIA_OK : vigia_batch_event(&w->batch, w->action.index, &event, &err);
	struct vigia_attempt attempt = {w, w->action.attempt, w->stepper.state == VIGIA_STOPPING};
	if (rc < 0 && w->handler.damaged) {
		enter_handler(w, &outer);
		w->handler.damaged(w->handler.ctx, &attempt, &err);
		leave_handler(w, outer);
	}
	if (rc == VIGIA_OK) {
		w->resume_mono_ns = INT64_MAX;
		w->resume_now = w->told_stopping = false;
		enter_handler(w, &outer);
		rc = w->handler.handle(w->handler.ctx, &event, &attempt, &w->resume_mono_ns, &err);
		leave_handler(w, outer);
	}
	if (rc == VIGIA_PENDING && w->handler.resume) w->pending = true;
	else handler_ended(w, rc, &err);
}

/* May the handler that waits go on? A stop ends its first wait. From then on it waits as it asks: one that ignores the
 * answer has turns, and no more. */
static bool pending_due(const struct vigia_watcher *w)
{
	return w->resume_now || (w->stepper.state == VIGIA_STOPPING && !w->told_stopping) ||
	       vigia__time_now(w->registry->clock) >= w->resume_mono_ns;
}

static void resume_handler(struct vigia_watcher *w)
{
	struct vigia_error err;
	struct vigia_watcher *outer;
	w->told_stopping = w->stepper.state == VIGIA_STOPPING;
	vigia__error_clear(&err);
	w->resume_mono_ns = INT64_MAX;
	w->resume_now = false;
	enter_handler(w, &outer);
	int rc = w->handler.resume(w->handler.ctx, w->stepper.state == VIGIA_STOPPING, &w->resume_mono_ns, &err);
	leave_handler(w, outer);
	if (rc != VIGIA_PENDING) handler_ended(w, rc, &err);
}

/* Forward: all progress of the process in one commit. Backwards: this one by hand. */
static int save_now(struct vigia_watcher *w, uint64_t seq_num, bool backwards, struct vigia_error *err)
{
	struct vigia_store *store = w->registry->store;
	struct vigia__backend *b = store->backend;
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	if (backwards || w->progress == NULL) {
		if (w->progress) vigia__progress_reset(&b->progress, w->progress, seq_num, seq_num);
		rc = b->checkpoint_put(b, w->id, seq_num, err);
	} else {
		vigia__progress_move(&b->progress, w->progress, seq_num);
		if (vigia__progress_saved(&b->progress, w->progress) < seq_num) rc = vigia__store_save_progress(store, err);
		/* A commit of another thread has it, and is not known to have succeeded. */
		if (rc == VIGIA_OK && vigia__progress_saved(&b->progress, w->progress) < seq_num)
			rc = b->checkpoint_advance(b, w->id, seq_num, err);
	}
	vigia__store_leave(store);
	return rc;
}

static int save(struct vigia_watcher *w, struct vigia_error *err)
{
	uint64_t seq_num = w->action.seq_num;
	int rc = save_now(w, seq_num, w->action.backwards, err);
	if (rc < 0) keep_error(w, err);
	is_replaced(w, rc);
	step_kind(w, rc < 0 ? VIGIA_INPUT_SAVE_FAILED : VIGIA_INPUT_SAVED);
	if (rc < 0 && w->stepper.state == VIGIA_STOPPED) { /* there is no other try */
		w->stop_error = w->last_error;
		vigia__error_prefix(&w->stop_error, "watcher '%s': cannot save its checkpoint %llu: ", VIGIA_SHOWN(w->id),
		                    (unsigned long long)seq_num);
	}
	if (rc < 0) log_error(w, err, "cannot save its checkpoint");
	return rc;
}

int vigia__driver_save(struct vigia_watcher *w, struct vigia_error *err)
{
	struct vigia_error local = {0};
	if (err == NULL) err = &local;
	int rc = VIGIA_OK;
	while (rc == VIGIA_OK && w->action.kind == VIGIA_ACTION_SAVE && !w->running_handler && !w->pending)
		rc = save(w, err);
	return rc;
}

/* Let the next commit take along what was finished. */
static void offer_progress(struct vigia_watcher *w)
{
	if (w->progress == NULL || w->options.checkpoint != VIGIA_CHECKPOINT_BATCH) return;
	if (w->stepper.done > atomic_load_explicit(&w->progress->done, memory_order_relaxed))
		vigia__progress_move(&w->registry->store->backend->progress, w->progress, w->stepper.done);
	if (w->registry->dirty_mono_ns == 0 && w->stepper.done > w->stepper.saved)
		w->registry->dirty_mono_ns = vigia__time_now(w->registry->clock);
}

bool vigia__driver_dirty(struct vigia_watcher *w)
{
	if (w->progress == NULL || w->stepper.done <= w->stepper.saved) return false;
	struct vigia__backend *b = w->registry->store->backend;
	w->stepper.saved = vigia__progress_saved(&b->progress, w->progress);
	return w->stepper.done > w->stepper.saved;
}

bool vigia__driver_run(struct vigia_watcher *w)
{
	if (w->worker) return false;
	const struct vigia_registry *r = w->registry;
	int events = 0;
	int64_t until = 0;
	bool worked = false, resumed = false, waited = false;
	if (w->running_handler) return false; /* further up the stack */
	for (;;) {
		switch (w->pending ? VIGIA_ACTION_NONE : w->action.kind) {
		case VIGIA_ACTION_READ:
			read_events(w);
			/* A slice of events that the filter dropped, and more to look at: a turn. Whoever stops it need not wait
			 * for the end. */
			if (w->action.kind == VIGIA_ACTION_READ && w->batch.count == 0) {
				offer_progress(w);
				return true;
			}
			break;
		case VIGIA_ACTION_HANDLE:
			if (events == 0) until = vigia__mono_ns() + TURN_NS;
			if (events >= TURN_EVENTS || r->between_events) return true;
			if ((events % 8 == 7 || (r->one_watcher && events)) && vigia__mono_ns() >= until) return true;
			if (atomic_load_explicit(&r->interrupted, memory_order_relaxed)) return true;
			events++;
			call_handler(w);
			offer_progress(w);
			break;
		case VIGIA_ACTION_SAVE:
			save(w, &(struct vigia_error){0});
			break;
		case VIGIA_ACTION_WAIT:
			if (vigia__time_now(w->registry->clock) < w->action.until_mono_ns) return worked;
			if (waited) return true; /* without a backoff: the others have their turns, and a stop its chance */
			waited = true;
			step_kind(w, VIGIA_INPUT_TICK);
			break;
		case VIGIA_ACTION_STOPPED:
			let_go(w);
			w->action = (struct vigia__action){.kind = VIGIA_ACTION_NONE};
			vigia__registry_rested(w->registry);
			return true;
		case VIGIA_ACTION_LISTEN:
			offer_progress(w);
			give_memory(w);
			return worked;
		case VIGIA_ACTION_NONE:
			if (!w->pending || !pending_due(w)) return worked;
			if (resumed) return true; /* a handler that yields again and again has turns, too */
			resumed = true;
			resume_handler(w);
			offer_progress(w);
			break;
		}
		worked = true;
	}
}

void vigia__driver_wake(struct vigia_watcher *w)
{
	if (w->worker) return;
	if (w->pending) w->resume_now = true;
	else if (w->action.kind == VIGIA_ACTION_LISTEN) step_kind(w, VIGIA_INPUT_WAKE);
}

void vigia__driver_tell(struct vigia_watcher *w, enum vigia__input_kind kind, uint64_t seq_num)
{
	if (w->worker) {
		if (kind == VIGIA_INPUT_STOP) vigia__worker_stop(w->worker);
		return;
	}
	if (kind == VIGIA_INPUT_SEEK && w->options.ephemeral) { /* that is where it begins anew */
		w->start = vigia__iterator_after(seq_num);
		w->sought = true;
	}
	struct vigia__input input = {.kind = kind, .seq_num = seq_num, .random = random_bits()};
	struct vigia__action action = vigia__stepper_step(&w->stepper, &input, vigia__time_now(w->registry->clock));
	/* NONE: an action is under way and its outcome will bring the next one. A handler or a read that was decided upon
	 * and has not begun must not begin now. */
	if (action.kind != VIGIA_ACTION_NONE) w->action = action;
	else if (w->action.kind == VIGIA_ACTION_HANDLE && !w->running_handler && !w->pending)
		step_kind(w, VIGIA_INPUT_DEFERRED);
	else if (w->action.kind == VIGIA_ACTION_READ)
		step(w, &(struct vigia__input){.kind = VIGIA_INPUT_BATCH, .next = w->action.from});
}

void vigia__driver_replaced(struct vigia_watcher *w, const struct vigia_error *err)
{
	if (w->worker || w->stepper.state != VIGIA_RUNNING) return;
	keep_error(w, err);
	vigia__driver_tell(w, VIGIA_INPUT_STOP, 0);
	log_error(w, err, "stops");
}

void vigia__driver_stats(const struct vigia_watcher *w, struct vigia_watcher_stats *out)
{
	*out = (struct vigia_watcher_stats){
		.state = w->stepper.state,
		.next = vigia__stepper_position(&w->stepper),
		.last_processed_seq_num = w->stepper.last_processed,
		.last_processed_at_ns = w->last_processed_at_ns,
		.last_listen_at_ns = w->last_listen_at_ns,
		.processed = w->stepper.processed,
		.failed = w->stepper.failed,
		.retried = w->stepper.retried,
		.skipped = w->stepper.skipped,
		.missed = w->stepper.missed,
		.fetch_errors = w->stepper.fetch_errors,
		.blocked_seq_num = vigia__stepper_blocked(&w->stepper),
		.last_error = w->last_error,
		.stop_error = w->stop_error,
	};
}

void vigia__driver_renew(struct vigia_watcher *w, const struct vigia_watch_options *options,
                         struct vigia__filter *filter)
{
	vigia__filter_free(w->filter);
	w->filter = filter;
	w->options = *options;
	w->options.filter = (struct vigia_filter){0};
	w->stepper.options = core_options(options);
	struct vigia__input input = {.kind = VIGIA_INPUT_REREAD};
	struct vigia__action action = vigia__stepper_step(&w->stepper, &input, vigia__time_now(w->registry->clock));
	if (action.kind != VIGIA_ACTION_NONE) w->action = action;
	vigia__registry_listen(w->registry);
}

int64_t vigia__driver_due(const struct vigia_watcher *w)
{
	if (w->running_handler || w->worker) return INT64_MAX;
	if (w->pending) return pending_due(w) ? 0 : w->resume_mono_ns;
	switch (w->action.kind) {
	case VIGIA_ACTION_WAIT:
		return w->action.until_mono_ns;
	case VIGIA_ACTION_LISTEN:
	case VIGIA_ACTION_NONE:
		return INT64_MAX;
	default:
		return 0;
	}
}
