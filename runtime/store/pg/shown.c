/*
 * shown.c - the rows of running watchers (rows.h), for processes that do not share their memory: once a second the
 * thread that listens puts those that have changed into a table of the log.
 *
 * Times in a row are of its process's clock. Those that a rate is computed from are shifted to the reader's, by the
 * row's age on the server's.
 */
#include <endian.h>
#include <stdio.h>

#include "../../core/error.h"
#include "pg_private.h"

/* A row's numbers, in this order, each in 8 bytes, big-endian. */
enum { NUMBERS = 21, SAMPLED_AT = 14, SAMPLED = 17, WRITTEN = 20 };
struct numbers {
	uint64_t at[NUMBERS];
};
_Static_assert(SAMPLED - SAMPLED_AT == VIGIA_ROW_SAMPLES && WRITTEN - SAMPLED == VIGIA_ROW_SAMPLES, "their places");

static struct numbers pack(const struct vigia__row_told *t)
{
	struct numbers n = {{t->flags, t->position, t->processed, t->failed, t->retried, t->skipped, t->dead_lettered,
	                     t->missed, t->fetch_errors, t->blocked, t->attempts, (uint64_t)t->started_at_ns,
	                     (uint64_t)t->next_attempt_at_ns, (uint64_t)t->failed_at_ns}};
	for (int i = 0; i < VIGIA_ROW_SAMPLES; i++) {
		n.at[SAMPLED_AT + i] = (uint64_t)t->sampled_at_ns[i];
		n.at[SAMPLED + i] = t->sampled[i];
	}
	return n;
}

static void unpack(const struct numbers *n, struct vigia__row_told *t)
{
	t->flags = (uint32_t)n->at[0];
	uint64_t *counts[] = {&t->position,      &t->processed, &t->failed,       &t->retried, &t->skipped,
	                      &t->dead_lettered, &t->missed,    &t->fetch_errors, &t->blocked, &t->attempts};
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) *counts[i] = n->at[1 + i];
	t->started_at_ns = (int64_t)n->at[11];
	t->next_attempt_at_ns = (int64_t)n->at[12];
	t->failed_at_ns = (int64_t)n->at[13];
	for (int i = 0; i < VIGIA_ROW_SAMPLES; i++) {
		t->sampled_at_ns[i] = (int64_t)n->at[SAMPLED_AT + i];
		t->sampled[i] = n->at[SAMPLED + i];
	}
}

/* ---- putting ---- */

struct putting {
	struct pg_backend *b;
	struct pg_array places, ids, numbers, errors;
};

static int add_changed(void *ctx, const struct vigia__row_told *told)
{
	struct putting *p = ctx;
	struct numbers n = pack(told);
	if (told->torn) return VIGIA_OK; /* the next time */
	uint64_t now = vigia__table_hash(&n, sizeof n) ^ vigia__table_hash(told->id, strlen(told->id)) ^
	               vigia__table_hash(told->error, strlen(told->error)) * 3;
	if (p->b->shown[told->place] == now) return VIGIA_OK;
	p->b->shown[told->place] = now;
	n.at[WRITTEN] = (uint64_t)vigia__wall_ns();
	for (int i = 0; i < NUMBERS; i++) n.at[i] = htobe64(n.at[i]);
	vigia__pg_array_number(&p->places, told->place);
	vigia__pg_array_blob(&p->ids, told->id, strlen(told->id));
	vigia__pg_array_blob(&p->numbers, &n, sizeof n);
	vigia__pg_array_blob(&p->errors, told->error, strlen(told->error));
	return VIGIA_OK;
}

void vigia__pg_rows_put_again(struct pg_backend *b)
{
	memset(b->shown, 0, sizeof b->shown);
}

void vigia__pg_rows_put(struct pg_backend *b)
{
	struct putting p = {.b = b};
	struct pg_number unshown_number;
	uint64_t unshown;
	if (b->listener.conn == NULL) return;
	vigia__pg_array_begin(&p.places, VIGIA_PG_INT);
	vigia__pg_array_begin(&p.ids, VIGIA_PG_BYTES);
	vigia__pg_array_begin(&p.numbers, VIGIA_PG_BYTES);
	vigia__pg_array_begin(&p.errors, VIGIA_PG_BYTES);
	vigia__rows_each(&b->base.rows, add_changed, &p, &unshown);
	bool changed = p.places.count > 0 || unshown != b->unshown;
	const struct pg_param params[] = {
		vigia__pg_blob(b->client, sizeof b->client),
		vigia__pg_array_end(&p.places),
		vigia__pg_array_end(&p.ids),
		vigia__pg_array_end(&p.numbers),
		vigia__pg_array_end(&p.errors),
		vigia__pg_big(&unshown_number, (int64_t)unshown),
	};
	bool failed = p.places.failed || p.ids.failed || p.numbers.failed || p.errors.failed;
	if (changed && !failed)
		failed = vigia__pg_call(&b->listener, VIGIA_PG_ROWS_PUT, params, NULL, vigia__pg_until(&b->listener), "use",
		                        NULL) < 0;
	if (failed) vigia__pg_rows_put_again(b);
	else b->unshown = unshown;
	vigia__pg_array_deinit(&p.places);
	vigia__pg_array_deinit(&p.ids);
	vigia__pg_array_deinit(&p.numbers);
	vigia__pg_array_deinit(&p.errors);
}

/* ---- reading ---- */

static bool open_row(const PGresult *rows, int row, int64_t now_ns, struct vigia__row_told *out)
{
	struct vigia_slice id = vigia__pg_bytes(rows, row, 0), numbers = vigia__pg_bytes(rows, row, 1),
					   error = vigia__pg_bytes(rows, row, 2), host = vigia__pg_bytes(rows, row, 6);
	struct numbers n;
	if (numbers.len != sizeof n) return false;
	memcpy(&n, numbers.data, sizeof n);
	for (int i = 0; i < NUMBERS; i++) n.at[i] = be64toh(n.at[i]);
	*out = (struct vigia__row_told){.runs = vigia__pg_bool(rows, row, 4), .pid = (int32_t)vigia__pg_int(rows, row, 5)};
	unpack(&n, out);
	out->runs = out->runs && (out->flags & VIGIA_ROW_STATE) != VIGIA_STOPPED;
	snprintf(out->id, sizeof out->id, "%.*s", (int)id.len, id.data);
	snprintf(out->host, sizeof out->host, "%.*s", (int)host.len, host.data);
	snprintf(out->error, sizeof out->error, "%.*s", (int)error.len, error.data);
	int64_t shift = now_ns - vigia__pg_int(rows, row, 3) - (int64_t)n.at[WRITTEN];
	for (int i = 0; i < VIGIA_ROW_SAMPLES; i++)
		if (out->sampled_at_ns[i] != 0) out->sampled_at_ns[i] += shift;
	return true;
}

int vigia__pg_rows_of_others(struct vigia__backend *base, vigia__row_fn fn, void *ctx, uint64_t *unshown,
                             struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	const struct pg_param param = vigia__pg_blob(b->client, sizeof b->client);
	PGresult *rows;
	int rc = vigia__pg_ask(b, VIGIA_PG_ROWS, &param, &rows, "read the watchers of", err);
	for (int row = 0; rc == VIGIA_OK && row < PQntuples(rows); row++) {
		struct vigia__row_told told;
		if (PQgetisnull(rows, row, 0)) *unshown += (uint64_t)vigia__pg_int(rows, row, 3);
		else if (open_row(rows, row, vigia__backend_wall_ns(base), &told)) rc = fn(ctx, &told);
	}
	PQclear(rows);
	return rc;
}
