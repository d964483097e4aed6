/*
 * encode.h - Lua values into an event's bytes.
 */
#ifndef VIGIA_BIND_ENCODE_H
#define VIGIA_BIND_ENCODE_H

#include "lua_state.h"

/* Encode an event from the stack to the end of buf: operation and object type are strings there, the object is any
 * value. EINVAL and ESERIAL say where ("object.jobs[3].callback: function ..."), ETOOBIG, ENOMEM. Then buf is as
 * before. Runs no Lua code and no collection. [-0, +0, -] */
int vigia__lua_encode_event(lua_State *L, int op_idx, int type_idx, int obj_idx, struct vigia__buf *buf,
                            int64_t size_max, struct vigia_error *err);
/* The same for a value alone: "value.jobs[3].callback: function ...". [-0, +0, -] */
int vigia__lua_encode_value(lua_State *L, int idx, struct vigia__buf *buf, int64_t size_max, struct vigia_error *err);

#endif
