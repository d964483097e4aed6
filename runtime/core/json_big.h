/*
 * json_big.h - integers of a JSON text that do not fit into 64 bits with a sign: as floats, or as strings.
 *
 * The text is rewritten before it is parsed, and the places of faults are found back. Any thread.
 */
#ifndef VIGIA_CORE_JSON_BIG_H
#define VIGIA_CORE_JSON_BIG_H

#include "buf.h"
#include "error.h"

/* What becomes of such an integer: an error, the nearest float, a string of its digits. */
enum vigia__json_big { VIGIA_JSON_BIG_REFUSED, VIGIA_JSON_BIG_FLOAT, VIGIA_JSON_BIG_STRING };

/* Write the text with its big integers written as floats or strings, at the end of `out`. VIGIA_NONE: it has
 * none, and out is unchanged. ENOMEM. */
int vigia__json_widen(const char *text, size_t len, enum vigia__json_big big, struct vigia__buf *out,
                      struct vigia_error *err);
/* Where in `text` the byte at `at` of what was made of it is. */
size_t vigia__json_narrow(const char *wide, size_t at, const char *text, size_t len);

#endif
