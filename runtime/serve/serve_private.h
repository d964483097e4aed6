/*
 * serve_private.h - shared by the files of this room: a server, its clients, their requests.
 *
 * One thread runs everything here: it waits on one epoll descriptor for libmicrohttpd, the store's wake words, sockets
 * of clients that go away, and the order to stop. A request that has to wait (for an event, a commit, a job) is
 * suspended and stands in server->waiting. Each round asks it whether it can go on. No read transaction is open between
 * two calls.
 */
#ifndef VIGIA_SERVE_SERVE_PRIVATE_H
#define VIGIA_SERVE_SERVE_PRIVATE_H

#include "../core/error.h"
#include "../drive/poller.h"
#include "../store/commit.h"
#include "../store/helper.h"
#include "../store/store.h"
#include "address.h"
#include "feed.h"
#include "mhd.h"
#include "query.h"
#include "serve.h"

enum {
	VIGIA_BODY_MAX = 16 << 20,   /* of one request */
	VIGIA_BODIES_MAX = 64 << 20, /* of all at a time */
	VIGIA_HEAD_MAX = 32 << 10,   /* memory of a connection: headers, and what is written */
};

enum vigia__phase { VIGIA_PHASE_HEAD = 0, VIGIA_PHASE_BODY, VIGIA_PHASE_REPLY };

/* A connection. */
struct vigia__client {
	struct vigia__client *next, **link; /* owner: server->clients */
	int fd;                             /* libmicrohttpd's */
	enum vigia__phase phase;
	int64_t since_mono_ns; /* when the phase began */
	size_t received;       /* of the body */
	bool gone;             /* it has closed its side */
};

struct vigia__request;

struct vigia__job {
	struct vigia__job *next;
	void (*fn)(struct vigia__request *request); /* on the job thread */
	struct vigia__request *request;
	atomic_bool done;
};

struct vigia__route {
	const char *method, *path;
	bool whole;         /* false: what is behind the path and a slash belongs to it too */
	bool changes;       /* needs the token in any case */
	const char *params; /* the parameters it knows */
	enum MHD_Result (*run)(struct vigia__request *request);
};

enum { VIGIA_HEADERS_MAX = 4 };

struct vigia__request {
	struct vigia__server *server;
	struct vigia__client *client;
	struct MHD_Connection *connection;
	struct vigia__query query;
	struct vigia_error bad; /* why the address cannot be read; code 0: it can */
	const char *method;     /* the connection's; NULL: its head was not read */
	const struct vigia__route *route;
	bool checked; /* its headers are seen */
	struct vigia__buf body;
	size_t body_counted; /* of it in server->body_bytes */
	/* how it goes on after a wait; NULL: as its route begins */
	enum MHD_Result (*again)(struct vigia__request *request);
	/* waiting */
	struct vigia__request *next, **link; /* owner: server->waiting; NULL: it does not wait */
	bool (*ready)(struct vigia__request *request, int64_t now_mono_ns);
	int64_t due_mono_ns; /* ask it then at the latest */
	/* what routes keep */
	struct vigia__feed feed;
	struct vigia__query_names types, operations;
	struct vigia__buf out; /* text that was not given to the client yet, from out_at on */
	size_t out_at;
	struct vigia_error failed; /* code 0: nothing */
	int64_t until_mono_ns;     /* of a long poll */
	struct vigia__pending pending;
	bool submitted;
	struct vigia__buf events, ends, key;
	struct vigia__job job;
	uint64_t seq_num, count; /* of a job on a dead letter */
	bool drop;
	/* headers of its reply */
	unsigned headers_count;
	struct {
		const char *name;
		char value[320];
	} headers[VIGIA_HEADERS_MAX];
};

struct vigia__server {
	struct vigia_store *store;
	struct vigia__serve_options options;
	struct vigia__address address;
	char url[128];
	struct MHD_Daemon *daemon;
	int epoll_fd, listen_fd; /* listen_fd < 0: it is libmicrohttpd's, or closed */
	struct vigia__poller *poller;
	struct vigia__listen listen;
	uint64_t commits;
	struct vigia_batch *batch;
	struct vigia__client *clients;
	unsigned clients_count;
	struct vigia__request *waiting;
	size_t body_bytes;    /* in memory */
	int64_t beat_mono_ns; /* when the next beat is due */
	bool busy;            /* a request has more to do at once */
	bool stopping;
	struct vigia__helper helper;      /* runs jobs */
	struct vigia__job *jobs, **end;   /* under its mutex */
	const struct vigia__meter *meter; /* of this process's commits; NULL: the store has none */
};

/* ---- request.c ---- */

struct vigia__request *vigia__request_new(struct vigia__server *server, const char *target);
void vigia__request_free(struct vigia__request *request);
/* Suspend it until `ready` says true. Then its connection goes on. */
void vigia__request_wait(struct vigia__request *request, bool (*ready)(struct vigia__request *, int64_t),
                         int64_t due_mono_ns);
/* Let all that are ready go on. */
void vigia__requests_look(struct vigia__server *server);
/* When to look again at the latest. */
int64_t vigia__requests_due(const struct vigia__server *server);
/* Suspend none any more: the end. */
void vigia__requests_resume(struct vigia__server *server);
/* The only value of a header, NULL: there is none. EINVAL: there are several. */
int vigia__request_header(struct vigia__request *request, const char *name, const char **out, struct vigia_error *err);
/* Run it on the job thread, while the request waits. ENOMEM, EIO. */
int vigia__request_job(struct vigia__request *request, void (*fn)(struct vigia__request *), struct vigia_error *err);
bool vigia__request_job_ready(struct vigia__request *request, int64_t now_mono_ns);

/* ---- log.c ---- */

/* Log this reply. `err` NULL: it is none that tells of an error. */
void vigia__log_reply(struct vigia__request *request, unsigned status, const struct vigia_error *err);

/* ---- reply.c ---- */

/* A header of the reply that comes. */
void vigia__reply_header(struct vigia__request *request, const char *name, const char *format, ...) VIGIA_PRINTF(3, 4);
/* Reply with this text, which is taken over. */
enum MHD_Result vigia__reply(struct vigia__request *request, unsigned status, const char *type,
                             struct vigia__buf *text);
/* As JSON. Status 0: the one that belongs to the code. */
enum MHD_Result vigia__reply_error(struct vigia__request *request, unsigned status, const struct vigia_error *err);
/* Reply with what `read` gives, until it ends. */
enum MHD_Result vigia__reply_stream(struct vigia__request *request, const char *type, MHD_ContentReaderCallback read);

#define VIGIA_JSON   "application/json"
#define VIGIA_NDJSON "application/x-ndjson"

/* ---- routes: events.c, append.c, watchers.c, buckets.c, dead.c, metrics.c, page.c ---- */

enum MHD_Result vigia__get_events(struct vigia__request *request);
enum MHD_Result vigia__get_stream(struct vigia__request *request);
enum MHD_Result vigia__post_events(struct vigia__request *request);
enum MHD_Result vigia__get_watchers(struct vigia__request *request);
enum MHD_Result vigia__get_state(struct vigia__request *request);
enum MHD_Result vigia__get_dead(struct vigia__request *request);
enum MHD_Result vigia__post_dead_retry(struct vigia__request *request);
enum MHD_Result vigia__post_dead_drop(struct vigia__request *request);
enum MHD_Result vigia__get_metrics(struct vigia__request *request);
enum MHD_Result vigia__get_page(struct vigia__request *request);

/* ---- access.c: what libmicrohttpd calls ---- */

void *vigia__access_begin(void *server, const char *target, struct MHD_Connection *connection);
enum MHD_Result vigia__access(void *server, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_size, void **request);
void vigia__access_end(void *server, struct MHD_Connection *connection, void **request,
                       enum MHD_RequestTerminationCode why);
void vigia__access_client(void *server, struct MHD_Connection *connection, void **client,
                          enum MHD_ConnectionNotificationCode code);

#endif
