-- iterator_spec.lua - iterators are values: equal by value, printable, unchangeable. Where they start: store_contract.lua.

local helper = require "spec.helper"
local vigia = require "vigia"

local raises = helper.raises

describe("an iterator", function()
	after_each(helper.clean)

	it("is of one of four kinds, with a number for two of them [S3e]", function()
		local function parts(iterator) return {iterator.kind, iterator.seq_num} end
		assert.same({"trim_horizon", 0}, parts(vigia.trim_horizon()))
		assert.same({"latest", 0}, parts(vigia.latest()))
		assert.same({"at_sequence_number", 5}, parts(vigia.at_sequence_number(5)))
		assert.same({"after_sequence_number", 0}, parts(vigia.after_sequence_number(0)))
		assert.equal("integer", math.type(vigia.after_sequence_number(5).seq_num))
		assert.equal(math.maxinteger, vigia.at_sequence_number(math.maxinteger).seq_num)
	end)

	it("is equal to another of the same kind and number, and to nothing else [S3f]", function()
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

	it("says what it is [S3g]", function()
		assert.equal("after_sequence_number(5)", tostring(vigia.after_sequence_number(5)))
		assert.equal("at_sequence_number(9223372036854775807)", tostring(vigia.at_sequence_number(math.maxinteger)))
		assert.equal("trim_horizon", tostring(vigia.trim_horizon()))
		assert.equal("latest", tostring(vigia.latest()))
	end)

	it("cannot be changed [S3h]", function()
		local iterator = vigia.after_sequence_number(5)
		raises(function() iterator.seq_num = 6 end)
		raises(function() iterator.kind = "latest" end)
		raises(function() iterator.other = 1 end)
		assert.equal("after_sequence_number(5)", tostring(iterator))
	end)

	it("is made only of numbers that an event can have [S3i]", function()
		for _, make in ipairs{vigia.at_sequence_number, vigia.after_sequence_number} do
			for _, n in ipairs{-1, math.mininteger, 1.5, 0 / 0, math.huge, "x", {}, true} do raises(make, n) end
			raises(make)
			raises(make, nil)
		end
	end)

	it("keeps its own answer apart from the one it was made from [S3j]", function()
		local store = helper.memory()
		helper.fill(store, 3)
		local from = vigia.after_sequence_number(1)
		local answer = assert(store:get_events{event_iterator = from, timeout = 0})
		assert.equal(1, from.seq_num)
		assert.equal(3, answer.next_event_iterator.seq_num)
	end)
end)
