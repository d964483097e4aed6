/*
 * location.h - a log's location, postgresql://HOSTS/DATABASE?log=NAME&..., taken apart: the log's name, and what libpq
 * gets. Pure, but for what libpq itself looks up.
 */
#ifndef VIGIA_STORE_PG_LOCATION_H
#define VIGIA_STORE_PG_LOCATION_H

#include <stddef.h>
#include <stdint.h>

#include "vigia.h"

enum {
	VIGIA_PG_NAME_MAX = 48,    /* bytes of a log's name: PostgreSQL cuts identifiers at 63 without a word */
	VIGIA_PG_OPTIONS_MAX = 80, /* parameters of libpq */
	VIGIA_PG_DEADLINE_S = 10   /* of a call, unless the location has connect_timeout */
};

struct pg_location {
	char *text;  /* as it was given: what makes two the same */
	char *shown; /* without the password */
	char log[VIGIA_PG_NAME_MAX + 1];
	char schema[VIGIA_PG_NAME_MAX + 7];                                        /* vigia_NAME */
	const char *keywords[VIGIA_PG_OPTIONS_MAX], *values[VIGIA_PG_OPTIONS_MAX]; /* of PQconnectStartParams() */
	void *options;                                                             /* owns these */
	int64_t deadline_ns;                                                       /* of a call */
};

/* 0, EINVAL saying what is wrong, ENOMEM. deinit it in any case. Zero-initialise. */
int vigia__pg_location_init(struct pg_location *location, const char *text, struct vigia_error *err);
void vigia__pg_location_deinit(struct pg_location *location);

#endif
