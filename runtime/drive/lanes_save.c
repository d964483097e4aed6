/*
 * lanes_save.c - saves what the lanes of a watcher have finished: the checkpoint and the ranges above it, in one
 * commit.
 *
 * What is stored is the truth: a commit adds to the record that it finds, inside the writer's lock. So commits of
 * several lanes may share a sync.
 */
#include <string.h>

#include "../core/error.h"
#include "../store/lane_record.h"
#include "../store/store.h"
#include "lanes.h"

static struct vigia_slice id_of(const struct vigia__lanes *lanes)
{
	return (struct vigia_slice){lanes->id, strlen(lanes->id)};
}

/* A transact's `also`: adds the ranges to what is stored. */
static int commit_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__lane_commit *commit = arg;
	struct vigia__ranges stored;
	uint64_t epoch = 0;
	vigia__ranges_init(&stored, commit->shared->base);
	int rc = vigia__lane_record_get(kv, id_of(commit->shared), &epoch, &stored);
	bool there = rc == VIGIA_OK;
	if (rc == VIGIA_NONE || rc == VIGIA_EDAMAGED) rc = VIGIA_OK; /* as at the start: what is lost is handled again */
	if (commit->ranges == NULL) {
		vigia__ranges_reset(&stored, commit->checkpoint);
		epoch = commit->epoch;
	} else if (rc == VIGIA_OK && (!there || epoch == commit->epoch)) {
		epoch = commit->epoch;
		if (vigia__ranges_join(&stored, commit->ranges) < 0) rc = VIGIA_ENOMEM;
	}
	commit->checkpoint = stored.checkpoint;
	if (rc == VIGIA_OK) rc = vigia__lane_record_put(kv, id_of(commit->shared), epoch, &stored);
	vigia__ranges_deinit(&stored);
	return rc;
}

void vigia__lane_commit_with(struct vigia__lane_commit *commit, struct vigia__transact *transact)
{
	transact->also = commit_in;
	transact->also_arg = commit;
	transact->watcher_id = commit->shared->id;
	transact->moves = &commit->checkpoint;
}

static int commit_alone(struct vigia__backend *b, struct vigia__lane_commit *commit, struct vigia_error *err)
{
	struct vigia__transact transact = {0};
	vigia__lane_commit_with(commit, &transact);
	int rc = b->transact(b, &transact, err);
	if (rc == VIGIA_OK) vigia__backend_saved(b, commit->shared->id, commit->checkpoint);
	return rc;
}

/* ---- begin, end ---- */

static int read_record(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__lanes *lanes = arg;
	return vigia__lane_record_get(kv, id_of(lanes), &lanes->epoch, &lanes->finished);
}

/* The record counts if it belongs to the checkpoint: one that was put by hand is another place. Beyond the end (a file
 * put back from a backup) nothing counts: events to come must not be passed. */
static int load(struct vigia__lanes *lanes, struct vigia__backend *b, uint64_t start, struct vigia_error *err)
{
	uint64_t checkpoint = start, oldest, latest;
	int rc = b->bounds(b, &oldest, &latest, err);
	if (rc == VIGIA_OK) rc = b->checkpoint_get(b, lanes->id, &checkpoint, err);
	if (rc == VIGIA_ENOCHECKPOINT) vigia__error_clear(err);
	else if (rc < 0) return rc;
	bool beyond = rc == VIGIA_OK && checkpoint > latest;
	if (beyond) checkpoint = latest;
	rc = b->view(b, VIGIA_MAP_STATE, read_record, lanes, err);
	if (rc < 0 && rc != VIGIA_EDAMAGED) return rc;
	size_t count = rc == VIGIA_OK ? lanes->finished.count : 0;
	bool ends_beyond = count > 0 && lanes->finished.list[count - 1].last > latest;
	if (rc != VIGIA_OK || lanes->finished.checkpoint != checkpoint || ends_beyond) {
		vigia__ranges_reset(&lanes->finished, checkpoint);
		lanes->epoch++; /* what is stored is not added to */
		struct vigia__lane_commit commit = {.shared = lanes, .epoch = lanes->epoch, .checkpoint = checkpoint};
		struct vigia__transact transact = {.also = commit_in, .also_arg = &commit, .owner_id = lanes->id};
		if (beyond) rc = commit_alone(b, &commit, err);
		else if (rc == VIGIA_OK) rc = b->transact(b, &transact, err);
		else rc = VIGIA_OK;
		if (rc != VIGIA_OK) return rc;
	}
	vigia__ranges_reset(&lanes->unsaved, 0);
	lanes->base = checkpoint;
	lanes->assigned_first = lanes->assigned_count = 0;
	lanes->sought = true;
	return VIGIA_OK;
}

int vigia__lane_begin(struct vigia__lane *lane, struct vigia__backend *b, uint64_t start, uint64_t *checkpoint,
                      struct vigia_error *err)
{
	struct vigia__lanes *lanes = lane->shared;
	int rc = VIGIA_OK;
	pthread_mutex_lock(&lanes->mutex);
	if (lanes->owners == 0) rc = b->own(b, lanes->id, err);
	if (lanes->owners == 0 && rc == VIGIA_OK && b->heal) b->heal(b); /* what a killed process has committed counts */
	if (rc == VIGIA_OK && lanes->owners == 0 && (rc = load(lanes, b, start, err)) != VIGIA_OK) b->disown(b, lanes->id);
	if (rc == VIGIA_OK) {
		if (lanes->owners++ == 0) lanes->began_at_ns = vigia__wall_ns();
		lane->epoch = lanes->epoch;
		*checkpoint = lanes->finished.checkpoint;
	}
	pthread_mutex_unlock(&lanes->mutex);
	return rc;
}

void vigia__lane_end(struct vigia__lane *lane, struct vigia__backend *b)
{
	struct vigia__lanes *lanes = lane->shared;
	pthread_mutex_lock(&lanes->mutex);
	lanes->waits[lane->index] = NULL;
	lanes->agreed[lane->index] = 0;
	lane->waits = false;
	if (--lanes->owners == 0) b->disown(b, lanes->id);
	pthread_mutex_unlock(&lanes->mutex);
}

/* ---- saves ---- */

/* Under the mutex, which it gives up meanwhile. */
static void wait_for_save(struct vigia__lanes *lanes)
{
	while (lanes->saving) pthread_cond_wait(&lanes->saved, &lanes->mutex);
	lanes->saving = true;
}

static void end_save(struct vigia__lanes *lanes)
{
	lanes->saving = false;
	pthread_cond_broadcast(&lanes->saved);
}

int vigia__lane_save(struct vigia__lane *lane, struct vigia__backend *b, struct vigia_error *err)
{
	struct vigia__lanes *lanes = lane->shared;
	int rc = VIGIA_OK;
	struct vigia__ranges taken, next;
	vigia__ranges_init(&next, 0);
	pthread_mutex_lock(&lanes->mutex);
	wait_for_save(lanes);
	struct vigia__lane_commit commit = {.shared = lanes, .epoch = lanes->epoch, .ranges = &taken};
	if (vigia__ranges_reserve(&next, lanes->promised) != 0)
		rc = vigia__error(err, VIGIA_ENOMEM, "no memory to save the progress of lanes");
	taken = rc == VIGIA_OK ? lanes->unsaved : next;
	if (rc == VIGIA_OK) lanes->unsaved = next;
	pthread_mutex_unlock(&lanes->mutex);
	if (vigia__ranges_any(&taken)) rc = commit_alone(b, &commit, err);
	pthread_mutex_lock(&lanes->mutex);
	if (rc != VIGIA_OK && commit.epoch == lanes->epoch && vigia__ranges_join(&taken, &lanes->unsaved) == 0) {
		vigia__ranges_deinit(&lanes->unsaved);
		lanes->unsaved = taken;
		vigia__ranges_reserve(&lanes->unsaved, lanes->promised); /* if there is memory again */
	} else vigia__ranges_deinit(&taken); /* without memory: what failed is handled again after a restart */
	end_save(lanes);
	pthread_mutex_unlock(&lanes->mutex);
	return rc;
}

struct stored {
	struct vigia__lane *lane;
	const struct vigia__ranges *ranges;
};

static int compare_record(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct stored *look = arg;
	struct vigia__ranges stored;
	uint64_t epoch;
	vigia__ranges_init(&stored, 0);
	int rc = vigia__lane_record_get(kv, id_of(look->lane->shared), &epoch, &stored);
	bool all = rc == VIGIA_OK && epoch == look->lane->epoch;
	for (size_t i = 0; i < look->ranges->count && all; i++)
		all = vigia__ranges_has(&stored, look->ranges->list[i].last);
	if (look->ranges->checkpoint > 0) all = all && vigia__ranges_has(&stored, look->ranges->checkpoint);
	vigia__ranges_deinit(&stored);
	return rc == VIGIA_OK && !all ? VIGIA_NONE : rc;
}

int vigia__lane_is_stored(struct vigia__lane *lane, struct vigia__backend *b, const struct vigia__ranges *ranges,
                          struct vigia_error *err)
{
	struct stored look = {lane, ranges};
	return b->view(b, VIGIA_MAP_STATE, compare_record, &look, err);
}

void vigia__lanes_seek(struct vigia__lanes *lanes)
{
	pthread_mutex_lock(&lanes->mutex);
	lanes->epoch++;
	lanes->sought = false;
	pthread_mutex_unlock(&lanes->mutex);
}

/* Under the mutex: a seek is stored. */
static void begin_at(struct vigia__lanes *lanes, uint64_t seq_num)
{
	vigia__ranges_reset(&lanes->finished, seq_num);
	vigia__ranges_reset(&lanes->unsaved, 0);
	lanes->base = seq_num;
	lanes->assigned_first = lanes->assigned_count = 0;
	lanes->sought = true;
}

int vigia__lane_save_seek(struct vigia__lane *lane, struct vigia__backend *b, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia__lanes *lanes = lane->shared;
	int rc = VIGIA_OK;
	pthread_mutex_lock(&lanes->mutex);
	wait_for_save(lanes);
	struct vigia__lane_commit commit = {.shared = lanes, .epoch = lanes->epoch, .checkpoint = seq_num};
	bool sought = lanes->sought;
	pthread_mutex_unlock(&lanes->mutex);
	if (!sought) rc = commit_alone(b, &commit, err);
	pthread_mutex_lock(&lanes->mutex);
	if (!sought && rc == VIGIA_OK && commit.epoch == lanes->epoch) begin_at(lanes, seq_num);
	if (rc == VIGIA_OK) lane->epoch = lanes->epoch;
	vigia__ranges_reset(&lane->in_tx, 0);
	end_save(lanes);
	pthread_mutex_unlock(&lanes->mutex);
	return rc;
}

/* ---- requests from outside ---- */

bool vigia__lane_agree(struct vigia__lane *lane, uint64_t number)
{
	struct vigia__lanes *lanes = lane->shared;
	unsigned count = 0;
	pthread_mutex_lock(&lanes->mutex);
	lanes->agreed[lane->index] = number;
	for (unsigned i = 0; i < lanes->count; i++) count += lanes->agreed[i] == number;
	bool all = count >= lanes->owners;
	pthread_mutex_unlock(&lanes->mutex);
	return all;
}

void vigia__lane_seek_begin(struct vigia__lane *lane, struct vigia__lane_seek *seek, uint64_t seq_num,
                            struct vigia__transact *transact)
{
	struct vigia__lanes *lanes = lane->shared;
	pthread_mutex_lock(&lanes->mutex);
	wait_for_save(lanes);
	seek->commit = (struct vigia__lane_commit){.shared = lanes, .epoch = lanes->epoch + 1, .checkpoint = seq_num};
	pthread_mutex_unlock(&lanes->mutex);
	vigia__lane_commit_with(&seek->commit, transact);
}

/* A seek of this process may have begun meanwhile: it comes later, and wins. */
void vigia__lane_seek_end(struct vigia__lane *lane, struct vigia__lane_seek *seek, bool done)
{
	struct vigia__lanes *lanes = lane->shared;
	pthread_mutex_lock(&lanes->mutex);
	if (done && lanes->epoch + 1 == seek->commit.epoch) {
		lanes->epoch++;
		begin_at(lanes, seek->commit.checkpoint);
	}
	end_save(lanes);
	pthread_mutex_unlock(&lanes->mutex);
}

bool vigia__lane_is_behind(struct vigia__lane *lane, uint64_t *seq_num)
{
	struct vigia__lanes *lanes = lane->shared;
	pthread_mutex_lock(&lanes->mutex);
	bool behind = lane->epoch != lanes->epoch && lanes->sought;
	*seq_num = lanes->base;
	pthread_mutex_unlock(&lanes->mutex);
	return behind;
}
