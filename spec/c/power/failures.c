/*
 * failures.c - workloads in which something fails: processes are killed, calls fail, the disk is small, an older copy
 * is put in the file's place.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "steps.h"
#include "workloads.h"

/* ---- processes that are killed ---- */

/* A process is killed in the middle of its commit; others go on. */
static int append_killed(int n)
{
	struct vigia_store *store = open_store();
	fault(FAULT_KILL, n);
	append(store, 30 + (unsigned)n, 1);
	append(store, 30 + (unsigned)n, 2);
	return 0;
}

int work_killed(const char *path)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= 4; i++) append(store, 1, i);
	for (int n = 1; n <= 6; n++) {
		elsewhere(append_killed, n);
		append(store, 1, 4 + (unsigned)n);
	}
	vigia_store_free(store);
	return 0;
}

/* ---- a commit in doubt ---- */

/* What fails, and what is done then. The one after it is of another shape, so that it uses other pages in other
 * ways. */
static const struct {
	enum record_fault fault;
	enum { SMALL, BATCH, TRIM } doubtful;
} doubts[] = {{FAULT_META, SMALL},      {FAULT_META_TWICE, BATCH}, {FAULT_META, BATCH},      {FAULT_META_EARLY, SMALL},
              {FAULT_META, TRIM},       {FAULT_SYNC, BATCH},       {FAULT_META_TWICE, TRIM}, {FAULT_SHORT, BATCH},
              {FAULT_META_KILL, BATCH}, {FAULT_META_KILL, SMALL}};
enum { DOUBTS = sizeof doubts / sizeof *doubts, BEFORE = 60 };

static bool kills(unsigned k)
{
	return doubts[k].fault == FAULT_META_KILL;
}

static void doubtful(struct vigia_store *store, unsigned k)
{
	fault(doubts[k].fault, 1);
	if (doubts[k].doubtful == TRIM) {
		told("trim %u", 3 * k);
		if (vigia_store_trim(store, 3 * k, NULL, NULL) == VIGIA_OK) told("trimmed %u", 3 * k);
	} else {
		append_to(store, 40 + k, 1, doubts[k].doubtful == BATCH ? 12 : 1, false);
	}
	fault(FAULT_NONE, 0);
}

static struct vigia_store *open_to_doubt(void)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= BEFORE; i += 20) check(append_to(store, 1, i, 20, false) == VIGIA_OK, "append", NULL);
	return store;
}

static void after_doubt(struct vigia_store *store, unsigned k)
{
	append(store, 1, BEFORE + 1 + 2 * k);
	put(store, "w", k);
	append(store, 1, BEFORE + 2 + 2 * k);
}

/* One after the other in one process. */
int work_doubt(const char *path)
{
	struct vigia_store *store = open_to_doubt();
	for (unsigned k = 0; k < DOUBTS && !kills(k); k++) {
		doubtful(store, k);
		after_doubt(store, k);
	}
	vigia_store_free(store);
	return 0;
}

static int doubt_once(int k)
{
	doubtful(open_store(), (unsigned)k);
	return 0; /* it ends as it is */
}

/* In one process; another, which has the store open, goes on. */
int work_doubt_beside(const char *path)
{
	struct vigia_store *store = open_to_doubt();
	for (unsigned k = 0; k < DOUBTS; k++) {
		elsewhere(doubt_once, (int)k);
		after_doubt(store, k);
	}
	vigia_store_free(store);
	return 0;
}

/* In one process; another, which opens the store afterwards, goes on. */
int work_doubt_after(const char *path)
{
	struct vigia_store *store = open_to_doubt();
	vigia_store_free(store);
	for (unsigned k = 0; k < DOUBTS; k++) {
		elsewhere(doubt_once, (int)k);
		store = open_store();
		after_doubt(store, k);
		vigia_store_free(store);
	}
	return 0;
}

/* ---- a kill inside LMDB's commit, and failures of the journal's syncs ---- */

/* Killed while the meta page is written and synced. Others, which have the store open, append and commit. */
static int commit_and_die(int k)
{
	struct vigia_store *store = open_store();
	append(store, 2, 2 * (unsigned)k + 1);
	fault(FAULT_META_INSIDE, 1);
	if (k % 3 == 0) put(store, "killed", 1);
	else if (k % 3 == 1) trim(store, (unsigned)k);
	else check(append_to(store, 2, 2 * (unsigned)k + 2, 1, true) == VIGIA_OK, "append", NULL);
	return 1;
}

static int append_two(int k)
{
	struct vigia_store *store = open_store();
	append(store, 3, 2 * (unsigned)k + 1);
	append(store, 3, 2 * (unsigned)k + 2);
	return 0; /* it ends as it is */
}

int work_meta_killed(const char *path)
{
	struct vigia_store *store = open_store();
	unsigned number = 1;
	for (; number <= 6; number++) append(store, 1, number);
	for (int k = 0; k < 6; k++) {
		if (elsewhere(commit_and_die, k) != 256 + SIGKILL) return 1;
		if (k % 2 && elsewhere(append_two, k)) return 1;
		append(store, 1, number++);
		append(store, 1, number++);
		if (k % 3 == 2) put(store, "w", number - 1);
	}
	vigia_store_free(store);
	return 0;
}

/* Syncs fail, once or a few times, and then more is appended. */
static void fail_and_append(struct vigia_store *store, unsigned *number, enum record_fault kind, int n)
{
	fault(kind, n);
	append_to(store, 1, (*number)++, 1, false);
	fault(FAULT_NONE, 0);
	for (int i = 0; i < 3; i++) append(store, 1, (*number)++);
}

int work_eio(const char *path)
{
	struct vigia_store *store = open_store();
	unsigned number = 1;
	for (; number <= 4; number++) append(store, 1, number);
	for (int n = 1; n <= 3; n++) {
		fail_and_append(store, &number, FAULT_SYNC, n);
		fail_and_append(store, &number, FAULT_SYNCS, n);
		fail_and_append(store, &number, FAULT_SHORT, n);
	}
	/* And the process that was told so ends, with the doubt. */
	fault(FAULT_SYNCS, 10);
	append_to(store, 1, number++, 1, false);
	vigia_store_free(store);
	fault(FAULT_NONE, 0);
	store = open_store();
	append(store, 1, number);
	vigia_store_free(store);
	return 0;
}

/* Of what a process does to a store any write is its last one, while another one has it open. */
static int work_and_die(int n)
{
	struct vigia_store *store = open_store();
	unsigned number = 10 * (unsigned)n;
	fault(FAULT_KILL, n);
	append(store, 4, number++);
	append(store, 4, number++);
	check(append_to(store, 4, number, 5, false) == VIGIA_OK, "append", NULL);
	number += 5;
	put(store, "killed", 1);
	append(store, 4, number++);
	trim(store, (unsigned)n);
	append(store, 4, number++);
	vigia_store_free(store);
	return 0;
}

int work_killed_at_any_write(const char *path)
{
	struct vigia_store *store = open_store();
	unsigned number = 1;
	for (; number <= 12; number++) append(store, 1, number);
	for (int n = 1; n <= 14; n++) {
		elsewhere(work_and_die, n);
		append(store, 1, number++);
		if (n % 4 == 0 && elsewhere(append_two, n)) return 1;
		append(store, 1, number++);
	}
	vigia_store_free(store);
	return 0;
}

/* ---- an older copy in the file's place ---- */

static uint8_t *read_store(size_t *len)
{
	FILE *in = fopen(file, "rb");
	fseek(in, 0, SEEK_END);
	*len = (size_t)ftell(in);
	rewind(in);
	uint8_t *bytes = malloc(*len);
	check(fread(bytes, 1, *len, in) == *len, "copy", NULL);
	fclose(in);
	return bytes;
}

static void write_store(const char *path, int flags, const uint8_t *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
	check(fd >= 0 && pwrite(fd, bytes, len, 0) == (ssize_t)len && ftruncate(fd, (off_t)len) == 0 && fsync(fd) == 0,
	      "put a copy back", NULL);
	close(fd);
}

static void put_back(bool in_place, const uint8_t *bytes, size_t len)
{
	char copy[4096];
	if (in_place) {
		write_store(file, 0, bytes, len);
		return;
	}
	snprintf(copy, sizeof copy, "%s-older", file);
	write_store(copy, O_TRUNC, bytes, len);
	check(rename(copy, file) == 0, "rename", NULL);
	char *slash = strrchr(copy, '/');
	*slash = '\0';
	int fd = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	check(fd >= 0 && fsync(fd) == 0, "sync the folder", NULL);
	close(fd);
}

/* What is lost with the copy. Its records stay in the journal if it is killed. */
static int append_in_vain(int k)
{
	struct vigia_store *store = open_store();
	for (unsigned i = 1; i <= 5; i++) append(store, 5, 10 * (unsigned)k + i);
	if (k % 2) raise(SIGKILL);
	vigia_store_free(store);
	return 0;
}

int work_restored(const char *path)
{
	unsigned number = 1;
	for (int k = 0; k < 4; k++) {
		size_t len;
		struct vigia_store *store = open_store();
		uint64_t last = 0;
		for (int i = 0; i < 4; i++) append(store, 1, number++);
		check(vigia_store_latest(store, &last, NULL) == VIGIA_OK, "latest", NULL);
		if (k == 2) trim(store, 3);
		vigia_store_free(store);
		uint8_t *bytes = read_store(&len);
		elsewhere(append_in_vain, k);
		told("none");
		put_back(k >= 2, bytes, len);
		told("restored %llu", (unsigned long long)last);
		told("back");
		free(bytes);
		/* As many as were lost, under the same numbers. */
		store = open_store();
		for (int i = 0; i < 6; i++) append(store, 1, number++);
		vigia_store_free(store);
	}
	return 0;
}

/* ---- a file that gets its journal later ---- */

int work_upgrade(const char *path)
{
	struct vigia_store_options options = plain();
	struct vigia_error err = {0};
	options.journal = false;
	options.journal_given = true;
	struct vigia_store *store = open_with(&options);
	for (unsigned i = 1; i <= 5; i++) append(store, 1, i);
	put(store, "w", 4);
	trim(store, 2);
	struct vigia_store_options changes;
	vigia_store_options_init(&changes);
	changes.journal = changes.journal_given = true;
	check(vigia_store_configure(store, &changes, &err) == VIGIA_OK, "configure", &err);
	append(store, 1, 6);
	vigia_store_free(store);
	for (unsigned i = 7; i <= 12; i += 3) {
		store = open_store();
		for (unsigned n = i; n < i + 3; n++) append(store, 1, n);
		vigia_store_free(store);
	}
	return 0;
}

/* ---- little room on the disk ---- */

/* The file has room for so many bytes. Appends fill it, and go on where room was made. */
static int fill(long long bytes)
{
	record_disk_fn *limit;
	*(void **)&limit = dlsym(RTLD_DEFAULT, "power_disk");
	if (limit) limit(bytes);
	struct vigia_store *store = open_store();
	unsigned number = 1;
	uint64_t last = 0;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 6; i++) append_to(store, 1, number++, 1, false);
		while (append_to(store, 1, number, 40, false) == VIGIA_OK) number += 40;
		number += 40;
		check(vigia_store_latest(store, &last, NULL) == VIGIA_OK, "latest", NULL);
		put(store, "w", last);
		trim(store, last - 100);
		for (int i = 0; i < 4; i++) append_to(store, 1, number++, 1, false);
	}
	vigia_store_free(store);
	return 0;
}

/* The journal is passed by, because its drain would have no room. */
int work_tight_disk(const char *path)
{
	return fill(1700 * 1024);
}

/* It is used, as long as its drain has room. */
int work_small_disk(const char *path)
{
	return fill(7 << 20);
}
