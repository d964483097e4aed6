/*
 * jobs.c - what others have the thread that listens do, since it has the session's locks. They wait for it.
 */
#include <string.h>
#include <unistd.h>

#include "../../core/error.h"
#include "pg_private.h"

struct pg_job {
	struct pg_job *next;
	enum pg_statement statement;
	const struct pg_param *params;
	void (*then)(void *arg, const PGresult *result);
	void *arg;
	PGresult *result;
	int rc;
	int64_t until_mono_ns; /* when it is no longer done again on a new connection */
	bool done;
	struct vigia_error err;
};

static void end(struct pg_backend *b, struct pg_job *job, int rc)
{
	pthread_mutex_lock(&b->jobs_mutex);
	job->rc = rc;
	job->done = true;
	pthread_cond_broadcast(&b->jobs_done);
	pthread_mutex_unlock(&b->jobs_mutex);
}

static void put_first(struct pg_backend *b, struct pg_job *job)
{
	pthread_mutex_lock(&b->jobs_mutex);
	job->next = b->jobs;
	b->jobs = job;
	pthread_mutex_unlock(&b->jobs_mutex);
}

/* Its connection broke. False: it is over. */
static bool later(struct pg_backend *b, struct pg_job *job)
{
	bool in_time = vigia__mono_ns() < job->until_mono_ns && !atomic_load(&b->stop);
	if (in_time) put_first(b, job);
	return in_time;
}

bool vigia__pg_jobs_any(struct pg_backend *b)
{
	pthread_mutex_lock(&b->jobs_mutex);
	bool any = b->jobs != NULL;
	pthread_mutex_unlock(&b->jobs_mutex);
	return any;
}

/* A commit that waits for its standbys, or an application's transaction, may have the log's lock: that passes, or the
 * server is as good as away. The connection stays, since the ids of this process hang on it. */
static int call(struct pg_backend *b, struct pg_job *job)
{
	struct pg_link *link = &b->listener;
	int64_t until = vigia__pg_until(link);
	int rc;
	do {
		rc = vigia__pg_call(link, job->statement, job->params, &job->result, until, "change watchers in", &job->err);
	} while (link->conn && vigia__pg_again(link, &rc, until, &job->err));
	return rc;
}

bool vigia__pg_job_do(struct pg_backend *b, const struct vigia_error *away, bool broke)
{
	int rc;
	pthread_mutex_lock(&b->jobs_mutex);
	struct pg_job *job = b->jobs;
	if (job) b->jobs = job->next;
	pthread_mutex_unlock(&b->jobs_mutex);
	if (job == NULL) return false;
	if (broke && later(b, job)) return false;
	if (away || b->listener.conn == NULL) {
		if (away) job->err = *away;
		rc = away ? away->code
		          : vigia__error(&job->err, VIGIA_EUNREACHABLE, "cannot reach the server of '%s'", b->location.shown);
	} else {
		rc = call(b, job);
		/* It may have been broken for long. Each of these statements may be done twice. */
		if (rc == VIGIA_EUNREACHABLE && later(b, job)) return false;
		if (rc == VIGIA_OK && job->then) job->then(job->arg, job->result);
	}
	end(b, job, rc);
	return true;
}

void vigia__pg_ring(struct pg_backend *b)
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
	job.until_mono_ns = vigia__pg_until(&b->listener);
	pthread_mutex_lock(&b->jobs_mutex);
	struct pg_job **last = &b->jobs;
	while (*last) last = &(*last)->next;
	*last = &job;
	vigia__pg_ring(b);
	while (!job.done) pthread_cond_wait(&b->jobs_done, &b->jobs_mutex);
	pthread_mutex_unlock(&b->jobs_mutex);
	if (job.rc < 0 && err) *err = job.err;
	if (job.rc == VIGIA_OK && out) *out = job.result;
	else PQclear(job.result);
	return job.rc;
}
