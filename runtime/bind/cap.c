/*
 * cap.c - the allocator that counts, the timer that ticks, and the hook that ends what runs in a capped Lua state.
 */
#include "cap.h"

#include <assert.h>
#include <errno.h>
#include <lauxlib.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "edit.h"

/* Names that older C libraries lack. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
	TICK_NS_MAX = 25000000, /* so an event is stopped at most about two ticks late */
	TICK_NS_MIN = 1000000,
	RESERVE = 64 * 1024 /* bytes more once it has tripped: ending needs a little */
};

/* Volatile: what the signal handler reads and writes on the same thread. */
struct vigia__cap {
	lua_State *L; /* the main coroutine */
	struct vigia__cap_limits limits;
	lua_State *volatile current; /* the coroutine that runs */
	volatile sig_atomic_t trip;  /* enum vigia__cap_trip */
	struct vigia__cap *outer;    /* entered before this one on the same thread */
	int closing;

	/* memory */
	struct vigia__nursery *nursery; /* its owner's. NULL: none */
	int64_t used, used_max;
	bool refused; /* the last request for more was refused: Lua collects, and asks once more */
	const void *refused_block;
	size_t refused_size;

	/* time: a piece of work is known by its number. Its budget counts from the first tick that sees it */
	volatile uint64_t work;
	uint64_t seen, entered;
	int64_t since_ns;
	bool ticking;
	timer_t timer;
	pthread_t thread; /* the timer's */
};

static _Thread_local struct vigia__cap *volatile here;
static const char message_key; /* registry[&message_key]: the error that is raised. To make a string then might fail */

struct vigia__cap *vigia__cap_here(void)
{
	return here;
}

const struct vigia__cap_limits *vigia__cap_limits(const struct vigia__cap *cap)
{
	return &cap->limits;
}

bool vigia__cap_tripped(const struct vigia__cap *cap)
{
	return cap && cap->trip != VIGIA_CAP_HELD;
}

int *vigia__cap_closing(struct vigia__cap *cap)
{
	return &cap->closing;
}

/* ---- ending what runs ---- */

int vigia__cap_stop(lua_State *L)
{
	if (lua_isyieldable(L)) return lua_yield(L, 0);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &message_key);
	return lua_error(L);
}

/* Set when a cap has tripped, and then for every instruction and call: a pcall may catch what is raised, but not go
 * on. */
static void hook(lua_State *L, lua_Debug *ar)
{
	if (!vigia__cap_tripped(here)) {
		/* GCOVR_EXCL_START: the signal came as the cap was being left. */
		lua_sethook(L, NULL, 0, 0);
		return;
		/* GCOVR_EXCL_STOP */
	}
	if (lua_isyieldable(L)) {
		if (ar->event == LUA_HOOKCOUNT) lua_yield(L, 0); /* takes place when the hook returns */
		return; /* in a call a hook cannot yield. The next instruction comes soon */
	}
	lua_rawgetp(L, LUA_REGISTRYINDEX, &message_key);
	lua_error(L);
}

bool vigia__cap_hooked(lua_State *co)
{
	return lua_gethook(co) == hook;
}

static void arm_cap(struct vigia__cap *cap)
{
	lua_sethook(cap->current, hook, LUA_MASKCALL | LUA_MASKCOUNT, 1);
}

lua_State *vigia__cap_switch(struct vigia__cap *cap, lua_State *co)
{
	if (cap == NULL) return vigia__edit_switch(co); /* an expression at a prompt can be stopped, too */
	lua_State *before = cap->current;
	cap->current = co;
	atomic_signal_fence(memory_order_seq_cst);
	if (cap->trip != VIGIA_CAP_HELD && here == cap)
		arm_cap(cap); /* it was made before, so it did not inherit the hook */
	return before;
}

/* ---- memory ---- */

static void trip_memory(struct vigia__cap *cap)
{
	if (cap->trip == VIGIA_CAP_HELD) {
		cap->trip = VIGIA_CAP_MEMORY;
		cap->used_max += RESERVE;
	}
	if (here == cap) arm_cap(cap);
}

/* Lua reacts to a refusal with a full collection and asks for the same once more. A second refusal, or another request
 * instead of the second one, means that the refusal has become an error: that trips the cap, so that catching the error
 * is of no use. Returns whether the request is granted. */
static bool judge(struct vigia__cap *cap, int64_t used, const void *block, size_t size)
{
	bool again = cap->refused && cap->refused_block == block && cap->refused_size == size;
	bool fits = size < INT64_MAX / 2 && used <= cap->used_max;
	if (cap->refused && !(again && fits)) {
		trip_memory(cap);
		fits = size < INT64_MAX / 2 && used <= cap->used_max;
	}
	cap->refused = !fits && cap->trip == VIGIA_CAP_HELD;
	cap->refused_block = block;
	cap->refused_size = size;
	return fits;
}

static void *cap_allocate(void *ud, void *block, size_t old_size, size_t size)
{
	struct vigia__cap *cap = ud;
	if (block == NULL) old_size = 0; /* it is the kind of object */
	int64_t used = cap->used + (int64_t)(size - old_size);
	if (size > old_size && (used > cap->used_max || cap->refused) && !judge(cap, used, block, size)) return NULL;
	void *result = vigia__nursery_alloc(cap->nursery, block, old_size, size);
	if (result || size == 0) cap->used = used;
	return result;
}

/* ---- time ---- */

static int64_t thread_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Start the budget of a piece of work that was not seen yet. Is that of one that was used up? */
static void look_at_time(struct vigia__cap *cap)
{
	int64_t now = thread_ns();
	if (cap->seen != cap->work) {
		cap->seen = cap->work;
		cap->since_ns = now;
	} else if (now - cap->since_ns >= cap->limits.cpu_ns && cap->trip == VIGIA_CAP_HELD) cap->trip = VIGIA_CAP_CPU;
}

/* Runs on the thread that used the time, in the middle of anything. */
static void on_tick(int signo, siginfo_t *info, void *context)
{
	struct vigia__cap *cap = here;
	if (cap == NULL || cap->limits.cpu_ns == 0) return;
	int before = errno;
	look_at_time(cap);
	if (cap->trip != VIGIA_CAP_HELD) arm_cap(cap);
	errno = before;
}

static pthread_mutex_t signal_mutex = PTHREAD_MUTEX_INITIALIZER;
static int tick_signal; /* 0: none yet */

/* The highest realtime signal without a handler: other code usually takes the lowest. */
static int claim_signal(void)
{
	pthread_mutex_lock(&signal_mutex);
	for (int signo = SIGRTMAX; tick_signal == 0 && signo >= SIGRTMIN; signo--) {
		struct sigaction old, ours = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
		sigfillset(&ours.sa_mask);
		if (sigaction(signo, NULL, &old) != 0 || (old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL) continue;
		if (sigaction(signo, &ours, NULL) == 0) tick_signal = signo;
	}
	int claimed = tick_signal;
	pthread_mutex_unlock(&signal_mutex);
	return claimed;
}

static void stop_ticking(struct vigia__cap *cap)
{
	if (cap->ticking) timer_delete(cap->timer);
	cap->ticking = false;
}

static int no_timer(struct vigia_error *err)
{
	return vigia__error_caused(err, VIGIA_EUNSUPPORTED, strerror(errno), "cpu_limit: no timer is available");
}

/* A timer that follows the processor time of this thread. */
static int start_ticking(struct vigia__cap *cap, struct vigia_error *err)
{
	stop_ticking(cap);
	int signo = claim_signal();
	if (signo == 0) return vigia__error(err, VIGIA_EUNSUPPORTED, "cpu_limit: every realtime signal is in use");
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, signo);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signo};
	event.sigev_notify_thread_id = gettid();
	if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &cap->timer) != 0) return no_timer(err);
	cap->ticking = true;
	cap->thread = pthread_self();
	int64_t tick = cap->limits.cpu_ns / 4;
	if (tick > TICK_NS_MAX) tick = TICK_NS_MAX;
	if (tick < TICK_NS_MIN) tick = TICK_NS_MIN;
	struct itimerspec every = {.it_interval = {0, tick}, .it_value = {0, tick}};
	if (timer_settime(cap->timer, 0, &every, NULL) != 0) return no_timer(err);
	return VIGIA_OK;
}

void vigia__cap_begin(struct vigia__cap *cap)
{
	cap->work = cap->work + 1;
}

int vigia__cap_enter(struct vigia__cap *cap, lua_State *L, struct vigia_error *err)
{
	assert(here != cap);
	if (cap->limits.cpu_ns > 0 && !(cap->ticking && pthread_equal(cap->thread, pthread_self()))) {
		int rc = start_ticking(cap, err);
		if (rc < 0) return rc;
	}
	/* Work that waits often is between two waits so briefly that ticks hardly ever see it: it is looked at each time it
	 * goes on. */
	if (cap->limits.cpu_ns > 0 && cap->entered == cap->work) look_at_time(cap);
	cap->entered = cap->work;
	cap->current = L;
	cap->outer = here;
	atomic_signal_fence(memory_order_seq_cst);
	here = cap;
	if (cap->trip != VIGIA_CAP_HELD) arm_cap(cap);
	return VIGIA_OK;
}

enum vigia__cap_trip vigia__cap_leave(struct vigia__cap *cap)
{
	here = cap->outer;
	if (cap->refused) trip_memory(cap); /* an error that was caught, and nothing was asked for since */
	return (enum vigia__cap_trip)cap->trip;
}

int vigia__cap_error(const struct vigia__cap *cap, const char *what, struct vigia_error *err)
{
	if (cap->trip == VIGIA_CAP_MEMORY)
		return vigia__error(err, VIGIA_EHANDLER, "%s needs more than %lld bytes of memory (memory_limit)", what,
		                    (long long)cap->limits.memory_bytes);
	return vigia__error(err, VIGIA_EHANDLER, "%s took more than %g seconds of processor time (cpu_limit)", what,
	                    (double)cap->limits.cpu_ns / 1e9);
}

/* ---- life ---- */

static int keep_message(lua_State *L)
{
	lua_pushliteral(L, "over a limit of this script");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &message_key);
	return 0;
}

int vigia__cap_open(const struct vigia__cap_limits *limits, struct vigia__nursery *nursery, struct vigia__cap **out,
                    lua_State **L, struct vigia_error *err)
{
	struct vigia__cap *cap = vigia__calloc(sizeof *cap);
	if (cap == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for a script's Lua state");
	cap->limits = *limits;
	cap->nursery = nursery;
	cap->used_max = limits->memory_bytes > 0 ? limits->memory_bytes : INT64_MAX / 2;
	cap->L = lua_newstate(cap_allocate, cap);
	bool good = cap->L != NULL;
	if (good) {
		cap->current = cap->L;
		lua_pushcfunction(cap->L, keep_message); /* room for one is on every new stack */
		good = lua_pcall(cap->L, 0, 0, 0) == LUA_OK;
	}
	if (!good) {
		/* GCOVR_EXCL_START: the first allocations of a state fail. */
		vigia__cap_close(cap);
		return vigia__error(err, VIGIA_ENOMEM, "no memory for a script's Lua state");
		/* GCOVR_EXCL_STOP */
	}
	*out = cap;
	*L = cap->L;
	return VIGIA_OK;
}

void vigia__cap_close(struct vigia__cap *cap)
{
	if (cap == NULL) return;
	stop_ticking(cap);
	if (cap->L) lua_close(cap->L);
	vigia__free(cap);
}
