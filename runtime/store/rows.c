/*
 * rows.c - the rows of running watchers. See rows.h.
 */
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/table.h"
#include "../core/utf8.h"
#include "fd.h"
#include "vigia.h"

/* How often a row is read again that was changed meanwhile. From the second half on others run in between. */
enum { TRIES = 64 };

#define SECOND_NS INT64_C(1000000000)

void vigia__rows_init(struct vigia__rows *rows)
{
	*rows = (struct vigia__rows){.user = -1};
	pthread_mutex_init(&rows->mutex, NULL);
}

void vigia__rows_share(struct vigia__rows *rows, struct vigia__row_table *table, const int *fd, long first_byte,
                       long first_user_byte, int user, uint32_t space)
{
	rows->space = space;
	rows->table = table;
	rows->fd = fd;
	rows->first_byte = first_byte;
	rows->first_user_byte = first_user_byte;
	rows->user = user;
	if (user >= 0) atomic_store(&table->unshown[user], 0); /* what an earlier process of this place left */
}

void vigia__rows_deinit(struct vigia__rows *rows)
{
	if (rows->own_table) vigia__free(rows->table);
	pthread_mutex_destroy(&rows->mutex);
}

/* ---- whose a row is; all with the mutex ---- */

static bool lock(const struct vigia__rows *rows, int n)
{
	if (rows->mine[n]) return false;
	return rows->fd == NULL || vigia__fd_lock(*rows->fd, rows->first_byte + n, F_WRLCK, false) == 0;
}

static void unlock(const struct vigia__rows *rows, int n)
{
	if (rows->fd) vigia__fd_lock(*rows->fd, rows->first_byte + n, F_UNLCK, false);
}

static bool locked_elsewhere(const struct vigia__rows *rows, off_t byte)
{
	struct flock other = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	return rows->fd && fcntl(*rows->fd, F_OFD_GETLK, &other) == 0 && other.l_type != F_UNLCK;
}

/* By this process, or another one. */
static bool locked(const struct vigia__rows *rows, int n)
{
	return rows->mine[n] || locked_elsewhere(rows, rows->first_byte + n);
}

static uint64_t hash_of(const char *id)
{
	uint64_t hash = vigia__table_hash(id, strlen(id));
	return hash ? hash : 1;
}

static int probe(uint64_t hash, int i)
{
	return (int)((hash + (uint64_t)i) % VIGIA_ROWS);
}

/* Lock one of the id's earlier rows, or one that was never used. -1: all are. */
static int find_own_or_new(struct vigia__rows *rows, uint64_t hash)
{
	for (int i = 0; i < VIGIA_ROWS; i++) {
		int n = probe(hash, i);
		uint64_t there = atomic_load(&rows->table->hashes[n]);
		if ((there != 0 && there != hash) || !lock(rows, n)) continue;
		if (atomic_load(&rows->table->hashes[n]) == there) return n;
		unlock(rows, n); /* another process was faster */
	}
	return -1;
}

static bool ended_well(const struct vigia__row *row)
{
	return (atomic_load(&row->flags) & VIGIA_ROW_STATE) == VIGIA_STOPPED;
}

/* Lock a row of a watcher that runs no more, best of one that stopped as it should. -1: all run. */
static int find_unused(struct vigia__rows *rows, uint64_t hash)
{
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < VIGIA_ROWS; i++) {
			int n = probe(hash, i);
			if ((pass == 0) == ended_well(&rows->table->rows[n]) && lock(rows, n)) return n;
		}
	return -1;
}

static void put_text(_Atomic uint64_t *words, size_t size, const char *text, size_t len)
{
	for (size_t at = 0; at < size; at += 8) {
		uint64_t word = 0;
		if (at < len) memcpy(&word, text + at, len - at < 8 ? len - at : 8);
		vigia__row_set(&words[at / 8], word);
		if (at >= len) break; /* behind its zero nothing is read */
	}
}

static void count_unshown(struct vigia__rows *rows, int by)
{
	rows->unshown += (uint64_t)(int64_t)by;
	if (rows->user < 0 || vigia__rows_closed(rows)) return;
	atomic_store(&rows->table->unshown[rows->user], (uint32_t)rows->unshown);
}

static struct vigia__row *begin_row(struct vigia__rows *rows, int n, const char *id)
{
	struct vigia__row *row = &rows->table->rows[n];
	rows->mine[n] = true;
	vigia__row_begin(row);
	atomic_store(&rows->table->hashes[n], hash_of(id));
	atomic_store(&row->pid, (int32_t)getpid());
	atomic_store(&row->space, rows->space);
	atomic_store(&row->flags, VIGIA_IDLE);
	_Atomic uint64_t *numbers[] = {&row->position, &row->processed,     &row->failed, &row->retried,
	                               &row->skipped,  &row->dead_lettered, &row->missed, &row->fetch_errors,
	                               &row->blocked,  &row->attempts};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) vigia__row_set(numbers[i], 0);
	vigia__row_set_time(&row->started_at_ns, 0);
	vigia__row_set_time(&row->next_attempt_at_ns, 0);
	vigia__row_set_time(&row->failed_at_ns, 0);
	for (int i = 0; i < VIGIA_ROW_SAMPLES; i++) {
		vigia__row_set(&row->sampled[i], 0);
		vigia__row_set_time(&row->sampled_at_ns[i], 0);
	}
	put_text(row->id, VIGIA_ROW_ID, id, strlen(id));
	put_text(row->error, VIGIA_ROW_ERROR, "", 0);
	vigia__row_end(row);
	return row;
}

struct vigia__row *vigia__row_take(struct vigia__rows *rows, const char *id)
{
	struct vigia__row *row = NULL;
	if (vigia__rows_closed(rows)) return NULL;
	pthread_mutex_lock(&rows->mutex);
	if (rows->table == NULL) {
		rows->table = vigia__calloc(sizeof *rows->table);
		rows->own_table = rows->table != NULL;
	}
	uint64_t hash = hash_of(id);
	int n = rows->table && !rows->full ? find_own_or_new(rows, hash) : -1;
	if (n < 0 && rows->table && !rows->full) n = find_unused(rows, hash);
	if (n >= 0) row = begin_row(rows, n, id);
	else {
		rows->full = rows->table != NULL; /* until one of ours ends, because each search costs a system call a row */
		count_unshown(rows, 1);
	}
	pthread_mutex_unlock(&rows->mutex);
	return row;
}

void vigia__row_unshown_ends(struct vigia__rows *rows)
{
	pthread_mutex_lock(&rows->mutex);
	count_unshown(rows, -1);
	pthread_mutex_unlock(&rows->mutex);
}

void vigia__row_release(struct vigia__rows *rows, struct vigia__row *row)
{
	if (vigia__rows_closed(rows)) return;
	int n = (int)(row - rows->table->rows);
	pthread_mutex_lock(&rows->mutex);
	rows->mine[n] = rows->full = false;
	unlock(rows, n);
	pthread_mutex_unlock(&rows->mutex);
}

/* ---- writing ---- */

void vigia__row_begin(struct vigia__row *row)
{
	uint32_t version = atomic_load_explicit(&row->version, memory_order_relaxed);
	/* A dead owner may have left it odd. What it wrote is changed now, so it is another odd one. */
	atomic_store_explicit(&row->version, (version | 1) + (version & 1) * 2, memory_order_relaxed);
}

void vigia__row_end(struct vigia__row *row)
{
	uint32_t version = atomic_load_explicit(&row->version, memory_order_relaxed);
	atomic_store_explicit(&row->version, version + 1, memory_order_release);
}

void vigia__row_set_error(struct vigia__row *row, const char *text)
{
	size_t len = strlen(text);
	if (len >= VIGIA_ROW_ERROR) len = vigia__utf8_cut(text, VIGIA_ROW_ERROR - 1);
	put_text(row->error, VIGIA_ROW_ERROR, text, len);
}

void vigia__row_sample(struct vigia__row *row, int64_t at_ns)
{
	uint64_t processed = atomic_load_explicit(&row->processed, memory_order_relaxed);
	int64_t last = atomic_load_explicit(&row->sampled_at_ns[1], memory_order_relaxed);
	vigia__row_begin(row);
	if (last == 0 || at_ns - last >= SECOND_NS || at_ns < last) {
		vigia__row_set_time(&row->sampled_at_ns[2], last);
		vigia__row_set(&row->sampled[2], atomic_load_explicit(&row->sampled[1], memory_order_relaxed));
		vigia__row_set_time(&row->sampled_at_ns[1], at_ns);
		vigia__row_set(&row->sampled[1], processed);
	}
	vigia__row_set_time(&row->sampled_at_ns[0], at_ns);
	vigia__row_set(&row->sampled[0], processed);
	vigia__row_end(row);
}

/* ---- reading ---- */

static uint64_t get(const _Atomic uint64_t *field)
{
	return atomic_load_explicit(field, memory_order_acquire);
}

static int64_t get_time(const _Atomic int64_t *field)
{
	return atomic_load_explicit(field, memory_order_acquire);
}

static void get_text(const _Atomic uint64_t *words, size_t size, char *out)
{
	for (size_t at = 0; at < size; at += 8) {
		uint64_t word = get(&words[at / 8]);
		memcpy(out + at, &word, 8);
		if (memchr(out + at, 0, 8)) return;
	}
	out[size - 1] = '\0';
}

static void copy_row(const struct vigia__row *row, struct vigia__row_told *out)
{
	out->pid = atomic_load(&row->pid);
	out->space = atomic_load(&row->space);
	out->flags = atomic_load(&row->flags);
	out->position = get(&row->position);
	out->processed = get(&row->processed);
	out->failed = get(&row->failed);
	out->retried = get(&row->retried);
	out->skipped = get(&row->skipped);
	out->dead_lettered = get(&row->dead_lettered);
	out->missed = get(&row->missed);
	out->fetch_errors = get(&row->fetch_errors);
	out->blocked = get(&row->blocked);
	out->attempts = get(&row->attempts);
	out->started_at_ns = get_time(&row->started_at_ns);
	out->next_attempt_at_ns = get_time(&row->next_attempt_at_ns);
	out->failed_at_ns = get_time(&row->failed_at_ns);
	for (int i = 0; i < VIGIA_ROW_SAMPLES; i++) {
		out->sampled_at_ns[i] = get_time(&row->sampled_at_ns[i]);
		out->sampled[i] = get(&row->sampled[i]);
	}
	get_text(row->id, VIGIA_ROW_ID, out->id);
	get_text(row->error, VIGIA_ROW_ERROR, out->error);
}

/* False: the table gives the row to another id at this moment. */
static bool read_row(const struct vigia__rows *rows, int n, struct vigia__row_told *out)
{
	const struct vigia__row *row = &rows->table->rows[n];
	uint64_t hash = atomic_load(&rows->table->hashes[n]);
	out->torn = true;
	out->host[0] = '\0';
	for (int i = 0; i < TRIES && out->torn; i++) {
		if (i >= TRIES / 2) sched_yield();
		uint32_t version = atomic_load(&row->version);
		copy_row(row, out);
		out->torn = (version & 1) != 0 || atomic_load_explicit(&row->version, memory_order_relaxed) != version;
	}
	if (out->torn) out->error[0] = '\0';
	return hash_of(out->id) == hash; /* of a torn one, too: its id may be half another's */
}

/* With the mutex. */
static uint64_t count_all_unshown(const struct vigia__rows *rows)
{
	uint64_t count = rows->unshown;
	for (int user = 0; user < VIGIA_ROW_USERS && rows->fd; user++) {
		uint32_t theirs = user == rows->user ? 0 : atomic_load(&rows->table->unshown[user]);
		if (theirs > 0 && locked_elsewhere(rows, rows->first_user_byte + user)) count += theirs;
	}
	return count;
}

int vigia__rows_each(struct vigia__rows *rows, vigia__row_fn fn, void *ctx, uint64_t *unshown)
{
	int rc = VIGIA_OK;
	pthread_mutex_lock(&rows->mutex);
	const struct vigia__row_table *table = vigia__rows_closed(rows) ? NULL : rows->table;
	*unshown = table ? count_all_unshown(rows) : rows->unshown;
	pthread_mutex_unlock(&rows->mutex);
	for (int n = 0; n < VIGIA_ROWS && table && rc == VIGIA_OK; n++) {
		struct vigia__row_told told;
		if (atomic_load(&table->hashes[n]) == 0) continue;
		told.place = n;
		/* First whether its owner lives: one that ends meanwhile is still shown as running, and none as dead that is
		 * not. */
		pthread_mutex_lock(&rows->mutex);
		told.runs = locked(rows, n);
		pthread_mutex_unlock(&rows->mutex);
		if (read_row(rows, n, &told)) rc = fn(ctx, &told);
	}
	return rc;
}

double vigia__row_rate(const struct vigia__row_told *told, int64_t now_ns)
{
	const int64_t *at = told->sampled_at_ns;
	bool idle = now_ns - at[0] > 2 * SECOND_NS && told->processed == told->sampled[0];
	/* Over a second at least. */
	int from = at[1] != 0 && now_ns - at[1] < SECOND_NS && at[2] != 0 ? 2 : 1;
	if (idle || at[from] == 0 || now_ns <= at[from] || told->processed < told->sampled[from]) return 0;
	int64_t span = now_ns - at[from];
	return (double)(told->processed - told->sampled[from]) * 1e9 / (double)(span > SECOND_NS ? span : SECOND_NS);
}
