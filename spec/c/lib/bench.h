/*
 * bench.h - what the benchmarks share: a folder, the clock, stores in it, one line per figure.
 *
 * Each line of output is "name  figure  unit  ratio  what the ratio is to".
 */
#ifndef VIGIA_SPEC_BENCH_H
#define VIGIA_SPEC_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/event.h"
#include "store/store.h"
#include "vigia.h"

static const char *bench_folder; /* where the stores are made: the first argument */

static inline double bench_now(void)
{
	return (double)vigia__mono_ns() / 1e9;
}

_Noreturn static inline void bench_die(const char *what, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", what, why);
	exit(1);
}

static inline void bench_ok(int rc, const struct vigia_error *err)
{
	if (rc < 0) bench_die("vigia", err->message);
}

/* The path of a store in the folder, of 512 bytes, into out. The "folder" of stores on PostgreSQL is a location up to
 * the log's name, which is `name` up to its first dot. */
static inline char *bench_path(const char *name, char *out)
{
	if (strncmp(bench_folder, "postgresql:", 11) == 0)
		snprintf(out, 512, "%s%.*s", bench_folder, (int)strcspn(name, "."), name);
	else snprintf(out, 512, "%s/%s", bench_folder, name);
	return out;
}

/* The same, and there is no such store any more. */
static inline char *bench_fresh_path(const char *name, char *out)
{
	static const char *const ends[] = {"", "-lock", "-side"};
	char file[600];
	bench_path(name, out);
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		snprintf(file, sizeof file, "%s%s", out, ends[i]);
		unlink(file);
	}
	return out;
}

/* A new store. */
static inline struct vigia_store *bench_store(const char *name, int durability)
{
	char path[512];
	struct vigia_error err = {0};
	struct vigia_store_options options;
	struct vigia_store *store;
	vigia_store_options_init(&options);
	options.durability = durability;
	options.durability_given = true;
	bench_ok(vigia_store_open(bench_fresh_path(name, path), &options, &store, &err), &err);
	return store;
}

static inline int bench_by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

/* The value that `percent` of the figures do not exceed; sorts them. */
static inline double bench_percentile(double *figures, size_t count, double percent)
{
	qsort(figures, count, sizeof *figures, bench_by_size);
	size_t at = (size_t)((double)count * percent / 100);
	return figures[at < count ? at : count - 1];
}

static inline void bench_report(const char *name, double figure, const char *unit, double ratio, const char *to)
{
	int digits = figure < 100 ? 1 : 0;
	if (ratio > 0) printf("%-44s %12.*f %-12s %8.2f x %s\n", name, digits, figure, unit, ratio, to);
	else printf("%-44s %12.*f %-12s\n", name, digits, figure, unit);
	fflush(stdout);
}

/* An object of 8 keys, 150 bytes as JSON: what TARGETS calls a small event. The caller frees it. */
static inline struct vigia__buf bench_object(void)
{
	static const char *const keys[] = {"id", "name", "state", "node", "cpu", "memory", "tags", "ok"};
	struct vigia__buf object = {0};
	vigia__put_map(&object, 8);
	for (int i = 0; i < 8; i++) {
		vigia__put_string(&object, keys[i], strlen(keys[i]));
		switch (i) {
		case 0:
			vigia__put_int(&object, 123456);
			break;
		case 4:
			vigia__put_float(&object, 1.5);
			break;
		case 5:
			vigia__put_int(&object, 4294967296);
			break;
		case 6:
			vigia__put_array(&object, 2);
			vigia__put_string(&object, "batch", 5);
			vigia__put_string(&object, "gpu", 3);
			break;
		case 7:
			vigia__put_bool(&object, true);
			break;
		default:
			vigia__put_string(&object, "a-value-of-len", 14);
			break;
		}
	}
	return object;
}

static inline struct vigia_new_event bench_event(const char *type, const struct vigia__buf *object)
{
	return (struct vigia_new_event){{"UPDATE", 6}, {type, strlen(type)}, {(const char *)object->data, object->len}};
}

/* Replay all events of a store, or those of one type, to a C handler that counts them; answers events looked at a
 * second. */
static inline int bench_count_event(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                                    int64_t *resume_mono_ns, struct vigia_error *err)
{
	(void)event, (void)attempt, (void)resume_mono_ns, (void)err;
	++*(uint64_t *)ctx;
	return VIGIA_OK;
}

static inline double bench_replay(struct vigia_store *store, const char *type, uint64_t total, uint64_t expected)
{
	struct vigia_error err = {0};
	uint64_t seen = 0;
	struct vigia_registry *registry = vigia_registry_new(store);
	struct vigia_handler handler = {.size = sizeof handler, .handle = bench_count_event, .ctx = &seen};
	struct vigia_watch_options options;
	struct vigia_slice types = {type, type ? strlen(type) : 0};
	struct vigia_watcher *watcher;
	struct vigia_watcher_stats stats;
	vigia_watch_options_init(&options);
	options.ephemeral = true;
	if (type) options.filter = (struct vigia_filter){.object_types = &types, .object_types_count = 1};
	double start = bench_now();
	bench_ok(vigia_registry_watch(registry, "bench", &handler, &options, &watcher, &err), &err);
	do {
		bench_ok(vigia_registry_step(registry, 0, &err), &err);
		vigia_watcher_stats(watcher, &stats);
	} while (stats.lag > 0);
	double rate = (double)total / (bench_now() - start);
	if (seen != expected) bench_die("replay", "not all events were seen");
	vigia_registry_free(registry);
	return rate;
}

#endif
