/*
 * record.h - the record of a workload: what it did to its files and what it was told, in order. The recorder writes it,
 * states.c reads it.
 *
 * A file of records, each appended by one write, so that several processes share it. A call that takes time has two
 * records, its beginning and its end, tied by `id`: what a call wrote may be on the disk from its beginning on, and is
 * there for sure once a sync that began after its end has ended.
 */
#ifndef VIGIA_SPEC_POWER_RECORD_H
#define VIGIA_SPEC_POWER_RECORD_H

#include <stdint.h>

enum record_kind {
	RECORD_FILE = 1,  /* was there before: `ino`, payload: name, NUL, content */
	RECORD_NAME,      /* a name now leads to `ino`; payload: the name */
	RECORD_RENAME,    /* a new name now leads to `ino`; payload: old name, NUL, new name */
	RECORD_UNLINK,    /* payload: the name */
	RECORD_WRITE,     /* `ino`, at `a`; payload: the bytes; `b`: on a descriptor of O_DSYNC */
	RECORD_WRITE_END, /* `a`: how many bytes were written, < 0: it failed; `b`: how many are in the page cache */
	RECORD_SIZE,      /* `ino` has `a` bytes now; `b`: a larger size stays */
	RECORD_SYNC,      /* of `ino`, a file or the folder */
	RECORD_SYNC_END,  /* `a`: 0, or it failed */
	RECORD_MARK       /* payload: a line for facts.c */
};

struct record {
	uint32_t bytes; /* with this head */
	uint32_t kind;
	uint64_t ino, id;
	int64_t a, b;
};

/* What the recorder is told by its environment. */
#define RECORD_ENV_LOG    "POWER_LOG"    /* the file to write to */
#define RECORD_ENV_FOLDER "POWER_FOLDER" /* whose files are recorded, without a slash at its end */
#define RECORD_ENV_PLANT  "POWER_PLANT"  /* a fault to plant: a word of PLANTS in power.c */

/* What the recorder has for workloads, found by dlsym. */
enum record_fault {
	FAULT_NONE = 0,
	FAULT_META,        /* the n-th write on a descriptor of O_DSYNC fails, though the page cache has it */
	FAULT_META_TWICE,  /* and the write after it fails, too, without the page cache */
	FAULT_META_EARLY,  /* it fails before the page cache has it */
	FAULT_META_KILL,   /* and the process is killed behind the write after it */
	FAULT_META_INSIDE, /* the process is killed inside it: the page cache has it, and it is not synced */
	FAULT_SYNC,        /* the n-th fdatasync fails */
	FAULT_SYNCS,       /* the next n of them fail */
	FAULT_SHORT,       /* the n-th write of any kind takes half of its bytes */
	FAULT_KILL         /* the process is killed behind the n-th write of any kind */
};
typedef void record_mark_fn(const char *text);
typedef void record_fault_fn(int fault, int n);
typedef void record_disk_fn(long long bytes); /* no file of the folder has room beyond so many */

#endif
