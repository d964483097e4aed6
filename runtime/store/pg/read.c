/*
 * read.c - reads events, on the reader's connection. What watchers read comes from tail.c.
 *
 * Events are stored stamped with number and time 0, because the server gives both. A reader checks that sum, then
 * stamps what the server says. An event whose sum is wrong is left as it is, so that who decodes it finds the damage.
 */
#include "../../core/error.h"
#include "../../core/event.h"
#include "pg_private.h"
#include "sql_event.h"

enum {
	PAGE_EVENTS = 1000,
	PAGE_BYTES = 1 << 20 /* at least, where the filter may drop events */
};

static bool add_event(struct pg_take *take, uint64_t seq_num, const int64_t *at_ns, struct vigia_slice event)
{
	struct vigia_batch *batch = take->batch;
	if (vigia__batch_add(batch, seq_num, event.data, event.len) < 0) {
		take->no_memory = true;
		return false;
	}
	uint8_t *bytes = batch->bytes.data + batch->entries[batch->count - 1].offset;
	if (at_ns && vigia__event_intact(bytes, event.len, 0)) vigia__event_stamp(bytes, event.len, seq_num, *at_ns);
	take->bytes += event.len;
	take->copied++;
	return true;
}

void vigia__pg_take_begin(struct pg_take *take, struct vigia__scan *scan, struct vigia_batch *batch)
{
	*take = (struct pg_take){
		.scan = scan, .batch = batch, .from = scan->from, .objects = vigia__filter_places(scan->filter) > 0};
	scan->looked_at = scan->gone = 0;
	if (take->from > INT64_MAX) take->from = INT64_MAX; /* no event has a higher number */
}

bool vigia__pg_take(struct pg_take *take, uint64_t seq_num, const int64_t *at_ns, struct vigia_slice event)
{
	struct vigia__scan *scan = take->scan;
	bool wanted = vigia__filter_match(scan->filter, (const uint8_t *)event.data, event.len);
	if (wanted) {
		if ((take->copied > 0 || scan->goes_on) && take->bytes + event.len > scan->bytes_max) return false;
		if (!add_event(take, seq_num, at_ns, event)) return false;
	}
	scan->looked_at = seq_num;
	take->from = seq_num + 1;
	if (take->copied >= scan->count_max) return false;
	take->cost += wanted ? 0 : 1 + (take->objects ? event.len / VIGIA_SCAN_COST_BYTES : 0);
	return true;
}

/* Ask for events from take->from on. *goes_on: more may be wanted of those behind. */
static int turn_page(struct pg_backend *b, struct pg_take *take, bool *goes_on, struct vigia_error *err)
{
	struct vigia__scan *scan = take->scan;
	struct pg_number from, count, bytes;
	size_t left = scan->count_max - take->copied;
	size_t room = scan->bytes_max > take->bytes ? scan->bytes_max - take->bytes : 0;
	bool all = scan->filter == NULL;
	int32_t most = all && left < PAGE_EVENTS ? (int32_t)left : PAGE_EVENTS;
	if (!all && room < PAGE_BYTES) room = PAGE_BYTES;
	const struct pg_param params[] = {vigia__pg_big(&from, (int64_t)take->from), vigia__pg_small(&count, most),
	                                  vigia__pg_big(&bytes, room < INT64_MAX ? (int64_t)room + 1 : INT64_MAX)};
	PGresult *rows;
	int rc = vigia__pg_ask(b, VIGIA_PG_READ, params, &rows, "read", err);
	if (rc < 0) return rc;
	uint64_t oldest = (uint64_t)vigia__pg_int(rows, 0, 0), latest = (uint64_t)vigia__pg_int(rows, 0, 1);
	uint64_t first = oldest > 0 ? oldest : latest + 1;
	if (scan->looked_at == 0 && first > scan->from) scan->gone = first - scan->from;
	*goes_on = PQntuples(rows) > 1;
	for (int row = 1; row < PQntuples(rows) && *goes_on; row++) {
		int64_t at_ns = vigia__pg_int(rows, row, 1);
		*goes_on = vigia__pg_take(take, (uint64_t)vigia__pg_int(rows, row, 0), &at_ns,
		                          vigia__pg_sql_event(vigia__pg_bytes(rows, row, 2)));
	}
	scan->at_end = oldest == 0 || take->from > latest;
	PQclear(rows);
	return rc;
}

int vigia__pg_scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch,
                   struct vigia_error *err)
{
	struct pg_take take;
	bool goes_on;
	vigia__pg_take_begin(&take, scan, batch);
	for (;;) {
		int rc = turn_page(pg_of(base), &take, &goes_on, err);
		if (take.no_memory && take.copied == 0)
			return vigia__error(err, VIGIA_ENOMEM, "no memory for a batch of events");
		if (rc < 0) return take.copied > 0 ? VIGIA_OK : rc;
		if (!goes_on || scan->at_end || take.no_memory) return VIGIA_OK;
		/* What was copied is worth more than a longer way. */
		if (take.copied > 0 && scan->filter == NULL) return VIGIA_OK;
		if (take.cost > 0 && vigia__mono_ns() >= scan->until_mono_ns) return VIGIA_OK;
	}
}

int vigia__pg_bounds(struct vigia__backend *base, uint64_t *oldest, uint64_t *latest, struct vigia_error *err)
{
	PGresult *row;
	int rc = vigia__pg_ask(pg_of(base), VIGIA_PG_BOUNDS, NULL, &row, "read", err);
	if (rc < 0) return rc;
	*oldest = (uint64_t)vigia__pg_int(row, 0, 0);
	*latest = (uint64_t)vigia__pg_int(row, 0, 1);
	PQclear(row);
	return VIGIA_OK;
}

int vigia__pg_find_time(struct vigia__backend *base, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err)
{
	struct pg_number number;
	const struct pg_param param = vigia__pg_big(&number, at_ns);
	PGresult *row;
	int rc = vigia__pg_ask(pg_of(base), VIGIA_PG_FIND_TIME, &param, &row, "read", err);
	if (rc < 0) return rc;
	rc = PQgetisnull(row, 0, 0) ? VIGIA_NONE : VIGIA_OK;
	*seq_num = (uint64_t)vigia__pg_int(row, 0, 0);
	PQclear(row);
	return rc;
}
