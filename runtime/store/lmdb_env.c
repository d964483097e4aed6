/*
 * lmdb_env.c - opening and closing a store file: its real path, one LMDB environment per file and process,
 * transactions, errors.
 *
 * LMDB opened twice on one file in one process, or through two names, corrupts it: hence the list of open files by
 * device and inode, real paths, and the refusal of second hard links.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "copies.h"
#include "fd.h"
#include "lmdb_store.h"
#include "place.h"

enum { READERS_MAX = 4096, DATABASES_MAX = 32, LOCK_FILE_HEAD = 4096 };

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct lmdb_backend *list; /* all open files of the process */

/* ---- errors ---- */

/* Less room than what was to be written, and a bit for LMDB's own pages. */
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
		plain = "the map must change its size, and a backup or another long read uses it: try again";
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
	case EIO: /* LMDB says so when the disk takes only a part of what it writes */
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
	vigia__error(err, code, "store '%s': cannot %s%s%s", b->path, what, plain ? ": " : "", plain ? plain : "");
	vigia__error_cause(err, "%s", mdb_strerror(rc));
	return code;
}

/* ---- transactions ---- */

static int reader_new(struct lmdb_backend *b, struct reader **out)
{
	struct reader *reader = vigia__calloc(sizeof *reader);
	if (reader == NULL) return ENOMEM;
	int rc = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &reader->txn);
	if (rc == 0) rc = mdb_cursor_open(reader->txn, b->events, &reader->events);
	if (rc != 0) {
		if (reader->txn) mdb_txn_abort(reader->txn);
		vigia__free(reader);
		return rc;
	}
	*out = reader;
	return 0;
}

static void reader_free(struct reader *reader)
{
	mdb_cursor_close(reader->events);
	mdb_txn_abort(reader->txn);
	vigia__free(reader);
}

static void readers_drop(struct lmdb_backend *b)
{
	while (b->readers) {
		struct reader *reader = b->readers;
		b->readers = reader->next;
		reader_free(reader);
	}
	for (struct vigia__lmdb_pin *pin = b->pins; pin; pin = pin->next) {
		if (pin->reader) reader_free(pin->reader);
		pin->reader = NULL;
	}
}

int vigia__lmdb_read_begin_there(struct lmdb_backend *b, struct reader **out, struct vigia_error *err)
{
	for (int tries = 0;; tries++) {
		vigia__lmdb_map_enter(b);
		pthread_mutex_lock(&b->readers_mutex);
		struct reader *reader = b->readers;
		if (reader) b->readers = reader->next;
		pthread_mutex_unlock(&b->readers_mutex);
		int rc = MDB_PANIC;
		if (reader == NULL) {
			if (b->env) rc = reader_new(b, &reader);
		} else {
			rc = mdb_txn_renew(reader->txn);
			if (rc == 0) rc = mdb_cursor_renew(reader->txn, reader->events);
			if (rc != 0) reader_free(reader);
		}
		if (rc == 0) {
			*out = reader;
			return VIGIA_OK;
		}
		if (rc == MDB_READERS_FULL && tries < 2) rc = mdb_reader_check(b->env, NULL);
		vigia__lmdb_map_leave(b);
		if (rc == MDB_MAP_RESIZED && tries < 8) rc = vigia__lmdb_map_adopt(b);
		if (rc == MDB_PANIC && tries < 8) {
			rc = vigia__lmdb_reopen(b, err);
			if (rc < 0) return rc;
		}
		if (rc != 0) return vigia__lmdb_error(b, rc, "begin to read", err);
	}
}

int vigia__lmdb_read_begin(struct lmdb_backend *b, struct reader **out, struct vigia_error *err)
{
	int rc = vigia__lmdb_still_there(b, err);
	return rc < 0 ? rc : vigia__lmdb_read_begin_there(b, out, err);
}

void vigia__lmdb_read_end(struct lmdb_backend *b, struct reader *reader)
{
	mdb_txn_reset(reader->txn);
	pthread_mutex_lock(&b->readers_mutex);
	reader->next = b->readers;
	b->readers = reader;
	pthread_mutex_unlock(&b->readers_mutex);
	vigia__lmdb_map_leave(b);
}

int vigia__lmdb_pin(struct lmdb_backend *b, struct vigia__lmdb_pin *pin, struct vigia_error *err)
{
	int rc = vigia__lmdb_read_begin(b, &pin->reader, err);
	if (rc < 0) return rc;
	pin->txn = mdb_txn_id(pin->reader->txn);
	pthread_mutex_lock(&b->readers_mutex);
	pin->next = b->pins;
	b->pins = pin;
	pthread_mutex_unlock(&b->readers_mutex);
	vigia__lmdb_map_leave(b);
	return VIGIA_OK;
}

void vigia__lmdb_unpin(struct lmdb_backend *b, struct vigia__lmdb_pin *pin)
{
	vigia__lmdb_map_enter(b);
	pthread_mutex_lock(&b->readers_mutex);
	struct vigia__lmdb_pin **at = &b->pins;
	while (*at != pin) at = &(*at)->next;
	*at = pin->next;
	pthread_mutex_unlock(&b->readers_mutex);
	if (pin->reader) vigia__lmdb_read_end(b, pin->reader);
	else vigia__lmdb_map_leave(b);
}

int vigia__lmdb_free_readers(struct lmdb_backend *b)
{
	int dead = 0;
	vigia__lmdb_map_enter(b);
	if (b->env) mdb_reader_check(b->env, &dead);
	vigia__lmdb_map_leave(b);
	return dead;
}

int vigia__lmdb_write_begin(struct lmdb_backend *b, MDB_txn **out, struct vigia_error *err)
{
	for (int tries = 0;; tries++) {
		vigia__lmdb_map_enter(b);
		int rc = vigia__lmdb_uncut(b, err);
		if (rc < 0) {
			vigia__lmdb_map_leave(b);
			return rc;
		}
		rc = b->env ? mdb_txn_begin(b->env, NULL, 0, out) : MDB_PANIC;
		if (rc == 0) {
			rc = vigia__lmdb_unchanged(b, *out, err);
			if (rc == VIGIA_OK) rc = vigia__lmdb_meta_settle(b, *out, err);
			if (rc < 0) vigia__lmdb_write_abort(b, *out);
			return rc;
		}
		vigia__lmdb_map_leave(b);
		if (rc == MDB_MAP_RESIZED && tries < 8) rc = vigia__lmdb_map_adopt(b);
		if (rc == MDB_PANIC && tries < 8) {
			rc = vigia__lmdb_reopen(b, err);
			if (rc < 0) return rc;
		}
		if (rc != 0) return vigia__lmdb_error(b, rc, "begin to write", err);
	}
}

/* Under map_lock: did a write of LMDB's meta page fail? It then answers MDB_PANIC to everything until it is opened
 * anew. */
static bool panics(struct lmdb_backend *b)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn);
	if (rc == 0) mdb_txn_abort(txn);
	return rc == MDB_PANIC;
}

int vigia__lmdb_write_commit(struct lmdb_backend *b, MDB_txn *txn, struct vigia_error *err)
{
	uint64_t mark = vigia__lmdb_meta_try(b, txn);
	bool has_events = b->has_events;
	b->has_events = false;
	int rc = mdb_txn_commit(txn);
	if (rc == 0 && !has_events) vigia__lmdb_meta_tried(b, mark);
	bool unknown = rc != 0 && panics(b);
	if (unknown) vigia__lmdb_meta_doubt(b);
	vigia__lmdb_map_leave(b);
	if (rc == 0) return VIGIA_OK;
	if (!unknown) return vigia__lmdb_error(b, rc, "commit", err);
	vigia__error(err, VIGIA_EUNKNOWN,
	             "store '%s': a commit failed while it was being published: what it holds may be there or not; look "
	             "before storing it again",
	             b->path);
	vigia__error_cause(err, "%s", mdb_strerror(rc));
	return VIGIA_EUNKNOWN;
}

void vigia__lmdb_write_abort(struct lmdb_backend *b, MDB_txn *txn)
{
	b->has_events = false;
	mdb_txn_abort(txn);
	vigia__lmdb_map_leave(b);
}

/* ---- the path ---- */

static int not_found(const char *path, const char *why, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOTFOUND, "there is no store '%s'%s", path, why);
}

static int no_memory(const char *path, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOMEM, "no memory to open '%s'", path);
}

/* With the system's reason. */
static int cannot_look(const char *path, int number, struct vigia_error *err)
{
	vigia__error(err, VIGIA_EIO, "cannot look at the store '%s'", path);
	vigia__error_cause(err, "%s", strerror(number));
	return VIGIA_EIO;
}

/* Does a path lead nowhere, as far as the system can tell? */
static bool leads_nowhere(int number)
{
	return number == ENOENT || number == ENOTDIR || number == ELOOP || number == ENAMETOOLONG;
}

/* The end of a chain of symbolic links that leads to nothing yet: where a file of that name would be made. NULL: it has
 * no end, or ENOMEM. */
static char *behind_links(const char *path)
{
	char *at = strdup(path), target[4096];
	for (int links = 0; at && links < 40; links++) {
		ssize_t len = readlink(at, target, sizeof target - 1);
		if (len < 0) return at;
		target[len] = '\0';
		const char *slash = strrchr(at, '/');
		char *next = NULL;
		if (asprintf(&next, "%.*s%s", target[0] == '/' || slash == NULL ? 0 : (int)(slash - at) + 1, at, target) < 0)
			next = NULL;
		free(at);
		at = next;
	}
	bool none = at == NULL;
	free(at);
	errno = none ? ENOMEM : ELOOP;
	return NULL;
}

/* The real path of a file that is to be made at `at`, the end of what `path` names. NULL with err set. */
static char *real_path_of_new(const char *path, const char *at, bool may_create, struct vigia_error *err)
{
	struct stat st = {0};
	char *real = NULL;
	bool linked = strcmp(path, at) != 0;
	const char *slash = strrchr(at, '/');
	const char *base = slash ? slash + 1 : at;
	char *dir = slash ? strndup(at, slash == at ? 1 : (size_t)(slash - at)) : strdup(".");
	char *real_dir = dir ? realpath(dir, NULL) : NULL;
	if (dir == NULL || (real_dir == NULL && errno == ENOMEM)) no_memory(path, err);
	else if ((real_dir == NULL || stat(real_dir, &st) < 0) && !leads_nowhere(errno)) cannot_look(path, errno, err);
	else if (real_dir == NULL || !S_ISDIR(st.st_mode))
		not_found(path,
		          linked ? ": it is a symbolic link into a folder that does not exist" : ": its folder does not exist",
		          err);
	else if (base[0] == '\0') vigia__error(err, VIGIA_EINVAL, "path: '%s' names a folder, not a file", path);
	else if (!may_create) not_found(path, linked ? ": it is a symbolic link to nothing" : "", err);
	else if (asprintf(&real, "%s/%s", strcmp(real_dir, "/") == 0 ? "" : real_dir, base) < 0) {
		real = NULL;
		no_memory(path, err);
	}
	free(dir);
	free(real_dir);
	return real;
}

/* The real path of a file that exists or is to be made in a folder that does; a link to nothing yet says where, as for
 * any program that makes a file. NULL with err set. */
static char *real_path(const char *path, bool may_create, struct vigia_error *err)
{
	char *real = realpath(path, NULL);
	if (real) return real;
	struct stat st;
	int why = errno;
	/* The kernel may refuse to follow a link that somebody else laid into a shared folder (fs.protected_symlinks);
	 * realpath goes on. */
	if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
		int fd = VIGIA_FD(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
		why = fd < 0 ? errno : 0;
		if (fd >= 0) close(fd);
	}
	if (why == EACCES) {
		vigia__error(err, VIGIA_EPERM, "no permission to reach '%s'", path);
		return NULL;
	}
	errno = why;
	char *at = why == ENOMEM ? NULL : behind_links(path);
	if (at == NULL && errno == ENOMEM) {
		no_memory(path, err);
		return NULL;
	}
	if (at == NULL) {
		not_found(path, ": it is a symbolic link that leads nowhere", err);
		return NULL;
	}
	real = realpath(at, NULL); /* somebody made it just now */
	if (real == NULL) real = real_path_of_new(path, at, may_create, err);
	free(at);
	return real;
}

/* What must be true of the file before LMDB may touch it. *exists tells whether there is one. */
static int check_file(const char *path, const struct vigia_store_options *options, struct stat *st, bool *exists,
                      struct vigia_error *err)
{
	*exists = stat(path, st) == 0;
	if (*exists && S_ISDIR(st->st_mode))
		return vigia__error(err, VIGIA_ENOTSTORE, "'%s' is a folder, not a store", path);
	if (*exists && !S_ISREG(st->st_mode)) return vigia__error(err, VIGIA_ENOTSTORE, "'%s' is not a regular file", path);
	if (*exists && st->st_nlink > 1)
		return vigia__error(err, VIGIA_ELINKED, "the store '%s' has %lu hard links: two names would become two writers",
		                    path, (unsigned long)st->st_nlink);
	if (*exists && vigia__place_is_mounted(path))
		return vigia__error(err, VIGIA_ELINKED,
		                    "the store '%s' is a file that was mounted by itself: two names would become two writers; "
		                    "mount its folder",
		                    path);
	char dir[4096];
	snprintf(dir, sizeof dir, "%s", path);
	*strrchr(dir, '/') = '\0';
	const char *network = options->allow_network_fs ? NULL : vigia__place_network(*exists ? path : dir[0] ? dir : "/");
	if (network)
		return vigia__error(err, VIGIA_ENETFS,
		                    "'%s' is on a network file system (%s), where locks do not hold; "
		                    "the option allow_network_fs opens it all the same",
		                    path, network);
	/* LMDB would begin it. */
	if (*exists && st->st_size == 0 && (options->readonly || !options->create))
		return not_found(path, ": the file is empty", err);
	return *exists ? vigia__lmdb_format_precheck(path, err) : VIGIA_OK;
}

/* ---- the environment ---- */

/* LMDB maps its lock file, and a hole in it is a SIGBUS when the disk is full: see that it has its blocks. Before LMDB
 * opens it, what it touches first; afterwards all, through a descriptor that stays open as long as the environment,
 * because closing it would drop LMDB's locks. */
static int lock_file_fill(struct lmdb_backend *b, bool opened, struct vigia_error *err)
{
	char path[4096];
	struct stat st;
	if (snprintf(path, sizeof path, "%s-lock", b->path) >= (int)sizeof path) return VIGIA_OK; /* LMDB will refuse it */
	int fd = VIGIA_FD(open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
	/* LMDB would follow a link, and fill what it leads to. */
	if (fd < 0 && errno == ELOOP) return vigia__error(err, VIGIA_EIO, "the lock file '%s' is a symbolic link", path);
	if (fd < 0 && (errno == EACCES || errno == EPERM)) {
		int number = errno;
		bool there = access(path, F_OK) == 0, store_there = access(b->path, F_OK) == 0;
		if (there)
			vigia__error(err, VIGIA_EPERM, "no permission to write the lock file '%s', which readers need too", path);
		else
			vigia__error(err, VIGIA_EPERM, "cannot make the %s '%s': no permission to write its folder",
			             store_there ? "lock file" : "store", store_there ? path : b->path);
		vigia__error_cause(err, "%s", strerror(number));
		return VIGIA_EPERM;
	}
	if (fd < 0) return VIGIA_OK; /* LMDB will fail in the same way */
	int rc = VIGIA_OK;
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		close(fd);
		return vigia__error(err, VIGIA_EIO, "the lock file '%s' is not a regular file", path);
	}
	if (fallocate(fd, 0, 0, opened || st.st_size > LOCK_FILE_HEAD ? st.st_size : LOCK_FILE_HEAD) < 0 &&
	    (errno == ENOSPC || errno == EDQUOT)) {
		rc = vigia__error(err, VIGIA_EDISKFULL, "store '%s': cannot open it: the disk is full", b->path);
		vigia__error_cause(err, "%s", strerror(errno));
	}
	if (opened) b->lock_fd = fd;
	else close(fd);
	return rc;
}

void vigia__lmdb_env_close(struct lmdb_backend *b)
{
	readers_drop(b);
	if (b->env) mdb_env_close(b->env);
	if (b->lock_fd >= 0) close(b->lock_fd);
	b->env = NULL;
	b->reserved_bytes = 0;
	b->lock_fd = -1;
}

int vigia__lmdb_env_open(MDB_env *env, const char *path, unsigned flags)
{
	if (vigia__fd_begin() < 0) return errno;
	return vigia__fd_end(mdb_env_open(env, path, flags, 0600));
}

/* LMDB says of its lock file, too, that it is invalid: one that was damaged, or that it took for another process's
 * because a lock of it was refused. */
static bool lock_file_is_wrong(struct lmdb_backend *b)
{
	char path[4096];
	uint32_t magic = 0;
	if (snprintf(path, sizeof path, "%s-lock", b->path) >= (int)sizeof path) return false;
	/* The environment is closed, so there is no lock to lose. */
	int fd = VIGIA_FD(open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
	if (fd < 0) return false;
	bool wrong = pread(fd, &magic, sizeof magic, 0) == (ssize_t)sizeof magic && magic != VIGIA__LMDB_MAGIC;
	close(fd);
	return wrong;
}

static int env_open(struct lmdb_backend *b, struct vigia_error *err)
{
	size_t bytes = vigia__lmdb_map_first(b);
	int rc = lock_file_fill(b, false, err);
	if (rc < 0) return rc;
	for (;;) {
		rc = mdb_env_create(&b->env);
		if (rc == 0) rc = mdb_env_set_maxreaders(b->env, READERS_MAX);
		if (rc == 0) rc = mdb_env_set_maxdbs(b->env, DATABASES_MAX);
		if (rc == 0) rc = mdb_env_set_mapsize(b->env, bytes);
		if (rc == 0)
			rc = vigia__lmdb_env_open(b->env, b->path, MDB_NOSUBDIR | MDB_NOTLS | (b->readonly ? MDB_RDONLY : 0));
		if (rc == 0) {
			vigia__lmdb_map_opened(b);
			return lock_file_fill(b, true, err);
		}
		vigia__lmdb_env_close(b);
		if (rc == MDB_INVALID && lock_file_is_wrong(b))
			return vigia__error(err, VIGIA_EIO,
			                    "store '%s': the lock file '%s-lock' is damaged, or a lock of it was refused: when no "
			                    "process has the store open, delete it",
			                    b->path, b->path);
		/* The system (a limit: ENOMEM; valgrind: EINVAL) refuses so much address space: ask for less. */
		if ((rc != ENOMEM && rc != EINVAL) || !vigia__lmdb_map_smaller(b, &bytes))
			return vigia__lmdb_error(b, rc, "open it", err);
	}
}

/* LMDB maps what the file says it has; a shorter file is a SIGBUS at the first touch behind its end. */
static int check_size(struct lmdb_backend *b, struct vigia_error *err)
{
	MDB_envinfo info;
	MDB_stat st;
	struct stat file;
	mdb_filehandle_t fd;
	if (mdb_env_info(b->env, &info) != 0 || mdb_env_get_fd(b->env, &fd) != 0 || mdb_env_stat(b->env, &st) != 0 ||
	    fstat(fd, &file) < 0)
		return cannot_look(b->path, errno, err);
	uint64_t need = (uint64_t)(info.me_last_pgno + 1) * st.ms_psize;
	if ((uint64_t)file.st_size < need) return vigia__lmdb_truncated(b->path, file.st_size, need, err);
	int fd_flags = fcntl(fd, F_GETFD);
	if (fd_flags >= 0) fcntl(fd, F_SETFD, fd_flags | FD_CLOEXEC); /* LMDB forgets it */
	atomic_store(&b->file_bytes, file.st_size);
	b->dev = file.st_dev;
	b->ino = file.st_ino;
	return VIGIA_OK;
}

/* Whoever was told "unknown" looks next: what is seen then must be there after a power loss, too. If it cannot be done
 * now, the next writer does it. */
static void settle_now(struct lmdb_backend *b)
{
	MDB_txn *txn;
	if (mdb_txn_begin(b->env, NULL, 0, &txn) != 0) return;
	vigia__lmdb_meta_settle(b, txn, NULL);
	mdb_txn_abort(txn);
}

int vigia__lmdb_reopen(struct lmdb_backend *b, struct vigia_error *err)
{
	int rc = vigia__lmdb_map_claim(b);
	if (rc != 0) return vigia__lmdb_error(b, rc, "open it again", err);
	if (b->env == NULL || panics(b)) {
		dev_t dev = b->dev;
		ino_t ino = b->ino;
		vigia__lmdb_env_close(b);
		rc = env_open(b, err);
		if (rc == VIGIA_OK) rc = check_size(b, err);
		if (rc == VIGIA_OK && (b->dev != dev || b->ino != ino))
			rc = vigia__error(err, VIGIA_EREPLACED, "the store '%s' was replaced by another file", b->path);
		if (rc == VIGIA_OK) rc = vigia__lmdb_format_reload(b, err);
		b->dev = dev;
		b->ino = ino;
		if (rc < 0) vigia__lmdb_env_close(b); /* the next call tries again */
		else if (!b->readonly) settle_now(b);
	}
	vigia__lmdb_map_leave(b);
	return rc;
}

static int sync_now(struct vigia__backend *base, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	vigia__lmdb_map_enter(b);
	int rc = b->env ? mdb_env_sync(b->env, 1) : MDB_PANIC;
	vigia__lmdb_map_leave(b);
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "sync", err);
}

static uint64_t commits(struct vigia__backend *base)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	MDB_envinfo info;
	if (atomic_load_explicit(&b->overwritten, memory_order_relaxed)) return 0; /* the pages may be gone */
	vigia__lmdb_map_enter(b);
	uint64_t last = b->env && mdb_env_info(b->env, &info) == 0 ? info.me_last_txnid : 0;
	vigia__lmdb_map_leave(b);
	return last;
}

/* Is there a commit that readers do not see? */
static bool hides(struct lmdb_backend *b)
{
	struct reader *reader;
	if (vigia__lmdb_read_begin(b, &reader, NULL) < 0) return false;
	uint64_t visible = mdb_txn_id(reader->txn);
	vigia__lmdb_read_end(b, reader);
	return commits(&b->base) > visible;
}

/* Readers go by a number in the lock file that a writer sets after it wrote the meta page. One that was killed between
 * the two leaves a commit that no reader sees until the next writer finds the lock abandoned; so be that writer. A
 * commit that is just being told looks the same for as long as a sync takes: give it that time first, for the lock is
 * then held. */
static bool heal(struct vigia__backend *base)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	MDB_txn *txn;
	if (b->readonly || !hides(b)) return false;
	for (int i = 0; i < 50; i++) {
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
		if (!hides(b)) return true;
	}
	if (vigia__lmdb_write_begin(b, &txn, NULL) < 0) return false;
	vigia__lmdb_write_abort(b, txn);
	return true;
}

static int stats(struct vigia__backend *base, struct vigia__backend_stats *out, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	*out = (struct vigia__backend_stats){.created_at_ns = b->created_at_ns, .format = VIGIA_FORMAT};
	for (int i = 0; i < 16; i++) snprintf(out->file_id + 2 * i, 3, "%02x", b->file_id[i]);
	int rc = vigia__lmdb_bounds(base, &out->oldest, &out->latest, err);
	if (rc == VIGIA_OK) rc = vigia__lmdb_settings(base, &out->settings, err);
	if (rc < 0) return rc;
	struct reader *reader;
	rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	MDB_envinfo info;
	MDB_stat st;
	mdb_filehandle_t fd;
	struct stat file;
	if (mdb_stat(reader->txn, b->events, &st) == 0) out->events = st.ms_entries;
	if (mdb_env_info(b->env, &info) == 0) {
		out->map_bytes = info.me_mapsize;
		out->used_bytes = (uint64_t)(info.me_last_pgno + 1) * st.ms_psize;
		out->readers = info.me_numreaders;
		out->commits = info.me_last_txnid;
	}
	if (mdb_env_get_fd(b->env, &fd) == 0 && fstat(fd, &file) == 0) out->file_bytes = (uint64_t)file.st_size;
	vigia__lmdb_read_end(b, reader);
	return VIGIA_OK;
}

static int own(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	return vigia__side_own(&((struct lmdb_backend *)base)->side, id, err);
}

static int still(void *ctx, struct vigia_error *err)
{
	return vigia__lmdb_there(ctx, err);
}

static int wait_owner(struct vigia__backend *base, const char *id, int cancel_fd, struct vigia_error *err)
{
	return vigia__side_wait(&((struct lmdb_backend *)base)->side, id, cancel_fd, still, base, err);
}

static void disown(struct vigia__backend *base, const char *id)
{
	vigia__side_disown(&((struct lmdb_backend *)base)->side, id);
}

/* Also for a backend that was only half opened. */
static void backend_free(struct lmdb_backend *b)
{
	vigia__queue_stop(&b->base.queue);
	vigia__commit_deinit(&b->commit); /* first: its helper may still be about to publish what it told the submitter */
	vigia__queue_deinit(&b->base.queue);
	vigia__lmdb_env_close(b);
	vigia__side_close(&b->side);
	vigia__copies_leave();
	pthread_mutex_destroy(&b->readers_mutex);
	pthread_mutex_destroy(&b->look_mutex);
	vigia__progress_deinit(&b->base.progress);
	pthread_mutex_destroy(&b->settings_mutex);
	pthread_mutex_destroy(&b->base.collector.mutex);
	pthread_rwlock_destroy(&b->map_lock);
	free(b->path);
	vigia__free(b);
}

static void release(struct vigia__backend *base)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	pthread_mutex_lock(&list_mutex);
	if (--b->refs == 0) {
		struct lmdb_backend **at = &list;
		while (*at != b) at = &(*at)->next;
		*at = b->next;
		backend_free(b); /* under the mutex: nobody may open the file while it closes */
	}
	pthread_mutex_unlock(&list_mutex);
}

static const struct vigia__backend lmdb_interface = {
	.name = "lmdb",
	.can = VIGIA_CAN_PERSIST | VIGIA_CAN_SHARE | VIGIA_CAN_DAMAGE,
	.append = vigia__lmdb_append,
	.submit = vigia__lmdb_submit,
	.scan = vigia__lmdb_scan,
	.bounds = vigia__lmdb_bounds,
	.find_time = vigia__lmdb_find_time,
	.trim = vigia__lmdb_trim,
	.checkpoint_put = vigia__lmdb_checkpoint_put,
	.checkpoint_advance = vigia__lmdb_checkpoint_advance,
	.checkpoint_get = vigia__lmdb_checkpoint_get,
	.checkpoint_delete = vigia__lmdb_checkpoint_delete,
	.checkpoint_each = vigia__lmdb_checkpoint_each,
	.own = own,
	.disown = disown,
	.wait_owner = wait_owner,
	.clock = vigia__clock_now,
	.collect = vigia__lmdb_collect,
	.elect = vigia__lmdb_elect,
	.resign = vigia__lmdb_resign,
	.hold = vigia__lmdb_hold,
	.hold_each = vigia__lmdb_hold_each,
	.touch = vigia__lmdb_touch,
	.settings = vigia__lmdb_settings,
	.configure = vigia__lmdb_configure,
	.sync = sync_now,
	.backup = vigia__lmdb_backup,
	.check = vigia__lmdb_check,
	.commits = commits,
	.there = vigia__lmdb_there,
	.heal = heal,
	.stats = stats,
	.release = release,
};

/* Nobody uses another file under this name. One that somebody makes just now is the one that is used. */
static int check_use(const char *path, struct vigia_error *err)
{
	struct stat st;
	int rc;
	bool there;
	do {
		there = stat(path, &st) == 0;
		rc = vigia__side_check(path, there ? st.st_dev : 0, there ? st.st_ino : 0, there && st.st_size == 0, err);
	} while (rc < 0 && !there && stat(path, &st) == 0);
	return rc;
}

/* A newly opened file; takes over `path`. */
static int backend_open(char *path, bool exists, const struct vigia_store_options *options, struct lmdb_backend **out,
                        struct vigia_error *err)
{
	int rc = vigia__copies_enter(err);
	if (rc < 0) {
		free(path);
		return rc;
	}
	struct lmdb_backend *b = vigia__calloc(sizeof *b);
	if (b == NULL) {
		vigia__copies_leave();
		free(path);
		return vigia__error(err, VIGIA_ENOMEM, "no memory to open a store");
	}
	b->base = lmdb_interface;
	b->path = path;
	b->side.fd = b->base.lock_fd = -1;
	b->lock_fd = -1;
	b->fork_generation = vigia__fork_generation();
	vigia__queue_init(&b->base.queue, &b->base);
	vigia__commit_init(&b->commit, &vigia__lmdb_commit_ops, b);
	pthread_mutex_init(&b->readers_mutex, NULL);
	pthread_mutex_init(&b->look_mutex, NULL);
	vigia__progress_init(&b->base.progress);
	pthread_mutex_init(&b->settings_mutex, NULL);
	pthread_mutex_init(&b->base.collector.mutex, NULL);
	b->base.settings_word = &b->local_word;
	b->map_asked = (size_t)options->map_size_bytes;
	vigia__lmdb_map_init(b);

	if (exists && access(path, R_OK | W_OK) != 0) {
		if (errno != EACCES && errno != EPERM && errno != EROFS) {
			rc = cannot_look(path, errno, err);
		} else if (!options->readonly) {
			rc = vigia__error(err, VIGIA_EPERM, "no permission to write the store '%s'", path);
			vigia__error_cause(err, "%s", strerror(errno));
		}
		b->readonly = true;
	}
	if (rc == VIGIA_OK) rc = check_use(path, err);
	if (rc == VIGIA_OK && exists)
		rc = vigia__lmdb_meta_finish(path, !b->readonly && !options->readonly && options->create, err);
	if (rc == VIGIA_OK) rc = env_open(b, err);
	if (rc == VIGIA_OK) rc = check_size(b, err);
	if (rc == VIGIA_OK) rc = vigia__lmdb_there_at_open(b, err);
	if (rc == VIGIA_OK) {
		vigia__lmdb_free_readers(b);
		rc = vigia__lmdb_format_load(b, options, err);
	}
	if (rc == VIGIA_OK) {
		struct vigia__settings settings;
		vigia__settings_copy(&settings, &b->settings);
		vigia__lmdb_settings_adopt(b, &settings);
		rc = vigia__side_open(&b->side, b->path, b->file_id, b->dev, b->ino, err);
		if (rc == VIGIA_OK) {
			b->base.lock_fd = b->side.fd;
			b->base.wake = vigia__side_wake(&b->side);
			b->base.settings_word = vigia__side_settings(&b->side);
			b->base.collect_call = vigia__side_collect_call(&b->side);
			b->settings_seen = atomic_load(b->base.settings_word) - 1; /* the first write looks again */
		} else if (rc == VIGIA_EPERM && options->readonly) {
			/* May only read: nobody wakes us, the look at the commit number once a second does. */
			b->base.wake = &b->local_wake;
			rc = VIGIA_OK;
		}
	}
	if (rc < 0) {
		backend_free(b);
		return rc;
	}
	*out = b;
	return VIGIA_OK;
}

static void before_fork(void)
{
	pthread_mutex_lock(&list_mutex);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&list_mutex);
}

/* The environments are the parent's: forget them without closing, but let go of the owners' locks, which a descriptor
 * keeps alive. */
static void after_fork_child(void)
{
	for (struct lmdb_backend *b = list; b; b = b->next) vigia__side_forked(&b->side);
	list = NULL;
	vigia__copies_forked();
	pthread_mutex_unlock(&list_mutex);
}

static void guard_forks(void)
{
	vigia__fork_generation(); /* its handler counts first */
	vigia__fd_guard();        /* its lock is taken under the list's */
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

int vigia__lmdb_open(const char *path, const struct vigia_store_options *options, struct vigia__backend **out,
                     struct vigia_error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, guard_forks);
	struct vigia_error why;
	if (err == NULL) err = &why;
	char *real = real_path(path, options->create && !options->readonly, err);
	if (real == NULL) return err->code;

	pthread_mutex_lock(&list_mutex);
	struct stat st;
	bool exists;
	struct lmdb_backend *b = NULL;
	int rc = check_file(real, options, &st, &exists, err);
	if (rc == VIGIA_OK && exists)
		for (b = list; b; b = b->next)
			if (b->dev == st.st_dev && b->ino == st.st_ino) break;
	if (rc == VIGIA_OK && b) {
		struct vigia__settings settings;
		rc = vigia__lmdb_settings(&b->base, &settings, err);
		if (rc == VIGIA_OK) rc = vigia__lmdb_format_conflicts(b, &settings, options, err);
		if (rc == VIGIA_OK && b->readonly && !options->readonly)
			rc = vigia__error(err, VIGIA_EPERM, "no permission to write the store '%s'", real);
		free(real);
	} else if (rc == VIGIA_OK) {
		rc = backend_open(real, exists, options, &b, err);
		if (rc == VIGIA_OK) {
			b->next = list;
			list = b;
		}
	} else {
		free(real);
	}
	if (rc == VIGIA_OK) {
		b->refs++;
		*out = &b->base;
	}
	pthread_mutex_unlock(&list_mutex);
	return rc;
}
