/*
 * poller.h - a helper thread that turns a changed wake word into a readable descriptor, for loops that poll: that of an
 * application with a registry, and the server's. All but ring is called by one thread.
 */
#ifndef VIGIA_DRIVE_POLLER_H
#define VIGIA_DRIVE_POLLER_H

#include "../store/backend.h"
#include "../store/wake.h"

struct vigia__poller;

int vigia__poller_new(struct vigia__backend *backend, struct vigia__poller **out, struct vigia_error *err);
void vigia__poller_free(struct vigia__poller *poller); /* NULL is fine */
int vigia__poller_fd(struct vigia__poller *poller);
/* Readable at once, until the next round. Any thread. */
void vigia__poller_ring(struct vigia__poller *poller);
/* A round begins: not readable until armed again. */
void vigia__poller_clear(struct vigia__poller *poller);
/* A round ended: readable when a word of `listen` changes or the monotonic time comes (0: at once, INT64_MAX:
 * never). */
void vigia__poller_arm(struct vigia__poller *poller, const struct vigia__listen *listen, uint64_t commits,
                       int64_t due_mono_ns);

#endif
