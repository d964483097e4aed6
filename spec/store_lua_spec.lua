-- store_lua_spec.lua - stores written in Lua: a wrapper passes the contract of all backends; watchers over it, and over a plain table.
-- That watchers behave alike over such a store is proved where helper.backends are gone through.

local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"
local wrapper = require "vigia.wrapper"

local fails, fill, mentions, raises, range = helper.fails, helper.fill, helper.mentions, helper.raises, helper.range
local after = vigia.after_sequence_number

require "spec.store_contract"("written in Lua", function(options, again)
	assert(not again, "it is over a memory store, which cannot be opened again")
	return helper.wrapped(options, {encode = helper.rot13, decode = helper.rot13})
end)

-- The least that a store must have: a list of events. It ignores filters and limits, and waits (`sleeps`) before each answer.
local function plain_store(sleeps)
	local store = {events = {}, saved = {}, asked = 0}
	function store:store_event(operation, object_type, object)
		local n = #self.events + 1
		self.events[n] = {seq_num = n, operation = operation, object_type = object_type, object = object, timestamp = n}
		return n
	end
	function store:store_events(events)
		for _, e in ipairs(events) do self:store_event(e.operation, e.object_type, e.object) end
		return #self.events - #events + 1, #self.events
	end
	function store:get_events(request)
		self.asked = self.asked + 1
		if sleeps then
			local ok, err = vigia.sleep(sleeps)
			if not ok then return nil, err end
		end
		local it, found = request.event_iterator, {}
		local first = it.kind == "at_sequence_number" and it.seq_num or it.seq_num + 1
		for n = first, #self.events do found[#found + 1] = self.events[n] end
		return {events = found, next_event_iterator = #found > 0 and after(#self.events) or it}
	end
	function store:get_latest_event_num() return #self.events end
	function store:get_oldest_event_num() return #self.events > 0 and 1 or 0 end
	function store:store_checkpoint(id, n)
		self.saved[id] = n
		return true
	end
	function store:get_checkpoint(id)
		if self.saved[id] then return self.saved[id] end
		return nil, {code = "checkpoint_not_found"}
	end
	return store
end

describe("a registry over a plain table with the methods of a store", function()
	local store, clock, registry, records

	before_each(function()
		store, clock, records = plain_store(), testing.clock(), {}
		registry = helper.registry(store, {clock = clock, log = function(level, message) records[#records + 1] = level .. " " .. message end})
	end)
	after_each(function()
		registry = nil
		helper.clean()
	end)

	local function settle()
		assert(registry:run())
	end

	it("names the method that is called on something wrong, as a registry over a file does [R1i]", function()
		local watcher = assert(registry:watch("a", function() end))
		local real <close> = assert(vigia.registry(helper.memory()))
		local like = assert(real:watch("a", function() end))
		local function same(call)
			local expected = select(2, pcall(call, real, like))
			assert.equal(expected, (select(2, pcall(call, registry, watcher))))
			return expected
		end
		mentions(same(function(r) r.step(1) end), "bad argument #1 to 'step' (vigia.Registry expected, got number)")
		mentions(same(function(_, w) w.stats(nil) end), "#1 to 'stats' (vigia.Watcher expected, got nil)")
		registry:close()
		real:close()
		mentions(same(function(r) r:step() end), "calling 'step' on bad self (the registry is closed)")
		mentions(same(function(r) r.watch(r, "b", print) end), "#1 to 'watch' (the registry is closed)")
		mentions(same(function(_, w) w:stop() end), "calling 'stop' on bad self (the watcher's registry is closed)")
	end)

	it("names the methods that are missing", function()
		store.get_checkpoint, store.store_event = nil, 5
		mentions(raises(vigia.registry, store), "store_event", "get_checkpoint")
		mentions(raises(vigia.registry, {}), "vigia.Store expected", "get_events")
		mentions(raises(vigia.registry, plain_store(), {lag = print}), "lag")
	end)

	it("handles events in order, and those that come later [W3a]", function()
		fill(store, 5)
		local handler = testing.handler()
		local watcher = assert(registry:watch("w", handler.handle))
		settle()
		assert.same(range(1, 5), handler:seq_nums())
		fill(store, 2)
		settle()
		assert.same(range(1, 7), handler:seq_nums())
		assert.equal(7, watcher:stats().processed)
		assert.equal(0, watcher:stats().lag)
	end)

	it("applies the lists of a filter that the store ignores, and predicates [F1a]", function()
		for n = 1, 6 do store:store_event(n % 2 == 0 and "CREATE" or "UPDATE", n % 3 == 0 and "Job" or "Node", n) end
		local jobs, created, both, odd = testing.handler(), testing.handler(), testing.handler(), testing.handler()
		local watcher = assert(registry:watch("jobs", jobs.handle, {filter = {object_types = {"Job"}}}))
		assert(registry:watch("created", created.handle, {filter = {operations = {"CREATE"}, object_types = {}}}))
		assert(registry:watch("both", both.handle, {filter = {operations = {"CREATE"}, object_types = {"Job"}}}))
		assert(registry:watch("odd", odd.handle, {where = function(event) return event.object % 2 == 1 end}))
		settle()
		assert.same({{3, 6}, {2, 4, 6}, {6}, {1, 3, 5}}, {jobs:seq_nums(), created:seq_nums(), both:seq_nums(), odd:seq_nums()})
		assert.equal(2, watcher:stats().processed)
		store:store_event("CREATE", "Node", 7)
		settle()
		assert.equal(0, watcher:stats().lag)
		assert.is_true(watcher:stop())
		assert.equal(7, store:get_checkpoint("jobs"))
	end)

	it("retries after doubling times, exact on a manual clock [W5]", function()
		fill(store, 2)
		local handler = testing.handler():fail_on(1)
		assert(registry:watch("w", handler.handle, {max_backoff = 1}))
		settle()
		for n, delay in ipairs{0.2, 0.4, 0.8, 1, 1} do
			clock:advance(delay - 1e-6)
			settle()
			assert.equal(n, #handler.calls)
			clock:advance(1e-6)
			settle()
			assert.equal(n + 1, #handler.calls)
		end
		handler:succeed()
		clock:advance(1)
		settle()
		assert.same({1, 1, 1, 1, 1, 1, 1, 2}, handler:seq_nums())
	end)

	it("gives an event up after max_retries attempts, and says so [W6]", function()
		fill(store, 2)
		local handler = testing.handler():fail_on(1)
		local watcher = assert(registry:watch("w", handler.handle, {retry_strategy = "skip", max_retries = 2}))
		settle()
		clock:advance(0.2)
		settle()
		assert.same({1, 1, 2}, handler:seq_nums())
		assert.same({1, 1}, {watcher:stats().processed, watcher:stats().skipped})
		mentions(table.concat(records, "\n"), "error watcher 'w': gave up event 1")
	end)

	it("retries a fetch that fails, whatever the store raised or answered, and shows it [W7a]", function()
		fill(store, 1)
		local get_events, problem = store.get_events, nil
		function store:get_events(request)
			if problem then return problem(self, request) end
			return get_events(self, request)
		end
		local handler = testing.handler()
		local watcher = assert(registry:watch("w", handler.handle, {max_backoff = 0.2}))
		settle()
		for n, case in ipairs{
			{"no luck", function() error("no luck", 0) end},
			{"gone", function() return nil, "gone" end},
			{"returned nothing", function() end},
			{"must return {events, next_event_iterator}", function() return 5 end},
			{"must return {events, next_event_iterator}", function() return {} end},
			{"next", function() return {events = {}} end},
			{"before the start of the read", function() return {events = {}, next_event_iterator = after(0)} end},
			{"not resolved", function() return {events = {}, next_event_iterator = vigia.latest()} end},
			{"not in order", function() return {events = {store.events[1]}, next_event_iterator = after(1)} end},
			{"no number", function() return {events = {{object_type = "Job"}}, next_event_iterator = after(9)} end},
			{"before the last event", function() return {events = {{seq_num = 8}}, next_event_iterator = after(7)} end},
			{"index", function() return {events = {5}, next_event_iterator = after(9)} end},
			{"broken", function() coroutine.yield() end, "yield"},
		} do
			problem = case[2]
			clock:advance(2)
			settle()
			local stats = watcher:stats()
			assert(stats.fetch_errors >= n, case[1])
			if not case[3] then mentions(stats.last_error, case[1]) end
			assert.equal("running", stats.state)
		end
		problem = nil
		fill(store, 1)
		clock:advance(2)
		settle()
		assert.same({1, 2}, handler:seq_nums())
	end)

	it("saves progress after checkpoint_interval, which the store may set [W10a]", function()
		fill(store, 3)
		store.checkpoint_interval = 5
		assert(registry:watch("w", function() end))
		settle()
		clock:advance(4.999)
		settle()
		assert.is_nil(store.saved.w)
		clock:advance(0.001)
		settle()
		assert.equal(3, store.saved.w)
	end)

	it("never passes an event that is still being retried [W10g]", function()
		fill(store, 5)
		assert(registry:watch("w", testing.handler():fail_on(3).handle))
		settle()
		clock:advance(1)
		settle()
		assert.equal(2, store.saved.w)
	end)

	it("runs an id once at a time, in all registries of the Lua state [W19]", function()
		local other = helper.registry(store)
		local watcher = assert(registry:watch("w", function() end))
		assert.equal("w", fails("watcher_owned", other:watch("w", function() end)).watcher_id)
		fails("watcher_already_exists", registry:watch("w", function() end))
		assert(watcher:stop())
		assert(other:watch("w", function() end))
		fails("watcher_owned", watcher:start())
		assert(helper.registry(plain_store()):watch("w", function() end))
	end)

	it("says what is wrong with a checkpoint or a number that is none, and keeps no id for it [W2]", function()
		fill(store, 3)
		local seen = {}
		local function watch()
			return registry:watch("w", function(event) seen[#seen + 1] = event.seq_num end)
		end
		for _, nonsense in ipairs{"2", "many", {}, -1, 1.5, math.huge, true} do
			store.saved.w = nonsense
			local err = fails("watcher_error", watch())
			mentions(err, "get_checkpoint", "not the number of an event", type(nonsense) == "string" and ("'%s'"):format(nonsense) or "")
		end
		for _, method in ipairs{"get_latest_event_num", "get_oldest_event_num"} do
			local good = store[method]
			store[method] = function() return "3" end
			mentions(fails("watcher_error", watch()), method, "the string '3'")
			store[method] = good
		end
		store.saved.w = 1.0
		local watcher = assert(watch())
		helper.drain(registry, watcher)
		assert.same({2, 3}, seen)
		store.saved.w = "x"
		assert.is_nil(watcher:stats().checkpoint_iterator)
		mentions(fails("watcher_error", watcher:checkpoint(3)), "get_checkpoint")
		assert.is_true(watcher:stop())
		store.saved.w = {}
		mentions(fails("watcher_error", watcher:start()), "get_checkpoint")
		store.saved.w = 3
		assert(watcher:start())
	end)

	it("lives with false and nothing where an answer should be [W7]", function()
		fill(store, 1)
		local handle, seen = helper.recorder()
		local get_events = store.get_events
		store.get_events = function() return false end
		local watcher = assert(registry:watch("w", handle))
		registry:step(0)
		mentions(watcher:stats().last_error, "get_events: the store returned nothing")
		store.get_events = get_events
		clock:advance(1)
		helper.drain(registry, watcher)
		assert.same({1}, seen)
	end)

	it("says not_supported to a script [H3]", function()
		mentions(fails("not_supported", registry:watch("w", "script.lua")), "script", "Lua")
		fails("not_supported", assert(registry:watch("f", function() end)):reload())
	end)

	it("takes a handler that yields by itself for a failure, and goes on [H2]", function()
		fill(store, 2)
		local tries = 0
		local watcher = assert(registry:watch("w", function(event)
			tries = tries + 1
			if event.seq_num == 1 and tries == 1 then coroutine.yield() end
		end))
		settle()
		mentions(watcher:stats().last_error, "the handler yielded")
		assert.equal("handler_error", watcher:stats().last_error.code)
		clock:advance(0.2)
		settle()
		assert.equal(2, watcher:stats().processed)
		assert.equal(3, tries)
	end)

	it("tells the log, and lives with a log and an on_error that fail", function()
		fill(store, 1)
		local told
		assert(registry:watch("w", function() return nil, {reason = "x"} end, {on_error = function(err, event, ctx)
			told = {err.cause.reason, event.seq_num, ctx.attempt}
			error("in on_error")
		end}))
		assert(registry:spawn(function() error("in a task") end))
		settle()
		assert.same({"x", 1, 1}, told)
		local all = table.concat(records, "\n")
		mentions(all, "on_error failed", "in on_error", "event failed", "a task failed", "in a task")
		local silent = helper.registry(store, {clock = clock, log = function() error("in log") end})
		assert(silent:watch("v", testing.handler():fail_always().handle))
		assert(silent:run())
	end)

	it("returns store_closed when the store says so [S11b]", function()
		fill(store, 1)
		assert(registry:watch("w", function() end))
		settle()
		store.get_events = function() return nil, {code = "store_closed"} end
		clock:advance(2)
		fails("store_closed", registry:run())
		fails("store_closed", registry:step())
	end)
end)

describe("a store in Lua whose get_events waits", function()
	after_each(helper.clean)

	it("lets the other watchers go on, on the clock [H2]", function()
		local store, clock = plain_store(10), testing.clock()
		local registry = helper.registry(store, {clock = clock})
		fill(store, 2)
		local handlers = {testing.handler(), testing.handler()}
		for n, handler in ipairs(handlers) do assert(registry:watch("w" .. n, handler.handle)) end
		assert(registry:run())
		assert.equal(2, store.asked)
		assert.same({}, handlers[1]:seq_nums())
		clock:advance(10)
		assert(registry:run())
		for _, handler in ipairs(handlers) do assert.same({1, 2}, handler:seq_nums()) end
	end)

	it("is left at once when its watcher stops, or seeks [W14a]", function()
		local store, clock = plain_store(), testing.clock()
		local registry = helper.registry(store, {clock = clock})
		fill(store, 3)
		local get_events, waits = store.get_events, false
		function store:get_events(request)
			if waits and request.timeout ~= 0 then assert(vigia.sleep(3600)) end
			return get_events(self, request)
		end
		local handler = testing.handler()
		local watcher = assert(registry:watch("w", handler.handle))
		assert(registry:run())
		waits = true
		clock:advance(1)
		assert(registry:run())
		assert(watcher:seek_to_offset(1))
		assert(registry:run())
		assert.same({1, 2, 3, 2, 3}, handler:seq_nums())
		assert.is_true(watcher:stop())
		assert.equal(3, store:get_checkpoint("w"))
	end)

	it("is driven without a manual clock, too", function()
		local store = plain_store(0.001)
		local registry = helper.registry(store)
		fill(store, 3)
		local watcher
		watcher = assert(registry:watch("w", function(event)
			vigia.sleep(0.001)
			if event.seq_num < 5 then store:store_event("CREATE", "Job", nil) end
			if event.seq_num == 5 then watcher:stop() end
		end))
		assert(registry:run())
		assert.equal("stopped", watcher:stats().state)
		assert.equal(5, store:get_checkpoint("w"))
	end)
end)

describe("vigia.wrapper", function()
	after_each(helper.clean)

	it("stores what encode returns, and returns what decode makes of it", function()
		local inner = helper.memory()
		local store = wrapper.new(inner, {encode = helper.rot13, decode = helper.rot13})
		assert.equal(1, assert(store:store_event("CREATE", "Job", {name = "Hello"})))
		assert.same({2, 2}, {store:store_events{{"CREATE", "Job", {name = "World"}}}})
		assert.same({name = "Uryyb"}, inner:get_event(1).object)
		assert.same({name = "World"}, store:get_event(2).object)
		assert.same({name = "Hello"}, store:get_events{timeout = 0}.events[1].object)
		local seen
		local registry = helper.registry(store)
		helper.drain(registry, assert(registry:watch("w", function(event) seen = event.object.name end)))
		assert.equal("World", seen)
	end)

	it("checks a list of events as the store below does, and stores nothing of one that is wrong [S14]", function()
		local inner = helper.memory()
		local wrapped = wrapper.new(inner, {encode = helper.rot13, decode = helper.rot13})
		local event = {operation = "CREATE", object_type = "Job", object = "x"}
		for _, list in ipairs{
			event, -- one event in place of a list
			{event, nil, event}, {[2] = event}, {event, [0] = event}, {event, more = event}, {event, "CREATE"}, {{}}, {{"CREATE"}},
			{{operation = "CREATE", object_type = "Job", objekt = "x"}}, {{operation = "CREATE", objecttype = "Job"}},
			{{"CREATE", "Job", "x", "y"}}, {{"CREATE", "Job", "x", object = "y"}}, {{"CREATE", "Job", operation = "UPDATE"}}, {{1, 2}},
		} do
			local message = raises(function() inner:store_events(list) end):gsub("%.lua:%d+:", ".lua:")
			mentions(message, "spec/store_lua_spec.lua: bad argument #1 to 'store_events'")
			assert.equal(message, (raises(function() wrapped:store_events(list) end):gsub("%.lua:%d+:", ".lua:")))
		end
		assert.equal(0, inner:get_latest_event_num())
		local first, last = wrapped:store_events{event, {"CREATE", "Job", "y"}, {"CREATE", "Job"}, {"CREATE", "Job", object = "z"},
			{operation = "CREATE", object_type = "Job", seq_num = 7, timestamp = 7}}
		assert.same({1, 5}, {first, last})
		local objects = {}
		for n = 1, 5 do objects[n] = inner:get_event(n).object or "nothing" end
		assert.same({"k", "l", "nothing", "m", "nothing"}, objects)
		assert.equal("x", event.object)
	end)

	it("raises wrong use where it was called, with the store's words, and an error of another function as it is [R1]", function()
		local function same(x) return x end
		local inner = helper.memory()
		fill(inner, 1)
		for _, functions in ipairs{{}, {encode = same, decode = same, keep = function() return true end}} do
			local wrapped = wrapper.new(inner, functions)
			for _, call in ipairs{
				{"store_event", {}}, {"store_event", "CREATE", "Job", 1, {nix = 1}}, {"store_events", 5}, {"store_events", {{"CREATE", "Job"}}, 5},
				{"get_event", "x"}, {"get_events", 5}, {"get_events", {limit = "x"}}, {"get_events", {where = 5}}, {"get_events", {filter = 5}},
				{"store_checkpoint", {}, 1}, {"get_checkpoint"}, {"trim", "x"}, {"find_time", "x"}, {"backup"}, {"configure", 5},
			} do
				local results = {}
				for i, store in ipairs{inner, wrapped} do
					results[i] = raises(function()
						local result = store[call[1]](store, table.unpack(call, 2))
						return result
					end):gsub("'%?'", "'" .. call[1] .. "'"):gsub("#(%d)", function(n) return "#" .. (i == 1 and n - 1 or n) end)
				end
				mentions(results[2], "spec/store_lua_spec.lua:", "'" .. call[1] .. "'")
				assert.equal(results[1], results[2])
			end
			local message = raises(function() wrapped:get_events{where = function() error("mine") end} end)
			assert.truthy(message:find("^[^:]*store_lua_spec%.lua:%d+: mine$"), message)
			local value = {}
			assert.equal(value, select(2, pcall(wrapped.get_events, wrapped, {where = function() error(value) end})))
		end
		mentions(raises(function() wrapper.new(inner, 5) end), "spec/store_lua_spec.lua:", "functions: a table expected, got number")
	end)

	it("hides what keep does not want, and counts on", function()
		local inner = helper.memory()
		local store = wrapper.new(inner, {keep = function(event) return event.object.n % 2 == 0 end})
		fill(store, 6)
		assert.same({2, 4, 6}, (helper.read(store)))
		assert.same({2, 4}, (helper.read(store, {limit = 2})))
		assert.same({4}, (helper.read(store, {where = function(event) return event.object.n == 4 or event.object.n == 3 end})))
		fails("event_not_found", store:get_event(3))
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		local watcher = assert(registry:watch("w", handler))
		helper.drain(registry, watcher)
		assert.same({2, 4, 6}, seen)
	end)

	it("makes a failing encode a serialization_error, and a failing decode one that stops its watcher [Z2]", function()
		local store = wrapper.new(helper.memory(), {
			encode = function(object) if object == "bad" then error("no form") end return object end,
			decode = function(object) if object == "lost" then error("no key") end return object end,
		})
		mentions(fails("serialization_error", store:store_event("CREATE", "Job", "bad")), "no form")
		fails("serialization_error", store:store_events{{"CREATE", "Job", 1}, {"CREATE", "Job", "bad"}})
		assert.equal(0, store:get_latest_event_num())
		for _, object in ipairs{"one", "lost", "three"} do assert(store:store_event("CREATE", "Job", object)) end
		assert.same({1}, (helper.read(store)))
		assert.equal(2, fails("deserialization_error", store:get_events{event_iterator = after(1), timeout = 0}).seq_num)
		fails("deserialization_error", store:get_event(2))
		local registry = helper.registry(store)
		local stops = assert(registry:watch("stops", function() end))
		local skips = assert(registry:watch("skips", function() end, {on_damage = "skip"}))
		helper.drive(registry, function() return stops:stats().state == "stopped" and skips:stats().lag == 0 end)
		assert.equal(2, stops:stats().blocked_on)
		assert.same({2, 1}, {skips:stats().processed, skips:stats().skipped})
	end)

	it("tells its watchers of events that were removed [W20]", function()
		local store = helper.wrapped()
		fill(store, 3)
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		local watcher = assert(registry:watch("w", handler))
		helper.drain(registry, watcher)
		fill(store, 5)
		assert(store:trim(6))
		helper.drain(registry, watcher)
		assert.same({1, 2, 3, 7, 8}, seen)
		assert.equal(3, watcher:stats().missed)
	end)

	it("refuses what it cannot use", function()
		mentions(raises(wrapper.new, 5), "inner")
		mentions(raises(wrapper.new, helper.memory(), {encode = 5}), "encode")
		mentions(raises(wrapper.new, helper.memory(), {endcode = print}), "endcode")
		mentions(raises(wrapper.new, helper.memory(), {checkpoint_interval = "1"}), "checkpoint_interval")
	end)
end)

describe("testing.mock_store", function()
	local store, clock, registry

	before_each(function()
		store, clock = testing.mock_store(), testing.clock()
		registry = helper.registry(store, {clock = clock})
	end)
	after_each(function()
		store, registry = nil, nil
		helper.clean()
	end)

	it("writes down its calls and hands them on", function()
		assert.equal(1, assert(store:store_event("CREATE", "Job", 7)))
		assert.equal(1, #store:calls_of "store_event")
		assert.same({"CREATE", "Job", 7, n = 3}, store.calls[1].arguments)
		assert.equal(7, store.inner:get_event(1).object)
		assert.same({}, store:calls_of "trim")
		raises(store.calls_of, store, "store_evnt")
	end)

	it("fails as it is told", function()
		store:fail_next("store_event", "no luck"):fail_next("trim", {code = "disk_full", message = "full"}, 2)
		mentions(fails("io_error", store:store_event("CREATE", "Job", 1)), "no luck")
		assert.equal(1, assert(store:store_event("CREATE", "Job", 1)))
		for _ = 1, 2 do fails("disk_full", store:trim(1)) end
		assert.equal(1, assert(store:trim(1)))
		store:fail_always("get_event")
		for _ = 1, 3 do mentions(fails("io_error", store:get_event(1)), "get_event was told to fail") end
		store:succeed()
		fails("sequence_expired", store:get_event(1))
		assert.is_true(store.calls[1].failed)
		raises(store.fail_next, store, "store_evnt")
		raises(store.fail_next, store, "trim", nil, 0)
	end)

	it("lets a fetch fail, so that the watcher tries again after the backoff [W7a]", function()
		fill(store, 1)
		store:fail_next("get_events", {code = "io_error"}, 2)
		local handler = testing.handler()
		local watcher = assert(registry:watch("w", handler.handle))
		assert(registry:run())
		clock:advance(0.2)
		assert(registry:run())
		assert.same({}, handler.calls)
		assert.equal(2, watcher:stats().fetch_errors)
		clock:advance(0.4)
		assert(registry:run())
		assert.same({1}, handler:seq_nums())
	end)

	it("lets a checkpoint fail: the next event waits until it is saved [W10d]", function()
		fill(store, 2)
		store:fail_next("store_checkpoint", "full", 2)
		local handler = testing.handler()
		assert(registry:watch("w", handler.handle, {checkpoint = "event"}))
		assert(registry:run())
		clock:advance(0.2)
		assert(registry:run())
		assert.same({1}, handler:seq_nums())
		clock:advance(0.4)
		assert(registry:run())
		assert.same({1, 2}, handler:seq_nums())
		assert.equal(2, store:get_checkpoint("w"))
	end)

	it("lets an append of a handler fail, which then is tried again", function()
		fill(store, 1)
		store:fail_next("store_event")
		local watcher = assert(registry:watch("w", function(_, ctx)
			return ctx.store:store_event("CREATE", "Mail", nil)
		end, {filter = {object_types = {"Job"}}}))
		assert(registry:run())
		clock:advance(0.2)
		assert(registry:run())
		assert.equal(1, watcher:stats().processed)
		assert.equal("Mail", store:get_event(2).object_type)
	end)
end)
