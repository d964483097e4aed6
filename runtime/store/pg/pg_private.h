/*
 * pg_private.h - for the files of this room: a connection, and the backend of a log on PostgreSQL.
 *
 * Locks, in the order in which they are taken: the list of open logs (pg.c), the writer's (held over a whole commit),
 * the reader's, then those of small things (`owners_mutex`, `settings_mutex`, the tail's), under which nothing is sent.
 */
#ifndef VIGIA_STORE_PG_PRIVATE_H
#define VIGIA_STORE_PG_PRIVATE_H

#include <libpq-fe.h>
#include <string.h>

#include "../../core/table.h"
#include "../commit.h"
#include "../queue.h"
#include "link.h"
#include "location.h"

enum { VIGIA_PG_FORMAT = 1 };

/* A watcher id that this process runs. */
struct pg_owned {
	struct vigia__node entry; /* of `owned`; first */
	int64_t epoch;            /* 0: it is being taken */
	bool briefly;
	bool lost; /* another process has taken it: */
	struct vigia__runner taker;
	char id[256];
};

/* Events that were read, for all watchers of the process (tail.c). */
struct pg_page;
struct pg_tail {
	struct vigia__helper helper; /* fills it. Its mutex is that of the following */
	struct pg_page *pages;
	size_t bytes;
	struct vigia__arrival *wishes; /* what is waited for, first in, first out */
	uint64_t ahead;                /* a number that will be wanted soon. 0: none */
	uint64_t oldest;               /* events before it are gone */
	uint64_t asked;                /* how often the server was asked */
	uint64_t end;                  /* the number that a scan at the end waits for. 0: none */
	bool asking;                   /* for a page */
};

/* A wait for a checkpoint that others were told of (tell.c). */
struct pg_wanted {
	uint64_t hash, seq_num;
	int64_t told_mono_ns;
};
enum { VIGIA_PG_WANTED = 32, VIGIA_PG_TELLS = 4096 };

/* Another process's transaction that goes first: whose it is, and until when. */
struct pg_elder {
	uint64_t tag, until;
};

/* A record that the next commit will read, too. */
struct pg_guess {
	enum vigia__map map;
	size_t len;
	char key[80];
};
enum { VIGIA_PG_GUESSES = 16 };

struct pg_backend {
	struct vigia__backend base;
	struct pg_backend *next; /* owner: the list of open logs */
	unsigned refs;           /* under the list's lock */
	struct pg_location location;
	struct pg_known known;            /* of the servers */
	char *texts[VIGIA_PG_STATEMENTS]; /* the statements, in this log's schema */
	uint8_t id[16];
	int64_t created_at_ns;
	unsigned fork_generation;

	struct vigia__commit commit;
	struct vigia__queue queue;
	struct pg_link writer; /* its mutex is the writer's lock */
	struct pg_link reader;
	struct pg_link cleaner;   /* connected while it makes room (collect.c) */
	_Atomic uint64_t removed; /* events, since that was done last */
	struct pg_tail tail;
	uint8_t client[16]; /* this process, for the server */
	char host[VIGIA_ROW_HOST];
	/* under the writer's lock */
	int64_t counter;      /* of the last commit that was sent */
	atomic_bool in_doubt; /* it is not known what became of it. Read without the lock */
	bool doubt_done;      /* until the next one: it was stored after all */
	/* by the transaction under way: others are told with its commit */
	bool changed_timers, changed_letters, changed_steers;
	struct pg_guess guesses[VIGIA_PG_GUESSES];
	size_t guesses_count;

	/* wake.c: the thread that listens, and holds the locks of the session */
	struct pg_link listener;
	pthread_t thread;
	bool runs;
	atomic_bool stop;
	int event_fd; /* wakes it */
	pthread_mutex_t jobs_mutex;
	pthread_cond_t jobs_done;
	struct pg_job *jobs;        /* to do, first in, first out */
	_Atomic int32_t writer_pid; /* whose notifications are not told again */
	_Atomic uint64_t news;      /* counts commits that were told of, or made */
	_Atomic uint64_t latest;    /* the last number that was told of, or made */

	/* owners.c */
	pthread_mutex_t owners_mutex;
	struct vigia__table owned; /* struct pg_owned */
	int starting;              /* callers that wait for one of these that is owned for a moment, to run it */
	int64_t renew_mono_ns;     /* the listening thread's: when the lease is to be renewed */
	int64_t times_lost;        /* likewise: how many ids others have taken of this process, as far as it has looked */

	/* tell.c */
	pthread_mutex_t tells_mutex;
	char tells[VIGIA_PG_TELLS]; /* lines to be sent */
	size_t tells_len;
	struct pg_wanted wanted[VIGIA_PG_WANTED];
	struct vigia__wake_set late; /* words of commits that others were not told of yet */
	atomic_bool untold;          /* of a commit in doubt, or while it was alone: tell all words */
	bool alone;                  /* no other process uses the log */
	int64_t told_mono_ns;        /* when they were told of the last ones */
	int64_t gap_ns;              /* how long it lasts until they are told again */
	struct pg_elder elder_heard; /* the listening thread's */

	/* shown.c, the listening thread's */
	uint64_t shown[VIGIA_ROWS]; /* a hash of each row as it was put last. 0: it was not */
	uint64_t unshown;

	pthread_mutex_t settings_mutex;
	struct vigia__settings settings;
	int64_t settings_version;

	struct vigia__unshared own;
	_Atomic uint64_t commits;
};

static inline struct pg_backend *pg_of(struct vigia__backend *base)
{
	return (struct pg_backend *)base;
}

/* The last number is this one, or higher. */
static inline void vigia__pg_reached(struct pg_backend *b, uint64_t last)
{
	uint64_t known = atomic_load(&b->latest);
	while (known < last && !atomic_compare_exchange_weak(&b->latest, &known, last)) continue;
}

/* doubt.c, under the writer's lock */
/* Ask what became of the last commit. *out NULL: it was not done, and never will be. Else its numbers. */
int vigia__pg_settle(struct pg_backend *b, PGresult **out, int64_t until_mono_ns, struct vigia_error *err);
/* If the last commit is in doubt, settle it, and keep what came of it in `doubt_done`. */
int vigia__pg_settle_doubt(struct pg_backend *b, int64_t until_mono_ns, struct vigia_error *err);
/* The same without the lock. */
int vigia__pg_settle_to_read(struct pg_backend *b, struct vigia_error *err);

/* calls.c */
/* The deadline of a read that begins now. */
int64_t vigia__pg_until_to_read(const struct pg_link *link);
/* Call on the reader's connection. The result is the caller's, PQclear() it; NULL after an error. */
int vigia__pg_ask(struct pg_backend *b, enum pg_statement statement, const struct pg_param *params, PGresult **out,
                  const char *what, struct vigia_error *err);
/* The same for what changes something and may be done twice, on the writer's, under its lock. */
int vigia__pg_do(struct pg_backend *b, enum pg_statement statement, const struct pg_param *params, PGresult **out,
                 const char *what, struct vigia_error *err);
/* A transaction on the writer's connection, under its lock: fn's statements, in READ COMMITTED. It is run again where
 * the server asks for that. `fn` may run several times. */
int vigia__pg_transaction(struct pg_backend *b, int (*fn)(struct pg_backend *b, void *arg, struct vigia_error *err),
                          void *arg, const char *what, struct vigia_error *err);
/* A statement inside it. */
int vigia__pg_step(struct pg_backend *b, enum pg_statement statement, const struct pg_param *params, PGresult **out,
                   struct vigia_error *err);

/* create.c: find the log, or make it; check its format; read its settings. */
int vigia__pg_load(struct pg_backend *b, const struct vigia_store_options *options, struct vigia_error *err);
int vigia__pg_script(const char *text, const struct vigia_store_options *options, struct vigia__buf *out,
                     struct vigia_error *err);
int vigia__pg_settings_read(struct pg_backend *b, struct vigia_error *err);
int vigia__pg_settings(struct vigia__backend *base, struct vigia__settings *out, struct vigia_error *err);
int vigia__pg_configure(struct vigia__backend *base, const struct vigia_store_options *changes,
                        struct vigia_error *err);

/* commit.c */
extern const struct vigia__commit_ops vigia__pg_commit_ops;
int vigia__pg_append(struct vigia__backend *base, struct vigia__append *request, struct vigia_error *err);
int vigia__pg_submit(struct vigia__backend *base, struct vigia__ticket *ticket);
int vigia__pg_transact(struct vigia__backend *base, struct vigia__transact *transact, struct vigia_error *err);
int vigia__pg_checkpoint_put(struct vigia__backend *base, const char *id, uint64_t seq_num, bool forward,
                             struct vigia_error *err);

/* What a scan has taken so far. */
struct pg_take {
	struct vigia__scan *scan;
	struct vigia_batch *batch;
	uint64_t from; /* the next number */
	size_t copied, bytes, cost;
	bool objects, no_memory;
};

/* tail.c */
void vigia__pg_tail_init(struct pg_backend *b);
/* Ends the thread. */
void vigia__pg_tail_deinit(struct pg_backend *b);
/* A scan with an arrival. */
int vigia__pg_tail_scan(struct pg_backend *b, struct vigia__scan *scan, struct vigia_batch *batch,
                        struct vigia_error *err);
/* The thread that listens: read on where scans have come to the end. True: it asked the server. */
bool vigia__pg_tail_fetch(struct pg_backend *b);
void vigia__pg_tail_forget_scan(struct vigia__backend *base, struct vigia__arrival *arrival);
/* Events before this number are gone. */
void vigia__pg_tail_trimmed(struct pg_backend *b, uint64_t oldest);
/* The server may be another one. */
void vigia__pg_tail_clear(struct pg_backend *b);

/* read.c */
void vigia__pg_take_begin(struct pg_take *take, struct vigia__scan *scan, struct vigia_batch *batch);
/* The next event. at_ns NULL: it is stamped. False: the scan ends here. */
bool vigia__pg_take(struct pg_take *take, uint64_t seq_num, const int64_t *at_ns, struct vigia_slice event);
int vigia__pg_scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch,
                   struct vigia_error *err);
int vigia__pg_bounds(struct vigia__backend *base, uint64_t *oldest, uint64_t *latest, struct vigia_error *err);
int vigia__pg_find_time(struct vigia__backend *base, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err);

/* stats.c */
int vigia__pg_stats(struct vigia__backend *base, struct vigia__backend_stats *out, struct vigia_error *err);
int vigia__pg_check(struct vigia__backend *base, struct vigia__verify *verify, struct vigia_error *err);

/* checkpoints.c */
int vigia__pg_checkpoint_get(struct vigia__backend *base, const char *id, uint64_t *seq_num, struct vigia_error *err);
int vigia__pg_checkpoint_delete(struct vigia__backend *base, const char *id, struct vigia_error *err);
int vigia__pg_checkpoint_each(struct vigia__backend *base, bool holds, void *ctx, vigia_checkpoint_fn fn,
                              struct vigia_error *err);
int vigia__pg_hold(struct vigia__backend *base, const char *id, struct vigia_iterator from, uint64_t *seq_num,
                   bool *made, struct vigia_error *err);
int vigia__pg_touch(struct vigia__backend *base, const char *id, struct vigia_error *err);

/* maps.c: buckets and timers */
int vigia__pg_view(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg,
                   struct vigia_error *err);
/* The same, and the bounds at that moment. */
int vigia__pg_view_at(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg, uint64_t *oldest,
                      uint64_t *latest, struct vigia_error *err);
/* import.c */
int vigia__pg_import(struct vigia__backend *base, struct vigia__import *import, struct vigia_error *err);
int vigia__pg_import_mark(struct vigia__backend *base, struct vigia__import_mark *out, struct vigia_error *err);
int vigia__pg_keys_of(struct vigia__backend *base, uint64_t from, uint64_t upto, vigia__key_fn fn, void *ctx,
                      struct vigia_error *err);
int vigia__pg_gone_at(struct vigia__backend *base, int64_t *at_ns, struct vigia_error *err);

/* collect.c */
int vigia__pg_trim(struct vigia__backend *base, uint64_t upto, uint64_t *removed, struct vigia_error *err);
int vigia__pg_collect(struct vigia__backend *base, struct vigia__collect *slice, struct vigia_error *err);

/* jobs.c */
/* Have the thread that listens do it, and wait. `then` (NULL: nothing) is called there with the result, which is the
 * caller's afterwards. */
int vigia__pg_run_job(struct pg_backend *b, enum pg_statement statement, const struct pg_param *params,
                      void (*then)(void *arg, const PGresult *result), void *arg, PGresult **out,
                      struct vigia_error *err);
void vigia__pg_ring(struct pg_backend *b); /* let the thread look what there is to do */
/* On the thread: do the next one. `away` (NULL: none): why none can be done; `broke`: since a connection that was made
 * broke again, so it is done later, if there is time. False: there is none, or not before a new connection. */
bool vigia__pg_job_do(struct pg_backend *b, const struct vigia_error *away, bool broke);
bool vigia__pg_jobs_any(struct pg_backend *b);

/* wake.c */
int vigia__pg_listen_start(struct pg_backend *b, struct vigia_error *err);
void vigia__pg_listen_stop(struct pg_backend *b);
bool vigia__pg_elect(struct vigia__backend *base, enum vigia__office office);
void vigia__pg_resign(struct vigia__backend *base, enum vigia__office office);

/* owners.c */
int vigia__pg_own(struct vigia__backend *base, const char *id, struct vigia_error *err);
int vigia__pg_own_briefly(struct vigia__backend *base, const char *id, struct vigia_error *err);
void vigia__pg_disown(struct vigia__backend *base, const char *id);
bool vigia__pg_owner(struct vigia__backend *base, const char *id, struct vigia__runner *out);
int vigia__pg_lost(struct vigia__backend *base, const char *id, struct vigia_error *err);
int vigia__pg_wait_owner(struct vigia__backend *base, const char *id, int cancel_fd, struct vigia_error *err);
/* Does this process run an id with this hash? */
bool vigia__pg_owned_with(struct pg_backend *b, uint64_t hash, char id[256]);
/* Another process has it now. Under the writer's lock: asks which. */
void vigia__pg_lose(struct pg_backend *b, const char *id);
/* The epoch with which this process owns the id, 0: it does not. */
int64_t vigia__pg_epoch(struct pg_backend *b, const char *id);
/* All ids that this process owns, as a list of bytea. -1 without memory. */
int vigia__pg_owned_ids(struct pg_backend *b, struct pg_array *out);
/* On the thread that listens: its connection is new. Take the lock and the lease, and find out what was lost. */
int vigia__pg_owners_enter(struct pg_backend *b, struct vigia_error *err);
/* Likewise: renew the lease when it is time. Returns when that is next. */
int64_t vigia__pg_owners_renew(struct pg_backend *b);
/* Likewise: find out soon what was lost. */
void vigia__pg_owners_look(struct pg_backend *b);

/* tell.c; all but the first ones on the thread that listens */
extern const struct vigia__tells vigia__pg_tells;
/* "w" and the numbers of the words, "w*" for many, "" for none. */
enum { VIGIA_PG_WORDS = 400, VIGIA_PG_WORDS_TEXT = VIGIA_PG_WORDS * 5 + 4 };
void vigia__pg_words_write(const struct vigia__wake_set *set, char text[VIGIA_PG_WORDS_TEXT]);
/* A commit: are others to be told of its words at once? Else later. */
bool vigia__pg_tell_is_due(struct pg_backend *b);
void vigia__pg_tell_later(struct pg_backend *b, const struct vigia__wake_set *words);
/* Tell the words that wait, if it is time. When it is: INT64_MAX: there are none. */
int64_t vigia__pg_tell_late(struct pg_backend *b);
/* So many processes use the log. */
void vigia__pg_tell_processes(struct pg_backend *b, int64_t count);
/* Another one has come. */
void vigia__pg_hear_process(struct pg_backend *b);
void vigia__pg_tell_all(struct pg_backend *b);
bool vigia__pg_tells_any(struct pg_backend *b);
void vigia__pg_hear_wanted(struct pg_backend *b, const char *text);
void vigia__pg_hear_elder(struct pg_backend *b, const char *text);

/* shown.c; the first two on the thread that listens */
void vigia__pg_rows_put(struct pg_backend *b);       /* those that have changed */
void vigia__pg_rows_put_again(struct pg_backend *b); /* the next time all */
int vigia__pg_rows_of_others(struct vigia__backend *base, vigia__row_fn fn, void *ctx, uint64_t *unshown,
                             struct vigia_error *err);

#endif
