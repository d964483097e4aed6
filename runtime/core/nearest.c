/*
 * nearest.c - suggests the known name for a misspelled one.
 */
#include "nearest.h"

#include <stddef.h>
#include <string.h>

enum { NEAR_MAX = 64 };

static int least_of_three(int a, int b, int c)
{
	int m = a < b ? a : b;
	return m < c ? m : c;
}

/* The number of edits (insert, delete, replace, swap two neighbours) from a to b, both at most NEAR_MAX bytes. */
static int edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int rows[3][NEAR_MAX + 1];
	int *before = rows[0], *last = rows[1], *now = rows[2];
	for (size_t j = 0; j <= b_len; j++) last[j] = (int)j;
	for (size_t i = 1; i <= a_len; i++) {
		now[0] = (int)i;
		for (size_t j = 1; j <= b_len; j++) {
			now[j] = least_of_three(last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
		}
		int *free_row = before;
		before = last;
		last = now;
		now = free_row;
	}
	return last[b_len];
}

const char *vigia__nearest(const char *wrong, const char *(*name_at)(const void *ctx, int index), const void *ctx)
{
	size_t len = strlen(wrong);
	if (len == 0 || len > NEAR_MAX) return NULL;
	/* Allow a short word fewer edits, because it is near to everything. A common prefix is used only if no name is
	 * near. */
	int best = len < 4 ? 2 : 3, prefix_found = 0;
	const char *nearest = NULL, *name;
	for (int i = 0; (name = name_at(ctx, i)) != NULL; i++) {
		size_t name_len = strlen(name);
		if (name_len == 0 || name_len > NEAR_MAX) continue;
		int distance = edit_distance(wrong, len, name, name_len);
		if (distance < best && (size_t)distance < name_len) {
			best = distance;
			nearest = name;
		} else if (!nearest && !prefix_found && strncmp(wrong, name, len < name_len ? len : name_len) == 0) {
			prefix_found = 1 + i;
		}
	}
	return nearest ? nearest : prefix_found ? name_at(ctx, prefix_found - 1) : NULL;
}
