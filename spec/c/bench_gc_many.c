/*
 * bench_gc_many.c - measures garbage collection under many writers: 8 processes with 4 threads each append to one file
 * that is to keep 100,000 events. How many does it hold, and what does that cost an appender? Run by scripts/bench.
 *
 * Usage: bench_gc_many FOLDER [SECONDS [interval]]; interval: at that durability
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/bench.h"

enum { PROCESSES = 8, THREADS = 4, KEEP = 100000, SETTLE_S = 5, BUCKETS = 4096, BUCKET_NS = 50000, LOOK_US = 5000 };

/* What the processes write down, in memory they share. */
static struct shared {
	atomic_bool over;
	_Atomic uint64_t appended;
	_Atomic uint64_t took[BUCKETS]; /* appends by how long they took */
} * shared;

static struct vigia__buf object;
static bool at_interval;

static struct vigia_store *open_one(int64_t max_events, bool collect)
{
	char path[512];
	struct vigia_store_options options;
	struct vigia_store *store;
	struct vigia_error err = {0};
	vigia_store_options_init(&options);
	options.max_events = max_events;
	options.max_events_given = true;
	options.collect = collect;
	if (at_interval) options.durability = VIGIA_DURABILITY_INTERVAL;
	options.durability_given = at_interval;
	bench_ok(vigia_store_open(bench_path("many.db", path), &options, &store, &err), &err);
	return store;
}

static void *append_on(void *store)
{
	struct vigia_error err = {0};
	struct vigia_new_event event = bench_event("Job", &object);
	while (!atomic_load(&shared->over)) {
		int64_t from = vigia__mono_ns();
		bench_ok(vigia_store_append(store, &event, 1, NULL, &err), &err);
		int64_t bucket = (vigia__mono_ns() - from) / BUCKET_NS;
		atomic_fetch_add(&shared->took[bucket < BUCKETS ? bucket : BUCKETS - 1], 1);
		atomic_fetch_add(&shared->appended, 1);
	}
	return NULL;
}

static void be_a_process(int64_t max_events)
{
	pthread_t threads[THREADS];
	struct vigia_store *store = open_one(max_events, true);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, append_on, store) != 0) bench_die("thread", "cannot be started");
	for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
	vigia_store_free(store);
	exit(0);
}

static double took_us(double share)
{
	uint64_t all = atomic_load(&shared->appended), seen = 0;
	int i = 0;
	while (i < BUCKETS - 1 && (double)(seen += atomic_load(&shared->took[i])) < (double)all * share) i++;
	return (double)(i + 1) * BUCKET_NS / 1e3;
}

/* Answers the p99.9 of an append, in microseconds. */
static double run(int64_t max_events, int seconds, uint64_t *most)
{
	char path[512];
	pid_t pids[PROCESSES];
	uint64_t oldest, latest;
	bench_fresh_path("many.db", path);
	memset(shared, 0, sizeof *shared);
	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		if (pids[i] == 0) be_a_process(max_events);
	}
	while (access(path, R_OK) != 0) usleep(1000);
	usleep(100000); /* whoever makes the file has made it */
	struct vigia_store *store = open_one(max_events, false);
	double begin = bench_now();
	*most = 0;
	for (double now; (now = bench_now()) < begin + seconds;) {
		usleep(LOOK_US);
		uint64_t again;
		if (now < begin + SETTLE_S || vigia_store_oldest(store, &oldest, NULL) != VIGIA_OK) continue;
		if (vigia_store_latest(store, &latest, NULL) != VIGIA_OK) continue;
		/* a commit in between counts twice */
		if (vigia_store_oldest(store, &again, NULL) != VIGIA_OK || again != oldest) continue;
		if (latest - oldest + 1 > *most) *most = latest - oldest + 1;
	}
	atomic_store(&shared->over, true);
	for (int i = 0; i < PROCESSES; i++) {
		int status;
		waitpid(pids[i], &status, 0);
		if (status != 0) bench_die("a process", "failed");
	}
	vigia_store_free(store);
	return took_us(0.999);
}

int main(int argc, char **argv)
{
	if (argc < 2) return 2;
	int seconds = argc > 2 ? atoi(argv[2]) : 30;
	uint64_t most;
	at_interval = argc > 3 && strcmp(argv[3], "interval") == 0;
	bench_folder = argv[1];
	object = bench_object();
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) bench_die("memory", "cannot be shared");
	double alone = run(0, SETTLE_S + 5, &most);
	bench_report("append p99.9 of 32 callers, nothing removed", alone, "us", 0, NULL);
	double beside = run(KEEP, seconds, &most);
	bench_report("appended with max_events = 100,000", (double)atomic_load(&shared->appended) / seconds, "events/s", 0,
	             NULL);
	bench_report("append p99.9 then", beside, "us", beside / alone, "nothing removed");
	bench_report("events held at most from second 5 on", (double)most, "events", (double)most / KEEP,
	             "max_events; the bar is 1.20");
	vigia__buf_deinit(&object);
	return 0;
}
