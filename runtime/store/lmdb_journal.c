/*
 * lmdb_journal.c - writes records into the journal, and drains them into LMDB. lmdb_journal_private.h explains it.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../core/error.h"
#include "../core/event.h"
#include "file_limit.h"
#include "lmdb_private.h"

/* What the drain of a full journal may need beside the area: LMDB's pages are half full at worst. */
enum { ROOM_FACTOR = 2, MAP_FACTOR = 4 };
/* Sizes of a block on the disk, which a power loss may leave torn, and of what is copied without a sync. */
enum { ALIGN_SYNCED = JOURNAL_BLOCK, ALIGN_UNSYNCED = VIGIA_RECORD_HEAD };
/* How long a writer without a journal waits for its turn. */
enum { WITHOUT_NS = 1000000000 };

/* ---- the lock and the words ---- */

static struct vigia__journal_words *words_of(struct lmdb_backend *b)
{
	return vigia__side_journal(&b->side);
}

bool vigia__journal_unsynced(const struct lmdb_backend *b)
{
	return atomic_load_explicit(&b->base.durability, memory_order_relaxed) == VIGIA_DURABILITY_NONE;
}

static size_t alignment_of(const struct lmdb_backend *b)
{
	return vigia__journal_unsynced(b) ? ALIGN_UNSYNCED : ALIGN_SYNCED;
}

/* The store whose mutex this thread has. Another thread of the process may be waiting for it, or go on without. */
static _Thread_local const struct lmdb_backend *locked;

int vigia__journal_lock(struct lmdb_backend *b, struct vigia_error *err)
{
	struct vigia__journal_words *words = words_of(b);
	bool has_journal = b->journal.at > 0;
	if (words == NULL || (!has_journal && atomic_load_explicit(&words->made, memory_order_relaxed) != VIGIA_WORDS_MADE))
		return VIGIA_OK;
	int rc = vigia__turns_lock(&words->turns, &words->mutex, &b->journal.turn, has_journal ? INT64_MAX : WITHOUT_NS);
	if (rc == EOWNERDEAD) {
		atomic_store(&words->ready, 0);
		rc = pthread_mutex_consistent(&words->mutex);
	}
	if (rc == 0) locked = b;
	if (rc == 0 || !has_journal) return VIGIA_OK;
	return vigia__error_caused(err, VIGIA_EIO, strerror(rc),
	                           "store '%s': the side file '%s-side' is damaged: when no process has the store open, "
	                           "delete it",
	                           b->path, b->path);
}

void vigia__journal_unlock(struct lmdb_backend *b)
{
	if (locked != b) return;
	locked = NULL;
	vigia__turns_unlock(&words_of(b)->turns, &words_of(b)->mutex, &b->journal.turn, !vigia__journal_unsynced(b));
}

void vigia__journal_doubt(struct lmdb_backend *b)
{
	struct vigia__journal_words *words = words_of(b);
	if (words) atomic_store(&words->ready, 0);
}

/* ---- a record ---- */

/* Follow the generation that is current in a writer's transaction. */
static int follow(struct lmdb_backend *b, MDB_txn *txn)
{
	struct vigia__lmdb_journal *j = &b->journal;
	struct vigia__chain begin;
	uint64_t id = mdb_txn_id(txn) - 1;
	if (j->txn == id) return 0;
	int rc = vigia__journal_generation(b, txn, &begin);
	if (rc != 0) return rc;
	if (begin.salt != j->end.salt) j->end = begin;
	j->txn = id;
	return 0;
}

/* Continue behind the records that other processes wrote. False: the tail does not reach what was published. */
static bool catch_up(struct lmdb_backend *b, MDB_txn *txn, uint64_t published)
{
	struct vigia__record record;
	const uint8_t *area = vigia__journal_area(b, txn);
	while (area && b->journal.end.last < published)
		if (!vigia__record_next(area, b->journal.bytes, &b->journal.end, &record)) break;
	return b->journal.end.last == published;
}

bool vigia__journal_is_ready(struct lmdb_backend *b, MDB_txn *txn)
{
	struct vigia__lmdb_journal *j = &b->journal;
	struct vigia__journal_words *words = words_of(b);
	if (j->at == 0 || words == NULL || follow(b, txn) != 0) return false;
	if (atomic_load_explicit(&words->ready, memory_order_relaxed) != j->end.salt) return false;
	return catch_up(b, txn, atomic_load_explicit(&words->published, memory_order_relaxed));
}

bool vigia__journal_takes(struct lmdb_backend *b, size_t count, size_t bytes)
{
	struct vigia__lmdb_journal *j = &b->journal;
	size_t size = vigia__record_size(count, bytes, alignment_of(b));
	if (count == 0 || size > j->bytes || j->end.at > j->bytes - size) return false;
	uint8_t *window = vigia__journal_unsynced(b) ? vigia__journal_window(b) : NULL;
	j->under_way = window ? &j->in_window : &j->record;
	if (window) {
		j->in_window = (struct vigia__buf){.data = window + j->end.at, .cap = size};
		atomic_store(&words_of(b)->ready, 0);
		atomic_signal_fence(memory_order_seq_cst); /* a process that is killed from here on leaves it so */
	}
	return vigia__record_begin(j->under_way, count, bytes, alignment_of(b)) == 0;
}

struct vigia__chain vigia__journal_end(const struct lmdb_backend *b)
{
	return b->journal.end;
}

/* Write the record, and sync it where it must survive a power loss. */
static int put_in_file(struct lmdb_backend *b, bool *written)
{
	struct vigia__lmdb_journal *j = &b->journal;
	bool unsynced = vigia__journal_unsynced(b);
	struct vigia__file_limit limit;
	mdb_filehandle_t fd;
	if (unsynced) vigia__file_limit_begin_often(&limit, &b->limit_tick);
	else vigia__file_limit_begin(&limit);
	int rc = mdb_env_get_fd(b->env, &fd);
	if (rc == 0) rc = vigia__journal_write_at(fd, &j->record, j->at + (off_t)j->end.at);
	*written = rc == 0;
	if (rc == 0 && !unsynced && fdatasync(fd) < 0) rc = errno;
	vigia__file_limit_end(&limit);
	return rc;
}

int vigia__journal_write(struct lmdb_backend *b, int64_t last_at, bool *written)
{
	enum { KEEP_BYTES = 1 << 16 };
	struct vigia__lmdb_journal *j = &b->journal;
	struct vigia__journal_words *words = words_of(b);
	struct vigia__chain end = j->end;
	int rc = 0;
	vigia__record_end(j->under_way, &end, last_at);
	atomic_store(&words->ready, 0);
	*written = true; /* in the window it is already */
	if (j->under_way == &j->record) rc = put_in_file(b, written);
	if (rc == 0) {
		j->end = end;
		atomic_store(&words->published, end.last);
		atomic_store(&words->ready, end.salt);
		atomic_fetch_add_explicit(&words->records, 1, memory_order_relaxed);
	}
	vigia__buf_clear(&j->record, KEEP_BYTES);
	return rc;
}

/* ---- a drain ---- */

int vigia__journal_damaged(struct lmdb_backend *b, uint64_t last, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EIO, "store '%s': the journal is damaged after event %llu", b->path,
	                    (unsigned long long)last);
}

static int put_record(struct lmdb_backend *b, MDB_cursor *events, const struct vigia__record *record)
{
	size_t start = 0, len;
	const uint8_t *bytes;
	for (uint32_t i = 0; i < record->count; i++) {
		size_t seq_num = record->first + i;
		if (!vigia__record_event(record, i, &start, &bytes, &len)) return MDB_CORRUPTED;
		MDB_val key = vigia__lmdb_key(&seq_num), value = {len, (void *)bytes};
		struct vigia__head room, *head = vigia__event_names(bytes, len, &room) == 0 ? &room : NULL;
		int rc = mdb_cursor_put(events, &key, &value, MDB_APPEND);
		if (rc == 0) rc = vigia__index_note(b, mdb_cursor_txn(events), seq_num, head);
		if (rc != 0) return rc;
	}
	return 0;
}

/* Put all whole records, whether they were published or not. */
static int put_tail(struct lmdb_backend *b, MDB_cursor *events, struct vigia__chain *chain)
{
	const uint8_t *area = vigia__journal_area(b, mdb_cursor_txn(events));
	struct vigia__record record;
	int rc = 0;
	if (area == NULL) return MDB_CORRUPTED;
	while (rc == 0 && vigia__record_next(area, b->journal.bytes, chain, &record)) rc = put_record(b, events, &record);
	return rc;
}

int vigia__journal_drain(struct lmdb_backend *b, MDB_txn *txn, uint64_t *upto, struct vigia_error *err)
{
	struct vigia__journal_words *words = words_of(b);
	struct vigia__chain chain = {0};
	MDB_cursor *events;
	uint64_t last;
	*upto = 0;
	vigia__journal_leave(b, 0);
	if (b->journal.at == 0) return 0;
	int rc = vigia__journal_generation(b, txn, &chain);
	if (rc == 0) rc = mdb_cursor_open(txn, b->events, &events);
	if (rc != 0) return rc;
	uint64_t before = chain.last;
	rc = vigia__lmdb_last_number(b, txn, events, &last);
	if (rc == 0) rc = put_tail(b, events, &chain);
	if (rc == 0 && chain.last > last) rc = vigia__index_seal(b, events, last, chain.last);
	mdb_cursor_close(events);
	if (rc != 0) return rc;
	uint64_t reached = chain.last > last ? chain.last : last;
	if ((chain.last > before && before != last) || (words && atomic_load(&words->published) > reached))
		return vigia__journal_damaged(b, reached, err);
	b->journal.drained = chain.at;
	if (chain.last > before) *upto = chain.last;
	return 0;
}

void vigia__journal_leave(struct lmdb_backend *b, int why)
{
	b->journal.left = why;
	b->journal.next.salt = 0;
	b->journal.drained = 0;
}

/* Is there room on the disk and in the map to drain a full journal? */
static bool room_for_drain(struct lmdb_backend *b)
{
	size_t used = (b->last_page + 1) * b->page_bytes;
	bool fits = b->map_grows || used + MAP_FACTOR * b->journal.bytes <= b->map_bytes;
	return fits && vigia__lmdb_reserve(b, VIGIA_KEEP_ALL, ROOM_FACTOR * b->journal.bytes) == 0;
}

int vigia__journal_turn(struct lmdb_backend *b, MDB_txn *txn, bool stored)
{
	struct vigia__journal_words *words = words_of(b);
	struct last_record last;
	if (b->journal.at == 0) return 0;
	int rc = follow(b, txn);
	if (rc != 0) return rc;
	bool empty = !stored && b->journal.drained == 0;
	if (empty && words && atomic_load(&words->ready) == b->journal.end.salt) return 0;
	b->journal.has_room = b->settings.values.journal && room_for_drain(b);
	/* It would be written into by nobody. Commits that store nothing must use up no room where there is little. */
	if (empty && !b->journal.has_room) return 0;
	rc = vigia__lmdb_last_in(b, txn, &last);
	if (rc != 0) return rc;
	vigia__journal_doubt(b); /* until the commit is known to be durable */
	return vigia__journal_put_generation(txn, b->meta, &last, &b->journal.next);
}

void vigia__journal_committed(struct lmdb_backend *b)
{
	struct vigia__lmdb_journal *j = &b->journal;
	struct vigia__journal_words *words = words_of(b);
	if (j->at == 0 || words == NULL) return;
	if (!j->left) atomic_store(&j->in_doubt, false);
	if (j->next.salt == 0) return;
	j->end = j->next;
	j->next.salt = 0;
	j->txn = 0; /* read again, which finds the same salt */
	atomic_store(&words->published, j->end.last);
	if (j->has_room) atomic_store(&words->ready, j->end.salt);
	atomic_fetch_add_explicit(&words->drains, 1, memory_order_relaxed);
}

int vigia__journal_no_room(struct lmdb_backend *b, int code, struct vigia_error *err)
{
	return vigia__error(err, code, "store '%s': cannot move events out of the journal: the %s is full", b->path,
	                    code == VIGIA_EFULL ? "map" : "disk");
}

static int is_drained(void *txn, void *arg, struct vigia_error *err)
{
	struct lmdb_backend *b = arg;
	(void)txn;
	return b->journal.left == 0 ? 0 : vigia__journal_no_room(b, b->journal.left, err);
}

int vigia__journal_settle(struct lmdb_backend *b, struct vigia_error *err)
{
	struct vigia__ticket ticket = {
		.kind = VIGIA_TICKET_FREE, .aside = true, .inner = true, .call = is_drained, .call_arg = b, .err = err};
	return vigia__commit_run(&b->commit, &ticket);
}
