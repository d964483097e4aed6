-- watcher_spec.lua - one watcher: where it starts, in which order it sees events, how it retries and gives up, what it fetches.

local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local drain, drive, fails, fill, mentions = helper.drain, helper.drive, helper.fails, helper.fill, helper.mentions
local raises, range, recorder = helper.raises, helper.range, helper.recorder
local at, after = vigia.at_sequence_number, vigia.after_sequence_number

-- Retries that come at once.
local QUICK = {initial_backoff = 0.001, max_backoff = 0.001}

local function with(base, more)
	local options = {}
	for name, value in pairs(base) do options[name] = value end
	for name, value in pairs(more or {}) do options[name] = value end
	return options
end

for _, backend in ipairs(helper.backends) do
	local function open() return backend.open{durability = "none"} end

	describe("a watcher over a store of kind " .. backend.name, function()
		local store

		-- Nothing that keeps a registry alive may outlive its test: each test makes its own.
		local function new_registry() return helper.registry(store) end

		-- Watch and handle all there is; returns the watcher, what it saw, and the registry.
		local function watched(id, options)
			local registry = new_registry()
			local handler, seen = recorder()
			local watcher = assert(registry:watch(id, handler, options))
			drain(registry, watcher)
			return watcher, seen, registry
		end

		before_each(function() store = open() end)
		after_each(helper.clean)

		---- ids ----

		it("runs under its id and is found by it [W1a]", function()
			local registry = new_registry()
			local watcher = assert(registry:watch("a", function() end))
			assert.equal("a", watcher:id())
			assert.equal(watcher, assert(registry:get_watcher("a")))
			assert.equal("running", watcher:stats().state)
			mentions(fails("watcher_not_found", registry:get_watcher("b")), "b")
		end)

		it("refuses an id that is running [W1b]", function()
			local registry = new_registry()
			assert(registry:watch("a", function() end))
			local err = fails("watcher_already_exists", registry:watch("a", function() end))
			assert.equal("a", err.watcher_id)
			assert(registry:watch("b", function() end))
		end)

		it("takes the id of a stopped watcher again, and goes on behind its checkpoint [W1c]", function()
			fill(store, 3)
			local first, seen, registry = watched("a")
			assert.is_true(first:stop())
			fill(store, 2)
			local handler, seen_again = recorder()
			local second = assert(registry:watch("a", handler))
			drain(registry, second)
			assert.same({range(1, 3), {4, 5}}, {seen, seen_again})
			assert.equal(second, assert(registry:get_watcher("a")))
			assert.equal("running", second:stats().state)
		end)

		it("refuses ids that cannot be ones [W1d]", function()
			local registry = new_registry()
			for _, id in ipairs{"", ("x"):rep(256)} do fails("invalid_argument", registry:watch(id, function() end)) end
			for _, id in ipairs{"a\0b", 5, true, {}} do raises(registry.watch, registry, id, function() end) end
			assert(registry:watch(("x"):rep(255), function() end))
			assert(registry:watch("\xff\n", function() end))
		end)

		---- where it starts ----

		it("starts at the trim horizon without a checkpoint [W2a]", function()
			fill(store, 5)
			assert(store:trim(2))
			local _, seen = watched("a")
			assert.same({3, 4, 5}, seen)
		end)

		it("starts where initial_event_iterator says, without a checkpoint [W2b]", function()
			fill(store, 5)
			for _, case in ipairs{
				{vigia.trim_horizon(), range(1, 5)}, {at(3), {3, 4, 5}}, {after(3), {4, 5}}, {after(5), {}}, {at(0), range(1, 5)},
			} do
				local _, seen = watched(tostring(case[1]), {initial_event_iterator = case[1], checkpoint = "manual"})
				assert.same(case[2], seen)
			end
		end)

		it("starts after its checkpoint, whatever initial_event_iterator says [W2c]", function()
			fill(store, 5)
			for _, iterator in ipairs{vigia.trim_horizon(), vigia.latest(), at(1), after(4)} do
				local id = tostring(iterator)
				assert(store:store_checkpoint(id, 3))
				local _, seen = watched(id, {initial_event_iterator = iterator, checkpoint = "manual"})
				assert.same({4, 5}, seen)
			end
		end)

		it("takes a checkpoint of 0 for one [W2d]", function()
			fill(store, 3)
			assert(store:store_checkpoint("a", 0))
			local _, seen = watched("a", {initial_event_iterator = vigia.latest()})
			assert.same(range(1, 3), seen)
		end)

		it("resolves latest when it is created: what is stored before it first runs is delivered [W2e]", function()
			fill(store, 3)
			local registry = new_registry()
			local handler, seen = recorder()
			local watcher = assert(registry:watch("a", handler, {initial_event_iterator = vigia.latest()}))
			fill(store, 2)
			drain(registry, watcher)
			assert.same({4, 5}, seen)
		end)

		for _, ephemeral in ipairs{false, true} do
			it("resolves latest when it is created, also when it is started later " .. (ephemeral and ": ephemeral" or "") .. " [W2f]", function()
				fill(store, 3)
				local registry = new_registry()
				local handler, seen = recorder()
				local watcher = assert(registry:watch("a", handler,
					{initial_event_iterator = vigia.latest(), auto_start = false, ephemeral = ephemeral}))
				fill(store, 2)
				assert(watcher:start())
				drain(registry, watcher)
				assert.same({4, 5}, seen)
			end)
		end

		it("starts after the last from a number beyond it, with a warning [W2g]", function()
			fill(store, 3)
			for _, case in ipairs{
				{"initial", at(100)}, {"initial after", after(100)}, {"checkpoint", vigia.trim_horizon(), 100}, {"just beyond", after(10)},
			} do
				local warnings = {}
				local registry = helper.registry(store, {log = function(level, message)
					if level == "warn" then warnings[#warnings + 1] = message end
				end})
				if case[3] then assert(store:store_checkpoint(case[1], case[3])) end
				local handler, seen = recorder()
				local watcher = assert(registry:watch(case[1], handler, {initial_event_iterator = case[2]}))
				assert.equal(1, #warnings)
				mentions(warnings[1], case[1], tostring(case[3] or case[2].seq_num))
				local last = fill(store, 2)
				drain(registry, watcher)
				assert.same({last - 1, last}, seen)
			end
		end)

		it("does not warn about the number that comes next [W2h]", function()
			fill(store, 3)
			local warnings = 0
			local registry = helper.registry(store, {log = function(level) if level == "warn" then warnings = warnings + 1 end end})
			assert(registry:watch("after", function() end, {initial_event_iterator = after(3)}))
			assert(registry:watch("at", function() end, {initial_event_iterator = at(4)}))
			assert.equal(0, warnings)
		end)

		---- order ----

		it("handles every event once, in order, over many batches [W3a]", function()
			fill(store, 1000)
			local _, seen = watched("a", {batch_size = 7})
			assert.same(range(1, 1000), seen)
		end)

		it("handles the whole event, and what comes while it runs [W3b]", function()
			local registry = new_registry()
			local got = {}
			local watcher = assert(registry:watch("a", function(event) got[#got + 1] = event end))
			drain(registry, watcher)
			assert(store:store_event("CREATE", "Job", {id = "j"}))
			drain(registry, watcher)
			assert(store:store_event("renamed", "Node", nil))
			drain(registry, watcher)
			assert.same({assert(store:get_event(1)), assert(store:get_event(2))}, got)
		end)

		it("handles no event before the one in front of it succeeded [W3c]", function()
			fill(store, 5)
			local registry = new_registry()
			local calls = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				calls[#calls + 1] = event.seq_num .. "." .. ctx.attempt
				if event.seq_num % 2 == 0 and ctx.attempt < 3 then error("not yet") end
			end, QUICK))
			drain(registry, watcher)
			assert.same({"1.1", "2.1", "2.2", "2.3", "3.1", "4.1", "4.2", "4.3", "5.1"}, calls)
		end)

		it("never runs its handler twice at a time [W3d]", function()
			fill(store, 20)
			local registry = new_registry()
			local inside, most, seen = 0, 0, {}
			local watcher = assert(registry:watch("a", function(event)
				inside = inside + 1
				most = math.max(most, inside)
				assert(vigia.sleep(0.0001))
				assert(store:get_events{timeout = 0})
				inside = inside - 1
				seen[#seen + 1] = event.seq_num
			end))
			drain(registry, watcher)
			assert.equal(1, most)
			assert.same(range(1, 20), seen)
		end)

		it("handles only what its filter wants, in order [W3e]", function()
			for n = 1, 20 do assert(store:store_event(n % 3 == 0 and "UPDATE" or "CREATE", n % 2 == 0 and "Job" or "Node", nil)) end
			local watcher, seen = watched("a", {filter = {object_types = {"Job"}, operations = {"UPDATE", "DELETE"}}, batch_size = 2})
			assert.same({6, 12, 18}, seen)
			assert.equal(after(20), watcher:stats().next_event_iterator)
		end)

		---- others ----

		it("is not delayed by one that fails [W4a]", function()
			fill(store, 50)
			local registry = new_registry()
			local failing = assert(registry:watch("failing", function() error("always") end, {initial_backoff = 3600, max_backoff = 3600}))
			local handler, seen = recorder()
			local watcher = assert(registry:watch("a", handler))
			drain(registry, watcher)
			assert.same(range(1, 50), seen)
			assert.equal(1, failing:stats().failed)
			assert.equal(50, failing:stats().lag)
		end)

		it("is not delayed by one that is slow [W4b]", function()
			fill(store, 50)
			local registry = new_registry()
			local woken = false
			assert(registry:watch("slow", function() vigia.sleep(3600) woken = true end))
			local handler, seen = recorder()
			local watcher = assert(registry:watch("a", handler))
			drain(registry, watcher)
			assert.same(range(1, 50), seen)
			assert.is_false(woken)
		end)

		it("is not delayed by one that waits for an event [W4c]", function()
			fill(store, 3)
			local registry = new_registry()
			assert(registry:watch("waiting", function() store:get_events{event_iterator = at(1000), timeout = 3600} end))
			local handler, seen = recorder()
			local watcher = assert(registry:watch("a", handler))
			drain(registry, watcher)
			fill(store, 2)
			drain(registry, watcher)
			assert.same(range(1, 5), seen)
		end)

		it("shares the time fairly with one that has much to do [W4d]", function()
			fill(store, 20000)
			local registry = new_registry()
			local busy = assert(registry:watch("busy", function() end))
			drive(registry, function() return busy:stats().processed > 0 end)
			local handler, seen = recorder()
			assert(registry:watch("late", handler, {initial_event_iterator = after(19999)}))
			drive(registry, function() return #seen == 1 end)
			assert(busy:stats().processed < 20000, "the other had to finish all its events first")
		end)

		---- failures ----

		it("fails when it raises: a string, a table, nil, an object that cannot be printed, an error of ours [W5a]", function()
			fill(store, 1)
			local unprintable = setmetatable({}, {__tostring = function() error("not even that") end})
			local wrong = setmetatable({}, {__tostring = function() return 5 end})
			local _, ours = store:get_event(99)
			local thrown = {
				"text", "", {code = 1}, unprintable, wrong, ours, 42, true, false, print, coroutine.create(print), vigia.null,
				("x"):rep(100000),
			}
			thrown.n = #thrown + 1 -- the last one is nil
			for n = 1, thrown.n do
				local registry = new_registry()
				local watcher = assert(registry:watch("a" .. n, function(_, ctx)
					if ctx.attempt == 1 then error(thrown[n]) end
				end, with(QUICK, {ephemeral = true})))
				drain(registry, watcher)
				local stats = watcher:stats()
				assert.same({1, 1, 1}, {stats.failed, stats.retried, stats.processed})
				assert.equal("handler_error", stats.last_error.code)
				assert.is_string(stats.last_error.message)
				if type(thrown[n]) == "string" then
					mentions(stats.last_error, thrown[n]:sub(1, 100))
				else
					assert.equal(thrown[n], stats.last_error.cause)
				end
			end
		end)

		it("fails when it returns nil or false and a message [W5b]", function()
			fill(store, 1)
			local _, ours = store:get_event(99)
			for index, returned in ipairs{{nil, "no luck"}, {false, "no luck"}, {nil, ours}, {false, {}}, {nil, 42}} do
				local registry = new_registry()
				local watcher = assert(registry:watch("a" .. index, function(_, ctx)
					if ctx.attempt == 1 then return table.unpack(returned, 1, 2) end
				end, with(QUICK, {ephemeral = true})))
				drain(registry, watcher)
				local stats = watcher:stats()
				assert.same({1, 1, 1}, {stats.failed, stats.retried, stats.processed})
				assert.equal("handler_error", stats.last_error.code)
				mentions(stats.last_error, type(returned[2]) == "string" and "no luck" or "")
			end
		end)

		it("is retried whatever the failure calls itself: a cancellation, a stop, a store that is closed [W5n]", function()
			fill(store, 1)
			local closed = helper.memory()
			closed:close()
			local _, of_closed = closed:get_event(1)
			local _, no_checkpoint = store:get_checkpoint("nobody")
			for index, failure in ipairs{
				"context canceled", "handling: context canceled", "watcher 'a' is stopping", "interrupted", "end of file", of_closed,
				no_checkpoint, {code = "stopping"}, {code = "event_damaged", seq_num = 1}, {code = "sequence_expired"},
			} do
				for _, raised in ipairs{true, false} do
					local registry = new_registry()
					local watcher = assert(registry:watch(("a%d%s"):format(index, raised), function(_, ctx)
						if ctx.attempt > 2 then return end
						if raised then error(failure, 0) end
						return nil, failure
					end, with(QUICK, {ephemeral = true})))
					helper.drive(registry, function() return watcher:stats().lag == 0 or watcher:stats().state == "stopped" end)
					local stats = watcher:stats()
					assert.same({"running", 2, 2, 1, 0}, {stats.state, stats.failed, stats.retried, stats.processed, stats.skipped})
				end
			end
		end)

		it("succeeds when it returns anything else [W5c]", function()
			fill(store, 1)
			for index, returned in ipairs{
				{n = 0}, {nil, n = 1}, {false, n = 1}, {true}, {true, "text"}, {0, "text"}, {"", "x"}, {nil, nil, n = 2}, {{}},
			} do
				local registry = new_registry()
				local calls = 0
				local watcher = assert(registry:watch("a" .. index, function()
					calls = calls + 1
					return table.unpack(returned, 1, returned.n)
				end, with(QUICK, {ephemeral = true})))
				drain(registry, watcher)
				assert.same({1, 0, 1}, {calls, watcher:stats().failed, watcher:stats().processed})
			end
		end)

		it("fails when it uses up its stack, and the next attempt is as good as new [W5d]", function()
			fill(store, 1)
			local registry = new_registry()
			local function deep() return 1 + deep() end
			local watcher = assert(registry:watch("a", function(_, ctx) if ctx.attempt == 1 then deep() end end, QUICK))
			drain(registry, watcher)
			mentions(watcher:stats().last_error, "overflow")
		end)

		it("is told of the attempt, its watcher and its store, and whether it is stopping [W5e]", function()
			fill(store, 1)
			local registry = new_registry()
			local contexts = {}
			local watcher
			watcher = assert(registry:watch("a", function(_, ctx)
				contexts[#contexts + 1] = {ctx.attempt, ctx.watcher, ctx.store, ctx.stopping}
				if #contexts < 3 then error("again") end
			end, QUICK))
			drain(registry, watcher)
			for attempt = 1, 3 do
				local context = contexts[attempt]
				assert.equal(attempt, context[1])
				assert.equal(watcher, context[2])
				assert.equal(store, context[3])
				assert.is_false(context[4])
			end
		end)

		it("tells on_error of every failure, and a failure of on_error harms nothing [W5f]", function()
			fill(store, 2)
			local registry = new_registry()
			local told = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				if event.seq_num == 1 and ctx.attempt < 4 then error("attempt " .. ctx.attempt) end
			end, with(QUICK, {on_error = function(err, event, ctx)
				told[#told + 1] = {err.code, err.seq_num, err.watcher_id, event.seq_num, ctx.attempt}
				mentions(err, "attempt " .. ctx.attempt)
				error("in on_error as well")
			end})))
			drain(registry, watcher)
			assert.same({{"handler_error", 1, "a", 1, 1}, {"handler_error", 1, "a", 1, 2}, {"handler_error", 1, "a", 1, 3}}, told)
			assert.equal(2, watcher:stats().processed)
		end)

		it("takes jitter as an option [W5g]", function()
			fill(store, 1)
			local registry = new_registry()
			local watcher = assert(registry:watch("a", function(_, ctx)
				if ctx.attempt < 5 then error("x") end
			end, with(QUICK, {jitter = true})))
			drain(registry, watcher)
			assert.equal(4, watcher:stats().failed)
		end)

		---- giving up ----

		it("retries without end by default [W6a]", function()
			fill(store, 2)
			local registry = new_registry()
			local calls = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				calls[event.seq_num] = ctx.attempt
				if ctx.attempt < 100 then error("again") end
			end, with(QUICK, {max_retries = 2})))
			drain(registry, watcher)
			assert.same({100, 100}, calls)
			local stats = watcher:stats()
			assert.same({2, 198, 198, 0}, {stats.processed, stats.failed, stats.retried, stats.skipped})
		end)

		it("gives up with \"skip\" after max_retries attempts in all, and handles the next [W6b]", function()
			for _, attempts in ipairs{1, 2, 5} do
				store = open()
				fill(store, 3)
				local registry = new_registry()
				local handler = testing.handler():fail_on(2)
				local watcher = assert(registry:watch("a", handler.handle, with(QUICK, {retry_strategy = "skip", max_retries = attempts})))
				drain(registry, watcher)
				local expected = {1}
				for attempt = 1, attempts do
					expected[#expected + 1] = 2
					assert.equal(attempt, handler.calls[attempt + 1].attempt)
				end
				expected[#expected + 1] = 3
				assert.same(expected, handler:seq_nums())
				local stats = watcher:stats()
				assert.same({2, attempts, attempts - 1, 1}, {stats.processed, stats.failed, stats.retried, stats.skipped})
			end
		end)

		it("does not count an event given up as processed, and its checkpoint passes it [W6c]", function()
			fill(store, 3)
			local registry = new_registry()
			local watcher = assert(registry:watch("a", function(event)
				if event.seq_num >= 2 then error("never") end
			end, with(QUICK, {retry_strategy = "skip", max_retries = 2})))
			drain(registry, watcher)
			local stats = watcher:stats()
			assert.same({1, 2, 1}, {stats.processed, stats.skipped, stats.last_processed_seq_num})
			assert.equal(after(3), stats.next_event_iterator)
			assert.is_true(watcher:stop())
			assert.equal(3, assert(store:get_checkpoint("a")))
		end)

		it("counts attempts anew for each event [W6d]", function()
			fill(store, 3)
			local registry = new_registry()
			local attempts = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				attempts[event.seq_num] = ctx.attempt
				if ctx.attempt < 3 then error("twice") end
			end, with(QUICK, {retry_strategy = "skip", max_retries = 3})))
			drain(registry, watcher)
			assert.same({3, 3, 3}, attempts)
			assert.same({3, 0}, {watcher:stats().processed, watcher:stats().skipped})
		end)

		---- fetching ----

		-- What is delivered when the handler of the first event removes the other nine from the store: what was fetched before.
		local function fetched_with_the_first(options, count)
			count = count or 10
			fill(store, count)
			local registry = new_registry()
			local seen = {}
			local watcher = assert(registry:watch("a", function(event)
				if #seen == 0 then
					assert(store:trim(count))
					assert(store:store_event("CREATE", "Job", "one more"))
				end
				seen[#seen + 1] = event.seq_num
			end, options))
			drain(registry, watcher)
			assert.equal(count + 1, table.remove(seen))
			return seen
		end

		it("fetches batch_size events at a time [W8a]", function()
			assert.same({1, 2, 3}, fetched_with_the_first{batch_size = 3})
		end)

		it("fetches 100 events at a time by default [W8b]", function()
			assert.same(range(1, 100), fetched_with_the_first({}, 150))
		end)

		it("fetches no more than buffer_size ahead of the handler [W8c]", function()
			assert.same({1, 2}, fetched_with_the_first{batch_size = 100, buffer_size = 2})
		end)

		it("fetches one at a time [W8d]", function()
			assert.same({1}, fetched_with_the_first{batch_size = 1, buffer_size = 1})
		end)
	end)
end
