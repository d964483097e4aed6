/*
 * system.c - one measurement of what the system itself takes: a sync of 4 KiB, and a wake-up by a bare futex. Run by
 * scripts/peers/run.lua.
 *
 * Usage: peer_system FOLDER WORK [ARGUMENT...]; each line of output is "name figure".
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

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

static void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

/* What the two sides share: the word, when it was bumped, when the other side ran. */
struct shared {
	_Atomic uint32_t word;
	_Atomic int64_t told_at, woke_at;
	int rounds;
};

static void *wait_for_all(void *arg)
{
	struct shared *shared = arg;
	for (uint32_t seen = 0; seen < (uint32_t)shared->rounds; seen++) {
		while (atomic_load(&shared->word) == seen) futex(&shared->word, FUTEX_WAIT, seen);
		atomic_store(&shared->woke_at, vigia__mono_ns());
	}
	return NULL;
}

/* futex in|across ROUNDS idle|busy: from before the wake-up until the other side runs, in one process or across two. */
static void work_futex(char **arg)
{
	bool across = strcmp(arg[0], "across") == 0;
	int rounds = atoi(arg[1]), busy_count = 0;
	pid_t busy[PEER_BUSY_MAX];
	double *us = calloc((size_t)rounds, sizeof *us);
	pthread_t thread;
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) bench_die("futex", "no memory");
	shared->rounds = rounds;
	pid_t child = across ? fork() : -1;
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		wait_for_all(shared);
		_exit(0);
	}
	if (!across && pthread_create(&thread, NULL, wait_for_all, shared) != 0) bench_die("futex", "no thread");
	if (strcmp(arg[2], "busy") == 0) busy_count = peer_keep_busy(busy);
	usleep(50000);
	for (int i = 0; i < rounds; i++) {
		int64_t woke_at;
		usleep(across ? 500 : 300); /* the other side sleeps again */
		atomic_store(&shared->woke_at, 0);
		int64_t from = vigia__mono_ns();
		atomic_fetch_add(&shared->word, 1);
		futex(&shared->word, FUTEX_WAKE, INT_MAX);
		while ((woke_at = atomic_load(&shared->woke_at)) == 0) usleep(50);
		us[i] = woke_at > from ? (double)(woke_at - from) / 1e3 : 0;
	}
	if (across) waitpid(child, NULL, 0);
	else pthread_join(thread, NULL);
	peer_end_busy(busy, busy_count);
	peer_figure("p50", bench_percentile(us, (size_t)rounds, 50));
	peer_figure("p99", bench_percentile(us, (size_t)rounds, 99));
	free(us);
}

int main(int argc, char **argv)
{
	static const struct peer_work works[] = {{"sync", 1, work_sync}, {"futex", 3, work_futex}, {NULL, 0, NULL}};
	peer_main(argc, argv, works);
	return 0;
}
