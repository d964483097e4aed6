-- run.lua - `vigia run`: handler scripts over the store, until a signal or until everything is handled.

local core = require("vigia.core")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Run handler scripts over the events."
M.description = [[
Runs each handler script as a watcher, on a thread and in a Lua state of its own. The watcher
starts after its checkpoint, handles the events in order, and continues with new ones. A script
returns a function or a table:
    return function(event, ctx) print(event.seq_num, event.object.path) end
    return {filter = {object_types = {"File"}}, handle = function(event, ctx) ... end}
The table may also have: id, the watcher's id (default: the script's name without .lua); init(ctx),
called once before the first event; stop(ctx), called when the watcher has stopped; and the
options of registry:watch (`vigia options`). `require` finds modules beside the script first.
An event fails if the handler raises an error, or returns nil or false and a message. It is
retried after initial_backoff (0.2 s), and then after ever longer delays.
--cpu, --memory and --libraries limit each script. Going over a limit fails the event, and the
script is loaded again. The script cannot prevent that. With --isolate a crash, or an endless loop
in C, also fails only the event.
On SIGINT, SIGTERM and SIGHUP the handlers in progress finish. Then the command saves the
checkpoints, runs the stop functions, and ends with exit status 0. A SIGINT or SIGHUP that was
ignored at the start (nohup, & in a script) stays ignored. A handler that does not finish within
--stop-timeout seconds is abandoned, or killed with --isolate. The exit status is then 1.
The command ends in the same way when the reader of its output is gone (`| head -1`). If a
checkpoint or output cannot be written at the end, the exit status is 1.
With --until-idle the command ends when every watcher has handled all events that were stored at the
start, events that handlers stored meanwhile, and its dead letters to be retried. If an event has
failed for --max-wait seconds, the exit status is 1.
Log records go to standard error, each with its time. The systemd journal has the time, so records
for it have a level mark instead. --log-format chooses logfmt or JSON. Under systemd (Type=notify)
the command reports when all watchers have started. With WatchdogSec= it sends watchdog
notifications, and none while a handler takes longer than that.
A watcher id runs in one process at a time. If another process runs it, the exit status is 1. With
--wait the command waits until that process ends, however it ends, and takes over.]]

local MAX_WAIT = 30
local STOP_TIMEOUT = 30
local LETTER_WAIT = 0.05 -- seconds between two looks whether letters are left
local GRACE = 1 -- seconds that an idle watcher's thread may take to notice a stop, with a timeout of 0
local LEVELS <const> = {debug = true, info = true, warn = true, error = true}

function M.define(command)
	util.define_store(command)
	command:argument("HANDLER.lua", "A handler script."):target("handlers"):args("+")
	command:flag("--until-idle"):description("End when all events are handled.")
	command:option("--max-wait"):argname("SECONDS"):convert(util.seconds("--max-wait")):overwrite(false)
		:description(("How long an event may fail, with --until-idle (default: %d)."):format(MAX_WAIT))
	command:option("--set"):argname("NAME=VALUE"):count("*")
		:description("Give the scripts a value: each is called with a table that has the string VALUE as `set.NAME`."
			.. " SCRIPT.NAME=VALUE is for SCRIPT.lua only.")
	command:flag("--reload"):description("Load a script's new code whenever its file changes, between two events.")
	command:flag("--wait"):description("If another process runs a script's watcher, wait until it ends, and take over.")
	command:option("--cpu"):argname("SECONDS"):convert(util.seconds("--cpu")):overwrite(false)
		:description("Limit on the processor time of a script for one event, and for loading, init and stop.")
	command:option("--memory"):argname("BYTES"):convert(util.bytes("--memory")):overwrite(false)
		:description("Limit on the memory of a script, such as 64M.")
	command:option("--libraries"):argname("NAMES"):convert(util.names()):overwrite(false)
		:description("The Lua libraries that the scripts may use besides base and vigia, such as string,table.")
	command:flag("--isolate"):description("Run each script in a process of its own.")
	command:option("--stop-timeout"):argname("SECONDS"):convert(util.seconds("--stop-timeout")):overwrite(false)
		:description(("How long to wait for handlers at the end (default: %d)."):format(STOP_TIMEOUT))
	command:flag("--verbose"):description("Print informational log lines too.")
	util.define_log_format(command)
end

-- log(level, message): one record a call, to stderr.
local function make_log(verbose)
	return function(level, message)
		if not LEVELS[level] then
			error(("log: the level must be debug, info, warn or error, not %s"):format(tostring(level)), 2)
		end
		if core.output_gone() and level ~= "error" then
			return -- an event failed because of that, and the program ends
		elseif verbose or level == "warn" or level == "error" then
			core.log(level, tostring(message))
		end
	end
end

local function name_of(path)
	return (path:match("([^/]*)$"):gsub("%.lua$", ""))
end

-- "name=value" of --set: the values for all scripts, and, by the script's name, those of "script.name=value".
local function parse_set(pairs_given, handlers)
	local for_all, for_one = {}, {}
	for _, path in ipairs(handlers) do
		for_one[name_of(path)] = {}
	end
	for _, pair in ipairs(pairs_given or {}) do
		local name, value = pair:match("^([^=]+)=(.*)$")
		if not name then
			util.usage("--set %s: use --set NAME=VALUE or --set SCRIPT.NAME=VALUE", pair)
		end
		local script, rest = name:match("^(.*)%.([^.]+)$") -- a script's name may have dots
		if script and not for_one[script] then
			util.usage("--set %s: there is no script '%s' on this command line", pair, script)
		end
		local set = script and for_one[script] or for_all
		name = rest or name
		if set[name] then
			util.usage("--set %s: %s is set already", pair, name)
		end
		set[name] = value
	end
	for _, own in pairs(for_one) do
		for name, value in pairs(for_all) do
			own[name] = own[name] or value
		end
	end
	return for_one
end

-- Every script becomes an idle watcher, on a thread of its own. None handles an event before all have begun.
local function watch_all(registry, args, set)
	local entries, paths = {}, {}
	for i, path in ipairs(args.handlers) do
		local is_path = path:find("/", 1, true) or path:find("%.lua$") -- anything else would be looked for as a module
		local ok, watcher, err = pcall(registry.watch, registry, nil, is_path and path or "./" .. path,
			{auto_start = false, set = set[name_of(path)], reload = args.reload, cpu_limit = args.cpu, memory_limit = args.memory,
				libraries = args.libraries, isolation = args.isolate and "process" or nil})
		if not ok then
			util.usage("%s", tostring(watcher):match("%(watch options: (.*)%)$") or tostring(watcher))
		elseif watcher then
			core.hold(watcher, true)
			paths[watcher:id()] = path
			entries[i] = {path = path, watcher = watcher}
		elseif err.code == "watcher_already_exists" and paths[err.watcher_id] == path then
			util.fail("%s is given twice", path)
		elseif err.code == "watcher_already_exists" then
			util.fail("%s and %s have the same id, '%s': give one of them another with `id = \"...\"` in the table it returns",
				paths[err.watcher_id], path, util.printable(err.watcher_id))
		else
			util.fail("%s", tostring(err))
		end
	end
	return entries
end

-- Start one; with `wait`, once no other process runs it.
local function start(watcher, store, wait, log)
	local told = false
	while true do
		local ok, err = watcher:start()
		if ok or not wait or err.code ~= "watcher_owned" then
			return ok, err
		end
		if not told then
			log("warn", tostring(err) .. "; waiting until it ends")
			core.notify("STATUS=standing by: " .. util.printable(tostring(err)))
			told = true
		end
		ok, err = core.wait_owner(store, err.watcher_id)
		if not ok then
			return nil, err
		end
	end
end

-- One after the other runs its init; then all start.
local function start_all(entries, store, wait, log)
	for _, entry in ipairs(entries) do
		local ok, err = start(entry.watcher, store, wait, log)
		if not ok and err.code == "interrupted" then
			return err
		elseif not ok then
			local message = tostring(err) -- a script's own names it already
			return message:sub(1, #entry.path + 1) == entry.path .. ":" and message or ("%s: %s"):format(entry.path, message)
		end
		local stats = entry.watcher:stats()
		log("info", ("watcher '%s': %s starts at %s"):format(util.printable(stats.id), entry.path, tostring(stats.next_event_iterator)))
	end
	for _, entry in ipairs(entries) do
		core.hold(entry.watcher, false)
	end
	return nil
end

-- Stop all watchers; each runs its stop. Adds what went wrong to `problems`, in order. Returns whether all threads have stopped.
local function stop_all(registry, entries, problems, timeout)
	local ok, err = registry:stop({timeout = timeout})
	if err then
		problems[#problems + 1] = tostring(err)
	end
	for _, entry in ipairs(entries) do
		local stop_error = entry.watcher:stats().stop_error
		if stop_error then
			problems[#problems + 1] = tostring(stop_error)
		end
	end
	return ok
end

-- The last event a watcher has looked at.
local function position(stats)
	local iterator = stats.next_event_iterator
	if iterator.kind == "after_sequence_number" then
		return iterator.seq_num
	elseif iterator.kind == "at_sequence_number" then
		return iterator.seq_num - 1
	end
	return 0
end

-- A watcher that stopped without being asked to is fine if its handler wanted it so, and not if it could not go on.
local function stopped_with_error(stats)
	if stats.state == "stopped" and stats.last_error and stats.last_error.code == "store_replaced" then
		return ("watcher '%s' stopped: %s"):format(util.printable(stats.id), tostring(stats.last_error))
	end
	return stats.state == "stopped" and stats.blocked_on and ("watcher '%s' stopped at event %d: %s"):format(
		util.printable(stats.id), stats.blocked_on, tostring(stats.last_error)) or nil
end

-- How long a watcher has failed without getting on; nil when it does not.
local function failing_since(entry, stats, now)
	local at = position(stats)
	if at ~= entry.at or stats.processed ~= entry.processed then
		entry.at, entry.processed, entry.fetch_errors, entry.since = at, stats.processed, stats.fetch_errors, nil
	end
	if stats.blocked_on or stats.fetch_errors > entry.fetch_errors then
		entry.since = entry.since or now
		return entry.since
	end
	entry.since = nil
	return nil
end

local function gave_up(stats, max_wait)
	local what = stats.blocked_on and ("event %d still fails"):format(stats.blocked_on)
		or ("reading after event %d still fails"):format(position(stats))
	return ("watcher '%s': %s after %g s: %s"):format(util.printable(stats.id), what, max_wait, tostring(stats.last_error))
end

-- Look at every watcher. Returns whether all have passed the target, how long to wait at most before the next look, and a problem if
-- one cannot get on.
local function look(entries, target, now, max_wait)
	local all_passed, wait = true, 1
	for _, entry in ipairs(entries) do
		local stats = entry.watcher:stats()
		if stats.state == "stopped" then
			local problem = stopped_with_error(stats)
			if problem then
				return false, wait, problem
			end
		elseif position(stats) < target and not stats.paused then
			all_passed = false
			local since = failing_since(entry, stats, now)
			if since and now - since >= max_wait then
				return false, wait, gave_up(stats, max_wait)
			end
			wait = since and math.min(wait, since + max_wait - now) or wait
		end
	end
	return all_passed, wait, nil
end

-- Whether a watcher has letters left that it was asked to handle again. Where they cannot be read, the watcher says so.
local function has_letters(entries, store)
	local stats = store:stats()
	for _, entry in ipairs(stats and stats.dead_letters > 0 and entries or {}) do
		if entry.watcher:stats().state ~= "stopped" then
			for _, letter in ipairs(store:dead_letters({watcher = entry.watcher:id()}) or {}) do
				if letter.retry then
					return true
				end
			end
		end
	end
	return false
end

-- Rounds until every watcher has passed the last event of the start and the last one that a handler stored, and has no letters to retry.
local function drive_until_idle(registry, entries, store, max_wait)
	local now = core.monotonic
	local target, target_err = store:get_latest_event_num()
	if not target then
		return target_err
	end
	local rounds = 0
	while true do
		local worked, err = registry:step(0)
		if err then
			return err
		end
		rounds = rounds + 1
		-- stats() makes tables: not after each event of a long replay.
		if not worked or rounds % 64 == 0 then
			local all_passed, wait, problem = look(entries, target, now(), max_wait)
			if problem then
				return problem
			end
			if all_passed then
				local retries = has_letters(entries, store) -- first: their handlers may store events
				local stats, stats_err = store:stats()
				if not stats then
					return stats_err
				elseif stats.last_appended_event_num > target then
					target = stats.last_appended_event_num
				elseif not retries then
					return nil
				else
					problem = select(3, look(entries, math.maxinteger, now(), max_wait))
					err = problem or select(2, registry:step(LETTER_WAIT))
					if err then
						return err
					end
				end
			elseif not worked then
				err = select(2, registry:step(wait))
				if err then
					return err
				end
			end
		end
	end
end

local function drive(registry, entries)
	local _, err = registry:run()
	if err then
		return err
	end
	for _, entry in ipairs(entries) do
		local problem = stopped_with_error(entry.watcher:stats())
		if problem then
			return problem
		end
	end
	return nil
end

-- What the run ended with.
local function tell(problems, format)
	for _, problem in ipairs(problems) do
		util.tell(problem, format)
	end
end

function M.run(args)
	if args.max_wait and not args.until_idle then
		util.usage("--max-wait needs --until-idle: without it a failing event is retried forever")
	end
	local set = parse_set(args.set, args.handlers)
	local store <close> = util.open_store(args, {create = false, collect = true})
	core.log_format(args.log_format)
	local log = make_log(args.verbose)
	core.notify("STATUS=starting") -- before the first script: it takes what systemd says out of the environment
	core.end_with_output()
	local registry = require("vigia").registry(store, {log = log})
	core.tell_failures(registry)
	core.hold_late(registry) -- a script that is wrong leaves no trace of the others
	local entries = watch_all(registry, args, set)
	local problem = start_all(entries, store, args.wait, log)
	if not problem then
		core.notify(("READY=1\nSTATUS=%s running"):format(util.count(#entries, "watcher")))
		core.watchdog(registry)
		if args.until_idle then
			problem = drive_until_idle(registry, entries, store, args.max_wait or MAX_WAIT)
		else
			problem = drive(registry, entries)
		end
	end
	-- A signal is the usual way to end, and so is a reader of the output that has seen enough.
	if core.output_gone() or (type(problem) == "table" and problem.code == "interrupted") then
		problem = nil
	end

	core.notify("STOPPING=1\nSTATUS=stopping")
	local problems = {problem and tostring(problem)}
	local timeout = args.stop_timeout or STOP_TIMEOUT
	if not stop_all(registry, entries, problems, timeout > 0 and timeout or GRACE) then
		-- A thread that does not come back would be waited for when the Lua state closes.
		tell(problems, args.log_format)
		os.exit(util.FAILURE, false)
	end
	tell(problems, args.log_format)
	return #problems > 0 and util.FAILURE or util.OK
end

return M
