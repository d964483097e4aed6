/*
 * check.h - opens what a loss left with the real library, as after a reboot, and compares it with what the workload was
 * told.
 */
#ifndef VIGIA_SPEC_POWER_CHECK_H
#define VIGIA_SPEC_POWER_CHECK_H

#include "facts.h"
#include "states.h"

/* The files of a state into a folder, which is emptied first. */
void check_write(const char *folder, const struct left *left, unsigned count);
/* False: `why` says what is wrong with it. The files are changed by looking: an event is appended. */
bool check_state(const char *folder, const struct facts *facts, bool thorough, char *why, size_t size);

#endif
