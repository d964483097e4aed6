-- hidden_commit_spec.lua - a process killed between its commit and its telling of it: what it stored is found within a second.
--
-- LMDB's readers go by a number in the lock file that a writer sets after it wrote the meta page. A writer that dies between the two leaves
-- a commit that no reader sees until the next writer takes the lock. Killed while it appends in a loop, one dies there now and then.

local helper = require "helper"
local vigia = require "vigia"

local APPENDER = [[
local store = assert(vigia.open(..., {collect = false}))
say("ready")
while true do assert(store:store_event("CREATE", "Job", nil)) end
]]

describe("a killed appender", function()
	after_each(helper.clean)

	-- Kill an appender somewhere in its loop.
	local function kill_one()
		local child = helper.child(APPENDER, helper.path("store"))
		child:expect("ready")
		assert(vigia.sleep(0.02))
		child:kill()
	end

	it("leaves no event that a waiter does not find within a second [S6]", function()
		local store = helper.open()
		local position = vigia.after_sequence_number(0)
		for round = 1, 8 do
			kill_one()
			repeat
				local answer = assert(store:get_events {event_iterator = position, timeout = 0})
				position = answer.next_event_iterator
			until #answer.events == 0
			-- A round in which nothing was hidden waits in vain: not too long.
			local found = #assert(store:get_events {event_iterator = position, timeout = 1.5}).events
			local number = assert(store:store_event("CREATE", "Mine", nil))
			assert.equal(position.seq_num + found + 1, number, "round " .. round .. ": an event stayed hidden")
		end
		helper.covered("crashes", "%d kills of appenders", 8)
	end)

	it("leaves no event that the last number does not count [S9]", function()
		local store = helper.open()
		for round = 1, 12 do
			kill_one()
			local latest = store:get_latest_event_num()
			assert.equal(latest + 1, store:store_event("CREATE", "Mine", nil), "round " .. round)
		end
		helper.covered("crashes", "%d kills of appenders", 12)
	end)
end)

-- Handles one event a commit.
local WATCHER <const> = [[
local store = assert(vigia.open(..., {collect = false}))
local registry = vigia.registry(store)
registry:watch("effects", function(event, ctx)
	assert(ctx.tx:put("times", event.seq_num, (ctx.tx:get("times", event.seq_num) or 0) + 1))
end, {transactional = true, batch_size = 1})
say("ready")
assert(registry:run())
]]

describe("a killed transactional watcher", function()
	after_each(helper.clean)

	-- Nobody writes between two lives. Killed in a commit, the next life must not begin where that commit began.
	it("handles no event twice, although no reader sees its last commit [X4]", function()
		local store = helper.open()
		local count = 3000
		helper.fill(store, count)
		for _ = 1, 15 do
			local child = helper.child(WATCHER, helper.path("store"))
			child:expect("ready")
			assert(vigia.sleep(math.random() / 50))
			child:kill()
		end
		local rows = assert(store:range("times"))
		assert(#rows > 0)
		for n, row in ipairs(rows) do assert.same({n, 1}, {row.key, row.value}) end
		helper.covered("crashes", "%d kills of transactional watchers", 15)
	end)
end)
