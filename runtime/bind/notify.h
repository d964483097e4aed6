/*
 * notify.h - messages to the manager of services that started the program: systemd's protocol, for commands that run as
 * one. See sd_notify(3), whose library is not needed.
 */
#ifndef VIGIA_BIND_NOTIFY_H
#define VIGIA_BIND_NOTIFY_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

/* core.notify(text) -> boolean: send assignments such as "READY=1", one a line. False: there is no manager, or it could
 * not be told. The first call takes NOTIFY_SOCKET and WATCHDOG_USEC out of the environment, so that no program that a
 * script starts speaks for this one. */
int vigia__lua_notify(lua_State *L);
/* core.watchdog(registry) -> boolean: if the manager watches, send "WATCHDOG=1" twice in its interval from the rounds
 * of the registry, while no loop of its workers stands still for a whole interval. */
int vigia__lua_watchdog(lua_State *L);

/* For a command that serves without a registry. False: the manager does not watch. *every_ns: how often to tell
 * "WATCHDOG=1". */
bool vigia__notify_watches(int64_t *every_ns);
void vigia__notify(const char *text);

#endif
