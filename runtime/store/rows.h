/*
 * rows.h - what running watchers tell of themselves, in memory that all processes of a store share: one row for each,
 * written by the thread that drives it, read by anyone (contract O1).
 *
 * A row belongs to the process that has the lock of its byte, which the kernel releases however the process dies. What
 * a dead owner wrote stays until the id runs again, or a full table needs the row. An id may have several rows: its
 * lanes, and ephemeral watchers of several processes.
 *
 * A row's two hot numbers are written with each event, as plain stores. All else is written between begin and end,
 * which make `version` odd and even again: a reader copies the row, and does it again if the version was odd or has
 * changed. It tries often, not for ever: an owner may have died or been stopped in between. Then it has the numbers,
 * each of which is whole, and no texts. Every field is atomic, and so is each word of the texts.
 *
 * No lock, no system call and no wake-up for what is written. Any content is valid: it is only shown.
 */
#ifndef VIGIA_STORE_ROWS_H
#define VIGIA_STORE_ROWS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	VIGIA_ROWS = 512,
	VIGIA_ROW_BYTES = 1024,
	VIGIA_ROW_ID = 256,    /* bytes, with the zero */
	VIGIA_ROW_ERROR = 512, /* likewise */
	VIGIA_ROW_HOST = 65,   /* likewise; not in the table, which is of one machine */
	VIGIA_ROW_SAMPLES = 3,
	VIGIA_ROW_USERS = 256 /* processes that count what is not shown */
};

/* The flags of a row: the state is an enum vigia_watcher_state. */
enum { VIGIA_ROW_STATE = 3, VIGIA_ROW_EPHEMERAL = 4, VIGIA_ROW_LANE = 8, VIGIA_ROW_PAUSED = 16 };

struct vigia__row {
	_Atomic uint32_t version;
	_Atomic int32_t pid;
	_Atomic uint32_t space; /* the pid's namespace; 0: not known */
	_Atomic uint32_t flags;
	_Atomic uint64_t position;  /* the last number that it has finished. Hot */
	_Atomic uint64_t processed; /* Hot */
	_Atomic uint64_t failed, retried, skipped, dead_lettered, missed, fetch_errors;
	_Atomic uint64_t blocked, attempts;
	_Atomic int64_t started_at_ns;
	_Atomic int64_t next_attempt_at_ns; /* 0: there is none */
	_Atomic int64_t failed_at_ns;       /* when the last error came. 0: never */
	/* `processed` at some times, for the rate: the last read, about a second before it, a second before that. */
	_Atomic int64_t sampled_at_ns[VIGIA_ROW_SAMPLES];
	_Atomic uint64_t sampled[VIGIA_ROW_SAMPLES];
	_Atomic uint64_t id[VIGIA_ROW_ID / 8];
	_Atomic uint64_t error[VIGIA_ROW_ERROR / 8];
	uint64_t reserved[(VIGIA_ROW_BYTES - 168 - VIGIA_ROW_ID - VIGIA_ROW_ERROR) / 8];
};

struct vigia__row_table {
	_Atomic uint32_t unshown[VIGIA_ROW_USERS]; /* watchers of each user (side.h) for which there was no row */
	_Atomic uint64_t hashes[VIGIA_ROWS];       /* of the id of each row. 0: it was never used */
	uint8_t reserved[8192 - 4 * VIGIA_ROW_USERS - 8 * VIGIA_ROWS];
	struct vigia__row rows[VIGIA_ROWS];
};
_Static_assert(sizeof(struct vigia__row) == VIGIA_ROW_BYTES, "the size of a row");
_Static_assert(offsetof(struct vigia__row_table, rows) == 8192, "the layout drawn in side.h");

/* A process's access to the table. Without a shared one it has its own, from the first row on. */
struct vigia__rows {
	pthread_mutex_t mutex; /* of the following */
	struct vigia__row_table *table;
	bool own_table;
	const int *fd; /* of the locks; -1: closed. NULL: no other process sees the table */
	long first_byte, first_user_byte;
	uint32_t space; /* this process's PID namespace; 0: not known */
	int user;       /* whose entry of `unshown`; -1: none */
	bool mine[VIGIA_ROWS];
	bool full; /* all belong to running watchers, when last tried */
	uint64_t unshown;
};

/* What a row says. */
struct vigia__row_told {
	int place; /* in the table */
	char id[VIGIA_ROW_ID];
	bool runs; /* its owner lives, and has not stopped */
	bool torn; /* its texts are not known: `error` is empty */
	int32_t pid;
	uint32_t space, flags;
	uint64_t position, processed, failed, retried, skipped, dead_lettered, missed, fetch_errors, blocked, attempts;
	int64_t started_at_ns, next_attempt_at_ns, failed_at_ns;
	int64_t sampled_at_ns[VIGIA_ROW_SAMPLES];
	uint64_t sampled[VIGIA_ROW_SAMPLES];
	char error[VIGIA_ROW_ERROR];
	char host[VIGIA_ROW_HOST]; /* the machine of its process; "": this one */
};

/* Which process runs a watcher. */
struct vigia__runner {
	int32_t pid;               /* 0: it is not known */
	char host[VIGIA_ROW_HOST]; /* its machine; "": it is not known, or the store is of one machine */
};

void vigia__rows_init(struct vigia__rows *rows);
/* The table is shared: row n is locked by the byte first_byte + n of *fd, and user n, while it lives, has locked
 * first_user_byte + n. Before the first row. */
void vigia__rows_share(struct vigia__rows *rows, struct vigia__row_table *table, const int *fd, long first_byte,
                       long first_user_byte, int user, uint32_t space);
void vigia__rows_deinit(struct vigia__rows *rows);
/* In a forked child the table is the parent's: do not write. */
static inline bool vigia__rows_closed(const struct vigia__rows *rows)
{
	return rows->fd && *rows->fd < 0;
}

/* A row for this id, with everything but its id zero. NULL: there is none, which counts as not shown until
 * vigia__row_unshown_ends(). */
struct vigia__row *vigia__row_take(struct vigia__rows *rows, const char *id);
void vigia__row_unshown_ends(struct vigia__rows *rows);
/* It runs no more. What it says stays. */
void vigia__row_release(struct vigia__rows *rows, struct vigia__row *row);

/* Around changes of anything but the hot numbers. One thread writes a row. */
void vigia__row_begin(struct vigia__row *row);
void vigia__row_end(struct vigia__row *row);
static inline void vigia__row_set(_Atomic uint64_t *field, uint64_t value)
{
	/* Released, so that none is seen without the odd version before it. */
	atomic_store_explicit(field, value, memory_order_release);
}
static inline void vigia__row_set_time(_Atomic int64_t *field, int64_t value)
{
	atomic_store_explicit(field, value, memory_order_release);
}
/* Between begin and end. The text is cut at its last whole character. */
void vigia__row_set_error(struct vigia__row *row, const char *text);
/* With each event. */
static inline void vigia__row_move(struct vigia__row *row, uint64_t position, uint64_t processed)
{
	atomic_store_explicit(&row->position, position, memory_order_relaxed);
	atomic_store_explicit(&row->processed, processed, memory_order_relaxed);
}
/* After a read, at this time: `processed` as it is now. */
void vigia__row_sample(struct vigia__row *row, int64_t at_ns);

typedef int (*vigia__row_fn)(void *ctx, const struct vigia__row_told *told);
/* Call fn for each row that was ever used and not been given to another id since. VIGIA_OK, or what fn returned.
 * *unshown: watchers that have none. */
int vigia__rows_each(struct vigia__rows *rows, vigia__row_fn fn, void *ctx, uint64_t *unshown);
/* Events a second at this time. */
double vigia__row_rate(const struct vigia__row_told *told, int64_t now_ns);

#endif
