/*
 * file_limit.h - writes to files that raise no SIGXFSZ.
 *
 * A write beyond the limit on the size of files (RLIMIT_FSIZE, `ulimit -f`) sends that signal to its thread, and by
 * default ends the program. Between begin and end such a write, truncate or allocation only fails with EFBIG. Without a
 * limit this costs one system call. Pairs may be nested. Both calls of a pair belong to the same thread. Any thread.
 */
#ifndef VIGIA_STORE_FILE_LIMIT_H
#define VIGIA_STORE_FILE_LIMIT_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vigia__file_limit {
	bool blocks;     /* this pair blocks the signal */
	sigset_t before; /* the mask of the thread */
};

void vigia__file_limit_begin(struct vigia__file_limit *limit);
/* The same for small writes inside a file, of which there are a million a second: where there was no limit, the next
 * look at it is in another tick of the coarse clock (1 to 10 ms). `tick` is the caller's, of one file. */
void vigia__file_limit_begin_often(struct vigia__file_limit *limit, _Atomic int64_t *tick);
void vigia__file_limit_end(struct vigia__file_limit *limit); /* keeps errno */

/* write(2) between begin and end. */
ssize_t vigia__file_write(int fd, const void *bytes, size_t len);

#endif
