/*
 * commit.c - a group's commit: one call of the server's function `commit`, with the appends, the queue, checkpoints and
 * the watchers' progress. If transactions are in the group, which look at buckets, it is one transaction of the server:
 * they run one after the other, on records in memory (changes.h), and what they change goes with that call.
 *
 * A commit has this process's number. If its answer is lost, the call is sent again with the same number: the server
 * stores it once and answers the same. A transaction is settled first (doubt.c), and run again if it was not done. When
 * the time is over, the callers get commit_unknown, and it is settled before the next commit.
 *
 * If the server refuses a group with transactions for a reason that one of them may be (an owner's epoch, its size),
 * each member is tried alone.
 */
#include "../../core/alloc.h"
#include "../../core/error.h"
#include "../../core/event.h"
#include "changes.h"
#include "message.h"

static const char *const STORING = "store in";

/* ---- what a commit takes along ---- */

struct along {
	struct vigia__progress_taken *taken;
	struct vigia__append queued;
	bool takes;
};

static enum vigia__queue_seen look_for_queue(void *ctx, uint64_t seq_num, const void *bytes, size_t len)
{
	return ((struct pg_backend *)ctx)->doubt_done ? VIGIA_SEEN_STORED : VIGIA_SEEN_OTHER;
}

/* Progress first, so that no checkpoint is stored before what its handler had queued. */
static int take_along(struct pg_backend *b, struct along *along, struct vigia_error *err)
{
	if (vigia__progress_commit_begin(&b->base.progress, &along->taken) < 0)
		return vigia__error(err, VIGIA_ENOMEM, "no memory for checkpoints");
	along->takes = vigia__queue_any(&b->queue);
	if (along->takes && vigia__queue_commit_begin(&b->queue, &along->queued, look_for_queue, b) < 0)
		return vigia__error(err, VIGIA_ENOMEM, "no memory for queued events");
	return VIGIA_OK;
}

static void end_along(struct pg_backend *b, struct along *along, int rc)
{
	along->queued.first_seq = 1; /* the queue asks look_for_queue() where it is not 0 */
	if (along->takes) vigia__queue_commit_end(&b->queue, &along->queued, rc);
	if (rc == VIGIA_OK) vigia__backend_saved_all(&b->base, along->taken);
	vigia__progress_commit_end(&b->base.progress, along->taken, rc == VIGIA_OK);
}

/* ---- a checkpoint by hand ---- */

struct put {
	const char *id;
	uint64_t seq_num;
	int64_t epoch; /* or what stands in its place (message.h) */
	size_t place;  /* among the message's checkpoints, from 1 */
};

static int put_call(void *txn, void *arg, struct vigia_error *err)
{
	struct pg_message *m = txn;
	struct put *put = arg;
	vigia__pg_message_checkpoint(m, put->id, put->seq_num, put->epoch);
	put->place = m->lists[VIGIA_PG_IDS].count;
	return VIGIA_OK;
}

static int refuse_put(struct pg_backend *b, const struct put *put, struct vigia_error *err)
{
	vigia__pg_lose(b, put->id);
	return vigia__error_watcher(
		err, put->id, vigia__error(err, VIGIA_EOWNED, "watcher '%s' is run by another process", VIGIA_SHOWN(put->id)));
}

/* ---- one try ---- */

struct group {
	struct pg_backend *b;
	struct vigia__ticket *tickets; /* NULL: none */
	bool one;                      /* only the first of them */
	struct along *along;           /* NULL: nothing */
	struct pg_message message;
	struct pg_changes changes; /* of transactions */
	bool transacts;            /* there are transactions among the tickets */
	bool many;                 /* and something else that must not fail with one of them */
	bool doubtful;             /* it was sent, and may be stored */
};

static struct vigia__ticket *next_of(const struct group *g, const struct vigia__ticket *t)
{
	return g->one ? NULL : t->next;
}

static int add_progress(void *ctx, const char *id, uint64_t done)
{
	struct group *g = ctx;
	vigia__pg_message_checkpoint(&g->message, id, done, vigia__pg_epoch(g->b, id));
	return 0;
}

static bool goes_along(const struct vigia__ticket *t)
{
	return t->rc == VIGIA_OK && t->kind == VIGIA_TICKET_APPEND && t->append->count > 0;
}

/* Everything but the transactions. */
static void fill(struct group *g)
{
	if (g->along) vigia__progress_each(g->along->taken, add_progress, g);
	if (g->along && g->along->queued.count > 0) vigia__pg_message_append(&g->message, &g->along->queued);
	for (struct vigia__ticket *t = g->tickets; t; t = next_of(g, t)) {
		if (t->kind == VIGIA_TICKET_TRANSACTION) continue;
		if (t->kind == VIGIA_TICKET_APPEND) t->rc = vigia__pg_check_sizes(g->b, t->append, t->err);
		else if (t->call) t->call(&g->message, t->call_arg, t->err);
		if (goes_along(t)) vigia__pg_message_append(&g->message, t->append);
	}
}

static int ask_key(struct pg_backend *b, struct vigia__append *asked, int64_t until, struct vigia_error *err)
{
	PGresult *result;
	asked->existed = false;
	if (asked->key.len == 0) return VIGIA_OK;
	const struct pg_param param = vigia__pg_blob(asked->key.data, asked->key.len);
	int rc = vigia__pg_call(&b->writer, VIGIA_PG_KEY_FIND, &param, &result, until, STORING, err);
	if (rc < 0) return rc;
	asked->existed = PQntuples(result) > 0;
	if (asked->existed) {
		asked->first_seq = (uint64_t)vigia__pg_int(result, 0, 0);
		asked->last_seq = (uint64_t)vigia__pg_int(result, 0, 1);
	}
	PQclear(result);
	return VIGIA_OK;
}

/* Its changes of the map. */
static int apply(struct group *g, struct vigia__transact *t, struct vigia_error *err)
{
	int rc = vigia__pg_change(g->b, &g->changes, t->map, vigia__transact_apply, t, err);
	for (size_t i = 0; i < t->appends_count && rc == VIGIA_OK; i++)
		rc = vigia__pg_check_sizes(g->b, &t->appends[i], err);
	return rc;
}

static void add_transaction(struct group *g, const struct vigia__transact *t)
{
	for (size_t i = 0; i < t->appends_count; i++) vigia__pg_message_append(&g->message, &t->appends[i]);
	const char *owner = t->watcher_id ? t->watcher_id : t->owner_id;
	int64_t epoch = owner ? vigia__pg_epoch(g->b, owner) : 0;
	g->message.strict = g->message.strict || epoch > 0;
	if (t->watcher_id)
		vigia__pg_message_checkpoint(&g->message, t->watcher_id, t->moves ? *t->moves : t->checkpoint,
		                             epoch > 0 ? epoch : VIGIA_PG_PUT);
	else if (epoch > 0) vigia__pg_message_owner(&g->message, owner, epoch);
}

/* Did this end the server's transaction, or the connection? Then the group fails. Else it is the ticket's own. */
static bool is_over(const struct group *g, int rc)
{
	const struct pg_link *link = &g->b->writer;
	return rc < 0 && (link->conn == NULL || *link->state != '\0');
}

/* Run all on what is known. *missing: one of them was in want of a record. */
static int apply_all(struct group *g, bool *missing, struct vigia_error *err)
{
	struct pg_changes *c = &g->changes;
	*missing = false;
	for (struct vigia__ticket *t = g->tickets; t; t = next_of(g, t)) {
		if (t->kind != VIGIA_TICKET_TRANSACTION) continue;
		struct vigia_error why = {0};
		*g->b->writer.state = '\0';
		t->rc = apply(g, t->transact, &why);
		if (c->misses && t->rc != VIGIA_ENOMEM) {
			*missing = true;
			t->rc = VIGIA_EINTERRUPTED;
		} else if (is_over(g, t->rc) || (t->rc != VIGIA_OK && !g->many)) {
			if (err) *err = why;
			if (t->err) *t->err = why;
			return t->rc;
		} else if (t->rc != VIGIA_OK && t->err) *t->err = why;
		if (t->rc == VIGIA_OK) vigia__pg_changes_keep(c);
		else vigia__pg_changes_drop(c);
	}
	return VIGIA_OK;
}

/* Begin, and run them until no record is missing. The keys of appends are looked up first. */
static int change_all(struct group *g, int64_t until, struct vigia_error *err)
{
	struct pg_link *link = &g->b->writer;
	bool missing;
	vigia__pg_changes_guess(&g->changes, g->b);
	int rc = vigia__pg_changes_fetch(&g->changes, link, "BEGIN ISOLATION LEVEL READ COMMITTED", until, err);
	for (struct vigia__ticket *t = g->tickets; t && rc == VIGIA_OK; t = next_of(g, t))
		if (t->kind == VIGIA_TICKET_TRANSACTION && t->transact->asked)
			rc = ask_key(g->b, t->transact->asked, until, err);
	if (rc == VIGIA_OK) rc = apply_all(g, &missing, err);
	while (rc == VIGIA_OK && missing) {
		rc = vigia__pg_changes_fetch(&g->changes, link, NULL, until, err);
		vigia__pg_changes_restart(&g->changes);
		if (rc == VIGIA_OK) rc = apply_all(g, &missing, err);
	}
	if (rc == VIGIA_OK) vigia__pg_changes_remember(&g->changes, g->b);
	return rc;
}

/* As a transaction of the server. After EUNREACHABLE `doubtful` says whether its COMMIT was sent. */
static int try_transaction(struct group *g, PGresult **out, int64_t until, struct vigia_error *err)
{
	struct pg_link *link = &g->b->writer;
	struct pg_array *lists = g->message.lists;
	vigia__pg_changes_begin(&g->changes);
	int rc = change_all(g, until, err);
	for (struct vigia__ticket *t = g->tickets; t && rc == VIGIA_OK; t = next_of(g, t))
		if (t->kind == VIGIA_TICKET_TRANSACTION && t->rc == VIGIA_OK) add_transaction(g, t->transact);
	if (rc == VIGIA_OK) {
		vigia__pg_changes_list(&g->changes, &lists[VIGIA_PG_MAPS], &lists[VIGIA_PG_MAP_KEYS],
		                       &lists[VIGIA_PG_MAP_VALUES]);
		rc = vigia__pg_message_send(&g->message, true, out, until, err);
		g->doubtful = rc == VIGIA_EUNREACHABLE && link->sent;
	}
	vigia__pg_changes_end(&g->changes);
	if (rc != VIGIA_OK) vigia__pg_rollback(link, until, STORING);
	return rc;
}

/* As one call. It may be sent again with the same number. */
static int try_call(struct group *g, PGresult **out, int64_t until, struct vigia_error *err)
{
	int rc = vigia__pg_message_send(&g->message, false, out, until, err);
	g->doubtful = g->doubtful || (rc == VIGIA_EUNREACHABLE && g->b->writer.sent);
	return rc;
}

static int give_up(struct group *g, int rc, struct vigia_error *err)
{
	if (!g->doubtful) return rc;
	struct vigia_error why = {0};
	if (err) why = *err;
	atomic_store(&g->b->in_doubt, true);
	return vigia__error_caused(err, VIGIA_EUNKNOWN, why.cause,
	                           "it is not known whether the commit was stored, because the reply was lost: %s",
	                           why.message);
}

/* As often as it takes. *out: its numbers; NULL: there was nothing to store. */
static int run(struct group *g, PGresult **out, int64_t until, struct vigia_error *err)
{
	struct pg_backend *b = g->b;
	struct pg_link *link = &b->writer;
	int rc;
	*out = NULL;
	b->counter++;
	do {
		b->changed_timers = b->changed_letters = b->changed_steers = false;
		vigia__pg_message_end(&g->message);
		vigia__pg_message_begin(&g->message, b);
		fill(g);
		if (!g->transacts && !vigia__pg_message_any(&g->message)) return VIGIA_OK;
		rc = vigia__pg_link_ready(link, until, err);
		if (rc == VIGIA_OK && g->transacts && g->doubtful) {
			/* A transaction is not sent again, it is made again. So first: what became of it? */
			rc = vigia__pg_settle(b, out, until, err);
			if (rc == VIGIA_OK && *out) return VIGIA_OK;
			if (rc == VIGIA_OK) {
				g->doubtful = false;
				b->counter++;
			}
		}
		if (rc == VIGIA_OK) rc = g->transacts ? try_transaction(g, out, until, err) : try_call(g, out, until, err);
		if (rc == VIGIA_OK) return VIGIA_OK;
		PQclear(*out);
		*out = NULL;
	} while (vigia__pg_again(link, &rc, until, err));
	return rc < 0 ? give_up(g, rc, err) : rc;
}

/* ---- results ---- */

/* The words of its events are to be bumped, unless it was there. */
static void tell(struct pg_backend *b, const struct vigia__append *request, struct vigia__wake_set *types)
{
	for (size_t i = 0; i < request->count && !request->existed; i++) {
		size_t len;
		const uint8_t *bytes = vigia__append_event(request, i, &len);
		struct vigia__head head;
		if (vigia__event_names(bytes, len, &head) == 0) vigia__wake_set_add(types, head.object_type);
	}
	if (request->count > 0) vigia__pg_reached(b, request->last_seq);
}

/* Checkpoints that another process's epoch kept out: this one runs the watcher no more. */
static void note_fenced(const struct group *g, const PGresult *numbers)
{
	const struct vigia__progress_taken *taken = g->along ? g->along->taken : NULL;
	for (size_t i = 3 * g->message.appends; i < vigia__pg_list_count(numbers, 0, 0); i++) {
		size_t place = (size_t)vigia__pg_list_item(numbers, 0, 0, i);
		if (taken && place <= taken->count) vigia__pg_lose(g->b, taken->items[place - 1].progress->id);
		for (struct vigia__ticket *t = g->tickets; t; t = next_of(g, t))
			if (t->kind == VIGIA_TICKET_CALL && t->call == put_call && ((struct put *)t->call_arg)->place == place)
				t->rc = refuse_put(g->b, t->call_arg, t->err);
	}
}

/* In the order in which they were added. */
static void take_results(struct group *g, const PGresult *numbers, struct vigia__wake_set *types)
{
	size_t at = 0;
	if (g->along && g->along->queued.count > 0) {
		vigia__pg_message_result(numbers, at++, &g->along->queued, NULL);
		tell(g->b, &g->along->queued, types);
	}
	for (struct vigia__ticket *t = g->tickets; t; t = next_of(g, t)) {
		if (t->kind == VIGIA_TICKET_APPEND) t->append->existed = false;
		if (!goes_along(t)) continue;
		t->rc = vigia__pg_message_result(numbers, at++, t->append, t->err);
		if (t->rc == VIGIA_OK) tell(g->b, t->append, types);
	}
	for (struct vigia__ticket *t = g->tickets; t; t = next_of(g, t)) {
		if (t->kind != VIGIA_TICKET_TRANSACTION || t->rc != VIGIA_OK) continue;
		for (size_t i = 0; i < t->transact->appends_count; i++) {
			vigia__pg_message_result(numbers, at++, &t->transact->appends[i], t->err);
			tell(g->b, &t->transact->appends[i], types);
		}
	}
	note_fenced(g, numbers);
	atomic_fetch_add(&g->b->commits, 1);
}

/* ---- a group ---- */

static int write_one(struct group *g, int64_t until, struct vigia__wake_set *types, struct vigia_error *err)
{
	PGresult *numbers;
	for (struct vigia__ticket *t = g->tickets; t; t = next_of(g, t))
		if (t->kind == VIGIA_TICKET_TRANSACTION) g->transacts = true;
	bool takes = g->along && (g->along->taken || g->along->queued.count > 0);
	g->many = g->transacts && (takes || (g->tickets->next && !g->one));
	int rc = vigia__pg_settle_doubt(g->b, until, err);
	if (rc == VIGIA_OK) rc = run(g, &numbers, until, err);
	if (rc == VIGIA_OK && numbers) take_results(g, numbers, types);
	if (rc == VIGIA_OK) PQclear(numbers);
	vigia__pg_message_end(&g->message);
	return rc;
}

/* Can the reason be one member's, and are there others? */
static bool is_one_members(const struct group *g, int rc)
{
	return rc < 0 && g->many && rc != VIGIA_EUNREACHABLE && rc != VIGIA_EUNKNOWN && rc != VIGIA_EREADONLY;
}

static int write_all(struct pg_backend *b, struct group *g, struct vigia__ticket *tickets, int64_t until,
                     struct vigia__wake_set *types, struct vigia_error *err)
{
	struct along along = {0};
	int rc = take_along(b, &along, err);
	*g = (struct group){.b = b, .tickets = tickets, .along = &along};
	if (rc == VIGIA_OK) rc = write_one(g, until, types, err);
	bool alone = is_one_members(g, rc);
	if (alone) {
		*g = (struct group){.b = b, .along = &along};
		rc = write_one(g, until, types, err);
	}
	end_along(b, &along, rc);
	if (!alone || rc < 0) return rc; /* nothing overtakes what was queued */
	for (struct vigia__ticket *t = tickets; t; t = t->next) {
		*g = (struct group){.b = b, .tickets = t, .one = true};
		t->rc = VIGIA_OK;
		int own = write_one(g, vigia__pg_until(&b->writer), types, t->err);
		if (own != VIGIA_OK) t->rc = own;
	}
	return VIGIA_OK;
}

static int lock_writer(void *ctx, void **txn, struct vigia_error *err)
{
	struct pg_backend *b = ctx;
	pthread_mutex_lock(&b->writer.mutex);
	*txn = b;
	return VIGIA_OK;
}

static int write_group(void *ctx, void *txn, struct vigia__ticket *tickets, struct vigia__wake_set *types,
                       struct vigia_error *err)
{
	struct pg_backend *b = ctx;
	int64_t until = vigia__pg_until(&b->writer);
	struct group *g = vigia__alloc(sizeof *g);
	int rc = g ? vigia__pg_settle_doubt(b, until, err) : vigia__error(err, VIGIA_ENOMEM, "no memory for a commit");
	if (rc < 0) vigia__queue_not_begun(&b->queue, rc);
	else rc = write_all(b, g, tickets, until, types, err);
	if (b->writer.conn) atomic_store(&b->writer_pid, PQbackendPID(b->writer.conn));
	atomic_fetch_add(&b->news, 1);
	pthread_mutex_unlock(&b->writer.mutex);
	vigia__free(g);
	return rc;
}

static void publish(void *ctx, const struct vigia__wake_set *types)
{
	struct pg_backend *b = ctx;
	vigia__wake_publish(&b->own.wake, types);
	vigia__collect_call(&b->base.collect_call, atomic_load(&b->latest));
}

const struct vigia__commit_ops vigia__pg_commit_ops = {.lock = lock_writer, .write = write_group, .publish = publish};

/* ---- the backend's functions ---- */

int vigia__pg_append(struct vigia__backend *base, struct vigia__append *request, struct vigia_error *err)
{
	struct vigia__ticket ticket = {.kind = VIGIA_TICKET_APPEND, .append = request, .err = err};
	return vigia__commit_run(&pg_of(base)->commit, &ticket);
}

int vigia__pg_submit(struct vigia__backend *base, struct vigia__ticket *ticket)
{
	return vigia__commit_submit(&pg_of(base)->commit, ticket);
}

int vigia__pg_transact(struct vigia__backend *base, struct vigia__transact *transact, struct vigia_error *err)
{
	struct vigia__ticket ticket = {.kind = VIGIA_TICKET_TRANSACTION, .transact = transact, .err = err};
	return vigia__commit_run(&pg_of(base)->commit, &ticket);
}

int vigia__pg_checkpoint_put(struct vigia__backend *base, const char *id, uint64_t seq_num, bool forward,
                             struct vigia_error *err)
{
	int64_t epoch = vigia__pg_epoch(pg_of(base), id), kind = forward ? VIGIA_PG_PUT_FORWARD : VIGIA_PG_PUT;
	if (epoch > 0) kind = forward ? VIGIA_PG_PUT_FORWARD - epoch : epoch;
	struct put put = {id, seq_num, kind, 0};
	int rc = vigia__commit_call(&pg_of(base)->commit, VIGIA_TICKET_CALL, put_call, &put, err);
	int lost = rc == VIGIA_EOWNED ? vigia__pg_lost(base, id, err) : VIGIA_OK; /* which says who has it */
	return lost < 0 ? lost : rc;
}
