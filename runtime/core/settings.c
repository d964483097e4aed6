/*
 * settings.c - the options that belong to a store's file, by the rows of the table in core/option_tables.c.
 */
#include "settings.h"

#include <stdio.h>
#include <string.h>

#include "event.h"

static const void *setting_of(const struct vigia__option *o, const struct vigia_store_options *options)
{
	return (const char *)options + o->offset;
}

static void *target(const struct vigia__option *o, struct vigia_store_options *options)
{
	return (char *)options + o->offset;
}

static bool given(const struct vigia__option *o, const struct vigia_store_options *options)
{
	return *(const bool *)((const char *)options + o->given_offset);
}

/* The next row of the file's after `o`, the first for NULL. NULL after the last. */
static const struct vigia__option *next_setting(const struct vigia__option *o)
{
	for (o = o ? o + 1 : vigia__store_option_table; o->name; o++)
		if (o->scope != VIGIA_SCOPE_HANDLE) return o;
	return NULL;
}

/* Copy the strings into `names`, in the order of the table. */
static void own_names(struct vigia__settings *s, const struct vigia_store_options *from)
{
	int i = 0;
	for (const struct vigia__option *o = next_setting(NULL); o; o = next_setting(o)) {
		if (o->type != VIGIA_OPTION_NAME || i >= VIGIA_SETTINGS_NAMES) continue;
		snprintf(s->names[i], sizeof s->names[i], "%s", *(const char *const *)setting_of(o, from));
		*(const char **)target(o, &s->values) = s->names[i++];
	}
}

void vigia__settings_from(struct vigia__settings *s, const struct vigia_store_options *options)
{
	s->values = *options;
	own_names(s, options);
}

void vigia__settings_copy(struct vigia__settings *to, const struct vigia__settings *from)
{
	*to = *from;
	own_names(to, &from->values);
}

/* ---- As bytes ---- */

static int put_setting(const struct vigia__option *o, const void *value, struct vigia__buf *buf)
{
	struct vigia_slice word;
	switch (o->type) {
	case VIGIA_OPTION_BOOL:
		return vigia__put_bool(buf, *(const bool *)value);
	case VIGIA_OPTION_CHOICE:
		word = vigia__option_choice(o, *(const int *)value);
		return vigia__put_string(buf, word.data, word.len);
	case VIGIA_OPTION_NAME:
		return vigia__put_string(buf, *(const char *const *)value, strlen(*(const char *const *)value));
	default:
		return vigia__put_int(buf, *(const int64_t *)value);
	}
}

int vigia__settings_encode(const struct vigia__settings *s, struct vigia__buf *buf)
{
	size_t count = 0;
	for (const struct vigia__option *o = next_setting(NULL); o; o = next_setting(o)) count++;
	if (vigia__put_map(buf, count) < 0) return -1;
	for (const struct vigia__option *o = next_setting(NULL); o; o = next_setting(o))
		if (vigia__put_string(buf, o->name, strlen(o->name)) < 0 || put_setting(o, setting_of(o, &s->values), buf) < 0)
			return -1;
	return 0;
}

static bool take_value(const struct vigia__option *o, void *out, const struct vigia__token *value,
                       char name[VIGIA_SETTINGS_NAME_LEN + 1])
{
	switch (o->type) {
	case VIGIA_OPTION_BOOL:
		if (value->kind == VIGIA_TOKEN_BOOL) *(bool *)out = value->boolean;
		return value->kind == VIGIA_TOKEN_BOOL;
	case VIGIA_OPTION_CHOICE:
		if (value->kind != VIGIA_TOKEN_STRING) return false;
		*(int *)out = vigia__option_choice_of(o, value->string.data, value->string.len);
		return *(int *)out >= 0;
	case VIGIA_OPTION_NAME:
		if (value->kind != VIGIA_TOKEN_STRING || value->string.len == 0 || value->string.len > VIGIA_SETTINGS_NAME_LEN)
			return false;
		memcpy(name, value->string.data, value->string.len);
		name[value->string.len] = '\0';
		*(const char **)out = name;
		return true;
	default:
		if (value->kind == VIGIA_TOKEN_INT) *(int64_t *)out = value->integer;
		return value->kind == VIGIA_TOKEN_INT;
	}
}

static const struct vigia__option *row_of(struct vigia_slice name)
{
	const struct vigia__option *o = next_setting(NULL);
	while (o && !vigia__slice_is(name, o->name)) o = next_setting(o);
	return o;
}

bool vigia__settings_decode(struct vigia__settings *s, const void *data, size_t len)
{
	struct vigia__reader reader = {data, (const uint8_t *)data + len};
	struct vigia__token map, key, value;
	struct vigia_store_options read;
	char names[VIGIA_SETTINGS_NAMES][VIGIA_SETTINGS_NAME_LEN + 1];
	int names_count = 0;
	vigia_store_options_init(&read);
	if (vigia__reader_next(&reader, &map, NULL) < 0 || map.kind != VIGIA_TOKEN_MAP) return false;
	for (uint32_t i = 0; i < map.count; i++) {
		if (vigia__reader_next(&reader, &key, NULL) < 0 || key.kind != VIGIA_TOKEN_STRING) return false;
		const struct vigia__option *o = row_of(key.string);
		if (!o) {
			if (vigia__reader_skip(&reader, NULL) < 0) return false;
			continue;
		}
		if (names_count == VIGIA_SETTINGS_NAMES || vigia__reader_next(&reader, &value, NULL) < 0) return false;
		if (!take_value(o, target(o, &read), &value, names[names_count])) return false;
		names_count += o->type == VIGIA_OPTION_NAME;
	}
	struct vigia__problems problems = {0};
	vigia__options_check(vigia__store_option_table, &read, &problems);
	if (vigia__problems_end(&problems, "settings", NULL) < 0) return false;
	vigia__settings_from(s, &read);
	return true;
}

/* ---- Compared and changed ---- */

/* Of the field of an option that is not a name. */
static size_t size_of(const struct vigia__option *o)
{
	return o->type == VIGIA_OPTION_BOOL ? sizeof(bool) : o->type == VIGIA_OPTION_CHOICE ? sizeof(int) : sizeof(int64_t);
}

static bool equal(const struct vigia__option *o, const struct vigia_store_options *a,
                  const struct vigia_store_options *b)
{
	const void *x = setting_of(o, a), *y = setting_of(o, b);
	if (o->type == VIGIA_OPTION_NAME) return strcmp(*(const char *const *)x, *(const char *const *)y) == 0;
	return memcmp(x, y, size_of(o)) == 0;
}

void vigia__settings_conflicts(const struct vigia__settings *s, const struct vigia_store_options *asked,
                               struct vigia__problems *problems)
{
	char file[96], other[96];
	for (const struct vigia__option *o = next_setting(NULL); o; o = next_setting(o))
		if (given(o, asked) && !equal(o, &s->values, asked))
			vigia__problem(problems, "%s is %s in the file, but %s was requested", o->name,
			               vigia__option_show(o, setting_of(o, &s->values), file, sizeof file),
			               vigia__option_show(o, setting_of(o, asked), other, sizeof other));
}

void vigia__settings_replace(struct vigia__settings *s, const struct vigia__settings *by,
                             struct vigia__problems *problems)
{
	char ours[96], theirs[96];
	for (const struct vigia__option *o = next_setting(NULL); o; o = next_setting(o)) {
		if (o->scope == VIGIA_SCOPE_FIXED && !equal(o, &s->values, &by->values))
			vigia__problem(problems, "%s is fixed: it is %s in the file and %s in the export", o->name,
			               vigia__option_show(o, setting_of(o, &s->values), ours, sizeof ours),
			               vigia__option_show(o, setting_of(o, &by->values), theirs, sizeof theirs));
		else if (o->type != VIGIA_OPTION_NAME)
			memcpy(target(o, &s->values), setting_of(o, &by->values), size_of(o)); /* names are all fixed */
	}
}

void vigia__settings_change(struct vigia__settings *s, const struct vigia_store_options *changes,
                            struct vigia__problems *problems)
{
	char file[96];
	for (const struct vigia__option *o = next_setting(NULL); o; o = next_setting(o)) {
		if (!given(o, changes) || equal(o, &s->values, changes)) continue;
		if (o->scope == VIGIA_SCOPE_FIXED) {
			vigia__problem(problems, "%s is fixed: it is %s and cannot be changed", o->name,
			               vigia__option_show(o, setting_of(o, &s->values), file, sizeof file));
			continue;
		}
		memcpy(target(o, &s->values), setting_of(o, changes), size_of(o)); /* no name: they are all fixed */
	}
	vigia__options_check(vigia__store_option_table, &s->values, problems);
}
