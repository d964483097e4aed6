/*
 * ndjson.c - converts lines of input to events for `vigia append`, without making Lua values. dump.c does the reverse.
 *
 * It reads all available input and commits when none is left, so that each line of a slow producer is stored at once,
 * while many lines of a fast one share a commit. It ends cleanly on vigia__interrupted.
 *
 * A line is an event as JSON, or with `type` a text that becomes the object. With `key` the value at a place of the
 * object is the event's key (contract S21). A line of which no event can be made is bad: it ends the input, or with
 * `on_bad` is told and passed over.
 */
#include "ndjson.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/event.h"
#include "../core/json.h"
#include "../core/path.h"
#include "../core/serial.h"
#include "../core/buf.h"
#include "../store/backend.h"
#include "../store/store.h"
#include "error.h"
#include "fd_wait.h"
#include "lua_state.h"
#include "store_handle.h"

enum {
	READ_BYTES = 1 << 18,
	COMMIT_BYTES = 1 << 20,
	COMMIT_EVENTS = 4096,
	LINE_MIN = 16 << 20, /* a line may always be this long */
	BAD_LINE = 2         /* of a round: a line was bad, and is to be told */
};

/* What lines are, and what becomes of them. */
struct form {
	struct vigia_slice type, operation; /* of lines of text. type.len 0: they are JSON */
	enum vigia__json_big big;
	struct vigia__path *key; /* NULL: without keys */
	bool pass_bad;
};

struct append {
	int fd;
	int64_t size_max, line_max;
	char serializer[65]; /* the store's */
	struct form form;
	uint64_t read, size;     /* bytes that were read; of a file, all there are to read, 0: not known */
	struct vigia__buf input; /* bytes read and not converted yet: input.data + taken .. input.len */
	size_t taken;
	size_t searched;          /* no line end before this */
	bool passing;             /* the rest of a line that is too long */
	struct vigia__buf events; /* encoded, not yet committed */
	struct vigia__buf ends;
	struct vigia__buf keys, key_ends;
	struct vigia_slice bad; /* the text of the line that is to be told: in `input`, until more is read */
	size_t waiting;         /* events in `events` */
	uint64_t line;          /* the number of the last line converted, from 1 */
	uint64_t first_waiting; /* the line of the first event in `events` */
	uint64_t count, last_seq;
	uint64_t known; /* lines whose key was there */
};

static void free_lines(lua_State *L, void *object)
{
	struct append *a = object;
	vigia__buf_deinit(&a->input);
	vigia__buf_deinit(&a->events);
	vigia__buf_deinit(&a->ends);
	vigia__buf_deinit(&a->keys);
	vigia__buf_deinit(&a->key_ends);
	vigia__path_free(a->form.key);
	a->form.key = NULL;
}

static const struct vigia__lua_class append_class = {.name = "vigia.ndjson_append", .free = free_lines};

/* Each event with its key, in one commit. */
static int commit_keyed(struct append *a, struct vigia_store *store, struct vigia_error *err)
{
	struct vigia__append *appends = vigia__calloc(a->waiting * sizeof *appends);
	if (appends == NULL) return vigia__no_memory(err);
	const size_t *ends = (const size_t *)(void *)a->ends.data, *key_ends = (const size_t *)(void *)a->key_ends.data;
	for (size_t i = 0, at = 0, key_at = 0; i < a->waiting; at = ends[i], key_at = key_ends[i], i++)
		appends[i] = (struct vigia__append){.bytes = a->events.data + at,
		                                    .count = 1,
		                                    .len = ends[i] - at,
		                                    .key = {(const char *)a->keys.data + key_at, key_ends[i] - key_at}};
	int rc = vigia__store_append_all(store, appends, a->waiting, err);
	for (size_t i = 0; i < a->waiting && rc == VIGIA_OK; i++) {
		if (appends[i].existed) {
			a->known++;
			continue;
		}
		a->count++;
		a->last_seq = appends[i].last_seq;
	}
	vigia__free(appends);
	return rc;
}

static int commit_plain(struct append *a, struct vigia_store *store, struct vigia_error *err)
{
	struct vigia__append request = {.bytes = a->events.data,
	                                .ends = (const size_t *)(void *)a->ends.data,
	                                .count = a->waiting,
	                                .len = a->events.len,
	                                .now = true}; /* the command reports what is stored, and shares commits already */
	int rc = vigia__store_append(store, &request, err);
	if (rc < 0) return rc;
	a->count += a->waiting;
	a->last_seq = request.first_seq + a->waiting - 1;
	return VIGIA_OK;
}

/* Store all waiting events, or none with an error that names their lines. */
static int commit_lines(struct append *a, struct vigia_store *store, struct vigia_error *err)
{
	if (a->waiting == 0) return VIGIA_OK;
	int rc = a->form.key ? commit_keyed(a, store, err) : commit_plain(a, store, err);
	if (rc < 0 && a->waiting == 1) vigia__error_prefix(err, "line %" PRIu64 ": ", a->first_waiting);
	else if (rc < 0) vigia__error_prefix(err, "from line %" PRIu64 " on: ", a->first_waiting);
	a->waiting = 0;
	vigia__buf_clear(&a->events, 4 * COMMIT_BYTES);
	vigia__buf_clear(&a->ends, 4 * COMMIT_BYTES);
	vigia__buf_clear(&a->keys, 4 * COMMIT_BYTES);
	vigia__buf_clear(&a->key_ends, 4 * COMMIT_BYTES);
	return rc;
}

static bool blank(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') return false;
	return true;
}

/* The line is `s`: it ends the round, and the input unless bad lines are passed over. */
static int bad_line(struct append *a, const char *s, size_t len, struct vigia_error *err, int rc)
{
	bool passed = a->form.pass_bad && rc != VIGIA_ENOMEM;
	a->bad = (struct vigia_slice){s, len};
	if (passed) return BAD_LINE;
	vigia__error_prefix(err, "line %" PRIu64 ": ", a->line);
	return rc;
}

static int too_long(struct append *a, const char *s, size_t len, struct vigia_error *err)
{
	return bad_line(a, s, len, err, vigia__error(err, VIGIA_ETOOBIG, "longer than %" PRId64 " bytes", a->line_max));
}

/* Add the key of the event at `start` in `events`: a string, or an integer as decimal digits. */
static int add_key(struct append *a, size_t start, struct vigia_error *err)
{
	struct vigia__head head;
	struct vigia__reader at;
	struct vigia__token token;
	char digits[24];
	struct vigia_slice key = {digits, 0};
	if (vigia__event_head(a->events.data + start, a->events.len - start, &head) != 0 ||
	    vigia__path_find(a->form.key, head.object, &at) != VIGIA_OK || vigia__reader_next(&at, &token, NULL) != 0)
		return vigia__error(err, VIGIA_EINVAL, "the object has no value at the place of the key");
	if (token.kind == VIGIA_TOKEN_STRING || token.kind == VIGIA_TOKEN_BIN) key = token.string;
	else if (token.kind == VIGIA_TOKEN_INT)
		key.len = (size_t)snprintf(digits, sizeof digits, "%" PRId64, token.integer);
	else return vigia__error(err, VIGIA_EINVAL, "the key must be a string or an integer");
	if (key.data == NULL) key.data = digits; /* an empty string is a key that is refused, and not none */
	int rc = vigia__append_key_check(key, err);
	if (rc == VIGIA_OK && (vigia__buf_add(&a->keys, key.data, key.len) != 0 ||
	                       vigia__buf_add(&a->key_ends, &a->keys.len, sizeof(size_t)) != 0))
		rc = vigia__no_memory(err);
	return rc;
}

/* The line as an event of msgpack at the end of `events`. */
static int encode_line(struct append *a, const char *s, size_t len, struct vigia_error *err)
{
	const struct form *form = &a->form;
	size_t start = a->events.len;
	if (form->type.len == 0) return vigia__json_to_event_with(s, len, form->big, &a->events, a->size_max, err);
	int rc = vigia__event_begin(&a->events, form->operation, form->type, err);
	if (rc == VIGIA_OK && vigia__put_string(&a->events, s, len) != 0) rc = vigia__no_memory(err);
	return rc == VIGIA_OK ? vigia__event_end(&a->events, start, a->size_max, err) : rc;
}

/* Convert one line without its end. `cut`: the input ended without a line end. */
static int take_line(struct append *a, const char *s, size_t len, bool cut, struct vigia_error *err)
{
	if (a->passing) { /* it was told when it became too long */
		a->passing = false;
		return VIGIA_OK;
	}
	a->line++;
	if (len && s[len - 1] == '\r') len--;
	if (blank(s, len)) return VIGIA_OK;
	if ((int64_t)len > a->line_max) return too_long(a, s, len, err);
	size_t start = a->events.len, keys = a->keys.len, key_ends = a->key_ends.len;
	int rc = encode_line(a, s, len, err);
	if (rc == VIGIA_OK && a->form.key) rc = add_key(a, start, err);
	if (rc == VIGIA_OK) rc = vigia__event_recode(&a->events, start, a->serializer, a->size_max, err);
	if (rc == VIGIA_OK && vigia__buf_add(&a->ends, &a->events.len, sizeof(size_t)) != 0) rc = vigia__no_memory(err);
	if (rc == VIGIA_OK) {
		if (a->waiting++ == 0) a->first_waiting = a->line;
		return VIGIA_OK;
	}
	a->events.len = start;
	a->keys.len = keys;
	a->key_ends.len = key_ends;
	if (cut && rc == VIGIA_ESERIAL && a->form.type.len == 0 && vigia__json_is_cut(s, len)) {
		struct vigia_error why = *err;
		vigia__error_caused(err, VIGIA_ESERIAL, why.message, "cut off at the end");
	}
	return bad_line(a, s, len, err, rc);
}

/* Convert all complete lines read. When enough events wait, commit them and return 1, so that progress can be
 * reported. */
static int take_lines(struct append *a, struct vigia_store *store, struct vigia_error *err)
{
	while (a->input.len > a->searched) {
		const char *line = (const char *)a->input.data + a->taken;
		const char *stop = memchr(a->input.data + a->searched, '\n', a->input.len - a->searched);
		if (stop == NULL) break;
		size_t len = (size_t)(stop - line);
		a->taken += len + 1;
		a->searched = a->taken;
		int rc = take_line(a, line, len, false, err);
		if (rc != VIGIA_OK) return rc;
		if (a->waiting >= COMMIT_EVENTS || a->events.len >= COMMIT_BYTES) {
			rc = commit_lines(a, store, err);
			return rc < 0 ? rc : 1;
		}
	}
	a->searched = a->input.len;
	const char *rest = (const char *)a->input.data + a->taken;
	size_t left = a->input.len - a->taken;
	if (!a->passing && (int64_t)left <= a->line_max) return VIGIA_OK;
	a->taken = a->searched; /* of a line that is too long */
	if (a->passing) return VIGIA_OK;
	a->line++;
	a->passing = a->form.pass_bad;
	return too_long(a, rest, left, err);
}

/* Read more input. 1: there was some, 0: the end. */
static int read_more(struct append *a, struct vigia_error *err)
{
	if (a->taken) {
		memmove(a->input.data, a->input.data + a->taken, a->input.len - a->taken);
		a->input.len -= a->taken;
		a->searched -= a->taken;
		a->taken = 0;
	}
	if (vigia__buf_reserve(&a->input, READ_BYTES) != 0) return vigia__no_memory(err);
	for (;;) {
		int rc = vigia__fd_wait(a->fd, POLLIN, -1, err);
		if (rc < 0) return rc;
		ssize_t n = read(a->fd, a->input.data + a->input.len, READ_BYTES);
		if (n >= 0) {
			a->input.len += (size_t)n;
			a->read += (uint64_t)n;
			return n > 0;
		}
		/* GCOVR_EXCL_START: a disk or a network fails. A folder was refused before. */
		if (errno != EINTR && errno != EAGAIN) return vigia__fd_error(err, errno, "cannot read the input");
		/* GCOVR_EXCL_STOP */
	}
}

/* One round, up to the next commit. 1: committed. 0: the input ended and everything is stored. < 0: an error, and
 * everything before it is stored. */
static int append_round(struct append *a, struct vigia_store *store, struct vigia_error *err)
{
	int rc = 0;
	for (;;) {
		rc = take_lines(a, store, err);
		if (rc != 0) break;
		if (a->waiting) {
			rc = vigia__fd_wait(a->fd, POLLIN, 0, err);
			if (rc < 0) break;
			if (rc == 0) { /* no input at the moment */
				rc = commit_lines(a, store, err);
				return rc < 0 ? rc : 1;
			}
		}
		rc = read_more(a, err);
		if (rc < 0) break;
		if (rc == 0) { /* the last line may have no line end */
			size_t left = a->input.len - a->taken;
			const char *last = (const char *)a->input.data + a->taken;
			a->taken = a->searched = a->input.len;
			if (left) rc = take_line(a, last, left, true, err);
			break;
		}
	}
	if (rc > 0) return rc;
	/* At the end, an interruption or a bad line, store what came before. */
	struct vigia_error first = *err;
	int stored = commit_lines(a, store, err);
	if (stored == VIGIA_OK && rc < 0) *err = first;
	return stored < 0 ? stored : rc;
}

enum { STORE = 1, FD, ON_PROGRESS, HOW, APPEND, TYPE, OPERATION, ON_BAD }; /* places on the stack */

/* The fields of the table at HOW. Those that stay in use stay on the stack. Raises. */
static void check_form(lua_State *L, struct form *form)
{
	static const char *const fields[] = {"type", "operation", "on_bad", "key", "big_integers"};
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (lua_isnil(L, HOW)) lua_pushnil(L);
		else vigia__lua_push_raw(L, HOW, fields[i]);
	const char *big = luaL_optstring(L, -1, NULL);
	struct vigia_slice key = {luaL_optstring(L, -2, NULL), lua_rawlen(L, -2)};
	if (!lua_isnil(L, TYPE)) form->type = vigia__lua_slice(L, TYPE);
	if (!lua_isnil(L, OPERATION)) form->operation = vigia__lua_slice(L, OPERATION);
	form->pass_bad = !lua_isnil(L, ON_BAD);
	form->big = big == NULL                 ? VIGIA_JSON_BIG_REFUSED
	            : strcmp(big, "float") == 0 ? VIGIA_JSON_BIG_FLOAT
	                                        : VIGIA_JSON_BIG_STRING;
	struct vigia_error err;
	if (key.data && vigia__path_new(key, &form->key, &err) != VIGIA_OK) luaL_argerror(L, HOW, err.message);
	lua_settop(L, ON_BAD);
}

static void tell_progress(lua_State *L, const struct append *a)
{
	lua_pushvalue(L, ON_PROGRESS);
	lua_pushinteger(L, (lua_Integer)a->count);
	lua_pushinteger(L, (lua_Integer)a->last_seq);
	lua_pushinteger(L, (lua_Integer)(a->read - (a->input.len - a->taken)));
	lua_pushinteger(L, (lua_Integer)a->size);
	lua_call(L, 4, 0);
}

/* False: it wants the input to end there. */
static bool tell_bad(lua_State *L, const struct append *a, const struct vigia_error *err)
{
	lua_pushvalue(L, ON_BAD);
	lua_pushinteger(L, (lua_Integer)a->line);
	lua_pushstring(L, err->message);
	lua_pushlstring(L, a->bad.data, a->bad.len);
	lua_call(L, 3, 1);
	bool ends = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return !ends;
}

static uint64_t bytes_to_read(int fd)
{
	struct stat st;
	off_t at = lseek(fd, 0, SEEK_CUR);
	return at >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > at ? (uint64_t)(st.st_size - at) : 0;
}

int vigia__lua_ndjson_append(lua_State *L)
{
	vigia__lua_check_program(L, "ndjson_append");
	vigia__lua_check_store(L, STORE);
	lua_Integer fd = luaL_checkinteger(L, FD);
	luaL_argcheck(L, fd >= 0 && fd <= INT32_MAX, FD,
	              "fd: must be a file descriptor"); /* poll ignores a negative one and would wait for ever */
	if (!lua_isnoneornil(L, ON_PROGRESS)) luaL_checktype(L, ON_PROGRESS, LUA_TFUNCTION);
	if (!lua_isnoneornil(L, HOW)) luaL_checktype(L, HOW, LUA_TTABLE);
	lua_settop(L, HOW);
	struct append *a = vigia__lua_new(L, sizeof *a, &append_class);
	check_form(L, &a->form);
	a->fd = (int)fd;
	a->size = bytes_to_read(a->fd);
	struct vigia_error err = {0};
	int rc;
	do {
		/* checked each round, because on_progress may have closed it */
		struct vigia_store *store = vigia__lua_check_store(L, STORE);
		if (store == NULL) {
			/* GCOVR_EXCL_START: the program leaves it open. */
			rc = vigia__error(&err, VIGIA_ECLOSED, "the store is closed");
			break;
			/* GCOVR_EXCL_STOP */
		}
		a->size_max = store->backend->max_event_size;
		memcpy(a->serializer, store->serializer, sizeof a->serializer);
		a->line_max = a->size_max * 8 + (1 << 20) > LINE_MIN ? a->size_max * 8 + (1 << 20) : LINE_MIN;
		uint64_t before = a->count;
		rc = append_round(a, store, &err);
		if (rc == BAD_LINE && !tell_bad(L, a, &err)) rc = commit_lines(a, store, &err);
		if (a->count != before && lua_isfunction(L, ON_PROGRESS)) tell_progress(L, a);
	} while (rc > 0);
	lua_pushinteger(L, (lua_Integer)a->count);
	lua_pushinteger(L, (lua_Integer)a->last_seq);
	if (rc == 0 || rc == VIGIA_EINTERRUPTED) lua_pushnil(L);
	else vigia__lua_push_error(L, &err);
	lua_pushinteger(L, (lua_Integer)a->known);
	free_lines(L, a);
	return 4;
}
