-- processes_spec.lua - several processes and threads on one file: one order, waits woken from outside, one owner per id, crashes.

local helper = require "spec.helper"
local vigia = require "vigia"

local drain, fails, fill, mentions = helper.drain, helper.fails, helper.fill, helper.mentions
local range, read = helper.range, helper.read

-- Waits for event arg[2] and says what it got.
local WAITER = [[
	local store = assert(vigia.open(arg[1]))
	local n = math.tointeger(tonumber(arg[2]))
	say("ready")
	local answer = assert(store:get_events{event_iterator = vigia.at_sequence_number(n), timeout = 60,
		filter = arg[3] and {object_types = {arg[3]}} or nil})
	for _, e in ipairs(answer.events) do say(e.seq_num, e.operation, e.object_type, e.object, e.timestamp) end
	say("end", tostring(answer.next_event_iterator))]]

-- Appends arg[3] events that bear the name arg[2], alone and in batches, and says their numbers.
local WRITER = [[
	local store = assert(vigia.open(arg[1], {durability = "none"}))
	local name, count = arg[2], math.tointeger(tonumber(arg[3]))
	say("ready")
	local n = 0
	while n < count do
		if n % 3 == 0 and n + 5 <= count then
			local events = {}
			for i = 1, 5 do events[i] = {"CREATE", name, n + i} end
			local first, last = assert(store:store_events(events))
			assert(last == first + 4)
			for i = 0, 4 do say(n + i + 1, first + i) end
			n = n + 5
		else
			n = n + 1
			say(n, assert(store:store_event("CREATE", name, n)))
		end
	end]]

-- Reads arg[2] events as they come and says them.
local READER = [[
	local store = assert(vigia.open(arg[1], {readonly = arg[3] == "readonly"}))
	local wanted, count, iterator = math.tointeger(tonumber(arg[2])), 0, vigia.at_sequence_number(1)
	say("ready")
	while count < wanted do
		local answer = assert(store:get_events{event_iterator = iterator, timeout = 60})
		assert(#answer.events > 0, "nothing came")
		for _, event in ipairs(answer.events) do
			print(event.seq_num, event.object_type, event.object, event.timestamp)
			count = count + 1
		end
		iterator = answer.next_event_iterator
	end]]

describe("several processes on one file", function()
	after_each(helper.clean)

	it("give all appends one order without a gap, in which each one's own stay in theirs [S13a]", function()
		helper.open(nil, {durability = "none"}):close()
		local count, writers = 200, {}
		for n = 1, 3 do writers[n] = helper.child(WRITER, helper.path("store"), "writer " .. n, count) end
		local taken = {}
		for n, writer in ipairs(writers) do
			writer:expect("ready")
			local lines, last = writer:wait(), 0
			assert.equal(count, #lines, lines[#lines])
			for index, line in ipairs(lines) do
				local i, seq_num = line:match("^(%d+)\t(%d+)$")
				i, seq_num = math.tointeger(tonumber(i)), math.tointeger(tonumber(seq_num))
				assert.equal(index, i)
				assert(seq_num > last, "a later append has a higher number")
				last = seq_num
				taken[seq_num] = ("writer %d: %d"):format(n, i)
			end
		end
		local events = assert(helper.open():get_events{timeout = 0}).events
		assert.equal(3 * count, #events)
		local time = 0
		for index, event in ipairs(events) do
			assert.equal(index, event.seq_num)
			assert.equal(taken[index], ("%s: %d"):format(event.object_type, event.object))
			assert(event.timestamp >= time)
			time = event.timestamp
		end
	end)

	it("show every reader the same, while they are written [S13b]", function()
		helper.open(nil, {durability = "none"}):close()
		local readers, writers = {}, {}
		for n = 1, 3 do readers[n] = helper.child(READER, helper.path("store"), 300, n == 3 and "readonly" or "") end
		for _, reader in ipairs(readers) do reader:expect("ready") end
		for n = 1, 2 do writers[n] = helper.child(WRITER, helper.path("store"), "writer " .. n, 150) end
		local store = helper.open()
		local own, iterator = {}, vigia.at_sequence_number(1)
		while #own < 300 do
			local answer = assert(store:get_events{event_iterator = iterator, timeout = 60})
			assert(#answer.events > 0, "nothing came")
			for _, event in ipairs(answer.events) do
				own[#own + 1] = ("%d\t%s\t%d\t%d"):format(event.seq_num, event.object_type, event.object, event.timestamp)
			end
			iterator = answer.next_event_iterator
		end
		for _, reader in ipairs(readers) do assert.same(own, reader:wait()) end
		for _, writer in ipairs(writers) do writer:wait() end
	end)

	it("give checkpoints and removals to each other [S13c]", function()
		local store = helper.open()
		fill(store, 5)
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			assert(store:store_checkpoint("a", 3))
			assert(store:trim(2) == 2)
			say("done")]], helper.path("store"))
		child:expect("done")
		assert.equal(3, assert(store:get_checkpoint("a")))
		assert.equal(3, assert(store:get_oldest_event_num()))
		assert.equal(6, assert(store:store_event("CREATE", "Job", nil)))
	end)

	it("may all make the store at the same time [S13d]", function()
		local children = {}
		for n = 1, 6 do children[n] = helper.child(WRITER, helper.path("store"), "writer " .. n, 10) end
		for _, child in ipairs(children) do
			child:expect("ready")
			assert.equal(10, #child:wait())
		end
		assert.same(range(1, 60), (read(helper.open())))
	end)

	it("wake a wait by an append from outside [S6g]", function()
		local store = helper.open()
		fill(store, 2)
		local waiter = helper.child(WAITER, helper.path("store"), 3)
		waiter:expect("ready")
		waiter:asleep()
		assert.equal(3, assert(store:store_event("UPDATE", "Node", "woken")))
		waiter:expect(("3\tUPDATE\tNode\twoken\t%d"):format(assert(store:get_event(3)).timestamp))
		waiter:expect("end\tafter_sequence_number(3)")
		assert.same({}, waiter:wait())
	end)

	it("let a wait with a filter sleep through what it does not want [S6h]", function()
		local store = helper.open()
		local waiter = helper.child(WAITER, helper.path("store"), 1, "Node")
		waiter:expect("ready")
		waiter:asleep()
		fill(store, 50, "Job")
		assert.equal(51, assert(store:store_event("CREATE", "Node", "wanted")))
		waiter:expect(("51\tCREATE\tNode\twanted\t%d"):format(assert(store:get_event(51)).timestamp))
		waiter:expect("end\tafter_sequence_number(51)")
	end)

	it("wake one that only reads [S6i]", function()
		local store = helper.open()
		local reader = helper.child(READER, helper.path("store"), 1, "readonly")
		reader:expect("ready")
		reader:asleep()
		assert(store:store_event("CREATE", "Job", 7))
		mentions(reader:line(), "1\tJob\t7")
	end)

	it("wake a watcher by an append from outside [S6j]", function()
		local store = helper.open()
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			local registry = vigia.registry(store)
			assert(registry:watch("a", function(event, ctx)
				say(event.seq_num, event.object)
				if event.object == "last" then ctx.watcher:stop() end
			end))
			say("ready")
			assert(registry:run())
			say("stopped")]], helper.path("store"))
		child:expect("ready")
		for n, object in ipairs{"first", "second", "last"} do
			child:asleep()
			assert(store:store_event("CREATE", "Job", object))
			child:expect(n .. "\t" .. object)
		end
		child:expect("stopped")
		child:wait()
		assert.equal(3, assert(store:get_checkpoint("a")))
	end)

	it("are all woken by one append, each with the same event [S7a]", function()
		local store = helper.open()
		local waiters = {}
		for n = 1, 5 do waiters[n] = helper.child(WAITER, helper.path("store"), 1) end
		for _, waiter in ipairs(waiters) do waiter:expect("ready") end
		for _, waiter in ipairs(waiters) do waiter:asleep() end
		assert(store:store_event("CREATE", "Job", "for all"))
		local expected = ("1\tCREATE\tJob\tfor all\t%d"):format(assert(store:get_event(1)).timestamp)
		for _, waiter in ipairs(waiters) do
			waiter:expect(expected)
			waiter:expect("end\tafter_sequence_number(1)")
		end
	end)

	it("wake each other without looking now and then: a hundred waits in a row take no time [S6l]", function()
		local store = helper.open(nil, {durability = "none"})
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			say("ready")
			for n = 1, 100 do
				assert(#assert(store:get_events{event_iterator = vigia.at_sequence_number(2 * n - 1), timeout = 60}).events == 1)
				assert(store:store_event("CREATE", "Pong", n))
			end]], helper.path("store"))
		child:expect("ready")
		local begin = helper.now()
		for n = 1, 100 do
			assert(store:store_event("CREATE", "Ping", n))
			assert.equal(1, #assert(store:get_events{event_iterator = vigia.at_sequence_number(2 * n), timeout = 60}).events)
		end
		assert(helper.now() - begin < 30, "who looks once a second needs a hundred seconds")
		assert.same({}, child:wait())
	end)

	it("wait without looking: no context switch but the check once a second [S6m]", function()
		if helper.tsan then return helper.pending("the sanitizer has a thread that wakes up") end
		helper.open():close()
		-- one wait in the main thread, one behind a descriptor for somebody's loop
		local child = helper.child([[
			local store = assert(vigia.open(arg[1], {collect = false}))
			local registry = vigia.registry(store)
			assert(registry:watch("idle", print))
			assert(registry:pollfd())
			repeat until not registry:step()
			say("ready")
			say(#assert(store:get_events{event_iterator = vigia.at_sequence_number(1), timeout = 120}).events)]], helper.path("store"))
		child:expect("ready")
		local function switches()
			local count = 0
			for task in require("lfs").dir(("/proc/%d/task"):format(child.pid)) do
				local status = helper.read_file(("/proc/%d/task/%s/status"):format(child.pid, task))
				count = count + (tonumber(status:match("\nvoluntary_ctxt_switches:%s*(%d+)")) or 0)
			end
			return count
		end
		child:asleep()
		assert(vigia.sleep(0.2))
		local before, begin = switches(), helper.now()
		assert(vigia.sleep(3))
		local made, seconds = switches() - before, helper.now() - begin + 1
		assert(made <= 5 * seconds, ("%d switches of two waits in %.1f s"):format(made, seconds)) -- a look every 100 ms would make 60
		assert(helper.open():store_event("CREATE", "Job", nil))
		child:expect("1")
	end)

	it("find an event whose appender was killed, whenever that was [S6k]", function()
		local waiter = helper.child(WAITER, helper.path("store"), 1)
		waiter:expect("ready")
		waiter:asleep()
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			assert(store:store_event("CREATE", "Job", "last words"))
			os.execute("kill -9 $PPID")]], helper.path("store"))
		child:wait()
		mentions(waiter:line(), "last words")
	end)

	it("reuse no number when an appender is killed in the middle of its work [E2f]", function()
		helper.open(nil, {durability = "none"}):close()
		local known = 0
		for round = 1, 10 do
			local writer = helper.child(WRITER, helper.path("store"), "writer " .. round, 1000000)
			writer:expect("ready")
			for _ = 1, round * 7 do
				local seq_num = math.tointeger(tonumber(writer:line():match("%d+$")))
				assert(seq_num > known, "no number twice")
				known = seq_num
			end
			writer:kill()
		end
		local store = helper.open()
		local last = assert(store:get_latest_event_num())
		assert(last >= known, "what was said to be stored is there")
		assert.same(range(1, last), (read(store)))
		assert.equal(last + 1, assert(store:store_event("CREATE", "Job", nil)))
	end)

	it("see all of a list or nothing of it, also when its appender is killed [S14f]", function()
		local store = helper.open(nil, {durability = "none"})
		local looks = 0
		for _ = 1, 8 do
			local writer = helper.child([[
				local store = assert(vigia.open(arg[1]))
				local events = {}
				for n = 1, 7 do events[n] = {"CREATE", "Job", n} end
				say("ready")
				while true do assert(store:store_events(events)) end]], helper.path("store"))
			writer:expect("ready")
			local first = assert(store:get_latest_event_num())
			for _ = 1, 50 do
				local last = assert(store:get_latest_event_num())
				assert.equal(0, last % 7)
				if last > first then looks = looks + 1 end
				assert(vigia.sleep(0.0003))
			end
			writer:kill()
			assert.equal(0, assert(store:get_latest_event_num()) % 7)
			assert.equal(0, assert(store:stats()).events % 7)
		end
		assert(looks > 0, "nothing was stored meanwhile")
	end)

	it("go on behind the checkpoint of a watcher that was killed: nothing is missed [W11b]", function()
		local store = helper.open()
		fill(store, 60)
		for _, mode in ipairs{"batch", "event"} do
			local seen, first = {}, nil
			-- each one dies in the handler of a later event, with what it had saved till then
			for _, dies_at in ipairs{1, 13, 14, 40, 1000} do
				local child = helper.child([[
					local store = assert(vigia.open(arg[1], {checkpoint_interval = 0.0001}))
					local dies_at = tonumber(arg[3])
					local registry = vigia.registry(store)
					local watcher = assert(registry:watch(arg[2], function(event)
						say(event.seq_num)
						if event.seq_num == dies_at then os.execute("kill -9 $PPID") end
					end, {checkpoint = arg[2], batch_size = 5}))
					while watcher:stats().lag > 0 do registry:step(1) end
					assert(registry:stop())]], helper.path("store"), mode, dies_at)
				local lines = child:wait()
				local begin = math.tointeger(tonumber(lines[1]))
				assert(not first or begin <= first + 1, "begins behind the last one handled, or before it")
				if first and mode == "event" then assert.equal(first, begin, "saved after each event: only the last is repeated") end
				for index, text in ipairs(lines) do
					local n = math.tointeger(tonumber(text))
					assert.equal(begin + index - 1, n)
					seen[n], first = true, n
				end
			end
			assert.equal(60, #seen)
			assert.equal(60, assert(store:get_checkpoint(mode)))
		end
	end)

	it("run a watcher id in one of them only, and name its pid [W19b]", function()
		local store = helper.open()
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			local registry = vigia.registry(store)
			assert(registry:watch("a", print))
			say("watching")
			io.read("a")
			registry:run()]], helper.path("store"))
		child:expect("watching")
		local registry = helper.registry(store)
		local err = fails("watcher_owned", registry:watch("a", function() end))
		mentions(err, tostring(child.pid))
		assert.equal("a", err.watcher_id)
		assert(registry:watch("b", function() end))
		child:kill()
		local watcher = assert(registry:watch("a", function() end), "free at once when its owner was killed")
		drain(registry, watcher)
	end)

	it("name the pid for each of many ids [W19n]", function()
		local store = helper.open()
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			local registry = vigia.registry(store)
			for n = 1, 1300 do assert(registry:watch("watcher " .. n, print, {auto_start = n <= 1200})) end -- more than the side file names
			say("watching")
			io.read("a")
			registry:run()]], helper.path("store"))
		child:expect("watching")
		local registry = helper.registry(store)
		for n = 1, 300 do
			local err = fails("watcher_owned", registry:watch("watcher " .. n, function() end))
			mentions(err, "pid " .. child.pid)
		end
		child:kill()
		assert(registry:watch("watcher 1", function() end))
	end)

	it("free the id when its watcher stops, and when its process ends [W19c]", function()
		local store = helper.open()
		for _, ending in ipairs{"watcher:stop()", "registry:stop()", "", "store:close()", "os.exit(0)", "error('x')"} do
			local child = helper.child([[
				local store = assert(vigia.open(arg[1]))
				local registry = vigia.registry(store)
				local watcher = assert(registry:watch("a", function() end))
				say("watching")
				assert(load(arg[2], "ending", "t", {store = store, registry = registry, watcher = watcher, os = os, error = error}))()]],
				helper.path("store"), ending)
			child:expect("watching")
			child:wait()
			local registry = vigia.registry(store)
			assert(registry:watch("a", function() end), ending)
			assert(registry:stop())
		end
	end)
end)

describe("several threads on one file", function()
	after_each(helper.clean)

	local ok, luv = pcall(require, "luv")

	it("give all appends one order, each thread with a Lua state and a handle of its own [S13e]", function()
		if not ok then return pending("lua-luv is not installed") end
		local store = helper.open(nil, {durability = "none"})
		local threads = {}
		for n = 1, 4 do
			threads[n] = luv.new_thread(function(path, cpath, file, name, count)
				package.path, package.cpath = path, cpath
				local module = require "vigia"
				local own <close> = assert(module.open(file))
				for i = 1, count do assert(own:store_event("CREATE", name, i)) end
			end, package.path, package.cpath, helper.path("store"), "thread " .. n, 200)
		end
		for n = 1, 4 do luv.thread_join(threads[n]) end
		local events = assert(store:get_events{timeout = 0}).events
		assert.equal(800, #events)
		local last = {}
		for index, event in ipairs(events) do
			assert.equal(index, event.seq_num)
			assert.equal((last[event.object_type] or 0) + 1, event.object)
			last[event.object_type] = event.object
		end
	end)

	it("are all woken by one append [S7b]", function()
		if not ok then return pending("lua-luv is not installed") end
		local store = helper.open()
		local threads = {}
		for n = 1, 4 do
			threads[n] = luv.new_thread(function(path, cpath, file, id)
				package.path, package.cpath = path, cpath
				local module = require "vigia"
				local own <close> = assert(module.open(file))
				local answer = assert(own:get_events{event_iterator = module.at_sequence_number(1), timeout = 60})
				assert(own:store_checkpoint(id, answer.events[1].seq_num + answer.events[1].object))
			end, package.path, package.cpath, helper.path("store"), "thread " .. n)
		end
		assert(store:store_event("CREATE", "Job", 41))
		for n = 1, 4 do luv.thread_join(threads[n]) end
		for n = 1, 4 do assert.equal(42, assert(store:get_checkpoint("thread " .. n))) end
	end)

	it("share one sync when they append at the same time [D1c]", function()
		if not ok then return pending("lua-luv is not installed") end
		if not helper.shell("command -v strace"):find("strace") then return pending("strace is not installed") end
		local trace = helper.path("trace")
		helper.run_lua("strace -f -qq -e trace=fdatasync,fsync,msync -o " .. helper.quoted(trace), [[
			local luv = require "luv"
			local store = assert(vigia.open(arg[1]))
			local threads = {}
			for n = 1, 16 do
				threads[n] = luv.new_thread(function(path, cpath, file)
					package.path, package.cpath = path, cpath
					local own <close> = assert(require "vigia".open(file))
					for i = 1, 50 do assert(own:store_event("CREATE", "Job", i)) end
				end, package.path, package.cpath, arg[1])
			end
			for n = 1, 16 do luv.thread_join(threads[n]) end
			assert(store:get_latest_event_num() == 800)]], helper.path("store"))
		local file = io.open(trace)
		local syncs = 0
		for line in (file and file:read("a") or ""):gmatch("[^\n]+") do
			if line:find("sync%(") then syncs = syncs + 1 end
		end
		if file then file:close() end
		if syncs == 0 then return pending("strace may not trace here") end
		assert.equal(800, assert(helper.open():get_latest_event_num()))
		assert(syncs < 800 / 2, syncs .. " syncs for 800 appends of 16 threads")
	end)
end)
