/*
 * test_schedules.c - the wake words, the group commit and its hand-over to the helper, under every interleaving of up
 * to four actors.
 *
 * The product's own source is included, with its atomics, locks and futexes turned into steps (lib/explore.h). No time
 * passes in a wait: a wake-up that is lost is an actor that waits for ever. VIGIA_SOAK explores with one more
 * preemption.
 */
#include "test.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/error.h"
#include "explore.h"
#include "store/clock.h"
#include "store/commit.h"
#include "store/helper.h"
#include "store/thread.h"
#include "store/wake.h"
#include "store/wants.h"

/* ---- what the source under test calls ---- */

/* Of two kinds: one word with FUTEX_WAIT or FUTEX_WAKE, or an array of them (futex_waitv). */
static long explore_syscall(long number, ...)
{
	va_list args;
	va_start(args, number);
	long result = 0;
	if (number == SYS_futex) {
		uint32_t *word = va_arg(args, uint32_t *);
		int op = va_arg(args, int) & FUTEX_CMD_MASK;
		uint32_t value = va_arg(args, uint32_t);
		va_arg(args, void *);
		va_arg(args, void *);
		uint32_t bits = op == FUTEX_WAKE_BITSET || op == FUTEX_WAIT_BITSET ? va_arg(args, uint32_t) : UINT32_MAX;
		if (op == FUTEX_WAKE || op == FUTEX_WAKE_BITSET) result = explore_futex_wake(word, (int)value, bits);
		else result = explore_futex_wait((const uint32_t *const[]){word}, &value, 1, bits);
	} else {
		struct one {
			uint64_t val, uaddr;
			uint32_t flags, reserved;
		} *waits = va_arg(args, struct one *);
		unsigned count = va_arg(args, unsigned);
		const uint32_t *words[EXPLORE_WAITS_MAX];
		uint32_t seen[EXPLORE_WAITS_MAX];
		if (waits == NULL) {
			errno = EINVAL; /* is there such a call? There is. */
			result = -1;
		} else {
			for (unsigned i = 0; i < count && i < EXPLORE_WAITS_MAX; i++) {
				words[i] = (const uint32_t *)(uintptr_t)waits[i].uaddr;
				seen[i] = (uint32_t)waits[i].val;
			}
			result = explore_futex_wait(words, seen, count, UINT32_MAX);
		}
	}
	va_end(args);
	return result;
}

static void *(*thread_run[EXPLORE_ACTORS_MAX])(void *);

static void thread_entry(void *arg)
{
	thread_run[explore.current](arg);
	explore_wake(explore_self(), EXPLORE_ACTORS_MAX);
}

static int explore_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	thread_run[explore.count] = run;
	*thread = (pthread_t)explore_spawn(thread_entry, arg);
	return 0;
}

static int explore_join(int index)
{
	const void *actor = &explore.actors[index];
	while (!explore.actors[index].done) {
		explore_block(&actor, 1);
		/* It is woken in the other's last step, which ends right behind. */
		explore_point();
	}
	return 0;
}

#include "explore_replace.h"

#include "../../runtime/store/wake.c"

#include "../../runtime/store/wants.c"

#include "../../runtime/store/helper.c"

#include "../../runtime/store/commit.c"

/* ---- running ---- */

static void explore_or_fail(const char *what, int preemptions, void (*begin)(void), void (*end)(void))
{
	bool soak = getenv("VIGIA_SOAK") != NULL;
	long runs = explore_all(preemptions + soak, soak ? 0 : 50000, begin, end);
	if (explore.wrong) fail_msg("%s: %s, in schedule %s", what, explore.wrong, explore.schedule);
	print_message("# interleavings: %ld schedules of %s with %d preemptions\n", runs, what, preemptions + soak);
	fflush(stdout); /* for those who watch the long form, or interrupt it */
}

static void must_be_found(const char *what, int preemptions, void (*begin)(void), void (*end)(void))
{
	explore_all(preemptions, 400000, begin, end);
	if (explore.wrong == NULL) fail_msg("%s was not found", what);
}

/* ---- wake words ---- */

static struct {
	struct vigia__wake wake;
	_Atomic uint32_t words[VIGIA_WAKE_WORDS];
	struct vigia__bell bell, second; /* that no one rings */
	atomic_int events, reason;       /* what is committed; why a bell is rung */
	int wanted;
	bool ends_by_reason, looks_first, publishes_first, dies;
} w;

static struct vigia_slice type_of(int i)
{
	return i == 0 ? (struct vigia_slice){"A", 1} : (struct vigia_slice){"B", 1};
}

/* Commits one event, then publishes it. */
static void publisher(void *arg)
{
	struct vigia__wake_set set;
	vigia__wake_set_clear(&set);
	vigia__wake_set_add(&set, type_of((int)(intptr_t)arg));
	if (w.publishes_first) {
		vigia__wake_publish(&w.wake, &set);
		atomic_fetch_add(&w.events, 1);
		return;
	}
	atomic_fetch_add(&w.events, 1);
	vigia__wake_publish(&w.wake, &set);
}

static void ringer(void *arg)
{
	(void)arg;
	atomic_store(&w.reason, 1);
	vigia__bell_ring(&w.bell, &w.wake);
}

static bool waiter_done(void)
{
	return w.ends_by_reason ? atomic_load(&w.reason) == 1 : atomic_load(&w.events) >= w.wanted;
}

/* Waits until all that is wanted is there; `arg` says for which types: 0, 1, 2 (both) or 3 (anything). */
static void waiter(void *arg)
{
	int kind = (int)(intptr_t)arg;
	struct vigia__listen listen;
	struct vigia_slice types[] = {type_of(kind == 1), type_of(1)};
	vigia__listen_init(&listen, types, kind == 3 ? 0 : kind == 2 ? 2 : 1);
	vigia__listen_bell(&listen, &w.bell);
	for (;;) {
		if (w.looks_first) { /* planted: the look comes before the bit */
			if (waiter_done()) return;
			vigia__wake_prepare(&w.wake, &listen);
		} else {
			vigia__wake_prepare(&w.wake, &listen);
			if (waiter_done()) return;
		}
		if (w.dies) {
			explore_self()->killed = true;
			explore_point();
		}
		vigia__wake_wait(&w.wake, &listen, INT64_MAX);
	}
}

static void wake_begin(void)
{
	bool looks_first = w.looks_first, publishes_first = w.publishes_first;
	memset(&w, 0, sizeof w);
	w.wake = (struct vigia__wake){w.words, VIGIA_WAKE_WORDS};
	w.looks_first = looks_first;
	w.publishes_first = publishes_first;
}

static void nothing(void)
{
}

static void one_waiter_two_publishers(void)
{
	wake_begin();
	w.wanted = 2;
	explore_spawn(waiter, (void *)3);
	explore_spawn(publisher, (void *)0);
	explore_spawn(publisher, (void *)1);
}

static void two_waiters_two_publishers(void)
{
	wake_begin();
	w.wanted = 2;
	explore_spawn(waiter, (void *)2);
	explore_spawn(waiter, (void *)3);
	explore_spawn(publisher, (void *)0);
	explore_spawn(publisher, (void *)1);
}

static void a_bell_and_an_event(void)
{
	wake_begin();
	w.ends_by_reason = true;
	explore_spawn(waiter, (void *)0);
	explore_spawn(publisher, (void *)0);
	explore_spawn(ringer, NULL);
}

/* Waits until it is rung; `arg` says on which words: as for waiter(), or 4: on none. */
static void rung_waiter(void *arg)
{
	int kind = (int)(intptr_t)arg;
	struct vigia__listen listen = {0};
	struct vigia_slice types[] = {type_of(kind == 1), type_of(1)};
	if (kind != 4) vigia__listen_init(&listen, types, kind == 3 ? 0 : kind == 2 ? 2 : 1);
	vigia__listen_bell(&listen, &w.second);
	vigia__listen_bell(&listen, &w.bell);
	for (;;) {
		vigia__wake_prepare(&w.wake, &listen);
		if (atomic_load(&w.reason) == 1) return;
		vigia__wake_wait(&w.wake, &listen, INT64_MAX);
	}
}

/* Sleeps with a bell that no one rings. */
static void other_waiter(void *arg)
{
	struct vigia__listen listen;
	struct vigia_slice type = type_of((int)(intptr_t)arg);
	vigia__listen_init(&listen, &type, 1);
	vigia__listen_bell(&listen, &w.second);
	for (;;) {
		vigia__wake_prepare(&w.wake, &listen);
		if (atomic_load(&w.events) >= w.wanted) return;
		vigia__wake_wait(&w.wake, &listen, INT64_MAX);
	}
}

static void a_bell_of_one_of_two_on_a_word(void)
{
	wake_begin();
	w.wanted = 1;
	explore_spawn(rung_waiter, (void *)0);
	explore_spawn(other_waiter, (void *)0);
	explore_spawn(ringer, NULL);
	explore_spawn(publisher, (void *)0);
}

static void a_bell_of_two_on_two_words(void)
{
	wake_begin();
	explore_spawn(rung_waiter, (void *)0);
	explore_spawn(rung_waiter, (void *)1);
	explore_spawn(ringer, NULL);
}

static void a_bell_beside_several_words(void)
{
	wake_begin();
	explore_spawn(rung_waiter, (void *)2);
	explore_spawn(publisher, (void *)1);
	explore_spawn(ringer, NULL);
}

static void a_bell_beside_no_word(void)
{
	wake_begin();
	explore_spawn(rung_waiter, (void *)4);
	explore_spawn(rung_waiter, (void *)4);
	explore_spawn(ringer, NULL);
}

static void with_few_words(void)
{
	a_bell_of_one_of_two_on_a_word();
	w.wake.count = VIGIA_WAKE_FEW;
}

static void D1_no_ring_is_lost_S11x(void **state)
{
	(void)state;
	explore_or_fail("a bell of one of two on a word", 2, a_bell_of_one_of_two_on_a_word, nothing);
	explore_or_fail("the same with few words", 2, with_few_words, nothing);
	explore_or_fail("a bell of two on two words", 2, a_bell_of_two_on_two_words, nothing);
	explore_or_fail("a bell beside several words", 3, a_bell_beside_several_words, nothing);
	explore_or_fail("a bell beside no word", 2, a_bell_beside_no_word, nothing);
}

static void dying_waiter(void *arg)
{
	w.dies = true;
	waiter(arg);
}

static void living_waiter(void *arg)
{
	w.dies = false;
	waiter(arg);
}

static void a_waiter_beside_one_that_dies(void)
{
	wake_begin();
	w.wanted = 1;
	explore_spawn(dying_waiter, (void *)0);
	explore_spawn(living_waiter, (void *)0);
	explore_spawn(publisher, (void *)0);
}

static void D1_no_wake_up_is_lost_S7x(void **state)
{
	(void)state;
	explore_or_fail("a waiter and two publishers", 3, one_waiter_two_publishers, nothing);
	explore_or_fail("two waiters and two publishers", 1, two_waiters_two_publishers, nothing);
	explore_or_fail("a bell beside an event", 3, a_bell_and_an_event, nothing);
	explore_or_fail("a waiter beside one that dies", 3, a_waiter_beside_one_that_dies, nothing);
}

static void a_look_before_the_bit_is_found(void **state)
{
	(void)state;
	w.looks_first = true;
	must_be_found("a waiter that looks first", 2, one_waiter_two_publishers, nothing);
	w.looks_first = false;
	w.publishes_first = true;
	must_be_found("a publisher that commits afterwards", 2, one_waiter_two_publishers, nothing);
	w.publishes_first = false;
}

/* ---- waits for progress ---- */

/* What store_wait.c and drive/wanted.c do, in their order, around the table. A look at the clock does not save. */
static struct {
	struct vigia__wants wants;
	atomic_int done, saved; /* of the owner's watcher; the checkpoint */
	int last;               /* the owner ends when this is saved */
	enum { RIGHT, LOOKS_FIRST, HEARS_NO_BELL, SAVES_LAST, LEAVES_SILENTLY } planted;
} x;

enum { WATCHER = 12345 }; /* the hash of its id */
static const struct vigia_slice watcher_id = {"watcher", 7};

static void publish_saved(void)
{
	struct vigia__wake_set set;
	vigia__wake_set_clear(&set);
	vigia__wake_set_add(&set, watcher_id);
	vigia__wake_publish(&w.wake, &set);
}

static void want(int n)
{
	if (vigia__wants_add(&x.wants, WATCHER, (uint64_t)n)) vigia__bell_ring(&x.wants.bell, &w.wake);
}

static void unwant(int n)
{
	if (vigia__wants_remove(&x.wants, WATCHER, (uint64_t)n) && x.planted != LEAVES_SILENTLY) publish_saved();
}

static void progress_waiter(void *arg)
{
	int n = (int)(intptr_t)arg;
	struct vigia__listen listen;
	vigia__listen_init(&listen, &watcher_id, 1);
	for (;;) {
		vigia__wake_prepare(&w.wake, &listen);
		bool before = x.planted == LOOKS_FIRST && atomic_load(&x.saved) >= n;
		want(n);
		if (x.planted == LOOKS_FIRST ? before : atomic_load(&x.saved) >= n) break;
		vigia__wake_wait(&w.wake, &listen, INT64_MAX);
	}
	unwant(n);
}

/* Its time is over at once. */
static void impatient_waiter(void *arg)
{
	int n = (int)(intptr_t)arg;
	want(n);
	unwant(n);
}

static void save(void)
{
	int done = atomic_load(&x.done);
	if (x.planted != SAVES_LAST) atomic_store(&x.saved, done);
	if (vigia__wants_reached(&x.wants, WATCHER, (uint64_t)done)) publish_saved();
	atomic_store(&x.saved, done);
}

static void save_if_wanted(uint32_t *seen, uint64_t *wanted)
{
	uint32_t changes = atomic_load(&x.wants.changes);
	int done = atomic_load(&x.done);
	if (changes != *seen) *wanted = vigia__wants_lowest(&x.wants, WATCHER);
	*seen = changes;
	if (*wanted == 0 || (uint64_t)done < *wanted) return;
	*wanted = 0;
	if (done > atomic_load(&x.saved)) save();
}

/* Handles `last` events, then sleeps with what is not saved. */
static void progress_owner(void *arg)
{
	uint32_t seen = 0;
	uint64_t wanted = 0;
	struct vigia_slice type = type_of(0);
	(void)arg;
	while (atomic_load(&x.done) < x.last) {
		atomic_fetch_add(&x.done, 1);
		save_if_wanted(&seen, &wanted);
	}
	for (;;) {
		struct vigia__listen listen;
		vigia__listen_init(&listen, &type, 1);
		vigia__wake_prepare(&w.wake, &listen);
		save_if_wanted(&seen, &wanted);
		if (atomic_load(&x.saved) >= x.last) return;
		if (x.planted != HEARS_NO_BELL) vigia__listen_bell(&listen, &x.wants.bell);
		if (atomic_load(&x.wants.changes) != seen) continue;
		vigia__wake_wait(&w.wake, &listen, INT64_MAX);
	}
}

static void progress_begin(int last, int done)
{
	int planted = x.planted;
	wake_begin();
	memset(&x, 0, sizeof x);
	x.planted = planted;
	x.last = last;
	x.done = done;
	explore_spawn(progress_owner, NULL);
}

static void one_waits_for_an_owner_at_rest(void)
{
	progress_begin(2, 2);
	explore_spawn(progress_waiter, (void *)1);
}

/* As that of an append, which nobody asked for. */
static void passing_commit(void *arg)
{
	(void)arg;
	save();
}

static void a_commit_passes_one_who_begins_to_wait(void)
{
	one_waits_for_an_owner_at_rest();
	explore_spawn(passing_commit, NULL);
}

static void two_wait_for_an_owner_that_moves(void)
{
	progress_begin(2, 0);
	explore_spawn(progress_waiter, (void *)1);
	explore_spawn(progress_waiter, (void *)2);
}

static void one_waits_behind_one_that_gives_up(void)
{
	progress_begin(3, 0);
	explore_spawn(impatient_waiter, (void *)1);
	explore_spawn(progress_waiter, (void *)3);
}

static void X6_nobody_waits_for_ever_for_progress(void **state)
{
	(void)state;
	explore_or_fail("one that waits for an owner at rest", 2, one_waits_for_an_owner_at_rest, nothing);
	explore_or_fail("a commit that passes one who begins to wait", 2, a_commit_passes_one_who_begins_to_wait, nothing);
	explore_or_fail("two that wait for an owner that moves", 1, two_wait_for_an_owner_that_moves, nothing);
	explore_or_fail("one that waits behind one that gives up", 1, one_waits_behind_one_that_gives_up, nothing);
}

static void faults_of_waits_for_progress_are_found(void **state)
{
	(void)state;
	x.planted = LOOKS_FIRST;
	must_be_found("a waiter that looks before it says what it wants", 2, a_commit_passes_one_who_begins_to_wait,
	              nothing);
	x.planted = HEARS_NO_BELL;
	must_be_found("an owner that sleeps without the bell", 2, one_waits_for_an_owner_at_rest, nothing);
	x.planted = SAVES_LAST;
	must_be_found("a commit that tells before it is there", 2, two_wait_for_an_owner_that_moves, nothing);
	x.planted = LEAVES_SILENTLY;
	must_be_found("a waiter that leaves others behind its entry", 2, one_waits_behind_one_that_gives_up, nothing);
	x.planted = RIGHT;
}

/* ---- single words ---- */

/* What the words tell of, as settings are for the collector: it is there, and then the word is another one. */
static struct {
	_Atomic uint32_t first, second;
	atomic_int changes;
	int wanted;
} s;

static void bumper(void *arg)
{
	atomic_fetch_add(&s.changes, 1);
	vigia__word_bump(arg);
}

static void changer(void *arg)
{
	vigia__word_change_begin(arg);
	atomic_fetch_add(&s.changes, 1);
	vigia__word_change_end(arg);
}

/* Waits for the first word; with an argument for the second one, too. */
static void word_waiter(void *arg)
{
	for (;;) {
		uint32_t first = atomic_load(&s.first), second = atomic_load(&s.second);
		if (atomic_load(&s.changes) >= s.wanted) return;
		if (arg) vigia__words_wait(&s.first, first, &s.second, second, INT64_MAX);
		else vigia__word_wait(&s.first, first, INT64_MAX);
	}
}

static void words_begin(int wanted)
{
	memset(&s, 0, sizeof s);
	s.wanted = wanted;
}

static void two_bumps(void)
{
	words_begin(2);
	explore_spawn(word_waiter, NULL);
	explore_spawn(bumper, &s.first);
	explore_spawn(bumper, &s.first);
}

static void a_change_and_a_bump(void)
{
	words_begin(2);
	explore_spawn(word_waiter, &s);
	explore_spawn(word_waiter, &s);
	explore_spawn(changer, &s.first);
	explore_spawn(bumper, &s.second);
}

static void S12_no_change_of_a_word_is_missed(void **state)
{
	(void)state;
	explore_or_fail("a word that is bumped twice", 3, two_bumps, nothing);
	explore_or_fail("two words for two waiters", 1, a_change_and_a_bump, nothing);
}

/* ---- group commit ---- */

enum { CALLERS = 4 };

static struct {
	struct vigia__commit commit;
	struct vigia__ticket tickets[CALLERS];
	bool written[CALLERS], told[CALLERS], returned[CALLERS];
	int order[CALLERS], count, published, groups, submitted;
	atomic_int writing;
} c;

static int op_lock(void *ctx, void **txn, struct vigia_error *err)
{
	(void)ctx, (void)err;
	*txn = NULL;
	explore_lock(&c.writing);
	return VIGIA_OK;
}

static int op_write(void *ctx, void *txn, struct vigia__ticket *tickets, struct vigia__wake_set *types,
                    struct vigia_error *err)
{
	(void)ctx, (void)txn, (void)err;
	explore_point(); /* the sync */
	for (struct vigia__ticket *ticket = tickets; ticket; ticket = ticket->next) {
		int i = (int)(ticket - c.tickets);
		EXPLORE_CHECK(i >= 0 && i < CALLERS && !c.written[i] && !c.returned[i]);
		c.written[i] = true;
		c.order[c.count++] = i;
		ticket->rc = i;
	}
	c.groups++;
	vigia__wake_set_add(types, type_of(0));
	explore_unlock(&c.writing);
	return VIGIA_OK;
}

static void op_publish(void *ctx, const struct vigia__wake_set *types)
{
	(void)ctx, (void)types;
	explore_point();
	EXPLORE_CHECK(c.published < c.groups); /* each group after it was written */
	c.published++;
}

static const struct vigia__commit_ops ops = {op_lock, op_write, op_publish};

static void caller(void *arg)
{
	int i = (int)(intptr_t)arg;
	int rc = vigia__commit_run(&c.commit, &c.tickets[i]);
	c.returned[i] = true;
	EXPLORE_CHECK(rc == i);
	EXPLORE_CHECK(c.written[i]);
}

static void told(struct vigia__ticket *ticket)
{
	int i = (int)(ticket - c.tickets);
	EXPLORE_CHECK(c.written[i] && !c.told[i]);
	c.told[i] = true;
	explore_wake(&c.told[i], 1);
}

/* Submits two, waits until it was told of both, then ends the commit queue as a store does that closes. */
static void submitter(void *arg)
{
	(void)arg;
	for (int i = CALLERS - 2; i < CALLERS; i++) {
		c.tickets[i].finished = told;
		EXPLORE_CHECK(vigia__commit_submit(&c.commit, &c.tickets[i]) == VIGIA_OK);
		c.submitted++;
	}
	for (int i = CALLERS - 2; i < CALLERS; i++) {
		const void *on = &c.told[i];
		while (!c.told[i]) explore_block(&on, 1);
	}
}

static void closer(void *arg)
{
	(void)arg;
	submitter(NULL);
	vigia__commit_deinit(&c.commit);
}

static void commit_begin(void)
{
	while (c.commit.spare) { /* of the run before; those of a run that went wrong are lost */
		struct vigia__group *group = c.commit.spare;
		c.commit.spare = group->next;
		vigia__free(group);
	}
	memset(&c, 0, sizeof c);
	vigia__commit_init(&c.commit, &ops, NULL);
}

static void three_callers(void)
{
	commit_begin();
	for (intptr_t i = 0; i < 3; i++) explore_spawn(caller, (void *)i);
}

static void three_callers_end(void)
{
	EXPLORE_CHECK(c.count == 3);
	EXPLORE_CHECK(c.published >= 1 && c.published <= 3);
	EXPLORE_CHECK(c.commit.forming == NULL);
}

static void repeats(void *arg)
{
	caller(arg);
	caller((void *)((intptr_t)arg + 2));
}

/* Two callers that come twice: the groups are used again. */
static void two_callers_twice(void)
{
	commit_begin();
	explore_spawn(repeats, (void *)0);
	explore_spawn(repeats, (void *)1);
}

static void four_end(void)
{
	EXPLORE_CHECK(c.count == CALLERS);
	EXPLORE_CHECK(c.commit.forming == NULL);
}

static void a_caller_and_a_submitter(void)
{
	commit_begin();
	explore_spawn(caller, (void *)0);
	explore_spawn(closer, NULL);
}

static void a_caller_and_a_submitter_end(void)
{
	EXPLORE_CHECK(c.written[0] && c.told[2] && c.told[3] && c.submitted == 2);
}

static void D1_each_caller_is_written_once_and_told_H2x(void **state)
{
	(void)state;
	explore_or_fail("three callers", 2, three_callers, three_callers_end);
	explore_or_fail("two callers that come twice", 2, two_callers_twice, four_end);
	explore_or_fail("a submitter", 2, a_caller_and_a_submitter, a_caller_and_a_submitter_end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(D1_no_wake_up_is_lost_S7x),
		cmocka_unit_test(D1_no_ring_is_lost_S11x),
		cmocka_unit_test(a_look_before_the_bit_is_found),
		cmocka_unit_test(X6_nobody_waits_for_ever_for_progress),
		cmocka_unit_test(faults_of_waits_for_progress_are_found),
		cmocka_unit_test(S12_no_change_of_a_word_is_missed),
		cmocka_unit_test(D1_each_caller_is_written_once_and_told_H2x),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
