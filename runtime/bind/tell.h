/*
 * tell.h - failures that no log function is there for: a line on standard error, now and then.
 */
#ifndef VIGIA_BIND_TELL_H
#define VIGIA_BIND_TELL_H

#include <lua.h>

#include "../drive/drive.h"

/* Note which file standard error is, on the first call. A descriptor 2 that is another file later is not written to. */
void vigia__tell_init(void);
/* Write one line, unless one was written for this limit less than a minute ago: then it is counted, and the next one
 * says so. Any thread, one at a time for each limit. For vigia_registry.tell. */
void vigia__tell(struct vigia__limit *limit, enum vigia_log_level level, const char *text);
/* Write a whole record, in one call, so that lines stay whole. */
void vigia__tell_record(enum vigia_log_level level, const char *text, size_t len);
/* core.log("debug"|"info"|"warn"|"error", message): write one */
int vigia__lua_log(lua_State *L);

#endif
