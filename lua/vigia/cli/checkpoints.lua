-- checkpoints.lua - `vigia checkpoints`: how far each watcher has come.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Show each watcher's checkpoint and lag."
M.description = [[
Shows the checkpoint of each watcher (the last event it has finished) and its lag (the number of
events stored after that one). A watcher that has no checkpoint yet has a hold: it blocks the
removal of the events after the number shown.]]

function M.define(command)
	util.define_store(command)
	command:flag("--json"):description("Print one JSON object a line instead of a table.")
end

-- Rows {id =, number =, kind = "checkpoint"|"hold"}, by id.
local function rows_of(store)
	local rows = {}
	for _, source in ipairs({{"checkpoint", store:checkpoints()}, {"hold", store:holds()}}) do
		for id, n in pairs(util.check(source[2], source[3])) do
			rows[#rows + 1] = {id = id, number = n, kind = source[1]}
		end
	end
	table.sort(rows, function(a, b) return a.id < b.id end)
	return rows
end

function M.run(args)
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local rows = rows_of(store)
	-- Asked afterwards, so that no lag comes out negative.
	local latest = util.check(store:get_latest_event_num())

	if args.json then
		for _, row in ipairs(rows) do
			util.write(util.json_object({{"watcher", row.id}, {row.kind, row.number}, {"lag", latest - row.number}}), "\n")
		end
		return
	end
	if #rows == 0 then
		util.say("no watcher has a checkpoint")
		return
	end
	local lines = {{"WATCHER", "CHECKPOINT", "LAG"}}
	for _, row in ipairs(rows) do
		local number = row.kind == "hold" and "hold " .. row.number or tostring(row.number)
		lines[#lines + 1] = {util.printable(row.id), number, tostring(latest - row.number)}
	end
	util.write_table(lines)
end

return M
