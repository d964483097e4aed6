/*
 * options.h - sets, shows and checks options by their rows (option_tables.h). One error names all wrong options of a
 * call. The command line and the documentation read the tables too.
 */
#ifndef VIGIA_CORE_OPTIONS_H
#define VIGIA_CORE_OPTIONS_H

#include "buf.h"
#include "option_tables.h"

/* The next row, in a chain of tables also the first of the next table. Its name is NULL at the end. */
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
	int count, lost; /* how many, and how many of them have no text for want of memory */
};

/* The index-th word of a CHOICE. data NULL behind the last. */
struct vigia_slice vigia__option_choice(const struct vigia__option *option, int index);
/* The index of this word of a CHOICE, -1 if it is none. */
int vigia__option_choice_of(const struct vigia__option *option, const char *text, size_t len);
/* Format the value in `field` as a user writes it: 5000, "none", true, 1.5 (seconds). Returns out, or a constant. */
const char *vigia__option_show(const struct vigia__option *option, const void *field, char *out, size_t size);
const struct vigia__option *vigia__option_find(const struct vigia__option *table, const char *name);
void vigia__options_init(const struct vigia__option *table, void *target);
/* Copy a program's options struct over `ours`, which holds the defaults. The program may have been compiled against an
 * older header, so the struct's first member is its size. EOPTION: a size that no version has. `least` is the smallest
 * valid one. `name` is the struct's name. */
int vigia__options_take(const char *name, void *ours, size_t ours_size, size_t least, const void *theirs,
                        struct vigia_error *err);
/* Copy our struct to a program that has room for `size` bytes. */
void vigia__options_give(void *theirs, size_t size, const void *ours, size_t ours_size);
/* Set one option from a user's value, and add what is wrong to `problems`. A SPECIAL one is not set. */
void vigia__option_set(const struct vigia__option *table, void *target, const char *name,
                       const struct vigia__value *value, struct vigia__problems *problems);
/* Check a whole struct, filled in by C code or with vigia__option_set(), also for options that contradict each
 * other. */
void vigia__options_check(const struct vigia__option *table, const void *target, struct vigia__problems *problems);
void vigia__problem(struct vigia__problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 0 without problems, else EOPTION "watch options: a: ...; b: ...". Frees the text. */
int vigia__problems_end(struct vigia__problems *problems, const char *what, struct vigia_error *err);

#endif
