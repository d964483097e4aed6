/*
 * side.c - the side file: wake words and owners, shared by the processes of a store. Its layout is drawn in side.h.
 */
#include "side.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "fd.h"
#include "file_limit.h"
#include "thread.h"

enum { STILL_MS = 1000 };
enum {
	SIDE_BYTES = 32768,
	OWNERS = 1024,
	USERS = 256,
	LOCK_MAKING = 0,
	LOCK_COLLECTING = 1,
	LOCK_USING = 2,
	LOCK_USERS = 1024
};

static const char magic[8] = {'V', 'I', 'G', 'I', 'A', 'S', '1', '\n'};

struct vigia__side_map {
	char magic[8];
	uint32_t format;
	uint32_t size;
	uint8_t id[16];
	_Atomic uint32_t settings;
	uint32_t reserved0;
	_Atomic uint64_t dev, ino;
	_Atomic uint64_t tried;
	struct vigia__wake wake;
	_Atomic uint64_t collect_at;
	_Atomic uint32_t collect_word;
	uint8_t reserved2[1024 - 64 - 12 - sizeof(struct vigia__wake)];
	struct owner {
		_Atomic uint64_t hash;
		_Atomic int32_t pid;
		_Atomic uint32_t space;
	} owners[OWNERS];
	struct user {
		_Atomic int32_t pid;
		_Atomic uint32_t space; /* the pid's namespace; 0: not known */
	} users[USERS];
};
_Static_assert(offsetof(struct vigia__side_map, tried) == 56, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, owners) == 1024, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, users) == 17408, "the layout drawn in side.h");
_Static_assert(sizeof(struct vigia__side_map) <= SIDE_BYTES, "the layout drawn in side.h");

struct vigia__owned {
	struct vigia__node entry; /* of `owned`; first */
};

/* 0, or -1 with errno; EAGAIN: somebody else holds it. */
static int lock_byte(int fd, off_t byte, short type, bool wait)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	int rc;
	do rc = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
	while (rc < 0 && errno == EINTR);
	return rc;
}

/* ---- pids, for messages ---- */

static uint32_t pid_space(void)
{
	struct stat st;
	return stat("/proc/self/ns/pid", &st) == 0 ? (uint32_t)st.st_ino : 0;
}

/* " (pid 12)", "" where it is not known. */
static const char *pid_text(char *out, size_t size, int32_t pid, uint32_t space)
{
	uint32_t own = pid_space();
	bool elsewhere = space != 0 && own != 0 && space != own;
	if (pid <= 0) snprintf(out, size, "%s", "");
	else snprintf(out, size, " (pid %ld%s)", (long)pid, elsewhere ? " of another PID namespace" : "");
	return out;
}

/* A process that uses the side file open as fd, but not through it. */
static const char *user_text(char *out, size_t size, int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_USERS, .l_len = USERS};
	struct user user = {0};
	if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_start >= LOCK_USERS &&
	    lock.l_start < LOCK_USERS + USERS) {
		off_t at = (off_t)offsetof(struct vigia__side_map, users) + (lock.l_start - LOCK_USERS) * (off_t)sizeof user;
		if (pread(fd, &user, sizeof user, at) != (ssize_t)sizeof user) user = (struct user){0};
	}
	return pid_text(out, size, atomic_load(&user.pid), atomic_load(&user.space));
}

/* More than there is room for are not written down. */
static void note_user(int fd, struct vigia__side_map *map)
{
	int first = (int)(getpid() % USERS);
	for (int i = 0; i < USERS; i++) {
		int n = (first + i) % USERS;
		if (lock_byte(fd, LOCK_USERS + n, F_WRLCK, false) < 0) continue;
		atomic_store(&map->users[n].pid, (int32_t)getpid());
		atomic_store(&map->users[n].space, pid_space());
		return;
	}
}

static int io_error(struct vigia_error *err, const char *what, const char *path)
{
	int code = errno == EACCES || errno == EPERM || errno == EROFS ? VIGIA_EPERM
	           : errno == ENOSPC                                   ? VIGIA_EDISKFULL
	           : errno == ENOMEM                                   ? VIGIA_ENOMEM
	                                                               : VIGIA_EIO;
	vigia__error(err, code, "cannot %s the side file '%s'%s", what, path,
	             code == VIGIA_EDISKFULL ? ": the disk is full" : "");
	vigia__error_cause(err, "%s", strerror(errno));
	return code;
}

/* With the making lock held: is it a finished side file of this store? */
static bool fits(int fd, const uint8_t id[16])
{
	struct stat st;
	char head[32];
	return fstat(fd, &st) == 0 && st.st_size == SIDE_BYTES && pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head &&
	       memcmp(head, magic, sizeof magic) == 0 && memcmp(head + 16, id, 16) == 0;
}

/* An empty file becomes a side file; the magic comes last, so that a crash in the middle leaves one that does not
 * fit. */
static int write_new(int fd, const uint8_t id[16])
{
	uint32_t numbers[2] = {VIGIA_FORMAT, SIDE_BYTES};
	static const char zeros[SIDE_BYTES];
	if (ftruncate(fd, 0) < 0) return -1;
	/* Written, not a hole: touching a hole in a map is a SIGBUS when the disk is full. */
	ssize_t written = pwrite(fd, zeros, sizeof zeros, 0);
	if (written != (ssize_t)sizeof zeros) {
		if (written >= 0) errno = ENOSPC;
		return -1;
	}
	if (pwrite(fd, numbers, sizeof numbers, 8) != (ssize_t)sizeof numbers) return -1;
	if (pwrite(fd, id, 16, 16) != 16) return -1;
	/* What was tried before this file was made is not known: anything. */
	uint64_t tried = UINT64_MAX;
	if (pwrite(fd, &tried, sizeof tried, offsetof(struct vigia__side_map, tried)) != (ssize_t)sizeof tried) return -1;
	return pwrite(fd, magic, sizeof magic, 0) == (ssize_t)sizeof magic ? 0 : -1;
}

static int make(int fd, const uint8_t id[16])
{
	struct vigia__file_limit limit;
	vigia__file_limit_begin(&limit);
	int rc = write_new(fd, id);
	vigia__file_limit_end(&limit);
	return rc;
}

/* Is the open file still the one of that name? Between open and lock somebody may have replaced it. 1: yes, 0: no, -1
 * with errno. */
static int still_named(int fd, const char *path)
{
	struct stat a, b;
	if (fstat(fd, &a) < 0) return -1;
	if (stat(path, &b) < 0) return errno == ENOENT ? 0 : -1;
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The file behind fd, mapped through a description of its own: a mapping keeps its description open, and with it the
 * locks, also in a forked child that closed the descriptor. NULL with errno; ESTALE: the name leads to another file by
 * now. */
static struct vigia__side_map *map_file(int fd, const char *path)
{
	int own = VIGIA_FD(open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW));
	if (own < 0) return NULL;
	struct stat a, b;
	void *map = MAP_FAILED;
	bool known = fstat(fd, &a) == 0 && fstat(own, &b) == 0;
	if (known && (a.st_dev != b.st_dev || a.st_ino != b.st_ino)) errno = ESTALE;
	else if (known) map = mmap(NULL, SIDE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
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

static int refuse_newcomer(int fd, const char *store_path, struct vigia_error *err)
{
	char user[96];
	return vigia__error(err, VIGIA_EREPLACED,
	                    "a process%s still uses what was in '%s' before: it must close that first",
	                    user_text(user, sizeof user, fd), store_path);
}

int vigia__side_check(const char *store_path, uint64_t dev, uint64_t ino, bool empty, struct vigia_error *err)
{
	uint64_t used[2] = {0, 0};
	int fd = open_existing(store_path), rc = VIGIA_OK;
	if (fd < 0) return VIGIA_OK;
	bool same = pread(fd, used, sizeof used, offsetof(struct vigia__side_map, dev)) == (ssize_t)sizeof used &&
	            used[0] == dev && used[1] == ino;
	if ((!same || empty) && in_use(fd)) rc = refuse_newcomer(fd, store_path, err);
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

int vigia__side_open(struct vigia__side *side, const char *store_path, const uint8_t id[16], uint64_t dev, uint64_t ino,
                     struct vigia_error *err)
{
	char path[4096];
	*side = (struct vigia__side){.fd = -1};
	if (snprintf(path, sizeof path, "%s-side", store_path) >= (int)sizeof path)
		return vigia__error(err, VIGIA_EINVAL, "path: longer than the system allows");
	for (;;) {
		int fd = VIGIA_FD(open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
		if (fd < 0) return io_error(err, "open", path);
		int named = -1;
		if (lock_byte(fd, LOCK_MAKING, F_WRLCK, true) < 0 || (named = still_named(fd, path)) < 0) {
			int rc = io_error(err, "lock", path);
			close(fd);
			return rc;
		}
		struct stat st;
		bool usable = named == 1;
		if (usable && !fits(fd, id)) {
			/* Left behind by a store file that is gone; one that is used belongs to what was in the file before. */
			if (in_use(fd)) {
				int rc = refuse_newcomer(fd, store_path, err);
				close(fd);
				return rc;
			}
			if (fstat(fd, &st) == 0 && st.st_size > 0) {
				unlink(path);
				usable = false;
			} else if (make(fd, id) < 0) {
				int rc = io_error(err, "write", path);
				close(fd);
				return rc;
			}
		}
		if (!usable) {
			close(fd);
			continue;
		}
		side->map = map_file(fd, path);
		if (side->map == NULL) {
			bool again = errno == ESTALE || errno == ENOENT;
			int rc = again ? VIGIA_OK : io_error(err, "map", path);
			close(fd);
			if (again) continue;
			return rc;
		}
		atomic_store(&side->map->dev, dev);
		atomic_store(&side->map->ino, ino);
		lock_byte(fd, LOCK_USING, F_RDLCK, false);
		note_user(fd, side->map);
		lock_byte(fd, LOCK_MAKING, F_UNLCK, false);
		side->fd = fd;
		pthread_mutex_init(&side->mutex, NULL);
		return VIGIA_OK;
	}
}

void vigia__side_close(struct vigia__side *side)
{
	if (side->fd < 0) return;
	for (struct vigia__node *entry; (entry = vigia__table_pop(&side->owned));) vigia__free(entry);
	vigia__table_deinit(&side->owned);
	pthread_mutex_destroy(&side->mutex);
	munmap(side->map, SIDE_BYTES);
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
	return &side->map->wake;
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

/* FNV-1a, 62 bits: a clash of two ids would only make one wait for the other. */
static uint64_t id_hash(const char *id)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (; *id; id++) h = (h ^ (uint8_t)*id) * UINT64_C(1099511628211);
	h = (h ^ (h >> 62)) & ((UINT64_C(1) << 62) - 1);
	return h ? h : 1; /* 0 is an entry that was never used */
}

static off_t id_byte(uint64_t hash)
{
	return (off_t)((UINT64_C(1) << 62) | hash);
}

static int refuse(struct vigia_error *err, const char *id, const char *who, int32_t pid, uint32_t space)
{
	char text[96];
	vigia__error(err, VIGIA_EOWNED, "watcher '%s' is run by %s%s", VIGIA_SHOWN(id), who,
	             pid_text(text, sizeof text, pid, space));
	if (err) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", id);
	return VIGIA_EOWNED;
}

static bool locked(struct vigia__side *side, uint64_t hash)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = id_byte(hash), .l_len = 1};
	return fcntl(side->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* The entry with this hash, from where it belongs on. NULL: none. */
static struct owner *find_owner(struct vigia__side *side, uint64_t hash)
{
	for (uint64_t i = 0; i < OWNERS; i++) {
		struct owner *owner = &side->map->owners[(hash + i) % OWNERS];
		if (atomic_load(&owner->hash) == hash) return owner;
	}
	return NULL;
}

/* With the id's lock held: write down the pid. In a full table the entry of one that nobody runs is taken; with 1024
 * that run, none. */
static void note_owner(struct vigia__side *side, uint64_t hash)
{
	struct owner *owner = find_owner(side, hash);
	for (uint64_t i = 0; owner == NULL && i < 2 * OWNERS && !side->full; i++) {
		struct owner *other = &side->map->owners[(hash + i) % OWNERS];
		uint64_t old = atomic_load(&other->hash);
		if (old != 0 && (i < OWNERS || locked(side, old))) continue;
		if (atomic_compare_exchange_strong(&other->hash, &old, hash)) owner = other;
	}
	if (owner) {
		atomic_store(&owner->pid, (int32_t)getpid());
		atomic_store(&owner->space, pid_space());
	} else side->full = true; /* until one of ours ends: each look is a system call an entry */
}

int vigia__side_own(struct vigia__side *side, const char *id, struct vigia_error *err)
{
	uint64_t hash = id_hash(id);
	struct vigia__owned *mine = vigia__calloc(sizeof *mine);
	if (mine == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory to run watcher '%s'", VIGIA_SHOWN(id));
	pthread_mutex_lock(&side->mutex);
	struct vigia__node *other = vigia__table_first(&side->owned, hash);
	int rc = VIGIA_OK;
	if (other) {
		rc = refuse(err, id, "another registry of this process", (int32_t)getpid(), 0);
	} else if (lock_byte(side->fd, id_byte(hash), F_WRLCK, false) < 0) {
		if (errno == EAGAIN || errno == EACCES) {
			struct owner *owner = find_owner(side, hash);
			rc = refuse(err, id, "another process", owner ? atomic_load(&owner->pid) : 0,
			            owner ? atomic_load(&owner->space) : 0);
		} else {
			rc = io_error(err, "lock", id);
		}
	}
	if (rc == VIGIA_OK) {
		vigia__table_add(&side->owned, &mine->entry, hash);
		note_owner(side, hash);
		mine = NULL;
	}
	pthread_mutex_unlock(&side->mutex);
	vigia__free(mine);
	return rc;
}

/* ---- waiting for the end of an owner ---- */

struct wait {
	int fd; /* a description of its own: locks of one description do not exclude one another */
	off_t byte;
	int done; /* eventfd */
	int error;
};

/* Cancelled in the middle: AddressSanitizer would keep the marks of a frame that never returned. */
__attribute__((no_sanitize_address)) static void *wait_for_lock(void *arg)
{
	struct wait *wait = arg;
	/* Shared, so that those who wait do not stand in one another's way. */
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = wait->byte, .l_len = 1};
	int rc;
	do rc = fcntl(wait->fd, F_OFD_SETLKW, &lock);
	while (rc < 0 && errno == EINTR);
	wait->error = rc < 0 ? errno : 0;
	uint64_t one = 1;
	(void)!write(wait->done, &one, sizeof one);
	return NULL;
}

int vigia__side_wait(struct vigia__side *side, const char *id, int cancel_fd,
                     int (*still)(void *ctx, struct vigia_error *err), void *ctx, struct vigia_error *err)
{
	char name[64];
	struct wait wait = {.fd = -1, .byte = id_byte(id_hash(id)), .done = VIGIA_FD(eventfd(0, EFD_CLOEXEC))};
	pthread_t thread;
	snprintf(name, sizeof name, "/proc/self/fd/%d", side->fd);
	if (wait.done >= 0) wait.fd = VIGIA_FD(open(name, O_RDWR | O_CLOEXEC));
	int rc = wait.fd < 0 ? io_error(err, "open", name) : VIGIA_OK;
	if (rc == VIGIA_OK && (errno = vigia__thread_start(&thread, 0, wait_for_lock, &wait)) != 0) {
		rc = vigia__error(err, errno == ENOMEM ? VIGIA_ENOMEM : VIGIA_EIO,
		                  "cannot start a thread to wait for watcher '%s'", VIGIA_SHOWN(id));
		vigia__error_cause(err, "%s", strerror(errno));
	} else if (rc == VIGIA_OK) {
		struct pollfd fds[2] = {{.fd = wait.done, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
		int ready;
		do ready = poll(fds, 2, STILL_MS);
		while ((ready < 0 && errno == EINTR) || (ready == 0 && (rc = still(ctx, err)) == VIGIA_OK));
		if (ready <= 0) fds[0].revents = 0;
		if (!fds[0].revents) pthread_cancel(thread); /* fcntl is where it can be cancelled */
		pthread_join(thread, NULL);
		if (rc == VIGIA_OK && !fds[0].revents)
			rc = vigia__error(err, VIGIA_EINTERRUPTED, "interrupted while waiting for watcher '%s'", VIGIA_SHOWN(id));
		else if (rc == VIGIA_OK && wait.error) errno = wait.error, rc = io_error(err, "lock", id);
	}
	if (wait.fd >= 0) close(wait.fd);
	if (wait.done >= 0) close(wait.done);
	return rc;
}

void vigia__side_disown(struct vigia__side *side, const char *id)
{
	if (side->fd < 0) return;
	uint64_t hash = id_hash(id);
	pthread_mutex_lock(&side->mutex);
	struct vigia__node *mine = vigia__table_first(&side->owned, hash);
	if (mine) {
		vigia__table_remove(&side->owned, mine);
		side->full = false;
		lock_byte(side->fd, id_byte(hash), F_UNLCK, false);
	}
	pthread_mutex_unlock(&side->mutex);
	vigia__free(mine);
}

bool vigia__side_owned(struct vigia__side *side, const char *id)
{
	if (side->fd < 0) return false;
	uint64_t hash = id_hash(id);
	pthread_mutex_lock(&side->mutex);
	bool mine = vigia__table_first(&side->owned, hash) != NULL;
	pthread_mutex_unlock(&side->mutex);
	if (mine) return true;
	return locked(side, hash);
}

bool vigia__side_elect(struct vigia__side *side)
{
	return side->fd >= 0 && lock_byte(side->fd, LOCK_COLLECTING, F_WRLCK, false) == 0;
}

void vigia__side_resign(struct vigia__side *side)
{
	if (side->fd >= 0) lock_byte(side->fd, LOCK_COLLECTING, F_UNLCK, false);
}
