/*
 * sqlstate.c - SQLSTATE to error code. See sqlstate.h.
 */
#include "sqlstate.h"

#include <stddef.h>
#include <string.h>

#include "vigia.h"

static const struct {
	const char *state; /* or how it begins */
	int code;
} codes[] = {
	{"08", VIGIA_EUNREACHABLE},    {"57P", VIGIA_EUNREACHABLE},   /* the server ended the session */
	{"25P03", VIGIA_EUNREACHABLE}, {"25P04", VIGIA_EUNREACHABLE}, /* likewise, after a time in a transaction */
	{"53300", VIGIA_EUNREACHABLE}, {"28", VIGIA_EPERM},           {"42501", VIGIA_EPERM},
	{"3D000", VIGIA_ENOTFOUND},    {"3F000", VIGIA_ENOTFOUND},    {"42P01", VIGIA_ENOTSTORE},
	{"42883", VIGIA_ENOTSTORE},    {"42703", VIGIA_ENOTSTORE},    {"42804", VIGIA_ENOTSTORE},
	{"25006", VIGIA_EREADONLY},    {"53100", VIGIA_EDISKFULL},    {"54", VIGIA_ETOOBIG},
	{"VG001", VIGIA_EUNKNOWN},     {"VG002", VIGIA_EOWNED},       {"VG003", VIGIA_EUNFINISHED},
};

int vigia__pg_code_of(const char *sqlstate)
{
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strncmp(sqlstate, codes[i].state, strlen(codes[i].state)) == 0) return codes[i].code;
	return VIGIA_EIO;
}
