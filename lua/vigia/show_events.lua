-- show_events.lua - formats events for reading: one with its whole object, a list as a table of lines.

local show = require "vigia.show"
local text = require "vigia.text"

local M = {}

local LINE <const> = 160 -- bytes of an event in a list
local NAME <const> = 20 -- characters up to which names are aligned

local FIELDS <const> = {seq_num = "integer", timestamp = "integer", operation = "string", object_type = "string"}

---Is this an event as a store returns it, with nothing beside?
function M.is_event(value)
	if type(value) ~= "table" then return false end
	for name, kind in next, FIELDS do
		local field = rawget(value, name)
		if (math.type(field) or type(field)) ~= kind then return false end
	end
	for name in next, value do
		if not FIELDS[name] and name ~= "object" then return false end
	end
	return true
end

---Is this a list of events?
function M.is_list(value)
	if type(value) ~= "table" or next(value) == nil then return false end
	local count = 0
	for _, event in next, value do
		if not M.is_event(event) then return false end
		count = count + 1
	end
	return count == rawlen(value)
end

---One event. An object that does not fit into the width follows on lines of its own.
function M.one(event, width)
	local head = ("%d  %s  %s  %s"):format(event.seq_num, text.time(event.timestamp), text.printable(event.operation),
		text.printable(event.object_type))
	local line = head .. "  " .. show.quote(event.object)
	return #line <= width and line or head .. "\n" .. show.quote(event.object, width)
end

local function length(name)
	return utf8.len(name) or #name
end

local function padded(name, width)
	return name .. (" "):rep(width - length(name))
end

---A list of events, one a line, in columns. Long objects are cut.
function M.list(events)
	local rows, number, operation, object_type = {}, 0, 0, 0
	for i, event in ipairs(events) do
		local row = {tostring(event.seq_num), text.printable(event.operation), text.printable(event.object_type)}
		rows[i] = row
		number = math.max(number, #row[1])
		operation = math.max(operation, math.min(length(row[2]), NAME))
		object_type = math.max(object_type, math.min(length(row[3]), NAME))
	end
	for i, row in ipairs(rows) do
		local line = ("%s%s  %s  %s  %s  %s"):format((" "):rep(number - #row[1]), row[1], text.time(events[i].timestamp, 3),
			padded(row[2], operation), padded(row[3], object_type), show.quote(events[i].object))
		rows[i] = #line > LINE and line:sub(1, (utf8.offset(line, 0, LINE - 3) or LINE - 3) - 1) .. "..." or line
	end
	return table.concat(rows, "\n")
end

return M
