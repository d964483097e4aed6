/*
 * iterator.h - where a read starts, and the number this means in a store with given bounds. Pure values.
 */
#ifndef VIGIA_CORE_ITERATOR_H
#define VIGIA_CORE_ITERATOR_H

#include "vigia.h"

struct vigia_iterator vigia__iterator_after(uint64_t seq_num);
bool vigia__iterator_equal(struct vigia_iterator a, struct vigia_iterator b);

/* Turn trim horizon and latest into after(N). At and after are returned unchanged. `oldest` is 0 in a store without
 * events. */
struct vigia_iterator vigia__iterator_resolve(struct vigia_iterator it, uint64_t oldest, uint64_t latest);

/* The first number that a resolved iterator includes: 1 for at(0). Saturates. */
uint64_t vigia__iterator_first(struct vigia_iterator it);

/* "after_sequence_number(5)", "trim_horizon()". Writes at most size bytes. Returns out. */
const char *vigia__iterator_format(struct vigia_iterator it, char *out, size_t size);

/* The command line's form: trim_horizon, latest, at:N, after:N. 0, or EINVAL saying what is allowed. */
int vigia__iterator_parse(const char *text, struct vigia_iterator *out, struct vigia_error *err);

#endif
