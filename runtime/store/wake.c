/*
 * wake.c - version words and futexes: an append wakes waiters in all processes. wake.h describes the protocol.
 */
#include "wake.h"

#include <string.h>
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

/* Of a bell, and of few words: whether someone waits, below the version. Of many words: whether someone waits, whether
 * someone may sleep, and how often bells rang for one that sleeps there. */
enum { WAITS = 1, STEP = 2, SLEEPS = 2, RING = 4, RINGS = 63 * RING, STEP_MANY = 256, SIGNAL_NS = 250000000 };

/* futex_waitv(2), Linux 5.16: older headers have neither the number nor the struct. */
#define NR_FUTEX_WAITV 449
struct waitv {
	uint64_t val;
	uint64_t uaddr;
	uint32_t flags; /* WAITV_U32; without the private flag, see wake_some() */
	uint32_t reserved;
};
enum { WAITV_U32 = 2 };

/* The kernel refuses a negative time. */
static struct timespec timespec_of(int64_t mono_ns)
{
	if (mono_ns < 0) mono_ns = 0;
	return (struct timespec){.tv_sec = mono_ns / 1000000000, .tv_nsec = mono_ns % 1000000000};
}

static atomic_int waitv_known; /* 0: not asked, 1: it works, 2: it does not */

void vigia__wake_without_waitv(void)
{
	atomic_store(&waitv_known, 2);
}

static bool waitv_works(void)
{
	int k = atomic_load_explicit(&waitv_known, memory_order_relaxed);
	if (k == 0) {
		long rc = syscall(NR_FUTEX_WAITV, NULL, 0u, 0u, NULL, CLOCK_MONOTONIC);
		k = rc < 0 && errno == EINVAL ? 1 : 2;
		atomic_store_explicit(&waitv_known, k, memory_order_relaxed);
	}
	return k == 1;
}

/* A type that no event has. */
static const struct vigia_slice nobody = {"\1 no type", 9};

/* FNV-1a spreads short names well enough. 4095 is a multiple of 63, so that the few words are those of version 0.1.0.
 */
unsigned vigia__wake_word(struct vigia_slice type)
{
	_Static_assert((VIGIA_WAKE_WORDS - 1) % (VIGIA_WAKE_FEW - 1) == 0, "the few words are the many, folded");
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < type.len; i++) h = (h ^ (uint8_t)type.data[i]) * 16777619u;
	return 1 + h % (VIGIA_WAKE_WORDS - 1);
}

static bool has_many(const struct vigia__wake *wake)
{
	return wake->count == VIGIA_WAKE_WORDS;
}

static _Atomic uint32_t *word_at(const struct vigia__wake *wake, unsigned n)
{
	return &wake->words[n == 0 || has_many(wake) ? n : 1 + (n - 1) % (VIGIA_WAKE_FEW - 1)];
}

/* A word's value without what says nothing of events. */
static uint32_t value_of(const struct vigia__wake *wake, uint32_t word)
{
	return has_many(wake) ? word & ~(uint32_t)(SLEEPS | RINGS) : word;
}

/* Between the two sides of a wake-up: the waiter sets its bit, then looks for events. The appender commits, then reads
 * the bit. So one of the two sees the other's change. */
static void fence(void)
{
#ifndef __SANITIZE_THREAD__ /* it knows none. There next_version() reads by an exchange, which pairs with that of the \
                             * waiter                                                                                 \
                             */
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* Bells have bits in turn, so that those of few waiters differ. Other processes begin elsewhere. */
static void give_bit(struct vigia__bell *bell)
{
	static atomic_uint given;
	uint32_t none = 0;
	if (atomic_load_explicit(&bell->bit, memory_order_relaxed) != 0) return;
	unsigned n = atomic_fetch_add(&given, 1) + (unsigned)getpid() * 5;
	atomic_compare_exchange_strong(&bell->bit, &none, UINT32_C(1) << n % 32);
}

void vigia__listen_bell(struct vigia__listen *listen, struct vigia__bell *bell)
{
	assert(listen->bells_count < VIGIA_BELLS_MAX);
	give_bit(bell);
	listen->bells_seen[listen->bells_count] = atomic_fetch_or(&bell->word, WAITS) | WAITS;
	listen->bells[listen->bells_count++] = bell;
	fence();
}

static void listen_anything(struct vigia__listen *listen)
{
	listen->count = 1;
	listen->index[0] = 0;
}

void vigia__listen_init(struct vigia__listen *listen, const struct vigia_slice *types, size_t count)
{
	listen->count = listen->bells_count = 0;
	vigia__listen_add(listen, types, count);
}

void vigia__listen_add(struct vigia__listen *listen, const struct vigia_slice *types, size_t count)
{
	if (count == 0) listen_anything(listen);
	for (size_t i = 0; i < count; i++) {
		if (listen->count == 1 && listen->index[0] == 0) return;
		unsigned word = vigia__wake_word(types[i]), k = 0;
		while (k < listen->count && listen->index[k] != word) k++;
		if (k < listen->count) continue;
		if (k == VIGIA_LISTEN_MAX || (k == 1 && !waitv_works())) {
			listen_anything(listen);
			return;
		}
		listen->index[k] = (uint16_t)word;
		listen->count++;
	}
}

void vigia__wake_prepare(struct vigia__wake *wake, struct vigia__listen *listen)
{
	for (unsigned i = 0; i < listen->count; i++)
		listen->seen[i] = value_of(wake, atomic_fetch_or(word_at(wake, listen->index[i]), WAITS) | WAITS);
	for (unsigned i = 0; i < listen->bells_count; i++)
		listen->bells_seen[i] = atomic_fetch_or(&listen->bells[i]->word, WAITS) | WAITS;
	fence();
}

bool vigia__wake_rung(struct vigia__listen *listen)
{
	bool rung = false;
	for (unsigned i = 0; i < listen->bells_count; i++) {
		if (atomic_load(&listen->bells[i]->word) == listen->bells_seen[i]) continue;
		listen->bells_seen[i] = atomic_fetch_or(&listen->bells[i]->word, WAITS) | WAITS;
		rung = true;
	}
	if (rung) fence();
	return rung;
}

bool vigia__wake_changed(struct vigia__wake *wake, const struct vigia__listen *listen)
{
	for (unsigned i = 0; i < listen->count; i++)
		if (value_of(wake, atomic_load(word_at(wake, listen->index[i]))) != listen->seen[i]) return true;
	return false;
}

/* Say that this waiter is about to sleep: until then a publisher need not wake it. False: a word has changed. */
static bool may_sleep(struct vigia__wake *wake, const struct vigia__listen *listen, uint32_t *expected)
{
	for (unsigned i = 0; i < listen->count; i++) {
		expected[i] = listen->seen[i];
		if (!has_many(wake)) continue;
		uint32_t old = atomic_fetch_or(word_at(wake, listen->index[i]), SLEEPS);
		if (value_of(wake, old) != listen->seen[i]) return false;
		expected[i] = old | SLEEPS;
	}
	return true;
}

/* ThreadSanitizer runs a signal's handler at the thread's next call that it sees. It sees no futex, so under it every
 * wait is a short one: the caller reads the clock, and waits again. */
static int64_t signals_until(int64_t until_mono_ns)
{
#ifdef __SANITIZE_THREAD__
	int64_t soon = vigia__mono_ns() + SIGNAL_NS;
	if (soon < until_mono_ns) return soon;
#endif
	return until_mono_ns;
}

/* Words for each bit of a bell's parts. */
enum { PART_WORDS = VIGIA_WAKE_WORDS / 64 };

/* Let the bells find this word, on which their waiter sleeps. False: one has rung. */
static bool bells_find(const struct vigia__listen *listen, unsigned word, uint32_t *bits)
{
	uint64_t part = UINT64_C(1) << word / PART_WORDS;
	*bits = 0;
	for (unsigned i = 0; i < listen->bells_count; i++) {
		struct vigia__bell *bell = listen->bells[i];
		*bits |= atomic_load_explicit(&bell->bit, memory_order_relaxed);
		if (!(atomic_load(&bell->parts) & part)) atomic_fetch_or(&bell->parts, part);
		if (atomic_load(&bell->word) != listen->bells_seen[i]) return false;
	}
	if (*bits == 0) *bits = FUTEX_BITSET_MATCH_ANY;
	return true;
}

/* On one futex, whatever the number of bells. */
static void sleep_on_word(struct vigia__wake *wake, const struct vigia__listen *listen, unsigned n, uint32_t expected,
                          const struct timespec *until)
{
	uint32_t bits;
	if (bells_find(listen, n, &bits))
		syscall(SYS_futex, word_at(wake, n), FUTEX_WAIT_BITSET, expected, until, NULL, bits);
}

/* Has only bells to listen to: sleep on a word that no event has. */
static void sleep_on_bells(struct vigia__wake *wake, const struct vigia__listen *listen, const struct timespec *until)
{
	unsigned n = vigia__wake_word(nobody);
	uint32_t bits = has_many(wake) ? WAITS | SLEEPS : WAITS;
	uint32_t expected = atomic_fetch_or(word_at(wake, n), bits) | bits;
	sleep_on_word(wake, listen, n, expected, until);
}

bool vigia__wake_wait(struct vigia__wake *wake, const struct vigia__listen *listen, int64_t until_mono_ns)
{
	struct timespec until = timespec_of(signals_until(until_mono_ns));
	uint32_t expected[VIGIA_LISTEN_MAX];
	if (!may_sleep(wake, listen, expected)) return true;
	if (listen->count == 0) {
		sleep_on_bells(wake, listen, &until);
	} else if (listen->count == 1) {
		sleep_on_word(wake, listen, listen->index[0], expected[0], &until);
	} else {
		struct waitv waits[VIGIA_LISTEN_MAX + VIGIA_BELLS_MAX];
		unsigned count = 0;
		for (unsigned i = 0; i < listen->count; i++)
			waits[count++] = (struct waitv){expected[i], (uintptr_t)word_at(wake, listen->index[i]), WAITV_U32, 0};
		for (unsigned i = 0; i < listen->bells_count; i++)
			waits[count++] = (struct waitv){listen->bells_seen[i], (uintptr_t)&listen->bells[i]->word, WAITV_U32, 0};
		syscall(NR_FUTEX_WAITV, waits, count, 0u, &until, CLOCK_MONOTONIC);
	}
	return vigia__wake_changed(wake, listen);
}

int64_t vigia__signal_until(int64_t until_mono_ns)
{
	struct sigaction action;
	if (sigaction(SIGINT, NULL, &action) < 0 || action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN)
		return until_mono_ns;
	int64_t soon = vigia__mono_ns() + SIGNAL_NS;
	return (action.sa_flags & SA_RESTART) && soon < until_mono_ns ? soon : until_mono_ns;
}

void vigia__wake_set_clear(struct vigia__wake_set *set)
{
	set->parts = 0;
}

static void add_to_part(struct vigia__wake_set *set, unsigned part, uint64_t bits)
{
	uint64_t bit = UINT64_C(1) << part;
	set->words[part] = set->parts & bit ? set->words[part] | bits : bits;
	set->parts |= bit;
}

void vigia__wake_set_add(struct vigia__wake_set *set, struct vigia_slice type)
{
	unsigned n = vigia__wake_word(type);
	add_to_part(set, n / 64, UINT64_C(1) << n % 64);
}

void vigia__wake_set_all(struct vigia__wake_set *set)
{
	memset(set, 0xff, sizeof *set);
}

void vigia__wake_set_join(struct vigia__wake_set *set, const struct vigia__wake_set *more)
{
	for (uint64_t parts = more->parts; parts; parts &= parts - 1) {
		unsigned part = (unsigned)__builtin_ctzll(parts);
		add_to_part(set, part, more->words[part]);
	}
}

/* If no waiter has prepared, none has looked too early, and the word need not change. Returns what the word was, 0: it
 * was left. */
static uint32_t next_version(_Atomic uint32_t *word, uint32_t step)
{
#ifdef __SANITIZE_THREAD__
	uint32_t old = atomic_fetch_or(word, 0);
#else
	uint32_t old = atomic_load(word);
#endif
	do {
		if (!(old & WAITS)) return 0;
	} while (!atomic_compare_exchange_weak(word, &old, (old + step) & ~(step - 1)));
	return old;
}

/* Not private futexes, although only one process uses a bell: since Linux 6.16 a process's private futexes share few
 * buckets (16 on two processors), and each wake of the application's mutexes and conditions would step over the idle
 * waiters in its bucket. */
static void wake_some(_Atomic uint32_t *word, uint32_t bits)
{
	syscall(SYS_futex, word, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, bits);
}

static void wake_all(_Atomic uint32_t *word)
{
	wake_some(word, FUTEX_BITSET_MATCH_ANY);
}

/* Of few words version 0.1.0 may sleep, which does not say so. */
static void publish_word(struct vigia__wake *wake, unsigned n)
{
	bool many = has_many(wake);
	_Atomic uint32_t *word = word_at(wake, n);
	uint32_t was = next_version(word, many ? STEP_MANY : STEP);
	if (many ? was & SLEEPS : was) wake_all(word);
}

void vigia__wake_publish(struct vigia__wake *wake, const struct vigia__wake_set *set)
{
	fence();
	publish_word(wake, 0);
	for (uint64_t parts = set->parts; parts; parts &= parts - 1) {
		unsigned part = (unsigned)__builtin_ctzll(parts);
		for (uint64_t bits = set->words[part]; bits; bits &= bits - 1)
			publish_word(wake, part * 64 + (unsigned)__builtin_ctzll(bits));
	}
}

static bool is_awaited(const struct vigia__wake *wake, unsigned n)
{
	return atomic_load(word_at(wake, n)) & WAITS;
}

bool vigia__wake_awaited(const struct vigia__wake *wake, const struct vigia__wake_set *set)
{
	bool awaited = is_awaited(wake, 0);
	for (uint64_t parts = set->parts; parts; parts &= parts - 1) {
		unsigned part = (unsigned)__builtin_ctzll(parts);
		for (uint64_t bits = set->words[part]; bits; bits &= bits - 1)
			awaited = awaited || is_awaited(wake, part * 64 + (unsigned)__builtin_ctzll(bits));
	}
	return awaited;
}

void vigia__word_bump(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	wake_all(word);
}

void vigia__word_change_begin(_Atomic uint32_t *word)
{
	uint32_t is = atomic_load(word);
	while (!atomic_compare_exchange_weak(word, &is, (is + 1) | VIGIA_WORD_CHANGING)) continue;
}

void vigia__word_change_end(_Atomic uint32_t *word)
{
	uint32_t is = atomic_load(word);
	while (is & VIGIA_WORD_CHANGING)
		if (atomic_compare_exchange_weak(word, &is, (is + 1) & ~VIGIA_WORD_CHANGING)) {
			wake_all(word);
			return;
		}
}

uint32_t vigia__word_mark(_Atomic uint32_t *word)
{
	uint32_t is = atomic_load(word), next;
	do next = (is + 1) | VIGIA_WORD_CHANGING;
	while (!atomic_compare_exchange_weak(word, &is, next));
	wake_all(word);
	return next;
}

void vigia__word_unmark(_Atomic uint32_t *word, uint32_t marked)
{
	uint32_t is = atomic_load(word), next;
	do next = ((is + 1) & ~VIGIA_WORD_CHANGING) | (is == marked ? 0 : is & VIGIA_WORD_CHANGING);
	while (!atomic_compare_exchange_weak(word, &is, next));
	wake_all(word);
}

void vigia__word_wait(_Atomic uint32_t *word, uint32_t seen, int64_t until_mono_ns)
{
	struct timespec until = timespec_of(until_mono_ns);
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

void vigia__word_wait_until(_Atomic uint32_t *word, uint32_t seen, int64_t until_at_ns)
{
	struct timespec until = timespec_of(until_at_ns);
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, seen, &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

void vigia__words_wait(_Atomic uint32_t *word, uint32_t seen, _Atomic uint32_t *second, uint32_t second_seen,
                       int64_t until_mono_ns)
{
	if (!waitv_works()) {
		int64_t soon = vigia__mono_ns() + 50000000;
		vigia__word_wait(word, seen, soon < until_mono_ns ? soon : until_mono_ns);
		return;
	}
	struct timespec until = timespec_of(until_mono_ns);
	struct waitv waits[] = {{seen, (uintptr_t)word, WAITV_U32, 0}, {second_seen, (uintptr_t)second, WAITV_U32, 0}};
	syscall(NR_FUTEX_WAITV, waits, 2u, 0u, &until, CLOCK_MONOTONIC);
}

void vigia__collect_call(const struct vigia__collect_call *call, uint64_t latest)
{
	uint64_t at = atomic_load_explicit(call->at, memory_order_relaxed);
	if (at != 0 && latest >= at && atomic_exchange(call->at, 0) != 0) vigia__word_bump(call->word);
}

/* Its waiters that sleep on a shared word are woken there, by the bell's bit; the others sleep on. The word changes for
 * a waiter that has looked at the bell and does not sleep yet. The two bits stay, for those that sleep on. Few words
 * have no count of rings: there their waiters look for events in vain. */
static void ring_word(struct vigia__wake *wake, unsigned n, uint32_t bits)
{
	_Atomic uint32_t *word = word_at(wake, n);
	bool many = has_many(wake);
	uint32_t old = atomic_load(word), next;
	do {
		if (!(old & (many ? SLEEPS : WAITS))) return;
		next = many ? (old & ~(uint32_t)RINGS) | ((old + RING) & RINGS) : old + STEP;
	} while (!atomic_compare_exchange_weak(word, &old, next));
	wake_some(word, bits);
}

void vigia__bell_ring(struct vigia__bell *bell, struct vigia__wake *wake)
{
	fence();
	if (!next_version(&bell->word, STEP)) return;
	wake_all(&bell->word);
	uint32_t bit = atomic_load_explicit(&bell->bit, memory_order_relaxed);
	if (bit == 0) bit = FUTEX_BITSET_MATCH_ANY; /* what a damaged side file may say */
	for (uint64_t parts = atomic_load(&bell->parts); parts; parts &= parts - 1) {
		unsigned first = (unsigned)__builtin_ctzll(parts) * PART_WORDS;
		for (unsigned n = first; n < first + PART_WORDS; n++) ring_word(wake, n, bit);
	}
}
