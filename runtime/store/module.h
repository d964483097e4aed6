/*
 * module.h - loads the backend of a server, which is a library of its own: so that this one needs no client of that
 * server where nobody has one. For postgresql://... it is libvigia-pg.so.0 (store/pg/), in the folder of this library
 * or where the loader looks. It is loaded once, by the first such location, and stays.
 */
#ifndef VIGIA_STORE_MODULE_H
#define VIGIA_STORE_MODULE_H

#include "../core/buf.h"
#include "backend.h"

/* What such a library offers, under the name vigia_module. Both are of one version: their private symbols have its
 * number. */
struct vigia__module {
	/* The library that it uses: must be this one, and not a second copy. */
	void (*backend_init)(struct vigia__backend *b, const struct vigia__backend *table);
	int (*open)(const char *location, const struct vigia_store_options *options, struct vigia__backend **out,
	            struct vigia_error *err);
	/* Append the statements that make the log of this location with these options. */
	int (*script)(const char *location, const struct vigia_store_options *options, struct vigia__buf *out,
	              struct vigia_error *err);
};

/* As vigia__lmdb_open(). EUNSUPPORTED: there is no such library; the error names the package. */
int vigia__module_open(const char *location, const struct vigia_store_options *options, struct vigia__backend **out,
                       struct vigia_error *err);
int vigia__module_script(const char *location, const struct vigia_store_options *options, struct vigia__buf *out,
                         struct vigia_error *err);

#endif
