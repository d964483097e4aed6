/*
 * sql_event.c - checks the sum of an event that the server made: SHA-256 (FIPS 180-4), and what it is compared with.
 */
#include "sql_event.h"

#include <string.h>

#include "../../core/event.h"

enum { TAG_AT = 1, SUM_AT = 2, REST_AT = 6, TAG_OF_SQL = 0xD2, TAG_OF_ALL = 0xCE, BLOCK = 64 };

static const uint32_t round_constants[BLOCK] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t load(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t turn(uint32_t x, int by)
{
	return x >> by | x << (32 - by);
}

static void take_block(uint32_t state[8], const uint8_t *block)
{
	uint32_t w[BLOCK], s[8];
	for (int i = 0; i < 16; i++) w[i] = load(block + 4 * i);
	for (int i = 16; i < BLOCK; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];
		w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
	}
	memcpy(s, state, sizeof s);
	for (int i = 0; i < BLOCK; i++) {
		uint32_t one = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
		               round_constants[i] + w[i];
		uint32_t two =
			(turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
		memmove(s + 1, s, 7 * sizeof *s);
		s[4] += one;
		s[0] = one + two;
	}
	for (int i = 0; i < 8; i++) state[i] += s[i];
}

/* The first four bytes. */
static uint32_t sha256(const uint8_t *bytes, size_t len)
{
	uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
	                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	uint8_t last[2 * BLOCK] = {0};
	size_t whole = len / BLOCK * BLOCK, rest = len - whole, end = rest + 9 <= BLOCK ? BLOCK : 2 * BLOCK;
	for (size_t at = 0; at < whole; at += BLOCK) take_block(state, bytes + at);
	memcpy(last, bytes + whole, rest);
	last[rest] = 0x80;
	for (int i = 0; i < 8; i++) last[end - 1 - (size_t)i] = (uint8_t)((uint64_t)len * 8 >> 8 * i);
	for (size_t at = 0; at < end; at += BLOCK) take_block(state, last + at);
	return state[0];
}

struct vigia_slice vigia__pg_sql_event(struct vigia_slice event)
{
	uint8_t *bytes = (uint8_t *)(uintptr_t)event.data;
	size_t len = event.len;
	if (len > VIGIA_HEAD_MIN && bytes[TAG_AT] == TAG_OF_SQL &&
	    load(bytes + SUM_AT) == sha256(bytes + REST_AT, len - REST_AT)) {
		bytes[TAG_AT] = TAG_OF_ALL;
		vigia__event_stamp(bytes, len, 0, 0);
	}
	return event;
}
