-- seek.lua - `vigia seek`: lets a watcher continue at another place, back or ahead.

local steer = require("vigia.cli.steer")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Move a watcher to another event."
M.description = [[
Moves a watcher back, to handle events again, or ahead, to skip events. WHERE is
    oldest      the oldest event
    latest      the next event that is stored
    at:N        event N, not beyond the last event
    after:N     the event after N
    time:T      the first event stored at this time or later: 2026-12-24T18:00 (local time; UTC with a
                final Z), an age (2h: two hours ago), or nanoseconds since 1970
Removed events are skipped. A paused watcher stays paused.
]] .. steer.HOW

local TIME <const> = "^time:(.*)$"

-- A function that says where, once the store is open, or nil and what is wrong.
local function parse_where(text)
	local time = text:match(TIME)
	if time then
		local at, problem = util.time("WHERE: time", true)(time)
		return at and {time = at}, problem
	end
	local iterator, err = require("vigia.core").iterator_parse(text == "oldest" and "trim_horizon" or text)
	if not iterator then
		return nil, ("WHERE must be oldest, latest, at:N, after:N or time:T, not '%s'"):format(util.printable(text)), err
	end
	return {iterator = iterator}
end

function M.define(command)
	steer.define(command, true)
	command:argument("where"):argname("WHERE"):convert(parse_where):description("oldest, latest, at:N, after:N or time:T.")
end

-- The first event of a time; none yet: what comes from now on.
local function first_of(args)
	local vigia = require("vigia")
	local store <close> = util.open_store(args, {create = false, readonly = true})
	local found = util.check(store:find_time(args.where.time))
	return found and vigia.at_sequence_number(found) or vigia.latest()
end

function M.run(args)
	local at, latest = steer.call(args, "seek", args.where.iterator or first_of(args), args.timeout)
	local id = util.printable(args.watcher)
	if latest and at < latest then
		util.write(("watcher '%s' continues with event %d\n"):format(id, at + 1))
	else
		util.write(("watcher '%s' continues with the next event that is stored\n"):format(id))
	end
end

return M
