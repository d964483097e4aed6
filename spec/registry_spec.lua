-- registry_spec.lua - a registry: how an application drives its watchers, stops them together, and hears what happened.

local helper = require "spec.helper"
local vigia = require "vigia"

local drain, drive, fails, fill, mentions = helper.drain, helper.drive, helper.fails, helper.fill, helper.mentions
local raises, range, recorder = helper.raises, helper.range, helper.recorder

local function installed(name)
	local ok, module = pcall(require, name)
	return ok and module
end

-- Is the descriptor readable now?
local function readable(fd)
	local luv = installed("luv")
	local result = false
	local poll = luv.new_poll(fd)
	poll:start("r", function(err) result = not err end)
	luv.run("nowait")
	poll:close()
	luv.run("nowait")
	return result
end

describe("a registry", function()
	local store

	before_each(function() store = helper.memory() end)
	after_each(helper.clean)

	---- driving ----

	it("runs its watchers until none is running any more [H1a]", function()
		fill(store, 20)
		local registry = helper.registry(store)
		local seen = {}
		for _, id in ipairs{"a", "b", "c"} do
			assert(registry:watch(id, function(event, ctx)
				seen[#seen + 1] = id
				if event.seq_num == 20 then ctx.watcher:stop() end
			end))
		end
		assert.is_true(assert(registry:run()))
		assert.equal(60, #seen)
		for _, id in ipairs{"a", "b", "c"} do assert.equal("stopped", assert(registry:get_watcher(id)):stats().state) end
	end)

	it("returns from run at once when nothing is running [H1b]", function()
		local registry = helper.registry(store)
		assert.is_true(assert(registry:run()))
		assert(registry:watch("a", function() end, {auto_start = false}))
		assert.is_true(assert(registry:run()))
	end)

	it("runs what a handler starts, and returns when a handler stopped all [H1c]", function()
		fill(store, 1)
		local registry = helper.registry(store)
		local last
		assert(registry:watch("a", function(_, ctx)
			assert(registry:watch("b", function(_, inner)
				last = "b"
				inner.watcher:stop()
			end))
			ctx.watcher:stop()
		end))
		assert.is_true(assert(registry:run()))
		assert.equal("b", last)
	end)

	it("runs on while it waits for events and retries [H1d]", function()
		fill(store, 1)
		local registry = helper.registry(store)
		local attempts = 0
		assert(registry:watch("fails", function(_, ctx)
			attempts = ctx.attempt
			if attempts < 5 then error("again") end
			assert(store:store_event("CREATE", "Done", nil))
			ctx.watcher:stop()
		end, {initial_backoff = 0.001}))
		assert(registry:watch("waits", function(_, ctx) ctx.watcher:stop() end, {filter = {object_types = {"Done"}}}))
		assert.is_true(assert(registry:run()))
		assert.equal(5, attempts)
	end)

	it("does what is due in one step, and says whether it did anything [H1e]", function()
		local registry = helper.registry(store)
		assert.is_false(registry:step())
		local handler, seen = recorder()
		local watcher = assert(registry:watch("a", handler))
		drain(registry, watcher)
		repeat until registry:step() == false
		assert.is_false(registry:step(0))
		assert.is_false(registry:step(0.001))
		fill(store, 3)
		local worked = false
		for _ = 1, 10 do worked = registry:step() or worked end
		assert.is_true(worked)
		assert.same(range(1, 3), seen)
	end)

	it("waits in step for an event, not for the whole timeout [H1f]", function()
		local registry = helper.registry(store)
		local handler, seen = recorder()
		assert(registry:watch("a", handler))
		assert(registry:watch("late", function() end))
		repeat until registry:step() == false
		fill(store, 1)
		for _ = 1, 10 do
			if #seen > 0 then break end
			assert.is_true(registry:step(60))
		end
		assert.same({1}, seen)
	end)

	it("does not wait in step for more than is due [H1g]", function()
		fill(store, 1)
		local registry = helper.registry(store)
		local woken
		assert(registry:watch("a", function()
			assert(vigia.sleep(0.001))
			woken = true
		end))
		local begin = helper.now()
		for _ = 1, 20 do
			if woken or helper.now() - begin >= 30 then break end
			registry:step(60)
		end
		assert.is_true(woken)
		assert(helper.now() - begin < 30)
	end)

	it("has a descriptor that is readable while there is work for step [H1h]", function()
		if not installed("luv") then return pending("lua-luv is not installed") end
		local registry = helper.registry(store)
		local handler, seen = recorder()
		assert(registry:watch("a", handler))
		local fd = assert(registry:pollfd())
		assert.equal("integer", math.type(fd))
		assert.equal(fd, assert(registry:pollfd()))
		for round = 1, 3 do
			repeat until registry:step() == false
			fill(store, 1)
			local deadline = helper.now() + 60
			while not readable(fd) do assert(helper.now() < deadline, "the descriptor never became readable") end
			for try = 1, 1000 do
				registry:step()
				if not readable(fd) then break end
				assert(try < 1000, "it stays readable without work")
			end
			assert.equal(round, #seen)
		end
	end)

	it("fits the loop of another library [H1i]", function()
		local luv = installed("luv")
		if not luv then return pending("lua-luv is not installed") end
		fill(store, 3)
		local registry = helper.registry(store)
		local seen = {}
		local poll = luv.new_poll(assert(registry:pollfd()))
		local timer = luv.new_timer()
		timer:start(60000, 0, function() luv.stop() end)
		assert(registry:watch("a", function(event)
			seen[#seen + 1] = event.seq_num
			assert(vigia.sleep(0.001)) -- time passes, and makes work too
			if event.seq_num < 10 then assert(store:store_event("CREATE", "Job", nil)) end
			if event.seq_num == 10 then luv.stop() end
		end, {filter = {object_types = {"Job"}}}))
		poll:start("r", function() registry:step() end)
		luv.run()
		poll:close()
		timer:close()
		luv.run("nowait")
		assert.same(range(1, 10), table.move(seen, 1, 10, 1, {}))
	end)

	it("runs a handler in the Lua state that made it, on its thread [H1j]", function()
		fill(store, 1)
		local registry = helper.registry(store)
		local upvalue, environment = {}, nil
		local watcher = assert(registry:watch("a", function()
			upvalue.seen = true
			environment = _G
			assert(coroutine.isyieldable())
		end))
		drain(registry, watcher)
		assert.is_true(upvalue.seen)
		assert.equal(_G, environment)
	end)

	it("survives what a handler should not do: step and run inside it, yield by hand, a closed store [H1k]", function()
		fill(store, 1)
		local registry = helper.registry(store)
		local inside = {}
		local watcher = assert(registry:watch("a", function()
			inside[1] = table.pack(pcall(registry.step, registry))
			inside[2] = table.pack(pcall(registry.run, registry))
			return true
		end))
		drain(registry, watcher)
		assert.equal(2, #inside)
		for _, result in ipairs(inside) do
			assert(result[1] == false or result[2] == nil and result[3].code == "invalid_state", "refused with a clear error")
		end
		assert(registry:watch("yields", function() coroutine.yield("by hand") end, {initial_backoff = 0.001}))
		for _ = 1, 10 do assert(registry:step() ~= nil) end
		store:close()
		for _ = 1, 10 do registry:step() end
	end)

	it("runs two registries side by side [H1l]", function()
		fill(store, 5)
		local one, two = helper.registry(store), helper.registry(store)
		local handler_one, seen_one = recorder()
		local handler_two, seen_two = recorder()
		local a, b = assert(one:watch("a", handler_one)), assert(two:watch("b", handler_two))
		drain(one, a)
		drain(two, b)
		assert.same(range(1, 5), seen_one)
		assert.same(range(1, 5), seen_two)
		fails("watcher_not_found", one:get_watcher("b"))
	end)

	---- stopping ----

	for _, kind in ipairs{"vigia.Store", "a store in Lua"} do
		describe("over " .. kind, function()
			before_each(function()
				if kind ~= "vigia.Store" then store = helper.wrapped() end
			end)

			it("stops all watchers, lets their handlers finish, and saves their progress [W16a]", function()
				fill(store, 2)
				local registry = helper.registry(store)
				local finished = {}
				for _, id in ipairs{"a", "b", "c"} do
					assert(registry:watch(id, function(event)
						vigia.sleep(3600)
						finished[#finished + 1] = id .. event.seq_num
					end))
				end
				assert(registry:watch("idle", function() end, {auto_start = false}))
				for _ = 1, 10 do registry:step() end
				assert.same({}, finished)
				assert.is_true(assert(registry:stop()))
				table.sort(finished)
				assert.same({"a1", "b1", "c1"}, finished)
				for _, id in ipairs{"a", "b", "c"} do
					assert.equal("stopped", assert(registry:get_watcher(id)):stats().state)
					assert.equal(1, assert(store:get_checkpoint(id)))
				end
			end)

			it("stops them at the same time: each one's handler may wait for the others to be stopping [W16b]", function()
				fill(store, 1)
				local registry = helper.registry(store)
				local stopping, order = 0, {}
				for _, id in ipairs{"a", "b", "c"} do
					assert(registry:watch(id, function()
						local _, err = vigia.sleep(3600)
						assert.equal("stopping", err.code)
						stopping = stopping + 1
						for _, other in ipairs{"a", "b", "c"} do
							order[#order + 1] = assert(registry:get_watcher(other)):stats().state
						end
					end))
				end
				for _ = 1, 10 do registry:step() end
				assert.is_true(assert(registry:stop()))
				assert.equal(3, stopping)
				for _, state in ipairs(order) do assert(state == "stopping" or state == "stopped", state) end
			end)

			it("is idempotent, and watchers can be started again afterwards [W16c]", function()
				fill(store, 2)
				local registry = helper.registry(store)
				local handler, seen = recorder()
				local watcher = assert(registry:watch("a", handler))
				drain(registry, watcher)
				for _ = 1, 3 do assert.is_true(assert(registry:stop())) end
				fill(store, 1)
				assert(watcher:start())
				drain(registry, watcher)
				assert(registry:watch("b", handler))
				assert.same({1, 2, 3}, seen)
				assert.is_true(assert(helper.registry(store):stop{timeout = 0}))
			end)

			it("stops those, too, that handlers watch while it stops [W16k]", function()
				fill(store, 2)
				local registry = helper.registry(store)
				local seen = {}
				assert(registry:watch("a", function()
					local ok, err = vigia.sleep(3600)
					assert(not ok and err.code == "stopping")
					assert(registry:watch("late", function(event) seen[#seen + 1] = event.seq_num end))
				end))
				registry:step(0)
				assert.is_true(registry:stop{timeout = 10})
				assert.equal("stopped", registry:get_watcher("late"):stats().state)
				assert.same({}, seen)
			end)

			it("says which did not stop in time [W16d]", function()
				fill(store, 1)
				local registry = helper.registry(store)
				local sleeping, ok, err
				assert(registry:watch("quick", function() end))
				local sleeper = assert(registry:watch("sleeper", function()
					sleeping = true
					vigia.sleep(3600)
					ok, err = registry:stop{timeout = 0.001} -- the busy one waits for this very handler, and cannot stop before
				end))
				local busy = assert(registry:watch("the busy one", function()
					if sleeping then sleeper:stop() else error("not yet") end
				end, {initial_backoff = 0.001}))
				drive(registry, function() return busy:stats().state == "stopped" and sleeper:stats().state == "stopped" end)
				assert.is_nil(ok)
				mentions(err, "the busy one")
				for _, other in ipairs{"quick", "sleeper"} do assert.is_nil(tostring(err):find(other, 1, true)) end
			end)
		end)
	end

	it("names as many as there is room for, and counts the others [W16f]", function()
		fill(store, 1)
		local registry = helper.registry(store)
		local watchers, err = {}, nil
		-- Each stops the next, and waits for it; the last one stops all, who wait for it.
		for n = 1, 20 do
			watchers[n] = assert(registry:watch(("%03d"):format(n) .. ("x"):rep(100), function()
				vigia.sleep(3600)
				if watchers[n + 1] then watchers[n + 1]:stop() else err = select(2, registry:stop{timeout = 0.001}) end
			end))
		end
		registry:step()
		assert.is_true(registry:stop())
		mentions(err, "19 watchers did not stop in time", "'001" .. ("x"):rep(100) .. "', '002")
		local named = select(2, tostring(err):gsub("x'", ""))
		assert(named >= 5, named)
		mentions(err, (" and %d more"):format(19 - named))
	end)

	for _, kind in ipairs{"vigia.Store", "a store in Lua"} do
		local function watched()
			local registry = helper.registry(kind == "vigia.Store" and store or helper.wrapped())
			return registry, assert(registry:watch("a", function() end))
		end

		it("waits 30 s, unless it is told another time: " .. kind .. " [W16g]", function()
			local rows = require "vigia.core".options "stop"
			assert.same({1, "timeout", 30.0, "seconds"}, {#rows, rows[1].name, rows[1].default, rows[1].unit})
			-- What the table says is what is taken: a handler that needs a moment, for a commit, is waited for.
			local file = helper.open()
			local over = kind == "vigia.Store" and file or require "vigia.wrapper".new(file)
			assert(over:store_event("CREATE", "Job", 0))
			for n, options in ipairs{{}, {{}}, {{timeout = math.huge}}} do
				for _, stops in ipairs{"registry", "watcher"} do
					local registry, finished = helper.registry(over), false
					local watcher = assert(registry:watch(stops .. n, function(_, ctx)
						vigia.sleep(3600)
						for m = 1, 3 do assert(ctx.store:store_event("CREATE", "Note", m)) end
						finished = true
					end, {ephemeral = true}))
					registry:step()
					assert.is_true((stops == "registry" and registry or watcher):stop(table.unpack(options)))
					assert.is_true(finished)
				end
			end
		end)

		it("names all that is wrong with the options of a stop: " .. kind .. " [W18c]", function()
			local registry, watcher = watched()
			for _, object in ipairs{registry, watcher} do
				mentions(raises(object.stop, object, {timeout = -1, time_out = 1, [1] = true}), "timeout", "0", "time_out", "1")
				for _, timeout in ipairs{-1, 0 / 0, "1", false} do mentions(raises(object.stop, object, {timeout = timeout}), "timeout") end
				mentions(raises(object.stop, object, 5), "options", "number")
			end
			assert.equal("running", watcher:stats().state)
		end)
	end

	it("names all that is wrong with its own options [W18d]", function()
		mentions(raises(vigia.registry, store, {log = 5, clock = os.clock, clocks = 1}), "log is a number", "clock is a function", "clocks")
	end)

	---- what it hears ----

	it("writes to its log, one record a call, and without one nowhere if it is false [W21a]", function()
		local child = helper.child([[
			local store = assert(vigia.open(":memory:"))
			assert(store:store_event("CREATE", "Job", nil))
			local records = 0
			for round = 1, 2 do
				local registry = vigia.registry(store, round == 2 and {log = function(level, message)
					assert(({debug = 1, info = 1, warn = 1, error = 1})[level] and type(message) == "string" and not message:find("\n"))
					records = records + 1
				end} or {log = false})
				local watcher = assert(registry:watch("a", function() error("x") end, {initial_backoff = 0.001, retry_strategy = "skip",
					initial_event_iterator = vigia.at_sequence_number(1), ephemeral = true}))
				while watcher:stats().lag > 0 do registry:step(1) end
				assert(registry:watch("b", print, {initial_event_iterator = vigia.at_sequence_number(100)}))
				assert(registry:stop())
			end
			say(records > 0)]])
		assert.same({"true"}, child:wait())
	end)

	it("is not harmed by a log function that fails [W21b]", function()
		fill(store, 2)
		local registry = helper.registry(store, {log = function() error("the log is full") end})
		local watcher = assert(registry:watch("a", function(_, ctx)
			if ctx.attempt == 1 then error("x") end
		end, {initial_backoff = 0.001}))
		assert(registry:watch("b", function() end, {initial_event_iterator = vigia.at_sequence_number(100)}))
		drain(registry, watcher)
		assert.equal(2, watcher:stats().processed)
	end)

	-- What a failing event's log function does, given the registry and the watcher; returns what was handled.
	local function handled_with_log(action, count)
		fill(store, 4)
		local registry, watcher
		local seen, results = {}, {}
		registry = helper.registry(store, {log = function(_, message)
			if message:find("event failed", 1, true) then results[#results + 1] = table.pack(action(registry, watcher)) end
		end})
		watcher = assert(registry:watch("a", function(event)
			seen[#seen + 1] = event.seq_num
			if #seen == 2 or #seen == 3 then error("x") end
		end, {initial_backoff = 0.001}))
		drive(registry, function() return #seen == count or watcher:stats().state == "stopped" end)
		return seen, results, registry, watcher
	end

	it("lets a log function stop, move and save the watcher it tells of [W17j W21f]", function()
		local seen, results, _, watcher = handled_with_log(function(_, w) return w:stop{timeout = 0} end)
		assert.same({1, 2}, seen)
		assert.is_true(results[1][1])
		assert.equal("stopped", watcher:stats().state)
		assert.equal(1, store:get_checkpoint("a"))
		store:delete_checkpoint("a")
		store:trim(4)
		seen = handled_with_log(function(_, w) return w:seek_to_offset(7) end, 4)
		assert.same({5, 6, 8, 8}, seen)
	end)

	it("lets a log function watch and stop others, but not drive or free the registry that calls it [W21g]", function()
		local n = 0
		local _, results, registry = handled_with_log(function(r)
			n = n + 1
			assert(r:watch("other" .. n, function() end))
			local freed = pcall(function() local _ <close> = r end)
			local ok, err = r:step(0)
			local ran, why = r:run()
			return freed, ok, err, ran, why
		end, 6)
		assert.equal(2, #results)
		for _, result in ipairs(results) do
			assert.is_false(result[1])
			fails("invalid_state", result[2], result[3])
			fails("invalid_state", result[4], result[5])
		end
		assert.is_true(registry:stop())
		assert.equal("stopped", registry:get_watcher("other2"):stats().state)
	end)

	it("takes an id once, also when its log function watches it while it is being watched [W1j]", function()
		local registry, inner
		registry = helper.registry(store, {log = function()
			if inner == nil then inner = table.pack(registry:watch("a", function() end)) end
		end})
		local outer = table.pack(registry:watch("a", function() end,
			{ephemeral = true, initial_event_iterator = vigia.at_sequence_number(100)}))
		assert(inner[1])
		fails("watcher_already_exists", outer[1], outer[2])
		assert.equal(inner[1], registry:get_watcher("a"))
	end)

	---- the wrong way ----

	it("refuses wrong options and what is no store [R1g]", function()
		mentions(raises(vigia.registry, store, {log = "stderr"}), "log")
		mentions(raises(vigia.registry, store, {logger = print}), "logger", "log")
		for _, other in ipairs{5, "x", {}, io.stdout} do raises(vigia.registry, other) end
	end)

	it("returns store_closed when its store is closed [S11k]", function()
		fill(store, 1)
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("a", function() end))
		store:close()
		fails("store_closed", registry:watch("b", function() end))
		fails("store_closed", watcher:checkpoint(1))
		fails("store_closed", watcher:seek_to_offset(1))
		assert.equal("a", watcher:stats().id)
		assert.is_string(tostring(registry) .. tostring(watcher))
		for _ = 1, 5 do registry:step() end
		registry:stop{timeout = 10}
		assert.equal("stopped", watcher:stats().state)
		fails("store_closed", vigia.registry(store))
	end)

	it("its watchers are collected when nobody holds them any more, handlers with upvalues too [S11l and]", function()
		local marks = setmetatable({}, {__mode = "k"})
		do
			local own = assert(vigia.open(":memory:"))
			fill(own, 1)
			local registry = vigia.registry(own)
			local mark = {}
			marks[mark] = true
			local watcher
			watcher = assert(registry:watch("a", function()
				mark.used = {registry, watcher, own}
				vigia.sleep(3600)
			end, {on_error = function() mark.used = registry end}))
			for _ = 1, 5 do registry:step() end
			assert(mark.used)
		end
		for _ = 1, 3 do collectgarbage() end
		assert.is_nil(next(marks))
	end)
end)

describe("a registry over a file", function()
	after_each(helper.clean)

	it("wakes in step as soon as another process stores an event [H1m]", function()
		local store = helper.open()
		local registry = helper.registry(store)
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			for n = 1, 59, 2 do
				local answer = assert(store:get_events{event_iterator = vigia.at_sequence_number(n), timeout = 60, limit = 1})
				assert(answer.events[1].seq_num == n)
				assert(store:store_event("CREATE", "Answer", n))
			end
			say "done"]], helper.path("store"))
		local seen, slow, asked = 0, 0, nil -- slow: returns that came as late as by a look once a second
		assert(registry:watch("a", function(event, ctx)
			seen = event.seq_num
			if helper.now() - asked > 0.75 then slow = slow + 1 end
			asked = helper.now()
			if seen < 60 then assert(ctx.store:store_event("CREATE", "Question", seen)) end
		end, {filter = {object_types = {"Answer"}}}))
		asked = helper.now()
		assert(store:store_event("CREATE", "Question", 0))
		drive(registry, function() return seen == 60 end)
		child:expect "done"
		assert(slow < 15, ("%d of thirty answers were found by looking once a second"):format(slow))
	end)

	it("runs an id only once in a process, whatever registry and handle asks [W19a]", function()
		local one, two = helper.open(), helper.open()
		local first, second = helper.registry(one), helper.registry(two)
		local watcher = assert(first:watch("a", function() end))
		local err = fails("watcher_owned", second:watch("a", function() end))
		assert.equal("a", err.watcher_id)
		assert.is_true(watcher:stop())
		assert(second:watch("a", function() end))
		fails("watcher_owned", watcher:start())
	end)

	it("hears at once of a type that only a watcher wants which was added while it waited [H1m]", function()
		local store = helper.open()
		local registry = helper.registry(store)
		local late = {} -- seconds, of each
		assert(registry:watch("first", function() end, {filter = {object_types = {"Other"}}}))
		for _ = 1, 5 do registry:step(0.01) end
		for n = 1, 5 do
			local type = "Late" .. n
			local seen
			assert(registry:watch(type, function() seen = helper.now() end, {filter = {object_types = {type}}}))
			for _ = 1, 3 do registry:step(0.01) end
			local child = helper.child([[
				local store = assert(vigia.open(arg[1]))
				say "ready"
				vigia.sleep(0.1)
				assert(store:store_event("CREATE", arg[2], nil))
				say(("%.3f"):format(require("spec.helper").now()))]], helper.path("store"), type)
			child:expect "ready"
			drive(registry, function() return seen ~= nil end)
			late[n] = seen - tonumber((child:line()))
		end
		-- By looking once a second each would be about 0.9 s late; on a busy machine some are, too.
		table.sort(late)
		assert(late[3] < 0.5, ("three of five events were heard of %.1f s late or more"):format(late[3]))
	end)

	it("owns its id again after a stop and a start [W19a]", function()
		local first, second = helper.registry(helper.open()), helper.registry(helper.open())
		local watcher = assert(first:watch("a", function() end))
		for _ = 1, 2 do
			assert.is_true(watcher:stop())
			assert.is_true(watcher:start())
			fails("watcher_owned", second:watch("a", function() end))
		end
	end)

	it("leaves nothing behind of a registry that was dropped while its handlers were in progress [W16e]", function()
		local store = helper.open()
		fill(store, 1)
		for _ = 1, 3 do
			local registry = vigia.registry(store)
			assert(registry:watch("a", function() vigia.sleep(3600) end))
			for _ = 1, 5 do registry:step() end
			if pcall(require, "luv") then assert(registry:pollfd()) end
			registry = nil -- luacheck: ignore
			collectgarbage()
			collectgarbage()
		end
		assert.is_nil((store:get_checkpoint("a")))
	end)
end)
