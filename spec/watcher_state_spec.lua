-- watcher_state_spec.lua - a watcher's life: idle, started, stopped, started again; and what it says of itself.

local helper = require "spec.helper"
local vigia = require "vigia"

local drain, drive, fails, fill, mentions = helper.drain, helper.drive, helper.fails, helper.fill, helper.mentions
local range, recorder = helper.range, helper.recorder
local after = vigia.after_sequence_number

local QUICK = {initial_backoff = 0.001, max_backoff = 0.001}

for _, backend in ipairs(helper.backends) do
	-- No progress is saved by the clock here: only by what the spec does.
	local function open(options) return backend.open(options or {checkpoint_interval = 3600}) end

	describe("a watcher's life over a store of kind " .. backend.name, function()
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

		before_each(function() store = open() end)
		after_each(helper.clean)

		---- idle, started, started again ----

		it("stays idle with auto_start = false until it is started [W13a]", function()
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

		it("takes a handler once, and does not start without one [W13b]", function()
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

		it("is an error to start one that runs [W13c]", function()
			local watcher = watched("a")
			mentions(fails("invalid_state", watcher:start()), "running")
			assert.equal("running", watcher:stats().state)
		end)

		it("starts a stopped one again, at its checkpoint [W13d]", function()
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

		it("goes from idle to running, stopping and stopped [W14a]", function()
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

		it("stops at once when it has nothing in progress, says so, and is stopped twice without harm [W14b]", function()
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

		it("lets the handler in progress finish, and no further one begin [W14c]", function()
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

		it("ends vigia.sleep and long polls in a stopping watcher at once, with `stopping` [W14d]", function()
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

		it("still lets a stopping handler read what is there, store and checkpoint [W14e]", function()
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

		it("does not retry a handler that fails while stopping [W14f]", function()
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

		it("does not wait for a retry when it is stopped [W14g]", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("a", function() error("x") end, {initial_backoff = 3600, max_backoff = 3600}))
			drive(registry, function() return watcher:stats().failed == 1 end)
			assert.is_true(watcher:stop{timeout = 60})
			assert.equal("stopped", watcher:stats().state)
		end)

		it("says false when it did not finish in time, and finishes later [W14h]", function()
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

		it("says where it stands and what it did [W15a]", function()
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
				processed = 4, failed = 5, retried = 4, skipped = 1, dead_lettered = 0, missed = 0, fetch_errors = 0, paused = false,
			}, stats)
			assert.same({"handler_error", 4, "a"}, {last_error.code, last_error.seq_num, last_error.watcher_id})
		end)

		it("says that it did nothing before it did [W15b]", function()
			local registry = helper.registry(store)
			local stats = assert(registry:watch("a", function() end, {auto_start = false})):stats()
			assert.same({
				id = "a", state = "idle", next_event_iterator = after(0), lag = 0, last_processed_seq_num = 0, last_processed_event_time = 0,
				last_listen_time = 0, processed = 0, failed = 0, retried = 0, skipped = 0, dead_lettered = 0, missed = 0, fetch_errors = 0,
				paused = false,
			}, stats)
		end)

		it("says how far it is behind, before the filter, and what it is blocked on [W15c]", function()
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

		it("shows the checkpoint as an iterator [W15d]", function()
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

		it("returns a table of its own each time [W15e]", function()
			local watcher = watched("a")
			watcher:stats().state = "changed"
			assert.equal("running", watcher:stats().state)
		end)
	end)
end
