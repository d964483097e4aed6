/*
 * fd.c - descriptors above the standard ones. See fd.h.
 */
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;   /* calls in progress */
static bool occupied[3]; /* by us */

/* Occupy numbers until the lowest free one is above 2. */
static int occupy(void)
{
	for (;;) {
		int fd = open("/", O_PATH | O_CLOEXEC);
		if (fd < 0) return -1;
		if (fd > STDERR_FILENO) {
			close(fd);
			return 0;
		}
		occupied[fd] = true;
	}
}

/* Keep what the host has put in the place of ours meanwhile. */
static void vacate(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		if (occupied[fd] && (fcntl(fd, F_GETFL) & O_PATH)) close(fd);
		occupied[fd] = false;
	}
}

static void fd_before_fork(void)
{
	pthread_mutex_lock(&mutex);
}

static void fd_after_fork_parent(void)
{
	pthread_mutex_unlock(&mutex);
}

/* The threads with calls in progress are the parent's. */
static void fd_after_fork_child(void)
{
	vacate();
	users = 0;
	pthread_mutex_unlock(&mutex);
}

static void fd_guard_forks(void)
{
	pthread_atfork(fd_before_fork, fd_after_fork_parent, fd_after_fork_child);
}

void vigia__fd_guard(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, fd_guard_forks);
}

int vigia__fd_begin(void)
{
	vigia__fd_guard();
	pthread_mutex_lock(&mutex);
	int rc = occupy(), number = errno;
	if (rc == 0) users++;
	else if (users == 0) vacate();
	pthread_mutex_unlock(&mutex);
	errno = number;
	return rc;
}

int vigia__fd_end(int result)
{
	int number = errno;
	pthread_mutex_lock(&mutex);
	if (--users == 0) vacate();
	pthread_mutex_unlock(&mutex);
	errno = number;
	return result;
}

int vigia__fd_lock(int fd, off_t byte, short type, bool wait)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	int rc;
	do rc = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
	while (rc < 0 && errno == EINTR);
	return rc;
}

bool vigia__fd_permits(int fd, bool writing)
{
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 || (flags & O_ACCMODE) != (writing ? O_RDONLY : O_WRONLY);
}

int vigia__fd_stand_in(void)
{
	static const int modes[3] = {O_RDONLY, O_RDONLY, O_WRONLY};
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd) return -1;
	return 0;
}
