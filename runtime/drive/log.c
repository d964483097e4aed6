/*
 * log.c - log records of a registry: to its log function, or, for failures, to a fallback if there is none.
 */
#include <stdarg.h>
#include <stdio.h>

#include "drive_private.h"

void vigia__log_text(struct vigia_registry *registry, enum vigia_log_level level, const char *text)
{
	registry->depth++; /* it may do what a handler may: not step or free the registry that is calling it */
	registry->log(registry->log_ctx, level, text);
	registry->depth--;
}

_Thread_local vigia__log_fn vigia__log_by;

void vigia__log(struct vigia_registry *registry, enum vigia_log_level level, const char *format, ...)
{
	if (registry->log == NULL && vigia__log_by == NULL) return;
	char text[1200];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (vigia__log_by) vigia__log_by(registry, level, text);
	else vigia__log_text(registry, level, text);
}

void vigia__log_failure(struct vigia_registry *registry, struct vigia__limit *limit, enum vigia_log_level level,
                        const char *format, ...)
{
	if (registry->log == NULL && registry->tell == NULL) return;
	char text[2400]; /* a message, and a traceback of some lines */
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (registry->tell) registry->tell(limit, level, text);
	else vigia__log_text(registry, level, text);
}
