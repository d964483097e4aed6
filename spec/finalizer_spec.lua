-- finalizer_spec.lua - finalizers that close what the call they interrupt is about to use.

local helper = require "spec.helper"
local vigia = require "vigia"

-- Does nothing but what a store or registry is asked for; `use` is called over and over until a finalizer, which the garbage collector
-- may run wherever memory is allocated, has closed what it uses.
local function closed_meanwhile(close, use)
	local closed = false
	setmetatable({}, {__gc = function()
		closed = true
		close()
	end})
	local calls = 0
	repeat
		use()
		calls = calls + 1
	until closed or calls == 20000
	if not closed then close() end -- a call that allocates nothing is safe from it
end

-- Where the collector comes depends on how much there is already. What is used allocates little but what the call itself does. A normal run
-- tries a quarter of the places, others each second.
local EVERY <const> = os.getenv("VIGIA_SOAK") and 1 or 4
local FIRST <const> = (tonumber(os.getenv("VIGIA_SEED")) or os.time()) % EVERY

local function at_many_places(open, use)
	for garbage = FIRST, 60, EVERY do
		local object, close = open()
		local ballast = {}
		for n = 1, garbage do ballast[n] = {} end
		closed_meanwhile(close, function() use(object) end)
		assert(#ballast == garbage, "VIGIA_SEED=" .. FIRST)
	end
end

local function nothing() end

describe("a finalizer", function()
	setup(function() collectgarbage("incremental", 100, 1000) end)
	teardown(function() collectgarbage("incremental", 200, 100) end)
	after_each(helper.clean)

	local function open_store()
		local opened = helper.memory()
		return opened, function() opened:close() end
	end

	-- An idle watcher, and the registry it is in.
	local function watcher()
		local registry = assert(vigia.registry(helper.memory()))
		return {registry, assert(registry:watch("idle", nil, {auto_start = false}))}, function() local _ <close> = registry end
	end

	local list, request = {{"CREATE", "Job", true}}, {timeout = 0, limit = 1}
	local uses = {
		store_event = function(store) store:store_event("CREATE", "Job", true) end,
		store_events = function(store) store:store_events(list) end,
		get_events = function(store) store:get_events(request) end,
		get_event = function(store) store:get_event(1) end,
		registry = function(store) vigia.registry(store) end,
		stats = function(store) store:stats() end,
	}
	for name, use in pairs(uses) do
		it("may close the store of a call in progress: " .. name .. " [R3f S11q]", function() at_many_places(open_store, use) end)

		it("may close the store of a call in progress in a coroutine: " .. name .. " [R3g S11r]", function()
			local outer = helper.registry(helper.memory())
			local ok, err
			outer:spawn(function() ok, err = pcall(at_many_places, open_store, use) end)
			helper.drive(outer, function() return ok ~= nil end)
			assert(ok, err)
		end)
	end

	for name, arguments in pairs{store_event = '"CREATE", "Job", true', store_events = '{{"CREATE", "Job", true}}'} do
		it("may close the store where an append of a coroutine makes what it waits in: " .. name .. " [R3i S11s]", function()
			-- One step of the collector is a whole cycle, at the first allocation behind "restart". A process of its own: later there
			-- are some to be used again, and nothing is made.
			local output, ok = helper.run_lua("", ([[
				local store = assert(vigia.open(arg[1]))
				local registry = vigia.registry(store)
				collectgarbage("incremental", 100, 1000, 40)
				registry:spawn(function()
					collectgarbage("stop")
					local arguments, closed = {%s}, false
					setmetatable({}, {__gc = function()
						closed = true
						store:close()
					end})
					collectgarbage("restart")
					local number, err = store:%s(table.unpack(arguments))
					say(closed, number, err and err.code)
				end)
				registry:step()]]):format(arguments, name), helper.path("store"))
			assert(ok, output)
			assert.equal("true\tnil\tstore_closed\n", output)
		end)
	end

	local watchers = {
		watch = function(both) pcall(both[1].watch, both[1], "w", nothing) end,
		spawn = function(both) pcall(both[1].spawn, both[1], nothing) end,
		set_handler = function(both) pcall(both[2].set_handler, both[2], nothing) end,
		stats = function(both) pcall(both[2].stats, both[2]) end,
	}
	for name, use in pairs(watchers) do
		it("may close the registry of a call in progress: " .. name .. " [R3h]", function() at_many_places(watcher, use) end)
	end

	it("is refused a store or registry while its state closes, which nothing would close; what is open still works [R3z]", function()
		local output, ok = helper.run_lua("", [[
			local vigia = require "vigia"
			local store = assert(vigia.open(":memory:"))
			local registry = assert(vigia.registry(store))
			local function try()
				print(pcall(vigia.registry, store))
				print(pcall(vigia.open, ":memory:"))
				print(coroutine.wrap(function() return pcall(vigia.registry, store) end)())
				print(pcall(registry.watch, registry, "w", "handler.lua"))
				print(store:store_event("CREATE", "Job", 1))
			end
			local function early() assert(vigia.registry(store) and vigia.open(":memory:")) print "before" end
			setmetatable({}, {__gc = early})
			setmetatable({}, {__gc = function() return early() end})
			collectgarbage()
			last = setmetatable({}, {__gc = try})
			tail = setmetatable({}, {__gc = function() return try() end}) -- Lua no longer names the finalizer then]])
		assert(ok, output)
		local refused = "false\tvigia cannot be used while the Lua state is closing\n"
		assert.equal("before\nbefore\n" .. refused:rep(4) .. "1\n" .. refused:rep(4) .. "2\n", output)
	end)

	it("is called by a collector that works inside of a hook, as a debugger sets one [R3z]", function()
		-- Each refused watch leaves memory behind for its finalizer: the leak checker tells of one that freed nothing.
		local output, ok = helper.run_lua("", [[
			local vigia = require "vigia"
			local registry = assert(vigia.registry(assert(vigia.open(":memory:"))))
			local function refused() assert(not pcall(registry.watch, registry, "w", "handler.lua", {set = {x = print}})) end
			local inside = 0
			collectgarbage("incremental", 100, 1000, 40) -- a step is a whole cycle
			debug.sethook(function() end, "", 1)
			for _ = 1, 50 do
				local t = {}
				refused()
				setmetatable({}, {__gc = function()
					if debug.getinfo(1, "n").namewhat == "hook" then inside = inside + 1 end
				end})
				for i = 1, 200 do t[i] = i end
			end
			debug.sethook()
			print(inside > 0)]])
		assert(ok, output)
		assert.equal("true\n", output)
	end)
end)
