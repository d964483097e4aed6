/*
 * tell.c - what processes tell each other beside their commits, since they share no memory: who waits for a checkpoint
 * (wants.h), that it is there, and which transaction goes first (elder.h).
 *
 * The words of commits are told here, too. The first of them goes with its commit, as a transaction behind it on the
 * same connection; those that follow within a moment are told together at its end, by the thread that listens. The more
 * processes there are, the longer is the moment, because each notification wakes all of them: 50 microseconds for each,
 * 5 ms at most. So they cost a process no more than it has time for, and one that is alone with another waits for
 * nothing. A process that is alone tells nothing. Who comes takes the log's lock and says so, then looks at what there
 * is: of all commits behind that, the other tells once it has heard of it.
 *
 * Callers add lines, and do not wait. The thread that listens sends what there is as one notification. What finds no
 * room, or no server, is not told: waiters look once a second all the same, and an elder only goes first sooner.
 *
 * A wait is told to all and entered by the owner of the id, which tells its words then: what it saved before it knew of
 * the wait is found by that. No wake-up is lost in between, since what it saves later it tells when the entry goes. An
 * entry whose waiter has gone, or was served already, stays until the next save, and is before a later one: so each
 * wait that is told has the owner look again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "pg_private.h"

enum { AGAIN_NS = 20000000, GAP_NS = 50000, GAPS_MAX = 100 };

static void add(struct pg_backend *b, const char *line)
{
	size_t len = strlen(line);
	pthread_mutex_lock(&b->tells_mutex);
	bool fits = b->tells_len + len + 2 <= sizeof b->tells;
	if (fits) {
		memcpy(b->tells + b->tells_len, line, len);
		b->tells_len += len;
		b->tells[b->tells_len++] = '\n';
	}
	pthread_mutex_unlock(&b->tells_mutex);
	if (fits) vigia__pg_ring(b);
}

/* Who waits looks at each wake-up. True: it was not told a moment ago. *first: nor before. */
static bool is_due(struct pg_backend *b, uint64_t hash, uint64_t seq_num, bool *first)
{
	int64_t now = vigia__mono_ns();
	pthread_mutex_lock(&b->tells_mutex);
	struct pg_wanted *place = &b->wanted[0];
	for (size_t i = 0; i < VIGIA_PG_WANTED; i++) {
		struct pg_wanted *at = &b->wanted[i];
		bool same = at->hash == hash && at->seq_num == seq_num;
		if (same || at->told_mono_ns < place->told_mono_ns) place = at;
		if (same) break;
	}
	*first = place->hash != hash || place->seq_num != seq_num;
	bool told = !*first && now - place->told_mono_ns < AGAIN_NS;
	if (!told) *place = (struct pg_wanted){hash, seq_num, now};
	pthread_mutex_unlock(&b->tells_mutex);
	return !told;
}

static void tell_wanted(struct vigia__backend *base, uint64_t hash, uint64_t seq_num)
{
	struct pg_backend *b = pg_of(base);
	char line[64], id[256];
	bool first;
	if (vigia__pg_owned_with(b, hash, id) || !is_due(b, hash, seq_num, &first)) return;
	snprintf(line, sizeof line, "n%" PRIx64 " %" PRIu64 "%s", hash, seq_num, first ? " first" : "");
	add(b, line);
}

void vigia__pg_words_write(const struct vigia__wake_set *set, char text[VIGIA_PG_WORDS_TEXT])
{
	size_t count = 0;
	for (uint64_t parts = set->parts; parts; parts &= parts - 1)
		count += (size_t)__builtin_popcountll(set->words[__builtin_ctzll(parts)]);
	if (count > VIGIA_PG_WORDS) {
		memcpy(text, "w*", 3);
		return;
	}
	if (count > 0) *text++ = 'w';
	*text = '\0';
	for (uint64_t parts = set->parts; parts; parts &= parts - 1) {
		int part = __builtin_ctzll(parts);
		for (uint64_t bits = set->words[part]; bits; bits &= bits - 1)
			text += sprintf(text, "%d ", part * 64 + __builtin_ctzll(bits));
	}
}

static void tell_words(struct vigia__backend *base, const struct vigia__wake_set *set)
{
	char line[VIGIA_PG_WORDS_TEXT];
	vigia__pg_words_write(set, line);
	add(pg_of(base), line);
}

static void tell_elder(struct vigia__backend *base, uint64_t buckets, int64_t duration_ns)
{
	struct pg_backend *b = pg_of(base);
	char line[96];
	uint64_t tag;
	memcpy(&tag, b->client, sizeof tag);
	snprintf(line, sizeof line, "e%" PRIx64 " %" PRIx64 " %" PRId64, tag, buckets, duration_ns);
	add(b, line);
}

const struct vigia__tells vigia__pg_tells = {.wanted = tell_wanted, .words = tell_words, .elder = tell_elder};

/* ---- words of commits ---- */

bool vigia__pg_tell_is_due(struct pg_backend *b)
{
	int64_t now = vigia__mono_ns();
	pthread_mutex_lock(&b->tells_mutex);
	bool due = !b->alone && now - b->told_mono_ns >= b->gap_ns;
	if (due) b->told_mono_ns = now;
	pthread_mutex_unlock(&b->tells_mutex);
	return due;
}

void vigia__pg_tell_later(struct pg_backend *b, const struct vigia__wake_set *words)
{
	pthread_mutex_lock(&b->tells_mutex);
	bool first = !b->alone && !vigia__wake_set_any(&b->late);
	if (!b->alone) vigia__wake_set_join(&b->late, words);
	pthread_mutex_unlock(&b->tells_mutex);
	if (first) vigia__pg_ring(b);
}

/* ---- on the thread that listens ---- */

int64_t vigia__pg_tell_late(struct pg_backend *b)
{
	char text[VIGIA_PG_WORDS_TEXT];
	int64_t now = vigia__mono_ns(), due = INT64_MAX;
	bool tells = false;
	pthread_mutex_lock(&b->tells_mutex);
	if (atomic_exchange(&b->untold, false)) vigia__wake_set_all(&b->late);
	if (vigia__wake_set_any(&b->late)) due = b->told_mono_ns + b->gap_ns;
	if (due <= now) {
		vigia__pg_words_write(&b->late, text);
		vigia__wake_set_clear(&b->late);
		b->told_mono_ns = now;
		tells = true;
		due = INT64_MAX;
	}
	pthread_mutex_unlock(&b->tells_mutex);
	const struct pg_param param = vigia__pg_blob(text, tells ? strlen(text) : 0);
	if (tells) vigia__pg_call(&b->listener, VIGIA_PG_TELL, &param, NULL, vigia__pg_until(&b->listener), "use", NULL);
	return due;
}

void vigia__pg_tell_processes(struct pg_backend *b, int64_t count)
{
	pthread_mutex_lock(&b->tells_mutex);
	if (b->alone && count > 1) atomic_store(&b->untold, true);
	b->alone = count == 1;
	b->gap_ns = GAP_NS * (count < GAPS_MAX ? count : GAPS_MAX);
	pthread_mutex_unlock(&b->tells_mutex);
}

void vigia__pg_hear_process(struct pg_backend *b)
{
	pthread_mutex_lock(&b->tells_mutex);
	if (b->alone) atomic_store(&b->untold, true);
	b->alone = false;
	pthread_mutex_unlock(&b->tells_mutex);
}

bool vigia__pg_tells_any(struct pg_backend *b)
{
	pthread_mutex_lock(&b->tells_mutex);
	bool any = b->listener.conn && b->tells_len > 0;
	pthread_mutex_unlock(&b->tells_mutex);
	return any;
}

void vigia__pg_tell_all(struct pg_backend *b)
{
	char text[sizeof b->tells];
	pthread_mutex_lock(&b->tells_mutex);
	size_t len = b->listener.conn ? b->tells_len : 0;
	memcpy(text, b->tells, len);
	b->tells_len -= len;
	pthread_mutex_unlock(&b->tells_mutex);
	const struct pg_param param = vigia__pg_blob(text, len > 0 ? len - 1 : 0);
	if (len > 0)
		vigia__pg_call(&b->listener, VIGIA_PG_NOTIFY, &param, NULL, vigia__pg_until(&b->listener), "use", NULL);
}

void vigia__pg_hear_wanted(struct pg_backend *b, const char *text)
{
	char *end, id[256];
	uint64_t hash = strtoull(text, &end, 16), seq_num = strtoull(end, &end, 10);
	struct vigia__wake_set set;
	if (seq_num == 0 || !vigia__pg_owned_with(b, hash, id)) return;
	bool entered = vigia__wants_add(&b->own.wants, hash, seq_num), first = *end == ' ';
	vigia__wants_look_again(&b->own.wants);
	vigia__bell_ring(&b->own.wants.bell, &b->own.wake);
	if (!entered && !first) return;
	vigia__wake_set_clear(&set);
	vigia__wake_set_add(&set, (struct vigia_slice){id, strlen(id)});
	tell_words(&b->base, &set);
}

void vigia__pg_hear_elder(struct pg_backend *b, const char *text)
{
	char *end;
	uint64_t tag = strtoull(text, &end, 16), buckets = strtoull(end, &end, 16);
	int64_t duration_ns = strtoll(end, NULL, 10);
	if (duration_ns >= 0) {
		uint64_t heard = vigia__elder_begin(&b->own.elder, buckets, duration_ns);
		if (heard) b->elder_heard = (struct pg_elder){tag, heard};
	} else if (tag == b->elder_heard.tag) vigia__elder_end(&b->own.elder, b->elder_heard.until);
}
