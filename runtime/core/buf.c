/*
 * buf.c - a byte buffer that doubles when it is full.
 */
#include "buf.h"

#include <string.h>

#include "alloc.h"

enum { FIRST_CAP = 256 };

int vigia__buf_reserve(struct vigia__buf *buf, size_t more)
{
	if (more <= buf->cap - buf->len) return 0;
	if (more > SIZE_MAX / 2 - buf->len) return -1;
	size_t need = buf->len + more;
	size_t cap = buf->cap ? buf->cap : FIRST_CAP;
	while (cap < need) cap *= 2;
	uint8_t *data = vigia__realloc(buf->data, cap);
	if (!data) return -1;
	buf->data = data;
	buf->cap = cap;
	return 0;
}

int vigia__buf_add(struct vigia__buf *buf, const void *data, size_t len)
{
	if (vigia__buf_reserve(buf, len) != 0) return -1;
	if (len) memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	return 0;
}

int vigia__buf_add_text(struct vigia__buf *buf, const char *text)
{
	return vigia__buf_add(buf, text, strlen(text));
}

void vigia__buf_deinit(struct vigia__buf *buf)
{
	vigia__free(buf->data);
	*buf = (struct vigia__buf){0};
}

void vigia__buf_clear(struct vigia__buf *buf, size_t keep)
{
	buf->len = 0;
	if (buf->cap > keep) vigia__buf_deinit(buf);
}
