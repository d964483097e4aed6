/*
 * wake.c - the thread that listens: it hears of other processes' commits and bumps this process's wake words, and it
 * has what belongs to a session: the lock that says that this process lives (owners.c), and those of offices.
 *
 * Others hand it jobs, and wait. Once a second it looks at the last number, because a notification may be lost with a
 * connection. After a new connection it listens first, then enters again, then looks, then wakes everyone.
 *
 * A notification has lines, each of which is "s" (settings), "o" (a process lost a watcher to another), "p" (a process
 * came), "n" or "e" (see tell.c), or "t" (timers), "l" (dead letters to be retried), "q" (requests to watchers, or
 * answers), "w" and numbers of wake words or "w*" for all, in this order, and behind "#" the last number.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../core/error.h"
#include "../fd.h"
#include "../thread.h"
#include "pg_private.h"

enum { LOOK_NS = 1000000000, AWAY_MS = 500, RETRY_MS = 20, STACK_BYTES = 512 * 1024 };

/* ---- what was heard ---- */

/* What is to be done about it, once all of it was taken: a call takes more in meanwhile, perhaps without end. */
struct heard {
	bool settings, lost;
	struct vigia__wake_set words;
};

static void publish(struct pg_backend *b, const struct vigia__wake_set *words)
{
	if (!vigia__wake_set_any(words)) return;
	atomic_fetch_add(&b->news, 1);
	vigia__wake_publish(&b->own.wake, words);
}

static void bump_all(struct pg_backend *b)
{
	struct vigia__wake_set words;
	vigia__wake_set_all(&words);
	publish(b, &words);
}

static void hear_words(const char *at, struct vigia__wake_set *words)
{
	for (char *end; *at; at = end) {
		unsigned long word = strtoul(at, &end, 10);
		if (end == at || word >= VIGIA_WAKE_WORDS) break;
		uint64_t part = UINT64_C(1) << word / 64;
		if (!(words->parts & part)) words->words[word / 64] = 0;
		words->parts |= part;
		words->words[word / 64] |= UINT64_C(1) << word % 64;
	}
}

static void settings_changed(struct pg_backend *b)
{
	vigia__pg_settings_read(b, NULL);
	vigia__word_bump(&b->own.settings_word);
}

static void timers_changed(struct pg_backend *b)
{
	vigia__word_bump(&b->own.timers_word);
	vigia__word_bump(&b->own.settings_word); /* a collector that sleeps looks whether there are timers */
}

static void hear_line(struct pg_backend *b, const char *news, struct heard *heard)
{
	const char *number = strchr(news, '#');
	if (number) vigia__pg_reached(b, strtoull(number + 1, NULL, 10));
	if (*news == 's') heard->settings = true;
	if (*news == 'o') heard->lost = true;
	if (*news == 'p') vigia__pg_hear_process(b);
	if (*news == 'n') vigia__pg_hear_wanted(b, news + 1);
	if (*news == 'e') vigia__pg_hear_elder(b, news + 1);
	for (; *news == 't' || *news == 'l' || *news == 'q'; news++) {
		if (*news == 't') timers_changed(b);
		else if (*news == 'l') atomic_fetch_add(&b->own.letter_requests, 1);
		else atomic_fetch_add(&b->own.steer_requests, 1);
		if (*news != 't') vigia__wake_set_all(&heard->words);
	}
	if (news[0] == 'w' && news[1] == '*') vigia__wake_set_all(&heard->words);
	else if (news[0] == 'w') hear_words(news + 1, &heard->words);
}

static void hear(struct pg_backend *b, char *news, struct heard *heard)
{
	char *rest = NULL;
	for (char *line = strtok_r(news, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) hear_line(b, line, heard);
}

/* True: there may be more. */
static bool hear_all(struct pg_backend *b)
{
	struct heard heard = {.settings = false};
	vigia__wake_set_clear(&heard.words);
	for (PGnotify *told; b->listener.conn && (told = PQnotifies(b->listener.conn));) {
		/* This process has told itself. */
		bool own = told->be_pid == atomic_load(&b->writer_pid) || told->be_pid == PQbackendPID(b->listener.conn);
		if (!own) hear(b, told->extra, &heard);
		PQfreemem(told);
	}
	if (heard.settings) settings_changed(b);
	if (heard.lost) vigia__pg_owners_look(b);
	bool awaited = vigia__wake_set_any(&heard.words) && vigia__wake_awaited(&b->own.wake, &heard.words);
	bool fetches = awaited && b->listener.conn && vigia__pg_tail_fetch(b);
	publish(b, &heard.words);
	return heard.settings || heard.lost || fetches;
}

/* The last number, also where nothing was heard. */
static int look(struct pg_backend *b, struct vigia_error *err)
{
	PGresult *row;
	int rc = vigia__pg_call(&b->listener, VIGIA_PG_AROUND, NULL, &row, vigia__pg_until(&b->listener), "look at", err);
	if (rc < 0) return rc;
	uint64_t latest = (uint64_t)vigia__pg_int(row, 0, 0), known = atomic_load(&b->latest);
	vigia__pg_tell_processes(b, vigia__pg_int(row, 0, 1));
	PQclear(row);
	vigia__pg_reached(b, latest);
	if (latest > known) bump_all(b);
	return VIGIA_OK;
}

/* Many jobs must not cost the lease. */
static void do_jobs(struct pg_backend *b, const struct vigia_error *away, bool broke)
{
	while (vigia__pg_job_do(b, away, broke))
		if (!away) vigia__pg_owners_renew(b);
}

/* ---- the thread ---- */

static int begin_to_listen(struct pg_backend *b, struct vigia_error *err)
{
	char text[VIGIA_PG_NAME_MAX + 32];
	snprintf(text, sizeof text, "LISTEN \"%s\"", b->location.schema);
	vigia__pg_tail_clear(b);
	int rc = vigia__pg_exec(&b->listener, text, NULL, vigia__pg_until(&b->listener), "listen to", err);
	if (rc == VIGIA_OK) rc = vigia__pg_owners_enter(b, err);
	vigia__pg_rows_put_again(b);
	if (rc == VIGIA_OK) rc = look(b, err);
	if (rc < 0) vigia__pg_link_close(&b->listener);
	return rc;
}

/* What others may have told meanwhile is not known. */
static void wake_everyone(struct pg_backend *b)
{
	settings_changed(b);
	timers_changed(b);
	atomic_fetch_add(&b->own.letter_requests, 1);
	atomic_fetch_add(&b->own.steer_requests, 1);
	bump_all(b);
}

static void wait_for_news(struct pg_backend *b, int64_t until_mono_ns)
{
	int64_t left = until_mono_ns - vigia__mono_ns();
	struct pollfd fds[] = {{.fd = b->event_fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	if (b->listener.conn) fds[1].fd = PQsocket(b->listener.conn);
	if (poll(fds, 2, left > 0 ? (int)(left / 1000000) + 1 : 0) <= 0) return;
	uint64_t count;
	ssize_t had = fds[0].revents ? read(b->event_fd, &count, sizeof count) : 0;
	(void)had;
	if (fds[1].revents && !PQconsumeInput(b->listener.conn)) vigia__pg_link_close(&b->listener);
}

static void *listen_thread(void *arg)
{
	struct pg_backend *b = arg;
	int64_t next = vigia__mono_ns() + LOOK_NS;
	while (!atomic_load(&b->stop)) {
		struct vigia_error err = {0};
		unsigned before = b->listener.connections;
		int rc = vigia__pg_link_ready(&b->listener, vigia__pg_until(&b->listener), &err);
		bool new = b->listener.connections != before;
		bool connected = rc == VIGIA_OK;
		if (rc == VIGIA_OK && new) rc = begin_to_listen(b, &err);
		if (rc < 0) {
			do_jobs(b, &err, connected && vigia__pg_again(&b->listener, &rc, INT64_MAX, &err));
			int64_t pause_ms = vigia__pg_jobs_any(b) ? RETRY_MS : AWAY_MS;
			wait_for_news(b, vigia__mono_ns() + pause_ms * INT64_C(1000000));
			continue;
		}
		if (new) wake_everyone(b);
		do_jobs(b, NULL, false);
		if (b->listener.conn == NULL) continue; /* at once: a job may wait for the next one */
		if (vigia__mono_ns() >= next) {
			look(b, NULL);
			vigia__pg_link_survey(&b->listener);
			vigia__pg_rows_put(b);
			next = vigia__mono_ns() + LOOK_NS;
		}
		vigia__pg_tell_all(b);
		int64_t renewal = vigia__pg_owners_renew(b), late = vigia__pg_tell_late(b);
		/* Behind all calls, which may have read what was told. */
		if (hear_all(b) || vigia__pg_tells_any(b)) continue;
		int64_t first = renewal < next ? renewal : next;
		wait_for_news(b, late < first ? late : first);
	}
	do_jobs(b, NULL, false);
	vigia__pg_tell_processes(b, 0);
	if (b->listener.conn) vigia__pg_tell_late(b);
	vigia__pg_rows_put(b); /* who stopped */
	return NULL;
}

/* The first connection is made here, so that an open store listens. */
int vigia__pg_listen_start(struct pg_backend *b, struct vigia_error *err)
{
	b->event_fd = VIGIA_FD(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (b->event_fd < 0) return vigia__error_caused(err, VIGIA_EIO, strerror(errno), "cannot make an eventfd");
	int64_t until = vigia__pg_until(&b->listener);
	bool connected;
	int rc;
	do {
		rc = vigia__pg_link_ready(&b->listener, until, err);
		connected = rc == VIGIA_OK;
		if (connected) rc = begin_to_listen(b, err);
	} while (connected && vigia__pg_again(&b->listener, &rc, until, err));
	if (rc < 0) return rc;
	int failed = vigia__thread_start(&b->thread, STACK_BYTES, listen_thread, b);
	b->runs = failed == 0;
	return b->runs ? VIGIA_OK : vigia__thread_error(err, failed, "start a thread to listen to the server");
}

void vigia__pg_listen_stop(struct pg_backend *b)
{
	atomic_store(&b->stop, true);
	if (b->runs) {
		vigia__pg_ring(b);
		pthread_join(b->thread, NULL);
	}
	if (b->event_fd >= 0) close(b->event_fd);
	b->event_fd = -1;
}

/* ---- offices ---- */

bool vigia__pg_elect(struct vigia__backend *base, enum vigia__office office)
{
	struct pg_number number;
	const struct pg_param param = vigia__pg_small(&number, (int32_t)office);
	PGresult *row;
	if (vigia__pg_run_job(pg_of(base), VIGIA_PG_ELECT, &param, NULL, NULL, &row, NULL) < 0) return false;
	bool elected = vigia__pg_bool(row, 0, 0);
	PQclear(row);
	return elected;
}

void vigia__pg_resign(struct vigia__backend *base, enum vigia__office office)
{
	struct pg_number number;
	const struct pg_param param = vigia__pg_small(&number, (int32_t)office);
	vigia__pg_run_job(pg_of(base), VIGIA_PG_RESIGN, &param, NULL, NULL, NULL, NULL);
}
