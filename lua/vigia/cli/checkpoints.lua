-- checkpoints.lua - `vigia checkpoints`: how far each watcher has come.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Show how far each watcher has come."
M.description = [[
Shows the checkpoint of each watcher: the last event it has finished with, and its lag: how many
events were stored after that one.]]

function M.define(command)
	util.define_store(command)
	command:flag("--json"):description("One JSON object a line instead of a table.")
end

local function write_table(rows)
	local widths = {}
	for _, row in ipairs(rows) do
		for i, cell in ipairs(row) do
			widths[i] = math.max(widths[i] or 0, utf8.len(cell) or #cell)
		end
	end
	for _, row in ipairs(rows) do
		local id = row[1]
		local pad = (" "):rep(widths[1] - (utf8.len(id) or #id))
		util.write(("%s%s  %" .. widths[2] .. "s  %" .. widths[3] .. "s\n"):format(id, pad, row[2], row[3]))
	end
end

function M.run(args)
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local checkpoints = util.check(store:checkpoints())
	-- Asked afterwards, so that no lag comes out negative.
	local latest = util.check(store:get_latest_event_num())
	local ids = {}
	for id in pairs(checkpoints) do
		ids[#ids + 1] = id
	end
	table.sort(ids)

	if args.json then
		for _, id in ipairs(ids) do
			local n = checkpoints[id]
			util.write(util.json_object({{"watcher", id}, {"checkpoint", n}, {"lag", latest - n}}), "\n")
		end
		return util.OK
	end
	if #ids == 0 then
		util.say("no watcher has a checkpoint")
		return util.OK
	end
	local rows = {{"WATCHER", "CHECKPOINT", "LAG"}}
	for _, id in ipairs(ids) do
		rows[#rows + 1] = {util.printable(id), tostring(checkpoints[id]), tostring(latest - checkpoints[id])}
	end
	write_table(rows)
	return util.OK
end

return M
