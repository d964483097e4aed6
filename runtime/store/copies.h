/*
 * copies.h - one copy of this library per process may have store files open.
 *
 * Two copies (one linked into the program, one into a Lua module, say) do not know of each other's files. If both
 * opened the same one, closing it in one would drop the other's locks on it, and data would be lost without an error.
 * So each copy can be found by the others, however it was linked and loaded, and says whether it has files open.
 */
#ifndef VIGIA_STORE_COPIES_H
#define VIGIA_STORE_COPIES_H

#include "vigia.h"

/* A file is about to be opened. VIGIA_OK, to be followed by vigia__copies_leave() once it is closed; or ETWICE, naming
 * both. Any thread. */
int vigia__copies_enter(struct vigia_error *err);
void vigia__copies_leave(void);
/* In a child of fork(), where the parent's files do not count. */
void vigia__copies_forked(void);

#endif
