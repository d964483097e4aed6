/*
 * alloc.h - the whole library allocates here, so that tests can make the N-th allocation fail. Any thread. Failure
 * returns NULL and never ends the program.
 */
#ifndef VIGIA_CORE_ALLOC_H
#define VIGIA_CORE_ALLOC_H

#include <stddef.h>

void *vigia__alloc(size_t size);              /* not cleared */
void *vigia__calloc(size_t size);             /* cleared */
void *vigia__realloc(void *ptr, size_t size); /* on failure ptr stays valid */
void vigia__free(void *ptr);                  /* NULL is fine */
char *vigia__strdup(const char *s);

/* Tests only: fail the N-th allocation from now, and each one after it if `forever`. 0 turns it off. */
void vigia__alloc_fail_at(long nth, int forever);

#endif
