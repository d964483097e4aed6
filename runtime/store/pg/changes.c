/*
 * changes.c - records of maps in memory, for the transactions of one commit. See changes.h.
 */
#include "changes.h"

#include "../../core/alloc.h"
#include "../../core/error.h"

struct pg_record {
	struct vigia__ordered at; /* first. Its key: the map, then the record's key */
	struct pg_record *next;   /* of those that were touched */
	bool known;               /* `server` is what the server has, a part of a result. data NULL: nothing */
	bool kept;                /* a member has changed it to `value` */
	bool touched;             /* the member under way, to `pending` */
	struct vigia_slice server, value, pending; /* owner: the record, but for `server` */
	char key[];
};

enum { KEY_MAX = 1024 };

/* The bytes of a record's place, in `room`. */
static struct vigia_slice place_of(enum vigia__map map, struct vigia_slice key, char room[KEY_MAX])
{
	size_t len = key.len < KEY_MAX - 1 ? key.len : KEY_MAX - 1;
	room[0] = (char)map;
	if (len > 0) memcpy(room + 1, key.data, len);
	return (struct vigia_slice){room, len + 1};
}

static struct pg_record *find(const struct pg_changes *c, enum vigia__map map, struct vigia_slice key)
{
	char room[KEY_MAX];
	return (struct pg_record *)vigia__ordered_find(c->records, place_of(map, key, room));
}

/* Made if it is new. NULL without memory. */
static struct pg_record *record_of(struct pg_changes *c, enum vigia__map map, struct vigia_slice key)
{
	char room[KEY_MAX];
	struct vigia_slice place = place_of(map, key, room);
	struct pg_record *record = (struct pg_record *)vigia__ordered_find(c->records, place);
	if (record || (record = vigia__calloc(sizeof *record + place.len)) == NULL) return record;
	memcpy(record->key, place.data, place.len);
	record->at.key = (struct vigia_slice){record->key, place.len};
	vigia__ordered_add(&c->records, &record->at);
	return record;
}

static void forget(struct vigia_slice *value)
{
	vigia__free((void *)value->data);
	*value = (struct vigia_slice){NULL, 0};
}

static void record_free(struct pg_record *record)
{
	forget(&record->value);
	forget(&record->pending);
	vigia__free(record);
}

/* One of which nothing is known, and nothing is to be sent. */
static void remove_if_idle(struct pg_changes *c, struct pg_record *record)
{
	if (record->known || record->kept || record->touched) return;
	vigia__ordered_remove(&c->records, &record->at);
	record_free(record);
}

static const struct vigia_slice *now_of(const struct pg_record *record)
{
	return record->touched ? &record->pending : record->kept ? &record->value : &record->server;
}

/* ---- life ---- */

static void begin_missing(struct pg_changes *c)
{
	vigia__pg_array_begin(&c->missing_maps, VIGIA_PG_INT);
	vigia__pg_array_begin(&c->missing_keys, VIGIA_PG_BYTES);
}

void vigia__pg_changes_begin(struct pg_changes *c)
{
	*c = (struct pg_changes){0};
	begin_missing(c);
}

void vigia__pg_changes_end(struct pg_changes *c)
{
	for (struct vigia__ordered *at; (at = vigia__ordered_pop(&c->records));) record_free((struct pg_record *)at);
	for (size_t i = 0; i < c->results_count; i++) PQclear(c->results[i]);
	vigia__free(c->results);
	vigia__pg_array_deinit(&c->missing_maps);
	vigia__pg_array_deinit(&c->missing_keys);
	*c = (struct pg_changes){0};
}

static int hold(struct pg_changes *c, PGresult *result)
{
	if (c->results_count == c->results_max) {
		size_t max = c->results_max ? 2 * c->results_max : 8;
		PGresult **results = vigia__realloc(c->results, max * sizeof *results);
		if (results == NULL) return VIGIA_ENOMEM;
		c->results = results;
		c->results_max = max;
	}
	c->results[c->results_count++] = result;
	return VIGIA_OK;
}

/* ---- what is not known ---- */

int vigia__pg_changes_miss(struct pg_changes *c, enum vigia__map map, struct vigia_slice key)
{
	c->misses = true;
	vigia__pg_array_number(&c->missing_maps, (int64_t)map);
	vigia__pg_array_blob(&c->missing_keys, key.data, key.len);
	return c->missing_maps.failed || c->missing_keys.failed ? VIGIA_ENOMEM : VIGIA_EINTERRUPTED;
}

static int learn(struct pg_changes *c, enum vigia__map map, struct vigia_slice key, struct vigia_slice value)
{
	struct pg_record *record = record_of(c, map, key);
	if (record == NULL) return VIGIA_ENOMEM;
	record->known = true;
	record->server = value;
	return VIGIA_OK;
}

static struct vigia_slice value_at(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? (struct vigia_slice){NULL, 0} : vigia__pg_bytes(result, row, column);
}

int vigia__pg_changes_learn(struct pg_changes *c, enum vigia__map map, struct vigia_slice key, struct vigia_slice value,
                            PGresult *result)
{
	int rc = hold(c, result);
	if (rc < 0) PQclear(result);
	return rc < 0 ? rc : learn(c, map, key, value);
}

/* A bucket that is used is used again, as is what leads to it. */
void vigia__pg_changes_guess(struct pg_changes *c, struct pg_backend *b)
{
	for (size_t i = 0; i < b->guesses_count; i++) {
		const struct pg_guess *guess = &b->guesses[i];
		vigia__pg_changes_miss(c, guess->map, (struct vigia_slice){guess->key, guess->len});
	}
	c->misses = false;
}

void vigia__pg_changes_remember(const struct pg_changes *c, struct pg_backend *b)
{
	b->guesses_count = 0;
	for (struct vigia__ordered *at = vigia__ordered_first(c->records); at && b->guesses_count < VIGIA_PG_GUESSES;
	     at = vigia__ordered_after(c->records, at)) {
		struct pg_guess *guess = &b->guesses[b->guesses_count];
		guess->len = at->key.len - 1;
		guess->map = (enum vigia__map)at->key.data[0];
		if (!((struct pg_record *)at)->known || guess->len > sizeof guess->key) continue;
		memcpy(guess->key, at->key.data + 1, guess->len);
		b->guesses_count++;
	}
}

int vigia__pg_changes_fetch(struct pg_changes *c, struct pg_link *link, const char *before, int64_t until,
                            struct vigia_error *err)
{
	PGresult *rows;
	if (c->missing_maps.failed || c->missing_keys.failed)
		return vigia__error(err, VIGIA_ENOMEM, "no memory for the records of a transaction");
	const struct pg_param params[] = {vigia__pg_array_end(&c->missing_maps), vigia__pg_array_end(&c->missing_keys)};
	const struct pg_round round = {.before = before};
	int rc = vigia__pg_call_round(link, VIGIA_PG_LOOK, params, &round, &rows, until, "store in", err);
	if (rc < 0) return rc;
	rc = hold(c, rows);
	if (rc < 0) PQclear(rows);
	for (int row = 0; rc == VIGIA_OK && row < PQntuples(rows); row++)
		rc = learn(c, (enum vigia__map)vigia__pg_int(rows, row, 0), vigia__pg_bytes(rows, row, 1),
		           value_at(rows, row, 2));
	begin_missing(c);
	return rc < 0 ? vigia__error(err, rc, "no memory for the records of a transaction") : rc;
}

/* ---- members ---- */

void vigia__pg_changes_keep(struct pg_changes *c)
{
	for (struct pg_record *record; (record = c->touched);) {
		c->touched = record->next;
		forget(&record->value);
		record->value = record->pending;
		record->pending = (struct vigia_slice){NULL, 0};
		record->touched = false;
		record->kept = true;
	}
	c->misses = false;
}

void vigia__pg_changes_drop(struct pg_changes *c)
{
	for (struct pg_record *record; (record = c->touched);) {
		c->touched = record->next;
		forget(&record->pending);
		record->touched = false;
		remove_if_idle(c, record);
	}
	c->misses = false;
}

void vigia__pg_changes_restart(struct pg_changes *c)
{
	vigia__pg_changes_drop(c);
	begin_missing(c);
	for (struct vigia__ordered *at = vigia__ordered_first(c->records), *next; at; at = next) {
		struct pg_record *record = (struct pg_record *)at;
		next = vigia__ordered_after(c->records, at);
		forget(&record->value);
		record->kept = false;
		remove_if_idle(c, record);
	}
}

bool vigia__pg_changes_get(struct pg_changes *c, enum vigia__map map, struct vigia_slice key, struct vigia_slice *value)
{
	const struct pg_record *record = find(c, map, key);
	if (record) *value = *now_of(record);
	return record != NULL;
}

bool vigia__pg_changes_covers(struct pg_changes *c, enum vigia__map map, struct vigia_slice key)
{
	const struct pg_record *record = find(c, map, key);
	return record && (record->touched || record->kept);
}

bool vigia__pg_changes_seek(struct pg_changes *c, enum vigia__map map, struct vigia_slice key,
                            enum vigia__ordered_from from, struct vigia_slice *found, struct vigia_slice *value)
{
	char room[KEY_MAX];
	bool back = from == VIGIA_AT_MOST || from == VIGIA_BELOW;
	struct vigia_slice place = place_of(map, key, room);
	for (;; from = back ? VIGIA_BELOW : VIGIA_ABOVE) {
		const struct pg_record *record = (struct pg_record *)vigia__ordered_seek(c->records, place, from);
		if (record == NULL || record->at.key.data[0] != (char)map) return false;
		place = record->at.key;
		*value = *now_of(record);
		*found = (struct vigia_slice){place.data + 1, place.len - 1};
		if ((record->touched || record->kept) && value->data) return true;
	}
}

int vigia__pg_changes_put(struct pg_changes *c, enum vigia__map map, struct vigia_slice key, struct vigia_slice value)
{
	char *copy = value.data ? vigia__alloc(value.len + 1) : NULL;
	struct pg_record *record = value.data && copy == NULL ? NULL : record_of(c, map, key);
	if (record == NULL) {
		vigia__free(copy);
		return VIGIA_ENOMEM;
	}
	if (copy && value.len > 0) memcpy(copy, value.data, value.len);
	if (!record->touched) {
		record->next = c->touched;
		c->touched = record;
		record->touched = true;
	}
	forget(&record->pending);
	record->pending = (struct vigia_slice){copy, value.len};
	return VIGIA_OK;
}

void vigia__pg_changes_list(const struct pg_changes *c, struct pg_array *maps, struct pg_array *keys,
                            struct pg_array *values)
{
	for (struct vigia__ordered *at = vigia__ordered_first(c->records); at; at = vigia__ordered_after(c->records, at)) {
		const struct pg_record *record = (struct pg_record *)at;
		if (!record->kept) continue;
		vigia__pg_array_number(maps, at->key.data[0]);
		vigia__pg_array_blob(keys, at->key.data + 1, at->key.len - 1);
		if (record->value.data) vigia__pg_array_blob(values, record->value.data, record->value.len);
		else vigia__pg_array_null(values);
	}
}
