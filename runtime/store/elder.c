/*
 * elder.c - a transaction that lost to others several times goes first.
 */
#include "elder.h"

#include "clock.h"

/* The longest time that others wait, and what is added to the time that the elder's last run took. */
enum { LONGEST_NS = 2000000000, MORE_NS = 20000000 };

/* When it ends. 0: there is none. */
static uint64_t present(const struct vigia__elder *elder)
{
	uint64_t now = (uint64_t)vigia__mono_ns(), until = atomic_load(&elder->until_mono_ns);
	return until > now && until - now <= LONGEST_NS ? until : 0;
}

uint64_t vigia__elder_begin(struct vigia__elder *elder, uint64_t buckets, int64_t duration_ns)
{
	uint64_t before = atomic_load(&elder->until_mono_ns);
	int64_t ns = duration_ns < (LONGEST_NS - MORE_NS) / 2 ? 2 * duration_ns + MORE_NS : LONGEST_NS;
	uint64_t own = (uint64_t)(vigia__mono_ns() + ns);
	if (present(elder) != 0 || !atomic_compare_exchange_strong(&elder->until_mono_ns, &before, own)) return 0;
	atomic_store(&elder->buckets, buckets);
	return own;
}

void vigia__elder_end(struct vigia__elder *elder, uint64_t own)
{
	if (own != 0) atomic_compare_exchange_strong(&elder->until_mono_ns, &own, 0);
}

bool vigia__elder_waits(const struct vigia__elder *elder, uint64_t buckets, uint64_t own)
{
	uint64_t until = present(elder);
	return until != 0 && until != own && (atomic_load(&elder->buckets) & buckets) != 0;
}
