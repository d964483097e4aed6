/*
 * owner.c - the owner locks of watcher ids. See owner.h.
 */
#include "owner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "fd.h"
#include "side_private.h"
#include "thread.h"

enum { STILL_MS = 1000 };
/* How long to wait for one who owns an id for a moment, and between two looks. */
static const int64_t BRIEF_NS = 5000000000;
enum { LOOK_NS = 500000 };

/* A watcher id that this process runs. */
struct owned {
	struct vigia__node entry; /* of `here`; first */
	bool briefly;
};

/* 62 bits: if two ids collide, one only waits for the other. */
uint64_t vigia__owner_hash(const char *id)
{
	uint64_t h = vigia__table_hash(id, strlen(id));
	h = (h ^ (h >> 62)) & ((UINT64_C(1) << 62) - 1);
	return h ? h : 1; /* 0 is an entry that was never used */
}

off_t vigia__owner_byte(uint64_t hash)
{
	return (off_t)((UINT64_C(1) << 62) | hash);
}

/* Locked first by one who owns the id for a moment, and last unlocked. So whoever else has the id's byte, while this
 * one is free, runs the id. */
static off_t moment_byte(uint64_t hash)
{
	return (off_t)((UINT64_C(1) << 61) | (hash & ((UINT64_C(1) << 61) - 1)));
}

/* Locked, shared, by one who waits to run the id while another owns it for a moment. Nobody begins another moment
 * then, so that an id which is changed all the time can be run. */
static off_t start_byte(uint64_t hash)
{
	return (off_t)((UINT64_C(1) << 60) | (hash & ((UINT64_C(1) << 60) - 1)));
}

void vigia__owners_init(struct vigia__owners *owners, struct vigia__side *side)
{
	*owners = (struct vigia__owners){.side = side};
	pthread_mutex_init(&owners->mutex, NULL);
}

void vigia__owners_deinit(struct vigia__owners *owners)
{
	for (struct vigia__node *entry; (entry = vigia__table_pop(&owners->here));) vigia__free(entry);
	vigia__table_deinit(&owners->here);
	pthread_mutex_destroy(&owners->mutex);
}

static int owned_by(struct vigia_error *err, const char *id, const char *who, int32_t pid, uint32_t space)
{
	char text[96];
	return vigia__error_watcher(err, id,
	                            vigia__error(err, VIGIA_EOWNED, "watcher '%s' is run by %s%s", VIGIA_SHOWN(id), who,
	                                         vigia__side_pid_text(text, sizeof text, pid, space)));
}

/* By another process: the locks of one description do not exclude each other. */
static bool is_locked(struct vigia__owners *owners, off_t byte)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	return fcntl(owners->side->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool locked(struct vigia__owners *owners, uint64_t hash)
{
	return is_locked(owners, vigia__owner_byte(hash));
}

/* The entry with this hash, searched from its own place on. NULL: none. */
static struct owner *find_owner(struct vigia__owners *owners, uint64_t hash)
{
	for (uint64_t i = 0; i < OWNERS; i++) {
		struct owner *owner = &owners->side->map->owners[(hash + i) % OWNERS];
		if (atomic_load(&owner->hash) == hash) return owner;
	}
	return NULL;
}

/* With the id's lock held: write the pid into the table. In a full table it replaces the entry of an id that is not
 * running. If 1024 ids run, it is not written. */
static void note_owner(struct vigia__owners *owners, uint64_t hash)
{
	struct owner *owner = find_owner(owners, hash);
	for (uint64_t i = 0; owner == NULL && i < 2 * OWNERS && !owners->full; i++) {
		struct owner *other = &owners->side->map->owners[(hash + i) % OWNERS];
		uint64_t old = atomic_load(&other->hash);
		if (old != 0 && (i < OWNERS || vigia__table_first(&owners->here, old) || locked(owners, old))) continue;
		if (atomic_compare_exchange_strong(&other->hash, &old, hash)) owner = other;
	}
	if (owner) {
		atomic_store(&owner->pid, (int32_t)getpid());
		atomic_store(&owner->space, vigia__side_pid_space());
	} else owners->full = true; /* until one of ours ends, because each search costs a system call per entry */
}

/* 1: it is locked. 0: another process has it, which may have done so for a moment. < 0: an error, in errno. */
static int lock_id(struct vigia__owners *owners, uint64_t hash, bool briefly, bool *moment)
{
	int fd = owners->side->fd;
	*moment = true;
	if (briefly && (owners->starting > 0 || is_locked(owners, start_byte(hash)))) return 0;
	if (briefly && vigia__fd_lock(fd, moment_byte(hash), F_WRLCK, false) < 0)
		return errno == EAGAIN || errno == EACCES ? 0 : -1;
	bool before = !briefly && is_locked(owners, moment_byte(hash));
	if (vigia__fd_lock(fd, vigia__owner_byte(hash), F_WRLCK, false) == 0) return 1;
	int error = errno;
	*moment = before || (!briefly && is_locked(owners, moment_byte(hash)));
	if (briefly) vigia__fd_lock(fd, moment_byte(hash), F_UNLCK, false);
	errno = error;
	return error == EAGAIN || error == EACCES ? 0 : -1;
}

/* Under the mutex. *moment: the one who owns it may do so for a moment only. */
static int try_take(struct vigia__owners *owners, const char *id, uint64_t hash, bool briefly, bool *moment,
                    struct vigia_error *err)
{
	const struct owned *other = (struct owned *)vigia__table_first(&owners->here, hash);
	*moment = other && other->briefly;
	if (other) return owned_by(err, id, "another registry of this process", (int32_t)getpid(), 0);
	int rc = lock_id(owners, hash, briefly, moment);
	if (rc != 0) return rc > 0 ? VIGIA_OK : vigia__side_error(err, "lock", id);
	const struct owner *owner = find_owner(owners, hash);
	return owned_by(err, id, "another process", owner ? atomic_load(&owner->pid) : 0,
	                owner ? atomic_load(&owner->space) : 0);
}

static int take(struct vigia__owners *owners, const char *id, bool briefly, struct vigia_error *err)
{
	uint64_t hash = vigia__owner_hash(id);
	int64_t until = 0;
	bool starting = false;
	struct owned *mine = vigia__calloc(sizeof *mine);
	if (mine == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory to run watcher '%s'", VIGIA_SHOWN(id));
	mine->briefly = briefly;
	for (;;) {
		bool moment;
		pthread_mutex_lock(&owners->mutex);
		int rc = try_take(owners, id, hash, briefly, &moment, err);
		if (rc == VIGIA_OK) {
			vigia__table_add(&owners->here, &mine->entry, hash);
			if (!briefly) note_owner(owners, hash);
			mine = NULL;
		}
		int64_t now = rc == VIGIA_EOWNED && moment ? vigia__mono_ns() : 0;
		if (until == 0) until = now + BRIEF_NS;
		bool ends = now == 0 || now >= until;
		if (!briefly && starting == ends) {
			starting = !ends;
			owners->starting += starting ? 1 : -1;
			vigia__fd_lock(owners->side->fd, start_byte(hash), starting ? F_RDLCK : F_UNLCK, false);
		}
		pthread_mutex_unlock(&owners->mutex);
		if (ends) {
			vigia__free(mine);
			return rc;
		}
		nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
	}
}

int vigia__owner_take(struct vigia__owners *owners, const char *id, struct vigia_error *err)
{
	return take(owners, id, false, err);
}

int vigia__owner_take_briefly(struct vigia__owners *owners, const char *id, struct vigia_error *err)
{
	return take(owners, id, true, err);
}

/* ---- waiting for an owner to end ---- */

struct wait {
	int fd; /* a description of its own, because locks of one description do not exclude each other */
	off_t byte;
	int done; /* eventfd */
	int error;
};

/* The thread is cancelled in here, and AddressSanitizer would keep the marks of a frame that never returned. */
__attribute__((no_sanitize_address)) static void *wait_for_lock(void *arg)
{
	struct wait *wait = arg;
	/* A shared lock, so that waiters do not block each other. */
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = wait->byte, .l_len = 1};
	int rc;
	do rc = fcntl(wait->fd, F_OFD_SETLKW, &lock);
	while (rc < 0 && errno == EINTR);
	wait->error = rc < 0 ? errno : 0;
	uint64_t one = 1;
	(void)!write(wait->done, &one, sizeof one);
	return NULL;
}

int vigia__owner_wait(struct vigia__owners *owners, const char *id, int cancel_fd,
                      int (*there)(struct vigia__backend *backend, struct vigia_error *err),
                      struct vigia__backend *backend, struct vigia_error *err)
{
	char name[64];
	struct wait wait = {
		.fd = -1, .byte = vigia__owner_byte(vigia__owner_hash(id)), .done = VIGIA_FD(eventfd(0, EFD_CLOEXEC))};
	pthread_t thread;
	snprintf(name, sizeof name, "/proc/self/fd/%d", owners->side->fd);
	if (wait.done >= 0) wait.fd = VIGIA_FD(open(name, O_RDWR | O_CLOEXEC));
	int rc = wait.fd < 0 ? vigia__side_error(err, "open", name) : VIGIA_OK;
	if (rc == VIGIA_OK && (errno = vigia__thread_start(&thread, 0, wait_for_lock, &wait)) != 0) {
		/* GCOVR_EXCL_START: no thread. */
		rc = vigia__thread_error(err, errno, "start a thread to wait for watcher '%s'", VIGIA_SHOWN(id));
		/* GCOVR_EXCL_STOP */
	} else if (rc == VIGIA_OK) {
		struct pollfd fds[2] = {{.fd = wait.done, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
		int ready;
		do ready = poll(fds, 2, STILL_MS);
		while ((ready < 0 && errno == EINTR) || (ready == 0 && (rc = there(backend, err)) == VIGIA_OK));
		if (ready <= 0) fds[0].revents = 0;
		if (!fds[0].revents) pthread_cancel(thread); /* fcntl is a cancellation point */
		pthread_join(thread, NULL);
		if (rc == VIGIA_OK && !fds[0].revents)
			rc = vigia__error(err, VIGIA_EINTERRUPTED, "interrupted while waiting for watcher '%s'", VIGIA_SHOWN(id));
		else if (rc == VIGIA_OK && wait.error) errno = wait.error, rc = vigia__side_error(err, "lock", id);
	}
	if (wait.fd >= 0) close(wait.fd);
	if (wait.done >= 0) close(wait.done);
	return rc;
}

void vigia__owner_release(struct vigia__owners *owners, const char *id)
{
	if (owners->side->fd < 0) return;
	uint64_t hash = vigia__owner_hash(id);
	pthread_mutex_lock(&owners->mutex);
	struct vigia__node *mine = vigia__table_first(&owners->here, hash);
	if (mine) {
		vigia__table_remove(&owners->here, mine);
		owners->full = false;
		vigia__fd_lock(owners->side->fd, vigia__owner_byte(hash), F_UNLCK, false);
		if (((struct owned *)mine)->briefly) vigia__fd_lock(owners->side->fd, moment_byte(hash), F_UNLCK, false);
	}
	pthread_mutex_unlock(&owners->mutex);
	vigia__free(mine);
}

bool vigia__owner_is_held(struct vigia__owners *owners, const char *id)
{
	if (owners->side->fd < 0) return false;
	uint64_t hash = vigia__owner_hash(id);
	pthread_mutex_lock(&owners->mutex);
	const struct owned *mine = (struct owned *)vigia__table_first(&owners->here, hash);
	bool runs = mine && !mine->briefly;
	pthread_mutex_unlock(&owners->mutex);
	if (mine) return runs;
	return locked(owners, hash) && !is_locked(owners, moment_byte(hash));
}

bool vigia__owner_find(struct vigia__owners *owners, const char *id, int32_t *pid)
{
	if (!vigia__owner_is_held(owners, id)) return false;
	const struct owner *owner = find_owner(owners, vigia__owner_hash(id));
	*pid = owner ? atomic_load(&owner->pid) : 0;
	return true;
}
