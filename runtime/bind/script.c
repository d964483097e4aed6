/*
 * script.c - scripts as handlers: what registry:watch makes of a path, and the job that a worker's thread runs
 * (drive/worker.h).
 *
 * The owner's state and the script's share nothing: what the watcher was told (the options, `set`) goes over as the
 * bytes of a msgpack value, once, and is decoded again for each load. A load makes a whole new Lua state. To take over
 * new code is to exchange two states between two events. So old code, its globals and the modules it required are gone
 * with the old state, and code that fails halfway through its loading has touched nothing.
 *
 * Everything that may raise runs under lua_pcall on the script's state. A state is used by the worker's thread only.
 */
#include "script.h"

#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/event.h"
#include "../drive/worker.h"
#include "../core/buf.h"
#include "../core/options.h"
#include "../core/path.h"
#include "../drive/drive.h"
#include "../drive/job.h"
#include "../store/clock.h"
#include "cap.h"
#include "coroutine.h"
#include "decode.h"
#include "filter.h"
#include "handler.h"
#include "interrupt.h"
#include "lua_state.h"
#include "modules.h"
#include "options.h"
#include "output.h"
#include "program.h"
#include "registry_handle.h"
#include "store.h"
#include "store_handle.h"
#include "watch_options.h"
#include "watcher.h"

/* A loaded script. */
struct code {
	lua_State *L;           /* NULL: none. With a source: it went over a cap, and is made again */
	struct vigia__cap *cap; /* NULL: nothing is capped */
	struct vigia__nursery *nursery;
	struct vigia__buf source; /* of a capped script: its state is made again from this */
	struct lua_watcher *watcher;
	struct lua_handler *handler;
	struct vigia_handler c;
	bool has_stop;
	int call; /* reference: a function that calls the script's init or stop */
};

struct identity {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct job {
	struct vigia__worker *worker; /* NULL until its first load */
	struct vigia__interrupt_hook hook;
	bool hooked;
	struct vigia__script_order order;
	struct code now, next;
	struct code ahead; /* of a thread that was started ahead: a state with its libraries */
	/* What states are made of: package.path and package.cpath, each with its NUL. They never change, so that a thread
	 * that was started ahead may read them while the order comes. */
	struct vigia__buf paths;
	lua_CFunction open_module;
	struct vigia__output output; /* what they print */
	uint64_t handled_seq_num; /* the event whose handler was done, and only its output could not be written. 0: none */
	int handled_rc;           /* what its handler returned */
	char *path;               /* of the file that was loaded, or was tried */
	struct identity identity; /* of it, before it was read */
};

/* ---- a Lua state ---- */

/* Under vigia__lua_pcall(). */
static int open_libraries(lua_State *L, void *arg)
{
	struct job *job = arg;
	const char *path = (const char *)job->paths.data;
	luaL_openlibs(L);
	vigia__lua_open_programs(L);
	vigia__output_install(L, &job->output);
	lua_getglobal(L, "package");
	vigia__lua_set_string(L, "path", path);
	vigia__lua_set_string(L, "cpath", path + strlen(path) + 1);
	vigia__modules_install(L);
	vigia__lua_preload_core(L, job->open_module);
	return 0;
}

/* Also under vigia__lua_pcall(). [-0, +1, e] */
static int require_module(lua_State *L, void *arg)
{
	vigia__lua_require(L, "vigia.script");
	return 1;
}

/* ---- the order, as the thread reads it ---- */

/* Push its table. [-0, +1, v] */
static void push_order(lua_State *L, const struct job *job)
{
	struct vigia_error err = {0};
	if (vigia__lua_push_object(L, job->order.bytes.data, job->order.bytes.len, &err) < 0)
		luaL_error(L, "%s", err.message);
}

/* ---- loading, on the script's state ---- */

static bool look_at(const char *path, struct identity *out)
{
	struct stat st;
	memset(out, 0, sizeof *out);
	if (stat(path, &st) < 0) return false;
	*out = (struct identity){st.st_dev, st.st_ino, st.st_size, st.st_mtim, st.st_ctim};
	return true;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_file(const struct identity *a, const struct identity *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && same_time(a->mtime, b->mtime) &&
	       same_time(a->ctime, b->ctime);
}

/* log(level, message), as given to the script: into the owner's log. */
static int log_message(lua_State *L)
{
	static const char *const names[] = {"debug", "info", "warn", "error", NULL};
	int level = luaL_checkoption(L, 1, NULL, names);
	const char *message = luaL_tolstring(L, 2, NULL);
	struct vigia_registry *registry = vigia__worker_registry(vigia__lua_shared(L)->worker);
	registry->log(registry->log_ctx, (enum vigia_log_level)level, message);
	return 0;
}

/* The stack of load_script(): what it makes, what vigia.script's `open` returns, what keep_code() makes. */
enum {
	MODULE = 1,
	ORDER,
	STORE,
	REGISTRY,
	WATCHER,
	SOURCE,
	ID,
	SERIALIZER,
	HANDLE,
	OPTIONS,
	HAS_STOP,
	CALL,
	ON_ERROR,
	HANDLER
};

static const char *path_of(const struct job *job)
{
	return job->path ? job->path : "";
}

struct loading {
	struct job *job;
	struct code *code;
	const struct vigia__buf *source; /* NULL: to be read from the file */
	char *id;
	struct vigia_watch_options *options;
};

/* Find the script's file, and note what it is before it is read. [-0, +0, e] */
static void find_file(lua_State *L, struct job *job)
{
	lua_getfield(L, MODULE, "find");
	lua_getfield(L, ORDER, "source");
	lua_call(L, 1, 1);
	char *path = vigia__strdup(luaL_checkstring(L, -1));
	if (path == NULL) luaL_error(L, "not enough memory");
	vigia__free(job->path);
	job->path = path;
	lua_pop(L, 1);
	look_at(job->path, &job->identity);
}

static void check_lane_key(lua_State *L, const struct vigia_watch_options *options)
{
	struct vigia__path *path = NULL;
	struct vigia_error err = {0};
	if (options->lanes <= 1) return;
	if (lua_getfield(L, OPTIONS, "lane_key") == LUA_TNIL)
		luaL_error(L, "watch options: lane_key: missing, it says which events are handled in order");
	lua_pop(L, 1);
	if (options->lane_key.len > 0 && vigia__path_new(options->lane_key, &path, &err) != VIGIA_OK)
		luaL_error(L, "watch options: lane_key: %s", err.message);
	vigia__path_free(path);
}

/* The handler, and what C refers to in Lua: it all stays as long as the state, whatever the script does. */
static void keep_code(lua_State *L, struct loading *l)
{
	struct code *code = l->code;
	lua_getfield(L, OPTIONS, "on_error");
	code->handler = vigia__lua_handler_new(L, REGISTRY, HANDLE, ON_ERROR);
	vigia__lua_handler_set_watcher(L, HANDLER, WATCHER);
	vigia__lua_keep_value(L, WATCHER, 2, HANDLER);
	vigia__lua_push_where(L, OPTIONS);
	vigia__lua_handler_set_where(L, HANDLER, -1);
	lua_getfield(L, OPTIONS, "lane_key");
	vigia__lua_handler_set_key(L, HANDLER, -1);
	lua_pushvalue(L, OPTIONS);
	vigia__lua_check_watch_options(L, lua_gettop(L), l->options);
	check_lane_key(L, l->options);
	luaL_ref(L, LUA_REGISTRYINDEX); /* the filter's lists, which hold its strings */
	vigia__lua_handler_c(code->handler, &code->c);
	lua_pushvalue(L, HANDLER); /* keeps the watcher, the registry and the store */
	luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pushvalue(L, CALL);
	code->call = luaL_ref(L, LUA_REGISTRYINDEX);
	code->has_stop = lua_toboolean(L, HAS_STOP);
}

static int load_script(lua_State *L, void *arg)
{
	struct loading *l = arg;
	struct job *job = l->job;
	require_module(L, NULL);
	push_order(L, job);
	vigia__lua_shared(L)->script = true;
	vigia__lua_shared(L)->worker = job->worker;
	vigia__lua_shared(L)->output = &job->output;
	struct vigia_registry *own = vigia__worker_registry(job->worker);
	vigia__lua_push_store(L, own->store);
	struct lua_registry *registry = vigia__lua_borrow_registry(L, STORE, own);
	registry->worker = job->worker;
	l->code->watcher = vigia__lua_watcher_new(L, REGISTRY);
	if (l->source == NULL) find_file(L, job);

	lua_getfield(L, MODULE, "open");
	lua_pushstring(L, path_of(job));
	lua_pushvalue(L, ORDER);
	lua_pushvalue(L, STORE);
	lua_pushvalue(L, WATCHER);
	lua_pushcfunction(L, log_message);
	if (l->source) lua_pushlstring(L, (const char *)l->source->data, l->source->len);
	else lua_pushnil(L);
	if (l->code->cap) vigia__cap_guard(L, l->code->cap);
	else vigia__cap_text_only(L);
	lua_call(L, 6, CALL - WATCHER);

	size_t len;
	const char *source = luaL_checklstring(L, SOURCE, &len);
	if (l->code->cap && vigia__buf_add(&l->code->source, source, len) != 0) luaL_error(L, "not enough memory");
	if (!lua_isnil(L, SERIALIZER)) vigia__lua_use_serializer(L, STORE, SERIALIZER);
	if (l->id[0] == '\0') snprintf(l->id, 256, "%s", luaL_checkstring(L, ID));
	keep_code(L, l);
	registry->L = L;
	return 0;
}

/* What went wrong in a script. Want of memory ends with Lua's own words, whatever `require` and others put before them.
 * Where a script raises them, its traceback follows. */
static int failed(const char *message, struct vigia_error *err)
{
	static const char words[] = "not enough memory";
	size_t len = strlen(message), tail = sizeof words - 1;
	bool memory = len >= tail && strcmp(message + len - tail, words) == 0;
	return vigia__error(err, memory ? VIGIA_ENOMEM : VIGIA_ESCRIPT, "%s", message);
}

/* The text of a raised value, without what luaL_argerror puts around a list of wrong options. */
static int raised(lua_State *L, const struct job *job, struct vigia_error *err)
{
	char message[sizeof err->message];
	snprintf(message, sizeof message, "%s",
	         lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error value that is not a string");
	char *options = strstr(message, "(watch options: ");
	if (strncmp(message, "bad argument", 12) == 0 && options) {
		size_t len = strlen(options);
		if (options[len - 1] == ')') options[len - 1] = '\0';
		return vigia__error(err, VIGIA_ESCRIPT, "%.200s: %s", path_of(job), options + 1);
	}
	return failed(message, err);
}

/* Keeps the source, from which the state can be made again. */
static void close_state(struct code *code)
{
	struct vigia__buf source = code->source;
	if (code->cap) vigia__cap_close(code->cap);
	else if (code->L) lua_close(code->L);
	vigia__nursery_free(code->nursery);
	*code = (struct code){.source = source};
}

static void close_code(struct code *code)
{
	close_state(code);
	vigia__buf_deinit(&code->source);
}

/* ---- caps ---- */

/* The script's code is about to run. `fresh`: with a new budget of processor time. */
static int enter_code(struct code *code, bool fresh, struct vigia_error *err)
{
	if (code->cap == NULL) return VIGIA_OK;
	if (fresh) vigia__cap_begin(code->cap);
	return vigia__cap_enter(code->cap, code->L, err);
}

/* It came back, with this outcome. If it went over a cap the state is closed, and that is the outcome. */
static int leave_code(struct code *code, const char *what, int rc, struct vigia_error *err)
{
	if (code->cap == NULL || vigia__cap_leave(code->cap) == VIGIA_CAP_HELD) return rc;
	rc = vigia__cap_error(code->cap, what, err);
	close_state(code);
	return rc;
}

/* ---- the job, on the worker's thread ---- */

/* The program ends: the thread that would stop this watcher may be waiting for its init. */
static void stop_worker(void *ctx)
{
	vigia__worker_stop(ctx);
}

/* A state with its libraries. If it is capped, it is entered. */
static int new_state(struct job *job, const struct vigia__cap_limits *limits, struct code *code,
                     struct vigia_error *err)
{
	code->nursery = vigia__nursery_new();
	if (code->nursery && vigia__cap_wanted(limits)) {
		int rc = vigia__cap_open(limits, code->nursery, &code->cap, &code->L, err);
		if (rc == VIGIA_OK) rc = enter_code(code, true, err);
		if (rc < 0) return rc;
	} else if (code->nursery) {
		code->L = vigia__nursery_state(code->nursery);
	}
	if (code->L && vigia__lua_pcall(code->L, open_libraries, job, 0, 0) == LUA_OK) return VIGIA_OK;
	return leave_code(code, "the script", vigia__error(err, VIGIA_ENOMEM, "no memory for a script's Lua state"), err);
}

/* ---- what it prints ---- */

/* The piece of work came to this end: what it printed must be out, else it has failed. */
static int finish_output(struct job *job, const char *what, int rc, struct vigia_error *err)
{
	char problem[160];
	int number = vigia__output_flush(&job->output);
	if (number == 0) number = job->output.refused;
	if (rc < 0 || number == 0 || vigia__output_gone()) return rc; /* gone: the program ends anyway */
	return vigia__error(err, VIGIA_ESCRIPT, "%s: %s: %s", path_of(job), what,
	                    vigia__output_problem(number, problem, sizeof problem));
}

/* The same for an event. */
static int fail_output(struct job *job, int number, struct vigia_error *err)
{
	char problem[160];
	vigia__error(err, VIGIA_EHANDLER, "%s", vigia__output_problem(number, problem, sizeof problem));
	return vigia__lua_handler_failed(job->now.handler, err);
}

/* A handler came to this end. Where only its output could not be written, the next attempts write that, and do not call
 * it again. */
static int finish_event(struct job *job, uint64_t seq_num, int rc, struct vigia_error *err)
{
	int number = vigia__output_flush(&job->output);
	if (rc < 0 || rc == VIGIA_PENDING) return rc;
	if (number && job->output.refused == 0) {
		job->handled_seq_num = seq_num;
		job->handled_rc = rc;
	}
	if (number == 0) number = job->output.refused;
	return number ? fail_output(job, number, err) : rc;
}

/* Make job->next: of the file, or of a source that was read before. */
static int load_code(struct job *job, const struct vigia__buf *source, char id[256],
                     struct vigia_watch_options *options, struct vigia_error *err)
{
	struct code *code = &job->next;
	close_code(code); /* of a load that came to nothing */
	vigia__output_begin(&job->output);
	int rc = VIGIA_OK;
	if (job->ahead.L) {
		*code = job->ahead;
		job->ahead = (struct code){0};
	} else {
		rc = new_state(job, &job->order.limits, code, err);
	}
	if (rc == VIGIA_OK) {
		struct loading loading = {job, code, source, id, options};
		lua_State *L = code->L;
		int status = vigia__lua_pcall(L, load_script, &loading, 0, 0);
		if (status == LUA_ERRMEM)
			rc = vigia__error(err, VIGIA_ENOMEM, "%s: not enough memory", job->path ? job->path : "a script");
		else if (status != LUA_OK) rc = raised(L, job, err);
		rc = leave_code(code, "loading the script", rc, err);
		if (code->L == NULL) vigia__error_prefix(err, "%s: ", path_of(job));
		rc = finish_output(job, "loading the script failed", rc, err);
	}
	if (rc < 0) close_code(code);
	return rc;
}

static int load_job(void *ctx, struct vigia__worker *worker, char id[256], struct vigia_watch_options *options,
                    struct vigia_error *err)
{
	struct job *job = ctx;
	job->worker = worker;
	job->output.stopping = vigia__worker_stopping(worker);
	job->output.killed = vigia__worker_killed(worker);
	if (!job->hooked) {
		job->hook = (struct vigia__interrupt_hook){.fn = stop_worker, .ctx = worker};
		vigia__interrupt_add(&job->hook);
		job->hooked = true;
	}
	return load_code(job, NULL, id, options, err);
}

static void activate(void *ctx)
{
	struct job *job = ctx;
	struct code code = job->now;
	job->now = job->next;
	job->next = code;
}

static void discard(void *ctx)
{
	struct job *job = ctx;
	close_code(&job->next);
	vigia__output_flush(&job->output); /* of finalizers. What cannot be written waits */
}

struct calling {
	struct code *code;
	const char *name;
	struct vigia_error *err;
	int rc;
};

static int call_function(lua_State *L, void *arg)
{
	struct calling *c = arg;
	lua_rawgeti(L, LUA_REGISTRYINDEX, c->code->call);
	lua_pushstring(L, c->name);
	lua_call(L, 1, 1);
	if (!lua_isnil(L, -1)) c->rc = failed(luaL_tolstring(L, -1, NULL), c->err);
	return 0;
}

static int call_script(struct job *job, const char *name, struct vigia_error *err)
{
	lua_State *L = job->now.L;
	struct calling c = {&job->now, name, err, VIGIA_OK};
	vigia__output_begin(&job->output);
	int rc = enter_code(&job->now, true, err);
	if (rc < 0) return rc;
	if (vigia__lua_pcall(L, call_function, &c, 0, 0) != LUA_OK) c.rc = raised(L, job, err);
	lua_settop(L, 0);
	char what[32];
	snprintf(what, sizeof what, "`%s` failed", name);
	return finish_output(job, what, leave_code(&job->now, name, c.rc, err), err);
}

/* The state went over a cap: another one, of the same source. Its init is still to be run. */
static int renew_state(struct job *job, struct vigia_watcher *watcher, struct vigia_error *err)
{
	char id[256];
	struct vigia_watch_options ignored;
	snprintf(id, sizeof id, "%s", vigia_watcher_id(watcher));
	int rc = load_code(job, &job->now.source, id, &ignored, err);
	if (rc < 0) return rc;
	activate(job);
	close_code(&job->next);
	return VIGIA_OK;
}

static int begin_script(void *ctx, struct vigia_watcher *watcher, struct vigia_error *err)
{
	struct job *job = ctx;
	if (job->now.L == NULL) {
		int rc = renew_state(job, watcher, err);
		if (rc < 0) return rc;
	}
	job->now.watcher->watcher = watcher;
	job->now.watcher->handler = job->now.handler;
	job->now.handler->watcher = watcher;
	return call_script(job, "init", err);
}

/* One at a time in the process: what they print at the end stays whole. One that takes long has had its turn, and the
 * others go on. */
static int end_script(void *ctx, struct vigia_error *err)
{
	enum { TURN_S = 1 };
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
	struct job *job = ctx;
	const struct code *code = &job->now;
	if (code->L == NULL || !code->has_stop) { /* without a state: it went over a cap, there is nothing to end */
		vigia__output_begin(&job->output);
		return finish_output(job, "its output is lost", VIGIA_OK, err);
	}
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += TURN_S;
	bool alone = pthread_mutex_timedlock(&one_at_a_time, &until) == 0;
	int rc = call_script(job, "stop", err);
	if (alone) pthread_mutex_unlock(&one_at_a_time);
	return rc;
}

static bool changed(void *ctx)
{
	struct job *job = ctx;
	struct identity identity;
	/* A file that is gone may be about to be put back: only a file that is there counts as changed. */
	return look_at(path_of(job), &identity) && !same_file(&identity, &job->identity);
}

static int handle_event(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                        int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct job *job = ctx;
	if (job->now.L == NULL) {
		/* A state whose init failed is not to handle events. */
		int rc = begin_script(job, attempt->watcher, err);
		if (rc < 0) {
			/* GCOVR_EXCL_START: an init that went well fails now. */
			close_state(&job->now);
			return rc;
			/* GCOVR_EXCL_STOP */
		}
	}
	bool handled = job->handled_seq_num == event->seq_num && attempt->attempt > 1;
	int rc = enter_code(&job->now, true, err);
	if (rc < 0) return rc;
	vigia__output_begin(&job->output);
	int number = vigia__output_flush(&job->output); /* of the last attempt, or of an event that was given up */
	if (number == 0 || !handled) job->handled_seq_num = 0;
	if (number) {
		job->now.handler->watcher = attempt->watcher;
		job->now.handler->attempt = attempt->attempt;
		rc = fail_output(job, number, err);
	} else if (handled) {
		rc = job->handled_rc;
	} else {
		rc = job->now.c.handle(job->now.c.ctx, event, attempt, resume_mono_ns, err);
		rc = finish_event(job, event->seq_num, rc, err);
	}
	return leave_code(&job->now, "the handler", rc, err);
}

static int resume_event(void *ctx, bool stopping, int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct job *job = ctx;
	int rc = enter_code(&job->now, false, err);
	if (rc < 0) return rc;
	rc = job->now.c.resume(job->now.c.ctx, stopping, resume_mono_ns, err);
	rc = finish_event(job, vigia__watcher_seq_num(job->now.handler->watcher), rc, err);
	return leave_code(&job->now, "the handler", rc, err);
}

static void close_job(void *ctx)
{
	struct job *job = ctx;
	if (job->hooked) vigia__interrupt_remove(&job->hook);
	job->hooked = false; /* the job is its owner's again if nothing came of it */
	close_code(&job->ahead);
	close_code(&job->next);
	close_code(&job->now);
	vigia__output_flush(&job->output);
}

static void free_job(void *ctx)
{
	struct job *job = ctx;
	if (job == NULL) return;
	vigia__buf_deinit(&job->order.bytes);
	vigia__buf_deinit(&job->paths);
	close_code(&job->ahead);
	close_code(&job->next);
	close_code(&job->now);
	vigia__output_deinit(&job->output);
	vigia__free(job->path);
	vigia__free(job);
}

static struct job *new_job(const struct vigia__buf *paths, lua_CFunction open_module)
{
	struct job *job = vigia__calloc(sizeof *job);
	if (job == NULL) return NULL;
	job->open_module = open_module;
	if (vigia__output_init(&job->output) && vigia__buf_add(&job->paths, paths->data, paths->len) == 0) return job;
	free_job(job);
	return NULL;
}

/* ---- the next script's thread, started ahead ---- */

/* A program that starts many scripts starts one after the other, and most of what a start costs is a thread and the
 * state's libraries. So while a script loads its code, the thread that waits for it starts the next one's. */
enum { ENOUGH_IN_A_ROW = 4 };

/* What fails here is tried again with the script itself, and told then. */
static void prepare(void *ctx)
{
	struct job *job = ctx;
	struct code *code = &job->ahead;
	if (new_state(job, &(struct vigia__cap_limits){0}, code, NULL) < 0 ||
	    vigia__lua_pcall(code->L, require_module, NULL, 0, 0) != LUA_OK)
		close_code(code);
}

static void start_ahead(void *ctx)
{
	const struct job *job = ctx;
	const struct vigia__script_order *order = &job->order;
	if (order->pace->in_a_row < ENOUGH_IN_A_ROW || vigia__cap_wanted(&order->limits)) return;
	struct job *next = new_job(&job->paths, job->open_module);
	if (next == NULL) return;
	const struct vigia__job ahead = {.prepare = prepare, .close = close_job, .free = free_job, .ctx = next};
	if (!vigia__worker_start_ahead(order->registry, &ahead))
		free_job(next); /* GCOVR_EXCL_LINE: no thread, no memory. */
}

/* Of the same order. */
static int again(void *ctx, struct vigia__job *out)
{
	const struct job *job = ctx;
	struct vigia__script_order order = job->order;
	order.bytes = (struct vigia__buf){0};
	order.paths = job->paths;
	if (vigia__buf_add(&order.bytes, job->order.bytes.data, job->order.bytes.len) < 0) return VIGIA_ENOMEM;
	int rc = vigia__script_job(&order, out);
	vigia__buf_deinit(&order.bytes); /* empty, if the job has it */
	return rc;
}

static bool is_same(const struct vigia__buf *a, const struct vigia__buf *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* The job of the thread that was started ahead, if it is one for this order. What it knows of the process may be wrong
 * after a while. */
static struct job *take_ahead(const struct vigia__script_order *order)
{
	struct vigia__script_pace *pace = order->pace;
	struct job *ahead = vigia__worker_job_ahead(order->registry);
	int64_t now = vigia__mono_ns();
	pace->in_a_row = now - pace->begun_mono_ns < VIGIA_AHEAD_NS ? pace->in_a_row + 1 : 0;
	pace->begun_mono_ns = now;
	if (ahead == NULL) return NULL;
	if (pace->in_a_row > 0 && !vigia__cap_wanted(&order->limits) && is_same(&ahead->paths, &order->paths)) return ahead;
	vigia__worker_drop_ahead(order->registry);
	return NULL;
}

int vigia__script_job(struct vigia__script_order *order, struct vigia__job *out)
{
	struct job *job = take_ahead(order);
	if (job == NULL) job = new_job(&order->paths, order->open_module);
	if (job == NULL) return VIGIA_ENOMEM;
	job->order = *order;
	order->bytes = job->order.paths = (struct vigia__buf){0};
	*out = (struct vigia__job){
		.load = load_job,
		.meanwhile = start_ahead,
		.activate = activate,
		.discard = discard,
		.begin = begin_script,
		.end = end_script,
		.changed = order->reload ? changed : NULL,
		.handle = handle_event,
		.resume = resume_event,
		.close = close_job,
		.free = free_job,
		.again = again,
		.ctx = job,
		.killable = order->isolated,
	};
	return VIGIA_OK;
}
