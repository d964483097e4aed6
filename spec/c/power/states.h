/*
 * states.h - from a record to every state that a power loss could leave.
 *
 * The model is a disk that does the worst of what it may:
 *   - A write may have reached the disk from its beginning on: all of it, none of it, or any of its sectors of 512
 *     bytes, each whole.
 *   - It is there for sure once a sync of that file has succeeded that began after the write's end. A write through
 *     O_DSYNC is there for sure once it has succeeded, but no other write with it.
 *   - Of several writes to one sector the disk has one, or what was there before.
 *   - A file's size may lag behind its bytes, or run ahead of them (then there are zeros).
 *   - A name is there for sure once the folder was synced.
 *   - A write or sync that failed leaves what it concerned on the disk or not, and no later sync brings it there: the
 *     page cache takes it for clean. Only what is written again is.
 *   - Files that nothing ever syncs (the lock file and the side file) hold anything: nothing, zeros, what they held at
 *     the end, that with its words in another order, random bytes.
 *
 * A state has a name, "P.K": the loss comes behind record P, and K numbers what is possible there; the same record
 * gives the same states.
 */
#ifndef VIGIA_SPEC_POWER_STATES_H
#define VIGIA_SPEC_POWER_STATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "facts.h"
#include "record.h"

struct history; /* a record, taken apart */

struct history *history_read(const char *path, uint64_t folder_ino);
void history_free(struct history *history);
/* How many places there are where the power may fail: 1 .. this. */
unsigned history_places(const struct history *history);
/* How many states are systematic at a place; from there on they are random ones, without end. 0: nothing changed since
 * the place before. */
unsigned history_states(struct history *history, unsigned place);
/* The share of a place among others when not all states are looked at: by how many there are, and more where a call
 * failed. */
unsigned history_weight(struct history *history, unsigned place);
/* Take in the facts up to a place, beyond those up to an earlier one (0: none). */
void history_facts(const struct history *history, unsigned from, unsigned to, struct facts *facts);
/* All records that are no file's, up to a place: what a second record begins with. */
bool history_copy_marks(const struct history *history, unsigned upto, int fd);

/* One file as the loss left it. */
struct left {
	char name[64];
	uint8_t *bytes; /* owner: the history; until the next state is built */
	size_t size;
	uint64_t ino;
	bool hint; /* never synced */
};
enum { LEFT_MAX = 16 };

/* The files of a state. Answers how many; *hash differs where they do. */
unsigned history_state(struct history *history, unsigned place, unsigned k, struct left left[LEFT_MAX], uint64_t *hash);

#endif
