-- backup.lua - `vigia backup`: a copy of a store that is in use.

local progress_line = require("vigia.cli.progress_line")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Copy a store that is in use into a new file."
M.description = [[
Copies the store, as it is at one moment, into the new file TARGET. Other programs may use it
meanwhile. The copy is a store of its own. An existing TARGET is not changed. An unfinished copy is
removed. Check the copy with `vigia verify --store TARGET`. To restore, copy it to the name of the
store.]]

function M.define(command)
	util.define_store(command)
	command:argument("target"):args(1):description("Path of the copy.")
	command:flag("--compact"):description("Leave out free pages. The file is smaller, and the copy is slower.")
end

function M.run(args)
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local line = progress_line.new("copied", "bytes")
	local function show(at) line:show(at.bytes, at.bytes_all) end
	local done, err = store:backup(args.target, {compact = args.compact or false, progress = show})
	line:clear()
	util.check(done, err)
	local copy <close> = util.check(io.open(args.target, "rb"))
	util.write(("copied, %d bytes\n"):format(copy:seek("end")))
end

return M
