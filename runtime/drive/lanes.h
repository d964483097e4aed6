/*
 * lanes.h - what the lanes of a watcher share (contract K3).
 *
 * A lane is a driver (driver.c) that reads all events and handles those whose key is its own. What a lane has finished
 * goes into the ranges here, from which the checkpoint and the ranges above it are saved, in one commit, by whichever
 * lane saves. So lanes may be on different threads, and their number and the key may change between two runs: what is
 * in the ranges is not handled again.
 *
 * The lane of an event is the hash of its key, modulo the number of lanes. The key is a path, read from the bytes, or
 * what a function says. A function is called once for an event, by the lane that comes to it first, and the others
 * learn the answer here. An event whose key is not known, since the function failed, waits until all before it are
 * finished, and all behind it wait for it: it may have any key.
 *
 * Threads: any, but one lane's functions are called by its own thread.
 */
#ifndef VIGIA_DRIVE_LANES_H
#define VIGIA_DRIVE_LANES_H

#include <pthread.h>
#include <stdatomic.h>

#include "../core/filter.h"
#include "../core/path.h"
#include "../core/ranges.h"
#include "../store/state.h"

struct vigia_registry;
struct vigia__backend;
struct vigia__transact;

enum { VIGIA_LANES_MAX = 1024 };

/* Which lane handles an event. */
struct vigia__lane_of {
	uint64_t seq_num;
	uint64_t hash; /* of its key */
	uint32_t lane;
	bool alone; /* its key is not known */
};

struct vigia__lanes {
	atomic_uint refs;
	unsigned count;
	uint64_t window;         /* numbers that a lane may be ahead of the checkpoint */
	char *key_text;          /* of the path */
	struct vigia__path *key; /* NULL: a function says it */
	char id[256];
	pthread_mutex_t mutex;
	pthread_cond_t saved;
	/* under the mutex */
	unsigned owners;                 /* lanes that run */
	int64_t began_at_ns;             /* when the first of them began */
	uint64_t base;                   /* the checkpoint where they began */
	uint64_t epoch;                  /* counts seeks */
	bool sought;                     /* the seek of this epoch is saved */
	struct vigia__ranges finished;   /* with the checkpoint */
	struct vigia__ranges unsaved;    /* of them: not saved yet */
	bool saving;                     /* a lane saves */
	size_t promised;                 /* ranges that lanes are about to add: there is room for them in both */
	struct vigia__lane_of *assigned; /* by a function, in order: [assigned_first, assigned_count) */
	size_t assigned_first, assigned_count, assigned_cap;
	/* Registries of lanes that wait for others; NULL: the lane does not. Any thread may poke one. */
	struct vigia_registry *waits[VIGIA_LANES_MAX];
	uint64_t agreed[VIGIA_LANES_MAX]; /* to the request of this number */
	void (*poke)(struct vigia_registry *registry);
};

/* A lane's own part. */
struct vigia__lane {
	struct vigia__lanes *shared;
	unsigned index;
	uint64_t epoch;             /* its work belongs to this one */
	struct vigia__ranges in_tx; /* handled in the transaction that is open */
	uint64_t not_mine;          /* the handler found that another lane has this event in hand */
	bool waits;                 /* for other lanes */
	size_t promised;            /* its part of those */
};

/* `key`: a path's text, len 0: a function says it. EINVAL, ENOMEM. */
int vigia__lanes_new(const char *id, unsigned count, uint64_t window, struct vigia_slice key,
                     void (*poke)(struct vigia_registry *), struct vigia__lanes **out, struct vigia_error *err);
struct vigia__lanes *vigia__lanes_ref(struct vigia__lanes *lanes);
void vigia__lanes_unref(struct vigia__lanes *lanes); /* NULL is fine */

/* Is this the text of its path, or, of len 0, has it none? */
bool vigia__lanes_keyed_by(const struct vigia__lanes *lanes, struct vigia_slice key);

/* The lane for a key's hash. */
unsigned vigia__lanes_of_hash(const struct vigia__lanes *lanes, uint64_t hash);
/* For a function: the lane of this event is that of `hash`, or, without one, this lane, alone. Returns whether the
 * event is this lane's; another one may have said before whose it is. ENOMEM. */
int vigia__lane_assign(struct vigia__lane *lane, uint64_t seq_num, const uint64_t *hash, bool *mine);

/* Need a function not be asked whose it is? Then *mine says it: another lane may have found it out since the look. */
bool vigia__lane_is_known(struct vigia__lane *lane, uint64_t seq_num, bool *mine);

enum vigia__lane_look {
	VIGIA_LANE_MINE,   /* or, with a function, not known: ask it */
	VIGIA_LANE_OTHERS, /* pass it: another lane handles it, or it is finished */
	VIGIA_LANE_LATER   /* look again when the registry is poked */
};
/* Whose is the event? `bytes`: as it is stored. */
enum vigia__lane_look vigia__lane_look(struct vigia__lane *lane, struct vigia_registry *registry, uint64_t seq_num,
                                       struct vigia_slice bytes);

/* The hash of the key of an event that a lane has in hand. 0: it is not known. */
uint64_t vigia__lane_key_of(struct vigia__lane *lane, uint64_t seq_num, struct vigia_slice event);
/* Does this lane handle the letter of an event again? `key`: that hash, when it became a letter. */
bool vigia__lane_has_letter(const struct vigia__lane *lane, uint64_t key, struct vigia_slice event);

/* Before an event is handled: room to note it. Without memory it is not to be handled: its effects could be there
 * twice, or hold back the checkpoint. `anew`: nothing that was handled before waits to be noted. ENOMEM. */
int vigia__lane_reserve(struct vigia__lane *lane, bool anew);
/* first..last are finished, but for what belongs to an earlier epoch. Wakes lanes that wait. 0 or ENOMEM: they are
 * handled again after a restart. */
int vigia__lane_finish(struct vigia__lane *lane, uint64_t first, uint64_t last);
/* After a commit with the ranges of `saved`. */
int vigia__lane_saved(struct vigia__lane *lane, const struct vigia__ranges *saved);
/* The checkpoint that the lanes have come to. */
uint64_t vigia__lanes_checkpoint(struct vigia__lanes *lanes);

/* ---- lanes_save.c: saving ---- */

/* The lane begins: the first one owns the id for all, and reads what is stored. *checkpoint: where it begins; with
 * `begins` that is stored nowhere, and it is where the watcher begins. EOWNED, or the errors of a read. */
int vigia__lane_begin(struct vigia__lane *lane, struct vigia__backend *b, uint64_t start, uint64_t *checkpoint,
                      struct vigia_error *err);
/* The lane has stopped. The last one gives up the id. */
void vigia__lane_end(struct vigia__lane *lane, struct vigia__backend *b);
/* Save what all lanes have finished. Blocks while another lane does. */
int vigia__lane_save(struct vigia__lane *lane, struct vigia__backend *b, struct vigia_error *err);
/* Is all of `ranges` in what is stored? VIGIA_OK, VIGIA_NONE: no, or why that is not known. */
int vigia__lane_is_stored(struct vigia__lane *lane, struct vigia__backend *b, const struct vigia__ranges *ranges,
                          struct vigia_error *err);
/* A seek of all lanes begins: what they finish from now on does not count before they have saved it. */
void vigia__lanes_seek(struct vigia__lanes *lanes);
/* Save the seek to this number, once for all lanes. From then on the lane's work counts again. */
int vigia__lane_save_seek(struct vigia__lane *lane, struct vigia__backend *b, uint64_t seq_num,
                          struct vigia_error *err);

/* What a commit adds. */
struct vigia__lane_commit {
	struct vigia__lanes *shared;
	uint64_t epoch;
	const struct vigia__ranges *ranges; /* NULL: a seek to `checkpoint` */
	uint64_t checkpoint;                /* out: that of the watcher */
};
/* Let `transact` do it, and move the watcher's checkpoint, in the same commit. */
void vigia__lane_commit_with(struct vigia__lane_commit *commit, struct vigia__transact *transact);

/* ---- requests from outside ---- */

/* The lane agrees to the request of this number. Do all that run? */
bool vigia__lane_agree(struct vigia__lane *lane, uint64_t number);
/* A seek that is part of another commit. From begin to end no lane saves. `done`: it is stored. Then all lanes are
 * behind. */
struct vigia__lane_seek {
	struct vigia__lane_commit commit;
};
void vigia__lane_seek_begin(struct vigia__lane *lane, struct vigia__lane_seek *seek, uint64_t seq_num,
                            struct vigia__transact *transact);
void vigia__lane_seek_end(struct vigia__lane *lane, struct vigia__lane_seek *seek, bool done);
/* Has a seek of all lanes been stored that this one has not made? Then *seq_num is where it went. */
bool vigia__lane_is_behind(struct vigia__lane *lane, uint64_t *seq_num);

#endif
