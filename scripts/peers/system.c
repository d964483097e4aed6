/*
 * system.c - one measurement of what the system itself takes: a sync of 4 KiB, and a wake-up by a bare futex. Run by
 * scripts/peers/run.lua.
 *
 * Usage: peer_system FOLDER WORK [ARGUMENT...]; each line of output is "name figure".
 */
#include <fcntl.h>
#include <pthread.h>

#include "peer.h"

/* sync COUNT: 4 KiB written in place and synced by fdatasync, one after another, a second. */
static void work_sync(char **arg)
{
	enum { BLOCK = 4096, BLOCKS = 256 };
	static char block[BLOCK];
	char path[512];
	int count = atoi(arg[0]), fd = open(bench_fresh_path("sync.db", path), O_RDWR | O_CREAT, 0600);
	for (int i = 0; i < BLOCKS; i++)
		if (pwrite(fd, block, BLOCK, (off_t)i * BLOCK) != BLOCK) bench_die("sync", "cannot write");
	if (fsync(fd) < 0) bench_die("sync", "cannot sync");
	double start = bench_now();
	for (int i = 0; i < count; i++) {
		block[0]++;
		if (pwrite(fd, block, BLOCK, (off_t)(i % BLOCKS) * BLOCK) != BLOCK || fdatasync(fd) < 0)
			bench_die("sync", "cannot write");
	}
	peer_figure("rate", count / (bench_now() - start));
	close(fd);
}

/* What the two sides of a wake-up share beside its times. */
struct shared {
	_Atomic uint32_t word;
	int rounds;
};

static void wait_for_all(struct shared *shared, struct peer_wake *wake)
{
	for (uint32_t seen = 0; seen < (uint32_t)shared->rounds; seen++) {
		while (atomic_load(&shared->word) == seen) peer_futex(&shared->word, FUTEX_WAIT, seen);
		peer_wake_ran(wake);
	}
}

static struct shared *shared;
static struct peer_wake *wake;

static void *wait_in_thread(void *arg)
{
	(void)arg;
	wait_for_all(shared, wake);
	return NULL;
}

/* futex in|across ROUNDS idle|busy none|sync: from before the wake-up until the other side runs, in one process or
 * across two. "sync": a record is written to a file and synced first, and the time begins behind that. */
static void work_futex(char **arg)
{
	enum { BYTES = 256, AREA = 1 << 20 }; /* of a record, and of the journal */
	static char block[AREA];
	char path[512];
	bool across = strcmp(arg[0], "across") == 0, syncs = strcmp(arg[3], "sync") == 0;
	int rounds = atoi(arg[1]), busy_count = 0, fd = open(bench_fresh_path("futex.db", path), O_RDWR | O_CREAT, 0600);
	off_t at = 0;
	pid_t busy[PEER_BUSY_MAX];
	double *us = calloc((size_t)rounds, sizeof *us);
	pthread_t thread;
	if (pwrite(fd, block, AREA, 0) != AREA || fsync(fd) < 0) bench_die("futex", "cannot write");
	wake = peer_wake_new();
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) bench_die("futex", "no memory");
	shared->rounds = rounds;
	pid_t child = across ? fork() : -1;
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		wait_for_all(shared, wake);
		_exit(0);
	}
	if (!across && pthread_create(&thread, NULL, wait_in_thread, NULL) != 0) bench_die("futex", "no thread");
	if (strcmp(arg[2], "busy") == 0) busy_count = peer_keep_busy(busy);
	usleep(50000);
	for (int i = 0; i < rounds; i++) {
		usleep(PEER_PAUSE_US);
		if (syncs && (pwrite(fd, block, BYTES, at) != BYTES || fdatasync(fd) < 0)) bench_die("futex", "cannot write");
		at = (at + BYTES) % AREA;
		peer_wake_begin(wake);
		atomic_fetch_add(&shared->word, 1);
		peer_futex(&shared->word, FUTEX_WAKE, INT_MAX);
		us[i] = peer_wake_end(wake);
	}
	if (across) waitpid(child, NULL, 0);
	else pthread_join(thread, NULL);
	peer_end_busy(busy, busy_count);
	peer_percentiles(us, rounds);
	close(fd);
	free(us);
}

int main(int argc, char **argv)
{
	static const struct peer_work works[] = {{"sync", 1, work_sync}, {"futex", 4, work_futex}, {NULL, 0, NULL}};
	peer_main(argc, argv, works);
	return 0;
}
