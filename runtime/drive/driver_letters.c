/*
 * driver_letters.c - dead letters: an event that failed too often is put aside, and handled again when that is asked
 * for.
 */
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../store/letters.h"
#include "../store/transaction.h"
#include "drive_private.h"

static struct vigia__letter_room *room_of(struct vigia__driver *w)
{
	if (w->letter == NULL) w->letter = vigia__calloc(sizeof *w->letter);
	return w->letter;
}

/* ---- one to handle again ---- */

/* Where it goes. */
struct find {
	struct vigia__driver *w;
	struct vigia_batch *batch;
	struct vigia__buf *known;
	struct vigia_dead_letter *in_hand;
	struct vigia__input *input;
};

static bool is_of_lane(void *ctx, const struct vigia__letter *letter)
{
	return vigia__lane_has_letter(ctx, letter->lane_key, letter->event);
}

/* Copy it: the event into the batch. */
static int find_wanted(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct find *find = arg;
	struct vigia__letter letter;
	struct vigia__buf *known = find->known;
	const char *id = find->w->base.id;
	int rc = vigia__letter_next_wanted(kv, (struct vigia_slice){id, strlen(id)}, find->w->lane ? is_of_lane : NULL,
	                                   find->w->lane, &letter, err);
	if (rc != VIGIA_OK) return rc;
	vigia__buf_clear(known, VIGIA_LETTER_TEXT_MAX);
	if (vigia__batch_add(find->batch, letter.seq_num, letter.event.data, letter.event.len) < 0 ||
	    vigia__buf_add(known, letter.error.data, letter.error.len) < 0 ||
	    vigia__buf_add(known, letter.traceback.data, letter.traceback.len) < 0)
		return vigia__error(err, VIGIA_ENOMEM, "no memory for a dead letter");
	const char *texts = (const char *)known->data;
	*find->in_hand = (struct vigia_dead_letter){.watcher_id = id,
	                                            .seq_num = letter.seq_num,
	                                            .attempts = letter.attempts,
	                                            .failed_at_ns = letter.failed_at_ns,
	                                            .retry = true,
	                                            .error = {texts, letter.error.len},
	                                            .traceback = {texts + letter.error.len, letter.traceback.len}};
	*find->input =
		(struct vigia__input){.kind = VIGIA_INPUT_LETTER, .seq_num = letter.seq_num, .attempts = letter.attempts};
	return VIGIA_OK;
}

static int look_for_letter(struct find *find, struct vigia_error *err)
{
	struct vigia_store *store = find->w->base.registry->store;
	struct vigia__backend *b = store->backend;
	vigia__batch_clear(find->batch);
	int rc = vigia__store_enter(store, err);
	return rc == VIGIA_OK ? vigia__store_end(store, b->view(b, VIGIA_MAP_STATE, find_wanted, find, err)) : rc;
}

static int look_on_errand(void *ctx, struct vigia_error *err)
{
	struct vigia__driver *w = ctx;
	struct vigia__letter_found *found = &w->waits->found;
	found->requests = atomic_load(w->base.registry->store->backend->letter_requests);
	struct find find = {w, &found->batch, &found->known, &found->in_hand, &found->input};
	return look_for_letter(&find, err);
}

/* From an errand, which may go on while the watcher does something else: so it has memory of its own. */
static int look_remotely(struct vigia__driver *w, struct vigia__letter_room *room, struct vigia__input *input,
                         struct vigia_error *err)
{
	struct vigia__letter_found *found = &w->waits->found;
	bool begins = w->waits->stale || atomic_load(&w->waits->look.state) == VIGIA_ERRAND_NONE;
	if (begins) found->heals = w->base.registry->heals;
	int rc = vigia__driver_look_errand(w, look_on_errand, err);
	if (rc != VIGIA_OK) return rc;
	struct vigia_batch batch = w->fetch.batch;
	struct vigia__buf known = room->known;
	w->fetch.batch = found->batch;
	room->known = found->known;
	found->batch = batch;
	found->known = known;
	room->in_hand = found->in_hand;
	*input = found->input;
	return VIGIA_OK;
}

int vigia__driver_letter_read(struct vigia__driver *w, struct vigia__input *input, struct vigia_error *err)
{
	const struct vigia_registry *r = w->base.registry;
	struct vigia__backend *b = r->store->backend;
	if (vigia__source(w) != &vigia__store_source || w->base.options.ephemeral) return VIGIA_NONE;
	uint32_t requests = atomic_load_explicit(b->letter_requests, memory_order_relaxed), heals = r->heals;
	if (w->letters_looked && requests == w->letters_seen && heals == w->heals_seen) return VIGIA_NONE;
	struct vigia__letter_room *room = room_of(w);
	if (room == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for a dead letter");
	struct find find = {w, &w->fetch.batch, &room->known, &room->in_hand, input};
	int rc = w->waits ? look_remotely(w, room, input, err) : look_for_letter(&find, err);
	if (rc == VIGIA_PENDING) return rc;
	if (rc >= 0 && err->code == VIGIA_EDAMAGED) { /* it does not hold up other letters, nor events */
		vigia__driver_keep_error(w, err);
		vigia__driver_log_error(w, err, "skips a dead letter");
		vigia__error_clear(err);
	}
	if (rc == VIGIA_OK &&
	    !vigia__letter_event(input->seq_num, vigia__batch_bytes(&w->fetch.batch, 0), &room->in_hand.event))
		return vigia__error(err, VIGIA_EDAMAGED, "the event of the dead letter %llu is damaged",
		                    (unsigned long long)input->seq_num);
	if (rc != VIGIA_NONE) return rc;
	w->letters_looked = true;
	w->letters_seen = w->waits ? w->waits->found.requests : requests;
	w->heals_seen = w->waits ? w->waits->found.heals : heals;
	return VIGIA_NONE;
}

const struct vigia_dead_letter *vigia__driver_letter(const struct vigia__driver *w)
{
	return &w->letter->in_hand;
}

/* ---- what is said of a failure ---- */

/* Not more than there is room for, and no part of a character at the end. */
static size_t cut(const char *text, size_t most)
{
	size_t len = strlen(text);
	if (len <= most) return len;
	while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80) most--;
	return most;
}

void vigia__driver_letter_note(struct vigia__driver *w, const struct vigia_error *err, const char *traceback)
{
	if (w->base.options.retry_strategy != VIGIA_RETRY_DEAD_LETTER && !w->action.letter) return;
	struct vigia__letter_room *room = room_of(w);
	if (room == NULL) return;
	size_t error_len = cut(err->message, VIGIA_LETTER_TEXT_MAX);
	size_t traceback_len = traceback ? cut(traceback, VIGIA_LETTER_TEXT_MAX - error_len) : 0;
	vigia__buf_clear(&room->texts, VIGIA_LETTER_TEXT_MAX);
	bool fits = vigia__buf_add(&room->texts, err->message, error_len) == 0;
	room->error_len = fits ? error_len : 0;
	fits = fits && (traceback_len == 0 || vigia__buf_add(&room->texts, traceback, traceback_len) == 0);
	room->traceback_len = fits ? traceback_len : 0;
}

/* ---- saving ---- */

static int put_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct vigia__letter_room *room = arg;
	return vigia__letter_put(kv, &room->letter);
}

/* One that was dropped meanwhile is none any more. */
static int end_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct vigia__letter_room *room = arg;
	const struct vigia__letter *letter = &room->letter;
	int rc = room->failed ? vigia__letter_failed(kv, letter, err)
	                      : vigia__letter_remove(kv, letter->watcher_id, letter->seq_num);
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

/* With the checkpoint, but in manual mode. What other commits take along is saved before, so that none of them puts
 * back an older one. */
static int put_aside(struct vigia__driver *w, struct vigia__letter_room *room, struct vigia_error *err)
{
	struct vigia_store *store = w->base.registry->store;
	struct vigia__backend *b = store->backend;
	struct vigia_slice event = vigia__batch_bytes(&w->fetch.batch, w->action.index);
	room->letter.event = event;
	struct vigia__transact transact = {
		.apply = put_in, .arg = room, .owner_id = w->base.id, .bytes = event.len + VIGIA_LETTER_TEXT_MAX};
	struct vigia__ranges one;
	struct vigia__lane_commit lanes;
	vigia__ranges_init(&one, 0);
	room->letter.lane_key = w->lane ? vigia__lane_key_of(w->lane, room->letter.seq_num, event) : 0;
	if (w->lane) {
		if (vigia__ranges_add(&one, room->letter.seq_num, room->letter.seq_num) < 0)
			return vigia__error(err, VIGIA_ENOMEM, "no memory for a dead letter");
		lanes = (struct vigia__lane_commit){w->lane->shared, w->lane->epoch, &one, 0};
		vigia__lane_commit_with(&lanes, &transact);
	}
	if (w->base.options.checkpoint != VIGIA_CHECKPOINT_MANUAL) {
		transact.watcher_id = w->base.id;
		transact.checkpoint = w->action.seq_num;
	}
	int rc = VIGIA_OK;
	if (w->progress && vigia__progress_saved(&b->progress, w->progress) < atomic_load(&w->progress->done))
		rc = vigia__store_save_progress(store, err);
	if (rc == VIGIA_OK) rc = b->transact(b, &transact, err);
	if (rc == VIGIA_OK && w->lane) {
		vigia__lane_saved(w->lane, &one);
		vigia__backend_saved(b, w->base.id, lanes.checkpoint);
	}
	vigia__ranges_deinit(&one);
	if (rc != VIGIA_OK || transact.watcher_id == NULL || w->lane) return rc;
	if (w->progress) vigia__progress_reset(&b->progress, w->progress, w->action.seq_num, w->action.seq_num);
	vigia__backend_saved(b, w->base.id, w->action.seq_num);
	return VIGIA_OK;
}

/* Of one that was handled again: with the effects of a transactional watcher. */
static int end_letter(struct vigia__driver *w, struct vigia__letter_room *room, struct vigia_error *err)
{
	struct vigia__backend *b = w->base.registry->store->backend;
	room->failed = w->action.failed;
	struct vigia__transact transact = {
		.also = end_in, .also_arg = room, .owner_id = w->base.id, .bytes = VIGIA_LETTER_TEXT_MAX};
	return w->tx ? vigia__transaction_save(w->tx, &transact, err) : b->transact(b, &transact, err);
}

static int store_letter(struct vigia__driver *w, const struct vigia__asked *asked, struct vigia_error *err)
{
	struct vigia_registry *r = w->base.registry;
	struct vigia__letter_room *room = room_of(w);
	int rc = room ? vigia__store_enter(r->store, err) : vigia__error(err, VIGIA_ENOMEM, "no memory for a dead letter");
	if (rc < 0) return rc;
	const char *texts = (const char *)room->texts.data;
	room->letter = (struct vigia__letter){
		.watcher_id = {w->base.id, strlen(w->base.id)},
		.seq_num = w->action.aside ? w->fetch.seqs[w->action.index] : w->action.seq_num,
		.attempts = w->action.attempt,
		.failed_at_ns = vigia__wall_ns(),
		.error = {texts, room->error_len},
		.traceback = {texts + room->error_len, room->traceback_len},
	};
	rc = w->action.aside ? put_aside(w, room, err) : end_letter(w, room, err);
	return vigia__store_end(r->store, rc);
}

int vigia__driver_letter_save(struct vigia__driver *w, struct vigia_error *err)
{
	int rc = vigia__driver_errand(w, store_letter, (struct vigia__asked){0}, err);
	if (rc == VIGIA_PENDING) return rc;
	if (rc == VIGIA_OK) {
		w->conflicts = 0;
		vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_SAVED});
		return rc;
	}
	if (rc == VIGIA_ETRANSACTION) {
		vigia__transaction_again(w->tx, ++w->conflicts);
		vigia__error_clear(err);
		vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_CONFLICT});
		return VIGIA_OK;
	}
	vigia__driver_save_failed(w, rc, &(struct vigia__input){.kind = VIGIA_INPUT_SAVE_FAILED}, err);
	return rc;
}
