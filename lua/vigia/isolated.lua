-- isolated.lua - the side of a script that runs in a program of its own: loads it, calls it, and carries its calls to the supervisor
-- (isolation.lua), which has the store. Called with the channel {send =, receive =, begin =, guard =} (runtime/isolated.c).

local vigia = require("vigia")
local core = require("vigia.core")
local script_module = require("vigia.script")
local wire = require("vigia.wire")
local printable <const> = require("vigia.text").printable

local error, ipairs, pairs, pcall, rawset, setmetatable, tostring, type = error, ipairs, pairs, pcall, rawset, setmetatable, tostring, type
local next, package, pack, unpack = next, package, table.pack, table.unpack

return function(channel)
	local send, receive, begin, guard = channel.send, channel.receive, channel.begin, channel.guard
	local script, id, context

	-- Ask the supervisor, and wait for its answer.
	local function call(on, method, args, objects)
		send({t = "call", on = on, method = method, args = args}, unpack(objects, 1, objects.n))
		local message = pack(receive())
		if message[1].raise then
			error(message[1].raise, 3)
		end
		local results = wire.unpack(message[1].results)
		wire.put_objects(method, results, message)
		return unpack(results, 1, results.n)
	end

	local NOTHING <const> = {n = 0}

	-- Events in arguments are copied, for their objects are taken out.
	local function copy_events(method, args)
		if method == "store_events" and type(args[1]) == "table" then
			local copies = {}
			for i, event in ipairs(args[1]) do
				local copy = event
				if type(event) == "table" then
					copy = {}
					for k, v in pairs(event) do
						rawset(copy, k, v)
					end
				end
				copies[i] = copy
			end
			args[1] = copies
		end
	end

	local function proxy(on, name)
		return setmetatable({}, {__name = name, __index = function(_, method)
			return function(_, ...)
				local args = pack(...)
				copy_events(method, args)
				local objects = wire.take_objects(method, args)
				return call(on, method, wire.pack(unpack(args, 1, args.n)), objects)
			end
		end})
	end
	local store, watcher = proxy("store", "vigia.Store"), proxy("watcher", "vigia.Watcher")
	rawset(watcher, "id", function() return id end)

	local function sleep(seconds)
		return call("vigia", "sleep", wire.pack(seconds), NOTHING)
	end
	vigia.sleep, core.sleep = sleep, sleep

	local function log(level, message)
		send({t = "log", level = level, message = tostring(message)})
	end

	-- A handler's outcome: raised, or nil or false and a message.
	local function outcome(ok, result, message)
		if ok and (result or message == nil) then
			return true
		end
		return false, ok and message or result
	end

	local function event_of(header, object)
		return {seq_num = header.seq_num, timestamp = header.timestamp, operation = header.operation, object_type = header.object_type,
			object = object}
	end

	local function context_of(header)
		return setmetatable({attempt = header.attempt, store = store, watcher = watcher}, {__name = "vigia.Context", __index = function(_, key)
			if key == "stopping" then
				return call("ctx", "stopping", wire.pack(), NOTHING)
			end
		end})
	end

	local function tell_on_error(cause, text, event, ctx)
		local on_error = script.options.on_error
		if on_error then
			local err = wire.unpack({["$error"] = {code = "handler_error", message = text, seq_num = event.seq_num, watcher_id = id}})
			err.cause = cause
			local ok, problem = pcall(on_error, err, event, ctx)
			if not ok then
				log("error", ("watcher '%s': on_error failed: %s"):format(printable(id), tostring(problem)))
			end
		end
	end

	local does = {}

	function does.load(header)
		if header.version ~= vigia._VERSION then
			return {t = "failed", message = ("its program is %s, and not %s"):format(vigia._VERSION, header.version)}
		end
		package.path, package.cpath = header.package_path, header.package_cpath
		context = {store = store, log = log, watcher = watcher}
		guard()
		local ok, result = pcall(script_module.load, header.path,
			{set = header.set, options = {}, inside = true}, {store = store, log = log}, header.source)
		if not ok then
			return {t = "failed", message = tostring(result)}
		end
		script = result
		if type(script.serializer) == "table" then
			return {t = "failed", message = script.path
				.. ": `serializer` of an isolated script must be the name of a module that returns it: it is loaded where the store is"}
		end
		local options = {}
		for name, value in next, script.options do
			if type(value) ~= "function" then
				options[name] = value
			end
		end
		return {t = "loaded", script = wire.pack({path = script.path, id = script.id, serializer = script.serializer, options = options}),
			wants = (script.options.where or type(script.options.filter) == "function") and true or nil}
	end

	function does.init(header)
		id = header.id
		local problem = script_module.call(script, "init", context)
		return problem and {t = "failed", message = problem} or {t = "done"}
	end

	function does.stop()
		local problem = script_module.call(script, "stop", context)
		return problem and {t = "failed", message = problem} or {t = "done"}
	end

	function does.want(header, object)
		local wants = script.options.where or script.options.filter
		local ok, result = pcall(wants, event_of(header, object))
		return ok and {t = "done", wanted = result and true or false} or {t = "failed", message = tostring(result)}
	end

	function does.event(header, object)
		local event, ctx = event_of(header, object), context_of(header)
		local ok, cause = outcome(pcall(script.handle, event, ctx))
		if ok then
			return {t = "done"}
		end
		local shown, text = pcall(tostring, cause)
		text = shown and text or ("(an error object: %s whose __tostring fails)"):format(type(cause))
		tell_on_error(cause, text, event, ctx)
		return {t = "failed", message = text}
	end

	while true do
		local message = pack(receive())
		begin()
		send(does[message[1].t](message[1], message[2]))
	end
end
