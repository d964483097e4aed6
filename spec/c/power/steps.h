/*
 * steps.h - what workloads are made of: each step does one thing to the store, and marks what it tries and is told
 * (facts.h). A step that should go well and does not ends the process.
 */
#ifndef VIGIA_SPEC_POWER_STEPS_H
#define VIGIA_SPEC_POWER_STEPS_H

#include <stdbool.h>
#include <stdint.h>

#include "record.h"
#include "store/store.h"
#include "vigia.h"
#include "workloads.h"

extern const char *file; /* the store's */
extern enum form form;

/* What the recorder has for us. */
__attribute__((format(printf, 1, 2))) void told(const char *format, ...);
void fault(enum record_fault kind, int n);

void check(bool ok, const char *what, const struct vigia_error *err);

struct vigia_store *open_with(const struct vigia_store_options *options);
struct vigia_store_options plain(void);
struct vigia_store *open_store(void);

enum { OUTPUT = 50 }; /* the writer of what a handler stores */
struct vigia_slice type_of(unsigned writer);

/* It may fail: what append_with() says. */
int append_to(struct vigia_store *store, unsigned writer, unsigned number, unsigned count, bool key);
/* By a transaction, which also reads and sets the number of the last event in a bucket. */
void transact(struct vigia_store *store, unsigned writer, unsigned number, unsigned count);
void append(struct vigia_store *store, unsigned writer, unsigned number);
/* A store whose time of day is a tick that this process sets. It has no thread. */
struct vigia_store *open_by_hand(void);
void schedule(struct vigia_store *store, unsigned writer, unsigned number, unsigned tick);
void tick(struct vigia_store *store, unsigned process, unsigned tick);
void put(struct vigia_store *store, const char *id, uint64_t seq_num);
void trim(struct vigia_store *store, uint64_t upto);
void configure(struct vigia_store *store, int64_t size);
void become(struct vigia_store *store, int durability);

/* In a process of its own; its exit status, or 256 + the signal that killed it. */
int elsewhere(int (*run)(int arg), int arg);

#endif
