/*
 * access.c - what libmicrohttpd calls: a client has come or gone, a request began, has a head, a piece of its body, all
 * of it, is over. Decides whether a request may be served, and gives it to its route.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../store/clock.h"
#include "guard.h"
#include "routes.h"
#include "serve_private.h"

/* ---- Clients ---- */

static void enter_phase(struct vigia__client *client, enum vigia__phase phase)
{
	client->phase = phase;
	client->since_mono_ns = vigia__mono_ns();
}

void vigia__access_client(void *ctx, struct MHD_Connection *connection, void **socket_ctx,
                          enum MHD_ConnectionNotificationCode code)
{
	struct vigia__server *server = ctx;
	struct vigia__client *client = *socket_ctx;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info =
			vigia__mhd.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		client = vigia__calloc(sizeof *client);
		if (client == NULL || info == NULL) {
			vigia__free(client);
			return; /* its requests are refused */
		}
		client->fd = info->connect_fd;
		enter_phase(client, VIGIA_PHASE_HEAD);
		client->next = server->clients;
		client->link = &server->clients;
		if (server->clients) server->clients->link = &client->next;
		server->clients = client;
		server->clients_count++;
		/* To notice that it closes its side while its request waits, when libmicrohttpd does not look. */
		struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = client};
		epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, client->fd, &event);
		*socket_ctx = client;
	} else if (client) {
		epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, client->fd, NULL);
		*client->link = client->next;
		if (client->next) client->next->link = client->link;
		server->clients_count--;
		vigia__free(client);
		*socket_ctx = NULL;
		server->busy = true; /* beyond the limit, libmicrohttpd looks for new clients in its next round only */
	}
}

/* ---- Checks ---- */

/* The status of a request that another site sent, or without the token. 0: it may be served. */
static unsigned refuse_origin(struct vigia__request *request, struct vigia_error *err)
{
	const struct vigia__serve_options *options = &request->server->options;
	struct vigia__origin from = {.tls = options->cert != NULL,
	                             .page = strcmp(request->query.path.data ? request->query.path.data : "", "/") == 0};
	int rc = vigia__request_header(request, "Host", &from.host, err);
	if (rc == VIGIA_OK) rc = vigia__request_header(request, "Origin", &from.origin, err);
	if (rc == VIGIA_OK) rc = vigia__request_header(request, "Sec-Fetch-Site", &from.fetch_site, err);
	if (rc == VIGIA_OK) rc = vigia__request_header(request, "Authorization", &from.authorization, err);
	if (rc != VIGIA_OK) return MHD_HTTP_BAD_REQUEST;
	rc = vigia__guard_origin(&from, options->hosts, options->hosts_count, err);
	if (rc != VIGIA_OK) return MHD_HTTP_FORBIDDEN;
	if (options->token == NULL || vigia__guard_token(from.authorization, options->token)) return 0;
	vigia__error(err, VIGIA_EPERM, "the token is missing or wrong: send the header Authorization: Bearer TOKEN");
	vigia__reply_header(request, "WWW-Authenticate", "Basic realm=\"vigia\", charset=\"UTF-8\"");
	return MHD_HTTP_UNAUTHORIZED;
}

/* The same for its route and its parameters. */
static unsigned refuse_route(struct vigia__request *request, const char *method, struct vigia_error *err)
{
	const char *allowed;
	request->route = vigia__route_find(request->query.path, method, &allowed);
	if (request->route == NULL && allowed == NULL) {
		vigia__error(err, VIGIA_EINVAL, "there is no such page");
		return MHD_HTTP_NOT_FOUND;
	}
	if (request->route == NULL) {
		vigia__error(err, VIGIA_EINVAL, "the method is not allowed here: use %s", allowed);
		vigia__reply_header(request, "Allow", "%s", allowed);
		return MHD_HTTP_METHOD_NOT_ALLOWED;
	}
	if (request->route->changes && request->server->options.token == NULL) {
		vigia__error(err, VIGIA_EPERM, "changes need a token: start the server with one");
		return MHD_HTTP_FORBIDDEN;
	}
	return vigia__query_allow(&request->query, request->route->params, err) == VIGIA_OK ? 0 : MHD_HTTP_BAD_REQUEST;
}

/* "application/json; charset=utf-8" is one, too. */
static bool is_type(const char *header, const char *type)
{
	size_t len = strlen(type);
	return strncasecmp(header, type, len) == 0 && (header[len] == '\0' || strchr("; \t", header[len]));
}

/* The same for what its head says of its body. */
static unsigned refuse_body(struct vigia__request *request, struct vigia_error *err)
{
	const char *type, *length;
	int rc = vigia__request_header(request, "Content-Type", &type, err);
	if (rc == VIGIA_OK) rc = vigia__request_header(request, "Content-Length", &length, err);
	if (rc != VIGIA_OK) return MHD_HTTP_BAD_REQUEST;
	/* A form of another site can send text/plain and the like without asking first. */
	if (type == NULL || !(is_type(type, VIGIA_JSON) || is_type(type, VIGIA_NDJSON))) {
		vigia__error(err, VIGIA_EINVAL, "Content-Type must be %s or %s", VIGIA_JSON, VIGIA_NDJSON);
		return MHD_HTTP_UNSUPPORTED_MEDIA_TYPE;
	}
	if (length && (strlen(length) > 9 || atol(length) > VIGIA_BODY_MAX)) {
		vigia__error(err, VIGIA_ETOOBIG, "the body has more than %d bytes", VIGIA_BODY_MAX);
		return MHD_HTTP_CONTENT_TOO_LARGE;
	}
	return 0;
}

static unsigned refuse(struct vigia__request *request, const char *method, struct vigia_error *err)
{
	if (request->server->stopping) {
		vigia__error(err, VIGIA_ESTOPPING, "the server is stopping");
		return MHD_HTTP_SERVICE_UNAVAILABLE;
	}
	unsigned status = refuse_origin(request, err);
	if (status == 0 && request->bad.code < 0) {
		*err = request->bad;
		return MHD_HTTP_BAD_REQUEST;
	}
	if (status == 0) status = refuse_route(request, method, err);
	if (status == 0 && strcmp(method, "POST") == 0) status = refuse_body(request, err);
	return status;
}

/* ---- Requests ---- */

void *vigia__access_begin(void *server, const char *target, struct MHD_Connection *connection)
{
	return vigia__request_new(server, target);
}

/* Take a piece of the body. False: it is too long, or there is no room, and the connection is closed. */
static bool take(struct vigia__request *request, const char *data, size_t len)
{
	struct vigia__server *server = request->server;
	if (request->body.len + len > VIGIA_BODY_MAX || server->body_bytes + len > VIGIA_BODIES_MAX ||
	    vigia__buf_add(&request->body, data, len) != 0)
		return false;
	request->body_counted += len;
	server->body_bytes += len;
	request->client->received += len;
	return true;
}

enum MHD_Result vigia__access(void *server, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_size, void **ctx)
{
	struct vigia__request *request = *ctx;
	const union MHD_ConnectionInfo *info =
		vigia__mhd.get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	if (request == NULL || info == NULL || info->socket_context == NULL) return MHD_NO;
	request->client = info->socket_context;
	request->connection = connection;
	request->method = method;
	if (!request->checked) {
		struct vigia_error err = {0};
		request->checked = true;
		request->client->received = 0;
		enter_phase(request->client, VIGIA_PHASE_BODY);
		unsigned status = refuse(request, method, &err);
		return status ? vigia__reply_error(request, status, &err) : MHD_YES;
	}
	if (*upload_size) {
		if (!take(request, upload, *upload_size)) return MHD_NO;
		*upload_size = 0;
		return MHD_YES;
	}
	enter_phase(request->client, VIGIA_PHASE_REPLY);
	return request->again ? request->again(request) : request->route->run(request);
}

void vigia__access_end(void *server, struct MHD_Connection *connection, void **ctx, enum MHD_RequestTerminationCode why)
{
	struct vigia__request *request = *ctx;
	*ctx = NULL;
	if (request == NULL) return;
	if (request->client) enter_phase(request->client, VIGIA_PHASE_HEAD);
	vigia__request_free(request);
}
