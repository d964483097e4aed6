/*
 * options.c - the tables of all options, and everything that reads them.
 */
#include "options.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

#define DAY 86400.0
#define KIB 1024.0
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

#define STORE(field)  .offset = offsetof(struct vigia_store_options, field)
#define OF_FILE       .scope = VIGIA_SCOPE_FILE
#define FIXED         .scope = VIGIA_SCOPE_FIXED
#define GIVEN(field)  .given_offset = offsetof(struct vigia_store_options, field)
#define WATCH(field)  .offset = offsetof(struct vigia_watch_options, field)
#define SCRIPT(field) .offset = offsetof(struct vigia__script_options, field)

const struct vigia__option vigia__store_option_table[] = {
	{.name = "readonly", .type = VIGIA_OPTION_BOOL, STORE(readonly), .initial = 0, .help = "Never create or write."},
	{.name = "create",
     .type = VIGIA_OPTION_BOOL,
     STORE(create),
     .initial = 1,
     .help = "Create the file if it does not exist."},
	{.name = "allow_network_fs",
     .type = VIGIA_OPTION_BOOL,
     STORE(allow_network_fs),
     .initial = 0,
     .help = "Open files on NFS and other network file systems, where locks do not hold between machines."},
	{.name = "long_polling_timeout",
     .type = VIGIA_OPTION_SECONDS,
     STORE(long_polling_timeout_ns),
     .initial = 10,
     .min = 0,
     .max = HUGE_VAL,
     .help = "How long a read waits for an event when the call sets no timeout. math.huge: until there is one."},
	{.name = "max_batch_bytes",
     .type = VIGIA_OPTION_BYTES,
     STORE(max_batch_bytes),
     .initial = 8 * MIB,
     .min = 1,
     .max = TIB,
     .help = "Limit on the bytes of one result. At least one event is returned."},
	{.name = "checkpoint_interval",
     .type = VIGIA_OPTION_SECONDS,
     STORE(checkpoint_interval_ns),
     .initial = 1,
     .min = 0,
     .max = DAY,
     .help = "How long progress waits for another commit before it gets one of its own."},
	{.name = "collect",
     .type = VIGIA_OPTION_BOOL,
     STORE(collect),
     .initial = 1,
     .help = "Remove old events in the background, unless another process does."},
	{.name = "cache_size",
     .type = VIGIA_OPTION_COUNT,
     STORE(cache_size),
     .initial = 0,
     .min = 0,
     .max = 10000000,
     .help = "Number of decoded events that the watchers of one Lua state share. They get the same tables."},
	{.name = "map_size",
     .type = VIGIA_OPTION_BYTES,
     STORE(map_size_bytes),
     .initial = 0,
     .min = 0,
     .max = 64 * TIB,
     .help = "Address space reserved for the file. 0: 1 TiB, or what the system grants."},
	{.name = "commit_queue_bytes",
     .type = VIGIA_OPTION_BYTES,
     STORE(commit_queue_bytes),
     .initial = 16 * MIB,
     .min = 1,
     .max = 256 * MIB,
     .help = "Durability interval: limit on what waits in memory. An append beyond it commits first."},
	{.name = "max_event_size",
     .type = VIGIA_OPTION_BYTES,
     STORE(max_event_size_bytes),
     GIVEN(max_event_size_given),
     .initial = MIB,
     .min = 64,
     .max = GIB,
     OF_FILE,
     .help = "Largest event that is accepted."},
	{.name = "durability",
     .type = VIGIA_OPTION_CHOICE,
     STORE(durability),
     GIVEN(durability_given),
     .choices = "commit none interval",
     OF_FILE,
     .help = "What an append that has returned survives. commit: a power loss. none: the end of the process. "
             "interval: nothing yet, it waits in memory for the next commit."},
	{.name = "commit_interval",
     .type = VIGIA_OPTION_SECONDS,
     STORE(commit_interval_ns),
     GIVEN(commit_interval_given),
     .initial = 0.1,
     .min = 0,
     .max = DAY,
     OF_FILE,
     .help = "Durability interval: how long an append waits for its commit, at most."},
	{.name = "serializer",
     .type = VIGIA_OPTION_NAME,
     STORE(serializer),
     GIVEN(serializer_given),
     .choices = "msgpack",
     .min = 1,
     .max = 64,
     FIXED,
     .or_other = true,
     .help = "How objects are written: msgpack, json, or your own functions (in Lua a table {name =, marshal =, "
             "unmarshal =})."},
	{.name = "events_bucket",
     .type = VIGIA_OPTION_NAME,
     STORE(events_bucket),
     GIVEN(events_bucket_given),
     .choices = "events",
     .min = 1,
     .max = 64,
     FIXED,
     .help = "Name of the database of events inside the file."},
	{.name = "checkpoint_bucket",
     .type = VIGIA_OPTION_NAME,
     STORE(checkpoint_bucket),
     GIVEN(checkpoint_bucket_given),
     .choices = "checkpoints",
     .min = 1,
     .max = 64,
     FIXED,
     .help = "Name of the database of checkpoints inside the file."},
	{.name = "gc_cadence",
     .type = VIGIA_OPTION_SECONDS,
     STORE(gc_cadence_ns),
     GIVEN(gc_cadence_given),
     .initial = 600,
     .min = 0.001,
     .max = 30 * DAY,
     OF_FILE,
     .help = "How often old events are removed."},
	{.name = "gc_age_threshold",
     .type = VIGIA_OPTION_SECONDS,
     STORE(gc_age_threshold_ns),
     GIVEN(gc_age_threshold_given),
     .initial = DAY,
     .min = 0,
     .max = 36525 * DAY,
     OF_FILE,
     .help = "Age from which events that every watcher has finished are removed. 0: never."},
	{.name = "gc_max_records_per_run",
     .type = VIGIA_OPTION_COUNT,
     STORE(gc_max_records_per_run),
     GIVEN(gc_max_records_per_run_given),
     .initial = 1000000,
     .min = 1,
     .max = 1e15,
     OF_FILE,
     .help = "Limit on the events that one run removes. The next run follows soon."},
	{.name = "gc_max_duration",
     .type = VIGIA_OPTION_SECONDS,
     STORE(gc_max_duration_ns),
     GIVEN(gc_max_duration_given),
     .initial = 10,
     .min = 0.001,
     .max = DAY,
     OF_FILE,
     .help = "Limit on the time of one run. The next run follows soon."},
	{.name = "checkpoint_ttl",
     .type = VIGIA_OPTION_SECONDS,
     STORE(checkpoint_ttl_ns),
     GIVEN(checkpoint_ttl_given),
     .initial = 0,
     .min = 0,
     .max = 36525 * DAY,
     OF_FILE,
     .help = "A checkpoint unused for this long no longer blocks removal. 0: it always does."},
	{.name = "max_events",
     .type = VIGIA_OPTION_COUNT,
     STORE(max_events),
     GIVEN(max_events_given),
     .initial = 0,
     .min = 0,
     .max = 1e15,
     OF_FILE,
     .help = "Number of events to keep. 0: no limit."},
	{.name = "max_bytes",
     .type = VIGIA_OPTION_BYTES,
     STORE(max_bytes),
     GIVEN(max_bytes_given),
     .initial = 0,
     .min = 0,
     .max = 64 * TIB,
     OF_FILE,
     .help = "Bytes of events to keep. 0: no limit."},
	{.name = "retention_passes_checkpoints",
     .type = VIGIA_OPTION_BOOL,
     STORE(retention_passes_checkpoints),
     GIVEN(retention_passes_checkpoints_given),
     .initial = 0,
     OF_FILE,
     .help = "Let max_events and max_bytes remove events that a lagging watcher has not handled."},
	{.name = NULL},
};

const struct vigia__option vigia__watch_option_table[] = {
	{.name = "initial_event_iterator",
     .type = VIGIA_OPTION_SPECIAL,
     WATCH(initial_event_iterator),
     .help = "Where to start without a checkpoint (default: trim horizon)."},
	{.name = "filter",
     .type = VIGIA_OPTION_SPECIAL,
     WATCH(filter),
     .help = "The object_types and operations to handle. An empty list means all. Or a function, as in where."},
	{.name = "where",
     .type = VIGIA_OPTION_SPECIAL,
     .help = "A function (event) -> boolean, called for events that pass the lists."},
	{.name = "batch_size",
     .type = VIGIA_OPTION_COUNT,
     WATCH(batch_size),
     .initial = 100,
     .min = 1,
     .max = 1000000,
     .help = "Number of events fetched at a time."},
	{.name = "buffer_size",
     .type = VIGIA_OPTION_COUNT,
     WATCH(buffer_size),
     .initial = 1000,
     .min = 1,
     .max = 10000000,
     .help = "Limit on the events fetched ahead of the handler."},
	{.name = "initial_backoff",
     .type = VIGIA_OPTION_SECONDS,
     WATCH(initial_backoff_ns),
     .initial = 0.2,
     .min = 0,
     .max = DAY,
     .help = "Delay after the first failure. It doubles with each further one. 0: retry at once."},
	{.name = "max_backoff",
     .type = VIGIA_OPTION_SECONDS,
     WATCH(max_backoff_ns),
     .initial = 180,
     .min = 0,
     .max = DAY,
     .help = "Longest delay between two attempts."},
	{.name = "jitter",
     .type = VIGIA_OPTION_BOOL,
     WATCH(jitter),
     .initial = 0,
     .help = "Wait a random time between 0 and the backoff."},
	{.name = "retry_strategy",
     .type = VIGIA_OPTION_CHOICE,
     WATCH(retry_strategy),
     .choices = "block skip",
     .help = "block: retry without end. skip: give the event up after max_retries attempts."},
	{.name = "max_retries",
     .type = VIGIA_OPTION_COUNT,
     WATCH(max_retries),
     .initial = 3,
     .min = 1,
     .max = 1000000000,
     .help = "Number of attempts after which \"skip\" gives an event up."},
	{.name = "on_gap",
     .type = VIGIA_OPTION_CHOICE,
     WATCH(on_gap),
     .choices = "continue stop",
     .help = "What to do when events were removed before the watcher saw them. continue: with the oldest event, "
             "and count the missed ones. stop: stop with sequence_expired."},
	{.name = "on_damage",
     .type = VIGIA_OPTION_CHOICE,
     WATCH(on_damage),
     .choices = "stop skip",
     .help = "What to do with an event that is damaged or cannot be decoded. stop: stop before it. skip: give it up."},
	{.name = "checkpoint",
     .type = VIGIA_OPTION_CHOICE,
     WATCH(checkpoint),
     .choices = "batch event manual",
     .help = "When to save progress. batch: with the next commit, soon. event: durably after each event. manual: "
             "only when the handler asks."},
	{.name = "ephemeral",
     .type = VIGIA_OPTION_BOOL,
     WATCH(ephemeral),
     .initial = 0,
     .help = "Never read or write a checkpoint."},
	{.name = "auto_start",
     .type = VIGIA_OPTION_BOOL,
     WATCH(auto_start),
     .initial = 1,
     .help = "Start at once. Otherwise the watcher is idle until it is started."},
	{.name = "on_error",
     .type = VIGIA_OPTION_SPECIAL,
     .help = "A function (err, event, ctx), called for every failure."},
	{.name = NULL},
};

const struct vigia__option vigia__script_option_table[] = {
	{.name = "set",
     .type = VIGIA_OPTION_SPECIAL,
     .help = "A table of plain values, copied for the script, which finds it as `set`."},
	{.name = "reload",
     .type = VIGIA_OPTION_BOOL,
     SCRIPT(reload),
     .initial = 0,
     .help = "Load the script's new code whenever its file changes."},
	{.name = "memory_limit",
     .type = VIGIA_OPTION_BYTES,
     SCRIPT(memory_limit_bytes),
     .initial = 0,
     .min = 0,
     .max = TIB,
     .help = "Memory that the script's Lua state may use. 0: no limit."},
	{.name = "cpu_limit",
     .type = VIGIA_OPTION_SECONDS,
     SCRIPT(cpu_limit_ns),
     .initial = 0,
     .min = 0,
     .max = HUGE_VAL,
     .help = "Processor time for one event, and for init, stop and loading. 0 or math.huge: no limit."},
	{.name = "libraries",
     .type = VIGIA_OPTION_SPECIAL,
     .help = "Names of the Lua libraries that the script sees, beside base and vigia (default: all)."},
	{.name = "isolation",
     .type = VIGIA_OPTION_CHOICE,
     SCRIPT(isolation),
     .choices = "thread process",
     .help = "thread: run in this process. process: run in a program of its own, whose crash or endless loop in C "
             "is a handler failure."},
	{.name = "worker_program",
     .type = VIGIA_OPTION_NAME,
     SCRIPT(worker_program),
     .choices = "",
     .min = 0,
     .max = 4095,
     .help = "With isolation \"process\": path of the program vigia (default: the running one, the one of the same "
             "build, PATH)."},
	{.name = NULL, .more = vigia__watch_option_table},
};

const struct vigia__option vigia__registry_option_table[] = {
	{.name = "log",
     .type = VIGIA_OPTION_SPECIAL,
     .help = "A function (level, message) that receives log records. Without it failures go to standard error, at "
             "most one line per watcher and minute. false: nowhere."},
	{.name = "clock", .type = VIGIA_OPTION_SPECIAL, .help = "A clock moved by hand, for tests."},
	{.name = NULL},
};

const struct vigia__option vigia__stop_option_table[] = {
	{.name = "timeout",
     .type = VIGIA_OPTION_SECONDS,
     .offset = offsetof(struct vigia__stop_options, timeout_ns),
     .initial = 30,
     .min = 0,
     .max = HUGE_VAL,
     .help = "How long to wait for handlers in progress."},
	{.name = NULL},
};

const struct vigia__option *vigia__option_next(const struct vigia__option *option)
{
	option++;
	return option->name == NULL && option->more ? option->more : option;
}

const struct vigia__option *vigia__option_find(const struct vigia__option *table, const char *name)
{
	for (; table->name; table = vigia__option_next(table))
		if (strcmp(table->name, name) == 0) return table;
	return NULL;
}

/* ---- The nearest name ---- */

enum { NEAR_MAX = 64 };

static int least(int a, int b, int c)
{
	int m = a < b ? a : b;
	return m < c ? m : c;
}

/* Edits (insert, delete, replace, swap two neighbours) from a to b; both at most NEAR_MAX bytes. */
static int edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int rows[3][NEAR_MAX + 1];
	int *before = rows[0], *last = rows[1], *now = rows[2];
	for (size_t j = 0; j <= b_len; j++) last[j] = (int)j;
	for (size_t i = 1; i <= a_len; i++) {
		now[0] = (int)i;
		for (size_t j = 1; j <= b_len; j++) {
			now[j] = least(last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
		}
		int *free_row = before;
		before = last;
		last = now;
		now = free_row;
	}
	return last[b_len];
}

const char *vigia__nearest(const char *wrong, const char *(*name_at)(const void *ctx, int index), const void *ctx)
{
	size_t len = strlen(wrong);
	if (len == 0 || len > NEAR_MAX) return NULL;
	/* a short word is near to everything: allow it fewer edits. A beginning counts less than any misspelling. */
	int best = len < 4 ? 2 : 3, prefix_found = 0;
	const char *nearest = NULL, *name;
	for (int i = 0; (name = name_at(ctx, i)) != NULL; i++) {
		size_t name_len = strlen(name);
		if (name_len == 0 || name_len > NEAR_MAX) continue;
		int distance = edit_distance(wrong, len, name, name_len);
		if (distance < best && (size_t)distance < name_len) {
			best = distance;
			nearest = name;
		} else if (!nearest && !prefix_found && strncmp(wrong, name, len < name_len ? len : name_len) == 0) {
			prefix_found = 1 + i;
		}
	}
	return nearest ? nearest : prefix_found ? name_at(ctx, prefix_found - 1) : NULL;
}

static const char *option_name_at(const void *ctx, int index)
{
	const struct vigia__option *option = ctx;
	while (index-- > 0) option = vigia__option_next(option);
	return option->name;
}

/* ---- Fields ---- */

static void *field_of(const struct vigia__option *option, void *target)
{
	return (char *)target + option->offset;
}

static int64_t seconds_to_ns(double seconds)
{
	return seconds < 9.2e9 ? (int64_t)llround(seconds * 1e9) : INT64_MAX;
}

/* The index-th word of "block skip" and its length; NULL behind the last. */
static const char *choice_at(const char *choices, int index, size_t *len)
{
	const char *at = choices;
	for (;;) {
		*len = strcspn(at, " ");
		if (index-- == 0) return at;
		if (at[*len] == '\0') return NULL;
		at += *len + 1;
	}
}

struct vigia_slice vigia__option_choice(const struct vigia__option *o, int index)
{
	size_t len = 0;
	const char *word = choice_at(o->choices, index, &len);
	return (struct vigia_slice){word, len};
}

const char *vigia__option_show(const struct vigia__option *o, const void *field, char *out, size_t size)
{
	struct vigia_slice word;
	switch (o->type) {
	case VIGIA_OPTION_BOOL:
		return *(const bool *)field ? "true" : "false";
	case VIGIA_OPTION_COUNT:
	case VIGIA_OPTION_BYTES:
		snprintf(out, size, "%lld", (long long)*(const int64_t *)field);
		break;
	case VIGIA_OPTION_SECONDS:
		snprintf(out, size, "%.15g", (double)*(const int64_t *)field / 1e9);
		break;
	case VIGIA_OPTION_CHOICE:
		word = vigia__option_choice(o, *(const int *)field);
		snprintf(out, size, "'%.*s'", (int)word.len, word.data ? word.data : "");
		break;
	case VIGIA_OPTION_NAME:
		snprintf(out, size, "'%s'", *(const char *const *)field);
		break;
	case VIGIA_OPTION_SPECIAL:
		return "";
	}
	return out;
}

void vigia__options_init(const struct vigia__option *table, void *target)
{
	for (const struct vigia__option *o = table; o->name; o = vigia__option_next(o)) {
		switch (o->type) {
		case VIGIA_OPTION_BOOL:
			*(bool *)field_of(o, target) = o->initial != 0;
			break;
		case VIGIA_OPTION_COUNT:
		case VIGIA_OPTION_BYTES:
			*(int64_t *)field_of(o, target) = (int64_t)o->initial;
			break;
		case VIGIA_OPTION_SECONDS:
			*(int64_t *)field_of(o, target) = seconds_to_ns(o->initial);
			break;
		case VIGIA_OPTION_CHOICE:
			*(int *)field_of(o, target) = 0;
			break;
		case VIGIA_OPTION_NAME:
			*(const char **)field_of(o, target) = o->choices;
			break;
		case VIGIA_OPTION_SPECIAL:
			break;
		}
	}
}

/* ---- Structs of programs that were compiled against another header ---- */

int vigia__options_take(const char *name, void *ours, size_t ours_size, size_t least, const void *theirs,
                        struct vigia_error *err)
{
	size_t size;
	memcpy(&size, theirs, sizeof size);
	/* a sizeof is a multiple of the alignment */
	if (size < least || size > ours_size || size % _Alignof(int64_t) != 0)
		return vigia__error(err, VIGIA_EOPTION,
		                    "struct %s: its member size is %zu, allowed: sizeof (struct %s), at most %zu in version %s",
		                    name, size, name, ours_size, VIGIA_VERSION);
	memcpy(ours, theirs, size);
	memcpy(ours, &ours_size, sizeof ours_size);
	return VIGIA_OK;
}

void vigia__options_give(void *theirs, size_t size, const void *ours, size_t ours_size)
{
	if (size > ours_size) memset((char *)theirs + ours_size, 0, size - ours_size);
	memcpy(theirs, ours, size < ours_size ? size : ours_size);
}

/* A program that knows more members than this library finds zero there; the library will refuse the struct by its
 * size. */
void vigia_store_options_init_sized(struct vigia_store_options *options, size_t size)
{
	struct vigia_store_options ours = {.size = size};
	vigia__options_init(vigia__store_option_table, &ours);
	vigia__options_give(options, size, &ours, sizeof ours);
}

void vigia_watch_options_init_sized(struct vigia_watch_options *options, size_t size)
{
	/* zero is the trim horizon, and a filter that keeps all */
	struct vigia_watch_options ours = {.size = size};
	vigia__options_init(vigia__watch_option_table, &ours);
	vigia__options_give(options, size, &ours, sizeof ours);
}

/* ---- Problems ---- */

void vigia__problem(struct vigia__problems *problems, const char *format, ...)
{
	char text[256];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	problems->count++;
	if (vigia__buf_add(&problems->text, text, strlen(text) + 1) != 0) problems->lost++;
}

/* "batch_size is 0, allowed: ..." in short: what stands before the " is ". */
static size_t short_len(const char *problem)
{
	const char *is = strstr(problem, " is ");
	return is ? (size_t)(is - problem) : strlen(problem);
}

/* All problems in one line. Where they do not fit, the later ones are only named; where even the names do not fit, it
 * says so. */
static void join_problems(const struct vigia__buf *text, char *out, size_t size)
{
	static const char more[] = "... (more are wrong: mend these first)";
	const char *at = (const char *)text->data, *end = at + text->len;
	size_t names = 0, used = 0;
	for (const char *p = at; p < end; p += strlen(p) + 1) names += short_len(p) + 2;
	for (; at < end; at += strlen(at) + 1) {
		size_t len = strlen(at);
		names -= short_len(at) + 2;
		if (used + len + 2 + names + sizeof more > size) len = short_len(at);
		if (used + len + 2 + sizeof more > size) {
			snprintf(out + used, size - used, "%s%s", used ? "; " : "", more);
			return;
		}
		used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? "; " : "", (int)len, at);
	}
}

int vigia__problems_end(struct vigia__problems *problems, const char *what, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	if (problems->count && problems->text.len == 0)
		rc = vigia__error(err, VIGIA_EOPTION, "%s: %d wrong (out of memory for which)", what, problems->count);
	else if (problems->count) {
		char text[sizeof err->message - 64], lost[64] = "";
		if (problems->lost) snprintf(lost, sizeof lost, "; %d more (out of memory for which)", problems->lost);
		join_problems(&problems->text, text, sizeof text - strlen(lost));
		rc = vigia__error(err, VIGIA_EOPTION, "%s: %s%s", what, text, lost);
	}
	vigia__buf_deinit(&problems->text);
	problems->count = problems->lost = 0;
	return rc;
}

/* What an option allows: "a whole number from 1 to 1000000". */
static const char *allowed(const struct vigia__option *o, char *out, size_t size)
{
	switch (o->type) {
	case VIGIA_OPTION_BOOL:
		return "true or false";
	case VIGIA_OPTION_COUNT:
		if (o->max >= 0x1p63) snprintf(out, size, "a whole number from %.15g on", o->min);
		else snprintf(out, size, "a whole number from %.15g to %.15g", o->min, o->max);
		break;
	case VIGIA_OPTION_BYTES:
		snprintf(out, size, "%.15g to %.15g bytes", o->min, o->max);
		break;
	case VIGIA_OPTION_SECONDS:
		if (isinf(o->max)) snprintf(out, size, "a number of seconds from %.15g on", o->min);
		else snprintf(out, size, "%.15g to %.15g seconds", o->min, o->max);
		break;
	case VIGIA_OPTION_NAME:
		snprintf(out, size, "a string of %.15g to %.15g bytes", o->min, o->max);
		break;
	default: {
		size_t n = 0, len;
		const char *word;
		for (int i = 0; (word = choice_at(o->choices, i, &len)) != NULL && n < size; i++)
			n += (size_t)snprintf(out + n, size - n, "%s\"%.*s\"", i ? " or " : "", (int)len, word);
	}
	}
	return out;
}

static void refuse_option(const struct vigia__option *option, const char *given, struct vigia__problems *problems)
{
	char text[128];
	vigia__problem(problems, "%s is %s, allowed: %s", option->name, given, allowed(option, text, sizeof text));
}

static const char *show(const struct vigia__value *value, char *out, size_t size)
{
	switch (value->kind) {
	case VIGIA_VALUE_BOOL:
		return value->boolean ? "true" : "false";
	case VIGIA_VALUE_INT:
		snprintf(out, size, "%lld", (long long)value->integer);
		break;
	case VIGIA_VALUE_FLOAT:
		snprintf(out, size, "%.14g", value->number);
		break;
	case VIGIA_VALUE_STRING: {
		enum { SHOWN = 24 };
		size_t len = strlen(value->string), cut = len;
		if (len > SHOWN)
			for (cut = SHOWN; cut > 0 && ((unsigned char)value->string[cut] & 0xc0) == 0x80; cut--)
				;
		snprintf(out, size, "\"%.*s%s\"", (int)cut, value->string, cut < len ? "..." : "");
		break;
	}
	case VIGIA_VALUE_OTHER:
		snprintf(out, size, "a %.24s", value->type_name ? value->type_name : "value");
		break;
	}
	return out;
}

/* ---- Setting ---- */

static bool set_whole(const struct vigia__option *o, int64_t *field, const struct vigia__value *value)
{
	int64_t n = value->integer;
	if (value->kind == VIGIA_VALUE_FLOAT) {
		/* 100.0 is a whole number */
		if (!(value->number >= o->min && value->number <= o->max && value->number < 0x1p63) ||
		    value->number != floor(value->number))
			return false;
		n = (int64_t)value->number;
	} else if (value->kind != VIGIA_VALUE_INT) return false;
	if ((double)n < o->min || (double)n > o->max) return false;
	*field = n;
	return true;
}

static bool set_seconds(const struct vigia__option *o, int64_t *field, const struct vigia__value *value)
{
	double seconds;
	if (value->kind == VIGIA_VALUE_INT) seconds = (double)value->integer;
	else if (value->kind == VIGIA_VALUE_FLOAT) seconds = value->number;
	else return false;
	if (!(seconds >= o->min && seconds <= o->max)) return false;
	*field = seconds_to_ns(seconds);
	return true;
}

static bool set_choice(const struct vigia__option *o, int *field, const struct vigia__value *value)
{
	if (value->kind != VIGIA_VALUE_STRING) return false;
	size_t len, given = strlen(value->string);
	const char *word;
	for (int i = 0; (word = choice_at(o->choices, i, &len)) != NULL; i++) {
		if (len == given && memcmp(word, value->string, len) == 0) {
			*field = i;
			return true;
		}
	}
	return false;
}

static bool name_fits(const struct vigia__option *o, const char *name)
{
	size_t len = strlen(name);
	return (double)len >= o->min && (double)len <= o->max;
}

static bool set_field(const struct vigia__option *o, void *field, const struct vigia__value *value)
{
	switch (o->type) {
	case VIGIA_OPTION_BOOL:
		if (value->kind == VIGIA_VALUE_BOOL) *(bool *)field = value->boolean;
		return value->kind == VIGIA_VALUE_BOOL;
	case VIGIA_OPTION_COUNT:
	case VIGIA_OPTION_BYTES:
		return set_whole(o, field, value);
	case VIGIA_OPTION_SECONDS:
		return set_seconds(o, field, value);
	case VIGIA_OPTION_CHOICE:
		return set_choice(o, field, value);
	case VIGIA_OPTION_NAME:
		if (value->kind != VIGIA_VALUE_STRING || !name_fits(o, value->string)) return false;
		*(const char **)field = value->string;
		return true;
	case VIGIA_OPTION_SPECIAL:
		break;
	}
	return true;
}

void vigia__option_set(const struct vigia__option *table, void *target, const char *name,
                       const struct vigia__value *value, struct vigia__problems *problems)
{
	const struct vigia__option *o = vigia__option_find(table, name);
	if (!o) {
		if (table == vigia__watch_option_table && vigia__option_find(vigia__script_option_table, name)) {
			vigia__problem(problems, "%s needs a handler that is a script: the path of a file, or a module's name",
			               name);
			return;
		}
		const char *near = vigia__nearest(name, option_name_at, table);
		char hint[96] = "";
		if (near) snprintf(hint, sizeof hint, " (did you mean %s?)", near);
		vigia__problem(problems, "unknown option '%.48s'%s", name, hint);
		return;
	}
	if (o->type == VIGIA_OPTION_SPECIAL) return;
	if (!set_field(o, field_of(o, target), value)) {
		char given[96];
		refuse_option(o, show(value, given, sizeof given), problems);
		return;
	}
	if (o->given_offset) *(bool *)((char *)target + o->given_offset) = true;
}

/* ---- Checking a struct ---- */

static void check_field(const struct vigia__option *o, const void *field, struct vigia__problems *problems)
{
	char given[96];
	struct vigia__value value = {.kind = VIGIA_VALUE_INT};
	switch (o->type) {
	case VIGIA_OPTION_COUNT:
	case VIGIA_OPTION_BYTES:
		value.integer = *(const int64_t *)field;
		if ((double)value.integer >= o->min && (double)value.integer <= o->max) return;
		break;
	case VIGIA_OPTION_SECONDS: {
		int64_t ns = *(const int64_t *)field;
		if (ns >= seconds_to_ns(o->min) && ns <= seconds_to_ns(o->max)) return;
		value.kind = VIGIA_VALUE_FLOAT;
		value.number = (double)ns / 1e9;
		break;
	}
	case VIGIA_OPTION_CHOICE: {
		size_t len;
		value.integer = *(const int *)field;
		if (value.integer >= 0 && choice_at(o->choices, (int)value.integer, &len)) return;
		break;
	}
	case VIGIA_OPTION_NAME: {
		const char *name = *(const char *const *)field;
		if (name && name_fits(o, name)) return;
		value = (struct vigia__value){
			.kind = name ? VIGIA_VALUE_STRING : VIGIA_VALUE_OTHER, .string = name, .type_name = "NULL"};
		break;
	}
	default:
		return;
	}
	refuse_option(o, show(&value, given, sizeof given), problems);
}

/* What two options of one struct must have in common. */
static void check_store(const struct vigia_store_options *options, struct vigia__problems *problems)
{
	if (options->events_bucket && options->checkpoint_bucket &&
	    strcmp(options->events_bucket, options->checkpoint_bucket) == 0)
		vigia__problem(problems, "events_bucket and checkpoint_bucket are both \"%.24s\", allowed: two names",
		               options->events_bucket);
	if ((options->events_bucket && strncmp(options->events_bucket, "vigia", 5) == 0) ||
	    (options->checkpoint_bucket && strncmp(options->checkpoint_bucket, "vigia", 5) == 0))
		vigia__problem(problems, "events_bucket, checkpoint_bucket: names that begin with 'vigia' are taken");
	if (options->map_size_bytes > 0 && options->map_size_bytes < (int64_t)(64 * KIB))
		vigia__problem(problems, "map_size is %lld, allowed: 0, or at least %.15g bytes",
		               (long long)options->map_size_bytes, 64 * KIB);
}

static void check_watch(const struct vigia_watch_options *options, struct vigia__problems *problems)
{
	if (options->max_backoff_ns < options->initial_backoff_ns)
		vigia__problem(problems, "max_backoff is %.15g seconds, allowed: at least initial_backoff, %.15g seconds",
		               (double)options->max_backoff_ns / 1e9, (double)options->initial_backoff_ns / 1e9);
	int kind = (int)options->initial_event_iterator.kind;
	if (kind < VIGIA_TRIM_HORIZON || kind > VIGIA_AFTER)
		vigia__problem(problems, "initial_event_iterator is of kind %d, allowed: one of enum vigia_iterator_kind",
		               kind);
}

static void check_script(const struct vigia__script_options *options, struct vigia__problems *problems)
{
	if (options->memory_limit_bytes > 0 && options->memory_limit_bytes < (int64_t)(256 * KIB))
		vigia__problem(problems, "memory_limit is %lld, allowed: 0, or at least %.15g bytes",
		               (long long)options->memory_limit_bytes, 256 * KIB);
	if (options->cpu_limit_ns > 0 && options->cpu_limit_ns < 1000000)
		vigia__problem(problems, "cpu_limit is %.15g, allowed: 0, or at least 0.001 seconds",
		               (double)options->cpu_limit_ns / 1e9);
}

void vigia__options_check(const struct vigia__option *table, const void *target, struct vigia__problems *problems)
{
	for (const struct vigia__option *o = table; o->name; o = vigia__option_next(o))
		check_field(o, (const char *)target + o->offset, problems);
	if (table == vigia__store_option_table) check_store(target, problems);
	else if (table == vigia__watch_option_table || table == vigia__script_option_table)
		check_watch(target, problems); /* the first member of the script's */
	if (table == vigia__script_option_table) check_script(target, problems);
}
