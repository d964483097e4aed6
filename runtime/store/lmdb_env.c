/*
 * lmdb_env.c - opens and closes an LMDB environment, with its readers.
 *
 * LMDB fills its lock file under a lock that it has alone, and a process that opens the file meanwhile waits to share
 * that lock. If the first one is killed, those that wait all share a lock file that nobody filled or that knows no
 * commit: they fail, or read an old commit and undo a newer one. So processes open a file in turn, and wait for that
 * outside of LMDB.
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "../core/alloc.h"
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

void vigia__lmdb_env_close(struct lmdb_backend *b)
{
	discard_readers(b);
	if (b->env) mdb_env_close(b->env);
	if (b->lock_fd >= 0) close(b->lock_fd);
	b->env = NULL;
	b->reserved_bytes = 0;
	b->lock_fd = -1;
}

/* The byte of the store file that is locked by whoever opens it; how long one waits for it, because its owner may have
 * been stopped, and how often it looks. */
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
