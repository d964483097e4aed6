/*
 * transaction_handle.c - the userdata of a transaction in Lua.
 */
#include "transaction_handle.h"

#include "../core/error.h"
#include "../drive/drive.h"
#include "ask.h"
#include "error.h"
#include "../store/transaction.h"
#include "store_handle.h"

static void free_transaction(lua_State *L, void *object)
{
	vigia__lua_transaction_end(object);
}

const struct vigia__lua_class vigia__lua_transaction_class = {.name = "vigia.Transaction", .free = free_transaction};

/* What it was asked uses it until the answer: a coroutine that is closed meanwhile waits for that. */
static void forget_question(struct lua_transaction *t)
{
	vigia__question_await(t->asked);
	vigia__question_unref(t->asked);
	t->asked = NULL;
}

void vigia__lua_transaction_asked(lua_State *L, struct lua_transaction *t)
{
	t->asked = vigia__lua_ask_question(L);
	t->busy = true;
}

void vigia__lua_transaction_answered(struct lua_transaction *t)
{
	vigia__question_unref(t->asked);
	t->asked = NULL;
	t->busy = false;
}

void vigia__lua_transaction_end(struct lua_transaction *t)
{
	forget_question(t);
	/* The committing thread still reads it. */
	vigia__store_await(&t->pending);
	vigia__store_settle(&t->pending);
	if (t->lent) vigia__lua_transaction_lend(t, NULL);
	vigia_transaction_free(t->tx);
	t->tx = NULL;
	vigia__buf_deinit(&t->bytes);
}

void vigia__lua_transaction_lend(struct lua_transaction *t, struct vigia_transaction *tx)
{
	forget_question(t);
	if (tx) vigia__transaction_ref(tx);
	if (t->tx) vigia__transaction_unref(t->tx);
	t->tx = tx;
	t->busy = t->failed = false;
}

const struct vigia_error *vigia__lua_transaction_failed(const struct lua_transaction *t)
{
	return t->failed ? &t->err : NULL;
}

struct lua_transaction *vigia__lua_transaction_new_lent(lua_State *L, int store_idx)
{
	store_idx = lua_absindex(L, store_idx);
	struct lua_transaction *t = vigia__lua_new_keeping(L, sizeof *t, &vigia__lua_transaction_class, 1);
	vigia__lua_keep_value(L, -1, 1, store_idx);
	t->lent = true;
	return t;
}

struct lua_transaction *vigia__lua_transaction_new(lua_State *L, int store_idx)
{
	struct vigia_error err = {0};
	store_idx = lua_absindex(L, store_idx);
	struct lua_transaction *t = vigia__lua_new_keeping(L, sizeof *t, &vigia__lua_transaction_class, 1);
	vigia__lua_keep_value(L, -1, 1, store_idx);
	struct vigia_store *store = vigia__lua_check_store(L, store_idx);
	if (store == NULL) vigia__lua_fail_closed(L, store_idx);
	else if (vigia_transaction_begin(store, &t->tx, &err) == VIGIA_OK) return t;
	else vigia__lua_fail_store(L, err.code, &err);
	return NULL;
}

struct lua_transaction *vigia__lua_check_transaction(lua_State *L, int arg)
{
	struct lua_transaction *t = vigia__lua_check(L, arg, &vigia__lua_transaction_class);
	if (t->tx == NULL) luaL_error(L, "the transaction has ended");
	if (t->busy) luaL_error(L, "the transaction is in use: a value of it is being read");
	return t;
}

int vigia__lua_transaction_done(lua_State *L, struct lua_transaction *t, int rc, struct vigia_error *err)
{
	if (rc >= 0) return vigia__lua_boolean(L, true);
	if (rc == VIGIA_ETRANSACTION) {
		vigia__lua_push_error(L, err);
		return lua_error(L);
	}
	if (!t->failed) t->err = *err;
	t->failed = true;
	return vigia__lua_fail_store(L, rc, err);
}

void vigia__lua_transaction_again(struct lua_transaction *t, int64_t tries)
{
	vigia__transaction_again(t->tx, tries);
	t->busy = t->failed = false;
}
