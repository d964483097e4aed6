/*
 * lmdb_settings.c - reads and changes the settings of a store file, and notices changes by other processes.
 *
 * A change sets a word in the side file to another value before the commit, under the writer's lock, and marks it until
 * the outcome is known. A writer compares the word after taking that lock. So everything committed after a change was
 * written with the changed settings. A failed commit leaves the word changed, which only causes another read.
 *
 * Without the lock (queue.c) the settings are read together with the word, and kept until it changes. They are not kept
 * while it is marked, because the commit may come in between. The changer removes the mark after its commit. If it was
 * killed, the next writer does: while it has the lock, no other change is in progress.
 *
 * The beginning and the end of an import are told in the same way.
 */
#include <string.h>

#include "../core/error.h"
#include "lmdb_private.h"

MDB_val vigia__lmdb_import_key(void)
{
	return (MDB_val){6, "import"};
}

/* MDB_NOTFOUND: there is none. */
int vigia__lmdb_import_mark_get(struct lmdb_backend *b, MDB_txn *txn, struct vigia__import_mark *out)
{
	MDB_val key = vigia__lmdb_import_key(), value = {0};
	int rc = mdb_get(txn, b->meta, &key, &value);
	if (rc != 0) return rc;
	if (value.mv_size < sizeof *out || !vigia__lmdb_sane(b, &value)) return MDB_CORRUPTED;
	memcpy(out, value.mv_data, sizeof *out);
	return 0;
}

int vigia__lmdb_import_look(struct lmdb_backend *b, MDB_txn *txn)
{
	struct vigia__import_mark mark;
	int rc = vigia__lmdb_import_mark_get(b, txn, &mark);
	if (rc == 0 || rc == MDB_NOTFOUND) atomic_store(&b->base.importing, rc == 0);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

void vigia__lmdb_settings_adopt(struct lmdb_backend *b, const struct vigia__settings *settings)
{
	const struct vigia_store_options *now = &b->settings.values;
	pthread_mutex_lock(&b->settings_mutex);
	if (settings) vigia__settings_copy(&b->settings, settings);
	atomic_store(&b->base.max_event_size, now->max_event_size_bytes);
	atomic_store(&b->base.durability, now->durability);
	if (b->env) mdb_env_set_flags(b->env, MDB_NOSYNC, now->durability == VIGIA_DURABILITY_NONE);
	pthread_mutex_unlock(&b->settings_mutex);
}

/* Under the writer's lock. */
int vigia__lmdb_settings_follow(struct lmdb_backend *b, MDB_txn *txn)
{
	vigia__word_change_end(b->base.settings_word); /* the changer was killed, or will do it itself */
	uint32_t word = atomic_load(b->base.settings_word);
	if (word == b->settings_seen) return 0;
	struct vigia__settings settings;
	int rc = vigia__lmdb_settings_get(b, txn, &settings);
	if (rc == 0) rc = vigia__lmdb_import_look(b, txn);
	if (rc != 0) return rc;
	vigia__lmdb_settings_adopt(b, &settings);
	b->settings_seen = word;
	return 0;
}

int vigia__lmdb_settings(struct vigia__backend *base, struct vigia__settings *out, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	rc = vigia__lmdb_settings_get(b, reader->txn, out);
	vigia__lmdb_read_end(b, reader);
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "read its settings", err);
}

struct change {
	struct lmdb_backend *b;
	const struct vigia_store_options *changes;
	struct vigia__settings settings; /* out */
};

static int change_call(void *txn, void *arg, struct vigia_error *err)
{
	struct change *change = arg;
	struct lmdb_backend *b = change->b;
	struct vigia__problems problems = {0};
	int rc = vigia__lmdb_settings_get(b, txn, &change->settings);
	if (rc != 0) return rc;
	vigia__settings_change(&change->settings, change->changes, &problems);
	rc = vigia__problems_end(&problems, b->path, err);
	if (rc < 0) return rc;
	rc = vigia__lmdb_settings_put(b, txn, &change->settings);
	if (rc != 0) return rc;
	/* If the commit fails, the next write sees another word and reads the file again. This commit is always synced: a
	 * change from "none" makes earlier commits durable, a change to "none" is the last durable one. */
	vigia__word_change_begin(b->base.settings_word);
	vigia__lmdb_settings_adopt(b, &change->settings);
	mdb_env_set_flags(b->env, MDB_NOSYNC, 0);
	vigia__journal_doubt(b); /* its generation is of the settings before */
	return 0;
}

int vigia__lmdb_configure(struct vigia__backend *base, const struct vigia_store_options *changes,
                          struct vigia_error *err)
{
	struct change change = {.b = (struct lmdb_backend *)base, .changes = changes};
	int rc = vigia__commit_call(&change.b->commit, VIGIA_TICKET_FREE, change_call, &change, err);
	vigia__word_change_end(base->settings_word);
	return rc;
}
