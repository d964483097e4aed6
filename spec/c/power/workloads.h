/*
 * workloads.h - what is done to a store while the recorder looks on.
 */
#ifndef VIGIA_SPEC_POWER_WORKLOADS_H
#define VIGIA_SPEC_POWER_WORKLOADS_H

#include <stdbool.h>

struct workload {
	const char *name;
	int (*run)(const char *path);                               /* 0, or it did not go as it should */
	int share;                                                  /* of the states: how much there is to find */
	enum form { WITHOUT_JOURNAL, WITH_JOURNAL, AS_IT_IS } form; /* of the file */
};

extern const struct workload workloads[];
const struct workload *workload_find(const char *name);
/* On the store at `path`, which need not be there. 0, or the workload did not go as it should. */
int workload_run(const struct workload *workload, const char *path);

/* Those of failures.c. */
int work_killed(const char *path);
int work_doubt(const char *path);
int work_doubt_beside(const char *path);
int work_doubt_after(const char *path);
int work_meta_killed(const char *path);
int work_eio(const char *path);
int work_killed_at_any_write(const char *path);
int work_restored(const char *path);
int work_upgrade(const char *path);
int work_tight_disk(const char *path);
int work_small_disk(const char *path);

/* Those of effects.c. */
int work_effects(const char *path);
int work_effects_processes(const char *path);
int work_letters(const char *path);

#endif
