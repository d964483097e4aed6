/*
 * budget.c - does one thing COUNT times, on one thread, for spec/budget_spec.lua, which has valgrind count its
 * instructions. The difference of two counts is what the thing itself takes.
 *
 * Usage: budget FOLDER WORK COUNT; `budget FOLDER compiler` prints what it was built with.
 */
#include "lib/bench.h"

enum { BATCH = 1000, LOG = 10000 };

static struct vigia__buf object;

static struct vigia_store *open_store(const char *name, bool fresh, bool journal)
{
	char path[512];
	struct vigia_error err = {0};
	struct vigia_store_options options;
	struct vigia_store *store;
	vigia_store_options_init(&options);
	options.collect = false; /* no thread but this one */
	if (fresh) {
		options.durability = VIGIA_DURABILITY_NONE;
		options.journal = journal;
		options.durability_given = options.journal_given = true;
	}
	bench_ok(vigia_store_open(fresh ? bench_fresh_path(name, path) : bench_path(name, path), &options, &store, &err),
	         &err);
	return store;
}

static void append(struct vigia_store *store, int count, int batch)
{
	static struct vigia_new_event events[BATCH];
	struct vigia_error err = {0};
	for (int i = 0; i < batch; i++) events[i] = bench_event("Job", &object);
	for (int i = 0; i < count; i++) bench_ok(vigia_store_append(store, events, (size_t)batch, NULL, &err), &err);
}

static void append_journal(int count)
{
	struct vigia_store *store = open_store("budget.db", true, true);
	append(store, count, 1);
	vigia_store_free(store);
}

static void append_lmdb(int count)
{
	struct vigia_store *store = open_store("budget.db", true, false);
	append(store, count, 1);
	vigia_store_free(store);
}

static void append_batch(int count)
{
	struct vigia_store *store = open_store("budget.db", true, true);
	append(store, count, BATCH);
	vigia_store_free(store);
}

/* Run without valgrind, before replay and tail. */
static void fill(int count)
{
	(void)count;
	struct vigia_store *store = open_store("log.db", true, true);
	append(store, LOG / BATCH, BATCH);
	vigia_store_free(store);
}

static void replay(int count)
{
	struct vigia_store *store = open_store("log.db", false, true);
	for (int i = 0; i < count; i++) bench_replay(store, NULL, LOG, LOG);
	vigia_store_free(store);
}

/* The events are in the journal still. */
static void replay_tail(int count)
{
	struct vigia_store *store = open_store("budget.db", true, true);
	append(store, BATCH, 1);
	for (int i = 0; i < count; i++) bench_replay(store, NULL, BATCH, BATCH);
	vigia_store_free(store);
}

/* An append, and the rounds of a registry that take its event to a handler and find nothing more. */
static void wake(int count)
{
	struct vigia_error err = {0};
	struct vigia_store *store = open_store("budget.db", true, true);
	struct vigia_registry *registry = vigia_registry_new(store);
	uint64_t seen = 0;
	struct vigia_handler handler = {.size = sizeof handler, .handle = bench_count_event, .ctx = &seen};
	struct vigia_watch_options options;
	vigia_watch_options_init(&options);
	options.ephemeral = true;
	bench_ok(vigia_registry_watch(registry, "budget", &handler, &options, NULL, &err), &err);
	for (int i = 1; i <= count; i++) {
		append(store, 1, 1);
		while (vigia_registry_step(registry, 0, &err) == VIGIA_OK) continue;
		if (seen != (uint64_t)i) bench_die("wake", "an event was not handled");
	}
	vigia_registry_free(registry);
	vigia_store_free(store);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(int count);
	} works[] = {{"append_journal", append_journal},
	             {"append_lmdb", append_lmdb},
	             {"append_batch", append_batch},
	             {"fill", fill},
	             {"replay", replay},
	             {"replay_tail", replay_tail},
	             {"wake", wake}};
	if (argc == 3 && strcmp(argv[2], "compiler") == 0) {
#if defined(__x86_64__) && !defined(__clang__)
		printf("gcc %d x86-64\n", __GNUC__);
#else
		printf("another\n");
#endif
		return 0;
	}
	if (argc != 4) bench_die("usage", "budget FOLDER WORK COUNT");
	bench_folder = argv[1];
	object = bench_object();
	for (size_t i = 0; i < sizeof works / sizeof *works; i++)
		if (strcmp(works[i].name, argv[2]) == 0) works[i].run(atoi(argv[3]));
	vigia__buf_deinit(&object);
	return 0;
}
