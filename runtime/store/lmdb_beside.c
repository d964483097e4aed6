/*
 * lmdb_beside.c - checks the files beside a store: LMDB's lock file and the side file. Are their blocks allocated, and
 * do their names still lead to them?
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/error.h"
#include "clock.h"
#include "fd.h"
#include "file_limit.h"
#include "lmdb_private.h"

enum { LOCK_FILE_HEAD = 4096 };

/* LMDB maps its lock file, and touching a hole in it on a full disk is a SIGBUS. So allocate its blocks: before LMDB
 * opens it those it touches first, afterwards all. The second descriptor stays open as long as the environment, because
 * closing it would drop LMDB's locks. */
int vigia__lmdb_lock_file_fill(struct lmdb_backend *b, bool opened, struct vigia_error *err)
{
	char path[4096];
	struct stat st;
	if (snprintf(path, sizeof path, "%s-lock", b->path) >= (int)sizeof path)
		return VIGIA_OK; /* LMDB will refuse this path */
	int fd = VIGIA_FD(open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
	/* LMDB would follow a link and write to its target. */
	if (fd < 0 && errno == ELOOP) return vigia__error(err, VIGIA_EIO, "the lock file '%s' is a symbolic link", path);
	if (fd < 0 && (errno == EACCES || errno == EPERM)) {
		int number = errno;
		bool there = access(path, F_OK) == 0, store_there = access(b->path, F_OK) == 0;
		if (there)
			return vigia__error_caused(err, VIGIA_EPERM, strerror(number),
			                           "no permission to write the lock file '%s'; readers need it too", path);
		return vigia__error_caused(err, VIGIA_EPERM, strerror(number),
		                           "cannot make the %s '%s': no permission to write its folder",
		                           store_there ? "lock file" : "store", store_there ? path : b->path);
	}
	if (fd < 0) return VIGIA_OK; /* LMDB will report this failure */
	int rc = VIGIA_OK;
	if (fstat(fd, &st) < 0) {
		rc = vigia__error_caused(err, VIGIA_EIO, strerror(errno), "cannot access the lock file '%s'", path);
	} else if (!S_ISREG(st.st_mode)) {
		rc = vigia__error(err, VIGIA_EIO, "the lock file '%s' is not a regular file", path);
	} else {
		struct vigia__file_limit limit;
		vigia__file_limit_begin(&limit);
		int filled = fallocate(fd, 0, 0, opened || st.st_size > LOCK_FILE_HEAD ? st.st_size : LOCK_FILE_HEAD);
		vigia__file_limit_end(&limit);
		if (filled < 0 && (errno == ENOSPC || errno == EDQUOT))
			rc = vigia__error_caused(err, VIGIA_EDISKFULL, strerror(errno),
			                         "store '%s': cannot open it: the disk is full", b->path);
	}
	if (opened) b->lock_fd = fd;
	else close(fd);
	return rc;
}

/* LMDB's MDB_INVALID can also mean its lock file: a damaged one, or one that it took for another process's because a
 * lock of it was refused. */
bool vigia__lmdb_lock_file_is_wrong(struct lmdb_backend *b)
{
	char path[4096];
	uint32_t magic = 0;
	if (snprintf(path, sizeof path, "%s-lock", b->path) >= (int)sizeof path) return false;
	/* The environment is closed, so there is no lock to lose. */
	int fd = VIGIA_FD(open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
	if (fd < 0) return false;
	bool wrong = pread(fd, &magic, sizeof magic, 0) == (ssize_t)sizeof magic && magic != VIGIA__LMDB_MAGIC;
	close(fd);
	return wrong;
}

/* The files beside the store. If one is deleted, the next process to open the store creates a new one, and then neither
 * sees the other's locks: two writers, two owners of a watcher. */
enum { BESIDE = 2 };
static const char *const SUFFIXES[BESIDE] = {"lock", "side"};

static int fd_beside(const struct lmdb_backend *b, int which)
{
	return which == 0 ? b->lock_fd : b->side.fd;
}

int vigia__lmdb_lost_beside(struct lmdb_backend *b, int which, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EREPLACED,
	                    "the file '%s-%s' was deleted or replaced while the store was open: close the store in all "
	                    "processes, and open it again",
	                    b->path, SUFFIXES[which]);
}

/* Which of the two names no longer leads to the open file. -1: neither, or unknown. */
int vigia__lmdb_look_beside(struct lmdb_backend *b)
{
	char path[PATH_MAX];
	for (int i = 0; i < BESIDE; i++) {
		struct stat opened, named;
		if (fd_beside(b, i) < 0 || fstat(fd_beside(b, i), &opened) < 0) continue;
		if (opened.st_nlink == 0) return i;
		if ((size_t)snprintf(path, sizeof path, "%s-%s", b->path, SUFFIXES[i]) >= sizeof path) continue;
		if (stat(path, &named) < 0) {
			if (errno == ENOENT || errno == ENOTDIR) return i;
		} else if (named.st_dev != opened.st_dev || named.st_ino != opened.st_ino) {
			return i;
		}
	}
	return -1;
}

int vigia__lmdb_locks_there(struct lmdb_backend *b, bool seldom, struct vigia_error *err)
{
	struct stat st;
	int files = vigia__clock_ticked(&b->side_tick) ? BESIDE : seldom ? 0 : 1;
	for (int i = 0; i < files; i++) {
		if (fd_beside(b, i) < 0 || fstat(fd_beside(b, i), &st) < 0 || st.st_nlink > 0) continue;
		atomic_store(&b->side_tick, 0); /* the next call checks again */
		return vigia__lmdb_lost_beside(b, i, err);
	}
	return VIGIA_OK;
}
