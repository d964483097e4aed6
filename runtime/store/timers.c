/*
 * timers.c - stores the events of timers when they are due, and the thread that does. See timers.h.
 */
#include "timers.h"

#include <string.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/buf.h"
#include "../core/error.h"
#include "thread.h"

enum {
	STACK_BYTES = 512 * 1024,
	BATCH_TIMERS = 500, /* in one commit */
	BATCH_BYTES = 256 * 1024,
	OTHERS_MS = 16,       /* others look up to so long after a timer was due whether it is stored, not all at once */
	GRACE_NS = 100000000, /* and leave it so long to the process that has the lock */
	LOOK_NS = 2000000,    /* the first look at a word with a mark; each next one after twice as long */
	LOOKS = 13,           /* 16 seconds */
	RETRY_NS = 100000000, /* after a failure; then after twice as long */
	RETRIES = 5           /* at most 2^5 as long */
};

/* ---- what is due ---- */

struct due {
	bool any;
	int64_t at_ns; /* of the first one */
	int64_t now;
	size_t count, bytes; /* of those that are due now and fit into one commit */
};

/* Is there room for one more? One always fits. */
static bool fits(size_t count, size_t bytes, const struct vigia__timer *timer)
{
	return count == 0 || (count < BATCH_TIMERS && bytes + timer->event.len <= BATCH_BYTES);
}

/* What is damaged stays, for verify to find, and is in nobody's way. */
static int add_due(void *ctx, const struct vigia__timer *timer)
{
	struct due *due = ctx;
	if (!timer->intact) return VIGIA_OK;
	if (!due->any) due->at_ns = timer->at_ns;
	due->any = true;
	if (timer->at_ns > due->now || !fits(due->count, due->bytes, timer)) return VIGIA_NONE;
	due->count++;
	due->bytes += timer->event.len;
	return VIGIA_OK;
}

static int look_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct due *due = arg;
	*due = (struct due){.now = due->now};
	int rc = vigia__timers_each(kv, 0, 0, add_due, due);
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

static int look(struct vigia__backend *b, struct due *due, struct vigia_error *err)
{
	*due = (struct due){.now = vigia__backend_wall_ns(b)};
	return b->view(b, VIGIA_MAP_TIMERS, look_in, due, err);
}

/* ---- one commit ---- */

/* A timer that was taken out, and its event as an append. The bytes are in the batch, at these places until all are
 * there. */
struct taken {
	uint64_t id;
	size_t at;
	int64_t at_ns;
	size_t len, key_len;
};

struct batch {
	struct vigia__backend *b;
	struct vigia__transact transact;
	struct vigia__buf bytes; /* keys and events */
	size_t count, events;    /* and the bytes of these */
	int64_t now;
	struct taken taken[BATCH_TIMERS];
	struct vigia__append appends[BATCH_TIMERS];
};

static int take(void *ctx, const struct vigia__timer *timer)
{
	struct batch *batch = ctx;
	if (!timer->intact) return VIGIA_OK;
	if (timer->at_ns > batch->now || !fits(batch->count, batch->events, timer)) return VIGIA_NONE;
	struct taken *taken = &batch->taken[batch->count];
	*taken = (struct taken){timer->id, batch->bytes.len, timer->at_ns, timer->event.len, timer->key.len};
	if (vigia__buf_reserve(&batch->bytes, timer->key.len + timer->event.len) < 0) return VIGIA_ENOMEM;
	if (timer->key.len > 0) vigia__buf_add(&batch->bytes, timer->key.data, timer->key.len);
	vigia__buf_add(&batch->bytes, timer->event.data, timer->event.len);
	batch->events += timer->event.len;
	batch->count++;
	return VIGIA_OK;
}

/* Take out what is due, and append it in the same commit. That is nothing where another process was faster. */
static int store_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct batch *batch = arg;
	batch->count = batch->events = 0;
	batch->bytes.len = 0;
	batch->now = vigia__backend_wall_ns(batch->b);
	int rc = vigia__timers_each(kv, 0, 0, take, batch);
	if (rc == VIGIA_NONE) rc = VIGIA_OK; /* from here on only what fails the whole commit may fail */
	for (size_t i = 0; i < batch->count && rc == VIGIA_OK; i++) {
		const struct taken *taken = &batch->taken[i];
		uint8_t *bytes = batch->bytes.data + taken->at;
		batch->appends[i] = (struct vigia__append){.bytes = bytes + taken->key_len,
		                                           .count = 1,
		                                           .len = taken->len,
		                                           .key = {(const char *)bytes, taken->key_len},
		                                           .accepted = true,
		                                           .not_before_ns = taken->at_ns};
		rc = vigia__timer_remove(kv, taken->at_ns, taken->id, batch->appends[i].key);
	}
	batch->transact.appends_count = batch->count;
	return rc;
}

static int store_some(struct vigia__backend *b, const struct due *due, struct vigia_error *err)
{
	struct batch *batch = vigia__calloc(sizeof *batch);
	if (batch == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for timers that are due");
	batch->b = b;
	batch->transact = (struct vigia__transact){
		.map = VIGIA_MAP_TIMERS, .apply = store_in, .arg = batch, .appends = batch->appends, .bytes = due->bytes};
	int rc = b->transact(b, &batch->transact, err);
	vigia__buf_deinit(&batch->bytes);
	vigia__free(batch);
	return rc;
}

int vigia__timers_run(struct vigia__backend *b, struct vigia_error *err)
{
	struct due due;
	int rc;
	do {
		rc = look(b, &due, err);
		if (rc == VIGIA_OK && due.count > 0) rc = store_some(b, &due, err);
	} while (rc == VIGIA_OK && due.count > 0);
	return rc;
}

/* ---- the thread ---- */

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t later_by(int64_t at_ns, int64_t ns)
{
	return at_ns > INT64_MAX - ns ? INT64_MAX : at_ns + ns;
}

/* When a process that does not have the lock looks at a timer: soon after it was due, to take the lock of one that
 * died, and then to do without it. */
static int64_t others_at(int64_t at_ns, int64_t now, int64_t wait_ns)
{
	int64_t first = later_by(at_ns, wait_ns);
	return now < first ? first : later_by(first, GRACE_NS);
}

/* How long to sleep at most, beside the next timer. */
struct pace {
	uint32_t word;  /* with which it looked */
	unsigned looks; /* at a word with a mark */
	unsigned failures;
};

static int64_t pause_of(struct pace *pace, uint32_t word, bool failed)
{
	int64_t ns = INT64_MAX;
	if (word != pace->word) pace->looks = 0;
	pace->word = word;
	if ((word & VIGIA_WORD_CHANGING) && pace->looks < LOOKS) ns = (int64_t)LOOK_NS << pace->looks++;
	if (!failed) pace->failures = 0;
	else ns = earlier(ns, (int64_t)RETRY_NS << (pace->failures < RETRIES ? pace->failures++ : RETRIES));
	return ns;
}

static void *timers_thread(void *arg)
{
	struct vigia__backend *b = arg;
	struct vigia__timers *timers = &b->timers;
	const int64_t wait_ns = (1 + getpid() % OTHERS_MS) * INT64_C(1000000);
	struct pace pace = {0};
	bool elected = false;
	for (;;) {
		struct due due;
		uint32_t word = atomic_load(timers->word); /* before the checks: it is bumped after what they check changed */
		if (atomic_load(&timers->stop)) break;
		atomic_store(&timers->seen, word);
		int rc = look(b, &due, NULL);
		if (rc == VIGIA_OK && due.any && !elected) elected = b->elect(b, VIGIA_OFFICE_TIMERS);
		int64_t at_ns = rc == VIGIA_OK && due.any ? due.at_ns : INT64_MAX;
		if (!elected) at_ns = others_at(at_ns, due.now, wait_ns);
		if (at_ns <= due.now) {
			rc = store_some(b, &due, NULL);
			if (rc == VIGIA_OK) continue;
			at_ns = INT64_MAX; /* it is tried again after a pause */
		}
		int64_t pause = pause_of(&pace, word, rc < 0);
		/* A pause is on the clock that never steps, the time of a timer on the one that may be set. */
		if (at_ns - due.now <= pause) vigia__word_wait_until(timers->word, word, at_ns);
		else vigia__word_wait(timers->word, word, vigia__mono_ns() + pause);
	}
	if (elected) b->resign(b, VIGIA_OFFICE_TIMERS);
	return NULL;
}

/* Under the mutex. */
static int start(struct vigia__backend *b, struct vigia_error *err)
{
	struct vigia__timers *timers = &b->timers;
	if (timers->runs || b->wall) return VIGIA_OK;
	atomic_store(&timers->stop, false);
	int failed = vigia__thread_start(&timers->thread, STACK_BYTES, timers_thread, b);
	if (failed != 0) return vigia__thread_error(err, failed, "start a thread for timers");
	timers->runs = true;
	return VIGIA_OK;
}

int vigia__timers_start(struct vigia__backend *b, struct vigia_error *err)
{
	pthread_mutex_lock(&b->timers.mutex);
	int rc = start(b, err);
	pthread_mutex_unlock(&b->timers.mutex);
	return rc;
}

int vigia__timers_add(struct vigia__backend *b, struct vigia_error *err)
{
	struct vigia__timers *timers = &b->timers;
	struct due due = {0};
	uint32_t word = atomic_load(timers->word);
	pthread_mutex_lock(&timers->mutex);
	/* Where the timers cannot be read, the events still can, and the thread tries again. */
	bool unread = timers->users == 0 && look(b, &due, NULL) != VIGIA_OK;
	int rc = due.any || unread || (word & VIGIA_WORD_CHANGING) ? start(b, err) : VIGIA_OK;
	if (rc == VIGIA_OK && timers->users++ == 0) atomic_store(&timers->seen, word);
	pthread_mutex_unlock(&timers->mutex);
	return rc;
}

void vigia__timers_drop(struct vigia__backend *b)
{
	struct vigia__timers *timers = &b->timers;
	pthread_mutex_lock(&timers->mutex);
	if (--timers->users == 0 && timers->runs) {
		atomic_store(&timers->stop, true);
		vigia__word_unmark(timers->word, 0);
		pthread_join(timers->thread, NULL);
		timers->runs = false;
	}
	pthread_mutex_unlock(&timers->mutex);
}

/* A failure to start it now is tried again at the next look. Does not wait: who has the mutex may wait for the
 * caller. */
void vigia__timers_look(struct vigia__backend *b)
{
	struct vigia__timers *timers = &b->timers;
	uint32_t word = atomic_load(timers->word);
	if (pthread_mutex_trylock(&timers->mutex) != 0) return;
	if (timers->users == 0 || start(b, NULL) == VIGIA_OK) atomic_store(&timers->seen, word);
	pthread_mutex_unlock(&timers->mutex);
}

/* ---- telling of a timer ---- */

/* Collectors sleep on the settings' word, and see whether their process needs the thread now. */
uint32_t vigia__timers_announce(struct vigia__backend *b, bool alone)
{
	uint32_t marked = vigia__word_mark(b->timers.word);
	if (alone) vigia__word_bump(b->settings_word);
	return marked;
}

void vigia__timers_announced(struct vigia__backend *b, uint32_t marked)
{
	vigia__word_unmark(b->timers.word, marked);
}
