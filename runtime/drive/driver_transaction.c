/*
 * driver_transaction.c - the transaction of a transactional watcher: a batch of events is handled in it, and committed
 * with the watcher's progress.
 */
#include "../core/error.h"
#include "../store/transaction.h"
#include "drive_private.h"

/* How long handlers may work before their effects are committed. */
enum { HANDLED_NS = 5000000 };
/* After so many conflicts in a row each event has a commit of its own: fewer reads, which are sooner checked. */
enum { CONFLICTS_OF_A_BATCH = 2 };

int vigia__driver_tx_begin(struct vigia__driver *w, struct vigia_error *err)
{
	if (w->tx == NULL) {
		int rc = vigia_transaction_begin(w->base.registry->store, &w->tx, err);
		if (rc != VIGIA_OK) return rc;
		vigia__transaction_lend(w->tx);
	}
	if (w->stepper.in_tx == 0) w->tx_until_mono_ns = vigia__mono_ns() + HANDLED_NS;
	if (w->stepper.in_tx == 0 && w->lane) vigia__ranges_reset(&w->lane->in_tx, 0);
	vigia__transaction_mark(w->tx);
	return VIGIA_OK;
}

/* Begin again with the events of the transaction. */
static void conflict(struct vigia__driver *w)
{
	vigia__transaction_again(w->tx, ++w->conflicts);
}

static bool is_due(struct vigia__driver *w)
{
	size_t most = (size_t)w->base.registry->store->options.max_transaction_bytes;
	return w->conflicts >= CONFLICTS_OF_A_BATCH || vigia__transaction_bytes(w->tx) >= most / 2 ||
	       vigia__driver_wants(w, w->action.seq_num) || vigia__mono_ns() >= w->tx_until_mono_ns;
}

bool vigia__driver_tx_handled(struct vigia__driver *w, struct vigia__input *input)
{
	int lost = vigia__transaction_lost(w->tx);
	if (lost == VIGIA_ETRANSACTION) {
		conflict(w);
		input->kind = VIGIA_INPUT_CONFLICT;
		return true;
	}
	if (lost == VIGIA_EUNREACHABLE) {
		vigia__transaction_again(w->tx, w->conflicts);
		input->kind = VIGIA_INPUT_SAVE_FAILED;
		return true;
	}
	bool handled = input->kind == VIGIA_INPUT_HANDLED;
	if (lost == VIGIA_OK && handled) input->due = is_due(w);
	if (lost == VIGIA_OK && handled && !input->dropped) return false;
	vigia__transaction_rollback(w->tx);
	if (lost == VIGIA_ETXSIZE) { /* commit what is there, and try it again */
		*input = (struct vigia__input){.kind = VIGIA_INPUT_DEFERRED, .due = true};
		return true;
	}
	bool used = vigia__transaction_bytes(w->tx) > 0; /* a predicate that drops an event does not */
	if (w->stepper.in_tx == 0 && used) vigia__transaction_clear(w->tx);
	return false;
}

/* Was it stored? VIGIA_OK, VIGIA_ETRANSACTION: no, or why that is not known. */
static int look_what_is_stored(struct vigia__driver *w, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia__look look;
	if (w->lane) {
		int stored = vigia__lane_is_stored(w->lane, w->base.registry->store->backend, &w->lane->in_tx, err);
		if (stored == VIGIA_OK) vigia__lane_saved(w->lane, &w->lane->in_tx);
		return stored == VIGIA_NONE ? VIGIA_ETRANSACTION : stored;
	}
	int rc = vigia__source(w)->look(&w->base, VIGIA_LOOK_CHECKPOINT, &look, err);
	if (rc < 0) return rc;
	return look.has_checkpoint && look.checkpoint >= seq_num ? VIGIA_OK : VIGIA_ETRANSACTION;
}

/* A lane's progress is what it handled: the checkpoint is for all lanes. */
static int commit(struct vigia__driver *w, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia__transact with = {.watcher_id = w->base.id, .checkpoint = seq_num};
	struct vigia__lane_commit lanes;
	if (w->lane) {
		lanes = (struct vigia__lane_commit){w->lane->shared, w->lane->epoch, &w->lane->in_tx, 0};
		vigia__lane_commit_with(&lanes, &with);
	}
	int rc = vigia__transaction_save(w->tx, &with, err);
	if (rc == VIGIA_OK && w->lane) vigia__lane_saved(w->lane, &w->lane->in_tx);
	return rc;
}

static int look_or_commit(struct vigia__driver *w, const struct vigia__asked *asked, struct vigia_error *err)
{
	return asked->looks ? look_what_is_stored(w, asked->seq_num, err) : commit(w, asked->seq_num, err);
}

int vigia__driver_tx_save(struct vigia__driver *w, uint64_t seq_num, struct vigia_error *err)
{
	bool looks = w->in_doubt;
	int rc = vigia__driver_errand(w, look_or_commit, (struct vigia__asked){seq_num, false, looks}, err);
	if (rc == VIGIA_PENDING) return rc;
	if (rc == VIGIA_ETRANSACTION) {
		w->in_doubt = false;
		if (!looks) conflict(w);
		vigia__error_clear(err);
		vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_CONFLICT});
		return VIGIA_OK;
	}
	if (rc == VIGIA_OK) {
		w->in_doubt = false;
		w->conflicts = 0;
		vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_SAVED});
		return VIGIA_OK;
	}
	bool in_doubt = looks || rc == VIGIA_EUNKNOWN;
	vigia__driver_save_failed(w, rc, &(struct vigia__input){.kind = VIGIA_INPUT_SAVE_FAILED, .in_doubt = in_doubt},
	                          err);
	w->in_doubt = in_doubt && w->stepper.in_tx > 0;
	return rc;
}
