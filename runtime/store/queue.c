/*
 * queue.c - appends that wait in memory for the next commit. queue.h explains it.
 */
#include "queue.h"

#include <time.h>

#include "../core/error.h"

/* Minimum delay before retrying a failed commit, and what a buffer keeps for its next use. */
enum { RETRY_NS = 100000000, KEEP_BYTES = 1 << 20 };

static void events_deinit(struct vigia__events *events)
{
	vigia__buf_deinit(&events->bytes);
	vigia__buf_deinit(&events->ends);
}

static void events_clear(struct vigia__events *events)
{
	vigia__buf_clear(&events->bytes, KEEP_BYTES);
	vigia__buf_clear(&events->ends, KEEP_BYTES);
	events->count = 0;
}

/* 0, or -1 without memory with `events` unchanged. */
static int events_add(struct vigia__events *events, const uint8_t *bytes, size_t len, const size_t *ends, size_t count)
{
	size_t base = events->bytes.len, ends_before = events->ends.len;
	int rc = vigia__buf_add(&events->bytes, bytes, len);
	for (size_t i = 0; i < count && rc == 0; i++) {
		size_t end = base + (ends ? ends[i] : len);
		rc = vigia__buf_add(&events->ends, &end, sizeof end);
	}
	if (rc < 0) {
		events->bytes.len = base;
		events->ends.len = ends_before;
		return -1;
	}
	events->count += count;
	return 0;
}

static const size_t *ends_of(const struct vigia__events *events)
{
	return (const size_t *)(const void *)events->ends.data;
}

void vigia__queue_init(struct vigia__queue *queue, struct vigia__backend *backend)
{
	*queue = (struct vigia__queue){.backend = backend};
	backend->queue = queue;
	vigia__helper_init(&queue->helper);
	pthread_mutex_init(&queue->taking, NULL);
}

void vigia__queue_stop(struct vigia__queue *queue)
{
	vigia__helper_stop(&queue->helper);
}

void vigia__queue_deinit(struct vigia__queue *queue)
{
	events_deinit(&queue->waiting);
	events_deinit(&queue->taken);
	pthread_mutex_destroy(&queue->taking);
	vigia__helper_deinit(&queue->helper);
}

/* ---- the settings of the file ---- */

int vigia__queue_wanted(struct vigia__queue *queue, struct vigia_error *err)
{
	/* `word` is stored with the CHANGING bit set, so that 0 means that no settings were read yet. */
	uint32_t seen = atomic_load(queue->backend->settings_word);
	if (!(seen & VIGIA_WORD_CHANGING) && atomic_load(&queue->word) == (seen | VIGIA_WORD_CHANGING))
		return atomic_load(&queue->wanted);
	/* The changer may have been killed before readers could see its commit. */
	if ((seen & VIGIA_WORD_CHANGING) && queue->backend->heal) queue->backend->heal(queue->backend);
	struct vigia__settings settings;
	int rc = queue->backend->settings(queue->backend, &settings, err);
	if (rc == VIGIA_OK) rc = vigia__backend_imported(queue->backend, err); /* until the word changes */
	if (rc < 0) return rc;
	bool wanted = settings.values.durability == VIGIA_DURABILITY_INTERVAL;
	pthread_mutex_lock(&queue->helper.mutex);
	/* The settings belong to that word only if it is unchanged and no change is in progress. */
	if (!(seen & VIGIA_WORD_CHANGING) && atomic_load(queue->backend->settings_word) == seen) {
		atomic_store(&queue->wanted, wanted);
		atomic_store(&queue->interval_ns, settings.values.commit_interval_ns);
		atomic_store(&queue->word, seen | VIGIA_WORD_CHANGING);
	}
	pthread_mutex_unlock(&queue->helper.mutex);
	return wanted;
}

/* ---- the thread ---- */

static int commit_queue(struct vigia__queue *queue, bool keep, struct vigia_error *err)
{
	struct vigia__append nothing = {.keep = keep, .last_chance = keep};
	return queue->backend->append(queue->backend, &nothing, err); /* every append commits the queue too */
}

static void *commit_in_time(void *arg)
{
	struct vigia__queue *queue = arg;
	pthread_mutex_lock(&queue->helper.mutex);
	while (!queue->helper.quit) {
		if (atomic_load(&queue->bytes) == 0) {
			pthread_cond_wait(&queue->helper.changed, &queue->helper.mutex);
			continue;
		}
		int64_t wait = atomic_load(&queue->interval_ns), at = queue->since_mono_ns;
		if (queue->failed && wait < RETRY_NS) wait = RETRY_NS;
		at = wait > INT64_MAX - at ? INT64_MAX : at + wait;
		if (vigia__mono_ns() < at) {
			struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
			pthread_cond_timedwait(&queue->helper.changed, &queue->helper.mutex, &until);
			continue;
		}
		at = queue->since_mono_ns;
		pthread_mutex_unlock(&queue->helper.mutex);
		int rc = commit_queue(queue, false, NULL);
		pthread_mutex_lock(&queue->helper.mutex);
		/* commit_end or not_begun note a failure, except when there was no memory to join a group. */
		if (rc < 0 && queue->since_mono_ns == at) {
			queue->failed = rc;
			queue->since_mono_ns = vigia__mono_ns();
		}
	}
	pthread_mutex_unlock(&queue->helper.mutex);
	return NULL;
}

/* ---- put, flush ---- */

int vigia__queue_flush(struct vigia__queue *queue, bool keep, struct vigia_error *err)
{
	return atomic_load(&queue->bytes) > 0 ? commit_queue(queue, keep, err) : VIGIA_OK;
}

void vigia__queue_exceeded(struct vigia__queue *queue)
{
	pthread_mutex_lock(&queue->helper.mutex);
	queue->failed = VIGIA_EFULL;
	pthread_mutex_unlock(&queue->helper.mutex);
}

void vigia__queue_has_room(struct vigia__queue *queue)
{
	pthread_mutex_lock(&queue->helper.mutex);
	if (atomic_load(&queue->bytes) == 0) queue->failed = VIGIA_OK;
	pthread_mutex_unlock(&queue->helper.mutex);
}

int vigia__queue_put(struct vigia__queue *queue, const struct vigia__append *request, int64_t bytes_max,
                     struct vigia_error *err)
{
	for (;;) {
		pthread_mutex_lock(&queue->helper.mutex);
		size_t bytes = atomic_load(&queue->bytes);
		bool full = bytes > 0 && bytes + request->len > (uint64_t)bytes_max;
		if (!full && !queue->failed) break;
		pthread_mutex_unlock(&queue->helper.mutex);
		if (bytes == 0) return VIGIA_NONE;
		int rc = commit_queue(queue, false, err);
		if (rc < 0) return rc;
	}
	int rc = vigia__helper_start(&queue->helper, commit_in_time, queue, "start a thread to commit with", err);
	if (rc == VIGIA_OK && events_add(&queue->waiting, request->bytes, request->len, request->ends, request->count) < 0)
		rc =
			vigia__error(err, VIGIA_ENOMEM, "no memory to queue %zu events of %zu bytes", request->count, request->len);
	if (rc == VIGIA_OK) {
		atomic_fetch_add(&queue->count, request->count);
		if (atomic_fetch_add(&queue->bytes, request->len) == 0) {
			queue->since_mono_ns = vigia__mono_ns();
			pthread_cond_signal(&queue->helper.changed);
		}
	}
	pthread_mutex_unlock(&queue->helper.mutex);
	return rc;
}

/* ---- inside a commit ---- */

static void discard_taken(struct vigia__queue *queue)
{
	atomic_fetch_sub(&queue->bytes, queue->taken.bytes.len);
	atomic_fetch_sub(&queue->count, queue->taken.count);
	events_clear(&queue->taken);
}

/* The commit in doubt was stored if the first of its events that was not removed is. If all of them were removed, the
 * outcome is unknown, and they are stored again, because acknowledged events must not be lost. */
static void settle_taken(struct vigia__queue *queue, vigia__queue_look_fn look, void *ctx)
{
	const struct vigia__events *taken = &queue->taken;
	enum vigia__queue_seen seen = VIGIA_SEEN_REMOVED;
	size_t start = 0;
	if (queue->taken_seq == 0) return;
	for (size_t i = 0; i < taken->count && seen == VIGIA_SEEN_REMOVED; i++) {
		size_t end = ends_of(taken)[i];
		seen = look(ctx, queue->taken_seq + i, taken->bytes.data + start, end - start);
		start = end;
	}
	if (seen == VIGIA_SEEN_STORED) discard_taken(queue);
	queue->taken_seq = 0;
}

void vigia__queue_settle(struct vigia__queue *queue, vigia__queue_look_fn look, void *ctx)
{
	pthread_mutex_lock(&queue->taking);
	settle_taken(queue, look, ctx);
	pthread_mutex_unlock(&queue->taking);
}

bool vigia__queue_any(const struct vigia__queue *queue)
{
	return atomic_load(&queue->count) > 0;
}

int vigia__queue_commit_begin(struct vigia__queue *queue, struct vigia__append *out, vigia__queue_look_fn look,
                              void *ctx)
{
	int rc = 0;
	pthread_mutex_lock(&queue->taking);
	struct vigia__events *taken = &queue->taken;
	settle_taken(queue, look, ctx);
	queue->taken_mono_ns = vigia__mono_ns();
	pthread_mutex_lock(&queue->helper.mutex);
	struct vigia__events *waiting = &queue->waiting;
	if (taken->count == 0) {
		struct vigia__events swap = *taken;
		*taken = *waiting;
		*waiting = swap;
	} else if (waiting->count > 0) {
		rc = events_add(taken, waiting->bytes.data, waiting->bytes.len, ends_of(waiting), waiting->count);
		if (rc == 0) events_clear(waiting);
	}
	pthread_mutex_unlock(&queue->helper.mutex);
	*out = (struct vigia__append){.bytes = taken->bytes.data,
	                              .ends = ends_of(taken),
	                              .count = taken->count,
	                              .len = taken->bytes.len,
	                              .accepted = true};
	return rc;
}

void vigia__queue_commit_skip(struct vigia__queue *queue)
{
	pthread_mutex_unlock(&queue->taking);
}

void vigia__queue_not_begun(struct vigia__queue *queue, int rc)
{
	pthread_mutex_lock(&queue->helper.mutex);
	if (atomic_load(&queue->bytes) > 0) {
		queue->failed = rc;
		queue->since_mono_ns = vigia__mono_ns();
		pthread_cond_signal(&queue->helper.changed);
	}
	pthread_mutex_unlock(&queue->helper.mutex);
}

void vigia__queue_commit_end(struct vigia__queue *queue, const struct vigia__append *taken, int rc)
{
	pthread_mutex_lock(&queue->helper.mutex);
	if (rc == VIGIA_OK) {
		if (queue->taken.count > 0) queue->failed = VIGIA_OK;
		discard_taken(queue);
	} else if (queue->taken.count > 0) {
		if (rc == VIGIA_EUNKNOWN) queue->taken_seq = taken->first_seq;
		queue->failed = rc;
	}
	/* The remaining events came after this commit began, or wait before they are tried again. */
	queue->since_mono_ns = rc == VIGIA_OK ? queue->taken_mono_ns : vigia__mono_ns();
	pthread_cond_signal(&queue->helper.changed);
	pthread_mutex_unlock(&queue->helper.mutex);
	pthread_mutex_unlock(&queue->taking);
}
