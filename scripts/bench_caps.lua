-- bench_caps.lua - measures what caps cost while they hold: replay of whole objects by one script, without and with each cap, in turn.
-- Run by scripts/bench with a folder.
local vigia = require "vigia"

local folder = arg[1]
local EVENTS <const> = 200000
local ROUNDS <const> = 7

local store = assert(vigia.open(folder .. "/caps.db", {durability = "none"}))
local objects = {}
for from = 1, EVENTS, 1000 do
	for k = 1, 1000 do
		local i = from + k
		objects[k] = {"UPDATE", "Job", {id = i, name = "job-" .. i, state = "running-" .. i % 7, node = "node-" .. i, cpu = i * 0.5,
			memory = i * 4096, started = 1700000000 + i, ok = i % 2 == 0}}
	end
	assert(store:store_events(objects))
end

local script = folder .. "/handler.lua"
local file = assert(io.open(script, "w"))
file:write("local names = {}\nreturn function(event) local object = event.object names[object.id % 1000] = object.name end\n")
file:close()

-- Processor seconds of one replay.
local function replay(caps)
	local registry = vigia.registry(store)
	local before = os.clock()
	local watcher = assert(registry:watch("bench", script, {ephemeral = true, cpu_limit = caps.cpu_limit, memory_limit = caps.memory_limit}))
	while watcher:stats().lag > 0 do assert(registry:step(1) ~= nil) end
	local seconds = os.clock() - before
	assert(watcher:stats().processed == EVENTS)
	assert(registry:stop())
	return seconds
end

local cases = {
	{name = "no cap"},
	{name = "cpu_limit", cpu_limit = 1},
	{name = "memory_limit", memory_limit = 64 << 20},
	{name = "both", cpu_limit = 1, memory_limit = 64 << 20},
}
replay(cases[1])
for _ = 1, ROUNDS do
	for _, case in ipairs(cases) do
		case.times = case.times or {}
		table.insert(case.times, replay(case))
	end
end

local function median(times)
	table.sort(times)
	return times[#times // 2 + 1]
end
local base = median(cases[1].times)
for _, case in ipairs(cases) do
	local seconds = median(case.times)
	print(("%-34s %12.0f %-12s %+6.1f %%"):format("caps: script replay, " .. case.name, EVENTS / seconds, "events/s",
		(seconds / base - 1) * 100))
end
store:close()
