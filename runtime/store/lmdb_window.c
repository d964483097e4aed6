/*
 * lmdb_window.c - the journal's area mapped for writing. At durability "none" a record is made there: all processes
 * see it as if it had been written, and it stays when this one is killed, without a system call.
 *
 * A store into a map cannot fail, it is a signal. So there is a window only where it needs no room: the area's blocks
 * were written when it was made, and the file system changes them in place.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "lmdb_private.h"
#include "place.h"

uint8_t *vigia__journal_window(struct lmdb_backend *b)
{
	struct vigia__journal_window *w = &b->journal.window;
	mdb_filehandle_t fd;
	if (w->area || w->refused) return w->area;
	w->refused = true;
	if (mdb_env_get_fd(b->env, &fd) != 0 || !vigia__place_keeps_blocks(fd)) return NULL;
	off_t before = b->journal.at % sysconf(_SC_PAGESIZE);
	size_t bytes = b->journal.bytes + (size_t)before;
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, b->journal.at - before);
	if (map == MAP_FAILED) return NULL;
	/* A forked child must not keep the file's description, and with it its locks. */
	if (madvise(map, bytes, MADV_DONTFORK) < 0) {
		munmap(map, bytes); /* GCOVR_EXCL_LINE: Linux has it */
		return NULL;        /* GCOVR_EXCL_LINE: as above */
	}
	w->area = (uint8_t *)map + before;
	w->map = map;
	w->bytes = bytes;
	return w->area;
}

void vigia__journal_window_close(struct lmdb_backend *b)
{
	struct vigia__journal_window *w = &b->journal.window;
	if (w->map) munmap(w->map, w->bytes);
	*w = (struct vigia__journal_window){0};
}
