-- bench.lua - measures the Lua side: appends, replay, NDJSON through the program. Run by scripts/bench with a folder and the program.
local vigia = require "vigia"
local core = require "vigia.core"

local folder, program = arg[1], arg[2]
local EVENTS = 500000

local function report(name, count, seconds, unit)
	print(("%-34s %12.0f %-12s"):format(name, count / seconds, unit or "events/s"))
end

local function timed(f)
	local start = core.monotonic()
	f()
	return core.monotonic() - start
end

-- Two scripts that keep a processor busy, run by the program on one core and on all that there are; the best of three runs each.
if arg[3] == "threads" then
	local path = folder .. "/threads.db"
	local store = assert(vigia.open(path, {durability = "none"}))
	local events = {}
	for i = 1, 2000 do events[i] = {"UPDATE", "Job", i} end
	assert(store:store_events(events))
	store:close()
	for _, name in ipairs{"a", "b"} do
		local file <close> = assert(io.open(folder .. "/" .. name .. ".lua", "w"))
		assert(file:write("local x = 0 return {ephemeral = true, handle = function(event) for i = 1, 50000 do x = x * 3 // 2 + i end end}"))
	end
	local function run(prefix)
		local best = math.huge
		for _ = 1, 3 do
			best = math.min(best, timed(function()
				assert(os.execute(("%s '%s' run --store '%s' '%s/a.lua' '%s/b.lua' --until-idle"):format(prefix, program, path, folder, folder)))
			end))
		end
		return best
	end
	local one, all = run("taskset -c 0"), run("")
	print(("%-34s %12.2f s"):format("two busy scripts, one core", one))
	print(("%-34s %12.2f s            %.0f %% of one core's"):format("two busy scripts, all cores", all, all / one * 100))
	return
end

-- Many scripts, each with a thread and a Lua state of its own; and how often a process that waits beside them is woken.
if arg[3] == "start-many" then
	local COUNT <const> = 3200
	local path = folder .. "/many.db"
	local script = folder .. "/many.lua"
	do
		local file <close> = assert(io.open(script, "w"))
		assert(file:write("return function(event) end\n"))
	end
	local store = assert(vigia.open(path))
	assert(store:store_event("CREATE", "Job", 1))
	local idle = assert(io.popen(("echo $$; exec '%s' events --store '%s' --follow --from after:1"):format(program, path)))
	local pid = idle:read("l")
	local function sleeps()
		local file <close> = assert(io.open("/proc/" .. pid .. "/status"))
		return tonumber(file:read("a"):match("\nvoluntary_ctxt_switches:%s*(%d+)"))
	end
	vigia.sleep(1)
	local before, began = sleeps(), core.monotonic()
	local registry = assert(vigia.registry(store))
	local start = timed(function()
		for i = 1, COUNT do assert(registry:watch("script-" .. i, script)) end
	end)
	local stop = timed(function() assert(registry:stop()) end)
	local woken = sleeps() - before
	print(("%-34s %12.2f s            the bar is 3"):format("3,200 scripts start", start))
	print(("%-34s %12.2f s            the bar is 3"):format("3,200 scripts stop", stop))
	print(("%-34s %12.1f a second     by itself it looks once"):format("an idle process is woken", woken / (core.monotonic() - began)))
	os.execute("kill " .. pid)
	idle:close()
	return
end

-- All values differ: a decoder that remembers values must not look better than it is.
local function job(i)
	return {id = i, name = "job-" .. i, state = "running-" .. i % 7, node = "node-" .. i, cpu = i * 0.5, memory = i * 4096,
		started = 1700000000 + i, ok = i % 2 == 0}
end

local store = assert(vigia.open(folder .. "/lua.db"))

local objects = {}
for i = 1, 1000 do objects[i] = {"UPDATE", "Job", job(i)} end

local single = 2000
local alone = timed(function()
	for i = 1, single do assert(store:store_event("CREATE", "Job", objects[i % 1000 + 1][3])) end
end)
report("lua: append durable, 1 caller", single, alone)

for _, coroutines in ipairs {64, 100} do
	local registry = vigia.registry(store)
	local each = 200
	for _ = 1, coroutines do
		registry:spawn(function()
			for i = 1, each do assert(store:store_event("CREATE", "Job", objects[i][3])) end
		end)
	end
	local together = timed(function() assert(registry:run()) end)
	report("lua: append durable, " .. coroutines .. " coroutines", coroutines * each, together)
	print(("%-34s %12.0f times the rate of 1 caller"):format("", coroutines * each / together / (single / alone)))
end

report("lua: append batches of 1000", EVENTS, timed(function()
	for _ = 1, EVENTS, 1000 do assert(store:store_events(objects)) end
end))

local function replay(name, handle)
	local registry = vigia.registry(store)
	local total = assert(store:get_latest_event_num())
	local seen = 0
	local watcher = assert(registry:watch(name, function(event, ctx)
		handle(event)
		seen = seen + 1
		if seen == total then ctx.watcher:stop() end
	end, {ephemeral = true}))
	report("lua: replay, " .. name, total, timed(function() assert(registry:run()) end))
	assert(watcher:stats().processed == total)
end
replay("handler reads the head", function(event) return event.operation end)
replay("handler reads the object", function(event) return event.object.name end)
store:close()

-- Ten watchers over the same events, without and with the cache of decoded ones.
local function ten(cache_size)
	local cached = assert(vigia.open(folder .. "/lua.db", {cache_size = cache_size}))
	local total = assert(cached:get_latest_event_num())
	local registry = vigia.registry(cached)
	for i = 1, 10 do
		assert(registry:watch("ten" .. i, function(event, ctx)
			if event.seq_num == total then ctx.watcher:stop() end
		end, {ephemeral = true}))
	end
	local seconds = timed(function() assert(registry:run()) end)
	report("lua: replay, 10 watchers, cache_size " .. cache_size, 10 * total, seconds)
	cached:close()
	return seconds
end
local without = ten(0)
print(("%-34s %12.1f"):format("lua: the cache makes it faster by", without / ten(1024)))

local file = assert(io.open(folder .. "/lines.ndjson", "w"))
for i = 1, 100000 do
	file:write('{"operation":"UPDATE","object_type":"Job","object":{"id":', i, ',"name":"job-', i, '","state":"running","node":"node-',
		i % 100, '","cpu":', i / 2, '}}\n')
end
file:close()
report("vigia append, NDJSON, durable", 100000, timed(function()
	assert(os.execute(("'%s' append --store '%s/cli.db' < '%s/lines.ndjson' > /dev/null"):format(program, folder, folder)))
end), "lines/s")
report("vigia events, NDJSON", 100000, timed(function()
	assert(os.execute(("'%s' events --store '%s/cli.db' > /dev/null"):format(program, folder)))
end), "lines/s")
