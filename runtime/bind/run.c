/*
 * run.c - runs, steps or stops a registry, while hooks that a signal handler sets run in between.
 */
#include "run.h"

#include "../drive/clock.h"
#include "../drive/drive.h"
#include "../store/clock.h"
#include "../core/options.h"
#include "hook.h"
#include "options.h"
#include "registry_handle.h"

static int drive_once(struct vigia_registry *registry, enum vigia__lua_drive what, struct vigia_watcher *only,
                      int64_t timeout_ns, struct vigia_error *err)
{
	switch (what) {
	case VIGIA_LUA_RUN:
		return vigia_registry_run(registry, err);
	case VIGIA_LUA_STEP:
		return vigia_registry_step(registry, timeout_ns, err);
	case VIGIA_LUA_STOP:
		break;
	}
	return only ? vigia_watcher_stop(only, timeout_ns, err) : vigia_registry_stop(registry, timeout_ns, err);
}

int vigia__lua_drive(lua_State *L, struct lua_registry *r, enum vigia__lua_drive what, struct vigia_watcher *only,
                     int64_t timeout_ns, struct vigia_error *err)
{
	struct vigia__hooks hooks;
	int64_t until = vigia__time_after(NULL, timeout_ns);
	vigia__hooks_begin(L, &hooks);
	for (;;) {
		struct vigia_registry *registry = r->registry;
		if (registry == NULL) luaL_error(L, "the registry was closed by a hook");
		bool (*signalled)(void *ctx) =
			registry->signalled; /* of a call further down, which one of its handlers makes */
		void *signalled_ctx = registry->signalled_ctx;
		struct vigia__lua_entered before = vigia__lua_registry_enter(r, L);
		registry->signalled = hooks.watched ? vigia__hooks_changed : NULL;
		registry->signalled_ctx = &hooks;
		int rc = drive_once(registry, what, only, timeout_ns, err);
		registry->signalled = signalled;
		registry->signalled_ctx = signalled_ctx;
		vigia__lua_registry_leave(r, before);
		if (rc != VIGIA__SIGNALLED) return rc;
		vigia__hooks_run(L, &hooks);
		if (timeout_ns > 0) timeout_ns = until - vigia__mono_ns();
		if (timeout_ns < 0) timeout_ns = 1; /* 0 would only ask */
	}
}

int64_t vigia__lua_check_stop(lua_State *L, int arg)
{
	struct vigia__stop_options options;
	vigia__options_init(vigia__stop_option_table, &options);
	vigia__lua_check_options(L, arg, vigia__stop_option_table, &options, "stop options", NULL, NULL);
	return options.timeout_ns;
}
