/*
 * pg.c - the backend of a log on PostgreSQL: opening, closing, forks, its table of functions.
 *
 * All handles of one location share a backend. A process has three connections to it: the writer's, the reader's, and
 * the one that listens and holds the session's locks.
 */
#include "pg.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "../../core/alloc.h"
#include "../../core/error.h"
#include "../fd.h"
#include "pg_private.h"

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct pg_backend *list; /* all open logs of the process */

static int no_backup(struct vigia__backend *base, const struct vigia__backup *backup, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EUNSUPPORTED,
	                    "copy a log on PostgreSQL with the server's own tools: pg_basebackup, or pg_dump -n %s",
	                    pg_of(base)->location.schema);
}

/* What watchers read comes from memory. */
static int scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch,
                struct vigia_error *err)
{
	return scan->arrival ? vigia__pg_tail_scan(pg_of(base), scan, batch, err) : vigia__pg_scan(base, scan, batch, err);
}

static uint64_t news_of(struct vigia__backend *base)
{
	return atomic_load(&pg_of(base)->news);
}

static const struct vigia__meter *get_meter(struct vigia__backend *base)
{
	struct pg_backend *b = pg_of(base);
	atomic_store_explicit(&b->commit.metered, true, memory_order_relaxed);
	return &b->commit.meter;
}

/* The process gives up what it owns. */
static void leave(struct pg_backend *b)
{
	struct pg_link *link = b->writer.conn ? &b->writer : &b->listener;
	const struct pg_param param = vigia__pg_blob(b->client, sizeof b->client);
	if (link->conn) vigia__pg_call(link, VIGIA_PG_LEAVE, &param, NULL, vigia__pg_until(link), "leave", NULL);
}

/* Also for a partly opened backend. */
static void backend_free(struct pg_backend *b)
{
	vigia__queue_stop(&b->queue);
	vigia__commit_deinit(&b->commit);
	vigia__queue_deinit(&b->queue);
	vigia__pg_listen_stop(b);
	vigia__pg_tail_deinit(b);
	leave(b);
	vigia__pg_link_deinit(&b->writer);
	vigia__pg_link_deinit(&b->reader);
	vigia__pg_link_deinit(&b->cleaner);
	vigia__pg_link_deinit(&b->listener);
	vigia__pg_known_deinit(&b->known);
	for (struct vigia__node *entry; (entry = vigia__table_pop(&b->owned));) vigia__free(entry);
	vigia__table_deinit(&b->owned);
	for (int i = 0; i < VIGIA_PG_STATEMENTS; i++) vigia__free(b->texts[i]);
	vigia__pg_location_deinit(&b->location);
	pthread_mutex_destroy(&b->jobs_mutex);
	pthread_cond_destroy(&b->jobs_done);
	pthread_mutex_destroy(&b->owners_mutex);
	pthread_mutex_destroy(&b->tells_mutex);
	pthread_mutex_destroy(&b->settings_mutex);
	vigia__backend_deinit(&b->base);
	vigia__free(b);
}

static void pg_release(struct vigia__backend *base)
{
	struct pg_backend *b = pg_of(base);
	pthread_mutex_lock(&list_mutex);
	bool last = --b->refs == 0;
	if (last) {
		struct pg_backend **at = &list;
		while (*at != b) at = &(*at)->next;
		*at = b->next;
	}
	pthread_mutex_unlock(&list_mutex);
	if (last) backend_free(b);
}

static const struct vigia__backend pg_interface = {
	.name = "postgresql",
	.can = VIGIA_CAN_PERSIST | VIGIA_CAN_SHARE | VIGIA_CAN_DAMAGE,
	.append = vigia__pg_append,
	.submit = vigia__pg_submit,
	.meter = get_meter,
	.waits = true,
	.scan = scan,
	.forget_scan = vigia__pg_tail_forget_scan,
	.bounds = vigia__pg_bounds,
	.find_time = vigia__pg_find_time,
	.trim = vigia__pg_trim,
	.checkpoint_put = vigia__pg_checkpoint_put,
	.checkpoint_get = vigia__pg_checkpoint_get,
	.checkpoint_delete = vigia__pg_checkpoint_delete,
	.checkpoint_each = vigia__pg_checkpoint_each,
	.own = vigia__pg_own,
	.own_briefly = vigia__pg_own_briefly,
	.disown = vigia__pg_disown,
	.owner = vigia__pg_owner,
	.lost = vigia__pg_lost,
	.wait_owner = vigia__pg_wait_owner,
	.collect = vigia__pg_collect,
	.elect = vigia__pg_elect,
	.resign = vigia__pg_resign,
	.hold = vigia__pg_hold,
	.touch = vigia__pg_touch,
	.rows_of_others = vigia__pg_rows_of_others,
	.settings = vigia__pg_settings,
	.configure = vigia__pg_configure,
	.view = vigia__pg_view,
	.view_at = vigia__pg_view_at,
	.keys_of = vigia__pg_keys_of,
	.gone_at = vigia__pg_gone_at,
	.import = vigia__pg_import,
	.import_mark = vigia__pg_import_mark,
	.transact = vigia__pg_transact,
	.backup = no_backup,
	.check = vigia__pg_check,
	.commits = news_of,
	.stats = vigia__pg_stats,
	.release = pg_release,
};

static struct pg_backend *backend_new(void)
{
	struct pg_backend *b = vigia__calloc(sizeof *b);
	if (b == NULL) return NULL;
	vigia__backend_init(&b->base, &pg_interface);
	vigia__backend_unshared(&b->base, &b->own);
	b->base.tells = &vigia__pg_tells;
	vigia__queue_init(&b->queue, &b->base);
	vigia__commit_init(&b->commit, &vigia__pg_commit_ops, b);
	vigia__pg_known_init(&b->known);
	vigia__pg_link_init(&b->writer, &b->location, &b->known, b->texts);
	vigia__pg_link_init(&b->reader, &b->location, &b->known, b->texts);
	vigia__pg_link_init(&b->cleaner, &b->location, &b->known, b->texts);
	vigia__pg_link_init(&b->listener, &b->location, &b->known, b->texts);
	vigia__pg_tail_init(b);
	pthread_mutex_init(&b->jobs_mutex, NULL);
	pthread_cond_init(&b->jobs_done, NULL);
	pthread_mutex_init(&b->owners_mutex, NULL);
	pthread_mutex_init(&b->tells_mutex, NULL);
	pthread_mutex_init(&b->settings_mutex, NULL);
	b->event_fd = -1;
	b->fork_generation = vigia__fork_generation();
	if (gethostname(b->host, sizeof b->host) != 0) b->host[0] = '\0';
	b->host[sizeof b->host - 1] = '\0';
	b->base.host = b->host;
	return b;
}

static int backend_open(struct pg_backend *b, const struct vigia_store_options *options, struct vigia_error *err)
{
	char schema[VIGIA_PG_NAME_MAX + 16];
	snprintf(schema, sizeof schema, "\"%s\"", b->location.schema);
	if (vigia__pg_statements_make(b->texts, schema) < 0)
		return vigia__error(err, VIGIA_ENOMEM, "no memory to open a store");
	if (getrandom(b->client, sizeof b->client, 0) != sizeof b->client)
		return vigia__error_caused(err, VIGIA_EIO, strerror(errno),
		                           "cannot get random bytes for the id of this process");
	int rc = vigia__pg_load(b, options, err);
	return rc == VIGIA_OK ? vigia__pg_listen_start(b, err) : rc;
}

static int check_options(struct pg_backend *b, const struct vigia_store_options *options, struct vigia_error *err)
{
	struct vigia__settings settings;
	struct vigia__problems problems = {0};
	vigia__pg_settings(&b->base, &settings, NULL);
	vigia__settings_conflicts(&settings, options, &problems);
	int rc = vigia__problems_end(&problems, b->location.shown, err);
	if (rc < 0 && err) err->code = VIGIA_ECONFLICT;
	return rc < 0 ? VIGIA_ECONFLICT : VIGIA_OK;
}

/* ---- forks ---- */

static void before_fork(void)
{
	pthread_mutex_lock(&list_mutex);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&list_mutex);
}

/* The connections are the parent's: a child that kept them open would keep the parent's locks. */
static void after_fork_child(void)
{
	for (struct pg_backend *b = list; b; b = b->next) {
		vigia__pg_link_forked(&b->writer);
		vigia__pg_link_forked(&b->reader);
		vigia__pg_link_forked(&b->cleaner);
		vigia__pg_link_forked(&b->listener);
		if (b->event_fd >= 0) close(b->event_fd);
		b->event_fd = -1;
	}
	list = NULL;
	pthread_mutex_unlock(&list_mutex);
}

static void guard_forks(void)
{
	vigia__fork_generation();
	vigia__fd_guard();
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* ---- open ---- */

static struct pg_backend *find(const char *location)
{
	struct pg_backend *b = list;
	while (b && strcmp(b->location.text, location) != 0) b = b->next;
	if (b) b->refs++;
	return b;
}

/* The server is asked without the list's lock: another thread may open the same meanwhile, whose backend then counts.
 */
static int pg_open(const char *location, const struct vigia_store_options *options, struct vigia__backend **out,
                   struct vigia_error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, guard_forks);
	struct vigia_error why = {0};
	if (err == NULL) err = &why;
	pthread_mutex_lock(&list_mutex);
	struct pg_backend *b = find(location);
	pthread_mutex_unlock(&list_mutex);
	int rc = VIGIA_OK;
	if (b == NULL) {
		b = backend_new();
		if (b == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory to open a store");
		rc = vigia__pg_location_init(&b->location, location, err);
		if (rc == VIGIA_OK) rc = backend_open(b, options, err);
		if (rc < 0) {
			backend_free(b);
			return rc;
		}
		pthread_mutex_lock(&list_mutex);
		struct pg_backend *other = find(location);
		if (other == NULL) {
			b->refs = 1;
			b->next = list;
			list = b;
		}
		pthread_mutex_unlock(&list_mutex);
		if (other) {
			backend_free(b);
			b = other;
		}
	}
	rc = check_options(b, options, err);
	if (rc < 0) pg_release(&b->base);
	else *out = &b->base;
	return rc;
}

__attribute__((visibility("default"))) const struct vigia__module vigia_module = {
	.backend_init = vigia__backend_init, .open = pg_open, .script = vigia__pg_script};
