/*
 * side.h - the side file, FILE-side: what a store's processes share that need not survive them: wake words, and the
 * owners of watcher ids (owner.h). It may be deleted when no process has the store open.
 *
 * Layout (native byte order; 32 KiB beside a store of format 1, which version 0.1.0 may have open too, else 568 KiB):
 *        0  magic "VIGIAS1\n"   8  format u32   12  size u32   16  id of the store file, 16 bytes
 *       32  settings word u32: changes its value with each change of a setting (the highest bit: one is in progress),
 *           and with a timer where there was none
 *       40  device u64   48  inode u64 of the store file that is in use
 *       56  tried u64: the number of the last attempted commit (lmdb_meta.c)
 *       64  64 wake words, in 32 KiB
 *      320  u64: the event number at which to call the collector, 0 = none   328  u32: bumped by the call
 *      332  u32: counts requests to retry dead letters
 *      336  the transaction that goes first, struct vigia__elder   352  struct vigia__outcomes
 *      480  u32: the timers' word (timers.h)
 *      484  u32: counts requests to watchers, and answers (steer.h)
 *      512  the journal, struct vigia__journal_words
 *     1024  owners: 1024 x { hash of the watcher id u64, pid i32, PID namespace u32 }
 *           An id is at hash % 1024 or after it.
 *    17408  users: 256 x { pid i32, PID namespace u32 } of the processes that have the store open
 *    20480  progress that somebody waits for, struct vigia__wants
 * And in that of 568 KiB:
 *    32768  4096 wake words
 *    49152  struct vigia__row_table: how many watchers each user does not show, the hashes of the rows' ids
 *    57344  512 rows of running watchers (rows.h), of 1 KiB
 * Lock bytes (open-file-description locks: the kernel frees them however the owner dies):
 *        0  making the file   1  collecting garbage   2  using it (shared)   3  storing what is due
 *     1024 + n  being user n
 *     4096 + n  running the watcher of row n
 *     2^60 + hash  waiting to run the watcher id, while others own it for moments (60 bits of the hash; shared)
 *     2^61 + hash  owning a watcher id for a moment (61 bits of the hash)
 *     2^62 + hash  running the watcher id of that 62-bit hash
 * The pids are only for messages, because such a lock does not give its owner's.
 *
 * Threads: any. Open and close under the caller's lock.
 */
#ifndef VIGIA_STORE_SIDE_H
#define VIGIA_STORE_SIDE_H

#include "backend.h"
#include "elder.h"
#include "journal_words.h"
#include "rows.h"
#include "wake.h"
#include "wants.h"

struct vigia__side_map;

struct vigia__side {
	int fd;     /* -1: not open */
	bool alone; /* no other process used it when it was opened */
	struct vigia__side_map *map;
	size_t bytes; /* of the map */
	int user;     /* this process's place among the users; -1: all are taken */
	struct vigia__wake wake;
};

/* Before LMDB opens the store file of this device and inode (0, 0: it does not exist yet): check that no process still
 * uses another file under this name, or an earlier content of this file, now empty. Both would use the same lock file
 * of LMDB, and thus the same transaction numbers, and destroy each other. 0 or EREPLACED. */
int vigia__side_check(const char *store_path, uint64_t dev, uint64_t ino, bool empty, struct vigia_error *err);
/* Set and return EREPLACED, naming such a process's pid. */
int vigia__side_refuse(const char *store_path, struct vigia_error *err);
/* Open or create the side file of a store: the large one, or the one of format 1. 0, EPERM or EIO. EFORMAT: a process
 * of a version with another layout has it open. */
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
struct vigia__outcomes *vigia__side_outcomes(struct vigia__side *side);
_Atomic uint32_t *vigia__side_letter_requests(struct vigia__side *side);
_Atomic uint32_t *vigia__side_steer_requests(struct vigia__side *side);
struct vigia__wants *vigia__side_wants(struct vigia__side *side);
struct vigia__journal_words *vigia__side_journal(struct vigia__side *side);
/* Does another process use it now? */
bool vigia__side_is_shared(const struct vigia__side *side);

_Atomic uint32_t *vigia__side_timers(struct vigia__side *side);
/* Share the rows of the side file. That of format 1 has none. */
void vigia__side_share_rows(struct vigia__side *side, struct vigia__rows *rows);

/* Become the process that does it. False: another one is. */
bool vigia__side_elect(struct vigia__side *side, enum vigia__office office);
void vigia__side_resign(struct vigia__side *side, enum vigia__office office);
#endif
