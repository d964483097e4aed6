/*
 * driver_run.c - the turns of a watcher that is driven on the registry's thread: carries out what core/stepper decides
 * (read, handle, save, wait) and tells it the outcome.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "drive_private.h"

/* The most events that one turn handles, and its longest time. Then the thread's other watchers have their turns. */
enum { TURN_EVENTS = 256, TURN_NS = 2000000, TURN_PASSED = 10000 };

static void step_kind(struct vigia__driver *w, enum vigia__input_kind kind)
{
	vigia__driver_step(w, &(struct vigia__input){.kind = kind});
}

/* ---- what is logged ---- */

/* When it is tried again, on the clock of the watcher and as a time of day. */
static const char *next_attempt(const struct vigia__driver *w, char *out, size_t size)
{
	if (w->stepper.state != VIGIA_RUNNING) return "the next one after a start";
	bool saves_first = w->stepper.retry_after_save;
	if (w->action.kind != VIGIA_ACTION_WAIT && !saves_first) return "the next one at once";
	int64_t until = saves_first ? w->stepper.retry_mono_ns : w->action.until_mono_ns;
	int64_t wait = until - vigia__time_now(w->base.registry->clock);
	if (wait < 0) wait = 0;
	double wait_s = (double)wait / 1e9;
	int n = snprintf(out, size, wait_s < 1000 ? "the next one in %.3g s" : "the next one in %.0f s", wait_s);
	int64_t at = vigia__wall_ns();
	time_t seconds = (time_t)((wait > INT64_MAX - at ? INT64_MAX : at + wait) / 1000000000);
	struct tm tm;
	if (w->base.registry->clock == NULL && gmtime_r(&seconds, &tm))
		strftime(out + n, size - (size_t)n, ", at %Y-%m-%dT%H:%M:%SZ", &tm);
	return out;
}

static void log_event_error(struct vigia__driver *w, const struct vigia_error *err, uint64_t attempt, bool over)
{
	static const char format[] = "watcher '%s': event failed: %s (event %llu, attempt %llu, %s)%s%s";
	char next[80];
	char *trace = w->base.registry->trace; /* the log function may have handlers fail */
	w->base.registry->trace = NULL;
	const char *then = over ? "the last one" : next_attempt(w, next, sizeof next);
	unsigned long long seq_num = err->seq_num, count = attempt;
	const char *line = trace ? " " : "", *where = trace ? trace : "";
	bool end = w->base.registry->failed_at_end || vigia__error_is_end(err);
	w->base.registry->failed_at_end = false;
	if (end)
		vigia__log(w->base.registry, VIGIA_LOG_WARN, format, VIGIA_SHOWN(w->base.id), err->message, seq_num, count,
		           then, line, where);
	else
		vigia__log_failure(w->base.registry, &w->base.limit, VIGIA_LOG_WARN, format, VIGIA_SHOWN(w->base.id),
		                   err->message, seq_num, count, then, line, where);
	vigia__free(trace);
}

/* ---- reading ---- */

/* Events were removed that it had not seen (contract W20). */
static void tell_gap(struct vigia__driver *w, uint64_t first, uint64_t count)
{
	struct vigia_error err;
	unsigned long long a = first, b = first + count - 1, n = count;
	bool stops = w->base.options.on_gap == VIGIA_GAP_STOP;
	vigia__error(&err, VIGIA_EEXPIRED, "%llu events were removed before it read them, %llu to %llu%s", n, a, b,
	             stops ? "; to continue, seek to a later one or set on_gap = \"continue\"" : "");
	err.seq_num = first;
	if (stops) {
		vigia__driver_keep_error(w, &err);
		vigia__driver_log_error(w, &err, "stops");
	} else
		vigia__log(w->base.registry, VIGIA_LOG_WARN, "watcher '%s': missed events: %s", VIGIA_SHOWN(w->base.id),
		           err.message);
}

/* What was read, as an input. A store's result is good. Another source's is checked. */
static int take_batch(struct vigia__driver *w, struct vigia__input *input, struct vigia_error *err)
{
	const struct vigia_batch *batch = &w->fetch.batch;
	if (!vigia__fetch_fit(&w->fetch))
		return vigia__error(err, VIGIA_ENOMEM, "no memory for a batch of %zu events", batch->count);
	for (size_t i = 0; i < batch->count; i++) w->fetch.seqs[i] = batch->entries[i].seq_num;
	input->seqs = w->fetch.seqs;
	input->count = batch->count;
	input->gone = batch->gone;
	uint64_t first = vigia__iterator_first(w->action.from);
	if (input->gone > 0 && vigia__iterator_first(input->next) < first + input->gone)
		input->next = vigia__iterator_after(first + input->gone - 1);
	if (vigia__source(w) == &vigia__store_source) return VIGIA_OK;
	const char *wrong = vigia__stepper_misfit(&w->stepper, input);
	return wrong ? vigia__error(err, VIGIA_EWATCHER, "get_events: %s", wrong) : VIGIA_OK;
}

static void read_failed(struct vigia__driver *w, int rc, const struct vigia_error *err)
{
	if (rc == VIGIA_ECLOSED) w->base.registry->closed = *err;
	vigia__driver_keep_error(w, err);
	bool stops = vigia__driver_is_replaced(w, rc);
	step_kind(w, VIGIA_INPUT_FETCH_FAILED);
	vigia__driver_log_error(w, err, stops ? "stops: cannot fetch events" : "cannot fetch events");
}

static void read_events(struct vigia__driver *w)
{
	struct vigia_error err = {0};
	struct vigia__input input = {.kind = VIGIA_INPUT_BATCH};
	int64_t count = w->base.options.batch_size < w->base.options.buffer_size ? w->base.options.batch_size
	                                                                         : w->base.options.buffer_size;
	struct vigia_read request = {.from = w->action.from, .limit = count, .timeout_ns = 0};
	vigia__fetch_borrow(w->base.registry, &w->fetch);
	if (!w->reading) w->news = false;
	int rc = vigia__driver_letter_read(w, &input, &err);
	w->reading = rc == VIGIA_PENDING;
	if (w->reading) return;
	if (rc == VIGIA_OK) {
		w->end = 0; /* behind it there may be another one */
		vigia__driver_step(w, &input);
		return;
	}
	if (rc < 0) {
		read_failed(w, rc, &err);
		return;
	}
	w->reading = true;
	rc = vigia__source(w)->read(&w->base, &request, &w->fetch.batch, &input.next, &err);
	if (!w->reading) return; /* cancelled from within */
	w->reading = rc == VIGIA_PENDING;
	if (w->reading) return;
	if (rc == VIGIA_OK) rc = take_batch(w, &input, &err);
	w->base.registry->closed.code = VIGIA_OK;
	if (rc < 0) {
		read_failed(w, rc, &err);
		return;
	}
	w->last_listen_at_ns = vigia__wall_ns();
	vigia__driver_row_sample(w);
	bool found_end = vigia__source(w) == &vigia__store_source && w->fetch.batch.at_end;
	w->end = found_end ? vigia__iterator_first(input.next) : 0;
	uint64_t first = vigia__iterator_first(request.from);
	if (w->lane) rc = vigia__driver_lane_read(w, first, vigia__iterator_first(input.next) - 1);
	if (rc < 0) {
		vigia__error(&err, rc, "no memory to note which events are finished");
		read_failed(w, rc, &err);
		return;
	}
	vigia__driver_step(w, &input);
	if (w->stepper.gap > 0) tell_gap(w, first, w->stepper.gap);
}

/* Would a read find nothing? The last one found the end of the log where this one would begin, and no word has changed
 * since. The words were prepared before that read: otherwise the next round prepares them, and wakes. Nor was there
 * another commit: events that it does not want, such as those that its handler stores, are to be passed, too. */
static bool at_end(const struct vigia__driver *w)
{
	const struct vigia_registry *r = w->base.registry;
	struct vigia__backend *b = r->store->backend;
	return w->end != 0 && w->end == vigia__iterator_first(w->action.from) && r->listening &&
	       !vigia__wake_changed(b->wake, &r->listen) && b->commits(b) == r->commits;
}

/* ---- handling ---- */

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
static void handler_ended(struct vigia__driver *w, int rc, struct vigia_error *err)
{
	w->base.pending = false;
	if (rc == VIGIA_OK && w->tx == NULL && w->lane == NULL) { /* the way of most events: keep it short */
		static const struct vigia__input handled = {.kind = VIGIA_INPUT_HANDLED};
		w->last_processed_at_ns = w->event_at_ns;
		w->action = vigia__stepper_step(&w->stepper, &handled, 0);
		return;
	}
	bool done = rc == VIGIA_OK || rc == VIGIA_NONE;
	if (w->lane && vigia__driver_lane_gave_back(w, done)) {
		step_kind(w, VIGIA_INPUT_DEFERRED);
		return;
	}
	struct vigia__input input = {.kind = done ? VIGIA_INPUT_HANDLED : VIGIA_INPUT_FAILED, .dropped = rc == VIGIA_NONE};
	if (w->tx && vigia__driver_tx_handled(w, &input)) {
		if (input.kind == VIGIA_INPUT_SAVE_FAILED) { /* no failure of the handler */
			vigia__error(err, VIGIA_EUNREACHABLE, "its transaction could not read, because the server is away");
			vigia__driver_keep_error(w, err);
			vigia__driver_log_error(w, err, "begins again later");
		}
		vigia__driver_step(w, &input);
		return;
	}
	if (w->lane && done) vigia__driver_lane_handled(w, &input);
	if (done) {
		if (rc == VIGIA_OK) w->last_processed_at_ns = w->event_at_ns;
		vigia__driver_step(w, &input);
		return;
	}
	name_failure(rc, err);
	err->seq_num = w->action.seq_num;
	vigia__driver_keep_error(w, err);
	vigia__driver_letter_note(w, err, w->base.registry->trace);
	uint64_t skipped = w->stepper.skipped, attempt = w->action.attempt;
	bool again = w->action.letter;
	bool permanent = err->code == VIGIA_EDAMAGED || err->code == VIGIA_EDESERIAL;
	input.permanent = permanent;
	vigia__driver_step(w, &input);
	bool given_up = w->stepper.skipped > skipped, aside = w->stepper.aside;
	uint64_t stuck = w->stepper.stuck;
	if (w->lane && given_up) vigia__driver_lane_finish(w, err->seq_num);
	log_event_error(w, err, attempt, given_up || stuck || aside || again);
	if (aside)
		vigia__log(w->base.registry, VIGIA_LOG_ERROR, "watcher '%s': puts event %llu aside as a dead letter",
		           VIGIA_SHOWN(w->base.id), (unsigned long long)err->seq_num);
	else if (again)
		vigia__log(w->base.registry, VIGIA_LOG_ERROR, "watcher '%s': event %llu stays a dead letter",
		           VIGIA_SHOWN(w->base.id), (unsigned long long)err->seq_num);
	else if (given_up && permanent)
		vigia__log(w->base.registry, VIGIA_LOG_ERROR, "watcher '%s': gave up event %llu, which cannot be read",
		           VIGIA_SHOWN(w->base.id), (unsigned long long)err->seq_num);
	else if (given_up)
		vigia__log(w->base.registry, VIGIA_LOG_ERROR, "watcher '%s': gave up event %llu after %lld attempt%s",
		           VIGIA_SHOWN(w->base.id), (unsigned long long)err->seq_num, (long long)w->base.options.max_retries,
		           w->base.options.max_retries == 1 ? "" : "s");
	else if (stuck)
		vigia__log(w->base.registry, VIGIA_LOG_ERROR,
		           "watcher '%s': stops at event %llu, which cannot be read; on_damage = \"skip\" skips such events",
		           VIGIA_SHOWN(w->base.id), (unsigned long long)stuck);
}

static void enter_handler(struct vigia__driver *w, struct vigia_watcher **outer)
{
	*outer = w->base.registry->current;
	w->base.registry->current = vigia__watcher_leader(&w->base);
	w->base.registry->depth++;
	vigia__pulse_beat(&w->base.registry->pulse);
	w->base.running_handler = true;
	w->base.handled = (struct vigia__handled){w->base.registry->store->backend, w->base.id, vigia__handled};
	vigia__handled = &w->base.handled;
}

static void leave_handler(struct vigia__driver *w, struct vigia_watcher *outer)
{
	vigia__handled = w->base.handled.outer;
	w->base.running_handler = false;
	w->base.registry->depth--;
	w->base.registry->current = outer;
}

/* When the event was stored that the handler knows. */
static int64_t time_of(const struct vigia__driver *w, size_t index)
{
	const struct vigia__entry *entry = &w->fetch.batch.entries[index];
	return vigia__event_time(w->fetch.batch.bytes.data + entry->offset, entry->len);
}

static void call_handler(struct vigia__driver *w)
{
	struct vigia_error err; /* cleared, not zeroed: its texts are longer than most events */
	struct vigia_event event = {.seq_num = w->action.seq_num};
	struct vigia_watcher *outer;
	vigia__error_clear(&err);
	bool known =
		w->base.handler.knows && !w->action.letter && w->base.handler.knows(w->base.handler.ctx, event.seq_num);
	int rc = w->base.options.transactional ? vigia__driver_tx_begin(w, &err) : VIGIA_OK;
	if (rc == VIGIA_OK && !known) rc = vigia_batch_event(&w->fetch.batch, w->action.index, &event, &err);
	struct vigia_attempt attempt = {&w->base, w->action.attempt, w->stepper.state == VIGIA_STOPPING, w->tx,
	                                w->action.letter ? vigia__driver_letter(w) : NULL};
	if (rc < 0 && (rc == VIGIA_EDAMAGED || rc == VIGIA_EDESERIAL) && w->base.handler.damaged) {
		enter_handler(w, &outer);
		w->base.handler.damaged(w->base.handler.ctx, &attempt, &err);
		leave_handler(w, outer);
	}
	if (rc == VIGIA_OK && w->lane) rc = vigia__driver_lane_ask(w, &err);
	if (rc == VIGIA_OK) {
		w->event_at_ns = known ? time_of(w, w->action.index) : event.at_ns;
		w->resume_mono_ns = INT64_MAX;
		w->base.resume_now = w->told_stopping = false;
		enter_handler(w, &outer);
		rc = w->base.handler.handle(w->base.handler.ctx, &event, &attempt, &w->resume_mono_ns, &err);
		leave_handler(w, outer);
	}
	if (rc == VIGIA_PENDING && w->base.handler.resume) w->base.pending = true;
	else handler_ended(w, rc, &err);
}

/* May the handler that waits go on? A stop ends its first wait. From then on it waits as it asks: one that ignores the
 * answer has turns, and no more. */
static bool pending_due(const struct vigia__driver *w)
{
	return w->base.resume_now || (w->stepper.state == VIGIA_STOPPING && !w->told_stopping) ||
	       vigia__time_now(w->base.registry->clock) >= w->resume_mono_ns;
}

static void resume_handler(struct vigia__driver *w)
{
	struct vigia_error err;
	struct vigia_watcher *outer;
	w->told_stopping = w->stepper.state == VIGIA_STOPPING;
	vigia__error_clear(&err);
	w->resume_mono_ns = INT64_MAX;
	w->base.resume_now = false;
	enter_handler(w, &outer);
	int rc = w->base.handler.resume(w->base.handler.ctx, w->stepper.state == VIGIA_STOPPING, &w->resume_mono_ns, &err);
	leave_handler(w, outer);
	if (rc != VIGIA_PENDING) handler_ended(w, rc, &err);
}

/* ---- saving ---- */

/* Go on with the save of progress. False: it is pending. */
static bool poll_saving(struct vigia__driver *w)
{
	struct vigia_error err;
	vigia__error_clear(&err);
	w->writing = true;
	int rc = vigia__source(w)->save(&w->base, w->saving, false, &err);
	w->writing = rc == VIGIA_PENDING;
	if (rc == VIGIA_PENDING) return false;
	uint64_t saved = w->saving;
	w->saving = 0;
	if (rc == VIGIA_OK && saved > w->stepper.saved) w->stepper.saved = saved;
	if (w->stepper.done > w->stepper.saved) w->base.registry->dirty_mono_ns = vigia__time_now(w->base.registry->clock);
	if (rc < 0) {
		vigia__driver_keep_error(w, &err);
		vigia__driver_log_error(w, &err, "cannot save its checkpoint");
	}
	return true;
}

void vigia__driver_save_alone(struct vigia__driver *w)
{
	if (w->progress || w->saving || w->writing || vigia__driver_answers(w)) return;
	w->saving = w->stepper.done;
	poll_saving(w);
}

static int save_checkpoint(struct vigia__driver *w, struct vigia_error *err)
{
	uint64_t seq_num = w->action.seq_num;
	if (w->saving && !poll_saving(w)) return VIGIA_PENDING;
	if (w->action.aside || w->action.letter || (w->stepper.in_tx > 0 && !w->action.backwards)) {
		bool letter = w->action.aside || w->action.letter;
		int rc = letter ? vigia__driver_letter_save(w, err) : vigia__driver_tx_save(w, seq_num, err);
		w->writing = rc == VIGIA_PENDING;
		return rc;
	}
	w->writing = true;
	int rc = vigia__source(w)->save(&w->base, seq_num, w->action.backwards, err);
	w->writing = rc == VIGIA_PENDING;
	if (rc == VIGIA_PENDING) return rc;
	if (rc < 0) vigia__driver_save_failed(w, rc, &(struct vigia__input){.kind = VIGIA_INPUT_SAVE_FAILED}, err);
	else step_kind(w, VIGIA_INPUT_SAVED);
	return rc;
}

int vigia__driver_save(struct vigia__driver *w, struct vigia_error *err)
{
	struct vigia_error local = {0};
	if (err == NULL) err = &local;
	int rc = VIGIA_OK;
	while (rc == VIGIA_OK && w->action.kind == VIGIA_ACTION_SAVE && !w->base.running_handler && !w->base.pending &&
	       !w->base.in_source)
		rc = save_checkpoint(w, err);
	return rc;
}

static bool saves_progress(const struct vigia__driver *w)
{
	return w->base.options.checkpoint == VIGIA_CHECKPOINT_BATCH && !w->base.options.ephemeral;
}

/* What fails is tried again after checkpoint_interval. */
static void save_wanted(struct vigia__driver *w)
{
	struct vigia_error err = {0};
	if (w->progress == NULL) vigia__driver_save_alone(w);
	else if (w->waits) w->base.registry->save_again = true; /* in this round */
	else if (vigia__store_save_progress(w->base.registry->store, &err) < 0)
		vigia__driver_log_error(w, &err, "cannot save its checkpoint");
}

/* Let the next commit take along what was finished. Commit it now if somebody waits for it. */
static void offer_progress(struct vigia__driver *w)
{
	vigia__driver_row_move(w);
	if (!saves_progress(w)) return;
	if (w->progress && w->stepper.done > atomic_load_explicit(&w->progress->done, memory_order_relaxed))
		vigia__progress_move(&w->base.registry->store->backend->progress, w->progress, w->stepper.done);
	bool moved = w->lane ? vigia__driver_lane_dirty(w) : w->stepper.done > w->stepper.saved;
	if (w->base.registry->dirty_mono_ns == 0 && moved)
		w->base.registry->dirty_mono_ns = vigia__time_now(w->base.registry->clock);
	if (vigia__driver_may_be_wanted(w) && vigia__driver_wanted(w)) save_wanted(w);
}

bool vigia__driver_dirty(struct vigia_watcher *watcher)
{
	struct vigia__driver *w = vigia__driver(watcher);
	if (vigia__driver_answers(w)) return false; /* a seek, perhaps, which a save would undo */
	if (w->lane) return w->stepper.state == VIGIA_RUNNING && saves_progress(w) && vigia__driver_lane_dirty(w);
	if (w->stepper.done <= w->stepper.saved) return false;
	if (w->progress == NULL) return w->stepper.state == VIGIA_RUNNING && saves_progress(w) && w->stepper.in_tx == 0;
	struct vigia__backend *b = w->base.registry->store->backend;
	w->stepper.saved = vigia__progress_saved(&b->progress, w->progress);
	return w->stepper.done > w->stepper.saved;
}

/* ---- turns ---- */

/* A start, or a save of progress, that was pending. Returns whether one came to its end. */
static bool go_on_pending(struct vigia__driver *w)
{
	bool ended = w->saving && poll_saving(w);
	if ((!w->starting && w->placed) || w->action.kind == VIGIA_ACTION_SAVE) return ended;
	struct vigia_error err;
	vigia__error_clear(&err);
	bool starts = w->starting;
	int rc = starts ? vigia__driver_start(w, &err) : vigia__driver_place(w, &err);
	if (rc < 0 && starts) {
		w->stepper.state = VIGIA_STOPPED;
		vigia__driver_keep_error(w, &err);
		w->stop_error = w->last_error;
		w->start_failed = true;
		if (!w->start_awaited) vigia__driver_log_error(w, &err, "cannot start");
	}
	if (rc != VIGIA_PENDING) vigia__registry_rested(w->base.registry);
	return ended || rc != VIGIA_PENDING;
}

static bool take_turn(struct vigia__driver *w)
{
	const struct vigia_registry *r = w->base.registry;
	int events = 0, passed = 0;
	int64_t until = 0;
	bool worked = false, resumed = false, waited = false;
	if (w->base.running_handler || w->base.in_source) return false; /* further up the stack */
	bool ready = w->ready || vigia__driver_has_news(w);
	w->ready = false;
	if (ready) worked = go_on_pending(w);
	for (;;) {
		if (vigia__driver_is_steered(w)) {
			uint32_t seen = w->steer_seen;
			bool goes_on = vigia__driver_steer(w);
			worked |= w->steer_seen != seen;
			if (!goes_on) return worked;
		}
		switch (w->base.pending ? VIGIA_ACTION_NONE : w->action.kind) {
		case VIGIA_ACTION_READ:
			if (w->reading && !ready) return worked;
			ready = false;
			if (at_end(w)) {
				vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_BATCH, .next = w->action.from});
				break;
			}
			read_events(w);
			if (w->reading) return worked;
			/* A slice of events that the filter dropped, and more to look at: a turn. A stop need not wait
			 * for the end. */
			if (w->action.kind == VIGIA_ACTION_READ && w->fetch.batch.count == 0) {
				offer_progress(w);
				return true;
			}
			break;
		case VIGIA_ACTION_HANDLE:
			if (w->lane && !w->action.letter) {
				enum vigia__lane_look whose = vigia__driver_lane_look(w);
				if (whose == VIGIA_LANE_LATER && w->stepper.in_tx > 0) { /* others may wait for what it has done */
					vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_DEFERRED, .due = true});
					break;
				}
				if (whose == VIGIA_LANE_LATER) return worked;
				if (whose == VIGIA_LANE_OTHERS) {
					if (++passed >= TURN_PASSED) return true;
					vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_HANDLED, .dropped = true});
					break;
				}
			}
			if (events == 0) until = vigia__mono_ns() + TURN_NS;
			if (events >= TURN_EVENTS || r->between_events) return true;
			if ((events % 8 == 7 || (r->one_watcher && events)) && vigia__mono_ns() >= until) return true;
			if (atomic_load_explicit(&r->interrupted, memory_order_relaxed)) return true;
			events++;
			call_handler(w);
			offer_progress(w);
			break;
		case VIGIA_ACTION_SAVE:
			if (w->writing && !ready) return worked;
			ready = false;
			if (save_checkpoint(w, &(struct vigia_error){0}) == VIGIA_PENDING) return worked;
			vigia__driver_disown_at_rest(w);
			break;
		case VIGIA_ACTION_WAIT:
			if (vigia__time_now(w->base.registry->clock) < w->action.until_mono_ns) return worked;
			if (waited) return true; /* without a backoff: the others have their turns, and a stop its chance */
			waited = true;
			step_kind(w, VIGIA_INPUT_TICK);
			break;
		case VIGIA_ACTION_STOPPED:
			if (w->saving || (w->writing && !ready)) return worked;
			ready = false;
			w->writing = !vigia__driver_give_up_id(w);
			if (w->writing) return worked;
			vigia__driver_release(w);
			w->action = (struct vigia__action){.kind = VIGIA_ACTION_NONE};
			vigia__registry_rested(w->base.registry);
			return true;
		case VIGIA_ACTION_LISTEN:
			offer_progress(w);
			if (w->fetch.batch.bytes.data) vigia__fetch_return(w->base.registry, &w->fetch);
			if (vigia__source(w)->wait == NULL && !w->news) return worked;
			if (vigia__source(w)->wait == NULL) {
				w->news = false;
				step_kind(w, VIGIA_INPUT_WAKE);
				break;
			}
			if (w->reading && !ready) return worked;
			ready = false;
			w->reading = true;
			int rc = vigia__source(w)->wait(&w->base, w->action.from);
			if (!w->reading) break; /* cancelled from within */
			w->reading = rc == VIGIA_PENDING;
			if (w->reading) return worked;
			step_kind(w, VIGIA_INPUT_WAKE);
			break;
		case VIGIA_ACTION_NONE:
			if (!w->base.pending || !pending_due(w)) return worked;
			if (resumed) return true; /* a handler that yields again and again has turns, too */
			resumed = true;
			resume_handler(w);
			offer_progress(w);
			break;
		}
		worked = true;
	}
}

bool vigia__driver_run(struct vigia_watcher *watcher)
{
	struct vigia__driver *w = vigia__driver(watcher);
	bool worked = take_turn(w);
	if (worked && w->row) vigia__driver_row_show(w);
	return worked;
}

void vigia__driver_wake(struct vigia_watcher *watcher)
{
	struct vigia__driver *w = vigia__driver(watcher);
	w->end = 0;
	if (w->base.pending) w->base.resume_now = true;
	else if (w->action.kind == VIGIA_ACTION_READ && w->reading) w->news = true;
	else if (w->action.kind == VIGIA_ACTION_LISTEN && vigia__source(w)->wait == NULL) step_kind(w, VIGIA_INPUT_WAKE);
}

static int64_t next_turn(const struct vigia__driver *w)
{
	if (w->base.running_handler || w->base.in_source) return INT64_MAX;
	if (w->ready || ((w->reading || w->writing) && vigia__driver_has_news(w))) return 0;
	if (w->base.pending) return pending_due(w) ? 0 : w->resume_mono_ns;
	switch (w->action.kind) {
	case VIGIA_ACTION_WAIT:
		return w->action.until_mono_ns;
	case VIGIA_ACTION_LISTEN:
		return vigia__source(w)->wait && !w->reading ? 0 : INT64_MAX;
	case VIGIA_ACTION_NONE:
		return INT64_MAX;
	case VIGIA_ACTION_READ:
		return w->reading ? INT64_MAX : 0;
	case VIGIA_ACTION_SAVE:
	case VIGIA_ACTION_STOPPED:
		return w->writing ? INT64_MAX : 0;
	case VIGIA_ACTION_HANDLE:
		return w->lane && w->lane->waits ? INT64_MAX : 0;
	default:
		return 0;
	}
}

int64_t vigia__driver_due(const struct vigia_watcher *watcher)
{
	const struct vigia__driver *w = vigia__driver(watcher);
	int64_t due = next_turn(w);
	return vigia__driver_is_steered(w) ? vigia__driver_steer_due(w, due) : due;
}
