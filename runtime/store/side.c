/*
 * side.c - the side file: what the processes of a store share. side.h shows its layout.
 */
#include "side.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../core/error.h"
#include "clock.h"
#include "fd.h"
#include "file_limit.h"
#include "side_private.h"

/* How long a process that closes the store may take. */
enum { CLOSING_NS = 3000000000 };

static const char magic[8] = {'V', 'I', 'G', 'I', 'A', 'S', '1', '\n'};

/* ---- pids, for messages ---- */

/* A process keeps its namespace. A child may be in another one. */
uint32_t vigia__side_pid_space(void)
{
	static _Atomic uint64_t known; /* the fork generation above the namespace's number; 0: not read yet */
	uint64_t generation = (uint64_t)vigia__fork_generation() << 32, before = atomic_load(&known);
	if ((uint32_t)before != 0 && (before ^ generation) >> 32 == 0) return (uint32_t)before;
	struct stat st;
	uint32_t space = stat("/proc/self/ns/pid", &st) == 0 ? (uint32_t)st.st_ino : 0;
	atomic_store(&known, generation | space);
	return space;
}

const char *vigia__side_pid_text(char *out, size_t size, int32_t pid, uint32_t space)
{
	uint32_t own = vigia__side_pid_space();
	bool elsewhere = space != 0 && own != 0 && space != own;
	if (pid <= 0) snprintf(out, size, "%s", "");
	else snprintf(out, size, " (pid %ld%s)", (long)pid, elsewhere ? " of another PID namespace" : "");
	return out;
}

/* The pid of a process that uses the side file through another descriptor than fd. */
static const char *user_text(char *out, size_t size, int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_USERS, .l_len = USERS};
	struct user user = {0};
	if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_start >= LOCK_USERS &&
	    lock.l_start < LOCK_USERS + USERS) {
		off_t at = (off_t)offsetof(struct vigia__side_map, users) + (lock.l_start - LOCK_USERS) * (off_t)sizeof user;
		if (pread(fd, &user, sizeof user, at) != (ssize_t)sizeof user) user = (struct user){0};
	}
	return vigia__side_pid_text(out, size, atomic_load(&user.pid), atomic_load(&user.space));
}

/* Its place. -1: all are taken, and this process is not noted. */
static int note_user(int fd, struct vigia__side_map *map)
{
	int first = (int)(getpid() % USERS);
	for (int i = 0; i < USERS; i++) {
		int n = (first + i) % USERS;
		if (vigia__fd_lock(fd, LOCK_USERS + n, F_WRLCK, false) < 0) continue;
		atomic_store(&map->users[n].pid, (int32_t)getpid());
		atomic_store(&map->users[n].space, vigia__side_pid_space());
		return n;
	}
	return -1;
}

int vigia__side_error(struct vigia_error *err, const char *what, const char *path)
{
	int code = errno == EACCES || errno == EPERM || errno == EROFS ? VIGIA_EPERM
	           : errno == ENOSPC                                   ? VIGIA_EDISKFULL
	           : errno == ENOMEM                                   ? VIGIA_ENOMEM
	                                                               : VIGIA_EIO;
	return vigia__error_caused(err, code, strerror(errno), "cannot %s the side file '%s'%s", what, path,
	                           code == VIGIA_EDISKFULL ? ": the disk is full" : "");
}

/* With the making lock held: is it a finished side file of this store? *bytes is its size. */
static bool is_of_store(int fd, const uint8_t id[16], off_t *bytes)
{
	struct stat st = {0};
	char head[32];
	bool known = fstat(fd, &st) == 0;
	*bytes = st.st_size;
	return known && (st.st_size == SIDE_BYTES || st.st_size == SIDE_BYTES_1) &&
	       pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head && memcmp(head, magic, sizeof magic) == 0 &&
	       memcmp(head + 16, id, 16) == 0;
}

/* Turn an empty file into a side file. The magic is written last, so that a crash leaves a file that does not fit. */
static int write_new(int fd, const uint8_t id[16], size_t bytes)
{
	uint32_t numbers[2] = {bytes == SIDE_BYTES_1 ? 1 : VIGIA_FORMAT, (uint32_t)bytes};
	static const char zeros[SIDE_BYTES_1];
	if (ftruncate(fd, 0) < 0) return -1;
	/* Write zeros instead of leaving a hole: touching a mapped hole on a full disk is a SIGBUS. */
	for (size_t at = 0; at < bytes;) {
		ssize_t written = pwrite(fd, zeros, bytes - at < sizeof zeros ? bytes - at : sizeof zeros, (off_t)at);
		if (written <= 0) {
			if (written == 0) errno = ENOSPC;
			return -1;
		}
		at += (size_t)written;
	}
	if (pwrite(fd, numbers, sizeof numbers, 8) != (ssize_t)sizeof numbers) return -1;
	if (pwrite(fd, id, 16, 16) != 16) return -1;
	/* Which commits were attempted before this file was created is unknown. */
	uint64_t tried = UINT64_MAX;
	if (pwrite(fd, &tried, sizeof tried, offsetof(struct vigia__side_map, tried)) != (ssize_t)sizeof tried) return -1;
	return pwrite(fd, magic, sizeof magic, 0) == (ssize_t)sizeof magic ? 0 : -1;
}

static int make_side_file(int fd, const uint8_t id[16], size_t bytes)
{
	struct vigia__file_limit limit;
	vigia__file_limit_begin(&limit);
	int rc = write_new(fd, id, bytes);
	vigia__file_limit_end(&limit);
	return rc;
}

/* Does the name still lead to the open file? It may have been replaced between open and lock. 1: yes, 0: no, -1 with
 * errno. */
static int still_named(int fd, const char *path)
{
	struct stat a, b;
	if (fstat(fd, &a) < 0) return -1;
	if (stat(path, &b) < 0) return errno == ENOENT ? 0 : -1;
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Map the file of fd through another description. A mapping keeps its description open, and so its locks, even in a
 * forked child that closed the descriptor. NULL with errno. ESTALE: the name leads to another file by now. */
static struct vigia__side_map *map_file(int fd, const char *path, size_t bytes)
{
	int own = VIGIA_FD(open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW));
	if (own < 0) return NULL;
	struct stat a, b;
	void *map = MAP_FAILED;
	bool known = fstat(fd, &a) == 0 && fstat(own, &b) == 0;
	if (known && (a.st_dev != b.st_dev || a.st_ino != b.st_ino)) errno = ESTALE;
	else if (known) map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
	int number = errno;
	close(own);
	errno = number;
	return map == MAP_FAILED ? NULL : map;
}

static int open_existing(const char *store_path)
{
	char path[4096];
	if (snprintf(path, sizeof path, "%s-side", store_path) >= (int)sizeof path) return -1;
	return VIGIA_FD(open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

static bool in_use(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_USING, .l_len = 1};
	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* With the making lock held, and no other process that uses it. */
static void begin_journal(struct vigia__journal_words *journal)
{
	pthread_mutexattr_t attr;
	atomic_store(&journal->published, 0);
	atomic_store(&journal->ready, 0);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&journal->mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	vigia__turns_init(&journal->turns);
	atomic_store(&journal->made, VIGIA_WORDS_MADE);
}

static int refuse_newcomer(int fd, const char *store_path, struct vigia_error *err)
{
	char user[96];
	return vigia__error(err, VIGIA_EREPLACED,
	                    "a process%s still uses the earlier content of '%s': it must close the store first",
	                    user_text(user, sizeof user, fd), store_path);
}

/* It is of this store, and has another layout than this version's. */
static int refuse_version(int fd, const char *store_path, struct vigia_error *err)
{
	char user[96];
	return vigia__error(err, VIGIA_EFORMAT,
	                    "a process%s of another version of Vigia has '%s' open: it must close the store first",
	                    user_text(user, sizeof user, fd), store_path);
}

int vigia__side_check(const char *store_path, uint64_t dev, uint64_t ino, bool empty, struct vigia_error *err)
{
	uint64_t used[2] = {0, 0};
	int fd = open_existing(store_path), rc = VIGIA_OK;
	if (fd < 0) return VIGIA_OK;
	/* In this order: a process first notes the file that it opened, and then that it uses it. */
	if (in_use(fd)) {
		bool same = pread(fd, used, sizeof used, offsetof(struct vigia__side_map, dev)) == (ssize_t)sizeof used &&
		            used[0] == dev && used[1] == ino;
		if (!same || empty) rc = refuse_newcomer(fd, store_path, err);
	}
	close(fd);
	return rc;
}

int vigia__side_refuse(const char *store_path, struct vigia_error *err)
{
	int fd = open_existing(store_path);
	int rc = refuse_newcomer(fd, store_path, err);
	if (fd >= 0) close(fd);
	return rc;
}

/* Returns rc. */
static int close_after(int fd, int rc)
{
	close(fd);
	return rc;
}

int vigia__side_open(struct vigia__side *side, const char *store_path, const uint8_t id[16], uint64_t dev, uint64_t ino,
                     bool large, struct vigia_error *err)
{
	char path[4096];
	int64_t until = vigia__mono_ns() + CLOSING_NS;
	*side = (struct vigia__side){.fd = -1, .bytes = large ? SIDE_BYTES : SIDE_BYTES_1};
	snprintf(path, sizeof path, "%s-side", store_path); /* LMDB has opened "-lock", which is as long */
	for (;;) {
		int fd = VIGIA_FD(open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
		if (fd < 0) return vigia__side_error(err, "open", path);
		int named = -1;
		if (vigia__fd_lock(fd, LOCK_MAKING, F_WRLCK, true) < 0 || (named = still_named(fd, path)) < 0) {
			return close_after(fd, vigia__side_error(err, "lock", path));
		}
		off_t bytes;
		bool usable = named == 1, is_ours = is_of_store(fd, id, &bytes);
		if (usable && !(is_ours && bytes == (off_t)side->bytes)) {
			/* A store's format changes only while no process has it open. One that had it open is closing this. */
			if (is_ours && in_use(fd) && vigia__mono_ns() < until) {
				close(fd);
				nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
				continue;
			}
			/* It is left from a store that is gone, or, if in use, belongs to the earlier content of the file. */
			if (is_ours && in_use(fd)) return close_after(fd, refuse_version(fd, store_path, err));
			if (in_use(fd)) {
				/* GCOVR_EXCL_START: another process made it at this moment. */
				return close_after(fd, refuse_newcomer(fd, store_path, err));
				/* GCOVR_EXCL_STOP */
			}
			if (bytes > 0) {
				unlink(path);
				usable = false;
			} else if (make_side_file(fd, id, side->bytes) < 0) {
				return close_after(fd, vigia__side_error(err, "write", path));
			}
		}
		if (usable) side->map = map_file(fd, path, side->bytes);
		if (!usable || (side->map == NULL && (errno == ESTALE || errno == ENOENT))) {
			close(fd);
			continue;
		}
		if (side->map == NULL) return close_after(fd, vigia__side_error(err, "map", path));
		side->wake = large ? (struct vigia__wake){side->map->words, VIGIA_WAKE_WORDS}
		                   : (struct vigia__wake){side->map->few_words, VIGIA_WAKE_FEW};
		side->alone = !in_use(fd);
		if (side->alone) {
			begin_journal(&side->map->journal);
			vigia__wants_clear(&side->map->wants);
			atomic_store(&side->map->timers, 0); /* no commit is under way that it could tell of */
		}
		atomic_store(&side->map->dev, dev);
		atomic_store(&side->map->ino, ino);
		vigia__fd_lock(fd, LOCK_USING, F_RDLCK, false);
		side->user = note_user(fd, side->map);
		vigia__fd_lock(fd, LOCK_MAKING, F_UNLCK, false);
		side->fd = fd;
		return VIGIA_OK;
	}
}

void vigia__side_close(struct vigia__side *side)
{
	if (side->fd < 0) return;
	munmap(side->map, side->bytes);
	close(side->fd);
	side->fd = -1;
}

void vigia__side_forked(struct vigia__side *side)
{
	if (side->fd >= 0) close(side->fd);
	side->fd = -1;
}

struct vigia__wake *vigia__side_wake(struct vigia__side *side)
{
	return &side->wake;
}

_Atomic uint32_t *vigia__side_settings(struct vigia__side *side)
{
	return &side->map->settings;
}

_Atomic uint64_t *vigia__side_tried(struct vigia__side *side)
{
	return side->map ? &side->map->tried : NULL;
}

struct vigia__collect_call vigia__side_collect_call(struct vigia__side *side)
{
	return (struct vigia__collect_call){&side->map->collect_at, &side->map->collect_word};
}

struct vigia__elder *vigia__side_elder(struct vigia__side *side)
{
	return side->map ? &side->map->elder : NULL;
}

struct vigia__outcomes *vigia__side_outcomes(struct vigia__side *side)
{
	return side->map ? &side->map->outcomes : NULL;
}

_Atomic uint32_t *vigia__side_letter_requests(struct vigia__side *side)
{
	return &side->map->letter_requests;
}

_Atomic uint32_t *vigia__side_steer_requests(struct vigia__side *side)
{
	return &side->map->steer_requests;
}

struct vigia__wants *vigia__side_wants(struct vigia__side *side)
{
	return side->map ? &side->map->wants : NULL;
}

struct vigia__journal_words *vigia__side_journal(struct vigia__side *side)
{
	return side->map ? &side->map->journal : NULL;
}

bool vigia__side_is_shared(const struct vigia__side *side)
{
	return in_use(side->fd);
}

_Atomic uint32_t *vigia__side_timers(struct vigia__side *side)
{
	return &side->map->timers;
}

void vigia__side_share_rows(struct vigia__side *side, struct vigia__rows *rows)
{
	if (side->bytes == SIDE_BYTES)
		vigia__rows_share(rows, &side->map->rows, &side->fd, LOCK_ROWS, LOCK_USERS, side->user,
		                  vigia__side_pid_space());
}

static int lock_of(enum vigia__office office)
{
	return office == VIGIA_OFFICE_TIMERS ? LOCK_TIMERS : LOCK_COLLECTING;
}

bool vigia__side_elect(struct vigia__side *side, enum vigia__office office)
{
	return side->fd >= 0 && vigia__fd_lock(side->fd, lock_of(office), F_WRLCK, false) == 0;
}

void vigia__side_resign(struct vigia__side *side, enum vigia__office office)
{
	if (side->fd >= 0) vigia__fd_lock(side->fd, lock_of(office), F_UNLCK, false);
}
