-- progress_spec.lua - a watcher's progress: what it saves and when, and how it is moved by hand.

local helper = require "spec.helper"
local vigia = require "vigia"

local drain, drive, fails, fill, mentions = helper.drain, helper.drive, helper.fails, helper.fill, helper.mentions
local raises, range, recorder = helper.raises, helper.range, helper.recorder
local after = vigia.after_sequence_number

local QUICK = {initial_backoff = 0.001, max_backoff = 0.001}

local opened = 0
-- No progress is saved by the clock in these specs: only by what they do.
local backends = {
	memory = function(options) return helper.memory(options or {checkpoint_interval = 3600}) end,
	lmdb = function(options)
		opened = opened + 1
		return helper.open(helper.path("store" .. opened), options or {checkpoint_interval = 3600})
	end,
}

for backend, open in pairs(backends) do
	describe("progress in a store of kind " .. backend, function()
		local store

		-- Watch and handle all there is; answers the watcher, what it saw, and the registry.
		local function watched(id, options)
			local registry = helper.registry(store)
			local handler, seen = recorder()
			local watcher = assert(registry:watch(id, handler, options))
			drain(registry, watcher)
			return watcher, seen, registry
		end

		local function checkpoint(id)
			return (store:get_checkpoint(id))
		end

		before_each(function() store = open() end)
		after_each(helper.clean)

		---- by hand ----

		it("W9a is saved by checkpoint(n), and never moves back", function()
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

		it("W9b refuses a checkpoint beyond the last event, and one that is none", function()
			fill(store, 5)
			local watcher = watched("a", {checkpoint = "manual"})
			local err = fails("position_out_of_range", watcher:checkpoint(6))
			mentions(err, "6", "5")
			fails("position_out_of_range", watcher:checkpoint(math.maxinteger))
			for _, n in ipairs{-1, 1.5, "3"} do raises(watcher.checkpoint, watcher, n) end
			assert.is_nil(checkpoint("a"))
		end)

		it("W9c goes back and forth by seek_to_offset(n), which saves n and goes on with n + 1", function()
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

		it("W9d goes on with the oldest when n is below the trim horizon", function()
			fill(store, 5)
			local watcher, seen, registry = watched("a")
			assert(store:trim(3))
			assert.is_true(assert(watcher:seek_to_offset(1)))
			drain(registry, watcher)
			assert.same({1, 2, 3, 4, 5, 4, 5}, seen)
		end)

		it("W9e refuses to seek beyond the last event, and nothing moves", function()
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

		it("W9f seeks away from an event that fails without end", function()
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

		it("W10a is saved in mode \"batch\" on stop, and not by itself while nobody commits", function()
			fill(store, 5)
			local registry = helper.registry(store)
			local saved = {}
			local watcher = assert(registry:watch("a", function(event) saved[event.seq_num] = checkpoint("a") or "none" end))
			drain(registry, watcher)
			assert.same({"none", "none", "none", "none", "none"}, saved)
			assert.is_true(watcher:stop())
			assert.equal(5, checkpoint("a"))
		end)

		it("W10b is saved in mode \"batch\" with the next commit, whoever makes it", function()
			fill(store, 5)
			local watcher, _, registry = watched("a")
			assert.is_nil(checkpoint("a"))
			assert(store:store_event("CREATE", "Job", nil))
			assert.equal(5, checkpoint("a"))
			assert.equal(after(5), watcher:stats().checkpoint_iterator)
			drain(registry, watcher)
			assert(store:store_checkpoint("somebody else", 1))
			assert.equal(6, checkpoint("a"))
		end)

		it("W10c is saved in mode \"batch\" by the clock, for all watchers at once", function()
			store = open{checkpoint_interval = 0.001}
			fill(store, 5)
			local registry = helper.registry(store)
			assert(registry:watch("a", function() end))
			assert(registry:watch("b", function() end, {filter = {object_types = {"None"}}}))
			drive(registry, function() return checkpoint("a") == 5 and checkpoint("b") == 5 end)
		end)

		it("W10d is saved in mode \"event\" after each event, before the next", function()
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

		it("W10e is saved in mode \"manual\" only when the handler asks", function()
			fill(store, 6)
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("a", function(event, ctx)
				if event.seq_num % 3 == 1 then assert(ctx.watcher:checkpoint(event.seq_num)) end
			end, {checkpoint = "manual"}))
			drain(registry, watcher)
			assert.equal(4, checkpoint("a"))
			assert(store:store_event("CREATE", "Job", nil))
			assert.equal(4, checkpoint("a"))
			assert.is_true(watcher:stop())
			assert.equal(4, checkpoint("a"))
			watched("b", {checkpoint = "manual"}):stop()
			assert.is_nil(checkpoint("b"))
		end)

		it("W10f is saved for a watcher that moved over events it did not want", function()
			fill(store, 5000, "Node")
			for _, mode in ipairs{"batch", "event"} do
				local watcher, seen = watched(mode, {checkpoint = mode, filter = {object_types = {"Job"}}})
				assert.same({}, seen)
				assert.is_true(watcher:stop())
				assert.equal(5000, checkpoint(mode))
			end
		end)

		it("W10g never passes an event that is still being retried", function()
			fill(store, 5)
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("a", function(event)
				if event.seq_num == 3 then error("poison") end
			end, {initial_backoff = 3600, max_backoff = 3600}))
			drive(registry, function() return watcher:stats().blocked_on == 3 end)
			assert(store:store_event("CREATE", "Job", nil))
			assert.equal(2, checkpoint("a"))
			assert.is_true(watcher:stop())
			assert.equal(2, checkpoint("a"))
		end)

		it("W10h never passes an event whose handler is still at it", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local inside
			assert(registry:watch("a", function(event)
				inside = event.seq_num
				if event.seq_num == 2 then vigia.sleep(3600) end
			end))
			drive(registry, function() return inside == 2 end)
			assert(store:store_event("CREATE", "Job", nil))
			assert.equal(1, checkpoint("a"))
		end)

		it("W10i is not moved back by a commit that comes after a seek", function()
			fill(store, 5)
			local watcher = watched("a")
			assert(watcher:seek_to_offset(1))
			assert(store:store_event("CREATE", "Job", nil))
			assert.equal(1, checkpoint("a"))
		end)

		it("W11a is where a watcher of the same id goes on", function()
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

		it("W12a is neither read nor written for an ephemeral watcher", function()
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

		it("W12b cannot be saved by hand for an ephemeral watcher, which seeks in memory", function()
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

		---- idle, started, started again ----

		it("W13a stays idle with auto_start = false until it is started", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local handler, seen = recorder()
			local watcher = assert(registry:watch("a", handler, {auto_start = false}))
			for _ = 1, 5 do registry:step() end
			assert.same({}, seen)
			assert.equal("idle", watcher:stats().state)
			fails("watcher_already_exists", registry:watch("a", handler))
			assert.is_true(assert(watcher:start()))
			assert.equal("running", watcher:stats().state)
			drain(registry, watcher)
			assert.same(range(1, 3), seen)
		end)

		it("W13b takes a handler once, and does not start without one", function()
			fill(store, 2)
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("a", nil, {auto_start = false}))
			assert.equal("a", fails("no_handler", watcher:start()).watcher_id)
			assert.equal("idle", watcher:stats().state)
			local handler, seen = recorder()
			assert.is_true(assert(watcher:set_handler(handler)))
			fails("handler_exists", watcher:set_handler(handler))
			assert.is_true(assert(watcher:start()))
			fails("handler_exists", watcher:set_handler(handler))
			drain(registry, watcher)
			assert.same({1, 2}, seen)
			fails("no_handler", registry:watch("b", nil, {auto_start = true}))
			fails("watcher_not_found", registry:get_watcher("b"))
		end)

		it("W13c is an error to start one that runs", function()
			local watcher = watched("a")
			mentions(fails("invalid_state", watcher:start()), "running")
			assert.equal("running", watcher:stats().state)
		end)

		it("W13d starts a stopped one again, at its checkpoint", function()
			fill(store, 4)
			local watcher, seen, registry = watched("a", {checkpoint = "manual"})
			assert(watcher:checkpoint(2))
			assert.is_true(watcher:stop())
			assert.is_true(assert(watcher:start()))
			drain(registry, watcher)
			assert.same({1, 2, 3, 4, 3, 4}, seen)
			assert.is_true(watcher:stop())
			assert(store:store_checkpoint("a", 3))
			assert.is_true(assert(watcher:start()))
			drain(registry, watcher)
			assert.same({1, 2, 3, 4, 3, 4, 4}, seen)
		end)

		---- states and stopping ----

		it("W14a goes from idle to running, stopping and stopped", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local states = {}
			local watcher
			watcher = assert(registry:watch("a", function(_, ctx)
				states[#states + 1] = watcher:stats().state
				states[#states + 1] = ctx.stopping
				watcher:stop()
				states[#states + 1] = watcher:stats().state
				states[#states + 1] = ctx.stopping
			end, {auto_start = false}))
			states[#states + 1] = watcher:stats().state
			assert(watcher:start())
			drive(registry, function() return watcher:stats().state == "stopped" end)
			assert.same({"idle", "running", false, "stopping", true}, states)
		end)

		it("W14b stops at once when it has nothing in progress, says so, and is stopped twice without harm", function()
			fill(store, 3)
			local watcher, seen, registry = watched("a")
			assert.is_true(watcher:stop{timeout = 0})
			assert.equal("stopped", watcher:stats().state)
			assert.is_true(watcher:stop())
			assert.is_true(watcher:stop{timeout = 0})
			fill(store, 2)
			for _ = 1, 5 do registry:step() end
			assert.same(range(1, 3), seen)
			local idle = assert(registry:watch("idle", function() end, {auto_start = false}))
			assert.is_true(idle:stop())
		end)

		it("W14c lets the handler in progress finish, and no further one begin", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local steps = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				steps[#steps + 1] = "begin " .. event.seq_num
				vigia.sleep(3600)
				steps[#steps + 1] = ctx.stopping and "stopping" or "not stopping"
				steps[#steps + 1] = "end " .. event.seq_num
			end))
			drive(registry, function() return #steps == 1 end)
			assert.is_true(watcher:stop())
			assert.same({"begin 1", "stopping", "end 1"}, steps)
			assert.equal("stopped", watcher:stats().state)
			assert.equal(1, checkpoint("a"))
		end)

		it("W14d ends vigia.sleep and long polls in a stopping watcher at once, with `stopping`", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local results = {}
			local watcher = assert(registry:watch("a", function()
				results[1] = table.pack(vigia.sleep(3600))
				results[2] = table.pack(vigia.sleep(3600))
				results[3] = table.pack(store:get_events{event_iterator = after(100), timeout = 3600})
			end))
			local poller = assert(registry:watch("b", function()
				results[4] = table.pack(store:get_events{event_iterator = after(100), timeout = 3600})
			end))
			for _ = 1, 10 do registry:step() end
			assert.is_true(watcher:stop())
			assert.is_true(poller:stop())
			for n = 1, 4 do assert.equal("stopping", fails("stopping", results[n][1], results[n][2]).code) end
		end)

		it("W14e still lets a stopping handler read what is there, store and checkpoint", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local read
			local watcher = assert(registry:watch("a", function(event, ctx)
				vigia.sleep(3600)
				read = assert(store:get_events{timeout = 0}).events
				assert(store:store_event("CREATE", "Job", "last words"))
				assert(ctx.watcher:checkpoint(event.seq_num))
			end))
			for _ = 1, 10 do registry:step() end
			assert.is_true(watcher:stop())
			assert.equal(1, #read)
			assert.equal("last words", assert(store:get_event(2)).object)
			assert.equal(1, checkpoint("a"))
		end)

		it("W14f does not retry a handler that fails while stopping", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local calls = 0
			local watcher = assert(registry:watch("a", function()
				calls = calls + 1
				vigia.sleep(3600)
				error("too late")
			end, QUICK))
			for _ = 1, 10 do registry:step() end
			assert.is_true(watcher:stop())
			assert.equal(1, calls)
			assert.is_nil(checkpoint("a"))
			assert.is_true(assert(watcher:start()))
			for _ = 1, 10 do registry:step() end
			assert.equal(2, calls)
		end)

		it("W14g does not wait for a retry when it is stopped", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("a", function() error("x") end, {initial_backoff = 3600, max_backoff = 3600}))
			drive(registry, function() return watcher:stats().failed == 1 end)
			assert.is_true(watcher:stop{timeout = 60})
			assert.equal("stopped", watcher:stats().state)
		end)

		it("W14h says false when it did not finish in time, and finishes later", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local sleeping, busy_in_time, sleeper_in_time, busy
			local sleeper = assert(registry:watch("sleeper", function()
				sleeping = true
				vigia.sleep(3600)
				busy_in_time = busy:stop{timeout = 0.001} -- it waits for this very handler, and cannot stop before
			end))
			busy = assert(registry:watch("busy", function()
				if not sleeping then error("not yet") end
				sleeper_in_time = sleeper:stop()
			end, QUICK))
			drive(registry, function() return busy:stats().state == "stopped" and sleeper:stats().state == "stopped" end)
			assert.same({false, true}, {busy_in_time, sleeper_in_time})
		end)

		---- what it says of itself ----

		it("W15a says where it stands and what it did", function()
			fill(store, 5)
			local registry = helper.registry(store)
			local before = os.time()
			local watcher = assert(registry:watch("a", function(event, ctx)
				if event.seq_num == 2 and ctx.attempt < 3 then error("twice") end
				if event.seq_num == 4 then error("never") end
			end, {initial_backoff = 0.001, max_backoff = 0.001, retry_strategy = "skip", max_retries = 3}))
			drain(registry, watcher)
			local stats = watcher:stats()
			assert(stats.last_listen_time // 1000000000 >= before - 1 and stats.last_listen_time // 1000000000 <= os.time() + 1)
			stats.last_listen_time = nil
			local last_error = stats.last_error
			stats.last_error = nil
			assert.same({
				id = "a", state = "running", next_event_iterator = after(5), lag = 0,
				last_processed_seq_num = 5, last_processed_event_time = assert(store:get_event(5)).timestamp,
				processed = 4, failed = 5, retried = 4, skipped = 1, missed = 0, fetch_errors = 0,
			}, stats)
			assert.same({"handler_error", 4, "a"}, {last_error.code, last_error.seq_num, last_error.watcher_id})
		end)

		it("W15b says that it did nothing before it did", function()
			local registry = helper.registry(store)
			local stats = assert(registry:watch("a", function() end, {auto_start = false})):stats()
			assert.same({
				id = "a", state = "idle", next_event_iterator = after(0), lag = 0, last_processed_seq_num = 0, last_processed_event_time = 0,
				last_listen_time = 0, processed = 0, failed = 0, retried = 0, skipped = 0, missed = 0, fetch_errors = 0,
			}, stats)
		end)

		it("W15c says how far it is behind, before the filter, and what it is blocked on", function()
			fill(store, 10)
			local registry = helper.registry(store)
			local blocked = assert(registry:watch("blocked", function(event)
				if event.seq_num == 4 then error("poison") end
			end, {initial_backoff = 3600, max_backoff = 3600}))
			drive(registry, function() return blocked:stats().blocked_on end)
			local stats = blocked:stats()
			assert.same({4, 7, after(3), 3}, {stats.blocked_on, stats.lag, stats.next_event_iterator, stats.last_processed_seq_num})
			mentions(stats.last_error, "poison")
			fill(store, 5)
			assert.equal(12, blocked:stats().lag)
			local idle = assert(registry:watch("idle", function() end, {auto_start = false, filter = {object_types = {"None"}}}))
			assert.equal(15, idle:stats().lag)
		end)

		it("W15d shows the checkpoint as an iterator", function()
			fill(store, 5)
			local watcher = watched("a", {checkpoint = "manual"})
			assert.is_nil(watcher:stats().checkpoint_iterator)
			assert(watcher:checkpoint(3))
			assert.equal(after(3), watcher:stats().checkpoint_iterator)
			assert(watcher:seek_to_offset(0))
			assert.equal(after(0), watcher:stats().checkpoint_iterator)
			assert.is_true(watcher:stop())
			assert.equal(after(0), watcher:stats().checkpoint_iterator)
		end)

		it("W15e answers a table of its own each time", function()
			local watcher = watched("a")
			watcher:stats().state = "changed"
			assert.equal("running", watcher:stats().state)
		end)

		---- from inside a handler ----

		it("W17a may store events, which it then sees itself", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local seen = {}
			local watcher = assert(registry:watch("a", function(event)
				seen[#seen + 1] = event.seq_num
				if event.seq_num < 5 then assert.equal(event.seq_num + 1, assert(store:store_event("CREATE", "Job", nil))) end
			end))
			drain(registry, watcher)
			assert.same(range(1, 5), seen)
		end)

		it("W17b may checkpoint its own watcher", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local results = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				assert(ctx.watcher:checkpoint(event.seq_num))
				results[event.seq_num] = checkpoint("a")
			end, {checkpoint = "manual"}))
			drain(registry, watcher)
			assert.same({1, 2, 3}, results)
		end)

		for _, mode in ipairs{"batch", "event", "manual"} do
			it("W17c may seek its own watcher, which moves when the handler returns: mode " .. mode, function()
				fill(store, 4)
				local registry = helper.registry(store)
				local seen = {}
				local watcher = assert(registry:watch("a", function(event, ctx)
					seen[#seen + 1] = event.seq_num
					if #seen == 3 then
						assert.is_true(assert(ctx.watcher:seek_to_offset(1)))
						seen[#seen + 1] = "sought"
					end
				end, {checkpoint = mode}))
				drain(registry, watcher)
				assert.same({1, 2, 3, "sought", 2, 3, 4}, seen)
			end)
		end

		it("W17d does not retry, nor save anything else, after a seek in a handler that then fails", function()
			fill(store, 4)
			local registry = helper.registry(store)
			local calls = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				calls[#calls + 1] = event.seq_num .. "." .. ctx.attempt
				if event.seq_num == 2 then
					assert(ctx.watcher:seek_to_offset(3))
					error("after the seek")
				end
				if event.seq_num == 4 then calls[#calls + 1] = checkpoint("a") end
			end, QUICK))
			drain(registry, watcher)
			assert.same({"1.1", "2.1", "4.1", 3}, calls)
		end)

		it("W17e refuses its own seek beyond the last event, and goes on", function()
			fill(store, 2)
			local registry = helper.registry(store)
			local handler_error, seen = nil, {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				seen[#seen + 1] = event.seq_num
				handler_error = fails("position_out_of_range", ctx.watcher:seek_to_offset(10))
			end))
			drain(registry, watcher)
			assert.same({1, 2}, seen)
			assert(handler_error)
		end)

		it("W17f may stop its own watcher, which returns at once and stops when the handler returns", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local seen = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				seen[#seen + 1] = event.seq_num
				if event.seq_num == 2 then seen[#seen + 1] = type(ctx.watcher:stop()) end
			end))
			drive(registry, function() return watcher:stats().state == "stopped" end)
			assert.same({1, 2, "boolean"}, seen)
			assert.equal(2, checkpoint("a"))
		end)

		it("W17g does not retry, nor pass the event, after a stop in a handler that then fails", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local calls = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				calls[#calls + 1] = event.seq_num
				if event.seq_num == 2 then
					ctx.watcher:stop()
					error("after the stop")
				end
			end, QUICK))
			drive(registry, function() return watcher:stats().state == "stopped" end)
			for _ = 1, 5 do registry:step() end
			assert.same({1, 2}, calls)
			assert.equal(1, checkpoint("a"))
		end)

		it("W17h saves what a seek said when a stop comes with it, in either order", function()
			for index, order in ipairs{{"seek_to_offset", "stop"}, {"stop", "seek_to_offset"}} do
				store = open()
				fill(store, 5)
				local registry = helper.registry(store)
				local calls = 0
				local watcher = assert(registry:watch("a", function(event, ctx)
					calls = calls + 1
					if event.seq_num ~= 3 then return end
					for _, method in ipairs(order) do ctx.watcher[method](ctx.watcher, method == "seek_to_offset" and 1 or nil) end
				end))
				drive(registry, function() return watcher:stats().state == "stopped" end)
				assert.equal(3, calls)
				if index == 1 then assert.equal(1, checkpoint("a")) end
			end
		end)

		it("W17i may watch others, stop others and move others", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local handler, seen = recorder()
			local watcher = assert(registry:watch("a", function(event)
				if event.seq_num == 1 then
					assert(registry:watch("b", handler))
				elseif event.seq_num == 3 then
					local other = assert(registry:get_watcher("b"))
					assert.is_true(other:stop())
					assert.equal("stopped", other:stats().state)
					assert(registry:watch("c", handler))
				end
			end))
			drain(registry, watcher)
			local c = assert(registry:get_watcher("c"))
			drain(registry, c)
			assert(#seen >= 3)
			assert.same({1, 2, 3}, table.move(seen, #seen - 2, #seen, 1, {}))
			fails("watcher_not_found", registry:get_watcher("d"))
		end)

		it("W17j may wait for another watcher whose handler is in progress to stop", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local ended, stopped
			local slow = assert(registry:watch("slow", function()
				vigia.sleep(3600)
				ended = true
			end))
			local watcher = assert(registry:watch("a", function() stopped = slow:stop() end))
			drain(registry, watcher)
			assert.is_true(stopped)
			assert.is_true(ended)
		end)

		---- options ----

		it("W18a names every wrong option in one error, and starts nothing", function()
			local registry = helper.registry(store)
			local message = raises(registry.watch, registry, "a", function() end, {
				initial_event_iterator = 5, filter = {object_types = "Job"}, batch_size = 0, buffer_size = 1.5, initial_backoff = -1,
				max_backoff = "long", jitter = "yes", retry_strategy = "never", max_retries = 0, checkpoint = "always", ephemeral = 1,
				auto_start = "no", on_error = "print", no_such_option = true,
			})
			mentions(message, "initial_event_iterator", "filter", "batch_size", "buffer_size", "initial_backoff", "max_backoff", "jitter",
				"retry_strategy", "max_retries", "checkpoint", "ephemeral", "auto_start", "on_error", "no_such_option")
			fails("watcher_not_found", registry:get_watcher("a"))
			assert(registry:watch("a", function() end))
		end)

		it("W18b says what is allowed, and which option may have been meant", function()
			local registry = helper.registry(store)
			local function message(options) return raises(registry.watch, registry, "a", function() end, options) end
			mentions(message{retry_strategy = "never"}, "block", "skip")
			mentions(message{checkpoint = "never"}, "batch", "event", "manual")
			mentions(message{max_retries = 0}, "max_retries", "0", "1")
			mentions(message{batchsize = 5}, "batchsize", "batch_size")
			mentions(message{[1] = true}, "1")
			for _, value in ipairs{0 / 0, math.huge, -math.huge} do mentions(message{initial_backoff = value}, "initial_backoff") end
		end)
	end)
end
