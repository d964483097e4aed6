/*
 * statements.c - the texts of the statements, for one log's schema.
 */
#include "statements.h"

#include <string.h>

#include "../../core/alloc.h"

static const struct {
	int params;
	const char *text;
} statements[VIGIA_PG_STATEMENTS] = {
#define X(name, count, text) {count, text},
	VIGIA_PG_STATEMENT_MAP(X)
#undef X
};

int vigia__pg_statement_params(enum pg_statement statement)
{
	return statements[statement].params;
}

int vigia__pg_statements_make(char *texts[VIGIA_PG_STATEMENTS], const char *schema)
{
	size_t len = strlen(schema);
	for (int i = 0; i < VIGIA_PG_STATEMENTS; i++) {
		const char *text = statements[i].text, *at = strchr(text, '@');
		char *out = texts[i] = vigia__alloc(strlen(text) + len);
		if (out == NULL) return -1;
		memcpy(out, text, (size_t)(at - text));
		memcpy(out + (at - text), schema, len);
		memcpy(out + (at - text) + len, at + 1, strlen(at + 1) + 1);
	}
	return 0;
}
