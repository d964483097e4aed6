/*
 * side_private.h - for side.c and owner.c: the layout of the side file, shown in side.h.
 */
#ifndef VIGIA_STORE_SIDE_PRIVATE_H
#define VIGIA_STORE_SIDE_PRIVATE_H

#include <stddef.h>
#include <sys/types.h>

#include "elder.h"
#include "journal_words.h"
#include "rows.h"
#include "wake.h"
#include "wants.h"

enum {
	SIDE_BYTES_1 = 32768, /* beside a store of format 1 */
	SIDE_BYTES = 49152 + sizeof(struct vigia__row_table),
	OWNERS = 1024,
	USERS = VIGIA_ROW_USERS,
	LOCK_MAKING = 0,
	LOCK_COLLECTING = 1,
	LOCK_USING = 2,
	LOCK_TIMERS = 3,
	LOCK_USERS = 1024,
	LOCK_ROWS = 4096
};

struct vigia__side_map {
	char magic[8];
	uint32_t format;
	uint32_t size;
	uint8_t id[16];
	_Atomic uint32_t settings;
	uint32_t reserved0;
	_Atomic uint64_t dev, ino;
	_Atomic uint64_t tried;
	_Atomic uint32_t few_words[VIGIA_WAKE_FEW];
	_Atomic uint64_t collect_at;
	_Atomic uint32_t collect_word;
	_Atomic uint32_t letter_requests;
	struct vigia__elder elder;
	struct vigia__outcomes outcomes;
	uint8_t reserved2[480 - 352 - sizeof(struct vigia__outcomes)];
	_Atomic uint32_t timers;
	_Atomic uint32_t steer_requests;
	uint8_t reserved6[512 - 488];
	struct vigia__journal_words journal;
	uint8_t reserved3[512 - sizeof(struct vigia__journal_words)];
	struct owner {
		_Atomic uint64_t hash;
		_Atomic int32_t pid;
		_Atomic uint32_t space;
	} owners[OWNERS];
	struct user {
		_Atomic int32_t pid;
		_Atomic uint32_t space; /* the pid's namespace; 0: not known */
	} users[USERS];
	uint8_t reserved4[20480 - 17408 - USERS * sizeof(struct user)];
	struct vigia__wants wants;
	uint8_t reserved5[SIDE_BYTES_1 - 20480 - sizeof(struct vigia__wants)];
	/* not in that of format 1: */
	_Atomic uint32_t words[VIGIA_WAKE_WORDS];
	struct vigia__row_table rows;
};
_Static_assert(offsetof(struct vigia__side_map, tried) == 56, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, elder) == 336, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, outcomes) == 352, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, timers) == 480, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, steer_requests) == 484, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, journal) == 512, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, owners) == 1024, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, users) == 17408, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, wants) == 20480, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, words) == SIDE_BYTES_1, "the layout drawn in side.h");
_Static_assert(offsetof(struct vigia__side_map, rows) == 49152, "the layout drawn in side.h");
_Static_assert(sizeof(struct vigia__side_map) == SIDE_BYTES, "the layout drawn in side.h");

/* owner.c: an id's hash, and the byte that whoever runs it has locked. */
uint64_t vigia__owner_hash(const char *id);
off_t vigia__owner_byte(uint64_t hash);
/* The number of this process's PID namespace. 0: unknown. */
uint32_t vigia__side_pid_space(void);
/* Format " (pid 12)", or "" if it is unknown. Returns out. */
const char *vigia__side_pid_text(char *out, size_t size, int32_t pid, uint32_t space);
/* Set and return EPERM, EDISKFULL, ENOMEM or EIO, by errno. */
int vigia__side_error(struct vigia_error *err, const char *what, const char *path);

#endif
