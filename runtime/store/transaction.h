/*
 * transaction.h - transactions (contract X1, X2): reads that lock nothing, changes kept in memory, one commit that
 * checks the reads.
 *
 * Each read is a short transaction of the backend, and notes the version of what it found. If the store's state has a
 * newer version than at the last read, what was read before is compared first: a transaction never sees two states. The
 * commit compares once more, inside the group commit. What was changed by others ends the transaction (ETRANSACTION),
 * and it is run again.
 *
 * A transactional watcher's is lent to the handler of each event in turn. It has a mark before each, so that what a
 * failed one changed can be taken back alone.
 *
 * A transaction is used by one thread at a time.
 */
#ifndef VIGIA_STORE_TRANSACTION_H
#define VIGIA_STORE_TRANSACTION_H

#include "store.h"

/* An encoded event list with its key (len 0: none), for the commit. Copies the bytes. 0, EINVAL, ETXSIZE, ENOMEM. */
int vigia__transaction_add(struct vigia_transaction *tx, const void *bytes, size_t len, const size_t *ends,
                           size_t count, struct vigia_slice key, struct vigia_error *err);
/* As vigia_transaction_commit(), without blocking: submits `pending` (store.h). Neither may move or be freed before it
 * is done. Call vigia__transaction_committed() with what vigia__store_settle() returned. */
int vigia__transaction_submit(struct vigia_transaction *tx, struct vigia__pending *pending, struct vigia_error *err);
void vigia__transaction_committed(struct vigia_transaction *tx, int rc);
/* After a conflict, for the try of that number: forget everything. One that has lost several times goes first
 * (elder.h). */
void vigia__transaction_again(struct vigia_transaction *tx, int64_t tries);
/* It is not run again: its caller gets ETRANSACTION. For the stats. */
void vigia__transaction_given_up(struct vigia_transaction *tx);
/* For a watcher: lend it from now on, so that vigia_transaction_commit() and _reset() refuse. */
void vigia__transaction_lend(struct vigia_transaction *tx);
/* Keep its memory. After vigia_transaction_free() all calls on it fail. */
void vigia__transaction_ref(struct vigia_transaction *tx);
void vigia__transaction_unref(struct vigia_transaction *tx);
/* As vigia_transaction_reset(), of one that is lent. */
void vigia__transaction_clear(struct vigia_transaction *tx);
/* Forget the mark there was, and mark what is there now. */
void vigia__transaction_mark(struct vigia_transaction *tx);
/* Take back all changes and events behind the mark. What was read stays read. */
void vigia__transaction_rollback(struct vigia_transaction *tx);
/* Must what was done behind the mark be done again, through no fault of its own? ETRANSACTION: all of it, after a
 * conflict. ETXSIZE: it found the transaction too large, which was not empty at the mark. */
int vigia__transaction_lost(const struct vigia_transaction *tx);
/* What is held in memory, in bytes, of max_transaction_bytes. */
size_t vigia__transaction_bytes(const struct vigia_transaction *tx);
/* Commit, with what `with` says of a checkpoint and of a change beside. Blocks. Then it is empty again, but after
 * ETRANSACTION: call vigia__transaction_again(). The results of vigia_transaction_commit(). */
int vigia__transaction_save(struct vigia_transaction *tx, const struct vigia__transact *with, struct vigia_error *err);
/* Must its commit wait for such a one? Look again after VIGIA_ELDER_LOOK_NS. A blocking commit waits by itself. */
bool vigia__transaction_waits(const struct vigia_transaction *tx);
enum { VIGIA_ELDER_LOOK_NS = 300000 };
/* Was something that it read changed since? Then every call on it fails. */
bool vigia__transaction_conflicts(const struct vigia_transaction *tx);
struct vigia_store *vigia__transaction_store(struct vigia_transaction *tx);

#endif
