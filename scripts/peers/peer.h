/*
 * peer.h - what the programs of scripts/peers share: a command line of FOLDER WORK ARGUMENT..., and one line per
 * figure. lib/bench.h has the folder, the clock and the bytes of an event, the same for all.
 */
#ifndef VIGIA_PEER_H
#define VIGIA_PEER_H

#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/bench.h"

struct peer_work {
	const char *name;
	int arguments; /* at least */
	void (*run)(char **arg);
};

static inline void peer_figure(const char *name, double figure)
{
	printf("%s %.9g\n", name, figure);
	fflush(stdout);
}

/* Start a process on each processor that never sleeps, into `out`, of PEER_BUSY_MAX; and end them. */
enum { PEER_BUSY_MAX = 64 };
static inline int peer_keep_busy(pid_t *out)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int count = cpus < 1 ? 1 : cpus > PEER_BUSY_MAX ? PEER_BUSY_MAX : (int)cpus;
	for (int i = 0; i < count; i++) {
		out[i] = fork();
		if (out[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (volatile unsigned n = 0;; n++) continue;
		}
	}
	return count;
}

static inline void peer_end_busy(const pid_t *busy, int count)
{
	for (int i = 0; i < count; i++) {
		kill(busy[i], SIGKILL);
		waitpid(busy[i], NULL, 0);
	}
}

/* A wake-up, as all of these programs measure it: the side that wakes notes when it began, wakes, and sleeps on a futex
 * until the other side, which noted when it ran, has told it. So it leaves its processor at once. By a sleep of some
 * time it would first set a timer, which takes longer than the wake-up where a hypervisor keeps the timers. In memory
 * that both sides share. */
enum { PEER_PAUSE_US = 400 }; /* before each, so that the other side sleeps */
struct peer_wake {
	_Atomic int64_t from, woke_at;
	_Atomic uint32_t told;
};

static inline struct peer_wake *peer_wake_new(void)
{
	struct peer_wake *wake = mmap(NULL, sizeof *wake, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (wake == MAP_FAILED) bench_die("wake", "no memory");
	return wake;
}

static inline void peer_futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static inline void peer_wake_ran(struct peer_wake *wake)
{
	atomic_store(&wake->woke_at, vigia__mono_ns());
	atomic_store(&wake->told, 1);
	peer_futex(&wake->told, FUTEX_WAKE, 1);
}

static inline void peer_wake_begin(struct peer_wake *wake)
{
	atomic_store(&wake->told, 0);
	atomic_store(&wake->from, vigia__mono_ns());
}

/* Microseconds. */
static inline double peer_wake_end(struct peer_wake *wake)
{
	while (!atomic_load(&wake->told)) peer_futex(&wake->told, FUTEX_WAIT, 0);
	int64_t from = atomic_load(&wake->from), woke_at = atomic_load(&wake->woke_at);
	return woke_at > from ? (double)(woke_at - from) / 1e3 : 0;
}

static inline void peer_percentiles(double *us, int count)
{
	peer_figure("p50", bench_percentile(us, (size_t)count, 50));
	peer_figure("p99", bench_percentile(us, (size_t)count, 99));
}

/* Run the work that argv names; the list ends with NULL. */
static inline void peer_main(int argc, char **argv, const struct peer_work *works)
{
	if (argc < 3) bench_die("usage", "FOLDER WORK [ARGUMENT...]");
	bench_folder = argv[1];
	for (; works->name; works++) {
		if (strcmp(works->name, argv[2]) != 0) continue;
		if (argc - 3 < works->arguments) bench_die(argv[2], "an argument is missing");
		works->run(argv + 3);
		return;
	}
	bench_die(argv[2], "there is no such work");
}

#endif
