/*
 * power.c - power loss by enumeration: workloads run under a recorder, and every state that a loss could leave of their
 * files is opened and checked. What a loss can leave is told in states.h, what must hold in facts.h and check.c.
 *
 *     power                        a share of the states of each workload, and the faults that must be found (TAP);
 *                                  VIGIA_SOAK=1 or --long: many more; VIGIA_SEED chooses which
 *     power --states N             so many, shared out among the workloads
 *     power WORKLOAD               of one workload
 *     power WORKLOAD STATE         one state, as a failure names it: "P.K", or "P.K/Q.J" for a second loss in what
 *                                  followed
 *     power --plant FAULT [WORKLOAD [STATE]]
 *                                  with a fault planted by the recorder: dsync, fdatasync, name, begin, settle
 *
 * The states are checked in a child process, which tells how far it came: a state that crashes it has a name, and
 * another child goes on behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "facts.h"
#include "record.h"
#include "states.h"
#include "workloads.h"

enum {
	NORMAL_STATES = 4200,
	LONG_STATES = 230000,
	STATE_SECONDS = 20,
	FAILURES_MAX = 3,
	SEEN_MAX = 1 << 20,
	TOLD_STATES = 500
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOWER = 8 };
#else
enum { SLOWER = 1 };
#endif

static char program[4096], base[256], live[300], state_folder[300], log_path[300];
static uint64_t seed = 20240229;

static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* ---- folders ---- */

static void cannot(const char *what)
{
	fprintf(stderr, "power: cannot %s: %s\n", what, strerror(errno));
	exit(2);
}

/* In memory if there is a place for it: nothing here needs a disk. */
static void make_folders(void)
{
	const char *parents[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};
	for (int i = 0; i < 3; i++) {
		if (parents[i] == NULL || parents[i][0] == '\0') continue;
		snprintf(base, sizeof base, "%s/vigia-power-XXXXXX", parents[i]);
		if (mkdtemp(base)) break;
		base[0] = '\0';
	}
	if (base[0] == '\0') cannot("make a folder");
	snprintf(live, sizeof live, "%s/live", base);
	snprintf(state_folder, sizeof state_folder, "%s/state", base);
	snprintf(log_path, sizeof log_path, "%s/log", base);
	if (mkdir(live, 0700) < 0 || mkdir(state_folder, 0700) < 0) cannot("make a folder");
}

static void remove_folders(void)
{
	check_write(live, NULL, 0);
	check_write(state_folder, NULL, 0);
	unlink(log_path);
	rmdir(live);
	rmdir(state_folder);
	rmdir(base);
}

static volatile sig_atomic_t ended_by;

static void note_signal(int number)
{
	ended_by = number;
}

/* The work is done in a child process; this one stays until it has ended, however it did, and takes the folders
 * away. */
static void clean_up_after(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	int status = 0;
	make_folders();
	fflush(NULL);
	pid_t child = fork();
	if (child < 0) cannot("start a process");
	if (child == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return;
	}
	setpgid(child, child);
	for (int i = 0; i < 3; i++) sigaction(signals[i], &(struct sigaction){.sa_handler = note_signal}, NULL);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		if (ended_by) kill(-child, SIGKILL);
	kill(-child, SIGKILL); /* a workload's process that hangs */
	remove_folders();
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/* ---- a workload under the recorder ---- */

static void preload(void)
{
	char path[4200], options[1024];
	const char *asan = getenv("ASAN_OPTIONS");
	snprintf(path, sizeof path, "%.*s/power_record.so", (int)(strrchr(program, '/') - program), program);
	setenv("LD_PRELOAD", path, 1);
	snprintf(options, sizeof options, "%s%sverify_asan_link_order=0", asan ? asan : "", asan && asan[0] ? ":" : "");
	setenv("ASAN_OPTIONS", options, 1);
}

/* Appends its record to the log. False: it did not go as it should. */
static bool record(const char *workload, const char *plant)
{
	int status = 0;
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		setenv(RECORD_ENV_LOG, log_path, 1);
		setenv(RECORD_ENV_FOLDER, live, 1);
		setenv(RECORD_ENV_PLANT, plant, 1);
		preload();
		execl(program, program, "--work", workload, NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
	return status == 0;
}

/* What nothing syncs and memory was mapped from, as it was at the end. */
static void record_hints(void)
{
	static uint8_t bytes[1 << 20];
	const char *names[] = {"store-lock", "store-side"};
	int log = open(log_path, O_WRONLY | O_APPEND | O_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		char path[2048];
		struct stat st;
		snprintf(path, sizeof path, "%s/%s", live, names[i]);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t len = fd < 0 ? 0 : read(fd, bytes, sizeof bytes);
		if (len > 0 && fstat(fd, &st) == 0) {
			struct record head = {.bytes = (uint32_t)(sizeof head + (size_t)len),
			                      .kind = RECORD_WRITE,
			                      .ino = st.st_ino,
			                      .id = (uint64_t)i};
			struct record end = {
				.bytes = sizeof end, .kind = RECORD_WRITE_END, .ino = st.st_ino, .id = (uint64_t)i, .a = len, .b = len};
			if (write(log, &head, sizeof head) < 0 || write(log, bytes, (size_t)len) < 0 ||
			    write(log, &end, sizeof end) < 0)
				cannot("write the record");
		}
		if (fd >= 0) close(fd);
	}
	close(log);
}

static struct history *history_of(const char *workload, const char *plant)
{
	struct stat st;
	if (!record(workload, plant)) return NULL;
	record_hints();
	if (stat(live, &st) < 0) cannot("look at the folder");
	return history_read(log_path, st.st_ino);
}

static struct history *first_history(const char *workload, const char *plant)
{
	check_write(live, NULL, 0);
	unlink(log_path);
	return history_of(workload, plant);
}

/* What follows a loss: the store is opened in the state it left, appended to, and the power fails again. */
static struct history *second_history(struct history *first, unsigned place, unsigned k, const char *plant)
{
	struct left left[LEFT_MAX];
	uint64_t hash;
	unsigned count = history_state(first, place, k, left, &hash);
	check_write(live, left, count);
	unlink(log_path);
	int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log < 0 || !history_copy_marks(first, place, log)) cannot("write the record");
	for (unsigned i = 0; i < count; i++) {
		char path[2048];
		struct stat st;
		snprintf(path, sizeof path, "%s/%s", live, left[i].name);
		if (stat(path, &st) < 0) cannot("look at a file");
		size_t name = strlen(left[i].name) + 1;
		struct record head = {
			.bytes = (uint32_t)(sizeof head + name + left[i].size), .kind = RECORD_FILE, .ino = st.st_ino};
		if (write(log, &head, sizeof head) < 0 || write(log, left[i].name, name) < 0 ||
		    write(log, left[i].bytes, left[i].size) < 0)
			cannot("write the record");
	}
	/* Also if there was no file: behind the last of these the second record begins. */
	struct record none = {.bytes = sizeof none + 1, .kind = RECORD_FILE};
	if (write(log, &none, sizeof none) < 0 || write(log, "", 1) < 0) cannot("write the record");
	close(log);
	return history_of("recover", plant);
}

/* ---- checking ---- */

struct one {
	unsigned place, k;
};

/* Shared with the child that checks. */
struct shared {
	unsigned next; /* of the plan: what the child looks at, or will */
	unsigned checked, failed;
	const char *workload; /* whose states are told, NULL: they are not */
	unsigned told;        /* of those that were checked */
	char why[FAILURES_MAX][600];
	char where[FAILURES_MAX][64];
};

static uint64_t *seen; /* hashes of the states that were checked in this history */

static bool is_new(uint64_t hash)
{
	for (uint64_t at = hash;; at++) {
		uint64_t *slot = &seen[at % SEEN_MAX];
		if (*slot == hash) return false;
		if (*slot == 0) {
			*slot = hash;
			return true;
		}
	}
}

static void fail(struct shared *shared, const char *prefix, const struct one *one, const char *why)
{
	unsigned i = shared->failed++;
	if (i >= FAILURES_MAX) return;
	snprintf(shared->where[i], sizeof shared->where[i], "%s%u.%u", prefix, one->place, one->k);
	snprintf(shared->why[i], sizeof shared->why[i], "%s", why);
}

/* For the table of scripts/test, and for those who watch: how many more were checked. */
static void tell_states(struct shared *shared, unsigned step)
{
	if (shared->workload == NULL || shared->checked < shared->told + step) return;
	printf("# power loss: %u states of %s\n", shared->checked - shared->told, shared->workload);
	fflush(stdout);
	shared->told = shared->checked;
}

static void check_plan(struct history *h, const struct one *plan, unsigned count, struct shared *shared,
                       const char *prefix, unsigned enough)
{
	struct facts *facts = calloc(1, sizeof *facts);
	unsigned known = 0;
	for (; shared->next < count && shared->failed < enough; shared->next++) {
		const struct one *one = &plan[shared->next];
		struct left left[LEFT_MAX];
		char why[600] = "";
		uint64_t hash;
		history_facts(h, known, one->place, facts);
		unsigned files = history_state(h, one->place, one->k, left, &hash);
		known = one->place;
		hash = mix(hash ^ mix(facts->appends_count * 1000 + facts->last * 7 + facts->trim_done * 13 + facts->any));
		if (!is_new(hash | 1)) continue;
		alarm(STATE_SECONDS);
		check_write(state_folder, left, files);
		shared->checked++;
		tell_states(shared, TOLD_STATES);
		if (!check_state(state_folder, facts, one->k % 4 == 1, why, sizeof why)) fail(shared, prefix, one, why);
	}
	free(facts);
}

/* In children, one after the other. */
static void check_all(struct history *h, const struct one *plan, unsigned count, struct shared *shared,
                      const char *prefix, unsigned enough)
{
	shared->next = 0;
	memset(seen, 0, SEEN_MAX * sizeof *seen);
	while (shared->next < count && shared->failed < enough) {
		int status;
		fflush(NULL);
		pid_t child = fork();
		if (child == 0) {
			check_plan(h, plan, count, shared, prefix, enough);
			_exit(0);
		}
		waitpid(child, &status, 0);
		if (status == 0) continue;
		char why[100];
		if (WIFSIGNALED(status))
			snprintf(why, sizeof why, "%s", WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status)));
		else snprintf(why, sizeof why, "the program that opens it ended with status %d", WEXITSTATUS(status));
		if (shared->next < count) fail(shared, prefix, &plan[shared->next], why);
		shared->next++;
	}
}

/* So many states of a history, the same for the same seed, shared out among the places. */
static struct one *plan_of(struct history *h, unsigned wanted, unsigned *count)
{
	unsigned weights = 0, left = wanted;
	for (unsigned p = 1; p <= history_places(h); p++) weights += history_states(h, p) > 0 ? history_weight(h, p) : 0;
	unsigned all_weights = weights;
	struct one *plan = malloc((wanted + weights + 1) * sizeof *plan);
	*count = 0;
	for (unsigned p = 1; p <= history_places(h); p++) {
		unsigned there = history_states(h, p), weight = history_weight(h, p);
		if (there == 0) continue;
		unsigned share = (unsigned)((uint64_t)left * weight / weights);
		weights -= weight;
		if (wanted < all_weights && mix(seed ^ p) % all_weights >= (uint64_t)wanted * weight)
			continue; /* not each place has one */
		if (share < 1) share = 1;
		if (share > 4 && there <= 1) share = 4; /* nothing is open: only the files that hold anything differ */
		for (unsigned i = 0; i < share; i++) {
			unsigned k = i;
			/* With few, always "none" and "all", and any others. With many, all and then random ones. */
			if (share < there && i >= 2) k = 2 + (unsigned)(mix(seed ^ ((uint64_t)p << 20 | i)) % (there + there / 2));
			plan[(*count)++] = (struct one){p, k};
		}
		left -= share < left ? share : left;
	}
	return plan;
}

/* ---- a workload ---- */

struct outcome {
	unsigned checked, failed;
};

/* `wanted` states of the first loss, and `seconds` times a second one. Stops at `enough` failures. */
static bool explore(const struct workload *workload, const char *plant, unsigned wanted, unsigned seconds,
                    unsigned enough, bool tell, struct outcome *out)
{
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct history *h = first_history(workload->name, plant);
	*out = (struct outcome){0};
	if (h == NULL || shared == MAP_FAILED) {
		printf("# %s did not go as it should\n", workload->name);
		out->failed = 1;
		return false;
	}
	if (tell) shared->workload = workload->name;
	unsigned count, second_count;
	struct one *plan = plan_of(h, wanted, &count);
	check_all(h, plan, count, shared, "", enough);
	for (unsigned i = 0; i < seconds && shared->failed < enough && count > 0; i++) {
		const struct one *one = &plan[mix(seed + i * 77) % count];
		struct facts *facts = calloc(1, sizeof *facts);
		char prefix[32];
		history_facts(h, 0, one->place, facts);
		bool nothing = facts->nothing_stays;
		free(facts);
		if (nothing) continue;
		struct history *second = second_history(h, one->place, one->k, plant);
		if (second == NULL) {
			fail(shared, "", one, "after it the store could not be used");
			continue;
		}
		snprintf(prefix, sizeof prefix, "%u.%u/", one->place, one->k);
		struct one *second_plan = plan_of(second, wanted / (4 * seconds) + 20, &second_count);
		check_all(second, second_plan, second_count, shared, prefix, enough);
		free(second_plan);
		history_free(second);
	}
	tell_states(shared, 1);
	*out = (struct outcome){shared->checked, shared->failed};
	for (unsigned i = 0; i < shared->failed && i < FAILURES_MAX && tell; i++)
		printf("# power %s%s%s%s %s: %s\n", plant[0] ? "--plant " : "", plant, plant[0] ? " " : "", workload->name,
		       shared->where[i], shared->why[i]);
	free(plan);
	history_free(h);
	munmap(shared, sizeof *shared);
	return out->failed == 0;
}

/* One state, by name. Its files stay in a folder. */
static int repeat(const char *workload, const char *plant, const char *state)
{
	struct one one = {0}, second = {0};
	struct facts *facts = calloc(1, sizeof *facts);
	struct left left[LEFT_MAX];
	char why[600] = "";
	uint64_t hash;
	int parts = sscanf(state, "%u.%u/%u.%u", &one.place, &one.k, &second.place, &second.k);
	if (parts != 2 && parts != 4) {
		fprintf(stderr, "power: a state is P.K or P.K/Q.J\n");
		return 2;
	}
	struct history *h = first_history(workload, plant);
	if (h && parts == 4) {
		h = second_history(h, one.place, one.k, plant);
		one = second;
	}
	if (h == NULL || one.place > history_places(h)) {
		fprintf(stderr, "power: there is no such state\n");
		return 2;
	}
	history_facts(h, 0, one.place, facts);
	unsigned files = history_state(h, one.place, one.k, left, &hash);
	check_write(live, left, files);
	check_write(state_folder, left, files);
	printf("%u records; the state's files, as the loss left them: %s\n", history_places(h), live);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		bool fine = check_state(state_folder, facts, true, why, sizeof why);
		printf("%s\n", fine ? "nothing is wrong with it" : why);
		fflush(NULL);
		_exit(fine ? 0 : 1);
	}
	int status;
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status)) printf("%s\n", strsignal(WTERMSIG(status)));
	return status != 0;
}

/* ---- all of it ---- */

/* Faults that must be found, and where. */
static const struct {
	const char *plant, *workload, *what;
} plants[] = {
	{"fdatasync", "single", "a left-out fdatasync"},
	{"fdatasync", "trims", "a left-out fdatasync, when pages are used again"},
	{"fdatasync", "journal_single", "a left-out fdatasync of the journal"},
	{"dsync", "single", "a meta page that is not synced (MDB_NOMETASYNC)"},
	{"dsync", "checkpoints", "a meta page that is not synced, by a checkpoint"},
	{"name", "making", "a file's name that is not synced"},
	{"name", "backups", "a backup's name that is not synced"},
	{"begin", "making", "a store whose first pages are not synced before its first commit"},
	{"settle", "doubt", "a commit in doubt that its process does not settle"},
	{"settle", "doubt_beside", "a commit in doubt that another process does not settle"},
	{"settle", "doubt_after", "a commit in doubt that is not settled after opening"},
};

static int all(const char *only, const char *plant, bool is_long, unsigned wanted)
{
	unsigned number = 0, states = 0, shares = 0, failed = 0;
	struct outcome outcome;
	for (const struct workload *w = workloads; w->name; w++) shares += (unsigned)w->share;
	bool with_plants = only == NULL && plant[0] == '\0' && SLOWER == 1;
	for (const struct workload *w = workloads; w->name; w++) {
		if (w->share == 0 || (only && strcmp(only, w->name) != 0)) continue;
		bool fine = explore(w, plant, wanted * (unsigned)w->share / shares, is_long ? 24 : 2,
		                    is_long ? 20 : FAILURES_MAX, true, &outcome);
		states += outcome.checked;
		failed += !fine;
		printf("%s %u - D1 a power loss in %s leaves what was promised (%u states)\n", fine ? "ok" : "not ok", ++number,
		       w->name, outcome.checked);
		fflush(stdout);
	}
	for (size_t i = 0; with_plants && i < sizeof plants / sizeof *plants; i++) {
		bool missed = explore(workload_find(plants[i].workload), plants[i].plant, 4000, 0, 1, false, &outcome);
		bool fine = !missed && outcome.checked > 0;
		failed += !fine;
		printf("%s %u - finds %s (after %u states)\n", fine ? "ok" : "not ok", ++number, plants[i].what,
		       outcome.checked);
		fflush(stdout);
	}
	printf("1..%u\n# %u states, seed %" PRIu64 "\n", number, states, seed);
	return failed > 0;
}

int main(int count, char **args)
{
	const char *plant = "", *workload = NULL, *state = NULL, *environment = getenv("VIGIA_SEED");
	bool is_long = getenv("VIGIA_SOAK") != NULL;
	unsigned wanted = 0;
	ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
	if (len < 0) cannot("find the program");
	if (environment) seed = strtoull(environment, NULL, 0);
	if (count == 3 && strcmp(args[1], "--work") == 0) {
		char path[4096];
		snprintf(path, sizeof path, "%s/store", getenv(RECORD_ENV_FOLDER));
		unsetenv("LD_PRELOAD");
		return workload_run(workload_find(args[2]), path);
	}
	for (int i = 1; i < count; i++) {
		if (strcmp(args[i], "--long") == 0) is_long = true;
		else if (strcmp(args[i], "--states") == 0 && i + 1 < count) wanted = (unsigned)strtoul(args[++i], NULL, 10);
		else if (strcmp(args[i], "--plant") == 0 && i + 1 < count) plant = args[++i];
		else if (workload == NULL) workload = args[i];
		else state = args[i];
	}
	if (workload && workload_find(workload) == NULL) {
		fprintf(stderr, "power: there is no workload '%s'; there are:\n", workload);
		for (const struct workload *w = workloads; w->name; w++) fprintf(stderr, "    %s\n", w->name);
		return 2;
	}
	if (state == NULL) clean_up_after();
	else make_folders();
	seen = mmap(NULL, SEEN_MAX * sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (seen == MAP_FAILED) cannot("map memory");
	if (state) return repeat(workload, plant, state);
	return all(workload, plant, is_long, wanted ? wanted : (is_long ? LONG_STATES : NORMAL_STATES) / SLOWER);
}
