/*
 * letters.h - the dead letters of a store: methods of the class vigia.Store, and ctx.dead_letter.
 */
#ifndef VIGIA_BIND_LETTERS_H
#define VIGIA_BIND_LETTERS_H

#include <lua.h>

#include "vigia.h"

int vigia__lua_dead_letters(lua_State *L);
int vigia__lua_retry_dead_letter(lua_State *L);
int vigia__lua_drop_dead_letter(lua_State *L);
/* What a letter says beside its event: a table. Copies it. [-0, +1, m] */
void vigia__lua_push_letter(lua_State *L, const struct vigia_dead_letter *letter);

#endif
