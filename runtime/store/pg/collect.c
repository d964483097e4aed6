/*
 * collect.c - removes events: by hand, and what core/retention.c says may go.
 *
 * A slice is one transaction under the collector's lock, which a new hold takes too: so none is made below what is
 * being removed. It never takes the writer's lock: appends go on meanwhile. Ages are measured as for a file, by the
 * time that the collector's machine is up; where another machine collected before, by the server's wall clock, since
 * those of the machines may differ.
 */
#include <stdio.h>

#include "../../core/error.h"
#include "../collect.h"
#include "pg_private.h"

enum {
	TRIM_MOST = 5000,    /* events in one transaction of a trim */
	VACUUM_EACH = 20000, /* removals, after which their room is made free */
};

/* ---- room ---- */

/* So that new events find room where old ones were. The server does that by itself, too, but looks once a minute, while
 * a log may have removed ten times what it holds. On a connection for that alone, since it takes a while. A role that
 * does not own the table gets a warning and changes nothing. */
static void make_room(struct pg_backend *b)
{
	struct pg_link *link = &b->cleaner;
	char text[2 * VIGIA_PG_NAME_MAX + 128];
	if (pthread_mutex_trylock(&link->mutex) != 0) return; /* another thread does */
	snprintf(text, sizeof text, "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF, SKIP_LOCKED ON) \"%s\".events, \"%s\".keys",
	         b->location.schema, b->location.schema);
	int64_t until = vigia__pg_until(link);
	if (vigia__pg_link_ready(link, until, NULL) == VIGIA_OK)
		vigia__pg_exec(link, text, NULL, until, "make room in", NULL);
	vigia__pg_link_close(link);
	pthread_mutex_unlock(&link->mutex);
}

static void count_removed(struct pg_backend *b, uint64_t count)
{
	if (atomic_fetch_add(&b->removed, count) + count < VACUUM_EACH) return;
	atomic_store(&b->removed, 0);
	make_room(b);
}

/* ---- by hand ---- */

static int trim_some(struct pg_backend *b, uint64_t upto, uint64_t most, PGresult **row, struct vigia_error *err)
{
	struct pg_number first, second;
	const struct pg_param params[] = {vigia__pg_big(&first, (int64_t)upto), vigia__pg_big(&second, (int64_t)most)};
	return vigia__pg_step(b, VIGIA_PG_TRIM, params, row, err);
}

/* What is gone is not read from memory any more. */
static void note_trimmed(struct pg_backend *b, uint64_t oldest, uint64_t latest)
{
	vigia__pg_tail_trimmed(b, oldest > 0 ? oldest : latest + 1);
}

/* A slice that is done a second time, after a lost answer, goes on from where the first one ended: so what is removed
 * is told by the numbers. */
int vigia__pg_trim(struct vigia__backend *base, uint64_t upto, uint64_t *removed, struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	struct pg_number first, second;
	const struct pg_param params[] = {vigia__pg_big(&first, (int64_t)upto), vigia__pg_big(&second, TRIM_MOST)};
	uint64_t oldest, latest;
	int rc = vigia__pg_bounds(base, &oldest, &latest, err);
	if (rc == VIGIA_OK && oldest > 0 && upto >= oldest) *removed = upto - oldest + 1;
	for (bool more = rc == VIGIA_OK && *removed > 0; more;) {
		PGresult *row;
		rc = vigia__pg_do(b, VIGIA_PG_TRIM, params, &row, "remove events from", err);
		if (rc < 0) return rc;
		oldest = (uint64_t)vigia__pg_int(row, 0, 1);
		more = oldest > 0 && oldest <= upto;
		note_trimmed(b, oldest, (uint64_t)vigia__pg_int(row, 0, 2));
		count_removed(b, (uint64_t)vigia__pg_int(row, 0, 0));
		PQclear(row);
	}
	return rc;
}

/* ---- a slice of a collection ---- */

struct slice {
	struct vigia__collect *collect;
	struct vigia__collect result;
	struct vigia_store_options settings;
	struct pg_array owned;
};

/* Write a mark if one is due. *old: the last number that is older than the age. */
static int read_marks(struct pg_backend *b, const struct slice *s, uint64_t latest, uint64_t *old,
                      struct vigia_error *err)
{
	PGresult *rows;
	int64_t age = s->settings.gc_age_threshold_ns;
	int rc = vigia__pg_step(b, VIGIA_PG_MARKS, NULL, &rows, err);
	if (rc < 0) return rc;
	struct vigia__mark mark, last = {0}, new = {.seq_num = latest};
	int count = PQgetisnull(rows, 0, 0) ? 0 : PQntuples(rows);
	b->base.clock(&new.clock);
	if (b->base.clock == vigia__clock_now && PQntuples(rows) > 0)
		new.clock.wall_ns = vigia__pg_int(rows, 0, 5); /* not a test's */
	for (int row = 0; row < count; row++)
		last = (struct vigia__mark){
			.at_ns = vigia__pg_int(rows, row, 0),
			.seq_num = (uint64_t)vigia__pg_int(rows, row, 1),
			.clock = {vigia__pg_int(rows, row, 2), vigia__pg_int(rows, row, 3), (uint64_t)vigia__pg_int(rows, row, 4)}};
	new.at_ns = vigia__retention_now(count > 0 ? &last : NULL, &new.clock);
	bool due = vigia__retention_mark_due(count > 0 ? &last : NULL, latest, new.at_ns, age);
	int64_t keep = 0;
	*old = 0;
	for (int row = 0; row < count; row++) {
		mark = (struct vigia__mark){.at_ns = vigia__pg_int(rows, row, 0)};
		if (!vigia__retention_old(&mark, new.at_ns, age)) break;
		*old = (uint64_t)vigia__pg_int(rows, row, 1);
		keep = mark.at_ns; /* of those that are old only the newest is needed */
	}
	PQclear(rows);
	if (!due && keep == 0) return VIGIA_OK;
	struct pg_number numbers[6];
	const struct pg_param params[] = {
		vigia__pg_big(&numbers[0], new.at_ns),
		vigia__pg_big(&numbers[1], due ? (int64_t)latest : 0),
		vigia__pg_big(&numbers[2], new.clock.wall_ns),
		vigia__pg_big(&numbers[3], new.clock.boot_ns),
		vigia__pg_big(&numbers[4], (int64_t) new.clock.boot_id),
		vigia__pg_big(&numbers[5], keep),
	};
	return vigia__pg_step(b, VIGIA_PG_MARK, params, NULL, err);
}

static int read_holders(struct pg_backend *b, const struct slice *s, struct vigia__holders *holders,
                        struct vigia_error *err)
{
	struct pg_number number;
	PGresult *row;
	const struct pg_param ttl = vigia__pg_big(&number, s->settings.checkpoint_ttl_ns);
	if (s->collect->first && s->settings.checkpoint_ttl_ns > 0) {
		struct pg_array copy = s->owned;
		const struct pg_param ids = vigia__pg_array_end(&copy);
		int rc = vigia__pg_step(b, VIGIA_PG_TOUCH_ALL, &ids, NULL, err);
		if (rc < 0) return rc;
	}
	int rc = vigia__pg_step(b, VIGIA_PG_HOLDERS, &ttl, &row, err);
	if (rc < 0) return rc;
	*holders = (struct vigia__holders){0};
	struct vigia_slice id = vigia__pg_bytes(row, 0, 3);
	if (vigia__pg_int(row, 0, 1) > 0)
		vigia__holders_add(holders, id.data, id.len, (uint64_t)vigia__pg_int(row, 0, 2), true);
	holders->count = (size_t)vigia__pg_int(row, 0, 0);
	holders->live = (size_t)vigia__pg_int(row, 0, 1);
	PQclear(row);
	return VIGIA_OK;
}

/* How far to go for max_bytes. */
static int read_heavy(struct pg_backend *b, const struct slice *s, uint64_t *heavy, struct vigia_error *err)
{
	struct pg_number number;
	PGresult *row;
	const struct pg_param bytes = vigia__pg_big(&number, s->settings.max_bytes);
	*heavy = 0;
	if (s->settings.max_bytes == 0) return VIGIA_OK;
	int rc = vigia__pg_step(b, VIGIA_PG_HEAVY, &bytes, &row, err);
	if (rc < 0) return rc;
	*heavy = (uint64_t)vigia__pg_int(row, 0, 0);
	PQclear(row);
	return VIGIA_OK;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int collect_slice(struct pg_backend *b, void *arg, struct vigia_error *err)
{
	struct slice *s = arg;
	struct vigia__holders holders;
	uint64_t oldest = 0, latest = 0, old = 0, heavy = 0;
	PGresult *row = NULL;
	s->result = *s->collect;
	int rc = vigia__pg_step(b, VIGIA_PG_LOCK_COLLECTOR, NULL, NULL, err);
	if (rc == VIGIA_OK) rc = vigia__pg_step(b, VIGIA_PG_BOUNDS, NULL, &row, err);
	if (rc < 0) return rc;
	oldest = (uint64_t)vigia__pg_int(row, 0, 0);
	latest = (uint64_t)vigia__pg_int(row, 0, 1);
	PQclear(row);
	rc = read_marks(b, s, latest, &old, err);
	if (rc == VIGIA_OK) rc = read_holders(b, s, &holders, err);
	if (rc == VIGIA_OK) rc = read_heavy(b, s, &heavy, err);
	if (rc < 0) return rc;
	struct vigia__verdict *verdict = &s->result.verdict;
	vigia__retention_decide(&s->settings, &holders, oldest, latest, old, verdict);
	uint64_t upto = smaller(heavy, verdict->bytes_upto);
	if (upto < verdict->upto) upto = verdict->upto;
	rc = trim_some(b, upto, vigia__collect_share(s->collect, latest), &row, err);
	if (rc < 0) return rc;
	s->result.removed = (uint64_t)vigia__pg_int(row, 0, 0);
	s->result.oldest = (uint64_t)vigia__pg_int(row, 0, 1);
	s->result.latest = latest;
	s->result.more = s->result.oldest > 0 && s->result.oldest <= upto;
	if (heavy > upto && !s->result.more && verdict->reason == VIGIA_GC_DONE) verdict->reason = VIGIA_GC_HELD;
	PQclear(row);
	return VIGIA_OK;
}

int vigia__pg_collect(struct vigia__backend *base, struct vigia__collect *collect, struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	struct vigia__settings settings;
	struct slice s = {.collect = collect};
	int rc = vigia__pg_settings(base, &settings, err);
	if (rc < 0) return rc;
	s.settings = settings.values;
	if (vigia__pg_owned_ids(b, &s.owned) < 0) rc = vigia__error(err, VIGIA_ENOMEM, "no memory to collect");
	if (rc == VIGIA_OK) rc = vigia__pg_transaction(b, collect_slice, &s, "remove events from", err);
	vigia__pg_array_deinit(&s.owned);
	if (rc == VIGIA_OK) *collect = s.result;
	if (rc == VIGIA_OK && s.result.removed > 0) {
		note_trimmed(b, s.result.oldest, s.result.latest);
		count_removed(b, s.result.removed);
	}
	return rc;
}
