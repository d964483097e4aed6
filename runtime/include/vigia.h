/*
 * vigia.h - the whole public C API of Vigia, an embeddable event log. Read it top to bottom like a manual.
 *
 * A store is one file that keeps events in order, each under the next sequence number. Watchers see all events in that
 * order, each at its own pace, and go on behind their checkpoint after a restart or a crash.
 *
 * Rules that hold for every function:
 *   - `int` results: 0 (VIGIA_OK) success, < 0 an error of the list below with the detail in `err` (which may be NULL),
 *     > 0 an expected outcome (VIGIA_NONE, VIGIA_PENDING).
 *   - Times are int64_t nanoseconds: `_ns` a duration, `_at_ns` since 1970 (UTC), `_mono_ns` monotonic.
 *   - A store may be used by any number of threads. A registry belongs to one thread. Only vigia_registry_interrupt()
 *     may be called from another.
 *   - Nothing returned points into the file: batches own copies.
 *   - A struct of options or callbacks begins with `size`, the sizeof it was compiled with: new members come at its
 *     end, and a program compiled before them gets their defaults. A size of 0, or one larger than this version knows,
 *     is EOPTION. A struct that the library fills in (vigia_gc, vigia_watcher_stats) grows at its end, too. The header
 *     passes on how much of it the caller has. Values (slice, iterator, filter, events, vigia_error) stay as they are.
 */
#ifndef VIGIA_H
#define VIGIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vigia_errors.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VIGIA_API __attribute__((visibility("default")))
#else
#define VIGIA_API
#endif
#define VIGIA_LUA_API VIGIA_API /* in libvigia-lua. All others are in libvigia */

#define VIGIA_VERSION "0.1.0"
#define VIGIA_FORMAT  2 /* the number of the file format this library writes */

/* ---- Errors ---- */

/* What went wrong. Owned by the caller. Functions overwrite it. Zero-initialise it or pass NULL. */
struct vigia_error {
	int code;             /* enum vigia_code */
	uint64_t seq_num;     /* the event concerned, 0 = none */
	char watcher_id[256]; /* the watcher concerned, "" = none */
	char message[768];    /* one sentence: what was wrong and where */
	char cause[256];      /* what the layer below said, "" = nothing */
};

/* The stable name of a code ("store_closed"), "ok" for 0, "unknown_error" for a foreign number. Static storage, any
 * thread. */
VIGIA_API const char *vigia_error_name(int code);

/* The library's version, "MAJOR.MINOR.PATCH". Static storage, any thread. */
VIGIA_API const char *vigia_version(void);

/* ---- Values ---- */

/* Borrowed bytes, not terminated. */
struct vigia_slice {
	const char *data;
	size_t len;
};

#define VIGIA_CREATE "CREATE"
#define VIGIA_UPDATE "UPDATE"
#define VIGIA_DELETE "DELETE"

enum vigia_iterator_kind {
	VIGIA_TRIM_HORIZON = 0, /* from the oldest event there is */
	VIGIA_LATEST,           /* only what comes after now */
	VIGIA_AT,               /* from seq_num on */
	VIGIA_AFTER             /* from the one after seq_num on */
};

/* Where a read starts. A value: copy and compare it freely. seq_num is 0 for the first two kinds. */
struct vigia_iterator {
	enum vigia_iterator_kind kind;
	uint64_t seq_num;
};

/* Lists of names to keep. An empty list keeps all. Both must match. Borrowed for the time of the call. */
struct vigia_filter {
	const struct vigia_slice *object_types;
	size_t object_types_count;
	const struct vigia_slice *operations;
	size_t operations_count;
};

/* A place in the object, and the values wanted there: any of them. `path` is "object.a.b[3].\"x.y\"": keys of maps,
 * indexes of arrays from 1. Each value is one msgpack value: nil, boolean, number or string. 1 equals 1.0. A missing
 * place equals only nil. Borrowed for the time of the call. */
struct vigia_where {
	struct vigia_slice path;
	const struct vigia_slice *values;
	size_t values_count;
};

/* An event to be stored. `object` is exactly one msgpack value without duplicate keys (1 and 1.0 are the same key). */
struct vigia_new_event {
	struct vigia_slice operation;   /* 1..255 bytes of UTF-8 */
	struct vigia_slice object_type; /* 1..255 bytes of UTF-8 */
	struct vigia_slice object;
};

/* An event that was stored. The slices point into the batch it came in. */
struct vigia_event {
	uint64_t seq_num; /* from 1, consecutive, never reused */
	int64_t at_ns;    /* when it was stored; never goes backwards */
	struct vigia_slice operation;
	struct vigia_slice object_type;
	struct vigia_slice serializer; /* of the object; empty: msgpack */
	struct vigia_slice object; /* msgpack, one value; of another serializer ("json", or an application's) its bytes */
};

/* ---- Objects: msgpack and JSON ---- */

struct vigia_buffer; /* bytes that grow: an object being written, or text. For one thread at a time */

VIGIA_API struct vigia_buffer *vigia_buffer_new(void);         /* NULL: out of memory */
VIGIA_API void vigia_buffer_free(struct vigia_buffer *buffer); /* NULL is fine */
/* Empty it, for the next object. The memory stays. */
VIGIA_API void vigia_buffer_clear(struct vigia_buffer *buffer);

/* Write one value behind what is there. An array is followed by its `count` values, a map by `count` pairs of key and
 * value. Nothing fails here: vigia_msgpack_end() tells. */
VIGIA_API void vigia_msgpack_nil(struct vigia_buffer *buffer);
VIGIA_API void vigia_msgpack_boolean(struct vigia_buffer *buffer, bool value);
VIGIA_API void vigia_msgpack_integer(struct vigia_buffer *buffer, int64_t value);
VIGIA_API void vigia_msgpack_float(struct vigia_buffer *buffer, double value);
VIGIA_API void vigia_msgpack_text(struct vigia_buffer *buffer, const char *text); /* up to its NUL; also for a key */
VIGIA_API void vigia_msgpack_string(struct vigia_buffer *buffer, const char *data, size_t len); /* any bytes */
VIGIA_API void vigia_msgpack_array(struct vigia_buffer *buffer, size_t count);
VIGIA_API void vigia_msgpack_map(struct vigia_buffer *buffer, size_t count);
/* The value of a JSON text, as `vigia append` reads it: {"$bytes": ...} and the like are known. */
VIGIA_API void vigia_msgpack_json(struct vigia_buffer *buffer, const char *text, size_t len);

/**
 * The object is written: is it exactly one value that an event can carry?
 *
 * Returns:   VIGIA_OK and *object. ESERIAL: values are missing, or there are too many, or one cannot be carried, or a
 *            map has duplicate keys. ENOMEM, or the first failure of the functions above
 * Ownership: *object points into the buffer, until that is written to, cleared or freed
 */
VIGIA_API int vigia_msgpack_end(struct vigia_buffer *buffer, struct vigia_slice *object, struct vigia_error *err);

enum vigia_msgpack_kind {
	VIGIA_MSGPACK_NIL = 0,
	VIGIA_MSGPACK_BOOLEAN,
	VIGIA_MSGPACK_INTEGER,
	VIGIA_MSGPACK_FLOAT,
	VIGIA_MSGPACK_STRING, /* text, UTF-8 */
	VIGIA_MSGPACK_BINARY, /* other bytes */
	VIGIA_MSGPACK_ARRAY,
	VIGIA_MSGPACK_MAP
};

/* One value that was read. The members that its kind does not have are 0. */
struct vigia_msgpack_value {
	enum vigia_msgpack_kind kind;
	bool boolean;
	int64_t integer;
	double number;
	struct vigia_slice string; /* STRING, BINARY: points into what was read; not terminated */
	uint32_t count;            /* ARRAY: so many values follow; MAP: so many pairs */
};

/* Read the value at the beginning of `rest`, which moves on behind it. Of an array or a map it reads only the head, so
 * that what it holds comes next. VIGIA_NONE: nothing is left. EDESERIAL: the bytes are cut off, or no value. Any bytes
 * may be given: none beyond them is read. */
VIGIA_API int vigia_msgpack_next(struct vigia_slice *rest, struct vigia_msgpack_value *value, struct vigia_error *err);
/* Move `rest` on behind one value with all that it holds. Results as above. */
VIGIA_API int vigia_msgpack_skip(struct vigia_slice *rest, struct vigia_error *err);
/* The value under a key in the map at the beginning of `map`, as bytes: for vigia_msgpack_next(), or to look into it
 * again. VIGIA_NONE: it has no such key, or is no map. */
VIGIA_API int vigia_msgpack_find(struct vigia_slice map, const char *key, struct vigia_slice *value,
                                 struct vigia_error *err);
/* The same by index, from 0, in an array. */
VIGIA_API int vigia_msgpack_at(struct vigia_slice array, size_t index, struct vigia_slice *value,
                               struct vigia_error *err);

/* The object of an event as msgpack, whichever of the library's serializers wrote it (a store made for JSON keeps
 * JSON). Clears and uses the buffer where it is not msgpack already. *object is valid until that or the event's batch
 * changes. EDESERIAL: it is another serializer's. */
VIGIA_API int vigia_event_object(const struct vigia_event *event, struct vigia_buffer *buffer,
                                 struct vigia_slice *object, struct vigia_error *err);
/* The whole event as one line of JSON, as `vigia events` prints it, in the buffer, which is cleared first. *text may be
 * NULL. Behind its end stands a NUL. */
VIGIA_API int vigia_event_json(const struct vigia_event *event, struct vigia_buffer *buffer, struct vigia_slice *text,
                               struct vigia_error *err);
/* The same for one msgpack value, an object or a part of it. `value` must not point into the buffer. */
VIGIA_API int vigia_msgpack_to_json(struct vigia_slice value, struct vigia_buffer *buffer, struct vigia_slice *text,
                                    struct vigia_error *err);

/* ---- Store: life ---- */

struct vigia_store; /* a handle on a store; several handles of one file share it */

enum vigia_durability {
	VIGIA_DURABILITY_COMMIT = 0, /* an append that returned survives power loss */
	VIGIA_DURABILITY_NONE,       /* survives the death of the process, not power loss */
	VIGIA_DURABILITY_INTERVAL /* waits in memory for the next commit, at most commit_interval. A crash loses what waits
	                           */
};

/* How to open. Always start from vigia_store_options_init(). Names, units, defaults, limits: core/option_tables.c. */
struct vigia_store_options {
	size_t size; /* set by vigia_store_options_init() */
	/* about this handle */
	bool readonly;                   /* never create or write */
	bool create;                     /* make the file if there is none (default true) */
	bool allow_network_fs;           /* NFS and its like are refused otherwise */
	int64_t long_polling_timeout_ns; /* of a read that waits and names no timeout */
	int64_t max_batch_bytes;         /* limit of one result; at least one event comes */
	int64_t checkpoint_interval_ns;  /* longest time that progress waits for a commit */
	bool collect;                    /* remove old events in the background (default true) */
	int64_t cache_size;              /* of the Lua binding: decoded events that the watchers of a handle share */
	int64_t map_size_bytes;          /* address space kept for the file, 0 = 1 TiB or what the system grants */
	int64_t commit_queue_bytes;      /* durability "interval": so much waits in memory at most */
	/* about the file: given when it is made, refused if they differ later, changed by vigia_store_configure(). The
	 * `*_given` bits tell "asked for" from "default". */
	int64_t max_event_size_bytes;
	int durability;             /* enum vigia_durability */
	int64_t commit_interval_ns; /* durability "interval": longest time that an append waits for its commit */
	const char
		*serializer; /* of the objects: "msgpack", "json", or an application's own, which Lua functions carry out */
	const char *events_bucket; /* names of the LMDB databases inside the file, 1..64 bytes */
	const char *checkpoint_bucket;
	int64_t gc_cadence_ns;       /* how often old events are removed */
	int64_t gc_age_threshold_ns; /* how old they must be, 0 = never */
	int64_t gc_max_records_per_run;
	int64_t gc_max_duration_ns;    /* of one run */
	int64_t checkpoint_ttl_ns;     /* a checkpoint unused for this long no longer blocks removal, 0 = it always does */
	int64_t max_events, max_bytes; /* keep no more than this, 0 = any number */
	bool retention_passes_checkpoints; /* max_events and max_bytes may remove what a lagging watcher has not seen */
	bool max_event_size_given, durability_given, commit_interval_given, events_bucket_given, checkpoint_bucket_given,
		serializer_given;
	bool gc_cadence_given, gc_age_threshold_given, gc_max_records_per_run_given, gc_max_duration_given,
		checkpoint_ttl_given;
	bool max_events_given, max_bytes_given, retention_passes_checkpoints_given;
	bool journal; /* the file's too: appends go through a journal, with one sync instead of two */
	bool journal_given;
	int64_t max_transaction_bytes; /* of what a transaction keeps in memory */
	int64_t transaction_retries;   /* how often a transaction is run again after a conflict */
};

VIGIA_API void vigia_store_options_init_sized(struct vigia_store_options *options, size_t size);
/* Set the size and all defaults. */
static inline void vigia_store_options_init(struct vigia_store_options *options)
{
	vigia_store_options_init_sized(options, sizeof *options);
}

/**
 * Open the store in the file `path`, or make it. ":memory:" gives a store without a file that lives as long as its
 * handle, "postgresql://HOST/DATABASE?log=NAME" one in a database, by libvigia-pg.
 *
 * Returns:   VIGIA_OK and *out. ENOTFOUND, EPERM, ENOTSTORE, EFORMAT, ETRUNCATED, ELINKED, ENETFS, ECONFLICT, EOPTION,
 *            ETWICE, EIO, ENOMEM
 * Ownership: *out is the caller's, ended by vigia_store_free(). `options` is only read, NULL means the defaults
 * Threads:   any. The same file opened twice in one process is one store inside
 */
VIGIA_API int vigia_store_open(const char *path, const struct vigia_store_options *options, struct vigia_store **out,
                               struct vigia_error *err);

/**
 * Change settings of the file: those of `changes` whose `*_given` bit is set. The others are left alone. Other
 * processes work under the new settings from their next commit on.
 *
 * Returns:   VIGIA_OK. EOPTION naming all that is wrong, bucket names (they cannot be changed) among it. EREADONLY,
 *            ECLOSED, EIO, ENOMEM
 * Threads:   any
 */
VIGIA_API int vigia_store_configure(struct vigia_store *store, const struct vigia_store_options *changes,
                                    struct vigia_error *err);

/* End the service of this handle: every waiting call returns, every later one is ECLOSED. Safe twice, any thread. What
 * waits for its commit is committed, for which a full map is exceeded. What finds no room on a full disk is lost.
 * vigia_store_sync() before tells whether the commit works, and keeps what waits if it does not. */
VIGIA_API void vigia_store_close(struct vigia_store *store);

/* Close, and give up the pointer. Memory and files go when the last call and registry that use them are gone. NULL is
 * fine. */
VIGIA_API void vigia_store_free(struct vigia_store *store);

/* ---- Store: append and read ---- */

/**
 * Append `count` events, all or none, under consecutive numbers.
 *
 * At durability "interval" they are only copied to a queue, *first_seq is 0, and the next commit stores them
 * (store/queue.h). While commits fail, appends do.
 *
 * Returns:   VIGIA_OK once they are durable, *first_seq = the first one's number (may be NULL). EINVAL and ESERIAL name
 *            the field, ETOOBIG, EREADONLY, EFULL, EDISKFULL, EIO: nothing was stored. EUNKNOWN: look before storing
 *            again
 * Threads:   any. Callers at the same time share one sync
 */
VIGIA_API int vigia_store_append(struct vigia_store *store, const struct vigia_new_event *events, size_t count,
                                 uint64_t *first_seq, struct vigia_error *err);

/**
 * Commit now what waits in memory (durability "interval"), or put on the disk what was committed (durability "none").
 * *seq_num (may be NULL) becomes the last number ever given.
 *
 * Returns:   VIGIA_OK, or the errors of vigia_store_append(): what waits goes on waiting
 * Threads:   any
 */
VIGIA_API int vigia_store_sync(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err);

/* Conditions of an append: {.size = sizeof options, ...}, the rest zero. */
struct vigia_append_options {
	size_t size;
	bool if_last_given; /* store only if the last number ever given is `if_last` */
	uint64_t if_last;
	struct vigia_slice key; /* 1..255 bytes of any kind; NULL, 0: none. The whole call is stored once under a key,
	                           however often sent */
};

/**
 * As vigia_store_append(), under conditions. NULL options: none.
 *
 * A key is kept for as long as the last event it brought. A call with a key that is known stores nothing, whatever its
 * events and if_last are, and returns the first number of the call that brought it, with *existed true (may be NULL).
 *
 * Returns:   as vigia_store_append(). ESEQUENCE, naming both numbers: nothing was stored. EINVAL: the key is empty or
 *            too long
 */
VIGIA_API int vigia_store_append_with(struct vigia_store *store, const struct vigia_new_event *events, size_t count,
                                      const struct vigia_append_options *options, uint64_t *first_seq, bool *existed,
                                      struct vigia_error *err);

/* ---- Transactions and state ---- */

/*
 * Buckets keep values by key in the store's file, beside the log. A bucket is made by its first value. Names have 1 to
 * 64 bytes of [A-Za-z0-9_.-]. A value is one msgpack value, as an event's object.
 *
 * A transaction reads and changes buckets, and appends events: all at once, or nothing. Transactions are serializable,
 * over all processes. No lock and no snapshot is held between two calls: the commit checks that nothing that was read
 * has changed. If it has, the call that notices returns ETRANSACTION, and so does every later one: run the whole again,
 * as vigia_transaction_run() does.
 */
struct vigia_transaction;

/* Keys are strings of 1 to 255 bytes, or integers, which sort before strings. */
struct vigia_key {
	bool is_integer;
	int64_t integer;
	struct vigia_slice text;
};

/* Part of a bucket: {.size = sizeof range, ...}, the rest zero: all of it. */
struct vigia_range {
	size_t size;
	const struct vigia_key *from, *to; /* both included. NULL: from the first, to the last */
	struct vigia_slice prefix;         /* the strings that begin with it, instead of from and to */
	bool reverse;                      /* the last one first */
	int64_t limit;                     /* 0: no limit */
};

/**
 * Begin a transaction. vigia_transaction_free() ends it, and forgets what was not committed.
 *
 * Returns:   VIGIA_OK, ECLOSED, EFORKED, ENOMEM
 * Threads:   a transaction is used by one thread at a time
 */
VIGIA_API int vigia_transaction_begin(struct vigia_store *store, struct vigia_transaction **out,
                                      struct vigia_error *err);
VIGIA_API void vigia_transaction_free(struct vigia_transaction *tx); /* NULL is fine */
/* Forget everything, to run it again. */
VIGIA_API void vigia_transaction_reset(struct vigia_transaction *tx);

/**
 * The value of a key, as this transaction left it. VIGIA_NONE: there is none. *value is valid until the next call.
 *
 * Returns:   VIGIA_OK, VIGIA_NONE, ETRANSACTION, EDAMAGED, ETXSIZE, EINVAL, or the errors of vigia_store_read()
 */
VIGIA_API int vigia_transaction_get(struct vigia_transaction *tx, const char *bucket, const struct vigia_key *key,
                                    struct vigia_slice *value, struct vigia_error *err);
/* Set it. Copies the value. ETOOBIG: it is larger than max_event_size. ESERIAL: it is no msgpack value. */
VIGIA_API int vigia_transaction_put(struct vigia_transaction *tx, const char *bucket, const struct vigia_key *key,
                                    struct vigia_slice value, struct vigia_error *err);
/* Remove it, if it is there. */
VIGIA_API int vigia_transaction_delete(struct vigia_transaction *tx, const char *bucket, const struct vigia_key *key,
                                       struct vigia_error *err);

/* Called for each row. It may use the transaction. VIGIA_OK: go on. Anything else ends the range, which returns it. */
typedef int (*vigia_row_fn)(void *ctx, const struct vigia_key *key, struct vigia_slice value);
/* The keys of a bucket in order, with what this transaction has put and deleted. NULL range: all. Returns as get. */
VIGIA_API int vigia_transaction_range(struct vigia_transaction *tx, const char *bucket, const struct vigia_range *range,
                                      vigia_row_fn fn, void *ctx, struct vigia_error *err);

/* Append events with the commit. Copies them. Of the conditions only `key` is allowed. */
VIGIA_API int vigia_transaction_append(struct vigia_transaction *tx, const struct vigia_new_event *events, size_t count,
                                       const struct vigia_append_options *options, struct vigia_error *err);

/**
 * Commit. After it the transaction has ended: only its numbers, reset and free are left.
 *
 * Returns:   VIGIA_OK: durable as the store's appends are. ETRANSACTION: nothing was stored, run it again. The error of
 * a read that failed, but for EDAMAGED: what was made of it is not stored. Or the errors of vigia_store_append()
 */
VIGIA_API int vigia_transaction_commit(struct vigia_transaction *tx, struct vigia_error *err);
/* After a commit: how many calls of append there were, and the numbers of one. Returns whether its key was known: then
 * the numbers are those of the append that brought it. */
VIGIA_API size_t vigia_transaction_appends(const struct vigia_transaction *tx);
VIGIA_API bool vigia_transaction_numbers(const struct vigia_transaction *tx, size_t index, uint64_t *first,
                                         uint64_t *last);

typedef int (*vigia_transaction_fn)(void *ctx, struct vigia_transaction *tx, struct vigia_error *err);
/* Call fn and commit, and again after a conflict, transaction_retries times. If fn returns anything but VIGIA_OK,
 * nothing is stored and that is returned. */
VIGIA_API int vigia_transaction_run(struct vigia_store *store, vigia_transaction_fn fn, void *ctx,
                                    struct vigia_error *err);

/* ---- Dead letters ---- */

/* An event that a watcher's handler failed on max_retries times, with retry_strategy VIGIA_RETRY_DEAD_LETTER. It is
 * known by the watcher and the event's number, and stays when the event is removed. */
struct vigia_dead_letter {
	const char *watcher_id;
	uint64_t seq_num;
	uint64_t attempts;                   /* of its handler */
	int64_t failed_at_ns;                /* the last one */
	bool retry;                          /* a retry was requested */
	struct vigia_slice error, traceback; /* of the last one; 16 KiB at most */
	struct vigia_event event;
};

/* Called for each letter. Its slices are valid meanwhile. It may use the store. Not VIGIA_OK ends it, and is
 * returned. */
typedef int (*vigia_dead_letter_fn)(void *ctx, const struct vigia_dead_letter *letter);
/**
 * The dead letters of a watcher (NULL: of all, in the order of the ids), from the event `from` on.
 *
 * Returns:   VIGIA_OK, what fn returned, EINVAL, EDAMAGED, or the errors of vigia_store_read()
 * Threads:   any
 */
VIGIA_API int vigia_dead_letters(struct vigia_store *store, const char *watcher_id, uint64_t from,
                                 vigia_dead_letter_fn fn, void *ctx, struct vigia_error *err);
/**
 * Ask the watcher to handle a letter again (seq_num 0: all of its letters). The request is durable: its owner, in
 * whatever process, does it before new events, now or when it is started. On success the letter goes.
 *
 * Returns:   VIGIA_OK, and how many in *count (may be NULL). VIGIA_NONE: there is none. Or the errors of
 *            vigia_store_append()
 */
VIGIA_API int vigia_dead_letter_retry(struct vigia_store *store, const char *watcher_id, uint64_t seq_num,
                                      uint64_t *count, struct vigia_error *err);
/* Remove it, or all of them. As above. */
VIGIA_API int vigia_dead_letter_drop(struct vigia_store *store, const char *watcher_id, uint64_t seq_num,
                                     uint64_t *count, struct vigia_error *err);

/* Hide a bucket at once, and remove its values in slices. VIGIA_NONE: there is none. */
VIGIA_API int vigia_store_drop_bucket(struct vigia_store *store, const char *bucket, struct vigia_error *err);
/* The buckets in the order of their names, and how many values each has. Not VIGIA_OK ends it, and is returned. */
typedef int (*vigia_bucket_fn)(void *ctx, const char *bucket, uint64_t values);
VIGIA_API int vigia_store_buckets(struct vigia_store *store, vigia_bucket_fn fn, void *ctx, struct vigia_error *err);

/* ---- Timers ---- */

/*
 * A timer is an event that is appended later: at its time, or as soon after as a handle that may write is open in any
 * process. That happens once, in the commit that removes the timer, and the event's timestamp is not before the time.
 * Times are those of the system's clock of the day, and follow it when it is set. A process that opened the store with
 * `collect` = false notices the first timers of others when it calls any function of the store.
 */
struct vigia_schedule_options {
	size_t size;
	struct vigia_slice key; /* of the event, as in vigia_append_options. NULL, 0: none */
};

/**
 * Append an event at a time. One that has passed: at once. NULL options: none.
 *
 * With a key that a timer or a stored event has, nothing is changed, and *existed is true: *id is the timer's, or 0 and
 * *seq_num the number of the event. If an event is appended under the key of a timer, the timer brings none. `id`,
 * `existed` and `seq_num` may be NULL.
 *
 * Returns:   VIGIA_OK once the timer is durable, or the errors of vigia_store_append(). EINVAL: the time is before 1970
 * Threads:   any. The first timer of a process starts a thread
 */
VIGIA_API int vigia_schedule(struct vigia_store *store, int64_t at_ns, const struct vigia_new_event *event,
                             const struct vigia_schedule_options *options, uint64_t *id, bool *existed,
                             uint64_t *seq_num, struct vigia_error *err);
/* Remove a timer. VIGIA_NONE: there is none of this id, or its event was appended. Ids are never reused. */
VIGIA_API int vigia_unschedule(struct vigia_store *store, uint64_t id, struct vigia_error *err);

struct vigia_timer {
	uint64_t id;
	int64_t at_ns;            /* when it is due */
	struct vigia_slice key;   /* len 0: none */
	struct vigia_event event; /* with the same time, and without a number */
};

/* Which timers: {.size = sizeof query, ...}, the rest zero: all. */
struct vigia_timer_query {
	size_t size;
	int64_t from_at_ns, to_at_ns; /* due from then on, and until then, both included */
	bool to_given;
	struct vigia_slice operation, object_type, key; /* len 0: any */
	int64_t limit;                                  /* 0: no limit */
};

/* Called for each. What it is given is valid until it returns. It may use the store. Not VIGIA_OK ends the list, and is
 * returned. */
typedef int (*vigia_timer_fn)(void *ctx, const struct vigia_timer *timer);
/* The timers in the order of their times. NULL query: all. EDAMAGED, behind the others: one that does not match its
 * checksum. */
VIGIA_API int vigia_timers(struct vigia_store *store, const struct vigia_timer_query *query, vigia_timer_fn fn,
                           void *ctx, struct vigia_error *err);

/* ---- Batches and reads ---- */

struct vigia_batch; /* events that were read; reusable */

VIGIA_API struct vigia_batch *vigia_batch_new(void); /* NULL: no memory */
VIGIA_API void vigia_batch_free(struct vigia_batch *batch);
VIGIA_API size_t vigia_batch_count(const struct vigia_batch *batch);
/* Did the read that filled it reach the end of the log? */
VIGIA_API bool vigia_batch_at_end(const struct vigia_batch *batch);

/**
 * The event at `index` of the batch. Its checksum is checked here.
 *
 * Returns:   VIGIA_OK. EDAMAGED or EDESERIAL with seq_num in err: the others in the batch can still be read
 * Ownership: the slices point into the batch, valid until it is read into again or freed
 */
VIGIA_API int vigia_batch_event(const struct vigia_batch *batch, size_t index, struct vigia_event *out,
                                struct vigia_error *err);

enum vigia_scan {
	VIGIA_SCAN_SLICE =
		0,         /* drop events for about 10 ms at most, then return what there is. *next says how far it came */
	VIGIA_SCAN_END /* go on to the end of the log, `limit` or max_batch_bytes, however long that takes */
};

/* What to read: {.size = sizeof request, ...}, the rest zero. */
struct vigia_read {
	size_t size;
	struct vigia_iterator from;
	struct vigia_filter filter;
	int64_t limit;                   /* most events to return, 0 = no limit */
	int64_t timeout_ns;              /* 0 = do not wait, < 0 = the store's long_polling_timeout */
	int scan;                        /* enum vigia_scan */
	const struct vigia_where *where; /* beside the filter's lists: all of these places must match, at most 16 */
	size_t where_count;
};

/**
 * Read events in order. Wait for one if there is none and `timeout_ns` allows.
 *
 * Shape:     the batch holds 0..limit events, seq_num strictly increasing. *next starts after the last one looked at
 * Returns:   VIGIA_OK, also with no event (time over, store closed while waiting, or a slice of dropped events:
 *            vigia_batch_at_end() tells whether there is more). ECLOSED if it was closed before. EIO, ENOMEM
 * Threads:   any. Holds no transaction while it waits
 */
VIGIA_API int vigia_store_read(struct vigia_store *store, const struct vigia_read *request, struct vigia_batch *batch,
                               struct vigia_iterator *next, struct vigia_error *err);

/* The last number ever assigned, 0 if none was. */
VIGIA_API int vigia_store_latest(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err);
/* What a read would look at, from where it begins to the end of the log. The index has a record for each block of 4096
 * events, of the types and operations in it, and where; it is kept as events are stored. */
struct vigia_explain {
	uint64_t from, to;         /* the first event and the last; 0 = there is none */
	uint64_t events;           /* how many these are */
	uint64_t events_looked_at; /* of them: those whose bytes are looked at. The index rules out the others */
	uint64_t blocks;           /* those that the events are in */
	uint64_t blocks_indexed;   /* of them: those whose record is used. The last block has none before it is full */
	uint64_t blocks_looked_at; /* of them: those in which events are looked at */
	uint64_t places;           /* that the filter names: tested on the bytes of what is looked at */
	bool by_index;             /* the index is used: the filter has types or operations, and the store an index */
};

/**
 * What would vigia_store_read() look at for this request? Only where it begins and its filter count.
 *
 * Returns:   VIGIA_OK and *out, or the errors of vigia_store_read()
 * Threads:   any
 */
VIGIA_API int vigia_store_explain_sized(struct vigia_store *store, const struct vigia_read *request,
                                        struct vigia_explain *out, size_t size, struct vigia_error *err);
static inline int vigia_store_explain(struct vigia_store *store, const struct vigia_read *request,
                                      struct vigia_explain *out, struct vigia_error *err)
{
	return vigia_store_explain_sized(store, request, out, sizeof *out, err);
}

/* The number of the oldest event there is. VIGIA_NONE and 0 in a store that holds none. */
VIGIA_API int vigia_store_oldest(struct vigia_store *store, uint64_t *seq_num, struct vigia_error *err);
/* The first event stored at or after a time. VIGIA_NONE and 0 if there is none. */
VIGIA_API int vigia_store_find_time(struct vigia_store *store, int64_t at_ns, uint64_t *seq_num,
                                    struct vigia_error *err);
/* Remove all events up to and including seq_num. *removed may be NULL. EPOSITION beyond the last event. */
VIGIA_API int vigia_store_trim(struct vigia_store *store, uint64_t seq_num, uint64_t *removed, struct vigia_error *err);

enum vigia_gc_reason {
	VIGIA_GC_DONE = 0,      /* nothing left is eligible for removal */
	VIGIA_GC_OFF,           /* no age and no limit is set */
	VIGIA_GC_NO_CHECKPOINT, /* there is no checkpoint: old events are kept for future watchers */
	VIGIA_GC_HELD,          /* the checkpoint or hold of `held_by` keeps the rest */
	VIGIA_GC_BOUND          /* the run was long enough (gc_max_records_per_run, gc_max_duration): run it again */
};

struct vigia_gc {
	uint64_t removed, oldest; /* the oldest event that is left, 0 = none */
	enum vigia_gc_reason reason;
	char held_by[256]; /* the watcher id whose checkpoint holds the rest back, "" = none */
	uint64_t left;     /* BOUND: how many more may go by their age and number; those beyond max_bytes are not counted */
};

/**
 * One run of the garbage collection, now: remove what is older than gc_age_threshold and not after the smallest
 * checkpoint or hold, and what is beyond max_events and max_bytes. Works in small commits that let appends go first.
 *
 * Returns:   VIGIA_OK and *out (may be NULL). EREADONLY, ECLOSED, EIO, ...: what was removed before stays removed
 * Threads:   any. Also while another process collects
 */
VIGIA_API int vigia_store_gc_sized(struct vigia_store *store, struct vigia_gc *out, size_t size,
                                   struct vigia_error *err);
static inline int vigia_store_gc(struct vigia_store *store, struct vigia_gc *out, struct vigia_error *err)
{
	return vigia_store_gc_sized(store, out, sizeof *out, err);
}

/**
 * Copy the store, as it is at one moment, into a new file, while others go on using it. `compact`: without the free
 * pages. The copy is a store of its own, with another id, and has its name only once it is whole. While a `compact` one
 * goes on, a map that must grow (small address space) or lend room cannot: those calls of this process return EFULL.
 *
 * Returns:   VIGIA_OK. EFILEEXISTS: nothing is overwritten. EDISKFULL, EPERM, ENOTFOUND, EIO, ENOMEM: nothing is left
 *            behind. EUNSUPPORTED
 */
VIGIA_API int vigia_store_backup(struct vigia_store *store, const char *path, bool compact, struct vigia_error *err);

/* ---- Store: checkpoints ---- */

/* A checkpoint is the last number a watcher has finished with. `watcher_id` is a string of 1..255 bytes. All are
 * durable. Of a watcher that this process runs, put is vigia_watcher_checkpoint(), from any thread. Of one that another
 * process runs, put and delete are EOWNED: vigia_store_seek() moves it. */
VIGIA_API int vigia_checkpoint_put(struct vigia_store *store, const char *watcher_id, uint64_t seq_num,
                                   struct vigia_error *err);
VIGIA_API int vigia_checkpoint_get(struct vigia_store *store, const char *watcher_id, uint64_t *seq_num,
                                   struct vigia_error *err);
/* Also the hold of a watcher that has no checkpoint yet. */
VIGIA_API int vigia_checkpoint_delete(struct vigia_store *store, const char *watcher_id, struct vigia_error *err);

/**
 * Wait until the checkpoint of a watcher is `seq_num` or more, and put it into *saved (NULL: not asked for). Whoever
 * runs the watcher, in any process, saves it as soon as it is reached, also where it would save later
 * (checkpoint_interval). An id that has no checkpoint, or does not run, is waited for.
 *
 * Units:     timeout_ns from now, < 0 = no limit
 * Returns:   VIGIA_OK; ETIMEOUT; ESTATE: the caller is that watcher's handler; ECLOSED: the store was closed meanwhile;
 *            EINVAL, EIO, EREPLACED
 * Threads:   any; holds no lock and no transaction while it waits. Watchers that this thread drives do not run
 * meanwhile
 */
VIGIA_API int vigia_checkpoint_wait(struct vigia_store *store, const char *watcher_id, uint64_t seq_num,
                                    int64_t timeout_ns, uint64_t *saved, struct vigia_error *err);

typedef void (*vigia_checkpoint_fn)(void *ctx, const char *watcher_id, uint64_t seq_num);
/* Call `fn` for each checkpoint, ids in byte order. `fn` runs without a transaction and may use the store. */
VIGIA_API int vigia_checkpoint_each(struct vigia_store *store, void *ctx, vigia_checkpoint_fn fn,
                                    struct vigia_error *err);

/* A hold keeps events for a watcher that has no checkpoint yet. It is made with the watcher, gone with its first
 * checkpoint. */
VIGIA_API int vigia_hold_each(struct vigia_store *store, void *ctx, vigia_checkpoint_fn fn, struct vigia_error *err);

/* ---- Registry and watchers ---- */

struct vigia_registry; /* watchers by id, driven by one thread */
struct vigia_watcher;  /* one watcher in a registry; the registry's until it is freed (see vigia_watcher_release) */

enum vigia_watcher_state { VIGIA_IDLE = 0, VIGIA_RUNNING, VIGIA_STOPPING, VIGIA_STOPPED };
enum vigia_retry_strategy { VIGIA_RETRY_BLOCK = 0, VIGIA_RETRY_SKIP, VIGIA_RETRY_DEAD_LETTER };
enum vigia_on_gap { VIGIA_GAP_CONTINUE = 0, VIGIA_GAP_STOP };
enum vigia_on_damage { VIGIA_DAMAGE_STOP = 0, VIGIA_DAMAGE_SKIP };
enum vigia_checkpoint_mode { VIGIA_CHECKPOINT_BATCH = 0, VIGIA_CHECKPOINT_EVENT, VIGIA_CHECKPOINT_MANUAL };

/* How to watch. Always start from vigia_watch_options_init(). Names, units, defaults, limits: core/option_tables.c. */
struct vigia_watch_options {
	size_t size;                                  /* set by vigia_watch_options_init() */
	struct vigia_iterator initial_event_iterator; /* where to start without a checkpoint */
	struct vigia_filter filter;                   /* copied by watch */
	int64_t batch_size;                           /* events fetched at a time; most in a transaction */
	int64_t buffer_size;                          /* events held before the handler at most */
	int64_t initial_backoff_ns;
	int64_t max_backoff_ns;
	bool jitter;         /* a random delay between 0 and the backoff */
	int64_t max_retries; /* attempts in all before "skip" gives up */
	int retry_strategy;  /* enum vigia_retry_strategy */
	int on_gap;          /* enum vigia_on_gap: events that it had not seen were removed */
	int on_damage;       /* enum vigia_on_damage: an event whose bytes are damaged or cannot be decoded */
	int checkpoint;      /* enum vigia_checkpoint_mode */
	bool ephemeral;      /* never read or write a checkpoint */
	bool auto_start;
	const struct vigia_where *where; /* beside the filter's lists, as in vigia_read; copied by watch */
	size_t where_count;
	bool transactional; /* effects and progress are one commit: the handler gets a transaction */
	/* Events with equal keys are handled in order, others independently, in so many lanes. 1: none. */
	int64_t lanes;
	struct vigia_slice lane_key; /* a path, as in vigia_where: the key. NULL, 0: the handler's `key` tells it */
	int64_t lane_window;         /* how many events a lane may be ahead of the checkpoint */
};

VIGIA_API void vigia_watch_options_init_sized(struct vigia_watch_options *options, size_t size);
/* Set the size and all defaults. */
static inline void vigia_watch_options_init(struct vigia_watch_options *options)
{
	vigia_watch_options_init_sized(options, sizeof *options);
}

/* What a handler is told beside its event. */
struct vigia_attempt {
	struct vigia_watcher *watcher;
	uint64_t attempt; /* 1 for the first try */
	bool stopping;
	/* Of a transactional watcher: it has what earlier events wrote that are not committed yet. The watcher commits it
	 * with its progress. What the event wrote is taken back if its handler fails. Valid until the event is done or
	 * failed. */
	struct vigia_transaction *tx; /* NULL: it is none */
	/* The event is one of the watcher's dead letters, which is tried again. NULL: it is none. Valid as tx is. */
	const struct vigia_dead_letter *dead_letter;
};

/* What handles events: {.size = sizeof handler, .handle = ...}. All run on the registry's thread. All but `handle` may
 * be NULL. */
struct vigia_handler {
	size_t size;
	/* Handle one event. VIGIA_OK: done. VIGIA_NONE: not wanted after all (passed, not counted). VIGIA_PENDING: call
	 * resume when `*resume_mono_ns` has come (INT64_MAX: no time), an event was appended, or, once, the watcher is
	 * stopping. < 0: failed, and err->message, where it was filled in, says why. EDAMAGED and EDESERIAL are never
	 * retried, see on_damage. The event is valid until it is done or failed. */
	int (*handle)(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
	              int64_t *resume_mono_ns, struct vigia_error *err);
	int (*resume)(void *ctx, bool stopping, int64_t *resume_mono_ns, struct vigia_error *err);
	void (*free)(void *ctx); /* the watcher is gone; the last call */
	void *ctx;
	/* The event's bytes are bad (`err`, which has its number): handle is not called. For reporting. May be NULL. */
	void (*damaged)(void *ctx, const struct vigia_attempt *attempt, const struct vigia_error *err);
	/* Does it have the event of this number from before (a cache)? Then handle, called at once, gets the number and no
	 * more, and the bytes are not looked at. May be NULL. */
	bool (*knows)(void *ctx, uint64_t seq_num);
	/* The ctx of a lane, from 0: of a handler with lanes that goes on later, so that each lane has its own. NULL from
	 * it: no memory. NULL: all lanes have `ctx`. */
	void *(*lane)(void *ctx, unsigned lane);
	/* The key of an event for lanes without `lane_key`, as a hash. < 0: it is not known, which is the event's failure.
	 */
	int (*key)(void *ctx, const struct vigia_event *event, uint64_t *hash, struct vigia_error *err);
};

/* The log could not be read: not even whether the lag is 0 is known. */
#define VIGIA_LAG_UNKNOWN INT64_MAX

struct vigia_watcher_stats {
	enum vigia_watcher_state state;
	struct vigia_iterator next; /* what it will look at next */
	bool has_checkpoint;
	uint64_t checkpoint;             /* durable */
	uint64_t last_processed_seq_num; /* 0 = none */
	int64_t last_processed_at_ns;    /* the time of that event */
	int64_t last_listen_at_ns;       /* the last fetch that succeeded, 0 = none */
	uint64_t lag; /* events behind the last one in the store, before the filter; or VIGIA_LAG_UNKNOWN */
	uint64_t processed, failed, retried, skipped, missed, fetch_errors;
	uint64_t blocked_seq_num;      /* the event it retries, or for which it stopped; 0 = none */
	struct vigia_error last_error; /* code 0 = none */
	/* of a handler on a thread of its own, a script */
	uint64_t reloads;                     /* how often new code took over */
	struct vigia_error last_reload_error; /* why new code did not take over; code 0: it did, or was not tried */
	/* of all: when it stopped last, why its checkpoint could not be saved, or what its stop function (a script's)
	 * failed with. Code 0: neither */
	struct vigia_error stop_error;
	uint64_t dead_lettered; /* events that were put aside */
	bool paused;            /* it begins no event until it is resumed (vigia_steer.h) */
};

enum vigia_log_level { VIGIA_LOG_DEBUG = 0, VIGIA_LOG_INFO, VIGIA_LOG_WARN, VIGIA_LOG_ERROR };
/* Receives one record a call. Runs on the registry's thread. The library itself never writes to stderr. */
typedef void (*vigia_log_fn)(void *ctx, enum vigia_log_level level, const char *message);

/* A registry over `store`, which it keeps alive. NULL: no memory. */
VIGIA_API struct vigia_registry *vigia_registry_new(struct vigia_store *store);
VIGIA_API void vigia_registry_log(struct vigia_registry *registry, void *ctx, vigia_log_fn fn);
/* Stop all watchers (waiting for none) and free everything. NULL is fine. */
VIGIA_API void vigia_registry_free(struct vigia_registry *registry);

/**
 * Start a watcher. `handler` may be NULL with options->auto_start = false.
 *
 * Returns:   VIGIA_OK and *out (may be NULL). EEXISTS, EOWNED, EOPTION, EINVAL, ECLOSED, ENOMEM. On error handler->free
 *            is not called.
 * Ownership: the handler is copied. ctx is the registry's from now on. *out lives as long as the registry, or see
 *            vigia_watcher_release()
 */
VIGIA_API int vigia_registry_watch(struct vigia_registry *registry, const char *watcher_id,
                                   const struct vigia_handler *handler, const struct vigia_watch_options *options,
                                   struct vigia_watcher **out, struct vigia_error *err);

/**
 * Start a watcher whose handler is a Lua script, in a Lua state and on a thread of its own. Link with libvigia-lua
 * (pkg-config vigia-lua, CMake vigia::lua), which brings Lua 5.4. The application itself needs none.
 *
 * `script` is a path (with a slash in it, or ending in .lua) or a module's name. `options` is a Lua table as text, or
 * NULL. It may hold what registry:watch of the Lua API takes: "{set = {greeting = 'hello'}, reload = true, filter =
 * {object_types = {'User'}}}". Where it says nothing, the script's own table decides. watcher_id NULL: the script's
 * name or its `id`.
 *
 * Returns:   as vigia_registry_watch(). ESCRIPT if the script does not load or its init fails. EINVAL: `options` is no
 *            Lua table
 * Threads:   the registry's. The handler runs also while the registry is not driven
 */
VIGIA_LUA_API int vigia_registry_watch_script(struct vigia_registry *registry, const char *watcher_id,
                                              const char *script, const char *options, struct vigia_watcher **out,
                                              struct vigia_error *err);
VIGIA_API int vigia_registry_get(struct vigia_registry *registry, const char *watcher_id, struct vigia_watcher **out,
                                 struct vigia_error *err);

/* One round: do what is due. If nothing is, wait up to timeout_ns (< 0 without end) for something and do that. VIGIA_OK
 * if something was done, VIGIA_NONE if nothing was, EINTERRUPTED after vigia_registry_interrupt(). */
VIGIA_API int vigia_registry_step(struct vigia_registry *registry, int64_t timeout_ns, struct vigia_error *err);
/* Rounds until no watcher is running any more, or EINTERRUPTED. */
VIGIA_API int vigia_registry_run(struct vigia_registry *registry, struct vigia_error *err);
/* Make a step or run in progress, or else the next one, return EINTERRUPTED soon. Any thread, not from a signal
 * handler. */
VIGIA_API void vigia_registry_interrupt(struct vigia_registry *registry);
/* A descriptor that is readable while there is work for a step. It is the registry's. < 0: an error. Starts one helper
 * thread. */
VIGIA_API int vigia_registry_pollfd(struct vigia_registry *registry, struct vigia_error *err);
/* Stop all watchers at the same time. VIGIA_OK, or ESTATE naming those that did not stop within timeout_ns. */
VIGIA_API int vigia_registry_stop(struct vigia_registry *registry, int64_t timeout_ns, struct vigia_error *err);

/* Take a watcher out of the registry and free it: no pointer to it may be used any more. Its checkpoint stays.
 * ENOWATCHER, or ESTATE: it is running or stopping. */
VIGIA_API int vigia_registry_remove(struct vigia_registry *registry, const char *watcher_id, struct vigia_error *err);

/* Give up this pointer. Without this call a watcher that was replaced under its id (a few kB) is kept until its
 * registry is freed. With it, it is freed when it is replaced, or now. The watcher itself runs on, and
 * vigia_registry_get() may find it while it has its id. NULL is fine. */
VIGIA_API void vigia_watcher_release(struct vigia_watcher *watcher);

VIGIA_API const char *vigia_watcher_id(const struct vigia_watcher *watcher);
VIGIA_API void vigia_watcher_stats_sized(struct vigia_watcher *watcher, struct vigia_watcher_stats *out, size_t size);
static inline void vigia_watcher_stats(struct vigia_watcher *watcher, struct vigia_watcher_stats *out)
{
	vigia_watcher_stats_sized(watcher, out, sizeof *out);
}
VIGIA_API int vigia_watcher_set_handler(struct vigia_watcher *watcher, const struct vigia_handler *handler,
                                        struct vigia_error *err);
VIGIA_API int vigia_watcher_start(struct vigia_watcher *watcher, struct vigia_error *err);
/* Let the handler in progress finish, save progress, stop. VIGIA_OK stopped (or, from its own handler, will stop when
 * that returns). VIGIA_NONE: not yet after timeout_ns. */
VIGIA_API int vigia_watcher_stop(struct vigia_watcher *watcher, int64_t timeout_ns, struct vigia_error *err);
/* Save progress durably. A number below the checkpoint changes nothing. EEPHEMERAL, EPOSITION. */
VIGIA_API int vigia_watcher_checkpoint(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err);
/* Stop, save seq_num as the checkpoint, go on with the event after it. EPOSITION beyond the last event. */
VIGIA_API int vigia_watcher_seek(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err);
/* Take over a script's new code, between two events. ESCRIPT: it does not load. EUNSUPPORTED: no script. */
VIGIA_API int vigia_watcher_reload(struct vigia_watcher *watcher, struct vigia_error *err);

#ifdef __cplusplus
}
#endif

#include "vigia_steer.h"
#include "vigia_transfer.h"
#endif
