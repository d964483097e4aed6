/*
 * hook.h - waits that a hook of a signal handler ends, and the hook that a handler's coroutine follows.
 *
 * A signal handler cannot call into Lua. It sets a hook that the interpreter runs at its next instruction. So does the
 * SIGINT handler of the program lua, whose hook raises "interrupted!". While we wait in C there is no next instruction:
 * each wait ends when a signal came, and looks whether there is a hook that was not there before. If so, C returns to
 * where raising is fine, and the hook runs there. Signal handlers set the hook on the state's main coroutine, so waits
 * check that coroutine's hook.
 *
 *     struct vigia__hooks hooks;
 *     vigia__hooks_begin(L, &hooks);               runs a hook that is there already; may raise
 *     while (wait ended because vigia__hooks_changed(&hooks))
 *         vigia__hooks_run(L, &hooks);             may raise: nothing of C's may be open
 */
#ifndef VIGIA_BIND_HOOK_H
#define VIGIA_BIND_HOOK_H

#include <lua.h>
#include <stdbool.h>

struct vigia__hook {
	lua_Hook fn; /* NULL: none */
	int mask, count;
};

struct vigia__hooks {
	lua_State *main;
	bool watched; /* signals are the application's. In our program and while a REPL runs they come by interrupt.h, and
	                 no wait need look */
	struct vigia__hook seen; /* as it was when we last looked */
};

/* [-0, +0, e] */
void vigia__hooks_begin(lua_State *L, struct vigia__hooks *hooks);
/* Is there another hook than before? `ctx` is a struct vigia__hooks. The thread of its state. */
bool vigia__hooks_changed(void *ctx);
/* Run the pending hook here. Then remember the present hook as seen. [-0, +0, e] */
void vigia__hooks_run(lua_State *L, struct vigia__hooks *hooks);

/* ---- the hook of a coroutine that handlers run in ---- */

/* The coroutine co was just made, and has inherited the hook of L, which made it. Keep a hook set from C (a
 * profiler's). Remove one set by debug.sethook, because it works only for its own coroutine. *own: the hook from now
 * on.
 * [-0, +0, m] */
void vigia__hook_inherit(lua_State *L, lua_State *co, struct vigia__hook *own);
/* Put that one back in place of a hook that an event left behind, or that other code set meanwhile. [-0, +0, -] */
void vigia__hook_restore(lua_State *L, lua_State *co, const struct vigia__hook *own);

#endif
