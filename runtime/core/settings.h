/*
 * settings.h - the options that belong to a store's file (scope FILE and FIXED in core/option_tables.c): kept with the
 * data as a msgpack map, compared when the file is opened, changed by configure. A new setting is one row in that
 * table. No name is known here.
 *
 * Values: no clock, no thread of their own.
 */
#ifndef VIGIA_CORE_SETTINGS_H
#define VIGIA_CORE_SETTINGS_H

#include "options.h"

enum { VIGIA_SETTINGS_NAMES = 4, VIGIA_SETTINGS_NAME_LEN = 64 };

/* Copy only with vigia__settings_copy(), because strings in `values` point into `names`. */
struct vigia__settings {
	struct vigia_store_options values; /* only those of the file are valid */
	char names[VIGIA_SETTINGS_NAMES][VIGIA_SETTINGS_NAME_LEN + 1];
};

/* The settings of a file created with these options. */
void vigia__settings_from(struct vigia__settings *settings, const struct vigia_store_options *options);
void vigia__settings_copy(struct vigia__settings *to, const struct vigia__settings *from);

/* Append a msgpack map, name -> value, durations in nanoseconds, choices by name. 0, or -1 without memory. */
int vigia__settings_encode(const struct vigia__settings *settings, struct vigia__buf *buf);
/* A missing setting gets its default. A name from a later version is ignored. False: the bytes are damaged. */
bool vigia__settings_decode(struct vigia__settings *settings, const void *data, size_t len);

/* Add a problem, naming both values, for each given option (`*_given`) that differs from the file's. */
void vigia__settings_conflicts(const struct vigia__settings *settings, const struct vigia_store_options *asked,
                               struct vigia__problems *problems);
/* Take all of another file's. One that is FIXED and differs is a problem. */
void vigia__settings_replace(struct vigia__settings *settings, const struct vigia__settings *by,
                             struct vigia__problems *problems);
/* Apply the given changes. Changing a FIXED one is a problem. The result is checked as a whole. */
void vigia__settings_change(struct vigia__settings *settings, const struct vigia_store_options *changes,
                            struct vigia__problems *problems);

#endif
