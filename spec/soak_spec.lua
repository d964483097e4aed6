-- soak_spec.lua - the long run: two processes append, another watches, all are killed again and again while the collector removes what was
-- seen; in the end nothing is missing, memory and file have stayed flat, and the store verifies.
--
-- `scripts/test --long` runs it for ten minutes; VIGIA_SOAK_SECONDS says otherwise. VIGIA_SEED repeats a run's choices.

local helper = require "helper"
local vigia = require "vigia"

-- Appends until it is killed: batches of 1 to 50 events of some hundred bytes.
local APPENDER = [[
local path, name, seed = ...
math.randomseed(tonumber(seed))
local store = assert(vigia.open(path, {collect = false}))
say("ready")
local text = ("x"):rep(200)
while true do
	local events = {}
	for n = 1, math.random(50) do
		events[n] = {math.random(100) == 1 and "RARE" or "UPDATE", name, {n = n, text = text:sub(1, math.random(200))}}
	end
	assert(store:store_events(events))
	if math.random(10) == 1 then assert(store:schedule({after = math.random() * 3}, "LATER", name, {text = text})) end
	assert(vigia.sleep(math.random() / 200))
end
]]

-- Three watchers: one writes each number to a journal, one wants rare events, one fails now and then. Says its anonymous memory when asked.
local WATCHER = [[
local path, journal, seed = ...
math.randomseed(tonumber(seed))
local store = assert(vigia.open(path))
local out = assert(io.open(journal, "a"))
out:setvbuf("full")
local registry = vigia.registry(store)
assert(registry:watch("journal", function(event)
	assert(out:write(event.seq_num, "\n"))
	if event.seq_num % 100 == 0 then out:flush() end
end, {checkpoint = "manual"}))
assert(registry:watch("rare", function() end, {filter = {operations = {"RARE"}}}))
assert(registry:watch("failing", function() if math.random(500) == 1 then error("now and then") end end, {initial_backoff = 0.001}))
local journal_watcher = assert(registry:get_watcher("journal"))
say("ready")
local rounds = 0
while true do
	assert(registry:step(0.1) ~= nil)
	rounds = rounds + 1
	if rounds % 50 == 0 then
		-- What the journal has on disk, and only that, is the checkpoint: a kill may repeat lines but not lose one.
		out:flush()
		local last = journal_watcher:stats().last_processed_seq_num
		if last > 0 then assert(journal_watcher:checkpoint(last)) end
	end
end
]]

local function anonymous_kb(pid)
	local file = io.open("/proc/" .. pid .. "/status")
	if not file then return 0 end
	local kb = file:read("a"):match("RssAnon:%s*(%d+)")
	file:close()
	return tonumber(kb) or 0
end

describe("a long run", function()
	after_each(helper.clean)

	it("keeps file and memory flat and loses nothing, through kills [G2z]", function()
		if not os.getenv("VIGIA_SOAK") then return helper.pending("runs with scripts/test --long") end
		local seconds = tonumber(os.getenv("VIGIA_SOAK_SECONDS")) or 600
		local seed = tonumber(os.getenv("VIGIA_SEED")) or os.time()
		math.randomseed(seed)
		local path, journal = helper.path("store"), helper.path("journal")
		local store = helper.open(path, {gc_cadence = 1, gc_age_threshold = 1, collect = false})

		local makers = {
			function() return helper.child(APPENDER, path, "A", math.random(1 << 30)) end,
			function() return helper.child(APPENDER, path, "B", math.random(1 << 30)) end,
			function() return helper.child(WATCHER, path, journal, math.random(1 << 30)) end,
		}
		local running = {}
		local function start(i)
			running[i] = makers[i]()
			running[i]:expect("ready")
		end
		for i = 1, 3 do start(i) end

		local start_time, middle = helper.now(), nil
		local kills, memory_max = 0, 0
		while helper.now() - start_time < seconds do
			assert(vigia.sleep(1 + math.random() * 2))
			memory_max = math.max(memory_max, anonymous_kb(running[3].pid))
			local i = math.random(3)
			running[i]:kill()
			kills = kills + 1
			start(i)
			if not middle and helper.now() - start_time >= seconds / 3 then middle = store:stats() end
		end
		local last_stats = store:stats()
		running[1]:kill()
		running[2]:kill()

		-- What is due comes, and the watcher catches up, then the journal must have each number at least once.
		helper.eventually(function() return store:stats().timers == 0 end, "timers are left")
		local last = store:get_latest_event_num()
		local deadline = helper.now() + 60
		repeat
			assert(vigia.sleep(0.2))
			if helper.now() >= deadline then
				os.execute("kill " .. running[3].pid)
				local said = table.concat(running[3]:wait(), "\n")
				error(("the journal never caught up: %s of %d, seed %d; its process said: %s")
					:format(store:get_checkpoint("journal"), last, seed, said))
			end
		until (store:get_checkpoint("journal") or 0) == last
		running[3]:kill()
		local seen, count = {}, 0
		for line in io.lines(journal) do
			local n = math.tointeger(tonumber(line))
			if n and not seen[n] then seen[n], count = true, count + 1 end
		end
		assert.equal(last, count, ("%d kills, seed %d"):format(kills, seed))

		local grown = last_stats.file_bytes / middle.file_bytes
		assert.is_true(grown <= 1.5, ("the file grew %.2f times in the last two thirds (seed %d)"):format(grown, seed))
		assert.is_true(last_stats.events < last / 2 or last < 10000, "the collector kept up")
		assert.is_true(memory_max < 32 * 1024, "the watcher's memory: " .. memory_max .. " kB")
		store:close()
		local text, good = helper.shell(helper.quoted(helper.program()) .. " verify --store " .. helper.quoted(path))
		assert.is_true(good, text)
		helper.covered("a long run", "%d events, %d kills, file %d -> %d kB, memory up to %d kB, seed %d", last, kills,
			middle.file_bytes // 1024, last_stats.file_bytes // 1024, memory_max, seed)
	end)
end)
