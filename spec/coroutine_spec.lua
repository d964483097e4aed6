-- coroutine_spec.lua - the coroutines of handlers and tasks in the hands of others, who resume, close or hook them.

local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local drive, fill, mentions = helper.drive, helper.fill, helper.mentions

-- Rounds until nothing is due.
local function drain(registry)
	while true do
		local worked, err = registry:step()
		assert(worked ~= nil, err)
		if not worked then return end
	end
end

-- What resuming it returns while it waits: no error, which would end it, but Lua's own message.
local WAITS <const> = {true, false, "cannot resume non-suspended coroutine"}

-- Arguments that would be in the way of what waits.
local function junk()
	local list = {}
	for n = 1, 150 do list[n] = n % 3 == 0 and {} or n % 3 == 1 and "junk" or n end
	return table.unpack(list)
end

for _, backend in ipairs(helper.backends) do
	describe("a handler's coroutine over a store of kind " .. backend.name, function()
		local store, registry, clock, records

		before_each(function()
			store, clock, records = backend.open{durability = "none"}, testing.clock(), {}
			registry = helper.registry(store, {clock = clock, log = function(level, message) records[#records + 1] = level .. " " .. message end})
		end)
		after_each(function()
			store, registry, clock = nil, nil, nil
			helper.clean()
		end)

		it("is not in the way when it is resumed or closed between two events [H2j R3k]", function()
			local co, handled = nil, {}
			local watcher = assert(registry:watch("a", function(event)
				co = coroutine.running()
				handled[#handled + 1] = event.seq_num
			end))
			for n = 1, 3 do
				fill(store, 1)
				drive(registry, function() return #handled == n end)
				drain(registry)
				assert.equal("dead", coroutine.status(co))
				assert.same({false, "cannot resume dead coroutine"}, {coroutine.resume(co, junk())})
				if n == 2 then assert.is_true(coroutine.close(co)) end
			end
			assert.same({1, 2, 3}, handled)
			assert.same({3, 0}, {watcher:stats().processed, watcher:stats().failed})
		end)

		it("goes on waiting when others resume it [H2k R3l]", function()
			fill(store, 1)
			local co, slept, got
			assert(registry:watch("a", function(event)
				co = coroutine.running()
				slept = table.pack(vigia.sleep(5))
				local never = {event_iterator = vigia.after_sequence_number(event.seq_num), filter = {object_types = {"No"}}, timeout = 7}
				got = table.pack(store:get_events(never))
			end))
			local function resumed_in_vain()
				drain(registry)
				for _ = 1, 20 do assert.same(WAITS, {coroutine.resume(co, junk())}) end
				local answer
				registry:spawn(function() answer = {coroutine.resume(co, junk())} end) -- by another coroutine of ours
				drain(registry)
				assert.same(WAITS, answer)
				assert.equal("suspended", coroutine.status(co))
			end
			resumed_in_vain()
			clock:advance(4.999)
			resumed_in_vain()
			assert.is_nil(slept)
			clock:advance(0.001)
			drain(registry)
			assert.same({true, n = 1}, slept)
			clock:advance(6.999)
			resumed_in_vain()
			assert.is_nil(got)
			clock:advance(0.001)
			drain(registry)
			assert.equal(1, got.n)
			assert.same({}, got[1].events)
		end)

		it("goes on waiting in a predicate when others resume it [H2l R3m]", function()
			fill(store, 2)
			local co, handled = nil, {}
			assert(registry:watch("a", function(event) handled[#handled + 1] = event.seq_num end, {where = function(event)
				co = coroutine.running()
				vigia.sleep(1)
				return event.seq_num == 2
			end}))
			for _ = 1, 2 do
				drain(registry)
				assert.same(WAITS, {coroutine.resume(co, junk())})
				clock:advance(1)
			end
			drain(registry)
			assert.same({2}, handled)
		end)

		it("fails the event when others close it while it waits, and the next attempt has a new one [H2m R3n]", function()
			fill(store, 1)
			local co, closed, attempts = nil, 0, 0
			local watcher = assert(registry:watch("a", function(_, ctx)
				co = coroutine.running()
				attempts = ctx.attempt
				local _ <close> = setmetatable({}, {__close = function() closed = closed + 1 end})
				if attempts == 1 then vigia.sleep(1) end
			end, {initial_backoff = 0.5}))
			drain(registry)
			assert.is_true(coroutine.close(co))
			assert.equal(1, closed)
			assert.equal("dead", coroutine.status(co))
			clock:advance(1)
			drain(registry)
			mentions(watcher:stats().last_error, "other code closed the handler's coroutine while it waited")
			assert.same({"handler_error", 1}, {watcher:stats().last_error.code, watcher:stats().last_error.seq_num})
			clock:advance(0.5)
			drain(registry)
			assert.same({2, 1, 1}, {attempts, watcher:stats().processed, watcher:stats().failed})
			assert.is_true(watcher:stop())
		end)

		it("does not call what was raised when it is resumed after a failure [H2j]", function()
			local co, called = nil, 0
			local raised = setmetatable({}, {__call = function() called = called + 1 end})
			assert(registry:watch("a", function() co = coroutine.running() error(raised) end))
			fill(store, 1)
			drive(registry, function() return co end)
			local failed = co
			assert.same({false, "cannot resume dead coroutine"}, {coroutine.resume(failed, junk())})
			registry:spawn(function() co = coroutine.running() error(raised) end)
			drive(registry, function() return co ~= failed end)
			assert.same({false, "cannot resume dead coroutine"}, {coroutine.resume(co, junk())})
			assert.equal(0, called)
		end)

		it("is told within a second when others close it in a wait without an end [H2m]", function()
			registry = helper.registry(store, {log = false})
			fill(store, 1)
			local co, failed, task, ended
			assert(registry:watch("b", function(_, ctx)
				if ctx.attempt > 1 then return end
				co = coroutine.running()
				store:get_events{event_iterator = vigia.after_sequence_number(1000), timeout = math.huge}
			end, {initial_backoff = 0.001, on_error = function() failed = true end}))
			registry:spawn(function()
				task = coroutine.running()
				local _ <close> = setmetatable({}, {__close = function() ended = true end})
				vigia.sleep(1e6)
			end)
			helper.drive(registry, function() return co and task end)
			assert(coroutine.close(co) and coroutine.close(task))
			assert(ended)
			local watcher = registry:get_watcher("b")
			local began = helper.now()
			helper.drive(registry, function() return failed and watcher:stats().processed == 1 end)
			assert(helper.now() - began < 20)
			-- The task is gone, too: nothing but the watcher is left to run.
			assert(watcher:stop())
			assert(registry:run())
		end)

		it("forgets the hook that an event left, or that others set meanwhile [H2n]", function()
			local co, fired, handled = nil, {}, 0
			assert(registry:watch("a", function(event)
				co = coroutine.running()
				if event.seq_num == 1 then debug.sethook(function() fired[#fired + 1] = "left" end, "crl", 1) end
				handled = event.seq_num
			end))
			fill(store, 1)
			drain(registry)
			assert.equal(1, handled)
			assert(#fired > 0)
			fired = {}
			fill(store, 1)
			drain(registry)
			assert.equal(2, handled)
			debug.sethook(co, function() fired[#fired + 1] = "set by others" end, "crl", 1)
			fill(store, 1)
			drain(registry)
			assert.equal(3, handled)
			assert.same({}, fired)
		end)

		it("runs under a hook of the event itself to the event's end [H2o]", function()
			local counts, lines = {}, 0
			assert(registry:watch("a", function()
				debug.sethook(function() lines = lines + 1 end, "l")
				local before = lines
				vigia.sleep(1)
				counts[#counts + 1] = lines - before
			end))
			fill(store, 1)
			drain(registry)
			clock:advance(1)
			drain(registry)
			assert(counts[1] and counts[1] > 0)
		end)
	end)
end

describe("a coroutine of a registry", function()
	after_each(helper.clean)

	it("runs a task once [H2p R3o]", function()
		local registry = helper.registry(helper.memory())
		local co, runs = nil, 0
		registry:spawn(function()
			co = coroutine.running()
			runs = runs + 1
		end)
		drain(registry)
		assert.equal("dead", coroutine.status(co))
		assert.same({false, "cannot resume dead coroutine"}, {coroutine.resume(co)})
		assert.is_true(coroutine.close(co))
		assert.equal(1, runs)
	end)

	for _, list in ipairs{false, true} do
		it("keeps what waits for its commit: " .. (list and "store_events" or "store_event") .. " [H2q R3p]", function()
			local store = helper.open()
			local registry = helper.registry(store)
			local co, got
			local answers = {}
			registry:spawn(function()
				co = coroutine.running()
				if list then got = table.pack(store:store_events{{"CREATE", "A", 1}, {"CREATE", "A", 2}})
				else got = table.pack(store:store_event("CREATE", "A", ("x"):rep(2000))) end
			end)
			-- In the same round: the first one waits, whether or not the commit is there already.
			registry:spawn(function() for n = 1, 3 do answers[n] = {coroutine.resume(co, junk())} end end)
			drive(registry, function() return got end)
			assert.same({WAITS, WAITS, WAITS}, answers)
			assert.same(list and {1, 2, n = 2} or {1, n = 1}, got)
		end)

		it("may be closed while it waits for its commit: it is stored: " .. (list and "store_events" or "store_event") .. " [H2r R3q]", function()
			local store = helper.open()
			local records = {}
			local registry = helper.registry(store, {log = function(_, message) records[#records + 1] = message end})
			local co, ended
			registry:spawn(function()
				co = coroutine.running()
				if list then store:store_events{{"CREATE", "A", 1}, {"CREATE", "A", ("x"):rep(2000)}}
				else store:store_event("CREATE", "A", ("x"):rep(2000)) end
				ended = true
			end)
			registry:spawn(function()
				assert(coroutine.close(co))
				co = nil
				for _ = 1, 3 do collectgarbage() end
			end)
			drive(registry, function() return #records > 0 end)
			mentions(records[1], "other code closed the handler's coroutine while it waited")
			assert.is_nil(ended)
			assert.equal(list and 2 or 1, store:get_latest_event_num())
			assert(registry:run())
		end)
	end

	it("may be closed while it waits for an event, and the store with it [H2s R3r]", function()
		local store = helper.open()
		local registry = helper.registry(store)
		local co
		registry:spawn(function()
			co = coroutine.running()
			store:get_events{event_iterator = vigia.after_sequence_number(0), timeout = 1000}
		end)
		drain(registry)
		assert.same(WAITS, {coroutine.resume(co)})
		assert(coroutine.close(co))
		fill(store, 1)
		drive(registry, function() return registry:run() end)
		store:close()
		assert.same({false, "cannot resume dead coroutine"}, {coroutine.resume(co)})
	end)

	it("answers those who resume it when its registry is gone [H2t R3s]", function()
		local store = helper.open()
		local co
		do
			local registry <close> = assert(vigia.registry(store))
			registry:spawn(function()
				co = coroutine.running()
				vigia.sleep(1000)
			end)
			registry:step()
		end
		collectgarbage()
		assert.same(WAITS, {coroutine.resume(co)})
		store:close()
		collectgarbage()
		assert.same(WAITS, {coroutine.resume(co, junk())})
		assert.is_true(coroutine.close(co))
	end)

	it("is no way around in a capped script [H2u H4x]", function()
		local store = helper.open(nil, {durability = "none"})
		local registry = helper.registry(store)
		local path = helper.write_file("capped.lua", [[
			local co
			return {
				handle = function(event, ctx)
					co = coroutine.running()
					local inner = coroutine.wrap(function() return {coroutine.resume(co, event, ctx, 1, 2, 3)} end)
					ctx.store:store_event("CREATE", "Answer", inner())
				end,
				-- Here it is idle.
				stop = function(ctx)
					ctx.store:store_event("CREATE", "Answer", {coroutine.resume(co, ctx, 1, 2, 3)})
					ctx.store:store_event("CREATE", "Answer", {coroutine.status(co), coroutine.close(co)})
				end,
			}]])
		local options = {memory_limit = 4 << 20, cpu_limit = 5, filter = {object_types = {"Job"}}}
		local watcher = assert(registry:watch("capped", path, options))
		fill(store, 1)
		helper.settle(registry, watcher)
		assert.is_true(watcher:stop())
		assert(watcher:start())
		fill(store, 1)
		helper.settle(registry, watcher)
		assert.is_true(watcher:stop())
		assert.same({2, 0}, {watcher:stats().processed, watcher:stats().failed})
		assert.is_nil(watcher:stats().stop_error)
		local objects = {}
		for n, object in ipairs(helper.objects(store, "Answer")) do objects[n] = {object[1], object[2]} end
		local running, dead = {false, "cannot resume non-suspended coroutine"}, {false, "cannot resume dead coroutine"}
		assert.same({running, dead, {"dead", true}, running, dead, {"dead", true}}, objects)
	end)

	it("may be driven for the last time by a finalizer, when all of it is garbage [H2v R3t]", function()
		for _, kind in ipairs{"watcher", "task", "log"} do
			local store = helper.memory()
			local handled = 0
			do
				local registry = assert(vigia.registry(store, {log = function() handled = handled + 1 end}))
				if kind == "watcher" then assert(registry:watch("a", function() handled = handled + 1 end))
				elseif kind == "task" then registry:spawn(function() handled = handled + 1 end)
				else assert(registry:watch("a", function() error("no luck", 0) end)) end
				fill(store, 1)
				setmetatable({}, {__gc = function()
					registry:step()
					registry:step()
				end})
			end
			collectgarbage()
			collectgarbage()
			assert.equal(1, handled, kind)
		end
	end)
end)
