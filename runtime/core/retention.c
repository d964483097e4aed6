/*
 * retention.c - decides which events may be removed, and when a checkpoint no longer counts (checkpoint_ttl). The rules
 * are in retention.h.
 */
#include "retention.h"

#include <string.h>

int64_t vigia__retention_now(const struct vigia__mark *last, const struct vigia__clock *clock)
{
	if (!last) return clock->wall_ns;
	bool same_boot =
		clock->boot_id != 0 && clock->boot_id == last->clock.boot_id && clock->boot_ns >= last->clock.boot_ns;
	int64_t passed = same_boot ? clock->boot_ns - last->clock.boot_ns : 0;
	/* both are between 1970 and 2262: no overflow */
	if (!same_boot && clock->wall_ns > last->clock.wall_ns) passed = clock->wall_ns - last->clock.wall_ns;
	return passed > INT64_MAX - last->at_ns ? INT64_MAX : last->at_ns + passed;
}

bool vigia__retention_mark_due(const struct vigia__mark *last, uint64_t latest, int64_t now_ns, int64_t age_ns)
{
	if (age_ns == 0 || latest == 0) return false;
	if (!last) return true;
	return latest > last->seq_num && now_ns - last->at_ns >= age_ns / VIGIA_MARKS && now_ns > last->at_ns;
}

bool vigia__retention_old(const struct vigia__mark *mark, int64_t now_ns, int64_t age_ns)
{
	return age_ns > 0 && now_ns - mark->at_ns >= age_ns;
}

bool vigia__retention_expired(int64_t touched_at_ns, int64_t now_ns, int64_t ttl_ns)
{
	return ttl_ns > 0 && now_ns > touched_at_ns && now_ns - touched_at_ns >= ttl_ns;
}

void vigia__holders_add(struct vigia__holders *holders, const void *id, size_t id_len, uint64_t seq_num, bool live)
{
	holders->count++;
	if (!live || (holders->live++ > 0 && seq_num >= holders->lowest)) return;
	holders->lowest = seq_num;
	size_t len = id_len < sizeof holders->id ? id_len : sizeof holders->id - 1;
	memcpy(holders->id, id, len);
	holders->id[len] = '\0';
}

static uint64_t smaller_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void vigia__retention_decide(const struct vigia_store_options *settings, const struct vigia__holders *holders,
                             uint64_t oldest, uint64_t latest, uint64_t old, struct vigia__verdict *out)
{
	*out = (struct vigia__verdict){.reason = VIGIA_GC_DONE};
	if (settings->gc_age_threshold_ns == 0 && settings->max_events == 0 && settings->max_bytes == 0) {
		out->reason = VIGIA_GC_OFF;
		return;
	}
	if (oldest == 0) return;
	if (holders->live > 0) memcpy(out->held_by, holders->id, sizeof out->held_by);
	uint64_t low = holders->live > 0 ? holders->lowest : latest;
	/* without a checkpoint old events are kept for future watchers */
	uint64_t age_ceiling = holders->count > 0 ? low : 0;
	uint64_t limit_ceiling = settings->retention_passes_checkpoints ? latest : low;
	uint64_t aged = settings->gc_age_threshold_ns > 0 ? smaller_of(old, latest) : 0;
	uint64_t kept = (uint64_t)settings->max_events, over = kept > 0 && latest - oldest + 1 > kept ? latest - kept : 0;

	uint64_t by_age = smaller_of(aged, age_ceiling), by_count = smaller_of(over, limit_ceiling);
	out->upto = by_age > by_count ? by_age : by_count;
	out->bytes_upto = settings->max_bytes > 0 ? limit_ceiling : 0;
	/* was more eligible for removal, and is it still stored? */
	uint64_t wanted = aged > over ? aged : over;
	if (wanted <= out->upto || wanted < oldest) return;
	out->reason = holders->count > 0 ? VIGIA_GC_HELD : VIGIA_GC_NO_CHECKPOINT;
}
