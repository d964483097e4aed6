/*
 * message.c - the parameters of a commit. See message.h, and `commit` in schema.sql.
 */
#include "message.h"

#include "../../core/error.h"
#include "../../core/event.h"

static const enum pg_kind kind_of[VIGIA_PG_LISTS] = {
	[VIGIA_PG_COUNTS] = VIGIA_PG_INT,       [VIGIA_PG_KEYS] = VIGIA_PG_BYTES,  [VIGIA_PG_IF_LAST] = VIGIA_PG_BIG,
	[VIGIA_PG_NOT_BEFORE] = VIGIA_PG_BIG,   [VIGIA_PG_TYPES] = VIGIA_PG_BYTES, [VIGIA_PG_OPS] = VIGIA_PG_BYTES,
	[VIGIA_PG_EVENTS] = VIGIA_PG_BYTES,     [VIGIA_PG_IDS] = VIGIA_PG_BYTES,   [VIGIA_PG_DONE] = VIGIA_PG_BIG,
	[VIGIA_PG_EPOCHS] = VIGIA_PG_BIG,       [VIGIA_PG_MAPS] = VIGIA_PG_INT,    [VIGIA_PG_MAP_KEYS] = VIGIA_PG_BYTES,
	[VIGIA_PG_MAP_VALUES] = VIGIA_PG_BYTES, [VIGIA_PG_ENDS] = VIGIA_PG_BIG,
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
		m->bytes += (int64_t)len;
		vigia__pg_array_number(&m->lists[VIGIA_PG_ENDS], m->bytes);
	}
}

void vigia__pg_message_checkpoint(struct pg_message *m, const char *id, uint64_t seq_num, int64_t epoch)
{
	vigia__pg_array_blob(&m->lists[VIGIA_PG_IDS], id, strlen(id));
	vigia__pg_array_number(&m->lists[VIGIA_PG_DONE], (int64_t)seq_num);
	vigia__pg_array_number(&m->lists[VIGIA_PG_EPOCHS], epoch);
}

void vigia__pg_message_owner(struct pg_message *m, const char *id, int64_t epoch)
{
	vigia__pg_array_blob(&m->lists[VIGIA_PG_IDS], id, strlen(id));
	vigia__pg_array_null(&m->lists[VIGIA_PG_DONE]);
	vigia__pg_array_number(&m->lists[VIGIA_PG_EPOCHS], epoch);
}

/* "t", "l" and "q" for what else changed, then the words. */
static void write_news(struct pg_message *m)
{
	char *at = m->news;
	if (m->b->changed_timers) *at++ = 't';
	if (m->b->changed_letters) *at++ = 'l';
	if (m->b->changed_steers) *at++ = 'q';
	m->inside = at > m->news;
	vigia__pg_words_write(&m->words, at);
}

/* The clock that tests set. Null: the server's. */
static struct pg_param now_of(struct pg_backend *b, struct pg_number *number)
{
	return b->base.wall ? vigia__pg_big(number, b->base.wall(b->base.wall_ctx)) : (struct pg_param){NULL, 0};
}

int vigia__pg_message_send(struct pg_message *m, bool commits, PGresult **out, int64_t until, struct vigia_error *err)
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
	const struct pg_param news = vigia__pg_blob(m->news, strlen(m->news));
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
		lists[VIGIA_PG_ENDS],
		vigia__pg_truth(&strict, m->strict),
		lists[VIGIA_PG_MAPS],
		lists[VIGIA_PG_MAP_KEYS],
		lists[VIGIA_PG_MAP_VALUES],
		vigia__pg_truth(&async, atomic_load(&b->base.durability) == VIGIA_DURABILITY_NONE),
		m->inside ? news : vigia__pg_blob("", 0),
	};
	/* Words alone are told behind the commit. Who does not hear of them looks once a second; for the rest nobody does.
	 */
	bool behind = !m->inside && vigia__wake_set_any(&m->words), due = behind && vigia__pg_tell_is_due(b);
	struct pg_round round = {.behind = commits ? "COMMIT" : NULL, .then = VIGIA_PG_TELL};
	if (due) round.then_params = &news;
	int rc = vigia__pg_call_round(&b->writer, VIGIA_PG_COMMIT, params, &round, out, until, "store in", err);
	if (rc == VIGIA_OK && behind && !due) vigia__pg_tell_later(b, &m->words);
	return rc;
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
