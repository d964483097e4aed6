/*
 * routes.h - which function serves which address.
 */
#ifndef VIGIA_SERVE_ROUTES_H
#define VIGIA_SERVE_ROUTES_H

#include "vigia.h"

struct vigia__route;

/* NULL: there is none. Then *allowed is the method that the address has, NULL: there is no such address. */
const struct vigia__route *vigia__route_find(struct vigia_slice path, const char *method, const char **allowed);

#endif
