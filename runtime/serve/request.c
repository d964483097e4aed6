/*
 * request.c - the life of a request, and requests that wait.
 */
#include <string.h>
#include <strings.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../store/clock.h"
#include "serve_private.h"

struct vigia__request *vigia__request_new(struct vigia__server *server, const char *target)
{
	struct vigia__request *request = vigia__calloc(sizeof *request);
	if (request == NULL) return NULL;
	request->server = server;
	vigia__query_init(&request->query, target, &request->bad);
	return request;
}

static void unlink_waiting(struct vigia__request *request)
{
	if (request->link == NULL) return;
	*request->link = request->next;
	if (request->next) request->next->link = request->link;
	request->link = NULL;
}

void vigia__request_free(struct vigia__request *request)
{
	if (request == NULL) return;
	unlink_waiting(request);
	if (request->submitted) {
		vigia__store_await(&request->pending);
		vigia__store_settle(&request->pending);
	}
	request->server->body_bytes -= request->body_counted;
	vigia__query_deinit(&request->query);
	vigia__query_names_deinit(&request->types);
	vigia__query_names_deinit(&request->operations);
	vigia__feed_deinit(&request->feed);
	vigia__buf_deinit(&request->body);
	vigia__buf_deinit(&request->out);
	vigia__buf_deinit(&request->events);
	vigia__buf_deinit(&request->ends);
	vigia__buf_deinit(&request->key);
	vigia__free(request);
}

void vigia__request_wait(struct vigia__request *request, bool (*ready)(struct vigia__request *, int64_t),
                         int64_t due_mono_ns)
{
	struct vigia__server *server = request->server;
	request->ready = ready;
	request->due_mono_ns = due_mono_ns;
	request->next = server->waiting;
	request->link = &server->waiting;
	if (server->waiting) server->waiting->link = &request->next;
	server->waiting = request;
	vigia__mhd.suspend_connection(request->connection);
}

static void resume(struct vigia__request *request)
{
	unlink_waiting(request);
	vigia__mhd.resume_connection(request->connection);
}

void vigia__requests_look(struct vigia__server *server)
{
	int64_t now = vigia__mono_ns();
	for (struct vigia__request *request = server->waiting, *next; request; request = next) {
		next = request->next;
		if (request->ready(request, now)) resume(request);
	}
}

int64_t vigia__requests_due(const struct vigia__server *server)
{
	int64_t due = INT64_MAX;
	for (const struct vigia__request *request = server->waiting; request; request = request->next)
		if (request->due_mono_ns < due) due = request->due_mono_ns;
	return due;
}

void vigia__requests_resume(struct vigia__server *server)
{
	while (server->waiting) resume(server->waiting);
}

struct looking {
	const char *name, *value;
	unsigned count;
};

static enum MHD_Result look_at(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct looking *looking = ctx;
	if (strcasecmp(name, looking->name) == 0) {
		looking->value = value ? value : "";
		looking->count++;
	}
	return MHD_YES;
}

int vigia__request_header(struct vigia__request *request, const char *name, const char **out, struct vigia_error *err)
{
	struct looking looking = {.name = name};
	vigia__mhd.get_connection_values(request->connection, MHD_HEADER_KIND, look_at, &looking);
	if (looking.count > 1) return vigia__error(err, VIGIA_EINVAL, "the header %s is given twice", name);
	*out = looking.value;
	return VIGIA_OK;
}

static void *run_jobs(void *arg)
{
	struct vigia__server *server = arg;
	pthread_mutex_lock(&server->helper.mutex);
	while (!server->helper.quit) {
		struct vigia__job *job = server->jobs;
		if (job == NULL) {
			pthread_cond_wait(&server->helper.changed, &server->helper.mutex);
			continue;
		}
		server->jobs = job->next;
		if (server->jobs == NULL) server->end = &server->jobs;
		pthread_mutex_unlock(&server->helper.mutex);
		job->fn(job->request);
		atomic_store(&job->done, true); /* the request may be freed from here on */
		vigia__poller_ring(server->poller);
		pthread_mutex_lock(&server->helper.mutex);
	}
	pthread_mutex_unlock(&server->helper.mutex);
	return NULL;
}

int vigia__request_job(struct vigia__request *request, void (*fn)(struct vigia__request *), struct vigia_error *err)
{
	struct vigia__server *server = request->server;
	struct vigia__job *job = &request->job;
	*job = (struct vigia__job){.fn = fn, .request = request};
	pthread_mutex_lock(&server->helper.mutex);
	int rc = vigia__helper_start(&server->helper, run_jobs, server, "start a thread for changes", err);
	if (rc == VIGIA_OK) {
		*server->end = job;
		server->end = &job->next;
		pthread_cond_signal(&server->helper.changed);
	}
	pthread_mutex_unlock(&server->helper.mutex);
	return rc;
}

bool vigia__request_job_ready(struct vigia__request *request, int64_t now_mono_ns)
{
	return atomic_load(&request->job.done);
}
