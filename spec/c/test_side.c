/*
 * test_side.c - the side file's layouts: that of format 1, which version 0.1.0 uses too, and the large one.
 */
#include "test.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "events.h"
#include "folder.h"
#include "store/lmdb_private.h"
#include "store/store.h"

static long side_bytes(void)
{
	char name[FOLDER_MAX + 32];
	struct stat st;
	snprintf(name, sizeof name, "%s-side", path);
	return stat(name, &st) == 0 ? (long)st.st_size : -1;
}

/* Version 0.1.0 knows format 1 and a side file of 32 KiB with 64 words, and may have a file of that format open. */
static void a_store_of_format_1_has_the_side_file_of_0_1_0(void **state)
{
	(void)state;
	struct vigia_store *store = open_of_format(false);
	assert_int_equal(side_bytes(), 32768);
	assert_int_equal(store->backend->wake->count, VIGIA_WAKE_FEW);
	/* Where 0.1.0 has its words. */
	char *map = (char *)((struct lmdb_backend *)store->backend)->side.map;
	assert_ptr_equal(store->backend->wake->words, map + 64);
	/* It is opened again with a journal, by which it gets format 2, and the side file that is left does not fit. */
	assert_int_equal(append(store, "a", 1, NULL, NULL), VIGIA_OK);
	vigia_store_free(store);
	assert_int_equal(side_bytes(), 32768);
	struct vigia_error err = {0};
	struct vigia_store_options change = quiet_options();
	store = open_of_format(false);
	change.journal = true;
	change.journal_given = true;
	if (vigia_store_configure(store, &change, &err) < 0) fail_msg("%s", err.message);
	vigia_store_free(store);
	store = open_of_format(true);
	assert_int_equal(side_bytes(), 581632);
	assert_int_equal(store->backend->wake->count, VIGIA_WAKE_WORDS);
	assert_int_equal(append(store, "b", 1, NULL, NULL), VIGIA_OK);
	assert_int_equal(latest(store), 2);
	vigia_store_free(store);
}

/* A process that had it open in format 1 has given up LMDB's file, and is about to close the side file. */
static void the_side_file_of_a_process_that_closes_is_waited_for(void **state)
{
	(void)state;
	struct vigia_store *store = open_of_format(true);
	struct lmdb_backend *b = (struct lmdb_backend *)store->backend;
	uint8_t id[16];
	memcpy(id, b->file_id, sizeof id);
	vigia_store_free(store);
	int told[2];
	char c;
	assert_int_equal(pipe(told), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct vigia__side side;
		struct stat st;
		if (stat(path, &st) < 0) _exit(1);
		if (vigia__side_open(&side, path, id, st.st_dev, st.st_ino, false, NULL) < 0) _exit(2);
		if (write(told[1], "o", 1) != 1) _exit(3);
		usleep(50000);
		_exit(0);
	}
	assert_int_equal(read(told[0], &c, 1), 1);
	assert_int_equal(side_bytes(), 32768);
	store = open_of_format(true);
	assert_int_equal(side_bytes(), 581632);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(told[0]);
	close(told[1]);
	vigia_store_free(store);
}

/* It waits as version 0.1.0 does: its bit, a look, its sleep. */
static void *wait_as_0_1_0(void *arg)
{
	struct vigia_store *store = arg;
	_Atomic uint32_t *word = &store->backend->wake->words[0];
	for (;;) {
		uint32_t seen = atomic_fetch_or(word, 1) | 1;
		if (latest(store) > 0) return NULL;
		syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
	}
}

static void a_process_of_0_1_0_is_woken(void **state)
{
	(void)state;
	struct vigia_store *store = open_of_format(false);
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, wait_as_0_1_0, store), 0);
	while (!(atomic_load(&store->backend->wake->words[0]) & 1)) usleep(100);
	usleep(20000); /* it sleeps by now; where it does not, it finds the event at its look */
	assert_int_equal(append(store, "a", 1, NULL, NULL), VIGIA_OK);
	pthread_join(thread, NULL);
	vigia_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) {#name, name, folder_setup, folder_teardown, NULL}
		TEST(a_store_of_format_1_has_the_side_file_of_0_1_0),
		TEST(the_side_file_of_a_process_that_closes_is_waited_for),
		TEST(a_process_of_0_1_0_is_woken),
#undef TEST
	};
	return cmocka_run_group_tests_name("side", tests, NULL, NULL);
}
