-- export.lua - `vigia export`: all that a store holds, as a stream of records.

local progress_line = require("vigia.cli.progress_line")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Write all that a store holds to a file, for `vigia import`."
M.description = [[
Writes events with their numbers, times and keys, buckets, checkpoints, holds, dead letters, timers
and settings to FILE, or to standard output (-). Other programs may use the store meanwhile. The
export has the events up to the last one at its start. Run the command again to continue an
interrupted export to a file. Any other existing file is not changed.]]

local STDOUT <const> = 1

function M.define(command)
	util.define_store(command)
	command:argument("file"):args(1):description("The file, or - for standard output.")
end

function M.run(args)
	local core = require("vigia.core")
	if args.file == "-" and core.isatty(STDOUT) then
		util.usage("an export is binary, and standard output is a terminal: give a FILE, or redirect standard output")
	end
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local line = progress_line.new("exported", "events")
	local function show(at) line:show(at.at - at.first + 1, at.last - at.first + 1) end
	local done, err = core.export(store, args.file == "-" and STDOUT or args.file, {progress = show})
	line:clear()
	util.check(done, err)
	local summary = ("exported %s, %d bytes"):format(util.count(done.last - done.first + 1, "event"), done.bytes)
	if args.file == "-" then util.say(summary) else util.write(summary, "\n") end
	if done.changed then
		util.say("buckets changed during the export: to get all of them as of one moment, export a copy made by `vigia backup`")
	end
end

return M
