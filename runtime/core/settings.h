/*
 * settings.h - the options that belong to a store's file (scope FILE and FIXED in core/option_tables.c): kept with the
 * data as a msgpack map, compared when the file is opened, changed by configure. A new setting is one row in that
 * table; nothing here knows their names.
 *
 * Values; no clock, no thread of their own.
 */
#ifndef VIGIA_CORE_SETTINGS_H
#define VIGIA_CORE_SETTINGS_H

#include "options.h"

enum { VIGIA_SETTINGS_NAMES = 4, VIGIA_SETTINGS_NAME_LEN = 64 };

/* Copy only with vigia__settings_copy(): names in `values` point into `names`. */
struct vigia__settings {
	struct vigia_store_options values; /* only what belongs to the file means something */
	char names[VIGIA_SETTINGS_NAMES][VIGIA_SETTINGS_NAME_LEN + 1];
};

/* The settings a file gets that is made with these options. */
void vigia__settings_from(struct vigia__settings *settings, const struct vigia_store_options *options);
void vigia__settings_copy(struct vigia__settings *to, const struct vigia__settings *from);

/* As a msgpack map, name -> value; durations in nanoseconds, choices by name. 0 or -1 without memory. */
int vigia__settings_encode(const struct vigia__settings *settings, struct vigia__buf *buf);
/* What the map does not hold gets its default; a name from a later version is ignored. False: the bytes are damaged. */
bool vigia__settings_decode(struct vigia__settings *settings, const void *data, size_t len);

/* What was asked for (`*_given`) and is another in the file: a problem each, naming both values. */
void vigia__settings_conflicts(const struct vigia__settings *settings, const struct vigia_store_options *asked,
                               struct vigia__problems *problems);
/* Take over what is given; a name that is fixed for ever and would change is a problem. The result is checked as a
 * whole. */
void vigia__settings_change(struct vigia__settings *settings, const struct vigia_store_options *changes,
                            struct vigia__problems *problems);

#endif
