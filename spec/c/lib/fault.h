/*
 * fault.h - pwrite, writev and fdatasync of the whole program, liblmdb included: the n-th call from now fails once, or
 * all from the n-th on. To be included by a test, once.
 */
#ifndef VIGIA_SPEC_FAULT_H
#define VIGIA_SPEC_FAULT_H

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vigia.h"

enum fault {
	FAULT_WRITE,
	FAULT_SHORT,
	FAULT_SYNC,
	FAULT_LIE /* it was written, and the next one is not */,
	FAULT_DIE /* it was written, and the process was killed */
};

static struct {
	atomic_int countdown; /* 0: off */
	atomic_bool forever;
	atomic_int kind, error;
	atomic_int hits;
} fault;

static inline void arm(enum fault kind, int n, int error, bool forever)
{
	atomic_store(&fault.kind, kind);
	atomic_store(&fault.error, error);
	atomic_store(&fault.forever, forever);
	atomic_store(&fault.hits, 0);
	atomic_store(&fault.countdown, n);
}

/* How often a call failed since arm. */
static inline int disarm(void)
{
	atomic_store(&fault.countdown, 0);
	return atomic_load(&fault.hits);
}

static void (*on_fault)(void); /* called once, inside the call that fails */

static bool fails(bool sync)
{
	bool concerned = sync == (atomic_load(&fault.kind) == FAULT_SYNC);
	if (!concerned || atomic_load(&fault.countdown) == 0) return false;
	if (atomic_load(&fault.countdown) > 1) {
		atomic_fetch_sub(&fault.countdown, 1);
		return false;
	}
	int hits = atomic_fetch_add(&fault.hits, 1);
	bool last = !atomic_load(&fault.forever) && (atomic_load(&fault.kind) != FAULT_LIE || hits == 1);
	if (last) atomic_store(&fault.countdown, 0);
	void (*call)(void) = on_fault;
	on_fault = NULL;
	if (call) call();
	errno = atomic_load(&fault.error);
	return true;
}

static atomic_llong written_bytes;
static atomic_int syncs;
static atomic_bool unsynced_page; /* since `syncs` was set to 0 a page was written before the first sync */

enum { META_PAGES = 2 * 4096 };

static void note_page(off_t at)
{
	if (at >= META_PAGES && atomic_load(&syncs) == 0) atomic_store(&unsynced_page, true);
}

VIGIA_API ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
	atomic_fetch_add(&written_bytes, (long long)len);
	note_page(offset);
	if (!fails(false)) return syscall(SYS_pwrite64, fd, data, len, offset);
	if (atomic_load(&fault.kind) == FAULT_DIE) {
		(void)!syscall(SYS_pwrite64, fd, data, len, offset);
		raise(SIGKILL);
	}
	if (atomic_load(&fault.kind) == FAULT_LIE && atomic_load(&fault.hits) == 1) {
		(void)!syscall(SYS_pwrite64, fd, data, len, offset);
		errno = EIO;
		return -1;
	}
	return atomic_load(&fault.kind) == FAULT_SHORT && len > 1 ? syscall(SYS_pwrite64, fd, data, len / 2, offset) : -1;
}

VIGIA_API ssize_t writev(int fd, const struct iovec *parts, int count)
{
	for (int i = 0; i < count; i++) atomic_fetch_add(&written_bytes, (long long)parts[i].iov_len);
	note_page(lseek(fd, 0, SEEK_CUR));
	if (!fails(false)) return syscall(SYS_writev, fd, parts, count);
	if (atomic_load(&fault.kind) == FAULT_DIE) {
		(void)!syscall(SYS_writev, fd, parts, count);
		raise(SIGKILL);
	}
	return atomic_load(&fault.kind) == FAULT_SHORT && count > 1 ? syscall(SYS_writev, fd, parts, count / 2) : -1;
}

VIGIA_API int fdatasync(int fd)
{
	atomic_fetch_add(&syncs, 1);
	return fails(true) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

#endif
