/*
 * test_stepper_letters.c - the watcher's step function and dead letters, told in scenarios as in test_stepper.c.
 */
#include "stepper_words.h"

struct scenario {
	const char *name;
	struct vigia__stepper_options options;
	struct row rows[ROWS_MAX];
	struct end end;
};

static const struct scenario scenarios[] = {
	/* L1: an event is put aside */
	{"an event that failed max_retries times is put aside, and passed with what the filter dropped behind it [L1]",
     ASIDE(2),
     .rows = {R(0, START(AFTER(0), 0), READ(AFTER(0))), R(0, BATCH(AFTER(20), 5, 9), HANDLE(0, 5, 1)),
              R(0, FAILED, WAIT(100)), R(100, TICK, HANDLE(0, 5, 2)), R(100, FAILED, SAVE_ASIDE(8, 0, 2)),
              R(100, SAVED, HANDLE(1, 9, 1))},
     .end = {VIGIA_RUNNING, .done = 8, .saved = 8, .failed = 2, .retried = 1, .dead_lettered = 1}},
	{"it is not passed before its letter is saved [L1]", ASIDE(1),
     .rows = {R(0, START(AFTER(0), 0), READ(AFTER(0))), R(0, BATCH(AFTER(20), 5, 9), HANDLE(0, 5, 1)),
              R(0, FAILED, SAVE_ASIDE(8, 0, 1))},
     .end = {VIGIA_RUNNING, .done = 4, .failed = 1, .blocked = 5}},
	{"a letter that cannot be stored blocks its event, and is tried again with a backoff [L1]", ASIDE(1),
     .rows = {R(0, START(AFTER(0), 0), READ(AFTER(0))), R(0, BATCH(AFTER(5), 5), HANDLE(0, 5, 1)),
              R(0, FAILED, SAVE_ASIDE(5, 0, 1)), R(0, SAVE_FAILED, WAIT(100)), R(50, WAKE, WAIT(100)),
              R(100, TICK, SAVE_ASIDE(5, 0, 1)), R(100, SAVE_FAILED, WAIT(300)), R(300, TICK, SAVE_ASIDE(5, 0, 1)),
              R(300, REREAD, NONE), R(300, SAVED, READ(AFTER(5)))},
     .end = {VIGIA_RUNNING, .done = 5, .saved = 5, .failed = 1, .dead_lettered = 1}},
	{"manual: the letter leaves the checkpoint as it is [L1]", ASIDE(1), MANUAL,
     .rows = {R(0, START(AFTER(0), 0), READ(AFTER(0))), R(0, BATCH(AFTER(5), 5), HANDLE(0, 5, 1)),
              R(0, FAILED, SAVE_ASIDE(5, 0, 1)), R(0, SAVED, READ(AFTER(5)))},
     .end = {VIGIA_RUNNING, .done = 5, .failed = 1, .dead_lettered = 1}},
	{"event: the letter's commit is the save of the event [L1]", ASIDE(1), EVENT,
     .rows = {R(0, START(AFTER(0), 0), READ(AFTER(0))), R(0, BATCH(AFTER(6), 5, 6), HANDLE(0, 5, 1)),
              R(0, FAILED, SAVE_ASIDE(5, 0, 1)), R(0, SAVED, HANDLE(1, 6, 1))},
     .end = {VIGIA_RUNNING, .done = 5, .saved = 5, .failed = 1, .dead_lettered = 1}},
	{"a stop waits for the letter [L1]", ASIDE(1),
     .rows = {R(0, START(AFTER(0), 0), READ(AFTER(0))), R(0, BATCH(AFTER(5), 5), HANDLE(0, 5, 1)),
              R(0, FAILED, SAVE_ASIDE(5, 0, 1)), R(0, STOP, NONE), R(0, SAVED, STOPPED)},
     .end = {VIGIA_STOPPED, .done = 5, .saved = 5, .failed = 1, .dead_lettered = 1}},
	{"a stop gives a letter that could not be stored one more try, and leaves the event [L1]", ASIDE(1),
     .rows = {R(0, START(AFTER(0), 0), READ(AFTER(0))), R(0, BATCH(AFTER(5), 5), HANDLE(0, 5, 1)),
              R(0, FAILED, SAVE_ASIDE(5, 0, 1)), R(0, SAVE_FAILED, WAIT(100)), R(10, STOP, SAVE_ASIDE(5, 0, 1)),
              R(10, SAVE_FAILED, STOPPED)},
     .end = {VIGIA_STOPPED, .done = 4, .failed = 1}},
	{"a seek leaves the event and its letter [L1]", ASIDE(1),
     .rows = {R(0, START(AFTER(0), 0), READ(AFTER(0))), R(0, BATCH(AFTER(5), 5), HANDLE(0, 5, 1)),
              R(0, FAILED, SAVE_ASIDE(5, 0, 1)), R(0, SAVE_FAILED, WAIT(100)), R(10, SEEK(2), SAVE_BACK(2)),
              R(10, SAVED, READ(AFTER(2))), R(10, EMPTY(AFTER(2)), LISTEN(AFTER(2)))},
     .end = {VIGIA_RUNNING, .done = 2, .saved = 2, .failed = 1}},

	/* L2: a letter is handled again */
	{"a letter is handled before new events, goes, and the watcher reads on [L2]",
     .rows = {R(0, START(AFTER(7), 7), READ(AFTER(7))), R(0, LETTER(3, 4), HANDLE_LETTER(3, 5)),
              R(0, HANDLED, SAVE_LETTER(3, 5)), R(0, SAVED, READ(AFTER(7))), R(0, LETTER(5, 1), HANDLE_LETTER(5, 2)),
              R(0, HANDLED, SAVE_LETTER(5, 2)), R(0, SAVED, READ(AFTER(7))), R(0, BATCH(AFTER(8), 8), HANDLE(0, 8, 1))},
     .end = {VIGIA_RUNNING, .done = 7, .processed = 2, .last_processed = 5}},
	{"one that fails again stays, without a retry [L2]",
     .rows = {R(0, START(AFTER(7), 7), READ(AFTER(7))), R(0, LETTER(3, 4), HANDLE_LETTER(3, 5)),
              R(0, FAILED, KEEP_LETTER(3, 5)), R(0, SAVED, READ(AFTER(7)))},
     .end = {VIGIA_RUNNING, .done = 7, .failed = 1}},
	{"one that the handler did not want goes, and does not count as processed [L2]",
     .rows = {R(0, START(AFTER(7), 7), READ(AFTER(7))), R(0, LETTER(3, 4), HANDLE_LETTER(3, 5)),
              R(0, DROPPED, SAVE_LETTER(3, 5)), R(0, SAVE_FAILED, WAIT(100)), R(100, TICK, READ(AFTER(7))),
              R(100, LETTER(3, 4), HANDLE_LETTER(3, 5)), R(100, DROPPED, SAVE_LETTER(3, 5)),
              R(100, SAVED, READ(AFTER(7)))},
     .end = {VIGIA_RUNNING, .done = 7}},
	{"one whose end cannot be saved is read again, and counts once [L2]",
     .rows = {R(0, START(AFTER(7), 7), READ(AFTER(7))), R(0, LETTER(3, 4), HANDLE_LETTER(3, 5)),
              R(0, HANDLED, SAVE_LETTER(3, 5)), R(0, SAVE_FAILED, WAIT(100)), R(100, TICK, READ(AFTER(7))),
              R(100, LETTER(3, 4), HANDLE_LETTER(3, 5)), R(100, HANDLED, SAVE_LETTER(3, 5)),
              R(100, SAVED, READ(AFTER(7)))},
     .end = {VIGIA_RUNNING, .done = 7, .processed = 1, .last_processed = 3}},
	{"a stop waits for the letter in hand, and no other one begins [L2]",
     .rows = {R(0, START(AFTER(7), 7), READ(AFTER(7))), R(0, LETTER(3, 4), HANDLE_LETTER(3, 5)), R(0, STOP, NONE),
              R(0, HANDLED, SAVE_LETTER(3, 5)), R(0, SAVED, SAVE(7)), R(0, SAVED, STOPPED)},
     .end = {VIGIA_STOPPED, .done = 7, .saved = 7, .processed = 1, .last_processed = 3}},
	{"a seek in its handler goes behind the letter's end [L2]",
     .rows = {R(0, START(AFTER(7), 7), READ(AFTER(7))), R(0, LETTER(3, 4), HANDLE_LETTER(3, 5)), R(0, SEEK(1), NONE),
              R(0, HANDLED, SAVE_LETTER(3, 5)), R(0, SAVED, SAVE_BACK(1)), R(0, SAVED, READ(AFTER(1)))},
     .end = {VIGIA_RUNNING, .done = 1, .saved = 1, .processed = 1, .last_processed = 3}},
	{"a letter that comes after a stop is left [L2]",
     .rows = {R(0, START(AFTER(7), 7), READ(AFTER(7))), R(0, STOP, NONE), R(0, LETTER(3, 4), SAVE(7)),
              R(0, SAVED, STOPPED)},
     .end = {VIGIA_STOPPED, .done = 7, .saved = 7}},
	{"new code leaves a letter that was not begun, and reads it anew [L2]",
     .rows = {R(0, START(AFTER(7), 7), READ(AFTER(7))), R(0, LETTER(3, 4), HANDLE_LETTER(3, 5)),
              R(0, REREAD, READ(AFTER(7))), R(0, BATCH(AFTER(8), 8), HANDLE(0, 8, 1)), R(0, HANDLED, READ(AFTER(8)))},
     .end = {VIGIA_RUNNING, .done = 8, .processed = 1, .last_processed = 8}},
};

static void scenario_test(void **state)
{
	const struct scenario *s = *state;
	struct vigia__stepper w;
	begin(&w, s->options, 0);
	run_rows(&w, s->rows, "scenario");
	check_end(&w, &s->end);
}

int main(void)
{
	static struct CMUnitTest tests[COUNT_OF(scenarios)];
	for (size_t i = 0; i < COUNT_OF(tests); i++)
		tests[i] = (struct CMUnitTest){
			.name = scenarios[i].name, .test_func = scenario_test, .initial_state = (void *)&scenarios[i]};
	return cmocka_run_group_tests_name("letters of a watcher", tests, NULL, NULL);
}
