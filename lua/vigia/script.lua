-- script.lua - loads a handler script from a path or a module's name, checks what it returns, and calls its init and stop. Each mistake has
-- a message of one sentence. Runs in the Lua state of the script's own thread (runtime/bind/script.c).
--
-- A script is a chunk of Lua source. It is called once, with {store =, log =, set =}, and returns its handler or a table
-- {id =, handle =, init =, stop =, serializer =, and any option of registry:watch}.

local core = require("vigia.core")
local text = require("vigia.text")

local package <const> = package -- a capped script may not see it

local M = {}

-- Fields that this file uses. All others are options of registry:watch, whose values C checks.
local OWN_FIELDS = {id = "string", handle = "function", init = "function", stop = "function"}

-- Options that only the caller of registry:watch may set: a script cannot lift its own caps.
local CAPS = {memory_limit = true, cpu_limit = true, libraries = true}

local function fail(message, ...)
	error(message:format(...), 0)
end

-- All names a script's table may hold, and which of them are options. Made when first needed: few scripts set options.
local names, is_option

local function learn_fields()
	names, is_option = {}, {}
	for _, option in ipairs(core.options("watch")) do
		if option.name ~= "auto_start" then
			names[#names + 1] = option.name
			is_option[option.name] = true
		end
	end
	for name in pairs(OWN_FIELDS) do
		names[#names + 1] = name
	end
	names[#names + 1] = "serializer"
	table.sort(names)
end

-- Files and modules are searched before the script's code runs, because that code may be limited to libraries without `io` and `package`,
-- and can reach M.
local begun = false

local function only_before(what)
	if begun then
		fail("vigia.script.%s is not for a script's code", what)
	end
end

---The file of a script: a source with a slash, or that ends in .lua, is a path; anything else is searched like a module.
function M.find(source)
	only_before("find")
	if source:find("/", 1, true) or source:find("%.lua$") then
		return source
	end
	local path, message = package.searchpath(source, package.path)
	return path or fail("there is no script '%s':%s", text.printable(source), message:gsub("^%s*", "\n\t"))
end

-- Let `require` in a script find files in its own folder first.
local function look_beside(path)
	local folder = path:match("^(.*)/[^/]*$") or "."
	local first = ("%s/?.lua;%s/?/init.lua;"):format(folder, folder)
	local plain = not folder:find("[;?]") -- in package.path these characters have a meaning of their own
	if plain and package.path:sub(1, #first) ~= first then
		package.path = first .. package.path
	end
end

local function read(path)
	local file, message = io.open(path, "rb")
	if not file then
		fail("cannot open %s", text.printable(message))
	end
	local source
	source, message = file:read("a")
	file:close()
	return source or fail("cannot read %s: %s", text.printable(path), message)
end

-- Source only: bytecode can crash the interpreter. Drops a byte order mark, and turns a first line for the shell into a comment.
local function compile(path, source, env)
	source = source:gsub("^\xEF\xBB\xBF", ""):gsub("^#", "--#")
	local chunk, message
	if env then
		chunk, message = load(source, "@" .. path, "t", env)
	else
		chunk, message = load(source, "@" .. path, "t")
	end
	if not chunk then
		if message:find("attempt to load a binary chunk", 1, true) then
			message = path .. ": this is bytecode; a handler script is Lua source"
		end
		fail("%s", text.printable(message))
	end
	return chunk
end

local function check_field(path, name, value)
	local wanted = OWN_FIELDS[name]
	if wanted then
		if type(value) ~= wanted then
			fail("%s: `%s` is a %s, not a %s", path, name, type(value), wanted)
		end
	elseif name == "serializer" then
		if type(value) ~= "table" and type(value) ~= "string" then
			fail("%s: `serializer` is a %s, not a table {name =, marshal =, unmarshal =} or the name of a module that returns one", path,
				type(value))
		end
	elseif name == "auto_start" then
		fail("%s: `auto_start` cannot be set in a script: give it to registry:watch", path)
	elseif CAPS[name] then
		fail("%s: `%s` cannot be set in a script: give it to registry:watch", path, name)
	else
		if not names then
			learn_fields()
		end
		if not is_option[name] then
			fail("%s: unknown field `%s`%s", path, text.printable(tostring(name)), text.did_you_mean(tostring(name), names))
		end
	end
end

local function evaluate(path, chunk, given)
	local ok, result = xpcall(chunk, text.traceback, given)
	if not ok then
		fail("%s: the script failed: %s", path, result)
	end
	if type(result) == "function" then
		result = {handle = result}
	elseif type(result) ~= "table" then
		fail("%s: the script returns %s; it must return its handler, function(event, ctx), or a table {handle = function(event, ctx)}",
			path, result == nil and "nothing" or "a " .. type(result))
	end

	local script = {path = path, id = path:match("([^/]*)$"):gsub("%.lua$", ""), options = {}}
	for name, value in pairs(result) do
		check_field(path, name, value)
		if OWN_FIELDS[name] or name == "serializer" then
			script[name] = value
		else
			script.options[name] = value
		end
	end
	if not script.handle then
		fail("%s: the script has no handler: the table it returns lacks `handle = function(event, ctx)`", path)
	end
	if #script.id < 1 or #script.id > 255 or script.id:find("\0", 1, true) then
		fail("%s: `id` must have 1 to 255 bytes, none of them zero", path)
	end
	return script
end

-- The table of a script's `serializer`, which may be a module's name.
local function serializer_of(script)
	local name = script.serializer
	if type(name) ~= "string" or name == "msgpack" or name == "json" then
		return name
	end
	local ok, result = pcall(require, name)
	if not ok then
		fail("%s: `serializer`: %s", script.path, tostring(result))
	elseif type(result) ~= "table" then
		fail("%s: `serializer`: the module '%s' returns a %s, not a table {name =, marshal =, unmarshal =}", script.path,
			text.printable(name), type(result))
	end
	return result
end

---Run a script whose source was read already, with these globals. It touches no file: a script's code may call it too.
---@param given {store: vigia.Store, log: function, set: table}
function M.from_source(path, source, given, env)
	return evaluate(path, compile(path, source, env), given)
end

---Load and run a script.
---@param path string from find
---@param order {set: table, options: table, inside: boolean?} `set` and options from registry:watch, which win over the script's;
---  inside: this is the program of an isolated script, which has no store
---@param given {store: vigia.Store, log: function}
---@param source string? the content of the file, if it was read already
---@return {path: string, source: string, id: string, handle: function, init: function?, stop: function?, serializer: any, options: table}
function M.load(path, order, given, source)
	only_before("load")
	source = source or read(path)
	begun = true
	given.set = order.set or {}
	look_beside(path)
	local script
	if order.isolation then
		script = require("vigia.isolated_host").load(path, source, given.set, given, order.isolation)
	else
		script = evaluate(path, compile(path, source), given)
	end
	script.source = source
	if not order.inside then
		script.serializer = serializer_of(script)
	end
	for name, value in pairs(order.options) do
		if name == "initial_event_iterator" then
			value = core[value.kind](value.seq_num)
		end
		script.options[name] = value
	end
	return script
end

---Call a script's init or stop. It fails like a handler: by raising, or by returning nil or false and a message.
---@return string? problem
function M.call(script, name, ctx)
	local hook = script[name]
	if not hook then
		return nil
	end
	local ok, result, message = xpcall(hook, text.traceback, ctx)
	if ok and (result or message == nil) then
		return nil
	end
	return ("%s: `%s` failed: %s"):format(script.path, name, ok and tostring(message) or result)
end

---Load a script for the thread of its watcher. The results are in the order of the stack of runtime/bind/script.c.
---@param order table `set` and options from registry:watch
---@param log function
---@param source string? the content of the file, if it was read already
---@return string source, string id, any serializer, function handle, table options, boolean has_stop, fun(name: string): string? call
function M.open(path, order, store, watcher, log, source)
	local script = M.load(path, order, {store = store, log = log}, source)
	local context = {store = store, log = log, watcher = watcher}
	source, script.source = script.source, nil
	return source, script.id, script.serializer, script.handle, script.options, script.stop ~= nil, function(name)
		return M.call(script, name, context)
	end
end

return M
