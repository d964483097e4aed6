/*
 * metrics_watchers.h - what /metrics says of each watcher.
 */
#ifndef VIGIA_SERVE_METRICS_WATCHERS_H
#define VIGIA_SERVE_METRICS_WATCHERS_H

#include "../core/buf.h"
#include "vigia.h"

/* The lines that begin a metric. 0, or -1 without memory. */
int vigia__metric_head(struct vigia__buf *out, const char *name, const char *type, const char *help);
int vigia__metrics_put_watchers(struct vigia_store *store, struct vigia__buf *out, struct vigia_error *err);

#endif
