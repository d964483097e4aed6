-- store_contract_once.lua - the part of the suite for backends that is about conditions of an append: if_last, and keys that store once.

local assert = require "luassert"
local busted = require "busted"
local helper = require "spec.helper"

local after_each, before_each, describe, it = busted.after_each, busted.before_each, busted.describe, busted.it
local fails, fill, mentions, raises, range, read = helper.fails, helper.fill, helper.mentions, helper.raises, helper.range, helper.read

return function(name, open)
	describe("appends under conditions to the store " .. name, function()
		local store

		before_each(function() store = open() end)
		after_each(helper.clean)

		it("stores with if_last only behind that number, and names both numbers otherwise [S21a]", function()
			assert.equal(1, assert(store:store_event("CREATE", "Job", 1, {if_last = 0})))
			assert.equal(2, assert(store:store_event("CREATE", "Job", 2, {if_last = 1})))
			mentions(fails("sequence_conflict", store:store_event("CREATE", "Job", 3, {if_last = 1})), "is 2", "not 1")
			mentions(fails("sequence_conflict", store:store_event("CREATE", "Job", 3, {if_last = 7})), "is 2", "not 7")
			assert.same({3, 4}, {assert(store:store_events({{"CREATE", "Job", 3}, {"CREATE", "Job", 4}}, {if_last = 2}))})
			fails("sequence_conflict", store:store_events({{"CREATE", "Job", 5}, {"CREATE", "Job", 6}}, {if_last = 3}))
			assert.same(range(1, 4), (read(store)))
		end)

		it("counts removed events in if_last [S21b]", function()
			fill(store, 3)
			assert(store:trim(3))
			fails("sequence_conflict", store:store_event("CREATE", "Job", 4, {if_last = 0}))
			assert.equal(4, assert(store:store_event("CREATE", "Job", 4, {if_last = 3})))
		end)

		it("lets one of many that expect the same number through, and fails no other caller with them [S21c]", function()
			local registry = helper.registry(store)
			local stored, conflicts, others = 0, 0, 0
			for n = 1, 20 do
				registry:spawn(function()
					local number, err = store:store_event("CREATE", "Job", n, {if_last = 0})
					if number then
						stored = stored + 1
					else
						assert.equal("sequence_conflict", err.code)
						conflicts = conflicts + 1
					end
				end)
			end
			for _ = 1, 20 do
				registry:spawn(function()
					assert(store:store_event("CREATE", "Other", nil))
					others = others + 1
				end)
			end
			assert(registry:run())
			assert.same({1, 19, 20}, {stored, conflicts, others})
			assert.same(range(1, 21), (read(store)))
		end)

		it("stores an event once under its key and returns the first one's number [S21d]", function()
			fill(store, 2)
			local first = {store:store_event("CREATE", "Job", "mine", {key = "k-1"})}
			assert.same({3}, first)
			fill(store, 2)
			for _ = 1, 3 do assert.same({3, true}, {store:store_event("CREATE", "Job", "mine", {key = "k-1"})}) end
			assert.same({6}, {store:store_event("CREATE", "Job", "other", {key = "k-2"})})
			assert.same({3, true}, {store:store_event("UPDATE", "Job", "another event", {key = "k-1"})})
			assert.same(range(1, 6), (read(store)))
			assert.equal("mine", store:get_event(3).object)
		end)

		it("takes keys of any bytes, a key for a list as a whole, and a known key before if_last [S21e]", function()
			local key = "\0k\xff" .. ("x"):rep(252)
			assert.same({1}, {store:store_event("CREATE", "Job", 1, {key = key})})
			assert.same({1, true}, {store:store_event("CREATE", "Job", 1, {key = key})})
			local list = {{"CREATE", "Job", 2}, {"CREATE", "Job", 3}, {"CREATE", "Job", 4}}
			assert.same({2, 4}, {store:store_events(list, {key = "list", if_last = 1})})
			assert.same({2, 4, true}, {store:store_events(list, {key = "list", if_last = 1})})
			assert.same({1, true}, {store:store_event("CREATE", "Job", 1, {key = key, if_last = 0})})
			fails("sequence_conflict", store:store_event("CREATE", "Job", 5, {key = "new", if_last = 0}))
			assert.same({5}, {store:store_event("CREATE", "Job", 5, {key = "new"})})
			assert.same(range(1, 5), (read(store)))
		end)

		it("knows a key for as long as its event, the last of its list, is kept [S21f]", function()
			local list = {{"CREATE", "Job", 2}, {"CREATE", "Job", 3}}
			assert(store:store_event("CREATE", "Job", 1, {key = "one"}))
			assert(store:store_events(list, {key = "list"}))
			fill(store, 1)
			assert(store:trim(2))
			assert.same({2, 3, true}, {store:store_events(list, {key = "list"})})
			assert.same({5}, {store:store_event("CREATE", "Job", 1, {key = "one"})})
			assert(store:trim(3))
			assert.same({6, 7}, {store:store_events(list, {key = "list"})})
			assert(store:trim(7))
			assert.same({8}, {store:store_event("CREATE", "Job", 1, {key = "one"})})
		end)

		it("stores once what many coroutines send under one key at the same time [S21g]", function()
			local registry = helper.registry(store)
			local numbers, there = {}, 0
			for n = 1, 50 do
				registry:spawn(function()
					local number, existed = store:store_event("CREATE", "Job", n, {key = "same"})
					numbers[#numbers + 1] = assert(number)
					there = there + (existed and 1 or 0)
				end)
			end
			assert(registry:run())
			assert.equal(50, #numbers)
			for _, number in ipairs(numbers) do assert.equal(1, number) end
			assert.equal(49, there)
			assert.same({1}, (read(store)))
		end)

		it("raises for conditions that are none, all in one error, and stores nothing [S21h]", function()
			mentions(raises(store.store_event, store, "CREATE", "Job", 1, {key = 7, if_last = -1, iflast = 2}),
				"key is a number", "if_last is -1", "unknown option 'iflast' (did you mean if_last?)")
			mentions(raises(store.store_event, store, "CREATE", "Job", 1, {key = ""}), "key: must not be empty")
			mentions(raises(store.store_events, store, {{"CREATE", "Job", 1}}, {key = ("x"):rep(256)}), "key: must have at most 255 bytes, has 256")
			mentions(raises(store.store_event, store, "CREATE", "Job", 1, "k"), "options: table expected, got string")
			assert.equal(0, store:get_latest_event_num())
		end)
	end)
end
