/*
 * nearest.h - suggests the known name for a misspelled one.
 */
#ifndef VIGIA_CORE_NEAREST_H
#define VIGIA_CORE_NEAREST_H

/* The known name nearest to `wrong`, NULL if none is near. `name_at` returns the index-th name, NULL behind the last.
 */
const char *vigia__nearest(const char *wrong, const char *(*name_at)(const void *ctx, int index), const void *ctx);

#endif
