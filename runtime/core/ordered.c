/*
 * ordered.c - an intrusive map ordered by the bytes of its keys.
 */
#include "ordered.h"

#include <string.h>

#include "table.h"

int vigia__ordered_compare(struct vigia_slice a, struct vigia_slice b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* FNV-1a of keys that differ in their last byte only differs in a few bits. */
static uint64_t rank_of(struct vigia_slice key)
{
	uint64_t hash = vigia__table_hash(key.data, key.len);
	hash = (hash ^ (hash >> 33)) * UINT64_C(0xff51afd7ed558ccd);
	return hash ^ (hash >> 33);
}

/* The nodes below `key`, and the others. */
static void split(struct vigia__ordered *root, struct vigia_slice key, struct vigia__ordered **low,
                  struct vigia__ordered **high)
{
	while (root) {
		if (vigia__ordered_compare(root->key, key) < 0) {
			*low = root;
			low = &root->child[1];
			root = root->child[1];
		} else {
			*high = root;
			high = &root->child[0];
			root = root->child[0];
		}
	}
	*low = *high = NULL;
}

void vigia__ordered_add(struct vigia__ordered **root, struct vigia__ordered *node)
{
	node->rank = rank_of(node->key);
	while (*root && (*root)->rank >= node->rank)
		root = &(*root)->child[vigia__ordered_compare((*root)->key, node->key) < 0];
	struct vigia__ordered *below = *root;
	*root = node;
	split(below, node->key, &node->child[0], &node->child[1]);
}

/* All keys of `low` are below those of `high`. */
static void join(struct vigia__ordered **at, struct vigia__ordered *low, struct vigia__ordered *high)
{
	while (low && high) {
		bool takes_low = low->rank >= high->rank;
		*at = takes_low ? low : high;
		at = &(*at)->child[takes_low];
		if (takes_low) low = *at;
		else high = *at;
	}
	*at = low ? low : high;
}

void vigia__ordered_remove(struct vigia__ordered **root, struct vigia__ordered *node)
{
	while (*root != node) root = &(*root)->child[vigia__ordered_compare((*root)->key, node->key) < 0];
	join(root, node->child[0], node->child[1]);
}

struct vigia__ordered *vigia__ordered_find(struct vigia__ordered *root, struct vigia_slice key)
{
	while (root) {
		int order = vigia__ordered_compare(root->key, key);
		if (order == 0) break;
		root = root->child[order < 0];
	}
	return root;
}

struct vigia__ordered *vigia__ordered_seek(struct vigia__ordered *root, struct vigia_slice key,
                                           enum vigia__ordered_from from)
{
	struct vigia__ordered *found = NULL;
	bool up = from == VIGIA_AT_LEAST || from == VIGIA_ABOVE;
	bool equal = from == VIGIA_AT_LEAST || from == VIGIA_AT_MOST;
	while (root) {
		int order = vigia__ordered_compare(root->key, key);
		bool fits = order == 0 ? equal : (order > 0) == up;
		if (fits) found = root;
		root = root->child[up ? !fits : fits];
	}
	return found;
}

struct vigia__ordered *vigia__ordered_first(struct vigia__ordered *root)
{
	return vigia__ordered_seek(root, (struct vigia_slice){0}, VIGIA_AT_LEAST);
}

struct vigia__ordered *vigia__ordered_after(struct vigia__ordered *root, const struct vigia__ordered *node)
{
	return vigia__ordered_seek(root, node->key, VIGIA_ABOVE);
}

struct vigia__ordered *vigia__ordered_pop(struct vigia__ordered **root)
{
	struct vigia__ordered *node = *root;
	if (node) join(root, node->child[0], node->child[1]);
	return node;
}
