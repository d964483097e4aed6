/*
 * lmdb_txn.c - read and write transactions: pooled readers, pins, begin, commit, and the outcome of a failed commit.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/error.h"
#include "lmdb_private.h"

/* After a transaction could not begin: remove the cause, if that is possible. VIGIA_OK: begin again. */
static int recover(struct lmdb_backend *b, int rc, int tries, const char *what, struct vigia_error *err)
{
	enum { TRIES = 8 };
	if (rc == MDB_PANIC && tries < TRIES) return vigia__lmdb_reopen(b, err);
	if (rc == MDB_MAP_RESIZED && tries < TRIES) rc = vigia__lmdb_map_adopt(b);
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, what, err);
}

int vigia__lmdb_read_begin_there(struct lmdb_backend *b, struct reader **out, struct vigia_error *err)
{
	if (atomic_load_explicit(&b->journal.in_doubt, memory_order_relaxed)) {
		int settled = vigia__journal_settle(b, err);
		if (settled < 0) return settled;
	}
	for (int tries = 0;; tries++) {
		vigia__lmdb_map_enter(b);
		pthread_mutex_lock(&b->readers_mutex);
		struct reader *reader = b->readers;
		if (reader) b->readers = reader->next;
		pthread_mutex_unlock(&b->readers_mutex);
		int rc = MDB_PANIC;
		if (reader == NULL) {
			if (b->env) rc = vigia__lmdb_reader_new(b, &reader);
		} else {
			rc = mdb_txn_renew(reader->txn);
			if (rc == 0) rc = mdb_cursor_renew(reader->txn, reader->events);
			if (rc != 0) vigia__lmdb_reader_free(reader);
		}
		if (rc == 0) {
			*out = reader;
			return VIGIA_OK;
		}
		if (rc == MDB_READERS_FULL && tries < 2) rc = mdb_reader_check(b->env, NULL);
		vigia__lmdb_map_leave(b);
		rc = recover(b, rc, tries, "begin to read", err);
		if (rc < 0) return rc;
	}
}

int vigia__lmdb_read_begin(struct lmdb_backend *b, struct reader **out, struct vigia_error *err)
{
	int rc = vigia__lmdb_still_there(b, err);
	return rc < 0 ? rc : vigia__lmdb_read_begin_there(b, out, err);
}

void vigia__lmdb_read_end(struct lmdb_backend *b, struct reader *reader)
{
	mdb_txn_reset(reader->txn);
	pthread_mutex_lock(&b->readers_mutex);
	reader->next = b->readers;
	b->readers = reader;
	pthread_mutex_unlock(&b->readers_mutex);
	vigia__lmdb_map_leave(b);
}

int vigia__lmdb_pin(struct lmdb_backend *b, struct vigia__lmdb_pin *pin, struct vigia_error *err)
{
	int rc = vigia__lmdb_read_begin(b, &pin->reader, err);
	if (rc < 0) return rc;
	pin->txn = mdb_txn_id(pin->reader->txn);
	pthread_mutex_lock(&b->readers_mutex);
	pin->next = b->pins;
	b->pins = pin;
	pthread_mutex_unlock(&b->readers_mutex);
	vigia__lmdb_map_leave(b);
	return VIGIA_OK;
}

void vigia__lmdb_unpin(struct lmdb_backend *b, struct vigia__lmdb_pin *pin)
{
	vigia__lmdb_map_enter(b);
	pthread_mutex_lock(&b->readers_mutex);
	struct vigia__lmdb_pin **at = &b->pins;
	while (*at != pin) at = &(*at)->next;
	*at = pin->next;
	pthread_mutex_unlock(&b->readers_mutex);
	if (pin->reader) vigia__lmdb_read_end(b, pin->reader);
	else vigia__lmdb_map_leave(b);
}

int vigia__lmdb_free_readers(struct lmdb_backend *b)
{
	int dead = 0;
	vigia__lmdb_map_enter(b);
	if (b->env) mdb_reader_check(b->env, &dead);
	vigia__lmdb_map_leave(b);
	return dead;
}

int vigia__lmdb_write_begun(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err)
{
	int rc = vigia__lmdb_unchanged(b, txn, err);
	if (rc == VIGIA_OK) rc = vigia__lmdb_meta_settle(b, txn, err);
	if (rc < 0) vigia__lmdb_write_abort(b, txn);
	return rc;
}

int vigia__lmdb_write_begin(struct lmdb_backend *b, MDB_txn **out, struct vigia_error *err)
{
	for (int tries = 0;; tries++) {
		vigia__lmdb_map_enter(b);
		int rc = vigia__lmdb_uncut(b, err);
		if (rc < 0) {
			vigia__lmdb_map_leave(b);
			return rc;
		}
		rc = b->env ? mdb_txn_begin(b->env, NULL, 0, out) : MDB_PANIC;
		if (rc == 0) return vigia__lmdb_write_begun(b, *out, err);
		vigia__lmdb_map_leave(b);
		rc = recover(b, rc, tries, "begin to write", err);
		if (rc < 0) return rc;
	}
}

/* LMDB counts pages that a transaction took behind the end of the file and freed again, and does not write them. A file
 * that is shorter than what its meta page counts looks truncated to the next one who opens it. So the file gets its
 * size before a commit, or after it where LMDB does not let us know. 0 or an error number. */
static int fill_file(struct lmdb_backend *b, uint64_t pages)
{
	int64_t bytes = (int64_t)(pages * b->page_bytes),
			before = atomic_load_explicit(&b->file_bytes, memory_order_relaxed);
	if (bytes <= before) return 0;
	int64_t large = vigia__lmdb_large_size(b, bytes), size = large;
	int rc = vigia__lmdb_env_fill(b->env, &size);
	if (rc != 0) return rc;
	atomic_store(&b->file_bytes, size);
	if (size == large && large > bytes) vigia__lmdb_large_make(b, before, size);
	return 0;
}

int vigia__lmdb_write_commit(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err)
{
	uint64_t mark = vigia__lmdb_meta_try(b, txn);
	bool has_events = b->has_events;
	b->has_events = false;
	MDB_envinfo info;
	uint64_t pages = vigia__lmdb_meta_pages(b, txn);
	int rc = fill_file(b, pages);
	if (rc != 0) {
		vigia__index_ended(b, false);
		mdb_txn_abort(txn);
		vigia__lmdb_dbi_opened(b);
		vigia__lmdb_map_leave(b);
		return vigia__lmdb_error(b, rc, "commit", err);
	}
	rc = mdb_txn_commit(txn);
	vigia__lmdb_dbi_opened(b);
	vigia__index_ended(b, rc == 0);
	if (rc == 0 && pages == 0 && mdb_env_info(b->env, &info) == 0) fill_file(b, info.me_last_pgno + 1);
	if (rc == 0 && !has_events) vigia__lmdb_meta_tried(b, mark);
	bool unknown = rc != 0 && vigia__lmdb_panics(b);
	if (unknown) vigia__lmdb_meta_doubt(b);
	vigia__lmdb_map_leave(b);
	if (rc == 0) return VIGIA_OK;
	if (!unknown) return vigia__lmdb_error(b, rc, "commit", err);
	return vigia__error_caused(
		err, VIGIA_EUNKNOWN, mdb_strerror(rc),
		"store '%s': a commit failed while it was being published: its changes may or may not be "
		"stored; check before you store them again",
		b->path);
}

void vigia__lmdb_write_abort(struct lmdb_backend *b, MDB_txn *txn)
{
	b->has_events = false;
	vigia__index_ended(b, false);
	mdb_txn_abort(txn);
	vigia__lmdb_dbi_opened(b);
	vigia__lmdb_map_leave(b);
}
