/*
 * fuzz_files.c - a store's three files with flipped, cut and random pages (contract E8, R3): each state is looked at in
 * child processes.
 *
 * What the store file promises when it is damaged: opening and reading end, with an error that says something or with
 * events that are right and in order; verify finds what is missing; a reader changes no byte of it, and nobody touches
 * another file of the folder. A lock or side file of any content loses no event, and keeps nobody from opening the
 * store but by an error that says which file to delete.
 *
 * LMDB trusts its pages: a child that ends or stands still inside a call of LMDB's is counted by that call, no more. In
 * code of ours it must not, and not by reading what LMDB returned either.
 *
 * Input: a byte, which of the stores below; then records: which file, what is done to it, and with what.
 */
#include <errno.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "core/event.h"
#include "lib/fuzz_lua.h"
#include "lib/lmdb_calls.h"
#include "store/verify.h"

enum {
	STORES = 3,
	PAGE = 4096,
	FILES = 3,
	FILE_MAX = 1 << 20,
	EVENTS_MAX = 400,
	CPU_SECONDS = 5,
	WALL_SECONDS = 200,
	LEAKS_EACH = 4
};

static const char *const names[FILES] = {"store", "store-lock", "store-side"};

struct file {
	uint8_t *bytes;
	size_t len;
	bool absent;
};

/* A store as it was closed, and what it holds. */
static struct seed {
	struct file files[FILES];
	uint64_t oldest, latest, checkpoints, keys;
} seeds[STORES];

static char folder[200];

/* ---- what a child tells: in memory that is shared with it ---- */

enum result { UNFINISHED, REFUSED, FINISHED };

static struct told {
	enum result result;
	int code; /* of a refusal */
	char message[900];
	char wrong[300]; /* a property that does not hold */
	char call[64];   /* of LMDB's, in which it ended */
	uint64_t events, damaged, checkpoints,
		found;     /* that were read and are right; that said they are not; places that verify found */
	bool readable; /* no read failed */
	bool stands;   /* it used up its time, in that call */
	bool reported; /* a sanitizer found something, in that call or in ours */
	bool whole;    /* in: the store file is */
} * told;

#define must(condition, ...)                                                                  \
	do {                                                                                      \
		if (!(condition)) {                                                                   \
			snprintf(told->wrong, sizeof told->wrong, "line %d: %s: ", __LINE__, #condition); \
			size_t len_ = strlen(told->wrong);                                                \
			snprintf(told->wrong + len_, sizeof told->wrong - len_, __VA_ARGS__);             \
			_exit(1);                                                                         \
		}                                                                                     \
	} while (0)

/* ---- the stores ---- */

static char *path_of(const char *name)
{
	static char path[2][300];
	static int turn;
	turn = !turn;
	snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
	return path[turn];
}

static struct file read_file(const char *name)
{
	struct file file = {0};
	struct stat st;
	int fd = open(path_of(name), O_RDONLY | O_CLOEXEC);
	file.absent = fd < 0;
	if (fd < 0) return file;
	fuzz_assert(fstat(fd, &st) == 0);
	file.len = (size_t)st.st_size;
	file.bytes = malloc(file.len + 1);
	fuzz_assert(file.bytes && pread(fd, file.bytes, file.len, 0) == (ssize_t)file.len);
	close(fd);
	return file;
}

static void write_file(const char *name, const struct file *file)
{
	if (file->absent) {
		unlink(path_of(name));
		return;
	}
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	fuzz_assert(fd >= 0 && write(fd, file->bytes, file->len) == (ssize_t)file->len);
	close(fd);
}

/* The object of event n: msgpack bin, some of it longer than a page. */
static struct vigia_slice object_of(uint64_t n)
{
	static char bytes[10003];
	size_t len = n % 97 == 5 ? 9000 : 40 + n * 7 % 60;
	bytes[0] = (char)0xc5;
	bytes[1] = (char)(len >> 8);
	bytes[2] = (char)len;
	for (size_t i = 0; i < len; i++) bytes[3 + i] = (char)((n * 31 + i) & 0x7f);
	return (struct vigia_slice){bytes, len + 3};
}

static int append(struct vigia_store *store, uint64_t n, const char *key, uint64_t *seq_num, bool *existed,
                  struct vigia_error *err)
{
	struct vigia_new_event event = {{n % 3 ? "CREATE" : "renamed", n % 3 ? 6 : 7}, {"Job", 3}, object_of(n)};
	struct vigia_append_options options = {.size = sizeof options, .key = {key, key ? strlen(key) : 0}};
	return vigia_store_append_with(store, &event, 1, key ? &options : NULL, seq_num, existed, err);
}

static struct vigia_store_options options_of(bool readonly)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.create = options.collect = false;
	options.readonly = readonly;
	return options;
}

/* Which: none; a few events; many, with whatever else a store keeps, and the first of them removed. */
static void make(unsigned which)
{
	struct vigia_store *store;
	struct vigia_error err;
	struct vigia_store_options options = options_of(false);
	struct seed *seed = &seeds[which];
	uint64_t count = which == 0 ? 0 : which == 1 ? 5 : 330, removed;
	options.create = true;
	options.durability = VIGIA_DURABILITY_NONE;
	options.durability_given = true;
	options.journal = false;
	options.journal_given = true;
	fuzz_assert(vigia_store_open(path_of("store"), &options, &store, &err) == 0);
	for (uint64_t n = 1; n <= count; n++) {
		char key[40];
		snprintf(key, sizeof key, "the key of event %llu", (unsigned long long)n);
		bool keyed = n % 3 == 0 && n > 60;
		seed->keys += keyed;
		fuzz_assert(append(store, n, keyed ? key : NULL, NULL, NULL, &err) == 0);
	}
	for (uint64_t n = 1; which == 2 && n <= 80; n++) {
		char id[100];
		snprintf(id, sizeof id, "a watcher with a name that is rather long, so that there are pages, number %llu",
		         (unsigned long long)n);
		fuzz_assert(vigia_checkpoint_put(store, id, n + 60, &err) == 0);
		seed->checkpoints++;
	}
	if (which == 2) fuzz_assert(vigia_store_trim(store, 60, &removed, &err) == 0);
	seed->oldest = which == 2 ? 61 : count > 0;
	seed->latest = count;
	vigia_store_free(store);
	for (int i = 0; i < FILES; i++) {
		seed->files[i] = read_file(names[i]);
		fuzz_assert(!seed->files[i].absent && seed->files[i].len < FILE_MAX);
		unlink(path_of(names[i]));
	}
}

/* ---- in a child ---- */

/* LMDB may have written over the stack of this very thread, and what lies beside it: nothing here may look there, as
 * AddressSanitizer does in each function that does not return. */
__attribute__((no_sanitize_address)) static void ended(int signal_number)
{
	const char *call = lmdb_call;
	size_t i = 0;
	for (; call && call[i] && i + 1 < sizeof told->call; i++) told->call[i] = call[i];
	if (call) told->call[i] = '\0';
	_exit(signal_number == SIGPROF ? 3 : 2);
}

extern const char __executable_start[], etext[];

/* LMDB that writes to damaged pages may write beside them, into memory that is not its own. Then it is the allocator
 * that ends the process, later: code that is neither LMDB's nor ours. */
__attribute__((no_sanitize_address)) static void crashed(int signal_number, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	bool ours = at >= (uintptr_t)__executable_start && at < (uintptr_t)etext;
	(void)info;
	if (!lmdb_call && lmdb_writes > 0 && !told->whole && !ours) lmdb_call = "a write before";
	ended(signal_number);
}

#if defined(__SANITIZE_ADDRESS__) || defined(VIGIA_LIBFUZZER)
int __lsan_do_recoverable_leak_check(void);
void __sanitizer_set_report_path(const char *path);
#define LEAKS() __lsan_do_recoverable_leak_check()
/* What is found in a child is looked at here, and is no report of its own. */
#define REPORTS_HERE() __sanitizer_set_report_path("stderr")
void __asan_on_error(void);
void __asan_on_error(void)
{
	if (told && lmdb_call) snprintf(told->call, sizeof told->call, "%s", lmdb_call);
	told->reported = true;
}
#else
#define LEAKS()        0
#define REPORTS_HERE() ((void)0)
#endif

/* Each second of processor time: has it been in one call of LMDB's for so long? */
static void tick(int signal_number)
{
	static uint64_t calls;
	static int ticks;
	ticks++;
	told->stands = lmdb_call && lmdb_calls == calls;
	if (ticks > 1 && (told->stands || ticks >= CPU_SECONDS)) ended(signal_number);
	calls = lmdb_calls;
}

static void begin_child(void)
{
	static char stack[1 << 16];
	stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
	struct rlimit none = {0, 0};
	struct itimerval second = {{1, 0}, {1, 0}};
	struct sigaction action = {.sa_sigaction = crashed, .sa_flags = SA_ONSTACK | SA_SIGINFO};
	sigaltstack(&other, NULL);
	setrlimit(RLIMIT_CORE, &none);
	for (const int *s = (const int[]){SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, 0}; *s; s++)
		sigaction(*s, &action, NULL);
	action = (struct sigaction){.sa_handler = tick, .sa_flags = SA_ONSTACK};
	sigaction(SIGPROF, &action, NULL);
	setitimer(ITIMER_PROF, &second, NULL);
}

static void found(void *ctx, uint64_t seq_num, const char *text)
{
	(void)ctx, (void)seq_num;
	must(text[0], "nothing");
	told->found++;
}

static void progress(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last)
{
	(void)ctx, (void)seq_num, (void)first, (void)last;
}

static void beside(void *ctx)
{
	(void)ctx;
}

static void checkpoint(void *ctx, const char *id, uint64_t seq_num)
{
	uint64_t n = 0, *limit = ctx;
	const char *number = strrchr(id, ' ');
	must((*limit)-- > 0, "checkpoints without end");
	if (number && sscanf(number, " %llu", (unsigned long long *)&n) == 1 && seq_num == n + 60) told->checkpoints++;
}

static bool is_said(int rc, const struct vigia_error *err)
{
	return rc == err->code && err->message[0] && memchr(err->message, '\0', sizeof err->message);
}

static uint64_t unknown_from = UINT64_MAX; /* what was appended without knowing its number */

/* All events, so many at a time: they are right, and come in order, whatever is damaged. */
static void read_all(struct vigia_store *store, int64_t limit, bool filtered)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_error err = {0};
	struct vigia_slice type = {"Job", 3};
	struct vigia_read request = {.size = sizeof request, .from = {VIGIA_TRIM_HORIZON, 0}, .limit = limit};
	uint64_t before = 0;
	int rc = 0;
	if (filtered) request.filter.object_types = &type, request.filter.object_types_count = 1;
	told->events = told->damaged = 0;
	for (int calls = 0;; calls++) {
		struct vigia_iterator next;
		must(calls < 3 * EVENTS_MAX, "reading does not end, it is at %llu", (unsigned long long)request.from.seq_num);
		rc = vigia_store_read(store, &request, batch, &next, &err);
		if (rc < 0) break;
		for (size_t i = 0; i < vigia_batch_count(batch); i++) {
			struct vigia_event event;
			uint64_t n = batch->entries[i].seq_num;
			must(n > before, "%llu comes behind %llu", (unsigned long long)n, (unsigned long long)before);
			must(i == 0 || filtered || n == before + 1, "%llu comes behind %llu, without a word", (unsigned long long)n,
			     (unsigned long long)before);
			before = n;
			rc = vigia_batch_event(batch, i, &event, &err);
			if (rc == VIGIA_OK) {
				struct vigia_slice wanted = object_of(n);
				must(n >= unknown_from ||
				         (event.object.len == wanted.len && memcmp(event.object.data, wanted.data, wanted.len) == 0),
				     "event %llu is another one", (unsigned long long)n);
				told->events++;
			} else {
				must(is_said(rc, &err) && err.seq_num == n, "%d", rc);
				told->damaged++;
			}
		}
		bool at_end = vigia_batch_at_end(batch);
		rc = VIGIA_OK;
		if (at_end || (next.kind == request.from.kind && next.seq_num == request.from.seq_num)) break;
		request.from = next;
	}
	must(rc == VIGIA_OK || is_said(rc, &err), "%d", rc);
	told->readable = rc == VIGIA_OK;
	vigia_batch_free(batch);
}

static struct vigia_store *open_or_say(bool readonly)
{
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	struct vigia_store_options options = options_of(readonly);
	int rc = vigia_store_open(path_of("store"), &options, &store, &err);
	if (rc == VIGIA_OK) return store;
	must(is_said(rc, &err), "%d", rc);
	must(rc == VIGIA_ENOTSTORE || rc == VIGIA_ETRUNCATED || rc == VIGIA_EFORMAT || rc == VIGIA_EIO ||
	         rc == VIGIA_ENOTFOUND,
	     "%s", err.message);
	told->code = rc;
	snprintf(told->message, sizeof told->message, "%s", err.message);
	told->result = REFUSED;
	return NULL;
}

static void look(struct vigia_store *store)
{
	struct vigia_error err = {0};
	uint64_t n, limit = 2 * EVENTS_MAX;
	struct vigia__backend_stats stats;
	struct vigia__verify verify = {.found = found, .progress = progress, .beside = beside};
	read_all(store, 0, true);
	read_all(store, 7, false);
	for (int64_t at = -1; at < 3; at++) {
		err = (struct vigia_error){0};
		int rc = vigia_store_find_time(store,
		                               at < 0   ? INT64_MAX
		                               : at < 1 ? 0
		                                        : vigia__wall_ns() - (at - 1) * 1000000000,
		                               &n, &err);
		must(rc >= 0 || is_said(rc, &err), "%d", rc);
	}
	err = (struct vigia_error){0};
	int rc = vigia_checkpoint_each(store, &limit, checkpoint, &err);
	must(rc == VIGIA_OK || is_said(rc, &err), "%d", rc);
	err = (struct vigia_error){0};
	rc = vigia_hold_each(store, &limit, checkpoint, &err);
	must(rc == VIGIA_OK || is_said(rc, &err), "%d", rc);
	err = (struct vigia_error){0};
	rc = vigia__store_stats(store, &stats, &err);
	must(rc == VIGIA_OK || is_said(rc, &err), "%d", rc);
	err = (struct vigia_error){0};
	rc = vigia__store_verify(store, &verify, &err);
	must(rc == VIGIA_OK || is_said(rc, &err), "%d", rc);
	told->found += rc < 0;
}

static void child_reads(void)
{
	struct vigia_store *store = open_or_say(true);
	if (!store) return;
	look(store);
	vigia_store_free(store);
	told->result = FINISHED;
}

/* Whatever changes a store. `whole`: the store file is, so all of it works. */
static void child_writes(const struct seed *seed, bool whole)
{
	struct vigia_store *store = open_or_say(false);
	if (!store) return;
	struct vigia_error err = {0};
	uint64_t latest = 0, oldest = 0, seq_num = 0;
	bool existed = false;
	char key[40];
	int rc = vigia_store_latest(store, &latest, &err);
	must(rc == VIGIA_OK || is_said(rc, &err), "%d", rc);
	must(!whole || latest == seed->latest, "%s", err.message);
	bool known = rc == VIGIA_OK;
	if (!known) unknown_from = 0;
	err = (struct vigia_error){0};
	rc = append(store, latest + 1, NULL, &seq_num, NULL, &err);
	must(rc == VIGIA_OK || is_said(rc, &err), "%d", rc);
	must(!whole || rc == VIGIA_OK, "%s", err.message);
	must(rc < 0 || !known || seq_num == latest + 1, "%llu was stored behind %llu", (unsigned long long)seq_num,
	     (unsigned long long)latest);
	latest += rc == VIGIA_OK;
	snprintf(key, sizeof key, "the key of event %d", 300);
	err = (struct vigia_error){0};
	rc = append(store, latest + 1, key, &seq_num, &existed, &err);
	must(rc == VIGIA_OK || is_said(rc, &err), "%d", rc);
	must(!whole || (rc == VIGIA_OK && existed == (seed->keys > 0) && seq_num == (existed ? 300 : latest + 1)), "%s",
	     err.message);
	latest += rc == VIGIA_OK && !existed;
	err = (struct vigia_error){0};
	rc = vigia_checkpoint_put(store, "w", latest, &err);
	must(rc == VIGIA_OK || is_said(rc, &err), "%d", rc);
	must(!whole || rc == VIGIA_OK, "%s", err.message);
	if (whole) {
		look(store);
		must(told->readable && told->damaged == 0 && told->found == 0 && told->checkpoints == seed->checkpoints,
		     "%llu found", (unsigned long long)told->found);
		must(told->events == latest + 1 - (seed->oldest ? seed->oldest : 1), "%llu events",
		     (unsigned long long)told->events);
	}
	err = (struct vigia_error){0};
	rc = vigia_store_backup(store, path_of("copy"), true, &err);
	must(rc == VIGIA_OK || is_said(rc, &err), "%d", rc);
	must(!whole || rc == VIGIA_OK, "%s", err.message);
	rc = vigia_store_oldest(store, &oldest, &err);
	if (rc == VIGIA_OK && oldest < latest) {
		err = (struct vigia_error){0};
		rc = vigia_store_trim(store, oldest + 2 < latest ? oldest + 2 : latest, &seq_num, &err);
		must(rc >= 0 || is_said(rc, &err), "%d", rc);
		must(!whole || rc >= 0, "%s", err.message);
	}
	err = (struct vigia_error){0};
	rc = vigia_store_gc(store, NULL, &err);
	must(rc >= 0 || is_said(rc, &err), "%d", rc);
	must(!whole || rc >= 0, "%s", err.message);
	read_all(store, 50, false);
	vigia_store_free(store);
	told->result = FINISHED;
}

/* `vigia verify`, as it is: it ends, and says what it found. */
static void child_verifies(void)
{
	lua_State *L = fuzz_lua_new();
	fuzz_lua_do(L, "return require('vigia.cli.main')", 0, 1);
	lua_settop(L, 0);
	static const char chunk[] =
		"local path = ...\n"
		"local util, out = require 'vigia.cli.util', {}\n"
		"util.write = function(...) for _, text in ipairs{...} do out[#out + 1] = text end end\n"
		"local ok, status = pcall(require('vigia.cli.verify').run, {store = path})\n"
		"out = table.concat(out)\n"
		"if not ok then return false, tostring(type(status) == 'table' and status.message or status) end\n"
		"if status ~= util.OK and status ~= util.FAILURE then return 'a status', out end\n"
		"local none = out:find 'no damage\\n$' ~= nil\n"
		"if none ~= (status == util.OK) or not none and not out:find 'damaged in %d+ places?\\n$' then return 'its "
		"words', out end\n"
		"return true, out\n";
	lua_pushstring(L, path_of("store"));
	fuzz_lua_do(L, chunk, 1, 2);
	snprintf(told->message, sizeof told->message, "%s", lua_isstring(L, 2) ? lua_tostring(L, 2) : "");
	must(lua_isboolean(L, 1), "%s: %s", lua_tostring(L, 1), told->message);
	told->result = lua_toboolean(L, 1) ? FINISHED : REFUSED;
	must(told->message[0], "not a word");
	lua_close(L);
}

/* ---- outside ---- */

static struct {
	uint64_t states, whole, ended, stand;
	struct {
		char name[64];
		uint64_t count;
	} calls[40];
} counted;

static void count_call(const char *call)
{
	for (size_t i = 0; i < sizeof counted.calls / sizeof *counted.calls; i++) {
		if (counted.calls[i].name[0] && strcmp(counted.calls[i].name, call) != 0) continue;
		snprintf(counted.calls[i].name, sizeof counted.calls[i].name, "%s", call);
		counted.calls[i].count++;
		return;
	}
}

#ifdef VIGIA_LIBFUZZER
/* The children's paths are not seen: what came of them is. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t outcomes[1 << 12];
#else
static uint8_t outcomes[1 << 12];
#endif

static void note_outcome(unsigned what)
{
	uint64_t h = what * UINT64_C(0x9e3779b97f4a7c15);
	const char *texts[] = {told->call, told->message};
	for (int i = 0; i < 2; i++)
		for (const char *c = texts[i]; *c; c++)
			if (*c < '0' || *c > '9') h = (h ^ (uint8_t)*c) * UINT64_C(1099511628211);
	h = (h ^ (uint64_t)told->result << 8 ^ (uint64_t)told->stands << 9 ^ (uint64_t)told->found << 10) *
	    UINT64_C(1099511628211);
	outcomes[h >> 52] = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "fuzz_files: %s: %s (%s)\n", what, told->wrong, told->message);
	abort();
}

/* Run one child. False: it ended, or stood still, inside LMDB. */
static bool run(void (*child)(void), const struct seed *seed, bool whole, unsigned what)
{
	memset(told, 0, sizeof *told);
	told->whole = whole;
	pid_t pid = fork();
	fuzz_assert(pid >= 0);
	if (pid == 0) {
		alarm(WALL_SECONDS);
		signal(SIGALRM, SIG_DFL);
		REPORTS_HERE();
		if (child != child_verifies) begin_child();
		if (child) child();
		else child_writes(seed, whole);
		_exit(counted.states % LEAKS_EACH == 0 && LEAKS() ? 4 : 0);
	}
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
	note_outcome(what);
	if (told->wrong[0]) fail("a property does not hold");
	if (WIFSIGNALED(status)) fail(WTERMSIG(status) == SIGALRM ? "it waits without end" : strsignal(WTERMSIG(status)));
	int code = WEXITSTATUS(status);
	if (code == 0) return true;
	if (code == 4) fail("a leak");
	if (!told->call[0] || (code == 3 && !told->stands))
		fail(code == 2   ? "it crashed, not inside LMDB"
		     : code == 3 ? "it was at work without end, not inside LMDB"
		                 : "it was ended");
	if (whole) fail("inside LMDB, though the store file is whole");
	if (strcmp(told->call, "mdb_env_open") == 0) fail("LMDB was given meta pages that end it");
	counted.ended += code != 3;
	counted.stand += code == 3;
	count_call(told->call);
	return false;
}

static int is_no_dot(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The folder has these files and no others, and the stranger in it is as it was. */
static void check_folder(void)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, is_no_dot, alphasort);
	fuzz_assert(count >= 0);
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;
		if (strcmp(name, "stranger") != 0 && strncmp(name, "store", 5) != 0 && strcmp(name, "copy") != 0) fail(name);
		fuzz_assert(strlen(name) <= 10);
		free(entries[i]);
	}
	free(entries);
	struct file stranger = read_file("stranger");
	fuzz_assert(stranger.len == 4 && memcmp(stranger.bytes, "mine", 4) == 0);
	free(stranger.bytes);
}

static bool same(const struct file *a, const struct file *b)
{
	return a->absent == b->absent && a->len == b->len && (a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

static bool is_on_disk(const char *name, const struct file *wanted)
{
	struct file now = read_file(name);
	bool yes = same(&now, wanted);
	free(now.bytes);
	return yes;
}

/* ---- what is done to a file ---- */

struct node { /* mdb.c: of a leaf; of a branch, the first three are the page */
	uint16_t lo, hi, flags, key_size;
};

static size_t page_at(struct fuzz_input *in, const struct file *file)
{
	size_t pages = file->len / PAGE, n = fuzz_byte(in);
	n |= (size_t)fuzz_byte(in) << 8;
	return pages ? n % pages * PAGE : 0;
}

/* Where node `n` of a page is; 0: it has none. */
static size_t node_at(const struct file *file, size_t page, unsigned n)
{
	uint16_t lower, at;
	if (file->len < page + PAGE) return 0;
	memcpy(&lower, file->bytes + page + 12, 2);
	unsigned count = lower >= 16 && lower <= PAGE ? (lower - 16) / 2 : 0;
	if (count == 0) return 0;
	memcpy(&at, file->bytes + page + 16 + 2 * (n % count), 2);
	return at >= 16 && at + sizeof(struct node) <= PAGE ? page + at : 0;
}

/* One record; true: a single bit. */
static bool change(struct fuzz_input *in, struct file *file)
{
	unsigned what = fuzz_byte(in) % 13;
	size_t page = page_at(in, file), at = fuzz_byte(in);
	at = page + (at | (size_t)fuzz_byte(in) << 8) % PAGE;
	uint64_t number;
	struct vigia_slice slice;
	struct node node;
	uint8_t copy[PAGE];
	size_t other, place, len = at < file->len ? file->len - at : 0;
	switch (what) {
	case 0:
		if (len) file->bytes[at] ^= (uint8_t)(1 << fuzz_byte(in) % 8);
		return true;
	case 1:
		number = fuzz_number(in);
		if (len >= sizeof number) memcpy(file->bytes + at, &number, sizeof number);
		break;
	case 2:
		file->len = fuzz_number(in) % (file->len + 1);
		break;
	case 3:
	case 4:
		number = fuzz_number(in);
		for (size_t i = page; i < page + PAGE && i < file->len; i++)
			file->bytes[i] = what == 3 ? 0 : (uint8_t)((number = number * UINT64_C(6364136223846793005) + 1) >> 56);
		break;
	case 5:
	case 6:
		other = page_at(in, file);
		if (file->len < PAGE) break;
		memcpy(copy, file->bytes + page, PAGE);
		memmove(file->bytes + page, file->bytes + other, PAGE);
		if (what == 6) memcpy(file->bytes + other, copy, PAGE);
		break;
	case 7:
		number = fuzz_number(in);
		for (size_t n = number % 20000; n > 0 && file->len < FILE_MAX; n--)
			file->bytes[file->len++] = (uint8_t)(number * n >> 40);
		break;
	case 8: /* two nodes change their places */
		at = fuzz_byte(in), other = fuzz_byte(in);
		if (node_at(file, page, (unsigned)at) && node_at(file, page, (unsigned)other)) {
			uint16_t lower, first, second;
			memcpy(&lower, file->bytes + page + 12, 2);
			unsigned count = (lower - 16u) / 2;
			uint8_t *a = file->bytes + page + 16 + 2 * (at % count), *b = file->bytes + page + 16 + 2 * (other % count);
			memcpy(&first, a, 2);
			memcpy(&second, b, 2);
			memcpy(a, &second, 2);
			memcpy(b, &first, 2);
		}
		break;
	case 9:
	case 10: /* a node of a branch leads to another page; one of a leaf claims another size; or its key is another */
		place = node_at(file, page, fuzz_byte(in));
		number = fuzz_number(in);
		if (place == 0) break;
		memcpy(&node, file->bytes + place, sizeof node);
		if (what == 9) node.lo = (uint16_t)number, node.hi = (uint16_t)(number >> 16);
		else if (place + sizeof node + sizeof number <= page + PAGE)
			memcpy(file->bytes + place + sizeof node, &number, sizeof number);
		memcpy(file->bytes + place, &node, sizeof node);
		break;
	case 11:
		slice = fuzz_slice(in);
		if (slice.len) memcpy(file->bytes + at, slice.data, slice.len < len ? slice.len : len);
		break;
	default: /* all of it, or none: the store itself is there */
		slice = fuzz_slice(in);
		file->len = slice.len;
		if (slice.len) memcpy(file->bytes, slice.data, slice.len);
		file->absent = slice.len == 0 && (at & 1);
	}
	return false;
}

static void set_up(void)
{
	const char *parent = getenv("TMPDIR");
	snprintf(folder, sizeof folder, "%s/vigia-files-XXXXXX", parent && parent[0] ? parent : "/tmp");
	fuzz_assert(mkdtemp(folder));
	told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fuzz_assert(told != MAP_FAILED);
	for (unsigned i = 0; i < STORES; i++) make(i);
	struct file stranger = {(uint8_t *)"mine", 4, false};
	write_file("stranger", &stranger);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st, (void)kind, (void)at;
	return remove(path);
}

static void tear_down(void)
{
	static pid_t owner;
	if (owner == 0) owner = getpid(), atexit(tear_down);
	else if (owner == getpid()) nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* With the store file whole: the first error of a lock file says which file to delete, and that helps. */
static void try_whole(const struct seed *seed)
{
	if (!run(NULL, seed, true, 2) || told->result == FINISHED) return;
	if (!strstr(told->message, "store-lock") || !strstr(told->message, "delete")) fail("a whole store is refused");
	unlink(path_of("store-lock"));
	run(NULL, seed, true, 3);
	if (told->result != FINISHED) fail("a whole store is refused without its lock file");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, data + size};
	if (!told) {
		set_up();
		tear_down();
	}
	unsigned first = fuzz_byte(&in), bits = 0, records = 0;
	const struct seed *seed = &seeds[first % STORES];
	struct file files[FILES];
	for (int i = 0; i < FILES; i++) {
		files[i] = seed->files[i];
		files[i].bytes = calloc(1, FILE_MAX + PAGE);
		fuzz_assert(files[i].bytes);
		memcpy(files[i].bytes, seed->files[i].bytes, files[i].len);
	}
	while (fuzz_left(&in) > 0 && records++ < 20) {
		unsigned which = fuzz_byte(&in);
		bits += change(&in, &files[which % 4 < FILES ? which % 4 : 0]);
	}
	bool whole = same(&files[0], &seed->files[0]);
	files[0].absent = false;
	counted.states++;
	counted.whole += whole;
	unlink(path_of("copy"));
	for (int i = 0; i < FILES; i++) write_file(names[i], &files[i]);

	/* one that only reads */
	bool looked = run(child_reads, seed, whole, 1);
	if (!is_on_disk("store", &files[0])) fail("a reader changed the store file");
	if (looked && told->result == FINISHED) {
		bool all = told->readable && told->damaged == 0 &&
		           told->events == (seed->oldest ? seed->latest - seed->oldest + 1 : 0);
		if (whole && (!all || told->found > 0 || told->checkpoints != seed->checkpoints))
			fail("a whole store is not read as such");
		/* One bit, behind the meta pages: of an older one LMDB takes the last commit but one for the last. */
		bool one_bit = bits == 1 && records == 1 && memcmp(files[0].bytes, seed->files[0].bytes, 2 * PAGE) == 0;
		if (one_bit && !all && told->found == 0) fail("verify finds nothing, and events are missing");
	} else if (looked && whole && !strstr(told->message, "store-lock")) {
		fail("a whole store is refused");
	}
	check_folder();

	/* the program, now and then, and where a child ended */
	if (!whole && (!looked || counted.states % 16 == 0)) {
		for (int i = 0; i < FILES; i++) write_file(names[i], &files[i]);
		run(child_verifies, seed, false, 4);
		if (told->result == FINISHED && !is_on_disk("store", &files[0])) fail("verify changed the store file");
		check_folder();
	}

	/* one that writes */
	for (int i = 0; i < FILES; i++) write_file(names[i], &files[i]);
	if (whole) {
		try_whole(seed);
	} else if (run(NULL, seed, false, 2) && told->result == REFUSED && !is_on_disk("store", &files[0])) {
		fail("a store file that is refused was changed");
	}
	check_folder();
	for (int i = 0; i < FILES; i++) free(files[i].bytes);
	return 0;
}

#ifndef VIGIA_LIBFUZZER
int main(int argc, char **argv)
{
	/* A sanitizer that keeps the signals to itself would take what ends inside LMDB for a finding. */
	const char *given = getenv("ASAN_OPTIONS");
	if (given && !getenv("VIGIA_FUZZ_AGAIN")) {
		char text[4096];
		snprintf(text, sizeof text, "%s:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_abort=0", given);
		setenv("ASAN_OPTIONS", text, 1);
		setenv("VIGIA_FUZZ_AGAIN", "1", 1);
		execv("/proc/self/exe", argv);
	}
	int status = fuzz_main(argc, argv, 50);
	printf("# hostile files: %llu states, %llu whole stores, %llu ends inside LMDB, %llu stands inside LMDB\n",
	       (unsigned long long)counted.states, (unsigned long long)counted.whole, (unsigned long long)counted.ended,
	       (unsigned long long)counted.stand);
	for (size_t i = 0; i < sizeof counted.calls / sizeof *counted.calls && counted.calls[i].name[0]; i++)
		printf("#   inside %s: %llu\n", counted.calls[i].name, (unsigned long long)counted.calls[i].count);
	return status;
}
#endif
