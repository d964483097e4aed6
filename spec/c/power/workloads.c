/*
 * workloads.c - the workloads. Each runs in a process of its own, under the recorder, and marks what it tries and is
 * told (facts.h).
 */
#include "workloads.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "facts.h"
#include "record.h"
#include "store/store.h"
#include "vigia.h"

/* ---- what the recorder has for us ---- */

__attribute__((format(printf, 1, 2))) static void told(const char *format, ...)
{
	char line[128];
	va_list args;
	record_mark_fn *mark;
	*(void **)&mark = dlsym(RTLD_DEFAULT, "power_mark");
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (mark) mark(line);
}

static void fault(enum record_fault kind, int n)
{
	record_fault_fn *arm;
	*(void **)&arm = dlsym(RTLD_DEFAULT, "power_fault");
	if (arm) arm((int)kind, n);
}

static void check(bool ok, const char *what, const struct vigia_error *err)
{
	if (ok) return;
	fprintf(stderr, "# %s: %s (%s)\n", what, err ? err->message : "", err ? err->cause : "");
	exit(3);
}

/* ---- steps ---- */

static const char *file;
static bool with_journal;

static struct vigia_store *open_with(const struct vigia_store_options *options)
{
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	int rc = vigia_store_open(file, options, &store, &err);
	check(rc == VIGIA_OK, "open", &err);
	return store;
}

static struct vigia_store_options plain(void)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.collect = false;
	options.journal = options.journal_given = with_journal;
	return options;
}

static struct vigia_store *open_store(void)
{
	struct vigia_store_options options = plain();
	return open_with(&options);
}

enum { OUTPUT = 50 }; /* the writer of what a handler stores */

static struct vigia_slice type_of(unsigned writer)
{
	return writer == OUTPUT ? (struct vigia_slice){"Out", 3} : (struct vigia_slice){"Job", 3};
}

static int append_to(struct vigia_store *store, unsigned writer, unsigned number, unsigned count, bool key)
{
	static _Thread_local uint8_t objects[40][EVENT_BYTES_MAX];
	struct vigia_new_event events[40];
	struct vigia_error err = {0};
	struct vigia_append_options options = {.size = sizeof options};
	char name[32];
	uint64_t seq_num = 0;
	for (unsigned i = 0; i < count; i++)
		events[i] = (struct vigia_new_event){
			{"CREATE", 6}, type_of(writer), {(char *)objects[i], event_object(writer, number + i, objects[i])}};
	snprintf(name, sizeof name, "k%u-%u", writer, number);
	if (key) options.key = (struct vigia_slice){name, strlen(name)};
	told("try %u %u %u%s", writer, number, count, key ? " key" : "");
	int rc = vigia_store_append_with(store, events, count, &options, &seq_num, NULL, &err);
	if (rc == VIGIA_OK && seq_num == 0) told("queue %u %u %u", writer, number, count);
	else if (rc == VIGIA_OK) told("ack %u %u %u %llu", writer, number, count, (unsigned long long)seq_num);
	else told("%s %u %u %u", rc == VIGIA_EUNKNOWN ? "unknown" : "nack", writer, number, count);
	return rc;
}

static void append(struct vigia_store *store, unsigned writer, unsigned number)
{
	check(append_to(store, writer, number, 1, false) == VIGIA_OK, "append", NULL);
}

static void put(struct vigia_store *store, const char *id, uint64_t seq_num)
{
	struct vigia_error err = {0};
	told("put %s %llu", id, (unsigned long long)seq_num);
	check(vigia_checkpoint_put(store, id, seq_num, &err) == VIGIA_OK, "checkpoint", &err);
	told("saved %s %llu", id, (unsigned long long)seq_num);
}

static void trim(struct vigia_store *store, uint64_t upto)
{
	struct vigia_error err = {0};
	told("trim %llu", (unsigned long long)upto);
	check(vigia_store_trim(store, upto, NULL, &err) == VIGIA_OK, "trim", &err);
	told("trimmed %llu", (unsigned long long)upto);
}

static void configure(struct vigia_store *store, int64_t size)
{
	struct vigia_store_options changes;
	struct vigia_error err = {0};
	vigia_store_options_init(&changes);
	changes.max_event_size_bytes = size;
	changes.max_event_size_given = true;
	told("set %lld", (long long)size);
	check(vigia_store_configure(store, &changes, &err) == VIGIA_OK, "configure", &err);
	told("changed %lld", (long long)size);
}

static void become(struct vigia_store *store, int durability)
{
	struct vigia_store_options changes;
	struct vigia_error err = {0};
	vigia_store_options_init(&changes);
	changes.durability = durability;
	changes.commit_interval_ns = INT64_C(3600) * 1000000000;
	changes.durability_given = changes.commit_interval_given = true;
	check(vigia_store_configure(store, &changes, &err) == VIGIA_OK, "durability", &err);
}

/* In a process of its own; its exit status, or 256 + the signal that killed it. */
static int elsewhere(int (*run)(int arg), int arg)
{
	int status;
	pid_t child = fork();
	if (child == 0) _exit(run(arg));
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

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

/* ---- several processes ---- */

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

/* A process is killed in the middle of its commit; others go on. */
static int append_killed(int n)
{
	struct vigia_store *store = open_store();
	fault(FAULT_KILL, n);
	append(store, 30 + (unsigned)n, 1);
	append(store, 30 + (unsigned)n, 2);
	return 0;
}

static int killed(const char *path)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= 4; i++) append(store, 1, i);
	for (int n = 1; n <= 6; n++) {
		elsewhere(append_killed, n);
		append(store, 1, 4 + (unsigned)n);
	}
	vigia_store_free(store);
	return 0;
}

/* ---- a commit in doubt ---- */

/* What fails, and what is done then. The one after it is of another shape, so that it uses other pages in other
 * ways. */
static const struct {
	enum record_fault fault;
	enum { SMALL, BATCH, TRIM } doubtful;
} doubts[] = {{FAULT_META, SMALL},      {FAULT_META_TWICE, BATCH}, {FAULT_META, BATCH},      {FAULT_META_EARLY, SMALL},
              {FAULT_META, TRIM},       {FAULT_SYNC, BATCH},       {FAULT_META_TWICE, TRIM}, {FAULT_SHORT, BATCH},
              {FAULT_META_KILL, BATCH}, {FAULT_META_KILL, SMALL}};
enum { DOUBTS = sizeof doubts / sizeof *doubts, BEFORE = 60 };

static bool kills(unsigned k)
{
	return doubts[k].fault == FAULT_META_KILL;
}

static void doubtful(struct vigia_store *store, unsigned k)
{
	fault(doubts[k].fault, 1);
	if (doubts[k].doubtful == TRIM) {
		told("trim %u", 3 * k);
		if (vigia_store_trim(store, 3 * k, NULL, NULL) == VIGIA_OK) told("trimmed %u", 3 * k);
	} else {
		append_to(store, 40 + k, 1, doubts[k].doubtful == BATCH ? 12 : 1, false);
	}
	fault(FAULT_NONE, 0);
}

static struct vigia_store *open_to_doubt(void)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= BEFORE; i += 20) check(append_to(store, 1, i, 20, false) == VIGIA_OK, "append", NULL);
	return store;
}

static void after_doubt(struct vigia_store *store, unsigned k)
{
	append(store, 1, BEFORE + 1 + 2 * k);
	put(store, "w", k);
	append(store, 1, BEFORE + 2 + 2 * k);
}

/* One after the other in one process. */
static int doubt(const char *path)
{
	struct vigia_store *store = open_to_doubt();
	for (unsigned k = 0; k < DOUBTS && !kills(k); k++) {
		doubtful(store, k);
		after_doubt(store, k);
	}
	vigia_store_free(store);
	return 0;
}

static int doubt_once(int k)
{
	doubtful(open_store(), (unsigned)k);
	return 0; /* it ends as it is */
}

/* In one process; another, which has the store open, goes on. */
static int doubt_beside(const char *path)
{
	struct vigia_store *store = open_to_doubt();
	for (unsigned k = 0; k < DOUBTS; k++) {
		elsewhere(doubt_once, (int)k);
		after_doubt(store, k);
	}
	vigia_store_free(store);
	return 0;
}

/* In one process; another, which opens the store afterwards, goes on. */
static int doubt_after(const char *path)
{
	struct vigia_store *store = open_to_doubt();
	vigia_store_free(store);
	for (unsigned k = 0; k < DOUBTS; k++) {
		elsewhere(doubt_once, (int)k);
		store = open_store();
		after_doubt(store, k);
		vigia_store_free(store);
	}
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
	{"single", single, 3, false},
	{"batches", batches, 3, false},
	{"keys", keys, 2, false},
	{"checkpoints", checkpoints, 2, false},
	{"trims", trims, 3, false},
	{"collect", collect, 2, false},
	{"interval", interval, 2, false},
	{"settings", settings, 2, false},
	{"none_and_back", none_and_back, 1, false},
	{"backups", backups, 1, false},
	{"watch", watch, 2, false},
	{"watch_interval", watch_interval, 2, false},
	{"full_map", full_map, 2, false},
	{"making", making, 4, false},
	{"making_cut", making_cut, 2, false},
	{"making_killed", making_killed, 2, false},
	{"processes", processes, 3, false},
	{"threads", threads, 2, false},
	{"killed", killed, 3, false},
	{"doubt", doubt, 10, false},
	{"doubt_beside", doubt_beside, 10, false},
	{"doubt_after", doubt_after, 10, false},
	{"journal_single", single, 3, true},
	{"journal_batches", batches, 3, true},
	{"journal_keys", keys, 2, true},
	{"journal_checkpoints", checkpoints, 2, true},
	{"journal_trims", trims, 3, true},
	{"journal_collect", collect, 2, true},
	{"journal_interval", interval, 2, true},
	{"journal_settings", settings, 2, true},
	{"journal_none_and_back", none_and_back, 1, true},
	{"journal_backups", backups, 1, true},
	{"journal_watch", watch, 2, true},
	{"journal_watch_interval", watch_interval, 2, true},
	{"journal_making", making, 3, true},
	{"journal_processes", processes, 3, true},
	{"journal_threads", threads, 2, true},
	{"journal_killed", killed, 3, true},
	{"journal_doubt", doubt, 4, true},
	{"journal_doubt_beside", doubt_beside, 4, true},
	{"journal_doubt_after", doubt_after, 4, true},
	{"recover", recover, 0, false}, /* on a state that a loss left: power.c */
	{NULL, NULL, 0, false},
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
	with_journal = workload->journal;
	return workload->run(path);
}
