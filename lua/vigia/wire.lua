-- wire.lua - converts arguments and results to plain values for the messages between an isolated script and its host (isolated_host.lua).
--
-- An iterator or an error becomes a table with a marking key. A table that already has such a key is wrapped in another table. The objects
-- of events, and the values of buckets, are separate values of the message, so that they may nest as deeply as in a store; `places` holds
-- the path of each.

local core = require("vigia.core")

-- Taken now: a script may change its globals, and a capped one has others.
local error, getmetatable, ipairs, next, pcall, rawget, rawset, select, tostring, type =
	error, getmetatable, ipairs, next, pcall, rawget, rawset, select, tostring, type
local math_type <const>, new_error <const> = math.type, core.new_error

local M = {}

local ITERATOR <const>, ERROR <const>, TABLE <const> = "$iterator", "$error", "$table"

local ITERATORS <const> = {trim_horizon = core.trim_horizon, latest = core.latest, at_sequence_number = core.at_sequence_number,
	after_sequence_number = core.after_sequence_number}

-- Most arguments or results in a message. A list that claims more is refused: counting its holes would take for ever.
local VALUES_MAX <const> = 65536

---The error for a message that our own program on the other side cannot have sent.
M.FOREIGN = "it sent an unexpected message"

-- Deeper than what can be sent. What is deeper goes on as it is: sending refuses it, as it does a cycle, and says where.
local LEVELS_MAX <const> = 150

-- Most values that arguments or results may have beside those that are there, since a table that they hold twice is sent twice. Tables of
-- tables stand for so many that sending them would take for ever.
local REPEATED_MAX <const> = 65536

local plain, rich

-- Iterators and errors may stand anywhere in arguments and results, in tables too. `copies` has what each table became: so a cycle stays
-- one. Returns how many values it is as well.
function plain(value, copies, level)
	if type(value) == "userdata" and getmetatable(value) == "vigia.Iterator" then
		return {[ITERATOR] = value.kind, seq_num = value.seq_num}, 1
	elseif type(value) ~= "table" then
		return value, 1 -- sending refuses a userdata, function or thread
	elseif type(rawget(value, "code")) == "string" and type(rawget(value, "message")) == "string" and getmetatable(value) then
		local cause = rawget(value, "cause")
		local shown, text = pcall(tostring, cause)
		return {[ERROR] = {code = rawget(value, "code"), message = rawget(value, "message"), seq_num = rawget(value, "seq_num"),
			watcher_id = rawget(value, "watcher_id"), cause = cause ~= nil and shown and text or nil, traceback = rawget(value, "traceback")}}, 1
	elseif level == LEVELS_MAX or (core.is_array(value) and next(value) == nil) then
		return value, 1
	elseif copies[value] then
		local count = copies.counts[value] or 0 -- none: a cycle
		copies.repeated = copies.repeated + count
		if copies.repeated > REPEATED_MAX then
			error(("#%d: the argument is too large, because it contains the same tables several times"):format(copies.argument), 0)
		end
		return copies[value], count
	end
	local result, count = {}, 1
	copies[value] = result
	for k, v in next, value do
		local one, values = plain(v, copies, level + 1)
		result[k] = one
		count = count + values
	end
	copies.counts[value] = count
	if result[ITERATOR] ~= nil or result[ERROR] ~= nil or result[TABLE] ~= nil then
		result = {[TABLE] = result}
		copies[value] = result
	end
	return result, count
end

local function each_rich(value)
	local result = {}
	for k, v in next, value do
		result[k] = rich(v)
	end
	return result
end

function rich(value)
	if type(value) ~= "table" then
		return value
	elseif type(value[TABLE]) == "table" then
		return each_rich(value[TABLE])
	elseif value[ITERATOR] ~= nil then
		local iterator = ITERATORS[value[ITERATOR]] or error(M.FOREIGN, 0)
		return iterator(value.seq_num)
	elseif type(value[ERROR]) == "table" then
		local fields = value[ERROR]
		if type(fields.code) ~= "string" or type(fields.message) ~= "string" then
			error(M.FOREIGN, 0)
		end
		return new_error(fields)
	elseif next(value) == nil then
		return value -- an empty array stays one
	end
	return each_rich(value)
end

---Turn arguments or results into one value; nils in between are kept.
function M.pack(...)
	local list = {n = select("#", ...)}
	if list.n > VALUES_MAX then
		error("too many values: " .. list.n .. ", and at most " .. VALUES_MAX .. " can be carried", 0)
	end
	local copies = {counts = {}, repeated = 0}
	for i = 1, list.n do
		copies.argument = i
		local value = plain((select(i, ...)), copies, 0)
		list[i] = value
	end
	return list
end

---Is it such a value?
function M.is_list(list)
	return type(list) == "table" and math_type(list.n) == "integer" and list.n >= 0 and list.n <= VALUES_MAX
end

---Turn such a value back into a list as of table.pack. Raises for one that pack cannot have made.
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
M.error = new_error

-- Copy a list of events and each event in it. What does not belong there is copied too, for the store to refuse.
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

-- Where they are: in a method's arguments, and in its results.
local ARGUMENTS <const> = {
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
	put = function(values, take)
		take(values, 3)
	end,
	schedule = function(values, take)
		take(values, 4)
	end,
}

local RESULTS <const> = {
	get = function(values, take)
		take(values, 1)
	end,
	range = function(values, take)
		for i, row in ipairs(type(values[1]) == "table" and values[1] or {}) do
			take(row, "value", 1, i)
		end
	end,
	scheduled = function(values, take)
		for i, timer in ipairs(type(values[1]) == "table" and values[1] or {}) do
			take(timer, "object", 1, i)
		end
	end,
	get_events = function(values, take)
		local result = values[1]
		if type(result) ~= "table" or type(result.events) ~= "table" then return end
		for i, event in ipairs(result.events) do
			take(event, "object", 1, "events", i)
		end
	end,
	dead_letters = function(values, take)
		for i, letter in ipairs(type(values[1]) == "table" and values[1] or {}) do
			take(letter.event, "object", 1, i, "event")
		end
	end,
	get_event = function(values, take)
		if type(values[1]) == "table" then
			take(values[1], "object", 1)
		end
	end,
}

local function take_objects(find, values)
	local objects, places = {n = 0}, {}
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

---Take the objects of events, and the values of buckets, out of a method's arguments. Returns them, and the path to the place of each. The
---events of store_events are copied first; others lose their object.
function M.take_arguments(method, values)
	return take_objects(ARGUMENTS[method], values)
end

---The same for its results.
function M.take_results(method, values)
	return take_objects(RESULTS[method], values)
end

---Put the objects back; they are in `message` from 2 on.
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
