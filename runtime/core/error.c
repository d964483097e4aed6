/*
 * error.c - filling in struct vigia_error, and the names of its codes.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Format into out. A text that is too long is cut between characters and ends in "...". */
static void format_into(char *out, size_t size, const char *format, va_list args)
{
	int n = vsnprintf(out, size, format, args);
	if (n < 0) {
		/* GCOVR_EXCL_START: only wide characters (%ls) make it fail, and no format has them. */
		snprintf(out, size, "(a message that could not be formatted)");
		return;
		/* GCOVR_EXCL_STOP */
	}
	if ((size_t)n < size) return;
	memcpy(out + vigia__utf8_cut(out, size - 4), "...", 4);
}

static void join(char *out, size_t size, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	format_into(out, size, format, args);
	va_end(args);
}

static int fill_in(struct vigia_error *err, int code, const char *cause, const char *format, va_list args)
{
	if (!err) return code;
	/* through a copy, because an argument may be a field of *err */
	char text[sizeof err->message];
	format_into(text, sizeof text, format, args);
	vigia__error_clear(err);
	err->code = code;
	memcpy(err->message, text, strlen(text) + 1);
	join(err->cause, sizeof err->cause, "%s", cause);
	return code;
}

int vigia__error(struct vigia_error *err, int code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fill_in(err, code, "", format, args);
	va_end(args);
	return code;
}

int vigia__error_caused(struct vigia_error *err, int code, const char *cause, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fill_in(err, code, cause, format, args);
	va_end(args);
	return code;
}

int vigia__no_memory(struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOMEM, "not enough memory");
}

void vigia__error_prefix(struct vigia_error *err, const char *format, ...)
{
	if (!err) return;
	char prefix[sizeof err->message], text[sizeof err->message];
	va_list args;
	va_start(args, format);
	format_into(prefix, sizeof prefix, format, args);
	va_end(args);
	join(text, sizeof text, "%s%s", prefix, err->message);
	memcpy(err->message, text, strlen(text) + 1);
}

const char *vigia__error_text(const struct vigia_error *err, struct vigia__told *buf)
{
	bool own = err->cause[0] && strstr(err->message, err->cause) == NULL;
	snprintf(buf->text, sizeof buf->text, own ? "%s (%s)" : "%s", err->message, err->cause);
	return buf->text;
}

void vigia__error_clear(struct vigia_error *err)
{
	if (!err) return;
	err->code = VIGIA_OK;
	err->seq_num = 0;
	err->watcher_id[0] = '\0';
	err->message[0] = '\0';
	err->cause[0] = '\0';
}

const char *vigia_error_name(int code)
{
	switch (code) {
	case VIGIA_OK:
		return "ok";
	case VIGIA_NONE:
		return "none";
	case VIGIA_PENDING:
		return "pending";
#define X(name, number, text, help) \
	case VIGIA_##name:              \
		return text;
		VIGIA_ERROR_MAP(X)
#undef X
	default:
		return "unknown_error";
	}
}

int vigia__error_code(const char *name)
{
#define X(symbol, number, text, help) number,
	static const int codes[] = {VIGIA_ERROR_MAP(X)};
#undef X
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strcmp(vigia_error_name(codes[i]), name) == 0) return codes[i];
	return VIGIA_EWATCHER;
}

const char *vigia_version(void)
{
	return VIGIA_VERSION;
}

const char *vigia__show(const char *id, struct vigia__shown *buf)
{
	size_t id_len = strlen(id), at = 0, len = 0;
	bool valid = vigia__utf8_valid(id, id_len);
	while (at < id_len && vigia__is_plain(id, id_len, at, valid)) at++;
	if (at == id_len) return id;
	for (at = 0; at < id_len; at++) {
		if (len + 4 + sizeof "..." > sizeof buf->text) {
			memcpy(buf->text + len, "...", sizeof "...");
			return buf->text;
		}
		len += (size_t)snprintf(buf->text + len, sizeof buf->text - len,
		                        vigia__is_plain(id, id_len, at, valid) ? "%c" : "\\x%02x", (unsigned char)id[at]);
	}
	return buf->text;
}

int vigia__error_watcher(struct vigia_error *err, const char *id, int rc)
{
	if (rc < 0 && err && id && strlen(id) < sizeof err->watcher_id)
		snprintf(err->watcher_id, sizeof err->watcher_id, "%s", id);
	return rc;
}
