-- wrapper.lua - a store over another one that changes objects on their way in and out, or hides events: an example of a store in Lua.
--
--     local wrapper = require "vigia.wrapper"
--     local store = wrapper.new(vigia.open("jobs.db"), {
--         encode = function(object) return seal(object) end,   -- what is stored instead
--         decode = function(object) return unseal(object) end, -- and back
--         keep = function(event) return event.object_type ~= "Secret" end, -- what readers of this store see
--     })
--     local registry = vigia.registry(store) -- watchers that are functions
--
-- encode and decode may be called for an event more than once. An error they raise becomes a serialization_error or deserialization_error.
-- Numbers are the inner store's, so hidden events leave gaps. All other calls go to the inner store unchanged.

local core = require "vigia.core"

local M = {}

local FUNCTIONS <const> = {encode = true, decode = true, keep = true}

local Wrapper = {}
local class = {__index = Wrapper, __name = "vigia.Wrapper"}

local function call(inner, name, ...)
	local results = table.pack(inner[name](inner, ...))
	return table.unpack(results, 1, results.n)
end

-- What was raised here is the caller's mistake, and is raised there, at this level. The method was called without its name, and the object
-- counted as an argument.
local function pass(level, name, ok, ...)
	if ok then return ... end
	local message, here = ..., 0
	if type(message) == "string" then message, here = message:gsub("^[^\n]-wrapper%.lua:%d+: ", "") end
	if here == 0 then error(message, 0) end
	message = message:gsub("^bad argument #(%d+) to '%?'", function(number)
		return ("bad argument #%d to '%s'"):format(number - 1, name)
	end)
	error(message, level)
end

-- Call a method of the inner store. `level` as for error; 2 is the caller of the function that calls this one last.
local function ask(level, self, name, ...)
	return pass(level, name, pcall(call, self.inner, name, ...))
end

for _, name in ipairs{
	"get_latest_event_num", "get_oldest_event_num", "find_time", "trim", "gc", "holds", "watchers", "sync", "store_checkpoint",
	"get_checkpoint", "delete_checkpoint", "checkpoints", "stats", "configure", "backup", "export", "import", "close",
} do
	Wrapper[name] = function(self, ...) return ask(2, self, name, ...) end
end

-- What lies in buckets does not go through encode and decode, nor do a transaction's events: so there are none here.
for _, name in ipairs{"transaction", "get", "put", "delete", "range", "buckets", "drop_bucket"} do
	Wrapper[name] = function()
		return nil, core.new_error{code = "not_supported", message = name .. ": a wrapper has no buckets and transactions; use the inner store's"}
	end
end

-- A letter keeps the bytes of an event, which decode has not seen.
for _, name in ipairs{"dead_letters", "retry_dead_letter", "drop_dead_letter"} do
	Wrapper[name] = function()
		return nil, core.new_error{code = "not_supported", message = name .. ": a wrapper has no dead letters; use the inner store's"}
	end
end

-- Its watchers save through store_checkpoint, when they would anyway.
Wrapper.wait_for = function()
	return nil, core.new_error{code = "not_supported", message = "wait_for: a wrapper cannot wait for a watcher; use the inner store's"}
end

-- Nor does the inner store know the places of its watchers.
for _, name in ipairs{"seek", "pause", "resume", "retry", "forget"} do
	Wrapper[name] = function()
		return nil, core.new_error{code = "not_supported", message = name .. ": a wrapper cannot steer watchers; only their own program can"}
	end
end

-- Nor would the event of a timer, which the inner store appends later.
for _, name in ipairs{"schedule", "unschedule", "scheduled"} do
	Wrapper[name] = function()
		return nil, core.new_error{code = "not_supported", message = name .. ": a wrapper has no timers; use the inner store's"}
	end
end

---@class vigia.WrapperFunctions
---@field encode? fun(object: any): any
---@field decode? fun(object: any): any
---@field keep? fun(event: vigia.Event): boolean
---@field checkpoint_interval? number|string the option of vigia.open, for this store's watchers (default 1)

---Wrap the store `inner` with these functions. Closing the wrapper closes it.
---@param inner vigia.Store a store of vigia.open, or another written in Lua
---@param functions? vigia.WrapperFunctions
---@return vigia.Store
function M.new(inner, functions)
	if type(inner) ~= "userdata" and type(inner) ~= "table" then error("inner: a store expected, got " .. type(inner), 2) end
	if functions ~= nil and type(functions) ~= "table" then error("functions: a table expected, got " .. type(functions), 2) end
	local interval = functions and functions.checkpoint_interval
	local seconds = type(interval) == "string" and interval:find("%a$") and core.quantity("duration", interval) or interval
	if interval ~= nil and (type(seconds) ~= "number" or seconds < 0) then
		error("checkpoint_interval: a number of seconds, or text such as \"1h\", expected, got " .. tostring(interval), 2)
	end
	local self = {inner = inner, checkpoint_interval = interval}
	for name, value in pairs(functions or {}) do
		if name == "checkpoint_interval" then goto continue end
		if not FUNCTIONS[name] then error("functions: encode, decode, keep, checkpoint_interval expected, got " .. tostring(name), 2) end
		if type(value) ~= "function" then error(("%s: a function expected, got %s"):format(name, type(value)), 2) end
		self[name] = value
		::continue::
	end
	return setmetatable(self, class)
end

-- Call f. Returns true and its result, or false and its error as a serialization_error or deserialization_error.
local function changed(code, f, object, event)
	local ok, result = pcall(f, object)
	if ok then return true, result end
	local message = ("%s: %s"):format(event and "event " .. event.seq_num or "object", tostring(result))
	return false, core.new_error{code = code, message = message, cause = result, seq_num = event and event.seq_num}
end

---- in ----

function Wrapper:store_event(operation, object_type, ...)
	if not self.encode or select("#", ...) == 0 then return ask(2, self, "store_event", operation, object_type, ...) end
	local ok, result = changed("serialization_error", self.encode, (...))
	if not ok then return nil, result end
	return ask(2, self, "store_event", operation, object_type, result, select(2, ...))
end

-- A copy of an event with its object encoded, or nil and an error. A value that is not an event is left for the inner store to refuse.
local function encoded(self, event)
	if type(event) ~= "table" then return event end
	local copy = {}
	for name, value in next, event do copy[name] = value end
	local operation = copy.operation == nil and copy[1] or copy.operation
	local object_type = copy.object_type == nil and copy[2] or copy.object_type
	if type(operation) ~= "string" or type(object_type) ~= "string" then return copy end
	local place = (copy.object ~= nil or copy[1] == nil) and "object" or 3
	local ok, result = changed("serialization_error", self.encode, copy[place])
	if not ok then return nil, result end
	copy[place] = result
	return copy
end

-- Copy the list and its events with all their fields, so that the inner store checks what the caller gave.
function Wrapper:store_events(events, options)
	if not self.encode or type(events) ~= "table" then return ask(2, self, "store_events", events, options) end
	local list = {}
	for index, event in next, events do
		local copy, err = encoded(self, event)
		if copy == nil then return nil, err end
		list[index] = copy
	end
	return ask(2, self, "store_events", list, options)
end

---- out ----

-- The event for this store's readers: true and the event, true and nil if it is hidden, false and an error.
local function seen(self, event)
	if self.decode then
		local ok, result = changed("deserialization_error", self.decode, event.object, event)
		if not ok then return false, result end
		event.object = result
	end
	return true, (not self.keep or self.keep(event)) and event or nil
end

function Wrapper:get_event(n)
	local event, err = ask(3, self, "get_event", n)
	if not event then return nil, err end
	local ok, result = seen(self, event)
	if not ok then return nil, result end
	if result then return result end
	return nil, core.new_error{code = "event_not_found", message = ("event %d is hidden"):format(n), seq_num = n}
end

-- What of a filter is for the objects as they are seen here, as one function, and what the inner store can test. False: it is wrong.
local function split(self, filter, where)
	if type(filter) == "function" and where == nil then return true, filter, nil end
	if type(filter) ~= "table" then return where == nil or type(where) == "function", where, filter end
	local inner, places = {}, nil
	for name, value in pairs(filter) do inner[name] = value end
	inner.predicate = nil
	if self.decode and filter.where ~= nil then
		local right, test = pcall(core.filter_test, {filter = {where = filter.where}})
		if not right then return false end
		inner.where, places = nil, test
	end
	if where ~= nil and filter.predicate ~= nil then return false end
	local rest = where or filter.predicate
	if rest ~= nil and type(rest) ~= "function" then return false end
	return true, places and function(event) return places(event) and (rest == nil or rest(event)) end or rest, inner
end

-- The inner store calls `where` while it reads, so it continues, and waits, until an event is visible here.
function Wrapper:get_events(request)
	if request ~= nil and type(request) ~= "table" then return ask(2, self, "get_events", request) end
	local inner_request, kept, failed, failure = {}, {}, nil, nil
	for name, value in pairs(request or {}) do inner_request[name] = value end
	local known, predicate, filter = split(self, inner_request.filter, inner_request.where)
	if not known then return ask(2, self, "get_events", request) end
	inner_request.filter = filter
	inner_request.where = function(event)
		if failed then return true end
		local ok, result = seen(self, event)
		if not ok then
			failed, failure = event.seq_num, result
			return true
		end
		if not result or (predicate and not predicate(result)) then return false end
		kept[event.seq_num] = result
		return true
	end
	local result, err = ask(3, self, "get_events", inner_request)
	if not result then return nil, err end
	local events = {}
	for _, event in ipairs(result.events) do
		if event.seq_num == failed then
			-- Return the events before it first. The next call starts with it and returns the error.
			if #events == 0 then return nil, failure end
			return {events = events, next_event_iterator = core.after_sequence_number(failed - 1), at_end = false}
		end
		events[#events + 1] = kept[event.seq_num]
	end
	return {events = events, next_event_iterator = result.next_event_iterator, at_end = result.at_end}
end

function Wrapper:explain(filter, from)
	local known, _, inner_filter = split(self, filter)
	local kind = type(filter)
	if not known or (kind ~= "nil" and kind ~= "table" and kind ~= "function") then return ask(2, self, "explain", filter, from) end
	local result, err = ask(3, self, "explain", inner_filter, from)
	if not result then return nil, err end
	local lines = result.not_pushed_down
	local places = kind == "table" and filter.where
	if places and self.decode and next(places) ~= nil then
		lines[#lines + 1] = "filter.where: the objects that this store shows are tested, not those that are stored"
	end
	if kind == "function" or (kind == "table" and filter.predicate) then
		lines[#lines + 1] = "the function: it is called for each event that the rest of the filter keeps"
	end
	if self.keep then lines[#lines + 1] = "`keep` of this store: it is called for each event that the filter keeps" end
	return result
end

---- the end ----

class.__close = function(self) self:close() end

class.__tostring = function(self) return "vigia.Wrapper: " .. tostring(self.inner) end

return M
