/*
 * text.c - writing text into buffers.
 */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../core/json.h"

int vigia__text_add(struct vigia__buf *buf, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0 || vigia__buf_reserve(buf, (size_t)len + 1) != 0) return -1;
	va_start(args, format);
	vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, format, args);
	va_end(args);
	buf->len += (size_t)len;
	return 0;
}

int vigia__text_json(struct vigia__buf *buf, const char *text)
{
	return vigia__json_put_string(buf, (struct vigia_slice){text, strlen(text)});
}

int vigia__text_error(struct vigia__buf *buf, const struct vigia_error *err)
{
	return vigia__buf_add_text(buf, "{\"code\":") | vigia__text_json(buf, vigia_error_name(err->code)) |
	       vigia__buf_add_text(buf, ",\"message\":") | vigia__text_json(buf, err->message) |
	       vigia__buf_add_text(buf, "}");
}
