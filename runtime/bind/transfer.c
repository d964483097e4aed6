/*
 * transfer.c - store:export and store:import, between a store and a file, by its path or an open one of Lua's; backups;
 * copies into another store.
 *
 * A call of Lua's progress function is protected: what it raises ends the export or import as an interruption does, and
 * is raised again afterwards.
 */
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/block.h"
#include "../core/error.h"
#include "../core/options.h"
#include "../store/backend.h"
#include "../store/copy.h"
#include "../store/fd.h"
#include "../store/transfer.h"
#include "error.h"
#include "interrupt.h"
#include "lua_state.h"
#include "options.h"
#include "store_handle.h"

/* A descriptor of our own, so that the progress function may close the file, and an import that reads from it. */
struct lua_transfer {
	int fd;
	bool opened, imports;
	bool runs; /* its progress function may be calling */
	struct vigia__importer importer;
};

static void free_transfer(lua_State *L, void *object)
{
	struct lua_transfer *t = object;
	if (t->imports) vigia__importer_end(&t->importer);
	if (t->opened) close(t->fd);
	t->imports = t->opened = false;
}

static int transfer_gc(lua_State *L);
static int transfer_run(lua_State *L);
static int transfer_settings(lua_State *L);

static const struct vigia__lua_class transfer_class = {
	.name = "vigia.transfer",
	.free = free_transfer,
	.metamethods = (const luaL_Reg[]){{"__close", transfer_gc}, {NULL, NULL}},
	.methods = (const luaL_Reg[]){{"run", transfer_run}, {"settings", transfer_settings}, {NULL, NULL}}};

static int transfer_gc(lua_State *L)
{
	struct lua_transfer *t = vigia__lua_test(L, 1, &transfer_class);
	if (t && !t->runs) free_transfer(L, t);
	return 0;
}

/* ---- the file ---- */

struct options {
	bool anew, compact;
};

static const struct vigia__option option_table[] = {
	{.name = "progress", .type = VIGIA_OPTION_SPECIAL, .help = "a function, called with a table now and then"},
	{.name = "anew", .type = VIGIA_OPTION_BOOL, .offset = offsetof(struct options, anew), .help = "begin again"},
	{.name = NULL},
};

static const struct vigia__option backup_table[] = {
	{.name = "progress", .type = VIGIA_OPTION_SPECIAL, .help = "a function, called with a table now and then"},
	{.name = "compact",
     .type = VIGIA_OPTION_BOOL,
     .offset = offsetof(struct options, compact),
     .help = "leave out free pages"},
	{.name = NULL},
};

static void take_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	if (!lua_isfunction(L, idx)) vigia__problem(problems, "%s: function expected, got %s", name, luaL_typename(L, idx));
}

/* A path, or an open file. */
static void check_place(lua_State *L, int arg, const char *name)
{
	luaL_Stream *stream = luaL_testudata(L, arg, LUA_FILEHANDLE);
	if (stream) luaL_argcheck(L, stream->closef != NULL, arg, "the file is closed");
	else vigia__lua_check_cstring(L, arg, name);
}

/* Closing a descriptor of LMDB's lock file would drop the locks of this process, and an export could overwrite it. */
static bool is_of_store(const struct stat *st, const char *store)
{
	static const char *const suffixes[] = {"", "-lock", "-side"};
	struct stat own;
	char name[4096];
	for (size_t i = 0; store && i < 3; i++) {
		snprintf(name, sizeof name, "%s%s", store, suffixes[i]);
		if (stat(name, &own) == 0 && st->st_dev == own.st_dev && st->st_ino == own.st_ino) return true;
	}
	return false;
}

static int cannot_open(const char *path, int number, struct vigia_error *err)
{
	int code = number == EACCES || number == EPERM    ? VIGIA_EPERM
	           : number == ENOSPC || number == EDQUOT ? VIGIA_EDISKFULL
	                                                  : VIGIA_EIO;
	return vigia__error_caused(err, code, strerror(number), "cannot open '%s'", path);
}

static int open_file(int fd, const char *store, struct lua_transfer *t, struct vigia_error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0) return cannot_open("the file", errno, err);
	if (is_of_store(&st, store))
		return vigia__error(err, VIGIA_EFILEEXISTS, "the file belongs to the store itself; it was not changed");
	t->fd = VIGIA_FD(fcntl(fd, F_DUPFD_CLOEXEC, 3));
	t->opened = t->fd >= 0;
	return t->opened ? VIGIA_OK : cannot_open("the file", errno, err);
}

static int open_path(const char *path, bool writes, const char *store, struct lua_transfer *t, struct vigia_error *err)
{
	struct stat st;
	bool there = stat(path, &st) == 0;
	if (there && is_of_store(&st, store))
		return vigia__error(err, VIGIA_EFILEEXISTS, "'%s' belongs to the store itself; it was not changed", path);
	if (writes && there && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
		return vigia__error(err, VIGIA_EFILEEXISTS, "'%s' is not a file", path);
	int flags = !writes ? O_RDONLY : there && !S_ISREG(st.st_mode) ? O_WRONLY : O_RDWR | O_CREAT;
	t->fd = VIGIA_FD(open(path, flags | O_CLOEXEC | O_NOCTTY, 0600));
	t->opened = t->fd >= 0;
	return t->opened ? VIGIA_OK : cannot_open(path, errno, err);
}

/* What stands at `arg`, for writing or reading. */
static int open_place(lua_State *L, int arg, bool writes, const char *store, struct lua_transfer *t,
                      struct vigia_error *err)
{
	luaL_Stream *stream = luaL_testudata(L, arg, LUA_FILEHANDLE);
	if (stream && writes) fflush(stream->f);
	if (stream) return open_file(fileno(stream->f), store, t, err);
	if (lua_isinteger(L, arg)) return open_file((int)lua_tointeger(L, arg), store, t, err); /* the program's own */
	return open_path(lua_tostring(L, arg), writes, store, t, err);
}

/* ---- progress ---- */

struct telling {
	lua_State *L;
	int function; /* its place in the registry; LUA_NOREF: none */
	bool raised;
	const struct vigia_transfer *at;
};

static void push_transfer(lua_State *L, const struct vigia_transfer *at)
{
	lua_createtable(L, 0, 8);
	vigia__lua_set_integers(L, (const struct vigia__lua_number[]){{"first", at->first},
	                                                              {"last", at->last},
	                                                              {"at", at->at},
	                                                              {"records", at->records},
	                                                              {"bytes", at->bytes},
	                                                              {"resumed_bytes", at->resumed_bytes},
	                                                              {"bytes_all", at->bytes_all},
	                                                              {NULL, 0}});
	lua_pushboolean(L, at->changed);
	lua_setfield(L, -2, "changed");
}

static int call_progress(lua_State *L, void *arg)
{
	const struct telling *telling = arg;
	lua_rawgeti(L, LUA_REGISTRYINDEX, telling->function);
	push_transfer(L, telling->at);
	lua_call(L, 1, 1);
	lua_pushboolean(L, !lua_isboolean(L, -1) || lua_toboolean(L, -1));
	return 1;
}

static bool tell(void *ctx, const struct vigia_transfer *at)
{
	struct telling *t = ctx;
	if (atomic_load(&vigia__interrupted)) return false;
	if (t->function == LUA_NOREF) return true;
	t->at = at;
	t->raised = vigia__lua_pcall(t->L, call_progress, t, 1, 0) != LUA_OK;
	if (t->raised) return false; /* the error value stays */
	bool goes_on = lua_toboolean(t->L, -1);
	lua_pop(t->L, 1);
	return goes_on;
}

/* Find the function in the table of options at `arg`. */
static struct telling begin_telling(lua_State *L, int arg)
{
	struct telling telling = {.L = L, .function = LUA_NOREF};
	luaL_checkstack(L, 8, "an export or import");
	if (!lua_istable(L, arg)) return telling;
	if (vigia__lua_push_raw(L, arg, "progress") == LUA_TFUNCTION) telling.function = luaL_ref(L, LUA_REGISTRYINDEX);
	else lua_pop(L, 1);
	return telling;
}

static int end_telling(lua_State *L, const struct telling *telling, int rc, const struct vigia_transfer *done,
                       struct vigia_error *err)
{
	luaL_unref(L, LUA_REGISTRYINDEX, telling->function);
	if (telling->raised) return lua_error(L);
	if (rc < 0) return vigia__lua_fail_store(L, rc, err);
	push_transfer(L, done);
	return 1;
}

/* ---- copies ---- */

int vigia__lua_store_backup(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct options options = {false};
	const char *path = vigia__lua_check_cstring(L, 2, "path");
	vigia__lua_check_options(L, 3, backup_table, &options, "options", take_special, NULL);
	lua_settop(L, 3);
	struct telling telling = begin_telling(L, 3);
	struct vigia_error err = {0};
	int rc =
		h->store ? vigia_store_copy(h->store, path, options.compact, tell, &telling, &err) : vigia__lua_closed(h, &err);
	luaL_unref(L, LUA_REGISTRYINDEX, telling.function);
	return telling.raised ? lua_error(L) : vigia__lua_done(L, rc, &err);
}

/* ---- the index of an old file ---- */

int vigia__lua_index(lua_State *L)
{
	vigia__lua_check_program(L, "index");
	vigia__lua_check_store(L, 1);
	if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	struct vigia_error err = {0};
	uint64_t next = 0, oldest = 0, latest = 0, looked = 0;
	bool more = true;
	int rc = VIGIA_OK;
	while (rc == VIGIA_OK && more && !atomic_load(&vigia__interrupted)) {
		struct vigia_store *store = vigia__lua_check_store(L, 1);
		uint64_t from = next;
		if (store == NULL || store->backend->index_some == NULL) break;
		rc = store->backend->index_some(store->backend, &next, &more, &err);
		if (rc == VIGIA_OK && from == 0) rc = store->backend->bounds(store->backend, &oldest, &latest, &err);
		if (rc < 0 || oldest == 0 || lua_isnil(L, 2)) continue;
		uint64_t done = next * VIGIA_BLOCK_EVENTS;
		looked = done > oldest ? done - oldest : 0;
		lua_pushvalue(L, 2);
		lua_pushinteger(L, (lua_Integer)looked);
		lua_pushinteger(L, (lua_Integer)(latest - oldest + 1));
		lua_call(L, 2, 0);
	}
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_pushinteger(L, (lua_Integer)looked);
	return 1;
}

/* ---- export and import ---- */

static int run_export(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct options options = {false};
	vigia__lua_check_options(L, 3, option_table, &options, "options", take_special, NULL);
	lua_settop(L, 3);
	struct lua_transfer *t = vigia__lua_new(L, sizeof *t, &transfer_class);
	struct telling telling = begin_telling(L, 3);
	struct vigia__transfer_watch watch = {.cancel_fd = vigia__interrupt_fd, .progress = tell, .ctx = &telling};
	struct vigia_transfer done = {0};
	struct vigia_error err = {0};
	struct vigia_store *store = h->store;
	int rc = store ? open_place(L, 2, true, store->path, t, &err) : vigia__lua_closed(h, &err);
	t->runs = true;
	if (rc == VIGIA_OK) rc = vigia__store_export(store, t->fd, &watch, &done, &err);
	t->runs = false;
	free_transfer(L, t);
	return end_telling(L, &telling, rc, &done, &err);
}

int vigia__lua_store_export(lua_State *L)
{
	vigia__lua_check_handle(L, 1);
	check_place(L, 2, "target");
	return run_export(L);
}

/* The program's io.stdout has no descriptor. */
int vigia__lua_export(lua_State *L)
{
	vigia__lua_check_program(L, "export");
	if (!lua_isinteger(L, 2)) check_place(L, 2, "target");
	return run_export(L);
}

/* With the importer's first records read, and the options at `arg`. */
static int run_import(lua_State *L, struct lua_store *h, struct lua_transfer *t, int arg)
{
	struct options options = {false};
	vigia__lua_check_options(L, arg, option_table, &options, "options", take_special, NULL);
	struct telling telling = begin_telling(L, arg);
	struct vigia__transfer_watch watch = {.cancel_fd = vigia__interrupt_fd, .progress = tell, .ctx = &telling};
	struct vigia_transfer done = {0};
	struct vigia_error err = {0};
	t->runs = true;
	int rc = h->store ? vigia__importer_run(&t->importer, h->store, options.anew, &watch, &done, &err)
	                  : vigia__lua_closed(h, &err);
	t->runs = false;
	free_transfer(L, t);
	return end_telling(L, &telling, rc, &done, &err);
}

static int begin_import(lua_State *L, int arg, const char *store, struct lua_transfer *t, struct vigia_error *err)
{
	int rc = open_place(L, arg, false, store, t, err);
	if (rc == VIGIA_OK) rc = vigia__importer_begin(&t->importer, t->fd, vigia__interrupt_fd, err);
	t->imports = rc == VIGIA_OK;
	if (rc < 0) free_transfer(L, t);
	return rc;
}

int vigia__lua_store_import(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct options options = {false};
	check_place(L, 2, "source");
	vigia__lua_check_options(L, 3, option_table, &options, "options", take_special, NULL);
	lua_settop(L, 3);
	struct lua_transfer *t = vigia__lua_new(L, sizeof *t, &transfer_class);
	struct vigia_error err = {0};
	int rc = h->store ? begin_import(L, 2, h->store->path, t, &err) : vigia__lua_closed(h, &err);
	return rc < 0 ? vigia__lua_fail_store(L, rc, &err) : run_import(L, h, t, 3);
}

int vigia__lua_import_begin(lua_State *L)
{
	vigia__lua_check_program(L, "import_begin");
	check_place(L, 1, "source");
	lua_settop(L, 1);
	struct lua_transfer *t = vigia__lua_new(L, sizeof *t, &transfer_class);
	struct vigia_error err = {0};
	int rc = begin_import(L, 1, NULL, t, &err);
	return rc < 0 ? vigia__lua_fail_store(L, rc, &err) : 1;
}

static struct lua_transfer *check_import(lua_State *L)
{
	struct lua_transfer *t = vigia__lua_check(L, 1, &transfer_class);
	luaL_argcheck(L, t->imports && !t->runs, 1, "the import has ended");
	return t;
}

/* What is fixed when a file is made. */
static int push_fixed(lua_State *L, const struct vigia__settings *settings)
{
	lua_newtable(L);
	for (const struct vigia__option *o = vigia__store_option_table; o->name; o++) {
		if (o->scope != VIGIA_SCOPE_FIXED && strcmp(o->name, "journal") != 0) continue;
		vigia__lua_push_option_value(L, o, &settings->values);
		lua_setfield(L, -2, o->name);
	}
	return 1;
}

static int transfer_settings(lua_State *L)
{
	return push_fixed(L, &check_import(L)->importer.settings);
}

static int transfer_run(lua_State *L)
{
	struct lua_transfer *t = check_import(L);
	struct lua_store *h = vigia__lua_check_handle(L, 2);
	lua_settop(L, 3);
	return run_import(L, h, t, 3);
}

/* ---- copies into another store ---- */

int vigia__lua_copy_settings(lua_State *L)
{
	vigia__lua_check_program(L, "copy_settings");
	struct vigia_store *store = vigia__lua_check_store(L, 1);
	struct vigia__settings settings;
	struct vigia_error err = {0};
	int rc = store->backend->settings(store->backend, &settings, &err);
	return rc < 0 ? vigia__lua_fail_store(L, rc, &err) : push_fixed(L, &settings);
}

static const struct vigia__option copy_table[] = {
	{.name = "progress", .type = VIGIA_OPTION_SPECIAL},
	{.name = "merge", .type = VIGIA_OPTION_BOOL, .offset = offsetof(struct vigia__copy, merge)},
	{.name = "anew", .type = VIGIA_OPTION_BOOL, .offset = offsetof(struct vigia__copy, anew)},
	{.name = "skip_removed", .type = VIGIA_OPTION_BOOL, .offset = offsetof(struct vigia__copy, skip_removed)},
	{.name = "follow", .type = VIGIA_OPTION_BOOL, .offset = offsetof(struct vigia__copy, follow)},
	{.name = NULL},
};

static void push_copied(lua_State *L, const struct vigia__copy *copy)
{
	lua_createtable(L, 0, 5);
	vigia__lua_set_integers(L, (const struct vigia__lua_number[]){{"events", copy->events},
	                                                              {"at", copy->at},
	                                                              {"skipped", copy->skipped},
	                                                              {"timers", copy->timers},
	                                                              {NULL, 0}});
	lua_pushboolean(L, copy->whole);
	lua_setfield(L, -2, "whole");
}

int vigia__lua_copy(lua_State *L)
{
	vigia__lua_check_program(L, "copy");
	struct vigia__copy copy = {.from = vigia__lua_check_store(L, 1), .to = vigia__lua_check_store(L, 2)};
	luaL_argcheck(L, copy.from && copy.to, 1, "a store is closed");
	vigia__lua_check_options(L, 3, copy_table, &copy, "copy", take_special, NULL);
	lua_settop(L, 3);
	struct telling telling = begin_telling(L, 3);
	struct vigia__transfer_watch watch = {.cancel_fd = vigia__interrupt_fd, .progress = tell, .ctx = &telling};
	struct vigia__interrupt_bell interruption = {.wake = copy.from->backend->wake};
	struct vigia__cancel cancel = {.flag = &vigia__interrupted, .bell = &interruption.bell};
	struct vigia__interrupt_hook hook = {.fn = vigia__interrupt_ring, .ctx = &interruption};
	struct vigia_error err = {0};
	copy.watch = &watch;
	copy.cancel = &cancel;
	vigia__interrupt_add(&hook);
	int rc = vigia__copy_run(&copy, &err);
	vigia__interrupt_remove(&hook);
	luaL_unref(L, LUA_REGISTRYINDEX, telling.function);
	if (telling.raised) return lua_error(L);
	if (rc == VIGIA_OK) {
		push_copied(L, &copy);
		return 1;
	}
	int results = vigia__lua_fail_store(L, rc, &err);
	push_copied(L, &copy);
	return results + 1;
}
