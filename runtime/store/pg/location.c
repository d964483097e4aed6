/*
 * location.c - a log's location, taken apart. See location.h.
 */
#include "location.h"

#include <libpq-fe.h>
#include <stdbool.h>
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

/* The parameters that are lists, an item for each host. */
enum { HOST, ADDRESS, PORT, HOST_PARAMS };
static const char *const host_params[HOST_PARAMS] = {"host", "hostaddr", "port"};

static int bad(const struct pg_location *location, const char *why, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EINVAL, "location '%s': %s", location->shown, why);
}

/* Take one of our parameters, "NAME=", out of the query. False: it is not there. */
static bool take(char *text, const char *key, char *out, size_t size, bool *fits)
{
	size_t skip = 1 + strlen(key);
	for (char *name = strchr(text, '?'); name; name = strchr(name + 1, '&')) {
		if (strncmp(name + 1, key, skip - 1) != 0) continue;
		size_t len = strcspn(name + skip, "&");
		*fits = len < size;
		snprintf(out, size, "%.*s", (int)len, name + skip);
		char *behind = name + skip + len;
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
	char *why = NULL, *text = vigia__strdup(location->shown), value[VIGIA_PG_NAME_MAX + 1];
	bool fits;
	if (text) take(text, "log=", value, sizeof value, &fits);
	if (text) take(text, "lease=", value, sizeof value, &fits);
	PQconninfoOption *options = text ? PQconninfoParse(text, &why) : NULL;
	PQconninfoFree(options);
	vigia__free(text);
	if (why) why[strcspn(why, "\n")] = '\0';
	int rc =
		bad(location,
	        why ? why : "cannot read its password: write %XX for each character that is not a letter or digit", err);
	PQfreemem(why);
	return rc;
}

/* False: it is no number of seconds. */
static bool read_seconds(const char *text, int64_t *ns)
{
	char *end;
	long seconds = strtol(text, &end, 10);
	if (*end != '\0' || end == text || seconds < 1 || seconds > 3600) return false;
	*ns = seconds * INT64_C(1000000000);
	return true;
}

static int take_options(struct pg_location *location, PQconninfoOption *options, struct vigia_error *err)
{
	size_t count = 0;
	location->options = options;
	for (const PQconninfoOption *o = options; o->keyword; o++) {
		if (o->val == NULL) continue;
		if (strcmp(o->keyword, "connect_timeout") == 0 && !read_seconds(o->val, &location->deadline_ns))
			return bad(location, "connect_timeout must be 1 to 3600 seconds", err);
		if (count + sizeof ours / sizeof *ours + HOST_PARAMS + 1 >= VIGIA_PG_OPTIONS_MAX)
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

/* ---- several hosts ---- */

/* Of the location, else of the environment. */
static const char *value_of(const struct pg_location *location, const PQconninfoOption *defaults, const char *keyword)
{
	for (size_t i = 0; location->keywords[i]; i++)
		if (strcmp(location->keywords[i], keyword) == 0) return location->values[i];
	for (const PQconninfoOption *o = defaults; o && o->keyword; o++)
		if (strcmp(o->keyword, keyword) == 0) return o->val;
	return NULL;
}

/* Cut a list at its commas. The number of items, 0: there are too many. */
static size_t cut(char *list, const char **items)
{
	size_t count = 0;
	for (char *rest = list; rest; count++) {
		char *comma = strchr(rest, ',');
		if (count == VIGIA_PG_HOSTS_MAX) return 0;
		items[count] = rest;
		if (comma) *comma = '\0';
		rest = comma ? comma + 1 : NULL;
	}
	return count;
}

/* What does not fit together is left to libpq, which says so; and what wants another than the server that takes writes.
 */
static int take_hosts(struct pg_location *location, const PQconninfoOption *defaults)
{
	const char **items[HOST_PARAMS] = {location->hosts, location->addresses, location->ports};
	size_t counts[HOST_PARAMS] = {0};
	const char *wanted = value_of(location, NULL, "target_session_attrs");
	if (value_of(location, NULL, "service") || strcmp(wanted, "prefer-standby") == 0) return 0;
	for (int i = 0; i < HOST_PARAMS; i++) {
		const char *list = value_of(location, defaults, host_params[i]);
		if (list == NULL || *list == '\0') continue;
		location->lists[i] = vigia__strdup(list);
		if (location->lists[i] == NULL) return -1;
		counts[i] = cut(location->lists[i], items[i]);
	}
	size_t count = counts[counts[ADDRESS] > 0 ? ADDRESS : HOST];
	bool fits = (counts[HOST] == count || counts[HOST] == 0) && (counts[PORT] == count || counts[PORT] <= 1);
	if (!fits || count < 2) return 0;
	for (size_t i = 1; i < count && counts[PORT] == 1; i++) location->ports[i] = location->ports[0];
	location->hosts_count = count;
	return 0;
}

size_t vigia__pg_location_hosts(const struct pg_location *location)
{
	return location->hosts_count > 0 ? location->hosts_count : 1;
}

void vigia__pg_location_params(const struct pg_location *location, size_t host, const char **keywords,
                               const char **values)
{
	const char *of_host[HOST_PARAMS] = {location->hosts[host], location->addresses[host], location->ports[host]};
	size_t count = 0;
	for (size_t i = 0; location->keywords[i]; i++) {
		bool list = false;
		for (int n = 0; n < HOST_PARAMS; n++) list = list || strcmp(location->keywords[i], host_params[n]) == 0;
		if (list && location->hosts_count > 0) continue;
		keywords[count] = location->keywords[i];
		values[count++] = location->values[i];
	}
	for (int n = 0; n < HOST_PARAMS && location->hosts_count > 0; n++) {
		if (of_host[n] == NULL) continue;
		keywords[count] = host_params[n];
		values[count++] = of_host[n];
	}
	keywords[count] = values[count] = NULL;
}

/* ---- all of it ---- */

int vigia__pg_location_init(struct pg_location *location, const char *text, struct vigia_error *err)
{
	char lease[16];
	location->deadline_ns = VIGIA_PG_DEADLINE_S * INT64_C(1000000000);
	location->lease_ns = VIGIA_PG_LEASE_S * INT64_C(1000000000);
	location->text = vigia__strdup(text);
	location->shown = vigia__strdup(text);
	char *rest = vigia__strdup(text);
	bool fits = false, lease_fits = true;
	int rc = VIGIA_OK;
	if (location->text == NULL || location->shown == NULL || rest == NULL) {
		vigia__free(rest);
		return vigia__error(err, VIGIA_ENOMEM, "no memory to open a store");
	}
	vigia__location_show(text, location->shown);
	if (take(rest, "lease=", lease, sizeof lease, &lease_fits) &&
	    !(lease_fits && read_seconds(lease, &location->lease_ns)))
		rc = bad(location, "lease must be 1 to 3600 seconds", err);
	else if (!take(rest, "log=", location->log, sizeof location->log, &fits))
		rc = bad(location, "it names no log: add ?log=NAME, or &log=NAME after other parameters", err);
	else if (!fits || !name_is_good(location->log))
		rc = bad(location, "log must be 1 to 48 of the characters a-z, 0-9 and _", err);
	if (rc == VIGIA_OK) {
		snprintf(location->schema, sizeof location->schema, "vigia_%s", location->log);
		PQconninfoOption *options = PQconninfoParse(rest, NULL);
		rc = options ? take_options(location, options, err) : refused(location, err);
	}
	if (rc == VIGIA_OK) {
		PQconninfoOption *defaults = PQconndefaults();
		if (take_hosts(location, defaults) < 0) rc = vigia__error(err, VIGIA_ENOMEM, "no memory to open a store");
		PQconninfoFree(defaults);
	}
	vigia__free(rest);
	return rc;
}

void vigia__pg_location_deinit(struct pg_location *location)
{
	PQconninfoFree(location->options);
	for (int i = 0; i < HOST_PARAMS; i++) vigia__free(location->lists[i]);
	vigia__free(location->text);
	vigia__free(location->shown);
}
