-- repl.lua - a prompt over a store: evaluates expressions, and has short commands. `vigia repl` and vigia.repl().

local complete = require "vigia.repl_completion"
local core = require "vigia.core"
local show = require "vigia.show"
local show_events = require "vigia.show_events"

local M = {}

local CLASSES <const> = {store = "vigia.Store", registry = "vigia.Registry"}

local WIDTH = 100 -- columns of a table on one line
local LIMIT = 20 -- events, unless more are asked for

local HELP = [[
events{from=, type=, operation=, where=, limit=}   a list of events. from: the
                 number of the first (1), negative: from the end; where: a
                 function (event) -> boolean; limit: 20, 0 for all
tail(n)          the last n events (10)
event(seq)       one event
watchers()       every watcher of any process: state, lag, last error
checkpoints()    watcher id -> number
state()          the buckets and the number of values in each
state(bucket)    its first 20 rows; a part of it: state(bucket, "prefix*") or
                 state(bucket, {from=, to=, prefix=, reverse=, limit=})
state(bucket, key)   a value
scheduled{from=, to=, operation=, object_type=, key=, limit=}   the events that
                 wait for their time, the first 20
dead()           the first 20 dead letters, without traceback and object;
                 dead(watcher) those of one, dead(watcher, seq) one in full,
                 dead{watcher=, from=, limit=} a part of them
stats()          the contents and settings of the store
store, vigia     the store and the module, with all their functions
_                the last value that was not nil
help             this text
exit, quit       leave the prompt, as Ctrl-D does
An expression prints its value, and so does =expression. Any Lua code works. An
unfinished line continues on the next one. Globals are kept. A local ends with
its line. [1, 2] is an array, {a = 1} a map. Tab completes. Ctrl-C stops the
running expression or drops the line.

%s
  store_event, store_events, schedule, unschedule   events
  put, delete, drop_bucket, transaction             values by key
  seek, pause, resume, retry, forget                watchers, of any process
  store_checkpoint, delete_checkpoint               the progress of watchers
  retry_dead_letter, drop_dead_letter               events put aside
  trim, gc, configure                               removal of events, settings]]

-- By the access that the prompt was given: none for an application's store.
local CHANGES <const> = {
	readonly = "This prompt is read-only. These functions of the store return nil and an error\n"
		.. "(a transaction only if it writes). Start with --write to allow them:",
	write = "This prompt may write (--write). These functions change the store at once:",
	application = "These functions change the store at once, unless it was opened read-only:",
}
local GREETINGS <const> = {
	readonly = ", read-only (--write allows changes)",
	write = ", read and write: changes are stored at once",
	application = "",
}

---- lists of events ----

local QUERY = {from = true, type = true, operation = true, where = true, limit = true}
local Events = {__name = "vigia.Events"}

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
		if type(query) ~= "table" then error("events: must be called with a table, as in events{type = \"Job\"}", 0) end
		for name in pairs(query) do
			if not QUERY[name] then error(("events: unknown field '%s'; see help"):format(tostring(name)), 0) end
		end
		local from, latest = query.from or 1, last()
		from = whole(from)
		if not from or from == 0 then error("from: must be the number of an event, or negative to count from the end", 0) end
		local limit = query.limit == nil and LIMIT or whole(query.limit)
		if not limit or limit < 0 then error("limit: must be an integer of 0 or more", 0) end
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
		if not n or n < 1 then error("tail: must be a number of events, 1 or more", 0) end
		return C.events{from = -n, limit = n}
	end

	function C.event(seq)
		return store:get_event(seq)
	end

	for _, name in ipairs{"checkpoints", "stats"} do
		C[name] = function() return store[name](store) end
	end

	function C.state(bucket, what)
		if bucket == nil then
			local counts = {}
			for _, one in ipairs(assert(store:buckets())) do counts[one.name] = one.values end
			return counts
		end
		local prefix = type(what) == "string" and what:match("^(.*)%*$") or nil
		if what ~= nil and type(what) ~= "table" and not prefix then return store:get(bucket, what) end
		local range = {limit = LIMIT, prefix = prefix}
		for name, value in pairs(type(what) == "table" and what or {}) do range[name] = value end
		return store:range(bucket, range)
	end

	function C.scheduled(query)
		local wanted = {limit = LIMIT}
		for name, value in pairs(query or {}) do wanted[name] = value end
		return store:scheduled(wanted)
	end

	function C.dead(watcher, seq)
		if seq ~= nil then
			local letters, err = store:dead_letters{watcher = watcher, from = seq, limit = 1}
			if not letters then return nil, err end
			return letters[1] and letters[1].seq_num == seq and letters[1] or nil
		end
		local wanted = {limit = LIMIT}
		for name, value in pairs(type(watcher) == "table" and watcher or {watcher = watcher}) do wanted[name] = value end
		local letters, err = store:dead_letters(wanted)
		for _, letter in ipairs(letters or {}) do
			letter.operation, letter.object_type = letter.event.operation, letter.event.object_type
			letter.event, letter.traceback = nil, nil
		end
		return letters, err
	end

	function C.watchers()
		local all = {}
		for _, watcher in ipairs(assert(store:watchers())) do
			all[watcher.watcher] = all[watcher.watcher] or watcher
			watcher.watcher, watcher.lag_seconds = nil, nil
			watcher.ephemeral = watcher.ephemeral or nil
			if watcher.position == (watcher.checkpoint or watcher.hold) then watcher.position = nil end
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
	local expression <const> = source:match("^%s*=(.*)") -- as in Lua 5.3
	local chunk, why = load("return " .. (expression or source), "=repl", "t", env)
	if chunk then return chunk end
	local message = why
	if not expression then chunk, message = load(source, "=repl", "t", env) end
	if chunk then return chunk end
	if message:find("near <eof>$") or why:find("near <eof>$") then return nil end
	return nil, message
end

-- To a person events are shown in columns; a line from a pipe gives a line.
local function shown(value, interactive)
	if interactive then
		if show_events.is_event(value) then return show_events.one(value, WIDTH) end
		if show_events.is_list(value) then return show_events.list(value) end
		if getmetatable(value) == Events and #value == 0 then return "no events" end
	end
	return show.show(value, interactive and WIDTH or nil)
end

local function print_values(interactive, values)
	if values.n == 0 then return end
	local words = {}
	for i = 1, values.n do words[i] = shown(values[i], interactive) end
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

-- Does an application have something of this name? Looking may fail, as it does where globals must be declared.
local function has(env, name)
	local ok, value = pcall(function() return env[name] end)
	return ok and value ~= nil
end

---Read, run and print until the input ends. Returns whether nothing failed.
---@param options? vigia.ReplOptions
---@param access? "readonly"|"write" what a store of the command's own allows
function M.run(options, access)
	options, access = options or {}, access or "application"
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
	local leaving = false
	local function leave() leaving = true end
	function env.help()
		print(HELP:format(CHANGES[access]))
	end
	for _, name in ipairs{"exit", "quit"} do
		if not has(options.env or _G, name) then env[name] = leave end
	end
	local bare <const> = {[env.help] = true, [leave] = true} -- called as a word, too

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
	if edits then
		print(("%s, %s%s."):format(core._VERSION, tostring(store or "no store"), GREETINGS[access]))
		print("help lists the commands, exit or Ctrl-D leaves.")
	end

	local function run(chunk)
		local ok, trace = core.edit_call(function()
			local values = table.pack(chunk())
			local first = values[1]
			if values.n == 1 and first ~= nil and bare[first] then return first() end
			if first ~= nil then rawset(env, "_", first) end
			print_values(interactive, values)
		end)
		if not ok then complain(shorten(trace)) end
	end
	local lines = {}
	while not leaving do
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
