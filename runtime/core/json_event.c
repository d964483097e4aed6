/*
 * json_event.c - writes an event as a line of JSON, for every serializer. json.c reads such lines.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "json.h"
#include "serial.h"

/* Name only an application's serializer: its objects are written as bytes. */
static int put_serializer(struct vigia__buf *buf, struct vigia_slice name)
{
	if (vigia__serializer_of(name) != VIGIA_SERIALIZER_OTHER) return 0;
	return vigia__buf_add_text(buf, ",\"serializer\":") != 0 || vigia__json_put_string(buf, name) != 0 ? -1 : 0;
}

int vigia__json_from_object(const struct vigia_event *event, struct vigia__buf *buf, struct vigia_error *err)
{
	struct vigia__buf value = {0};
	int rc;
	switch (vigia__serializer_of(event->serializer)) {
	case VIGIA_SERIALIZER_MSGPACK:
		return vigia__json_from_value(event->object, buf, err);
	case VIGIA_SERIALIZER_JSON: /* parsed and written again, because the stored text may span lines */
		rc = vigia__event_object(event, &value, err);
		break;
	default:
		rc = vigia__put_string(&value, event->object.data, event->object.len) == 0 ? 0 : vigia__json_no_memory(err);
	}
	if (rc == 0) rc = vigia__json_from_value((struct vigia_slice){(const char *)value.data, value.len}, buf, err);
	vigia__buf_deinit(&value);
	return rc;
}

int vigia__json_from_event(const struct vigia_event *event, struct vigia__buf *buf, struct vigia_error *err)
{
	size_t start = buf->len;
	int rc = VIGIA_OK;
	if (!vigia__utf8_valid(event->operation.data, event->operation.len) ||
	    !vigia__utf8_valid(event->object_type.data, event->object_type.len))
		return vigia__error(err, VIGIA_EDESERIAL, "the operation or object_type is not valid UTF-8");
	char head[96];
	snprintf(head, sizeof head, "{\"seq_num\":%" PRIu64 ",\"timestamp\":%" PRId64 ",\"operation\":", event->seq_num,
	         event->at_ns);
	if (vigia__buf_add_text(buf, head) != 0 || vigia__json_put_string(buf, event->operation) != 0 ||
	    vigia__buf_add_text(buf, ",\"object_type\":") != 0 || vigia__json_put_string(buf, event->object_type) != 0 ||
	    put_serializer(buf, event->serializer) != 0 || vigia__buf_add_text(buf, ",\"object\":") != 0)
		rc = vigia__json_no_memory(err);
	if (rc == 0) rc = vigia__json_from_object(event, buf, err);
	if (rc == 0 && vigia__buf_add_text(buf, "}") != 0) rc = vigia__json_no_memory(err);
	if (rc != 0) buf->len = start;
	return rc;
}
