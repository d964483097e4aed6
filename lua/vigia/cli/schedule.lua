-- schedule.lua - `vigia schedule`: an event, or events from standard input, to be stored at a time.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Store events at a later time."
M.description = [[
Schedules one event. OBJECT is JSON (default: null). Without OPERATION the command reads events from
standard input, one a line as for `vigia append`. A line may also have "at" and "key", as `vigia
scheduled` writes them. Each event is stored once, at its time, by a process that has the store open
for writing: `vigia run`, or a program of yours. If there is none, the next such process stores it.
The command creates the store if it does not exist.
A time is 2026-12-24T18:00 (local time; UTC with a final Z, another zone with a final +01:00), only
a day, or a number of nanoseconds since 1970. An event whose time has passed is stored at once.
Scheduling a key again changes nothing. A bad line ends the command with exit status 1. The message
names the line. All lines before it are scheduled.]]

function M.define(command)
	util.define_store(command)
	command:option("--at"):argname("TIME"):convert(util.time("--at")):overwrite(false)
		:description("Store the events at this time.")
	command:option("--after"):argname("SECONDS"):convert(util.seconds("--after")):overwrite(false)
		:description("Store the events after this many seconds.")
	command:option("--key"):argname("KEY"):overwrite(false):description("Key of the event. An event with a known key is not scheduled again.")
	command:argument("operation"):args("?"):argname("OPERATION"):description("The operation, such as CREATE.")
	command:argument("object_type"):args("?"):argname("OBJECT_TYPE"):description("The type of the object.")
	command:argument("object"):args("?"):argname("OBJECT"):description("The object as JSON (default: null).")
end

local KNOWN <const> = {operation = true, object_type = true, object = true, at = true, key = true, id = true, seq_num = true,
	timestamp = true}

-- The fields of a line, checked as far as store:schedule would raise; nil and what is wrong.
local function event_of(line)
	local event, err = require("vigia.core").from_json(line)
	if err then
		return nil, tostring(err)
	elseif type(event) ~= "table" or event == require("vigia").null then
		return nil, "an object with operation, object_type and object expected"
	end
	for name in pairs(event) do
		if not KNOWN[name] then
			return nil, ("unknown field '%s'"):format(util.printable(tostring(name)))
		end
	end
	for _, name in ipairs({"operation", "object_type"}) do
		if type(event[name]) ~= "string" then
			return nil, name .. ": a string expected"
		end
	end
	if event.object == nil then
		return nil, "object is missing; it may be null"
	elseif event.at ~= nil and (math.type(event.at) ~= "integer" or event.at < 0) then
		return nil, "at: a whole number of nanoseconds since 1970 expected"
	elseif event.key ~= nil and (type(event.key) ~= "string" or #event.key < 1 or #event.key > 255) then
		return nil, "key: a string of 1 to 255 bytes expected"
	end
	return event
end

-- Read the lines of standard input. Returns how many were scheduled, and how many keys were known.
local function schedule_lines(store, when)
	local number, count, known = 0, 0, 0
	local function fail(message)
		util.fail("line %d: %s; the lines before it are scheduled", number, message)
	end
	for line in io.lines() do
		number = number + 1
		if line:find("%S") then
			local event, problem = event_of(line)
			if not event then
				fail(problem)
			end
			local at = event.at or when
			if not at then
				fail("it has no time: use --at or --after, or add \"at\" to the line")
			end
			local id, existed = store:schedule(at, event.operation, event.object_type, event.object, {key = event.key})
			if not id then
				fail(tostring(existed))
			end
			count, known = count + (existed and 0 or 1), known + (existed and 1 or 0)
		end
	end
	return count, known
end

local function check_words(args)
	if args.at and args.after then
		util.usage("--at and --after exclude each other")
	elseif args.operation and not args.object_type then
		util.usage("OBJECT_TYPE is missing")
	elseif args.operation and not (args.at or args.after) then
		util.usage("no time is given: use --at TIME or --after SECONDS")
	elseif args.key and not args.operation then
		util.usage("--key is for one event: give each line a \"key\" of its own")
	elseif args.key and (#args.key < 1 or #args.key > 255) then
		util.usage("--key must have 1 to 255 bytes")
	end
end

function M.run(args)
	check_words(args)
	local core = require("vigia.core")
	local when = args.at or args.after and {after = args.after}
	if args.operation then
		local object, problem = core.from_json(args.object or "null")
		if problem then
			util.usage("OBJECT: %s", tostring(problem))
		end
		local store <close> = util.open_store(args, {})
		local id, existed, seq_num = store:schedule(when, args.operation, args.object_type, object, {key = args.key})
		if not id then
			util.fail("%s", tostring(existed))
		elseif seq_num then
			util.write(("stored already, seq_num %d\n"):format(seq_num))
		elseif existed then
			util.write(("scheduled already, timer %d\n"):format(id))
		else
			util.write(("scheduled, timer %d\n"):format(id))
		end
		return
	end
	if core.isatty(0) then
		util.say("type events, one JSON object a line; end with Ctrl-D. `vigia schedule --help` shows their form")
	end
	local store <close> = util.open_store(args, {})
	local count, known = schedule_lines(store, when)
	util.write(("%s scheduled%s\n"):format(util.count(count, "event"), known > 0 and ", " .. util.count(known, "key") .. " known" or ""))
end

return M
