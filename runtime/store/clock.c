/*
 * clock.c - the time, and whether this process is a forked child. See clock.h.
 */
#include "clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "../core/table.h"
#include "fd.h"

static inline int64_t read_clock(clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t vigia__mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t vigia__coarse_ns(void)
{
	return read_clock(CLOCK_MONOTONIC_COARSE);
}

bool vigia__clock_ticked(_Atomic int64_t *tick)
{
	int64_t now = vigia__coarse_ns();
	return atomic_exchange_explicit(tick, now, memory_order_relaxed) != now;
}

int64_t vigia__wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

/* A number that differs after each start of the machine. 0 if the system does not give one. */
static uint64_t boot_id;

static void read_boot_id(void)
{
	char text[64];
	int fd = VIGIA_FD(open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
	if (fd < 0) return;
	ssize_t len = read(fd, text, sizeof text);
	close(fd);
	if (len > 0) boot_id = vigia__table_hash(text, (size_t)len) | 1;
}

void vigia__clock_now(struct vigia__clock *out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, read_boot_id);
	*out = (struct vigia__clock){vigia__wall_ns(), read_clock(CLOCK_BOOTTIME), boot_id};
}

static atomic_uint fork_generation;

static void count_fork(void)
{
	atomic_fetch_add_explicit(&fork_generation, 1, memory_order_relaxed);
}

static void clock_watch_forks(void)
{
	pthread_atfork(NULL, NULL, count_fork);
}

unsigned vigia__fork_generation(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, clock_watch_forks);
	return atomic_load_explicit(&fork_generation, memory_order_relaxed);
}
