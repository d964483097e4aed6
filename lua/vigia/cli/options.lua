-- options.lua - `vigia options`: every option there is, from the table the library itself checks by.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Show all options, their defaults and what they mean."
M.description = [[
Shows the options of vigia.open, registry:watch, vigia.registry and stop. Options of the file are
given when it is created. `vigia configure` and store:configure{} change them, except the fixed
ones.]]

function M.define(command)
	command:flag("--json"):description("Print one JSON object a line instead of a table.")
end

-- Their titles, and the set of options below each.
local GROUPS = {
	{"vigia.open: the handle", "handle"},
	{"vigia.open: the file", "file"},
	{"registry:watch", "watch"},
	{"registry:watch: a script, in addition", "script"},
	{"vigia.registry", "registry"},
	{"registry:stop, watcher:stop", "stop"},
}

-- The sets, of the guides and the manual page, too: the kind of options, which scopes of it, and the kind whose options it leaves out.
local SETS <const> = {
	watch = {"watch", handle = true},
	script = {"script", "watch", handle = true},
	registry = {"registry", handle = true},
	stop = {"stop", handle = true},
	handle = {"store", handle = true},
	file = {"store", file = true, fixed = true},
}

---The options of one of these sets, in their order.
function M.set(name)
	local list = require("vigia.core").options
	local set, known, options = assert(SETS[name], name), {}, {}
	for _, option in ipairs(set[2] and list(set[2]) or {}) do
		known[option.name] = true
	end
	for _, option in ipairs(list(set[1])) do
		if set[option.scope] and not known[option.name] then
			options[#options + 1] = option
		end
	end
	return options
end

local WIDTH = 100

-- A default for people: "1 MiB", "0.2 s"; "-" where there is none.
function M.default_text(option)
	if option.default == nil then
		return "-"
	end
	local value = option.default
	if math.type(value) == "float" and value == math.floor(value) then
		value = math.tointeger(value)
	end
	for _, unit in ipairs(option.unit == "bytes" and value > 0 and {{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} or {}) do
		if value % unit[1] == 0 then
			return ("%d %s"):format(value // unit[1], unit[2])
		end
	end
	return tostring(value) .. (option.unit == "seconds" and " s" or "")
end

local function write_group(title, options)
	util.write(title, "\n")
	for _, option in ipairs(options) do
		local help = option.scope == "fixed" and option.help .. " (fixed)" or option.help
		local head = ("  %-27s %-8s %-12s "):format(option.name, option.type, M.default_text(option))
		for i, line in ipairs(util.wrap(help, WIDTH - #head)) do
			util.write(i == 1 and head or (" "):rep(#head), line, "\n")
		end
	end
end

function M.run(args)
	for i, group in ipairs(GROUPS) do
		local options, kind = M.set(group[2]), SETS[group[2]][1]
		if args.json then
			for _, o in ipairs(options) do
				util.write(util.json_object({{"of", kind}, {"name", o.name}, {"type", o.type}, {"unit", o.unit},
					{"default", o.default}, {"scope", o.scope}, {"choices", o.choices}, {"help", o.help}}), "\n")
			end
		else
			if i > 1 then
				util.write("\n")
			end
			write_group(group[1], options)
		end
	end
end

return M
