-- configure.lua - `vigia configure`: show the settings of a store's file, or change them.

local options = require("vigia.cli.options")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Show or change the settings of a store."
M.description = [[
Changes settings of the file. Without NAME=VALUE it shows them. `vigia options` explains each.
A duration is a number of seconds, or has a unit: 250ms, 30s, 5m, 12h, 7d. A size is a number of
bytes, or has a unit: 64K, 64M, 64MiB, 1G. Processes that have the store open use the new settings
from their next commit on.]]

function M.define(command)
	util.define_store(command)
	command:argument("settings", "A setting and its new value."):argname("NAME=VALUE"):args("*")
end

local UNITS <const> = {bytes = "B", seconds = "s"} -- of a plain number

-- A word of the command line as a value of the option's type. Sizes and durations stay text, which the
-- library reads; so does what is no such value, for its check to complain of.
function M.value_of(option, text)
	if option.type == "boolean" then
		if text == "true" or text == "false" then
			return text == "true"
		end
	elseif option.type == "count" then
		return text:match("^%d*%.?%d*e?%-?%d*$") and tonumber(text) or text
	elseif UNITS[option.unit] and text:find("^[%d.]+$") then
		return text .. UNITS[option.unit]
	end
	return text
end

---The settings that words like NAME=VALUE give, as a table.
function M.changes_of(words)
	local by_name, names, changes = {}, {}, {}
	for i, option in ipairs(options.set("file")) do
		by_name[option.name] = option
		names[i] = option.name
	end
	for _, word in ipairs(words) do
		local name, text = word:match("^([^=]*)=(.*)$")
		if not name then
			util.usage("expected NAME=VALUE, not '%s'", util.printable(word))
		elseif not by_name[name] then
			util.usage("unknown setting '%s'%s", util.printable(name), util.did_you_mean(name, names))
		elseif changes[name] ~= nil then
			util.usage("%s is given twice", name)
		end
		changes[name] = M.value_of(by_name[name], text)
	end
	return changes
end

---What is wrong with settings, of the error that was raised.
function M.problem_of(raised)
	return (tostring(raised):gsub("^.-%(%l[%l ]*: (.*)%)$", "%1"):gsub("^bad argument #%d to '[^']*' ", ""))
end

local function show(args)
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local stats = util.check(store:stats())
	for _, option in ipairs(options.set("file")) do
		local value = stats[option.name]
		if math.type(value) == "float" then
			value = ("%.15g"):format(value)
		end
		util.write(("%s=%s\n"):format(option.name, util.printable(tostring(value))))
	end
end

function M.run(args)
	if #args.settings == 0 then
		return show(args)
	end
	local changes = M.changes_of(args.settings)
	local store <close> = util.open_store(args, {create = false})
	local ok, result, err = pcall(store.configure, store, changes)
	if not ok then
		util.usage("%s", M.problem_of(result))
	end
	util.check(result, err)
end

return M
