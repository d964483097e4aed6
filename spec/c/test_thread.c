/*
 * test_thread.c - how threads of ours start: what a refused start is told as.
 */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "store/thread.h"

static void *nothing(void *arg)
{
	return arg;
}

static size_t mapped_bytes(void)
{
	size_t pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%zu", &pages), 1);
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* The system needs room for a stack, for the page that guards it, and for what it allocates beside it: each may be what
 * is missing. */
static void R2_a_start_without_room_is_want_of_memory(void **state)
{
	(void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* they need more address space than this gives */
#endif
	enum { STACK = 256 * 1024, STEP = 4096, MOST = 16 * 1024 * 1024 };
	struct rlimit before, limit;
	pthread_t thread;
	getrlimit(RLIMIT_AS, &before);
	limit = before;
	size_t from = mapped_bytes(), room = 0;
	int refused = 0, other = 0, failed;
	do {
		limit.rlim_cur = from + room;
		setrlimit(RLIMIT_AS, &limit);
		failed = vigia__thread_start(&thread, STACK, nothing, NULL);
		if (failed == 0) pthread_join(thread, NULL);
		setrlimit(RLIMIT_AS, &before);
		if (failed) refused++;
		if (failed && failed != ENOMEM) other++;
		room += STEP;
	} while (failed && room < MOST);
	assert_int_equal(failed, 0);
	assert_true(refused > 0);
	assert_int_equal(other, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(R2_a_start_without_room_is_want_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
