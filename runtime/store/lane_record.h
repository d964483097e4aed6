/*
 * lane_record.h - what a watcher with lanes has finished above its checkpoint (contract K3): a record in the ordered
 * map that buckets are in (state.h).
 *
 *     'r' watcher id   -> sum u64, epoch u64, the ranges (core/ranges.h)
 * The epoch counts seeks: what lanes finished before one must not be added behind it.
 *
 * Functions return 0, VIGIA_NONE where that is said, a Vigia code, or the backend's error as it is.
 */
#ifndef VIGIA_STORE_LANE_RECORD_H
#define VIGIA_STORE_LANE_RECORD_H

#include "../core/ranges.h"
#include "state.h"

/* Into initialised ranges. VIGIA_NONE: there is none. EDAMAGED, ENOMEM. */
int vigia__lane_record_get(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t *epoch,
                           struct vigia__ranges *out);
int vigia__lane_record_put(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t epoch,
                           const struct vigia__ranges *ranges);
/* VIGIA_NONE: there is none. */
int vigia__lane_record_remove(struct vigia__kv *kv, struct vigia_slice watcher_id);

/* Call fn for each record, in the order of the ids, until it returns something else than VIGIA_OK, which is returned.
 * EDAMAGED, ENOMEM. */
int vigia__lane_records_each(struct vigia__kv *kv,
                             int (*fn)(void *ctx, struct vigia_slice watcher_id, uint64_t epoch,
                                       const struct vigia__ranges *ranges),
                             void *ctx);
/* Tell each record that is damaged. */
int vigia__lane_records_verify(struct vigia__kv *kv, void (*found)(void *ctx, const char *text), void *ctx);

#endif
