/*
 * lmdb_format.c - the header of a store file (format, id, settings), and the check of a file before LMDB touches it.
 *
 * Database "vigia", key -> value:
 *     "header"    struct header: the same in all later formats, so that any version can name the format it finds
 *     "settings"  a msgpack map of the file's options. A missing one has its default
 *     "last"      struct last_record, written with every removal of events
 * Rule for upgrades: a library opens files of its own format. It upgrades an older one at the first open for writing,
 * and refuses a newer one, naming its number.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/error.h"
#include "../core/event.h"
#include "fd.h"
#include "file_limit.h"
#include "lmdb_private.h"

/* The oldest format that is used as it is: 1 has no journal. */
enum { FORMAT_OLDEST = 1 };

static const char magic[8] = {'V', 'I', 'G', 'I', 'A', 'D', 'B', '\n'};

struct header {
	char magic[8];
	uint32_t format;
	uint32_t byte_order; /* 0x01020304 as this machine writes it */
	uint8_t id[16];
	int64_t created_at_ns;
	uint32_t word_bytes;
	uint32_t reserved[5];
};

/* ---- before LMDB ---- */

/* Offset of the magic number behind LMDB's page header, and the number itself (lmdb's mdb.c, MDB_meta). */
enum { MAGIC_AT_64 = 16, MAGIC_AT_32 = 12 };
static const uint32_t lmdb_magic = VIGIA__LMDB_MAGIC;

static bool is_being_made(int fd)
{
	struct stat st;
	return (fstat(fd, &st) == 0 && st.st_size == 0) || vigia__lmdb_meta_unfinished(fd);
}

int vigia__lmdb_truncated(const char *path, int64_t bytes, uint64_t need, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ETRUNCATED, "the store '%s' is truncated: it has %lld bytes of %llu", path,
	                    (long long)bytes, (unsigned long long)need);
}

int vigia__lmdb_format_precheck(const char *path, struct vigia_error *err)
{
	/* Opening and closing the data file is harmless: LMDB's locks are on its lock file. */
	int fd = VIGIA_FD(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
	if (fd < 0) {
		int code = vigia__lmdb_code(errno);
		return vigia__error_caused(err, code, strerror(errno), "%s the store '%s'",
		                           code == VIGIA_EPERM ? "no permission to read" : "cannot open", path);
	}
	uint8_t head[64] = {0};
	ssize_t got = pread(fd, head, sizeof head, 0);
	int number = errno;
	struct vigia__lmdb_metas metas;
	struct stat st = {0};
	bool making = is_being_made(fd);
	/* In this order: in a file that is being written the pages exist before a meta page names them. */
	int looked = vigia__lmdb_meta_look(fd, &metas);
	if (looked == 0 && !making && !(making = is_being_made(fd)))
		looked = vigia__lmdb_meta_look(fd, &metas); /* its creation was just finished */
	bool known = fstat(fd, &st) == 0;
	close(fd);
	if (got < 0) return vigia__error_caused(err, VIGIA_EIO, strerror(number), "cannot read the store '%s'", path);
	if (got == 0 || making) return VIGIA_OK; /* or its creator died: LMDB initialises it under its lock */
	/* Whatever was at its beginning before. */
	if (looked == 1 && known && metas.bytes > (uint64_t)st.st_size)
		return vigia__lmdb_truncated(path, st.st_size, metas.bytes, err);
	if (looked == 1) return VIGIA_OK;
	uint32_t at64, at32;
	memcpy(&at64, head + MAGIC_AT_64, 4);
	memcpy(&at32, head + MAGIC_AT_32, 4);
	if (got == (ssize_t)sizeof head && at64 == lmdb_magic) {
		/* LMDB divides by the values in these pages, and maps as much as they say. */
		if (looked == 0)
			return vigia__error(err, VIGIA_ENOTSTORE, "the first pages of the store '%s' are damaged", path);
		return VIGIA_OK; /* LMDB will report why they cannot be read */
	}
	if (at32 == lmdb_magic)
		return vigia__error(err, VIGIA_EFORMAT, "the store '%s' was made on a machine of another word size (32 bit)",
		                    path);
	if (at64 == __builtin_bswap32(lmdb_magic) || at32 == __builtin_bswap32(lmdb_magic))
		return vigia__error(err, VIGIA_EFORMAT, "the store '%s' was made on a machine of another byte order", path);
	return vigia__error(err, VIGIA_ENOTSTORE, "'%s' is not a Vigia store; it was not changed", path);
}

/* ---- settings ---- */

int vigia__lmdb_format_conflicts(const struct lmdb_backend *b, const struct vigia__settings *settings,
                                 const struct vigia_store_options *options, struct vigia_error *err)
{
	struct vigia__problems problems = {0};
	vigia__settings_conflicts(settings, options, &problems);
	int rc = vigia__problems_end(&problems, b->path, err);
	if (rc < 0 && err) err->code = VIGIA_ECONFLICT;
	return rc < 0 ? VIGIA_ECONFLICT : VIGIA_OK;
}

/* ---- load or create ---- */

static int open_databases(struct lmdb_backend *b, MDB_txn *txn, unsigned create)
{
	int rc = mdb_dbi_open(txn, b->settings.values.events_bucket, MDB_INTEGERKEY | create, &b->events);
	if (rc == 0) rc = mdb_dbi_open(txn, b->settings.values.checkpoint_bucket, create, &b->checkpoints);
	if (rc == 0) rc = mdb_dbi_open(txn, "vigia.holds", create, &b->holds);
	if (rc == 0) rc = mdb_dbi_open(txn, "vigia.marks", MDB_INTEGERKEY | create, &b->marks);
	if (rc == 0) rc = mdb_dbi_open(txn, "vigia.keys", create, &b->keys);
	if (rc == 0 && create) rc = mdb_dbi_open(txn, "vigia.index", MDB_INTEGERKEY | create, &b->index);
	if (rc == 0) rc = vigia__index_find(b, txn);
	for (enum vigia__map map = 0; map < VIGIA_MAPS && rc == 0; map++) {
		MDB_dbi dbi = 0;
		rc = mdb_dbi_open(txn, vigia__lmdb_kv_name(map), create, &dbi);
		b->maps[map].looked = 0;
		atomic_store(&b->maps[map].dbi, rc == 0 ? dbi : 0);
		if (rc == MDB_NOTFOUND) rc = 0; /* an earlier version made none */
	}
	return rc;
}

static MDB_val text(const char *s)
{
	return (MDB_val){strlen(s), (void *)s};
}

int vigia__lmdb_settings_get(struct lmdb_backend *b, MDB_txn *txn, struct vigia__settings *out)
{
	MDB_val key = text("settings"), value = {0};
	int rc = mdb_get(txn, b->meta, &key, &value);
	if (rc != 0) return rc;
	bool whole = vigia__lmdb_sane(b, &value) && vigia__settings_decode(out, value.mv_data, value.mv_size);
	return whole ? 0 : MDB_CORRUPTED;
}

int vigia__lmdb_settings_put(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__settings *settings)
{
	struct vigia__buf buf = {0};
	int rc = vigia__settings_encode(settings, &buf) < 0 ? ENOMEM : 0;
	MDB_val key = text("settings"), value = {buf.len, buf.data};
	if (rc == 0) rc = mdb_put(txn, b->meta, &key, &value, 0);
	vigia__buf_deinit(&buf);
	return rc;
}

/* In a transaction: read header and settings. MDB_NOTFOUND: there are none yet. */
static int read_header(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err)
{
	int rc = mdb_dbi_open(txn, "vigia", 0, &b->meta);
	if (rc != 0) return rc;
	MDB_val key = text("header"), value = {0};
	rc = mdb_get(txn, b->meta, &key, &value);
	if (rc != 0) return rc;
	struct header header;
	if (!vigia__lmdb_sane(b, &value) || value.mv_size < sizeof header ||
	    memcmp(value.mv_data, magic, sizeof magic) != 0)
		return vigia__error(err, VIGIA_ENOTSTORE, "'%s' is not a Vigia store: its header is damaged", b->path);
	memcpy(&header, value.mv_data, sizeof header);
	if (header.byte_order != 0x01020304 || header.word_bytes != sizeof(size_t))
		return vigia__error(err, VIGIA_EFORMAT, "the store '%s' was made on a machine of another %s", b->path,
		                    header.byte_order != 0x01020304 ? "byte order" : "word size");
	if (header.format < FORMAT_OLDEST || header.format > VIGIA_FORMAT)
		return vigia__error(err, VIGIA_EFORMAT,
		                    "the store '%s' has format %u; this version of Vigia knows formats %d to %d", b->path,
		                    header.format, FORMAT_OLDEST, VIGIA_FORMAT);
	b->format = (int)header.format;
	memcpy(b->file_id, header.id, sizeof b->file_id);
	b->created_at_ns = header.created_at_ns;
	rc = vigia__lmdb_settings_get(b, txn, &b->settings);
	if (rc == MDB_NOTFOUND || rc == MDB_CORRUPTED)
		return vigia__error(err, VIGIA_ENOTSTORE, "the settings in the store '%s' are damaged", b->path);
	rc = open_databases(b, txn, 0);
	return rc == 0 ? vigia__journal_find(b, txn) : rc;
}

static int random_id(uint8_t id[16])
{
	size_t have = 0;
	while (have < 16) {
		ssize_t got = getrandom(id + have, 16 - have, 0);
		if (got < 0 && errno != EINTR) return -1;
		if (got > 0) have += (size_t)got;
	}
	return 0;
}

static int write_header(struct lmdb_backend *b, MDB_txn *txn)
{
	b->format = b->settings.values.journal && vigia__journal_fits(b) ? VIGIA_FORMAT : FORMAT_OLDEST;
	struct header header = {.format = (uint32_t)b->format,
	                        .byte_order = 0x01020304,
	                        .created_at_ns = vigia__wall_ns(),
	                        .word_bytes = sizeof(size_t)};
	memcpy(header.magic, magic, sizeof magic);
	if (random_id(header.id) < 0) return errno;
	int rc = mdb_dbi_open(txn, "vigia", MDB_CREATE, &b->meta);
	MDB_val key = text("header"), value = {sizeof header, &header};
	if (rc == 0) rc = mdb_put(txn, b->meta, &key, &value, 0);
	if (rc == 0) rc = vigia__lmdb_settings_put(b, txn, &b->settings);
	if (rc == 0) rc = open_databases(b, txn, MDB_CREATE);
	if (rc == 0 && b->settings.values.journal) rc = vigia__journal_make(b, txn, &(struct last_record){0});
	memcpy(b->file_id, header.id, sizeof b->file_id);
	b->created_at_ns = header.created_at_ns;
	return rc;
}

int vigia__lmdb_format_id(struct lmdb_backend *b, MDB_txn *txn, uint8_t id[16])
{
	MDB_val key = text("header"), value = {0};
	int rc = mdb_get(txn, b->meta, &key, &value);
	if (rc == 0 && value.mv_size < sizeof(struct header)) rc = MDB_NOTFOUND;
	if (rc == 0) memcpy(id, (const uint8_t *)value.mv_data + offsetof(struct header, id), 16);
	return rc;
}

static int read_raw(MDB_txn *txn, MDB_dbi dbi, struct header *out)
{
	MDB_val key = text("header"), value = {0};
	int rc = mdb_get(txn, dbi, &key, &value);
	if (rc == 0 && value.mv_size < sizeof *out) rc = MDB_CORRUPTED;
	if (rc == 0) memcpy(out, value.mv_data, sizeof *out);
	return rc;
}

static int put_raw(MDB_txn *txn, MDB_dbi dbi, struct header *header)
{
	MDB_val key = text("header"), value = {sizeof *header, header};
	return mdb_put(txn, dbi, &key, &value, 0);
}

int vigia__lmdb_format_new_id(MDB_txn *txn)
{
	MDB_dbi dbi;
	struct header header;
	int rc = mdb_dbi_open(txn, "vigia", 0, &dbi);
	if (rc == 0) rc = read_raw(txn, dbi, &header);
	if (rc == 0 && random_id(header.id) < 0) rc = errno;
	return rc == 0 ? put_raw(txn, dbi, &header) : rc;
}

int vigia__lmdb_format_raise(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err)
{
	struct header header;
	struct last_record last;
	int rc = read_header(b, txn, err);
	if (rc == 0) rc = vigia__lmdb_last_in(b, txn, &last);
	if (rc == 0 && b->journal.at == 0) rc = vigia__journal_make(b, txn, &last);
	if (rc == 0) rc = read_raw(txn, b->meta, &header);
	header.format = VIGIA_FORMAT;
	return rc == 0 ? put_raw(txn, b->meta, &header) : rc;
}

/* Another program's database has entries. A store whose creator died before its first commit has none. 0 and *empty, or
 * LMDB's error. */
static int is_empty(MDB_txn *txn, bool *empty)
{
	MDB_dbi dbi;
	MDB_stat st;
	int rc = mdb_dbi_open(txn, NULL, 0, &dbi);
	if (rc == 0) rc = mdb_stat(txn, dbi, &st);
	*empty = rc == 0 && st.ms_entries == 0;
	return rc;
}

static int no_store(struct lmdb_backend *b, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOTSTORE, "'%s' is an LMDB file, but not a Vigia store; it was not changed",
	                    b->path);
}

int vigia__lmdb_format_reload(struct lmdb_backend *b, struct vigia_error *err)
{
	uint8_t id[16];
	memcpy(id, b->file_id, sizeof id);
	MDB_txn *txn;
	int rc = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn);
	if (rc != 0) return vigia__lmdb_error(b, rc, "read the header", err);
	pthread_mutex_lock(&b->settings_mutex);
	rc = read_header(b, txn, err);
	pthread_mutex_unlock(&b->settings_mutex);
	if (rc == 0) rc = mdb_txn_commit(txn);
	else mdb_txn_abort(txn);
	if (lmdb_is_error(rc)) return vigia__lmdb_error(b, rc, "read the header", err);
	if (rc == 0 && memcmp(id, b->file_id, sizeof id) != 0)
		rc = vigia__error(err, VIGIA_EREPLACED, "the store '%s' was replaced by another one", b->path);
	memcpy(b->file_id, id, sizeof id);
	if (rc == 0) mdb_env_set_flags(b->env, MDB_NOSYNC, b->settings.values.durability == VIGIA_DURABILITY_NONE);
	return rc;
}

/* Where the commit that made it put it. */
static int find_journal(struct lmdb_backend *b)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn);
	if (rc != 0) return rc;
	rc = vigia__journal_find(b, txn);
	mdb_txn_abort(txn);
	return rc;
}

int vigia__lmdb_format_load(struct lmdb_backend *b, const struct vigia_store_options *options, struct vigia_error *err)
{
	vigia__settings_from(&b->settings, options);
	MDB_txn *txn;
	int rc = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn);
	if (rc != 0) return vigia__lmdb_error(b, rc, "read the header", err);
	rc = read_header(b, txn, err);
	bool empty = false;
	int looked = rc == MDB_NOTFOUND ? is_empty(txn, &empty) : 0;
	if (rc == 0) rc = mdb_txn_commit(txn); /* keeps the database handles */
	else mdb_txn_abort(txn);
	if (rc == 0) return vigia__lmdb_format_conflicts(b, &b->settings, options, err);
	if (looked != 0) rc = looked;
	if (rc == MDB_NOTFOUND && !empty) return no_store(b, err);
	if (rc != MDB_NOTFOUND) return lmdb_is_error(rc) ? vigia__lmdb_error(b, rc, "read the header", err) : rc;
	if (b->readonly || options->readonly || !options->create)
		return vigia__error(err, VIGIA_ENOTFOUND, "there is no store '%s': the file is empty", b->path);

	struct vigia__file_limit limit;
	rc = mdb_txn_begin(b->env, NULL, 0, &txn);
	if (rc != 0) return vigia__lmdb_error(b, rc, "make the store", err);
	vigia__file_limit_begin(&limit);
	rc = read_header(b, txn, err); /* another process may have created it first */
	bool made = rc == MDB_NOTFOUND;
	if (made) {
		vigia__settings_from(&b->settings, options);
		bool none;
		rc = is_empty(txn, &none);
		if (rc == 0) rc = none ? vigia__lmdb_meta_begin(b, txn) : no_store(b, err);
		if (rc == 0) rc = write_header(b, txn);
	}
	if (rc == 0) rc = mdb_txn_commit(txn);
	else mdb_txn_abort(txn);
	vigia__file_limit_end(&limit);
	if (rc == 0 && made) rc = find_journal(b);
	if (rc == 0) return made ? VIGIA_OK : vigia__lmdb_format_conflicts(b, &b->settings, options, err);
	return lmdb_is_error(rc) ? vigia__lmdb_error(b, rc, "make the store", err) : rc;
}
