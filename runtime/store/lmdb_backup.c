/*
 * lmdb_backup.c - a copy of a store that is in use: as it is at one moment, under an id of its own.
 *
 * The copy has no name until it is finished (O_TMPFILE), so that nobody finds half of one, however this ends; where the file system cannot
 * do that it is written beside its place under another name. It never replaces anything: link() refuses a name that is taken.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/error.h"
#include "fd.h"
#include "lmdb_store.h"
#include "place.h"

struct target {
	const char *path;
	char dir[4096];
	char temporary[4352]; /* "" while it has no name */
	int fd;
};

static int code_of(int number)
{
	switch (number) {
	case EEXIST: return VIGIA_EFILEEXISTS;
	case ENOSPC: case EDQUOT: case EFBIG: return VIGIA_EDISKFULL;
	case EACCES: case EPERM: case EROFS: return VIGIA_EPERM;
	case ENOENT: case ENOTDIR: return VIGIA_ENOTFOUND;
	case ENOMEM: return VIGIA_ENOMEM;
	default: return VIGIA_EIO;
	}
}

static int fail(const struct target *t, int number, const char *what, struct vigia_error *err)
{
	int code = code_of(number);
	if (code == VIGIA_EFILEEXISTS)
		vigia__error(err, code, "cannot copy the store to '%s': the file is there, and is left as it is", t->path);
	else
		vigia__error(err, code, "cannot copy the store to '%s': cannot %s%s", t->path, what,
		             code == VIGIA_EDISKFULL ? ": the disk is full" : "");
	vigia__error_cause(err, "%s", number > 0 ? strerror(number) : mdb_strerror(number));
	return code;
}

static int target_open(struct target *t, const char *path, struct vigia_error *err)
{
	struct stat st;
	*t = (struct target){.path = path, .fd = -1};
	if (strlen(path) >= sizeof t->dir) return fail(t, ENAMETOOLONG, "make it", err);
	if (lstat(path, &st) == 0) return fail(t, EEXIST, "make it", err);
	const char *slash = strrchr(path, '/');
	snprintf(t->dir, sizeof t->dir, "%.*s", slash == path ? 1 : slash ? (int)(slash - path) : 1, slash ? path : ".");
	t->fd = VIGIA_FD(open(t->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	if (t->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		snprintf(t->temporary, sizeof t->temporary, "%s.%ld.partial", path, (long)getpid());
		t->fd = VIGIA_FD(open(t->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
		if (t->fd < 0) t->temporary[0] = '\0';
	}
	return t->fd < 0 ? fail(t, errno, "make it", err) : VIGIA_OK;
}

/* The copy becomes a store of its own. Through the descriptor's name in /proc, because it may have no other. The map is as large as this
 * needs, not as the store that was copied says: the system may refuse as much. */
static int give_id(const struct target *t)
{
	enum { ROOM = 1 << 20 };
	char name[64];
	struct stat st;
	MDB_env *env;
	MDB_txn *txn = NULL;
	snprintf(name, sizeof name, "/proc/self/fd/%d", t->fd);
	if (fstat(t->fd, &st) < 0) return errno;
	int rc = mdb_env_create(&env);
	if (rc != 0) return rc;
	rc = mdb_env_set_maxdbs(env, 4);
	if (rc == 0) rc = mdb_env_set_mapsize(env, (size_t)st.st_size + ROOM);
	if (rc == 0) rc = vigia__lmdb_env_open(env, name, MDB_NOSUBDIR | MDB_NOLOCK);
	if (rc == 0) rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc == 0) rc = vigia__lmdb_format_new_id(txn);
	if (rc == 0) rc = mdb_txn_commit(txn);
	else if (txn) mdb_txn_abort(txn);
	mdb_env_close(env);
	return rc;
}

static int target_finish(struct target *t)
{
	char name[64];
	snprintf(name, sizeof name, "/proc/self/fd/%d", t->fd);
	if (fsync(t->fd) < 0) return errno;
	int rc = t->temporary[0] ? link(t->temporary, t->path) : linkat(AT_FDCWD, name, AT_FDCWD, t->path, AT_SYMLINK_FOLLOW);
	if (rc < 0) return errno;
	rc = vigia__place_sync_name(t->path);
	if (rc != 0) unlink(t->path); /* it could be gone tomorrow */
	return rc;
}

/* The content. LMDB reads it in a transaction of its own. 0 or an error number; MDB_MAP_RESIZED: another process made the file longer since
 * ours began. */
static int copy_once(struct lmdb_backend *b, const struct target *t, bool compact)
{
	if (ftruncate(t->fd, 0) < 0 || lseek(t->fd, 0, SEEK_SET) < 0) return errno;
	atomic_fetch_add(&b->map_long, 1);
	int failed = mdb_env_copyfd2(b->env, t->fd, compact ? MDB_CP_COMPACT : 0);
	atomic_fetch_sub(&b->map_long, 1);
	return failed;
}

int vigia__lmdb_backup(struct vigia__backend *base, const char *path, bool compact, struct vigia_error *err)
{
	enum { TRIES = 100 };
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct target t;
	int failed = MDB_MAP_RESIZED, rc = target_open(&t, path, err);
	if (rc < 0) return rc;
	for (int tries = 0; rc == VIGIA_OK && failed == MDB_MAP_RESIZED && tries < TRIES; tries++) {
		struct reader *reader; /* sees to it that the environment is open, and its map large enough */
		rc = vigia__lmdb_read_begin(b, &reader, err);
		if (rc < 0) break;
		failed = copy_once(b, &t, compact);
		vigia__lmdb_read_end(b, reader);
	}
	if (rc == VIGIA_OK) {
		if (failed == 0) failed = give_id(&t);
		if (failed == 0) failed = target_finish(&t);
		if (failed != 0) rc = fail(&t, failed, "write it", err);
	}
	if (t.temporary[0]) unlink(t.temporary);
	close(t.fd);
	return rc;
}
