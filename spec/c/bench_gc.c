/*
 * bench_gc.c - measures garbage collection: how fast, how long it holds up an append, what it leaves for later ones,
 * how large the file gets. Run by scripts/bench.
 *
 * Usage: bench_gc FOLDER; each line of output is "name  figure  unit  ratio  what the ratio is to".
 */
#include <pthread.h>
#include <sys/stat.h>

#include "lib/bench.h"

enum { EVENTS = 1000000, BATCH = 1000, OBJECT_BYTES = 130, LARGE_BYTES = 200 * 1024, LARGE_COUNT = 50, LAG = 50000 };

static char large_object[LARGE_BYTES + 5], object[OBJECT_BYTES + 2];

static struct vigia_store *open_collecting(int durability, bool collect)
{
	char path[512];
	struct vigia_store_options options;
	struct vigia_store *store;
	struct vigia_error err;
	vigia_store_options_init(&options);
	options.collect = collect;
	options.durability = durability;
	options.gc_age_threshold_ns = 1;
	options.durability_given = options.gc_age_threshold_given = true;
	bench_ok(vigia_store_open(bench_fresh_path("gc.db", path), &options, &store, &err), &err);
	return store;
}

static struct vigia_store *open_store(int durability)
{
	return open_collecting(durability, false);
}

static double file_bytes(void)
{
	char path[512];
	struct stat st;
	return stat(bench_path("gc.db", path), &st) == 0 ? (double)st.st_size : 0;
}

static void append(struct vigia_store *store, const char *data, size_t len, size_t count)
{
	struct vigia_new_event events[BATCH];
	struct vigia_error err;
	for (size_t i = 0; i < count; i++) events[i] = (struct vigia_new_event){{"UPDATE", 6}, {"Job", 3}, {data, len}};
	bench_ok(vigia_store_append(store, events, count, NULL, &err), &err);
}

static void fill(struct vigia_store *store, int count)
{
	for (int done = 0; done < count; done += BATCH) append(store, object, sizeof object, BATCH);
}

static uint64_t collect(struct vigia_store *store)
{
	struct vigia_gc gc;
	struct vigia_error err;
	uint64_t removed = 0;
	do {
		bench_ok(vigia_store_gc(store, &gc, &err), &err);
		removed += gc.removed;
	} while (gc.reason == VIGIA_GC_BOUND);
	return removed;
}

static void all_seen(struct vigia_store *store)
{
	struct vigia_error err;
	bench_ok(vigia_checkpoint_put(store, "a", UINT64_C(1) << 40, &err), &err);
}

static void rate(int durability, const char *name)
{
	struct vigia_store *store = open_store(durability);
	fill(store, EVENTS);
	all_seen(store);
	double start = bench_now();
	uint64_t removed = collect(store);
	bench_report(name, (double)removed / (bench_now() - start), "events/s", 0, NULL);
	vigia_store_free(store);
}

/* The collector in the background, at its defaults but for the age, while 50,000 events a second are appended durably:
 * how fast do old ones go? It has a backlog of a million, more than one run takes, and begins when the cadence is
 * set. */
static void keeps_up(void)
{
	enum { BEAT_NS = 10000000, EVERY = 500 };
	struct vigia_store *store = open_collecting(VIGIA_DURABILITY_COMMIT, true);
	struct vigia_store_options changes;
	struct vigia_error err;
	uint64_t oldest = 1, appended = 0;
	fill(store, EVENTS + EVENTS / 2);
	all_seen(store);
	vigia_store_options_init(&changes);
	changes.gc_cadence_ns += 1;
	changes.gc_cadence_given = true;
	double start = bench_now();
	int64_t beat = vigia__mono_ns();
	bench_ok(vigia_store_configure(store, &changes, &err), &err);
	while (oldest <= EVENTS + EVENTS / 2 && bench_now() - start < 60) {
		append(store, object, sizeof object, EVERY);
		appended += EVERY;
		beat += BEAT_NS;
		while (vigia__mono_ns() < beat) usleep(200);
		if (vigia_store_oldest(store, &oldest, NULL) != VIGIA_OK) oldest = UINT64_MAX;
	}
	double seconds = bench_now() - start;
	if (oldest > EVENTS + EVENTS / 2) oldest = EVENTS + EVENTS / 2;
	bench_report("appended beside the collector at its defaults", (double)appended / seconds, "events/s", 0, NULL);
	bench_report("removed meanwhile", (double)oldest / seconds, "events/s", (double)oldest / (double)appended,
	             "what was appended");
	vigia_store_free(store);
}

/* ---- appends beside it ---- */

static atomic_bool collecting;

static void *collect_beside(void *arg)
{
	collect(arg);
	atomic_store(&collecting, false);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double percentile(double *values, int count, double p)
{
	qsort(values, (size_t)count, sizeof *values, by_value);
	return values[(int)((count - 1) * p)] * 1e6;
}

/* Appends one by one: `count`, or while a collection runs. */
static int append_timed(struct vigia_store *store, double *took, int count, bool while_collecting)
{
	int n = 0;
	for (; n < count && (!while_collecting || atomic_load(&collecting)); n++) {
		double start = bench_now();
		append(store, object, sizeof object, 1);
		took[n] = bench_now() - start;
	}
	return n;
}

static void beside(int durability, const char *name)
{
	static double idle[200000], busy[200000];
	struct vigia_store *store = open_store(durability);
	fill(store, EVENTS);
	all_seen(store);
	int idle_count = append_timed(store, idle, 3000, false);
	pthread_t thread;
	atomic_store(&collecting, true);
	pthread_create(&thread, NULL, collect_beside, store);
	int busy_count = append_timed(store, busy, 200000, true);
	pthread_join(thread, NULL);
	char text[100];
	double before = percentile(idle, idle_count, 0.999), during = percentile(busy, busy_count, 0.999);
	snprintf(text, sizeof text, "append p99.9, idle, %s", name);
	bench_report(text, before, "us", 0, NULL);
	snprintf(text, sizeof text, "append p99.9 beside a collection, %s", name);
	bench_report(text, during, "us", during / before, "idle");
	vigia_store_free(store);
}

/* ---- what it leaves ---- */

static double large(struct vigia_store *store, double *worst)
{
	double took[LARGE_COUNT];
	for (int i = 0; i < LARGE_COUNT; i++) {
		double start = bench_now();
		append(store, large_object, sizeof large_object, 1);
		took[i] = bench_now() - start;
	}
	double median = percentile(took, LARGE_COUNT, 0.5);
	*worst = took[LARGE_COUNT - 1] * 1e6;
	return median;
}

static void after_pruning(void)
{
	double worst_before, worst_after;
	struct vigia_store *store = open_store(VIGIA_DURABILITY_NONE);
	fill(store, EVENTS);
	double before = large(store, &worst_before);
	all_seen(store);
	collect(store);
	double after = large(store, &worst_after);
	bench_report("append of 200 KB, not synced, before", before, "us", 0, NULL);
	bench_report("append of 200 KB, after pruning 1M", after, "us", after / before, "before");
	bench_report("the slowest of 50, after pruning", worst_after, "us", worst_after / worst_before,
	             "the slowest before");
	vigia_store_free(store);

	static double took[2000];
	store = open_store(VIGIA_DURABILITY_COMMIT);
	fill(store, EVENTS);
	append_timed(store, took, 2000, false);
	before = percentile(took, 2000, 0.5);
	all_seen(store);
	collect(store);
	append_timed(store, took, 2000, false);
	after = percentile(took, 2000, 0.5);
	bench_report("durable append, median, before pruning", before, "us", 0, NULL);
	bench_report("durable append, median, after pruning 1M", after, "us", after / before, "before");
	vigia_store_free(store);
}

/* ---- how large the file gets ---- */

static void *poll_reader(void *arg)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator it = {VIGIA_TRIM_HORIZON, 0};
	while (atomic_load(&collecting)) {
		struct vigia_read request = {.size = sizeof request, .from = it, .limit = 1000};
		if (vigia_store_read(arg, &request, batch, &it, NULL) < 0) break;
	}
	vigia_batch_free(batch);
	return NULL;
}

static void size(void)
{
	struct vigia_store *store = open_store(VIGIA_DURABILITY_NONE);
	struct vigia_error err;
	fill(store, LAG);
	double small = file_bytes();
	pthread_t reader;
	atomic_store(&collecting, true);
	pthread_create(&reader, NULL, poll_reader, store);
	for (uint64_t last = LAG; last < EVENTS; last += BATCH) {
		fill(store, BATCH);
		bench_ok(vigia_checkpoint_put(store, "a", last + BATCH - LAG, &err), &err);
		if (last % 5000 == 0) collect(store);
	}
	atomic_store(&collecting, false);
	pthread_join(reader, NULL);
	bench_report("file after 1M, 50,000 kept", file_bytes() / 1024, "KiB", file_bytes() / small,
	             "a file that holds 50,000");
	vigia_store_free(store);
}

int main(int argc, char **argv)
{
	if (argc != 2) return 2;
	bench_folder = argv[1];
	object[0] = (char)0xd9; /* a string of up to 255 bytes */
	object[1] = (char)OBJECT_BYTES;
	memset(object + 2, 'x', OBJECT_BYTES);
	large_object[0] = (char)0xdb; /* a string of up to 4 GiB */
	large_object[2] = LARGE_BYTES >> 16;
	large_object[3] = (char)(LARGE_BYTES >> 8);
	large_object[4] = (char)LARGE_BYTES;
	memset(large_object + 5, 'x', LARGE_BYTES);
	rate(VIGIA_DURABILITY_NONE, "collect 1M events, not synced");
	rate(VIGIA_DURABILITY_COMMIT, "collect 1M events, durable");
	keeps_up();
	beside(VIGIA_DURABILITY_COMMIT, "durable");
	beside(VIGIA_DURABILITY_NONE, "not synced");
	after_pruning();
	size();
	return 0;
}
