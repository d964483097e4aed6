/*
 * serve.h - the door of this room: a store over HTTP. `vigia serve` is made of it. It belongs to one thread, which runs
 * it until it is told to stop; appends and other changes wait for their commits on other threads.
 */
#ifndef VIGIA_SERVE_SERVE_H
#define VIGIA_SERVE_SERVE_H

#include <stdatomic.h>

#include "vigia.h"

struct vigia__server;

struct vigia__serve_options {
	const char *listen;       /* "127.0.0.1:8080" */
	const char *token;        /* NULL: none; then nothing can be changed */
	const char *cert, *key;   /* PEM, both or none: with TLS */
	bool insecure;            /* listen where others can reach it also without a token and TLS */
	const char *const *hosts; /* names that it has beside its addresses */
	size_t hosts_count;
	int64_t client_timeout_ns; /* how long a client may be idle, or take for a request */
	int64_t clients_max;       /* connections at a time */
	const atomic_bool *stop;   /* it ends when this is true */
	int stop_fd;               /* and looks at it when this is readable */
	/* All of these on the thread that serves, with `ctx`; NULL: none. */
	void (*log)(void *ctx, enum vigia_log_level level, const char *message);
	bool log_requests;       /* log each request, as VIGIA_LOG_INFO; else only those that failed or were refused */
	void (*beat)(void *ctx); /* every beat_ns, while it goes on */
	int64_t beat_ns;
	void (*stopping)(void *ctx); /* it was told to stop, and begins to */
	void *ctx;
};

/**
 * Listen. The store is kept in memory, and should be opened for reading only if there is no token.
 *
 * Returns:   VIGIA_OK and *out. EINVAL, EPERM: what was asked for is not safe, or not allowed. EIO. EUNSUPPORTED:
 *            libmicrohttpd, or its TLS, is missing. ENOMEM
 * Ownership: `options` must stay as they are until vigia__serve_free()
 */
int vigia__serve_new(struct vigia_store *store, const struct vigia__serve_options *options, struct vigia__server **out,
                     struct vigia_error *err);
/* "http://127.0.0.1:8080/". The server's. */
const char *vigia__serve_url(const struct vigia__server *server);
/* Serve until options->stop. VIGIA_OK: requests in progress have their replies. */
int vigia__serve_run(struct vigia__server *server, struct vigia_error *err);
void vigia__serve_free(struct vigia__server *server); /* NULL is fine */

#endif
