/*
 * options.c - sets, shows and checks options by the rows of their tables.
 */
#include "options.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "nearest.h"
#include "quantity.h"

#define KIB 1024.0

const struct vigia__option *vigia__option_next(const struct vigia__option *option)
{
	option++;
	return option->name == NULL && option->more ? option->more : option;
}

const struct vigia__option *vigia__option_find(const struct vigia__option *table, const char *name)
{
	for (; table->name; table = vigia__option_next(table))
		if (strcmp(table->name, name) == 0) return table;
	return NULL;
}

static const char *option_name_at(const void *ctx, int index)
{
	const struct vigia__option *option = ctx;
	while (index-- > 0) option = vigia__option_next(option);
	return option->name;
}

/* ---- Fields ---- */

static void *field_of(const struct vigia__option *option, void *target)
{
	return (char *)target + option->offset;
}

static int64_t seconds_to_ns(double seconds)
{
	return seconds < 9.2e9 ? (int64_t)llround(seconds * 1e9) : INT64_MAX;
}

struct vigia_slice vigia__option_choice(const struct vigia__option *o, int index)
{
	for (const char *at = o->choices;;) {
		size_t len = strcspn(at, " ");
		if (index-- == 0) return (struct vigia_slice){at, len};
		if (at[len] == '\0') return (struct vigia_slice){NULL, 0};
		at += len + 1;
	}
}

int vigia__option_choice_of(const struct vigia__option *o, const char *text, size_t len)
{
	struct vigia_slice word;
	for (int i = 0; (word = vigia__option_choice(o, i)).data; i++)
		if (word.len == len && memcmp(word.data, text, len) == 0) return i;
	return -1;
}

const char *vigia__option_show(const struct vigia__option *o, const void *field, char *out, size_t size)
{
	struct vigia_slice word;
	switch (o->type) {
	case VIGIA_OPTION_BOOL:
		return *(const bool *)field ? "true" : "false";
	case VIGIA_OPTION_COUNT:
	case VIGIA_OPTION_BYTES:
		snprintf(out, size, "%lld", (long long)*(const int64_t *)field);
		break;
	case VIGIA_OPTION_SECONDS:
		snprintf(out, size, "%.15g", (double)*(const int64_t *)field / 1e9);
		break;
	case VIGIA_OPTION_CHOICE:
		word = vigia__option_choice(o, *(const int *)field);
		snprintf(out, size, "'%.*s'", (int)word.len, word.data ? word.data : "");
		break;
	case VIGIA_OPTION_NAME:
		snprintf(out, size, "'%s'", *(const char *const *)field);
		break;
	case VIGIA_OPTION_SPECIAL:
		return "";
	}
	return out;
}

void vigia__options_init(const struct vigia__option *table, void *target)
{
	for (const struct vigia__option *o = table; o->name; o = vigia__option_next(o)) {
		switch (o->type) {
		case VIGIA_OPTION_BOOL:
			*(bool *)field_of(o, target) = o->initial != 0;
			break;
		case VIGIA_OPTION_COUNT:
		case VIGIA_OPTION_BYTES:
			*(int64_t *)field_of(o, target) = (int64_t)o->initial;
			break;
		case VIGIA_OPTION_SECONDS:
			*(int64_t *)field_of(o, target) = seconds_to_ns(o->initial);
			break;
		case VIGIA_OPTION_CHOICE:
			*(int *)field_of(o, target) = 0;
			break;
		case VIGIA_OPTION_NAME:
			*(const char **)field_of(o, target) = o->choices;
			break;
		case VIGIA_OPTION_SPECIAL:
			break;
		}
	}
}

/* ---- Structs of programs that were compiled against another header ---- */

int vigia__options_take(const char *name, void *ours, size_t ours_size, size_t least, const void *theirs,
                        struct vigia_error *err)
{
	size_t size;
	memcpy(&size, theirs, sizeof size);
	/* a sizeof is a multiple of the alignment */
	if (size < least || size > ours_size || size % _Alignof(int64_t) != 0)
		return vigia__error(err, VIGIA_EOPTION,
		                    "struct %s: its member size is %zu, allowed: sizeof (struct %s), at most %zu in version %s",
		                    name, size, name, ours_size, VIGIA_VERSION);
	memcpy(ours, theirs, size);
	memcpy(ours, &ours_size, sizeof ours_size);
	return VIGIA_OK;
}

void vigia__options_give(void *theirs, size_t size, const void *ours, size_t ours_size)
{
	if (size > ours_size) memset((char *)theirs + ours_size, 0, size - ours_size);
	memcpy(theirs, ours, size < ours_size ? size : ours_size);
}

/* Members that this library does not know become zero. The library refuses such a struct by its size later. */
void vigia_store_options_init_sized(struct vigia_store_options *options, size_t size)
{
	struct vigia_store_options ours = {.size = size};
	vigia__options_init(vigia__store_option_table, &ours);
	vigia__options_give(options, size, &ours, sizeof ours);
}

void vigia_watch_options_init_sized(struct vigia_watch_options *options, size_t size)
{
	/* zero is the trim horizon, and a filter that keeps all */
	struct vigia_watch_options ours = {.size = size};
	vigia__options_init(vigia__watch_option_table, &ours);
	vigia__options_give(options, size, &ours, sizeof ours);
}

/* ---- Problems ---- */

void vigia__problem(struct vigia__problems *problems, const char *format, ...)
{
	char text[256];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	problems->count++;
	if (vigia__buf_add(&problems->text, text, strlen(text) + 1) != 0) problems->lost++;
}

/* The length of a problem in short: of "batch_size is 0, allowed: ..." the name before " is ". */
static size_t short_len(const char *problem)
{
	const char *is = strstr(problem, " is ");
	return is ? (size_t)(is - problem) : strlen(problem);
}

/* Join all problems in one line. If they do not fit, the later ones are only named. If the names do not fit either, it
 * says so. */
static void join_problems(const struct vigia__buf *text, char *out, size_t size)
{
	static const char more[] = "... (there are more: fix these first)";
	const char *at = (const char *)text->data, *end = at + text->len;
	size_t names = 0, used = 0;
	for (const char *p = at; p < end; p += strlen(p) + 1) names += short_len(p) + 2;
	for (; at < end; at += strlen(at) + 1) {
		size_t len = strlen(at);
		names -= short_len(at) + 2;
		if (used + len + 2 + names + sizeof more > size) len = short_len(at);
		if (used + len + 2 + sizeof more > size) {
			snprintf(out + used, size - used, "%s%s", used ? "; " : "", more);
			return;
		}
		used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? "; " : "", (int)len, at);
	}
}

int vigia__problems_end(struct vigia__problems *problems, const char *what, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	if (problems->count && problems->text.len == 0)
		rc = vigia__error(err, VIGIA_EOPTION, "%s: wrong options: %d (out of memory while listing them)", what,
		                  problems->count);
	else if (problems->count) {
		char text[sizeof err->message - 64], lost[64] = "";
		if (problems->lost) snprintf(lost, sizeof lost, "; %d more (out of memory while listing them)", problems->lost);
		join_problems(&problems->text, text, sizeof text - strlen(lost));
		rc = vigia__error(err, VIGIA_EOPTION, "%s: %s%s", what, text, lost);
	}
	vigia__buf_deinit(&problems->text);
	problems->count = problems->lost = 0;
	return rc;
}

/* Describe what an option allows: "a whole number from 1 to 1000000". */
static const char *allowed(const struct vigia__option *o, char *out, size_t size)
{
	switch (o->type) {
	case VIGIA_OPTION_BOOL:
		return "true or false";
	case VIGIA_OPTION_COUNT:
		if (o->max >= 0x1p63) snprintf(out, size, "a whole number from %.15g on", o->min);
		else snprintf(out, size, "a whole number from %.15g to %.15g", o->min, o->max);
		break;
	case VIGIA_OPTION_BYTES:
		snprintf(out, size, "%.15g to %.15g bytes", o->min, o->max);
		break;
	case VIGIA_OPTION_SECONDS:
		if (isinf(o->max)) snprintf(out, size, "a number of seconds from %.15g on", o->min);
		else snprintf(out, size, "%.15g to %.15g seconds", o->min, o->max);
		break;
	case VIGIA_OPTION_NAME:
		snprintf(out, size, "a string of %.15g to %.15g bytes", o->min, o->max);
		break;
	default: {
		size_t n = 0;
		struct vigia_slice word;
		for (int i = 0; (word = vigia__option_choice(o, i)).data && n < size; i++)
			n += (size_t)snprintf(out + n, size - n, "%s\"%.*s\"", i ? " or " : "", (int)word.len, word.data);
	}
	}
	return out;
}

/* `more`: what else is wrong with it, or "". */
static void refuse_option(const struct vigia__option *option, const char *given, const char *more,
                          struct vigia__problems *problems)
{
	char text[128];
	vigia__problem(problems, "%s is %s, allowed: %s%s", option->name, given, allowed(option, text, sizeof text), more);
}

static const char *show_value(const struct vigia__value *value, char *out, size_t size)
{
	switch (value->kind) {
	case VIGIA_VALUE_BOOL:
		return value->boolean ? "true" : "false";
	case VIGIA_VALUE_INT:
		snprintf(out, size, "%lld", (long long)value->integer);
		break;
	case VIGIA_VALUE_FLOAT:
		snprintf(out, size, "%.14g", value->number);
		break;
	case VIGIA_VALUE_STRING: {
		enum { SHOWN = 24 };
		size_t len = strlen(value->string), cut = len > SHOWN ? vigia__utf8_cut(value->string, SHOWN) : len;
		snprintf(out, size, "\"%.*s%s\"", (int)cut, value->string, cut < len ? "..." : "");
		break;
	}
	case VIGIA_VALUE_OTHER:
		snprintf(out, size, "a %.24s", value->type_name ? value->type_name : "value");
		break;
	}
	return out;
}

/* ---- Setting ---- */

/* A size or a duration as text with a unit, in bytes or nanoseconds. */
static bool read_quantity(const struct vigia__option *o, const struct vigia__value *value, int64_t *out)
{
	enum vigia__quantity_kind kind = o->type == VIGIA_OPTION_BYTES ? VIGIA_QUANTITY_SIZE : VIGIA_QUANTITY_DURATION;
	size_t len = strlen(value->string);
	return vigia__quantity_has_unit(value->string, len) &&
	       vigia__quantity_read(kind, value->string, len, out) == VIGIA_QUANTITY_OK;
}

static bool set_whole(const struct vigia__option *o, int64_t *field, const struct vigia__value *value)
{
	int64_t n = value->integer;
	if (value->kind == VIGIA_VALUE_FLOAT) {
		/* 100.0 is a whole number */
		if (!(value->number >= o->min && value->number <= o->max && value->number < 0x1p63) ||
		    value->number != floor(value->number))
			return false;
		n = (int64_t)value->number;
	} else if (value->kind == VIGIA_VALUE_STRING && o->type == VIGIA_OPTION_BYTES) {
		if (!read_quantity(o, value, &n)) return false;
	} else if (value->kind != VIGIA_VALUE_INT) return false;
	if ((double)n < o->min || (double)n > o->max) return false;
	*field = n;
	return true;
}

static bool set_seconds(const struct vigia__option *o, int64_t *field, const struct vigia__value *value)
{
	double seconds;
	if (value->kind == VIGIA_VALUE_STRING) {
		int64_t ns;
		if (!read_quantity(o, value, &ns) || ns < seconds_to_ns(o->min) || ns > seconds_to_ns(o->max)) return false;
		*field = ns;
		return true;
	}
	if (value->kind == VIGIA_VALUE_INT) seconds = (double)value->integer;
	else if (value->kind == VIGIA_VALUE_FLOAT) seconds = value->number;
	else return false;
	if (!(seconds >= o->min && seconds <= o->max)) return false;
	*field = seconds_to_ns(seconds);
	return true;
}

static bool set_choice(const struct vigia__option *o, int *field, const struct vigia__value *value)
{
	if (value->kind != VIGIA_VALUE_STRING) return false;
	int index = vigia__option_choice_of(o, value->string, strlen(value->string));
	if (index >= 0) *field = index;
	return index >= 0;
}

static bool name_fits(const struct vigia__option *o, const char *name)
{
	size_t len = strlen(name);
	return (double)len >= o->min && (double)len <= o->max;
}

static bool set_field(const struct vigia__option *o, void *field, const struct vigia__value *value)
{
	switch (o->type) {
	case VIGIA_OPTION_BOOL:
		if (value->kind == VIGIA_VALUE_BOOL) *(bool *)field = value->boolean;
		return value->kind == VIGIA_VALUE_BOOL;
	case VIGIA_OPTION_COUNT:
	case VIGIA_OPTION_BYTES:
		return set_whole(o, field, value);
	case VIGIA_OPTION_SECONDS:
		return set_seconds(o, field, value);
	case VIGIA_OPTION_CHOICE:
		return set_choice(o, field, value);
	case VIGIA_OPTION_NAME:
		if (value->kind != VIGIA_VALUE_STRING || !name_fits(o, value->string)) return false;
		*(const char **)field = value->string;
		return true;
	case VIGIA_OPTION_SPECIAL:
		break;
	}
	return true;
}

/* How a text says a size or a duration, for one that does not. */
static const char *in_text(const struct vigia__option *o, const struct vigia__value *value)
{
	int64_t read;
	if (value->kind != VIGIA_VALUE_STRING || (o->type != VIGIA_OPTION_BYTES && o->type != VIGIA_OPTION_SECONDS))
		return "";
	if (read_quantity(o, value, &read)) return ""; /* it is beyond the limits */
	return o->type == VIGIA_OPTION_BYTES ? ", as in 64M or 64MiB" : ", as in 250ms or 1h";
}

void vigia__option_set(const struct vigia__option *table, void *target, const char *name,
                       const struct vigia__value *value, struct vigia__problems *problems)
{
	const struct vigia__option *o = vigia__option_find(table, name);
	if (!o) {
		if (table == vigia__watch_option_table && vigia__option_find(vigia__script_option_table, name)) {
			vigia__problem(problems, "%s needs a handler that is a script: the path of a file, or a module's name",
			               name);
			return;
		}
		const char *near = vigia__nearest(name, option_name_at, table);
		char hint[96] = "";
		if (near) snprintf(hint, sizeof hint, " (did you mean %s?)", near);
		vigia__problem(problems, "unknown option '%.48s'%s", name, hint);
		return;
	}
	if (o->type == VIGIA_OPTION_SPECIAL) return;
	if (!set_field(o, field_of(o, target), value)) {
		char given[96];
		refuse_option(o, show_value(value, given, sizeof given), in_text(o, value), problems);
		return;
	}
	if (o->given_offset) *(bool *)((char *)target + o->given_offset) = true;
}

/* ---- Checking a struct ---- */

static void check_field(const struct vigia__option *o, const void *field, struct vigia__problems *problems)
{
	char given[96];
	struct vigia__value value = {.kind = VIGIA_VALUE_INT};
	switch (o->type) {
	case VIGIA_OPTION_COUNT:
	case VIGIA_OPTION_BYTES:
		value.integer = *(const int64_t *)field;
		if ((double)value.integer >= o->min && (double)value.integer <= o->max) return;
		break;
	case VIGIA_OPTION_SECONDS: {
		int64_t ns = *(const int64_t *)field;
		if (ns >= seconds_to_ns(o->min) && ns <= seconds_to_ns(o->max)) return;
		value.kind = VIGIA_VALUE_FLOAT;
		value.number = (double)ns / 1e9;
		break;
	}
	case VIGIA_OPTION_CHOICE:
		value.integer = *(const int *)field;
		if (value.integer >= 0 && vigia__option_choice(o, (int)value.integer).data) return;
		break;
	case VIGIA_OPTION_NAME: {
		const char *name = *(const char *const *)field;
		if (name && name_fits(o, name)) return;
		value = (struct vigia__value){
			.kind = name ? VIGIA_VALUE_STRING : VIGIA_VALUE_OTHER, .string = name, .type_name = "NULL"};
		break;
	}
	default:
		return;
	}
	refuse_option(o, show_value(&value, given, sizeof given), "", problems);
}

/* Check options of one struct against each other. */
static void check_store(const struct vigia_store_options *options, struct vigia__problems *problems)
{
	if (options->events_bucket && options->checkpoint_bucket &&
	    strcmp(options->events_bucket, options->checkpoint_bucket) == 0)
		vigia__problem(problems, "events_bucket and checkpoint_bucket are both \"%.24s\", allowed: two names",
		               options->events_bucket);
	if ((options->events_bucket && strncmp(options->events_bucket, "vigia", 5) == 0) ||
	    (options->checkpoint_bucket && strncmp(options->checkpoint_bucket, "vigia", 5) == 0))
		vigia__problem(problems, "events_bucket, checkpoint_bucket: names that begin with 'vigia' are taken");
	if (options->map_size_bytes > 0 && options->map_size_bytes < (int64_t)(64 * KIB))
		vigia__problem(problems, "map_size is %lld, allowed: 0, or at least %.15g bytes",
		               (long long)options->map_size_bytes, 64 * KIB);
}

static void check_watch(const struct vigia_watch_options *options, struct vigia__problems *problems)
{
	if (options->max_backoff_ns < options->initial_backoff_ns)
		vigia__problem(problems, "max_backoff is %.15g seconds, allowed: at least initial_backoff, %.15g seconds",
		               (double)options->max_backoff_ns / 1e9, (double)options->initial_backoff_ns / 1e9);
	int kind = (int)options->initial_event_iterator.kind;
	if (kind < VIGIA_TRIM_HORIZON || kind > VIGIA_AFTER)
		vigia__problem(problems, "initial_event_iterator is of kind %d, allowed: one of enum vigia_iterator_kind",
		               kind);
}

static void check_script(const struct vigia__script_options *options, struct vigia__problems *problems)
{
	if (options->memory_limit_bytes > 0 && options->memory_limit_bytes < (int64_t)(256 * KIB))
		vigia__problem(problems, "memory_limit is %lld, allowed: 0, or at least %.15g bytes",
		               (long long)options->memory_limit_bytes, 256 * KIB);
	if (options->cpu_limit_ns > 0 && options->cpu_limit_ns < 1000000)
		vigia__problem(problems, "cpu_limit is %.15g, allowed: 0, or at least 0.001 seconds",
		               (double)options->cpu_limit_ns / 1e9);
}

void vigia__options_check(const struct vigia__option *table, const void *target, struct vigia__problems *problems)
{
	for (const struct vigia__option *o = table; o->name; o = vigia__option_next(o))
		check_field(o, (const char *)target + o->offset, problems);
	if (table == vigia__store_option_table) check_store(target, problems);
	else if (table == vigia__watch_option_table || table == vigia__script_option_table)
		check_watch(target, problems); /* also the first member of a script's options */
	if (table == vigia__script_option_table) check_script(target, problems);
}
