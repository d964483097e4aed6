/*
 * ranges.c - which numbers above a checkpoint are finished.
 */
#include "ranges.h"

#include <string.h>

#include "alloc.h"

void vigia__ranges_init(struct vigia__ranges *ranges, uint64_t checkpoint)
{
	*ranges = (struct vigia__ranges){.checkpoint = checkpoint};
}

void vigia__ranges_deinit(struct vigia__ranges *ranges)
{
	vigia__free(ranges->list);
	*ranges = (struct vigia__ranges){0};
}

void vigia__ranges_reset(struct vigia__ranges *ranges, uint64_t checkpoint)
{
	ranges->checkpoint = checkpoint;
	ranges->count = 0;
}

/* The first range whose last number is not below `number`. */
static size_t find(const struct vigia__ranges *ranges, uint64_t number)
{
	size_t low = 0, high = ranges->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (ranges->list[middle].last < number) low = middle + 1;
		else high = middle;
	}
	return low;
}

int vigia__ranges_reserve(struct vigia__ranges *ranges, size_t more)
{
	enum { FIRST = 16 };
	if (ranges->count + more <= ranges->cap) return 0;
	size_t cap = ranges->cap ? ranges->cap * 2 : FIRST;
	if (cap < ranges->count + more) cap = ranges->count + more;
	struct vigia__range *list = vigia__realloc(ranges->list, cap * sizeof *list);
	if (list == NULL) return -1;
	ranges->list = list;
	ranges->cap = cap;
	return 0;
}

/* Put `count` ranges from `at` on away, and `range` (NULL: none) in their place. There is room for one more. */
static void replace(struct vigia__ranges *ranges, size_t at, size_t count, const struct vigia__range *range)
{
	size_t put = range ? 1 : 0, rest = ranges->count - at - count;
	if (rest > 0) memmove(ranges->list + at + put, ranges->list + at + count, rest * sizeof *ranges->list);
	if (range) ranges->list[at] = *range;
	ranges->count = ranges->count - count + put;
}

int vigia__ranges_add(struct vigia__ranges *ranges, uint64_t first, uint64_t last)
{
	if (last <= ranges->checkpoint) return 0;
	if (first <= ranges->checkpoint) first = ranges->checkpoint + 1;
	if (vigia__ranges_reserve(ranges, 1) != 0) return -1;
	/* Those that it touches or overlaps. */
	size_t at = find(ranges, first - 1), end = at;
	struct vigia__range range = {first, last};
	for (; end < ranges->count && ranges->list[end].first <= last + (last < UINT64_MAX); end++) {
		if (ranges->list[end].first < range.first) range.first = ranges->list[end].first;
		if (ranges->list[end].last > range.last) range.last = ranges->list[end].last;
	}
	bool grows = range.first == ranges->checkpoint + 1;
	if (grows) ranges->checkpoint = range.last;
	replace(ranges, at, end - at, grows ? NULL : &range);
	return 0;
}

int vigia__ranges_join(struct vigia__ranges *ranges, const struct vigia__ranges *more)
{
	int rc = more->checkpoint > 0 ? vigia__ranges_add(ranges, 1, more->checkpoint) : 0;
	for (size_t i = 0; i < more->count && rc == 0; i++)
		rc = vigia__ranges_add(ranges, more->list[i].first, more->list[i].last);
	return rc;
}

bool vigia__ranges_has(const struct vigia__ranges *ranges, uint64_t number)
{
	if (number <= ranges->checkpoint) return true;
	size_t at = find(ranges, number);
	return at < ranges->count && ranges->list[at].first <= number;
}

int vigia__ranges_encode(const struct vigia__ranges *ranges, struct vigia__buf *out)
{
	if (vigia__buf_reserve(out, sizeof ranges->checkpoint + ranges->count * sizeof *ranges->list) < 0) return -1;
	vigia__buf_add(out, &ranges->checkpoint, sizeof ranges->checkpoint);
	if (ranges->count > 0) vigia__buf_add(out, ranges->list, ranges->count * sizeof *ranges->list);
	return 0;
}

int vigia__ranges_decode(struct vigia__ranges *ranges, struct vigia_slice bytes)
{
	uint64_t checkpoint;
	if (bytes.len < sizeof checkpoint || (bytes.len - sizeof checkpoint) % sizeof *ranges->list != 0)
		return VIGIA_EDAMAGED;
	size_t count = (bytes.len - sizeof checkpoint) / sizeof *ranges->list;
	memcpy(&checkpoint, bytes.data, sizeof checkpoint);
	struct vigia__range *list = count > 0 ? vigia__alloc(count * sizeof *list) : NULL;
	if (count > 0 && list == NULL) return -1;
	if (count > 0) memcpy(list, bytes.data + sizeof checkpoint, count * sizeof *list);
	uint64_t before = checkpoint;
	bool good = true;
	for (size_t i = 0; i < count && good; i++) {
		good = before < UINT64_MAX - 1 && list[i].first > before + 1 && list[i].last >= list[i].first;
		before = list[i].last;
	}
	if (!good) {
		vigia__free(list);
		return VIGIA_EDAMAGED;
	}
	vigia__free(ranges->list);
	*ranges = (struct vigia__ranges){checkpoint, list, count, count};
	return 0;
}
