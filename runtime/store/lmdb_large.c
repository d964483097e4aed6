/*
 * lmdb_large.c - has the system cache a large file in pieces of 2 MiB.
 *
 * The page cache keeps what LMDB writes in pieces of the writes, of some pages. A process that opens the file later
 * maps them 16 pages a fault, and a filter that wants few events, far apart, spends most of its time in these. A piece
 * of 2 MiB is mapped by one fault. So before LMDB writes into such a part of the file, it is read through a map that
 * asks for large pages: its blocks are allocated (lmdb_reserve.c) and were never written, so the system makes one piece
 * of zeros, without a look at the disk. The file becomes as long as its parts, up to 2 MiB longer than LMDB needs.
 *
 * Where the system or the file system has no such pieces, nothing changes but that length.
 */
#include <sys/mman.h>

#include "lmdb_private.h"

/* A part, files that have them, and what a commit adds at least that makes one at durability "none". Small writes take
 * longer in a large piece: 22 us a commit with a key, not 10. Beside a sync nothing of that shows. */
enum { PART_BYTES = 2 << 20, FILE_BYTES_MIN = 64 << 20, ADDS_BYTES_MIN = 256 << 10 };

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

uint64_t vigia__lmdb_large_reserve(uint64_t used, uint64_t end)
{
	return used < FILE_BYTES_MIN ? end : (end + PART_BYTES - 1) / PART_BYTES * PART_BYTES;
}

int64_t vigia__lmdb_large_size(const struct lmdb_backend *b, int64_t bytes)
{
	int64_t whole = (bytes + PART_BYTES - 1) / PART_BYTES * PART_BYTES;
	bool unsynced = atomic_load_explicit(&b->base.durability, memory_order_relaxed) == VIGIA_DURABILITY_NONE;
	int64_t adds = bytes - (int64_t)((b->last_page + 1) * b->page_bytes);
	if (bytes < FILE_BYTES_MIN || (unsynced && adds < ADDS_BYTES_MIN)) return bytes;
	return b->reserved_bytes != UINT64_MAX && (uint64_t)whole <= b->reserved_bytes ? whole : bytes;
}

void vigia__lmdb_large_make(const struct lmdb_backend *b, int64_t before, int64_t size)
{
	mdb_filehandle_t fd;
	if (size % PART_BYTES != 0 || mdb_env_get_fd(b->env, &fd) != 0) return;
	for (int64_t at = (before + PART_BYTES - 1) / PART_BYTES * PART_BYTES; at < size; at += PART_BYTES) {
		void *map = mmap(NULL, PART_BYTES, PROT_READ, MAP_SHARED, fd, at);
		if (map == MAP_FAILED) return;
		/* A failure is an error number here, where a load would be a signal. */
		if (madvise(map, PART_BYTES, MADV_HUGEPAGE) == 0) madvise(map, b->page_bytes, MADV_POPULATE_READ);
		munmap(map, PART_BYTES);
	}
}
