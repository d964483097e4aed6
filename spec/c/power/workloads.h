/*
 * workloads.h - what is done to a store while the recorder looks on.
 */
#ifndef VIGIA_SPEC_POWER_WORKLOADS_H
#define VIGIA_SPEC_POWER_WORKLOADS_H

#include <stdbool.h>

struct workload {
	const char *name;
	int (*run)(const char *path); /* 0, or it did not go as it should */
	int share;                    /* of the states: how much there is to find */
	bool journal;                 /* in a file with a journal */
};

extern const struct workload workloads[];
const struct workload *workload_find(const char *name);
/* On the store at `path`, which need not be there. 0, or the workload did not go as it should. */
int workload_run(const struct workload *workload, const char *path);

#endif
