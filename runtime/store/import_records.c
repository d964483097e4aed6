/*
 * import_records.c - what an import puts into the maps of a store.
 */
#include "import_records.h"

#include <string.h>

#include "../core/buf.h"
#include "../core/error.h"
#include "lane_record.h"
#include "letters.h"
#include "steer.h"
#include "timer_records.h"

const char *vigia__import_id(const struct vigia__import_item *item, struct vigia__import_id *room)
{
	struct vigia_slice id = item->fields[0].bytes;
	memcpy(room->text, id.data, id.len);
	room->text[id.len] = '\0';
	return room->text;
}

static bool goes_into(const struct vigia__import_item *item, enum vigia__map map)
{
	switch (item->kind) {
	case VIGIA_EXPORT_PAUSE:
	case VIGIA_EXPORT_LANES:
	case VIGIA_EXPORT_LETTER:
	case VIGIA_EXPORT_BUCKET:
	case VIGIA_EXPORT_VALUE:
		return map == VIGIA_MAP_STATE;
	case VIGIA_EXPORT_TIMER:
		return map == VIGIA_MAP_TIMERS;
	default:
		return false;
	}
}

bool vigia__import_has(const struct vigia__import *import, enum vigia__map map)
{
	if (map == VIGIA_MAP_TIMERS && import->step == VIGIA_IMPORT_BEGINS && import->next_timer > 1) return true;
	for (size_t i = 0; i < import->count; i++)
		if (goes_into(&import->items[i], map)) return true;
	return false;
}

static int put_lanes(struct vigia__kv *kv, const struct vigia__export_field *f)
{
	struct vigia__buf bytes = {0};
	struct vigia__ranges ranges;
	uint64_t checkpoint = (uint64_t)f[2].number;
	vigia__ranges_init(&ranges, 0);
	int rc = vigia__buf_add(&bytes, &checkpoint, sizeof checkpoint);
	if (rc == 0) rc = vigia__export_take_ranges(&bytes, f[3].bytes);
	if (rc == 0) rc = vigia__ranges_decode(&ranges, (struct vigia_slice){(const char *)bytes.data, bytes.len});
	if (rc == 0) rc = vigia__lane_record_put(kv, f[0].bytes, (uint64_t)f[1].number, &ranges);
	vigia__ranges_deinit(&ranges);
	vigia__buf_deinit(&bytes);
	return rc == -1 || rc == VIGIA_EDAMAGED ? VIGIA_ENOMEM : rc; /* they were checked */
}

static int put_letter(struct vigia__kv *kv, const struct vigia__export_field *f)
{
	struct vigia__letter letter = {.watcher_id = f[0].bytes,
	                               .seq_num = (uint64_t)f[1].number,
	                               .attempts = (uint64_t)f[2].number,
	                               .failed_at_ns = f[3].number,
	                               .lane_key = (uint64_t)f[4].number,
	                               .retry = f[5].number != 0,
	                               .error = f[6].bytes,
	                               .traceback = f[7].bytes,
	                               .event = f[8].bytes};
	return vigia__letter_put(kv, &letter);
}

/* An empty one is made by a value that goes again. */
static int put_bucket(struct vigia__state_writer *writer, struct vigia_slice name)
{
	static const struct vigia_slice key = {"s-", 2}, nothing = {"\xc0", 1};
	int rc = vigia__state_put(writer, name, key, nothing);
	return rc == 0 ? vigia__state_delete(writer, name, key) : rc;
}

static int put_value(struct vigia__state_writer *writer, const struct vigia__export_field *f)
{
	struct vigia_key key = {.is_integer = f[1].is_integer, .integer = f[1].number, .text = f[1].bytes};
	struct vigia__state_key bytes;
	int rc = vigia__state_key_encode(&key, &bytes, NULL);
	return rc == 0 ? vigia__state_put(writer, f[0].bytes, vigia__state_key_slice(&bytes), f[2].bytes) : rc;
}

int vigia__import_state(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct vigia__import *import = arg;
	struct vigia__state_writer writer;
	int rc = vigia__state_write_begin(kv, &writer);
	for (size_t i = 0; i < import->count && rc == 0; i++) {
		const struct vigia__import_item *item = &import->items[i];
		if (item->kind == VIGIA_EXPORT_PAUSE) rc = vigia__pause_set(kv, item->fields[0].bytes, true);
		else if (item->kind == VIGIA_EXPORT_LANES) rc = put_lanes(kv, item->fields);
		else if (item->kind == VIGIA_EXPORT_LETTER) rc = put_letter(kv, item->fields);
		else if (item->kind == VIGIA_EXPORT_BUCKET) rc = put_bucket(&writer, item->fields[0].bytes);
		else if (item->kind == VIGIA_EXPORT_VALUE) rc = put_value(&writer, item->fields);
	}
	return rc == 0 ? vigia__state_write_end(&writer) : rc;
}

int vigia__import_timers(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct vigia__import *import = arg;
	int rc = import->step == VIGIA_IMPORT_BEGINS ? vigia__timers_next_put(kv, import->next_timer) : 0;
	for (size_t i = 0; i < import->count && rc == 0; i++) {
		const struct vigia__export_field *f = import->items[i].fields;
		if (import->items[i].kind != VIGIA_EXPORT_TIMER) continue;
		struct vigia__timer timer = {
			.id = (uint64_t)f[0].number, .at_ns = f[1].number, .key = f[2].bytes, .event = f[3].bytes};
		rc = vigia__timer_restore(kv, &timer);
	}
	return rc;
}
