/*
 * create.c - finds the log in the database, or makes it; its format, and its settings.
 *
 * A log is made by one transaction. If another process was faster, that one fails, and the log that is there is read.
 */
#include <stdio.h>
#include <sys/random.h>

#include "../../core/error.h"
#include "pg_private.h"

static const char schema_text[] = {
#include "schema_sql.inc"
	0};

/* ---- the script ---- */

struct words {
	char schema[VIGIA_PG_NAME_MAX + 16], channel[VIGIA_PG_NAME_MAX + 16], lock[32], id[40], created[32], size[32];
	struct vigia__buf settings; /* hexadecimal */
};

static int add_hex(struct vigia__buf *out, const uint8_t *bytes, size_t len)
{
	int rc = 0;
	for (size_t i = 0; i < len && rc == 0; i++) {
		char text[3];
		snprintf(text, sizeof text, "%02x", bytes[i]);
		rc = vigia__buf_add(out, text, 2);
	}
	return rc;
}

static const char *word_of(const struct words *words, const char *name, size_t len)
{
	const struct {
		const char *name, *value;
	} all[] = {
		{"S", words->schema},  {"CHANNEL", words->channel}, {"LOCK", words->lock},
		{"ID", words->id},     {"CREATED", words->created}, {"SETTINGS", (const char *)words->settings.data},
		{"SIZE", words->size},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (strlen(all[i].name) == len && memcmp(all[i].name, name, len) == 0) return all[i].value;
	return NULL;
}

/* The lock: eight bytes of the id, without the last three bits. */
static int64_t lock_of(const uint8_t id[16])
{
	uint64_t lock = 0;
	for (int i = 0; i < 8; i++) lock = lock << 8 | id[i];
	return (int64_t)(lock & ~UINT64_C(7));
}

static int fill_words(struct words *words, const struct pg_location *location,
                      const struct vigia_store_options *options)
{
	struct vigia__settings settings;
	struct vigia__buf encoded = {0};
	uint8_t id[16];
	if (getrandom(id, sizeof id, 0) != sizeof id) return -1;
	snprintf(words->schema, sizeof words->schema, "\"%s\"", location->schema);
	snprintf(words->channel, sizeof words->channel, "'%s'", location->schema);
	snprintf(words->lock, sizeof words->lock, "(%lld)", (long long)lock_of(id));
	snprintf(words->created, sizeof words->created, "%lld", (long long)vigia__wall_ns());
	for (int i = 0; i < 16; i++) snprintf(words->id + 2 * i, 3, "%02x", id[i]);
	vigia__settings_from(&settings, options);
	snprintf(words->size, sizeof words->size, "%lld", (long long)settings.values.max_event_size_bytes);
	int rc = vigia__settings_encode(&settings, &encoded);
	if (rc == 0) rc = add_hex(&words->settings, encoded.data, encoded.len);
	if (rc == 0) rc = vigia__buf_add(&words->settings, "", 1);
	vigia__buf_deinit(&encoded);
	return rc;
}

/* What a role or a database has as its default must not change what the statements mean. */
static const char begin[] = "BEGIN ISOLATION LEVEL READ COMMITTED;\n"
							"SET LOCAL search_path = pg_catalog, pg_temp;\n";

/* schema.sql with the words put in. 0 or -1. */
static int write_script(const struct words *words, struct vigia__buf *out)
{
	int rc = vigia__buf_add_text(out, begin);
	for (const char *at = schema_text; *at && rc == 0;) {
		size_t plain = strcspn(at, "@"), len = at[plain] ? strspn(at + plain + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") : 0;
		bool named = len > 0 && at[plain + 1 + len] == '@';
		const char *word = named ? word_of(words, at + plain + 1, len) : NULL;
		size_t taken = word ? plain + len + 2 : plain + (at[plain] != '\0');
		rc = vigia__buf_add(out, at, word ? plain : taken);
		if (rc == 0 && word) rc = vigia__buf_add_text(out, word);
		at += taken;
	}
	return rc == 0 ? vigia__buf_add_text(out, "COMMIT;\n") : rc;
}

static int make_script(const struct pg_location *location, const struct vigia_store_options *options,
                       struct vigia__buf *out, struct vigia_error *err)
{
	struct words words = {0};
	int rc = fill_words(&words, location, options);
	if (rc == 0) rc = write_script(&words, out);
	vigia__buf_deinit(&words.settings);
	return rc == 0 ? VIGIA_OK : vigia__error(err, VIGIA_ENOMEM, "no memory to make a log");
}

int vigia__pg_script(const char *text, const struct vigia_store_options *options, struct vigia__buf *out,
                     struct vigia_error *err)
{
	struct pg_location location = {0};
	int rc = vigia__pg_location_init(&location, text, err);
	if (rc == VIGIA_OK) rc = make_script(&location, options, out, err);
	vigia__pg_location_deinit(&location);
	return rc;
}

static int create(struct pg_backend *b, const struct vigia_store_options *options, struct vigia_error *err)
{
	struct vigia__buf script = {0};
	struct pg_link *link = &b->reader;
	int rc = make_script(&b->location, options, &script, err);
	if (rc == VIGIA_OK && vigia__buf_add(&script, "", 1) < 0)
		rc = vigia__error(err, VIGIA_ENOMEM, "no memory to make a log");
	if (rc < 0) {
		vigia__buf_deinit(&script);
		return rc;
	}
	pthread_mutex_lock(&link->mutex);
	int64_t until = vigia__pg_until(link);
	rc = vigia__pg_link_ready(link, until, err);
	if (rc == VIGIA_OK) rc = vigia__pg_exec(link, (const char *)script.data, NULL, until, "make the log", err);
	bool there = strcmp(link->state, "42P06") == 0 || strcmp(link->state, "23505") == 0;
	if (rc < 0 && link->conn && vigia__pg_exec(link, "ROLLBACK", NULL, until, "make the log", NULL) < 0)
		vigia__pg_link_close(link);
	pthread_mutex_unlock(&link->mutex);
	vigia__buf_deinit(&script);
	return rc < 0 && there ? VIGIA_OK : rc;
}

/* ---- settings ---- */

static int decode(struct pg_backend *b, const PGresult *row, struct vigia_error *err)
{
	struct vigia__settings settings;
	struct vigia_slice bytes = vigia__pg_bytes(row, 0, 3);
	if (!vigia__settings_decode(&settings, bytes.data, bytes.len))
		return vigia__error(err, VIGIA_EIO, "the settings of '%s' are damaged", b->location.shown);
	pthread_mutex_lock(&b->settings_mutex);
	vigia__settings_copy(&b->settings, &settings);
	b->settings_version = vigia__pg_int(row, 0, 4);
	pthread_mutex_unlock(&b->settings_mutex);
	atomic_store(&b->base.max_event_size, settings.values.max_event_size_bytes);
	atomic_store(&b->base.durability, settings.values.durability);
	atomic_store(&b->base.importing, vigia__pg_bool(row, 0, 5));
	return VIGIA_OK;
}

int vigia__pg_settings_read(struct pg_backend *b, struct vigia_error *err)
{
	PGresult *row;
	int rc = vigia__pg_ask(b, VIGIA_PG_META, NULL, &row, "open the log", err);
	if (rc == VIGIA_OK) rc = decode(b, row, err);
	PQclear(row);
	return rc;
}

/* As they were last read: those who change them tell. */
int vigia__pg_settings(struct vigia__backend *base, struct vigia__settings *out, struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	pthread_mutex_lock(&b->settings_mutex);
	vigia__settings_copy(out, &b->settings);
	pthread_mutex_unlock(&b->settings_mutex);
	return VIGIA_OK;
}

struct change {
	const struct vigia_store_options *changes;
	struct vigia__settings settings;
};

static int change_inside(struct pg_backend *b, void *arg, struct vigia_error *err)
{
	struct change *change = arg;
	struct vigia__problems problems = {0};
	struct vigia__buf encoded = {0};
	PGresult *row = NULL;
	int rc = vigia__pg_step(b, VIGIA_PG_LOCK_WRITER, NULL, NULL, err);
	if (rc == VIGIA_OK) rc = vigia__pg_step(b, VIGIA_PG_META, NULL, &row, err);
	if (rc == VIGIA_OK) {
		struct vigia_slice bytes = vigia__pg_bytes(row, 0, 3);
		if (!vigia__settings_decode(&change->settings, bytes.data, bytes.len))
			rc = vigia__error(err, VIGIA_EIO, "the settings of '%s' are damaged", b->location.shown);
		PQclear(row);
	}
	if (rc < 0) return rc;
	vigia__settings_change(&change->settings, change->changes, &problems);
	rc = vigia__problems_end(&problems, b->location.shown, err);
	if (rc == VIGIA_OK && vigia__settings_encode(&change->settings, &encoded) < 0)
		rc = vigia__error(err, VIGIA_ENOMEM, "no memory for settings");
	struct pg_number size;
	const struct pg_param params[] = {vigia__pg_blob(encoded.data, encoded.len),
	                                  vigia__pg_big(&size, change->settings.values.max_event_size_bytes)};
	if (rc == VIGIA_OK) rc = vigia__pg_step(b, VIGIA_PG_META_WRITE, params, NULL, err);
	vigia__buf_deinit(&encoded);
	return rc;
}

int vigia__pg_configure(struct vigia__backend *base, const struct vigia_store_options *changes, struct vigia_error *err)
{
	struct pg_backend *b = pg_of(base);
	struct change change = {.changes = changes};
	int rc = vigia__pg_transaction(b, change_inside, &change, "change the settings of", err);
	if (rc == VIGIA_OK) rc = vigia__pg_settings_read(b, err);
	vigia__word_bump(base->settings_word);
	return rc;
}

/* ---- load ---- */

static int read_header(struct pg_backend *b, struct vigia_error *err)
{
	PGresult *row;
	int rc = vigia__pg_ask(b, VIGIA_PG_META, NULL, &row, "open the log", err);
	if (rc < 0) return rc;
	int64_t format = vigia__pg_int(row, 0, 0);
	struct vigia_slice id = vigia__pg_bytes(row, 0, 1);
	if (PQntuples(row) != 1 || id.len != sizeof b->id)
		rc = vigia__error(err, VIGIA_ENOTSTORE, "the schema %s of '%s' holds no log", b->location.schema,
		                  b->location.shown);
	else if (format > VIGIA_PG_FORMAT)
		rc = vigia__error(err, VIGIA_EFORMAT, "the log '%s' has format %lld, this version reads up to %d",
		                  b->location.shown, (long long)format, VIGIA_PG_FORMAT);
	else rc = decode(b, row, err);
	if (rc == VIGIA_OK) {
		memcpy(b->id, id.data, sizeof b->id);
		b->created_at_ns = vigia__pg_int(row, 0, 2);
	}
	PQclear(row);
	return rc;
}

int vigia__pg_load(struct pg_backend *b, const struct vigia_store_options *options, struct vigia_error *err)
{
	struct vigia_error why = {0};
	if (err == NULL) err = &why;
	int rc = read_header(b, err);
	bool no_schema = rc == VIGIA_ENOTFOUND && strcmp(b->reader.state, "3F000") == 0;
	if (!no_schema) return rc;
	if (!options->create || options->readonly)
		return vigia__error(err, VIGIA_ENOTFOUND, "there is no store '%s': the database has no schema %s",
		                    b->location.shown, b->location.schema);
	rc = create(b, options, err);
	return rc == VIGIA_OK ? read_header(b, err) : rc;
}
