/*
 * watchers.c - GET /watchers: a line of JSON for each watcher, as `vigia watchers --json` prints it.
 */
#include <inttypes.h>

#include "../core/error.h"
#include "../core/json.h"
#include "serve_private.h"
#include "text.h"

static int put_number(struct vigia__buf *out, const char *name, uint64_t value)
{
	return vigia__text_add(out, ",\"%s\":%" PRIu64, name, value);
}

static int put_seconds(struct vigia__buf *out, const char *name, double value)
{
	return vigia__text_add(out, ",\"%s\":%.3f", name, value);
}

static int put_text(struct vigia__buf *out, const char *name, const char *text)
{
	return vigia__text_add(out, ",\"%s\":", name) | vigia__text_json(out, text);
}

/* What it does, and where it is. */
static int put_place(struct vigia__buf *out, const struct vigia_watcher_status *s)
{
	static const char *const states[] = {"idle", "running", "stopping", "stopped"};
	int full = vigia__buf_add_text(out, "{\"watcher\":") | vigia__text_json(out, s->watcher_id) |
	           put_text(out, "state", s->died ? "died" : states[s->state]);
	if (s->pid > 0) full |= put_number(out, "pid", (uint64_t)s->pid);
	if (s->host[0]) full |= put_text(out, "host", s->host);
	full |= vigia__text_add(out, ",\"ephemeral\":%s", s->ephemeral ? "true" : "false");
	if (s->paused) full |= vigia__buf_add_text(out, ",\"paused\":true");
	if (s->request[0]) full |= put_text(out, "request", s->request);
	if (s->has_checkpoint || s->has_hold)
		full |= put_number(out, s->has_checkpoint ? "checkpoint" : "hold", s->checkpoint);
	full |= put_number(out, "position", s->position) | put_number(out, "lag", s->lag);
	return full | put_seconds(out, "lag_seconds", (double)s->lag_ns / 1e9);
}

static int put_trouble(struct vigia__buf *out, const struct vigia_watcher_status *s)
{
	int full = 0;
	if (s->blocked_seq_num > 0) {
		full |= put_number(out, "blocked_on", s->blocked_seq_num) | put_number(out, "attempts", s->attempts);
		if (s->next_attempt_at_ns != 0) full |= put_number(out, "next_attempt", (uint64_t)s->next_attempt_at_ns);
	}
	if (s->last_error[0]) {
		full |= put_text(out, "last_error", s->last_error);
		if (s->failed_at_ns != 0) full |= put_number(out, "last_error_time", (uint64_t)s->failed_at_ns);
	}
	return full;
}

static int put_told(struct vigia__buf *out, const struct vigia_watcher_status *s)
{
	int full = s->started_at_ns != 0 ? put_number(out, "started", (uint64_t)s->started_at_ns) : 0;
	return full | put_number(out, "processed", s->processed) | put_number(out, "failed", s->failed) |
	       put_number(out, "retried", s->retried) | put_number(out, "skipped", s->skipped) |
	       put_number(out, "dead_lettered", s->dead_lettered) | put_number(out, "missed", s->missed) |
	       put_number(out, "fetch_errors", s->fetch_errors);
}

static int put_watcher(void *ctx, const struct vigia_watcher_status *s)
{
	struct vigia__buf *out = ctx;
	int full = put_place(out, s);
	if (s->told) full |= put_seconds(out, "rate", s->rate);
	full |= put_trouble(out, s);
	if (s->told) full |= put_told(out, s);
	return full | vigia__buf_add_text(out, "}\n") ? VIGIA_ENOMEM : VIGIA_OK;
}

enum MHD_Result vigia__get_watchers(struct vigia__request *request)
{
	struct vigia_error err = {0};
	uint64_t unshown = 0;
	int rc = vigia_store_watchers(request->server->store, put_watcher, &request->out, &unshown, &err);
	if (rc == VIGIA_ENOMEM) vigia__no_memory(&err);
	if (rc < 0) return vigia__reply_error(request, 0, &err);
	if (unshown > 0) vigia__reply_header(request, "Vigia-Unshown", "%" PRIu64, unshown);
	return vigia__reply(request, MHD_HTTP_OK, VIGIA_NDJSON, &request->out);
}
