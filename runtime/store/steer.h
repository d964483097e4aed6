/*
 * steer.h - the records by which watchers are steered from outside (contract O2), in the ordered map of bytes that
 * buckets are in (state.h).
 *
 *     'p' watcher id                      -> sum u64: the watcher is paused
 *     'q' watcher id, zero byte, number   -> struct of the sum, what is asked for, and what became of it
 *     'q' watcher id, zero byte, 0        -> the same struct: `seq_num` is the number of the request that was answered
 * last Numbers in keys have 8 bytes, big-endian; all others are in native byte order. A request's number is the time
 * when it was made, or the next number, so that none is given again.
 *
 * A request is carried out by the owner of the watcher, which writes the answer into it. Who asked removes it. One
 * whose time is over is not carried out: who asked may be dead.
 *
 * Functions return 0, VIGIA_NONE where that is said, a Vigia code, or the backend's error as it is.
 */
#ifndef VIGIA_STORE_STEER_H
#define VIGIA_STORE_STEER_H

#include "state.h"

enum vigia__steer_kind { VIGIA_STEER_SEEK = 1, VIGIA_STEER_PAUSE, VIGIA_STEER_RESUME, VIGIA_STEER_RETRY };

struct vigia__steer {
	uint64_t number;
	enum vigia__steer_kind kind;
	bool answered;
	int32_t code;        /* answered: VIGIA_OK, or why it was refused, which `text` says */
	uint64_t seq_num;    /* SEEK: to continue after. RETRY, answered: the event */
	int64_t until_at_ns; /* not to be carried out later */
	char text[256];
};

/* "seek", "pause", "resume", "retry". */
const char *vigia__steer_name(enum vigia__steer_kind kind);

/* Give it a number, and keep it. Removes those of this watcher whose time has long been over. */
int vigia__steer_add(struct vigia__kv *kv, struct vigia_slice watcher_id, int64_t now_ns, struct vigia__steer *steer);
/* VIGIA_NONE: it is not there, or damaged. */
int vigia__steer_get(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t number, struct vigia__steer *out);
/* Set it, in place of the one with its number. */
int vigia__steer_put(struct vigia__kv *kv, struct vigia_slice watcher_id, const struct vigia__steer *steer);
/* Set the answer, and note that it is the last one. */
int vigia__steer_answer(struct vigia__kv *kv, struct vigia_slice watcher_id, const struct vigia__steer *steer);
/* The number of the request that was answered last, 0: none was. */
int vigia__steer_answered(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t *number);
/* VIGIA_NONE: it is not there. */
int vigia__steer_remove(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t number);
/* The first one that is to be carried out now. VIGIA_NONE: there is none. */
int vigia__steer_next(struct vigia__kv *kv, struct vigia_slice watcher_id, int64_t now_ns, struct vigia__steer *out);

/* A damaged record is a pause, too. */
int vigia__pause_get(struct vigia__kv *kv, struct vigia_slice watcher_id, bool *paused);
int vigia__pause_set(struct vigia__kv *kv, struct vigia_slice watcher_id, bool paused);

/* Remove all of this watcher. */
int vigia__steer_forget(struct vigia__kv *kv, struct vigia_slice watcher_id);
/* Call fn for each watcher that is paused (steer NULL), then for each request. */
int vigia__steer_each(struct vigia__kv *kv,
                      void (*fn)(void *ctx, struct vigia_slice watcher_id, const struct vigia__steer *steer),
                      void *ctx);
/* Look at all records. `found` is told of each fault. */
int vigia__steer_verify(struct vigia__kv *kv, void (*found)(void *ctx, const char *text), void *ctx);

#endif
