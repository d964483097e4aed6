/*
 * task.h - functions that a registry runs in coroutines beside its watchers.
 */
#ifndef VIGIA_BIND_TASK_H
#define VIGIA_BIND_TASK_H

#include "coroutine.h"

/* Under vigia__lua_protected(): the coroutine `arg`, a struct lua_handler, is kept by its registry no more. */
int vigia__lua_task_forget(lua_State *L, void *arg);

/* A task: the function at fn_idx, run in the rounds of the registry at registry_idx. 0, ENOMEM. [-0, +0, m] */
int vigia__lua_task_new(lua_State *L, int registry_idx, int fn_idx, struct vigia_error *err);
/* Has the task, which was woken, nothing to go on with? Then *resume_mono_ns says until when it waits. `ends`: it is to
 * stop, and is told once in a wait. */
bool vigia__lua_task_waits(struct lua_handler *task, bool ends, int64_t *resume_mono_ns);

#endif
