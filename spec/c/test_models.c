/*
 * test_models.c - models of the wake words, the group commit, the hand-over of a watcher id and the turns of those who
 * write: every interleaving of up to four actors, without a limit of preemptions.
 *
 * A model is a state and a step of each actor. Each atomic operation, lock and futex of the product is a step. The
 * search visits every state that can be reached, once, and looks whether one is wrong, and whether actors are left that
 * can never go on. test_schedules.c runs the product's own code under the same orders, but with few preemptions.
 */
#include "test.h"

#include <stdbool.h>

enum { ACTORS = 4, BYTES = 64 };

/* A model's state, compared byte by byte. */
struct state {
	uint8_t bytes[BYTES];
};

struct model {
	const char *what;
	int actors;
	/* One step of an actor. False: it cannot go on now. */
	bool (*step)(struct state *state, int actor);
	bool (*done)(const struct state *state, int actor);
	const char *(*wrong)(const struct state *state); /* NULL: it is right */
};

/* ---- the search ---- */

static struct state *states; /* all that were found, in the order in which they were */
static size_t *slots, count, cap;

static uint64_t hash_of(const struct state *state)
{
	uint64_t hash = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < BYTES; i++) hash = (hash ^ state->bytes[i]) * UINT64_C(1099511628211);
	return hash ^ hash >> 29;
}

static void put_slot(size_t n)
{
	size_t at = hash_of(&states[n]) % (2 * cap);
	while (slots[at]) at = (at + 1) % (2 * cap);
	slots[at] = n + 1;
}

static void grow(void)
{
	cap = cap ? 2 * cap : 1024;
	states = realloc(states, cap * sizeof *states);
	free(slots);
	slots = calloc(2 * cap, sizeof *slots);
	assert_true(states && slots);
	for (size_t i = 0; i < count; i++) put_slot(i);
}

static void add(const struct state *state)
{
	if (count == cap) grow();
	for (size_t at = hash_of(state) % (2 * cap); slots[at]; at = (at + 1) % (2 * cap))
		if (memcmp(&states[slots[at] - 1], state, sizeof *state) == 0) return;
	states[count] = *state;
	put_slot(count++);
}

/* What is wrong with some state that can be reached. NULL: nothing. */
static const char *search(const struct model *model, const struct state *begin)
{
	const char *wrong = NULL;
	count = cap = 0;
	add(begin);
	for (size_t i = 0; i < count && !wrong; i++) {
		bool goes_on = false, all_done = true;
		wrong = model->wrong(&states[i]);
		for (int actor = 0; actor < model->actors && !wrong; actor++) {
			struct state next = states[i];
			if (model->done(&next, actor)) continue;
			all_done = false;
			if (!model->step(&next, actor)) continue;
			goes_on = true;
			add(&next);
		}
		if (!wrong && !goes_on && !all_done) wrong = "an actor waits for ever";
	}
	free(states);
	free(slots);
	states = NULL;
	slots = NULL;
	return wrong;
}

static void must_be_right(const struct model *model, const struct state *begin)
{
	const char *wrong = search(model, begin);
	if (wrong) fail_msg("%s: %s", model->what, wrong);
	print_message("# interleavings: %zu states of %s\n", count, model->what);
}

static void must_be_wrong(const struct model *model, const struct state *begin)
{
	if (search(model, begin) == NULL) fail_msg("%s: the planted fault is not found", model->what);
}

static const char *nothing_wrong(const struct state *state)
{
	(void)state;
	return NULL;
}

/* A planted fault of the model that runs. 0: none. */
static int planted;

static int setup(void **state)
{
	(void)state;
	planted = 0;
	return 0;
}

/* ---- wake words (store/wake.c) ---- */

enum { APPENDS = 2, WAITS_BIT = 1, SLEEPS_BIT = 2, STEP = 4 };

/* The first two actors append, the others wait until they have seen all events. */
struct wake {
	uint8_t word, events;
	struct {
		uint8_t at, seen, left;
		bool woken;
	} actors[ACTORS];
};
_Static_assert(sizeof(struct wake) <= BYTES, "a state");

enum { APPEND, LOOK_FOR_WAITER, BUMP, WAKE, ENDED, PREPARE = 0, LOOK, WAIT, SLEEP, COMPARE = ENDED + 1 };

static bool appends(struct wake *w, int actor)
{
	uint8_t *at = &w->actors[actor].at, *old = &w->actors[actor].seen, *left = &w->actors[actor].left;
	switch (*at) {
	case APPEND:
		w->events++;
		*at = LOOK_FOR_WAITER;
		return true;
	case LOOK_FOR_WAITER:
		*old = w->word;
		*at = *old & WAITS_BIT ? BUMP : APPEND;
		break;
	case BUMP: /* compare and exchange */
		if (w->word != *old) {
			*old = w->word;
			if (*old & WAITS_BIT) return true;
			*at = APPEND;
			break;
		}
		w->word = (uint8_t)((planted == 1 ? *old : *old + STEP) & ~(WAITS_BIT | SLEEPS_BIT));
		*at = *old & SLEEPS_BIT ? WAKE : APPEND;
		if (*at == WAKE) return true;
		break;
	default:
		for (int i = 2; i < ACTORS; i++) w->actors[i].woken = true;
		*at = APPEND;
	}
	if (*at == APPEND && --*left == 0) *at = ENDED;
	return true;
}

static bool waits(struct wake *w, int actor)
{
	uint8_t *at = &w->actors[actor].at, *seen = &w->actors[actor].seen, again = planted == 3 ? LOOK : PREPARE;
	switch (*at) {
	case PREPARE:
		if (planted != 2) w->word |= WAITS_BIT;
		*seen = (uint8_t)(w->word & ~SLEEPS_BIT);
		*at = planted == 3 ? WAIT : LOOK;
		break;
	case LOOK:
		*at = w->events == 2 * APPENDS ? ENDED : WAIT;
		break;
	case WAIT:
		*at = (w->word & ~SLEEPS_BIT) == *seen || planted == 5 ? COMPARE : again;
		if (planted == 5) *seen = (uint8_t)(w->word & ~SLEEPS_BIT);
		if (planted != 4) w->word |= SLEEPS_BIT;
		break;
	case COMPARE: /* the kernel compares and sleeps in one step */
		w->actors[actor].woken = false;
		*at = w->word == (planted == 4 ? *seen : (*seen | SLEEPS_BIT)) ? SLEEP : again;
		break;
	default:
		if (!w->actors[actor].woken) return false;
		*at = again;
	}
	return true;
}

static bool wake_step(struct state *state, int actor)
{
	struct wake w;
	memcpy(&w, state, sizeof w);
	bool goes_on = actor < 2 ? appends(&w, actor) : waits(&w, actor);
	memcpy(state, &w, sizeof w);
	return goes_on;
}

static bool wake_done(const struct state *state, int actor)
{
	struct wake w;
	memcpy(&w, state, sizeof w);
	return w.actors[actor].at == ENDED;
}

static void S7_no_waiter_sleeps_past_an_event(void **state)
{
	(void)state;
	static const struct model model = {"wake words", ACTORS, wake_step, wake_done, nothing_wrong};
	struct state begin = {{0}};
	struct wake w = {0};
	for (int i = 0; i < 2; i++) w.actors[i].left = APPENDS;
	memcpy(&begin, &w, sizeof w);
	must_be_right(&model, &begin);
	/* The version is not bumped. The waiter does not say that it waits. It waits without a look. It does not say that
	 * it sleeps. It says so, and does not compare the version. */
	for (planted = 1; planted <= 5; planted++) must_be_wrong(&model, &begin);
}

/* ---- group commit (store/commit.c) ---- */

enum { GROUPS = 5 };

struct commit {
	uint8_t forming; /* number of the group, from 1 on. 0: none */
	uint8_t locked;  /* by this actor, from 1 on */
	uint8_t wrong;
	struct {
		uint8_t users, tickets, count;
		bool done, used;
	} groups[GROUPS];
	struct {
		uint8_t at, group, left, results;
		bool woken;
	} actors[ACTORS];
};
_Static_assert(sizeof(struct commit) <= BYTES, "a state");

enum { JOIN, LOCK, CLOSE, WRITE, UNLOCK, FINISH, WAKE_ALL, LOOK_DONE, SLEEP_DONE, LEAVE, RETURNED };

static void join(struct commit *c, int actor)
{
	bool leads = c->forming == 0;
	if (leads) {
		int g = 0;
		while (c->groups[g].used) g++;
		memset(&c->groups[g], 0, sizeof c->groups[g]);
		c->groups[g].used = true;
		c->forming = (uint8_t)(g + 1);
	}
	int g = c->forming - 1;
	c->groups[g].tickets |= (uint8_t)(1 << actor);
	c->groups[g].count++;
	c->groups[g].users++;
	c->actors[actor].group = (uint8_t)g;
	c->actors[actor].results = 0;
	c->actors[actor].at = leads ? LOCK : LOOK_DONE;
}

static bool commit_step(struct state *state, int actor)
{
	struct commit c;
	memcpy(&c, state, sizeof c);
	uint8_t *at = &c.actors[actor].at, g = c.actors[actor].group;
	switch (*at) {
	case JOIN:
		join(&c, actor);
		break;
	case LOCK:
		if (c.locked) return false;
		c.locked = (uint8_t)(actor + 1);
		*at = planted == 1 ? WRITE : CLOSE;
		break;
	case CLOSE:
		if (c.forming != g + 1) c.wrong = 1;
		c.forming = 0;
		*at = planted == 1 ? UNLOCK : WRITE;
		break;
	case WRITE:
		for (int i = 0; i < ACTORS; i++)
			if (c.groups[g].tickets & 1 << i) c.actors[i].results++;
		*at = planted == 1 ? CLOSE : UNLOCK;
		break;
	case UNLOCK:
		if (c.locked != actor + 1) c.wrong = 2;
		c.locked = 0;
		*at = FINISH;
		break;
	case FINISH:
		c.groups[g].done = true;
		*at = c.groups[g].count > 1 && planted != 2 ? WAKE_ALL : LOOK_DONE;
		break;
	case WAKE_ALL:
		for (int i = 0; i < ACTORS; i++)
			if (c.actors[i].group == g && c.actors[i].at == SLEEP_DONE) c.actors[i].woken = true;
		*at = LOOK_DONE;
		break;
	case LOOK_DONE: /* and the kernel's comparison, if it is to sleep */
		c.actors[actor].woken = false;
		*at = c.groups[g].done ? LEAVE : SLEEP_DONE;
		break;
	case SLEEP_DONE:
		if (!c.actors[actor].woken) return false;
		*at = LOOK_DONE;
		break;
	default:
		if (c.actors[actor].results != 1) c.wrong = 3;
		if (--c.groups[g].users == 0 || planted == 3) c.groups[g].used = false;
		*at = --c.actors[actor].left > 0 ? JOIN : RETURNED;
	}
	memcpy(state, &c, sizeof c);
	return true;
}

static bool commit_done(const struct state *state, int actor)
{
	struct commit c;
	memcpy(&c, state, sizeof c);
	return c.actors[actor].at == RETURNED;
}

static const char *commit_wrong(const struct state *state)
{
	static const char *const texts[] = {NULL, "a group is closed that does not form", "a lock is not its holder's",
	                                    "a caller returns without its one result"};
	struct commit c;
	memcpy(&c, state, sizeof c);
	return texts[c.wrong];
}

/* So many callers, each of which commits so many times. */
static struct state commit_begin(int callers, uint8_t rounds)
{
	struct state begin = {{0}};
	struct commit c = {0};
	for (int i = 0; i < callers; i++) c.actors[i].left = rounds;
	memcpy(&begin, &c, sizeof c);
	return begin;
}

static void D1_each_caller_of_a_group_commit_has_one_result(void **state)
{
	(void)state;
	static const struct model once = {"group commit", ACTORS, commit_step, commit_done, commit_wrong};
	static const struct model again = {"group commit, twice", 3, commit_step, commit_done, commit_wrong};
	struct state four = commit_begin(4, 1), three = commit_begin(3, 2);
	must_be_right(&once, &four);
	must_be_right(&again, &three);
	/* The group is written before it is closed. Nobody is woken. A group is used again while callers look at it. */
	for (planted = 1; planted <= 3; planted++) must_be_wrong(&again, &three);
}

/* ---- hand-over of a watcher id (store/owner.c) ---- */

/* Two processes with two threads each. The locks of one process do not exclude each other, so a table does. */
struct hand_over {
	uint8_t locks[2]; /* of each process's description on the id's byte */
	uint8_t mutex[2]; /* by this actor, from 1 on */
	uint8_t here[2];
	uint8_t running;
	uint8_t at[ACTORS];
};
_Static_assert(sizeof(struct hand_over) <= BYTES, "a state");

enum { TAKE, CHECK_TABLE, CHECK_LOCK, NOTE, TAKEN, RUN, RELEASE, UNLOCK_ID, RELEASED, WAIT_LOCK, WAIT_HERE };

static bool owner_step(struct state *state, int actor)
{
	struct hand_over h;
	memcpy(&h, state, sizeof h);
	int p = actor / 2;
	uint8_t *at = &h.at[actor];
	switch (*at) {
	case TAKE:
	case RELEASE:
		if (h.mutex[p]) return false;
		h.mutex[p] = (uint8_t)(actor + 1);
		*at = *at == TAKE ? CHECK_TABLE : UNLOCK_ID;
		break;
	case CHECK_TABLE:
		*at = h.here[p] && planted != 1 ? WAIT_HERE : CHECK_LOCK;
		if (*at == WAIT_HERE) h.mutex[p] = 0;
		break;
	case CHECK_LOCK:
		*at = h.locks[1 - p] && planted != 2 ? WAIT_LOCK : NOTE;
		if (*at == WAIT_LOCK) h.mutex[p] = 0;
		else h.locks[p] = 1;
		break;
	case NOTE:
		h.here[p]++;
		h.mutex[p] = 0;
		*at = TAKEN;
		break;
	case TAKEN:
		h.running++;
		*at = RUN;
		break;
	case RUN:
		h.running--;
		*at = RELEASE;
		break;
	case UNLOCK_ID:
		h.here[p]--;
		h.locks[p] = 0;
		h.mutex[p] = 0;
		*at = RELEASED;
		break;
	case WAIT_LOCK: /* a description of its own waits until the byte is free */
		if (h.locks[1 - p]) return false;
		*at = TAKE;
		break;
	default:
		if (h.here[p]) return false;
		*at = TAKE;
	}
	memcpy(state, &h, sizeof h);
	return true;
}

static bool owner_done(const struct state *state, int actor)
{
	struct hand_over h;
	memcpy(&h, state, sizeof h);
	return h.at[actor] == RELEASED;
}

static const char *owner_wrong(const struct state *state)
{
	struct hand_over h;
	memcpy(&h, state, sizeof h);
	return h.running > 1 ? "an id has two owners" : NULL;
}

static void W19_an_id_is_handed_over_to_one_owner(void **state)
{
	(void)state;
	static const struct model model = {"hand-over", ACTORS, owner_step, owner_done, owner_wrong};
	struct state begin = {{0}};
	must_be_right(&model, &begin);
	/* The table is not looked at. The lock is not. */
	for (planted = 1; planted <= 2; planted++) must_be_wrong(&model, &begin);
}

/* ---- turns (store/turns.c) ---- */

/* The first three actors write, so many times each. The last one stops or kills the third while it waits, or kills it
 * while it has the mutex. Time passes only then: without it nobody may depend on a timeout. */
enum { WRITERS = 3, STOPPER = 3 };
enum trouble { NO_TROUBLE, STOPS_A_WAITER, KILLS_A_WAITER, KILLS_A_HOLDER };

struct turns {
	uint8_t drawn, admitted, holder; /* the holder from 1 on */
	bool busy, holder_is_dead, gone; /* gone: the trouble came */
	uint8_t trouble, last, wrong;    /* the last ticket that had the mutex, from 1 on */
	struct {
		uint8_t at, ticket, seen, left, drawn_seen;
		bool woken;
	} actors[WRITERS];
};
_Static_assert(sizeof(struct turns) <= BYTES, "a state");

enum {
	FAST_DRAWN,
	FAST_ADMITTED,
	DRAW,
	LOOK_TICKET,
	SLEEP_TICKET,
	TRY_MUTEX,
	SLEEP_MUTEX,
	ADMIT_READ,
	ADMIT,
	ADMIT_WAKE,
	HOLDING,
	UNLOCK_MUTEX,
	WROTE
};

static void wake_ticket(struct turns *t, uint8_t ticket)
{
	for (int i = 0; i < WRITERS; i++)
		if (t->actors[i].at == SLEEP_TICKET && t->actors[i].ticket == ticket) t->actors[i].woken = true;
}

static void take_mutex(struct turns *t, int actor, bool by_ticket)
{
	t->holder = (uint8_t)(actor + 1);
	t->holder_is_dead = false;
	t->busy = true;
	t->actors[actor].at = by_ticket ? ADMIT_READ : HOLDING;
	if (!by_ticket) return;
	if (t->trouble == NO_TROUBLE && t->actors[actor].ticket + 1 != t->last + 1) t->wrong = 1;
	t->last = (uint8_t)(t->actors[actor].ticket + 1);
}

/* The kernel wakes the first one. It may be stopped. */
static void unlock_mutex(struct turns *t)
{
	t->holder = 0;
	for (int i = WRITERS - 1; i >= 0; i--)
		if (t->actors[i].at == SLEEP_MUTEX && !t->actors[i].woken) {
			bool dead = i == WRITERS - 1 && t->gone && t->trouble != STOPS_A_WAITER;
			if (dead) continue;
			t->actors[i].woken = true;
			return;
		}
}

static bool writes(struct turns *t, int actor)
{
	uint8_t *at = &t->actors[actor].at, *ticket = &t->actors[actor].ticket, *seen = &t->actors[actor].seen;
	bool time_passes = t->gone;
	if (actor == WRITERS - 1 && t->gone) return false;
	switch (*at) {
	case FAST_DRAWN:
		*seen = t->drawn;
		*at = FAST_ADMITTED;
		break;
	case FAST_ADMITTED:
		if (t->admitted == *seen && t->holder == 0) take_mutex(t, actor, false);
		else *at = DRAW;
		break;
	case DRAW:
		*ticket = t->drawn++;
		*at = LOOK_TICKET;
		break;
	case LOOK_TICKET: /* and the kernel's comparison, if it is to sleep */
		*seen = t->admitted;
		t->actors[actor].woken = false;
		*at = t->admitted >= *ticket || planted == 5 ? TRY_MUTEX : SLEEP_TICKET;
		break;
	case SLEEP_TICKET:
		if (t->actors[actor].woken) {
			*at = LOOK_TICKET;
		} else if (time_passes && planted != 2 && t->admitted == *seen &&
		           (!t->busy || (t->holder_is_dead && planted != 6))) {
			t->admitted++;
			for (int i = 0; i < WRITERS; i++) wake_ticket(t, t->admitted);
			*at = LOOK_TICKET;
		} else if (time_passes && t->admitted != *seen) {
			*at = LOOK_TICKET;
		} else {
			return false;
		}
		break;
	case TRY_MUTEX: /* and the kernel's comparison */
		t->actors[actor].woken = false;
		if (t->holder == 0 || t->holder_is_dead) take_mutex(t, actor, true);
		else *at = SLEEP_MUTEX;
		break;
	case SLEEP_MUTEX:
		/* Time passes for it, or the mutex's holder dies. */
		if (!t->actors[actor].woken && !t->holder_is_dead && !(time_passes && planted != 3 && t->holder == 0))
			return false;
		*at = TRY_MUTEX;
		break;
	case ADMIT_READ: /* planted: who has drawn is looked at before the next ticket is admitted */
		t->actors[actor].drawn_seen = t->drawn;
		*at = ADMIT;
		break;
	case ADMIT:
		if (t->admitted < *ticket + 1) t->admitted = (uint8_t)(*ticket + 1);
		if (planted != 1) t->actors[actor].drawn_seen = t->drawn;
		*at = ADMIT_WAKE;
		break;
	case ADMIT_WAKE:
		if (t->actors[actor].drawn_seen > *ticket + 1 && planted != 4) wake_ticket(t, (uint8_t)(*ticket + 1));
		*at = HOLDING;
		break;
	case HOLDING:
		if (t->holder != actor + 1) t->wrong = 2;
		t->busy = false;
		*at = UNLOCK_MUTEX;
		break;
	default:
		unlock_mutex(t);
		*at = --t->actors[actor].left > 0 ? FAST_DRAWN : WROTE;
	}
	return true;
}

/* The third one waits, or has the mutex, as it should when it is stopped or killed. */
static bool makes_trouble(struct turns *t)
{
	uint8_t at = t->actors[WRITERS - 1].at;
	bool has_mutex = at >= ADMIT_READ && at <= HOLDING;
	bool waits = at == LOOK_TICKET || at == SLEEP_TICKET || at == TRY_MUTEX || at == SLEEP_MUTEX;
	if (t->trouble == KILLS_A_HOLDER ? !has_mutex : !waits) return false;
	t->gone = true;
	if (t->trouble == KILLS_A_HOLDER) t->holder_is_dead = true;
	/* Of one that is killed the kernel passes the wake-up on. */
	if (t->trouble == KILLS_A_WAITER && at == SLEEP_MUTEX && t->actors[WRITERS - 1].woken && t->holder == 0)
		unlock_mutex(t);
	return true;
}

static bool turns_step(struct state *state, int actor)
{
	struct turns t;
	memcpy(&t, state, sizeof t);
	bool goes_on = actor == STOPPER ? makes_trouble(&t) : writes(&t, actor);
	memcpy(state, &t, sizeof t);
	return goes_on;
}

/* There may be no more trouble to make. */
static bool turns_done(const struct state *state, int actor)
{
	struct turns t;
	memcpy(&t, state, sizeof t);
	bool third_ended = t.actors[WRITERS - 1].at == WROTE;
	if (actor == STOPPER) return t.trouble == NO_TROUBLE || t.gone || third_ended;
	return t.actors[actor].at == WROTE || (actor == WRITERS - 1 && t.gone);
}

static const char *turns_wrong(const struct state *state)
{
	static const char *const texts[] = {NULL, "a turn comes out of order", "two have the mutex"};
	struct turns t;
	memcpy(&t, state, sizeof t);
	return texts[t.wrong];
}

static struct state turns_begin(enum trouble trouble, uint8_t rounds)
{
	struct state begin = {{0}};
	struct turns t = {.trouble = (uint8_t)trouble};
	for (int i = 0; i < WRITERS; i++) t.actors[i].left = rounds;
	memcpy(&begin, &t, sizeof t);
	return begin;
}

static void D6h_turns_come_in_order_and_to_all(void **state)
{
	(void)state;
	static const struct model models[] = {
		{"turns", ACTORS, turns_step, turns_done, turns_wrong},
		{"turns beside a stopped waiter", ACTORS, turns_step, turns_done, turns_wrong},
		{"turns beside a killed waiter", ACTORS, turns_step, turns_done, turns_wrong},
		{"turns beside a killed holder", ACTORS, turns_step, turns_done, turns_wrong},
	};
	static const enum trouble found_by[] = {NO_TROUBLE, NO_TROUBLE, STOPS_A_WAITER, STOPS_A_WAITER,
	                                        NO_TROUBLE, NO_TROUBLE, KILLS_A_HOLDER};
	for (enum trouble trouble = NO_TROUBLE; trouble <= KILLS_A_HOLDER; trouble++) {
		struct state begin = turns_begin(trouble, 2);
		must_be_right(&models[trouble], &begin);
	}
	/* Who drew a ticket is looked at too early. A stopped waiter keeps its turn. A stopped waiter keeps the mutex's
	 * wake-up. The next one is not woken. Tickets are not looked at. A dead holder is waited for. */
	for (planted = 1; planted <= 6; planted++) {
		struct state begin = turns_begin(found_by[planted], 2);
		must_be_wrong(&models[found_by[planted]], &begin);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(S7_no_waiter_sleeps_past_an_event, setup),
		cmocka_unit_test_setup(D1_each_caller_of_a_group_commit_has_one_result, setup),
		cmocka_unit_test_setup(W19_an_id_is_handed_over_to_one_owner, setup),
		cmocka_unit_test_setup(D6h_turns_come_in_order_and_to_all, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
