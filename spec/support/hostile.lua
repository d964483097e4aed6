-- hostile.lua - a program: pieces of Lua code that do with the module what nobody should, run one after the other in a folder of its own.
-- A piece fails when it raises, and the process may die in it: "begin N NAME" is said before each, "ok N" or "not ok N: ..." after it,
-- and "done" in the end. Arguments: the folder, the number to begin with, then words that a piece's name must have one of, if any.
-- The file `call` in the folder has what is being called. HOSTILE_SEED=N takes the order of a run that said "seed N" again.
--
-- Most pieces do the same at many places: they harvest whatever can be reached from where they run (by debug.getinfo, getlocal,
-- getupvalue, getuservalue, getregistry), then call each function of C among it with everything else as arguments, and change what C
-- keeps. What they call returns or raises; it must not crash, and the store must still be one afterwards.

local core = require "vigia.core"
local lfs = require "lfs"
local vigia = require "vigia"

local folder, first = arg[1], tonumber(arg[2])
assert(lfs.chdir(folder))

local pieces = {}
local seed = math.tointeger(tonumber(os.getenv "HOSTILE_SEED")) or os.time() << 20 | math.random(0, (1 << 20) - 1)

local function piece(name, body)
	pieces[#pieces + 1] = {name = name, body = body}
end

---- harvesting ----

-- What the system's own libraries have is not ours to test; what ends, stops, reads the terminal, forks or waits has pieces of its own.
local left_out = {}

local function leave_out(value)
	if type(value) == "table" and not left_out[value] then
		left_out[value] = true
		for _, v in pairs(value) do leave_out(v) end
		leave_out(debug.getmetatable(value))
	elseif type(value) == "function" then
		left_out[value] = true
	end
end

for _, name in ipairs{"_G", "coroutine", "debug", "io", "math", "os", "package", "string", "table", "utf8", "lfs"} do
	leave_out(package.loaded[name])
end
leave_out(debug.getregistry()["FILE*"])
leave_out(debug.getregistry()["FILE*"].__index)
for name, fn in pairs(core) do
	if name:find "^edit_" or name:find "^ndjson_" then left_out[fn] = true end
end
for _, name in ipairs{"verify", "has_input", "wait_owner", "spawn", "end_with_output", "hold_late"} do left_out[core[name]] = true end
left_out[debug.getregistry()["vigia.Registry"].__index.run] = true -- it returns when no watcher runs any more
left_out[pieces] = true
left_out[debug.getregistry()] = true -- harvest() chooses from it
for _, value in next, debug.getregistry() do -- what the objects of all pieces keep, until they are collected: some would run for ever
	local metatable = type(value) == "table" and debug.getmetatable(value)
	if metatable and metatable.__mode == "k" then left_out[value] = true end
end
for level = 1, 10 do -- the interpreter's own
	local info = debug.getinfo(level, "f")
	if info then left_out[info.func] = true end
end

-- The entries of a table: in the order of the seed, as far as its keys are names.
local function entries(t, most)
	local names, keys = {}, {}
	for k in next, t do
		local list = type(k) == "string" and names or keys
		list[#list + 1] = k
		if #names + #keys == most then break end
	end
	table.sort(names)
	table.move(names, 1, #names, #keys + 1, keys)
	for i = #keys, 2, -1 do
		local j = math.random(i)
		keys[i], keys[j] = keys[j], keys[i]
	end
	local i = 0
	return function()
		i = i + 1
		return keys[i], rawget(t, keys[i])
	end
end

local named = setmetatable({}, {__mode = "k"}) -- the names of functions, for the note
left_out[named] = true

-- Everything that can be reached from the stack of the running coroutine, from `also` and, if `all`, from the registry.
local function harvest(also, all)
	local found, seen = {}, {}
	local visit
	local function visit_table(t)
		visit(debug.getmetatable(t))
		local class = rawget(t, "__name") or named[t]
		for k, v in entries(t, 200) do
			if type(k) == "string" and (type(v) == "function" or k == "__index" and type(v) == "table") then
				named[v] = k == "__index" and class or ("%s.%s"):format(class or "?", k)
			end
			visit(k)
			visit(v)
		end
	end
	function visit(value)
		if value == nil or type(value) == "number" or type(value) == "string" or seen[value] or left_out[value] then return end
		seen[value] = true
		if type(value) == "table" then
			visit_table(value)
			return
		end
		found[#found + 1] = value
		if type(value) == "function" then
			for i = 1, 20 do
				local name, upvalue = debug.getupvalue(value, i)
				if not name then break end
				visit(upvalue)
			end
		elseif type(value) == "userdata" then
			for i = 1, 12 do visit((debug.getuservalue(value, i))) end
			visit(debug.getmetatable(value))
		elseif type(value) == "thread" then
			for level = 0, 20 do
				local info = debug.getinfo(value, level, "f")
				if not info then break end
				visit(info.func)
				for i = 1, 40 do
					local name, localvalue = debug.getlocal(value, level, i)
					if not name then break end
					visit(localvalue)
				end
			end
		end
	end
	for level = 2, 40 do
		local info = debug.getinfo(level, "f")
		if not info then break end
		visit(info.func)
		for i = 1, 40 do
			local name, value = debug.getlocal(level, i)
			if not name then break end
			visit(value)
		end
	end
	visit(also)
	if all then
		for k, v in entries(debug.getregistry()) do
			-- What other libraries keep there is theirs: they trust it.
			if type(k) == "userdata" or (type(k) == "string" and k:find "^vigia") then visit(v) end
		end
	end
	return found
end

local function is_c(value)
	return type(value) == "function" and debug.getinfo(value, "S").what == "C"
end

---- calling ----

-- Write down what is being called, where the spec looks when the process does not end.
local note_file = assert(io.open("call", "w"))
note_file:setvbuf "no"
left_out[note_file] = true

local function shown(value)
	if type(value) == "string" then return ("%q"):format(value) end
	if rawequal(value, io.stdout) then return "io.stdout" end
	local class = type(value) == "userdata" and debug.getmetatable(value)
	local name = named[value] or type(class) == "table" and rawget(class, "__name") or type(value)
	return type(value) == "number" and tostring(value) or tostring(name)
end

local function note(what, ...)
	local words = table.pack(...)
	for i = 1, words.n do words[i] = shown(words[i]) end
	note_file:seek("set", 0)
	note_file:write(("%s(%s)\n"):format(shown(what), table.concat(words, ", ")))
end

local function try(fn, ...)
	note(fn, ...)
	pcall(fn, ...)
end

local function some_coroutines()
	local waiting = coroutine.create(function() coroutine.yield() end)
	coroutine.resume(waiting)
	return waiting, coroutine.create(function() end)
end

-- Functions of C in the order they were found in, or those last that end an object.
local function functions_of(found)
	local functions, ends = {}, {}
	local late = math.random(2) == 1
	for _, fn in ipairs(found) do
		if is_c(fn) then
			local name = late and (named[fn] or ""):match "[^.]*$"
			local list = (name == "close" or name == "__close" or name == "__gc") and ends or functions
			list[#list + 1] = fn
		end
	end
	return table.move(ends, 1, #ends, #functions + 1, functions)
end

-- Call each function of C in `found` with each value, alone and in pairs.
local function bombard(found)
	local light = debug.upvalueid(function() return found end, 1)
	local pool = {true, 0, -1, 0.001, "x", "__gc", {}, io.stdout, core.null, light}
	pool[#pool + 1], pool[#pool + 2] = some_coroutines()
	local classes = {}
	for _, value in ipairs(found) do
		if type(value) == "userdata" then
			local class = debug.getmetatable(value) or "light"
			classes[class] = (classes[class] or 0) + 1
			if classes[class] <= 2 then pool[#pool + 1] = value end
		elseif type(value) == "thread" then
			pool[#pool + 1] = value
		end
	end
	local functions = functions_of(found)
	for _, fn in ipairs(functions) do
		try(fn)
		for _, value in ipairs(pool) do
			try(fn, value)
			try(fn, value, pool[math.random(#pool)])
			try(fn, value, "x", pool[math.random(#pool)])
		end
	end
	return #functions
end

-- Put other values into the upvalues of each function of C, call it, and put the old ones back.
local function falsify_upvalues(found)
	local light = debug.upvalueid(function() return found end, 1)
	local finalizers = {}
	for _, class in next, debug.getregistry() do
		if type(class) == "table" and rawget(class, "__gc") then finalizers[class.__gc] = true end
	end
	for _, fn in ipairs(found) do
		if is_c(fn) then
			-- One that the collector calls meanwhile would free nothing, and never again: a leak of this code, not of the module.
			if finalizers[fn] then collectgarbage "stop" end
			for i = 1, 6 do
				local name, old = debug.getupvalue(fn, i)
				if not name then break end
				for _, other in ipairs{false, 1, "x", {}, io.stdout, light, coroutine.create(print)} do
					note(fn, i, other)
					debug.setupvalue(fn, i, other or nil)
					pcall(fn)
					pcall(fn, {}, "store")
					pcall(fn, io.stdout, "stopping")
				end
				debug.setupvalue(fn, i, old)
			end
			collectgarbage "restart"
		end
	end
end

-- Give each userdata the metatable of each other class, and use it.
local function falsify_classes(found)
	local objects, metatables = {}, {}
	for _, value in ipairs(found) do
		local metatable = type(value) == "userdata" and debug.getmetatable(value)
		if metatable and not metatables[metatable] and metatable.__name ~= nil then
			metatables[metatable] = true
			metatables[#metatables + 1] = metatable
			objects[#objects + 1] = value
		end
	end
	for _, object in ipairs(objects) do
		local own = debug.getmetatable(object)
		for _, metatable in ipairs(metatables) do
			if metatable ~= own then
				debug.setmetatable(object, metatable)
				pcall(tostring, object)
				for name, fn in entries(metatable) do
					note(fn, object)
					if is_c(fn) and name ~= "__gc" then
						pcall(fn, object)
						pcall(fn, object, "x")
						pcall(fn, object, object)
					elseif name == "__gc" then
						pcall(fn, object)
					end
				end
				if type(metatable.__index) == "table" then
					for _, fn in entries(metatable.__index) do
						if not left_out[fn] then
							note(fn, object)
							pcall(fn, object)
							pcall(fn, object, "x", "y", {})
							pcall(fn, object, 1)
							pcall(fn, object, {timeout = 0})
						end
					end
				end
			end
		end
		debug.setmetatable(object, own)
	end
end

-- The same with the user values, put back before anything else happens.
local function falsify_user_values(found)
	for _, object in ipairs(found) do
		if type(object) == "userdata" then
			local metatable = debug.getmetatable(object)
			local methods = metatable and type(metatable.__index) == "table" and metatable.__index or {}
			for i = 1, 12 do
				local old, there = debug.getuservalue(object, i)
				if not there then break end
				for _, other in ipairs{false, 1, "x", {}, io.stdout} do
					debug.setuservalue(object, other or nil, i)
					for _, fn in entries(methods) do
						if not left_out[fn] then
							note(fn, object, i, other)
							pcall(fn, object)
							pcall(fn, object, "x", "y", {})
							pcall(fn, object, 1)
							pcall(fn, object, {timeout = 0})
							pcall(fn, object, "x", function() end)
						end
					end
					debug.setuservalue(object, old, i)
				end
			end
		end
	end
end

local function attack(also)
	local found = harvest(also, true)
	return bombard(found)
end

---- stores and registries to do it with ----

local OPTIONS <const> = {long_polling_timeout = 0.001, cache_size = 4}

local function new_store(kind)
	os.remove "store"
	os.remove "store-lock"
	os.remove "store-side"
	local options = {}
	for k, v in pairs(OPTIONS) do options[k] = v end
	if kind == "file" then options.durability = "none" end
	local store = assert(vigia.open(kind == "file" and "store" or ":memory:", options))
	assert(store:store_events{{"CREATE", "Job", {id = 1}}, {"CREATE", "Job", {id = 2, list = {1, 2}}}})
	return store
end

local function drive(registry, done)
	for _ = 1, 400 do
		if done() or not pcall(registry.step, registry, 0.002) then return end
	end
end

-- Whatever happened: the module works.
local function still_works()
	local store <close> = new_store()
	assert(store:get_event(1).object.id == 1)
	local registry <close> = assert(vigia.registry(store, {log = function() end}))
	local seen = 0
	assert(registry:watch("w", function() seen = seen + 1 end, {initial_backoff = 0.001}))
	drive(registry, function() return seen == 2 end)
	assert(seen == 2, "a handler does not run any more")
end

-- Run `body` at each place where Lua code is called while something of C's is under way.
local SKIP <const> = {initial_backoff = 0.001, max_retries = 1, retry_strategy = "skip"}

-- A place in a method of a store in Lua, which then returns as the store below it, or what `answer` says.
local function over_lua(method, answer)
	return function(registry, store, body)
		local over = {inner = store}
		for _, name in ipairs{"get_events", "get_latest_event_num", "get_oldest_event_num", "store_event", "store_events", "store_checkpoint",
			"get_checkpoint"} do
			over[name] = function(_, ...)
				local function here() body{over, registry, store} end
				if name == method and answer then return answer(here) end
				if name == method then here() end
				return store[name](store, ...)
			end
		end
		local own = assert(vigia.registry(over, {log = function() end}))
		own:watch("over", function() end, {checkpoint = "event", initial_backoff = 0.001})
		for _ = 1, 5 do pcall(own.step, own, 0.01) end
		pcall(own.close, own)
	end
end

local PLACES <const> = {
	handler = function(registry, store, body)
		registry:watch("w", function(event, ctx) body{event, ctx, registry, store} end, SKIP)
	end,
	["a handler after a wait"] = function(registry, store, body)
		registry:watch("w", function(event, ctx)
			vigia.sleep(0)
			body{event, ctx, registry, store}
		end, SKIP)
	end,
	["where"] = function(registry, store, body)
		registry:watch("w", function() end, {where = function(event) body{event, registry, store} return true end,
			initial_backoff = 0.001, max_retries = 1, retry_strategy = "skip"})
	end,
	["on_error"] = function(registry, store, body)
		registry:watch("w", function() error("no") end, {on_error = function(err, event, ctx) body{err, event, ctx, registry, store} end,
			initial_backoff = 0.001, max_retries = 1, retry_strategy = "skip"})
	end,
	["__tostring of an error"] = function(registry, store, body)
		registry:watch("w", function()
			error(setmetatable({}, {__tostring = function() body{registry, store} return "e" end}))
		end, SKIP)
	end,
	["__close of a handler"] = function(registry, store, body)
		registry:watch("w", function()
			local _ <close> = setmetatable({}, {__close = function() body{registry, store} end})
			error("no")
		end, SKIP)
	end,
	["task"] = function(registry, store, body)
		registry:spawn(function() body{registry, store} end)
	end,
	["__tostring of a task's error"] = function(registry, store, body)
		registry:spawn(function()
			error(setmetatable({}, {__tostring = function() body{registry, store} return "e" end}))
		end)
	end,
	["a task after an append"] = function(registry, store, body)
		registry:spawn(function()
			store:store_event("CREATE", "Job", {id = 3})
			body{registry, store}
		end)
	end,
	["a predicate of a task that reads"] = function(registry, store, body)
		registry:spawn(function()
			store:get_events{timeout = 0, where = function(event) body{event, registry, store} return true end}
		end)
	end,
	["a predicate of a reader"] = function(registry, store, body)
		pcall(store.get_events, store, {timeout = 0, where = function(event) body{event, registry, store} return true end})
	end,
	["a hook"] = function(registry, store, body)
		local calls = 0
		registry:watch("w", function()
			debug.sethook(function()
				calls = calls + 1
				if calls == 4 then body{registry, store} end
			end, "c")
			store:store_event("CREATE", "Other", 1)
			store:get_events{timeout = 0}
			vigia.sleep(0)
			debug.sethook()
		end, {initial_backoff = 0.001, max_retries = 1, retry_strategy = "skip", filter = {object_types = {"Job"}}})
	end,
	["a method of a store in Lua that is read"] = over_lua("get_events"),
	["a method of a store in Lua that is looked at"] = over_lua("get_latest_event_num"),
	["a method of a store in Lua that saves"] = over_lua("store_checkpoint"),
	["metamethods of what a store in Lua returns"] = over_lua("get_events", function(body)
		return {next_event_iterator = vigia.after_sequence_number(1), events = {setmetatable({}, {__index = function(_, name)
			body()
			return name == "seq_num" and 1 or "Job"
		end})}}
	end),
}

local LOGS <const> = {
	["log"] = function(registry)
		registry:watch("w", function() error("no") end, SKIP)
	end,
}

local function sorted(t)
	local names = {}
	for name in pairs(t) do names[#names + 1] = name end
	table.sort(names)
	return names
end

-- At a place: `body` once, with what is in hand there.
local function at(place, kind, body)
	local store = new_store(kind)
	local done, finished, problem = false, false, nil
	local function once(also)
		if done then return end
		done = true
		local ok, err = xpcall(body, debug.traceback, also)
		if not ok then problem = err end
		finished = true
	end
	local registry = assert(vigia.registry(store, {log = function(...) if LOGS[place] then once{store, ...} end end}))
	if LOGS[place] then LOGS[place](registry, store)
	else PLACES[place](registry, store, once) end
	drive(registry, function() return finished end)
	assert(done, "it never came to that place")
	assert(not problem, problem)
	pcall(registry.close, registry)
	pcall(store.close, store)
	collectgarbage()
end

local ALL <const> = {}
for _, name in ipairs(sorted(PLACES)) do ALL[#ALL + 1] = name end
for _, name in ipairs(sorted(LOGS)) do ALL[#ALL + 1] = name end

for i, place in ipairs(ALL) do
	local kind = i % 2 == 0 and "file" or "memory"
	piece("calls what it finds: " .. place, function()
		at(place, kind, function(also) assert(attack(also) > 5) end)
	end)
	piece("calls what it found, later: " .. place, function()
		local found
		at(place, kind, function(also) found = harvest(also) end)
		bombard(found)
	end)
	piece("changes upvalues: " .. place, function()
		at(place, kind, function(also) falsify_upvalues(harvest(also, true)) end)
	end)
	piece("changes classes: " .. place, function()
		at(place, kind, function(also) falsify_classes(harvest(also, true)) end)
	end)
	piece("changes user values: " .. place, function()
		at(place, kind, function(also) falsify_user_values(harvest(also, true)) end)
	end)
end

require "spec.support.hostile_taking"{piece = piece, left_out = left_out, is_c = is_c, new_store = new_store, sorted = sorted}

---- calls back while something waits ----

-- What code of the application may do wherever it runs; most of it is refused, at one place or another.
local function deeds(store, registry, hand)
	local function no_text(t) return t[1] end
	return {
		function() store:store_event("CREATE", "More", 1) end,
		function() store:store_events{{"CREATE", "More", 1}, {"CREATE", "More", 2}} end,
		function() store:get_events{timeout = 0, filter = {object_types = {"Job"}}, where = function() return true end} end,
		function() store:get_events{timeout = 0.001, event_iterator = vigia.latest()} end,
		function() store:get_event(1) end,
		function() store:trim(0) end,
		function() store:checkpoints() end,
		function() store:stats() end,
		function() store:gc() end,
		function() registry:step(0) end,
		function() registry:stop{timeout = 0} end,
		function() registry:watch("other", function() end) registry:remove "other" end,
		function() registry:watch("other", nil, {auto_start = false}) end,
		function() registry:spawn(function() vigia.sleep(0) store:get_event(1) end) end,
		function() registry:get_watcher("w"):stop{timeout = 0} end,
		function() registry:get_watcher("w"):start() end,
		function() registry:get_watcher("w"):seek_to_offset(0) end,
		function() registry:get_watcher("w"):set_handler(function() end) end,
		function() registry:get_watcher("w"):stats() end,
		function() registry:remove "w" end,
		function() vigia.sleep(0) end,
		function() coroutine.close(hand.co) end,
		function() coroutine.resume(hand.co, 1, 2) end,
		function() coroutine.wrap(function() coroutine.close(hand.co) end)() end,
		function() debug.sethook(hand.co, function() end, "c", 1) end,
		function() error(setmetatable({}, {__tostring = no_text})) end,
		function() registry:close() end,
		function() store:close() end,
	}
end

local WAITS <const> = {
	sleep = function() vigia.sleep(0.002) end,
	["long poll"] = function(store) store:get_events{timeout = 0.002, event_iterator = vigia.after_sequence_number(1000)} end,
	["predicate"] = function(store) store:get_events{timeout = 0.002, where = function() return {} == nil end} end,
	append = function(store) store:store_event("CREATE", "Other", {1, {2}}) end,
	list = function(store) store:store_events{{"CREATE", "Other", {}}, {"CREATE", "Other", "x"}} end,
	stop = function(_, registry) registry:get_watcher("v"):stop{timeout = 0.01} end,
	reading = function(store) store:get_events{timeout = 0, scan = "end"} end,
}

-- A normal run does a third of the deeds at each place, another third at the next one.
local STRIDE <const> = os.getenv "HOSTILE_ALL" and 1 or 3
local DEEDS <const> = 28

-- In each wait, one deed after the other: from a finalizer, or from a task that runs meanwhile.
for place, name in ipairs(sorted(WAITS)) do
	for _, from in ipairs{"a finalizer", "a task"} do
		piece(("%s calls back in a wait: %s"):format(from, name), function()
			for n = 1 + place % STRIDE, DEEDS, STRIDE do
				local store, hand = new_store(n % 3 == 0 and "file" or "memory"), {}
				local registry = assert(vigia.registry(store, {log = function() end}))
				local deed = deeds(store, registry, hand)[n]
				if from == "a finalizer" then collectgarbage("incremental", 100, 1000) end
				registry:watch("v", function() vigia.sleep(0.001) end, {initial_backoff = 0.001})
				registry:watch("w", function()
					hand.co = coroutine.running()
					for _ = 1, 3 do
						if from == "a finalizer" then setmetatable({}, {__gc = function() pcall(deed) end})
						else registry:spawn(function() deed() end) end
						WAITS[name](store, registry)
					end
				end, {initial_backoff = 0.001, max_retries = 1, retry_strategy = "skip", filter = {object_types = {"Job"}}})
				for _ = 1, 5 do
					if not pcall(registry.step, registry, 0.001) then break end
				end
				pcall(registry.close, registry)
				pcall(store.close, store)
				collectgarbage("incremental", 200, 100)
			end
			collectgarbage()
		end)
	end
end

-- The same from what C calls.
for i, place in ipairs(ALL) do
	piece("does everything: " .. place, function()
		for n = 1 + i % STRIDE, DEEDS, STRIDE do
			at(place, n % 3 == 0 and "file" or "memory", function(also)
				local store, registry
				for _, value in pairs(also) do
					local class = type(value) == "userdata" and debug.getmetatable(value).__name
					if class == "vigia.Store" then store = value end
					if class == "vigia.Registry" then registry = value end
				end
				pcall(deeds(store, registry, {co = coroutine.running()})[n])
				collectgarbage()
			end)
		end
	end)
end

piece("serializers that call back", function()
	for n = 1, DEEDS do
		local store, registry, deed
		local depth = 0
		local function back()
			depth = depth + 1
			if deed and depth < 3 then pcall(deed) end
			depth = depth - 1
			collectgarbage()
		end
		store = assert(vigia.open(":memory:", {cache_size = 2, long_polling_timeout = 0.001, serializer = {name = "mine", marshal = function()
			back()
			return "x"
		end, unmarshal = function()
			back()
			return {}
		end}}))
		registry = assert(vigia.registry(store, {log = function() end}))
		store:store_events{{"CREATE", "Job", 1}, {"CREATE", "Job", 2}}
		registry:watch("w", function() end, {initial_backoff = 0.001})
		assert(#deeds(store, registry, {}) == DEEDS)
		deed = deeds(store, registry, {co = coroutine.running()})[n]
		pcall(store.store_event, store, "CREATE", "Job", 1)
		pcall(store.store_events, store, {{"CREATE", "Job", 1}, {"CREATE", "Job", {}}})
		pcall(store.get_event, store, 1)
		pcall(store.get_events, store, {timeout = 0})
		pcall(registry.step, registry, 0)
		deed = nil
		pcall(registry.close, registry)
		pcall(store.close, store)
	end
end)

---- options that change while they are in use ----

-- Call `use` with options whose strings nothing else keeps, while a finalizer, wherever the collector runs it, empties them.
local function emptied_meanwhile(make, use)
	collectgarbage("incremental", 100, 1000)
	for garbage = 0, 40 do
		local options, ballast = make(garbage), {}
		for n = 1, garbage do ballast[n] = {} end
		local emptied = false
		setmetatable({}, {__gc = function()
			emptied = true
			local function empty(t)
				for k, v in next, t do
					t[k] = nil
					if type(v) == "table" then empty(v) end
				end
				t[true], t[1] = {}, 2
			end
			empty(options)
			for n = 1, 50 do ballast[n] = ("other %d bytes of %d"):format(n, garbage):rep(3) end
		end})
		for _ = 1, 3000 do
			pcall(use, options)
			if emptied then break end
		end
		assert(#ballast >= garbage)
	end
	collectgarbage("incremental", 200, 100)
end

local function long(n, name) return ("%s %d "):format(name, n):rep(8) end

local function with_store_of(body)
	local store <close> = new_store()
	local registry <close> = assert(vigia.registry(store, {log = function() end}))
	body(store, registry)
end

piece("options that change: open", function()
	emptied_meanwhile(function(n)
		return {serializer = {name = "sealed" .. n, marshal = function() return "x" end, unmarshal = function() return "x" end, strict = false},
			events_bucket = "events of number " .. n, checkpoint_bucket = "checkpoints of number " .. n, cache_size = 3}
	end, function(options) local _ <close> = vigia.open(":memory:", options) end)
end)

piece("options that change: watch", function()
	with_store_of(function(_, registry)
		emptied_meanwhile(function(n)
			return {filter = {object_types = {long(n, "a"), long(n, "b"), "Job"}, operations = {long(n, "c"), "CREATE"}}, auto_start = false,
				on_error = print, where = function() return true end}
		end, function(options)
			registry:watch("w", function() end, options)
			registry:remove "w"
		end)
		local types = {long(1, "a"), "Job"}
		assert(registry:watch("kept", function() end, {filter = {object_types = types}}))
		types[1], types[2] = nil, nil
		collectgarbage()
		registry:step(0)
	end)
end)

piece("options that change: read", function()
	with_store_of(function(store)
		emptied_meanwhile(function(n)
			return {filter = {object_types = {long(n, "a"), "Job"}, operations = {long(n, "c"), "CREATE"}}, timeout = 0, watcher_id = long(n, "w"),
				event_iterator = vigia.after_sequence_number(n), where = function() return true end}
		end, function(options) store:get_events(options) end)
	end)
end)

piece("options that change: registry", function()
	with_store_of(function(store)
		-- One step of the collector is a whole cycle, at the first allocation behind "restart".
		collectgarbage("incremental", 100, 1000, 40)
		for _ = 1, 3 do
			collectgarbage("stop")
			local options = {clock = core.clock(), log = function() end}
			setmetatable({}, {__gc = function() options.clock = nil end})
			collectgarbage("restart")
			local registry <close> = assert(vigia.registry(store, options))
			collectgarbage("incremental", 200, 100, 13)
			collectgarbage()
			assert(options.clock == nil)
			registry:spawn(function() vigia.sleep(0) end)
			registry:step(0)
			collectgarbage("incremental", 100, 1000, 40)
		end
		collectgarbage("incremental", 200, 100, 13)
	end)
end)

piece("options that change: append", function()
	with_store_of(function(store)
		emptied_meanwhile(function(n) return {key = long(n, "k"), if_last = n} end, function(options)
			store:store_event("CREATE", "Job", 1, options)
			store:store_events({{"CREATE", "Job", 1}}, options)
		end)
	end)
end)

piece("options that change: script", function()
	with_store_of(function(_, registry)
		local file <close> = assert(io.open("idle.lua", "w"))
		file:write "return {auto_start = nil, handle = function() end}"
		file:flush()
		local n = 0
		emptied_meanwhile(function(garbage)
			return {filter = {object_types = {long(garbage, "a")}}, auto_start = false, worker_program = long(garbage, "w"),
				set = {x = long(garbage, "x")}, libraries = {"string"}}
		end, function(options)
			n = n + 1
			if n % 40 ~= 1 then options.set.x = print end -- most fail where they are encoded: a thread for each would take long
			registry:watch("s", "./idle.lua", options)
			registry:remove "s"
		end)
	end)
end)

require "spec.support.hostile_scripts"{piece = piece, new_store = new_store}

---- run ----

local function run()
	io.stdout:write("seed ", seed, "\n")
	for n = first, #pieces do
		local wanted = #arg < 3
		for i = 3, #arg do wanted = wanted or pieces[n].name:find(arg[i], 1, true) end
		if wanted then
			io.stdout:write("begin ", n, " ", pieces[n].name, "\n")
			io.stdout:flush()
			math.randomseed(seed, n)
			local ok, problem = xpcall(pieces[n].body, debug.traceback)
			if ok then ok, problem = xpcall(still_works, debug.traceback) end
			io.stdout:write(ok and "\nok " or "\nnot ok ", n, ok and "" or ": " .. tostring(problem), "\n")
			io.stdout:flush()
			collectgarbage()
		end
	end
	print "done"
end

run()
