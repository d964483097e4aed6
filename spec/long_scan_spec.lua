-- long_scan_spec.lua - a watcher that wants nothing of a long log: it is left in the middle, and its neighbours have their turns.

local helper = require "helper"
local vigia = require "vigia"

local EVENTS = 1000000

-- None of which is there.
local function values()
	local list = {}
	for n = 1, 100 do list[n] = n end
	return list
end

describe("a watcher in a long scan", function()
	after_each(helper.clean)

	it("is stopped in the middle by a neighbour, whose event did not wait for the end of the scan [W14 W4]", function()
		local store = helper.open(nil, {durability = "none"})
		local batch = {}
		for n = 1, 5000 do batch[n] = {"CREATE", "Noise", nil} end
		assert(store:store_event("CREATE", "Bell", nil))
		for _ = 1, EVENTS, #batch do assert(store:store_events(batch)) end

		local registry = helper.registry(store)
		-- The index knows no objects, so that each event is looked at; many values make looking slow.
		local scanner = assert(registry:watch("scanner", function() error("nothing to handle") end, {filter = {where = {object = values()}}}))
		local reached
		assert(registry:watch("neighbour", function(_, ctx)
			assert.is_true(scanner:stop {timeout = 60})
			reached = scanner:stats().next_event_iterator.seq_num
			ctx.watcher:stop()
		end, {filter = {object_types = {"Bell"}}}))
		assert(registry:run())
		assert.equal("stopped", scanner:stats().state)
		assert.is_true(reached > 0 and reached < EVENTS, "the scan had come to " .. tostring(reached))
		-- What it had looked at is its checkpoint: it need not look again.
		assert.equal(reached, store:get_checkpoint("scanner"))
	end)

	it("goes on to the end over many turns, and its checkpoint moves with it [S8]", function()
		-- So many events that a look sees a fifth at most.
		local filter, batch, count = {where = {object = values()}}, {}, 0
		for n = 1, 5000 do batch[n] = {"CREATE", "Noise", nil} end
		local store = helper.open(nil, {durability = "none", checkpoint_interval = 0.001})
		repeat
			for _ = 1, 20 do count = select(2, assert(store:store_events(batch))) end
			local most = 0 -- one look may be short because the machine is busy
			for _ = 1, 5 do most = math.max(most, select(2, helper.read(store, {filter = filter})).seq_num) end
		until most < count / 5 or count >= 5000000
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("scanner", function() error("nothing to handle") end, {filter = filter}))
		local before, on_the_way = 0, 0
		repeat
			assert(registry:step() ~= nil)
			local checkpoint = store:get_checkpoint("scanner") or 0
			assert.is_true(checkpoint >= before and checkpoint <= watcher:stats().next_event_iterator.seq_num)
			if checkpoint > before and checkpoint < count then on_the_way = on_the_way + 1 end
			before = checkpoint
		until watcher:stats().lag == 0
		assert.is_true(on_the_way > 0, "no checkpoint before the end")
		assert(registry:stop())
		assert.equal(count, store:get_checkpoint("scanner"))
		assert.equal(vigia.after_sequence_number(count), watcher:stats().next_event_iterator)
	end)
end)
