-- serializable_spec.lua - transactions over few keys, from several processes, threads and coroutines that are killed meanwhile: each writes
-- down what it read and wrote, and support/serializable.lua proves from it that they could have run one after another. Forged records
-- prove the prover.
--
-- A normal run takes some seconds. `scripts/test --long` goes on for VIGIA_HISTORY_SECONDS (180). VIGIA_SEED repeats a run's choices.

local helper = require "spec.helper"
local history = require "spec.support.history"
local load_of = require "spec.support.serializable_load"
local serializable = require "spec.support.serializable"
local vigia = require "vigia"

---- a run ----

-- A process with a loop, with coroutines of a registry, and with scripts on threads.
local COMMON <const> = [[
local path, log, who, seed = ...
math.randomseed(math.tointeger(tonumber(seed)))
local history = require "spec.support.history"
local load_of = require "spec.support.serializable_load"
local store = assert(vigia.open(path, {collect = false}))
]]
local LOOP <const> = COMMON .. [[
say "ready"
load_of.run(store, history.writer(log, who), who)
]]
local TASKS <const> = COMMON .. [[
local registry = vigia.registry(store)
local record = history.writer(log, who)
for n = 1, 3 do registry:spawn(function() load_of.run(store, record, who .. "t" .. n) end) end
say "ready"
assert(registry:run())
]]
local SCRIPT <const> = [[
local history = require "spec.support.history"
local load_of = require "spec.support.serializable_load"
local given = ...
local set = given.set
return function(event, ctx)
	math.randomseed(set.seed)
	load_of.run(ctx.store, history.writer(set.log, set.who), set.who, function() return ctx.stopping end)
end]]
local THREADS <const> = COMMON .. [[
local registry = vigia.registry(store)
for n = 1, 2 do
	local name = who .. "s" .. n
	assert(registry:watch(name, log:gsub("[^/]*$", "") .. "script.lua", {ephemeral = true, initial_event_iterator = vigia.trim_horizon(),
		set = {log = log .. "-" .. n, who = name, seed = math.random(1 << 30)}}))
end
say "ready"
assert(registry:run())
]]

local function log_of(store)
	local log, from = {}, vigia.trim_horizon()
	repeat
		local answer = assert(store:get_events{event_iterator = from, limit = 1000, timeout = 0, filter = {object_types = {"Transaction"}}})
		for _, event in ipairs(answer.events) do log[event.seq_num] = event.object end
		from = answer.next_event_iterator
	until #answer.events == 0
	return log
end

-- What is there at the end, as the reads of one that comes last.
local function last_look(store)
	local reads = {}
	for _, bucket in ipairs(assert(store:buckets())) do
		for _, row in ipairs(assert(store:range(bucket.name))) do reads[#reads + 1] = ("%s/%s:%s"):format(bucket.name, row.key, row.value) end
	end
	return {{kind = "try", who = "last", id = "last.1.1", t0 = history.now(), reads = table.concat(reads, ",")},
		{kind = "done", who = "last", id = "last.1.1", n = 0, t = history.now()}}
end

local function run(seconds, seed, options)
	math.randomseed(seed)
	local path, folder = helper.path("store"), helper.path()
	local store = helper.open(path, options)
	assert(store:store_event("BEGIN", "Begin", 0)) -- for the scripts
	helper.write_file("script.lua", SCRIPT)
	local made, logs, kills = 0, {}, 0
	local function start(source, name)
		made = made + 1
		local log = folder .. "/log" .. made
		logs[#logs + 1] = log
		return {child = helper.child(source, path, log, name .. made, math.random(1 << 30)), source = source, name = name}
	end
	local running = {start(LOOP, "a"), start(LOOP, "b"), start(TASKS, "c"), start(THREADS, "d")}
	for _, one in ipairs(running) do one.child:expect "ready" end
	local stop_time = helper.now() + seconds
	while helper.now() < stop_time do
		vigia.sleep(0.1 + math.random() / 4)
		local i = math.random(#running)
		running[i].child:kill()
		kills = kills + 1
		running[i] = start(running[i].source, running[i].name)
		running[i].child:expect "ready"
	end
	for _, one in ipairs(running) do one.child:kill() end
	local records = {last_look(store)}
	for _, log in ipairs(logs) do
		for _, file in ipairs{log, log .. "-1", log .. "-2"} do
			if io.open(file) then records[#records + 1] = history.read(file) end
		end
	end
	return serializable.runs(records), log_of(store), kills, #logs
end

---- forged records ----

-- Runs that are right, one behind the other.
local function forged(change)
	local logs, log, time = {{}}, {[1] = "a.1.1", [2] = "b.1.1", [3] = "a.2.1", [4] = "b.2.1", [5] = "a.3.1"}, 0
	local function add(kind, id, fields)
		time = time + 1
		fields.kind, fields.id, fields.t, fields.t0 = kind, id, time, fields.t0 or time - 0.5
		table.insert(logs[1], fields)
		return fields
	end
	local all = {
		w1 = add("try", "a.1.1", {writes = "b/x:a1,b/y:a2,b/x:a3"}), d1 = add("done", "a.1.1", {n = 1}),
		w2 = add("try", "b.1.1", {reads = "b/x:a3,b/y:a2", writes = "b/x:b1"}), d2 = add("done", "b.1.1", {n = 2}),
		r1 = add("try", "c.1.1", {reads = "b/x:b1,b/y:a2,b/z:-"}), d3 = add("done", "c.1.1", {n = 0}),
		w3 = add("try", "a.2.1", {ranged = "set/k1:-,set/k2:-", writes = "set/k1:a4"}), d4 = add("done", "a.2.1", {n = 3}),
		w4 = add("try", "b.2.1", {ranged = "set/k1:a4,set/k2:-", writes = "set/k1:-,set/k2:b2"}), d5 = add("done", "b.2.1", {n = 4}),
		seen = add("seen", "c.2.1", {reads = "b/x:b1", ranged = "set/k1:-,set/k2:b2"}),
		w5 = add("try", "a.3.1", {reads = "b/y:a2", ranged = "set/k1:-,set/k2:b2", writes = "b/y:a5"}), d6 = add("done", "a.3.1", {n = 5}),
		refused = add("try", "c.3.1", {reads = "b/x:b1", writes = "b/x:c1"}), f1 = add("failed", "c.3.1", {code = "refused"}),
		killed = add("try", "d.1.1", {reads = "b/x:b1", writes = "b/x:d1"}),
	}
	if change then change(all, log, add) end
	return (serializable.check(serializable.runs(logs), log))
end

-- Each has one anomaly, whose name the complaint begins with.
local FORGERIES <const> = {
	{"lost update", "two that read the same version both wrote the next one", function(_, log, add)
		log[6], log[7] = "e.1.1", "f.1.1"
		add("try", "e.1.1", {reads = "b/x:b1", writes = "b/x:e1"})
		add("try", "f.1.1", {reads = "b/x:b1", writes = "b/x:f1", t0 = 0})
	end},
	{"write skew", "two read both keys, and each wrote another one", function(_, log, add)
		log[6], log[7] = "e.1.1", "f.1.1"
		add("try", "e.1.1", {reads = "b/x:b1,b/y:a5", writes = "b/x:e1"})
		add("try", "f.1.1", {reads = "b/x:b1,b/y:a5", writes = "b/y:f1", t0 = 0})
	end},
	{"write skew by a range", "two counted a set, and each added to it", function(_, log, add)
		log[6], log[7] = "e.1.1", "f.1.1"
		add("try", "e.1.1", {ranged = "set/k1:-,set/k2:b2,set/k3:-", writes = "set/k1:e1"})
		add("try", "f.1.1", {ranged = "set/k1:-,set/k2:b2,set/k3:-", writes = "set/k3:f1", t0 = 0})
	end},
	{"read skew", "one read a key before and another one after a commit that wrote both", function(all) all.r1.reads = "b/y:a2,b/x:-" end},
	{"read skew", "one that was abandoned saw two states", function(all) all.seen.reads, all.seen.ranged = "b/x:-,b/y:a2", nil end},
	{"read skew by a range", "a range was older than a key", function(_, log, add)
		log[6] = "e.1.1"
		add("try", "e.1.1", {writes = "b/x:e1,set/k1:e2"})
		add("try", "f.1.1", {reads = "b/x:e1", ranged = "set/k1:-,set/k2:b2", t0 = 0})
		add("done", "f.1.1", {n = 0})
	end},
	{"circular reading", "two read what the other one wrote", function(_, log, add)
		log[6], log[7] = "e.1.1", "f.1.1"
		add("try", "e.1.1", {reads = "b/y:f1", writes = "b/x:e1"})
		add("try", "f.1.1", {reads = "b/x:e1", writes = "b/y:f1", t0 = 0})
	end},
	{"stale read", "one read what was over before it began", function(all) all.r1.reads = "b/x:a3,b/y:a2" end},
	{"aborted read", "one read what was taken back", function(all) all.w5.reads = "b/y:a2,b/x:c1" end},
	{"aborted read", "one read what a killed one had not committed", function(all) all.r1.reads = "b/x:d1" end},
	{"intermediate read", "one read what was written over before its commit", function(all) all.w2.reads = "b/x:a1,b/y:a2" end},
	{"nothing from nowhere", "one read what nobody wrote", function(all) all.r1.reads = "b/x:b9" end},
	{"nothing from nowhere", "one read the value of another key", function(all) all.r1.reads = "b/x:a2" end},
	{"nothing from nowhere", "an event is nobody's", function(_, log) log[6] = "nobody.1.1" end},
	{"nothing lost", "one that has returned is not there", function(_, log) log[5] = nil end},
	{"what failed is not there", "one that was taken back is there", function(_, log) log[6] = "c.3.1" end},
	{"one number", "one was told another number", function(all) all.d2.n = 7 end},
	{"one event a transaction", "one was committed twice", function(_, log) log[6] = "b.1.1" end},
}

describe("the records of transactions", function()
	it("that are right pass [X2]", function() assert.same({}, forged()) end)

	it("of one that was killed in its commit pass, whether it is there or not [X2]", function()
		assert.same({}, forged(function(_, log) log[6] = "d.1.1" end))
	end)

	for _, case in ipairs(FORGERIES) do
		local rule, what, change = case[1], case[2], case[3]
		it(("in which %s are found to be wrong: %s [X2]"):format(what, rule), function()
			local wrong = forged(change)
			local found = false
			for _, sentence in ipairs(wrong) do found = found or sentence:find(rule .. ":", 1, true) == 1 end
			assert(found, ("%q should be among: %s"):format(rule, table.concat(wrong, "; ")))
		end)
	end
end)

describe("transactions", function()
	after_each(helper.clean)

	local function judge(kind, seed, runs, log, kills, processes)
		local wrong, counts = serializable.check(runs, log)
		assert.same({}, wrong, "seed " .. seed)
		assert(counts.committed > 20 and counts.abandoned + counts.lost > 0, "there were no conflicts")
		helper.covered("serializable",
			"%d transactions %s, %d others that failed or were run again, %d reads, %d edges, %d processes, %d kills, seed %d",
			counts.committed, kind, counts.failed + counts.abandoned + counts.lost, counts.reads, counts.edges, processes, kills, seed)
	end

	local seed = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or os.time()
	local seconds <const> = os.getenv("VIGIA_SOAK") and (tonumber(os.getenv("VIGIA_HISTORY_SECONDS")) or 180) or 3

	for kind, options in pairs{["without a sync"] = {durability = "none"}, ["with syncs"] = {}, ["without a journal"] = {journal = false}} do
		it("of several processes, threads and coroutines could have run one after another, " .. kind .. " [X2]", function()
			judge(kind, seed, run(seconds, seed, options))
		end)
	end

	it("of threads and coroutines in memory could have run one after another [X2]", function()
		local store = helper.memory()
		local folder, registry = helper.path(), helper.registry(store)
		local logs, stop_time = {}, helper.now() + seconds / 3
		assert(store:store_event("BEGIN", "Begin", 0))
		local script = helper.write_file("script.lua", SCRIPT)
		for n = 1, 2 do
			logs[n] = folder .. "/log" .. n
			assert(registry:watch("s" .. n, script, {ephemeral = true, initial_event_iterator = vigia.trim_horizon(),
				set = {log = logs[n], who = "s" .. n, seed = seed + n}}))
		end
		logs[3] = folder .. "/log3"
		local record = history.writer(logs[3], "t")
		for n = 1, 3 do
			registry:spawn(function() load_of.run(store, record, "t" .. n, function() return helper.now() > stop_time end) end)
		end
		registry:spawn(function()
			repeat vigia.sleep(0.05) until helper.now() > stop_time
			registry:stop{timeout = 0}
		end)
		assert(registry:run())
		local records = {last_look(store)}
		for _, log in ipairs(logs) do records[#records + 1] = history.read(log) end
		judge("in memory", seed, serializable.runs(records), log_of(store), 0, 1)
	end)
end)
