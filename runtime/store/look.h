/*
 * look.h - looks at the files of a store from outside: who has it open, who runs a watcher, what holds the files. Opens
 * no store, changes nothing. For `vigia doctor`. Any thread.
 */
#ifndef VIGIA_STORE_LOOK_H
#define VIGIA_STORE_LOOK_H

#include <stdbool.h>
#include <stdint.h>

struct vigia__look_user {
	int32_t pid;
	bool here; /* the pid is of this PID namespace */
};

enum { VIGIA_LOOK_USERS = 256 }; /* at most so many are noted */

/* Fill `out` with the processes that have the store open, as far as they are noted. Returns how many: 0 also if there
 * is no side file, or it cannot be read. */
int vigia__look_users(const char *store_path, struct vigia__look_user out[VIGIA_LOOK_USERS]);

struct vigia__look_owner {
	struct vigia__look_user last; /* the process that runs it, or the last one that did. pid 0: not known */
	bool held;                    /* it is run now */
};

/* Who runs the watcher. False: there is no side file, or it cannot be read. */
bool vigia__look_owner(const char *store_path, const char *watcher_id, struct vigia__look_owner *out);

/* The name of the file system that holds a path, "" if it is unknown. True: it is lost when the machine, or the
 * container, ends (tmpfs, overlay). */
bool vigia__look_is_fleeting(const char *path, const char **name);

#endif
