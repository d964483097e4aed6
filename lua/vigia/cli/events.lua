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

function M.define(command)
	util.define_store(command)
	command:option("--from"):argname("WHERE"):convert(parse_from):overwrite(false)
		:description("Where to start: trim_horizon (the oldest event; the default), latest, at:N or after:N.")
	command:option("--type"):argname("TYPE"):count("*"):target("types"):convert(parse_name("--type"))
		:description("Only events of this object type. May be given several times.")
	command:option("--operation"):argname("OP"):count("*"):target("operations"):convert(parse_name("--operation"))
		:description("Only events of this operation. May be given several times.")
	command:option("--limit"):argname("N"):convert(util.whole_number("--limit", 0)):overwrite(false)
		:description("Print at most this many events (default: 0, all).")
	command:flag("--follow"):description("Continue with new events, until Ctrl-C.")
end

function M.run(args)
	local vigia, core = require("vigia"), require("vigia.core")
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local _, _, err = core.ndjson_dump(store, {
		from = args.from or vigia.trim_horizon(),
		filter = {object_types = args.types, operations = args.operations},
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
