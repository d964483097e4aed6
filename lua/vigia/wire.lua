-- wire.lua - what goes between an isolated script and its supervisor: lists of arguments and results as plain values.
--
-- Iterators and errors become tables with a key that says so, and a table that has such a key by itself goes inside another one. The
-- objects of events go beside the message, so that they may nest as deeply as ever; `places` says where each was.

local core = require("vigia.core")

-- A script changes its globals as it likes, and a capped one has others.
local error, getmetatable, ipairs, next, pcall, rawget, rawset, select, setmetatable, tostring, type =
	error, getmetatable, ipairs, next, pcall, rawget, rawset, select, setmetatable, tostring, type
local math_type <const> = math.type

local M = {}

-- A capped script would put a finalizer into it, which runs outside of its caps.
local Error = {__name = "vigia.Error", __metatable = "vigia.Error", __tostring = function(err) return err.message end}

local ITERATOR <const>, ERROR <const>, TABLE <const> = "$iterator", "$error", "$table"

local ITERATORS <const> = {trim_horizon = core.trim_horizon, latest = core.latest, at_sequence_number = core.at_sequence_number,
	after_sequence_number = core.after_sequence_number}

-- So many arguments or results can be carried. A list that says it has more is not believed: its holes would be counted for ever.
local VALUES_MAX <const> = 65536

---What is said of something that the other side cannot have sent, as long as it is ours.
M.FOREIGN = "what it sent is no part of this conversation"

local plain, rich

local function each(value, convert)
	local result = {}
	for k, v in next, value do
		result[k] = convert(v)
	end
	return result
end

-- Iterators and errors may be anywhere in a list of arguments or results, in tables too.
function plain(value)
	if type(value) == "userdata" and getmetatable(value) == "vigia.Iterator" then
		return {[ITERATOR] = value.kind, seq_num = value.seq_num}
	elseif type(value) ~= "table" then
		return value -- a userdata, a function or a thread cannot be carried, and sending it says so
	elseif rawget(value, "code") and rawget(value, "message") and getmetatable(value) then
		local cause = rawget(value, "cause")
		local shown, text = pcall(tostring, cause)
		return {[ERROR] = {code = rawget(value, "code"), message = rawget(value, "message"), seq_num = rawget(value, "seq_num"),
			watcher_id = rawget(value, "watcher_id"), cause = cause ~= nil and shown and text or nil, traceback = rawget(value, "traceback")}}
	elseif core.is_array(value) and next(value) == nil then
		return value
	end
	local result = each(value, plain)
	if result[ITERATOR] ~= nil or result[ERROR] ~= nil or result[TABLE] ~= nil then
		return {[TABLE] = result}
	end
	return result
end

function rich(value)
	if type(value) ~= "table" then
		return value
	elseif type(value[TABLE]) == "table" then
		return each(value[TABLE], rich)
	elseif value[ITERATOR] ~= nil then
		local iterator = ITERATORS[value[ITERATOR]] or error(M.FOREIGN, 0)
		return iterator(value.seq_num)
	elseif type(value[ERROR]) == "table" then
		return setmetatable(value[ERROR], Error)
	elseif next(value) == nil then
		return value -- an empty array stays one
	end
	return each(value, rich)
end

---Arguments or results as one value; nils in between are kept.
function M.pack(...)
	local list = {n = select("#", ...)}
	if list.n > VALUES_MAX then
		error("too many values: " .. list.n .. ", and at most " .. VALUES_MAX .. " can be carried", 0)
	end
	for i = 1, list.n do
		list[i] = plain((select(i, ...)))
	end
	return list
end

---Is it such a value?
function M.is_list(list)
	return type(list) == "table" and math_type(list.n) == "integer" and list.n >= 0 and list.n <= VALUES_MAX
end

---They again, as of table.pack.
function M.unpack(list)
	if not M.is_list(list) then
		error(M.FOREIGN, 0)
	end
	local values = {n = list.n}
	for i = 1, list.n do
		values[i] = rich(list[i])
	end
	return values
end

---An error object from its fields.
function M.error(fields)
	return setmetatable(fields, Error)
end

-- A copy of a list of events, and of each event, with all that is in them: whoever stores them says what should not be.
local function copy_events(list)
	local copy = {}
	for k, event in next, list do
		if type(event) == "table" then
			local copied = {}
			for name, value in next, event do
				copied[name] = value
			end
			event = copied
		end
		copy[k] = event
	end
	return copy
end

local PLACES <const> = {
	store_event = function(values, take)
		take(values, 3)
	end,
	store_events = function(values, take)
		if type(values[1]) ~= "table" then return end
		values[1] = copy_events(values[1])
		for k, event in next, values[1] do
			if type(event) == "table" then
				take(event, "object", 1, k)
				take(event, 3, 1, k)
			end
		end
	end,
	get_events = function(values, take)
		local answer = values[1]
		if type(answer) ~= "table" or type(answer.events) ~= "table" then return end
		for i, event in ipairs(answer.events) do
			take(event, "object", 1, "events", i)
		end
	end,
	get_event = function(values, take)
		if type(values[1]) == "table" then
			take(values[1], "object", 1)
		end
	end,
}

---Take the objects of events out of a method's arguments or results: the objects, and the path to the place of each. Events that are given
---to store_events are copied for it; others lose their object.
function M.take_objects(method, values)
	local objects, places = {n = 0}, {}
	local find = PLACES[method]
	if find then
		find(values, function(event, key, ...)
			local object = rawget(event, key)
			if object == nil then return end
			objects.n = objects.n + 1
			objects[objects.n] = object
			local path = {...}
			path[#path + 1] = key
			places[objects.n] = path
			rawset(event, key, nil)
		end)
	end
	return objects, places
end

---Put them back; they stand in `message` from 2 on.
function M.put_objects(values, places, message)
	for i, path in ipairs(places) do
		local at = values
		for step = 1, #path - 1 do
			at = at[path[step]]
		end
		at[path[#path]] = message[i + 1]
	end
end

return M
