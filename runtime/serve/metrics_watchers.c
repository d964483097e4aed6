/*
 * metrics_watchers.c - what /metrics says of each watcher: one group of lines for each metric, as the format wants it.
 */
#include "metrics_watchers.h"

#include <inttypes.h>
#include <string.h>

#include "../core/event.h"
#include "text.h"

enum { GROUPS = 14 };

static const struct group {
	const char *name, *type, *help;
} groups[GROUPS] = {
	{"vigia_watcher_running", "gauge", "1 while the watcher runs in a process, else 0."},
	{"vigia_watcher_paused", "gauge", "1 while the watcher is paused, else 0."},
	{"vigia_watcher_checkpoint", "gauge", "Checkpoint: number of the last event saved as handled."},
	{"vigia_watcher_position", "gauge", "Number of the last event that the watcher has finished."},
	{"vigia_watcher_lag_events", "gauge", "Events stored after the position, before the filter."},
	{"vigia_watcher_lag_seconds", "gauge", "Age of the first event after the position."},
	{"vigia_watcher_blocked_event_number", "gauge", "Number of the event that is being retried, 0 without one."},
	{"vigia_watcher_handled_total", "counter", "Events handled since the watcher was started."},
	{"vigia_watcher_failed_total", "counter", "Attempts that failed."},
	{"vigia_watcher_retried_total", "counter", "Attempts after the first one."},
	{"vigia_watcher_skipped_total", "counter", "Events given up after their last retry."},
	{"vigia_watcher_dead_lettered_total", "counter", "Events put aside as dead letters."},
	{"vigia_watcher_missed_total", "counter", "Events removed before the watcher read them."},
	{"vigia_watcher_fetch_errors_total", "counter", "Reads of the store that failed."},
};

enum { CHECKPOINT = 2, LAG_SECONDS = 5, FIRST_COUNT = 7 }; /* places in the list above */

/* The lines of each group, and the watcher whose lines come next. */
struct lines {
	struct vigia__buf of[GROUPS];
	bool any;
	char id[VIGIA_NAME_MAX + 1];
	struct vigia_watcher_status status;
};

int vigia__metric_head(struct vigia__buf *out, const char *name, const char *type, const char *help)
{
	return vigia__text_add(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A value that a label may have: other bytes than UTF-8 are written as \xNN. */
static int put_label(struct vigia__buf *out, const char *text)
{
	size_t len = strlen(text);
	bool valid = vigia__utf8_valid(text, len);
	int full = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '\\') full |= vigia__buf_add(out, "\\\\", 2);
		else if (c == '"') full |= vigia__buf_add(out, "\\\"", 2);
		else if (c == '\n') full |= vigia__buf_add(out, "\\n", 2);
		else if (c >= 0x80 && !valid) full |= vigia__text_add(out, "\\\\x%02x", c);
		else full |= vigia__buf_add(out, text + i, 1);
	}
	return full;
}

/* Write the lines of the watcher that was gathered. */
static int put_lines(struct lines *lines)
{
	const struct vigia_watcher_status *s = &lines->status;
	const uint64_t values[GROUPS] = {s->state == VIGIA_RUNNING || s->state == VIGIA_STOPPING,
	                                 s->paused,
	                                 s->checkpoint,
	                                 s->position,
	                                 s->lag,
	                                 0,
	                                 s->blocked_seq_num,
	                                 s->processed,
	                                 s->failed,
	                                 s->retried,
	                                 s->skipped,
	                                 s->dead_lettered,
	                                 s->missed,
	                                 s->fetch_errors};
	bool has_counts = s->told || s->started_at_ns != 0;
	bool has_checkpoint = s->has_checkpoint || s->has_hold;
	int full = 0;
	for (unsigned i = 0; i < GROUPS && lines->any; i++) {
		struct vigia__buf *out = &lines->of[i];
		if ((i >= FIRST_COUNT && !has_counts) || (i == CHECKPOINT && !has_checkpoint)) continue;
		full |= vigia__text_add(out, "%s{watcher=\"", groups[i].name) | put_label(out, lines->id);
		if (i == LAG_SECONDS) full |= vigia__text_add(out, "\"} %.3f\n", (double)s->lag_ns / 1e9);
		else full |= vigia__text_add(out, "\"} %" PRIu64 "\n", values[i]);
	}
	return full ? VIGIA_ENOMEM : VIGIA_OK;
}

/* An ephemeral watcher may run several times under one id, beside a checkpoint of earlier times, which comes first. A
 * label may stand in a group once: add those that run up, and show the one that is furthest behind. */
static void add_same(struct vigia_watcher_status *to, const struct vigia_watcher_status *s)
{
	if (to->state == VIGIA_STOPPED || s->position < to->position) {
		to->position = s->position;
		to->lag = s->lag;
		to->lag_ns = s->lag_ns;
	}
	to->state = s->state;
	if (to->blocked_seq_num == 0) to->blocked_seq_num = s->blocked_seq_num;
	to->told |= s->told;
	to->processed += s->processed;
	to->failed += s->failed;
	to->retried += s->retried;
	to->skipped += s->skipped;
	to->dead_lettered += s->dead_lettered;
	to->missed += s->missed;
	to->fetch_errors += s->fetch_errors;
}

/* They come in the order of their ids. */
static int take(void *ctx, const struct vigia_watcher_status *s)
{
	struct lines *lines = ctx;
	if (lines->any && strcmp(lines->id, s->watcher_id) == 0) {
		add_same(&lines->status, s);
		return VIGIA_OK;
	}
	int rc = put_lines(lines);
	lines->any = true;
	lines->status = *s;
	strncpy(lines->id, s->watcher_id, sizeof lines->id - 1);
	return rc;
}

static int join(struct lines *lines, uint64_t unshown, struct vigia__buf *out)
{
	int full = 0;
	for (unsigned i = 0; i < GROUPS; i++)
		full |= vigia__metric_head(out, groups[i].name, groups[i].type, groups[i].help) |
		        vigia__buf_add(out, lines->of[i].data, lines->of[i].len);
	full |=
		vigia__metric_head(out, "vigia_watchers_unshown", "gauge", "Watchers that run and whose state is unknown.") |
		vigia__text_add(out, "vigia_watchers_unshown %" PRIu64 "\n", unshown);
	return full ? VIGIA_ENOMEM : VIGIA_OK;
}

int vigia__metrics_put_watchers(struct vigia_store *store, struct vigia__buf *out, struct vigia_error *err)
{
	struct lines lines = {0};
	uint64_t unshown = 0;
	int rc = vigia_store_watchers(store, take, &lines, &unshown, err);
	if (rc == VIGIA_OK) rc = put_lines(&lines);
	if (rc == VIGIA_OK) rc = join(&lines, unshown, out);
	for (unsigned i = 0; i < GROUPS; i++) vigia__buf_deinit(&lines.of[i]);
	return rc;
}
