/*
 * script.h - a handler that is a script: a Lua state of its own, on a thread of its own (drive/worker.h).
 */
#ifndef VIGIA_BIND_SCRIPT_H
#define VIGIA_BIND_SCRIPT_H

#include "../core/buf.h"
#include "../drive/job.h"
#include "cap.h"

/* What a script's thread is told by the caller of registry:watch. */
struct vigia__script_order {
	struct vigia__buf bytes; /* an event whose object is {source =, set =, options =, isolation =} */
	struct vigia__buf paths; /* package.path and package.cpath, each with its NUL. The caller's */
	struct vigia__cap_limits limits;
	bool reload, isolated;
	lua_CFunction open_module; /* opens vigia.core in the script's state */
	struct vigia_registry *registry;
	struct vigia__script_pace *pace; /* the registry's. Used on its owner's thread only */
};

/* The job of a worker that runs the script. It owns order->bytes from then on, and is freed by out->free. VIGIA_OK,
 * ENOMEM. The registry's thread. */
int vigia__script_job(struct vigia__script_order *order, struct vigia__job *out);

#endif
