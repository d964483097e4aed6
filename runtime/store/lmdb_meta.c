/*
 * lmdb_meta.c - LMDB's two meta pages: a file whose creation was interrupted, and a commit in doubt.
 *
 * A meta page names the roots of one commit. Commit T is in page T % 2, and LMDB opens the newer of the two. LMDB
 * writes the pages of commit T, syncs, and writes the meta page through a descriptor opened with O_DSYNC. LMDB has no
 * function for the two cases below, so this file knows version 1 of its data format (LMDB's mdb.c, MDB_meta).
 *
 * Creation: the two initial meta pages are synced, together with the file's name, before anything else is written
 * (vigia__lmdb_meta_begin). A power loss or a full disk before that leaves a prefix of them, or sectors of zeros in
 * their place. Such a file never held an event, and is initialised again. No other file is.
 *
 * Doubt: when the write of meta page T fails, it may still have reached the disk. LMDB writes an older number back,
 * into the page cache only. The next writer uses the number T again, for other pages in the same places: a power loss
 * would then leave meta page T without the pages it names. So each commit first notes its number in the side file,
 * where the writers of all processes see it. A writer that finds a noted number which was never reached writes both
 * valid meta pages to the disk before it changes a page. A commit that was interrupted by a kill is found in the same
 * way.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/error.h"
#include "fd.h"
#include "file_limit.h"
#include "lmdb_private.h"
#include "place.h"

enum {
	SECTOR = 512,
	META_FLAG = 8,
	META_PAGES = 2,
	META_VERSION = 1,
	FINISH_TRIES = 100,
	PAGE_MIN = 256,
	PAGE_MAX = 65536
};

struct meta_db {
	uint32_t pad;
	uint16_t flags, depth;
	size_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta_page {
	size_t pgno;
	uint16_t pad, flags;
	uint16_t lower, upper;
	uint32_t magic, version;
	size_t address, map_bytes;
	struct meta_db dbs[2]; /* the first one's pad is the page size, its flags are the environment's */
	size_t last_page, txn;
};
_Static_assert(sizeof(size_t) != 8 || offsetof(struct meta_page, magic) == 16, "LMDB's page header");
_Static_assert(sizeof(size_t) != 8 || offsetof(struct meta_page, txn) == 144, "LMDB's MDB_meta");
_Static_assert(sizeof(struct meta_page) <= SECTOR, "a disk writes a sector whole or not at all");

/* ---- a file whose creation was interrupted ---- */

static bool is_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != 0) return false;
	return true;
}

/* Do the bytes begin an initial meta page? `len` is SECTOR, less at the end of the file. */
static bool begins_initial(const uint8_t *bytes, size_t len, size_t pgno)
{
	struct meta_page page = {
		.pgno = pgno, .flags = META_FLAG, .magic = VIGIA__LMDB_MAGIC, .version = META_VERSION, .last_page = 1};
	union {
		uint8_t bytes[SECTOR];
		struct meta_page page;
	} got = {{0}};
	memcpy(got.bytes, bytes, len);
	page.map_bytes = got.page.map_bytes; /* these may have any value */
	page.dbs[0].pad = got.page.dbs[0].pad;
	page.dbs[0].flags = got.page.dbs[0].flags;
	page.dbs[0].root = page.dbs[1].root = SIZE_MAX;
	return memcmp(bytes, &page, len < sizeof page ? len : sizeof page) == 0 &&
	       (len <= sizeof page || is_zero(bytes + sizeof page, len - sizeof page));
}

/* 1: the creation of the file was interrupted. 0: it was not. -1 with errno. */
static int is_unfinished(int fd)
{
	long page_bytes = sysconf(_SC_PAGESIZE);
	struct stat st;
	int whole = 0;
	if (fstat(fd, &st) < 0) return -1;
	if (st.st_size == 0 || st.st_size > META_PAGES * page_bytes) return 0;
	for (off_t at = 0; at < st.st_size; at += SECTOR) {
		uint8_t sector[SECTOR];
		ssize_t got = pread(fd, sector, sizeof sector, at);
		if (got < 0) return -1;
		bool meta = at % page_bytes == 0 && begins_initial(sector, (size_t)got, (size_t)(at / page_bytes));
		if (!meta && !is_zero(sector, (size_t)got)) return 0;
		whole += meta && got == SECTOR;
	}
	return whole < META_PAGES || st.st_size < META_PAGES * page_bytes;
}

bool vigia__lmdb_meta_unfinished(int fd)
{
	return is_unfinished(fd) == 1;
}

/* The byte of its lock file that LMDB locks. */
enum { LMDB_BYTE = 0 };

/* Truncate the file if it is still unfinished once no other process has it open or creates it. 0, or -1 with errno. */
static int empty_unfinished(int fd, int lock_fd)
{
	for (int tries = 0; tries < FINISH_TRIES; tries++) {
		int unfinished = is_unfinished(fd);
		if (unfinished <= 0) return unfinished;
		if (vigia__fd_lock(lock_fd, LMDB_BYTE, F_WRLCK, false) == 0) {
			unfinished = is_unfinished(fd);
			return unfinished == 1 ? ftruncate(fd, 0) : unfinished;
		}
		if (errno != EAGAIN && errno != EACCES) return -1;
		/* Another process creates it, and makes its lock shared when it is done. */
		bool done = vigia__fd_lock(lock_fd, LMDB_BYTE, F_RDLCK, true) == 0 &&
		            vigia__fd_lock(lock_fd, LMDB_BYTE, F_UNLCK, false) == 0;
		if (!done) return -1;
		sched_yield();
	}
	return 0;
}

int vigia__lmdb_meta_finish(const char *path, bool may_write, struct vigia_error *err)
{
	char lock_path[4096];
	int rc = 0, lock_fd = -1,
		fd = VIGIA_FD(open(path, (may_write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
	if (fd >= 0) rc = is_unfinished(fd);
	if (rc == 1 && !may_write) {
		close(fd);
		return vigia__error(err, VIGIA_ENOTFOUND, "there is no store '%s': its creation was interrupted", path);
	}
	if (rc == 1 && snprintf(lock_path, sizeof lock_path, "%s-lock", path) < (int)sizeof lock_path) {
		lock_fd = VIGIA_FD(open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
		rc = lock_fd < 0 ? -1 : empty_unfinished(fd, lock_fd);
	}
	int code = errno == EACCES || errno == EPERM ? VIGIA_EPERM : errno == ENOMEM ? VIGIA_ENOMEM : VIGIA_EIO;
	if (rc < 0)
		vigia__error_caused(err, code, strerror(errno), "cannot finish the store '%s', whose creation was interrupted",
		                    path);
	if (lock_fd >= 0) close(lock_fd);
	if (fd >= 0) close(fd);
	return rc < 0 ? code : VIGIA_OK;
}

/* ---- what the meta pages say ---- */

int vigia__lmdb_meta_look(int fd, struct vigia__lmdb_metas *out)
{
	struct meta_page page;
	size_t page_bytes = 0;
	*out = (struct vigia__lmdb_metas){0};
	for (size_t i = 0; i < META_PAGES; i++) {
		ssize_t got = pread(fd, &page, sizeof page, (off_t)(i * page_bytes));
		if (got < 0) return -1;
		if (got != (ssize_t)sizeof page || page.magic != VIGIA__LMDB_MAGIC || page.version != META_VERSION) return 0;
		size_t its_bytes = page.dbs[0].pad;
		if (its_bytes < PAGE_MIN || its_bytes > PAGE_MAX || (its_bytes & (its_bytes - 1)) != 0) return 0;
		if ((i > 0 && its_bytes != page_bytes) || page.last_page > INT64_MAX / PAGE_MAX - 1) return 0;
		page_bytes = its_bytes;
		if (i == 0 || page.txn > out->txn)
			*out = (struct vigia__lmdb_metas){page.txn, (page.last_page + 1) * page_bytes};
	}
	return 1;
}

int vigia__lmdb_meta_of(int fd, size_t page_bytes, uint64_t txn, uint8_t *pages, uint64_t *bytes)
{
	struct meta_page page[2];
	for (int i = 0; i < 2; i++) { /* twice, because the writer of the second next commit may be writing it */
		ssize_t got = pread(fd, &page[i], sizeof page[i], (off_t)(txn % META_PAGES * page_bytes));
		if (got < 0) return -1;
		if (got != (ssize_t)sizeof page[i] || page[i].magic != VIGIA__LMDB_MAGIC || page[i].txn != txn) return 0;
	}
	if (memcmp(&page[0], &page[1], sizeof page[0]) != 0) return 0;
	memset(pages, 0, META_PAGES * page_bytes);
	for (size_t i = 0; i < META_PAGES; i++) {
		page->pgno = i;
		page->txn = i == txn % META_PAGES || txn == 0 ? txn : txn - 1;
		memcpy(pages + i * page_bytes, page, sizeof *page);
	}
	*bytes = (page->last_page + 1) * page_bytes;
	return 1;
}

/* ---- a commit in doubt ---- */

/* In a writer's transaction: bring both valid meta pages and everything else in the page cache to the disk. A number
 * after the last commit's becomes an older one, as LMDB would set it. Both pages are written even if unchanged, because
 * after a failed write the cache may treat as clean what is not on the disk. 0 or an error number. */
static int rewrite_metas(struct lmdb_backend *b, MDB_txn *txn)
{
	mdb_filehandle_t fd;
	size_t last = mdb_txn_id(txn) - 1;
	if (mdb_env_get_fd(b->env, &fd) != 0) return EINVAL;
	for (size_t i = 0; i < META_PAGES; i++) {
		struct meta_page page;
		off_t at = (off_t)(i * b->page_bytes);
		ssize_t got = pread(fd, &page, sizeof page, at);
		if (got != (ssize_t)sizeof page) return got < 0 ? errno : EIO;
		if (page.magic != VIGIA__LMDB_MAGIC || page.version != META_VERSION || page.txn > last + 1) return MDB_INVALID;
		if (page.txn > last) page.txn = last > 0 ? last - 1 : 0;
		struct vigia__file_limit limit;
		vigia__file_limit_begin(&limit);
		got = pwrite(fd, &page, sizeof page, at);
		vigia__file_limit_end(&limit);
		if (got != (ssize_t)sizeof page) return got < 0 ? errno : EIO;
	}
	return mdb_env_sync(b->env, 1);
}

int vigia__lmdb_meta_begin(struct lmdb_backend *b, MDB_txn *txn)
{
	int rc = rewrite_metas(b, txn);
	return rc != 0 ? rc : vigia__place_sync_name(b->path);
}

/* The word holds the tried number in its low 48 bits and a count above. */
#define NUMBER_BITS 48
#define NUMBER_MASK ((UINT64_C(1) << NUMBER_BITS) - 1)

int vigia__lmdb_meta_settle(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err)
{
	_Atomic uint64_t *tried = vigia__side_tried(&b->side);
	uint64_t last = mdb_txn_id(txn) - 1;
	if (tried == NULL || (atomic_load(tried) & NUMBER_MASK) <= last) return VIGIA_OK;
	/* With another lock file the last number would be from another count, and this would undo other processes'
	 * commits. */
	int rc = vigia__lmdb_locks_there(b, false, err);
	if (rc < 0) return rc;
	rc = rewrite_metas(b, txn);
	if (rc != 0) return vigia__lmdb_error(b, rc, "settle a commit that failed before", err);
	atomic_store(tried, last & NUMBER_MASK);
	return VIGIA_OK;
}

uint64_t vigia__lmdb_meta_try(struct lmdb_backend *b, MDB_txn *txn)
{
	_Atomic uint64_t *tried = vigia__side_tried(&b->side);
	if (tried == NULL) return 0;
	uint64_t count = (atomic_load_explicit(tried, memory_order_relaxed) >> NUMBER_BITS) + 1;
	uint64_t mark = count << NUMBER_BITS | (mdb_txn_id(txn) & NUMBER_MASK);
	atomic_store(tried, mark);
	return mark;
}

void vigia__lmdb_meta_tried(struct lmdb_backend *b, uint64_t mark)
{
	MDB_envinfo info;
	/* A transaction that changed nothing used no number. The count shows whether the word is still ours. */
	if (mark == 0 || mdb_env_info(b->env, &info) != 0 || info.me_last_txnid >= (mark & NUMBER_MASK)) return;
	atomic_compare_exchange_strong(vigia__side_tried(&b->side), &mark, mark - 1);
}

void vigia__lmdb_meta_doubt(struct lmdb_backend *b)
{
	_Atomic uint64_t *tried = vigia__side_tried(&b->side);
	if (tried) atomic_store(tried, UINT64_MAX);
}

/* ---- the pages that a transaction counts ---- */

/* How LMDB's transactions begin (mdb.c, struct MDB_txn). */
struct txn_head {
	void *parent, *child;
	size_t next_page;
};

void vigia__lmdb_meta_count(struct lmdb_backend *b, MDB_txn *txn)
{
	struct txn_head head;
	memcpy(&head, txn, sizeof head);
	/* In another version of LMDB it may be laid out differently. */
	b->pages_counted = head.parent == NULL && head.child == NULL && head.next_page == b->last_page + 1;
}

uint64_t vigia__lmdb_meta_pages(const struct lmdb_backend *b, MDB_txn *txn)
{
	struct txn_head head;
	memcpy(&head, txn, sizeof head);
	return b->pages_counted ? head.next_page : 0;
}
