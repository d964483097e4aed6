/*
 * side.h - the side file, FILE-side: what a store's processes share that need not survive them: wake words, and the
 * owners of watcher ids (owner.h). It may be deleted when no process has the store open.
 *
 * Layout (native byte order; 32 KiB beside a store of format 1, which version 0.1.0 may have open too, else 48 KiB):
 *        0  magic "VIGIAS1\n"   8  format u32   12  size u32   16  id of the store file, 16 bytes
 *       32  settings word u32: changes its value with each change of a setting (the highest bit: one is in progress)
 *       40  device u64   48  inode u64 of the store file that is in use
 *       56  tried u64: the number of the last attempted commit (lmdb_meta.c)
 *       64  64 wake words, in 32 KiB
 *      320  u64: the event number at which to call the collector, 0 = none   328  u32: bumped by the call
 *      336  the transaction that goes first, struct vigia__elder
 *      512  the journal, struct vigia__journal_words
 *     1024  owners: 1024 x { hash of the watcher id u64, pid i32, PID namespace u32 }
 *           An id is at hash % 1024 or after it.
 *    17408  users: 256 x { pid i32, PID namespace u32 } of the processes that have the store open
 *    32768  4096 wake words, in 48 KiB
 * Lock bytes (open-file-description locks: the kernel frees them however the owner dies):
 *        0  making the file   1  collecting garbage   2  using it (shared)   1024 + n  being user n
 *     2^62 + hash  running the watcher id of that 62-bit hash
 * The pids are only for messages, because such a lock does not give its owner's.
 *
 * Threads: any. Open and close under the caller's lock.
 */
#ifndef VIGIA_STORE_SIDE_H
#define VIGIA_STORE_SIDE_H

#include "elder.h"
#include "journal_words.h"
#include "wake.h"

struct vigia__side_map;

struct vigia__side {
	int fd;     /* -1: not open */
	bool alone; /* no other process used it when it was opened */
	struct vigia__side_map *map;
	size_t bytes; /* of the map */
	struct vigia__wake wake;
};

/* Before LMDB opens the store file of this device and inode (0, 0: it does not exist yet): check that no process still
 * uses another file under this name, or an earlier content of this file, now empty. Both would use the same lock file
 * of LMDB, and thus the same transaction numbers, and destroy each other. 0 or EREPLACED. */
int vigia__side_check(const char *store_path, uint64_t dev, uint64_t ino, bool empty, struct vigia_error *err);
/* Set and return EREPLACED, naming such a process's pid. */
int vigia__side_refuse(const char *store_path, struct vigia_error *err);
/* Open or create the side file of a store: the large one, or the one of format 1. 0, EPERM or EIO. */
int vigia__side_open(struct vigia__side *side, const char *store_path, const uint8_t id[16], uint64_t dev, uint64_t ino,
                     bool large, struct vigia_error *err);
void vigia__side_close(struct vigia__side *side);
/* In a forked child: close the descriptor, so that the parent's locks end with the parent. */
void vigia__side_forked(struct vigia__side *side);
struct vigia__wake *vigia__side_wake(struct vigia__side *side);
_Atomic uint32_t *vigia__side_settings(struct vigia__side *side);
/* The number of the last attempted commit, in a new side file higher than any. NULL: the side file is not open. */
_Atomic uint64_t *vigia__side_tried(struct vigia__side *side);
/* The words by which a commit calls the collector. */
struct vigia__collect_call vigia__side_collect_call(struct vigia__side *side);

/* NULL: the side file is not open. */
struct vigia__elder *vigia__side_elder(struct vigia__side *side);
struct vigia__journal_words *vigia__side_journal(struct vigia__side *side);
/* Does another process use it now? */
bool vigia__side_is_shared(const struct vigia__side *side);

/* Become the process that collects garbage. False: another one is. */
bool vigia__side_elect(struct vigia__side *side);
void vigia__side_resign(struct vigia__side *side);
#endif
