/*
 * log.c - log records of requests: those that failed here, those that were refused, and, if asked, all.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "serve_private.h"

static enum vigia_log_level level_of(const struct vigia__request *request, unsigned status)
{
	if (status >= 500 && !request->server->stopping) return VIGIA_LOG_ERROR;
	if (status == MHD_HTTP_UNAUTHORIZED || status == MHD_HTTP_FORBIDDEN) return VIGIA_LOG_WARN;
	return VIGIA_LOG_INFO;
}

/* Where it comes from. */
static const char *peer(const struct vigia__request *request, char *out, size_t size)
{
	const union MHD_ConnectionInfo *info =
		vigia__mhd.get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct vigia__address address = {0};
	if (info == NULL || info->client_addr == NULL) return "?";
	bool v6 = info->client_addr->sa_family == AF_INET6;
	memcpy(&address.at, info->client_addr, v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
	return vigia__address_format(&address, out, size);
}

void vigia__log_reply(struct vigia__request *request, unsigned status, const struct vigia_error *err)
{
	const struct vigia__serve_options *options = &request->server->options;
	enum vigia_log_level level = level_of(request, status);
	char text[1024], from[80];
	if (options->log == NULL || (level == VIGIA_LOG_INFO && !options->log_requests)) return;
	snprintf(text, sizeof text, "%s %s %.200s: %u%s%s", peer(request, from, sizeof from), request->method,
	         request->query.path.data ? request->query.path.data : "?", status, err ? " " : "",
	         err ? err->message : "");
	options->log(options->ctx, level, text);
}
