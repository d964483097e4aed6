/*
 * store_private.h - for the store*.c files.
 */
#ifndef VIGIA_STORE_STORE_PRIVATE_H
#define VIGIA_STORE_STORE_PRIVATE_H

#include "vigia.h"

/* As vigia__store_enter(), for a call that changes something: also EREADONLY. */
int vigia__store_enter_to_write(struct vigia_store *store, struct vigia_error *err);

#endif
