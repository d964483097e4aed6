-- budgets.lua - how many instructions the things that must stay cheap take, as spec/budget_spec.lua counts them: gcc 12 -O2 for x86-64.
--
-- A change that makes one of them 10 % heavier fails that spec. If it is worth that, write the new figure here, in the same commit, and say
-- in its body what it buys. One that makes it lighter lowers the figure.
--
-- `work` is done `few` times and then `many` times; the difference, by `many - few` times `events`, is what an event takes.
return {
	{name = "an append, not synced, by the journal", work = "append_journal", few = 4000, many = 12000, events = 1, instructions = 6870},
	{name = "an append, not synced, without a journal", work = "append_lmdb", few = 500, many = 2500, events = 1, instructions = 13160},
	{name = "an event of a batch of 1000", work = "append_batch", few = 5, many = 25, events = 1000, instructions = 3170},
	{name = "a replayed event", work = "replay", few = 1, many = 4, events = 10000, instructions = 1031},
	{name = "a replayed event of the journal's tail", work = "replay_tail", few = 1, many = 11, events = 1000, instructions = 882},
	{name = "an append and the rounds that handle it", work = "wake", few = 500, many = 2500, events = 1, instructions = 13040},
}
