/*
 * lmdb_error.c - turns errors of LMDB and the system into Vigia's, with the reason.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../core/error.h"
#include "lmdb_private.h"

/* Room that LMDB's own pages need beside what is written. */
enum { DISK_SLACK = 1 << 20 };

static bool disk_is_full(struct lmdb_backend *b)
{
	struct statvfs fs;
	return statvfs(b->path, &fs) == 0 &&
	       (uint64_t)fs.f_bavail * fs.f_frsize < atomic_load(&b->writing_bytes) + DISK_SLACK;
}

static bool file_is_limited(struct lmdb_backend *b)
{
	struct rlimit limit;
	struct stat st;
	return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && stat(b->path, &st) == 0 &&
	       /* GCOVR_EXCL_START: LMDB told EIO at that limit. */
	       (uint64_t)st.st_size + atomic_load(&b->writing_bytes) + DISK_SLACK > limit.rlim_cur;
	/* GCOVR_EXCL_STOP */
}

static const char disk_full[] = "the disk is full", file_limit[] = "the file may grow no further (RLIMIT_FSIZE)";

/* What each of them is for a caller. Others are VIGIA_EIO. */
static const struct meaning {
	int rc, code;
	const char *plain; /* NULL: LMDB's own words are enough */
} meanings[] = {
	{ENOMEM, VIGIA_ENOMEM, "no memory, or no address space for the map (ulimit -v)"},
	{EBUSY, VIGIA_EFULL,
     "the map must change its size, but a backup, a long read or a write that waits for another process uses it: try "
     "again"},
	{EACCES, VIGIA_EPERM, NULL},
	{EPERM, VIGIA_EPERM, NULL},
	{EROFS, VIGIA_EPERM, NULL},
	{ENOENT, VIGIA_ENOTFOUND, NULL},
	{ENOSPC, VIGIA_EDISKFULL, disk_full},
	{EDQUOT, VIGIA_EDISKFULL, disk_full},
	{EFBIG, VIGIA_EDISKFULL, file_limit},
	{MDB_MAP_FULL, VIGIA_EFULL, "the map is full: open the store with a larger map_size"},
	{MDB_TXN_FULL, VIGIA_EFULL, "more than one transaction can hold: store fewer events in one call"},
	{MDB_INVALID, VIGIA_ENOTSTORE, NULL},
	{MDB_CORRUPTED, VIGIA_ENOTSTORE, "pages of the file are damaged"},
	{MDB_PAGE_NOTFOUND, VIGIA_ENOTSTORE, "pages of the file are damaged"},
	{MDB_VERSION_MISMATCH, VIGIA_EFORMAT, NULL},
	{MDB_READERS_FULL, VIGIA_EIO, "all 4096 reader slots of the file are taken"},
	{0, VIGIA_EIO, NULL},
};

static const struct meaning *meaning_of(int rc)
{
	const struct meaning *meaning = meanings;
	while (meaning->rc != 0 && meaning->rc != rc) meaning++;
	return meaning;
}

int vigia__lmdb_code(int rc)
{
	return meaning_of(rc)->code;
}

int vigia__lmdb_error(struct lmdb_backend *b, int rc, const char *what, struct vigia_error *err)
{
	const struct meaning *meaning = meaning_of(rc);
	int code = meaning->code;
	const char *plain = meaning->plain;
	char same_pid[160];
	if (rc == EAGAIN) { /* LMDB locks a byte of its lock file by the pid */
		snprintf(same_pid, sizeof same_pid,
		         "a process in another PID namespace (a container) has it open with the same pid %ld: "
		         "run both in one PID namespace",
		         (long)getpid());
		plain = same_pid;
	} else if (rc == EIO) { /* LMDB also returns it when the disk takes only part of a write */
		plain = disk_is_full(b) ? disk_full : file_is_limited(b) ? file_limit : NULL;
		if (plain) code = VIGIA_EDISKFULL;
	} else if (rc == MDB_MAP_FULL && b->map_grows) {
		plain = "the map is full, and the system grants no more address space (ulimit -v)";
	}
	return vigia__error_caused(err, code, mdb_strerror(rc), "store '%s': cannot %s%s%s", b->path, what,
	                           plain ? ": " : "", plain ? plain : "");
}
