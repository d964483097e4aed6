/*
 * quantity.h - sizes and durations as people write them: 64M, 64MiB, 1h, 250ms. Everything that reads one reads it
 * here.
 *
 * A quantity is a decimal number with a unit behind it, at most one space between: digits, or digits with a point. Case
 * matters.
 *     sizes      none or B, K or KiB (1024), M or MiB, G or GiB, T or TiB
 *     durations  none or s, ns, us, ms, m or min, h, d, w
 * KB and MB, which some take for 1000 and others for 1024, are refused.
 */
#ifndef VIGIA_CORE_QUANTITY_H
#define VIGIA_CORE_QUANTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vigia__quantity_kind { VIGIA_QUANTITY_SIZE, VIGIA_QUANTITY_DURATION };

enum vigia__quantity_result {
	VIGIA_QUANTITY_OK,
	VIGIA_QUANTITY_MALFORMED, /* no number, or a unit that there is not */
	VIGIA_QUANTITY_BROKEN,    /* a size that is not a whole number of bytes */
	VIGIA_QUANTITY_OVERFLOW   /* more than an int64_t of bytes or nanoseconds */
};

/* Read a whole text. *out is in bytes, or in nanoseconds, rounded to the nearest. Unchanged unless OK. */
enum vigia__quantity_result vigia__quantity_read(enum vigia__quantity_kind kind, const char *text, size_t len,
                                                 int64_t *out);
/* Does a text end in a unit? In Lua one that does not is a number in the wrong type. */
bool vigia__quantity_has_unit(const char *text, size_t len);
/* What is wrong with a text that was not OK, for messages: "is too large". */
const char *vigia__quantity_problem(enum vigia__quantity_kind kind, enum vigia__quantity_result result);

#endif
