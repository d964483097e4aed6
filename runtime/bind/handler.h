/*
 * handler.h - a Lua function as a vigia_handler, in a coroutine of its own.
 */
#ifndef VIGIA_BIND_HANDLER_H
#define VIGIA_BIND_HANDLER_H

#include "coroutine.h"

/* A userdata that holds the functions at fn_idx and on_error_idx (or nil) and the registry at registry_idx.
 * [-0, +1, m] */
struct lua_handler *vigia__lua_handler_new(lua_State *L, int registry_idx, int fn_idx, int on_error_idx);
/* What C calls. */
void vigia__lua_handler_c(struct lua_handler *handler, struct vigia_handler *out);
/* A registry's wait_ended (drive.h). */
bool vigia__lua_wait_ended(const struct vigia_handler *handler, void *ctx);
/* Report that an attempt failed for a reason outside of the handler, to on_error and the stats. Returns
 * err->code. */
int vigia__lua_handler_failed(struct lua_handler *handler, struct vigia_error *err);
/* The watcher's userdata at watcher_idx, for ctx.watcher. [-0, +0, m] */
void vigia__lua_handler_set_watcher(lua_State *L, int handler_idx, int watcher_idx);
/* The predicate at where_idx (or nil) decides which events the handler sees. [-0, +0, -] */
void vigia__lua_handler_set_where(lua_State *L, int handler_idx, int where_idx);
/* The function at key_idx (or nil) tells the lane of an event. [-0, +0, -] */
void vigia__lua_handler_set_key(lua_State *L, int handler_idx, int key_idx);
/* The handler at next_idx is that of the next lane, and kept. [-0, +0, -] */
void vigia__lua_handler_set_next(lua_State *L, int handler_idx, int next_idx);
/* The last error the handler made, as on_error saw it, or nil. [-0, +1, m] */
void vigia__lua_handler_push_error(lua_State *L, struct lua_handler *handler);
/* Resume its coroutine. Returns VIGIA_PENDING and the time it waits for, VIGIA_OK, VIGIA_NONE, or a failure that
 * on_error was told. */
int vigia__lua_handler_continue(struct lua_handler *handler, int64_t *resume_mono_ns, struct vigia_error *err);

#endif
