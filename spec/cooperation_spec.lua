-- cooperation_spec.lua - what waits in a registry's coroutine lets the others go on; the same called elsewhere blocks and works.

local helper = require "helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

describe("cooperation", function()
	after_each(helper.clean)

	it("lets the others go on while a handler sleeps [H2a]", function()
		local store = helper.open()
		helper.fill(store, 3)
		local clock = testing.clock()
		local registry = helper.registry(store, {clock = clock})
		local order = {}
		assert(registry:watch("sleeper", function(event, ctx)
			assert(vigia.sleep(1))
			order[#order + 1] = "sleeper " .. event.seq_num
			if event.seq_num == 1 then ctx.watcher:stop() end
		end))
		assert(registry:watch("quick", function(event, ctx)
			order[#order + 1] = "quick " .. event.seq_num
			if event.seq_num < 3 then return end
			clock:advance(1)
			ctx.watcher:stop()
		end))
		assert(registry:run())
		assert.same({"quick 1", "quick 2", "quick 3", "sleeper 1"}, order)
	end)

	it("lets the others go on while a handler waits for an event [H2b]", function()
		local store = helper.open()
		helper.fill(store, 1)
		local registry = helper.registry(store)
		local got
		assert(registry:watch("poller", function(_, ctx)
			local from = assert(store:get_events {event_iterator = vigia.latest()}).next_event_iterator
			local answer = assert(store:get_events {event_iterator = from, filter = {object_types = {"Answer"}}, timeout = 10})
			ctx.watcher:stop()
			got = answer.events[1] and answer.events[1].object or "nothing: nobody else could go on"
		end, {filter = {object_types = {"Job"}}}))
		assert(registry:watch("answerer", function(_, ctx)
			assert(store:store_event("CREATE", "Noise", nil)) -- wakes the poller, who must wait on
			assert(store:store_event("CREATE", "Answer", 42))
			ctx.watcher:stop()
		end, {filter = {object_types = {"Job"}}}))
		assert(registry:run())
		assert.equal(42, got)
	end)

	it("shares commits among coroutines that append [H2c]", function()
		local store = helper.open()
		local registry = helper.registry(store)
		local before, numbers = store:stats().commits, {}
		for _ = 1, 100 do
			assert(registry:spawn(function()
				for _ = 1, 10 do
					local number = assert(store:store_event("CREATE", "Job", nil))
					numbers[#numbers + 1] = number
				end
			end))
		end
		assert(registry:run())
		table.sort(numbers)
		assert.same(helper.range(1, 1000), numbers)
		local commits = store:stats().commits - before
		assert.is_true(commits <= 200, "1000 appends of 100 coroutines took " .. commits .. " commits")
	end)

	it("tells each coroutine what became of its own append [H2d]", function()
		local store = helper.open()
		local registry = helper.registry(store)
		local first, last, refused
		registry:spawn(function() first, last = store:store_events {{"CREATE", "A", 1}, {"CREATE", "A", 2}} end)
		registry:spawn(function() refused = select(2, store:store_event("", "A", 1)) end)
		registry:spawn(function() assert.has_error(function() store:store_event() end) end)
		assert(registry:run())
		assert.same({1, 2}, {first, last})
		assert.equal("invalid_argument", refused.code)
		assert.equal(2, store:get_latest_event_num())
	end)

	it("blocks, and works, in a sort callback and in a coroutine of the user's own [H2e]", function()
		local store = helper.open()
		local registry = helper.registry(store)
		local sorted, numbers = {3, 1, 2}, {}
		registry:spawn(function()
			table.sort(sorted, function(a, b)
				assert(vigia.sleep(0))
				assert(store:store_event("CREATE", "Compared", nil))
				return a < b
			end)
			local co = coroutine.wrap(function()
				numbers[1] = assert(store:store_event("CREATE", "Mine", nil))
				local answer = assert(store:get_events {filter = {object_types = {"Mine"}}})
				coroutine.yield(#answer.events)
			end)
			numbers[2] = co()
		end)
		assert(registry:run())
		assert.same({1, 2, 3}, sorted)
		assert.equal(store:get_latest_event_num(), numbers[1])
		assert.equal(1, numbers[2])
	end)

	it("ends sleeps and polls of a stopping registry, but no append [H2f]", function()
		local store = helper.open()
		local registry = helper.registry(store)
		local codes, stored = {}, nil
		registry:spawn(function() codes[1] = select(2, vigia.sleep(1000)).code end)
		registry:spawn(function()
			local wait = {event_iterator = vigia.after_sequence_number(0), timeout = 1000}
			codes[2] = select(2, store:get_events(wait)).code
		end)
		registry:spawn(function() stored = store:store_event("CREATE", "Job", nil) end)
		registry:step(0)
		assert(registry:stop {timeout = 60})
		assert.same({"stopping", "stopping"}, codes)
		assert.equal(1, stored)
	end)

	it("reports an error in a spawned function and goes on [H2g]", function()
		local store = helper.open()
		local records = {}
		local registry = helper.registry(store, {log = function(level, message) records[#records + 1] = level .. " " .. message end})
		local ran = false
		registry:spawn(function() error("broken") end)
		registry:spawn(function() ran = true end)
		assert(registry:run())
		assert.is_true(ran)
		assert.equal(1, #records)
		assert.matches("^error a task failed: .*broken.*traceback", records[1])
	end)

	it("stores what a dropped coroutine had submitted [H2h]", function()
		local store = helper.open()
		do
			local registry = assert(vigia.registry(store))
			registry:spawn(function() store:store_event("CREATE", "Job", "dropped") end)
			registry:step(0)
		end
		collectgarbage()
		collectgarbage()
		assert.equal("dropped", store:get_event(1).object)
	end)

	it("works on another store than the registry's, which its appends do not wake [H2i]", function()
		local store, other = helper.open(), helper.open(helper.path("other"))
		local registry = helper.registry(store)
		local stored, found
		registry:spawn(function()
			stored = assert(other:store_event("CREATE", "Job", nil))
			assert(vigia.sleep(0.01))
			assert(other:store_event("CREATE", "Answer", nil))
		end)
		registry:spawn(function()
			local wait = {event_iterator = vigia.after_sequence_number(0), filter = {object_types = {"Answer"}}, timeout = 60}
			found = #assert(other:get_events(wait)).events
		end)
		assert(registry:run())
		assert.same({1, 1}, {stored, found})
	end)

	-- How often the threads of this process gave up the processor by themselves.
	local function switches()
		local count = 0
		for task in pairs(helper.thread_ids()) do
			local status = helper.read_file("/proc/self/task/" .. task .. "/status")
			count = count + (tonumber(status:match("\nvoluntary_ctxt_switches:%s*(%d+)")) or 0)
		end
		return count
	end

	local SECONDS <const> = 5

	-- What an idle watcher is, and how its application waits.
	local IDLE <const> = {
		["a function, in step"] = function(registry)
			assert(registry:watch("idle", function() end))
			return function() registry:step(SECONDS) end
		end,
		["a function, behind pollfd"] = function(registry)
			assert(registry:watch("idle", function() end))
			assert(registry:pollfd())
			return function() vigia.sleep(SECONDS) end
		end,
		["a script, in step"] = function(registry)
			assert(registry:watch("idle", helper.write_file("idle.lua", "return function() end")))
			return function() registry:step(SECONDS) end
		end,
		["a task that sleeps, in step"] = function(registry)
			assert(registry:spawn(function() vigia.sleep(3600) end))
			return function() registry:step(SECONDS) end
		end,
	}

	for name, prepare in pairs(IDLE) do
		it("an idle registry makes no context switch in 5 s but the check once a second: " .. name .. " [S6]", function()
			if helper.tsan then return helper.pending("the sanitizer has a thread that wakes up") end
			local registry = helper.registry(helper.open())
			local wait = prepare(registry)
			repeat until not registry:step(0)
			-- On a busy machine there is one now and then (a page that is not there, a lock of the system's): the quietest of a few counts.
			local made = math.huge
			for _ = 1, 4 do
				local before = switches()
				wait()
				made = math.min(made, switches() - before)
				if made <= SECONDS + 3 then break end
			end
			assert(made <= SECONDS + 3, made .. " switches in 5 s") -- beside the checks: falling asleep, once for each thread
		end)
	end
end)
