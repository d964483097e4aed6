/*
 * check.c - one state opened, read, verified and written to. What must hold is in states.h's terms: nothing
 * acknowledged is lost, nothing appears that was not tried, numbers have no hole and are not given twice.
 */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "effects.h"
#include "store/store.h"
#include "store/store_timers.h"
#include "store/timers.h"
#include "store/verify.h"

struct look {
	const struct facts *facts;
	struct vigia_store *store;
	struct found events[8192];
	unsigned count;
	uint64_t latest, oldest;
	char *why;
	size_t size;
	bool bad;
};

__attribute__((format(printf, 2, 3))) static void complain(struct look *look, const char *format, ...)
{
	va_list args;
	if (look->bad) return; /* the first one tells most */
	look->bad = true;
	va_start(args, format);
	vsnprintf(look->why, look->size, format, args);
	va_end(args);
}

/* ---- files ---- */

static void empty(const char *folder)
{
	char path[4096];
	DIR *dir = opendir(folder);
	if (dir == NULL) abort();
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (entry->d_name[0] == '.') continue;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		unlink(path);
	}
	closedir(dir);
}

void check_write(const char *folder, const struct left *left, unsigned count)
{
	char path[4096];
	empty(folder);
	for (unsigned i = 0; i < count; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, left[i].name);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd < 0 || write(fd, left[i].bytes, left[i].size) != (ssize_t)left[i].size) abort();
		close(fd);
	}
}

/* ---- as after a reboot ---- */

static void clock_of_next_boot(struct vigia__clock *out)
{
	vigia__clock_now(out);
	out->boot_id ^= 0x5a5a5a5a;
	if (out->boot_id == 0) out->boot_id = 1;
	out->boot_ns = 1000000000;
}

/* The room that the library keeps behind the end of a file is in no state, and to make it ready and take it away again
 * was a fifth of the work. By the linker (--wrap): what the recorder notes of a workload goes through here. */
static bool looks;
int __real_fallocate(int fd, int mode, off_t at, off_t len);
int __wrap_fallocate(int fd, int mode, off_t at, off_t len);

int __wrap_fallocate(int fd, int mode, off_t at, off_t len)
{
	return looks && (mode & FALLOC_FL_KEEP_SIZE) ? 0 : __real_fallocate(fd, mode, at, len);
}

static struct vigia_store *open_at(struct look *look, const char *path, bool create)
{
	struct vigia_store_options options;
	struct vigia_error err = {0};
	struct vigia_store *store = NULL;
	vigia_store_options_init(&options);
	options.collect = false;
	options.create = create;
	if (vigia_store_open(path, &options, &store, &err) < 0) {
		complain(look, "it does not open: %s (%s)", err.message, err.cause);
		return NULL;
	}
	store->backend->clock = clock_of_next_boot;
	return store;
}

/* ---- events ---- */

static void read_all(struct look *look)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_read request = {.size = sizeof request, .from = {VIGIA_TRIM_HORIZON, 0}};
	struct vigia_iterator next;
	struct vigia_error err = {0};
	look->count = 0;
	for (size_t got = 1; got > 0 && !look->bad; request.from = next) {
		if (vigia_store_read(look->store, &request, batch, &next, &err) < 0) {
			complain(look, "it cannot be read: %s (%s)", err.message, err.cause);
			break;
		}
		got = vigia_batch_count(batch);
		for (size_t i = 0; i < got && !look->bad; i++) {
			struct vigia_event event;
			struct found *found = &look->events[look->count];
			if (look->count == sizeof look->events / sizeof *look->events)
				complain(look, "more events than there can be");
			else if (vigia_batch_event(batch, i, &event, &err) < 0) complain(look, "%s", err.message);
			else if (!event_of(event.object.data, event.object.len, &found->writer, &found->number))
				complain(look, "event %" PRIu64 " has other bytes than were stored", event.seq_num);
			else if (look->count > 0 && event.seq_num != found[-1].seq_num + 1)
				complain(look, "event %" PRIu64 " comes after %" PRIu64, event.seq_num, found[-1].seq_num);
			found->seq_num = event.seq_num;
			found->at_ns = event.at_ns;
			look->count++;
		}
	}
	vigia_batch_free(batch);
	look->oldest = look->count ? look->events[0].seq_num : 0;
	if (!look->bad && vigia_store_latest(look->store, &look->latest, &err) < 0)
		complain(look, "no last number: %s", err.message);
	if (!look->bad && look->count > 0 && look->latest != look->events[look->count - 1].seq_num)
		complain(look, "the last number is %" PRIu64 ", the last event %" PRIu64, look->latest,
		         look->events[look->count - 1].seq_num);
}

static const struct found *find(const struct look *look, unsigned writer, unsigned number)
{
	for (unsigned i = 0; i < look->count; i++)
		if (look->events[i].writer == writer && look->events[i].number == number) return &look->events[i];
	return NULL;
}

static void check_append(struct look *look, const struct fact_append *append)
{
	unsigned there = 0;
	uint64_t first = 0; /* the number of its first event, there or not */
	for (unsigned i = 0; i < append->count; i++) {
		const struct found *found = find(look, append->writer, append->first + i);
		if (found && there > 0 && found->seq_num != first + i)
			complain(look, "%u-%u: not behind one another", append->writer, append->first);
		if (found) first = found->seq_num - i;
		there += found != NULL;
	}
	bool acked =
		append->result == FACT_ACKED ||
		(append->result == FACT_QUEUED && append->first + append->count - 1 <= look->facts->synced[append->writer]);
	/* Removed, all or the first of them? */
	uint64_t last = append->seq_num + append->count - 1;
	bool may_be_gone =
		append->result == FACT_ACKED ? append->seq_num <= look->facts->trim_tried : look->facts->trim_tried > 0;
	if (acked && there < append->count) {
		unsigned kept = append->result == FACT_ACKED && last > look->facts->trim_tried
		                    ? (unsigned)(last - look->facts->trim_tried)
		                    : 0;
		if (!may_be_gone || there < (kept < append->count ? kept : append->count))
			complain(look, "acknowledged and lost: event %u of writer %u, number %" PRIu64, append->first,
			         append->writer, append->seq_num);
	}
	/* A removal may have taken the first of them, but no others. */
	uint64_t missing = append->count - there;
	if (there > 0 && missing > 0 && (look->oldest != first + missing || look->oldest > look->facts->trim_tried + 1))
		complain(look, "%u of %u events of one call are there: writer %u, from %u", there, append->count,
		         append->writer, append->first);
	if (append->result == FACT_ACKED && there > 0 && first != append->seq_num)
		complain(look, "event %u of writer %u has number %" PRIu64 ", told was %" PRIu64, append->first, append->writer,
		         first, append->seq_num);
	if (append->result == FACT_REFUSED && there > 0)
		complain(look, "refused, and there: event %u of writer %u", append->first, append->writer);
}

/* Was it tried, at most once, and nothing of the same writer that waited before it is missing? */
static void check_found(struct look *look, const struct found *found)
{
	const struct fact_append *from = NULL;
	for (unsigned i = 0; i < look->facts->appends_count && from == NULL; i++) {
		const struct fact_append *append = &look->facts->appends[i];
		if (append->writer == found->writer && found->number >= append->first &&
		    found->number - append->first < append->count)
			from = append;
	}
	if (from == NULL)
		complain(look, "event %" PRIu64 " was never stored: writer %u, %u", found->seq_num, found->writer,
		         found->number);
	for (const struct found *other = look->events; other < found; other++) {
		if (other->writer == found->writer && other->number == found->number)
			complain(look, "writer %u's event %u is there twice", found->writer, found->number);
		if (other->writer == found->writer && other->number > found->number)
			complain(look, "writer %u's event %u comes after its %u", found->writer, found->number, other->number);
	}
	bool follows = from && from->result == FACT_QUEUED && from->first > 1 && look->facts->trim_tried == 0;
	if (follows && !find(look, from->writer, from->first - 1))
		complain(look, "writer %u's event %u is there, and not the one queued before it", found->writer, found->number);
}

static void check_events(struct look *look)
{
	const struct facts *facts = look->facts;
	for (unsigned i = 0; i < look->count && !look->bad; i++) check_found(look, &look->events[i]);
	for (unsigned i = 0; i < facts->appends_count && !look->bad; i++) check_append(look, &facts->appends[i]);
	if (look->latest < facts->last)
		complain(look, "the last number is %" PRIu64 ", told was %" PRIu64, look->latest, facts->last);
	if (look->oldest > facts->trim_tried + 1)
		complain(look, "the oldest event is %" PRIu64 ", removed was up to %" PRIu64, look->oldest, facts->trim_tried);
	if (look->oldest > 0 && look->oldest <= facts->trim_done)
		complain(look, "removed was up to %" PRIu64 ", and %" PRIu64 " is there", facts->trim_done, look->oldest);
}

/* ---- beside the events ---- */

static void check_positions(struct look *look)
{
	for (unsigned i = 0; i < look->facts->positions_count && !look->bad; i++) {
		const struct fact_position *p = &look->facts->positions[i];
		uint64_t value = 0;
		struct vigia_error err = {0};
		int rc = vigia_checkpoint_get(look->store, p->id, &value, &err);
		if (rc == VIGIA_ENOCHECKPOINT) {
			if (p->saved) complain(look, "the checkpoint of %s is lost: %" PRIu64, p->id, p->value);
			continue;
		}
		bool fits = rc == VIGIA_OK &&
		            ((p->saved && value == p->value) || (p->handled > 0 && value <= p->handled && value >= p->value));
		for (unsigned k = 0; k < p->tried_count; k++) fits |= rc == VIGIA_OK && value == p->tried[k];
		/* It passes what the filter drops; whether it passed what it should not, its effects tell. */
		if (strcmp(p->id, look->facts->effects.id) == 0)
			fits = rc == VIGIA_OK && value >= p->value && value <= look->latest;
		if (!fits)
			complain(look, "the checkpoint of %s is %" PRIu64 ": saved was %" PRIu64 ", handled %" PRIu64 " (%s)",
			         p->id, value, p->value, p->handled, rc < 0 ? err.message : "");
	}
}

/* What a watcher's handler queued before it said that it was done must be there if its progress is. */
static void check_queued_by(struct look *look)
{
	const struct facts *facts = look->facts;
	uint64_t value = 0;
	unsigned handled = 0, queued = 0;
	if (look->bad || facts->needs[0] == '\0' ||
	    vigia_checkpoint_get(look->store, facts->needs, &value, NULL) != VIGIA_OK)
		return;
	for (unsigned i = 0; i < look->count; i++) {
		handled += look->events[i].writer == facts->needs_handled && look->events[i].seq_num <= value;
		queued += look->events[i].writer == facts->needs_queued;
	}
	if (queued < handled)
		complain(look, "the checkpoint is %" PRIu64 ", %u events were handled, and %u of theirs are there", value,
		         handled, queued);
}

/* Each transaction appended events and set the number of the last one: both are there, or neither. */
static void check_counts(struct look *look)
{
	for (unsigned writer = 0; writer < FACT_WRITERS && !look->bad; writer++) {
		struct vigia_key key = {.is_integer = true, .integer = writer};
		struct vigia_msgpack_value value = {0};
		struct vigia_transaction *tx;
		struct vigia_slice bytes;
		struct vigia_error err = {0};
		unsigned last = 0;
		if (!look->facts->counts[writer]) continue;
		for (unsigned i = 0; i < look->count; i++)
			if (look->events[i].writer == writer && look->events[i].number > last) last = look->events[i].number;
		int rc = vigia_transaction_begin(look->store, &tx, &err);
		if (rc == VIGIA_OK) rc = vigia_transaction_get(tx, "last", &key, &bytes, &err);
		if (rc == VIGIA_OK) rc = vigia_msgpack_next(&bytes, &value, &err);
		if (rc < 0) complain(look, "the bucket cannot be read: %s", err.message);
		else if (value.integer != last)
			complain(look, "writer %u: its last event is %u, and its bucket says %" PRId64, writer, last,
			         value.integer);
		vigia_transaction_free(tx);
	}
}

/* ---- timers ---- */

static int64_t last_tick(void *ctx)
{
	return fact_time(1000);
}

struct waiting {
	struct look *look;
	unsigned times[FACT_TIMERS]; /* of each timer of the facts */
};

static int add_waiting(void *ctx, const struct vigia_timer *timer)
{
	struct waiting *waiting = ctx;
	struct look *look = waiting->look;
	unsigned writer, number, i = 0;
	if (!event_of(timer->event.object.data, timer->event.object.len, &writer, &number))
		complain(look, "timer %" PRIu64 " has other bytes than were scheduled", timer->id);
	else {
		const struct fact_timer *timers = look->facts->timers;
		while (i < look->facts->timers_count && (timers[i].writer != writer || timers[i].number != number)) i++;
		if (i == look->facts->timers_count) complain(look, "timer %u of writer %u was never scheduled", number, writer);
		else if (timer->at_ns != fact_time(timers[i].tick)) complain(look, "timer %u is due at another time", number);
		else waiting->times[i]++;
	}
	return look->bad ? 77 : VIGIA_OK;
}

/* Each waits or was stored, not both, not early, and not lost. Then what waits is stored, and once. */
static void check_timers(struct look *look)
{
	const struct facts *facts = look->facts;
	struct waiting waiting = {.look = look};
	struct vigia_error err = {0};
	if (facts->timers_count == 0 || look->bad) return;
	if (vigia_timers(look->store, NULL, add_waiting, &waiting, &err) < 0)
		complain(look, "the timers cannot be read: %s", err.message);
	for (unsigned i = 0; i < facts->timers_count && !look->bad; i++) {
		const struct fact_timer *timer = &facts->timers[i];
		const struct found *found = find(look, timer->writer, timer->number);
		if ((found != NULL) + waiting.times[i] > 1)
			complain(look, "timer %u of writer %u is there more than once", timer->number, timer->writer);
		if (timer->waits && !found && waiting.times[i] == 0)
			complain(look, "timer %u of writer %u is lost", timer->number, timer->writer);
		if (timer->stored && !found)
			complain(look, "the event of timer %u of writer %u was stored, and is lost", timer->number, timer->writer);
		if (found && (timer->tick > facts->tick || found->at_ns < fact_time(timer->tick)))
			complain(look, "timer %u of writer %u came early", timer->number, timer->writer);
	}
	if (look->bad) return;
	struct vigia__backend *b = look->store->backend;
	vigia__timers_drop(b);
	b->wall = last_tick;
	if (vigia__timers_add(b, &err) < 0 || vigia__store_run_timers(look->store, &err) < 0)
		complain(look, "what is due cannot be stored: %s", err.message);
	read_all(look);
	for (unsigned i = 0; i < look->count && !look->bad; i++) check_found(look, &look->events[i]);
	for (unsigned i = 0; i < facts->timers_count && !look->bad; i++)
		if (waiting.times[i] > 0 && !find(look, facts->timers[i].writer, facts->timers[i].number))
			complain(look, "timer %u of writer %u did not come", facts->timers[i].number, facts->timers[i].writer);
}

static void check_settings(struct look *look)
{
	struct vigia_store_options defaults;
	struct vigia__backend_stats stats;
	struct vigia_error err = {0};
	vigia_store_options_init(&defaults);
	if (look->bad) return;
	if (vigia__store_stats(look->store, &stats, &err) < 0) {
		complain(look, "no stats: %s", err.message);
		return;
	}
	int64_t size = stats.settings.values.max_event_size_bytes;
	bool fits = size == (look->facts->size ? look->facts->size : defaults.max_event_size_bytes);
	for (unsigned i = 0; i < look->facts->size_tried_count; i++) fits |= size == look->facts->size_tried[i];
	if (!fits) complain(look, "max_event_size is %" PRId64 ", told was %" PRId64, size, look->facts->size);
}

static void check_keys(struct look *look)
{
	unsigned looked = 0;
	for (unsigned i = look->facts->appends_count; i-- > 0 && looked < 3 && !look->bad;) {
		const struct fact_append *append = &look->facts->appends[i];
		const struct found *last = find(look, append->writer, append->first + append->count - 1);
		if (!append->has_key || last == NULL) continue;
		char name[32];
		snprintf(name, sizeof name, "k%u-%u", append->writer, append->first);
		struct vigia_append_options options = {.size = sizeof options, .key = {name, strlen(name)}};
		struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
		uint64_t seq_num = 0;
		bool existed = false;
		struct vigia_error err = {0};
		int rc = vigia_store_append_with(look->store, &event, 1, &options, &seq_num, &existed, &err);
		if (rc < 0 || !existed || seq_num != last->seq_num - append->count + 1)
			complain(look, "key %s is lost though its events are there: %s", name, rc < 0 ? err.message : "");
		looked++;
	}
}

static void verify_found(void *ctx, uint64_t seq_num, const char *text)
{
	complain(ctx, "verify: %" PRIu64 ": %s", seq_num, text);
}

static void verify_progress(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last)
{
}

static void verify_beside(void *ctx)
{
}

static void verify(struct look *look)
{
	struct vigia__verify all = {
		.ctx = look, .found = verify_found, .progress = verify_progress, .beside = verify_beside};
	struct vigia_error err = {0};
	if (!look->bad && vigia__store_verify(look->store, &all, &err) < 0) complain(look, "verify: %s", err.message);
}

/* ---- going on ---- */

static void go_on(struct look *look)
{
	static uint8_t object[EVENT_BYTES_MAX];
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {(char *)object, event_object(63, 1, object)}};
	struct vigia_append_options options = {.size = sizeof options, .if_last_given = true, .if_last = look->latest + 1};
	struct vigia_error err = {0};
	uint64_t seq_num = 0;
	if (look->bad) return;
	if (vigia_store_append_with(look->store, &event, 1, &options, &seq_num, NULL, &err) != VIGIA_ESEQUENCE)
		complain(look, "if_last does not hold");
	options.if_last = look->latest;
	int rc = vigia_store_append_with(look->store, &event, 1, &options, &seq_num, NULL, &err);
	if (rc < 0 || vigia_store_sync(look->store, NULL, &err) < 0)
		complain(look, "it takes no append: %s (%s)", err.message, err.cause);
	else if (seq_num != 0 && seq_num != look->latest + 1)
		complain(look, "the next number is %" PRIu64 ", the last was %" PRIu64, seq_num, look->latest);
}

static void check_copy(struct look *look, const char *folder)
{
	const struct facts *facts = look->facts;
	char path[4096];
	if (facts->copy[0] == '\0' || look->bad) return;
	snprintf(path, sizeof path, "%s/%s", folder, facts->copy);
	if (access(path, F_OK) != 0) {
		if (facts->copy_done) complain(look, "the copy %s is lost", facts->copy);
		return;
	}
	look->store = open_at(look, path, false);
	if (look->store == NULL) return;
	read_all(look);
	for (unsigned i = 0; i < facts->copy_from && !look->bad; i++)
		if (facts->appends[i].result == FACT_ACKED) check_append(look, &facts->appends[i]);
	verify(look);
	vigia_store_free(look->store);
}

bool check_state(const char *folder, const struct facts *facts, bool thorough, char *why, size_t size)
{
	static struct look look;
	char path[4096];
	look.facts = facts;
	look.why = why;
	look.size = size;
	look.bad = false;
	look.count = 0;
	if (facts->nothing_stays) return true;
	snprintf(path, sizeof path, "%s/store", folder);
	if (facts->any && access(path, F_OK) != 0) complain(&look, "the store is gone");
	looks = true;
	look.store = look.bad ? NULL : open_at(&look, path, true);
	if (look.store) {
		read_all(&look);
		check_events(&look);
		check_positions(&look);
		check_queued_by(&look);
		check_counts(&look);
		if (!look.bad) look.bad = !effects_fit(look.store, facts, look.events, look.count, why, size);
		check_settings(&look);
		verify(&look);
		check_keys(&look);
		check_timers(&look);
		go_on(&look);
		vigia_store_free(look.store);
	}
	if (thorough && !look.bad && (look.store = open_at(&look, path, false)) != NULL) {
		uint64_t before = look.latest;
		read_all(&look);
		if (look.latest != before + 1) complain(&look, "the event appended to it is gone: %" PRIu64, look.latest);
		verify(&look);
		vigia_store_free(look.store);
	}
	check_copy(&look, folder);
	return !look.bad;
}
