-- types.lua - `vigia types`: which object types and operations the events have, and how many of each.

local progress_line = require("vigia.cli.progress_line")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Count events by type and operation."
M.description = [[
Prints each object type and operation that an event has, with the number of these events. It reads
all events. Damaged events are not counted. If there are any, the exit status is 1. `vigia verify`
lists them.]]

function M.define(command)
	util.define_store(command)
	command:flag("--json"):description("Print one JSON object a line instead of a table.")
end

local function by_name(a, b)
	if a.object_type ~= b.object_type then
		return a.object_type < b.object_type
	end
	return a.operation < b.operation
end

function M.run(args)
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local line = progress_line.new("counted", "events")
	local kinds, damaged = require("vigia.core").types(store, line.shows and function(done, all) line:show(done, all) end or nil)
	line:clear()
	if not kinds then
		util.fail("%s", tostring(damaged))
	end
	table.sort(kinds, by_name)
	local lines = {{"TYPE", "OPERATION", "EVENTS"}}
	for _, kind in ipairs(kinds) do
		if args.json then
			util.write(util.json_object({{"object_type", kind.object_type}, {"operation", kind.operation}, {"events", kind.events}}), "\n")
		else
			lines[#lines + 1] = {util.printable(kind.object_type), util.printable(kind.operation), tostring(kind.events)}
		end
	end
	if #lines > 1 then
		util.write_table(lines, {[2] = true})
	elseif #kinds == 0 and damaged == 0 then
		util.say("the store has no events")
	end
	if damaged > 0 then
		util.fail("%s damaged and not counted; `vigia verify` lists them", damaged == 1 and "1 event is" or damaged .. " events are")
	end
end

return M
