-- error_spec.lua - errors: what raises and what is returned, what they hold, and that nothing from outside does harm.

local helper = require "spec.helper"
local vigia = require "vigia"

local fails, mentions = helper.fails, helper.mentions

describe("wrong use", function()
	after_each(helper.clean)

	it("raises, with the argument named, for a missing or wrong argument [R1d]", function()
		local store = helper.memory()
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("a", function() end))
		for _, case in ipairs{
			{"path", vigia.open}, {"path", vigia.open, {}}, {"options", vigia.open, ":memory:", 5},
			{"n", vigia.at_sequence_number}, {"n", vigia.after_sequence_number, "x"},
			{"t:", vigia.array}, {"t:", vigia.array, 5},
			{"seconds", vigia.sleep}, {"seconds", vigia.sleep, "x"}, {"seconds", vigia.sleep, -1}, {"seconds", vigia.sleep, 0 / 0},
			{"Store", vigia.registry}, {"Store", vigia.registry, {}}, {"options", vigia.registry, store, 5},
			{"event", vigia.to_json}, {"event", vigia.to_json, 5},
			{"operation", store.store_event, store}, {"object_type", store.store_event, store, "CREATE"},
			{"events", store.store_events, store}, {"events", store.store_events, store, 5},
			{"request", store.get_events, store, 5},
			{"n", store.get_event, store}, {"n", store.get_event, store, "1"}, {"n", store.get_event, store, 1.5},
			{"timestamp", store.find_time, store}, {"timestamp", store.find_time, store, "now"},
			{"n", store.trim, store}, {"n", store.trim, store, -1},
			{"watcher_id", store.store_checkpoint, store}, {"n", store.store_checkpoint, store, "a"},
			{"n", store.store_checkpoint, store, "a", -1}, {"watcher_id", store.get_checkpoint, store, 5},
			{"watcher_id", store.delete_checkpoint, store, {}},
			{"id", registry.watch, registry}, {"id", registry.watch, registry, 5, print},
			{"handler", registry.watch, registry, "b", 5}, {"handler", registry.watch, registry, "b", {}},
			{"options", registry.watch, registry, "b", print, 5},
			{"id", registry.get_watcher, registry}, {"timeout", registry.step, registry, "x"}, {"timeout", registry.step, registry, -1},
			{"timeout", registry.stop, registry, {timeout = "x"}}, {"options", registry.stop, registry, 5},
			{"n", watcher.checkpoint, watcher}, {"n", watcher.checkpoint, watcher, 1.5}, {"n", watcher.seek_to_offset, watcher, -1},
			{"handler", watcher.set_handler, watcher}, {"handler", watcher.set_handler, watcher, {}},
			{"timeout", watcher.stop, watcher, {timeout = -1}}, {"options", watcher.stop, watcher, 5},
		} do
			local ok, message = pcall(table.unpack(case, 2))
			assert(not ok, case[1] .. " was taken: " .. tostring(case[4]))
			mentions(message, case[1])
		end
	end)

	it("raises for a method called on something else [R1e]", function()
		local store = helper.memory()
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("a", function() end))
		for _, object in ipairs{store, registry, watcher} do
			local methods = debug.getmetatable(object).__index
			for name, method in pairs(methods) do
				for _, other in ipairs{io.stdout, {}, 5, "x", vigia.null, object == store and registry or store} do
					assert(not pcall(method, other), name)
				end
				assert(not pcall(method), name)
			end
		end
	end)

	it("points to where it was called from [R1h]", function()
		local store = helper.memory()
		for _, call in ipairs{
			function() local registry = vigia.registry() return registry end,
			function() local registry = vigia.registry(store, {logg = print}) return registry end,
			function() local registry = vigia.registry({}) return registry end,
			function() local event = store:store_event() return event end,
			function() local iterator = vigia.at_sequence_number() return iterator end,
		} do
			local message = helper.raises(call)
			assert(message:find("error_spec.lua:" .. debug.getinfo(call, "S").linedefined .. ": bad argument #", 1, true), message)
		end
	end)

	it("returns what can go wrong at run time [R1f]", function()
		local store = helper.memory()
		fails("checkpoint_not_found", store:get_checkpoint("a"))
		fails("event_not_found", store:get_event(1))
		fails("serialization_error", store:store_event("CREATE", "Job", print))
		fails("store_not_found", vigia.open("/no/such/folder/store"))
		fails("watcher_not_found", helper.registry(store):get_watcher("a"))
	end)
end)

describe("an error", function()
	after_each(helper.clean)

	it("has a code, a message that tostring gives, and the number of the event it is about [R2a]", function()
		local _, err = helper.memory():get_event(7)
		assert.equal("event_not_found", err.code)
		assert.is_string(err.message)
		assert.equal(err.message, tostring(err))
		assert.equal(7, err.seq_num)
		assert.is_nil(err.watcher_id)
	end)

	it("has the id of the watcher it is about [R2b]", function()
		local store = helper.memory()
		local registry = helper.registry(store)
		for _, err in ipairs{
			select(2, store:get_checkpoint("a")), select(2, registry:get_watcher("a")),
			registry:watch("a", print, {ephemeral = true}) and select(2, registry:watch("a", print)),
			select(2, assert(registry:get_watcher("a")):checkpoint(0)), select(2, helper.registry(store):watch("a")),
			select(2, helper.registry(store):watch("a", "none.lua")),
		} do
			assert.equal("a", err.watcher_id, tostring(err))
			mentions(err, "a")
		end
	end)

	it("has the cause: what a handler raised, as it was [R2c]", function()
		local store = helper.memory()
		helper.fill(store, 1)
		local registry = helper.registry(store)
		local thrown = {code = 42}
		local told
		assert(registry:watch("a", function() error(thrown) end, {retry_strategy = "skip", max_retries = 1, on_error = function(err)
			told = err
		end}))
		helper.drive(registry, function() return told end)
		assert.equal("handler_error", told.code)
		assert.equal(thrown, told.cause)
		assert.equal(1, told.seq_num)
		assert.equal("a", told.watcher_id)
	end)

	it("has the cause: what the system said [R2d]", function()
		local _, err = vigia.open("/proc/nothing can be made here")
		assert.is_string(err.cause)
		mentions(err, "/proc/nothing can be made here", err.cause)
	end)

	it("tells watcher, checkpoint, handler and serialization errors apart by stable codes [R2e]", function()
		local store = helper.memory()
		helper.fill(store, 1)
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("a", function() error("x") end, {initial_backoff = 0.001}))
		helper.drive(registry, function() return watcher:stats().last_error end)
		local codes = {}
		for _, err in ipairs{
			select(2, registry:get_watcher("none")), select(2, store:get_checkpoint("none")), watcher:stats().last_error,
			select(2, store:store_event("CREATE", "Job", print)),
		} do
			codes[#codes + 1] = err.code
		end
		assert.same({"watcher_not_found", "checkpoint_not_found", "handler_error", "serialization_error"}, codes)
	end)

	it("can be raised by assert and caught with all it holds [R2f]", function()
		local store = helper.memory()
		local plain_assert = require "_G".assert -- the specs' own makes a string of it
		local ok, err = pcall(function() plain_assert(store:get_event(7)) end)
		assert.is_false(ok)
		assert.equal("event_not_found", err.code)
		mentions("it says: " .. tostring(err), "7")
	end)

	it("holds ids of any bytes as they are [R2g]", function()
		local store = helper.memory()
		for _, id in ipairs{"a\nb", "\27[31m", "\xff\xfe", "%s%d", ("x"):rep(255)} do
			assert.equal(id, fails("checkpoint_not_found", store:get_checkpoint(id)).watcher_id)
		end
	end)
end)

describe("whatever comes from outside", function()
	after_each(helper.clean)

	-- Values to throw at everything, among them tables and metatables that fight back.
	local function hostile(store, registry, watcher)
		local cycle = {}
		cycle[1], cycle.self = cycle, cycle
		local function fight() error("fought back") end
		local fighting = setmetatable({}, {__index = fight, __newindex = fight, __len = fight, __pairs = fight, __tostring = fight,
			__eq = fight, __call = fight, __gc = fight, __close = fight, __name = 5, __concat = fight})
		local growing = setmetatable({}, {__index = function() return {} end, __len = function() return math.maxinteger end})
		return {store = store,
			0, 1, -1, 2, 1000000, math.maxinteger, math.mininteger, 1.5, -0.0, 0 / 0, math.huge, -math.huge, 1e300, true, false,
			"", "a", "CREATE", "Job", "a\0b", "\xff", ("x"):rep(300), ("x"):rep(3000000), "%s%n%d", "5", ":memory:x", vigia.null,
			{}, {1, 2, 3}, {"CREATE", "Job", 1}, {{"CREATE", "Job", 1}}, {{}, {}}, {{"CREATE"}}, {[1] = {}, [3] = 5},
			{operation = "CREATE", object_type = "Job"}, {timeout = 0}, {limit = -1}, {event_iterator = vigia.latest(), timeout = 0},
			{timeout = 0, limit = 1, filter = {object_types = {"Job"}}}, {filter = {object_types = {{}}}, timeout = 0},
			cycle, fighting, growing, {fighting, growing}, rawequal, fight, coroutine.create(fight), coroutine.wrap(fight), io.stdout,
			setmetatable({}, {__mode = "kv"}), setmetatable({}, {__index = _G}), vigia.array{}, vigia.array{x = 1}, vigia.trim_horizon(),
			vigia.at_sequence_number(2), vigia.after_sequence_number(math.maxinteger), store, registry, watcher,
			select(2, store:get_event(99)), store:get_event(1), debug.getmetatable(store), math.pi,
		}
	end

	-- Arguments that are right but for one hostile value, so that it gets past the first check.
	local function nothing() end
	local names = {
		get_events = {"event_iterator", "limit", "filter", "where", "watcher_id"},
		watch = {"initial_event_iterator", "filter", "where", "batch_size", "buffer_size", "initial_backoff", "max_backoff", "jitter",
			"retry_strategy", "max_retries", "on_gap", "on_damage", "checkpoint", "ephemeral", "auto_start", "on_error"},
		open = {"serializer", "readonly", "create", "allow_network_fs", "long_polling_timeout", "max_batch_bytes", "checkpoint_interval",
			"collect", "map_size", "max_event_size", "commit_queue_bytes", "durability", "commit_interval", "events_bucket"},
		registry = {"log", "clock"},
	}
	local nearly = {
		store_event = function(value, random)
			local arguments = {"CREATE", "Job", {value}, {}}
			arguments[random(3)] = value
			return arguments
		end,
		store_events = function(value, random)
			local event = {"CREATE", "Job", {n = value}}
			event[random(3)] = value
			return {{{"CREATE", "Job", 1}, event}}
		end,
		to_json = function(value)
			return {{operation = "CREATE", object_type = "Job", object = {list = {value}}, seq_num = 1, timestamp = 1}}
		end,
		export = function(value, random) return {random(2) == 1 and value or "export", {progress = value}} end,
		import = function(value, random) return {random(2) == 1 and value or "export", {anew = value, progress = value}} end,
		store_checkpoint = function(value, random) return random(2) == 1 and {"a", value} or {value, 1} end,
		get_events = function(value, _, option) return {{timeout = 0, [option] = value}} end,
		watch = function(value, random, option) return {"w" .. random(5), nothing, {[option] = value}} end,
		open = function(value, _, option) return {":memory:", {[option] = value}} end,
		registry = function(value, _, option, store) return {store, {[option] = value}} end,
	}

	-- What blocks by its nature is kept from it: a wait gets no time, a run has nothing to run.
	local function call(random, values, name, fn, self)
		local arguments = {}
		for n = 1, random(0, 4) do arguments[n] = values[random(#values)] end
		if nearly[name] and random(2) == 1 then
			local option = names[name] and names[name][random(#names[name])]
			local value = values[random(#values)]
			if option == "clock" and type(value) == "userdata" then return end
			arguments = nearly[name](value, random, option, values.store)
		end
		if name == "sleep" and math.type(arguments[1]) and arguments[1] > 0 then return end
		if name == "step" and math.type(arguments[1]) and arguments[1] > 0 then return end
		if name == "wait_for" and (arguments[3] == nil or math.type(arguments[3]) and arguments[3] > 0) then arguments[3] = 0 end
		if name == "get_events" and (type(arguments[1]) ~= "table" or rawget(arguments[1], "timeout") ~= 0) then return end
		if (name == "export" or name == "import") and arguments[1] == io.stdout then return end -- it is the output of the specs
		if name == "open" and type(arguments[1]) == "string" and arguments[1] ~= ":memory:x" then arguments[1] = ":memory:" end
		if self then return pcall(fn, self, table.unpack(arguments, 1, 4)) end
		return pcall(fn, table.unpack(arguments, 1, 4))
	end

	for _, backend in ipairs(helper.backends) do
		it("does no harm: random arguments to every function and method, over " .. backend.name .. " [R3a]", function()
			local seed = tonumber(os.getenv("VIGIA_SEED")) or os.time()
			math.randomseed(seed)
			local here = helper.path("here") -- a store named ":memory:x" would be made where we are
			assert(require "lfs".mkdir(here))
			local before = require "lfs".currentdir()
			assert(require "lfs".chdir(here))
			local ok, err = pcall(function()
				local store = backend.open{durability = "none"}
				helper.fill(store, 3)
				local registry = helper.registry(store)
				local watcher = assert(registry:watch("w", function() end))
				local values = hostile(store, registry, watcher)
				local calls = {}
				for name, fn in pairs(vigia) do
					if type(fn) == "function" then calls[#calls + 1] = {name, fn} end
				end
				for _, object in ipairs{store, registry, watcher} do
					for name, fn in pairs(debug.getmetatable(object).__index) do
						if name ~= "close" and name ~= "run" then calls[#calls + 1] = {name, fn, object} end
					end
				end
				table.sort(calls, function(a, b) return a[1] < b[1] end)
				for _ = 1, 3000 do call(math.random, values, table.unpack(calls[math.random(#calls)])) end
				assert(registry:stop{timeout = 10})
				assert(store:store_event("CREATE", "Job", "alive"), "the store works on")
			end)
			require "lfs".chdir(before)
			assert(ok, ("seed %d: %s"):format(seed, tostring(err)))
			collectgarbage()
		end)
	end

	it("does no harm: metamethods of what we made, called by hand [R3b]", function()
		local store = helper.memory()
		helper.fill(store, 1)
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("w", function() end))
		local _, err = store:get_event(9)
		local objects = {store, registry, watcher, vigia.latest(), err, vigia.array{}, assert(store:get_event(1))}
		for _, object in ipairs(objects) do
			local metatable = debug.getmetatable(object) or {}
			for name, method in pairs(metatable) do
				if type(method) == "function" and name ~= "__gc" and name ~= "__close" then
					for _, other in ipairs{io.stdout, {}, 5, "x", vigia.null, store, registry, watcher, print} do
						pcall(method, other)
						pcall(method, other, other)
						pcall(method, object, other, other)
					end
					pcall(method)
				end
			end
		end
		for _, object in ipairs{store, registry, watcher} do
			local gc = debug.getmetatable(object).__gc
			if gc then
				gc(object)
				gc(object)
				for _, other in ipairs{io.stdout, {}, 5, "x"} do pcall(gc, other) end
				assert.is_string(tostring(object))
			end
		end
		pcall(store.get_events, store, {timeout = 0})
		pcall(registry.step, registry)
		pcall(watcher.stats, watcher)
		pcall(watcher.stop, watcher)
	end)

	it("does no harm: objects of a finished Lua state, collected in any order [R3c]", function()
		for _, order in ipairs{
			"store, registry, watcher = nil",
			"watcher = nil collectgarbage() registry = nil collectgarbage() store = nil",
			"store = nil collectgarbage() watcher = nil collectgarbage() registry = nil",
			"store:close() collectgarbage() registry:step()",
			"error('at the end')",
			"os.exit(true, true)",
			"coroutine.wrap(function() registry:step() os.exit(true, true) end)()",
		} do
			local output, ok = helper.run_lua("", [[
				local store = assert(vigia.open(arg[1]))
				assert(store:store_event("CREATE", "Job", 1))
				local registry = vigia.registry(store)
				local watcher = assert(registry:watch("a", function() vigia.sleep(600) end))
				registry:step()
				pcall(load(arg[2], "order", "t", setmetatable({}, {
					__index = function(_, name)
						return ({store = store, registry = registry, watcher = watcher})[name] or _G[name]
					end,
					__newindex = function(_, name)
						if name == "store" then store = nil elseif name == "registry" then registry = nil else watcher = nil end
					end})))
				collectgarbage()]], helper.path("store"), order)
			assert(ok, order .. ": " .. output)
			assert.equal("", output)
		end
	end)

	it("does not leak: failing calls by the thousand [R3d]", function()
		local store = helper.memory()
		local registry = helper.registry(store)
		local function resident()
			for line in io.lines("/proc/self/status") do
				local kib = line:match("VmRSS:%s+(%d+)")
				if kib then return tonumber(kib) end
			end
		end
		local big = ("x"):rep(100000)
		local function round()
			for _ = 1, 300 do
				pcall(store.store_event, store, "CREATE", "Job", {big, print})
				pcall(store.store_events, store, {{"CREATE", "Job", big}, {"CREATE", "Job", {big, print}}})
				pcall(store.store_events, store, {{"CREATE", "Job", big}, {}})
				pcall(store.get_events, store, {filter = {object_types = {"a", "b", {}}}})
				pcall(registry.watch, registry, "a", print, {filter = {object_types = {"a", "b"}}, batch_size = "x"})
				pcall(vigia.to_json, {object = {big, print}})
			end
			collectgarbage()
			collectgarbage()
		end
		for _ = 1, 3 do round() end
		local before = resident()
		for _ = 1, 3 do round() end
		assert(resident() < before + 40000, ("grew from %d to %d KiB over 900 rounds of 300 KB"):format(before, resident()))
	end)
end)
