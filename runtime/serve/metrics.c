/*
 * metrics.c - GET /metrics, in Prometheus' text format.
 */
#include <inttypes.h>

#include "../core/error.h"
#include "metrics_watchers.h"
#include "serve_private.h"
#include "text.h"

static int put(struct vigia__buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
	return vigia__metric_head(out, name, type, help) | vigia__text_add(out, "%s %" PRIu64 "\n", name, value);
}

/* The time of the event that a read from there finds, in seconds. 0: there is none. */
static int event_time(struct vigia__server *server, struct vigia_iterator from, double *out, struct vigia_error *err)
{
	struct vigia_read request = {.size = sizeof request, .from = from, .limit = 1};
	struct vigia_iterator next;
	struct vigia_event event;
	int rc = vigia__store_read(server->store, &request, NULL, NULL, server->batch, &next, err);
	*out = 0;
	if (rc == VIGIA_OK && vigia_batch_count(server->batch) &&
	    vigia_batch_event(server->batch, 0, &event, NULL) == VIGIA_OK)
		*out = (double)event.at_ns / 1e9;
	return rc;
}

static int put_store(struct vigia__buf *out, const struct vigia__backend_stats *stats, double oldest, double latest)
{
	return put(out, "vigia_events_appended_total", "counter", "Events ever stored: the number of the last one.",
	           stats->latest) |
	       put(out, "vigia_events", "gauge", "Events that are in the store.", stats->events) |
	       put(out, "vigia_oldest_event_number", "gauge", "Number of the oldest event.", stats->oldest) |
	       put(out, "vigia_latest_event_number", "gauge", "Number of the last event.", stats->latest) |
	       vigia__metric_head(out, "vigia_oldest_event_timestamp_seconds", "gauge",
	                          "When the oldest event was stored.") |
	       vigia__text_add(out, "vigia_oldest_event_timestamp_seconds %.3f\n", oldest) |
	       vigia__metric_head(out, "vigia_latest_event_timestamp_seconds", "gauge", "When the last event was stored.") |
	       vigia__text_add(out, "vigia_latest_event_timestamp_seconds %.3f\n", latest) |
	       put(out, "vigia_file_bytes", "gauge", "Size of the file.", stats->file_bytes) |
	       put(out, "vigia_used_bytes", "gauge", "Bytes of the file in use.", stats->used_bytes) |
	       put(out, "vigia_map_bytes", "gauge", "Address space reserved for the file.", stats->map_bytes) |
	       put(out, "vigia_dead_letters", "gauge", "Dead letters: events that watchers have put aside.",
	           stats->dead_letters) |
	       put(out, "vigia_timers", "gauge", "Events that wait for their time.", stats->timers) |
	       put(out, "vigia_state_values", "gauge", "Values in all buckets.", stats->values) |
	       put(out, "vigia_readers", "gauge", "Readers that have the file open.", stats->readers);
}

static int put_histogram(struct vigia__buf *out, const char *name, const char *help, const _Atomic uint64_t *counts,
                         const double *bounds, double sum)
{
	uint64_t below = 0;
	int full = vigia__metric_head(out, name, "histogram", help);
	for (unsigned i = 0; i < VIGIA_METER_BOUNDS; i++) {
		below += atomic_load_explicit(&counts[i], memory_order_relaxed);
		full |= vigia__text_add(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds[i], below);
	}
	below += atomic_load_explicit(&counts[VIGIA_METER_BOUNDS], memory_order_relaxed);
	return full | vigia__text_add(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9g\n%s_count %" PRIu64 "\n", name,
	                              below, name, sum, name, below);
}

static int put_commits(struct vigia__buf *out, const struct vigia__meter *meter)
{
	double took[VIGIA_METER_BOUNDS], events[VIGIA_METER_BOUNDS];
	for (unsigned i = 0; i < VIGIA_METER_BOUNDS; i++) {
		took[i] = (double)vigia__meter_took_ns[i] / 1e9;
		events[i] = (double)vigia__meter_events[i];
	}
	double sum = (double)atomic_load_explicit(&meter->took_ns, memory_order_relaxed) / 1e9;
	return put_histogram(out, "vigia_commit_duration_seconds", "How long commits of this server took.", meter->took,
	                     took, sum) |
	       put_histogram(out, "vigia_commit_events", "Events in a commit of this server.", meter->events, events,
	                     (double)atomic_load_explicit(&meter->events_count, memory_order_relaxed));
}

enum MHD_Result vigia__get_metrics(struct vigia__request *request)
{
	struct vigia__server *server = request->server;
	struct vigia_error err = {0};
	struct vigia__backend_stats stats = {0};
	double oldest = 0, latest = 0;
	struct vigia__buf *out = &request->out;
	int rc = vigia__store_stats(server->store, &stats, &err);
	if (rc == VIGIA_OK) rc = event_time(server, (struct vigia_iterator){VIGIA_TRIM_HORIZON, 0}, &oldest, &err);
	if (rc == VIGIA_OK && stats.latest)
		rc = event_time(server, (struct vigia_iterator){VIGIA_AT, stats.latest}, &latest, &err);
	if (rc == VIGIA_OK && put_store(out, &stats, oldest, latest) != 0) rc = VIGIA_ENOMEM;
	if (rc == VIGIA_OK) rc = vigia__metrics_put_watchers(server->store, out, &err);
	if (rc == VIGIA_OK &&
	    ((server->meter && put_commits(out, server->meter) != 0) |
	     put(out, "vigia_serve_connections", "gauge", "Connections to this server.", server->clients_count)))
		rc = VIGIA_ENOMEM;
	if (rc == VIGIA_ENOMEM) vigia__no_memory(&err);
	if (rc != VIGIA_OK) return vigia__reply_error(request, 0, &err);
	return vigia__reply(request, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", out);
}
