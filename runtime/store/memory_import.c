/*
 * memory_import.c - one commit of an import in memory. Each of its records is put by itself, and the mark last: what
 * was put before a failure is put again.
 */
#include "../core/error.h"
#include "../core/event.h"
#include "import_records.h"
#include "memory_private.h"

int vigia__memory_import_mark(struct vigia__backend *base, struct vigia__import_mark *out, struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	bool importing = atomic_load(&base->importing);
	*out = b->import;
	vigia__memory_leave(b);
	return importing ? VIGIA_OK : VIGIA_NONE;
}

/* NULL: it is empty. */
static const char *what_is_there(const struct memory_backend *b)
{
	if (b->count > 0) return "events";
	if (b->latest > 0) return "given numbers to events that were removed";
	if (b->checkpoints.count > 0) return "checkpoints, or watchers that hold events";
	if (b->maps[VIGIA_MAP_STATE]) return "buckets or dead letters";
	return b->maps[VIGIA_MAP_TIMERS] ? "events that wait for their time" : NULL;
}

static int begin(struct memory_backend *b, const struct vigia__import *import, struct vigia_error *err)
{
	struct vigia__problems problems = {0};
	struct vigia__settings settings;
	bool importing = atomic_load(&b->base.importing);
	const char *there = importing ? NULL : what_is_there(b);
	if (importing && !import->anew && !import->resumes) return vigia__unfinished(err);
	if (there) return vigia__not_empty(there, err);
	vigia__settings_copy(&settings, &b->settings);
	vigia__settings_replace(&settings, import->settings, &problems);
	if (vigia__problems_end(&problems, ":memory:", err) < 0) {
		if (err) err->code = VIGIA_ECONFLICT;
		return VIGIA_ECONFLICT;
	}
	if (importing && !import->resumes) vigia__memory_clear(b);
	else if (importing) vigia__memory_clear_beside(b);
	vigia__settings_copy(&b->settings, &settings);
	atomic_store(&b->base.max_event_size, settings.values.max_event_size_bytes);
	atomic_store(&b->base.durability, settings.values.durability);
	atomic_store(&b->base.importing, true);
	if (import->resumes) return VIGIA_OK;
	b->latest = import->gone;
	b->last_at_ns = import->gone_at_ns;
	return VIGIA_OK;
}

static int put_watcher(struct memory_backend *b, const struct vigia__import_item *item, struct vigia_error *err)
{
	struct vigia__import_id room;
	const char *id = vigia__import_id(item, &room);
	uint64_t seq_num = (uint64_t)item->fields[1].number;
	int rc = vigia__memory_import_begin(b, id, err);
	if (rc < 0) return rc;
	if (item->kind == VIGIA_EXPORT_HOLD) vigia__memory_hold_in(b, id, seq_num);
	else vigia__memory_checkpoint_in(b, id, seq_num);
	vigia__memory_commit_end(b);
	return VIGIA_OK;
}

/* Under the mutex. */
static int put_item(struct memory_backend *b, const struct vigia__import_item *item)
{
	const struct vigia__export_field *f = item->fields;
	if (item->kind == VIGIA_EXPORT_EVENT && (uint64_t)f[0].number > b->latest)
		return vigia__memory_put_event(b, (uint64_t)f[0].number, f[1].bytes);
	if (item->kind == VIGIA_EXPORT_KEY)
		return vigia__memory_put_key(b, f[2].bytes, (uint64_t)f[0].number, (uint64_t)f[1].number);
	return VIGIA_OK;
}

static int put_map(struct memory_backend *b, const struct vigia__import *import, enum vigia__map map,
                   struct vigia_error *err)
{
	struct memory_kv *changes;
	if (!vigia__import_has(import, map)) return VIGIA_OK;
	int rc = vigia__memory_state_change(b, map, map == VIGIA_MAP_STATE ? vigia__import_state : vigia__import_timers,
	                                    (void *)import, &changes, err);
	if (rc == VIGIA_OK) vigia__memory_state_end(changes, false);
	return rc;
}

int vigia__memory_import(struct vigia__backend *base, struct vigia__import *import, struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	int rc = import->step == VIGIA_IMPORT_BEGINS ? begin(b, import, err) : VIGIA_OK;
	for (size_t i = 0; i < import->count && rc == VIGIA_OK; i++) {
		const struct vigia__import_item *item = &import->items[i];
		if (item->kind == VIGIA_EXPORT_CHECKPOINT || item->kind == VIGIA_EXPORT_HOLD) {
			vigia__memory_leave(b);
			rc = put_watcher(b, item, err);
			pthread_mutex_lock(&b->mutex);
		} else if (put_item(b, item) == VIGIA_ENOMEM) {
			rc = vigia__error(err, VIGIA_ENOMEM, "no memory for an imported event");
		}
	}
	if (rc == VIGIA_OK) rc = put_map(b, import, VIGIA_MAP_STATE, err);
	if (rc == VIGIA_OK) rc = put_map(b, import, VIGIA_MAP_TIMERS, err);
	if (rc == VIGIA_OK) {
		b->import = import->mark;
		atomic_fetch_add(&b->commits, 1);
		if (import->step == VIGIA_IMPORT_ENDS) atomic_store(&base->importing, false);
	}
	vigia__memory_leave(b);
	vigia__word_bump(base->settings_word); /* others read the settings again, and whether an import is unfinished */
	struct vigia__wake_set all;
	vigia__wake_set_clear(&all);
	vigia__wake_set_all(&all);
	vigia__wake_publish(base->wake, &all);
	return rc;
}
