/*
 * surroundings.c - facts about a store's files and the system around them, as a Lua table. It judges nothing.
 */
#include "surroundings.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../store/fd.h"
#include "../store/look.h"
#include "../store/place.h"
#include "lua_state.h"

static void set_boolean(lua_State *L, const char *name, bool value)
{
	lua_pushboolean(L, value);
	lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *value)
{
	if (value && *value) vigia__lua_set_string(L, name, value);
}

/* Of a file that is there, as the field `name`. */
static void set_file(lua_State *L, const char *name, const char *path)
{
	struct stat st;
	if (stat(path, &st) != 0) return;
	lua_createtable(L, 0, 4);
	vigia__lua_set_string(L, "path", path);
	vigia__lua_set_integer(L, "uid", st.st_uid);
	vigia__lua_set_integer(L, "mode", st.st_mode & 07777);
	vigia__lua_set_integer(L, "bytes", (uint64_t)st.st_size);
	lua_setfield(L, -2, name);
}

static void set_disk(lua_State *L, const char *folder)
{
	struct statvfs fs;
	if (statvfs(folder, &fs) != 0) return;
	lua_createtable(L, 0, 5);
	vigia__lua_set_integer(L, "bytes", (uint64_t)fs.f_blocks * fs.f_frsize);
	vigia__lua_set_integer(L, "free", (uint64_t)fs.f_bavail * fs.f_frsize);
	vigia__lua_set_integer(L, "files", fs.f_files);
	vigia__lua_set_integer(L, "free_files", fs.f_favail);
	set_boolean(L, "readonly", (fs.f_flag & ST_RDONLY) != 0);
	lua_setfield(L, -2, "disk");
}

static void set_limit(lua_State *L, const char *name, int resource)
{
	struct rlimit limit;
	if (getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		vigia__lua_set_integer(L, name, limit.rlim_cur);
}

/* The lines of a file of /proc. -1: it cannot be read. */
static int64_t count_lines(const char *path)
{
	char bytes[16384];
	int64_t lines = 0;
	int fd = VIGIA_FD(open(path, O_RDONLY | O_CLOEXEC));
	if (fd < 0) return -1;
	for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;)
		for (ssize_t i = 0; i < n; i++) lines += bytes[i] == '\n';
	close(fd);
	return lines;
}

static int64_t read_count(const char *path)
{
	char text[32];
	int fd = VIGIA_FD(open(path, O_RDONLY | O_CLOEXEC));
	if (fd < 0) return -1;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0) return -1;
	text[n] = '\0';
	return strtoll(text, NULL, 10);
}

static void set_user(lua_State *L, struct vigia__look_user user)
{
	if (user.pid > 0) vigia__lua_set_integer(L, "pid", (uint64_t)user.pid);
	set_boolean(L, "here", user.here);
	if (user.pid <= 0 || !user.here) return;
	bool alive = kill(user.pid, 0) == 0 || errno == EPERM;
	set_boolean(L, "alive", alive);
	char path[64];
	snprintf(path, sizeof path, "/proc/%ld/maps", (long)user.pid);
	int64_t maps = alive ? count_lines(path) : -1;
	if (maps >= 0) vigia__lua_set_integer(L, "maps", (uint64_t)maps);
}

int vigia__lua_surroundings(lua_State *L)
{
	vigia__lua_check_program(L, "surroundings");
	const char *path = vigia__lua_check_cstring(L, 1, "path"), *fs;
	static const char *const suffixes[] = {"", "-lock", "-side"};
	char folder[4096];
	bool in_folder = vigia__place_folder(path, folder, sizeof folder);
	luaL_checkstack(L, 16, NULL);
	lua_createtable(L, 0, 16);
	vigia__lua_set_integer(L, "uid", geteuid());
	vigia__lua_set_integer(L, "pid", (uint64_t)getpid());
	lua_createtable(L, 0, 3);
	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		lua_pushfstring(L, "%s%s", path, suffixes[i]);
		const char *name = lua_tostring(L, -1); /* stays below the table of files */
		lua_insert(L, -2);
		set_file(L, suffixes[i], name);
		lua_remove(L, -2);
	}
	lua_setfield(L, -2, "files");
	if (in_folder) {
		set_file(L, "folder", folder);
		set_disk(L, folder);
		set_text(L, "network", vigia__place_network(folder));
		set_boolean(L, "fleeting", vigia__look_is_fleeting(folder, &fs));
		set_text(L, "fs", fs);
	}
	set_boolean(L, "mounted", vigia__place_is_mounted(path));
	lua_createtable(L, 0, 2);
	set_limit(L, "file_size", RLIMIT_FSIZE);
	set_limit(L, "address_space", RLIMIT_AS);
	lua_setfield(L, -2, "limits");
	int64_t max_maps = read_count("/proc/sys/vm/max_map_count");
	if (max_maps > 0) vigia__lua_set_integer(L, "max_maps", (uint64_t)max_maps);
	struct vigia__look_user users[VIGIA_LOOK_USERS];
	int count = vigia__look_users(path, users);
	lua_createtable(L, count, 0);
	for (int i = 0; i < count; i++) {
		lua_createtable(L, 0, 4);
		set_user(L, users[i]);
		lua_rawseti(L, -2, i + 1);
	}
	lua_setfield(L, -2, "users");
	return 1;
}

int vigia__lua_owner(lua_State *L)
{
	vigia__lua_check_program(L, "owner");
	const char *path = vigia__lua_check_cstring(L, 1, "path"), *id = vigia__lua_check_cstring(L, 2, "watcher_id");
	struct vigia__look_owner owner;
	if (!vigia__look_owner(path, id, &owner)) return 0;
	lua_createtable(L, 0, 5);
	set_boolean(L, "held", owner.held);
	set_user(L, owner.last);
	return 1;
}
