/*
 * terminal.h - the terminal of the program, for commands that draw on it: core.terminal_open, core.terminal_close,
 * core.terminal_size, core.terminal_wait.
 */
#ifndef VIGIA_BIND_TERMINAL_H
#define VIGIA_BIND_TERMINAL_H

#include <lua.h>

/* Single keys come, unseen. Ctrl-C is a signal as before, Ctrl-Z does nothing. Returns whether standard input is a
 * terminal. */
int vigia__lua_terminal_open(lua_State *L);
/* As it was before. Safe twice. */
int vigia__lua_terminal_close(lua_State *L);
/* Columns and rows of standard output; nothing where it is no terminal. */
int vigia__lua_terminal_size(lua_State *L);
/* Wait so many seconds: "interrupted", "resized", a key once the terminal is open, or nil when the time is over. */
int vigia__lua_terminal_wait(lua_State *L);

#endif
