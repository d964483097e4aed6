/*
 * wake.c - the thread that listens: it hears of other processes' commits and bumps this process's wake words, and it
 * has what belongs to a session: the lock that says that this process lives (owners.c), and those of offices.
 *
 * Others hand it jobs, and wait. Once a second it looks at the last number, because a notification may be lost with a
 * connection. After a new connection it listens first, then enters again, then looks, then wakes everyone.
 *
 * A notification is "s" (settings), "o" (a process lost a watcher to another), or "t" (timers), "l" (dead letters to be
 * retried), "w" and numbers of wake words or "w*" for all, in this order, and behind "#" the last number.
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

enum { LOOK_NS = 1000000000, AWAY_MS = 500, STACK_BYTES = 512 * 1024 };

struct pg_job {
	struct pg_job *next;
	enum pg_statement statement;
	const struct pg_param *params;
	void (*then)(void *arg, const PGresult *result);
	void *arg;
	PGresult *result;
	int rc;
	bool done;
	struct vigia_error err;
};

/* ---- what was heard ---- */

static void bump_all(struct pg_backend *b)
{
	struct vigia__wake_set set;
	vigia__wake_set_all(&set);
	atomic_fetch_add(&b->news, 1);
	vigia__wake_publish(&b->wake, &set);
}

static void hear_words(struct pg_backend *b, const char *at)
{
	struct vigia__wake_set set;
	vigia__wake_set_clear(&set);
	for (char *end; *at; at = end) {
		unsigned long word = strtoul(at, &end, 10);
		if (end == at || word >= VIGIA_WAKE_WORDS) break;
		uint64_t part = UINT64_C(1) << word / 64;
		if (!(set.parts & part)) set.words[word / 64] = 0;
		set.parts |= part;
		set.words[word / 64] |= UINT64_C(1) << word % 64;
	}
	atomic_fetch_add(&b->news, 1);
	vigia__wake_publish(&b->wake, &set);
}

static void settings_changed(struct pg_backend *b)
{
	vigia__pg_settings_read(b, NULL);
	vigia__word_bump(&b->settings_word);
}

static void timers_changed(struct pg_backend *b)
{
	vigia__word_bump(&b->timers_word);
	vigia__word_bump(&b->settings_word); /* a collector that sleeps looks whether there are timers */
}

static void hear(struct pg_backend *b, const char *news)
{
	const char *number = strchr(news, '#');
	if (number) vigia__pg_reached(b, strtoull(number + 1, NULL, 10));
	if (*news == 's') settings_changed(b);
	if (*news == 'o') vigia__pg_owners_look(b);
	if (*news == 't') {
		timers_changed(b);
		news++;
	}
	if (*news == 'l') {
		atomic_fetch_add(&b->letter_requests, 1);
		bump_all(b);
		news++;
	}
	if (news[0] == 'w' && news[1] == '*') bump_all(b);
	else if (news[0] == 'w') hear_words(b, news + 1);
}

static void hear_all(struct pg_backend *b)
{
	for (PGnotify *told; b->listener.conn && (told = PQnotifies(b->listener.conn));) {
		/* This process has told itself. */
		if (told->be_pid != atomic_load(&b->writer_pid)) hear(b, told->extra);
		PQfreemem(told);
	}
}

/* The last number, also where nothing was heard. */
static int look(struct pg_backend *b)
{
	PGresult *row;
	struct vigia_error err = {0};
	int rc = vigia__pg_call(&b->listener, VIGIA_PG_BOUNDS, NULL, &row, vigia__pg_until(&b->listener), "look at", &err);
	if (rc < 0) return rc;
	uint64_t latest = (uint64_t)vigia__pg_int(row, 0, 1), known = atomic_load(&b->latest);
	PQclear(row);
	vigia__pg_reached(b, latest);
	if (latest > known) bump_all(b);
	return VIGIA_OK;
}

/* ---- jobs ---- */

static void job_end(struct pg_backend *b, struct pg_job *job, int rc)
{
	pthread_mutex_lock(&b->jobs_mutex);
	job->rc = rc;
	job->done = true;
	pthread_cond_broadcast(&b->jobs_done);
	pthread_mutex_unlock(&b->jobs_mutex);
}

static struct pg_job *job_next(struct pg_backend *b)
{
	pthread_mutex_lock(&b->jobs_mutex);
	struct pg_job *job = b->jobs;
	if (job) b->jobs = job->next;
	pthread_mutex_unlock(&b->jobs_mutex);
	return job;
}

static void do_jobs(struct pg_backend *b, const struct vigia_error *away)
{
	for (struct pg_job *job; (job = job_next(b));) {
		int rc;
		if (away || b->listener.conn == NULL) {
			if (away) job->err = *away;
			rc = away ? away->code
			          : vigia__error(&job->err, VIGIA_EUNREACHABLE, "the server of '%s' is away", b->location.shown);
		} else {
			rc = vigia__pg_call(&b->listener, job->statement, job->params, &job->result, vigia__pg_until(&b->listener),
			                    "use", &job->err);
			if (rc == VIGIA_OK && job->then) job->then(job->arg, job->result);
		}
		job_end(b, job, rc);
		if (!away) vigia__pg_owners_renew(b); /* many jobs must not cost the lease */
	}
}

static void ring(struct pg_backend *b)
{
	uint64_t one = 1;
	ssize_t written = write(b->event_fd, &one, sizeof one);
	(void)written; /* full: it wakes anyway */
}

int vigia__pg_run_job(struct pg_backend *b, enum pg_statement statement, const struct pg_param *params,
                      void (*then)(void *arg, const PGresult *result), void *arg, PGresult **out,
                      struct vigia_error *err)
{
	struct pg_job job = {.statement = statement, .params = params, .then = then, .arg = arg};
	pthread_mutex_lock(&b->jobs_mutex);
	struct pg_job **end = &b->jobs;
	while (*end) end = &(*end)->next;
	*end = &job;
	ring(b);
	while (!job.done) pthread_cond_wait(&b->jobs_done, &b->jobs_mutex);
	pthread_mutex_unlock(&b->jobs_mutex);
	if (job.rc < 0 && err) *err = job.err;
	if (job.rc == VIGIA_OK && out) *out = job.result;
	else PQclear(job.result);
	return job.rc;
}

/* ---- the thread ---- */

static int begin_to_listen(struct pg_backend *b)
{
	char text[VIGIA_PG_NAME_MAX + 32];
	snprintf(text, sizeof text, "LISTEN \"%s\"", b->location.schema);
	vigia__pg_tail_clear(b);
	int rc = vigia__pg_exec(&b->listener, text, NULL, vigia__pg_until(&b->listener), "listen to", NULL);
	if (rc == VIGIA_OK) rc = vigia__pg_owners_enter(b);
	if (rc == VIGIA_OK) rc = look(b);
	if (rc < 0) vigia__pg_link_close(&b->listener);
	return rc;
}

/* What others may have told meanwhile is not known. */
static void wake_everyone(struct pg_backend *b)
{
	settings_changed(b);
	timers_changed(b);
	atomic_fetch_add(&b->letter_requests, 1);
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
		if (rc == VIGIA_OK && new) rc = begin_to_listen(b);
		if (rc < 0) {
			if (err.code == VIGIA_OK)
				vigia__error(&err, VIGIA_EUNREACHABLE, "the server of '%s' is away", b->location.shown);
			do_jobs(b, &err);
			wait_for_news(b, vigia__mono_ns() + AWAY_MS * INT64_C(1000000));
			continue;
		}
		if (new) wake_everyone(b);
		do_jobs(b, NULL);
		if (vigia__mono_ns() >= next) {
			look(b);
			vigia__pg_link_survey(&b->listener);
			next = vigia__mono_ns() + LOOK_NS;
		}
		hear_all(b);
		int64_t renewal = vigia__pg_owners_renew(b);
		wait_for_news(b, renewal < next ? renewal : next);
	}
	do_jobs(b, NULL);
	return NULL;
}

/* The first connection is made here, so that an open store listens. */
int vigia__pg_listen_start(struct pg_backend *b, struct vigia_error *err)
{
	b->event_fd = VIGIA_FD(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (b->event_fd < 0) return vigia__error_caused(err, VIGIA_EIO, strerror(errno), "cannot make an eventfd");
	int rc = vigia__pg_link_ready(&b->listener, vigia__pg_until(&b->listener), err);
	if (rc == VIGIA_OK && begin_to_listen(b) < 0)
		rc = vigia__error(err, VIGIA_EUNREACHABLE, "the server of '%s' is away", b->location.shown);
	if (rc < 0) return rc;
	int failed = vigia__thread_start(&b->thread, STACK_BYTES, listen_thread, b);
	b->runs = failed == 0;
	return b->runs ? VIGIA_OK : vigia__thread_error(err, failed, "start a thread to listen to the server");
}

void vigia__pg_listen_stop(struct pg_backend *b)
{
	atomic_store(&b->stop, true);
	if (b->runs) {
		ring(b);
		pthread_join(b->thread, NULL);
	}
	if (b->event_fd >= 0) close(b->event_fd);
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
