/*
 * lmdb_path.c - finds the real path of a store, and checks the file before LMDB touches it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/error.h"
#include "fd.h"
#include "lmdb_private.h"
#include "place.h"

static int not_found(const char *path, const char *why, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOTFOUND, "there is no store '%s'%s", path, why);
}

static int path_no_memory(const char *path, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOMEM, "no memory to open '%s'", path);
}

int vigia__lmdb_cannot_look(const char *path, int number, struct vigia_error *err)
{
	return vigia__error_caused(err, VIGIA_EIO, strerror(number), "cannot access the store '%s'", path);
}

/* Does this error number mean that the path does not exist? */
static bool leads_nowhere(int number)
{
	return number == ENOENT || number == ENOTDIR || number == ELOOP || number == ENAMETOOLONG;
}

/* `len` bytes of `folder` (below 0: all), the slash, the name. NULL: no memory. */
static char *joined(const char *folder, int len, const char *slash, const char *name)
{
	char *path = NULL;
	return asprintf(&path, "%.*s%s%s", len, folder, slash, name) < 0 ? NULL : path;
}

/* The end of a chain of symbolic links to a missing file: where the file would be created. NULL with errno: ELOOP or
 * ENOMEM. */
static char *behind_links(const char *path)
{
	char *at = strdup(path), target[4096];
	for (int links = 0; at && links < 40; links++) {
		ssize_t len = readlink(at, target, sizeof target - 1);
		if (len < 0) return at;
		target[len] = '\0';
		const char *slash = strrchr(at, '/');
		char *next = joined(at, target[0] == '/' || slash == NULL ? 0 : (int)(slash - at) + 1, "", target);
		free(at);
		at = next;
	}
	bool none = at == NULL;
	free(at);
	errno = none ? ENOMEM : ELOOP;
	return NULL;
}

/* The real path of a new file at `at`, to which the links of `path` lead. NULL with err set. */
static char *real_path_of_new(const char *path, const char *at, bool may_create, struct vigia_error *err)
{
	struct stat st = {0};
	char *real = NULL;
	bool linked = strcmp(path, at) != 0;
	const char *slash = strrchr(at, '/');
	const char *base = slash ? slash + 1 : at;
	char *dir = slash ? strndup(at, slash == at ? 1 : (size_t)(slash - at)) : strdup(".");
	char *real_dir = dir ? realpath(dir, NULL) : NULL;
	if (dir == NULL || (real_dir == NULL && errno == ENOMEM)) path_no_memory(path, err);
	else if ((real_dir == NULL || stat(real_dir, &st) < 0) && !leads_nowhere(errno))
		vigia__lmdb_cannot_look(path, errno, err);
	else if (real_dir == NULL || !S_ISDIR(st.st_mode))
		not_found(path,
		          linked ? ": it is a symbolic link into a folder that does not exist" : ": its folder does not exist",
		          err);
	else if (base[0] == '\0') vigia__error(err, VIGIA_EINVAL, "path: '%s' names a folder, not a file", path);
	else if (!may_create) not_found(path, linked ? ": it is a symbolic link to nothing" : "", err);
	else if ((real = joined(real_dir, -1, real_dir[1] ? "/" : "", base)) == NULL) path_no_memory(path, err);
	free(dir);
	free(real_dir);
	return real;
}

/* A symbolic link to a missing file says where to create it, as in any program. */
char *vigia__lmdb_path(const char *path, bool may_create, struct vigia_error *err)
{
	char *real = realpath(path, NULL);
	if (real) return real;
	struct stat st;
	int why = errno;
	/* The kernel may refuse to follow another user's link in a shared folder (fs.protected_symlinks), which realpath
	 * ignores. */
	if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
		int fd = VIGIA_FD(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
		why = fd < 0 ? errno : (close(fd), 0);
	}
	errno = why;
	char *at = why == EACCES || why == ENOMEM ? NULL : behind_links(path);
	if (at) real = realpath(at, NULL); /* another process has just created it */
	if (at && real == NULL) real = real_path_of_new(path, at, may_create, err);
	if (at == NULL && errno == EACCES) vigia__error(err, VIGIA_EPERM, "no permission to reach '%s'", path);
	else if (at == NULL && errno == ENOMEM) path_no_memory(path, err);
	else if (at == NULL) not_found(path, ": it is a symbolic link that leads nowhere", err);
	free(at);
	return real;
}

int vigia__lmdb_path_check(const char *path, const struct vigia_store_options *options, struct stat *st, bool *exists,
                           struct vigia_error *err)
{
	*exists = stat(path, st) == 0;
	if (*exists && S_ISDIR(st->st_mode))
		return vigia__error(err, VIGIA_ENOTSTORE, "'%s' is a folder, not a store", path);
	if (*exists && !S_ISREG(st->st_mode)) return vigia__error(err, VIGIA_ENOTSTORE, "'%s' is not a regular file", path);
	if (*exists && st->st_nlink > 1)
		return vigia__error(
			err, VIGIA_ELINKED,
			"the store '%s' has %lu hard links: remove all but one, because two names would become two writers", path,
			(unsigned long)st->st_nlink);
	if (*exists && vigia__place_is_mounted(path))
		return vigia__error(err, VIGIA_ELINKED,
		                    "the store '%s' is mounted as a single file: mount its folder, because two names would "
		                    "become two writers",
		                    path);
	char dir[4096];
	vigia__place_folder(path, dir, sizeof dir);
	const char *network = options->allow_network_fs ? NULL : vigia__place_network(*exists ? path : dir);
	if (network)
		return vigia__error(err, VIGIA_ENETFS,
		                    "'%s' is on a network file system (%s), where locks do not work; "
		                    "the option allow_network_fs opens it anyway",
		                    path, network);
	/* LMDB would initialise it. */
	if (*exists && st->st_size == 0 && (options->readonly || !options->create))
		return not_found(path, ": the file is empty", err);
	return *exists ? vigia__lmdb_format_precheck(path, err) : VIGIA_OK;
}
