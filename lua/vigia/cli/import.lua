-- import.lua - `vigia import`: what `vigia export` wrote, into an empty store.

local progress_line = require("vigia.cli.progress_line")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Read an export into a new or empty store."
M.description = [[
Reads an export from FILE, or from standard input (-), into a new or empty store. Run the command
again with the same export to continue an interrupted import. Until the import is finished, the
store refuses appends and watchers.]]

local STDIN <const> = 0

function M.define(command)
	util.define_store(command)
	command:argument("file"):args(1):description("The file, or - for standard input.")
	command:flag("--anew"):description("Remove what an unfinished import has stored, and begin again.")
end

function M.run(args)
	local path, core = util.store_path(args), require("vigia.core")
	if args.file == "-" and core.isatty(STDIN) then
		util.usage("standard input is a terminal: give a FILE, or the output of `vigia export`")
	end
	local import <close> = util.check(core.import_begin(args.file == "-" and io.stdin or args.file))
	local store, err = require("vigia").open(path, {create = false, collect = false})
	if not store and err.code == "store_not_found" then
		local options = import:settings()
		options.collect = false
		store, err = require("vigia").open(path, options)
	end
	util.check(store, err)
	local open_store <close> = store
	local line = progress_line.new("imported", "events")
	local function show(at) line:show(at.at - at.first + 1, at.last - at.first + 1) end
	local done
	done, err = import:run(open_store, {progress = show, anew = args.anew or false})
	line:clear()
	util.check(done, err)
	util.write(("imported %s, last seq_num %d\n"):format(util.count(done.last - done.first + 1, "event"), done.last))
end

return M
