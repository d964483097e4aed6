-- gc.lua - `vigia gc`: remove old events now.

local progress_line = require("vigia.cli.progress_line")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Remove old events now."
M.description = [[
Removes events that are older than gc_age_threshold and that every watcher has handled. Also removes
events beyond max_events and max_bytes. `vigia configure` shows and changes these settings. Age
counts from when a collector (this command, `vigia run`, or a program that has the store open) first
saw an event. The command also indexes events that an older version stored without an index. A
program that has the store open does that in the background.]]

function M.define(command)
	util.define_store(command)
	command:flag("--json"):description("Print one JSON object instead of a line.")
end

local function why(result, stats)
	if result.reason == "off" then
		return "gc_age_threshold, max_events and max_bytes are 0: nothing is ever removed"
	elseif result.reason == "no_checkpoint" then
		return "old events are kept: no watcher has a checkpoint yet"
	elseif result.reason == "held" and result.held_by then
		return ("watcher '%s' holds the rest back; `vigia checkpoints` shows where it is"):format(util.printable(result.held_by))
	elseif stats.events > 0 then
		return "nothing else is old enough"
	end
	return nil
end

function M.run(args)
	local store <close> = util.open_store(args, {create = false})
	local removed, result = 0
	local core = require("vigia.core")
	local line = progress_line.new("removed", "events")
	repeat
		local err
		result, err = store:gc()
		if not result then line:clear() end
		util.check(result, err)
		removed = removed + result.removed
		line:show(removed, result.left and removed + result.left or nil)
	until result.reason ~= "bound" or core.interrupted()
	line:clear()
	line = progress_line.new("indexed", "events")
	local looked, err = core.index(store, function(events, of) line:show(events, of) end)
	line:clear()
	util.check(looked, err)
	if args.json then
		util.write(util.json_object({{"removed", removed}, {"oldest", result.oldest}, {"reason", result.reason},
			{"held_by", result.held_by}}), "\n")
		return
	end
	util.write(("%s removed"):format(util.count(removed, "event")))
	local reason = why(result, util.check(store:stats()))
	util.write(reason and "; " .. reason or "", "\n")
end

return M
