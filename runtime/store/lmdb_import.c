/*
 * lmdb_import.c - one commit of an import: what it holds goes into the file as it is, with its numbers and times, and
 * the mark that says how far the import has come changes with it.
 *
 * Database "vigia": "import" -> struct vigia__import_mark. While it is there every other change is refused under the
 * writer's lock. Its beginning and its end are told to all processes as changed settings are (lmdb_settings.c).
 */
#include <errno.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "import_records.h"
#include "lmdb_private.h"

int vigia__lmdb_import_mark(struct vigia__backend *base, struct vigia__import_mark *out, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	rc = vigia__lmdb_import_mark_get(b, reader->txn, out);
	vigia__lmdb_read_end(b, reader);
	if (rc == MDB_NOTFOUND) return VIGIA_NONE;
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "read the mark of an import", err);
}

int vigia__lmdb_gone_at(struct vigia__backend *base, int64_t *at_ns, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	struct last_record last;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	rc = vigia__lmdb_last_written(b, reader->txn, &last);
	vigia__lmdb_read_end(b, reader);
	*at_ns = last.at_ns;
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "read the last number", err);
}

/* ---- beginning and end ---- */

enum { DATABASES = 8 };

/* All databases with what an export carries, and what is told of them. Returns how many. */
static int databases(struct lmdb_backend *b, MDB_dbi dbis[DATABASES], const char *names[DATABASES])
{
	int count = 0;
	const struct {
		MDB_dbi dbi;
		const char *name;
	} all[] = {{b->events, "events"},
	           {b->checkpoints, "checkpoints"},
	           {b->holds, "watchers that hold events (holds)"},
	           {b->keys, "keys of events"},
	           {atomic_load(&b->maps[VIGIA_MAP_STATE].dbi), "buckets or dead letters"},
	           {atomic_load(&b->maps[VIGIA_MAP_TIMERS].dbi), "events that wait for their time"}};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (all[i].dbi == 0) continue;
		dbis[count] = all[i].dbi;
		names[count++] = all[i].name;
	}
	return count;
}

static int check_empty(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__lmdb_stamp *stamp,
                       struct vigia_error *err)
{
	MDB_dbi dbis[DATABASES];
	const char *names[DATABASES];
	MDB_stat st;
	int count = databases(b, dbis, names), rc = 0;
	for (int i = 0; i < count && rc == 0; i++) {
		rc = mdb_stat(txn, dbis[i], &st);
		if (rc == 0 && st.ms_entries > 0) return vigia__not_empty(names[i], err);
	}
	return rc == 0 && stamp->last.seq_num > 0 ? vigia__not_empty("given numbers to events that were removed", err) : rc;
}

/* What an unfinished import has stored. */
static int remove_all(struct lmdb_backend *b, MDB_txn *txn, bool events)
{
	MDB_dbi dbis[DATABASES];
	const char *names[DATABASES];
	MDB_val key = {4, "last"};
	int count = databases(b, dbis, names), rc = 0;
	for (int i = 0; i < count && rc == 0; i++)
		if (events || (dbis[i] != b->events && dbis[i] != b->keys)) rc = mdb_drop(txn, dbis[i], 0);
	if (!events) return rc;
	if (rc == 0 && atomic_load(&b->has_index)) rc = mdb_drop(txn, b->index, 0);
	b->index_notes.next = 0;
	if (rc == 0) rc = mdb_del(txn, b->meta, &key, NULL);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int other_imports(const struct lmdb_backend *b, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EUNFINISHED, "another process is importing into the store '%s'", b->path);
}

/* From now on all processes know. The flags follow the file again, should this commit fail. */
static void announce(struct lmdb_backend *b, bool importing)
{
	vigia__word_change_begin(b->base.settings_word);
	atomic_store(&b->base.importing, importing);
	vigia__journal_doubt(b); /* its generation is of the settings before */
}

static int begin(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__import *import,
                 struct vigia__lmdb_stamp *stamp, struct vigia_error *err)
{
	struct vigia__import_mark there;
	struct vigia__settings settings;
	struct vigia__problems problems = {0};
	int rc = vigia__lmdb_import_mark_get(b, txn, &there);
	bool removes = rc == 0;
	if (removes && !import->anew && !import->resumes) return vigia__unfinished(err);
	if (rc == MDB_NOTFOUND && import->resumes) return other_imports(b, err);
	if (rc == MDB_NOTFOUND) rc = check_empty(b, txn, stamp, err);
	if (rc == 0) rc = vigia__lmdb_settings_get(b, txn, &settings);
	if (rc != 0) return rc;
	vigia__settings_replace(&settings, import->settings, &problems);
	rc = vigia__problems_end(&problems, b->path, err);
	if (rc < 0) {
		if (err) err->code = VIGIA_ECONFLICT;
		return VIGIA_ECONFLICT;
	}
	announce(b, true);
	if (removes) rc = remove_all(b, txn, !import->resumes);
	if (rc == 0) rc = vigia__lmdb_settings_put(b, txn, &settings);
	if (rc != 0) return rc;
	vigia__lmdb_settings_adopt(b, &settings);
	mdb_env_set_flags(b->env, MDB_NOSYNC, 0);
	if (import->resumes) return 0;
	stamp->last = (struct last_record){import->gone, import->gone_at_ns};
	return import->gone > 0 ? vigia__lmdb_last_write(b, txn, &stamp->last) : 0;
}

/* ---- what it holds ---- */

/* Events are put behind each other: those that are there already were put by a commit whose outcome was unknown. */
static int put_event(struct lmdb_backend *b, MDB_cursor *events, const struct vigia__export_field *f,
                     struct vigia__lmdb_stamp *stamp)
{
	size_t seq_num = (size_t)f[0].number;
	struct vigia__head room, *head = &room;
	const uint8_t *bytes = (const uint8_t *)f[1].bytes.data;
	if (seq_num <= stamp->last.seq_num) return 0;
	MDB_val key = vigia__lmdb_key(&seq_num), value = {f[1].bytes.len, (void *)bytes};
	int rc = mdb_cursor_put(events, &key, &value, MDB_APPEND);
	if (rc != 0) return rc;
	stamp->last = (struct last_record){seq_num, vigia__event_time(bytes, value.mv_size)};
	if (vigia__event_names(bytes, value.mv_size, head) != 0) head = NULL;
	else vigia__wake_set_add(stamp->types, head->object_type);
	return vigia__index_note(b, mdb_cursor_txn(events), seq_num, head);
}

static int put_key(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__export_field *f)
{
	struct vigia__append append = {
		.key = f[2].bytes, .first_seq = (uint64_t)f[0].number, .last_seq = (uint64_t)f[1].number};
	int rc = vigia__lmdb_key_put(b, txn, &append);
	return rc == MDB_KEYEXIST ? 0 : rc;
}

static int put_items(struct lmdb_backend *b, MDB_cursor *events, const struct vigia__import *import,
                     struct vigia__lmdb_stamp *stamp)
{
	MDB_txn *txn = mdb_cursor_txn(events);
	int rc = 0;
	for (size_t i = 0; i < import->count && rc == 0; i++) {
		const struct vigia__import_item *item = &import->items[i];
		struct vigia__import_id room;
		if (item->kind == VIGIA_EXPORT_EVENT) rc = put_event(b, events, item->fields, stamp);
		else if (item->kind == VIGIA_EXPORT_KEY) rc = put_key(b, txn, item->fields);
		else if (item->kind == VIGIA_EXPORT_CHECKPOINT)
			rc = vigia__lmdb_checkpoint_in(b, txn, vigia__import_id(item, &room), (uint64_t)item->fields[1].number);
		else if (item->kind == VIGIA_EXPORT_HOLD)
			rc = vigia__lmdb_hold_in(b, txn, vigia__import_id(item, &room), (uint64_t)item->fields[1].number);
	}
	return rc;
}

/* Part of it may be written: the whole transaction must fail. */
static int plain(int rc)
{
	return rc == VIGIA_ENOMEM ? ENOMEM : rc == VIGIA_NONE || (rc < 0 && !lmdb_is_error(rc)) ? MDB_CORRUPTED : rc;
}

/* Is it the import that the caller goes on with? After a commit of unknown outcome it may have the new mark already. */
static int check_mark(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__import *import, struct vigia_error *err)
{
	struct vigia__import_mark there;
	int rc = vigia__lmdb_import_mark_get(b, txn, &there);
	if (rc == 0 &&
	    (memcmp(&there, &import->before, sizeof there) == 0 || memcmp(&there, &import->mark, sizeof there) == 0))
		return 0;
	if (rc != 0 && rc != MDB_NOTFOUND) return rc;
	return other_imports(b, err);
}

int vigia__lmdb_import_in(struct lmdb_backend *b, MDB_cursor *events, struct vigia__import *import,
                          struct vigia__lmdb_stamp *stamp, struct vigia_error *err)
{
	MDB_txn *txn = mdb_cursor_txn(events);
	MDB_val key = vigia__lmdb_import_key(), value = {sizeof import->mark, &import->mark};
	bool begins = import->step == VIGIA_IMPORT_BEGINS;
	int rc = begins ? begin(b, txn, import, stamp, err) : check_mark(b, txn, import, err);
	if (rc == 0) rc = put_items(b, events, import, stamp);
	if (rc == 0 && vigia__import_has(import, VIGIA_MAP_STATE))
		rc = plain(vigia__lmdb_kv_in(b, txn, VIGIA_MAP_STATE, true, vigia__import_state, import, err));
	if (rc == 0 && vigia__import_has(import, VIGIA_MAP_TIMERS))
		rc = plain(vigia__lmdb_kv_in(b, txn, VIGIA_MAP_TIMERS, true, vigia__import_timers, import, err));
	if (rc != 0) return rc;
	vigia__wake_set_add(stamp->types, (struct vigia_slice){"", 0}); /* the last number may be another one */
	if (import->step != VIGIA_IMPORT_ENDS) return mdb_put(txn, b->meta, &key, &value, 0);
	announce(b, false);
	return mdb_del(txn, b->meta, &key, NULL);
}

int vigia__lmdb_import(struct vigia__backend *base, struct vigia__import *import, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct vigia__ticket ticket = {.kind = VIGIA_TICKET_IMPORT, .import = import, .err = err};
	int rc = VIGIA_OK;
	for (enum vigia__map map = 0; map < VIGIA_MAPS && rc == VIGIA_OK; map++) rc = vigia__lmdb_kv_make(b, map, err);
	if (rc < 0) return rc;
	rc = vigia__commit_run(&b->commit, &ticket);
	if (import->step != VIGIA_IMPORT_GOES_ON) vigia__word_change_end(base->settings_word);
	return rc;
}
