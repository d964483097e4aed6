/*
 * lmdb_env.c - opens and closes an LMDB environment, with its readers.
 */
#include <errno.h>
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
