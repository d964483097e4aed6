/*
 * test_place.c - a store is refused on a network file system. Where this machine has none, the kernel's answer is made
 * up: statfs is replaced for the whole program.
 */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "store/place.h"

/* What statfs says of every path; 0: the truth. -1: it fails. */
static long told;
static char asked[4096]; /* the last path it was asked about */

VIGIA_API int statfs(const char *path, struct statfs *out)
{
	snprintf(asked, sizeof asked, "%s", path);
	if (told == -1) {
		errno = EIO;
		return -1;
	}
	int rc = (int)syscall(SYS_statfs, path, out);
	if (rc == 0 && told) out->f_type = told;
	return rc;
}

static char folder[FOLDER_MAX], path[FOLDER_MAX + 16];

static int setup(void **state)
{
	(void)state;
	told = 0;
	if (folder_make(folder) != 0) return -1;
	char *real = realpath(folder, NULL);
	snprintf(folder, sizeof folder, "%s", real);
	free(real);
	snprintf(path, sizeof path, "%s/store", folder);
	return 0;
}

static int files_in_folder(void)
{
	int count = 0;
	DIR *dir = opendir(folder);
	for (struct dirent *entry; dir && (entry = readdir(dir));) count += entry->d_name[0] != '.';
	if (dir) closedir(dir);
	return count;
}

static int teardown(void **state)
{
	(void)state;
	told = 0;
	static const char *const suffixes[] = {"", "-lock", "-side"};
	for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
		char name[FOLDER_MAX + 24];
		snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
		unlink(name);
	}
	return rmdir(folder);
}

static int try_open(bool allowed, bool readonly, struct vigia_error *err)
{
	struct vigia_store_options options;
	struct vigia_store *store = NULL;
	vigia_store_options_init(&options);
	options.allow_network_fs = allowed;
	options.readonly = readonly;
	*err = (struct vigia_error){0};
	int rc = vigia_store_open(path, &options, &store, err);
	vigia_store_free(store);
	return rc;
}

static void S17_a_network_file_system_is_refused_unless_asked_for(void **state)
{
	(void)state;
	static const struct {
		long type;
		const char *name;
	} networks[] = {{NFS_SUPER_MAGIC, "nfs"},   {SMB_SUPER_MAGIC, "smb"}, {(int)0xFF534D42, "cifs"},
	                {0xFE534D42, "smb2"},       {V9FS_MAGIC, "9p"},       {0x00C36400, "ceph"},
	                {0x0BD00BD0, "lustre"},     {0x47504653, "gpfs"},     {AFS_SUPER_MAGIC, "afs"},
	                {CODA_SUPER_MAGIC, "coda"}, {0x786F4256, "vboxsf"},   {0x19830326, "beegfs"}};
	struct vigia_error err;
	for (size_t i = 0; i < COUNT_OF(networks); i++) {
		char name[40];
		snprintf(name, sizeof name, "(%s)", networks[i].name);
		told = networks[i].type;
		/* not there yet: the folder decides, and nothing is made */
		assert_error(try_open(false, false, &err), VIGIA_ENETFS, &err, "network file system");
		assert_non_null(strstr(err.message, name));
		assert_non_null(strstr(err.message, "allow_network_fs"));
		assert_string_equal(asked, folder);
		assert_int_equal(files_in_folder(), 0);
		told = 0;
		assert_int_equal(try_open(false, false, &err), VIGIA_OK);
		told = networks[i].type;
		assert_error(try_open(false, false, &err), VIGIA_ENETFS, &err, path);
		assert_string_equal(asked, path);
		assert_error(try_open(false, true, &err), VIGIA_ENETFS, &err, path); /* reading takes locks, too */
		assert_int_equal(try_open(true, false, &err), VIGIA_OK);
		assert_int_equal(try_open(true, true, &err), VIGIA_OK);
		teardown(NULL);
		mkdir(folder, 0700);
	}
}

static void S17_a_local_file_system_is_not_refused(void **state)
{
	(void)state;
	static const long locals[] = {EXT4_SUPER_MAGIC,
	                              TMPFS_MAGIC,
	                              BTRFS_SUPER_MAGIC,
	                              0x58465342 /* xfs */,
	                              OVERLAYFS_SUPER_MAGIC,
	                              0x2FC12FC1 /* zfs */,
	                              MSDOS_SUPER_MAGIC,
	                              0x12345678,
	                              -1};
	struct vigia_error err;
	for (size_t i = 0; i < COUNT_OF(locals); i++) {
		told = locals[i];
		assert_int_equal(try_open(false, false, &err), VIGIA_OK);
	}
	told = 0x65735546; /* FUSE: the mount's own name decides, and the one of the folder's device is none of a network */
	assert_int_equal(try_open(false, false, &err), VIGIA_OK);
}

static void S17_behind_fuse_the_name_of_the_mount_decides(void **state)
{
	(void)state;
	bool fuse;
	assert_null(vigia__place_of_type(0x65735546, &fuse));
	assert_true(fuse);
	assert_string_equal(vigia__place_of_type(NFS_SUPER_MAGIC, &fuse), "nfs");
	assert_false(fuse);
	static const char mountinfo[] =
		"22 27 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n"
		"27 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw\n"
		"28 27 7:45 / /mnt/near rw - fuse.rclone other: rw\n" /* half of the device's number */
		"90 27 0:45 / /mnt/far rw,nosuid,nodev,relatime shared:50 master:2 - fuse.sshfs me@far:/home rw,user_id=0\n"
		"91 27 0:46 / /mnt/win rw - fuseblk /dev/sdb1 rw\n"
		"92 27 0:47 / /mnt/a\\040-\\040b rw\n" /* no type */
		"93 27 0:48 / /mnt/last rw - fuse.ntfs-3g x rw";
	static const struct {
		unsigned major, minor;
		const char *type, *network;
	} cases[] = {
		{0, 45, "fuse.sshfs", "sshfs"}, {8, 2, "ext4", NULL}, {0, 46, "fuseblk", NULL}, {0, 48, "fuse.ntfs-3g", NULL},
		{0, 20, "sysfs", NULL},         {0, 47, NULL, NULL},  {0, 4, NULL, NULL},       {45, 0, NULL, NULL}};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char type[64];
		bool found = vigia__place_mount_type(mountinfo, cases[i].major, cases[i].minor, type, sizeof type);
		assert_int_equal(found, cases[i].type != NULL);
		if (!found) continue;
		assert_string_equal(type, cases[i].type);
		const char *network = vigia__place_of_fuse(type);
		assert_true(network == NULL ? cases[i].network == NULL
		                            : cases[i].network && strcmp(network, cases[i].network) == 0);
	}
	assert_string_equal(vigia__place_of_fuse("fuse.rclone"), "rclone");
	assert_string_equal(vigia__place_of_fuse("fuse.glusterfs"), "glusterfs");
	assert_null(vigia__place_of_fuse("fuse"));
	assert_null(vigia__place_of_fuse("fuse.portal"));
	assert_null(vigia__place_of_fuse("nfs4"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) {#name, name, setup, teardown, NULL}
		TEST(S17_a_network_file_system_is_refused_unless_asked_for),
		TEST(S17_a_local_file_system_is_not_refused),
		TEST(S17_behind_fuse_the_name_of_the_mount_decides),
#undef TEST
	};
	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
