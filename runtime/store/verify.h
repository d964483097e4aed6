/*
 * verify.h - checks everything in a store for damage: events by their checksum, number, time and object, and the
 * backend's other data.
 *
 * It reads through LMDB, which damaged pages can crash. A caller that must not crash runs it in a child process
 * (bind/verify.c).
 */
#ifndef VIGIA_STORE_VERIFY_H
#define VIGIA_STORE_VERIFY_H

#include "store.h"

/* Checks what was stored when it began. 0, whatever it found. EIO and similar: it could not continue. */
int vigia__store_verify(struct vigia_store *store, struct vigia__verify *verify, struct vigia_error *err);

#endif
