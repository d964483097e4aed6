/*
 * thread_wait.h - a wait of the thread for something of a store. A stop of the script, a signal or a hook of Lua's
 * ends it or runs meanwhile.
 */
#ifndef VIGIA_BIND_THREAD_WAIT_H
#define VIGIA_BIND_THREAD_WAIT_H

#include <lua.h>

#include "../include/vigia.h"

struct vigia__cancel;

/* Wait until what ctx stands for has come, or `cancel` says so: VIGIA_NONE. Must not raise. */
typedef int (*vigia__thread_wait_fn)(struct vigia_store *store, const struct vigia__cancel *cancel, void *ctx,
                                     struct vigia_error *err);

/* What `wait` returned for the store handle at `store`. On a script's thread a stop ends the wait: VIGIA_ESTOPPING. In
 * the program `vigia` a signal ends it: VIGIA_EINTERRUPTED, where *err names `what`. Elsewhere a hook that a signal
 * handler sets runs meanwhile, and may raise or close the store: VIGIA_ECLOSED. *ctx must outlast a Lua error.
 * [-0, +0, e] */
int vigia__lua_wait_in_thread(lua_State *L, int store, const char *what, vigia__thread_wait_fn wait, void *ctx,
                              struct vigia_error *err);

#endif
