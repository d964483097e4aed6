-- store_contract_interval.lua - the part of the suite for backends that is about durability "interval": appends that wait for a commit.
--
-- An interval of an hour never ends here: what is committed then is committed for another reason.

local assert = require "luassert"
local busted = require "busted"
local helper = require "spec.helper"

local after_each, describe, it = busted.after_each, busted.describe, busted.it
local fails, fill, range, read = helper.fails, helper.fill, helper.range, helper.read

return function(name, open)
	describe("durability interval in the store " .. name, function()
		after_each(helper.clean)

		local function open_queue(options)
			options = options or {}
			options.durability, options.commit_interval = "interval", options.commit_interval or 3600
			return open(options)
		end

		local function objects(store)
			local list = {}
			for i, event in ipairs(assert(store:get_events{timeout = 0}).events) do
				assert.equal(i, event.seq_num)
				list[i] = event.object
			end
			return list
		end

		it("returns true and no number; sync commits, and returns the last number [D2a]", function()
			local store = open_queue()
			assert.same({true}, {store:store_event("CREATE", "Job", 1)})
			assert.same({true}, {store:store_events{{"CREATE", "Job", 2}, {"CREATE", "Job", 3}}})
			assert.equal(0, store:get_latest_event_num())
			assert.equal(3, store:stats().queued_events)
			assert.equal(3, assert(store:sync()))
			assert.same({1, 2, 3}, objects(store))
			assert.equal(0, store:stats().queued_events)
			assert.equal(3, assert(store:sync()))
		end)

		it("commits by itself when the interval is over, and wakes who waits [D2b]", function()
			local store = open_queue{commit_interval = 0.05}
			for n = 1, 3 do
				assert.is_true(store:store_event("CREATE", "Job", n))
				local answer = assert(store:get_events{event_iterator = require "vigia".at_sequence_number(n), timeout = 60})
				assert.equal(n, answer.events[1].object)
			end
		end)

		it("gives a number at once to an append under conditions, behind all that was queued before [D2c]", function()
			local store = open_queue()
			fill(store, 3)
			assert.same({4}, {store:store_event("CREATE", "Job", "four", {key = "k"})})
			assert.is_true(store:store_event("CREATE", "Job", "five"))
			assert.same({6}, {store:store_event("CREATE", "Job", "six", {if_last = 5})})
			assert.is_true(store:store_event("CREATE", "Job", "seven"))
			fails("sequence_conflict", store:store_event("CREATE", "Job", "eight", {if_last = 6}))
			assert.same({4, true}, {store:store_event("CREATE", "Job", "four", {key = "k"})})
			assert.equal("seven", store:get_event(7).object)
			assert.equal(7, store:get_latest_event_num())
		end)

		it("makes room by a commit when the queue is full [D2d]", function()
			local store = open_queue{commit_queue_bytes = 1000}
			for n = 1, 200 do
				assert.is_true(store:store_event("CREATE", "Job", n))
				assert(store:stats().queued_events <= 1000 // 20)
			end
			assert(store:get_latest_event_num() >= 150)
			assert.is_true(store:store_event("CREATE", "Job", ("x"):rep(5000))) -- larger than all of the queue
			assert.equal(201, assert(store:sync()))
			assert.equal(200, objects(store)[200])
		end)

		it("keeps the order of all appends when the level changes in between [D2e]", function()
			local store = open_queue()
			assert.is_true(store:store_event("CREATE", "Job", 1))
			assert(store:configure{durability = "commit"})
			assert.equal(2, assert(store:store_event("CREATE", "Job", 2)))
			assert(store:configure{durability = "interval"})
			assert.is_true(store:store_event("CREATE", "Job", 3))
			assert.equal(3, assert(store:sync()))
			assert.same({1, 2, 3}, objects(store))
		end)

		it("refuses at once what cannot be stored, and queues nothing of it [D2f]", function()
			local store = open_queue{max_event_size = 100}
			fails("event_too_large", store:store_event("CREATE", "Job", ("x"):rep(200)))
			fails("serialization_error", store:store_events{{"CREATE", "Job", 1}, {"CREATE", "Job", print}})
			assert.equal(0, store:stats().queued_events)
			-- What was accepted stays so, whatever becomes of the setting.
			assert.is_true(store:store_event("CREATE", "Job", ("x"):rep(70)))
			assert(store:configure{max_event_size = 64})
			assert.equal(1, assert(store:sync()))
		end)

		it("serves coroutines and handlers [D2g]", function()
			local store = open_queue{commit_interval = 0.01}
			local registry = helper.registry(store)
			local handle, seen = helper.recorder()
			for n = 1, 20 do
				registry:spawn(function()
					for _ = 1, 10 do assert.is_true(store:store_event("CREATE", "Job", n)) end
				end)
			end
			assert(registry:watch("w", handle))
			helper.drive(registry, function() return #seen == 200 end)
			assert.same(range(1, 200), seen)
		end)

		it("loses nothing at close [D2h]", function()
			local store = open_queue()
			local lasts = store:stats().capabilities.persist
			fill(store, 10)
			assert.is_true(store:close())
			if not lasts then return end
			store = open(nil, "again")
			assert.same(range(1, 10), (read(store)))
			assert.equal("interval", store:stats().durability)
		end)
	end)
end
