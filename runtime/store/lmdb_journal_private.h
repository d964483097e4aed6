/*
 * lmdb_journal_private.h - only for the lmdb_*.c files: the journal, which takes appends with one sync, and its tail,
 * the events in it that LMDB does not have yet. lmdb_journal.c writes and drains it, lmdb_tail.c reads it.
 *
 * The journal's area lies in pages of the store's file that LMDB keeps as one value and never writes again. Its records
 * (core/record.h) form generations. A generation begins with an LMDB commit, which stores its salt and the last event
 * before it ("tail", struct tail_record). It ends with the next one, the drain, which stores its events in LMDB.
 *
 * A generation is ready when the words in the side file say so: nothing is in doubt, and the next record may be written
 * behind the last one that was published. In all other cases the next writer drains first. So every doubt (a process
 * that was killed, a failed write, a power loss) has one answer, a synced LMDB commit that takes all records that are
 * whole and begins a new generation.
 *
 * Invariants:
 *  1. No record of a generation is written before the commit that began it is known to be durable.
 *  2. `ready` is the salt only while no record is between its write and its sync.
 *  3. Both words change only under the side file's mutex, or when a process opens the store alone.
 *  4. A record that was acknowledged is not overwritten before its drain is durable.
 *  5. The tail is the longest chain from offset 0 with the generation's salt, numbers and sums.
 *  6. A commit that stores events in LMDB drains first, in the same transaction.
 *  7. `published` never passes what is synced (at durability "none": written), and comes before the wake-up.
 *  8. What a reader copied counts only if the generation is still the same afterwards.
 */
#ifndef VIGIA_STORE_LMDB_JOURNAL_PRIVATE_H
#define VIGIA_STORE_LMDB_JOURNAL_PRIVATE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../core/buf.h"
#include "../core/record.h"
#include "turns.h"
#include "vigia.h"

struct lmdb_backend;
struct reader;
struct vigia__ticket;
struct vigia__append;
struct last_record;

/* The area mapped for writing: at durability "none" a record is made there, without a system call. */
struct vigia__journal_window {
	uint8_t *area; /* NULL: there is none */
	void *map;
	size_t bytes; /* of the map, which begins with a page */
	bool refused; /* there may be none: do not try again */
};

/* Of the area, and of a block on the disk, which a power loss may leave torn. */
enum { JOURNAL_BYTES = 1 << 20, JOURNAL_BLOCK = 4096 };

struct vigia__lmdb_journal {
	off_t at;                    /* of the area in the file; 0: the file has none */
	size_t bytes;                /* of the area */
	const uint8_t *_Atomic area; /* its address in the map; NULL: not known */
	atomic_bool in_doubt;        /* a caller of this process was told commit_unknown: settle that before a read */
	/* the writer's, under the side file's mutex */
	struct vigia__turn turn;  /* this process's, at that mutex */
	uint64_t txn;             /* the LMDB transaction in which the generation was read; 0: none was */
	struct vigia__chain end;  /* where its next record begins */
	struct vigia__chain next; /* the generation that the transaction under way begins; salt 0: none */
	bool has_room;            /* there is room on the disk for draining `next` */
	size_t drained;           /* bytes of the tail that it stores */
	struct vigia__journal_window window;
	int left;                     /* why it leaves the tail instead, a Vigia code; 0: it does not */
	struct vigia__buf record;     /* one that will be written */
	struct vigia__buf in_window;  /* one that is made in the window */
	struct vigia__buf *under_way; /* which of these */
};

/* The tail as this process knows it: the events up to `chain`, whose places are in the area. */
struct vigia__lmdb_tail {
	pthread_rwlock_t lock;
	uint64_t txn;           /* the newest LMDB transaction in which the generation was read; 0: none was */
	_Atomic uint64_t first; /* changed under the lock; read without it as a hint. 0: not known yet */
	struct vigia__chain chain;
	struct vigia__buf places; /* struct place, of event `first` and those behind it */
};

/* lmdb_window.c */

/* The writer's: the area, to make records in that are not synced. NULL: they are written instead. What is there is
 * what a write would have left, for all processes, and stays when this one is killed. */
uint8_t *vigia__journal_window(struct lmdb_backend *b);
/* Before the file is closed. */
void vigia__journal_window_close(struct lmdb_backend *b);

/* lmdb_area.c. Where nothing else is said: 0, or LMDB's or the system's error number. */

/* In a transaction: find the area. Make it in a file that gets one. */
int vigia__journal_find(struct lmdb_backend *b, MDB_txn *txn);
/* Is the map large enough for one? */
bool vigia__journal_fits(const struct lmdb_backend *b);
int vigia__journal_make(struct lmdb_backend *b, MDB_txn *txn, const struct last_record *last);
/* In a transaction: the address of the area in the map. NULL: the file is damaged. */
const uint8_t *vigia__journal_area(struct lmdb_backend *b, MDB_txn *txn);
/* In a transaction: the generation as it began. */
int vigia__journal_generation(struct lmdb_backend *b, MDB_txn *txn, struct vigia__chain *out);

/* Renew a reader's transaction. 0: the salt is unchanged. EAGAIN: another generation has begun. */
int vigia__journal_confirm(struct lmdb_backend *b, MDB_txn *txn, uint64_t salt);
/* Bring the file to the disk. */
int vigia__journal_sync(struct lmdb_backend *b);
/* In a writer's transaction: begin a new generation behind `last`. NULL: behind the same event as the present one. */
int vigia__journal_put_generation(MDB_txn *txn, MDB_dbi meta, const struct last_record *last, struct vigia__chain *out);
int vigia__journal_write_at(int fd, const struct vigia__buf *bytes, off_t at);

/* The bytes of an area, of one generation. Empty: none. */
struct vigia__journal_copy {
	uint64_t salt;
	struct vigia__buf area;
};
/* In a transaction on a backup of the store, open as fd: write `copy` into its journal if it has the same generation.
 * Otherwise leave the journal empty. */
int vigia__journal_restore(MDB_txn *txn, int fd, const struct vigia__journal_copy *copy);

/* lmdb_journal.c */

/* Around the lock of LMDB's writer, in fair turns. 0, or EIO: the side file's mutex is damaged. Without a journal the
 * turns are all that the mutex is for: it is left out where it cannot be had. */
int vigia__journal_lock(struct lmdb_backend *b, struct vigia_error *err);
void vigia__journal_unlock(struct lmdb_backend *b);

/* Set and return EIO: behind this event the tail is damaged. */
int vigia__journal_damaged(struct lmdb_backend *b, uint64_t last, struct vigia_error *err);

/* Are its records written without a sync (durability "none")? */
bool vigia__journal_unsynced(const struct lmdb_backend *b);
/* In a writer's transaction: may a record be written behind vigia__journal_end()? */
bool vigia__journal_is_ready(struct lmdb_backend *b, MDB_txn *txn);
/* Then: is there room for these events, `bytes` in all? If so, their record was begun in journal->under_way.
 * It is to be filled and written. */
bool vigia__journal_takes(struct lmdb_backend *b, size_t count, size_t bytes);
/* Write the record, which was begun and filled in journal->under_way, and publish it. 0. An error number: nothing was
 * published, and the next commit must drain. *written: the record may be in the file all the same. */
int vigia__journal_write(struct lmdb_backend *b, int64_t last_at, bool *written);
struct vigia__chain vigia__journal_end(const struct lmdb_backend *b);

/* In a writer's transaction, before it stores events: store those of the tail. *last becomes its last event, 0 if it is
 * empty. EIO with err set: the tail is damaged. */
int vigia__journal_drain(struct lmdb_backend *b, MDB_txn *txn, uint64_t *last, struct vigia_error *err);
/* Instead, in one that leaves the tail as it is, for this reason (a Vigia code): forget what one before it, which
 * failed, was about to change. */
void vigia__journal_leave(struct lmdb_backend *b, int why);
/* In the same transaction, when all its events are stored: if there were any, or the generation is in doubt, begin a
 * new one behind the last event. */
int vigia__journal_turn(struct lmdb_backend *b, MDB_txn *txn, bool stored);
/* After its commit. */
void vigia__journal_committed(struct lmdb_backend *b);
/* A commit failed, or changed what the generation stands on: drain before anything else. */
void vigia__journal_doubt(struct lmdb_backend *b);

/* Set and return EFULL or EDISKFULL: the tail cannot be drained. */
int vigia__journal_no_room(struct lmdb_backend *b, int code, struct vigia_error *err);

/* Drain it now, in a commit of its own. VIGIA_OK or a Vigia code. */
int vigia__journal_settle(struct lmdb_backend *b, struct vigia_error *err);

/* lmdb_recover.c */
/* After opening, and before closing. VIGIA_OK or a Vigia code. A process that may not write reads the tail as it is. */
int vigia__journal_open(struct lmdb_backend *b, struct vigia_error *err);
void vigia__journal_close(struct lmdb_backend *b);
/* Did a killed process leave a record that readers do not see? */
bool vigia__journal_hides(struct lmdb_backend *b);
/* VIGIA_OK or a Vigia code. The caller frees the buffer. */
int vigia__journal_copy(struct lmdb_backend *b, struct vigia__journal_copy *out, struct vigia_error *err);

/* lmdb_tail.c */
void vigia__tail_init(struct vigia__lmdb_tail *tail);
void vigia__tail_deinit(struct vigia__lmdb_tail *tail);
/* In a reader's transaction: lock the tail behind its snapshot for reading, up to the last event that may be seen. Call
 * vigia__tail_end after 0. EAGAIN: the snapshot is too old: renew it and start over. EIO with err set: the tail is
 * damaged. Or LMDB's error. */
int vigia__tail_begin(struct lmdb_backend *b, struct reader *reader, struct vigia_error *err);
/* Unlock it, if no event's bytes were read. */
void vigia__tail_leave(struct lmdb_backend *b);
/* Unlock it, and renew the snapshot. EAGAIN: what was read from the tail does not count: start over. */
int vigia__tail_end(struct lmdb_backend *b, struct reader *reader);
/* While it is locked: its first and last number. In an empty one, which may also have none, the last one is that of the
 * event before it. */
bool vigia__tail_is_empty(const struct lmdb_backend *b);
uint64_t vigia__tail_first(const struct lmdb_backend *b);
uint64_t vigia__tail_last(const struct lmdb_backend *b);
/* The bytes of one of its events. */
MDB_val vigia__tail_event(struct lmdb_backend *b, uint64_t seq_num);

#endif
