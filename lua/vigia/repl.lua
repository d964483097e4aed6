-- repl.lua - a prompt over a store: expressions, their values, and short commands. `vigia repl` and vigia.repl().

local core = require "vigia.core"
local show = require "vigia.show"
local text = require "vigia.text"

local M = {}

local WIDTH = 100 -- columns of a table on one line
local LIMIT = 20 -- events, unless more are asked for
local KNOWN_EVENTS = 1000 -- whose object types completion offers

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
An expression prints its value; any Lua goes. A line that is not finished goes on in the next one. Globals stay, locals end with
their line. Tab completes, Ctrl-C stops what runs or drops the line, Ctrl-D leaves.]]

---- lists of events ----

local Events = {__name = "vigia.Events"}

local function time_text(ns)
	return os.date("!%Y-%m-%d %H:%M:%S", ns // 1000000000) .. (".%03d"):format(ns // 1000000 % 1000)
end

local function event_line(event)
	local line = ("%d  %s  %s  %s  %s"):format(event.seq_num, time_text(event.timestamp), text.printable(event.operation),
		text.printable(event.object_type), show.quote(event.object))
	return #line > 160 and line:sub(1, (utf8.offset(line, 0, 157) or 157) - 1) .. "..." or line
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
		local from = query.from or 1
		if from == 0 or math.type(from) ~= "integer" then error("from: a number of an event, or below 0 for the last ones", 2) end
		if from < 0 then from = math.max(1, last() + from + 1) end
		local request = {
			event_iterator = core.at_sequence_number(from), timeout = 0, where = query.where, limit = query.limit or LIMIT,
			filter = {object_types = list_of(query.type), operations = list_of(query.operation)},
		}
		local found, limit = setmetatable({}, Events), request.limit
		while limit == 0 or #found < limit do
			request.limit = limit == 0 and 0 or limit - #found
			local answer, err = store:get_events(request)
			if not answer then return nil, err end
			table.move(answer.events, 1, #answer.events, #found + 1, found)
			if answer.next_event_iterator == request.event_iterator then break end
			request.event_iterator = answer.next_event_iterator
		end
		return found
	end

	function C.tail(n)
		return C.events{from = -(n or 10), limit = n or 10}
	end

	function C.event(seq)
		return store:get_event(seq)
	end

	function C.checkpoints()
		return store:checkpoints()
	end

	function C.stats()
		return store:stats()
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

---- completion ----

-- The object types of the last events, and the watcher ids.
local function known_names(store)
	local names = {}
	if not store then return names end
	local latest = store:get_latest_event_num() or 0
	local answer = store:get_events{event_iterator = core.at_sequence_number(math.max(1, latest - KNOWN_EVENTS + 1)), timeout = 0,
		limit = KNOWN_EVENTS}
	for _, event in ipairs(answer and answer.events or {}) do names[event.object_type] = true end
	for id in pairs(store:checkpoints() or {}) do names[id] = true end
	for id in pairs(store:holds() or {}) do names[id] = true end
	return names
end

local KEYWORDS = {
	"and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil", "not", "or", "repeat",
	"return", "then", "true", "until", "while",
}

-- The names a value has: its own string keys and those of its class.
local function names_of(value, add)
	for _ = 1, 10 do
		if type(value) == "table" then
			for key in next, value do
				if type(key) == "string" then add(key, rawget(value, key)) end
			end
		end
		local metatable = debug.getmetatable(value)
		value = type(metatable) == "table" and rawget(metatable, "__index")
		if type(value) ~= "table" then return end
	end
end

-- A field without running anybody's code but plain __index tables.
local function field(value, name)
	for _ = 1, 10 do
		local found = type(value) == "table" and rawget(value, name)
		if found ~= nil and found ~= false then return found end
		local metatable = debug.getmetatable(value)
		value = type(metatable) == "table" and rawget(metatable, "__index")
		if type(value) ~= "table" then return nil end
	end
end

---The words that could stand for line:sub(from + 1, to).
local function complete(env, store, line, from, to)
	local word, found, seen = line:sub(from + 1, to), {}, {}
	local function offer(candidate)
		if candidate:sub(1, #word) == word and not seen[candidate] then
			seen[candidate] = true
			found[#found + 1] = candidate
		end
	end
	local before = line:sub(1, from)
	local _, double = before:gsub('"', "")
	local _, single = before:gsub("'", "")
	if double % 2 == 1 or single % 2 == 1 then
		for name in pairs(known_names(store)) do offer(name) end
	else
		local path, separator, start = word:match("^(.*)([.:])([%w_]*)$")
		if path then
			local value = env
			for name in path:gmatch("[%w_]+") do value = field(value, name) end
			local prefix = path .. separator
			if value ~= nil and prefix .. start == word then
				names_of(value, function(name, member)
					if name:find("^[%a_][%w_]*$") and (separator == "." or type(member) == "function") then offer(prefix .. name) end
				end)
			end
		elseif word:find("^[%a_][%w_]*$") or word == "" then
			names_of(env, function(name) offer(name) end)
			for _, keyword in ipairs(KEYWORDS) do offer(keyword) end
		end
	end
	table.sort(found)
	return found
end
M.complete = complete

---- reading and running ----

-- The chunk of these lines: a function; nil, nil if they are not finished; nil and a message.
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

-- The REPL's frames below the user's are nobody's business.
local function shorten(trace)
	return (trace:gsub("\n%s+[^\n]*vigia/repl%.lua:%d+: in .*", "")
		:gsub("in upvalue 'chunk'", "in this chunk"))
end

---Read, run and print until the input ends. Answers whether all went well.
---@param options? vigia.ReplOptions
function M.run(options)
	options = options or {}
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
		return complete(env, store, line, from, to)
	end)
	local _ <close> = setmetatable({}, {__close = core.edit_stop})
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
