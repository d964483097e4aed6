-- configure.lua - `vigia configure`: show the settings of a store's file, or change them.

local options = require("vigia.cli.options")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Show or change the settings of a store."
M.description = [[
Changes settings of the file; without NAME=VALUE it shows them. `vigia options` explains each.
Durations are numbers of seconds. Sizes are numbers of bytes, or end in KiB, MiB or GiB. Processes
that have the store open use the new settings from their next commit on.]]

function M.define(command)
	util.define_store(command)
	command:argument("settings", "A setting and its new value."):argname("NAME=VALUE"):args("*")
end

local UNITS = {KiB = 1 << 10, MiB = 1 << 20, GiB = 1 << 30}

-- A word of the command line as a value of the option's type. What is no such value goes on as it is, for the check to complain of.
function M.value_of(option, text)
	if option.type == "boolean" then
		if text == "true" or text == "false" then
			return text == "true"
		end
	elseif option.type == "bytes" then
		local number, unit = text:match("^(%d+)(%a*)$")
		if number and (unit == "" or UNITS[unit]) then
			local n, factor = math.tointeger(tonumber(number)), UNITS[unit] or 1
			return n and n <= math.maxinteger // factor and n * factor or text
		end
	elseif option.type == "count" or option.type == "seconds" then
		return text:match("^%d*%.?%d*e?%-?%d*$") and tonumber(text) or text
	end
	return text
end

local function changes_of(words)
	local by_name, names, changes = {}, {}, {}
	for i, option in ipairs(options.set("file")) do
		by_name[option.name] = option
		names[i] = option.name
	end
	for _, word in ipairs(words) do
		local name, text = word:match("^([^=]*)=(.*)$")
		if not name then
			util.usage("NAME=VALUE expected, not '%s'", util.printable(word))
		elseif not by_name[name] then
			util.usage("no setting of a store is called '%s'%s", util.printable(name), util.did_you_mean(name, names))
		elseif changes[name] ~= nil then
			util.usage("%s is given twice", name)
		end
		changes[name] = M.value_of(by_name[name], text)
	end
	return changes
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
	local changes = changes_of(args.settings)
	local store <close> = util.open_store(args, {create = false})
	local ok, result, err = pcall(store.configure, store, changes)
	if not ok then
		util.usage("%s", (tostring(result):gsub("^.-%(settings: (.*)%)$", "%1"):gsub("^bad argument #%d to '[^']*' ", "")))
	end
	util.check(result, err)
end

return M
