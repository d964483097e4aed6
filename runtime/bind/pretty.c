/*
 * pretty.c - an event as a line for people.
 */
#include "pretty.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/json.h"
#include "../core/utf8.h"

#define ELLIPSIS "\u2026"

struct range {
	uint32_t first, last;
};

/* Characters that are written as escapes: controls, no width, other directions of text, tags. */
static const struct range unsafe[] = {
	{0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},   {0x200b, 0x200f},
	{0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
};

/* Characters that may take two columns. A line that is too short does no harm, one that is too long is broken. */
static const struct range wide[] = {
	{0x1100, 0x115f}, {0x2300, 0x23ff},   {0x2600, 0x27bf},   {0x2b00, 0x2bff},   {0x2e80, 0xa4cf},
	{0xa960, 0xa97f}, {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe10, 0xfe6f},   {0xff00, 0xff60},
	{0xffe0, 0xffe6}, {0x16fe0, 0x18cff}, {0x1b000, 0x1b2ff}, {0x1f000, 0x1faff}, {0x20000, 0x3fffd},
};

static bool within(const struct range *ranges, size_t count, uint32_t c)
{
	for (size_t i = 0; i < count && c >= ranges[i].first; i++)
		if (c <= ranges[i].last) return true;
	return false;
}

/* The character at `at`, of valid UTF-8, and its length. */
static uint32_t character(const unsigned char *at, size_t *len)
{
	*len = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	uint32_t c = *len == 1 ? at[0] : at[0] & (0xffu >> (*len + 1));
	for (size_t i = 1; i < *len; i++) c = c << 6 | (at[i] & 0x3f);
	return c;
}

/* How the text of one character is written: its own bytes, or an escape in `room`. Returns its columns. */
static int spell(const char *at, size_t *len, char room[16], const char **out, size_t *out_len)
{
	uint32_t c = character((const unsigned char *)at, len);
	*out = at;
	*out_len = *len;
	if (!within(unsafe, sizeof unsafe / sizeof *unsafe, c)) return within(wide, sizeof wide / sizeof *wide, c) ? 2 : 1;
	if (c > 0xffff) snprintf(room, 16, "\\u%04x\\u%04x", 0xd7c0 + (unsigned)(c >> 10), 0xdc00 + (unsigned)(c & 0x3ff));
	else snprintf(room, 16, "\\u%04x", (unsigned)c);
	*out = room;
	*out_len = strlen(room);
	return (int)*out_len;
}

/* How many columns the text takes, no more than `enough` + 1. */
static int width_of(const char *text, size_t len, int enough)
{
	int columns = 0;
	char room[16];
	for (size_t i = 0, step, out_len; i < len && columns <= enough; i += step) {
		const char *out;
		columns += spell(text + i, &step, room, &out, &out_len);
	}
	return columns;
}

/* Add text, in at most `columns`, with an ellipsis where it is cut. 0, or -1 without memory. */
static int put_text(struct vigia__buf *out, const char *text, size_t len, int columns)
{
	char room[16];
	int left = columns;
	bool cut = columns != INT_MAX && width_of(text, len, columns) > columns;
	if (cut) left--;
	for (size_t i = 0, step, shown_len; i < len; i += step) {
		const char *shown;
		int width = spell(text + i, &step, room, &shown, &shown_len);
		if (columns != INT_MAX && (left -= width) < 0) break;
		if (vigia__buf_add(out, shown, shown_len) != 0) return -1;
	}
	return cut && columns > 0 ? vigia__buf_add_text(out, ELLIPSIS) : 0;
}

static int put_styled(const struct vigia__pretty *pretty, struct vigia__buf *out, const char *style,
                      struct vigia_slice text)
{
	if (pretty->colour && vigia__buf_add_text(out, style) != 0) return -1;
	if (put_text(out, text.data, text.len, INT_MAX) != 0) return -1;
	return vigia__buf_add_text(out, pretty->colour ? "\33[0m  " : "  ");
}

static const char *style_of(struct vigia_slice operation)
{
	if (vigia__slice_is(operation, VIGIA_CREATE)) return "\33[32m";
	if (vigia__slice_is(operation, VIGIA_UPDATE)) return "\33[33m";
	return vigia__slice_is(operation, VIGIA_DELETE) ? "\33[31m" : "\33[36m";
}

/* "7  2026-12-24T18:00:00.000Z". Returns its length. */
static size_t format_head(const struct vigia_event *event, char *out, size_t size)
{
	time_t seconds = (time_t)(event->at_ns / 1000000000);
	struct tm utc;
	char at[64] = "-";
	if (gmtime_r(&seconds, &utc)) strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", &utc);
	return (size_t)snprintf(out, size, "%" PRIu64 "  %s.%03dZ", event->seq_num, at,
	                        (int)(event->at_ns % 1000000000 / 1000000));
}

int vigia__pretty_event(const struct vigia__pretty *pretty, const struct vigia_event *event, struct vigia__buf *object,
                        struct vigia__buf *out, struct vigia_error *err)
{
	char head[128];
	struct vigia_slice operation = event->operation, type = event->object_type;
	if (!vigia__utf8_valid(operation.data, operation.len) || !vigia__utf8_valid(type.data, type.len))
		return vigia__error(err, VIGIA_EDESERIAL, "the operation or object_type is not valid UTF-8");
	object->len = 0;
	int rc = vigia__json_from_object(event, object, err);
	if (rc != VIGIA_OK) return rc;
	struct vigia_slice first = {head, format_head(event, head, sizeof head)};
	int left = INT_MAX;
	if (pretty->columns > 0) {
		left = pretty->columns - (int)first.len - width_of(operation.data, operation.len, pretty->columns) -
		       width_of(type.data, type.len, pretty->columns) - 6;
		if (left < 0) left = 0;
	}
	if (put_styled(pretty, out, "\33[2m", first) != 0 || put_styled(pretty, out, style_of(operation), operation) != 0 ||
	    put_styled(pretty, out, "\33[1m", type) != 0 ||
	    put_text(out, (const char *)object->data, object->len, left) != 0)
		return vigia__no_memory(err);
	return VIGIA_OK;
}
