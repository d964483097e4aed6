-- gc_spec.lua - garbage collection: what goes, what holds it back, who does it (contract G). Ages are in spec/c/test_retention.c, under a
-- clock of their own; here they are 0, a nanosecond or a day.

local helper = require "spec.helper"
local vigia = require "vigia"

local fails, fill, mentions, range, read = helper.fails, helper.fill, helper.mentions, helper.range, helper.read

local NANOSECOND <const> = 1e-9

local eventually = helper.eventually

for name, path in pairs{["a file"] = false, memory = ":memory:"} do
	describe("garbage collection in " .. name, function()
		after_each(helper.clean)

		local function open(options)
			options = options or {}
			options.gc_age_threshold = options.gc_age_threshold or NANOSECOND
			return helper.open(path or nil, options)
		end

		it("deletes what is old and seen by all, a prefix of the log [G1a G3]", function()
			local store = open()
			fill(store, 10)
			assert(store:store_checkpoint("a", 7))
			assert(store:store_checkpoint("b", 4))
			assert.same({removed = 4, oldest = 5, reason = "held", held_by = "b"}, store:gc())
			assert.same(range(5, 10), (read(store)))
			assert(store:store_checkpoint("b", 10))
			assert.same({removed = 3, oldest = 8, reason = "held", held_by = "a"}, store:gc())
			assert(store:store_checkpoint("a", 10))
			assert.same({removed = 3, oldest = 0, reason = "done"}, store:gc())
			assert.equal(10, store:get_latest_event_num())
			assert.equal(11, store:store_event("CREATE", "Job", 1))
		end)

		it("deletes nothing without a checkpoint [G1b]", function()
			local store = open()
			fill(store, 10)
			assert.same({removed = 0, oldest = 1, reason = "no_checkpoint"}, store:gc())
		end)

		it("counts a checkpoint of 0, whatever the order of ids [G1c]", function()
			for _, id in ipairs{"a", "z"} do
				local store = helper.open(path or helper.path(id), {gc_age_threshold = NANOSECOND})
				fill(store, 3)
				assert(store:store_checkpoint("m", 3))
				assert(store:store_checkpoint(id, 0))
				assert.same({removed = 0, oldest = 1, reason = "held", held_by = id}, store:gc())
			end
		end)

		it("deletes nothing that is not old enough, and nothing at an age of 0 [G1d]", function()
			local store = open{gc_age_threshold = 86400}
			fill(store, 3)
			assert(store:store_checkpoint("a", 3))
			assert.same({removed = 0, oldest = 1, reason = "done"}, store:gc())
			assert(store:configure{gc_age_threshold = 0})
			assert.same({removed = 0, oldest = 1, reason = "off"}, store:gc())
		end)

		it("stops at gc_max_records_per_run and goes on with the next run [G2a]", function()
			local store = open{gc_max_records_per_run = 1200}
			fill(store, 3000)
			assert(store:store_checkpoint("a", 3000))
			assert.same({removed = 1200, oldest = 1201, reason = "bound", left = 1800}, store:gc())
			assert.same({removed = 1200, oldest = 2401, reason = "bound", left = 600}, store:gc())
			assert.same({removed = 600, oldest = 0, reason = "done"}, store:gc())
		end)

		it("stops after gc_max_duration, and goes on [G2b]", function()
			local store = open{gc_max_duration = 0.001, durability = "none"}
			for _ = 1, 20 do fill(store, 5000) end
			assert(store:store_checkpoint("a", 100000))
			local removed, runs, answer = 0, 0
			repeat
				answer = assert(store:gc())
				removed, runs = removed + answer.removed, runs + 1
			until answer.reason ~= "bound"
			assert.equal(100000, removed)
			assert(runs > 1, "one run took everything")
		end)

		it("a collector in the background goes on soon when it stopped at a bound [G2c G1e]", function()
			local store = open{collect = true, gc_cadence = 3600, gc_max_records_per_run = 10}
			fill(store, 100)
			assert(store:store_checkpoint("a", 100))
			assert(store:configure{gc_cadence = 3601}) -- a new cadence begins now
			eventually(function() return store:stats().events == 0 end)
		end)

		it("a collector in the background runs once a cadence [G1f]", function()
			local store = open{collect = true, gc_cadence = 3600}
			fill(store, 10)
			assert(store:store_checkpoint("a", 1 << 40))
			assert(store:configure{gc_cadence = 3601}) -- a new cadence begins now
			eventually(function() return store:stats().events == 0 end)
			-- A slice whose time was over has one more behind it, which may find what was filled in since.
			for _ = 1, 3 do
				fill(store, 10)
				vigia.sleep(0.3)
				if store:stats().events > 0 then break end
			end
			assert.equal(10, store:stats().events)
			assert(store:configure{gc_cadence = 0.01}) -- and with each one that follows
			for _ = 1, 3 do
				eventually(function() return store:stats().events == 0 end)
				fill(store, 10)
			end
		end)

		it("a handle with collect = false does not [G5a]", function()
			local store = open{gc_cadence = 0.001}
			fill(store, 10)
			assert(store:store_checkpoint("a", 10))
			vigia.sleep(0.1)
			assert.equal(10, store:stats().events)
			store:close()
		end)

		it("a watcher without a checkpoint holds back from when it is created [G6a]", function()
			local store = open()
			fill(store, 5)
			local registry = helper.registry(store)
			local handler, seen = helper.recorder()
			local idle = assert(registry:watch("idle", nil, {auto_start = false, initial_event_iterator = vigia.after_sequence_number(2)}))
			assert(store:store_checkpoint("other", 5))
			assert.same({idle = 2}, store:holds())
			assert.same({other = 5}, store:checkpoints())
			fails("checkpoint_not_found", store:get_checkpoint("idle"))
			assert.same({removed = 2, oldest = 3, reason = "held", held_by = "idle"}, store:gc())
			assert(idle:set_handler(handler))
			assert(idle:start())
			helper.drain(registry, idle)
			assert.is_true(idle:stop())
			assert.same({3, 4, 5}, seen)
			assert.same({}, store:holds())
			assert.same({other = 5, idle = 5}, store:checkpoints())
			assert.same({removed = 3, oldest = 0, reason = "done"}, store:gc())
		end)

		it("the hold of one that started at the latest is where a restart begins [G6b]", function()
			local store = open()
			fill(store, 5)
			local registry = helper.registry(store)
			assert(registry:watch("w", function() return nil, "not yet" end, {initial_event_iterator = vigia.latest()}))
			fill(store, 2)
			helper.drive(registry, function() return registry:get_watcher("w"):stats().failed > 0 end)
			assert(registry:get_watcher("w"):stop{timeout = 0} ~= nil)
			assert.same({w = 5}, store:holds())
			assert.same(5, store:gc().removed)
			local handler, seen = helper.recorder()
			local again = assert(registry:watch("w", handler, {initial_event_iterator = vigia.latest()}))
			helper.drain(registry, again)
			assert.same({6, 7}, seen)
		end)

		it("an ephemeral watcher holds nothing; delete_checkpoint ends a hold [G6c]", function()
			local store = open()
			fill(store, 3)
			local registry = helper.registry(store)
			assert(registry:watch("e", function() end, {ephemeral = true}))
			assert(registry:watch("w", nil, {auto_start = false}))
			assert.same({w = 0}, store:holds())
			assert.is_true(store:delete_checkpoint("w"))
			assert.same({}, store:holds())
			fails("checkpoint_not_found", store:delete_checkpoint("w"))
			assert.same({removed = 0, oldest = 1, reason = "no_checkpoint"}, store:gc())
		end)

		it("a retired watcher's checkpoint can be deleted, and holds back no longer [S10e G4]", function()
			local store = open()
			fill(store, 4)
			assert(store:store_checkpoint("retired", 1))
			assert(store:store_checkpoint("active", 4))
			assert.equal("retired", store:gc().held_by)
			assert(store:delete_checkpoint("retired"))
			assert.same({removed = 3, oldest = 0, reason = "done"}, store:gc())
		end)

		it("max_events keeps the newest, and passes a lagging checkpoint only by choice [G7a]", function()
			local store = open{gc_age_threshold = 86400, max_events = 10}
			fill(store, 30)
			assert.same({removed = 20, oldest = 21, reason = "done"}, store:gc())
			fill(store, 10)
			assert(store:store_checkpoint("dead", 25))
			assert.same({removed = 5, oldest = 26, reason = "held", held_by = "dead"}, store:gc())
			assert(store:configure{retention_passes_checkpoints = true})
			assert.same({removed = 5, oldest = 31, reason = "done"}, store:gc())
			assert.equal(40, store:get_latest_event_num())
		end)

		it("limits hold without waiting for the cadence [G7c]", function()
			for bound, limit in pairs{max_events = 1000, max_bytes = 50000} do
				local options = {[bound] = limit, collect = true, gc_cadence = 3600, gc_age_threshold = 86400, durability = "none"}
				local store = helper.open(path or helper.path(bound), options)
				for _ = 1, 10 do fill(store, 1000) end
				eventually(function() return store:stats().events < 3000 end)
				fill(store, 3000)
				eventually(function() return store:stats().events < 3000 end)
				assert.equal(13000, store:get_latest_event_num())
				store:close()
			end
		end)

		it("max_bytes keeps the newest, and passes a lagging checkpoint only by choice [G7b]", function()
			local store = open{gc_age_threshold = 0, max_bytes = 40000}
			for _ = 1, 100 do assert(store:store_event("CREATE", "Job", ("x"):rep(1000))) end
			assert(store:store_checkpoint("dead", 30))
			assert.same({removed = 30, oldest = 31, reason = "held", held_by = "dead"}, store:gc())
			assert(store:configure{retention_passes_checkpoints = true})
			local answer = assert(store:gc())
			assert.equal("done", answer.reason)
			local left = store:stats().events
			assert(left >= 15 and left <= 40, left .. " events of 1000 bytes left of 40000 bytes")
			assert.equal(101 - left, answer.oldest)
		end)

		it("keeps the numbering when all was collected [E2 S9]", function()
			local store = open()
			fill(store, 3)
			assert(store:store_checkpoint("a", 3))
			assert.equal(3, store:gc().removed)
			assert.equal(3, store:get_latest_event_num())
			if path then return end
			store:close()
			store = open()
			assert.equal(3, store:get_latest_event_num())
			assert.equal(4, store:store_event("CREATE", "Job", 1))
		end)
	end)
end

describe("garbage collection", function()
	after_each(helper.clean)

	it("is refused on a read-only or closed store [S19 G3]", function()
		helper.open():close()
		local store = helper.open(nil, {readonly = true, collect = true})
		fails("store_readonly", store:gc())
		store:close()
		fails("store_closed", store:gc())
	end)

	-- A process that has the store open and collects each 5 ms.
	local collects = [[
		local store = assert(vigia.open(arg[1]))
		say("open")
		vigia.sleep(1000)
	]]

	it("is done by one process at a time; another takes over when it is killed [G5b]", function()
		local store = helper.open(nil, {gc_age_threshold = NANOSECOND, gc_cadence = 0.005})
		assert(store:store_checkpoint("a", 1 << 40))
		local function collected()
			fill(store, 10)
			eventually(function() return store:stats().events == 0 end)
		end
		local first = helper.child(collects, helper.path("store"))
		first:expect("open")
		collected()
		local second = helper.child(collects, helper.path("store"))
		second:expect("open")
		-- who holds the lock on the byte of collecting
		local function holders()
			local inode = helper.shell("stat -c %i " .. helper.quoted(helper.path("store-side"))):match("%d+")
			local count = 0
			for line in io.lines("/proc/locks") do
				if line:find(":" .. inode .. " 1 1", 1, true) then count = count + 1 end
			end
			return count
		end
		eventually(function() return holders() == 1 end)
		first:kill()
		collected()
		second:kill()
		assert.equal(0, holders())
	end)

	it("two handles of a process share a collector, which ends with the last [G5c]", function()
		local before = helper.threads()
		local a, b = helper.open(nil, {collect = true}), helper.open(nil, {collect = true})
		helper.expect_threads(before + 1)
		a:close()
		helper.expect_threads(before + 1)
		b:close()
		helper.expect_threads(before)
	end)

	it("another process takes over when the last handle that collects is closed, though its process has the store open [G5d]", function()
		local options = {gc_age_threshold = NANOSECOND, gc_cadence = 0.005}
		local store = helper.open(nil, options)
		local collecting = helper.open(nil, {collect = true})
		assert(store:store_checkpoint("a", 1 << 40))
		fill(store, 10)
		eventually(function() return store:stats().events == 0 end)
		collecting:close()
		local child = helper.child(collects, helper.path("store"))
		child:expect("open")
		fill(store, 10)
		eventually(function() return store:stats().events == 0 end)
	end)

	it("a SIGKILL after all was collected does not lose the numbering [E2h S9]", function()
		local child = helper.child([[
			local store = assert(vigia.open(arg[1], {gc_age_threshold = 1e-9}))
			for n = 1, 5 do assert(store:store_event("CREATE", "Job", n)) end
			assert(store:store_checkpoint("a", 5))
			repeat local answer = assert(store:gc()) until answer.oldest == 0
			say("collected")
			vigia.sleep(1000)
		]], helper.path("store"))
		child:expect("collected")
		child:kill()
		local store = helper.open()
		assert.equal(5, store:get_latest_event_num())
		assert.equal(6, store:store_event("CREATE", "Job", 1))
	end)

	it("a reader that was killed while it read does not keep pages from being used again [G2d]", function()
		local store = helper.open(nil, {gc_age_threshold = NANOSECOND, durability = "none"})
		assert(store:store_checkpoint("a", 1 << 40))
		fill(store, 1000)
		-- LMDB's reader stays in its slot when its process dies inside a scan: a filter that keeps nothing makes scans long.
		local child = helper.child([[
			local store = assert(vigia.open(arg[1], {collect = false}))
			say("open")
			while true do store:get_events{timeout = 0, filter = {object_types = {"none"}}} end
		]], helper.path("store"))
		child:expect("open")
		child:kill()
		local size
		for round = 1, 60 do
			fill(store, 1000)
			assert(store:gc())
			if round == 20 then size = store:stats().file_bytes end
		end
		assert(store:stats().file_bytes <= size, "the file goes on growing")
	end)

	it("the file stays as large as what it holds, however much goes through it [G2e]", function()
		local KEPT <const> = 5000
		local store = helper.open(nil, {gc_age_threshold = NANOSECOND, durability = "none"})
		fill(store, KEPT)
		local held = store:stats().file_bytes
		local last, next = KEPT, vigia.at_sequence_number(1)
		for round = 1, 200 do
			last = fill(store, 500)
			next = assert(store:get_events{event_iterator = next, timeout = 0}).next_event_iterator
			assert(store:store_checkpoint("a", last - KEPT))
			if round % 2 == 0 then assert.equal("a", assert(store:gc()).held_by) end
		end
		local stats = store:stats()
		assert.equal(KEPT, stats.events)
		assert(stats.file_bytes <= 2 * held, ("%d bytes after %d events, %d bytes hold as many"):format(stats.file_bytes, last, held))
	end)

	if not helper.program() then return end

	local function program(words)
		return helper.shell(helper.quoted(helper.program()) .. " " .. words .. " --store " .. helper.quoted(helper.path("store")))
	end

	it("`vigia gc` says what it did and what holds back [G3b]", function()
		local store = helper.open(nil, {gc_age_threshold = NANOSECOND, gc_max_records_per_run = 2})
		mentions(program("gc"), "0 events removed")
		fill(store, 10)
		mentions(program("gc"), "0 events removed", "no watcher has a checkpoint")
		assert(store:store_checkpoint("lagging", 7))
		mentions(program("gc"), "7 events removed", "'lagging' holds the rest back")
		assert.equal('{"removed":0,"oldest":8,"reason":"held","held_by":"lagging"}\n', (program("gc --json")))
	end)

	it("`vigia run` collects, and commands that look or append do not [G5e]", function()
		local store = helper.open(nil, {gc_age_threshold = NANOSECOND, gc_cadence = 0.001})
		assert(store:store_checkpoint("a", 1 << 40))
		fill(store, 10)
		for _, words in ipairs{"events", "stats", "checkpoints", "verify", "configure", "configure max_event_size=2MiB"} do
			for _ = 1, 3 do program(words) end
		end
		helper.shell(("echo '{\"operation\":\"CREATE\",\"object_type\":\"Job\",\"object\":1}' | %s append --store %s"):format(
			helper.quoted(helper.program()), helper.quoted(helper.path("store"))))
		assert.equal(11, store:stats().events)
		local script = helper.write_file("idle.lua", "return {ephemeral = true, handle = function() end}")
		local process = require("spec.support.cli").start{"run", "--store", helper.path("store"), script}
		local collected, err = pcall(eventually, function() return store:stats().events == 0 end)
		process:kill()
		assert(collected, err)
	end)

	it("`vigia checkpoints` shows holds beside checkpoints [G6d]", function()
		local store = helper.open()
		fill(store, 9)
		assert(store:store_checkpoint("done", 9))
		local registry = helper.registry(store)
		assert(registry:watch("new", nil, {auto_start = false, initial_event_iterator = vigia.after_sequence_number(4)}))
		mentions(program("checkpoints"), "done", "hold 4")
		mentions(program("checkpoints --json"), '{"watcher":"done","checkpoint":9,"lag":0}', '{"watcher":"new","hold":4,"lag":5}')
	end)
end)
