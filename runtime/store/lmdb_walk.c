/*
 * lmdb_walk.c - reads from pages that may be damaged. LMDB trusts them, so its results are checked before use.
 *
 * This does not make LMDB itself safe: a damaged page can still crash it (contract R3). But its results do not crash
 * Vigia, and pages that lead in a circle cause no endless loop, because keys must ascend.
 */
#include <string.h>

#include "lmdb_private.h"

/* mdb.c: the header of a page, and its flag for values that have pages of their own. */
struct page_header {
	size_t pgno;
	uint16_t pad, flags;
	uint32_t pages; /* of a value with pages of its own */
};
enum { FLAG_OVERFLOW = 0x04 };

/* For a value longer than a page, with pages of its own: does it fit the number of pages in their header? */
static bool fits_its_pages(const struct lmdb_backend *b, const MDB_val *value, struct page_header *header)
{
	memcpy(header, (const char *)value->mv_data - sizeof *header, sizeof *header);
	return (header->flags & FLAG_OVERFLOW) && header->pages > 0 &&
	       value->mv_size <= header->pages * b->page_bytes - sizeof *header;
}

/* A value lies inside one page, after its node, or after the header of its own pages. */
bool vigia__lmdb_whole(const struct lmdb_backend *b, const MDB_val *value)
{
	struct page_header header;
	MDB_envinfo info;
	if (vigia__lmdb_in_page(b, value)) return true;
	if (value->mv_data == NULL) return false;
	if (!b->pages_aligned) return vigia__lmdb_sane(b, value);
	return vigia__lmdb_place_in_page(b, value) == sizeof header && fits_its_pages(b, value, &header) &&
	       mdb_env_info(b->env, &info) == 0 && header.pgno <= info.me_last_pgno &&
	       header.pages <= info.me_last_pgno + 1 - header.pgno;
}

bool vigia__lmdb_sane(const struct lmdb_backend *b, const MDB_val *value)
{
	struct page_header header;
	return value->mv_data && (value->mv_size <= b->page_bytes || fits_its_pages(b, value, &header));
}

int vigia__lmdb_get(const struct lmdb_backend *b, MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op)
{
	*value = (MDB_val){0}; /* LMDB does not set it on a page that claims to hold only keys */
	int rc = mdb_cursor_get(cursor, key, value, op);
	return rc == 0 && !vigia__lmdb_fits(b, key, value) ? MDB_CORRUPTED : rc;
}

/* Is the key after the previous one, in the database's order? */
static bool ascends(const struct vigia__lmdb_walk *walk, const MDB_val *key)
{
	size_t common = walk->len < key->mv_size ? walk->len : key->mv_size;
	if (walk->numbers) {
		const MDB_val before = {sizeof(size_t), (void *)walk->before};
		return vigia__lmdb_number(key) > vigia__lmdb_number(&before);
	}
	int order = memcmp(key->mv_data, walk->before, common);
	return order > 0 || (order == 0 && key->mv_size > walk->len);
}

int vigia__lmdb_next(struct vigia__lmdb_walk *walk, MDB_val *key, MDB_val *value)
{
	*value = (MDB_val){0};
	int rc = mdb_cursor_get(walk->cursor, key, value, MDB_NEXT);
	if (rc != 0) return rc;
	bool fits =
		walk->numbers ? key->mv_size == sizeof(size_t) : key->mv_size > 0 && key->mv_size <= sizeof walk->before;
	if (!fits || value->mv_data == NULL || (walk->len > 0 && !ascends(walk, key))) return MDB_CORRUPTED;
	memcpy(walk->before, key->mv_data, walk->len = key->mv_size);
	return 0;
}
