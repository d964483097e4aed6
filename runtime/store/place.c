/*
 * place.c - recognises network file systems, and files that are mounts of their own.
 */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fd.h"

/* Not all are in linux/magic.h, which grows with the kernel. Folders that a host shares with a guest count too, because
 * two kernels use them. */
static const struct {
	uint32_t type;
	const char *name;
} networks[] = {
	{NFS_SUPER_MAGIC, "nfs"},   {SMB_SUPER_MAGIC, "smb"}, {0xFF534D42, "cifs"},   {0xFE534D42, "smb2"},
	{CODA_SUPER_MAGIC, "coda"}, {AFS_SUPER_MAGIC, "afs"}, {0x6B414653, "kafs"},   {0x00C36400, "ceph"},
	{V9FS_MAGIC, "9p"},         {NCP_SUPER_MAGIC, "ncp"}, {0x0BD00BD0, "lustre"}, {0x47504653, "gpfs"},
	{0x19830326, "beegfs"},     {0x01161970, "gfs2"},     {0x7461636F, "ocfs2"},  {0xAAD7AAEA, "panfs"},
	{0x20030528, "pvfs2"},      {0x61636673, "acfs"},     {0x786F4256, "vboxsf"}, {0xBACBACBC, "vmhgfs"},
	{0x7C7C6673, "prl_fs"},
};

/* Prefixes: "s3fs" also matches "s3fs-fuse". */
static const char *const fuse_networks[] = {"sshfs",   "s3fs",       "rclone",    "gcsfuse", "goofys",   "mount-s3",
                                            "juicefs", "glusterfs",  "ceph",      "nfs",     "smbnetfs", "curlftpfs",
                                            "davfs",   "gvfsd-fuse", "moosefs",   "mfs",     "lizardfs", "cvmfs",
                                            "hdfs",    "fuse_dfs",   "seaweedfs", "afs"};

const char *vigia__place_of_type(uint32_t type, bool *fuse)
{
	*fuse = type == 0x65735546;
	for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
		if (networks[i].type == type) return networks[i].name;
	return NULL;
}

const char *vigia__place_of_fuse(const char *type)
{
	if (strncmp(type, "fuse.", 5) != 0) return NULL;
	for (size_t i = 0; i < sizeof fuse_networks / sizeof *fuse_networks; i++)
		if (strncmp(type + 5, fuse_networks[i], strlen(fuse_networks[i])) == 0) return fuse_networks[i];
	return NULL;
}

/* A line: 36 35 98:0 /root /mount/point options... - type source options. Mount points contain no blanks (written
 * \040). */
bool vigia__place_mount_type(const char *mountinfo, unsigned dev_major, unsigned dev_minor, char *out, unsigned size)
{
	for (const char *line = mountinfo; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		unsigned a, b;
		if (sscanf(line, "%*u %*u %u:%u ", &a, &b) != 2 || a != dev_major || b != dev_minor) continue;
		const char *type = strstr(line, " - "), *end = strchr(line, '\n');
		if (type == NULL || (end && type > end)) continue;
		type += 3;
		snprintf(out, size, "%.*s", (int)strcspn(type, " \n"), type);
		return true;
	}
	return false;
}

static const char *fuse_network(dev_t dev)
{
	char text[65536], type[64];
	size_t len = 0;
	int fd = VIGIA_FD(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
	if (fd < 0) return NULL;
	for (ssize_t got; len < sizeof text - 1 && (got = read(fd, text + len, sizeof text - 1 - len)) > 0;)
		len += (size_t)got;
	close(fd);
	text[len] = '\0';
	return vigia__place_mount_type(text, major(dev), minor(dev), type, sizeof type) ? vigia__place_of_fuse(type) : NULL;
}

const char *vigia__place_network(const char *path)
{
	struct statfs fs;
	struct stat st;
	bool fuse;
	if (statfs(path, &fs) != 0) return NULL;
	const char *name = vigia__place_of_type((uint32_t)fs.f_type, &fuse);
	return fuse && stat(path, &st) == 0 ? fuse_network(st.st_dev) : name;
}

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x00002000
#endif

bool vigia__place_is_mounted(const char *path)
{
	struct statx st;
	return statx(AT_FDCWD, path, 0, STATX_TYPE, &st) == 0 &&
	       (st.stx_attributes & st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0;
}

bool vigia__place_keeps_blocks(int fd)
{
	struct statfs fs;
	return fstatfs(fd, &fs) == 0 && (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == TMPFS_MAGIC);
}

bool vigia__place_folder(const char *path, char *out, size_t size)
{
	const char *slash = strrchr(path, '/');
	int len = slash == NULL || slash == path ? 1 : (int)(slash - path);
	return (size_t)snprintf(out, size, "%.*s", len, slash ? path : ".") < size;
}

int vigia__place_sync_name(const char *path)
{
	char dir[4096];
	if (!vigia__place_folder(path, dir, sizeof dir)) return ENAMETOOLONG;
	int fd = VIGIA_FD(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (fd < 0) return errno == EACCES || errno == EPERM ? 0 : errno;
	int rc = fsync(fd) < 0 ? errno : 0;
	close(fd);
	return rc == EINVAL || rc == EROFS || rc == ENOTSUP ? 0 : rc;
}
