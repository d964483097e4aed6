/*
 * letters.c - the dead letters of a store in Lua: to list, retry and drop them.
 */
#include "letters.h"

#include <string.h>

#include "../core/alloc.h"
#include "../core/buf.h"
#include "../core/error.h"
#include "ask.h"
#include "decode.h"
#include "error.h"
#include "lua_state.h"
#include "options.h"
#include "store_handle.h"

struct wanted {
	const char *watcher_id; /* NULL: of all */
	char *copy;             /* of that, on another thread */
	uint64_t from;
	int64_t limit; /* 0: none */
};

static bool keep_id(const char **id, char **copy)
{
	if (*id) *id = *copy = vigia__strdup(*id);
	else return true;
	return *copy != NULL;
}

static const struct vigia__option letters_option_table[] = {
	{.name = "watcher", .type = VIGIA_OPTION_SPECIAL, .help = "The id of a watcher."},
	{.name = "from", .type = VIGIA_OPTION_SPECIAL, .help = "The number of the first event."},
	{.name = "limit",
     .type = VIGIA_OPTION_COUNT,
     .offset = offsetof(struct wanted, limit),
     .max = 0x1p53,
     .help = "Most letters. 0: no limit."},
	{.name = NULL},
};

static void letters_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct wanted *wanted = ctx;
	if (name[0] == 'w') {
		if (lua_type(L, idx) == LUA_TSTRING) wanted->watcher_id = lua_tostring(L, idx);
		else vigia__problem(problems, "watcher is a %s, allowed: a watcher id", luaL_typename(L, idx));
		return;
	}
	int is_integer;
	lua_Integer from = lua_tointegerx(L, idx, &is_integer);
	if (!is_integer || lua_type(L, idx) != LUA_TNUMBER || from < 0)
		vigia__problem(problems, "from: must be the number of an event");
	wanted->from = (uint64_t)from;
}

/* ---- letters that were read ---- */

struct row {
	struct vigia_dead_letter letter; /* its slices: offsets in the bytes instead of data */
	struct vigia_event event;
};

/* Copies. */
struct letters {
	struct wanted wanted;
	struct vigia__buf bytes;
	int64_t left;
};

static bool keep_wanted(void *what)
{
	struct wanted *wanted = &((struct letters *)what)->wanted;
	return keep_id(&wanted->watcher_id, &wanted->copy);
}

static void free_letters(void *what)
{
	struct letters *letters = what;
	vigia__buf_deinit(&letters->bytes);
	vigia__free(letters->wanted.copy);
}

/* A string as its length, its bytes and a zero byte. */
static int add_text(struct vigia__buf *bytes, struct vigia_slice text)
{
	if (vigia__buf_add(bytes, &text.len, sizeof text.len) < 0) return -1;
	if (text.len > 0 && vigia__buf_add(bytes, text.data, text.len) < 0) return -1;
	return vigia__buf_add(bytes, "", 1);
}

static struct vigia_slice next_text(const char **at)
{
	struct vigia_slice text;
	memcpy(&text.len, *at, sizeof text.len);
	text.data = *at + sizeof text.len;
	*at = text.data + text.len + 1;
	return text;
}

/* VIGIA_NONE: enough. */
static int keep_letter(void *ctx, const struct vigia_dead_letter *letter)
{
	struct letters *letters = ctx;
	struct vigia__buf *bytes = &letters->bytes;
	const struct vigia_event *event = &letter->event;
	struct row row = {.letter = *letter, .event = *event};
	bool fits = vigia__buf_add(bytes, &row, sizeof row) == 0 &&
	            add_text(bytes, (struct vigia_slice){letter->watcher_id, strlen(letter->watcher_id)}) == 0 &&
	            add_text(bytes, letter->error) == 0 && add_text(bytes, letter->traceback) == 0 &&
	            add_text(bytes, event->operation) == 0 && add_text(bytes, event->object_type) == 0 &&
	            add_text(bytes, event->serializer) == 0 && add_text(bytes, event->object) == 0;
	if (!fits) return VIGIA_ENOMEM;
	return letters->left > 0 && --letters->left == 0 ? VIGIA_NONE : VIGIA_OK;
}

/* The letter at *at, which moves behind it. Its slices point into the bytes. */
static struct vigia_dead_letter next_letter(const char **at)
{
	struct row row;
	memcpy(&row, *at, sizeof row);
	*at += sizeof row;
	struct vigia_dead_letter letter = row.letter;
	letter.watcher_id = next_text(at).data;
	letter.error = next_text(at);
	letter.traceback = next_text(at);
	letter.event.operation = next_text(at);
	letter.event.object_type = next_text(at);
	letter.event.serializer = next_text(at);
	letter.event.object = next_text(at);
	return letter;
}

void vigia__lua_push_letter(lua_State *L, const struct vigia_dead_letter *letter)
{
	const struct vigia__lua_number numbers[] = {{"seq_num", letter->seq_num},
	                                            {"attempts", letter->attempts},
	                                            {"timestamp", (uint64_t)letter->failed_at_ns},
	                                            {NULL, 0}};
	lua_createtable(L, 0, 8);
	vigia__lua_set_string(L, "watcher", letter->watcher_id);
	vigia__lua_set_integers(L, numbers);
	lua_pushlstring(L, letter->error.data, letter->error.len);
	lua_setfield(L, -2, "error");
	if (letter->traceback.len > 0) {
		lua_pushlstring(L, letter->traceback.data, letter->traceback.len);
		lua_setfield(L, -2, "traceback");
	}
	lua_pushboolean(L, letter->retry);
	lua_setfield(L, -2, "retry");
}

static int ask_letters(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct letters *letters = what;
	letters->left = letters->wanted.limit;
	int rc = vigia_dead_letters(store, letters->wanted.watcher_id, letters->wanted.from, keep_letter, letters, err);
	if (rc == VIGIA_ENOMEM && err->code == VIGIA_OK) vigia__no_memory(err);
	return rc;
}

static int answer_letters(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct letters *letters = what;
	if (rc == VIGIA_EINVAL) return luaL_error(L, "%s", err->message);
	if (rc < 0) return vigia__lua_fail_store(L, rc, err);
	const char *at = (const char *)letters->bytes.data, *end = at + letters->bytes.len;
	lua_newtable(L);
	for (lua_Integer n = 1; at < end; n++) {
		struct vigia_dead_letter letter = next_letter(&at);
		vigia__lua_push_letter(L, &letter);
		rc = vigia__lua_push_checked_event(L, 1, &letter.event, err);
		if (rc < 0) return vigia__lua_fail_store(L, rc, err);
		lua_setfield(L, -2, "event");
		lua_rawseti(L, -2, n);
	}
	return 1;
}

static const struct vigia__lua_call letters_call = {.size = sizeof(struct letters),
                                                    .ask = ask_letters,
                                                    .answer = answer_letters,
                                                    .keep = keep_wanted,
                                                    .free = free_letters};

/* store, options -> a list. */
int vigia__lua_dead_letters(lua_State *L)
{
	struct wanted wanted = {0};
	lua_settop(L, 2);
	vigia__lua_own_options(L, 2, 1);
	vigia__lua_check_options(L, 2, letters_option_table, &wanted, "dead letter options", letters_special, &wanted);
	if (vigia__lua_check_store(L, 1) == NULL) return vigia__lua_fail_closed(L, 1);
	struct letters *letters = vigia__lua_ask_new(L, &letters_call); /* 3 */
	letters->wanted = wanted;
	return vigia__lua_ask_made(L, 1);
}

struct change {
	int (*fn)(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, uint64_t *count,
	          struct vigia_error *err);
	const char *watcher_id;
	char *copy;
	uint64_t seq_num, count;
};

static int ask_change(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct change *change = what;
	return change->fn(store, change->watcher_id, change->seq_num, &change->count, err);
}

static int answer_change(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	if (rc == VIGIA_EINVAL) return luaL_argerror(L, 2, lua_pushstring(L, err->message));
	if (rc < 0) return vigia__lua_fail_store(L, rc, err);
	lua_pushinteger(L, (lua_Integer)((struct change *)what)->count);
	return 1;
}

static bool keep_change(void *what)
{
	struct change *change = what;
	return keep_id(&change->watcher_id, &change->copy);
}

static void free_change(void *what)
{
	vigia__free(((struct change *)what)->copy);
}

static const struct vigia__lua_call change_call = {.size = sizeof(struct change),
                                                   .ask = ask_change,
                                                   .answer = answer_change,
                                                   .keep = keep_change,
                                                   .free = free_change};

/* store, watcher id, the number of an event or nil (all) -> how many. */
static int change(lua_State *L, int (*fn)(struct vigia_store *store, const char *watcher_id, uint64_t seq_num,
                                          uint64_t *count, struct vigia_error *err))
{
	struct change change = {.fn = fn, .watcher_id = vigia__lua_check_cstring(L, 2, "watcher_id")};
	bool all = lua_isnoneornil(L, 3);
	change.seq_num = all ? 0 : vigia__lua_check_seq(L, 3, "seq_num");
	if (!all && change.seq_num == 0) luaL_argerror(L, 3, "seq_num: no event has the number 0");
	return vigia__lua_ask(L, 1, &change_call, &change);
}

int vigia__lua_retry_dead_letter(lua_State *L)
{
	return change(L, vigia_dead_letter_retry);
}

int vigia__lua_drop_dead_letter(lua_State *L)
{
	return change(L, vigia_dead_letter_drop);
}
