/*
 * sqlite.c - one measurement of SQLite as a log: WAL, synchronous=FULL, a table with an integer key. Run by
 * scripts/peers/run.lua.
 *
 * Usage: peer_sqlite FOLDER WORK [ARGUMENT...]; each line of output is "name figure".
 */
#include <pthread.h>
#include <sqlite3.h>

#include "peer.h"

static struct vigia__buf object;

static void ok(sqlite3 *db, int rc)
{
	if (rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_ROW) bench_die("sqlite", sqlite3_errmsg(db));
}

static void run(sqlite3 *db, const char *sql)
{
	ok(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static sqlite3 *open_db(const char *path)
{
	sqlite3 *db;
	ok(NULL, sqlite3_open(path, &db));
	run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
	        "CREATE TABLE IF NOT EXISTS events (seq_num INTEGER PRIMARY KEY, operation TEXT, type TEXT, object BLOB)");
	return db;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;
	ok(db, sqlite3_prepare_v2(db, sql, -1, &stmt, NULL));
	return stmt;
}

static void remove_db(const char *name, char *path)
{
	char file[600];
	bench_fresh_path(name, path);
	snprintf(file, sizeof file, "%s-wal", path);
	unlink(file);
	snprintf(file, sizeof file, "%s-shm", path);
	unlink(file);
}

static void insert(sqlite3 *db, sqlite3_stmt *stmt, const char *type)
{
	ok(db, sqlite3_bind_text(stmt, 1, "UPDATE", 6, SQLITE_STATIC));
	ok(db, sqlite3_bind_text(stmt, 2, type, -1, SQLITE_STATIC));
	ok(db, sqlite3_bind_blob(stmt, 3, object.data, (int)object.len, SQLITE_STATIC));
	ok(db, sqlite3_step(stmt));
	ok(db, sqlite3_reset(stmt));
}

#define INSERT "INSERT INTO events (operation, type, object) VALUES (?, ?, ?)"

/* The callers share one connection, under a mutex: with one each they would wait for SQLite's lock by sleeping, and be
 * slower. */
struct caller {
	pthread_t thread;
	pthread_mutex_t *mutex;
	sqlite3 *db;
	sqlite3_stmt *insert, *begin, *commit;
	int count, batch;
};

static void *call(void *arg)
{
	struct caller *caller = arg;
	for (int done = 0; done < caller->count; done += caller->batch) {
		pthread_mutex_lock(caller->mutex);
		if (caller->batch > 1) ok(caller->db, sqlite3_step(caller->begin)), sqlite3_reset(caller->begin);
		for (int i = 0; i < caller->batch; i++) insert(caller->db, caller->insert, "Job");
		if (caller->batch > 1) ok(caller->db, sqlite3_step(caller->commit)), sqlite3_reset(caller->commit);
		pthread_mutex_unlock(caller->mutex);
	}
	return NULL;
}

/* append CALLERS EACH BATCH: durable events a second. */
static void work_append(char **arg)
{
	char path[512];
	int callers = atoi(arg[0]), each = atoi(arg[1]), batch = atoi(arg[2]);
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	remove_db("sqlite.db", path);
	sqlite3 *db = open_db(path);
	sqlite3_stmt *stmts[] = {prepare(db, INSERT), prepare(db, "BEGIN"), prepare(db, "COMMIT")};
	struct caller *all = calloc((size_t)callers, sizeof *all);
	double start = bench_now();
	for (int i = 0; i < callers; i++) {
		all[i] = (struct caller){.mutex = &mutex,
		                         .db = db,
		                         .insert = stmts[0],
		                         .begin = stmts[1],
		                         .commit = stmts[2],
		                         .count = each,
		                         .batch = batch};
		if (callers == 1) call(&all[i]);
		else if (pthread_create(&all[i].thread, NULL, call, &all[i]) != 0) bench_die("sqlite", "no thread");
	}
	for (int i = 0; callers > 1 && i < callers; i++) pthread_join(all[i].thread, NULL);
	peer_figure("rate", callers * each / (bench_now() - start));
	for (int i = 0; i < 3; i++) sqlite3_finalize(stmts[i]);
	sqlite3_close(db);
	free(all);
}

/* fill NAME EVENTS: the same types as in Vigia's. */
static void work_fill(char **arg)
{
	char path[512];
	int total = atoi(arg[1]);
	remove_db(arg[0], path);
	sqlite3 *db = open_db(path);
	sqlite3_stmt *stmt = prepare(db, INSERT);
	run(db, "BEGIN");
	for (int i = 0; i < total; i++) insert(db, stmt, i % 10000 == 77 ? "Scarce" : i % 100 == 7 ? "Rare" : "Job");
	run(db, "COMMIT");
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

/* scan NAME WANTED [TYPE]: events a second, and milliseconds. There is no index by type: appends would pay for it. */
static void work_scan(char **arg)
{
	char path[512];
	int wanted = atoi(arg[1]), seen = 0;
	size_t bytes = 0;
	sqlite3 *db = open_db(bench_path(arg[0], path));
	double start = bench_now();
	sqlite3_stmt *stmt =
		prepare(db, arg[2] ? "SELECT seq_num, operation, type, object FROM events WHERE type = ? ORDER BY seq_num"
	                       : "SELECT seq_num, operation, type, object FROM events ORDER BY seq_num");
	if (arg[2]) ok(db, sqlite3_bind_text(stmt, 1, arg[2], -1, SQLITE_STATIC));
	for (int rc; (rc = sqlite3_step(stmt)) != SQLITE_DONE; seen++) {
		ok(db, rc);
		if (sqlite3_column_blob(stmt, 3)) bytes += (size_t)sqlite3_column_bytes(stmt, 3);
	}
	double seconds = bench_now() - start;
	if (seen != wanted || bytes != object.len * (size_t)wanted) bench_die("sqlite", "not all events were seen");
	peer_figure("rate", seen / seconds);
	peer_figure("ms", seconds * 1e3);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

static void work_version(char **arg)
{
	(void)arg;
	printf("%s\n", sqlite3_libversion());
}

int main(int argc, char **argv)
{
	static const struct peer_work works[] = {{"append", 3, work_append},
	                                         {"fill", 2, work_fill},
	                                         {"scan", 2, work_scan},
	                                         {"version", 0, work_version},
	                                         {NULL, 0, NULL}};
	object = bench_object();
	peer_main(argc, argv, works);
	vigia__buf_deinit(&object);
	return 0;
}
