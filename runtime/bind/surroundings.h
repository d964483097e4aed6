/*
 * surroundings.h - what is around a store, for `vigia doctor`: files, file system, processes, limits of the system.
 */
#ifndef VIGIA_BIND_SURROUNDINGS_H
#define VIGIA_BIND_SURROUNDINGS_H

#include <lua.h>

/* core.surroundings(path) -> a table of facts. What cannot be known is missing.
 *     uid, pid, network (the name of the network file system), fs, fleeting, mounted
 *     files: by suffix ("", "-lock", "-side"), folder: {path =, uid =, mode =, bytes =}
 *     disk: {bytes =, free =, files =, free_files =, readonly =}
 *     limits: {file_size =, address_space =}; max_maps
 *     users: list of {pid =, here =, alive =, maps =} */
int vigia__lua_surroundings(lua_State *L);
/* core.owner(path, watcher_id) -> {held =, pid =, here =, alive =} | nil */
int vigia__lua_owner(lua_State *L);

#endif
