-- events.lua - `vigia events`: events from the store as NDJSON.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Print the events of a store."
M.description = [[
Prints events as NDJSON, one a line, in order. `vigia append` reads this form: it keeps operation,
type and object, and assigns a new number and time.
With --follow it continues with new events, until Ctrl-C. When the reader closes the output
(`vigia events ... | head -1`), it ends with exit status 0.]]

-- The library is loaded only when there is something to parse: `--help` does without.
local function parse_from(text)
	local iterator, err = require("vigia.core").iterator_parse(text)
	return iterator, err and "--from: " .. tostring(err)
end

local function parse_name(option)
	return function(text)
		if #text < 1 or #text > 255 or not utf8.len(text) then
			return nil, ("%s must have 1 to 255 bytes of UTF-8"):format(option)
		end
		return text
	end
end

local function parse_where(text)
	local place, value = require("vigia.core").where_parse(text)
	if place == nil then
		return nil, "--where: " .. tostring(value)
	end
	return {place, value}
end

-- A place that is given several times may have any of the values.
local function places_of(list)
	local where = {}
	for _, pair in ipairs(list) do
		local values = where[pair[1]] or {}
		values[#values + 1] = pair[2]
		where[pair[1]] = values
	end
	return where
end

function M.define(command)
	util.define_store(command)
	command:option("--from"):argname("WHERE"):convert(parse_from):overwrite(false)
		:description("Where to start: trim_horizon (the oldest event; the default), latest, at:N or after:N.")
	command:option("--type"):argname("TYPE"):count("*"):target("types"):convert(parse_name("--type"))
		:description("Only events of this object type. May be given several times.")
	command:option("--operation"):argname("OP"):count("*"):target("operations"):convert(parse_name("--operation"))
		:description("Only events of this operation. May be given several times.")
	command:option("--where"):argname("PLACE=VALUE"):count("*"):convert(parse_where)
		:description([[Only events whose object has this value at this place, as in --where object.state=failed.
Places are object.name, object."any name", object.list[1]. A value is read as JSON (5, true, null, "5") where it is
that, else as text. Given several times: all places must fit, each with one of its values.]])
	command:option("--limit"):argname("N"):convert(util.whole_number("--limit", 0)):overwrite(false)
		:description("Print at most this many events (default: 0, all).")
	command:flag("--explain"):description("Print no events, but how many would be looked at, and what rules out the others.")
	command:flag("--follow"):description("Continue with new events, until Ctrl-C.")
end

-- What --explain prints.
local function explained(found)
	local lines = {
		("events: %d, %s"):format(found.events, found.events > 0 and ("%d to %d"):format(found.from, found.to) or "none"),
		("looked at: %d"):format(found.events_looked_at),
		("blocks of 4096 events: %d, %d of them indexed, %d looked into"):format(found.blocks, found.blocks_indexed, found.blocks_looked_at),
	}
	if not found.by_index then
		lines[#lines + 1] = "the index is not used: " .. (found.indexable and "the store has none yet" or "it knows types and operations only")
	end
	if found.places > 0 then
		lines[#lines + 1] = ("places: %d, tested on the bytes of what is looked at"):format(found.places)
	end
	for _, line in ipairs(found.not_pushed_down) do
		lines[#lines + 1] = "not pushed down: " .. line
	end
	return table.concat(lines, "\n")
end

function M.run(args)
	local vigia, core = require("vigia"), require("vigia.core")
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local filter = {object_types = args.types, operations = args.operations, where = places_of(args.where)}
	if args.explain then
		local found, problem = store:explain(filter, args.from)
		if not found then
			util.fail("%s", tostring(problem))
		end
		found.indexable = #(args.types or {}) + #(args.operations or {}) > 0
		print(explained(found))
		return
	end
	local _, _, err = core.dump(store, {
		from = from or vigia.trim_horizon(),
		upto = upto,
		filter = filter,
		limit = args.limit or 0,
		follow = args.follow or false,
		fd = 1,
	})
	-- A closed pipe: the reader has seen enough.
	if err and err.cause ~= "Broken pipe" then
		util.fail("%s", tostring(err))
	end
end

return M
