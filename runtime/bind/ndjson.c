/*
 * ndjson.c - converts lines of JSON to and from events for `vigia append` and `vigia events`, without making Lua
 * values.
 *
 * Append reads all available input and commits when none is left, so that each line of a slow producer is stored at
 * once, while many lines of a fast one share a commit. Both directions end cleanly on vigia__interrupted, because they
 * also poll vigia__interrupt_fd.
 */
#include "ndjson.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/iterator.h"
#include "../core/json.h"
#include "../core/serial.h"
#include "../store/file_limit.h"
#include "../core/buf.h"
#include "../core/options.h"
#include "../store/backend.h"
#include "../store/store.h"
#include "error.h"
#include "filter.h"
#include "interrupt.h"
#include "iterator.h"
#include "lua_state.h"
#include "options.h"
#include "store_handle.h"

enum {
	READ_BYTES = 1 << 18,
	COMMIT_BYTES = 1 << 20,
	COMMIT_EVENTS = 4096,
	WRITE_BYTES = 1 << 18,
	LINE_MIN = 16 << 20,   /* a line may always be this long */
	FOLLOW_NS = 1000000000 /* how long a wait of --follow lasts before it checks that the output still has a reader */
};

static int system_error(struct vigia_error *err, int number, const char *what)
{
	int code = number == ENOSPC || number == EDQUOT ? VIGIA_EDISKFULL : VIGIA_EIO;
	return vigia__error_caused(err, code, strerror(number), "%s", what);
}

/* Wait until `fd` is ready for `events`. 1 ready, 0 not (after timeout_ms, -1 = no end), -1 interrupted, else an error
 * code. */
static int wait_fd(int fd, short events, int timeout_ms, struct vigia_error *err)
{
	struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = vigia__interrupt_fd, .events = POLLIN}};
	for (;;) {
		if (atomic_load(&vigia__interrupted)) return VIGIA_EINTERRUPTED;
		int n = poll(fds, 2, timeout_ms);
		if (n < 0 && errno != EINTR) return system_error(err, errno, "cannot wait for input or output");
		if (n < 0 && timeout_ms != 0) continue;
		if (n <= 0) return 0;
		if (fds[0].revents & POLLNVAL) return system_error(err, EBADF, "cannot read or write");
		if (fds[0].revents) return 1;
	}
}

/* ---- Append ---- */

struct append {
	int fd;
	int64_t size_max, line_max;
	char serializer[65];     /* the store's */
	struct vigia__buf input; /* bytes read and not converted yet: input.data + taken .. input.len */
	size_t taken;
	size_t searched;          /* no line end before this */
	struct vigia__buf events; /* encoded, not yet committed */
	struct vigia__buf ends;
	size_t waiting;         /* events in `events` */
	uint64_t line;          /* the number of the last line converted, from 1 */
	uint64_t first_waiting; /* the line of the first event in `events` */
	uint64_t count, last_seq;
};

static void free_lines(lua_State *L, void *object)
{
	struct append *a = object;
	vigia__buf_deinit(&a->input);
	vigia__buf_deinit(&a->events);
	vigia__buf_deinit(&a->ends);
}

static const struct vigia__lua_class append_class = {.name = "vigia.ndjson_append", .free = free_lines};

/* Store all waiting events, or none with an error that names their lines. */
static int commit_lines(struct append *a, struct vigia_store *store, struct vigia_error *err)
{
	if (a->waiting == 0) return VIGIA_OK;
	struct vigia__append request = {.bytes = a->events.data,
	                                .ends = (const size_t *)(void *)a->ends.data,
	                                .count = a->waiting,
	                                .len = a->events.len,
	                                .now = true}; /* the command reports what is stored, and shares commits already */
	int rc = vigia__store_append(store, &request, err);
	if (rc == VIGIA_OK) {
		a->count += a->waiting;
		a->last_seq = request.first_seq + a->waiting - 1;
	} else if (a->waiting == 1) {
		vigia__error_prefix(err, "line %llu: ", (unsigned long long)a->first_waiting);
	} else {
		vigia__error_prefix(err, "from line %llu on: ", (unsigned long long)a->first_waiting);
	}
	a->waiting = 0;
	vigia__buf_clear(&a->events, 4 * COMMIT_BYTES);
	vigia__buf_clear(&a->ends, 4 * COMMIT_BYTES);
	return rc;
}

static bool blank(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') return false;
	return true;
}

static int bad_line(uint64_t line, struct vigia_error *err, int rc)
{
	vigia__error_prefix(err, "line %llu: ", (unsigned long long)line);
	return rc;
}

/* Convert one line without its end. `cut`: the input ended without a line end. */
static int take_line(struct append *a, const char *s, size_t len, bool cut, struct vigia_error *err)
{
	a->line++;
	if (len && s[len - 1] == '\r') len--;
	if (blank(s, len)) return VIGIA_OK;
	if ((int64_t)len > a->line_max)
		return bad_line(a->line, err,
		                vigia__error(err, VIGIA_ETOOBIG, "longer than %lld bytes", (long long)a->line_max));
	size_t start = a->events.len;
	int rc = vigia__json_to_event(s, len, &a->events, a->size_max, err);
	if (rc == VIGIA_OK) rc = vigia__event_recode(&a->events, start, a->serializer, a->size_max, err);
	if (rc == VIGIA_OK && vigia__buf_add(&a->ends, &a->events.len, sizeof(size_t)) != 0) rc = vigia__no_memory(err);
	if (rc == VIGIA_OK) {
		if (a->waiting++ == 0) a->first_waiting = a->line;
		return VIGIA_OK;
	}
	a->events.len = start;
	if (cut && rc == VIGIA_ESERIAL && vigia__json_is_cut(s, len)) {
		struct vigia_error why = *err;
		vigia__error_caused(err, VIGIA_ESERIAL, why.message, "cut off at the end");
	}
	return bad_line(a->line, err, rc);
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
		if (rc < 0) return rc;
		if (a->waiting >= COMMIT_EVENTS || a->events.len >= COMMIT_BYTES) {
			rc = commit_lines(a, store, err);
			return rc < 0 ? rc : 1;
		}
	}
	a->searched = a->input.len;
	if ((int64_t)(a->input.len - a->taken) > a->line_max) {
		a->line++;
		return bad_line(a->line, err,
		                vigia__error(err, VIGIA_ETOOBIG, "longer than %lld bytes", (long long)a->line_max));
	}
	return VIGIA_OK;
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
		int rc = wait_fd(a->fd, POLLIN, -1, err);
		if (rc < 0) return rc;
		ssize_t n = read(a->fd, a->input.data + a->input.len, READ_BYTES);
		if (n >= 0) {
			a->input.len += (size_t)n;
			return n > 0;
		}
		/* GCOVR_EXCL_START: a disk or a network fails. A folder was refused before. */
		if (errno != EINTR && errno != EAGAIN) return system_error(err, errno, "cannot read the input");
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
			rc = wait_fd(a->fd, POLLIN, 0, err);
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
			if (left) rc = take_line(a, (const char *)a->input.data + a->taken, left, true, err);
			a->taken = a->searched = a->input.len;
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

int vigia__lua_ndjson_append(lua_State *L)
{
	vigia__lua_check_program(L, "ndjson_append");
	vigia__lua_check_store(L, 1);
	lua_Integer fd = luaL_checkinteger(L, 2);
	luaL_argcheck(L, fd >= 0 && fd <= INT32_MAX, 2,
	              "fd: must be a file descriptor"); /* poll ignores a negative one and would wait for ever */
	if (!lua_isnoneornil(L, 3)) luaL_checktype(L, 3, LUA_TFUNCTION);
	lua_settop(L, 3);
	struct append *a = vigia__lua_new(L, sizeof *a, &append_class);
	a->fd = (int)fd;
	struct vigia_error err = {0};
	int rc;
	do {
		/* checked each round, because on_progress may have closed it */
		struct vigia_store *store = vigia__lua_check_store(L, 1);
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
		if (a->count != before && lua_isfunction(L, 3)) {
			lua_pushvalue(L, 3);
			lua_pushinteger(L, (lua_Integer)a->count);
			lua_pushinteger(L, (lua_Integer)a->last_seq);
			lua_call(L, 2, 0);
		}
	} while (rc > 0);
	lua_pushinteger(L, (lua_Integer)a->count);
	lua_pushinteger(L, (lua_Integer)a->last_seq);
	if (rc == 0 || rc == VIGIA_EINTERRUPTED) lua_pushnil(L);
	else vigia__lua_push_error(L, &err);
	free_lines(L, a);
	return 3;
}

/* Consumes no input: reads a file at its position, asks the system how much a pipe or terminal has. */
int vigia__lua_has_input(lua_State *L)
{
	vigia__lua_check_program(L, "has_input");
	int fd = (int)luaL_checkinteger(L, 1);
	struct vigia_error err = {0};
	int rc = wait_fd(fd, POLLIN, -1, &err);
	if (rc == VIGIA_EINTERRUPTED) vigia__error(&err, rc, "interrupted while waiting for input");
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	char byte;
	int waiting = 0;
	off_t at = lseek(fd, 0, SEEK_CUR);
	ssize_t n = at >= 0 ? pread(fd, &byte, 1, at) : ioctl(fd, FIONREAD, &waiting);
	if (n < 0) return vigia__lua_fail(L, system_error(&err, errno, "cannot read the input"), &err);
	return vigia__lua_boolean(L, n > 0 || waiting > 0);
}

/* ---- Dump ---- */

struct dump {
	struct vigia_iterator from;
	int64_t limit, fd;
	bool follow;
	bool regular;          /* the output is a file, so that writing never blocks for long */
	struct vigia__buf out; /* lines not yet written */
	struct vigia__filter *filter;
	struct vigia_batch *batch;
	uint64_t count; /* lines written or in `out` */
};

static void free_dump(lua_State *L, void *object)
{
	struct dump *d = object;
	vigia__buf_deinit(&d->out);
	vigia_batch_free(d->batch);
	vigia__filter_free(d->filter);
	d->batch = NULL;
	d->filter = NULL;
}

static const struct vigia__lua_class dump_class = {.name = "vigia.ndjson_dump", .free = free_dump};

static const struct vigia__option dump_option_table[] = {
	{.name = "from", .type = VIGIA_OPTION_SPECIAL},
	{.name = "filter", .type = VIGIA_OPTION_SPECIAL},
	{.name = "limit", .type = VIGIA_OPTION_COUNT, .offset = offsetof(struct dump, limit), .max = 0x1p63},
	{.name = "follow", .type = VIGIA_OPTION_BOOL, .offset = offsetof(struct dump, follow)},
	{.name = "fd", .type = VIGIA_OPTION_COUNT, .offset = offsetof(struct dump, fd), .max = INT32_MAX},
	{.name = NULL},
};

static void dump_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct dump *d = ctx;
	if (strcmp(name, "from") == 0) vigia__lua_option_iterator(L, idx, name, &d->from, problems);
	else vigia__lua_option_filter(L, idx, name, NULL, problems);
}

static int output_error(struct vigia_error *err, int number)
{
	return system_error(err, number, "cannot write the output");
}

/* Write all of `out`. A pipe or terminal gets only what it accepts for sure (a page), so that a reader that does not
 * read cannot delay an interruption. */
static int flush_dump(struct dump *d, struct vigia_error *err)
{
	enum { SURE = 4096 };
	size_t at = 0;
	while (at < d->out.len) {
		size_t len = d->out.len - at;
		if (!d->regular) {
			int rc = wait_fd((int)d->fd, POLLOUT, -1, err);
			if (rc < 0) return rc;
			len = len < SURE ? len : SURE;
		}
		ssize_t n = vigia__file_write((int)d->fd, d->out.data + at, len);
		if (n >= 0) at += (size_t)n;
		else if (errno != EINTR && errno != EAGAIN) return output_error(err, errno);
	}
	vigia__buf_clear(&d->out, 4 * WRITE_BYTES);
	return VIGIA_OK;
}

/* Check that the pipe still has a reader. */
static int check_reader(struct dump *d, struct vigia_error *err)
{
	struct pollfd fd = {.fd = (int)d->fd};
	if (poll(&fd, 1, 0) > 0 && fd.revents & POLLERR) return output_error(err, EPIPE);
	return VIGIA_OK;
}

/* Write the batch as lines. After a failure *next is after the event that caused it. */
static int write_batch(struct dump *d, struct vigia_iterator *next, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	for (size_t i = 0; i < d->batch->count && rc == VIGIA_OK; i++) {
		struct vigia_event event;
		size_t before = d->out.len;
		rc = vigia_batch_event(d->batch, i, &event, err);
		if (rc == VIGIA_OK) {
			rc = vigia__json_from_event(&event, &d->out, err);
			if (rc < 0 && rc != VIGIA_ENOMEM) {
				/* GCOVR_EXCL_START: bytes of a right checksum that are none of ours. */
				vigia__error_prefix(err, "event %llu: ", (unsigned long long)event.seq_num);
				err->seq_num = event.seq_num;
				/* GCOVR_EXCL_STOP */
			}
		}
		if (rc == VIGIA_OK && vigia__buf_add(&d->out, "\n", 1) != 0) rc = vigia__no_memory(err);
		if (rc != VIGIA_OK) {
			d->out.len = before;
			*next = vigia__iterator_after(d->batch->entries[i].seq_num);
			break;
		}
		d->count++;
		if (d->out.len >= WRITE_BYTES) rc = flush_dump(d, err);
	}
	struct vigia_error first = *err;
	int flushed = rc == VIGIA_OK || rc == VIGIA_EDAMAGED || rc == VIGIA_EDESERIAL ? flush_dump(d, err) : rc;
	if (flushed == VIGIA_OK && rc < 0) *err = first;
	return flushed < 0 ? flushed : rc;
}

static int dump_loop(struct dump *d, struct vigia_store *store, const struct vigia__cancel *cancel,
                     struct vigia_error *err)
{
	uint64_t last = 0; /* without follow: do not output events appended from now on */
	bool complete = false;
	int rc = vigia_store_latest(store, &last, err);
	while (rc == VIGIA_OK && !complete && !atomic_load(&vigia__interrupted)) {
		struct vigia_iterator next;
		struct vigia_read request = {.from = d->from,
		                             .limit = d->limit ? d->limit - (int64_t)d->count : 0,
		                             .timeout_ns = d->follow ? FOLLOW_NS : 0};
		rc = vigia__store_read(store, &request, d->filter, cancel, d->batch, &next, err);
		if (rc < 0) break;
		rc = write_batch(d, &next, err);
		if (rc == VIGIA_OK || rc == VIGIA_EDAMAGED || rc == VIGIA_EDESERIAL)
			d->from = next; /* otherwise some may not be written yet, and writing them twice is better than never */
		if (rc == VIGIA_OK && d->follow && d->batch->count == 0) rc = check_reader(d, err);
		/* `next` is resolved: after(N), or at(N) without an event */
		complete = rc == VIGIA_OK &&
		           ((d->limit && d->count >= (uint64_t)d->limit) || (!d->follow && vigia__iterator_first(next) > last));
	}
	if (rc < 0 && rc != VIGIA_EINTERRUPTED) return rc;
	/* --follow always ends by an interruption. Without it, events are missing. */
	if (atomic_load(&vigia__interrupted) && !d->follow && !complete)
		return vigia__error(err, VIGIA_EINTERRUPTED, "interrupted before the last event was written");
	return VIGIA_OK;
}

int vigia__lua_ndjson_dump(lua_State *L)
{
	vigia__lua_check_program(L, "ndjson_dump");
	struct vigia_store *store = vigia__lua_check_store(L, 1);
	lua_settop(L, 2);
	struct dump *d = vigia__lua_new(L, sizeof *d, &dump_class);
	d->fd = STDOUT_FILENO;
	vigia__lua_check_options(L, 2, dump_option_table, d, "ndjson_dump", dump_special, d);
	vigia__lua_make_filter(L, 2, &d->filter);
	d->batch = vigia_batch_new();
	if (d->batch == NULL) return luaL_error(L, "not enough memory");
	struct vigia_error err = {0};
	int rc;
	struct stat st;
	store = vigia__lua_check_store(L, 1);
	if (store == NULL) {
		/* GCOVR_EXCL_START: the program leaves it open. */
		rc = vigia__error(&err, VIGIA_ECLOSED, "the store is closed");
		/* GCOVR_EXCL_STOP */
	} else if (fstat((int)d->fd, &st) != 0) {
		rc = output_error(&err, errno); /* GCOVR_EXCL_LINE: its descriptor is open. */
	} else {
		d->regular = S_ISREG(st.st_mode);
		fflush(stdout); /* write what Lua printed before first */
		struct vigia__interrupt_bell interruption = {.wake = store->backend->wake};
		struct vigia__cancel cancel = {.flag = &vigia__interrupted, .bell = &interruption.bell};
		struct vigia__interrupt_hook hook = {.fn = vigia__interrupt_ring, .ctx = &interruption};
		vigia__interrupt_add(&hook);
		rc = dump_loop(d, store, &cancel, &err);
		vigia__interrupt_remove(&hook);
	}
	vigia__lua_push_iterator(L, d->from);
	lua_pushinteger(L, (lua_Integer)d->count);
	if (rc < 0) vigia__lua_push_error(L, &err);
	else lua_pushnil(L);
	return 3;
}
