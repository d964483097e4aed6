/*
 * lmdb_backup.c - copies a store that is in use, as of one moment, and gives the copy an id of its own.
 *
 * The copy has no name until it is finished (O_TMPFILE), so that an interrupted backup leaves no partial file. Where
 * the file system cannot do that, the copy is written under a temporary name in the same folder. It never replaces a
 * file: link() refuses a name that exists.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "fd.h"
#include "file_limit.h"
#include "lmdb_private.h"
#include "place.h"
#include "thread.h"

struct target {
	const char *path;
	const struct vigia__backup *backup;
	uint64_t bytes_all; /* of the copy, about */
	char dir[4096];
	char temporary[4352]; /* "" while it has no name */
	int fd;
};

static int code_of(int number)
{
	if (number == EEXIST) return VIGIA_EFILEEXISTS;
	if (number == ECANCELED) return VIGIA_EINTERRUPTED;
	if (number < 0 || number == EBUSY) return VIGIA_EIO;
	return vigia__lmdb_code(number == ENOTDIR ? ENOENT : number);
}

static int cannot_copy(const struct target *t, int number, const char *what, struct vigia_error *err)
{
	int code = code_of(number);
	const char *cause = number > 0 ? strerror(number) : mdb_strerror(number);
	if (code == VIGIA_EFILEEXISTS)
		return vigia__error_caused(err, code, cause,
		                           "cannot copy the store to '%s': the file exists and was not changed", t->path);
	if (code == VIGIA_EINTERRUPTED)
		return vigia__error(err, code, "the copy of the store to '%s' was interrupted; the unfinished file was removed",
		                    t->path);
	return vigia__error_caused(err, code, cause, "cannot copy the store to '%s': cannot %s%s", t->path, what,
	                           number == EFBIG           ? ": the file may grow no further (RLIMIT_FSIZE)"
	                           : code == VIGIA_EDISKFULL ? ": the disk is full"
	                                                     : "");
}

/* Tell how far the copy has come. 0, or ECANCELED. */
static int tell(const struct target *t, uint64_t bytes)
{
	const struct vigia_transfer at = {.bytes = bytes, .bytes_all = bytes > t->bytes_all ? bytes : t->bytes_all};
	return t->backup->progress == NULL || t->backup->progress(t->backup->ctx, &at) ? 0 : ECANCELED;
}

static int target_open(struct target *t, const struct vigia__backup *backup, struct vigia_error *err)
{
	struct stat st;
	const char *path = backup->path;
	*t = (struct target){.path = path, .backup = backup, .fd = -1};
	if (strlen(path) >= sizeof t->dir) return cannot_copy(t, ENAMETOOLONG, "make it", err);
	if (lstat(path, &st) == 0) return cannot_copy(t, EEXIST, "make it", err);
	vigia__place_folder(path, t->dir, sizeof t->dir);
	t->fd = VIGIA_FD(open(t->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	if (t->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		snprintf(t->temporary, sizeof t->temporary, "%s.%ld.partial", path, (long)getpid());
		t->fd = VIGIA_FD(open(t->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
		if (t->fd < 0) t->temporary[0] = '\0';
	}
	return t->fd < 0 ? cannot_copy(t, errno, "make it", err) : VIGIA_OK;
}

/* Give the copy an id of its own. It is opened through the descriptor's name in /proc, because it may have no other.
 * The map is only as large as this needs, because the system may refuse the size of the original's. */
static int give_id(const struct target *t, const struct vigia__journal_copy *tail)
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
	if (rc == 0) rc = vigia__journal_restore(txn, t->fd, tail);
	if (rc == 0) rc = mdb_txn_commit(txn);
	else if (txn) mdb_txn_abort(txn);
	if (rc == 0) rc = vigia__lmdb_env_fill_all(env);
	mdb_env_close(env);
	return rc;
}

static int target_finish(struct target *t)
{
	char name[64];
	snprintf(name, sizeof name, "/proc/self/fd/%d", t->fd);
	if (fsync(t->fd) < 0) return errno;
	int rc =
		t->temporary[0] ? link(t->temporary, t->path) : linkat(AT_FDCWD, name, AT_FDCWD, t->path, AT_SYMLINK_FOLLOW);
	if (rc < 0) return errno;
	rc = vigia__place_sync_name(t->path);
	if (rc != 0) unlink(t->path); /* the name might not survive a power loss */
	return rc;
}

enum { COPY_BYTES = 1 << 20, META_PAGES = 2 };

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t done = write(fd, bytes, len);
		if (done < 0 && errno != EINTR) return errno;
		if (done > 0) {
			bytes += done;
			len -= (size_t)done;
		}
	}
	return 0;
}

/* LMDB copies into a pipe, so that the caller learns how far it is, and can end it. */
struct compacting {
	MDB_env *env;
	int fd, failed;
};

static void *compact(void *arg)
{
	struct compacting *c = arg;
	c->failed = mdb_env_copyfd2(c->env, c->fd, MDB_CP_COMPACT);
	close(c->fd);
	return NULL;
}

/* Write what comes through the pipe. 0 or an error number. */
static int take_compact(const struct target *t, int from, uint8_t *room)
{
	uint64_t bytes = 0, told = 0;
	for (;;) {
		ssize_t got = read(from, room, COPY_BYTES);
		if (got < 0 && errno == EINTR) continue;
		if (got <= 0) return got == 0 ? 0 : errno;
		int failed = write_all(t->fd, room, (size_t)got);
		bytes += (uint64_t)got;
		if (failed == 0 && bytes - told >= COPY_BYTES) failed = tell(t, told = bytes);
		if (failed != 0) return failed;
	}
}

static int run_compact(struct lmdb_backend *b, const struct target *t, uint8_t *room)
{
	int ends[2];
	pthread_t thread;
	if (VIGIA_FD(pipe2(ends, O_CLOEXEC)) < 0) return errno;
	struct compacting c = {b->env, ends[1], 0};
	int failed = vigia__thread_start(&thread, 0, compact, &c);
	if (failed != 0) {
		close(ends[1]);
		close(ends[0]);
		return failed;
	}
	failed = take_compact(t, ends[0], room);
	close(ends[0]); /* what LMDB still writes fails then */
	pthread_join(thread, NULL);
	return failed != 0 ? failed : c.failed;
}

/* Copy only used pages, in order. LMDB reads them through the map, in its own transaction. 0 or an error number. */
static int copy_compact(struct lmdb_backend *b, const struct target *t, struct vigia_error *err, int *rc)
{
	struct reader *reader; /* makes sure that the environment is open and its map large enough */
	uint8_t *room = vigia__alloc(COPY_BYTES);
	if (room == NULL) return ENOMEM;
	int failed = 0;
	*rc = vigia__lmdb_read_begin(b, &reader, err);
	if (*rc == VIGIA_OK) {
		atomic_fetch_add(&b->map_long, 1);
		failed = run_compact(b, t, room);
		atomic_fetch_sub(&b->map_long, 1);
		vigia__lmdb_read_end(b, reader);
	}
	vigia__free(room);
	return failed;
}

struct piece {
	uint8_t *bytes;
	size_t len;
	off_t at;
	uint64_t end; /* out, with the first piece: the size of the whole copy */
};

/* Read the first pages, or a piece after them. Its length becomes 0 at the end of the file. 0 or an error number.
 * MDB_MAP_RESIZED: start the copy again. Only this part needs the lock, while the piece is read. */
static int read_piece(struct lmdb_backend *b, struct vigia__lmdb_pin *pin, struct piece *piece)
{
	mdb_filehandle_t fd;
	int failed = 0;
	vigia__lmdb_map_enter(b);
	if (pin->reader == NULL) failed = MDB_MAP_RESIZED;
	else if ((failed = mdb_env_get_fd(b->env, &fd)) == 0 && piece->at == 0) {
		piece->len = META_PAGES * b->page_bytes;
		int found = vigia__lmdb_meta_of(fd, b->page_bytes, pin->txn, piece->bytes, &piece->end);
		failed = found > 0 ? 0 : found == 0 ? MDB_MAP_RESIZED : errno;
	} else if (failed == 0) {
		ssize_t got;
		do got = pread(fd, piece->bytes, piece->len, piece->at);
		while (got < 0 && errno == EINTR);
		if (got < 0) failed = errno;
		else piece->len = (size_t)got;
	}
	vigia__lmdb_map_leave(b);
	return failed;
}

/* Copy all pages as they are. A pinned reader keeps them in the file, and they are read through the descriptor, so the
 * map may change its size even while a slow target is written. */
static int copy_plain(struct lmdb_backend *b, struct target *t, struct vigia_error *err, int *rc)
{
	struct vigia__lmdb_pin pin;
	struct piece piece = {.bytes = vigia__alloc(COPY_BYTES)};
	if (piece.bytes == NULL) return ENOMEM;
	*rc = vigia__lmdb_pin(b, &pin, err);
	int failed = 0;
	if (*rc == VIGIA_OK) {
		do {
			failed = read_piece(b, &pin, &piece);
			if (failed == 0) failed = write_all(t->fd, piece.bytes, piece.len);
			piece.at += (off_t)piece.len;
			t->bytes_all = piece.end;
			if (failed == 0) failed = tell(t, (uint64_t)piece.at);
			if (piece.len == 0) break; /* pages that LMDB counted and never wrote */
			piece.len = piece.end - (uint64_t)piece.at < COPY_BYTES ? piece.end - (uint64_t)piece.at : COPY_BYTES;
		} while (failed == 0 && (uint64_t)piece.at < piece.end);
		vigia__lmdb_unpin(b, &pin);
		if (failed == 0 && ftruncate(t->fd, (off_t)piece.end) < 0) failed = errno;
	}
	vigia__free(piece.bytes);
	return failed;
}

int vigia__lmdb_backup(struct vigia__backend *base, const struct vigia__backup *backup, struct vigia_error *err)
{
	enum { TRIES = 100 };
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct vigia__file_limit limit;
	struct target t;
	struct vigia__journal_copy tail = {0};
	int failed = MDB_MAP_RESIZED, rc = target_open(&t, backup, err);
	if (rc < 0) return rc;
	vigia__file_limit_begin(&limit);
	if (b->journal.at > 0) {
		/* A process that may not drain the journal copies its tail, and so does one that has no room. */
		rc = !atomic_load(&b->writes) ? VIGIA_EDISKFULL : vigia__journal_settle(b, err);
		if (rc == VIGIA_EFULL || rc == VIGIA_EDISKFULL) {
			*err = (struct vigia_error){0};
			rc = vigia__journal_copy(b, &tail, err);
		}
	}
	struct vigia__backend_stats stats;
	if (rc == VIGIA_OK && base->stats(base, &stats, NULL) == VIGIA_OK) t.bytes_all = stats.used_bytes;
	for (int tries = 0; rc == VIGIA_OK && failed == MDB_MAP_RESIZED && tries < TRIES; tries++) {
		if (ftruncate(t.fd, 0) < 0 || lseek(t.fd, 0, SEEK_SET) < 0) failed = errno;
		else failed = backup->compact ? copy_compact(b, &t, err, &rc) : copy_plain(b, &t, err, &rc);
	}
	if (rc == VIGIA_OK) {
		if (failed == 0) failed = give_id(&t, &tail);
		if (failed == 0) failed = target_finish(&t);
		if (failed != 0) rc = cannot_copy(&t, failed, "write it", err);
	}
	vigia__file_limit_end(&limit);
	vigia__buf_deinit(&tail.area);
	if (t.temporary[0]) unlink(t.temporary);
	close(t.fd);
	return rc;
}
