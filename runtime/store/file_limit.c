/*
 * file_limit.c - blocks SIGXFSZ while a thread writes. See file_limit.h.
 */
#include "file_limit.h"

#include <errno.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

static void only_its_signal(sigset_t *out)
{
	sigemptyset(out);
	sigaddset(out, SIGXFSZ);
}

static bool is_limited(void)
{
	struct rlimit size;
	return getrlimit(RLIMIT_FSIZE, &size) != 0 || size.rlim_cur != RLIM_INFINITY;
}

static void block_it(struct vigia__file_limit *limit)
{
	sigset_t signal, pending;
	only_its_signal(&signal);
	pthread_sigmask(SIG_BLOCK, &signal, &limit->before);
	/* If the application or an outer pair blocks it, it stays pending as it would without us. One that is pending
	 * already cannot be told from ours. */
	bool waits = sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1;
	if (!waits && sigismember(&limit->before, SIGXFSZ) == 0) limit->blocks = true;
	else pthread_sigmask(SIG_SETMASK, &limit->before, NULL);
}

void vigia__file_limit_begin(struct vigia__file_limit *limit)
{
	limit->blocks = false;
	if (is_limited()) block_it(limit);
}

void vigia__file_limit_begin_often(struct vigia__file_limit *limit, _Atomic int64_t *tick)
{
	limit->blocks = false;
	if (!vigia__clock_ticked(tick) || !is_limited()) return;
	atomic_store_explicit(tick, 0, memory_order_relaxed); /* the next one looks, too */
	block_it(limit);
}

void vigia__file_limit_end(struct vigia__file_limit *limit)
{
	static const struct timespec now = {0, 0};
	sigset_t signal;
	int number = errno;
	if (!limit->blocks) return;
	only_its_signal(&signal);
	while (sigtimedwait(&signal, NULL, &now) >= 0 || errno == EINTR) continue;
	pthread_sigmask(SIG_SETMASK, &limit->before, NULL);
	errno = number;
}

ssize_t vigia__file_write(int fd, const void *bytes, size_t len)
{
	struct vigia__file_limit limit;
	vigia__file_limit_begin(&limit);
	ssize_t n = write(fd, bytes, len);
	vigia__file_limit_end(&limit);
	return n;
}
