-- events.lua - `vigia events`: events from the store as NDJSON.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Write the events of the store to standard output."
M.description = [[
Writes events as NDJSON, one a line, in order; `vigia append` reads this back equal.
With --follow it goes on with new events as they are stored, until Ctrl-C. When whoever reads
the output has seen enough (`vigia events ... | head -1`), it ends quietly with exit status 0.]]

local FROM = "trim_horizon, latest, at:N or after:N"

-- "at:17" -> what makes the iterator. The library is asked only when the command runs.
local function parse_from(text)
	if text == "trim_horizon" or text == "latest" then
		return {name = text}
	end
	local kind, digits = text:match("^(%l+):(%d+)$")
	local n = digits and math.tointeger(tonumber(digits))
	if not n or (kind ~= "at" and kind ~= "after") then
		return nil, ("--from wants %s (N a whole number), not '%s'"):format(FROM, util.printable(text))
	end
	return {name = kind .. "_sequence_number", n = n}
end

local function parse_name(option)
	return function(text)
		if #text < 1 or #text > 255 or not utf8.len(text) then
			return nil, ("%s wants 1 to 255 bytes of UTF-8"):format(option)
		end
		return text
	end
end

function M.define(command)
	util.define_store(command)
	command:option("--from"):argname("WHERE"):convert(parse_from):overwrite(false)
		:description("Where to start: " .. FROM .. " (default: trim_horizon, the oldest event there is).")
	command:option("--type"):argname("TYPE"):count("*"):target("types"):convert(parse_name("--type"))
		:description("Only events of this object type. May be given several times.")
	command:option("--operation"):argname("OP"):count("*"):target("operations"):convert(parse_name("--operation"))
		:description("Only events of this operation. May be given several times.")
	command:option("--limit"):argname("N"):convert(util.whole_number("--limit", 0)):overwrite(false)
		:description("At most so many events (default: 0, all).")
	command:flag("--follow"):description("Go on with new events as they are stored.")
end

function M.run(args)
	local vigia, core = require("vigia"), require("vigia.core")
	local from = args.from or {name = "trim_horizon"}
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local _, _, err = core.ndjson_dump(store, {
		from = vigia[from.name](from.n),
		filter = {object_types = args.types, operations = args.operations},
		limit = args.limit or 0,
		follow = args.follow or false,
		fd = 1,
	})
	if not err or err.code == "closed_pipe" then
		return util.OK
	end
	-- Ctrl-C is how one ends following; otherwise something is missing from the output.
	if err.code == "interrupted" and args.follow then
		return util.OK
	end
	util.fail("%s", tostring(err))
end

return M
