-- iterator_spec.lua - iterators are values: equal by value, printable, unchangeable. Where they start: store_contract.lua.

local helper = require "spec.helper"
local vigia = require "vigia"

local raises = helper.raises

describe("an iterator", function()
	after_each(helper.clean)

	it("S3e is of one of four kinds, with a number for two of them", function()
		local function parts(iterator) return {iterator.kind, iterator.seq_num} end
		assert.same({"trim_horizon", 0}, parts(vigia.trim_horizon()))
		assert.same({"latest", 0}, parts(vigia.latest()))
		assert.same({"at_sequence_number", 5}, parts(vigia.at_sequence_number(5)))
		assert.same({"after_sequence_number", 0}, parts(vigia.after_sequence_number(0)))
		assert.equal("integer", math.type(vigia.after_sequence_number(5).seq_num))
		assert.equal(math.maxinteger, vigia.at_sequence_number(math.maxinteger).seq_num)
	end)

	it("S3f is equal to another of the same kind and number, and to nothing else", function()
		assert(vigia.trim_horizon() == vigia.trim_horizon())
		assert(vigia.latest() == vigia.latest())
		assert(vigia.at_sequence_number(5) == vigia.at_sequence_number(5))
		assert(vigia.after_sequence_number(5) == vigia.after_sequence_number(5))
		assert(vigia.after_sequence_number(5) ~= vigia.after_sequence_number(6))
		assert(vigia.after_sequence_number(5) ~= vigia.at_sequence_number(5))
		assert(vigia.trim_horizon() ~= vigia.latest())
		assert(vigia.trim_horizon() ~= vigia.after_sequence_number(0))
		for _, other in ipairs{5, "latest", {}, io.stdout} do assert(vigia.latest() ~= other) end
		assert(vigia.latest() ~= nil)
	end)

	it("S3g says what it is", function()
		assert.equal("after_sequence_number(5)", tostring(vigia.after_sequence_number(5)))
		assert.equal("at_sequence_number(9223372036854775807)", tostring(vigia.at_sequence_number(math.maxinteger)))
		assert.equal("trim_horizon", tostring(vigia.trim_horizon()))
		assert.equal("latest", tostring(vigia.latest()))
	end)

	it("S3h cannot be changed", function()
		local iterator = vigia.after_sequence_number(5)
		raises(function() iterator.seq_num = 6 end)
		raises(function() iterator.kind = "latest" end)
		raises(function() iterator.other = 1 end)
		assert.equal("after_sequence_number(5)", tostring(iterator))
	end)

	it("S3i is made only of numbers that an event can have", function()
		for _, make in ipairs{vigia.at_sequence_number, vigia.after_sequence_number} do
			for _, n in ipairs{-1, math.mininteger, 1.5, 0 / 0, math.huge, "x", {}, true} do raises(make, n) end
			raises(make)
			raises(make, nil)
		end
	end)

	it("S3j keeps its own answer apart from the one it was made from", function()
		local store = helper.memory()
		helper.fill(store, 3)
		local from = vigia.after_sequence_number(1)
		local answer = assert(store:get_events{event_iterator = from, timeout = 0})
		assert.equal(1, from.seq_num)
		assert.equal(3, answer.next_event_iterator.seq_num)
	end)
end)
