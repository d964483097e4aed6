-- lua_registry.lua - a registry over a store that is written in Lua: the methods of vigia.Registry, for function handlers.
--
-- It decides nothing: core/stepper does, as for every other driver. Each watcher is a task (a coroutine) of a registry of ours beneath,
-- its `host`, and carries out one action after the other; so the store's methods and the handlers may wait with vigia.sleep and all
-- else that waits in a task. The host is driven over the store below a wrapper (`inner`), whose appends wake it, or over an empty one
-- in memory; then the store is asked again and again, or waits by itself.

local core = require "vigia.core"
local watcher = require "vigia.lua_watcher"
local printable <const> = require("vigia.text").printable

local M = {}

local REQUIRED <const> = {
	"get_events", "get_latest_event_num", "get_oldest_event_num", "store_event", "store_events", "store_checkpoint", "get_checkpoint",
}

local Registry = {} -- what watchers see
Registry.__index = Registry

local methods = {} -- what people see
local class = {__index = methods, __name = "vigia.Registry"}

local function check(self)
	if getmetatable(self) ~= class then watcher.bad_self("vigia.Registry expected, got " .. type(self)) end
	if self.registry.ended then watcher.bad_self "the registry is closed" end
	return self.registry
end

local function argument(value, kind, number, method, name)
	if type(value) == kind then return end
	error(("bad argument #%d to '%s' (%s: %s expected, got %s)"):format(number, method, name, kind, type(value)), 3)
end

-- The vigia.Store at the bottom of a stack of wrappers, or nil.
local function bottom(store)
	while type(store) == "table" do store = store.inner end
	return store
end

function M.new(store, options)
	local missing = {}
	for _, name in ipairs(REQUIRED) do
		if type(store[name]) ~= "function" then missing[#missing + 1] = name end
	end
	if missing[1] then
		error(("bad argument #1 to 'registry' (vigia.Store expected, or a store written in Lua, which this table is not: it lacks %s)")
			:format(table.concat(missing, ", ")), 3)
	end
	local inner = bottom(store)
	local host, err = core.registry(inner or core.open(":memory:"), options)
	if not host then return nil, err end
	return setmetatable({registry = setmetatable({
		store = store, host = host, waits = inner ~= nil, watchers = {}, tasks = {}, stops = 0, log_function = options and options.log,
		asking = setmetatable({}, {__mode = "k"}), -- tasks that wait for all to stop
	}, Registry)}, class)
end

-- A log function that fails has nobody to tell.
function Registry.log(self, level, format, ...)
	if self.log_function then pcall(self.log_function, level, format:format(...)) end
end

-- The same for a failure, of a watcher (its stepper) or a task (nil): without a log function it goes to standard error, now and then.
function Registry.failure(self, stepper, level, format, ...)
	if self.log_function then return self:log(level, format, ...) end
	core.tell(self.host, stepper, level, format:format(...))
end

---- watchers ----

function methods:watch(id, handler, options)
	self = check(self)
	argument(id, "string", 1, "watch", "id")
	if type(handler) == "string" then
		return nil, core.new_error{code = "not_supported", watcher_id = id, message =
			("watcher '%s': a store written in Lua lives in one Lua state: a script, which has its own, cannot watch it"):format(printable(id))}
	end
	if handler ~= nil then argument(handler, "function", 2, "watch", "handler") end
	if id:find("\0", 1, true) then error("bad argument #1 to 'watch' (id: must not contain a zero byte)", 2) end
	if #id < 1 or #id > 255 then
		return nil, core.new_error{code = "invalid_argument", message = ("a watcher id has 1 to 255 bytes, this one %d"):format(#id)}
	end
	local w = watcher.new(self, id, handler, options)
	if not handler and w.settings.auto_start then
		return nil, core.new_error{code = "no_handler", watcher_id = id, message =
			("watcher '%s' has no handler: give one, or auto_start = false"):format(printable(id))}
	end
	local old = self.watchers[id]
	if old and old.stepper:state() ~= "stopped" then
		return nil, core.new_error{code = "watcher_already_exists", watcher_id = id, message =
			("watcher '%s' exists already: stop it first"):format(printable(id))}
	end
	local ok, err = w:prepare()
	if ok and w.settings.auto_start then ok, err = w:launch() end
	if not ok then return nil, err end
	if old then old.retired = true end
	self.watchers[id] = w
	return w.public
end

function methods:get_watcher(id)
	self = check(self)
	argument(id, "string", 1, "get_watcher", "id")
	local w = self.watchers[id]
	if w then return w.public end
	return nil, core.new_error{code = "watcher_not_found", watcher_id = id, message = ("there is no watcher '%s'"):format(printable(id))}
end

function methods:remove(id)
	self = check(self)
	argument(id, "string", 1, "remove", "id")
	local w = self.watchers[id]
	if not w then
		return nil, core.new_error{code = "watcher_not_found", watcher_id = id, message = ("there is no watcher '%s'"):format(printable(id))}
	end
	if not w:rests() then return w:state_error("removed") end
	w.removed = true
	self.watchers[id] = nil
	return true
end

function methods:spawn(f)
	self = check(self)
	argument(f, "function", 1, "spawn", "f")
	local task, err
	task, err = core.task(self.host, function()
		local results = table.pack(f())
		self.tasks[task] = nil
		if results.n >= 2 and not results[1] and results[2] ~= nil then error(results[2], 0) end
	end, function(text, ended)
		self.tasks[task] = nil
		if ended then self:log("error", "a task failed: %s", text) else self:failure(nil, "error", "a task failed: %s", text) end
	end)
	if not task then return nil, err end
	self.tasks[task] = true
	if self.stops > 0 then core.cancel(task, true) end
	return true
end

---- driving ----

function Registry:active()
	for _, w in pairs(self.watchers) do
		if w:is_active() then return true end
	end
	return next(self.tasks) ~= nil
end

-- On a clock that is moved by hand nobody looks again by and by: look whether events have come.
function Registry:look()
	local ok, latest = pcall(self.store.get_latest_event_num, self.store)
	if not ok or latest == self.latest then return end
	self.latest = latest
	core.wake(self.host)
end

function Registry:round(timeout)
	if not self.waits and select(2, core.now(self.host)) then self:look() end
	local worked, err = self.host:step(timeout)
	if worked == false and self.closed then return nil, self.closed end
	return worked, err
end

function methods:step(timeout)
	return check(self):round(timeout)
end

function methods:run()
	self = check(self)
	while self:active() do
		local worked, err = self:round(math.huge)
		if worked == nil then return nil, err end
		if not worked and select(2, core.now(self.host)) then return true end -- until the clock is advanced
	end
	return true
end

function methods:pollfd()
	return check(self).host:pollfd()
end

-- The watcher whose task this is.
function Registry:of_task(task)
	for _, w in pairs(self.watchers) do
		if w.task == task then return w end
	end
end

local LOOK_S <const> = 0.002 -- how often a coroutine looks that is not woken by what it waits for

-- Drive until done() or the timeout; in a handler or task: let the others go on until then.
function Registry:wait_for(done, timeout)
	local may_wait = core.inside(self.host)
	local deadline = core.monotonic() + timeout
	while not done() do
		local left = math.max(0, deadline - core.monotonic())
		if may_wait == false then return false end
		if may_wait then
			core.wait(left)
		elseif core.may_wait() then -- in a coroutine of another registry: its others go on
			self.host:step(0)
			core.sleep(math.min(left, LOOK_S))
		else
			local worked = self.host:step(left)
			if worked == nil or (not worked and select(2, core.now(self.host))) then return done() end
		end
		if left == 0 then return done() end
	end
	return true
end

function methods:stop(options)
	self = check(self)
	local timeout = watcher.timeout(options, "stop")
	for _, w in pairs(self.watchers) do w:ask_to_stop() end
	for task in pairs(self.tasks) do core.cancel(task, true) end
	self.stops = self.stops + 1 -- what is started meanwhile is to stop, too
	local _, me = core.inside(self.host)
	local function left()
		local names, tasks = {}, 0
		for id, w in pairs(self.watchers) do
			if not w:rests() and w.task ~= me then names[#names + 1] = ("'%s'"):format(printable(id)) end
		end
		for task in pairs(self.tasks) do
			if task ~= me then tasks = tasks + 1 end
		end
		table.sort(names)
		return names, tasks
	end
	for _, w in pairs(self.watchers) do -- a handler that waits for all to stop cannot stop before
		if w.task and w.task ~= me and self.asking[w.task] then timeout = 0 end
	end
	if me then self.asking[me] = true end
	local stopped = self:wait_for(function()
		local names, tasks = left()
		return #names == 0 and tasks == 0
	end, timeout)
	if me then self.asking[me] = nil end
	self.stops = self.stops - 1
	if stopped then return true end
	local names = left()
	local text = "tasks did not end in time"
	if #names > 0 then
		text = ("%d watcher%s did not stop in time: %s"):format(#names, #names == 1 and "" or "s", table.concat(names, ", "))
	end
	return nil, core.new_error{code = "invalid_state", message = text}
end

-- Progress is saved, as far as that needs no waiting; no handler goes on.
function methods:close()
	if getmetatable(self) ~= class then check(self) end
	local registry = self.registry
	if registry.ended then return true end
	if core.inside(registry.host) ~= nil then error("a registry cannot be closed from one of its handlers", 2) end
	self:stop{timeout = 0}
	registry.host:close()
	registry.ended = true
	for _, w in pairs(registry.watchers) do w:disown() end
	return true
end

class.__close = methods.close

class.__tostring = function(self)
	return ("vigia.Registry: %s%s"):format(tostring(self.registry.store), self.registry.ended and " (closed)" or "")
end

return M
