/*
 * steps.c - what workloads are made of.
 */
#include "steps.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "facts.h"
#include "store/store_timers.h"
#include "store/timers.h"

/* ---- what the recorder has for us ---- */

void told(const char *format, ...)
{
	char line[128];
	va_list args;
	record_mark_fn *mark;
	*(void **)&mark = dlsym(RTLD_DEFAULT, "power_mark");
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (mark) mark(line);
}

void fault(enum record_fault kind, int n)
{
	record_fault_fn *arm;
	*(void **)&arm = dlsym(RTLD_DEFAULT, "power_fault");
	if (arm) arm((int)kind, n);
}

void check(bool ok, const char *what, const struct vigia_error *err)
{
	if (ok) return;
	fprintf(stderr, "# %s: %s (%s)\n", what, err ? err->message : "", err ? err->cause : "");
	exit(3);
}

/* ---- steps ---- */

const char *file;
enum form form;

struct vigia_store *open_with(const struct vigia_store_options *options)
{
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	int rc = vigia_store_open(file, options, &store, &err);
	check(rc == VIGIA_OK, "open", &err);
	return store;
}

struct vigia_store_options plain(void)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.collect = false;
	options.journal = form == WITH_JOURNAL;
	options.journal_given = form != AS_IT_IS;
	return options;
}

struct vigia_store *open_store(void)
{
	struct vigia_store_options options = plain();
	return open_with(&options);
}

struct vigia_slice type_of(unsigned writer)
{
	return writer == OUTPUT ? (struct vigia_slice){"Out", 3} : (struct vigia_slice){"Job", 3};
}

int append_to(struct vigia_store *store, unsigned writer, unsigned number, unsigned count, bool key)
{
	static _Thread_local uint8_t objects[40][EVENT_BYTES_MAX];
	struct vigia_new_event events[40];
	struct vigia_error err = {0};
	struct vigia_append_options options = {.size = sizeof options};
	char name[32];
	uint64_t seq_num = 0;
	for (unsigned i = 0; i < count; i++)
		events[i] = (struct vigia_new_event){
			{"CREATE", 6}, type_of(writer), {(char *)objects[i], event_object(writer, number + i, objects[i])}};
	snprintf(name, sizeof name, "k%u-%u", writer, number);
	if (key) options.key = (struct vigia_slice){name, strlen(name)};
	told("try %u %u %u%s", writer, number, count, key ? " key" : "");
	int rc = vigia_store_append_with(store, events, count, &options, &seq_num, NULL, &err);
	if (rc == VIGIA_OK && seq_num == 0) told("queue %u %u %u", writer, number, count);
	else if (rc == VIGIA_OK) told("ack %u %u %u %llu", writer, number, count, (unsigned long long)seq_num);
	else told("%s %u %u %u", rc == VIGIA_EUNKNOWN ? "unknown" : "nack", writer, number, count);
	return rc;
}

struct transact {
	unsigned writer, number, count;
};

static int transact_in(void *ctx, struct vigia_transaction *tx, struct vigia_error *err)
{
	static _Thread_local uint8_t objects[40][EVENT_BYTES_MAX];
	const struct transact *t = ctx;
	struct vigia_new_event events[40];
	struct vigia_key key = {.is_integer = true, .integer = t->writer};
	struct vigia_msgpack_value before = {0};
	struct vigia_slice value;
	struct vigia_buffer *buffer = vigia_buffer_new();
	for (unsigned i = 0; i < t->count; i++)
		events[i] = (struct vigia_new_event){{"CREATE", 6},
		                                     type_of(t->writer),
		                                     {(char *)objects[i], event_object(t->writer, t->number + i, objects[i])}};
	int rc = vigia_transaction_get(tx, "last", &key, &value, err);
	if (rc == VIGIA_OK) rc = vigia_msgpack_next(&value, &before, err);
	check(before.integer == t->number - 1, "the bucket's number", err);
	vigia_msgpack_integer(buffer, t->number + t->count - 1);
	if (rc >= 0) rc = vigia_msgpack_end(buffer, &value, err);
	if (rc >= 0) rc = vigia_transaction_put(tx, "last", &key, value, err);
	if (rc >= 0) rc = vigia_transaction_append(tx, events, t->count, NULL, err);
	vigia_buffer_free(buffer);
	return rc;
}

void transact(struct vigia_store *store, unsigned writer, unsigned number, unsigned count)
{
	struct transact t = {writer, number, count};
	struct vigia_transaction *tx;
	struct vigia_error err = {0};
	uint64_t first, last;
	told("counts %u", writer);
	told("try %u %u %u", writer, number, count);
	int rc = vigia_transaction_begin(store, &tx, &err);
	if (rc == VIGIA_OK) rc = transact_in(&t, tx, &err);
	if (rc == VIGIA_OK) rc = vigia_transaction_commit(tx, &err);
	check(rc == VIGIA_OK, "transaction", &err);
	vigia_transaction_numbers(tx, 0, &first, &last);
	vigia_transaction_free(tx);
	told("ack %u %u %u %llu", writer, number, count, (unsigned long long)first);
}

void append(struct vigia_store *store, unsigned writer, unsigned number)
{
	check(append_to(store, writer, number, 1, false) == VIGIA_OK, "append", NULL);
}

static unsigned now_tick;

static int64_t hand(void *ctx)
{
	return fact_time(*(const unsigned *)ctx);
}

struct vigia_store *open_by_hand(void)
{
	struct vigia_store *store = open_store();
	struct vigia_error err = {0};
	vigia__timers_drop(store->backend); /* with its thread */
	store->backend->wall = hand;
	store->backend->wall_ctx = &now_tick;
	check(vigia__timers_add(store->backend, &err) == VIGIA_OK, "timers", &err);
	return store;
}

void schedule(struct vigia_store *store, unsigned writer, unsigned number, unsigned tick)
{
	static uint8_t object[EVENT_BYTES_MAX];
	struct vigia_error err = {0};
	struct vigia_new_event event = {
		{"CREATE", 6}, type_of(writer), {(char *)object, event_object(writer, number, object)}};
	told("later %u %u %u", writer, number, tick);
	check(vigia_schedule(store, fact_time(tick), &event, NULL, NULL, NULL, NULL, &err) == VIGIA_OK, "schedule", &err);
	told("waits %u %u", writer, number);
}

void tick(struct vigia_store *store, unsigned process, unsigned tick)
{
	struct vigia_error err = {0};
	told("tick %u %u", process, tick);
	now_tick = tick;
	check(vigia__store_run_timers(store, &err) == VIGIA_OK, "store what is due", &err);
	told("ticked %u %u", process, tick);
}

void put(struct vigia_store *store, const char *id, uint64_t seq_num)
{
	struct vigia_error err = {0};
	told("put %s %llu", id, (unsigned long long)seq_num);
	check(vigia_checkpoint_put(store, id, seq_num, &err) == VIGIA_OK, "checkpoint", &err);
	told("saved %s %llu", id, (unsigned long long)seq_num);
}

void trim(struct vigia_store *store, uint64_t upto)
{
	struct vigia_error err = {0};
	told("trim %llu", (unsigned long long)upto);
	check(vigia_store_trim(store, upto, NULL, &err) == VIGIA_OK, "trim", &err);
	told("trimmed %llu", (unsigned long long)upto);
}

void configure(struct vigia_store *store, int64_t size)
{
	struct vigia_store_options changes;
	struct vigia_error err = {0};
	vigia_store_options_init(&changes);
	changes.max_event_size_bytes = size;
	changes.max_event_size_given = true;
	told("set %lld", (long long)size);
	check(vigia_store_configure(store, &changes, &err) == VIGIA_OK, "configure", &err);
	told("changed %lld", (long long)size);
}

void become(struct vigia_store *store, int durability)
{
	struct vigia_store_options changes;
	struct vigia_error err = {0};
	vigia_store_options_init(&changes);
	changes.durability = durability;
	changes.commit_interval_ns = INT64_C(3600) * 1000000000;
	changes.durability_given = changes.commit_interval_given = true;
	check(vigia_store_configure(store, &changes, &err) == VIGIA_OK, "durability", &err);
}

int elsewhere(int (*run)(int arg), int arg)
{
	int status;
	pid_t child = fork();
	if (child == 0) _exit(run(arg));
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}
