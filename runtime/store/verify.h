/*
 * verify.h - look at all that a store keeps, and tell what is damaged: events by their checksum, number, time and
 * object, and what the backend keeps beside them.
 *
 * It reads as everybody reads: damaged LMDB pages can crash it. Whoever must not crash runs it in a child process
 * (bind/verify.c).
 */
#ifndef VIGIA_STORE_VERIFY_H
#define VIGIA_STORE_VERIFY_H

#include "store.h"

struct vigia__verify {
	void *ctx;
	/* Something is damaged: an event (seq_num > 0) or something else. */
	void (*found)(void *ctx, uint64_t seq_num, const char *text);
	/* All up to here was looked at; called before each piece, so that whoever crashes has said where. */
	void (*progress)(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last);
	/* From here on it looks at what is beside the events; called again after each few thousand records. */
	void (*beside)(void *ctx);
	/* Go on behind what could not be read: from this number (0: the oldest), up to that one (0: the last, when from is
	 * 0 too, else all there are), in pieces of so many events (0: 1000). */
	uint64_t from, upto, piece;
	/* out */
	uint64_t events, checkpoints, keys;
};

/* Looks at what was stored when it began. 0, whatever it found; EIO and its like: it could not go on. */
int vigia__store_verify(struct vigia_store *store, struct vigia__verify *verify, struct vigia_error *err);

#endif
