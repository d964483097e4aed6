/*
 * task.c - coroutines without an event, beside the watchers of a registry: driven by its rounds, ended by its stop.
 */
#include "../core/alloc.h"
#include "../core/error.h"
#include "drive_private.h"

struct vigia__task {
	struct vigia__task *next; /* owner: the registry's list */
	int (*resume)(void *ctx, bool stopping, int64_t *resume_mono_ns);
	void *ctx;
	int64_t resume_mono_ns;
	bool resume_now;    /* new, or an event came */
	bool running;       /* on the stack */
	bool told_stopping; /* as of a watcher */
};

int vigia__registry_spawn(struct vigia_registry *registry,
                          int (*resume)(void *ctx, bool stopping, int64_t *resume_mono_ns), void *ctx,
                          int64_t first_mono_ns, struct vigia_error *err)
{
	struct vigia__task *task = vigia__calloc(sizeof *task);
	if (task == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for a task");
	*task = (struct vigia__task){
		.resume = resume, .ctx = ctx, .resume_mono_ns = first_mono_ns, .resume_now = first_mono_ns == 0};
	if (registry->tasks == NULL) registry->tasks_end = &registry->tasks;
	*registry->tasks_end = task;
	registry->tasks_end = &task->next;
	/* A task polls with filters of its own, and its appends are told of by the word for anything. */
	vigia__registry_listen_anything(registry);
	vigia__registry_ring(registry);
	return VIGIA_OK;
}

void vigia__tasks_wake(struct vigia_registry *registry)
{
	for (struct vigia__task *task = registry->tasks; task; task = task->next) task->resume_now = true;
}

void vigia__registry_look_at_waits(struct vigia_registry *registry)
{
	if (registry->wait_ended == NULL) return;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if (w->pending && !w->running_handler && registry->wait_ended(&w->handler, w->handler.ctx))
			w->resume_now = true;
	for (struct vigia__task *task = registry->tasks; task; task = task->next)
		if (!task->running && registry->wait_ended(NULL, task->ctx)) task->resume_now = true;
}

void vigia__registry_rested(struct vigia_registry *registry)
{
	if (registry->stop_waits == 0) return;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if (w->pending) w->resume_now = true;
	vigia__tasks_wake(registry);
}

static bool at_once(const struct vigia_registry *registry, const struct vigia__task *task)
{
	return task->resume_now || (registry->tasks_stopping && !task->told_stopping);
}

int64_t vigia__tasks_due(const struct vigia_registry *registry)
{
	int64_t first = INT64_MAX;
	for (const struct vigia__task *task = registry->tasks; task; task = task->next) {
		if (!task->running) first = vigia__time_earlier(first, at_once(registry, task) ? 0 : task->resume_mono_ns);
	}
	return first;
}

static bool run_task(struct vigia_registry *registry, struct vigia__task *task)
{
	task->running = true;
	task->resume_now = false;
	task->told_stopping = registry->tasks_stopping;
	task->resume_mono_ns = INT64_MAX;
	registry->depth++;
	int rc = task->resume(task->ctx, registry->tasks_stopping, &task->resume_mono_ns);
	registry->depth--;
	task->running = false;
	return rc == VIGIA_PENDING;
}

bool vigia__tasks_run(struct vigia_registry *registry)
{
	bool worked = false;
	int64_t now = vigia__time_now(registry->clock);
	for (struct vigia__task **at = &registry->tasks; *at;) {
		struct vigia__task *task = *at;
		bool due = at_once(registry, task) || task->resume_mono_ns <= now;
		if (task->running || !due || run_task(registry, task)) {
			worked |= due && !task->running;
			at = &task->next;
			continue;
		}
		worked = true;
		*at = task->next; /* a task spawned meanwhile is behind it */
		if (task->next == NULL) registry->tasks_end = at;
		vigia__free(task);
	}
	if (registry->tasks == NULL) registry->tasks_stopping = false;
	return worked;
}

void vigia__tasks_free(struct vigia_registry *registry)
{
	while (registry->tasks) {
		struct vigia__task *task = registry->tasks;
		registry->tasks = task->next;
		vigia__free(task);
	}
}
