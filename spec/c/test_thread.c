/*
 * test_thread.c - how threads of ours start: their stacks, and what a refused start is told as. Their signals are in
 * signal_spec.lua.
 */
#include "test.h"

#include <alloca.h>
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

static void *measure_stack(void *bytes)
{
	pthread_attr_t attr;
	void *at;
	if (pthread_getattr_np(pthread_self(), &attr) != 0) return NULL;
	pthread_attr_getstack(&attr, &at, bytes);
	pthread_attr_destroy(&attr);
	return bytes;
}

static void a_stack_of_no_size_is_the_systems(void **state)
{
	(void)state;
	pthread_attr_t attr;
	pthread_t thread;
	void *good = NULL;
	size_t wanted = 0, got = 0;
	pthread_attr_init(&attr);
	pthread_attr_getstacksize(&attr, &wanted);
	pthread_attr_destroy(&attr);
	assert_int_equal(vigia__thread_start(&thread, 0, measure_stack, &got), 0);
	pthread_join(thread, &good);
	assert_ptr_equal(good, &got);
	assert_true(got >= wanted);
}

static void *use_stack(void *bytes)
{
	volatile char *stack = alloca(*(size_t *)bytes);
	for (size_t i = 0; i < *(size_t *)bytes; i += 512) stack[i] = 1;
	return bytes;
}

static void all_of_a_stack_can_be_used(void **state)
{
	(void)state;
	pthread_t thread;
	void *good = NULL;
	size_t bytes = 256 * 1024;
	assert_int_equal(vigia__thread_start(&thread, bytes, use_stack, &bytes), 0);
	pthread_join(thread, &good);
	assert_ptr_equal(good, &bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: the stack of a thread that ended is room for the next one. */
		cmocka_unit_test(R2_a_start_without_room_is_want_of_memory),
		cmocka_unit_test(a_stack_of_no_size_is_the_systems),
		cmocka_unit_test(all_of_a_stack_can_be_used),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
