/*
 * side.h - the side file, FILE-side: what the processes of a store share that need not survive them. Wake words, and
 * the owners of watcher ids (owner.h). It can be deleted whenever no process has the store open.
 *
 * Layout (format 1, native byte order, 32 KiB):
 *        0  magic "VIGIAS1\n"   8  format u32   12  size u32   16  id of the store file, 16 bytes
 *       32  settings word u32: another value when a setting of the file changes; the highest bit: one is changing
 *       40  device u64, 48 inode u64 of the store file that is in use
 *       56  tried u64: the number of the last commit that was tried (lmdb_meta.c)
 *       64  wake words, struct vigia__wake
 *      320  u64: the event number at which the collector wants to be called, 0 = none; 328 u32: bumped by the call
 *     1024  owners: 1024 x { hash of the watcher id u64, pid i32, PID namespace u32 }; an id is at hash % 1024 or
 *           behind it
 *    17408  users: 256 x { pid i32, PID namespace u32 } of processes that have the store open
 * Lock bytes (open-file-description locks: the kernel frees them however the owner dies):
 *     0 making the file   1 collecting garbage   2 using it (shared)   1024 + n: being user n
 *     2^62 + hash: running the watcher id of that 62-bit hash
 * The pid beside a lock is only for messages: such a lock does not tell it.
 *
 * Threads: any; open and close under the caller's lock.
 */
#ifndef VIGIA_STORE_SIDE_H
#define VIGIA_STORE_SIDE_H

#include "wake.h"

struct vigia__side_map;

struct vigia__side {
	int fd; /* -1: not open */
	struct vigia__side_map *map;
};

/* Before LMDB opens the store file of this device and inode (0, 0: it is yet to be made): does nobody use another one
 * under this name, or another content of this file, which is empty now? The two would share LMDB's lock file, and with
 * it the numbers of transactions, and destroy one another. 0 or EREPLACED. */
int vigia__side_check(const char *store_path, uint64_t dev, uint64_t ino, bool empty, struct vigia_error *err);
/* Somebody does: EREPLACED naming the pid. */
int vigia__side_refuse(const char *store_path, struct vigia_error *err);
/* Open or make the side file of a store. 0; EPERM, EIO. */
int vigia__side_open(struct vigia__side *side, const char *store_path, const uint8_t id[16], uint64_t dev, uint64_t ino,
                     struct vigia_error *err);
void vigia__side_close(struct vigia__side *side);
/* In a forked child: give up the descriptor, so that the parent's locks end with the parent. */
void vigia__side_forked(struct vigia__side *side);
struct vigia__wake *vigia__side_wake(struct vigia__side *side);
_Atomic uint32_t *vigia__side_settings(struct vigia__side *side);
/* The number of the last commit that was tried, higher than any in a new side file. NULL: the side file is not open. */
_Atomic uint64_t *vigia__side_tried(struct vigia__side *side);
/* How a commit calls the collector. */
struct vigia__collect_call vigia__side_collect_call(struct vigia__side *side);

/* Become the process that collects garbage: false, another one is. */
bool vigia__side_elect(struct vigia__side *side);
void vigia__side_resign(struct vigia__side *side);
#endif
