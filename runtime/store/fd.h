/*
 * fd.h - the one way in which descriptors are made here: none of ours is ever 0, 1 or 2, also where the host runs with
 * these closed.
 *
 * A file that got the number 1 would take whatever the host prints (contract S22). So the closed ones among the three
 * are occupied for as long as a call opens something, by descriptors that can neither be read nor written (O_PATH): to
 * everybody else they fail as closed ones do, and what another thread opens meanwhile gets a higher number.
 * scripts/lint looks after it that nothing is opened otherwise.
 *
 * Any thread; also around calls of a library that opens files of its own (mdb_env_open).
 */
#ifndef VIGIA_STORE_FD_H
#define VIGIA_STORE_FD_H

#include <stdbool.h>
#include <sys/types.h>

/* VIGIA_FD(open(...)): the call's result; -1 with errno if it fails. For every call that returns -1 with errno. */
#define VIGIA_FD(call) (vigia__fd_begin() < 0 ? -1 : vigia__fd_end(call))

/* 0, or -1 with errno; every 0 is followed by one end, which returns what it is given and keeps errno. */
int vigia__fd_begin(void);
int vigia__fd_end(int result);

/* A fork takes the lock of this file, and handlers of fork take locks in the reverse order of their registration:
 * whoever opens something under a lock that a fork takes, too, calls this before it registers its own handler. */
void vigia__fd_guard(void);

/* Lock one byte of an open file description, or unlock it: F_RDLCK, F_WRLCK, F_UNLCK. The kernel unlocks it when the
 * description is closed, however that comes. 0, or -1 with errno; EAGAIN: another description has it. */
int vigia__fd_lock(int fd, off_t byte, short type, bool wait);

/* For a program of our own, first of all: what stands in for good for those that are closed. Input is at its end;
 * output cannot be written, so that losing it is noticed. 0, or -1 with errno. */
int vigia__fd_stand_in(void);

#endif
