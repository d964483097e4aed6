/*
 * serial.h - serializers that are Lua functions, and object types that are classes: what store.c and decode.c need of
 * them.
 *
 * Functions belong to the handle they were given to, which keeps, as 1, the table {marshal, unmarshal}. Classes
 * belong to the Lua state: user value 2 of what it shares is the table name -> class.
 */
#ifndef VIGIA_BIND_SERIAL_H
#define VIGIA_BIND_SERIAL_H

#include "../core/options.h"
#include "lua_state.h"

/* What a handle was told about its serializer. */
struct lua_serializer {
	bool functions; /* an application's: marshal and unmarshal */
	bool strict;    /* stores only registered object types */
};

/* Option `serializer` of vigia.open at idx: a name, or a table. [-0, +0, -] */
void vigia__lua_option_serializer(lua_State *L, int idx, struct vigia_store_options *options,
                                  struct lua_serializer *out, struct vigia__problems *problems);
/* The functions of the table at `option`, which was checked before, become the store's at store_idx. [-0, +0, m] */
void vigia__lua_keep_serializer(lua_State *L, int option, int store_idx);

/* Before an event is encoded: refuse an unregistered type, and let the application's function make a string of the
 * object at obj_idx, which that string replaces. 0 or ESERIAL. Runs Lua code. [-0, +0, m] */
int vigia__lua_marshal(lua_State *L, const struct lua_serializer *s, int store_idx, int op_idx, int type_idx,
                       int obj_idx, struct vigia_error *err);
/* The same for the list of `count` events at list_idx, which a list with strings for objects replaces. An entry that is
 * no event is left to be refused. *failed tells which. [-0, +0, m] */
int vigia__lua_marshal_list(lua_State *L, const struct lua_serializer *s, int store_idx, int list_idx,
                            lua_Integer count, lua_Integer *failed, struct vigia_error *err);
/* vigia__lua_encode_event for this store: with the application's functions the object is the string that they made.
 * [-0, +0, -] */
int vigia__lua_encode_for(lua_State *L, struct vigia_store *store, const struct lua_serializer *s, int op_idx,
                          int type_idx, int obj_idx, struct vigia__buf *buf, struct vigia_error *err);

/* Push the object of an event that the application's function wrote. The table on top is what is known of the event.
 * store_at: the store's place on the stack, 0: it is not a store of this Lua state. EDESERIAL: nothing is pushed. Runs
 * Lua code. [-0, +1, m] */
int vigia__lua_unmarshal(lua_State *L, int store_at, const struct vigia_event *event, struct vigia_error *err);
/* If the type of the event on top is registered, its object becomes an instance. [-0, +0, m] */
void vigia__lua_make_instance(lua_State *L, struct vigia_slice object_type);

int vigia__lua_register_type(lua_State *L);
int vigia__lua_is_type_registered(lua_State *L);

#endif
