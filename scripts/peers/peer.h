/*
 * peer.h - what the programs of scripts/peers share: a command line of FOLDER WORK ARGUMENT..., and one line per
 * figure. lib/bench.h has the folder, the clock and the bytes of an event, the same for all.
 */
#ifndef VIGIA_PEER_H
#define VIGIA_PEER_H

#include <signal.h>
#include <sys/prctl.h>
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
