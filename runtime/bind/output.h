/*
 * output.h - what a script prints: gathered in a buffer, written to the standard output and checked before its event
 * counts as handled.
 *
 * `print`, io.stdout and io.write of the script's Lua state write into the buffer. It is written when an event, init,
 * stop or loading ends, before the handler waits or starts another program, when it is large, when the script says
 * flush, and with a line if nothing was written for a moment; on a terminal with each line.
 * It leaves in one piece if the output takes it; lines of several scripts of a process are never mixed.
 *
 * An output that takes nothing now (EAGAIN, a slow reader) is waited for, until the watcher is to stop. What it refuses
 * (a full disk, say) is kept and tried again: so nothing is printed twice or half. More than VIGIA_OUTPUT_KEEP bytes
 * are not kept: then the script is told, and the event has failed whatever it makes of that.
 *
 * An output belongs to the thread of its script.
 */
#ifndef VIGIA_BIND_OUTPUT_H
#define VIGIA_BIND_OUTPUT_H

#include <lua.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../core/buf.h"

enum { VIGIA_OUTPUT_KEEP = 1 << 20 };

enum vigia__output_mode { VIGIA_OUTPUT_FULL = 0, VIGIA_OUTPUT_LINE, VIGIA_OUTPUT_AT_ONCE };

struct vigia__output {
	struct vigia__buf buf; /* not written yet */
	FILE *file;            /* io.stdout of the script's states; what is written to it is added here */
	enum vigia__output_mode mode;
	int64_t written_ns; /* when it was written last, on a coarse clock */
	int refused;        /* errno, if bytes were not taken since vigia__output_begin(); they are lost */
	bool owes;  /* some of it waits elsewhere: of a line that is half written, in `rest` (output.c); at the sink */
	bool tired; /* it has waited as long as it may while its watcher is to stop */
	const atomic_bool *stopping, *killed; /* its watcher is to stop, or is to end now; NULL: never */
	/* Where it goes instead of the standard output: returns 0, or an errno; *kept tells whether the bytes were taken
	 * all the same, and are written later. NULL: nowhere else. */
	int (*sink)(const void *bytes, size_t len, bool *kept);
};

/* False: no memory. */
bool vigia__output_init(struct vigia__output *output);
/* After the states it was put into are closed. */
void vigia__output_deinit(struct vigia__output *output);
/* A new piece of work. */
void vigia__output_begin(struct vigia__output *output);
/* 0, or an errno: they were not taken. */
int vigia__output_add(struct vigia__output *output, const void *bytes, size_t len);
/* Write all that was added. 0, or an errno: what is not written is kept. */
int vigia__output_flush(struct vigia__output *output);
/* What is to be said of the errno. */
const char *vigia__output_problem(int number, char *out, size_t size);
/* `print`, io.stdout, io.output() and their flush and setvbuf are this output's from now on; what starts or ends a
 * program writes it first. The standard libraries are loaded. [-0, +0, m] */
void vigia__output_install(lua_State *L, struct vigia__output *output);
/* Did the reader of the standard output leave, which ends the program (vigia__ends_with_output)? Any thread. */
bool vigia__output_gone(void);

#endif
