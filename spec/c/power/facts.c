/*
 * facts.c - marks become facts, and the events of the workloads.
 */
#include "facts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fact_append *find(struct facts *f, unsigned writer, unsigned first)
{
	for (unsigned i = f->appends_count; i-- > 0;)
		if (f->appends[i].writer == writer && f->appends[i].first == first) return &f->appends[i];
	abort();
}

static struct fact_position *position(struct facts *f, const char *id)
{
	unsigned i = 0;
	while (i < f->positions_count && strcmp(f->positions[i].id, id) != 0) i++;
	if (i == f->positions_count) {
		if (i == FACT_IDS) abort();
		snprintf(f->positions[f->positions_count++].id, sizeof f->positions[0].id, "%s", id);
	}
	return &f->positions[i];
}

static void tell(struct facts *f, uint64_t seq_num)
{
	if (seq_num > f->last) f->last = seq_num;
	f->any = true;
}

static void add_append(struct facts *f, const char *word, const char *rest)
{
	unsigned writer, first, count = 0;
	uint64_t seq_num = 0;
	if (sscanf(rest, "%u %u %u %" SCNu64, &writer, &first, &count, &seq_num) < 3) abort();
	if (strcmp(word, "try") == 0) {
		if (f->appends_count == FACT_APPENDS || writer >= FACT_WRITERS) abort();
		f->appends[f->appends_count++] = (struct fact_append){
			.writer = writer, .first = first, .count = count, .has_key = strstr(rest, " key") != NULL};
		return;
	}
	struct fact_append *append = find(f, writer, first);
	append->result = strcmp(word, "ack") == 0     ? FACT_ACKED
	                 : strcmp(word, "nack") == 0  ? FACT_REFUSED
	                 : strcmp(word, "queue") == 0 ? FACT_QUEUED
	                                              : FACT_UNKNOWN;
	append->seq_num = seq_num;
	if (append->result == FACT_ACKED) tell(f, seq_num + count - 1);
}

static void add_position(struct facts *f, const char *word, const char *rest)
{
	char id[32];
	uint64_t value;
	if (sscanf(rest, "%31s %" SCNu64, id, &value) != 2) abort();
	struct fact_position *p = position(f, id);
	if (strcmp(word, "put") == 0) {
		if (p->tried_count == FACT_TRIED) abort();
		p->tried[p->tried_count++] = value;
	} else if (strcmp(word, "handled") == 0) {
		if (value > p->handled) p->handled = value;
	} else {
		p->saved = f->any = true;
		p->value = value;
		p->tried_count = 0;
	}
}

/* The event of a timer is one that may be there. */
static void add_timer(struct facts *f, const char *word, const char *rest)
{
	unsigned a, b, tick = 0;
	if (sscanf(rest, "%u %u %u", &a, &b, &tick) < 2) abort();
	if (strcmp(word, "later") == 0) {
		if (f->timers_count == FACT_TIMERS || f->appends_count == FACT_APPENDS || a >= FACT_WRITERS) abort();
		f->timers[f->timers_count++] = (struct fact_timer){.writer = a, .number = b, .tick = tick};
		f->appends[f->appends_count++] =
			(struct fact_append){.writer = a, .first = b, .count = 1, .result = FACT_UNKNOWN};
		return;
	}
	if (strcmp(word, "tick") == 0 && b > f->tick) f->tick = b;
	for (unsigned i = 0; i < f->timers_count; i++) {
		struct fact_timer *timer = &f->timers[i];
		bool due = timer->waits && timer->tick <= b;
		if (strcmp(word, "tick") == 0 && due) timer->owed |= 1u << a;
		if (strcmp(word, "ticked") == 0 && due && (timer->owed & 1u << a)) timer->stored = true;
		if (strcmp(word, "waits") == 0 && timer->writer == a && timer->number == b) timer->waits = f->any = true;
	}
}

static void add_letter(struct facts *f, const char *word, uint64_t seq_num)
{
	struct fact_effects *effects = &f->effects;
	unsigned i = 0;
	while (i < effects->letters_count && effects->letters[i].seq_num != seq_num) i++;
	if (i == FACT_LETTERS) abort();
	if (i == effects->letters_count) effects->letters_count++;
	struct fact_letter *letter = &effects->letters[i];
	letter->seq_num = seq_num;
	letter->asking |= strcmp(word, "ask") == 0;
	letter->asked |= strcmp(word, "asked") == 0;
	letter->settled |= strcmp(word, "settled") == 0;
	letter->dropping |= strcmp(word, "drop") == 0;
	letter->dropped |= strcmp(word, "dropped") == 0;
}

/* What came after the copy is forgotten: none of it may come back. */
static void restore(struct facts *f, uint64_t last)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < f->appends_count; i++) {
		const struct fact_append *append = &f->appends[i];
		if (append->result == FACT_ACKED && append->seq_num <= last) f->appends[kept++] = *append;
	}
	f->appends_count = kept;
	f->last = last;
}

void facts_add(struct facts *f, const char *line)
{
	static const char *const appends[] = {"try", "ack", "nack", "unknown", "queue"};
	static const char *const positions[] = {"put", "saved", "handled"};
	static const char *const letters[] = {"ask", "asked", "settled", "drop", "dropped"};
	char word[32], name[32];
	int at = 0;
	unsigned writer, number;
	uint64_t n;
	if (sscanf(line, "%31s %n", word, &at) != 1) abort();
	const char *rest = line + at;
	for (size_t i = 0; i < sizeof appends / sizeof *appends; i++)
		if (strcmp(word, appends[i]) == 0) {
			add_append(f, word, rest);
			return;
		}
	for (size_t i = 0; i < sizeof positions / sizeof *positions; i++)
		if (strcmp(word, positions[i]) == 0) {
			add_position(f, word, rest);
			return;
		}
	for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
		if (strcmp(word, letters[i]) == 0 && sscanf(rest, "%31s %" SCNu64, name, &n) == 2) {
			add_letter(f, word, n);
			return;
		}
	if (strcmp(word, "synced") == 0 && sscanf(rest, "%u %u", &writer, &number) == 2) {
		f->synced[writer] = number;
		f->any = true;
	} else if (strcmp(word, "trim") == 0 && sscanf(rest, "%" SCNu64, &n) == 1) {
		if (n > f->trim_tried) f->trim_tried = n;
	} else if (strcmp(word, "trimmed") == 0 && sscanf(rest, "%" SCNu64, &n) == 1) {
		f->trim_done = n;
		f->any = true;
	} else if (strcmp(word, "set") == 0 && sscanf(rest, "%" SCNu64, &n) == 1) {
		if (f->size_tried_count == FACT_TRIED) abort();
		f->size_tried[f->size_tried_count++] = (int64_t)n;
	} else if (strcmp(word, "changed") == 0 && sscanf(rest, "%" SCNu64, &n) == 1) {
		f->size = (int64_t)n;
		f->size_tried_count = 0;
		f->any = true;
	} else if (strcmp(word, "needs") == 0 && sscanf(rest, "%31s %u %u", name, &writer, &number) == 3) {
		snprintf(f->needs, sizeof f->needs, "%s", name);
		f->needs_handled = writer;
		f->needs_queued = number;
	} else if (strcmp(word, "effects") == 0 && sscanf(rest, "%31s %u %u", name, &writer, &number) == 3) {
		snprintf(f->effects.id, sizeof f->effects.id, "%s", name);
		f->effects.writer = writer;
		f->effects.transactional = number == 1;
	} else if (strcmp(word, "counts") == 0 && sscanf(rest, "%u", &writer) == 1 && writer < FACT_WRITERS) {
		f->counts[writer] = true;
	} else if (strcmp(word, "later") == 0 || strcmp(word, "waits") == 0 || strcmp(word, "tick") == 0 ||
	           strcmp(word, "ticked") == 0) {
		add_timer(f, word, rest);
	} else if (strcmp(word, "none") == 0) {
		f->nothing_stays = true;
	} else if (strcmp(word, "back") == 0) {
		f->nothing_stays = false;
	} else if (strcmp(word, "copy") == 0 && sscanf(rest, "%31s", name) == 1) {
		snprintf(f->copy, sizeof f->copy, "%s", name);
		f->copy_done = false;
		f->copy_from = f->appends_count;
	} else if (strcmp(word, "restored") == 0 && sscanf(rest, "%" SCNu64, &n) == 1) {
		restore(f, n);
	} else if (strcmp(word, "copied") == 0) {
		f->copy_done = true;
	} else {
		abort();
	}
}

/* ---- events ---- */

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

size_t event_object(unsigned writer, unsigned number, uint8_t out[EVENT_BYTES_MAX])
{
	/* Most are small, some fill a page, a few have pages of their own. */
	uint64_t random = mix(((uint64_t)writer << 32 | number) + 0x9e3779b97f4a7c15);
	size_t len = 16 + random % 200;
	if (number % 7 == 3) len = 1000 + random % 3000;
	if (number % 29 == 11) len = 9000 + random % 20000;
	out[0] = 0xc5;
	out[1] = (uint8_t)(len >> 8);
	out[2] = (uint8_t)len;
	uint32_t head[2] = {writer, number};
	memcpy(out + 3, head, sizeof head);
	for (size_t i = sizeof head; i < len; i++) out[3 + i] = (uint8_t)mix(random + i);
	return len + 3;
}

bool event_of(const void *object, size_t len, unsigned *writer, unsigned *number)
{
	static uint8_t expected[EVENT_BYTES_MAX];
	uint32_t head[2];
	if (len < 3 + sizeof head) return false;
	memcpy(head, (const uint8_t *)object + 3, sizeof head);
	if (event_object(head[0], head[1], expected) != len || memcmp(expected, object, len) != 0) return false;
	*writer = head[0];
	*number = head[1];
	return true;
}
