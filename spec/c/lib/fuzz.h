/*
 * fuzz.h - a fuzzer's entry point that is also a program.
 *
 * With clang -fsanitize=fuzzer -DVIGIA_LIBFUZZER it is libFuzzer's. Otherwise main() below runs the entry over the files named as
 * arguments, or, without arguments, over VIGIA_FUZZ_RUNS (20000) random mutations of the seeds, the same ones for the same
 * VIGIA_SEED. The bytes are in memory of exactly their size, so that a sanitizer sees one read too many. A property that does not
 * hold aborts.
 */
#ifndef VIGIA_SPEC_FUZZ_H
#define VIGIA_SPEC_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vigia.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_SEED(literal) {(literal), sizeof(literal) - 1}

#define fuzz_assert(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#ifdef VIGIA_LIBFUZZER
#define FUZZ_MAIN(seeds)
#else
#define FUZZ_MAIN(seeds) \
	int main(int argc, char **argv) { \
		return fuzz_main(argc, argv, (seeds), sizeof(seeds) / sizeof((seeds)[0])); \
	}

static uint64_t fuzz_state;

/* splitmix64 */
static inline uint64_t fuzz_random(uint64_t bound) {
	uint64_t z = fuzz_state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % bound;
}

static inline void fuzz_once(const uint8_t *data, size_t size) {
	uint8_t *copy = malloc(size ? size : 1);
	fuzz_assert(copy);
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

enum { FUZZ_SIZE_MAX = 4096 };

/* One change: a byte, a bit, a cut, a piece doubled, a piece of another seed. */
static inline size_t fuzz_mutate(uint8_t *bytes, size_t size, const struct vigia_slice *seeds, size_t count) {
	static const uint8_t telling[] = {0x00, 0x01, 0x7f, 0x80, 0x90, 0x91, 0x96, 0xa0, 0xa1, 0xc0, 0xc1, 0xc4, 0xc7, 0xca, 0xcb,
	                                  0xcf, 0xd3, 0xd9, 0xdb, 0xdd, 0xdf, 0xff, '"',  '\\', '{',  '}',  '[',  ']',  ',',  ':',
	                                  '$',  '-',  '.',  'e',  '0',  '9'};
	size_t at = size ? fuzz_random(size) : 0, len = size ? fuzz_random(size - at) + 1 : 0;
	switch (fuzz_random(6)) {
	case 0:
		if (size)
			bytes[at] = (uint8_t)fuzz_random(256);
		return size;
	case 1:
		if (size)
			bytes[at] ^= (uint8_t)(1 << fuzz_random(8));
		return size;
	case 2:
		if (size)
			bytes[at] = telling[fuzz_random(sizeof telling)];
		return size;
	case 3: /* take a piece out */
		memmove(bytes + at, bytes + at + len, size - at - len);
		return size - len;
	case 4: /* a piece twice */
		if (size + len > FUZZ_SIZE_MAX)
			return size;
		memmove(bytes + at + len, bytes + at, size - at);
		return size + len;
	default: {
		const struct vigia_slice *seed = &seeds[fuzz_random(count)];
		size_t from = seed->len ? fuzz_random(seed->len) : 0, n = seed->len - from;
		if (at + n > FUZZ_SIZE_MAX)
			return size;
		memcpy(bytes + at, seed->data + from, n);
		return at + n > size ? at + n : size;
	}
	}
}

static inline int fuzz_main(int argc, char **argv, const struct vigia_slice *seeds, size_t count) {
	static uint8_t bytes[1 << 20];
	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		if (!file) {
			perror(argv[i]);
			return 1;
		}
		fuzz_once(bytes, fread(bytes, 1, sizeof bytes, file));
		fclose(file);
	}
	if (argc > 1)
		return 0;
	const char *seed = getenv("VIGIA_SEED"), *runs = getenv("VIGIA_FUZZ_RUNS");
	fuzz_state = seed ? strtoull(seed, NULL, 0) : 20240229;
	unsigned long left = runs ? strtoul(runs, NULL, 0) : 20000;
	printf("VIGIA_SEED=%llu, %lu runs\n", (unsigned long long)fuzz_state, left);
	for (size_t i = 0; i < count; i++)
		fuzz_once((const uint8_t *)seeds[i].data, seeds[i].len);
	for (; left > 0; left--) {
		const struct vigia_slice *from = &seeds[fuzz_random(count)];
		size_t size = from->len;
		fuzz_assert(size <= FUZZ_SIZE_MAX);
		memcpy(bytes, from->data, size);
		for (uint64_t n = fuzz_random(6) + 1; n > 0; n--)
			size = fuzz_mutate(bytes, size, seeds, count);
		fuzz_once(bytes, size);
	}
	return 0;
}
#endif

#endif
