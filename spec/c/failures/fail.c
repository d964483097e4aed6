/*
 * fail.c - makes the N-th call of a kind fail, of the calls that Vigia and LMDB make of the system. Preloaded into a
 * stock lua5.4, where `require "fail"` arms it: fail.arm(kind, n, error [, forever]); fail.disarm() -> how many calls
 * failed; fail.state(source, n, ...): run a Lua source whose n-th allocation fails.
 *
 * A call counts if its return address lies in libvigia, vigia/core.so or liblmdb: Lua, busted and the C library go on
 * undisturbed. A call of LMDB counts where Vigia makes it, not LMDB itself.
 *
 * fail.record(kind): nothing fails, but each call is written down; fail.recorded(): a list with a number for each of
 * them, the same for calls that came to be in the same way. fail.track(): from now on what is allocated is written
 * down; fail.kept(): ends that, and answers how many blocks were not freed again, and where a few of them come from.
 * (With a sanitizer nothing is tracked: it looks for leaks itself.)
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <link.h>
#include <linux/futex.h>
#include <lmdb.h>
#include <lualib.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <unwind.h>

#define EXPORT __attribute__((visibility("default"), used))

enum kind { ALLOC, OPEN, MMAP, TRUNCATE, WRITE, SHORT_WRITE, SYNC, THREAD, LOCK, FUTEX, LMDB, LOOK, READ, KINDS };
static const char *const kind_names[] = {"alloc",  "open", "mmap",  "truncate", "write", "short", "sync",
                                         "thread", "lock", "futex", "lmdb",     "look",  "read",  NULL};

/* ---- whose calls count ---- */

enum { RANGES_MAX = 16, LEN_MAX = 1 << 30 };
static struct {
	uintptr_t from, to;
	bool lmdb;
} ranges[RANGES_MAX];
static int range_count;

static int add_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size, (void)arg;
	static const char *const names[] = {
		"libvigia", "vigia/core.so", "liblmdb",
#ifdef VIGIA_SANITIZED
		"libasan", /* calls in their place, some of them */
#endif
	};
	bool ours = false;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) ours |= strstr(info->dlpi_name, names[i]) != NULL;
	if (!ours) return 0;
	for (int i = 0; i < info->dlpi_phnum && range_count < RANGES_MAX; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
		ranges[range_count].lmdb = strstr(info->dlpi_name, "liblmdb") != NULL;
		ranges[range_count].from = info->dlpi_addr + part->p_vaddr;
		ranges[range_count++].to = info->dlpi_addr + part->p_vaddr + part->p_memsz;
	}
	return 0;
}

static bool counts(enum kind kind, const void *caller)
{
	for (int i = 0; i < range_count; i++)
		if ((uintptr_t)caller >= ranges[i].from && (uintptr_t)caller < ranges[i].to)
			return kind != LMDB || !ranges[i].lmdb;
	return false;
}

/* ---- what is armed ---- */

static atomic_long countdown; /* 0: off */
static atomic_int armed_kind, armed_error, hits;
static atomic_bool forever;

/* ---- what is written down ---- */

enum { RECORDS_MAX = 1 << 19, FRAMES_MAX = 40 };
static uint64_t records[RECORDS_MAX];
static atomic_long record_count;
static atomic_bool recording;

struct way {
	uint64_t hash;
	int frames;
};

static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *arg)
{
	struct way *way = arg;
	uintptr_t at = _Unwind_GetIP(context);
	if (counts(ALLOC, (const void *)at)) {
		way->hash = (way->hash ^ at) * 0x9e3779b97f4a7c15U;
		way->hash ^= way->hash >> 29;
	}
	return ++way->frames < FRAMES_MAX ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* The functions of ours that led to this call, as one number. */
static void record(void)
{
	static _Thread_local bool inside; /* the unwinder may allocate */
	long at = atomic_fetch_add(&record_count, 1);
	if (inside || at >= RECORDS_MAX) return;
	inside = true;
	struct way way = {1, 0};
	_Unwind_Backtrace(add_frame, &way);
	records[at] = way.hash >> 1;
	inside = false;
}

static bool fails(enum kind kind, const void *caller)
{
	if (atomic_load(&countdown) == 0 || atomic_load(&armed_kind) != (int)kind || !counts(kind, caller)) return false;
	if (atomic_load(&recording)) {
		record();
		return false;
	}
	long left = atomic_load(&countdown);
	do {
		if (left == 0) return false;
		if (left == 1 && atomic_load(&forever)) break;
	} while (!atomic_compare_exchange_weak(&countdown, &left, left - 1));
	if (left != 1) return false;
	atomic_fetch_add(&hits, 1);
	errno = atomic_load(&armed_error);
	return true;
}

#define FAILS(kind) fails(kind, __builtin_return_address(0))

#ifndef VIGIA_SANITIZED /* a sanitizer has an allocator of its own */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
	*__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

/* Blocks that were allocated and not freed since track(): a table with open addressing. */
enum { BLOCKS = 1 << 17 };
static struct {
	uintptr_t ptr;
	const void *caller;
} blocks[BLOCKS];
static size_t used_blocks[BLOCKS / 2];
static long blocks_kept, blocks_used;
static atomic_bool tracking;
static pthread_mutex_t blocks_mutex = PTHREAD_MUTEX_INITIALIZER;

static size_t block_at(uintptr_t ptr)
{
	size_t at = (size_t)((ptr >> 4) * 0x9e3779b97f4a7c15U >> 40) % BLOCKS;
	while (blocks[at].ptr != 0 && blocks[at].ptr != ptr) at = (at + 1) % BLOCKS;
	return at;
}

static void *allocated(void *ptr, const void *caller)
{
	if (!atomic_load(&tracking) || ptr == NULL || !counts(ALLOC, caller)) return ptr;
	pthread_mutex_lock(&blocks_mutex);
	size_t at = block_at((uintptr_t)ptr);
	if (blocks[at].ptr == 0 && blocks_used < BLOCKS / 2) {
		blocks[at].ptr = (uintptr_t)ptr;
		used_blocks[blocks_used++] = at;
	}
	if (blocks[at].ptr != 0) {
		blocks_kept += blocks[at].caller == NULL;
		blocks[at].caller = caller;
	}
	pthread_mutex_unlock(&blocks_mutex);
	return ptr;
}

/* A block that is freed keeps its place in the table, without a caller: the same address comes again and again. */
static void freed(void *ptr)
{
	if (!atomic_load(&tracking) || ptr == NULL) return;
	pthread_mutex_lock(&blocks_mutex);
	size_t at = block_at((uintptr_t)ptr);
	if (blocks[at].ptr != 0 && blocks[at].caller != NULL) {
		blocks[at].caller = NULL;
		blocks_kept--;
	}
	pthread_mutex_unlock(&blocks_mutex);
}

EXPORT void *malloc(size_t size)
{
	return FAILS(ALLOC) ? NULL : allocated(__libc_malloc(size), __builtin_return_address(0));
}

EXPORT void *calloc(size_t count, size_t size)
{
	return FAILS(ALLOC) ? NULL : allocated(__libc_calloc(count, size), __builtin_return_address(0));
}

EXPORT void *realloc(void *ptr, size_t size)
{
	if (FAILS(ALLOC)) return NULL;
	freed(ptr);
	void *moved = __libc_realloc(ptr, size);
	return allocated(moved == NULL && size != 0 ? ptr : moved, __builtin_return_address(0)) == moved ? moved : NULL;
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
	if (FAILS(ALLOC)) return ENOMEM;
	void *ptr = allocated(__libc_memalign(alignment, size), __builtin_return_address(0));
	if (ptr == NULL) return ENOMEM;
	*out = ptr;
	return 0;
}

EXPORT void *memalign(size_t alignment, size_t size)
{
	return FAILS(ALLOC) ? NULL : allocated(__libc_memalign(alignment, size), __builtin_return_address(0));
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	return FAILS(ALLOC) ? NULL : allocated(__libc_memalign(alignment, size), __builtin_return_address(0));
}

EXPORT void free(void *ptr)
{
	freed(ptr);
	__libc_free(ptr);
}
#endif

#define OPENS(name)                                                         \
	EXPORT int name(const char *path, int flags, ...)                       \
	{                                                                       \
		va_list args;                                                       \
		va_start(args, flags);                                              \
		int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, int) : 0; \
		va_end(args);                                                       \
		return FAILS(OPEN) ? -1 : openat(AT_FDCWD, path, flags, mode);      \
	}
OPENS(open)
OPENS(open64)

EXPORT void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return FAILS(MMAP) ? MAP_FAILED : (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
}

EXPORT void *mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return FAILS(MMAP) ? MAP_FAILED : (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
}

/* No scenario has a file of such a size: a look at it failed, and nobody noticed. */
static off_t meant(off_t len)
{
	if (len < 0 || len > LEN_MAX) {
		fprintf(stderr, "a file is to have %lld bytes\n", (long long)len);
		abort();
	}
	return len;
}

EXPORT int ftruncate(int fd, off_t len)
{
	return FAILS(TRUNCATE) ? -1 : (int)syscall(SYS_ftruncate, fd, meant(len));
}

EXPORT int ftruncate64(int fd, off_t len)
{
	return FAILS(TRUNCATE) ? -1 : (int)syscall(SYS_ftruncate, fd, meant(len));
}

EXPORT int fallocate(int fd, int mode, off_t at, off_t len)
{
	return FAILS(TRUNCATE) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, meant(len));
}

EXPORT int fallocate64(int fd, int mode, off_t at, off_t len)
{
	return FAILS(TRUNCATE) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, meant(len));
}

#define PWRITES(name)                                                   \
	EXPORT ssize_t name(int fd, const void *data, size_t len, off_t at) \
	{                                                                   \
		if (FAILS(WRITE)) return -1;                                    \
		if (FAILS(SHORT_WRITE)) len = len / 2;                          \
		return syscall(SYS_pwrite64, fd, data, len, at);                \
	}
PWRITES(pwrite)
PWRITES(pwrite64)

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
	if (FAILS(WRITE)) return -1;
	if (FAILS(SHORT_WRITE)) return count > 1 ? syscall(SYS_writev, fd, parts, count / 2) : 0;
	return syscall(SYS_writev, fd, parts, count);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
	if (FAILS(WRITE)) return -1;
	return syscall(SYS_pwritev, fd, parts, FAILS(SHORT_WRITE) && count > 1 ? count / 2 : count, at, 0);
}

EXPORT int fdatasync(int fd)
{
	return FAILS(SYNC) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

EXPORT int fsync(int fd)
{
	return FAILS(SYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	*(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
	return FAILS(THREAD) ? atomic_load(&armed_error) : next(thread, attr, start, arg);
}

/* Locks of bytes of a file, also of those who wait for one. */
#define FCNTLS(name)                                                                                                 \
	EXPORT int name(int fd, int command, ...)                                                                        \
	{                                                                                                                \
		va_list args;                                                                                                \
		va_start(args, command);                                                                                     \
		void *arg = va_arg(args, void *);                                                                            \
		va_end(args);                                                                                                \
		bool locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW; \
		return locks && FAILS(LOCK) ? -1 : (int)syscall(SYS_fcntl, fd, command, arg);                                \
	}
FCNTLS(fcntl)
FCNTLS(fcntl64)

/* Of the calls made through syscall() those of a futex that wait; the others go on as they are. */
EXPORT long syscall(long number, ...)
{
	long a[6];
	va_list args;
	va_start(args, number);
	for (int i = 0; i < 6; i++) a[i] = va_arg(args, long);
	va_end(args);
	bool waits =
		number == SYS_futex && ((a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT || (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET);
#ifdef SYS_futex_waitv
	waits |= number == SYS_futex_waitv;
#endif
	if (waits && FAILS(FUTEX)) return -1;
	static long (*_Atomic next)(long, ...);
	if (next == NULL) atomic_store(&next, (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"));
	return atomic_load(&next)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- looking at files, reading them ---- */

#define LOOKS(name, call, parameters, ...)                         \
	EXPORT int name parameters                                     \
	{                                                              \
		return FAILS(LOOK) ? -1 : (int)syscall(call, __VA_ARGS__); \
	}
LOOKS(stat, SYS_newfstatat, (const char *path, struct stat *st), AT_FDCWD, path, st, 0)
LOOKS(lstat, SYS_newfstatat, (const char *path, struct stat *st), AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW)
LOOKS(fstat, SYS_newfstatat, (int fd, struct stat *st), fd, "", st, AT_EMPTY_PATH)
LOOKS(access, SYS_faccessat, (const char *path, int mode), AT_FDCWD, path, mode)

EXPORT char *realpath(const char *path, char *out)
{
	char *(*next)(const char *path, char *out);
	*(void **)&next = dlsym(RTLD_NEXT, "realpath");
	return FAILS(LOOK) ? NULL : next(path, out);
}

#define PREADS(name)                                                       \
	EXPORT ssize_t name(int fd, void *data, size_t len, off_t at)          \
	{                                                                      \
		return FAILS(READ) ? -1 : syscall(SYS_pread64, fd, data, len, at); \
	}
PREADS(pread)
PREADS(pread64)

/* ---- LMDB ---- */

/* Those that can fail with arguments that are allowed. One that failed has done nothing. */
#define LMDB_CALL(name, parameters, arguments)       \
	EXPORT int name parameters                       \
	{                                                \
		int(*next) parameters;                       \
		*(void **)&next = dlsym(RTLD_NEXT, #name);   \
		return FAILS(LMDB) ? errno : next arguments; \
	}
LMDB_CALL(mdb_env_create, (MDB_env * *env), (env))
LMDB_CALL(mdb_env_set_mapsize, (MDB_env * env, size_t size), (env, size))
LMDB_CALL(mdb_env_open, (MDB_env * env, const char *path, unsigned flags, mdb_mode_t mode), (env, path, flags, mode))
LMDB_CALL(mdb_env_sync, (MDB_env * env, int force), (env, force))
LMDB_CALL(mdb_env_copyfd2, (MDB_env * env, mdb_filehandle_t fd, unsigned flags), (env, fd, flags))
LMDB_CALL(mdb_reader_check, (MDB_env * env, int *dead), (env, dead))
LMDB_CALL(mdb_txn_begin, (MDB_env * env, MDB_txn *parent, unsigned flags, MDB_txn **txn), (env, parent, flags, txn))
LMDB_CALL(mdb_txn_renew, (MDB_txn * txn), (txn))
LMDB_CALL(mdb_dbi_open, (MDB_txn * txn, const char *name, unsigned flags, MDB_dbi *dbi), (txn, name, flags, dbi))
LMDB_CALL(mdb_stat, (MDB_txn * txn, MDB_dbi dbi, MDB_stat *stat), (txn, dbi, stat))
LMDB_CALL(mdb_get, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data), (txn, dbi, key, data))
LMDB_CALL(mdb_put, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags),
          (txn, dbi, key, data, flags))
LMDB_CALL(mdb_del, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data), (txn, dbi, key, data))
LMDB_CALL(mdb_cursor_open, (MDB_txn * txn, MDB_dbi dbi, MDB_cursor **cursor), (txn, dbi, cursor))
LMDB_CALL(mdb_cursor_renew, (MDB_txn * txn, MDB_cursor *cursor), (txn, cursor))
LMDB_CALL(mdb_cursor_get, (MDB_cursor * cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op), (cursor, key, data, op))
LMDB_CALL(mdb_cursor_put, (MDB_cursor * cursor, MDB_val *key, MDB_val *data, unsigned flags),
          (cursor, key, data, flags))
LMDB_CALL(mdb_cursor_del, (MDB_cursor * cursor, unsigned flags), (cursor, flags))

/* The transaction is gone, also if its commit failed. */
EXPORT int mdb_txn_commit(MDB_txn *txn)
{
	int (*next)(MDB_txn * txn);
	*(void **)&next = dlsym(RTLD_NEXT, "mdb_txn_commit");
	if (!FAILS(LMDB)) return next(txn);
	int error = errno;
	mdb_txn_abort(txn);
	return error;
}

/* ---- Lua allocations ---- */

struct budget {
	long count, fail_at, wanted;
};

/* In that state: arm() begins to count, disarm() ends it. */
static int budget_arm(lua_State *S)
{
	struct budget *budget = lua_touserdata(S, lua_upvalueindex(1));
	budget->count = 0;
	budget->fail_at = budget->wanted;
	return 0;
}

static int budget_disarm(lua_State *S)
{
	struct budget *budget = lua_touserdata(S, lua_upvalueindex(1));
	budget->fail_at = 0;
	return 0;
}

static void *budget_alloc(void *ud, void *ptr, size_t old, size_t size)
{
	struct budget *budget = ud;
	if (size == 0) {
		free(ptr);
		return NULL;
	}
	/* Lua may rely on it that a block never fails to shrink. */
	if ((ptr == NULL || size > old) && ++budget->count == budget->fail_at) return NULL;
	return realloc(ptr, size);
}

/* fail.state(source, n, path, cpath, argument): run a Lua source in a state of its own, whose n-th allocation behind
 * arm() fails. Returns whether it came to that, and what the source returned as a string, or nil and what it raised. */
static int lua_state_run(lua_State *L)
{
	const char *source = luaL_checkstring(L, 1), *path = luaL_checkstring(L, 3), *cpath = luaL_checkstring(L, 4);
	struct budget budget = {.wanted = (long)luaL_checkinteger(L, 2)};
	lua_State *S = lua_newstate(budget_alloc, &budget);
	if (S == NULL) return luaL_error(L, "out of memory");
	luaL_openlibs(S);
	lua_getglobal(S, "package");
	lua_pushstring(S, path);
	lua_setfield(S, -2, "path");
	lua_pushstring(S, cpath);
	lua_setfield(S, -2, "cpath");
	lua_pop(S, 1);
	lua_pushlightuserdata(S, &budget);
	lua_pushcclosure(S, budget_arm, 1);
	lua_setglobal(S, "arm");
	lua_pushlightuserdata(S, &budget);
	lua_pushcclosure(S, budget_disarm, 1);
	lua_setglobal(S, "disarm");
	int rc = luaL_loadstring(S, source);
	if (rc == LUA_OK) {
		lua_pushstring(S, luaL_checkstring(L, 5));
		rc = lua_pcall(S, 1, 1, 0);
		budget.fail_at = 0;
	}
	lua_pushboolean(L, budget.count >= budget.wanted);
	if (rc != LUA_OK) lua_pushnil(L);
	lua_pushstring(L, lua_tostring(S, -1) ? lua_tostring(S, -1) : "no text");
	lua_close(S);
	return rc == LUA_OK ? 2 : 3;
}

/* ---- for Lua ---- */

static int lua_arm(lua_State *L)
{
	if (range_count == 0) dl_iterate_phdr(add_object, NULL);
	atomic_store(&armed_kind, luaL_checkoption(L, 1, NULL, kind_names));
	atomic_store(&armed_error, (int)luaL_checkinteger(L, 3));
	atomic_store(&forever, lua_toboolean(L, 4));
	atomic_store(&hits, 0);
	atomic_store(&countdown, (long)luaL_checkinteger(L, 2));
	return 0;
}

static int lua_disarm(lua_State *L)
{
	atomic_store(&countdown, 0);
	atomic_store(&recording, false);
	lua_pushinteger(L, atomic_load(&hits));
	return 1;
}

static int lua_record(lua_State *L)
{
	if (range_count == 0) dl_iterate_phdr(add_object, NULL);
	atomic_store(&armed_kind, luaL_checkoption(L, 1, NULL, kind_names));
	atomic_store(&hits, 0);
	atomic_store(&record_count, 0);
	atomic_store(&recording, true);
	atomic_store(&countdown, 1);
	return 0;
}

static int lua_recorded(lua_State *L)
{
	long count = atomic_load(&record_count);
	if (count > RECORDS_MAX) count = RECORDS_MAX;
	lua_createtable(L, (int)count, 0);
	for (long i = 0; i < count; i++) {
		lua_pushinteger(L, (lua_Integer)records[i]);
		lua_rawseti(L, -2, i + 1);
	}
	return 1;
}

static int lua_track(lua_State *L)
{
#ifndef VIGIA_SANITIZED
	if (range_count == 0) dl_iterate_phdr(add_object, NULL);
	for (long i = 0; i < blocks_used; i++) memset(&blocks[used_blocks[i]], 0, sizeof *blocks);
	blocks_kept = blocks_used = 0;
	atomic_store(&tracking, true);
#else
	(void)L;
#endif
	return 0;
}

static int lua_kept(lua_State *L)
{
#ifndef VIGIA_SANITIZED
	atomic_store(&tracking, false);
	lua_pushinteger(L, blocks_kept);
	luaL_Buffer text;
	luaL_buffinit(L, &text);
	int told = 0;
	for (long i = 0; i < blocks_used && told < 3; i++) {
		Dl_info info;
		const void *caller = blocks[used_blocks[i]].caller;
		if (caller == NULL || dladdr(caller, &info) == 0) continue;
		lua_pushfstring(L, " %s+%p", info.dli_fname, (void *)((uintptr_t)caller - (uintptr_t)info.dli_fbase));
		luaL_addvalue(&text);
		told++;
	}
	luaL_pushresult(&text);
#else
	lua_pushinteger(L, 0);
	lua_pushliteral(L, "");
#endif
	return 2;
}

EXPORT int luaopen_fail(lua_State *L);
int luaopen_fail(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{"arm", lua_arm},           {"disarm", lua_disarm}, {"state", lua_state_run}, {"record", lua_record},
		{"recorded", lua_recorded}, {"track", lua_track},   {"kept", lua_kept},       {NULL, NULL}};
	static const struct {
		const char *name;
		int number;
	} errors[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EMFILE", EMFILE}, {"EINTR", EINTR},
	              {"ENOMEM", ENOMEM}, {"EAGAIN", EAGAIN}, {"ENOLCK", ENOLCK}};
	luaL_newlib(L, functions);
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		lua_pushinteger(L, errors[i].number);
		lua_setfield(L, -2, errors[i].name);
		lua_pushstring(L, strerror(errors[i].number));
		lua_rawseti(L, -2, errors[i].number);
	}
#ifdef VIGIA_SANITIZED
	lua_pushboolean(L, 1);
	lua_setfield(L, -2, "sanitized");
#endif
	return 1;
}
