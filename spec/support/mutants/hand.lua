-- hand.lua - bugs by hand: each breaks one promise, and one test must find it.
--
-- {name, {what is in the file once, what stands there then}, ..., file =, by = a C test or a spec, case = which of its tests}.

local function bug(name, file, by, case, ...)
	local changes = {...}
	local one = {name = name, file = "runtime/" .. file, by = by, case = case}
	for n = 1, #changes, 2 do one[#one + 1] = {changes[n], changes[n + 1]} end
	return one
end

local LMDB <const> = "spec/store_lmdb_spec.lua"
local MEMORY <const> = "spec/store_memory_spec.lua"
local CONVERSATION <const> = "spec/conversation_spec.lua"

return {
	---- what is acknowledged is on the disk ----
	bug("D1 a commit does not sync", "store/lmdb_settings.c", "test_faults", "D1_D2_D3_D5*",
		"MDB_NOSYNC, now->durability == VIGIA_DURABILITY_NONE", "MDB_NOSYNC, 1"),
	bug("D1 a commit syncs its pages and not its meta page (MDB_NOMETASYNC)", "store/lmdb_reopen.c", "power --states 300 single", nil,
		"MDB_NOSUBDIR | MDB_NOTLS |", "MDB_NOSUBDIR | MDB_NOTLS | MDB_NOMETASYNC |"),
	bug("D1 a commit in doubt is left to itself (A10)", "store/lmdb_meta.c", "test_faults", "D1_after_a_commit_in_doubt*",
		"if (tried == NULL || (atomic_load(tried) & NUMBER_MASK) <= last) return VIGIA_OK;", "if (tried != NULL) return VIGIA_OK;"),
	bug("D1 a doubt is over though its sync failed", "store/lmdb_meta.c", "test_faults", "D1_a_doubt_stays*",
		"if (rc != 0) return vigia__lmdb_error(b, rc, \"settle a commit that failed before\", err);",
		"atomic_store(tried, last & NUMBER_MASK);\n\tif (rc != 0) return vigia__lmdb_error(b, rc, \"settle a commit that failed\", err);"),
	bug("D1 a new store's name is not synced (A11)", "store/lmdb_meta.c", "test_creation", "D1_the_name*",
		"return rc != 0 ? rc : vigia__place_sync_name(b->path);", "return rc;"),
	bug("D4 a store whose making was cut short is not begun again (A11)", "store/lmdb.c", "test_creation", "D4_a_first_write*",
		"rc = vigia__lmdb_meta_finish(path, may_make, err);", ""),
	bug("D4 a caller whose commit failed is told that it is stored", "store/commit.c", "test_faults", "D4c*",
		"if (rc < 0) fail_all(group->head, rc, &err);", ""),

	---- the journal ----
	bug("D1 a record is not synced", "store/lmdb_journal.c", "test_journal", "D1_an_append*",
		"alignment_of(b) == ALIGN_SYNCED && fdatasync(fd) < 0", "alignment_of(b) == 0 && fdatasync(fd) < 0"),
	bug("D1 a record is published before its sync", "store/lmdb_journal.c", "test_journal", "D1_nothing_is_shown*",
		"*written = rc == 0;", "*written = rc == 0;\n\tatomic_store(&words->published, end.last);"),
	bug("D1 readers see what was not published", "store/lmdb_tail.c", "test_journal", "D1_nothing_is_shown*",
		"while (rc == 0 && tail->chain.last < upto) {", "while (rc == 0) {"),
	bug("D1 what a killed process left is not looked for", "store/lmdb.c", "test_journal", "D1_a_process_killed*",
		" || vigia__journal_hides(b)", ""),
	bug("D4 a record in doubt is told as not stored", "store/lmdb_commit.c", "test_journal", "D4_a_record_in_doubt*",
		"atomic_store(&b->journal.in_doubt, true);", "return rc;"),
	bug("D4 a doubt is not settled before a read", "store/lmdb_txn.c", "test_journal", "D4_a_record_in_doubt*",
		"if (atomic_load_explicit(&b->journal.in_doubt, memory_order_relaxed)) {", "if (false) {"),
	bug("S4 a reader does not look whether what it read was overwritten", "store/lmdb_tail.c", "test_journal", "S4_what*",
		"return b->journal.at > 0 ? vigia__journal_confirm(b, reader->txn, salt) : 0;", "(void)reader, (void)salt;\n\treturn 0;"),
	bug("S21 a key goes into the journal", "store/lmdb_commit.c", "test_journal", "S21_*",
		"t->kind != VIGIA_TICKET_APPEND || t->append->key.len > 0", "t->kind != VIGIA_TICKET_APPEND"),
	bug("E8 a drain gives the numbers of damaged records again", "store/lmdb_journal.c", "test_journal", "E8_*",
		"(words && atomic_load(&words->published) > reached)", "false"),
	bug("E8 the sum of a record leaves out its events", "core/record.c", "test_record", nil,
		"VIGIA_RECORD_HEAD - SUMMED_FROM + payload, before", "VIGIA_RECORD_HEAD - SUMMED_FROM, before + 0 * payload"),
	bug("D1 a record does not continue the one before it", "core/record.c", "test_record", nil,
		"VIGIA_RECORD_HEAD - SUMMED_FROM + payload, before", "VIGIA_RECORD_HEAD - SUMMED_FROM + payload, 0 * before"),

	---- numbers and times ----
	bug("E2 a removal does not write down the last number", "store/lmdb_collect.c", LMDB, "E2c",
		"if (p->removed == 0) {\n\t\t\trc = write_down_last", "if (false) {\n\t\t\trc = write_down_last"),
	bug("E2 a number that was written down is not believed", "store/lmdb_last.c", LMDB, "S9b",
		"if (rc == 0 && value.mv_size >= sizeof *out) memcpy(out, value.mv_data, sizeof *out);", ""),
	bug("E2 in memory, numbers begin again when everything was removed", "store/memory.c", MEMORY, "E2c",
		"request->first_seq = b->latest + 1;", "if (b->count == 0) b->latest = 0;\n\trequest->first_seq = b->latest + 1;"),
	bug("E3 times follow a clock that goes back", "store/lmdb_append.c", "test_lmdb", "E3_timestamps_do_not_follow*",
		".now_at_ns = now > last.at_ns ? now : last.at_ns,", ".now_at_ns = now,"),
	bug("S21 a key is not looked up before an append", "store/lmdb_append.c", LMDB, "S21e",
		"int rc = vigia__lmdb_key_find(b, mdb_cursor_txn(events), request);\n\t\tif (rc != 0 || request->existed) return rc;", ""),
	bug("S21 a key outlives its event", "store/lmdb_collect.c", LMDB, "S21f",
		"return rc == 0 && upto > 0 ? vigia__lmdb_keys_trim(b, txn, upto) : rc;", "return rc;"),
	bug("S21 if_last is not looked at", "store/lmdb_append.c", LMDB, "S21a",
		"if (request->if_last_given && request->if_last != stamp->last.seq_num)", "if (false)"),
	bug("E8 an event is handed out whatever its checksum says", "core/batch.c", "test_event", nil,
		"if (!vigia__event_intact(bytes, entry->len, entry->seq_num))", "if (false)"),

	---- checkpoints ----
	bug("W3 an event counts as handled before it was", "core/stepper.c", "test_stepper", nil,
		"w->done = in->seqs[0] - 1;", "w->done = in->seqs[0];"),
	bug("D2 progress and queue are taken in the other order", "store/lmdb_commit.c", "test_progress", "D2_*",
		"\t\trc = vigia__progress_commit_begin(&b->base.progress, &taken);\n"
		.. "\t\ttakes = vigia__queue_any(queue);\n"
		.. "\t\tif (takes && vigia__queue_commit_begin(queue, &queued, look_for_event, &in) < 0) rc = ENOMEM;",
		"\t\ttakes = vigia__queue_any(queue);\n"
		.. "\t\tif (takes && vigia__queue_commit_begin(queue, &queued, look_for_event, &in) < 0) rc = ENOMEM;\n"
		.. "\t\telse rc = vigia__progress_commit_begin(&b->base.progress, &taken);"),
	bug("W10 a commit undoes a seek", "store/progress.c", "test_progress", "W10_a_seek*",
		"if (committed && p->epoch == taken->items[i].epoch && p->saved", "if (committed && p->saved"),
	bug("W10 what a failed commit held does not travel again", "store/progress.c", "test_progress", "W10_what_was_not*",
		"if (!p->removed && atomic_load(&p->done) > p->saved) announce(list, p);", ""),
	bug("W9 a checkpoint moves backwards", "store/lmdb_checkpoints.c", "test_lmdb", "W9_*",
		"if (rc == 0 && vigia__lmdb_checkpoint_of(&value, &there) && there.seq_num >= change->seq_num) return 0;", ""),
	bug("S18 progress beyond the last event is saved", "store/lmdb_checkpoints.c", "test_lmdb", "S18_*",
		"if (done > saving->b->stamped.seq_num) return vigia__lmdb_overwritten(saving->b, saving->err);", ""),
	bug("G1 collection passes the lowest checkpoint", "core/retention.c", "test_retention", "G1_G4*",
		"uint64_t age_ceiling = holders->count > 0 ? low : 0;", "uint64_t age_ceiling = holders->count > 0 ? latest : 0;"),
	bug("W19 an id has two owners", "store/owner.c", "test_lmdb", "W19_an_id*",
		"} else if (vigia__fd_lock(owners->side->fd, id_byte(hash), F_WRLCK, false) < 0) {", "} else if (false) {"),

	---- the index ----
	bug("F2 names that share an entry of the index are not found", "core/block.c", "test_block", "test_F2_finds*",
		"uint32_t name = hash & mask_of(bits);\n\tunsigned low", "uint32_t name = hash;\n\tunsigned low"),
	bug("F2 the index has no operations but the first", "core/block.c", "test_block", "test_F2_finds*",
		"operations->of_event[place] = (uint16_t)(*standard - 1);", "operations->of_event[place] = 0;"),
	bug("F2 the index rules out what cannot be read", "core/block.c", "test_block", "test_F2_finds*",
		"if (!some && s.odd == 0) return VIGIA_BLOCK_NONE;", "if (!some) return VIGIA_BLOCK_NONE;"),
	bug("F2 damaged places of the index are used", "core/block.c", "test_block", "test_F2_damage*",
		" && get32(entry + 8) == sum_of(s->record + at, len, s->block);", ";"),
	bug("F2 a block that is not full has a record", "store/lmdb_index.c", "test_index", "test_F2_damaged*",
		"if (vigia__block_first(block + 1) - 1 <= skip->last &&", "if ("),
	bug("F2 records stay when their events are removed", "store/lmdb_collect.c", "test_index", "test_F2_records*",
		"return rc == 0 && upto > 0 ? vigia__index_trim(b, txn, upto) : rc;", "return rc;"),
	bug("F2 a record goes before the last event of its block", "store/lmdb_index.c", "test_index", "test_F2_records*",
		"vigia__block_first(vigia__lmdb_number(&key) + 1) > upto + 1", "vigia__block_first(vigia__lmdb_number(&key)) > upto"),
	bug("F2 what a failed commit noted is indexed", "store/lmdb_index.c", "test_index", "test_F2_commits*",
		"if (notes->noted && !committed) notes->next = 0;", ""),
	bug("F2 what others stored is missing in the index", "store/lmdb_index.c", "test_index", "test_F2_another_process*",
		"} else if (notes->next != seq_num) {", "} else if (notes->next == 0) {"),
	bug("F2 the index jumps one too far", "store/lmdb_index.c", "test_index", "test_F2_same*",
		"seq_num = vigia__block_first(block) + place;", "seq_num = vigia__block_first(block) + place + (found == VIGIA_BLOCK_NONE);"),
	bug("F2 old blocks stay without an index", "store/collect.c", "test_index", "test_F2_old*",
		"while (more && *elected && ", "while (false && "),
	bug("E8 verify does not compare the index with the events", "store/lmdb_verify.c", "test_index", "test_E8*",
		"if (!vigia__block_has(record, block,", "if (false && !vigia__block_has(record, block,"),
	bug("F4 the first of two places decides", "core/where.c", "test_path", "test_F4_all*",
		"if (!wants(where, &where->conditions[i], &value)) return false;", "return wants(where, &where->conditions[i], &value);"),
	bug("F4 a missing place equals false", "core/where.c", "test_path", "test_F4_values*",
		"struct vigia__token value = {.kind = VIGIA_TOKEN_NIL};", "struct vigia__token value = {.kind = VIGIA_TOKEN_BOOL};"),

	---- what is queued ----
	bug("D2 what is queued while a commit fails overtakes what it had taken", "store/queue.c", "test_queue", "D2_what_is_queued*",
		"if (taken->count == 0) {", "if (true) {"),
	bug("D2 a queue in doubt is stored twice", "store/queue.c", "test_queue", "D2_a_queue_whose*",
		"if (rc == VIGIA_EUNKNOWN) queue->taken_seq = taken->first_seq;", ""),
	bug("D2 a close forgets the queue", "store/store.c", "spec/interval_spec.lua", "D2k",
		"\trc = vigia__queue_flush(store->backend->queue, true, err);\n", "",
		"\t\tvigia__queue_flush(store->backend->queue, true, NULL);\n", ""),

	---- room ----
	bug("D4 killed readers are not looked for (A13)", "store/lmdb_commit.c", "test_readers", "D4_a_writer*",
		"if (++b->commits_since >= COMMITS_UNTIL_LOOK) {", "if (false) {"),
	bug("D4 one caller's failure fails its group (A15)", "store/lmdb_commit.c", "test_map", "D4s*",
		"if (!may_be_one(rc) || alone) return rc;", "return rc;"),
	bug("D2 what frees room waits for the queue (A14)", "store/lmdb_commit.c", "test_map", "D2n*",
		"if (turn == TURN_SAVES) rest_rc", "if (turn == TURN_FREES) rest_rc",
		"if (turn != TURN_FREES && rest_rc < 0) {", "if (rest_rc < 0) {"),

	---- who waits, who writes beside ----
	bug("S7 a waiter sleeps without comparing the version it saw", "store/wake.c", "test_schedules", "D1_no_wake_up*",
		"FUTEX_WAIT_BITSET, listen->seen[0], &until", "FUTEX_WAIT_BITSET, atomic_load(word_at(wake, listen->index[0])), &until",
		"(struct waitv){listen->seen[i], (uintptr_t)word_at", "(struct waitv){atomic_load(word_at(wake, listen->index[i])), (uintptr_t)word_at"),
	bug("S7 an append does not see that somebody waits", "store/wake.c", "test_schedules", "D1_no_wake_up*",
		"listen->seen[i] = atomic_fetch_or(word_at(wake, listen->index[i]), WAITS) | WAITS;",
		"listen->seen[i] = atomic_load(word_at(wake, listen->index[i]));"),
	bug("S6 an append changes words that no one waits for", "store/wake.c", "test_memory", "test_a_set_of_words*",
		"if (!(old & WAITS)) return;", "if (false) return;"),
	bug("S6 an append wakes words that were in its memory", "store/wake.c", "test_memory", "test_a_set_of_words*",
		"set->words[part] = set->parts & bit ? set->words[part] | bits : bits;", "set->words[part] |= bits;"),
	bug("S6 the few words are not those of 0.1.0", "store/wake.c", "test_memory", "test_the_few_words*",
		"1 + (n - 1) % (VIGIA_WAKE_FEW - 1)", "n % VIGIA_WAKE_FEW"),
	bug("S6 the side file beside a store of format 1 is not that of 0.1.0", "store/lmdb.c", "test_side", "a_store_of_format_1*",
		"b->dev, b->ino, b->format > 1, err", "b->dev, b->ino, true, err"),
	bug("S15 a process that closes a store is taken for one of another file", "store/side.c", "test_side", "the_side_file_of*",
		"if (is_ours && in_use(fd) && vigia__mono_ns() < until) {", "if (false) {"),
	bug("D6 a writer does not wait for its ticket", "store/turns.c", "test_turns", "one_who_had*",
		"while (behind(admitted, ticket) > 0) {", "while (false) {"),
	bug("D6 a stopped waiter keeps its turn", "store/turns.c", "test_turns", "stopped_waiters*",
		"} else if (timed_out && (", "} else if (false && timed_out && ("),
	bug("D6 a dead holder is waited for", "store/turns.c", "test_turns", "one_who_dies*",
		"++looks >= LOOKS_MAX", "looks > LOOKS_MAX"),
	bug("D6 a turn is never over", "store/turns.c", "test_turns", "one_who_had*",
		"if (over) atomic_store_explicit", "if (false) atomic_store_explicit"),
	bug("D6 numbers that were never drawn stay admitted", "store/turns.c", "test_turns", "words_of*",
		"bool is_ahead = behind(atomic_load(&turns->drawn), admitted) > 0;", "bool is_ahead = false;"),
	bug("D6 without a journal no turns are taken", "store/lmdb_journal.c", "test_turns", "*without_a_journal_D6g",
		"if (words == NULL || (!has_journal && atomic", "if (words == NULL || !has_journal || (!has_journal && atomic"),
	bug("S12 a writer does not follow settings that another process changed", "store/lmdb_settings.c", "test_faults", "S12*",
		"if (word == b->settings_seen) return 0;", "if (true) return 0;"),
	bug("S15 a forked child uses its parent's store", "store/store.c", "test_lmdb", "S15_a_store*",
		"\tif (store->fork_generation != vigia__fork_generation())", "\tif (false)"),
	bug("S22 what is opened becomes a standard descriptor", "store/fd.c", "test_fd", "S22_what*",
		"int rc = occupy(), number = errno;", "int rc = 0, number = errno;"),

	---- the isolated protocol ----
	bug("H6 a program takes the reply to another call", "isolated.c", CONVERSATION, "is ended by its program",
		"if (frame.kind != VIGIA_FRAME_REPLY || frame.of != number)", "if (frame.kind != VIGIA_FRAME_REPLY)"),
	bug("H6 a supervisor takes the end of another request", "bind/process.c", CONVERSATION, "ends a program that writes",
		"else if (!kind || frame->of != p->request)", "else if (!kind)"),
}
