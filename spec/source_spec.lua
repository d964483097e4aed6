-- source_spec.lua - a store written in Lua behind the driver in C: its errors as they are, methods that wait, or stop what calls them.

local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local fails, fill, mentions, raises, range = helper.fails, helper.fill, helper.mentions, helper.raises, helper.range
local after = vigia.after_sequence_number

local METHODS <const> = {"get_events", "get_latest_event_num", "get_oldest_event_num", "store_event", "store_events", "store_checkpoint",
	"get_checkpoint"}

describe("a store in Lua behind the driver", function()
	local inner, store, clock, registry

	-- Over `inner`, but not a wrapper: nothing tells of its events. A function in `before` runs before the method of its name.
	before_each(function()
		inner, clock = helper.memory(), testing.clock()
		store = {before = {}}
		for _, name in ipairs(METHODS) do
			store[name] = function(self, ...)
				local hook = self.before[name]
				if hook then
					local stop, err = hook(...)
					if stop then return nil, err end
				end
				return inner[name](inner, ...)
			end
		end
		registry = helper.registry(store, {clock = clock, log = function() end})
	end)
	after_each(function()
		inner, store, clock, registry = nil, nil, nil, nil
		helper.clean()
	end)

	it("hands on the error value of the store as it is, at once [R5]", function()
		fill(inner, 3)
		local own = setmetatable({code = "of_its_own", message = "no luck"}, {})
		local function refuse() return true, own end
		local function same(value, err)
			assert.is_nil(value)
			assert(rawequal(own, err), tostring(err))
		end
		store.before.get_latest_event_num = refuse
		same(registry:watch("w", function() end))
		store.before.get_latest_event_num, store.before.get_checkpoint = nil, refuse
		same(registry:watch("w", function() end))
		store.before.get_checkpoint = nil
		local watcher = assert(registry:watch("w", function() end))
		helper.drain(registry, watcher)
		store.before.store_checkpoint = refuse
		same(watcher:checkpoint(1))
		same(watcher:seek_to_offset(1))
		assert(rawequal(own, watcher:stats().last_error))
		store.before.store_checkpoint, store.before.get_events = nil, refuse
		clock:advance(1)
		assert(registry:run())
		clock:advance(1)
		assert(registry:run())
		assert(watcher:stats().fetch_errors > 0)
		assert(rawequal(own, watcher:stats().last_error))
		store.before.get_events = nil
		assert(watcher:stop())
		store.before.get_checkpoint = function() error(own) end
		same(watcher:start())
		store.before.get_checkpoint = function() error{"no code"} end
		local err = fails("watcher_error", watcher:start())
		mentions(err, "get_checkpoint: table")
		assert.same({"no code"}, err.cause)
	end)

	it("does not wait for a save: others go on, and a stop does not end it [W10 W14a]", function()
		fill(inner, 2)
		local ended
		store.before.store_checkpoint = function(id)
			if id == "slow" then ended = vigia.sleep(5) end
		end
		local slow, quick = testing.handler(), testing.handler()
		local watcher = assert(registry:watch("slow", slow.handle, {checkpoint = "event"}))
		assert(registry:watch("quick", quick.handle, {checkpoint = "event"}))
		assert(registry:run())
		assert.same({{1}, {1, 2}}, {slow:seq_nums(), quick:seq_nums()})
		assert.is_false(watcher:stop{timeout = 0})
		clock:advance(4)
		assert(registry:run())
		assert.is_nil(ended)
		assert.equal("stopping", watcher:stats().state)
		clock:advance(1)
		assert(registry:run())
		assert.is_true(ended)
		assert.equal("stopped", watcher:stats().state)
		assert.equal(1, inner:get_checkpoint("slow"))
	end)

	it("does not let a save under way undo a checkpoint by hand [W12]", function()
		fill(inner, 9)
		local waits
		store.before.store_checkpoint = function()
			if waits then
				waits = false
				vigia.sleep(5)
			end
		end
		local watcher = assert(registry:watch("w", function() end, {initial_event_iterator = vigia.latest()}))
		assert(registry:run())
		fill(inner, 1)
		waits = true
		assert(registry:run())
		clock:advance(1)
		assert(registry:run())
		assert.is_false(waits)
		fill(inner, 10)
		assert(watcher:checkpoint(15))
		assert.equal(15, inner:get_checkpoint("w"))
		clock:advance(4)
		assert(registry:step())
		assert.is_true(inner:get_checkpoint("w") >= 15)
	end)

	it("asks for one answer at a time, also after a stop or seek has left one [W8d W14a]", function()
		fill(inner, 3)
		local now, most, calls = 0, 0, 0
		store.before.get_events = function()
			now, calls = now + 1, calls + 1
			most = math.max(most, now)
			for _ = 1, 3 do vigia.sleep(1) end -- and does not heed that it is left
			now = now - 1
		end
		local handler = testing.handler()
		local watcher = assert(registry:watch("w", handler.handle, {checkpoint = "manual"}))
		for n = 1, 40 do
			assert(registry:run())
			if n % 3 == 0 then assert(watcher:seek_to_offset(n % 2)) end
			if n % 7 == 0 then
				assert.is_true(watcher:stop())
				assert(watcher:start())
			end
			clock:advance(n % 3)
		end
		assert.equal(1, most)
		assert(calls > 5)
		for _ = 1, 20 do
			clock:advance(1)
			assert(registry:run())
		end
		assert.equal(3, handler:seq_nums()[#handler:seq_nums()])
	end)

	it("closes a read that goes on when its watcher is gone [W14a W1c]", function()
		fill(inner, 3)
		local begun, ended, closed = 0, 0, 0
		store.before.get_events = function()
			local _ <close> = setmetatable({}, {__close = function() closed = closed + 1 end})
			begun = begun + 1
			for _ = 1, 1000 do vigia.sleep(1) end -- and does not heed that it is left
			ended = ended + 1
		end
		do
			local watcher = assert(registry:watch("w", function() end))
			assert(registry:run())
			assert.is_true(watcher:stop())
		end
		store.before.get_events = nil
		local handler = testing.handler()
		assert(registry:watch("w", handler.handle)) -- in its place
		for _ = 1, 2 do collectgarbage() end
		assert(registry:run())
		assert.same({1, 0, 1}, {begun, ended, closed})
		assert.same({1, 2, 3}, handler:seq_nums())
		clock:advance(5)
		assert(registry:run())
		assert.same({1, 0, 1}, {begun, ended, closed})
	end)

	it("reads what is appended to the store below while an answer is waited for [W3]", function()
		local wrapped = {inner = inner}
		for _, name in ipairs(METHODS) do wrapped[name] = function(_, ...) return inner[name](inner, ...) end end
		function wrapped.get_events(_, request)
			local answer = inner:get_events(request)
			vigia.sleep(0.02)
			return answer
		end
		local over <close> = assert(vigia.registry(wrapped))
		local handle, seen = helper.recorder()
		assert(over:watch("w", handle))
		over:step(0)
		fill(inner, 1) -- the first answer is under way, and does not have it
		helper.drive(over, function() return #seen == 1 end)
		assert.same({1}, seen)
	end)

	it("goes on when other code closes or resumes the coroutine of a method that waits [H2 R3]", function()
		fill(inner, 2)
		local co
		store.before.get_events = function()
			if co == nil then
				co = coroutine.running()
				vigia.sleep(5)
			end
		end
		local handler = testing.handler()
		local watcher = assert(registry:watch("w", handler.handle))
		assert(registry:run())
		assert.same({false, "cannot resume non-suspended coroutine"}, {select(2, coroutine.resume(co))})
		assert.is_true(coroutine.close(co))
		clock:advance(5)
		assert(registry:run())
		mentions(watcher:stats().last_error, "closed")
		clock:advance(1)
		assert(registry:run())
		assert.same({1, 2}, handler:seq_nums())
	end)

	it("may stop, move or start its watcher from each of its methods, and not close the registry [W14a R3]", function()
		fill(inner, 4)
		for _, name in ipairs{"get_events", "store_checkpoint", "get_checkpoint", "get_latest_event_num", "get_oldest_event_num"} do
			for _, action in ipairs{"stop", "start", "seek_to_offset", "checkpoint", "stats"} do
				local id = name .. action
				local watcher, handled, inside
				store.before[name] = function()
					if not watcher or inside then return end
					inside = true
					mentions(raises(registry.close, registry), "from one of its handlers")
					fails("invalid_state", registry:step())
					watcher[action](watcher, (action == "seek_to_offset" or action == "checkpoint") and 1 or nil)
					assert(registry:get_watcher(id))
				end
				handled = 0
				watcher = assert(registry:watch(id, function() handled = handled + 1 end, {checkpoint = "event"}))
				for _ = 1, 3 do
					clock:advance(1)
					assert(registry:run())
				end
				watcher:seek_to_offset(0)
				watcher:stats()
				watcher:checkpoint(0)
				for _ = 1, 3 do
					clock:advance(1)
					assert(registry:run())
				end
				store.before[name] = nil
				assert(inside, id)
				if watcher:stats().state == "stopped" then assert(watcher:start()) end
				assert(registry:run())
				assert(handled >= 4, id)
				assert.equal(0, watcher:stats().lag)
				assert.is_true(watcher:stop())
			end
		end
	end)

	it("does not say that a watcher has come to the end while the store cannot be read [W15]", function()
		fill(inner, 3)
		local watcher = assert(registry:watch("w", function() end, {auto_start = false}))
		assert.equal(3, watcher:stats().lag)
		for _, name in ipairs{"get_latest_event_num", "get_checkpoint"} do
			store.before[name] = function() return true, {code = "io_error", message = "no luck"} end
			assert.equal(name == "get_checkpoint" and 3 or math.maxinteger, watcher:stats().lag)
			store.before[name] = nil
		end
		assert(watcher:start())
		assert(registry:run())
		assert.equal(0, watcher:stats().lag)
		store.before.get_latest_event_num = function() return true, {code = "io_error", message = "no luck"} end
		assert.equal(math.maxinteger, watcher:stats().lag)
	end)

	it("saves progress when its registry is closed, as far as that needs no waiting [W14]", function()
		fill(inner, 3)
		for _, id in ipairs{"quick", "slow"} do assert(registry:watch(id, function() end)) end
		store.before.store_checkpoint = function(id)
			if id == "slow" then vigia.sleep(1) end
		end
		assert(registry:run())
		fails("checkpoint_not_found", inner:get_checkpoint("quick"))
		registry:close()
		assert.equal(3, inner:get_checkpoint("quick"))
		fails("checkpoint_not_found", inner:get_checkpoint("slow"))
		local other = helper.registry(store, {clock = clock})
		store.before.store_checkpoint = nil
		local handler = testing.handler()
		assert(other:watch("slow", handler.handle))
		assert(other:run())
		assert.same(range(1, 3), handler:seq_nums())
	end)

	it("passes on the places of a filter, tests them where the store does not, and keeps the predicate [F4d]", function()
		local asked, place = {}, {["object.n"] = {2, 3}}
		store.before.get_events = function(request)
			asked[#asked + 1] = request.filter
			request.filter = nil
		end
		fill(inner, 4)
		local handler = testing.handler()
		assert(registry:watch("x", handler.handle, {filter = {where = place, predicate = function(event) return event.object.n > 2 end}}))
		assert(registry:run())
		assert.same({where = place}, asked[1])
		assert.same({3}, handler:seq_nums())
	end)

	it("passes on the filter's lists, the limit and the watcher's id, and waits in between [W8a F1a]", function()
		local asked = {}
		store.before.get_events = function(request) asked[#asked + 1] = request end
		assert(registry:watch("w", function() end, {batch_size = 7, filter = {object_types = {"Job"}, operations = {"CREATE"}}}))
		assert(registry:run())
		assert.equal(2, #asked)
		assert.same({7, "w", after(0), 0}, {asked[1].limit, asked[1].watcher_id, asked[1].event_iterator, asked[1].timeout})
		assert.same({object_types = {"Job"}, operations = {"CREATE"}}, asked[1].filter)
		assert(asked[2].timeout > 0)
		assert(registry:run())
		assert.equal(2, #asked)
		fill(inner, 1)
		assert(registry:run())
		assert(#asked > 2)
	end)
end)
