/*
 * fetch.c - memory of batches. A watcher that listens keeps little of it. More goes to the registry, up to a bound, or
 * back to the system. So idle watchers hold next to nothing, and one that is woken again and again allocates nothing.
 */
#include "../core/alloc.h"
#include "drive_private.h"

enum { KEPT_BYTES = 4096, SPARE_BYTES = 1 << 20 };

static size_t size_of(const struct vigia__fetch *fetch)
{
	const struct vigia_batch *batch = &fetch->batch;
	return batch->bytes.cap + batch->cap * sizeof *batch->entries + fetch->seqs_cap * sizeof *fetch->seqs;
}

static void exchange(struct vigia__fetch *a, struct vigia__fetch *b)
{
	struct vigia__fetch mine = *a;
	*a = *b;
	*b = mine;
}

bool vigia__fetch_fit(struct vigia__fetch *fetch)
{
	size_t count = fetch->batch.count;
	if (count <= fetch->seqs_cap) return true;
	uint64_t *seqs = vigia__realloc(fetch->seqs, count * sizeof *seqs);
	if (seqs == NULL) return false;
	fetch->seqs = seqs;
	fetch->seqs_cap = count;
	return true;
}

void vigia__fetch_borrow(struct vigia_registry *registry, struct vigia__fetch *fetch)
{
	if (fetch->batch.bytes.data == NULL) exchange(fetch, &registry->spare);
}

/* A script's registry has no other watcher to lend it to. */
void vigia__fetch_return(struct vigia_registry *registry, struct vigia__fetch *fetch)
{
	size_t size = size_of(fetch);
	if (size <= KEPT_BYTES) return;
	if (registry->worker == NULL && size <= SPARE_BYTES && size > size_of(&registry->spare))
		exchange(fetch, &registry->spare);
	if (size_of(fetch) > KEPT_BYTES) vigia__fetch_deinit(fetch);
}

void vigia__fetch_deinit(struct vigia__fetch *fetch)
{
	vigia__batch_deinit(&fetch->batch);
	vigia__free(fetch->seqs);
	fetch->seqs = NULL;
	fetch->seqs_cap = 0;
}
