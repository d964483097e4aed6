/*
 * fuzz.h - a fuzzer's entry point that is also a program.
 *
 * With clang -fsanitize=fuzzer -DVIGIA_LIBFUZZER it is libFuzzer's. Otherwise main() below runs the entry over the
 * files named as arguments, or, without arguments, over the seeds and over VIGIA_FUZZ_RUNS random mutations of them,
 * the same ones for the same VIGIA_SEED (with AddressSanitizer a quarter of them, but for VIGIA_SOAK=1; with
 * ThreadSanitizer a sixteenth). Both forms begin with the seeds, the files of spec/c/corpus/NAME (FUZZ_CORPUS): what a
 * run found is kept there. The bytes are in memory of exactly their size, so that a sanitizer sees one read too many. A
 * property that does not hold aborts; in the short form the bytes that did it are then in VIGIA_FUZZ_KEEP (or
 * /tmp/fuzz-NAME), to be given as an argument.
 */
#ifndef VIGIA_SPEC_FUZZ_H
#define VIGIA_SPEC_FUZZ_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vigia.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_assert(condition)                                              \
	do {                                                                    \
		if (!(condition)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                   \
	} while (0)

/* ---- an input taken apart; behind its end come zeros ---- */

struct fuzz_input {
	const uint8_t *at, *end;
};

static inline size_t fuzz_left(const struct fuzz_input *in)
{
	return (size_t)(in->end - in->at);
}

static inline unsigned fuzz_byte(struct fuzz_input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static inline uint64_t fuzz_number(struct fuzz_input *in)
{
	uint64_t n = 0;
	size_t len = fuzz_left(in) < sizeof n ? fuzz_left(in) : sizeof n;
	if (len) memcpy(&n, in->at, len);
	in->at += len;
	return n;
}

/* As many bytes as the next two say, or fewer. */
static inline struct vigia_slice fuzz_slice(struct fuzz_input *in)
{
	size_t len = fuzz_byte(in);
	len |= (size_t)fuzz_byte(in) << 8;
	if (len > fuzz_left(in)) len = fuzz_left(in);
	struct vigia_slice slice = {(const char *)in->at, len};
	in->at += len;
	return slice;
}

/* The same up to a zero byte, as a string of its own: to be freed. */
static inline char *fuzz_string(struct fuzz_input *in)
{
	struct vigia_slice slice = fuzz_slice(in);
	char *text = malloc(slice.len + 1);
	fuzz_assert(text);
	if (slice.len) memcpy(text, slice.data, slice.len);
	text[slice.len] = '\0';
	return text;
}

#ifdef VIGIA_LIBFUZZER
#define FUZZ_MAIN(runs)
#else
#define FUZZ_MAIN(runs)                     \
	int main(int argc, char **argv)         \
	{                                       \
		return fuzz_main(argc, argv, runs); \
	}

enum { FUZZ_SIZE_MAX = 1 << 16, FUZZ_SEEDS_MAX = 1000 };

static uint64_t fuzz_state;

/* splitmix64 */
static inline uint64_t fuzz_random(uint64_t bound)
{
	uint64_t z = fuzz_state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % bound;
}

static const uint8_t *fuzz_now; /* what is being tried */
static size_t fuzz_now_size;

/* It was not survived: keep it. */
static inline void fuzz_keep(int signal_number)
{
	const char *path = getenv("VIGIA_FUZZ_KEEP");
	int fd = open(path ? path : "/tmp/fuzz-" FUZZ_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0 && write(fd, fuzz_now, fuzz_now_size) == (ssize_t)fuzz_now_size) close(fd);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static inline void fuzz_once(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	fuzz_assert(copy);
	if (size) memcpy(copy, data, size);
	fuzz_now = data;
	fuzz_now_size = size;
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

/* One change: a byte, a bit, a cut, a piece doubled, a piece of another seed. */
static inline size_t fuzz_mutate(uint8_t *bytes, size_t size, const struct vigia_slice *seeds, size_t count)
{
	static const uint8_t telling[] = {0x00, 0x01, 0x7f, 0x80, 0x90, 0x91, 0x96, 0xa0, 0xa1, 0xc0, 0xc1, 0xc4,
	                                  0xc7, 0xca, 0xcb, 0xcf, 0xd3, 0xd9, 0xdb, 0xdd, 0xdf, 0xff, '"',  '\\',
	                                  '{',  '}',  '[',  ']',  ',',  ':',  '$',  '-',  '.',  'e',  '0',  '9'};
	size_t at = size ? fuzz_random(size) : 0, len = size ? fuzz_random(size - at) + 1 : 0;
	switch (fuzz_random(6)) {
	case 0:
		if (size) bytes[at] = (uint8_t)fuzz_random(256);
		return size;
	case 1:
		if (size) bytes[at] ^= (uint8_t)(1 << fuzz_random(8));
		return size;
	case 2:
		if (size) bytes[at] = telling[fuzz_random(sizeof telling)];
		return size;
	case 3: /* take a piece out */
		memmove(bytes + at, bytes + at + len, size - at - len);
		return size - len;
	case 4: /* a piece twice */
		if (size + len > FUZZ_SIZE_MAX) return size;
		memmove(bytes + at + len, bytes + at, size - at);
		return size + len;
	default: {
		const struct vigia_slice *seed = &seeds[fuzz_random(count)];
		size_t from = seed->len ? fuzz_random(seed->len) : 0, n = seed->len - from;
		if (at + n > FUZZ_SIZE_MAX) return size;
		memcpy(bytes + at, seed->data + from, n);
		return at + n > size ? at + n : size;
	}
	}
}

/* The bytes of a file; false: it cannot be read. */
static inline bool fuzz_read(const char *path, struct vigia_slice *out)
{
	static uint8_t bytes[FUZZ_SIZE_MAX];
	FILE *file = fopen(path, "rb");
	if (!file) {
		perror(path);
		return false;
	}
	size_t size = fread(bytes, 1, sizeof bytes, file);
	fclose(file);
	char *copy = malloc(size ? size : 1);
	fuzz_assert(copy);
	memcpy(copy, bytes, size);
	*out = (struct vigia_slice){copy, size};
	return true;
}

static inline int fuzz_files_only(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The files of the corpus, by name. */
static inline size_t fuzz_seeds(struct vigia_slice *seeds)
{
	struct dirent **entries;
	int count = scandir(FUZZ_CORPUS, &entries, fuzz_files_only, alphasort);
	if (count <= 0 || count > FUZZ_SEEDS_MAX) {
		fprintf(stderr, "%s: no seeds, or too many\n", FUZZ_CORPUS);
		exit(1);
	}
	for (int i = 0; i < count; i++) {
		char path[4096];
		snprintf(path, sizeof path, "%s/%s", FUZZ_CORPUS, entries[i]->d_name);
		if (!fuzz_read(path, &seeds[i])) exit(1);
		free(entries[i]);
	}
	free(entries);
	return (size_t)count;
}

static inline int fuzz_main(int argc, char **argv, unsigned long runs)
{
	static uint8_t bytes[FUZZ_SIZE_MAX];
	static struct vigia_slice seeds[FUZZ_SEEDS_MAX];
	signal(SIGABRT, fuzz_keep);
	for (int i = 1; i < argc; i++) {
		struct vigia_slice file;
		if (!fuzz_read(argv[i], &file)) return 1;
		fuzz_once((const uint8_t *)file.data, file.len);
		free((char *)(uintptr_t)file.data);
	}
	if (argc > 1) return 0;
	size_t count = fuzz_seeds(seeds);
	const char *seed = getenv("VIGIA_SEED"), *told = getenv("VIGIA_FUZZ_RUNS");
	uint64_t first = seed ? strtoull(seed, NULL, 0) : 20240229;
	fuzz_state = first;
#ifdef __SANITIZE_ADDRESS__
	if (!getenv("VIGIA_SOAK")) runs /= 4; /* each takes some ten times as long */
#endif
#ifdef __SANITIZE_THREAD__
	runs /= 16; /* Lua's errors leave their calls on the runtime's stack, a copy of which is kept for each allocation */
#endif
	runs = told ? strtoul(told, NULL, 0) : runs;
	for (size_t i = 0; i < count; i++) fuzz_once((const uint8_t *)seeds[i].data, seeds[i].len);
	for (unsigned long left = runs; left > 0; left--) {
		const struct vigia_slice *from = &seeds[fuzz_random(count)];
		size_t size = from->len;
		memcpy(bytes, from->data, size);
		for (uint64_t n = fuzz_random(6) + 1; n > 0; n--) size = fuzz_mutate(bytes, size, seeds, count);
		fuzz_once(bytes, size);
	}
	printf("# hostile bytes: %zu executions of " FUZZ_NAME ", %zu seeds among them, seed %llu\n", count + runs, count,
	       (unsigned long long)first);
	for (size_t i = 0; i < count; i++) free((char *)(uintptr_t)seeds[i].data);
	return 0;
}
#endif

#endif
