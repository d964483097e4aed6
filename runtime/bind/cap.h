/*
 * cap.h - caps on a Lua state of its own: bytes of memory, seconds of processor time, which libraries it sees.
 *
 * Exceeding a cap trips it and ends the Lua code that runs. No pcall catches that. The owner then closes the state and
 * makes another. A C function goes on until it returns to Lua.
 *
 * How the time cap works (cap.c): a timer on the thread's processor clock ticks now and then and looks whether still
 * the same piece of work runs. Only when the budget is used up does it set a hook, so until then a cap costs nothing.
 * The budget is also checked when work goes on after a wait: short pieces may always fall between two ticks. Ticks are
 * a realtime signal, directed at the thread. The handler stays in place for the rest of the process, and does nothing
 * on other threads.
 *
 * A cap belongs to one thread at a time: the one that called vigia__cap_enter(). vigia__cap_switch() may be called with
 * NULL, and does nothing.
 */
#ifndef VIGIA_BIND_CAP_H
#define VIGIA_BIND_CAP_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "nursery.h"
#include "vigia.h"

enum vigia__cap_library {
	VIGIA_CAP_BASE = 1 << 0,
	VIGIA_CAP_COROUTINE = 1 << 1,
	VIGIA_CAP_DEBUG = 1 << 2,
	VIGIA_CAP_IO = 1 << 3,
	VIGIA_CAP_MATH = 1 << 4,
	VIGIA_CAP_OS = 1 << 5,
	VIGIA_CAP_PACKAGE = 1 << 6,
	VIGIA_CAP_STRING = 1 << 7,
	VIGIA_CAP_TABLE = 1 << 8,
	VIGIA_CAP_UTF8 = 1 << 9,
	VIGIA_CAP_ALL = (1 << 10) - 1
};

/* What is capped. All zero: nothing is. */
struct vigia__cap_limits {
	int64_t memory_bytes; /* 0: no limit */
	int64_t cpu_ns;       /* of one event, init, stop or load. 0: no limit */
	bool choose;          /* only `libraries`, base and vigia are seen */
	unsigned libraries;   /* bits of enum vigia__cap_library */
};

enum { VIGIA_CAP_MEMORY_MIN = 256 * 1024 }; /* room for the libraries and the module */

enum vigia__cap_trip { VIGIA_CAP_HELD = 0, VIGIA_CAP_CPU, VIGIA_CAP_MEMORY };

struct vigia__cap;

static inline bool vigia__cap_wanted(const struct vigia__cap_limits *limits)
{
	return limits->memory_bytes > 0 || limits->cpu_ns > 0 || limits->choose;
}

/* The bit of a library's name. 0: there is none of this name. */
unsigned vigia__cap_library(const char *name);
/* The index-th name, NULL behind the last. */
const char *vigia__cap_library_name(int index);

/**
 * A new Lua state under these limits, without any library yet. Its memory is taken from the nursery first, which must
 * outlive it. NULL: from malloc alone.
 *
 * Returns:   VIGIA_OK, *out and *L. EINVAL (memory_bytes is too small for a state), ENOMEM, EUNSUPPORTED (no timer or
 *            free signal)
 * Ownership: the caller's, both ended by vigia__cap_close()
 */
int vigia__cap_open(const struct vigia__cap_limits *limits, struct vigia__nursery *nursery, struct vigia__cap **out,
                    lua_State **L, struct vigia_error *err);
/* Close the state and free the cap. On the thread that entered it last, and not inside. NULL is fine. */
void vigia__cap_close(struct vigia__cap *cap);

/* In a state with all libraries, package.path set and our own Lua modules loaded: take away what the script may not see
 * and replace what could reach around the caps. The last thing to do before the script's code is let in. [-0, +0, m] */
void vigia__cap_guard(lua_State *L, struct vigia__cap *cap);

/* A new piece of work (an event, say) with a budget of its own begins. It may be entered and left several times. */
void vigia__cap_begin(struct vigia__cap *cap);
/* From here to leave, on this thread, code runs in L under the cap. EUNSUPPORTED, ENOMEM: there is no timer. Do not run
 * it. */
int vigia__cap_enter(struct vigia__cap *cap, lua_State *L, struct vigia_error *err);
/* Returns whether a cap was tripped since the state was made. The work has failed then, whatever it returned. */
enum vigia__cap_trip vigia__cap_leave(struct vigia__cap *cap);
/* What tripped it, in a sentence: returns VIGIA_EHANDLER. */
int vigia__cap_error(const struct vigia__cap *cap, const char *what, struct vigia_error *err);

/* Tell the cap which coroutine runs. Call it before C resumes, closes or returns from one. Returns the one before. */
lua_State *vigia__cap_switch(struct vigia__cap *cap, lua_State *co);
/* Is the coroutine's hook a cap's? */
bool vigia__cap_hooked(lua_State *co);
/* The cap that this thread has entered, or NULL. */
struct vigia__cap *vigia__cap_here(void);
const struct vigia__cap_limits *vigia__cap_limits(const struct vigia__cap *cap);
bool vigia__cap_tripped(const struct vigia__cap *cap);
/* End the code that runs in L: yield if possible, which nothing in Lua can catch, else raise. Never returns. Use as
 * `return vigia__cap_stop(L)`. */
int vigia__cap_stop(lua_State *L);
/* How many coroutines are being closed inside one another. Lua 5.4.4 forgets the depth of the C stack there. */
int *vigia__cap_closing(struct vigia__cap *cap);

/* Make load, loadfile, dofile and require refuse bytecode. For states without a cap. vigia__cap_guard() does it, too.
 * [-0, +0, m] */
void vigia__cap_text_only(lua_State *L);

#endif
