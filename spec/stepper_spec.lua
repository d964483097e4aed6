-- stepper_spec.lua - what core/stepper makes of a store written in Lua: what is done next, and returns that no log could give.

local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local after = vigia.after_sequence_number

-- A store whose get_events returns what `script` says, and writes down what it is asked for.
local function scripted()
	local store = {asked = {}, saved = {}, latest = 9}
	function store:get_events(request)
		self.asked[#self.asked + 1] = request.event_iterator
		local answer = self.script(request)
		if answer then return answer end
		return {events = {}, next_event_iterator = request.event_iterator}
	end
	function store:get_latest_event_num() return self.latest end
	function store:get_oldest_event_num() return self.oldest or 1 end
	function store.store_event() return nil, "read only" end
	store.store_events = store.store_event
	function store:store_checkpoint(id, n)
		self.saved[#self.saved + 1] = n
		self.checkpoint = n
		return id ~= nil
	end
	function store:get_checkpoint()
		if self.checkpoint then return self.checkpoint end
		return nil, {code = "checkpoint_not_found"}
	end
	return store
end

describe("a watcher over a store that answers as it is told", function()
	local store, clock, registry

	before_each(function()
		store, clock = scripted(), testing.clock()
		registry = helper.registry(store, {clock = clock, log = function() end})
	end)
	after_each(function()
		store, clock, registry = nil, nil, nil
		helper.clean()
	end)

	it("reads, retries, gives up, listens, saves and stops, one after the other", function()
		local once = true
		function store.script()
			if not once then return end
			once = false
			return {events = {{seq_num = 2}, {seq_num = 5}}, next_event_iterator = after(9)}
		end
		local handler = testing.handler():fail_on(2)
		local watcher = assert(registry:watch("w", handler.handle, {max_retries = 2, retry_strategy = "skip"}))
		assert.equal("running", watcher:stats().state)
		assert(registry:run())
		assert.same({2}, handler:seq_nums())
		assert.equal(2, watcher:stats().blocked_on)
		clock:advance(0.199999)
		assert(registry:run())
		assert.same({2}, handler:seq_nums())
		clock:advance(0.000001)
		assert(registry:run())
		assert.same({2, 2, 5}, handler:seq_nums())
		assert.same({after(0), after(9)}, {store.asked[1], store.asked[2]})
		assert.same({}, store.saved)
		assert.is_true(watcher:stop())
		assert.same({9}, store.saved)
		local stats = watcher:stats()
		assert.equal("stopped", stats.state)
		assert.same({1, 1, 2, 1}, {stats.processed, stats.skipped, stats.failed, stats.retried})
	end)

	it("takes an answer that no log could give for a failed read, and reads again from where it was [R3a W7]", function()
		local answer
		function store.script()
			local given = answer
			answer = nil
			return given
		end
		local handler = testing.handler()
		local watcher = assert(registry:watch("w", handler.handle, {max_backoff = 0.2}))
		assert(registry:run())
		for n, wrong in ipairs{
			{next = vigia.trim_horizon(), events = {}}, {next = after(1), events = {{seq_num = 2}}},
			{next = after(3), events = {{seq_num = 2}, {seq_num = 2}}}, {next = after(3), events = {{seq_num = 0}}},
			{next = after(3), events = {{seq_num = -1}}}, {next = after(3), events = {{seq_num = 1.5}}}, {next = after(3), events = 5},
			{next = 3, events = {}}, {events = {}}, {next = after(3), events = {{seq_num = "1"}}}, {next = after(3), events = {{}}},
		} do
			answer = {events = wrong.events, next_event_iterator = wrong.next}
			clock:advance(1)
			assert(registry:run())
			local stats = watcher:stats()
			assert.same({n, "running", after(0)}, {stats.fetch_errors, stats.state, stats.next_event_iterator})
			assert.equal("watcher_error", stats.last_error.code)
			assert.equal(after(0), store.asked[#store.asked])
		end
		assert.same({}, handler:seq_nums())
		answer = {events = {{seq_num = 3}}, next_event_iterator = after(3)}
		clock:advance(1)
		assert(registry:run())
		assert.same({3}, handler:seq_nums())
	end)

	it("keeps the order of events, whatever a store returns at random [R3a W3]", function()
		local seed = math.tointeger(tonumber(os.getenv "VIGIA_SEED")) or os.time()
		math.randomseed(seed)
		local total = 0
		for _ = 1, 30 do
			local last, watcher = 0, nil
			store.checkpoint = nil
			function store.script(request)
				if math.random(6) == 1 then error("at random") end
				local n, events = math.max(0, request.event_iterator.seq_num - math.random(0, 1)), {}
				for index = 1, math.random(0, 3) do
					n = n + math.random(0, 2)
					events[index] = {seq_num = n}
				end
				store.oldest = math.random(0, 3)
				store.latest = math.max(store.latest, n)
				if math.random(9) == 1 then watcher:stop{timeout = 0} end
				return {events = events, next_event_iterator = after(n + math.random(0, 1))}
			end
			watcher = assert(registry:watch("w", function(event)
				assert(event.seq_num > last, ("%d after %d, VIGIA_SEED=%d"):format(event.seq_num, last, seed))
				last, total = event.seq_num, total + 1
				if math.random(7) == 1 then
					last = math.random(0, event.seq_num)
					watcher:seek_to_offset(last)
				end
				if math.random(5) == 1 then error("at random too") end
			end, {checkpoint = ({"batch", "event", "manual"})[math.random(3)], ephemeral = math.random(4) == 1, auto_start = false,
				initial_backoff = 0.001, max_retries = 1, retry_strategy = "skip"}))
			assert(watcher:start())
			for _ = 1, 60 do
				clock:advance(1)
				registry:step()
				if watcher:stats().state == "stopped" then
					last = watcher:stats().next_event_iterator.seq_num
					watcher:start()
				end
			end
			watcher:stop()
		end
		-- Not in each round: after returns that are wrong one after the other the watcher waits for longer than it lasts.
		assert(total > 100, ("%d events were handled, VIGIA_SEED=%d"):format(total, seed))
	end)
end)
