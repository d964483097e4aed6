/*
 * routes.c - which function serves which address.
 */
#include "routes.h"

#include <string.h>

#include "serve_private.h"

static const struct vigia__route routes[] = {
	{"GET", "/", true, false, "", vigia__get_page},
	{"GET", "/events", true, false, "from types operations limit wait", vigia__get_events},
	{"GET", "/events/stream", true, false, "from types operations", vigia__get_stream},
	{"POST", "/events", true, true, "", vigia__post_events},
	{"GET", "/metrics", true, false, "", vigia__get_metrics},
	{"GET", "/watchers", true, false, "", vigia__get_watchers},
	{"GET", "/state", false, false, "prefix from limit", vigia__get_state},
	{"GET", "/dead", true, false, "watcher from limit", vigia__get_dead},
	{"POST", "/dead/retry", true, true, "", vigia__post_dead_retry},
	{"POST", "/dead/drop", true, true, "", vigia__post_dead_drop},
};

static bool is_at(const struct vigia__route *route, struct vigia_slice path)
{
	size_t len = strlen(route->path);
	if (path.len < len || memcmp(path.data, route->path, len) != 0) return false;
	return path.len == len || (!route->whole && path.data[len] == '/');
}

const struct vigia__route *vigia__route_find(struct vigia_slice path, const char *method, const char **allowed)
{
	*allowed = NULL;
	for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
		if (!is_at(&routes[i], path)) continue;
		if (strcmp(routes[i].method, method) == 0) return &routes[i];
		bool both = *allowed != NULL;
		*allowed = both ? "GET, POST" : routes[i].method;
	}
	return NULL;
}
