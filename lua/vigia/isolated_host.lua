-- isolated_host.lua - an isolated script, seen from the process that has the store. Starts the script's program, sends it requests, and
-- performs the calls that the script makes meanwhile. If the program ends, the event in hand fails. Runs in the Lua state of the script's
-- thread. The other side of the socket is isolated_program.lua.
--
-- Messages (runtime/bind/process.h). The first value is a table:
--   a request          {t = "load" | "init" | "stop" | "want" | "event", ...}; for want and event the event's object follows
--   a call meanwhile   {on =, method =, args =, places =}, objects of events; the reply: {results =, places =}, objects, or {raise =}
--   a request's end    {t = "loaded" | "done" | "failed", ...}
-- Messages are numbered, and both sides check the numbers. A message that does not fit ends the program: the event fails, and the next
-- attempt starts another program.

local core = require("vigia.core")
local vigia = require("vigia")
local wire = require("vigia.wire")
local printable <const> = require("vigia.text").printable

local M = {}

local METHODS = {
	store = {store_event = true, store_events = true, get_events = true, get_event = true, get_latest_event_num = true,
		get_oldest_event_num = true, find_time = true, explain = true, store_checkpoint = true, get_checkpoint = true,
		wait_for = true, seek = true, pause = true, resume = true, retry = true, forget = true, delete_checkpoint = true, checkpoints = true,
		watchers = true, stats = true, sync = true, trim = true,
		get = true, put = true, delete = true, range = true, buckets = true, drop_bucket = true, schedule = true, unschedule = true,
		scheduled = true, dead_letters = true, retry_dead_letter = true, drop_dead_letter = true},
	tx = {get = true, put = true, delete = true, range = true, store_event = true, store_events = true},
	watcher = {checkpoint = true, seek_to_offset = true, stop = true, stats = true, reload = true},
}

local LEVELS <const> = {debug = true, info = true, warn = true, error = true}

-- How a request ends when it does not fail.
local ENDS <const> = {load = "loaded", init = "done", stop = "done", want = "done", key = "done", event = "done"}

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

local function text_of(value)
	local ok, text = pcall(tostring, value)
	return ok and text or ("(an error object: %s whose __tostring fails)"):format(type(value))
end

-- The most bytes that an object of an event can have, so that the program need not write and send a larger one. JSON is never shorter than
-- a third of the same object here. nil: that is for another serializer to say, or is not known.
local function object_max(store)
	local ok, stats = pcall(store.stats, store)
	local times = ok and stats and ({msgpack = 1, json = 3})[stats.serializer]
	return times and times * stats.max_event_size or nil
end

-- Perform a call of the script's. Returns its results as wire.pack gives them, the objects of events, and their places.
local function perform(self, call, message, ctx)
	local args = wire.unpack(call.args)
	if call.on == "ctx" and call.method == "is_lost" then
		return wire.pack(core.is_lost(ctx.tx))
	elseif call.on == "ctx" then
		return wire.pack(ctx.stopping or false)
	elseif call.on == "vigia" then
		return wire.pack(vigia.sleep(args[1]))
	elseif call.on == "limit" then
		return wire.pack(object_max(self.store))
	elseif call.on == "log" then
		return wire.pack(self.log(call.method, args[1]))
	elseif not (METHODS[call.on] and METHODS[call.on][call.method]) then
		error(("%s:%s cannot be called from an isolated script"):format(call.on, call.method), 0)
	end
	local target = ctx[call.on]
	if not target then
		error("there is no watcher yet", 0)
	end
	wire.put_objects(args, call.places, message)
	local results = table.pack(target[call.method](target, table.unpack(args, 1, args.n)))
	local objects, places = wire.take_results(call.method, results)
	return wire.pack(table.unpack(results, 1, results.n)), objects, places
end

-- The text of what a call raised, for the script: without this file's own position.
local function raised(call, value)
	local text = text_of(value):gsub("^[^\n]-isolated_host%.lua:%d+: ", "")
	return (text:gsub("^bad argument #(%d+) to '%?'", function(number)
		return ("bad argument #%d to '%s'"):format(number - 1, call.method) -- the object itself was counted
	end))
end

-- Can isolated_program.lua have sent this call?
local function can_be_call(call)
	return wire.is_list(call.args) and (call.places == nil or type(call.places) == "table")
		and (call.on ~= "log" or (LEVELS[call.method] and type(call.args[1]) == "string"))
end

-- Perform a call, and send the reply; what the call raises is sent to the script. `message`: true, the call, its objects.
-- Returns true, or nil and how the program ended.
local function reply_to(self, process, message, ctx)
	table.remove(message, 1)
	if not can_be_call(message[1]) then
		return nil, wire.FOREIGN
	end
	local ok, results, objects, places = pcall(perform, self, message[1], message, ctx)
	if ok then
		objects = objects or {n = 0}
		local sent, good, how = pcall(process.reply, process, {results = results, places = places or {}},
			table.unpack(objects, 1, objects.n))
		if sent then
			return good, how
		end
		results = good -- the results cannot be carried: nothing was sent
	end
	return process:reply({raise = raised(message[1], results)})
end

-- Perform the script's calls until its request ends. Returns the message that ends it, or nil and how the program ended.
local function serve(self, process, ctx)
	while true do
		local message = table.pack(process:receive())
		local is_call, how = message[1], message[2]
		if is_call then
			is_call, how = reply_to(self, process, message, ctx)
		elseif is_call == false then
			return how
		end
		if is_call == nil then
			return nil, how
		end
	end
end

-- Send a request, and serve the script until it ends. Returns the message that ends it, or nil and a problem; after that there is no
-- process if the program is lost.
function Isolated:request(what, ctx, header, object)
	local process = self.process
	if self.busy then
		-- An earlier request was given up while the script waited: the program still works on it.
		return self:give_up(what, "its program is still busy with another call")
	end
	process:begin(header.t == "load" or header.t == "init")
	local sent, ok, how = pcall(process.ask, process, header, object)
	if not sent then
		return nil, ("%s failed: %s"):format(what, text_of(ok)) -- the request cannot be carried: nothing was sent
	end
	self.busy = true
	local reply
	if ok then
		local good
		good, reply, how = pcall(serve, self, process, ctx)
		if not good then
			reply, how = nil, text_of(reply)
		end
	end
	if not reply then
		return self:give_up(what, how)
	elseif reply.t ~= "failed" and reply.t ~= ENDS[header.t] then
		return self:give_up(what, wire.FOREIGN)
	end
	self.busy = false
	if reply.t == "failed" then
		return nil, text_of(reply.message), type(reply.place) == "string" and reply.place or nil
	end
	return reply
end

-- End a program that cannot be used any more. Returns nil and the reason.
function Isolated:give_up(what, how)
	local process = self.process
	self.process, self.busy = nil, false
	process:kill()
	return nil, self:ended(what, how)
end

local function is_text(value)
	return type(value) == "string" and not value:find("\0", 1, true)
end

-- The script as the program describes it; nil if the description is not one that isolated_program.lua makes.
local function described(loaded)
	local ok, values = pcall(wire.unpack, loaded.script)
	local script = ok and values[1]
	if type(script) == "table" and is_text(script.path) and is_text(script.id) and type(script.options) == "table"
		and #script.id >= 1 and #script.id <= 255 and (script.serializer == nil or is_text(script.serializer)) then
		return {path = script.path, id = script.id, serializer = script.serializer, options = script.options, wants = loaded.wants,
			keys = loaded.keys}
	end
end

-- Start a new program, and load the script in it. Returns the script's description, or nil and a problem.
function Isolated:start()
	local process, problem = core.spawn(self.caps.program, self.caps, self.store)
	if not process then
		return nil, problem
	end
	self.process, self.busy = process, false
	local loaded
	loaded, problem = self:request("loading the script", {store = self.store}, {t = "load", version = vigia._VERSION, path = self.path,
		source = self.source, object_max = object_max(self.store), package_path = package.path, package_cpath = package.cpath, set = self.set})
	if not loaded and self.process then
		self.process = nil
		process:kill()
	end
	local script = loaded and described(loaded)
	if loaded and not script then
		return self:give_up("loading the script", wire.FOREIGN)
	end
	return script, problem
end

function Isolated:init(ctx)
	return self:request("init", ctx, {t = "init", id = ctx.watcher:id()})
end

-- Start another program if the last one was lost, and run the script's init again. Returns true, or nil and a problem.
function Isolated:ensure(ctx)
	if self.process and not self.busy then
		return true
	elseif self.process then
		self:give_up("it", "busy")
	end
	local ok, problem = self:start()
	if ok then
		ok, problem = self:init({store = self.store, watcher = ctx.watcher, log = self.log})
	end
	return ok, problem
end

-- Raise a failure of the script. `place` says where in the other program it happened; nil: that program ended or did not start.
local function fail(self, text, place)
	error(setmetatable({}, {__tostring = function() return text_of(text) end, __vigia_place = place or "in " .. printable(self.path)}), 0)
end

local function event_message(t, event, ctx)
	return {t = t, seq_num = event.seq_num, timestamp = event.timestamp, operation = event.operation, object_type = event.object_type,
		attempt = ctx.attempt, transactional = ctx.tx and true or nil, dead_letter = ctx.dead_letter}
end

---Load a script in a program of its own. Returns what vigia.script.load returns.
---@param caps {program: string?, memory: integer, cpu: integer, choose: integer, libraries: integer}
function M.load(path, source, set, given, caps)
	local isolated = setmetatable({path = path, source = source, set = set, store = given.store, log = given.log, caps = caps,
		busy = false}, Isolated)
	local script, problem = isolated:start()
	if not script then
		error(problem:sub(1, #path) == path and problem or path .. ": " .. problem, 0)
	end
	local watcher -- of this script; nil before init
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
	-- One message about an event; raises how it failed.
	local function ask(what, t, event, ctx)
		local reply, how = isolated:ensure(ctx)
		local place
		if reply then
			reply, how, place = isolated:request(what, ctx, event_message(t, event, ctx), event.object)
		end
		return reply or fail(isolated, how, place)
	end
	script.handle = function(event, ctx)
		ask("the handler", "event", event, ctx)
	end
	if script.wants then
		script.options.where = function(event)
			return ask("its filter", "want", event, {store = given.store, watcher = watcher, stopping = false}).wanted
		end
	end
	if script.keys then
		script.options.lane_key = function(event)
			return ask("its lane_key", "key", event, {store = given.store, watcher = watcher, stopping = false}).key
		end
	end
	return script
end

return M
