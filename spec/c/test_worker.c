/*
 * test_worker.c - watchers on threads of their own, with a job in C: for ThreadSanitizer, which sees all of it then.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drive/worker.h"
#include "test.h"

/* What the job does, and what its thread and the test share. */
struct job {
	atomic_bool load_fails, begin_fails, changed, handler_waits;
	atomic_int loads, takes, drops, begins, ends, closes, waits;
	_Atomic uint64_t handled, wrong;
	uint64_t last; /* the thread's own */
	pid_t owner;   /* 0, or a thread whose sleeps are counted: up to the load, and up to the begin */
	long sleeps_at_load, sleeps_at_begin;
	bool freed;
};

/* How often the thread had gone to sleep, once it sleeps again. */
static long sleeps_of(pid_t thread)
{
	char path[64], line[128];
	long sleeps = -1;
	snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)thread);
	for (bool asleep = false; !asleep || sleeps < 0;) {
		FILE *file = fopen(path, "r");
		assert_non_null(file);
		asleep = false;
		while (fgets(line, sizeof line, file)) {
			if (strncmp(line, "State:\tS", 8) == 0) asleep = true;
			sscanf(line, "voluntary_ctxt_switches: %ld", &sleeps);
		}
		fclose(file);
	}
	return sleeps;
}

static int load(void *ctx, struct vigia__worker *worker, char id[256], struct vigia_watch_options *options,
                struct vigia_error *err)
{
	struct job *job = ctx;
	atomic_fetch_add(&job->loads, 1);
	if (job->owner) job->sleeps_at_load = sleeps_of(job->owner);
	if (atomic_load(&job->load_fails)) {
		err->code = VIGIA_ESCRIPT;
		snprintf(err->message, sizeof err->message, "does not load");
		return VIGIA_ESCRIPT;
	}
	vigia_watch_options_init(options);
	if (id[0] == '\0') snprintf(id, 256, "job");
	return VIGIA_OK;
}

static void activate(void *ctx)
{
	atomic_fetch_add(&((struct job *)ctx)->takes, 1);
}

static void discard(void *ctx)
{
	atomic_fetch_add(&((struct job *)ctx)->drops, 1);
}

static int begin(void *ctx, struct vigia_watcher *watcher, struct vigia_error *err)
{
	struct job *job = ctx;
	atomic_fetch_add(&job->begins, 1);
	if (job->owner) job->sleeps_at_begin = sleeps_of(job->owner);
	vigia__log(watcher->registry, VIGIA_LOG_INFO, "begins");
	if (!atomic_load(&job->begin_fails)) return VIGIA_OK;
	err->code = VIGIA_ESCRIPT;
	snprintf(err->message, sizeof err->message, "does not begin");
	return VIGIA_ESCRIPT;
}

static int end(void *ctx, struct vigia_error *err)
{
	atomic_fetch_add(&((struct job *)ctx)->ends, 1);
	return VIGIA_OK;
}

static bool changed(void *ctx)
{
	return atomic_exchange(&((struct job *)ctx)->changed, false);
}

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct job *job = ctx;
	if (event->seq_num != job->last + 1) atomic_fetch_add(&job->wrong, 1);
	job->last = event->seq_num;
	if (atomic_load(&job->handler_waits)) {
		atomic_fetch_add(&job->waits, 1);
		*resume_mono_ns = INT64_MAX;
		return VIGIA_PENDING;
	}
	atomic_fetch_add(&job->handled, 1);
	return VIGIA_OK;
}

static int resume(void *ctx, bool stopping, int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct job *job = ctx;
	if (!stopping && atomic_load(&job->handler_waits)) {
		*resume_mono_ns = INT64_MAX;
		return VIGIA_PENDING;
	}
	atomic_fetch_add(&job->handled, 1);
	return VIGIA_OK;
}

static void close_job(void *ctx)
{
	atomic_fetch_add(&((struct job *)ctx)->closes, 1);
}

static void free_job(void *ctx)
{
	((struct job *)ctx)->freed = true;
}

static struct vigia__job job_of(struct job *job)
{
	return (struct vigia__job){.load = load,
	                           .activate = activate,
	                           .discard = discard,
	                           .begin = begin,
	                           .end = end,
	                           .changed = changed,
	                           .handle = handle,
	                           .resume = resume,
	                           .close = close_job,
	                           .free = free_job,
	                           .ctx = job};
}

static struct vigia_store *open_store(void)
{
	struct vigia_store *store = NULL;
	assert_int_equal(vigia_store_open(":memory:", NULL, &store, NULL), VIGIA_OK);
	return store;
}

static void append(struct vigia_store *store, size_t count)
{
	struct vigia_new_event events[16];
	assert_in_range(count, 1, COUNT_OF(events));
	for (size_t i = 0; i < count; i++)
		events[i] = (struct vigia_new_event){slice_of("CREATE"), slice_of("Job"), SLICE("\x01")};
	assert_int_equal(vigia_store_append(store, events, count, NULL, NULL), VIGIA_OK);
}

enum { ROUNDS = 500, PER_ROUND = 10 };

static void *append_all(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) append(arg, PER_ROUND);
	return NULL;
}

static void count_record(void *ctx, enum vigia_log_level level, const char *message)
{
	++*(int *)ctx;
}

static void drive_until(struct vigia_registry *registry, const _Atomic uint64_t *count, uint64_t wanted)
{
	while (atomic_load(count) < wanted) assert_true(vigia_registry_step(registry, 1000000000, NULL) >= 0);
}

static void test_reloads_lose_and_double_nothing(void **state)
{
	struct vigia_store *store = open_store();
	struct vigia_registry *registry = vigia_registry_new(store);
	struct job job = {0};
	struct vigia__job c = job_of(&job);
	struct vigia_watcher *watcher;
	struct vigia_watcher_stats stats;
	struct vigia_error err = {0};
	int records = 0;
	pthread_t appender;
	vigia_registry_log(registry, &records, count_record);
	assert_int_equal(vigia__registry_watch_job(registry, NULL, &c, &watcher, &err), VIGIA_OK);
	assert_string_equal(vigia_watcher_id(watcher), "job");
	assert_int_equal(vigia__registry_watch_job(registry, NULL, &c, &watcher, &err), VIGIA_EEXISTS);
	assert_int_equal(pthread_create(&appender, NULL, append_all, store), 0);
	for (int i = 0; i < 10; i++) {
		atomic_store(&job.load_fails, i % 5 == 3);
		atomic_store(&job.begin_fails, false);
		int rc = vigia_watcher_reload(watcher, &err);
		if (i % 5 == 3) assert_error(rc, VIGIA_ESCRIPT, &err, "does not load");
		else assert_int_equal(rc, VIGIA_OK);
		vigia_watcher_stats(watcher, &stats);
		assert_int_equal(stats.state, VIGIA_RUNNING);
	}
	atomic_store(&job.load_fails, false);
	atomic_store(&job.changed, true); /* noticed by itself, at work or once a second */
	do vigia_watcher_stats(watcher, &stats);
	while (stats.reloads < 9);
	drive_until(registry, &job.handled, ROUNDS * PER_ROUND);
	pthread_join(appender, NULL);
	assert_int_equal(vigia_registry_stop(registry, INT64_MAX, &err), VIGIA_OK);
	vigia_watcher_stats(watcher, &stats);
	assert_int_equal(stats.state, VIGIA_STOPPED);
	assert_int_equal(stats.processed, ROUNDS * PER_ROUND);
	assert_int_equal(stats.checkpoint, ROUNDS * PER_ROUND);
	assert_int_equal(atomic_load(&job.wrong), 0);
	assert_int_equal(atomic_load(&job.begins), atomic_load(&job.ends));
	assert_true(records >= 10);
	vigia_registry_free(registry);
	assert_true(job.freed);
	vigia_store_free(store);
}

static void *reload_watcher(void *watcher)
{
	return (void *)(intptr_t)vigia_watcher_reload(watcher, NULL);
}

static void test_reload_waits_for_a_handler_that_waits(void **state)
{
	struct vigia_store *store = open_store();
	struct vigia_registry *registry = vigia_registry_new(store);
	struct job job = {0};
	struct vigia__job c = job_of(&job);
	struct vigia_watcher *watcher;
	pthread_t reloader;
	void *answer;
	atomic_store(&job.handler_waits, true);
	append(store, 1);
	assert_int_equal(vigia__registry_watch_job(registry, NULL, &c, &watcher, NULL), VIGIA_OK);
	while (atomic_load(&job.waits) == 0) continue;
	assert_int_equal(pthread_create(&reloader, NULL, reload_watcher, watcher), 0);
	for (int i = 0; i < 50; i++) {
		append(store, 1); /* wakes the thread, which must not take this for its moment */
		usleep(1000);
		assert_int_equal(atomic_load(&job.loads), 1);
	}
	atomic_store(&job.handler_waits, false);
	append(store, 1);
	assert_int_equal(pthread_join(reloader, &answer), 0);
	assert_int_equal((intptr_t)answer, VIGIA_OK);
	assert_int_equal(atomic_load(&job.loads), 2);
	drive_until(registry, &job.handled, 52);
	assert_int_equal(atomic_load(&job.wrong), 0);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

static void test_what_fails_leaves_nothing(void **state)
{
	struct vigia_store *store = open_store();
	struct vigia_registry *registry = vigia_registry_new(store);
	struct job job = {0};
	struct vigia__job c = job_of(&job);
	struct vigia_watcher *watcher;
	struct vigia_error err = {0};
	atomic_store(&job.load_fails, true);
	assert_error(vigia__registry_watch_job(registry, "a", &c, &watcher, &err), VIGIA_ESCRIPT, &err, "does not load");
	atomic_store(&job.load_fails, false);
	atomic_store(&job.begin_fails, true);
	assert_error(vigia__registry_watch_job(registry, "a", &c, &watcher, &err), VIGIA_ESCRIPT, &err, "does not begin");
	assert_int_equal(atomic_load(&job.closes), 2);
	assert_int_equal(atomic_load(&job.ends), 0);
	assert_false(job.freed);
	atomic_store(&job.begin_fails, false);
	assert_int_equal(vigia__registry_watch_job(registry, "a", &c, &watcher, &err), VIGIA_OK);
	assert_int_equal(vigia_watcher_stop(watcher, INT64_MAX, &err), VIGIA_OK);
	assert_int_equal(vigia_watcher_start(watcher, &err), VIGIA_OK);
	atomic_store(&job.begin_fails, true);
	/* Neither the new nor the old can begin: then it stops, and says so. */
	assert_error(vigia_watcher_reload(watcher, &err), VIGIA_ESCRIPT, &err, "does not begin");
	struct vigia_watcher_stats stats;
	vigia_watcher_stats(watcher, &stats);
	assert_int_equal(stats.state, VIGIA_STOPPED);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

/* A wake-up costs more than most of what is done between two. */
static void test_a_start_is_one_hand_over(void **state)
{
	struct vigia_store *store = open_store();
	struct vigia_registry *registry = vigia_registry_new(store);
	struct job job = {.owner = gettid()};
	struct vigia__job c = job_of(&job);
	struct vigia_watcher *watcher;
	struct vigia_watcher_stats stats;
	assert_int_equal(vigia__registry_watch_job(registry, "a", &c, &watcher, NULL), VIGIA_OK);
	assert_int_equal(job.sleeps_at_begin, job.sleeps_at_load);
	vigia_watcher_stats(watcher, &stats);
	assert_int_equal(stats.state, VIGIA_RUNNING);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

/* The thread that it ran on is not there. */
static void test_a_forked_child_is_told_that_it_rests(void **state)
{
	struct vigia_store *store = open_store();
	struct vigia_registry *registry = vigia_registry_new(store);
	struct job job = {0};
	struct vigia__job c = job_of(&job);
	struct vigia_watcher *watcher;
	struct vigia_watcher_stats stats;
	int status;
	assert_int_equal(vigia__registry_watch_job(registry, "a", &c, &watcher, NULL), VIGIA_OK);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		vigia_watcher_stats(watcher, &stats);
		_exit(stats.state == VIGIA_STOPPED && vigia_watcher_seek(watcher, 0, NULL) == VIGIA_EFORKED ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	vigia_watcher_stats(watcher, &stats);
	assert_int_equal(stats.state, VIGIA_RUNNING);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

static void prepare_for_a_moment(void *ctx)
{
	atomic_int *begun = ctx;
	atomic_store(begun, 1);
	usleep(50000);
}

static void nothing(void *ctx)
{
}

/* What the parent's thread is in the middle of making is not to be used, and not to be freed. */
static void test_a_forked_child_has_no_thread_started_ahead(void **state)
{
	struct vigia_store *store = open_store();
	struct vigia_registry *registry = vigia_registry_new(store);
	static atomic_int begun;
	const struct vigia__job ahead = {.prepare = prepare_for_a_moment, .close = nothing, .free = nothing, .ctx = &begun};
	int status;
	assert_true(vigia__worker_start_ahead(registry, &ahead));
	while (atomic_load(&begun) == 0) sched_yield();
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) _exit(vigia__worker_job_ahead(registry) == NULL ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_ptr_equal(vigia__worker_job_ahead(registry), &begun);
	vigia__worker_drop_ahead(registry);
	vigia_registry_free(registry);
	vigia_store_free(store);
}

enum { MANY = 50 };

static void test_many_stop_at_once(void **state)
{
	struct vigia_store *store = open_store();
	struct vigia_registry *registry = vigia_registry_new(store);
	static struct job jobs[MANY];
	struct vigia_watcher *watchers[MANY];
	struct vigia_error err = {0};
	append(store, 3);
	for (int i = 0; i < MANY; i++) {
		char id[16];
		jobs[i] = (struct job){0};
		atomic_store(&jobs[i].handler_waits, i % 2);
		struct vigia__job c = job_of(&jobs[i]);
		snprintf(id, sizeof id, "w%d", i);
		assert_int_equal(vigia__registry_watch_job(registry, id, &c, &watchers[i], &err), VIGIA_OK);
	}
	drive_until(registry, &jobs[MANY - 2].handled, 3);
	assert_int_equal(vigia_registry_stop(registry, INT64_MAX, &err), VIGIA_OK);
	assert_int_equal(vigia_registry_run(registry, &err), VIGIA_OK);
	for (int i = 0; i < MANY; i++) {
		struct vigia_watcher_stats stats;
		vigia_watcher_stats(watchers[i], &stats);
		assert_int_equal(stats.state, VIGIA_STOPPED);
		assert_int_equal(atomic_load(&jobs[i].ends), 1);
		if (stats.processed) assert_int_equal(stats.checkpoint, stats.last_processed_seq_num);
		assert_int_equal(vigia_watcher_seek(watchers[i], 1, &err), VIGIA_OK);
	}
	vigia_registry_free(registry);
	for (int i = 0; i < MANY; i++) assert_true(jobs[i].freed && atomic_load(&jobs[i].closes) == 1);
	vigia_store_free(store);
}

static void test_released_when_watched_anew(void **state)
{
	struct vigia_store *store = open_store();
	struct vigia_registry *registry = vigia_registry_new(store);
	struct job jobs[3] = {0};
	struct vigia_watcher *watchers[3];
	for (int i = 0; i < 3; i++) {
		struct vigia__job c = job_of(&jobs[i]);
		assert_int_equal(vigia__registry_watch_job(registry, "a", &c, &watchers[i], NULL), VIGIA_OK);
		if (i == 1) vigia_watcher_release(watchers[i]);
		struct vigia_watcher *found;
		assert_int_equal(vigia_registry_get(registry, "a", &found, NULL), VIGIA_OK);
		assert_ptr_equal(found, watchers[i]);
		assert_int_equal(vigia_watcher_stop(found, INT64_MAX, NULL), VIGIA_OK);
		assert_false(jobs[i].freed);
	}
	/* The first is still somebody's, the second went when the third came. */
	assert_false(jobs[0].freed);
	assert_true(jobs[1].freed);
	assert_string_equal(vigia_watcher_id(watchers[0]), "a");
	vigia_watcher_release(watchers[0]);
	assert_true(jobs[0].freed);
	vigia_watcher_release(watchers[2]);
	assert_false(jobs[2].freed);
	vigia_watcher_release(NULL);
	vigia_registry_free(registry);
	assert_true(jobs[2].freed);
	vigia_store_free(store);
}

static void test_freed_while_at_work_and_closed(void **state)
{
	for (int closed = 0; closed < 2; closed++) {
		struct vigia_store *store = open_store();
		struct vigia_registry *registry = vigia_registry_new(store);
		struct job job = {0};
		struct vigia__job c = job_of(&job);
		struct vigia_watcher *watcher;
		pthread_t appender;
		assert_int_equal(vigia__registry_watch_job(registry, NULL, &c, &watcher, NULL), VIGIA_OK);
		if (closed) {
			append(store, 1);
			vigia_store_close(store);
			struct vigia_watcher_stats stats;
			do vigia_watcher_stats(watcher, &stats);
			while (stats.state != VIGIA_STOPPED);
			assert_int_equal(vigia_registry_stop(registry, INT64_MAX, NULL), VIGIA_OK);
		} else {
			assert_int_equal(pthread_create(&appender, NULL, append_all, store), 0);
		}
		vigia_registry_free(registry);
		assert_true(job.freed);
		assert_int_equal(atomic_load(&job.ends), 1);
		if (!closed) pthread_join(appender, NULL);
		vigia_store_free(store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"reloads under load lose no event and double none [H5]", test_reloads_lose_and_double_nothing, NULL, NULL,
	     NULL},
		{"new code waits for a handler that waits [H5]", test_reload_waits_for_a_handler_that_waits, NULL, NULL, NULL},
		{"a job that does not load or begin leaves no thread [H3]", test_what_fails_leaves_nothing, NULL, NULL, NULL},
		{"a watcher on a thread starts with one hand-over [W16]", test_a_start_is_one_hand_over, NULL, NULL, NULL},
		{"in a forked child it rests [S15]", test_a_forked_child_is_told_that_it_rests, NULL, NULL, NULL},
		{"in a forked child no job was started ahead [S15]", test_a_forked_child_has_no_thread_started_ahead, NULL,
	     NULL, NULL},
		{"fifty workers stop at once, some of them waiting [W16]", test_many_stop_at_once, NULL, NULL, NULL},
		{"one that was released goes when its id is watched anew [W1]", test_released_when_watched_anew, NULL, NULL,
	     NULL},
		{"a worker ends with its registry and with its store [S11]", test_freed_while_at_work_and_closed, NULL, NULL,
	     NULL},
	};
	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
