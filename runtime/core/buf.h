/*
 * buf.h - a growable byte buffer. One owner. `data` moves when it grows. Zero-initialise it. deinit frees it.
 */
#ifndef VIGIA_CORE_BUF_H
#define VIGIA_CORE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct vigia__buf {
	uint8_t *data;
	size_t len; /* bytes in use */
	size_t cap; /* bytes allocated */
};

/* Make room for `more` bytes behind len. 0, or -1 without memory (the buffer is unchanged). */
int vigia__buf_reserve(struct vigia__buf *buf, size_t more);
int vigia__buf_add(struct vigia__buf *buf, const void *data, size_t len); /* 0 or -1 */
int vigia__buf_add_text(struct vigia__buf *buf, const char *text);        /* without its NUL; 0 or -1 */
void vigia__buf_deinit(struct vigia__buf *buf);
/* Empty it. The memory is kept for the next use unless it has more than `keep` bytes. */
void vigia__buf_clear(struct vigia__buf *buf, size_t keep);

#endif
