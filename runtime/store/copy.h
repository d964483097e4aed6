/*
 * copy.h - the events of one log in another, each once (contract P6).
 *
 * The target has, in its bucket "vigia.copied", under the source's id the number of the last event that was copied. It
 * changes in the same commit as the events behind it are stored. So a copy that was killed, or whose commit is in
 * doubt, looks there and goes on, and two at the same time disturb each other only.
 *
 * Into an empty target it is an import of an export (transfer.h), with numbers, times and what is beside the events but
 * timers, whose events come when they are due. What an unfinished one has stored of events is not copied again. Into
 * any other, and from then on, events are appended.
 */
#ifndef VIGIA_STORE_COPY_H
#define VIGIA_STORE_COPY_H

#include "transfer.h"

#define VIGIA_COPIED "vigia.copied"

struct vigia__copy {
	struct vigia_store *from, *to;
	bool merge;        /* append to an empty target, too */
	bool anew;         /* remove what an unfinished copy has stored, and begin again */
	bool skip_removed; /* go on behind events that were removed before they were copied */
	bool follow;       /* wait for further events, until it is cancelled */
	/* Its progress: of the source the first event that was copied by this call, the one that was copied last, and the
	 * last one there is. */
	const struct vigia__transfer_watch *watch;
	const struct vigia__cancel *cancel; /* ends the wait for an event */
	/* out, after an error too */
	bool whole;      /* the target was empty */
	uint64_t events; /* copied by this call */
	uint64_t at;     /* the last one that is copied, 0: none */
	uint64_t skipped;
	uint64_t timers; /* whole: that wait in the source */
};

/* VIGIA_OK: all is copied that was there at the start. EINVAL: they are the same log, or one has no id. EEXPIRED,
 * EDAMAGED: name the event. ECONFLICT, EUNFINISHED, ETOOBIG, EINTERRUPTED, and what reads and commits return. */
int vigia__copy_run(struct vigia__copy *copy, struct vigia_error *err);

#endif
