/*
 * address.h - where a server listens: "127.0.0.1:8080", "[::1]:8080", "localhost:0" (any free port).
 */
#ifndef VIGIA_SERVE_ADDRESS_H
#define VIGIA_SERVE_ADDRESS_H

#include <sys/socket.h>

#include "vigia.h"

struct vigia__address {
	struct sockaddr_storage at;
	socklen_t len;
};

/* VIGIA_OK, or EINVAL: it is no address with a port. Names other than localhost are not looked up. */
int vigia__address_parse(const char *text, struct vigia__address *out, struct vigia_error *err);
/* Can only programs of this machine reach it? */
bool vigia__address_is_loopback(const struct vigia__address *address);
/* Listen there. *fd is the caller's, and *address gets the port that was free. EIO or EPERM. */
int vigia__address_listen(struct vigia__address *address, int *fd, struct vigia_error *err);
/* "127.0.0.1:8080". Returns out. */
const char *vigia__address_format(const struct vigia__address *address, char *out, size_t size);

#endif
