/*
 * lmdb_tail.c - the tail of the journal as readers see it: an index of its events, kept by each process. Readers take
 * the events of LMDB's snapshot, and then the tail behind it. lmdb_journal_private.h explains the rest.
 *
 * A drain moves the tail into LMDB and overwrites it, while readers that hold an older snapshot may be reading it. They
 * see that afterwards: the generation is another one in a renewed snapshot.
 */
#include <errno.h>
#include <string.h>

#include "../core/error.h"
#include "lmdb_private.h"

/* An event in the area. */
struct place {
	uint32_t at, len;
};

void vigia__tail_init(struct vigia__lmdb_tail *tail)
{
	pthread_rwlock_init(&tail->lock, NULL);
}

void vigia__tail_deinit(struct vigia__lmdb_tail *tail)
{
	vigia__buf_deinit(&tail->places);
	pthread_rwlock_destroy(&tail->lock);
}

/* The last number that may be seen. */
static uint64_t published(struct lmdb_backend *b)
{
	struct vigia__journal_words *words = vigia__side_journal(&b->side);
	return words ? atomic_load(&words->published) : UINT64_MAX;
}

/* Under the lock, for writing: follow the generation of this snapshot. */
static int follow(struct lmdb_backend *b, MDB_txn *txn)
{
	struct vigia__lmdb_tail *tail = &b->tail;
	struct vigia__chain begin;
	uint64_t id = mdb_txn_id(txn);
	if (tail->txn == id) return 0;
	if (tail->txn > id) return EAGAIN;
	int rc = vigia__journal_generation(b, txn, &begin);
	if (rc != 0) return rc;
	if (begin.salt != tail->chain.salt) {
		vigia__buf_clear(&tail->places, SIZE_MAX);
		tail->chain = begin;
		tail->first = begin.last + 1;
	}
	tail->txn = id;
	return 0;
}

/* ESTALE: its events are not where it says. It changed meanwhile, or is damaged. */
static int add_places(struct vigia__lmdb_tail *tail, const uint8_t *area, const struct vigia__record *record)
{
	size_t start = 0, len, before = tail->places.len;
	const uint8_t *bytes;
	for (uint32_t i = 0; i < record->count; i++) {
		bool whole = vigia__record_event(record, i, &start, &bytes, &len);
		struct place place = {whole ? (uint32_t)(bytes - area) : 0, whole ? (uint32_t)len : 0};
		if (whole && vigia__buf_add(&tail->places, &place, sizeof place) == 0) continue;
		tail->places.len = before;
		return whole ? ENOMEM : ESTALE;
	}
	return 0;
}

/* Under the lock, for writing: index the records up to `upto`. */
static int extend(struct lmdb_backend *b, MDB_txn *txn, uint64_t upto)
{
	struct vigia__lmdb_tail *tail = &b->tail;
	const uint8_t *area = vigia__journal_area(b, txn);
	int rc = 0;
	if (area == NULL) return MDB_CORRUPTED;
	while (rc == 0 && tail->chain.last < upto) {
		struct vigia__chain chain = tail->chain;
		struct vigia__record record;
		if (!vigia__record_next(area, b->journal.bytes, &chain, &record)) break;
		rc = add_places(tail, area, &record);
		if (rc == 0) tail->chain = chain;
	}
	return rc;
}

/* Index what this snapshot sees up to `upto`. *salt is that of its generation. */
static int follow_to(struct lmdb_backend *b, struct reader *reader, uint64_t upto, uint64_t *salt, uint64_t *last)
{
	struct vigia__lmdb_tail *tail = &b->tail;
	pthread_rwlock_wrlock(&tail->lock);
	int rc = follow(b, reader->txn);
	/* A process that may not write the side file does not know what is synced. */
	if (rc == 0 && upto == UINT64_MAX) rc = vigia__journal_sync(b);
	if (rc == 0) rc = extend(b, reader->txn, upto);
	*salt = tail->chain.salt;
	*last = tail->chain.last;
	pthread_rwlock_unlock(&tail->lock);
	return rc;
}

int vigia__tail_begin(struct lmdb_backend *b, struct reader *reader, struct vigia_error *err)
{
	struct vigia__lmdb_tail *tail = &b->tail;
	uint64_t id = mdb_txn_id(reader->txn), salt, last, upto = published(b);
	if (b->journal.at == 0) return 0; /* an empty tail, which never changes */
	if (vigia__journal_area(b, reader->txn) == NULL) return MDB_CORRUPTED;
	pthread_rwlock_rdlock(&tail->lock);
	if (tail->txn == id && tail->chain.last >= upto) return 0;
	pthread_rwlock_unlock(&tail->lock);
	int rc = follow_to(b, reader, upto, &salt, &last);
	bool stale = rc == ESTALE;
	if (rc != 0 && !stale) return rc;
	if (stale || (last < upto && upto != UINT64_MAX)) {
		/* A drain published more than this snapshot has, or the records are not there. */
		rc = vigia__journal_confirm(b, reader->txn, salt);
		if (rc != 0 || mdb_txn_id(reader->txn) != id) return rc != 0 ? rc : EAGAIN;
		return vigia__journal_damaged(b, last, err);
	}
	pthread_rwlock_rdlock(&tail->lock);
	if (tail->chain.salt == salt) return 0;
	pthread_rwlock_unlock(&tail->lock);
	return EAGAIN;
}

void vigia__tail_leave(struct lmdb_backend *b)
{
	if (b->journal.at > 0) pthread_rwlock_unlock(&b->tail.lock);
}

int vigia__tail_end(struct lmdb_backend *b, struct reader *reader)
{
	uint64_t salt = b->tail.chain.salt;
	vigia__tail_leave(b);
	return b->journal.at > 0 ? vigia__journal_confirm(b, reader->txn, salt) : 0;
}

uint64_t vigia__tail_first(const struct lmdb_backend *b)
{
	return b->tail.first;
}

uint64_t vigia__tail_last(const struct lmdb_backend *b)
{
	return b->tail.chain.last;
}

bool vigia__tail_is_empty(const struct lmdb_backend *b)
{
	return b->tail.places.len == 0;
}

MDB_val vigia__tail_event(struct lmdb_backend *b, uint64_t seq_num)
{
	struct place place;
	memcpy(&place, b->tail.places.data + (seq_num - b->tail.first) * sizeof place, sizeof place);
	return (MDB_val){place.len, (void *)(atomic_load(&b->journal.area) + place.at)};
}
