/*
 * memory.c - a store without a file: the backend to read first, and the model that tests compare others with.
 *
 * It belongs to one open handle and is freed with it. One mutex protects everything. A call that changes something
 * first allocates all the memory it needs, and then cannot fail: all or nothing. Everything with a name is found by its
 * hash.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/event.h"
#include "collect.h"
#include "memory_private.h"

/* ---- commits ---- */

static int no_room(const struct vigia__append *request, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOMEM, "no memory for %zu events of %zu bytes", request->count, request->len);
}

static int append_locked(struct memory_backend *b, void *arg, struct vigia__wake_set *types, struct vigia_error *err)
{
	struct vigia__append *request = arg;
	vigia__memory_look_up(b, request);
	if (request->existed) return VIGIA_OK;
	if (request->if_last_given && request->if_last != b->latest) return vigia__append_conflict(request, b->latest, err);
	struct key *key;
	if (vigia__memory_make_room(b, request, 0, &key) < 0) return no_room(request, err);
	vigia__memory_put_events(b, request, key, types);
	return VIGIA_OK;
}

/* A commit with what was queued, and then `rest`, which may put the checkpoint of watcher_id (NULL: none). */
static int memory_commit(struct memory_backend *b,
                         int (*rest)(struct memory_backend *b, void *arg, struct vigia__wake_set *types,
                                     struct vigia_error *err),
                         void *arg, const char *watcher_id, struct vigia_error *err)
{
	struct vigia__append queued;
	struct vigia__wake_set types;
	vigia__wake_set_clear(&types);
	struct key *no_key;
	int rc = vigia__memory_commit_begin(b, watcher_id, err);
	if (rc < 0) return rc;
	/* A commit in memory fails before it begins, so none is ever in doubt. */
	if (vigia__queue_commit_begin(&b->queue, &queued, NULL, NULL) < 0 ||
	    vigia__memory_make_room(b, &queued, 0, &no_key) < 0)
		rc = no_room(&queued, err);
	else vigia__memory_put_events(b, &queued, no_key, &types);
	vigia__queue_commit_end(&b->queue, &queued, rc);
	if (rc == VIGIA_OK) rc = rest(b, arg, &types, err);
	uint64_t latest = b->latest;
	if (rc == VIGIA_ENOMEM && !vigia__wake_set_any(&types)) vigia__memory_commit_cancel(b);
	else vigia__memory_commit_end(b);
	if (vigia__wake_set_any(&types)) vigia__wake_publish(&b->own.wake, &types);
	if (vigia__wake_set_any(&types)) vigia__collect_call(&b->base.collect_call, latest);
	return rc;
}

static int memory_append(struct vigia__backend *base, struct vigia__append *request, struct vigia_error *err)
{
	return memory_commit((struct memory_backend *)base, append_locked, request, NULL, err);
}

/* The keys of the appends of a transaction, while it is made. NULL: none, or known. */
struct room {
	struct key **keys;
	size_t made;   /* of the appends */
	size_t events; /* of these */
};

/* Allocate all its events and keys. 0 or -1. */
static int make_all_room(struct memory_backend *b, const struct vigia__transact *t, struct room *room)
{
	room->keys = vigia__calloc((t->appends_count + 1) * sizeof *room->keys);
	if (room->keys == NULL) return -1;
	for (; room->made < t->appends_count; room->made++) {
		struct vigia__append *append = &t->appends[room->made];
		vigia__memory_look_up(b, append);
		if (append->existed) continue;
		if (vigia__memory_make_room(b, append, room->events, &room->keys[room->made]) < 0) return -1;
		room->events += append->count;
	}
	return 0;
}

static void free_all_room(struct memory_backend *b, const struct vigia__transact *t, struct room *room)
{
	size_t skip = 0;
	for (size_t i = 0; i < room->made; i++) {
		if (t->appends[i].existed) continue;
		vigia__memory_free_room(b, &t->appends[i], skip, room->keys[i]);
		skip += t->appends[i].count;
	}
	vigia__free(room->keys);
}

static int transact_locked(struct memory_backend *b, void *arg, struct vigia__wake_set *types, struct vigia_error *err)
{
	struct vigia__transact *t = arg;
	struct memory_kv *changes;
	struct room room = {0};
	if (t->asked) vigia__memory_look_up(b, t->asked);
	int rc = vigia__memory_state_change(b, t->map, vigia__transact_apply, t, &changes, err);
	if (rc != VIGIA_OK) return rc;
	if (make_all_room(b, t, &room) < 0) {
		free_all_room(b, t, &room);
		vigia__memory_state_end(changes, true);
		return vigia__error(err, VIGIA_ENOMEM, "no memory for a transaction");
	}
	for (size_t i = 0; i < t->appends_count; i++) {
		struct vigia__append *append = &t->appends[i];
		if (!append->existed) vigia__memory_put_events(b, append, room.keys[i], types);
		else vigia__memory_look_up(b, append);
	}
	if (t->watcher_id) vigia__memory_checkpoint_in(b, t->watcher_id, t->moves ? *t->moves : t->checkpoint);
	vigia__memory_state_end(changes, false);
	vigia__free(room.keys);
	return VIGIA_OK;
}

static int memory_transact(struct vigia__backend *base, struct vigia__transact *transact, struct vigia_error *err)
{
	return memory_commit((struct memory_backend *)base, transact_locked, transact, transact->watcher_id, err);
}

static int memory_trim(struct vigia__backend *base, uint64_t upto, uint64_t *removed, struct vigia_error *err)
{
	struct memory_backend *b = (struct memory_backend *)base;
	int rc = vigia__memory_commit_begin(b, NULL, err);
	if (rc < 0) return rc;
	*removed = vigia__memory_remove_prefix(b, upto, 0, 0, SIZE_MAX);
	vigia__memory_commit_end(b);
	return VIGIA_OK;
}

/* ---- garbage collection ---- */

/* Write a mark if one is due. Returns the last number that is older than the age. */
static uint64_t old_of(struct memory_backend *b, int64_t age_ns)
{
	struct vigia__mark mark = {.seq_num = b->latest};
	b->base.clock(&mark.clock);
	mark.at_ns = vigia__memory_time(b);
	const struct vigia__mark *last = b->marks_count > 0 ? &b->marks[b->marks_count - 1] : NULL;
	void *items = b->marks;
	bool due = vigia__retention_mark_due(last, b->latest, mark.at_ns, age_ns);
	if (due && vigia__memory_grow(&items, &b->marks_cap, b->marks_count, 1, sizeof mark) == 0) {
		b->marks = items;
		b->marks[b->marks_count++] = mark;
	}
	uint64_t old = 0;
	size_t useless = 0;
	for (int64_t now = vigia__memory_time(b);
	     useless < b->marks_count && vigia__retention_old(&b->marks[useless], now, age_ns); useless++)
		if (b->marks[useless].seq_num > old) old = b->marks[useless].seq_num;
	if (useless > 1) {
		b->marks_count -= useless - 1;
		memmove(b->marks, b->marks + useless - 1, b->marks_count * sizeof *b->marks);
	}
	return old;
}

static int memory_collect(struct vigia__backend *base, struct vigia__collect *slice, struct vigia_error *err)
{
	struct memory_backend *b = (struct memory_backend *)base;
	int rc = vigia__memory_commit_begin(b, NULL, err);
	if (rc < 0) return rc;
	const struct vigia_store_options *s = &b->settings.values;
	struct vigia__holders holders = {0};
	uint64_t old = old_of(b, s->gc_age_threshold_ns);
	int64_t now = vigia__memory_time(b);
	for (struct vigia__node *entry = NULL; (entry = vigia__table_each(&b->checkpoints, entry));) {
		struct checkpoint *at = (struct checkpoint *)entry;
		if (slice->first && s->checkpoint_ttl_ns > 0 && vigia__memory_find(&b->owned, at->named.id))
			at->touched_at_ns = now;
		bool expired = vigia__retention_expired(at->touched_at_ns, now, s->checkpoint_ttl_ns);
		vigia__holders_add(&holders, at->named.id, strlen(at->named.id), at->seq_num, !expired);
	}
	struct vigia__verdict *verdict = &slice->verdict;
	vigia__retention_decide(s, &holders, vigia__memory_oldest(b), b->latest, old, verdict);
	slice->removed = vigia__memory_remove_prefix(b, verdict->upto, verdict->bytes_upto, (uint64_t)s->max_bytes,
	                                             vigia__collect_share(slice, b->latest));
	slice->latest = b->latest;
	slice->oldest = vigia__memory_oldest(b);
	bool heavy = s->max_bytes > 0 && b->bytes > (uint64_t)s->max_bytes;
	slice->more = b->count > 0 && (slice->oldest <= verdict->upto || (heavy && slice->oldest <= verdict->bytes_upto));
	if (heavy && !slice->more && verdict->reason == VIGIA_GC_DONE) verdict->reason = VIGIA_GC_HELD;
	vigia__memory_commit_end(b);
	return VIGIA_OK;
}

/* No other process shares it. */
static bool memory_elect(struct vigia__backend *base, enum vigia__office office)
{
	return true;
}

static void memory_resign(struct vigia__backend *base, enum vigia__office office)
{
}

/* ---- owners, numbers ---- */

enum { LOOK_NS = 100000 }; /* while another one owns an id for a moment */

/* As owner.h has it, for this process alone. */
static int own(struct vigia__backend *base, const char *id, bool briefly, struct vigia_error *err)
{
	struct owned *owned = vigia__calloc(sizeof *owned);
	if (owned == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for watcher '%s'", VIGIA_SHOWN(id));
	owned->briefly = briefly;
	for (bool starting = false;;) {
		struct memory_backend *b = vigia__memory_enter(base);
		const struct owned *other = (struct owned *)vigia__memory_find(&b->owned, id);
		bool waits = other ? other->briefly : briefly && b->starting > 0, taken = other == NULL && !waits;
		if (taken) vigia__memory_add(&b->owned, &owned->named, id);
		if (!briefly && starting != waits) {
			starting = waits;
			b->starting += starting ? 1 : -1;
		}
		vigia__memory_leave(b);
		if (taken) return VIGIA_OK;
		if (!waits) break;
		nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
	}
	vigia__free(owned);
	return vigia__error_watcher(err, id,
	                            vigia__error(err, VIGIA_EOWNED,
	                                         "watcher '%s' is run by another registry of this process (pid %ld)",
	                                         VIGIA_SHOWN(id), (long)getpid()));
}

static int memory_own(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	return own(base, id, false, err);
}

static int memory_own_briefly(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	return own(base, id, true, err);
}

static void memory_disown(struct vigia__backend *base, const char *id)
{
	struct memory_backend *b = vigia__memory_enter(base);
	struct named *owned = vigia__memory_find(&b->owned, id);
	if (owned) vigia__table_remove(&b->owned, &owned->entry);
	vigia__memory_leave(b);
	vigia__free(owned);
}

static bool memory_owner(struct vigia__backend *base, const char *id, struct vigia__runner *out)
{
	struct memory_backend *b = vigia__memory_enter(base);
	const struct owned *one = (struct owned *)vigia__memory_find(&b->owned, id);
	bool owned = one && !one->briefly;
	vigia__memory_leave(b);
	*out = (struct vigia__runner){.pid = (int32_t)getpid()};
	return owned;
}

static uint64_t memory_commits(struct vigia__backend *base)
{
	return atomic_load(&((struct memory_backend *)base)->commits);
}

static int memory_stats(struct vigia__backend *base, struct vigia__backend_stats *out, struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	*out = (struct vigia__backend_stats){
		.oldest = vigia__memory_oldest(b),
		.latest = b->latest,
		.events = b->count,
		.used_bytes = b->bytes,
		.created_at_ns = b->created_at_ns,
		.format = VIGIA_FORMAT,
		.importing = atomic_load(&b->base.importing),
	};
	vigia__memory_state_counts(b, out);
	vigia__settings_copy(&out->settings, &b->settings);
	vigia__memory_leave(b);
	return VIGIA_OK;
}

/* ---- settings ---- */

static int memory_settings(struct vigia__backend *base, struct vigia__settings *out, struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	vigia__settings_copy(out, &b->settings);
	vigia__memory_leave(b);
	return VIGIA_OK;
}

static int memory_configure(struct vigia__backend *base, const struct vigia_store_options *changes,
                            struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	struct vigia__settings changed;
	struct vigia__problems problems = {0};
	vigia__settings_copy(&changed, &b->settings);
	vigia__settings_change(&changed, changes, &problems);
	int rc = atomic_load(&base->importing) ? vigia__unfinished(err) : vigia__problems_end(&problems, ":memory:", err);
	if (rc == VIGIA_OK) {
		vigia__settings_copy(&b->settings, &changed);
		atomic_store(&b->base.max_event_size, changed.values.max_event_size_bytes);
		atomic_store(&b->base.durability, changed.values.durability);
	}
	vigia__memory_leave(b);
	if (rc == VIGIA_OK) vigia__word_bump(&b->own.settings_word);
	return rc;
}

/* ---- export ---- */

static int memory_gone_at(struct vigia__backend *base, int64_t *at_ns, struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	*at_ns = b->last_at_ns;
	vigia__memory_leave(b);
	return VIGIA_OK;
}

/* ---- life ---- */

static void memory_release(struct vigia__backend *base)
{
	struct memory_backend *b = (struct memory_backend *)base;
	vigia__queue_stop(&b->queue);
	vigia__queue_deinit(&b->queue);
	for (size_t i = 0; i < b->count; i++) vigia__free(b->events[b->first + i].bytes);
	vigia__free(b->events);
	vigia__free(b->marks);
	vigia__memory_state_free(b);
	struct vigia__table *tables[] = {&b->checkpoints, &b->owned, &b->keys};
	for (int i = 0; i < 3; i++) {
		for (struct vigia__node *entry; (entry = vigia__table_pop(tables[i]));) vigia__free(entry);
		vigia__table_deinit(tables[i]);
	}
	vigia__backend_deinit(base);
	pthread_mutex_destroy(&b->mutex);
	vigia__free(b);
}

static const struct vigia__backend memory_interface = {
	.name = "memory",
	.append = memory_append,
	.scan = vigia__memory_scan,
	.bounds = vigia__memory_bounds,
	.find_time = vigia__memory_find_time,
	.trim = memory_trim,
	.checkpoint_put = vigia__memory_checkpoint_put,
	.checkpoint_get = vigia__memory_checkpoint_get,
	.checkpoint_delete = vigia__memory_checkpoint_delete,
	.checkpoint_each = vigia__memory_checkpoint_each,
	.own = memory_own,
	.own_briefly = memory_own_briefly,
	.disown = memory_disown,
	.owner = memory_owner,
	.collect = memory_collect,
	.elect = memory_elect,
	.resign = memory_resign,
	.hold = vigia__memory_hold,
	.touch = vigia__memory_touch,
	.settings = memory_settings,
	.configure = memory_configure,
	.view = vigia__memory_view,
	.view_at = vigia__memory_view_at,
	.transact = memory_transact,
	.commits = memory_commits,
	.stats = memory_stats,
	.keys_of = vigia__memory_keys_of,
	.gone_at = memory_gone_at,
	.import = vigia__memory_import,
	.import_mark = vigia__memory_import_mark,
	.release = memory_release,
};

int vigia__memory_open(const struct vigia_store_options *options, struct vigia__backend **out, struct vigia_error *err)
{
	struct memory_backend *b = vigia__calloc(sizeof *b);
	if (b == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for a store");
	vigia__backend_init(&b->base, &memory_interface);
	vigia__backend_unshared(&b->base, &b->own);
	b->base.max_event_size = options->max_event_size_bytes;
	b->base.durability = options->durability;
	vigia__queue_init(&b->queue, &b->base);
	pthread_mutex_init(&b->mutex, NULL);
	b->created_at_ns = vigia__wall_ns();
	vigia__settings_from(&b->settings, options);
	*out = &b->base;
	return VIGIA_OK;
}
