/*
 * watchdog.h - whether the workers of a registry go on, for a manager of services that asks.
 */
#ifndef VIGIA_DRIVE_WATCHDOG_H
#define VIGIA_DRIVE_WATCHDOG_H

#include "drive.h"

/* Do the loops of all its workers go on (pulse.h)? On the registry's thread, whose own loop goes on as that calls
 * this. */
bool vigia__registry_goes_on(struct vigia_registry *registry, int64_t limit_ns);

#endif
