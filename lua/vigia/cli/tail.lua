-- tail.lua - `vigia tail`: the last events, for people, and new ones as they come.

local events = require("vigia.cli.events")
local util = require("vigia.cli.util")

local M = {}

local LAST <const> = 20

M.summary = "Print the last events, and new ones as they come."
M.description = [[
Prints the last events and continues with new ones, until Ctrl-C. It is the same as
`vigia events --follow --last 20 --format pretty`.]]

function M.define(command)
	util.define_store(command)
	command:option("--last"):argname("N"):convert(util.whole_number("--last", 0)):overwrite(false)
		:description(("Number of stored events to print first (default: %d)."):format(LAST))
	events.define_choice(command)
end

function M.run(args)
	args.follow, args.last, args.format = true, args.last or LAST, args.format or "pretty"
	return events.run(args)
end

return M
