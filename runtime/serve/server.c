/*
 * server.c - the server: its start, its rounds, its end.
 */
#include "serve.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../store/clock.h"
#include "../store/fd.h"
#include "../store/thread.h"
#include "guard.h"
#include "serve_private.h"

enum { EVENTS_MAX = 64, RATE_MIN = 1 << 14 }; /* a body comes with so many bytes a second, or is too slow */
/* How long replies in progress may take once it must stop. */
#define STOP_NS    INT64_C(3000000000)
#define SECOND_NS  INT64_C(1000000000)
#define PRIORITIES "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"

/* What was asked for is safe? */
static int check(struct vigia__server *server, struct vigia_error *err)
{
	const struct vigia__serve_options *options = &server->options;
	int rc = vigia__address_parse(options->listen, &server->address, err);
	if (rc == VIGIA_OK && options->token) rc = vigia__guard_token_check(options->token, err);
	if (rc != VIGIA_OK || vigia__address_is_loopback(&server->address) || options->insecure) return rc;
	if (options->token && options->cert) return VIGIA_OK;
	return vigia__error(err, VIGIA_EINVAL, "other machines can reach %s: this needs %s%s%s, or --insecure",
	                    options->listen, options->token ? "" : "a token",
	                    options->token || options->cert ? "" : " and ",
	                    options->cert ? "" : "TLS (--tls-cert, --tls-key)");
}

static int watch(struct vigia__server *server, int fd, void *what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
	return fd < 0 ? 0 : epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int start_daemon(struct vigia__server *server, struct vigia_error *err)
{
	const struct vigia__serve_options *options = &server->options;
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (options->cert ? MHD_USE_TLS : 0);
	unsigned timeout = (unsigned)((options->client_timeout_ns + SECOND_NS - 1) / SECOND_NS);
	struct MHD_OptionItem items[] = {
		{MHD_OPTION_LISTEN_SOCKET, server->listen_fd, NULL},
		{MHD_OPTION_CONNECTION_LIMIT, (intptr_t)options->clients_max, NULL},
		{MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)timeout, NULL},
		{MHD_OPTION_CONNECTION_MEMORY_LIMIT, VIGIA_HEAD_MAX, NULL},
		{MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
		{MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)vigia__access_begin, server},
		{MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)vigia__access_end, server},
		{MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)vigia__access_client, server},
		{options->cert ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, (void *)(uintptr_t)options->cert},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)options->key},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)PRIORITIES},
		{MHD_OPTION_END, 0, NULL},
	};
	if (options->cert && vigia__mhd.is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
		return vigia__error(err, VIGIA_EUNSUPPORTED, "this libmicrohttpd was built without TLS");
	server->daemon =
		vigia__mhd.start_daemon(flags, 0, NULL, NULL, vigia__access, server, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
	if (server->daemon == NULL)
		return options->cert ? vigia__error(err, VIGIA_EINVAL, "the certificate or its key cannot be used")
		                     : vigia__error(err, VIGIA_EIO, "libmicrohttpd does not start");
	server->listen_fd = -1; /* the daemon's */
	return VIGIA_OK;
}

static int start(struct vigia__server *server, struct vigia_error *err)
{
	server->epoll_fd = VIGIA_FD(epoll_create1(EPOLL_CLOEXEC));
	if (server->epoll_fd < 0) return vigia__thread_error(err, errno, "make a descriptor to wait on");
	server->batch = vigia_batch_new();
	if (server->batch == NULL) return vigia__no_memory(err);
	int rc = vigia__poller_new(server->store->backend, &server->poller, err);
	if (rc == VIGIA_OK) rc = vigia__address_listen(&server->address, &server->listen_fd, err);
	if (rc == VIGIA_OK) rc = start_daemon(server, err);
	if (rc != VIGIA_OK) return rc;
	const union MHD_DaemonInfo *info = vigia__mhd.get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (watch(server, info->epoll_fd, NULL) != 0 || watch(server, vigia__poller_fd(server->poller), NULL) != 0 ||
	    watch(server, server->options.stop_fd, NULL) != 0)
		return vigia__thread_error(err, errno, "wait for clients");
	char name[96];
	snprintf(server->url, sizeof server->url, "%s://%s/", server->options.cert ? "https" : "http",
	         vigia__address_format(&server->address, name, sizeof name));
	return VIGIA_OK;
}

int vigia__serve_new(struct vigia_store *store, const struct vigia__serve_options *options, struct vigia__server **out,
                     struct vigia_error *err)
{
	struct vigia__server *server = vigia__calloc(sizeof *server);
	if (server == NULL) return vigia__no_memory(err);
	server->options = *options;
	server->epoll_fd = server->listen_fd = -1;
	server->end = &server->jobs;
	vigia__helper_init(&server->helper);
	server->store = store;
	vigia__store_ref(store);
	vigia__listen_init(&server->listen, NULL, 0);
	if (store->backend->meter) server->meter = store->backend->meter(store->backend);
	int rc = check(server, err);
	if (rc == VIGIA_OK) rc = vigia__mhd_load(err);
	if (rc == VIGIA_OK) rc = start(server, err);
	if (rc == VIGIA_OK) *out = server;
	else vigia__serve_free(server);
	return rc;
}

const char *vigia__serve_url(const struct vigia__server *server)
{
	return server->url;
}

void vigia__serve_free(struct vigia__server *server)
{
	if (server == NULL) return;
	vigia__helper_stop(&server->helper); /* the job that runs is finished, those behind it are not begun */
	if (server->daemon) {
		vigia__requests_resume(server);
		vigia__mhd.stop_daemon(server->daemon);
	}
	if (server->listen_fd >= 0) close(server->listen_fd);
	vigia__helper_deinit(&server->helper);
	vigia__poller_free(server->poller);
	if (server->epoll_fd >= 0) close(server->epoll_fd);
	vigia_batch_free(server->batch);
	vigia__store_unref(server->store);
	vigia__free(server);
}

/* Cut off clients that take too long for a head or a body, libmicrohttpd counts from the last byte only, and those
 * that have gone. Returns when
 * the next one is due. */
static int64_t cut_slow(struct vigia__server *server)
{
	int64_t now = vigia__mono_ns(), first = INT64_MAX;
	for (struct vigia__client *client = server->clients; client; client = client->next) {
		if (client->phase == VIGIA_PHASE_REPLY) continue;
		int64_t due = client->since_mono_ns + server->options.client_timeout_ns;
		if (client->phase == VIGIA_PHASE_BODY) due += (int64_t)(client->received / RATE_MIN) * SECOND_NS;
		if (server->stopping && client->phase == VIGIA_PHASE_HEAD) due = now;
		/* libmicrohttpd does not read again behind a piece that came together with the end. */
		if (client->gone) due = now;
		if (due <= now) shutdown(client->fd, SHUT_RDWR);
		else if (due < first) first = due;
	}
	return first;
}

static int timeout_ms(struct vigia__server *server, int64_t due_mono_ns)
{
	MHD_UNSIGNED_LONG_LONG theirs;
	if (server->busy) return 0;
	int64_t now = vigia__mono_ns(), ms = due_mono_ns == INT64_MAX ? 60000 : (due_mono_ns - now + 999999) / 1000000;
	if (vigia__mhd.get_timeout(server->daemon, &theirs) == MHD_YES && (int64_t)theirs < ms) ms = (int64_t)theirs;
	return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

/* It has stopped. What waits is a commit or a job, which ends by itself. */
static bool is_over(const struct vigia__server *server, int64_t stop_mono_ns)
{
	return server->stopping && server->waiting == NULL && (server->clients == NULL || vigia__mono_ns() >= stop_mono_ns);
}

/* Show that the rounds go on. Returns when to do it again. */
static int64_t beat(struct vigia__server *server)
{
	const struct vigia__serve_options *options = &server->options;
	if (options->beat == NULL) return INT64_MAX;
	int64_t now = vigia__mono_ns();
	if (now >= server->beat_mono_ns) {
		options->beat(options->ctx);
		server->beat_mono_ns = now + options->beat_ns;
	}
	return server->beat_mono_ns;
}

/* One round: what came, then wait for more. */
static int round_of(struct vigia__server *server, int64_t stop_mono_ns, struct vigia_error *err)
{
	struct vigia__backend *b = server->store->backend;
	struct epoll_event events[EVENTS_MAX];
	vigia__poller_clear(server->poller);
	vigia__wake_prepare(b->wake, &server->listen);
	server->commits = b->commits(b);
	server->busy = false;
	vigia__requests_look(server);
	vigia__mhd.run(server->daemon);
	int64_t due = vigia__requests_due(server), slow = cut_slow(server);
	int64_t next_beat = beat(server);
	if (slow < due) due = slow;
	if (next_beat < due) due = next_beat;
	if (stop_mono_ns < due) due = stop_mono_ns;
	if (is_over(server, stop_mono_ns)) return VIGIA_OK;
	vigia__poller_arm(server->poller, &server->listen, server->commits, INT64_MAX);
	int count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, timeout_ms(server, due));
	if (count < 0 && errno != EINTR) return vigia__thread_error(err, errno, "wait for clients");
	for (int i = 0; i < count; i++)
		if (events[i].data.ptr) ((struct vigia__client *)events[i].data.ptr)->gone = true;
	return VIGIA_OK;
}

int vigia__serve_run(struct vigia__server *server, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	int64_t until = INT64_MAX;
	while (rc == VIGIA_OK && !is_over(server, until)) {
		if (!server->stopping && server->options.stop && atomic_load(server->options.stop)) {
			server->stopping = true;
			if (server->options.stopping) server->options.stopping(server->options.ctx);
			until = vigia__mono_ns() + STOP_NS;
			epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, server->options.stop_fd, NULL); /* stays readable */
			int fd = vigia__mhd.quiesce_daemon(server->daemon);
			if (fd >= 0) close(fd);
		}
		rc = round_of(server, until, err);
	}
	return rc;
}
