/*
 * explain.h - store:explain: what a filter looks at, and what of it is not pushed down.
 */
#ifndef VIGIA_BIND_EXPLAIN_H
#define VIGIA_BIND_EXPLAIN_H

#include <lua.h>

/* store:explain(filter, from) -> {events =, events_looked_at =, ...} | nil, err */
int vigia__lua_store_explain(lua_State *L);

#endif
