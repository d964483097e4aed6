/*
 * lmdb_private.h - shared by the lmdb_*.c files and nobody else: the backend's struct and what they call of one
 * another.
 *
 * The databases inside the file (LMDB "named databases"):
 *     vigia               what the file says about itself (lmdb_format.c)
 *     events              seq_num (8 bytes, native) -> the event's bytes (core/event.h)      name: option events_bucket
 *     checkpoints         watcher id -> struct checkpoint_record                              name: option
 *                         checkpoint_bucket
 *     vigia.holds         watcher id -> struct checkpoint_record: where a watcher without checkpoint holds back
 *                         collection
 *     vigia.marks         the store's time (8 bytes, native) -> last seq_num then, and what the clocks said
 *                         (lmdb_collect.c)
 *     vigia.keys          key of an append stored once -> its numbers; and back (lmdb_keys.c)
 * The last three are made with the file so that no later version has to convert it.
 *
 * Every transaction of the process is inside `map_lock` (shared), because a change of its size (exclusive) must meet
 * none.
 */
#ifndef VIGIA_STORE_LMDB_PRIVATE_H
#define VIGIA_STORE_LMDB_PRIVATE_H

#include <lmdb.h>
#include <sys/types.h>

#include "backend.h"
#include "commit.h"
#include "queue.h"
#include "owner.h"

/* A checkpoint's value. Native byte order: the file refuses a machine of another one. */
struct checkpoint_record {
	uint64_t seq_num;
	int64_t touched_at_ns; /* when it was saved or its watcher last ran, on the store's clock (core/retention.h) */
};

/* What was removed still counts: kept beside the events so that numbering and time survive the removal of all of
 * them. */
struct last_record {
	uint64_t seq_num;
	int64_t at_ns;
};

/* A read transaction with its cursor, reset between uses. */
struct reader {
	struct reader *next;
	MDB_txn *txn;
	MDB_cursor *events;
};

/* A snapshot whose pages stay in the file, though the map may change its size meanwhile: nothing is read through the
 * map. */
struct vigia__lmdb_pin {
	struct vigia__lmdb_pin *next; /* owner: the backend, under readers_mutex */
	struct reader *reader; /* under map_lock; NULL: the environment was closed, and the pages may be used again */
	uint64_t txn;
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
	_Atomic int64_t look_mono_ns;   /* before that all is well, and nobody needs to ask */
	_Atomic int64_t looked_mono_ns; /* at whether it still is the file that was opened (lmdb_there.c) */
	_Atomic int64_t file_bytes;     /* its size then */
	_Atomic int64_t cut_tick;       /* of the last look at whether it got shorter; the next is in another tick */
	_Atomic int64_t side_tick;      /* the same for the side file's name */
	atomic_bool replaced;           /* its name led elsewhere */
	atomic_bool overwritten;        /* for good */
	atomic_int lost_beside;         /* the lock file (0) or the side file (1) lost its name; -1: neither */

	MDB_env *env;  /* NULL: it could not be opened anew after a failure; the next call tries again */
	int lock_fd;   /* of LMDB's lock file, open as long as the environment; -1: none */
	bool readonly; /* the file may only be read */
	pthread_rwlock_t map_lock;
	atomic_int map_long;        /* backups that hold it */
	size_t map_asked;           /* the option, 0 = what the system grants */
	_Atomic size_t map_bytes;   /* its size, but for a loan; 0 before it was opened. This and map_grows are read without
	                               the lock, too */
	unsigned commits_since;     /* the last look for readers that were killed; the committing thread's */
	atomic_bool map_grows;      /* the system granted no large map: grow it when it is full */
	size_t page_bytes;          /* a power of two */
	bool pages_aligned;         /* a page's address in the map is a multiple of its size */
	uint64_t last_page;         /* of the last commit; taken by each writer when it has the lock */
	bool has_events;            /* the transaction in hand changes the file for sure; under the writer's lock */
	uint64_t reserved_bytes;    /* how far blocks of the file are allocated, as far as this process knows; under the
	                               writer's lock */
	int reserve_failed;         /* why the last try to allocate more failed, 0 = it did not */
	bool map_lent;              /* the thread that claimed it gives back a loan when it leaves */
	struct last_record stamped; /* what this process gave last, stored or not; under the writer's lock */
	_Atomic uint64_t writing_bytes; /* of events in the commit under way; tells a full disk from a broken one */
	MDB_dbi meta, events, checkpoints, holds, marks, keys;

	pthread_mutex_t readers_mutex;
	struct reader *readers; /* not in use */
	struct vigia__lmdb_pin *pins;

	struct vigia__queue queue;
	_Atomic uint64_t reached; /* the last number that a commit of this process gave */
	struct vigia__commit commit;
	struct vigia__side side;
	struct vigia__owners owners;
	struct vigia__wake local_wake; /* when the side file may not be written */
	_Atomic uint32_t local_word;   /* the same for the settings word */
	pthread_mutex_t settings_mutex;
	struct vigia__settings settings; /* as last read */
	uint32_t settings_seen;          /* the word when they were; under the writer's lock */
	uint8_t file_id[16];
	int64_t created_at_ns;
};

/* The key of an event, which stays where it is. */
static inline MDB_val vigia__lmdb_key(const size_t *seq_num)
{
	return (MDB_val){sizeof *seq_num, (void *)seq_num};
}

/* Tells LMDB's and the system's error numbers from ours. */
static inline bool lmdb_is_error(int rc)
{
	return rc > 0 || rc <= MDB_LAST_ERRCODE;
}

/* lmdb_error.c */
int vigia__lmdb_error(struct lmdb_backend *b, int rc, const char *what, struct vigia_error *err);

/* lmdb_path.c */
/* EIO with the system's reason. */
int vigia__lmdb_cannot_look(const char *path, int number, struct vigia_error *err);
/* The real path of a file that exists or is to be made in a folder that does; the caller frees it. NULL with err
 * set. */
char *vigia__lmdb_path(const char *path, bool may_create, struct vigia_error *err);
/* What must be true of the file before LMDB may touch it. *exists tells whether there is one. */
int vigia__lmdb_path_check(const char *path, const struct vigia_store_options *options, struct stat *st, bool *exists,
                           struct vigia_error *err);

/* lmdb_env.c */
/* mdb_env_open with no descriptor below 3 (fd.h). 0 or LMDB's error. */
int vigia__lmdb_env_open(MDB_env *env, const char *path, unsigned flags);
/* The map claimed, or nobody else there: the environment and the readers in it. The next transaction opens it again. */
void vigia__lmdb_env_close(struct lmdb_backend *b);
/* A reader of an open environment. 0, ENOMEM or LMDB's error. */
int vigia__lmdb_reader_new(struct lmdb_backend *b, struct reader **out);
void vigia__lmdb_reader_free(struct reader *reader);
/* Under map_lock: did a write of LMDB's meta page fail? It then returns MDB_PANIC for everything until it is opened
 * again. */
bool vigia__lmdb_panics(struct lmdb_backend *b);

/* lmdb_reopen.c */
/* Open the environment of the file, which is closed. */
int vigia__lmdb_start(struct lmdb_backend *b, struct vigia_error *err);
/* Outside of transactions: close and open after a failure of LMDB that it does not get over by itself. Fine if another
 * thread did it meanwhile. */
int vigia__lmdb_reopen(struct lmdb_backend *b, struct vigia_error *err);

/* lmdb_txn.c */
int vigia__lmdb_read_begin(struct lmdb_backend *b, struct reader **out, struct vigia_error *err);
/* For those who asked already whether it is still there. */
int vigia__lmdb_read_begin_there(struct lmdb_backend *b, struct reader **out, struct vigia_error *err);
void vigia__lmdb_read_end(struct lmdb_backend *b, struct reader *reader);
/* Every 0 of pin is followed by unpin. */
int vigia__lmdb_pin(struct lmdb_backend *b, struct vigia__lmdb_pin *pin, struct vigia_error *err);
void vigia__lmdb_unpin(struct lmdb_backend *b, struct vigia__lmdb_pin *pin);
/* Outside of transactions: free the slots of readers that were killed, which keep pages from being used again. How
 * many. */
int vigia__lmdb_free_readers(struct lmdb_backend *b);
/* takes map_lock; commit or abort gives it back */
int vigia__lmdb_write_begin(struct lmdb_backend *b, MDB_txn **out, struct vigia_error *err);
int vigia__lmdb_write_commit(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err);
void vigia__lmdb_write_abort(struct lmdb_backend *b, MDB_txn *txn);

/* lmdb_map.c; 0 or an error number for vigia__lmdb_error. */
void vigia__lmdb_map_init(struct lmdb_backend *b);
/* A transaction begins: shared. Not twice in a thread. */
void vigia__lmdb_map_enter(struct lmdb_backend *b);
/* It ended, or what was claimed is done. */
void vigia__lmdb_map_leave(struct lmdb_backend *b);
/* Alone in the process. EBUSY: the transactions of others did not end soon. */
int vigia__lmdb_map_claim(struct lmdb_backend *b);
/* The size to open with; the next smaller one after the system refused `bytes`, or false; what it became. */
size_t vigia__lmdb_map_first(const struct lmdb_backend *b);
bool vigia__lmdb_map_smaller(const struct lmdb_backend *b, size_t *bytes);
void vigia__lmdb_map_opened(struct lmdb_backend *b);
/* Another process uses more of the file than this map has. EBUSY, ENOMEM. */
int vigia__lmdb_map_adopt(struct lmdb_backend *b);
/* A map that was full when it had `seen` bytes becomes larger. EBUSY, ENOMEM. */
int vigia__lmdb_map_grow(struct lmdb_backend *b, size_t seen);
/* So much larger until vigia__lmdb_map_leave, and claimed. EBUSY, ENOMEM: not claimed. */
int vigia__lmdb_map_lend(struct lmdb_backend *b, size_t more);
/* In the same way, no larger than what the file uses: only pages that were freed can be written. */
int vigia__lmdb_map_cap(struct lmdb_backend *b);

/* lmdb_reserve.c */
/* What a transaction leaves of the reserve: all (events), half (what takes hardly any room), nothing (what frees
 * some). */
enum vigia__lmdb_keep { VIGIA_KEEP_ALL, VIGIA_KEEP_HALF, VIGIA_KEEP_NONE };
/* In a writer's transaction: may it take room for so many bytes of events? 0; ENOSPC, EDQUOT, EFBIG: only pages that
 * were freed. */
int vigia__lmdb_reserve(struct lmdb_backend *b, enum vigia__lmdb_keep keep, uint64_t event_bytes);

/* lmdb_beside.c; the lock file is number 0, the side file number 1 */
/* Allocate the blocks of LMDB's lock file: before LMDB opens it (opened: false), and once it has. */
int vigia__lmdb_lock_file_fill(struct lmdb_backend *b, bool opened, struct vigia_error *err);
/* LMDB called something invalid: was it the lock file? */
bool vigia__lmdb_lock_file_is_wrong(struct lmdb_backend *b);
/* Under map_lock: the number of one whose name leads elsewhere; -1: neither, or it cannot be told. */
int vigia__lmdb_look_beside(struct lmdb_backend *b);
/* EREPLACED, naming it. */
int vigia__lmdb_lost_beside(struct lmdb_backend *b, int which, struct vigia_error *err);
/* Holding the writer's lock: are both still those that others open? 0 or EREPLACED. Looks at the side file once a tick:
 * it keeps nobody from writing. */
int vigia__lmdb_locks_there(struct lmdb_backend *b, struct vigia_error *err);

/* lmdb_there.c; all of them 0 or EREPLACED */
/* Is it still the file that was opened? Looks at most once a second; part of read_begin. */
int vigia__lmdb_still_there(struct lmdb_backend *b, struct vigia_error *err);
/* The same for those who come once a second: always looks, but for many at the same time. */
int vigia__lmdb_there(struct vigia__backend *base, struct vigia_error *err);
/* Before a writer's transaction, under map_lock, and in it; both part of write_begin. The first looks once a tick. */
int vigia__lmdb_uncut(struct lmdb_backend *b, struct vigia_error *err);
int vigia__lmdb_unchanged(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err);
/* Just opened: does nobody use another content of the file? */
int vigia__lmdb_there_at_open(struct lmdb_backend *b, struct vigia_error *err);
/* It was found to be overwritten in place. Returns EREPLACED, and so do all of the above from then on. */
int vigia__lmdb_overwritten(struct lmdb_backend *b, struct vigia_error *err);

/* lmdb_meta.c */
/* What the newer of the meta pages says, read through the descriptor: the last commit, and the bytes that the file has
 * at least. 1; 0: they are no meta pages, or damaged; -1 with errno: they cannot be read. */
struct vigia__lmdb_metas {
	uint64_t txn, bytes;
};
int vigia__lmdb_meta_look(int fd, struct vigia__lmdb_metas *out);
/* Of a commit that a reader keeps: its meta page twice, as the first two pages of a copy, and the bytes that its pages
 * take. 1; 0: it is not there any more (two commits later); -1 with errno. */
int vigia__lmdb_meta_of(int fd, size_t page_bytes, uint64_t txn, uint8_t *pages, uint64_t *bytes);
#define VIGIA__LMDB_MAGIC UINT32_C(0xBEEFC0DE)
/* Was the file begun, and not finished before its first commit? It holds nothing, and never did. */
bool vigia__lmdb_meta_unfinished(int fd);
/* Before LMDB opens it: such a file becomes an empty one. Any other stays as it is. 0; EPERM, EIO; ENOTFOUND if nothing
 * may be written. */
int vigia__lmdb_meta_finish(const char *path, bool may_write, struct vigia_error *err);
/* In the transaction that makes a store, before it changes a page: bring what LMDB began with, and the file's name, to
 * the disk. */
int vigia__lmdb_meta_begin(struct lmdb_backend *b, MDB_txn *txn);
/* In a writer's transaction, before it changes a page: if a commit was tried whose outcome on the disk is not known,
 * settle it. Refuses as vigia__lmdb_locks_there does. After an error nothing may be changed. */
int vigia__lmdb_meta_settle(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err);
/* A writer's transaction is about to be committed. Returns what `tried` is told when that succeeded; after a failure
 * the next writer settles it. */
uint64_t vigia__lmdb_meta_try(struct lmdb_backend *b, MDB_txn *txn);
void vigia__lmdb_meta_tried(struct lmdb_backend *b, uint64_t mark);
/* It failed, and LMDB does not say what came of it: the next writer settles it even if the commit is there by then. */
void vigia__lmdb_meta_doubt(struct lmdb_backend *b);

/* lmdb_format.c */
int vigia__lmdb_format_precheck(const char *path, struct vigia_error *err);
/* ETRUNCATED, naming both sizes. */
int vigia__lmdb_truncated(const char *path, int64_t bytes, uint64_t need, struct vigia_error *err);
/* Read the file's own account of itself, or write it into an empty one; opens all databases. */
int vigia__lmdb_format_load(struct lmdb_backend *b, const struct vigia_store_options *options, struct vigia_error *err);
/* The same in an environment that was opened anew, under map_lock: it must still be the same store. */
int vigia__lmdb_format_reload(struct lmdb_backend *b, struct vigia_error *err);
/* In a transaction: the id as it is now. 0 or LMDB's error. */
int vigia__lmdb_format_id(struct lmdb_backend *b, MDB_txn *txn, uint8_t id[16]);
/* In a transaction of another environment, a copy of this one: a new id in its header. 0 or LMDB's error. */
int vigia__lmdb_format_new_id(MDB_txn *txn);
int vigia__lmdb_format_conflicts(const struct lmdb_backend *b, const struct vigia__settings *settings,
                                 const struct vigia_store_options *options, struct vigia_error *err);

/* lmdb_settings.c */
void vigia__lmdb_settings_adopt(struct lmdb_backend *b, const struct vigia__settings *settings);
/* Under the writer's lock: take over what another process changed. 0 or LMDB's error. */
int vigia__lmdb_settings_follow(struct lmdb_backend *b, MDB_txn *txn);
int vigia__lmdb_settings(struct vigia__backend *base, struct vigia__settings *out, struct vigia_error *err);
int vigia__lmdb_configure(struct vigia__backend *base, const struct vigia_store_options *changes,
                          struct vigia_error *err);

/* lmdb_commit.c */
extern const struct vigia__commit_ops vigia__lmdb_commit_ops;
int vigia__lmdb_append(struct vigia__backend *base, struct vigia__append *request, struct vigia_error *err);
int vigia__lmdb_submit(struct vigia__backend *base, struct vigia__ticket *ticket);

/* lmdb_walk.c; 0, LMDB's error, or MDB_CORRUPTED: pages of the file are damaged */
/* In a reader's transaction: does the value lie inside the pages it claims? */
bool vigia__lmdb_whole(const struct lmdb_backend *b, const MDB_val *value);
/* The same in a writer's, whose pages may be anywhere in memory: it is longer than a page only if it has pages of its
 * own. */
bool vigia__lmdb_sane(const struct lmdb_backend *b, const MDB_val *value);
/* Can the key of an event be that, a number behind which there is another one? */
bool vigia__lmdb_is_number(const MDB_val *key);
/* mdb_cursor_get for events in a reader's transaction: the key is a number, the value is whole. */
int vigia__lmdb_get(const struct lmdb_backend *b, MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op);
/* A walk along all keys of a database: its next key, which is behind the one before. */
struct vigia__lmdb_walk {
	MDB_cursor *cursor;
	bool numbers;        /* MDB_INTEGERKEY */
	size_t len;          /* of the key before; 0: it begins */
	uint8_t before[511]; /* LMDB's longest key */
};
int vigia__lmdb_next(struct vigia__lmdb_walk *walk, MDB_val *key, MDB_val *value);

/* lmdb_events.c */
/* In a transaction: the last number ever given; and with its time, which is believed only of an intact event. 0 or
 * LMDB's error. */
int vigia__lmdb_last_number(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events, uint64_t *out);
/* The oldest and the last number, as the transaction sees them. 0 or LMDB's error. */
int vigia__lmdb_bounds_in(struct lmdb_backend *b, MDB_txn *txn, uint64_t *oldest, uint64_t *latest);
int vigia__lmdb_last(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events, struct last_record *out);
int vigia__lmdb_scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch,
                     struct vigia_error *err);
int vigia__lmdb_bounds(struct vigia__backend *base, uint64_t *oldest, uint64_t *latest, struct vigia_error *err);
int vigia__lmdb_find_time(struct vigia__backend *base, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err);

/* lmdb_collect.c */
int vigia__lmdb_trim(struct vigia__backend *base, uint64_t upto, uint64_t *removed, struct vigia_error *err);
int vigia__lmdb_collect(struct vigia__backend *base, struct vigia__collect *collect, struct vigia_error *err);
bool vigia__lmdb_elect(struct vigia__backend *base);
void vigia__lmdb_resign(struct vigia__backend *base);

/* lmdb_marks.c; in a transaction. 0 or LMDB's error. */
/* The store's clock. */
int vigia__lmdb_time(struct lmdb_backend *b, MDB_txn *txn, int64_t *out);
/* Write a mark for the last number, if one is due for that age. */
int vigia__lmdb_mark(struct lmdb_backend *b, MDB_cursor *marks, uint64_t latest, int64_t age_ns);
/* The last number that is older than the age. */
int vigia__lmdb_old(MDB_cursor *marks, int64_t now, int64_t age_ns, uint64_t *old);

/* lmdb_keys.c; inside the transaction that appends or removes. 0 or LMDB's error. */
int vigia__lmdb_key_find(struct lmdb_backend *b, MDB_txn *txn,
                         struct vigia__append *request); /* sets existed and the numbers */
int vigia__lmdb_key_put(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__append *request);
/* Events up to `upto` are gone: so are the keys that came with them. */
int vigia__lmdb_keys_trim(struct lmdb_backend *b, MDB_txn *txn, uint64_t upto);

/* Is this key, with these numbers, the one that goes with the last of them? */
bool vigia__lmdb_key_is_of(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__append *request);

/* lmdb_backup.c, lmdb_verify.c */
int vigia__lmdb_backup(struct vigia__backend *base, const char *path, bool compact, struct vigia_error *err);
int vigia__lmdb_check(struct vigia__backend *base, struct vigia__verify *verify, struct vigia_error *err);

/* lmdb_checkpoints.c */
int vigia__lmdb_checkpoint_put(struct vigia__backend *base, const char *id, uint64_t seq_num, struct vigia_error *err);
int vigia__lmdb_checkpoint_advance(struct vigia__backend *base, const char *id, uint64_t seq_num,
                                   struct vigia_error *err);
int vigia__lmdb_checkpoint_get(struct vigia__backend *base, const char *id, uint64_t *seq_num, struct vigia_error *err);
int vigia__lmdb_checkpoint_delete(struct vigia__backend *base, const char *id, struct vigia_error *err);
int vigia__lmdb_checkpoint_each(struct vigia__backend *base, void *ctx, vigia_checkpoint_fn fn,
                                struct vigia_error *err);
int vigia__lmdb_hold(struct vigia__backend *base, const char *id, struct vigia_iterator from, uint64_t *seq_num,
                     bool *made, struct vigia_error *err);
int vigia__lmdb_hold_each(struct vigia__backend *base, void *ctx, vigia_checkpoint_fn fn, struct vigia_error *err);
int vigia__lmdb_touch(struct vigia__backend *base, const char *id, struct vigia_error *err);
/* Inside a commit. 0, LMDB's error, or EREPLACED: they finished what is not there. */
int vigia__lmdb_progress_put(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__progress_taken *taken,
                             struct vigia_error *err);

#endif
