/*
 * message.h - the parameters of one call of the server's function `commit`: appends and checkpoints, all of one commit.
 */
#ifndef VIGIA_STORE_PG_MESSAGE_H
#define VIGIA_STORE_PG_MESSAGE_H

#include "pg_private.h"

enum pg_list {
	VIGIA_PG_COUNTS,
	VIGIA_PG_KEYS,
	VIGIA_PG_IF_LAST,
	VIGIA_PG_NOT_BEFORE,
	VIGIA_PG_TYPES,
	VIGIA_PG_OPS,
	VIGIA_PG_EVENTS,
	VIGIA_PG_IDS,
	VIGIA_PG_DONE,
	VIGIA_PG_EPOCHS,
	VIGIA_PG_ENDS,
	VIGIA_PG_MAPS,
	VIGIA_PG_MAP_KEYS,
	VIGIA_PG_MAP_VALUES,
	VIGIA_PG_LISTS
};

enum { VIGIA_PG_PUT = -1, VIGIA_PG_PUT_FORWARD = -2 }; /* in place of an epoch; FORWARD - epoch: both */

struct pg_message {
	struct pg_backend *b;
	struct pg_array lists[VIGIA_PG_LISTS];
	size_t appends;
	int64_t bytes;                /* of all events */
	bool conditions;              /* a key, if_last, or a time */
	bool strict;                  /* an epoch that does not match fails all */
	struct vigia__wake_set words; /* of all events */
	bool inside;                  /* they are told with the commit, since there is more to tell than words */
	char news[VIGIA_PG_WORDS_TEXT + 4];
};

void vigia__pg_message_begin(struct pg_message *m, struct pg_backend *b);
void vigia__pg_message_end(struct pg_message *m);
bool vigia__pg_message_any(const struct pg_message *m);
/* Stamps the events for the server. */
void vigia__pg_message_append(struct pg_message *m, const struct vigia__append *request);
/* `epoch`: the owner's, or one of the above. */
void vigia__pg_message_checkpoint(struct pg_message *m, const char *id, uint64_t seq_num, int64_t epoch);
/* No checkpoint, but the owner must have this epoch. */
void vigia__pg_message_owner(struct pg_message *m, const char *id, int64_t epoch);
/* Send it once, under the number b->counter. *out: the numbers of the commit. `commits`: with it the server's
 * transaction ends. */
int vigia__pg_message_send(struct pg_message *m, bool commits, PGresult **out, int64_t until_mono_ns,
                           struct vigia_error *err);

/* What the numbers say of append `at` of the message: VIGIA_OK, or ESEQUENCE. */
int vigia__pg_message_result(const PGresult *numbers, size_t at, struct vigia__append *request,
                             struct vigia_error *err);
/* ETOOBIG: the limit was lowered since its events were encoded. */
int vigia__pg_check_sizes(struct pg_backend *b, const struct vigia__append *request, struct vigia_error *err);

#endif
