/*
 * bench.c - measures the C side against raw LMDB in one run: appends alone and together, replay, filter, wake-up. Run
 * by scripts/bench.
 *
 * Usage: bench FOLDER [NAME...]; each line of output is "name  figure  unit  ratio-or-dash  what the ratio is to".
 */
#include <limits.h>
#include <linux/futex.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/json.h"
#include "lib/bench.h"

static void mdb_ok(int rc)
{
	if (rc != 0) bench_die("lmdb", mdb_strerror(rc));
}

/* ---- the same bytes for both sides ---- */

static struct vigia__buf object, event_bytes;

static void make_event(void)
{
	struct vigia_slice op = {"UPDATE", 6}, type = {"Job", 3};
	object = bench_object();
	struct vigia_slice value = {(const char *)object.data, object.len};
	struct vigia__buf json = {0};
	vigia__event_begin(&event_bytes, op, type, NULL);
	vigia__buf_add(&event_bytes, object.data, object.len);
	vigia__json_from_value(value, &json, NULL);
	printf("# an event: %zu bytes stored, its object %zu, that as JSON %zu\n", event_bytes.len, object.len, json.len);
	vigia__buf_deinit(&json);
}

/* ---- appends ---- */

static double raw_append(unsigned flags, int count, int batch)
{
	char path[512];
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *txn;
	mdb_env_create(&env);
	mdb_env_set_mapsize(env, (size_t)1 << 36);
	mdb_env_set_maxdbs(env, 4);
	mdb_ok(mdb_env_open(env, bench_fresh_path("raw.db", path), MDB_NOSUBDIR | MDB_NOTLS | flags, 0600));
	mdb_ok(mdb_txn_begin(env, NULL, 0, &txn));
	mdb_ok(mdb_dbi_open(txn, "events", MDB_CREATE | MDB_INTEGERKEY, &dbi));
	mdb_ok(mdb_txn_commit(txn));
	size_t key_number = 0;
	double start = bench_now();
	for (int done = 0; done < count; done += batch) {
		mdb_ok(mdb_txn_begin(env, NULL, 0, &txn));
		for (int i = 0; i < batch; i++) {
			key_number++;
			MDB_val key = {sizeof key_number, &key_number}, value = {event_bytes.len, event_bytes.data};
			mdb_ok(mdb_put(txn, dbi, &key, &value, MDB_APPEND));
		}
		mdb_ok(mdb_txn_commit(txn));
	}
	double rate = count / (bench_now() - start);
	mdb_env_close(env);
	return rate;
}

static double vigia_append(int durability, int count, int batch)
{
	struct vigia_store *store = bench_store("one.db", durability);
	struct vigia_error err = {0};
	struct vigia_new_event *events = calloc((size_t)batch, sizeof *events);
	for (int i = 0; i < batch; i++) events[i] = bench_event("Job", &object);
	double start = bench_now();
	for (int done = 0; done < count; done += batch)
		bench_ok(vigia_store_append(store, events, (size_t)batch, NULL, &err), &err);
	double rate = count / (bench_now() - start);
	free(events);
	vigia_store_free(store);
	return rate;
}

struct caller {
	pthread_t thread;
	struct vigia_store *store;
	int count;
};

static void *call_append(void *arg)
{
	struct caller *caller = arg;
	struct vigia_error err = {0};
	struct vigia_new_event event = bench_event("Job", &object);
	for (int i = 0; i < caller->count; i++) bench_ok(vigia_store_append(caller->store, &event, 1, NULL, &err), &err);
	return NULL;
}

static double vigia_append_threads(int threads, int each)
{
	struct vigia_store *store = bench_store("many.db", VIGIA_DURABILITY_COMMIT);
	struct caller *callers = calloc((size_t)threads, sizeof *callers);
	double start = bench_now();
	for (int i = 0; i < threads; i++) {
		callers[i] = (struct caller){.store = store, .count = each};
		pthread_create(&callers[i].thread, NULL, call_append, &callers[i]);
	}
	for (int i = 0; i < threads; i++) pthread_join(callers[i].thread, NULL);
	double rate = threads * each / (bench_now() - start);
	free(callers);
	vigia_store_free(store);
	return rate;
}

static double median3(double a, double b, double c)
{
	double v[] = {a, b, c};
	qsort(v, 3, sizeof *v, bench_by_size);
	return v[1];
}

static void append(void)
{
	double raw[3], one[3], t16[3], t64[3], rawb[3], b1000[3], rawn[3], none[3];
	for (int r = 0; r < 3; r++) {
		raw[r] = raw_append(0, 2000, 1);
		one[r] = vigia_append(VIGIA_DURABILITY_COMMIT, 2000, 1);
		t16[r] = vigia_append_threads(16, 2000);
		t64[r] = vigia_append_threads(64, 1500);
		rawb[r] = raw_append(0, 300000, 1000);
		b1000[r] = vigia_append(VIGIA_DURABILITY_COMMIT, 300000, 1000);
		rawn[r] = raw_append(MDB_NOSYNC, 300000, 1);
		none[r] = vigia_append(VIGIA_DURABILITY_NONE, 300000, 1);
	}
	double base = median3(raw[0], raw[1], raw[2]);
#define M(v) median3(v[0], v[1], v[2])
	bench_report("append durable, raw LMDB", base, "events/s", 0, NULL);
	bench_report("append durable, 1 caller", M(one), "events/s", M(one) / base, "raw LMDB");
	bench_report("append durable, 16 callers", M(t16), "events/s", M(t16) / base, "raw LMDB");
	bench_report("append durable, 64 callers", M(t64), "events/s", M(t64) / base, "raw LMDB");
	bench_report("append batches of 1000, durable", M(b1000), "events/s", M(b1000) / M(rawb), "raw LMDB");
	bench_report("append not synced, 1 caller", M(none), "events/s", M(none) / M(rawn), "raw LMDB");
#undef M
}

/* ---- replay ---- */

static void replay(void)
{
	enum { TOTAL = 2000000, BATCH = 1000 };
	struct vigia_store *store = bench_store("replay.db", VIGIA_DURABILITY_NONE);
	struct vigia_error err = {0};
	struct vigia_new_event *events = calloc(BATCH, sizeof *events);
	for (int i = 0; i < BATCH; i++) events[i] = bench_event(i % 100 == 7 ? "Rare" : "Job", &object);
	for (int i = 0; i < TOTAL; i += BATCH) bench_ok(vigia_store_append(store, events, BATCH, NULL, &err), &err);
	struct vigia__backend_stats stats;
	bench_ok(vigia__store_stats(store, &stats, &err), &err);
	bench_report("bytes on disk an event", (double)stats.used_bytes / TOTAL, "bytes", 0, NULL);
	double all[3], rare[3];
	for (int r = 0; r < 3; r++) {
		all[r] = bench_replay(store, NULL, TOTAL, TOTAL);
		rare[r] = bench_replay(store, "Rare", TOTAL, TOTAL / 100);
	}
	bench_report("replay to a C handler", median3(all[0], all[1], all[2]), "events/s", 0, NULL);
	bench_report("replay, filter keeps 1 %", median3(rare[0], rare[1], rare[2]), "looked at/s", 0, NULL);
	free(events);
	vigia_store_free(store);
}

/* ---- wake-up: another process appends and says when that returned; we say when we had the event. The same with a bare
 * futex, which is what the system itself takes: on a machine that others use the scheduler decides, not we. ---- */

enum { WAKE_ROUNDS = 2000, CPUS_MAX = 64 };

/* How one side is told and the other waits. */
struct waking {
	char path[512];         /* of a store; "": a bare futex */
	_Atomic uint32_t *word; /* of the bare futex, shared */
	uint32_t seen;
	struct vigia_store *store; /* the waiter's */
	struct vigia_batch *batch;
	struct vigia_iterator next;
};

static struct vigia_store *open_to_wake(const char *path)
{
	struct vigia_error err = {0};
	struct vigia_store_options options;
	struct vigia_store *store;
	vigia_store_options_init(&options);
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	bench_ok(vigia_store_open(path, &options, &store, &err), &err);
	return store;
}

/* The other process. */
static void tell(struct waking *w, int go, int told)
{
	struct vigia_error err = {0};
	struct vigia_store *store = NULL;
	char c;
	if (read(go, &c, 1) != 1) _exit(1);
	if (w->path[0]) store = open_to_wake(w->path);
	for (int i = 0; i < WAKE_ROUNDS; i++) {
		usleep(500); /* the waiter sleeps again */
		struct vigia_new_event event = {{"CREATE", 6}, {"Tick", 4}, {"\x01", 1}};
		if (store) bench_ok(vigia_store_append(store, &event, 1, NULL, &err), &err);
		else atomic_fetch_add(w->word, 1), syscall(SYS_futex, w->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
		int64_t t = vigia__mono_ns();
		if (write(told, &t, sizeof t) != sizeof t) _exit(1);
	}
	_exit(0);
}

/* Waits; answers how many came. */
static size_t wait_to_be_told(struct waking *w)
{
	struct vigia_error err = {0};
	if (w->store) {
		struct vigia_read request = {.size = sizeof request, .from = w->next, .timeout_ns = 5000000000};
		bench_ok(vigia_store_read(w->store, &request, w->batch, &w->next, &err), &err);
		return vigia_batch_count(w->batch);
	}
	uint32_t before = w->seen;
	while ((w->seen = atomic_load(w->word)) == before) syscall(SYS_futex, w->word, FUTEX_WAIT, before, NULL, NULL, 0);
	return w->seen - before;
}

/* A process on each processor that never sleeps; answers how many. */
static int keep_busy(pid_t *out)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int count = cpus < 1 ? 1 : cpus > CPUS_MAX ? CPUS_MAX : (int)cpus;
	for (int i = 0; i < count; i++) {
		out[i] = fork();
		if (out[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (volatile unsigned n = 0;; n++) continue;
		}
	}
	return count;
}

static void wake_across(const char *name, const char *file, bool busy)
{
	struct waking w = {.next = {VIGIA_AFTER, 0}};
	if (file) bench_fresh_path(file, w.path);
	w.word = mmap(NULL, sizeof *w.word, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int go[2], told[2];
	if (w.word == MAP_FAILED || pipe(go) < 0 || pipe(told) < 0) bench_die("pipe", "failed");
	pid_t child = fork(), busy_ones[CPUS_MAX];
	if (child == 0) tell(&w, go[0], told[1]);
	int busy_count = busy ? keep_busy(busy_ones) : 0;
	if (file) {
		w.store = open_to_wake(w.path);
		w.batch = vigia_batch_new();
	}
	double *us = calloc(WAKE_ROUNDS, sizeof *us);
	if (write(go[1], "g", 1) != 1) bench_die("pipe", "failed");
	for (int i = 0; i < WAKE_ROUNDS;) {
		size_t count = wait_to_be_told(&w);
		int64_t woke = vigia__mono_ns(), t;
		for (; count > 0; count--) {
			if (read(told[0], &t, sizeof t) != sizeof t) bench_die("pipe", "failed");
			us[i++] = (double)(woke - t) / 1e3;
		}
	}
	waitpid(child, NULL, 0);
	for (int i = 0; i < busy_count; i++) {
		kill(busy_ones[i], SIGKILL);
		waitpid(busy_ones[i], NULL, 0);
	}
	qsort(us, WAKE_ROUNDS, sizeof *us, bench_by_size);
	printf("%-44s %12.1f %-12s p99 %.1f us\n", name, us[WAKE_ROUNDS / 2], "us", us[WAKE_ROUNDS * 99 / 100]);
	fflush(stdout);
	free(us);
	vigia_batch_free(w.batch);
	vigia_store_free(w.store);
	munmap(w.word, sizeof *w.word);
	for (int i = 0; i < 2; i++) close(go[i]), close(told[i]);
}

static void wake(void)
{
	wake_across("wake across processes, p50", "wake.db", false);
	wake_across("  a bare futex", NULL, false);
	wake_across("the same, all processors busy, p50", "wake_busy.db", true);
	wake_across("  a bare futex", NULL, true);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} benches[] = {{"append", append}, {"replay", replay}, {"wake", wake}};
	if (argc < 2) bench_die("usage", "bench FOLDER [append|replay|wake]...");
	bench_folder = argv[1];
	make_event();
	for (size_t i = 0; i < sizeof benches / sizeof *benches; i++) {
		bool wanted = argc == 2;
		for (int a = 2; a < argc; a++) wanted |= strcmp(argv[a], benches[i].name) == 0;
		if (wanted) benches[i].run();
	}
	return 0;
}
