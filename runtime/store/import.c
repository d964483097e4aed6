/*
 * import.c - reads the stream of an export into an empty store, in commits that each move the mark. See transfer.h.
 *
 * Every record is checked before it is stored: kinds in their order, names and numbers in theirs, each event with the
 * checksum of its own. So a stream made by others stores nothing that this version would not have stored.
 */
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/options.h"
#include "../core/ranges.h"
#include "letters.h"
#include "store_private.h"
#include "timers.h"
#include "transfer.h"

enum { SLICE_BYTES = 4 << 20, SLICE_RECORDS = 4096 };
#define NUMBER_MAX (UINT64_C(1) << 62)

/* ---- the first records ---- */

static int read_first(struct vigia__importer *im, struct vigia_error *err)
{
	struct vigia__export_record record;
	const struct vigia__export_field *f = record.fields;
	int rc = vigia__export_next(&im->stream, &record, err);
	if (rc < 0) return rc;
	if (record.kind != VIGIA_EXPORT_BEGIN)
		return vigia__export_wrong(&record, err, "the input is not an export of a store");
	if (f[0].number != VIGIA_EXPORT_VERSION) {
		vigia__export_wrong(&record, err, "the export has version %lld; this version of Vigia knows version %d",
		                    (long long)f[0].number, VIGIA_EXPORT_VERSION);
		if (err) err->code = VIGIA_EFORMAT;
		return VIGIA_EFORMAT;
	}
	im->first = (uint64_t)f[1].number;
	im->last = (uint64_t)f[2].number;
	im->last_at_ns = f[3].number;
	im->next_timer = (uint64_t)f[4].number;
	im->first_sum = im->stream.sum;
	if (im->first < 1 || im->first > NUMBER_MAX || im->last < im->first - 1 || im->last > NUMBER_MAX ||
	    im->next_timer < 1)
		return vigia__export_wrong(&record, err, "its numbers are invalid");
	rc = vigia__export_next(&im->stream, &record, err);
	if (rc == VIGIA_NONE) return vigia__export_wrong(&record, err, "the input ends before it");
	if (rc < 0) return rc;
	if (record.kind != VIGIA_EXPORT_SETTINGS || !vigia__settings_decode(&im->settings, f[0].bytes.data, f[0].bytes.len))
		return vigia__export_wrong(&record, err, "the settings cannot be read");
	return VIGIA_OK;
}

int vigia__importer_begin(struct vigia__importer *im, int fd, int cancel_fd, struct vigia_error *err)
{
	*im = (struct vigia__importer){0};
	int rc = vigia__export_stream_init(&im->stream, fd, cancel_fd, err);
	if (rc < 0) return rc;
	rc = read_first(im, err);
	if (rc < 0) vigia__importer_end(im);
	return rc;
}

void vigia__importer_end(struct vigia__importer *im)
{
	vigia__export_stream_deinit(&im->stream);
}

/* ---- checks ---- */

/* What went before a record. */
struct before {
	enum vigia__export_kind kind;
	struct vigia__buf name, key; /* the id or the bucket, the key in it */
	uint64_t number;
	int64_t at_ns;
	uint64_t next; /* the number of the next event */
	int64_t event_at_ns;
};

struct importing {
	struct vigia__importer *from;
	struct vigia__backend *b;
	const struct vigia__transfer_watch *watch;
	struct vigia_transfer done;
	struct before before;
	struct vigia__import_mark mark; /* as it is in the store */
	uint64_t skip;                  /* records that it has already */
	struct vigia__buf slice, items; /* records that wait for the next commit */
	size_t count;
	uint64_t slice_sum; /* of the record before them */
	bool ended;
};

static struct vigia_slice slice_of(const struct vigia__buf *buf)
{
	return (struct vigia_slice){(const char *)buf->data, buf->len};
}

static int keep(struct vigia__buf *buf, struct vigia_slice bytes)
{
	buf->len = 0;
	return bytes.len > 0 ? vigia__buf_add(buf, bytes.data, bytes.len) : 0;
}

/* Does it come behind the record before, by name and then by number? */
static bool is_behind(const struct importing *im, const struct vigia__export_record *record, struct vigia_slice name,
                      uint64_t number)
{
	if (im->before.kind != record->kind) return true;
	int order = vigia__ordered_compare(name, slice_of(&im->before.name));
	return order > 0 || (order == 0 && number > im->before.number);
}

static int out_of_order(const struct vigia__export_record *record, struct vigia_error *err)
{
	return vigia__export_wrong(record, err, "it is out of order");
}

/* A checkpoint, a hold, a letter: with the number of an event. A pause: with 0. */
static int check_watcher(struct importing *im, const struct vigia__export_record *record, uint64_t number,
                         struct vigia_error *err)
{
	struct vigia_slice id = record->fields[0].bytes;
	uint64_t place = record->kind == VIGIA_EXPORT_LETTER ? number : 0;
	if (vigia__watcher_id_check(id.data, id.len, NULL) < 0)
		return vigia__export_wrong(record, err, "its watcher id is invalid");
	if (number > im->from->last) return vigia__export_wrong(record, err, "its number is beyond the last event");
	if (!is_behind(im, record, id, place)) return out_of_order(record, err);
	im->before.number = place;
	return keep(&im->before.name, id) < 0 ? vigia__no_memory(err) : VIGIA_OK;
}

static int check_lanes(struct importing *im, const struct vigia__export_record *record, struct vigia_error *err)
{
	struct vigia__buf bytes = {0};
	struct vigia__ranges ranges;
	uint64_t checkpoint = (uint64_t)record->fields[2].number;
	vigia__ranges_init(&ranges, 0);
	int rc = check_watcher(im, record, checkpoint, err);
	if (rc < 0) return rc;
	bool fine = vigia__buf_add(&bytes, &checkpoint, sizeof checkpoint) == 0 &&
	            vigia__export_take_ranges(&bytes, record->fields[3].bytes) == 0 &&
	            vigia__ranges_decode(&ranges, slice_of(&bytes)) == 0 &&
	            (ranges.count == 0 || ranges.list[ranges.count - 1].last <= im->from->last);
	vigia__ranges_deinit(&ranges);
	vigia__buf_deinit(&bytes);
	return fine ? VIGIA_OK : vigia__export_wrong(record, err, "its ranges are wrong");
}

static bool is_event(struct vigia_slice bytes, uint64_t number)
{
	struct vigia__head head;
	return vigia__event_intact((const uint8_t *)bytes.data, bytes.len, number) &&
	       vigia__event_head((const uint8_t *)bytes.data, bytes.len, &head) == 0;
}

static int64_t time_of(struct vigia_slice event)
{
	return vigia__event_time((const uint8_t *)event.data, event.len);
}

static int check_timer(struct importing *im, const struct vigia__export_record *record, struct vigia_error *err)
{
	const struct vigia__export_field *f = record->fields;
	uint64_t id = (uint64_t)f[0].number;
	if (id < 1 || id >= im->from->next_timer || f[2].bytes.len > VIGIA_KEY_MAX || !is_event(f[3].bytes, id) ||
	    time_of(f[3].bytes) != f[1].number)
		return vigia__export_wrong(record, err, "its event does not match it");
	if (im->before.kind == record->kind &&
	    (f[1].number < im->before.at_ns || (f[1].number == im->before.at_ns && id <= im->before.number)))
		return out_of_order(record, err);
	im->before.at_ns = f[1].number;
	im->before.number = id;
	return VIGIA_OK;
}

static int check_letter(struct importing *im, const struct vigia__export_record *record, struct vigia_error *err)
{
	const struct vigia__export_field *f = record->fields;
	uint64_t number = (uint64_t)f[1].number;
	if (!is_event(f[8].bytes, number)) return vigia__export_wrong(record, err, "its event does not match it");
	if (f[6].bytes.len > VIGIA_LETTER_TEXT_MAX || f[7].bytes.len > VIGIA_LETTER_TEXT_MAX)
		return vigia__export_wrong(record, err, "its error is too long");
	return check_watcher(im, record, number, err);
}

static int check_value(struct importing *im, const struct vigia__export_record *record, struct vigia_error *err)
{
	const struct vigia__export_field *f = record->fields;
	struct vigia_key key = {.is_integer = f[1].is_integer, .integer = f[1].number, .text = f[1].bytes};
	struct vigia__state_key bytes = {0};
	bool value = record->kind == VIGIA_EXPORT_VALUE;
	if (vigia__bucket_check(f[0].bytes, NULL) < 0 || (value && vigia__state_key_encode(&key, &bytes, NULL) < 0))
		return vigia__export_wrong(record, err, "its bucket or key is invalid");
	bool before = im->before.kind == VIGIA_EXPORT_VALUE || im->before.kind == VIGIA_EXPORT_BUCKET;
	int order = before ? vigia__ordered_compare(f[0].bytes, slice_of(&im->before.name)) : 1;
	/* Keys in a bucket that has values, and no value in one that has none. */
	if (order < 0 ||
	    (order == 0 && (!value || im->before.kind == VIGIA_EXPORT_BUCKET ||
	                    vigia__ordered_compare(vigia__state_key_slice(&bytes), slice_of(&im->before.key)) <= 0)))
		return out_of_order(record, err);
	if (keep(&im->before.name, f[0].bytes) < 0 || keep(&im->before.key, vigia__state_key_slice(&bytes)) < 0)
		return vigia__no_memory(err);
	return VIGIA_OK;
}

static int check_event(struct importing *im, const struct vigia__export_record *record, struct vigia_error *err)
{
	const struct vigia__export_field *f = record->fields;
	uint64_t number = (uint64_t)f[0].number;
	if (number != im->before.next || number > im->from->last)
		return vigia__export_wrong(record, err, "it is event %llu, but event %llu is expected",
		                           (unsigned long long)number, (unsigned long long)im->before.next);
	if (!is_event(f[1].bytes, number))
		return vigia__export_wrong(record, err, "event %llu does not match its own checksum",
		                           (unsigned long long)number);
	if (time_of(f[1].bytes) < im->before.event_at_ns)
		return vigia__export_wrong(record, err, "event %llu is older than the one before it",
		                           (unsigned long long)number);
	im->before.event_at_ns = time_of(f[1].bytes);
	im->before.next++;
	return VIGIA_OK;
}

static int check_key(struct importing *im, const struct vigia__export_record *record, struct vigia_error *err)
{
	const struct vigia__export_field *f = record->fields;
	if (im->before.kind != VIGIA_EXPORT_EVENT || (uint64_t)f[1].number != im->before.next - 1 || f[0].number < 1 ||
	    f[0].number > f[1].number || f[2].bytes.len < 1 || f[2].bytes.len > VIGIA_KEY_MAX)
		return vigia__export_wrong(record, err, "it is not a key of the event before it");
	return VIGIA_OK;
}

static int check_end(struct importing *im, const struct vigia__export_record *record, struct vigia_error *err)
{
	if ((uint64_t)record->fields[0].number != record->number || im->before.next != im->from->last + 1 ||
	    (im->from->last >= im->from->first && im->before.event_at_ns != im->from->last_at_ns))
		return vigia__export_wrong(record, err, "it ends before the last event, %llu",
		                           (unsigned long long)im->from->last);
	im->ended = true;
	return VIGIA_OK;
}

static int check(struct importing *im, const struct vigia__export_record *record, struct vigia_error *err)
{
	static const int rank[VIGIA_EXPORT_KINDS] = {
		[VIGIA_EXPORT_CHECKPOINT] = 2, [VIGIA_EXPORT_HOLD] = 3,   [VIGIA_EXPORT_PAUSE] = 4,  [VIGIA_EXPORT_LANES] = 5,
		[VIGIA_EXPORT_TIMER] = 6,      [VIGIA_EXPORT_LETTER] = 7, [VIGIA_EXPORT_BUCKET] = 8, [VIGIA_EXPORT_VALUE] = 8,
		[VIGIA_EXPORT_EVENT] = 9,      [VIGIA_EXPORT_KEY] = 9,    [VIGIA_EXPORT_END] = 10};
	int rc = VIGIA_OK;
	if (rank[record->kind] == 0 || rank[record->kind] < rank[im->before.kind]) return out_of_order(record, err);
	switch (record->kind) {
	case VIGIA_EXPORT_CHECKPOINT:
	case VIGIA_EXPORT_HOLD:
		rc = check_watcher(im, record, (uint64_t)record->fields[1].number, err);
		break;
	case VIGIA_EXPORT_PAUSE:
		rc = check_watcher(im, record, 0, err);
		break;
	case VIGIA_EXPORT_LANES:
		rc = check_lanes(im, record, err);
		break;
	case VIGIA_EXPORT_TIMER:
		rc = check_timer(im, record, err);
		break;
	case VIGIA_EXPORT_LETTER:
		rc = check_letter(im, record, err);
		break;
	case VIGIA_EXPORT_BUCKET:
	case VIGIA_EXPORT_VALUE:
		rc = check_value(im, record, err);
		break;
	case VIGIA_EXPORT_EVENT:
		rc = check_event(im, record, err);
		break;
	case VIGIA_EXPORT_KEY:
		rc = check_key(im, record, err);
		break;
	default:
		rc = check_end(im, record, err);
	}
	im->before.kind = record->kind;
	return rc;
}

/* ---- commits ---- */

/* The records of the slice, once its bytes have their place. */
static int make_items(struct importing *im, struct vigia_error *err)
{
	uint64_t sum = im->slice_sum;
	im->items.len = 0;
	if (vigia__buf_reserve(&im->items, (im->count + 2) * sizeof(struct vigia__import_item)) < 0)
		return vigia__no_memory(err);
	struct vigia__import_item *items = (struct vigia__import_item *)(void *)im->items.data;
	for (size_t at = 0, i = 0; i < im->count; i++) {
		uint32_t len;
		const char *why;
		const uint8_t *bytes = im->slice.data + at;
		if (!vigia__export_length(bytes, &len) ||
		    vigia__export_decode(bytes, len, &sum, &items[i].kind, items[i].fields, &why) < 0)
			return vigia__error(err, VIGIA_EIO, "a record cannot be read again"); /* GCOVR_EXCL_LINE: it was checked */
		at += len;
	}
	return VIGIA_OK;
}

static struct vigia__import_mark mark_of(const struct vigia__importer *im)
{
	return (struct vigia__import_mark){im->first_sum, im->stream.records, im->stream.bytes, im->stream.sum};
}

static int commit(struct importing *im, const struct vigia__import_mark *mark, bool ends, struct vigia_error *err)
{
	struct vigia__backend *b = im->b;
	int rc = make_items(im, err);
	if (rc < 0) return rc;
	bool more = ends && im->from->mark;
	if (more) ((struct vigia__import_item *)(void *)im->items.data)[im->count] = *im->from->mark;
	struct vigia__import import = {.step = ends ? VIGIA_IMPORT_ENDS : VIGIA_IMPORT_GOES_ON,
	                               .before = im->mark,
	                               .mark = *mark,
	                               .items = (struct vigia__import_item *)(void *)im->items.data,
	                               .count = im->count + more,
	                               .bytes = im->slice.len};
	uint32_t marked = ends ? vigia__timers_announce(b, true) : 0;
	rc = b->import(b, &import, err);
	if (ends) vigia__timers_announced(b, marked);
	if (rc < 0) return rc;
	im->mark = *mark;
	im->done.at = im->before.next - 1;
	im->done.records = mark->records;
	im->done.bytes = mark->bytes;
	im->count = 0;
	vigia__buf_clear(&im->slice, 4 * SLICE_BYTES);
	im->slice_sum = mark->sum;
	return VIGIA_OK;
}

static int tell(struct importing *im, struct vigia_error *err)
{
	if (im->watch->progress && !im->watch->progress(im->watch->ctx, &im->done))
		return vigia__error(err, VIGIA_EINTERRUPTED, "the import was interrupted");
	return VIGIA_OK;
}

static int begin(struct importing *im, bool anew, struct vigia_error *err)
{
	struct vigia__importer *from = im->from;
	struct vigia__import_mark there;
	if (im->b->import == NULL)
		return vigia__error(err, VIGIA_EUNSUPPORTED, "a store of kind %s does not support import", im->b->name);
	int rc = im->b->import_mark(im->b, &there, err);
	if (rc < 0) return rc;
	if (rc == VIGIA_OK && !anew && !from->resumes) {
		if (there.first_sum != from->first_sum)
			return vigia__error(err, VIGIA_EUNFINISHED,
			                    "the store has an unfinished import of another export; finish that import, or begin "
			                    "again with the option anew");
		im->mark = there;
		im->skip = there.records;
		im->done.resumed_bytes = there.bytes;
		return VIGIA_OK;
	}
	bool none = from->last < from->first;
	struct vigia__import import = {.step = VIGIA_IMPORT_BEGINS,
	                               .mark = mark_of(from),
	                               .anew = anew,
	                               .resumes = from->resumes && !anew,
	                               .settings = &from->settings,
	                               .gone = from->first - 1,
	                               .gone_at_ns = none ? from->last_at_ns : 0,
	                               .next_timer = from->next_timer};
	rc = im->b->import(im->b, &import, err);
	im->mark = import.mark;
	return rc;
}

/* One that the store has already. The last of them must be the one at which the import was interrupted. */
static int skip(struct importing *im, const struct vigia__export_record *record, struct vigia_error *err)
{
	im->done.at = im->before.next - 1;
	im->slice_sum = im->from->stream.sum;
	if (record->number < im->skip || im->from->stream.sum == im->mark.sum) return VIGIA_OK;
	return vigia__error(err, VIGIA_EUNFINISHED,
	                    "the store has an unfinished import of another export; finish that import, or begin again with "
	                    "the option anew");
}

static int take(struct importing *im, const struct vigia__export_record *record, struct vigia_error *err)
{
	int rc = check(im, record, err);
	if (rc < 0) return rc;
	if (record->number <= im->skip) return skip(im, record, err);
	if (im->ended) return VIGIA_OK; /* it is no content */
	if (vigia__buf_add(&im->slice, record->bytes.data, record->bytes.len) < 0) return vigia__no_memory(err);
	im->count++;
	return VIGIA_OK;
}

static int import_all(struct importing *im, struct vigia_error *err)
{
	struct vigia__export_record record;
	struct vigia__import_mark mark = mark_of(im->from), next;
	int rc;
	im->slice_sum = mark.sum;
	for (;;) {
		rc = vigia__export_next(&im->from->stream, &record, err);
		if (rc == VIGIA_NONE && !im->ended) rc = vigia__export_wrong(&record, err, "the input ends before it");
		else if (rc == VIGIA_OK && im->ended)
			rc = vigia__export_wrong(&record, err, "it is after the end of the export");
		if (rc != VIGIA_OK) break;
		rc = take(im, &record, err);
		if (rc < 0) break;
		next = mark_of(im->from);
		if (!im->ended) mark = next;
		bool full = im->count >= SLICE_RECORDS || im->slice.len >= SLICE_BYTES;
		if (full) rc = commit(im, &mark, false, err);
		if (rc == VIGIA_OK && (full || record.number % SLICE_RECORDS == 0)) rc = tell(im, err);
		if (rc < 0) return rc;
	}
	if (rc == VIGIA_NONE) {
		rc = commit(im, &mark, true, err);
		if (rc == VIGIA_OK) tell(im, NULL); /* it cannot end it any more */
		return rc;
	}
	/* What came before the place is stored. */
	if (im->count > 0 && rc != VIGIA_ENOMEM) commit(im, &mark, false, NULL);
	return rc;
}

int vigia__importer_run(struct vigia__importer *from, struct vigia_store *store, bool anew,
                        const struct vigia__transfer_watch *watch, struct vigia_transfer *out, struct vigia_error *err)
{
	int rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	if (from->mark) from->first_sum = from->mark_sum;
	struct importing im = {.from = from, .b = store->backend, .watch = watch, .before = {.next = from->first}};
	im.done = (struct vigia_transfer){.first = from->first, .last = from->last, .at = from->first - 1};
	rc = begin(&im, anew, err);
	if (rc == VIGIA_OK) rc = import_all(&im, err);
	*out = im.done;
	vigia__buf_deinit(&im.before.name);
	vigia__buf_deinit(&im.before.key);
	vigia__buf_deinit(&im.slice);
	vigia__buf_deinit(&im.items);
	return vigia__store_end(store, rc);
}

int vigia_store_import_sized(struct vigia_store *store, int fd, bool anew, vigia_transfer_fn progress, void *ctx,
                             struct vigia_transfer *out, size_t size, struct vigia_error *err)
{
	struct vigia__importer importer;
	struct vigia_transfer done = {0};
	struct vigia__transfer_watch watch = {.cancel_fd = -1, .progress = progress, .ctx = ctx};
	int rc = vigia__importer_begin(&importer, fd, -1, err);
	if (rc == VIGIA_OK) {
		rc = vigia__importer_run(&importer, store, anew, &watch, &done, err);
		vigia__importer_end(&importer);
	}
	if (out) vigia__options_give(out, size, &done, sizeof done);
	return rc;
}
