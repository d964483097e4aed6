/*
 * test.h - what all C tests share: cmocka, slices, errors, a seeded random source, the loop over failing allocations.
 */
#ifndef VIGIA_SPEC_TEST_H
#define VIGIA_SPEC_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/buf.h"
#include "rng.h"
#include "vigia.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A slice of a string literal, which may hold NULs. */
#define SLICE(literal) ((struct vigia_slice){(literal), sizeof(literal) - 1})

/* The same as an initialiser in a table. */
#define SLICE_INIT(literal)            \
	{                                  \
		(literal), sizeof(literal) - 1 \
	}

static inline struct vigia_slice slice_of(const char *s)
{
	return (struct vigia_slice){s, strlen(s)};
}

static inline struct vigia_slice buf_slice(const struct vigia__buf *buf)
{
	return (struct vigia_slice){(const char *)buf->data, buf->len};
}

#define assert_slice(slice, literal)                                    \
	do {                                                                \
		struct vigia_slice slice_ = (slice);                            \
		assert_int_equal(slice_.len, sizeof(literal) - 1);              \
		assert_memory_equal(slice_.data, literal, sizeof(literal) - 1); \
	} while (0)

/* The code, and a part of the message. */
#define assert_error(rc, wanted, err, part)                                                       \
	do {                                                                                          \
		int rc_ = (rc);                                                                           \
		if (rc_ != (wanted) || (err)->code != (wanted) || !strstr((err)->message, (part)))        \
			fail_msg("wanted %s \"%s\", got %d %s \"%s\"", vigia_error_name(wanted), (part), rc_, \
			         vigia_error_name((err)->code), (err)->message);                              \
	} while (0)

/* Run a scenario with the 1st, 2nd, ... allocation failing, until it answers 0. `expression` answers ENOMEM or -1
 * before that. */
#define with_failing_allocations(expression)                                       \
	do {                                                                           \
		int answer_ = -1;                                                          \
		for (long nth_ = 1; answer_ != 0; nth_++) {                                \
			vigia__alloc_fail_at(nth_, 0);                                         \
			answer_ = (expression);                                                \
			vigia__alloc_fail_at(0, 0);                                            \
			assert_true(answer_ == 0 || answer_ == -1 || answer_ == VIGIA_ENOMEM); \
			assert_true(nth_ < 10000);                                             \
		}                                                                          \
	} while (0)

/* ---- Files ---- */

enum { FOLDER_MAX = 128 };

/* Makes a folder of its own, where TMPDIR says; 0, or -1. */
static inline int folder_make(char folder[FOLDER_MAX])
{
	const char *parent = getenv("TMPDIR");
	int len = snprintf(folder, FOLDER_MAX, "%s/vigia-XXXXXX", parent && parent[0] ? parent : "/tmp");
	return len < FOLDER_MAX && mkdtemp(folder) ? 0 : -1;
}

/* Removes the files in it, not folders. */
static inline void folder_empty(const char *folder)
{
	DIR *dir = opendir(folder);
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		char path[FOLDER_MAX + sizeof entry->d_name + 1];
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		unlink(path);
	}
	if (dir) closedir(dir);
}

/* ---- Random numbers: the same ones in every run, unless VIGIA_SEED says otherwise ---- */

static inline struct rng rng_seeded(void)
{
	const char *seed = getenv("VIGIA_SEED");
	struct rng rng = {seed ? strtoull(seed, NULL, 0) : 20240229};
	print_message("VIGIA_SEED=%llu\n", (unsigned long long)rng.state);
	return rng;
}

#endif
