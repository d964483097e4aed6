/*
 * import.c - one commit of an import, as one transaction of the server; what an export asks for beside events.
 *
 * The mark is a row. While it is there, `lock_writer` of schema.sql refuses everything else. A commit whose answer was
 * lost is made again, and finds what it has stored.
 */
#include "../../core/error.h"
#include "../../core/event.h"
#include "../import_records.h"
#include "changes.h"

enum { MAP_ITEMS = 64 }; /* of a map, in one deadline: each is some round trips */

/* ---- the mark ---- */

/* The flag follows the log (create.c): so those that only ask ask no server. */
int vigia__pg_import_mark(struct vigia__backend *base, struct vigia__import_mark *out, struct vigia_error *err)
{
	PGresult *row;
	if (!atomic_load(&base->importing)) return VIGIA_NONE;
	int rc = vigia__pg_ask(pg_of(base), VIGIA_PG_IMPORT_MARK, NULL, &row, "read", err);
	if (rc < 0) return rc;
	rc = PQntuples(row) > 0 ? VIGIA_OK : VIGIA_NONE;
	*out = (struct vigia__import_mark){(uint64_t)vigia__pg_int(row, 0, 0), (uint64_t)vigia__pg_int(row, 0, 1),
	                                   (uint64_t)vigia__pg_int(row, 0, 2), (uint64_t)vigia__pg_int(row, 0, 3)};
	PQclear(row);
	return rc;
}

static struct pg_param mark_param(struct pg_array *room, const struct vigia__import_mark *mark)
{
	vigia__pg_array_begin(room, VIGIA_PG_BIG);
	vigia__pg_array_number(room, (int64_t)mark->first_sum);
	vigia__pg_array_number(room, (int64_t)mark->records);
	vigia__pg_array_number(room, (int64_t)mark->bytes);
	vigia__pg_array_number(room, (int64_t)mark->sum);
	return vigia__pg_array_end(room);
}

/* ---- beginning and end ---- */

struct step {
	struct vigia__import *import;
	int tries; /* of its transaction */
};

static int no_memory(struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOMEM, "no memory for an import");
}

static int other_imports(struct pg_backend *b, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EUNFINISHED, "another process is importing into the store '%s'", b->location.shown);
}

/* The log's settings with those of the import in their place, encoded. */
static int new_settings(struct pg_backend *b, const struct vigia__import *import, struct vigia__buf *out, int64_t *size,
                        struct vigia_error *err)
{
	struct vigia__settings settings;
	struct vigia__problems problems = {0};
	PGresult *row;
	int rc = vigia__pg_step(b, VIGIA_PG_META, NULL, &row, err);
	if (rc < 0) return rc;
	struct vigia_slice bytes = vigia__pg_bytes(row, 0, 3);
	bool fine = vigia__settings_decode(&settings, bytes.data, bytes.len);
	PQclear(row);
	if (!fine) return vigia__error(err, VIGIA_EIO, "the settings of '%s' are damaged", b->location.shown);
	vigia__settings_replace(&settings, import->settings, &problems);
	if (vigia__problems_end(&problems, b->location.shown, err) < 0) {
		if (err) err->code = VIGIA_ECONFLICT;
		return VIGIA_ECONFLICT;
	}
	*size = settings.values.max_event_size_bytes;
	return vigia__settings_encode(&settings, out) < 0 ? no_memory(err) : VIGIA_OK;
}

static int begin(struct pg_backend *b, const struct vigia__import *import, struct vigia_error *err)
{
	struct vigia__buf settings = {0};
	struct pg_array mark = {0};
	struct pg_number anew, resumes, size, gone, at;
	int64_t event_size = 0;
	PGresult *row = NULL;
	int rc = new_settings(b, import, &settings, &event_size, err);
	const struct pg_param params[] = {vigia__pg_truth(&anew, import->anew),
	                                  vigia__pg_truth(&resumes, import->resumes),
	                                  vigia__pg_blob(settings.data, settings.len),
	                                  vigia__pg_big(&size, event_size),
	                                  vigia__pg_big(&gone, (int64_t)import->gone),
	                                  vigia__pg_big(&at, import->gone_at_ns),
	                                  mark_param(&mark, &import->mark)};
	if (rc == VIGIA_OK && mark.failed) rc = no_memory(err);
	if (rc == VIGIA_OK) rc = vigia__pg_step(b, VIGIA_PG_IMPORT_BEGIN, params, &row, err);
	if (rc == VIGIA_OK && !PQgetisnull(row, 0, 0)) {
		char there[80];
		struct vigia_slice text = vigia__pg_bytes(row, 0, 0);
		snprintf(there, sizeof there, "%.*s", (int)text.len, text.data);
		if (strcmp(there, "import") != 0) rc = vigia__not_empty(there, err);
		else rc = import->resumes ? other_imports(b, err) : vigia__unfinished(err);
	}
	PQclear(row);
	vigia__pg_array_deinit(&mark);
	vigia__buf_deinit(&settings);
	return rc;
}

static int move_mark(struct pg_backend *b, const struct step *step, struct vigia_error *err)
{
	const struct vigia__import *import = step->import;
	struct pg_array before = {0}, mark = {0};
	struct pg_number ends;
	bool ending = import->step == VIGIA_IMPORT_ENDS;
	const struct pg_param params[] = {mark_param(&before, &import->before), mark_param(&mark, &import->mark),
	                                  vigia__pg_truth(&ends, ending)};
	PGresult *row = NULL;
	int rc = before.failed || mark.failed ? no_memory(err) : VIGIA_OK;
	if (rc == VIGIA_OK) rc = vigia__pg_step(b, VIGIA_PG_IMPORT_STEP, params, &row, err);
	if (rc == VIGIA_OK && !vigia__pg_bool(row, 0, 0)) {
		/* No mark: the answer of the try before was lost. */
		bool done = ending && step->tries > 1 && PQgetisnull(row, 0, 0);
		rc = done ? VIGIA_NONE : other_imports(b, err);
	}
	PQclear(row);
	vigia__pg_array_deinit(&before);
	vigia__pg_array_deinit(&mark);
	return rc;
}

/* ---- what it holds ---- */

/* A call with lists, the third one also of numbers, where it is not empty. */
enum { LISTS_MAX = 4 };

static int call_lists(struct pg_backend *b, enum pg_statement statement, struct pg_array *lists, int count,
                      const struct pg_param *first, struct vigia_error *err)
{
	struct pg_param params[1 + LISTS_MAX];
	int at = 0, rc = VIGIA_OK;
	bool empty = lists[0].count == 0;
	if (first) params[at++] = *first;
	for (int i = 0; i < count; i++) {
		params[at++] = vigia__pg_array_end(&lists[i]);
		if (lists[i].failed) rc = no_memory(err);
	}
	if (rc == VIGIA_OK && !empty) rc = vigia__pg_step(b, statement, params, NULL, err);
	for (int i = 0; i < count; i++) vigia__pg_array_deinit(&lists[i]);
	return rc;
}

/* As the server has them: stamped with number and time 0. */
static void add_event(struct pg_array lists[LISTS_MAX], struct vigia_slice event, struct vigia__buf *room)
{
	struct vigia__head head = {0};
	struct vigia_slice op = {"", 0};
	vigia__buf_clear(room, SIZE_MAX);
	lists[3].failed = lists[3].failed || vigia__buf_add(room, event.data, event.len) < 0;
	if (lists[3].failed) return;
	if (vigia__event_names(room->data, room->len, &head) == 0) op = vigia__operation_name(&head);
	vigia__pg_array_number(&lists[0], vigia__event_time(room->data, room->len));
	vigia__event_stamp(room->data, room->len, 0, 0);
	vigia__pg_array_blob(&lists[1], head.object_type.data, head.object_type.len);
	vigia__pg_array_blob(&lists[2], op.data, op.len);
	vigia__pg_array_blob(&lists[3], room->data, room->len);
}

static int put_events(struct pg_backend *b, const struct vigia__import *import, struct vigia_error *err)
{
	struct pg_array lists[LISTS_MAX] = {{.count = 0}};
	struct vigia__buf room = {0};
	struct pg_number first;
	struct pg_param param = vigia__pg_big(&first, 0);
	vigia__pg_array_begin(&lists[0], VIGIA_PG_BIG);
	for (int i = 1; i < LISTS_MAX; i++) vigia__pg_array_begin(&lists[i], VIGIA_PG_BYTES);
	for (size_t i = 0; i < import->count; i++) {
		const struct vigia__export_field *f = import->items[i].fields;
		if (import->items[i].kind != VIGIA_EXPORT_EVENT) continue;
		if (lists[0].count == 0) param = vigia__pg_big(&first, f[0].number);
		add_event(lists, f[1].bytes, &room);
	}
	vigia__buf_deinit(&room);
	return call_lists(b, VIGIA_PG_IMPORT_EVENTS, lists, LISTS_MAX, &param, err);
}

static int put_keys(struct pg_backend *b, const struct vigia__import *import, struct vigia_error *err)
{
	struct pg_array lists[3] = {{.count = 0}};
	for (int i = 0; i < 3; i++) vigia__pg_array_begin(&lists[i], i == 0 ? VIGIA_PG_BYTES : VIGIA_PG_BIG);
	for (size_t i = 0; i < import->count; i++) {
		const struct vigia__export_field *f = import->items[i].fields;
		if (import->items[i].kind != VIGIA_EXPORT_KEY) continue;
		vigia__pg_array_blob(&lists[0], f[2].bytes.data, f[2].bytes.len);
		vigia__pg_array_number(&lists[1], f[0].number);
		vigia__pg_array_number(&lists[2], f[1].number);
	}
	return call_lists(b, VIGIA_PG_IMPORT_KEYS, lists, 3, NULL, err);
}

static int put_watchers(struct pg_backend *b, const struct vigia__import *import, struct vigia_error *err)
{
	struct pg_array lists[3] = {{.count = 0}};
	for (int i = 0; i < 3; i++) vigia__pg_array_begin(&lists[i], i == 0 ? VIGIA_PG_BYTES : VIGIA_PG_BIG);
	for (size_t i = 0; i < import->count; i++) {
		const struct vigia__export_field *f = import->items[i].fields;
		bool hold = import->items[i].kind == VIGIA_EXPORT_HOLD;
		if (!hold && import->items[i].kind != VIGIA_EXPORT_CHECKPOINT) continue;
		vigia__pg_array_blob(&lists[0], f[0].bytes.data, f[0].bytes.len);
		vigia__pg_array_number(&lists[1], f[1].number);
		vigia__pg_array_number(&lists[2], hold);
	}
	return call_lists(b, VIGIA_PG_IMPORT_WATCHERS, lists, 3, NULL, err);
}

static int put_part(struct pg_backend *b, struct vigia__import *part, enum vigia__map map, struct vigia_error *err)
{
	struct pg_changes changes;
	struct pg_array lists[3] = {{.count = 0}};
	for (int i = 0; i < 3; i++) vigia__pg_array_begin(&lists[i], i == 0 ? VIGIA_PG_INT : VIGIA_PG_BYTES);
	vigia__pg_changes_begin(&changes);
	changes.at_once = true;
	int rc = vigia__pg_change(b, &changes, map, map == VIGIA_MAP_STATE ? vigia__import_state : vigia__import_timers,
	                          part, err);
	if (rc == VIGIA_OK) {
		vigia__pg_changes_keep(&changes);
		vigia__pg_changes_list(&changes, &lists[0], &lists[1], &lists[2]);
	}
	vigia__pg_changes_end(&changes);
	int stored = call_lists(b, VIGIA_PG_MAP_STORE, lists, 3, NULL, err);
	return rc == VIGIA_OK ? stored : rc;
}

/* In parts, each of which has the time of a call. */
static int put_map(struct pg_backend *b, const struct vigia__import *import, enum vigia__map map,
                   struct vigia_error *err)
{
	struct vigia__import part = *import;
	int rc = VIGIA_OK;
	if (!vigia__import_has(import, map)) return VIGIA_OK;
	for (size_t at = 0; rc == VIGIA_OK && (at == 0 || at < import->count); at += MAP_ITEMS) {
		part.items = import->items + at;
		part.count = import->count - at < MAP_ITEMS ? import->count - at : MAP_ITEMS;
		part.step = at == 0 ? import->step : VIGIA_IMPORT_GOES_ON;
		if (vigia__import_has(&part, map)) rc = put_part(b, &part, map, err);
	}
	return rc == VIGIA_ENOMEM ? no_memory(err) : rc;
}

static int import_inside(struct pg_backend *b, void *arg, struct vigia_error *err)
{
	struct step *step = arg;
	const struct vigia__import *import = step->import;
	bool begins = import->step == VIGIA_IMPORT_BEGINS;
	step->tries++;
	int rc = vigia__pg_step(b, VIGIA_PG_IMPORT_LOCK, NULL, NULL, err);
	if (rc == VIGIA_OK) rc = begins ? begin(b, import, err) : move_mark(b, step, err);
	if (rc == VIGIA_NONE) return VIGIA_OK;
	if (rc == VIGIA_OK) rc = put_events(b, import, err);
	if (rc == VIGIA_OK) rc = put_keys(b, import, err);
	if (rc == VIGIA_OK) rc = put_watchers(b, import, err);
	if (rc == VIGIA_OK) rc = put_map(b, import, VIGIA_MAP_STATE, err);
	if (rc == VIGIA_OK) rc = put_map(b, import, VIGIA_MAP_TIMERS, err);
	return rc == VIGIA_NONE ? vigia__error(err, VIGIA_EIO, "a record of the import does not fit what is there") : rc;
}

int vigia__pg_import(struct vigia__backend *base, struct vigia__import *import, struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	struct step step = {import, 0};
	struct vigia__wake_set all;
	int rc = vigia__pg_settle_to_read(b, err); /* a commit before it counts, or never comes to be */
	if (rc == VIGIA_OK) rc = vigia__pg_transaction(b, import_inside, &step, "import into", err);
	if (import->step != VIGIA_IMPORT_GOES_ON) vigia__pg_settings_read(b, NULL);
	if (import->step == VIGIA_IMPORT_BEGINS) vigia__pg_tail_clear(b); /* it may give numbers again */
	vigia__word_bump(base->settings_word);
	atomic_fetch_add(&b->news, 1);
	vigia__wake_set_all(&all);
	vigia__wake_publish(&b->own.wake, &all);
	return rc;
}

/* ---- for an export ---- */

int vigia__pg_keys_of(struct vigia__backend *base, uint64_t from, uint64_t upto, vigia__key_fn fn, void *ctx,
                      struct vigia_error *err)
{
	struct pg_number low, high;
	const struct pg_param params[] = {vigia__pg_big(&low, (int64_t)from), vigia__pg_big(&high, (int64_t)upto)};
	PGresult *rows;
	int rc = vigia__pg_ask(pg_of(base), VIGIA_PG_KEYS_OF, params, &rows, "read", err);
	if (rc < 0) return rc;
	for (int row = 0; row < PQntuples(rows) && rc == VIGIA_OK; row++)
		rc = fn(ctx, vigia__pg_bytes(rows, row, 0), (uint64_t)vigia__pg_int(rows, row, 1),
		        (uint64_t)vigia__pg_int(rows, row, 2));
	PQclear(rows);
	return rc == VIGIA_ENOMEM ? vigia__error(err, rc, "no memory for keys of events") : rc;
}

int vigia__pg_gone_at(struct vigia__backend *base, int64_t *at_ns, struct vigia_error *err)
{
	PGresult *row;
	int rc = vigia__pg_ask(pg_of(base), VIGIA_PG_GONE_AT, NULL, &row, "read", err);
	if (rc < 0) return rc;
	*at_ns = vigia__pg_int(row, 0, 0);
	PQclear(row);
	return VIGIA_OK;
}
