/*
 * fuzz_options.c - any names and values as options: what is refused is told in one line that ends, and what was taken
 * is allowed by the table and is kept as it was given.
 *
 * Input: a byte for the table, then for each option: a byte for the row (from 128 on: a name of the input's), one for
 * the kind, the value.
 */
#include <math.h>

#include "core/options.h"
#include "core/quantity.h"
#include "lib/fuzz.h"

union target {
	struct vigia_store_options store;
	struct vigia_watch_options watch;
	struct vigia__script_options script;
	struct vigia__stop_options stop;
};

static const struct table {
	const struct vigia__option *rows;
	size_t size;
} tables[] = {
	{vigia__store_option_table, sizeof(struct vigia_store_options)},
	{vigia__watch_option_table, sizeof(struct vigia_watch_options)},
	{vigia__script_option_table, sizeof(struct vigia__script_options)},
	{vigia__stop_option_table, sizeof(struct vigia__stop_options)},
	{vigia__registry_option_table, 0},
};

static const struct vigia__option *row_at(const struct vigia__option *table, unsigned index)
{
	for (;;)
		for (const struct vigia__option *row = table; row->name; row = vigia__option_next(row))
			if (index-- == 0) return row;
}

static void end(struct vigia__problems *problems)
{
	struct vigia_error err;
	memset(&err, 'x', sizeof err);
	int count = problems->count, rc = vigia__problems_end(problems, "fuzz options", &err);
	fuzz_assert((rc == VIGIA_OK) == (count == 0));
	if (rc != VIGIA_OK) {
		fuzz_assert(rc == VIGIA_EOPTION && err.code == rc && memchr(err.message, '\0', sizeof err.message));
		fuzz_assert(strncmp(err.message, "fuzz options: ", 14) == 0 && err.message[14]);
	}
}

/* What of the check complains of two options together, or of a number between two allowed ones. */
static bool checked_alone(const struct vigia__option *row)
{
	static const char *const others[] = {"events_bucket", "checkpoint_bucket", "map_size", "initial_backoff",
	                                     "max_backoff",   "memory_limit",      "cpu_limit"};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (strcmp(row->name, others[i]) == 0) return false;
	return true;
}

static void taken(const struct table *table, const struct vigia__option *row, const struct vigia__value *value)
{
	union target target;
	struct vigia__problems problems = {0};
	char text[128];
	memset(&target, 0, sizeof target);
	vigia__options_init(table->rows, &target);
	vigia__option_set(table->rows, &target, row->name, value, &problems);
	fuzz_assert(problems.count == 0);
	const void *field = (char *)&target + row->offset;
	switch (row->type) {
	case VIGIA_OPTION_COUNT:
	case VIGIA_OPTION_BYTES:
		if (value->kind == VIGIA_VALUE_STRING) {
			int64_t bytes = -1;
			fuzz_assert(vigia__quantity_read(VIGIA_QUANTITY_SIZE, value->string, strlen(value->string), &bytes) == 0);
			fuzz_assert(*(const int64_t *)field == bytes);
			break;
		}
		fuzz_assert(value->kind == VIGIA_VALUE_INT ? *(const int64_t *)field == value->integer
		                                           : (double)*(const int64_t *)field == value->number);
		break;
	case VIGIA_OPTION_SECONDS:
		fuzz_assert(*(const int64_t *)field >= 0);
		break;
	case VIGIA_OPTION_CHOICE: {
		struct vigia_slice word = vigia__option_choice(row, *(const int *)field);
		fuzz_assert(word.data && word.len == strlen(value->string) && memcmp(word.data, value->string, word.len) == 0);
		break;
	}
	case VIGIA_OPTION_NAME:
		fuzz_assert(strcmp(*(const char *const *)field, value->string) == 0);
		break;
	default:
		break;
	}
	if (row->type != VIGIA_OPTION_SPECIAL) fuzz_assert(vigia__option_show(row, field, text, sizeof text));
	vigia__options_check(table->rows, &target, &problems);
	fuzz_assert(problems.count == 0 || !checked_alone(row));
	end(&problems);
}

/* A program's struct of another size: nothing behind its end is read or written. */
static void try_take(const struct table *table, uint64_t size)
{
	union target ours, init;
	struct vigia_error err = {0};
	size_t has = sizeof(size_t) + size % (2 * table->size);
	void *theirs = malloc(has);
	fuzz_assert(theirs);
	memset(&init, 0, sizeof init);
	vigia__options_init(table->rows, &init);
	memset(theirs, 0, has);
	memcpy(theirs, &init, has < table->size ? has : table->size);
	memcpy(theirs, &has, sizeof has);
	ours = init;
	int rc = vigia__options_take("fuzz", &ours, table->size, 2 * sizeof(size_t), theirs, &err);
	fuzz_assert(rc == VIGIA_OK || (rc == VIGIA_EOPTION && err.message[0]));
	fuzz_assert((rc == VIGIA_OK) == (has >= 2 * sizeof(size_t) && has <= table->size && has % sizeof(int64_t) == 0));
	if (rc == VIGIA_OK) vigia__options_give(theirs, has, &ours, table->size);
	free(theirs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, data + size};
	const struct table *table = &tables[fuzz_byte(&in) % (sizeof tables / sizeof *tables)];
	union target target;
	struct vigia__problems problems = {0};
	char *texts[64];
	unsigned count = 0;
	memset(&target, 0, sizeof target);
	vigia__options_init(table->rows, &target);
	while (fuzz_left(&in) > 0 && count + 2 < sizeof texts / sizeof *texts) {
		unsigned index = fuzz_byte(&in), kind = fuzz_byte(&in);
		const struct vigia__option *row = index < 128 ? row_at(table->rows, index) : NULL;
		const char *name = row ? row->name : (texts[count++] = fuzz_string(&in));
		struct vigia__value value = {.kind = kind % (VIGIA_VALUE_OTHER + 1), .type_name = "table"};
		switch (value.kind) {
		case VIGIA_VALUE_BOOL:
			value.boolean = fuzz_byte(&in) & 1;
			break;
		case VIGIA_VALUE_INT:
			value.integer = (int64_t)fuzz_number(&in);
			break;
		case VIGIA_VALUE_FLOAT: {
			uint64_t bits = fuzz_number(&in);
			memcpy(&value.number, &bits, sizeof bits);
			break;
		}
		case VIGIA_VALUE_STRING:
			value.string = texts[count++] = fuzz_string(&in);
			break;
		default:
			break;
		}
		int before = problems.count;
		vigia__option_set(table->rows, &target, name, &value, &problems);
		row = vigia__option_find(table->rows, name);
		fuzz_assert(row || problems.count == before + 1);
		if (row && problems.count == before && table->size) taken(table, row, &value);
	}
	if (table->size) vigia__options_check(table->rows, &target, &problems);
	if (table < tables + 2) /* the structs that a program fills in */
		try_take(table, size > 0 ? data[size - 1] * UINT64_C(4) : size);
	end(&problems);
	while (count > 0) free(texts[--count]);
	return 0;
}

FUZZ_MAIN(20000)
