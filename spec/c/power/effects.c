/*
 * effects.c - workloads of transactional watchers and of dead letters, and whether each effect and letter is there
 * once.
 */
#include "effects.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "steps.h"
#include "workloads.h"

/* ---- the watcher ---- */

enum { WRITER = 1, ATTEMPTS = 2 };

static int add_one(struct vigia_transaction *tx, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia_key key = {.is_integer = true, .integer = (int64_t)seq_num};
	struct vigia_msgpack_value before = {0};
	struct vigia_slice value;
	struct vigia_buffer *buffer = vigia_buffer_new();
	int rc = vigia_transaction_get(tx, "effects", &key, &value, err);
	if (rc == VIGIA_OK) rc = vigia_msgpack_next(&value, &before, err);
	vigia_msgpack_integer(buffer, before.integer + 1);
	if (rc >= 0) rc = vigia_msgpack_end(buffer, &value, err);
	if (rc >= 0) rc = vigia_transaction_put(tx, "effects", &key, value, err);
	vigia_buffer_free(buffer);
	return rc;
}

/* Fails after its effects. */
static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	static uint8_t object[EVENT_BYTES_MAX];
	unsigned writer = attempt->dead_letter ? EFFECT_OF_LETTER : EFFECT_OUTPUT, from, number;
	check(event_of(event->object.data, event->object.len, &from, &number), "the handler's event", NULL);
	if (attempt->tx) {
		struct vigia_new_event output = {
			{"CREATE", 6}, {"Out", 3}, {(char *)object, event_object(writer, number, object)}};
		told("try %u %u 1", writer, number);
		int rc = add_one(attempt->tx, event->seq_num, err);
		if (rc == VIGIA_OK) rc = vigia_transaction_append(attempt->tx, &output, 1, NULL, err);
		check(rc == VIGIA_OK, "an effect", err);
	}
	if (attempt->dead_letter == NULL) told("handled w %llu", (unsigned long long)event->seq_num);
	return effect_fails(number) && attempt->dead_letter == NULL ? VIGIA_EHANDLER : VIGIA_OK;
}

struct watching {
	struct vigia_store *store;
	struct vigia_registry *registry;
	struct vigia_watcher *watcher;
};

static struct watching watch(struct vigia_store *store, bool transactional, size_t batch)
{
	struct vigia_handler handler = {.size = sizeof handler, .handle = handle};
	struct vigia_watch_options options;
	struct vigia_error err = {0};
	struct vigia_slice type = type_of(WRITER);
	struct watching w = {.store = store, .registry = vigia_registry_new(store)};
	vigia_watch_options_init(&options);
	options.filter = (struct vigia_filter){.object_types = &type, .object_types_count = 1};
	options.batch_size = (int64_t)batch;
	options.transactional = transactional;
	options.retry_strategy = VIGIA_RETRY_DEAD_LETTER;
	options.max_retries = ATTEMPTS;
	options.initial_backoff_ns = 0;
	told("effects w %u %d", WRITER, transactional);
	check(vigia_registry_watch(w.registry, "w", &handler, &options, &w.watcher, &err) == VIGIA_OK, "watch", &err);
	return w;
}

/* Until there is nothing to do; what was saved is told. */
static void step(struct watching *w)
{
	struct vigia_watcher_stats before, after;
	struct vigia_error err = {0};
	vigia_watcher_stats(w->watcher, &before);
	for (int rc = VIGIA_OK; rc == VIGIA_OK; before = after) {
		rc = vigia_registry_step(w->registry, 0, &err);
		check(rc >= 0, "step", &err);
		vigia_watcher_stats(w->watcher, &after);
		if (after.has_checkpoint && after.checkpoint != before.checkpoint)
			told("saved w %llu", (unsigned long long)after.checkpoint);
	}
}

static void end(struct watching *w)
{
	struct vigia_watcher_stats stats;
	struct vigia_error err = {0};
	check(vigia_registry_stop(w->registry, 10000000000, &err) == VIGIA_OK, "stop", &err);
	vigia_watcher_stats(w->watcher, &stats);
	told("saved w %llu", (unsigned long long)stats.checkpoint);
	vigia_registry_free(w->registry);
}

static void ask(struct watching *w, uint64_t seq_num)
{
	struct vigia_error err = {0};
	told("ask w %llu", (unsigned long long)seq_num);
	check(vigia_dead_letter_retry(w->store, "w", seq_num, NULL, &err) == VIGIA_OK, "retry", &err);
	told("asked w %llu", (unsigned long long)seq_num);
}

static void drop(struct watching *w, uint64_t seq_num)
{
	struct vigia_error err = {0};
	told("drop w %llu", (unsigned long long)seq_num);
	check(vigia_dead_letter_drop(w->store, "w", seq_num, NULL, &err) == VIGIA_OK, "drop", &err);
	told("dropped w %llu", (unsigned long long)seq_num);
}

struct letters {
	uint64_t seq_nums[64];
	bool retry[64];
	unsigned count;
};

static int add_letter(void *ctx, const struct vigia_dead_letter *letter)
{
	struct letters *letters = ctx;
	if (letters->count == 64) return 77;
	letters->retry[letters->count] = letter->retry;
	letters->seq_nums[letters->count++] = letter->seq_num;
	return VIGIA_OK;
}

static struct letters letters_of(struct watching *w)
{
	struct letters letters = {.count = 0};
	check(vigia_dead_letters(w->store, "w", 0, add_letter, &letters, NULL) == VIGIA_OK, "letters", NULL);
	return letters;
}

/* The first letter is handled again, the second is dropped, the third is asked for and left. */
static void settle(struct watching *w, bool transactional)
{
	struct letters letters = letters_of(w);
	check(letters.count >= 3, "three letters", NULL);
	ask(w, letters.seq_nums[0]);
	drop(w, letters.seq_nums[1]);
	step(w);
	check(letters_of(w).count == letters.count - 2, "a letter that was handled goes", NULL);
	/* Without a transaction the letter's end waits for another commit. */
	if (transactional) told("settled w %llu", (unsigned long long)letters.seq_nums[0]);
	ask(w, letters.seq_nums[2]);
}

static int run(bool transactional)
{
	struct vigia_store *store = open_store();
	struct watching w = watch(store, transactional, 4);
	unsigned number = 1;
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i <= round; i++) append(store, WRITER, number++);
		if (round % 2) transact(store, OUTPUT, (unsigned)round / 2 + 1, 1);
		step(&w);
	}
	settle(&w, transactional);
	end(&w);
	vigia_store_free(store);
	/* Once more: what was asked for is handled by the next owner. */
	store = open_store();
	w = watch(store, transactional, 2);
	step(&w);
	for (int i = 0; i < 4; i++) append(store, WRITER, number++);
	step(&w);
	end(&w);
	vigia_store_free(store);
	return 0;
}

int work_effects(const char *path)
{
	return run(true);
}

int work_letters(const char *path)
{
	return run(false);
}

/* One process appends, the other one watches. */
static int append_some(int count)
{
	struct vigia_store *store = open_store();
	for (int i = 1; i <= count; i++) append(store, WRITER, (unsigned)i);
	vigia_store_free(store);
	return 0;
}

int work_effects_processes(const char *path)
{
	enum { COUNT = 12 };
	int status = 0;
	pid_t child = fork();
	if (child == 0) _exit(append_some(COUNT));
	struct vigia_store *store = open_store();
	struct watching w = watch(store, true, 3);
	for (unsigned outputs = 0; outputs < COUNT;) {
		struct vigia_watcher_stats stats;
		struct vigia_error err = {0};
		step(&w);
		vigia_watcher_stats(w.watcher, &stats);
		outputs = (unsigned)(stats.processed + stats.dead_lettered);
		if (outputs < COUNT) vigia_registry_step(w.registry, 10000000, &err);
	}
	waitpid(child, &status, 0);
	end(&w);
	vigia_store_free(store);
	return status;
}

/* ---- the check ---- */

struct count {
	struct vigia_store *store;
	const struct fact_effects *facts;
	struct letters letters;
	char *why;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static bool complain(struct count *c, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(c->why, c->size, format, args);
	va_end(args);
	return false;
}

static bool count_of(struct count *c, uint64_t seq_num, int64_t *count)
{
	struct vigia_key key = {.is_integer = true, .integer = (int64_t)seq_num};
	struct vigia_msgpack_value value = {0};
	struct vigia_transaction *tx;
	struct vigia_slice bytes;
	struct vigia_error err = {0};
	int rc = vigia_transaction_begin(c->store, &tx, &err);
	if (rc != VIGIA_OK) return complain(c, "no transaction: %s", err.message);
	rc = vigia_transaction_get(tx, "effects", &key, &bytes, &err);
	if (rc == VIGIA_OK) rc = vigia_msgpack_next(&bytes, &value, &err);
	vigia_transaction_free(tx);
	*count = value.integer;
	return rc >= 0 || complain(c, "the effects cannot be read: %s", err.message);
}

static bool event_fits(struct count *c, const struct found *event, unsigned outputs, uint64_t progress)
{
	const struct fact_letter none = {0}, *fact = &none;
	unsigned letters = 0;
	bool retry = false;
	int64_t effects = 0;
	uint64_t n = event->seq_num;
	for (unsigned i = 0; i < c->facts->letters_count; i++)
		if (c->facts->letters[i].seq_num == n) fact = &c->facts->letters[i];
	for (unsigned i = 0; i < c->letters.count; i++) {
		letters += c->letters.seq_nums[i] == n;
		retry |= c->letters.seq_nums[i] == n && c->letters.retry[i];
	}
	if (!count_of(c, n, &effects)) return false;
	if (!c->facts->transactional) { /* what its effects would be is not stored here */
		bool may_be_gone = fact->asking || fact->dropping;
		effects = outputs = n <= progress && letters == 0 && (may_be_gone || !effect_fails(event->number));
	}
	if (effects != outputs)
		return complain(c, "event %" PRIu64 ": %" PRId64 " effects, %u events", n, effects, outputs);
	if (n > progress && effects + letters > 0)
		return complain(c, "event %" PRIu64 " has an effect or a letter, and the checkpoint is %" PRIu64, n, progress);
	if (effects + letters > 1)
		return complain(c, "event %" PRIu64 ": %" PRId64 " effects, %u letters", n, effects, letters);
	if (n <= progress && effects + letters == 0 && !fact->dropping)
		return complain(c, "event %" PRIu64 " has no effect and no letter, and the checkpoint is %" PRIu64, n,
		                progress);
	if (letters > 0 && !effect_fails(event->number)) return complain(c, "event %" PRIu64 " has a letter", n);
	if (effects > 0 && effect_fails(event->number) && !fact->asking && !fact->dropping)
		return complain(c, "event %" PRIu64 " failed, and has an effect", n);
	if (fact->settled && effects == 0) return complain(c, "letter %" PRIu64 " was handled, and has no effect", n);
	if (fact->dropped && letters > 0) return complain(c, "letter %" PRIu64 " was dropped, and is there", n);
	if (fact->asked && letters > 0 && !retry)
		return complain(c, "letter %" PRIu64 " is no longer to be handled again", n);
	return true;
}

bool effects_fit(struct vigia_store *store, const struct facts *facts, const struct found *events, unsigned count,
                 char *why, size_t size)
{
	struct count c = {.store = store, .facts = &facts->effects, .why = why, .size = size};
	struct vigia_error err = {0};
	uint64_t progress = 0;
	if (facts->effects.id[0] == '\0') return true;
	int rc = vigia_checkpoint_get(store, facts->effects.id, &progress, &err);
	if (rc == VIGIA_OK || rc == VIGIA_ENOCHECKPOINT)
		rc = vigia_dead_letters(store, facts->effects.id, 0, add_letter, &c.letters, &err);
	if (rc != VIGIA_OK) return complain(&c, "the letters cannot be read: %s", err.message);
	for (unsigned i = 0; i < count; i++) {
		unsigned outputs = 0;
		if (events[i].writer != facts->effects.writer) continue;
		for (unsigned k = 0; k < count; k++) {
			bool output = events[k].writer == EFFECT_OUTPUT || events[k].writer == EFFECT_OF_LETTER;
			outputs += output && events[k].number == events[i].number;
		}
		if (!event_fits(&c, &events[i], outputs, progress)) return false;
	}
	return true;
}
