/*
 * lanes.c - what the lanes of a watcher share: whose an event is, what is finished, and what a commit adds.
 */
#include "lanes.h"

#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/event.h"
#include "../core/lane_key.h"
#include "../store/lane_record.h"

/* ---- life ---- */

int vigia__lanes_new(const char *id, unsigned count, uint64_t window, struct vigia_slice key,
                     void (*poke)(struct vigia_registry *), struct vigia__lanes **out, struct vigia_error *err)
{
	struct vigia__lanes *lanes = vigia__calloc(sizeof *lanes);
	if (lanes == NULL)
		return vigia__error(err, VIGIA_ENOMEM, "no memory for the lanes of watcher '%s'", VIGIA_SHOWN(id));
	int rc = key.len > 0 ? vigia__path_new(key, &lanes->key, err) : VIGIA_OK;
	lanes->key_text = vigia__alloc(key.len + 1);
	if (rc == VIGIA_OK && lanes->key_text == NULL) rc = vigia__error(err, VIGIA_ENOMEM, "no memory for lanes");
	if (rc != VIGIA_OK) {
		vigia__path_free(lanes->key);
		vigia__free(lanes->key_text);
		vigia__free(lanes);
		if (rc == VIGIA_EINVAL) vigia__error_prefix(err, "lane_key: ");
		return rc;
	}
	if (key.len > 0) memcpy(lanes->key_text, key.data, key.len);
	lanes->key_text[key.len] = '\0';
	atomic_init(&lanes->refs, 1);
	lanes->count = count;
	lanes->window = window;
	lanes->poke = poke;
	snprintf(lanes->id, sizeof lanes->id, "%s", id);
	pthread_mutex_init(&lanes->mutex, NULL);
	pthread_cond_init(&lanes->saved, NULL);
	vigia__ranges_init(&lanes->finished, 0);
	vigia__ranges_init(&lanes->unsaved, 0);
	*out = lanes;
	return VIGIA_OK;
}

struct vigia__lanes *vigia__lanes_ref(struct vigia__lanes *lanes)
{
	atomic_fetch_add(&lanes->refs, 1);
	return lanes;
}

void vigia__lanes_unref(struct vigia__lanes *lanes)
{
	if (lanes == NULL || atomic_fetch_sub(&lanes->refs, 1) > 1) return;
	vigia__path_free(lanes->key);
	vigia__free(lanes->key_text);
	vigia__ranges_deinit(&lanes->finished);
	vigia__ranges_deinit(&lanes->unsaved);
	vigia__free(lanes->assigned);
	pthread_mutex_destroy(&lanes->mutex);
	pthread_cond_destroy(&lanes->saved);
	vigia__free(lanes);
}

bool vigia__lanes_keyed_by(const struct vigia__lanes *lanes, struct vigia_slice key)
{
	return strlen(lanes->key_text) == key.len && memcmp(lanes->key_text, key.data ? key.data : "", key.len) == 0;
}

/* ---- whose an event is ---- */

unsigned vigia__lanes_of_hash(const struct vigia__lanes *lanes, uint64_t hash)
{
	return (unsigned)(hash % lanes->count);
}

/* Under the mutex. NULL: no one has said. */
static struct vigia__lane_of *find_assigned(const struct vigia__lanes *lanes, uint64_t seq_num)
{
	size_t low = lanes->assigned_first, high = lanes->assigned_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (lanes->assigned[middle].seq_num < seq_num) low = middle + 1;
		else high = middle;
	}
	bool found = low < lanes->assigned_count && lanes->assigned[low].seq_num == seq_num;
	return found ? &lanes->assigned[low] : NULL;
}

/* Room for one more behind the others. What is finished is of no interest any more. */
static bool make_room(struct vigia__lanes *lanes)
{
	enum { FIRST = 64 };
	while (lanes->assigned_first < lanes->assigned_count &&
	       lanes->assigned[lanes->assigned_first].seq_num <= lanes->finished.checkpoint)
		lanes->assigned_first++;
	if (lanes->assigned_count < lanes->assigned_cap) return true;
	if (lanes->assigned_first > lanes->assigned_cap / 2) {
		size_t left = lanes->assigned_count - lanes->assigned_first;
		memmove(lanes->assigned, lanes->assigned + lanes->assigned_first, left * sizeof *lanes->assigned);
		lanes->assigned_first = 0;
		lanes->assigned_count = left;
		return true;
	}
	size_t cap = lanes->assigned_cap ? 2 * lanes->assigned_cap : FIRST;
	struct vigia__lane_of *more = vigia__realloc(lanes->assigned, cap * sizeof *more);
	if (more == NULL) return false;
	lanes->assigned = more;
	lanes->assigned_cap = cap;
	return true;
}

/* Lanes come to events in order, so a new one is mostly behind the others. */
static struct vigia__lane_of *add_assigned(struct vigia__lanes *lanes, uint64_t seq_num)
{
	if (!make_room(lanes)) return NULL;
	size_t at = lanes->assigned_count++;
	for (; at > lanes->assigned_first && lanes->assigned[at - 1].seq_num > seq_num; at--)
		lanes->assigned[at] = lanes->assigned[at - 1];
	lanes->assigned[at] = (struct vigia__lane_of){.seq_num = seq_num};
	return &lanes->assigned[at];
}

int vigia__lane_assign(struct vigia__lane *lane, uint64_t seq_num, const uint64_t *hash, bool *mine)
{
	struct vigia__lanes *lanes = lane->shared;
	int rc = VIGIA_OK;
	pthread_mutex_lock(&lanes->mutex);
	bool finished = vigia__ranges_has(&lanes->finished, seq_num); /* by another one meanwhile */
	struct vigia__lane_of *of = finished ? NULL : find_assigned(lanes, seq_num);
	bool known = of != NULL;
	if (of == NULL && !finished) of = add_assigned(lanes, seq_num);
	if (of == NULL && !finished) rc = VIGIA_ENOMEM;
	else if (of && !known) {
		of->lane = hash ? vigia__lanes_of_hash(lanes, *hash) : lane->index;
		of->alone = hash == NULL;
		of->hash = hash ? *hash : 0;
	}
	*mine = of && of->lane == lane->index;
	lane->not_mine = *mine ? 0 : seq_num;
	pthread_mutex_unlock(&lanes->mutex);
	return rc;
}

bool vigia__lane_is_known(struct vigia__lane *lane, uint64_t seq_num, bool *mine)
{
	pthread_mutex_lock(&lane->shared->mutex);
	const struct vigia__lane_of *of = find_assigned(lane->shared, seq_num);
	bool finished = vigia__ranges_has(&lane->shared->finished, seq_num);
	bool known = lane->shared->key || finished || (of && (!of->alone || of->lane != lane->index));
	*mine = lane->shared->key || (!finished && of && of->lane == lane->index);
	lane->not_mine = known && !*mine ? seq_num : 0;
	pthread_mutex_unlock(&lane->shared->mutex);
	return known;
}

/* Of damaged bytes 0: on_damage is that lane's. */
static uint64_t hash_of_path(const struct vigia__lanes *lanes, struct vigia_slice bytes)
{
	struct vigia__head head;
	if (vigia__event_head((const uint8_t *)bytes.data, bytes.len, &head) != 0) return 0;
	return vigia__lane_key_event(lanes->key, &head);
}

uint64_t vigia__lane_key_of(struct vigia__lane *lane, uint64_t seq_num, struct vigia_slice event)
{
	if (lane->shared->key) return hash_of_path(lane->shared, event);
	pthread_mutex_lock(&lane->shared->mutex);
	const struct vigia__lane_of *of = find_assigned(lane->shared, seq_num);
	uint64_t hash = of && !of->alone ? of->hash : 0;
	pthread_mutex_unlock(&lane->shared->mutex);
	return hash;
}

bool vigia__lane_has_letter(const struct vigia__lane *lane, uint64_t key, struct vigia_slice event)
{
	if (lane->shared->key) key = hash_of_path(lane->shared, event);
	return vigia__lanes_of_hash(lane->shared, key) == lane->index;
}

static enum vigia__lane_look look(struct vigia__lane *lane, uint64_t seq_num, struct vigia_slice bytes)
{
	struct vigia__lanes *lanes = lane->shared;
	if (vigia__ranges_has(&lanes->finished, seq_num)) return VIGIA_LANE_OTHERS;
	const struct vigia__lane_of *of = lanes->key ? NULL : find_assigned(lanes, seq_num);
	if (of && of->alone) {
		bool first = of->lane == lane->index && lanes->finished.checkpoint >= seq_num - 1;
		return first ? VIGIA_LANE_MINE : VIGIA_LANE_LATER;
	}
	bool known = lanes->key || of;
	unsigned whose = lanes->key ? vigia__lanes_of_hash(lanes, hash_of_path(lanes, bytes)) : of ? of->lane : lane->index;
	if (known && whose != lane->index) return VIGIA_LANE_OTHERS;
	return seq_num > lanes->finished.checkpoint + lanes->window ? VIGIA_LANE_LATER : VIGIA_LANE_MINE;
}

enum vigia__lane_look vigia__lane_look(struct vigia__lane *lane, struct vigia_registry *registry, uint64_t seq_num,
                                       struct vigia_slice bytes)
{
	pthread_mutex_lock(&lane->shared->mutex);
	enum vigia__lane_look found = look(lane, seq_num, bytes);
	lane->waits = found == VIGIA_LANE_LATER;
	lane->shared->waits[lane->index] = lane->waits ? registry : NULL;
	pthread_mutex_unlock(&lane->shared->mutex);
	return found;
}

/* ---- what is finished ---- */

/* Under the mutex: the checkpoint has moved, or an event that others wait for is finished. */
static void wake_waiting(struct vigia__lanes *lanes)
{
	for (unsigned i = 0; i < lanes->count; i++) {
		if (lanes->waits[i]) lanes->poke(lanes->waits[i]);
		lanes->waits[i] = NULL;
	}
}

/* Under the mutex. */
static void keep_promise(struct vigia__lane *lane)
{
	lane->shared->promised -= lane->promised;
	lane->promised = 0;
}

int vigia__lane_reserve(struct vigia__lane *lane, bool anew)
{
	struct vigia__lanes *lanes = lane->shared;
	pthread_mutex_lock(&lanes->mutex);
	if (anew) keep_promise(lane);
	size_t all = lanes->promised + 1;
	bool room = vigia__ranges_reserve(&lanes->finished, all) == 0 && vigia__ranges_reserve(&lanes->unsaved, all) == 0 &&
	            vigia__ranges_reserve(&lane->in_tx, 1) == 0;
	if (room) {
		lanes->promised++;
		lane->promised++;
	}
	pthread_mutex_unlock(&lanes->mutex);
	return room ? VIGIA_OK : VIGIA_ENOMEM;
}

int vigia__lane_finish(struct vigia__lane *lane, uint64_t first, uint64_t last)
{
	struct vigia__lanes *lanes = lane->shared;
	int rc = 0;
	pthread_mutex_lock(&lanes->mutex);
	if (lane->epoch == lanes->epoch) {
		rc = vigia__ranges_add(&lanes->unsaved, first, last);
		if (rc == 0) rc = vigia__ranges_add(&lanes->finished, first, last);
		wake_waiting(lanes);
	}
	pthread_mutex_unlock(&lanes->mutex);
	return rc < 0 ? VIGIA_ENOMEM : VIGIA_OK;
}

int vigia__lane_saved(struct vigia__lane *lane, const struct vigia__ranges *saved)
{
	int rc = VIGIA_OK;
	pthread_mutex_lock(&lane->shared->mutex);
	if (lane->epoch == lane->shared->epoch) {
		rc = vigia__ranges_join(&lane->shared->finished, saved) < 0 ? VIGIA_ENOMEM : VIGIA_OK;
		wake_waiting(lane->shared);
	}
	pthread_mutex_unlock(&lane->shared->mutex);
	return rc;
}

uint64_t vigia__lanes_checkpoint(struct vigia__lanes *lanes)
{
	pthread_mutex_lock(&lanes->mutex);
	uint64_t checkpoint = lanes->finished.checkpoint;
	pthread_mutex_unlock(&lanes->mutex);
	return checkpoint;
}
