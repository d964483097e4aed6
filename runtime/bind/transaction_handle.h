/*
 * transaction_handle.h - the userdata of a transaction, for all files with methods of the class vigia.Transaction.
 */
#ifndef VIGIA_BIND_TRANSACTION_HANDLE_H
#define VIGIA_BIND_TRANSACTION_HANDLE_H

#include "../core/buf.h"
#include "../store/store.h"
#include "lua_state.h"

/* It keeps its store's userdata: 1. */
struct lua_transaction {
	struct vigia_transaction *tx;  /* NULL: it has ended */
	bool lent;                     /* a watcher's, and only while its handler runs */
	bool busy;                     /* its bytes are being decoded, or it is asked: others must not use it */
	bool failed;                   /* a call failed: it cannot be committed */
	struct vigia_error err;        /* why */
	struct vigia__buf bytes;       /* a value that is stored, rows that were read */
	struct vigia__question *asked; /* while a coroutine waits for what it reads. NULL: none does */
	/* while it is committed */
	struct vigia__pending pending;
	int rc;
	lua_KFunction then;
	lua_KContext then_ctx;
};

extern const struct vigia__lua_class vigia__lua_transaction_class; /* its methods are in transaction.c */

/* A new one of the store at store_idx. NULL: nil and the error are on the stack instead. [-0, +1|2, v] */
struct lua_transaction *vigia__lua_transaction_new(lua_State *L, int store_idx);
/* One that a watcher's is lent to: it has ended while it has none. [-0, +1, m] */
struct lua_transaction *vigia__lua_transaction_new_lent(lua_State *L, int store_idx);
/* Why a call on it failed, as long as it is lent. NULL: none did. */
const struct vigia_error *vigia__lua_transaction_failed(const struct lua_transaction *t);
/* Lend it this one, or none (NULL). [-0, +0, -] */
void vigia__lua_transaction_lend(struct lua_transaction *t, struct vigia_transaction *tx);
/* The transaction at `arg`. Raises if it is none, or has ended. [-0, +0, v] */
struct lua_transaction *vigia__lua_check_transaction(lua_State *L, int arg);
/* The end of a call on it: true, or nil and the error, after which it cannot be committed. A conflict raises: its
 * function is abandoned. Returns how many values. [-0, +1|2, v] */
int vigia__lua_transaction_done(lua_State *L, struct lua_transaction *t, int rc, struct vigia_error *err);
/* The question in the userdata on top uses it from now on. [-0, +0, v] */
void vigia__lua_transaction_asked(lua_State *L, struct lua_transaction *t);
/* It does not any more. [-0, +0, -] */
void vigia__lua_transaction_answered(struct lua_transaction *t);
/* After a conflict, for the try of that number: forget what it read and wrote. [-0, +0, -] */
void vigia__lua_transaction_again(struct lua_transaction *t, int64_t tries);
/* It ends: what was not committed is forgotten. [-0, +0, -] */
void vigia__lua_transaction_end(struct lua_transaction *t);

#endif
