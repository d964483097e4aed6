/*
 * bench_growth.c - measures what a store costs as it grows: append, replay, opening, memory. Run by scripts/bench.
 *
 * Usage: bench_growth FOLDER EVENTS...; each number of events is one more row, the last one the largest.
 */
#include "lib/bench.h"

enum { BATCH = 1000, SINGLE = 100000 };

static struct vigia__buf object;

/* A figure of /proc/self/status, in MB. */
static double memory(const char *field)
{
	char line[256];
	double kb = 0;
	FILE *file = fopen("/proc/self/status", "r");
	while (file && fgets(line, sizeof line, file))
		if (strncmp(line, field, strlen(field)) == 0) kb = atof(line + strlen(field) + 1);
	if (file) fclose(file);
	return kb / 1024;
}

static struct vigia_store *reopen(double *ms)
{
	char path[512];
	struct vigia_error err = {0};
	struct vigia_store *store;
	double start = bench_now();
	bench_ok(vigia_store_open(bench_path("growth.db", path), NULL, &store, &err), &err);
	*ms = (bench_now() - start) * 1e3;
	return store;
}

static void append(struct vigia_store *store, uint64_t count, size_t batch)
{
	static struct vigia_new_event events[BATCH];
	struct vigia_error err = {0};
	for (size_t i = 0; i < batch; i++) events[i] = bench_event("Job", &object);
	for (uint64_t done = 0; done < count; done += batch)
		bench_ok(vigia_store_append(store, events, batch, NULL, &err), &err);
}

int main(int argc, char **argv)
{
	if (argc < 3) bench_die("usage", "bench_growth FOLDER EVENTS...");
	bench_folder = argv[1];
	object = bench_object();
	struct vigia_error err = {0};
	struct vigia_store *store = bench_store("growth.db", VIGIA_DURABILITY_NONE);
	uint64_t there = 0;
	double first_append = 0, first_replay = 0;
	for (int i = 2; i < argc; i++) {
		uint64_t wanted = strtoull(argv[i], NULL, 10);
		char name[64];
		double ms;
		if (wanted > there) append(store, wanted - there, BATCH);
		double start = bench_now();
		append(store, SINGLE, 1);
		double rate = SINGLE / (bench_now() - start);
		bench_ok(vigia_store_latest(store, &there, &err), &err);
		if (first_append == 0) first_append = rate;
		snprintf(name, sizeof name, "append, not synced, at %s events", argv[i]);
		bench_report(name, rate, "events/s", rate / first_append, "at the first size");

		double best = 0;
		for (int round = 0; round < (there > 10000000 ? 1 : 5); round++) {
			double replayed = bench_replay(store, NULL, there, there);
			if (replayed > best) best = replayed;
		}
		if (first_replay == 0) first_replay = best;
		snprintf(name, sizeof name, "replay to a C handler, of %s events", argv[i]);
		bench_report(name, best, "events/s", best / first_replay, "at the first size");

		vigia_store_free(store);
		store = reopen(&ms);
		snprintf(name, sizeof name, "open a store of %s events", argv[i]);
		printf("%-44s %12.2f %-12s\n", name, ms, "ms");
		bench_report("anonymous memory", memory("RssAnon:"), "MB", 0, NULL);
	}
	vigia_store_free(store);
	vigia__buf_deinit(&object);
	return 0;
}
