-- hostile_scripts.lua - pieces of hostile.lua: handler scripts that attack what they are given, on a thread and in a process of their own.
-- Called with {piece =, new_store =} of hostile.lua.

local lfs = require "lfs"
local vigia = require "vigia"

return function(hostile)
	local piece, new_store = hostile.piece, hostile.new_store

	-- A script whose handler runs `code` once; it returns values that are data, and those are compared. Always: so do its load and its init.
	local function script_piece(name, options, expected, code, always)
		always = always and "true" or "false"
		piece("script: " .. name, function()
			local path = lfs.currentdir() .. "/piece.lua"
			local file <close> = assert(io.open(path, "w"))
			file:write(([[
			local vigia, core = require "vigia", require "vigia.core"
			local given = ...
			local done
			local function attack(event, ctx)
				%s
			end
			if %s then attack({object = {}}, {store = given.store}) end
			return {filter = {object_types = {"Job"}}, initial_backoff = 0.001, init = function(ctx)
				if %s then attack({object = {}}, ctx) end
			end, handle = function(event, ctx)
				if done then return end
				done = true
				assert(ctx.store:store_event("SAY", "Said", {said = attack(event, ctx)}))
			end}]]):format(code, always, always))
			file:flush()
			local store <close> = new_store()
			local said
			local registry <close> = assert(vigia.registry(store, {log = function() end}))
			local watcher = assert(registry:watch("s", path, options))
			for _ = 1, 3000 do
				registry:step(0.01)
				said = store:get_events{timeout = 0, filter = {object_types = {"Said"}}}.events[1]
				if said or watcher:stats().failed > 0 then break end
			end
			registry:stop{timeout = 2}
			local stats = watcher:stats()
			assert(said, tostring(stats.last_error or stats.stop_error))
			if expected then assert(said.object.said == expected, "it said " .. tostring(said.object.said)) end
		end)
	end

	-- What would be put into that registry, or taken out of it, is C's to use after the script's state is gone.
	script_piece("the registry of its thread", nil, 0, [[
	local class, registry = debug.getregistry()["vigia.Registry"], nil
	local seen = {}
	local function visit(value)
		if value == nil or seen[value] then return end
		seen[value] = true
		if type(value) == "table" then
			for k, v in next, value do visit(k) visit(v) end
		elseif type(value) == "userdata" and debug.getmetatable(value) == class then
			registry = value
		end
	end
	visit(debug.getregistry())
	assert(registry, "there is no registry to be found")
	local done = 0
	local function call(method, ...) if pcall(method, registry, ...) then done = done + 1 end end
	for _, name in ipairs{"spawn", "watch", "get_watcher", "remove", "pollfd", "step", "stop", "close", "run"} do
		local method = class.__index[name]
		call(method)
		call(method, function() end)
		call(method, "x")
		call(method, "x", function() end)
		call(method, "x", "./idle.lua")
	end
	call(class.__close)
	call(class.__gc)
	vigia.sleep(0.001)
	return done]], true)

	local CALL_STACK <const> = [[
	local called = 0
	for level = 1, 40 do
		local info = debug.getinfo(level, "fS")
		if not info then break end
		if info.what == "C" then
			local f, known = info.func, false
			for _, fn in pairs(_G) do known = known or fn == f end
			if not known then
				called = called + 1
				pcall(f)
				for _, v in ipairs{1, "x", {}, io and io.stdout or 2, vigia.null, ctx, ctx.store, coroutine.create(print)} do
					pcall(f, v)
					pcall(f, v, v)
					pcall(f, {}, v)
				end
			end
		end
	end
	return called > 0]]

	local NO_PROGRAM <const> = [[
	local open = {}
	for _, name in ipairs{"edit_start", "edit_line", "edit_call", "edit_stop", "verify", "wait_owner", "ndjson_append", "dump", "last",
		"types", "has_input", "end_with_output", "hold", "hold_late", "tell_failures"} do
		for _, where in ipairs{core, package.preload["vigia.core"]("vigia.core")} do
			local ok, err = pcall(where[name], ctx.store, 0, "x", function() end)
			if ok or not tostring(err):find "the program's own" then open[#open + 1] = name .. ": " .. tostring(err) end
		end
	end
	return table.concat(open, "; ")]]

	local CAPPED <const> = {memory_limit = 8 << 20, cpu_limit = 2}
	local ISOLATED <const> = {isolation = "process"}
	local BOTH <const> = {isolation = "process", memory_limit = 8 << 20, cpu_limit = 2}

	for name, options in pairs{plain = {}, capped = CAPPED, isolated = ISOLATED, ["isolated and capped"] = BOTH} do
		script_piece("calls what is on its stack, " .. name, options, nil, CALL_STACK, true)
		script_piece("is not the program, " .. name, options, "", NO_PROGRAM)
	end

	for name, options in pairs{capped = CAPPED, ["isolated and capped"] = BOTH} do
		script_piece("reaches no metatable that C gives to others, " .. name, options, "", [[
		local open = {}
		local _, err = ctx.store:get_event(1000)
		for what, value in pairs{array = vigia.array{}, list = {event.object.list or vigia.array{}}, err = err, store = ctx.store,
			null = vigia.null, iterator = vigia.latest(), made = core.new_error{code = "x", message = "y"}} do
			local metatable = getmetatable(value)
			if type(metatable) == "table" and rawget(metatable, "__index") == nil then
				open[#open + 1] = what
				metatable.__gc = function() while true do end end
			end
		end
		for _ = 1, 100 do local _ = vigia.array{}, ctx.store:get_event(1000) end
		collectgarbage()
		return table.concat(open, " ")]])
		script_piece("has no registry and starts no program, " .. name, options, "", [[
		local open = {}
		local fresh = package.preload["vigia.core"]("vigia.core")
		for what, f in pairs{registry = function() return fresh.registry(ctx.store) end, core = function() return core.registry(ctx.store) end,
			spawn = function() return fresh.spawn("/bin/true", {}, ctx.store) end} do
			local ok, result = pcall(f)
			if ok and result then open[#open + 1] = what end
		end
		table.sort(open)
		return table.concat(open, " ")]])
	end

	for name, options in pairs{plain = {}, capped = CAPPED, isolated = ISOLATED} do
		script_piece("empties the tables that it is given, " .. name, options, "", [[
		if getmetatable(ctx) == nil then
			for k in pairs(ctx) do ctx[k] = nil end
		end
		for k in pairs(given) do given[k] = nil end
		collectgarbage()
		collectgarbage()
		return ""]], true)
	end

	script_piece("changes what its functions keep", {}, "", [[
	local light = debug.upvalueid(function() return event end, 1)
	for _, fn in pairs{print, given.log, io.flush, os.execute, io.popen, io.stdout.flush, io.stdout.setvbuf, load, loadfile, dofile,
		getmetatable(ctx).__index, package.searchers[2]} do
		if fn ~= os.execute and fn ~= io.popen then
			for i = 1, 4 do
				local name, old = debug.getupvalue(fn, i)
				if not name then break end
				for _, other in ipairs{false, 1, {}, light, io.stdout} do
					debug.setupvalue(fn, i, other or nil)
					pcall(fn)
					pcall(fn, "info", "x")
					pcall(fn, {}, "store")
				end
				debug.setupvalue(fn, i, old)
			end
		end
	end
	return ""]])
end
