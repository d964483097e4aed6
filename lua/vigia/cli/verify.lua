-- verify.lua - `vigia verify`: look at all of a store, and say what is damaged.

local progress_line = require("vigia.cli.progress_line")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Check all of a store for damage."
M.description = [[
Checks each event's bytes, number, time and object, the checkpoints, the keys, the values in
buckets, and the timers. The store may be in use. Damaged events are listed by number. All others
can be read. The check continues after pages of the file that cannot be read. The exit status is 1
if anything is damaged.]]

function M.define(command)
	util.define_store(command, {create = false})
	command:flag("--json"):description("Print one JSON object a line instead of sentences.")
end

local function write_found(args, first, last, text)
	if args.json then
		local fields = {{"damage", text}}
		if first > 0 then table.insert(fields, 1, {"event", first}) end
		if last > first then table.insert(fields, 2, {"last_event", last}) end
		util.write(util.json_object(fields), "\n")
	else
		local where = last > first and ("events %d to %d: "):format(first, last) or first > 0 and ("event %d: "):format(first) or ""
		util.write(where, util.printable(text), "\n")
	end
end

---- A walk over the store, by one child process after another ----

-- One child looks at the events from `from` to `upto` (nil, nil: all), in pieces of `piece` events. `report` is called with what it finds,
-- and may end it by returning a true value. Returns a table: how it ended ("done", "unreadable", "left"), its text, how many events it saw,
-- the last of them (nil: unknown), and whether it came to what is beside the events.
local function look(path, from, upto, piece, report)
	local next, err, _, child <close> = -- luacheck: ignore 211/child
		require("vigia.core").verify(path, from or 0, upto or 0, piece or 0)
	util.check(next, err)
	local begin, at, beside
	for what, a, b, c, text, code in next do
		if what == "interrupted" then
			report("ended")
			util.fail("interrupted before the end of the check")
		elseif what == "failed" then
			report("ended")
			if code == "store_not_found" then util.fail("%s", util.no_such_store(path, text)) end
			util.fail("%s", text)
		elseif what == "progress" then
			begin, at = begin or a, a
		elseif what == "beside" then
			beside = true
		end
		local result = {events = at and at - begin or 0, at = at, beside = beside, text = text}
		if what == "done" then
			local values, timers = text:match "^(%d+) (%d+)$"
			result.what, result.events, result.checkpoints, result.keys = what, a, b, c
			result.values, result.timers = math.tointeger(values), math.tointeger(timers)
			return result
		elseif what == "unreadable" then
			result.what = what
			return result
		elseif report(what, a, b, c, text) then
			result.what = "left"
			return result
		end
	end
end

-- Event `bad` cannot be read: the first number behind it from where reading works; nil: none. `last` is the last there is, or nil.
local function behind(path, bad, last)
	local function readable(n)
		if last and n > last then return true end
		return look(path, n, last, 1, function(what, a) return what == "beside" or what == "progress" and a >= n end).what ~= "unreadable"
	end
	local low, step, high = bad, 1, nil
	repeat
		if step >= 1 << 61 then return nil end
		local n = last and math.min(bad + step, last + 1) or bad + step
		if readable(n) then high = n else low = n end
		step = step * 2
	until high
	while high - low > 1 do
		local middle = low + (high - low) // 2
		if readable(middle) then high = middle else low = middle end
	end
	return high
end

local NOTHING <const> = {checkpoints = 0, keys = 0, values = 0, timers = 0}

-- Damaged pages that end a child are passed: another one goes on behind them. `report` is called with progress, and with damage as
-- ("damaged", first, last, text). Returns the counts.
local function walk(path, report)
	local from, first, last, piece, events = nil, nil, nil, nil, 0
	local function tell(what, a, b, c, text)
		if what == "progress" then
			if not from then first, last = b, c end
			if last then report(what, a, first, last) end
		elseif what == "beside" then
			if last then report("progress", last, first, last) end
		elseif what == "damaged" then
			report(what, a, a, text)
		elseif what == "ended" then
			report(what)
		end
	end
	while true do
		local seen = look(path, from, last, piece, tell)
		events = events + seen.events
		if seen.what == "done" then return events, seen end
		if seen.beside then
			report("damaged", 0, 0, "the checkpoints and keys cannot be read: " .. seen.text)
			return events, NOTHING
		end
		if from and not seen.at then
			report("damaged", 0, 0, "cannot be opened, pages of the file are damaged: " .. seen.text)
			return events, NOTHING
		elseif not seen.at then
			from = 1 -- not even where the events begin and end
		elseif piece ~= 1 then
			from, piece = seen.at + 1, 1
		else
			local bad = seen.at + 1
			local good = behind(path, bad, last)
			report("damaged", bad, (good or bad + 1) - 1, "cannot be read, pages of the file are damaged" ..
				(good and ": " or ", and the events after it cannot be read either: ") .. seen.text)
			if not good then good, last = bad + 1, bad end
			from, piece = good, nil
		end
	end
end

function M.run(args)
	local path = util.store_path(args)
	local line = progress_line.new("checked", "events")
	local damaged = 0
	local function report(what, a, b, c)
		if what == "progress" then
			line:show(a - b + 1, c - b + 1)
			return
		end
		line:clear()
		if what == "damaged" then
			damaged = damaged + 1
			write_found(args, a, b, c)
		end
	end
	local events, seen = walk(path, report)
	report("ended")
	if args.json then
		util.write(util.json_object{{"events", events}, {"checkpoints", seen.checkpoints}, {"keys", seen.keys}, {"values", seen.values},
			{"timers", seen.timers}, {"damaged", damaged}}, "\n")
	else
		local more = seen.values > 0 and ", " .. util.count(seen.values, "value") or ""
		if seen.timers > 0 then more = more .. ", " .. util.count(seen.timers, "timer") end
		util.write(("%s, %s, %s%s: "):format(util.count(events, "event"), util.count(seen.checkpoints, "checkpoint"),
			util.count(seen.keys, "key"), more), damaged == 0 and "no damage" or "damaged in " .. util.count(damaged, "place"), "\n")
	end
	return damaged == 0 and util.OK or util.FAILURE
end

return M
