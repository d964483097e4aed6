/*
 * option_tables.h - every option in one table: name, type, unit, default, limits, one line of help.
 */
#ifndef VIGIA_CORE_OPTION_TABLES_H
#define VIGIA_CORE_OPTION_TABLES_H

#include "vigia.h"

enum vigia__option_type {
	VIGIA_OPTION_BOOL,    /* bool */
	VIGIA_OPTION_COUNT,   /* int64_t, a whole number */
	VIGIA_OPTION_BYTES,   /* int64_t */
	VIGIA_OPTION_SECONDS, /* int64_t nanoseconds, outside a number of seconds */
	VIGIA_OPTION_CHOICE,  /* int, index into `choices` */
	VIGIA_OPTION_NAME,    /* const char *, 1..64 bytes, borrowed */
	VIGIA_OPTION_SPECIAL  /* handled by the caller (iterator, filter, function). Only the name is known here */
};

enum vigia__option_scope {
	VIGIA_SCOPE_HANDLE = 0, /* of one handle, watcher or call */
	VIGIA_SCOPE_FILE,       /* of the store's file: set when it is created, changed by configure */
	VIGIA_SCOPE_FIXED       /* of the store's file, never changed */
};

struct vigia__option {
	const char *name;
	enum vigia__option_type type;
	size_t offset;       /* of the field in the options struct */
	size_t given_offset; /* of its `*_given` bool, 0 = none */
	double initial;      /* default, in the user's unit (seconds, not nanoseconds) */
	double min, max;     /* inclusive, in the user's unit */
	const char *choices; /* CHOICE: "block skip", the default first; NAME: the default */
	enum vigia__option_scope scope;
	bool or_other; /* the binding accepts another type too: its `special` sees every value */
	const char *help;
	const struct vigia__option *more; /* in the last row, whose name is NULL: the table that continues this one */
};

/* Tables end with name == NULL. */
extern const struct vigia__option vigia__store_option_table[]; /* -> struct vigia_store_options */
extern const struct vigia__option vigia__watch_option_table[]; /* -> struct vigia_watch_options */
extern const struct vigia__option
	vigia__script_option_table[]; /* -> struct vigia__script_options: continues with those of any watcher */
extern const struct vigia__option vigia__registry_option_table[]; /* only names: no struct */
extern const struct vigia__option vigia__stop_option_table[];     /* -> struct vigia__stop_options */

/* Options of registry:stop and watcher:stop. */
struct vigia__stop_options {
	int64_t timeout_ns;
};

/* Options of a watcher whose handler is a script. */
struct vigia__script_options {
	struct vigia_watch_options watch; /* first, so that the rows of vigia__watch_option_table apply to this struct */
	bool reload;                      /* whenever the file changes */
	int64_t memory_limit_bytes;       /* 0: none */
	int64_t cpu_limit_ns;             /* 0: none */
	bool libraries_given;
	unsigned libraries;         /* bits, as bind/cap.h has them */
	int isolation;              /* 0 = on a thread, 1 = in a process of its own */
	const char *worker_program; /* the program `vigia`; "" = find it */
};

#endif
