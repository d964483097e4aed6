/*
 * reply.c - replies, with the headers that all of them have.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "serve_private.h"
#include "text.h"

void vigia__reply_header(struct vigia__request *request, const char *name, const char *format, ...)
{
	if (request->headers_count == VIGIA_HEADERS_MAX) return;
	request->headers[request->headers_count].name = name;
	va_list args;
	va_start(args, format);
	vsnprintf(request->headers[request->headers_count].value, sizeof request->headers[0].value, format, args);
	va_end(args);
	request->headers_count++;
}

static enum MHD_Result send_response(struct vigia__request *request, unsigned status, const char *type,
                                     struct MHD_Response *response, const struct vigia_error *err)
{
	static const char *const always[][2] = {
		{"Cache-Control", "no-store"},
		{"X-Content-Type-Options", "nosniff"},
		{"X-Frame-Options", "DENY"},
		{"Referrer-Policy", "no-referrer"},
		{"Cross-Origin-Resource-Policy", "same-origin"},
	};
	if (response == NULL) return MHD_NO;
	enum MHD_Result ok = vigia__mhd.add_response_header(response, "Content-Type", type);
	for (size_t i = 0; i < sizeof always / sizeof *always && ok == MHD_YES; i++)
		ok = vigia__mhd.add_response_header(response, always[i][0], always[i][1]);
	for (unsigned i = 0; i < request->headers_count && ok == MHD_YES; i++)
		ok = vigia__mhd.add_response_header(response, request->headers[i].name, request->headers[i].value);
	if (request->server->stopping && ok == MHD_YES)
		ok = vigia__mhd.add_response_header(response, "Connection", "close");
	if (ok == MHD_YES) ok = vigia__mhd.queue_response(request->connection, status, response);
	vigia__mhd.destroy_response(response);
	request->client->phase = VIGIA_PHASE_REPLY;
	if (ok == MHD_YES) vigia__log_reply(request, status, err);
	return ok;
}

static enum MHD_Result send_text(struct vigia__request *request, unsigned status, const char *type,
                                 struct vigia__buf *text, const struct vigia_error *err)
{
	struct MHD_Response *response =
		vigia__mhd.create_response_from_buffer_with_free_callback(text->len, text->data, vigia__free);
	if (response == NULL) vigia__buf_deinit(text);
	*text = (struct vigia__buf){0};
	return send_response(request, status, type, response, err);
}

enum MHD_Result vigia__reply(struct vigia__request *request, unsigned status, const char *type, struct vigia__buf *text)
{
	return send_text(request, status, type, text, NULL);
}

static unsigned status_of(int code)
{
	switch (code) {
	case VIGIA_EINVAL:
	case VIGIA_EOPTION:
	case VIGIA_ESERIAL:
		return MHD_HTTP_BAD_REQUEST;
	case VIGIA_EPERM:
	case VIGIA_EREADONLY:
		return MHD_HTTP_FORBIDDEN;
	case VIGIA_ENOEVENT:
	case VIGIA_ENOCHECKPOINT:
		return MHD_HTTP_NOT_FOUND;
	case VIGIA_ESEQUENCE:
	case VIGIA_EPOSITION:
		return MHD_HTTP_CONFLICT;
	case VIGIA_ETOOBIG:
		return MHD_HTTP_CONTENT_TOO_LARGE;
	case VIGIA_EFULL:
	case VIGIA_EDISKFULL:
		return MHD_HTTP_INSUFFICIENT_STORAGE;
	case VIGIA_ENOMEM:
	case VIGIA_ECLOSED:
	case VIGIA_ESTOPPING:
		return MHD_HTTP_SERVICE_UNAVAILABLE;
	default:
		return MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
}

enum MHD_Result vigia__reply_error(struct vigia__request *request, unsigned status, const struct vigia_error *err)
{
	struct vigia__buf text = {0};
	int full =
		vigia__buf_add_text(&text, "{\"error\":") | vigia__text_error(&text, err) | vigia__buf_add_text(&text, "}\n");
	if (full) {
		vigia__buf_deinit(&text);
		return MHD_NO;
	}
	return send_text(request, status ? status : status_of(err->code), VIGIA_JSON, &text, err);
}

enum MHD_Result vigia__reply_stream(struct vigia__request *request, const char *type, MHD_ContentReaderCallback read)
{
	return send_response(request, MHD_HTTP_OK, type,
	                     vigia__mhd.create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read, request, NULL), NULL);
}
