/*
 * doubt.c - what became of a commit whose answer was lost.
 *
 * The server is asked, and from then on never does it later. The question is itself a commit: where standbys must
 * confirm, its answer confirms the one before, too.
 */
#include "../../core/error.h"
#include "pg_private.h"

int vigia__pg_settle(struct pg_backend *b, PGresult **out, int64_t until, struct vigia_error *err)
{
	struct pg_number counter;
	const struct pg_param params[] = {vigia__pg_blob(b->client, sizeof b->client), vigia__pg_big(&counter, b->counter)};
	int rc;
	*out = NULL;
	do {
		rc = vigia__pg_link_ready(&b->writer, until, err);
		if (rc == VIGIA_OK) rc = vigia__pg_call(&b->writer, VIGIA_PG_SETTLE, params, out, until, "store in", err);
	} while (vigia__pg_again(&b->writer, &rc, until, err));
	if (rc == VIGIA_OK && PQgetisnull(*out, 0, 0)) {
		PQclear(*out);
		*out = NULL;
	} else if (rc == VIGIA_OK) {
		atomic_store(&b->untold, true); /* others may not have been told */
	}
	return rc;
}

int vigia__pg_settle_doubt(struct pg_backend *b, int64_t until, struct vigia_error *err)
{
	PGresult *result;
	if (!atomic_load(&b->in_doubt)) return VIGIA_OK;
	int rc = vigia__pg_settle(b, &result, until, err);
	if (rc < 0) return rc;
	b->doubt_done = result != NULL;
	atomic_store(&b->in_doubt, false);
	PQclear(result);
	return VIGIA_OK;
}

/* Who got commit_unknown looks, and what it finds must not change: so a read of this process settles first. */
int vigia__pg_settle_to_read(struct pg_backend *b, struct vigia_error *err)
{
	if (!atomic_load(&b->in_doubt)) return VIGIA_OK;
	pthread_mutex_lock(&b->writer.mutex);
	int rc = vigia__pg_settle_doubt(b, vigia__pg_until(&b->writer), err);
	pthread_mutex_unlock(&b->writer.mutex);
	return rc;
}
