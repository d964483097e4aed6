/*
 * commit.c - group commit: many callers, one sync. commit.h explains it.
 */
#include "commit.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "backend.h"
#include "clock.h"
#include "wake.h"

/* Callers that share one commit. */
struct vigia__group {
	struct vigia__group *next; /* owner: commit->spare */
	struct vigia__ticket *head;
	struct vigia__ticket **tail;
	atomic_uint count;     /* tickets that joined */
	_Atomic uint32_t done; /* futex: 1 when every ticket has its result */
	atomic_uint users;     /* callers that still use the group */
	bool behind;           /* it began while another one was written */
};

/* How long a leader waits for others at most, and for how many batches no leader waits after that was in vain: more and
 * more of them. */
enum { GATHER_NS = 300000, PAUSE_MIN = 4, PAUSE_MAX = 64 };
/* How long those of a batch sleep on at most, until the next one is on its way. */
enum { HAND_OVER_NS = 50000 };

void vigia__commit_init(struct vigia__commit *commit, const struct vigia__commit_ops *ops, void *ctx)
{
	*commit = (struct vigia__commit){.ops = ops, .ctx = ctx, .pause = PAUSE_MIN};
	vigia__helper_init(&commit->helper);
}

void vigia__commit_deinit(struct vigia__commit *commit)
{
	vigia__helper_stop(&commit->helper);
	while (commit->spare) {
		struct vigia__group *group = commit->spare;
		commit->spare = group->next;
		vigia__free(group);
	}
	vigia__helper_deinit(&commit->helper);
}

/* Join the forming group, or begin one, under the mutex. NULL without memory. */
static struct vigia__group *join_locked(struct vigia__commit *commit, struct vigia__ticket *ticket, bool *leads)
{
	struct vigia__group *group = commit->forming;
	*leads = group == NULL;
	if (*leads) {
		group = commit->spare;
		if (group) commit->spare = group->next;
		else group = vigia__alloc(sizeof *group);
		if (group == NULL) return NULL;
		group->head = NULL;
		group->tail = &group->head;
		atomic_init(&group->count, 0);
		atomic_init(&group->done, 0);
		atomic_init(&group->users, 0);
		group->behind = atomic_load_explicit(&commit->writing, memory_order_relaxed) > 0;
		commit->forming = group;
	}
	ticket->rc = VIGIA_OK;
	ticket->next = NULL;
	*group->tail = ticket;
	group->tail = &ticket->next;
	atomic_fetch_add_explicit(&group->count, 1, memory_order_relaxed);
	/* A waiting caller uses the group. For a submitted ticket only the helper may. */
	if (ticket->finished == NULL || *leads) atomic_fetch_add_explicit(&group->users, 1, memory_order_relaxed);
	return group;
}

static void leave(struct vigia__commit *commit, struct vigia__group *group)
{
	if (atomic_fetch_sub(&group->users, 1) > 1) return;
	pthread_mutex_lock(&commit->helper.mutex);
	group->next = commit->spare;
	commit->spare = group;
	pthread_mutex_unlock(&commit->helper.mutex);
}

static unsigned count_of(const struct vigia__group *group)
{
	return atomic_load_explicit(&group->count, memory_order_relaxed);
}

/* Wait for the callers of the previous batch, who are on their way back. Without it 16 callers settle into two
 * half-filled batches. Those of a batch that began during the previous one were not in that. One full batch is faster
 * than two that take turns if all its callers come back in the time of a sync. */
static void gather(struct vigia__commit *commit, struct vigia__group *group)
{
	unsigned here = count_of(group), before = atomic_load_explicit(&commit->last_count, memory_order_relaxed);
	unsigned expected = before + (group->behind ? here : 0);
	unsigned paused = atomic_load_explicit(&commit->paused, memory_order_relaxed);
	int64_t wait_ns = atomic_load_explicit(&commit->last_ns, memory_order_relaxed);
	if (expected <= 1 || here >= expected) return;
	wait_ns = wait_ns * before / expected; /* the share of those that are waited for */
	if (paused > 0) {
		atomic_store_explicit(&commit->paused, paused - 1, memory_order_relaxed);
		return;
	}
	int64_t until = vigia__mono_ns() + (wait_ns < GATHER_NS ? wait_ns : GATHER_NS);
	while (count_of(group) < expected && vigia__mono_ns() < until) sched_yield();
	if (count_of(group) >= expected) commit->pause = PAUSE_MIN;
	else {
		atomic_store_explicit(&commit->paused, commit->pause, memory_order_relaxed);
		commit->pause = commit->pause * 2 < PAUSE_MAX ? commit->pause * 2 : PAUSE_MAX;
	}
}

/* The writer's lock is held, which is also that of what leaders remember: from now on new callers form the next
 * group. */
static void close_group(struct vigia__commit *commit, struct vigia__group *group)
{
	pthread_mutex_lock(&commit->helper.mutex);
	commit->forming = NULL;
	atomic_store_explicit(&commit->last_count, count_of(group), memory_order_relaxed);
	pthread_mutex_unlock(&commit->helper.mutex);
	atomic_fetch_add_explicit(&commit->closed, 1, memory_order_relaxed);
}

/* Let the leader of the next batch go first, if it does not wait for those of this one: woken now, they would compete
 * with it for the processors, which are free while it syncs. */
static void let_next_go_first(struct vigia__commit *commit, unsigned closed)
{
	if (atomic_load_explicit(&commit->paused, memory_order_relaxed) == 0) return;
	pthread_mutex_lock(&commit->helper.mutex);
	bool forms = commit->forming != NULL;
	pthread_mutex_unlock(&commit->helper.mutex);
	if (!forms) return;
	int64_t until = vigia__mono_ns() + HAND_OVER_NS;
	while (atomic_load_explicit(&commit->closed, memory_order_relaxed) == closed && vigia__mono_ns() < until)
		sched_yield();
}

static void fail_all(struct vigia__ticket *ticket, int rc, const struct vigia_error *err)
{
	for (; ticket; ticket = ticket->next) {
		ticket->rc = rc;
		if (ticket->err) *ticket->err = *err;
	}
}

/* Finish the submitted tickets. From then on they belong to their callers again. */
static bool finish_submitted(struct vigia__ticket *ticket)
{
	bool any = false;
	for (struct vigia__ticket *next; ticket; ticket = next) {
		next = ticket->next;
		if (ticket->finished == NULL) continue;
		any = true;
		ticket->finished(ticket);
	}
	return any;
}

const int64_t vigia__meter_took_ns[VIGIA_METER_BOUNDS] = {
	100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 25000000, 100000000, 250000000, 1000000000, 5000000000,
};
const uint64_t vigia__meter_events[VIGIA_METER_BOUNDS] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10000};

/* Count a commit that stored events, before its tickets are finished. */
static void count(struct vigia__meter *meter, const struct vigia__ticket *ticket, int64_t took_ns)
{
	uint64_t events = 0;
	for (; ticket; ticket = ticket->next) {
		if (ticket->rc != VIGIA_OK) continue;
		if (ticket->kind == VIGIA_TICKET_APPEND && !ticket->append->existed) events += ticket->append->count;
		for (size_t i = 0; ticket->kind == VIGIA_TICKET_TRANSACTION && i < ticket->transact->appends_count; i++)
			events += ticket->transact->appends[i].existed ? 0 : ticket->transact->appends[i].count;
	}
	if (events == 0) return;
	unsigned took = 0, many = 0;
	while (took < VIGIA_METER_BOUNDS && took_ns > vigia__meter_took_ns[took]) took++;
	while (many < VIGIA_METER_BOUNDS && events > vigia__meter_events[many]) many++;
	atomic_fetch_add_explicit(&meter->took[took], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&meter->events[many], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&meter->took_ns, (uint64_t)took_ns, memory_order_relaxed);
	atomic_fetch_add_explicit(&meter->events_count, events, memory_order_relaxed);
}

/* Write it, and note how long that took where others may be waited for. */
static int write_group(struct vigia__commit *commit, void *txn, struct vigia__group *group, bool alone,
                       struct vigia__wake_set *types, struct vigia_error *err)
{
	bool metered = atomic_load_explicit(&commit->metered, memory_order_relaxed);
	bool timed = !alone || group->behind || metered;
	int64_t began = timed ? vigia__mono_ns() : 0;
	atomic_fetch_add_explicit(&commit->writing, 1, memory_order_relaxed);
	int rc = commit->ops->write(commit->ctx, txn, group->head, types, err);
	atomic_fetch_sub_explicit(&commit->writing, 1, memory_order_relaxed);
	int64_t took = timed ? vigia__mono_ns() - began : 0;
	if (!alone || group->behind) atomic_store_explicit(&commit->last_ns, took, memory_order_relaxed);
	if (metered && rc == VIGIA_OK) count(&commit->meter, group->head, took);
	return rc;
}

static void lead(struct vigia__commit *commit, struct vigia__group *group)
{
	struct vigia_error err = {0};
	void *txn = NULL;
	struct vigia__wake_set types;
	vigia__wake_set_clear(&types);
	int rc = commit->ops->lock(commit->ctx, &txn, &err);
	if (rc == VIGIA_OK) gather(commit, group);
	close_group(commit, group);
	unsigned closed = atomic_load_explicit(&commit->closed, memory_order_relaxed);
	bool alone = count_of(group) == 1;
	if (rc == VIGIA_OK) rc = write_group(commit, txn, group, alone, &types, &err);
	if (rc < 0) fail_all(group->head, rc, &err);
	/* First finish, then publish: a caller that wakes must find its result. A commit without events needs no wake-up of
	 * readers. */
	bool told = finish_submitted(group->head);
	if ((rc == VIGIA_OK && vigia__wake_set_any(&types)) || told) commit->ops->publish(commit->ctx, &types);
	/* After this store the followers may return, and their tickets, which are on their stacks, are gone. */
	atomic_store(&group->done, 1);
	if (alone) return;
	let_next_go_first(commit, closed);
	syscall(SYS_futex, &group->done, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static int ticket_no_memory(struct vigia__ticket *ticket)
{
	return vigia__error(ticket->err, VIGIA_ENOMEM, "no memory to queue an append");
}

int vigia__commit_run(struct vigia__commit *commit, struct vigia__ticket *ticket)
{
	bool leads;
	ticket->finished = NULL;
	pthread_mutex_lock(&commit->helper.mutex);
	struct vigia__group *group = join_locked(commit, ticket, &leads);
	pthread_mutex_unlock(&commit->helper.mutex);
	if (group == NULL) return ticket_no_memory(ticket);
	if (leads) lead(commit, group);
	while (!atomic_load(&group->done)) syscall(SYS_futex, &group->done, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	leave(commit, group);
	return ticket->rc;
}

int vigia__commit_call(struct vigia__commit *commit, enum vigia__ticket_kind kind, vigia__commit_fn call, void *arg,
                       struct vigia_error *err)
{
	struct vigia__ticket ticket = {.kind = kind, .call = call, .call_arg = arg, .err = err};
	return vigia__commit_run(commit, &ticket);
}

int vigia__commit_aside(struct vigia__commit *commit, enum vigia__ticket_kind kind, vigia__commit_fn call, void *arg,
                        struct vigia_error *err)
{
	struct vigia__ticket ticket = {.kind = kind, .aside = true, .call = call, .call_arg = arg, .err = err};
	return vigia__commit_run(commit, &ticket);
}

static void *help(void *arg)
{
	struct vigia__commit *commit = arg;
	pthread_mutex_lock(&commit->helper.mutex);
	while (!commit->helper.quit) {
		struct vigia__group *group = commit->to_lead;
		if (group == NULL) {
			pthread_cond_wait(&commit->helper.changed, &commit->helper.mutex);
			continue;
		}
		commit->to_lead = NULL;
		pthread_mutex_unlock(&commit->helper.mutex);
		lead(commit, group);
		leave(commit, group);
		pthread_mutex_lock(&commit->helper.mutex);
	}
	pthread_mutex_unlock(&commit->helper.mutex);
	return NULL;
}

int vigia__commit_submit(struct vigia__commit *commit, struct vigia__ticket *ticket)
{
	bool leads;
	pthread_mutex_lock(&commit->helper.mutex);
	int rc = vigia__helper_start(&commit->helper, help, commit, "start a thread to commit with", ticket->err);
	struct vigia__group *group = rc == VIGIA_OK ? join_locked(commit, ticket, &leads) : NULL;
	if (rc == VIGIA_OK && group == NULL) rc = ticket_no_memory(ticket);
	if (group && leads) {
		/* A group stops forming only once it is led, so there is never a second one to lead. */
		commit->to_lead = group;
		pthread_cond_signal(&commit->helper.changed);
	}
	pthread_mutex_unlock(&commit->helper.mutex);
	return rc;
}
