/*
 * copies.h - only one copy of this library in a process may have store files open.
 *
 * Two copies (say, one linked into the program and one into a Lua module) do not know each other's files. If both
 * opened the same file, closing it in one would drop the other's locks, and data would be lost without an error. So a
 * copy finds all others, however they were linked and loaded, and sees whether they have files open.
 */
#ifndef VIGIA_STORE_COPIES_H
#define VIGIA_STORE_COPIES_H

#include "vigia.h"

/* Call it before opening a file. VIGIA_OK: call vigia__copies_leave() once the file is closed. ETWICE names both
 * copies. Any thread. */
int vigia__copies_enter(struct vigia_error *err);
void vigia__copies_leave(void);
/* Call it in a child of fork(), where the parent's files do not count. */
void vigia__copies_forked(void);

#endif
