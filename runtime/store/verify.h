/*
 * verify.h - look at all that a store keeps, and tell what is damaged: events by their checksum, number, time and
 * object, and what the backend keeps beside them.
 *
 * It reads through LMDB, which damaged pages can crash: a caller that must not crash runs it in a child process
 * (bind/verify.c).
 */
#ifndef VIGIA_STORE_VERIFY_H
#define VIGIA_STORE_VERIFY_H

#include "store.h"

/* Looks at what was stored when it began. 0, whatever it found; EIO and its like: it could not go on. */
int vigia__store_verify(struct vigia_store *store, struct vigia__verify *verify, struct vigia_error *err);

#endif
