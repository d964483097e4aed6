/*
 * lmdb_area.c - the area of the journal in the store's file, and the generation of its records that LMDB knows.
 * lmdb_journal_private.h explains both.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "lmdb_private.h"

/* Smaller maps have no journal: it would be a large part of them. */
#define MAP_BYTES_MIN ((size_t)64 << 20)
enum { JOURNAL_BYTES_MIN = 65536 };

struct tail_record {
	uint64_t generation, salt, last;
	int64_t last_at;
};

/* LMDB's header of a value that has pages of its own (mdb.c, struct MDB_page). */
struct overflow_page {
	size_t pgno;
	uint16_t pad, flags;
	uint32_t pages;
};
enum { OVERFLOW_FLAG = 4 };

static MDB_val text(const char *s)
{
	return (MDB_val){strlen(s), (void *)s};
}

/* ---- the area ---- */

/* The area's place in the file, from the header of its value's first page. 0, or MDB_CORRUPTED. */
static int place_of(MDB_env *env, size_t page_bytes, const MDB_val *value, off_t *at, size_t *bytes)
{
	struct overflow_page page;
	MDB_envinfo info;
	const uint8_t *data = value->mv_data, *begin = data - sizeof page;
	if (value->mv_size < JOURNAL_BYTES_MIN + page_bytes || mdb_env_info(env, &info) != 0) return MDB_CORRUPTED;
	if (((uintptr_t)begin & (page_bytes - 1)) != 0) return MDB_CORRUPTED; /* it shares its page with others */
	memcpy(&page, begin, sizeof page);
	size_t whole = (value->mv_size - page_bytes + sizeof page) / page_bytes;
	if (!(page.flags & OVERFLOW_FLAG) || page.pages < whole + 1 || page.pgno + page.pages > info.me_last_pgno + 1)
		return MDB_CORRUPTED;
	*at = (off_t)((page.pgno + 1) * page_bytes);
	*bytes = whole * page_bytes / JOURNAL_BLOCK * JOURNAL_BLOCK;
	return 0;
}

int vigia__journal_find(struct lmdb_backend *b, MDB_txn *txn)
{
	MDB_val key = text("journal"), value;
	b->journal.txn = b->journal.next.salt = 0;
	int rc = mdb_get(txn, b->meta, &key, &value);
	if (rc == 0) rc = place_of(b->env, b->page_bytes, &value, &b->journal.at, &b->journal.bytes);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

const uint8_t *vigia__journal_area(struct lmdb_backend *b, MDB_txn *txn)
{
	MDB_val key = text("journal"), value;
	const uint8_t *area = atomic_load(&b->journal.area);
	off_t at;
	size_t bytes;
	if (area || mdb_get(txn, b->meta, &key, &value) != 0 || place_of(b->env, b->page_bytes, &value, &at, &bytes) != 0)
		return area;
	if (at != b->journal.at || bytes != b->journal.bytes) return NULL;
	area = (const uint8_t *)value.mv_data - sizeof(struct overflow_page) + b->page_bytes;
	atomic_store(&b->journal.area, area);
	return area;
}

static int new_salt(uint64_t *salt)
{
	for (*salt = 0; *salt == 0;)
		if (getrandom(salt, sizeof *salt, 0) != (ssize_t)sizeof *salt && errno != EINTR) return errno;
	return 0;
}

int vigia__journal_put_generation(MDB_txn *txn, MDB_dbi meta, const struct last_record *last, struct vigia__chain *out)
{
	struct tail_record record = {0};
	MDB_val key = text("tail"), value;
	int rc = mdb_get(txn, meta, &key, &value);
	if (rc == 0 && value.mv_size >= sizeof record) memcpy(&record, value.mv_data, sizeof record);
	if (rc != 0 && rc != MDB_NOTFOUND) return rc;
	record.generation++;
	if (last) {
		record.last = last->seq_num;
		record.last_at = last->at_ns;
	}
	rc = new_salt(&record.salt);
	value = (MDB_val){sizeof record, &record};
	if (rc == 0) rc = mdb_put(txn, meta, &key, &value, 0);
	*out = vigia__chain_begin(record.salt, record.last, record.last_at);
	return rc;
}

bool vigia__journal_fits(const struct lmdb_backend *b)
{
	return b->map_bytes >= MAP_BYTES_MIN;
}

int vigia__journal_make(struct lmdb_backend *b, MDB_txn *txn, const struct last_record *last)
{
	MDB_val key = text("journal"), value = {JOURNAL_BYTES + 2 * b->page_bytes, NULL};
	if (!vigia__journal_fits(b)) return 0;
	int rc = mdb_put(txn, b->meta, &key, &value, MDB_RESERVE);
	if (rc != 0) return rc;
	memset(value.mv_data, 0, value.mv_size);
	return vigia__journal_put_generation(txn, b->meta, last, &b->journal.next);
}

int vigia__journal_generation(struct lmdb_backend *b, MDB_txn *txn, struct vigia__chain *out)
{
	struct tail_record record;
	MDB_val key = text("tail"), value;
	int rc = mdb_get(txn, b->meta, &key, &value);
	if (rc == 0 && value.mv_size < sizeof record) rc = MDB_CORRUPTED;
	if (rc != 0) return rc;
	memcpy(&record, value.mv_data, sizeof record);
	*out = vigia__chain_begin(record.salt, record.last, record.last_at);
	return 0;
}

int vigia__journal_write_at(int fd, const struct vigia__buf *record, off_t at)
{
	for (size_t done = 0; done < record->len;) {
		ssize_t n = pwrite(fd, record->data + done, record->len - done, at + (off_t)done);
		if (n < 0 && errno != EINTR) return errno;
		if (n == 0) return ENOSPC;
		if (n > 0) done += (size_t)n;
	}
	return 0;
}

int vigia__journal_confirm(struct lmdb_backend *b, MDB_txn *txn, uint64_t salt)
{
	struct vigia__chain now;
	uint64_t id = mdb_txn_id(txn);
	mdb_txn_reset(txn);
	int rc = mdb_txn_renew(txn);
	if (rc != 0 || mdb_txn_id(txn) == id) return rc;
	rc = vigia__journal_generation(b, txn, &now);
	return rc == 0 && now.salt != salt ? EAGAIN : rc;
}

int vigia__journal_sync(struct lmdb_backend *b)
{
	mdb_filehandle_t fd;
	int rc = mdb_env_get_fd(b->env, &fd);
	if (rc != 0) return rc;
	return fdatasync(fd) == 0 ? 0 : errno;
}

/* ---- copies ---- */

int vigia__journal_restore(MDB_txn *txn, int fd, const struct vigia__journal_copy *copy)
{
	struct tail_record record = {0};
	struct vigia__chain chain;
	MDB_dbi meta;
	MDB_stat st;
	MDB_val key = text("tail"), value;
	off_t at;
	size_t bytes;
	int rc = mdb_dbi_open(txn, "vigia", 0, &meta);
	if (rc == 0) rc = mdb_get(txn, meta, &key, &value);
	if (rc == MDB_NOTFOUND) return 0;
	if (rc == 0 && value.mv_size >= sizeof record) memcpy(&record, value.mv_data, sizeof record);
	if (rc != 0 || copy->area.len == 0 || record.salt != copy->salt)
		return rc != 0 ? rc : vigia__journal_put_generation(txn, meta, NULL, &chain);
	key = text("journal");
	rc = mdb_get(txn, meta, &key, &value);
	if (rc == 0) rc = mdb_env_stat(mdb_txn_env(txn), &st);
	if (rc == 0) rc = place_of(mdb_txn_env(txn), st.ms_psize, &value, &at, &bytes);
	if (rc == 0 && bytes < copy->area.len) rc = MDB_CORRUPTED;
	return rc == 0 ? vigia__journal_write_at(fd, &copy->area, at) : rc;
}
