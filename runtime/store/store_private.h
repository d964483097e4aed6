/*
 * store_private.h - for the store*.c files.
 */
#ifndef VIGIA_STORE_STORE_PRIVATE_H
#define VIGIA_STORE_STORE_PRIVATE_H

#include "../core/buf.h"
#include "backend.h"
#include "vigia.h"

/* As vigia__store_enter(), for a call that changes something: also EREADONLY. */
int vigia__store_enter_to_write(struct vigia_store *store, struct vigia_error *err);
/* An append was stored: the handle has appended up to its last number. */
void vigia__store_note_appended(struct vigia_store *store, const struct vigia__append *request);

/* All events behind each other, and where each ends, in an array that the caller frees, also after an error. */
int vigia__events_encode(struct vigia__buf *buf, size_t **ends, const struct vigia_store *store,
                         const struct vigia_new_event *events, size_t count, struct vigia_error *err);
/* Take the caller's conditions (NULL: none). */
int vigia__append_conditions(struct vigia_append_options *ours, const struct vigia_append_options *theirs,
                             struct vigia_error *err);

#endif
