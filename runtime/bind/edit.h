/*
 * edit.h - reading lines from a person: line editing, history and completion by libedit; and Ctrl-C, which stops a
 * running expression.
 *
 * All of it is for the REPL (lua/vigia/repl.lua), and none of it is part of the module's public names.
 */
#ifndef VIGIA_BIND_EDIT_H
#define VIGIA_BIND_EDIT_H

#include "lua_state.h"

/* Before C resumes a coroutine or comes back from it, on any thread: which one runs now. Returns which one ran before;
 * NULL if no expression of a REPL runs on this thread, and then it does nothing. */
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
/* core.edit_coroutines() -> functions for the library "coroutine", by name, that tell vigia__edit_switch() which one
 * runs (cap_libs.c). */
int vigia__lua_edit_coroutines(lua_State *L);
/* core.edit_stop(): the signals are as they were before. */
int vigia__lua_edit_stop(lua_State *L);

#endif
