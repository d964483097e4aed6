/*
 * owner.c - core.wait_owner(store, id): block until the process that runs a watcher id is gone. For `vigia run --wait`.
 */
#include "owner.h"

#include "../core/error.h"
#include "../store/store.h"
#include "error.h"
#include "interrupt.h"
#include "lua_state.h"
#include "store_handle.h"

int vigia__lua_wait_owner(lua_State *L)
{
	vigia__lua_check_program(L, "wait_owner");
	struct vigia_store *store = vigia__lua_check_store(L, 1);
	const char *id = vigia__lua_check_cstring(L, 2, "watcher_id");
	struct vigia_error err = {0};
	if (store == NULL) return vigia__lua_fail_closed(L, 1);
	int rc = vigia__store_enter(store, &err);
	if (rc == VIGIA_OK) {
		if (store->backend->wait_owner) rc = store->backend->wait_owner(store->backend, id, vigia__interrupt_fd, &err);
		vigia__store_leave(store);
	}
	return vigia__lua_done(L, rc, &err);
}
