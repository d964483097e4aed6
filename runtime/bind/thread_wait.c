/*
 * thread_wait.c - a wait of the thread for something of a store, ended by a stop or a signal.
 */
#include "thread_wait.h"

#include "../core/error.h"
#include "../drive/drive.h"
#include "../drive/worker.h"
#include "hook.h"
#include "interrupt.h"
#include "lua_state.h"
#include "store_handle.h"

static int wait_until_stop(struct vigia_store *store, struct vigia__worker *worker, vigia__thread_wait_fn wait,
                           void *ctx, struct vigia_error *err)
{
	struct vigia__cancel cancel = {.flag = vigia__worker_stopping(worker),
	                               .bell = &vigia__worker_registry(worker)->bell};
	int rc = wait(store, &cancel, ctx, err);
	return rc == VIGIA_NONE ? vigia__error(err, VIGIA_ESTOPPING, "the watcher is stopping") : rc;
}

/* [-0, +0, e] */
static int wait_with_hooks(lua_State *L, int at, const char *what, vigia__thread_wait_fn wait, void *ctx,
                           struct vigia_error *err)
{
	struct vigia__hooks hooks;
	vigia__hooks_begin(L, &hooks);
	struct vigia__interrupt_bell interruption = {0};
	struct vigia__cancel cancel = {.flag = &vigia__interrupted, .bell = &interruption.bell, .ctx = &hooks};
	if (hooks.watched) cancel.asks = vigia__hooks_changed;
	for (;;) {
		struct vigia_store *store = vigia__lua_check_store(L, at);
		if (store == NULL) return vigia__error(err, VIGIA_ECLOSED, "the store was closed"); /* by a hook */
		struct vigia__interrupt_hook hook = {.fn = vigia__interrupt_ring, .ctx = &interruption};
		interruption.wake = store->backend->wake;
		vigia__interrupt_add(&hook);
		int rc = wait(store, &cancel, ctx, err);
		vigia__interrupt_remove(&hook);
		if (rc != VIGIA_NONE) return rc;
		if (atomic_load(&vigia__interrupted)) return vigia__error(err, VIGIA_EINTERRUPTED, "%s was interrupted", what);
		vigia__hooks_run(L, &hooks);
	}
}

int vigia__lua_wait_in_thread(lua_State *L, int store, const char *what, vigia__thread_wait_fn wait, void *ctx,
                              struct vigia_error *err)
{
	struct vigia__worker *worker = vigia__lua_shared(L)->worker;
	return worker ? wait_until_stop(vigia__lua_check_store(L, store), worker, wait, ctx, err)
	              : wait_with_hooks(L, store, what, wait, ctx, err);
}
