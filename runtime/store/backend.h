/*
 * backend.h - the interface of a backend: a table of functions, with their arguments and results. backend.c holds what
 * all backends share. The LMDB backend (lmdb_*.c) keeps a file. Read memory.c first.
 */
#ifndef VIGIA_STORE_BACKEND_H
#define VIGIA_STORE_BACKEND_H

#include <pthread.h>
#include <stdatomic.h>

#include "../core/batch.h"
#include "../core/export_record.h"
#include "../core/filter.h"
#include "../core/retention.h"
#include "../core/settings.h"
#include "clock.h"
#include "elder.h"
#include "progress.h"
#include "rows.h"
#include "running.h"
#include "state.h"
#include "wake.h"
#include "wants.h"

enum { VIGIA_KEY_MAX = 255 }; /* bytes of the key of an append */

/* What the processes of a file share in its side file, in a backend whose process has it alone. */
struct vigia__unshared {
	struct vigia__wake wake;
	_Atomic uint32_t wake_words[VIGIA_WAKE_WORDS];
	struct vigia__elder elder;
	struct vigia__outcomes outcomes;
	struct vigia__wants wants;
	_Atomic uint32_t letter_requests, steer_requests, settings_word, collect_word, timers_word;
	_Atomic uint64_t collect_at;
};

/* ---- capability flags ---- */
enum {
	VIGIA_CAN_PERSIST = 1, /* survives close and crash */
	VIGIA_CAN_SHARE = 2,   /* several processes */
	VIGIA_CAN_DAMAGE = 4,  /* its bytes can be damaged, and it detects that */
	VIGIA_CAN_FILE = 8     /* it is a file: `backup` copies it, and it notices that the file was replaced or cut */
};

/* One call to append: events encoded back to back in `bytes`, stamped in place by the thread that commits them. */
struct vigia__append {
	uint8_t *bytes;
	const size_t *ends; /* ends[i]: offset behind event i; NULL for one event of `len` bytes */
	size_t count;
	size_t len;
	/* conditions (contract S21) */
	struct vigia_slice key; /* len 0: none */
	uint64_t if_last;
	bool if_last_given;
	bool now;              /* do not queue it, whatever the file's durability */
	bool keep;             /* store what was queued even if a full map must be exceeded for it */
	bool last_chance;      /* and even if that uses up a full disk's reserve */
	bool accepted;         /* its sizes were checked already */
	int64_t not_before_ns; /* the events' time is at least this */
	/* out */
	bool queued;  /* it waits in memory, without numbers */
	bool existed; /* the key was stored before: the numbers are those of that append, and nothing was stored now */
	uint64_t first_seq;
	uint64_t last_seq;
};

/* Event i of a request, and its length. */
static inline uint8_t *vigia__append_event(const struct vigia__append *request, size_t i, size_t *len)
{
	size_t start = i > 0 ? request->ends[i - 1] : 0;
	*len = (request->ends ? request->ends[i] : request->len) - start;
	return request->bytes + start;
}

/* For backends: set and return ESEQUENCE, naming both numbers. */
int vigia__append_conflict(const struct vigia__append *request, uint64_t last_seq, struct vigia_error *err);

/* How often a scan that drops events looks at the clock: for each 512 of them, or for as many bytes of their objects,
 * if the filter looks into these. */
enum { VIGIA_SCAN_COST_CLOCK = 512, VIGIA_SCAN_COST_BYTES = 128 };

/* What a scan that must not wait for a server leaves behind (`waits` below). Of one reader, on one thread.
 * Zero-initialise it and set `tell`; give it to forget_scan before its memory goes. */
struct vigia__arrival {
	void (*tell)(
		void *ctx); /* the same scan knows more now. Any thread, under the backend's lock: only wake somebody */
	void *ctx;
	atomic_bool came; /* set before that */
	bool asks;        /* the reader's: at the end of what is known, ask the server whether that is the end */
	/* the backend's, under its lock */
	struct vigia__arrival *next;
	bool waits, answered;
	uint64_t scanned_from, from; /* what the scan asked for, and what it waits for */
	uint64_t asked;              /* questions before it: a later one counts */
	uint64_t known;              /* the last number that was known when the answer was asked for */
	void *page;
	struct vigia_error err;
};

/* One slice of a scan. */
struct vigia__scan {
	uint64_t from; /* first number to look at */
	const struct vigia__filter *filter;
	size_t count_max;      /* maximum of events to copy, SIZE_MAX = no limit */
	size_t bytes_max;      /* maximum of bytes to copy; one event is always copied */
	bool goes_on;          /* the result has events already: it need not add one */
	int64_t now_mono_ns;   /* now, 0 = read the clock */
	int64_t until_mono_ns; /* stop skipping filtered events at this time; the bounds above limit the others */
	/* With a backend that `waits`: do not wait for the server, return VIGIA_PENDING. Once it was told, scan again with
	 * the same `from`. NULL: wait. */
	struct vigia__arrival *arrival;
	/* out */
	uint64_t gone;      /* events removed between `from` and the first one found */
	uint64_t looked_at; /* the last number scanned, 0 = none */
	bool at_end;        /* no events were left */
};

/* The commit of a transaction (transaction.h): `apply`, the appends behind each other, and a checkpoint, or nothing. */
struct vigia__transact {
	enum vigia__map map;         /* of `apply` */
	struct vigia__append *asked; /* before it: look up its key, as if it were appended. NULL: none */
	vigia__state_fn apply;       /* checks what was read, then changes the map. May be called several times. That of the
	                                timers sets the appends, `accepted`. NULL: none */
	void *arg;
	void (*after)(
		struct vigia__transact *transact); /* of one that was submitted: it is stored, or failed. NULL: none */
	struct vigia__append *appends;         /* without if_last */
	size_t appends_count;
	const char *watcher_id; /* whose checkpoint becomes `checkpoint`; NULL: no one's */
	uint64_t checkpoint;
	/* Without `watcher_id`: the watcher of this process that makes it. EOWNED: another process has taken that. NULL:
	 * none */
	const char *owner_id;
	const uint64_t *moves; /* the checkpoint, as `also` finds it, instead of `checkpoint`. NULL: that one */
	vigia__state_fn also;  /* a change of letters (letters.h) behind `apply`, in the map of the state. NULL: none */
	void *also_arg;
	uint64_t bytes; /* of all it stores, about */
	bool frees;     /* it frees room in the file, and needs little */
};
/* Its changes of the map: apply, also. `arg`: the transaction. */
int vigia__transact_apply(struct vigia__kv *kv, void *arg, struct vigia_error *err);

/* Where an unfinished import has come to, kept in the store until it is finished. */
struct vigia__import_mark {
	uint64_t first_sum;      /* of the export's first record */
	uint64_t records, bytes; /* of the export that are stored */
	uint64_t sum;            /* of the last of them */
};

/* BEGINS: make the mark, and take the settings. ENDS: remove it. */
enum vigia__import_step { VIGIA_IMPORT_BEGINS, VIGIA_IMPORT_GOES_ON, VIGIA_IMPORT_ENDS };

/* A record of an export that was checked. */
struct vigia__import_item {
	enum vigia__export_kind kind;
	struct vigia__export_field fields[VIGIA_EXPORT_FIELDS];
};

/* One commit of an import. */
struct vigia__import {
	enum vigia__import_step step;
	struct vigia__import_mark before, mark; /* the mark there must be, but for BEGINS, and the one there is then */
	const struct vigia__import_item *items;
	size_t count;
	uint64_t bytes; /* of all it stores, about */
	/* BEGINS */
	bool anew;    /* remove all that an unfinished import has stored */
	bool resumes; /* there is an unfinished one: remove what it has stored beside events and their keys, and go on */
	const struct vigia__settings *settings;
	uint64_t gone; /* the last number that is gone; its event's time */
	int64_t gone_at_ns;
	uint64_t next_timer;
};

struct vigia__backend_stats {
	uint64_t oldest, latest; /* 0 = none */
	uint64_t events;
	uint64_t buckets, values; /* values of all buckets */
	uint64_t timers, dead_letters;
	uint64_t file_bytes, used_bytes, map_bytes;
	uint64_t readers;
	uint64_t commits;                         /* incremented by each commit of any process */
	uint64_t journal_appends, journal_drains; /* of any process, since the side file was made */
	uint64_t committed, conflicts, given_up;  /* transactions, as these (struct vigia__outcomes) */
	bool importing;                           /* an import is not finished */
	char file_id[33];                         /* hexadecimal, "" for memory */
	int64_t created_at_ns;
	int format;
	struct vigia__settings settings; /* as the file has them now */
};

/* What one process does for all in the background. */
enum vigia__office { VIGIA_OFFICE_COLLECT, VIGIA_OFFICE_TIMERS };

/* One key of an append that was stored once. 0, or an error that ends the call. */
typedef int (*vigia__key_fn)(void *ctx, struct vigia_slice key, uint64_t first_seq, uint64_t last_seq);

struct vigia__queue;  /* queue.h */
struct vigia__ticket; /* commit.h */
struct vigia__meter;  /* commit.h */

/* A check for damage, with the functions that report its findings (verify.h). */
struct vigia__verify {
	void *ctx;
	/* Damage was found, in an event (seq_num > 0) or elsewhere. */
	void (*found)(void *ctx, uint64_t seq_num, const char *text);
	/* All events up to here were checked. Called before each piece, so that the last call tells where a crash
	 * happened. */
	void (*progress)(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last);
	/* The check of the other data has begun. Called again every few thousand records. */
	void (*beside)(void *ctx);
	/* The range to check, to continue after an unreadable part: from this number (0: the oldest) to `upto` (0: the last
	 * one, or with `from` any that exist), in pieces of so many events (0: 1000). */
	uint64_t from, upto, piece;
	/* out */
	uint64_t events, checkpoints, keys, values, timers;
};

/* A copy that is to be made. */
struct vigia__backup {
	const char *path;
	bool compact;
	vigia_transfer_fn progress; /* NULL: none */
	void *ctx;
};

/* One slice of a garbage collection: one transaction, which reads the holders and removes what may be removed. */
struct vigia__collect {
	uint64_t events_left; /* how many events the run may still remove */
	int64_t slice_ns;     /* time limit, measured from when it has the writer's lock; vigia__collect_ns() adds to it */
	bool first;           /* the first of its run: write a mark, renew the checkpoints of running watchers */
	struct {              /* the checkpoints of running watchers are renewed first, also in slices (checkpoint_ttl) */
		int databases;    /* how many are finished */
		bool under_way;   /* out: not finished; nothing was removed */
		size_t len;
		char after[VIGIA_NAME_MAX + 1]; /* and in the next database all ids up to this */
	} renewal;
	uint64_t latest; /* in: the last number at the previous slice, 0 = none; out: now */
	/* out */
	uint64_t removed;
	uint64_t oldest; /* afterwards, 0 = none */
	bool more;       /* more can be removed */
	struct vigia__verdict verdict;
};

/* The thread that collects for this process (collect.h). */
struct vigia__collector {
	pthread_mutex_t mutex;
	unsigned users; /* handles opened with `collect` */
	pthread_t thread;
	atomic_bool stop;
};

/* What stores events that are due (timers.h). */
struct vigia__timers {
	_Atomic uint32_t *word; /* shared by all processes: bumped when an earlier timer comes */
	_Atomic uint32_t seen;  /* its value when this process last looked whether there are timers */
	pthread_mutex_t mutex;
	unsigned users; /* handles that may write */
	bool runs;      /* the thread */
	pthread_t thread;
	atomic_bool stop;
};

struct vigia__backend;

/* How a backend whose processes share no memory tells the others what they would see there. Nothing blocks, and what is
 * told may be lost. */
struct vigia__tells {
	/* Somebody waits for that (wants.h). Call it at each look, it is told now and then. */
	void (*wanted)(struct vigia__backend *b, uint64_t hash, uint64_t seq_num);
	/* These words were bumped, because what was wanted is stored. */
	void (*words)(struct vigia__backend *b, const struct vigia__wake_set *set);
	/* A transaction of this process goes first (elder.h), after a last run that took so long. -1: no more. */
	void (*elder)(struct vigia__backend *b, uint64_t buckets, int64_t duration_ns);
};

struct vigia__backend {
	const char *name; /* "lmdb", "memory" */
	int lock_fd;      /* while it is open, this process owns the watcher ids that it runs; -1: none */
	unsigned can;
	bool waits;               /* its calls wait for a server, which may be away */
	struct vigia__wake *wake; /* bumped after each commit */
	_Atomic int64_t max_event_size;
	_Atomic int durability;
	struct vigia__queue *queue; /* part of the backend, which initialises and ends it */
	struct vigia__progress_list progress;
	struct vigia__rows rows;            /* of running watchers */
	const char *host;                   /* this machine's name, where others use the store, too. NULL: none do */
	struct vigia__elder *elder;         /* in the memory that its processes share */
	struct vigia__outcomes *outcomes;   /* there, too */
	_Atomic uint32_t *letter_requests;  /* there, too: counts requests to retry dead letters */
	_Atomic uint32_t *steer_requests;   /* there, too: counts requests to watchers, and answers (steer.h) */
	struct vigia__running_list running; /* watchers of this process */
	struct vigia__wants *wants;         /* there, too */
	const struct vigia__tells *tells;   /* NULL: the processes share the memory of all these */
	_Atomic uint32_t *settings_word;    /* bumped, and woken, when the settings of the file change (vigia__word_wait) */
	atomic_bool importing; /* an import is not finished: nothing else is stored. Known under the writer's lock */

	struct vigia__collect_call collect_call; /* made after commits with events; `at` NULL: no collector */

	/* Store all events or none. Blocks until durable. count 0: only save progress. */
	int (*append)(struct vigia__backend *b, struct vigia__append *request, struct vigia_error *err);
	/* The same without blocking: ticket->finished is called on another thread (commit.h). NULL: append never blocks
	 * long. */
	int (*submit)(struct vigia__backend *b, struct vigia__ticket *ticket);
	/* Add to the batch, in one read transaction, which is closed when it returns. */
	int (*scan)(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch, struct vigia_error *err);
	/* The outcome of a pending scan is not wanted any more. NULL where none is ever pending. */
	void (*forget_scan)(struct vigia__backend *b, struct vigia__arrival *arrival);
	int (*bounds)(struct vigia__backend *b, uint64_t *oldest, uint64_t *latest, struct vigia_error *err);
	int (*find_time)(struct vigia__backend *b, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err);
	int (*trim)(struct vigia__backend *b, uint64_t upto, uint64_t *removed, struct vigia_error *err);

	/* Checkpoints. put (call vigia__backend_checkpoint_put) moves forward and back. With `forward` a stored one that is
	 * not smaller stays. get and delete return ENOCHECKPOINT. each tells all checkpoints, or all holds, in the order of
	 * their ids. */
	int (*checkpoint_put)(struct vigia__backend *b, const char *id, uint64_t seq_num, bool forward,
	                      struct vigia_error *err);
	int (*checkpoint_get)(struct vigia__backend *b, const char *id, uint64_t *seq_num, struct vigia_error *err);
	int (*checkpoint_delete)(struct vigia__backend *b, const char *id, struct vigia_error *err);
	int (*checkpoint_each)(struct vigia__backend *b, bool holds, void *ctx, vigia_checkpoint_fn fn,
	                       struct vigia_error *err);

	/* Become the one owner of a watcher id in all processes: 0, or EOWNED naming the pid. */
	int (*own)(struct vigia__backend *b, const char *id, struct vigia_error *err);
	/* The same for a moment, to change what is stored of the id. Those that start it meanwhile wait for that.
	 * NULL: watchers of this backend are not steered from outside. */
	int (*own_briefly)(struct vigia__backend *b, const char *id, struct vigia_error *err);
	void (*disown)(struct vigia__backend *b, const char *id);
	/* Does any process, this one included, own it? Then *out is which. */
	bool (*owner)(struct vigia__backend *b, const char *id, struct vigia__runner *out);
	/* Has another process taken an id that this one owned, because the server saw it gone? VIGIA_OK, or EOWNED. Cheap,
	 * called once a second. NULL: that cannot happen. */
	int (*lost)(struct vigia__backend *b, const char *id, struct vigia_error *err);
	/* Block until no other process owns it or cancel_fd is readable (EINTERRUPTED). NULL: no other process can. */
	int (*wait_owner)(struct vigia__backend *b, const char *id, int cancel_fd, struct vigia_error *err);

	/* Call fn with the rows of other processes, and count their watchers without one, as vigia__rows_each(). NULL: they
	 * are among `rows`. */
	int (*rows_of_others)(struct vigia__backend *b, vigia__row_fn fn, void *ctx, uint64_t *unshown,
	                      struct vigia_error *err);

	/* Read the current settings of the file. Change them for all processes (EOPTION: not possible). */
	int (*settings)(struct vigia__backend *b, struct vigia__settings *out, struct vigia_error *err);
	int (*configure)(struct vigia__backend *b, const struct vigia_store_options *changes, struct vigia_error *err);

	struct vigia__timers timers;
	/* The time of events, and of timers: NULL: the machine's. Tests set their own, and no thread stores what is due. */
	int64_t (*wall)(void *ctx);
	void *wall_ctx;

	/* Garbage collection (collect.h). `clock` is the machine's. Tests set their own. */
	struct vigia__collector collector;
	void (*clock)(struct vigia__clock *out);
	int (*collect)(struct vigia__backend *b, struct vigia__collect *slice, struct vigia_error *err);
	/* Fill in by_index, the blocks, and the events looked at, of the events out->from to out->to. NULL: all are. */
	int (*explain)(struct vigia__backend *b, const struct vigia__filter *filter, struct vigia_explain *out,
	               struct vigia_error *err);
	/* Index some blocks of events that are not, from block *next on, which moves on. *more: there are further ones to
	 * look at. NULL: there is no index. */
	int (*index_some)(struct vigia__backend *b, uint64_t *next, bool *more, struct vigia_error *err);
	/* Become the process that does this. False: another one does. */
	bool (*elect)(struct vigia__backend *b, enum vigia__office office);
	void (*resign)(struct vigia__backend *b, enum vigia__office office);
	/* Hold back collection from `from` on, for an id without a checkpoint. `from` is resolved in the transaction that
	 * creates the hold, so that nothing is collected in between. *seq_num becomes the last number before the hold.
	 * *made is true if there was none before. VIGIA_NONE: the id has a checkpoint. */
	int (*hold)(struct vigia__backend *b, const char *id, struct vigia_iterator from, uint64_t *seq_num, bool *made,
	            struct vigia_error *err);
	/* A watcher of this id starts: renew its checkpoint or hold (checkpoint_ttl). */
	int (*touch)(struct vigia__backend *b, const char *id, struct vigia_error *err);

	/* Buckets and timers. Call `fn` with what is stored, in one read transaction. */
	int (*view)(struct vigia__backend *b, enum vigia__map map, vigia__state_fn fn, void *arg, struct vigia_error *err);
	/* The same, and the bounds at that moment. NULL: no export. */
	int (*view_at)(struct vigia__backend *b, enum vigia__map map, vigia__state_fn fn, void *arg, uint64_t *oldest,
	               uint64_t *latest, struct vigia_error *err);
	/* Commit a transaction. Durable when it returns VIGIA_OK. */
	int (*transact)(struct vigia__backend *b, struct vigia__transact *transact, struct vigia_error *err);

	/* Export: tell the keys whose last number is from..upto, in the order of these. And the time of the last event,
	 * where all are gone. NULL, as view_at: it cannot. */
	int (*keys_of)(struct vigia__backend *b, uint64_t from, uint64_t upto, vigia__key_fn fn, void *ctx,
	               struct vigia_error *err);
	int (*gone_at)(struct vigia__backend *b, int64_t *at_ns, struct vigia_error *err);
	/* Import: one commit, as its numbers and times say. What is there already is no error. ENOTEMPTY, EUNFINISHED, ...
	 */
	int (*import)(struct vigia__backend *b, struct vigia__import *import, struct vigia_error *err);
	/* VIGIA_NONE: no import is unfinished. Both NULL: it cannot. */
	int (*import_mark)(struct vigia__backend *b, struct vigia__import_mark *out, struct vigia_error *err);

	/* Durability "none": bring what was committed to the disk. NULL: nothing to do. */
	int (*sync)(struct vigia__backend *b, struct vigia_error *err);

	/* Copy the store to a new file. NULL: this backend has no files. */
	int (*backup)(struct vigia__backend *b, const struct vigia__backup *backup, struct vigia_error *err);
	/* Check the data other than events. NULL: nothing that can be damaged. */
	int (*check)(struct vigia__backend *b, struct vigia__verify *verify, struct vigia_error *err);

	/* A number that changes with every commit of any process. Cheap, begins no transaction. Finds commits that were not
	 * announced. */
	uint64_t (*commits)(struct vigia__backend *b);
	/* Called once a second by waiters: is the store still the one that was opened? 0, or EREPLACED. NULL: always. */
	int (*there)(struct vigia__backend *b, struct vigia_error *err);
	/* Called once a second by waiters, and before reading the last number. If a process died while it published a
	 * commit, so that readers cannot see it, make the commit visible and return true. NULL: cannot happen. */
	bool (*heal)(struct vigia__backend *b);
	int (*stats)(struct vigia__backend *b, struct vigia__backend_stats *out, struct vigia_error *err);
	/* Count this process's commits from now on. Where they are counted, as long as the backend lives. NULL: it cannot.
	 */
	const struct vigia__meter *(*meter)(struct vigia__backend *b);
	/* The last handle was freed. */
	void (*release)(struct vigia__backend *b);
};

/* The time of day that events get. */
static inline int64_t vigia__backend_wall_ns(const struct vigia__backend *b)
{
	return b->wall ? b->wall(b->wall_ctx) : vigia__wall_ns();
}

/* EUNFINISHED while an import is unfinished. */
int vigia__backend_imported(struct vigia__backend *b, struct vigia_error *err);

/* Open a backend. `path` is the user's. The function resolves it. */
int vigia__lmdb_open(const char *path, const struct vigia_store_options *options, struct vigia__backend **out,
                     struct vigia_error *err);
int vigia__memory_open(const struct vigia_store_options *options, struct vigia__backend **out, struct vigia_error *err);

/* For backends: set and return EUNFINISHED. ENOTEMPTY, which says what is there. */
int vigia__unfinished(struct vigia_error *err);
int vigia__not_empty(const char *what, struct vigia_error *err);
/* For backends: set and return ENOCHECKPOINT. */
int vigia__no_checkpoint(const char *id, struct vigia_error *err);
/* Store a checkpoint with the backend's function, and wake those that wait for it. */
int vigia__backend_checkpoint_put(struct vigia__backend *b, const char *id, uint64_t seq_num, bool forward,
                                  struct vigia_error *err);
/* The checkpoint of this id is seq_num now, durably: wake those that wait for it. */
void vigia__backend_saved(struct vigia__backend *b, const char *id, uint64_t seq_num);
/* For backends: the same for what a commit took along, before vigia__progress_commit_end(). */
void vigia__backend_saved_all(struct vigia__backend *b, const struct vigia__progress_taken *taken);

/* Call fn for the rows of all processes (rows.h). What fn returns that is not VIGIA_OK ends it. */
int vigia__backend_rows(struct vigia__backend *b, vigia__row_fn fn, void *ctx, uint64_t *unshown,
                        struct vigia_error *err);

/* For backends: initialise the shared part from this table. The backend then sets its words and initialises its
 * queue. */
void vigia__backend_init(struct vigia__backend *b, const struct vigia__backend *table);
/* For backends whose process has its words alone: use these, which are part of the backend. */
void vigia__backend_unshared(struct vigia__backend *b, struct vigia__unshared *own);
/* For backends: call it after the last commit. */
void vigia__backend_deinit(struct vigia__backend *b);

/* How often a waiter checks for a commit that was not announced. */
enum { VIGIA_HEAL_NS = 1000000000 };
/* Called once a second while waiting: is there a commit that was not announced, or was the store replaced (which the
 * next read reports)? `commits` is the number seen before the last read. */
bool vigia__store_unannounced(struct vigia__backend *backend, uint64_t commits);

#endif
