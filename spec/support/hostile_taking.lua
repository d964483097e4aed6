-- hostile_taking.lua - pieces of hostile.lua: they take away what C points to, by what the debug library reaches, collect, and go on.
-- Called with {piece =, left_out =, is_c =, new_store =, sorted =} of hostile.lua.

local vigia = require "vigia"

return function(hostile)
	local piece, left_out, is_c, new_store, sorted = hostile.piece, hostile.left_out, hostile.is_c, hostile.new_store, hostile.sorted

	-- Everything that user values lead to, from `also` on: C keeps pointers to some of it.
	local function reach(also)
		local found, seen = {}, {}
		local function visit(value)
			local kind = type(value)
			if (kind ~= "table" and kind ~= "userdata" and kind ~= "thread" and kind ~= "function") or seen[value] or left_out[value] then return end
			seen[value] = true
			found[#found + 1] = value
			if kind == "userdata" then
				for i = 1, 16 do visit((debug.getuservalue(value, i))) end
			elseif kind == "table" then
				for _, v in next, value do visit(v) end
				local metatable = debug.getmetatable(value)
				visit(metatable and rawget(metatable, "__index"))
			elseif is_c(value) then
				for i = 1, 8 do visit((select(2, debug.getupvalue(value, i)))) end
			end
		end
		visit(also)
		return found
	end

	-- Each class's own table of methods stays: without it nothing can be called.
	local TAKES <const> = {
		["takes user values away"] = function(value)
			if type(value) ~= "userdata" then return end
			for i = 1, 16 do debug.setuservalue(value, nil, i) end
		end,
		["empties what it finds"] = function(value)
			if type(value) == "userdata" then
				for i = 1, 16 do debug.setuservalue(value, nil, i) end
			elseif type(value) == "table" and type(rawget(value, "step")) ~= "function" and type(rawget(value, "stats")) ~= "function" then
				for k in next, value do value[k] = nil end
			elseif is_c(value) then
				for i = 1, 8 do debug.setupvalue(value, i, nil) end
			end
		end,
		["closes coroutines it finds"] = function(value)
			if type(value) == "thread" then pcall(coroutine.close, value) end
		end,
		["resumes coroutines it finds"] = function(value)
			if type(value) == "thread" then
				coroutine.resume(value)
				coroutine.resume(value, 1, 2)
			end
		end,
		["sets hooks where it finds coroutines"] = function(value)
			if type(value) ~= "thread" then return end
			debug.sethook(value, function() vigia.sleep(0) end, "crl", 1)
			coroutine.resume(value)
		end,
	}

	local FROM <const> = {"outside", "a handler", "a task", "a finalizer"}

	for _, what in ipairs(sorted(TAKES)) do
		for n, from in ipairs(FROM) do
			piece(("%s, from %s"):format(what, from), function()
				local store = new_store(n % 2 == 0 and "file" or "memory")
				local registry = assert(vigia.registry(store, {log = function() end}))
				local contexts, mine = {}, {}
				local function take()
					local own = coroutine.running()
					do
						local found = reach{store, registry, contexts, mine}
						assert(#found > 10)
						for _, value in ipairs(found) do
							if value ~= own then pcall(TAKES[what], value) end
						end
					end
					collectgarbage()
					collectgarbage()
				end
				local taken = false
				local function once(where)
					if taken or where ~= from then return end
					taken = true
					if where == "a finalizer" then
						setmetatable({}, {__gc = take})
						collectgarbage()
					else take() end
				end
				local waits = {
					function() vigia.sleep(0.002) end,
					function() store:get_events{timeout = 0.002, event_iterator = vigia.after_sequence_number(1000)} end,
					function() store:store_event("CREATE", "Other", {1, {2}}) end,
					function() local w = registry:get_watcher "1" return w and w:stop{timeout = 0.002} end,
					function() end,
				}
				for i, wait in ipairs(waits) do
					mine[#mine + 1] = registry:watch(tostring(i), function(_, ctx)
						contexts[i] = ctx
						mine[i + 100] = coroutine.running()
						wait()
						once "a handler"
						return ctx.attempt and ctx.watcher and ctx.store
					end, {initial_backoff = 0.001, max_retries = 2, retry_strategy = "skip", filter = {object_types = {"Job"}},
						where = i % 2 == 0 and function() return true end or nil, on_error = function() collectgarbage() end})
					registry:spawn(function()
						mine[i + 200] = coroutine.running()
						wait()
						once "a task"
						wait()
					end)
				end
				for round = 1, 30 do
					if round == 3 then once "outside" once "a finalizer" end
					if not pcall(registry.step, registry, 0.001) then break end
				end
				assert(taken, "nothing was taken")
				for _, use in ipairs{
					function() registry:watch("late", function() end) end,
					function() registry:spawn(function() vigia.sleep(0) end) end,
					function() registry:get_watcher "2":stats() end,
					function() registry:get_watcher "2":set_handler(function() end) end,
					function() registry:remove "3" end,
					function() store:get_events{timeout = 0} end,
					function() store:store_event("CREATE", "Job", {}) end,
					function() for _ = 1, 5 do registry:step(0.001) end end,
					function() registry:stop{timeout = 0.01} end,
					function() registry:close() end,
				} do
					pcall(use)
					collectgarbage()
				end
				local outlive = {contexts, mine}
				registry, store = nil, nil
				collectgarbage()
				collectgarbage()
				for _, ctx in pairs(contexts) do pcall(function() return ctx.attempt, ctx.stopping, ctx.watcher, ctx.store end) end
				for _, value in pairs(mine) do
					if type(value) == "thread" then pcall(coroutine.resume, value) pcall(coroutine.close, value)
					else pcall(value.stats, value) pcall(value.stop, value) end
				end
				assert(outlive)
			end)
		end
	end
end
