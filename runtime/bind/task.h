/*
 * task.h - functions that a registry runs in coroutines beside its watchers.
 */
#ifndef VIGIA_BIND_TASK_H
#define VIGIA_BIND_TASK_H

#include "coroutine.h"

/* The userdata of a task that has not ended. [-0, +1, -] */
void vigia__lua_push_task(lua_State *L, struct lua_handler *task);
/* A task: the function at fn_idx, run in the rounds of the registry at registry_idx. 0, ENOMEM. [-0, +0, m] */
int vigia__lua_task_new(lua_State *L, int registry_idx, int fn_idx, struct vigia_error *err);
/* The same, with a function that is told the text of its error instead of the log (or nil); leaves the task's userdata.
 * [-0, +1, m] */
int vigia__lua_task_push(lua_State *L, int registry_idx, int fn_idx, int on_error_idx, struct vigia_error *err);
struct lua_handler *vigia__lua_check_task(lua_State *L, int arg); /* raises if it is none. [-0, +0, v] */

#endif
