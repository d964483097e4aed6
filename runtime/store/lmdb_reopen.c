/*
 * lmdb_reopen.c - opens the environment of a store file, and reopens it after a failure from which LMDB does not
 * recover.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "../core/error.h"
#include "lmdb_private.h"

enum { READERS_MAX = 4096, DATABASES_MAX = 32 };

static int open_env(struct lmdb_backend *b, struct vigia_error *err)
{
	size_t bytes = vigia__lmdb_map_first(b);
	int rc = vigia__lmdb_lock_file_fill(b, false, err);
	if (rc < 0) return rc;
	for (;;) {
		rc = mdb_env_create(&b->env);
		if (rc == 0) rc = mdb_env_set_maxreaders(b->env, READERS_MAX);
		if (rc == 0) rc = mdb_env_set_maxdbs(b->env, DATABASES_MAX);
		if (rc == 0) rc = mdb_env_set_mapsize(b->env, bytes);
		if (rc == 0)
			rc = vigia__lmdb_env_open(b->env, b->path, MDB_NOSUBDIR | MDB_NOTLS | (b->readonly ? MDB_RDONLY : 0));
		if (rc == 0) {
			vigia__lmdb_map_opened(b);
			return vigia__lmdb_lock_file_fill(b, true, err);
		}
		vigia__lmdb_env_close(b);
		if (rc == MDB_INVALID && vigia__lmdb_lock_file_is_wrong(b))
			return vigia__error(err, VIGIA_EIO,
			                    "store '%s': the lock file '%s-lock' is damaged, or a lock of it was refused: when no "
			                    "process has the store open, delete it",
			                    b->path, b->path);
		/* The system refuses so much address space (a limit: ENOMEM, valgrind: EINVAL): try less. */
		if ((rc != ENOMEM && rc != EINVAL) || !vigia__lmdb_map_smaller(b, &bytes))
			return vigia__lmdb_error(b, rc, "open it", err);
	}
}

/* LMDB maps the size that the file claims. In a shorter file the first access behind its end is a SIGBUS. */
static int check_size(struct lmdb_backend *b, struct vigia_error *err)
{
	MDB_envinfo info;
	struct stat file;
	mdb_filehandle_t fd;
	if (mdb_env_info(b->env, &info) != 0 || mdb_env_get_fd(b->env, &fd) != 0 || fstat(fd, &file) < 0)
		return vigia__lmdb_cannot_look(b->path, errno, err);
	uint64_t need = (uint64_t)(info.me_last_pgno + 1) * b->page_bytes;
	if ((uint64_t)file.st_size < need) return vigia__lmdb_truncated(b->path, file.st_size, need, err);
	int fd_flags = fcntl(fd, F_GETFD);
	if (fd_flags >= 0) fcntl(fd, F_SETFD, fd_flags | FD_CLOEXEC); /* LMDB does not set it */
	atomic_store(&b->file_bytes, file.st_size);
	b->dev = file.st_dev;
	b->ino = file.st_ino;
	return VIGIA_OK;
}

int vigia__lmdb_start(struct lmdb_backend *b, struct vigia_error *err)
{
	int rc = open_env(b, err);
	if (rc == VIGIA_OK) rc = check_size(b, err);
	return rc == VIGIA_OK ? vigia__lmdb_name_lock(b, err) : rc;
}

/* After "unknown" the caller reads what was stored, and what it sees must survive a power loss. If settling fails now,
 * the next writer does it. */
static void settle_now(struct lmdb_backend *b)
{
	MDB_txn *txn;
	if (mdb_txn_begin(b->env, NULL, 0, &txn) != 0) return;
	vigia__lmdb_meta_settle(b, txn, NULL);
	mdb_txn_abort(txn);
}

int vigia__lmdb_reopen(struct lmdb_backend *b, struct vigia_error *err)
{
	int rc = vigia__lmdb_map_claim(b);
	if (rc != 0) return vigia__lmdb_error(b, rc, "open it again", err);
	if (b->env == NULL || vigia__lmdb_panics(b)) {
		dev_t dev = b->dev;
		ino_t ino = b->ino;
		vigia__lmdb_env_close(b);
		int turn = vigia__lmdb_turn_begin(b->path, false);
		rc = vigia__lmdb_start(b, err);
		vigia__lmdb_turn_end(turn);
		if (rc == VIGIA_OK && (b->dev != dev || b->ino != ino))
			rc = vigia__error(err, VIGIA_EREPLACED, "the store '%s' was replaced by another file", b->path);
		if (rc == VIGIA_OK) rc = vigia__lmdb_format_reload(b, err);
		b->dev = dev;
		b->ino = ino;
		if (rc < 0) vigia__lmdb_env_close(b); /* the next call tries again */
		else if (!b->readonly) settle_now(b);
	}
	vigia__lmdb_map_leave(b);
	return rc;
}
