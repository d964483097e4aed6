/*
 * alloc.c - malloc with a fault that tests can arm.
 */
#include "alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Armed by tests only. 0: off, n: fail the n-th allocation from now. Process-wide, because an allocation has no
 * owner. */
static _Atomic long fail_at;
static _Atomic int fail_forever;

void vigia__alloc_fail_at(long nth, int forever)
{
	atomic_store(&fail_forever, forever);
	atomic_store(&fail_at, nth);
}

static int must_fail_slow(void)
{
	long left = atomic_load(&fail_at);
	do {
		if (left <= 0) return 0;
		if (left == 1 && atomic_load(&fail_forever)) return 1;
	} while (!atomic_compare_exchange_weak(&fail_at, &left, left - 1));
	return left == 1;
}

static inline int must_fail(void)
{
	return atomic_load_explicit(&fail_at, memory_order_relaxed) != 0 && must_fail_slow();
}

void *vigia__alloc(size_t size)
{
	return must_fail() ? NULL : malloc(size ? size : 1);
}

void *vigia__calloc(size_t size)
{
	return must_fail() ? NULL : calloc(1, size ? size : 1);
}

void *vigia__realloc(void *ptr, size_t size)
{
	return must_fail() ? NULL : realloc(ptr, size ? size : 1);
}

void vigia__free(void *ptr)
{
	free(ptr);
}

char *vigia__strdup(const char *s)
{
	size_t size = strlen(s) + 1;
	char *copy = vigia__alloc(size);
	return copy ? memcpy(copy, s, size) : NULL;
}
