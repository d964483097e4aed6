-- wire.lua - what goes between an isolated script and its supervisor: lists of arguments and results as plain values.
--
-- Iterators and errors become tables that say so. The objects of events go beside the message, so that they may nest as deeply as ever.

local core = require("vigia.core")

local M = {}

local Error = {__name = "vigia.Error", __tostring = function(err) return err.message end}

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
	if type(value) == "userdata" and value ~= core.null then
		return {["$iterator"] = value.kind, seq_num = value.seq_num}
	elseif type(value) ~= "table" then
		return value
	elseif rawget(value, "code") and rawget(value, "message") and getmetatable(value) then
		local cause = value.cause
		return {["$error"] = {code = value.code, message = value.message, seq_num = value.seq_num, watcher_id = value.watcher_id,
			cause = cause ~= nil and tostring(cause) or nil, traceback = value.traceback}}
	elseif core.is_array(value) and next(value) == nil then
		return value
	end
	return each(value, plain)
end

function rich(value)
	if type(value) ~= "table" then
		return value
	elseif value["$iterator"] then
		return core[value["$iterator"]](value.seq_num)
	elseif value["$error"] then
		return setmetatable(value["$error"], Error)
	end
	return each(value, rich)
end

---Arguments or results as one value; nils in between are kept.
function M.pack(...)
	local list = {n = select("#", ...)}
	for i = 1, list.n do
		list[i] = plain((select(i, ...)))
	end
	return list
end

function M.unpack(list)
	return rich(list)
end

-- The events in the arguments or results of a method of the store, as {event, key of its object} pairs.
local function events_in(method, values)
	local list = {}
	local first = values[1]
	if method == "store_event" then
		list[1] = {values, 3}
	elseif method == "store_events" and type(first) == "table" then
		for i, event in ipairs(first) do
			if type(event) == "table" then
				list[i] = {event, event.object_type ~= nil and "object" or 3}
			end
		end
	elseif method == "get_events" and type(first) == "table" and first.events then
		for i, event in ipairs(first.events) do
			list[i] = {event, "object"}
		end
	elseif method == "get_event" and type(first) == "table" and first.seq_num then
		list[1] = {first, "object"}
	end
	return list
end

---Take the objects of events out of arguments or results. The tables they are taken out of are the caller's no more.
function M.take_objects(method, values)
	local objects = {n = 0}
	for _, place in ipairs(events_in(method, values)) do
		objects.n = objects.n + 1
		objects[objects.n] = place[1][place[2]]
		place[1][place[2]] = nil
	end
	return objects
end

---Put them back; they stand in `message` from 2 on.
function M.put_objects(method, values, message)
	for i, place in ipairs(events_in(method, values)) do
		place[1][place[2]] = message[i + 1]
	end
end

return M
