/*
 * rng.h - random numbers that a seed repeats, for tests and simulators.
 */
#ifndef VIGIA_SPEC_RNG_H
#define VIGIA_SPEC_RNG_H

#include <stdint.h>

struct rng {
	uint64_t state; /* at first: the seed */
};

/* splitmix64 */
static inline uint64_t rng_next(struct rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* 0 .. bound-1 */
static inline uint64_t rng_below(struct rng *rng, uint64_t bound)
{
	return rng_next(rng) % bound;
}

#endif
