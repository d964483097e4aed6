/*
 * lmdb_private.h - only for the lmdb_*.c files: the backend's struct, and the functions they call in each other.
 *
 * The databases inside the file (LMDB "named databases"):
 *     vigia               format, id and settings of the file (lmdb_format.c)
 *     events              seq_num (8 bytes, native) -> the event's bytes (core/event.h)   name: option events_bucket
 *     checkpoints         watcher id -> struct checkpoint_record           name: option checkpoint_bucket
 *     vigia.holds         watcher id -> struct checkpoint_record: where one without checkpoint holds back collection
 *     vigia.marks         the store's time (8 bytes, native) -> last seq_num then, and what the clocks said
 *     vigia.keys          key of an append stored once -> its numbers, and back (lmdb_keys.c)
 *     vigia.index         number of a block of events (8 bytes, native) -> which types and operations it has
 *                         (lmdb_index.c). A file that is older gets it when a block is complete
 *     vigia.state         buckets (state.h). A file of an earlier version gets it with its first bucket
 *     vigia.timers        events that wait for their time (timer_records.h). The same with its first timer
 * All others are created with the file, so that no later version must convert it.
 *
 * Every transaction of the process holds `map_lock` (shared), because no transaction may run while the map's size
 * changes (exclusive).
 */
#ifndef VIGIA_STORE_LMDB_PRIVATE_H
#define VIGIA_STORE_LMDB_PRIVATE_H

#include <lmdb.h>
#include <string.h>
#include <sys/types.h>

#include "../core/block.h"
#include "backend.h"
#include "commit.h"
#include "lmdb_journal_private.h"
#include "queue.h"
#include "owner.h"

/* A checkpoint's value, in native byte order: a machine of another one cannot open the file. */
struct checkpoint_record {
	uint64_t seq_num;
	int64_t touched_at_ns; /* when it was saved or its watcher last ran, on the store's clock (core/retention.h) */
};

/* The number and time of the last event, stored separately so that they survive the removal of all events. */
struct last_record {
	uint64_t seq_num;
	int64_t at_ns;
};

/* A read transaction with its cursor, reset between uses. */
struct reader {
	struct reader *next;
	MDB_txn *txn;
	MDB_cursor *events;
	MDB_cursor *index; /* NULL: not opened yet. To be renewed before each use */
};

/* A snapshot whose pages stay in the file. The map may change its size meanwhile, so nothing is read through it. */
struct vigia__lmdb_pin {
	struct vigia__lmdb_pin *next; /* owner: the backend, under readers_mutex */
	struct reader *reader;        /* under map_lock; NULL: the environment was closed, and the pages may be reused */
	uint64_t txn;
};

/* What the index is told of events as they are stored. */
struct vigia__index_notes {
	struct vigia__block_builder *builder; /* of the block that is being filled; NULL: not made yet */
	uint64_t next;                        /* the event that it lacks, 0: it is of no use */
	/* in the transaction under way */
	bool noted;      /* there were some */
	uint64_t sealed; /* the first block whose record it wrote, UINT64_MAX = none */
};

struct stat;
struct lmdb_backend {
	struct vigia__backend base;
	struct lmdb_backend *next; /* owner: the process's list in lmdb.c */
	int refs;                  /* handles; under the list's mutex */
	unsigned fork_generation;
	char *path; /* real path */
	dev_t dev;
	ino_t ino;
	pthread_mutex_t look_mutex;
	_Atomic int64_t look_mono_ns;   /* until then no check is needed */
	_Atomic int64_t looked_mono_ns; /* the last check that it is still the opened file (lmdb_there.c) */
	_Atomic int64_t file_bytes;     /* its size at that check */
	_Atomic int64_t cut_tick;       /* of the last check that it was not cut; the next one is in another tick */
	_Atomic int64_t side_tick;      /* the same for the check of the side file's name */
	_Atomic int64_t limit_tick;     /* the same for the limit on the size of files, before records without a sync */
	atomic_bool replaced;           /* its name led to another file */
	atomic_bool overwritten;        /* permanent */
	atomic_int lost_beside;         /* the lock file (0) or the side file (1) was deleted or replaced; -1: neither */

	MDB_env *env;       /* NULL: it could not be reopened after a failure; the next call tries again */
	int lock_fd;        /* LMDB's lock file, open while the environment is; -1: none */
	bool readonly;      /* the file may only be read */
	atomic_bool writes; /* and not only for reading: a handle was opened that may write */
	pthread_rwlock_t map_lock;
	atomic_int map_long;      /* compacting backups that hold map_lock */
	size_t map_asked;         /* the option, 0 = what the system grants */
	_Atomic size_t map_bytes; /* its size without a loan; 0 before it was opened. This and map_grows are also read
	                             without the lock */
	unsigned commits_since;   /* the last check for readers that were killed; the committing thread's */
	atomic_bool map_grows;    /* the system granted no large map: grow it when it is full */
	size_t page_bytes;        /* a power of two */
	bool pages_aligned;       /* a page's address in the map is a multiple of its size */
	uint64_t last_page;       /* of the last commit; updated by each writer under the lock */
	bool pages_counted;       /* what the current transaction counts is known; under the writer's lock */
	bool has_events;          /* the current transaction stores events; under the writer's lock */
	uint64_t reserved_bytes;  /* where the allocated blocks of the file end, as far as this process knows; under the
	                             writer's lock */
	int reserve_failed;       /* error number of the last attempt to allocate more, 0 = none */
	bool map_lent;            /* the thread that claimed it restores the size when it leaves */
	struct last_record
		stamped; /* the last number and time this process assigned, stored or not; under the writer's lock */
	_Atomic uint64_t writing_bytes; /* of events in the current commit; to tell a full disk from a broken one */
	MDB_dbi meta, events, checkpoints, holds, marks, keys;
	MDB_dbi index;
	atomic_bool has_index;                 /* the file has the database, and readers may use it */
	bool makes_index;                      /* the transaction under way makes it; under the writer's lock */
	struct vigia__index_notes index_notes; /* the writer's */
	struct vigia__lmdb_kv {
		atomic_uint dbi; /* 0: the file has no such database, as far as known */
		uint64_t looked; /* the last commit after which it had none; under dbi_mutex */
	} maps[VIGIA_MAPS];
	pthread_mutex_t make_mutex; /* of making such a database. Taken before the writer's lock */
	pthread_mutex_t dbi_mutex;  /* of opening a database's handle, until that transaction ends. Taken after it */
	bool opens_dbi;             /* the writer's transaction has it; under the writer's lock */

	pthread_mutex_t readers_mutex;
	struct reader *readers; /* not in use */
	struct vigia__lmdb_pin *pins;

	struct vigia__lmdb_journal journal;
	struct vigia__lmdb_tail tail;
	struct vigia__queue queue;
	_Atomic uint64_t reached; /* the last number that a commit of this process assigned */
	struct vigia__commit commit;
	struct vigia__side side;
	struct vigia__owners owners;
	_Atomic uint32_t local_words[VIGIA_WAKE_FEW]; /* used if the side file may not be written */
	struct vigia__wake wake;
	struct vigia__elder local_elder;
	struct vigia__outcomes local_outcomes;
	_Atomic uint32_t local_word, local_timers_word; /* the words of the settings and timers in that case */
	pthread_mutex_t settings_mutex;
	struct vigia__settings settings; /* as last read */
	uint32_t settings_seen;          /* the settings word at that time; under the writer's lock */
	int format;
	uint8_t file_id[16];
	int64_t created_at_ns;
};

/* The record of a checkpoint or hold. False: the value is too short for one. */
static inline bool vigia__lmdb_checkpoint_of(const MDB_val *value, struct checkpoint_record *out)
{
	if (value->mv_size < sizeof *out) return false;
	memcpy(out, value->mv_data, sizeof *out);
	return true;
}

/* The key of an event. Points to `seq_num`. */
static inline MDB_val vigia__lmdb_key(const size_t *seq_num)
{
	return (MDB_val){sizeof *seq_num, (void *)seq_num};
}

/* Is this an error number of LMDB or the system, not a Vigia code? */
static inline bool lmdb_is_error(int rc)
{
	return rc > 0 || rc <= MDB_LAST_ERRCODE;
}

/* lmdb_error.c */
/* What LMDB's error, or the system's, is for a caller. */
int vigia__lmdb_code(int rc);
int vigia__lmdb_error(struct lmdb_backend *b, int rc, const char *what, struct vigia_error *err);

/* lmdb_path.c */
/* Set and return EIO with the system's reason. */
int vigia__lmdb_cannot_look(const char *path, int number, struct vigia_error *err);
/* The real path of an existing file, or of a new one in an existing folder. The caller frees it. NULL with err set. */
char *vigia__lmdb_path(const char *path, bool may_create, struct vigia_error *err);
/* Check the file before LMDB touches it. Sets *exists. */
int vigia__lmdb_path_check(const char *path, const struct vigia_store_options *options, struct stat *st, bool *exists,
                           struct vigia_error *err);

/* lmdb_env.c */
/* Around the opening of an environment, and of its making: one process at a time. Where the file cannot be opened for
 * writing, or another process takes more than 3 s, it is not waited for. What begin returns goes to end. */
int vigia__lmdb_turn_begin(const char *path, bool may_make);
void vigia__lmdb_turn_end(int turn);
/* With the environment open: show under which name, for as long as it is. EREPLACED: a process has the file open under
 * another one. */
int vigia__lmdb_name_lock(struct lmdb_backend *b, struct vigia_error *err);
/* mdb_env_open with no descriptor below 3 (fd.h). 0 or LMDB's error. */
int vigia__lmdb_env_open(MDB_env *env, const char *path, unsigned flags);
/* Make the file at least *bytes long. Then *bytes is its size. 0 or an error number. */
int vigia__lmdb_env_fill(MDB_env *env, int64_t *bytes);
/* The same after a commit, for all pages that it counts. */
int vigia__lmdb_env_fill_all(MDB_env *env);
/* Close the environment and its readers. The caller has claimed the map, or is the only user. The next transaction
 * opens it again. */
void vigia__lmdb_env_close(struct lmdb_backend *b);
/* Create a reader in an open environment. 0, ENOMEM or LMDB's error. */
int vigia__lmdb_reader_new(struct lmdb_backend *b, struct reader **out);
void vigia__lmdb_reader_free(struct reader *reader);
/* Under map_lock: did a write of LMDB's meta page fail? LMDB then returns MDB_PANIC from every call until the
 * environment is reopened. */
bool vigia__lmdb_panics(struct lmdb_backend *b);

/* In a writer's transaction, before it opens a database's handle: LMDB lets one transaction at a time do that. */
void vigia__lmdb_dbi_open(struct lmdb_backend *b);
/* Such a transaction has ended, or any. */
void vigia__lmdb_dbi_opened(struct lmdb_backend *b);

/* lmdb_reopen.c */
/* Open the environment. It must be closed. */
int vigia__lmdb_start(struct lmdb_backend *b, struct vigia_error *err);
/* Outside of transactions: close and reopen the environment after a failure from which LMDB does not recover. Does
 * nothing if another thread did it meanwhile. */
int vigia__lmdb_reopen(struct lmdb_backend *b, struct vigia_error *err);

/* lmdb_txn.c */
int vigia__lmdb_read_begin(struct lmdb_backend *b, struct reader **out, struct vigia_error *err);
/* Without the check that the file is still there, for callers that made it. */
int vigia__lmdb_read_begin_there(struct lmdb_backend *b, struct reader **out, struct vigia_error *err);
void vigia__lmdb_read_end(struct lmdb_backend *b, struct reader *reader);
/* Keep a snapshot's pages. Call unpin after every 0. */
int vigia__lmdb_pin(struct lmdb_backend *b, struct vigia__lmdb_pin *pin, struct vigia_error *err);
void vigia__lmdb_unpin(struct lmdb_backend *b, struct vigia__lmdb_pin *pin);
/* Outside of transactions: free the slots of killed readers, which prevent the reuse of pages. Returns how many. */
int vigia__lmdb_free_readers(struct lmdb_backend *b);
/* Takes map_lock. Commit or abort releases it. */
int vigia__lmdb_write_begin(struct lmdb_backend *b, MDB_txn **out, struct vigia_error *err);
/* The second half of it: the checks inside the transaction. After an error it is aborted. */
int vigia__lmdb_write_begun(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err);
int vigia__lmdb_write_commit(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err);
void vigia__lmdb_write_abort(struct lmdb_backend *b, MDB_txn *txn);

/* lmdb_map.c. 0 or an error number for vigia__lmdb_error. */
void vigia__lmdb_map_init(struct lmdb_backend *b);
/* Before a transaction: take the lock, shared. A thread must not take it twice. */
void vigia__lmdb_map_enter(struct lmdb_backend *b);
/* After a transaction, or after a claim. */
void vigia__lmdb_map_leave(struct lmdb_backend *b);
/* Take it exclusively. EBUSY: other transactions did not end soon. */
int vigia__lmdb_map_claim(struct lmdb_backend *b);
/* The size to open with. The next smaller size after the system refused *bytes, or false. Note the size it was opened
 * with. */
size_t vigia__lmdb_map_first(const struct lmdb_backend *b);
bool vigia__lmdb_map_smaller(const struct lmdb_backend *b, size_t *bytes);
void vigia__lmdb_map_opened(struct lmdb_backend *b);
/* Enlarge the map because another process uses more of the file. EBUSY, ENOMEM. */
int vigia__lmdb_map_adopt(struct lmdb_backend *b);
/* Enlarge a map that was full when it had `seen` bytes. EBUSY, ENOMEM. */
int vigia__lmdb_map_grow(struct lmdb_backend *b, size_t seen);
/* Claim the map and enlarge it by `more` bytes until vigia__lmdb_map_leave. EBUSY, ENOMEM: not claimed. */
int vigia__lmdb_map_lend(struct lmdb_backend *b, size_t more);
/* In the same way, shrink it to what the file uses, so that only freed pages can be written. */
int vigia__lmdb_map_cap(struct lmdb_backend *b);

/* lmdb_reserve.c */
/* How much of the reserve a transaction leaves: all (events), half (small changes), nothing (what frees room). */
enum vigia__lmdb_keep { VIGIA_KEEP_ALL, VIGIA_KEEP_HALF, VIGIA_KEEP_NONE };
/* In a writer's transaction: is there room for so many bytes of events? 0, or ENOSPC, EDQUOT, EFBIG: it may only use
 * freed pages. */
int vigia__lmdb_reserve(struct lmdb_backend *b, enum vigia__lmdb_keep keep, uint64_t event_bytes);

/* lmdb_large.c: parts of the file that the system caches in one piece. */
/* Where the reserve of a file that uses so much ends, if it is to end at `end` or behind that. */
uint64_t vigia__lmdb_large_reserve(uint64_t used, uint64_t end);
/* With the writer's lock, before the commit: the size to give a file that must have `bytes`. A large one ends with a
 * part. */
int64_t vigia__lmdb_large_size(const struct lmdb_backend *b, int64_t bytes);
/* It has that size now: have its new parts cached. */
void vigia__lmdb_large_make(const struct lmdb_backend *b, int64_t before, int64_t size);

/* lmdb_beside.c. The lock file is number 0, the side file number 1 */
/* Allocate the blocks of LMDB's lock file, before LMDB opens it (opened: false) and after. */
int vigia__lmdb_lock_file_fill(struct lmdb_backend *b, bool opened, struct vigia_error *err);
/* After MDB_INVALID: was it the lock file? */
bool vigia__lmdb_lock_file_is_wrong(struct lmdb_backend *b);
/* Under map_lock: which of the two was deleted or replaced. -1: neither, or unknown. */
int vigia__lmdb_look_beside(struct lmdb_backend *b);
/* EREPLACED, naming it. */
int vigia__lmdb_lost_beside(struct lmdb_backend *b, int which, struct vigia_error *err);
/* Under the writer's lock: are both still the files that other processes open? 0 or EREPLACED. Checks the side file
 * only once a tick, because no write depends on it. `seldom`: the lock file, too, before a record without a sync; who
 * opens the store under another lock file drains the journal first, and then a writer comes to LMDB, where it is
 * checked again. */
int vigia__lmdb_locks_there(struct lmdb_backend *b, bool seldom, struct vigia_error *err);

/* lmdb_there.c. All return 0 or EREPLACED */
/* Is it still the file that was opened? Checks at most once a second. Part of read_begin. */
int vigia__lmdb_still_there(struct lmdb_backend *b, struct vigia_error *err);
/* The same for callers that come once a second: checks each time. Concurrent calls share a check. */
int vigia__lmdb_there(struct vigia__backend *base, struct vigia_error *err);
/* Part of write_begin: before the transaction, under map_lock (checks once a tick), and inside it. */
int vigia__lmdb_uncut(struct lmdb_backend *b, struct vigia_error *err);
int vigia__lmdb_unchanged(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err);
/* After opening: does another process still use an earlier content of the file? */
int vigia__lmdb_there_at_open(struct lmdb_backend *b, struct vigia_error *err);
/* Note that the file was overwritten in place. Returns EREPLACED, as all functions above do from then on. */
int vigia__lmdb_overwritten(struct lmdb_backend *b, struct vigia_error *err);

/* lmdb_meta.c */
/* Read the newer meta page through the descriptor: the last commit, and the smallest size the file must have. Returns
 * 1, 0 where they are no meta pages, or damaged ones, or -1 with errno where they cannot be read. */
struct vigia__lmdb_metas {
	uint64_t txn, bytes;
};
int vigia__lmdb_meta_look(int fd, struct vigia__lmdb_metas *out);
/* The first two pages of a copy, made from the meta page of a commit that a reader keeps, and the bytes that this
 * commit's pages take. Returns 1, 0 where that meta page was overwritten (two commits later), or -1 with errno. */
int vigia__lmdb_meta_of(int fd, size_t page_bytes, uint64_t txn, uint8_t *pages, uint64_t *bytes);
#define VIGIA__LMDB_MAGIC UINT32_C(0xBEEFC0DE)
/* Was the creation of the file interrupted before its first commit? Then it never held an event. */
bool vigia__lmdb_meta_unfinished(int fd);
/* Before LMDB opens it: truncate such a file to 0 bytes. Any other is unchanged. 0, EPERM, EIO, or ENOTFOUND
 * if it may not be written. */
int vigia__lmdb_meta_finish(const char *path, bool may_write, struct vigia_error *err);
/* In the transaction that creates a store, before it changes a page: sync LMDB's initial pages and the file's name. */
int vigia__lmdb_meta_begin(struct lmdb_backend *b, MDB_txn *txn);
/* In a writer's transaction, before it changes a page: settle an earlier commit whose outcome on the disk is unknown.
 * Fails as vigia__lmdb_locks_there does. After an error nothing may be changed. */
int vigia__lmdb_meta_settle(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err);
/* Call it before a writer's commit, and pass its result to `tried` after success. After a failure the next writer
 * settles it. */
uint64_t vigia__lmdb_meta_try(struct lmdb_backend *b, MDB_txn *txn);
void vigia__lmdb_meta_tried(struct lmdb_backend *b, uint64_t mark);
/* After a failure with unknown outcome: the next writer settles it, even if the commit is visible by then. */
void vigia__lmdb_meta_doubt(struct lmdb_backend *b);

/* In a writer's transaction, when it began: can it be known how many pages it counts? And how many it counts now, with
 * those that it took and freed again. 0: that cannot be known. */
void vigia__lmdb_meta_count(struct lmdb_backend *b, MDB_txn *txn);
uint64_t vigia__lmdb_meta_pages(const struct lmdb_backend *b, MDB_txn *txn);

/* lmdb_format.c */
int vigia__lmdb_format_precheck(const char *path, struct vigia_error *err);
/* Set and return ETRUNCATED, naming both sizes. */
int vigia__lmdb_truncated(const char *path, int64_t bytes, uint64_t need, struct vigia_error *err);
/* Read the file's header and settings, or write them to an empty file, and open all databases. */
int vigia__lmdb_format_load(struct lmdb_backend *b, const struct vigia_store_options *options, struct vigia_error *err);
/* The same after reopening the environment, under map_lock: it must still be the same store. */
int vigia__lmdb_format_reload(struct lmdb_backend *b, struct vigia_error *err);
/* In a transaction: read the file's current id. 0 or LMDB's error. */
int vigia__lmdb_format_id(struct lmdb_backend *b, MDB_txn *txn, uint8_t id[16]);
/* In a transaction of a copy's environment: write a new id to its header. 0 or LMDB's error. */
int vigia__lmdb_format_new_id(MDB_txn *txn);
/* In a transaction: the record with the settings. 0, LMDB's error, or ENOMEM to write it. */
int vigia__lmdb_settings_get(struct lmdb_backend *b, MDB_txn *txn, struct vigia__settings *out);
int vigia__lmdb_settings_put(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__settings *settings);
/* In a transaction: make a journal, and note the format that has one. 0, LMDB's error, or a Vigia code with err set. */
int vigia__lmdb_format_raise(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err);

/* lmdb_upgrade.c */
/* After the format was loaded: if the file should have a journal and has none, and no other process has it open, make
 * one. Then the environment was opened again, and the format must be loaded again (VIGIA_NONE). */
int vigia__lmdb_upgrade(struct lmdb_backend *b, struct vigia_error *err);
int vigia__lmdb_format_conflicts(const struct lmdb_backend *b, const struct vigia__settings *settings,
                                 const struct vigia_store_options *options, struct vigia_error *err);

/* lmdb_settings.c */
/* Act on these settings from now on. NULL: on those that were read when it was opened. */
void vigia__lmdb_settings_adopt(struct lmdb_backend *b, const struct vigia__settings *settings);
/* Under the writer's lock: read settings that another process changed, and whether an import is unfinished. 0 or LMDB's
 * error. */
int vigia__lmdb_settings_follow(struct lmdb_backend *b, MDB_txn *txn);
/* In a transaction: the mark of an unfinished import. MDB_NOTFOUND: there is none. Note whether there is one. */
MDB_val vigia__lmdb_import_key(void);
int vigia__lmdb_import_mark_get(struct lmdb_backend *b, MDB_txn *txn, struct vigia__import_mark *out);
int vigia__lmdb_import_look(struct lmdb_backend *b, MDB_txn *txn);
int vigia__lmdb_settings(struct vigia__backend *base, struct vigia__settings *out, struct vigia_error *err);
int vigia__lmdb_configure(struct vigia__backend *base, const struct vigia_store_options *changes,
                          struct vigia_error *err);

/* lmdb_index.c. 0, or LMDB's error */
/* In a transaction: open the database of the index, where the file has it. */
int vigia__index_find(struct lmdb_backend *b, MDB_txn *txn);
/* In a writer's transaction: this event was put into LMDB, behind all others. `head` has its names; NULL: they cannot
 * be read. */
int vigia__index_note(struct lmdb_backend *b, MDB_txn *txn, uint64_t seq_num, const struct vigia__head *head);
/* In a writer's transaction, through its cursor: the events behind `before` up to `last` were stored. Write the records
 * of blocks that they complete and whose events were not all noted. */
int vigia__index_seal(struct lmdb_backend *b, MDB_cursor *events, uint64_t before, uint64_t last);
/* In a writer's transaction: all events up to here were removed. */
int vigia__index_trim(struct lmdb_backend *b, MDB_txn *txn, uint64_t upto);
/* The writer's transaction is over. */
void vigia__index_ended(struct lmdb_backend *b, bool committed);
/* lmdb_index_old.c: as vigia__backend.explain and .index_some. */
int vigia__lmdb_explain(struct vigia__backend *base, const struct vigia__filter *filter, struct vigia_explain *out,
                        struct vigia_error *err);
int vigia__lmdb_index_some(struct vigia__backend *base, uint64_t *next, bool *more, struct vigia_error *err);

/* lmdb_append.c */
/* What a transaction or a record gives its events. */
struct vigia__lmdb_stamp {
	struct last_record last;
	int64_t now_at_ns;             /* at least the last event's time, even if the clock went back */
	struct vigia__wake_set *types; /* wake words to bump */
	int64_t size_max;              /* of an event */
};
void vigia__lmdb_stamp_begin(struct lmdb_backend *b, struct vigia__lmdb_stamp *stamp, struct last_record last,
                             struct vigia__wake_set *types);
/* Check the conditions that need no look into LMDB. 0, ESEQUENCE, ETOOBIG. */
int vigia__lmdb_admit(const struct vigia__append *request, const struct vigia__lmdb_stamp *stamp,
                      struct vigia_error *err);
/* Store its events. 0, ESEQUENCE, ETOOBIG, or LMDB's error. */
int vigia__lmdb_append_request(struct lmdb_backend *b, MDB_cursor *events, struct vigia__append *request,
                               struct vigia__lmdb_stamp *stamp, struct vigia_error *err);
/* Copy the events of an admitted one into the record under way. */
void vigia__lmdb_record_request(struct lmdb_backend *b, struct vigia__append *request, struct vigia__lmdb_stamp *stamp);

/* lmdb_import.c */
/* In the transaction of a commit: one of an import. 0, a Vigia code of this one alone, or LMDB's error. */
int vigia__lmdb_import_in(struct lmdb_backend *b, MDB_cursor *events, struct vigia__import *import,
                          struct vigia__lmdb_stamp *stamp, struct vigia_error *err);
int vigia__lmdb_import(struct vigia__backend *base, struct vigia__import *import, struct vigia_error *err);
int vigia__lmdb_import_mark(struct vigia__backend *base, struct vigia__import_mark *out, struct vigia_error *err);

/* lmdb_commit.c */
extern const struct vigia__commit_ops vigia__lmdb_commit_ops;

/* lmdb_walk.c. 0, LMDB's error, or MDB_CORRUPTED: pages of the file are damaged */
/* In a reader's transaction: does the value lie inside the pages it claims? */
bool vigia__lmdb_whole(const struct lmdb_backend *b, const MDB_val *value);
/* The same in a writer's transaction, whose pages may be anywhere in memory: only a value with pages of its own may be
 * longer than a page. */
bool vigia__lmdb_sane(const struct lmdb_backend *b, const MDB_val *value);
static inline size_t vigia__lmdb_place_in_page(const struct lmdb_backend *b, const MDB_val *value)
{
	return (uintptr_t)value->mv_data & (b->page_bytes - 1);
}
/* The same for most values, in a few instructions: replay asks for each event. False: ask vigia__lmdb_whole(). */
static inline bool vigia__lmdb_in_page(const struct lmdb_backend *b, const MDB_val *value)
{
	return value->mv_data && b->pages_aligned && value->mv_size <= b->page_bytes - vigia__lmdb_place_in_page(b, value);
}
/* The number that a key of the right size is. */
static inline size_t vigia__lmdb_number(const MDB_val *key)
{
	size_t number;
	memcpy(&number, key->mv_data, sizeof number);
	return number;
}
/* Is this a possible key of an event: a number that still has a successor? */
static inline bool vigia__lmdb_is_number(const MDB_val *key)
{
	return key->mv_size == sizeof(size_t) && vigia__lmdb_number(key) > 0 && vigia__lmdb_number(key) < INT64_MAX;
}
/* Can this be an event? */
static inline bool vigia__lmdb_fits(const struct lmdb_backend *b, const MDB_val *key, const MDB_val *value)
{
	return vigia__lmdb_is_number(key) && (vigia__lmdb_in_page(b, value) || vigia__lmdb_whole(b, value));
}
/* mdb_cursor_get for events in a reader's transaction, with a check of key and value. */
int vigia__lmdb_get(const struct lmdb_backend *b, MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op);
/* A walk through all keys of a database, which must be in ascending order. */
struct vigia__lmdb_walk {
	MDB_cursor *cursor;
	bool numbers;        /* MDB_INTEGERKEY */
	size_t len;          /* of the previous key; 0: at the start */
	uint8_t before[511]; /* LMDB's longest key */
};
int vigia__lmdb_next(struct vigia__lmdb_walk *walk, MDB_val *key, MDB_val *value);

/* lmdb_last.c */
/* In a transaction: the last number ever assigned. vigia__lmdb_last also gives its time, taken only from an intact
 * event. 0 or LMDB's error. */
int vigia__lmdb_last_number(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events, uint64_t *out);
/* The oldest and the last number as the transaction sees them. 0 or LMDB's error. */
int vigia__lmdb_bounds_in(struct lmdb_backend *b, MDB_txn *txn, uint64_t *oldest, uint64_t *latest);
/* The same in a reader's transaction, with a check of the oldest event. */
int vigia__lmdb_bounds_of(struct lmdb_backend *b, struct reader *reader, uint64_t *oldest, uint64_t *latest);
/* With the journal's tail. 0, EAGAIN (begin again with a new snapshot), a Vigia code or LMDB's error. */
int vigia__lmdb_bounds_once(struct lmdb_backend *b, struct reader *reader, uint64_t *oldest, uint64_t *latest,
                            struct vigia_error *err);
int vigia__lmdb_last(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events, struct last_record *out);
int vigia__lmdb_last_in(struct lmdb_backend *b, MDB_txn *txn, struct last_record *out);
/* What the last removal wrote down. Write it down. */
int vigia__lmdb_last_written(struct lmdb_backend *b, MDB_txn *txn, struct last_record *out);
int vigia__lmdb_last_write(struct lmdb_backend *b, MDB_txn *txn, const struct last_record *last);
int vigia__lmdb_gone_at(struct vigia__backend *base, int64_t *at_ns, struct vigia_error *err);

/* lmdb_events.c */
int vigia__lmdb_scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch,
                     struct vigia_error *err);
int vigia__lmdb_bounds(struct vigia__backend *base, uint64_t *oldest, uint64_t *latest, struct vigia_error *err);
int vigia__lmdb_find_time(struct vigia__backend *base, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err);

/* lmdb_collect.c */
int vigia__lmdb_trim(struct vigia__backend *base, uint64_t upto, uint64_t *removed, struct vigia_error *err);
int vigia__lmdb_collect(struct vigia__backend *base, struct vigia__collect *collect, struct vigia_error *err);
/* In a commit that stores so many events of the queue: remove as many and more, where the collector is late. The log is
 * then no longer than before. 0 or LMDB's error. */
int vigia__lmdb_collect_in(struct lmdb_backend *b, MDB_txn *txn, uint64_t stored);

/* lmdb_marks.c. In a transaction. 0 or LMDB's error. */
/* The store's clock. */
int vigia__lmdb_time(struct lmdb_backend *b, MDB_txn *txn, int64_t *out);
/* Write a mark for the last number if one is due for this age. */
int vigia__lmdb_mark(struct lmdb_backend *b, MDB_cursor *marks, uint64_t latest, int64_t age_ns);
/* The last number that is older than the age. */
int vigia__lmdb_old(MDB_cursor *marks, int64_t now, int64_t age_ns, uint64_t *old);

/* lmdb_keys.c. Inside the transaction that appends or removes. 0 or LMDB's error. */
int vigia__lmdb_key_find(struct lmdb_backend *b, MDB_txn *txn,
                         struct vigia__append *request); /* sets `existed` and the numbers */
int vigia__lmdb_key_put(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__append *request);
int vigia__lmdb_keys_of(struct vigia__backend *base, uint64_t from, uint64_t upto, vigia__key_fn fn, void *ctx,
                        struct vigia_error *err);
/* Remove the keys of the events up to `upto`, which were removed. */
int vigia__lmdb_keys_trim(struct lmdb_backend *b, MDB_txn *txn, uint64_t upto);

/* Is this the key recorded for the last of these numbers? */
bool vigia__lmdb_key_is_of(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__append *request);

/* lmdb_kv.c */
static inline const char *vigia__lmdb_kv_name(enum vigia__map map)
{
	return map == VIGIA_MAP_TIMERS ? "vigia.timers" : "vigia.state";
}
/* Before a transaction: make the database in a file that has none. */
int vigia__lmdb_kv_make(struct lmdb_backend *b, enum vigia__map map, struct vigia_error *err);
/* In a transaction: call fn with one of them. Returns what fn does. */
int vigia__lmdb_kv_in(struct lmdb_backend *b, MDB_txn *txn, enum vigia__map map, bool writes, vigia__state_fn fn,
                      void *arg, struct vigia_error *err);
int vigia__lmdb_view(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg,
                     struct vigia_error *err);
int vigia__lmdb_view_at(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg,
                        uint64_t *oldest, uint64_t *latest, struct vigia_error *err);

/* lmdb_state.c */
/* In a transaction, a writer's the last one: how much there is; look for damage; remove up to `most` values of dropped
 * buckets. 0 or LMDB's error. */
int vigia__lmdb_state_counts(struct lmdb_backend *b, MDB_txn *txn, struct vigia__backend_stats *out);
int vigia__lmdb_state_verify(struct lmdb_backend *b, MDB_txn *txn, void (*found)(void *ctx, const char *text),
                             void *ctx, uint64_t *values);
int vigia__lmdb_state_sweep(struct lmdb_backend *b, MDB_txn *txn, uint64_t most, bool *left);
/* The same for timers. */
int vigia__lmdb_timers_count(struct lmdb_backend *b, MDB_txn *txn, uint64_t *count);
int vigia__lmdb_timers_verify(struct lmdb_backend *b, MDB_txn *txn, void (*found)(void *ctx, const char *text),
                              void *ctx, uint64_t *count);
/* In the transaction of a commit: one of its transactions. 0, a Vigia code of this one alone, or LMDB's error. */
int vigia__lmdb_transact_in(struct lmdb_backend *b, MDB_cursor *events, struct vigia__transact *transact,
                            struct vigia__lmdb_stamp *stamp, struct vigia_error *err);
int vigia__lmdb_transact(struct vigia__backend *base, struct vigia__transact *transact, struct vigia_error *err);

/* lmdb_backup.c, lmdb_verify.c */
int vigia__lmdb_backup(struct vigia__backend *base, const struct vigia__backup *backup, struct vigia_error *err);
int vigia__lmdb_check(struct vigia__backend *base, struct vigia__verify *verify, struct vigia_error *err);

/* lmdb_checkpoints.c */
/* In a writer's transaction. 0 or an error of LMDB's. */
int vigia__lmdb_checkpoint_in(struct lmdb_backend *b, MDB_txn *txn, const char *id, uint64_t seq_num);
int vigia__lmdb_hold_in(struct lmdb_backend *b, MDB_txn *txn, const char *id, uint64_t seq_num);
int vigia__lmdb_checkpoint_put(struct vigia__backend *base, const char *id, uint64_t seq_num, bool forward,
                               struct vigia_error *err);
int vigia__lmdb_checkpoint_get(struct vigia__backend *base, const char *id, uint64_t *seq_num, struct vigia_error *err);
int vigia__lmdb_checkpoint_delete(struct vigia__backend *base, const char *id, struct vigia_error *err);
int vigia__lmdb_checkpoint_each(struct vigia__backend *base, bool holds, void *ctx, vigia_checkpoint_fn fn,
                                struct vigia_error *err);
int vigia__lmdb_hold(struct vigia__backend *base, const char *id, struct vigia_iterator from, uint64_t *seq_num,
                     bool *made, struct vigia_error *err);
int vigia__lmdb_touch(struct vigia__backend *base, const char *id, struct vigia_error *err);
/* Inside a commit, after its events (`stamped`). 0, LMDB's error, or EREPLACED: watchers have finished events that the
 * file does not hold. */
int vigia__lmdb_progress_put(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__progress_taken *taken,
                             struct vigia_error *err);

#endif
