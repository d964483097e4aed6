/*
 * log_format.h - what a log record looks like on standard error.
 *
 * The program chooses; in applications it stays "bare", a line that begins with "vigia: WARN". Any thread; chosen
 * before others begin.
 */
#ifndef VIGIA_BIND_LOG_FORMAT_H
#define VIGIA_BIND_LOG_FORMAT_H

#include <lua.h>

#include "../core/buf.h"
#include "vigia.h"

/* Their names, by level; NULL behind the last. */
extern const char *const vigia__log_levels[];
/* Add the record and its line end to `out`. 0, or -1 without memory. */
int vigia__log_format(struct vigia__buf *out, enum vigia_log_level level, const char *text, size_t len);

/* core.log_format("plain"|"logfmt"|"json"|nil) -> name: the format of records from now on. nil: "journal" where
 * standard error is the system's journal, which has the time and knows levels by a mark, else "plain". */
int vigia__lua_log_format(lua_State *L);

#endif
