/*
 * main.c - the program `vigia`: a Lua with the module vigia in it that runs lua/vigia/cli/main.lua.
 *
 * THE MAP OF THE CODE, in reading order. Each file's first lines say its job, each room's header is its door. A name
 * stands for its .h and .c; scripts/lint sees that each file is here, scripts/arrows prints which leans on which.
 *
 *   include/
 *     vigia vigia_errors vigia_steer vigia_transfer  the public C API, like a manual; codes; steering; moving
 *   core/                 decisions; no clock, disk, thread, Lua or LMDB
 *     event               the event and its bytes
 *     msgpack value keys  reading msgpack, token by token; checking values from outside, and their maps' keys
 *     iterator            where a read starts
 *     filter where path   lists of types and operations; places of the object and values there; matched on the bytes
 *     block               which types and operations 4096 events have, and where, as a record of the index
 *     batch               events copied out of a store
 *     record              the journal's records: the events of one commit, as bytes
 *     export_record       the records of an export, as bytes
 *     stepper             ONE WATCHER AS A STEP FUNCTION: (state, what just happened, now) -> what to do next
 *     backoff             number of failures -> delay before the retry
 *     retention           ages, checkpoints, limits -> what may be removed; when checkpoint_ttl has passed
 *     option_tables       every option: name, unit, default, limits, help
 *     options settings    setting and checking options by their rows; the options that belong to a file
 *     quantity            sizes and durations as people write them: 64M, 250ms
 *     nearest             edit distance: the known name for a misspelled one
 *     json json_big json_write json_event base64   NDJSON <-> events
 *     serial              the serializer that an event names
 *     limit               how often the same failure is logged
 *     state_key           names of buckets, and keys in them, as bytes
 *     lane_key ranges     the key by which an event belongs to a lane; a checkpoint and the ranges above it
 *     location            a path, or a server's URI, whose password is shown to no one
 *     error utf8 alloc buf table ordered   codes and messages, text, memory, byte buffers, hash tables, ordered maps
 *   store/                storage: events, checkpoints, holds, keys, settings
 *     store store_private  handles: the part that is the same for all backends
 *     store_append store_read store_checkpoints  appends; reads and the long poll; checkpoints and holds
 *     transaction transaction_range transaction_commit transaction_private elder   transactions: reads that lock
 *                         nothing, one commit that checks them; who goes first
 *     buckets store_letters   which buckets there are, and dropping one; dead letters
 *     steer store_steer running   what is asked of watchers of any process; those of this process
 *     state letters timer_records lane_record   the records of buckets, dead letters, timers and lanes, in maps that a
 *                         backend offers
 *     store_timers timers   timers: schedule, list; the thread that stores what is due
 *     backend             the interface that each backend fills in
 *     clock               the time; whether this process is a forked child
 *     commit              group commit: many callers, one sync
 *     queue               appends that wait in memory for the next commit
 *     progress wants      saves the watchers' progress with commits; who waits for it
 *     rows store_watchers   what running watchers tell of themselves; what is known of each
 *     store_wait          waits until a checkpoint has come to a number
 *     collect             garbage collection in slices, and its thread
 *     wake                version words in shared memory: appends wake readers, across processes
 *     verify              checks all of a store for damage
 *     module              loads the backend of a server, a library of its own (store/pg/)
 *     memory              the backend to read first, and the test double;
 *     memory_events memory_checkpoints memory_state memory_private   its events and keys; its checkpoints and
 *                         commits; its buckets; what they share
 *     lmdb                the backend of a file: opening, closing, its table of functions
 *     lmdb_private        shared by its files, and how the file is laid out
 *     lmdb_append         stamps events, and puts them into LMDB or into a record
 *     lmdb_commit         the transaction of a group commit
 *     lmdb_journal lmdb_tail lmdb_journal_private   the journal: appends with one sync, and reading what is in it
 *     lmdb_area lmdb_window lmdb_recover lmdb_upgrade   where it is, also mapped; what others left; of an old file
 *     journal_words turns   what processes share of it; fair turns of those who write
 *     lmdb_last lmdb_events lmdb_keys lmdb_checkpoints lmdb_marks  what is in the file
 *     lmdb_index lmdb_index_private lmdb_index_old   the index: kept with the events; of old files; explain
 *     lmdb_kv lmdb_state   a database as an ordered map; buckets and timers in a file
 *     lmdb_collect        removing events; renewing the checkpoints of running watchers (checkpoint_ttl)
 *     transfer export import export_stream   all of a store as a stream of records, and back
 *     copy                the events of one log in another, each once
 *     import_records lmdb_import memory_import   one commit of an import
 *     lmdb_settings lmdb_backup lmdb_verify  settings, copies, looking for damage
 *     lmdb_txn lmdb_reopen   transactions; opening, and opening again after a failure
 *     lmdb_path lmdb_there   the file: its real path; whether it was replaced or deleted while open
 *     lmdb_beside lmdb_format lmdb_meta  the files beside it; its header; LMDB's meta pages
 *     lmdb_map lmdb_reserve lmdb_large  the size of the map; room on the disk; how it is cached
 *     lmdb_env lmdb_walk lmdb_error   LMDB itself: environments, damaged pages, error numbers
 *     side side_private   the side file: wake words, hints, which processes use it
 *     owner               owner locks: one process runs a watcher id at a time
 *     look                who has a store open, seen from outside
 *     place copies        network file systems, which are refused; one copy of the library per process
 *     fd file_limit thread helper   making descriptors; limits on file sizes; starting threads
 *   store/pg/             a log on PostgreSQL: libvigia-pg, loaded at the first such location
 *     pg pg_private       opening, closing, its table of functions; shared by its files
 *     location search link  the URI; finding the server that takes writes; a connection with deadlines
 *     sqlstate param statements calls   its codes; what is sent over it
 *     create              finds or makes a log; its settings
 *     commit message doubt   appends and transactions: a commit, its parameters, what became of it
 *     read tail           reads events; keeps those that watchers read
 *     checkpoints collect stats   positions; removing; numbers
 *     maps changes        buckets, dead letters and timers as rows; those that a commit reads and changes
 *     import sql_event    one commit of an import; events that the server's function `append` made
 *     wake jobs tell shown  hears of other processes; what its thread does for others, tells, and shows of watchers
 *     owners              owns watcher ids, and has a lease
 *   drive/                runs watchers
 *     drive drive_private   the room's interface; what only its files share
 *     registry round listen   watchers by id; rounds over all of them; the wake words they wait for
 *     save wanted stop      saving their progress; who waits for that; stopping them
 *     driver driver_step    a watcher on the registry's thread; its calls of core/stepper
 *     driver_transaction driver_letters   the transaction of a transactional watcher; dead letters
 *     driver_row driver_steer   what other processes see of a watcher; what they ask of it
 *     driver_start driver_run   where it starts; its turns: fetch, handle, retry, save
 *     lanes lanes_save      what the lanes of a watcher share; saving what they have finished
 *     driver_lane laned laned_make   a driver as a lane; calls on a watcher with lanes are calls on all; making them
 *     source_store fetch  a store as the source of a watcher; memory of batches
 *     errand question     calls that wait for a server; those of coroutines
 *     worker job worker_private   a thread that drives one watcher; what it runs
 *     pulse watchdog        whether a loop goes on; whether all of a registry do
 *     reload remote         reloading a script that runs; the watcher that stands for a worker
 *     watcher               statistics, checkpoints and seeks of one watcher
 *     task inbox poller   coroutines beside the watchers; messages from other threads; a descriptor to poll
 *     clock store_clock log   the clock of a registry, which tests can move; of a store in memory; log records
 *   serve/                a store over HTTP, for the program alone
 *     serve server serve_private   the server: its start, rounds and end; what the room shares
 *     access routes         what libmicrohttpd calls, and who may; which function serves which address
 *     events append         reading and following events; appending them
 *     watchers buckets dead page   watchers; buckets; dead letters; page.html
 *     metrics metrics_watchers   numbers for Prometheus, of the store and of each watcher
 *     request reply log     requests that wait; replies; log records of them
 *     feed                  events as text for one client
 *     guard query address text   where a request comes from; its address; where to listen; writing text
 *     mhd                   libmicrohttpd, loaded
 *   bind/                 the Lua binding, and what scripts run in
 *     lua_state           what one Lua state shares; classes, calls that only C makes, checked arguments
 *     module modules      the tables of the module vigia; our own Lua modules, compiled once per process
 *     store_handle store_append   the userdata of a store; the methods that append
 *     store append reading settings verify ndjson   a store; its appends, reads, settings, damage, NDJSON as input
 *     dump pretty fd_wait   events as lines: NDJSON, or for people; waiting for an input or output
 *     last types          the N-th event from the end; how many events each type and operation has
 *     explain             what a filter looks at
 *     steer               seek, pause, resume, retry, forget
 *     timer               schedule, unschedule, scheduled
 *     transfer            store:export and store:import
 *     encode decode array json   Lua values into events and back; arrays; JSON
 *     iterator options filter error   iterators, tables of options, filters and errors, between Lua and C
 *     registry_handle coroutine   the userdata of a registry; its coroutines: suspend, sleep
 *     transaction transaction_handle letters   transactions and buckets; the userdata of one; dead letters
 *     run handler task    running and stopping a registry; functions as handlers; functions beside them
 *     thread_wait         a wait of the thread, which a stop or a signal ends
 *     ask                 calls of a store for which a coroutine yields, where that waits for a server
 *     signal wait_for     waits until other code sets something, or a watcher has saved its progress
 *     watch watch_options registry watcher clock owner   registry:watch; Registry, Watcher, Clock; run --wait
 *     source results      stores written in Lua as sources of watchers; what their methods returned
 *     serial cache        an application's serializers and classes; decoded events that watchers share
 *     watchers            what is known of the watchers of a store
 *     terminal            keys and the size of the terminal, for commands that draw on it
 *     edit                lines that a user types at the REPL: editing, history, Ctrl-C (repl_completion.lua completes)
 *     interrupt hook      the flag that ends the program; waits that a signal handler's hook ends
 *     tell output         failures on standard error, without a log function; the output of scripts
 *     surroundings        what is around a store, for `vigia doctor`
 *     log_format notify   what a log record looks like; messages to the system's manager of services
 *     script              a script as a handler: its Lua state, what its worker runs
 *     nursery             the memory that a script's state starts with
 *     cap cap_libs        limits on memory and processor time of a script; the libraries it sees
 *     process program     a script in a program of its own; os.execute and io.popen for scripts
 *     embed               libvigia-lua: handlers in Lua for applications in C
 *     serve               the module vigia.server of the program
 *   isolated              the program of an isolated script
 *   main                  this file: signals, where the Lua files are, the exit status
 *   ../lua/vigia/         api.lua describes the Lua API; repl, repl_completion, show, show_events are the
 *                         prompt; script loads handlers;
 *                         cli/ holds the commands, one file each, and what they share: main, util, progress_line
 *
 * Arrows go down: main -> bind -> serve -> drive -> store -> core.
 */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <libgen.h>
#include <limits.h>
#include <lua.h>
#include <lualib.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bind/module.h"
#include "bind/interrupt.h"
#include "bind/process.h"
#include "bind/serve.h"
#include "store/fd.h"
#include "store/file_limit.h"
#include "store/thread.h"

#ifndef VIGIA_LUA_DIR
#define VIGIA_LUA_DIR "" /* the source tree's lua/, for running from the build folder */
#endif
#ifndef VIGIA_LUA_DIR_INSTALLED
#define VIGIA_LUA_DIR_INSTALLED                                                           \
	"" /* where `install` puts the Lua files, for a program that was moved away from them \
	    */
#endif

/* ---- Signals ---- */

/*
 * The first SIGINT, SIGTERM or SIGHUP raises the flag, the second SIGINT or SIGTERM ends the process at once. A second
 * SIGHUP does not: a terminal that closes sends one, and so does its shell, and some supervisors send SIGTERM and
 * SIGHUP together. A handler that only writes to an eventfd, and not a blocked mask with sigwait: a mask would be
 * inherited by the programs that scripts start.
 */
static void on_signal(int signo)
{
	int before = errno;
	uint64_t one = 1;
	if (atomic_exchange(&vigia__interrupted, true)) {
		if (signo == SIGHUP) return;
		_exit(128 + signo); /* GCOVR_EXCL_LINE: its counters are lost. */
	}
	if (write(vigia__interrupt_fd, &one, sizeof one) < 0) _exit(128 + signo);
	errno = before;
}

/* Has the reader of the output closed it (`| head -1`)? That is no error. */
static bool output_closed(void)
{
	struct pollfd fd = {.fd = STDOUT_FILENO};
	return poll(&fd, 1, 0) > 0 && fd.revents & (POLLERR | POLLHUP);
}

/* Exists to be caught: ignoring SIGPIPE would be inherited by other programs, catching it is not. Handlers whose prints
 * go nowhere would pass all events. So that ends `vigia run`, which does not see what they print. */
static void on_pipe(int signo)
{
	int before = errno;
	uint64_t one = 1;
	if (atomic_load(&vigia__ends_with_output) && output_closed() && !atomic_exchange(&vigia__interrupted, true) &&
	    write(vigia__interrupt_fd, &one, sizeof one) < 0)
		_exit(128 + signo); /* GCOVR_EXCL_LINE: its counters are lost. */
	errno = before;
}

/* Exists to be caught, too: a log on standard error at the limit on the size of files must not end the program, nor a
 * file that a script writes. The write fails with EFBIG. */
static void on_file_limit(int signo)
{
}

/* Wakes the threads that wait. That takes locks, which a signal handler may not. */
static void *tell_waiters(void *arg)
{
	struct pollfd fd = {.fd = *(const int *)arg, .events = POLLIN};
	while (poll(&fd, 1, -1) < 0 && errno == EINTR) continue;
	vigia__interrupt_all();
	return NULL;
}

/* A shell starts `vigia run ... &` with SIGINT ignored, nohup starts it with SIGHUP ignored: keep that. */
static int handle_unless_ignored(int signo, const struct sigaction *action)
{
	struct sigaction before;
	if (sigaction(signo, NULL, &before) != 0) return -1;
	return before.sa_handler == SIG_IGN ? 0 : sigaction(signo, action, NULL);
}

static int signals_start(void)
{
	vigia__interrupt_fd = VIGIA_FD(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (vigia__interrupt_fd < 0) return -1;
	static int ours; /* a REPL puts another one in its place for a time */
	ours = vigia__interrupt_fd;
	pthread_t thread;
	int rc = vigia__thread_start(&thread, 65536, tell_waiters, &ours);
	if (rc != 0) {
		errno = rc;
		return -1;
	}
	pthread_detach(thread);
	struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	struct sigaction pipe_closed = {.sa_handler = on_pipe, .sa_flags = SA_RESTART};
	struct sigaction too_large = {.sa_handler = on_file_limit, .sa_flags = SA_RESTART};
	return handle_unless_ignored(SIGINT, &stop) | handle_unless_ignored(SIGHUP, &stop) |
	       sigaction(SIGTERM, &stop, NULL) | sigaction(SIGPIPE, &pipe_closed, NULL) |
	       handle_unless_ignored(SIGXFSZ, &too_large);
}

/* ---- Standard streams ---- */

static int output_errno; /* of the first write that failed */

static ssize_t output_write(void *cookie, const char *data, size_t len)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = vigia__file_write(STDOUT_FILENO, data + done, len - done);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) {
			if (output_errno == 0) output_errno = errno;
			return 0; /* fopencookie's way to fail */
		}
		done += (size_t)n;
	}
	return (ssize_t)len;
}

static int output_seek(void *cookie, off64_t *at, int whence)
{
	off64_t to = lseek64(STDOUT_FILENO, *at, whence);
	if (to < 0) return -1;
	*at = to;
	return 0;
}

/* A write that fails leaves its mark on the stream, but its errno is gone when the program ends. So stdout is one that
 * keeps it. Not on a terminal, whose descriptor the prompt wants to know. */
static void stdout_open(void)
{
	if (isatty(STDOUT_FILENO)) return;
	FILE *file = fopencookie(NULL, "w", (cookie_io_functions_t){.write = output_write, .seek = output_seek});
	if (file) stdout = file;
}

/* What was printed must have arrived. */
static int stdout_close(int status)
{
	bool failed = ferror(stdout) != 0;
	errno = 0;
	if (fflush(stdout) != 0) failed = true;
	int number = output_errno ? output_errno : errno;
	if (!failed || output_closed()) return status;
	fprintf(stderr, "vigia: cannot write the output%s%s\n", number ? ": " : "", number ? strerror(number) : "");
	return status == EXIT_SUCCESS ? EXIT_FAILURE : status;
}

/* ---- Lua ---- */

/* Is this a folder with our Lua files? */
static bool has_lua(const char *dir)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof path, "%s/vigia/cli/main.lua", dir);
	return dir[0] && n > 0 && (size_t)n < sizeof path && access(path, R_OK) == 0;
}

/* Installed: ../share/lua/5.4 from where the program is. Else the source tree it was built from, else the folder of the
 * installation. */
static const char *find_lua(char *out, size_t size)
{
	char exe[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
	if (len > 0) {
		exe[len] = '\0';
		int n = snprintf(out, size, "%s/../share/lua/5.4", dirname(exe));
		if (n > 0 && (size_t)n < size && has_lua(out)) return out;
	}
	return has_lua(VIGIA_LUA_DIR) ? VIGIA_LUA_DIR : has_lua(VIGIA_LUA_DIR_INSTALLED) ? VIGIA_LUA_DIR_INSTALLED : NULL;
}

struct command {
	int argc;
	char **argv;
};

/* Leaves what the command line's main returns. */
static int run_command(lua_State *L, void *arg)
{
	const struct command *command = arg;
	int argc = command->argc;
	char **argv = command->argv;
	luaL_openlibs(L);

	char dir[PATH_MAX];
	const char *lua_dir = find_lua(dir, sizeof dir);
	if (lua_dir == NULL)
		return luaL_error(
			L, "the Lua files of vigia are missing: install them in ../share/lua/5.4 beside the folder of the program");
	vigia__lua_add_path(L, lua_dir);
	vigia__lua_preload_core(L, luaopen_vigia_core);
	vigia__lua_preload_server(L);

	lua_createtable(L, argc > 0 ? argc - 1 : 0, 1);
	for (int i = 0; i < argc; i++) {
		lua_pushstring(L, argv[i]);
		lua_rawseti(L, -2, i);
	}
	lua_pushvalue(L, -1);
	lua_setglobal(L, "arg");
	vigia__lua_require(L, "vigia.cli.main");
	lua_insert(L, -2);
	lua_call(L, 1, 1);
	return 1;
}

/* The number main returned. Nothing and true are success, anything else is a failure. */
static int status_of(lua_State *L, int idx)
{
	if (lua_isinteger(L, idx)) {
		lua_Integer n = lua_tointeger(L, idx);
		return n >= 0 && n <= 255 ? (int)n : EXIT_FAILURE;
	}
	return lua_isnil(L, idx) || (lua_isboolean(L, idx) && lua_toboolean(L, idx)) ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static char exe[PATH_MAX];
	bool whole = vigia__fd_stand_in() == 0;
	if (argc > 1 && strcmp(argv[1], "--isolated") == 0) { /* started by bind/process.c */
		char dir[PATH_MAX];
		if (!whole) return EXIT_FAILURE;
		return vigia__isolated_main(argc, argv, find_lua(dir, sizeof dir));
	}
	if (readlink("/proc/self/exe", exe, sizeof exe - 1) > 0) vigia__program = exe;
	if (!whole || signals_start() != 0) {
		fprintf(stderr, "vigia: cannot start: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	stdout_open();
	lua_State *L = luaL_newstate();
	if (L == NULL) {
		fputs("vigia: not enough memory\n", stderr);
		return EXIT_FAILURE;
	}
	lua_pushcfunction(L, vigia__lua_traceback);
	struct command command = {argc, argv};
	int status = EXIT_FAILURE;
	if (vigia__lua_pcall(L, run_command, &command, 1, 1) == LUA_OK) status = status_of(L, -1);
	else fprintf(stderr, "vigia: %s\n", lua_isstring(L, -1) ? lua_tostring(L, -1) : "an error that cannot be shown");
	lua_close(L);
	return stdout_close(status);
}
