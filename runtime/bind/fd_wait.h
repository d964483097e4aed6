/*
 * fd_wait.h - waits for a descriptor, and ends cleanly on vigia__interrupted. For the program: it polls
 * vigia__interrupt_fd too.
 */
#ifndef VIGIA_BIND_FD_WAIT_H
#define VIGIA_BIND_FD_WAIT_H

#include <lua.h>

#include "vigia.h"

/* Set and return EDISKFULL or EIO, caused by an errno. */
int vigia__fd_error(struct vigia_error *err, int number, const char *what);
/* Wait until `fd` is ready for `events`. 1 ready, 0 not (after timeout_ms, -1 = no end), EINTERRUPTED, else an error
 * code. */
int vigia__fd_wait(int fd, short events, int timeout_ms, struct vigia_error *err);
/* core.has_input(fd) -> boolean | nil, err: waits until something can be read, or the input ends (false) */
int vigia__lua_has_input(lua_State *L);

#endif
