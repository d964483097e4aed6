/*
 * message.c - the parameters of a commit. See message.h, and `commit` in schema.sql.
 */
#include "message.h"

#include <stdio.h>

#include "../../core/error.h"
#include "../../core/event.h"

static const enum pg_kind kind_of[VIGIA_PG_LISTS] = {
	[VIGIA_PG_COUNTS] = VIGIA_PG_INT,     [VIGIA_PG_KEYS] = VIGIA_PG_BYTES,  [VIGIA_PG_IF_LAST] = VIGIA_PG_BIG,
	[VIGIA_PG_NOT_BEFORE] = VIGIA_PG_BIG, [VIGIA_PG_TYPES] = VIGIA_PG_BYTES, [VIGIA_PG_OPS] = VIGIA_PG_BYTES,
	[VIGIA_PG_EVENTS] = VIGIA_PG_BYTES,   [VIGIA_PG_IDS] = VIGIA_PG_BYTES,   [VIGIA_PG_DONE] = VIGIA_PG_BIG,
	[VIGIA_PG_EPOCHS] = VIGIA_PG_BIG,
};

void vigia__pg_message_begin(struct pg_message *m, struct pg_backend *b)
{
	*m = (struct pg_message){.b = b};
	vigia__wake_set_clear(&m->words);
	for (int i = 0; i < VIGIA_PG_LISTS; i++) vigia__pg_array_begin(&m->lists[i], kind_of[i]);
}

void vigia__pg_message_end(struct pg_message *m)
{
	for (int i = 0; i < VIGIA_PG_LISTS; i++) vigia__pg_array_deinit(&m->lists[i]);
}

void vigia__pg_message_append(struct pg_message *m, const struct vigia__append *request)
{
	m->appends++;
	vigia__pg_array_number(&m->lists[VIGIA_PG_COUNTS], (int64_t)request->count);
	m->conditions = m->conditions || request->key.len > 0 || request->if_last_given || request->not_before_ns > 0;
	if (request->key.len > 0) vigia__pg_array_blob(&m->lists[VIGIA_PG_KEYS], request->key.data, request->key.len);
	else vigia__pg_array_null(&m->lists[VIGIA_PG_KEYS]);
	if (request->if_last_given) vigia__pg_array_number(&m->lists[VIGIA_PG_IF_LAST], (int64_t)request->if_last);
	else vigia__pg_array_null(&m->lists[VIGIA_PG_IF_LAST]);
	vigia__pg_array_number(&m->lists[VIGIA_PG_NOT_BEFORE], request->not_before_ns);
	for (size_t i = 0; i < request->count; i++) {
		size_t len;
		uint8_t *bytes = vigia__append_event(request, i, &len);
		struct vigia__head head = {0};
		vigia__event_stamp(bytes, len, 0, 0);
		bool known = vigia__event_names(bytes, len, &head) == 0;
		struct vigia_slice op = known ? vigia__operation_name(&head) : (struct vigia_slice){"", 0};
		if (known) vigia__wake_set_add(&m->words, head.object_type);
		vigia__pg_array_blob(&m->lists[VIGIA_PG_TYPES], head.object_type.data, head.object_type.len);
		vigia__pg_array_blob(&m->lists[VIGIA_PG_OPS], op.data, op.len);
		vigia__pg_array_blob(&m->lists[VIGIA_PG_EVENTS], bytes, len);
	}
}

void vigia__pg_message_checkpoint(struct pg_message *m, const char *id, uint64_t seq_num, int64_t epoch)
{
	vigia__pg_array_blob(&m->lists[VIGIA_PG_IDS], id, strlen(id));
	vigia__pg_array_number(&m->lists[VIGIA_PG_DONE], (int64_t)seq_num);
	vigia__pg_array_number(&m->lists[VIGIA_PG_EPOCHS], epoch);
}

/* "t", "l" and "q" for what else changed, then "w" and the wake words, or "w*". */
static void write_news(struct pg_message *m)
{
	char *at = m->news;
	size_t count = 0;
	for (uint64_t parts = m->words.parts; parts; parts &= parts - 1)
		count += (size_t)__builtin_popcountll(m->words.words[__builtin_ctzll(parts)]);
	*at = '\0';
	if (m->b->changed_timers) *at++ = 't';
	if (m->b->changed_letters) *at++ = 'l';
	if (m->b->changed_steers) *at++ = 'q';
	if (count > VIGIA_PG_NEWS_WORDS) at += sprintf(at, "w*");
	else if (count > 0) {
		*at++ = 'w';
		for (uint64_t parts = m->words.parts; parts; parts &= parts - 1) {
			int part = __builtin_ctzll(parts);
			for (uint64_t bits = m->words.words[part]; bits; bits &= bits - 1)
				at += sprintf(at, "%d ", part * 64 + __builtin_ctzll(bits));
		}
	}
	*at = '\0';
}

/* The clock that tests set. Null: the server's. */
static struct pg_param now_of(struct pg_backend *b, struct pg_number *number)
{
	return b->base.wall ? vigia__pg_big(number, b->base.wall(b->base.wall_ctx)) : (struct pg_param){NULL, 0};
}

int vigia__pg_message_send(struct pg_message *m, PGresult **out, int64_t until, struct vigia_error *err)
{
	struct pg_backend *b = m->b;
	struct pg_number counter, now, strict, async;
	struct pg_param lists[VIGIA_PG_LISTS];
	for (int i = 0; i < VIGIA_PG_LISTS; i++) {
		lists[i] = vigia__pg_array_end(&m->lists[i]);
		if (m->lists[i].failed) return vigia__error(err, VIGIA_ENOMEM, "no memory for a commit");
	}
	if (!m->conditions)
		lists[VIGIA_PG_KEYS] = lists[VIGIA_PG_IF_LAST] = lists[VIGIA_PG_NOT_BEFORE] = (struct pg_param){NULL, 0};
	write_news(m);
	const struct pg_param params[] = {
		vigia__pg_blob(b->client, sizeof b->client),
		vigia__pg_big(&counter, b->counter),
		now_of(b, &now),
		lists[VIGIA_PG_COUNTS],
		lists[VIGIA_PG_KEYS],
		lists[VIGIA_PG_IF_LAST],
		lists[VIGIA_PG_NOT_BEFORE],
		lists[VIGIA_PG_TYPES],
		lists[VIGIA_PG_OPS],
		lists[VIGIA_PG_EVENTS],
		lists[VIGIA_PG_IDS],
		lists[VIGIA_PG_DONE],
		lists[VIGIA_PG_EPOCHS],
		vigia__pg_truth(&strict, m->strict),
		vigia__pg_truth(&async, atomic_load(&b->base.durability) == VIGIA_DURABILITY_NONE),
		vigia__pg_blob(m->news, strlen(m->news)),
	};
	return vigia__pg_call(&b->writer, VIGIA_PG_COMMIT, params, out, until, "store in", err);
}

bool vigia__pg_message_any(const struct pg_message *m)
{
	return m->appends > 0 || m->lists[VIGIA_PG_IDS].count > 0;
}

int vigia__pg_message_result(const PGresult *numbers, size_t at, struct vigia__append *request, struct vigia_error *err)
{
	int64_t kind = vigia__pg_list_item(numbers, 0, 0, 3 * at);
	uint64_t first = (uint64_t)vigia__pg_list_item(numbers, 0, 0, 3 * at + 1);
	if (kind == 2) return vigia__append_conflict(request, first, err);
	request->existed = kind == 1;
	request->first_seq = first;
	request->last_seq = (uint64_t)vigia__pg_list_item(numbers, 0, 0, 3 * at + 2);
	return VIGIA_OK;
}

int vigia__pg_check_sizes(struct pg_backend *b, const struct vigia__append *request, struct vigia_error *err)
{
	int64_t most = atomic_load(&b->base.max_event_size);
	for (size_t i = 0; i < request->count && !request->accepted; i++) {
		size_t len;
		vigia__append_event(request, i, &len);
		if (len > (uint64_t)most)
			return vigia__error(err, VIGIA_ETOOBIG, "the event has %zu bytes, max_event_size is %lld bytes", len,
			                    (long long)most);
	}
	return VIGIA_OK;
}
