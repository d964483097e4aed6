/*
 * full.c - preloaded into a PostgreSQL server: its disk is full while the file VIGIA_FULL is there. What is in a file
 * may still be overwritten, as on a disk.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

static int refuses(int fd, off_t end)
{
	struct stat file;
	const char *flag = getenv("VIGIA_FULL");
	if (flag == NULL || access(flag, F_OK) != 0 || fstat(fd, &file) != 0) return 0;
	return S_ISREG(file.st_mode) && end > file.st_size;
}

static ssize_t write_at(int fd, const void *bytes, size_t len, off_t offset)
{
	static ssize_t (*real)(int, const void *, size_t, off_t);
	if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
	if (!refuses(fd, offset + (off_t)len)) return real(fd, bytes, len, offset);
	errno = ENOSPC;
	return -1;
}

static ssize_t write_pieces_at(int fd, const struct iovec *pieces, int count, off_t offset)
{
	static ssize_t (*real)(int, const struct iovec *, int, off_t);
	off_t end = offset;
	if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "pwritev64");
	for (int i = 0; i < count; i++) end += (off_t)pieces[i].iov_len;
	if (!refuses(fd, end)) return real(fd, pieces, count, offset);
	errno = ENOSPC;
	return -1;
}

static int allocate(int fd, off_t offset, off_t len)
{
	static int (*real)(int, off_t, off_t);
	if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "posix_fallocate64");
	return refuses(fd, offset + len) ? ENOSPC : real(fd, offset, len);
}

PUBLIC ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
	return write_at(fd, bytes, len, offset);
}

PUBLIC ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
	return write_at(fd, bytes, len, offset);
}

PUBLIC ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
	return write_pieces_at(fd, pieces, count, offset);
}

PUBLIC ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off_t offset)
{
	return write_pieces_at(fd, pieces, count, offset);
}

PUBLIC int posix_fallocate(int fd, off_t offset, off_t len)
{
	return allocate(fd, offset, len);
}

PUBLIC int posix_fallocate64(int fd, off_t offset, off_t len)
{
	return allocate(fd, offset, len);
}
