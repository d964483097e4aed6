/*
 * bench_start.c - measures how soon the program is there: `vigia --version`, and the first event through `vigia run`.
 * Run by scripts/bench.
 *
 * Usage: bench_start FOLDER PROGRAM
 */
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "lib/bench.h"

enum { RUNS = 100 };

extern char **environ;

/* Run the program with its output in a pipe: how long until its first byte came, and until it ended. In ms. */
static void run(char *const argv[], double *first, double *ended)
{
	int out[2];
	char buf[256];
	pid_t pid;
	posix_spawn_file_actions_t actions;
	if (pipe2(out, O_CLOEXEC) < 0) bench_die("pipe", "failed");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	double start = bench_now();
	if (posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) != 0) bench_die(argv[0], "cannot be started");
	close(out[1]);
	ssize_t n = read(out[0], buf, sizeof buf);
	*first = (bench_now() - start) * 1e3;
	if (n <= 0) bench_die(argv[0], "printed nothing");
	while (read(out[0], buf, sizeof buf) > 0) continue;
	int status;
	waitpid(pid, &status, 0);
	*ended = (bench_now() - start) * 1e3;
	close(out[0]);
	posix_spawn_file_actions_destroy(&actions);
	if (status != 0) bench_die(argv[0], "failed");
}

static void report(const char *name, double *ms)
{
	printf("%-44s %12.2f %-12s p99 %.2f ms\n", name, bench_percentile(ms, RUNS, 50), "ms",
	       bench_percentile(ms, RUNS, 99));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc != 3) bench_die("usage", "bench_start FOLDER PROGRAM");
	bench_folder = argv[1];
	char path[512], script[512];
	double first[RUNS], ended[RUNS];
	struct vigia_error err = {0};
	struct vigia__buf object = bench_object();
	struct vigia_store *store = bench_store("start.db", VIGIA_DURABILITY_COMMIT);
	struct vigia_new_event event = bench_event("Job", &object);
	bench_ok(vigia_store_append(store, &event, 1, NULL, &err), &err);
	vigia_store_free(store);
	FILE *file = fopen(bench_path("start.lua", script), "w");
	if (file == NULL ||
	    fputs("return {ephemeral = true, handle = function(event) print(event.seq_num) io.stdout:flush() end}\n",
	          file) < 0 ||
	    fclose(file) != 0)
		bench_die(script, "cannot be written");

	for (int i = 0; i < RUNS; i++) run((char *[]){argv[2], "--version", NULL}, &first[i], &ended[i]);
	report("vigia --version, p50", ended);
	bench_path("start.db", path);
	for (int i = 0; i < RUNS; i++)
		run((char *[]){argv[2], "run", "--store", path, script, "--until-idle", NULL}, &first[i], &ended[i]);
	report("first event through vigia run, p50", first);
	vigia__buf_deinit(&object);
	return 0;
}
