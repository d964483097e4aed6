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
	VIGIA_OPTION_SECONDS, /* int64_t nanoseconds; outside a number of seconds */
	VIGIA_OPTION_CHOICE,  /* int, index into `choices` */
	VIGIA_OPTION_NAME,    /* const char *, 1..64 bytes, borrowed */
	VIGIA_OPTION_SPECIAL  /* the caller's own (iterator, filter, function): only its name is known here */
};

enum vigia__option_scope {
	VIGIA_SCOPE_HANDLE = 0, /* of the handle, watcher or call it is given to */
	VIGIA_SCOPE_FILE,       /* of the store's file: given when it is made, changed by configure */
	VIGIA_SCOPE_FIXED       /* of the file, for ever */
};

struct vigia__option {
	const char *name;
	enum vigia__option_type type;
	size_t offset;       /* of the field in the options struct */
	size_t given_offset; /* of its `*_given` bool, 0 = none */
	double initial;      /* default, in the unit of the outside (seconds, not nanoseconds) */
	double min, max;     /* both allowed, in the unit of the outside */
	const char *choices; /* CHOICE: "block skip", the default first; NAME: the default */
	enum vigia__option_scope scope;
	bool or_other; /* the binding takes something else for it, too: `special` looks at every value */
	const char *help;
	const struct vigia__option *more; /* of the last row, whose name is NULL: the table goes on there */
};

/* Tables end with name == NULL. */
extern const struct vigia__option vigia__store_option_table[]; /* -> struct vigia_store_options */
extern const struct vigia__option vigia__watch_option_table[]; /* -> struct vigia_watch_options */
extern const struct vigia__option
	vigia__script_option_table[]; /* -> struct vigia__script_options: a script's watcher has both */
extern const struct vigia__option vigia__registry_option_table[]; /* only names: no struct */
extern const struct vigia__option vigia__stop_option_table[];     /* -> struct vigia__stop_options */

/* What registry:stop and watcher:stop are told. */
struct vigia__stop_options {
	int64_t timeout_ns;
};

/* What a handler that is a script can be told beside the options of any watcher. */
struct vigia__script_options {
	struct vigia_watch_options watch; /* first: the rows of vigia__watch_option_table fit here, too */
	bool reload;                      /* whenever the file changes */
	int64_t memory_limit_bytes;       /* 0: none */
	int64_t cpu_limit_ns;             /* 0: none */
	bool libraries_given;
	unsigned libraries;         /* bits, as bind/cap.h has them */
	int isolation;              /* 0 on a thread, 1 in a process of its own */
	const char *worker_program; /* the program `vigia`; "" = find it */
};

#endif
