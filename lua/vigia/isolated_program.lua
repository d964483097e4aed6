-- isolated_program.lua - an isolated script, seen from the program it runs in. Loads the script, runs its functions, and sends the calls it
-- makes to the process that has the store (isolated_host.lua). Called with the channel {call =, next =, fits =, limit =, flush =,
-- begin =, guard =} of runtime/isolated.c.
--
-- A finalizer or a hook of the script may call into this file at any point. Each call is one exchange, which nothing interrupts.

local vigia = require("vigia")
local core = require("vigia.core")
local script_module = require("vigia.script")
local wire = require("vigia.wire")
local printable <const> = require("vigia.text").printable

local error, pcall, rawset, setmetatable, tostring, type, xpcall = error, pcall, rawset, setmetatable, tostring, type, xpcall
local getinfo, traceback = debug.getinfo, debug.traceback
local next, package, pack, select, unpack = next, package, table.pack, select, table.unpack

local LEVELS <const> = {debug = true, info = true, warn = true, error = true}

return function(channel)
	local call, next_request, fits, flush = channel.call, channel.next, channel.fits, channel.flush
	local limit_objects, begin, guard = channel.limit, channel.begin, channel.guard
	local script, id, context

	local NOTHING <const> = {n = 0}

	-- Make a call in the host, and wait for the reply. Returns true and the results, or false and what the call raised.
	local function ask(on, method, args, objects, places)
		local message = pack(call({on = on, method = method, args = args, places = places}, unpack(objects, 1, objects.n)))
		local header = message[1]
		if header.raise then
			return false, header.raise
		end
		local results = wire.unpack(header.results)
		wire.put_objects(results, header.places, message)
		return true, unpack(results, 1, results.n)
	end

	-- The same for a function of the script's: raises there.
	local function finish(ok, ...)
		if not ok then
			error((...), 2) -- called as a tail: 2 is the script
		end
		return ...
	end

	-- The words for an argument that cannot be carried, as a function of C names one; nil if all can be.
	local function wrong_argument(method, args)
		local ok, message = pcall(fits, {args = args})
		if ok then
			return nil
		end
		local number, place, problem = tostring(message):match("^object%.args%[(%d+)%]%.?(.-): (.*)$")
		if not number then
			return nil
		end
		problem = problem:gsub("^(%l+) cannot be stored;.*", "a %1 cannot be sent from an isolated script to where the store is")
		return ("bad argument #%s to '%s' (%s%s)"):format(number, printable(tostring(method)), place ~= "" and place .. ": " or "", problem)
	end

	local function plain_call(on, method, args, places)
		local results = pack(pcall(ask, on, method, args, NOTHING, places))
		if results[1] then
			return unpack(results, 2, results.n)
		end
		local wrong = wrong_argument(method, args)
		if not wrong then
			error(results[2], 0)
		end
		return false, wrong
	end

	-- What an object may have at most, as far as is known; the store compares the whole event with its max_event_size. nil: any size.
	local object_max
	-- Bytes of an event beside its object in a message, and more.
	local HEAD_BYTES <const> = 64

	local function limit(bytes)
		object_max = bytes
		limit_objects(bytes and bytes + HEAD_BYTES)
	end

	-- May objects be larger than they might when it was asked last?
	local function is_limit_raised()
		local before = object_max
		local ok, bytes = ask("limit", "", wire.pack(), NOTHING)
		if ok then limit(bytes) end
		return ok and before and (not bytes or bytes > before)
	end

	-- The error that a store returns for an event or a value that cannot be carried, and so cannot be stored.
	local function refusal(objects, places)
		for i = 1, objects.n do
			local ok, message = pcall(fits, {}, objects[i])
			if not ok then
				local large = type(message) == "table" and message.code == "event_too_large"
				local at = #places[i] > 1 and ("events[%s]%s"):format(printable(tostring(places[i][2])), large and ": " or ".") or ""
				local code, text = "serialization_error", tostring(message)
				if large then
					code, text = message.code, text:gsub("max_event_size is %d+", object_max and "max_event_size is " .. object_max)
				end
				return wire.error({code = code, message = at .. text})
			end
		end
	end

	local function store_call(on, method, args, objects, places)
		local results = pack(pcall(ask, on, method, args, objects, places))
		local problem = not results[1] and results[2]
		if type(problem) == "table" and problem.code == "event_too_large" and is_limit_raised() then
			results = pack(pcall(ask, on, method, args, objects, places))
		end
		if results[1] then
			return unpack(results, 2, results.n)
		end
		local refused = refusal(objects, places)
		if refused then
			return true, nil, refused
		end
		return false, wrong_argument(method, args) or results[2]
	end

	local function proxy(on, name)
		return setmetatable({}, {__name = name, __index = function(_, method)
			return function(_, ...)
				local args = pack(...)
				local objects, places = wire.take_arguments(method, args)
				local packed
				packed, args = pcall(wire.pack, unpack(args, 1, args.n))
				if not packed then
					local number, problem = tostring(args):match("^#(%d+): (.*)$")
					return finish(false, number and ("bad argument #%s to '%s' (%s)"):format(number, printable(tostring(method)), problem) or args)
				end
				if objects.n > 0 then
					return finish(store_call(on, method, args, objects, places))
				end
				return finish(plain_call(on, method, args, places))
			end
		end})
	end
	local store, watcher = proxy("store", "vigia.Store"), proxy("watcher", "vigia.Watcher")
	local tx = proxy("tx", "vigia.Transaction")
	rawset(watcher, "id", function() return id end)

	local function sleep(seconds)
		return finish(ask("vigia", "sleep", wire.pack(seconds), NOTHING))
	end
	vigia.sleep, core.sleep = sleep, sleep

	-- A wait of a signal: nothing sets it meanwhile but a hook, so it is a look, a sleep that a stop ends, and another look.
	local signals = getmetatable(core.signal()).__index
	local look = signals.wait

	function signals.wait(signal, timeout)
		local value, err = look(signal, 0)
		if not err or err.code ~= "timeout" or timeout == 0 then
			return value, err
		end
		local slept, problem = sleep(timeout or math.huge)
		if not slept then
			return nil, problem
		end
		return look(signal, 0)
	end

	local function log(level, message)
		if type(level) ~= "string" or not LEVELS[level] then
			error(("bad argument #1 to 'log' (invalid option '%s')"):format(printable(tostring(level))), 2)
		end
		return finish(ask("log", level, wire.pack(tostring(message)), NOTHING))
	end

	-- Where the script raised an error, without the frames of this file; nil if it raised none.
	local trace

	local function note_trace(cause)
		local shown = traceback(nil, 2)
		trace = shown:match("^(.*)\n\t%[C%]: in %l+ 'xpcall'") or shown
		return cause
	end

	local function call_noted(f, ...)
		trace = nil
		return xpcall(f, note_trace, ...)
	end

	-- Where the handler failed, for the log: the host cannot see into this program.
	local function place_of(f)
		if trace then
			return trace
		end
		local about = type(f) == "function" and getinfo(f, "S")
		return about and about.what ~= "C" and ("in the function at %s:%d"):format(about.short_src, about.linedefined) or nil
	end

	-- The outcome of a handler: whether it succeeded, and the error value.
	local judge <const> = core.outcome
	local function outcome(ok, ...)
		if ok then
			return judge(...)
		end
		return false, (...)
	end

	local function event_of(header, object)
		return {seq_num = header.seq_num, timestamp = header.timestamp, operation = header.operation, object_type = header.object_type,
			object = object}
	end

	local function context_of(header)
		local fields = {attempt = header.attempt, store = store, watcher = watcher, tx = header.transactional and tx,
			dead_letter = header.dead_letter}
		return setmetatable(fields, {__name = "vigia.Context", __index = function(_, key)
			if key == "stopping" then
				return finish(ask("ctx", "stopping", wire.pack(), NOTHING))
			end
		end})
	end

	local function tell_on_error(cause, text, event, ctx)
		local on_error = script.options.on_error
		if on_error then
			local err = wire.error({code = "handler_error", message = text, seq_num = event.seq_num, watcher_id = id, cause = cause})
			local ok, problem = pcall(on_error, err, event, ctx)
			if not ok then
				log("error", ("watcher '%s': on_error failed: %s"):format(printable(id), tostring(problem)))
			end
		end
	end

	-- What of a table of options is no function.
	local function plain(options)
		local copy = {}
		for name, value in next, options do
			if type(value) ~= "function" then
				copy[name] = value
			end
		end
		return copy
	end

	local function predicate_of(options)
		local filter = options.filter
		return options.where or (type(filter) == "function" and filter) or (type(filter) == "table" and filter.predicate) or nil
	end

	local does = {}

	function does.load(header)
		if header.version ~= vigia._VERSION then
			return {t = "failed", message = ("its program is %s, and not %s"):format(vigia._VERSION, header.version)}
		end
		limit(header.object_max)
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
		local options = plain(script.options)
		if type(options.filter) == "table" then
			options.filter = plain(options.filter)
		end
		return {t = "loaded", script = wire.pack({path = script.path, id = script.id, serializer = script.serializer, options = options}),
			wants = predicate_of(script.options) and true or nil, keys = type(script.options.lane_key) == "function" or nil}
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
		local wants = predicate_of(script.options)
		local ok, result = call_noted(wants, event_of(header, object))
		return ok and {t = "done", wanted = result and true or false} or {t = "failed", message = tostring(result), place = place_of(wants)}
	end

	function does.key(header, object)
		local key_of = script.options.lane_key
		local ok, key = call_noted(key_of, event_of(header, object))
		if ok and (type(key) == "table" or type(key) == "function" or type(key) == "userdata" or type(key) == "thread") then
			return {t = "failed", message = "lane_key returned a " .. type(key) .. ", allowed: a string, a number, a boolean, nil"}
		end
		return ok and {t = "done", key = key} or {t = "failed", message = tostring(key), place = place_of(key_of)}
	end

	function does.event(header, object)
		local event, ctx = event_of(header, object), context_of(header)
		local ok, cause = outcome(call_noted(script.handle, event, ctx))
		local place = not ok and place_of(script.handle) or nil
		local unwritten = flush() -- if the host cannot write it either, it fails the event
		if ok then
			if unwritten then
				tell_on_error(nil, unwritten, event, ctx)
			end
			return {t = "done"}
		end
		local shown, text = pcall(tostring, cause)
		text = shown and text or ("(an error object: %s whose __tostring fails)"):format(type(cause))
		local lost = header.transactional and select(3, pcall(ask, "ctx", "is_lost", wire.pack(), NOTHING))
		if lost ~= true then -- else it is run again, and has not failed
			tell_on_error(cause, text, event, ctx)
		end
		return {t = "failed", message = text, place = place}
	end

	-- Requests, one after the other.
	local message = pack(next_request())
	while true do
		local header = message[1]
		begin()
		local reply = does[header.t](header, message[2])
		local ok, problem = pcall(fits, reply)
		if not ok then
			reply = {t = "failed", message = "its reply cannot be carried: " .. tostring(problem)}
		end
		message = pack(next_request(reply))
	end
end
