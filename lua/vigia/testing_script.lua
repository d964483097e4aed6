-- testing_script.lua - testing.script: runs a handler script as registry:watch does, but in the Lua state of the test, over a store in
-- memory and by a clock that the test moves. Described in api_testing.lua.

local core = require "vigia.core"
local loader = require "vigia.script"
local text = require "vigia.text"
local vigia = require "vigia"

local STEP <const> = 0.05 -- seconds by which drain moves the clock

local LEVELS <const> = {debug = true, info = true, warn = true, error = true}

-- Options that are fields of ours, and not the watcher's.
local OWN <const> = {set = true, id = true, store = true, clock = true}

local Script = {}
Script.__index = Script
Script.__name = "vigia.testing.Script"

-- The options of a watcher that are about the thread of a script have no meaning here.
local function watch_options()
	local known, of_thread = {}, {}
	for _, option in ipairs(core.options "watch") do
		if option.scope == "script" then of_thread[option.name] = true
		elseif option.name ~= "auto_start" then known[option.name] = true end
	end
	return known, of_thread
end

local function check_options(options, known)
	if options ~= nil and type(options) ~= "table" then error("options: table expected, got " .. type(options), 4) end
	for name in pairs(options or {}) do
		if not OWN[name] and not known[name] then
			local names = {}
			for _, set in ipairs{OWN, known} do
				for other in pairs(set) do names[#names + 1] = other end
			end
			table.sort(names)
			error(("unknown option '%s'%s"):format(tostring(name), text.did_you_mean(tostring(name), names)), 4)
		end
	end
end

-- What a script gets of `set`: a copy of its plain values, in the form of an event's object. Or nil, and what is wrong.
local function copy(set)
	if set == nil then return {} end
	if type(set) ~= "table" then return nil, ("set is a %s, allowed: a table {name = value}"):format(type(set)) end
	local line, err = vigia.to_json{seq_num = 0, timestamp = 0, operation = "-", object_type = "-", object = set}
	if not line then return nil, (tostring(err):gsub("^object", "set")) end
	return assert(core.from_json(line)).object
end

local function script_error(message)
	return core.new_error{code = "script_error", message = message}
end

-- Until it is closed, `require` finds modules beside the script first.
local function beside(path)
	local before, folder = package.path, path:match "^(.*)/[^/]*$" or "."
	if not folder:find "[;?]" then package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(folder, folder, before) end
	return setmetatable({}, {__close = function() package.path = before end})
end

local function read(source)
	local path = source
	if not (source:find("/", 1, true) or source:find "%.lua$") then
		local found, problem = package.searchpath(source, package.path)
		if not found then return nil, ("there is no script '%s':%s"):format(source, problem:gsub("^%s*", "\n\t")) end
		path = found
	end
	local file <close>, why = io.open(path, "rb")
	if not file then return nil, "cannot open " .. why end
	local bytes
	bytes, why = file:read "a"
	if not bytes then return nil, ("cannot read %s: %s"):format(path, why) end
	return path, bytes
end

local function load_script(self, source, set)
	local path, bytes = read(source)
	if not path then return nil, bytes end
	self.path = path
	-- Globals of its own, as in a state of its own.
	local env = setmetatable({}, {__index = _G})
	env._G = env
	local _ <close> = beside(path)
	local ok, script = pcall(loader.from_source, path, bytes, {store = self.store, log = self.inside.write, set = set}, env)
	if not ok then return nil, script end
	return script
end

-- Call init or stop. Returns true, or nil and an error.
local function call(self, hook)
	local problem = loader.call(self.inside.script, hook, {store = self.store, watcher = self.watcher, log = self.inside.write})
	if problem then return nil, script_error(problem) end
	return true
end

-- What is due at this moment of the clock. A watcher that its handler has stopped runs `stop`, as any other that has stopped.
local function run(self)
	local inside = self.inside
	local _ <close> = beside(self.path)
	if not inside.began then
		local ok, err = self:start()
		if not ok then return nil, err end
	end
	local ok, err = self.registry:run()
	if ok and inside.started and self.watcher:stats().state == "stopped" then
		inside.started = false
		return call(self, "stop")
	end
	return ok, err
end

function Script:start()
	local _ <close> = beside(self.path)
	self.inside.began = true
	if self.inside.started then return self.watcher:start() end
	local ok, err = call(self, "init")
	if ok then ok, err = self.watcher:start() end
	self.inside.started = ok ~= nil
	return ok, err
end

function Script:run()
	return run(self)
end

function Script:advance(seconds)
	self.clock:advance(seconds)
	return run(self)
end

local function has_retries(self)
	for _, letter in ipairs(self.store:dead_letters{watcher = self.id} or {}) do
		if letter.retry then return true end
	end
	return false
end

function Script:drain(seconds)
	seconds = seconds or 60
	if type(seconds) ~= "number" or seconds < 0 or seconds ~= seconds then
		error("seconds: a number of 0 or more expected, got " .. tostring(seconds), 2)
	end
	local ends = self.clock:now() + seconds
	local ok, err = run(self)
	while ok do
		local stats = self.watcher:stats()
		if stats.lag == 0 and not has_retries(self) then return true end
		if stats.state ~= "running" then
			return nil, stats.last_error or core.new_error{code = "invalid_state", watcher_id = self.id,
				message = ("watcher '%s' is %s, with a lag of %d"):format(text.printable(self.id), stats.state, stats.lag)}
		end
		if self.clock:now() >= ends then
			return nil, core.new_error{code = "timeout", watcher_id = self.id, cause = stats.last_error,
				message = ("watcher '%s' has a lag of %d after %g s of the clock%s"):format(text.printable(self.id), stats.lag, seconds,
					stats.last_error and ": " .. tostring(stats.last_error) or "")}
		end
		ok, err = self:advance(math.min(STEP, math.max(ends - self.clock:now(), 0)))
	end
	return nil, err
end

function Script:append(operation, object_type, object, options)
	return assert(self.store:store_event(operation, object_type, object, options))
end

function Script:events(filter)
	return assert(self.store:get_events{event_iterator = vigia.at_sequence_number(1), filter = filter, timeout = 0, limit = 0}).events
end

function Script:stats()
	return self.watcher:stats()
end

function Script:stop()
	local inside = self.inside
	local _ <close> = beside(self.path)
	if not inside.started then return true end
	local ok, err = self.watcher:stop()
	inside.started = false
	local good, problem = call(self, "stop")
	if not ok then return ok, err end
	return good, problem
end

function Script:close()
	if self.registry then self.registry:close() end
	if self.inside.own_store then self.store:close() end
end

Script.__close = Script.close

-- testing.script, which calls it: wrong use is raised two levels up.
return function(source, options)
	if type(source) ~= "string" then error("source: string expected, got " .. type(source), 3) end
	local known, of_thread = watch_options()
	check_options(options, known)
	options = options or {}
	local set, wrong = copy(options.set)
	if not set then error(wrong, 3) end

	local testing, log = require "vigia.testing", {}
	local function write(level, message)
		if not LEVELS[level] then error(("log: the level must be debug, info, warn or error, not %s"):format(tostring(level)), 2) end
		log[#log + 1] = {level = level, message = tostring(message)}
	end
	local clock = options.clock or testing.clock()
	local inside = {own_store = options.store == nil, write = write}
	local self = setmetatable({log = log, clock = clock, store = options.store or testing.store{clock = clock}, inside = inside}, Script)
	local function failed(err)
		self:close()
		return nil, type(err) == "string" and script_error(err) or err
	end

	local script, problem = load_script(self, source, set)
	if not script then return failed(problem) end
	if script.serializer and inside.own_store then
		return failed(("%s: `serializer`: give testing.script a store that has it, as in testing.store{serializer = ...}"):format(script.path))
	end
	inside.script, self.id = script, options.id or script.id
	local wanted = {}
	for _, given in ipairs{script.options, options} do
		for name, value in pairs(given) do
			if not OWN[name] and not of_thread[name] then wanted[name] = value end
		end
	end
	wanted.auto_start = false
	self.registry = vigia.registry(self.store, {clock = clock, log = write})
	local ok, watcher, err = pcall(self.registry.watch, self.registry, self.id, script.handle, wanted)
	if not ok then
		return failed(("%s: %s"):format(script.path, tostring(watcher):match "%(watch options: (.*)%)$" or tostring(watcher)))
	elseif not watcher then
		return failed(err)
	end
	self.watcher = watcher
	return self
end
