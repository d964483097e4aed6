/*
 * output.h - a script's output: collected in a buffer, written to the standard output, and checked before the event
 * counts as handled.
 *
 * `print`, io.stdout and io.write of the script's Lua state write into the buffer. The buffer is written when an event,
 * init, stop or loading ends, before the handler waits or starts another program, when it is large, when the script
 * calls flush, and after a line if nothing was written for a moment. On a terminal after each line. It is written in
 * one piece if the output accepts that. Lines of several scripts of a process are never mixed.
 *
 * If the output accepts nothing now (EAGAIN, a slow reader), a write waits until the watcher must stop. Bytes that
 * cannot be written (a full disk, say) are kept and tried again, so that nothing is printed twice or in part. At most
 * VIGIA_OUTPUT_KEEP bytes are kept. Beyond that the script gets an error, and the event fails even if the script
 * ignores it.
 *
 * An output is used only on the thread of its script.
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
	FILE *file;            /* io.stdout of the script's states. Writes to it are added here */
	enum vigia__output_mode mode;
	int64_t written_ns; /* time of the last write, on a coarse clock */
	int refused;        /* errno if bytes were refused, and lost, since vigia__output_begin() */
	bool owes;  /* some bytes wait elsewhere: the rest of a partly written line in `rest` (output.c), or at the sink */
	bool tired; /* it has waited as long as allowed while its watcher must stop */
	const atomic_bool *stopping, *killed; /* its watcher must stop, or end at once. NULL: never */
	/* Replaces the standard output unless NULL. Returns 0 or an errno. *kept: the bytes were accepted anyway, and are
	 * written later. */
	int (*sink)(const void *bytes, size_t len, bool *kept);
};

/* False: no memory. */
bool vigia__output_init(struct vigia__output *output);
/* Call it after the states that use it are closed. */
void vigia__output_deinit(struct vigia__output *output);
/* Call it before an event, init, stop or loading. */
void vigia__output_begin(struct vigia__output *output);
/* Add bytes. 0, or an errno: they were refused. */
int vigia__output_add(struct vigia__output *output, const void *bytes, size_t len);
/* Write everything added. 0, or an errno: the rest is kept. */
int vigia__output_flush(struct vigia__output *output);
/* The message for such an errno. */
const char *vigia__output_problem(int number, char *out, size_t size);
/* Make `print`, io.stdout, io.output() and their flush and setvbuf use this output. Functions that start or end a
 * program write it first. The standard libraries must be loaded. [-0, +0, m] */
void vigia__output_install(lua_State *L, struct vigia__output *output);
/* Has the reader of the standard output closed it, which ends the program (vigia__ends_with_output)? Any thread. */
bool vigia__output_gone(void);

#endif
