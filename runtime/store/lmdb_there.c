/*
 * lmdb_there.c - checks that the store is still the file that was opened. Its name may lead to another file by now, or
 * its bytes may have been overwritten.
 *
 * Readers, waiters and writers check once a second: the name, the size, LMDB's meta pages and the id. The meta pages
 * are read through the descriptor, because touching a mapped page behind the end of the file is a SIGBUS. After an
 * overwrite the environment is unusable, and all further calls fail. A file that only lost its name may get it back.
 *
 * LMDB keeps the number of the last commit in its lock file, and the newer meta page is never older than that, except
 * in an older copy of the same store. A writer compares the two in each commit, under its lock.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "../core/error.h"
#include "clock.h"
#include "lmdb_private.h"

/* How old the last check may be: for ordinary calls, and for waiters, which come once a second. */
enum { LOOK_NS = 900000000, LOOK_WAITING_NS = 20000000 };

static int gone(struct lmdb_backend *b, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EREPLACED,
	                    "the store '%s' was deleted or replaced by another file while it was open: close it, and "
	                    "open the store again",
	                    b->path);
}

static int overwritten(struct lmdb_backend *b, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EREPLACED,
	                    "the store '%s' was overwritten in place while it was open: close it in all processes, and "
	                    "open the store again",
	                    b->path);
}

int vigia__lmdb_overwritten(struct lmdb_backend *b, struct vigia_error *err)
{
	atomic_store(&b->overwritten, true);
	atomic_store(&b->look_mono_ns, 0);
	return overwritten(b, err);
}

/* In a transaction: is the id another one than that of the opened file? An error of LMDB counts as no. */
static bool other_id(struct lmdb_backend *b, MDB_txn *txn)
{
	uint8_t id[16];
	int rc = vigia__lmdb_format_id(b, txn, id);
	return rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE || (rc == 0 && memcmp(id, b->file_id, sizeof id) != 0);
}

/* In a reader's transaction. The order matters: a commit in between makes the meta pages newer, not older. */
static bool was_overwritten(struct lmdb_backend *b, MDB_txn *txn, int fd)
{
	struct vigia__lmdb_metas metas;
	struct stat st;
	uint64_t last = mdb_txn_id(txn);
	int looked = vigia__lmdb_meta_look(fd, &metas);
	if (looked <= 0) return looked == 0;
	if (metas.txn < last) return true;
	/* While the file is being overwritten, pages may not exist yet and must not be touched. The next check will find
	 * it. */
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < metas.bytes) return false;
	return other_id(b, txn);
}

/* Under map_lock, before a transaction touches anything: LMDB never shrinks a file, so a shorter one was cut. */
static bool is_cut(struct lmdb_backend *b, int64_t *bytes)
{
	struct stat st;
	mdb_filehandle_t fd;
	if (b->env == NULL || mdb_env_get_fd(b->env, &fd) != 0 || fstat(fd, &st) < 0) return false;
	*bytes = st.st_size;
	return st.st_size < atomic_load_explicit(&b->file_bytes, memory_order_relaxed);
}

int vigia__lmdb_uncut(struct lmdb_backend *b, struct vigia_error *err)
{
	int64_t bytes;
	return vigia__clock_ticked(&b->cut_tick) && is_cut(b, &bytes) ? vigia__lmdb_overwritten(b, err) : VIGIA_OK;
}

/* Under map_lock: was the open file overwritten? False also if that is unknown now. */
static bool look_inside(struct lmdb_backend *b)
{
	struct vigia__lmdb_metas metas;
	MDB_txn *txn;
	mdb_filehandle_t fd;
	int64_t bytes = 0;
	if (is_cut(b, &bytes)) return true;
	if (bytes == 0 || mdb_env_get_fd(b->env, &fd) != 0) return false;
	int looked = vigia__lmdb_meta_look(fd, &metas);
	if (looked <= 0) return looked == 0;
	atomic_store(&b->file_bytes, bytes);
	if (mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn) != 0) return false;
	bool yes = was_overwritten(b, txn, fd);
	mdb_txn_abort(txn);
	return yes;
}

static void look_at_file(struct lmdb_backend *b)
{
	struct stat st;
	/* A link in its place leads to a file of another name, whose lock file is another one. */
	bool lost =
		lstat(b->path, &st) < 0 ? errno == ENOENT || errno == ENOTDIR : st.st_dev != b->dev || st.st_ino != b->ino;
	atomic_store(&b->replaced, lost);
	if (atomic_load(&b->overwritten)) return;
	vigia__lmdb_map_enter(b);
	/* Under map_lock, because reopening the environment changes the lock file's descriptor. */
	atomic_store(&b->lost_beside, vigia__lmdb_look_beside(b));
	if (look_inside(b)) atomic_store(&b->overwritten, true);
	vigia__lmdb_map_leave(b);
}

static int still_there(struct lmdb_backend *b, int64_t age_ns, struct vigia_error *err)
{
	int64_t now = vigia__coarse_ns();
	if (now - atomic_load_explicit(&b->looked_mono_ns, memory_order_relaxed) >= age_ns) {
		/* Of concurrent calls one checks. The others wait for it and touch nothing before. */
		pthread_mutex_lock(&b->look_mutex);
		if (now - atomic_load(&b->looked_mono_ns) >= age_ns) {
			look_at_file(b);
			atomic_store(&b->looked_mono_ns, now);
			bool well = !atomic_load(&b->replaced) && !atomic_load(&b->overwritten) && atomic_load(&b->lost_beside) < 0;
			atomic_store(&b->look_mono_ns, well ? now + LOOK_NS : 0);
		}
		pthread_mutex_unlock(&b->look_mutex);
	}
	if (atomic_load_explicit(&b->overwritten, memory_order_relaxed)) return overwritten(b, err);
	if (atomic_load_explicit(&b->replaced, memory_order_relaxed)) return gone(b, err);
	int beside = atomic_load_explicit(&b->lost_beside, memory_order_relaxed);
	return beside < 0 ? VIGIA_OK : vigia__lmdb_lost_beside(b, beside, err);
}

int vigia__lmdb_still_there(struct lmdb_backend *b, struct vigia_error *err)
{
	return still_there(b, LOOK_NS, err);
}

int vigia__lmdb_there(struct vigia__backend *base, struct vigia_error *err)
{
	return still_there((struct lmdb_backend *)base, LOOK_WAITING_NS, err);
}

int vigia__lmdb_unchanged(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err)
{
	MDB_envinfo info;
	size_t last = mdb_txn_id(txn) - 1;
	if (mdb_env_info(b->env, &info) != 0) return VIGIA_OK;
	b->last_page = info.me_last_pgno;
	vigia__lmdb_meta_count(b, txn);
	if (info.me_last_txnid == last) return VIGIA_OK;
	/* A later number may be a commit in doubt (lmdb_meta.c). */
	bool later = info.me_last_txnid > last;
	return later && !other_id(b, txn) ? VIGIA_OK : vigia__lmdb_overwritten(b, err);
}

int vigia__lmdb_there_at_open(struct lmdb_backend *b, struct vigia_error *err)
{
	MDB_txn *txn;
	mdb_filehandle_t fd;
	struct vigia__lmdb_metas metas;
	int rc = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn);
	if (rc != 0) return vigia__lmdb_error(b, rc, "read it", err);
	uint64_t last = mdb_txn_id(txn);
	bool older = mdb_env_get_fd(b->env, &fd) == 0 && vigia__lmdb_meta_look(fd, &metas) == 1 && metas.txn < last;
	mdb_txn_abort(txn);
	return older ? vigia__side_refuse(b->path, err) : VIGIA_OK;
}
