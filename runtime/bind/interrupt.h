/*
 * interrupt.h - "the user wants the program, or what runs at a prompt, to end": one flag for the process, and what is
 * told of it.
 *
 * The library never raises it by itself. main.c does, on SIGINT and SIGTERM, and a REPL for its own thread and as long
 * as an expression runs (edit.c). Elsewhere, in a stock Lua, it stays false.
 * A wait either polls vigia__interrupt_fd beside what it waits for, or adds a hook that wakes it.
 * Any thread, but none of it from a signal handler.
 */
#ifndef VIGIA_BIND_INTERRUPT_H
#define VIGIA_BIND_INTERRUPT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../store/wake.h"

extern atomic_bool vigia__interrupted;      /* but by vigia__interrupt_over() never lowered */
extern int vigia__interrupt_fd;             /* readable once it is raised. -1: no signal raises it (poll ignores -1) */
extern atomic_bool vigia__ends_with_output; /* main.c also raises it after a write to a stdout without a reader */

struct vigia__interrupt_hook {
	void (*fn)(void *ctx); /* runs on another thread, under the list's lock: must not block, add or remove */
	void *ctx;
	void (*undo)(void *ctx); /* for what fn leaves behind, when a REPL's interruption is over. Or NULL */
	pthread_t thread;        /* set by vigia__interrupt_add: the caller's */
	struct vigia__interrupt_hook *next, **link; /* owner: the list. What points to it there, NULL: it is in none */
};

/* Wakes one waiter of a store: what vigia__interrupt_ring() rings. */
struct vigia__interrupt_bell {
	struct vigia__bell bell;
	struct vigia__wake *wake;
};
void vigia__interrupt_ring(void *interrupt_bell);

/* Tell this one too. At once if the flag is up already. The hook must stay where it is until it is removed. */
void vigia__interrupt_add(struct vigia__interrupt_hook *hook);
/* After this no call of fn is under way and none will come. Fine for one that was not added. */
void vigia__interrupt_remove(struct vigia__interrupt_hook *hook);
/* Raise the flag and tell all. */
void vigia__interrupt_all(void);
/* If the flag is up: call the hooks that this thread added. Others stay. */
void vigia__interrupt_thread(pthread_t thread);
/* What vigia__interrupt_thread() was for has ended: lower the flag, and let nothing of it stay behind. */
void vigia__interrupt_over(void);

#endif
