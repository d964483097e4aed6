/*
 * transfer.h - export and import (contract O5): all that a store holds, as a stream of records, and back.
 *
 * Export reads in slices, each a short transaction, up to the last number at its start. What changes beside the events
 * (checkpoints, timers, dead letters, what lanes have finished) is read at the start, before the last number is, and
 * again if something was committed meanwhile: so it never tells of an event that is not in the export. Buckets and many
 * timers or letters take more slices, and may change between them; `changed` tells.
 *
 * Import marks the store before it stores anything, and removes the mark with the last commit. Each commit in between
 * moves the mark. Until then nothing else is stored, and no watcher starts.
 */
#ifndef VIGIA_STORE_TRANSFER_H
#define VIGIA_STORE_TRANSFER_H

#include "../core/settings.h"
#include "export_stream.h"
#include "store.h"

/* How it tells of itself, and what ends it early. */
struct vigia__transfer_watch {
	int cancel_fd;              /* readable: end. -1: none */
	vigia_transfer_fn progress; /* NULL: none */
	void *ctx;
};

/* As vigia_store_export(). */
int vigia__store_export(struct vigia_store *store, int fd, const struct vigia__transfer_watch *watch,
                        struct vigia_transfer *out, struct vigia_error *err);

/* For a copy (copy.h): the same without timers, and of events those from number `from` on. 0: all. */
int vigia__store_export_copy(struct vigia_store *store, int fd, uint64_t from,
                             const struct vigia__transfer_watch *watch, struct vigia_error *err);

/* An import whose first records were read, which say what store it needs. */
struct vigia__importer {
	struct vigia__export_stream stream;
	struct vigia__settings settings;
	uint64_t first, last, next_timer, first_sum;
	int64_t last_at_ns;
	/* For a copy: set these before it runs. */
	const struct vigia__import_item *mark; /* what the last commit stores, too. NULL: it is no copy */
	uint64_t mark_sum;                     /* in place of the first record's sum */
	bool resumes; /* the store has an unfinished import with that sum: the stream goes on behind its events */
};
/* Read the first records. After an error there is nothing to end. */
int vigia__importer_begin(struct vigia__importer *importer, int fd, int cancel_fd, struct vigia_error *err);
void vigia__importer_end(struct vigia__importer *importer);
/* As vigia_store_import(). Once. */
int vigia__importer_run(struct vigia__importer *importer, struct vigia_store *store, bool anew,
                        const struct vigia__transfer_watch *watch, struct vigia_transfer *out, struct vigia_error *err);

#endif
