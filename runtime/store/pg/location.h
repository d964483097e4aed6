/*
 * location.h - a log's location, postgresql://HOSTS/DATABASE?log=NAME&..., taken apart: the log's name, the hosts, and
 * what libpq gets. Pure, but for what libpq itself looks up.
 */
#ifndef VIGIA_STORE_PG_LOCATION_H
#define VIGIA_STORE_PG_LOCATION_H

#include <stddef.h>
#include <stdint.h>

#include "vigia.h"

enum {
	VIGIA_PG_NAME_MAX = 48,    /* bytes of a log's name: PostgreSQL cuts identifiers at 63 without a word */
	VIGIA_PG_OPTIONS_MAX = 80, /* parameters of libpq */
	VIGIA_PG_HOSTS_MAX = 16,
	VIGIA_PG_DEADLINE_S = 10, /* of a call, unless the location has connect_timeout */
	VIGIA_PG_LEASE_S = 10     /* after which others may take the watchers of a process, unless it has lease */
};

struct pg_location {
	char *text;  /* as it was given: what makes two the same */
	char *shown; /* without the password */
	char log[VIGIA_PG_NAME_MAX + 1];
	char schema[VIGIA_PG_NAME_MAX + 7];                                        /* vigia_NAME */
	const char *keywords[VIGIA_PG_OPTIONS_MAX], *values[VIGIA_PG_OPTIONS_MAX]; /* of PQconnectStartParams() */
	void *options;                                                             /* owns these */
	/* The hosts, if there are several that are asked one by one. 0: libpq gets all of it as it is. */
	size_t hosts_count;
	const char *hosts[VIGIA_PG_HOSTS_MAX], *addresses[VIGIA_PG_HOSTS_MAX], *ports[VIGIA_PG_HOSTS_MAX];
	char *lists[3];      /* owns these */
	int64_t deadline_ns; /* of a call */
	int64_t lease_ns;    /* of an owner */
};

/* 0, EINVAL saying what is wrong, ENOMEM. deinit it in any case. Zero-initialise. */
int vigia__pg_location_init(struct pg_location *location, const char *text, struct vigia_error *err);
void vigia__pg_location_deinit(struct pg_location *location);
/* The parameters of one host, into arrays of VIGIA_PG_OPTIONS_MAX. */
void vigia__pg_location_params(const struct pg_location *location, size_t host, const char **keywords,
                               const char **values);
/* How long a statement waits for a lock: so that it can be sent twice in a call's deadline. */
static inline int64_t vigia__pg_lock_ns(const struct pg_location *location)
{
	return location->deadline_ns / 5 * 2;
}
/* How many servers are asked one by one: 1 at least. */
size_t vigia__pg_location_hosts(const struct pg_location *location);

#endif
