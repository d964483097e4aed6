/*
 * store_clock.c - a store in memory that goes by a clock moved by hand. See store_clock.h.
 */
#include "store_clock.h"

#include <stddef.h>

#include "../store/store_timers.h"

static int64_t wall(void *ctx)
{
	return vigia__manual_clock_wall(ctx);
}

/* What cannot be appended now stays, for the next time. */
static void advanced(struct vigia__clock_user *user)
{
	vigia__store_run_timers(((struct vigia__store_clock *)user)->store, NULL);
}

int vigia__store_clock_join(struct vigia__store_clock *joined, struct vigia__manual_clock *clock,
                            struct vigia_store *store, struct vigia_error *err)
{
	int rc = vigia__store_use_wall(store, wall, clock, err);
	if (rc < 0) return rc;
	vigia__store_ref(store);
	*joined = (struct vigia__store_clock){.user.advanced = advanced, .clock = clock, .store = store};
	vigia__manual_clock_join(clock, &joined->user);
	return rc;
}

void vigia__store_clock_leave(struct vigia__store_clock *joined)
{
	if (joined->store == NULL) return;
	vigia__manual_clock_leave(joined->clock, &joined->user);
	vigia__store_unref(joined->store);
	joined->store = NULL;
}
