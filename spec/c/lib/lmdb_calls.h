/*
 * lmdb_calls.h - each call into LMDB passes here (ld's --wrap): so a driver knows, when a damaged page ends or holds up
 * a process, whether that is inside LMDB, which trusts its pages, or in code of ours, which must not.
 */
#ifndef VIGIA_SPEC_LMDB_CALLS_H
#define VIGIA_SPEC_LMDB_CALLS_H

#include <lmdb.h>
#include <stdint.h>

static const char *volatile lmdb_call; /* the one that this process is in; NULL: none */
static volatile uint64_t lmdb_calls;   /* so many were begun */
static volatile uint64_t lmdb_writes;  /* and of those that change pages */

#define LMDB_CALL(name, changes, parameters, arguments) \
	int __real_##name parameters;                       \
	int __wrap_##name parameters;                       \
	int __wrap_##name parameters                        \
	{                                                   \
		lmdb_call = #name;                              \
		lmdb_calls++;                                   \
		lmdb_writes += changes;                         \
		int rc = __real_##name arguments;               \
		lmdb_call = NULL;                               \
		return rc;                                      \
	}

#define LMDB_VOID(name, type)     \
	void __real_##name(type *it); \
	void __wrap_##name(type *it); \
	void __wrap_##name(type *it)  \
	{                             \
		lmdb_call = #name;        \
		lmdb_calls++;             \
		__real_##name(it);        \
		lmdb_call = NULL;         \
	}

/* All that look at a page; CMakeLists.txt has the same list. */
LMDB_CALL(mdb_env_open, 0, (MDB_env * env, const char *path, unsigned flags, mdb_mode_t mode), (env, path, flags, mode))
LMDB_CALL(mdb_env_copyfd2, 0, (MDB_env * env, mdb_filehandle_t fd, unsigned flags), (env, fd, flags))
LMDB_CALL(mdb_env_info, 0, (MDB_env * env, MDB_envinfo *info), (env, info))
LMDB_CALL(mdb_env_stat, 0, (MDB_env * env, MDB_stat *stat), (env, stat))
LMDB_CALL(mdb_env_set_mapsize, 0, (MDB_env * env, size_t size), (env, size))
LMDB_CALL(mdb_txn_begin, 0, (MDB_env * env, MDB_txn *parent, unsigned flags, MDB_txn **txn), (env, parent, flags, txn))
LMDB_CALL(mdb_txn_renew, 0, (MDB_txn * txn), (txn))
LMDB_CALL(mdb_txn_commit, 1, (MDB_txn * txn), (txn))
LMDB_CALL(mdb_dbi_open, 0, (MDB_txn * txn, const char *name, unsigned flags, MDB_dbi *dbi), (txn, name, flags, dbi))
LMDB_CALL(mdb_stat, 0, (MDB_txn * txn, MDB_dbi dbi, MDB_stat *stat), (txn, dbi, stat))
LMDB_CALL(mdb_get, 0, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data), (txn, dbi, key, data))
LMDB_CALL(mdb_put, 1, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags),
          (txn, dbi, key, data, flags))
LMDB_CALL(mdb_del, 1, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data), (txn, dbi, key, data))
LMDB_CALL(mdb_cursor_open, 0, (MDB_txn * txn, MDB_dbi dbi, MDB_cursor **cursor), (txn, dbi, cursor))
LMDB_CALL(mdb_cursor_renew, 0, (MDB_txn * txn, MDB_cursor *cursor), (txn, cursor))
LMDB_CALL(mdb_cursor_get, 0, (MDB_cursor * cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op),
          (cursor, key, data, op))
LMDB_CALL(mdb_cursor_put, 1, (MDB_cursor * cursor, MDB_val *key, MDB_val *data, unsigned flags),
          (cursor, key, data, flags))
LMDB_CALL(mdb_cursor_del, 1, (MDB_cursor * cursor, unsigned flags), (cursor, flags))
LMDB_VOID(mdb_txn_abort, MDB_txn)
LMDB_VOID(mdb_env_close, MDB_env)

#endif
