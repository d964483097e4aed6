/*
 * lmdb.c - one measurement of bare LMDB: appends, a scan, removal, with the bytes that Vigia stores. Run by
 * scripts/peers/run.lua.
 *
 * Usage: peer_lmdb FOLDER WORK [ARGUMENT...]; each line of output is "name figure".
 */
#include <lmdb.h>
#include <pthread.h>

#include "peer.h"

static struct vigia__buf event;

static void ok(int rc)
{
	if (rc != 0) bench_die("lmdb", mdb_strerror(rc));
}

static MDB_env *open_env(const char *path, unsigned flags, MDB_dbi *dbi)
{
	MDB_env *env;
	MDB_txn *txn;
	ok(mdb_env_create(&env));
	ok(mdb_env_set_mapsize(env, (size_t)1 << 36));
	ok(mdb_env_set_maxdbs(env, 4));
	ok(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOTLS | flags, 0600));
	ok(mdb_txn_begin(env, NULL, 0, &txn));
	ok(mdb_dbi_open(txn, "events", MDB_CREATE | MDB_INTEGERKEY, dbi));
	ok(mdb_txn_commit(txn));
	return env;
}

static void put(MDB_env *env, MDB_dbi dbi, int count, int batch)
{
	MDB_txn *txn;
	size_t number = 0;
	for (int done = 0; done < count; done += batch) {
		ok(mdb_txn_begin(env, NULL, 0, &txn));
		for (int i = 0; i < batch; i++) {
			number++;
			MDB_val key = {sizeof number, &number}, value = {event.len, event.data};
			ok(mdb_put(txn, dbi, &key, &value, MDB_APPEND));
		}
		ok(mdb_txn_commit(txn));
	}
}

struct caller {
	pthread_t thread;
	MDB_env *env;
	MDB_dbi dbi;
	int count;
};

/* One event a transaction; each takes the next number. */
static void *call(void *arg)
{
	struct caller *caller = arg;
	for (int i = 0; i < caller->count; i++) {
		MDB_txn *txn;
		MDB_cursor *cursor;
		MDB_val key, value;
		size_t number = 1;
		ok(mdb_txn_begin(caller->env, NULL, 0, &txn));
		ok(mdb_cursor_open(txn, caller->dbi, &cursor));
		if (mdb_cursor_get(cursor, &key, &value, MDB_LAST) == 0) number += *(size_t *)key.mv_data;
		key = (MDB_val){sizeof number, &number};
		value = (MDB_val){event.len, event.data};
		ok(mdb_put(txn, caller->dbi, &key, &value, MDB_APPEND));
		mdb_cursor_close(cursor);
		ok(mdb_txn_commit(txn));
	}
	return NULL;
}

/* append EVENTS BATCH commit|none [CALLERS]: events a second, of one caller or of several, then without batches. */
static void work_append(char **arg)
{
	char path[512];
	MDB_dbi dbi;
	int count = atoi(arg[0]), callers = arg[3] ? atoi(arg[3]) : 1;
	MDB_env *env = open_env(bench_fresh_path("lmdb.db", path), strcmp(arg[2], "none") == 0 ? MDB_NOSYNC : 0, &dbi);
	struct caller *all = calloc((size_t)callers, sizeof *all);
	double start = bench_now();
	if (callers == 1) put(env, dbi, count, atoi(arg[1]));
	for (int i = 0; callers > 1 && i < callers; i++) {
		all[i] = (struct caller){.env = env, .dbi = dbi, .count = count / callers + 1};
		if (pthread_create(&all[i].thread, NULL, call, &all[i]) != 0) bench_die("lmdb", "no thread");
	}
	for (int i = 0; callers > 1 && i < callers; i++) pthread_join(all[i].thread, NULL);
	if (callers > 1) count = (count / callers + 1) * callers;
	peer_figure("rate", count / (bench_now() - start));
	mdb_env_close(env);
	free(all);
}

/* transact COUNT: transactions a second, durable, each with a get and a put of one of 1000 keys. */
static void work_transact(char **arg)
{
	enum { KEYS = 1000 };
	char path[512];
	MDB_dbi dbi;
	int count = atoi(arg[0]);
	MDB_env *env = open_env(bench_fresh_path("lmdb.db", path), 0, &dbi);
	put(env, dbi, KEYS, KEYS);
	double start = bench_now();
	for (int i = 0; i < count; i++) {
		MDB_txn *txn;
		size_t number = (size_t)(i * 7 % KEYS) + 1;
		MDB_val key = {sizeof number, &number}, value;
		ok(mdb_txn_begin(env, NULL, 0, &txn));
		ok(mdb_get(txn, dbi, &key, &value));
		value = (MDB_val){event.len, event.data};
		ok(mdb_put(txn, dbi, &key, &value, 0));
		ok(mdb_txn_commit(txn));
	}
	peer_figure("rate", count / (bench_now() - start));
	mdb_env_close(env);
}

/* fill NAME EVENTS */
static void work_fill(char **arg)
{
	char path[512];
	MDB_dbi dbi;
	MDB_env *env = open_env(bench_fresh_path(arg[0], path), MDB_NOSYNC, &dbi);
	put(env, dbi, atoi(arg[1]), 1000);
	mdb_env_close(env);
}

/* scan NAME EVENTS: events a second, each byte of the head looked at as a filter would, and milliseconds. */
static void work_scan(char **arg)
{
	char path[512];
	MDB_dbi dbi;
	MDB_txn *txn;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_env *env = open_env(bench_path(arg[0], path), 0, &dbi);
	int seen = 0, total = atoi(arg[1]);
	unsigned sum = 0;
	double start = bench_now();
	ok(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn));
	ok(mdb_cursor_open(txn, dbi, &cursor));
	for (int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); rc != MDB_NOTFOUND;
	     rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		ok(rc);
		sum += ((const unsigned char *)value.mv_data)[0];
		seen++;
	}
	double seconds = bench_now() - start;
	if (seen != total || sum == 1) bench_die("lmdb", "not all events were seen");
	peer_figure("rate", total / seconds);
	peer_figure("ms", seconds * 1e3);
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	mdb_env_close(env);
}

/* remove EVENTS: events removed a second, oldest first, 1000 a commit, not synced. */
static void work_remove(char **arg)
{
	char path[512];
	MDB_dbi dbi;
	int total = atoi(arg[0]);
	MDB_env *env = open_env(bench_fresh_path("lmdb.db", path), MDB_NOSYNC, &dbi);
	put(env, dbi, total, 1000);
	double start = bench_now();
	for (int done = 0; done < total; done += 1000) {
		MDB_txn *txn;
		MDB_cursor *cursor;
		MDB_val key, value;
		ok(mdb_txn_begin(env, NULL, 0, &txn));
		ok(mdb_cursor_open(txn, dbi, &cursor));
		for (int i = 0; i < 1000 && mdb_cursor_get(cursor, &key, &value, MDB_FIRST) == 0; i++)
			ok(mdb_cursor_del(cursor, 0));
		mdb_cursor_close(cursor);
		ok(mdb_txn_commit(txn));
	}
	peer_figure("rate", total / (bench_now() - start));
	mdb_env_close(env);
}

static void work_version(char **arg)
{
	(void)arg;
	printf("%d.%d.%d\n", MDB_VERSION_MAJOR, MDB_VERSION_MINOR, MDB_VERSION_PATCH);
}

int main(int argc, char **argv)
{
	static const struct peer_work works[] = {
		{"append", 3, work_append},
		{"fill", 2, work_fill},
		{"scan", 2, work_scan},
		{"remove", 1, work_remove},
		{"transact", 1, work_transact},
		{"version", 0, work_version},
		{NULL, 0, NULL},
	};
	struct vigia__buf object = bench_object();
	vigia__event_begin(&event, (struct vigia_slice){"UPDATE", 6}, (struct vigia_slice){"Job", 3}, NULL);
	vigia__buf_add(&event, object.data, object.len);
	vigia__buf_deinit(&object);
	peer_main(argc, argv, works);
	vigia__buf_deinit(&event);
	return 0;
}
