/*
 * test_wait.c - reads that look for long, and reads that wait: where a look ends, who is woken, and what is found
 * without being told.
 *
 * The backend's functions are exchanged behind an open store: its scan tells how long it may look, its commits are kept
 * a secret.
 */
#include "folder.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drive/drive.h"
#include "store/lmdb_private.h"
#include "store/store.h"

static struct vigia_store *open_store(bool memory)
{
	struct vigia_store *store = NULL;
	struct vigia_store_options options = quiet_options();
	struct vigia_error err = {0};
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	if (vigia_store_open(memory ? ":memory:" : path, &options, &store, &err) < 0) fail_msg("%s", err.message);
	return store;
}

static void append(struct vigia_store *store, const char *type, size_t count)
{
	enum { MOST = 2000 };
	static struct vigia_new_event events[MOST];
	struct vigia_error err = {0};
	assert_true(count <= MOST);
	for (size_t i = 0; i < count; i++) events[i] = (struct vigia_new_event){{"CREATE", 6}, slice_of(type), {"\x01", 1}};
	if (vigia_store_append(store, events, count, NULL, &err) < 0) fail_msg("%s", err.message);
}

static struct vigia_read wanting(const struct vigia_slice *type, struct vigia_iterator from, int64_t timeout_ns)
{
	return (struct vigia_read){.size = sizeof(struct vigia_read),
	                           .from = from,
	                           .timeout_ns = timeout_ns,
	                           .filter = {.object_types = type, .object_types_count = 1}};
}

/* ---- how long a look takes ---- */

static const struct vigia_slice wanted = {"Wanted", 6};

static struct {
	int (*scan)(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch, struct vigia_error *err);
	int looks;
	int64_t begin_ns, until_ns; /* of the last look: when it began at the latest, when it is over */
	bool at_once;               /* let its time be over from the start */
} seen;

static int scan_seen(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch,
                     struct vigia_error *err)
{
	seen.looks++;
	seen.begin_ns = vigia__mono_ns();
	seen.until_ns = scan->until_mono_ns;
	if (seen.at_once) scan->until_mono_ns = 0;
	return seen.scan(b, scan, batch, err);
}

static void see(struct vigia_store *store, bool at_once)
{
	seen.scan = store->backend->scan;
	seen.looks = 0;
	seen.at_once = at_once;
	store->backend->scan = scan_seen;
}

static void S8_a_look_has_ten_milliseconds(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++) {
		struct vigia_store *store = open_store(memory);
		struct vigia_batch *batch = vigia_batch_new();
		struct vigia_iterator next;
		append(store, "Other", 10);
		see(store, false);
		struct vigia_read request = wanting(&wanted, (struct vigia_iterator){VIGIA_TRIM_HORIZON, 0}, 0);
		int64_t before = vigia__mono_ns();
		assert_int_equal(vigia_store_read(store, &request, batch, &next, NULL), VIGIA_OK);
		assert_int_equal(seen.looks, 1);
		assert_in_range(seen.until_ns - 10000000, before, seen.begin_ns);
		vigia_batch_free(batch);
		vigia_store_free(store);
	}
}

/* The clock is asked once in a while: not before the first 100 events, and before 1000 of them. */
static void S8_a_look_ends_when_its_time_is_over_and_the_position_has_moved(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++) {
		struct vigia_store *store = open_store(memory);
		struct vigia_batch *batch = vigia_batch_new();
		append(store, "Other", 2000);
		append(store, "Wanted", 1);
		see(store, true);
		struct vigia_iterator next = {VIGIA_TRIM_HORIZON, 0};
		uint64_t before = 0;
		int calls = 0;
		do {
			struct vigia_read request = wanting(&wanted, next, 0);
			assert_int_equal(vigia_store_read(store, &request, batch, &next, NULL), VIGIA_OK);
			assert_int_equal(next.kind, VIGIA_AFTER);
			assert_in_range(next.seq_num - before, 1, 1000);
			assert_true(next.seq_num - before >= 100 || vigia_batch_count(batch) == 1);
			assert_int_equal(vigia_batch_count(batch), next.seq_num == 2001);
			before = next.seq_num;
			calls++;
		} while (next.seq_num < 2001);
		assert_true(calls > 2);
		assert_int_equal(seen.looks, calls);
		/* who may wait goes on looking, in one call */
		struct vigia_read request = wanting(&wanted, (struct vigia_iterator){VIGIA_TRIM_HORIZON, 0}, 60000000000);
		assert_int_equal(vigia_store_read(store, &request, batch, &next, NULL), VIGIA_OK);
		assert_int_equal(vigia_batch_count(batch), 1);
		assert_int_equal(next.seq_num, 2001);
		assert_true(seen.looks >= 2 * calls - 1);
		assert_true(seen.until_ns - seen.begin_ns <= 10000000); /* the last of them began anew, too */
		vigia_batch_free(batch);
		vigia_store_free(store);
	}
}

/* ---- who is woken ---- */

enum { WAITERS = 8, ROUNDS = 40 };

struct waiter {
	pthread_t thread;
	struct vigia_store *store;
	atomic_int *ready;
	size_t types_count; /* of the types it wants, the last of which is what comes; 0: any */
	uint64_t from;
	struct vigia_event event;
	char operation[16];
	int64_t woke_ns;
};

/* One type has a word of its own to listen to, a few are listened to together, many by the word for anything. */
static const size_t kinds[] = {0, 1, 2, 40};
static struct vigia_slice wanted_types[40];

static void name_types(const char *last)
{
	static char names[COUNT_OF(wanted_types)][16];
	for (size_t i = 0; i < COUNT_OF(wanted_types); i++) {
		snprintf(names[i], sizeof names[i], "T%zu", i); /* shorter: sorted before `last` */
		wanted_types[i] = slice_of(i + 1 < COUNT_OF(wanted_types) ? names[i] : last);
	}
}

static void *wait_for_one(void *arg)
{
	struct waiter *waiter = arg;
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_read request = {.size = sizeof request,
	                             .from = {VIGIA_AFTER, waiter->from},
	                             .timeout_ns = 60000000000,
	                             .filter = {.object_types = wanted_types + COUNT_OF(wanted_types) - waiter->types_count,
	                                        .object_types_count = waiter->types_count}};
	atomic_fetch_add(waiter->ready, 1);
	if (vigia_store_read(waiter->store, &request, batch, &next, NULL) < 0 || vigia_batch_count(batch) != 1 ||
	    vigia_batch_event(batch, 0, &waiter->event, NULL) < 0)
		waiter->event = (struct vigia_event){0};
	snprintf(waiter->operation, sizeof waiter->operation, "%.*s", (int)waiter->event.operation.len,
	         waiter->event.operation.data);
	waiter->woke_ns = vigia__mono_ns();
	vigia_batch_free(batch);
	return NULL;
}

/* Who is left out finds the event by himself a second later: forty rounds of that are not to be overlooked. */
static void S7_all_are_woken_by_one_append_each_with_the_same_event(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(false);
	name_types("Wanted");
	int64_t late_ns = 0;
	int late = 0;
	for (int round = 0; round < ROUNDS && late < 5; round++) {
		struct waiter waiters[WAITERS];
		atomic_int ready = 0;
		for (int i = 0; i < WAITERS; i++) {
			waiters[i] = (struct waiter){.store = store, .ready = &ready, .from = (uint64_t)round};
			waiters[i].types_count = kinds[(size_t)i % COUNT_OF(kinds)];
			assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_for_one, &waiters[i]), 0);
		}
		while (atomic_load(&ready) < WAITERS) usleep(100);
		usleep(2000); /* most of them sleep by now; who does not finds it at the first look */
		append(store, "Wanted", 1);
		int64_t told_ns = vigia__mono_ns();
		for (int i = 0; i < WAITERS; i++) {
			pthread_join(waiters[i].thread, NULL);
			assert_int_equal(waiters[i].event.seq_num, round + 1);
			assert_int_equal(waiters[i].event.at_ns, waiters[0].event.at_ns);
			assert_string_equal(waiters[i].operation, "CREATE");
			if (waiters[i].woke_ns - told_ns > late_ns) late_ns = waiters[i].woke_ns - told_ns;
		}
		if (late_ns > 500000000) late++;
		late_ns = 0;
	}
	if (late >= 5) fail_msg("in %d rounds somebody was woken late", late);
	vigia_store_free(store);
}

/* ---- what nobody was told of ---- */

static void tell_nobody(void *ctx, const struct vigia__wake_set *words)
{
	(void)ctx, (void)words;
}

/* From now on this process commits and does not say so: as if it were killed each time before it could. */
static void keep_secret(struct vigia_store *store, struct vigia__commit_ops *ops)
{
	struct lmdb_backend *b = (struct lmdb_backend *)store->backend;
	*ops = *b->commit.ops;
	ops->publish = tell_nobody;
	b->commit.ops = ops;
}

/* A second, and what a busy machine takes. */
enum { SOON_NS = 1900000000 };

static void S6_an_event_of_a_process_that_died_before_it_told_is_found_within_a_second(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(false);
	struct vigia__commit_ops ops;
	keep_secret(store, &ops);
	name_types("Secret");
	for (int kind = 0; kind < (int)COUNT_OF(kinds); kind++) {
		atomic_int ready = 0;
		struct waiter waiter = {.store = store, .ready = &ready, .from = (uint64_t)kind, .types_count = kinds[kind]};
		assert_int_equal(pthread_create(&waiter.thread, NULL, wait_for_one, &waiter), 0);
		while (atomic_load(&ready) == 0) usleep(100);
		usleep(50000);
		append(store, "Secret", 1);
		int64_t stored_ns = vigia__mono_ns();
		pthread_join(waiter.thread, NULL);
		assert_int_equal(waiter.event.seq_num, kind + 1);
		assert_true(waiter.woke_ns - stored_ns < SOON_NS);
	}
	vigia_store_free(store);
}

static _Atomic int64_t handled_ns;

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	(void)ctx, (void)event, (void)resume_mono_ns;
	atomic_store(&handled_ns, vigia__mono_ns());
	return vigia_watcher_stop(attempt->watcher, 0, err);
}

/* Ends a registry that does not find it. */
static void *append_later(void *arg)
{
	struct vigia_registry *registry = arg;
	usleep(50000);
	append(registry->store, "Secret", 1);
	int64_t stored_ns = vigia__mono_ns();
	for (int i = 0; i < 100 && atomic_load(&handled_ns) == 0; i++) usleep(50000);
	if (atomic_load(&handled_ns) == 0) vigia_registry_interrupt(registry);
	return (void *)(intptr_t)stored_ns;
}

static void S6_a_watcher_finds_it_too(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(false);
	struct vigia__commit_ops ops;
	struct vigia_error err = {0};
	keep_secret(store, &ops);
	struct vigia_registry *registry = vigia_registry_new(store);
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle};
	if (vigia_registry_watch(registry, "w", &handler, NULL, NULL, &err) < 0) fail_msg("%s", err.message);
	pthread_t thread;
	void *stored_ns;
	assert_int_equal(pthread_create(&thread, NULL, append_later, registry), 0);
	int rc = vigia_registry_run(registry, &err);
	pthread_join(thread, &stored_ns);
	if (rc < 0) fail_msg("%s", err.message);
	assert_true(atomic_load(&handled_ns) - (int64_t)(intptr_t)stored_ns < SOON_NS);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

/* ---- the end of the log ---- */

/* A handler that counts, and appends one event more while it has number `at`. */
struct appender {
	struct vigia_store *store;
	uint64_t at, handled;
	bool long_turn; /* and then takes longer than a turn */
};

static int handle_and_append(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                             int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct appender *appender = ctx;
	(void)attempt, (void)resume_mono_ns, (void)err;
	appender->handled++;
	if (event->seq_num != appender->at) return VIGIA_OK;
	append(appender->store, "Wanted", 1);
	if (appender->long_turn) usleep(10000);
	return VIGIA_OK;
}

static struct vigia_registry *registry_of(struct appender *appender, bool memory)
{
	struct vigia_error err = {0};
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle_and_append, .ctx = appender};
	struct vigia_watch_options options;
	vigia_watch_options_init(&options);
	options.ephemeral = true;
	options.filter = (struct vigia_filter){.object_types = &wanted, .object_types_count = 1};
	appender->store = open_store(memory);
	struct vigia_registry *registry = vigia_registry_new(appender->store);
	if (vigia_registry_watch(registry, "w", &handler, &options, NULL, &err) < 0) fail_msg("%s", err.message);
	return registry;
}

static void go_on_until_nothing_is_left(struct vigia_registry *registry)
{
	while (vigia_registry_step(registry, 0, NULL) == VIGIA_OK) continue;
}

static void end_of(struct vigia_registry *registry, struct appender *appender)
{
	vigia_registry_free(registry);
	vigia_store_free(appender->store);
}

static void a_watcher_that_has_read_all_looks_only_when_it_is_woken(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++) {
		struct appender appender = {.at = 0};
		struct vigia_registry *registry = registry_of(&appender, memory);
		go_on_until_nothing_is_left(registry);
		see(appender.store, false);
		for (int i = 1; i <= 5; i++) {
			append(appender.store, "Wanted", 1);
			go_on_until_nothing_is_left(registry);
			assert_int_equal(appender.handled, i);
			assert_int_equal(seen.looks, i);
		}
		end_of(registry, &appender);
	}
}

static void W3_an_event_that_a_handler_appends_is_handled_in_the_same_turn(void **state)
{
	(void)state;
	struct appender appender = {.at = 3};
	struct vigia_registry *registry = registry_of(&appender, false);
	append(appender.store, "Wanted", 3);
	assert_int_equal(vigia_registry_step(registry, 0, NULL), VIGIA_OK);
	assert_int_equal(appender.handled, 4);
	end_of(registry, &appender);
}

/* The round between the two turns takes note of the event, and of the words as they are then. */
static void W3_an_event_that_comes_between_two_turns_of_a_batch_is_handled(void **state)
{
	(void)state;
	struct appender appender = {.at = 1, .long_turn = true};
	struct vigia_registry *registry = registry_of(&appender, false);
	append(appender.store, "Wanted", 12);
	assert_int_equal(vigia_registry_step(registry, 0, NULL), VIGIA_OK);
	assert_in_range(appender.handled, 1, 11); /* a turn */
	go_on_until_nothing_is_left(registry);
	assert_int_equal(appender.handled, 13);
	end_of(registry, &appender);
}

/* ---- local interrupts ---- */

/* How often this thread has slept. */
static long sleeps_of(pid_t pid, pid_t tid)
{
	char name[64], line[128];
	long count = -1;
	snprintf(name, sizeof name, "/proc/%d/task/%d/status", (int)pid, (int)tid);
	FILE *file = fopen(name, "r");
	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1) break;
	if (file) fclose(file);
	return count;
}

struct driven {
	pthread_t thread;
	struct vigia_registry *registry;
	atomic_int tid, steps;
	atomic_bool over;
};

static void *drive(void *arg)
{
	struct driven *driven = arg;
	atomic_store(&driven->tid, (int)gettid());
	while (!atomic_load(&driven->over)) {
		atomic_fetch_add(&driven->steps, 1);
		vigia_registry_step(driven->registry, -1, NULL);
	}
	return NULL;
}

static void start_driven(struct driven *driven, struct vigia_store *store, const char *id)
{
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle};
	struct vigia_watch_options options;
	vigia_watch_options_init(&options);
	options.ephemeral = true;
	*driven = (struct driven){.registry = vigia_registry_new(store)};
	assert_int_equal(vigia_registry_watch(driven->registry, id, &handler, &options, NULL, NULL), VIGIA_OK);
	assert_int_equal(pthread_create(&driven->thread, NULL, drive, driven), 0);
	while (atomic_load(&driven->steps) == 0) usleep(100);
}

static void end_driven(struct driven *driven)
{
	atomic_store(&driven->over, true);
	vigia_registry_interrupt(driven->registry);
	pthread_join(driven->thread, NULL);
	vigia_registry_free(driven->registry);
}

/* A process of its own that waits for an event in vain; its number comes through the pipe when it is about to. */
static pid_t start_idle_process(void)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct vigia_store *store = open_store(false);
		struct vigia_batch *batch = vigia_batch_new();
		struct vigia_iterator next;
		struct vigia_read request = {.size = sizeof request, .from = {VIGIA_AFTER, 0}, .timeout_ns = 60000000000};
		(void)!write(ends[1], "", 1);
		vigia_store_read(store, &request, batch, &next, NULL);
		_exit(1);
	}
	char byte;
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	close(ends[1]);
	return pid;
}

/* Whoever waits looks once a second by himself (S6): far less often than there are interrupts here. */
static void an_interrupt_wakes_its_registry_and_nobody_else(void **state)
{
	(void)state;
	enum { INTERRUPTS = 300, BY_ITSELF = 30 };
	pid_t idle = start_idle_process();
	struct vigia_store *store = open_store(false);
	struct driven one, other;
	long idle_slept = 0;
	start_driven(&other, store, "other");
	/* The other process has two bells, which may have the bit of this one's: not those of three in turn. */
	for (int k = 0; k < 3; k++) {
		start_driven(&one, store, "one");
		usleep(50000); /* they sleep now; who does not is counted for that */
		long idle_before = sleeps_of(idle, idle), other_before = sleeps_of(getpid(), atomic_load(&other.tid));
		int other_steps = atomic_load(&other.steps);
		assert_true(idle_before >= 0 && other_before >= 0);
		for (int i = 0; i < INTERRUPTS; i++) {
			int before = atomic_load(&one.steps);
			vigia_registry_interrupt(one.registry);
			while (atomic_load(&one.steps) == before) sched_yield();
		}
		idle_slept = sleeps_of(idle, idle) - idle_before;
		assert_in_range(sleeps_of(getpid(), atomic_load(&other.tid)) - other_before, 0, BY_ITSELF);
		assert_int_equal(atomic_load(&other.steps), other_steps);
		end_driven(&one);
		if (idle_slept <= BY_ITSELF) break;
	}
	assert_in_range(idle_slept, 0, BY_ITSELF);
	end_driven(&other);
	kill(idle, SIGKILL);
	waitpid(idle, NULL, 0);
	vigia_store_free(store);
}

/* It has no word to listen to, but its bells. */
static void an_interrupt_wakes_a_registry_without_watchers(void **state)
{
	(void)state;
	struct vigia_store *store = open_store(false);
	struct driven driven = {.registry = vigia_registry_new(store)};
	assert_int_equal(pthread_create(&driven.thread, NULL, drive, &driven), 0);
	clockid_t clock;
	struct timespec used;
	usleep(50000);
	assert_int_equal(pthread_getcpuclockid(driven.thread, &clock), 0);
	assert_int_equal(clock_gettime(clock, &used), 0);
	assert_in_range(used.tv_nsec, 0, 20000000); /* it sleeps */
	assert_int_equal(used.tv_sec, 0);
	assert_in_range(atomic_load(&driven.steps), 0, 1);
	end_driven(&driven); /* or it waits for ever */
	vigia_store_free(store);
}

static void *interrupt_and_close(void *arg)
{
	struct waiter *waiter = arg;
	while (atomic_load(waiter->ready) == 0) usleep(100);
	usleep(20000);
	vigia_store_close(waiter->store);
	return NULL;
}

static void S11_a_close_wakes_reads_and_registries_at_once(void **state)
{
	(void)state;
	for (int memory = 0; memory < 2; memory++) {
		struct vigia_store *store = open_store(memory);
		struct driven driven;
		atomic_int ready = 0;
		struct waiter waiter = {.store = store, .ready = &ready};
		pthread_t closer;
		start_driven(&driven, store, "one");
		assert_int_equal(pthread_create(&waiter.thread, NULL, wait_for_one, &waiter), 0);
		assert_int_equal(pthread_create(&closer, NULL, interrupt_and_close, &waiter), 0);
		pthread_join(waiter.thread, NULL); /* or it waits for a minute */
		pthread_join(closer, NULL);
		while (atomic_load(&driven.steps) < 10) sched_yield(); /* each is refused at once */
		atomic_store(&driven.over, true);
		pthread_join(driven.thread, NULL);
		vigia_registry_free(driven.registry);
		vigia_store_free(store);
	}
}

/* A waiter looks once a second anyway: without the ring each of these would take as long. */
static void S11_a_close_wakes_a_read_before_it_looks_by_itself(void **state)
{
	(void)state;
	enum { CLOSES = 6 };
	int64_t took = 0;
	for (int i = 0; i < CLOSES; i++) {
		struct vigia_store *store = open_store(i % 2);
		atomic_int ready = 0;
		struct waiter waiter = {.store = store, .ready = &ready};
		assert_int_equal(pthread_create(&waiter.thread, NULL, wait_for_one, &waiter), 0);
		while (atomic_load(&ready) == 0) usleep(100);
		usleep(20000); /* it sleeps now; one that does not is not counted */
		int64_t before = vigia__mono_ns();
		vigia_store_close(store);
		pthread_join(waiter.thread, NULL);
		took += vigia__mono_ns() - before;
		vigia_store_free(store);
	}
	assert_in_range(took, 0, (int64_t)CLOSES * VIGIA_HEAL_NS / 2);
}

static int without_waitv(void **state)
{
	vigia__wake_without_waitv();
	return folder_setup(state);
}

/* A waiter for one type is not woken by the others: it waits for a word that is not the one for anything. */
static void S7_who_waits_for_a_type_listens_to_its_word_only(void **state)
{
	(void)state;
	struct vigia__listen listen;
	const struct vigia_slice type = {"Job", 3};
	vigia__listen_init(&listen, &type, 1);
	assert_int_equal(listen.count, 1);
	assert_int_not_equal(listen.index[0], 0);
	vigia__listen_init(&listen, NULL, 0);
	assert_int_equal(listen.count, 1);
	assert_int_equal(listen.index[0], 0);
}

static void *change_word(void *word)
{
	atomic_fetch_add((_Atomic uint32_t *)word, 1);
	return NULL;
}

/* Where one futex alone can be waited for, a change of the other word is seen in a moment all the same. */
static void S7_a_wait_for_two_words_sees_a_change_of_either(void **state)
{
	(void)state;
	enum { MS = 1000000 };
	for (int k = 0; k < 2; k++) {
		_Atomic uint32_t words[2] = {5, 5};
		pthread_t thread;
		int64_t begin = vigia__mono_ns();
		assert_int_equal(pthread_create(&thread, NULL, change_word, &words[k]), 0);
		while (atomic_load(&words[k]) == 5) vigia__words_wait(&words[0], 5, &words[1], 5, begin + INT64_C(60000) * MS);
		pthread_join(thread, NULL);
		assert_true(vigia__mono_ns() - begin < INT64_C(10000) * MS);
	}
}

struct ringer {
	struct vigia__bell bell;
	struct vigia__wake *wake;
};

static void *ring_later(void *arg)
{
	struct ringer *ringer = arg;
	usleep(50000);
	vigia__bell_ring(&ringer->bell, ringer->wake);
	return NULL;
}

/* A poll descriptor of a registry without watchers listens to no word. */
static void a_bell_alone_ends_a_wait_H1l(void **state)
{
	(void)state;
	struct vigia_store *store;
	assert_int_equal(vigia_store_open(":memory:", NULL, &store, NULL), VIGIA_OK);
	struct ringer ringer = {.wake = store->backend->wake};
	struct vigia__listen listen = {0};
	pthread_t thread;
	vigia__listen_bell(&listen, &ringer.bell);
	int64_t begin = vigia__mono_ns();
	assert_int_equal(pthread_create(&thread, NULL, ring_later, &ringer), 0);
	vigia__wake_wait(ringer.wake, &listen, begin + INT64_C(20000000000));
	assert_in_range(vigia__mono_ns() - begin, 50000000, INT64_C(15000000000));
	assert_true(vigia__wake_rung(&listen));
	pthread_join(thread, NULL);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bell_alone_ends_a_wait_H1l),
		cmocka_unit_test(S7_who_waits_for_a_type_listens_to_its_word_only),
#define TEST(name) {#name, name, folder_setup, folder_teardown, NULL}
		TEST(S8_a_look_has_ten_milliseconds),
		TEST(S8_a_look_ends_when_its_time_is_over_and_the_position_has_moved),
		TEST(S7_all_are_woken_by_one_append_each_with_the_same_event),
		TEST(S6_an_event_of_a_process_that_died_before_it_told_is_found_within_a_second),
		TEST(S6_a_watcher_finds_it_too),
		TEST(a_watcher_that_has_read_all_looks_only_when_it_is_woken),
		TEST(W3_an_event_that_a_handler_appends_is_handled_in_the_same_turn),
		TEST(W3_an_event_that_comes_between_two_turns_of_a_batch_is_handled),
		TEST(an_interrupt_wakes_its_registry_and_nobody_else),
		TEST(an_interrupt_wakes_a_registry_without_watchers),
		TEST(S11_a_close_wakes_reads_and_registries_at_once),
		TEST(S11_a_close_wakes_a_read_before_it_looks_by_itself),
#undef TEST
#define TEST(name) {#name " (without futex_waitv)", name, without_waitv, folder_teardown, NULL}
		TEST(S7_a_wait_for_two_words_sees_a_change_of_either),
		TEST(S7_all_are_woken_by_one_append_each_with_the_same_event), /* from here on it stays without */
		TEST(S6_a_watcher_finds_it_too),
		TEST(S11_a_close_wakes_reads_and_registries_at_once),
		TEST(S11_a_close_wakes_a_read_before_it_looks_by_itself),
#undef TEST
	};
	return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
