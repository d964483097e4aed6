/*
 * backend.h - the interface that each backend fills in: a table of functions, and what they take and return. backend.c
 * is what all backends share. The LMDB backend (lmdb_*.c) keeps a file; memory.c is the one to read first.
 */
#ifndef VIGIA_STORE_BACKEND_H
#define VIGIA_STORE_BACKEND_H

#include <pthread.h>
#include <stdatomic.h>

#include "../core/batch.h"
#include "../core/filter.h"
#include "../core/retention.h"
#include "../core/settings.h"
#include "clock.h"
#include "progress.h"
#include "wake.h"

enum { VIGIA_KEY_MAX = 255 }; /* bytes of the key of an append */

/* ---- what a backend can (capability flags) ---- */
enum {
	VIGIA_CAN_PERSIST = 1, /* survives close and crash */
	VIGIA_CAN_SHARE = 2,   /* several processes */
	VIGIA_CAN_DAMAGE = 4   /* keeps bytes that can be damaged, and finds out */
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
	bool now;         /* not to be queued, whatever the file's durability */
	bool keep;        /* what was queued must be stored, even if a full map has to be exceeded for it */
	bool last_chance; /* and even if a full disk's reserve is used up */
	bool accepted;    /* its sizes were checked before */
	/* out */
	bool queued;  /* it waits in memory and has no numbers yet */
	bool existed; /* the key was there: the numbers are those of the append that brought it, and nothing was stored */
	uint64_t first_seq;
	uint64_t last_seq;
};

/* ESEQUENCE, naming both numbers. For backends. */
int vigia__append_conflict(const struct vigia__append *request, uint64_t last_seq, struct vigia_error *err);

/* One slice of a scan. */
struct vigia__scan {
	uint64_t from; /* first number to look at */
	const struct vigia__filter *filter;
	size_t count_max;      /* events to copy at most, SIZE_MAX = any number */
	size_t bytes_max;      /* bytes to copy at most, but one event always */
	bool goes_on;          /* with a result that has some: it may add none */
	int64_t now_mono_ns;   /* 0: ask the clock */
	int64_t until_mono_ns; /* drop no more events after this time; those that are wanted have the bounds above */
	/* out */
	uint64_t gone;      /* numbers from `from` on that were removed before the first that is there */
	uint64_t looked_at; /* the last number looked at, 0 = none */
	bool at_end;        /* nothing was left to look at */
};

struct vigia__backend_stats {
	uint64_t oldest, latest; /* 0 = none */
	uint64_t events;
	uint64_t file_bytes, used_bytes, map_bytes;
	uint64_t readers;
	uint64_t commits; /* counts up with each commit of any process */
	char file_id[33]; /* hexadecimal, "" for memory */
	int64_t created_at_ns;
	int format;
	struct vigia__settings settings; /* as the file has them now */
};

struct vigia__queue;  /* queue.h */
struct vigia__ticket; /* commit.h */

/* What a look for damage finds, and who is told (verify.h). */
struct vigia__verify {
	void *ctx;
	/* Something is damaged: an event (seq_num > 0) or something else. */
	void (*found)(void *ctx, uint64_t seq_num, const char *text);
	/* All up to here was looked at; called before each piece, so that whoever crashes has said where. */
	void (*progress)(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last);
	/* From here on it looks at what is beside the events; called again after each few thousand records. */
	void (*beside)(void *ctx);
	/* Go on behind what could not be read: from this number (0: the oldest), up to that one (0: the last, when from is
	 * 0 too, else all there are), in pieces of so many events (0: 1000). */
	uint64_t from, upto, piece;
	/* out */
	uint64_t events, checkpoints, keys;
};

/* One slice of a garbage collection: one transaction, which looks at what holds back and removes what may go. */
struct vigia__collect {
	uint64_t events_left; /* remove at most so many; the run's */
	int64_t slice_ns;     /* and no longer, from when the writer's lock is held */
	bool first;           /* of a run: write a mark, note who runs now */
	struct {            /* first of all, in slices too: the checkpoints of those who run are renewed (checkpoint_ttl) */
		int databases;  /* so many have been looked through */
		bool under_way; /* out: there are more; nothing was removed */
		size_t len;
		char after[VIGIA_NAME_MAX + 1]; /* and in the next one the ids up to this */
	} renewal;
	uint64_t latest; /* in: the last number at the slice before, 0 = there was none; out: now */
	/* out */
	uint64_t removed;
	uint64_t oldest; /* afterwards, 0 = none */
	bool more;       /* there is more to remove */
	struct vigia__verdict verdict;
};

/* The thread that collects for this process (collect.h). */
struct vigia__collector {
	pthread_mutex_t mutex;
	unsigned users; /* handles opened with `collect` */
	pthread_t thread;
	atomic_bool stop;
};

struct vigia__backend {
	const char *name; /* "lmdb", "memory" */
	int lock_fd;      /* as long as it is open, this process owns the watcher ids that it runs; -1: there is none */
	unsigned can;
	struct vigia__wake *wake; /* bumped after each commit */
	_Atomic int64_t max_event_size;
	_Atomic int durability;
	struct vigia__queue *queue; /* part of the backend, begun and ended by it */
	struct vigia__progress_list progress;
	_Atomic uint32_t *settings_word; /* bumped, and woken, when the settings of the file change (vigia__word_wait) */

	struct vigia__collect_call collect_call; /* made after commits with events; `at` NULL: nobody collects */

	/* Blocks until durable. count 0: only saves progress. All or nothing. */
	int (*append)(struct vigia__backend *b, struct vigia__append *request, struct vigia_error *err);
	/* The same without blocking: ticket->finished tells, on another thread (commit.h). NULL: this backend never blocks
	 * long. */
	int (*submit)(struct vigia__backend *b, struct vigia__ticket *ticket);
	/* Adds to the batch; one read transaction, closed when it returns. */
	int (*scan)(struct vigia__backend *b, struct vigia__scan *scan, struct vigia_batch *batch, struct vigia_error *err);
	int (*bounds)(struct vigia__backend *b, uint64_t *oldest, uint64_t *latest, struct vigia_error *err);
	int (*find_time)(struct vigia__backend *b, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err);
	int (*trim)(struct vigia__backend *b, uint64_t upto, uint64_t *removed, struct vigia_error *err);

	/* Checkpoints; put moves forward and back; get and delete return ENOCHECKPOINT. */
	int (*checkpoint_put)(struct vigia__backend *b, const char *id, uint64_t seq_num, struct vigia_error *err);
	/* Forward only: one that is there and not smaller stays. */
	int (*checkpoint_advance)(struct vigia__backend *b, const char *id, uint64_t seq_num, struct vigia_error *err);
	int (*checkpoint_get)(struct vigia__backend *b, const char *id, uint64_t *seq_num, struct vigia_error *err);
	int (*checkpoint_delete)(struct vigia__backend *b, const char *id, struct vigia_error *err);
	int (*checkpoint_each)(struct vigia__backend *b, void *ctx, vigia_checkpoint_fn fn, struct vigia_error *err);

	/* One owner per watcher id, in all processes: 0, or EOWNED naming the pid. */
	int (*own)(struct vigia__backend *b, const char *id, struct vigia_error *err);
	void (*disown)(struct vigia__backend *b, const char *id);
	/* Block until no other process owns it, or cancel_fd is readable (EINTERRUPTED). NULL: there are no other
	 * processes. */
	int (*wait_owner)(struct vigia__backend *b, const char *id, int cancel_fd, struct vigia_error *err);

	/* The settings of the file as they are now; changed for all processes (EOPTION: not possible). */
	int (*settings)(struct vigia__backend *b, struct vigia__settings *out, struct vigia_error *err);
	int (*configure)(struct vigia__backend *b, const struct vigia_store_options *changes, struct vigia_error *err);

	/* Garbage collection (collect.h). `clock` is the machine's; tests set their own. */
	struct vigia__collector collector;
	void (*clock)(struct vigia__clock *out);
	int (*collect)(struct vigia__backend *b, struct vigia__collect *slice, struct vigia_error *err);
	/* Be the one process that collects in the background; false: another one is. */
	bool (*elect)(struct vigia__backend *b);
	void (*resign)(struct vigia__backend *b);
	/* Hold back collection before `from` for an id without a checkpoint. Where that is is found out in the transaction
	 * that makes it, so that nothing is collected in between. *seq_num becomes the last number that it does not hold,
	 * *made: it had no hold before. VIGIA_NONE: it has a checkpoint. */
	int (*hold)(struct vigia__backend *b, const char *id, struct vigia_iterator from, uint64_t *seq_num, bool *made,
	            struct vigia_error *err);
	int (*hold_each)(struct vigia__backend *b, void *ctx, vigia_checkpoint_fn fn, struct vigia_error *err);
	/* A watcher of this id starts: its checkpoint or hold is fresh (checkpoint_ttl). */
	int (*touch)(struct vigia__backend *b, const char *id, struct vigia_error *err);

	/* Durability "none": put what was committed on the disk. NULL: nothing to do. */
	int (*sync)(struct vigia__backend *b, struct vigia_error *err);

	/* A copy in a new file. NULL: this backend has no files. */
	int (*backup)(struct vigia__backend *b, const char *path, bool compact, struct vigia_error *err);
	/* What is kept beside the events. NULL: nothing that can be damaged. */
	int (*check)(struct vigia__backend *b, struct vigia__verify *verify, struct vigia_error *err);

	/* A number that changes with every commit of any process; cheap, opens nothing. For waiters that were not told. */
	uint64_t (*commits)(struct vigia__backend *b);
	/* Called once a second by waiters: is the store still what was opened? 0, or EREPLACED. NULL: always. */
	int (*there)(struct vigia__backend *b, struct vigia_error *err);
	/* Called once a second by waiters, and for the last number: is there a commit that readers cannot
	 * see, because its process died in the middle of telling? Then
	 * make it visible and return true. NULL: cannot happen. */
	bool (*heal)(struct vigia__backend *b);
	int (*stats)(struct vigia__backend *b, struct vigia__backend_stats *out, struct vigia_error *err);
	/* The last handle is gone. */
	void (*release)(struct vigia__backend *b);
};

/* Open a backend. `path` as the user gave it: its real path is looked up inside. */
int vigia__lmdb_open(const char *path, const struct vigia_store_options *options, struct vigia__backend **out,
                     struct vigia_error *err);
int vigia__memory_open(const struct vigia_store_options *options, struct vigia__backend **out, struct vigia_error *err);

/* For backends: ENOCHECKPOINT. */
int vigia__no_checkpoint(const char *id, struct vigia_error *err);

/* For backends: begin with this table; the backend then fills in its words, and begins its queue. */
void vigia__backend_init(struct vigia__backend *b, const struct vigia__backend *table);
/* After the last commit. */
void vigia__backend_deinit(struct vigia__backend *b);

/* How often a waiter looks for a commit that was not announced. */
enum { VIGIA_HEAL_NS = 1000000000 };
/* Once a second while waiting: is there news that nobody announced? That the store is not what it was is such news,
 * which reading tells. `commits` is what was seen before the last look. */
bool vigia__store_unannounced(struct vigia__backend *backend, uint64_t commits);

#endif
