/*
 * calls.c - calls on the connections of a backend: one on the reader's, one or a transaction on the writer's.
 */
#include "../../core/error.h"
#include "pg_private.h"

int64_t vigia__pg_until_to_read(const struct pg_link *link)
{
	int64_t now = vigia__mono_ns();
	bool away = link->conn == NULL && now < link->away_until_mono_ns; /* as it was a moment ago: do not wait */
	return away ? now : vigia__pg_until(link);
}

int vigia__pg_ask(struct pg_backend *b, enum pg_statement statement, const struct pg_param *params, PGresult **out,
                  const char *what, struct vigia_error *err)
{
	struct pg_link *link = &b->reader;
	*out = NULL;
	int rc = vigia__pg_settle_to_read(b, err);
	if (rc < 0) return rc;
	pthread_mutex_lock(&link->mutex);
	int64_t until = vigia__pg_until_to_read(link);
	bool connected;
	do {
		rc = vigia__pg_link_ready(link, until, err);
		connected = rc == VIGIA_OK;
		if (connected) rc = vigia__pg_call(link, statement, params, out, until, what, err);
		/* A connection that was there may have broken long ago: then a new one is as good. Without any it fails now. */
	} while (connected && vigia__pg_again(link, &rc, until, err));
	pthread_mutex_unlock(&link->mutex);
	return rc;
}

int vigia__pg_do(struct pg_backend *b, enum pg_statement statement, const struct pg_param *params, PGresult **out,
                 const char *what, struct vigia_error *err)
{
	struct pg_link *link = &b->writer;
	int rc;
	if (out) *out = NULL;
	pthread_mutex_lock(&link->mutex);
	int64_t until = vigia__pg_until(link);
	do {
		rc = vigia__pg_link_ready(link, until, err);
		if (rc == VIGIA_OK) rc = vigia__pg_call(link, statement, params, out, until, what, err);
	} while (vigia__pg_again(link, &rc, until, err));
	pthread_mutex_unlock(&link->mutex);
	return rc;
}

int vigia__pg_step(struct pg_backend *b, enum pg_statement statement, const struct pg_param *params, PGresult **out,
                   struct vigia_error *err)
{
	return vigia__pg_call(&b->writer, statement, params, out, vigia__pg_until(&b->writer), "change", err);
}

int vigia__pg_transaction(struct pg_backend *b, int (*fn)(struct pg_backend *b, void *arg, struct vigia_error *err),
                          void *arg, const char *what, struct vigia_error *err)
{
	struct pg_link *link = &b->writer;
	int rc;
	pthread_mutex_lock(&link->mutex);
	int64_t until = vigia__pg_until(link);
	do {
		rc = vigia__pg_link_ready(link, until, err);
		if (rc == VIGIA_OK) rc = vigia__pg_exec(link, "BEGIN ISOLATION LEVEL READ COMMITTED", NULL, until, what, err);
		if (rc == VIGIA_OK) rc = fn(b, arg, err);
		if (rc == VIGIA_OK) rc = vigia__pg_exec(link, "COMMIT", NULL, until, what, err);
		else vigia__pg_rollback(link, until, what);
	} while (vigia__pg_again(link, &rc, until, err));
	pthread_mutex_unlock(&link->mutex);
	return rc;
}
