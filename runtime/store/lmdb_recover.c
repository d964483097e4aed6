/*
 * lmdb_recover.c - what a process that opens or closes a store does about the tail that others left in its journal.
 */
#include <errno.h>
#include <fcntl.h>

#include "lmdb_private.h"

/* How many records there are behind the last one that readers see, and the chain behind them. */
static uint64_t walk(struct lmdb_backend *b, struct vigia__chain *chain)
{
	struct reader *reader;
	struct vigia__record record;
	*chain = (struct vigia__chain){0};
	if (b->journal.at == 0 || vigia__lmdb_read_begin(b, &reader, NULL) < 0) return 0;
	int rc = vigia__journal_generation(b, reader->txn, chain);
	uint64_t before = chain->last;
	const uint8_t *area = vigia__journal_area(b, reader->txn);
	while (rc == 0 && area && vigia__record_next(area, b->journal.bytes, chain, &record)) continue;
	vigia__lmdb_read_end(b, reader);
	return chain->last - before;
}

/* Bring the tail from the page cache to the disk, or find what is there of it. */
static int sync_tail(struct lmdb_backend *b)
{
	mdb_filehandle_t fd;
	int rc = vigia__journal_sync(b);
	if (rc == 0) rc = mdb_env_get_fd(b->env, &fd);
	/* After a write that failed the cache may hold what the disk does not. */
	return rc == 0 ? posix_fadvise(fd, b->journal.at, (off_t)b->journal.bytes, POSIX_FADV_DONTNEED) : rc;
}

int vigia__journal_open(struct lmdb_backend *b, struct vigia_error *err)
{
	struct vigia__journal_words *words = vigia__side_journal(&b->side);
	struct vigia__chain chain;
	if (b->journal.at == 0) return VIGIA_OK;
	bool drains = atomic_load(&b->writes) && !b->readonly;
	if (!b->side.alone) return !drains || !vigia__journal_hides(b) ? VIGIA_OK : vigia__journal_settle(b, err);
	/* At durability "none" what is in the page cache counts, and a sync would bring all of the file to the disk. */
	int rc = vigia__journal_unsynced(b) ? 0 : sync_tail(b);
	if (rc != 0) return vigia__lmdb_error(b, rc, "read its journal", err);
	if (walk(b, &chain) == 0) return VIGIA_OK;
	if (words) atomic_store(&words->published, chain.last);
	if (!drains) return VIGIA_OK;
	rc = vigia__journal_settle(b, err);
	if (rc != VIGIA_EFULL && rc != VIGIA_EDISKFULL) return rc;
	if (err) *err = (struct vigia_error){0};
	return VIGIA_OK; /* it can be read, and is drained later */
}

void vigia__journal_close(struct lmdb_backend *b)
{
	struct vigia__chain chain;
	if (b->journal.at == 0) return;
	/* A file that was cut is not touched. */
	atomic_store(&b->looked_mono_ns, 0);
	if (vigia__lmdb_there(&b->base, NULL) < 0) return;
	if (b->readonly || !atomic_load(&b->writes) || vigia__side_journal(&b->side) == NULL ||
	    vigia__side_is_shared(&b->side) || walk(b, &chain) == 0)
		return;
	vigia__journal_settle(b, NULL);
}

bool vigia__journal_hides(struct lmdb_backend *b)
{
	struct vigia__journal_words *words = vigia__side_journal(&b->side);
	struct vigia__chain chain;
	if (words == NULL || atomic_load(&words->ready) != 0 || walk(b, &chain) == 0) return false;
	return chain.last > atomic_load(&words->published);
}

/* ---- copies ---- */

/* EAGAIN: it is of a newer generation by now. */
static int copy_area(struct lmdb_backend *b, struct reader *reader, struct vigia__journal_copy *out)
{
	struct vigia__chain before;
	const uint8_t *area = vigia__journal_area(b, reader->txn);
	if (area == NULL) return MDB_CORRUPTED;
	int rc = vigia__journal_generation(b, reader->txn, &before);
	out->salt = before.salt;
	out->area.len = 0;
	if (rc == 0 && vigia__buf_add(&out->area, area, b->journal.bytes) < 0) rc = ENOMEM;
	return rc == 0 ? vigia__journal_confirm(b, reader->txn, before.salt) : rc;
}

int vigia__journal_copy(struct lmdb_backend *b, struct vigia__journal_copy *out, struct vigia_error *err)
{
	int rc;
	do {
		struct reader *reader;
		rc = vigia__lmdb_read_begin(b, &reader, err);
		if (rc < 0) return rc;
		rc = copy_area(b, reader, out);
		vigia__lmdb_read_end(b, reader);
	} while (rc == EAGAIN);
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "copy its journal", err);
}
