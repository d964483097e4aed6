/*
 * decode.h - an event's bytes into a Lua table.
 *
 * store_at is the stack index of the store, whose serializer may be needed. 0: there is none. A serializer's functions
 * run Lua code.
 */
#ifndef VIGIA_BIND_DECODE_H
#define VIGIA_BIND_DECODE_H

#include "lua_state.h"

/* Push event `index` of the batch as a table. EDAMAGED, EDESERIAL with the event's number: then nothing is pushed. The
 * batch must be owned by a userdata: this may raise for want of memory. [-0, +1, m] */
int vigia__lua_push_event(lua_State *L, int store_at, const struct vigia_batch *batch, size_t index,
                          struct vigia_error *err);
/* The same for an event whose checksum was checked already. Its bytes must outlive the call even if it raises.
 * [-0, +1, m] */
int vigia__lua_push_checked_event(lua_State *L, int store_at, const struct vigia_event *event, struct vigia_error *err);
/* The object of an event's bytes. EDESERIAL: nothing is pushed. As above. [-0, +1, m] */
int vigia__lua_push_object(lua_State *L, const uint8_t *bytes, size_t len, struct vigia_error *err);
/* A value of a bucket. vigia.null where it is nil. EDESERIAL: nothing is pushed. The bytes must outlive the call even
 * if it raises. [-0, +1, m] */
int vigia__lua_push_value(lua_State *L, struct vigia_slice value, struct vigia_error *err);

#endif
