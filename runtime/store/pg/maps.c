/*
 * maps.c - buckets, dead letters and timers: ordered maps of bytes (state.h), each record a row.
 *
 * A look is a transaction of the server that reads only, with one snapshot. Each record that is asked for is a round
 * trip, records in order come by the page. A change is inside the writer's, on what was changed already (changes.h),
 * which is laid over what the server has.
 */
#include "../../core/alloc.h"
#include "../../core/error.h"
#include "changes.h"

enum { PAGE = 100 };

struct pg_map {
	struct pg_backend *b;
	struct pg_link *link;
	enum vigia__map map;
	int64_t until_mono_ns;
	struct vigia_error *err;
	PGresult *got, *page; /* what the slices point into */
	int row;              /* of the page: the next one, or the last one that was given */
	bool reverse;

	struct pg_changes *changes; /* NULL: it is only looked at */
	struct vigia__buf last;     /* with changes: the key that was given last */
};

static int map_call(struct pg_map *m, enum pg_statement statement, struct vigia_slice key, struct pg_param third,
                    struct pg_param fourth, PGresult **out)
{
	struct pg_number map;
	const struct pg_param params[] = {vigia__pg_small(&map, (int32_t)m->map), vigia__pg_blob(key.data, key.len), third,
	                                  fourth};
	return vigia__pg_call(m->link, statement, params, out, m->until_mono_ns, "read or change the buckets of", m->err);
}

static const struct pg_param none = {NULL, 0};

static int ask(struct pg_map *m, struct vigia_slice key, struct vigia_slice *value)
{
	PGresult *result;
	int rc = map_call(m, VIGIA_PG_MAP_GET, key, none, none, &result);
	if (rc < 0) return rc;
	bool there = !PQgetisnull(result, 0, 0);
	*value = there ? vigia__pg_bytes(result, 0, 0) : (struct vigia_slice){NULL, 0};
	if (m->changes) rc = vigia__pg_changes_learn(m->changes, m->map, key, *value, result);
	else {
		PQclear(m->got);
		m->got = result;
	}
	return rc;
}

static int map_get(void *ctx, struct vigia_slice key, struct vigia_slice *value)
{
	struct pg_map *m = ctx;
	int rc = VIGIA_OK;
	if (m->changes == NULL || !vigia__pg_changes_get(m->changes, m->map, key, value)) {
		if (m->changes && !m->changes->at_once) {
			rc = vigia__pg_changes_miss(m->changes, m->map, key);
			/* Its checks are behind it, and it runs again in any case: go on, to see what else is missing. */
			return rc == VIGIA_EINTERRUPTED && m->changes->touched ? VIGIA_NONE : rc;
		}
		rc = ask(m, key, value);
	}
	if (rc < 0) return rc;
	return value->data ? VIGIA_OK : VIGIA_NONE;
}

/* ---- records in order ---- */

static int turn_page(struct pg_map *m, struct vigia_slice key, enum vigia__ordered_from from)
{
	struct pg_number direction, count;
	PGresult *page;
	int rc = map_call(m, VIGIA_PG_MAP_SEEK, key, vigia__pg_small(&direction, (int32_t)from),
	                  vigia__pg_small(&count, PAGE), &page);
	if (rc < 0) return rc;
	PQclear(m->page); /* `key` may have been in it */
	m->page = page;
	m->row = 0;
	return VIGIA_OK;
}

/* The next row of the server that no change has replaced. VIGIA_NONE: there is none. */
static int next_row(struct pg_map *m, struct vigia_slice *found, struct vigia_slice *value)
{
	for (;; m->row++) {
		int rc = VIGIA_OK, count = PQntuples(m->page);
		if (m->row >= count) {
			if (count < PAGE) return VIGIA_NONE;
			rc = turn_page(m, vigia__pg_bytes(m->page, count - 1, 0), m->reverse ? VIGIA_BELOW : VIGIA_ABOVE);
			if (rc < 0) return rc;
			if (PQntuples(m->page) == 0) return VIGIA_NONE;
		}
		*found = vigia__pg_bytes(m->page, m->row, 0);
		*value = vigia__pg_bytes(m->page, m->row, 1);
		if (m->changes == NULL || !vigia__pg_changes_covers(m->changes, m->map, *found)) return VIGIA_OK;
	}
}

/* The server's next row, or what a change has put before it. */
static int step(struct pg_map *m, struct vigia_slice key, enum vigia__ordered_from from, struct vigia_slice *found,
                struct vigia_slice *value)
{
	struct vigia_slice put, put_value;
	int rc = next_row(m, found, value);
	bool is_put = m->changes && rc >= 0 && vigia__pg_changes_seek(m->changes, m->map, key, from, &put, &put_value);
	if (is_put && rc == VIGIA_OK) is_put = (vigia__ordered_compare(put, *found) < 0) != m->reverse;
	if (is_put) {
		*found = put;
		*value = put_value;
		rc = VIGIA_OK;
	} else if (rc == VIGIA_OK) {
		m->row++;
	}
	if (rc != VIGIA_OK || m->changes == NULL) return rc;
	vigia__buf_clear(&m->last, SIZE_MAX);
	return vigia__buf_add(&m->last, found->data, found->len) < 0 ? VIGIA_ENOMEM : VIGIA_OK;
}

static int map_seek(void *ctx, struct vigia_slice key, enum vigia__ordered_from from, struct vigia_slice *found,
                    struct vigia_slice *value)
{
	struct pg_map *m = ctx;
	m->reverse = from == VIGIA_AT_MOST || from == VIGIA_BELOW;
	int rc = turn_page(m, key, from);
	return rc == VIGIA_OK ? step(m, key, from, found, value) : rc;
}

static int map_next(void *ctx, struct vigia_slice *found, struct vigia_slice *value)
{
	struct pg_map *m = ctx;
	struct vigia_slice last = {(const char *)m->last.data, m->last.len};
	return step(m, last, m->reverse ? VIGIA_BELOW : VIGIA_ABOVE, found, value);
}

/* ---- changes ---- */

/* What other processes are to be told of. */
static void note(const struct pg_map *m, struct vigia_slice key)
{
	if (m->map == VIGIA_MAP_TIMERS) m->b->changed_timers = true;
	else if (key.len > 0 && key.data[0] == 'n') m->b->changed_letters = true; /* the counts of letters.c */
	else if (key.len > 0 && (key.data[0] == 'p' || key.data[0] == 'q')) m->b->changed_steers = true; /* steer.c */
}

static int map_put(void *ctx, struct vigia_slice key, struct vigia_slice value)
{
	struct pg_map *m = ctx;
	note(m, key);
	return vigia__pg_changes_put(m->changes, m->map, key,
	                             value.data ? value : (struct vigia_slice){"", 0}); /* a value without bytes is one */
}

static int map_del(void *ctx, struct vigia_slice key)
{
	struct pg_map *m = ctx;
	struct vigia_slice value;
	int rc = map_get(ctx, key, &value);
	if (rc != VIGIA_OK) return rc;
	note(m, key);
	return vigia__pg_changes_put(m->changes, m->map, key, (struct vigia_slice){NULL, 0});
}

static int with_map(struct pg_map *m, vigia__state_fn fn, void *arg)
{
	bool changes = m->changes != NULL;
	struct vigia__kv kv = {
		m, map_get, map_seek, map_next, changes ? map_put : NULL, changes ? map_del : NULL,
	};
	int rc = fn(&kv, arg, m->err);
	PQclear(m->got);
	PQclear(m->page);
	vigia__buf_deinit(&m->last);
	return rc;
}

int vigia__pg_change(struct pg_backend *b, struct pg_changes *c, enum vigia__map map, vigia__state_fn fn, void *arg,
                     struct vigia_error *err)
{
	struct pg_map m = {
		.b = b, .link = &b->writer, .map = map, .until_mono_ns = vigia__pg_until(&b->writer), .err = err, .changes = c};
	return with_map(&m, fn, arg);
}

static int read_bounds(struct pg_link *link, uint64_t *oldest, uint64_t *latest, int64_t until, struct vigia_error *err)
{
	PGresult *row;
	int rc = vigia__pg_call(link, VIGIA_PG_BOUNDS, NULL, &row, until, "read", err);
	if (rc < 0) return rc;
	*oldest = (uint64_t)vigia__pg_int(row, 0, 0);
	*latest = (uint64_t)vigia__pg_int(row, 0, 1);
	PQclear(row);
	return VIGIA_OK;
}

/* An empty map that nobody has asked for yet costs its transaction too: that is two round trips more. oldest NULL: the
 * bounds are not asked for. */
int vigia__pg_view_at(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg, uint64_t *oldest,
                      uint64_t *latest, struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	struct pg_link *link = &b->reader;
	struct vigia_error own;
	if (err == NULL) err = &own;
	int rc = vigia__pg_settle_to_read(b, err);
	if (rc < 0) return rc;
	pthread_mutex_lock(&link->mutex);
	int64_t until = vigia__pg_until_to_read(link);
	bool connected;
	do {
		rc = vigia__pg_link_ready(link, until, err);
		connected = rc == VIGIA_OK;
		if (connected)
			rc = vigia__pg_exec(link, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, until, "read", err);
	} while (connected && vigia__pg_again(link, &rc, until, err)); /* not behind this: fn is called once */
	if (rc == VIGIA_OK) {
		struct pg_map m = {.b = b, .link = link, .map = map, .until_mono_ns = until, .err = err};
		rc = with_map(&m, fn, arg);
		if (rc == VIGIA_OK && oldest) rc = read_bounds(link, oldest, latest, until, err);
		if (link->conn && vigia__pg_exec(link, "COMMIT", NULL, until, "read", NULL) < 0) vigia__pg_link_close(link);
	}
	pthread_mutex_unlock(&link->mutex);
	return rc;
}

int vigia__pg_view(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg,
                   struct vigia_error *err)
{
	return vigia__pg_view_at(base, map, fn, arg, NULL, NULL, err);
}
