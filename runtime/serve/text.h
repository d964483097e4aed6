/*
 * text.h - writing text into buffers. 0, or -1 without memory, so that results can be joined with |.
 */
#ifndef VIGIA_SERVE_TEXT_H
#define VIGIA_SERVE_TEXT_H

#include "../core/buf.h"
#include "../core/error.h"

/* As printf. */
int vigia__text_add(struct vigia__buf *buf, const char *format, ...) VIGIA_PRINTF(2, 3);
/* A JSON string. */
int vigia__text_json(struct vigia__buf *buf, const char *text);
/* {"code":...,"message":...} */
int vigia__text_error(struct vigia__buf *buf, const struct vigia_error *err);

#endif
