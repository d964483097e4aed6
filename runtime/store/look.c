/*
 * look.c - looks at the files of a store from outside, by the locks of the side file. See side.h for its layout.
 */
#include "look.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fd.h"
#include "owner.h"
#include "side_private.h"

static int open_side(const char *store_path)
{
	char path[4096];
	if (snprintf(path, sizeof path, "%s-side", store_path) >= (int)sizeof path) return -1;
	return VIGIA_FD(open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

static bool is_locked(int fd, off_t byte)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static struct vigia__look_user user_of(int32_t pid, uint32_t space)
{
	uint32_t own = vigia__side_pid_space();
	return (struct vigia__look_user){pid > 0 ? pid : 0, space == 0 || own == 0 || space == own};
}

_Static_assert((int)VIGIA_LOOK_USERS == (int)USERS, "as many as the side file has places for");

int vigia__look_users(const char *store_path, struct vigia__look_user out[VIGIA_LOOK_USERS])
{
	struct user users[USERS];
	int fd = open_side(store_path), count = 0;
	bool known =
		fd >= 0 && pread(fd, users, sizeof users, offsetof(struct vigia__side_map, users)) == (ssize_t)sizeof users;
	for (int i = 0; i < USERS && known; i++)
		if (is_locked(fd, LOCK_USERS + i))
			out[count++] = user_of(atomic_load(&users[i].pid), atomic_load(&users[i].space));
	if (fd >= 0) close(fd);
	return count;
}

bool vigia__look_owner(const char *store_path, const char *watcher_id, struct vigia__look_owner *out)
{
	struct owner owners[OWNERS];
	uint64_t hash = vigia__owner_hash(watcher_id);
	int fd = open_side(store_path);
	bool known =
		fd >= 0 && pread(fd, owners, sizeof owners, offsetof(struct vigia__side_map, owners)) == (ssize_t)sizeof owners;
	*out = (struct vigia__look_owner){{0, true}, known && is_locked(fd, vigia__owner_byte(hash))};
	for (uint64_t i = 0; i < OWNERS && known; i++) {
		struct owner *owner = &owners[(hash + i) % OWNERS];
		if (atomic_load(&owner->hash) != hash) continue;
		out->last = user_of(atomic_load(&owner->pid), atomic_load(&owner->space));
		break;
	}
	if (fd >= 0) close(fd);
	return known;
}

bool vigia__look_is_fleeting(const char *path, const char **name)
{
	static const struct {
		uint32_t type;
		const char *name;
		bool fleeting;
	} kinds[] = {
		{TMPFS_MAGIC, "tmpfs", true},      {RAMFS_MAGIC, "ramfs", true},    {OVERLAYFS_SUPER_MAGIC, "overlay", true},
		{EXT4_SUPER_MAGIC, "ext4", false}, {XFS_SUPER_MAGIC, "xfs", false}, {BTRFS_SUPER_MAGIC, "btrfs", false},
		{F2FS_SUPER_MAGIC, "f2fs", false}, {0x2FC12FC1, "zfs", false}};
	struct statfs fs;
	*name = "";
	if (statfs(path, &fs) != 0) return false;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if ((uint32_t)fs.f_type != kinds[i].type) continue;
		*name = kinds[i].name;
		return kinds[i].fleeting;
	}
	return false;
}
