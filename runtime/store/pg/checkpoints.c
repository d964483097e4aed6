/*
 * checkpoints.c - checkpoints and holds, but for those that travel with a commit (commit.c).
 */
#include <stdio.h>

#include "../../core/alloc.h"
#include "../../core/error.h"
#include "../../core/iterator.h"
#include "pg_private.h"

static struct pg_param id_of(const char *id)
{
	return vigia__pg_blob(id, strlen(id));
}

int vigia__pg_checkpoint_get(struct vigia__backend *base, const char *id, uint64_t *seq_num, struct vigia_error *err)
{
	const struct pg_param param = id_of(id);
	PGresult *row;
	int rc = vigia__pg_ask(pg_of(base), VIGIA_PG_CHECKPOINT_GET, &param, &row, "read a checkpoint in", err);
	if (rc < 0) return rc;
	if (PQgetisnull(row, 0, 0)) rc = vigia__no_checkpoint(id, err);
	else *seq_num = (uint64_t)vigia__pg_int(row, 0, 0);
	PQclear(row);
	return rc;
}

/* A second time after a lost answer it may find nothing left to delete, which is then an error too much: rare, and no
 * harm. */
int vigia__pg_checkpoint_delete(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	const struct pg_param param = id_of(id);
	PGresult *row;
	int rc = vigia__pg_do(pg_of(base), VIGIA_PG_CHECKPOINT_DELETE, &param, &row, "delete a checkpoint in", err);
	if (rc < 0) return rc;
	if (!vigia__pg_bool(row, 0, 0)) rc = vigia__no_checkpoint(id, err);
	PQclear(row);
	return rc;
}

/* `fn` may use the store: it is called with the rows, without a lock. */
int vigia__pg_checkpoint_each(struct vigia__backend *base, bool holds, void *ctx, vigia_checkpoint_fn fn,
                              struct vigia_error *err)
{
	struct pg_number number;
	const struct pg_param param = vigia__pg_truth(&number, holds);
	PGresult *rows;
	int rc = vigia__pg_ask(pg_of(base), VIGIA_PG_CHECKPOINT_EACH, &param, &rows, "read the checkpoints in", err);
	if (rc < 0) return rc;
	for (int row = 0; row < PQntuples(rows); row++) {
		char id[VIGIA_NAME_MAX + 1];
		struct vigia_slice bytes = vigia__pg_bytes(rows, row, 0);
		snprintf(id, sizeof id, "%.*s", (int)bytes.len, bytes.data);
		fn(ctx, id, (uint64_t)vigia__pg_int(rows, row, 1));
	}
	PQclear(rows);
	return VIGIA_OK;
}

int vigia__pg_hold(struct vigia__backend *base, const char *id, struct vigia_iterator from, uint64_t *seq_num,
                   bool *made, struct vigia_error *err)
{
	bool horizon = from.kind == VIGIA_TRIM_HORIZON, open = horizon || from.kind == VIGIA_LATEST;
	struct pg_number seq, truth;
	const struct pg_param params[] = {
		id_of(id),
		open ? (struct pg_param){NULL, 0} : vigia__pg_big(&seq, (int64_t)(vigia__iterator_first(from) - 1)),
		vigia__pg_truth(&truth, horizon),
	};
	PGresult *row;
	int rc = vigia__pg_do(pg_of(base), VIGIA_PG_HOLD, params, &row, "hold events in", err);
	if (rc < 0) return rc;
	rc = vigia__pg_bool(row, 0, 0) ? VIGIA_NONE : VIGIA_OK;
	*seq_num = (uint64_t)vigia__pg_int(row, 0, 1);
	*made = vigia__pg_bool(row, 0, 2);
	PQclear(row);
	return rc;
}

int vigia__pg_touch(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	struct vigia__settings settings;
	const struct pg_param param = id_of(id);
	int rc = vigia__pg_settings(base, &settings, err);
	if (rc < 0 || settings.values.checkpoint_ttl_ns == 0) return rc;
	return vigia__pg_do(pg_of(base), VIGIA_PG_TOUCH, &param, NULL, "renew a checkpoint in", err);
}
