/*
 * address.c - where a server listens.
 */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/error.h"
#include "../store/fd.h"

enum { BACKLOG = 128 };

static struct sockaddr_in *as_v4(const struct vigia__address *address)
{
	return (struct sockaddr_in *)(void *)&address->at;
}

static struct sockaddr_in6 *as_v6(const struct vigia__address *address)
{
	return (struct sockaddr_in6 *)(void *)&address->at;
}

/* 0..65535, or -1. */
static int port_of(const char *text)
{
	size_t len = strspn(text, "0123456789");
	if (len < 1 || len > 5 || text[len] != '\0') return -1;
	int port = atoi(text);
	return port <= 65535 ? port : -1;
}

int vigia__address_parse(const char *text, struct vigia__address *out, struct vigia_error *err)
{
	char name[64] = "";
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	int port = colon ? port_of(colon + 1) : -1;
	bool brackets = len > 2 && text[0] == '[' && text[len - 1] == ']';
	*out = (struct vigia__address){0};
	if (port >= 0 && len < sizeof name) {
		memcpy(name, text + brackets, len - 2 * brackets);
		name[len - 2 * brackets] = '\0';
		if (strcmp(name, "localhost") == 0) strcpy(name, "127.0.0.1");
		if (brackets && inet_pton(AF_INET6, name, &as_v6(out)->sin6_addr) == 1) {
			as_v6(out)->sin6_family = AF_INET6;
			as_v6(out)->sin6_port = htons((uint16_t)port);
			out->len = sizeof(struct sockaddr_in6);
			return VIGIA_OK;
		}
		if (!brackets && inet_pton(AF_INET, name, &as_v4(out)->sin_addr) == 1) {
			as_v4(out)->sin_family = AF_INET;
			as_v4(out)->sin_port = htons((uint16_t)port);
			out->len = sizeof(struct sockaddr_in);
			return VIGIA_OK;
		}
	}
	char shown[80];
	return vigia__error(err, VIGIA_EINVAL,
	                    "%s is not an address to listen on: use 127.0.0.1:8080, [::1]:8080 or localhost:8080",
	                    vigia__quote(text, strlen(text), shown, sizeof shown));
}

bool vigia__address_is_loopback(const struct vigia__address *address)
{
	if (address->at.ss_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&as_v6(address)->sin6_addr);
	return ntohl(as_v4(address)->sin_addr.s_addr) >> 24 == 127;
}

int vigia__address_listen(struct vigia__address *address, int *out, struct vigia_error *err)
{
	char shown[80];
	int one = 1;
	int fd = VIGIA_FD(socket(address->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
	    (address->at.ss_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0) &&
	    bind(fd, (struct sockaddr *)&address->at, address->len) == 0 && listen(fd, BACKLOG) == 0 &&
	    getsockname(fd, (struct sockaddr *)&address->at, &address->len) == 0) {
		*out = fd;
		return VIGIA_OK;
	}
	int failed = errno;
	if (fd >= 0) close(fd);
	return vigia__error_caused(err, failed == EACCES ? VIGIA_EPERM : VIGIA_EIO, strerror(failed), "cannot listen on %s",
	                           vigia__address_format(address, shown, sizeof shown));
}

const char *vigia__address_format(const struct vigia__address *address, char *out, size_t size)
{
	char name[INET6_ADDRSTRLEN] = "?";
	bool v6 = address->at.ss_family == AF_INET6;
	const void *bytes = v6 ? (const void *)&as_v6(address)->sin6_addr : (const void *)&as_v4(address)->sin_addr;
	inet_ntop(address->at.ss_family, bytes, name, sizeof name);
	snprintf(out, size, v6 ? "[%s]:%u" : "%s:%u", name,
	         ntohs(v6 ? as_v6(address)->sin6_port : as_v4(address)->sin_port));
	return out;
}
