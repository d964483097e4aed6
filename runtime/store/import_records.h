/*
 * import_records.h - what an import puts into the maps of a store (state.h): buckets, dead letters and what lanes have
 * finished in one, timers in the other.
 *
 * What is there already is put again. Both may be called again after a failure. Backends call them under their lock.
 */
#ifndef VIGIA_STORE_IMPORT_RECORDS_H
#define VIGIA_STORE_IMPORT_RECORDS_H

#include "backend.h"

/* Has this commit of an import anything for the map? */
bool vigia__import_has(const struct vigia__import *import, enum vigia__map map);
/* `arg`: the import. As vigia__state_fn. */
int vigia__import_state(struct vigia__kv *kv, void *arg, struct vigia_error *err);
int vigia__import_timers(struct vigia__kv *kv, void *arg, struct vigia_error *err);

/* Of an item: a watcher's id, as a string. */
struct vigia__import_id {
	char text[VIGIA_NAME_MAX + 1];
};
const char *vigia__import_id(const struct vigia__import_item *item, struct vigia__import_id *room);

#endif
