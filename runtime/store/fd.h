/*
 * fd.h - the only way to make descriptors here: none of ours is ever 0, 1 or 2, even if the host runs with these
 * closed.
 *
 * A file with the number 1 would receive the host's output (contract S22). So during a call that opens something, the
 * closed ones among the three are occupied by descriptors that can be neither read nor written (O_PATH). To the host
 * they fail as closed ones do, and what another thread opens meanwhile gets a higher number. scripts/lint checks that
 * nothing is opened in another way.
 *
 * Any thread. Also around calls of a library that opens files of its own (mdb_env_open).
 */
#ifndef VIGIA_STORE_FD_H
#define VIGIA_STORE_FD_H

#include <stdbool.h>
#include <sys/types.h>

/* VIGIA_FD(open(...)): the call's result, or -1 with errno. For every call that returns -1 with errno. */
#define VIGIA_FD(call) (vigia__fd_begin() < 0 ? -1 : vigia__fd_end(call))

/* 0, or -1 with errno. Call end once after every 0. It returns its argument and keeps errno. */
int vigia__fd_begin(void);
int vigia__fd_end(int result);

/* Register the fork handler, which takes the lock of fd.c. Fork handlers run in the reverse order of their
 * registration. Code that opens descriptors under a lock that its own fork handler takes must call this before it
 * registers that handler. */
void vigia__fd_guard(void);

/* Lock one byte of an open file description, or unlock it: F_RDLCK, F_WRLCK, F_UNLCK. The kernel unlocks it when the
 * description is closed for any reason. 0, or -1 with errno. EAGAIN: another description holds it. */
int vigia__fd_lock(int fd, off_t byte, short type, bool wait);

/* Ask before poll(2): false means that the descriptor is open for the other direction only. poll never finds such an
 * end of a pipe ready, while read(2) and write(2) fail at once. True for one that is not open: poll returns that. */
bool vigia__fd_permits(int fd, bool writing);

/* For a program of our own, at its start: replace the closed ones among the three for good. Input is at its end. Output
 * cannot be written, so that losing it is noticed. 0, or -1 with errno. */
int vigia__fd_stand_in(void);

#endif
