/*
 * ask.h - calls of a store that a coroutine of a registry makes: with a store that waits for a server, the coroutine
 * yields meanwhile, and the call is made on another thread (drive/question.c).
 */
#ifndef VIGIA_BIND_ASK_H
#define VIGIA_BIND_ASK_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

struct vigia_store;
struct vigia_error;
struct vigia__question;
struct vigia_watcher;

/* A kind of call. `what` is a struct of `size` bytes with the arguments and the results. */
struct vigia__lua_call {
	size_t size;
	/* Any thread, and nothing of Lua: make the call. */
	int (*ask)(struct vigia_store *store, void *what, struct vigia_error *err);
	/* Push the results of a call that ended so, and return their number. The stack is as it was, or with one value more
	 * on top. */
	int (*answer)(lua_State *L, void *what, int rc, struct vigia_error *err);
	/* It will be made on another thread: copy what is Lua's. False: no memory. NULL: nothing is. */
	bool (*keep)(void *what);
	/* Free what keep and ask have allocated, on any thread. NULL: nothing. */
	void (*free)(void *what);
};

/* Would a call of this store, right here, wait for a server in a coroutine that can yield instead? [-0, +0, -] */
bool vigia__lua_asks(lua_State *L, const struct vigia_store *store);

/* Make a call of the store at store_at. `what` is the caller's, where `ask` allocates nothing. Use as `return ...`. */
int vigia__lua_ask(lua_State *L, int store_at, const struct vigia__lua_call *call, const void *what);
/* The same in two steps, where it does. A new `what` in a userdata, zeroed, on top of the stack. Raises in a finalizer
 * that lua_close() runs. [-0, +1, v] */
void *vigia__lua_ask_new(lua_State *L, const struct vigia__lua_call *call);
int vigia__lua_ask_made(lua_State *L, int store_at);
/* Of a store that something else keeps. */
int vigia__lua_ask_made_of(lua_State *L, struct vigia_store *store);
/* The call in the userdata on top uses this watcher, which waits for it when it goes. [-0, +0, v] */
void vigia__lua_ask_use(lua_State *L, const struct vigia_watcher *watcher);
/* The question in the userdata on top, for a call that uses what its caller may free. It is kept until an unref. */
struct vigia__question *vigia__lua_ask_question(lua_State *L);

#endif
