/*
 * fuzz_journal.c - any bytes as what a crash left in the journal of a store: nothing crashes, the events of all records
 * that are right are there, no other ones are, and the numbers go on behind them.
 *
 * The first byte of an input says what is put right in the others, so that what is behind the sums is reached too; they
 * are the journal's area from its beginning on. Without the first bit set they stay as they are.
 */
#include <lmdb.h>
#include <sys/stat.h>

#include "lib/fuzz.h"
#include "store/lmdb_private.h"
#include "store/store.h"

#include "../../runtime/core/record.c"

/* What is put right: salt, number and magic word; the sum; that a process looks at it that may only read. */
enum { RIGHT_HEADS = 1, RIGHT_SUMS = 2, READS_ONLY = 4 };
/* The generation that all inputs belong to, behind three events. */
enum { SALT = 0x5eed, LAST = 3 };

static char folder[64], path[80];
static struct vigia__buf store_bytes; /* with an empty journal */
static off_t area_at;
static size_t area_bytes;

static struct vigia_store_options options_of(bool readonly)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.collect = false;
	options.readonly = readonly;
	return options;
}

static int append_one(struct vigia_store *store, uint64_t *seq_num)
{
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
	return vigia_store_append(store, &event, 1, seq_num, NULL);
}

static void set_generation(void)
{
	struct {
		uint64_t generation, salt, last;
		int64_t last_at;
	} record = {7, SALT, LAST, 1};
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_val key = {4, "tail"}, value = {sizeof record, &record};
	fuzz_assert(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, 32) == 0);
	fuzz_assert(mdb_env_open(env, path, MDB_NOSUBDIR, 0600) == 0);
	fuzz_assert(mdb_txn_begin(env, NULL, 0, &txn) == 0);
	fuzz_assert(mdb_dbi_open(txn, "vigia", 0, &dbi) == 0 && mdb_put(txn, dbi, &key, &value, 0) == 0);
	fuzz_assert(mdb_txn_commit(txn) == 0);
	mdb_env_close(env);
}

static void forget(void)
{
	static const char *const names[] = {"", "-lock", "-side"};
	char name[100];
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof name, "%s%s", path, names[i]);
		unlink(name);
	}
}

static void at_end(void)
{
	forget();
	rmdir(folder);
}

static void begin(void)
{
	struct vigia_store_options options = options_of(false);
	struct vigia_store *store;
	struct stat st;
	snprintf(folder, sizeof folder, "%s/vigia-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	fuzz_assert(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/store", folder);
	atexit(at_end);
	fuzz_assert(vigia_store_open(path, &options, &store, NULL) == 0);
	for (int i = 0; i < LAST; i++) fuzz_assert(append_one(store, NULL) == 0);
	const struct lmdb_backend *b = (const struct lmdb_backend *)store->backend;
	area_at = b->journal.at;
	area_bytes = b->journal.bytes;
	fuzz_assert(area_at > 0);
	vigia_store_free(store);
	set_generation();
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	fuzz_assert(fd >= 0 && fstat(fd, &st) == 0 && vigia__buf_reserve(&store_bytes, (size_t)st.st_size) == 0);
	store_bytes.len = (size_t)st.st_size;
	fuzz_assert(pread(fd, store_bytes.data, store_bytes.len, 0) == (ssize_t)store_bytes.len);
	close(fd);
	memset(store_bytes.data + area_at, 0, area_bytes);
}

/* Make records of the bytes where they nearly are some. */
static void put_right(uint8_t *area, unsigned what)
{
	struct vigia__chain chain = vigia__chain_begin(SALT, LAST, 1);
	struct vigia__record record;
	for (;;) {
		struct head head;
		if (chain.at + sizeof head > area_bytes) return;
		memcpy(&head, area + chain.at, sizeof head);
		if (head.payload == 0 && head.count == 0) return;
		if (what & RIGHT_HEADS) {
			head.magic = magic;
			head.salt = chain.salt;
			head.first = chain.last + 1;
		}
		memcpy(area + chain.at, &head, sizeof head);
		if (!fits(&head, area_bytes - chain.at, chain.at)) return;
		if (what & RIGHT_SUMS) head.sum = sum_of(area + chain.at, head.payload, chain.sum);
		memcpy(area + chain.at, &head, sizeof head);
		if (!vigia__record_next(area, area_bytes, &chain, &record)) return;
	}
}

/* How many events there are in records that are right. *whole: each of them is where it should be. */
static uint64_t count_events(const uint8_t *area, bool *whole)
{
	struct vigia__chain chain = vigia__chain_begin(SALT, LAST, 1);
	struct vigia__record record;
	*whole = true;
	while (vigia__record_next(area, area_bytes, &chain, &record)) {
		size_t start = 0, len;
		const uint8_t *bytes;
		for (uint32_t i = 0; i < record.count && *whole; i++) {
			*whole = vigia__record_event(&record, i, &start, &bytes, &len);
			if (*whole) fuzz_assert(bytes >= area && bytes + len <= area + area_bytes && len > 0);
		}
	}
	return chain.last - LAST;
}

static uint64_t count_read(struct vigia_store *store)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_read request = {.size = sizeof request};
	struct vigia_iterator next;
	uint64_t count = 0;
	for (size_t got = 1; got > 0; request.from = next) {
		fuzz_assert(vigia_store_read(store, &request, batch, &next, NULL) == VIGIA_OK);
		got = vigia_batch_count(batch);
		for (size_t i = 0; i < got; i++) {
			struct vigia_event event;
			struct vigia_error err = {0};
			count++;
			int rc = vigia_batch_event(batch, i, &event, &err); /* its own sum tells whether it is one */
			fuzz_assert(rc == VIGIA_OK ? event.seq_num == count : err.seq_num == count);
		}
	}
	vigia_batch_free(batch);
	return count;
}

static void write_store(void)
{
	forget();
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	fuzz_assert(fd >= 0 && write(fd, store_bytes.data, store_bytes.len) == (ssize_t)store_bytes.len);
	close(fd);
}

/* Open it, look, and append if it may be written. False: it was refused. */
static bool look(bool readonly, uint64_t expected)
{
	struct vigia_store_options options = options_of(readonly);
	struct vigia_store *store;
	struct vigia_error err = {0};
	uint64_t latest = 0, next = 0;
	int rc = vigia_store_open(path, &options, &store, &err);
	if (rc < 0) {
		fuzz_assert(err.message[0]);
		return false;
	}
	if (vigia_store_latest(store, &latest, &err) == VIGIA_OK) {
		fuzz_assert(latest == expected);
		fuzz_assert(count_read(store) == expected);
		if (!readonly) fuzz_assert(append_one(store, &next) == VIGIA_OK && next == expected + 1);
	} else {
		fuzz_assert(err.message[0]);
		latest = 0;
	}
	vigia_store_free(store);
	return latest == expected;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool whole;
	if (store_bytes.len == 0) begin();
	if (size == 0 || size - 1 > area_bytes) return 0;
	uint8_t *area = store_bytes.data + area_at;
	memcpy(area, data + 1, size - 1);
	if (data[0] & (RIGHT_HEADS | RIGHT_SUMS)) put_right(area, data[0]);
	uint64_t expected = LAST + count_events(area, &whole);
	write_store();
	if (data[0] & READS_ONLY) {
		bool fine = look(true, expected);
		fuzz_assert(fine || !whole);
	}
	bool fine = look(false, expected);
	fuzz_assert(fine || !whole);
	if (fine) fuzz_assert(look(false, expected + 1));
	memset(area, 0, area_bytes);
	return 0;
}

FUZZ_MAIN(1200)
