/*
 * lmdb.c - the LMDB backend: open, close, the table of functions, statistics, and healing after a killed process.
 *
 * Opening a file twice in one process, or through two names, makes LMDB corrupt it. Hence the list of open files by
 * device and inode, the real paths, and the refusal of a second hard link.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "copies.h"
#include "fd.h"
#include "lmdb_private.h"

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct lmdb_backend *list; /* all open files of the process */

static int append_and_wait(struct vigia__backend *base, struct vigia__append *request, struct vigia_error *err)
{
	struct vigia__ticket ticket = {.kind = VIGIA_TICKET_APPEND, .append = request, .err = err};
	return vigia__commit_run(&((struct lmdb_backend *)base)->commit, &ticket);
}

static const struct vigia__meter *get_meter(struct vigia__backend *base)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	atomic_store_explicit(&b->commit.metered, true, memory_order_relaxed);
	return &b->commit.meter;
}

static int submit_append(struct vigia__backend *base, struct vigia__ticket *ticket)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	int rc = VIGIA_OK;
	if (ticket->kind == VIGIA_TICKET_TRANSACTION) rc = vigia__lmdb_kv_make(b, ticket->transact->map, ticket->err);
	return rc == VIGIA_OK ? vigia__commit_submit(&b->commit, ticket) : rc;
}

static int sync_now(struct vigia__backend *base, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	vigia__lmdb_map_enter(b);
	int rc = b->env ? mdb_env_sync(b->env, 1) : MDB_PANIC;
	vigia__lmdb_map_leave(b);
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "sync", err);
}

static uint64_t last_commit(struct lmdb_backend *b)
{
	MDB_envinfo info;
	if (atomic_load_explicit(&b->overwritten, memory_order_relaxed)) return 0; /* the pages may be gone */
	vigia__lmdb_map_enter(b);
	uint64_t last = b->env && mdb_env_info(b->env, &info) == 0 ? info.me_last_txnid : 0;
	vigia__lmdb_map_leave(b);
	return last;
}

/* The journal's records change no page of LMDB. */
static uint64_t lmdb_commits(struct vigia__backend *base)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct vigia__journal_words *journal = vigia__side_journal(&b->side);
	return last_commit(b) + (journal ? atomic_load(&journal->published) : 0);
}

/* Is there a commit that readers cannot see? */
static bool hides(struct lmdb_backend *b)
{
	struct reader *reader;
	if (vigia__lmdb_read_begin(b, &reader, NULL) < 0) return false;
	uint64_t visible = mdb_txn_id(reader->txn);
	vigia__lmdb_read_end(b, reader);
	return last_commit(b) > visible || vigia__journal_hides(b);
}

/* Readers use a number in the lock file, which a writer sets after it wrote the meta page. A writer that is killed
 * between the two leaves a commit that no reader sees until the next writer finds the lock abandoned. This becomes that
 * writer. A commit that is being published looks the same while its sync lasts, so first wait a moment. */
static bool heal_hidden_commit(struct vigia__backend *base)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	MDB_txn *txn;
	if (b->readonly || !hides(b)) return false;
	for (int i = 0; i < 50; i++) {
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
		if (!hides(b)) return true;
	}
	if (vigia__journal_hides(b)) return atomic_load(&b->writes) && vigia__journal_settle(b, NULL) == VIGIA_OK;
	if (vigia__lmdb_write_begin(b, &txn, NULL) < 0) return false;
	vigia__lmdb_write_abort(b, txn);
	return true;
}

static int lmdb_stats(struct vigia__backend *base, struct vigia__backend_stats *out, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	*out = (struct vigia__backend_stats){.created_at_ns = b->created_at_ns, .format = b->format};
	for (int i = 0; i < 16; i++) snprintf(out->file_id + 2 * i, 3, "%02x", b->file_id[i]);
	int rc = vigia__lmdb_bounds(base, &out->oldest, &out->latest, err);
	if (rc == VIGIA_OK) rc = vigia__lmdb_settings(base, &out->settings, err);
	struct vigia__import_mark mark;
	if (rc == VIGIA_OK) rc = vigia__lmdb_import_mark(base, &mark, err);
	if (rc < 0) return rc;
	out->importing = rc == VIGIA_OK;
	struct reader *reader;
	rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	MDB_envinfo info;
	MDB_stat st;
	mdb_filehandle_t fd;
	struct stat file;
	const struct vigia__journal_words *journal = vigia__side_journal(&b->side);
	if (journal) {
		out->journal_appends = atomic_load(&journal->records);
		out->journal_drains = atomic_load(&journal->drains);
	}
	if (mdb_stat(reader->txn, b->events, &st) == 0) out->events = st.ms_entries;
	if (vigia__tail_begin(b, reader, NULL) == 0) {
		if (!vigia__tail_is_empty(b)) out->events += vigia__tail_last(b) - vigia__tail_first(b) + 1;
		vigia__tail_leave(b);
	}
	vigia__lmdb_state_counts(b, reader->txn, out);
	vigia__lmdb_timers_count(b, reader->txn, &out->timers);
	if (mdb_env_info(b->env, &info) == 0) {
		out->map_bytes = info.me_mapsize;
		out->used_bytes = (uint64_t)(info.me_last_pgno + 1) * b->page_bytes;
		out->readers = info.me_numreaders;
		out->commits = info.me_last_txnid;
	}
	if (mdb_env_get_fd(b->env, &fd) == 0 && fstat(fd, &file) == 0) out->file_bytes = (uint64_t)file.st_size;
	vigia__lmdb_read_end(b, reader);
	return VIGIA_OK;
}

static int lmdb_own(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	return vigia__owner_take(&((struct lmdb_backend *)base)->owners, id, err);
}

static int own_briefly(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	return vigia__owner_take_briefly(&((struct lmdb_backend *)base)->owners, id, err);
}

static int wait_owner(struct vigia__backend *base, const char *id, int cancel_fd, struct vigia_error *err)
{
	return vigia__owner_wait(&((struct lmdb_backend *)base)->owners, id, cancel_fd, vigia__lmdb_there, base, err);
}

static void lmdb_disown(struct vigia__backend *base, const char *id)
{
	vigia__owner_release(&((struct lmdb_backend *)base)->owners, id);
}

static bool lmdb_owner(struct vigia__backend *base, const char *id, struct vigia__runner *out)
{
	*out = (struct vigia__runner){0};
	return vigia__owner_find(&((struct lmdb_backend *)base)->owners, id, &out->pid);
}

static bool elect(struct vigia__backend *base, enum vigia__office office)
{
	return vigia__side_elect(&((struct lmdb_backend *)base)->side, office);
}

static void resign(struct vigia__backend *base, enum vigia__office office)
{
	vigia__side_resign(&((struct lmdb_backend *)base)->side, office);
}

/* Also for a partly opened backend. */
static void backend_free(struct lmdb_backend *b)
{
	vigia__queue_stop(&b->queue);
	vigia__commit_deinit(&b->commit); /* first, because its helper may still have to publish a finished commit */
	vigia__queue_deinit(&b->queue);
	vigia__lmdb_env_close(b);
	vigia__block_builder_free(b->index_notes.builder);
	vigia__tail_deinit(&b->tail);
	vigia__buf_deinit(&b->journal.record);
	vigia__owners_deinit(&b->owners);
	vigia__side_close(&b->side);
	vigia__copies_leave();
	pthread_mutex_destroy(&b->readers_mutex);
	pthread_mutex_destroy(&b->look_mutex);
	pthread_mutex_destroy(&b->settings_mutex);
	pthread_mutex_destroy(&b->make_mutex);
	pthread_mutex_destroy(&b->dbi_mutex);
	vigia__backend_deinit(&b->base);
	pthread_rwlock_destroy(&b->map_lock);
	free(b->path);
	vigia__free(b);
}

static void lmdb_release(struct vigia__backend *base)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	pthread_mutex_lock(&list_mutex);
	if (--b->refs == 0) {
		vigia__journal_close(b);
		struct lmdb_backend **at = &list;
		while (*at != b) at = &(*at)->next;
		*at = b->next;
		backend_free(b); /* under the mutex, so that the file is not opened while it closes */
	}
	pthread_mutex_unlock(&list_mutex);
}

static const struct vigia__backend lmdb_interface = {
	.name = "lmdb",
	.can = VIGIA_CAN_PERSIST | VIGIA_CAN_SHARE | VIGIA_CAN_DAMAGE | VIGIA_CAN_FILE,
	.append = append_and_wait,
	.submit = submit_append,
	.meter = get_meter,
	.scan = vigia__lmdb_scan,
	.bounds = vigia__lmdb_bounds,
	.find_time = vigia__lmdb_find_time,
	.trim = vigia__lmdb_trim,
	.checkpoint_put = vigia__lmdb_checkpoint_put,
	.checkpoint_get = vigia__lmdb_checkpoint_get,
	.checkpoint_delete = vigia__lmdb_checkpoint_delete,
	.checkpoint_each = vigia__lmdb_checkpoint_each,
	.own = lmdb_own,
	.own_briefly = own_briefly,
	.disown = lmdb_disown,
	.owner = lmdb_owner,
	.wait_owner = wait_owner,
	.collect = vigia__lmdb_collect,
	.index_some = vigia__lmdb_index_some,
	.explain = vigia__lmdb_explain,
	.elect = elect,
	.resign = resign,
	.hold = vigia__lmdb_hold,
	.view = vigia__lmdb_view,
	.view_at = vigia__lmdb_view_at,
	.transact = vigia__lmdb_transact,
	.touch = vigia__lmdb_touch,
	.settings = vigia__lmdb_settings,
	.configure = vigia__lmdb_configure,
	.sync = sync_now,
	.keys_of = vigia__lmdb_keys_of,
	.gone_at = vigia__lmdb_gone_at,
	.import = vigia__lmdb_import,
	.import_mark = vigia__lmdb_import_mark,
	.backup = vigia__lmdb_backup,
	.check = vigia__lmdb_check,
	.commits = lmdb_commits,
	.there = vigia__lmdb_there,
	.heal = heal_hidden_commit,
	.stats = lmdb_stats,
	.release = lmdb_release,
};

/* Check that no process uses another file under this name. A file that another process creates between the two looks,
 * or fills if it was empty, is not another one. */
static int check_use(const char *path, struct vigia_error *err)
{
	struct stat st;
	int rc;
	bool there, empty;
	do {
		there = stat(path, &st) == 0;
		empty = there && st.st_size == 0;
		rc = vigia__side_check(path, there ? st.st_dev : 0, there ? st.st_ino : 0, empty, err);
	} while (rc < 0 && (!there || empty) && stat(path, &st) == 0 && !(empty && st.st_size == 0));
	return rc;
}

/* Open a file that is not open in this process. Takes ownership of `path`. */
static int backend_open(char *path, bool exists, const struct vigia_store_options *options, struct lmdb_backend **out,
                        struct vigia_error *err)
{
	int rc = vigia__copies_enter(err);
	if (rc < 0) {
		free(path);
		return rc;
	}
	struct lmdb_backend *b = vigia__calloc(sizeof *b);
	if (b == NULL) {
		vigia__copies_leave();
		free(path);
		return vigia__error(err, VIGIA_ENOMEM, "no memory to open a store");
	}
	vigia__backend_init(&b->base, &lmdb_interface);
	b->path = path;
	b->side.fd = -1;
	vigia__owners_init(&b->owners, &b->side);
	atomic_init(&b->lost_beside, -1);
	b->lock_fd = -1;
	b->index_notes.sealed = UINT64_MAX;
	b->fork_generation = vigia__fork_generation();
	vigia__tail_init(&b->tail);
	vigia__queue_init(&b->queue, &b->base);
	vigia__commit_init(&b->commit, &vigia__lmdb_commit_ops, b);
	pthread_mutex_init(&b->readers_mutex, NULL);
	pthread_mutex_init(&b->look_mutex, NULL);
	pthread_mutex_init(&b->settings_mutex, NULL);
	pthread_mutex_init(&b->make_mutex, NULL);
	pthread_mutex_init(&b->dbi_mutex, NULL);
	b->base.settings_word = &b->local_word;
	b->base.elder = &b->local_elder;
	b->base.outcomes = &b->local_outcomes;
	b->base.timers.word = &b->local_timers_word;
	b->map_asked = (size_t)options->map_size_bytes;
	atomic_init(&b->writes, !options->readonly);
	vigia__lmdb_map_init(b);

	if (exists && access(path, R_OK | W_OK) != 0) {
		if (errno != EACCES && errno != EPERM && errno != EROFS) {
			rc = vigia__lmdb_cannot_look(path, errno, err);
		} else if (!options->readonly) {
			rc = vigia__error_caused(err, VIGIA_EPERM, strerror(errno), "no permission to write the store '%s'", path);
		}
		b->readonly = true;
	}
	if (rc == VIGIA_OK) rc = check_use(path, err);
	if (rc == VIGIA_OK) {
		bool may_make = !b->readonly && !options->readonly && options->create;
		int turn = vigia__lmdb_turn_begin(path, may_make);
		rc = vigia__lmdb_meta_finish(path, may_make, err);
		if (rc == VIGIA_OK) rc = vigia__lmdb_start(b, err);
		vigia__lmdb_turn_end(turn);
	}
	if (rc == VIGIA_OK) rc = vigia__lmdb_there_at_open(b, err);
	if (rc == VIGIA_OK) {
		vigia__lmdb_free_readers(b);
		rc = vigia__lmdb_format_load(b, options, err);
		if (rc == VIGIA_OK) rc = vigia__lmdb_upgrade(b, err);
		if (rc == VIGIA_NONE) rc = vigia__lmdb_format_load(b, options, err);
	}
	if (rc == VIGIA_OK) {
		vigia__lmdb_settings_adopt(b, NULL);
		rc = vigia__side_open(&b->side, b->path, b->file_id, b->dev, b->ino, b->format > 1, err);
		if (rc == VIGIA_OK) {
			b->base.lock_fd = b->side.fd;
			b->base.wake = vigia__side_wake(&b->side);
			b->base.settings_word = vigia__side_settings(&b->side);
			b->base.elder = vigia__side_elder(&b->side);
			b->base.outcomes = vigia__side_outcomes(&b->side);
			b->base.wants = vigia__side_wants(&b->side);
			b->base.letter_requests = vigia__side_letter_requests(&b->side);
			b->base.steer_requests = vigia__side_steer_requests(&b->side);
			b->base.collect_call = vigia__side_collect_call(&b->side);
			b->base.timers.word = vigia__side_timers(&b->side);
			vigia__side_share_rows(&b->side, &b->base.rows);
			b->settings_seen = atomic_load(b->base.settings_word) - 1; /* the first write reads them again */
		} else if (rc == VIGIA_EPERM && options->readonly) {
			/* May only read: no wake-ups reach this process, so waiters rely on the check of the commit number once a
			 * second. */
			b->wake = (struct vigia__wake){b->local_words, VIGIA_WAKE_FEW};
			b->base.wake = &b->wake;
			rc = VIGIA_OK;
		}
		if (rc == VIGIA_OK) rc = vigia__journal_open(b, err);
	}
	if (rc < 0) {
		backend_free(b);
		return rc;
	}
	*out = b;
	return VIGIA_OK;
}

static void lmdb_before_fork(void)
{
	pthread_mutex_lock(&list_mutex);
}

static void lmdb_after_fork_parent(void)
{
	pthread_mutex_unlock(&list_mutex);
}

/* The environments are the parent's: forget them without closing. But close the descriptors that would keep the
 * parent's owner locks alive. */
static void lmdb_after_fork_child(void)
{
	mdb_filehandle_t fd;
	for (struct lmdb_backend *b = list; b; b = b->next) {
		vigia__side_forked(&b->side);
		if (b->env && mdb_env_get_fd(b->env, &fd) == 0) close(fd);
	}
	list = NULL;
	vigia__copies_forked();
	pthread_mutex_unlock(&list_mutex);
}

static void lmdb_guard_forks(void)
{
	vigia__fork_generation(); /* its handler runs first */
	vigia__fd_guard();        /* its lock is taken under the list's */
	pthread_atfork(lmdb_before_fork, lmdb_after_fork_parent, lmdb_after_fork_child);
}

int vigia__lmdb_open(const char *path, const struct vigia_store_options *options, struct vigia__backend **out,
                     struct vigia_error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, lmdb_guard_forks);
	struct vigia_error why;
	if (err == NULL) err = &why;
	char *real = vigia__lmdb_path(path, options->create && !options->readonly, err);
	if (real == NULL) return err->code;

	pthread_mutex_lock(&list_mutex);
	struct stat st;
	bool exists;
	struct lmdb_backend *b = NULL;
	int rc = vigia__lmdb_path_check(real, options, &st, &exists, err);
	if (rc == VIGIA_OK && exists)
		for (b = list; b; b = b->next)
			if (b->dev == st.st_dev && b->ino == st.st_ino) break;
	if (rc == VIGIA_OK && b) {
		struct vigia__settings settings;
		rc = vigia__lmdb_settings(&b->base, &settings, err);
		if (rc == VIGIA_OK) rc = vigia__lmdb_format_conflicts(b, &settings, options, err);
		if (rc == VIGIA_OK && b->readonly && !options->readonly)
			rc = vigia__error(err, VIGIA_EPERM, "no permission to write the store '%s'", real);
		if (rc == VIGIA_OK && !options->readonly) atomic_store(&b->writes, true);
		free(real);
	} else if (rc == VIGIA_OK) {
		rc = backend_open(real, exists, options, &b, err);
		if (rc == VIGIA_OK) {
			b->next = list;
			list = b;
		}
	} else {
		free(real);
	}
	if (rc == VIGIA_OK) {
		b->refs++;
		*out = &b->base;
	}
	pthread_mutex_unlock(&list_mutex);
	return rc;
}
