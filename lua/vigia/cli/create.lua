-- create.lua - `vigia create`: an empty store, with settings.

local configure = require("vigia.cli.configure")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Create an empty store."
M.description = [[
Creates an empty store. Settings that are not given have their defaults. `vigia options` explains
them. `vigia configure` changes them later, except the fixed ones. If the store exists, it is not
changed and the exit status is 1. --sql prints the statements that create a store on PostgreSQL, for
an administrator. It does not connect to the server.]]

function M.define(command)
	util.define_store(command, {create = false})
	command:flag("--sql", "Print the SQL statements that create the store, and create nothing.")
	command:argument("settings", "A setting and its value."):argname("NAME=VALUE"):args("*")
end

function M.run(args)
	local vigia = require("vigia")
	local path = util.store_path(args)
	local settings = configure.changes_of(args.settings)
	if args.sql then
		local ok, sql, sql_err = pcall(require("vigia.core").create_sql, path, settings)
		if not ok then
			util.usage("%s", configure.problem_of(sql))
		end
		util.write(util.check(sql, sql_err))
		return
	end
	local there, err = vigia.open(path, {create = false, readonly = true, collect = false})
	if there then
		there:close()
		util.fail("%s: the store exists already", util.shown(path))
	elseif err.code ~= "store_not_found" then
		util.fail("%s", tostring(err))
	end
	settings.collect = false
	local ok, store, open_err = pcall(vigia.open, path, settings)
	if not ok then
		util.usage("%s", configure.problem_of(store))
	end
	util.check(store, open_err):close()
	util.write(("%s: created, empty\n"):format(util.shown(path)))
end

return M
