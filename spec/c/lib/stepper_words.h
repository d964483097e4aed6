/*
 * stepper_words.h - the words in which scenarios for the watcher's step function are told: tables of {time, input,
 * expected action}.
 */
#ifndef VIGIA_SPEC_STEPPER_WORDS_H
#define VIGIA_SPEC_STEPPER_WORDS_H

#include <inttypes.h>

#include "core/stepper.h"
#include "test.h"

#define AFTER(n) ((struct vigia_iterator){.kind = VIGIA_AFTER, .seq_num = (n)})
#define AT(n)    ((struct vigia_iterator){.kind = VIGIA_AT, .seq_num = (n)})

#define START(at, done_)                                          \
	{                                                             \
		.kind = VIGIA_INPUT_START, .next = at, .seq_num = (done_) \
	}
#define SEQS(...) .seqs = (const uint64_t[]){__VA_ARGS__}, .count = sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)
#define BATCH(next_, ...)                                           \
	{                                                               \
		.kind = VIGIA_INPUT_BATCH, .next = next_, SEQS(__VA_ARGS__) \
	}
#define EMPTY(next_)                             \
	{                                            \
		.kind = VIGIA_INPUT_BATCH, .next = next_ \
	}
#define BATCH_GONE(gone_, next_, ...)                                                \
	{                                                                                \
		.kind = VIGIA_INPUT_BATCH, .gone = (gone_), .next = next_, SEQS(__VA_ARGS__) \
	}
#define EMPTY_GONE(gone_, next_)                                  \
	{                                                             \
		.kind = VIGIA_INPUT_BATCH, .gone = (gone_), .next = next_ \
	}
#define FETCH_FAILED                     \
	{                                    \
		.kind = VIGIA_INPUT_FETCH_FAILED \
	}
#define DEFERRED                     \
	{                                \
		.kind = VIGIA_INPUT_DEFERRED \
	}
#define HANDLED                     \
	{                               \
		.kind = VIGIA_INPUT_HANDLED \
	}
#define DROPPED                                      \
	{                                                \
		.kind = VIGIA_INPUT_HANDLED, .dropped = true \
	}
#define FAILED                     \
	{                              \
		.kind = VIGIA_INPUT_FAILED \
	}
#define DAMAGED                                       \
	{                                                 \
		.kind = VIGIA_INPUT_FAILED, .permanent = true \
	}
#define SAVED                     \
	{                             \
		.kind = VIGIA_INPUT_SAVED \
	}
#define SAVE_FAILED                     \
	{                                   \
		.kind = VIGIA_INPUT_SAVE_FAILED \
	}
#define LETTER(n, attempts_)                                                \
	{                                                                       \
		.kind = VIGIA_INPUT_LETTER, .seq_num = (n), .attempts = (attempts_) \
	}
#define RETRY                     \
	{                             \
		.kind = VIGIA_INPUT_RETRY \
	}
#define REREAD                     \
	{                              \
		.kind = VIGIA_INPUT_REREAD \
	}
#define WAKE                     \
	{                            \
		.kind = VIGIA_INPUT_WAKE \
	}
#define TICK                     \
	{                            \
		.kind = VIGIA_INPUT_TICK \
	}
#define STOP                     \
	{                            \
		.kind = VIGIA_INPUT_STOP \
	}
#define SEEK(n)                                  \
	{                                            \
		.kind = VIGIA_INPUT_SEEK, .seq_num = (n) \
	}

#define READ(from_)                              \
	{                                            \
		.kind = VIGIA_ACTION_READ, .from = from_ \
	}
#define HANDLE(index_, seq, attempt_)                                                           \
	{                                                                                           \
		.kind = VIGIA_ACTION_HANDLE, .index = (index_), .seq_num = (seq), .attempt = (attempt_) \
	}
#define SAVE(n)                                   \
	{                                             \
		.kind = VIGIA_ACTION_SAVE, .seq_num = (n) \
	}
#define SAVE_BACK(n)                                                 \
	{                                                                \
		.kind = VIGIA_ACTION_SAVE, .seq_num = (n), .backwards = true \
	}
#define SAVE_ASIDE(n, index_, attempt_)                                                                    \
	{                                                                                                      \
		.kind = VIGIA_ACTION_SAVE, .seq_num = (n), .index = (index_), .attempt = (attempt_), .aside = true \
	}
#define HANDLE_LETTER(n, attempt_)                                                         \
	{                                                                                      \
		.kind = VIGIA_ACTION_HANDLE, .seq_num = (n), .attempt = (attempt_), .letter = true \
	}
#define SAVE_LETTER(n, attempt_)                                                         \
	{                                                                                    \
		.kind = VIGIA_ACTION_SAVE, .seq_num = (n), .attempt = (attempt_), .letter = true \
	}
#define KEEP_LETTER(n, attempt_)                                                                         \
	{                                                                                                    \
		.kind = VIGIA_ACTION_SAVE, .seq_num = (n), .attempt = (attempt_), .letter = true, .failed = true \
	}
#define LISTEN(from_)                              \
	{                                              \
		.kind = VIGIA_ACTION_LISTEN, .from = from_ \
	}
#define WAIT(t)                                         \
	{                                                   \
		.kind = VIGIA_ACTION_WAIT, .until_mono_ns = (t) \
	}
#define NONE                      \
	{                             \
		.kind = VIGIA_ACTION_NONE \
	}
#define STOPPED                      \
	{                                \
		.kind = VIGIA_ACTION_STOPPED \
	}

struct row {
	int64_t now;
	struct vigia__input in;
	struct vigia__action out;
	uint64_t commit; /* the driver's own commit just before: what it moved `saved` to */
	bool used;       /* ends a table */
};
#define R(now_, in_, out_)                                  \
	{                                                       \
		.now = (now_), .in = in_, .out = out_, .used = true \
	}
#define R_COMMIT(n, now_, in_, out_)                                       \
	{                                                                      \
		.now = (now_), .in = in_, .out = out_, .commit = (n), .used = true \
	}

struct end {
	enum vigia_watcher_state state;
	uint64_t done, saved;
	uint64_t processed, failed, retried, skipped, dead_lettered, missed, fetch_errors, last_processed;
	struct vigia_iterator position; /* {0}: after(done) */
	bool never_started;             /* position: trim horizon */
	uint64_t blocked;
};

enum { ROWS_MAX = 32 };

#define EVENT        .options.checkpoint = VIGIA_CHECKPOINT_EVENT
#define MANUAL       .options.checkpoint = VIGIA_CHECKPOINT_MANUAL
#define EPHEMERAL    .options.ephemeral = true
#define SKIP_DAMAGED .options.on_damage = VIGIA_DAMAGE_SKIP
#define ASIDE(n)     .options.retry_strategy = VIGIA_RETRY_DEAD_LETTER, .options.max_retries = (n)
#define SKIP(n)      .options.retry_strategy = VIGIA_RETRY_SKIP, .options.max_retries = (n)

static const char *const action_names[] = {"NONE", "READ", "HANDLE", "SAVE", "LISTEN", "WAIT", "STOPPED"};

static inline const char *show(struct vigia__action a, char *out, size_t size)
{
	char from[64];
	vigia__iterator_format(a.from, from, sizeof from);
	snprintf(out, size, "%s from=%s index=%zu attempt=%" PRIu64 " seq_num=%" PRIu64 "%s%s%s%s until=%" PRId64,
	         action_names[a.kind], from, a.index, a.attempt, a.seq_num, a.backwards ? " backwards" : "",
	         a.aside ? " aside" : "", a.letter ? " letter" : "", a.failed ? " failed" : "", a.until_mono_ns);
	return out;
}

static inline bool same(struct vigia__action a, struct vigia__action b)
{
	return a.kind == b.kind && vigia__iterator_equal(a.from, b.from) && a.index == b.index && a.attempt == b.attempt &&
	       a.seq_num == b.seq_num && a.backwards == b.backwards && a.aside == b.aside && a.letter == b.letter &&
	       a.failed == b.failed && a.until_mono_ns == b.until_mono_ns;
}

static inline void run_rows(struct vigia__stepper *w, const struct row *rows, const char *part)
{
	for (size_t i = 0; i < ROWS_MAX && rows[i].used; i++) {
		char got_text[200], want_text[200];
		if (rows[i].commit) w->saved = rows[i].commit;
		struct vigia__action got = vigia__stepper_step(w, &rows[i].in, rows[i].now);
		if (!same(got, rows[i].out))
			fail_msg("%s, row %zu: expected %s, got %s", part, i + 1, show(rows[i].out, want_text, sizeof want_text),
			         show(got, got_text, sizeof got_text));
	}
}

static inline void begin(struct vigia__stepper *w, struct vigia__stepper_options options, uint64_t saved)
{
	if (options.backoff.initial_ns == 0) options.backoff = (struct vigia__backoff){.initial_ns = 100, .max_ns = 400};
	vigia__stepper_init(w, &options);
	w->saved = saved;
}

static inline void check_end(const struct vigia__stepper *w, const struct end *end)
{
	struct vigia_iterator position = vigia__stepper_position(w);
	struct vigia_iterator expected = end->position.kind || end->never_started ? end->position : AFTER(end->done);
	assert_int_equal(w->state, end->state);
	assert_int_equal(w->done, end->done);
	assert_int_equal(w->saved, end->saved);
	assert_int_equal(w->processed, end->processed);
	assert_int_equal(w->failed, end->failed);
	assert_int_equal(w->retried, end->retried);
	assert_int_equal(w->skipped, end->skipped);
	assert_int_equal(w->dead_lettered, end->dead_lettered);
	assert_int_equal(w->missed, end->missed);
	assert_int_equal(w->fetch_errors, end->fetch_errors);
	assert_int_equal(w->last_processed, end->last_processed);
	assert_int_equal(position.kind, expected.kind);
	assert_int_equal(position.seq_num, expected.seq_num);
	assert_int_equal(vigia__stepper_blocked(w), end->blocked);
}

#endif
