/*
 * test_stepper_phases.c - each phase a watcher can be in, against STOP, SEEK, TICK and WAKE, and against inputs that do
 * not fit.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stepper_words.h"

enum { INPUTS = 4 };
static const char *const input_names[INPUTS] = {"STOP [W14]", "W9 SEEK", "W5 TICK", "S6 WAKE"};

struct phase_case {
	const char *name;
	struct vigia__stepper_options options;
	struct row setup[8];
	struct {
		struct row rows[6]; /* the input, its action, and what comes of it */
		struct end end;
	} then[INPUTS]; /* STOP, SEEK to 1, TICK, WAKE */
};

/* The batch holds 2 and 3; number 1 was dropped by the filter. */
#define TO_READING   R(0, START(AFTER(0), 0), READ(AFTER(0)))
#define TO_HANDLING  TO_READING, R(0, BATCH(AFTER(3), 2, 3), HANDLE(0, 2, 1)), R(0, HANDLED, HANDLE(1, 3, 1))
#define TO_LISTENING TO_READING, R(0, EMPTY(AFTER(3)), READ(AFTER(3))), R(0, EMPTY(AFTER(3)), LISTEN(AFTER(3)))

static const struct phase_case phase_cases[] = {
	{"idle", .then = {{{R(0, STOP, STOPPED)}, {VIGIA_STOPPED, .never_started = true}},
                      {{R(0, SEEK(1), SAVE_BACK(1)), R(0, SAVED, NONE)}, {VIGIA_IDLE, .done = 1, .saved = 1}},
                      {{R(0, TICK, NONE)}, {VIGIA_IDLE, .never_started = true}},
                      {{R(0, WAKE, NONE)}, {VIGIA_IDLE, .never_started = true}}}},
	{"idle, a seek being saved", .setup = {R(0, SEEK(7), SAVE_BACK(7))},
     .then = {{{R(0, STOP, NONE), R(0, SAVE_FAILED, STOPPED)}, {VIGIA_STOPPED, .never_started = true}},
              {{R(0, SEEK(1), NONE), R(0, SAVED, SAVE_BACK(1)), R(0, SAVED, NONE)},
               {VIGIA_IDLE, .done = 1, .saved = 1}},
              {{R(0, TICK, NONE), R(0, SAVED, NONE)}, {VIGIA_IDLE, .done = 7, .saved = 7}},
              {{R(0, WAKE, NONE), R(0, SAVED, NONE)}, {VIGIA_IDLE, .done = 7, .saved = 7}}}},
	{"idle, a seek waiting for its retry", .setup = {R(0, SEEK(7), SAVE_BACK(7)), R(0, SAVE_FAILED, WAIT(100))},
     .then = {{{R(0, STOP, SAVE_BACK(7)), R(0, SAVED, STOPPED)}, {VIGIA_STOPPED, .done = 7, .saved = 7}},
              {{R(0, SEEK(1), SAVE_BACK(1)), R(0, SAVED, NONE)}, {VIGIA_IDLE, .done = 1, .saved = 1}},
              {{R(99, TICK, WAIT(100)), R(100, TICK, SAVE_BACK(7)), R(100, SAVED, NONE)},
               {VIGIA_IDLE, .done = 7, .saved = 7}},
              {{R(100, WAKE, WAIT(100))}, {VIGIA_IDLE, .never_started = true}}}},
	{"stopped", .setup = {TO_LISTENING, R(0, STOP, SAVE(3)), R(0, SAVED, STOPPED)},
     .then = {{{R(0, STOP, NONE)}, {VIGIA_STOPPED, .done = 3, .saved = 3}},
              {{R(0, SEEK(1), SAVE_BACK(1)), R(0, SAVED, NONE)}, {VIGIA_STOPPED, .done = 1, .saved = 1}},
              {{R(0, TICK, NONE)}, {VIGIA_STOPPED, .done = 3, .saved = 3}},
              {{R(0, WAKE, NONE)}, {VIGIA_STOPPED, .done = 3, .saved = 3}}}},
	{"stopped, a seek being saved",
     .setup = {TO_LISTENING, R(0, STOP, SAVE(3)), R(0, SAVED, STOPPED), R(0, SEEK(7), SAVE_BACK(7))},
     .then = {{{R(0, STOP, NONE), R(0, SAVED, STOPPED)}, {VIGIA_STOPPED, .done = 7, .saved = 7}},
              {{R(0, SEEK(1), NONE), R(0, SAVE_FAILED, SAVE_BACK(1)), R(0, SAVED, NONE)},
               {VIGIA_STOPPED, .done = 1, .saved = 1}},
              {{R(0, TICK, NONE)}, {VIGIA_STOPPED, .done = 3, .saved = 3}},
              {{R(0, WAKE, NONE)}, {VIGIA_STOPPED, .done = 3, .saved = 3}}}},
	{"reading", .setup = {TO_READING},
     .then = {{{R(0, STOP, NONE), R(0, BATCH(AFTER(9), 9), STOPPED)}, {.state = VIGIA_STOPPED}},
              {{R(0, SEEK(1), NONE), R(0, BATCH(AFTER(9), 9), SAVE_BACK(1)), R(0, SAVED, READ(AFTER(1)))},
               {VIGIA_RUNNING, .done = 1, .saved = 1}},
              {{R(0, TICK, NONE), R(0, BATCH(AFTER(9), 9), HANDLE(0, 9, 1))}, {VIGIA_RUNNING, .done = 8}},
              {{R(0, WAKE, NONE), R(0, BATCH(AFTER(9), 9), HANDLE(0, 9, 1))}, {VIGIA_RUNNING, .done = 8}}}},
	{"handling", .setup = {TO_HANDLING},
     .then = {{{R(0, STOP, NONE), R(0, HANDLED, SAVE(3)), R(0, SAVED, STOPPED)},
               {VIGIA_STOPPED, .done = 3, .saved = 3, .processed = 2, .last_processed = 3}},
              {{R(0, SEEK(1), NONE), R(0, HANDLED, SAVE_BACK(1)), R(0, SAVED, READ(AFTER(1)))},
               {VIGIA_RUNNING, .done = 1, .saved = 1, .processed = 2, .last_processed = 3}},
              {{R(0, TICK, NONE), R(0, HANDLED, READ(AFTER(3)))},
               {VIGIA_RUNNING, .done = 3, .processed = 2, .last_processed = 3}},
              {{R(0, WAKE, NONE), R(0, HANDLED, READ(AFTER(3)))},
               {VIGIA_RUNNING, .done = 3, .processed = 2, .last_processed = 3}}}},
	{"waiting to handle again", .setup = {TO_HANDLING, R(0, FAILED, WAIT(100))},
     .then = {{{R(0, STOP, SAVE(2)), R(0, SAVED, STOPPED)},
               {VIGIA_STOPPED, .done = 2, .saved = 2, .processed = 1, .failed = 1, .last_processed = 2}},
              {{R(0, SEEK(1), SAVE_BACK(1)), R(0, SAVED, READ(AFTER(1)))},
               {VIGIA_RUNNING, .done = 1, .saved = 1, .processed = 1, .failed = 1, .last_processed = 2}},
              {{R(99, TICK, WAIT(100)), R(100, TICK, HANDLE(1, 3, 2))},
               {VIGIA_RUNNING, .done = 2, .processed = 1, .failed = 1, .retried = 1, .last_processed = 2,
                .blocked = 3}},
              {{R(100, WAKE, WAIT(100))},
               {VIGIA_RUNNING, .done = 2, .processed = 1, .failed = 1, .last_processed = 2, .blocked = 3}}}},
	{"saving an event", EVENT,
     .setup = {TO_READING, R(0, BATCH(AFTER(3), 2, 3), HANDLE(0, 2, 1)), R(0, HANDLED, SAVE(2))},
     .then = {{{R(0, STOP, NONE), R(0, SAVED, STOPPED)},
               {VIGIA_STOPPED, .done = 2, .saved = 2, .processed = 1, .last_processed = 2}},
              {{R(0, SEEK(1), NONE), R(0, SAVED, SAVE_BACK(1)), R(0, SAVED, READ(AFTER(1)))},
               {VIGIA_RUNNING, .done = 1, .saved = 1, .processed = 1, .last_processed = 2}},
              {{R(0, TICK, NONE), R(0, SAVED, HANDLE(1, 3, 1))},
               {VIGIA_RUNNING, .done = 2, .saved = 2, .processed = 1, .last_processed = 2}},
              {{R(0, WAKE, NONE), R(0, SAVED, HANDLE(1, 3, 1))},
               {VIGIA_RUNNING, .done = 2, .saved = 2, .processed = 1, .last_processed = 2}}}},
	{"waiting to save an event again", EVENT,
     .setup = {TO_READING, R(0, BATCH(AFTER(3), 2, 3), HANDLE(0, 2, 1)), R(0, HANDLED, SAVE(2)),
               R(0, SAVE_FAILED, WAIT(100))},
     .then = {{{R(0, STOP, SAVE(2)), R(0, SAVED, STOPPED)},
               {VIGIA_STOPPED, .done = 2, .saved = 2, .processed = 1, .last_processed = 2}},
              {{R(0, SEEK(1), SAVE_BACK(1)), R(0, SAVED, READ(AFTER(1)))},
               {VIGIA_RUNNING, .done = 1, .saved = 1, .processed = 1, .last_processed = 2}},
              {{R(99, TICK, WAIT(100)), R(100, TICK, SAVE(2)), R(100, SAVED, HANDLE(1, 3, 1))},
               {VIGIA_RUNNING, .done = 2, .saved = 2, .processed = 1, .last_processed = 2}},
              {{R(100, WAKE, WAIT(100))}, {VIGIA_RUNNING, .done = 2, .processed = 1, .last_processed = 2}}}},
	{"saving a seek", .setup = {TO_LISTENING, R(0, SEEK(7), SAVE_BACK(7))},
     .then = {{{R(0, STOP, NONE), R(0, SAVED, STOPPED)}, {VIGIA_STOPPED, .done = 7, .saved = 7}},
              {{R(0, SEEK(1), NONE), R(0, SAVED, SAVE_BACK(1)), R(0, SAVED, READ(AFTER(1)))},
               {VIGIA_RUNNING, .done = 1, .saved = 1}},
              {{R(0, TICK, NONE), R(0, SAVED, READ(AFTER(7)))}, {VIGIA_RUNNING, .done = 7, .saved = 7}},
              {{R(0, WAKE, NONE), R(0, SAVED, READ(AFTER(7)))}, {VIGIA_RUNNING, .done = 7, .saved = 7}}}},
	{"waiting to save a seek again", .setup = {TO_LISTENING, R(0, SEEK(7), SAVE_BACK(7)), R(0, SAVE_FAILED, WAIT(100))},
     .then = {{{R(0, STOP, SAVE_BACK(7)), R(0, SAVE_FAILED, STOPPED)}, {VIGIA_STOPPED, .done = 3}},
              {{R(0, SEEK(1), SAVE_BACK(1)), R(0, SAVED, READ(AFTER(1)))}, {VIGIA_RUNNING, .done = 1, .saved = 1}},
              {{R(99, TICK, WAIT(100)), R(100, TICK, SAVE_BACK(7)), R(100, SAVED, READ(AFTER(7)))},
               {VIGIA_RUNNING, .done = 7, .saved = 7}},
              {{R(100, WAKE, WAIT(100))}, {VIGIA_RUNNING, .done = 3}}}},
	{"listening", .setup = {TO_LISTENING},
     .then = {{{R(0, STOP, SAVE(3)), R(0, SAVED, STOPPED)}, {VIGIA_STOPPED, .done = 3, .saved = 3}},
              {{R(0, SEEK(1), SAVE_BACK(1)), R(0, SAVED, READ(AFTER(1)))}, {VIGIA_RUNNING, .done = 1, .saved = 1}},
              {{R(0, TICK, NONE)}, {VIGIA_RUNNING, .done = 3}},
              {{R(0, WAKE, READ(AFTER(3)))}, {VIGIA_RUNNING, .done = 3}}}},
	{"waiting to read again", .setup = {TO_READING, R(0, FETCH_FAILED, WAIT(100))},
     .then = {{{R(0, STOP, STOPPED)}, {VIGIA_STOPPED, .fetch_errors = 1}},
              {{R(0, SEEK(1), SAVE_BACK(1)), R(0, SAVED, READ(AFTER(1)))},
               {VIGIA_RUNNING, .done = 1, .saved = 1, .fetch_errors = 1}},
              {{R(99, TICK, WAIT(100)), R(100, TICK, READ(AFTER(0)))}, {VIGIA_RUNNING, .fetch_errors = 1}},
              {{R(100, WAKE, WAIT(100))}, {VIGIA_RUNNING, .fetch_errors = 1}}}},
	{"stopping, reading", .setup = {TO_READING, R(0, STOP, NONE)},
     .then = {{{R(0, STOP, NONE), R(0, EMPTY(AFTER(0)), STOPPED)}, {.state = VIGIA_STOPPED}},
              {{R(0, SEEK(1), NONE), R(0, EMPTY(AFTER(0)), SAVE_BACK(1)), R(0, SAVED, STOPPED)},
               {VIGIA_STOPPED, .done = 1, .saved = 1}},
              {{R(0, TICK, NONE), R(0, EMPTY(AFTER(0)), STOPPED)}, {.state = VIGIA_STOPPED}},
              {{R(0, WAKE, NONE), R(0, FETCH_FAILED, STOPPED)}, {VIGIA_STOPPED, .fetch_errors = 1}}}},
	{"stopping, handling", .setup = {TO_HANDLING, R(0, STOP, NONE)},
     .then = {{{R(0, STOP, NONE), R(0, FAILED, SAVE(2)), R(0, SAVED, STOPPED)},
               {VIGIA_STOPPED, .done = 2, .saved = 2, .processed = 1, .failed = 1, .last_processed = 2}},
              {{R(0, SEEK(1), NONE), R(0, HANDLED, SAVE_BACK(1)), R(0, SAVED, STOPPED)},
               {VIGIA_STOPPED, .done = 1, .saved = 1, .processed = 2, .last_processed = 3}},
              {{R(0, TICK, NONE), R(0, HANDLED, SAVE(3))},
               {VIGIA_STOPPING, .done = 3, .processed = 2, .last_processed = 3}},
              {{R(0, WAKE, NONE), R(0, HANDLED, SAVE(3))},
               {VIGIA_STOPPING, .done = 3, .processed = 2, .last_processed = 3}}}},
	{"stopping, saving", .setup = {TO_LISTENING, R(0, STOP, SAVE(3))},
     .then = {{{R(0, STOP, NONE), R(0, SAVE_FAILED, STOPPED)}, {VIGIA_STOPPED, .done = 3}},
              {{R(0, SEEK(1), NONE), R(0, SAVE_FAILED, SAVE_BACK(1)), R(0, SAVED, STOPPED)},
               {VIGIA_STOPPED, .done = 1, .saved = 1}},
              {{R(0, TICK, NONE), R(0, SAVED, STOPPED)}, {VIGIA_STOPPED, .done = 3, .saved = 3}},
              {{R(0, WAKE, NONE), R(0, SAVED, STOPPED)}, {VIGIA_STOPPED, .done = 3, .saved = 3}}}},
	{"stopping, saving a seek", .setup = {TO_LISTENING, R(0, SEEK(7), SAVE_BACK(7)), R(0, STOP, NONE)},
     .then = {{{R(0, STOP, NONE), R(0, SAVED, STOPPED)}, {VIGIA_STOPPED, .done = 7, .saved = 7}},
              {{R(0, SEEK(1), NONE), R(0, SAVE_FAILED, SAVE_BACK(1)), R(0, SAVED, STOPPED)},
               {VIGIA_STOPPED, .done = 1, .saved = 1}},
              {{R(0, TICK, NONE), R(0, SAVED, STOPPED)}, {VIGIA_STOPPED, .done = 7, .saved = 7}},
              {{R(0, WAKE, NONE), R(0, SAVE_FAILED, STOPPED)}, {VIGIA_STOPPED, .done = 3}}}},
};

enum { PHASES = COUNT_OF(phase_cases) };

struct phase_input {
	const struct phase_case *phase;
	int input;
	char name[100];
};

static void phase_test(void **state)
{
	const struct phase_input *c = *state;
	struct vigia__stepper w;
	begin(&w, c->phase->options, 0);
	struct row rows[ROWS_MAX] = {0};
	memcpy(rows, c->phase->setup, sizeof c->phase->setup);
	run_rows(&w, rows, "setup");
	memset(rows, 0, sizeof rows);
	memcpy(rows, c->phase->then[c->input].rows, sizeof c->phase->then[c->input].rows);
	run_rows(&w, rows, "then");
	check_end(&w, &c->phase->then[c->input].end);
}

/* ---- Inputs that do not fit ---- */

/* Does this input abort the process? Tried in a child. */
static bool aborts(const struct vigia__stepper *watcher, const struct vigia__input *in)
{
	struct vigia__stepper w = *watcher;
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)!freopen("/dev/null", "w", stderr);
		vigia__stepper_step(&w, in, 0);
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_inputs_that_do_not_fit_the_phase(void **state)
{
#ifdef NDEBUG
	skip();
#endif
	static const uint64_t seqs[] = {9};
	/* Names of the setups where an input fits, in bars. */
	static const char
		at_rest[] =
			"|idle|idle, a seek being saved|idle, a seek waiting for its retry|stopped|stopped, a seek being saved|",
		read[] = "|reading|stopping, reading|", handle[] = "|handling|stopping, handling|",
		save[] = "|idle, a seek being saved|stopped, a seek being saved|saving an event|saving a seek|stopping, saving|"
				 "stopping, saving a seek|";
	static const struct {
		struct vigia__input in;
		const char *fits;
	} inputs[] = {
		{START(AFTER(3), 3), at_rest},
		{{.kind = VIGIA_INPUT_BATCH, .next = AFTER(9), .seqs = seqs, .count = 1}, read},
		{FETCH_FAILED, read},
		{DEFERRED, handle},
		{HANDLED, handle},
		{FAILED, handle},
		{SAVED, save},
		{SAVE_FAILED, save},
	};
	for (size_t p = 0; p < PHASES; p++) {
		struct vigia__stepper w;
		struct row rows[ROWS_MAX] = {0};
		begin(&w, phase_cases[p].options, 0);
		memcpy(rows, phase_cases[p].setup, sizeof phase_cases[p].setup);
		run_rows(&w, rows, "setup");
		for (size_t i = 0; i < COUNT_OF(inputs); i++) {
			char name[64];
			snprintf(name, sizeof name, "|%s|", phase_cases[p].name);
			bool fits = strstr(inputs[i].fits, name) != NULL;
			if (aborts(&w, &inputs[i].in) == fits)
				fail_msg("input %zu while %s: %s", i, phase_cases[p].name, fits ? "aborted" : "accepted");
		}
	}
}

static void test_values_that_do_not_fit(void **state)
{
#ifdef NDEBUG
	skip();
#endif
	static const uint64_t seqs[] = {5, 5}, early[] = {3, 6};
	static const struct vigia__input starts[] = {START(((struct vigia_iterator){.kind = VIGIA_TRIM_HORIZON}), 0),
	                                             START(((struct vigia_iterator){.kind = VIGIA_LATEST}), 0),
	                                             START(AFTER(3), 4), START(AT(4), 4)};
	static const struct vigia__input batches[] = {
		EMPTY(AFTER(2)),                                                          /* backwards */
		EMPTY(((struct vigia_iterator){.kind = VIGIA_LATEST})),                   /* not resolved */
		{.kind = VIGIA_INPUT_BATCH, .next = AFTER(4), .seqs = seqs, .count = 1},  /* goes on before its event */
		{.kind = VIGIA_INPUT_BATCH, .next = AFTER(6), .seqs = early, .count = 2}, /* an event that was handled */
	};
	struct vigia__stepper w;
	begin(&w, (struct vigia__stepper_options){0}, 0);
	for (size_t i = 0; i < COUNT_OF(starts); i++) assert_true(aborts(&w, &starts[i]));
	vigia__stepper_step(&w, &(struct vigia__input)START(AFTER(3), 3), 0);
	for (size_t i = 0; i < COUNT_OF(batches); i++) assert_true(aborts(&w, &batches[i]));
	vigia__stepper_step(
		&w, &(struct vigia__input){.kind = VIGIA_INPUT_BATCH, .next = AFTER(6), .seqs = seqs, .count = 2}, 0);
	assert_true(aborts(&w, &(struct vigia__input)HANDLED)); /* the batch holds one number twice */
}

int main(void)
{
	static struct phase_input inputs[PHASES * INPUTS];
	static struct CMUnitTest tests[PHASES * INPUTS + 2] = {
		[PHASES * INPUTS] = cmocka_unit_test(test_inputs_that_do_not_fit_the_phase),
		cmocka_unit_test(test_values_that_do_not_fit),
	};
	for (size_t i = 0; i < PHASES * INPUTS; i++) {
		struct phase_input *c = &inputs[i];
		c->phase = &phase_cases[i / INPUTS];
		c->input = i % INPUTS;
		snprintf(c->name, sizeof c->name, "%s while %s", input_names[c->input], c->phase->name);
		tests[i] = (struct CMUnitTest){.name = c->name, .test_func = phase_test, .initial_state = c};
	}
	return cmocka_run_group_tests_name("watcher phases", tests, NULL, NULL);
}
