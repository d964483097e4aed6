/*
 * lmdb_upgrade.c - makes a journal in a file that was made without one.
 *
 * A version of Vigia that knows no journal writes past it. So a file gets one only while no process has it open: under
 * a lock on the byte of LMDB's lock file that every process holds that has the file open. That lock must be gone before
 * LMDB opens the file in this process. So the journal is made in an environment without LMDB's locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/error.h"
#include "fd.h"
#include "file_limit.h"
#include "lmdb_private.h"

/* The byte of its lock file that LMDB locks, and what a journal and the pages beside it take. */
enum { LMDB_BYTE = 0, ROOM_BYTES = JOURNAL_BYTES + (1 << 20), DATABASES_MAX = 32 };

/* Lock LMDB's lock file alone. -1: another process has the store open, or it cannot be known. */
static int lock_alone(const char *store_path)
{
	char path[4096];
	if (snprintf(path, sizeof path, "%s-lock", store_path) >= (int)sizeof path) return -1;
	int fd = VIGIA_FD(open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
	if (fd < 0 || vigia__fd_lock(fd, LMDB_BYTE, F_WRLCK, false) == 0) return fd;
	close(fd);
	return -1;
}

/* 0, LMDB's error, or a Vigia code with err set. */
static int make_journal(struct lmdb_backend *b, struct vigia_error *err)
{
	struct vigia__file_limit limit;
	struct stat st;
	MDB_txn *txn;
	if (stat(b->path, &st) < 0) return errno;
	int rc = mdb_env_create(&b->env);
	if (rc != 0) return rc;
	vigia__file_limit_begin(&limit);
	rc = mdb_env_set_maxdbs(b->env, DATABASES_MAX);
	if (rc == 0) rc = mdb_env_set_mapsize(b->env, (size_t)st.st_size + ROOM_BYTES);
	if (rc == 0) rc = vigia__lmdb_env_open(b->env, b->path, MDB_NOSUBDIR | MDB_NOLOCK);
	if (rc == 0) rc = mdb_txn_begin(b->env, NULL, 0, &txn);
	if (rc == 0) {
		rc = vigia__lmdb_format_raise(b, txn, err);
		if (rc == 0) rc = mdb_txn_commit(txn);
		else mdb_txn_abort(txn);
		if (rc == 0) rc = vigia__lmdb_env_fill_all(b->env);
	}
	vigia__file_limit_end(&limit);
	vigia__lmdb_env_close(b);
	return rc;
}

int vigia__lmdb_upgrade(struct lmdb_backend *b, struct vigia_error *err)
{
	if (!b->settings.values.journal || b->journal.at > 0 || b->readonly || !atomic_load(&b->writes) ||
	    !vigia__journal_fits(b))
		return VIGIA_OK;
	vigia__lmdb_env_close(b);
	int turn = vigia__lmdb_turn_begin(b->path, false), fd = lock_alone(b->path), rc = 0;
	if (fd >= 0) {
		rc = make_journal(b, err);
		close(fd);
	}
	/* Without room it is made another time. */
	if (rc == ENOSPC || rc == EDQUOT || rc == EFBIG || rc == MDB_MAP_FULL) rc = 0;
	if (lmdb_is_error(rc)) rc = vigia__lmdb_error(b, rc, "make its journal", err);
	if (rc == VIGIA_OK) rc = vigia__lmdb_start(b, err);
	vigia__lmdb_turn_end(turn);
	return rc == VIGIA_OK ? VIGIA_NONE : rc;
}
