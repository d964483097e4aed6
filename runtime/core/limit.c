/*
 * limit.c - report a repeated event at most once a minute. See limit.h.
 */
#include "limit.h"

#include <limits.h>

bool vigia__limit_take(struct vigia__limit *limit, int64_t now_mono_ns, unsigned *left_out)
{
	if (limit->told_mono_ns != 0 && now_mono_ns - limit->told_mono_ns < VIGIA_LIMIT_NS) {
		if (limit->left_out < UINT_MAX) limit->left_out++;
		return false;
	}
	*left_out = limit->left_out;
	*limit = (struct vigia__limit){now_mono_ns, 0};
	return true;
}
