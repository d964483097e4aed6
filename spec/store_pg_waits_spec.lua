-- store_pg_waits_spec.lua - that nothing of a coroutine or a watcher waits for a PostgreSQL server on the thread of its registry.

local helper = require "spec.helper"
local lfs = require "lfs"
local postgres = require "spec.support.postgres"
local waiting = require "spec.support.waiting"
local vigia = require "vigia"

local server, why = postgres.start()
if not server then
	describe("what waits for a server", function()
		it("is tested where there is one", function() helper.pending(why) end)
	end)
	return
end

local module = assert(package.searchpath("vigia.core", package.cpath))
local build = module:gsub("/lua/vigia/core%.so$", "")
local preload = build .. "/spec/c/waits.so"
if preload:sub(1, 1) ~= "/" then preload = lfs.currentdir() .. "/" .. preload end

-- Makes all calls in a coroutine, and says in which of them its thread has waited.
local CALLS <const> = [[
	package.cpath = package.cpath .. ";" .. ... .. "/spec/c/?.so"
	local location = select(2, ...)
	local vigia, waits, waiting = require "vigia", require "waits", require "spec.support.waiting"
	local store = assert(vigia.open(location))
	local registry = assert(vigia.registry(store, {log = false}))
	local world = waiting.world(store, registry)
	local ended
	local function tell(name) -- the first is enough
		for _, stack in ipairs(waits.found()) do
			return print(name .. " waits in:" .. stack)
		end
	end
	assert(registry:spawn(function()
		waits.begin()
		for _, call in ipairs(waiting.calls) do
			local name, fn, expected = table.unpack(call)
			local results = table.pack(fn(world))
			local err = results[1] == nil and results[2] or nil
			if (err and err.code) ~= expected then print(name .. " returned: " .. tostring(err or results[1])) end
			tell(name)
		end
		ended = true
	end, {}))
	local late = os.time() + 50
	while not ended and os.time() < late do registry:step(0.1) end
	tell "a round"
	print(ended and "ended" or "hangs")
	os.exit(true, false)
]]

describe("a log on PostgreSQL", function()
	after_each(helper.clean)

	it("is waited for by no thread of a registry, whatever a coroutine asks [P4]", function()
		local said = helper.run_lua("LD_PRELOAD=" .. helper.quoted((helper.preload or "") .. ":" .. preload), CALLS, build, server:new_location())
		assert.equal("ended\n", said)
	end)

	it("that is silent holds up no coroutine beside the one that asks, and each fails in time [P4]", function()
		local TIMEOUT <const> = 1
		server:new_location()
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs, "&connect_timeout=" .. TIMEOUT))
		local registry = helper.registry(store, {log = false})
		local world = waiting.world(store, registry)
		local left, ticks, outcomes = 0, 0, {}
		proxy.stall("all")
		local begun_at, cpu = helper.now(), os.clock()
		for i, call in ipairs(waiting.calls) do
			left = left + 1
			assert(registry:spawn(function()
				local results = table.pack(pcall(call[2], world))
				local err = not results[1] and results[2] or results[2] == nil and results[3] or nil
				outcomes[i] = {name = call[1], code = err and (err.code or tostring(err)), after = helper.now() - begun_at}
				left = left - 1
			end))
		end
		assert(registry:spawn(function()
			while left > 0 do
				ticks = ticks + 1
				vigia.sleep(0.02)
			end
		end))
		local steps = {}
		while helper.now() < begun_at + 1.5 * TIMEOUT do
			local begun = helper.now()
			registry:step(0)
			steps[#steps + 1] = helper.now() - begun
			vigia.sleep(0.002)
		end
		local wall = helper.now() - begun_at
		cpu = os.clock() - cpu
		table.sort(steps)
		local longest, median = steps[#steps], steps[(#steps + 1) // 2]
		assert(longest < TIMEOUT / 2, ("a step took %.3f s"):format(longest))
		assert(median < 0.01, ("the median of %d steps is %.3f s"):format(#steps, median))
		assert(ticks > 10, ("another coroutine had %d turns"):format(ticks))
		assert(cpu < wall / 2, ("%.2f s of a processor in %.2f s"):format(cpu, wall))
		local done = 0
		for i in ipairs(waiting.calls) do
			local outcome = outcomes[i]
			if outcome then
				done = done + 1
				local code = outcome.code
				local known = code == nil or code == waiting.calls[i][3] or code == "store_unreachable" or code == "commit_unknown"
				assert(known, ("%s: %s"):format(outcome.name, code))
			end
		end
		assert(done > #waiting.calls // 2, ("only %d have ended"):format(done))
		assert(outcomes[1], "an append has not ended")
		assert(outcomes[1].after > TIMEOUT / 2, ("an append ended after %.2f s"):format(outcomes[1].after))
		proxy.stall()
		helper.drive(registry, function() return left == 0 end)
		helper.eventually(function() return store:get_latest_event_num() end)
	end)

	it("is waited for in a stop by the coroutines that ask", function()
		local store = helper.open(server:new_location())
		local registry = helper.registry(store)
		local got
		for n = 1, 3 do assert(store:store_event("CREATE", "Job", n)) end
		assert(registry:watch("w", function(_, ctx)
			if not got then ctx.tx:get("bucket", 1) end
			got = (got or 0) + 1
		end, {transactional = true}))
		local counts = {}
		assert(registry:spawn(function()
			for n = 1, 20 do counts[n] = assert(store:get_checkpoint("w") or 0) end
		end))
		registry:step(0)
		assert(registry:stop())
		assert.equal(20, #counts)
	end)

	it("tells a coroutine why a watcher could not start, which never was then", function()
		local store = helper.open(server:new_location())
		local first, second = helper.registry(store), helper.registry(store)
		local handler, seen = helper.recorder()
		assert(first:watch("w", function() end))
		local failed, free, watcher
		assert(second:spawn(function()
			failed = table.pack(second:watch("w", handler))
			free = table.pack(second:get_watcher("w"))
			while not watcher do
				vigia.sleep(0.01)
				watcher = second:watch("w", handler)
			end
		end))
		helper.drive(second, function() return free end)
		helper.fails("watcher_owned", table.unpack(failed, 1, 2))
		helper.fails("watcher_not_found", table.unpack(free, 1, 2))
		assert(first:stop())
		assert(store:store_event("CREATE", "Job", 1))
		helper.drive(second, function() return #seen == 1 end)
		assert.equal("running", watcher:stats().state)
	end)

	it("leaves nothing behind of a coroutine that is closed while it asks, nor of a registry", function()
		server:new_location()
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs, "&connect_timeout=1"))
		local world = waiting.world(store, helper.registry(store, {log = false}))
		local registry = helper.registry(store, {log = false})
		local asked, count = {}, 0
		local began = false
		assert(registry:watch("effects", function(_, ctx)
			began = true
			ctx.tx:get("bucket", 1)
		end, {transactional = true}))
		helper.drive(registry, function() return began end)
		proxy.stall("all")
		for i, call in ipairs(waiting.calls) do
			assert(registry:spawn(function()
				asked[i], count = coroutine.running(), count + 1
				pcall(call[2], world)
				asked[i] = nil
			end))
		end
		helper.drive(registry, function() return count == #waiting.calls end)
		for i = 1, #waiting.calls, 2 do
			if asked[i] then coroutine.close(asked[i]) end
		end
		collectgarbage()
		for _ = 1, 10 do registry:step(0) end
		registry:close()
		collectgarbage()
		proxy.stall()
		helper.eventually(function() return store:get_latest_event_num() end)
	end)

	it("has each of its methods in the spec above", function()
		local store = helper.open(server:new_location())
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("w", function() end))
		assert(store:transaction(function(tx)
			assert.same({}, waiting.missing{Store = store, Registry = registry, Watcher = watcher, Transaction = tx})
		end))
	end)
end)
