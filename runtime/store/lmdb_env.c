/*
 * lmdb_env.c - opens and closes an LMDB environment, with its readers.
 *
 * LMDB fills its lock file under a lock that it has alone, and a process that opens the file meanwhile waits to share
 * that lock. If the first one is killed, those that wait all share a lock file that is not filled in or that knows no
 * commit: they fail, or read an old commit and undo a newer one. So processes open a file in turn, and wait for that
 * outside of LMDB.
 *
 * LMDB finds its lock file by the store's name. A file that is renamed under a process and opened by its new name has
 * two lock files, and two writers at once. So each process shows the name it used by a lock on the file itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "fd.h"
#include "file_limit.h"
#include "lmdb_private.h"

int vigia__lmdb_reader_new(struct lmdb_backend *b, struct reader **out)
{
	struct reader *reader = vigia__calloc(sizeof *reader);
	if (reader == NULL) return ENOMEM;
	int rc = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &reader->txn);
	if (rc == 0) rc = mdb_cursor_open(reader->txn, b->events, &reader->events);
	if (rc != 0) {
		if (reader->txn) mdb_txn_abort(reader->txn);
		vigia__free(reader);
		return rc;
	}
	*out = reader;
	return 0;
}

void vigia__lmdb_reader_free(struct reader *reader)
{
	mdb_cursor_close(reader->events);
	if (reader->index) mdb_cursor_close(reader->index);
	mdb_txn_abort(reader->txn);
	vigia__free(reader);
}

static void discard_readers(struct lmdb_backend *b)
{
	while (b->readers) {
		struct reader *reader = b->readers;
		b->readers = reader->next;
		vigia__lmdb_reader_free(reader);
	}
	for (struct vigia__lmdb_pin *pin = b->pins; pin; pin = pin->next) {
		if (pin->reader) vigia__lmdb_reader_free(pin->reader);
		pin->reader = NULL;
	}
}

int vigia__lmdb_env_fill(MDB_env *env, int64_t *bytes)
{
	mdb_filehandle_t fd;
	struct stat st;
	int rc = mdb_env_get_fd(env, &fd);
	if (rc != 0) return rc;
	if (fstat(fd, &st) < 0 || (st.st_size < *bytes && ftruncate(fd, *bytes) < 0)) return errno;
	if (st.st_size > *bytes) *bytes = st.st_size;
	return 0;
}

int vigia__lmdb_env_fill_all(MDB_env *env)
{
	MDB_envinfo info;
	MDB_stat st;
	int rc = mdb_env_info(env, &info);
	if (rc == 0) rc = mdb_env_stat(env, &st);
	int64_t bytes = rc == 0 ? (int64_t)((info.me_last_pgno + 1) * st.ms_psize) : 0;
	return rc == 0 ? vigia__lmdb_env_fill(env, &bytes) : rc;
}

void vigia__lmdb_env_close(struct lmdb_backend *b)
{
	discard_readers(b);
	vigia__journal_window_close(b);
	if (b->env) mdb_env_close(b->env);
	if (b->lock_fd >= 0) close(b->lock_fd);
	b->env = NULL;
	atomic_store(&b->journal.area, NULL);
	b->reserved_bytes = 0;
	b->lock_fd = -1;
}

/* The byte of the store file that is locked by the process that opens it. How long others wait for it,
 * because its owner may have been stopped, and how often they look. */
enum { TURN_BYTE = 0, TURN_NS = 3000000000, TURN_LOOK_NS = 1000000 };

int vigia__lmdb_turn_begin(const char *path, bool may_make)
{
	int fd = VIGIA_FD(open(path, O_RDWR | (may_make ? O_CREAT : 0) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
	int64_t until = vigia__mono_ns() + TURN_NS;
	while (fd >= 0 && vigia__fd_lock(fd, TURN_BYTE, F_WRLCK, false) < 0 && (errno == EAGAIN || errno == EACCES) &&
	       vigia__mono_ns() < until)
		nanosleep(&(struct timespec){.tv_nsec = TURN_LOOK_NS}, NULL);
	return fd;
}

void vigia__lmdb_turn_end(int turn)
{
	if (turn >= 0) close(turn);
}

/* The bytes of the store file by which a process shows under which name it has it open: where they begin, and how many
 * bits the name and the pid have. No pid of Linux is larger. */
#define NAME_BYTE ((off_t)1 << 61)
enum { NAME_BITS = 38, PID_BITS = 22 };

/* A number for the name in its folder. The path may differ: of a container, or of a folder that was renamed. 0: it
 * cannot be known. */
static uint64_t name_number(const char *path)
{
	char dir[PATH_MAX];
	struct stat st;
	const char *slash = strrchr(path, '/');
	uint64_t hash = UINT64_C(14695981039346656037);
	if (slash == NULL || (size_t)(slash - path) >= sizeof dir) return 0;
	snprintf(dir, sizeof dir, "%.*s/", (int)(slash - path), path);
	if (stat(dir, &st) < 0) return 0;
	const uint64_t folder[2] = {st.st_dev, st.st_ino};
	for (size_t i = 0; i < sizeof folder; i++) hash = (hash ^ ((const uint8_t *)folder)[i]) * UINT64_C(1099511628211);
	for (const char *at = slash; *at; at++) hash = (hash ^ (uint8_t)*at) * UINT64_C(1099511628211);
	return 1 + (hash >> (64 - NAME_BITS)) % ((UINT64_C(1) << NAME_BITS) - 1);
}

/* The pid of a process that shows another name in [from, from + len). -1: none does. */
static pid_t other_name(int fd, off_t from, off_t len)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = from, .l_len = len};
	if (len == 0 || fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK || lock.l_start < NAME_BYTE) return -1;
	return (pid_t)((lock.l_start - NAME_BYTE) & ((1 << PID_BITS) - 1));
}

int vigia__lmdb_name_lock(struct lmdb_backend *b, struct vigia_error *err)
{
	mdb_filehandle_t fd;
	uint64_t name = name_number(b->path);
	if (name == 0 || mdb_env_get_fd(b->env, &fd) != 0) return VIGIA_OK;
	off_t own = NAME_BYTE + ((off_t)name << PID_BITS), behind = own + ((off_t)1 << PID_BITS);
	/* Where locks are not supported, nothing is known of others either. */
	vigia__fd_lock(fd, own + (getpid() & ((1 << PID_BITS) - 1)), F_RDLCK, false);
	pid_t pid = other_name(fd, NAME_BYTE, own - NAME_BYTE);
	if (pid < 0) pid = other_name(fd, behind, NAME_BYTE + ((off_t)1 << (NAME_BITS + PID_BITS)) - behind);
	if (pid < 0) return VIGIA_OK;
	return vigia__error(err, VIGIA_EREPLACED,
	                    "a process (pid %ld) opened '%s' under another name and still uses it: it must close the store "
	                    "first",
	                    (long)pid, b->path);
}

int vigia__lmdb_env_open(MDB_env *env, const char *path, unsigned flags)
{
	struct vigia__file_limit limit;
	if (vigia__fd_begin() < 0) return errno;
	vigia__file_limit_begin(&limit);
	int rc = vigia__fd_end(mdb_env_open(env, path, flags, 0600));
	vigia__file_limit_end(&limit);
	return rc;
}

bool vigia__lmdb_panics(struct lmdb_backend *b)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn);
	if (rc == 0) mdb_txn_abort(txn);
	return rc == MDB_PANIC;
}

void vigia__lmdb_dbi_open(struct lmdb_backend *b)
{
	if (b->opens_dbi) return;
	pthread_mutex_lock(&b->dbi_mutex);
	b->opens_dbi = true;
}

void vigia__lmdb_dbi_opened(struct lmdb_backend *b)
{
	if (!b->opens_dbi) return;
	b->opens_dbi = false;
	pthread_mutex_unlock(&b->dbi_mutex);
}
