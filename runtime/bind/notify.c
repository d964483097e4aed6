/*
 * notify.c - messages to the manager of services, as datagrams to the socket that NOTIFY_SOCKET names.
 */
#include "notify.h"

#include <lauxlib.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../drive/watchdog.h"
#include "../store/fd.h"
#include "lua_state.h"
#include "registry_handle.h"

static struct {
	struct sockaddr_un address;
	socklen_t len;       /* 0: there is no manager */
	int64_t watchdog_ns; /* 0: it does not watch */
} manager;

static bool read_number(const char *text, int64_t *out)
{
	char *end;
	if (text == NULL || *text < '0' || *text > '9') return false;
	*out = strtoll(text, &end, 10);
	return *end == '\0';
}

/* A path, or @ and a name without a file. Another kind of address is none of ours. */
static void take_environment(void)
{
	const char *name = getenv("NOTIFY_SOCKET");
	int64_t usec, pid;
	size_t len = name ? strlen(name) : 0;
	manager.address.sun_family = AF_UNIX;
	if (len > 1 && (name[0] == '/' || name[0] == '@') && len < sizeof manager.address.sun_path) {
		memcpy(manager.address.sun_path, name, len);
		if (name[0] == '@') manager.address.sun_path[0] = '\0';
		manager.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	}
	bool ours = getenv("WATCHDOG_PID") == NULL || (read_number(getenv("WATCHDOG_PID"), &pid) && pid == getpid());
	if (ours && read_number(getenv("WATCHDOG_USEC"), &usec) && usec > 0 && usec < INT64_MAX / 1000)
		manager.watchdog_ns = usec * 1000;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static bool tell_manager(const char *text, size_t len)
{
	if (manager.len == 0) return false;
	int fd = VIGIA_FD(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (fd < 0) return false;
	ssize_t sent = sendto(fd, text, len, MSG_NOSIGNAL, (const struct sockaddr *)&manager.address, manager.len);
	close(fd);
	return sent == (ssize_t)len;
}

static void find_manager(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, take_environment);
}

bool vigia__notify_watches(int64_t *every_ns)
{
	find_manager();
	*every_ns = manager.watchdog_ns / 2;
	return manager.len > 0 && manager.watchdog_ns > 0;
}

void vigia__notify(const char *text)
{
	find_manager();
	tell_manager(text, strlen(text));
}

int vigia__lua_notify(lua_State *L)
{
	size_t len;
	vigia__lua_check_program(L, "notify");
	find_manager();
	const char *text = luaL_checklstring(L, 1, &len);
	return vigia__lua_boolean(L, tell_manager(text, len));
}

static void ping(void *ctx)
{
	if (vigia__registry_goes_on(ctx, manager.watchdog_ns)) vigia__notify("WATCHDOG=1");
}

int vigia__lua_watchdog(lua_State *L)
{
	vigia__lua_check_program(L, "watchdog");
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	int64_t every_ns;
	bool watched = vigia__notify_watches(&every_ns);
	if (watched) vigia__registry_every(r->registry, every_ns, ping, r->registry);
	return vigia__lua_boolean(L, watched);
}
