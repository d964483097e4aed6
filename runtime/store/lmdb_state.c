/*
 * lmdb_state.c - buckets, dead letters and timers in LMDB (lmdb_kv.c), and the commit of a transaction.
 */
#include <errno.h>

#include "lane_record.h"
#include "letters.h"
#include "lmdb_private.h"
#include "steer.h"
#include "timer_records.h"

static int count_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__backend_stats *out = arg;
	int rc = vigia__state_counts(kv, &out->buckets, &out->values);
	return rc == 0 ? vigia__letters_count(kv, &out->dead_letters) : rc;
}

int vigia__lmdb_state_counts(struct lmdb_backend *b, MDB_txn *txn, struct vigia__backend_stats *out)
{
	return vigia__lmdb_kv_in(b, txn, VIGIA_MAP_STATE, false, count_in, out, NULL);
}

struct verify {
	void (*found)(void *ctx, const char *text);
	void *ctx;
	uint64_t values;
};

static int verify_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct verify *v = arg;
	int rc = vigia__state_verify(kv, v->found, v->ctx, &v->values);
	if (rc == VIGIA_OK || rc == VIGIA_NONE) rc = vigia__letters_verify(kv, v->found, v->ctx);
	if (rc == VIGIA_OK || rc == VIGIA_NONE) rc = vigia__lane_records_verify(kv, v->found, v->ctx);
	return rc == VIGIA_OK || rc == VIGIA_NONE ? vigia__steer_verify(kv, v->found, v->ctx) : rc;
}

int vigia__lmdb_state_verify(struct lmdb_backend *b, MDB_txn *txn, void (*found)(void *ctx, const char *text),
                             void *ctx, uint64_t *values)
{
	struct verify verify = {found, ctx, 0};
	int rc = vigia__lmdb_kv_in(b, txn, VIGIA_MAP_STATE, false, verify_in, &verify, NULL);
	*values = verify.values;
	return rc;
}

struct sweep {
	uint64_t most;
	bool left;
};

static int sweep_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct sweep *sweep = arg;
	return vigia__state_sweep(kv, sweep->most, &sweep->left);
}

int vigia__lmdb_state_sweep(struct lmdb_backend *b, MDB_txn *txn, uint64_t most, bool *left)
{
	struct sweep sweep = {most, false};
	int rc = vigia__lmdb_kv_in(b, txn, VIGIA_MAP_STATE, true, sweep_in, &sweep, NULL);
	*left = sweep.left;
	return rc == VIGIA_ENOMEM ? ENOMEM : rc;
}

static int timers_count_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	return vigia__timers_count(kv, arg);
}

int vigia__lmdb_timers_count(struct lmdb_backend *b, MDB_txn *txn, uint64_t *count)
{
	return vigia__lmdb_kv_in(b, txn, VIGIA_MAP_TIMERS, false, timers_count_in, count, NULL);
}

static int timers_verify_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct verify *v = arg;
	return vigia__timers_verify(kv, v->found, v->ctx, &v->values);
}

int vigia__lmdb_timers_verify(struct lmdb_backend *b, MDB_txn *txn, void (*found)(void *ctx, const char *text),
                              void *ctx, uint64_t *count)
{
	struct verify verify = {found, ctx, 0};
	int rc = vigia__lmdb_kv_in(b, txn, VIGIA_MAP_TIMERS, false, timers_verify_in, &verify, NULL);
	*count = verify.values;
	return rc;
}

int vigia__lmdb_transact_in(struct lmdb_backend *b, MDB_cursor *events, struct vigia__transact *t,
                            struct vigia__lmdb_stamp *stamp, struct vigia_error *err)
{
	MDB_txn *txn = mdb_cursor_txn(events);
	/* A watcher has finished only events that it read here. */
	int rc = t->watcher_id && t->moves == NULL && t->checkpoint > stamp->last.seq_num ? vigia__lmdb_overwritten(b, err)
	                                                                                  : VIGIA_OK;
	if (rc == VIGIA_OK && t->asked && t->asked->key.len > 0) rc = vigia__lmdb_key_find(b, txn, t->asked);
	for (size_t i = 0; i < t->appends_count && rc == VIGIA_OK; i++) rc = vigia__lmdb_admit(&t->appends[i], stamp, err);
	if (rc == VIGIA_OK) rc = vigia__lmdb_kv_in(b, txn, t->map, true, vigia__transact_apply, t, err);
	if (rc == VIGIA_ENOMEM) return ENOMEM; /* part of it may be written: the whole LMDB transaction must fail */
	for (size_t i = 0; i < t->appends_count && rc == VIGIA_OK; i++)
		rc = vigia__lmdb_append_request(b, events, &t->appends[i], stamp, err);
	if (rc == VIGIA_OK && t->watcher_id)
		rc = vigia__lmdb_checkpoint_in(b, txn, t->watcher_id, t->moves ? *t->moves : t->checkpoint);
	return rc;
}

int vigia__lmdb_transact(struct vigia__backend *base, struct vigia__transact *t, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct vigia__ticket ticket = {.kind = VIGIA_TICKET_TRANSACTION, .transact = t, .err = err};
	int rc = vigia__lmdb_kv_make(b, t->map, err);
	return rc == VIGIA_OK ? vigia__commit_run(&b->commit, &ticket) : rc;
}
