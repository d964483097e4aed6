/*
 * redis.c - one measurement of Redis Streams over the Unix socket FOLDER/redis.sock, which scripts/bench starts with
 * appendonly yes, appendfsync always. Run by scripts/peers/run.lua.
 *
 * Usage: peer_redis FOLDER WORK [ARGUMENT...]; each line of output is "name figure".
 */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>

#include "peer.h"

static struct vigia__buf object;

static redisContext *join(void)
{
	char path[512];
	redisContext *redis = redisConnectUnix(bench_path("redis.sock", path));
	if (redis == NULL || redis->err) bench_die("redis", redis ? redis->errstr : "no memory");
	return redis;
}

static redisReply *checked(redisContext *redis, redisReply *reply)
{
	if (reply == NULL) bench_die("redis", redis->errstr);
	if (reply->type == REDIS_REPLY_ERROR) bench_die("redis", reply->str);
	return reply;
}

static void forget(redisContext *redis)
{
	freeReplyObject(checked(redis, redisCommand(redis, "DEL events")));
}

#define XADD "XADD events * op UPDATE type Job object %b"

static void add(redisContext *redis, int count, int batch)
{
	for (int done = 0; done < count; done += batch) {
		for (int i = 0; i < batch; i++) redisAppendCommand(redis, XADD, object.data, object.len);
		for (int i = 0; i < batch; i++) {
			void *reply = NULL;
			if (redisGetReply(redis, &reply) != REDIS_OK) bench_die("redis", redis->errstr);
			freeReplyObject(checked(redis, reply));
		}
	}
}

struct caller {
	pthread_t thread;
	redisContext *redis;
	int count, batch;
};

static void *call(void *arg)
{
	struct caller *caller = arg;
	add(caller->redis, caller->count, caller->batch);
	return NULL;
}

/* append CALLERS EACH BATCH: durable events a second; each caller has a connection, a batch is a pipeline. */
static void work_append(char **arg)
{
	int callers = atoi(arg[0]), each = atoi(arg[1]), batch = atoi(arg[2]);
	struct caller *all = calloc((size_t)callers, sizeof *all);
	for (int i = 0; i < callers; i++) all[i] = (struct caller){.redis = join(), .count = each, .batch = batch};
	forget(all[0].redis);
	double start = bench_now();
	for (int i = 0; i < callers; i++) {
		if (callers == 1) call(&all[i]);
		else if (pthread_create(&all[i].thread, NULL, call, &all[i]) != 0) bench_die("redis", "no thread");
	}
	for (int i = 0; callers > 1 && i < callers; i++) pthread_join(all[i].thread, NULL);
	peer_figure("rate", callers * each / (bench_now() - start));
	forget(all[0].redis);
	for (int i = 0; i < callers; i++) redisFree(all[i].redis);
	free(all);
}

/* scan EVENTS: events a second by XRANGE, 1000 at a time. */
static void work_scan(char **arg)
{
	int total = atoi(arg[0]), seen = 0;
	char from[64] = "-";
	redisContext *redis = join();
	forget(redis);
	add(redis, total, 1000);
	double start = bench_now();
	while (seen < total) {
		redisReply *reply = checked(redis, redisCommand(redis, "XRANGE events %s + COUNT 1000", from));
		if (reply->elements == 0) bench_die("redis", "not all events were seen");
		seen += (int)reply->elements;
		snprintf(from, sizeof from, "(%s", reply->element[reply->elements - 1]->element[0]->str);
		freeReplyObject(reply);
	}
	peer_figure("rate", total / (bench_now() - start));
	forget(redis);
	redisFree(redis);
}

/* ---- readers that wait ---- */

static atomic_int still_to_see;
static struct peer_wake *last_saw;
static int rounds;

static void *wait_for_all(void *arg)
{
	char from[64] = "$";
	redisContext *redis = arg;
	for (int seen = 0; seen < rounds; seen++) {
		redisReply *reply = checked(redis, redisCommand(redis, "XREAD BLOCK 10000 STREAMS events %s", from));
		if (reply->type != REDIS_REPLY_ARRAY) bench_die("redis", "a reader was not woken");
		redisReply *last = reply->element[0]->element[1]->element[0];
		snprintf(from, sizeof from, "%s", last->element[0]->str);
		freeReplyObject(reply);
		if (atomic_fetch_sub(&still_to_see, 1) == 1) peer_wake_ran(last_saw);
	}
	return NULL;
}

/* wake READERS ROUNDS: from the call of an XADD to the last of the readers in XREAD BLOCK. */
static void work_wake(char **arg)
{
	int readers = atoi(arg[0]);
	rounds = atoi(arg[1]);
	double *us = calloc((size_t)rounds, sizeof *us);
	pthread_t *threads = calloc((size_t)readers, sizeof *threads);
	redisContext **contexts = calloc((size_t)readers, sizeof *contexts), *redis = join();
	forget(redis);
	for (int i = 0; i < readers; i++) {
		contexts[i] = join();
		if (pthread_create(&threads[i], NULL, wait_for_all, contexts[i]) != 0) bench_die("redis", "no thread");
	}
	last_saw = peer_wake_new();
	usleep(100000);
	for (int i = 0; i < rounds; i++) {
		usleep(PEER_PAUSE_US);
		atomic_store(&still_to_see, readers);
		peer_wake_begin(last_saw);
		add(redis, 1, 1);
		us[i] = peer_wake_end(last_saw);
	}
	for (int i = 0; i < readers; i++) {
		pthread_join(threads[i], NULL);
		redisFree(contexts[i]);
	}
	peer_figure("p50", bench_percentile(us, (size_t)rounds, 50));
	peer_figure("p99", bench_percentile(us, (size_t)rounds, 99));
	forget(redis);
	redisFree(redis);
	free(contexts);
	free(threads);
	free(us);
}

int main(int argc, char **argv)
{
	static const struct peer_work works[] = {
		{"append", 3, work_append}, {"scan", 1, work_scan}, {"wake", 2, work_wake}, {NULL, 0, NULL}};
	object = bench_object();
	peer_main(argc, argv, works);
	vigia__buf_deinit(&object);
	return 0;
}
