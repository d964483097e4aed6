-- set_signal_spec.lua - vigia.signal: waits of handlers and tasks that other code of the Lua state ends.

local cqueues = require "cqueues"
local helper = require "spec.helper"
local luv = require "luv"
local testing = require "vigia.testing"
local vigia = require "vigia"

local fails, fill = helper.fails, helper.fill

describe("vigia.signal", function()
	local store, clock, registry

	before_each(function()
		store = helper.memory()
		clock = testing.clock()
		registry = helper.registry(store, {clock = clock})
	end)
	after_each(function()
		store, registry = nil, nil
		helper.clean()
	end)

	-- Drive until nothing is due.
	local function settle()
		repeat until registry:step(60) == false
	end

	-- What waits and what they got, in the order in which they went on.
	local function waits(signal, count, timeout)
		local got = {}
		for n = 1, count do
			assert(registry:spawn(function()
				local answer, err = signal:wait(timeout)
				got[#got + 1] = {n, answer, err}
			end))
		end
		settle()
		return got
	end

	it("wakes every handler and task that waits, with the value [K2]", function()
		local signal, value = vigia.signal(), {"any value"}
		local got = waits(signal, 3)
		for _, id in ipairs{"a", "b"} do
			assert(registry:watch(id, function()
				local answer, err = signal:wait()
				got[#got + 1] = {id, answer, err}
			end))
		end
		fill(store, 1)
		settle()
		assert.same({}, got)
		assert.is_true(signal:set(value))
		assert.same({}, got) -- they go on in their registry's rounds
		settle()
		assert.equal(5, #got)
		local seen = {}
		for _, one in ipairs(got) do
			assert.equal(value, one[2])
			assert.is_nil(one[3])
			seen[one[1]] = true
		end
		assert.same({true, true, true, a = true, b = true}, seen)
	end)

	it("keeps one value while nothing waits, the last one, and a wait takes it [K2]", function()
		local signal = vigia.signal()
		assert.is_false(signal:set("first"))
		assert.is_false(signal:set("second"))
		assert.same({{1, "second"}}, waits(signal, 1))
		local got = waits(signal, 1)
		assert.same({}, got)
		assert.is_true(signal:set(nil))
		assert.is_false(signal:set("kept")) -- that wait has its value
		settle()
		assert.same({{1}}, got)
		assert.same({{1, "kept"}}, waits(signal, 1))
	end)

	it("keeps nil and false as values [K2]", function()
		local signal = vigia.signal()
		for _, value in ipairs{false, "nil"} do
			if value == "nil" then value = nil end
			signal:set(value)
			local got = table.pack(signal:wait(0))
			assert.same({n = 1, value}, got)
		end
		fails("timeout", signal:wait(0))
	end)

	it("ends a wait at its timeout, on the registry's clock [K2]", function()
		local signal, got = vigia.signal(), {}
		registry:spawn(function() got = table.pack(signal:wait(2)) end)
		settle()
		clock:advance(1.999)
		settle()
		assert.same({}, got)
		clock:advance(0.001)
		settle()
		fails("timeout", got[1], got[2])
		assert.is_false(signal:set("late")) -- it waits no more
	end)

	it("ends a wait when its watcher or registry stops [K2]", function()
		local signal, got = vigia.signal(), {}
		local watcher = assert(registry:watch("w", function()
			got.handler = table.pack(signal:wait())
			got.again = table.pack(signal:wait())
		end))
		registry:spawn(function() got.task = table.pack(signal:wait()) end)
		fill(store, 1)
		settle()
		assert.is_true(watcher:stop())
		fails("stopping", got.handler[1], got.handler[2])
		fails("stopping", got.again[1], got.again[2])
		assert.is_nil(got.task)
		assert(registry:stop())
		fails("stopping", got.task[1], got.task[2])
		assert.is_false(signal:set(1))
	end)

	it("gives a value that came before the stop [K2]", function()
		local signal, got = vigia.signal(), nil
		local watcher = assert(registry:watch("w", function() got = table.pack(signal:wait()) end))
		fill(store, 1)
		settle()
		signal:set("in time")
		assert.is_true(watcher:stop())
		assert.same({n = 1, "in time"}, got)
	end)

	it("takes no coroutine that was closed for a wait [K2]", function()
		local signal, co = vigia.signal(), nil
		local failures = {}
		assert(registry:watch("w", function()
			co = coroutine.running()
			return signal:wait()
		end, {on_error = function(err) failures[#failures + 1] = err end, retry_strategy = "skip", max_retries = 1}))
		fill(store, 1)
		settle()
		assert.is_true(coroutine.close(co))
		assert.is_false(signal:set("kept"))
		helper.drive(registry, function() return failures[1] end)
		assert.matches("other code closed", tostring(failures[1]))
		assert.equal("kept", signal:wait(0))
	end)

	it("outlives what waits for it [K2]", function()
		local signal = vigia.signal()
		waits(signal, 3)
		registry:close()
		registry = nil
		assert.is_false(signal:set("kept"))
		collectgarbage()
		collectgarbage()
		assert.equal("kept", signal:wait(0))
	end)

	it("goes on in a wait when other code resumes the coroutine [K2]", function()
		local signal, co, got = vigia.signal(), nil, nil
		registry:spawn(function()
			co = coroutine.running()
			got = signal:wait()
		end)
		settle()
		assert.same({true, false, "cannot resume non-suspended coroutine"}, {coroutine.resume(co)})
		assert.is_true(signal:set("the value"))
		settle()
		assert.equal("the value", got)
	end)

	it("makes the descriptor of the registry readable [K2]", function()
		local own = helper.registry(store)
		local fd = assert(own:pollfd())
		local function readable(seconds)
			local object = {pollfd = fd, events = "r"}
			return cqueues.poll(object, seconds) == object
		end
		local signal, got = vigia.signal(), nil
		own:spawn(function() got = signal:wait() end)
		repeat assert(own:step() ~= nil) until not readable(0)
		assert.is_true(signal:set("rings"))
		assert.is_true(readable(5))
		assert(own:step() ~= nil)
		assert.equal("rings", got)
	end)

	it("is set by the callback of another loop [K2]", function()
		local own = helper.registry(store)
		local signal, got = vigia.signal(), nil
		assert(own:watch("w", function(_, ctx)
			local timer <const> = luv.new_timer()
			timer:start(20, 0, function()
				timer:close()
				signal:set("from luv")
			end)
			got = assert(signal:wait(10))
			ctx.watcher:stop()
		end))
		fill(store, 1)
		local poll = luv.new_poll(assert(own:pollfd()))
		poll:start("r", function()
			while own:step() do end -- luacheck: ignore
			if got then poll:close() end
		end)
		luv.run()
		assert.equal("from luv", got)
	end)

	it("blocks elsewhere, until the time or what a hook sets [K2]", function()
		local signal = vigia.signal()
		fails("timeout", signal:wait(0.01))
		signal:set(1)
		assert.equal(1, signal:wait())
		local inner = coroutine.create(function() return signal:wait(0.01) end) -- another coroutine than a handler's own
		fails("timeout", select(2, assert(coroutine.resume(inner))))
	end)

	it("refuses wrong arguments [K2]", function()
		local signal = vigia.signal()
		helper.raises("number of seconds", signal.wait, signal, "soon")
		helper.raises("vigia.Signal", signal.wait, {})
		helper.raises("vigia.Signal", signal.set, nil, 1)
	end)

	it("works in scripts, on threads and isolated [K2]", function()
		local path = helper.write_file("waits.lua", [[
			local vigia = require "vigia"
			local signal = vigia.signal()
			return function(event, ctx)
				signal:set(event.seq_num)
				local kept = signal:wait()
				local value, err = signal:wait(0.01)
				assert(ctx.store:store_event("CREATE", "Answer", {kept, tostring(value), err.code}))
				if event.seq_num == 2 then
					local _, problem = signal:wait()
					assert(ctx.store:store_event("CREATE", "Answer", {problem.code}))
				end
			end
		]])
		for _, options in ipairs{{}, {isolation = "process", worker_program = helper.program()}} do
			if options.isolation and not options.worker_program then break end
			local events = helper.open(helper.path((options.isolation or "thread") .. ".db"))
			local runs, logged = helper.logging_registry(events)
			options.filter = {object_types = {"Job"}}
			local watcher = assert(runs:watch("w", path, options))
			fill(events, 2)
			helper.eventually(function() return #helper.objects(events, "Answer") == 2 end)
			assert(watcher:stop())
			assert.same({{1, "nil", "timeout"}, {2, "nil", "timeout"}, {"stopping"}}, helper.objects(events, "Answer"))
			assert.same({}, logged)
		end
	end)
end)
