/*
 * vigia.c - one measurement of Vigia: appends, replay, wake-ups, what watchers cost, removal, opening. Run by
 * scripts/peers/run.lua, which measures the others in turn.
 *
 * Usage: peer_vigia FOLDER WORK [ARGUMENT...]; each line of output is "name figure". The same source, linked with
 * libvigia.so, is the engine "postgresql", whose folder is a location (lib/bench.h).
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "peer.h"
#include "store/lmdb_private.h"

static struct vigia__buf object;

static int durability_of(const char *name)
{
	return strcmp(name, "none") == 0 ? VIGIA_DURABILITY_NONE : VIGIA_DURABILITY_COMMIT;
}

static struct vigia_store *open_again(const char *name)
{
	char path[512];
	struct vigia_error err = {0};
	struct vigia_store *store;
	bench_ok(vigia_store_open(bench_path(name, path), NULL, &store, &err), &err);
	return store;
}

static void append(struct vigia_store *store, int count, int batch)
{
	struct vigia_error err = {0};
	struct vigia_new_event *events = calloc((size_t)batch, sizeof *events);
	for (int i = 0; i < batch; i++) events[i] = bench_event("Job", &object);
	for (int done = 0; done < count; done += batch)
		bench_ok(vigia_store_append(store, events, (size_t)batch, NULL, &err), &err);
	free(events);
}

/* ---- watchers on threads of their own ---- */

struct crowd {
	pthread_t thread;
	struct vigia_registry *registry;
};

static atomic_bool over;
static atomic_int still_to_see; /* of the event just appended */
static struct peer_wake *last_saw;

static int see(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt, int64_t *resume_mono_ns,
               struct vigia_error *err)
{
	(void)ctx, (void)event, (void)attempt, (void)resume_mono_ns, (void)err;
	if (atomic_fetch_sub(&still_to_see, 1) == 1) peer_wake_ran(last_saw);
	return VIGIA_OK;
}

static int see_each(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                    int64_t *resume_mono_ns, struct vigia_error *err)
{
	(void)ctx, (void)event, (void)attempt, (void)resume_mono_ns, (void)err;
	peer_wake_ran(last_saw);
	return VIGIA_OK;
}

static int pass(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                int64_t *resume_mono_ns, struct vigia_error *err)
{
	(void)ctx, (void)event, (void)attempt, (void)resume_mono_ns, (void)err;
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

/* One of 1000 types that nobody stores, and that does not share its wake word with the one that is stored. */
static struct vigia_slice other_type(int n, char *out, size_t size)
{
	const struct vigia_slice job = {"Job", 3};
	for (int k = n % 1000;; k += 1000) {
		struct vigia_slice type = {out, (size_t)snprintf(out, size, "Other%d", k)};
		if (vigia__wake_word(type) != vigia__wake_word(job)) return type;
	}
}

enum crowd_kind { SEEING, SEEING_EACH, MOVING, OF_OTHER_TYPES };

/* `threads` threads, each with a registry of `each` watchers. Moving ones have checkpoints, which they save. */
static struct crowd *gather(struct vigia_store *store, int threads, int each, enum crowd_kind kind)
{
	struct crowd *crowds = calloc((size_t)threads, sizeof *crowds);
	struct vigia_error err = {0};
	struct vigia_watch_options options;
	const struct vigia_handler handler = {.size = sizeof handler,
	                                      .handle = kind == MOVING        ? pass
	                                                : kind == SEEING_EACH ? see_each
	                                                                      : see};
	vigia_watch_options_init(&options);
	options.ephemeral = kind != MOVING;
	options.initial_event_iterator = (struct vigia_iterator){VIGIA_LATEST, 0};
	atomic_store(&over, false);
	if (last_saw == NULL) last_saw = peer_wake_new();
	for (int t = 0; t < threads; t++) {
		crowds[t].registry = vigia_registry_new(store);
		for (int i = 0; i < each; i++) {
			char id[40], name[40];
			snprintf(id, sizeof id, "watcher-%d-%d", t, i);
			struct vigia_slice type = other_type(t * each + i, name, sizeof name);
			if (kind == OF_OTHER_TYPES)
				options.filter = (struct vigia_filter){.object_types = &type, .object_types_count = 1};
			bench_ok(vigia_registry_watch(crowds[t].registry, id, &handler, &options, NULL, &err), &err);
		}
		if (pthread_create(&crowds[t].thread, NULL, drive, &crowds[t]) != 0) bench_die("thread", "cannot be started");
	}
	usleep(50000 + threads * each * 5); /* they sleep now */
	return crowds;
}

static void dismiss(struct crowd *crowds, int threads)
{
	atomic_store(&over, true);
	for (int t = 0; t < threads; t++) vigia_registry_interrupt(crowds[t].registry);
	for (int t = 0; t < threads; t++) {
		pthread_join(crowds[t].thread, NULL);
		vigia_registry_free(crowds[t].registry);
	}
	free(crowds);
}

/* ---- appends ---- */

struct caller {
	pthread_t thread;
	struct vigia_store *store;
	int count, batch;
};

static void *call_append(void *arg)
{
	struct caller *caller = arg;
	append(caller->store, caller->count, caller->batch);
	return NULL;
}

/* append CALLERS EACH BATCH commit|none WATCHERS: events a second, of callers on threads of their own, beside watchers
 * that move. */
static void work_append(char **arg)
{
	int callers = atoi(arg[0]), each = atoi(arg[1]), batch = atoi(arg[2]), watchers = atoi(arg[4]);
	struct vigia_store *store = bench_store("append.db", durability_of(arg[3]));
	struct caller *all = calloc((size_t)callers, sizeof *all);
	struct crowd *crowd = watchers ? gather(store, 1, watchers, MOVING) : NULL;
	double start = bench_now();
	for (int i = 0; i < callers; i++) {
		all[i] = (struct caller){.store = store, .count = each, .batch = batch};
		if (callers == 1) call_append(&all[i]);
		else if (pthread_create(&all[i].thread, NULL, call_append, &all[i]) != 0) bench_die("thread", "cannot start");
	}
	for (int i = 0; callers > 1 && i < callers; i++) pthread_join(all[i].thread, NULL);
	peer_figure("rate", callers * each / (bench_now() - start));
	if (crowd) dismiss(crowd, 1);
	free(all);
	vigia_store_free(store);
}

/* processes COUNT EACH: how long a durable append takes, of several processes that append at the same time. */
static void work_processes(char **arg)
{
	int count = atoi(arg[0]), each = atoi(arg[1]), total = count * each;
	double *us = mmap(NULL, (size_t)total * sizeof *us, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (us == MAP_FAILED) bench_die("processes", "no memory");
	vigia_store_free(bench_store("processes.db", VIGIA_DURABILITY_COMMIT));
	for (int n = 0; n < count; n++) {
		pid_t child = fork();
		if (child != 0) continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct vigia_store *store = open_again("processes.db");
		for (int i = 0; i < each; i++) {
			double start = bench_now();
			append(store, 1, 1);
			us[n * each + i] = (bench_now() - start) * 1e6;
		}
		_exit(0);
	}
	for (int n = 0, status; n < count; n++)
		if (wait(&status) < 0 || status != 0) bench_die("processes", "one failed");
	peer_figure("p50", bench_percentile(us, (size_t)total, 50));
	peer_figure("p99", bench_percentile(us, (size_t)total, 99));
	munmap(us, (size_t)total * sizeof *us);
}

/* ---- transactions ---- */

enum { TRANSACT_KEYS = 1000 };

struct change {
	pthread_t thread;
	struct vigia_store *store;
	int number, callers, count;
	struct vigia_key key;
};

/* A get and a put of one key. */
static int change_key(void *ctx, struct vigia_transaction *tx, struct vigia_error *err)
{
	const struct change *change = ctx;
	struct vigia_slice value;
	int rc = vigia_transaction_get(tx, "bench", &change->key, &value, err);
	if (rc < 0) return rc;
	return vigia_transaction_put(tx, "bench", &change->key, (struct vigia_slice){(char *)object.data, object.len}, err);
}

/* Each caller has keys of its own. */
static void *call_transact(void *arg)
{
	struct change *change = arg;
	struct vigia_error err = {0};
	int keys = TRANSACT_KEYS / change->callers;
	for (int i = 0; i < change->count; i++) {
		change->key = (struct vigia_key){.is_integer = true, .integer = change->number * keys + i * 7 % keys};
		bench_ok(vigia_transaction_run(change->store, change_key, change, &err), &err);
	}
	return NULL;
}

/* A transaction that reads now and then, and ends with the others. */
static void *stay_open(void *arg)
{
	struct vigia_transaction *tx;
	struct vigia_error err = {0};
	const struct vigia_key key = {.is_integer = true, .integer = 1};
	bench_ok(vigia_transaction_begin(arg, &tx, &err), &err);
	while (!atomic_load(&over)) {
		struct vigia_slice value;
		int rc = vigia_transaction_get(tx, "quiet", &key, &value, &err);
		if (rc < 0) bench_ok(rc, &err);
		usleep(10000);
	}
	vigia_transaction_free(tx);
	return NULL;
}

/* transact CALLERS EACH commit|none OPEN: transactions a second, each with a get and a put, of callers on threads of
 * their own, beside OPEN transactions that last. */
static void work_transact(char **arg)
{
	int callers = atoi(arg[0]), each = atoi(arg[1]), lasting = atoi(arg[3]);
	struct vigia_store *store = bench_store("transact.db", durability_of(arg[2]));
	struct change *all = calloc((size_t)callers, sizeof *all), first = {.store = store, .callers = 1};
	pthread_t open[8];
	first.count = TRANSACT_KEYS;
	struct vigia_error err = {0};
	struct vigia_transaction *tx;
	bench_ok(vigia_transaction_begin(store, &tx, &err), &err);
	for (int i = 0; i < TRANSACT_KEYS; i++) {
		first.key = (struct vigia_key){.is_integer = true, .integer = i};
		bench_ok(change_key(&first, tx, &err), &err);
	}
	bench_ok(vigia_transaction_commit(tx, &err), &err);
	vigia_transaction_free(tx);
	atomic_store(&over, false);
	for (int i = 0; i < lasting; i++)
		if (pthread_create(&open[i], NULL, stay_open, store) != 0) bench_die("thread", "cannot start");
	double start = bench_now();
	for (int i = 0; i < callers; i++) {
		all[i] = (struct change){.store = store, .number = i, .callers = callers, .count = each};
		if (callers == 1) call_transact(&all[i]);
		else if (pthread_create(&all[i].thread, NULL, call_transact, &all[i]) != 0) bench_die("thread", "cannot start");
	}
	for (int i = 0; callers > 1 && i < callers; i++) pthread_join(all[i].thread, NULL);
	peer_figure("rate", callers * each / (bench_now() - start));
	atomic_store(&over, true);
	for (int i = 0; i < lasting; i++) pthread_join(open[i], NULL);
	free(all);
	vigia_store_free(store);
}

/* ---- a log that is there, and reads of it ---- */

/* fill NAME EVENTS: one event in a hundred is Rare, one in ten thousand is Scarce. Bytes an event. */
static void work_fill(char **arg)
{
	enum { BATCH = 1000 };
	int total = atoi(arg[1]);
	struct vigia_store *store = bench_store(arg[0], VIGIA_DURABILITY_NONE);
	struct vigia_error err = {0};
	struct vigia__backend_stats stats;
	static struct vigia_new_event events[BATCH];
	for (int done = 0; done < total; done += BATCH) {
		for (int i = 0; i < BATCH; i++)
			events[i] = bench_event((done + i) % 10000 == 77 ? "Scarce" : i % 100 == 7 ? "Rare" : "Job", &object);
		bench_ok(vigia_store_append(store, events, BATCH, NULL, &err), &err);
	}
	bench_ok(vigia__store_stats(store, &stats, &err), &err);
	peer_figure("bytes", (double)stats.used_bytes / total);
	vigia_store_free(store);
}

/* replay NAME EVENTS [TYPE WANTED]: events looked at a second, and milliseconds. */
static void work_replay(char **arg)
{
	uint64_t total = strtoull(arg[1], NULL, 10);
	struct vigia_store *store = open_again(arg[0]);
	double rate = bench_replay(store, arg[2], total, arg[2] ? strtoull(arg[3], NULL, 10) : total);
	peer_figure("rate", rate);
	peer_figure("ms", (double)total / rate * 1e3);
	vigia_store_free(store);
}

/* tail EVENTS ROUNDS: replay of events that are in the journal still, and of the same once they are in LMDB. */
static void work_tail(char **arg)
{
	int total = atoi(arg[0]), rounds = atoi(arg[1]);
	struct vigia_store *store = bench_store("tail.db", VIGIA_DURABILITY_NONE);
	double rates[1000];
	if (rounds > 1000) rounds = 1000;
	append(store, total, 1);
	for (int pass_number = 0; pass_number < 2; pass_number++) {
		for (int i = 0; i < rounds; i++) rates[i] = bench_replay(store, NULL, (uint64_t)total, (uint64_t)total);
		peer_figure(pass_number ? "drained" : "tail", bench_percentile(rates, (size_t)rounds, 50));
		vigia_store_free(store); /* which drains */
		store = open_again("tail.db");
	}
	vigia_store_free(store);
}

/* ---- wake-ups ---- */

static const struct vigia__commit_ops *committed;
static struct peer_wake *published;

/* The event is there, and next its waiters are woken: a bare futex's time begins at that point, too. */
static void publish(void *ctx, const struct vigia__wake_set *words)
{
	atomic_store(&published->from, vigia__mono_ns());
	committed->publish(ctx, words);
}

/* From now on the time of a wake-up begins where the appends of this process wake. */
static void time_from_publish(struct vigia_store *store, struct peer_wake *wake)
{
	static struct vigia__commit_ops ops;
	struct lmdb_backend *b = (struct lmdb_backend *)store->backend;
	published = wake;
	committed = b->commit.ops;
	ops = *committed;
	ops.publish = publish;
	b->commit.ops = &ops;
}

/* wake none|commit THREADS EACH ROUNDS call|publish: from an append to the handler of the last watcher, in one process.
 * "call": from the call of the append; "publish": from where it wakes, without what the append itself takes. */
static void work_wake(char **arg)
{
	int durability = durability_of(arg[0]), threads = atoi(arg[1]), each = atoi(arg[2]), rounds = atoi(arg[3]);
	struct vigia_error err = {0};
	struct vigia_store *store = bench_store("wake.db", durability);
	struct vigia_new_event event = bench_event("Job", &object);
	struct crowd *crowds = gather(store, threads, each, SEEING);
	double *us = calloc((size_t)rounds, sizeof *us);
	if (strcmp(arg[4], "publish") == 0) time_from_publish(store, last_saw);
	for (int i = 0; i < rounds; i++) {
		usleep(PEER_PAUSE_US);
		atomic_store(&still_to_see, threads * each);
		peer_wake_begin(last_saw);
		bench_ok(vigia_store_append(store, &event, 1, NULL, &err), &err);
		us[i] = peer_wake_end(last_saw);
	}
	dismiss(crowds, threads);
	peer_percentiles(us, rounds);
	free(us);
	vigia_store_free(store);
}

/* across ROUNDS idle|busy call|publish: from an append, not synced, in another process to the read that returns it;
 * busy: while each processor has something else to do. */
static void work_across(char **arg)
{
	pid_t busy[PEER_BUSY_MAX];
	int rounds = atoi(arg[0]), go[2], busy_count = 0;
	struct vigia_error err = {0};
	struct peer_wake *wake = peer_wake_new();
	double *us = mmap(NULL, (size_t)rounds * sizeof *us, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (us == MAP_FAILED || pipe(go) < 0) bench_die("across", "no memory or pipe");
	pid_t child = fork();
	if (child == 0) {
		char c;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(go[0], &c, 1) != 1) _exit(1);
		struct vigia_store *store = open_again("across.db");
		if (strcmp(arg[2], "publish") == 0) time_from_publish(store, wake);
		for (int i = 0; i < rounds; i++) {
			usleep(PEER_PAUSE_US);
			peer_wake_begin(wake);
			append(store, 1, 1);
			us[i] = peer_wake_end(wake);
		}
		_exit(0);
	}
	if (strcmp(arg[1], "busy") == 0) busy_count = peer_keep_busy(busy);
	struct vigia_store *store = bench_store("across.db", VIGIA_DURABILITY_NONE);
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next = {VIGIA_AFTER, 0};
	if (write(go[1], "g", 1) != 1) bench_die("pipe", "failed");
	for (size_t seen = 0; seen < (size_t)rounds; seen += vigia_batch_count(batch)) {
		struct vigia_read request = {.size = sizeof request, .from = next, .timeout_ns = 5000000000};
		bench_ok(vigia_store_read(store, &request, batch, &next, &err), &err);
		if (vigia_batch_count(batch) > 0) peer_wake_ran(wake);
	}
	waitpid(child, NULL, 0);
	peer_end_busy(busy, busy_count);
	peer_percentiles(us, rounds);
	munmap(us, (size_t)rounds * sizeof *us);
	vigia_batch_free(batch);
	vigia_store_free(store);
}

/* heard ROUNDS call|answer: from an append, durable, in another process to the handler of a watcher. "call": from the
 * call of the append; "answer": from where it returned. */
static void work_heard(char **arg)
{
	int rounds = atoi(arg[0]), go[2];
	bool from_answer = strcmp(arg[1], "answer") == 0;
	double *us = mmap(NULL, (size_t)rounds * sizeof *us, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (us == MAP_FAILED || pipe(go) < 0) bench_die("heard", "no memory or pipe");
	last_saw = peer_wake_new();
	pid_t child = fork();
	if (child == 0) {
		char c;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(go[0], &c, 1) != 1) _exit(1);
		struct vigia_store *store = open_again("heard.db");
		append(store, 1, 1);
		for (int i = 0; i < rounds; i++) {
			usleep(PEER_PAUSE_US);
			peer_wake_begin(last_saw);
			append(store, 1, 1);
			if (from_answer) atomic_store(&last_saw->from, vigia__mono_ns());
			us[i] = peer_wake_end(last_saw);
		}
		vigia_store_free(store);
		_exit(0);
	}
	struct vigia_store *store = bench_store("heard.db", VIGIA_DURABILITY_COMMIT);
	struct crowd *crowd = gather(store, 1, 1, SEEING_EACH);
	if (write(go[1], "g", 1) != 1) bench_die("pipe", "failed");
	waitpid(child, NULL, 0);
	dismiss(crowd, 1);
	peer_percentiles(us, rounds);
	munmap(us, (size_t)rounds * sizeof *us);
	vigia_store_free(store);
}

/* others WATCHERS THREADS APPENDS: what an append that is not synced costs more, in ns, beside watchers of other types.
 * The best of several runs of each. */
static void work_others(char **arg)
{
	int watchers = atoi(arg[0]), threads = atoi(arg[1]), count = atoi(arg[2]);
	struct vigia_store *store = bench_store("others.db", VIGIA_DURABILITY_NONE);
	double best[2] = {1e9, 1e9};
	append(store, count, 1);
	struct crowd *crowds = NULL;
	for (int beside = 0; beside < 2; beside++) {
		if (beside) crowds = gather(store, threads, watchers / threads, OF_OTHER_TYPES);
		for (int run = 0; run < 5; run++) {
			double start = bench_now();
			append(store, count, 1);
			double ns = (bench_now() - start) / count * 1e9;
			if (ns < best[beside]) best[beside] = ns;
		}
	}
	dismiss(crowds, threads);
	peer_figure("ns", best[1] - best[0]);
	vigia_store_free(store);
}

/* moving WATCHERS APPENDS: how long a durable append takes beside watchers that each handle every event, and save their
 * progress. */
static void work_moving(char **arg)
{
	int watchers = atoi(arg[0]), count = atoi(arg[1]);
	struct vigia_error err = {0};
	struct vigia_store_options options;
	struct vigia_store *store =
		bench_store("moving.db", VIGIA_DURABILITY_NONE); /* as each of them starts with a commit */
	struct crowd *crowd = gather(store, 1, watchers, MOVING);
	double *us = calloc((size_t)count, sizeof *us);
	vigia_store_options_init(&options);
	options.durability = VIGIA_DURABILITY_COMMIT;
	options.durability_given = true;
	bench_ok(vigia_store_configure(store, &options, &err), &err);
	for (int i = 0; i < count; i++) {
		usleep(5000);
		int64_t from = vigia__mono_ns();
		append(store, 1, 1);
		us[i] = (double)(vigia__mono_ns() - from) / 1e3;
	}
	dismiss(crowd, 1);
	peer_percentiles(us, count);
	free(us);
	vigia_store_free(store);
}

/* followed WATCHERS EVENTS: events a second of a writer, not synced, that watchers of one registry follow, and events
 * a second that they saw in all, until the last one was there. */
static void work_followed(char **arg)
{
	int watchers = atoi(arg[0]), count = atoi(arg[1]);
	struct vigia_store *store = bench_store("followed.db", VIGIA_DURABILITY_NONE);
	struct crowd *crowd = gather(store, 1, watchers, SEEING);
	atomic_store(&still_to_see, watchers * count);
	peer_wake_begin(last_saw);
	double start = bench_now();
	append(store, count, 1);
	peer_figure("rate", count / (bench_now() - start));
	peer_wake_end(last_saw);
	peer_figure("seen", (double)watchers * count / (bench_now() - start));
	dismiss(crowd, 1);
	vigia_store_free(store);
}

/* ---- the store ---- */

/* gc EVENTS: events removed a second, not synced. */
static void work_gc(char **arg)
{
	char path[512];
	int total = atoi(arg[0]);
	uint64_t removed = 0;
	struct vigia_error err = {0};
	struct vigia_gc gc;
	struct vigia_store *store;
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.collect = false;
	options.gc_age_threshold_ns = 1;
	options.gc_age_threshold_given = true;
	options.durability = VIGIA_DURABILITY_NONE; /* a sync for each slice would be the disk's figure */
	options.durability_given = true;
	bench_ok(vigia_store_open(bench_fresh_path("gc.db", path), &options, &store, &err), &err);
	append(store, total, 1000);
	bench_ok(vigia_checkpoint_put(store, "a", UINT64_C(1) << 40, &err), &err);
	double start = bench_now();
	do {
		bench_ok(vigia_store_gc(store, &gc, &err), &err);
		removed += gc.removed;
	} while (gc.reason == VIGIA_GC_BOUND);
	peer_figure("rate", (double)removed / (bench_now() - start));
	vigia_store_free(store);
}

/* crash: milliseconds of an open after a process died with its journal nearly full. */
static void work_crash(char **arg)
{
	enum { BATCHES = 6, BATCH = 1000 }; /* 160 KB each: as many as go into the journal */
	uint64_t last = 0;
	struct vigia_error err = {0};
	(void)arg;
	pid_t child = fork();
	if (child == 0) {
		append(bench_store("crash.db", VIGIA_DURABILITY_COMMIT), BATCHES * BATCH, BATCH);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	double start = bench_now();
	struct vigia_store *store = open_again("crash.db");
	peer_figure("ms", (bench_now() - start) * 1e3);
	bench_ok(vigia_store_latest(store, &last, &err), &err);
	if (last != BATCHES * BATCH) bench_die("crash", "events are missing");
	vigia_store_free(store);
}

/* empty: MiB of a store without events. open NAME: milliseconds of an open. */
static void work_empty(char **arg)
{
	char path[512];
	struct stat st;
	(void)arg;
	vigia_store_free(bench_store("empty.db", VIGIA_DURABILITY_COMMIT));
	if (stat(bench_path("empty.db", path), &st) < 0) bench_die("empty", "no file");
	peer_figure("MiB", (double)st.st_size / (1 << 20));
}

static void work_open(char **arg)
{
	double start = bench_now();
	struct vigia_store *store = open_again(arg[0]);
	peer_figure("ms", (bench_now() - start) * 1e3);
	vigia_store_free(store);
}

/* Bring a store to the disk, so that nothing later waits for that, and give memory back that was used before. What a
 * log of 16 GB leaves of a virtual machine's memory was never touched, and its first touch costs ten times a copy
 * (measured: 0.8 to 2.3 ms a MB, 0.16 when used again): appends would seem to grow with the log. */
static void settle(const char *name)
{
	enum { BYTES = 128 << 20 };
	static char zeros[1 << 20];
	char path[512];
	int fd = open(bench_path(name, path), O_RDWR);
	if (fd < 0 || fdatasync(fd) < 0) bench_die(path, "cannot sync");
	close(fd);
	FILE *file = fopen(bench_path("scratch", path), "w");
	for (size_t done = 0; done < BYTES; done += sizeof zeros)
		if (file == NULL || fwrite(zeros, 1, sizeof zeros, file) != sizeof zeros) bench_die("scratch", "cannot write");
	fclose(file);
	unlink(path);
}

/* growth EVENTS: appends not synced, replay, a rare filter by the million, an open, removal, of a store of that size.
 */
static void work_growth(char **arg)
{
	enum { SINGLES = 100000 };
	char *fill[] = {"growth.db", arg[0], NULL};
	uint64_t total = strtoull(arg[0], NULL, 10), removed = 0;
	struct vigia_error err = {0};
	struct vigia_gc gc;
	struct vigia_store_options changes;
	work_fill(fill);
	settle("growth.db");
	double start = bench_now();
	struct vigia_store *store = open_again("growth.db");
	peer_figure("open", (bench_now() - start) * 1e3);
	start = bench_now();
	append(store, SINGLES, 1);
	peer_figure("append", SINGLES / (bench_now() - start));
	peer_figure("replay", bench_replay(store, NULL, total + SINGLES, total + SINGLES));
	peer_figure("filter", 1e9 / bench_replay(store, "Scarce", total + SINGLES, total / 10000));
	bench_ok(vigia_checkpoint_put(store, "a", UINT64_C(1) << 40, &err), &err);
	vigia_store_options_init(&changes);
	changes.gc_age_threshold_ns = 1;
	changes.gc_age_threshold_given = true;
	start = bench_now();
	bench_ok(vigia_store_configure(store, &changes, &err), &err);
	do {
		bench_ok(vigia_store_gc(store, &gc, &err), &err);
		removed += gc.removed;
	} while (gc.reason == VIGIA_GC_BOUND && removed < 1000000);
	peer_figure("gc", (double)removed / (bench_now() - start));
	vigia_store_free(store);
	bench_fresh_path("growth.db", (char[512]){0});
}

int main(int argc, char **argv)
{
	static const struct peer_work works[] = {
		{"append", 5, work_append}, {"processes", 2, work_processes}, {"fill", 2, work_fill},
		{"replay", 2, work_replay}, {"tail", 2, work_tail},           {"wake", 5, work_wake},
		{"across", 3, work_across}, {"heard", 2, work_heard},         {"others", 3, work_others},
		{"moving", 2, work_moving}, {"followed", 2, work_followed},   {"gc", 1, work_gc},
		{"crash", 0, work_crash},   {"empty", 0, work_empty},         {"open", 1, work_open},
		{"growth", 1, work_growth}, {"transact", 4, work_transact},   {NULL, 0, NULL},
	};
	object = bench_object();
	peer_main(argc, argv, works);
	vigia__buf_deinit(&object);
	return 0;
}
