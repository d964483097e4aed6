/*
 * filter.c - lists of names, sorted by length, so that most events are dropped without comparing a byte. What they keep
 * is asked for its places (where.c).
 */
#include "filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "error.h"

/* A list of names, sorted by length, then bytes. */
struct names {
	struct vigia_slice *items;
	size_t count;
};

struct vigia__filter {
	struct names types;      /* count 0: all */
	struct names operations; /* those that are not standard */
	unsigned standard;       /* bit i: operation i (1 CREATE, 2 UPDATE, 3 DELETE) */
	bool all_operations;
	struct vigia__where *where; /* NULL: any object */
	uint32_t *hashes;           /* of all types, then of all operations */
	size_t hashes_types, hashes_operations;
	/* the slices of both lists, the hashes, then the names' bytes, follow */
};

static int name_compare(const void *a, const void *b)
{
	const struct vigia_slice *x = a, *y = b;
	if (x->len != y->len) return x->len < y->len ? -1 : 1;
	return memcmp(x->data, y->data, x->len);
}

static bool names_have(const struct names *names, struct vigia_slice name)
{
	enum { LINEAR_MAX = 8 };
	if (names->count > LINEAR_MAX) return bsearch(&name, names->items, names->count, sizeof name, name_compare) != NULL;
	for (size_t i = 0; i < names->count; i++) {
		const struct vigia_slice *item = &names->items[i];
		if (item->len == name.len && item->data[0] == name.data[0] && memcmp(item->data, name.data, name.len) == 0)
			return true;
	}
	return false;
}

static int check_names(const struct vigia_slice *names, size_t count, const char *list, size_t *bytes,
                       struct vigia_error *err)
{
	for (size_t i = 0; i < count; i++) {
		char field[64];
		snprintf(field, sizeof field, "filter.%s[%zu]", list, i + 1);
		int rc = vigia__name_check(names[i], field, err);
		if (rc != 0) return rc;
		*bytes += names[i].len;
	}
	return VIGIA_OK;
}

static void names_add(struct names *names, struct vigia_slice name, char **bytes)
{
	memcpy(*bytes, name.data, name.len);
	names->items[names->count++] = (struct vigia_slice){*bytes, name.len};
	*bytes += name.len;
}

static void names_sort(struct names *names)
{
	if (names->count > 1) qsort(names->items, names->count, sizeof *names->items, name_compare);
}

static unsigned standard_bit(struct vigia_slice name)
{
	static const char *const standard[] = {VIGIA_CREATE, VIGIA_UPDATE, VIGIA_DELETE};
	for (unsigned i = 0; i < 3; i++)
		if (vigia__slice_is(name, standard[i])) return 2u << i;
	return 0;
}

int vigia__filter_new_where(const struct vigia_filter *filter, const struct vigia_where *where, size_t where_count,
                            struct vigia__filter **out, struct vigia_error *err)
{
	static const struct vigia_filter all = {0};
	*out = NULL;
	if (filter == NULL) filter = &all;
	if (filter->object_types_count == 0 && filter->operations_count == 0 && where_count == 0) return VIGIA_OK;
	size_t bytes = 0;
	int rc = check_names(filter->object_types, filter->object_types_count, "object_types", &bytes, err);
	if (rc == 0) rc = check_names(filter->operations, filter->operations_count, "operations", &bytes, err);
	if (rc != 0) return rc;
	/* the caller's arrays of slices fit into memory, so these sums cannot overflow */
	size_t slices = filter->object_types_count + filter->operations_count;
	struct vigia__filter *made =
		vigia__calloc(sizeof *made + slices * (sizeof(struct vigia_slice) + sizeof(uint32_t)) + bytes);
	if (!made) return vigia__error(err, VIGIA_ENOMEM, "no memory for a filter");
	rc = vigia__where_new(where, where_count, &made->where, err);
	if (rc != 0) {
		vigia__filter_free(made);
		return rc;
	}
	made->types.items = (struct vigia_slice *)(made + 1);
	made->operations.items = made->types.items + filter->object_types_count;
	made->hashes = (uint32_t *)(made->operations.items + filter->operations_count);
	made->hashes_types = filter->object_types_count;
	made->hashes_operations = filter->operations_count;
	for (size_t i = 0; i < slices; i++)
		made->hashes[i] = vigia__name_hash(i < made->hashes_types ? filter->object_types[i]
		                                                          : filter->operations[i - made->hashes_types]);
	char *text = (char *)(made->hashes + slices);
	for (size_t i = 0; i < filter->object_types_count; i++) names_add(&made->types, filter->object_types[i], &text);
	made->all_operations = filter->operations_count == 0;
	for (size_t i = 0; i < filter->operations_count; i++) {
		unsigned bit = standard_bit(filter->operations[i]);
		made->standard |= bit;
		if (!bit) names_add(&made->operations, filter->operations[i], &text);
	}
	names_sort(&made->types);
	names_sort(&made->operations);
	*out = made;
	return VIGIA_OK;
}

int vigia__filter_new(const struct vigia_filter *filter, struct vigia__filter **out, struct vigia_error *err)
{
	return vigia__filter_new_where(filter, NULL, 0, out, err);
}

void vigia__filter_free(struct vigia__filter *filter)
{
	if (filter) vigia__where_free(filter->where);
	vigia__free(filter);
}

bool vigia__filter_match(const struct vigia__filter *filter, const uint8_t *bytes, size_t len)
{
	struct vigia__head head;
	if (!filter || vigia__event_names(bytes, len, &head) != 0) return true;
	if (!filter->all_operations) {
		bool wanted =
			head.standard ? filter->standard >> head.standard & 1 : names_have(&filter->operations, head.operation);
		if (!wanted) return false;
	}
	if (filter->types.count > 0 && !names_have(&filter->types, head.object_type)) return false;
	if (filter->where == NULL || vigia__event_head(bytes, len, &head) != 0) return true;
	return vigia__where_match(filter->where, &head);
}

size_t vigia__filter_places(const struct vigia__filter *filter)
{
	return filter ? vigia__where_count(filter->where) : 0;
}

const uint32_t *vigia__filter_type_hashes(const struct vigia__filter *filter, size_t *count)
{
	*count = filter ? filter->hashes_types : 0;
	return filter ? filter->hashes : NULL;
}

const uint32_t *vigia__filter_operation_hashes(const struct vigia__filter *filter, size_t *count)
{
	*count = filter ? filter->hashes_operations : 0;
	return filter ? filter->hashes + filter->hashes_types : NULL;
}

const struct vigia_slice *vigia__filter_types(const struct vigia__filter *filter, size_t *count)
{
	*count = filter ? filter->types.count : 0;
	return filter ? filter->types.items : NULL;
}
