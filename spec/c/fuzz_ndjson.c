/*
 * fuzz_ndjson.c - any bytes as lines for `vigia append`, and what is stored written out again as `vigia events` does
 * (bind/ndjson.c, bind/dump.c).
 *
 * All lines before the first bad one are stored, each as core/json takes it alone, and no other; the error names that
 * line. What is written out is whole lines of UTF-8, one an event; appended to another store they are the same events,
 * whatever serializer either has.
 *
 * Input: three bytes, then the text. Bit 0 of the first: the store's serializer; the others say how the text is cut
 * into pieces that are read one by one, and how many lines are written at most.
 */
#include <sys/mman.h>
#include <sys/socket.h>

#include "bind/store_handle.h"
#include "core/event.h"
#include "core/json.h"
#include "core/utf8.h"
#include "core/serial.h"
#include "lib/fuzz_lua.h"

enum { SIZE_MAX_EVENT = 5000, TEXT_MAX = 60000 };

static const char setup[] =
	"local vigia, core = require 'vigia', require 'vigia.core'\n"
	"local function open(serializer, size)\n"
	"	return assert(vigia.open(':memory:', {serializer = serializer, max_event_size = size, collect = false}))\n"
	"end\n"
	/* Returns the count, the last number, the error's text and code; the store. */
	"function fuzz_append(fd, serializer, size)\n"
	"	local store, told, last = open(serializer, size), 0, 0\n"
	"	local count, last_seq, err = core.ndjson_append(store, fd, function(c, l) told, last = c, l end)\n"
	"	assert(told == count and last == last_seq, 'progress was not told')\n"
	"	return count, last_seq, err and tostring(err), err and err.code, store\n"
	"end\n"
	"function fuzz_dump(store, fd, limit)\n"
	"	local iterator, count, err = core.dump(store, {fd = fd, limit = limit})\n"
	"	assert(not err, err)\n"
	"	assert(count == 0 or iterator == vigia.after_sequence_number(count), tostring(iterator))\n"
	"	return count\n"
	"end\n";

static lua_State *state(void)
{
	static bool loaded;
	lua_State *L = fuzz_lua();
	if (!loaded) fuzz_lua_do(L, setup, 0, 0);
	loaded = true;
	return L;
}

/* ---- what must come of it ---- */

struct wanted {
	struct vigia__buf events; /* with time 0 and number 0 */
	size_t ends[TEXT_MAX], count;
	uint64_t bad_line; /* 0: none */
	struct vigia_error err;
};

static bool is_blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(" \t\r", line[i]) || line[i] == '\0') return false;
	return true;
}

static void want(struct wanted *w, const char *text, size_t len, const char *serializer, int64_t size_max)
{
	uint64_t number = 0;
	for (size_t at = 0; at < len && !w->bad_line;) {
		const char *line = text + at, *stop = memchr(line, '\n', len - at);
		size_t line_len = stop ? (size_t)(stop - line) : len - at;
		at += line_len + 1;
		number++;
		if (line_len && line[line_len - 1] == '\r') line_len--;
		if (is_blank(line, line_len)) continue;
		size_t start = w->events.len;
		int rc = vigia__json_to_event(line, line_len, &w->events, size_max, &w->err);
		if (rc == VIGIA_OK) rc = vigia__event_recode(&w->events, start, serializer, size_max, &w->err);
		if (rc < 0) w->bad_line = number;
		else w->ends[w->count++] = w->events.len;
	}
}

static bool equal(struct vigia_slice a, struct vigia_slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The store on top of the stack has exactly these events. */
static void check_store(lua_State *L, const struct wanted *w)
{
	struct vigia_store *store = vigia__lua_check_store(L, -1);
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_iterator next;
	struct vigia_error err;
	struct vigia_read request = {.size = sizeof request, .from = {VIGIA_TRIM_HORIZON, 0}};
	fuzz_assert(batch && vigia_store_read(store, &request, batch, &next, &err) == VIGIA_OK);
	fuzz_assert(vigia_batch_count(batch) == w->count);
	for (size_t i = 0; i < w->count; i++) {
		struct vigia_event event;
		struct vigia__head head;
		size_t start = i ? w->ends[i - 1] : 0;
		fuzz_assert(vigia_batch_event(batch, i, &event, &err) == VIGIA_OK && event.seq_num == i + 1);
		fuzz_assert(vigia__event_head(w->events.data + start, w->ends[i] - start, &head) == 0);
		fuzz_assert(equal(event.operation, head.operation) && equal(event.object_type, head.object_type));
		fuzz_assert(equal(event.serializer, head.serializer) && equal(event.object, head.object));
	}
	vigia_batch_free(batch);
}

/* ---- in and out ---- */

/* A descriptor from which the text is read in pieces: `first` bytes, then each time so many more. */
static int in_pieces(const char *text, size_t len, size_t first, size_t more, int *other)
{
	int pair[2], room = 4 << 20;
	fuzz_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	size_t piece = first + 1;
	for (int sent = 0; len > 0; sent++) {
		if (piece > len || sent > 100) /* few enough to be waiting all at once */
			piece = len;
		if (send(pair[1], text, piece, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)piece) {
			close(pair[0]);
			close(pair[1]);
			return -1;
		}
		text += piece;
		len -= piece;
		piece = 1 + more * (size_t)(sent + 1);
	}
	shutdown(pair[1], SHUT_WR);
	*other = pair[1];
	return pair[0];
}

/* Call what is on the stack; a failure is the driver's own. */
static void call(lua_State *L, int args, int results)
{
	if (lua_pcall(L, args, results, 0) == LUA_OK) return;
	fprintf(stderr, "%s\n", lua_tostring(L, -1));
	abort();
}

/* Append: leaves the results of fuzz_append. */
static void append(lua_State *L, int fd, const char *serializer, int64_t size_max)
{
	lua_getglobal(L, "fuzz_append");
	lua_pushinteger(L, fd);
	lua_pushstring(L, serializer);
	lua_pushinteger(L, size_max);
	call(L, 3, 5);
}

/* What `events` writes of the store at `index`. */
static char *dump(lua_State *L, int index, int64_t limit, size_t *len, uint64_t *count)
{
	int fd = memfd_create("lines", MFD_CLOEXEC);
	fuzz_assert(fd >= 0);
	lua_getglobal(L, "fuzz_dump");
	lua_pushvalue(L, index);
	lua_pushinteger(L, fd);
	lua_pushinteger(L, limit);
	call(L, 3, 1);
	*count = (uint64_t)lua_tointeger(L, -1);
	lua_pop(L, 1);
	off_t end = lseek(fd, 0, SEEK_END);
	fuzz_assert(end >= 0);
	*len = (size_t)end;
	char *text = malloc(*len + 1);
	fuzz_assert(text && pread(fd, text, *len, 0) == (ssize_t)*len);
	text[*len] = '\0';
	close(fd);
	return text;
}

static void check_lines(const char *text, size_t len, uint64_t count)
{
	uint64_t lines = 0;
	fuzz_assert(len == 0 || text[len - 1] == '\n');
	fuzz_assert(vigia__utf8_valid(text, len));
	for (size_t i = 0; i < len; i++) {
		lines += text[i] == '\n';
		fuzz_assert(text[i] == '\n' || (unsigned char)text[i] >= ' ');
	}
	fuzz_assert(lines == count);
}

/* The lines of both, from the operation on, are the same. */
static void check_same(const char *a, const char *b)
{
	while (*a && *b) {
		const char *x = strstr(a, ",\"operation\":"), *y = strstr(b, ",\"operation\":");
		fuzz_assert(x && y);
		size_t len = strcspn(x, "\n");
		fuzz_assert(strncmp(x, y, len + 1) == 0);
		a = x + len + 1;
		b = y + len + 1;
	}
	fuzz_assert(!*a && !*b);
}

static void check_error(lua_State *L, const struct wanted *w)
{
	char line[64];
	snprintf(line, sizeof line, "line %llu: ", (unsigned long long)w->bad_line);
	const char *said = lua_tostring(L, 3), *code = lua_tostring(L, 4);
	fuzz_assert(lua_isnil(L, 3) == !w->bad_line);
	if (!w->bad_line) return;
	fuzz_assert(said && strncmp(said, line, strlen(line)) == 0 && said[strlen(line)]);
	fuzz_assert(strcmp(code, vigia_error_name(w->err.code)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct wanted w;
	struct fuzz_input in = {data, data + size};
	unsigned what = fuzz_byte(&in), first = fuzz_byte(&in), limit = fuzz_byte(&in);
	const char *text = (const char *)in.at, *serializer = what & 1 ? "json" : "msgpack";
	size_t len = fuzz_left(&in), out_len, again_len;
	if (len > TEXT_MAX) return 0;
	lua_State *L = state();
	int other, fd = in_pieces(len ? text : "", len, first, what >> 1, &other);
	if (fd < 0) return 0;
	w.count = 0;
	w.bad_line = 0;
	vigia__buf_clear(&w.events, 1 << 20);
	want(&w, text, len, serializer, SIZE_MAX_EVENT);
	append(L, fd, serializer, SIZE_MAX_EVENT);
	fuzz_assert((uint64_t)lua_tointeger(L, 1) == w.count && (uint64_t)lua_tointeger(L, 2) == w.count);
	check_error(L, &w);
	check_store(L, &w);
	close(fd);
	close(other);

	uint64_t count;
	char *some = dump(L, 5, limit, &out_len, &count);
	fuzz_assert(count == (limit && limit < w.count ? limit : w.count));
	check_lines(some, out_len, count);
	char *all = dump(L, 5, 0, &again_len, &count);
	fuzz_assert(count == w.count && again_len >= out_len && memcmp(all, some, out_len) == 0);
	free(some);

	/* the lines as input again */
	fd = memfd_create("lines", MFD_CLOEXEC);
	fuzz_assert(fd >= 0 && write(fd, all, again_len) == (ssize_t)again_len && lseek(fd, 0, SEEK_SET) == 0);
	lua_settop(L, 5);
	lua_replace(L, 1);
	lua_settop(L, 1);
	append(L, fd, what & 1 ? "msgpack" : "json", 100 * SIZE_MAX_EVENT);
	fuzz_assert((uint64_t)lua_tointeger(L, 2) == w.count && lua_isnil(L, 4));
	close(fd);
	char *again = dump(L, 6, 0, &again_len, &count);
	fuzz_assert(count == w.count);
	check_same(all, again);
	free(all);
	free(again);
	fuzz_lua_do(L, "local a, b = ... a:close() b:close()",
	            (lua_remove(L, 5), lua_remove(L, 4), lua_remove(L, 3), lua_remove(L, 2), 2), 0);
	lua_gc(L, LUA_GCSTEP, 0);
	return 0;
}

FUZZ_MAIN(10000)
