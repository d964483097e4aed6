/*
 * lmdb_map.c - the map of a store file: its size, and the lock that excludes transactions while it changes.
 *
 * mdb_env_set_mapsize unmaps the file and maps it again. If the second step fails the environment has no map, and its
 * next transaction crashes. So check first that the system grants the address space, and close the environment if
 * mapping still fails. The next call reopens it or returns an error.
 *
 * The lock prefers the thread that changes the size: later readers wait for it. That thread waits a limited time, and
 * not at all for a compacting backup, which may take long. Pinned readers (lmdb_txn.c) read nothing through the map and
 * do not hold the lock.
 *
 * A loan: one transaction in a map of another size, alone in the process. vigia__lmdb_map_leave ends it.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "lmdb_private.h"

#define MAP_BYTES_MAX ((size_t)1 << 40)
#define MAP_BYTES_MIN ((size_t)1 << 20)

/* How long a change of size waits for this process's transactions, how often it checks meanwhile for a compacting
 * backup, address space that growing leaves to the process, and the smallest step. */
enum { CLAIM_NS = 3000000000, LOOK_NS = 50000000, LEAVE_BYTES = 16 << 20, STEP_BYTES_MIN = 1 << 20 };

/* ---- the lock ---- */

void vigia__lmdb_map_init(struct lmdb_backend *b)
{
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&b->map_lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

void vigia__lmdb_map_enter(struct lmdb_backend *b)
{
	pthread_rwlock_rdlock(&b->map_lock);
}

static int lock_until(struct lmdb_backend *b, int64_t mono_ns)
{
#ifdef __SANITIZE_THREAD__ /* it does not support clockwrlock */
	int64_t at = vigia__wall_ns() + mono_ns - vigia__mono_ns();
	return pthread_rwlock_timedwrlock(&b->map_lock,
	                                  &(struct timespec){.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000});
#else
	struct timespec at = {.tv_sec = mono_ns / 1000000000, .tv_nsec = mono_ns % 1000000000};
	return pthread_rwlock_clockwrlock(&b->map_lock, CLOCK_MONOTONIC, &at);
#endif
}

int vigia__lmdb_map_claim(struct lmdb_backend *b)
{
	for (int64_t now = vigia__mono_ns(), until = now + CLAIM_NS;; now = vigia__mono_ns()) {
		if (pthread_rwlock_trywrlock(&b->map_lock) == 0) return 0;
		if (atomic_load(&b->map_long) > 0 || now >= until) return EBUSY;
		if (lock_until(b, now + LOOK_NS) == 0) return 0;
	}
}

/* ---- its size ---- */

/* How many bytes of the file are used. */
static size_t used_bytes(struct lmdb_backend *b, const MDB_envinfo *info)
{
	return (info->me_last_pgno + 1) * b->page_bytes;
}

/* Would the system map so many bytes? */
static bool is_granted(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED) return false;
	munmap(at, bytes);
	return true;
}

/* With the map claimed: change its size to `bytes`, or to the used size if that is larger. 0, or ENOMEM: the map is
 * unchanged, or the environment closed. */
static int set_map_bytes(struct lmdb_backend *b, size_t bytes, size_t leave)
{
	MDB_envinfo info;
	if (b->env == NULL) return MDB_PANIC;
	mdb_env_info(b->env, &info);
	size_t used = used_bytes(b, &info);
	if (bytes < used) bytes = used;
	if (bytes > info.me_mapsize && !is_granted(bytes - info.me_mapsize + leave)) return ENOMEM;
	atomic_store(&b->journal.area, NULL);
	int rc = mdb_env_set_mapsize(b->env, bytes);
	if (rc != 0) vigia__lmdb_env_close(b);
	return rc;
}

size_t vigia__lmdb_map_first(const struct lmdb_backend *b)
{
	struct rlimit limit;
	size_t bytes = b->map_bytes > 0 ? b->map_bytes : b->map_asked > 0 ? b->map_asked : MAP_BYTES_MAX;
	if (b->map_bytes > 0 || b->map_asked > 0) return bytes;
	/* If address space is limited, the process needs most of it for other things, and the map can grow. */
	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		while (bytes > MAP_BYTES_MIN && bytes > limit.rlim_cur / 4) bytes /= 2;
	return bytes;
}

bool vigia__lmdb_map_smaller(const struct lmdb_backend *b, size_t *bytes)
{
	if (b->map_asked > 0 || *bytes <= MAP_BYTES_MIN) return false;
	*bytes /= 2;
	return true;
}

void vigia__lmdb_map_opened(struct lmdb_backend *b)
{
	MDB_envinfo info;
	MDB_stat st;
	mdb_env_info(b->env, &info);
	if (mdb_env_stat(b->env, &st) == 0) b->page_bytes = st.ms_psize;
	b->pages_aligned = b->page_bytes > 0 && b->page_bytes <= (size_t)sysconf(_SC_PAGESIZE);
	b->map_bytes = info.me_mapsize;
	b->map_grows = b->map_asked == 0 && b->map_bytes < MAP_BYTES_MAX;
}

/* The map's size in the file's meta pages: the largest one that a process wrote it with. 0: it cannot be read. In a
 * meta page it follows the page header of 16 bytes, two numbers of 4 bytes and an address (mdb.c, MDB_meta). */
static size_t size_in_file(struct lmdb_backend *b)
{
	enum { SIZE_AT = 32 };
	mdb_filehandle_t fd;
	size_t sizes[2] = {0};
	if (mdb_env_get_fd(b->env, &fd) != 0) return 0;
	for (int i = 0; i < 2; i++)
		if (pread(fd, &sizes[i], sizeof sizes[i], (off_t)(i * b->page_bytes + SIZE_AT)) != (ssize_t)sizeof sizes[i])
			return 0;
	return sizes[0] > sizes[1] ? sizes[0] : sizes[1];
}

int vigia__lmdb_map_adopt(struct lmdb_backend *b)
{
	MDB_envinfo info;
	int rc = vigia__lmdb_map_claim(b);
	if (rc != 0) return rc;
	if (b->env) {
		mdb_env_info(b->env, &info);
		size_t used = used_bytes(b, &info), bytes = size_in_file(b);
		if (used > info.me_mapsize) { /* else another thread was first */
			if (bytes < used) bytes = used;
			while ((rc = set_map_bytes(b, bytes, 0)) == ENOMEM && b->env && bytes > used)
				bytes = bytes / 2 > used ? bytes / 2 : used;
			if (rc == 0) vigia__lmdb_map_opened(b);
		}
	}
	vigia__lmdb_map_leave(b);
	return rc;
}

int vigia__lmdb_map_grow(struct lmdb_backend *b, size_t seen)
{
	int rc = vigia__lmdb_map_claim(b);
	if (rc != 0) return rc;
	size_t bytes = b->map_bytes, step = bytes;
	if (bytes == seen) { /* else another thread was first */
		while ((rc = set_map_bytes(b, bytes + step, LEAVE_BYTES)) == ENOMEM && b->env && step > STEP_BYTES_MIN)
			step /= 2;
		if (rc == 0) vigia__lmdb_map_opened(b);
	}
	vigia__lmdb_map_leave(b);
	return rc;
}

static int lend(struct lmdb_backend *b, bool all, size_t more)
{
	int rc = vigia__lmdb_map_claim(b);
	if (rc != 0) return rc;
	rc = set_map_bytes(b, all ? b->map_bytes + more : 0, 0);
	if (rc == 0) b->map_lent = true;
	else vigia__lmdb_map_leave(b);
	return rc;
}

int vigia__lmdb_map_lend(struct lmdb_backend *b, size_t more)
{
	return lend(b, true, more);
}

int vigia__lmdb_map_cap(struct lmdb_backend *b)
{
	return lend(b, false, 0);
}

void vigia__lmdb_map_leave(struct lmdb_backend *b)
{
	if (b->map_lent) { /* claimed by this thread */
		b->map_lent = false;
		if (set_map_bytes(b, b->map_bytes, 0) != 0) vigia__lmdb_env_close(b);
	}
	pthread_rwlock_unlock(&b->map_lock);
}
