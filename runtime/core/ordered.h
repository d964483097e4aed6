/*
 * ordered.h - an intrusive map ordered by the bytes of its keys: memcmp, a shorter key before a longer one that begins
 * with it.
 *
 * A treap: the rank of a node is a hash of its key, so its shape does not depend on the order of calls. Nothing here
 * fails. The caller owns the struct that contains a node, and its key, and must not move them while the map has them.
 * Pure, no lock.
 */
#ifndef VIGIA_CORE_ORDERED_H
#define VIGIA_CORE_ORDERED_H

#include <stdint.h>

#include "vigia.h"

struct vigia__ordered {
	struct vigia__ordered *child[2]; /* owner: the map */
	uint64_t rank;
	struct vigia_slice key; /* the caller's, set before it is added */
};

/* Where a search begins, and in which direction it goes. */
enum vigia__ordered_from { VIGIA_AT_LEAST, VIGIA_ABOVE, VIGIA_AT_MOST, VIGIA_BELOW };

int vigia__ordered_compare(struct vigia_slice a, struct vigia_slice b);
/* The map must not have the key. */
void vigia__ordered_add(struct vigia__ordered **root, struct vigia__ordered *node);
/* The map must have the node. */
void vigia__ordered_remove(struct vigia__ordered **root, struct vigia__ordered *node);
/* NULL: there is none. */
struct vigia__ordered *vigia__ordered_find(struct vigia__ordered *root, struct vigia_slice key);
struct vigia__ordered *vigia__ordered_seek(struct vigia__ordered *root, struct vigia_slice key,
                                           enum vigia__ordered_from from);
/* The first node, and the one behind a node. NULL: no more. */
struct vigia__ordered *vigia__ordered_first(struct vigia__ordered *root);
struct vigia__ordered *vigia__ordered_after(struct vigia__ordered *root, const struct vigia__ordered *node);
/* Remove and return any node, NULL when the map is empty: for freeing all. */
struct vigia__ordered *vigia__ordered_pop(struct vigia__ordered **root);

#endif
