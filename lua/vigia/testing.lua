-- testing.lua - doubles for testing handlers and code that uses a registry, without a disk, a sleep or another process; described in
-- api.lua.
--
-- Only testing.watcher, testing.context and testing.registry need luassert.

local core = require "vigia.core"
local vigia = require "vigia"

---@type vigia.testing
local M = {}

function M.store(options)
	-- No collector: its commits would save the watchers' progress at times of their own.
	local given = {collect = false}
	for name, value in pairs(options or {}) do given[name] = value end
	local clock = given.clock
	given.clock = nil
	local store = assert(vigia.open(":memory:", given))
	if clock ~= nil then assert(core.use_clock(store, clock)) end
	return store
end

M.clock = core.clock

function M.event(fields)
	local event = {seq_num = 1, operation = vigia.CREATE, object_type = "Test", timestamp = 0}
	for name, value in pairs(fields or {}) do event[name] = value end
	return event
end

-- The error of a call that must fail: the given object or message, or a plain message.
local function failure(err, what)
	if err == nil then return what .. " was told to fail" end
	return err
end

local function check_count(count, name)
	if type(count) ~= "number" or not math.tointeger(count) or count < 1 then
		error(name .. ": integer of 1 or more expected, got " .. tostring(count), 3)
	end
end

---- handlers ----

local Handler = {}
Handler.__index = Handler
Handler.__name = "vigia.testing.Handler"

-- Whether this call must fail, and with which error.
local function verdict(handler, event, ctx)
	if handler.always then return true, handler.always_error end
	for _, rule in ipairs(handler.rules) do
		if rule.matches(event, ctx) then return true, rule.error end
	end
	if handler.failures > 0 then
		handler.failures = handler.failures - 1
		return true, handler.next_error
	end
	return false
end

function M.handler(action)
	if action ~= nil and type(action) ~= "function" then error("action: function expected, got " .. type(action), 2) end
	local handler = setmetatable({calls = {}, rules = {}, failures = 0}, Handler)
	handler.handle = function(event, ctx)
		local call = {event = event, attempt = ctx and ctx.attempt, stopping = ctx and ctx.stopping}
		handler.calls[#handler.calls + 1] = call
		local fails, err = verdict(handler, event, ctx)
		call.failed = fails
		if fails then error(failure(err, "the handler"), 0) end
		if action then return action(event, ctx) end
	end
	return handler
end

function Handler:fail_next(count, err)
	count = count or 1
	check_count(count, "count")
	self.failures, self.next_error = count, err
	return self
end

function Handler:fail_on(which, err)
	local matches = which
	if type(which) == "number" and math.tointeger(which) then
		matches = function(event) return event.seq_num == which end
	elseif type(which) ~= "function" then
		error("which: the number of an event, or a function, expected, got " .. type(which), 2)
	end
	self.rules[#self.rules + 1] = {matches = matches, error = err}
	return self
end

function Handler:fail_always(err)
	self.always, self.always_error = true, err
	return self
end

function Handler:succeed()
	self.always, self.failures, self.rules = false, 0, {}
	return self
end

function Handler:seq_nums(only_handled)
	local numbers = {}
	for _, call in ipairs(self.calls) do
		if not (only_handled and call.failed) then numbers[#numbers + 1] = call.event.seq_num end
	end
	return numbers
end

---- stores that fail as they are told ----

local MockStore = {}
local is_method = {} -- of the inner store; others are not the double's to fail

local function check_method(store, method)
	if not is_method[store][method] then error(("method: '%s' is not a method of a store"):format(tostring(method)), 3) end
end

local function store_failure(err, method)
	if type(err) == "table" and err.code then
		err.message = err.message or method .. " was told to fail"
		return core.new_error(err)
	end
	return core.new_error{code = "io_error", message = err and tostring(err) or method .. " was told to fail"}
end

-- Keyed by the double, so that what a store has for methods is not hidden by what we keep.
setmetatable(is_method, {__mode = "k"})

function M.mock_store(inner)
	inner = inner or M.store()
	local methods, known, plans = {}, {}, {}
	local store = {inner = inner, calls = {}, plans = plans}
	for name, method in pairs(debug.getmetatable(inner).__index) do
		known[name] = true
		methods[name] = function(self, ...)
			local call = {method = name, arguments = table.pack(...)}
			self.calls[#self.calls + 1] = call
			local plan = plans[name]
			call.failed = plan ~= nil
			if not plan then return method(self.inner, ...) end
			plan.left = plan.left - 1
			if plan.left <= 0 then plans[name] = nil end
			return nil, store_failure(plan.error, name)
		end
	end
	for name, method in pairs(MockStore) do methods[name] = method end
	is_method[store] = known
	return setmetatable(store, {
		__index = methods, __name = "vigia.testing.MockStore", __close = function(self) self.inner:close() end,
		__tostring = function(self) return "vigia.testing.MockStore: " .. tostring(self.inner) end,
	})
end

function MockStore:fail_next(method, err, count)
	check_method(self, method)
	count = count or 1
	check_count(count, "count")
	self.plans[method] = {error = err, left = count}
	return self
end

function MockStore:fail_always(method, err)
	check_method(self, method)
	self.plans[method] = {error = err, left = math.huge}
	return self
end

function MockStore:succeed(method)
	if method ~= nil then check_method(self, method) end
	for name in pairs(self.plans) do
		if method == nil or name == method then self.plans[name] = nil end
	end
	return self
end

function MockStore:calls_of(method)
	check_method(self, method)
	local found = {}
	for _, call in ipairs(self.calls) do
		if call.method == method then found[#found + 1] = call end
	end
	return found
end

---- scripts ----

function M.script(source, options)
	local script, err = require "vigia.testing_script"(source, options)
	return script, err
end

---- mocks on luassert's spies ----

local function spies(object, functions)
	local spy = require "luassert.spy"
	for name, f in pairs(functions) do object[name] = spy.new(f) end
	return object
end

local function yes()
	return true
end

function M.watcher(id, stats)
	id = id or "watcher"
	return spies({}, {
		id = function() return id end,
		stats = function()
			local result = {
				id = id, state = "running", next_event_iterator = vigia.after_sequence_number(0), last_processed_seq_num = 0,
				last_processed_event_time = 0, last_listen_time = 0, lag = 0, processed = 0, failed = 0, retried = 0, skipped = 0, dead_lettered = 0,
				missed = 0, fetch_errors = 0,
				paused = false,
			}
			for name, value in pairs(stats or {}) do result[name] = value end
			return result
		end,
		checkpoint = yes, seek_to_offset = yes, set_handler = yes, start = yes, stop = yes, reload = yes,
	})
end

function M.context(fields)
	local context = {attempt = 1, stopping = false}
	for name, value in pairs(fields or {}) do context[name] = value end
	context.watcher = context.watcher or M.watcher()
	context.store = context.store or M.store()
	return context
end

-- Call a handler as a registry does: true, or nil and what it raised or returned.
local function call(handler, event, context)
	local results = table.pack(pcall(handler, event, context))
	if not results[1] then return nil, results[2] end
	local good, reason = core.outcome(table.unpack(results, 2, results.n))
	if not good then return nil, reason end
	return true
end

function M.registry(store)
	local watchers, registry = {}, {}
	local function known(id)
		if watchers[id] then return watchers[id].watcher end
		return nil, core.new_error{code = "watcher_not_found", message = ("there is no watcher '%s'"):format(id), watcher_id = id}
	end
	registry.deliver = function(_, id, event, fields)
		local entry = watchers[id]
		if not entry then error(("no watcher '%s' was watched in this registry"):format(id), 2) end
		local context = M.context(fields)
		context.watcher, context.store = entry.watcher, store or context.store
		return call(entry.handler, event, context)
	end
	return spies(registry, {
		watch = function(_, id, handler)
			if watchers[id] then
				return nil, core.new_error{
					code = "watcher_already_exists", message = ("watcher '%s' exists already: stop it first"):format(id), watcher_id = id}
			end
			watchers[id] = {watcher = M.watcher(id), handler = handler}
			return watchers[id].watcher
		end,
		get_watcher = function(_, id) return known(id) end,
		spawn = function(_, f)
			f()
			return true
		end,
		remove = function(_, id)
			local watcher, err = known(id)
			if not watcher then return nil, err end
			watchers[id] = nil
			return true
		end,
		run = yes, stop = yes, close = yes,
		step = function() return false end,
		pollfd = function()
			return nil, core.new_error{code = "not_supported", message = "a registry that is a double has no file descriptor"}
		end,
	})
end

return M
