-- interval_spec.lua - durability "interval" in files: what a killed process loses is the end of its own appends, and nothing else.

local core = require "vigia.core"
local helper = require "spec.helper"
local vigia = require "vigia"

-- Appends 1, 2, 3... of its own type; says each number, and what is surely stored.
local WRITER = [[
	local store = assert(vigia.open(arg[1]))
	for n = 1, 1000000 do
		assert(store:store_event("CREATE", arg[2], n) == true)
		if n % 50 == 0 then
			assert(store:sync())
			say("synced", n)
		end
	end]]

describe("durability interval", function()
	after_each(helper.clean)

	it("loses a suffix of its own appends and no number ever seen, when processes are killed at any moment [D2i]", function()
		local path = helper.path("store")
		local store = helper.open(path, {durability = "interval", commit_interval = 0.002})
		for round = 1, 5 do
			local before = store:get_latest_event_num()
			local writers, synced = {}, {}
			for i = 1, 2 do writers[i] = helper.child(WRITER, path, "T" .. i) end
			for i, writer in ipairs(writers) do
				for _ = 1, 3 * round do synced[i] = math.tointeger(tonumber(writer:line():match("^synced%s(%d+)$"))) end
				os.execute("kill -9 " .. writer.pid)
				for _, line in ipairs(writer:wait()) do synced[i] = math.tointeger(tonumber(line:match("^synced%s(%d+)$"))) or synced[i] end
			end
			assert(store:store_checkpoint("reader", round)) -- a writer finds what one left that died just before it told LMDB's readers
			local last, at = {0, 0}, before
			local next = vigia.after_sequence_number(before)
			repeat
				local answer = assert(store:get_events{event_iterator = next, timeout = 0})
				next = answer.next_event_iterator
				for _, event in ipairs(answer.events) do
					local i = math.tointeger(tonumber(event.object_type:sub(2)))
					at, last[i] = at + 1, last[i] + 1
					assert.same({at, last[i]}, {event.seq_num, event.object}) -- no gap in the numbers, none in what each wrote
				end
			until #answer.events == 0
			for i = 1, 2 do assert(last[i] >= synced[i], "what was synced is there") end
		end
	end)

	it("loses nothing that is older than the interval [D2l]", function()
		local INTERVAL <const>, SLACK <const> = 0.1, 1
		local path = helper.path("store")
		local store = helper.open(path, {durability = "interval", commit_interval = INTERVAL})
		local writers = {}
		for i = 1, 2 do
			writers[i] = helper.child([[
				local core = require "vigia.core"
				local store = assert(vigia.open(arg[1]))
				local journal = assert(io.open(arg[3], "w"))
				journal:setvbuf("no")
				say("ready")
				for n = 1, 1000000 do
					assert(store:store_event("CREATE", arg[2], n) == true)
					journal:write(("%d %.6f\n"):format(n, core.monotonic())) -- one clock for all processes
					vigia.sleep(0.002)
				end]], path, "T" .. i, helper.path("journal" .. i))
			writers[i]:expect("ready")
		end
		-- A commit takes a sync, and whoever waits for a processor waits longer: a busy machine's time counts for it.
		local begin, slowest = core.monotonic(), 0
		repeat
			local before = core.monotonic()
			assert(store:store_event("CREATE", "Own", 1))
			assert(store:sync())
			slowest = math.max(slowest, core.monotonic() - before)
			vigia.sleep(0.02)
		until core.monotonic() - begin > 2 * (INTERVAL + SLACK + 2 * slowest)
		for i, writer in ipairs(writers) do
			local killed = core.monotonic()
			writer:kill()
			assert(store:store_checkpoint("reader", i)) -- finds what one left that died just before it told LMDB's readers
			local stored, lost, last = 0, nil, 0
			for _, n in ipairs(helper.objects(store, "T" .. i)) do stored = math.max(stored, n) end
			for line in io.lines(helper.path("journal" .. i)) do
				local n, at = line:match("^(%d+) (%d+%.%d+)$")
				last = tonumber(n) or last
				if n and tonumber(n) == stored + 1 then lost = killed - tonumber(at) end
			end
			assert(stored > 0 and last > 100, "it wrote, and some of that was committed while it did")
			assert(not lost or lost <= INTERVAL + SLACK + 2 * slowest,
				("what waited for %.3f s was lost; %d of %d are stored, the slowest commit took %.3f s"):format(lost or 0, stored, last, slowest))
		end
	end)

	it("stores what handlers queued no later than their checkpoints [D2j]", function()
		local path = helper.path("store")
		local child = helper.child([[
			local store = assert(vigia.open(arg[1], {durability = "interval", commit_interval = 3600}))
			assert(store:store_events({{"CREATE", "In", 1}, {"CREATE", "In", 2}}, {key = "in"}))
			local registry = vigia.registry(store)
			assert(registry:watch("w", function(event)
				assert(store:store_event("CREATE", "Out", event.object) == true)
				if event.object == 2 then
					assert(store:store_checkpoint("other", 1)) -- a commit of another kind
					say("done")
					os.execute("kill -9 $PPID")
				end
			end, {checkpoint = "event", filter = {object_types = {"In"}}}))
			registry:run()]], path)
		child:expect("done")
		child:wait()
		local store = helper.open(path)
		assert.equal(1, store:get_checkpoint("w"))
		assert.same({3, 4}, (helper.read(store, {filter = {object_types = {"Out"}}})))
	end)

	it("commits what waits when the state ends without a close [D2k]", function()
		local path = helper.path("store")
		local output = helper.run_lua("", [[
			local store = assert(vigia.open(arg[1], {durability = "interval", commit_interval = 3600, collect = false}))
			for n = 1, 100 do assert(store:store_event("CREATE", "Job", n) == true) end]], path)
		assert.equal("", output)
		assert.same(helper.range(1, 100), (helper.read(helper.open(path))))
	end)
end)

describe("a change of durability", function()
	after_each(helper.clean)

	it("is followed by every process with its next append, so that two levels never write one file [D5a]", function()
		local path = helper.path("store")
		local store = helper.open(path, {durability = "none"})
		local levels = {"commit", "interval", "none", "interval", "commit"}
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			local last = 0
			for _, level in ipairs{table.unpack(arg, 2)} do
				-- Wait for the event that tells of the change; nothing is written in between.
				last = assert(store:get_events{event_iterator = vigia.after_sequence_number(last), timeout = 60}).events[1].seq_num
				local answer = store:store_event("CREATE", "Job", level)
				last = assert(store:sync())
				say(level, answer == true)
			end]], path, table.unpack(levels))
		for _, level in ipairs(levels) do
			assert(store:configure{durability = level, commit_interval = 0.001})
			assert(store:store_event("CREATE", "Change", level))
			store:sync()
			child:expect(level .. "\t" .. tostring(level == "interval"))
		end
		child:wait()
		assert.equal("commit", store:stats().durability)
	end)

	it("at none keeps what the killed process had stored [D3a]", function()
		local path = helper.path("store")
		local child = helper.child([[
			local store = assert(vigia.open(arg[1], {durability = "none"}))
			for n = 1, 100 do say(assert(store:store_event("CREATE", "Job", n))) end
			os.execute("kill -9 $PPID")]], path)
		for n = 1, 100 do child:expect(tostring(n)) end
		child:wait()
		assert.same(helper.range(1, 100), (helper.read(helper.open(path))))
	end)
end)
