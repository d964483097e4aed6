-- history_spec.lua - several processes append, read, wait, watch, collect and seek, are killed and stopped; each writes down what it was
-- told, and support/history.lua proves from it that there was one log and that nothing of it was lost. Forged histories prove the prover.
--
-- A normal run takes some seconds. `scripts/test --long` goes on for VIGIA_HISTORY_SECONDS (180), and two minutes in which one process
-- stands still. VIGIA_SEED repeats a run's choices.

local helper = require "spec.helper"
local lfs = require "lfs"
local history = require "spec.support.history"
local vigia = require "vigia"

---- what the processes do ----

local COMMON = [[
local history = require "spec.support.history"
local path, log, who, seed = ...
math.randomseed(math.tointeger(tonumber(seed)))
local record = history.writer(log, who)
]]

-- Appends alone, in lists, with keys, under conditions, for later, and from coroutines that share commits.
local APPENDER = COMMON .. [[
local store = assert(vigia.open(path, {collect = false}))
local calls = 0
local function schedule(id)
	local at = (os.time() + math.random(0, 1)) * 1000000000 + math.random(1000000000)
	record("later", {id = id, at = at})
	if store:schedule(at, "CREATE", math.random(3) == 1 and "A" or "B", id .. ".1") then record("waits", {id = id}) end
end
local function append()
	calls = calls + 1
	local id = who .. "." .. calls
	if math.random(10) == 1 then return schedule(id) end
	if math.random(20) == 1 then assert(store:put("noise", "n", id)) end
	local count = math.random(4) == 1 and math.random(20) or 1
	local options, fields = {}, {id = id, count = count}
	local choice = math.random(10)
	if choice == 1 then
		count, fields.count = 1, 1
		options.key = who:match("^%a+") .. "-key-" .. math.random(40)
		fields.key = options.key
	elseif choice == 2 then
		options.if_last = assert(store:get_latest_event_num())
		fields.if_last = options.if_last
	end
	local events = {}
	for i = 1, count do events[i] = {"CREATE", math.random(3) == 1 and "A" or "B", id .. "." .. i} end
	record("begin", fields)
	local first, last
	if count == 1 then
		first, last = store:store_event(events[1][1], events[1][2], events[1][3], options)
		if first then last = first end
	else
		first, last = store:store_events(events, options)
	end
	if first then record("ok", {id = id, first = first, last = last})
	else record("failed", {id = id, code = last.code}) end
	if math.random(20) == 1 then vigia.sleep(math.random() / 100) end
end
say "ready"
if math.random(2) == 1 then
	while true do append() end
end
local registry = vigia.registry(store)
for _ = 1, 4 do registry:spawn(function() while true do append() end end) end
assert(registry:run())
]]

-- Reads here and there, asks for the last number, waits for what comes.
local READER = COMMON .. [[
local store = assert(vigia.open(path, {collect = false}))
say "ready"
while true do
	local t0, choice = history.now(), math.random(4)
	if choice == 1 then
		local n = assert(store:get_latest_event_num())
		record("latest", {t0 = t0, n = n})
	elseif choice == 2 then
		local last = assert(store:get_latest_event_num())
		local answer = assert(store:get_events{event_iterator = vigia.at_sequence_number(math.random(1, last + 1)), limit = 50, timeout = 0})
		local items = {}
		for i, event in ipairs(answer.events) do items[i] = event.seq_num .. ":" .. event.object end
		if #items > 0 then record("read", {t0 = t0, items = table.concat(items, ",")}) end
	elseif choice == 3 then
		for _, name in ipairs{"batch", "hand", "script"} do
			local n = store:get_checkpoint(name)
			if n then record("point", {watcher = name, n = n}) end
		end
		if math.random(4) == 1 then assert(store:retry_dead_letter("effects")) end
	else
		local after = assert(store:get_latest_event_num())
		t0 = history.now()
		local answer = assert(store:get_events{event_iterator = vigia.after_sequence_number(after), limit = 1, timeout = 5})
		record("wait", {t0 = t0, after = after, timeout = 5, first = answer.events[1] and answer.events[1].seq_num or 0})
	end
	vigia.sleep(math.random() / 200)
end
]]

-- Four watchers: one saved with commits that pass by, one by hand and moved back now and then, one in a script on its own thread, one
-- that is transactional and reads what others change.
local WATCHER = COMMON .. [[
local store = assert(vigia.open(path))
local registry = vigia.registry(store)
local function start(name, handler, options)
	record("start", {watcher = name})
	return assert(registry:watch(name, handler, options))
end
start("batch", function(event) record("handle", {watcher = "batch", n = event.seq_num, tag = event.object, at = event.timestamp}) end)
start("hand", function(event, ctx)
	record("handle", {watcher = "hand", n = event.seq_num, tag = event.object})
	if math.random(50) == 1 then error("now and then") end
	if math.random(40) == 1 and event.seq_num > 1 then
		assert(ctx.watcher:checkpoint(event.seq_num - 1))
		record("saved", {watcher = "hand", n = event.seq_num - 1})
	elseif math.random(400) == 1 then
		local n = math.max(event.seq_num - math.random(30), 0)
		record("seek", {watcher = "hand", n = n})
		assert(ctx.watcher:seek_to_offset(n))
	end
end, {checkpoint = "manual", initial_backoff = 0.001})
assert(registry:watch("effects", function(event, ctx)
	record("effect", {watcher = "effects", n = event.seq_num})
	assert(ctx.tx:put("effects", event.seq_num, (ctx.tx:get("effects", event.seq_num) or 0) + 1))
	ctx.tx:get("noise", "n")
	if math.random(20) == 1 then
		record("fails", {watcher = "effects", n = event.seq_num})
		error("now and then")
	end
end, {transactional = true, retry_strategy = "dead_letter", max_retries = 2, initial_backoff = 0.001}))
start("script", log:gsub("[^/]*$", "") .. "script.lua", {set = {log = log .. "-script", who = who}})
say "ready"
assert(registry:run())
]]

local SCRIPT = [[
local history = require "spec.support.history"
local given = ...
local record = history.writer(given.set.log, given.set.who)
return function(event) record("handle", {watcher = "script", n = event.seq_num, tag = event.object}) end
]]

---- a run ----

-- In a run of at least so many seconds one process, by chance, stands still for so many minutes beside the others.
local LONG <const>, MINUTES <const> = 60, 2

local function run(seconds, seed, journal)
	math.randomseed(seed)
	local path, folder = helper.path("store"), helper.path()
	local store = helper.open(path, {gc_cadence = 1, max_events = 3000, collect = false, journal = journal})
	helper.write_file("script.lua", SCRIPT)
	local made, logs, counts = 0, {}, {kills = 0, stops = 0}
	local function start(source, name)
		made = made + 1
		local who = name .. made
		local log = folder .. "/log" .. made
		local child = helper.child(source, path, log, who, math.random(1 << 30))
		logs[#logs + 1] = log
		return {child = child, source = source, name = name, who = who}
	end
	local running = {start(APPENDER, "a"), start(APPENDER, "b"), start(READER, "r"), start(WATCHER, "w")}
	for _, one in ipairs(running) do one.child:expect "ready" end
	local record = history.writer(folder .. "/stops", "driver")
	local stop_time = helper.now() + seconds
	local function pause(one, time)
		local t0 = history.now()
		os.execute("kill -STOP " .. one.child.pid)
		vigia.sleep(time)
		os.execute("kill -CONT " .. one.child.pid)
		record("stopped", {t0 = t0, stopped = one.who})
		counts.stops = counts.stops + 1
	end
	while helper.now() < stop_time do
		vigia.sleep(0.05 + math.random() / 5)
		local i = math.random(#running)
		local one = running[i]
		if math.random(3) == 1 then
			pause(one, math.random() / 2)
		elseif seconds >= LONG and not counts.long and helper.now() > stop_time - seconds / 2 then
			counts.long = one.name
			stop_time = stop_time + MINUTES * 60
			pause(one, MINUTES * 60)
		else
			one.child:kill()
			counts.kills = counts.kills + 1
			running[i] = start(one.source, one.name)
			running[i].child:expect "ready"
		end
	end
	for i = 1, 3 do running[i].child:kill() end

	-- What is due comes, and the watchers come to the end.
	helper.eventually(function() return store:stats().timers == 0 end, "there are timers left")
	local latest = store:get_latest_event_num()
	helper.eventually(function()
		for _, name in ipairs{"batch", "script", "effects"} do
			if (store:get_checkpoint(name) or 0) ~= latest then return false end
		end
		return true
	end, ("the watchers did not come to the end, seed %d"):format(seed))
	running[4].child:kill()
	local final = {oldest = store:get_oldest_event_num(), latest = latest, events = {}, points = {}, waiting = {}, times = {}}
	for _, timer in ipairs(assert(store:scheduled())) do final.waiting[timer.object] = true end
	for name in pairs{batch = true, hand = true, script = true} do final.points[name] = store:get_checkpoint(name) end
	local effects = {point = store:get_checkpoint("effects"), done = {}, letters = {}}
	local key = 0
	repeat
		local rows = assert(store:range("effects", {from = key, limit = 10000}))
		for _, row in ipairs(rows) do effects.done[row.key], key = row.value, row.key + 1 end
	until #rows == 0
	for _, letter in ipairs(assert(store:dead_letters{watcher = "effects"})) do effects.letters[letter.seq_num] = true end
	final.effects = {effects = effects}
	local from = vigia.trim_horizon()
	repeat
		local answer = assert(store:get_events{event_iterator = from, limit = 1000, timeout = 0})
		for _, event in ipairs(answer.events) do final.events[event.seq_num], final.times[event.object] = event.object, event.timestamp end
		from = answer.next_event_iterator
	until #answer.events == 0
	store:close()

	local histories = {}
	for _, log in ipairs(logs) do
		histories[#histories + 1] = history.read(log)
		if lfs.attributes(log .. "-script", "mode") then histories[#histories + 1] = history.read(log .. "-script") end
	end
	local stops = history.read(folder .. "/stops")
	for _, stop in ipairs(stops) do stop.who = stop.stopped end
	histories[#histories + 1] = stops
	return histories, final, counts
end

---- forged histories ----

-- A small history that is right, as functions of the time make it; `change` makes it wrong.
local function forged(change)
	local function r(kind, who, t, fields)
		fields = fields or {}
		fields.kind, fields.who, fields.t = kind, who, t
		return fields
	end
	local logs = {
		{
			r("begin", "a", 1.0, {id = "a.1", count = 1}), r("ok", "a", 1.1, {id = "a.1", first = 1, last = 1}),
			r("begin", "a", 2.0, {id = "a.2", count = 3}), r("ok", "a", 2.1, {id = "a.2", first = 2, last = 4}),
			r("begin", "a", 3.0, {id = "a.3", count = 1, key = "k"}), r("ok", "a", 3.1, {id = "a.3", first = 5, last = 5}),
			r("begin", "a", 4.0, {id = "a.4", count = 1, key = "k"}), r("ok", "a", 4.1, {id = "a.4", first = 5, last = 5}),
			r("begin", "a", 5.0, {id = "a.5", count = 1, if_last = 5}), r("ok", "a", 5.1, {id = "a.5", first = 6, last = 6}),
			r("begin", "a", 6.0, {id = "a.6", count = 1, if_last = 5}), r("failed", "a", 6.1, {id = "a.6", code = "sequence_conflict"}),
			r("later", "a", 6.2, {id = "a.8", at = 100}), r("waits", "a", 6.3, {id = "a.8"}),
			r("later", "a", 6.4, {id = "a.9", at = 200}), r("waits", "a", 6.5, {id = "a.9"}),
			r("begin", "a", 7.0, {id = "a.7", count = 2}), -- killed: stored, and nobody was told
		}, {
			r("latest", "r", 2.6, {t0 = 2.5, n = 4}), r("read", "r", 5.5, {t0 = 5.4, items = "3:a.2.2,4:a.2.3,5:a.3.1"}),
			r("wait", "r", 20.0, {t0 = 15.0, after = 8, timeout = 5, first = 0}),
			r("wait", "r", 30.2, {t0 = 29.0, after = 8, timeout = 5, first = 9}), r("point", "r", 31.0, {watcher = "w", n = 2}),
		}, {
			r("begin", "b", 30.0, {id = "b.1", count = 1}), r("ok", "b", 30.1, {id = "b.1", first = 9, last = 9}),
		}, {
			r("start", "w", 8.0, {watcher = "w"}), r("handle", "w", 8.1, {watcher = "w", n = 1, tag = "a.1.1", at = 50}),
			r("handle", "w", 8.2, {watcher = "w", n = 2, tag = "a.2.1", at = 50}), r("saved", "w", 8.3, {watcher = "w", n = 2}),
			r("handle", "w", 8.4, {watcher = "w", n = 3, tag = "a.2.2"}),
		}, {
			r("start", "x", 9.0, {watcher = "w"}), r("handle", "x", 9.1, {watcher = "w", n = 3, tag = "a.2.2"}),
			r("handle", "x", 9.15, {watcher = "w", n = 3, tag = "a.2.2"}), r("handle", "x", 9.2, {watcher = "w", n = 4, tag = "a.2.3"}),
			r("seek", "x", 9.3, {watcher = "w", n = 1}), r("handle", "x", 9.4, {watcher = "w", n = 2, tag = "a.2.1", at = 50}),
			r("handle", "x", 9.5, {watcher = "w", n = 3, tag = "a.2.2"}),
		}, {
			r("effect", "y", 9.0, {watcher = "e", n = 1}), r("effect", "y", 9.1, {watcher = "e", n = 2}),
			r("fails", "y", 9.2, {watcher = "e", n = 2}), r("effect", "y", 9.3, {watcher = "e", n = 1}),
			r("effect", "y", 9.4, {watcher = "e", n = 3}), r("effect", "y", 9.5, {watcher = "e", n = 4}), -- killed before the commit
		},
	}
	local final = {
		oldest = 1, latest = 10, points = {w = 3}, waiting = {["a.9.1"] = true}, times = {["a.7.2"] = 104, ["b.1.1"] = 105, ["a.8.1"] = 105},
		effects = {e = {point = 3, done = {[1] = 1, [3] = 1}, letters = {[2] = true}}},
		events = {"a.1.1", "a.2.1", "a.2.2", "a.2.3", "a.3.1", "a.5.1", "a.7.1", "a.7.2", "b.1.1", "a.8.1"},
	}
	if change then change(logs, final) end
	return (history.check(logs, final))
end

-- Each breaks one rule, whose name the complaint begins with.
local FORGERIES <const> = {
	{"no hole", "an event is missing from the file", function(_, final) final.events[7] = nil end},
	{"nothing lost", "an acknowledged event is missing from the end", function(_, final)
		final.events[10], final.events[9], final.latest = nil, nil, 8
	end},
	{"no timer is lost", "a timer is gone", function(_, final) final.waiting = {} end},
	{"a timer comes once", "a timer came, and is left", function(_, final) final.waiting["a.8.1"] = true end},
	{"one number an event", "a timer came twice", function(_, final) final.events[11], final.latest = "a.8.1", 11 end},
	{"no timer comes early", "a timer came too early", function(_, final) final.times["a.8.1"] = 99 end},
	{"times never go back", "an event is earlier than the one before", function(_, final) final.times["b.1.1"] = 103 end},
	{"times never go back", "a handler saw one that is", function(logs) logs[4][2].at = 51 end},
	{"one time an event", "an event had two times", function(logs) logs[5][6].at = 51 end},
	{"one event a number", "a number was given twice", function(logs) logs[3][2].first, logs[3][2].last = 6, 6 end},
	{"one event a number", "a read saw another event", function(logs) logs[2][2].items = "3:a.2.2,4:a.5.1" end},
	{"one number an event", "a handler saw an event under another number", function(logs) logs[4][3].tag = "a.2.2" end},
	{"lists are whole", "a list that was not acknowledged is there in part", function(_, final)
		final.events[8], final.events[9], final.latest = "b.1.1", nil, 8
	end},
	{"lists are whole", "a list was torn apart", function(_, final) final.events[8], final.events[9] = "b.1.1", "a.7.2" end},
	{"lists are whole", "a list got too few numbers", function(logs) logs[1][4].last = 3 end},
	{"a key stores once", "a key was stored twice", function(logs) logs[1][8].first, logs[1][8].last = 7, 7 end},
	{"if_last holds", "an append under a condition came too late", function(logs) logs[1][9].if_last = 4 end},
	{"what failed is not there", "an append that failed is there", function(_, final) final.events[10], final.latest = "a.6.1", 10 end},
	{"one order in time", "an append got a smaller number than an earlier one", function(logs)
		logs[3][1].t, logs[3][2].t = 0.1, 0.2
	end},
	{"one order in time", "the last number went back", function(logs) logs[2][1].n = 3 end},
	{"no hole", "a read passed over an event", function(logs) logs[2][2].items = "3:a.2.2,5:a.3.1" end},
	{"no waiter sleeps past an event", "a wait ended with nothing beside an event", function(logs) logs[2][3].after = 5 end},
	{"no waiter sleeps past an event", "a wait was told too late", function(logs) logs[2][4].t, logs[2][5].t = 34, 35 end},
	{"watchers go in order", "a watcher handled two events in the wrong order", function(logs)
		logs[5][4].n, logs[5][4].tag, logs[5][3].n, logs[5][3].tag = 2, "a.2.1", 2, "a.2.1"
	end},
	{"watchers miss nothing", "a watcher missed an event", function(logs) table.remove(logs[4], 2) end},
	{"watchers miss nothing", "a restart left one out", function(logs)
		logs[5] = {logs[5][1], {kind = "handle", who = "x", t = 9.1, watcher = "w", n = 5, tag = "a.3.1"}}
	end},
	{"no checkpoint ahead", "a checkpoint came before its event", function(logs) logs[4][4].n = 3 end},
	{"no checkpoint ahead", "the last checkpoint is ahead", function(_, final) final.points.w = 5 end},
	{"no checkpoint ahead", "somebody read a checkpoint that was ahead", function(logs) logs[2][5].n = 5 end},
	{"effects come once", "an effect came twice", function(_, final) final.effects.e.done[1] = 2 end},
	{"effects come once", "an effect is missing", function(_, final) final.effects.e.done[3] = nil end},
	{"effects come once", "a letter is missing", function(_, final) final.effects.e.letters[2] = nil end},
	{"effects come once", "an event has its effect and a letter", function(_, final) final.effects.e.done[2] = 1 end},
	{"no effect ahead", "an effect is ahead of the checkpoint", function(_, final) final.effects.e.point = 2 end},
	{"no effect by itself", "an effect was nobody's", function(logs) table.remove(logs[6], 5) end},
	{"no letter without a failure", "a letter came without a failure", function(logs) table.remove(logs[6], 3) end},
	{"checkpoints stay", "a saved checkpoint was lost", function(logs)
		table.insert(logs[5], 2, {kind = "handle", who = "x", t = 9.05, watcher = "w", n = 2, tag = "a.2.1"})
	end},
}

describe("a history", function()
	after_each(helper.clean)

	it("that is right passes", function() assert.same({}, forged()) end)

	for _, case in ipairs(FORGERIES) do
		local rule, what, change = case[1], case[2], case[3]
		it(("in which %s is found"):format(what), function()
			local wrong = forged(change)
			local found = false
			for _, sentence in ipairs(wrong) do found = found or sentence:find(rule .. ":", 1, true) == 1 end
			assert(found, ("%q should be among: %s"):format(rule, table.concat(wrong, "; ")))
		end)
	end

	for kind, journal in pairs{[""] = false, [", with a journal"] = true} do
		it("of processes that are killed and stopped is one log" .. kind .. " [E2k D1k S7k S13k S14k S21k W3k W11k K1k X4 L1]", function()
			local seed = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or os.time()
			local seconds = os.getenv("VIGIA_SOAK") and (tonumber(os.getenv("VIGIA_HISTORY_SECONDS")) or 180) or 4
			local histories, final, counts = run(seconds, seed, journal)
			local wrong, what = history.check(histories, final)
			assert.same({}, wrong, "seed " .. seed)
			assert(what.appends > 0 and what.timers > 0 and what.effects > 0 and final.latest > 0)
			local records = 0
			for _, log in ipairs(histories) do records = records + #log end
			helper.covered("histories",
				"%d records of %d processes, %d appends and %d timers acknowledged, %d events, %d effects, %d letters, %d kills, %d stops, seed %d",
				records, #histories, what.appends, what.timers, final.latest, what.effects, what.letters, counts.kills, counts.stops, seed)
		end)
	end
end)
