/*
 * fuzz_import.c - any bytes as an export: nothing crashes, what is wrong is refused with its place, a refused import
 * can be begun anew with a right one, and what was imported is without damage and comes out of another export as it
 * was.
 *
 * The first byte of an input says what is put right in the others, so that what is behind the sums is reached too, and
 * which store they go into. Without the first bit set they stay as they are.
 */
#include <sys/mman.h>

#include "core/export_record.h"
#include "lib/fuzz.h"
#include "store/store.h"
#include "store/verify.h"

#include "core/event.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* What is put right: lengths and sums of records; numbers and checksums of the events in them. FILE: into a file. */
enum { RIGHT_SUMS = 1, RIGHT_EVENTS = 2, FILE_STORE = 4 };

static char folder[64], path[80];
static int whole_fd = -1; /* an export that is right */

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

static struct vigia_store *open_store(bool in_file)
{
	struct vigia_store_options options;
	struct vigia_store *store;
	vigia_store_options_init(&options);
	options.collect = false;
	if (in_file) forget();
	fuzz_assert(vigia_store_open(in_file ? path : ":memory:", &options, &store, NULL) == VIGIA_OK);
	return store;
}

static int new_fd(const void *bytes, size_t len)
{
	int fd = memfd_create("export", MFD_CLOEXEC);
	fuzz_assert(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

static void begin(void)
{
	snprintf(folder, sizeof folder, "%s/vigia-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	fuzz_assert(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/store", folder);
	atexit(at_end);
	struct vigia_store *store = open_store(false);
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
	fuzz_assert(vigia_store_append(store, &event, 1, NULL, NULL) == VIGIA_OK);
	whole_fd = new_fd("", 0);
	fuzz_assert(vigia_store_export(store, whole_fd, NULL, NULL, NULL, NULL) == VIGIA_OK);
	vigia_store_free(store);
}

/* ---- putting right ---- */

static void put_big(uint8_t *at, uint64_t number, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--, number >>= 8) at[i] = (uint8_t)number;
}

static void right_event(struct vigia_slice bytes, int64_t number, int64_t at_ns)
{
	struct vigia__head head;
	if (number < 1 || vigia__event_head((const uint8_t *)bytes.data, bytes.len, &head) != 0) return;
	vigia__event_stamp((uint8_t *)bytes.data, bytes.len, (uint64_t)number, at_ns);
}

static void right_events(enum vigia__export_kind kind, const struct vigia__export_field *f)
{
	int64_t at_ns = 1000;
	if (kind == VIGIA_EXPORT_EVENT) right_event(f[1].bytes, f[0].number, at_ns + f[0].number % 1000);
	else if (kind == VIGIA_EXPORT_TIMER) right_event(f[3].bytes, f[0].number, f[1].number);
	else if (kind == VIGIA_EXPORT_LETTER) right_event(f[8].bytes, f[1].number, at_ns);
}

/* Make records of the values, as long as they are arrays that end in a place for a sum. */
static void put_right(uint8_t *bytes, size_t size, unsigned what)
{
	uint64_t sum = 0, own, before;
	for (size_t at = 0; at < size;) {
		struct vigia__reader reader = {bytes + at, bytes + size};
		if (size - at < VIGIA_EXPORT_MIN || bytes[at + 1] != 0xCE || vigia__reader_skip(&reader, NULL) < 0) return;
		size_t len = (size_t)(reader.at - (bytes + at));
		uint8_t *record = bytes + at, *tail = record + len - 8;
		if (len < VIGIA_EXPORT_MIN || (record[0] & 0xF0) != 0x90 || tail[-1] != 0xCF) return;
		put_big(record + 2, len, 4);
		own = XXH3_64bits_withSeed(record, len - 8, sum);
		put_big(tail, own, 8);
		struct vigia__export_field fields[VIGIA_EXPORT_FIELDS];
		enum vigia__export_kind kind;
		const char *why;
		before = sum;
		if ((what & RIGHT_EVENTS) && vigia__export_decode(record, (uint32_t)len, &before, &kind, fields, &why) == 0) {
			right_events(kind, fields);
			own = XXH3_64bits_withSeed(record, len - 8, sum);
			put_big(tail, own, 8);
		}
		sum = own;
		at += len;
	}
}

/* ---- what must hold ---- */

static void on_damage(void *ctx, uint64_t seq_num, const char *text)
{
	fprintf(stderr, "event %llu: %s\n", (unsigned long long)seq_num, text);
	abort();
}

static void nothing(void *ctx)
{
}

static void no_progress(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last)
{
}

/* An export of the store, as a descriptor. */
static int export(struct vigia_store *store)
{
	struct vigia_error err = {0};
	int fd = new_fd("", 0), rc = vigia_store_export(store, fd, NULL, NULL, NULL, &err);
	if (rc != VIGIA_OK) fprintf(stderr, "%s\n", err.message);
	fuzz_assert(rc == VIGIA_OK);
	fuzz_assert(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

static bool is_equal(int a, int b)
{
	char room_a[4096], room_b[sizeof room_a];
	ssize_t got;
	for (off_t at = 0; (got = pread(a, room_a, sizeof room_a, at)) > 0; at += got)
		if (pread(b, room_b, sizeof room_b, at) != got || memcmp(room_a, room_b, (size_t)got) != 0) return false;
	return got == 0 && lseek(a, 0, SEEK_END) == lseek(b, 0, SEEK_END);
}

static void check_imported(struct vigia_store *store)
{
	struct vigia__verify verify = {.found = on_damage, .progress = no_progress, .beside = nothing};
	struct vigia_error err = {0};
	uint64_t latest = 0, next = 0;
	fuzz_assert(vigia__store_verify(store, &verify, &err) == VIGIA_OK);
	int first = export(store);
	struct vigia_store *copy = open_store(false);
	int rc = vigia_store_import(copy, first, false, NULL, NULL, NULL, &err);
	if (rc != VIGIA_OK) fprintf(stderr, "%s\n", err.message);
	fuzz_assert(rc == VIGIA_OK);
	int second = export(copy);
	fuzz_assert(is_equal(first, second));
	struct vigia_new_event event = {{"CREATE", 6}, {"Job", 3}, {"\x01", 1}};
	fuzz_assert(vigia_store_latest(copy, &latest, &err) == VIGIA_OK);
	rc = vigia_store_append(copy, &event, 1, &next, &err);
	fuzz_assert(rc < 0 ? err.message[0] != '\0' : next == latest + 1);
	vigia_store_free(copy);
	close(first);
	close(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (whole_fd < 0) begin();
	if (size == 0) return 0;
	uint8_t *bytes = malloc(size);
	fuzz_assert(bytes);
	memcpy(bytes, data + 1, size - 1);
	if (data[0] & RIGHT_SUMS) put_right(bytes, size - 1, data[0]);
	int fd = new_fd(bytes, size - 1);
	struct vigia_store *store = open_store(data[0] & FILE_STORE);
	struct vigia_transfer done = {0};
	struct vigia_error err = {0};
	int rc = vigia_store_import(store, fd, false, NULL, NULL, &done, &err);
	if (rc == VIGIA_OK) {
		fuzz_assert(done.at == done.last && done.bytes <= size - 1);
		check_imported(store);
	} else {
		fuzz_assert(err.message[0] && done.bytes <= size - 1);
		fuzz_assert(lseek(whole_fd, 0, SEEK_SET) == 0);
		rc = vigia_store_import(store, whole_fd, true, NULL, NULL, NULL, &err);
		if (rc != VIGIA_OK) fprintf(stderr, "%s\n", err.message);
		fuzz_assert(rc == VIGIA_OK);
		int again = export(store);
		fuzz_assert(is_equal(whole_fd, again));
		close(again);
	}
	vigia_store_free(store);
	close(fd);
	free(bytes);
	return 0;
}

FUZZ_MAIN(400)
