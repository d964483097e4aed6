/*
 * options.h - every option in one table: name, type, unit, default, limits, one line of help. Validation, the command
 * line and the documentation read it, so they cannot disagree. All wrong options of a call are named in one error.
 */
#ifndef VIGIA_CORE_OPTIONS_H
#define VIGIA_CORE_OPTIONS_H

#include "buf.h"
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

/* The row behind this one, into the next table of a chain; its name is NULL at the end. */
const struct vigia__option *vigia__option_next(const struct vigia__option *option);

enum vigia__value_kind { VIGIA_VALUE_BOOL, VIGIA_VALUE_INT, VIGIA_VALUE_FLOAT, VIGIA_VALUE_STRING, VIGIA_VALUE_OTHER };
struct vigia__value {
	enum vigia__value_kind kind;
	bool boolean;
	int64_t integer;
	double number;
	const char *string;    /* terminated */
	const char *type_name; /* for messages: "table" */
};

/* Collects every problem of one call. Zero-initialise. */
struct vigia__problems {
	struct vigia__buf text;
	int count, lost; /* how many; of how many there was no memory for the text */
};

/* The index-th word of a CHOICE; data NULL behind the last. */
struct vigia_slice vigia__option_choice(const struct vigia__option *option, int index);
/* The value in `field` as one would write it: 5000, "none", true, 1.5 (seconds). Returns out, or a constant. */
const char *vigia__option_show(const struct vigia__option *option, const void *field, char *out, size_t size);
const struct vigia__option *vigia__option_find(const struct vigia__option *table, const char *name);
/* The known name nearest to a wrong one, NULL if none is near. */
const char *vigia__nearest(const char *wrong, const char *(*name_at)(const void *ctx, int index), const void *ctx);
void vigia__options_init(const struct vigia__option *table, void *target);
/* Take over a struct of a program, `name`, that was perhaps compiled against an older header: its first member is its
 * size. `ours`, which holds the defaults, is of the size `ours_size`; what theirs has replaces them. EOPTION: a size
 * that no version has; `least` is the smallest one that makes sense. */
int vigia__options_take(const char *name, void *ours, size_t ours_size, size_t least, const void *theirs,
                        struct vigia_error *err);
/* Give back a struct of ours to a program that has room for `size` bytes of it. */
void vigia__options_give(void *theirs, size_t size, const void *ours, size_t ours_size);
/* Set one option from outside; what is wrong goes to `problems`. A SPECIAL one is left alone. */
void vigia__option_set(const struct vigia__option *table, void *target, const char *name,
                       const struct vigia__value *value, struct vigia__problems *problems);
/* Check a whole struct, filled in by C code or with vigia__option_set(): also what two options must have in common. */
void vigia__options_check(const struct vigia__option *table, const void *target, struct vigia__problems *problems);
void vigia__problem(struct vigia__problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 0 if there were none, else EOPTION "watch options: a: ...; b: ...". Frees the text. */
int vigia__problems_end(struct vigia__problems *problems, const char *what, struct vigia_error *err);

#endif
