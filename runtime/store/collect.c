/*
 * collect.c - garbage collection: one run in slices, and the thread that runs it each cadence. It also indexes the
 * blocks of files that were made without an index. See collect.h.
 */
#include "collect.h"

#include <sched.h>
#include <string.h>

#include "../core/error.h"
#include "thread.h"
#include "timers.h"

enum {
	SLICE_EVENTS = 500,
	SLICE_NS = 2000000,      /* contract G2 */
	SLICE_EVENT_NS = 2000,   /* more for each event that was appended since the slice before: removing two takes less */
	SLICE_NS_MAX = 50000000, /* together */
	PAUSE_NS = 30000,        /* between slices: LMDB's lock is not fair, and another waiter needs the time to wake */
	SOON_NS = 50000000,      /* until the next run after one that stopped at a bound */
	OVER = 20,               /* a limited log is checked again when it grew by a 20th */
	OVER_EVENTS = 500,       /* or by so many events */
	STACK_BYTES = 512 * 1024
};
#define INDEX_NS INT64_C(600000000000) /* how often to look for blocks that are not indexed */
#define ELECT_NS INT64_C(10000000000)  /* how often to check that another process still applies the limits */

/* Not a sleep: the kernel's timer slack would make it longer than the pause. */
static void pause_between(void)
{
	int64_t until = vigia__mono_ns() + PAUSE_NS;
	do sched_yield();
	while (vigia__mono_ns() < until);
}

static uint64_t appended_since(const struct vigia__collect *slice, uint64_t latest)
{
	return slice->latest > 0 && latest > slice->latest ? latest - slice->latest : 0;
}

int64_t vigia__collect_ns(const struct vigia__collect *slice, uint64_t latest)
{
	uint64_t appended = appended_since(slice, latest), most = (SLICE_NS_MAX - SLICE_NS) / SLICE_EVENT_NS;
	return slice->slice_ns + (int64_t)(appended < most ? appended : most) * SLICE_EVENT_NS;
}

uint64_t vigia__collect_share(const struct vigia__collect *slice, uint64_t latest)
{
	uint64_t appended = appended_since(slice, latest);
	uint64_t share = 2 * appended > SLICE_EVENTS ? 2 * appended : SLICE_EVENTS;
	return share < slice->events_left ? share : slice->events_left;
}

int vigia__collect(struct vigia__backend *b, const atomic_bool *stop, struct vigia_gc *out, struct vigia_error *err)
{
	struct vigia__settings settings;
	*out = (struct vigia_gc){0};
	int rc = b->settings(b, &settings, err);
	if (rc < 0) return rc;
	uint64_t left = (uint64_t)settings.values.gc_max_records_per_run;
	int64_t until = vigia__mono_ns() + settings.values.gc_max_duration_ns;
	struct vigia__collect slice = {.first = true, .slice_ns = SLICE_NS};
	for (;;) {
		slice.events_left = left;
		rc = b->collect(b, &slice, err);
		if (rc < 0) return rc;
		slice.first = slice.renewal.under_way;
		left -= slice.removed;
		out->removed += slice.removed;
		out->oldest = slice.oldest;
		if ((!slice.more && !slice.first) || left == 0 || (stop && atomic_load(stop)) ||
		    (!slice.first && vigia__mono_ns() >= until))
			break;
		pause_between();
	}
	out->reason = slice.more || slice.first ? VIGIA_GC_BOUND : slice.verdict.reason;
	if (out->reason == VIGIA_GC_BOUND && slice.oldest > 0 && slice.verdict.upto >= slice.oldest)
		out->left = slice.verdict.upto - slice.oldest + 1;
	if (out->reason == VIGIA_GC_HELD) memcpy(out->held_by, slice.verdict.held_by, sizeof out->held_by);
	return VIGIA_OK;
}

bool vigia__collect_is_late(struct vigia__backend *b, const struct vigia_store_options *settings, uint64_t count)
{
	uint64_t kept = (uint64_t)settings->max_events;
	pthread_mutex_lock(&b->collector.mutex);
	bool collects = b->collector.users > 0;
	pthread_mutex_unlock(&b->collector.mutex);
	return collects && kept > 0 && count > kept + 2 * (kept / OVER + OVER_EVENTS);
}

/* ---- the thread ---- */

static bool has_limits(const struct vigia_store_options *settings)
{
	return settings->max_events > 0 || settings->max_bytes > 0;
}

/* Limits do not wait for the cadence: the writer that exceeds them calls the collector. False: they are exceeded
 * already. */
static bool ask_to_be_called(struct vigia__backend *b, const struct vigia_store_options *settings)
{
	uint64_t oldest, latest, now = 0;
	if (!has_limits(settings) || b->bounds(b, &oldest, &latest, NULL) < 0) return true;
	uint64_t count = oldest > 0 ? latest - oldest + 1 : 0, kept = (uint64_t)settings->max_events;
	bool by_bytes = settings->max_bytes > 0 || kept == 0;
	uint64_t from = !by_bytes && kept > count ? latest + (kept - count)
	                                          : latest; /* what a checkpoint holds back is not tried again at once */
	uint64_t over = (by_bytes ? count : kept) / OVER;
	uint64_t at = from + (over > OVER_EVENTS ? over : OVER_EVENTS);
	atomic_store(b->collect_call.at, at);
	return b->bounds(b, &oldest, &now, NULL) < 0 || now < at;
}

/* Collect if this process is elected. Returns when to check again. After a failure it waits for the next cadence. The
 * store's users get its errors. */
static int64_t turn(struct vigia__backend *b, bool *elected, const struct vigia_store_options *settings)
{
	struct vigia_gc gc = {.reason = VIGIA_GC_DONE};
	int64_t cadence = settings->gc_cadence_ns, soon = cadence < SOON_NS ? cadence : SOON_NS;
	if (!*elected) *elected = b->elect(b, VIGIA_OFFICE_COLLECT);
	if (*elected) vigia__collect(b, &b->collector.stop, &gc, NULL);
	bool again = gc.reason == VIGIA_GC_BOUND || (*elected && !ask_to_be_called(b, settings));
	/* The elected process may be killed, and then no writer's call reaches a collector. */
	if (!*elected && has_limits(settings) && cadence > ELECT_NS) cadence = ELECT_NS;
	return vigia__mono_ns() + (again ? soon : cadence);
}

/* Index blocks that a version without an index completed, in slices, if this process is elected. Returns when to look
 * for further ones. What cannot be done is tried then again. */
static int64_t index_blocks(struct vigia__backend *b, bool *elected)
{
	uint64_t next = 0;
	bool more = b->index_some != NULL;
	if (more && !*elected) *elected = b->elect(b, VIGIA_OFFICE_COLLECT);
	while (more && *elected && !atomic_load(&b->collector.stop) && b->index_some(b, &next, &more, NULL) == VIGIA_OK)
		pause_between();
	return b->index_some ? vigia__mono_ns() + INDEX_NS : INT64_MAX;
}

static bool is_on(const struct vigia_store_options *settings)
{
	return settings->gc_age_threshold_ns > 0 || settings->max_events > 0 || settings->max_bytes > 0;
}

static void *collector(void *arg)
{
	struct vigia__backend *b = arg;
	bool elected = false;
	int64_t cadence = 0, next = 0, index = 0;
	uint32_t calls = atomic_load(b->collect_call.word);
	for (;;) {
		uint32_t called = atomic_load(b->collect_call.word); /* before the turn that requests the next call */
		uint32_t word = atomic_load(
			b->settings_word); /* before the check of `stop`, because the word is bumped after `stop` is set */
		struct vigia__settings settings;
		if (atomic_load(&b->collector.stop)) break;
		vigia__timers_notice(b); /* who makes the first timer bumps the word */
		if (b->settings(b, &settings, NULL) < 0) {
			vigia__word_wait(b->settings_word, word, vigia__mono_ns() + INT64_C(1000000000));
			continue;
		}
		const struct vigia_store_options *now = &settings.values;
		if (now->gc_cadence_ns != cadence) next = 0; /* also at the start: the last run may be long ago */
		cadence = now->gc_cadence_ns;
		bool limits = elected && has_limits(now);
		if (!is_on(now)) next = INT64_MAX;
		else if (next == INT64_MAX || vigia__mono_ns() >= next || (limits && called != calls))
			next = turn(b, &elected, now);
		calls = called;
		if (vigia__mono_ns() >= index) index = index_blocks(b, &elected);
		int64_t until = next < index ? next : index;
		if (elected && has_limits(now)) vigia__words_wait(b->settings_word, word, b->collect_call.word, called, until);
		else vigia__word_wait(b->settings_word, word, until);
	}
	if (elected) b->resign(b, VIGIA_OFFICE_COLLECT);
	return NULL;
}

int vigia__collector_add(struct vigia__backend *b, struct vigia_error *err)
{
	struct vigia__collector *c = &b->collector;
	int failed = 0;
	pthread_mutex_lock(&c->mutex);
	if (c->users == 0) {
		atomic_store(&c->stop, false);
		failed = vigia__thread_start(&c->thread, STACK_BYTES, collector, b);
	}
	if (failed == 0) c->users++;
	pthread_mutex_unlock(&c->mutex);
	if (failed == 0) return VIGIA_OK;
	return vigia__thread_error(err, failed,
	                           "start a thread to collect garbage; collect = false opens the store without one");
}

void vigia__collector_drop(struct vigia__backend *b)
{
	struct vigia__collector *c = &b->collector;
	pthread_mutex_lock(&c->mutex);
	if (--c->users == 0) {
		atomic_store(&c->stop, true);
		vigia__word_bump(b->settings_word);
		pthread_join(c->thread, NULL);
	}
	pthread_mutex_unlock(&c->mutex);
}
