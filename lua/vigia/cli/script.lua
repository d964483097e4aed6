-- script.lua - handler scripts: from a path to what a watcher needs, with every way it can be wrong told in a sentence.
--
-- A script is a chunk of Lua source. It is called once, with {store =, log =, set =}, and returns its handler or a table
-- {id =, handle =, init =, stop =, and any option of registry:watch}.

local util = require("vigia.cli.util")

local M = {}

-- What belongs to the program; everything else in the table is an option of registry:watch, which checks the values.
local OWN_FIELDS = {id = "string", handle = "function", init = "function", stop = "function"}

-- All names a script's table may hold, and which of them are options.
local function known_fields()
	local names, is_option = {}, {}
	for _, option in ipairs(require("vigia.core").options("watch")) do
		if option.name ~= "auto_start" then
			names[#names + 1] = option.name
			is_option[option.name] = true
		end
	end
	for name in pairs(OWN_FIELDS) do
		names[#names + 1] = name
	end
	table.sort(names)
	return names, is_option
end

---@class vigia.cli.Script
---@field path string
---@field id string the watcher's
---@field handle vigia.Handler
---@field init? fun(ctx: table): any
---@field stop? fun(ctx: table): any
---@field options vigia.WatchOptions

local function base_name(path)
	return (path:match("([^/]*)$"):gsub("%.lua$", ""))
end

---Compile a script. Its globals are its own: scripts that run together do not meet in them.
---@return {path: string, chunk: function}
function M.compile(path)
	local environment = setmetatable({}, {__index = _G})
	environment._G = environment
	local chunk, message = loadfile(path, "t", environment)
	if not chunk then
		if message:find("attempt to load a binary chunk", 1, true) then
			message = path .. ": this is bytecode; a handler script is Lua source"
		end
		util.fail("%s", util.printable(message))
	end
	return {path = path, chunk = chunk}
end

local function check_field(path, name, value, names, is_option)
	local wanted = OWN_FIELDS[name]
	if wanted then
		if type(value) ~= wanted then
			util.fail("%s: `%s` is a %s, not a %s", path, name, type(value), wanted)
		end
	elseif name == "auto_start" then
		util.fail("%s: `auto_start` cannot be set here: `vigia run` starts the watcher", path)
	elseif not is_option[name] then
		util.fail("%s: unknown field `%s`%s", path, util.printable(tostring(name)), util.did_you_mean(tostring(name), names))
	end
end

---Run a compiled script and check what it returns.
---@return vigia.cli.Script
function M.evaluate(compiled, given)
	local path = compiled.path
	local ok, result = xpcall(compiled.chunk, util.traceback, given)
	if not ok then
		util.fail("%s: the script failed: %s", path, result)
	end
	if type(result) == "function" then
		result = {handle = result}
	elseif type(result) ~= "table" then
		util.fail("%s: the script returns %s; it must return its handler, function(event, ctx), or a table {handle = function(event, ctx)}",
			path, result == nil and "nothing" or "a " .. type(result))
	end

	local names, is_option = known_fields()
	local script = {path = path, id = base_name(path), options = {}}
	for name, value in pairs(result) do
		check_field(path, name, value, names, is_option)
		if OWN_FIELDS[name] then
			script[name] = value
		else
			script.options[name] = value
		end
	end
	if not script.handle then
		util.fail("%s: the script has no handler: the table it returns lacks `handle = function(event, ctx)`", path)
	end
	if #script.id < 1 or #script.id > 255 or script.id:find("\0", 1, true) then
		util.fail("%s: `id` must have 1 to 255 bytes, none of them zero", path)
	end
	return script
end

---Two watchers cannot share an id.
function M.check_ids(scripts)
	local paths = {}
	for _, script in ipairs(scripts) do
		local other = paths[script.id]
		if other == script.path then
			util.fail("%s is named twice", script.path)
		elseif other then
			util.fail("%s and %s have the same id, '%s': give one of them another with `id = \"...\"` in the table it returns",
				other, script.path, util.printable(script.id))
		end
		paths[script.id] = script.path
	end
end

return M
