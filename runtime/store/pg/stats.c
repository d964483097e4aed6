/*
 * stats.c - what is known of a log: its numbers, and damage beside the events.
 */
#include <stdio.h>

#include "../../core/error.h"
#include "../letters.h"
#include "../timer_records.h"
#include "pg_private.h"

/* ---- what is known of it ---- */

static int count_state(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__backend_stats *out = arg;
	int rc = vigia__state_counts(kv, &out->buckets, &out->values);
	return rc == VIGIA_OK ? vigia__letters_count(kv, &out->dead_letters) : rc;
}

static int count_timers(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	return vigia__timers_count(kv, &((struct vigia__backend_stats *)arg)->timers);
}

int vigia__pg_stats(struct vigia__backend *base, struct vigia__backend_stats *out, struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	PGresult *row;
	*out = (struct vigia__backend_stats){.created_at_ns = b->created_at_ns,
	                                     .format = VIGIA_PG_FORMAT,
	                                     .commits = atomic_load(&b->commits),
	                                     .importing = atomic_load(&base->importing)};
	for (int i = 0; i < 16; i++) snprintf(out->file_id + 2 * i, 3, "%02x", b->id[i]);
	int rc = vigia__pg_bounds(base, &out->oldest, &out->latest, err);
	if (rc == VIGIA_OK) rc = vigia__pg_settings(base, &out->settings, err);
	if (rc == VIGIA_OK) rc = vigia__pg_ask(b, VIGIA_PG_SIZES, NULL, &row, "read", err);
	if (rc < 0) return rc;
	out->file_bytes = (uint64_t)vigia__pg_int(row, 0, 0);
	out->used_bytes = (uint64_t)vigia__pg_int(row, 0, 1);
	PQclear(row);
	out->events = out->oldest > 0 ? out->latest - out->oldest + 1 : 0;
	rc = vigia__pg_view(base, VIGIA_MAP_STATE, count_state, out, err);
	return rc == VIGIA_OK ? vigia__pg_view(base, VIGIA_MAP_TIMERS, count_timers, out, err) : rc;
}

/* ---- damage ---- */

static void tell_of_record(void *ctx, const char *text)
{
	const struct vigia__verify *verify = ctx;
	verify->found(verify->ctx, 0, text);
}

static int check_state(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__verify *verify = arg;
	int rc = vigia__state_verify(kv, tell_of_record, verify, &verify->values);
	return rc == VIGIA_OK ? vigia__letters_verify(kv, tell_of_record, verify) : rc;
}

static int check_timers(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__verify *verify = arg;
	return vigia__timers_verify(kv, tell_of_record, verify, &verify->timers);
}

static void tell_count(struct vigia__verify *verify, int64_t count, const char *text)
{
	char line[160];
	if (count == 0) return;
	snprintf(line, sizeof line, "%lld %s", (long long)count, text);
	verify->found(verify->ctx, 0, line);
}

int vigia__pg_check(struct vigia__backend *base, struct vigia__verify *verify, struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	PGresult *row;
	uint64_t oldest, latest;
	int rc = vigia__pg_bounds(base, &oldest, &latest, err);
	if (rc == VIGIA_OK) rc = vigia__pg_ask(b, VIGIA_PG_BESIDE, NULL, &row, "read", err);
	if (rc < 0) return rc;
	verify->checkpoints = (uint64_t)vigia__pg_int(row, 0, 0);
	verify->keys = (uint64_t)vigia__pg_int(row, 0, 2);
	tell_count(verify, vigia__pg_int(row, 0, 1), "checkpoints or holds are beyond the last event");
	tell_count(verify, vigia__pg_int(row, 0, 3), "keys of appends have impossible numbers");
	PQclear(row);
	rc = vigia__pg_view(base, VIGIA_MAP_STATE, check_state, verify, err);
	return rc == VIGIA_OK ? vigia__pg_view(base, VIGIA_MAP_TIMERS, check_timers, verify, err) : rc;
}
