-- progress_spec.lua - a watcher's progress: what it saves and when, and how it is moved by hand.

local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local drain, drive, fails, fill, mentions = helper.drain, helper.drive, helper.fails, helper.fill, helper.mentions
local raises, range, recorder = helper.raises, helper.range, helper.recorder
local after = vigia.after_sequence_number

for _, backend in ipairs(helper.backends) do
	-- No progress is saved by the clock here: only by what the spec does.
	local function open(options) return backend.open(options or {checkpoint_interval = 3600}) end

	describe("progress in a store of kind " .. backend.name, function()
		local store

		-- Watch and handle all there is; returns the watcher, what it saw, and the registry.
		local function watched(id, options)
			local registry = helper.registry(store)
			local handler, seen = recorder()
			local watcher = assert(registry:watch(id, handler, options))
			drain(registry, watcher)
			return watcher, seen, registry
		end

		local function checkpoint(id) return (store:get_checkpoint(id)) end

		local function it_if_committed(description, body)
			it(description, function()
				if backend.commits_progress then return body() end
				helper.pending(backend.name .. " does not take progress along with its commits")
			end)
		end

		before_each(function() store = open() end)
		after_each(helper.clean)

		-- An append that is a commit of LMDB's. Without a key it may go through the journal, which takes no progress along.
		local appends = 0
		local function append()
			appends = appends + 1
			return store:store_event("CREATE", "Job", nil, {key = "key" .. appends})
		end

		---- by hand ----

		it("is saved by checkpoint(n), and never moves back [W9a]", function()
			fill(store, 5)
			local watcher = watched("a", {checkpoint = "manual"})
			assert.is_true(assert(watcher:checkpoint(3)))
			assert.equal(3, checkpoint("a"))
			assert.is_true(assert(watcher:checkpoint(2)))
			assert.equal(3, checkpoint("a"))
			assert.is_true(assert(watcher:checkpoint(3)))
			assert.is_true(assert(watcher:checkpoint(5)))
			assert.equal(5, checkpoint("a"))
			assert.equal(after(5), watcher:stats().checkpoint_iterator)
		end)

		it("refuses a checkpoint beyond the last event, and one that is none [W9b]", function()
			fill(store, 5)
			local watcher = watched("a", {checkpoint = "manual"})
			local err = fails("position_out_of_range", watcher:checkpoint(6))
			mentions(err, "6", "5")
			fails("position_out_of_range", watcher:checkpoint(math.maxinteger))
			for _, n in ipairs{-1, 1.5, "3"} do raises(watcher.checkpoint, watcher, n) end
			assert.is_nil(checkpoint("a"))
		end)

		it("goes back and forth by seek_to_offset(n), which saves n and goes on with n + 1 [W9c]", function()
			fill(store, 5)
			local watcher, seen, registry = watched("a", {checkpoint = "manual"})
			assert.is_true(assert(watcher:seek_to_offset(2)))
			assert.equal(2, checkpoint("a"))
			drain(registry, watcher)
			assert.same({1, 2, 3, 4, 5, 3, 4, 5}, seen)
			assert.is_true(assert(watcher:seek_to_offset(0)))
			assert.equal(0, checkpoint("a"))
			assert.equal(5, watcher:stats().lag)
			assert.equal("running", watcher:stats().state)
			assert.is_true(assert(watcher:seek_to_offset(4)))
			assert.equal(4, checkpoint("a"))
			drain(registry, watcher)
			assert.same({1, 2, 3, 4, 5, 3, 4, 5, 5}, seen)
			assert.is_true(assert(watcher:seek_to_offset(5)))
			fill(store, 1)
			drain(registry, watcher)
			assert.equal(6, seen[#seen])
			assert.equal(10, #seen)
		end)

		it("goes on with the oldest when n is below the trim horizon [W9d]", function()
			fill(store, 5)
			local watcher, seen, registry = watched("a")
			assert(store:trim(3))
			assert.is_true(assert(watcher:seek_to_offset(1)))
			drain(registry, watcher)
			assert.same({1, 2, 3, 4, 5, 4, 5}, seen)
		end)

		it("refuses to seek beyond the last event, and nothing moves [W9e]", function()
			fill(store, 5)
			local watcher, seen, registry = watched("a", {checkpoint = "manual"})
			assert(watcher:checkpoint(4))
			fails("position_out_of_range", watcher:seek_to_offset(6))
			fails("position_out_of_range", watcher:seek_to_offset(1000))
			for _, n in ipairs{-1, 1.5, "3"} do raises(watcher.seek_to_offset, watcher, n) end
			assert.equal(4, checkpoint("a"))
			assert.equal("running", watcher:stats().state)
			fill(store, 1)
			drain(registry, watcher)
			assert.same(range(1, 6), seen)
		end)

		it("seeks away from an event that fails without end [W9f]", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local seen = {}
			local watcher = assert(registry:watch("a", function(event)
				if event.seq_num == 2 then error("poison") end
				seen[#seen + 1] = event.seq_num
			end, {initial_backoff = 3600, max_backoff = 3600}))
			drive(registry, function() return watcher:stats().blocked_on == 2 end)
			assert.is_true(assert(watcher:seek_to_offset(2)))
			drain(registry, watcher)
			assert.same({1, 3}, seen)
			assert.is_nil(watcher:stats().blocked_on)
		end)

		---- by the mode ----

		it("is saved in mode \"batch\" on stop, and not by itself while nobody commits [W10a]", function()
			fill(store, 5)
			local registry = helper.registry(store)
			local saved = {}
			local watcher = assert(registry:watch("a", function(event) saved[event.seq_num] = checkpoint("a") or "none" end))
			drain(registry, watcher)
			assert.same({"none", "none", "none", "none", "none"}, saved)
			assert.is_true(watcher:stop())
			assert.equal(5, checkpoint("a"))
		end)

		it_if_committed("is saved by a stop whose time passes while a handler waits on [W10a W14]", function()
			fill(store, 2)
			local registry = helper.registry(store)
			local waits = true
			local watcher = assert(registry:watch("a", function(event)
				while event.seq_num == 2 and waits do vigia.sleep(3600) end
			end))
			drive(registry, function() return watcher:stats().processed == 1 end)
			fails("invalid_state", registry:stop{timeout = 0.05})
			assert.equal(1, checkpoint("a"))
			waits = false
			assert(registry:stop())
			assert.equal(2, checkpoint("a"))
		end)

		it_if_committed("goes along with the commit of whoever appends between two steps, up to the last event that was handled [W10]", function()
			local events = {}
			for n = 1, 600 do events[n] = {"CREATE", "Job", n} end
			assert(store:store_events(events))
			local registry = helper.registry(store)
			local handler, seen = recorder()
			assert(registry:watch("w", handler, {batch_size = 1000}))
			drive(registry, function() return #seen > 0 end)
			assert.is_true(#seen < 600) -- in the middle of a batch
			assert(append())
			assert.equal(#seen, checkpoint("w"))
		end)

		it_if_committed("is saved in mode \"batch\" with the next commit, whoever makes it [W10b]", function()
			fill(store, 5)
			local watcher, _, registry = watched("a")
			assert.is_nil(checkpoint("a"))
			assert(append())
			assert.equal(5, checkpoint("a"))
			assert.equal(after(5), watcher:stats().checkpoint_iterator)
			drain(registry, watcher)
			assert(store:store_checkpoint("somebody else", 1))
			assert.equal(6, checkpoint("a"))
		end)

		it_if_committed("goes along with the commit of a lower checkpoint that is saved by hand [W10j]", function()
			fill(store, 5)
			local watcher = watched("a")
			assert(watcher:checkpoint(3))
			assert.equal(5, checkpoint("a"))
		end)

		it("is saved in mode \"batch\" by the clock, for all watchers at once [W10c]", function()
			store = open{checkpoint_interval = 20}
			fill(store, 5)
			local clock, warned = testing.clock(), {}
			local registry = helper.registry(store, {clock = clock, log = function(level, message)
				if level ~= "info" then warned[#warned + 1] = message end
			end})
			assert(registry:watch("a", function() end))
			assert(registry:watch("b", function() end, {filter = {object_types = {"None"}}}))
			assert(registry:run())
			clock:advance(19)
			assert(registry:run())
			assert.same({}, {checkpoint("a"), checkpoint("b")})
			clock:advance(1)
			assert(registry:run())
			assert.same({5, 5}, {checkpoint("a"), checkpoint("b")})
			assert.same({}, warned)
		end)

		it("is saved by the clock as late while others append without end, and not much more often [W10k]", function()
			store = open{checkpoint_interval = 20}
			fill(store, 1)
			local clock, saves, last = testing.clock(), 0, nil
			local registry = helper.registry(store, {clock = clock})
			assert(registry:watch("a", function() end))
			for second = 1, 60 do
				assert(store:store_event("CREATE", "Job", second))
				assert(registry:run())
				clock:advance(1)
				local saved = checkpoint("a")
				if saved ~= last then saves, last = saves + 1, saved end
				assert(second < 22 or second - saved <= 22, ("second %d: %s"):format(second, saved))
			end
			-- Where each append is a commit, it takes along what there is.
			assert(saves >= 2 and ((store:stats().journal_appends or 0) == 0 or saves <= 4), saves)
		end)

		it("is saved in mode \"event\" after each event, before the next [W10d]", function()
			fill(store, 4)
			local registry = helper.registry(store)
			local saved = {}
			local watcher = assert(registry:watch("a", function(event)
				saved[event.seq_num] = checkpoint("a") or "none"
			end, {checkpoint = "event"}))
			drain(registry, watcher)
			assert.same({"none", 1, 2, 3}, saved)
			drive(registry, function() return checkpoint("a") == 4 end)
		end)

		it("is saved in mode \"manual\" only when the handler asks [W10e]", function()
			fill(store, 6)
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("a", function(event, ctx)
				if event.seq_num % 3 == 1 then assert(ctx.watcher:checkpoint(event.seq_num)) end
			end, {checkpoint = "manual"}))
			drain(registry, watcher)
			assert.equal(4, checkpoint("a"))
			assert(append())
			assert.equal(4, checkpoint("a"))
			assert.is_true(watcher:stop())
			assert.equal(4, checkpoint("a"))
			watched("b", {checkpoint = "manual"}):stop()
			assert.is_nil(checkpoint("b"))
		end)

		it("is saved for a watcher that moved over events it did not want [W10f]", function()
			fill(store, 5000, "Node")
			for _, mode in ipairs{"batch", "event"} do
				local watcher, seen = watched(mode, {checkpoint = mode, filter = {object_types = {"Job"}}})
				assert.same({}, seen)
				assert.is_true(watcher:stop())
				assert.equal(5000, checkpoint(mode))
			end
		end)

		it_if_committed("never passes an event that is still being retried [W10g]", function()
			fill(store, 5)
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("a", function(event)
				if event.seq_num == 3 then error("poison") end
			end, {initial_backoff = 3600, max_backoff = 3600}))
			drive(registry, function() return watcher:stats().blocked_on == 3 end)
			assert(append())
			assert.equal(2, checkpoint("a"))
			assert.is_true(watcher:stop())
			assert.equal(2, checkpoint("a"))
		end)

		it_if_committed("never passes an event whose handler is still at it [W10h]", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local inside
			assert(registry:watch("a", function(event)
				inside = event.seq_num
				if event.seq_num == 2 then vigia.sleep(3600) end
			end))
			drive(registry, function() return inside == 2 end)
			assert(append())
			assert.equal(1, checkpoint("a"))
		end)

		it("is not moved back by a commit that comes after a seek [W10i]", function()
			fill(store, 5)
			local watcher = watched("a")
			assert(watcher:seek_to_offset(1))
			assert(append())
			assert.equal(1, checkpoint("a"))
		end)

		it("is where a watcher of the same id goes on [W11a]", function()
			fill(store, 5)
			local first, seen, registry = watched("a")
			assert.is_true(first:stop())
			assert(registry:stop())
			fill(store, 2)
			local second, seen_again = watched("a")
			assert.same({range(1, 5), {6, 7}}, {seen, seen_again})
			assert.equal(after(7), second:stats().next_event_iterator)
		end)

		---- without a checkpoint ----

		it("is neither read nor written for an ephemeral watcher [W12a]", function()
			fill(store, 3)
			assert(store:store_checkpoint("a", 2))
			for _, mode in ipairs{"batch", "event", "manual"} do
				local watcher, seen, registry = watched("a", {ephemeral = true, checkpoint = mode})
				assert.same(range(1, 3), seen)
				assert.is_nil(watcher:stats().checkpoint_iterator)
				assert(store:store_checkpoint("other", 1))
				assert.is_true(watcher:stop())
				assert(registry:stop())
				assert.equal(2, checkpoint("a"))
			end
			watched("b", {ephemeral = true}):stop()
			assert.is_nil(checkpoint("b"))
		end)

		it("cannot be saved by hand for an ephemeral watcher, which seeks in memory [W12b]", function()
			fill(store, 3)
			local watcher, seen, registry = watched("a", {ephemeral = true})
			local err = fails("watcher_ephemeral", watcher:checkpoint(1))
			assert.equal("a", err.watcher_id)
			assert.is_true(assert(watcher:seek_to_offset(1)))
			drain(registry, watcher)
			assert.same({1, 2, 3, 2, 3}, seen)
			fails("position_out_of_range", watcher:seek_to_offset(4))
			assert.is_true(watcher:stop())
			assert.is_nil(checkpoint("a"))
		end)
	end)
end
