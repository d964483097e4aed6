/*
 * record.c - the recorder: a library for LD_PRELOAD that notes what a process does to the files of one folder
 * (record.h), and can make a call fail. The calls themselves are made.
 *
 * The kernel is asked at each call whether a descriptor is one of the folder's files: it may have been duplicated or
 * inherited, or belong to a file without a name. Changes through a shared mapping are not seen. Only the lock file and
 * the side file are written so; nothing syncs them, and a state may fill them with anything.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PARTS_MAX = 256 };

#define EXPORTED __attribute__((visibility("default")))

static int log_fd = -1;
static char folder[PATH_MAX];
static char plant[32];
static ino_t folder_ino;
static dev_t folder_dev;
static atomic_ullong next_id;

static struct {
	atomic_int fault, countdown, hits;
} armed;

__attribute__((constructor)) static void begin(void)
{
	const char *log = getenv(RECORD_ENV_LOG), *where = getenv(RECORD_ENV_FOLDER), *what = getenv(RECORD_ENV_PLANT);
	struct stat st;
	if (log == NULL || where == NULL) return;
	snprintf(folder, sizeof folder, "%s", where);
	snprintf(plant, sizeof plant, "%s", what ? what : "");
	if (stat(folder, &st) < 0) return;
	folder_ino = st.st_ino;
	folder_dev = st.st_dev;
	log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (log_fd >= 0 && log_fd < 100) { /* out of the way of descriptors that a workload counts on */
		int high = (int)syscall(SYS_fcntl, log_fd, F_DUPFD_CLOEXEC, 100);
		syscall(SYS_close, log_fd);
		log_fd = high;
	}
}

static bool planted(const char *name)
{
	return strcmp(plant, name) == 0;
}

static void put(enum record_kind kind, uint64_t ino, uint64_t id, int64_t a, int64_t b, const struct iovec *parts,
                int count)
{
	struct iovec all[PARTS_MAX + 1];
	struct record head = {.bytes = sizeof head, .kind = kind, .ino = ino, .id = id, .a = a, .b = b};
	int saved = errno, n = 1;
	for (int i = 0; i < count && n <= PARTS_MAX; i++) {
		all[n++] = parts[i];
		head.bytes += (uint32_t)parts[i].iov_len;
	}
	all[0] = (struct iovec){&head, sizeof head};
	if (log_fd >= 0 && count <= PARTS_MAX && syscall(SYS_writev, log_fd, all, n) != (long)head.bytes) abort();
	if (count > PARTS_MAX) abort();
	errno = saved;
}

static void put_text(enum record_kind kind, uint64_t ino, int64_t a, const char *text, size_t len)
{
	struct iovec part = {(void *)text, len};
	put(kind, ino, 0, a, 0, &part, 1);
}

static uint64_t new_id(void)
{
	return (uint64_t)getpid() << 32 | atomic_fetch_add(&next_id, 1);
}

/* Is it a file of the folder? *ino: which. The folder itself counts, too. */
static bool is_ours(int fd, uint64_t *ino)
{
	char name[64], path[PATH_MAX];
	struct stat st;
	if (log_fd < 0 || fd == log_fd || fstat(fd, &st) < 0 || st.st_dev != folder_dev) return false;
	*ino = st.st_ino;
	if (st.st_ino == folder_ino) return true;
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	ssize_t len = readlink(name, path, sizeof path - 1);
	size_t prefix = strlen(folder);
	return S_ISREG(st.st_mode) && len > (ssize_t)prefix && memcmp(path, folder, prefix) == 0 && path[prefix] == '/';
}

/* The name inside the folder that a path means; NULL: it is elsewhere. */
static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct stat st;
	char dir[PATH_MAX];
	if (log_fd < 0) return NULL;
	snprintf(dir, sizeof dir, "%.*s", slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path), slash ? path : ".");
	if (stat(dir, &st) < 0 || st.st_ino != folder_ino || st.st_dev != folder_dev) return NULL;
	return slash ? slash + 1 : path;
}

/* ---- marks and faults ---- */

EXPORTED void power_mark(const char *text);
EXPORTED void power_mark(const char *text)
{
	put_text(RECORD_MARK, 0, 0, text, strlen(text));
}

EXPORTED void power_fault(int fault, int n);
EXPORTED void power_fault(int fault, int n)
{
	atomic_store(&armed.hits, 0);
	atomic_store(&armed.countdown, n);
	atomic_store(&armed.fault, fault);
}

static atomic_llong room = LLONG_MAX;

EXPORTED void power_disk(long long bytes);
EXPORTED void power_disk(long long bytes)
{
	atomic_store(&room, bytes);
}

/* Is this the call that fails? */
static bool hit(bool concerned)
{
	if (!concerned || atomic_load(&armed.countdown) == 0) return false;
	return atomic_fetch_sub(&armed.countdown, 1) == 1;
}

/* ---- files come and go ---- */

static int open_noted(int dir, const char *path, int flags, mode_t mode)
{
	struct stat before;
	bool tmpfile = (flags & O_TMPFILE) == O_TMPFILE;
	const char *name = tmpfile || dir != AT_FDCWD ? NULL : name_of(path);
	bool was = name && stat(path, &before) == 0;
	int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
	uint64_t ino;
	if (fd >= 0 && name && is_ours(fd, &ino) && ino != folder_ino) {
		if (!was || before.st_ino != ino) put_text(RECORD_NAME, ino, 0, name, strlen(name));
		if (flags & O_TRUNC) put(RECORD_SIZE, ino, 0, 0, 0, NULL, 0);
	}
	return fd;
}

static mode_t mode_of(int flags, va_list *args)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(*args, int) : 0;
}

#define OPEN(symbol)                                       \
	EXPORTED int symbol(const char *path, int flags, ...); \
	EXPORTED int symbol(const char *path, int flags, ...)  \
	{                                                      \
		va_list args;                                      \
		va_start(args, flags);                             \
		mode_t mode = mode_of(flags, &args);               \
		va_end(args);                                      \
		return open_noted(AT_FDCWD, path, flags, mode);    \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(symbol)                                              \
	EXPORTED int symbol(int dir, const char *path, int flags, ...); \
	EXPORTED int symbol(int dir, const char *path, int flags, ...)  \
	{                                                               \
		va_list args;                                               \
		va_start(args, flags);                                      \
		mode_t mode = mode_of(flags, &args);                        \
		va_end(args);                                               \
		return open_noted(dir, path, flags, mode);                  \
	}
OPENAT(openat)
OPENAT(openat64)

static int linked(int rc, const char *path)
{
	struct stat st;
	const char *name = rc == 0 ? name_of(path) : NULL;
	if (name && stat(path, &st) == 0) put_text(RECORD_NAME, st.st_ino, 0, name, strlen(name));
	return rc;
}

EXPORTED int link(const char *old, const char *new)
{
	return linked((int)syscall(SYS_linkat, AT_FDCWD, old, AT_FDCWD, new, 0), new);
}

EXPORTED int linkat(int old_dir, const char *old, int new_dir, const char *new, int flags)
{
	return linked((int)syscall(SYS_linkat, old_dir, old, new_dir, new, flags), new);
}

EXPORTED int rename(const char *old, const char *new)
{
	const char *from = name_of(old), *to = name_of(new);
	struct stat st;
	int rc = (int)syscall(SYS_renameat, AT_FDCWD, old, AT_FDCWD, new);
	if (rc == 0 && from && to) {
		struct iovec parts[2] = {{(void *)from, strlen(from) + 1}, {(void *)to, strlen(to)}};
		put(RECORD_RENAME, stat(new, &st) == 0 ? st.st_ino : 0, 0, 0, 0, parts, 2);
	} else if (rc == 0 && (from || to)) {
		abort(); /* no workload does that */
	}
	return rc;
}

EXPORTED int unlink(const char *path)
{
	const char *name = name_of(path);
	int rc = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
	if (rc == 0 && name) put_text(RECORD_UNLINK, 0, 0, name, strlen(name));
	return rc;
}

/* ---- bytes ---- */

enum { META_BYTES = 152, META_TXN_AT = 144, PAGE_BYTES = 4096 };

/* Is it left out? What begins a store and what settles a commit in doubt writes both meta pages as they are, without
 * O_DSYNC, and syncs then. Before the first commit it is the former. */
static bool left_out(bool dsync, const struct iovec *part, off_t at)
{
	uint64_t txn;
	if (dsync || part->iov_len != META_BYTES || (at != 0 && at != PAGE_BYTES)) return false;
	memcpy(&txn, (const char *)part->iov_base + META_TXN_AT, sizeof txn);
	return txn == 0 ? planted("begin") : planted("settle");
}

static atomic_bool leaves_out; /* its sync comes next */

/* at < 0: where the descriptor stands. */
static ssize_t write_noted(int fd, const struct iovec *parts, int count, off_t at)
{
	uint64_t ino;
	struct iovec half;
	if (!is_ours(fd, &ino))
		return at < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, at, 0);
	bool dsync = (syscall(SYS_fcntl, fd, F_GETFL) & O_DSYNC) != 0;
	off_t where = at < 0 ? lseek(fd, 0, SEEK_CUR) : at;
	bool noted = !left_out(dsync, parts, where);
	if (!noted) atomic_store(&leaves_out, true);
	long long len = 0;
	for (int i = 0; i < count; i++) len += (long long)parts[i].iov_len;
	if (where + len > atomic_load(&room)) {
		errno = ENOSPC;
		return -1;
	}
	uint64_t id = new_id();
	int fault = atomic_load(&armed.fault);
	bool of_meta = fault != FAULT_SYNC && fault != FAULT_SYNCS && fault != FAULT_NONE;
	bool fails = hit(fault == FAULT_SHORT || fault == FAULT_KILL || (dsync && of_meta));
	bool inside = fails && fault == FAULT_META_INSIDE;
	if (noted) put(RECORD_WRITE, ino, id, where, dsync && !inside && !planted("dsync"), parts, count);
	bool again = !fails && fault == FAULT_META_TWICE && !dsync && atomic_exchange(&armed.hits, 0) == 1;
	ssize_t done = 0;
	if (fails && fault == FAULT_SHORT) {
		half = (struct iovec){parts[0].iov_base, parts[0].iov_len / 2};
		parts = &half;
		count = 1;
	}
	if (!again && !(fails && fault == FAULT_META_EARLY))
		done = at < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, at, 0);
	bool killed = (fails && fault == FAULT_KILL) || inside ||
	              (!fails && fault == FAULT_META_KILL && atomic_load(&armed.hits) == 1);
	if (fails && (fault == FAULT_META_TWICE || fault == FAULT_META_KILL)) atomic_store(&armed.hits, 1);
	if (killed) {
		put(RECORD_WRITE_END, ino, id, done, done, NULL, 0); /* a signal is not delivered before the call is over */
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
	}
	bool failed = again || (fails && fault != FAULT_SHORT);
	if (noted) put(RECORD_WRITE_END, ino, id, failed ? -1 : done, done > 0 ? done : 0, NULL, 0);
	if (failed) errno = EIO;
	return failed ? -1 : done;
}

EXPORTED ssize_t write(int fd, const void *data, size_t len)
{
	struct iovec part = {(void *)data, len};
	return write_noted(fd, &part, 1, -1);
}

#define PWRITE(symbol)                                                       \
	EXPORTED ssize_t symbol(int fd, const void *data, size_t len, off_t at); \
	EXPORTED ssize_t symbol(int fd, const void *data, size_t len, off_t at)  \
	{                                                                        \
		struct iovec part = {(void *)data, len};                             \
		return write_noted(fd, &part, 1, at);                                \
	}
PWRITE(pwrite)
PWRITE(pwrite64)

EXPORTED ssize_t writev(int fd, const struct iovec *parts, int count)
{
	return write_noted(fd, parts, count, -1);
}

#define PWRITEV(symbol)                                                              \
	EXPORTED ssize_t symbol(int fd, const struct iovec *parts, int count, off_t at); \
	EXPORTED ssize_t symbol(int fd, const struct iovec *parts, int count, off_t at)  \
	{                                                                                \
		return write_noted(fd, parts, count, at);                                    \
	}
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define FTRUNCATE(symbol)                                                             \
	EXPORTED int symbol(int fd, off_t size);                                          \
	EXPORTED int symbol(int fd, off_t size)                                           \
	{                                                                                 \
		uint64_t ino;                                                                 \
		int rc = (int)syscall(SYS_ftruncate, fd, size);                               \
		if (rc == 0 && is_ours(fd, &ino)) put(RECORD_SIZE, ino, 0, size, 0, NULL, 0); \
		return rc;                                                                    \
	}
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

static int allocated(int rc, int fd, int mode, off_t end)
{
	uint64_t ino;
	if (rc == 0 && !(mode & FALLOC_FL_KEEP_SIZE) && is_ours(fd, &ino)) put(RECORD_SIZE, ino, 0, end, 1, NULL, 0);
	return rc;
}

static int allocate(int fd, int mode, off_t at, off_t len)
{
	uint64_t ino;
	if (at + len > atomic_load(&room) && is_ours(fd, &ino)) {
		errno = ENOSPC;
		return -1;
	}
	return allocated((int)syscall(SYS_fallocate, fd, mode, at, len), fd, mode, at + len);
}

#define FALLOCATE(symbol)                                       \
	EXPORTED int symbol(int fd, int mode, off_t at, off_t len); \
	EXPORTED int symbol(int fd, int mode, off_t at, off_t len)  \
	{                                                           \
		return allocate(fd, mode, at, len);                     \
	}
FALLOCATE(fallocate)
FALLOCATE(fallocate64)

EXPORTED int posix_fallocate(int fd, off_t at, off_t len)
{
	return allocated(syscall(SYS_fallocate, fd, 0, at, len) < 0 ? errno : 0, fd, 0, at + len);
}

/* ---- syncs ---- */

static int sync_noted(int fd, bool data_only)
{
	uint64_t ino = 0, id = new_id();
	bool ours = is_ours(fd, &ino);
	bool noted = ours && !(data_only ? planted("fdatasync") : ino == folder_ino ? planted("name") : planted("fsync"));
	if (data_only && atomic_exchange(&leaves_out, false)) noted = false;
	if (noted) put(RECORD_SYNC, ino, id, 0, 0, NULL, 0);
	int fault = atomic_load(&armed.fault);
	bool fails = ours && hit(data_only && fault == FAULT_SYNC);
	if (ours && data_only && fault == FAULT_SYNCS && atomic_load(&armed.countdown) > 0) {
		atomic_fetch_sub(&armed.countdown, 1);
		fails = true;
	}
	int rc = fails ? -1 : (int)syscall(data_only ? SYS_fdatasync : SYS_fsync, fd);
	if (noted) put(RECORD_SYNC_END, ino, id, rc, 0, NULL, 0);
	if (fails) errno = EIO;
	return rc;
}

EXPORTED int fdatasync(int fd)
{
	return sync_noted(fd, true);
}

EXPORTED int fsync(int fd)
{
	return sync_noted(fd, false);
}

/* Nothing of ours relies on these: a workload that meets one says so, instead of a sync that goes unnoticed. */
EXPORTED int msync(void *at, size_t len, int flags)
{
	if (log_fd >= 0) abort();
	return (int)syscall(SYS_msync, at, len, flags);
}

EXPORTED int sync_file_range(int fd, off_t at, off_t len, unsigned flags)
{
	if (log_fd >= 0) abort();
	return (int)syscall(SYS_sync_file_range, fd, at, len, flags);
}
