/*
 * lmdb_reserve.c - keeps room on the disk for transactions that free room.
 *
 * LMDB copies the pages it changes, so on a full disk not even a removal could be committed. Therefore some blocks
 * after the used part of the file are allocated in advance (fallocate, which leaves the file's size). A transaction
 * that would use the last of them is refused before it writes, and may then use only free pages inside the file.
 * Acknowledged events may take what they need when their process closes the store. Each process remembers where the
 * blocks end. At worst it allocates some that exist already.
 *
 * Without support for fallocate there is no reserve.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "file_limit.h"
#include "lmdb_private.h"

/* What a commit needs beside the events' bytes: copied pages of the trees, the free list. An event may waste half a
 * page. */
enum { OVERHEAD_BYTES = 64 * 1024, EVENTS_FACTOR = 2 };
/* The reserve: as much as the file uses, within these limits. */
enum { RESERVE_BYTES_MIN = 64 * 1024, RESERVE_BYTES_MAX = 256 * 1024 };
/* Bytes allocated at a time: as much as a small file uses, a 16th of that for a large one. */
enum {
	STEP_BYTES_MIN = 64 * 1024,
	STEP_BYTES_MIDDLE = 1 << 20,
	STEP_BYTES_MAX = 16 << 20,
	STEP_PART = 16,
	SMALL_BYTES = 16 * 1024,
	MUCH_BYTES = 1 << 20
};

static uint64_t between(uint64_t low, uint64_t value, uint64_t high)
{
	return value < low ? low : value > high ? high : value;
}

static uint64_t step_of(uint64_t used)
{
	if (used < STEP_BYTES_MIDDLE) return between(STEP_BYTES_MIN, used, STEP_BYTES_MIDDLE);
	return between(STEP_BYTES_MIDDLE, used / STEP_PART, STEP_BYTES_MAX);
}

/* Allocate blocks and advance b->reserved_bytes to `to`, or as far as possible. 0 or an error number. A failed call may
 * also free blocks that were allocated before (tmpfs), so the part that may exist already is allocated in small
 * steps. */
static int allocate(struct lmdb_backend *b, uint64_t from, uint64_t to)
{
	struct vigia__file_limit limit;
	mdb_filehandle_t fd;
	int failed = 0;
	uint64_t small_until = from == b->reserved_bytes ? from : from + OVERHEAD_BYTES + RESERVE_BYTES_MAX;
	if (mdb_env_get_fd(b->env, &fd) != 0) return 0;
	vigia__file_limit_begin(&limit);
	while (from < to && failed == 0) {
		uint64_t len = from < small_until && to - from > SMALL_BYTES ? SMALL_BYTES : to - from;
		if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)len) == 0) b->reserved_bytes = from += len;
		else if (errno != EINTR) failed = errno;
	}
	vigia__file_limit_end(&limit);
	return failed;
}

/* Has the disk so much room? Asked after a failure, because fallocate on a full disk may take long: it waits for blocks
 * to become free. And before much is allocated: a call that fails has all the room there is until it returns. */
static bool disk_has(struct lmdb_backend *b, uint64_t bytes)
{
	struct statvfs fs;
	return statvfs(b->path, &fs) < 0 || (geteuid() == 0 ? fs.f_bfree : fs.f_bavail) * (uint64_t)fs.f_frsize >= bytes;
}

int vigia__lmdb_reserve(struct lmdb_backend *b, enum vigia__lmdb_keep keep, uint64_t event_bytes)
{
	struct rlimit limit;
	if (keep == VIGIA_KEEP_NONE) return 0;
	uint64_t used = (b->last_page + 1) * b->page_bytes, reserve = between(RESERVE_BYTES_MIN, used, RESERVE_BYTES_MAX);
	if (keep == VIGIA_KEEP_HALF) reserve /= 2;
	uint64_t need = used + EVENTS_FACTOR * event_bytes + OVERHEAD_BYTES + reserve, ample = need + step_of(used);
	need = (need + b->page_bytes - 1) / b->page_bytes * b->page_bytes;
	ample = vigia__lmdb_large_reserve(used, (ample + b->page_bytes - 1) / b->page_bytes * b->page_bytes);
	if (need <= b->reserved_bytes) return 0;
	/* Blocks allocated beyond this limit could not be written. */
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && ample > limit.rlim_cur) {
		if (need > limit.rlim_cur) return EFBIG;
		ample = need;
	}
	uint64_t from = b->reserved_bytes > used ? b->reserved_bytes : used;
	bool ask = b->reserve_failed != 0 || need - from >= MUCH_BYTES;
	if (ask && !disk_has(b, need - from)) return b->reserve_failed != 0 ? b->reserve_failed : ENOSPC;
	int failed = allocate(b, from, need);
	b->reserve_failed = failed;
	if (failed == ENOSPC || failed == EDQUOT) return failed;
	if (failed == 0) allocate(b, need, ample);
	else b->reserved_bytes = UINT64_MAX; /* not supported here */
	return 0;
}
