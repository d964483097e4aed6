/*
 * bench_watch.c - measures many watchers: how soon the last of them has an event, what they cost an appender, how fast
 * a writer is that they follow. Run by scripts/bench.
 *
 * Usage: bench_watch FOLDER
 */
#include <pthread.h>
#include <stdatomic.h>

#include "lib/bench.h"
#include "store/wake.h"

enum { WATCHERS_MAX = 128, ROUNDS = 1000, FOLLOWED = 200000 };

static struct vigia__buf object;

/* A registry, its watchers, and the thread that drives them. */
struct crowd {
	pthread_t thread;
	struct vigia_store *store;
	struct vigia_registry *registry;
};

static atomic_int still_to_see;      /* of the event just appended */
static _Atomic int64_t last_seen_at; /* when the last one saw it */
static atomic_bool over;

static int see(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt, int64_t *resume_mono_ns,
               struct vigia_error *err)
{
	(void)ctx, (void)event, (void)attempt, (void)resume_mono_ns, (void)err;
	if (atomic_fetch_sub(&still_to_see, 1) == 1) atomic_store(&last_seen_at, vigia__mono_ns());
	return VIGIA_OK;
}

static void *drive(void *arg)
{
	struct crowd *crowd = arg;
	struct vigia_error err = {0};
	while (!atomic_load(&over)) {
		int rc = vigia_registry_step(crowd->registry, -1, &err);
		if (rc != VIGIA_EINTERRUPTED) bench_ok(rc, &err);
	}
	return NULL;
}

/* One of 20 types that nobody stores, and that does not share its wake word with the one that is stored. */
static struct vigia_slice other_type(int n, char *out, size_t size)
{
	const struct vigia_slice job = {"Job", 3};
	for (int k = n % 20;; k += 20) {
		struct vigia_slice type = {out, (size_t)snprintf(out, size, "Other%d", k)};
		if (vigia__wake_bit(type) != vigia__wake_bit(job)) return type;
	}
}

/* `threads` threads with `each` watchers, of all types or of others than the one that is stored. */
static void gather(struct crowd *crowds, int threads, int each, struct vigia_store *store, bool of_others)
{
	struct vigia_error err = {0};
	struct vigia_watch_options options;
	const struct vigia_handler handler = {.size = sizeof handler, .handle = see};
	vigia_watch_options_init(&options);
	options.ephemeral = true;
	options.initial_event_iterator = (struct vigia_iterator){VIGIA_LATEST, 0};
	atomic_store(&over, false);
	for (int t = 0; t < threads; t++) {
		crowds[t].store = store;
		crowds[t].registry = vigia_registry_new(store);
		for (int i = 0; i < each; i++) {
			char id[40], name[40];
			snprintf(id, sizeof id, "watcher-%d-%d", t, i);
			struct vigia_slice type = other_type(t * each + i, name, sizeof name);
			if (of_others) options.filter = (struct vigia_filter){.object_types = &type, .object_types_count = 1};
			bench_ok(vigia_registry_watch(crowds[t].registry, id, &handler, &options, NULL, &err), &err);
		}
		if (pthread_create(&crowds[t].thread, NULL, drive, &crowds[t]) != 0) bench_die("thread", "cannot be started");
	}
	usleep(50000); /* they sleep now */
}

static void dismiss(struct crowd *crowds, int threads)
{
	atomic_store(&over, true);
	for (int t = 0; t < threads; t++) vigia_registry_interrupt(crowds[t].registry);
	for (int t = 0; t < threads; t++) {
		pthread_join(crowds[t].thread, NULL);
		vigia_registry_free(crowds[t].registry);
	}
}

static void wake(const char *name, int durability, int threads, int each)
{
	static struct crowd crowds[WATCHERS_MAX];
	static double us[ROUNDS];
	struct vigia_error err = {0};
	struct vigia_store *store = bench_store("watch.db", durability);
	struct vigia_new_event event = bench_event("Job", &object);
	gather(crowds, threads, each, store, false);
	for (int i = 0; i < ROUNDS; i++) {
		usleep(300);
		atomic_store(&last_seen_at, 0);
		atomic_store(&still_to_see, threads * each);
		/* Without a sync from the beginning of the call: it may have been seen before that returns. */
		int64_t from = vigia__mono_ns(), seen_at;
		bench_ok(vigia_store_append(store, &event, 1, NULL, &err), &err);
		if (durability == VIGIA_DURABILITY_COMMIT) from = vigia__mono_ns();
		while ((seen_at = atomic_load(&last_seen_at)) == 0) usleep(50);
		us[i] = seen_at > from ? (double)(seen_at - from) / 1e3 : 0;
	}
	dismiss(crowds, threads);
	vigia_store_free(store);
	double p50 = bench_percentile(us, ROUNDS, 50);
	printf("%-44s %12.1f %-12s p99 %.1f us\n", name, p50, "us", bench_percentile(us, ROUNDS, 99));
	fflush(stdout);
}

/* Appends not synced, one by one; answers how many a second. */
static double append_singly(struct vigia_store *store)
{
	struct vigia_error err = {0};
	struct vigia_new_event event = bench_event("Job", &object);
	double start = bench_now();
	for (int i = 0; i < FOLLOWED; i++) bench_ok(vigia_store_append(store, &event, 1, NULL, &err), &err);
	return FOLLOWED / (bench_now() - start);
}

/* What an append costs more beside watchers that wait for something else: the best of five rounds of each, in turns. */
static void cost_of_others(void)
{
	static struct crowd crowds[WATCHERS_MAX];
	struct vigia_store *store = bench_store("others.db", VIGIA_DURABILITY_NONE);
	double alone = 0, beside = 0;
	for (int round = 0; round < 5; round++) {
		double rate = append_singly(store);
		if (rate > alone) alone = rate;
		gather(crowds, 10, 10, store, true);
		rate = append_singly(store);
		if (rate > beside) beside = rate;
		dismiss(crowds, 10);
	}
	vigia_store_free(store);
	bench_report("100 watchers of other types cost an append", (1 / beside - 1 / alone) * 1e9, "ns", 0, NULL);
}

/* A writer with watchers behind it, all in one registry: until the last of them has seen all. */
static void followed(const char *name, int watchers)
{
	static struct crowd crowd;
	struct vigia_store *store = bench_store("followed.db", VIGIA_DURABILITY_NONE);
	gather(&crowd, 1, watchers, store, false);
	atomic_store(&last_seen_at, 0);
	atomic_store(&still_to_see, watchers * FOLLOWED);
	double start = bench_now(), rate = append_singly(store);
	while (atomic_load(&last_seen_at) == 0) usleep(1000);
	double seen = (double)watchers * FOLLOWED / (bench_now() - start);
	dismiss(&crowd, 1);
	vigia_store_free(store);
	printf("%-44s %12.0f %-12s %.1fM events/s seen in all\n", name, rate, "events/s", seen / 1e6);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc != 2) bench_die("usage", "bench_watch FOLDER");
	bench_folder = argv[1];
	object = bench_object();
	wake("wake in process, p50", VIGIA_DURABILITY_NONE, 1, 1);
	wake("wake in process after a synced append, p50", VIGIA_DURABILITY_COMMIT, 1, 1);
	wake("the last of 100 watchers in one registry", VIGIA_DURABILITY_NONE, 1, 100);
	wake("the last of 100 watchers in 100 threads", VIGIA_DURABILITY_NONE, 100, 1);
	cost_of_others();
	followed("a writer followed by 10 watchers", 10);
	followed("a writer followed by 100 watchers", 100);
	vigia__buf_deinit(&object);
	return 0;
}
