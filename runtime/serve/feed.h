/*
 * feed.h - events of the store as text for one client, a piece at a time: lines of JSON, or server-sent events.
 *
 * A feed is a position and a filter. It keeps no transaction and no events between two reads, so a client that reads
 * slowly costs what its piece holds.
 */
#ifndef VIGIA_SERVE_FEED_H
#define VIGIA_SERVE_FEED_H

#include "../core/buf.h"
#include "../core/filter.h"
#include "../store/store.h"

struct vigia__feed {
	struct vigia_iterator next; /* where the next read starts */
	struct vigia__filter *filter;
	uint64_t left;  /* most events that will still be given */
	bool stream;    /* as server-sent events, with a note where events are missing */
	bool at_end;    /* the last read came to the end of the log */
	uint64_t count; /* of events given */
};

enum {
	VIGIA_FEED_EVENTS = 512,      /* of one read at most */
	VIGIA_FEED_BYTES = 64 * 1024, /* and about so much text; one event may be longer */
};

void vigia__feed_deinit(struct vigia__feed *feed);
/* Put the next events behind `out`. VIGIA_OK, also if there are none now. An event that is damaged, or that cannot be
 * shown, is given as an object with its number and "error". */
int vigia__feed_read(struct vigia__feed *feed, struct vigia_store *store, struct vigia_batch *batch,
                     struct vigia__buf *out, struct vigia_error *err);

#endif
