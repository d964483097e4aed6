/*
 * lane_record.c - what a watcher with lanes has finished above its checkpoint, in the ordered map of the state.
 */
#include "lane_record.h"

#include <stdio.h>
#include <string.h>

#include "../core/buf.h"
#include "../core/error.h"

enum { RECORD = 'r', ID_MAX = 255 };

struct place {
	char bytes[1 + ID_MAX];
};

struct record_head {
	uint64_t sum; /* over what follows */
	uint64_t epoch;
};

static struct vigia_slice record_key(struct place *room, struct vigia_slice id)
{
	room->bytes[0] = RECORD;
	if (id.len > 0) memcpy(room->bytes + 1, id.data, id.len);
	return (struct vigia_slice){room->bytes, 1 + id.len};
}

int vigia__lane_record_get(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t *epoch,
                           struct vigia__ranges *out)
{
	struct place room;
	struct record_head head;
	struct vigia_slice record, key = record_key(&room, watcher_id);
	int rc = kv->get(kv->ctx, key, &record);
	if (rc != 0) return rc;
	if (record.len < sizeof head) return VIGIA_EDAMAGED;
	memcpy(&head, record.data, sizeof head);
	struct vigia_slice summed = {record.data + sizeof head.sum, record.len - sizeof head.sum};
	if (vigia__state_sum(key, summed) != head.sum) return VIGIA_EDAMAGED;
	*epoch = head.epoch;
	rc = vigia__ranges_decode(out, (struct vigia_slice){record.data + sizeof head, record.len - sizeof head});
	return rc == -1 ? VIGIA_ENOMEM : rc;
}

int vigia__lane_record_put(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t epoch,
                           const struct vigia__ranges *ranges)
{
	struct place room;
	struct record_head head = {.epoch = epoch};
	struct vigia__buf record = {0};
	struct vigia_slice key = record_key(&room, watcher_id);
	int rc =
		vigia__buf_add(&record, &head, sizeof head) < 0 || vigia__ranges_encode(ranges, &record) < 0 ? VIGIA_ENOMEM : 0;
	if (rc == 0) {
		struct vigia_slice summed = {(char *)record.data + sizeof head.sum, record.len - sizeof head.sum};
		head.sum = vigia__state_sum(key, summed);
		memcpy(record.data, &head.sum, sizeof head.sum);
		rc = kv->put(kv->ctx, key, (struct vigia_slice){(char *)record.data, record.len});
	}
	vigia__buf_deinit(&record);
	return rc;
}

int vigia__lane_records_each(struct vigia__kv *kv,
                             int (*fn)(void *ctx, struct vigia_slice watcher_id, uint64_t epoch,
                                       const struct vigia__ranges *ranges),
                             void *ctx)
{
	struct place room;
	struct vigia_slice key, record;
	struct vigia__ranges ranges;
	uint64_t epoch;
	vigia__ranges_init(&ranges, 0);
	int rc = kv->seek(kv->ctx, record_key(&room, (struct vigia_slice){"", 0}), VIGIA_AT_LEAST, &key, &record);
	while (rc == 0 && key.len > 0 && key.data[0] == RECORD) {
		struct vigia_slice id = {key.data + 1, key.len - 1};
		rc = id.len <= ID_MAX ? vigia__lane_record_get(kv, id, &epoch, &ranges) : VIGIA_EDAMAGED;
		if (rc == 0) rc = fn(ctx, id, epoch, &ranges);
		if (rc == 0) rc = kv->next(kv->ctx, &key, &record);
		else if (rc == VIGIA_NONE) rc = VIGIA_EDAMAGED;
	}
	vigia__ranges_deinit(&ranges);
	return rc == VIGIA_NONE ? 0 : rc;
}

int vigia__lane_record_remove(struct vigia__kv *kv, struct vigia_slice watcher_id)
{
	struct place room;
	return kv->del(kv->ctx, record_key(&room, watcher_id));
}

int vigia__lane_records_verify(struct vigia__kv *kv, void (*found)(void *ctx, const char *text), void *ctx)
{
	struct place room;
	struct vigia_slice key, record, from = record_key(&room, (struct vigia_slice){"", 0});
	char id[ID_MAX + 1], text[ID_MAX + 100];
	int rc = kv->seek(kv->ctx, from, VIGIA_AT_LEAST, &key, &record);
	while (rc == 0 && key.len > 0 && key.data[0] == RECORD) {
		struct vigia__ranges ranges;
		uint64_t epoch;
		size_t len = key.len - 1 < ID_MAX ? key.len - 1 : ID_MAX;
		memcpy(id, key.data + 1, len);
		id[len] = '\0';
		vigia__ranges_init(&ranges, 0);
		rc = vigia__lane_record_get(kv, (struct vigia_slice){id, len}, &epoch, &ranges);
		vigia__ranges_deinit(&ranges);
		if (rc == VIGIA_EDAMAGED) {
			snprintf(text, sizeof text, "the progress of the lanes of watcher '%s' is damaged", VIGIA_SHOWN(id));
			found(ctx, text);
		} else if (rc != 0) {
			return rc;
		}
		rc = kv->next(kv->ctx, &key, &record);
	}
	return rc == VIGIA_NONE ? 0 : rc;
}
