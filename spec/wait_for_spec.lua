-- wait_for_spec.lua - store:wait_for: a wait for the checkpoint of a watcher, which its owner then saves as soon as it gets there.
--
-- All stores here save progress once an hour, so that what is saved sooner was waited for.

local contract = require "spec.processes_contract"
local cqueues = require "cqueues"
local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local fails, fill, mentions, raises = helper.fails, helper.fill, helper.mentions, helper.raises

local LATE <const> = {checkpoint_interval = 3600}

for _, kind in ipairs{"a file", "memory"} do
	describe("store:wait_for in " .. kind, function()
		local store, registry

		local function open()
			return kind == "memory" and helper.memory(LATE) or helper.open(nil, LATE)
		end

		before_each(function()
			store = open()
			registry = helper.registry(store)
		end)
		after_each(function()
			store, registry = nil, nil
			helper.clean()
		end)

		local function stop_all() registry:stop() end

		it("returns the checkpoint once the watcher of the same thread has saved it [X6]", function()
			local got = {}
			assert(registry:watch("a", function() end))
			registry:spawn(function()
				local n = fill(store, 3)
				assert.is_true(n == nil or n == 3)
				for want = 1, 3 do got[want] = assert(store:wait_for("a", want)) end
				stop_all()
			end)
			assert(registry:run())
			for want = 1, 3 do assert(got[want] >= want) end
			assert.equal(3, store:wait_for("a", 3))
			assert.equal(3, store:wait_for("a", 2.0, 0))
		end)

		it("waits in a handler while the other watchers go on [X6]", function()
			local seen
			assert(registry:watch("first", function() end))
			assert(registry:watch("second", function(event)
				seen = assert(store:wait_for("first", event.seq_num, 60))
				stop_all()
			end))
			fill(store, 1)
			assert(registry:run())
			assert.equal(1, seen)
		end)

		it("waits for an id that is unknown, and for one that does not run [X6]", function()
			local got
			registry:spawn(function()
				got = assert(store:wait_for("later", 2))
				stop_all()
			end)
			fill(store, 2)
			assert(registry:step(0) ~= nil)
			assert.is_nil(got)
			local watcher = assert(registry:watch("later", function() end, {auto_start = false, initial_event_iterator = vigia.trim_horizon()}))
			assert(registry:step(0) ~= nil)
			assert.is_nil(got)
			assert(watcher:start())
			assert(registry:run())
			assert.equal(2, got)
		end)

		it("says so when the time is over, and names the watcher and both numbers [X6]", function()
			assert(store:store_checkpoint("a", 2))
			local err = fails("timeout", store:wait_for("a", 3, 0))
			mentions(err, "'a'", "is 2", "reach 3")
			assert.equal("a", err.watcher_id)
			fails("timeout", store:wait_for("a", 3, 0.01))
			local inside
			registry:spawn(function()
				inside = fails("timeout", store:wait_for("b", 1, 0.01))
			end)
			assert(registry:run())
			mentions(inside, "'b'", "is 0", "reach 1")
			assert.equal(0, store:wait_for("b", 0, 0))
		end)

		it("goes by the clock of its registry [X6]", function()
			local clock = testing.clock()
			local other, err = helper.registry(store, {clock = clock}), nil
			other:spawn(function() err = fails("timeout", store:wait_for("b", 1, 100)) end)
			while other:step(0) do end
			assert.is_nil(err)
			clock:advance(99)
			while other:step(0) do end
			assert.is_nil(err)
			clock:advance(1)
			while other:step(0) do end
			assert.is_not_nil(err)
		end)

		it("ends with 'stopping', in a task and in a handler [X6]", function()
			local got = {}
			registry:spawn(function()
				got.task = fails("stopping", store:wait_for("b", 1))
				got.again = fails("stopping", store:wait_for("b", 1))
				got.reached = store:wait_for("b", 0) -- what is there is returned all the same
			end)
			assert(registry:watch("a", function()
				got.handler = fails("stopping", store:wait_for("b", 1))
			end))
			fill(store, 1)
			for _ = 1, 3 do registry:step(0) end
			assert.same({}, got)
			assert(registry:stop())
			mentions(got.task, "registry is stopping")
			mentions(got.handler, "'a' is stopping")
			assert.is_not_nil(got.again)
			assert.equal(0, got.reached)
		end)

		it("is an error in the watcher's own handler, also in a coroutine of that [X6]", function()
			local direct, wrapped
			assert(registry:watch("own", function()
				direct = fails("invalid_state", store:wait_for("own", 1))
				wrapped = fails("invalid_state", coroutine.wrap(function() return store:wait_for("own", 1) end)())
				stop_all()
			end))
			fill(store, 1)
			assert(registry:run())
			mentions(direct, "'own' cannot wait for itself")
			mentions(wrapped, "'own' cannot wait for itself")
			assert.equal("own", direct.watcher_id)
			assert.equal(1, store:wait_for("own", 1, 0))
		end)

		it("returns behind the commit of a transactional watcher, whose effects are there then [X6 X4]", function()
			local seen
			assert(registry:watch("sums", function(event, ctx)
				return ctx.tx:put("sums", "all", (ctx.tx:get("sums", "all") or 0) + event.object)
			end, {transactional = true}))
			registry:spawn(function()
				for n = 1, 3 do
					local number = assert(store:store_event("CREATE", "Number", n))
					assert(store:wait_for("sums", number, 60))
					seen = store:get("sums", "all")
					assert.equal(n * (n + 1) // 2, seen)
				end
				stop_all()
			end)
			assert(registry:run())
			assert.equal(6, seen)
		end)

		it("makes a manual checkpoint wake it, and a stored one [X6]", function()
			local got = {}
			assert(registry:watch("hand", function(event, ctx)
				if event.seq_num == 2 then assert(ctx.watcher:checkpoint(2)) end
			end, {checkpoint = "manual"}))
			for index, id in ipairs{"hand", "stored"} do
				registry:spawn(function() got[index] = assert(store:wait_for(id, 2)) end)
			end
			registry:spawn(function()
				fill(store, 1)
				vigia.sleep(0.01)
				assert.same({}, got)
				fill(store, 1)
				assert(store:store_checkpoint("stored", 5))
				assert(store:wait_for("hand", 2))
				stop_all()
			end)
			assert(registry:run())
			assert.same({2, 5}, got)
		end)

		it("wakes an owner that sleeps in a loop of its own, by its descriptor [X6]", function()
			local quickest = math.huge -- what looks once a second finds the wait too
			for round = 1, 3 do
				local fresh = kind == "memory" and helper.memory(LATE) or helper.open(helper.path("store " .. round), LATE)
				local owner, waiter, id = helper.registry(fresh), helper.registry(fresh), "owner " .. round
				local fd, handled, got = assert(owner:pollfd()), false, nil
				assert(owner:watch(id, function()
					vigia.sleep(0.01) -- so its end is no event
					handled = true
				end))
				local function drive(seconds)
					cqueues.poll({pollfd = fd, events = "r"}, seconds)
					repeat until not owner:step(0)
				end
				drive(0)
				fill(fresh, 1)
				while not handled do drive(1) end
				waiter:spawn(function() got = assert(fresh:wait_for(id, 1)) end)
				local before = helper.now()
				waiter:step(0)
				while not got do
					drive(60)
					waiter:step(0)
				end
				quickest = math.min(quickest, helper.now() - before)
			end
			assert(quickest < 0.5, quickest)
		end)

		it("looks at another store now and then, whose saves do not wake it [X6]", function()
			local far = helper.memory(LATE)
			local elsewhere, got = helper.registry(far), nil
			assert(elsewhere:watch("a", function() end))
			fill(far, 1)
			registry:spawn(function() got = assert(far:wait_for("a", 1)) end)
			helper.eventually(function()
				registry:step(0)
				elsewhere:step(0)
				return got
			end, "the wait ends")
			assert.equal(1, got)
		end)

		it("works in a script on a thread, which a stop ends too [X6]", function()
			local path = helper.write_file("waits.lua", [[
				local given = ...
				return {handle = function(event, ctx)
					if event.object_type == "Job" then
						assert(ctx.store:wait_for("first", event.seq_num, 60))
						local own, err = ctx.store:wait_for("waits", 1, 0)
						given.log("info", ("%s %s"):format(own, err.code))
					else
						local _, err = ctx.store:wait_for("never", 1)
						given.log("info", err.code)
					end
				end}]])
			local logging, logged = helper.logging_registry(store)
			assert(logging:watch("first", function() end))
			local watcher = assert(logging:watch("waits", path))
			fill(store, 1, "Job")
			local function said(text)
				return function()
					for _, line in ipairs(logged) do
						local words = type(line) == "table" and table.concat(line, " ") or tostring(line)
						if words:find(text, 1, true) then return true end
					end
				end
			end
			helper.drive(logging, said("nil invalid_state"))
			fill(store, 1, "Other")
			for _ = 1, 3 do logging:step(0.01) end
			assert(watcher:stop{timeout = 60})
			helper.drive(logging, said("stopping"))
		end)

		local program = helper.program()
		if program then
			it("works in an isolated script [X6]", function()
				local path = helper.write_file("alone.lua", [[
					return {handle = function(event, ctx)
						assert(ctx.store:wait_for("first", event.seq_num, 60))
						local own, err = ctx.store:wait_for("alone", 1, 0)
						assert(own == nil and err.code == "invalid_state", tostring(err))
						assert(ctx.store:store_checkpoint("done", 1))
					end}]])
				assert(registry:watch("first", function() end))
				assert(registry:watch("alone", path, {isolation = "process", worker_program = program}))
				registry:spawn(function()
					fill(store, 1)
					assert(store:wait_for("done", 1, 60))
					stop_all()
				end)
				assert(registry:run())
			end)
		end

		it("checks its arguments [R1]", function()
			mentions(raises(function() store:wait_for() end), "watcher_id")
			mentions(raises(function() store:wait_for("a") end), "n")
			mentions(raises(function() store:wait_for("a", -1) end), "n")
			mentions(raises(function() store:wait_for("a", 1, "soon") end), "timeout")
			fails("invalid_argument", store:wait_for("", 1, 0))
			store:close()
			fails("store_closed", store:wait_for("a", 1, 0))
		end)
	end)
end

local stores = 0
contract.wait_for("", function()
	stores = stores + 1
	return helper.path("other store " .. stores)
end)

describe("store:wait_for of a store in Lua", function()
	after_each(helper.clean)

	it("is not there: a wrapper cannot wait for a watcher [X6]", function()
		mentions(fails("not_supported", helper.wrapped():wait_for("a", 1, 0)), "wait_for")
	end)
end)
