/*
 * turns.c - fair turns at a mutex that processes share. turns.h describes the protocol.
 */
#include "turns.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

/* How long a process may take the mutex again; after how many looks in vain one who is busy is taken for dead; how many
 * tickets are never out at the same time. */
enum { TURN_NS = 1000000, LOOKS_MAX = 20, TICKETS_MAX = 1 << 16 };

/* How long a waiter sleeps before it looks whether the turns go on. */
static int64_t look_ns = 5000000;

void vigia__turns_look_after(int64_t ns)
{
	look_ns = ns;
}

/* How far ticket a is behind ticket b. The numbers wrap around. */
static int32_t behind(uint32_t a, uint32_t b)
{
	return (int32_t)(b - a);
}

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* A waiter sleeps with the bit of its ticket, so that the others sleep on. */
static uint32_t bit_of(uint32_t ticket)
{
	return UINT32_C(1) << ticket % 32;
}

static void wake(struct vigia__turns *turns, uint32_t after, uint32_t upto)
{
	uint32_t bits = behind(after, upto) >= 32 ? UINT32_MAX : 0;
	for (uint32_t ticket = after + 1; bits != UINT32_MAX && behind(ticket, upto) >= 0; ticket++) bits |= bit_of(ticket);
	syscall(SYS_futex, &turns->admitted, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, bits);
}

/* With the mutex: admit the ticket behind one's own. What is ahead of all that were drawn is not a number that was
 * admitted. */
static void admit_next(struct vigia__turns *turns, uint32_t own)
{
	uint32_t next = own + 1, admitted = atomic_load(&turns->admitted);
	for (;;) {
		bool is_ahead = behind(atomic_load(&turns->drawn), admitted) > 0;
		if (behind(admitted, next) <= 0 && !is_ahead) return;
		if (atomic_compare_exchange_weak(&turns->admitted, &admitted, next)) break;
	}
	/* One who draws it from now on sees that it is admitted. */
	if (behind(next, atomic_load(&turns->drawn)) > 0) wake(turns, own, next);
}

/* The turns stand still. Admit some of the tickets between, or only one's own if so many were never drawn. */
static void admit_more(struct vigia__turns *turns, uint32_t admitted, uint32_t own, uint32_t more)
{
	uint32_t distance = own - admitted, upto = more < distance ? admitted + more : own;
	if (distance > TICKETS_MAX) upto = own;
	if (atomic_compare_exchange_strong(&turns->admitted, &admitted, upto)) wake(turns, admitted, upto);
}

/* False: the time came. */
static bool wait_for_ticket(struct vigia__turns *turns, uint32_t ticket, int64_t until_mono_ns)
{
	uint32_t admitted = atomic_load(&turns->admitted), more = 1, looks = 0;
	while (behind(admitted, ticket) > 0) {
		int64_t now = vigia__mono_ns(), look = now + look_ns;
		if (now >= until_mono_ns) return false;
		struct timespec until = timespec_of(look);
		long rc = syscall(SYS_futex, &turns->admitted, FUTEX_WAIT_BITSET, admitted, &until, NULL, bit_of(ticket));
		bool timed_out = rc < 0 && errno == ETIMEDOUT;
		uint32_t before = admitted;
		admitted = atomic_load(&turns->admitted);
		if (admitted != before) {
			more = 1;
			looks = 0;
		} else if (timed_out && (!atomic_load(&turns->busy) || ++looks >= LOOKS_MAX)) {
			admit_more(turns, admitted, ticket, more);
			more *= 2; /* of many processes that were killed together not each costs its time */
			admitted = atomic_load(&turns->admitted);
		}
	}
	return true;
}

/* A waiter that is stopped after it was woken, and before it ran, keeps the only wake-up of the mutex. So each one
 * looks again by itself. */
static int lock_mutex(pthread_mutex_t *mutex, int64_t until_mono_ns)
{
	for (;;) {
		int64_t now = vigia__mono_ns();
		if (now >= until_mono_ns) return ETIMEDOUT;
#ifdef __SANITIZE_THREAD__ /* it does not know that the other calls may find a dead owner */
		int rc = pthread_mutex_trylock(mutex);
		if (rc != EBUSY) return rc;
		nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
#else
		struct timespec until = timespec_of(now + look_ns);
		int rc = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
		if (rc != ETIMEDOUT) return rc;
#endif
	}
}

void vigia__turns_init(struct vigia__turns *turns)
{
	atomic_store(&turns->drawn, 0);
	atomic_store(&turns->admitted, 0);
	atomic_store(&turns->busy, 0);
}

static int take(struct vigia__turns *turns, int rc)
{
	if (rc == 0 || rc == EOWNERDEAD) atomic_store_explicit(&turns->busy, 1, memory_order_relaxed);
	return rc;
}

int vigia__turns_lock(struct vigia__turns *turns, pthread_mutex_t *mutex, struct vigia__turn *own, int64_t wait_ns)
{
	/* No one waits if the next ticket is admitted already. */
	if (atomic_load(&turns->drawn) == atomic_load(&turns->admitted)) {
		int rc = pthread_mutex_trylock(mutex);
		if (rc != EBUSY) return take(turns, rc);
	}
	int64_t now = vigia__mono_ns(), until_mono_ns = wait_ns > INT64_MAX - now ? INT64_MAX : now + wait_ns;
	if (now < atomic_load(&own->until_mono_ns)) return take(turns, lock_mutex(mutex, until_mono_ns));
	uint32_t ticket = atomic_fetch_add(&turns->drawn, 1);
	if (!wait_for_ticket(turns, ticket, until_mono_ns)) return ETIMEDOUT;
	int rc = take(turns, lock_mutex(mutex, until_mono_ns));
	if (rc == 0 || rc == EOWNERDEAD) {
		atomic_store(&own->until_mono_ns, vigia__mono_ns() + TURN_NS);
		admit_next(turns, ticket);
	}
	return rc;
}

void vigia__turns_unlock(struct vigia__turns *turns, pthread_mutex_t *mutex, struct vigia__turn *own, bool over)
{
	atomic_store_explicit(&turns->busy, 0, memory_order_relaxed);
	if (over) atomic_store_explicit(&own->until_mono_ns, 0, memory_order_relaxed);
	pthread_mutex_unlock(mutex);
}
