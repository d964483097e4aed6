/*
 * spin.c - preloaded into a program: LMDB never comes back once it has found event VIGIA_SPIN_AT, as from damaged pages
 * that lead it round in a circle.
 */
#include <dlfcn.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

__attribute__((visibility("default"))) int mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value,
                                                          MDB_cursor_op op)
{
	static int (*real)(MDB_cursor *, MDB_val *, MDB_val *, MDB_cursor_op);
	if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "mdb_cursor_get");
	int rc = real(cursor, key, value, op);
	const char *at = getenv("VIGIA_SPIN_AT");
	uint64_t number;
	if (rc == 0 && at && key->mv_size == sizeof number) {
		memcpy(&number, key->mv_data, sizeof number);
		for (volatile uint64_t wanted = strtoull(at, NULL, 10); number == wanted;) continue;
	}
	return rc;
}
