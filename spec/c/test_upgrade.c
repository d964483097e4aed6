/*
 * test_upgrade.c - a file of version 0.1.0, which has no journal and says nothing of one: used as it is while a process
 * of that version has it open, upgraded when none has.
 *
 * That version is played by LMDB alone, as it used it: an environment with LMDB's own lock file, and events put into it
 * under consecutive numbers. It refuses every file whose header does not say format 1.
 */
#include "events.h"
#include "folder.h"

#include <lmdb.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/event.h"
#include "store/lmdb_private.h"
#include "store/store.h"

static struct lmdb_backend *backend_of(struct vigia_store *store)
{
	return (struct lmdb_backend *)store->backend;
}

static void add(struct vigia_store *store, unsigned n)
{
	struct vigia_error err = {0};
	while (n-- > 0)
		if (append(store, "T", 100, NULL, &err) < 0) fail_msg("%s", err.message);
}

/* ---- version 0.1.0 ---- */

struct old {
	MDB_env *env;
	MDB_dbi meta, events;
};

static MDB_txn *old_begin(struct old *old, unsigned flags)
{
	MDB_txn *txn;
	assert_int_equal(mdb_txn_begin(old->env, NULL, flags, &txn), 0);
	return txn;
}

static void old_open(struct old *old)
{
	assert_int_equal(mdb_env_create(&old->env), 0);
	assert_int_equal(mdb_env_set_maxdbs(old->env, 32), 0);
	assert_int_equal(mdb_env_set_mapsize(old->env, (size_t)1 << 30), 0);
	assert_int_equal(mdb_env_open(old->env, path, MDB_NOSUBDIR | MDB_NOTLS, 0600), 0);
	MDB_txn *txn = old_begin(old, 0);
	assert_int_equal(mdb_dbi_open(txn, "vigia", 0, &old->meta), 0);
	assert_int_equal(mdb_dbi_open(txn, "events", MDB_INTEGERKEY, &old->events), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static unsigned old_format(struct old *old)
{
	MDB_val key = {6, "header"}, value;
	uint32_t format;
	MDB_txn *txn = old_begin(old, MDB_RDONLY);
	assert_int_equal(mdb_get(txn, old->meta, &key, &value), 0);
	memcpy(&format, (const char *)value.mv_data + 8, sizeof format);
	mdb_txn_abort(txn);
	return format;
}

/* The settings as it wrote them. */
static void old_settings(struct old *old)
{
	static const char journal[] = "\xa7journal\xc2";
	enum { LEN = sizeof journal - 1, MAP_OF = 0x80 };
	uint8_t bytes[1024];
	MDB_val key = {8, "settings"}, value;
	MDB_txn *txn = old_begin(old, 0);
	assert_int_equal(mdb_get(txn, old->meta, &key, &value), 0);
	assert_in_range(value.mv_size, LEN, sizeof bytes);
	memcpy(bytes, value.mv_data, value.mv_size);
	uint8_t *at = memmem(bytes, value.mv_size, journal, LEN);
	assert_non_null(at);
	assert_int_equal(bytes[0] & 0xf0, MAP_OF);
	bytes[0]--;
	memmove(at, at + LEN, value.mv_size - LEN - (size_t)(at - bytes));
	value = (MDB_val){value.mv_size - LEN, bytes};
	assert_int_equal(mdb_put(txn, old->meta, &key, &value, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static void old_append(struct old *old)
{
	struct vigia__buf bytes = {0};
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn = old_begin(old, 0);
	assert_int_equal(mdb_cursor_open(txn, old->events, &cursor), 0);
	assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_LAST), 0);
	size_t number;
	memcpy(&number, key.mv_data, sizeof number);
	number++;
	assert_int_equal(vigia__event_begin(&bytes, slice_of("CREATE"), slice_of("T"), NULL), 0);
	assert_int_equal(vigia__buf_add(&bytes, "\x01", 1), 0);
	vigia__event_stamp(bytes.data, bytes.len, number, vigia__event_time(value.mv_data, value.mv_size));
	key = (MDB_val){sizeof number, &number};
	value = (MDB_val){bytes.len, bytes.data};
	assert_int_equal(mdb_cursor_put(cursor, &key, &value, MDB_APPEND), 0);
	mdb_cursor_close(cursor);
	assert_int_equal(mdb_txn_commit(txn), 0);
	vigia__buf_deinit(&bytes);
}

static void old_close(struct old *old)
{
	mdb_env_close(old->env);
}

/* Make a file of its with three events. */
static void make_old(void)
{
	struct vigia_store_options options = quiet_options();
	struct old old;
	options.journal = false;
	options.journal_given = true;
	struct vigia_store *store = open_with(&options);
	add(store, 3);
	vigia_store_free(store);
	old_open(&old);
	old_settings(&old);
	assert_int_equal(old_format(&old), 1);
	old_close(&old);
}

/* In a process of its own: it has the file open, and for each byte that comes appends an event. */
static pid_t old_process(int go[2], int done[2])
{
	char byte;
	assert_int_equal(pipe(go), 0);
	assert_int_equal(pipe(done), 0);
	pid_t pid = fork();
	if (pid != 0) {
		close(go[0]);
		close(done[1]);
		return pid;
	}
	struct old old;
	close(go[1]);
	old_open(&old);
	if (write(done[1], "o", 1) != 1) _exit(1);
	while (read(go[0], &byte, 1) == 1) {
		old_append(&old);
		if (write(done[1], "a", 1) != 1) _exit(1);
	}
	if (old_format(&old) != 1) _exit(2);
	old_close(&old);
	_exit(0);
}

static void wait_for(int done[2])
{
	char byte;
	assert_int_equal(read(done[0], &byte, 1), 1);
}

/* ---- beside it, and after it ---- */

static void expect(struct vigia_store *store, int format, bool journal, uint64_t events)
{
	struct vigia__backend_stats stats;
	assert_int_equal(vigia__store_stats(store, &stats, NULL), VIGIA_OK);
	assert_int_equal(stats.format, format);
	assert_int_equal(backend_of(store)->journal.at > 0, journal);
	assert_true(stats.settings.values.journal); /* the default is meant for it, too */
	assert_int_equal(stats.events, events);
	assert_int_equal(latest(store), events);
	assert_int_equal(count(store, "T"), events);
}

static void Z5_an_old_file_is_used_as_it_is_beside_an_old_process(void **state)
{
	(void)state;
	struct vigia_store_options options = quiet_options();
	int go[2], done[2], status;
	make_old();
	pid_t pid = old_process(go, done);
	wait_for(done);
	for (int round = 0; round < 2; round++) { /* also when it is opened again */
		struct vigia_store *store = open_with(&options);
		expect(store, 1, false, 3 + 5 * (unsigned)round);
		add(store, 2);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(write(go[1], "a", 1), 1);
			wait_for(done);
		}
		add(store, 1);
		expect(store, 1, false, 8 + 5 * (unsigned)round);
		vigia_store_free(store);
	}
	close(go[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(done[0]);
	struct vigia_store *store = open_with(&options);
	expect(store, 2, true, 13);
	vigia_store_free(store);
}

static void Z5_an_old_file_gets_a_journal_which_the_old_version_refuses(void **state)
{
	(void)state;
	struct vigia_store_options options = quiet_options();
	struct old old;
	make_old();
	struct vigia_store *store = open_with(&options);
	expect(store, 2, true, 3);
	add(store, 4);
	expect(store, 2, true, 7);
	assert_true(atomic_load(&vigia__side_journal(&backend_of(store)->side)->records) > 0);
	vigia_store_free(store);
	old_open(&old);
	assert_int_equal(old_format(&old), 2); /* that is what it looks at, before anything else */
	old_close(&old);
	store = open_with(&options);
	expect(store, 2, true, 7);
	vigia_store_free(store);
}

static void S19_who_only_reads_upgrades_nothing(void **state)
{
	(void)state;
	struct vigia_store_options options = quiet_options();
	struct old old;
	make_old();
	options.readonly = true;
	struct vigia_store *store = open_with(&options);
	expect(store, 1, false, 3);
	vigia_store_free(store);
	old_open(&old);
	assert_int_equal(old_format(&old), 1);
	old_close(&old);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)
	const struct CMUnitTest tests[] = {
		TEST(Z5_an_old_file_is_used_as_it_is_beside_an_old_process),
		TEST(Z5_an_old_file_gets_a_journal_which_the_old_version_refuses),
		TEST(S19_who_only_reads_upgrades_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
