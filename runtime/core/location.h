/*
 * location.h - where a store is: a path, or a URI of a server. A URI may hold a password, which is shown to no one.
 * Pure.
 */
#ifndef VIGIA_CORE_LOCATION_H
#define VIGIA_CORE_LOCATION_H

#include <stdbool.h>

/* Does it begin with postgresql:// or postgres://? */
bool vigia__location_is_postgresql(const char *location);
/* Replace what may be a password by one *. `shown` has room for the location, which may be the same memory. A path
 * stays as it is. */
void vigia__location_show(const char *location, char *shown);

#endif
