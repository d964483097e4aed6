/*
 * pg.h - the door of this room: what libvigia-pg.so offers to libvigia (store/module.h). Nothing else of it is seen.
 */
#ifndef VIGIA_STORE_PG_PG_H
#define VIGIA_STORE_PG_PG_H

#include "../module.h"

extern const struct vigia__module vigia_module;

#endif
