-- clock_spec.lua - a registry on a clock that is moved by hand: backoff, sleeps, long polls and intervals, exact to the nanosecond.

local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local after = vigia.after_sequence_number

describe("a registry on a manual clock", function()
	local store, clock, registry

	before_each(function()
		store, clock = testing.store(), testing.clock()
		registry = helper.registry(store, {clock = clock})
	end)
	after_each(function()
		store, registry = nil, nil -- so that a file can be let go
		helper.clean()
	end)

	-- Drive until nothing is due.
	local function settle()
		repeat until assert(registry:run()) and registry:step(60) == false
	end

	-- Nothing happens a nanosecond before `seconds`; then what is due.
	local function advance_exactly(seconds, count)
		local before = count()
		clock:advance(seconds - 1e-9)
		assert.is_false(registry:step(60), "nothing is due a nanosecond before " .. seconds .. " s")
		assert.equal(before, count())
		clock:advance(1e-9)
		settle()
		assert.equal(before + 1, count(), "after " .. seconds .. " s")
	end

	it("starts at 0 and moves only when told to", function()
		assert.equal(0, clock:now())
		assert.equal(1.5, clock:advance(1.5))
		assert.equal(1.5, clock:now())
		helper.mentions(helper.raises(clock.advance, clock, -1), "seconds")
		helper.mentions(helper.raises(clock.advance, clock, "1"), "seconds")
		clock:advance(math.huge)
		assert(clock:advance(math.huge) > 9e9)
	end)

	it("refuses a clock that is none [W18]", function()
		helper.mentions(helper.raises(vigia.registry, store, {clock = os.clock}), "clock is a function")
		helper.mentions(helper.raises(vigia.registry, store, {clock = store}), "clock is a userdata")
	end)

	it("retries after initial_backoff, doubling up to max_backoff: 200 ms to 3 min, not a nanosecond early [W5]", function()
		helper.fill(store, 1)
		local handler = testing.handler():fail_always("down")
		assert(registry:watch("w", handler.handle))
		settle()
		local function count() return #handler.calls end
		assert.equal(1, count())
		for _, delay in ipairs{0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 180, 180, 180} do advance_exactly(delay, count) end
		for attempt, call in ipairs(handler.calls) do assert.equal(attempt, call.attempt) end
	end)

	it("starts from initial_backoff again for the next event [W5]", function()
		helper.fill(store, 2)
		local handler = testing.handler()
		assert(registry:watch("w", handler.handle, {initial_backoff = 1, max_backoff = 3}))
		handler:fail_next(4)
		settle()
		local function count() return #handler:seq_nums() end
		for _, delay in ipairs{1, 2, 3} do advance_exactly(delay, count) end
		handler:fail_on(2)
		clock:advance(3)
		settle()
		assert.same({1, 1, 1, 1, 1, 2}, handler:seq_nums())
		for _, delay in ipairs{1, 2, 3, 3} do advance_exactly(delay, count) end
	end)

	it("with jitter waits no longer than without [W5]", function()
		helper.fill(store, 1)
		local handler = testing.handler():fail_always()
		assert(registry:watch("w", handler.handle, {initial_backoff = 1, max_backoff = 8, jitter = true}))
		settle()
		for n, delay in ipairs{1, 2, 4, 8, 8, 8} do
			clock:advance(delay)
			settle()
			assert(#handler.calls > n, "a retry within " .. delay .. " s")
		end
	end)

	it("with jitter waits another time for each retry, anywhere within the backoff [W5]", function()
		helper.fill(store, 1)
		local handler, times = testing.handler():fail_always(), {}
		for n = 1, 40 do
			assert(registry:watch("w" .. n, function(...)
				if (...).seq_num == 1 and times[n] == nil then times[n] = false
				elseif times[n] == false then times[n] = clock:now() end
				return handler.handle(...)
			end, {initial_backoff = 1, max_backoff = 1, jitter = true}))
		end
		settle()
		for _ = 1, 20 do
			clock:advance(0.05)
			settle()
		end
		local early, late = 0, 0
		for n = 1, 40 do
			if assert(times[n], "no retry within 1 s") <= 0.5 then early = early + 1 else late = late + 1 end
		end
		assert(early > 0 and late > 0, ("%d early and %d late"):format(early, late)) -- all on one side: once in 5e11 runs
	end)

	it("gives an event up when its last attempt failed, at its time [W6]", function()
		helper.fill(store, 2)
		local handler = testing.handler():fail_on(1)
		local watcher = assert(registry:watch("w", handler.handle, {retry_strategy = "skip", max_retries = 3, initial_backoff = 10}))
		settle()
		clock:advance(10)
		settle()
		assert.same({1, 1}, handler:seq_nums())
		clock:advance(20)
		settle()
		assert.same({1, 1, 1, 2}, handler:seq_nums())
		assert.equal(1, watcher:stats().skipped)
	end)

	it("saves progress after checkpoint_interval when no other commit takes it along, and not before [W10a]", function()
		helper.fill(store, 3)
		local watcher = assert(registry:watch("w", function() end))
		settle()
		assert.is_nil(watcher:stats().checkpoint_iterator)
		clock:advance(1 - 1e-9)
		settle()
		helper.fails("checkpoint_not_found", store:get_checkpoint("w"))
		clock:advance(1e-9)
		settle()
		assert.equal(3, assert(store:get_checkpoint("w")))
	end)

	it("saves for all watchers in one commit, as often as checkpoint_interval says [W10a]", function()
		store = helper.open(nil, {checkpoint_interval = 5})
		registry = helper.registry(store, {clock = clock})
		helper.fill(store, 3)
		for n = 1, 4 do assert(registry:watch("w" .. n, function() end)) end
		settle()
		local commits = assert(store:stats()).commits
		clock:advance(4.999)
		settle()
		assert.equal(commits, assert(store:stats()).commits)
		clock:advance(0.001)
		settle()
		assert.equal(commits + 1, assert(store:stats()).commits)
		assert.same({w1 = 3, w2 = 3, w3 = 3, w4 = 3}, assert(store:checkpoints()))
	end)

	it("saves on stop without any time [W10b]", function()
		helper.fill(store, 3)
		local watcher = assert(registry:watch("w", function() end))
		settle()
		assert.is_true(watcher:stop())
		assert.equal(3, assert(store:get_checkpoint("w")))
		assert.equal(0, clock:now())
	end)

	it("lets vigia.sleep end when the clock gets there, in handlers and tasks [H2]", function()
		helper.fill(store, 1)
		local woken = {}
		assert(registry:watch("w", function()
			assert(vigia.sleep(3600))
			woken[#woken + 1] = "handler"
		end))
		registry:spawn(function()
			assert(vigia.sleep(60))
			woken[#woken + 1] = "task"
		end)
		settle()
		clock:advance(59.9)
		settle()
		assert.same({}, woken)
		clock:advance(0.1)
		settle()
		assert.same({"task"}, woken)
		clock:advance(3540)
		settle()
		assert.same({"task", "handler"}, woken)
	end)

	it("lets a long poll in a task end at its timeout, or when an event comes [S6c]", function()
		helper.fill(store, 1)
		local answers = {}
		for n = 1, 2 do
			registry:spawn(function()
				answers[n] = assert(store:get_events{event_iterator = after(1), timeout = n * 10})
			end)
		end
		settle()
		clock:advance(10)
		settle()
		assert.same({}, answers[1].events)
		assert.is_nil(answers[2])
		helper.fill(store, 1)
		settle()
		assert.equal(2, answers[2].events[1].seq_num)
	end)

	it("stops a handler that sleeps, without moving the clock [W14]", function()
		helper.fill(store, 1)
		local result
		local watcher = assert(registry:watch("w", function() result = table.pack(vigia.sleep(3600)) end))
		settle()
		assert.is_true(watcher:stop{timeout = 60})
		assert.equal("stopping", result[2].code)
	end)

	it("appends of coroutines to a file do not leave the step they are made in", function()
		local file = helper.open()
		registry = helper.registry(file, {clock = clock})
		local number
		registry:spawn(function() number = assert(file:store_event("CREATE", "Job", 1)) end)
		assert.is_true(registry:step())
		assert.equal(1, number)
	end)
end)
