/*
 * statements.h - what is sent to the server: each is one call of a function of schema.sql, prepared once a connection.
 * @ stands for the log's schema.
 */
#ifndef VIGIA_STORE_PG_STATEMENTS_H
#define VIGIA_STORE_PG_STATEMENTS_H

/* name, how many parameters, text */
#define VIGIA_PG_STATEMENT_MAP(X)                                                                                   \
	X(META, 0, "SELECT format, id, created_at_ns, settings, settings_version, importing FROM @.meta_read()")        \
	X(META_WRITE, 2, "SELECT @.meta_write($1, $2)")                                                                 \
	X(NOTIFY, 1, "SELECT @.notify($1)")                                                                             \
	X(TELL, 1, "SELECT @.tell($1)")                                                                                 \
	X(AROUND, 0, "SELECT latest, processes FROM @.look_around()")                                                   \
	X(SIZES, 0, "SELECT file_bytes, used_bytes FROM @.sizes()")                                                     \
	X(COMMIT, 20,                                                                                                   \
	  "SELECT @.commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)") \
	X(SETTLE, 2, "SELECT @.settle($1, $2)")                                                                         \
	X(LEAVE, 1, "SELECT @.leave($1)")                                                                               \
	X(KEY_FIND, 1, "SELECT first, last FROM @.key_find($1)")                                                        \
	X(BOUNDS, 0, "SELECT oldest, latest FROM @.bounds()")                                                           \
	X(READ, 3, "SELECT seq, at_ns, bytes FROM @.read($1, $2, $3)")                                                  \
	X(FIND_TIME, 1, "SELECT @.find_time($1)")                                                                       \
	X(CHECKPOINT_GET, 1, "SELECT @.checkpoint_get($1)")                                                             \
	X(CHECKPOINT_EACH, 1, "SELECT id, seq FROM @.checkpoint_each($1)")                                              \
	X(CHECKPOINT_DELETE, 1, "SELECT @.checkpoint_delete($1)")                                                       \
	X(TOUCH, 1, "SELECT @.touch($1)")                                                                               \
	X(HOLD, 3, "SELECT has, seq, made FROM @.hold($1, $2, $3)")                                                     \
	X(ENTER, 6, "SELECT lost, id FROM @.enter($1, $2, $3, $4, $5, $6)")                                             \
	X(RENEW, 2, "SELECT @.renew($1, $2)")                                                                           \
	X(OWN, 3, "SELECT @.own($1, $2, $3)")                                                                           \
	X(DISOWN, 3, "SELECT @.disown($1, $2, $3)")                                                                     \
	X(ROWS_PUT, 6, "SELECT @.rows_put($1, $2, $3, $4, $5, $6)")                                                     \
	X(ROWS, 1, "SELECT id, numbers, error, age_ns, alive, pid, host FROM @.rows_of_others($1)")                     \
	X(OWNER, 1, "SELECT held, host, pid FROM @.owner($1)")                                                          \
	X(ELECT, 1, "SELECT @.elect($1)")                                                                               \
	X(RESIGN, 1, "SELECT @.resign($1)")                                                                             \
	X(TRIM, 2, "SELECT removed, oldest, latest FROM @.trim($1, $2)")                                                \
	X(HEAVY, 1, "SELECT @.heavy($1)")                                                                               \
	X(HOLDERS, 1, "SELECT count, live, seq, id FROM @.holders($1)")                                                 \
	X(TOUCH_ALL, 1, "SELECT @.touch_all($1)")                                                                       \
	X(MARKS, 0, "SELECT at_ns, seq, wall_ns, boot_ns, boot_id, now_ns FROM @.marks_read()")                         \
	X(MARK, 6, "SELECT @.mark($1, $2, $3, $4, $5, $6)")                                                             \
	X(LOCK_WRITER, 0, "SELECT @.lock_writer()")                                                                     \
	X(LOCK_COLLECTOR, 0, "SELECT @.lock_collector()")                                                               \
	X(MAP_GET, 2, "SELECT @.map_get($1, $2)")                                                                       \
	X(MAP_SEEK, 4, "SELECT key, value FROM @.map_seek($1, $2, $3, $4)")                                             \
	X(LOOK, 2, "SELECT map, key, value FROM @.look($1, $2)")                                                        \
	X(MAP_STORE, 3, "SELECT @.map_store($1, $2, $3)")                                                               \
	X(BESIDE, 0, "SELECT checkpoints, beyond, keys, keys_wrong, events FROM @.look_beside()")                       \
	X(KEYS_OF, 2, "SELECT key, first, last FROM @.keys_of($1, $2)")                                                 \
	X(GONE_AT, 0, "SELECT @.gone_at()")                                                                             \
	X(IMPORT_MARK, 0, "SELECT first_sum, records, bytes, sum FROM @.import_mark()")                                 \
	X(IMPORT_LOCK, 0, "SELECT @.import_lock()")                                                                     \
	X(IMPORT_BEGIN, 7, "SELECT @.import_begin($1, $2, $3, $4, $5, $6, $7)")                                         \
	X(IMPORT_STEP, 3, "SELECT @.import_step($1, $2, $3)")                                                           \
	X(IMPORT_EVENTS, 5, "SELECT @.import_events($1, $2, $3, $4, $5)")                                               \
	X(IMPORT_KEYS, 3, "SELECT @.import_keys($1, $2, $3)")                                                           \
	X(IMPORT_WATCHERS, 3, "SELECT @.import_watchers($1, $2, $3)")

enum pg_statement {
#define X(name, count, text) VIGIA_PG_##name,
	VIGIA_PG_STATEMENT_MAP(X)
#undef X
		VIGIA_PG_STATEMENTS
};

enum { VIGIA_PG_PARAMS_MAX = 20 };

/* Their texts for a schema, each to be freed. 0, or -1 without memory, with some of them NULL. */
int vigia__pg_statements_make(char *texts[VIGIA_PG_STATEMENTS], const char *schema);
int vigia__pg_statement_params(enum pg_statement statement);

#endif
