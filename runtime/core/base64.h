/*
 * base64.h - bytes <-> base64 (RFC 4648, with padding). Pure, any thread.
 */
#ifndef VIGIA_CORE_BASE64_H
#define VIGIA_CORE_BASE64_H

#include <stdbool.h>

#include "buf.h"

/* Append the text for `len` bytes. 0, or -1 without memory. */
int vigia__base64_encode(struct vigia__buf *buf, const char *data, size_t len);
/* False if encode would not have written this text: groups must be whole and padded, with no stray bits. Writes to
 * `out`, which has room for `len` bytes. NULL only checks. */
bool vigia__base64_decode(const char *in, size_t len, uint8_t *out, size_t *out_len);

#endif
