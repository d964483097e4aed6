/*
 * workloads.c - the workloads. Each runs in a process of its own, under the recorder, and marks what it tries and is
 * told (facts.h).
 */
#include "workloads.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "facts.h"
#include "steps.h"

/* ---- one process ---- */

static int single(const char *path)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= 14; i++) append(store, 1, i);
	vigia_store_free(store);
	store = open_store();
	for (unsigned i = 15; i <= 18; i++) append(store, 1, i);
	vigia_store_free(store);
	return 0;
}

static int batches(const char *path)
{
	struct vigia_store *store = open_store();
	unsigned number = 1;
	for (unsigned count = 1; count <= 40; count = count * 2 + 1) {
		check(append_to(store, 1, number, count, false) == VIGIA_OK, "append", NULL);
		number += count;
	}
	append(store, 1, number);
	vigia_store_free(store);
	return 0;
}

static int keys(const char *path)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= 16; i += 2) check(append_to(store, 1, i, 2, i % 4 == 1) == VIGIA_OK, "append", NULL);
	trim(store, 3);
	check(append_to(store, 1, 17, 1, true) == VIGIA_OK, "append", NULL);
	vigia_store_free(store);
	return 0;
}

static int checkpoints(const char *path)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= 8; i++) {
		append(store, 1, i);
		put(store, i % 2 ? "one" : "two", i);
	}
	put(store, "one", 2); /* back */
	append(store, 1, 9);
	put(store, "three", 9);
	vigia_store_free(store);
	return 0;
}

static int trims(const char *path)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= 30; i += 10) check(append_to(store, 1, i, 10, false) == VIGIA_OK, "append", NULL);
	trim(store, 5);
	append(store, 1, 31);
	trim(store, 20);
	append(store, 1, 32);
	trim(store, 32); /* all of them */
	vigia_store_free(store);
	store = open_store();
	append(store, 1, 33);
	trim(store, 33);
	append(store, 1, 34);
	vigia_store_free(store);
	return 0;
}

static int collect(const char *path)
{
	struct vigia_store_options options = plain();
	struct vigia_error err = {0};
	struct vigia_gc gc;
	options.max_events = 6;
	options.max_events_given = true;
	struct vigia_store *store = open_with(&options);
	for (unsigned i = 1; i <= 24; i += 8) {
		check(append_to(store, 1, i, 8, false) == VIGIA_OK, "append", NULL);
		put(store, "w", i);
		told("trim %u", i + 7 - 6);
		check(vigia_store_gc(store, &gc, &err) == VIGIA_OK, "gc", &err);
		told("trimmed %llu", (unsigned long long)gc.oldest - 1);
	}
	append(store, 1, 25);
	vigia_store_free(store);
	return 0;
}

static int interval(const char *path)
{
	struct vigia_store_options options = plain();
	struct vigia_error err = {0};
	options.durability = VIGIA_DURABILITY_INTERVAL;
	options.commit_interval_ns = INT64_C(3600) * 1000000000;
	options.durability_given = options.commit_interval_given = true;
	struct vigia_store *store = open_with(&options);
	for (unsigned i = 1; i <= 24; i++) {
		append(store, 1, i);
		if (i % 8 == 4) {
			check(vigia_store_sync(store, NULL, &err) == VIGIA_OK, "sync", &err);
			told("synced 1 %u", i);
		}
		if (i % 8 == 6) {
			put(store, "w", i - 2);
			told("synced 1 %u", i); /* it went with that commit */
		}
	}
	vigia_store_close(store);
	vigia_store_free(store);
	told("synced 1 24");
	return 0;
}

static int settings(const char *path)
{
	struct vigia_store *store = open_store();
	append(store, 1, 1);
	configure(store, 50000);
	append(store, 1, 2);
	configure(store, 60000);
	append(store, 1, 3);
	become(store, VIGIA_DURABILITY_INTERVAL);
	append(store, 2, 1);
	become(store, VIGIA_DURABILITY_COMMIT);
	told("synced 2 1");
	append(store, 1, 4);
	configure(store, 70000);
	vigia_store_free(store);
	return 0;
}

/* At "none" a power loss may leave anything, but after a sync all is there until the next append, and what comes after
 * "none" is as good as ever. */
static int none_and_back(const char *path)
{
	struct vigia_store *store = open_store();
	append(store, 1, 1);
	become(store, VIGIA_DURABILITY_NONE); /* the last commit that is synced */
	told("none");
	for (unsigned i = 2; i <= 5; i++) {
		static uint8_t object[EVENT_BYTES_MAX];
		struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {(char *)object, event_object(1, i, object)}};
		told("try 1 %u 1", i);
		check(vigia_store_append(store, &event, 1, NULL, NULL) == VIGIA_OK, "append", NULL);
		if (i != 3) continue;
		check(vigia_store_sync(store, NULL, NULL) == VIGIA_OK, "sync", NULL);
		for (unsigned n = 2; n <= 3; n++) told("ack 1 %u 1 %u", n, n);
		told("back");
		told("none");
	}
	become(store, VIGIA_DURABILITY_COMMIT);
	for (unsigned i = 4; i <= 5; i++) told("ack 1 %u 1 %u", i, i);
	told("back");
	for (unsigned i = 6; i <= 10; i++) append(store, 1, i);
	vigia_store_free(store);
	return 0;
}

/* The last events of a block of 4096, whose record goes into the index with them, and out of it with a trim. */
static int blocks(const char *path)
{
	struct vigia_store *store = open_store();
	unsigned number = 2;
	append(store, 1, 1);
	become(store, VIGIA_DURABILITY_NONE);
	told("none");
	for (; number < 4080; number += 40) check(append_to(store, 1, number, 40, false) == VIGIA_OK, "append", NULL);
	become(store, VIGIA_DURABILITY_COMMIT);
	told("back");
	for (; number < 4090; number++) append(store, 1, number);
	put(store, "one", 7);
	for (; number < 4100; number++) append(store, 1, number);
	put(store, "one", 4000);
	trim(store, 4098);
	for (; number < 4104; number++) append(store, 1, number);
	vigia_store_free(store);
	return 0;
}

static int backups(const char *path)
{
	struct vigia_store *store = open_store();
	struct vigia_error err = {0};
	char name[4096];
	for (unsigned i = 1; i <= 6; i++) append(store, 1, i);
	for (int compact = 0; compact < 2; compact++) {
		snprintf(name, sizeof name, "%s-copy%d", path, compact);
		told("copy %s", strrchr(name, '/') + 1);
		check(vigia_store_backup(store, name, compact == 1, &err) == VIGIA_OK, "backup", &err);
		told("copied %s", strrchr(name, '/') + 1);
		append(store, 1, 7 + (unsigned)compact);
	}
	vigia_store_free(store);
	return 0;
}

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	told("handled w %llu", (unsigned long long)event->seq_num);
	return VIGIA_OK;
}

/* A watcher's progress travels with whatever commit comes next. */
static int watch(const char *path)
{
	struct vigia_store *store = open_store();
	struct vigia_error err = {0};
	struct vigia_watch_options options;
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle};
	struct vigia_watcher *watcher;
	vigia_watch_options_init(&options);
	options.batch_size = 2;
	struct vigia_registry *registry = vigia_registry_new(store);
	check(vigia_registry_watch(registry, "w", &handler, &options, &watcher, &err) == VIGIA_OK, "watch", &err);
	unsigned number = 1;
	for (int i = 0; i < 8; i++) {
		for (int k = 0; k < 2; k++) append(store, 1, number++);
		while (vigia_registry_step(registry, 0, &err) == VIGIA_OK) continue;
	}
	check(vigia_registry_stop(registry, 10000000000, &err) == VIGIA_OK, "stop", &err);
	struct vigia_watcher_stats stats;
	vigia_watcher_stats(watcher, &stats);
	check(stats.checkpoint == number - 1, "the checkpoint on stop", NULL);
	told("saved w %llu", (unsigned long long)stats.checkpoint);
	vigia_registry_free(registry);
	append(store, 1, number);
	vigia_store_free(store);
	return 0;
}

static struct vigia_store *handlers_store;
static unsigned handled;

static int handle_and_queue(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                            int64_t *resume_mono_ns, struct vigia_error *err)
{
	append(handlers_store, OUTPUT, ++handled);
	told("handled w %llu", (unsigned long long)event->seq_num);
	return VIGIA_OK;
}

/* At "interval" a handler queues, and its watcher's progress travels with the same commits. */
static int watch_interval(const char *path)
{
	struct vigia_store_options options = plain();
	struct vigia_watch_options watching;
	struct vigia_error err = {0};
	struct vigia_slice type = type_of(1);
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle_and_queue};
	options.durability = VIGIA_DURABILITY_INTERVAL;
	options.commit_interval_ns = INT64_C(3600) * 1000000000;
	options.durability_given = options.commit_interval_given = true;
	handlers_store = open_with(&options);
	vigia_watch_options_init(&watching);
	watching.filter = (struct vigia_filter){.object_types = &type, .object_types_count = 1};
	watching.batch_size = 2;
	struct vigia_registry *registry = vigia_registry_new(handlers_store);
	told("needs w 1 %u", OUTPUT);
	check(vigia_registry_watch(registry, "w", &handler, &watching, NULL, &err) == VIGIA_OK, "watch", &err);
	for (unsigned number = 1; number <= 12; number++) {
		append(handlers_store, 1, number);
		check(vigia_store_sync(handlers_store, NULL, &err) == VIGIA_OK, "sync", &err);
		told("synced 1 %u", number);
		for (unsigned rounds = 0; rounds < number % 4; rounds++) vigia_registry_step(registry, 0, &err);
	}
	check(vigia_registry_stop(registry, 10000000000, &err) == VIGIA_OK, "stop", &err);
	vigia_registry_free(registry);
	vigia_store_free(handlers_store);
	return 0;
}

static int full_map(const char *path)
{
	struct vigia_store_options options = plain();
	options.map_size_bytes = 160 * 1024;
	struct vigia_store *store = open_with(&options);
	unsigned number = 1;
	uint64_t last = 0;
	for (int round = 0; round < 3; round++) {
		while (append_to(store, 1, number, 1, false) == VIGIA_OK) number++;
		number++;
		check(vigia_store_latest(store, &last, NULL) == VIGIA_OK, "latest", NULL);
		put(store, "w", last);
		trim(store, last - 3);
	}
	append(store, 1, 1000); /* a small one */
	vigia_store_free(store);
	return 0;
}

/* ---- making ---- */

static int make_one(int arg)
{
	struct vigia_store *store = open_store();
	if (arg > 0) append(store, (unsigned)arg, 1);
	vigia_store_free(store);
	return 0;
}

static int making(const char *path)
{
	return elsewhere(make_one, 0) || elsewhere(make_one, 1) || elsewhere(make_one, 2);
}

/* LMDB's first write is cut short, in several ways; somebody else goes on. */
static int make_short(int arg)
{
	struct vigia_store *store;
	struct vigia_store_options options = plain();
	fault(FAULT_SHORT, arg);
	int rc = vigia_store_open(file, &options, &store, NULL);
	fault(FAULT_NONE, 0);
	if (rc == VIGIA_OK) {
		append(store, 10 + (unsigned)arg, 1);
		vigia_store_free(store);
	}
	return 0;
}

static int making_cut(const char *path)
{
	for (int n = 1; n <= 4; n++)
		if (elsewhere(make_short, n)) return 1;
	return elsewhere(make_one, 1);
}

static int make_killed(int arg)
{
	fault(FAULT_KILL, arg);
	return make_one(0);
}

static int making_killed(const char *path)
{
	for (int n = 1; n <= 4; n++) elsewhere(make_killed, n);
	return elsewhere(make_one, 1) || elsewhere(make_one, 2);
}

/* With appends between them, which the journal takes. */
static int transactions(const char *path)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= 8; i++) {
		transact(store, 1, 2 * i - 1, 2);
		append(store, 2, 2 * i - 1);
		append(store, 2, 2 * i);
	}
	check(vigia_store_drop_bucket(store, "none", NULL) == VIGIA_NONE, "drop", NULL);
	vigia_store_free(store);
	store = open_store();
	for (unsigned i = 9; i <= 12; i++) transact(store, 1, 2 * i - 1, 2);
	vigia_store_free(store);
	return 0;
}

/* In another order than they are due in, with appends between them, which the journal takes. */
static int timers(const char *path)
{
	static const unsigned ticks[] = {5, 2, 9, 1, 7, 4, 12, 3, 10, 6, 11, 8};
	struct vigia_store *store = open_by_hand();
	for (unsigned i = 0; i < 12; i++) {
		schedule(store, 1, ticks[i], 10 + ticks[i]);
		append(store, 2, i + 1);
		if (i == 5) tick(store, 0, 9);
	}
	for (unsigned now = 11; now <= 17; now += 3) {
		tick(store, 0, now);
		append(store, 2, now + 2);
	}
	vigia_store_free(store);
	store = open_by_hand();
	schedule(store, 1, 13, 30);
	tick(store, 0, 29);
	tick(store, 0, 30);
	vigia_store_free(store);
	return 0;
}

/* ---- several processes ---- */

/* Each stores what is due of the other, too. */
static int schedule_some(int process)
{
	struct vigia_store *store = open_by_hand();
	for (unsigned i = 1; i <= 5; i++) {
		schedule(store, 40 + (unsigned)process, i, 3 * i);
		append(store, 42 + (unsigned)process, i);
		tick(store, (unsigned)process, 3 * i - 1);
	}
	tick(store, (unsigned)process, 13);
	vigia_store_free(store);
	return 0;
}

static int scheduling_processes(const char *path)
{
	pid_t child = fork();
	int status;
	if (child == 0) _exit(schedule_some(0));
	int rc = schedule_some(1);
	waitpid(child, &status, 0);
	return rc | status;
}

static int transact_some(int writer)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= 5; i++) {
		transact(store, (unsigned)writer, i, 1);
		append(store, (unsigned)writer + 10, i);
	}
	vigia_store_free(store);
	return 0;
}

static int transacting_processes(const char *path)
{
	pid_t child = fork();
	int status;
	if (child == 0) _exit(transact_some(30));
	int rc = transact_some(31);
	waitpid(child, &status, 0);
	return rc | status;
}

static int append_some(int writer)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= 6; i++) append(store, (unsigned)writer, i);
	char id[16];
	snprintf(id, sizeof id, "w%d", writer);
	put(store, id, 1);
	vigia_store_free(store);
	return 0;
}

static int processes(const char *path)
{
	enum { COUNT = 4 };
	pid_t children[COUNT];
	int bad = 0, status;
	for (int i = 0; i < COUNT; i++)
		if ((children[i] = fork()) == 0) _exit(append_some(20 + i));
	for (int i = 0; i < COUNT; i++) {
		waitpid(children[i], &status, 0);
		bad |= status;
	}
	return bad;
}

static void *append_in_thread(void *writer)
{
	for (unsigned i = 1; i <= 6; i++) append(handlers_store, (unsigned)(uintptr_t)writer, i);
	return NULL;
}

/* They share commits. */
static int threads(const char *path)
{
	enum { COUNT = 4 };
	pthread_t threads_of[COUNT];
	handlers_store = open_store();
	for (int i = 0; i < COUNT; i++) pthread_create(&threads_of[i], NULL, append_in_thread, (void *)(uintptr_t)(10 + i));
	for (int i = 0; i < COUNT; i++) pthread_join(threads_of[i], NULL);
	vigia_store_free(handlers_store);
	return 0;
}

/* ---- after a loss ---- */

static int recover(const char *path)
{
	struct vigia_store *store = open_store();
	append(store, 60, 1);
	put(store, "after", 1);
	append(store, 60, 2);
	vigia_store_free(store);
	store = open_store();
	append(store, 60, 3);
	vigia_store_free(store);
	return 0;
}

const struct workload workloads[] = {
	{"single", single, 3, WITHOUT_JOURNAL},
	{"batches", batches, 3, WITHOUT_JOURNAL},
	{"keys", keys, 2, WITHOUT_JOURNAL},
	{"checkpoints", checkpoints, 2, WITHOUT_JOURNAL},
	{"trims", trims, 3, WITHOUT_JOURNAL},
	{"collect", collect, 2, WITHOUT_JOURNAL},
	{"interval", interval, 2, WITHOUT_JOURNAL},
	{"settings", settings, 2, WITHOUT_JOURNAL},
	{"none_and_back", none_and_back, 1, WITHOUT_JOURNAL},
	{"blocks", blocks, 1, WITHOUT_JOURNAL},
	{"backups", backups, 1, WITHOUT_JOURNAL},
	{"watch", watch, 2, WITHOUT_JOURNAL},
	{"watch_interval", watch_interval, 2, WITHOUT_JOURNAL},
	{"full_map", full_map, 2, WITHOUT_JOURNAL},
	{"making", making, 4, WITHOUT_JOURNAL},
	{"making_cut", making_cut, 2, WITHOUT_JOURNAL},
	{"making_killed", making_killed, 2, WITHOUT_JOURNAL},
	{"processes", processes, 3, WITHOUT_JOURNAL},
	{"transactions", transactions, 2, WITHOUT_JOURNAL},
	{"transacting_processes", transacting_processes, 2, WITHOUT_JOURNAL},
	{"timers", timers, 2, WITHOUT_JOURNAL},
	{"scheduling_processes", scheduling_processes, 2, WITHOUT_JOURNAL},
	{"effects", work_effects, 3, WITHOUT_JOURNAL},
	{"effects_processes", work_effects_processes, 2, WITHOUT_JOURNAL},
	{"letters", work_letters, 2, WITHOUT_JOURNAL},
	{"threads", threads, 2, WITHOUT_JOURNAL},
	{"killed", work_killed, 3, WITHOUT_JOURNAL},
	{"doubt", work_doubt, 10, WITHOUT_JOURNAL},
	{"doubt_beside", work_doubt_beside, 10, WITHOUT_JOURNAL},
	{"doubt_after", work_doubt_after, 10, WITHOUT_JOURNAL},
	{"journal_single", single, 3, WITH_JOURNAL},
	{"journal_batches", batches, 3, WITH_JOURNAL},
	{"journal_keys", keys, 2, WITH_JOURNAL},
	{"journal_checkpoints", checkpoints, 2, WITH_JOURNAL},
	{"journal_trims", trims, 3, WITH_JOURNAL},
	{"journal_collect", collect, 2, WITH_JOURNAL},
	{"journal_interval", interval, 2, WITH_JOURNAL},
	{"journal_settings", settings, 2, WITH_JOURNAL},
	{"journal_none_and_back", none_and_back, 1, WITH_JOURNAL},
	{"journal_blocks", blocks, 1, WITH_JOURNAL},
	{"journal_backups", backups, 1, WITH_JOURNAL},
	{"journal_watch", watch, 2, WITH_JOURNAL},
	{"journal_watch_interval", watch_interval, 2, WITH_JOURNAL},
	{"journal_making", making, 3, WITH_JOURNAL},
	{"journal_processes", processes, 3, WITH_JOURNAL},
	{"journal_transactions", transactions, 2, WITH_JOURNAL},
	{"journal_transacting_processes", transacting_processes, 2, WITH_JOURNAL},
	{"journal_timers", timers, 2, WITH_JOURNAL},
	{"journal_scheduling_processes", scheduling_processes, 2, WITH_JOURNAL},
	{"journal_effects", work_effects, 3, WITH_JOURNAL},
	{"journal_effects_processes", work_effects_processes, 2, WITH_JOURNAL},
	{"journal_letters", work_letters, 2, WITH_JOURNAL},
	{"journal_threads", threads, 2, WITH_JOURNAL},
	{"journal_killed", work_killed, 3, WITH_JOURNAL},
	{"journal_doubt", work_doubt, 4, WITH_JOURNAL},
	{"journal_doubt_beside", work_doubt_beside, 4, WITH_JOURNAL},
	{"journal_doubt_after", work_doubt_after, 4, WITH_JOURNAL},
	{"meta_killed", work_meta_killed, 2, WITHOUT_JOURNAL},
	{"journal_meta_killed", work_meta_killed, 4, WITH_JOURNAL},
	{"eio", work_eio, 2, WITHOUT_JOURNAL},
	{"journal_eio", work_eio, 5, WITH_JOURNAL},
	{"killed_at_any_write", work_killed_at_any_write, 2, WITHOUT_JOURNAL},
	{"journal_killed_at_any_write", work_killed_at_any_write, 5, WITH_JOURNAL},
	{"restored", work_restored, 1, WITHOUT_JOURNAL},
	{"journal_restored", work_restored, 3, WITH_JOURNAL},
	{"journal_upgrade", work_upgrade, 3, WITH_JOURNAL},
	{"journal_tight_disk", work_tight_disk, 1, WITH_JOURNAL},
	{"journal_small_disk", work_small_disk, 2, WITH_JOURNAL},
	{"recover", recover, 0, AS_IT_IS}, /* on a state that a loss left: power.c */
	{NULL, NULL, 0, AS_IT_IS},
};

const struct workload *workload_find(const char *name)
{
	for (const struct workload *w = workloads; w->name; w++)
		if (strcmp(w->name, name) == 0) return w;
	return NULL;
}

int workload_run(const struct workload *workload, const char *path)
{
	file = path;
	form = workload->form;
	return workload->run(path);
}
