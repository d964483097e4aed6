/*
 * place.h - checks whether a store may be in a place. A single mounted file (docker -v FILE:FILE) has a second name
 * with other lock files beside it: two writers. On a network file system locks and shared maps do not work between
 * machines, so two of them would destroy the file. The kernel identifies a file system by a number. FUSE may be either
 * kind, and only the type of the mount tells (sshfs is a network, ntfs-3g is not). An unknown one counts as local.
 */
#ifndef VIGIA_STORE_PLACE_H
#define VIGIA_STORE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The name of the network file system that holds a file or folder. NULL if it is local or unknown. */
const char *vigia__place_network(const char *path);

/* Was the file itself mounted there, not its folder? False if the kernel cannot tell (before 5.8). */
bool vigia__place_is_mounted(const char *path);

/* The name of a network file system by statfs's f_type, NULL: local. *fuse: FUSE, which may be either. */
const char *vigia__place_of_type(uint32_t type, bool *fuse);
/* The same for the type of a FUSE mount, "fuse.sshfs". */
const char *vigia__place_of_fuse(const char *type);
/* The type of a device's mount, from the text of /proc/self/mountinfo. False: not found. */
bool vigia__place_mount_type(const char *mountinfo, unsigned dev_major, unsigned dev_minor, char *out, unsigned size);

/* Does its file system keep the blocks of a file where they are when they are changed? Then a change needs no room.
 * False: copies on write and shared blocks are possible, or it is not known. */
bool vigia__place_keeps_blocks(int fd);

/* The folder of a path: "." where it names none. False: it does not fit. */
bool vigia__place_folder(const char *path, char *out, size_t size);

/* Make the name of a file durable by syncing its folder. 0 or an error number. An unreadable folder, or a file system
 * that cannot sync one, is no error: nothing more can be done. */
int vigia__place_sync_name(const char *path);

#endif
