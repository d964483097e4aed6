/*
 * location.c - a log's location, taken apart. See location.h.
 */
#include "location.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/alloc.h"
#include "../../core/error.h"
#include "../../core/location.h"

/* What the location and the environment do not say: a lost network is noticed in 8 s, and a server that takes no
 * writes is passed by. */
static const char *const ours[][2] = {
	{"keepalives_idle", "5"},     {"keepalives_interval", "2"},           {"keepalives_count", "3"},
	{"tcp_user_timeout", "8000"}, {"target_session_attrs", "read-write"}, {"fallback_application_name", "vigia"},
};

static int bad(const struct pg_location *location, const char *why, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EINVAL, "location '%s': %s", location->shown, why);
}

/* Take the parameter `log` out of the query. False: it is not there. */
static bool take_log(char *text, char *log, size_t size, bool *fits)
{
	for (char *name = strchr(text, '?'); name; name = strchr(name + 1, '&')) {
		if (strncmp(name + 1, "log=", 4) != 0) continue;
		size_t len = strcspn(name + 5, "&");
		*fits = len < size;
		snprintf(log, size, "%.*s", (int)len, name + 5);
		char *behind = name + 5 + len;
		if (*behind == '&') memmove(name + 1, behind + 1, strlen(behind + 1) + 1);
		else *name = '\0';
		return true;
	}
	return false;
}

static bool name_is_good(const char *log)
{
	return *log != '\0' && log[strspn(log, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

/* libpq's own words, of a text without the password: they quote it. */
static int refused(const struct pg_location *location, struct vigia_error *err)
{
	char *why = NULL, *text = vigia__strdup(location->shown), log[VIGIA_PG_NAME_MAX + 1];
	bool fits;
	if (text) take_log(text, log, sizeof log, &fits);
	PQconninfoOption *options = text ? PQconninfoParse(text, &why) : NULL;
	PQconninfoFree(options);
	vigia__free(text);
	if (why) why[strcspn(why, "\n")] = '\0';
	int rc = bad(location, why ? why : "its password cannot be read: write %XX for what is no letter or digit", err);
	PQfreemem(why);
	return rc;
}

static int take_options(struct pg_location *location, PQconninfoOption *options, struct vigia_error *err)
{
	size_t count = 0;
	location->options = options;
	for (const PQconninfoOption *o = options; o->keyword; o++) {
		if (o->val == NULL) continue;
		if (strcmp(o->keyword, "connect_timeout") == 0) {
			char *end;
			long seconds = strtol(o->val, &end, 10);
			if (*end != '\0' || end == o->val || seconds < 1 || seconds > 3600)
				return bad(location, "connect_timeout must be 1 to 3600 seconds", err);
			location->deadline_ns = seconds * INT64_C(1000000000);
		}
		if (count + sizeof ours / sizeof *ours + 1 >= VIGIA_PG_OPTIONS_MAX)
			return bad(location, "it has too many parameters", err);
		location->keywords[count] = o->keyword;
		location->values[count++] = o->val;
	}
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
		bool given = false;
		for (size_t n = 0; n < count && !given; n++) given = strcmp(location->keywords[n], ours[i][0]) == 0;
		if (given) continue;
		location->keywords[count] = ours[i][0];
		location->values[count++] = ours[i][1];
	}
	return VIGIA_OK;
}

int vigia__pg_location_init(struct pg_location *location, const char *text, struct vigia_error *err)
{
	location->deadline_ns = VIGIA_PG_DEADLINE_S * INT64_C(1000000000);
	location->text = vigia__strdup(text);
	location->shown = vigia__strdup(text);
	char *rest = vigia__strdup(text);
	bool fits = false;
	int rc = VIGIA_OK;
	if (location->text == NULL || location->shown == NULL || rest == NULL) {
		vigia__free(rest);
		return vigia__error(err, VIGIA_ENOMEM, "no memory to open a store");
	}
	vigia__location_show(text, location->shown);
	if (!take_log(rest, location->log, sizeof location->log, &fits))
		rc = bad(location, "it names no log: add ?log=NAME, or &log=NAME behind other parameters", err);
	else if (!fits || !name_is_good(location->log))
		rc = bad(location, "log must be 1 to 48 of the characters a-z, 0-9 and _", err);
	if (rc == VIGIA_OK) {
		snprintf(location->schema, sizeof location->schema, "vigia_%s", location->log);
		PQconninfoOption *options = PQconninfoParse(rest, NULL);
		rc = options ? take_options(location, options, err) : refused(location, err);
	}
	vigia__free(rest);
	return rc;
}

void vigia__pg_location_deinit(struct pg_location *location)
{
	PQconninfoFree(location->options);
	vigia__free(location->text);
	vigia__free(location->shown);
}
