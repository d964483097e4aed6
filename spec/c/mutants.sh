#!/usr/bin/env bash
# spec/c/mutants.sh - can the watcher's tests fail? Plants one bug at a time in a copy of watcher.c and expects a test to find it.
#
# Each line of the list below is a name and a sed expression that changes one line of runtime/core/watcher.c. For each: build, run the two
# table tests and the simulator, say which found it. Exit status 1 if one was found by none, or a line of the list changes nothing.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cc=${CC:-cc}
flags=(-std=c11 -D_GNU_SOURCE -O1 -g -I"$root/runtime/include" -I"$root/runtime" -I"$root/spec/c/lib")
programs=(test_watcher test_watcher_phases sim_watcher)

for name in backoff iterator error alloc; do
	"$cc" "${flags[@]}" -c "$root/runtime/core/$name.c" -o "$work/$name.o"
done
for name in "${programs[@]}"; do
	"$cc" "${flags[@]}" -c "$root/spec/c/$name.c" -o "$work/$name.o"
done

# build SOURCE: the three programs with this watcher.c
build() {
	"$cc" "${flags[@]}" -iquote "$root/runtime/core" -c "$1" -o "$work/watcher.o" || return
	local name
	for name in "${programs[@]}"; do
		"$cc" "$work/$name.o" "$work"/{watcher,backoff,iterator,error,alloc}.o -lcmocka -o "$work/$name" || return
	done
}

# found: the names of the programs that fail
found() {
	local name
	for name in "${programs[@]}"; do
		# A bug may well be an endless loop.
		timeout 20 "$work/$name" >"$work/log" 2>&1 || printf ' %s' "$name"
	done
}

build "$root/runtime/core/watcher.c"
by=$(found)
if [ -n "$by" ]; then
	printf 'mutants: without any bug these fail already:%s\n' "$by" >&2
	exit 1
fi

count=0
missed=0
while IFS='|' read -r name expression; do
	[ -n "$name" ] || continue
	count=$((count + 1))
	sed -e "$expression" "$root/runtime/core/watcher.c" >"$work/mutant.c"
	if cmp -s "$work/mutant.c" "$root/runtime/core/watcher.c"; then
		printf 'not ok %d - %s: the expression changes nothing: %s\n' "$count" "$name" "$expression"
		missed=$((missed + 1))
	elif ! build "$work/mutant.c"; then
		printf 'not ok %d - %s: does not compile\n' "$count" "$name"
		missed=$((missed + 1))
	elif by=$(found) && [ -n "$by" ]; then
		printf 'ok %d - %s: found by%s\n' "$count" "$name" "$by"
	else
		printf 'not ok %d - %s: found by none\n' "$count" "$name"
		missed=$((missed + 1))
	fi
done <<'END'
W3 an event is left out after one that was handled|s/^\tw->index++;/\tw->index += 2;/
W3 done passes the event before it was handled|s/w->done = in->seqs\[0\] - 1;/w->done = in->seqs[0];/
W3 a batch that was used up is followed by listening|s/return w->count > 0 ? read_on(w) : listen_on(w);/return listen_on(w);/
S4 done does not pass what the filter dropped behind the last event|s/: before(w->batch_next);/: w->seqs[w->index - 1];/
S4 the next read begins at the old place|s/if (w->done > before(w->next))/if (w->done > before(w->next) + 1)/
S8 an empty batch that moved on is followed by listening|s/return advanced ? read_on(w) : go_on(w);/return go_on(w);/
S8 an empty batch that did not move on is followed by reading for ever|s/return advanced ? read_on(w) : go_on(w);/return read_on(w);/
S6 an append does not wake it|s/if (w->phase == LISTENING)/if (w->phase == REST)/
W5 a retry does not wait for its time|s/if (now < w->retry_mono_ns)/if (false)/
W5 a retry one tick too late|s/if (now < w->retry_mono_ns)/if (now <= w->retry_mono_ns)/
W5 an append shortens the backoff|s/if (w->phase == LISTENING)/if (w->phase == LISTENING || w->phase == READ_LATER)/
W5 the backoff does not grow|s/vigia__backoff_delay(&w->options.backoff, w->failures, random)/vigia__backoff_delay(\&w->options.backoff, 1, random)/
W5 the next event inherits the failures of the one before|/^static void finish_event/,/^}/s/w->failures = 0;/(void)0;/
W5 a wait beyond the end of time overflows|s/delay > INT64_MAX - now ? INT64_MAX : now + delay/(int64_t)((uint64_t)now + (uint64_t)delay)/
W6 skip gives up one attempt too late|s/w->failures >= w->options.max_retries/w->failures > w->options.max_retries/
W6 block gives up too|s/w->options.retry_strategy == VIGIA_RETRY_SKIP \&\& //
W6 an event that was given up counts as processed|s/w->skipped++;/w->processed++;/
W7 reads that fail keep their backoff after a good one|/^static struct vigia__action on_batch/,/^}/s/w->failures = w->gap = 0;/w->gap = 0;/
W7 a failing read is not counted while stopping|/^static struct vigia__action on_fetch_failed/,/^}/s/w->fetch_errors++;/w->fetch_errors += !w->stop_wanted;/
W9 a seek does not stand where it was told|s/w->next = vigia__iterator_after(seq_num);/(void)0;/
W9 a seek moves done before it was saved|s/w->save_due = false; \/\* a checkpoint of.*/w->save_due = false; w->done = w->seek_to;/
W9 a seek that failed is forgotten|s/^\tif (w->saving_seek) {$/\tif (w->saving_seek \&\& w->state == VIGIA_IDLE) {/;s/^\t\tw->seek_to = w->saving;/\t\tw->seek_to = w->saving;/
W9 the first of two seeks wins|s/w->seek_to = in->seq_num;/w->seek_to = w->seek_wanted ? w->seek_to : in->seq_num;/
W9 a failed seek comes back over a newer one|s/if (w->seek_wanted) \/\* newer than what failed \*\//if (false)/
W9 an idle watcher that sought begins to run|s/^\tif (w->state == VIGIA_RUNNING)$/\tif (true)/
W9 a seek keeps the batch in hand|/^static struct vigia__action seek(struct vigia__watcher \*w) {/,/^}/s/forget_batch(w);/(void)0;/
W9 a start forgets the seek of an idle watcher|s/^\tif (w->phase != REST) \/\*.*/\tif (false)/
W9 a seek keeps the failures of the event it leaves|s/w->failures = w->stuck = 0; \/\* what was in trouble.*/w->stuck = 0;/
W10 event: the next event comes before the save|s/if (w->save_due \&\& w->done > w->saved)/if (w->save_due \&\& w->index == w->count)/
W10 event: nothing is saved before listening|s/^\t\t\tw->save_due = saves_each_event(w);/\t\t\t(void)0;/
W10 event: saves what the driver saved already|s/if (w->save_due \&\& w->done > w->saved)/if (w->save_due \&\& w->done >= w->saved)/
W10 event: the checkpoint goes back|s/^\tif (w->saving > w->saved)$/\tif (w->saving < w->saved)/
W10 event: a save overtaken by the driver leaves its failures to the event|/^static struct vigia__action go_on/,/^}/s/w->failures = 0;/(void)0;/
W10 batch: saves while it runs|s/return w->options.checkpoint == VIGIA_CHECKPOINT_EVENT \&\& /return /
W10 batch: does not save at a stop|s/return saves_at_stop(w) \&\& w->done > w->saved ?/return false ?/
W10 manual: saves at a stop|s/return w->options.checkpoint != VIGIA_CHECKPOINT_MANUAL \&\& /return /
W12 ephemeral: saves each event|s/== VIGIA_CHECKPOINT_EVENT \&\& !w->options.ephemeral/== VIGIA_CHECKPOINT_EVENT/
W12 ephemeral: saves at a stop|s/!= VIGIA_CHECKPOINT_MANUAL \&\& !w->options.ephemeral/!= VIGIA_CHECKPOINT_MANUAL/
W12 ephemeral: saves a seek|s/return w->options.ephemeral ? land(w, w->seek_to) : save(/return save(/
W13 a restart keeps the failures|/^static struct vigia__action on_start/,/^}/s/^\tw->failures = w->stuck = 0;/\tw->stuck = 0;/;/^static struct vigia__action stopped/,/^}/s/w->failures = 0;/(void)0;/
W2 a checkpoint beyond the start hides the events between|s/^\tif (w->saved > w->done) .*/\tif (false)/
W14 a handler begins after STOP|s/^\tif (w->stop_wanted)$/\tif (w->stop_wanted \&\& w->index >= w->count)/
W14 a failure while stopping is retried|/^static struct vigia__action on_failed/,/^}/s/if (w->seek_wanted || w->stop_wanted)/if (w->seek_wanted)/
W14 an event that failed while stopping is given up|/^static struct vigia__action on_failed/,/^}/s/^\tif (w->seek_wanted || w->stop_wanted)/\tif (w->stop_wanted) finish_event(w);\n\tif (w->seek_wanted || w->stop_wanted)/
W14 a batch that comes while stopping is handled|/^static struct vigia__action on_batch/,/^}/s/if (w->seek_wanted || w->stop_wanted)/if (w->seek_wanted)/
W14 a save is retried while stopping|s/if (w->stop_wanted) \/\* one try.*/if (false)/
W14 a stop waits for the backoff|s/return busy(w) ? none() : go_on(w);/return busy(w) || waits(w) ? none() : go_on(w);/
W14 says STOPPED each time it is told to stop|s/if (w->stop_wanted || (w->state == VIGIA_STOPPED \&\& w->phase == REST))/if (w->stop_wanted)/
W14 two stops save twice|s/if (w->stop_wanted || (w->state == VIGIA_STOPPED/if ((w->state == VIGIA_STOPPED/;s/return busy(w) ? none() : go_on(w);/return w->phase == HANDLING ? none() : go_on(w);/
W14 after a stop the wish is still there|s/^\tw->stop_wanted = false;$/\t(void)0;/;s/w->stop_wanted = w->seek_wanted = w->save_due = false;/w->seek_wanted = w->save_due = false;/
W15 the position forgets the batch in hand|s/return watcher->count > 0 ? vigia__iterator_after(watcher->done) : watcher->next;/return watcher->next;/
W17 a seek in its handler moves done to the event|s/if (!w->seek_wanted) \/\* a seek leaves.*/if (true)/
W17 a stop drops the seek|s/^\tif (w->seek_wanted)$/\tif (w->seek_wanted \&\& !w->stop_wanted)/
W17 a handler that sought and failed is tried again|/^static struct vigia__action on_failed/,/^}/s/if (w->seek_wanted || w->stop_wanted)/if (w->stop_wanted)/
W4 a handler that was not begun begins though it should stop|s/return w->seek_wanted || w->stop_wanted ? go_on(w) : handle(w);/return handle(w);/
Z2 a permanent failure is retried|s/^\tif (in->permanent) {/\tif (false) {/
Z2 a permanent failure is retried although it should be skipped|s/if (in->permanent \&\& w->options.on_damage == VIGIA_DAMAGE_SKIP)/if (false)/
Z2 every failure is given up with on_damage skip|s/if (in->permanent \&\& w->options.on_damage == VIGIA_DAMAGE_SKIP)/if (w->options.on_damage == VIGIA_DAMAGE_SKIP)/
Z2 a watcher that stopped by itself does not say where|s/return watcher->stuck;/return 0;/
Z2 a restart is still blocked|s/w->failures = w->stuck = 0;$/w->failures = 0;/
Z2 a seek is still blocked|s/w->failures = w->stuck = 0; \/\*/w->failures = 0; \/*/
Z2 it runs on in its own eyes|/^static struct vigia__action on_failed/,/^}/s/w->state = VIGIA_STOPPING;/(void)0;/
F3 an event that was dropped counts as processed|s/if (!in->dropped) {/if (true) {/
a tick ends a listening|s/^\tif (!waits(w))$/\tif (w->phase == LISTENING) return read_on(w);\n\tif (!waits(w))/
H5 new code gets the batch that was fetched for the old|/^static struct vigia__action on_reread/,/^}/s/return read_on(w);/return w->count ? handle(w) : read_on(w);/
H5 new code comes before a stop or a seek|/^static struct vigia__action on_reread/,/^}/s/if (w->seek_wanted || w->stop_wanted)/if (false)/
H5 an event in backoff waits for its time though there is new code|s/ \&\& w->phase != HANDLE_LATER \&\& w->phase != LISTENING/ \&\& w->phase != LISTENING/
END

printf '1..%d\n' "$count"
[ "$missed" -eq 0 ]
