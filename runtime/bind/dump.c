/*
 * dump.c - writes events for `vigia events`, as lines of JSON or for people (pretty.c), without making Lua values.
 */
#include "dump.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/batch.h"
#include "../core/error.h"
#include "../core/event.h"
#include "../core/iterator.h"
#include "../core/json.h"
#include "../core/options.h"
#include "../store/backend.h"
#include "../store/file_limit.h"
#include "../store/store.h"
#include "error.h"
#include "fd_wait.h"
#include "filter.h"
#include "interrupt.h"
#include "iterator.h"
#include "lua_state.h"
#include "options.h"
#include "pretty.h"
#include "store_handle.h"

enum {
	WRITE_BYTES = 1 << 18,
	PRETTY = 1,            /* of the formats */
	FOLLOW_NS = 1000000000 /* how long a wait of --follow lasts before it checks that the output still has a reader */
};

struct dump {
	struct vigia_iterator from;
	int64_t limit, fd, upto;
	bool follow, colour;
	int format;               /* PRETTY, or 0: NDJSON */
	bool regular;             /* the output is a file, so that writing never blocks for long */
	bool terminal;            /* and pretty lines are as wide as it is */
	struct vigia__buf object; /* of the event that is being written */
	struct vigia__buf out;    /* lines not yet written */
	struct vigia__filter *filter;
	struct vigia_batch *batch;
	uint64_t count; /* lines written or in `out` */
};

static void free_dump(lua_State *L, void *object)
{
	struct dump *d = object;
	vigia__buf_deinit(&d->out);
	vigia__buf_deinit(&d->object);
	vigia_batch_free(d->batch);
	vigia__filter_free(d->filter);
	d->batch = NULL;
	d->filter = NULL;
}

static const struct vigia__lua_class dump_class = {.name = "vigia.dump", .free = free_dump};

static const struct vigia__option dump_option_table[] = {
	{.name = "from", .type = VIGIA_OPTION_SPECIAL},
	{.name = "filter", .type = VIGIA_OPTION_SPECIAL},
	{.name = "limit", .type = VIGIA_OPTION_COUNT, .offset = offsetof(struct dump, limit), .max = 0x1p63},
	{.name = "upto", .type = VIGIA_OPTION_COUNT, .offset = offsetof(struct dump, upto), .max = 0x1p63},
	{.name = "format",
     .type = VIGIA_OPTION_CHOICE,
     .offset = offsetof(struct dump, format),
     .choices = "ndjson pretty"},
	{.name = "colour", .type = VIGIA_OPTION_BOOL, .offset = offsetof(struct dump, colour)},
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
	return vigia__fd_error(err, number, "cannot write the output");
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
			int rc = vigia__fd_wait((int)d->fd, POLLOUT, -1, err);
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

/* The width of the terminal now, 0 for an output that is none. */
static int columns(const struct dump *d)
{
	enum { USUAL = 80 };
	struct winsize size;
	if (!d->terminal) return 0;
	return ioctl((int)d->fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : USUAL;
}

/* Write the batch as lines. After a failure *next is after the event that caused it. */
static int write_batch(struct dump *d, struct vigia_iterator *next, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	struct vigia__pretty pretty = {.columns = columns(d), .colour = d->colour};
	for (size_t i = 0; i < d->batch->count && rc == VIGIA_OK; i++) {
		if (d->batch->entries[i].seq_num > (uint64_t)d->upto) break;
		struct vigia_event event;
		size_t before = d->out.len;
		rc = vigia_batch_event(d->batch, i, &event, err);
		if (rc == VIGIA_OK) {
			rc = d->format == PRETTY ? vigia__pretty_event(&pretty, &event, &d->object, &d->out, err)
			                         : vigia__json_from_event(&event, &d->out, err);
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

/* The last event to be written: without follow none that is appended from now on. */
static int find_end(struct dump *d, struct vigia_store *store, struct vigia_error *err)
{
	uint64_t last = 0;
	int rc = vigia_store_latest(store, &last, err);
	if (!d->follow && last < (uint64_t)d->upto) d->upto = (int64_t)last;
	return rc;
}

static int dump_loop(struct dump *d, struct vigia_store *store, const struct vigia__cancel *cancel,
                     struct vigia_error *err)
{
	bool complete = false;
	int rc = find_end(d, store, err);
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
		complete =
			rc == VIGIA_OK && ((d->limit && d->count >= (uint64_t)d->limit) ||
		                       (!d->follow && (vigia__iterator_first(next) > (uint64_t)d->upto ||
		                                       (d->batch->count == 0 && d->batch->at_end)))); /* all were removed */
	}
	if (rc < 0 && rc != VIGIA_EINTERRUPTED) return rc;
	/* --follow always ends by an interruption. Without it, events are missing. */
	if (atomic_load(&vigia__interrupted) && !d->follow && !complete)
		return vigia__error(err, VIGIA_EINTERRUPTED, "interrupted before the last event was written");
	return VIGIA_OK;
}

int vigia__lua_dump(lua_State *L)
{
	vigia__lua_check_program(L, "dump");
	struct vigia_store *store = vigia__lua_check_store(L, 1);
	lua_settop(L, 2);
	struct dump *d = vigia__lua_new(L, sizeof *d, &dump_class);
	d->fd = STDOUT_FILENO;
	d->upto = INT64_MAX;
	vigia__lua_check_options(L, 2, dump_option_table, d, "dump", dump_special, d);
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
		d->terminal = d->format == PRETTY && isatty((int)d->fd) == 1;
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
