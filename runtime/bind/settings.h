/*
 * settings.h - the methods of vigia.Store about the settings of the file.
 */
#ifndef VIGIA_BIND_SETTINGS_H
#define VIGIA_BIND_SETTINGS_H

#include "../core/settings.h"
#include "lua_state.h"

/* store:configure{...} */
int vigia__lua_store_configure(lua_State *L);
/* Add a field for each setting to the table on top. [-0, +0, m] */
void vigia__lua_set_settings(lua_State *L, const struct vigia__settings *settings);

#endif
