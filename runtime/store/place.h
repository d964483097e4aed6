/*
 * place.h - may a store lie there? A file that is mounted by itself (docker -v FILE:FILE) has a second name beside
 * which other lock files would lie: two writers. On a network file system neither locks nor shared maps hold between
 * machines, so two of them would destroy the file. The kernel tells a local file system by a number; behind FUSE may be
 * either kind, and only the name of the mount tells (sshfs is a network, ntfs-3g is none). What nobody knows counts as
 * local.
 */
#ifndef VIGIA_STORE_PLACE_H
#define VIGIA_STORE_PLACE_H

#include <stdbool.h>
#include <stdint.h>

/* The name of the network file system that a file or folder lies on; NULL if it is a local one, or cannot be looked
 * at. */
const char *vigia__place_network(const char *path);

/* Is the file itself, not its folder, what was mounted there? False where the kernel cannot tell (before 5.8). */
bool vigia__place_is_mounted(const char *path);

/* How a network is told: statfs's f_type -> a name, NULL: local; FUSE is neither: *fuse. */
const char *vigia__place_of_type(uint32_t type, bool *fuse);
/* The same for the type of a FUSE mount, "fuse.sshfs". */
const char *vigia__place_of_fuse(const char *type);
/* The type of the mount of a device, from the text of /proc/self/mountinfo. False: it is not there. */
bool vigia__place_mount_type(const char *mountinfo, unsigned dev_major, unsigned dev_minor, char *out, unsigned size);

/* Bring the name of a file to the disk: sync its folder. 0 or an error number. A folder that may not be read, or a file
 * system that cannot sync one, is no error: nothing more can be done there. */
int vigia__place_sync_name(const char *path);

#endif
