/*
 * lmdb_append.c - stamps the events of one append, and puts them into LMDB or into a record of the journal.
 */
#include "../core/error.h"
#include "../core/event.h"
#include "lmdb_private.h"

void vigia__lmdb_stamp_begin(struct lmdb_backend *b, struct vigia__lmdb_stamp *stamp, struct last_record last,
                             struct vigia__wake_set *types)
{
	int64_t now = vigia__backend_wall_ns(&b->base);
	*stamp =
		(struct vigia__lmdb_stamp){.last = last,
	                               .types = types,
	                               .now_at_ns = now > last.at_ns ? now : last.at_ns,
	                               .size_max = atomic_load_explicit(&b->base.max_event_size, memory_order_relaxed)};
}

/* Give the next event its number and time. Its bytes are those that are stored, and looked for after a doubt. Returns
 * `head` with its names, NULL where they cannot be read. */
static struct vigia__head *stamp_event(uint8_t *bytes, size_t len, struct vigia__lmdb_stamp *stamp,
                                       struct vigia__head *head)
{
	stamp->last = (struct last_record){stamp->last.seq_num + 1, stamp->now_at_ns};
	vigia__event_stamp(bytes, len, stamp->last.seq_num, stamp->now_at_ns);
	if (vigia__event_names(bytes, len, head) != 0) return NULL;
	vigia__wake_set_add(stamp->types, head->object_type);
	return head;
}

static int append_one(struct lmdb_backend *b, MDB_cursor *events, uint8_t *bytes, size_t len,
                      struct vigia__lmdb_stamp *stamp)
{
	struct vigia__head room, *head = stamp_event(bytes, len, stamp, &room);
	size_t seq_num = stamp->last.seq_num;
	MDB_val key = vigia__lmdb_key(&seq_num), value = {len, bytes};
	int rc = mdb_cursor_put(events, &key, &value, MDB_APPEND);
	return rc == 0 ? vigia__index_note(b, mdb_cursor_txn(events), seq_num, head) : rc;
}

/* The limit may have been lowered since the events were encoded. */
static int sizes_check(const struct vigia__append *request, int64_t size_max, struct vigia_error *err)
{
	if (request->len <= (uint64_t)size_max) return VIGIA_OK;
	for (size_t i = 0; i < request->count; i++) {
		size_t len;
		vigia__append_event(request, i, &len);
		if (len > (uint64_t)size_max)
			return vigia__error(err, VIGIA_ETOOBIG, "the event has %zu bytes, max_event_size is %lld bytes", len,
			                    (long long)size_max);
	}
	return VIGIA_OK;
}

int vigia__lmdb_admit(const struct vigia__append *request, const struct vigia__lmdb_stamp *stamp,
                      struct vigia_error *err)
{
	if (request->if_last_given && request->if_last != stamp->last.seq_num)
		return vigia__append_conflict(request, stamp->last.seq_num, err);
	return request->accepted ? VIGIA_OK : sizes_check(request, stamp->size_max, err);
}

int vigia__lmdb_append_request(struct lmdb_backend *b, MDB_cursor *events, struct vigia__append *request,
                               struct vigia__lmdb_stamp *stamp, struct vigia_error *err)
{
	request->existed = false;
	if (request->key.len > 0) {
		int rc = vigia__lmdb_key_find(b, mdb_cursor_txn(events), request);
		if (rc != 0 || request->existed) return rc;
	}
	int refused = vigia__lmdb_admit(request, stamp, err);
	if (refused < 0) return refused;
	if (stamp->now_at_ns < request->not_before_ns) stamp->now_at_ns = request->not_before_ns;
	request->first_seq = stamp->last.seq_num + 1;
	for (size_t i = 0; i < request->count; i++) {
		size_t len;
		uint8_t *bytes = vigia__append_event(request, i, &len);
		int rc = append_one(b, events, bytes, len, stamp);
		if (rc != 0) return rc;
	}
	request->last_seq = stamp->last.seq_num;
	return request->key.len > 0 && request->count > 0 ? vigia__lmdb_key_put(b, mdb_cursor_txn(events), request) : 0;
}

void vigia__lmdb_record_request(struct lmdb_backend *b, struct vigia__append *request, struct vigia__lmdb_stamp *stamp)
{
	request->existed = false;
	request->first_seq = stamp->last.seq_num + 1;
	for (size_t i = 0; i < request->count; i++) {
		size_t len;
		uint8_t *bytes = vigia__append_event(request, i, &len);
		struct vigia__head head;
		stamp_event(bytes, len, stamp, &head);
		vigia__record_add(b->journal.under_way, bytes, len);
	}
	request->last_seq = stamp->last.seq_num;
}
