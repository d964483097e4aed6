/*
 * test_nursery.c - blocks of a nursery keep what is in them and are used again, nurseries do not overlap and are given
 * back, and a state in one warns as luaL_newstate's does.
 */
#include "bind/nursery.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/test.h"

/* Where the system puts memory: the next ones at odd places, or nowhere. */
static int odd;
static bool nowhere;

#ifndef __SANITIZE_THREAD__ /* its runtime maps memory by this function before it is ready */
__attribute__((visibility("default"))) void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (nowhere) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	if (odd > 0) {
		odd--;
		char *larger = (char *)syscall(SYS_mmap, NULL, 2 * len, prot, flags, fd, offset);
		if (larger == MAP_FAILED) return larger;
		size_t skip = (uintptr_t)larger % len == 0 ? 4096 : 0;
		if (skip > 0) munmap(larger, skip);
		munmap(larger + skip + len, len - skip);
		return larger + skip;
	}
	return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
}
#endif

enum { LIVE = 300, NURSERIES = 200, NURSERY_BYTES = 64 * 1024 };

struct live {
	unsigned char *at, mark;
	size_t size;
};

/* Most blocks of Lua are small. */
static size_t some_size(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	uint32_t n = *seed >> 8;
	return 1 + (n % 16 == 0 ? n / 16 % 5000 : n / 16 % 120);
}

static void check(const struct live *live)
{
	for (size_t i = 0; i < live->size; i++) assert_int_equal(live->at[i], live->mark);
	assert_int_equal((uintptr_t)live->at % 16, 0);
}

static void set(struct vigia__nursery *nursery, struct live *live, size_t size, unsigned char mark)
{
	size_t kept = size < live->size ? size : live->size;
	unsigned char *at = vigia__nursery_alloc(nursery, live->at, live->size, size);
	if (size == 0) {
		assert_null(at);
		*live = (struct live){0};
		return;
	}
	assert_non_null(at);
	for (size_t i = 0; i < kept; i++) assert_int_equal(at[i], live->mark);
	memset(at, mark, size);
	*live = (struct live){at, mark, size};
}

static bool is_inside(const struct vigia__nursery *nursery, const void *at)
{
	return (uintptr_t)at - (uintptr_t)nursery < NURSERY_BYTES;
}

static void test_blocks(void **state)
{
	static struct live lives[LIVE];
	struct vigia__nursery *nursery = vigia__nursery_new();
	assert_non_null(nursery);
	uint32_t seed = 7;
	for (int step = 0; step < 100000; step++) {
		struct live *live = &lives[(seed >> 4) % LIVE];
		check(live);
		size_t size = some_size(&seed);
		if (live->at && size % 3 > 0) size = 0;
		set(nursery, live, size, (unsigned char)step);
	}
	for (int i = 0; i < LIVE; i++) {
		check(&lives[i]);
		set(nursery, &lives[i], 0, 0);
	}
	vigia__nursery_free(nursery);
}

/* What was freed is used again for the same sizes. */
static void test_again(void **state)
{
	static struct live lives[LIVE];
	struct vigia__nursery *nursery = vigia__nursery_new();
	assert_non_null(nursery);
	for (int round = 0; round < 10; round++) {
		uint32_t seed = 9;
		size_t bytes = 0;
		for (int i = 0; i < LIVE && bytes < 50000; i++) {
			size_t size = some_size(&seed);
			set(nursery, &lives[i], size, (unsigned char)i);
			bytes += size;
#ifndef __SANITIZE_ADDRESS__ /* there all is malloc's */
			assert_true(is_inside(nursery, lives[i].at));
#endif
		}
		for (int i = LIVE; i-- > 0;) set(nursery, &lives[i], 0, 0);
	}
	vigia__nursery_free(nursery);
}

/* Lua relies on it that a block never fails to shrink, and what is cut off is used again. */
static void test_shrink(void **state)
{
	struct vigia__nursery *nursery = vigia__nursery_new();
	struct live first = {0}, rest = {0}, full = {0};
	assert_non_null(nursery);
	set(nursery, &first, 48000, 1);
	do { /* nothing is left behind it */
		struct live block = {0};
		set(nursery, &block, 16, 2);
		if (!is_inside(nursery, block.at)) {
			set(nursery, &block, 0, 0);
			break;
		}
	} while (true);
	uintptr_t before = (uintptr_t)first.at;
	set(nursery, &first, 16000, 3);
	set(nursery, &rest, 31000, 4);
	set(nursery, &full, 31000, 5);
#ifndef __SANITIZE_ADDRESS__
	assert_int_equal((uintptr_t)first.at, before);
	assert_true(is_inside(nursery, rest.at));
	assert_false(is_inside(nursery, full.at));
#endif
	assert_non_null((void *)before);
	check(&first);
	check(&rest);
	check(&full);
	set(nursery, &full, 0, 0);
	set(nursery, &rest, 0, 0);
	set(nursery, &first, 0, 0);
	vigia__nursery_free(nursery);
}

static bool is_mapped(const void *at)
{
	unsigned char page;
	return mincore((void *)((uintptr_t)at / 4096 * 4096), 1, &page) == 0;
}

static void test_many(void **state)
{
	static struct vigia__nursery *nurseries[NURSERIES];
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < NURSERIES; i++) {
			assert_non_null(nurseries[i] = vigia__nursery_new());
			for (int j = 0; j < i; j++) assert_false(is_inside(nurseries[j], nurseries[i]));
			void *block = vigia__nursery_alloc(nurseries[i], NULL, 0, 100);
			assert_non_null(memset(block, i, 100));
			assert_null(vigia__nursery_alloc(nurseries[i], block, 100, 0));
		}
		for (int i = 0; i < NURSERIES; i++) vigia__nursery_free(nurseries[i * 77 % NURSERIES]); /* 77: each once */
		int mapped = 0;
		for (int i = 0; i < NURSERIES; i++) mapped += is_mapped(nurseries[i]);
		assert_true(mapped <= 32); /* of one mapping, for what comes next */
	}
}

/* Without memory there is none; with it there is one again. */
static void test_no_memory(void **state)
{
	static struct vigia__nursery *nurseries[33];
	vigia__alloc_fail_at(1, 1);
	int count = 0;
	while (count < 33 && (nurseries[count] = vigia__nursery_new()) != NULL) count++;
	vigia__alloc_fail_at(0, 0);
	assert_in_range(count, 0, 32);
	assert_non_null(nurseries[count] = vigia__nursery_new());
	for (int i = 0; i <= count; i++) vigia__nursery_free(nurseries[i]);
}

/* What warnings of this state come to on standard error. */
static void warnings(lua_State *L, char *out, size_t size)
{
	FILE *file = tmpfile();
	assert_non_null(file);
	int before = dup(STDERR_FILENO);
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	luaL_openlibs(L);
	int rc = luaL_dostring(L, "warn('unheard') warn('@on') warn('one') warn('of ', 'three ', 'pieces') warn('@what')"
	                          "warn('@on', 'as a piece') warn('@off') warn('unheard', 'too') warn('@on') warn('last')");
	fflush(stderr);
	dup2(before, STDERR_FILENO);
	close(before);
	rewind(file);
	out[fread(out, 1, size - 1, file)] = '\0';
	fclose(file);
	if (rc != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
}

static void test_warnings(void **state)
{
	char ours[1000], theirs[1000];
	struct vigia__nursery *nursery = vigia__nursery_new();
	lua_State *L = vigia__nursery_state(nursery);
	assert_non_null(L);
	warnings(L, ours, sizeof ours);
	lua_close(L);
	vigia__nursery_free(nursery);
	L = luaL_newstate();
	assert_non_null(L);
	warnings(L, theirs, sizeof theirs);
	lua_close(L);
	assert_string_equal(ours, theirs);
	assert_non_null(strstr(ours, "of three pieces"));
}

/* The first nursery: no memory is left over from another one. */
static void test_places(void **state)
{
#ifdef __SANITIZE_THREAD__
	skip();
#endif
	nowhere = true;
	assert_null(vigia__nursery_new());
	nowhere = false;
	odd = 2;
	struct vigia__nursery *nursery = vigia__nursery_new();
	assert_non_null(nursery);
	assert_int_equal(odd, 0);
	assert_int_equal((uintptr_t)nursery % NURSERY_BYTES, 0);
	struct live live = {0};
	set(nursery, &live, 100, 7);
	check(&live);
	set(nursery, &live, 0, 0);
	vigia__nursery_free(nursery);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_places),  cmocka_unit_test(test_blocks),
	                                   cmocka_unit_test(test_again),   cmocka_unit_test(test_shrink),
	                                   cmocka_unit_test(test_many),    cmocka_unit_test(test_no_memory),
	                                   cmocka_unit_test(test_warnings)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
