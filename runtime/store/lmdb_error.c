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
	       (uint64_t)st.st_size + atomic_load(&b->writing_bytes) + DISK_SLACK > limit.rlim_cur;
}

int vigia__lmdb_error(struct lmdb_backend *b, int rc, const char *what, struct vigia_error *err)
{
	int code = VIGIA_EIO;
	const char *plain = NULL;
	char same_pid[160];
	static const char file_limit[] = "the file may grow no further (RLIMIT_FSIZE)";
	switch (rc) {
	case ENOMEM:
		code = VIGIA_ENOMEM;
		plain = "no memory, or no address space for the map (ulimit -v)";
		break;
	case EBUSY:
		code = VIGIA_EFULL;
		plain = "the map must change its size, but a backup or another long read uses it: try again";
		break;
	case EACCES:
	case EPERM:
	case EROFS:
		code = VIGIA_EPERM;
		break;
	case EAGAIN: /* LMDB locks a byte of its lock file by the pid */
		snprintf(same_pid, sizeof same_pid,
		         "a process of another PID namespace (a container) has it open, and the same pid %ld: "
		         "run both in one PID namespace",
		         (long)getpid());
		plain = same_pid;
		break;
	case ENOENT:
		code = VIGIA_ENOTFOUND;
		break;
	case ENOSPC:
	case EDQUOT:
		code = VIGIA_EDISKFULL;
		break;
	case EFBIG:
		code = VIGIA_EDISKFULL;
		plain = file_limit;
		break;
	case EIO: /* LMDB also returns it when the disk takes only part of a write */
		if (disk_is_full(b)) code = VIGIA_EDISKFULL;
		else if (file_is_limited(b)) code = VIGIA_EDISKFULL, plain = file_limit;
		break;
	case MDB_MAP_FULL:
		code = VIGIA_EFULL;
		plain = b->map_grows ? "the map is full, and the system grants no more address space (ulimit -v)"
		                     : "the map is full: open the store with a larger map_size";
		break;
	case MDB_TXN_FULL:
		code = VIGIA_EFULL;
		plain = "more than one transaction can hold: store fewer events in one call";
		break;
	case MDB_INVALID:
		code = VIGIA_ENOTSTORE;
		break;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
		code = VIGIA_ENOTSTORE;
		plain = "pages of the file are damaged";
		break;
	case MDB_VERSION_MISMATCH:
		code = VIGIA_EFORMAT;
		break;
	case MDB_READERS_FULL:
		plain = "all 4096 reader slots of the file are taken";
		break;
	default:
		break;
	}
	if (code == VIGIA_EDISKFULL && plain == NULL) plain = "the disk is full";
	return vigia__error_caused(err, code, mdb_strerror(rc), "store '%s': cannot %s%s%s", b->path, what,
	                           plain ? ": " : "", plain ? plain : "");
}
