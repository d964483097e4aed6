-- tail.lua - `vigia tail`: the last events, for people, and new ones as they come.

local events = require("vigia.cli.events")
local util = require("vigia.cli.util")

local M = {}

local LAST <const> = 20

M.summary = "Print the last events, and new ones as they come."
M.description = [[
The same as `vigia events --follow --last 20 --format pretty`: it prints the last events and continues
with new ones, until Ctrl-C.]]

function M.define(command)
	util.define_store(command)
	command:option("--last"):argname("N"):convert(util.whole_number("--last", 0)):overwrite(false)
		:description(("How many of the stored events to begin with (default: %d)."):format(LAST))
	events.define_choice(command)
end

function M.run(args)
	args.follow, args.last, args.format = true, args.last or LAST, args.format or "pretty"
	return events.run(args)
end

return M
