/*
 * edit.h - reads lines from a user, with editing, history and completion by libedit. Ctrl-C stops a running expression.
 *
 * For the REPL only (lua/vigia/repl.lua). Not part of the public module.
 */
#ifndef VIGIA_BIND_EDIT_H
#define VIGIA_BIND_EDIT_H

#include "lua_state.h"

/* Call it before C resumes a coroutine and after it returns, on any thread, with the one that runs now. Returns the one
 * that ran before. Without a running expression of a REPL on this thread it does nothing and returns NULL. */
lua_State *vigia__edit_switch(lua_State *co);
/* Is the coroutine's hook the one that ends an expression? */
bool vigia__edit_hooked(lua_State *co);

/* core.edit_start(history_path | nil, complete) -> whether lines can be edited. complete(line, from, to) -> list of
 * words. */
int vigia__lua_edit_start(lua_State *L);
/* core.edit_line(prompt) -> line | nil, "end" | "interrupted" | "terminated" */
int vigia__lua_edit_line(lua_State *L);
/* core.edit_call(f, ...) -> true, results... | false, error text with a traceback. Ctrl-C ends f. */
int vigia__lua_edit_call(lua_State *L);
/* core.edit_coroutines() -> functions for the library "coroutine", by name, that call vigia__edit_switch()
 * (cap_libs.c). */
int vigia__lua_edit_coroutines(lua_State *L);
/* core.edit_stop(): restore the signals. */
int vigia__lua_edit_stop(lua_State *L);

#endif
