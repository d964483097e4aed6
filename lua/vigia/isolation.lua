-- isolation.lua - the supervising side of a script in a program of its own: starts it, hands it events, answers its calls, and makes of
-- its end a failure of the event in hand. Runs in the Lua state of the script's thread, which has the store. The other side: isolated.lua.
--
-- Messages (runtime/bind/process.h), by the field `t`, and the values behind it:
--   to the script      load, init, stop, want + object, event + object;  answer + objects
--   from the script    loaded, done, failed;  call + objects (wants an answer), log

local core = require("vigia.core")
local vigia = require("vigia")
local wire = require("vigia.wire")

local M = {}

local METHODS = {
	store = {store_event = true, store_events = true, get_events = true, get_event = true, get_latest_event_num = true,
		get_oldest_event_num = true, find_time = true, store_checkpoint = true, get_checkpoint = true, delete_checkpoint = true,
		checkpoints = true, stats = true, sync = true, trim = true},
	watcher = {checkpoint = true, seek_to_offset = true, stop = true, stats = true, reload = true},
}

local Isolated = {}
Isolated.__index = Isolated

-- How the program ended, in a sentence about what it was doing.
function Isolated:ended(what, how)
	if how == "cpu" then
		return ("%s took more than %g seconds of processor time (cpu_limit)"):format(what, self.caps.cpu / 1e9)
	elseif how == "memory" then
		return ("%s needs more than %d bytes of memory (memory_limit)"):format(what, self.caps.memory)
	end
	return ("%s failed: %s"):format(what, how)
end

-- Do what the script asks for, here, where the store is.
local function perform(call, objects, ctx)
	local args = wire.unpack(call.args)
	if call.on == "ctx" then
		return wire.pack(ctx.stopping or false)
	elseif call.on == "vigia" then
		return wire.pack(vigia.sleep(args[1]))
	elseif not (METHODS[call.on] and METHODS[call.on][call.method]) then
		error(("%s:%s cannot be called from an isolated script"):format(call.on, call.method), 0)
	end
	wire.put_objects(call.method, args, objects)
	local target = ctx[call.on]
	local results = table.pack(target[call.method](target, table.unpack(args, 1, args.n)))
	local given = wire.take_objects(call.method, results)
	return wire.pack(table.unpack(results, 1, results.n)), given
end

local function answer(self, message, ctx)
	local call = message[1]
	local ok, results, objects = pcall(perform, call, message, ctx)
	if not ok then
		return self.process:send({t = "answer", raise = tostring(results)})
	end
	objects = objects or {n = 0}
	return self.process:send({t = "answer", results = results}, table.unpack(objects, 1, objects.n))
end

-- Send, and serve the script until it has done it. Answers what it said in the end, or nil and a problem; without a process then.
function Isolated:request(what, ctx, header, object)
	local process = self.process
	process:begin(header.t == "load" or header.t == "init")
	local ok, how = process:send(header, object)
	while ok do
		local message = table.pack(process:receive())
		local t = message[1] and message[1].t
		if not t then
			ok, how = nil, message[2]
		elseif t == "call" then
			ok, how = answer(self, message, ctx)
		elseif t == "log" then
			self.log(message[1].level, message[1].message)
		elseif t == "failed" then
			return nil, message[1].message
		else
			return message[1]
		end
	end
	self.process = nil
	process:kill()
	return nil, self:ended(what, how)
end

-- A new program with the script loaded in it.
function Isolated:start()
	local process, problem = core.spawn(self.caps.program, self.caps, self.store)
	if not process then
		return nil, problem
	end
	self.process = process
	local loaded
	loaded, problem = self:request("loading the script", {store = self.store}, {t = "load", version = vigia._VERSION, path = self.path,
		source = self.source, package_path = package.path, package_cpath = package.cpath, set = self.set})
	if not loaded and self.process then
		self.process = nil
		process:kill()
	end
	return loaded, problem
end

function Isolated:init(ctx)
	return self:request("init", ctx, {t = "init", id = ctx.watcher:id()})
end

-- The program ended while it worked on something else: another one. Its init runs again.
function Isolated:ensure(ctx)
	if self.process then
		return true
	end
	local ok, problem = self:start()
	if ok then
		ok, problem = self:init({store = self.store, watcher = ctx.watcher, log = self.log})
	end
	return ok, problem
end

local function event_message(t, event, ctx)
	return {t = t, seq_num = event.seq_num, timestamp = event.timestamp, operation = event.operation, object_type = event.object_type,
		attempt = ctx and ctx.attempt}
end

---Load a script in a program of its own: what vigia.script.load answers.
---@param caps {program: string?, memory: integer, cpu: integer, choose: integer, libraries: integer}
function M.load(path, source, set, given, caps)
	local isolated = setmetatable({path = path, source = source, set = set, store = given.store, log = given.log, caps = caps}, Isolated)
	local loaded, problem = isolated:start()
	if not loaded then
		error(problem:sub(1, #path) == path and problem or path .. ": " .. problem, 0)
	end
	local script = wire.unpack(loaded.script)[1]
	local watcher -- of this script, once it has begun
	script.init = function(ctx)
		watcher = ctx.watcher
		if isolated.process then
			return isolated:init(ctx)
		end
		return isolated:ensure(ctx)
	end
	script.stop = function(ctx)
		if isolated.process then
			local ok, stop_problem = isolated:request("stop", ctx, {t = "stop"})
			if isolated.process then
				isolated.process:kill()
				isolated.process = nil
			end
			return ok, stop_problem
		end
	end
	script.handle = function(event, ctx)
		local ok, handle_problem = isolated:ensure(ctx)
		if not ok then
			error(handle_problem, 0)
		end
		ok, handle_problem = isolated:request("the handler", ctx, event_message("event", event, ctx), event.object)
		if not ok then
			error(handle_problem, 0)
		end
	end
	if loaded.wants then
		script.options.where = function(event)
			local ctx = {store = given.store, watcher = watcher, stopping = false}
			local ok, want_problem = isolated:ensure(ctx)
			if ok then
				ok, want_problem = isolated:request("its filter", ctx, event_message("want", event), event.object)
			end
			if not ok then
				error(want_problem, 0)
			end
			return ok.wanted
		end
	end
	return script
end

return M
