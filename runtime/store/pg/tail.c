/*
 * tail.c - what watchers read: pages of events in memory, which one thread of the process fills. So no watcher waits
 * for the server, and an event crosses the network once a process and not once a watcher.
 *
 * A scan that finds no page for its number leaves a wish, and the thread asks for a page from there on. The answer is
 * for all that wait for an event in it, and stays while there is room. Pages do not move: an event that comes next is
 * put behind the others of its page, where scans that hold the page do not look yet.
 *
 * Whether the log goes on behind a page, the notifications tell (`latest`): at the end nothing is asked. If some wait
 * there for what is told, the thread that listens reads it before it wakes them.
 */
#include "../../core/alloc.h"
#include "../../core/error.h"
#include "../../core/event.h"
#include "pg_private.h"
#include "sql_event.h"

enum {
	CACHE_BYTES = 8 << 20, /* of all pages, but for one that has a larger event */
	PAGE_EVENTS = 1000,
	PAGE_BYTES = 256 << 10, /* of an answer, about */
	NEWS_BYTES = 64 << 10,  /* of one that the thread that listens waits for, which has more to do */
	ROOM_EVENTS = 256,      /* in a page, at least */
	ROOM_BYTES = 64 << 10
};

/* Events first .. first + count - 1, stamped. */
struct pg_page {
	struct pg_page *next; /* owner: the cache, the last used first */
	unsigned refs;        /* of the cache, of scans, of answers that were not taken yet */
	uint64_t first;
	size_t count, count_max, len, len_max;
	uint8_t *bytes;
	size_t ends[]; /* the offset behind each event; then the bytes */
};

/* ---- pages, under the mutex ---- */

static void unref(struct pg_page *page)
{
	if (page && --page->refs == 0) vigia__free(page);
}

static size_t size_of(const struct pg_page *page)
{
	return sizeof *page + page->count_max * sizeof *page->ends + page->len_max;
}

static bool covers(const struct pg_page *page, uint64_t seq_num)
{
	return page && seq_num >= page->first && seq_num - page->first < page->count;
}

static void unlink_page(struct pg_tail *tail, struct pg_page **at)
{
	struct pg_page *page = *at;
	*at = page->next;
	tail->bytes -= size_of(page);
	unref(page);
}

/* It becomes the last used. NULL: there is none. */
static struct pg_page *find(struct pg_tail *tail, uint64_t seq_num)
{
	struct pg_page **at = &tail->pages;
	while (*at && !covers(*at, seq_num)) at = &(*at)->next;
	struct pg_page *page = *at;
	if (page == NULL) return NULL;
	*at = page->next;
	page->next = tail->pages;
	tail->pages = page;
	return page;
}

/* Where the page ends that has this number: what will be wanted next. The number itself: none has it. */
static uint64_t end_of_page(const struct pg_tail *tail, uint64_t seq_num)
{
	const struct pg_page *page = tail->pages;
	while (page && !covers(page, seq_num)) page = page->next;
	return page ? page->first + page->count : seq_num;
}

/* How many events to ask for, so that none is asked for twice. */
static int32_t room_before_next(const struct pg_tail *tail, uint64_t from)
{
	uint64_t room = PAGE_EVENTS;
	for (const struct pg_page *page = tail->pages; page; page = page->next)
		if (page->first > from && page->first - from < room) room = page->first - from;
	return (int32_t)room;
}

static struct pg_page *page_new(struct pg_tail *tail, uint64_t first, size_t count, size_t len)
{
	if (count < ROOM_EVENTS) count = ROOM_EVENTS;
	if (len < ROOM_BYTES) len = ROOM_BYTES;
	struct pg_page *page = vigia__alloc(sizeof *page + count * sizeof *page->ends + len);
	if (page == NULL) return NULL;
	*page = (struct pg_page){.next = tail->pages, .refs = 1, .first = first, .count_max = count, .len_max = len};
	page->bytes = (uint8_t *)&page->ends[count];
	tail->pages = page;
	tail->bytes += size_of(page);
	while (tail->bytes > CACHE_BYTES && tail->pages->next) {
		struct pg_page **last = &tail->pages;
		while ((*last)->next) last = &(*last)->next;
		unlink_page(tail, last);
	}
	return page;
}

/* Events before this one are gone. */
static void trimmed(struct pg_tail *tail, uint64_t oldest)
{
	if (oldest <= tail->oldest) return;
	tail->oldest = oldest;
	for (struct pg_page **at = &tail->pages; *at;)
		if ((*at)->first + (*at)->count <= oldest) unlink_page(tail, at);
		else at = &(*at)->next;
}

/* Keep the events of an answer, which begin in its second row. */
static int keep(struct pg_tail *tail, const PGresult *rows)
{
	size_t count = (size_t)PQntuples(rows) - 1, len = 0;
	if (count == 0) return VIGIA_OK;
	uint64_t first = (uint64_t)vigia__pg_int(rows, 1, 0);
	for (int row = 1; row < PQntuples(rows); row++) len += (size_t)PQgetlength(rows, row, 2);
	struct pg_page *page = tail->pages;
	while (page && (page->first + page->count != first || page->count_max - page->count < count ||
	                page->len_max - page->len < len))
		page = page->next;
	if (page == NULL) page = page_new(tail, first, count, len);
	if (page == NULL) return VIGIA_ENOMEM;
	for (int row = 1; row < PQntuples(rows); row++) {
		struct vigia_slice event = vigia__pg_sql_event(vigia__pg_bytes(rows, row, 2));
		uint8_t *bytes = page->bytes + page->len;
		memcpy(bytes, event.data, event.len);
		if (vigia__event_intact(bytes, event.len, 0))
			vigia__event_stamp(bytes, event.len, (uint64_t)vigia__pg_int(rows, row, 0), vigia__pg_int(rows, row, 1));
		page->len += event.len;
		page->ends[page->count++] = page->len;
	}
	return VIGIA_OK;
}

/* ---- wishes, under the mutex ---- */

static void leave_list(struct pg_tail *tail, struct vigia__arrival *wish)
{
	struct vigia__arrival **at = &tail->wishes;
	while (*at != wish) at = &(*at)->next;
	*at = wish->next;
	wish->waits = false;
}

static void forget(struct pg_tail *tail, struct vigia__arrival *wish)
{
	if (wish->waits) leave_list(tail, wish);
	unref(wish->page);
	wish->page = NULL;
	wish->answered = false;
	atomic_store(&wish->came, false);
}

/* `err` NULL: the page, or that there is nothing. */
static void answer(struct pg_tail *tail, struct vigia__arrival *wish, struct pg_page *page, uint64_t known,
                   const struct vigia_error *err)
{
	leave_list(tail, wish);
	wish->answered = true;
	wish->known = known;
	wish->page = page;
	if (page) page->refs++;
	if (err) wish->err = *err;
	else wish->err.code = VIGIA_OK;
	atomic_store(&wish->came, true);
	wish->tell(wish->ctx);
}

/* Who waits for this number is answered. A failure is for all: the server is away. */
static void answer_all(struct pg_tail *tail, uint64_t from, uint64_t known, const struct vigia_error *err)
{
	for (struct vigia__arrival *wish = tail->wishes, *next; wish; wish = next) {
		next = wish->next;
		struct pg_page *page = err ? NULL : find(tail, wish->from > tail->oldest ? wish->from : tail->oldest);
		if (page || err || (wish->from == from && wish->asked < tail->asked)) answer(tail, wish, page, known, err);
	}
}

/* ---- asking, one at a time, under the mutex, which is given up meanwhile ---- */

typedef int ask_fn(struct pg_backend *b, const struct pg_param *params, PGresult **rows, struct vigia_error *err);

static int ask_reader(struct pg_backend *b, const struct pg_param *params, PGresult **rows, struct vigia_error *err)
{
	return vigia__pg_ask(b, VIGIA_PG_READ, params, rows, "read", err);
}

static int ask_listener(struct pg_backend *b, const struct pg_param *params, PGresult **rows, struct vigia_error *err)
{
	return vigia__pg_call(&b->listener, VIGIA_PG_READ, params, rows, vigia__pg_until(&b->listener), "read", err);
}

static int fetch(struct pg_backend *b, ask_fn *ask, uint64_t from, int64_t bytes_max, struct vigia_error *err)
{
	struct pg_tail *tail = &b->tail;
	struct pg_number number, count, bytes;
	const struct pg_param params[] = {vigia__pg_big(&number, (int64_t)from),
	                                  vigia__pg_small(&count, room_before_next(tail, from)),
	                                  vigia__pg_big(&bytes, bytes_max)};
	PGresult *rows;
	tail->asked++;
	tail->asking = true;
	pthread_mutex_unlock(&tail->helper.mutex);
	int rc = ask(b, params, &rows, err);
	pthread_mutex_lock(&tail->helper.mutex);
	tail->asking = false;
	if (rc < 0) return rc;
	uint64_t oldest = (uint64_t)vigia__pg_int(rows, 0, 0), latest = (uint64_t)vigia__pg_int(rows, 0, 1);
	rc = keep(tail, rows);
	if (rc < 0) vigia__error(err, rc, "no memory for a batch of events");
	trimmed(tail, oldest > 0 ? oldest : latest + 1);
	PQclear(rows);
	return rc;
}

/* Those at the end are about to be woken: have it ready. What fails is asked for again by who misses it. */
bool vigia__pg_tail_fetch(struct pg_backend *b)
{
	struct pg_tail *tail = &b->tail;
	pthread_mutex_lock(&tail->helper.mutex);
	uint64_t from = tail->end, known = atomic_load(&b->latest);
	bool wanted = from > 0 && from <= known && !tail->wishes && !tail->asking && find(tail, from) == NULL;
	if (wanted) {
		if (fetch(b, ask_listener, from, NEWS_BYTES, NULL) == VIGIA_OK) answer_all(tail, from, known, NULL);
		pthread_cond_signal(&tail->helper.changed);
	}
	pthread_mutex_unlock(&tail->helper.mutex);
	return wanted;
}

/* ---- the thread ---- */

static void *fill(void *arg)
{
	struct pg_backend *b = arg;
	struct pg_tail *tail = &b->tail;
	pthread_mutex_lock(&tail->helper.mutex);
	while (!tail->helper.quit) {
		uint64_t from = tail->wishes ? tail->wishes->from : tail->ahead;
		if (from == 0 || tail->asking) {
			pthread_cond_wait(&tail->helper.changed, &tail->helper.mutex);
			continue;
		}
		tail->ahead = 0;
		struct vigia_error err = {0};
		uint64_t known = atomic_load(&b->latest);
		int rc = VIGIA_OK;
		/* Another answer may have brought it. */
		if (find(tail, from) == NULL) rc = fetch(b, ask_reader, from, PAGE_BYTES, &err);
		answer_all(tail, from, known, rc < 0 ? &err : NULL);
	}
	pthread_mutex_unlock(&tail->helper.mutex);
	return NULL;
}

/* ---- scans ---- */

static bool take_page(struct pg_take *take, const struct pg_page *page, size_t count)
{
	for (size_t i = take->from - page->first; i < count; i++) {
		size_t start = i > 0 ? page->ends[i - 1] : 0;
		struct vigia_slice event = {(const char *)page->bytes + start, page->ends[i] - start};
		if (!vigia__pg_take(take, page->first + i, NULL, event)) return false;
	}
	return true;
}

/* Under the mutex, which it gives up meanwhile: what the pages have. `given`: the answer's, which the cache may have
 * dropped. */
static void take_pages(struct pg_tail *tail, struct pg_take *take, struct pg_page *given)
{
	struct vigia__scan *scan = take->scan;
	bool goes_on = true;
	while (goes_on) {
		if (take->from < tail->oldest) {
			if (scan->looked_at == 0) scan->gone = tail->oldest - scan->from;
			take->from = tail->oldest;
		}
		struct pg_page *page = find(tail, take->from);
		if (page == NULL && covers(given, take->from)) page = given;
		if (page == NULL) return;
		size_t count = page->count;
		page->refs++;
		pthread_mutex_unlock(&tail->helper.mutex);
		goes_on = take_page(take, page, count);
		if (take->cost > 0 && vigia__mono_ns() >= scan->until_mono_ns) goes_on = false;
		pthread_mutex_lock(&tail->helper.mutex);
		unref(page);
	}
}

/* Is the last scan's wish still open, or has it failed? VIGIA_OK: scan. *given, *answered: the outcome. */
static int take_answer(struct pg_tail *tail, const struct vigia__scan *scan, struct pg_page **given, bool *answered,
                       struct vigia_error *err)
{
	struct vigia__arrival *wish = scan->arrival;
	atomic_store(&wish->came, false);
	if (wish->scanned_from != scan->from) forget(tail, wish);
	if (wish->waits) return VIGIA_PENDING;
	*answered = wish->answered;
	*given = wish->page;
	wish->page = NULL;
	wish->answered = false;
	if (!*answered || wish->err.code >= 0) return VIGIA_OK;
	if (err) *err = wish->err;
	return wish->err.code;
}

static int wait_for(struct pg_backend *b, const struct pg_take *take, struct vigia_error *err)
{
	struct pg_tail *tail = &b->tail;
	struct vigia__arrival *wish = take->scan->arrival, **end = &tail->wishes;
	int rc = vigia__helper_start(&tail->helper, fill, b, "start a thread to read with", err);
	if (rc < 0) return rc;
	wish->scanned_from = take->scan->from;
	wish->from = take->from;
	wish->asked = tail->asked;
	wish->waits = true;
	wish->next = NULL;
	while (*end) end = &(*end)->next;
	*end = wish;
	pthread_cond_signal(&tail->helper.changed);
	return VIGIA_PENDING;
}

/* The next page comes while handlers have this one. */
static void read_ahead(struct pg_tail *tail, uint64_t from, uint64_t latest)
{
	if (from > latest || tail->ahead > 0 || end_of_page(tail, from) > from) return;
	tail->ahead = from;
	pthread_cond_signal(&tail->helper.changed);
}

int vigia__pg_tail_scan(struct pg_backend *b, struct vigia__scan *scan, struct vigia_batch *batch,
                        struct vigia_error *err)
{
	struct pg_tail *tail = &b->tail;
	struct pg_take take;
	struct pg_page *given = NULL;
	bool answered = false;
	vigia__pg_take_begin(&take, scan, batch);
	pthread_mutex_lock(&tail->helper.mutex);
	int rc = take_answer(tail, scan, &given, &answered, err);
	if (rc == VIGIA_OK) {
		take_pages(tail, &take, given);
		/* The server had nothing where there was to be something: it is another one, or it was put back. */
		bool none = answered && given == NULL && atomic_load(&b->latest) == scan->arrival->known;
		scan->at_end = take.from > atomic_load(&b->latest) || (none && scan->looked_at == 0);
		if (scan->at_end && take.from > tail->end) tail->end = take.from;
		bool unsure = scan->arrival->asks && !answered && scan->looked_at == 0;
		uint64_t next = end_of_page(tail, take.from);
		bool missing = (!scan->at_end || unsure) && next == take.from;
		if (take.no_memory && take.copied == 0) rc = vigia__error(err, VIGIA_ENOMEM, "no memory for a batch of events");
		else if (missing && scan->looked_at == 0) rc = wait_for(b, &take, err);
		else read_ahead(tail, next, atomic_load(&b->latest));
	}
	unref(given);
	pthread_mutex_unlock(&tail->helper.mutex);
	return rc;
}

void vigia__pg_tail_forget_scan(struct vigia__backend *base, struct vigia__arrival *arrival)
{
	struct pg_tail *tail = &pg_of(base)->tail;
	pthread_mutex_lock(&tail->helper.mutex);
	forget(tail, arrival);
	pthread_mutex_unlock(&tail->helper.mutex);
}

/* ---- life ---- */

void vigia__pg_tail_trimmed(struct pg_backend *b, uint64_t oldest)
{
	pthread_mutex_lock(&b->tail.helper.mutex);
	trimmed(&b->tail, oldest);
	pthread_mutex_unlock(&b->tail.helper.mutex);
}

void vigia__pg_tail_clear(struct pg_backend *b)
{
	pthread_mutex_lock(&b->tail.helper.mutex);
	while (b->tail.pages) unlink_page(&b->tail, &b->tail.pages);
	b->tail.oldest = b->tail.end = 0;
	pthread_mutex_unlock(&b->tail.helper.mutex);
}

void vigia__pg_tail_init(struct pg_backend *b)
{
	vigia__helper_init(&b->tail.helper);
}

void vigia__pg_tail_deinit(struct pg_backend *b)
{
	vigia__helper_stop(&b->tail.helper);
	vigia__pg_tail_clear(b);
	vigia__helper_deinit(&b->tail.helper);
}
