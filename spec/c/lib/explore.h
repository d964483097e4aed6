/*
 * explore.h - runs actors under every interleaving of their steps, up to a number of preemptions, and finds the one
 * that goes wrong.
 *
 * An actor is a function on a stack of its own; it gives up the processor at each step (explore_point) and when it
 * waits. The explorer runs the whole scenario from its start once for each schedule: depth first over the choices of
 * who goes on. A schedule in which somebody waits and nobody can go on is a lost wake-up. What a run cannot see: weaker
 * orders than sequential consistency.
 *
 * One scenario at a time, one thread. The source under test is included after explore_replace.h, which makes its
 * atomics, mutexes and futexes steps.
 */
#ifndef VIGIA_SPEC_EXPLORE_H
#define VIGIA_SPEC_EXPLORE_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum {
	EXPLORE_ACTORS_MAX = 8,
	EXPLORE_STACK = 64 * 1024,
	EXPLORE_STEPS_MAX = 4000,
	EXPLORE_WAITS_MAX = 8,
	EXPLORE_MUTEXES_MAX = 16
};

struct explore_actor {
	ucontext_t context; /* begins on the stack; from then on it is entered by `there` */
	jmp_buf there;
	char *stack;
	bool begun, idle; /* its stack is in use; by one that has ended and takes another function */
	void (*run)(void *arg);
	void *arg;
	bool done, killed;
	unsigned waits_count; /* it waits until one of these is woken; 0: it can go on */
	const void *waits[EXPLORE_WAITS_MAX];
	uint32_t bits; /* and with these bits */
};

static struct {
	jmp_buf main;
	struct explore_actor actors[EXPLORE_ACTORS_MAX];
	int count, current;
	struct {
		uint8_t choice, choices;
	} trail[EXPLORE_STEPS_MAX];
	int steps, trail_len;
	int preemptions, preemptions_max;
	struct {
		const void *mutex;
		int owner;
	} mutexes[EXPLORE_MUTEXES_MAX];
	int64_t now;
	const char *wrong;                    /* what was found in this run */
	char schedule[EXPLORE_STEPS_MAX + 1]; /* who made each step, as a letter: repeats a run */
} explore;

static inline void explore_fail(const char *what)
{
	if (explore.wrong == NULL) explore.wrong = what;
}

#define EXPLORE_CHECK(condition) ((condition) ? (void)0 : explore_fail(#condition))

static inline struct explore_actor *explore_self(void)
{
	return &explore.actors[explore.current];
}

/* The explorer goes on. Not by swapcontext(), which makes a system call each time. */
static __attribute__((noinline)) void explore_leave(struct explore_actor *self)
{
	if (_setjmp(self->there) == 0) _longjmp(explore.main, 1);
}

/* An actor goes on, until its next step. */
static __attribute__((noinline)) void explore_enter(struct explore_actor *actor)
{
	if (_setjmp(explore.main) != 0) return;
	if (actor->begun) _longjmp(actor->there, 1);
	actor->begun = true;
	setcontext(&actor->context);
}

/* A step begins: others may go first. */
static inline void explore_point(void)
{
	explore_leave(explore_self());
}

static inline void explore_block_bits(const void *const *on, unsigned count, uint32_t bits)
{
	struct explore_actor *self = explore_self();
	self->bits = bits;
	memcpy(self->waits, on, count * sizeof *on);
	self->waits_count = count;
	explore_point();
}

static inline void explore_block(const void *const *on, unsigned count)
{
	explore_block_bits(on, count, UINT32_MAX);
}

/* Let those go on that wait for it with one of the bits, at most `max`. */
static inline void explore_wake_bits(const void *on, int max, uint32_t bits)
{
	for (int i = 0; i < explore.count && max > 0; i++) {
		struct explore_actor *actor = &explore.actors[i];
		bool waits = false;
		for (unsigned w = 0; w < actor->waits_count; w++) waits |= actor->waits[w] == on;
		if (!waits || !(actor->bits & bits)) continue;
		actor->waits_count = 0;
		max--;
	}
}

static inline void explore_wake(const void *on, int max)
{
	explore_wake_bits(on, max, UINT32_MAX);
}

static inline int *explore_owner(const void *mutex)
{
	int i = 0;
	while (i < EXPLORE_MUTEXES_MAX - 1 && explore.mutexes[i].mutex && explore.mutexes[i].mutex != mutex) i++;
	explore.mutexes[i].mutex = mutex;
	return &explore.mutexes[i].owner;
}

static inline int explore_lock(const void *mutex)
{
	explore_point();
	while (*explore_owner(mutex) != 0) explore_block(&mutex, 1);
	*explore_owner(mutex) = explore.current + 1;
	return 0;
}

static inline int explore_unlock(const void *mutex)
{
	explore_point();
	EXPLORE_CHECK(*explore_owner(mutex) == explore.current + 1);
	*explore_owner(mutex) = 0;
	explore_wake(mutex, EXPLORE_ACTORS_MAX);
	return 0;
}

static inline int explore_cond_wait(const void *cond, const void *mutex)
{
	*explore_owner(mutex) = 0;
	explore_wake(mutex, EXPLORE_ACTORS_MAX);
	explore_block(&cond, 1);
	while (*explore_owner(mutex) != 0) explore_block(&mutex, 1);
	*explore_owner(mutex) = explore.current + 1;
	return 0;
}

/* Wait while all words are as seen; no time passes, so whoever is not woken waits for ever. */
static inline long explore_futex_wait(const uint32_t *const *words, const uint32_t *seen, unsigned count, uint32_t bits)
{
	explore_point();
	for (unsigned i = 0; i < count; i++) {
		if (*words[i] == seen[i]) continue;
		errno = EAGAIN;
		return -1;
	}
	explore_block_bits((const void *const *)words, count, bits);
	return 0;
}

static inline long explore_futex_wake(const void *word, int max, uint32_t bits)
{
	explore_point();
	explore_wake_bits(word, max, bits);
	return 0;
}

/* Time passes by being looked at. */
static inline int64_t explore_mono_ns(void)
{
	explore_point();
	return explore.now += 150000;
}

static inline void explore_entry(void)
{
	struct explore_actor *self = explore_self();
	for (;;) {
		self->run(self->arg);
		self->done = self->idle = true;
		explore_leave(self);
	}
}

static inline int explore_spawn(void (*run)(void *arg), void *arg)
{
	struct explore_actor *actor = &explore.actors[explore.count++];
	if (actor->stack == NULL) actor->stack = malloc(EXPLORE_STACK);
	actor->run = run;
	actor->arg = arg;
	actor->done = actor->killed = false;
	actor->waits_count = 0;
	actor->begun = actor->idle;
	actor->idle = false;
	if (!actor->begun) {
		getcontext(&actor->context);
		actor->context.uc_stack.ss_sp = actor->stack;
		actor->context.uc_stack.ss_size = EXPLORE_STACK;
		actor->context.uc_link = NULL;
		makecontext(&actor->context, explore_entry, 0);
	}
	return explore.count - 1;
}

/* Who goes on: the one at work if it can, else and then the others. False: nobody can. */
static inline bool explore_next(void)
{
	int able[EXPLORE_ACTORS_MAX], count = 0, before = explore.current;
	bool goes_on = before >= 0 && !explore.actors[before].done && !explore.actors[before].killed &&
	               explore.actors[before].waits_count == 0;
	if (goes_on) able[count++] = before;
	for (int i = 0; i < explore.count; i++)
		if (i != before && !explore.actors[i].done && !explore.actors[i].killed && explore.actors[i].waits_count == 0)
			able[count++] = i;
	if (count == 0) return false;
	if (goes_on && explore.preemptions >= explore.preemptions_max) count = 1;
	int at = explore.steps++;
	if (at >= explore.trail_len) {
		explore.trail[at].choice = 0;
		explore.trail_len = at + 1;
	}
	explore.trail[at].choices = (uint8_t)count;
	int choice = explore.trail[at].choice;
	if (goes_on && choice > 0) explore.preemptions++;
	explore.current = able[choice];
	explore.schedule[at] = (char)('a' + explore.current);
	explore.schedule[at + 1] = 0;
	return true;
}

/* Every schedule of what begin() spawns, with at most so many preemptions; end() looks at the outcome of each. Returns
 * how many there were; stops at the first that goes wrong, or after runs_max of them (0: never): then explore.wrong
 * says what, explore.schedule when. */
static inline long explore_all(int preemptions_max, long runs_max, void (*begin)(void), void (*end)(void))
{
	long runs = 0;
	explore.preemptions_max = preemptions_max;
	explore.trail_len = 0;
	for (;;) {
		explore.count = explore.steps = explore.preemptions = 0;
		explore.current = -1;
		explore.now = 0;
		explore.wrong = NULL;
		memset(explore.mutexes, 0, sizeof explore.mutexes);
		begin();
		while (explore.wrong == NULL && explore_next()) {
			if (explore.steps >= EXPLORE_STEPS_MAX - 1) explore_fail("it does not come to an end");
			explore_enter(explore_self());
		}
		runs++;
		for (int i = 0; i < explore.count && explore.wrong == NULL; i++)
			if (!explore.actors[i].done && !explore.actors[i].killed)
				explore_fail("an actor waits and nobody wakes it");
		if (explore.wrong == NULL) end();
		if (explore.wrong) return runs;
		int last = explore.steps - 1;
		while (last >= 0 && explore.trail[last].choice + 1 >= explore.trail[last].choices) last--;
		if (last < 0 || (runs_max && runs >= runs_max)) return runs;
		explore.trail[last].choice++;
		explore.trail_len = last + 1;
	}
}

#endif
