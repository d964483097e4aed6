-- repl.lua - a prompt over a store: evaluates expressions, and has short commands. `vigia repl` and vigia.repl().

local complete = require "vigia.repl_completion"
local core = require "vigia.core"
local show = require "vigia.show"
local text = require "vigia.text"

local M = {}

local CLASSES <const> = {store = "vigia.Store", registry = "vigia.Registry"}

local WIDTH = 100 -- columns of a table on one line
local LIMIT = 20 -- events, unless more are asked for

local HELP = [[
events{from=, type=, operation=, where=, limit=}   a list of events; from: a number (1), below 0 from the
                                                   end; where: a function; limit: 20, 0 for all
tail(n)          the last n events (10)
event(seq)       one event
watchers()       every watcher's checkpoint or hold and how far behind it is
checkpoints()    watcher id -> number
stats()          what is in the store and how it was made
store, vigia     the store and the module, with all their functions
help()           this text
An expression prints its value. Any Lua code works. An unfinished line continues on the next one. Globals stay, locals end with
their line. Tab completes, Ctrl-C stops the running expression or drops the line, Ctrl-D leaves.]]

---- lists of events ----

local QUERY = {from = true, type = true, operation = true, where = true, limit = true}
local Events = {__name = "vigia.Events"}

local function time_text(ns)
	return os.date("!%Y-%m-%d %H:%M:%S", ns // 1000000000) .. (".%03d"):format(ns // 1000000 % 1000)
end

local function event_line(event)
	local line = ("%d  %s  %s  %s  %s"):format(event.seq_num, time_text(event.timestamp), text.printable(event.operation),
		text.printable(event.object_type), show.quote(event.object))
	return #line > 160 and line:sub(1, (utf8.offset(line, 0, 157) or 157) - 1) .. "..." or line
end

-- A number as an integer, nil if it is not one.
local function whole(value)
	return type(value) == "number" and math.tointeger(value) or nil
end

local function list_of(value)
	if value == nil or type(value) == "table" then return value end
	return {value}
end

---- the commands ----

-- The commands over a store, as a table of globals.
local function commands(store, registry)
	local C = {}

	local function last()
		return assert(store:get_latest_event_num())
	end

	function C.events(query)
		query = query or {}
		if type(query) ~= "table" then error("events: a table is expected, as in events{type = \"Job\"}", 0) end
		for name in pairs(query) do
			if not QUERY[name] then error(("events: unknown field '%s'; see help()"):format(tostring(name)), 0) end
		end
		local from, latest = query.from or 1, last()
		from = whole(from)
		if not from or from == 0 then error("from: the number of an event, or below 0 to count from the end", 0) end
		local limit = query.limit == nil and LIMIT or whole(query.limit)
		if not limit or limit < 0 then error("limit: an integer from 0 on", 0) end
		if from < 0 then from = math.max(1, latest + from + 1) end
		local request = {
			event_iterator = core.at_sequence_number(from), timeout = 0, where = query.where, limit = limit,
			filter = {object_types = list_of(query.type), operations = list_of(query.operation)},
		}
		local found = setmetatable({}, Events)
		while limit == 0 or #found < limit do
			request.limit = limit == 0 and 0 or limit - #found
			local result, err = store:get_events(request)
			if not result then return nil, err end
			table.move(result.events, 1, #result.events, #found + 1, found)
			if result.next_event_iterator == request.event_iterator then break end
			-- Stop at the last event from the start: others may store faster than this reads.
			if #found > 0 and found[#found].seq_num >= latest then break end
			request.event_iterator = result.next_event_iterator
		end
		return found
	end

	function C.tail(n)
		n = n == nil and 10 or whole(n)
		if not n or n < 1 then error("tail: a number of events from 1 on", 0) end
		return C.events{from = -n, limit = n}
	end

	function C.event(seq)
		return store:get_event(seq)
	end

	for _, name in ipairs{"checkpoints", "stats"} do
		C[name] = function() return store[name](store) end
	end

	function C.watchers()
		local latest, all = last(), {}
		for kind, numbers in pairs{checkpoint = assert(store:checkpoints()), hold = assert(store:holds())} do
			for id, number in pairs(numbers) do
				all[id] = all[id] or {}
				all[id][kind] = number
				all[id].lag = math.max(0, latest - number)
			end
		end
		for id, watcher in pairs(all) do
			local running = registry and registry:get_watcher(id)
			if running then
				for name, value in pairs(running:stats()) do watcher[name] = value end
			end
		end
		return all
	end

	return C
end

---- reading and running ----

-- Compile the lines. Returns a function; nil, nil if they are unfinished; or nil and a message.
local function compile(source, env)
	local chunk, why = load("return " .. source, "=repl", "t", env)
	if chunk then return chunk end
	local message
	chunk, message = load(source, "=repl", "t", env)
	if chunk then return chunk end
	if message:find("near <eof>$") or why:find("near <eof>$") then return nil end
	return nil, message
end

local function print_values(interactive, ...)
	local count = select("#", ...)
	if count == 0 then return end
	local words = {}
	for i = 1, count do
		local value = select(i, ...)
		if getmetatable(value) == Events and interactive then
			for j, event in ipairs(value) do words[#words + 1] = (j > 1 and "\n" or "") .. event_line(event) end
			if #value == 0 then words[#words + 1] = "no events" end
			return print(table.concat(words))
		end
		words[i] = show.show(value, interactive and WIDTH or nil)
	end
	print(table.concat(words, "\t"))
end

local function history_path()
	local state = os.getenv("XDG_STATE_HOME")
	if not state or state:sub(1, 1) ~= "/" then
		local home = os.getenv("HOME")
		state = home and home .. "/.local/state"
	end
	return state and state .. "/vigia/history"
end

-- Remove the REPL's own frames, which are below the user's.
local function shorten(trace)
	return (trace:gsub("\n%s+[^\n]*vigia/repl%.lua:%d+: in .*", "")
		:gsub("in upvalue 'chunk'", "in this chunk"))
end

-- Check the options, and raise errors at the caller of vigia.repl().
local function check(options)
	local problem
	if type(options) ~= "table" then problem = "table expected, got " .. type(options) end
	for name, value in pairs(problem and {} or options) do
		local kind = type(value)
		if name == "env" then
			problem = kind ~= "table" and "env: table expected, got " .. kind or problem
		elseif name == "store" or name == "registry" then
			local metatable = debug.getmetatable(value)
			local object = kind == "table" or kind == "userdata" and type(metatable) == "table" and metatable.__name == CLASSES[name]
			problem = not object and ("%s: %s expected, got %s"):format(name, CLASSES[name], kind) or problem
		else
			problem = ("there is no option '%s'"):format(tostring(name))
		end
	end
	if problem then error(("bad argument #1 to 'repl' (%s)"):format(problem), 4) end
end

---Read, run and print until the input ends. Returns whether nothing failed.
---@param options? vigia.ReplOptions
function M.run(options)
	options = options or {}
	check(options)
	local store, registry = options.store, options.registry
	local env = setmetatable({}, {__index = options.env or _G})
	env._G = env
	env.vigia = require "vigia"
	env.store = store
	env.registry = registry
	if store then
		for name, command in pairs(commands(store, registry)) do env[name] = command end
	end
	function env.help()
		print(HELP)
	end

	local good = true
	local function complain(message)
		good = false
		io.stdout:flush()
		io.stderr:write(message, "\n")
	end
	local interactive = core.isatty(0)
	local edits = core.edit_start(interactive and history_path() or nil, function(line, from, to)
		if utf8.len(line) then from, to = utf8.offset(line, from + 1) - 1, utf8.offset(line, to + 1) - 1 end -- in bytes, not characters
		return complete(env, store, line, from, to)
	end)
	local library, originals, standins = package.loaded.coroutine, {}, core.edit_coroutines()
	for name, f in pairs(standins) do originals[name], library[name] = library[name], f end
	local _ <close> = setmetatable({}, {__close = function()
		core.edit_stop()
		for name, f in pairs(standins) do
			if library[name] == f then library[name] = originals[name] end
		end
	end})
	if edits then print(("%s, %s. help() lists the commands, Ctrl-D leaves."):format(core._VERSION, tostring(store or "no store"))) end

	local function run(chunk)
		local ok, trace = core.edit_call(function() print_values(interactive, chunk()) end)
		if not ok then complain(shorten(trace)) end
	end
	local lines = {}
	while true do
		local line, why = core.edit_line(#lines == 0 and "> " or ">> ")
		if not line and why == "interrupted" then
			if interactive then print("^C") end
			lines = {}
		elseif not line then
			if #lines > 0 and why == "end" then complain("repl: the input ended inside an expression") end
			if interactive then print() end
			break
		else
			lines[#lines + 1] = line
			local source = table.concat(lines, "\n")
			local chunk, message = compile(source, env)
			if source:find("^%s*$") or (source:find("^%s*%-%-[^\n]*$") and not source:find("^%s*%-%-%[=*%[")) then
				lines = {}
			elseif chunk then
				lines = {}
				run(chunk)
			elseif message then
				lines = {}
				complain(message)
			end
		end
	end
	return good or interactive
end

return M
