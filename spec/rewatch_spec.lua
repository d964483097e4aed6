-- rewatch_spec.lua - an id that is watched again and again: what is left of the watchers that had it before.

local helper = require "spec.helper"

local drain, drive, fails, fill, mentions = helper.drain, helper.drive, helper.fails, helper.fill, helper.mentions

-- A sanitizer keeps freed memory for a while: there this looks for use after free, not for growth.
local sanitized = helper.sanitized

-- By how many bytes a process grows with each round, when it has settled. In a process of its own: in this one there is room from before.
local MEASURE <const> = [[
	local what, count, path = arg[1], tonumber(arg[2]), arg[3]
	local store = assert(vigia.open(what == "lmdb" and path .. "/store" or ":memory:", {durability = "none"}))
	if what == "Lua" then store = require "vigia.wrapper".new(store, {}) end
	local registry = vigia.registry(store)
	local options = what ~= "script" and {on_error = function() end, where = function() return true end} or nil
	local function rounds()
		for n = 1, count do
			local watcher = assert(registry:watch("a", what == "script" and path or function() end, options))
			registry:step(0)
			assert(watcher:stop())
			watcher = nil -- luacheck: ignore
			if n % 50 == 0 then collectgarbage() end -- how many wait for the collector is not what is measured
		end
		collectgarbage()
		collectgarbage()
		for line in io.lines("/proc/self/status") do
			local resident = line:match("VmRSS:%s*(%d+)")
			if resident then return resident * 1024 end
		end
	end
	local before, after = rounds(), nil
	for _ = 1, 5 do after = rounds() end -- a system may give two megabytes at once: that is little, then, for each
	say((after - before) // (5 * count))]]

local function growth(what, count, path)
	if sanitized then count = count // 20 end
	return tonumber((helper.child(MEASURE, what, count, path or helper.path()):line()))
end

describe("an id that is watched again and again", function()
	after_each(helper.clean)

	for _, what in ipairs{"memory", "lmdb", "Lua"} do
		it("costs no memory: functions over a store of kind " .. what .. " [W1k]", function()
			local each = growth(what, 5000)
			assert(sanitized or each < 200, each .. " bytes each time")
		end)
	end

	it("costs no memory: scripts [W1l]", function()
		local each = growth("script", 300, helper.write_file("quiet.lua", "return function() end"))
		assert(sanitized or each < 2000, each .. " bytes each time")
	end)

	it("leaves the handles of the ones before as they are, for as long as somebody has them [W1m]", function()
		local store = helper.memory()
		fill(store, 1)
		local registry = helper.registry(store)
		local kept, contexts = {}, {}
		for n = 1, 20 do
			local watcher = assert(registry:watch("a", function(_, ctx)
				contexts[n] = ctx
				error("no " .. n)
			end, {retry_strategy = "skip", max_retries = 1, ephemeral = true}))
			drain(registry, watcher)
			assert(watcher:stop())
			if n % 2 == 1 then kept[n] = watcher end
			if n % 4 == 0 then contexts[n] = nil end
			watcher = nil -- luacheck: ignore
			collectgarbage()
			collectgarbage()
		end
		assert(registry:watch("a", function() end, {ephemeral = true, initial_event_iterator = require "vigia".latest()}))
		registry:step(0)
		for n, watcher in pairs(kept) do
			local stats = watcher:stats()
			assert.same({"a", "stopped", 1}, {stats.id, stats.state, stats.failed})
			mentions(stats.last_error, "no " .. n)
			assert.is_true(watcher:stop())
			fails("invalid_state", watcher:start())
			fails("watcher_ephemeral", watcher:checkpoint(1))
			mentions(watcher, "vigia.Watcher: a")
		end
		for n, ctx in pairs(contexts) do -- a context keeps its watcher
			assert.is_false(ctx.stopping)
			mentions(ctx.watcher:stats().last_error, "no " .. n)
		end
		assert.equal("running", registry:get_watcher("a"):stats().state)
	end)

	it("may be watched anew by the log function that is told of it, and by a handler of another one [W1n]", function()
		local store = helper.memory()
		fill(store, 3)
		local registry, again
		local round = 0
		registry = helper.registry(store, {log = function(_, message)
			if not message:find("event failed", 1, true) or again then return end
			again = true
			assert(registry:get_watcher("a"):stop{timeout = 0})
			assert(registry:watch("a", function() round = round + 1 end, {ephemeral = true}))
			for _ = 1, 3 do collectgarbage() end
		end})
		assert(registry:watch("a", function() error("x") end, {ephemeral = true}))
		drive(registry, function() return round == 3 end)

		local done = 0
		assert(registry:watch("other", function(event)
			assert(registry:get_watcher("a"):stop())
			assert(registry:watch("a", function() done = done + 1 end, {ephemeral = true}))
			for _ = 1, 3 do collectgarbage() end
			if event.seq_num == 3 then return end
			error("once more", 0)
		end, {retry_strategy = "skip", max_retries = 2, initial_backoff = 0.001}))
		drive(registry, function() return registry:get_watcher("other"):stats().lag == 0 and done >= 3 end)
	end)

	it("is not harmed by a finalizer that still sees the context of a watcher that goes [W1o]", function()
		local store = helper.memory()
		fill(store, 1)
		local registry = helper.registry(store)
		local seen = {}
		for _ = 1, 20 do
			local context
			local watcher = assert(registry:watch("a", function(_, ctx) context = ctx end, {ephemeral = true}))
			drain(registry, watcher)
			assert(watcher:stop())
			local see <const> = {watcher = watcher, context = context}
			setmetatable(see, {__gc = function()
				assert(see.context.stopping == false and see.context.watcher == see.watcher)
				seen[#seen + 1] = {pcall(function() return see.watcher:stats().id end)}
			end})
		end
		assert(registry:watch("a", function() end, {ephemeral = true}))
		collectgarbage()
		collectgarbage()
		assert.equal(20, #seen)
		for _, result in ipairs(seen) do
			if result[1] then assert.equal("a", result[2]) else mentions(result[2], "closed") end
		end
	end)
end)
