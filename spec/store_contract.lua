-- store_contract.lua - the one suite that every backend of a store passes: numbers, appends, checkpoints, the end; and all of
-- store_contract_reads.lua, conditions of an append in store_contract_once.lua, durability "interval" in store_contract_interval.lua.
--
-- require "spec.store_contract"(name, open): open(options) makes a new store for the test, open(options, "again") the same one
-- after a close. A backend leaves out only what its capability flags (store:stats().capabilities) say it cannot do, and says so aloud; its
-- own spec states which flags those are, and which specs: the answer is a list, filled when the suite is read, of what may be left out.

local assert = require "luassert"
local busted = require "busted"
local helper = require "spec.helper"
local vigia = require "vigia"

local after_each, before_each, describe, it = busted.after_each, busted.before_each, busted.describe, busted.it
local fails, fill, raises, range, read = helper.fails, helper.fill, helper.raises, helper.range, helper.read
local after = vigia.after_sequence_number

return function(name, open)
	local optional = {} -- ids
	describe("the store " .. name, function()
		local store

		-- A spec about something that not every backend can. Only these three are left to backends.
		local function it_if(capability, description, body)
			assert(capability == "persist" or capability == "share" or capability == "damage")
			optional[#optional + 1] = description:match("%[(%w+)[^%]]*%]$")
			it(description, function()
				if store:stats().capabilities[capability] then return body() end
				helper.pending("a store " .. name .. " cannot " .. capability)
			end)
		end

		before_each(function() store = open() end)
		after_each(helper.clean)

		---- numbers and times ----

		it("gives each event its number, operation, type, object and time [E1]", function()
			local before = os.time()
			assert(store:store_event("CREATE", "Job", {id = "j-1"}))
			local event = assert(store:get_event(1))
			local fields = {}
			for field in pairs(event) do fields[#fields + 1] = field end
			table.sort(fields)
			assert.same({"object", "object_type", "operation", "seq_num", "timestamp"}, fields)
			assert.equal(1, event.seq_num)
			assert.equal("integer", math.type(event.seq_num))
			assert.equal("CREATE", event.operation)
			assert.equal("Job", event.object_type)
			assert.same({id = "j-1"}, event.object)
			assert.equal("integer", math.type(event.timestamp))
			assert(event.timestamp // 1000000000 >= before - 1, "the time is nanoseconds since the epoch")
			assert(event.timestamp // 1000000000 <= os.time() + 1, "the time is nanoseconds since the epoch")
		end)

		it("returns the same event from get_event and from get_events [E1]", function()
			fill(store, 3)
			local events = assert(store:get_events{timeout = 0}).events
			for n = 1, 3 do assert.same(assert(store:get_event(n)), events[n]) end
		end)

		it("numbers events consecutively from 1, single ones and batches alike [E2a]", function()
			assert.equal(1, assert(store:store_event("CREATE", "Job", 1)))
			assert.same({2, 4}, {assert(store:store_events{{"CREATE", "Job", 2}, {"CREATE", "Job", 3}, {"CREATE", "Job", 4}})})
			assert.equal(5, assert(store:store_event("CREATE", "Job", 5)))
			assert.same(range(1, 5), (read(store)))
		end)

		it("gives no number away to an event that was refused [E2b]", function()
			assert.equal(1, assert(store:store_event("CREATE", "Job", 1)))
			fails("serialization_error", store:store_event("CREATE", "Job", print))
			assert.equal(2, assert(store:store_event("CREATE", "Job", 2)))
		end)

		it("reuses no number after everything was removed [E2c]", function()
			fill(store, 5)
			assert.equal(5, assert(store:trim(5)))
			assert.equal(6, assert(store:store_event("CREATE", "Job", 6)))
			assert.same({6}, (read(store)))
		end)

		it_if("persist", "goes on counting after a reopen, also when everything was removed [E2d]", function()
			fill(store, 5)
			store:close()
			store = open(nil, "again")
			assert.equal(6, assert(store:store_event("CREATE", "Job", 6)))
			assert(store:trim(6))
			store:close()
			store = open(nil, "again")
			assert.equal(7, assert(store:store_event("CREATE", "Job", 7)))
		end)

		it("never lets a timestamp go backwards, and an event may repeat the one before [E3]", function()
			for _ = 1, 50 do
				assert(store:store_event("CREATE", "Job", nil))
				fill(store, 3)
			end
			local last = 0
			for _, event in ipairs(assert(store:get_events{timeout = 0}).events) do
				assert(event.timestamp >= last)
				last = event.timestamp
			end
		end)

		---- appending ----

		it("returns the number of the event, which can be read at once [S1a]", function()
			for n = 1, 3 do
				local seq_num = assert(store:store_event("UPDATE", "Node", {n = n}))
				assert.equal(n, seq_num)
				assert.same({n = n}, assert(store:get_event(seq_num)).object)
			end
		end)

		it("stores a copy: changing the object afterwards changes nothing [S1b]", function()
			local object = {list = {1, 2}}
			assert(store:store_event("CREATE", "Job", object))
			object.list[1], object.more = 99, true
			assert.same({list = {1, 2}}, assert(store:get_event(1)).object)
			assert(store:get_event(1)).object.list[1] = 77
			assert.same({list = {1, 2}}, assert(store:get_event(1)).object)
		end)

		it("stores a batch under consecutive numbers, tables and triples alike [S14a]", function()
			assert(store:store_event("CREATE", "Job", 0))
			assert.same({2, 3}, {assert(store:store_events{
				{operation = "UPDATE", object_type = "Job", object = {a = 1}},
				{"DELETE", "Node", "gone"},
			})})
			local two, three = assert(store:get_event(2)), assert(store:get_event(3))
			assert.same({"UPDATE", "Job", {a = 1}}, {two.operation, two.object_type, two.object})
			assert.same({"DELETE", "Node", "gone"}, {three.operation, three.object_type, three.object})
		end)

		it("stores nothing of a batch with one bad event, whatever is bad about it [S14b]", function()
			local good = {"CREATE", "Job", 1}
			fails("serialization_error", store:store_events{good, good, {"CREATE", "Job", print}, good})
			fails("invalid_argument", store:store_events{good, good, {"", "Job", 1}, good})
			fails("invalid_argument", store:store_events{good, good, {"CREATE", "J\xff", 1}, good})
			fails("event_too_large", store:store_events{good, good, {"CREATE", "Job", ("x"):rep(2000000)}, good})
			raises(store.store_events, store, {good, good, {}, good})
			raises(store.store_events, store, {good, good, 3, good})
			assert.equal(0, assert(store:get_latest_event_num()))
			assert.same({}, (read(store)))
			assert.equal(1, assert(store:store_event("CREATE", "Job", "after")))
		end)

		it("says which event of a batch is bad [S14c]", function()
			local good = {"CREATE", "Job", 1}
			local err = fails("serialization_error", store:store_events{good, good, {"CREATE", "Job", {call = print}}})
			helper.mentions(err, "3", "object.call")
		end)

		it("returns true for an empty list, which has no numbers [S14d]", function()
			local first, last = store:store_events{}
			assert.is_true(first)
			assert.is_nil(last)
			assert.equal(0, assert(store:get_latest_event_num()))
		end)

		it("takes a batch of ten thousand [S14e]", function()
			assert.same({1, 10000}, {1, fill(store, 10000)})
			assert.equal(10000, assert(store:get_latest_event_num()))
			assert.same({n = 10000}, assert(store:get_event(10000)).object)
		end)

		---- the last and the oldest ----

		it("returns the last number ever assigned, 0 in a new store [S9a]", function()
			assert.equal(0, assert(store:get_latest_event_num()))
			fill(store, 3)
			assert.equal(3, assert(store:get_latest_event_num()))
			assert(store:trim(3))
			assert.equal(3, assert(store:get_latest_event_num()))
			assert.equal("integer", math.type(store:get_latest_event_num()))
		end)

		it_if("persist", "knows the last number after a reopen, also when everything was removed [S9b]", function()
			fill(store, 3)
			store:close()
			store = open(nil, "again")
			assert.equal(3, assert(store:get_latest_event_num()))
			assert(store:trim(3))
			store:close()
			store = open(nil, "again")
			assert.equal(3, assert(store:get_latest_event_num()))
			assert.equal(0, assert(store:get_oldest_event_num()))
			assert.equal(after(3), select(2, read(store, {event_iterator = vigia.latest()})))
		end)

		---- checkpoints ----

		it("keeps a number for each watcher id, forward and back [S10a]", function()
			fails("checkpoint_not_found", store:get_checkpoint("a"))
			assert.is_true(assert(store:store_checkpoint("a", 5)))
			assert.is_true(assert(store:store_checkpoint("b", 7)))
			assert.equal(5, assert(store:get_checkpoint("a")))
			assert.is_true(assert(store:store_checkpoint("a", 3)))
			assert.equal(3, assert(store:get_checkpoint("a")))
			assert.equal(7, assert(store:get_checkpoint("b")))
			assert.is_true(assert(store:store_checkpoint("a", 0)))
			assert.equal(0, assert(store:get_checkpoint("a")))
			assert.equal("integer", math.type(store:get_checkpoint("a")))
		end)

		it("names the watcher whose checkpoint is not there [S10b]", function()
			local err = fails("checkpoint_not_found", store:get_checkpoint("nobody"))
			assert.equal("nobody", err.watcher_id)
			helper.mentions(err, "nobody")
		end)

		it("takes ids of 1 to 255 bytes, any but NUL [S10c]", function()
			local ids = {"a", ("x"):rep(255), "näme", "with space", "\xff\xfe", "a/b", "events", "%s"}
			for n, id in ipairs(ids) do assert(store:store_checkpoint(id, n)) end
			for n, id in ipairs(ids) do assert.equal(n, assert(store:get_checkpoint(id))) end
		end)

		it("refuses an empty id, one of 256 bytes, one with a NUL, and keeps nothing [S10d]", function()
			for _, id in ipairs{"", ("x"):rep(256), "a\0b", "a\0"} do
				fails("invalid_argument", store:store_checkpoint(id, 1))
				fails("invalid_argument", store:get_checkpoint(id))
				fails("invalid_argument", store:delete_checkpoint(id))
			end
			assert.same({}, assert(store:checkpoints()))
		end)

		it("refuses a checkpoint that is no number of an event [S10e]", function()
			for _, n in ipairs{-1, math.mininteger, 1.5, "1", true, {}} do
				raises(store.store_checkpoint, store, "a", n)
			end
			raises(store.store_checkpoint, store, "a")
			raises(store.store_checkpoint, store)
			assert.same({}, assert(store:checkpoints()))
		end)

		it("deletes a checkpoint, and says if there was none [S10f]", function()
			assert(store:store_checkpoint("a", 5))
			assert.is_true(assert(store:delete_checkpoint("a")))
			fails("checkpoint_not_found", store:get_checkpoint("a"))
			fails("checkpoint_not_found", store:delete_checkpoint("a"))
		end)

		it("lists more checkpoints than fit into a first buffer [S10i]", function()
			local expected = {}
			for n = 1, 300 do
				local id = ("watcher %d "):format(n) .. ("x"):rep(n % 200)
				expected[id] = n
				assert(store:store_checkpoint(id, n))
			end
			assert.same(expected, store:checkpoints())
		end)

		it("lists all checkpoints [S10g]", function()
			assert.same({}, assert(store:checkpoints()))
			local expected = {}
			for n = 1, 300 do
				expected["watcher " .. n] = n
				assert(store:store_checkpoint("watcher " .. n, n))
			end
			assert.same(expected, assert(store:checkpoints()))
		end)

		it_if("persist", "keeps checkpoints over a reopen [S10h]", function()
			assert(store:store_checkpoint("a", 5))
			assert(store:store_checkpoint("b", 6))
			assert(store:delete_checkpoint("b"))
			store:close()
			store = open(nil, "again")
			assert.same({a = 5}, assert(store:checkpoints()))
		end)

		---- the end ----

		it("closes twice without harm [S11a]", function()
			assert.is_true(store:close())
			assert.is_true(store:close())
		end)

		it("returns store_closed to every call on a closed store [S11b]", function()
			fill(store, 3)
			store:close()
			fails("store_closed", store:store_event("CREATE", "Job", 1))
			fails("store_closed", store:store_events{{"CREATE", "Job", 1}})
			fails("store_closed", store:get_events{timeout = 0})
			fails("store_closed", store:get_events{timeout = 60})
			fails("store_closed", store:get_event(1))
			fails("store_closed", store:get_latest_event_num())
			fails("store_closed", store:get_oldest_event_num())
			fails("store_closed", store:find_time(0))
			fails("store_closed", store:trim(1))
			fails("store_closed", store:store_checkpoint("a", 1))
			fails("store_closed", store:get_checkpoint("a"))
			fails("store_closed", store:delete_checkpoint("a"))
			fails("store_closed", store:checkpoints())
			fails("store_closed", store:stats())
			assert.is_string(tostring(store))
		end)

		it("wakes a call that waits, which returns no event and its position [S11c S6n]", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local answer
			assert(registry:watch("waits", function()
				answer = table.pack(store:get_events{event_iterator = after(7), timeout = 60})
			end, {ephemeral = true}))
			assert(registry:watch("closes", function() store:close() end, {ephemeral = true}))
			helper.drive(registry, function() return answer end)
			assert.same({}, assert(answer[1], answer[2]).events)
			assert.equal(after(7), answer[1].next_event_iterator)
		end)

		it("closes itself at the end of a <close> variable [S11d]", function()
			local kept
			do
				local closing <close> = open()
				assert(closing:get_latest_event_num())
				kept = closing
			end
			fails("store_closed", kept:get_latest_event_num())
		end)

		it("closes itself at the end of a <close> variable when an error passes through [S11e]", function()
			local kept
			raises(function()
				local closing <close> = open()
				kept = closing
				error("on the way")
			end)
			fails("store_closed", kept:get_latest_event_num())
		end)

		it("lives on for events and iterators that were read from it [S11f]", function()
			fill(store, 1)
			local answer = assert(store:get_events{timeout = 0})
			store:close()
			collectgarbage()
			assert.same({n = 1}, answer.events[1].object)
			assert.equal("after_sequence_number(1)", tostring(answer.next_event_iterator))
		end)

		---- more ways to read, and removing ----

		it("returns one event by its number [S20a]", function()
			fill(store, 3)
			assert.same({n = 2}, assert(store:get_event(2)).object)
			fails("event_not_found", store:get_event(4))
			fails("event_not_found", store:get_event(0))
			fails("event_not_found", store:get_event(math.maxinteger))
			for _, n in ipairs{-1, 1.5, "1", {}} do raises(store.get_event, store, n) end
			raises(store.get_event, store)
		end)

		it("tells an event that was removed from one that never was [S20b]", function()
			fill(store, 3)
			assert(store:trim(2))
			assert.equal(2, fails("sequence_expired", store:get_event(2)).seq_num)
			assert.equal(3, assert(store:get_event(3)).seq_num)
			assert.equal(4, fails("event_not_found", store:get_event(4)).seq_num)
			assert(store:trim(3))
			fails("sequence_expired", store:get_event(3))
			fails("event_not_found", store:get_event(4))
		end)

		it("returns the oldest number, 0 if there is no event [S20c]", function()
			assert.equal(0, assert(store:get_oldest_event_num()))
			fill(store, 5)
			assert.equal(1, assert(store:get_oldest_event_num()))
			assert(store:trim(3))
			assert.equal(4, assert(store:get_oldest_event_num()))
			assert(store:trim(5))
			assert.equal(0, assert(store:get_oldest_event_num()))
			fill(store, 1)
			assert.equal(6, assert(store:get_oldest_event_num()))
		end)

		it("finds the first event at or after a time [S20d]", function()
			for _ = 1, 20 do assert(store:store_event("CREATE", "Job", nil)) end
			local first_at, times = {}, {}
			for _, event in ipairs(assert(store:get_events{timeout = 0}).events) do
				if not first_at[event.timestamp] then
					first_at[event.timestamp] = event.seq_num
					times[#times + 1] = event.timestamp
				end
			end
			for index, time in ipairs(times) do
				assert.equal(first_at[time], assert(store:find_time(time)))
				assert.equal(first_at[times[index + 1]], (store:find_time(time + 1)), "the next time, or nil behind the last")
			end
			assert.equal(1, assert(store:find_time(0)))
			assert.equal(1, assert(store:find_time(-5)))
		end)

		it("returns nil and no error when no event is so young [S20e]", function()
			for _ = 1, 2 do
				local number, err = store:find_time(math.maxinteger)
				assert.is_nil(number)
				assert.is_nil(err)
				fill(store, 3)
			end
			assert(store:trim(2))
			assert.equal(3, assert(store:find_time(0)))
		end)

		it("finds the first of several events with one time [S20f]", function()
			fill(store, 3)
			fill(store, 500)
			local event = assert(store:get_event(503))
			local found = assert(store:find_time(event.timestamp))
			assert(found >= 1 and assert(store:get_event(found)).timestamp == event.timestamp)
			assert(found == 1 or assert(store:get_event(found - 1)).timestamp < event.timestamp)
		end)

		it("removes up to and including a number, and says how many went [S20g]", function()
			fill(store, 10)
			assert.equal(4, assert(store:trim(4)))
			assert.same(range(5, 10), (read(store)))
			assert.equal(0, assert(store:trim(4)))
			assert.equal(0, assert(store:trim(0)))
			assert.equal(6, assert(store:trim(10)))
			assert.same({}, (read(store)))
			assert.equal(0, assert(store:trim(10)))
		end)

		it("refuses to remove beyond the last event, and removes nothing [S20h]", function()
			fill(store, 3)
			fails("position_out_of_range", store:trim(4))
			for _, n in ipairs{-1, 1.5, "3"} do raises(store.trim, store, n) end
			raises(store.trim, store)
			assert.same(range(1, 3), (read(store)))
		end)

		it("removes many at once [S20i]", function()
			fill(store, 5000)
			assert.equal(4999, assert(store:trim(4999)))
			assert.same({5000}, (read(store)))
		end)

		---- about the store ----

		it("describes itself in stats", function()
			fill(store, 5)
			assert(store:trim(2))
			local stats = assert(store:stats())
			assert.equal(3, stats.events)
			assert.equal(3, stats.oldest_event_num)
			assert.equal(5, stats.latest_event_num)
			assert.equal(5, stats.last_appended_event_num)
			assert.equal(1048576, stats.max_event_size)
			assert.equal("commit", stats.durability)
		end)
	end)

	require "spec.store_contract_reads"(name, open)
	require "spec.store_contract_once"(name, open)
	require "spec.store_contract_interval"(name, open)
	return optional
end
