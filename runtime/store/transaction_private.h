/*
 * transaction_private.h - a transaction in memory, for the transaction*.c files: what it has read, and what it changes.
 */
#ifndef VIGIA_STORE_TRANSACTION_PRIVATE_H
#define VIGIA_STORE_TRANSACTION_PRIVATE_H

#include "../core/buf.h"
#include "store.h"

/* What an entry or event list costs beside its bytes, as max_transaction_bytes counts. */
enum { VIGIA_TX_ROW_COST = 128 };
/* Of a range, what is read in one transaction of the backend. */
enum { VIGIA_TX_PAGE_ROWS = 512, VIGIA_TX_PAGE_BYTES = 256 * 1024 };

/* A key that was read or is to be written. */
struct tx_entry {
	struct vigia__ordered at; /* of its bucket; first */
	bool read;
	uint64_t version; /* that it was read with; 0: it was not there */
	enum vigia__tx_change { VIGIA_TX_UNCHANGED, VIGIA_TX_PUT, VIGIA_TX_DELETED } change;
	struct vigia_slice value; /* PUT: owned */
	uint64_t mark;            /* the last one behind which it was changed */
	char key[];
};

/* A range that was read: what it held, as a hash of its keys and versions. */
struct tx_span {
	struct tx_span *next; /* owner: the bucket */
	struct vigia__state_key low, high;
	uint64_t hash;
};

struct tx_bucket {
	struct vigia__ordered at; /* of the transaction; first */
	bool read;
	uint32_t id; /* when it was last compared */
	uint64_t version;
	struct vigia__ordered *entries;
	struct tx_span *spans;
	char name[VIGIA_BUCKET_NAME_MAX + 1];
};

/* How an entry was before it was changed behind the mark. */
struct tx_undo {
	struct tx_undo *next; /* owner: the transaction. The last change first */
	struct tx_entry *entry;
	enum vigia__tx_change change;
	struct vigia_slice value; /* owned */
};

struct vigia_transaction {
	struct vigia_store *store;
	unsigned refs; /* its owner's, and those that Lua holds */
	bool lent;     /* a watcher's: the handler cannot commit it */
	struct vigia__ordered *buckets;
	bool read;        /* something */
	uint64_t version; /* of all state, when its reads were last compared */
	bool conflicts, ended;
	int unread; /* a read failed with this code: what was made of it must not be stored. VIGIA_OK: none */
	int64_t begun_mono_ns;
	uint64_t elder; /* this one goes first (elder.h). 0: it does not */
	bool changes;
	size_t bytes;
	struct vigia__append *appends;
	size_t appends_count, appends_cap;
	/* a mark, up to which changes can be taken back. 0: there is none */
	uint64_t mark;
	struct tx_undo *undo;
	size_t mark_appends, mark_bytes;
	bool mark_changes, overflows;
	struct vigia__transact transact; /* while it is committed */
	struct vigia__buf value;         /* of the last get, rows of a range */
};

/* ---- the checks of each call ---- */

int vigia__tx_no_memory(struct vigia_error *err);
/* EINVAL: it has ended. ETRANSACTION: it is in conflict. */
int vigia__tx_usable(struct vigia_transaction *tx, struct vigia_error *err);
/* EREADONLY. */
int vigia__tx_may_write(const struct vigia_transaction *tx, struct vigia_error *err);
/* Account for more memory. ETXSIZE. */
int vigia__tx_grow(struct vigia_transaction *tx, size_t bytes, struct vigia_error *err);
/* The bucket of this name, made if it is new. NULL: ENOMEM. */
struct tx_bucket *vigia__tx_bucket_of(struct vigia_transaction *tx, struct vigia_slice name);

/* ---- reading: inside a transaction of the backend ---- */

/* Call fn in one. */
int vigia__tx_view(struct vigia_transaction *tx, vigia__state_fn fn, void *arg, struct vigia_error *err);
/* Compare all reads with the state as it is there. VIGIA_OK, ETRANSACTION. */
int vigia__tx_compare(struct vigia_transaction *tx, struct vigia__kv *kv, struct vigia_error *err);
/* The same inside a writer's, which may be undone: then other changes get its versions, so nothing of it is kept. */
int vigia__tx_check(struct vigia_transaction *tx, struct vigia__kv *kv, struct vigia_error *err);
/* Before something of it is read: its version as it is now. */
int vigia__tx_begin_bucket(struct vigia__kv *kv, struct tx_bucket *bucket);

void vigia__tx_free_append(struct vigia__append *append);
/* It goes first no more. */
void vigia__tx_elder_end(struct vigia_transaction *tx);
/* Everything that it has read and changed. */
void vigia__tx_forget(struct vigia_transaction *tx);

#endif
