/*
 * serial.c - converts objects of the library's own serializers to and from msgpack.
 */
#include "serial.h"

#include <string.h>

#include "error.h"
#include "json.h"

enum vigia__serializer vigia__serializer_of(struct vigia_slice name)
{
	if (name.len == 0 || vigia__slice_is(name, "msgpack")) return VIGIA_SERIALIZER_MSGPACK;
	return vigia__slice_is(name, "json") ? VIGIA_SERIALIZER_JSON : VIGIA_SERIALIZER_OTHER;
}

int vigia__event_recode(struct vigia__buf *buf, size_t start, const char *name, int64_t size_max,
                        struct vigia_error *err)
{
	enum vigia__serializer kind = vigia__serializer_of((struct vigia_slice){name, strlen(name)});
	struct vigia__buf text = {0};
	struct vigia__head head;
	int rc = VIGIA_OK;
	if (kind == VIGIA_SERIALIZER_OTHER)
		rc = vigia__error(err, VIGIA_ESERIAL,
		                  "this store uses the serializer '%s' of an application: open the store with that serializer, "
		                  "or name it as `serializer` in the table that the script returns",
		                  name);
	else if (kind == VIGIA_SERIALIZER_JSON) {
		if (vigia__event_head(buf->data + start, buf->len - start, &head) != 0)
			rc = vigia__error(err, VIGIA_ESERIAL, "it has no head"); /* GCOVR_EXCL_LINE: what made it gave it one. */
		if (rc == VIGIA_OK) rc = vigia__json_from_value(head.object, &text, err);
		size_t at = (size_t)((const uint8_t *)head.object.data - buf->data) - 1;
		if (rc == VIGIA_OK && vigia__event_payload(buf, at, name, text.data, text.len) != 0) rc = vigia__no_memory(err);
		if (rc == VIGIA_OK) rc = vigia__event_end(buf, start, size_max, err);
	}
	vigia__buf_deinit(&text);
	if (rc < 0) buf->len = start;
	return rc;
}

int vigia__event_object(const struct vigia_event *event, struct vigia__buf *buf, struct vigia_error *err)
{
	if (vigia__serializer_of(event->serializer) != VIGIA_SERIALIZER_JSON) {
		vigia__error(err, VIGIA_EDESERIAL, "the object needs the serializer '%.*s', which this program does not have",
		             (int)event->serializer.len, event->serializer.data);
		return VIGIA_EDESERIAL;
	}
	int rc = vigia__json_to_value(event->object.data, event->object.len, buf, err);
	if (rc == VIGIA_ESERIAL && err) { /* for the reader it is the other direction */
		struct vigia_error why = *err;
		rc = vigia__error(err, VIGIA_EDESERIAL, "the object's JSON: %s", why.message);
	}
	return rc == VIGIA_ESERIAL ? VIGIA_EDESERIAL : rc;
}
